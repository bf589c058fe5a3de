"""One notebook run and judged: its cells in a player, its checks here, and what came of each.

What came with the exercise only to be looked at is not run again.
A cell that ends Python, or that never ends, costs itself only: a new player runs the other cells again, and goes on.
"""

from __future__ import annotations

import ast
import io
import json
import math
import re
import time
import warnings
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, chdir, contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass, field
from difflib import SequenceMatcher
from functools import lru_cache
from pathlib import Path
from tempfile import TemporaryDirectory

import nbformat
from nbformat import NotebookNode

from bow2gpt.checks import CheckFailed

from .judge import TOO_LONG, Judge, Lost, Ran, Remote, as_python, line_of, names_stored, names_used
from .paths import CourseError
from .repair import is_answer, is_check, marks
from .sandbox import Limits, Worker
from .wire import harmless

NOT_ATTEMPTED = "not attempted yet"
_RESTARTS = 6  # players that one notebook may lose
_HOPELESS = ("NotImplementedError", "SyntaxError", "IndentationError", "TabError", "Lost", "TooLong")  # cells
_SHOWN = 10_000_000  # characters of all outputs of a notebook


@dataclass(frozen=True)
class Verdict:
    """What one check cell gave.

    Attributes:
        points: earned.
        maximum: to be earned.
        message: the first thing that was wrong; empty if nothing was.
        hidden: whether a hidden check said it.
        title: of that hidden check.
    """

    points: float
    maximum: float
    message: str = ""
    hidden: bool = False
    title: str = ""


@dataclass
class Marked:
    """A notebook that was run, with outputs, and a verdict on each check cell by its grade id."""

    notebook: NotebookNode
    verdicts: dict[str, Verdict] = field(default_factory=dict)


def mark(
    notebook: NotebookNode, source: NotebookNode, worker: Worker, limits: Limits, data: Mapping[str, bytes], seed: int
) -> Marked:
    """Run and judge a repaired notebook.

    Args:
        notebook: see `repair`.
        source: the notebook that the exercise was released from, with the hidden checks.
        worker: gives players.
        limits: what the notebook may use.
        data: files beside it, by their relative names.
        seed: of the random inputs of hidden checks.

    Raises:
        CourseError: if the sandbox cannot be started, or a locked cell of the exercise does not run.
    """
    run = _Run(notebook, source, worker, limits, data, seed)
    with TemporaryDirectory(prefix="bow2gpt-") as folder, _quiet(), chdir(folder), run.players:
        for name, content in data.items():
            Path(folder, name).parent.mkdir(parents=True, exist_ok=True)
            Path(folder, name).write_bytes(content)
        run.all()
    return Marked(run.notebook, run.verdicts)


@contextmanager
def _quiet() -> Iterator[None]:
    """What checks print is for nobody."""
    with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


class _Run:
    def __init__(self, notebook, source, worker, limits, data, seed) -> None:
        self.notebook = nbformat.from_dict(notebook)
        self.verdicts: dict[str, Verdict] = {}
        self.players = ExitStack()
        self._sources = {marks(cell)["grade_id"]: cell.source for cell in source.cells if marks(cell)}
        self._worker, self._limits, self._data = worker, limits, data
        self._judge = Judge(seed)
        self._source = [cell for cell in source.cells if cell.cell_type == "code"]
        self._graded = [cell for cell in self._source if is_check(cell)]
        self._remote: Remote | None = None
        self._session = None
        self._lost = 0
        self._room = _SHOWN
        self._ran: list[str] = []  # sources that a new player has to run again
        self._answers: dict[str, tuple[str, str]] = {}  # what ended each answer's cell, and the message
        # From the source, not from the submission: a learner who defines `checks` must not be asked for it.
        self._theirs = {name for cell in source.cells if is_answer(cell) for name in defined(cell.source)}
        self._demonstrations = {cell.source for cell in source.cells if not marks(cell)}
        self._end = math.inf  # the time begins when the first player is there

    def all(self) -> None:
        self._trust()
        cells = self._to_run()
        for number, cell in enumerate(cells):
            if is_check(cell):
                released, cell.source = cell.source, self._sources[marks(cell)["grade_id"]]
                self._check(cell, hidden_lines(cell.source, released))
                if self._used_later(released, cells[number + 1 :]):
                    self._run(released)
            elif marks(cell).get("locked"):
                cell.source = self._sources[marks(cell)["grade_id"]]
                self._prepare(cell)
                self._show(cell, self._run(cell.source))
            else:
                ran = self._run(cell.source)
                self._show(cell, ran)
                if is_answer(cell) and ran.error:
                    self._answers[marks(cell)["grade_id"]] = ran.error[:2]
                    for rest in definitions(cell.source) if ran.error[0] not in _HOPELESS else ():
                        self._run(rest)

    def _trust(self) -> None:
        """Give the judge what checks use and no answer defines: from the exercise, never from the submission."""
        needed = set().union(*(names_used(ast.parse(as_python(cell.source))) for cell in self._graded))
        theirs = set().union(*(defined(cell.source, everything=True) for cell in self._source if is_answer(cell)))
        for cell in self._source:
            if not marks(cell).get("locked") and not is_check(cell):
                self._judge.import_from(cell.source)
            if not marks(cell):
                self._judge.define_from(cell.source, needed, theirs)

    def _to_run(self) -> list[NotebookNode]:
        """Code cells but those that came with the exercise, are as they were, and define nothing that others use."""
        cells = [cell for cell in self.notebook.cells if cell.cell_type == "code"]
        shown = [cell for cell in cells if not marks(cell) and cell.source in self._demonstrations]
        kept = [cell for cell in cells if not any(cell is other for other in shown)]
        while True:
            needed = set().union(*(_free(cell.source) for cell in kept))
            more = [cell for cell in shown if defined(cell.source, everything=True) & needed]
            if not more:
                return [cell for cell in cells if not any(cell is other for other in shown)]
            kept += more
            shown = [cell for cell in shown if not any(cell is other for other in more)]

    def _prepare(self, cell: NotebookNode) -> None:
        try:
            self._judge.prepare(cell.source)
        except Exception as error:
            name, cause = marks(cell)["grade_id"], f"{type(error).__name__}: {_text(error)}"
            raise CourseError(f"the exercise itself is broken: its cell {name} raised {cause}") from error

    @staticmethod
    def _used_later(source: str, cells: list[NotebookNode]) -> bool:
        """Whether a cell of the learner's needs a name that a check defines."""
        stored = defined(source, everything=True)
        return any(stored & _free(cell.source) for cell in cells if not is_check(cell))

    def _run(self, source: str) -> Ran:
        if not source.strip():
            return Ran()
        try:
            ran = self._player().run(source)
        except Lost as lost:
            return Ran(error=("Lost", self._give_up(lost), ""))
        if ran.error is None or ran.error[0] != "TooLong":
            self._ran.append(source)
        elif ran.error[0] == "TooLong":
            ran = Ran(ran.stdout, ran.stderr, ran.shown, ("TooLong", TOO_LONG, ran.error[2]))
        return ran

    def _player(self) -> Remote:
        """The player, or a new one that has run what the last one had.

        Raises:
            Lost: if too many were lost, or the time is up.
        """
        if time.monotonic() > self._end:
            raise Lost(f"not run: your notebook had used all its time, {self._limits.total / 60:.3g} minutes")
        if self._remote is not None:
            return self._remote
        if self._lost > _RESTARTS:
            raise Lost(f"not run: your notebook had ended Python {self._lost} times before")
        self._session = self.players.enter_context(self._worker.player(self._limits, self._data))
        self._end = min(self._end, time.monotonic() + self._limits.total)
        self._remote = Remote(self._session.connection, self._limits.seconds)
        again, self._ran = self._ran, []
        for source in again:
            if self._remote is not None:
                try:
                    self._remote.run(source)
                    self._ran.append(source)
                except Lost as lost:
                    self._give_up(lost)
            else:
                self._ran.append(source)
        return self._player()

    def _give_up(self, lost: Lost) -> str:
        """End a player that cannot be asked any more; says what the learner should know."""
        if self._remote is None:  # there was none
            return str(lost)
        self._remote = None
        self._lost += 1
        self.players.close()
        if self._session.ended == "memory":
            return f"it needs more than the {self._limits.memory / 2**30:.3g} GB of memory that it may use"
        if self._session.ended == "processes":
            return f"it started more than the {self._limits.processes} processes that it may have at once"
        return str(lost)

    def _check(self, cell: NotebookNode, hidden_part: set[int]) -> None:
        maximum = float(marks(cell)["points"])
        try:
            value = self._judge.check(cell.source, self._player(), self._theirs)
            verdict = Verdict(_partial(value, maximum), maximum)
            if verdict.points < maximum:
                verdict = Verdict(verdict.points, maximum, f"{verdict.points:g} of {maximum:g} points")
            cell.outputs = []
        except Lost as lost:
            verdict = Verdict(0.0, maximum, self._give_up(lost))
            cell.outputs = [_error("Lost", verdict.message)]
        except Exception as error:
            hidden = line_of(error) in hidden_part
            title = error.title if isinstance(error, CheckFailed) else ""
            verdict = Verdict(0.0, maximum, self._message(cell, error), hidden, title)
            cell.outputs = [_error(type(error).__name__, verdict.message)]
        cell.execution_count = 1
        self.verdicts[marks(cell)["grade_id"]] = verdict

    def _message(self, check: NotebookNode, error: Exception) -> str:
        if isinstance(error, NotImplementedError):
            return NOT_ATTEMPTED
        if isinstance(error, CheckFailed):
            return _text(error)
        if isinstance(error, NameError):
            name = answer_of(check, self.notebook)
            if name in self._answers:
                kind, text = self._answers[name]
                return (
                    NOT_ATTEMPTED
                    if kind == "NotImplementedError"
                    else _described(kind, text, "your cell does not run: ")
                )
            answer = next((cell for cell in self.notebook.cells if marks(cell).get("grade_id") == name), None)
            if answer is not None and not _says_anything(answer.source):
                return NOT_ATTEMPTED
        return _described(type(error).__name__, _text(error))

    def _show(self, cell: NotebookNode, ran: Ran) -> None:
        cell.execution_count = 1
        streams = (("stdout", ran.stdout), ("stderr", ran.stderr))
        outputs = [nbformat.v4.new_output("stream", name=name, text=text) for name, text in streams if text]
        outputs += [nbformat.v4.new_output("display_data", data=bundle) for bundle in ran.shown]
        if ran.error:
            outputs.append(_error(*ran.error))
        for output in outputs:
            self._room -= len(json.dumps(output))
            if self._room >= 0:
                cell.outputs.append(output)


def answer_of(check: NotebookNode, notebook: NotebookNode) -> str:
    """The grade id of the answer that a check is about: the one it is named after, else the last one above it."""
    name, above = marks(check)["grade_id"], ""
    for cell in notebook.cells:
        grade_id = marks(cell).get("grade_id")
        if grade_id == name:
            break
        if is_answer(cell):
            if re.fullmatch(re.escape(grade_id) + r"_check(_\d+)?", name):
                return grade_id
            above = grade_id
    return above or name


def hidden_lines(source: str, released: str) -> set[int]:
    """The numbers of the lines of a check cell that its release does not have, counted from 1."""
    lines, shown = source.split("\n"), released.split("\n")
    found: set[int] = set()
    for kind, start, end, *_ in SequenceMatcher(None, lines, shown, autojunk=False).get_opcodes():
        if kind != "equal":
            found |= set(range(start + 1, end + 1))
    return found


def definitions(source: str) -> list[str]:
    """The imports, functions and classes of a cell, each as code of its own."""
    try:
        body = ast.parse(as_python(source)).body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return []
    kinds = ast.Import | ast.ImportFrom | ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef
    return [ast.unparse(statement) for statement in body if isinstance(statement, kinds)]


@lru_cache(maxsize=4096)
def defined(source: str, everything: bool = False) -> set[str]:
    """Names of the functions and classes that a cell defines at its outermost level, or all that it gives a value."""
    try:
        tree = ast.parse(as_python(source))
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return set()
    kinds = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef
    return names_stored(tree) if everything else {node.name for node in tree.body if isinstance(node, kinds)}


@lru_cache(maxsize=4096)
def _free(source: str) -> set[str]:
    """Names that a cell uses and does not define itself."""
    try:
        return names_used(ast.parse(as_python(source))) - defined(source, everything=True)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return set()


def _says_anything(source: str) -> bool:
    """Whether a cell holds more than comments."""
    try:
        return bool(ast.parse(as_python(source)).body)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return True


def _partial(value: object, maximum: float) -> float:
    """All points, or as many as the last line of a check says, as nbgrader has it; NaN is none."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return maximum
    return 0.0 if math.isnan(value) else float(min(max(value, 0.0), maximum))


def _described(kind: str, text: str, intro: str = "") -> str:
    if kind in ("Lost", "TooLong", "TimeoutError") and text:
        return text
    return f"{intro}{kind}: {text}" if text else f"{intro}{kind}"


def _text(error: Exception) -> str:
    try:
        return harmless(str(error))
    except Exception:
        return ""


def _error(name: str, text: str, lines: str = "") -> NotebookNode:
    return nbformat.v4.new_output("error", ename=name, evalue=text, traceback=(lines or f"{name}: {text}").split("\n"))
