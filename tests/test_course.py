"""Laws of grading, proved on a small exercise and on every exercise of the book; and progress through them."""

import json
from pathlib import Path

import nbformat
import pytest
from conftest import EXERCISE, ROOT, make_clone

from bow2gpt.course import progress as course_progress
from bow2gpt.course.grade import NOT_ATTEMPTED, Options, Result, TaskResult, grade
from bow2gpt.course.notebooks import dump, read_notebook
from bow2gpt.course.paths import UsageError, exercises, find_exercise, find_root
from bow2gpt.course.release import Exercise, answered, build_release, last_error, read_exercise, temporary_course
from bow2gpt.course.repair import repair
from bow2gpt.course.sandbox import BUBBLEWRAP, Limits

STUBBORN = """
while True:
    try:
        while True:
            pass
    except BaseException:
        pass
"""
SMALL = "02_small_things"
NOTEBOOK = Path("exercises", SMALL, "small_things.ipynb")


class Graded:
    """One exercise, everything known about it graded at once: submission k carries the k-th mistake of each task."""

    def __init__(self, root: Path, exercise: str, folder: Path) -> None:
        self.root = root
        self.exercise: Exercise = read_exercise(root, exercise)
        release_path = folder / "untouched.ipynb"
        release_path.write_bytes(build_release(root, self.exercise))
        release = read_notebook(release_path)
        tasks = self.exercise.tasks
        answers = {"solution": {name: task.solution for name, task in tasks.items()}}
        self.carriers: dict[tuple[str, str, str], str] = {}
        for kind, known in (("mistake", self.exercise.mistakes), ("alternative", self.exercise.alternatives)):
            count: dict[str, int] = {}
            for answer in known:
                student = f"{kind} {count.setdefault(answer.task, 0)}"
                count[answer.task] += 1
                answers.setdefault(student, dict(answers["solution"]))[answer.task] = answer.code
                self.carriers[kind, answer.task, answer.name] = student
        notebooks = {"untouched": release_path}
        for student, codes in answers.items():
            notebook = answered(release, codes)
            if student != "solution":  # the pictures take time, and have no part in what is tested
                notebook.cells = [cell for cell in notebook.cells if "nbgrader" in cell.metadata]
            notebooks[student] = folder / f"{student}.ipynb"
            notebooks[student].write_bytes(dump(notebook))
        self.notebooks = notebooks
        self.results = grade(notebooks, exercise, root, processes=2, options=Options(BUBBLEWRAP))

    def result(self, student: str) -> Result:
        result = self.results[student]
        assert result.error == ""
        return result


@pytest.fixture(scope="module", params=["an example", *exercises(ROOT)])
def graded(request, tmp_path_factory) -> Graded:
    folder = tmp_path_factory.mktemp("graded")
    if request.param == "an example":
        return Graded(make_clone(folder / "clone"), SMALL, folder)
    return Graded(ROOT, request.param, folder)


def test_the_solution_scores_full(graded):
    for task in graded.result("solution").tasks:
        assert (task.points, task.message) == (task.maximum, ""), task


def test_the_untouched_exercise_scores_nothing_and_says_not_attempted(graded):
    for task in graded.result("untouched").tasks:
        assert (task.points, task.message) == (0, NOT_ATTEMPTED), task


def test_each_known_mistake_loses_its_points_and_says_why(graded):
    wrong = []
    for mistake in graded.exercise.mistakes:
        result = graded.result(graded.carriers["mistake", mistake.task, mistake.name])
        task = next(task for task in result.tasks if task.name == mistake.task)
        if task.maximum - task.points != mistake.loses or mistake.says not in task.message:
            wrong.append(
                f"{mistake.task}/{mistake.name}: expected to lose {mistake.loses:g} and say {mistake.says!r}: {task}"
            )
    assert not wrong, "\n".join(wrong)


def test_a_mistake_costs_no_points_elsewhere(graded):
    for student, result in graded.results.items():
        wrong = {
            task for (kind, task, _), carrier in graded.carriers.items() if kind == "mistake" and carrier == student
        }
        if student != "untouched":
            assert all(task.points == task.maximum for task in result.tasks if task.name not in wrong), student


def test_each_alternative_scores_full(graded):
    for alternative in graded.exercise.alternatives:
        result = graded.result(graded.carriers["alternative", alternative.task, alternative.name])
        task = next(task for task in result.tasks if task.name == alternative.task)
        assert (task.points, task.message) == (task.maximum, ""), f"{alternative.name}: {task}"


def test_stock_nbgrader_agrees_on_the_solution_and_the_untouched_exercise(graded):
    """What a teacher who does not use this grader gets: nbgrader's own commands, in the learner's own kernel."""
    from nbgrader.api import Gradebook

    exercise, root = graded.exercise, graded.root
    with temporary_course(root, exercise) as course:
        for student, points in (("solution", exercise.points), ("untouched", 0)):
            place = Path(course.coursedir.root, "submitted", student, exercise.id, f"{exercise.source.stem}.ipynb")
            place.parent.mkdir(parents=True)
            place.write_bytes(graded.notebooks[student].read_bytes())
            outcome = course.autograde(exercise.id, student)
            assert outcome["success"], last_error(outcome)
            with Gradebook(course.coursedir.db_url) as gradebook:
                assert gradebook.find_submission(exercise.id, student).score == points


def test_every_task_has_three_mistakes_and_an_alternative(graded):
    for name in graded.exercise.tasks:
        mistakes = {mistake.name for mistake in graded.exercise.mistakes if mistake.task == name}
        assert len(mistakes) >= 3, f"{name} has the known mistakes {mistakes}: write at least three"
        assert any(answer.task == name for answer in graded.exercise.alternatives), f"{name} has no alternative"


# Submissions as they come


@pytest.fixture(scope="module")
def small(tmp_path_factory) -> Path:
    """A small clone with the released exercise."""
    root = make_clone(tmp_path_factory.mktemp("small") / "clone")
    (root / NOTEBOOK).parent.mkdir(parents=True, exist_ok=True)
    (root / NOTEBOOK).write_bytes(build_release(root, read_exercise(root, SMALL)))
    return root


def solved(root: Path) -> nbformat.NotebookNode:
    tasks = read_exercise(root, SMALL).tasks
    return answered(read_notebook(root / NOTEBOOK), {name: task.solution for name, task in tasks.items()})


def without(notebook: nbformat.NotebookNode, *grade_ids: str) -> nbformat.NotebookNode:
    kept = [cell for cell in notebook.cells if cell.metadata.get("nbgrader", {}).get("grade_id") not in grade_ids]
    return nbformat.from_dict({**notebook, "cells": kept})


def test_one_bad_submission_stops_no_other(small, tmp_path):
    """Every kind of trouble in one run; each gets one clear line, and the good ones their points."""

    def file(name: str, content: bytes) -> Path:
        (tmp_path / name).write_bytes(content)
        return tmp_path / name

    good = solved(small)
    deleted = without(good, "imports", "double", "double_check", "initials_check_2")
    weakened = solved(small)
    for cell in weakened.cells:
        if cell.metadata.get("nbgrader", {}).get("grade"):
            cell.source = "pass"
            cell.metadata.nbgrader.points = 100
    old = json.loads(dump(good))
    old["nbformat_minor"] = 2
    for cell in old["cells"]:
        del cell["id"]
    doubled = solved(small)
    doubled.cells += [nbformat.from_dict(cell) for cell in doubled.cells[2:4]]
    warns = solved(small)
    warns.cells[2].source = "import warnings\ndef double(value):\n    warnings.warn('careful')\n    return value * 2"
    mutters = solved(small)
    mutters.cells[2].source = "import sys\ndef double(value):\n    print('hm', file=sys.stderr)\n    return value * 2"
    warns.cells.insert(0, nbformat.v4.new_code_cell("this is not Python"))
    killed = solved(small)
    killed.cells[2].source = "import os\nos._exit(1)"
    reordered = solved(small)
    reordered.cells.reverse()
    stripped = solved(small)
    for cell in stripped.cells:
        cell.metadata = nbformat.from_dict({})
        cell.id = f"x{cell.id}"
    results = grade(
        {
            "missing": tmp_path / "missing.ipynb",
            "folder": tmp_path,
            "text": file("text.ipynb", b"a letter"),
            "bytes": file("bytes.ipynb", b"\xff\xfe\x00"),
            "list": file("list.ipynb", b"[]"),
            "cells": file("cells.ipynb", b'{"nbformat": 4, "nbformat_minor": 5, "metadata": {}, "cells": [3]}'),
            "half": file("half.ipynb", dump(good)[:500]),
            "deleted": file("deleted.ipynb", dump(deleted)),
            "weakened": file("weakened.ipynb", dump(weakened)),
            "old format": file("old.ipynb", json.dumps(old).encode()),
            "doubled": file("doubled.ipynb", json.dumps(doubled).encode()),
            "warns": file("warns.ipynb", dump(warns)),
            "mutters": file("mutters.ipynb", dump(mutters)),
            "killed": file("killed.ipynb", dump(killed)),
            "reordered": file("reordered.ipynb", dump(reordered)),
            "stripped": file("stripped.ipynb", dump(stripped)),
        },
        SMALL,
        small,
        processes=2,
        options=Options(BUBBLEWRAP),
    )
    errors = {student: result.error for student, result in results.items() if result.error}
    expected = {
        "missing": "the file is missing",
        "folder": "cannot be read",
        "text": "not valid JSON",
        "bytes": "not UTF-8",
        "list": "not a notebook",
        "cells": "not a valid notebook",
        "half": "not valid JSON",
    }
    assert errors.keys() == expected.keys()
    for student, words in expected.items():
        assert words in errors[student]
        assert "\n" not in errors[student]
        assert (results[student].points, results[student].maximum) == (0, 6)
    for student in ("weakened", "old format", "doubled", "warns", "mutters", "reordered", "stripped"):
        assert results[student].points == 6, (student, results[student])
    assert [(task.points, task.message) for task in results["deleted"].tasks] == [(0, NOT_ATTEMPTED), (4, "")]
    double, initials = results["killed"].tasks
    assert double.points == 0
    assert "Python itself ended" in double.message
    assert initials.points == 4
    assert "the cell double was missing; it was put back" in results["deleted"].notes
    assert any("was changed" in note for note in results["weakened"].notes)
    assert any("another order" in note for note in results["reordered"].notes)
    assert not results["warns"].notes


def test_repair_puts_deleted_cells_back_in_their_places(small):
    release = read_notebook(small / NOTEBOOK)
    whole = [cell.metadata.nbgrader.grade_id for cell in release.cells if "nbgrader" in cell.metadata]
    for missing in (whole[:1], whole[-1:], whole[1:4], whole):
        repaired = repair(without(release, *missing), release).notebook
        assert [c.metadata.nbgrader.grade_id for c in repaired.cells if "nbgrader" in c.metadata] == whole
        nbformat.validate(repaired)


def test_grading_leaves_nothing_behind(small, tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    before = sorted(small.rglob("*"))
    grade({"a": small / NOTEBOOK}, SMALL, small)
    assert list(tmp_path.iterdir()) == []
    assert sorted(small.rglob("*")) == before


# Progress


@pytest.fixture
def counted(monkeypatch) -> list:
    """The calls of `grade`, without the wait: each answers that all is right."""
    calls = []

    def fake(notebooks, exercise, root, options=None):
        calls.append(exercise)
        tasks = course_progress.no_points(read_exercise(root, exercise)).tasks
        full = tuple(type(task)(task.name, task.maximum, task.maximum) for task in tasks)
        return dict.fromkeys(notebooks, Result(full))

    monkeypatch.setattr(course_progress, "grade", fake)
    return calls


def released(root: Path) -> Path:
    path = root / NOTEBOOK
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(build_release(root, read_exercise(root, SMALL)))
    return path


def test_progress_grades_only_what_changed(clone, counted):
    path = released(clone)
    assert course_progress.progress(clone)[SMALL].points == 0
    assert counted == [], "an untouched exercise is not run"
    notebook = solved(clone)
    path.write_bytes(dump(notebook))
    assert course_progress.progress(clone)[SMALL].points == 6
    notebook.cells[2].execution_count = 5  # run again and saved: still the same work
    path.write_bytes(dump(notebook))
    assert course_progress.progress(clone)[SMALL].points == 6
    assert len(counted) == 1
    (clone / "solutions" / SMALL / "small_things.py").write_text(EXERCISE + "\n# %%\n1\n")
    course_progress.progress(clone)
    assert len(counted) == 2, "the checks changed"
    course_progress.check(clone, SMALL)
    assert len(counted) == 3, "asked for again"


@pytest.mark.parametrize("damage", ["", "{", "[1]", '{"02_small_things": 7}', '{"02_small_things": {"key": {}}}'])
def test_a_damaged_memory_only_costs_grading_again(clone, counted, damage):
    released(clone).write_bytes(dump(solved(clone)))
    (clone / ".bow2gpt").mkdir()
    (clone / ".bow2gpt/progress.json").write_text(damage)
    assert course_progress.progress(clone)[SMALL].points == 6
    assert course_progress.progress(clone)[SMALL].points == 6
    assert len(counted) == 1


def test_a_solution_unlocks_after_a_pass_or_three_different_tries(clone, monkeypatch):
    path = released(clone)
    place = clone / "exercises" / SMALL / "unlocked_solutions.md"

    def fake(notebooks, exercise, root, options=None):
        wrong = TaskResult("double", 0, 2, "no"), TaskResult("initials", 4, 4)
        return dict.fromkeys(notebooks, Result(wrong))

    monkeypatch.setattr(course_progress, "grade", fake)
    for number, (answer, is_open) in enumerate(
        [
            ("def double(value): return value", False),
            ("def double(value):\n    return value  # the same", False),
            ("def double(value) return", False),
            ("def double(value): raise NotImplementedError", False),
            ("def double(value): return value + 1", False),
            ("def double(value): return value ** 2", True),
        ]
    ):
        path.write_bytes(dump(answered(solved(clone), {"double": answer})))
        course_progress.check(clone, SMALL)
        assert course_progress.unlocked(clone, SMALL) == {"double": is_open, "initials": True}, number
        text = place.read_text()
        assert "word[0] for word in words" in text
        assert ("answer_to_keep_secret" in text) == is_open
        assert "### BEGIN SOLUTION" not in text


def test_reset_keeps_the_work_and_gives_a_fresh_exercise(clone):
    path = released(clone)
    fresh = path.read_bytes()
    assert course_progress.reset(clone, SMALL) is None
    for work in (dump(solved(clone)), b"damaged"):
        path.write_bytes(work)
        kept = course_progress.reset(clone, SMALL)
        assert kept.read_bytes() == work
        assert path.read_bytes() == fresh
    path.unlink()
    assert course_progress.reset(clone, SMALL) is None
    assert path.read_bytes() == fresh


# Places


def test_the_root_is_found_from_anywhere_inside(clone):
    assert find_root(clone) == clone
    assert find_root(clone / "exercises") == clone


def test_outside_a_clone_the_installed_clone_is_used(tmp_path):
    assert find_root(tmp_path) == ROOT


def test_without_any_clone_there_is_a_clear_error(tmp_path, monkeypatch):
    monkeypatch.setattr("bow2gpt.course.paths._PACKAGE", tmp_path / "lib")
    with pytest.raises(UsageError, match="not inside a clone of the book"):
        find_root(tmp_path)


@pytest.mark.parametrize("wanted", ["2", "02", "002", SMALL])
def test_an_exercise_has_several_names(clone, wanted):
    assert find_exercise(clone, wanted) == SMALL


@pytest.mark.parametrize("wanted", ["9", "", "-2", "small", "²", "../02_small_things"])
def test_an_unknown_exercise_lists_those_that_exist(clone, wanted):
    with pytest.raises(UsageError, match=f"there is: {SMALL}"):
        find_exercise(clone, wanted)


def test_an_interrupted_write_leaves_the_old_file(tmp_path, monkeypatch):
    from bow2gpt.course import paths

    target = tmp_path / "file.txt"
    target.write_text("old")

    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(paths.os, "replace", interrupted)
    with pytest.raises(KeyboardInterrupt):
        paths.write_atomically(target, b"new")
    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]


def test_a_loop_without_end_costs_its_task_only_and_says_so(small, tmp_path):
    codes = {name: task.solution for name, task in read_exercise(small, SMALL).tasks.items()}
    loops = {"politely": "while True:\n    pass", "stubbornly": STUBBORN}
    paths = {}
    for name, code in loops.items():
        paths[name] = tmp_path / f"{name}.ipynb"
        nbformat.write(answered(read_notebook(small / NOTEBOOK), codes | {"double": code}), paths[name])
    for result in grade(paths, SMALL, small, options=Options(BUBBLEWRAP, limits=Limits(seconds=2))).values():
        double, initials = result.tasks
        assert (double.points, initials.points) == (0, initials.maximum)
        assert "took too long" in double.message


def test_without_a_sandbox_the_same_points_come(small, tmp_path):
    """What a learner alone gets, on any system."""
    right, wrong = tmp_path / "right.ipynb", tmp_path / "wrong.ipynb"
    nbformat.write(solved(small), right)
    mistake = next(mistake for mistake in read_exercise(small, SMALL).mistakes if mistake.name == "empty")
    nbformat.write(answered(solved(small), {"initials": mistake.code}), wrong)
    results = grade({"right": right, "wrong": wrong}, SMALL, small)
    assert [result.points for result in results.values()] == [6, 3]
    assert mistake.says in results["wrong"].tasks[1].message
