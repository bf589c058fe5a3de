"""Laws of the glossary: sorted, each term once, each explained, and each in italics in some chapter."""

from pathlib import Path

import pytest

from bow2gpt.course.build import chapters
from bow2gpt.course.glossary import entries, italics
from bow2gpt.course.notebooks import read_percent
from bow2gpt.course.paths import CourseError

ROOT = Path(__file__).resolve().parents[1]
GLOSSARY = (ROOT / "book" / "glossary.md").read_text(encoding="utf-8")
FEWEST_WORDS = 8


@pytest.fixture(scope="module")
def in_italics() -> set[str]:
    cells = (cell for source in chapters(ROOT) for cell in read_percent(source).cells)
    return {run.casefold() for cell in cells if cell.cell_type == "markdown" for run in italics(cell.source)}


def problems(text: str, in_italics: set[str]) -> list[str]:
    """What is wrong with a glossary, given the italic words of the chapters in small letters."""
    found, seen, last = [], set(), ""
    for names, definition in entries(text):
        main, *_ = names = [name.casefold() for name in names]
        found += [f"{name} stands twice" for name in dict.fromkeys(names) if name in seen or names.count(name) > 1]
        if main < last:
            found.append(f"{main} stands after {last}")
        if len(definition.split()) < FEWEST_WORDS:
            found.append(f"{main} is hardly explained")
        if not in_italics.intersection(names):
            found.append(f"{main} is in italics nowhere")
        seen.update(names)
        last = main
    return found


def test_terms_are_sorted_unique_explained_and_in_italics_in_a_chapter(in_italics: set[str]) -> None:
    assert problems(GLOSSARY, in_italics) == []


def test_a_broken_glossary_is_found() -> None:
    meaning = "  " + "word " * FEWEST_WORDS
    text = f":::{{glossary}}\nb\n{meaning}\n\nA\na\n{meaning}\n\nc\nB\n  too short\n:::\n"
    assert problems(text, {"a", "b"}) == [
        "a stands twice",
        "a stands after b",
        "b stands twice",
        "c is hardly explained",
    ]
    assert problems(text.replace("B\n", ""), {"a", "b"})[-1] == "c is in italics nowhere"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("# Glossary\n", "got 0 glossaries"),
        (":::{glossary}\nterm\n\n  its definition\n:::\n", "'term' is no entry"),
        (":::{glossary}\nterm\n definition\n:::\n", "'term' is no entry"),
        (":::{glossary}\n:::\n", "'' is no entry"),
    ],
)
def test_what_is_no_glossary_is_refused(text: str, says: str) -> None:
    with pytest.raises(CourseError, match=says):
        entries(text)


def test_names_and_definitions_are_read() -> None:
    text = "# G\n\n:::{glossary}\nbag\nbags\n  A thing\n  of *words*.\n\ncell\n  Another.\n:::\n"
    assert entries(text) == [(["bag", "bags"], "A thing of *words*."), (["cell"], "Another.")]


def test_italics_are_runs_between_single_stars() -> None:
    assert italics("A *bag of\nwords*, **bold**, *one-hot*, *Bayes' rule*") == [
        "bag of words",
        "one-hot",
        "Bayes' rule",
    ]
    assert italics("`a *b* c` and $x * y * z$\n\n```\n*no*\n```\n\n$$a * b *c*$$") == []
    assert italics("* an item with *one*\n* another\n\n| *cell* | 2 * 3 |\n|---|---|\n") == ["one", "cell"]
