"""The sentences with two readings are what they claim to be, and none that is asked about was read before."""

import random
from collections import Counter

import numpy as np
import pytest

from bow2gpt import corpus, readings


def test_the_two_famous_sentences_are_asked_about_and_never_trained_on():
    asked = [" ".join(reading.tokens) for reading in readings.contrast(1)]
    assert asked[:2] == ["time flies like an arrow .", "fruit flies like a banana ."]
    assert [reading.noun for reading in readings.contrast(1)[:2]] == [False, True]


def test_no_sentence_that_is_asked_about_is_made_for_training():
    asked = {" ".join(reading.tokens[:-1]) for reading in readings.contrast(40)}
    made = {" ".join(sentence) for sentence in readings.grammar_sentences(20_000, seed=3)}
    assert not any(sentence.startswith(tuple(asked)) for sentence in made)
    assert sum(" like a" in sentence for sentence in made) > 2000


@pytest.mark.parametrize("copies", [1, 10, 40])
def test_each_ambiguous_word_is_asked_about_with_both_readings_equally_often(copies):
    asked = readings.contrast(copies)
    counts = Counter((reading.tokens[reading.place], reading.noun) for reading in asked)
    assert counts == {(word, noun): copies for word in readings.AMBIGUOUS for noun in (False, True)}
    assert len({reading.tokens for reading in asked}) == len(asked)
    assert {len(reading.tokens) for reading in asked} == {6}


def test_the_words_of_the_grammar_have_one_part_each():
    parts = (readings.AMBIGUOUS, readings.PLURALS, readings.VERBS, readings.ACTORS, readings.KINDS)
    parts = [*parts, readings.LIKENESSES, readings.PLEASURES]
    words = [word for part in parts for word in part if word != "river"]  # a place, and a likeness
    assert [word for word, count in Counter(words).items() if count > 1] == []


def test_the_grammar_uses_every_word_and_writes_an_before_vowels():
    made = readings.grammar_sentences(8000)
    used = Counter(word for sentence in made for word in sentence)
    assert min(used[word] for word in (*readings.AMBIGUOUS, *readings.PLURALS, *readings.KINDS)) > 20
    for sentence in made:
        for article, word in zip(sentence, sentence[1:], strict=False):
            assert article not in ("a", "an") or (article == "an") == (word[0] in "aeiou")


def test_the_same_seed_makes_the_same_sentences_and_leaves_other_dice_alone():
    random.seed(5)
    before = random.getstate()
    assert readings.grammar_sentences(50, seed=1) == readings.grammar_sentences(50, seed=1)
    assert readings.grammar_sentences(50, seed=1) != readings.grammar_sentences(50, seed=2)
    assert readings.contrast(5, seed=1) == readings.contrast(5, seed=1)
    assert random.getstate() == before
    assert readings.grammar_sentences(0) == []


def test_the_sentences_of_the_corpus_are_short_and_its_own():
    sentences = readings.corpus_sentences("validation", longest=12)
    assert {len(sentence) for sentence in sentences} == set(range(4, 13))
    words = set(readings.tokenize(corpus.text("validation")))
    assert {word for sentence in sentences for word in sentence} <= words
    assert readings.tokenize("Isn't it? We, the people; rest.") == [
        *("isn't", "it", "?", "we", ",", "the", "people", ";", "rest", ".")
    ]


def test_the_corpus_words_have_both_readings_equally_often_and_the_word_before_tells():
    asked = readings.corpus_contrast("validation")
    counts = Counter((reading.tokens[reading.place], reading.noun) for reading in asked)
    assert len(asked) > 200
    assert all(counts[word, True] == counts[word, False] for word, _ in counts)
    for reading in asked:
        before = reading.tokens[reading.place - 1]
        assert before not in ("to", "we", "will") or not reading.noun
        assert before not in ("the", "a", "our") or reading.noun


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: readings.contrast(41), "41 copies"),
        (lambda: readings.contrast(-1), "-1 copies"),
        (lambda: readings.grammar_sentences(-1), "-1 sentences"),
        (lambda: readings.corpus_sentences("validation", longest=3), "3 as the longest"),
        (lambda: readings.corpus_sentences("dev"), "got split 'dev'"),
    ],
)
def test_what_cannot_be_made_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_a_bet_is_won_by_what_tells_the_reading_and_by_nothing_else():
    asked = readings.contrast(10)
    nouns = np.array([reading.noun for reading in asked], dtype=float)
    noise = np.random.default_rng(0).normal(size=(len(asked), 2, 3))
    assert readings.bet(noise + 9 * nouns[:, None, None], asked) == (1.0, 1.0)
    _, shares = zip(*(readings.bet(noise, asked, seed) for seed in range(20)), strict=True)
    assert np.mean(shares) == pytest.approx(0.5, abs=0.05)


def test_a_bet_cannot_be_won_by_knowing_words_by_heart():
    asked = readings.contrast(10)
    asked = [reading for reading in asked if reading.noun == (hash_of(reading) % 2 == 0)]  # each word in one reading
    kinds = sorted({reading.tokens[reading.place] for reading in asked})
    features = np.array([[reading.tokens[reading.place] == word for word in kinds] for reading in asked], dtype=float)
    by_heart, fresh = np.mean([readings.bet(features, asked, seed) for seed in range(20)], axis=0)
    assert by_heart > 0.9
    assert fresh < 0.75


def hash_of(reading):
    return sum(map(ord, reading.tokens[reading.place]))


def test_a_bet_needs_two_words_and_as_many_features():
    asked = readings.contrast(2)
    with pytest.raises(ValueError, match="features of 3"):
        readings.bet(np.zeros((3, 1)), asked)
    same = [reading for reading in asked if reading.tokens[reading.place] == asked[0].tokens[asked[0].place]]
    with pytest.raises(ValueError, match="1 ambiguous words"):
        readings.bet(np.zeros((len(same), 1)), same)
