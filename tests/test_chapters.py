"""Every chapter and the solution of every exercise run from top to bottom in a clean kernel, offline, within budget."""

import html.parser
from pathlib import Path

import nbformat
import pytest
from nbclient.exceptions import CellExecutionError

from bow2gpt.course.execute import execute, executed
from bow2gpt.course.launch import chapters
from bow2gpt.course.paths import exercises, name_of
from bow2gpt.course.release import read_exercise

ROOT = Path(__file__).resolve().parents[1]
BUDGET_SECONDS, BUDGET_MEGABYTES = 240, 1500
TIMEOUT = 4 * BUDGET_SECONDS  # of one cell: a machine may be slow, and a hung chapter must still end

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


@pytest.mark.alone
@pytest.mark.parametrize("name", NOTEBOOKS)
def test_it_runs_from_top_to_bottom(name: str, clean_python: Path) -> None:
    if name.startswith("chapters/"):
        notebook = nbformat.read(ROOT / f"{name}.ipynb", as_version=4)
    else:
        notebook = read_exercise(ROOT, name.split("/")[1]).notebook
    run = executed(ROOT, name, notebook, clean_python, timeout=TIMEOUT)
    assert run.peak_megabytes < BUDGET_MEGABYTES, f"{name} took {run.peak_megabytes} MB of its {BUDGET_MEGABYTES} MB"

    outputs = [(cell, output) for cell in run.notebook.cells if cell.cell_type == "code" for output in cell.outputs]
    for cell, output in outputs:
        progress_or_library = output.get("name") == "stderr" and "Warning" not in output.get("text", "")
        assert output.get("name") != "stderr" or progress_or_library, f"{name}, {cell.source[:60]!r}: {output.text}"
        data = output.get("data", {})
        assert "image/png" not in data, (
            f"{name}: {cell.source[:60]!r} shows a figure without figures.show(fig, alt=...)"
        )
        for alt in ImagesAndAlts("".join(data.get("text/html", ""))).alts:
            assert alt, f"{name}: {cell.source[:60]!r} shows an image without alt text"


def of(*sources: str) -> nbformat.NotebookNode:
    return nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source) for source in sources])


def test_a_chapter_that_reaches_out_fails() -> None:
    reaching = of("import socket; socket.create_connection(('192.0.2.1', 80), timeout=1)")
    with pytest.raises(CellExecutionError, match="nothing is fetched at run time"):
        execute(reaching, timeout=60)


def test_an_error_is_an_output_where_wanted() -> None:
    run = execute(of("1 / 0", "print('on')"), timeout=60, stop_at_errors=False)
    assert [cell.outputs[0].output_type for cell in run.notebook.cells] == ["error", "stream"]


def test_memory_is_that_of_the_kernel() -> None:
    little, much = (
        execute(of(f"x = bytearray({size}); x[::4096] = x[::4096]"), timeout=60) for size in (1, 300_000_000)
    )
    assert 250 < much.peak_megabytes - little.peak_megabytes < 350


def test_a_run_is_kept_until_its_code_or_the_library_changes(tmp_path: Path) -> None:
    library = tmp_path / "utils" / "bow2gpt"
    (library / "course").mkdir(parents=True)
    (tmp_path / "constraints.txt").write_text("")
    (library / "module.py").write_text("1")

    def stamp(notebook: nbformat.NotebookNode) -> str:
        run = executed(tmp_path, "a/b", notebook, timeout=60)
        return run.notebook.cells[-1].outputs[0].text

    asks = "import time; print(time.time_ns())"
    first = stamp(of(asks))
    with_prose = of(asks)
    with_prose.cells.insert(0, nbformat.v4.new_markdown_cell("prose"))
    (library / "course" / "workshop.py").write_text("2")
    assert stamp(with_prose) == first
    changed = stamp(of(asks + "  # changed"))
    assert changed != first
    (library / "module.py").write_text("2")
    assert stamp(of(asks + "  # changed")) != changed
