"""What a reader clicks on works: links inside the repository, alt texts, one place for the badges' repository."""

import re
from pathlib import Path

import pytest

from bow2gpt import ladder

ROOT = Path(__file__).resolve().parents[1]
PAGES = [
    ROOT / "README.md",
    *sorted(ROOT.glob("book/*.md")),
    *sorted(ROOT.glob("chapters/*.py")),
    *sorted(ROOT.glob("solutions/*/*.py")),
]
LINK = re.compile(r"(!?)\[([^\[\]]*(?:\[[^\]]*\]\([^)]*\))?[^\[\]]*)\]\(([^)\s]+)\)")


def text_of(page: Path) -> str:
    """The Markdown of a page; of a percent source only its Markdown cells."""
    text = page.read_text(encoding="utf-8")
    if page.suffix == ".md":
        return text
    cells = re.split(r"^# %%", text, flags=re.MULTILINE)
    return "\n".join(cell for cell in cells if cell.startswith(" [markdown]"))


def broken_links(text: str, folder: Path) -> list[str]:
    """Links to files that do not exist, and images without a text."""
    problems = []
    for image, label, target in LINK.findall(text):
        if image and len(label.split()) < 3:
            problems.append(f"the image {target} has no alt text")
        if not re.match(r"https?://|#|mailto:", target) and not (folder / target.split("#")[0]).exists():
            problems.append(f"{target} does not exist")
    return problems


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_and_alt_texts(page: Path) -> None:
    # An exercise is read in exercises/, wherever its source lies.
    folder = ROOT / "exercises" / page.parent.name if page.parent.parent.name == "solutions" else page.parent
    assert broken_links(text_of(page), folder) == []


@pytest.mark.parametrize("text", ["[a](no/such/file.ipynb)", "![](../README.md)", "![one two three](missing.svg)"])
def test_a_broken_page_is_found(text: str) -> None:
    assert broken_links(text, ROOT)


def test_the_repository_is_named_in_one_place() -> None:
    (address,) = re.findall(
        r'^Repository = "https://github.com/(.*)"$', (ROOT / "pyproject.toml").read_text(), re.MULTILINE
    )
    outside_badges = re.sub(r"<!-- badges:.*?<!-- /badges -->", "", (ROOT / "README.md").read_text(), flags=re.DOTALL)
    assert address not in outside_badges


def test_the_readme_is_one_screen() -> None:
    assert len((ROOT / "README.md").read_text().splitlines()) <= 60


def test_the_ladder_figure_is_drawn_from_the_present_table() -> None:
    assert ladder.fingerprint() in (ROOT / "book" / "ladder.svg").read_text()
