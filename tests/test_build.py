"""Laws of what is generated: fresh, byte-stable, importable, and without a leak."""

import importlib.util
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import jupytext
import nbformat
import pytest
from conftest import CHAPTER, EXERCISE, ROOT, make_clone

from bow2gpt.course import build as course_build
from bow2gpt.course import release as course_release
from bow2gpt.course.notebooks import fingerprint, read_notebook
from bow2gpt.course.paths import CourseError

NOTEBOOK = Path("exercises/02_small_things/small_things.ipynb")
SOURCE = Path("solutions/02_small_things/small_things.py")


@pytest.fixture(scope="module")
def built(tmp_path_factory) -> Path:
    """A small clone after a build; not to be changed."""
    root = make_clone(tmp_path_factory.mktemp("built") / "clone")
    course_build.write(root, course_build.build(root))
    return root


def write_exercise(root: Path, old: str, new: str) -> None:
    assert old in EXERCISE
    (root / SOURCE).write_text(EXERCISE.replace(old, new))


# The repository itself


def test_generated_files_are_fresh():
    assert course_build.stale(ROOT, course_build.build(ROOT)) == []


def test_exported_modules_pass_ruff_and_import():
    modules = [path for path in (ROOT / "utils/bow2gpt/chapters").glob("*.py") if path.name != "__init__.py"]
    for path in modules:
        importlib.import_module(f"bow2gpt.chapters.{path.stem}")
    assert ruff(ROOT / "utils/bow2gpt/chapters") == ""


def test_no_answer_reaches_the_exercises():
    assert leaks(ROOT) == []


# Notebooks


def test_the_same_sources_give_the_same_bytes_anywhere(built, tmp_path):
    elsewhere = shutil.copytree(built, tmp_path / "else where")
    again = course_build.build(elsewhere)
    assert {path: (built / path).read_bytes() for path in again} == again
    assert course_build.stale(built, again) == []


def test_cell_ids_are_valid_unique_and_readable(built):
    for path in built.glob("*/**/*.ipynb"):
        notebook = nbformat.read(path, as_version=4)
        nbformat.validate(notebook)
        ids = [cell.id for cell in notebook.cells]
        assert len(set(ids)) == len(ids)
    chapter = nbformat.read(built / "chapters/02_small_things.ipynb", as_version=4)
    assert [cell.id for cell in chapter.cells][:4] == [
        "02-small-things-1",
        "counting-by-hand-1",
        "counting-by-hand-2",
        "counting-by-hand-3",
    ]


def test_long_and_odd_headings_give_valid_ids(clone):
    text = f"# %% [markdown]\n# # {'Very long ' * 20}\n\n# %% [markdown]\n# # Σ\n\n# %%\n1\n"
    (clone / "chapters/03_odd.py").write_text(text)
    course_build.build(clone)


def test_notebooks_have_no_outputs_and_end_with_a_newline(built):
    for path in built.glob("*/**/*.ipynb"):
        raw = path.read_bytes()
        assert raw.endswith(b"}\n")
        assert b"lines_to_next_cell" not in raw
        for cell in json.loads(raw)["cells"]:
            assert cell["cell_type"] != "code" or (cell["outputs"] == [] and cell["execution_count"] is None)


def test_saving_in_jupyterlab_gives_the_source_back(built, tmp_path):
    """Open and save through jupytext's own contents manager, the notebook being newer than the source."""
    root = shutil.copytree(built, tmp_path / "clone")
    source, notebook = root / "chapters/02_small_things.py", root / "chapters/02_small_things.ipynb"
    source.touch()
    os.utime(source, (1e9, 1e9))
    manager = jupytext.TextFileContentsManager()
    manager.root_dir = str(root)
    model = manager.get("chapters/02_small_things.ipynb")
    model["content"]["metadata"]["language_info"] |= {"version": "3.11.7", "mimetype": "text/x-python"}
    model["content"]["cells"][1]["execution_count"] = 3
    manager.save(model, "chapters/02_small_things.ipynb")
    assert source.read_text() == CHAPTER
    assert source.stat().st_mtime > 1e9 + 1  # it was written, not left alone
    model["content"]["cells"][1]["source"] = "print('edited')"
    manager.save(model, "chapters/02_small_things.ipynb")
    assert source.read_text() == CHAPTER.replace('print("a demonstration")', "print('edited')")
    assert "edited" in notebook.read_text()


def test_a_source_that_jupyterlab_would_rewrite_is_refused(clone):
    (clone / "chapters/02_small_things.py").write_text(CHAPTER.replace("UNIT\n\n\n# %%", "UNIT\n\n# %%"))
    with pytest.raises(CourseError, match=r"chapters/02_small_things.py, line \d+: JupyterLab would save '' where"):
        course_build.build(clone)


def test_tidying_repairs_blank_lines_and_nothing_else(clone):
    path = clone / "chapters/02_small_things.py"
    path.write_text(CHAPTER.replace("UNIT\n\n\n# %%", "UNIT\n\n# %%").rstrip("\n"))
    (clone / "chapters/03_loud.py").write_text("# %% odd=1\n!ls\n")
    assert course_build.tidy(clone) == [Path("chapters/02_small_things.py")]
    assert path.read_text() == CHAPTER
    assert course_build.tidy(clone) == []


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "the file is empty"),
        ("import os\n", "first line is not a cell"),
        ("# %% a title\n1\n", "unknown tag 'title'"),
    ],
)
def test_a_broken_chapter_is_one_clear_error(clone, text, message):
    (clone / "chapters/03_broken.py").write_text(text)
    with pytest.raises(CourseError, match=message):
        course_build.build(clone)


def test_a_badly_named_chapter_is_refused(clone):
    (clone / "chapters/3-Broken.py").write_text(CHAPTER)
    with pytest.raises(CourseError, match="rename it"):
        course_build.build(clone)


# Modules


def test_the_module_holds_the_exported_cells_and_one_import_block(built):
    module = (built / "utils/bow2gpt/chapters/small_things.py").read_text()
    assert module.startswith("# Generated from chapters/02_small_things.py by `bow2gpt build`: edit there.\n")
    assert module.count("import re\n") == 1
    assert "from collections.abc import Iterable, Sequence\n" in module
    assert "\n\n# The unit of everything.\nUNIT = 1\n\n\ndef total(" in module
    assert "a demonstration" not in module
    assert not (built / "utils/bow2gpt/chapters/opening.py").exists()


def test_the_module_passes_ruff_as_it_stands(built, tmp_path):
    package = tmp_path / "bow2gpt"
    (package / "chapters").mkdir(parents=True)
    for folder in (package, package / "chapters"):
        (folder / "__init__.py").touch()
    shutil.copy(built / "utils/bow2gpt/chapters/small_things.py", package / "chapters")
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    assert ruff(package) == ""
    run = subprocess.run(
        [sys.executable, "-m", "ruff", "format", "--check", str(package)], capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stdout


def test_the_module_works(built):
    spec = importlib.util.spec_from_file_location("small_things", built / "utils/bow2gpt/chapters/small_things.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert module.__doc__ == "Small things: what the chapter builds."
    assert module.total([1, 2]) == 3


@pytest.mark.parametrize(
    ("code", "shown"),
    [
        ("print(1)", "print"),
        ("for i in []:\n    pass", "for"),
        ("x.y = 1", "x.y"),
        ("x[0] = 1", "x"),
        ("import re; X = 1", "one statement on a line"),
        ("# %timeit 1", "not plain Python"),
    ],
)
def test_an_exported_demonstration_is_refused(clone, code, shown):
    (clone / "chapters/03_loud.py").write_text(f'# %% [markdown]\n# # Loud\n\n# %% tags=["export"]\n{code}\n')
    with pytest.raises(CourseError, match=r"chapters/03_loud.py, cell loud-2: ") as error:
        course_build.build(clone)
    assert shown in str(error.value)


def ruff(folder: Path) -> str:
    command = [sys.executable, "-m", "ruff", "check", "--output-format", "concise", "--quiet", str(folder)]
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=folder).stdout


# Exercises


def test_stock_nbgrader_agrees_with_the_build(built, tmp_path):
    root = shutil.copytree(built, tmp_path / "clone")
    (root / NOTEBOOK).unlink()
    nbgrader(root, "generate_assignment", "02_small_things", "--force")
    assert fingerprint(read_notebook(root / NOTEBOOK)) == fingerprint(read_notebook(built / NOTEBOOK))
    assert leaks(root) == []
    printed = nbgrader(root, "validate", str(NOTEBOOK))
    assert "not attempted yet" in printed


def nbgrader(root: Path, *arguments: str) -> str:
    command = [sys.executable, "-m", "nbgrader", *arguments]
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    environment = os.environ | {"PATH": path, "JUPYTER_CONFIG_DIR": str(root / ".jupyter")}
    run = subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    return run.stdout + run.stderr


def test_data_files_travel_with_the_exercise(built):
    assert sorted(path.name for path in (built / NOTEBOOK).parent.iterdir()) == ["numbers.csv", "small_things.ipynb"]


def test_cells_are_marked_for_nbgrader(built):
    marks = [cell.metadata.nbgrader for cell in read_notebook(built / NOTEBOOK).cells if "nbgrader" in cell.metadata]
    assert [(mark.grade_id, mark.grade, mark.solution, mark.locked, mark.get("points")) for mark in marks] == [
        ("imports", False, False, True, None),
        ("double", False, True, False, None),
        ("double_check", True, False, True, 2),
        ("initials", False, True, False, None),
        ("initials_check", True, False, True, 1),
        ("initials_check_2", True, False, True, 3),
    ]


def test_an_exercise_knows_whether_it_is_untouched(built):
    notebook = read_notebook(built / NOTEBOOK)
    assert course_release.is_untouched(notebook)
    notebook.metadata["kernelspec"]["display_name"] = "another"
    notebook.cells[1].execution_count = 7
    assert course_release.is_untouched(notebook), "running it is not working on it"
    notebook.cells[2].source += "\n# a thought"
    assert not course_release.is_untouched(notebook)


def test_build_keeps_a_learners_work_beside_the_new_exercise(clone):
    say = []
    course_build.write(clone, course_build.build(clone), say.append)
    work = (clone / NOTEBOOK).read_text().replace("raise NotImplementedError(", "return 7 or (")
    (clone / NOTEBOOK).write_text(work)
    say.clear()
    course_build.write(clone, course_build.build(clone), say.append)
    (kept,) = (clone / NOTEBOOK).parent.glob("small_things.kept-*-*.ipynb")
    assert kept.read_text() == work
    assert any(kept.name in line for line in say)
    assert course_release.is_untouched(read_notebook(clone / NOTEBOOK))
    (clone / NOTEBOOK).write_text("damaged")
    course_build.write(clone, course_build.build(clone), say.append)
    assert len(list((clone / NOTEBOOK).parent.glob("*.kept-*.ipynb"))) == 2
    assert course_build.stale(clone, course_build.build(clone)) == []


def test_build_replaces_an_untouched_old_release_silently(clone):
    course_build.write(clone, course_build.build(clone))
    write_exercise(clone, "twice means times two", "times two")
    course_build.write(clone, course_build.build(clone))
    assert not list(clone.glob("exercises/**/*.kept-*"))
    assert "times two" in (clone / NOTEBOOK).read_text()


def test_stale_missing_and_extra_files_are_named(built, tmp_path):
    root = shutil.copytree(built, tmp_path / "clone")
    files = course_build.build(root)
    (root / "chapters/00_opening.ipynb").unlink()
    (root / "utils/bow2gpt/chapters/small_things.py").write_text("X = 1\n")
    (root / "chapters/09_gone.ipynb").write_text("{}")
    (root / "exercises/02_small_things/small_things.py").write_text("answers")
    problems = course_build.stale(root, files)
    assert [" ".join(line.split(":")[0].split()) for line in problems] == [
        "missing chapters/00_opening.ipynb",
        "stale utils/bow2gpt/chapters/small_things.py",
        "extra chapters/09_gone.ipynb",
        "extra exercises/02_small_things/small_things.py",
    ]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('locked="imports"', 'lokced="imports"', "cell 2: unknown tag 'lokced'"),
        ('check="double" points=2', 'check="duoble" points=2', "check of an unknown task 'duoble'"),
        ('check="double" points=2', 'check="double"', "`check` needs the tag 'points'"),
        ('check="double" points=2', 'check="double" points="2"', "not a positive number"),
        ('check="double" points=2', 'check="double" task="double" points=2', "a cell is one of"),
        ('task="initials"', 'task="double"', "the task 'double' is there twice"),
        ('task="initials"', 'task="Initials!"', "is not a name"),
        ('task="initials"', 'task="initials_check"', "cannot end in _check"),
        ("    ### END SOLUTION\n\n# %% check=", "\n# %% check=", "BEGIN SOLUTION without END SOLUTION"),
        ("### END HIDDEN TESTS\n\n# %%\n", "\n# %%\n", "BEGIN HIDDEN TESTS without END HIDDEN TESTS"),
        ("    ### BEGIN SOLUTION\n    answer", "    answer", "END SOLUTION without BEGIN"),
        ("print(double(21))", "### BEGIN HIDDEN TESTS\n### END HIDDEN TESTS", "outside a `check` cell"),
        ('mistake="double" name="square"', 'mistake="dobule" name="square"', "unknown task 'dobule'"),
        ('says="IndexError" loses=3', "loses=3", "`mistake` needs the tag 'says'"),
        ("# %% [markdown]\n# ## Task: `init", '# %% [markdown] locked="x"\n# ## Task: `init', "marks a code cell"),
        (EXERCISE, "", "the file is empty"),
    ],
)
def test_a_broken_exercise_source_is_one_clear_error(clone, old, new, message):
    write_exercise(clone, old, new)
    with pytest.raises(CourseError, match=r"solutions/02_small_things/small_things.py.*: ") as error:
        course_release.read_exercise(clone, "02_small_things")
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_a_task_without_a_check_is_refused(clone):
    text = EXERCISE[: EXERCISE.index('# %% check="initials" points=1')]
    (clone / SOURCE).write_text(text)
    with pytest.raises(CourseError, match="'initials' has no cell tagged"):
        course_release.read_exercise(clone, "02_small_things")


# Leaks


def leaks(root: Path) -> list[str]:
    """What of the answers can be read under exercises/: the file, and the line that should not be there."""
    found = [f"{path.name}: a source file" for path in root.glob("exercises/**/*.py")]
    for source in root.glob("solutions/*/*.py"):
        public, secret = set(), set()
        hidden = private_cell = False
        for line in source.read_text().splitlines():
            if line.startswith("# %%"):
                private_cell = "mistake=" in line or "alternative=" in line
            hidden = hidden or "### BEGIN" in line
            (secret if hidden or private_cell else public).add(line.strip())
            hidden = hidden and "### END" not in line
        secret = {line for line in secret - public if len(line) >= 8}
        assert secret, f"{source}: nothing to look for"
        for path in (root / "exercises" / source.parent.name).rglob("*"):
            if path.is_file() and ".kept-" not in path.name and ".ipynb_checkpoints" not in path.parts:
                text = path.read_text(errors="ignore")
                if path.suffix == ".ipynb":
                    text = "\n".join(cell.source for cell in nbformat.reads(text, as_version=4).cells)
                lines = {line.strip() for line in text.splitlines()}
                found += [f"{path.name}: {line}" for line in sorted(secret & lines)]
                found += [f"{path.name}: {m}" for m in ("BEGIN SOLUTION", "BEGIN HIDDEN", "mistake=") if m in text]
    return found


def test_no_answer_reaches_a_release(built):
    assert leaks(built) == []


@pytest.mark.parametrize(
    "planted",
    [
        "answer_to_keep_secret = value * 2",
        'title="double on random negative numbers",',
        "return value * 2 if value > 0 else value",
        "return value << 1",
        "### BEGIN SOLUTION",
    ],
)
def test_the_leak_test_finds_a_planted_leak(built, tmp_path, planted):
    root = shutil.copytree(built, tmp_path / "clone")
    notebook = nbformat.read(root / NOTEBOOK, as_version=4)
    notebook.cells[3].source += f"\n    {planted}"
    nbformat.write(notebook, root / NOTEBOOK)
    assert any(planted in line for line in leaks(root))


def test_the_leak_test_finds_a_planted_source(built, tmp_path):
    root = shutil.copytree(built, tmp_path / "clone")
    shutil.copy(root / SOURCE, root / "exercises/02_small_things/anything.py")
    assert any("a source file" in line for line in leaks(root))
