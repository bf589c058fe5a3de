"""How far a learner is: graded results, remembered until the notebook or its checks change; and, after a pass or three
honest tries of a task, its solution."""

from __future__ import annotations

import ast
import hashlib
import json
import re
from dataclasses import asdict
from pathlib import Path

from nbformat import NotebookNode

from .grade import Options, Result, TaskResult, grade, no_points
from .notebooks import fingerprint, read_notebook
from .paths import UNLOCKED, CourseError, exercise_path, exercises, keep, write_atomically
from .release import Exercise, build_release, is_untouched, read_exercise
from .repair import marks

TRIES = 3  # different answers to a task, all wrong, that unlock its solution
_STORE = Path(".bow2gpt", "progress.json")
_MARKS = re.compile(r"[ \t]*### (BEGIN|END) SOLUTION\n?")


def check(root: Path, exercise: str, again: bool = True, options: Options | None = None) -> Result:
    """Grade the learner's notebook of an exercise, remember the result, and unlock the solutions that it earned.

    Args:
        root: the clone.
        exercise: like `02_counting_models`.
        again: grade even if neither the notebook nor the checks changed since the last time.
        options: how to grade.

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
    result = grade({"you": path}, exercise, root, options=options)["you"]
    if not result.error:
        store = _load(root)
        tries = _with_new_tries(_tries(store, exercise), result, notebook, source)
        notes = list(result.notes)
        store[exercise] = {"key": key, "tasks": [asdict(task) for task in result.tasks], "notes": notes, "tries": tries}
        write_atomically(root / _STORE, (json.dumps(store, indent=1, sort_keys=True) + "\n").encode())
        _unlock(root, source, tries)
    return result


def unlocked(root: Path, exercise: str) -> dict[str, bool]:
    """Of each task that was tried: whether its solution can be read now."""
    return {task: _is_enough(tries) for task, tries in _tries(_load(root), exercise).items()}


def _tries(store: dict, exercise: str) -> dict[str, list[str]]:
    """What was tried for each task: a digest of each wrong answer; `passed` is one, too."""
    known = store.get(exercise)
    tries = known.get("tries") if isinstance(known, dict) else None
    return tries if isinstance(tries, dict) else {}


def _with_new_tries(tries: dict, result: Result, notebook: NotebookNode, source: Exercise) -> dict[str, list[str]]:
    answers = {marks(cell).get("grade_id"): cell.source for cell in notebook.cells}
    tries = {task: list(known) for task, known in tries.items()}
    for task in result.tasks:
        known = tries.setdefault(task.name, [])
        digest = _digest(answers.get(task.name, ""))
        passed = task.points == task.maximum
        if passed and "passed" not in known:
            known.append("passed")
        elif not passed and digest and digest not in known:
            known.append(digest)
    return {task: known for task, known in tries.items() if known and task in source.tasks}


def _digest(answer: str) -> str:
    """The same for answers that differ in comments and spaces only; empty for one that is no try."""
    if "raise NotImplementedError" in answer:
        return ""
    try:
        tree = ast.parse(answer)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return ""
    return hashlib.sha256(ast.dump(tree).encode()).hexdigest()[:16] if tree.body else ""


def _is_enough(tries: list[str]) -> bool:
    return "passed" in tries or len(tries) >= TRIES


def _unlock(root: Path, exercise: Exercise, tries: dict[str, list[str]]) -> None:
    """Write the solutions that may be read, folded, beside the exercise."""
    open_now = [task for task in exercise.tasks.values() if _is_enough(tries.get(task.name, []))]
    if not open_now:
        return
    folded = [
        f"<details>\n<summary><code>{task.name}</code></summary>\n\n"
        f"```python\n{_MARKS.sub('', task.solution).strip()}\n```\n\n</details>\n"
        for task in open_now
    ]
    text = "# Solutions that you have unlocked\n\nOne way of several; click a name to unfold it.\n\n"
    path = root / exercise_path(exercise.id).with_name(UNLOCKED)
    write_atomically(path, (text + "\n".join(folded)).encode())


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
    return Result(tuple(TaskResult(**task) for task in known["tasks"]), notes=tuple(known.get("notes", ())))


def _load(root: Path) -> dict:
    """What is remembered; a damaged file only costs grading again."""
    try:
        store = json.loads((root / _STORE).read_text(encoding="utf-8"))
        return store if isinstance(store, dict) else {}
    except (OSError, ValueError):
        return {}
