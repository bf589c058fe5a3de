"""The trusted side of grading: runs the check cells, and asks the learner's process for what the learner defined.

A check cell runs here as it stands in the exercise. A name that it uses and that neither Python, nor the locked cells,
nor an earlier check define is the learner's: a function becomes one that is called over there, with copies of plain
data. So no expected value, no comparison and no hidden check is ever in reach of the learner's code.

But: a check sees copies. It cannot ask whether two answers are the same object.
"""

from __future__ import annotations

import ast
import builtins
import contextlib
import re
import socket
import time
import traceback
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from bow2gpt import checks

from . import wire

GRACE = 3.0  # seconds beyond a time limit before the other process is given up
TOO_LONG = "it took too long and was stopped: is there a loop that never ends?"
_SHOWN = 20_000  # characters of anything a learner's cell leaves
_LOCKED, _CHECK = "<locked cell>", "<check cell>"  # names of what is run here, in tracebacks
_BUNDLES = 50  # pictures and texts of one cell
_PICTURE = 2_000_000  # characters
_DEFINING = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.Assign | ast.AnnAssign
_NO_VALUE = ["no value"]  # which is no message
_BASE64 = re.compile(r"[A-Za-z0-9+/]+={0,2}")
UNGRADABLE = "your code sent something that cannot be graded"
ENDED = "Python itself ended while your code ran: does a cell exit it, or fill the memory?"


class Lost(BaseException):  # no `except Exception` of a check may take it for an error of the learner's code
    """The learner's process ended, hangs, or sends nonsense; the message says what the learner should know."""


@dataclass(frozen=True)
class Ran:
    """What a cell of the learner's printed, displayed and raised.

    Attributes:
        stdout: what it printed.
        stderr: what it wrote to standard error.
        shown: pictures and texts, as one-item mappings from their kind (`image/png` in base 64, `text/plain`).
        error: name, message and traceback of the exception that ended it, or None.
    """

    stdout: str = ""
    stderr: str = ""
    shown: tuple[dict[str, str], ...] = ()
    error: tuple[str, str, str] | None = None


class Remote:
    """Asks one player, one question at a time.

    Args:
        connection: to the player.
        seconds: that one cell, or all questions of one check, may take.
    """

    def __init__(self, connection: socket.socket, seconds: float) -> None:
        self._connection = connection
        self._seconds = seconds
        self._deadline = 0.0
        self._turn = 0
        self._callbacks: list[Any] = []
        self.restart_clock()

    def restart_clock(self) -> None:
        """Give the questions from now on the whole time."""
        self._deadline = time.monotonic() + self._seconds

    def run(self, source: str) -> Ran:
        """Run a cell over there.

        Raises:
            Lost: if the process did not survive it.
        """
        self.restart_clock()
        return _ran(self._ask({"do": "run", "source": source}))

    def get(self, name: str) -> Any:
        """The learner's value of a name, as plain data or as something that asks over there.

        Raises:
            NameError: if the learner has no such name.
        """
        answer = self._ask({"do": "get", "name": name})
        if "missing" in answer:
            raise NameError(f"name {name!r} is not defined")
        return self._value(answer)

    def evaluate(self, expression: str) -> Any:
        """What an expression is over there: usually a function, to be called there as often as one likes."""
        return self._value(self._ask({"do": "evaluate", "expression": expression}))

    def _ask(self, request: dict) -> dict:
        try:
            seconds = self._deadline - time.monotonic()
            if seconds <= 0:
                raise TimeoutError
            until = self._deadline + GRACE
            self._turn += 1
            self._send({"seconds": seconds, "turn": self._turn, **request}, until)
            while True:
                answer = wire.receive(self._connection, until)
                if not isinstance(answer, dict) or answer.get("turn") != self._turn:
                    raise wire.WireError("a malformed message: no answer to what was asked")
                if "callback" not in answer:
                    return answer
                self._send(self._called_back(answer), until)
        except TimeoutError:
            raise Lost(TOO_LONG) from None
        except (EOFError, OSError):
            raise Lost(ENDED) from None
        except wire.WireError as error:
            raise Lost(f"{UNGRADABLE}: {error}") from None

    def _send(self, message: dict, until: float) -> None:
        self._connection.settimeout(max(0.01, until - time.monotonic()))
        wire.send(self._connection, message)

    def _called_back(self, question: dict) -> dict:
        try:
            arguments = wire.unpack(question["arguments"], self._own, self._meet)
            return {"value": wire.pack(self._callbacks[question["callback"]](*arguments), self._keep)}
        except Exception as error:
            return {"raised": f"{type(error).__name__}: {error}"}

    def _own(self, number: int) -> Any:
        return self._callbacks[number]

    def _value(self, answer: dict) -> Any:
        if "raised" in answer:
            raise _exception(answer["raised"])
        return self._unpacked(answer.get("value", _NO_VALUE))

    def _unpacked(self, packed: Any) -> Any:
        try:
            return wire.unpack(packed, self._own, self._meet)
        except wire.WireError as error:
            raise Lost(f"{UNGRADABLE}: {error}") from None

    def call(self, target: int, attribute: str | None, arguments: tuple, named: dict) -> Any:
        """Call something over there; mutable arguments are changed here as the call changed them there."""
        given = wire.pack(list(arguments), self._keep), wire.pack(named, self._keep)
        answer = self._ask(
            {"do": "call", "target": target, "attribute": attribute, "arguments": given[0], "named": given[1]}
        )
        value = self._value(answer)
        if "arguments" in answer:
            after, named_after = self._arguments(answer["arguments"])
            for before, now in zip([*arguments, *named.values()], [*after, *named_after.values()], strict=False):
                wire.update(before, now)
        return value

    def _arguments(self, packed: Any) -> tuple[list, dict]:
        """What a call left of its arguments."""
        unpacked = self._unpacked(packed)
        match unpacked:
            case [list(after), dict(named_after)]:
                return after, named_after
        raise Lost(f"{UNGRADABLE}: a malformed message: no arguments")

    def attribute(self, target: int, name: str) -> Any:
        return self._value(self._ask({"do": "attribute", "target": target, "attribute": name}))

    def set(self, target: int, name: str, value: Any) -> None:
        self._ask({"do": "set", "target": target, "attribute": name, "value": wire.pack(value, self._keep)})

    def is_instance(self, target: int, of: int) -> bool:
        return self._value(self._ask({"do": "instance", "target": target, "class": of})) is True

    def _keep(self, value: Any) -> wire.Handle:
        if isinstance(value, _Thing | _ThingType):
            return wire.Handle(value._number, "", "")  # theirs: goes back as it came
        if not callable(value):
            raise wire.WireError(f"a check passes a {type(value).__name__}, which is no plain data")
        self._callbacks.append(value)
        return wire.Handle(len(self._callbacks) - 1, "function", "", True)

    def _meet(self, handle: wire.Handle) -> Any:
        if handle.type_name == "class":
            return _ThingType(f"class_{handle.number}", (), {"_remote": self, "_number": handle.number})
        return (_MappingThing if handle.mapping else _Thing)(self, handle)


class _ThingType(type):
    """A learner's class: calling it makes an instance over there."""

    def __call__(cls, *arguments: Any, **named: Any) -> Any:
        return cls._remote.call(cls._number, None, arguments, named)

    def __instancecheck__(cls, instance: Any) -> bool:
        return isinstance(instance, _Thing) and cls._remote.is_instance(instance._number, cls._number)

    def __getattr__(cls, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return cls._remote.attribute(cls._number, name)


class _Thing:
    """Something of the learner's that is no plain data: a function, an instance, an iterator."""

    def __init__(self, remote: Remote, handle: wire.Handle) -> None:
        object.__setattr__(self, "_remote", remote)
        object.__setattr__(self, "_number", handle.number)
        object.__setattr__(self, "_handle", handle)

    def __call__(self, *arguments: Any, **named: Any) -> Any:
        return self._remote.call(self._number, None, arguments, named)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return self._remote.attribute(self._number, name)

    def __setattr__(self, name: str, value: Any) -> None:
        self._remote.set(self._number, name, value)

    def __repr__(self) -> str:
        return self._handle.shown

    def _special(self, name: str, *arguments: Any) -> Any:
        if name not in self._handle.attributes:
            raise TypeError(f"a {self._handle.type_name} has no {name}")
        return self._remote.call(self._number, name, arguments, {})

    def __iter__(self) -> Iterator[Any]:
        if "__next__" in self._handle.attributes:
            return self
        return self._special("__iter__")

    def __next__(self) -> Any:
        return self._special("__next__")

    def __bool__(self) -> bool:
        if "__bool__" in self._handle.attributes:
            return self._special("__bool__") is True
        return len(self) > 0 if "__len__" in self._handle.attributes else True

    def __len__(self) -> int:
        length = self._special("__len__")
        if not isinstance(length, int) or length < 0:
            raise TypeError(f"the length of a {self._handle.type_name} is {length!r}")
        return int(length)

    def __getitem__(self, key: Any) -> Any:
        return self._special("__getitem__", key)

    def __contains__(self, key: Any) -> bool:
        if "__iter__" in self._handle.attributes:  # what is looked for is not told to the other side
            return any(item == key for item in self)
        return self._special("__contains__", key) is True


class _MappingThing(_Thing, Mapping):
    """Something of the learner's that looks up keys."""


def _ran(answer: dict) -> Ran:
    """An answer, which a hostile process may have made, as what it should be."""

    def text(value: Any, most: int = _SHOWN) -> str:
        return wire.harmless(wire.first_lines(value, most)) if isinstance(value, str) else ""

    shown = answer.get("displayed")
    bundles = [item for item in shown if isinstance(item, dict)][:_BUNDLES] if isinstance(shown, list) else []
    kept = []
    for bundle in bundles:
        if isinstance(picture := bundle.get("image/png"), str):
            picture = "".join(picture.split())
            if len(picture) <= _PICTURE and _BASE64.fullmatch(picture):
                kept.append({"image/png": picture})
        elif isinstance(bundle.get("text/plain"), str):
            kept.append({"text/plain": text(bundle["text/plain"])})
    error = answer.get("error", answer.get("raised"))
    if isinstance(error, dict):
        error = text(error.get("name"), 100), text(error.get("says")), text(error.get("traceback"))
    else:
        error = None
    return Ran(text(answer.get("stdout")), text(answer.get("stderr")), tuple(kept), error)


def _exception(raised: Any) -> Exception:
    """An exception like the one raised over there: of the same name, and of the nearest of Python's own kinds."""
    if not isinstance(raised, dict):
        return Lost(f"{UNGRADABLE}: a malformed message: no exception")
    kind = getattr(builtins, str(raised.get("known")), Exception)
    says, name = (wire.harmless(str(raised.get(key, ""))[:_SHOWN]) for key in ("says", "name"))
    if name == "TooLong":
        return TimeoutError(TOO_LONG)
    if not (isinstance(kind, type) and issubclass(kind, Exception)):
        return RuntimeError(f"your code ended with {name[:100]}" + (f": {says}" if says else ""))
    try:
        if name != kind.__name__ and name.isidentifier() and len(name) <= 100:
            kind = type(name, (kind,), {})
        return kind(says)
    except Exception:  # some kinds need more than a message
        return RuntimeError(f"{name[:100]}: {says}")


def names_used(tree: ast.AST) -> set[str]:
    """Names that code loads, also in expressions that it passes as text to `checks.hidden`."""
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load):
            found.add(node.id)
        elif isinstance(node, ast.keyword) and node.arg == "call" and isinstance(node.value, ast.Constant):
            found |= names_used(ast.parse(str(node.value.value), mode="eval"))
    return found


def names_stored(tree: ast.AST) -> set[str]:
    """Names that code gives a value itself."""
    found = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}
    found |= {node.arg for node in ast.walk(tree) if isinstance(node, ast.arg)}
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            found.add(node.name)
        elif isinstance(node, ast.Import | ast.ImportFrom):
            found |= {alias.asname or alias.name.split(".")[0] for alias in node.names}
    return found


def as_python(source: str) -> str:
    """A cell without the lines that only a notebook understands, such as `%matplotlib inline`."""
    return re.sub(r"(?m)^[ \t]*[%!].*$", "", source)


class Judge:
    """Runs locked cells and check cells, in one namespace of this process.

    Args:
        seed: of the random inputs of hidden checks.
    """

    def __init__(self, seed: int) -> None:
        self.namespace: dict[str, Any] = {"__name__": "__main__", checks.SEED: seed}
        self._theirs: set[str] = set()

    def prepare(self, source: str) -> None:
        """Run a locked cell, as the learner's process does."""
        exec(compile(as_python(source), _LOCKED, "exec"), self.namespace)

    def import_from(self, source: str) -> None:
        """Run the imports of a cell that is not locked, so that a module is never the learner's to replace."""
        for statement in _statements(source):
            if isinstance(statement, ast.Import | ast.ImportFrom):
                with contextlib.suppress(Exception):  # of what is not installed here no check can make use
                    self._execute(statement)

    def define_from(self, source: str, needed: set[str], theirs: set[str]) -> None:
        """Run the statements of a cell that give needed names a value, unless that depends on the learner's names."""
        for statement in _statements(source):
            if isinstance(statement, _DEFINING) and names_stored(statement) & needed:
                if names_used(statement) & theirs:
                    theirs |= names_stored(statement)
                else:
                    with contextlib.suppress(Exception):
                        self._execute(statement)

    def _execute(self, statement: ast.stmt) -> None:
        exec(compile(ast.Module([statement], []), _LOCKED, "exec"), self.namespace)

    def check(self, source: str, remote: Remote, theirs: Iterable[str] = ()) -> Any:
        """Run a check cell; it raises what the check raises.

        Args:
            source: the cell, hidden checks included.
            remote: the learner's process.
            theirs: names that are the learner's, whatever this namespace holds.

        Returns:
            The value of its last line, if that is an expression: what nbgrader takes for points in part.

        Raises:
            CheckFailed: if the answer is wrong; other errors if the check could not come to a verdict.
            Lost: if the learner's process could not be asked.
        """
        remote.restart_clock()
        for name in self._theirs:
            self.namespace.pop(name, None)
        self._theirs = set()
        tree = ast.parse(as_python(source))
        used = names_used(tree)
        own = set(self.namespace) | set(vars(builtins)) | names_stored(tree)
        for name in sorted((used - own) | (set(theirs) & used)):
            try:
                self.namespace[name] = remote.get(name)
                self._theirs.add(name)
            except NameError:
                self.namespace.pop(name, None)
        self.namespace[checks.EVALUATE] = remote.evaluate
        last = tree.body.pop() if tree.body and isinstance(tree.body[-1], ast.Expr) else None
        exec(compile(tree, _CHECK, "exec"), self.namespace)
        return None if last is None else eval(compile(ast.Expression(last.value), _CHECK, "eval"), self.namespace)


def _statements(source: str) -> list[ast.stmt]:
    try:
        return ast.parse(as_python(source)).body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return []


def line_of(error: BaseException) -> int:
    """The line of the check cell at which it failed, counted from 1; 0 if it failed elsewhere."""
    lines = [
        f.lineno for f in traceback.extract_tb(error.__traceback__) if f.filename == _CHECK and f.name == "<module>"
    ]
    return lines[-1] if lines else 0
