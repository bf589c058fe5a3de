"""The terms of the glossary, and the italic words of a text: a term is linked where it first stands in italics."""

from __future__ import annotations

import re
from typing import NamedTuple

from markdown_it import MarkdownIt
from mdit_py_plugins.dollarmath import dollarmath_plugin

from .paths import CourseError

_MARKDOWN = MarkdownIt("commonmark").enable("table").use(dollarmath_plugin)


class Entry(NamedTuple):
    """Names of one thing, the main one first, and what it is, in MyST Markdown."""

    names: list[str]
    definition: str


def entries(text: str) -> list[Entry]:
    """The entries of a page's one `{glossary}` directive, in their order.

    Raises:
        CourseError: if there is not exactly one such directive, or one of its parts is no entry; quotes its first line.
    """
    directives = re.findall(r"^:::\{glossary\}\n(.*?)^:::$", text, re.MULTILINE | re.DOTALL)
    if len(directives) != 1:
        raise CourseError(f"got {len(directives)} glossaries, expected one, between `:::{{glossary}}` and `:::`")
    return [_entry(block) for block in re.split(r"\n{2,}", directives[0].strip("\n"))]


def _entry(block: str) -> Entry:
    parts = re.fullmatch(r"((?:\S.*\n)+)((?: {2,}.*(?:\n|$))+)", block)
    if not parts:
        first = block.partition("\n")[0]
        raise CourseError(f"{first!r} is no entry: write names, one a line, and below them, indented, what they mean")
    return Entry(parts[1].splitlines(), " ".join(parts[2].split()))


def italics(markdown: str) -> list[str]:
    """The runs of italic text in some Markdown, in order, on one line each; code and formulas inside are left out."""
    found: list[str] = []
    for block in _MARKDOWN.parse(markdown):
        unfinished: list[int] = []  # places in `found`: a run can lie inside another
        for token in block.children or ():
            if token.type == "em_open":
                unfinished.append(len(found))
                found.append("")
            elif token.type == "em_close":
                place = unfinished.pop()
                found[place] = " ".join(found[place].split())
            elif token.type in ("text", "softbreak", "hardbreak"):
                for place in unfinished:
                    found[place] += token.content or "\n"
    return found
