"""A whole course's submissions of one assignment: graded, recorded, fed back, and ready to go on if interrupted."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from hashlib import sha256
from typing import Any

from .grade import Assignment, Job, Options, Result, failed, run_jobs
from .gradebook import Course, Submission
from .team import Team


@dataclass(frozen=True)
class Outcome:
    """What became of one submission.

    Attributes:
        student: the id.
        results: by notebook.
        fresh: whether it was graded now; otherwise nothing had changed since it was.
    """

    student: str
    results: dict[str, Result]
    fresh: bool

    @property
    def points(self) -> float:
        return sum(result.points for result in self.results.values())

    @property
    def maximum(self) -> float:
        return sum(result.maximum for result in self.results.values())

    @property
    def by_hand(self) -> float:
        return sum(result.by_hand for result in self.results.values())

    @property
    def is_ours(self) -> bool:
        """Whether grading itself failed, through no fault of the student's."""
        return any("tell your teacher" in result.error for result in self.results.values())

    @property
    def says(self) -> str:
        """The outcome in one line."""
        errors = [result.error for result in self.results.values() if result.error]
        notes = [note for result in self.results.values() for note in result.notes]
        if errors:
            return errors[0]
        missing = [task for result in self.results.values() for task in result.tasks if task.points < task.maximum]
        state = "all right" if not missing else f"points missing in {', '.join(task.name for task in missing)}"
        return f"{state}; mended: {notes[0]}" if notes else state

    def as_json(self) -> dict[str, Any]:
        """For the teacher's scripts: all messages, those of hidden checks too."""
        return {
            "student": self.student,
            "points": self.points,
            "maximum": self.maximum,
            "by_hand": self.by_hand,
            "graded_now": self.fresh,
            "outcome": self.says,
            "notebooks": {
                name: {
                    "error": result.error,
                    "notes": list(result.notes),
                    "tasks": [asdict(task) for task in result.tasks],
                }
                for name, result in self.results.items()
            },
        }


def grade_course(
    course: Course,
    assignment: Assignment,
    submissions: list[Submission],
    options: Options,
    team: Team,
    show: str,
    again: bool = False,
    chosen: str = "",
) -> Iterator[Outcome]:
    """Grade what is new or changed; each outcome is in the gradebook before it is given.

    Args:
        course: whose gradebook is written.
        assignment: see `Course.assignment`.
        submissions: see `Course.submissions`.
        options: how to grade.
        team: see `local` and `cluster`.
        show: what feedback tells of hidden checks.
        again: grade also what has not changed.
        chosen: what the teacher chose that points may depend on, such as a seed: another choice is a change.
    """
    digest, done = assignment.digest(), course.done(assignment.id)
    keys = {
        submission.student: sha256(f"{digest}:{submission.digest}:{chosen}".encode()).hexdigest()
        for submission in submissions
    }
    to_do = {}
    for submission in submissions:
        if again or done.get(submission.student) != keys[submission.student]:
            to_do[submission.student] = submission
        else:
            if not course.has_feedback(submission.student, assignment.id):
                course.write_feedback(submission, assignment.id, show)
            yield Outcome(submission.student, course.results(assignment.id, submission.student), fresh=False)
    if not to_do:
        return
    jobs = [Job(student, assignment, submission.content, options) for student, submission in to_do.items()]
    for job, graded in run_jobs(jobs, team):
        submission = to_do[job.student]
        seed = options.seed_of(job.student)
        try:
            course.record(submission, assignment, graded, keys[job.student], seed)
            course.write_feedback(submission, assignment.id, show)
        except Exception as error:  # nothing of this student is in the gradebook: the next run tries again
            graded = {name: failed(assignment, name, error) for name in graded}
        yield Outcome(job.student, {name: outcome.result for name, outcome in graded.items()}, fresh=True)
