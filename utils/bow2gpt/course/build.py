"""Everything that is generated from the sources: computed in memory, then written, or compared with what is there."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import jupytext
from jupytext.config import load_jupytext_configuration_file
from nbformat import NotebookNode

from .export import chapter_module
from .launch import chapters, launched, with_addresses
from .notebooks import dump, read_notebook, read_percent
from .paths import UNLOCKED, CourseError, exercise_path, exercises, keep, name_of, write_atomically
from .release import build_release, is_untouched, read_exercise

CURE = "run `bow2gpt build` and commit what it writes"


def build(root: Path) -> dict[Path, bytes]:
    """Generate every file that has a source, without writing any.

    Args:
        root: the clone.

    Returns:
        Contents by path relative to the root: chapter notebooks, chapter modules, nbgrader's source notebooks
        (not for git), exercises, and what holds addresses that name the repository: pages, and the sources themselves.

    Raises:
        CourseError: naming the source and the cell, if one is not as it should be.
    """
    files: dict[Path, bytes] = {}

    def add(path: Path, content: bytes) -> None:
        if path in files:
            raise CourseError(f"two sources make {path.as_posix()}: give them different names")
        files[path] = content

    sources = launched(root)
    for source, text in sources.items():
        add(source.relative_to(root), text.encode())
    for source in chapters(root):
        notebook = read_chapter(root, source, sources.get(source))
        add(Path("chapters", f"{source.stem}.ipynb"), dump(notebook))
        if module := chapter_module(source, notebook):
            add(Path("utils", "bow2gpt", "chapters", f"{name_of(source.stem)}.py"), module.encode())
    for exercise_id in exercises(root):
        exercise = read_exercise(root, exercise_id, sources)
        add(exercise.source.relative_to(root).with_suffix(".ipynb"), dump(exercise.notebook))
        add(exercise_path(exercise_id), build_release(root, exercise))
        for path in exercise.data_files:
            add(Path("exercises", exercise_id, path.relative_to(exercise.source.parent)), path.read_bytes())
    for page in (Path("README.md"), Path("deploy", "README.md")):
        if (root / page).is_file():
            add(page, with_addresses(root, page).encode())
    return files


def read_chapter(root: Path, source: Path, text: str | None = None) -> NotebookNode:
    """Read a chapter as the notebook that JupyterLab pairs with its source.

    Args:
        root: the clone.
        source: the chapter's percent source.
        text: what is going to stand in it; what stands there now, if not given.

    Raises:
        CourseError: if saving the notebook in JupyterLab would change the source; says in which line.
    """
    name_of(source.stem)
    notebook = read_percent(source, text)
    notebook.metadata["jupytext"] = {"formats": "ipynb,py:percent"}
    where = f"chapters/{source.name}"
    for cell in notebook.cells:
        if unknown := sorted(set(cell.metadata) - {"tags"}):
            raise CourseError(f"{where}, cell {cell.id}: unknown tag {unknown[0]!r}: chapters use `tags` only")
    before = source.read_text(encoding="utf-8") if text is None else text
    after = as_saved(root, notebook)
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
    tidied, sources = [], launched(root)
    for source in chapters(root):
        before = sources.get(source) or source.read_text(encoding="utf-8")
        after = as_saved(root, read_percent(source, before))
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
        if path.parts[0] == "solutions" and path.suffix == ".ipynb":  # git-ignored
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
