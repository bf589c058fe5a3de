"""What exercise checks are made of: comparisons that say what came, what was expected and the likely cause.

But: a comparison never decides a grade by itself. It raises `CheckFailed` with a message; nbgrader counts the points.
"""

from __future__ import annotations

import copy
import numbers
import os
import secrets
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

# What a grader that runs checks apart from the learner's code puts into their namespace:
EVALUATE = "__evaluate__"  # evaluates an expression where that code is
SEED = "__seed__"  # of the random inputs

_SHOWN = 240  # characters of a value that a message shows


class CheckFailed(AssertionError):
    """A check found something wrong; the message is for the learner.

    Attributes:
        title: of the hidden check that failed; empty for a visible one.
    """

    def __init__(self, message: str = "", title: str = "") -> None:
        super().__init__(message)
        self.title = title

    def _render_traceback_(self) -> list[str]:
        """What a notebook shows: the message alone. Where inside the check it was raised helps nobody."""
        return [f"\x1b[31mNot yet:\x1b[0m {self}"]


def fail(message: str) -> None:
    """Refuse the answer with a message.

    Raises:
        CheckFailed: always.
    """
    raise CheckFailed(message)


def true(condition: Any, hint: str) -> None:
    """Refuse the answer, with the hint as message, unless the condition holds.

    Raises:
        CheckFailed: if the condition is not exactly `True` (numpy's booleans included).
    """
    if not (isinstance(condition, (bool, np.bool_)) and bool(condition)):
        fail(hint)


def equal(got: Any, expected: Any, hint: str = "") -> None:
    """Compare two values of plain data (numbers, text, sequences, mappings, arrays) exactly.

    Sequences and arrays are compared item by item, so that `[2, 1]` equals `np.array([2, 1])`.

    Args:
        got: what the learner's code returned.
        expected: the right value.
        hint: the likely cause of a difference, in the subject's words.

    Raises:
        CheckFailed: saying where the first difference is, what came and what was expected.
    """
    _compare(got, expected, hint, tolerance=None)


def close(got: Any, expected: Any, hint: str = "", rtol: float = 1e-6, atol: float = 1e-9) -> None:
    """Compare like `equal`, numbers within a tolerance; NaN is never close to anything.

    Args:
        got: what the learner's code returned.
        expected: the right value.
        hint: the likely cause of a difference, in the subject's words.
        rtol: tolerance relative to the expected value.
        atol: absolute tolerance.

    Raises:
        CheckFailed: saying where the worst difference is, what came and what was expected.
    """
    _compare(got, expected, hint, tolerance=(rtol, atol))


def run(call: Callable[[], Any], hint: str = "") -> Any:
    """Give what a call returns; an error inside it is a failed check, with the likely cause.

    Raises:
        CheckFailed: naming the error.
    """
    try:
        return call()
    except (CheckFailed, NotImplementedError):
        raise
    except Exception as error:
        if isinstance(error, NameError) and error.__traceback__.tb_next.tb_next is None:
            raise  # not inside the learner's code: there is none of that name
        came = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
        raise CheckFailed(_message(f"your code raised {came}", hint)) from error


def array(got: Any, shape: tuple[int, ...], hint: str = "") -> np.ndarray:
    """Give the answer as an array, for checks that look closer: lists and tensors become arrays too.

    Args:
        got: what the learner's code returned.
        shape: the right shape; `()` for one number.
        hint: what the places of the array are.

    Raises:
        CheckFailed: if it is nothing, not numbers or of another shape.
    """
    wanted = f"numbers of shape {shape}" if shape else "one number"
    if got is None:
        fail(_message(f"got None, expected {wanted}", "a function without `return` gives None"))
    try:
        came = _array(got)
    except (ValueError, TypeError):  # rows of several lengths
        came = np.empty(0, dtype=object)
    if came.dtype.kind not in "biufc":
        fail(_message(f"got {show(got)}, expected {wanted}", hint))
    if came.shape != shape:
        fail(_message(f"got {f'shape {came.shape}' if shape else show(got)}, expected {wanted}", hint))
    return came


def raises(error: type[Exception], call: Callable[[], Any], hint: str = "") -> None:
    """Refuse the answer unless the call raises the given error.

    Raises:
        CheckFailed: if nothing, or something else, was raised.
    """
    try:
        came = show(call())
    except NotImplementedError:  # the stub's; it is also a RuntimeError
        if error is not NotImplementedError:
            raise
        return
    except error:
        return
    except Exception as other:
        came = f"{type(other).__name__}: {other}"
    fail(_message(f"expected a {error.__name__}, but got {came}", hint))


def unchanged(before: Any, after: Any, name: str = "its input") -> None:
    """Refuse the answer if an argument was modified by the call.

    Raises:
        CheckFailed: naming the argument.
    """
    try:
        equal(after, before)
    except CheckFailed:
        fail(f"your function changed {name}: work on a copy, the caller still needs the original")


def hidden(
    *,
    title: str,
    call: str,
    inputs: Callable[[np.random.Generator], tuple],
    reference: Callable[..., Any],
    compare: Callable[..., None] = close,
    hint: str = "",
    cases: int = 5,
) -> None:
    """Compare the learner's code with a reference on fresh random inputs.

    The check is declared, not written out: what to call, how to draw inputs, what is right and how to compare. So a
    grader may make the call in one process and the comparison in another.

    Args:
        title: what is tested, shown to the learner.
        call: a Python expression, evaluated where the check stands, that gives the function to call: a learner's name
            (`"bag_of_words"`) or a small `lambda` around one.
        inputs: draws the positional arguments, plain data only, from a random generator.
        reference: gives the right answer for the same arguments.
        compare: `equal`, `close`, or any function `(got, expected, hint)` that raises `CheckFailed`.
        hint: the likely cause of a difference.
        cases: how many inputs to draw.

    Raises:
        CheckFailed: on the first difference, or if the call modified its arguments.
    """
    namespace = sys._getframe(1).f_globals
    function = evaluate(call, namespace)
    seed = int(namespace.get(SEED, os.environ.get("BOW2GPT_SEED", secrets.randbits(32))))
    for case in range(cases):
        arguments = inputs(np.random.default_rng([seed, case]))
        expected = reference(*copy.deepcopy(arguments))
        given = copy.deepcopy(arguments)
        shown = f"\n  for the input: {', '.join(show(argument) for argument in arguments)}"
        try:
            got = function(*given)
        except (CheckFailed, NotImplementedError):
            raise
        except Exception as error:
            raise CheckFailed(f"{title}: your code raised {type(error).__name__}: {error}{shown}", title) from error
        try:
            compare(got, expected, hint)
            for position, (before, after) in enumerate(zip(arguments, given, strict=True), start=1):
                unchanged(before, after, f"its argument {position}")
        except CheckFailed as failure:
            raise CheckFailed(f"{title}: {failure}{shown}", title) from None


def evaluate(expression: str, namespace: dict[str, Any] | None = None) -> Any:
    """Give what an expression is where the learner's code lives, usually a function around it.

    Ten thousand draws in a loop are one question, if the loop is inside the expression.

    Args:
        expression: Python that uses the learner's names; what it is called with and returns is plain data.
        namespace: of the check; where this is called by default.
    """
    namespace = sys._getframe(1).f_globals if namespace is None else namespace
    return namespace.get(EVALUATE, lambda text: eval(f"({text})", namespace))(expression)


def show(value: Any) -> str:
    """A value as one short line."""
    text = " ".join(repr(value).split())
    return text if len(text) <= _SHOWN else text[: _SHOWN - 3] + "..."


def _message(fact: str, hint: str) -> str:
    return f"{fact}. Likely cause: {hint}" if hint else fact


def _compare(got: Any, expected: Any, hint: str, tolerance: tuple[float, float] | None, where: str = "") -> None:
    place = f" at {where}" if where else ""
    got, expected = _plain(got), _plain(expected)
    if got is None and expected is not None:
        fail(_message(f"got None{place}, expected {show(expected)}", hint or "a function without `return` gives None"))
    if isinstance(expected, Mapping):
        _compare_mappings(got, expected, hint, tolerance, where)
    elif expected is None or isinstance(expected, str | bytes | bool):
        if type(got) is not type(expected) or got != expected:
            fail(_message(f"got {show(got)}{place}, expected {show(expected)}", hint))
    elif isinstance(expected, set | frozenset):
        if not isinstance(got, set | frozenset) or got != expected:
            fail(_message(f"got {show(got)}{place}, expected {show(expected)}", hint))
    elif _is_numeric(expected):
        _compare_numbers(got, expected, hint, tolerance, where)
    elif isinstance(expected, Sequence):
        if not _is_sequence(got):
            fail(_message(f"got {show(got)}{place}, expected a sequence like {show(expected)}", hint))
        if len(got) != len(expected):
            fail(_message(f"got {len(got)} items{place}, expected {len(expected)}: {show(got)}", hint))
        for index, (item, right) in enumerate(zip(got, expected, strict=True)):
            _compare(item, right, hint, tolerance, f"{where}[{index}]")
    elif isinstance(expected, numbers.Number):  # an integer too large for an array
        if not isinstance(got, numbers.Number) or got != expected:
            fail(_message(f"got {show(got)}{place}, expected {show(expected)}", hint))
    else:
        raise TypeError(f"checks compare plain data, not {type(expected).__name__}: {show(expected)}")


def _is_sequence(value: Any) -> bool:
    try:
        return not isinstance(value, str | bytes | Mapping) and len(value) >= 0 and hasattr(value, "__getitem__")
    except TypeError:
        return False


def _plain(value: Any) -> Any:
    """Numpy's text, truth values and arrays of anything but numbers as Python's own."""
    if isinstance(value, np.ndarray) and value.dtype.kind not in "biufc":
        return value.tolist()
    return value.item() if isinstance(value, np.str_ | np.bytes_ | np.bool_) else value


def _compare_mappings(got, expected, hint, tolerance, where) -> None:
    place = f" at {where}" if where else ""
    if not isinstance(got, Mapping):
        fail(_message(f"got {show(got)}{place}, expected a mapping like {show(expected)}", hint))
    got = {key: got[key] for key in got}  # a mapping of the learner's own making is not asked for the expected keys
    if missing := [key for key in expected if key not in got]:
        fail(_message(f"the key {missing[0]!r} is missing{place} ({len(missing)} of {len(expected)} are)", hint))
    if extra := [key for key in got if key not in expected]:
        fail(_message(f"the key {extra[0]!r} should not be there{place} ({len(extra)} extra)", hint))
    for key, right in expected.items():
        _compare(got[key], right, hint, tolerance, f"{where}[{key!r}]")


def _is_numeric(value: Any) -> bool:
    """True for numbers, numeric arrays, and (nested) sequences of numbers of one shape."""
    if isinstance(value, np.ndarray) or hasattr(value, "detach"):
        return True
    if isinstance(value, str | bytes):
        return False
    try:
        return np.asarray(value).dtype.kind in "biufc"
    except ValueError:
        return False


def _array(value: Any) -> np.ndarray:
    if hasattr(value, "detach"):  # a torch tensor, without importing torch
        value = value.detach().cpu()
        return np.asarray((value.float() if "bfloat16" in str(value.dtype) else value).numpy())
    if isinstance(value, list | tuple):
        if any(isinstance(item, str | bytes) for item in value):  # numpy would give each the room of the longest
            raise ValueError("text is no number")
        if any(hasattr(item, "detach") for item in value):
            return np.array([_array(item) for item in value])
    return np.asarray(value)


def _compare_numbers(got, expected, hint, tolerance, where) -> None:
    place = f" at {where}" if where else ""
    right = _array(expected)
    try:
        came = _array(got)
    except ValueError:  # rows of several lengths, or text
        came = np.array([None])
    if came.dtype.kind not in "biufc" and came.size + right.size:
        fail(_message(f"got {show(got)}{place}, expected numbers like {show(expected)}", hint))
    if came.shape != right.shape:
        fail(_message(f"got shape {came.shape}{place}, expected shape {right.shape}", hint))
    if came.dtype.kind == "f" and np.isnan(came).any() and not np.isnan(right).any():
        fail(_message(f"got NaN{place}: a division by zero, a log of zero or inf - inf", hint))
    with np.errstate(invalid="ignore", over="ignore"):
        if tolerance is None:
            wrong = (came != right) & ~((came != came) & (right != right))  # the same NaN is no difference
        elif came.dtype.kind == right.dtype.kind == "b":
            wrong = came != right
        else:
            rtol, atol = tolerance
            near = np.abs(came - right) <= atol + rtol * np.abs(right)
            wrong = ~((came == right) | (near & np.isfinite(right)))  # nothing but infinity is near infinity
    if not np.any(wrong):
        return
    index = tuple(int(i) for i in np.argwhere(wrong)[0])
    position = f"{where}[{', '.join(map(str, index))}]" if index else where
    place = f" at {position}" if position else ""
    detail = f"got {show(came[index].item())}{place}, expected {show(right[index].item())}"
    if right.size > 1:
        detail += f" ({int(wrong.sum())} of {right.size} values differ)"
    fail(_message(detail, hint))
