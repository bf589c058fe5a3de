"""A check accepts what is right, refuses what is wrong, and says what came, what was expected and where."""

from collections import Counter

import numpy as np
import pytest
import torch

from bow2gpt import checks

RIGHT = [
    (3, 3),
    (3.0, 3),
    (2**70, 2**70),
    ("text", "text"),
    (np.str_("text"), "text"),
    (b"bytes", b"bytes"),
    (None, None),
    (True, True),
    (np.bool_(True), True),
    ([], []),
    ((1, 2), [1, 2]),
    (range(3), [0, 1, 2]),
    ([2, 1], np.array([2, 1])),
    (np.array([[1, 2], [3, 4]]), [[1, 2], [3, 4]]),
    (torch.tensor([1, 2]), [1, 2]),
    ([1.5, 2.5], torch.tensor([1.5, 2.5])),
    (torch.ones(2, requires_grad=True), [1, 1]),
    ([torch.tensor(1.0, requires_grad=True), torch.tensor(2.0)], [1, 2]),
    (torch.ones(2, dtype=torch.bfloat16), [1, 1]),
    (np.array(["a", "b"]), ["a", "b"]),
    (["a", "b"], np.array(["a", "b"])),
    (np.array([True, False]), np.array([True, False])),
    ([True, False], [True, False]),
    ([("a", 1), ("b", 2)], [("a", 1), ("b", 2)]),
    ({"a": [1, 2]}, {"a": [1, 2]}),
    (Counter("aab"), {"b": 1, "a": 2}),
    ({1, 2}, {2, 1}),
    ([[1, 2], [3]], [[1, 2], [3]]),
    ([-np.inf, 0.0], [-np.inf, 0.0]),
    (np.zeros((0, 3)), np.zeros((0, 3))),
]

WRONG = [
    (4, 3, r"got 4, expected 3"),
    (2**70 + 1, 2**70, r"expected 1180591620717411303424"),
    (None, 3, r"got None, expected 3.*without `return`"),
    (3, None, r"got 3, expected None"),
    ("3", 3, r"got '3', expected numbers like 3"),
    (3, "3", r"got 3, expected '3'"),
    ("Text", "text", r"got 'Text', expected 'text'"),
    (b"a", "a", r"got b'a', expected 'a'"),
    (1, True, r"got 1, expected True"),
    (False, True, r"got False, expected True"),
    (np.bool_(False), True, r"expected True"),
    ([1, 2], [1, 2, 3], r"got shape \(2,\), expected shape \(3,\)"),
    ([2, 1, 1], [2, 1, 0], r"got 1 at \[2\], expected 0 \(1 of 3 values differ\)"),
    ([[1, 2], [3, 5]], [[1, 2], [3, 4]], r"got 5 at \[1, 1\], expected 4"),
    ([[1], [2, 3]], [[1, 2], [3, 4]], r"expected numbers like"),
    (np.zeros((2, 3)), np.zeros((3, 2)), r"got shape \(2, 3\), expected shape \(3, 2\)"),
    ([1.0, np.nan], [1.0, 2.0], r"got NaN.*division by zero"),
    (torch.tensor([1, 3]), [1, 2], r"got 3 at \[1\], expected 2"),
    (["a", "c"], ["a", "b"], r"got 'c' at \[1\], expected 'b'"),
    (np.array(["a", "c"]), ["a", "b"], r"at \[1\], expected 'b'"),
    (["a"], ["a", "b"], r"got 1 items, expected 2"),
    ("ab", ["a", "b"], r"got 'ab', expected a sequence like"),
    (iter("ab"), ["a", "b"], r"expected a sequence like"),
    ({"a": 1, "b": 2}, ["a", "b"], r"expected a sequence like"),
    ([("a", 1), ("b", 3)], [("a", 1), ("b", 2)], r"got 3 at \[1\]\[1\], expected 2"),
    ({"a": 1}, {"a": 1, "b": 2}, r"the key 'b' is missing \(1 of 2 are\)"),
    ({"a": 1, "c": 2}, {"a": 1}, r"the key 'c' should not be there"),
    ({"a": {"b": [1, 2]}}, {"a": {"b": [1, 3]}}, r"got 2 at \['a'\]\['b'\]\[1\], expected 3"),
    ([1], {"a": 1}, r"expected a mapping like"),
    (["a"], {"a"}, r"got \['a'\], expected \{'a'\}"),
    ({1: 0}, [0], r"expected numbers like"),
    (np.array([True, True]), np.array([True, False]), r"\[1\], expected False"),
    (5.0, np.inf, r"got 5.0, expected inf"),
    ([-np.inf], [np.inf], r"got -inf at \[0\], expected inf"),
]


def pairs(table):
    return pytest.mark.parametrize(
        "case",
        range(len(table)),
        ids=lambda case: f"{case}: {type(table[case][0]).__name__} for {type(table[case][1]).__name__}",
    )


@pairs(RIGHT)
@pytest.mark.parametrize("compare", [checks.equal, checks.close])
def test_right_answer_is_accepted(compare, case):
    compare(*RIGHT[case])


@pairs(WRONG)
@pytest.mark.parametrize("compare", [checks.equal, checks.close])
def test_wrong_answer_is_refused_with_what_came_and_what_was_expected(compare, case):
    got, expected, says = WRONG[case]
    with pytest.raises(checks.CheckFailed, match=says):
        compare(got, expected)


@pytest.mark.parametrize("compare", [checks.equal, checks.close])
def test_hint_is_named_as_likely_cause(compare):
    with pytest.raises(checks.CheckFailed, match="Likely cause: the axis is the other one"):
        compare([1, 2], [2, 1], hint="the axis is the other one")


def test_close_allows_a_tolerance_and_equal_does_not():
    checks.close([1.0, 2.0], [1.0 + 1e-9, 2.0])
    checks.close(1.05, 1.0, rtol=0.1)
    with pytest.raises(checks.CheckFailed, match="got 1.0"):
        checks.equal([1.0, 2.0], [1.0 + 1e-9, 2.0])
    with pytest.raises(checks.CheckFailed, match="got 1.2, expected 1.0"):
        checks.close(1.2, 1.0, rtol=0.1)


def test_nan_is_close_to_nothing():
    for expected in (0.0, np.nan, np.inf):
        with pytest.raises(checks.CheckFailed, match="(?i)nan"):
            checks.close(np.nan, expected)


def test_comparing_something_else_than_plain_data_is_a_mistake_of_the_check():
    with pytest.raises(TypeError, match="plain data, not object"):
        checks.equal(1, object())


def test_fail_raises_an_assertion_error_with_its_message():
    with pytest.raises(AssertionError, match="^too short$") as caught:
        checks.fail("too short")
    assert caught.type is checks.CheckFailed


@pytest.mark.parametrize("condition", [True, np.bool_(True)])
def test_true_accepts_a_truth(condition):
    checks.true(condition, "hint")


@pytest.mark.parametrize("condition", [False, np.bool_(False), None, 1, "yes", [True], np.array([True, True])])
def test_true_refuses_everything_else(condition):
    with pytest.raises(checks.CheckFailed, match="^must be a truth$"):
        checks.true(condition, "must be a truth")


def raising(error):
    def call():
        raise error

    return call


def test_raises_accepts_the_error_and_its_kinds():
    checks.raises(ValueError, raising(ValueError("no")))
    checks.raises(ValueError, raising(UnicodeError("no")))
    checks.raises(NotImplementedError, raising(NotImplementedError("right here")))


def test_raises_says_what_came_instead():
    with pytest.raises(checks.CheckFailed, match=r"expected a ValueError, but got \[1, 2\]. Likely cause: no guard"):
        checks.raises(ValueError, lambda: [1, 2], hint="no guard")
    with pytest.raises(checks.CheckFailed, match="expected a ValueError, but got KeyError: 'k'"):
        checks.raises(ValueError, raising(KeyError("k")))


@pytest.mark.parametrize("error", [ValueError, RuntimeError, Exception])
def test_raises_is_never_satisfied_by_an_empty_task(error):
    with pytest.raises(NotImplementedError, match="not attempted"):
        checks.raises(error, raising(NotImplementedError("not attempted yet")))


def test_unchanged_names_the_argument():
    checks.unchanged([1, [2]], [1, [2]])
    checks.unchanged(np.array([1.0, np.nan]), np.array([1.0, np.nan]))
    with pytest.raises(checks.CheckFailed, match="your function changed the counts: work on a copy"):
        checks.unchanged([1, 2], [1, 3], "the counts")
    with pytest.raises(checks.CheckFailed, match="changed its input"):
        checks.unchanged({"a": [1]}, {"a": [1, 2]})


def total(values):
    return sum(values)


def total_from_second(values):
    return sum(values[1:])


def total_and_empty(values):
    answer = sum(values)
    values.clear()
    return answer


def total_crashes(values):
    return values[99]


def total_is_empty(values):
    raise NotImplementedError("not attempted yet")


def declared(call, **others):
    return {
        "title": "total of random numbers",
        "call": call,
        "inputs": lambda rng: (rng.integers(1, 9, 4).tolist(),),
        "reference": sum,
        "hint": "each number counts",
    } | others


def test_hidden_accepts_a_right_answer():
    checks.hidden(**declared("total"))
    checks.hidden(**declared("lambda values: total(values)", compare=checks.equal))


@pytest.mark.parametrize(
    ("call", "says"),
    [
        ("total_from_second", r"total of random numbers: got \d+, expected \d+. Likely cause: each number counts"),
        ("total_from_second", r"for the input: \[\d, \d, \d, \d\]"),
        ("total_and_empty", "your function changed its argument 1"),
        ("total_crashes", r"your code raised IndexError: list index out of range\n  for the input: \["),
        ("lambda values: None", "got None"),
    ],
)
def test_hidden_says_what_is_wrong_and_for_which_input(call, says):
    with pytest.raises(checks.CheckFailed, match=says):
        checks.hidden(**declared(call))


def test_hidden_lets_an_empty_task_say_that_it_is_empty():
    with pytest.raises(NotImplementedError, match="not attempted"):
        checks.hidden(**declared("total_is_empty"))


def test_hidden_draws_fresh_inputs_unless_seeded(monkeypatch):
    def drawn():
        seen = []
        checks.hidden(**declared("total", inputs=lambda rng: (seen.append(rng.integers(2**40)) or [1],)))
        return seen

    monkeypatch.delenv("BOW2GPT_SEED", raising=False)
    first, second = drawn(), drawn()
    assert len(set(first)) == 5
    assert first != second
    monkeypatch.setenv("BOW2GPT_SEED", "7")
    assert drawn() == drawn()


def test_hidden_keeps_the_reference_from_changing_what_the_learner_gets():
    def reference(values):
        values.append(1)
        return sum(values) - 1

    checks.hidden(**declared("total", reference=reference))


@pytest.mark.parametrize("value", [list(range(10_000)), "a\nb " * 500])
def test_show_is_one_short_line(value):
    shown = checks.show(value)
    assert len(shown) <= 240
    assert "\n" not in shown
    assert shown.endswith("...")


def test_run_names_the_error_inside_a_call():
    assert checks.run(lambda: 3) == 3
    with pytest.raises(checks.CheckFailed, match=r"your code raised KeyError: 'z'. Likely cause: ignore unknown words"):
        checks.run(lambda: {}["z"], hint="ignore unknown words")
    with pytest.raises(NotImplementedError):
        checks.run(lambda: (_ for _ in ()).throw(NotImplementedError("not attempted yet")))


@pytest.mark.parametrize("came", [None, "ab", [[1], [1, 2]], [1, 2, 3], 5])
def test_array_refuses_what_is_not_numbers_of_the_shape(came):
    with pytest.raises(checks.CheckFailed, match="got .*expected numbers of shape"):
        checks.array(came, (2,), "one place each")


def test_array_takes_lists_and_tensors():
    import torch

    for came in ([1, 2], (1, 2), np.array([1, 2]), torch.tensor([1, 2])):
        assert checks.array(came, (2,)).tolist() == [1, 2]
