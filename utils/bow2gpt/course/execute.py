"""Runs a notebook from top to bottom in a clean kernel, offline, and measures it; the result is kept until it is old.

But: nothing is judged here. A cell that fails raises, and tests say what a run may cost.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import nbformat
from nbformat import NotebookNode

from .paths import write_atomically

RUNS = Path(".bow2gpt", "runs")

# Runs before the notebook: whatever is not this computer cannot be reached.
_OFFLINE = """
import socket as _socket

def _refuse(self, address, _connect=_socket.socket.connect):
    if self.family in (_socket.AF_INET, _socket.AF_INET6) and address[0] not in ("127.0.0.1", "::1", "localhost"):
        raise OSError(f"a chapter tried to reach {address[0]}: nothing is fetched at run time")
    return _connect(self, address)

_socket.socket.connect = _refuse
del _socket, _refuse
"""
# Runs after it: the most memory the kernel ever held, in bytes. On Linux ru_maxrss would count who started it, too.
_PEAK = """
import re as _re, resource as _resource, sys as _sys

if _sys.platform == "linux":
    print(1024 * int(_re.search(r"VmHWM:\\s+(\\d+)", open("/proc/self/status").read())[1]))
else:
    print(_resource.getrusage(_resource.RUSAGE_SELF).ru_maxrss)
"""


@dataclass(frozen=True)
class Run:
    """What came of a notebook.

    Attributes:
        notebook: the same cells, with outputs.
        seconds: from the start of the kernel to the last output.
        peak_megabytes: the most memory that the kernel held.
    """

    notebook: NotebookNode
    seconds: float
    peak_megabytes: float


def execute(
    notebook: NotebookNode, python: str = sys.executable, *, timeout: float, stop_at_errors: bool = True
) -> Run:
    """Run a notebook in a kernel of its own, in an empty folder, unable to reach the network.

    Args:
        notebook: left as it is.
        python: the interpreter of the kernel; it needs ipykernel and what the notebook imports, nothing else.
        timeout: seconds that one cell may take.
        stop_at_errors: raise at the first cell that fails; else go on, and the error is among its outputs.

    Raises:
        nbclient.exceptions.CellExecutionError: if a cell fails.
        nbclient.exceptions.CellTimeoutError: if one takes longer.
    """
    from jupyter_client.manager import AsyncKernelManager
    from nbclient import NotebookClient

    class Manager(AsyncKernelManager):
        transport = "ipc"  # a port could be taken by another process between its choice and its use

        def format_kernel_cmd(self, extra_arguments: list[str] | None = None) -> list[str]:
            return [python, *super().format_kernel_cmd(extra_arguments)[1:]]

    cells = [nbformat.v4.new_code_cell(_OFFLINE), *notebook.cells, nbformat.v4.new_code_cell(_PEAK)]
    whole = nbformat.from_dict({**notebook, "cells": cells})
    environment = {**os.environ, "MPLBACKEND": "agg"}
    if python != sys.executable:
        environment.pop("PYTHONPATH", None)  # another interpreter imports what is installed in it
    with TemporaryDirectory() as home:
        (folder := Path(home, "empty")).mkdir()
        Manager.ip = f"{home}/kernel"
        client = NotebookClient(
            whole,
            timeout=timeout,
            kernel_name="python3",
            kernel_manager_class=Manager,
            allow_errors=not stop_at_errors,
            record_timing=False,
        )
        started = time.monotonic()
        client.execute(cwd=str(folder), env=environment)
        seconds = time.monotonic() - started
    *cells, last = whole.cells
    return Run(nbformat.from_dict({**notebook, "cells": cells[1:]}), seconds, float(last.outputs[0].text) / 1e6)


def executed(root: Path, name: str, notebook: NotebookNode, python: str = sys.executable, *, timeout: float) -> Run:
    """The same, or what is known from an earlier run of the same code with the same library.

    Args:
        root: the clone.
        name: of the notebook, as in `chapters/01_language_features`.
        notebook: prose may have changed since the earlier run, code may not.
        python: as in `execute`.
        timeout: as in `execute`.

    Raises:
        nbclient.exceptions.CellExecutionError: as in `execute`; nothing is kept then.
    """
    path = root / RUNS / f"{name.replace('/', '-')}.json"
    wanted = _fingerprint(root, notebook)
    if (known := _known(path)).get("fingerprint") != wanted:
        run = execute(notebook, python, timeout=timeout)
        outputs = [cell.outputs for cell in run.notebook.cells if cell.cell_type == "code"]
        known = {
            "fingerprint": wanted,
            "seconds": round(run.seconds, 1),
            "peak_megabytes": round(run.peak_megabytes),
            "outputs": outputs,
        }
        write_atomically(path, json.dumps(known).encode())
    filled = nbformat.from_dict(notebook)
    for number, (cell, outputs) in enumerate(zip(_code(filled), known["outputs"], strict=True), start=1):
        cell.outputs, cell.execution_count = nbformat.from_dict(outputs), number
    return Run(filled, known["seconds"], known["peak_megabytes"])


def _known(path: Path) -> dict:
    try:
        return json.loads(path.read_bytes())
    except (OSError, ValueError):
        return {}


def _code(notebook: NotebookNode) -> list[NotebookNode]:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def _fingerprint(root: Path, notebook: NotebookNode) -> str:
    """SHA-256 of all that the outputs depend on: the code, the library without the workshop, the versions."""
    digest = hashlib.sha256(json.dumps([cell.source for cell in _code(notebook)]).encode())
    library = root / "utils" / "bow2gpt"
    for path in sorted([*library.rglob("*"), root / "constraints.txt"]):
        if path.is_file() and path.suffix != ".pyc" and library / "course" not in path.parents:
            digest.update(path.relative_to(root).as_posix().encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()
