"""Exercise sources: their short tags, the notebook that nbgrader reads, and what learners get of it.

A source `solutions/NN_name/name.py` marks its cells: `locked="imports"`, `task="name"` (the learner's cell, with
`### BEGIN SOLUTION`), `check="name" points=3` (its tests, with `### BEGIN HIDDEN TESTS`), and, for the tests of the
course only, `mistake="name" name="..." says="..."` and `alternative="name" name="..."`.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import nbformat
from nbformat import NotebookNode

from .notebooks import dump, fingerprint, read_percent, set_metadata
from .paths import CourseError, exercise_path, name_of
from .settings import course_settings

if TYPE_CHECKING:
    from nbgrader.apps.api import NbGraderAPI
    from traitlets.config import Config

# Each kind of marked cell, with the tags that it must and may have beside.
_KINDS = {
    "locked": (set(), set()),
    "task": (set(), set()),
    "check": ({"points"}, set()),
    "mistake": ({"name", "says"}, {"loses"}),
    "alternative": ({"name"}, set()),
}
_NAME = re.compile(r"[a-z][a-z0-9_]*")
_REGIONS = {"SOLUTION": "task", "HIDDEN TESTS": "check"}  # each may only stand in cells of this kind


@dataclass(frozen=True)
class Answer:
    """Code that may stand in a task's cell, known to be wrong (a mistake) or right (an alternative)."""

    task: str
    name: str
    code: str
    says: str = ""  # what the failing check must say
    loses: float = 0.0  # points


@dataclass
class Task:
    """One task: the reference answer, and the points of each of its check cells by grade id."""

    name: str
    solution: str
    checks: dict[str, float] = field(default_factory=dict)

    @property
    def points(self) -> float:
        return sum(self.checks.values())


@dataclass
class Exercise:
    """A parsed source: the notebook for nbgrader, the tasks by name, and the known answers."""

    id: str
    source: Path
    notebook: NotebookNode
    tasks: dict[str, Task]
    mistakes: list[Answer]
    alternatives: list[Answer]

    @property
    def points(self) -> float:
        return sum(task.points for task in self.tasks.values())

    @property
    def data_files(self) -> list[Path]:
        """What lies beside the source and travels with the exercise."""
        beside = (path for path in self.source.parent.rglob("*") if path.is_file())
        hidden = ("__pycache__", ".ipynb_checkpoints")
        return sorted(
            path
            for path in beside
            if path.suffix not in (".py", ".ipynb", ".pyc") and not any(part in hidden for part in path.parts)
        )


def read_exercise(root: Path, exercise: str, sources: Mapping[Path, str] | None = None) -> Exercise:
    """Parse the source of an exercise.

    Args:
        root: the clone.
        exercise: like `02_counting_models`.
        sources: texts of sources that are read instead of the files.

    Raises:
        CourseError: naming the source and the cell, if a tag or a region is not as described above.
    """
    source = root / "solutions" / exercise / f"{name_of(exercise)}.py"
    notebook = read_percent(source, (sources or {}).get(source))
    parsed = Exercise(exercise, source, notebook, {}, [], [])
    kept = []
    for number, cell in enumerate(notebook.cells, start=1):
        try:
            if _add_cell(parsed, cell):
                kept.append(cell)
        except CourseError as error:
            raise CourseError(f"solutions/{exercise}/{source.name}, cell {number}: {error}") from None
    where = f"solutions/{exercise}/{source.name}"
    for answer in [*parsed.mistakes, *parsed.alternatives]:
        if answer.task not in parsed.tasks:
            raise CourseError(f"{where}: the answer {answer.name!r} is for an unknown task {answer.task!r}")
    for task in parsed.tasks.values():
        if not task.checks:
            raise CourseError(f'{where}: the task {task.name!r} has no cell tagged `check="{task.name}" points=...`')
    parsed.mistakes = [
        answer if answer.loses else Answer(**{**vars(answer), "loses": parsed.tasks[answer.task].points})
        for answer in parsed.mistakes
    ]
    notebook.cells = kept
    set_metadata(notebook)  # again: the ids must not tell how many cells were dropped
    return parsed


def build_release(root: Path, exercise: Exercise) -> bytes:
    """What a learner gets: nbgrader's release of the exercise, signed with its own fingerprint.

    Raises:
        CourseError: if nbgrader refuses the exercise.
    """
    with temporary_course(root, exercise) as course:
        notebook = nbformat.read(Path(course.coursedir.root) / exercise_path(exercise.id), as_version=4)
    set_metadata(notebook)
    notebook.metadata["bow2gpt"] = {"release": fingerprint(notebook)}
    return dump(notebook)


def is_untouched(notebook: NotebookNode) -> bool:
    """True for an exercise as released, run or not; needs neither git nor the current release."""
    signed = notebook.metadata.get("bow2gpt", {})
    return isinstance(signed, dict) and signed.get("release") == fingerprint(notebook)


def released(source: NotebookNode, settings: Config) -> NotebookNode:
    """What nbgrader makes of a source for learners: stubs for answers, no hidden checks. Marks and order stay.

    Args:
        source: a notebook with nbgrader's marks.
        settings: of the course, see `course_settings`.
    """
    from nbgrader.preprocessors import ClearHiddenTests, ClearMarkScheme, ClearSolutions

    notebook = nbformat.from_dict(source)
    for preprocessor in (ClearSolutions, ClearHiddenTests, ClearMarkScheme):
        notebook, _ = preprocessor(config=settings).preprocess(notebook, {})
    return notebook


def answered(release: NotebookNode, answers: dict[str, str]) -> NotebookNode:
    """A copy of a released exercise with code in the cells of some tasks."""
    notebook = nbformat.from_dict(release)
    for cell in notebook.cells:
        marks = cell.metadata.get("nbgrader", {})
        if marks.get("solution") and marks["grade_id"] in answers:
            cell.source = answers[marks["grade_id"]]
    return notebook


@contextmanager
def temporary_course(root: Path, exercise: Exercise) -> Iterator[NbGraderAPI]:
    """A course directory of its own, with its own gradebook, where nbgrader has released the exercise.

    Nothing is left behind. `course.coursedir.root` is the folder.

    Raises:
        CourseError: if nbgrader refuses the exercise, or the clone's nbgrader settings are missing.
    """
    from nbgrader.apps import NbGraderAPI

    config = course_settings(root)
    with TemporaryDirectory(prefix="bow2gpt-", ignore_cleanup_errors=True) as folder:
        folder = str(Path(folder).resolve())
        config.CourseDirectory.root = folder
        config.Exchange.root = folder  # not used, but nbgrader complains about a default that it cannot write to
        course = NbGraderAPI(config=config)
        here = Path(folder, "solutions", exercise.id)
        for path in exercise.data_files:
            copy = here / path.relative_to(exercise.source.parent)
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_bytes(path.read_bytes())
        here.mkdir(parents=True, exist_ok=True)
        (here / f"{exercise.source.stem}.ipynb").write_bytes(dump(exercise.notebook))
        _skip_versioning(Path(folder, "gradebook.db"))
        outcome = course.generate_assignment(exercise.id)
        if not outcome["success"]:
            raise CourseError(f"solutions/{exercise.id}: nbgrader refused it: {last_error(outcome)}")
        yield course


def last_error(outcome: dict) -> str:
    """The line that says what went wrong, from what nbgrader's API returns."""
    lines = [line.strip() for line in (outcome.get("log") or outcome.get("error") or "").splitlines()]
    errors = [line for line in lines if re.match(r"[\w.]*(Error|Exception|Failed)\b", line)]
    return (errors or [line for line in lines if line] or ["no reason given"])[-1]


def _skip_versioning(gradebook: Path) -> None:
    """Spare a gradebook that lives for seconds the record of its version.

    To write it, nbgrader starts a program, alembic, for three seconds; and it does not find it where the environment is
    not activated. A database with a table in it is taken for one that has the record.
    """
    with closing(sqlite3.connect(gradebook)) as database, database:
        database.execute("CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL)")


def _add_cell(exercise: Exercise, cell: NotebookNode) -> bool:
    """Register one cell and expand its tags; False if the cell is not for the notebook."""
    tags = dict(cell.metadata)
    kind, value = _kind(tags)
    _check_regions(cell.source, kind)
    if kind and cell.cell_type != "code":
        raise CourseError(f"`{kind}` marks a code cell, not text: remove the tag, or `[markdown]`")
    if kind in ("mistake", "alternative"):
        loses = _points(tags["loses"], "loses") if "loses" in tags else 0.0
        answer = Answer(value, str(tags["name"]), cell.source, str(tags.get("says", "")), loses)
        (exercise.mistakes if kind == "mistake" else exercise.alternatives).append(answer)
        return False
    cell.metadata.clear()
    if kind is None:
        return True
    marks = {"grade": False, "grade_id": value, "locked": True, "schema_version": 3, "solution": False, "task": False}
    if kind == "task":
        if value in exercise.tasks:
            raise CourseError(f"the task {value!r} is there twice: give each task its own name")
        if value.endswith("_check"):
            raise CourseError(f"a task's name cannot end in _check, as {value!r} does: those are its checks'")
        if "BEGIN SOLUTION" not in cell.source:
            raise CourseError(f"the task {value!r} has no `### BEGIN SOLUTION`: nothing would be left of its cell")
        exercise.tasks[value] = Task(value, cell.source)
        marks |= {"locked": False, "solution": True}
    elif kind == "check":
        if value not in exercise.tasks:
            raise CourseError(f'a check of an unknown task {value!r}: put it after the cell tagged `task="{value}"`')
        checks = exercise.tasks[value].checks
        grade_id = f"{value}_check" + (f"_{len(checks) + 1}" if checks else "")
        checks[grade_id] = _points(tags["points"], "points")
        marks |= {"grade": True, "grade_id": grade_id, "points": tags["points"]}
    cell.metadata["nbgrader"] = marks
    return True


def _kind(tags: dict) -> tuple[str | None, str]:
    kinds = [kind for kind in _KINDS if kind in tags]
    if len(kinds) > 1:
        raise CourseError(f"a cell is one of {', '.join(_KINDS)}, not {' and '.join(kinds)}")
    required, optional = _KINDS[kinds[0]] if kinds else (set(), set())
    known = required | optional | set(kinds)
    if unknown := [tag for tag in tags if tag not in known]:
        listed = ", ".join(sorted(known or _KINDS))
        raise CourseError(
            f"unknown tag {unknown[0]!r} on a {'plain' if not kinds else kinds[0]} cell: known are {listed}"
        )
    if not kinds:
        return None, ""
    kind = kinds[0]
    if missing := sorted(required - set(tags)):
        raise CourseError(f"`{kind}` needs the tag {missing[0]!r}, which is missing")
    if not isinstance(tags[kind], str) or not _NAME.fullmatch(tags[kind]):
        raise CourseError(f'{kind}={tags[kind]!r} is not a name: write it like {kind}="count_ngrams"')
    return kind, tags[kind]


def _points(value: object, tag: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or value <= 0:
        raise CourseError(f"{tag}={value!r} is not a positive number")
    return float(value)


def _check_regions(source: str, kind: str | None) -> None:
    inside = None
    for line in source.splitlines():
        for region, owner in _REGIONS.items():
            if f"BEGIN {region}" in line:
                if inside:
                    raise CourseError(f"BEGIN {region} inside BEGIN {inside}: end the first one before")
                if kind != owner:
                    raise CourseError(f"BEGIN {region} outside a `{owner}` cell: learners would see it: tag the cell")
                inside = region
            elif f"END {region}" in line:
                if inside != region:
                    raise CourseError(f"END {region} without BEGIN {region}")
                inside = None
    if inside:
        raise CourseError(f"BEGIN {inside} without END {inside}")
