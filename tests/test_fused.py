"""The loss without logits, against torch's."""

import pytest
import torch
from torch.nn import functional as F

from bow2gpt import fused
from bow2gpt.fused import linear_cross_entropy


def drawn(rows: int = 50, channels: int = 6, vocabulary: int = 23, dtype: torch.dtype = torch.float64) -> tuple:
    torch.manual_seed(rows)
    hidden = torch.randn(rows, channels, dtype=dtype, requires_grad=True)
    weight = torch.randn(vocabulary, channels, dtype=dtype, requires_grad=True)
    return hidden, weight, torch.randint(vocabulary, (rows,))


@pytest.mark.parametrize("chunk_rows", [1, 7, 50, 1000])
def test_loss_and_slopes_are_those_of_torch(monkeypatch: pytest.MonkeyPatch, chunk_rows: int) -> None:
    monkeypatch.setattr(fused, "_CHUNK_BYTES", chunk_rows * 23 * 8)
    hidden, weight, targets = drawn()
    targets[3:9] = fused.IGNORED
    ours = 3 * linear_cross_entropy(hidden, weight, targets)
    slopes = torch.autograd.grad(ours, (hidden, weight))
    theirs = 3 * F.cross_entropy(hidden @ weight.T, targets)
    assert torch.allclose(ours, theirs, rtol=1e-12)
    for found, expected in zip(slopes, torch.autograd.grad(theirs, (hidden, weight)), strict=True):
        assert torch.allclose(found, expected, rtol=1e-10, atol=1e-14)


def test_large_logits_do_not_overflow() -> None:
    hidden, weight, targets = drawn()
    loss = linear_cross_entropy(1e4 * hidden, weight, targets)
    assert torch.allclose(loss, F.cross_entropy(1e4 * hidden @ weight.T, targets))


def test_autocast_multiplies_in_16_bits_and_gives_slopes_in_32() -> None:
    hidden, weight, targets = drawn(dtype=torch.float32)
    with torch.autocast("cpu", torch.bfloat16):
        loss = linear_cross_entropy(hidden, weight, targets)
    loss.backward()
    exact = F.cross_entropy(hidden.double() @ weight.double().T, targets)
    slopes = torch.autograd.grad(exact, (hidden, weight))
    assert loss.dtype == hidden.grad.dtype == weight.grad.dtype == torch.float32
    assert 0 < abs(loss.item() - exact.item()) < 0.02 * exact.item()
    for found, expected in zip((hidden.grad, weight.grad), slopes, strict=True):
        assert (found - expected).norm() < 0.02 * expected.norm()


def test_without_slopes_it_only_measures() -> None:
    hidden, weight, targets = drawn()
    with torch.no_grad():
        loss = linear_cross_entropy(hidden, weight, targets)
    assert not loss.requires_grad
    assert torch.allclose(loss, F.cross_entropy(hidden @ weight.T, targets))


def test_nothing_to_score_gives_nan_as_in_torch() -> None:
    hidden, weight, targets = drawn()
    assert linear_cross_entropy(hidden, weight, torch.full_like(targets, fused.IGNORED)).isnan()
