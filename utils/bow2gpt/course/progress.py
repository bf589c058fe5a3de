"""How far a learner is: graded results, remembered until the notebook or its checks change."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict
from pathlib import Path

from .grade import Result, TaskResult, grade, no_points
from .notebooks import fingerprint, read_notebook
from .paths import CourseError, exercise_path, exercises, keep, write_atomically
from .release import build_release, is_untouched, read_exercise

_STORE = Path(".bow2gpt", "progress.json")


def check(root: Path, exercise: str, again: bool = True) -> Result:
    """Grade the learner's notebook of an exercise and remember the result.

    Args:
        root: the clone.
        exercise: like `02_counting_models`.
        again: grade even if neither the notebook nor the checks changed since the last time.

    Returns:
        The result; for an untouched exercise 0 points, without running it.
    """
    source = read_exercise(root, exercise)
    path = root / exercise_path(exercise)
    try:
        notebook = read_notebook(path)
    except CourseError as error:
        cure = f"`bow2gpt reset {exercise[:2]}` gives a fresh one and keeps what was there"
        return no_points(source, "", error=f"{error}: {cure}")
    if is_untouched(notebook):
        return no_points(source)
    key = {"notebook": fingerprint(notebook), "checks": hashlib.sha256(source.source.read_bytes()).hexdigest()}
    if not again and (known := _remembered(root, exercise, key)):
        return known
    result = grade({"you": path}, exercise, root)["you"]
    if not result.error:
        store = _load(root)
        store[exercise] = {"key": key, "tasks": [asdict(task) for task in result.tasks]}
        write_atomically(root / _STORE, (json.dumps(store, indent=1, sort_keys=True) + "\n").encode())
    return result


def progress(root: Path) -> dict[str, Result]:
    """The result of every exercise; only what changed since its last check is graded."""
    return {exercise: check(root, exercise, again=False) for exercise in exercises(root)}


def reset(root: Path, exercise: str) -> Path | None:
    """Give the learner a fresh copy of an exercise.

    Args:
        root: the clone.
        exercise: like `02_counting_models`.

    Returns:
        Where the learner's work is kept, or None if there was none.
    """
    path = root / exercise_path(exercise)
    fresh = build_release(root, read_exercise(root, exercise))
    kept = None
    if path.exists():
        try:
            untouched = is_untouched(read_notebook(path))
        except CourseError:
            untouched = False
        kept = None if untouched else keep(path)
    write_atomically(path, fresh)
    return kept


def _remembered(root: Path, exercise: str, key: dict[str, str]) -> Result | None:
    known = _load(root).get(exercise)
    if not isinstance(known, dict) or known.get("key") != key:
        return None
    return Result(tuple(TaskResult(**task) for task in known["tasks"]))


def _load(root: Path) -> dict:
    """What is remembered; a damaged file only costs grading again."""
    try:
        store = json.loads((root / _STORE).read_text(encoding="utf-8"))
        return store if isinstance(store, dict) else {}
    except (OSError, ValueError):
        return {}
