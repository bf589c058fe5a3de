"""Submitted files as they come: read without following links, and the notebook found among them.

But: nothing is run or repaired here.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Container
from dataclasses import dataclass
from pathlib import Path

from nbformat import NotebookNode

from .notebooks import parse_notebook
from .paths import CourseError
from .release import is_untouched

LARGEST = 32 * 2**20  # bytes of a submitted notebook
_MOST = 12  # files that are looked at
_DEEPEST = 3  # folders


@dataclass(frozen=True)
class Submitted:
    """The files of one submission that may be notebooks, and why others are not.

    Attributes:
        files: contents by path relative to the submission.
        refused: reasons by path.
        others: names of further files.
    """

    files: dict[str, bytes]
    refused: dict[str, str]
    others: tuple[str, ...] = ()


def read_submission(folder: Path, expected: Container[str] = ()) -> Submitted:
    """Read what may be notebooks in a submission's folder.

    Links are not followed, wherever they stand, and nothing but plain files is opened.

    Args:
        folder: of the submission.
        expected: names that are read first; of others only some are.

    Raises:
        CourseError: if the folder is a link, or cannot be read.
    """
    files: dict[str, bytes] = {}
    refused: dict[str, str] = {}
    others: list[str] = []
    try:
        if not stat.S_ISDIR(folder.lstat().st_mode):
            raise CourseError(f"{folder.name} is not a folder: submit the assignment's folder again")
        for path in sorted(_walk(folder, _DEEPEST), key=lambda path: path.name not in expected):
            name = path.relative_to(folder).as_posix()
            if ".ipynb" not in path.name.lower():
                others.append(name)
            elif len(files) + len(refused) < _MOST:
                try:
                    files[name] = _read(path)
                except CourseError as error:
                    refused[name] = str(error)
    except OSError as error:
        raise CourseError(f"the submission cannot be read: {error.strerror}") from None
    return Submitted(files, refused, tuple(others))


def _walk(folder: Path, depth: int) -> list[Path]:
    found: list[Path] = []
    for path in sorted(folder.iterdir()):
        if path.name.startswith(".") or path.name == "__MACOSX":
            continue
        if stat.S_ISDIR(path.lstat().st_mode) and ".ipynb" not in path.name:
            found += _walk(path, depth - 1) if depth > 1 else []
        else:
            found.append(path)
    return found


def _read(path: Path) -> bytes:
    mode = path.lstat()
    if stat.S_ISLNK(mode.st_mode):
        raise CourseError("it is a link to another place, not a file: submit the notebook itself")
    if stat.S_ISDIR(mode.st_mode):
        raise CourseError("it is a folder, not a file: submit the notebook itself")
    if not stat.S_ISREG(mode.st_mode):
        raise CourseError("it is not an ordinary file: submit the notebook itself")
    if mode.st_size > LARGEST:
        size = f"{mode.st_size / 2**20:.0f} MB is too large, at most {LARGEST / 2**20:.0f} MB"
        raise CourseError(f"{size}: choose Edit, Clear Outputs of All Cells in JupyterLab, save, and submit again")
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0))
    with open(descriptor, "rb") as file:
        return file.read(LARGEST + 1)[:LARGEST]


def find_notebook(submitted: Submitted, name: str, expected: set[str]) -> tuple[NotebookNode, tuple[str, ...]]:
    """The notebook to grade, also under another name.

    Args:
        submitted: the files.
        name: of the notebook, without its ending.
        expected: names of all notebooks of the assignment: what is not one of them may be a renamed one.

    Returns:
        The notebook, and what is to be said about it.

    Raises:
        CourseError: if there is none; says what is there instead, and how to mend it.
    """
    right = f"{name}.ipynb"
    taken = {f"{other}.ipynb" for other in expected}
    problem, fallback = "", None
    if right in submitted.files:
        try:
            notebook = parse_notebook(submitted.files[right], right)
            if not is_untouched(notebook):
                return notebook, ()
            fallback = notebook
        except CourseError as error:
            problem = f"{error}: open it in JupyterLab, save it, and submit again"
    elif right in submitted.refused:
        problem = f"{right}: {submitted.refused[right]}"
    for other, content in submitted.files.items():
        if other not in taken:
            try:
                notebook = parse_notebook(content, other)
            except CourseError as error:
                problem = problem or f"{error}: open it in JupyterLab, save it as {right}, and submit again"
                continue
            if not (fallback is not None and is_untouched(notebook)):
                return notebook, (f"{right} was expected; {other} was graded",)
    if fallback is not None:
        return fallback, ()
    raise CourseError(problem or _nothing(submitted, right))


def _nothing(submitted: Submitted, right: str) -> str:
    if submitted.refused:
        return ": ".join(next(iter(submitted.refused.items())))
    there = ", ".join(submitted.others[:5]) or "no file at all"
    return f"{right} is missing; there is {there}: submit the notebook under the name {right}"
