"""Words that are nouns or verbs, in sentences whose reading is known: made by a small grammar, or found in the corpus.

"Time flies like an arrow" and "fruit flies like a banana" have one pattern; only what the words mean tells in which of
them `flies` is a verb. Presidents speak of neither, so a grammar makes sentences of this kind, and plainer ones with
the same words. The two, and a fifth of all others like them, are never made for training: a model is asked about them.

But: its English is small, and what is true of it need not be true of English.
"""

# ruff: noqa: SIM905 (word lists are easier to read as text)

from __future__ import annotations

import random
import re
from collections import defaultdict
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from bow2gpt import corpus

#: Plural nouns that are also what one thing does.
AMBIGUOUS = (
    "flies ducks bears seals hounds hawks snakes steers swallows guards pilots nurses cooks judges guides "
    "coaches hosts doctors tailors soldiers fathers champions ushers heralds"
).split()
#: Plural nouns only.
PLURALS = ("birds bees ants wolves farmers teachers sailors children lions singers painters bakers").split()
#: Verbs only.
VERBS = ("moves grows falls travels waits sleeps shines returns speaks dies burns vanishes").split()
#: What does something, when the word is a verb.
ACTORS = (
    "time money history news hope fear anger love peace trade wind smoke rain light music truth fate luck war progress"
).split()
#: What kind they are of, when it is a noun.
KINDS = (
    "fruit house river farm city army night village mountain sea forest horse garden school island winter barn "
    "palace ship street"
).split()
#: What the doing is like.
LIKENESSES = (
    "arrow river storm machine king thief shadow stone flame eagle knife drum dream clock giant ghost"
).split()
#: What they like.
PLEASURES = ("banana apple song story meal fire holiday pear joke cake gift bath nap party drink game").split()
_FOUND = (  # in the speeches, as nouns and as verbs
    "act address aid answer attack attempt benefit call care cause change charge claim command concern conduct "
    "contract control cost demand design effect effort end estimate exercise experience favor fear fight force "
    "form grant guard guarantee help hold hope increase influence interest issue judge labor look love mark "
    "measure need offer order place plan practice produce promise purchase question reform regard report "
    "request rest result return sale share study supply support trade transfer trust use view visit vote want "
    "work"
).split()
_BEFORE_VERBS = frozenset("to will we must should can they shall may would could i not".split())
_BEFORE_NOUNS = frozenset("the a an this our their its his every no such of these any some".split())


class Reading(NamedTuple):
    """A sentence with a word that has two readings.

    Attributes:
        tokens: its words, in lower case, and punctuation.
        place: of the word.
        noun: whether it is a noun here, or a verb.
    """

    tokens: tuple[str, ...]
    place: int
    noun: bool


def tokenize(text: str) -> list[str]:
    """Cut a text into lower-case words and punctuation."""
    return re.findall(r"[^\W\d_]+(?:['’][^\W\d_]+)*|[.,;:?!]", text.lower())


def corpus_sentences(split: corpus.Split, longest: int = 24) -> list[list[str]]:
    """The sentences of a split that have 4 to `longest` words and punctuation marks, in order.

    Raises:
        ValueError: if there is no such split, or no sentence can be so short.
    """
    if longest < 4:
        raise ValueError(f"got {longest} as the longest; sentences of fewer than 4 tokens are left out anyway")
    pieces = re.split(r"(?<=[.!?;])\s+|\n\n", corpus.text(split))
    return [tokens for tokens in map(tokenize, pieces) if 4 <= len(tokens) <= longest]


def grammar_sentences(count: int, seed: int = 0) -> list[list[str]]:
    """Sentences for training, half of them around a noun and half around a verb; none that `contrast` asks about.

    Args:
        count: how many.
        seed: of the choice.

    Raises:
        ValueError: if the count is negative.
    """
    if count < 0:
        raise ValueError(f"got {count} sentences; ask for none or more")
    rng = random.Random(seed)
    return [_draw(rng) for _ in range(count)]


def contrast(copies: int = 10, seed: int = 0) -> list[Reading]:
    """Sentences like the two above, for each ambiguous word as many with either reading; none is in the training text.

    Args:
        copies: of each word and reading, 40 at most; the first of `flies` are the book's two.
        seed: of the choice.

    Raises:
        ValueError: if so many cannot be made.
    """
    if not 0 <= copies <= 40:
        raise ValueError(f"got {copies} copies; the grammar keeps 0 to 40 of each word and reading")
    rng, found = random.Random(seed), []
    for word in AMBIGUOUS:
        for noun in (False, True):
            firsts, lasts = (KINDS, PLEASURES) if noun else (ACTORS, LIKENESSES)
            ends = [(first, last) for first in firsts for last in lasts if _held_out(first, word, last)]
            chosen = (
                [*ends[:1], *rng.sample(ends[1:], len(ends) - 1)] if word == "flies" else rng.sample(ends, len(ends))
            )
            for first, last in chosen[:copies]:
                found.append(Reading(tuple(_with_article(f"{first} {word} like a {last} .")), 1, noun))
    return found


def corpus_contrast(split: corpus.Split, copies: int = 20, longest: int = 40, seed: int = 0) -> list[Reading]:
    """Sentences of the corpus with a word like `vote` or `hope`, whose reading the word before it gives away.

    After *to*, *will* or *we* it is a verb, after *the*, *a* or *our* a noun. Each word has both equally often.

    Args:
        split: of the corpus.
        copies: of each word and reading, at most.
        longest: sentence, in tokens.
        seed: of the choice.
    """
    found: dict[str, tuple[list[Reading], list[Reading]]] = defaultdict(lambda: ([], []))
    for tokens in corpus_sentences(split, longest):
        for place, (before, word) in enumerate(zip(tokens, tokens[1:], strict=False), start=1):
            noun = before in _BEFORE_NOUNS
            if word in _FOUND and (noun or before in _BEFORE_VERBS):
                found[word][noun].append(Reading(tuple(tokens), place, noun))
    rng, chosen = random.Random(seed), []
    for word in sorted(found):
        equally = min(copies, *map(len, found[word]))
        chosen += [reading for readings in found[word] for reading in rng.sample(readings, equally)]
    return chosen


def bet(features: np.ndarray, sentences: Sequence[Reading], seed: int = 0) -> tuple[float, float]:
    """Whether a straight cut through some features tells the readings of words that it was not fitted to.

    The cut is fitted by least squares, with a ridge, to the sentences of one half of the ambiguous words.

    Args:
        features: of each sentence, shape (sentences, ...).
        sentences: as many.
        seed: decides which words are in which half.

    Returns:
        Shares of right answers: on the half that it was fitted to, and on the other half.

    Raises:
        ValueError: if there are not as many sentences as features, or fewer than two ambiguous words.
    """
    words = [reading.tokens[reading.place] for reading in sentences]
    if len(features) != len(words) or len(set(words)) < 2:
        raise ValueError(
            f"got features of {len(features)} and {len(words)} sentences with {len(set(words))} ambiguous words; "
            "expected as many of each, and at least two words"
        )
    kinds = sorted(set(words))
    chosen = set(np.random.default_rng(seed).permutation(kinds)[: len(kinds) // 2])
    fitted, nouns = np.array([word in chosen for word in words]), np.array([reading.noun for reading in sentences])
    rows = np.reshape(features, (len(words), -1)).astype(np.float64)
    rows = (rows - rows[fitted].mean(axis=0)) / (rows[fitted].std(axis=0) + 1e-6)
    rows = np.column_stack([rows, np.ones(len(rows))])
    ridge = fitted.sum() * np.eye(rows.shape[1])
    cut = np.linalg.solve(rows[fitted].T @ rows[fitted] + ridge, rows[fitted].T @ np.where(nouns[fitted], 1.0, -1.0))
    right = (rows @ cut > 0) == nouns
    return float(right[fitted].mean()), float(right[~fitted].mean())


def _held_out(first: str, word: str, last: str) -> bool:
    """Whether a model is asked about this combination, and so must not read it: one in five."""
    places = (KINDS, PLEASURES) if first in KINDS else (ACTORS, LIKENESSES)
    index = places[0].index(first) + places[1].index(last)
    return word in AMBIGUOUS and (index + AMBIGUOUS.index(word)) % 5 == 0


def _draw(rng: random.Random) -> list[str]:
    noun = rng.random() < 0.5
    words = AMBIGUOUS if rng.random() < 0.6 else PLURALS if noun else VERBS
    while True:
        first, word, last = (
            rng.choice(KINDS if noun else ACTORS),
            rng.choice(words),
            rng.choice(PLEASURES if noun else LIKENESSES),
        )
        if not _held_out(first, word, last):
            break
    if noun:
        patterns = (
            f"{first} {word} like a {last} .",
            f"{first} {word} like a {last} , and they never stop .",
            f"the {first} {word} want a {last} .",
            f"these {word} like the {last} , but they never stop .",
            f"the {first} has many {word} .",
            f"all {word} are here with a {last} .",
        )
    else:
        patterns = (
            f"{first} {word} like a {last} .",
            f"{first} {word} like a {last} , and it never stops .",
            f"the {first} {word} us like a {last} .",
            f"it {word} like the {last} , but it never stops .",
            f"{first} never {word} here .",
            f"this {first} {word} with a {last} too .",
        )
    return _with_article(rng.choice(patterns))


def _with_article(sentence: str) -> list[str]:
    """The words of a sentence, with `an` before a vowel."""
    return re.sub(r"\ba (?=[aeiou])", "an ", sentence).split()
