# %% [markdown]
# # Exercise 02: Counting models
#
# <!-- launch: made by `bow2gpt build` -->
# [Open in Colab](https://colab.research.google.com/github/bow2gpt/bow2gpt/blob/main/exercises/02_counting_models/counting_models.ipynb) | [Open in Binder](https://mybinder.org/v2/gh/bow2gpt/bow2gpt/main?urlpath=lab/tree/exercises/02_counting_models/counting_models.ipynb)
# <!-- /launch -->
#
# Nine small functions, and each is a tool that people still use. You write them from scratch; together they are the chapter.
#
# Write your answer in the cell that says so, in place of the `raise` line, and run it. The cell below it is the check: it answers at once, and says
# what is wrong in the words of the subject. Run it as often as you like. In a terminal, `bow2gpt check 02` grades everything, with further checks
# on inputs that you have not seen. The tasks do not depend on one another: start where you like, leave what you like.
#
# | task | difficulty | minutes | points |
# |---|---|---|---|
# | `bag_of_words` | 1 | 5 | 2 |
# | `tf_idf` | 2 | 10 | 3 |
# | `NaiveBayes` | 3 | 20 | 4 |
# | `transition_matrix` | 2 | 10 | 2 |
# | `stationary_distribution` | 3 | 15 | 3 |
# | `count_ngrams` | 1 | 5 | 2 |
# | `kneser_ney` | 5 | 30 | 5 |
# | `perplexity` | 2 | 5 | 2 |
# | `sample_with_temperature` | 3 | 15 | 3 |
# | all | | 115 | 26 |
#
# Three habits save time in all nine. Do a tiny case with a pencil first. Ask what happens when something is empty, or was never seen. And leave the
# arguments as they came: the caller still needs them.

# %% locked="setup"
# In Colab this cell installs the book, without touching torch or numpy. Anywhere else it does nothing.
import sys

if "google.colab" in sys.modules:
    import subprocess
    from importlib import metadata, util

    home = "https://github.com/bow2gpt/bow2gpt"
    if not any(metadata.distributions(name="bow2gpt")):
        wanted = f"bow2gpt[shakespeare,vectors] @ {home}/archive/refs/heads/main.zip"
        pins = [f"{name}=={metadata.version(name)}" for name in ("torch", "numpy")]
        subprocess.run([sys.executable, "-m", "pip", "install", "--quiet", wanted, *pins], check=True)
    found, book = util.find_spec("bow2gpt").origin, metadata.distribution("bow2gpt")
    is_ours = f"Repository, {home}" in book.metadata.get_all("Project-URL", [])
    if not is_ours or found != str(book.locate_file("bow2gpt/__init__.py")):
        raise ImportError(f"{found} is not this book's: rename or uninstall it, restart the session, run this again")

# %% locked="imports"
from collections import Counter

import numpy as np

from bow2gpt import checks

# %% [markdown]
# ## 1. `bag_of_words`
#
# *Difficulty 1 of 5, about 5 minutes, 2 points.*
#
# Count the words of one document against a fixed *vocabulary*, as a vector with one place for each vocabulary word, in the vocabulary's order. This is
# one row of the document-term matrix, and the first thing that a search engine keeps of a page.
#
# With $V$ words $w_1, \dots, w_V$ in the vocabulary, place $i$ of the result holds $c(w_i)$, how often $w_i$ occurs among the tokens. The shape is $(V,)$. A
# token that is not in the vocabulary is ignored. Tokens are compared as they are: *War* is not *war*, and *star* does not occur in *stars*.
#
# By hand: the tokens *war, and, war* against the vocabulary *peace, war* give $(0, 2)$.
#
# <details><summary>A nudge</summary>How long is the answer when the document is empty?</details>
# <details><summary>A push</summary>A dictionary from word to place finds the place in one step, however long the vocabulary; <code>list.index</code> has to search.</details>
# <details><summary>Almost there</summary>Start from <code>np.zeros(len(vocabulary), dtype=np.int64)</code>, and for each token that the dictionary knows add 1 at its place.</details>


# %% task="bag_of_words"
def bag_of_words(tokens: list[str], vocabulary: list[str]) -> np.ndarray:
    """Count each vocabulary word among the tokens (about 5 lines).

    Args:
        tokens: the words of one document, in order.
        vocabulary: V distinct words.

    Returns:
        Integer counts of shape (V,), in the vocabulary's order.

    >>> bag_of_words(["a", "b", "a", "z"], ["a", "b", "c"])
    array([2, 1, 0])
    """
    ### BEGIN SOLUTION
    column = {word: index for index, word in enumerate(vocabulary)}
    counts = np.zeros(len(vocabulary), dtype=np.int64)
    for token in tokens:
        if token in column:
            counts[column[token]] += 1
    return counts
    ### END SOLUTION


# %% check="bag_of_words" points=2
tokens, vocabulary = ["you", "like", "war", "you", "like", "you"], ["you", "peace", "like", "war"]
counts = checks.run(
    lambda: bag_of_words(tokens, vocabulary),
    hint="all these tokens are in the vocabulary; try this call in a cell",
)
counts = checks.array(
    counts, (4,), "one place for each vocabulary word, even for a word that does not occur"
)
checks.true(np.max(counts) > 1, "each occurrence counts, not only the first: *you* occurs 3 times")
checks.equal(counts, [3, 0, 2, 1], hint="the places follow the vocabulary's own order, as given")
checks.unchanged(["you", "like", "war", "you", "like", "you"], tokens, "the list of tokens")
checks.equal(
    bag_of_words(["war"], vocabulary),
    [0, 0, 0, 1],
    hint="each call counts its own tokens: keep nothing from the call before",
)
checks.equal(
    checks.run(
        lambda: bag_of_words(["z", "a", "z"], ["a", "b"]),
        hint="ignore a word that is not in the vocabulary",
    ),
    [1, 0],
    hint=(
        "unknown words are ignored, not counted in some other word's place; keep no vocabulary from the"
        " call before"
    ),
)
checks.equal(
    bag_of_words(["stars", "war"], ["star", "war"]),
    [0, 1],
    hint="whole tokens are compared: *star* is not a word of *stars*",
)
checks.equal(
    bag_of_words(["War"], ["war", "War"]),
    [0, 1],
    hint="tokens are compared as they are: do not change capitals",
)
checks.equal(
    bag_of_words(["", "the", "é"], ["é", "the", ""]),
    [1, 1, 1],
    hint="every word of the vocabulary counts, whatever it is: leave none out",
)
checks.equal(
    bag_of_words([], ["a", "b"]),
    [0, 0],
    hint="an empty document has a bag of zeros, of the vocabulary's length",
)
many = bag_of_words(["war"] * 70_000, ["war"])
checks.equal(
    many, [70_000], hint="a word may occur many times, beyond the 255 or 65,535 of a small integer type"
)

### BEGIN HIDDEN TESTS


def bag_inputs(rng):
    words = ["war", "War", "wars", "ward", "a", "an", "and", "new york", "york", "", "peace", "é"]
    vocabulary = [str(word) for word in rng.permutation(words)[: rng.integers(4, len(words) - 1)]]
    length = int(rng.choice([0, 40, 400, 2000]))
    return [words[index] for index in rng.integers(0, len(words), length)], vocabulary


def bag_reference(tokens, vocabulary):
    return [sum(token == word for token in tokens) for word in vocabulary]


checks.hidden(
    title="random documents and vocabularies",
    call="bag_of_words",
    inputs=bag_inputs,
    reference=bag_reference,
    compare=checks.equal,
    hint="count whole tokens as they are, each occurrence, in the vocabulary's order",
    cases=16,
)
### END HIDDEN TESTS

# %%
sentences = ["you just count words", "i like star wars", "do you like star wars"]
words = sorted(set(" ".join(sentences).split()))
for word in words:
    print(
        f"{word:>6}",
        *(bag_of_words(sentence.split(), words)[words.index(word)] for sentence in sentences),
    )

# %% mistake="bag_of_words" name="presence" says="each occurrence counts"
def bag_of_words(tokens, vocabulary):
    return np.array([int(word in tokens) for word in vocabulary])


# %% mistake="bag_of_words" name="unknown_last" says="unknown words"
def bag_of_words(tokens, vocabulary):
    column = {word: index for index, word in enumerate(vocabulary)}
    counts = np.zeros(len(vocabulary), dtype=np.int64)
    for token in tokens:
        counts[column.get(token, -1)] += 1
    return counts


# %% mistake="bag_of_words" name="only_seen_words" says="one place for each vocabulary word"
def bag_of_words(tokens, vocabulary):
    found = Counter(token for token in tokens if token in vocabulary)
    return np.array([found[word] for word in vocabulary if word in found])


# %% mistake="bag_of_words" name="alphabetical" says="vocabulary's own order"
def bag_of_words(tokens, vocabulary):
    return np.array([tokens.count(word) for word in sorted(vocabulary)])


# %% mistake="bag_of_words" name="substrings" says="whole tokens"
def bag_of_words(tokens, vocabulary):
    text = " ".join(tokens)
    return np.array([text.count(word) for word in vocabulary])


# %% mistake="bag_of_words" name="lower_case" says="do not change capitals"
def bag_of_words(tokens, vocabulary):
    lowered = [token.lower() for token in tokens]
    return np.array([lowered.count(word.lower()) for word in vocabulary])


# %% mistake="bag_of_words" name="eats_the_tokens" says="changed the list of tokens"
def bag_of_words(tokens, vocabulary):
    counts = np.zeros(len(vocabulary), dtype=np.int64)
    while tokens:
        token = tokens.pop()
        if token in vocabulary:
            counts[vocabulary.index(token)] += 1
    return counts


# %% mistake="bag_of_words" name="overflow" says="may occur many times"
def bag_of_words(tokens, vocabulary):
    return np.array([tokens.count(word) % 256 for word in vocabulary], dtype=np.uint8)


# %% mistake="bag_of_words" name="small_integers" says="65,535"
def bag_of_words(tokens, vocabulary):
    return np.array([tokens.count(word) for word in vocabulary]).astype(np.int16)


# %% mistake="bag_of_words" name="unknown_is_an_error" says="ignore a word that is not in the vocabulary"
def bag_of_words(tokens, vocabulary):
    column = {word: index for index, word in enumerate(vocabulary)}
    counts = np.zeros(len(vocabulary), dtype=np.int64)
    for token in tokens:
        counts[column[token]] += 1
    return counts


# %% mistake="bag_of_words" name="remembers" says="keep nothing from the call before"
found = Counter()


def bag_of_words(tokens, vocabulary):
    found.update(tokens)
    return np.array([found[word] for word in vocabulary])


# %% alternative="bag_of_words" name="one_line"
def bag_of_words(tokens, vocabulary):
    return np.array([tokens.count(word) for word in vocabulary])


# %% alternative="bag_of_words" name="list_from_counter"
def bag_of_words(tokens, vocabulary):
    found = Counter(tokens)
    return [found[word] for word in vocabulary]


# %% [markdown]
# ## 2. `tf_idf`
#
# *Difficulty 2 of 5, about 10 minutes, 3 points.*
#
# The most frequent word of every address is *the*, and it says nothing. Weigh each count by how *specific* its word is: a word that few documents use
# tells more about the ones that do (Spärck Jones, 1972; Salton and Buckley, 1988). Then scale each document to length 1, so that long and short ones compare.
#
# $$x_{d,w} = c(d, w) \left( \ln\frac{1 + D}{1 + \mathrm{df}(w)} + 1 \right), \qquad y_d = \frac{x_d}{\sqrt{\sum_w x_{d,w}^2}}$$
#
# * $c(d, w)$: the count of word $w$ in document $d$: `counts`, of shape $(D, V)$;
# * $D$: the number of documents, $V$: the number of words;
# * $\mathrm{df}(w)$: the *document frequency*, the number of documents in which $w$ occurs at least once;
# * $y$: the result, of shape $(D, V)$; a document without words stays a row of zeros.
#
# By hand: two documents, counts $(3, 0)$ and $(1, 1)$. The first word is in both, its weight $\ln\frac{3}{3} + 1 = 1$; the second is in one: $\ln\frac{3}{2} + 1 = 1.405$.
# The second document becomes $(1, 1.405)$, and at length 1, $(0.580, 0.815)$: its rarer word now leads.
#
# <details><summary>A nudge</summary>Which axis of <code>counts</code> are the documents, and along which do you sum to get df? Counts above 1 must not count more than once there.</details>
# <details><summary>A push</summary><code>(counts > 0).sum(axis=0)</code> is df. The weights have shape (V,), so a plain product with <code>counts</code> weighs each column.</details>
# <details><summary>Almost there</summary><code>lengths = np.linalg.norm(weighted, axis=1, keepdims=True)</code>; set a length of 0 to 1 before you divide, for 0/1 is the 0 you want.</details>


# %% task="tf_idf"
def tf_idf(counts: np.ndarray) -> np.ndarray:
    """Weigh counts by inverse document frequency, and scale each document to length 1 (about 6 lines).

    Args:
        counts: word counts of shape (D, V).

    Returns:
        Weights of shape (D, V); each row has Euclidean length 1, or is all zeros for an empty document.

    >>> tf_idf(np.array([[3, 0], [1, 1]])).round(3)
    array([[1.   , 0.   ],
           [0.58 , 0.815]])
    """
    ### BEGIN SOLUTION
    num_documents = counts.shape[0]
    document_frequency = (counts > 0).sum(axis=0)
    weighted = counts * (np.log((1 + num_documents) / (1 + document_frequency)) + 1)
    lengths = np.linalg.norm(weighted, axis=1, keepdims=True)
    return weighted / np.where(lengths == 0, 1, lengths)
    ### END SOLUTION


# %% check="tf_idf" points=3
pair = tf_idf(np.array([[3, 4], [6, 8]]))  # both words are in both documents, so both weights are 1
pair = checks.array(pair, (2, 2), "one row for each document, one column for each word")
checks.true(np.any(pair), "a word of every document still counts: its weight is ln(1) + 1 = 1, not 0")
checks.close(
    np.linalg.norm(pair, axis=1),
    [1, 1],
    hint="divide each row by its own Euclidean length, the root of its sum of squares",
)
ratio = pair[0, 1] / pair[0, 0]
for other in (1, 16 / 9, np.log(5) / np.log(4), (1 + np.log(4)) / (1 + np.log(3))):
    checks.true(
        not np.isclose(ratio, other),
        "c(d, w) is the plain count: not 0 or 1, not its square or its logarithm",
    )
checks.close(
    pair,
    [[0.6, 0.8], [0.6, 0.8]],
    hint="df counts documents, not occurrences: a word that occurs 10 times in 2 documents has df 2",
)

counts = np.array([[1, 1, 0, 0], [1, 0, 0, 5], [1, 1, 0, 0]], dtype=float)
given = counts.copy()
weights = checks.run(
    lambda: tf_idf(given),
    hint=(
        "here are 3 documents and 4 words: df has one number for each word, a length is one for each"
        " document"
    ),
)
weights = checks.array(weights, (3, 4), "one row for each document, one column for each word")
checks.unchanged(counts, given, "the matrix of counts")
# The weight of word 1, in 2 of the 3 documents, over that of word 0, in all 3:
ratio = weights[0, 1] / weights[0, 0]
checks.true(
    not np.isclose(ratio, np.log2(4 / 3) + 1),
    "the logarithm is the natural one, np.log, not the one of base 2",
)
checks.true(
    not np.isclose(ratio, np.log10(4 / 3) + 1),
    "the logarithm is the natural one, np.log, not the one of base 10",
)
checks.true(
    not np.isclose(ratio, np.log(3 / 2) + 1),
    "the 1 + in ln((1 + D) / (1 + df)) is missing: a word of no document would divide by zero",
)
checks.true(
    not np.isclose(ratio, (np.log(5 / 3) + 1) / (np.log(5 / 4) + 1)),
    "D is the number of documents (rows), not of words (columns)",
)
checks.true(
    not np.isclose(ratio, np.log(4 / 3 + 1) / np.log(2)),
    "the last + 1 stands outside the logarithm, not inside",
)
checks.close(ratio, np.log(4 / 3) + 1, hint="the weight of a word in 2 of 3 documents is ln(4 / 3) + 1")
checks.close(
    weights[1, 3] / weights[1, 0],
    5 * (np.log(4 / 2) + 1),
    hint="a word that occurs 5 times in one document has df 1, and c(d, w) = 5 there",
)
checks.close(
    tf_idf(np.array([[0, 0], [2, 0]])),
    [[0, 0], [1, 0]],
    hint="an empty document stays a row of zeros, and a word of no document a column of zeros",
)
with_empty = checks.array(
    tf_idf(np.array([[0, 0], [1, 1], [1, 0]])), (3, 2), "an empty document keeps its row"
)
ratio = with_empty[1, 1] / with_empty[1, 0]
checks.close(
    ratio, (np.log(4 / 2) + 1) / (np.log(4 / 3) + 1), hint="D counts every document, an empty one too"
)
other = checks.array(tf_idf(np.array([[1, 1], [0, 1], [0, 1]])), (3, 2))
ratio = other[0, 0] / other[0, 1]
checks.close(
    ratio,
    np.log(4 / 2) + 1,
    hint="each call weighs by its own documents: keep nothing from the call before",
)
small = checks.array(
    tf_idf(np.array([[120, 50]], dtype=np.uint8)), (1, 2), "one document still gives one row"
)
checks.close(
    small,
    [[12 / 13, 5 / 13]],
    hint="squares go beyond 255: do not square in the small integer type of the counts",
    rtol=1e-5,
)

### BEGIN HIDDEN TESTS


def tf_idf_inputs(rng):
    counts = rng.poisson(rng.choice([0.3, 1.0, 4.0]), size=(rng.integers(1, 9), rng.integers(1, 12)))
    counts[rng.integers(len(counts))] *= rng.integers(0, 2)
    counts[0, 0] += 40 * rng.integers(0, 2)
    return (counts.astype([np.int64, np.float64, np.uint8, np.float32][rng.integers(4)]),)


def tf_idf_reference(counts):
    rows = counts.tolist()
    result = []
    for row in rows:
        weighted = [
            count * (np.log((1 + len(rows)) / (1 + sum(other[word] > 0 for other in rows))) + 1)
            for word, count in enumerate(row)
        ]
        length = sum(value**2 for value in weighted) ** 0.5
        result.append([value / length if length else 0.0 for value in weighted])
    return result


def close_enough(got, expected, hint):
    checks.close(got, expected, hint, rtol=1e-5, atol=1e-6)


checks.hidden(
    title="random counts of several types, some documents empty",
    call="tf_idf",
    inputs=tf_idf_inputs,
    reference=tf_idf_reference,
    compare=close_enough,
    hint="count times (ln((1 + D) / (1 + df)) + 1), then each row to length 1",
    cases=12,
)
### END HIDDEN TESTS

# %%
from bow2gpt import corpus

chosen = corpus.addresses("train")[::5]
bags = [
    Counter(word for word in address.text.split() if word.isalpha() and word.islower())
    for address in chosen
]
words = sorted(set().union(*bags))
weights = tf_idf(np.array([[bag[word] for word in words] for bag in bags]))
special = [
    index for index, word in enumerate(words) if sum(word in bag for bag in bags) < len(bags) / 3
]
for address, row in zip(chosen[::4], weights[::4], strict=True):
    print(
        address.year,
        f"{address.president:<22}",
        *(words[index] for index in sorted(special, key=lambda index: -row[index])[:6]),
    )

# %% mistake="tf_idf" name="no_scaling" says="own Euclidean length"
def tf_idf(counts):
    df = (counts > 0).sum(axis=0)
    return counts * (np.log((1 + len(counts)) / (1 + df)) + 1)


# %% mistake="tf_idf" name="scaled_to_sum_one" says="root of its sum of squares"
def tf_idf(counts):
    df = (counts > 0).sum(axis=0)
    weighted = counts * (np.log((1 + len(counts)) / (1 + df)) + 1)
    return weighted / np.maximum(weighted.sum(axis=1, keepdims=True), 1e-12)


# %% mistake="tf_idf" name="occurrences_as_df" says="df counts documents"
def tf_idf(counts):
    df = counts.sum(axis=0)
    weighted = counts * (np.log((1 + len(counts)) / (1 + df)) + 1)
    return weighted / np.maximum(np.linalg.norm(weighted, axis=1, keepdims=True), 1e-12)


# %% mistake="tf_idf" name="no_plus_one" says="a word of every document still counts"
def tf_idf(counts):
    df = (counts > 0).sum(axis=0)
    weighted = counts * np.log((1 + len(counts)) / (1 + df))
    return weighted / np.maximum(np.linalg.norm(weighted, axis=1, keepdims=True), 1e-12)


# %% mistake="tf_idf" name="base_two" says="not the one of base 2"
def tf_idf(counts):
    df = (counts > 0).sum(axis=0)
    weighted = counts * (np.log2((1 + len(counts)) / (1 + df)) + 1)
    return weighted / np.maximum(np.linalg.norm(weighted, axis=1, keepdims=True), 1e-12)


# %% mistake="tf_idf" name="not_smoothed" says="would divide by zero"
def tf_idf(counts):
    df = (counts > 0).sum(axis=0)
    weighted = counts * (np.log(len(counts) / np.maximum(df, 1)) + 1)
    return weighted / np.maximum(np.linalg.norm(weighted, axis=1, keepdims=True), 1e-12)


# %% mistake="tf_idf" name="words_for_documents" says="not of words (columns)"
def tf_idf(counts):
    df = (counts > 0).sum(axis=0)
    weighted = counts * (np.log((1 + counts.shape[1]) / (1 + df)) + 1)
    return weighted / np.maximum(np.linalg.norm(weighted, axis=1, keepdims=True), 1e-12)


# %% mistake="tf_idf" name="empty_row_is_nan" says="NaN"
def tf_idf(counts):
    df = (counts > 0).sum(axis=0)
    weighted = counts * (np.log((1 + len(counts)) / (1 + df)) + 1)
    return weighted / np.linalg.norm(weighted, axis=1, keepdims=True)


# %% mistake="tf_idf" name="in_place" says="changed the matrix of counts"
def tf_idf(counts):
    if counts.dtype.kind != "f":
        counts = counts.astype(float)
    counts *= np.log((1 + len(counts)) / (1 + (counts > 0).sum(axis=0))) + 1
    counts /= np.maximum(np.linalg.norm(counts, axis=1, keepdims=True), 1e-12)
    return counts


# %% mistake="tf_idf" name="squares_overflow" says="do not square in the small integer type"
def tf_idf(counts):
    weights = np.log((1 + len(counts)) / (1 + (counts > 0).sum(axis=0))) + 1
    weighted = (counts * counts) ** 0.5 * weights
    return weighted / np.maximum(np.linalg.norm(weighted, axis=1, keepdims=True), 1e-12)


# %% mistake="tf_idf" name="empty_documents_left_out" says="an empty one too"
def tf_idf(counts):
    num_documents = np.any(counts > 0, axis=1).sum()
    weighted = counts * (np.log((1 + num_documents) / (1 + (counts > 0).sum(axis=0))) + 1)
    return weighted / np.maximum(np.linalg.norm(weighted, axis=1, keepdims=True), 1e-12)


# %% mistake="tf_idf" name="logarithm_of_counts" says="plain count"
def tf_idf(counts):
    weighted = np.log1p(counts) * (np.log((1 + len(counts)) / (1 + (counts > 0).sum(axis=0))) + 1)
    return weighted / np.maximum(np.linalg.norm(weighted, axis=1, keepdims=True), 1e-12)


# %% alternative="tf_idf" name="warns_on_the_way"
def tf_idf(counts: np.ndarray) -> np.ndarray:
    weighted = counts * (np.log((1 + len(counts)) / (1 + (counts > 0).sum(axis=0))) + 1)
    return np.nan_to_num(weighted / np.linalg.norm(weighted, axis=1, keepdims=True))


# %% alternative="tf_idf" name="loops_and_lists"
def tf_idf(counts):
    num_documents, num_words = counts.shape
    result = []
    for document in range(num_documents):
        row = []
        for word in range(num_words):
            df = sum(1 for other in range(num_documents) if counts[other][word] > 0)
            row.append(float(counts[document][word]) * (1 + np.log(1 + num_documents) - np.log(1 + df)))
        length = np.sqrt(sum(value * value for value in row))
        result.append([value / length for value in row] if length > 0 else row)
    return result


# %% alternative="tf_idf" name="scikit_learn"
def tf_idf(counts):
    from sklearn.feature_extraction.text import TfidfTransformer

    return TfidfTransformer().fit_transform(counts.astype(float)).toarray()


# %% [markdown]
# ## 3. `NaiveBayes`
#
# *Difficulty 3 of 5, about 20 minutes, 4 points: 2 for `fit`, 2 for `predict_log_proba`.*
#
# Which class does a document belong to: war or peace, one author or another? Bayes' rule turns the question round: how likely would each class have
# written these words? The classifier is *naive* in taking each word as drawn on its own (Maron, 1961).
#
# `fit` learns two arrays from $D$ documents, and returns `self`:
#
# $$\texttt{log\_prior}[k] = \ln\frac{D_k}{D}, \qquad \texttt{log\_likelihood}[k, w] = \ln\frac{c(k, w) + s}{\sum_{w'} \left( c(k, w') + s \right)}$$
#
# * $D_k$: the number of documents of class $k$; there are $C$ classes, labelled $0, \dots, C - 1$, each with at least one document;
# * $c(k, w)$: how often word $w$ occurs in all documents of class $k$ together;
# * $s > 0$: `smoothing`, added to each count, so that a word never seen in a class is unlikely there and not impossible;
# * shapes: `counts` $(D, V)$, `labels` $(D,)$, `log_prior` $(C,)$, `log_likelihood` $(C, V)$.
#
# `predict_log_proba` gives for each document $d$ the log of the *posterior* probability of each class, shape $(D, C)$:
#
# $$j_{d,k} = \texttt{log\_prior}[k] + \sum_w c(d, w)\, \texttt{log\_likelihood}[k, w], \qquad \ln P(k \mid d) = j_{d,k} - \ln \sum_{k'} e^{j_{d,k'}}$$
#
# An address has thousands of words, so $j$ is some $-50{,}000$, and $e^{-50000}$ is 0 in floating point. Subtract the largest $j$ of the row
# before you take the exponential, and add it back after: the value of the formula does not change.
# It reads nothing but `self.log_prior` and `self.log_likelihood`; its check sets these two itself, so each method is graded on its own.
#
# By hand: class 0 has the words *war, war, peace*, class 1 *peace*; $s = 1$. $P(\textit{war} \mid 0) = \frac{2 + 1}{3 + 2} = \frac35$ and $P(\textit{war} \mid 1) = \frac{0 + 1}{1 + 2} = \frac13$.
# With equal priors the document *war* is of class 0 with probability $\frac{3/5}{3/5 + 1/3} = \frac{9}{14}$.
#
# <details><summary>A nudge</summary>Add up the rows of one class first: <code>counts[labels == k]</code>. Then there is only one row for each class to think about.</details>
# <details><summary>A push</summary>The row of a class sums to 1 as probabilities when you divide by its own sum <em>after</em> smoothing. All of <code>j</code> is one matrix product: <code>counts @ self.log_likelihood.T</code>, plus the prior.</details>
# <details><summary>Almost there</summary>With <code>highest = joint.max(axis=1, keepdims=True)</code> return <code>joint - highest - np.log(np.exp(joint - highest).sum(axis=1, keepdims=True))</code>.</details>


# %% task="naive_bayes"
class NaiveBayes:
    """A multinomial naive Bayes classifier (about 6 + 4 lines).

    >>> model = NaiveBayes().fit(np.array([[2, 1], [0, 1]]), np.array([0, 1]))
    >>> np.exp(model.predict_log_proba(np.array([[1, 0]]))).round(3)
    array([[0.643, 0.357]])
    """

    def fit(self, counts: np.ndarray, labels: np.ndarray, smoothing: float = 1.0) -> "NaiveBayes":
        """Learn `log_prior`, of shape (C,), and `log_likelihood`, of shape (C, V).

        Args:
            counts: word counts of shape (D, V).
            labels: the class of each document, integers 0 to C - 1 of shape (D,).
            smoothing: added to each class's count of each word.
        """
        ### BEGIN SOLUTION
        num_classes = int(np.max(labels)) + 1
        per_class = np.array([counts[labels == k].sum(axis=0) for k in range(num_classes)], dtype=np.float64)
        smoothed = per_class + smoothing
        self.log_prior = np.log(np.bincount(labels, minlength=num_classes) / len(labels))
        self.log_likelihood = np.log(smoothed / smoothed.sum(axis=1, keepdims=True))
        return self
        ### END SOLUTION

    def predict_log_proba(self, counts: np.ndarray) -> np.ndarray:
        """Give the log posterior probability of each class for each document.

        Args:
            counts: word counts of shape (D, V).

        Returns:
            Natural logarithms of shape (D, C).
        """
        ### BEGIN SOLUTION
        joint = counts @ self.log_likelihood.T + self.log_prior
        highest = joint.max(axis=1, keepdims=True)
        return joint - highest - np.log(np.exp(joint - highest).sum(axis=1, keepdims=True))
        ### END SOLUTION


# %% check="naive_bayes" points=2
counts = np.array([[2.0, 0.0, 1.0], [1.0, 1.0, 0.0], [0.0, 3.0, 1.0]])
labels = np.array([0, 0, 1])
given, given_labels = counts.copy(), labels.copy()
model = NaiveBayes().fit(given, given_labels)
checks.true(
    isinstance(model, NaiveBayes),
    "`fit` must return self, so that NaiveBayes().fit(...) is the fitted model",
)
checks.unchanged(counts, given, "the matrix of counts")
checks.unchanged(labels, given_labels, "the labels")
checks.true(
    hasattr(model, "log_prior") and hasattr(model, "log_likelihood"),
    "`fit` must set self.log_prior and self.log_likelihood",
)

log_prior = checks.array(model.log_prior, (2,), "log_prior has one number for each class")
prior = np.exp(log_prior)
checks.true(
    not np.allclose(prior, 1 / 2),
    "the prior is the share of the documents in each class; yours gives each class the same",
)
checks.true(
    not np.allclose(prior, [5 / 9, 4 / 9]),
    "the prior counts documents, not words: 2 of the 3 documents are of class 0",
)
checks.true(
    not np.allclose(prior, [3 / 5, 2 / 5]), "the prior is not smoothed: each class has a document"
)
checks.close(
    prior,
    [2 / 3, 1 / 3],
    hint="log_prior is the natural logarithm of each class's share of the documents",
)

log_likelihood = checks.array(
    model.log_likelihood, (2, 3), "log_likelihood has one row for each class, one column for each word"
)
checks.true(
    np.all(np.isfinite(log_likelihood)),
    "a word never seen in a class got probability zero, and its log is not finite: add `smoothing` to"
    " each count",
)
for k, total in enumerate(np.exp(log_likelihood).sum(axis=1)):
    checks.true(
        np.isclose(total, 1),
        f"the word probabilities of class {k} sum to {total:.6g}, not to 1: divide each class's"
        " smoothed counts by their own sum; the logarithm is the natural one",
    )
checks.close(
    np.exp(log_likelihood),
    [[4 / 8, 2 / 8, 2 / 8], [1 / 7, 4 / 7, 2 / 7]],
    hint="add up the counts of a class's documents first, then smooth, then divide",
)
again = checks.array(NaiveBayes().fit(counts, labels).log_likelihood, (2, 3))
checks.close(
    again,
    log_likelihood,
    hint="each model learns from its own documents: keep nothing in the class itself",
)
half = checks.array(NaiveBayes().fit(counts, labels, smoothing=0.5).log_likelihood, (2, 3))
checks.close(
    np.exp(half)[1],
    [0.5 / 5.5, 3.5 / 5.5, 1.5 / 5.5],
    hint="with smoothing=0.5 add 0.5 to each count, not 1",
)
swapped = NaiveBayes().fit(counts, np.array([1, 0, 0]))
checks.close(
    np.exp(checks.array(swapped.log_prior, (2,))),
    [2 / 3, 1 / 3],
    hint="place k belongs to class k, in whatever order the labels come",
)
small = NaiveBayes().fit(
    np.array([[200, 100], [200, 100], [1, 1]], dtype=np.uint8), np.array([0, 0, 1])
)
checks.close(
    np.exp(checks.array(small.log_likelihood, (2, 2)))[0],
    [401 / 602, 201 / 602],
    hint="sums go beyond 255: do not add up in the small integer type of the counts",
)
forgets = "`fit` forgets what it learned before, and learns from these documents only"
refitted = checks.run(lambda: small.fit(counts, labels).log_likelihood, hint=forgets)
refitted = checks.array(refitted, (2, 3), forgets)
checks.close(refitted, log_likelihood, hint=forgets)

### BEGIN HIDDEN TESTS


def fit_inputs(rng):
    num_classes, num_words = int(rng.integers(1, 5)), int(rng.integers(2, 8))
    labels = rng.permutation(
        np.r_[np.arange(num_classes), rng.integers(0, num_classes, rng.integers(0, 9))]
    )
    counts = rng.poisson(rng.choice([0.5, 3.0, 150.0]), size=(len(labels), num_words))
    smoothing = [1.0, 0.1, 2.5, 1][rng.integers(4)]
    return counts.astype([np.int64, np.float64, np.uint8][rng.integers(3)]), labels, smoothing


def fit_reference(counts, labels, smoothing):
    classes = range(max(labels.tolist()) + 1)
    priors, likelihoods = [], []
    for k in classes:
        rows = [row for row, label in zip(counts.tolist(), labels.tolist(), strict=True) if label == k]
        totals = [sum(column) + smoothing for column in zip(*rows, strict=True)]
        priors.append(len(rows) / len(counts))
        likelihoods.append([total / sum(totals) for total in totals])
    return {"log_prior": np.log(priors), "log_likelihood": np.log(likelihoods)}


def close_enough(got, expected, hint):
    checks.close(got, expected, hint, rtol=1e-5, atol=1e-6)


checks.hidden(
    title="fit on random counts of several types, 1 to 4 classes, several smoothings",
    call=(
        "lambda counts, labels, smoothing: (model := NaiveBayes().fit(counts, labels, smoothing))"
        " and {'log_prior': model.log_prior, 'log_likelihood': model.log_likelihood}"
    ),
    inputs=fit_inputs,
    reference=fit_reference,
    compare=close_enough,
    hint=(
        "log_prior from the share of documents, log_likelihood from each class's smoothed counts over"
        " their own sum"
    ),
    cases=12,
)
### END HIDDEN TESTS

# %% check="naive_bayes" points=2
model = NaiveBayes()
model.log_prior, model.log_likelihood = np.log([0.75, 0.25]), np.log([[0.8, 0.2], [0.4, 0.6]])
counts = np.array([[1.0, 0.0], [0.0, 2.0], [0.0, 0.0]])
given = counts.copy()
log_posterior = checks.run(
    lambda: model.predict_log_proba(given),
    hint="predict_log_proba reads only self.log_prior and self.log_likelihood",
)
checks.unchanged(counts, given, "the matrix of counts")
log_posterior = checks.array(
    log_posterior,
    (3, 2),
    "predict_log_proba gives one row for each document, one column for each class",
)
checks.true(
    np.all(np.isfinite(log_posterior)),
    "predict_log_proba gave NaN or infinity for short documents: only logs are added there, nothing is"
    " divided",
)
checks.true(
    np.max(log_posterior) <= 1e-9,
    "predict_log_proba gave a positive number: give logarithms of the probabilities, not the"
    " probabilities",
)
for row, total in enumerate(np.exp(log_posterior).sum(axis=1)):
    checks.true(
        np.isclose(total, 1),
        f"document {row}'s class probabilities sum to {total:.6g}, not to 1: subtract the log of the"
        " sum over its own classes; the logarithm is the natural one",
    )
posterior = np.exp(log_posterior)
checks.true(
    not np.allclose(posterior[2], 0.5), "without words to go by, the answer is the prior: add log_prior"
)
checks.close(
    posterior[0],
    [6 / 7, 1 / 7],
    hint="add log_prior and the log_likelihood of each word of the document",
)
checks.close(
    posterior[1],
    [0.25, 0.75],
    hint="a word that occurs twice counts twice: its log_likelihood times its count",
)
checks.close(posterior[2], [0.75, 0.25], hint="without words to go by, the answer is the prior")
checks.unchanged(np.log([0.75, 0.25]), model.log_prior, "self.log_prior")
checks.unchanged(np.log([[0.8, 0.2], [0.4, 0.6]]), model.log_likelihood, "self.log_likelihood")
long = model.predict_log_proba(np.array([[4000, 6000]]))
long = checks.array(long, (1, 2), "one document still gives one row")
checks.true(
    bool(np.all(np.isfinite(long))),
    f"a document of 10,000 words gave {checks.show(long)}: its likelihood underflows to 0,"
    " so subtract the largest value before np.exp",
)
checks.close(
    long,
    [[np.log(3) + 4000 * np.log(2) - 6000 * np.log(3), 0]],
    hint=(
        "in a long document subtract each row's largest value before np.exp, and add it back after"
        " the log"
    ),
)
both = checks.array(model.predict_log_proba(np.array([[4000, 6000], [1, 0]])), (2, 2))
checks.close(
    both[0],
    long[0],
    hint="beside a short document, a long one needs its own largest value: one for each row",
)

### BEGIN HIDDEN TESTS


def predict_inputs(rng):
    num_classes, num_words = int(rng.integers(1, 6)), int(rng.integers(2, 9))
    prior = rng.dirichlet(np.full(num_classes, 2.0))
    likelihood = rng.dirichlet(np.full(num_words, 2.0), size=num_classes)
    counts = rng.poisson(rng.choice([0.3, 2.0, 100.0]), size=(rng.integers(1, 6), num_words))
    dtype = [np.int64, np.float64, np.uint8][rng.integers(3)]
    counts = np.minimum(counts, 255).astype(dtype)
    return (
        np.log(prior),
        np.log(likelihood),
        counts if dtype is np.uint8 else counts * dtype(rng.choice([1, 300])),
    )


def predict_reference(log_prior, log_likelihood, counts):
    result = []
    for document in counts.tolist():
        joint = [
            prior + sum(count * value for count, value in zip(document, row, strict=True))
            for prior, row in zip(log_prior, log_likelihood, strict=True)
        ]
        result.append([value - np.logaddexp.reduce(joint) for value in joint])
    return result


def close_enough(got, expected, hint):
    checks.close(got, expected, hint, rtol=1e-5, atol=1e-6)


checks.hidden(
    title="predict_log_proba on random models; documents of no words to hundreds of thousands",
    call=(
        "lambda log_prior, log_likelihood, counts: (model := NaiveBayes()) and (setattr(model,"
        " 'log_prior', log_prior), setattr(model, 'log_likelihood', log_likelihood),"
        " model.predict_log_proba(counts))[-1]"
    ),
    inputs=predict_inputs,
    reference=predict_reference,
    compare=close_enough,
    hint=(
        "prior plus the sum of count times log_likelihood, minus the log of the sum of exponentials"
        " over the classes"
    ),
    cases=12,
)
### END HIDDEN TESTS

# %%
from bow2gpt import corpus

starts = {
    a: [word for word in a.text.lower()[:20000].split() if word.isalpha()] for a in corpus.addresses()
}
bags = {a: Counter(start) for a, start in starts.items()}
words = [
    word
    for word, _ in Counter(word for a in corpus.addresses("train") for word in starts[a]).most_common(
        2000
    )
]
counts = np.array([[bag[word] for word in words] for bag in bags.values()])
labels = np.array([int(a.year in corpus.war_years()) for a in bags])
train = np.array([a.split == "train" for a in bags])
model = NaiveBayes().fit(counts[train], labels[train])
often = counts[train].sum(axis=0) > 100
lean = np.where(often, model.log_likelihood[1] - model.log_likelihood[0], 0)
print("leans to war:  ", *(words[index] for index in np.argsort(-lean)[:10]))
print("leans to peace:", *(words[index] for index in np.argsort(lean)[:10]))
told = np.argmax(model.predict_log_proba(counts[~train]), axis=1)
for label, name in enumerate(("peace", "war")):
    ours = told[labels[~train] == label]
    print(f"unseen addresses from years of {name}: {(ours == label).sum()} of {len(ours)} told right")

# %% mistake="naive_bayes" name="no_smoothing" loses=2 says="a word never seen in a class got probability zero"
class NaiveBayes:
    def fit(self, counts, labels, smoothing=1.0):
        classes = range(max(labels) + 1)
        per_class = np.array([counts[labels == k].sum(axis=0) for k in classes])
        self.log_prior = np.log([np.mean(labels == k) for k in classes])
        with np.errstate(divide="ignore"):
            self.log_likelihood = np.log(per_class / per_class.sum(axis=1, keepdims=True))
        return self

    def predict_log_proba(self, counts):
        joint = counts @ self.log_likelihood.T + self.log_prior
        return joint - np.logaddexp.reduce(joint, axis=1, keepdims=True)


# %% mistake="naive_bayes" name="smoothing_not_in_the_sum" loses=2 says="divide each class's smoothed counts by their own sum"
class NaiveBayes:
    def fit(self, counts, labels, smoothing=1.0):
        classes = range(max(labels) + 1)
        per_class = np.array([counts[labels == k].sum(axis=0) for k in classes])
        self.log_prior = np.log([np.mean(labels == k) for k in classes])
        self.log_likelihood = np.log((per_class + smoothing) / per_class.sum(axis=1, keepdims=True))
        return self

    def predict_log_proba(self, counts):
        joint = counts @ self.log_likelihood.T + self.log_prior
        return joint - np.logaddexp.reduce(joint, axis=1, keepdims=True)


# %% mistake="naive_bayes" name="sums_over_classes" loses=2 says="the word probabilities of class 0 sum to"
class NaiveBayes:
    def fit(self, counts, labels, smoothing=1.0):
        classes = range(max(labels) + 1)
        smoothed = np.array([counts[labels == k].sum(axis=0) for k in classes]) + smoothing
        self.log_prior = np.log([np.mean(labels == k) for k in classes])
        self.log_likelihood = np.log(smoothed / smoothed.sum(axis=0))
        return self

    def predict_log_proba(self, counts):
        joint = counts @ self.log_likelihood.T + self.log_prior
        return joint - np.logaddexp.reduce(joint, axis=1, keepdims=True)


# %% mistake="naive_bayes" name="flat_prior" loses=2 says="yours gives each class the same"
class NaiveBayes:
    def fit(self, counts, labels, smoothing=1.0):
        classes = range(max(labels) + 1)
        smoothed = np.array([counts[labels == k].sum(axis=0) for k in classes]) + smoothing
        self.log_prior = np.log(np.ones(len(smoothed)) / len(smoothed))
        self.log_likelihood = np.log(smoothed / smoothed.sum(axis=1, keepdims=True))
        return self

    def predict_log_proba(self, counts):
        joint = counts @ self.log_likelihood.T + self.log_prior
        return joint - np.logaddexp.reduce(joint, axis=1, keepdims=True)


# %% mistake="naive_bayes" name="prior_from_words" loses=2 says="documents, not words"
class NaiveBayes:
    def fit(self, counts, labels, smoothing=1.0):
        classes = range(max(labels) + 1)
        per_class = np.array([counts[labels == k].sum(axis=0) for k in classes])
        smoothed = per_class + smoothing
        self.log_prior = np.log(per_class.sum(axis=1) / per_class.sum())
        self.log_likelihood = np.log(smoothed / smoothed.sum(axis=1, keepdims=True))
        return self

    def predict_log_proba(self, counts):
        joint = counts @ self.log_likelihood.T + self.log_prior
        return joint - np.logaddexp.reduce(joint, axis=1, keepdims=True)


# %% mistake="naive_bayes" name="always_adds_one" loses=2 says="add 0.5 to each count"
class NaiveBayes:
    def fit(self, counts, labels, smoothing=1.0):
        classes = range(max(labels) + 1)
        smoothed = np.array([counts[labels == k].sum(axis=0) for k in classes]) + 1
        self.log_prior = np.log([np.mean(labels == k) for k in classes])
        self.log_likelihood = np.log(smoothed / smoothed.sum(axis=1, keepdims=True))
        return self

    def predict_log_proba(self, counts):
        joint = counts @ self.log_likelihood.T + self.log_prior
        return joint - np.logaddexp.reduce(joint, axis=1, keepdims=True)


# %% mistake="naive_bayes" name="smooths_the_input" loses=2 says="changed the matrix of counts"
class NaiveBayes:
    def fit(self, counts, labels, smoothing=1.0):
        classes = range(max(labels) + 1)
        for k in classes:
            counts[np.argmax(labels == k)] += smoothing
        smoothed = np.array([counts[labels == k].sum(axis=0) for k in classes])
        self.log_prior = np.log([np.mean(labels == k) for k in classes])
        self.log_likelihood = np.log(smoothed / smoothed.sum(axis=1, keepdims=True))
        return self

    def predict_log_proba(self, counts):
        joint = counts @ self.log_likelihood.T + self.log_prior
        return joint - np.logaddexp.reduce(joint, axis=1, keepdims=True)


# %% mistake="naive_bayes" name="not_normalised" loses=2 says="subtract the log of the sum over its own classes"
class NaiveBayes:
    def fit(self, counts, labels, smoothing=1.0):
        classes = range(max(labels) + 1)
        smoothed = np.array([counts[labels == k].sum(axis=0) for k in classes]) + smoothing
        self.log_prior = np.log([np.mean(labels == k) for k in classes])
        self.log_likelihood = np.log(smoothed / smoothed.sum(axis=1, keepdims=True))
        return self

    def predict_log_proba(self, counts):
        return counts @ self.log_likelihood.T + self.log_prior


# %% mistake="naive_bayes" name="underflow" loses=2 says="underflows to 0"
class NaiveBayes:
    def fit(self, counts, labels, smoothing=1.0):
        classes = range(max(labels) + 1)
        smoothed = np.array([counts[labels == k].sum(axis=0) for k in classes]) + smoothing
        self.log_prior = np.log([np.mean(labels == k) for k in classes])
        self.log_likelihood = np.log(smoothed / smoothed.sum(axis=1, keepdims=True))
        return self

    def predict_log_proba(self, counts):
        joint = counts @ self.log_likelihood.T + self.log_prior
        with np.errstate(divide="ignore"):
            return joint - np.log(np.exp(joint).sum(axis=1, keepdims=True))


# %% mistake="naive_bayes" name="forgets_the_prior" loses=2 says="the answer is the prior"
class NaiveBayes:
    def fit(self, counts, labels, smoothing=1.0):
        classes = range(max(labels) + 1)
        smoothed = np.array([counts[labels == k].sum(axis=0) for k in classes]) + smoothing
        self.log_prior = np.log([np.mean(labels == k) for k in classes])
        self.log_likelihood = np.log(smoothed / smoothed.sum(axis=1, keepdims=True))
        return self

    def predict_log_proba(self, counts):
        joint = counts @ self.log_likelihood.T
        return joint - np.logaddexp.reduce(joint, axis=1, keepdims=True)


# %% mistake="naive_bayes" name="presence_only" loses=2 says="a word that occurs twice counts twice"
class NaiveBayes:
    def fit(self, counts, labels, smoothing=1.0):
        classes = range(max(labels) + 1)
        smoothed = np.array([counts[labels == k].sum(axis=0) for k in classes]) + smoothing
        self.log_prior = np.log([np.mean(labels == k) for k in classes])
        self.log_likelihood = np.log(smoothed / smoothed.sum(axis=1, keepdims=True))
        return self

    def predict_log_proba(self, counts):
        joint = (counts > 0) @ self.log_likelihood.T + self.log_prior
        return joint - np.logaddexp.reduce(joint, axis=1, keepdims=True)


# %% mistake="naive_bayes" name="log_of_underflowed" loses=2 says="add it back after the log"
class NaiveBayes:
    def fit(self, counts, labels, smoothing=1.0):
        classes = range(max(labels) + 1)
        smoothed = np.array([counts[labels == k].sum(axis=0) for k in classes]) + smoothing
        self.log_prior = np.log([np.mean(labels == k) for k in classes])
        self.log_likelihood = np.log(smoothed / smoothed.sum(axis=1, keepdims=True))
        return self

    def predict_log_proba(self, counts):
        joint = counts @ self.log_likelihood.T + self.log_prior
        shifted = joint - joint.max(axis=1, keepdims=True)
        return np.log(np.exp(shifted) / np.exp(shifted).sum(axis=1, keepdims=True) + 1e-300)


# %% alternative="naive_bayes" name="loops_and_lists"
class NaiveBayes:
    def fit(self, counts, labels, smoothing=1.0):
        num_classes = len(set(labels.tolist()))
        num_words = len(counts[0])
        totals = [[smoothing] * num_words for _ in range(num_classes)]
        documents = [0] * num_classes
        for row, label in zip(counts.tolist(), labels.tolist(), strict=True):
            documents[label] += 1
            for word, count in enumerate(row):
                totals[label][word] += count
        self.log_prior = [float(np.log(number / len(labels))) for number in documents]
        self.log_likelihood = [[float(np.log(value) - np.log(sum(row))) for value in row] for row in totals]
        return self

    def predict_log_proba(self, counts):
        result = []
        for document in counts:
            scores = []
            for prior, row in zip(self.log_prior, self.log_likelihood, strict=True):
                scores.append(prior + sum(float(count) * value for count, value in zip(document, row, strict=True)))
            top = max(scores)
            total = top + np.log(sum(np.exp(score - top) for score in scores))
            result.append([score - total for score in scores])
        return result


# %% alternative="naive_bayes" name="one_hot"
class NaiveBayes:
    def fit(self, counts, labels, smoothing=1.0):
        one_hot = np.eye(int(labels.max()) + 1)[labels]
        smoothed = one_hot.T @ counts + smoothing
        self.log_prior = np.log(one_hot.mean(axis=0))
        self.log_likelihood = np.log(smoothed) - np.log(smoothed.sum(axis=1))[:, None]
        return self

    def predict_log_proba(self, counts):
        joint = np.einsum("dv,cv->dc", counts, self.log_likelihood) + self.log_prior[None, :]
        return joint - np.logaddexp.reduce(joint, axis=1)[:, None]


# %% [markdown]
# ## 4. `transition_matrix`
#
# *Difficulty 2 of 5, about 10 minutes, 2 points.*
#
# In 1913 Markov wrote out the first 20,000 letters of *Eugene Onegin*, and counted how often a vowel follows a vowel, and how often a consonant. The
# chance of each depended on the letter before: the first Markov chain ever fitted to a text. You fit one to any sequence of states:
#
# $$P_{ij} = \frac{c(i, j)}{\sum_{j'} c(i, j')}$$
#
# * $c(i, j)$: how often state $j$ comes directly after state $i$; the last state of the sequence has no successor;
# * $P$: the *transition matrix* of shape $(S, S)$ for $S$ states $0, \dots, S - 1$; row = from, column = to; each row sums to 1;
# * a state that is never left (not seen at all, or only at the end) has nothing to go by: give it the uniform row, $\frac1S$ everywhere.
#
# By hand: from $0, 1, 0, 0$ you read the steps $0 \to 1$, $1 \to 0$, $0 \to 0$. State 0 is left twice, once to each: row $(\frac12, \frac12)$. State 1 is left once, to 0: row $(1, 0)$.
#
# <details><summary>A nudge</summary>A sequence of $n$ states has $n - 1$ steps. How do you pair each state with the next?</details>
# <details><summary>A push</summary><code>zip(states, states[1:])</code> gives the steps. In numpy, <code>counts[sources, targets] += 1</code> adds 1 only once for a step that occurs twice; a loop or <code>np.add.at</code> does not have that trap.</details>
# <details><summary>Almost there</summary>Count into <code>np.zeros((num_states, num_states))</code>, fill the rows whose sum is 0 with ones, then divide by <code>counts.sum(axis=1, keepdims=True)</code>.</details>


# %% task="transition_matrix"
def transition_matrix(states: list[int], num_states: int) -> np.ndarray:
    """Estimate the transition probabilities of a Markov chain from a sequence of states (about 6 lines).

    Args:
        states: the sequence, integers 0 to S - 1.
        num_states: S, at least 1.

    Returns:
        Probabilities of shape (S, S), row = from, column = to; each row sums to 1.

    >>> transition_matrix([0, 1, 0, 0], 2)
    array([[0.5, 0.5],
           [1. , 0. ]])
    """
    ### BEGIN SOLUTION
    counts = np.zeros((num_states, num_states))
    for source, target in zip(states[:-1], states[1:], strict=True):
        counts[source, target] += 1
    counts[counts.sum(axis=1) == 0] = 1
    return counts / counts.sum(axis=1, keepdims=True)
    ### END SOLUTION


# %% check="transition_matrix" points=2
states = [0, 0, 1, 2, 0, 0, 2, 0, 1]
transition = transition_matrix(states, 3)
transition = checks.array(transition, (3, 3), "one row and one column for each state")
expected = np.array([[0.4, 0.4, 0.2], [0, 0, 1], [1, 0, 0]])
checks.true(
    not np.allclose(np.transpose(transition), expected),
    "rows and columns are swapped: row = from, column = to",
)
for row, total in enumerate(np.sum(transition, axis=1)):
    checks.true(
        np.isclose(total, 1),
        f"row {row} sums to {total:.4g}: divide each row by its own total, not by the column's or the"
        " whole matrix's",
    )
checks.true(
    not np.allclose(transition[0], 1 / 3),
    "each repetition of a step counts: 0 -> 1 occurs twice, 0 -> 2 once"
    " (numpy's counts[a, b] += 1 adds only once for repeated places)",
)
checks.true(
    not np.allclose(transition, transition[0]),
    "each row counts its own steps; yours are all the same row",
)
checks.true(
    not np.isclose(transition[1, 0], 0.5),
    "the last state has no successor: nothing leads from the end back to the start",
)
checks.close(
    transition,
    expected,
    hint=(
        "c(i, j) over the number of steps that leave i, nothing added; 9 states have 8 steps, also from"
        " i to itself"
    ),
)
checks.unchanged([0, 0, 1, 2, 0, 0, 2, 0, 1], states, "the list of states")
again = transition_matrix([1, 1, 1, 2, 0, 2, 0, 1, 1], 3)
checks.close(
    again,
    [[0, 0.5, 0.5], [0, 0.75, 0.25], [1, 0, 0]],
    hint="each call counts its own steps: keep nothing from the call before",
)
third = np.full(3, 1 / 3)
unseen = checks.array(transition_matrix([0, 2, 0, 2], 3), (3, 3))
checks.close(unseen[1], third, hint="state 1 is never left, so its row is uniform over all 3 states")
end = checks.array(
    transition_matrix([0, 0, 1], 3), (3, 3), "num_states says how many states there are, seen or not"
)
checks.close(
    end,
    [[0.5, 0.5, 0], third, third],
    hint="state 1 is seen only at the end, so it is never left: a uniform row",
)
alone = checks.run(lambda: transition_matrix([1], 2), hint="a sequence of one state has no step")
checks.close(
    alone, np.full((2, 2), 0.5), hint="a sequence of one state has no step: every row is uniform"
)
empty = checks.run(
    lambda: transition_matrix([], 2),
    hint="from an empty sequence nothing is known: every row is uniform",
)
checks.close(
    empty, np.full((2, 2), 0.5), hint="from an empty sequence nothing is known: every row is uniform"
)
checks.close(
    transition_matrix([0] * 1000 + [1], 2)[0],
    [0.999, 0.001],
    hint="a step may occur thousands of times, beyond the 255 of a small integer type",
)

### BEGIN HIDDEN TESTS


def transition_inputs(rng):
    num_states = int(rng.integers(1, 7))
    length = int(rng.choice([0, 1, 2, 6, 60, 700]))
    return rng.integers(0, rng.integers(1, num_states + 1), length).tolist(), num_states


def transition_reference(states, num_states):
    steps = Counter(zip(states[:-1], states[1:], strict=True))
    left = Counter(states[:-1])
    every = range(num_states)
    return [[steps[i, j] / left[i] if left[i] else 1 / num_states for j in every] for i in every]


def close_enough(got, expected, hint):
    checks.close(got, expected, hint, rtol=1e-5, atol=1e-7)


checks.hidden(
    title="random sequences, some short, some without certain states",
    call="transition_matrix",
    inputs=transition_inputs,
    reference=transition_reference,
    compare=close_enough,
    hint="steps from i to j over steps that leave i; a uniform row where no step leaves i",
    cases=15,
)
### END HIDDEN TESTS

# %%
import matplotlib.pyplot as plt

from bow2gpt import corpus, figures

letters = "abcdefghijklmnopqrstuvwxyz "
text = "".join(letter for letter in corpus.addresses("train")[0].text.lower() if letter in letters)
between_letters = transition_matrix([letters.index(letter) for letter in text], len(letters))
fig, axis = plt.subplots(figsize=(6, 5))
axis.grid(False)
image = axis.imshow(between_letters, cmap="Greys")
axis.set(
    title="Which letter follows which in Washington's first address?",
    xlabel="next letter",
    ylabel="letter",
)
axis.set_xticks(range(27), letters.replace(" ", "_"))
axis.set_yticks(range(27), letters.replace(" ", "_"))
fig.colorbar(image, label="probability")
figures.show(
    fig,
    alt=(
        "Transition matrix of letters: q is always followed by u, vowels mostly by consonants, and y"
        " and d more often than not end a word."
    ),
)

# %% mistake="transition_matrix" name="transposed" says="rows and columns are swapped"
def transition_matrix(states, num_states):
    counts = np.zeros((num_states, num_states))
    for source, target in zip(states[:-1], states[1:], strict=True):
        counts[source, target] += 1
    counts[counts.sum(axis=1) == 0] = 1
    return (counts / counts.sum(axis=1, keepdims=True)).T


# %% mistake="transition_matrix" name="divides_columns" says="divide each row by its own total"
def transition_matrix(states, num_states):
    counts = np.zeros((num_states, num_states))
    for source, target in zip(states[:-1], states[1:], strict=True):
        counts[source, target] += 1
    counts[:, counts.sum(axis=0) == 0] = 1
    return counts / counts.sum(axis=0)


# %% mistake="transition_matrix" name="divides_by_everything" says="divide each row by its own total"
def transition_matrix(states, num_states):
    counts = np.zeros((num_states, num_states))
    for source, target in zip(states[:-1], states[1:], strict=True):
        counts[source, target] += 1
    return counts / max(counts.sum(), 1)


# %% mistake="transition_matrix" name="repeats_lost" says="each repetition of a step counts"
def transition_matrix(states, num_states):
    counts = np.zeros((num_states, num_states))
    states = np.array(states, dtype=int)
    counts[states[:-1], states[1:]] += 1
    counts[counts.sum(axis=1) == 0] = 1
    return counts / counts.sum(axis=1, keepdims=True)


# %% mistake="transition_matrix" name="wraps_around" says="the last state has no successor"
def transition_matrix(states, num_states):
    counts = np.zeros((num_states, num_states))
    for index, target in enumerate(states):
        counts[states[index - 1], target] += 1
    counts[counts.sum(axis=1) == 0] = 1
    return counts / counts.sum(axis=1, keepdims=True)


# %% mistake="transition_matrix" name="adds_one" says="nothing added"
def transition_matrix(states, num_states):
    counts = np.ones((num_states, num_states))
    for source, target in zip(states[:-1], states[1:], strict=True):
        counts[source, target] += 1
    return counts / counts.sum(axis=1, keepdims=True)


# %% mistake="transition_matrix" name="zero_row" says="state 1 is never left"
def transition_matrix(states, num_states):
    counts = np.zeros((num_states, num_states))
    for source, target in zip(states[:-1], states[1:], strict=True):
        counts[source, target] += 1
    return counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)


# %% mistake="transition_matrix" name="seen_is_not_left" says="seen only at the end"
def transition_matrix(states, num_states):
    counts = np.zeros((num_states, num_states))
    for source, target in zip(states[:-1], states[1:], strict=True):
        counts[source, target] += 1
    for state in range(num_states):
        if state not in states:
            counts[state] = 1
    return counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)


# %% mistake="transition_matrix" name="remembers" says="keep nothing from the call before"
known = {}


def transition_matrix(states, num_states):
    counts = known.setdefault(num_states, np.zeros((num_states, num_states)))
    for source, target in zip(states[:-1], states[1:], strict=True):
        counts[source, target] += 1
    smoothed = np.where(counts.sum(axis=1, keepdims=True) > 0, counts, 1)
    return smoothed / smoothed.sum(axis=1, keepdims=True)


# %% mistake="transition_matrix" name="empty_is_an_error" says="from an empty sequence nothing is known"
def transition_matrix(states, num_states):
    counts = np.zeros((num_states, num_states))
    source = states[0]
    for target in states[1:]:
        counts[source, target] += 1
        source = target
    counts[counts.sum(axis=1) == 0] = 1
    return counts / counts.sum(axis=1, keepdims=True)


# %% mistake="transition_matrix" name="one_row_for_all" says="yours are all the same row"
def transition_matrix(states, num_states):
    counts = [[0] * num_states] * num_states
    for source, target in zip(states[:-1], states[1:], strict=True):
        counts[source][target] += 1
    counts = np.array(counts)
    return counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)


# %% alternative="transition_matrix" name="lists"
def transition_matrix(states, num_states):
    rows = []
    for source in range(num_states):
        followers = [states[index + 1] for index in range(len(states) - 1) if states[index] == source]
        if followers:
            rows.append([followers.count(target) / len(followers) for target in range(num_states)])
        else:
            rows.append([1 / num_states] * num_states)
    return rows


# %% alternative="transition_matrix" name="bincount_float32"
def transition_matrix(states, num_states):
    sequence = np.asarray(states, dtype=np.int64)
    codes = sequence[:-1] * num_states + sequence[1:]
    counts = np.bincount(codes, minlength=num_states**2).reshape(num_states, num_states).astype(np.float32)
    totals = counts.sum(axis=1, keepdims=True)
    return np.where(totals > 0, counts / np.maximum(totals, 1), np.float32(1 / num_states))


# %% [markdown]
# ## 5. `stationary_distribution`
#
# *Difficulty 3 of 5, about 15 minutes, 3 points.*
#
# Let a chain run for a very long time: what share of its steps does it spend in each state? For letters these are the letter frequencies; for pages of the
# web, with a few jumps added, they are PageRank. The shares $\pi$ (shape $(S,)$) do not change by one more step:
#
# $$\pi = \pi P, \qquad \sum_i \pi_i = 1$$
#
# * $P$: the transition matrix of shape $(S, S)$, row = from, each row sums to 1; from each state every other can be reached sooner or later.
#
# Three chains to keep in mind. One that is not symmetric: $\pi P$ is not $P \pi$. One that hops to and fro for ever, $P = \begin{pmatrix} 0 & 1 \\ 1 & 0 \end{pmatrix}$: it never
# settles, and still spends half of its time in each state. And a sticky one that changes state once in a thousand steps.
#
# By hand: $P = \begin{pmatrix} 0.9 & 0.1 \\ 0.5 & 0.5 \end{pmatrix}$. What flows from 0 to 1 must flow back: $0.1\, \pi_0 = 0.5\, \pi_1$, so $\pi = (\frac56, \frac16)$.
#
# <details><summary>A nudge</summary>It is a system of linear equations in $S$ unknowns. Nothing needs to be simulated.</details>
# <details><summary>A push</summary>Written with columns, $\pi = \pi P$ is $(P^\top - I)\, \pi = 0$: $S$ equations, one of which follows from the others. The sum supplies the one that is missing.</details>
# <details><summary>Almost there</summary>Stack <code>P.T - np.eye(S)</code> on a row of ones; the right-hand side is zeros and a final 1; <code>np.linalg.lstsq(a, b, rcond=None)[0]</code> solves it.</details>


# %% task="stationary_distribution"
def stationary_distribution(transition: np.ndarray) -> np.ndarray:
    """Find the distribution that one step of the chain leaves as it is (about 4 lines).

    Args:
        transition: probabilities of shape (S, S), row = from; an irreducible chain, periodic or not.

    Returns:
        Probabilities of shape (S,), real numbers that sum to 1.

    >>> stationary_distribution(np.array([[0.9, 0.1], [0.5, 0.5]])).round(3)
    array([0.833, 0.167])
    """
    ### BEGIN SOLUTION
    num_states = len(transition)
    equations = np.vstack([transition.T - np.eye(num_states), np.ones(num_states)])
    right_side = np.append(np.zeros(num_states), 1.0)
    return np.linalg.lstsq(equations, right_side, rcond=None)[0]
    ### END SOLUTION


# %% check="stationary_distribution" points=3
transition = np.array(
    [[0.5, 0.5, 0.0], [0.0, 0.2, 0.8], [0.4, 0.0, 0.6]]
)  # the flows balance at 8 : 5 : 10
given = transition.copy()
shares = checks.run(
    lambda: stationary_distribution(given),
    hint=(
        "P.T - I alone is singular, for its rows add up to 0: the equation that the shares sum to 1"
        " must join it"
    ),
)
checks.unchanged(transition, given, "the transition matrix")
shares = checks.array(shares, (3,), "one share for each state")
checks.true(
    not np.iscomplexobj(shares),
    "got complex numbers: shares of time are real (an eigenvector's real part, once it is scaled)",
)
checks.true(
    np.all(np.isfinite(shares)), f"got {checks.show(shares)}: shares of time are finite numbers"
)
checks.true(
    not np.allclose(shares, 1 / 3),
    "you solved P pi = pi, which any constant fits: pi stands to the left, pi P = pi, so transpose P",
)
checks.true(np.any(shares), "zeros do solve pi P = pi, but do not sum to 1: that is one equation more")
checks.true(
    np.isclose(np.sum(shares), 1),
    f"the shares sum to {np.sum(shares):.6g}, not to 1: divide by their sum (not by their Euclidean"
    " length)",
)
checks.true(
    np.min(shares) >= -1e-9,
    "a share of time is negative: take the eigenvector of eigenvalue 1, wherever it stands in the list",
)
checks.close(
    shares @ transition,
    shares,
    hint="one more step must not change the distribution: pi P = pi",
    rtol=1e-5,
    atol=1e-6,
)
checks.close(shares, np.array([8, 5, 10]) / 23, hint="solve pi P = pi", rtol=1e-5, atol=1e-6)
to_and_fro = np.array([[0, 1, 0], [0.5, 0, 0.5], [0, 1, 0]])
checks.close(
    stationary_distribution(to_and_fro),
    [0.25, 0.5, 0.25],
    hint=(
        "a periodic chain never settles, so repeated steps do not find its shares; eigenvalue 1 and"
        " not -1"
    ),
    rtol=1e-5,
    atol=1e-6,
)
checks.close(
    stationary_distribution(np.array([[0.0, 1.0], [1.0, 0.0]])),
    [0.5, 0.5],
    hint="this periodic chain spends half of its time in each state",
    rtol=1e-5,
    atol=1e-6,
)
sticky = np.array([[0.999, 0.001], [0.003, 0.997]])
checks.close(
    stationary_distribution(sticky),
    [0.75, 0.25],
    hint="a sticky chain needs thousands of steps to settle: you stopped too early",
    rtol=1e-4,
    atol=1e-5,
)
circle = np.array([[0.0, 1.0, 0.0], [0.0, 0.0, 1.0], [1.0, 0.0, 0.0]])
checks.close(
    stationary_distribution(circle),
    [1 / 3, 1 / 3, 1 / 3],
    hint="a chain of period 3 never settles either: solve the equations, do not take steps",
    rtol=1e-5,
    atol=1e-6,
)
alone = checks.run(
    lambda: stationary_distribution(np.array([[1.0]])),
    hint="a chain of one state spends all its time there",
)
checks.close(alone, [1.0], hint="a chain of one state spends all its time there", rtol=1e-5)

### BEGIN HIDDEN TESTS


def stationary_inputs(rng):
    kind = rng.integers(4)
    size = int(rng.integers(2, 8))
    if kind == 0:  # dense
        transition = rng.dirichlet(np.full(size, 0.7), size=size) * 0.98 + 0.02 / size
    elif kind == 1:  # period 2: the states of one half lead to the other half only
        half = int(rng.integers(1, size))
        transition = np.zeros((size, size))
        transition[:half, half:] = rng.dirichlet(np.full(size - half, 2.0), size=half) * 0.9 + 0.1 / (
            size - half
        )
        transition[half:, :half] = (
            rng.dirichlet(np.full(half, 2.0), size=size - half) * 0.9 + 0.1 / half
        )
        order = rng.permutation(size)
        transition = transition[np.ix_(order, order)]
    elif kind == 2:  # a ring with waiting: complex eigenvalues
        wait = rng.uniform(0.0, 0.9, size)
        transition = np.diag(wait) + np.roll(np.diag(1 - wait), 1, axis=1)
    else:  # sticky
        leave = rng.uniform(0.0005, 0.002, (size, 1))
        transition = leave * (rng.dirichlet(np.full(size, 3.0), size=size) * 0.9 + 0.1 / size)
        transition += np.eye(size) * (1 - leave)
    return (transition / transition.sum(axis=1, keepdims=True),)


def stationary_reference(transition):
    # Grassmann, Taksar and Heyman (1985): leave out one state after the other, then put them back.
    rest = np.array(transition, dtype=float)
    for last in range(len(rest) - 1, 0, -1):
        rest[:last, last] /= rest[last, :last].sum()
        rest[:last, :last] += np.outer(rest[:last, last], rest[last, :last])
    shares = np.ones(len(rest))
    for state in range(1, len(rest)):
        shares[state] = shares[:state] @ rest[:state, state]
    return shares / shares.sum()


def close_enough(got, expected, hint):
    got = checks.array(got, expected.shape, "one share for each state")
    checks.true(not np.iscomplexobj(got), "got complex numbers: shares of time are real")
    checks.true(
        not np.allclose(-got, expected, rtol=1e-3),
        "the shares are negative: an eigenvector's sign is arbitrary, so divide by the sum of its"
        " places as they are",
    )
    checks.close(got, expected, hint, rtol=1e-3, atol=1e-5)


checks.hidden(
    title="random chains: dense, periodic, rings and sticky ones",
    call="stationary_distribution",
    inputs=stationary_inputs,
    reference=stationary_reference,
    compare=close_enough,
    hint=(
        "solve pi P = pi with the shares summing to 1, for chains that never settle or settle"
        " slowly too"
    ),
    cases=16,
)
### END HIDDEN TESTS

# %%
from bow2gpt import corpus

text = "".join(
    letter
    for letter in corpus.addresses("train")[0].text.lower()
    if letter.isalpha() and letter.isascii()
)
is_vowel = np.array([letter in "aeiou" for letter in text]).astype(int)
stay = np.array(
    [[np.mean(is_vowel[1:][is_vowel[:-1] == first] == second) for second in (0, 1)] for first in (0, 1)]
)
print("after a consonant, a vowel:  ", stay[0, 1].round(4))
print("after a vowel, a vowel:      ", stay[1, 1].round(4))
print("stationary share of vowels:  ", round(float(stationary_distribution(stay)[1]), 4))
print("share of vowels in the text: ", is_vowel.mean().round(4))

# %% mistake="stationary_distribution" name="right_eigenvector" says="pi stands to the left"
def stationary_distribution(transition):
    values, vectors = np.linalg.eig(transition)
    vector = vectors[:, np.argmin(abs(values - 1))].real
    return vector / vector.sum()


# %% mistake="stationary_distribution" name="euclidean_length" says="divide by their sum"
def stationary_distribution(transition):
    values, vectors = np.linalg.eig(transition.T)
    return abs(vectors[:, np.argmin(abs(values - 1))].real)


# %% mistake="stationary_distribution" name="complex" says="got complex numbers"
def stationary_distribution(transition):
    values, vectors = np.linalg.eig(transition.T)
    vector = vectors[:, np.argmin(abs(values - 1))]
    return vector / vector.sum()


# %% mistake="stationary_distribution" name="one_step" says="one more step must not change"
def stationary_distribution(transition):
    return transition.mean(axis=0)


# %% mistake="stationary_distribution" name="many_steps" says="never settles"
def stationary_distribution(transition):
    shares = np.ones(len(transition)) / len(transition)
    for _ in range(20000):
        shares = shares @ transition
    return shares


# %% mistake="stationary_distribution" name="stops_early" says="stopped too early"
def stationary_distribution(transition):
    lazy = (transition + np.eye(len(transition))) / 2
    return np.linalg.matrix_power(lazy, 200)[0]


# %% mistake="stationary_distribution" name="two_steps_averaged" says="a chain of period 3"
def stationary_distribution(transition):
    power = np.linalg.matrix_power(transition, 2**20)
    return ((power + power @ transition) / 2)[0]


# %% mistake="stationary_distribution" name="eigenvalue_of_length_one" says="eigenvalue 1 and not -1"
def stationary_distribution(transition):
    values, vectors = np.linalg.eig(transition.T)
    vector = vectors[:, np.argmin(abs(values.real**2 - 1) - 1e-9 * (values.real < 0))].real
    return vector / (vector.sum() if abs(vector.sum()) > 1e-9 else 1)


# %% mistake="stationary_distribution" name="nothing_to_sum_to_one" says="zeros do solve"
def stationary_distribution(transition):
    equations = transition.T - np.eye(len(transition))
    return np.linalg.lstsq(equations, np.zeros(len(transition)), rcond=None)[0]


# %% alternative="stationary_distribution" name="eigenvector"
def stationary_distribution(transition):
    values, vectors = np.linalg.eig(transition.T)
    vector = np.real(vectors[:, np.argmin(np.abs(values - 1))])
    return vector / vector.sum()


# %% alternative="stationary_distribution" name="replace_one_equation"
def stationary_distribution(transition):
    equations = transition.T - np.eye(len(transition))
    equations[-1] = 1
    right_side = np.zeros(len(transition))
    right_side[-1] = 1
    return np.linalg.solve(equations, right_side).tolist()


# %% alternative="stationary_distribution" name="lazy_squaring"
def stationary_distribution(transition):
    power = (transition + np.eye(len(transition))) / 2
    for _ in range(30):
        power = power @ power
        power /= power.sum(axis=1, keepdims=True)
    return power[0]


# %% [markdown]
# ## 6. `count_ngrams`
#
# *Difficulty 1 of 5, about 5 minutes, 2 points.*
#
# An *n-gram* is $n$ tokens in a row (Shannon, 1948, drew English from them by hand). Count every one of a text. They overlap: each token but the last few starts one.
#
# A text of $N$ tokens has $N - n + 1$ of them, and none if $N < n$. The result is a `Counter` whose keys are tuples of $n$ tokens, for $n = 1$ too. For $n < 1$, which means
# nothing, raise a `ValueError` that says so.
#
# By hand: *to be or not to be* has five bigrams: *to be* twice, *be or*, *or not*, *not to* once each.
#
# <details><summary>A nudge</summary>At which position does the last n-gram start?</details>
# <details><summary>A push</summary><code>tuple(tokens[start : start + n])</code> is the one that starts at <code>start</code>.</details>
# <details><summary>Almost there</summary><code>Counter(tuple(...) for start in range(len(tokens) - n + 1))</code>; a <code>range</code> of a negative number is empty, which is what a short text needs.</details>


# %% task="count_ngrams"
def count_ngrams(tokens: list[str], n: int) -> Counter:
    """Count every run of n tokens (about 3 lines).

    Args:
        tokens: the text, in order.
        n: how many tokens in a row, at least 1.

    Returns:
        How often each tuple of n tokens occurs; empty for a text shorter than n.

    Raises:
        ValueError: if n is less than 1.

    >>> count_ngrams(["to", "be", "or", "to", "be"], 2)
    Counter({('to', 'be'): 2, ('be', 'or'): 1, ('or', 'to'): 1})
    """
    ### BEGIN SOLUTION
    if n < 1:
        raise ValueError(f"got n = {n}, expected at least 1: an n-gram has n tokens")
    return Counter(tuple(tokens[start : start + n]) for start in range(len(tokens) - n + 1))
    ### END SOLUTION


# %% check="count_ngrams" points=2
tokens = ["to", "be", "or", "not", "to", "be"]
bigrams = checks.run(
    lambda: count_ngrams(tokens, 2),
    hint="a key of a Counter must not change, as a list can: make it a tuple",
)
checks.true(
    isinstance(bigrams, Counter),
    f"got {checks.show(bigrams)}, expected a Counter: one that was never seen then counts 0, without a"
    " KeyError",
)
checks.true(
    all(isinstance(key, tuple) for key in bigrams),
    "the keys are tuples of tokens, like ('to', 'be'), not joined text, nor a set, which has no order",
)
checks.true(
    all(len(key) == 2 for key in bigrams),
    "each bigram has exactly 2 tokens: nothing padded, nothing cut at the end",
)
checks.true(
    sum(bigrams.values()) != 3, "n-grams overlap: the next one starts one token further on, not n"
)
checks.true(
    sum(bigrams.values()) != 4,
    "6 tokens have 5 bigrams, you counted 4: distinct ones only, or the last one is lost",
)
right = {("to", "be"): 2, ("be", "or"): 1, ("or", "not"): 1, ("not", "to"): 1}
checks.equal(
    bigrams, right, hint="each token but the last starts one bigram, its tokens in the text's own order"
)
checks.unchanged(["to", "be", "or", "not", "to", "be"], tokens, "the list of tokens")
checks.equal(
    count_ngrams(tokens, 2),
    right,
    hint="each call counts its own tokens: keep nothing from the call before",
)
checks.equal(
    count_ngrams(["a", "b", "a", "b", "a", "b"], 2),
    {("a", "b"): 3, ("b", "a"): 2},
    hint="each call counts its own tokens: keep nothing from the call before",
)
checks.equal(
    count_ngrams(["a", "b", "a"], 1),
    {("a",): 2, ("b",): 1},
    hint="for n = 1 the keys are tuples of one token",
)
checks.equal(
    count_ngrams(["a", "a", "a", "a"], 3), {("a", "a", "a"): 2}, hint="4 tokens have 2 trigrams"
)
checks.equal(
    count_ngrams(["a", "b"], 2), {("a", "b"): 1}, hint="a text of exactly n tokens has one n-gram"
)
short = checks.run(
    lambda: count_ngrams(["a", "b"], 3), hint="a text shorter than n has no n-grams: that is no error"
)
checks.equal(short, {}, hint="a text shorter than n has no n-grams")
checks.equal(
    count_ngrams(list("abcdef"), 5),
    {tuple("abcde"): 1, tuple("bcdef"): 1},
    hint="n may be any number from 1",
)
checks.equal(
    count_ngrams(["War", "war"], 1),
    {("War",): 1, ("war",): 1},
    hint="tokens are counted as they are: do not change capitals",
)
checks.equal(
    count_ngrams(["", "new york"], 1),
    {("",): 1, ("new york",): 1},
    hint="a token may be anything: drop none, cut none",
)
checks.equal(
    count_ngrams(["war"] * 301, 2),
    {("war", "war"): 300},
    hint="an n-gram may occur hundreds of times: count each of them",
)
checks.raises(
    ValueError, lambda: count_ngrams(["a", "b"], 0), hint="n = 0 means nothing: raise a ValueError"
)
checks.raises(
    ValueError,
    lambda: count_ngrams(["a", "b"], -1),
    hint="a negative n means nothing: raise a ValueError",
)
checks.raises(
    ValueError, lambda: count_ngrams([], 0), hint="n = 0 means nothing, for an empty text too"
)

### BEGIN HIDDEN TESTS


def ngram_inputs(rng):
    words = ["war", "new york", "new", "york", "", "a", "aa", " ", "é", "the"][: rng.integers(1, 11)]
    return [words[index] for index in rng.integers(0, len(words), rng.choice([0, 1, 3, 8, 200]))], int(
        rng.integers(1, 7)
    )


def ngram_reference(tokens, n):
    counts = {}
    for window in zip(*(tokens[shift:] for shift in range(n)), strict=False):
        counts[window] = counts.get(window, 0) + 1
    return counts


checks.hidden(
    title="random texts, n from 1 to 6",
    call="count_ngrams",
    inputs=ngram_inputs,
    reference=ngram_reference,
    compare=checks.equal,
    hint="every run of n tokens, as a tuple, wherever it starts",
    cases=15,
)
### END HIDDEN TESTS

# %%
from bow2gpt import corpus

words = " ".join(address.text for address in corpus.addresses("train")[:20]).lower().split()
for n in (1, 2, 3, 4, 5):
    ngrams = count_ngrams(words, n)
    (common, count), *_ = ngrams.most_common(1)
    once = sum(value == 1 for value in ngrams.values()) / len(ngrams)
    print(
        f"n = {n}: {len(ngrams):6} different, {once:4.0%} of them seen once; most frequent:"
        f" {' '.join(common)} ({count})"
    )

# %% mistake="count_ngrams" name="last_lost" says="the last one is lost"
def count_ngrams(tokens, n):
    if n < 1:
        raise ValueError("n must be at least 1")
    return Counter(tuple(tokens[start : start + n]) for start in range(len(tokens) - n))


# %% mistake="count_ngrams" name="cut_at_the_end" says="nothing cut at the end"
def count_ngrams(tokens, n):
    if n < 1:
        raise ValueError("n must be at least 1")
    return Counter(tuple(tokens[start : start + n]) for start in range(len(tokens)))


# %% mistake="count_ngrams" name="no_overlap" says="n-grams overlap"
def count_ngrams(tokens, n):
    if n < 1:
        raise ValueError("n must be at least 1")
    return Counter(tuple(tokens[start : start + n]) for start in range(0, len(tokens) - n + 1, n))


# %% mistake="count_ngrams" name="joined" says="not joined text"
def count_ngrams(tokens, n):
    if n < 1:
        raise ValueError("n must be at least 1")
    return Counter(" ".join(tokens[start : start + n]) for start in range(len(tokens) - n + 1))


# %% mistake="count_ngrams" name="bare_unigrams" says="tuples of one token"
def count_ngrams(tokens, n):
    if n < 1:
        raise ValueError("n must be at least 1")
    if n == 1:
        return Counter(tokens)
    return Counter(tuple(tokens[start : start + n]) for start in range(len(tokens) - n + 1))


# %% mistake="count_ngrams" name="no_error" says="raise a ValueError"
def count_ngrams(tokens, n):
    return Counter(tuple(tokens[start : start + n]) for start in range(len(tokens) - n + 1))


# %% mistake="count_ngrams" name="plain_dictionary" says="expected a Counter"
def count_ngrams(tokens, n):
    if n < 1:
        raise ValueError("n must be at least 1")
    return dict(Counter(tuple(tokens[start : start + n]) for start in range(len(tokens) - n + 1)))


# %% mistake="count_ngrams" name="shorter_is_one" says="a text shorter than n"
def count_ngrams(tokens, n):
    if n < 1:
        raise ValueError("n must be at least 1")
    return Counter(tuple(tokens[start : start + n]) for start in range(max(len(tokens) - n + 1, 1)))


# %% mistake="count_ngrams" name="lower_case" says="do not change capitals"
def count_ngrams(tokens, n):
    if n < 1:
        raise ValueError("n must be at least 1")
    tokens = [token.lower() for token in tokens]
    return Counter(tuple(tokens[start : start + n]) for start in range(len(tokens) - n + 1))


# %% mistake="count_ngrams" name="remembers" says="keep nothing from the call before"
all_ngrams = Counter()


def count_ngrams(tokens, n):
    if n < 1:
        raise ValueError("n must be at least 1")
    all_ngrams.update(tuple(tokens[start : start + n]) for start in range(len(tokens) - n + 1))
    return all_ngrams


# %% mistake="count_ngrams" name="short_is_an_error" says="that is no error"
def count_ngrams(tokens, n):
    if not 1 <= n <= len(tokens):
        raise ValueError("n must be at least 1 and at most the length of the text")
    return Counter(tuple(tokens[start : start + n]) for start in range(len(tokens) - n + 1))


# %% alternative="count_ngrams" name="zip_of_shifts"
def count_ngrams(tokens, n):
    if n < 1:
        raise ValueError(f"n is {n}")
    return Counter(zip(*(tokens[shift:] for shift in range(n)), strict=False))


# %% alternative="count_ngrams" name="sliding_window"
def count_ngrams(tokens, n):
    from collections import deque

    if n <= 0:
        raise ValueError(f"n is {n}")
    counts, window = Counter(), deque(maxlen=n)
    for token in tokens:
        window.append(token)
        if len(window) == n:
            counts[tuple(window)] += 1
    return counts


# %% [markdown]
# ## 7. `kneser_ney`
#
# *Difficulty 5 of 5, about 30 minutes, 5 points: 3 for contexts that were seen, 2 for the rest.*
#
# After *my*, which word is likelier if neither was ever seen there: *Francisco* or *glass*? *Francisco* may be the more frequent, but it follows only
# *San*. Kneser and Ney (1995) ask not how often a word occurs but after **how many different words**; Chen and Goodman (1999) found this the best of
# all the ways to smooth. For bigrams, in the interpolated form:
#
# $$P(w \mid h) = \frac{\max(c(h, w) - \delta,\, 0)}{c(h)} + \frac{\delta\, N_{1+}(h\,\cdot)}{c(h)} \cdot \frac{N_{1+}(\cdot\, w)}{N_{1+}(\cdot\,\cdot)}$$
#
# * $c(h, w)$: how often word $w$ follows the context $h$: `counts`, of shape $(V, V)$, row = previous word; at least one bigram was seen;
# * $c(h) = \sum_w c(h, w)$: how often the context was seen;
# * $\delta$: the `discount`, between 0 and 1, taken from each bigram that was seen, and handed on to the second term;
# * $N_{1+}(h\,\cdot)$: how many different words follow $h$; $N_{1+}(\cdot\, w)$: how many different words $w$ follows; $N_{1+}(\cdot\,\cdot)$: how many different bigrams there are;
# * $P$: the result, of shape $(V, V)$; each row sums to 1. After a context that was never seen, $c(h) = 0$, the *continuation distribution* $\frac{N_{1+}(\cdot\, w)}{N_{1+}(\cdot\,\cdot)}$ is all there is: give that.
#
# By hand, with the words *san, francisco, my, glass* and $\delta = 0.75$. Seen: *san francisco* 4 times; *francisco glass*, *my san*, *my glass*, *glass my* once each. These are 5 different bigrams; *glass* follows two
# words, each other word follows one: the continuation distribution is $(\frac15, \frac15, \frac15, \frac25)$. After *my*: $c(h) = 2$, $N_{1+}(h\,\cdot) = 2$, so the second term's share is $\frac{0.75 \cdot 2}{2} = 0.75$.
#
# | | first term | second term | $P(w \mid \textit{my})$ |
# |---|---|---|---|
# | san | 0.25 / 2 | 0.75 / 5 | 0.275 |
# | francisco | 0 | 0.75 / 5 | 0.150 |
# | my | 0 | 0.75 / 5 | 0.150 |
# | glass | 0.25 / 2 | 0.75 · 2 / 5 | 0.425 |
#
# <details><summary>A nudge</summary>All three $N_{1+}$ are sums over the same matrix: 1 where a bigram was seen, 0 where not. Along which axis is each?</details>
# <details><summary>A push</summary>With <code>seen = counts > 0</code>: <code>seen.sum(axis=1)</code> belongs to the context, <code>seen.sum(axis=0)</code> to the word. Keep the first as a column, so that it works down the rows.</details>
# <details><summary>Almost there</summary>Compute the formula with <code>totals = counts.sum(axis=1, keepdims=True)</code>, with 1 in place of a total of 0 so that nothing is divided by zero; then <code>np.where(totals > 0, formula, continuation)</code>.</details>


# %% task="kneser_ney"
def kneser_ney(counts: np.ndarray, discount: float = 0.75) -> np.ndarray:
    """Turn bigram counts into probabilities by interpolated Kneser-Ney smoothing (about 8 lines).

    Args:
        counts: bigram counts of shape (V, V), row = previous word; at least one is not zero.
        discount: taken from each bigram that was seen, between 0 and 1.

    Returns:
        Probabilities of shape (V, V), row = previous word; each row sums to 1.

    >>> kneser_ney(np.array([[0, 2], [1, 1]]))
    array([[0.125, 0.875],
           [0.375, 0.625]])
    """
    ### BEGIN SOLUTION
    seen = counts > 0
    continuation = seen.sum(axis=0) / seen.sum()
    totals = counts.sum(axis=1, keepdims=True)
    safe_totals = np.where(totals > 0, totals, 1)
    discounted = np.maximum(counts - discount, 0) / safe_totals
    share = discount * seen.sum(axis=1, keepdims=True) / safe_totals
    return np.where(totals > 0, discounted + share * continuation, continuation)
    ### END SOLUTION


# %% check="kneser_ney" points=3
san, francisco, my, glass = range(4)
counts = np.array([[0.0, 4, 0, 0], [0, 0, 0, 1], [1, 0, 0, 1], [0, 0, 1, 0]])
given = counts.copy()
after = kneser_ney(given)
checks.unchanged(counts, given, "the matrix of counts")
after = checks.array(after, (4, 4), "one row for each previous word, one column for each next word")
checks.true(
    np.all(np.isfinite(after)),
    f"got {checks.show(after)}: NaN or infinity, where no context here has a total of 0",
)
checks.true(
    np.min(after) >= 0,
    "a probability is negative: what was never seen has nothing to discount, max(c - discount, 0)",
)
checks.true(
    after[my, francisco] > 0,
    "*my francisco* got probability zero: hand the discounted share on to the continuation"
    " distribution",
)
checks.true(
    not np.isclose(after[my, francisco], 0.75 * 4 / 8),
    "*francisco* is frequent, but follows one word only: the second term counts different contexts, not"
    " occurrences",
)
checks.true(
    not np.isclose(after[my, francisco], 0.75 / 4),
    "the second term is the continuation distribution, not the same for each word",
)
for row, total in enumerate(after.sum(axis=1)):
    checks.true(
        np.isclose(total, 1),
        f"row {row} sums to {total:.6g}, and a row sums to one: the second term gives back what was"
        " discounted, discount * N1+(h .) / c(h), shared out by N1+(. w) / N1+(. .)",
    )
checks.close(
    after[my],
    [0.275, 0.15, 0.15, 0.425],
    hint="see the worked example above: the row after *my*",
    rtol=1e-5,
    atol=1e-6,
)
checks.close(
    after[san],
    [0.0375, 0.85, 0.0375, 0.075],
    hint="see the formula: after *san*, c(h) = 4 and N1+(h .) = 1",
    rtol=1e-5,
    atol=1e-6,
)
again = kneser_ney(np.array([[1.0, 1, 0, 0], [0, 1, 0, 0], [0, 1, 0, 0], [0, 1, 0, 0]]))
checks.close(
    again,
    [[0.275, 0.725, 0, 0], [0.15, 0.85, 0, 0], [0.15, 0.85, 0, 0], [0.15, 0.85, 0, 0]],
    hint="each call has its own counts: keep nothing from the call before",
    rtol=1e-5,
    atol=1e-6,
)

### BEGIN HIDDEN TESTS


def seen_inputs(rng):
    size = int(rng.integers(1, 9))
    counts = rng.poisson(rng.choice([0.4, 1.0, 6.0]), size=(size, size))
    counts[np.arange(size), rng.integers(0, size, size)] += rng.integers(1, 30, size)
    return (counts.astype([np.int64, np.float64, np.uint8][rng.integers(3)]),)


def seen_reference(counts):
    rows = counts.tolist()
    every = range(len(rows))
    pairs = {(h, w) for h in every for w in every if rows[h][w] > 0}
    after = [[w for context, w in pairs if context == h] for h in every]
    before = [[h for h, word in pairs if word == w] for w in every]
    return [
        [
            (max(rows[h][w] - 0.75, 0) + 0.75 * len(after[h]) * len(before[w]) / len(pairs))
            / sum(rows[h])
            for w in every
        ]
        for h in every
    ]


def close_enough(got, expected, hint):
    checks.close(got, expected, hint, rtol=1e-5, atol=1e-6)


checks.hidden(
    title="random counts of several types, every context seen, discount 0.75",
    call="kneser_ney",
    inputs=seen_inputs,
    reference=seen_reference,
    compare=close_enough,
    hint=(
        "the formula, with N1+(h .) of the context's row, N1+(. w) of the word's column and N1+(. .) of"
        " the whole matrix"
    ),
    cases=12,
)
### END HIDDEN TESTS

# %% check="kneser_ney" points=2
counts = np.array(
    [[0, 4, 0, 0], [0, 0, 0, 1], [1, 0, 0, 1], [0, 0, 0, 0]]
)  # now nothing follows *glass*
after = checks.array(
    kneser_ney(counts), (4, 4), "one row for each previous word, one column for each next word"
)
unseen = "after *glass*, never seen as a context, you gave"
checks.true(
    np.all(np.isfinite(after[3])), f"{unseen} {checks.show(after[3])}: c(h) = 0 must not divide"
)
checks.true(np.any(after[3]), f"{unseen} only zeros: give the continuation distribution")
checks.true(
    not np.allclose(after[3], 1 / 4),
    f"{unseen} the same to each word: give the continuation distribution",
)
checks.close(
    after[3],
    [0.25, 0.25, 0, 0.5],
    hint="after a context never seen the answer is the continuation distribution, N1+(. w) / N1+(. .)",
    rtol=1e-5,
    atol=1e-6,
)
checks.close(
    after[2],
    [0.3125, 0.1875, 0, 0.5],
    hint="*my* follows no word now, so its N1+(. w) is 0; the other rows follow the formula",
    rtol=1e-5,
    atol=1e-6,
)
half = checks.array(kneser_ney(counts, discount=0.5), (4, 4))
checks.close(
    half[2],
    [0.375, 0.125, 0, 0.5],
    hint="with discount=0.5, both terms use 0.5 and not 0.75",
    rtol=1e-5,
    atol=1e-6,
)
alike = kneser_ney(np.ones((20, 20), dtype=int))
checks.close(
    alike,
    np.full((20, 20), 1 / 20),
    hint="400 different bigrams, all seen once: each row is the same for each word",
    rtol=1e-5,
)
none = checks.array(kneser_ney(counts, discount=0.0), (4, 4))
checks.close(
    none[2],
    [0.5, 0.0, 0.0, 0.5],
    hint="with discount=0 a context that was seen keeps its plain shares",
    rtol=1e-5,
    atol=1e-6,
)
ten = checks.array(kneser_ney(10 * counts, discount=0.1), (4, 4))
checks.close(
    ten[0],
    [0.000625, 0.998125, 0, 0.00125],
    hint="N1+ counts different words, whether they were seen once or ten times",
    rtol=1e-5,
    atol=1e-6,
)
many = kneser_ney(np.array([[200, 100], [1, 1]], dtype=np.uint8))
checks.close(
    many,
    [[2 / 3, 1 / 3], [0.5, 0.5]],
    hint="totals go beyond 255: do not add up in the small integer type of the counts",
    rtol=1e-5,
    atol=1e-6,
)

### BEGIN HIDDEN TESTS


def unseen_inputs(rng):
    size = int(rng.integers(2, 10))
    counts = rng.poisson(rng.choice([0.2, 1.0, 40.0]), size=(size, size))
    counts[rng.random(size) < 0.3] = 0
    counts[:, rng.random(size) < 0.3] = 0
    counts[rng.integers(size), rng.integers(size)] += 2
    discount = float(rng.choice([0.1, 0.5, 0.9, 1.0]))
    return counts.astype([np.int64, np.float64, np.uint8][rng.integers(3)]), discount


def unseen_reference(counts, discount):
    rows = counts.tolist()
    every = range(len(rows))
    pairs = {(h, w) for h in every for w in every if rows[h][w] > 0}
    result = []
    for h in every:
        total, kinds = sum(rows[h]), sum(context == h for context, _ in pairs)
        lower = [sum(word == w for _, word in pairs) / len(pairs) for w in every]
        upper = [max(rows[h][w] - discount, 0) for w in every]
        result.append(
            [(upper[w] + discount * kinds * lower[w]) / total if total else lower[w] for w in every]
        )
    return result


def close_enough(got, expected, hint):
    checks.close(got, expected, hint, rtol=1e-5, atol=1e-6)


checks.hidden(
    title="random counts with contexts never seen, words that follow nothing, other discounts",
    call="kneser_ney",
    inputs=unseen_inputs,
    reference=unseen_reference,
    compare=close_enough,
    hint=(
        "a row without counts is the continuation distribution; the others follow the formula, with the"
        " given discount"
    ),
    cases=15,
)
### END HIDDEN TESTS

# %%
from bow2gpt import corpus

tokens = (
    " ".join(
        address.text for address in corpus.addresses("train") if address.president == "Abraham Lincoln"
    )
    .lower()
    .split()
)
words = [word for word, count in Counter(tokens).most_common(800)]
place = {word: index for index, word in enumerate(words)}
counts = np.zeros((len(words), len(words)))
for first, second in zip(tokens[:-1], tokens[1:], strict=True):
    if first in place and second in place:
        counts[place[first], place[second]] += 1
probabilities = kneser_ney(counts)
for word in ("the", "united", "of", "i"):
    likely = np.argsort(-probabilities[place[word]])[:5]
    print(
        f"{word:>7} ->",
        ", ".join(f"{words[index]} {probabilities[place[word], index]:.3f}" for index in likely),
    )

# %% mistake="kneser_ney" name="occurrences_for_contexts" says="counts different contexts, not occurrences"
def kneser_ney(counts, discount=0.75):
    totals = counts.sum(axis=1, keepdims=True)
    lower = counts.sum(axis=0) / counts.sum()
    safe = np.maximum(totals, 1)
    kinds = (counts > 0).sum(axis=1, keepdims=True)
    return np.where(totals > 0, np.maximum(counts - discount, 0) / safe + discount * kinds / safe * lower, lower)


# %% mistake="kneser_ney" name="no_backoff" says="got probability zero"
def kneser_ney(counts, discount=0.75):
    return np.maximum(counts - discount, 0) / np.maximum(counts.sum(axis=1, keepdims=True), 1)


# %% mistake="kneser_ney" name="uniform_backoff" says="not the same for each word"
def kneser_ney(counts, discount=0.75):
    totals = counts.sum(axis=1, keepdims=True)
    lower = np.ones(len(counts)) / len(counts)
    safe = np.maximum(totals, 1)
    kinds = (counts > 0).sum(axis=1, keepdims=True)
    return np.where(totals > 0, np.maximum(counts - discount, 0) / safe + discount * kinds / safe * lower, lower)


# %% mistake="kneser_ney" name="one_discount_per_row" says="a row sums to one"
def kneser_ney(counts, discount=0.75):
    seen = counts > 0
    totals = counts.sum(axis=1, keepdims=True)
    lower = seen.sum(axis=0) / seen.sum()
    safe = np.maximum(totals, 1)
    return np.where(totals > 0, np.maximum(counts - discount, 0) / safe + discount / safe * lower, lower)


# %% mistake="kneser_ney" name="wrong_axis" says="a row sums to one"
def kneser_ney(counts, discount=0.75):
    seen = counts > 0
    totals = counts.sum(axis=1, keepdims=True)
    lower = seen.sum(axis=1) / seen.sum()
    safe = np.maximum(totals, 1)
    share = discount * seen.sum(axis=0)[:, None] / safe
    return np.where(totals > 0, np.maximum(counts - discount, 0) / safe + share * lower, lower)


# %% mistake="kneser_ney" name="negative" says="a probability is negative"
def kneser_ney(counts, discount=0.75):
    seen = counts > 0
    totals = counts.sum(axis=1, keepdims=True)
    lower = seen.sum(axis=0) / seen.sum()
    safe = np.maximum(totals, 1)
    share = discount * seen.sum(axis=1, keepdims=True) / safe
    return np.where(totals > 0, (counts - discount) / safe + share * lower, lower)


# %% mistake="kneser_ney" name="in_place" says="changed the matrix of counts"
def kneser_ney(counts, discount=0.75):
    seen = counts > 0
    totals = counts.sum(axis=1, keepdims=True)
    lower = seen.sum(axis=0) / seen.sum()
    safe = np.maximum(totals, 1)
    counts[seen] -= discount
    return np.where(totals > 0, counts / safe + discount * seen.sum(axis=1, keepdims=True) / safe * lower, lower)


# %% mistake="kneser_ney" name="unseen_is_nan" loses=2 says="c(h) = 0 must not divide"
def kneser_ney(counts, discount=0.75):
    seen = counts > 0
    totals = counts.sum(axis=1, keepdims=True)
    with np.errstate(invalid="ignore"):
        share = discount * seen.sum(axis=1, keepdims=True) / totals
        return np.maximum(counts - discount, 0) / totals + share * seen.sum(axis=0) / seen.sum()


# %% mistake="kneser_ney" name="unseen_is_zero" loses=2 says="you gave only zeros"
def kneser_ney(counts, discount=0.75):
    seen = counts > 0
    totals = np.maximum(counts.sum(axis=1, keepdims=True), 1)
    share = discount * seen.sum(axis=1, keepdims=True) / totals
    return np.maximum(counts - discount, 0) / totals + share * seen.sum(axis=0) / seen.sum()


# %% mistake="kneser_ney" name="unseen_is_uniform" loses=2 says="the same to each word"
def kneser_ney(counts, discount=0.75):
    seen = counts > 0
    totals = counts.sum(axis=1, keepdims=True)
    safe = np.maximum(totals, 1)
    share = discount * seen.sum(axis=1, keepdims=True) / safe
    formula = np.maximum(counts - discount, 0) / safe + share * seen.sum(axis=0) / seen.sum()
    return np.where(totals > 0, formula, 1 / len(counts))


# %% mistake="kneser_ney" name="fixed_discount" loses=2 says="use 0.5 and not 0.75"
def kneser_ney(counts, discount=0.75):
    seen = counts > 0
    totals = counts.sum(axis=1, keepdims=True)
    lower = seen.sum(axis=0) / seen.sum()
    safe = np.maximum(totals, 1)
    share = 0.75 * seen.sum(axis=1, keepdims=True) / safe
    return np.where(totals > 0, np.maximum(counts - 0.75, 0) / safe + share * lower, lower)


# %% mistake="kneser_ney" name="kinds_seen_once" says="random counts of several types"
def kneser_ney(counts, discount=0.75):
    seen, once = counts > 0, counts == 1
    totals = counts.sum(axis=1, keepdims=True)
    kinds = once.sum(axis=1, keepdims=True)
    kinds = np.where(kinds == 0, 1, kinds)
    lower = seen.sum(axis=0) / seen.sum()
    safe = np.maximum(totals, 1)
    return np.where(totals > 0, np.maximum(counts - discount, 0) / safe + discount * kinds / safe * lower, lower)


# %% mistake="kneser_ney" name="zero_is_no_discount" loses=2 says="with discount=0"
def kneser_ney(counts, discount=None):
    discount = discount or 0.75
    seen = counts > 0
    totals = counts.sum(axis=1, keepdims=True)
    lower = seen.sum(axis=0) / seen.sum()
    safe = np.maximum(totals, 1)
    share = discount * seen.sum(axis=1, keepdims=True) / safe
    return np.where(totals > 0, np.maximum(counts - discount, 0) / safe + share * lower, lower)


# %% alternative="kneser_ney" name="loops_and_lists"
def kneser_ney(counts, discount=0.75):
    size = len(counts)
    pairs = [(h, w) for h in range(size) for w in range(size) if counts[h, w] > 0]
    contexts, words = Counter(h for h, _ in pairs), Counter(w for _, w in pairs)
    result = []
    for h in range(size):
        total = float(counts[h].sum())
        row = []
        for w in range(size):
            p = words[w] / len(pairs)
            if total > 0:
                p = max(float(counts[h, w]) - discount, 0.0) / total + discount * contexts[h] / total * p
            row.append(p)
        result.append(row)
    return result


# %% alternative="kneser_ney" name="what_is_left_over"
def kneser_ney(counts, discount=0.75):
    counts = counts.astype(np.float32)
    lower = np.count_nonzero(counts, axis=0) / np.count_nonzero(counts)
    totals = counts.sum(axis=1, keepdims=True)
    upper = np.clip(counts - np.float32(discount), 0, None) / np.where(totals == 0, 1, totals)
    return upper + (1 - upper.sum(axis=1, keepdims=True)) * lower


# %% [markdown]
# ## 8. `perplexity`
#
# *Difficulty 2 of 5, about 5 minutes, 2 points.*
#
# How surprised was the model? A *perplexity* of 50 means: on average as unsure as if it had to choose among 50 equally likely words (Jelinek et al., 1977).
#
# $$\exp\left( -\frac1N \sum_{i=1}^{N} \ln p_i \right)$$
#
# * $p_i$: the probability that the model gave to token $i$, when it came; `log_probs` holds $\ln p_i$, natural logarithms, of shape $(N,)$;
# * $N$: the number of tokens; with none there is nothing to average, so raise a `ValueError` that says so.
#
# By hand: probabilities $\frac12$ and $\frac18$. The mean of $-\ln\frac12 = 0.693$ and $-\ln\frac18 = 2.079$ is $1.386 = \ln 4$, so the perplexity is 4, the geometric mean of 2 and 8, and not 5. A text with a token of probability zero has an infinite perplexity.
#
# <details><summary>A nudge</summary>A model that is always certain, and right, has perplexity 1. Nothing can be lower.</details>
# <details><summary>A push</summary>Stay in logs to the end: the product of 5000 probabilities is 0 in floating point, the mean of 5000 logs is harmless.</details>
# <details><summary>Almost there</summary><code>np.exp(-np.mean(log_probs))</code>, after a check of <code>len(log_probs)</code>.</details>


# %% task="perplexity"
def perplexity(log_probs: np.ndarray) -> float:
    """Give the exponential of the mean negative log probability (about 3 lines).

    Args:
        log_probs: natural logarithm of each token's probability, of shape (N,).

    Returns:
        A number from 1, for a model that was certain and right, upwards.

    Raises:
        ValueError: if there is no token.

    >>> round(perplexity(np.log([0.5, 0.125])), 6)
    4.0
    """
    ### BEGIN SOLUTION
    if len(log_probs) == 0:
        raise ValueError("got no log probabilities: the perplexity of an empty text is not defined")
    return float(np.exp(-np.mean(log_probs)))
    ### END SOLUTION


# %% check="perplexity" points=2
even = perplexity(np.log([0.25] * 3))
even = checks.array(
    even, (), "the text has one perplexity, not one for each token, and nothing around it"
)
checks.true(not np.isclose(even, 0.25), "a perplexity below 1 cannot be: the minus sign is missing")
checks.true(
    not np.isclose(even, 64),
    "that is one over the probability of the whole text: average over the tokens, do not add them up",
)
checks.true(
    not np.isclose(even, 2 ** np.log(4)) and not np.isclose(even, 10 ** np.log(4)),
    "the logs are natural, so raise e to their mean, not 2 or 10",
)
checks.true(
    not np.isclose(even, np.log(4)), "that is the cross-entropy in nats: the exponential is missing"
)
checks.close(
    even,
    4,
    hint="to choose among 4 equally likely words is a perplexity of 4, however long the text",
    rtol=1e-5,
)
log_probs = np.log([0.5, 0.125])
given = log_probs.copy()
uneven = checks.array(perplexity(given), ())
checks.true(
    not np.isclose(uneven, 5) and not np.isclose(uneven, 3.2),
    "average the logs, not the probabilities or their inverses",
)
checks.true(
    not np.isclose(uneven, 2) and not np.isclose(uneven, 8),
    "every token counts, from the first to the last",
)
checks.close(uneven, 4, hint="exp of the mean of 0.693 and 2.079", rtol=1e-5)
checks.unchanged(log_probs, given, "the log probabilities")
checks.close(
    perplexity(np.full(5000, np.log(0.1))),
    10,
    hint="multiplying 5000 probabilities underflows to 0: average their logs",
    rtol=1e-5,
)
sure = checks.run(
    lambda: perplexity(np.array([0.0])),
    hint="a log probability of 0 is a token too, one that was certain",
)
checks.close(sure, 1, hint="a model that is certain and right has perplexity 1")
checks.close(
    perplexity(np.log([1.0, 0.25])),
    2,
    hint="a token that was certain counts in the mean too",
    rtol=1e-5,
)
checks.close(
    perplexity(np.log([0.5, 0.5, 0.125])),
    2 ** (5 / 3),
    hint=(
        "equal log probabilities count each time they occur, and it is their mean, not the one in the"
        " middle; do not round"
    ),
    rtol=1e-5,
)
checks.true(
    bool(np.isposinf(checks.array(perplexity(np.array([-np.inf, 0.0])), ()))),
    "a token of probability zero makes the perplexity infinite: do not skip it, and do not replace it",
)
checks.raises(
    ValueError, lambda: perplexity(np.array([])), hint="an empty text has no mean: raise a ValueError"
)

### BEGIN HIDDEN TESTS


def perplexity_inputs(rng):
    length = int(rng.choice([1, 2, 7, 3000]))
    return (-rng.exponential(rng.choice([0.05, 1.0, 5.0]), size=length),)


def perplexity_reference(log_probs):
    result = 1.0
    for value in log_probs.tolist():
        result *= 2.718281828459045 ** (-value / len(log_probs))
    return result


def close_enough(got, expected, hint):
    checks.close(got, expected, hint, rtol=1e-5, atol=0)


checks.hidden(
    title="random log probabilities, of one to thousands of tokens",
    call="perplexity",
    inputs=perplexity_inputs,
    reference=perplexity_reference,
    compare=close_enough,
    hint="exp of minus the mean log",
    cases=12,
)
### END HIDDEN TESTS

# %%
from bow2gpt import corpus

for address in corpus.addresses("train")[::40]:
    words = address.text.lower().split()
    counts = Counter(words)
    log_probs = np.log([counts[word] / len(words) for word in words])
    print(
        f"{address.year}: {len(words):6} words; by its own word counts, perplexity"
        f" {perplexity(log_probs):.0f}"
    )

# %% mistake="perplexity" name="no_minus" says="minus sign is missing"
def perplexity(log_probs):
    if len(log_probs) == 0:
        raise ValueError("empty")
    return np.exp(np.mean(log_probs))


# %% mistake="perplexity" name="sum" says="average over the tokens"
def perplexity(log_probs):
    if len(log_probs) == 0:
        raise ValueError("empty")
    return np.exp(-np.sum(log_probs))


# %% mistake="perplexity" name="base_two" says="raise e to their mean"
def perplexity(log_probs):
    if len(log_probs) == 0:
        raise ValueError("empty")
    return 2 ** -np.mean(log_probs)


# %% mistake="perplexity" name="cross_entropy" says="the exponential is missing"
def perplexity(log_probs):
    if len(log_probs) == 0:
        raise ValueError("empty")
    return -np.mean(log_probs)


# %% mistake="perplexity" name="mean_of_inverses" says="average the logs"
def perplexity(log_probs):
    if len(log_probs) == 0:
        raise ValueError("empty")
    return np.mean(np.exp(-log_probs))


# %% mistake="perplexity" name="product" says="underflows to 0"
def perplexity(log_probs):
    if len(log_probs) == 0:
        raise ValueError("empty")
    with np.errstate(divide="ignore"):
        return np.prod(np.exp(log_probs)) ** (-1 / len(log_probs))


# %% mistake="perplexity" name="empty_is_nan" says="raise a ValueError"
def perplexity(log_probs):
    return np.exp(-np.sum(log_probs) / max(len(log_probs), 1))


# %% mistake="perplexity" name="one_too_few" says="however long the text"
def perplexity(log_probs):
    if len(log_probs) == 0:
        raise ValueError("empty")
    return np.exp(-np.sum(log_probs) / max(len(log_probs) - 1, 1))


# %% mistake="perplexity" name="skips_the_impossible" says="makes the perplexity infinite"
def perplexity(log_probs):
    if len(log_probs) == 0:
        raise ValueError("empty")
    return np.exp(-np.mean(log_probs[np.isfinite(log_probs)]))


# %% mistake="perplexity" name="skips_the_certain" says="certain counts in the mean too"
def perplexity(log_probs):
    if len(log_probs) == 0:
        raise ValueError("empty")
    return np.exp(-log_probs.sum() / max(np.count_nonzero(log_probs), 1))


# %% mistake="perplexity" name="each_value_once" says="equal log probabilities count each time"
def perplexity(log_probs):
    if len(log_probs) == 0:
        raise ValueError("empty")
    return np.exp(-np.mean(np.unique(log_probs)))


# %% alternative="perplexity" name="by_hand"
def perplexity(log_probs):
    from math import exp, fsum

    values = [float(value) for value in log_probs]
    if not values:
        raise ValueError("no tokens")
    return exp(fsum(-value for value in values) / len(values))


# %% alternative="perplexity" name="geometric_mean"
def perplexity(log_probs):
    if log_probs.size == 0:
        raise ValueError("no tokens")
    return np.prod(np.exp(-log_probs / log_probs.size))


# %% [markdown]
# ## 9. `sample_with_temperature`
#
# *Difficulty 3 of 5, about 15 minutes, 3 points.*
#
# A model gives a distribution; a text needs one word. Draw it, and let a *temperature* say how bold to be (Ackley, Hinton and Sejnowski, 1985): below 1 the likely words
# win more often, above 1 the unlikely ones get their chance.
#
# $$q_i = \frac{\exp(\ell_i / T)}{\sum_j \exp(\ell_j / T)}$$
#
# * $\ell_i$: `log_probs`, the log probability of token $i$, of shape $(V,)$; $-\infty$ for a token that cannot come, which must then never be drawn;
# * $T$: `temperature`. $T = 0$ means the most probable token, without chance. $T < 0$ means nothing: raise a `ValueError`;
# * $q$: the distribution to draw from, once, with `rng` and no other source of chance: the same seed then gives the same draws.
#
# At $T = 0.001$, $\ell_i / T$ may be $-5000$, and $e^{-5000}$ is 0 in floating point. As in task 3, subtract the largest value first.
#
# By hand: $p = (0.8, 0.2)$. At $T = \frac12$, $q \propto (0.8^2, 0.2^2) = (0.64, 0.04)$, so $q = (0.941, 0.059)$; at $T = 2$, $q \propto (\sqrt{0.8}, \sqrt{0.2})$, so $q = (0.667, 0.333)$.
#
# <details><summary>A nudge</summary>Which values of $T$ does the formula not cover? Deal with them first.</details>
# <details><summary>A push</summary><code>log_probs - log_probs.max()</code> has 0 as its largest value, so at least one exponential is 1, whatever $T$. The exponential of $-\infty$ is a 0 that needs no special care.</details>
# <details><summary>Almost there</summary><code>weights = np.exp((log_probs - log_probs.max()) / temperature)</code>, divided by its sum, goes into <code>rng.choice(len(log_probs), p=...)</code>.</details>


# %% task="sample_with_temperature"
def sample_with_temperature(log_probs: np.ndarray, temperature: float, rng: np.random.Generator) -> int:
    """Draw one token from softmax(log_probs / temperature) (about 6 lines).

    Args:
        log_probs: natural logarithm of each token's probability, of shape (V,); -inf where it is 0.
        temperature: 0 for the most probable token, 1 for the model's own distribution, above 1 for
            bolder draws; never negative.
        rng: the only source of chance.

    Returns:
        The token's index, 0 to V - 1.

    Raises:
        ValueError: if the temperature is negative.

    >>> sample_with_temperature(np.log([0.2, 0.7, 0.1]), 0, np.random.default_rng(0))
    1
    """
    ### BEGIN SOLUTION
    if temperature < 0:
        raise ValueError(f"got temperature {temperature}, expected 0 or more")
    if temperature == 0:
        return int(np.argmax(log_probs))
    weights = np.exp((log_probs - log_probs.max()) / temperature)
    return int(rng.choice(len(weights), p=weights / weights.sum()))
    ### END SOLUTION


# %% check="sample_with_temperature" points=3
log_probs = np.log([0.125, 0.5, 0.25, 0.125])
given = log_probs.copy()
for temperature in (1.0, 0.5, 0.0):
    token = checks.run(
        lambda t=temperature: sample_with_temperature(given, t, np.random.default_rng(1)),
        hint=f"the temperature is {temperature} here: 0 is allowed, and nothing can be divided by it",
    )
    checks.unchanged(log_probs, given, "the log probabilities")
    checks.true(
        isinstance(token, (int, np.integer)) and 0 <= token < 4,
        f"got {checks.show(token)}, expected one index from 0 to 3",
    )
greedy = {int(sample_with_temperature(log_probs, 0, np.random.default_rng(seed))) for seed in range(30)}
checks.equal(greedy, {1}, hint="at temperature 0 the most probable token, 1, comes every time")
close_race = np.log([0.333, 0.333, 0.334])
greedy = {
    int(sample_with_temperature(close_race, 0, np.random.default_rng(seed))) for seed in range(30)
}
checks.equal(
    greedy,
    {2},
    hint="at temperature 0 take the largest, however close the race: no small number instead of 0",
)
for temperature in (-1.0, -0.01):
    checks.raises(
        ValueError,
        lambda t=temperature: sample_with_temperature(log_probs, t, np.random.default_rng(1)),
        hint=f"a negative temperature means nothing: raise a ValueError, for {temperature} too",
    )


draw = checks.evaluate(  # the loop stands with your function, also where a grader runs it in another process
    """lambda log_probs, temperature, rng, number:
        [int(sample_with_temperature(log_probs, temperature, rng)) for _ in range(number)]"""
)


def draws(log_probs, temperature, number, seed):
    return draw(log_probs, temperature, np.random.default_rng(seed), number)


checks.equal(
    draws(log_probs, 1.0, 60, seed=3),
    draws(log_probs, 1.0, 60, seed=3),
    hint="the same seed must give the same draws: use rng, and no other source of chance",
)
checks.true(
    len(set(draws(log_probs, 1.0, 200, seed=3))) > 1,
    "200 draws from one rng gave one token only: draw at random, from the rng as it comes, without a"
    " seed of your own",
)
checks.true(
    draws(log_probs, 1.0, 60, seed=3) != draws(log_probs, 1.0, 60, seed=4),
    "two seeds gave the same 60 draws: the chance must come from rng",
)
divide = "divide the logs by the temperature, before the softmax"
for temperature, expected, cause in [
    (
        1.0,
        [0.125, 0.5, 0.25, 0.125],
        "at temperature 1 the draws follow the probabilities themselves, in the order of the tokens",
    ),
    (
        0.5,
        [1 / 22, 16 / 22, 4 / 22, 1 / 22],
        f"at temperature 0.5 the likely tokens win more often: {divide}",
    ),
    (
        2.0,
        [0.1847, 0.3694, 0.2612, 0.1847],
        f"at temperature 2 the unlikely tokens come more often: {divide}",
    ),
    (
        1000.0,
        [0.25] * 4,
        "at a very high temperature all tokens that can come are almost equally likely",
    ),
]:
    shares = np.bincount(draws(log_probs, temperature, 3000, seed=5), minlength=4) / 3000
    checks.close(shares, expected, hint=cause, rtol=0, atol=0.06)
shares = np.bincount(draws(np.log([0.5, 0.45, 0.05]), 0.1, 3000, seed=8), minlength=3) / 3000
checks.close(
    shares,
    [0.741, 0.259, 0],
    hint="at a low temperature the second best still comes, only less often",
    rtol=0,
    atol=0.06,
)
even = draws(np.log(np.full(40, 1 / 40)), 1.0, 2000, seed=9)
checks.equal(
    len(set(even)), 40, hint="of 40 equally likely tokens each comes: do not cut the unlikely ones off"
)
with np.errstate(all="ignore"):
    cold = draws(np.log([0.1, 0.2, 0.3, 0.4]), 0.0001, 50, seed=6)
    checks.equal(
        set(cold),
        {3},
        hint="at a very small temperature exp underflows: subtract the largest log before you divide",
    )
    never = draws(np.array([np.log(0.5), -np.inf, np.log(0.5)]), 3.0, 300, seed=7)
    checks.equal(
        set(never), {0, 2}, hint="a token of log probability -inf can never come, and the others can"
    )

### BEGIN HIDDEN TESTS


def sample_inputs(rng):
    size = int(rng.integers(1, 8))
    probabilities = rng.dirichlet(np.full(size, 1.5))
    if size > 2:
        probabilities[rng.random(size) < 0.2] = 0
    probabilities = rng.permutation(probabilities if probabilities.any() else np.arange(1.0, size + 1))
    temperature = float(rng.choice([0.0, 1e-3, 0.3, 0.3, 0.6, 1.0, 1.5, 3.0, 1e4]))
    with np.errstate(divide="ignore"):
        return np.log(probabilities / probabilities.sum()), temperature, int(rng.integers(2**31)), 1500


def sample_reference(log_probs, temperature, seed, number):
    if temperature == 0:
        return (log_probs == log_probs.max()).astype(float)
    exponents = [(value - max(log_probs)) / temperature for value in log_probs]
    weights = [2.718281828459045**value for value in exponents]
    return np.array(weights) / sum(weights)


def follows_the_law(got, expected, hint):
    # Bernstein's inequality (1924): a right answer strays this far once in a thousand million times.
    tokens, number = np.asarray(got), len(got)
    in_range = (
        tokens.shape == (number,)
        and tokens.dtype.kind in "iu"
        and tokens.min() >= 0
        and tokens.max() < len(expected)
    )
    checks.true(
        bool(in_range),
        f"got draws like {checks.show(got)}, expected indices from 0 to {len(expected) - 1}",
    )
    shares = np.bincount(tokens, minlength=len(expected)) / number
    strength = np.log(2 * len(expected) / 1e-9) / number
    allowed = strength / 3 + np.sqrt((strength / 3) ** 2 + 2 * strength * expected * (1 - expected))
    for token, (share, right) in enumerate(zip(shares, expected, strict=True)):
        checks.true(not (right == 0 and share > 0), f"token {token} came, and its probability is 0")
        checks.true(
            bool(abs(share - right) <= allowed[token]),
            f"token {token} came in {share:.1%} of {number} draws, expected {right:.1%}. Likely cause:"
            f" {hint}",
        )


checks.hidden(
    title="the share of each token in 1500 draws",
    call=(
        "lambda log_probs, temperature, seed, number: (rng := np.random.default_rng(seed))"
        " and [sample_with_temperature(log_probs, temperature, rng) for _ in range(number)]"
    ),
    inputs=sample_inputs,
    reference=sample_reference,
    compare=follows_the_law,
    hint=(
        "draw from softmax(log_probs / temperature), at any temperature and with log probabilities of"
        " -inf"
    ),
    cases=10,
)


def seed_inputs(rng):
    return np.log(rng.dirichlet(np.full(6, 5.0))), float(rng.uniform(0.7, 2)), int(rng.integers(2**31))


def seed_reference(log_probs, temperature, seed):
    return {"same seed, same draws": True, "other seed, other draws": True}


checks.hidden(
    title="seeds",
    call=(
        "lambda log_probs, temperature, seed: (lambda run: {'same seed, same draws': run(seed) =="
        " run(seed), 'other seed, other draws': run(seed) != run(seed + 1)})(lambda s: (rng :="
        " np.random.default_rng(s)) and [int(sample_with_temperature(log_probs, temperature, rng)) for"
        " _ in range(60)])"
    ),
    inputs=seed_inputs,
    reference=seed_reference,
    compare=checks.equal,
    hint="all chance must come from rng, as it is given",
    cases=2,
)
### END HIDDEN TESTS

# %%
import matplotlib.pyplot as plt

from bow2gpt import figures

likely_words = ["war", "peace", "the", "congress", "glass"]
model_probs = np.array([0.4, 0.3, 0.2, 0.07, 0.03])
rng = np.random.default_rng(0)
fig, axis = plt.subplots()
for offset, temperature in enumerate((0.3, 1.0, 3.0)):
    drawn = Counter(sample_with_temperature(np.log(model_probs), temperature, rng) for _ in range(1000))
    shares = [drawn[index] / 1000 for index in range(5)]
    axis.bar(
        np.arange(5) + 0.27 * (offset - 1),
        shares,
        width=0.25,
        label=f"T = {temperature}",
        hatch=["", "//", ".."][offset],
    )
axis.set(title="What does temperature do to the draws?", xlabel="word", ylabel="share of 1000 draws")
axis.set_xticks(range(5), likely_words)
axis.legend()
figures.show(
    fig,
    alt=(
        "Bars of drawn shares: at temperature 0.3 the likeliest word takes most draws, at 3 the five"
        " words come close to equal shares."
    ),
)

# %% mistake="sample_with_temperature" name="multiplies" says="divide the logs by the temperature"
def sample_with_temperature(log_probs, temperature, rng):
    if temperature < 0:
        raise ValueError("negative")
    if temperature == 0:
        return int(np.argmax(log_probs))
    weights = np.exp((log_probs - log_probs.max()) * temperature)
    return int(rng.choice(len(weights), p=weights / weights.sum()))


# %% mistake="sample_with_temperature" name="divides_probabilities" says="at temperature 0.5 the likely tokens win more often"
def sample_with_temperature(log_probs, temperature, rng):
    if temperature < 0:
        raise ValueError("negative")
    if temperature == 0:
        return int(np.argmax(log_probs))
    weights = np.exp(log_probs) / temperature
    return int(rng.choice(len(weights), p=weights / weights.sum()))


# %% mistake="sample_with_temperature" name="softmax_of_probabilities" says="at temperature 1 the draws follow the probabilities"
def sample_with_temperature(log_probs, temperature, rng):
    if temperature < 0:
        raise ValueError("negative")
    if temperature == 0:
        return int(np.argmax(log_probs))
    weights = np.exp(np.exp(log_probs) / max(temperature, 0.01))
    return int(rng.choice(len(weights), p=weights / weights.sum()))


# %% mistake="sample_with_temperature" name="own_chance" says="the same seed must give the same draws"
def sample_with_temperature(log_probs, temperature, rng):
    if temperature < 0:
        raise ValueError("negative")
    if temperature == 0:
        return int(np.argmax(log_probs))
    weights = np.exp((log_probs - log_probs.max()) / temperature)
    return int(np.random.default_rng().choice(len(weights), p=weights / weights.sum()))


# %% mistake="sample_with_temperature" name="own_seed" says="without a seed of your own"
def sample_with_temperature(log_probs, temperature, rng):
    if temperature < 0:
        raise ValueError("negative")
    if temperature == 0:
        return int(np.argmax(log_probs))
    weights = np.exp((log_probs - log_probs.max()) / temperature)
    return int(np.random.default_rng(0).choice(len(weights), p=weights / weights.sum()))


# %% mistake="sample_with_temperature" name="always_the_best" says="200 draws from one rng gave one token only"
def sample_with_temperature(log_probs, temperature, rng):
    if temperature < 0:
        raise ValueError("negative")
    return int(np.argmax(log_probs))


# %% mistake="sample_with_temperature" name="zero_is_one" says="the most probable token"
def sample_with_temperature(log_probs, temperature, rng):
    if temperature < 0:
        raise ValueError("negative")
    weights = np.exp((log_probs - log_probs.max()) / (temperature or 1))
    return int(rng.choice(len(weights), p=weights / weights.sum()))


# %% mistake="sample_with_temperature" name="underflow" says="subtract the largest log before you divide"
def sample_with_temperature(log_probs, temperature, rng):
    if temperature < 0:
        raise ValueError("negative")
    if temperature == 0:
        return int(np.argmax(log_probs))
    weights = np.exp(log_probs / temperature)
    cumulative = np.cumsum(weights / weights.sum())
    return int(min(np.searchsorted(cumulative, rng.random(), side="right"), len(weights) - 1)) if weights.any() else 0


# %% mistake="sample_with_temperature" name="in_place" says="changed the log probabilities"
def sample_with_temperature(log_probs, temperature, rng):
    if temperature < 0:
        raise ValueError("negative")
    if temperature == 0:
        return int(np.argmax(log_probs))
    log_probs -= log_probs.max()
    log_probs /= temperature
    weights = np.exp(log_probs)
    return int(rng.choice(len(weights), p=weights / weights.sum()))


# %% mistake="sample_with_temperature" name="no_error" says="a negative temperature means nothing"
def sample_with_temperature(log_probs, temperature, rng):
    if temperature <= 0:
        return int(np.argmax(log_probs))
    weights = np.exp((log_probs - log_probs.max()) / temperature)
    return int(rng.choice(len(weights), p=weights / weights.sum()))


# %% mistake="sample_with_temperature" name="impossible_made_possible" says="can never come"
def sample_with_temperature(log_probs, temperature, rng):
    if temperature < 0:
        raise ValueError("negative")
    if temperature == 0:
        return int(np.argmax(log_probs))
    finite = np.maximum(log_probs, -10)
    weights = np.exp((finite - finite.max()) / temperature)
    return int(rng.choice(len(weights), p=weights / weights.sum()))


# %% mistake="sample_with_temperature" name="small_for_zero" says="no small number instead of 0"
def sample_with_temperature(log_probs, temperature, rng):
    if temperature < 0:
        raise ValueError("negative")
    weights = np.exp((log_probs - log_probs.max()) / max(temperature, 0.01))
    return int(rng.choice(len(weights), p=weights / weights.sum()))


# %% alternative="sample_with_temperature" name="gumbel"
def sample_with_temperature(log_probs, temperature, rng):
    if temperature < 0:
        raise ValueError(f"temperature {temperature}")
    if temperature == 0:
        return np.argmax(log_probs)
    return np.argmax(log_probs / temperature + rng.gumbel(size=len(log_probs)))


# %% alternative="sample_with_temperature" name="walks_the_cumulative"
def sample_with_temperature(log_probs, temperature, rng):
    from math import exp

    if temperature < 0:
        raise ValueError(f"temperature {temperature}")
    values = [float(value) for value in log_probs]
    best = max(range(len(values)), key=values.__getitem__)
    if temperature == 0:
        return best
    weights = [exp((value - values[best]) / temperature) for value in values]
    left = rng.random() * sum(weights)
    for token, weight in enumerate(weights):
        left -= weight
        if left < 0:
            return token
    return best
