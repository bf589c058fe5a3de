"""Grading: notebooks of one assignment, each run apart from all others and judged apart from its own code.

A failure of any kind is the result of that notebook and stops no other.
"""

from __future__ import annotations

import atexit
import faulthandler
import os
import secrets
import sys
import threading
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import lru_cache
from hashlib import sha256
from pathlib import Path

from nbformat import NotebookNode

from .marking import NOT_ATTEMPTED, Verdict, answer_of, mark
from .notebooks import dump, parse_notebook
from .paths import CourseError
from .release import Exercise, read_exercise, released
from .repair import is_check, marks, repair
from .sandbox import NONE, Limits, Worker
from .settings import course_settings
from .submissions import Submitted, find_notebook
from .team import Team, local

_JUDGE = 3 * 2**30  # bytes of memory of the process that judges
_ONE_AT_A_TIME = threading.Lock()  # a Dask worker may have several threads, but a process has one current folder
_NOWHERE = open(os.devnull, "w")  # noqa: SIM115 - as long as this process


@dataclass(frozen=True)
class TaskResult:
    """The points of one task, and the first thing that its checks said.

    Attributes:
        name: of the task.
        points: earned.
        maximum: to be earned by checks.
        message: what was wrong first; empty if nothing was.
        hidden: whether a hidden check said so.
        title: of that hidden check.
        by_hand: points that only a person can give.
    """

    name: str
    points: float
    maximum: float
    message: str = ""
    hidden: bool = False
    title: str = ""
    by_hand: float = 0.0


@dataclass(frozen=True)
class Result:
    """What one notebook earned; with an error, nothing, and why; and what had to be mended."""

    tasks: tuple[TaskResult, ...]
    error: str = ""
    notes: tuple[str, ...] = ()

    @property
    def points(self) -> float:
        return sum(task.points for task in self.tasks)

    @property
    def maximum(self) -> float:
        return sum(task.maximum for task in self.tasks)

    @property
    def by_hand(self) -> float:
        return sum(task.by_hand for task in self.tasks)


@dataclass(frozen=True)
class Assignment:
    """What is needed to grade, as plain bytes that travel to other processes and machines.

    Attributes:
        id: like `02_counting_models`.
        sources: notebooks with hidden checks, by name.
        releases: the same as learners get them.
        data: files beside them, by relative path.
    """

    id: str
    sources: dict[str, bytes]
    releases: dict[str, bytes]
    data: dict[str, bytes]

    def digest(self) -> str:
        """Changes with anything that a grade depends on."""
        parts = [self.id.encode()]
        for files in (self.sources, self.data):
            parts += [part for name in sorted(files) for part in (name.encode(), sha256(files[name]).digest())]
        return sha256(b"\0".join(parts)).hexdigest()


@dataclass(frozen=True)
class Options:
    """How to grade.

    Attributes:
        sandbox: `bubblewrap`, `container` or `none`.
        image: of the container.
        limits: what one notebook may use.
        seed: of the random inputs of hidden checks.
        variants: whether each student gets inputs of their own.
        private: folders that no submission may see, see `Course.private`.
    """

    sandbox: str = NONE
    image: str = ""
    limits: Limits = field(default_factory=Limits)
    seed: int = field(default_factory=lambda: secrets.randbits(32))
    variants: bool = False
    private: tuple[str, ...] = ()

    def seed_of(self, student: str) -> int:
        """The seed for one student; with variants it cannot be guessed from another's."""
        if not self.variants:
            return self.seed
        return int.from_bytes(sha256(f"{self.seed}:{student}".encode()).digest()[:4], "big")


@dataclass(frozen=True)
class Job:
    """One submission to grade."""

    student: str
    assignment: Assignment
    submitted: Submitted | str  # or why there is nothing to read
    options: Options


@dataclass(frozen=True)
class Graded:
    """One graded notebook: its verdicts by grade id, its bytes with outputs, its result."""

    verdicts: dict[str, Verdict]
    notebook: bytes
    result: Result


def grade(
    notebooks: Mapping[str, Path], exercise: str, root: Path, processes: int = 1, options: Options | None = None
) -> dict[str, Result]:
    """Grade notebooks of one exercise of the book.

    Args:
        notebooks: the notebook of each student.
        exercise: like `02_counting_models`.
        root: the clone.
        processes: how many notebooks to run at once.
        options: how; without a sandbox if not given.

    Returns:
        A result for each student. A notebook that cannot be graded has an error and stops no other.

    Raises:
        CourseError: if the exercise itself is broken.
    """
    assignment, options = exercise_assignment(root, exercise), options or Options()
    jobs = []
    for student, path in notebooks.items():
        submitted: Submitted | str
        try:
            submitted = Submitted({f"{name}.ipynb": path.read_bytes() for name in assignment.sources}, {})
        except FileNotFoundError:
            submitted = f"{path.name}: the file is missing"
        except OSError as error:
            submitted = f"{path.name}: the file cannot be read: {error.strerror}"
        jobs.append(Job(student, assignment, submitted, options))
    with local(max(1, min(processes, len(jobs)))) as team:
        found = {job.student: outcome for job, outcome in run_jobs(jobs, team)}
    results = {student: next(iter(found[student].values())).result for student in notebooks}
    if results and all("the exercise itself is broken" in result.error for result in results.values()):
        raise CourseError(next(iter(results.values())).error)
    return results


def exercise_assignment(root: Path, exercise: str | Exercise) -> Assignment:
    """An exercise of the book, ready to grade."""
    parsed = exercise if isinstance(exercise, Exercise) else read_exercise(root, exercise)
    data = {path.relative_to(parsed.source.parent).as_posix(): path.read_bytes() for path in parsed.data_files}
    name, settings = parsed.source.stem, course_settings(root)
    release = dump(released(parsed.notebook, settings))
    return Assignment(parsed.id, {name: dump(parsed.notebook)}, {name: release}, data)


def no_points(exercise: Exercise, message: str = NOT_ATTEMPTED, error: str = "") -> Result:
    """A result of zero, with one message on each task."""
    return replace(_result(exercise.notebook, {}, message), error=error)


def grade_job(job: Job) -> dict[str, Graded]:
    """Grade one submission; whatever happens becomes its result.

    What the learner's process may take is limited elsewhere; this one is ended, as if it had crashed, if what came back
    keeps it busy for ever.

    Returns:
        What came of each notebook of the assignment, by name.
    """
    limits = job.options.limits
    with _ONE_AT_A_TIME, _limited_memory():
        found = {}
        for name in job.assignment.sources:
            faulthandler.dump_traceback_later(2 * limits.total + limits.spare, exit=True, file=_NOWHERE)
            try:
                found[name] = _grade_notebook(job, name)
            finally:
                faulthandler.cancel_dump_traceback_later()
        return found


@contextmanager
def _limited_memory() -> Iterator[None]:
    """Let this process run into an error, not the machine out of memory, if it unpacks or compares something huge."""
    if sys.platform != "linux":
        yield
        return
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_DATA)
    room = _JUDGE if hard == resource.RLIM_INFINITY else min(_JUDGE, hard)
    resource.setrlimit(resource.RLIMIT_DATA, (room, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, (soft, hard))


def _grade_notebook(job: Job, name: str) -> Graded:
    assignment, options = job.assignment, job.options
    source = parse_notebook(assignment.sources[name], f"{name}.ipynb")
    release = parse_notebook(assignment.releases[name], f"{name}.ipynb")
    try:
        if isinstance(job.submitted, str):
            raise CourseError(job.submitted)
        submission, notes = find_notebook(job.submitted, name, set(assignment.sources))
        repaired = repair(submission, release)
        worker = sandboxed(options.sandbox, options.image, options.private)
        seed = options.seed_of(job.student)
        marked = mark(repaired.notebook, source, worker, options.limits, assignment.data, seed)
        result = replace(_result(source, marked.verdicts), notes=(*notes, *repaired.notes))
        return Graded(marked.verdicts, dump(marked.notebook), result)
    except CourseError as error:
        return refused(assignment, name, str(error))
    except Exception as error:  # not the student's fault, and not the others' either
        return failed(assignment, name, error)


def failed(assignment: Assignment, name: str, error: Exception) -> Graded:
    """No points, because grading itself failed."""
    cause = f"{type(error).__name__}: {error}".splitlines()[0][:300]
    return refused(assignment, name, f"could not be graded, tell your teacher: {cause}")


def refused(assignment: Assignment, name: str, error: str) -> Graded:
    """No points, and why."""
    source = parse_notebook(assignment.sources[name], f"{name}.ipynb")
    result = replace(_result(source, {}, ""), error=error)
    return Graded({}, assignment.releases[name], result)


def _result(source: NotebookNode, verdicts: Mapping[str, Verdict], message: str = "") -> Result:
    """Verdicts by task; a check without one earned nothing."""
    tasks: dict[str, TaskResult] = {}
    for cell in source.cells:
        if not marks(cell).get("grade"):
            continue
        points = float(marks(cell)["points"])
        if not is_check(cell):
            name = marks(cell)["grade_id"]
            tasks[name] = TaskResult(name, 0.0, 0.0, "a person grades this", by_hand=points)
            continue
        name = answer_of(cell, source)
        verdict = verdicts.get(marks(cell)["grade_id"], Verdict(0.0, points, message))
        before = tasks.get(name, TaskResult(name, 0.0, 0.0))
        said = before if before.message else verdict
        sums = before.points + verdict.points, before.maximum + points
        tasks[name] = TaskResult(name, *sums, said.message, said.hidden, said.title)
    return Result(tuple(tasks.values()))


@lru_cache(maxsize=1)
def sandboxed(sandbox: str, image: str, private: tuple[str, ...]) -> Worker:
    """What runs learners' code in this process; the same each time."""
    worker = Worker(sandbox, image, private)
    atexit.register(worker.stop)
    return worker


# Many at once


def run_jobs(jobs: Iterable[Job], team: Team) -> Iterator[tuple[Job, dict[str, Graded]]]:
    """Run jobs, and give each as soon as it is done.

    When a process dies, what was being graded is graded again, one by one: only what kills its process twice is lost.

    Args:
        jobs: in the order in which to begin.
        team: who runs them.
    """
    waiting = deque(jobs)
    suspects: list[Job] = []
    while waiting:
        executor, running = team.start(), {}
        while waiting or running:
            while waiting and len(running) < team.width and not suspects:
                try:
                    running[executor.submit(grade_job, waiting[0])] = waiting[0]
                except BrokenExecutor:  # its last jobs come back below, or there are none
                    break
                waiting.popleft()
            if not running:
                break
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                job = running.pop(future)
                try:
                    yield job, future.result()
                except BrokenExecutor:
                    suspects.append(job)
                except team.gives_up:
                    yield job, _lost(job)
        while suspects:
            job = suspects.pop()
            try:
                yield job, team.start().submit(grade_job, job).result()
            except BrokenExecutor:
                yield job, _lost(job)


def _lost(job: Job) -> dict[str, Graded]:
    message = "could not be graded, tell your teacher: the process that graded it died twice"
    return {name: refused(job.assignment, name, message) for name in job.assignment.sources}
