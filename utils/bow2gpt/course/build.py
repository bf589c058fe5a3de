"""Everything that is generated from the sources: computed in memory, then written, or compared with what is there."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlencode

import jupytext
from jupytext.config import load_jupytext_configuration_file
from nbformat import NotebookNode

from .export import chapter_module
from .notebooks import dump, read_notebook, read_percent
from .paths import UNLOCKED, CourseError, exercise_path, exercises, keep, name_of, write_atomically
from .release import build_release, is_untouched, read_exercise

CURE = "run `bow2gpt build` and commit what it writes"
START = "chapters/00_start_here.ipynb"


def build(root: Path) -> dict[Path, bytes]:
    """Generate every file that has a source, without writing any.

    Args:
        root: the clone.

    Returns:
        Contents by path relative to the root: chapter notebooks, chapter modules, nbgrader's source notebooks
        (not for git), exercises, and the pages with addresses that name the repository.

    Raises:
        CourseError: naming the source and the cell, if one is not as it should be.
    """
    files: dict[Path, bytes] = {}

    def add(path: Path, content: bytes) -> None:
        if path in files:
            raise CourseError(f"two sources make {path.as_posix()}: give them different names")
        files[path] = content

    for source in chapters(root):
        notebook = read_chapter(root, source)
        add(Path("chapters", f"{source.stem}.ipynb"), dump(notebook))
        if module := chapter_module(source, notebook):
            add(Path("utils", "bow2gpt", "chapters", f"{name_of(source.stem)}.py"), module.encode())
    for exercise_id in exercises(root):
        exercise = read_exercise(root, exercise_id)
        add(exercise.source.relative_to(root).with_suffix(".ipynb"), dump(exercise.notebook))
        add(exercise_path(exercise_id), build_release(root, exercise))
        for path in exercise.data_files:
            add(Path("exercises", exercise_id, path.relative_to(exercise.source.parent)), path.read_bytes())
    for page in (Path("README.md"), Path("deploy", "README.md")):
        if (root / page).is_file():
            add(page, with_addresses(root, page).encode())
    return files


def repository(root: Path) -> str:
    """The address of the repository, from pyproject.toml, the only place where it is typed.

    Raises:
        CourseError: if that is no address of GitHub.
    """
    project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    address = project.get("urls", {}).get("Repository", "")
    if not re.fullmatch(r"https://github\.com/[\w.-]+/[\w.-]+", address):
        raise CourseError(f"pyproject.toml: got the Repository {address!r}, expected https://github.com/OWNER/NAME")
    return address


def with_addresses(root: Path, page: Path) -> str:
    """A page with its launch badges or link made anew from the one place that names the repository.

    Raises:
        CourseError: if pyproject.toml has no GitHub address, or the page no place for what is made.
    """
    address = repository(root)
    match = re.fullmatch(r"https://github\.com/([\w.-]+/([\w.-]+))", address)
    kind, made = ("badges", _badges(match[1])) if page.parent == Path() else ("link", _hub_link(address, match[2]))
    text = (root / page).read_text(encoding="utf-8")
    place = re.compile(rf"(<!-- {kind}:[^\n]*-->\n)(.*?)(<!-- /{kind} -->)", re.DOTALL)
    if not place.search(text):
        raise CourseError(
            f"{page.as_posix()} has no place for the {kind}: add <!-- {kind}: ... --> and <!-- /{kind} -->"
        )
    return place.sub(lambda found: f"{found[1]}{made}\n{found[3]}", text)


def _badges(name: str) -> str:
    targets = {
        "Binder": f"https://mybinder.org/v2/gh/{name}/main?urlpath=lab/tree/{START}",
        "Colab": f"https://colab.research.google.com/github/{name}/blob/main/{START}",
        "Codespaces": f"https://codespaces.new/{name}",
    }
    return " ".join(
        f"[![Open in {place}](https://img.shields.io/badge/open_in-{place}-0b3c5d)]({url})"
        for place, url in targets.items()
    )


def _hub_link(repository: str, folder: str) -> str:
    query = urlencode({"repo": repository, "branch": "main", "urlpath": f"lab/tree/{folder}/{START}"})
    return f"```\nhttps://YOUR-HUB/hub/user-redirect/git-pull?{query}\n```"


def chapters(root: Path) -> list[Path]:
    """The chapters' sources, in order."""
    return sorted((root / "chapters").glob("[0-9]*.py"))


def read_chapter(root: Path, source: Path) -> NotebookNode:
    """Read a chapter as the notebook that JupyterLab pairs with its source.

    Raises:
        CourseError: if saving the notebook in JupyterLab would change the source; says in which line.
    """
    name_of(source.stem)
    notebook = read_percent(source)
    notebook.metadata["jupytext"] = {"formats": "ipynb,py:percent"}
    where = f"chapters/{source.name}"
    for cell in notebook.cells:
        if unknown := sorted(set(cell.metadata) - {"tags"}):
            raise CourseError(f"{where}, cell {cell.id}: unknown tag {unknown[0]!r}: chapters use `tags` only")
    before, after = source.read_text(encoding="utf-8"), as_saved(root, notebook)
    if before != after:
        lines = zip(before.split("\n"), after.split("\n"), strict=False)
        number, old, new = next((n, old, new) for n, (old, new) in enumerate(lines, start=1) if old != new)
        raise CourseError(
            f"{where}, line {number}: JupyterLab would save {new!r} where {old!r} stands: write it so; "
            "if only blank lines differ, `bow2gpt build --tidy` does"
        )
    return notebook


def tidy(root: Path) -> list[Path]:
    """Give the chapters' sources the blank lines that JupyterLab saves; nothing else in them changes.

    Returns:
        The sources that were rewritten, relative to the root.
    """
    tidied = []
    for source in chapters(root):
        before, after = source.read_text(encoding="utf-8"), as_saved(root, read_percent(source))
        if before != after and _without_blank_lines(before) == _without_blank_lines(after):
            write_atomically(source, after.encode())
            tidied.append(source.relative_to(root))
    return tidied


def as_saved(root: Path, notebook: NotebookNode) -> str:
    """The percent source that JupyterLab writes beside a chapter's notebook."""
    config = load_jupytext_configuration_file(str(root / "jupytext.toml"))
    return jupytext.writes(notebook, "py:percent", config=config)


def write(root: Path, files: dict[Path, bytes], say: Callable[[str], None] = print) -> None:
    """Write what differs, each file whole or not at all; a learner's work is kept beside the new exercise.

    Args:
        root: the clone.
        files: what `build` returned.
        say: is told each file written or kept, in one line.
    """
    for path, content in files.items():
        target = root / path
        if target.is_file():
            if target.read_bytes() == content:
                continue
            if path.parts[0] == "exercises" and path.suffix == ".ipynb" and not _is_release(target):
                say(f"kept   {keep(target).relative_to(root).as_posix()} (your work on an exercise that has changed)")
        write_atomically(target, content)
        say(f"wrote  {path.as_posix()}")


def stale(root: Path, files: dict[Path, bytes]) -> list[str]:
    """What a commit must not have: generated files that are missing, out of date, or without a source.

    Args:
        root: the clone.
        files: what `build` returned.

    Returns:
        One line for each, with the cure; empty if all is fresh.
    """
    problems = []
    for path, content in files.items():
        if path.parts[0] == "solutions":  # git-ignored
            continue
        if not (root / path).is_file():
            problems.append(f"missing {path.as_posix()}: {CURE}")
        elif (root / path).read_bytes() != content:
            problems.append(f"stale   {path.as_posix()}: {CURE}")
    for path in _generated(root):
        if path not in files:
            problems.append(f"extra   {path.as_posix()}: no source makes it: delete it")
    return problems


def _without_blank_lines(text: str) -> list[str]:
    return [line for line in text.splitlines() if line]


def _is_release(path: Path) -> bool:
    try:
        return is_untouched(read_notebook(path))
    except CourseError:
        return False


def _generated(root: Path) -> list[Path]:
    """The files on disk that only a build should have made."""
    found = [*root.glob("chapters/*.ipynb"), *root.glob("utils/bow2gpt/chapters/*.py")]
    found += [path for path in root.glob("exercises/**/*") if path.is_file()]
    found = [path for path in found if path.name not in ("__init__.py", UNLOCKED) and ".kept-" not in path.name]
    relative = (path.relative_to(root) for path in found)
    return sorted(path for path in relative if not any(part.startswith((".", "__pycache__")) for part in path.parts))
