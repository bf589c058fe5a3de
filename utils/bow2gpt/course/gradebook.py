"""A course directory in nbgrader's layout: what is to be graded, and the gradebook that keeps what came of it.

Only the process that the teacher started opens the gradebook. All that belongs to one student is written in one
transaction, and with it the note that this submission is done: an interrupted run goes on where it was.
"""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import stat
import sys
import time
import warnings
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass
from datetime import datetime
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from nbformat import NotebookNode

from . import feedback
from .grade import Assignment, Graded, Result, TaskResult, exercise_assignment
from .notebooks import dump, parse_notebook, read_notebook
from .paths import CourseError, UsageError, exercises, find_exercise, write_atomically
from .release import last_error, read_exercise, released
from .repair import is_answer, marks
from .settings import private_folders, settings_of
from .submissions import Submitted, read_submission

if TYPE_CHECKING:
    from nbgrader.api import Gradebook

_TRAVELS = ("timestamp.txt", "submission_secret.txt")  # nbgrader needs them beside what it gives back
_SMALL = 10_000  # bytes of such a file
_PATIENCE = 60  # seconds to wait for a gradebook that another program is writing to
_BACKUPS = 20  # kept


@dataclass(frozen=True)
class Submission:
    """One student's submission of one assignment: its folder, its files, and a digest of them."""

    student: str
    folder: Path
    content: Submitted | str  # or why it cannot be read
    digest: str


class Course:
    """A course directory.

    Args:
        folder: with the `nbgrader_config.py` of the course, or at least a `gradebook.db`.

    Raises:
        UsageError: if it is no course directory.
    """

    def __init__(self, folder: Path) -> None:
        from nbgrader.apps import NbGraderAPI
        from nbgrader.preprocessors import AssignLatePenalties
        from traitlets import TraitError

        self.folder = folder.resolve()
        self.settings = settings_of(self.folder)
        if "root" not in self.settings.CourseDirectory:
            self.settings.CourseDirectory.root = str(self.folder)
        self._directory = NbGraderAPI(config=self.settings).coursedir
        self._gradebook: Gradebook | None = None
        try:
            self._late = AssignLatePenalties(config=self.settings)
            self._late.init_plugin()
        except (TraitError, ImportError) as error:
            raise CourseError(f"nbgrader_config.py, penalties for late submissions: {error}") from None

    @property
    def seconds(self) -> float:
        """What one cell may take, from the course's own settings."""
        return float(self.settings.Execute.get("timeout", 60) or 60)

    @property
    def private(self) -> tuple[str, ...]:
        """Folders that no submission may see."""
        return private_folders(self.folder, self.settings)

    def path(self, step: str, student: str, assignment: str) -> Path:
        """A folder of the course; step is like `submitted`, in the course's own naming."""
        return Path(self._directory.format_path(getattr(self._directory, f"{step}_directory"), student, assignment))

    # What is to be graded

    def assignment(self, wanted: str) -> Assignment:
        """Read an assignment, from percent sources where the course has them, and make sure the gradebook has it.

        Raises:
            UsageError: if there is none; the message lists those that exist.
        """
        from nbgrader.utils import find_all_files

        if exercises(self.folder):
            try:
                return self._registered(exercise_assignment(self.folder, find_exercise(self.folder, wanted)))
            except UsageError:
                if not self.path("source", ".", wanted).is_dir():
                    raise
        folder = self.path("source", ".", wanted)
        notebooks = {path.stem: path for path in sorted(folder.glob("*.ipynb"))}
        if not notebooks:
            there = sorted(path.name for path in self.path("source", ".", "x").parent.glob("*") if path.is_dir())
            raise UsageError(f"there is no assignment {wanted!r}; there is: {', '.join(there) or 'none yet'}")
        sources = {name: read_notebook(path) for name, path in notebooks.items()}
        for name, notebook in sources.items():
            language = notebook.metadata.get("kernelspec", {}).get("language", "python")
            if language != "python":
                raise CourseError(f"{name}.ipynb is a notebook in {language}: only Python can be graded")
        ignored = [*self._directory.ignore, "*.ipynb"]
        files = [Path(path) for path in find_all_files(str(folder), ignored)]
        return self._registered(
            Assignment(
                wanted,
                {name: dump(notebook) for name, notebook in sources.items()},
                {name: dump(released(notebook, self.settings)) for name, notebook in sources.items()},
                {path.relative_to(folder).as_posix(): path.read_bytes() for path in files},
            )
        )

    def _registered(self, assignment: Assignment) -> Assignment:
        """Let nbgrader enter the assignment in the gradebook, if it is not there as it is now."""
        if self._known_cells(assignment) == _graded_cells(assignment):
            return assignment
        from nbgrader.apps import NbGraderAPI

        if exercises(self.folder):  # nbgrader reads notebooks, not percent sources
            exercise = read_exercise(self.folder, assignment.id)
            write_atomically(exercise.source.with_suffix(".ipynb"), dump(exercise.notebook))
        with TemporaryDirectory(prefix="bow2gpt-") as folder, _programs_found(), _quiet_database():
            config = self.settings.copy()
            config.CourseDirectory.release_directory = folder  # what learners have stays as it is
            outcome = NbGraderAPI(config=config).generate_assignment(assignment.id, force=True)
        if not outcome["success"]:
            raise CourseError(f"nbgrader refused the assignment {assignment.id}: {last_error(outcome)}")
        return assignment

    def _known_cells(self, assignment: Assignment) -> dict[tuple[str, str], float]:
        from nbgrader.api import MissingEntry

        with self.open() as gradebook:
            try:
                found = gradebook.find_assignment(assignment.id).notebooks
            except MissingEntry:
                return {}
            return {(book.name, cell.name): float(cell.max_score) for book in found for cell in book.grade_cells}

    def submissions(self, assignment: Assignment, students: list[str] | None = None) -> list[Submission]:
        """What was submitted, in the order of the students' names.

        Raises:
            UsageError: if a student was asked for who submitted nothing.
        """
        pattern = self.path("submitted", "*", assignment.id)
        place = pattern.parts.index("*")
        found = {
            path.parts[place]: path
            for path in Path(*pattern.parts[:place]).glob("/".join(pattern.parts[place:]))
            if not path.parts[place].startswith(".")
        }
        if missing := sorted(set(students or []) - set(found)):
            raise UsageError(f"{', '.join(missing)} submitted nothing for {assignment.id}: no folder {pattern}")
        chosen = sorted(set(students) if students else found)
        return [_read(student, found[student], assignment.sources) for student in chosen]

    def without_submission(self, submissions: Iterable[Submission]) -> list[str]:
        """Students whom the gradebook knows and who are not among these."""
        with self.open() as gradebook:
            return sorted({student.id for student in gradebook.students} - {one.student for one in submissions})

    # The gradebook

    @contextmanager
    def open(self) -> Iterator[Gradebook]:
        """The gradebook; made if there is none. What one caller read is forgotten before the next."""
        from nbgrader.api import Gradebook

        with _programs_found(), _quiet_database():
            if self._gradebook is None:
                course = self._directory.course_id or "default_course"
                self._gradebook = Gradebook(self._directory.db_url, course)
                _notes().metadata.create_all(self._gradebook.engine)
            try:
                yield self._gradebook
            finally:
                self._gradebook.db.remove()
                self._gradebook.engine.dispose()  # lets go of the file; what it compiled, which takes long, it keeps

    def done(self, assignment: str) -> dict[str, str]:
        """The key under which each student's submission was last graded."""
        from sqlalchemy import select

        table = _notes()
        with self.open() as gradebook:
            rows = gradebook.db.execute(select(table.c.student, table.c.key).where(table.c.assignment == assignment))
            return {student: key for student, key in rows if self.path("autograded", student, assignment).is_dir()}

    def results(self, assignment: str, student: str) -> dict[str, Result]:
        """What is remembered of a student's submission, by notebook; empty if nothing is."""
        from sqlalchemy import select

        table = _notes()
        with self.open() as gradebook:
            mine = (table.c.assignment == assignment) & (table.c.student == student)
            row = gradebook.db.execute(select(table.c.results).where(mine)).first()
            return _from_json(row[0]) if row else {}

    def record(
        self, submission: Submission, assignment: Assignment, graded: Mapping[str, Graded], key: str, seed: int
    ) -> None:
        """Keep what came of one submission: the graded notebooks, then, in one transaction, all points.

        Points and comments that a person gave stay; they are marked to be looked at again, as nbgrader does.
        """
        self._write_autograded(submission, assignment, graded)
        note = {
            "assignment": assignment.id,
            "student": submission.student,
            "key": key,
            "seed": seed,
            "results": _to_json({name: outcome.result for name, outcome in graded.items()}),
            "graded": datetime.now().astimezone().isoformat(timespec="seconds"),
        }
        until = time.monotonic() + _PATIENCE
        while True:
            try:
                with self.open() as gradebook:
                    self._enter(gradebook, submission, assignment, graded, note)
                return
            except Exception as error:
                if "locked" not in str(error) or time.monotonic() > until:
                    raise
                time.sleep(0.2)

    def _enter(self, gradebook, submission, assignment, graded, note) -> None:
        from nbgrader.api import Comment, Grade, Student, SubmittedAssignment, SubmittedNotebook

        db = gradebook.db
        with db.begin():
            entry = gradebook.find_assignment(assignment.id)
            student = db.get(Student, submission.student) or Student(id=submission.student)
            known = db.query(SubmittedAssignment).filter_by(assignment_id=entry.id, student_id=submission.student)
            saved = known.first() or SubmittedAssignment(assignment=entry, student=student)
            saved.timestamp = self._timestamp(submission.folder)
            db.add_all([student, saved])
            for notebook in entry.notebooks:
                books = {book.notebook: book for book in saved.notebooks}
                book = books.get(notebook) or SubmittedNotebook(notebook=notebook, assignment=saved)
                db.add(book)
                outcome = graded[notebook.name]
                answers = _answers(assignment, notebook.name, outcome)
                grades = {grade.cell: grade for grade in book.grades}
                for cell in [*notebook.grade_cells, *notebook.task_cells]:
                    grade = grades.get(cell) or Grade(cell=cell, notebook=book)
                    verdict = outcome.verdicts.get(cell.name)
                    grade.auto_score = verdict.points if verdict else None if answers.get(cell.name) else 0.0
                    grade.needs_manual_grade = grade.manual_score is not None or grade.auto_score is None
                    db.add(grade)
                comments = {comment.cell: comment for comment in book.comments}
                for cell in [*notebook.solution_cells, *notebook.task_cells]:
                    comment = comments.get(cell) or Comment(cell=cell, notebook=book)
                    comment.auto_comment = None if answers.get(cell.name) else "No response."
                    db.add(comment)
                db.flush()
                db.refresh(book)
                book.late_submission_penalty = self._penalty(saved, book)
            table = _notes()
            same = (table.c.assignment == note["assignment"]) & (table.c.student == note["student"])
            db.execute(table.delete().where(same))
            db.execute(table.insert().values(**note))

    def _penalty(self, saved: Any, book: Any) -> float | None:
        """What nbgrader's plugin for late submissions takes off."""
        if saved.assignment.duedate is None or not saved.total_seconds_late:
            return None
        penalty = self._late.plugin_inst.late_submission_penalty(saved.student.id, book.score, saved.total_seconds_late)
        return None if penalty is None else min(max(penalty, 0.0), book.score)

    @staticmethod
    def _timestamp(folder: Path) -> datetime | None:
        from nbgrader.utils import parse_utc

        try:
            return parse_utc(_small_file(folder / "timestamp.txt").decode().strip())
        except (OSError, ValueError, OverflowError):
            return None

    def _write_autograded(self, submission: Submission, assignment: Assignment, graded: Mapping[str, Graded]) -> None:
        files = {f"{name}.ipynb": outcome.notebook for name, outcome in graded.items()}
        self._replace(self.path("autograded", submission.student, assignment.id), assignment.data | files, submission)

    def write_feedback(self, submission: Submission, assignment: str, show: str) -> None:
        """Write the pages that a student gets back, from the gradebook as it is now.

        Args:
            submission: must have been recorded.
            assignment: its name.
            show: how much is told of hidden checks, see `feedback.HIDDEN`.
        """
        pages = {}
        for name, result in self.results(assignment, submission.student).items():
            with self.open() as gradebook:
                book = gradebook.find_submission_notebook(name, assignment, submission.student)
                marked = [grade for grade in book.grades if grade.manual_score is not None]
                by_hand = {grade.name: (float(grade.manual_score), float(grade.max_score)) for grade in marked}
                said = {comment.name: comment.comment for comment in book.comments if comment.manual_comment}
                page = feedback.page(
                    title=f"{assignment}: {submission.student}",
                    result=result,
                    show=show,
                    by_hand=by_hand,
                    comments=said,
                    score=(float(book.score), float(book.max_score)),
                    waiting=bool(book.needs_manual_grade),
                    penalty=float(book.late_submission_penalty or 0),
                )
            pages[f"{name}.html"] = page.encode()
        self._replace(self.path("feedback", submission.student, assignment), pages, submission)

    def has_feedback(self, student: str, assignment: str) -> bool:
        """Whether a student's page was written; a run may have been killed just before."""
        return any(self.path("feedback", student, assignment).glob("*.html"))

    def _replace(self, folder: Path, files: Mapping[str, bytes], submission: Submission) -> None:
        """Put a folder with these files in the place of the one that is there."""
        fresh, old = (folder.with_name(f".{folder.name}.{part}.{os.getpid()}") for part in ("new", "old"))
        shutil.rmtree(fresh, ignore_errors=True)
        for name, content in {**_beside(submission.folder), **files}.items():
            (fresh / name).parent.mkdir(parents=True, exist_ok=True)
            (fresh / name).write_bytes(content)
        if self._directory.groupshared:
            for path in (fresh, *fresh.rglob("*")):
                path.chmod(0o2775 if path.is_dir() else 0o664)
        if folder.exists():
            folder.rename(old)
        fresh.rename(folder)
        shutil.rmtree(old, ignore_errors=True)

    # Backups

    def backup(self) -> Path:
        """Copy the gradebook, even while others write to it; keeps the last copies only.

        Raises:
            CourseError: if there is no gradebook in a file.
        """
        source, place = self._database(), self.folder / ".bow2gpt" / "backups"
        if not source.is_file():
            raise CourseError(f"there is no gradebook {source} to copy")
        place.mkdir(parents=True, exist_ok=True)
        target = place / f"gradebook-{datetime.now():%Y%m%d-%H%M%S-%f}.db"
        _copy_database(source, target)
        for extra in sorted(place.glob("gradebook-*.db"))[:-_BACKUPS]:
            extra.unlink()
        return target

    def restore(self, copy: Path) -> Path:
        """Put a copy in the place of the gradebook; what was there is copied first.

        Returns:
            The copy of what was there.

        Raises:
            CourseError: if the copy is not a whole gradebook.
        """
        try:
            with closing(sqlite3.connect(f"file:{copy}?mode=ro", uri=True)) as database:
                whole = database.execute("PRAGMA integrity_check").fetchone()[0] == "ok"
                whole = whole and database.execute("SELECT count(*) FROM assignment").fetchone() is not None
        except sqlite3.Error as error:
            raise CourseError(f"{copy} is no gradebook: {error}") from None
        if not whole:
            raise CourseError(f"{copy} is a damaged gradebook: take another copy")
        kept = self.backup() if self._database().is_file() else copy
        _copy_database(copy, self._database())
        return kept

    def _database(self) -> Path:
        url = self._directory.db_url
        if not url.startswith("sqlite:///"):
            raise CourseError(f"the gradebook {url.split(':')[0]} is on a server: use the server's own backups")
        return Path(url.removeprefix("sqlite:///"))


def _read(student: str, folder: Path, notebooks: Iterable[str]) -> Submission:
    try:
        if any(path.is_symlink() for path in (folder, folder.parent)):
            raise CourseError("the submission is a link to another place: submit the files themselves")
        content: Submitted | str = read_submission(folder, {f"{name}.ipynb" for name in notebooks})
        parts = [part for name, data in sorted(content.files.items()) for part in (os.fsencode(name), data)]
        parts += [os.fsencode(f"{name}: {reason}") for name, reason in sorted(content.refused.items())]
        parts += [os.fsencode(name) for name in content.others]
    except CourseError as error:
        content, parts = str(error), [str(error).encode()]
    when = _beside(folder).get("timestamp.txt", b"")
    return Submission(student, folder, content, sha256(b"\0".join([when, *parts])).hexdigest())


def _beside(folder: Path) -> dict[str, bytes]:
    """The small files that nbgrader itself put into a submission."""
    found = {}
    for name in _TRAVELS:
        try:
            found[name] = _small_file(folder / name)
        except OSError:
            continue
    return found


def _small_file(path: Path) -> bytes:
    if path.parent.is_symlink() or not stat.S_ISREG(path.lstat().st_mode):
        raise OSError(f"{path} is no ordinary file")
    with path.open("rb") as file:
        return file.read(_SMALL)


def _graded_cells(assignment: Assignment) -> dict[tuple[str, str], float]:
    cells = ((name, cell) for name, content in assignment.sources.items() for cell in _cells(content, name))
    graded = ((name, marks(cell)) for name, cell in cells if marks(cell).get("grade"))
    return {(name, found["grade_id"]): float(found["points"]) for name, found in graded}


def _cells(content: bytes, name: str) -> list[NotebookNode]:
    return parse_notebook(content, f"{name}.ipynb").cells


def _answers(assignment: Assignment, name: str, outcome: Graded) -> dict[str, bool]:
    """Which answers of a notebook were worked on."""
    if outcome.result.error:
        return {}
    stubs = {marks(cell)["grade_id"]: cell.source for cell in _cells(assignment.releases[name], name) if marks(cell)}
    answers = [cell for cell in _cells(outcome.notebook, name) if is_answer(cell)]
    return {marks(cell)["grade_id"]: cell.source not in ("", stubs[marks(cell)["grade_id"]]) for cell in answers}


def _notes() -> Any:
    """The table of what is done; nbgrader does not look at it."""
    from sqlalchemy import BigInteger, Column, MetaData, String, Table, Text

    names = ("assignment", "student")
    keys = [Column(name, String(128), primary_key=True) for name in names]
    texts = [Column("key", String(64)), Column("results", Text()), Column("graded", String(40))]
    return Table("bow2gpt_graded", MetaData(), *keys, *texts, Column("seed", BigInteger()))


def _to_json(results: Mapping[str, Result]) -> str:
    return json.dumps({name: asdict(result) for name, result in results.items()})


def _from_json(text: str) -> dict[str, Result]:
    found = {}
    for name, result in json.loads(text).items():
        tasks = tuple(TaskResult(**task) for task in result["tasks"])
        found[name] = Result(tasks, result["error"], tuple(result["notes"]))
    return found


def _copy_database(source: Path, target: Path) -> None:
    with closing(sqlite3.connect(source)) as old, closing(sqlite3.connect(target)) as new, new:
        old.backup(new)


@contextmanager
def _programs_found() -> Iterator[None]:
    """nbgrader starts `alembic` by its name, which is not found where the environment is not activated."""
    before = os.environ.get("PATH", "")
    os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{before}"
    try:
        yield
    finally:
        os.environ["PATH"] = before


@contextmanager
def _quiet_database() -> Iterator[None]:
    from sqlalchemy.exc import SAWarning

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SAWarning)  # of nbgrader's own making, and harmless
        yield
