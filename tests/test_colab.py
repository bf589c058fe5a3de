"""Every notebook opens in Colab and on Binder: its links, its setup cell, and a clean environment like Colab's.

But: neither service is here. What pip would fetch from GitHub is put in its place by hand, and Colab's own list of
packages is not known.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from importlib import metadata
from pathlib import Path
from urllib.parse import urlsplit

import clean
import nbformat
import pytest
from conftest import CHAPTER, EXERCISE, ROOT, make_clone
from packaging.requirements import Requirement

from bow2gpt.course import build as course_build
from bow2gpt.course.execute import execute
from bow2gpt.course.grade import Options, grade
from bow2gpt.course.launch import setup_code
from bow2gpt.course.notebooks import dump, is_setup, read_notebook
from bow2gpt.course.paths import CourseError
from bow2gpt.course.release import answered, is_untouched, read_exercise
from bow2gpt.course.sandbox import BUBBLEWRAP

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
HOME = PROJECT["urls"]["Repository"]
CHAPTERS = sorted(ROOT.glob("chapters/*.ipynb"))
EXERCISES = sorted(ROOT.glob("exercises/*/*.ipynb"))
NOTEBOOKS = [*CHAPTERS, *EXERCISES]
OPENED = re.compile(
    r"https://(colab|mybinder)\.[^)\s]*?/([^/)\s]*/[^/)\s]*)/(?:blob/)?main(?:\?urlpath=lab/tree)?/([^)\s]+)"
)
SMALL = ("chapters/02_small_things.py", "solutions/02_small_things/small_things.py")
SMALL_RELEASE = "exercises/02_small_things/small_things.ipynb"


def opened(markdown: str) -> set[tuple[str, str, str]]:
    """Service, repository and notebook of each link that opens one."""
    return set(OPENED.findall(markdown))


@pytest.fixture
def small(tmp_path: Path) -> Path:
    """A small clone with an address of its own, built."""
    root = make_clone(tmp_path / "small")
    (root / "pyproject.toml").write_text('[project]\n[project.urls]\nRepository = "https://github.com/me/mine"\n')
    course_build.write(root, course_build.build(root), say=lambda line: None)
    return root


# Links


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_links_to_itself_in_colab_and_on_binder(path: Path) -> None:
    title, name = nbformat.read(path, as_version=4).cells[0], path.relative_to(ROOT).as_posix()
    repository = urlsplit(HOME).path[1:]
    assert opened(title.source) == {("colab", repository, name), ("mybinder", repository, name)}
    assert "![" not in title.source  # an image would be fetched


def test_the_readme_links_every_notebook_in_colab() -> None:
    readme = (ROOT / "README.md").read_text()
    table = readme.partition("<!-- table:")[2].partition("<!-- /table -->")[0]
    repository = urlsplit(HOME).path[1:]
    assert opened(table) == {("colab", repository, path.relative_to(ROOT).as_posix()) for path in NOTEBOOKS}
    for _, _, notebook in opened(readme):
        assert (ROOT / notebook).is_file()
    for row in table.splitlines():
        *cells, last = row.strip("| ").split(" | ")
        assert {name for _, _, name in opened(last)} <= set(re.findall(r"\(([^)]*)\)", " ".join(cells)))


def test_another_repository_changes_every_link_and_the_setup_cell(tmp_path: Path) -> None:
    old, new = urlsplit(HOME).path[1:], "me/mine"
    for name in ("chapters", "solutions", "deploy"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("*.ipynb"))
    for name in ("README.md", "jupytext.toml", "nbgrader_config.py"):
        shutil.copy(ROOT / name, tmp_path)
    (tmp_path / "pyproject.toml").write_text(f'[project]\n[project.urls]\nRepository = "https://github.com/{new}"\n')
    for path, content in course_build.build(tmp_path).items():
        text = content.decode().replace("%2F", "/")
        assert old not in text, path
        assert (new in text) == (path.parts[0] != "utils"), path


# The setup cell in the sources


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_the_setup_cell_is_the_second_and_the_same_everywhere(path: Path) -> None:
    cells = nbformat.read(path, as_version=4).cells
    assert [cell.id for cell in cells if is_setup(cell)] == [cells[1].id] == ["setup"]
    assert cells[1].source == setup_code(HOME)


def test_build_puts_links_and_setup_into_a_source_that_lacks_them_and_renews_what_was_changed(small: Path) -> None:
    again = {name: (small / name).read_text() for name in SMALL}
    for name, text in zip(SMALL, (CHAPTER, EXERCISE), strict=True):
        assert again[name].count(setup_code("https://github.com/me/mine")) == 1
        for spoiled in (
            text,
            again[name].replace("import subprocess", "import os"),
            again[name].replace("/me/", "/x/"),
        ):
            (small / name).write_text(spoiled)
            problems = course_build.stale(small, course_build.build(small))
            assert problems == [f"stale   {name}: run `bow2gpt build` and commit what it writes"]
            course_build.write(small, course_build.build(small), say=lambda line: None)
            assert (small / name).read_text() == again[name]
    assert course_build.stale(small, course_build.build(small)) == []


def test_build_changes_nothing_else_in_a_source(small: Path) -> None:
    for name, text in zip(SMALL, (CHAPTER, EXERCISE), strict=True):
        lines = (small / name).read_text().splitlines()
        rest = iter(lines)
        assert all(line in rest for line in text.splitlines())  # in this order
        made = setup_code("https://github.com/me/mine").splitlines()
        # beside the setup cell: its header, a blank line; and three lines of the links with an empty one
        assert len(lines) == len(text.splitlines()) + len(made) + 2 + 4


def test_a_definition_after_the_setup_cell_keeps_its_two_blank_lines(small: Path) -> None:
    path = small / "chapters/03_defines.py"
    path.write_text("# %% [markdown]\n# # 03 Defines\n\n# %%\ndef one():\n    return 1\n")
    with pytest.raises(CourseError, match="`bow2gpt build --tidy` does"):
        course_build.build(small)
    assert course_build.tidy(small) == [Path("chapters/03_defines.py")]
    assert "\n\n\n# %%\ndef one():" in path.read_text()
    assert course_build.build(small)[Path("chapters/03_defines.py")] == path.read_bytes()


def test_a_source_without_a_title_is_one_clear_error(small: Path) -> None:
    (small / "chapters/03_bare.py").write_text("# %%\n1 + 1\n")
    with pytest.raises(CourseError, match=r"03_bare\.py: no title at the top: begin with `# %% \[markdown\]`"):
        course_build.build(small)


def test_the_setup_cell_costs_nobody_points(small: Path, tmp_path: Path) -> None:
    """Neither without it, as in older exercises, nor with another one; and nobody is told of it."""
    exercise = read_exercise(small, "02_small_things")
    release = read_notebook(small / SMALL_RELEASE)
    assert is_untouched(release)
    assert [cell.metadata.nbgrader.locked for cell in release.cells if is_setup(cell)] == [True]
    solved = answered(release, {name: task.solution for name, task in exercise.tasks.items()})
    without = nbformat.from_dict({**solved, "cells": [cell for cell in solved.cells if not is_setup(cell)]})
    changed = nbformat.from_dict(solved)
    changed.cells[1].source = "%pip install bow2gpt\nraise SystemExit"
    submissions = {}
    for name, notebook in {"as it is": solved, "without": without, "changed": changed}.items():
        submissions[name] = tmp_path / f"{name}.ipynb"
        submissions[name].write_bytes(dump(notebook))
    results = grade(submissions, exercise.id, small, processes=1, options=Options(BUBBLEWRAP))
    for name, result in results.items():
        assert (name, result.error, result.points, result.notes) == (name, "", exercise.points, ())


# What the setup cell does

# Colab, as far as the cell can tell: this Python without its packages, and with those of a folder. Pip copies there
# what GitHub has.
COLAB = """
import json, shutil, subprocess, sys, types

code, packages, installed = sys.argv[1:]
sys.path[:0] = ["", packages]
sys.modules["google.colab"] = types.ModuleType("google.colab")

def run(command, check):
    assert check
    print(json.dumps(command))
    shutil.copytree(installed, packages, dirs_exist_ok=True)

subprocess.run = run
exec(compile(code, "setup", "exec"))
import bow2gpt
print(bow2gpt.__file__)
"""


class Colab:
    """A folder of packages, a working folder, and a Python that takes itself for Colab's."""

    def __init__(self, folder: Path) -> None:
        self.packages, self.content, self.github = folder / "packages", folder / "content", folder / "github"
        self.content.mkdir(parents=True)
        put(self.packages, "torch", "2.8.0+cu126")
        put(self.packages, "numpy", "2.0.2")
        put(self.github, "bow2gpt", "0.1.0", f"Project-URL: Repository, {HOME}\n")

    def run(self) -> subprocess.CompletedProcess:
        command = [sys.executable, "-I", "-S", "-c", COLAB, setup_code(HOME), self.packages, self.github]
        return subprocess.run(command, cwd=self.content, capture_output=True, text=True)


def put(folder: Path, name: str, version: str, more: str = "") -> None:
    """Put an empty package and its metadata into a folder."""
    package, described = folder / name, folder / f"{name}-{version}.dist-info"
    package.mkdir(parents=True)
    described.mkdir()
    (package / "__init__.py").touch()
    (described / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{more}")


@pytest.fixture
def colab(tmp_path: Path) -> Colab:
    return Colab(tmp_path / "colab")


def test_outside_of_colab_nothing_happens(tmp_path: Path) -> None:
    code = f"import sys; before = set(sys.modules); exec({setup_code(HOME)!r}); print(*set(sys.modules) - before)"
    done = subprocess.run([sys.executable, "-I", "-S", "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "\n", "")
    assert list(tmp_path.iterdir()) == []


def test_in_colab_the_book_is_installed_with_torch_and_numpy_pinned(colab: Colab) -> None:
    done = colab.run()
    assert done.returncode == 0, done.stderr
    command, imported = done.stdout.splitlines()
    assert json.loads(command)[1:] == [
        *("-m", "pip", "install", "--quiet"),
        f"bow2gpt[shakespeare,vectors] @ {HOME}/archive/refs/heads/main.zip",
        *("torch==2.8.0+cu126", "numpy==2.0.2"),
    ]
    assert {"shakespeare", "vectors"} <= set(PROJECT["optional-dependencies"])
    assert Path(imported) == colab.packages / "bow2gpt" / "__init__.py"


def test_in_colab_an_installed_book_is_left_alone(colab: Colab) -> None:
    shutil.copytree(colab.github, colab.packages, dirs_exist_ok=True)
    (colab.content / "bow2gpt" / "utils").mkdir(parents=True)  # a clone beside the notebook is no package
    done = colab.run()
    assert (done.returncode, len(done.stdout.splitlines())) == (0, 1), done.stderr


@pytest.mark.parametrize("stranger", ["another package", "a folder", "another book's package"])
def test_in_colab_a_stranger_of_that_name_is_refused(colab: Colab, stranger: str) -> None:
    wrong = colab.packages / "bow2gpt" / "__init__.py"
    if stranger == "another package":
        put(colab.packages, "bow2gpt", "9.0")
    elif stranger == "another book's package":
        put(colab.packages, "bow2gpt", "9.0", f"Project-URL: Repository, {HOME}-too\n")
    else:
        wrong = colab.content / "bow2gpt" / "__init__.py"
        wrong.parent.mkdir()
        wrong.touch()
    done = colab.run()
    assert done.returncode == 1
    last = done.stderr.splitlines()[-1]
    assert (
        last == f"ImportError: {wrong} is not this book's: rename or uninstall it, restart the session, run this again"
    )


def test_pip_refuses_rather_than_touches_what_is_pinned(clean_python: Path, tmp_path: Path) -> None:
    """With pip itself: a book that wanted another numpy would get it, were it not for the pin."""
    for name, needs in (("numpy", ""), ("bow2gpt", "Requires-Dist: numpy<1\n")):
        with zipfile.ZipFile(tmp_path / f"{name}-0.9-py3-none-any.whl", "w") as archive:
            inside = f"{name}-0.9.dist-info"
            archive.writestr(f"{inside}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: 0.9\n{needs}")
            archive.writestr(f"{inside}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
            archive.writestr(f"{inside}/RECORD", "")
    numpy = python_says(clean_python, "from importlib import metadata; print(metadata.version('numpy'))", tmp_path)
    command = [clean_python, "-m", "pip", "install", "--dry-run", "--no-index", "--find-links", tmp_path, "--isolated"]
    without, pinned = (
        subprocess.run([*command, "bow2gpt==0.9", *pins], capture_output=True, text=True)
        for pins in ([], [f"numpy=={numpy}"])
    )
    assert without.returncode == 0
    assert "numpy-0.9" in without.stdout
    assert pinned.returncode == 1
    assert "conflict" in pinned.stderr


# The clean environment


def python_says(python: Path, code: str, folder: Path) -> str:
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run([python, "-c", code], cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_pythons_that_can_make_an_environment_are_listed_from_the_newest(tmp_path: Path) -> None:
    for name, status in (("python3.9", 0), ("python3.12", 0), ("python3.13", 1), ("python3.12-config", 0)):
        (tmp_path / name).write_text(f"#!/bin/sh\nexit {status}\n")
        (tmp_path / name).chmod(0o755)
    (later := tmp_path / "later").mkdir()
    for path in (tmp_path / "python3.11", later / "python3.12"):
        shutil.copy(tmp_path / "python3.12", path)
    found = clean.pythons([tmp_path / "nowhere", tmp_path, later], oldest=(3, 11))
    assert found == [tmp_path / "python3.12", tmp_path / "python3.11"]
    with pytest.raises(LookupError, match=r"no Python 3\.14 or newer"):
        clean.pythons([tmp_path], oldest=(3, 14))


def test_the_clean_environment_has_one_of_them_and_none_that_is_older_than_this(
    clean_python: Path, tmp_path: Path
) -> None:
    version = "import sys; print(sys.version)"
    found = [python_says(python, version, tmp_path) for python in clean.pythons(clean.folders(), sys.version_info[:2])]
    assert python_says(clean_python, version, tmp_path) in found


def test_the_library_comes_from_the_wheel(clean_python: Path, tmp_path: Path) -> None:
    place = Path(python_says(clean_python, "import bow2gpt; print(bow2gpt.__file__)", tmp_path))
    assert place.is_relative_to(clean_python.parents[1] / "lib")
    assert "site-packages" in place.parts


def test_a_missing_clean_environment_is_named_with_the_cure(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"clean is missing: `make \.venv/\.clean` makes it"):
        clean.install(tmp_path / ".venv" / "clean")


def test_everything_that_the_library_holds_is_in_the_wheel(clean_python: Path, tmp_path: Path) -> None:
    code = "from importlib import metadata; print(*metadata.files('bow2gpt'), sep='\\n')"
    inside = set(python_says(clean_python, code, tmp_path).splitlines())
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT / "utils", capture_output=True, text=True, check=True).stdout
    assert set(listed.splitlines()) - inside == set()
    assert not [name for name in inside if name.startswith(("tests", "chapters", "solutions"))]


def test_neither_jupyterlab_nor_the_workshops_packages_are_there(clean_python: Path, tmp_path: Path) -> None:
    names = {Requirement(text).name for text in PROJECT["optional-dependencies"]["lab"]} | {"nbformat"}
    code = f"from importlib.util import find_spec; print(*[name for name in {sorted(names)} if find_spec(name)])"
    assert python_says(clean_python, code, tmp_path) == ""
    assert all(metadata.version(name) for name in names)  # here they are


IMPORT_ALL = """
import importlib, pkgutil, bow2gpt
for module in pkgutil.walk_packages(bow2gpt.__path__, "bow2gpt."):
    try:
        importlib.import_module(module.name)
    except ModuleNotFoundError as error:
        print(module.name, error.name)
"""


def test_all_but_the_workshop_needs_no_more_than_is_declared(clean_python: Path, tmp_path: Path) -> None:
    missing = [line.split() for line in python_says(clean_python, IMPORT_ALL, tmp_path).splitlines()]
    assert ["bow2gpt.course.build", "jupytext"] in missing  # what is missing is found
    assert all(module.startswith("bow2gpt.course.") for module, _ in missing), missing
    assert "bow2gpt.course.doctor" not in dict(missing)  # chapter 00 imports it


@pytest.mark.parametrize("command", [["build"], ["check", "01"], ["progress"], ["reset", "01"]])
def test_the_command_says_what_its_workshop_needs(clean_python: Path, command: list[str]) -> None:
    program = clean_python.with_name("bow2gpt")
    done = subprocess.run(
        [program, *command], cwd=ROOT, capture_output=True, text=True, env={"PATH": os.environ["PATH"]}
    )
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert re.fullmatch(
        r"error: \w+ is not installed, which the workshop .* `pip install -e '\.\[lab\]'` installs it", line
    )


def test_the_command_finds_the_clean_environment_in_order(clean_python: Path, tmp_path: Path) -> None:
    program = clean_python.with_name("bow2gpt")
    done = subprocess.run([program, "doctor"], cwd=tmp_path, capture_output=True, text=True, env={})
    assert done.returncode == 0, done.stdout
    assert "jupyterlab not here, and not needed" in done.stdout


# Blank exercises in the clean environment

EXPECTED = {"NotImplementedError", "CheckFailed"}


def unexpected(notebook: nbformat.NotebookNode, python: Path) -> list[str]:
    """Run an exercise from top to bottom; the errors that a blank exercise must not have."""
    cells = execute(notebook, python, timeout=120, stop_at_errors=False).notebook.cells
    outputs = [output for cell in cells if cell.cell_type == "code" for output in cell.outputs]
    errors = [output for output in outputs if output.output_type == "error"]
    assert errors, "nothing was asked"
    return [f"{error.ename}: {error.evalue}" for error in errors if error.ename not in EXPECTED]


@pytest.mark.parametrize("path", EXERCISES, ids=lambda path: path.stem)
def test_a_blank_exercise_runs_and_only_its_tasks_are_missing(path: Path, clean_python: Path) -> None:
    assert unexpected(nbformat.read(path, as_version=4), clean_python) == []


@pytest.mark.parametrize("broken", ["import nbgrader", "open('chapters/00_start_here.py')"])
def test_an_exercise_that_needs_more_than_a_reader_has_is_found(broken: str, clean_python: Path) -> None:
    stub = "raise NotImplementedError"
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source) for source in (stub, broken)])
    assert len(unexpected(notebook, clean_python)) == 1
