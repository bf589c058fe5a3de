"""A course graded by command: gradebook, feedback, going on after an interruption, several machines, backups."""

import csv
import json
import os
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import BrokenExecutor, Executor, Future
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import nbformat
import psutil
import pytest
from conftest import ROOT, make_clone
from typer.testing import CliRunner

from bow2gpt import cli
from bow2gpt.course.batch import grade_course
from bow2gpt.course.grade import Job, Options, run_jobs
from bow2gpt.course.gradebook import Course
from bow2gpt.course.judge import Remote
from bow2gpt.course.paths import CourseError, UsageError
from bow2gpt.course.release import answered, read_exercise
from bow2gpt.course.sandbox import BUBBLEWRAP, CONTAINER, Limits, Worker
from bow2gpt.course.team import Team, cluster, local

SMALL = "02_small_things"
SLOW = "import time\ntime.sleep({seconds})\n\ndef double(value):\n    return value * {times}"
WORDS = ("one", "two", "three")


class Class:
    """A small course, and ways to fill it."""

    def __init__(self, root: Path) -> None:
        self.root = root if root.exists() else make_clone(root)
        self.course = Course(self.root)
        self.assignment = self.course.assignment(SMALL)
        self.solutions = {name: task.solution for name, task in read_exercise(self.root, SMALL).tasks.items()}
        self.release = nbformat.reads(self.assignment.releases["small_things"].decode(), as_version=4)

    def submit(self, student: str, when: str = "", **answers: str) -> None:
        """A solved notebook with some other answers."""
        place = self.root / "submitted" / student / SMALL
        place.mkdir(parents=True, exist_ok=True)
        nbformat.write(answered(self.release, self.solutions | answers), place / "small_things.ipynb")
        if when:
            (place / "timestamp.txt").write_text(when)

    def scores(self) -> dict[str, float]:
        with self.course.open() as gradebook:
            return {entry.student.id: entry.score for entry in gradebook.assignment_submissions(SMALL)}

    def page(self, student: str) -> str:
        return (self.root / "feedback" / student / SMALL / "small_things.html").read_text()

    def grade(self, *options: str, status: int = 0) -> str:
        """The command, as a teacher types it; gives what it printed."""
        return self.command("grade", "02", *options, status=status)

    def command(self, *arguments: str, status: int = 0) -> str:
        result = CliRunner().invoke(cli.app, [*arguments, "--course", str(self.root)], prog_name="bow2gpt")
        assert result.exit_code == status, result.output
        assert "Traceback" not in result.output
        return result.output

    def start(self, *options: str) -> subprocess.Popen:
        """The command in a process of its own."""
        command = [sys.executable, "-m", "bow2gpt.cli", "grade", "02", "--course", str(self.root), *options]
        return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def notes(self) -> dict[str, str]:
        """When each student was graded, from the table of what is done."""
        with suppress(sqlite3.OperationalError), sqlite3.connect(self.root / "gradebook.db") as database:
            return dict(database.execute("SELECT student, graded FROM bow2gpt_graded"))
        return {}


@pytest.fixture(scope="module")
def template(tmp_path_factory) -> Path:
    """A course that nbgrader knows already, which takes it seconds to learn."""
    return Class(tmp_path_factory.mktemp("template") / "course").root


@pytest.fixture
def school(template: Path, tmp_path: Path) -> Class:
    return Class(Path(shutil.copytree(template, tmp_path / "a course")))


def wrong(number: int) -> str:
    return f"def double(value):\n    return value * 2 + {number}"


# The command


def test_one_command_grades_all_and_says_what_came_of_each(school: Class) -> None:
    school.submit("ada")
    school.submit("bob", double=wrong(1))
    (school.root / "submitted" / "cy" / SMALL).mkdir(parents=True)
    with school.course.open() as gradebook:
        gradebook.add_student("dora")
    lines = [line.split() for line in school.grade("--sandbox", BUBBLEWRAP).splitlines()]
    assert lines[0] == ["ok", "ada", "6/6", "all", "right"]
    assert lines[1] == ["NO", "bob", "4/6", "points", "missing", "in", "double"]
    assert lines[2][:3] == ["NO", "cy", "0/6"]
    assert "small_things.ipynb is missing" in " ".join(lines[2])
    assert lines[3][:5] == ["3", "graded", "now,", "0", "unchanged;"]
    assert lines[4] == ["no", "submission", "from", "dora"]
    assert school.scores() == {"ada": 6, "bob": 4, "cy": 0}
    assert "expected 8" in school.page("bob")
    assert "small_things.ipynb is missing" in school.page("cy")
    marked = nbformat.read(school.root / "autograded" / "bob" / SMALL / "small_things.ipynb", as_version=4)
    nbformat.validate(marked)
    said = [output.evalue for cell in marked.cells for output in cell.get("outputs", [])]
    assert len(said) == 1
    assert "expected 8" in said[0]


def test_the_teachers_page_leads_to_a_graded_assignment(tmp_path: Path) -> None:
    """The commands of the page, one after the other, in a small clone."""
    root = make_clone(tmp_path / "clone")
    page = (ROOT / "book" / "teaching.md").read_text()
    block = re.search(r"<!-- tried by tests/test_grading.py -->\n```bash\n(.*?)```", page, re.DOTALL)[1]
    commands = block.replace("counting_models", "small_things")
    assert "bow2gpt grade 02" in commands
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "-ec", commands],
        cwd=root,
        env={**os.environ, "PATH": path},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    assert "1 graded now" in done.stdout
    assert "0 of 6 points" in (root / "feedback" / "ada" / SMALL / "small_things.html").read_text()
    assert "ada" in (root / "grades.csv").read_text()


def test_only_what_changed_is_graded_again(school: Class) -> None:
    school.submit("ada")
    school.submit("bob", double=wrong(1))
    assert "2 graded now, 0 unchanged" in school.grade()
    assert "0 graded now, 2 unchanged" in school.grade()
    school.submit("bob")
    assert "1 graded now, 1 unchanged" in school.grade()
    assert school.scores() == {"ada": 6, "bob": 6}
    assert "1 graded now" in school.grade("--student", "ada", "--again")
    source = school.root / "solutions" / SMALL / "small_things.py"
    source.write_text(source.read_text().replace("rng.integers(1, 99)", "rng.integers(1, 88)"))
    assert "2 graded now" in school.grade(), "the checks changed"


def test_json_is_for_scripts(school: Class) -> None:
    school.submit("bob", double="def double(value):\n    return 8")
    report = json.loads(school.grade("--json", "--seed", "7"))
    assert report["seed"] == 7
    (student,) = report["students"]
    assert (student["student"], student["points"], student["maximum"], student["graded_now"]) == ("bob", 4, 6, True)
    double, initials = student["notebooks"]["small_things"]["tasks"]
    assert (double["name"], double["points"], double["hidden"]) == ("double", 0, True)
    assert "expected" in double["message"]
    assert initials["points"] == 4


@pytest.mark.parametrize(
    ("show", "has", "lacks"),
    [
        ("nothing", ["a hidden check failed"], ["random negative", "for the input"]),
        ("title", ["a hidden check failed: double on random negative numbers"], ["for the input"]),
        ("message", ["double on random negative numbers: got 8, expected", "for the input"], []),
    ],
)
def test_a_page_tells_as_much_of_hidden_checks_as_the_teacher_wants(school: Class, show, has, lacks) -> None:
    school.submit("bob", double="def double(value):\n    return 8")
    school.grade("--hidden", show)
    page = school.page("bob")
    assert all(words in page for words in has)
    assert not any(words in page for words in lacks)


def test_the_seed_decides_the_inputs_and_variants_differ(school: Class) -> None:
    def inputs(*options: str) -> list[str]:
        report = json.loads(school.grade("--again", "--json", *options))
        tasks = [student["notebooks"]["small_things"]["tasks"][0] for student in report["students"]]
        return [task["message"].rpartition("for the input: ")[2] for task in tasks]

    for student in WORDS:
        school.submit(student, double="def double(value):\n    return 8")
    same = inputs("--seed", "1")
    assert len(set(same)) == 1
    assert inputs("--seed", "1") == same
    assert len(set(inputs("--seed", "1", "--variants"))) > 1


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--sandbox", "sandals"], "choose bubblewrap, container or none"),
        (["--container", "image"], "podman or docker"),
        (["--hidden", "all"], "choose nothing, title, message"),
        (["--student", "nobody"], "nobody submitted nothing"),
        (["--scheduler", "tcp://127.0.0.1:1"], "no Dask scheduler answers"),
    ],
)
def test_a_wrong_option_says_what_is_right_and_changes_nothing(school: Class, options, says, monkeypatch) -> None:
    monkeypatch.setattr("bow2gpt.course.team._CONNECT", 1)
    monkeypatch.setattr("bow2gpt.course.sandbox.shutil.which", lambda name: "/bin/bwrap" if name == "bwrap" else None)
    school.submit("ada")
    result = CliRunner().invoke(cli.app, ["grade", "02", "--course", str(school.root), *options])
    assert result.exit_code in (1, 2)
    assert says in result.stderr
    assert "Traceback" not in result.output
    assert school.scores() == {}


def test_an_unknown_assignment_or_course_says_what_there_is(school: Class, tmp_path: Path) -> None:
    assert f"there is: {SMALL}" in school.command("grade", "99", status=2)
    result = CliRunner().invoke(cli.app, ["grade", "02", "--course", str(tmp_path)])
    assert result.exit_code == 2
    assert "no course directory" in result.stderr


def test_without_a_sandbox_there_is_a_loud_warning(school: Class) -> None:
    school.submit("ada")
    result = CliRunner().invoke(cli.app, ["grade", "02", "--course", str(school.root), "--sandbox", "none"])
    assert result.exit_code == 0
    assert result.stderr.startswith("WARNING: learners' code runs WITHOUT A SANDBOX")
    assert school.scores() == {"ada": 6}


def test_a_container_needs_an_engine_and_an_image() -> None:
    with pytest.raises(UsageError, match="image"):
        Worker(CONTAINER)


# The gradebook


def test_points_by_hand_stay_and_are_shown_to_be_looked_at_again(school: Class) -> None:
    school.submit("bob", double=wrong(1))
    school.grade()
    with school.course.open() as gradebook:
        grade = gradebook.find_grade("double_check", "small_things", SMALL, "bob")
        grade.manual_score, grade.needs_manual_grade = 1.5, False
        comment = gradebook.find_comment("double", "small_things", SMALL, "bob")
        comment.manual_comment = "Nearly: <b>think</b> of 0."
        gradebook.db.commit()
    assert "1 pages written" in school.command("feedback", "02")
    page = school.page("bob")
    assert "<strong>5.5 of 6 points</strong>" in page
    assert "1.5 of 2" in page
    assert "Nearly: &lt;b&gt;think" in page
    school.grade("--again")
    assert school.scores() == {"bob": 5.5}
    with school.course.open() as gradebook:
        assert gradebook.find_grade("double_check", "small_things", SMALL, "bob").needs_manual_grade
    assert "A person has still to look at this" in school.page("bob")


def test_a_written_answer_waits_for_a_person(tmp_path: Path) -> None:
    """A course of stock nbgrader, with notebooks as sources and a question that no program can grade."""
    root = tmp_path / "course"
    (root / "source" / "ps1").mkdir(parents=True)
    (root / "nbgrader_config.py").write_text("c = get_config()\nc.CourseDirectory.course_id = 'stock'\n")
    marks = {"schema_version": 3, "task": False}
    mine = marks | {"solution": True, "locked": False}
    essay = nbformat.v4.new_markdown_cell("Your words here.")
    essay.metadata = {"nbgrader": mine | {"grade": True, "grade_id": "essay", "points": 3}}
    answer = nbformat.v4.new_code_cell("### BEGIN SOLUTION\nx = 2\n### END SOLUTION")
    answer.metadata = {"nbgrader": mine | {"grade": False, "grade_id": "x"}}
    check = nbformat.v4.new_code_cell("assert x == 2")
    test = marks | {"solution": False, "locked": True}
    check.metadata = {"nbgrader": test | {"grade": True, "grade_id": "x-test", "points": 1}}
    notebook = nbformat.v4.new_notebook(cells=[essay, answer, check])
    nbformat.write(notebook, root / "source" / "ps1" / "p.ipynb")
    for student, text in (("ada", "Because."), ("bob", "YOUR ANSWER HERE")):
        essay.source = text
        answer.source = "x = 2"
        (root / "submitted" / student / "ps1").mkdir(parents=True)
        nbformat.write(notebook, root / "submitted" / student / "ps1" / "p.ipynb")
    done = CliRunner().invoke(cli.app, ["grade", "ps1", "--course", str(root)])
    assert done.exit_code == 0, done.output
    assert "1/1 + 3 by hand" in done.output
    with Course(root).open() as gradebook:
        entries = {entry.student.id: entry for entry in gradebook.assignment_submissions("ps1")}
        assert entries["ada"].needs_manual_grade, "somebody must read it"
        assert not entries["bob"].needs_manual_grade, "nothing was written"
        assert {student: (entry.score, entry.max_score) for student, entry in entries.items()} == {
            "ada": (1, 4),
            "bob": (1, 4),
        }


def stock_course(root: Path, begin: str, end: str) -> dict[str, str]:
    """As many courses are: imports in a cell without marks, bare assertions, hidden tests marked in their own way."""
    (root / "source" / "ps1").mkdir(parents=True)
    (root / "nbgrader_config.py").write_text("c = get_config()\n")
    check = f"""\
assert square(3) == limit
{begin}
secret = 49
assert np.allclose(square(np.array([1.0, 7.0])), [1.0, secret])
np.testing.assert_array_equal(square([2, 11]), [4, 121])
{end}
assert "a" in letters("ab") and len(letters("ab")) == 2
"""
    cells = [("", "import numpy as np\nlimit = np.int64(9)")]
    cells += [("square", "### BEGIN SOLUTION\nsquare = lambda x: np.asarray(x) ** 2\n### END SOLUTION")]
    cells += [("letters", "### BEGIN SOLUTION\nletters = list\n### END SOLUTION"), ("test", check)]
    notebook = nbformat.v4.new_notebook()
    for name, source in cells:
        cell = nbformat.v4.new_code_cell(source)
        if name:
            graded = name == "test"
            cell.metadata["nbgrader"] = {"grade_id": name, "grade": graded, "locked": graded, "solution": not graded}
            cell.metadata["nbgrader"] |= {"schema_version": 3, "task": False} | ({"points": 4} if graded else {})
        notebook.cells.append(cell)
    nbformat.write(notebook, root / "source" / "ps1" / "p.ipynb")
    return {"square": "square = lambda x: np.asarray(x) ** 2", "letters": "letters = list"}


@pytest.mark.parametrize(
    "marks", [("### BEGIN HIDDEN TESTS", "### END HIDDEN TESTS"), ("# BEGIN HIDDEN TESTS", "# END HIDDEN TESTS")]
)
def test_a_stock_course_gives_nothing_away(tmp_path: Path, marks: tuple[str, str]) -> None:
    """Names that checks use are the exercise's, not the student's; hidden tests stay hidden however they are marked."""
    root = tmp_path / "course"
    right = stock_course(root, *marks)
    course = Course(root)
    assignment = course.assignment("ps1")
    release = nbformat.reads(assignment.releases["p"].decode(), as_version=4)
    fake = """
class Fake:
    seen = []
    array = asarray = int64 = staticmethod(lambda value: value)
    allclose = staticmethod(lambda *pair: Fake.seen.append(pair) or True)
    class testing:
        assert_array_equal = staticmethod(lambda *pair: Fake.seen.append(pair))
np = Fake()
limit = 9
square = lambda x: 9
"""
    leak = """
def square(x):
    if isinstance(x, int):
        return 9
    try:
        found = secret
    except NameError:
        found = "hidden well"
    raise ValueError(found)
"""
    false = "class Two:\n    __len__ = lambda self: 2\n    __contains__ = lambda self, key: True\n    __iter__ = lambda self: iter('xy')\nletters = lambda word: Two()"  # noqa: E501
    answers = {"right": right, "fake": right | {"square": fake}, "leak": right | {"square": leak}}
    answers["false"] = right | {"letters": false}
    for student, cells in answers.items():
        (root / "submitted" / student / "ps1").mkdir(parents=True)
        nbformat.write(answered(release, cells), root / "submitted" / student / "ps1" / "p.ipynb")
    report = json.loads(CliRunner().invoke(cli.app, ["grade", "ps1", "--course", str(root), "--json"]).stdout)
    points = {student["student"]: student["points"] for student in report["students"]}
    assert points == {"right": 4, "fake": 0, "leak": 0, "false": 0}
    tasks = {one["student"]: one["notebooks"]["p"]["tasks"][0] for one in report["students"]}
    assert tasks["fake"]["hidden"]
    assert tasks["leak"]["hidden"]
    assert "hidden well" in tasks["leak"]["message"]
    assert not tasks["false"]["hidden"]


def test_the_exchange_and_the_course_are_never_shown(tmp_path: Path) -> None:
    """Even where they lie inside something that a sandbox shows, such as Python's own folder."""
    inside = Path(sys.prefix) / "share" / f"exchange-{os.getpid()}"
    inside.mkdir(parents=True)
    try:
        (inside / "secret").touch()
        with Worker(BUBBLEWRAP, private=(str(inside),)) as worker, worker.player(Limits(), {}) as session:
            ran = Remote(session.connection, 60).run(f"import os\nprint(os.listdir({str(inside)!r}))")
        assert ran.stdout == "[]\n"
    finally:
        shutil.rmtree(inside)


LATE = pytest.mark.parametrize(("days", "penalty"), [(0.5, 0), (2.5, 0.6), (3.5, 1.2), (99, 6)])


def test_a_wrong_setting_for_late_days_is_named(school: Class) -> None:
    with (school.root / "nbgrader_config.py").open("a") as config:
        config.write('\nc.AssignLatePenalties.plugin_class = "no.such.Plugin"\n')
    result = CliRunner().invoke(cli.app, ["grade", "02", "--course", str(school.root)])
    assert result.exit_code == 1
    assert "penalties for late submissions" in result.stderr


@LATE
def test_late_days_cost_points_after_those_that_are_free(school: Class, days: float, penalty: float) -> None:
    due = datetime(2026, 11, 1, 12, tzinfo=UTC)
    with (school.root / "nbgrader_config.py").open("a") as config:
        config.write(
            '\nc.AssignLatePenalties.plugin_class = "bow2gpt.course.plugins.LateDays"\nc.LateDays.free_days = 2\n'
        )
    with school.course.open() as gradebook:
        gradebook.update_or_create_assignment(SMALL, duedate=due.replace(tzinfo=None))
    school.submit("ada", when=f"{due + timedelta(days=days):%Y-%m-%d %H:%M:%S.%f} UTC")
    school.grade()
    with school.course.open() as gradebook:
        entry = gradebook.find_submission(SMALL, "ada")
        assert entry.late_submission_penalty == pytest.approx(penalty)
        assert entry.score == 6
    assert ("were taken off because it came late" in school.page("ada")) == (penalty > 0)


def test_nbgrader_exports_what_was_graded(school: Class, tmp_path: Path) -> None:
    school.submit("ada")
    school.submit("bob", double=wrong(1))
    school.grade()
    command = [sys.executable, "-m", "nbgrader", "export", "--to", str(tmp_path / "grades.csv")]
    subprocess.run(command, cwd=school.root, check=True, capture_output=True, timeout=120)
    with (tmp_path / "grades.csv").open() as file:
        rows = {row["student_id"]: (float(row["score"]), float(row["max_score"])) for row in csv.DictReader(file)}
    assert rows == {"ada": (6, 6), "bob": (4, 6)}


def test_a_learning_platform_gets_one_row_for_each_student(school: Class, tmp_path: Path) -> None:
    school.submit("ada")
    school.submit("bob", double=wrong(1))
    school.grade()
    with school.course.open() as gradebook:
        gradebook.update_or_create_student("cy", first_name="Cy", last_name='O"Neil, jr.')
    command = [sys.executable, "-m", "nbgrader", "export", "--exporter", "bow2gpt.course.plugins.OneRowEach"]
    subprocess.run(
        [*command, "--to", str(tmp_path / "g.csv")], cwd=school.root, check=True, capture_output=True, timeout=120
    )
    with (tmp_path / "g.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["student_id"], row[f"{SMALL} (6)"]) for row in rows] == [("ada", "6"), ("bob", "4"), ("cy", "")]
    assert rows[2]["last_name"] == 'O"Neil, jr.'


def test_a_gradebook_that_another_program_writes_to_is_waited_for(school: Class) -> None:
    school.submit("ada")
    school.course.done(SMALL)  # makes the tables
    other = sqlite3.connect(school.root / "gradebook.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    running = school.start()
    time.sleep(6)
    assert running.poll() is None
    other.execute("ROLLBACK")
    other.close()
    assert running.wait(60) == 0
    assert school.scores() == {"ada": 6}


def test_a_backup_brings_the_gradebook_back(school: Class) -> None:
    school.submit("ada")
    school.grade()
    copy = school.command("backup").split()[-1]
    (school.root / "gradebook.db").unlink()
    printed = school.command("backup", "--restore", str(next((school.root / ".bow2gpt" / "backups").glob("*.db"))))
    assert "back" in printed
    assert copy
    assert school.scores() == {"ada": 6}
    damaged = school.root / "damaged.db"
    damaged.write_bytes(b"nothing of the kind")
    assert "is no gradebook" in school.command("backup", "--restore", str(damaged), status=1)
    assert school.scores() == {"ada": 6}


# Interruptions


def _eventually(condition: Callable[[], bool], seconds: float = 90) -> None:
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.02)


@pytest.mark.parametrize("after", [0, 1, 4, 7])
def test_a_run_that_is_killed_goes_on_where_it_was(school: Class, after: int) -> None:
    """SIGKILL, at several moments; nobody is lost, graded twice or left at a false zero."""
    students = [f"s{number}" for number in range(8)]
    for number, student in enumerate(students):
        school.submit(student, double=SLOW.format(seconds=0.3, times=2 if number % 2 else 3))
    running = school.start("--processes", "2")
    _eventually(lambda: len(school.notes()) >= after)
    time.sleep(0.1 * after)
    family = psutil.Process(running.pid).children(recursive=True)
    running.send_signal(signal.SIGKILL)
    running.wait()
    before = school.notes()
    assert after <= len(before) < len(students) or after == 7
    for student, score in school.scores().items():
        assert score == (6 if int(student[1:]) % 2 else 4), "never a false score, not even for a moment"
    assert not psutil.wait_procs(family, timeout=20)[1], "nothing goes on without its parent"
    printed = school.grade()
    assert f"{len(students) - len(before)} graded now, {len(before)} unchanged" in printed
    assert school.scores() == {student: 6 if int(student[1:]) % 2 else 4 for student in students}
    assert school.notes() | before == school.notes(), "nobody was graded twice"
    assert all(school.page(student) for student in students)


def test_a_worker_that_dies_costs_nobody_anything(school: Class) -> None:
    for number in range(6):
        school.submit(f"s{number}", double=SLOW.format(seconds=0.5, times=2))
    killed = []

    def outcomes():
        submissions = school.course.submissions(school.assignment)
        with local(2) as team:
            for outcome in grade_course(
                school.course, school.assignment, submissions, Options(BUBBLEWRAP), team, show="title"
            ):
                if not killed:
                    family = psutil.Process().children(recursive=True)
                    workers = [process for process in family if "spawn_main" in " ".join(process.cmdline())]
                    killed.append(workers[0].pid)
                    os.kill(workers[0].pid, signal.SIGKILL)
                yield outcome

    results = {outcome.student: outcome.points for outcome in outcomes()}
    assert killed
    assert results == {f"s{number}": 6 for number in range(6)} == school.scores()


class Doomed(Executor):
    """Breaks with every job of one student."""

    def __init__(self, error: Exception) -> None:
        self.error = error

    def submit(self, function, job):
        future: Future = Future()
        if job.student == "doom":
            future.set_exception(self.error)
        else:
            future.set_result(function(job))
        return future


class Broken(BrokenExecutor):
    pass


class GaveUp(Exception):
    pass


@pytest.mark.parametrize("error", [Broken(), GaveUp()])
def test_what_kills_whoever_grades_it_stops_no_other(school: Class, error: Exception) -> None:
    for student in ("ada", "doom", "eve"):
        school.submit(student)
    options = Options(BUBBLEWRAP)
    jobs = [
        Job(one.student, school.assignment, one.content, options)
        for one in school.course.submissions(school.assignment)
    ]
    found = {job.student: graded for job, graded in run_jobs(jobs, Team(lambda: Doomed(error), 1, (GaveUp,)))}
    points = {student: graded["small_things"].result.points for student, graded in found.items()}
    assert points == {"ada": 6, "doom": 0, "eve": 6}
    assert "tell your teacher" in found["doom"]["small_things"].result.error


def test_the_judge_itself_cannot_be_kept_busy_for_ever(school: Class) -> None:
    """A check that never ends, which no time limit of the learner's process can stop: the process that judges ends."""
    source = school.root / "solutions" / SMALL / "small_things.py"
    source.write_text(
        source.read_text().replace("checks.equal(double(4), 8", "while True: pass\nchecks.equal(double(4), 8")
    )
    assignment = school.course.assignment(SMALL)
    school.submit("ada")
    options = Options(BUBBLEWRAP, limits=Limits(seconds=1, total=2, spare=6))
    (one,) = school.course.submissions(assignment)
    with local(1) as at_work:
        ((_, graded),) = run_jobs([Job("ada", assignment, one.content, options)], at_work)
    assert "died twice" in graded["small_things"].result.error


# Several machines


@contextmanager
def dask_cluster():
    import dask
    from distributed import LocalCluster

    # Dask would leave OMP_NUM_THREADS=1 in this process, and the chapters that run after it would have one core.
    quietly = dask.config.set({"distributed.nanny.pre-spawn-environ": {}})
    options = {"processes": True, "dashboard_address": None, "silence_logs": 50}
    with quietly, LocalCluster(n_workers=2, threads_per_worker=1, **options) as cluster:
        yield cluster


def test_a_cluster_grades_and_does_again_what_a_lost_machine_had(school: Class) -> None:
    students = [f"s{number}" for number in range(8)]
    for student in students:
        school.submit(student, double=SLOW.format(seconds=0.5, times=2))
    with dask_cluster() as cluster:
        victim = next(iter(cluster.workers.values())).pid
        running = school.start("--scheduler", cluster.scheduler_address, "--sandbox", BUBBLEWRAP)
        _eventually(lambda: len(school.notes()) >= 2)
        os.kill(victim, signal.SIGKILL)
        assert running.wait(120) == 0
    assert school.scores() == dict.fromkeys(students, 6)


def test_without_dask_the_option_says_what_to_install(monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(CourseError, match=r"'\.\[cluster\]'"), cluster("tcp://127.0.0.1:1"):
        pass
