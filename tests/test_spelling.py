"""Spelling to sound: a split without leaks, ids there and back, and error rates as NLTK and the pencil find them."""

import re

import numpy as np
import pytest
from nltk.metrics.distance import edit_distance as oracle

from bow2gpt import corpus, spelling

SPLITS = ("train", "validation", "test")
SPLIT_OF = {entry.word: split for split in SPLITS for entry in spelling.entries(split)}


def test_each_word_is_in_one_split():
    assert sum(len(spelling.entries(split)) for split in SPLITS) == len(SPLIT_OF) == len(corpus.pronunciations())
    assert [len(spelling.entries(split)) for split in SPLITS] == [100_485, 12_841, 12_726]


def test_no_inflection_of_a_training_word_is_held_out():
    """Whatever regular rule makes one word of the dictionary from another, both lie on the same side."""
    compared = 0
    for word in SPLIT_OF:
        shorter = [(word.removesuffix(end), end) for end in ("s", "'s", "es", "ed", "ing", "er", "ly", "ness")]
        for base, end in shorter:
            if len(base) >= 2 and base != word:
                for stem in (base, base + "e", re.sub("i$", "y", base)):
                    if stem in SPLIT_OF:
                        assert SPLIT_OF[stem] == SPLIT_OF[word], f"{stem} + {end} = {word}"
                        compared += 1
    assert compared > 20_000


def test_families_of_known_words():
    for family in (("run", "running", "runner"), ("try", "tried", "tries"), ("hope", "hoping"), ("nation", "national")):
        assert len({SPLIT_OF[word] for word in family}) == 1, family


def test_an_unknown_split_is_refused():
    with pytest.raises(ValueError, match="expected train, validation or test"):
        spelling.entries("dev")


def test_pairs_are_the_entries():
    letters, phonemes = spelling.pairs("validation")
    rows = [(e.word, variant) for e in spelling.entries("validation") for variant in e.pronunciations]
    assert len(letters) == len(phonemes) == len(rows)
    for place in (0, 77, len(rows) - 1):
        word, variant = rows[place]
        assert "".join(spelling.LETTERS[i] for i in letters[place] if i > spelling.END) == word
        assert spelling.decode_pronunciation(phonemes[place]) == variant
    assert not any(phoneme[-1].isdigit() for _, variant in rows for phoneme in variant)


def test_rows_start_end_and_are_filled_up():
    assert spelling.encode_words(["a", "b.c"]).tolist() == [[6, 2, 0, 0], [7, 5, 8, 2]]
    encoded = spelling.encode_pronunciations([("K", "AE1", "T"), ("AH0",)])
    assert encoded[0].tolist() == [1, encoded[0, 1], encoded[0, 2], encoded[0, 3], 2]
    assert encoded[1, [0, 2, 3, 4]].tolist() == [1, 2, 0, 0]
    assert spelling.encode_words([]).shape == (0, 0)


def test_decoding_stops_at_the_first_end():
    k, t = spelling.PHONEMES.index("K"), spelling.PHONEMES.index("T")
    assert spelling.decode_pronunciation(np.array([1, k, t, 2, k, 2, 0])) == ("K", "T")
    assert spelling.decode_pronunciation([]) == ()


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: spelling.encode_words(["Cat"]), "'C' in 'Cat' is not a letter"),
        (lambda: spelling.encode_words([""]), "empty sequence"),
        (lambda: spelling.encode_words([["<end>"]]), "is not a letter"),
        (lambda: spelling.encode_pronunciations([("K", "QQ")]), "'QQ' in 'KQQ' is not an ARPAbet phoneme"),
        (lambda: spelling.decode_pronunciation([3, 99]), "expected 0 to 41"),
        (lambda: spelling.error_rates([], []), "at least one"),
        (lambda: spelling.error_rates([("K",)], []), "1 guesses for 0 words"),
    ],
)
def test_bad_input_is_named(call, says):
    with pytest.raises(ValueError, match=says):
        call()


def test_edit_distance_equals_nltk():
    rng = np.random.default_rng(0)
    for _ in range(300):
        first, second = (rng.integers(0, 4, rng.integers(0, 9)).tolist() for _ in range(2))
        assert spelling.edit_distance(first, second) == oracle(first, second)


def test_of_several_pronunciations_the_nearest_counts():
    truth = spelling.Entry("either", (("IY", "DH", "ER"), ("AY", "DH", "ER")))
    other = spelling.Entry("cat", (("K", "AE", "T"),))
    rates = spelling.error_rates([("AY", "DH", "ER"), ("K", "T")], [truth, other])
    assert rates == spelling.ErrorRates(1 / 6, 1 / 2, 2)
