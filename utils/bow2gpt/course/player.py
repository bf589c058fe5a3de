"""The learner's side of grading: runs a notebook's cells, and answers calls to what they define.

This process holds no answer, no hidden check and no gradebook. Whatever the learner's code does to it, it can only send
back values, which are compared elsewhere.
"""

from __future__ import annotations

import base64
import builtins
import contextlib
import io
import os
import signal
import socket
import sys
import traceback
import warnings
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from . import wire

_SHOWN = 10_000  # characters of each stream and each traceback that a cell may leave
_DISPLAYED = 1_000_000  # characters of pictures and tables
_ATTRIBUTES = 200


class TooLong(BaseException):
    """Raised inside code whose time is up; `except Exception` does not catch it."""


class _Stream(io.TextIOBase):
    """Keeps the beginning of what is written, and counts the rest."""

    def __init__(self) -> None:
        self.kept, self.dropped = io.StringIO(), 0

    def writable(self) -> bool:
        return True

    def write(self, text: str) -> int:
        room = max(0, _SHOWN - self.kept.tell())
        self.kept.write(text[:room])
        self.dropped += max(0, len(text) - room)
        return len(text)

    def text(self) -> str:
        more = f"\n... ({self.dropped:,} characters more)\n" if self.dropped else ""
        return self.kept.getvalue() + more


def shell(home: str) -> Any:
    """The IPython shell of this process.

    Args:
        home: the only place that can be written.
    """
    from IPython.core.interactiveshell import InteractiveShell
    from traitlets.config import Config

    if not InteractiveShell.initialized():
        os.environ["HOME"] = os.environ["IPYTHONDIR"] = home
        made = InteractiveShell.instance(config=Config(HistoryManager={"enabled": False}))
        made._showtraceback = lambda *_: None  # the error itself is told; no need to print it too
    return InteractiveShell.instance()


class Player:
    """One notebook's namespace, in an IPython shell without a kernel."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._turn = 0  # the number of the question that is being answered
        self._kept: list[Any] = []
        self._numbers: dict[int, int] = {}  # of what is kept, by its identity
        self.shell = shell(os.getcwd())
        warnings.simplefilter("ignore")  # a right answer may divide by zero on its way

    def serve(self) -> None:
        """Answer requests until the other side hangs up."""
        while True:
            try:
                request = wire.receive(self._connection)
            except (EOFError, OSError):
                return
            self._turn = request["turn"]
            self._answer(self._do(request))

    def _answer(self, answer: dict) -> None:
        try:
            wire.send(self._connection, answer | {"turn": self._turn})
        except wire.WireError as error:
            too_large = _raised(ValueError(f"the answer is too large: {error}"))
            wire.send(self._connection, {"raised": too_large, "turn": self._turn})

    def _do(self, request: dict) -> dict:
        with _time_limit(request.get("seconds", 0)):
            try:
                return getattr(self, f"_do_{request['do']}")(request)
            except BaseException as error:  # what the learner's code raises may be anything, also SystemExit
                return {"raised": _raised(error)}

    def _do_run(self, request: dict) -> dict:
        out, err, shown = _Stream(), _Stream(), _Shown()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err), shown.capturing(self.shell):
            error = self._run_cell(request["source"])
        return {"stdout": out.text(), "stderr": err.text(), "displayed": shown.bundles, "error": error}

    def _run_cell(self, source: str) -> dict | None:
        result = self.shell.run_cell(source, store_history=False)
        error = result.error_before_exec or result.error_in_exec
        return _raised(error) if error is not None else None

    def _do_get(self, request: dict) -> dict:
        name = request["name"]
        if name not in self.shell.user_ns:
            return {"missing": name}
        return {"value": wire.pack(self.shell.user_ns[name], self._keep)}

    def _do_evaluate(self, request: dict) -> dict:
        return {"value": wire.pack(eval(f"({request['expression']})", self.shell.user_ns), self._keep)}

    def _do_call(self, request: dict) -> dict:
        target = self._kept[request["target"]]
        if request["attribute"] is not None:
            target = getattr(target, request["attribute"])
        arguments = wire.unpack(request["arguments"], self._resolve, self._meet)
        named = wire.unpack(request["named"], self._resolve, self._meet)
        value = target(*arguments, **named)
        # What the call did to its arguments is part of its answer; names carry no mutable default of the caller.
        return {"value": wire.pack(value, self._keep), "arguments": wire.pack([arguments, named], self._keep)}

    def _do_attribute(self, request: dict) -> dict:
        return {"value": wire.pack(getattr(self._kept[request["target"]], request["attribute"]), self._keep)}

    def _do_set(self, request: dict) -> dict:
        value = wire.unpack(request["value"], self._resolve, self._meet)
        setattr(self._kept[request["target"]], request["attribute"], value)
        return {}

    def _do_instance(self, request: dict) -> dict:
        return {"value": isinstance(self._kept[request["target"]], self._kept[request["class"]])}

    def _keep(self, value: Any) -> wire.Handle:
        number = self._numbers.setdefault(id(value), len(self._kept))
        if number == len(self._kept):
            self._kept.append(value)
        kind = "class" if isinstance(value, type) else type(value).__name__
        attributes = tuple(name for name in dir(type(value)) if name.startswith("__"))[:_ATTRIBUTES]
        is_mapping = isinstance(value, Mapping)
        return wire.Handle(number, kind, _shown(value), callable(value), is_mapping, attributes)

    def _resolve(self, number: int) -> Any:
        return self._kept[number]

    def _meet(self, handle: wire.Handle) -> Callable[..., Any]:
        """A function of the other side: calling it asks there."""

        def call(*arguments: Any) -> Any:
            packed = wire.pack(list(arguments), self._keep)
            wire.send(self._connection, {"callback": handle.number, "arguments": packed, "turn": self._turn})
            answer = wire.receive(self._connection)
            if "raised" in answer:
                raise RuntimeError(answer["raised"])
            return wire.unpack(answer["value"], self._resolve, self._meet)

        return call


class _Shown:
    """What a cell displays, up to a size."""

    def __init__(self) -> None:
        self.bundles: list[dict] = []
        self._room = _DISPLAYED

    @contextlib.contextmanager
    def capturing(self, shell: Any) -> Iterator[None]:
        from IPython.core.displayhook import CapturingDisplayHook
        from IPython.core.displaypub import CapturingDisplayPublisher

        publisher, hook = shell.display_pub, sys.displayhook
        shell.display_pub = captured = CapturingDisplayPublisher()
        results: list[dict] = []
        sys.displayhook = CapturingDisplayHook(shell=shell, outputs=results)
        try:
            yield
        finally:
            shell.display_pub, sys.displayhook = publisher, hook
            for bundle in [*captured.outputs, *results]:
                self._add(bundle)

    def _add(self, bundle: Any) -> None:
        data = bundle.get("data", {}) if isinstance(bundle, dict) else {}
        for kind in ("image/png", "text/plain"):
            value = data.get(kind)
            if isinstance(value, str) and len(value) <= self._room:
                self._room -= len(value)
                self.bundles.append({kind: value})
                return


@contextlib.contextmanager
def _time_limit(seconds: float) -> Iterator[None]:
    def stop(*_: Any) -> None:
        raise TooLong

    if not hasattr(signal, "setitimer"):  # Windows: the other side waits no longer, and ends this process
        yield
        return
    signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


def _raised(error: BaseException) -> dict:
    """An exception as plain data; the first of its classes that is Python's own tells what to raise elsewhere."""
    known = next((c.__name__ for c in type(error).__mro__ if getattr(builtins, c.__name__, None) is c), "Exception")
    try:
        lines = traceback.format_exception(type(error), error, error.__traceback__)
        text = wire.first_lines("".join(lines), _SHOWN)
    except Exception:
        text = ""
    return {"name": type(error).__name__, "known": known, "says": _text(error), "traceback": text}


def _text(error: BaseException) -> str:
    try:
        return wire.first_lines(str(error), _SHOWN)
    except Exception:
        return ""


def _shown(value: Any) -> str:
    try:
        return wire.first_lines(repr(value), 300)
    except Exception:
        return f"<{type(value).__name__}>"


def play(connection: socket.socket, folder: str) -> None:
    """Serve one notebook in this process, which nothing else shares, and end it.

    Args:
        connection: to the other side.
        folder: where the notebook runs; the files that come first are written there.
    """
    nowhere = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(nowhere, stream)
    try:
        os.chdir(folder)
        sys.path.insert(0, "")
        for name, content in wire.receive(connection).items():
            place = Path(name)
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(base64.b64decode(content))
        Player(connection).serve()
    except BaseException:
        os._exit(5)
    os._exit(0)


if __name__ == "__main__":
    if sys.platform == "win32":
        play(socket.fromshare(sys.stdin.buffer.read()), sys.argv[1])
    else:
        play(socket.socket(fileno=int(sys.argv[2])), sys.argv[1])
