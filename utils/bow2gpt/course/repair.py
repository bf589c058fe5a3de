"""A submitted notebook made whole: everything but the learner's own cells comes from the release.

But: what a learner wrote is never changed. A cell that holds no answer cannot be repaired into one.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import nbformat
from nbformat import NotebookNode

from .notebooks import is_setup

_DEFINED = re.compile(r"^(?:def|class)\s+(\w+)", re.MULTILINE)


@dataclass(frozen=True)
class Repaired:
    """A notebook to grade, and what was mended, in sentences for the learner.

    Attributes:
        notebook: the cells of the release in their order, with the learner's answers, and the learner's own cells after
            the cells that they followed.
        notes: what was missing, doubled or changed.
    """

    notebook: NotebookNode
    notes: tuple[str, ...]


def repair(submission: NotebookNode, release: NotebookNode) -> Repaired:
    """Rebuild a notebook from its release and the learner's cells.

    The learner's version of an answer is found by nbgrader's id, else by the cell's id, else by the names that it
    defines, else by its place between two known cells. Of several copies that were worked on, the last above the
    checks counts, as it does when the notebook is run from the top.

    Args:
        submission: a valid notebook, whatever it holds.
        release: the exercise as released.
    """
    theirs = [_copy(cell) for cell in submission.cells if cell.source.strip()]
    match = _match(theirs, release.cells)
    released = {_plain(cell.source) for cell in release.cells}
    notes = tuple(_notes(theirs, match, release.cells))
    followers: dict[int, list[NotebookNode]] = {}
    anchor = -1
    for place, cell in enumerate(theirs):
        if place in match:
            anchor = match[place]
        elif _plain(cell.source) not in released:
            followers.setdefault(anchor, []).append(_own(cell))
    mine = {number: theirs[place] for place, number in match.items()}
    cells = followers.get(-1, [])
    for number, original in enumerate(release.cells):
        cell = _copy(original)
        if number in mine and _is_open(original):
            cell.source = mine[number].source
        elif is_answer(original) and cell.cell_type == "code":
            cell.source = ""  # not the stub: another cell may define what it would
        cells += [cell, *followers.get(number, [])]
    for number, cell in enumerate(cells):
        cell.id = f"cell-{number}"
    return Repaired(nbformat.from_dict({**release, "cells": cells}), notes)


def marks(cell: NotebookNode) -> dict:
    """What nbgrader's metadata say of a cell; empty for a cell that is not its."""
    found = cell.metadata.get("nbgrader")
    return found if isinstance(found, dict) and isinstance(found.get("grade_id"), str) else {}


def _grade_id(cell: NotebookNode) -> str:
    return marks(cell).get("grade_id", "")


def is_check(cell: NotebookNode) -> bool:
    """True for a cell of tests that is graded by running it."""
    return bool(marks(cell).get("grade")) and not marks(cell).get("solution") and cell.cell_type == "code"


def is_answer(cell: NotebookNode) -> bool:
    """True for a cell that a learner fills in."""
    return bool(marks(cell).get("solution") or marks(cell).get("task"))


def _is_open(cell: NotebookNode) -> bool:
    """Whether a cell of the release is the learner's to change."""
    return is_answer(cell) or (not marks(cell) and cell.cell_type == "code")


def _match(theirs: list[NotebookNode], release: list[NotebookNode]) -> dict[int, int]:
    """For each of the learner's cells that stands for one of the release's: which; each at most once."""
    match: dict[int, int] = {}

    def add(same: Callable[[NotebookNode, NotebookNode], bool]) -> None:
        taken = set(match.values())
        for number, original in enumerate(release):
            if number not in taken:
                free = [place for place, cell in enumerate(theirs) if place not in match]
                found = [place for place in free if same(theirs[place], original)]
                if chosen := _choose(found, theirs, original, _end(theirs, release, number)):
                    match[chosen[0]] = number

    add(lambda cell, original: bool(marks(original)) and _grade_id(cell) == _grade_id(original))
    add(lambda cell, original: cell.get("id") == original.get("id") and cell.cell_type == original.cell_type)
    add(lambda cell, original: _plain(cell.source) == _plain(original.source))
    add(lambda cell, original: is_answer(original) and bool(_names(original)) and _names(original) <= _names(cell))
    return match | _by_place(theirs, release, match)


def _choose(found: list[int], theirs: list[NotebookNode], original: NotebookNode, end: int | None) -> list[int]:
    """Of several copies the last above the checks that was worked on, else the first that was, else the first."""
    worked_on = [place for place in found if _plain(theirs[place].source) != _plain(original.source)]
    above = [place for place in worked_on if end is None or place < end]
    return above[-1:] or worked_on[:1] or found[:1]


def _end(theirs: list[NotebookNode], release: list[NotebookNode], number: int) -> int | None:
    """Where the first check after a cell of the release stands in the submission."""
    following = (marks(cell)["grade_id"] for cell in release[number:] if is_check(cell))
    wanted = next(following, None)
    return next((place for place, cell in enumerate(theirs) if wanted and marks(cell).get("grade_id") == wanted), None)


def _by_place(theirs: list[NotebookNode], release: list[NotebookNode], match: dict[int, int]) -> dict[int, int]:
    """Answers without any mark: the one unknown cell of the right kind between the same two known cells."""
    number_to_place = {number: place for place, number in match.items()}
    found = {}
    for number, original in enumerate(release):
        if number in number_to_place or not is_answer(original):
            continue
        before = max((n for n in number_to_place if n < number), default=None)
        after = min((n for n in number_to_place if n > number), default=None)
        first = 0 if before is None else number_to_place[before] + 1
        last = len(theirs) if after is None else number_to_place[after]
        free = [p for p in range(first, last) if p not in match and p not in found]
        free = [p for p in free if theirs[p].cell_type == original.cell_type and not marks(theirs[p])]
        if len(free) == 1:
            found[free[0]] = number
    return found


def _notes(theirs: list[NotebookNode], match: dict[int, int], release: list[NotebookNode]) -> Iterator[str]:
    place_of = {number: place for place, number in match.items()}
    for number, original in enumerate(release):
        name = _grade_id(original)
        if not name or is_setup(original):  # older exercises have none, and nothing in it is the learner's
            continue
        copies = sum(_grade_id(cell) == name for cell in theirs)
        if number not in place_of:
            yield f"the cell {name} was missing; it was put back"
        elif copies > 1:
            yield f"the cell {name} was there {copies} times"
        if number in place_of and not _is_open(original):
            came = theirs[place_of[number]].source
            if _plain(came) != _plain(original.source):
                yield f"the cell {name} was changed; it was run as released"
    order = [match[place] for place in sorted(match)]
    if order != sorted(order):
        yield "the cells were in another order; they were run in the order of the release"


def _names(cell: NotebookNode) -> set[str]:
    """What a code cell defines at its outermost level."""
    if cell.cell_type != "code":
        return set()
    try:
        body = ast.parse(cell.source).body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return set(_DEFINED.findall(cell.source))
    return {node.name for node in body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)}


def _plain(source: str) -> str:
    return "\n".join(line.rstrip() for line in source.strip().splitlines())


def _copy(cell: NotebookNode) -> NotebookNode:
    copied = nbformat.from_dict(cell)
    if copied.cell_type == "code":
        copied.outputs, copied.execution_count = [], None
    copied.pop("attachments", None)
    return copied


def _own(cell: NotebookNode) -> NotebookNode:
    """A cell that the learner added: no mark on it means anything."""
    cell.metadata = nbformat.from_dict({})
    return cell
