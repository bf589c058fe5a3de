"""Submissions of every kind, honest, clumsy, broken and hostile, each with the outcome that it must have.

An animal changes the files of a solved submission; the outcome is the points of each task, in order, and words that the
student must read. A hostile one tries to gain points, to see what it must not, to harm others, or to outlive its run.
Those that only have other code stand in `zoo.txt`, as cells with tags; `cell` is the answer that the code takes the
place of, or `first` or `last` for a cell of its own.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import nbformat
from nbformat import NotebookNode

ASSIGNMENT, NAME = "03_zoo", "zoo"

EXERCISE = '''\
# %% [markdown]
# # The zoo

# %% locked="imports"
import numpy as np

from bow2gpt import checks

# %% task="double"
def double(value: int) -> int:
    """Twice the value."""
    ### BEGIN SOLUTION
    return value * 2
    ### END SOLUTION

# %% check="double" points=2
checks.equal(double(4), 8, hint="twice means times two")
### BEGIN HIDDEN TESTS
checks.hidden(
    title="double on random numbers",
    call="double",
    inputs=lambda rng: (int(rng.integers(-10**6, 10**6)),),
    reference=lambda value: value + value,
    compare=checks.equal,
    hint="negative numbers too",
)
### END HIDDEN TESTS

# %%
print(double(21))

# %% task="initials"
def initials(words: list[str]) -> list[str]:
    """The first letter of each word; an empty word has none."""
    ### BEGIN SOLUTION
    return [word[0] for word in words if word]
    ### END SOLUTION

# %% check="initials" points=1
checks.equal(initials(["ab", "c"]), ["a", "c"], hint="one letter of each")

# %% check="initials" points=3
checks.equal(initials(["ab", ""]), ["a"], hint="an empty word has no first letter")
### BEGIN HIDDEN TESTS
words = ["left", "alone"]
initials(words)
checks.unchanged(["left", "alone"], words, "the list of words")
checks.hidden(
    title="initials of random words",
    call="initials",
    inputs=lambda rng: (["".join(map(chr, rng.integers(97, 123, size=3))) for _ in range(5)],),
    reference=lambda words: [word[0] for word in words],
    compare=checks.equal,
)
### END HIDDEN TESTS

# %% task="letters"
def letters(word: str) -> dict[str, int]:
    """How often each letter occurs."""
    ### BEGIN SOLUTION
    return {letter: word.count(letter) for letter in word}
    ### END SOLUTION

# %% check="letters" points=2
checks.equal(letters("aha"), {"a": 2, "h": 1}, hint="each occurrence counts")
### BEGIN HIDDEN TESTS
checks.hidden(
    title="letters of random words",
    call="letters",
    inputs=lambda rng: ("".join(map(chr, rng.integers(97, 105, size=20))),),
    reference=lambda word: {letter: word.count(letter) for letter in word},
    compare=checks.equal,
)
### END HIDDEN TESTS

# %% task="softmax"
def softmax(scores: np.ndarray) -> np.ndarray:
    """Positive numbers that add up to one, shape (n,)."""
    ### BEGIN SOLUTION
    powers = np.exp(scores - scores.max())
    return powers / powers.sum()
    ### END SOLUTION

# %% check="softmax" points=2
checks.close(softmax(np.zeros(2)), [0.5, 0.5], hint="equal scores, equal shares")
### BEGIN HIDDEN TESTS
checks.hidden(
    title="softmax of large scores",
    call="softmax",
    inputs=lambda rng: (1000.0 * rng.integers(-2, 3, size=4),),  # float32 holds them exactly
    reference=lambda scores: np.exp(scores - scores.max()) / np.exp(scores - scores.max()).sum(),
    hint="subtract the largest score first",
)
### END HIDDEN TESTS
'''

FULL = (2, 4, 2, 2)
NOTHING = (0, 0, 0, 0)
SECRET = "for the teacher only"  # stands in the gradebook's folder; no student may read it
CANARY = "canary.txt"  # in the course; no student may change it


@dataclass(frozen=True)
class Animal:
    """One submission: how it is made, and what must come of it.

    Attributes:
        kind: honest, clumsy, broken or hostile.
        make: changes the folder with the solved notebook.
        points: of each task.
        says: what the student must read somewhere on the page.
    """

    kind: str
    make: Callable[[Path], None]
    points: tuple[float, ...] = FULL
    says: str = ""


ZOO: dict[str, Animal] = {}


def _add(kind: str, name: str, make: Callable[[Path], None], points: tuple[float, ...], says: str) -> None:
    assert name not in ZOO, name
    ZOO[name] = Animal(kind, make, points, says)


def cell_of(notebook: NotebookNode, grade_id: str) -> NotebookNode:
    return next(cell for cell in notebook.cells if cell.metadata.get("nbgrader", {}).get("grade_id") == grade_id)


def edit(change: Callable[[NotebookNode], None]) -> Callable[[Path], None]:
    """An animal that changes its notebook."""

    def make(folder: Path) -> None:
        path = folder / f"{NAME}.ipynb"
        notebook = nbformat.read(path, as_version=4)
        change(notebook)
        path.write_text(json.dumps(notebook))

    return make


def coded(text: str) -> None:
    """Add the animals of `zoo.txt`."""
    tagged = [part.partition("\n")[::2] for part in re.split(r"(?m)^# %% ", text)[1:]]
    found: dict[str, tuple[dict[str, str], dict[str, str]]] = {}
    for line, source in tagged:
        tags = dict(re.findall(r'(\w+)="(.*?)"', line))
        found.setdefault(tags["animal"], (tags, {}))[1][tags["cell"]] = source.rstrip("\n")
    for name, (tags, answers) in found.items():
        points = tuple(map(float, tags["points"].split())) if "points" in tags else FULL
        _add(tags["kind"], name, _with_code(answers), points, tags.get("says", ""))


def _with_code(answers: dict[str, str]) -> Callable[[Path], None]:
    def make(folder: Path) -> None:
        course = folder.parents[2]
        places = {"@COURSE@": repr(str(course)), "@PORT@": (course / "port").read_text()}

        def change(notebook: NotebookNode) -> None:
            for place, source in answers.items():
                for mark, value in places.items():
                    source = source.replace(mark, value)
                if place == "first":
                    notebook.cells.insert(0, nbformat.v4.new_code_cell(source))
                elif place == "last":
                    notebook.cells.append(nbformat.v4.new_code_cell(source))
                else:
                    cell_of(notebook, place).source = source

        edit(change)(folder)

    return make


coded(Path(__file__).with_suffix(".txt").read_text())


def cells(
    kind: str, name: str, change: Callable[[NotebookNode], None], points: tuple[float, ...] = FULL, says: str = ""
) -> None:
    """An animal with another notebook."""
    _add(kind, name, edit(change), points, says)


def files(
    kind: str, name: str, make: Callable[[Path], None], points: tuple[float, ...] = NOTHING, says: str = ""
) -> None:
    """An animal with other files; it gets the folder with the solved notebook."""
    _add(kind, name, make, points, says)


def content(kind: str, name: str, change: Callable[[bytes], bytes], points=NOTHING, says: str = "") -> None:
    """An animal with other bytes in its file."""

    def make(folder: Path) -> None:
        path = folder / f"{NAME}.ipynb"
        path.write_bytes(change(path.read_bytes()))

    _add(kind, name, make, points, says)


# Honest

cells("honest", "solution", lambda n: None)
cells("honest", "text edited", lambda n: n.cells.insert(0, nbformat.v4.new_markdown_cell("My *notes*.")))


def _untouched(folder: Path) -> None:
    shutil.copy(folder.parent.parent.parent / "release" / f"{NAME}.ipynb", folder / f"{NAME}.ipynb")


files("honest", "untouched", _untouched, NOTHING, "not attempted yet")

# Clumsy


def _drop(*grade_ids: str) -> Callable[[NotebookNode], None]:
    def change(notebook: NotebookNode) -> None:
        notebook.cells = [c for c in notebook.cells if c.metadata.get("nbgrader", {}).get("grade_id") not in grade_ids]

    return change


def _strip(notebook: NotebookNode) -> None:
    for number, cell in enumerate(notebook.cells):
        cell.metadata, cell.id = nbformat.from_dict({}), f"x{number}"


def _weaken(notebook: NotebookNode) -> None:
    for cell in notebook.cells:
        if cell.metadata.get("nbgrader", {}).get("grade"):
            cell.source, cell.metadata.nbgrader.points = "pass", 100


def _merge(notebook: NotebookNode) -> None:
    names = ("double", "initials", "letters", "softmax")
    merged = "\n\n".join(cell_of(notebook, name).source for name in names)
    _drop(*names[1:])(notebook)
    cell_of(notebook, "double").source = merged


def _split(notebook: NotebookNode) -> None:
    answer = cell_of(notebook, "double")
    place = notebook.cells.index(answer)
    notebook.cells.insert(place + 1, nbformat.v4.new_code_cell(answer.source))
    answer.source = "# see the next cell"


def _twice(notebook: NotebookNode) -> None:
    notebook.cells += [nbformat.from_dict(cell) for cell in notebook.cells[1:6]]


def _wrong_then_right(notebook: NotebookNode) -> None:
    answer = cell_of(notebook, "double")
    place = notebook.cells.index(answer)
    notebook.cells.insert(place + 1, nbformat.v4.new_code_cell(answer.source))
    answer.source = "def double(value):\n    return 0"


def _markdown(notebook: NotebookNode) -> None:
    cell = cell_of(notebook, "double")
    cell.cell_type = "markdown"
    del cell["outputs"], cell["execution_count"]


def _old(notebook: NotebookNode) -> None:
    notebook.nbformat_minor = 2
    for cell in notebook.cells:
        del cell["id"]


def _colab(notebook: NotebookNode) -> None:
    """As Google Colab saves it: metadata of its own, other ids, no version of a kernel."""
    notebook.metadata = nbformat.from_dict({"colab": {"provenance": []}, "kernelspec": {"name": "python3"}})
    notebook.nbformat_minor = 0
    for number, cell in enumerate(notebook.cells):
        cell.metadata = nbformat.from_dict({**cell.metadata, "id": f"Ab{number}", "colab": {"base_uri": "x"}})
        del cell["id"]


def _damage_outputs(notebook: NotebookNode) -> None:
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [{"output_type": "nonsense"}], "seven"


cells("clumsy", "checks deleted", _drop("double_check", "initials_check", "initials_check_2"), says="it was put back")
cells("clumsy", "imports deleted", _drop("imports"), says="it was put back")
cells("clumsy", "answer deleted", _drop("double"), (0, 4, 2, 2), "not attempted")
cells("clumsy", "cells doubled", _twice)
cells("clumsy", "cells reversed", lambda n: n.cells.reverse(), says="another order")
cells("clumsy", "all marks stripped", _strip)
cells("clumsy", "saved by Colab", _colab)
cells("clumsy", "all answers in one cell", _merge)
cells("clumsy", "answer in the next cell", _split)
cells("clumsy", "mended in the next cell", _wrong_then_right)
cells("clumsy", "answer as text", _markdown)
cells("clumsy", "format 4.2", _old)
cells("clumsy", "outputs damaged", _damage_outputs)
cells("clumsy", "ids doubled", lambda n: [cell.update(id="same") for cell in n.cells])
cells("clumsy", "checks edited", _weaken, says="was changed")


def _unlocked(notebook: NotebookNode) -> None:
    for cell in notebook.cells:
        cell.metadata.get("nbgrader", {}).update(locked=False, solution=True)


cells("clumsy", "every cell unlocked", _unlocked)
cells("clumsy", "lone surrogate", lambda n: n.cells.insert(0, nbformat.v4.new_code_cell("text = '\udc80'")))
cells(
    "clumsy",
    "null character",
    lambda n: cell_of(n, "double").update(source="def double(value):\n    return 2 * value \0"),
    (0, 4, 2, 2),
    "does not run",
)

cells(
    "clumsy",
    "thirty thousand empty lines",
    lambda n: n.cells.insert(0, nbformat.v4.new_code_cell("\n" * 30_000 + "%matplotlib inline")),
)

# Broken files


def _replace_with(make: Callable[[Path], None]) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        path = folder / f"{NAME}.ipynb"
        path.unlink()
        make(path)

    return change


def _in_format_3(data: bytes) -> bytes:
    return nbformat.v3.writes_json(nbformat.convert(nbformat.reads(data.decode(), as_version=4), 3)).encode()


def _linked_folder(folder: Path) -> None:
    shutil.move(folder, folder.with_name("elsewhere"))
    folder.symlink_to("elsewhere")


def _sparse(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(2**36)


def _many_cells(data: bytes) -> bytes:
    notebook = json.loads(data)
    more = {"cell_type": "code", "source": "1", "metadata": {}, "outputs": [], "execution_count": None}
    notebook["cells"] += [more] * 10**5
    return json.dumps(notebook).encode()


files(
    "broken", "no file", lambda f: (f / f"{NAME}.ipynb").unlink(), says="zoo.ipynb is missing; there is no file at all"
)
files(
    "broken",
    "a picture instead",
    _replace_with(lambda p: p.with_suffix(".png").write_bytes(b"\x89PNG")),
    says="there is zoo.png",
)
files(
    "broken",
    "a program instead",
    _replace_with(lambda p: p.with_suffix(".py").write_text("x = 1")),
    says="zoo.ipynb is missing",
)
files(
    "broken", "renamed", lambda f: (f / f"{NAME}.ipynb").rename(f / "zoo (1).ipynb"), FULL, "zoo (1).ipynb was graded"
)
files(
    "broken",
    "in a folder",
    lambda f: shutil.move(f / f"{NAME}.ipynb", (f / "mine").mkdir() or f / "mine"),
    FULL,
    "was graded",
)
files(
    "broken",
    "a link to the solution",
    _replace_with(lambda p: p.symlink_to("../../../solutions/03_zoo/zoo.ipynb")),
    says="it is a link",
)
files("broken", "a link to nowhere", _replace_with(lambda p: p.symlink_to("nowhere")), says="it is a link")
files("broken", "a folder instead", _replace_with(Path.mkdir), says="it is a folder")
files("broken", "a pipe instead", _replace_with(lambda p: os.mkfifo(p)), says="not an ordinary file")
files("broken", "linked folder", _linked_folder, says="is a link")
files("broken", "too large", _replace_with(_sparse), says="too large")
content("broken", "empty", lambda data: b"", says="empty")
content("broken", "only spaces", lambda data: b" \n", says="empty")
content("broken", "not JSON", lambda data: b"Dear teacher,", says="not valid JSON")
content("broken", "cut off", lambda data: data[: len(data) // 2], says="not valid JSON")
content("broken", "doubled by a merge", lambda data: b"<<<<<<< HEAD\n" + data, says="not valid JSON")
content("broken", "a list", lambda data: b"[]", says="not a notebook")
content(
    "broken",
    "cells are numbers",
    lambda data: b'{"nbformat": 4, "nbformat_minor": 5, "metadata": {}, "cells": [3]}',
    says="not a valid notebook",
)
content("broken", "Latin-1", lambda data: data.replace(b"The zoo", b"The z\xf6\xf6"), says="not UTF-8")
content("broken", "UTF-16", lambda data: data.decode().encode("utf-16"), FULL)
content("broken", "byte order mark", lambda data: b"\xef\xbb\xbf" + data, FULL)
content("broken", "Windows line ends", lambda data: data.replace(b"\n", b"\r\n"), FULL)
content("broken", "format 3", _in_format_3, FULL)
content("broken", "a hundred thousand cells", _many_cells, says="at most 2,000")
content("broken", "brackets without end", lambda data: b"[" * 10**6, says="not valid JSON")
content("broken", "a number without end", lambda data: b'{"nbformat": ' + b"9" * 10**6 + b"}", says="not")

# Hostile

cells(
    "hostile",
    "raises its points",
    lambda n: (_weaken(n), cell_of(n, "double").update(source="def double(value):\n    return 8")),
    (0, 4, 2, 2),
)
cells(
    "hostile",
    "an answer in place of a check",
    lambda n: (
        cell_of(n, "double_check").update(source="double = lambda v: v * 2")
        or cell_of(n, "double").update(source="def double(v):\n    return 8")
    ),
    (0, 4, 2, 2),
)


cells(
    "hostile",
    "script in its text",
    lambda n: n.cells.insert(0, nbformat.v4.new_markdown_cell("<script>alert(1)</script><img src=x onerror=alert(1)>")),
)
cells(
    "hostile", "script as its id", lambda n: n.cells[2].metadata.nbgrader.update(grade_id="<script>alert(1)</script>")
)
cells("hostile", "name of a path", lambda n: n.cells[2].metadata.nbgrader.update(grade_id="../../../gradebook"))
files("hostile", "data of its own", lambda f: (f / "numbers.csv").write_text("9,9\n"), FULL)
files("hostile", "a module of its own", lambda f: (f / "numpy.py").write_text("raise SystemExit"), FULL)
files(
    "hostile",
    "a thousand files",
    lambda f: [(f / f"copy{i}.ipynb").write_text("{}") for i in range(1000)] and None,
    FULL,
)
cells("hostile", "minus signs", lambda n: n.cells.append(nbformat.v4.new_code_cell("-" * 200_000 + "1")))
cells(
    "hostile",
    "half a million lines",
    lambda n: n.cells.append(nbformat.v4.new_code_cell("a\n" * 500_000)),
    NOTHING,
    "characters of code",
)
files("hostile", "a name that is no text", lambda f: Path(os.fsdecode(bytes(f) + b"/r\xe9sum\xe9.txt")).touch(), FULL)
files("hostile", "a file named like a script", lambda f: (f / "<script>alert(1)<|script>.ipynb").write_text("{}"), FULL)
files("hostile", "a time that is no time", lambda f: (f / "timestamp.txt").write_text("9" * 30), FULL)
files("hostile", "a time without end", lambda f: (f / "timestamp.txt").write_bytes(b"\xff" * 10**6), FULL)
