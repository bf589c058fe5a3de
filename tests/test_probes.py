"""The minimal pairs are fair, and the score they give is what it says it is."""

import collections
import csv
import math
import re
import zlib

import numpy as np
import pytest

from bow2gpt import corpus, probes

FEATURES_WITH_PAIRS = probes.FEATURES


class Oracle:
    """A stand-in for a language model: one token per text, its log-probability given by a function."""

    def __init__(self, log_prob):
        self.log_prob = log_prob
        self.contexts = set()

    def token_log_probs(self, text, context=""):
        self.contexts.add(context)
        return np.array([self.log_prob(text)])


def words(text):
    """Words and signs, lower-cased: a word that a sentence begins with is still the same word."""
    return re.findall(r"\w+|[^\w\s]", text.lower())


@pytest.fixture(scope="module")
def unigram():
    """The log-probability of a text under word counts of the training split, plus one, for any text."""
    counts = collections.Counter(words(corpus.text("train")))
    total = counts.total() + len(counts) + 1  # one more word stands for all the unknown
    return lambda text: sum(math.log((counts[word] + 1) / total) for word in words(text))


def check_balance(chosen, log_prob):
    """Refuse pairs that can be answered by how frequent their words are."""
    for score in probes.score(Oracle(log_prob), chosen):
        if score.phenomenon is None:
            assert 0.35 <= score.accuracy <= 0.65, f"word counts alone reach {score.accuracy:.0%} on {score.feature}"


def by_feature(scores):
    return {score.feature: score for score in scores if score.phenomenon is None}


# The pairs


@pytest.mark.parametrize("feature", FEATURES_WITH_PAIRS)
def test_each_feature_has_enough_pairs_of_enough_phenomena(feature):
    counts = collections.Counter(pair.phenomenon for pair in probes.pairs(feature))
    assert counts.total() >= 130
    assert len(counts) >= 10
    assert all(10 <= count <= 20 for count in counts.values()), counts


def test_pairs_of_all_features_together_are_all_pairs():
    apart = [pair for feature in FEATURES_WITH_PAIRS for pair in probes.pairs(feature)]
    assert sorted(apart, key=repr) == sorted(probes.pairs(), key=repr)


def test_halves_have_about_the_same_length():
    for pair in probes.pairs():
        ratio = len(pair.worse.encode()) / len(pair.better.encode())
        assert 0.8 <= ratio <= 1.2, pair


@pytest.mark.parametrize("feature", FEATURES_WITH_PAIRS)
def test_length_does_not_give_the_answer_away(feature):
    shorter = by_feature(probes.score(Oracle(lambda text: -len(text.encode())), probes.pairs(feature)))
    assert 0.4 <= shorter[feature].accuracy <= 0.6


def test_halves_begin_and_end_like_sentences():
    for pair in probes.pairs():
        for half in (pair.better, pair.worse):
            assert re.fullmatch(r"(?:[A-Z][A-Za-z0-9',:;\- ]*[.?] ?)+(?<=\.)", half), half
            assert "  " not in half


def test_halves_differ_in_one_place_only():
    for pair in probes.pairs():
        better, worse = words(pair.better), words(pair.worse)
        if sorted(better) == sorted(worse):
            continue  # the same words in another order
        start = 0
        while better[start] == worse[start]:
            start += 1
        while better[-1] == worse[-1]:
            better.pop()
            worse.pop()
        assert max(len(better), len(worse)) - start <= 3, pair


def test_no_half_occurs_twice():
    halves = collections.Counter(half.lower() for pair in probes.pairs() for half in (pair.better, pair.worse))
    assert [half for half, count in halves.items() if count > 1] == []


def test_no_half_occurs_in_the_corpus():
    everything = " ".join(" ".join(corpus.text(split) for split in corpus.SPLITS).lower().split())
    for pair in probes.pairs():
        for half in (pair.better, pair.worse):
            assert half.lower().rstrip(".") not in everything, half


def test_every_source_is_a_full_reference_and_every_reference_is_used():
    assert {pair.source for pair in probes.pairs()} == set(probes.REFERENCES)
    for short, full in probes.REFERENCES.items():
        assert short.split()[-1] in full
        assert short.split()[0] in full


def test_a_phenomenon_belongs_to_one_feature_and_stands_together():
    previous, finished = None, set()
    for pair in probes.pairs():
        key = (pair.feature, pair.phenomenon)
        if key != previous:
            assert pair.phenomenon not in finished
            finished.add(pair.phenomenon)
            previous = key


# Word frequency does not give the answer away


def test_word_counts_are_no_better_than_a_coin(unigram):
    check_balance(probes.pairs(), unigram)


def test_word_counts_are_reported_for_every_phenomenon(unigram):
    scores = probes.score(Oracle(unigram))
    for score in scores:
        print(f"{score.feature:12} {score.phenomenon or 'all':45} {score.accuracy:6.1%} of {score.total}")
    # A phenomenon may lean, where the wrong form is no word; it may not be a list of non-words.
    assert all(0.35 <= score.accuracy <= 0.75 for score in scores)


def test_most_pairs_are_crossed_or_use_the_same_words():
    """What is gained by a word in one pair is lost by it in another: summed over a feature, few words lean."""
    for feature in FEATURES_WITH_PAIRS:
        gain = collections.Counter()
        for pair in probes.pairs(feature):
            gain.update(words(pair.better))
            gain.subtract(words(pair.worse))
        assert sum(abs(count) for count in gain.values()) / len(probes.pairs(feature)) < 0.5


def test_balance_refuses_a_leaky_list(unigram):
    leaky = [
        probes.Pair("morphology", "planted", f"The {noun} went to war.", f"The {noun} goed to war.", "Berko 1958")
        for noun in ("nation", "army", "people", "States")
    ]
    with pytest.raises(AssertionError, match="word counts alone reach 100% on morphology"):
        check_balance(leaky, unigram)
    turned = [probes.Pair(p.feature, p.phenomenon, p.worse, p.better, p.source) for p in leaky]
    with pytest.raises(AssertionError, match="word counts alone reach 0% on morphology"):
        check_balance(turned, unigram)


# The score


def test_a_model_that_prefers_the_better_half_gets_everything_right():
    better = {pair.better for pair in probes.pairs()}
    scores = probes.score(Oracle(lambda text: -1.0 if text in better else -2.0))
    assert all(score.accuracy == 1.0 and score.interval[1] == 1.0 for score in scores)
    scores = probes.score(Oracle(lambda text: -2.0 if text in better else -1.0))
    assert all(score.accuracy == 0.0 and score.interval[0] == 0.0 for score in scores)


def test_a_tie_counts_half():
    for score in probes.score(Oracle(lambda text: -3.0)):
        assert score.correct == score.total / 2


def test_the_order_of_a_sum_does_not_break_a_tie():
    weights = {chr(code): -0.1 * code for code in range(128)}
    pair = probes.Pair("syntax", "order", "The debt grew then.", "Then grew the debt.", "Greenberg 1963")
    (score, _) = probes.score(Oracle(lambda text: sum(weights[sign] for sign in text.lower())), [pair])
    assert score.correct == 0.5


def test_each_half_begins_a_paragraph():
    model = Oracle(lambda text: -1.0)
    probes.score(model)
    assert model.contexts == {"\n\n"}


def test_features_come_in_the_order_of_the_book_each_before_its_phenomena():
    scores = probes.score(Oracle(lambda text: -1.0))
    features = [score.feature for score in scores]
    assert features == sorted(features, key=probes.FEATURES.index)
    for feature, score in by_feature(scores).items():
        parts = [part for part in scores if part.feature == feature and part.phenomenon is not None]
        assert scores.index(score) < min(scores.index(part) for part in parts)
        assert score.total == sum(part.total for part in parts) == len(probes.pairs(feature))


def test_a_feature_adds_up_from_its_phenomena():
    scores = probes.score(Oracle(lambda text: -float(zlib.crc32(text.encode()))))  # as good as random, and repeatable
    for feature, score in by_feature(scores).items():
        assert score.correct == sum(s.correct for s in scores if s.feature == feature and s.phenomenon is not None)
        assert 0.3 < score.accuracy < 0.7


def test_a_choice_of_pairs_is_respected():
    chosen = probes.pairs("syntax")[:3]
    scores = probes.score(Oracle(lambda text: -1.0), chosen)
    assert [(score.feature, score.total) for score in scores] == [("syntax", 3), ("syntax", 3)]


def test_no_pairs_to_ask_is_an_error():
    with pytest.raises(ValueError, match="no pairs to ask"):
        probes.score(Oracle(lambda text: -1.0), [])


@pytest.mark.parametrize("answer", [math.nan, -math.inf])
def test_an_impossible_answer_is_an_error(answer):
    with pytest.raises(ValueError, match="Oracle gave the log-probabilities"):
        probes.score(Oracle(lambda text: answer))


# The interval


@pytest.mark.parametrize(
    ("correct", "total", "low", "high"),
    [
        (0, 10, 0.0, 0.2775),  # by hand: z^2 / (n + z^2) = 3.8415 / 13.8415
        (10, 10, 0.7225, 1.0),
        (5, 10, 0.2366, 0.7634),
        (8, 10, 0.4902, 0.9433),
        (81, 263, 0.2553, 0.3662),  # this and those below: Newcombe, 1998, Statistics in Medicine 17
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ],
)
def test_interval_agrees_with_known_values(correct, total, low, high):
    assert probes.Score("syntax", None, correct, total).interval == pytest.approx((low, high), abs=5.1e-5)


def test_interval_ends_solve_wilsons_equation():
    """An end is a true accuracy from which the one seen lies exactly 1.96 standard errors away."""
    for correct, total in [(1, 7), (33.5, 100), (99, 130)]:
        score = probes.Score("syntax", None, correct, total)
        for end in score.interval:
            errors = abs(score.accuracy - end) / math.sqrt(end * (1 - end) / total)
            assert errors == pytest.approx(1.959964, abs=1e-5)


def test_interval_is_symmetric_holds_the_accuracy_and_shrinks():
    for correct in range(21):
        score = probes.Score("syntax", None, correct, 20)
        low, high = score.interval
        assert 0 <= low <= score.accuracy <= high <= 1
        mirrored = probes.Score("syntax", None, 20 - correct, 20).interval
        assert mirrored == pytest.approx((1 - high, 1 - low))
        more = probes.Score("syntax", None, 10 * correct, 200).interval
        assert more[1] - more[0] < high - low


@pytest.mark.parametrize(("correct", "total"), [(0, 0), (-1, 5), (6, 5), (math.nan, 5)])
def test_an_impossible_score_is_an_error(correct, total):
    with pytest.raises(ValueError, match="expected at least one pair"):
        probes.Score("syntax", None, correct, total)


# The file

HEADER = "feature,phenomenon,better,worse,source"
ROW = "syntax,order,We won it.,We it won.,Greenberg 1963"


def written(tmp_path, text):
    path = tmp_path / "pairs.csv"
    path.write_text(text, encoding="utf-8")
    return path


def test_load_reads_what_was_written(tmp_path):
    path = written(tmp_path, f'{HEADER}\n{ROW}\nsyntax,order,"Here, we won it.","Here, we it won.",Greenberg 1963\n')
    assert probes.load(path) == probes.load(str(path))
    assert probes.load(path)[0] == probes.Pair("syntax", "order", "We won it.", "We it won.", "Greenberg 1963")
    assert probes.load(path)[1].better == "Here, we won it."


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "line 1: got the columns none, expected feature,phenomenon,better,worse,source"),
        ("feature,better,worse\n", "line 1: got the columns feature,better,worse"),
        (f"{HEADER}\n{ROW}\nsyntax,order,We won it.\n", "line 3: got 3 cells, expected 5"),
        (f"{HEADER}\nsyntax,order,Here, we won.,Here we.,Greenberg 1963\n", "line 2: got 6 cells.*quotes"),
        (f"{HEADER}\n{ROW}\n\n", "line 3: got 0 cells"),
        (f"{HEADER}\n{ROW.replace('We won it.', '')}\n", "line 2: got '' as better"),
        (f"{HEADER}\n{ROW.replace('order', ' order')}\n", "line 2: got ' order' as phenomenon"),
        (f"{HEADER}\n{ROW.replace('syntax', 'sintax')}\n", "line 2: got feature 'sintax', expected one of phonetics"),
        (f"{HEADER}\n{ROW.replace('We it won.', 'We won it.')}\n", "line 2: the two halves are the same"),
        (f"{HEADER}\n{ROW}\n{ROW}\n", "line 3: the same row is on line 2"),
        (f'{HEADER}\nsyntax,order,"We won it.,We it won.,Greenberg 1963\n', "line 2: unexpected end of data"),
        (f"{HEADER}\n", "got no pairs"),
    ],
)
def test_a_malformed_file_is_an_error_that_names_the_line(tmp_path, text, message):
    with pytest.raises(ValueError, match=message):
        probes.load(written(tmp_path, text))


def test_a_file_in_another_encoding_is_an_error(tmp_path):
    path = tmp_path / "pairs.csv"
    path.write_bytes(f"{HEADER}\n{ROW}\n".replace("won", "w\xf6n").encode("latin-1"))
    with pytest.raises(ValueError, match="not UTF-8 text"):
        probes.load(path)


def test_a_missing_file_is_an_error(tmp_path):
    with pytest.raises(FileNotFoundError):
        probes.load(tmp_path / "none.csv")


@pytest.mark.parametrize("feature", ["sintax", "", "Semantics"])
def test_an_unknown_feature_is_an_error_that_lists_the_known(feature):
    with pytest.raises(ValueError, match="expected one of phonetics, morphology, syntax, semantics, pragmatics"):
        probes.pairs(feature)


def test_the_file_is_plain_and_byte_stable():
    path = probes.resources.files("bow2gpt") / "probes.csv"
    raw = path.read_bytes()
    assert raw.isascii()
    assert b"\r" not in raw
    assert raw.endswith(b"\n")
    assert len(list(csv.reader(raw.decode().splitlines()))) == len(probes.pairs()) + 1
