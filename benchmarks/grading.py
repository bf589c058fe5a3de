"""`bow2gpt grade` beside `nbgrader autograde`, in one run: `python benchmarks/grading.py [submissions]`.

Both grade the same submissions of an exercise that imports torch, on the same machine, one after the other, each as its
own command from start to end. Half of the submissions are wrong; both commands must come to the same points before any
time is printed.

But: nbgrader grades without a sandbox, in the learner's own kernel, and writes no feedback here; `bow2gpt grade` does
all of that.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import nbformat

from bow2gpt.course.gradebook import Course
from bow2gpt.course.release import answered, read_exercise
from bow2gpt.course.team import cores

ROOT = Path(__file__).resolve().parents[1]
ASSIGNMENT, NAME = "01_tensors", "tensors"
EXERCISE = """\
# %% locked="imports"
import torch

from bow2gpt import checks

# %% task="softmax"
def softmax(scores: torch.Tensor) -> torch.Tensor:
    ### BEGIN SOLUTION
    powers = torch.exp(scores - scores.max())
    return powers / powers.sum()
    ### END SOLUTION

# %% check="softmax" points=2
checks.close(softmax(torch.zeros(2)), [0.5, 0.5])
### BEGIN HIDDEN TESTS
checks.hidden(
    title="softmax of large scores",
    call="softmax",
    inputs=lambda rng: (torch.from_numpy(1000 * rng.normal(size=5)),),
    reference=lambda scores: torch.softmax(scores, 0),
)
### END HIDDEN TESTS

# %% task="gram"
def gram(rows: torch.Tensor) -> torch.Tensor:
    ### BEGIN SOLUTION
    return rows @ rows.T
    ### END SOLUTION

# %% check="gram" points=2
checks.close(gram(torch.eye(2)), [[1, 0], [0, 1]])
### BEGIN HIDDEN TESTS
checks.hidden(
    title="all dot products",
    call="gram",
    inputs=lambda rng: (torch.from_numpy(rng.normal(size=(4, 3))),),
    reference=lambda rows: torch.einsum("ik,jk->ij", rows, rows),
)
### END HIDDEN TESTS
"""
WRONG = "def softmax(scores):\n    return torch.exp(scores) / torch.exp(scores).sum()"


def make_course(root: Path, students: int) -> None:
    """A course with everybody's submissions; every second one has a wrong softmax."""
    shutil.copy(ROOT / "nbgrader_config.py", root)
    source = root / "solutions" / ASSIGNMENT / f"{NAME}.py"
    source.parent.mkdir(parents=True)
    source.write_text(EXERCISE)
    assignment = Course(root).assignment(ASSIGNMENT)
    solutions = {name: task.solution for name, task in read_exercise(root, ASSIGNMENT).tasks.items()}
    release = nbformat.reads(assignment.releases[NAME].decode(), as_version=4)
    for number in range(students):
        place = root / "submitted" / f"student{number:03}" / ASSIGNMENT
        place.mkdir(parents=True)
        answers = solutions | ({"softmax": WRONG} if number % 2 else {})
        nbformat.write(answered(release, answers), place / f"{NAME}.ipynb")


def timed(root: Path, *command: str) -> tuple[float, dict[str, float]]:
    """Seconds of a command in a course, and the points that it gave."""
    started = time.perf_counter()
    done = subprocess.run([sys.executable, "-m", *command], cwd=root, capture_output=True, text=True, check=False)
    seconds = time.perf_counter() - started
    if done.returncode:
        raise RuntimeError(f"{command} failed: {done.stderr[-2000:]}")
    with Course(root).open() as gradebook:
        scores = {one.student.id: one.score for one in gradebook.assignment_submissions(ASSIGNMENT)}
    return seconds, scores


def main(students: int) -> None:
    with tempfile.TemporaryDirectory(prefix="bow2gpt-bench-") as folder:
        ours, theirs = Path(folder, "ours"), Path(folder, "theirs")
        for root in (ours, theirs):
            root.mkdir()
            make_course(root, students)
        our_seconds, our_scores = timed(ours, "bow2gpt.cli", "grade", ASSIGNMENT)
        their_seconds, their_scores = timed(theirs, "nbgrader", "autograde", ASSIGNMENT, "--create")
        if our_scores != their_scores or len(our_scores) != students:
            raise RuntimeError("the two do not agree on the points; times would mean nothing")
        again, _ = timed(ours, "bow2gpt.cli", "grade", ASSIGNMENT)
        print(f"{students} submissions, {cores()} cores, the whole command each time")
        for name, seconds in (("bow2gpt grade", our_seconds), ("nbgrader autograde", their_seconds)):
            print(f"{name:20} {seconds:7.1f} s {60 * students / seconds:8.0f} submissions a minute")
        print(f"ratio {their_seconds / our_seconds:.1f}; with nothing new to grade {again:.1f} s")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 40)
