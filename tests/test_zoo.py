"""A course full of odd submissions, graded in one run: each has its outcome, and none harms another."""

import json
import re
import shutil
import socket
import sys
import threading
import time
from collections import Counter
from pathlib import Path

import nbformat
import psutil
import pytest
from conftest import ROOT
from zoo import ASSIGNMENT, CANARY, EXERCISE, NAME, SECRET, ZOO

import bow2gpt.checks
from bow2gpt.course.batch import Outcome, grade_course
from bow2gpt.course.grade import Options
from bow2gpt.course.gradebook import Course
from bow2gpt.course.release import answered, read_exercise
from bow2gpt.course.sandbox import BUBBLEWRAP, Limits, bubblewrap_works
from bow2gpt.course.team import local

TASKS = ("double", "initials", "letters", "softmax")
HIDDEN = ("checks.hidden", "BEGIN HIDDEN", "reference", SECRET)


class Visited:
    """The course after grading: outcomes by student, pages, and what was tried from inside."""

    def __init__(self, folder: Path, door: socket.socket) -> None:
        self.folder = folder
        for name in ("nbgrader_config.py",):
            shutil.copy(ROOT / name, folder / name)
        source = folder / "solutions" / ASSIGNMENT / f"{NAME}.py"
        source.parent.mkdir(parents=True)
        source.write_text(EXERCISE)
        source.with_name("numbers.csv").write_text("1,2\n")
        (folder / "secret.txt").write_text(SECRET)
        (folder / CANARY).write_text("sings")
        (folder / "port").write_text(str(door.getsockname()[1]))
        self.course = Course(folder)
        self.assignment = self.course.assignment(ASSIGNMENT)
        (folder / "release").mkdir()
        (folder / "release" / f"{NAME}.ipynb").write_bytes(self.assignment.releases[NAME])
        self._submit()
        self.library = {path: path.read_bytes() for path in Path(bow2gpt.checks.__file__).parent.rglob("*.py")}
        limits = Limits(seconds=6, memory=2**30, processes=40)
        options = Options(BUBBLEWRAP, limits=limits, private=self.course.private)
        submissions = self.course.submissions(self.assignment)
        with local(2) as team:
            found = grade_course(self.course, self.assignment, submissions, options, team, show="title")
            self.outcomes: dict[str, Outcome] = {outcome.student: outcome for outcome in found}

    def _submit(self) -> None:
        solutions = {name: task.solution for name, task in read_exercise(self.folder, ASSIGNMENT).tasks.items()}
        release = nbformat.reads(self.assignment.releases[NAME].decode(), as_version=4)
        solved = json.dumps(answered(release, solutions))
        for name, animal in ZOO.items():
            place = self.folder / "submitted" / name / ASSIGNMENT
            place.mkdir(parents=True)
            (place / f"{NAME}.ipynb").write_text(solved)
            animal.make(place)

    def page(self, name: str) -> str:
        return (self.folder / "feedback" / name / ASSIGNMENT / f"{NAME}.html").read_text()

    def points(self, name: str) -> tuple[float, ...]:
        tasks = {task.name: task.points for task in self.outcomes[name].results[NAME].tasks}
        return tuple(tasks[task] for task in TASKS)


@pytest.fixture(scope="module")
def visited(tmp_path_factory) -> Visited:
    if sys.platform != "linux":
        pytest.skip("these submissions must not run without bubblewrap, which is for Linux")
    if not bubblewrap_works():
        pytest.fail("these submissions must not run without bubblewrap: apt install bubblewrap")
    with socket.create_server(("127.0.0.1", 0)) as door, socket.socket(socket.AF_UNIX) as other:
        other.bind(f"\0bow2gpt-zoo-{door.getsockname()[1]}")
        other.listen()
        for one in (door, other):
            threading.Thread(target=_answer, args=(one,), daemon=True).start()
        visited = Visited(tmp_path_factory.mktemp("zoo"), door)
    _record(visited)
    return visited


def _answer(door: socket.socket) -> None:
    while True:
        try:
            door.accept()[0].close()
        except OSError:
            return


def _record(visited: Visited) -> None:
    """The zoo as a table, for whoever wants to read it."""
    lines = ["| kind | submission | points | the student reads |", "|---|---|---|---|"]
    for name, animal in ZOO.items():
        points = "+".join(f"{part:g}" for part in visited.points(name))
        says = " ".join(_words(visited.page(name)).split())[:160].replace("|", "\\|")
        lines.append(f"| {animal.kind} | {name} | {points} | {says} |")
    place = ROOT / ".bow2gpt" / "runs" / "zoo.md"
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_text("\n".join(lines) + "\n")


def _words(page: str) -> str:
    """What the page says beside points."""
    body = page.partition("<body>")[2]
    said = re.findall(r'<pre>(.*?)</pre>|<p(?: class="less")?>(?!<strong>)(.*?)</p>', body, re.DOTALL)
    return "; ".join("".join(parts) for parts in said)


def test_the_zoo_is_large_and_varied() -> None:
    kinds = Counter(animal.kind for animal in ZOO.values())
    assert len(ZOO) >= 60
    assert kinds.keys() == {"honest", "clumsy", "broken", "hostile"}
    assert min(kinds.values()) >= 20


@pytest.mark.alone  # their limits are seconds
@pytest.mark.parametrize("name", ZOO)
def test_it_has_its_outcome(visited: Visited, name: str) -> None:
    animal, page = ZOO[name], visited.page(name)
    assert visited.points(name) == animal.points, page
    assert animal.says in page
    if sum(animal.points) < 10:
        assert _words(page), "no points, and not a word"


def test_the_gradebook_has_the_same_points(visited: Visited) -> None:
    with visited.course.open() as gradebook:
        scores = {entry.student.id: entry.score for entry in gradebook.assignment_submissions(ASSIGNMENT)}
    assert scores == {name: sum(animal.points) for name, animal in ZOO.items()}


def test_pages_are_small_and_harmless_and_tell_nothing_hidden(visited: Visited) -> None:
    for name in ZOO:
        page = visited.page(name)
        assert len(page) < 20_000, name
        assert not re.search(r"<(script|img|iframe|object|a)\b", page), name
        assert not [word for word in HIDDEN if word in page], name
        assert page.isprintable() or not re.search(r"[\x00-\x08\x0b-\x1f\x7f\u202a-\u202e]", page), name


def test_graded_notebooks_stay_of_a_size(visited: Visited) -> None:
    for name in ZOO:
        graded = visited.folder / "autograded" / name / ASSIGNMENT / f"{NAME}.ipynb"
        assert graded.stat().st_size < 15_000_000, name


def test_nothing_was_written_outside(visited: Visited) -> None:
    assert (visited.folder / CANARY).read_text() == "sings"
    assert not Path("/tmp/owned").exists()
    assert all(path.read_bytes() == content for path, content in visited.library.items())


def test_nothing_outlives_its_run(visited: Visited) -> None:
    until = time.monotonic() + 10
    while True:
        names = {process.info["name"] for process in psutil.process_iter(["name"])}
        if "bow2gpt-zoo" not in names or time.monotonic() > until:
            break
        time.sleep(0.2)
    assert "bow2gpt-zoo" not in names


def test_a_second_run_grades_nobody_again(visited: Visited) -> None:
    submissions = visited.course.submissions(visited.assignment)
    with local(1) as team:
        found = grade_course(visited.course, visited.assignment, submissions, Options(BUBBLEWRAP), team, show="title")
        again = list(found)
    assert len(again) == len(ZOO)
    assert not any(outcome.fresh for outcome in again)
    for outcome in again:
        assert outcome.results == visited.outcomes[outcome.student].results
