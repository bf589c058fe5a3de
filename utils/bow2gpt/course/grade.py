"""Grade learners' notebooks with nbgrader, in a course directory that exists only meanwhile.

But: the learner's code runs as you, with your files in reach. Do not grade strangers with this.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING

import nbformat
from nbformat import NotebookNode

from .notebooks import dump, read_notebook
from .paths import CourseError, exercise_path
from .release import Exercise, last_error, read_exercise, temporary_course

if TYPE_CHECKING:
    from nbgrader.apps.api import NbGraderAPI

NOT_ATTEMPTED = "not attempted yet"
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")


@dataclass(frozen=True)
class TaskResult:
    """The points of one task, and the first thing that its checks said."""

    name: str
    points: float
    maximum: float
    message: str = ""


@dataclass(frozen=True)
class Result:
    """What one notebook earned; with an error, nothing, and why."""

    tasks: tuple[TaskResult, ...]
    error: str = ""

    @property
    def points(self) -> float:
        return sum(task.points for task in self.tasks)

    @property
    def maximum(self) -> float:
        return sum(task.maximum for task in self.tasks)


def autograde(course: NbGraderAPI, exercise: str, student: str) -> None:
    """Run one submission of a course directory and save its points in the course's gradebook.

    Raises:
        CourseError: if the run could not be completed.
    """
    from sqlalchemy.exc import SAWarning

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SAWarning)  # of nbgrader's own making, and harmless
        outcome = course.autograde(exercise, student)
    if not outcome["success"]:
        cause = last_error(outcome)
        if "DeadKernelError" in cause:
            cause = "Python itself ended while the notebook ran: does a cell exit it, or fill the memory?"
        raise CourseError(f"could not be graded: {cause}")


def grade(
    notebooks: Mapping[str, Path],
    exercise: str,
    root: Path,
    processes: int = 1,
    run: Callable[[NbGraderAPI, str, str], None] = autograde,
) -> dict[str, Result]:
    """Grade notebooks of one exercise.

    Args:
        notebooks: the notebook of each student.
        exercise: like `02_counting_models`.
        root: the clone.
        processes: how many notebooks to run at once, each process in its own temporary course.
        run: runs one submission; `autograde`, or another that leaves the same traces in the course directory.

    Returns:
        A result for each student. A notebook that cannot be graded has an error and stops no other.

    Raises:
        CourseError: if the exercise itself is broken.
    """
    processes = max(1, min(processes, len(notebooks)))
    if processes == 1:
        return _grade_in_turn(dict(notebooks), exercise, root, run)
    shares = [dict(list(notebooks.items())[first::processes]) for first in range(processes)]
    with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
        started = [pool.submit(_grade_in_turn, share, exercise, root, run) for share in shares]
        results = {student: result for done in started for student, result in done.result().items()}
    return {student: results[student] for student in notebooks}


def no_points(exercise: Exercise, message: str = NOT_ATTEMPTED, error: str = "") -> Result:
    """A result of zero, with one message on each task."""
    return Result(tuple(TaskResult(task.name, 0.0, task.points, message) for task in exercise.tasks.values()), error)


def _grade_in_turn(
    notebooks: dict[str, Path], exercise_id: str, root: Path, run: Callable[[NbGraderAPI, str, str], None]
) -> dict[str, Result]:
    exercise = read_exercise(root, exercise_id)
    results = {}
    with temporary_course(root, exercise) as course:
        folder = Path(course.coursedir.root)
        release = read_notebook(folder / exercise_path(exercise_id))
        for number, (student, path) in enumerate(notebooks.items()):
            student_id = f"student{number}"  # nbgrader has rules for names; learners' names need not follow them
            place = Path(student_id, exercise_id, f"{exercise.source.stem}.ipynb")
            try:
                submission = mend(read_notebook(path), release)
                (folder / "submitted" / place).parent.mkdir(parents=True)
                (folder / "submitted" / place).write_bytes(dump(submission))
                run(course, exercise_id, student_id)
                graded = read_notebook(folder / "autograded" / place)
                results[student] = _result(course, exercise, student_id, graded)
            except CourseError as error:
                results[student] = no_points(exercise, "", error=str(error))
    return results


def mend(submission: NotebookNode, release: NotebookNode) -> NotebookNode:
    """Put back the marked cells that a learner deleted, and the marks that an editor lost.

    Each missing cell goes after the marked cell that precedes it in the release. nbgrader itself restores the text of
    the cells that are not the learner's.

    Args:
        submission: a learner's notebook.
        release: the exercise as released.

    Returns:
        A new notebook, without outputs.
    """
    marks = {cell.metadata.nbgrader.grade_id: cell for cell in release.cells if "nbgrader" in cell.metadata}
    cells, found = [], set()
    for cell in nbformat.from_dict(submission).cells:
        grade_id = cell.metadata.pop("nbgrader", {}).get("grade_id")
        if grade_id in marks and grade_id not in found:  # a copy of a marked cell is the learner's own
            found.add(grade_id)
            cell.metadata["nbgrader"] = dict(marks[grade_id].metadata.nbgrader)
        cells.append(cell)
    position = 0
    for grade_id, original in marks.items():
        if grade_id in found:
            at = [cell.metadata.get("nbgrader", {}).get("grade_id") for cell in cells].index(grade_id)
            position = at + 1
        else:
            cells.insert(position, nbformat.from_dict(original))
            position += 1
    for number, cell in enumerate(cells):
        cell.id = f"cell-{number}"
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    return nbformat.from_dict({**release, "cells": cells})


def _result(course: NbGraderAPI, exercise: Exercise, student_id: str, graded: NotebookNode) -> Result:
    """Points from the gradebook, messages from the notebook that was run."""
    from nbgrader.api import Gradebook

    with Gradebook(course.coursedir.db_url) as gradebook:
        saved = gradebook.find_submission_notebook(exercise.source.stem, exercise.id, student_id)
        points = {grade.name: float(grade.auto_score or 0) for grade in saved.grades}
    cells = {cell.metadata.nbgrader.get("grade_id"): cell for cell in graded.cells if "nbgrader" in cell.metadata}
    results = []
    for task in exercise.tasks.values():
        said = (_message(cells[check], cells[task.name]) for check in task.checks if points[check] < task.checks[check])
        message = next(said, "")
        results.append(TaskResult(task.name, sum(points[check] for check in task.checks), task.points, message))
    return Result(tuple(results))


def _message(check: NotebookNode, answer: NotebookNode) -> str:
    """What a check said, or why it could say nothing."""
    error = _first_error(check.outputs)
    if error is None:
        printed = "".join(output.text for output in check.outputs if output.get("name") == "stderr").strip()
        return (
            f"the check was disturbed by what your code wrote to standard error: {printed}"
            if printed
            else "the check did not pass"
        )
    if error.ename == "NameError" and (first := _first_error(answer.outputs)):
        if first.ename == "NotImplementedError":
            return NOT_ATTEMPTED
        return f"your cell does not run: {_described(first)}"
    return _described(error)


def _first_error(outputs: Iterable[NotebookNode]) -> NotebookNode | None:
    return next((output for output in outputs if output.output_type == "error"), None)


def _described(error: NotebookNode) -> str:
    text = _COLOUR.sub("", error.evalue).strip()
    if error.ename == "CheckFailed":
        return text
    if error.ename == "NotImplementedError":
        return NOT_ATTEMPTED
    if error.ename in ("CellTimeoutError", "KeyboardInterrupt"):  # the grader interrupts what takes too long
        return "it took too long and was stopped: is there a loop that never ends?"
    return f"{error.ename}: {text}" if text else error.ename
