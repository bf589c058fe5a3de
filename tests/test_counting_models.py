"""Counting models agree with their oracles: scikit-learn, textbook formulas written out, NLTK and KenLM."""

import math
import os
import re
import subprocess
import sys
from collections import Counter, defaultdict

import kenlm
import numpy as np
import pytest
from sklearn.feature_extraction.text import CountVectorizer, TfidfTransformer
from sklearn.naive_bayes import MultinomialNB

from bow2gpt import corpus, ruler
from bow2gpt.chapters import counting_models as cm
from bow2gpt.chapters.language_features import words

# Bags


def random_documents(rng, num_documents, vocabulary):
    return [[vocabulary[i] for i in rng.integers(len(vocabulary), size=rng.integers(30))] for _ in range(num_documents)]


def test_words_are_lower_case_runs_of_letters_with_inner_apostrophes():
    assert words("Don't stop: 1862 naïve-men’s 'quoted' a_b É!") == [
        "don't", "stop", "naïve", "men’s", "quoted", "a", "b", "é",
    ]  # fmt: skip
    assert words("") == []


def test_vocabulary_is_sorted_and_counts_documents_not_occurrences():
    documents = [["b", "b", "b"], ["a", "c"], ["a"]]
    assert cm.build_vocabulary(documents) == ["a", "b", "c"]
    assert cm.build_vocabulary(documents, min_documents=2) == ["a"]
    assert cm.build_vocabulary([]) == []


@pytest.mark.parametrize("seed", range(5))
def test_bag_of_words_equals_scikit_learn(seed):
    rng = np.random.default_rng(seed)
    names = [f"w{i}" for i in range(40)]
    documents = random_documents(rng, 20, names)
    vocabulary = [names[i] for i in rng.permutation(40)[:25]]
    expected = CountVectorizer(analyzer=lambda document: document, vocabulary=vocabulary).fit_transform(documents)
    got = cm.document_term_matrix(iter(documents), vocabulary)
    assert np.issubdtype(got.dtype, np.integer)
    assert np.array_equal(got, expected.toarray())


@pytest.mark.parametrize("smooth_columns", [0, 3])
@pytest.mark.parametrize("seed", range(5))
def test_tf_idf_equals_scikit_learn(seed, smooth_columns):
    rng = np.random.default_rng(seed)
    counts = rng.poisson(0.4, (20, 30))
    counts[3] = 0
    counts[:, :smooth_columns] = 0
    expected = TfidfTransformer().fit_transform(counts).toarray()
    np.testing.assert_allclose(cm.tf_idf(counts), expected, rtol=1e-12)
    np.testing.assert_allclose(cm.inverse_document_frequency(counts), TfidfTransformer().fit(counts).idf_, rtol=1e-12)
    assert not cm.tf_idf(counts)[3].any()


@pytest.mark.parametrize("smoothing", [0.01, 1.0, 3.0])
@pytest.mark.parametrize("num_classes", [1, 2, 5])
def test_naive_bayes_equals_scikit_learn(num_classes, smoothing):
    rng = np.random.default_rng(num_classes)
    counts = rng.poisson(1.0, (50, 30))
    labels = np.concatenate([np.arange(num_classes), rng.integers(num_classes, size=50 - num_classes)])
    unseen = rng.poisson(2.0, (20, 30))
    unseen[0] = 0
    ours = cm.NaiveBayes().fit(counts, labels, smoothing)
    theirs = MultinomialNB(alpha=smoothing).fit(counts, labels)
    np.testing.assert_allclose(ours.log_likelihood, theirs.feature_log_prob_, rtol=1e-10)
    np.testing.assert_allclose(ours.predict_log_proba(unseen), theirs.predict_log_proba(unseen), rtol=1e-8, atol=1e-10)


def test_bags_of_the_corpus_equal_scikit_learn():
    texts = [address.text for address in corpus.addresses()][::6]
    documents = [words(text) for text in texts]
    vocabulary = cm.build_vocabulary(documents, min_documents=2)
    pattern = r"[^\W\d_]+(?:['’][^\W\d_]+)*"
    theirs = CountVectorizer(token_pattern=pattern, min_df=2).fit(texts)
    assert vocabulary == sorted(theirs.vocabulary_)
    counts = cm.document_term_matrix(documents, vocabulary)
    assert np.array_equal(counts, theirs.transform(texts)[:, [theirs.vocabulary_[w] for w in vocabulary]].toarray())
    expected = TfidfTransformer().fit_transform(counts).toarray()
    np.testing.assert_allclose(cm.tf_idf(counts), expected, rtol=0, atol=1e-12)


def test_bags_refuse_a_vocabulary_that_repeats_a_word():
    with pytest.raises(ValueError, match="the vocabulary repeats a word; pass each word once"):
        cm.document_term_matrix([["a"]], ["a", "b", "a"])


def test_bags_of_nothing_have_their_shape():
    assert cm.document_term_matrix([], ["a", "b"]).shape == (0, 2)
    assert cm.document_term_matrix([["x"], []], ["a", "b"]).tolist() == [[0, 0], [0, 0]]
    assert cm.document_term_matrix([["x"]], []).shape == (1, 0)


def test_naive_bayes_gives_a_class_without_documents_no_probability():
    model = cm.NaiveBayes().fit(np.array([[1, 0], [0, 1]]), [0, 2])
    log_probs = model.predict_log_proba(np.array([[3, 1]]))
    assert log_probs[0, 1] == -np.inf
    assert np.exp(log_probs).sum() == pytest.approx(1)


@pytest.mark.parametrize(("num_documents", "num_labels"), [(3, 2), (0, 0), (2, 3)])
def test_naive_bayes_refuses_unequal_numbers(num_documents, num_labels):
    with pytest.raises(ValueError, match=f"got {num_documents} documents and {num_labels} labels"):
        cm.NaiveBayes().fit(np.ones((num_documents, 2)), np.zeros(num_labels, dtype=int))


@pytest.mark.parametrize(("labels", "smoothing"), [([0, 1], 0.0), ([0, 1], -1.0), ([0, 1], np.nan), ([0, -1], 1.0)])
def test_naive_bayes_refuses_what_would_give_nan(labels, smoothing):
    with pytest.raises(ValueError, match="got smoothing"):
        cm.NaiveBayes().fit(np.eye(2), labels, smoothing)


# Chains


@pytest.mark.parametrize("num_states", [1, 2, 7, 300])
def test_transition_matrix_equals_a_loop(num_states):
    states = np.random.default_rng(num_states).integers(num_states, size=500)
    counts = defaultdict(Counter)
    for first, second in zip(states[:-1].tolist(), states[1:].tolist(), strict=True):
        counts[first][second] += 1
    got = cm.transition_matrix(states, num_states)
    for first in range(num_states):
        total = sum(counts[first].values())
        for second in range(num_states):
            assert got[first, second] == pytest.approx(counts[first][second] / total if total else 1 / num_states)


def test_transition_matrix_of_nothing_is_uniform():
    for states in ([], [1]):
        assert cm.transition_matrix(states, 4).tolist() == [[0.25] * 4] * 4


@pytest.mark.parametrize("states", [[0, 3], [0, -1, 1], [5]])
def test_transition_matrix_refuses_states_that_do_not_exist(states):
    with pytest.raises(ValueError, match="expected 0 to 2"):
        cm.transition_matrix(states, 3)


@pytest.mark.parametrize("num_states", [1, 2, 5, 40])
def test_stationary_distribution_is_the_eigenvector(num_states):
    matrix = np.random.default_rng(num_states).dirichlet(np.ones(num_states), num_states)
    values, vectors = np.linalg.eig(matrix.T)
    vector = np.real(vectors[:, np.argmin(np.abs(values - 1))])
    got = cm.stationary_distribution(matrix)
    np.testing.assert_allclose(got, vector / vector.sum(), atol=1e-10)
    np.testing.assert_allclose(got @ matrix, got, atol=1e-12)


def test_stationary_distribution_exists_for_a_chain_that_never_mixes():
    np.testing.assert_allclose(cm.stationary_distribution([[0, 1], [1, 0]]), [0.5, 0.5])


def test_stationary_distribution_refuses_rows_that_do_not_sum_to_one():
    with pytest.raises(ValueError, match="each row of a transition matrix must sum to one; divide each row"):
        cm.stationary_distribution([[2, 1], [1, 1]])


# Tokenizers

ODD_TEXTS = [
    "",
    " ",
    "   ",
    "a  b   c",
    " \n\t\r\n\x0b\x0c\x1c\x1d\x1e\x1f\x85\xa0\u1680\u2000\u2028\u2029\u3000",
    "tab\tand\rreturn\r\n",
    "\x00\x01\x7f\x9f",
    "under_score __init__ _ __",
    "▁ ▁word w▁ord ▁▁",
    "<unk> <s> </s> <0x41> <spell> </spell> < > <'\\n'>",
    "naïve e\u0301 👩‍👩‍👧 🇺🇸 \u202eright to left\u202c ﷺ ²½Ⅷ ١٢٣ 一二三",
    "$4,000.00 -- 1862's “quotes” \\ back\\slash",
]


def random_text(rng, length):
    codes = rng.integers(0, 0x110000, length)
    common = rng.integers(0, 0x3FF, length)
    mixed = np.where(rng.random(length) < 0.6, common, codes)
    return "".join(chr(code) for code in mixed.tolist() if not 0xD800 <= code < 0xE000)


ALL_TEXTS = ODD_TEXTS + [random_text(np.random.default_rng(seed), 60) for seed in range(100)]


def tokenizers():
    return [cm.ByteTokenizer(), cm.WordTokenizer([]), cm.WordTokenizer.train("".join(ALL_TEXTS[:60]) * 2)]


@pytest.mark.parametrize("tokenizer", tokenizers(), ids=["bytes", "words, all spelled", "words"])
def test_decoding_gives_back_every_text(tokenizer):
    for text in ALL_TEXTS:
        token_ids = tokenizer.encode(text)
        assert token_ids.dtype == np.int64
        assert tokenizer.decode(token_ids) == text
        assert np.all((token_ids >= 0) & (token_ids < tokenizer.vocabulary_size))


def test_every_character_of_unicode_survives_the_word_tokenizer():
    text = "".join(map(chr, [*range(0xD800), *range(0xE000, 0x30000)]))
    tokenizer = cm.WordTokenizer([])
    assert tokenizer.decode(tokenizer.encode(text)) == text


def test_known_words_are_one_token_and_unknown_ones_are_spelled():
    tokenizer = cm.WordTokenizer.train("the union of the people of the union", min_count=2)
    assert tokenizer.vocabulary == [" of", " the", " union"]
    assert tokenizer.encode(" the union").tolist() == [259, 260]
    assert tokenizer.encode(" axe").tolist() == [256, *b" axe", 257]
    assert tokenizer.vocabulary_size == len(tokenizer.names()) == 261


def test_decoding_half_a_character_does_not_fail():
    assert cm.ByteTokenizer().decode([0xE2, 0x82]) == "\ufffd"
    assert cm.WordTokenizer([]).decode([256, 0xE2, 257]) == "\ufffd"


@pytest.mark.parametrize("vocabulary", [["a", "a"], ["a", ""]])
def test_word_tokenizer_refuses_words_it_could_not_tell_apart(vocabulary):
    with pytest.raises(ValueError, match="the vocabulary repeats a word or holds an empty one"):
        cm.WordTokenizer(vocabulary)


ADVERSARIAL = [
    " ", "  ", "\n", "\n\n", " \n", "\t", "\r", "\x0b", "\x1c", "\x85", "\xa0", " \xa0", "\u2028", "\u3000",
    "\x00", "\x7f", "▁", " ▁", "▁▁", "▁ ", "_", " _", "\\", " \\", "\\n", "'\\n'", "<", ">", " <", "<>",
    "<unk>", "<s>", "</s>", "<0x41>", "<spell>", "</spell>", "<' '>", "<'\\n'>", "a b", "a▁b", "\u200b",
    "\ufeff", "\\3c;unk>", "\\2581;", "é", "e\u0301",
]  # fmt: skip


@pytest.mark.parametrize("tokenizer", [*tokenizers(), cm.WordTokenizer(ADVERSARIAL)])
def test_names_are_unique_and_without_white_space(tokenizer):
    names = tokenizer.names()
    assert len(names) == tokenizer.vocabulary_size
    repeated = [name for name, count in Counter(names).items() if count > 1]
    assert not repeated
    bad = [name for name in names if not name or len(name.split()) != 1 or not name.isprintable()]
    assert not bad
    assert not {"<unk>", "<s>", "</s>"} & set(names)


# Counts


@pytest.mark.parametrize(("alphabet", "length"), [(2, 1), (2, 3), (2, 200), (5, 300), (26, 1000), (300, 700)])
@pytest.mark.parametrize("order", range(1, 7))
def test_ngram_tables_equal_counted_tuples(alphabet, length, order):
    token_ids = np.random.default_rng([alphabet, length]).integers(alphabet, size=length)
    tokens = token_ids.tolist()
    grams = {n: Counter(zip(*(tokens[i:] for i in range(n)), strict=False)) for n in range(1, order + 1)}
    listed = [[(token,) for token in range(alphabet)]]
    tables = cm.count_ngrams(token_ids, order, alphabet)
    assert len(tables) == order
    for n, table in enumerate(tables, start=1):
        if n > 1:
            listed.append(sorted(grams[n]))
        place = [{gram: i for i, gram in enumerate(level)} for level in listed]
        expected = listed[-1]
        assert len(table.keys) == len(expected)
        assert np.all(np.diff(table.keys) > 0)
        assert table.counts.tolist() == [grams[n][gram] for gram in expected]
        assert table.num_contexts == (len(listed[n - 2]) if n > 1 else 1)
        assert table.vocabulary_size == alphabet
        if n > 1:
            assert table.contexts.tolist() == [place[n - 2][gram[:-1]] for gram in expected]
            assert table.suffixes.tolist() == [place[n - 2][gram[1:]] for gram in expected]
            assert table.keys.tolist() == [place[n - 2][gram[:-1]] * alphabet + gram[-1] for gram in expected]
        if n < order:
            before = Counter(gram[1:] for gram in grams[n + 1])
            assert table.continuations.tolist() == [before[gram] for gram in expected]
        else:
            assert np.array_equal(table.continuations, table.counts)


@pytest.mark.parametrize(
    "keys",
    [
        [],
        [0],
        [7, 7, 7],
        [3, 1, 2, 1, 3, 3],
        [2**62, 5, 2**62, 2**40],  # too large to carry their places along
        [2**63 - 1, 0, 2**63 - 1],
        [2**60, 2**60 - 1] * 4,
    ],
)
def test_number_keys_equals_unique(keys):
    keys = np.array(keys, dtype=np.int64)
    before = keys.copy()
    distinct, numbers, counts = cm.number_keys(keys)
    expected = np.unique(keys, return_inverse=True, return_counts=True)
    for got, right in zip((distinct, numbers, counts), expected, strict=True):
        assert np.array_equal(got, right)
    assert np.array_equal(keys, before)


@pytest.mark.parametrize("largest", [1, 50, 2**20, 2**50, 2**62])
def test_number_keys_equals_unique_on_random_keys(largest):
    keys = np.random.default_rng(largest).integers(largest, size=3000)
    for got, right in zip(cm.number_keys(keys), np.unique(keys, return_inverse=True, return_counts=True), strict=True):
        assert np.array_equal(got, right)


def test_find_keys_finds_what_is_there():
    keys = np.array([1, 4, 9])
    assert cm.find_keys(keys, np.array([0, 1, 4, 5, 9, 10, -1])).tolist() == [-1, 0, 1, -1, 2, -1, -1]
    assert cm.find_keys(np.array([], dtype=np.int64), np.array([1, 2])).tolist() == [-1, -1]


@pytest.mark.parametrize("order", [0, -1])
def test_counting_refuses_an_order_below_one(order):
    with pytest.raises(ValueError, match=f"got order {order}; an n-gram needs at least n = 1"):
        cm.NGramModel.fit("text", order)


@pytest.mark.parametrize("tokenizer", [None, cm.WordTokenizer(["a"])])
def test_counting_refuses_an_empty_text(tokenizer):
    with pytest.raises(ValueError, match="the training text is empty; there is nothing to count"):
        cm.NGramModel.fit("", 3, tokenizer=tokenizer)


# Smoothing, against the formulas written out with dictionaries


class LetterTokenizer:
    """Characters from a fixed alphabet, for models small enough to check by hand."""

    def __init__(self, alphabet):
        self.alphabet = alphabet
        self.vocabulary_size = len(alphabet)

    def encode(self, text):
        return np.array([self.alphabet.index(character) for character in text], dtype=np.int64)

    def decode(self, token_ids):
        return "".join(self.alphabet[token] for token in token_ids)

    def names(self):
        return list(self.alphabet)


class Textbook:
    """An interpolated n-gram model as the papers write it: one probability at a time, from dictionaries of tuples."""

    def __init__(self, tokens, order, vocabulary_size, method, parameter=None):
        self.order, self.vocabulary_size, self.method, self.parameter = order, vocabulary_size, method, parameter
        seen = {n: Counter(zip(*(tokens[i:] for i in range(n)), strict=False)) for n in range(1, order + 1)}
        self.followers = {}
        for n in range(1, order + 1):
            counts = seen[n]
            if method == "kneser-ney" and n < order:
                counts = Counter(gram[1:] for gram in seen[n + 1])  # in how many ways each is continued to
            self.followers[n] = defaultdict(dict)
            for gram, count in counts.items():
                self.followers[n][gram[:-1]][gram[-1]] = count
        self.discounts = {n: self._discounts(n) for n in range(1, order + 1)}

    def _discounts(self, n):
        """D1, D2 and D3+ of Chen and Goodman (1999), equation 26; ½, 1, 1½ where the text is too small for them."""
        all_counts = [count for followers in self.followers[n].values() for count in followers.values()]
        n1, n2, n3, n4 = (all_counts.count(times) for times in (1, 2, 3, 4))
        if n1 and n2 and n3 and n4:
            y = n1 / (n1 + 2 * n2)
            discounts = (1 - 2 * y * n2 / n1, 2 - 3 * y * n3 / n2, 3 - 4 * y * n4 / n3)
            if min(discounts) > 0:
                return discounts
        return 0.5, 1.0, 1.5

    def probability(self, history, token):
        return self._interpolated(tuple(history)[max(0, len(history) - self.order + 1) :], token)

    def _interpolated(self, history, token):
        n = len(history) + 1
        lower = self._interpolated(history[1:], token) if history else 1 / self.vocabulary_size
        followers = self.followers[n].get(history, {})
        count, total = followers.get(token, 0), sum(followers.values())
        if self.method == "add-k":
            if n < self.order:
                return lower
            return (count + self.parameter * self.vocabulary_size * lower) / (
                total + self.parameter * self.vocabulary_size
            )
        if total == 0:
            return lower
        if self.method == "kneser-ney":
            d1, d2, d3 = self.discounts[n]
            discount = lambda c: 0 if c == 0 else d1 if c == 1 else d2 if c == 2 else d3  # noqa: E731
            ways = [sum(c == 1 for c in followers.values()), sum(c == 2 for c in followers.values())]
            handed = d1 * ways[0] + d2 * ways[1] + d3 * (len(followers) - sum(ways))
            return (count - discount(count)) / total + handed / total * lower
        if self.method == "witten-bell":
            return (count + len(followers) * lower) / (total + len(followers))
        if self.method == "absolute":
            return max(count - self.parameter, 0) / total + self.parameter * len(followers) / total * lower
        if self.method == "jelinek-mercer":
            return self.parameter * count / total + (1 - self.parameter) * lower
        raise AssertionError(self.method)


METHODS = [
    ("kneser-ney", None, cm.modified_kneser_ney),
    ("witten-bell", None, cm.witten_bell),
    ("absolute", 0.75, cm.absolute_discounting(0.75)),
    ("absolute", 0.3, cm.absolute_discounting(0.3)),
    ("jelinek-mercer", 0.7, cm.jelinek_mercer(0.7)),
    ("add-k", 0.01, cm.add_k(0.01)),
    ("add-k", 1.0, cm.add_k()),
]


def skewed_text(alphabet, length, seed):
    """Letters that hang together: some frequent, some rare, some runs repeated."""
    rng = np.random.default_rng(seed)
    shares = 1 / np.arange(1, len(alphabet) + 1)
    letters = rng.choice(list(alphabet), size=length, p=shares / shares.sum())
    return "".join(letters) + "".join(letters[: length // 3])


@pytest.mark.parametrize("order", [1, 2, 3, 5])
@pytest.mark.parametrize("method", METHODS, ids=lambda method: f"{method[0]} {method[1] or ''}".strip())
def test_smoothing_equals_the_textbook_for_every_probability(method, order):
    name, parameter, smoothing = method
    for alphabet, length in [("ab", 6), ("abcdz", 60), ("abcdefghijklmnopqrstuvwxyz", 300)]:
        text = skewed_text(alphabet[:-1], length, seed=length)  # the last letter never occurs
        tokenizer = LetterTokenizer(alphabet)
        model = cm.NGramModel.fit(text, order, smoothing, tokenizer)
        oracle = Textbook(tokenizer.encode(text).tolist(), order, len(alphabet), name, parameter)
        rng = np.random.default_rng(order)
        histories = ["", text[-order + 1 :], text[:3], alphabet[-1], text[5:9] + alphabet[-1] + text[0]]
        histories += ["".join(rng.choice(list(alphabet), size=5)) for _ in range(4)]
        histories += [text[place : place + 5] for place in rng.integers(length, size=4)]
        for history in histories:
            expected = [oracle.probability(tokenizer.encode(history), token) for token in range(len(alphabet))]
            np.testing.assert_allclose(np.exp(model.next_token_log_probs(history)), expected, rtol=1e-10)
        unseen = "".join(rng.choice(list(alphabet), size=40))
        token_ids = tokenizer.encode(unseen).tolist()
        expected = [oracle.probability(token_ids[:place], token) for place, token in enumerate(token_ids)]
        np.testing.assert_allclose(np.exp(model.token_log_probs(unseen)), expected, rtol=1e-10)


def test_estimated_discounts_are_used_where_the_text_is_large_enough():
    text = corpus.text("validation")[:30_000]
    tokenizer = cm.ByteTokenizer()
    oracle = Textbook(tokenizer.encode(text).tolist(), 4, 256, "kneser-ney")
    for n, table in enumerate(cm.count_ngrams(tokenizer.encode(text), 4, 256), start=1):
        counts = table.counts if n == 4 else table.continuations
        np.testing.assert_allclose(cm._chen_goodman_discounts(counts)[1:], oracle.discounts[n], rtol=1e-12)
    assert oracle.discounts[4] != (0.5, 1.0, 1.5)


def test_discounts_are_all_above_zero_and_below_their_count():
    rng = np.random.default_rng(0)
    for _ in range(3000):
        once_to_four_times = rng.integers(0, 9, 4)
        counts = np.repeat(np.arange(1, 5), once_to_four_times)
        discounts = cm._chen_goodman_discounts(counts)
        assert discounts[0] == 0
        assert np.all(discounts[1:] > 0), once_to_four_times
        assert np.all(discounts[1:] <= [1, 2, 3]), once_to_four_times


def test_kneser_ney_finds_a_word_of_one_history_improbable_after_others():
    """Francisco occurs most often of all words, but only ever after San."""
    text = "san francisco " * 50 + "the glasses of a man and glasses for glasses in glasses "
    model = cm.NGramModel.fit(text, order=2, tokenizer=cm.WordTokenizer.train(text))
    frequent, varied = (int(model.tokenizer.encode(word)[0]) for word in (" francisco", " glasses"))
    log_probs = model.next_token_log_probs(" unheard")
    assert log_probs[varied] > log_probs[frequent]


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: cm.add_k(0.0), "got k = 0.0; it must be above 0"),
        (lambda: cm.add_k(-1.0), "got k = -1.0"),
        (lambda: cm.add_k(math.nan), "got k = nan"),
        (lambda: cm.jelinek_mercer(1.5), "got weight 1.5; it is a share, from 0 to 1"),
        (lambda: cm.jelinek_mercer(-0.1), "got weight -0.1"),
        (lambda: cm.absolute_discounting(0.0), "got discount 0.0; it must be above 0 and at most 1"),
        (lambda: cm.absolute_discounting(1.5), "got discount 1.5"),
    ],
)
def test_smoothing_refuses_what_gives_no_distribution(make, says):
    with pytest.raises(ValueError, match=re.escape(says)):
        make()


def test_order_and_parameters_are_counted():
    model = cm.NGramModel.fit("abab", order=2)
    assert model.order == 2
    assert model.num_parameters == 256 + 2 + 256


def test_a_text_shorter_than_the_order_makes_a_model():
    for text in ("a", "ab", "abc"):
        for order in (2, 4, 6):
            model = cm.NGramModel.fit(text, order)
            assert math.isfinite(ruler.bits_per_byte(model, "abcabc xyz"))
            assert isinstance(model.generate(5, "ab"), str)


# Writing


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
def test_samples_come_as_often_as_their_probability_says(temperature):
    probabilities = np.array([0.5, 0.0, 0.3, 0.15, 0.05])
    with np.errstate(divide="ignore"):
        log_probs = np.log(probabilities)
    sharpened = probabilities ** (1 / temperature)
    rng = np.random.default_rng(0)
    drawn = Counter(cm.sample_with_temperature(log_probs, temperature, rng) for _ in range(20_000))
    shares = np.array([drawn[token] / 20_000 for token in range(5)])
    np.testing.assert_allclose(shares, sharpened / sharpened.sum(), atol=0.015)
    assert drawn[1] == 0


def test_sampling_does_not_overflow():
    rng = np.random.default_rng(0)
    assert cm.sample_with_temperature(np.array([-5000.0, -4000.0]), 1.0, rng) == 1
    assert cm.sample_with_temperature(np.array([-2.0, -1.0]), 1e-300, rng) == 1
    assert cm.sample_with_temperature(np.array([-2.0, -1.0, -1.0]), 0, rng) == 1


def test_sampling_never_draws_what_has_no_probability():
    class Lowest:
        """A generator at the edge of its range."""

        def random(self):
            return 0.0

    assert cm.sample_with_temperature(np.array([-np.inf, -1.0, -2.0]), 1.0, Lowest()) == 1


@pytest.mark.parametrize("temperature", [-1, -1e-9, math.nan])
def test_sampling_refuses_a_negative_temperature(temperature):
    with pytest.raises(
        ValueError, match=r"got temperature .*; it must be 0 \(always the most probable token\) or more"
    ):
        cm.sample_with_temperature(np.log([0.5, 0.5]), temperature, np.random.default_rng(0))
    with pytest.raises(ValueError, match="got temperature"):
        cm.NGramModel.fit("abc", 2).generate(1, temperature=temperature)


def test_suggestions_are_the_most_probable_words_that_fit():
    text = "the union of the people. the union of the states. the union is strong. the people of the union. " * 2
    model = cm.NGramModel.fit(text, order=3, tokenizer=cm.WordTokenizer.train(text))
    log_probs = model.next_token_log_probs("the people of the")
    ranked = [model.tokenizer.decode([token]) for token in np.argsort(-log_probs)]
    expected = [word.strip() for word in ranked if word.startswith(" ") and word.strip().isalpha()]
    assert cm.suggest(model, "the people of the") == expected[:3]
    assert cm.suggest(model, "the people of the", k=1) == ["union"]
    assert cm.suggest(model, "the people of the", "s") == [word for word in expected if word.startswith("s")][:3]
    assert cm.suggest(model, "", "un", k=5) == ["union"]
    assert cm.suggest(model, "the", "zz") == []
    numbers = "in 1862 in 1862 in 1862 - in 1862 of peace in peace "
    model = cm.NGramModel.fit(numbers, order=2, tokenizer=cm.WordTokenizer.train(numbers, min_count=1))
    assert cm.suggest(model, "peace in", k=5)[0] == "peace"
    assert all(word.isalpha() for word in cm.suggest(model, "in", k=5))
    assert cm.suggest(model, "the", k=0) == []


# ARPA files

ODD_WORDS = (
    "a▁b ▁ a_b < <unk> <s> </s>\ttab\ttab  two  two   three\n\nnew\n\nnew\r\n\r\n \xa0 \xa0 \u3000\u3000 \u2028 "
    "\\ \\n 'q' <' '> \x00 \x00 \x7f \x85 \x85 é e\u0301 🕊️ 🕊️ 東京 東京 unknownword "
)


def arpa_models():
    text = corpus.text("validation")[:20_000]
    odd = ODD_WORDS * 3 + text[:2000]
    return {
        "bytes": cm.NGramModel.fit(odd, 4),
        "words": cm.NGramModel.fit(text, 3, tokenizer=cm.WordTokenizer.train(text)),
        "odd words": cm.NGramModel.fit(odd, 3, tokenizer=cm.WordTokenizer.train(odd)),
        "adversarial words": cm.NGramModel.fit(odd, 2, cm.witten_bell, cm.WordTokenizer(ADVERSARIAL)),
    }


@pytest.fixture(scope="module", params=["bytes", "words", "odd words", "adversarial words"])
def arpa(request, tmp_path_factory):
    """A model and the ARPA file written of it."""
    model = arpa_models()[request.param]
    path = tmp_path_factory.mktemp("arpa") / "model.arpa"
    cm.write_arpa(model, str(path))
    return model, path


UNSEEN = ODD_WORDS + corpus.text("test")[:4000] + "zymurgy 東 \n\n\n\t end"


def test_kenlm_reads_what_is_written_and_agrees_on_every_token(arpa):
    model, path = arpa
    names = model.tokenizer.names()
    token_ids = model.tokenizer.encode(UNSEEN)
    theirs = list(
        kenlm.Model(str(path)).full_scores(" ".join(names[token] for token in token_ids), bos=False, eos=False)
    )
    assert len(theirs) == len(token_ids)
    assert not any(unknown for _, _, unknown in theirs)
    np.testing.assert_allclose(model.token_log_probs(UNSEEN) / np.log(10), [s for s, _, _ in theirs], atol=1e-4)


def test_reading_gives_back_the_model_that_was_written(arpa):
    model, path = arpa
    back = cm.read_arpa(str(path), model.tokenizer)
    assert back.order == model.order
    for ours, theirs in zip(model.keys, back.keys, strict=True):
        assert np.array_equal(ours, theirs)
    for ours, theirs in zip(model.probabilities + model.backoffs, back.probabilities + back.backoffs, strict=True):
        np.testing.assert_allclose(theirs, ours, rtol=1e-6)
    np.testing.assert_allclose(back.token_log_probs(UNSEEN), model.token_log_probs(UNSEEN), atol=1e-4)


def test_interrupted_writing_leaves_no_half_file(tmp_path, monkeypatch):
    model = cm.NGramModel.fit("the states of the union", 3)
    path = tmp_path / "model.arpa"
    cm.write_arpa(model, str(path))
    whole = path.read_bytes()
    monkeypatch.setattr(cm.np, "log10", lambda values: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        cm.write_arpa(model, str(path))
    with pytest.raises(KeyboardInterrupt):
        cm.write_arpa(model, str(tmp_path / "other.arpa"))
    assert [found.name for found in tmp_path.iterdir()] == ["model.arpa"]
    assert path.read_bytes() == whole


FOREIGN = """\
\\data\\
ngram 1=6
ngram 2=8
ngram 3=7
ngram 4=1

\\1-grams:
-1.5\t<unk>
-99\t<s>\t-0.3
-1.2\t</s>
-0.7\tpeace\t-0.4
-0.8\tand\t-0.2
-0.9\twar\t-0.1

\\2-grams:
-0.5\t<s> peace\t-0.25
-0.3\tpeace and\t-0.15
-0.4\tand war\t-0.1
-0.6\twar </s>
-0.7\twar war\t-0.3
-0.8\twar and\t-0.2
-0.9\twar peace\t-0.1
-1.0\tand and\t-0.1

\\3-grams:
-0.2\t<s> peace and\t-0.05
-0.1\tpeace and peace\t-0.02
-0.2\tpeace and war\t-0.1
-0.3\twar war war\t-0.2
-0.4\twar war and\t-0.3
-0.5\twar and war\t-0.4
-0.6\tand war war

\\4-grams:
-0.05\tpeace and peace war

\\end\\
"""


def test_file_of_another_toolkit_is_read_as_kenlm_reads_it(tmp_path):
    """Its trigram "peace and peace" has no bigram "and peace" below it: pruned files are like that."""
    path = tmp_path / "foreign.arpa"
    path.write_text(FOREIGN)
    model, theirs = cm.read_arpa(str(path)), kenlm.Model(str(path))
    assert model.order == 4
    vocabulary = ["peace", "and", "war", "</s>", "truce"]
    rng = np.random.default_rng(0)
    sentences = ["peace and peace war", "peace and war </s>", "war war and", "truce and peace and peace and"]
    sentences += [" ".join(rng.choice(vocabulary, size=8)) for _ in range(30)]
    for sentence in sentences:
        expected = [score for score, _, _ in theirs.full_scores(sentence, bos=False, eos=False)]
        np.testing.assert_allclose(model.token_log_probs(sentence) / np.log(10), expected, atol=1e-5)
        begun = [score for score, _, _ in theirs.full_scores(sentence, bos=True, eos=False)]
        np.testing.assert_allclose(model.token_log_probs(sentence, "<s>") / np.log(10), begun, atol=1e-5)
        words = sentence.split()
        for place, word in enumerate(words):
            next_one = model.next_token_log_probs(" ".join(words[:place]))[model.tokenizer.encode(word)[0]]
            assert next_one / np.log(10) == pytest.approx(expected[place], abs=1e-5), (words[:place], word)


def test_preamble_blanks_and_line_ends_of_other_systems_make_no_difference(tmp_path):
    path, other = tmp_path / "foreign.arpa", tmp_path / "other.arpa"
    path.write_text(FOREIGN)
    changed = "Written by another toolkit.\tIt has notes.\n\n" + FOREIGN.replace("\t", "  ")
    other.write_bytes(changed.replace("\n", " \r\n").encode())
    model, same = cm.read_arpa(str(path)), cm.read_arpa(str(other))
    for ours, theirs in zip(model.probabilities + model.backoffs, same.probabilities + same.backoffs, strict=True):
        assert np.array_equal(ours, theirs)


def test_file_of_another_toolkit_survives_being_written_again(tmp_path):
    path, again = tmp_path / "foreign.arpa", tmp_path / "again.arpa"
    path.write_text(FOREIGN)
    model = cm.read_arpa(str(path))
    cm.write_arpa(model, str(again))
    for text in ("peace and peace war", "<s> peace and war </s> truce"):
        np.testing.assert_allclose(
            cm.read_arpa(str(again)).token_log_probs(text), model.token_log_probs(text), atol=1e-5
        )


BROKEN = [
    ("-0.7\tpeace\t-0.4", "nought\tpeace\t-0.4", r"line 11: expected a number, got 'nought"),
    ("-0.7\tpeace\t-0.4", "-0.7\tpeace\tx", r"line 11: expected a number"),
    ("-0.3\tpeace and\t-0.15", "-0.3\tpeace", r"line 17: expected a number and 2 words"),
    ("-0.3\tpeace and\t-0.15", "-0.3\tpeace and war too -0.1", r"line 17: expected a number and 2 words"),
    ("\\2-grams:", "\\3-grams:", r"line 15: expected \\2-grams:, got"),
    ("\\end\\\n", "", r"line \d+: the file stops before \\end\\"),
    (FOREIGN, "", r"is not an ARPA file: it has no line such as \\1-grams:"),
    (FOREIGN, "Dear Sir,\nyour file is attached.\n", r"is not an ARPA file"),
    ("-0.3\tpeace and\t-0.15\n", "", r"a 3-gram is listed, but not its first 2 words"),
    ("-0.4\tand war\t-0.1", "-0.4\tand truce\t-0.1", r"the tokenizer has no token 'truce'"),
    ("-1.5\t<unk>\n", "", r"the vocabulary lacks <unk>"),
]


@pytest.mark.parametrize(("old", "new", "says"), BROKEN, ids=range(len(BROKEN)))
def test_broken_file_is_refused_with_its_line(tmp_path, old, new, says):
    path = tmp_path / "broken.arpa"
    assert old in FOREIGN
    path.write_text(FOREIGN.replace(old, new, 1))
    with pytest.raises(ValueError, match=says):
        cm.read_arpa(str(path))


def test_file_of_another_tokenizer_is_refused(tmp_path):
    path = tmp_path / "bytes.arpa"
    cm.write_arpa(cm.NGramModel.fit("abc", 2), str(path))
    with pytest.raises(ValueError, match="the tokenizer has no token '<0x00>'; pass the one the file was written with"):
        cm.read_arpa(str(path), cm.WhitespaceTokenizer(["<unk>", "a"]))


def test_missing_file_is_named():
    with pytest.raises(FileNotFoundError, match=r"nowhere\.arpa"):
        cm.read_arpa("nowhere.arpa")


def test_whitespace_tokenizer_maps_unknown_words_to_unk():
    tokenizer = cm.WhitespaceTokenizer(["<unk>", "peace"])
    assert tokenizer.encode(" peace \n truce").tolist() == [1, 0]
    assert tokenizer.decode([1, 0]) == "peace <unk>"
    assert tokenizer.encode("").dtype == np.int64


# The numbers of the chapter


@pytest.fixture(scope="module")
def byte_tables():
    return cm.count_ngrams(cm.ByteTokenizer().encode(corpus.text("train")), 8, 256)


@pytest.mark.parametrize(
    ("order", "smoothing", "at_most"),
    [
        (5, cm.modified_kneser_ney, 1.680),
        (6, cm.modified_kneser_ney, 1.531),
        (7, cm.modified_kneser_ney, 1.463),
        (8, cm.modified_kneser_ney, 1.425),
        (7, cm.witten_bell, 1.525),
    ],
    ids=["Kneser-Ney 5", "Kneser-Ney 6", "Kneser-Ney 7", "Kneser-Ney 8", "Witten-Bell 7"],
)
def test_bits_per_byte_over_bytes(byte_tables, order, smoothing, at_most):
    model = cm.NGramModel.from_tables(byte_tables[:order], smoothing, cm.ByteTokenizer())
    assert ruler.bits_per_byte(model, corpus.text("test")) <= at_most + 0.0005


@pytest.fixture(scope="module")
def word_counts():
    train = corpus.text("train")
    tokenizer = cm.WordTokenizer.train(train)
    return tokenizer, cm.count_ngrams(tokenizer.encode(train), 5, tokenizer.vocabulary_size)


@pytest.mark.parametrize(("order", "at_most"), [(3, 1.345), (5, 1.3135)])
def test_bits_per_byte_over_words(word_counts, order, at_most):
    tokenizer, tables = word_counts
    model = cm.NGramModel.from_tables(tables[:order], cm.modified_kneser_ney, tokenizer)
    assert ruler.bits_per_byte(model, corpus.text("test")) <= at_most + 0.0005


MEMORY = """
import resource, sys
from pathlib import Path

from bow2gpt import corpus
from bow2gpt.chapters.counting_models import NGramModel, WordTokenizer

text = corpus.text("train")
NGramModel.fit(text, 8)
NGramModel.fit(text, 5, tokenizer=WordTokenizer.train(text))
status = Path("/proc/self/status")
if status.exists():  # getrusage would count what the process of the tests held when it started this one
    print(int(status.read_text().split("VmHWM:")[1].split()[0]) * 1024)
else:
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024))
"""


@pytest.mark.skipif(sys.platform == "win32", reason="the module resource is missing there")
def test_fitting_the_largest_models_stays_within_binders_memory():
    done = subprocess.run([sys.executable, "-c", MEMORY], capture_output=True, text=True, timeout=300, env=os.environ)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) < 1.5e9
