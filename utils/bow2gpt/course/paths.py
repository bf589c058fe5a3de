"""Where things are in a clone of the book, and how a file is written whole or not at all."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

NUMBERED = re.compile(r"(\d\d)_([a-z][a-z0-9_]*)")  # of chapters and exercises: number, name

UNLOCKED = "unlocked_solutions.md"  # beside an exercise: what its learner may read

_PACKAGE = Path(__file__).resolve().parents[1]


class CourseError(ValueError):
    """Something that the person at the keyboard can mend; the message is one line that says how."""


class UsageError(CourseError):
    """The command itself was wrong."""


def find_root(start: Path | None = None) -> Path:
    """Find the clone of the book: upwards from a folder, else where this package is installed from.

    Args:
        start: where to begin; the current folder if not given.

    Raises:
        UsageError: if neither is inside a clone.
    """
    here = (start or Path.cwd()).resolve()
    for folder in (here, *here.parents, *_PACKAGE.parents):
        if (folder / "nbgrader_config.py").is_file() and (folder / "chapters").is_dir():
            return folder
    raise UsageError(f"{here} is not inside a clone of the book: change to the folder that you cloned, and try again")


def name_of(numbered: str) -> str:
    """The name in a numbered file or folder: `counting_models` of `02_counting_models`.

    Raises:
        CourseError: if it is not two digits, an underscore and a lower-case name.
    """
    match = NUMBERED.fullmatch(numbered)
    if not match:
        raise CourseError(f"{numbered!r} is not a number and a name like 02_counting_models: rename it")
    return match[2]


def exercises(root: Path) -> list[str]:
    """The exercises of the course, like `02_counting_models`, in order."""
    return sorted(path.parent.name for path in root.glob("solutions/[0-9]*/*.py"))


def find_exercise(root: Path, wanted: str) -> str:
    """The exercise that "2", "02" or "02_counting_models" means.

    Raises:
        UsageError: if there is none; the message lists those that exist.
    """
    known = exercises(root)
    for exercise in known:
        if wanted == exercise or (wanted.isdecimal() and int(wanted) == int(exercise[:2])):
            return exercise
    raise UsageError(f"there is no exercise {wanted!r}; there is: {', '.join(known) or 'none yet'}")


def exercise_path(exercise: str) -> Path:
    """A learner's notebook of an exercise, relative to the root."""
    return Path("exercises", exercise, f"{name_of(exercise)}.ipynb")


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Give a path beside the file to write to; it takes the file's place at the end, unless something was raised."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file so that whoever reads it, even after an interruption, sees the old content or the new."""
    with atomic_path(path) as temporary:
        temporary.write_bytes(content)


def keep(path: Path) -> Path:
    """Copy a file to a dated name beside it, and say which: `name.kept-20261123-231500.ipynb`."""
    stamp = datetime.now().strftime("%Y%m%d-%H%M%S")
    kept = path.with_name(f"{path.stem}.kept-{stamp}{path.suffix}")
    counter = 1
    while kept.exists():  # two in one second
        counter += 1
        kept = path.with_name(f"{path.stem}.kept-{stamp}-{counter}{path.suffix}")
    write_atomically(kept, path.read_bytes())
    return kept
