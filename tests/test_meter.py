"""What a piece of work costs is counted as a pencil would count it."""

import time

import pytest
import torch

from bow2gpt import meter

KILO = 4000  # bytes of a thousand floats


@pytest.mark.parametrize(
    ("work", "expected"),
    [
        (lambda: None, 0),
        (lambda: torch.ones(1000), KILO),
        (lambda: torch.ones(1000, dtype=torch.float64), 2 * KILO),
        (lambda: torch.ones(1000) + torch.ones(1000), 3 * KILO),
        (lambda: [torch.ones(1000) for _ in range(3)], 3 * KILO),
        (lambda: torch.ones(0), 0),
    ],
)
def test_the_tensors_that_live_at_once_are_added_up(work, expected):
    assert meter.peak_bytes(work) == expected


def test_a_tensor_that_is_gone_makes_room_for_the_next():
    def work():
        for _ in range(5):
            torch.ones(1000)

    assert meter.peak_bytes(work) == KILO


def test_views_and_work_in_place_take_no_memory():
    given = torch.ones(1000)
    assert meter.peak_bytes(lambda: given.view(10, 100).t()[2:].add_(1)) == 0
    assert meter.peak_bytes(lambda: torch.ones(1000).view(10, 100).mul_(2).relu_()) == KILO


def test_what_was_there_before_does_not_count():
    given = [torch.ones(1000) for _ in range(3)]
    assert meter.peak_bytes(lambda: given[0] + given[1]) == KILO
    given.pop()
    assert meter.peak_bytes(lambda: given.pop() * 2) == KILO


def test_the_backward_pass_is_seen():
    weights = torch.ones(1000, requires_grad=True)
    # Forward keeps the sine, backward its cosine and the slopes: at least the gradient that stays, and more on the way.
    assert 2 * KILO <= meter.peak_bytes(lambda: weights.sin().sum().backward()) <= 5 * KILO
    assert weights.grad is not None


def test_the_same_work_costs_the_same_again():
    work = lambda: (torch.randn(30, 40) @ torch.randn(40, 50)).softmax(-1)  # noqa: E731
    first = meter.peak_bytes(work)
    assert first == meter.peak_bytes(work) == 4 * (30 * 40 + 40 * 50 + 30 * 50)


def test_an_error_in_the_work_is_passed_on():
    with pytest.raises(ZeroDivisionError):
        meter.peak_bytes(lambda: 1 / 0)
    assert meter.peak_bytes(lambda: torch.ones(1000)) == KILO


def test_the_shortest_time_counts():
    naps = iter([0.03, 0.001, 0.03])
    assert 0.001 <= meter.seconds(lambda: time.sleep(next(naps)), repeats=3) < 0.03
    assert meter.seconds(lambda: time.sleep(0.05), repeats=1, clock=time.process_time) < 0.04
    with pytest.raises(ValueError, match="got 0 repeats; time the work at least once"):
        meter.seconds(lambda: None, repeats=0)
