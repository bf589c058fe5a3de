"""Every chapter and the solution of every exercise run from top to bottom in a clean kernel, offline, within budget."""

import html.parser
import json
import os
import time
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

from bow2gpt.course.build import chapters
from bow2gpt.course.paths import exercises, name_of

ROOT = Path(__file__).resolve().parents[1]
BUDGET_SECONDS, BUDGET_MEGABYTES = 240, 1500
RECORD = ROOT / ".bow2gpt" / "runs"

# Runs before the notebook: whatever is not this computer cannot be reached.
OFFLINE = """
import socket as _socket

def _refuse(self, address, _connect=_socket.socket.connect):
    if self.family in (_socket.AF_INET, _socket.AF_INET6) and address[0] not in ("127.0.0.1", "::1", "localhost"):
        raise OSError(f"a chapter tried to reach {address[0]}: nothing is fetched at run time")
    return _connect(self, address)

_socket.socket.connect = _refuse
del _socket, _refuse
"""
# Runs after it: the most memory the kernel ever held, in bytes. On Linux ru_maxrss would count who started it, too.
PEAK = """
import re as _re, resource as _resource, sys as _sys

if _sys.platform == "linux":
    print(1024 * int(_re.search(r"VmHWM:\\s+(\\d+)", open("/proc/self/status").read())[1]))
else:
    print(_resource.getrusage(_resource.RUSAGE_SELF).ru_maxrss)
"""

NOTEBOOKS = [f"chapters/{source.stem}" for source in chapters(ROOT)]
NOTEBOOKS += [f"solutions/{exercise}/{name_of(exercise)}" for exercise in exercises(ROOT)]


class ImagesAndAlts(html.parser.HTMLParser):
    """The alt text of each image of a piece of HTML, None where there is none."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.alts: list[str | None] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        if tag == "img":
            self.alts.append(dict(attributes).get("alt"))


def run_notebook(notebook: nbformat.NotebookNode, folder: Path) -> tuple[nbformat.NotebookNode, float, float]:
    """Run a notebook in a clean kernel; returns it with outputs, seconds, and peak megabytes of the kernel."""
    cells = [nbformat.v4.new_code_cell(OFFLINE), *notebook.cells, nbformat.v4.new_code_cell(PEAK)]
    notebook = nbformat.from_dict({**notebook, "cells": cells})
    started = time.monotonic()
    # Twice the budget: the tests share two cores, and a hung chapter must still end.
    NotebookClient(notebook, timeout=2 * BUDGET_SECONDS, kernel_name="python3").execute(
        cwd=str(folder), env={**os.environ, "MPLBACKEND": "agg"}
    )
    seconds = time.monotonic() - started
    *cells, last = notebook.cells
    return nbformat.from_dict({**notebook, "cells": cells[1:]}), seconds, float(last.outputs[0].text) / 1e6


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_it_runs_from_top_to_bottom(name: str, tmp_path: Path) -> None:
    if name.startswith("chapters/"):
        notebook = nbformat.read(ROOT / f"{name}.ipynb", as_version=4)
    else:
        from bow2gpt.course.release import read_exercise

        notebook = read_exercise(ROOT, name.split("/")[1]).notebook
    executed, seconds, megabytes = run_notebook(notebook, tmp_path)
    RECORD.mkdir(parents=True, exist_ok=True)
    record = {"seconds": round(seconds, 1), "peak_megabytes": round(megabytes)}
    (RECORD / f"{name.replace('/', '-')}.json").write_text(json.dumps(record))
    assert megabytes < BUDGET_MEGABYTES, f"{name} took {megabytes:.0f} MB of its {BUDGET_MEGABYTES} MB"

    outputs = [(cell, output) for cell in executed.cells if cell.cell_type == "code" for output in cell.outputs]
    for cell, output in outputs:
        progress_or_library = output.get("name") == "stderr" and "Warning" not in output.get("text", "")
        assert output.get("name") != "stderr" or progress_or_library, f"{name}, {cell.source[:60]!r}: {output.text}"
        data = output.get("data", {})
        assert "image/png" not in data, (
            f"{name}: {cell.source[:60]!r} shows a figure without figures.show(fig, alt=...)"
        )
        for alt in ImagesAndAlts("".join(data.get("text/html", ""))).alts:
            assert alt, f"{name}: {cell.source[:60]!r} shows an image without alt text"


def test_a_chapter_that_reaches_out_fails(tmp_path: Path) -> None:
    from nbclient.exceptions import CellExecutionError

    reaching = "import socket; socket.create_connection(('192.0.2.1', 80), timeout=1)"
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(reaching)])
    with pytest.raises(CellExecutionError, match="nothing is fetched at run time"):
        run_notebook(notebook, tmp_path)
