"""What a reader clicks on works: links, alt texts, one place that names the repository, citation, licences."""

import re
import tomllib
from pathlib import Path

import pytest
import yaml

from bow2gpt import cli, ladder
from bow2gpt.course.launch import setup_code

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
PAGES = [
    *sorted(ROOT.glob("*.md")),
    *sorted(ROOT.glob("book/*.md")),
    *sorted(ROOT.glob("deploy/*.md")),
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


def anchors(markdown: str) -> set[str]:
    """The headings of a page as GitHub names them in addresses."""
    headings = re.findall(r"^#+ (.*)$", markdown, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def broken_links(text: str, folder: Path) -> list[str]:
    """Links to files and headings that do not exist, and images without a text."""
    problems = []
    for image, label, target in LINK.findall(text):
        if image and len(label.split()) < 3:
            problems.append(f"the image {target} has no alt text")
        if re.match(r"https?://|mailto:", target):
            continue
        path, _, anchor = target.partition("#")
        if not (folder / path).exists():
            problems.append(f"{target} does not exist")
        elif anchor and anchor not in anchors((folder / path).read_text(encoding="utf-8") if path else text):
            problems.append(f"{target}: there is no such heading")
    return problems


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_and_alt_texts(page: Path) -> None:
    # An exercise is read in exercises/, wherever its source lies.
    folder = ROOT / "exercises" / page.parent.name if page.parent.parent.name == "solutions" else page.parent
    assert broken_links(text_of(page), folder) == []


@pytest.mark.parametrize(
    "text",
    [
        "[a](no/such/file.ipynb)",
        "![](README.md)",
        "![one two three](missing.svg)",
        "[a](book/teaching.md#no-such-heading)",
        "# Other\n[a](#heading)",
    ],
)
def test_a_broken_page_is_found(text: str) -> None:
    assert len(broken_links(text, ROOT)) == 1


def test_a_link_to_a_heading_is_found() -> None:
    text = "# What `bow2gpt` does\n[a](#what-bow2gpt-does), [b](README.md#from-bag-of-words-to-gpt)"
    assert broken_links(text, ROOT) == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_only_what_is_made_names_the_repository(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    text = re.sub(r"<!-- (badges|table|link|launch):.*?<!-- /\1 -->", "", text, flags=re.DOTALL)
    text = text.replace(setup_code(PROJECT["urls"]["Repository"]), "")
    assert PROJECT["urls"]["Repository"].removeprefix("https://github.com/") not in text


def test_what_contributors_are_told_to_write_is_understood() -> None:
    """Each cell header in CONTRIBUTING.md stands, with other names, in some source; each command is one of ours."""
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    sources = "\n".join(path.read_text(encoding="utf-8") for path in PAGES if path.suffix == ".py")
    headers = re.findall(r"`(# %% [^`]*)`", text)
    assert len(headers) == 6
    for header in headers:
        pattern = re.sub(r'="[^"]*"', '="[^"]*"', re.escape(header).replace("\\ ", " "))
        assert re.search(pattern, sources), header
    for code in re.findall(r"`(### [A-Z ]*)`", text):
        assert f"\n{code}\n" in sources or f"\n    {code}\n" in sources, code
    for command in re.findall(r"`bow2gpt ([a-z]+)", text):
        assert callable(getattr(cli, command))


def test_the_citation_is_of_this_version() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert {"cff-version", "message", "title", "authors"} <= set(citation)  # required by the format
    assert citation["version"] == PROJECT["version"]
    assert citation["repository-code"] == citation["preferred-citation"]["url"] == PROJECT["urls"]["Repository"]
    assert (ROOT / "README.md").read_text().startswith(f"# {citation['title']}\n")


def test_code_and_text_have_a_licence_each_and_the_package_takes_that_of_code() -> None:
    assert (ROOT / "LICENSE").read_text().startswith(f"{PROJECT['license']} License\n")
    assert (ROOT / "LICENSE-TEXT").read_text().startswith("Attribution 4.0 International\n")
    assert PROJECT["license-files"] == ["LICENSE"]
    readme = (ROOT / "README.md").read_text()
    assert "[MIT](LICENSE)" in readme
    assert "[CC BY 4.0](LICENSE-TEXT)" in readme


def test_the_readme_is_one_screen() -> None:
    assert len((ROOT / "README.md").read_text().splitlines()) <= 60


def test_the_ladder_figure_is_drawn_from_the_present_table() -> None:
    assert ladder.fingerprint() in (ROOT / "book" / "ladder.svg").read_text()
