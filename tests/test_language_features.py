"""What chapter 01 exports, tokenizer aside, against definitions written otherwise and against NLTK."""

import itertools
import math
from collections import Counter

import nltk
import numpy as np
import pytest

from bow2gpt import corpus, ruler
from bow2gpt.chapters.language_features import (
    ByteTokenizer,
    UnigramModel,
    boundary_scores,
    count_parses,
    cyk_parse,
    fit_power_law,
    indefinite_article,
    rhymes,
    rhyming_part,
    segment_by_successors,
    successor_variety,
    words,
    zipf_exponent,
)

# Phonetics


@pytest.mark.parametrize(
    ("pronunciation", "expected"),
    [
        ("L AY1 T", ("L", ("AY", "T"))),
        ("AH0 B AW1 T", ("B", ("AW", "T"))),
        ("EH1 V ER0", ("", ("EH", "V", "ER"))),
        ("T EH1 L AH0 F OW2 N", ("T", ("EH", "L", "AH", "F", "OW", "N"))),
        ("DH AH0", ("DH", ("AH",))),
        ("HH M", None),
        ("", None),
    ],
)
def test_rhyming_part_begins_at_the_last_main_stress(pronunciation, expected):
    assert rhyming_part(pronunciation.split()) == expected


def test_rhymes_of_the_cmu_dictionary():
    found = rhymes("light", corpus.pronunciations())
    assert {"night", "quite", "height", "tonight", "indict"} <= set(found)
    assert not {"light", "delight", "lite", "let", "lighter"} & set(found)
    assert found == sorted(set(found))
    assert rhymes("qzx", corpus.pronunciations()) == []


def test_rhyme_is_symmetric_and_never_reflexive():
    some = dict(itertools.islice(corpus.pronunciations().items(), 0, 60_000, 40))
    found = {word: rhymes(word, some) for word in list(some)[:300]}
    assert any(found.values())
    for word, others in found.items():
        assert word not in others
        assert all(word in rhymes(other, some) for other in others[:2])


@pytest.mark.parametrize(
    ("word", "article"),
    [("hour", "an"), ("union", "a"), ("honest", "an"), ("European", "a"), ("one", "a"), ("army", "an"), ("war", "a")]
    + [("Ezzzt", "an"), ("zzzt", "a")],
)
def test_article_follows_the_first_sound(word, article):
    assert indefinite_article(word, corpus.pronunciations()) == article


def test_article_of_nothing_is_refused():
    with pytest.raises(ValueError, match="empty word"):
        indefinite_article("", {})


# Morphology


def test_successor_variety_equals_its_definition_on_random_words():
    rng = np.random.default_rng(0)
    for _ in range(50):
        vocabulary = ["".join(rng.choice(list("abc"), rng.integers(1, 6))) for _ in range(30)]
        word = "".join(rng.choice(list("abcd"), rng.integers(0, 6)))
        expected = [
            len({(other + "#")[end] for other in vocabulary if other.startswith(word[:end])})
            for end in range(1, len(word) + 1)
        ]
        assert successor_variety(word, vocabulary) == expected
        assert successor_variety(word, iter(vocabulary * 2)) == expected


def test_a_string_is_no_vocabulary():
    with pytest.raises(TypeError, match="expected words"):
        successor_variety("war", "war and peace")


def test_segments_join_to_the_word():
    vocabulary = set(words(corpus.text("validation")))
    for word in list(corpus.morphemes())[:60]:
        assert "".join(segment_by_successors(word, vocabulary)) == word


def test_boundary_scores_by_hand():
    reference = {"nations": ("nation", "s"), "war": ("war",), "unfriendly": ("un", "friend", "ly")}
    predicted = {"nations": ["nat", "ion", "s"], "war": ["w", "ar"], "unfriendly": ["un", "friendly"]}
    precision, recall, f1 = boundary_scores(predicted, reference)
    assert (precision, recall) == (2 / 4, 2 / 3)
    assert f1 == pytest.approx(2 * precision * recall / (precision + recall))
    assert boundary_scores(reference, reference) == (1, 1, 1)
    with pytest.raises(ValueError, match="do not join"):
        boundary_scores({"war": ["wa"]}, {"war": ("war",)})
    with pytest.raises(ValueError, match="no parts were predicted for 'war'"):
        boundary_scores({}, {"war": ("war",)})


def test_power_law_fit_equals_numpys_line_through_the_logarithms():
    rng = np.random.default_rng(1)
    for _ in range(20):
        x, y = rng.uniform(0.1, 100, (2, 30))
        slope, intercept = np.polyfit(np.log(x), np.log(y), 1)
        assert fit_power_law(x, y) == pytest.approx((slope, math.exp(intercept)))
    assert fit_power_law([1, 2, 4], [3, 12, 48]) == pytest.approx((2, 3))


@pytest.mark.parametrize(("x", "y"), [([1], [1]), ([1, 2], [1]), ([2, 2], [1, 3]), ([1, 2], [0, 1]), ([1, -2], [1, 1])])
def test_what_has_no_line_is_refused(x, y):
    with pytest.raises(ValueError, match="got"):
        fit_power_law(x, y)


def test_zipf_exponent_of_an_exact_law():
    assert zipf_exponent([round(1e9 / rank**1.2) for rank in range(1, 300)]) == pytest.approx(1.2, abs=1e-3)
    assert zipf_exponent([3, 0, 12, 4, 6, 0]) == pytest.approx(1)
    for counts in ([], [5], [5, 0], [3, -1, 2]):
        with pytest.raises(ValueError, match="at least two"):
            zipf_exponent(counts)


# Syntax


def random_grammar(rng):
    categories, terminals = ["S", "A", "B", "C"], list("xyz")
    lexicon = {word: {str(c) for c in rng.choice(categories, rng.integers(1, 3))} for word in terminals}
    rules = [tuple(map(str, rng.choice(categories, 3))) for _ in range(rng.integers(4, 14))]
    return lexicon, rules


def as_tuple(tree):
    children = (as_tuple(child) if isinstance(child, nltk.Tree) else child for child in tree)
    return (tree.label(), *children)


def test_trees_equal_those_of_nltk():
    rng = np.random.default_rng(2)
    ambiguous = grammatical = 0
    for _ in range(150):
        lexicon, rules = random_grammar(rng)
        nonterminal = nltk.grammar.Nonterminal
        productions = [
            *(nltk.grammar.Production(nonterminal(p), [nonterminal(a), nonterminal(b)]) for p, a, b in set(rules)),
            *(nltk.grammar.Production(nonterminal(c), [word]) for word, cs in lexicon.items() for c in sorted(cs)),
        ]
        parser = nltk.ChartParser(nltk.CFG(nonterminal("S"), productions))
        sentence = [str(word) for word in rng.choice(list(lexicon), rng.integers(1, 6))]
        expected = Counter(as_tuple(tree) for tree in parser.parse(sentence))
        assert Counter(cyk_parse(sentence, lexicon, rules)) == expected
        assert count_parses(sentence, lexicon, rules) == expected.total()
        grammatical += bool(expected)
        ambiguous += expected.total() > 1
    assert grammatical > 10
    assert ambiguous > 5


def test_no_sentence_and_unknown_words_have_no_tree():
    lexicon, rules = {"go": {"S", "V"}}, [("S", "S", "S")]
    assert cyk_parse([], lexicon, rules) == []
    assert cyk_parse(["stop"], lexicon, rules) == []
    assert cyk_parse(["go"], lexicon, rules) == [("S", "go")]
    assert count_parses([], lexicon, rules) == 0


def test_parses_of_a_long_sentence_are_catalan_numbers():
    for n in range(1, 12):
        catalan = math.comb(2 * (n - 1), n - 1) // n
        assert count_parses(["go"] * n, {"go": {"S"}}, [("S", "S", "S"), ("S", "S", "S")]) == catalan


# The ruler


def test_uniform_model_needs_eight_bits():
    assert ruler.bits_per_byte(UnigramModel(np.zeros(256), ByteTokenizer()), "any text, é 🕊") == pytest.approx(8)


def test_unigram_model_equals_its_definition():
    model = UnigramModel.fit("banana")
    probabilities = np.exp(model.next_token_log_probs())
    assert probabilities[ord("a")] == pytest.approx(4 / 262)
    assert probabilities[ord("z")] == pytest.approx(1 / 262)
    expected = -sum(math.log2(probabilities[byte]) for byte in b"nab") / 3
    assert ruler.bits_per_byte(model, "nab") == pytest.approx(expected)
    assert model.num_parameters == 256


@pytest.mark.parametrize("counts", [np.zeros(255), [[1] * 256], [-1.0] * 256, [math.nan] * 256])
def test_counts_that_make_no_model_are_refused(counts):
    with pytest.raises(ValueError, match="count"):
        UnigramModel(counts, ByteTokenizer())


def test_a_negative_temperature_is_refused():
    with pytest.raises(ValueError, match="temperature"):
        UnigramModel.fit("ab").generate(3, temperature=-1)
