"""The website's pages, made from the book: executed chapters, exercises, ladder, ledger of claims, catalogue, glossary.

`python -m bow2gpt.course.site` writes them into a folder and lets Sphinx (book/conf.py) make HTML of them.
But: what a page says stands in chapters/, solutions/ and book/*.md; only tables are made here, and links redirected.
"""

from __future__ import annotations

import ast
import io
import posixpath
import re
import shutil
import subprocess
import sys
from base64 import b64decode
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import nbformat
from nbformat import NotebookNode
from PIL import Image

from bow2gpt import ladder

from .build import read_chapter
from .execute import Run, executed
from .glossary import entries, italics
from .launch import chapters, repository
from .notebooks import dump, headings, is_setup, parse_notebook
from .paths import CourseError, exercise_path, exercises, find_root, write_atomically
from .release import build_release, read_exercise
from .repair import is_answer

SITE = Path(".bow2gpt", "site")
HTML = SITE / "html"
CLAIM = "application/vnd.bow2gpt.claim+json"
SHOWN = ("text/html", "text/markdown", "text/plain")
TIMEOUT = 960  # seconds that one cell of a chapter may take
HOMES = {"README.md": "index.md"}  # pages that are another page of the site

_LINK = re.compile(r"(!?\[(?:[^\[\]]|\[[^\]]*\])*\]\()([^)\s]+)(\))")
_PICTURE = re.compile(r'(<img [^>]*?)src="data:image/png;base64,([^"]*)"')
_TASK = re.compile(r"^## \d+\. `([\w.]+)`\s+\*Difficulty (\d) of 5, about (\d+) minutes, (\d+) points?", re.M)
_LAUNCH = re.compile(r"<!-- launch\b.*?<!-- /launch -->\n*", re.S)


@dataclass(frozen=True)
class Task:
    """A line of the catalogue of exercises."""

    exercise: str
    name: str
    difficulty: int
    minutes: int
    points: int
    says: str


@dataclass(frozen=True)
class Claim:
    """A line of the ledger: what the source says, and what the book found in which chapter."""

    number: int
    claim: str
    measured: str
    verdict: str
    chapter: str


def pages(root: Path, run: Callable[[str, NotebookNode], Run]) -> dict[Path, bytes]:
    """Every page of the site as Sphinx reads it.

    Args:
        root: the clone.
        run: executes a notebook, or knows what came of it; gets its name, as in `chapters/01_language_features`.

    Returns:
        Contents by path below the folder of Sphinx's sources.

    Raises:
        CourseError: if a page cannot be made; says of which source.
    """
    results = {source.stem: run(f"chapters/{source.stem}", read_chapter(root, source)) for source in chapters(root)}
    books = {name: result.notebook for name, result in results.items()}
    glossary = (root / "book" / "glossary.md").read_text(encoding="utf-8")
    glossary = with_first_uses(glossary, link_first_uses(glossary, books))
    tasks = [task for exercise in exercises(root) for task in tasks_of(root, exercise)]
    claims = sorted((claim for name, book in books.items() for claim in claims_of(name, book)), key=lambda c: c.number)
    tables = {
        "chapters": chapter_table(root),
        "ladder": ladder_table(),
        "claims": claim_table(claims, books),
        "exercises": task_table(
            tasks, {exercise: _title(read_exercise(root, exercise).notebook) for exercise in exercises(root)}
        ),
    }

    made = {}
    for name, book in books.items():
        made[Path("chapters", f"{name}.ipynb")] = book
    for exercise in exercises(root):
        made[exercise_path(exercise)] = parse_notebook(build_release(root, read_exercise(root, exercise)), exercise)
    files = {}
    for path, notebook in made.items():
        pictures = _take_pictures(notebook, path)
        files |= {path: page(root, path, notebook), **pictures}
    for path in sorted((root / "book").glob("*.md")):
        text = glossary if path.stem == "glossary" else path.read_text(encoding="utf-8")
        for name, table in tables.items():
            text = text.replace(f"<!-- table: {name} -->", table)
        files[Path(path.name)] = redirected(root, text, Path("book", path.name)).encode()
    for picture in [*(root / "book").glob("*.svg"), *(root / "book").glob("*.png")]:
        files[Path(picture.name)] = picture.read_bytes()
    return files


def page(root: Path, path: Path, notebook: NotebookNode) -> bytes:
    """A notebook as a page: without what only a notebook needs, and without what only its programs write."""
    notebook = nbformat.from_dict(notebook)
    notebook.cells = [cell for cell in notebook.cells if not is_setup(cell)]
    notebook.metadata = nbformat.from_dict({"kernelspec": notebook.metadata.kernelspec})
    for cell in notebook.cells:
        cell.metadata = nbformat.from_dict({})
        if cell.cell_type == "markdown":
            cell.source = redirected(root, _LAUNCH.sub("", cell.source), path)
        elif cell.cell_type == "code":
            cell.outputs = [shown for output in cell.outputs if (shown := _shown(output))]
    return dump(notebook)


def _shown(output: NotebookNode) -> NotebookNode | None:
    """An output as the site shows it; progress bars and warnings have had their time."""
    if output.get("name") == "stderr":
        return None
    if "data" in output:
        kinds = [kind for kind in SHOWN if kind in output.data]
        if any("widget" in kind for kind in output.data) or not kinds:
            return None
        output = nbformat.from_dict({**output, "data": {kinds[0]: output.data[kinds[0]]}})
    return output


def _take_pictures(notebook: NotebookNode, path: Path) -> dict[Path, bytes]:
    """Take the figures out of a page, which then loads them when they are scrolled to; returns their files.

    A palette of 256 colours makes a figure a third as large, and nobody sees it.
    """
    files = {}

    def replace(match: re.Match[str]) -> str:
        picture = Image.open(io.BytesIO(b64decode(match[2]))).convert("RGB")
        picture.quantize(256, dither=Image.Dither.NONE).save(small := io.BytesIO(), "png", optimize=True)
        name = Path("_static", "figures", f"{path.stem}-{len(files) + 1}.png")
        files[name] = small.getvalue()
        size = f'width="{picture.width}" height="{picture.height}"'
        up = "../" * (len(path.parts) - 1)
        return f'{match[1]} loading="lazy" {size} src="{up}{name.as_posix()}"'

    for cell in notebook.cells:
        for output in cell.get("outputs", ()):
            if "text/html" in output.get("data", {}):
                page = "".join(output.data["text/html"])
                output.data["text/html"] = _PICTURE.sub(replace, page)
    return files


def redirected(root: Path, markdown: str, page: Path) -> str:
    """The same text with its links to files of the clone leading to pages of the site, or to the repository.

    Args:
        root: the clone.
        markdown: of the page.
        page: its path in the clone, to which its links are relative.
    """

    def redirect(match: re.Match[str]) -> str:
        target, _, anchor = match[2].partition("#")
        if not target or re.match(r"[a-z]+:", target):
            return match[0]
        path = posixpath.normpath(posixpath.join(page.parent.as_posix(), target))
        to = path.removeprefix("book/") if path.startswith("book/") else HOMES.get(path, path)
        here = page.parent.relative_to("book") if page.parent.parts[:1] == ("book",) else page.parent
        if path.startswith(("book/", "chapters/", "exercises/")) or path in HOMES:
            if not (root / path).is_file():
                raise CourseError(f"{page.as_posix()} links to {target}, which does not exist")
            to = posixpath.relpath(to, here.as_posix())
        else:
            kind = "tree" if (root / path).is_dir() else "blob"
            to = f"{repository(root)}/{kind}/main/{quote(path)}"
        return f"{match[1]}{to}{'#' * bool(anchor)}{anchor}{match[3]}"

    fences = re.split(r"(^```.*?^```$)", markdown, flags=re.M | re.S)
    return "".join(part if part.startswith("```") else _LINK.sub(redirect, part) for part in fences)


def link_first_uses(glossary: str, books: dict[str, NotebookNode]) -> dict[str, str]:
    """Turn the first italic use of each term of the glossary into a link to its entry, in place.

    Args:
        glossary: its page.
        books: executed chapters by name, in order of reading.

    Returns:
        Main name of each term -> a link to its first use, as seen from a page in book/.

    Raises:
        CourseError: if a term is never set in italics.
    """
    main = {name.casefold(): entry.names[0] for entry in entries(glossary) for name in entry.names}
    first: dict[str, str] = {}
    for chapter, book in books.items():
        section = ""
        for cell in book.cells:
            if cell.cell_type != "markdown":
                continue
            section = [section, *headings(cell.source)][-1]
            for run in italics(cell.source):
                term = main.get(run.casefold())
                if term is None or term in first:
                    continue
                words = r"\s+".join(map(re.escape, run.split()))
                if found := re.search(rf"(?<![*\w])\*{words}\*(?!\*)", cell.source):
                    before, after = cell.source[: found.start()], cell.source[found.end() :]
                    cell.source = f"{before}{{term}}`{run} <{term}>`{after}"
                    first[term] = f"[{chapter[:2]}, {section}](../chapters/{chapter}.ipynb#{_slug(section)})"
    if missing := sorted(set(main.values()) - set(first)):
        raise CourseError(f"no chapter sets the term {missing[0]!r} of the glossary in italics")
    return first


def with_first_uses(glossary: str, first: dict[str, str]) -> str:
    """The glossary's page with a link in each entry to the section of its first use."""
    for entry in entries(glossary):
        place = re.search(rf"^{re.escape(entry.names[0])}\n(?:\S.*\n)*(?:[ ]{{2,}}.*\n)+", glossary, re.M).end()
        glossary = f"{glossary[:place]}  {first[entry.names[0]]}\n{glossary[place:]}"
    return glossary


def claims_of(chapter: str, notebook: NotebookNode) -> list[Claim]:
    """The verdicts that an executed chapter shows."""
    outputs = [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]
    return [Claim(**output.data[CLAIM], chapter=chapter) for output in outputs if CLAIM in output.get("data", {})]


def tasks_of(root: Path, exercise: str) -> list[Task]:
    """The tasks of an exercise, from the line below each task's heading and the first of its docstring."""
    notebook = read_exercise(root, exercise).notebook
    says = {}
    for cell in notebook.cells:
        for node in ast.walk(ast.parse(cell.source)) if is_answer(cell) else ():
            if isinstance(node, ast.FunctionDef | ast.ClassDef) and (text := ast.get_docstring(node)):
                says[node.name] = re.sub(r"\s*\(about[^)]*\)", "", text.split("\n\n")[0].replace("\n", " "))
    prose = "\n\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")
    return [
        Task(exercise, name, int(difficulty), int(minutes), int(points), says[name.split(".")[-1]])
        for name, difficulty, minutes, points in _TASK.findall(prose)
    ]


def chapter_table(root: Path) -> str:
    """The README's table of chapters, with its links as seen from a page in book/."""
    readme = (root / "README.md").read_text(encoding="utf-8")
    (table,) = re.findall(r"<!-- table:[^\n]*\n(.*?)\n<!-- /table -->", readme, re.S)
    lines = [line.rsplit("|", 2)[0] + "|" for line in table.splitlines()]  # each page has its own way to Colab
    return "\n".join(re.sub(r"\]\((?=chapters/|exercises/)", "](../", line) for line in lines)


def ladder_table() -> str:
    """The rows of the ladder, from the worst model to the best."""
    rows = []
    for row in sorted(ladder.rows(), key=lambda row: -float(row["bits_per_byte"])):
        judged = [f"{float(row[feature]):.0%}" if row[feature] else "" for feature in ladder.FEATURES]
        numbers = [f"{float(row[name]):,.0f}" if row[name] else "" for name in ("parameters", "train_seconds")]
        chapter = "" if row["chapter"] == "0" else f"{int(row['chapter']):02}"
        rows.append([row["label"], chapter, row["bits_per_byte"], *judged, *numbers])
    return _table(["model", "chapter", "bits per byte", *ladder.FEATURES, "parameters", "seconds of training"], rows, 2)


def claim_table(claims: list[Claim], books: dict[str, NotebookNode]) -> str:
    """The ledger, in the order of the claims' numbers."""
    rows = [
        [str(c.number), c.claim, c.measured, c.verdict, f"[{c.chapter[:2]}](../chapters/{c.chapter}.ipynb)"]
        for c in claims
    ]
    return _table(["", "the source says", "measured", "verdict", "chapter"], rows, 5)


def task_table(tasks: list[Task], titles: dict[str, str]) -> str:
    """The catalogue: a table for each exercise."""
    parts = []
    for exercise in dict.fromkeys(task.exercise for task in tasks):
        own = [task for task in tasks if task.exercise == exercise]
        minutes, points = sum(task.minutes for task in own), sum(task.points for task in own)
        rows = [[f"`{t.name}`", t.says, str(t.difficulty), str(t.minutes), str(t.points)] for t in own]
        rows.append(["all", "", "", str(minutes), str(points)])
        parts.append(f"## [{titles[exercise]}](../{exercise_path(exercise).as_posix()})\n\n")
        parts.append(_table(["task", "", "difficulty", "minutes", "points"], rows, 2) + "\n\n")
    return "".join(parts).rstrip()


def _table(head: list[str], rows: list[list[str]], left: int = 1) -> str:
    """A Markdown table whose first columns are text, and the others numbers."""
    rule = ["---" if column < left else "--:" for column in range(len(head))]
    lines = [head, rule, *([cell.replace("|", "\\|") for cell in row] for row in rows)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _title(notebook: NotebookNode) -> str:
    return next(title for cell in notebook.cells if cell.cell_type == "markdown" for title in headings(cell.source))


def _slug(heading: str) -> str:
    """A heading's name in an address, as MyST and GitHub make it."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def make(root: Path, run: Callable[[str, NotebookNode], Run]) -> None:
    """Make the site, in the folder `HTML` of a clone.

    Args:
        root: the clone.
        run: as in `pages`.

    Raises:
        CourseError: if a page cannot be made, or Sphinx, which says so before, warns of something.
    """
    source = root / SITE / "source"
    files = pages(root, run)
    shutil.rmtree(root / SITE, ignore_errors=True)  # Sphinx does not warn again of what it has made before
    for path, content in files.items():
        write_atomically(source / path, content)
    command = [sys.executable, "-m", "sphinx", "--fail-on-warning", "--keep-going", "--jobs", "auto", "--quiet"]
    done = subprocess.run([*command, "-c", str(root / "book"), str(source), str(root / HTML)])
    if done.returncode:
        raise CourseError("Sphinx found something wrong with the pages, and said what above")


def main() -> None:
    """Make the site of the clone that this is called in."""
    root = find_root()
    try:
        make(root, lambda name, notebook: executed(root, name, notebook, timeout=TIMEOUT))
    except CourseError as error:
        sys.exit(str(error))
    print(f"the site is in {HTML.as_posix()}: open its index.html")


if __name__ == "__main__":
    main()
