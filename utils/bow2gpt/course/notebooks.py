"""Percent sources to notebooks: the same source always gives the same bytes.

But: nothing is executed here, and no notebook gets outputs.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter
from pathlib import Path

import nbformat
from nbformat import NotebookNode

from .paths import CourseError

SETUP = "setup"  # the tag of the setup cell in a chapter, and its name among the locked cells of an exercise

_KERNEL = {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"}
_HEADING = re.compile(r"#{1,6}\s+(.+)")
_ID_LENGTH = 64  # of a cell, in the notebook format
_ID = re.compile(rf"[a-zA-Z0-9_-]{{1,{_ID_LENGTH}}}")
_MOST_CELLS = 2_000
_MOST_CODE = 500_000  # characters


def read_percent(path: Path, source: str | None = None) -> NotebookNode:
    """Read a percent source as a notebook with stable cell ids and no metadata but what its cells say.

    Args:
        path: a Python file whose cells begin with `# %%`.
        source: read this instead of what stands in the file.

    Raises:
        CourseError: see `read_source`.
    """
    if source is None:
        source = read_source(path)
    import jupytext  # slow, and who only grades reads no percent sources

    notebook = jupytext.reads(source, "py:percent")
    for cell in notebook.cells:
        cell.metadata.pop("lines_to_next_cell", None)
    set_metadata(notebook)
    return notebook


def read_source(path: Path) -> str:
    """The text of a percent source.

    Raises:
        CourseError: if the file is empty, not UTF-8, or does not begin with a cell.
    """
    try:
        source = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise CourseError(f"{path}: cannot be read as UTF-8 text: {error}") from None
    if not source.strip():
        raise CourseError(f"{path}: the file is empty: begin with a cell, `# %% [markdown]`")
    if not source.startswith("# %%"):
        raise CourseError(f"{path}: the first line is not a cell, `# %% [markdown]`: remove what stands before it")
    return source


def set_metadata(notebook: NotebookNode) -> None:
    """Replace the notebook's metadata and cell ids by those that only depend on what it says."""
    notebook.metadata = nbformat.from_dict({"kernelspec": dict(_KERNEL), "language_info": {"name": "python"}})
    notebook.nbformat, notebook.nbformat_minor = 4, 5
    count: Counter[str] = Counter()
    heading = "start"
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
        if is_setup(cell):  # no other cell's id depends on whether it is there
            cell.id = SETUP
            continue
        titles = headings(cell.source) if cell.cell_type == "markdown" else []
        if titles:
            heading = _slug(titles[0])
        count[heading] += 1
        cell.id = f"{heading}-{count[heading]}"
        if titles:
            heading = _slug(titles[-1])


def is_setup(cell: NotebookNode) -> bool:
    """Whether it is the cell that installs the book in Colab: see `launch`."""
    marks = cell.metadata.get("nbgrader")
    return SETUP in cell.metadata.get("tags", ()) or (isinstance(marks, dict) and marks.get("grade_id") == SETUP)


def headings(markdown: str) -> list[str]:
    """The headings of a Markdown text, in order; lines inside code fences are none."""
    found, fenced = [], False
    for line in markdown.splitlines():
        if line.lstrip().startswith(("```", "~~~")):
            fenced = not fenced
        elif not fenced and (match := _HEADING.match(line)):
            found.append(match[1].strip())
    return found


def dump(notebook: NotebookNode) -> bytes:
    """The bytes of a notebook file: sorted keys, one trailing newline.

    Raises:
        CourseError: if it is not a valid notebook.
    """
    try:
        nbformat.validate(notebook)
    except nbformat.ValidationError as error:
        raise CourseError(f"the notebook is not valid: {error.message}") from None
    return (nbformat.writes(notebook).rstrip("\n") + "\n").encode()


def read_notebook(path: Path) -> NotebookNode:
    """Read a notebook that a person may have changed.

    Raises:
        CourseError: if the file is missing, not JSON or not a notebook.
    """
    try:
        return parse_notebook(path.read_bytes(), path.name)
    except FileNotFoundError:
        raise CourseError(f"{path.name}: the file is missing") from None
    except OSError as error:
        raise CourseError(f"{path.name}: the file cannot be read: {error.strerror}") from None


def parse_notebook(content: bytes, name: str) -> NotebookNode:
    """Make a notebook of a file's bytes, whatever a person or an editor did to them.

    Only what is asked here is kept: kinds, sources, ids and nbgrader's marks of cells, and the mark of a release. So
    damage to outputs, and the metadata of some editor, make nothing invalid.

    Args:
        content: of the file; formats older than 4.5 are brought up to it.
        name: of the file, for messages.

    Raises:
        CourseError: if it is not a notebook; says what it is instead.
    """
    if not content.strip():
        raise CourseError(f"{name}: the file is empty")
    try:
        data = json.loads(_decoded(content))
        if isinstance(data, dict) and data.get("nbformat") == 3 and "worksheets" in data:
            data = _upgraded(data, name)
    except UnicodeDecodeError:
        raise CourseError(f"{name}: not a notebook: it is not UTF-8 text") from None
    except (ValueError, RecursionError) as error:
        reason = str(error).splitlines()[0][:200]
        raise CourseError(f"{name}: not a notebook, or a damaged one: it is not valid JSON ({reason})") from None
    if not isinstance(data, dict) or not isinstance(data.get("cells"), list) or data.get("nbformat") != 4:
        raise CourseError(f"{name}: not a notebook of format 4: it has no cells")
    if len(data["cells"]) > _MOST_CELLS:
        count = len(data["cells"])
        raise CourseError(f"{name}: it has {count:,} cells, at most {_MOST_CELLS:,} are read: delete some")
    metadata = data.get("metadata") if isinstance(data.get("metadata"), dict) else {}
    try:
        cells = [_parsed_cell(cell, number) for number, cell in enumerate(data["cells"])]
        if sum(len(cell["source"]) for cell in cells if cell["cell_type"] == "code") > _MOST_CODE:
            raise ValueError(f"its cells hold more than {_MOST_CODE:,} characters of code: keep data in files")
        ids = [cell["id"] for cell in cells]
        if len(set(ids)) < len(ids):  # some editors copy ids
            cells = [cell | {"id": f"cell-{number}"} for number, cell in enumerate(cells)]
        kept = {key: metadata[key] for key in ("kernelspec", "bow2gpt") if _is_kept(key, metadata.get(key))}
        notebook = nbformat.from_dict({"cells": cells, "metadata": kept, "nbformat": 4, "nbformat_minor": 5})
        nbformat.validate(notebook)
    except (nbformat.ValidationError, ValueError, RecursionError) as error:
        reason = (str(getattr(error, "message", error)).splitlines() or [type(error).__name__])[0]
        raise CourseError(f"{name}: not a valid notebook: {reason[:200]}") from None
    return notebook


def _parsed_cell(cell: object, number: int) -> dict:
    if not isinstance(cell, dict) or cell.get("cell_type") not in ("code", "markdown", "raw"):
        raise ValueError(f"cell {number + 1} is neither code nor text")
    source = cell.get("source", "")
    if isinstance(source, list) and all(isinstance(line, str) for line in source):
        source = "".join(source)
    if not isinstance(source, str):
        raise ValueError(f"cell {number + 1} has a source that is no text")
    marks = cell["metadata"].get("nbgrader") if isinstance(cell.get("metadata"), dict) else None
    known = cell.get("id")
    parsed = {
        "cell_type": cell["cell_type"],
        "id": known if isinstance(known, str) and _ID.fullmatch(known) else f"cell-{number}",
        "metadata": {"nbgrader": marks} if isinstance(marks, dict) else {},
        "source": whole(source),
    }
    return parsed | ({"outputs": [], "execution_count": None} if cell["cell_type"] == "code" else {})


def _is_kept(key: str, value: object) -> bool:
    needed = ("name", "display_name") if key == "kernelspec" else ()
    return isinstance(value, dict) and all(isinstance(value.get(part), str) for part in needed)


def whole(text: str) -> str:
    """Text that can be written to a file: halves of characters, which JSON can carry, become question marks."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode()


def _decoded(content: bytes) -> str:
    """Text in UTF-8, or in what some editors save instead and say so in the first bytes."""
    if content.startswith((b"\xff\xfe", b"\xfe\xff")) and len(content) % 2 == 0:
        return content.decode("utf-16")
    return content.decode("utf-8-sig")


def _upgraded(data: dict, name: str) -> dict:
    try:
        return nbformat.convert(nbformat.v3.reads_json(json.dumps(data)), 4)
    except Exception as error:  # of several kinds, all of which mean the same
        raise CourseError(f"{name}: a notebook of the old format 3, and a damaged one: {error}") from None


def fingerprint(notebook: NotebookNode) -> str:
    """SHA-256 of what the cells say and of nbgrader's marks: running or saving a notebook does not change it."""
    said = [[cell.cell_type, cell.source, cell.metadata.get("nbgrader")] for cell in notebook.cells]
    return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()


def _slug(heading: str) -> str:
    slug = re.sub(r"[^a-z0-9]+", "-", heading.lower()).strip("-")
    return slug[: _ID_LENGTH - 5].rstrip("-") or "cell"
