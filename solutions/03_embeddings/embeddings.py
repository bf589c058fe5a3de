# %% [markdown]
# # Exercise 03: Embeddings
#
# <!-- launch: made by `bow2gpt build` -->
# [Open in Colab](https://colab.research.google.com/github/bow2gpt/bow2gpt/blob/main/exercises/03_embeddings/embeddings.ipynb) | [Open in Binder](https://mybinder.org/v2/gh/bow2gpt/bow2gpt/main?urlpath=lab/tree/exercises/03_embeddings/embeddings.ipynb)
# <!-- /launch -->
#
# Nine small functions: two that read vectors, two that make them by counting, three that make them by learning, one for positions, and one that cuts
# vectors short. You write them from scratch; together they are the chapter.
#
# Write your answer in the cell that says so, in place of the `raise` line, and run it. The cell below it is the check: it answers at once, and says
# what is wrong in the words of the subject. Run it as often as you like. In a terminal, `bow2gpt check 03` grades everything, with further checks
# on inputs that you have not seen. The tasks do not depend on one another: start where you like, leave what you like.
#
# | task | difficulty | minutes | points |
# |---|---|---|---|
# | `cosine_neighbours` | 2 | 10 | 3 |
# | `analogy` | 2 | 10 | 3 |
# | `ppmi` | 3 | 15 | 3 |
# | `svd_embed` | 2 | 10 | 3 |
# | `cbow_loss_and_grad` | 4 | 25 | 4 |
# | `sgns_loss_and_grad` | 3 | 20 | 3 |
# | `glove_loss` | 2 | 10 | 2 |
# | `sinusoidal_positions` | 2 | 10 | 2 |
# | `truncate_and_renormalise` | 1 | 5 | 2 |
# | all | | 115 | 25 |
#
# Three habits save time in all nine. Do a tiny case with a pencil first. Ask what happens to a zero: a vector of length 0, a count of 0, a probability so
# small that it becomes 0. And leave the arguments as they came: the caller still needs them.

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
import math
from collections import Counter

import numpy as np

from bow2gpt import checks

# %% [markdown]
# The pictures below the checks look at real text. This cell counts once, for all of them, which of the 1000 most frequent words of the training addresses stand
# within four words of each other: `together[i, j]` for the words `i` and `j` of `frequent_words`. It takes a few seconds.

# %%
from bow2gpt import corpus
from bow2gpt.chapters.language_features import words

running_words = [word for word in words(corpus.text("train").lower()) if word.isalpha()]
frequent_words = [word for word, _ in Counter(running_words).most_common(1000)]
row_of_word = {word: row for row, word in enumerate(frequent_words)}
running_rows = np.array([row_of_word.get(word, -1) for word in running_words])
together = np.zeros((1000, 1000))
for distance in range(1, 5):
    one, other = running_rows[:-distance], running_rows[distance:]
    pairs = (one * 1000 + other)[(one >= 0) & (other >= 0)]
    together += np.bincount(pairs, minlength=1000**2).reshape(1000, 1000)
together += together.T
together[row_of_word["war"], [row_of_word[word] for word in ("the", "peace", "prices")]]

# %% [markdown]
# ## 1. `cosine_neighbours`
#
# *Difficulty 2 of 5, about 10 minutes, 3 points.*
#
# Which words are like *war*? Each word has a vector, and two vectors are similar if they point the same way, however long they are: a frequent word often has a long
# vector, and is not for that reason similar to everything. The measure is the cosine of the angle between them (Salton and McGill, 1983):
#
# $$\cos(u, v) = \frac{\sum_i u_i v_i}{\|u\| \, \|v\|}, \qquad \|u\| = \sqrt{\sum_i u_i^2}$$
#
# It is 1 for the same direction, 0 for a right angle, and $-1$ for opposite directions. A zero vector points nowhere: its similarity to everything is 0.
#
# * `vectors`: one row for each word, of shape $(n, d)$, whole numbers or not;
# * `index`: the row of the word that is asked about, the *query*;
# * the result: a list of `count` row numbers, most similar first; the query is left out; of equally similar rows the lower number comes first. `count` is at most $n - 1$.
#
# By hand: the query $(1, 0)$, and the rows $(5, 5)$ and $(2, 1)$. The cosines are $\frac{5}{\sqrt{50}} = 0.71$ and $\frac{2}{\sqrt5} = 0.89$: the second is nearer, though the
# dot products, 5 and 2, say the opposite.
#
# <details><summary>A nudge</summary>Bring every row to length 1 first. What is then left of the formula? And which row would divide by zero?</details>
# <details><summary>A push</summary>With unit rows, <code>unit @ unit[index]</code> holds all the cosines. Sorting <code>-similarity</code> puts the largest first; <code>kind="stable"</code> keeps equal ones in order.</details>
# <details><summary>Almost there</summary>Set lengths of 0 to 1 before you divide. Then walk along <code>np.argsort(-similarity, kind="stable")</code>, leave out <code>index</code> wherever it stands, and cut the list at <code>count</code>.</details>


# %% task="cosine_neighbours"
def cosine_neighbours(vectors: np.ndarray, index: int, count: int) -> list[int]:
    """Find the rows most similar to one row by cosine (about 5 lines).

    Args:
        vectors: numbers of shape (n, d).
        index: the row to compare with, 0 to n - 1.
        count: how many rows to give, 1 to n - 1.

    Returns:
        Row numbers, most similar first, the query left out, ties by lower number.

    >>> cosine_neighbours(np.array([[1, 0], [5, 5], [2, 1]]), 0, 2)
    [2, 1]
    """
    ### BEGIN SOLUTION
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    unit = vectors / np.where(lengths == 0, 1, lengths)
    similarity = unit @ unit[index]
    order = np.argsort(-similarity, kind="stable").tolist()
    return [row for row in order if row != index][:count]
    ### END SOLUTION


# %% check="cosine_neighbours" points=3
def as_row_numbers(got, count, query):
    rows = checks.array(got, (count,), f"`count` is {count}: as many row numbers, and nothing else")
    checks.true(
        rows.dtype.kind in "iu", f"got {checks.show(got)}, expected row numbers, which are integers"
    )
    checks.true(
        query not in rows.tolist(),
        f"row {query}, the query itself, is among its neighbours: leave it out, wherever it stands in the order",
    )
    return rows.tolist()


def check_neighbours(rows, query, count, expected, hint):
    given = rows.copy()
    got = checks.run(lambda: cosine_neighbours(given, query, count), hint=hint)
    checks.unchanged(rows, given, "the array of vectors")
    checks.equal(as_row_numbers(got, count, query), expected, hint=hint)


compass = np.array([[4.0, 1.0], [0.1, 0.1], [40.0, 2.0], [-4.0, 0.5], [3.0, -3.0], [1.0, 8.0]])
given_compass = compass.copy()
nearest = checks.run(
    lambda: cosine_neighbours(given_compass, 0, 3), hint="6 rows of 2 numbers: try this call in a cell"
)
checks.unchanged(compass, given_compass, "the array of vectors")
nearest = as_row_numbers(nearest, 3, 0)
for wrong, cause in [
    ([2, 5, 4], "these are the largest dot products: divide by the lengths of both vectors"),
    (
        [1, 4, 5],
        "this order prefers short vectors: divide by the lengths, not their squares; no distances",
    ),
    ([3, 5, 4], "these are the least similar rows, the most similar come first"),
    ([4, 1, 2], "the most similar row comes first, not last"),
    ([5, 4, 1], "these are the last three of the order, the most similar come first"),
    ([2, 3, 1], "row 3 points the other way, its cosine is near -1: keep the sign"),
]:
    checks.true(nearest != wrong, f"got {wrong}, expected [2, 1, 4]. Likely cause: {cause}")
checks.equal(
    nearest,
    [2, 1, 4],
    hint="the dot product of each row with the query, over both lengths; a length is one number for each row",
)
check_neighbours(compass, 0, 1, [2], "with count=1 the answer is a list of one row number")
check_neighbours(
    compass, 0, 5, [2, 1, 4, 5, 3], "with count=5 all other rows come, also the opposite one"
)
check_neighbours(
    compass,
    3,
    2,
    [5, 1],
    "cosines below 0 count as they are; and each call has its own query: keep nothing from the call before",
)
check_neighbours(
    compass[::-1].copy(),
    5,
    2,
    [3, 4],
    "each call has its own vectors: keep nothing from the call before",
)
check_neighbours(
    np.array([[3, 1], [2, 9], [5, 2], [7, 1]]),
    0,
    3,
    [2, 3, 1],
    "whole numbers are numbers too: lengths and cosines are not whole, keep their fractions",
)
check_neighbours(
    np.array([[-2.0, -1.0], [0.0, 0.0], [2.0, 1.0], [3.0, 1.0]]),
    2,
    3,
    [3, 1, 0],
    "a zero vector has similarity 0 to everything: it comes before an opposite row, and 0 / 0 is NaN",
)
check_neighbours(
    np.array([[-1.0, 2.0], [3.0, 1.0], [0.0, 0.0], [1.0, 1.0]]),
    2,
    3,
    [0, 1, 3],
    "the query is a zero vector here: all similarities are 0, so the lower number comes first",
)
check_neighbours(
    np.array([[0.0, 1.0], [5.0, 0.0], [1.0, 1.0], [5.0, 0.0], [5.0, 0.0]]),
    3,
    3,
    [1, 4, 2],
    "rows 1 and 4 equal the query: leave it out by its number, not as the first in the list or by its values",
)
check_neighbours(
    np.array(
        [
            [0.0, 0.0, 1.0],
            [1.0, 2.0, 0.0],
            [1.0, 0.0, 0.0],
            [0.0, 1.0, 0.0],
            [1.0, 0.0, 0.0],
            [0.0, 1.0, 0.0],
        ]
    ),
    1,
    5,
    [3, 5, 2, 4, 0],
    "of equally similar rows the lower number comes first",
)
alternating = np.tile([[1.0, 0.0], [0.0, 1.0]], (60, 1))
alternating[0] = [2.0, 1.0]
check_neighbours(
    alternating,
    0,
    100,
    [*range(2, 120, 2), *range(1, 82, 2)],
    "of many equally similar rows the lower number comes first: sort with kind='stable'",
)

### BEGIN HIDDEN TESTS


def neighbour_inputs(rng):
    size, dim = int(rng.integers(4, 40)), int(rng.integers(2, 12))
    kind = rng.choice(["any", "any", "ties"])
    if kind == "ties":  # along the axes equal cosines are equal to the last bit
        rows = np.eye(dim)[rng.integers(0, dim, size)] * rng.choice([-1.0, 0.0, 1.0, 1.0], (size, 1))
        query = int(rng.integers(size))
        if rng.random() < 0.7:
            rows[query] = rng.permutation(np.arange(1.0, dim + 1))
        rows = rows.astype([np.float64, np.float32, np.int64][rng.integers(3)])
        return rows, query, int(rng.integers(1, size))
    rows = rng.normal(size=(size, dim)) + rng.normal(size=dim) * rng.choice([0.0, 1.0])
    query = int(rng.integers(size))
    unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    kept, seen = [], [0.0] if rng.random() < 0.5 else []
    for row, cosine in enumerate(unit @ unit[query]):  # no two cosines nearly equal
        if row == query or all(abs(cosine - other) > 1e-4 for other in seen):
            kept.append(row)
            seen += [cosine] if row != query else []
    rows = rows * 10 ** rng.uniform(-1.5, 1.5, (size, 1))
    rows, query = rows[kept], kept.index(query)
    if len(kept) > 2 and 0.0 in seen:
        zero = (query + 1) % len(kept)
        rows[zero] = 0
    if len(kept) < 2:
        rows, query = np.array([[1.0] * dim, [2.0] * dim]), 1
    dtype = [np.float64, np.float32][rng.integers(2)]
    return rows.astype(dtype), query, int(rng.integers(1, len(rows)))


def neighbour_reference(rows, query, count):
    rows = rows.astype(float).tolist()

    def cosine(row):
        length = math.hypot(*row) * math.hypot(*rows[query])
        return sum(a * b for a, b in zip(row, rows[query], strict=True)) / length if length else 0.0

    others = [number for number in range(len(rows)) if number != query]
    return sorted(others, key=lambda number: (-round(cosine(rows[number]), 9), number))[:count]


def same_rows(got, expected, hint):
    rows = checks.array(got, (len(expected),), "`count` row numbers, and nothing else")
    checks.true(
        rows.dtype.kind in "iu", f"got {checks.show(got)}, expected row numbers, which are integers"
    )
    checks.equal(rows, expected, hint)


checks.hidden(
    title="random vectors of many lengths; some equal, some zero",
    call="cosine_neighbours",
    inputs=neighbour_inputs,
    reference=neighbour_reference,
    compare=same_rows,
    hint="cosine, most similar first, the query left out, ties by lower number, 0 for a zero vector",
    cases=30,
)


def close_inputs(rng):
    cosines = rng.permutation(rng.uniform(0.55, 0.6) + 2e-4 * np.arange(24))
    rows = np.stack([cosines, np.sqrt(1 - cosines**2)], axis=1) * 10 ** rng.uniform(-1, 1, (24, 1))
    rows[7] = [float(rng.uniform(1, 5)), 0.0]
    return rows, 7, 12


checks.hidden(
    title="vectors of nearly equal similarity",
    call="cosine_neighbours",
    inputs=close_inputs,
    reference=neighbour_reference,
    compare=same_rows,
    hint="compare the cosines as they are: round nothing",
    cases=3,
)
### END HIDDEN TESTS

# %%
from bow2gpt.chapters.counting_models import document_term_matrix, tf_idf

speeches = [words(address.text.lower()) for address in corpus.addresses("train")]
word_by_speech = tf_idf(document_term_matrix(speeches, frequent_words)).T  # a word is where it occurs
for word in ("gold", "spain", "children", "soviet"):
    nearest_rows = cosine_neighbours(word_by_speech, row_of_word[word], 7)
    print(f"{word:>9}:", *(frequent_words[row] for row in nearest_rows))


# %% mistake="cosine_neighbours" name="dot_product" says="these are the largest dot products"
def cosine_neighbours(vectors, index, count):
    similarity = vectors @ vectors[index]
    order = np.argsort(-similarity, kind="stable").tolist()
    return [row for row in order if row != index][:count]


# %% mistake="cosine_neighbours" name="only_the_query_scaled" says="lengths of both vectors"
def cosine_neighbours(vectors, index, count):
    similarity = vectors @ vectors[index] / max(np.linalg.norm(vectors[index]), 1e-12)
    order = np.argsort(-similarity, kind="stable").tolist()
    return [row for row in order if row != index][:count]


# %% mistake="cosine_neighbours" name="distance" says="this order prefers short vectors"
def cosine_neighbours(vectors, index, count):
    distance = np.linalg.norm(vectors - vectors[index], axis=1)
    order = np.argsort(distance, kind="stable").tolist()
    return [row for row in order if row != index][:count]


# %% mistake="cosine_neighbours" name="least_similar" says="these are the least similar rows"
def cosine_neighbours(vectors, index, count):
    unit = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
    order = np.argsort(unit @ unit[index], kind="stable").tolist()
    return [row for row in order if row != index][:count]


# %% mistake="cosine_neighbours" name="absolute" says="keep the sign"
def cosine_neighbours(vectors, index, count):
    unit = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
    order = np.argsort(-abs(unit @ unit[index]), kind="stable").tolist()
    return [row for row in order if row != index][:count]


# %% mistake="cosine_neighbours" name="query_included" says="the query itself"
def cosine_neighbours(vectors, index, count):
    unit = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
    return np.argsort(-(unit @ unit[index]), kind="stable").tolist()[:count]


# %% mistake="cosine_neighbours" name="first_dropped" says="wherever it stands"
def cosine_neighbours(vectors, index, count):
    unit = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
    similarity = unit @ unit[index]
    similarity[index] += 1e-12 * (similarity[index] == 0)
    return np.argsort(-similarity, kind="stable").tolist()[1 : count + 1]


# %% mistake="cosine_neighbours" name="one_too_few" says="`count` is 3"
def cosine_neighbours(vectors, index, count):
    unit = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
    order = np.argsort(-(unit @ unit[index]), kind="stable").tolist()
    return [row for row in order[:count] if row != index]


# %% mistake="cosine_neighbours" name="columns_scaled" says="one number for each row"
def cosine_neighbours(vectors, index, count):
    unit = vectors / np.maximum(np.linalg.norm(vectors, axis=0), 1e-12)
    order = np.argsort(-(unit @ unit[index]), kind="stable").tolist()
    return [row for row in order if row != index][:count]


# %% mistake="cosine_neighbours" name="zero_is_nan" says="a zero vector has similarity 0"
def cosine_neighbours(vectors, index, count):
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    order = np.argsort(-(unit @ unit[index]), kind="stable").tolist()
    return [row for row in order if row != index][:count]


# %% mistake="cosine_neighbours" name="ties_backwards" says="the lower number comes first"
def cosine_neighbours(vectors, index, count):
    unit = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
    order = np.argsort(unit @ unit[index], kind="stable")[::-1].tolist()
    return [row for row in order if row != index][:count]


# %% mistake="cosine_neighbours" name="in_place" says="changed the array of vectors"
def cosine_neighbours(vectors, index, count):
    if vectors.dtype.kind != "f":
        vectors = vectors.astype(float)
    vectors /= np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
    order = np.argsort(-(vectors @ vectors[index]), kind="stable").tolist()
    return [row for row in order if row != index][:count]


# %% mistake="cosine_neighbours" name="whole_numbers" says="keep their fractions"
def cosine_neighbours(vectors, index, count):
    unit = np.zeros_like(vectors)
    for row, vector in enumerate(vectors):
        unit[row] = vector / max(np.linalg.norm(vector), 1e-12)
    order = np.argsort(-(unit @ unit[index]), kind="stable").tolist()
    return [row for row in order if row != index][:count]


# %% alternative="cosine_neighbours" name="loops"
def cosine_neighbours(vectors, index, count):
    def cosine(u, v):
        above = sum(float(a) * float(b) for a, b in zip(u, v, strict=True))
        below = math.sqrt(sum(float(a) ** 2 for a in u)) * math.sqrt(sum(float(b) ** 2 for b in v))
        return above / below if below > 0 else 0.0

    scored = [
        (-cosine(vectors[row], vectors[index]), row) for row in range(len(vectors)) if row != index
    ]
    return [row for _, row in sorted(scored)[:count]]


# %% alternative="cosine_neighbours" name="einsum_and_lexsort"
def cosine_neighbours(vectors, index, count):
    vectors = np.asarray(vectors, dtype=np.float32)
    dots = np.einsum("nd,d->n", vectors, vectors[index])
    lengths = np.sqrt(np.einsum("nd,nd->n", vectors, vectors)) * np.sqrt(
        vectors[index] @ vectors[index]
    )
    similarity = np.divide(dots, lengths, out=np.zeros_like(dots), where=lengths > 0)
    order = np.lexsort((np.arange(len(vectors)), -similarity))
    return order[order != index][:count]


# %% alternative="cosine_neighbours" name="torch"
def cosine_neighbours(vectors, index, count):
    import torch

    rows = torch.nn.functional.normalize(torch.as_tensor(vectors, dtype=torch.float64), dim=1)
    similarity = rows @ rows[index]
    similarity[index] = -2
    return torch.sort(similarity, descending=True, stable=True).indices[:count].tolist()


# %% [markdown]
# ## 2. `analogy`
#
# *Difficulty 2 of 5, about 10 minutes, 3 points.*
#
# *Man* is to *king* as *woman* is to what? If the step from *man* to *king* means something, take the same step from *woman*, and see what is there
# (Mikolov, Yih and Zweig, 2013). For "$a$ is to $b$ as $c$ is to ?" the place to look at is
#
# $$t = \hat b - \hat a + \hat c, \qquad \hat v = \frac{v}{\|v\|}$$
#
# The hats matter: each word's vector is brought to length 1 first, so that a frequent word with a long vector does not drown the others. The answer is the word
# whose vector has the largest cosine with $t$. The three words themselves are left out, because $b$ or $c$ would nearly always win. A vector of zeros somewhere in the table stays zero,
# and must not spoil the answer.
#
# * `vectors`: of shape $(n, d)$; row $i$ belongs to `vocabulary[i]`;
# * `a`, `b`, `c`: words of the vocabulary, not always three different ones;
# * the result: a list of `count` words, most similar first. `count` is at most the number of words that are left.
#
# By hand, with unit vectors in the plane: $a = (1, 0)$, $b = (0, 1)$, $c = (0.6, 0.8)$. Then $t = (-0.4, 1.8)$: *up and a little to the left* is where the answer should point.
#
# <details><summary>A nudge</summary>The order of the words in the question is not that of the signs: which of the three is taken away?</details>
# <details><summary>A push</summary>Make a unit matrix once. Then <code>unit @ target</code> ranks the rows; the length of the target changes no ranking.</details>
# <details><summary>Almost there</summary>Take <code>vocabulary.index(a)</code> for the rows, walk along <code>np.argsort(-(unit @ target))</code>, skip any word in <code>(a, b, c)</code>, and stop after <code>count</code>.</details>


# %% task="analogy"
def analogy(
    vectors: np.ndarray, vocabulary: list[str], a: str, b: str, c: str, count: int = 1
) -> list[str]:
    """Answer "a is to b as c is to ?" with unit vectors and b - a + c (about 6 lines).

    Args:
        vectors: numbers of shape (n, d).
        vocabulary: n distinct words, one for each row.
        a, b, c: words of the vocabulary.
        count: how many answers to give.

    Returns:
        Words, most similar first, none of the three among them.

    >>> corners = np.array([[1.0, 0.0], [0.0, 1.0], [3.0, 4.0], [-2.0, 9.0], [5.0, 1.0]])
    >>> analogy(corners, ["small", "big", "old", "huge", "tiny"], "small", "big", "old")
    ['huge']
    """
    ### BEGIN SOLUTION
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    unit = vectors / np.where(lengths == 0, 1, lengths)
    target = unit[vocabulary.index(b)] - unit[vocabulary.index(a)] + unit[vocabulary.index(c)]
    order = np.argsort(-(unit @ target), kind="stable")
    return [vocabulary[row] for row in order if vocabulary[row] not in (a, b, c)][:count]
    ### END SOLUTION


# %% check="analogy" points=3
def as_words(got, count, asked):
    came = got.tolist() if isinstance(got, np.ndarray) else got
    checks.true(
        isinstance(came, list | tuple) and all(isinstance(word, str) for word in came),
        f"got {checks.show(got)}, expected a list of words",
    )
    for word in asked:
        checks.true(
            word not in came,
            f"got {checks.show(got)}: leave out the three words of the question, also {word!r}",
        )
    checks.true(
        len(came) == count, f"got {checks.show(got)}, expected a list of {count} words, as `count` says"
    )
    return list(came)


def check_analogy(rows, names, asked, expected, hint, **options):
    given, given_names = rows.copy(), list(names)
    got = checks.run(lambda: analogy(given, given_names, *asked, **options), hint=hint)
    checks.unchanged(rows, given, "the array of vectors")
    checks.unchanged(list(names), given_names, "the vocabulary")
    checks.equal(as_words(got, len(expected), asked), expected, hint=hint)


court = ["man", "king", "woman", "queen", "prince", "village", "river", "army", "nurse"]
court_vectors = np.array(
    [
        [-1, 6, -1],
        [1, -1, 4],
        [3, 2, 2],
        [1, -1, 5],
        [3, 2, 0],
        [0, -1, 6],
        [2, -2, 1],
        [6, 6, 5],
        [5, 1, 3],
    ],
    dtype=float,
)
given_vectors, given_court = court_vectors.copy(), list(court)
found = checks.run(
    lambda: analogy(given_vectors, given_court, "man", "king", "woman"),
    hint="9 words with vectors of 3 numbers: try this call in a cell",
)
checks.unchanged(court_vectors, given_vectors, "the array of vectors")
checks.unchanged(court, given_court, "the vocabulary")
found = as_words(found, 1, ("man", "king", "woman"))
for wrong, cause in [
    (
        "river",
        "bring every vector to length 1 before you add and subtract, and use all three: b - a + c",
    ),
    ("army", "the cosine with the target counts: divide by the length of each word's own vector too"),
    ("prince", "the signs are turned round: a is to b as c is to ? means b - a + c"),
    (
        "village",
        "the signs are turned round: a is to b as c is to ? means b - a + c, it is a that is taken away",
    ),
    ("nurse", "subtract a: the step from a to b is b - a, and b alone is no step"),
]:
    checks.true(found != [wrong], f"got {found}, expected ['queen']. Likely cause: {cause}")
checks.equal(found, ["queen"], hint="unit vectors, b - a + c, and then the largest cosine with it")
check_analogy(
    court_vectors,
    court,
    ("man", "king", "woman"),
    ["queen", "river", "village"],
    "with count=3 three words come, the most similar first",
    count=3,
)
check_analogy(
    court_vectors,
    court,
    ("king", "man", "queen"),
    ["army"],
    "each question has its own words: keep nothing from the call before",
)
check_analogy(
    court_vectors[::-1].copy(),
    court,
    ("man", "king", "woman"),
    ["army"],
    "each call has its own vectors: keep nothing from the call before",
)
check_analogy(
    court_vectors,
    court,
    ("nurse", "nurse", "army"),
    ["woman", "prince"],
    "two words of the question may be the same: here the answer is what is nearest to c",
    count=2,
)
with_zero = np.vstack([[0.0, 0.0, 0.0], court_vectors])
check_analogy(
    with_zero,
    ["unknown", *court],
    ("man", "king", "woman"),
    ["queen"],
    "a zero vector points nowhere, and is no answer: dividing by its length gives NaN",
)

### BEGIN HIDDEN TESTS


def analogy_inputs(rng):
    while True:
        size, dim = int(rng.integers(6, 30)), int(rng.integers(2, 12))
        rows = rng.normal(size=(size, dim)) + rng.normal(size=dim) * rng.choice([0.0, 0.7])
        names = [
            f"{stem}{number}"
            for number, stem in enumerate(rng.choice(["war", "law", "gold", "sea"], size))
        ]
        names = [str(name) for name in rng.permutation(names)]
        asked = rng.choice(size, 3, replace=bool(rng.random() < 0.15))
        unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
        target = unit[asked[1]] - unit[asked[0]] + unit[asked[2]]
        others = [row for row in range(size) if row not in asked]
        scores = np.sort(unit[others] @ target)[::-1]
        if np.linalg.norm(target) > 0.2 and np.max(np.diff(scores)) < -3e-4:
            break
    count = int(rng.integers(1, min(6, len(others)) + 1))
    rows = rows * 10 ** rng.uniform(-1.5, 1.5, (size, 1))
    if (
        count < len(others) and scores[count - 1] > 0.05
    ):  # the worst row may be zero: it is no answer either way
        rows[others[np.argmin(unit[others] @ target)]] = 0
    a, b, c = (names[row] for row in asked)
    dtype = [np.float64, np.float32][rng.integers(2)]
    return rows.astype(dtype), names, a, b, c, count


def analogy_reference(rows, names, a, b, c, count):
    unit = {}
    for name, row in zip(names, rows.astype(float).tolist(), strict=True):
        length = math.hypot(*row) or 1.0
        unit[name] = [value / length for value in row]
    target = [y - x + z for x, y, z in zip(unit[a], unit[b], unit[c], strict=True)]
    score = {name: -sum(p * q for p, q in zip(target, row, strict=True)) for name, row in unit.items()}
    return sorted((name for name in names if name not in {a, b, c}), key=score.get)[:count]


def same_answers(got, expected, hint):
    came = got.tolist() if isinstance(got, np.ndarray) else got
    checks.true(isinstance(came, list | tuple), f"got {checks.show(got)}, expected a list of words")
    checks.equal(list(came), expected, hint)


checks.hidden(
    title="random vectors of many lengths, several answers",
    call="analogy",
    inputs=analogy_inputs,
    reference=analogy_reference,
    compare=same_answers,
    hint="unit vectors, b - a + c, the largest cosines first, without the three words of the question",
    cases=30,
)


def close_inputs(rng):
    question = rng.normal(size=(3, 4))
    unit = question / np.linalg.norm(question, axis=1, keepdims=True)
    plane, _ = np.linalg.qr(np.stack([unit[1] - unit[0] + unit[2], rng.normal(size=4)], axis=1))
    plane[:, 0] *= np.sign(plane[:, 0] @ (unit[1] - unit[0] + unit[2]))
    cosines = rng.permutation(rng.uniform(0.55, 0.6) + 3e-4 * np.arange(20))
    rows = np.vstack([question, np.stack([cosines, np.sqrt(1 - cosines**2)], axis=1) @ plane.T])
    names = [f"word{number}" for number in rng.permutation(23)]
    return rows * 10 ** rng.uniform(-1, 1, (23, 1)), names, *names[:3], 10


checks.hidden(
    title="words that are nearly equally good answers",
    call="analogy",
    inputs=close_inputs,
    reference=analogy_reference,
    compare=same_answers,
    hint="compare the cosines as they are: round nothing",
    cases=3,
)
### END HIDDEN TESTS

# %%
try:
    glove = corpus.word_vectors()
except ModuleNotFoundError as missing:
    print(missing)
else:
    glove_words, glove_vectors = list(glove.words[:30000]), glove.vectors[:30000]
    for question in ("man king woman", "france paris italy", "walk walked go", "wolf king prince"):
        answers = analogy(glove_vectors, glove_words, *question.split(), count=4)
        print("{} is to {} as {} is to".format(*question.split()), ", ".join(answers))


# %% mistake="analogy" name="raw_vectors" says="length 1 before you add"
def analogy(vectors, vocabulary, a, b, c, count=1):
    row = dict(zip(vocabulary, vectors, strict=True))
    target = row[b] - row[a] + row[c]
    unit = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
    order = np.argsort(-(unit @ target), kind="stable")
    return [vocabulary[i] for i in order if vocabulary[i] not in (a, b, c)][:count]


# %% mistake="analogy" name="dot_with_raw_candidates" says="each word's own vector too"
def analogy(vectors, vocabulary, a, b, c, count=1):
    unit = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
    row = dict(zip(vocabulary, unit, strict=True))
    order = np.argsort(-(vectors @ (row[b] - row[a] + row[c])), kind="stable")
    return [vocabulary[i] for i in order if vocabulary[i] not in (a, b, c)][:count]


# %% mistake="analogy" name="reversed" says="signs are turned round"
def analogy(vectors, vocabulary, a, b, c, count=1):
    unit = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
    row = dict(zip(vocabulary, unit, strict=True))
    order = np.argsort(-(unit @ (row[a] - row[b] + row[c])), kind="stable")
    return [vocabulary[i] for i in order if vocabulary[i] not in (a, b, c)][:count]


# %% mistake="analogy" name="c_taken_away" says="it is a that is taken away"
def analogy(vectors, vocabulary, a, b, c, count=1):
    unit = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
    row = dict(zip(vocabulary, unit, strict=True))
    order = np.argsort(-(unit @ (row[b] + row[a] - row[c])), kind="stable")
    return [vocabulary[i] for i in order if vocabulary[i] not in (a, b, c)][:count]


# %% mistake="analogy" name="no_step" says="b alone is no step"
def analogy(vectors, vocabulary, a, b, c, count=1):
    unit = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
    row = dict(zip(vocabulary, unit, strict=True))
    order = np.argsort(-(unit @ (row[b] + row[c])), kind="stable")
    return [vocabulary[i] for i in order if vocabulary[i] not in (a, b, c)][:count]


# %% mistake="analogy" name="nothing_left_out" says="leave out the three words"
def analogy(vectors, vocabulary, a, b, c, count=1):
    unit = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
    row = dict(zip(vocabulary, unit, strict=True))
    order = np.argsort(-(unit @ (row[b] - row[a] + row[c])), kind="stable")
    return [vocabulary[i] for i in order[:count]]


# %% mistake="analogy" name="first_dropped" says="leave out the three words of the question"
def analogy(vectors, vocabulary, a, b, c, count=1):
    unit = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
    row = dict(zip(vocabulary, unit, strict=True))
    order = np.argsort(-(unit @ (row[b] - row[a] + row[c])), kind="stable")
    return [vocabulary[i] for i in order[1 : count + 1]]


# %% mistake="analogy" name="count_ignored" says="as `count` says"
def analogy(vectors, vocabulary, a, b, c, count=1):
    unit = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
    row = dict(zip(vocabulary, unit, strict=True))
    order = np.argsort(-(unit @ (row[b] - row[a] + row[c])), kind="stable")
    return [vocabulary[i] for i in order if vocabulary[i] not in (a, b, c)][:1]


# %% mistake="analogy" name="one_word_as_text" says="expected a list of words"
def analogy(vectors, vocabulary, a, b, c, count=1):
    unit = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
    row = dict(zip(vocabulary, unit, strict=True))
    order = np.argsort(-(unit @ (row[b] - row[a] + row[c])), kind="stable")
    found = [vocabulary[i] for i in order if vocabulary[i] not in (a, b, c)][:count]
    return found[0] if count == 1 else found


# %% mistake="analogy" name="zero_is_nan" says="a zero vector points nowhere"
def analogy(vectors, vocabulary, a, b, c, count=1):
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    row = dict(zip(vocabulary, unit, strict=True))
    scores = unit @ (row[b] - row[a] + row[c])
    scores[[vocabulary.index(word) for word in (a, b, c)]] = -9
    found = []
    for _ in range(count):
        found.append(vocabulary[int(np.argmax(scores))])
        scores[np.argmax(scores)] = -9
    return found


# %% mistake="analogy" name="in_place" says="changed the array of vectors"
def analogy(vectors, vocabulary, a, b, c, count=1):
    if vectors.dtype.kind != "f":
        vectors = vectors.astype(float)
    vectors /= np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
    row = dict(zip(vocabulary, vectors, strict=True))
    order = np.argsort(-(vectors @ (row[b] - row[a] + row[c])), kind="stable")
    return [vocabulary[i] for i in order if vocabulary[i] not in (a, b, c)][:count]


# %% mistake="analogy" name="eats_the_vocabulary" says="changed the vocabulary"
def analogy(vectors, vocabulary, a, b, c, count=1):
    unit = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
    target = unit[vocabulary.index(b)] - unit[vocabulary.index(a)] + unit[vocabulary.index(c)]
    for word in {a, b, c}:
        unit = np.delete(unit, vocabulary.index(word), axis=0)
        vocabulary.remove(word)
    return [vocabulary[i] for i in np.argsort(-(unit @ target), kind="stable")[:count]]


# %% alternative="analogy" name="loops"
def analogy(vectors, vocabulary, a, b, c, count=1):
    unit = {}
    for word, vector in zip(vocabulary, vectors, strict=True):
        length = math.sqrt(sum(float(x) ** 2 for x in vector))
        unit[word] = [float(x) / length if length else 0.0 for x in vector]
    target = [unit[b][i] - unit[a][i] + unit[c][i] for i in range(len(unit[a]))]
    left = [word for word in vocabulary if word not in {a, b, c}]
    return sorted(
        left, key=lambda word: sum(x * y for x, y in zip(target, unit[word], strict=True)), reverse=True
    )[:count]


# %% alternative="analogy" name="three_cosines"
def analogy(vectors, vocabulary, a, b, c, count=1):
    vectors = np.array(vectors, dtype=np.float32)
    lengths = np.sqrt((vectors**2).sum(axis=1))
    unit = np.divide(vectors, lengths[:, None], where=lengths[:, None] > 0, out=np.zeros_like(vectors))
    place = {word: row for row, word in enumerate(vocabulary)}
    cosines = unit @ unit[[place[a], place[b], place[c]]].T
    scores = cosines[:, 1] - cosines[:, 0] + cosines[:, 2]
    scores[[place[a], place[b], place[c]]] = -np.inf
    return tuple(np.array(vocabulary)[np.argsort(scores)[::-1][:count]])


# %% alternative="analogy" name="torch"
def analogy(vectors, vocabulary, a, b, c, count=1):
    import torch
    from torch.nn.functional import normalize

    unit = normalize(torch.tensor(np.asarray(vectors), dtype=torch.float32), dim=1)
    rows = [vocabulary.index(word) for word in (a, b, c)]
    target = normalize(unit[rows[1]] - unit[rows[0]] + unit[rows[2]], dim=0)
    scores = unit @ target
    scores[rows] = -float("inf")
    return [vocabulary[row] for row in torch.topk(scores, count).indices.tolist()]


# %% [markdown]
# ## 3. `ppmi`
#
# *Difficulty 3 of 5, about 15 minutes, 3 points.*
#
# *The* stands near *war* hundreds of times, and near everything else too. What counts is how much more often two words meet than chance would have it: the
# *pointwise mutual information* (Church and Hanks, 1990), with everything below zero set to zero, because absence from a small text says little.
#
# Levy, Goldberg and Dagan (2015) found one detail that matters much. Rare contexts get huge values from a handful of counts, so the distribution of the *contexts*, and only that one, is *smoothed*
# by a power $\alpha$, 0.75 as a rule, which makes rare contexts look a little more frequent than they are:
#
# $$\mathrm{PPMI}(w, c) = \max\left(0,\ \ln \frac{P(w, c)}{P(w)\, P_\alpha(c)}\right), \qquad P_\alpha(c) = \frac{\#(c)^\alpha}{\sum_{c'} \#(c')^\alpha}$$
#
# * `counts`: how often word $w$ (row) was seen with context $c$ (column), of shape $(n, m)$, whole numbers or not, not necessarily square or symmetric;
# * $P(w, c)$: that count over the sum of all counts; $P(w)$: the sum of row $w$ over the sum of all counts;
# * $\#(c)$: the sum of column $c$; $\alpha > 0$ is the argument `smoothing`, and with 1 nothing is smoothed;
# * where the count is 0 the result is 0: not $-\infty$, and not NaN either in a row or a column of zeros.
#
# By hand, with $\alpha = 1$: the counts $\begin{pmatrix} 3 & 1 \\ 0 & 4 \end{pmatrix}$ sum to 8. The first word met the first context 3 times; chance expects $\frac{4 \cdot 3}{8} = 1.5$ times, so its value is
# $\ln \frac{3}{1.5} = 0.693$. With the second context it met once, less often than chance expects, 2.5 times: 0.
#
# <details><summary>A nudge</summary>Three distributions are needed: of the pairs, of the words, of the contexts. Which sums over which axis, and which of them is raised to a power?</details>
# <details><summary>A push</summary>Raise the column sums to the power first, divide by the sum of the powers after. A column of probabilities has shape (n, 1), a row of them (1, m), and their product is the whole table of what chance expects.</details>
# <details><summary>Almost there</summary>Start from <code>np.zeros(counts.shape)</code>, and with <code>seen = counts > 0</code> fill only <code>result[seen]</code>: there nothing is divided by zero. Finish with <code>np.maximum(result, 0)</code>.</details>


# %% task="ppmi"
def ppmi(counts: np.ndarray, smoothing: float = 0.75) -> np.ndarray:
    """Weigh co-occurrence counts by positive pointwise mutual information (about 8 lines).

    Args:
        counts: of each word (row) with each context (column), shape (n, m), not negative.
        smoothing: the power of the context distribution, above 0; 1 for none.

    Returns:
        Natural logarithms of shape (n, m), none below 0; 0 where the count is 0.

    >>> ppmi(np.array([[3, 1], [0, 4]]), smoothing=1).round(3)
    array([[0.693, 0.   ],
           [0.   , 0.47 ]])
    """
    ### BEGIN SOLUTION
    joint = counts / counts.sum()
    words = joint.sum(axis=1, keepdims=True)
    contexts = counts.sum(axis=0, keepdims=True).astype(float) ** smoothing
    chance = words * contexts / contexts.sum()
    seen = counts > 0
    result = np.zeros(counts.shape)
    result[seen] = np.log(joint[seen] / chance[seen])
    return np.maximum(result, 0)
    ### END SOLUTION


# %% check="ppmi" points=3
def weighted(given, hint, **options):
    counts_given = np.array(given)
    before = counts_given.copy()
    got = checks.run(lambda: ppmi(counts_given, **options), hint=hint)
    checks.unchanged(before, counts_given, "the matrix of counts")
    return checks.array(got, before.shape, "one row for each word, one column for each context")


def close_to(got, expected, hint):
    checks.close(got, expected, hint=hint, rtol=1e-4, atol=1e-6)


plain = weighted([[3.0, 1.0], [2.0, 14.0]], "2 words, 2 contexts: try this call in a cell", smoothing=1)
checks.true(
    np.min(plain) >= -1e-9,
    "what is seen less often than chance expects has a negative value: the first P of PPMI sets it to 0",
)
for wrong, cause in [
    (np.log2(3), "the logarithm is the natural one, np.log, not the one of base 2"),
    (np.log10(3), "the logarithm is the natural one, np.log, not the one of base 10"),
    (3, "this is the ratio itself: the logarithm is missing"),
    (
        0,
        "3 pairs are more than chance expects, and the value is above 0: divide counts by the sum of all counts",
    ),
    (np.log(3) * 3 / 20, "the value is the logarithm alone, not weighted by P(w, c)"),
    (
        np.log(60),
        "counts are no probabilities yet: divide the sums of rows and columns too by the sum of all counts",
    ),
    (np.log1p(3), "nothing is added inside the logarithm"),
    (
        np.log(0.75 * (1 + 3**0.75)),
        "smoothing=1 is given here, which smooths nothing: use the argument, not 0.75",
    ),
]:
    checks.true(
        not np.isclose(plain[0, 0], wrong, rtol=1e-3),
        f"got {plain[0, 0]:.4g} for ln 3. Likely cause: {cause}",
    )
close_to(
    plain[0, 0], np.log(3), "3 of 20 pairs; chance expects 4/20 of the words times 5/20 of the contexts"
)
close_to(
    plain,
    np.log([[3, 1], [1, 7 / 6]]),
    "P(w, c) over P(w) P(c), P(w) from the row's sum and P(c) from the column's; 0 below chance",
)
wide = weighted(
    [[6.0, 0.0, 2.0, 8.0], [2.0, 1.0, 0.0, 1.0]],
    "a count of 0 has no logarithm: its value is 0; and 2 words with 4 contexts are not square",
    smoothing=1,
)
checks.true(
    bool(np.all(np.isfinite(wide))),
    "got NaN or infinity where the count is 0: it has no logarithm, its value is 0",
)
close_to(
    wide,
    np.log([[1, 1, 5 / 4, 10 / 9], [5 / 4, 5, 1, 1]]),
    "ln of P(w, c) over P(w) P(c), 0 below chance and where the count is 0; words are rows, contexts columns",
)

smoothed = weighted([[12.0, 9.0], [4.0, 72.0]], "without the argument `smoothing` it is 0.75")
alone, both = 21**0.75 / (21**0.75 + 76**0.75), 8 / 35
for wrong, cause in [
    (
        12 * 97 / (21 * 16),
        "this is the value without smoothing: raise the sums of the columns to the power 0.75",
    ),
    (12 / 16 / alone, "only the contexts are smoothed: the columns, and not the words"),
    (12 / 97 / alone / both, "only the contexts are smoothed: the columns, and not the words too"),
    (
        12 / 21 * (97 / 16) ** 0.75,
        "after the power the contexts' shares no longer sum to 1: divide by their new sum",
    ),
    (12 / 21 * 97 / 8, "after the power divide by the sum of the powers, not by the sum of the counts"),
    ((12 * 97 / (21 * 16)) ** 0.75, "the power belongs to the contexts' sums, not to the ratio"),
    (
        12.75 * 100 / (22.5 * 17.5),
        "`smoothing` is a power of the contexts' sums, and not added to the counts",
    ),
]:
    checks.true(
        not np.isclose(smoothed[0, 0], np.log(wrong), rtol=1e-3),
        f"got {smoothed[0, 0]:.4g} for ln 2.5. Likely cause: {cause}",
    )
columns_smoothed = "column sums 16 and 81 become 8 and 27 by the power 0.75, and shares 8/35 and 27/35"
close_to(smoothed, np.log([[2.5, 1], [1, 70 / 57]]), columns_smoothed)
close_to(
    weighted([[12.0, 9.0], [4.0, 72.0]], "`smoothing` is given by name here", smoothing=0.5),
    np.log([[13 / 7, 1], [1, 26 / 19]]),
    "with smoothing=0.5 the power is 0.5: column sums 16 and 81 become 4 and 9, and shares 4/13 and 9/13",
)
close_to(
    weighted([[12, 9], [4, 72]], "counts may be whole numbers"),
    np.log([[2.5, 1], [1, 70 / 57]]),
    "from whole-number counts come values with fractions: the result is not of the counts' integer type",
)
with_zeros = weighted(
    [[0.0, 0.0, 0.0], [4.0, 0.0, 2.0], [2.0, 0.0, 6.0]],
    "a row or column of zeros: nothing may be divided by its sum",
)
checks.true(
    bool(np.all(np.isfinite(with_zeros))),
    "a word or a context that was never seen gave NaN or infinity: 0 / 0 is NaN, its values are 0",
)
shares = np.array([6**0.75, 8**0.75]) / (6**0.75 + 8**0.75)
close_to(
    with_zeros,
    [[0, 0, 0], [np.log(4 / 6 / shares[0]), 0, 0], [0, 0, np.log(6 / 8 / shares[1])]],
    "a word or a context that was never seen has values of 0, and changes no other value",
)
close_to(
    weighted([[0.5, 0.0], [0.25, 0.25]], "counts may be fractions", smoothing=1),
    np.log([[4 / 3, 1], [1, 2]]),
    "counts may be fractions, as when far neighbours count less: every count above 0 is seen",
)

### BEGIN HIDDEN TESTS


def ppmi_inputs(rng):
    shape = (int(rng.integers(2, 9)), int(rng.integers(2, 9)))
    mean = np.outer(rng.exponential(2.0, shape[0]), rng.exponential(2.0, shape[1])) + 0.3
    counts = rng.poisson(mean * rng.choice([0.3, 1.0, 5.0]) * rng.exponential(1.0, shape))
    counts[rng.integers(shape[0])] *= rng.integers(0, 2)
    counts[:, rng.integers(shape[1])] *= rng.integers(0, 2)
    counts[0, 0] += 1
    counts = counts * rng.choice([1, 1, 1000])
    kind = rng.integers(4)
    counts = counts / 4 if kind == 3 else counts.astype([np.int64, np.float64, np.float32][kind])
    return counts, float(rng.choice([0.75, 0.75, 1.0, 0.5, 0.3, 1.4]))


def ppmi_reference(counts, smoothing):
    counts = counts.astype(float).tolist()
    rows = [sum(row) for row in counts]
    columns = [sum(column) ** smoothing for column in zip(*counts, strict=True)]
    return [
        [
            max(0.0, math.log(count) - math.log(row) - math.log(column / sum(columns)))
            if count
            else 0.0
            for count, column in zip(line, columns, strict=True)
        ]
        for line, row in zip(counts, rows, strict=True)
    ]


def close_weights(got, expected, hint):
    checks.close(got, expected, hint, rtol=2e-4, atol=2e-5)


checks.hidden(
    title="random counts, some words and contexts never seen, several powers",
    call="ppmi",
    inputs=ppmi_inputs,
    reference=ppmi_reference,
    compare=close_weights,
    hint="max(0, ln of P(w, c) over P(w) times the smoothed P(c)), and 0 where the count is 0",
    cases=24,
)
checks.hidden(
    title="without the argument `smoothing`",
    call="ppmi",
    inputs=lambda rng: (1 + rng.poisson(rng.exponential(6.0, (5, 4))),),
    reference=lambda counts: ppmi_reference(counts, 0.75),
    compare=close_weights,
    hint="`smoothing` is 0.75 if it is not given",
    cases=4,
)
### END HIDDEN TESTS

# %%
association = ppmi(together)
for word in ("gold", "peace", "children", "canal"):
    row = row_of_word[word]
    for what, values in (("count", together[row]), ("PPMI", association[row])):
        print(f"{word:>9} by {what:<5}:", *(frequent_words[place] for place in np.argsort(-values)[:8]))


# %% mistake="ppmi" name="log_of_zero" says="where the count is 0: it has no logarithm"
def ppmi(counts, smoothing=0.75):
    joint = counts / counts.sum()
    contexts = counts.sum(axis=0) ** smoothing
    pmi = np.log(joint / (joint.sum(axis=1, keepdims=True) * contexts / contexts.sum()))
    pmi[(pmi < 0) & np.isfinite(pmi)] = 0
    return pmi


# %% mistake="ppmi" name="zeros_are_nan" says="0 / 0 is NaN"
def ppmi(counts, smoothing=0.75):
    joint = counts / counts.sum()
    contexts = counts.sum(axis=0) ** smoothing
    chance = joint.sum(axis=1, keepdims=True) * contexts / contexts.sum()
    return np.maximum(np.log(joint / chance), 0)


# %% mistake="ppmi" name="negative_kept" says="the first P of PPMI"
def ppmi(counts, smoothing=0.75):
    contexts = counts.sum(axis=0) ** smoothing
    chance = counts.sum(axis=1, keepdims=True) * contexts / contexts.sum()
    result = np.zeros(counts.shape)
    result[counts > 0] = np.log(counts[counts > 0] / chance[counts > 0])
    return result


# %% mistake="ppmi" name="smoothing_forgotten" says="without smoothing"
def ppmi(counts, smoothing=0.75):
    chance = counts.sum(axis=1, keepdims=True) * counts.sum(axis=0) / counts.sum()
    result = np.zeros(counts.shape)
    result[counts > 0] = np.log(counts[counts > 0] / chance[counts > 0])
    return np.maximum(result, 0)


# %% mistake="ppmi" name="words_smoothed" says="and not the words"
def ppmi(counts, smoothing=0.75):
    words = counts.sum(axis=1, keepdims=True) ** smoothing
    chance = words / words.sum() * counts.sum(axis=0)
    result = np.zeros(counts.shape)
    result[counts > 0] = np.log(counts[counts > 0] / chance[counts > 0])
    return np.maximum(result, 0)


# %% mistake="ppmi" name="both_smoothed" says="and not the words too"
def ppmi(counts, smoothing=0.75):
    words, contexts = counts.sum(axis=1, keepdims=True) ** smoothing, counts.sum(axis=0) ** smoothing
    chance = words / words.sum() * contexts / contexts.sum() * counts.sum()
    result = np.zeros(counts.shape)
    result[counts > 0] = np.log(counts[counts > 0] / chance[counts > 0])
    return np.maximum(result, 0)


# %% mistake="ppmi" name="not_renormalised" says="no longer sum to 1"
def ppmi(counts, smoothing=0.75):
    joint = counts / counts.sum()
    chance = joint.sum(axis=1, keepdims=True) * joint.sum(axis=0) ** smoothing
    result = np.zeros(counts.shape)
    result[counts > 0] = np.log(joint[counts > 0] / chance[counts > 0])
    return np.maximum(result, 0)


# %% mistake="ppmi" name="divided_by_the_old_sum" says="by the sum of the powers"
def ppmi(counts, smoothing=0.75):
    chance = counts.sum(axis=1, keepdims=True) * counts.sum(axis=0) ** smoothing / counts.sum()
    result = np.zeros(counts.shape)
    result[counts > 0] = np.log(counts[counts > 0] / chance[counts > 0])
    return np.maximum(result, 0)


# %% mistake="ppmi" name="always_three_quarters" says="use the argument, not 0.75"
def ppmi(counts, smoothing=0.75):
    contexts = counts.sum(axis=0) ** 0.75
    chance = counts.sum(axis=1, keepdims=True) * contexts / contexts.sum()
    result = np.zeros(counts.shape)
    result[counts > 0] = np.log(counts[counts > 0] / chance[counts > 0])
    return np.maximum(result, 0)


# %% mistake="ppmi" name="base_two" says="not the one of base 2"
def ppmi(counts, smoothing=0.75):
    contexts = counts.sum(axis=0) ** smoothing
    chance = counts.sum(axis=1, keepdims=True) * contexts / contexts.sum()
    result = np.zeros(counts.shape)
    result[counts > 0] = np.log2(counts[counts > 0] / chance[counts > 0])
    return np.maximum(result, 0)


# %% mistake="ppmi" name="no_keepdims" says="P(w) from the row's sum"
def ppmi(counts, smoothing=0.75):
    contexts = counts.sum(axis=0) ** smoothing
    chance = np.ones(counts.shape) * counts.sum(axis=1) * contexts / contexts.sum()
    result = np.zeros(counts.shape)
    result[counts > 0] = np.log(counts[counts > 0] / chance[counts > 0])
    return np.maximum(result, 0)


# %% mistake="ppmi" name="one_added" says="nothing is added"
def ppmi(counts, smoothing=0.75):
    joint = counts / counts.sum()
    contexts = counts.sum(axis=0) ** smoothing
    chance = joint.sum(axis=1, keepdims=True) * contexts / contexts.sum()
    return np.log1p(np.divide(joint, chance, out=np.zeros(counts.shape), where=chance > 0))


# %% mistake="ppmi" name="integer_result" says="not of the counts' integer type"
def ppmi(counts, smoothing=0.75):
    contexts = counts.sum(axis=0) ** smoothing
    chance = counts.sum(axis=1, keepdims=True) * contexts / contexts.sum()
    result = np.zeros_like(counts)
    result[counts > 0] = np.log(counts[counts > 0] / chance[counts > 0])
    return np.maximum(result, 0)


# %% mistake="ppmi" name="in_place" says="changed the matrix of counts"
def ppmi(counts, smoothing=0.75):
    if counts.dtype.kind != "f":
        counts = counts.astype(float)
    contexts = counts.sum(axis=0) ** smoothing
    seen = counts > 0
    counts /= np.maximum(counts.sum(axis=1, keepdims=True) * contexts / contexts.sum(), 1e-12)
    counts[seen] = np.maximum(np.log(counts[seen]), 0)
    return counts


# %% alternative="ppmi" name="loops"
def ppmi(counts, smoothing=0.75):
    num_words, num_contexts = counts.shape
    word_sums = [sum(float(value) for value in counts[row]) for row in range(num_words)]
    powers = [
        sum(float(value) for value in counts[:, column]) ** smoothing for column in range(num_contexts)
    ]
    result = [[0.0] * num_contexts for _ in range(num_words)]
    for row in range(num_words):
        for column in range(num_contexts):
            if counts[row][column] > 0:
                ratio = float(counts[row][column]) * sum(powers) / (word_sums[row] * powers[column])
                result[row][column] = math.log(ratio) if ratio > 1 else 0.0
    return result


# %% alternative="ppmi" name="warns_on_the_way"
def ppmi(counts: np.ndarray, smoothing: float = 0.75) -> np.ndarray:
    total = counts.sum()
    powers = counts.sum(axis=0) ** smoothing
    pmi = (
        np.log(counts / total)
        - np.log(counts.sum(axis=1) / total)[:, None]
        - np.log(powers / powers.sum())[None, :]
    )
    pmi[~np.isfinite(pmi)] = 0
    return pmi.clip(min=0)


# %% alternative="ppmi" name="torch_float32"
def ppmi(counts, smoothing=0.75):
    import torch

    table = torch.tensor(np.asarray(counts), dtype=torch.float32)
    contexts = table.sum(0).pow(smoothing)
    chance = table.sum(1, keepdim=True) * (contexts / contexts.sum())
    return torch.where(table > 0, torch.log(table / chance), torch.zeros(())).relu()


# %% [markdown]
# ## 4. `svd_embed`
#
# *Difficulty 2 of 5, about 10 minutes, 3 points.*
#
# A row of a co-occurrence matrix has thousands of places, and two words that mean the same may share none of them. Squeeze the matrix through few dimensions, and
# rows that are similar for roundabout reasons come together (Deerwester et al., 1990). The best squeeze, in the sense of least squares, is the *singular value decomposition* cut short:
#
# $$M = U\, \mathrm{diag}(\sigma)\, V^\top, \qquad E = U_{:,\,1..k}\; \mathrm{diag}\left(\sqrt{\sigma_1}, \dots, \sqrt{\sigma_k}\right)$$
#
# * `matrix`: $M$ of shape $(n, m)$, row = word, not necessarily square or symmetric;
# * $U$, $V$: orthonormal columns; $\sigma_1 \ge \sigma_2 \ge \dots \ge 0$: the singular values;
# * $k$: the argument `dim`, from 1 to the smaller of $n$ and $m$;
# * $E$: the result of shape $(n, k)$, one row for each word, dimensions in the order of their singular values.
#
# Why the root? The weight $\sigma$ belongs to words and contexts alike; half of it, as an exponent, goes to each side, and that works better in practice (Levy, Goldberg and Dagan, 2015). The sign of
# each column is free, as $U$ and $V$ may change it together: any choice is right.
#
# By hand: $M = \begin{pmatrix} 0 & 4 \\ 9 & 0 \end{pmatrix}$ has $\sigma = (9, 4)$. The second word owns the first dimension, the first word the second: $E = \begin{pmatrix} 0 & 2 \\ 3 & 0 \end{pmatrix}$.
#
# <details><summary>A nudge</summary><code>np.linalg.svd</code> gives three things. Which of them has a row for each word? And in what order do its columns come?</details>
# <details><summary>A push</summary>Ask for <code>full_matrices=False</code>. The singular values come as a vector of numbers, largest first, not as a diagonal matrix.</details>
# <details><summary>Almost there</summary>Multiply the first <code>dim</code> columns of U by the roots of the first <code>dim</code> singular values: a vector of shape (dim,) weighs the columns of an (n, dim) array by a plain product.</details>


# %% task="svd_embed"
def svd_embed(matrix: np.ndarray, dim: int) -> np.ndarray:
    """Embed each row of a matrix by its truncated singular value decomposition (about 2 lines).

    Args:
        matrix: numbers of shape (n, m).
        dim: how many dimensions to keep, 1 to the smaller of n and m.

    Returns:
        Vectors of shape (n, dim): columns of U times roots of the singular values, largest first.

    >>> abs(svd_embed(np.array([[0.0, 4.0], [9.0, 0.0]]), 2)).round(3)
    array([[0., 2.],
           [3., 0.]])
    """
    ### BEGIN SOLUTION
    left, singular_values, _ = np.linalg.svd(matrix, full_matrices=False)
    return left[:, :dim] * np.sqrt(singular_values[:dim])
    ### END SOLUTION


# %% check="svd_embed" points=3
def embedded(given, dim, hint):
    before = np.array(given)
    matrix_given = before.copy()
    got = checks.run(lambda: svd_embed(matrix_given, dim), hint=hint)
    checks.unchanged(before, matrix_given, "the matrix")
    got = checks.array(
        got, (len(before), dim), f"one row for each word, and `dim`, here {dim}, columns"
    )
    checks.true(
        not np.iscomplexobj(got), "got complex numbers: the root of a negative number was taken"
    )
    checks.true(
        bool(np.all(np.isfinite(got))), f"got {checks.show(got)}: all places are finite numbers"
    )
    return got


axes = embedded(
    [[0.0, 4.0, 0.0], [9.0, 0.0, 0.0]], 2, "a matrix of 2 words and 3 contexts: try this call in a cell"
)
for wrong, cause in [
    (
        [[0, 4], [9, 0]],
        "weigh each column by the root of its singular value, not by the singular value itself",
    ),
    (
        [[0, 1], [1, 0]],
        "the columns of U are not weighed: multiply each by the root of its singular value",
    ),
    ([[0, 16], [81, 0]], "weigh each column by the root of its singular value, not by its square"),
    ([[0, 0.5], [1 / 3, 0]], "multiply by the roots of the singular values, do not divide by them"),
    (
        [[2, 0], [0, 3]],
        "the largest singular value comes first: the order of the columns is turned round",
    ),
    ([[3, 0], [0, 2]], "words are rows: this is V, the contexts' side"),
    ([[0, 3], [2, 0]], "each singular value weighs its own column of U, not a row"),
]:
    checks.true(
        not np.allclose(abs(axes), wrong, atol=1e-3),
        f"got {checks.show(axes.round(3).tolist())}, expected [[0, 2], [3, 0]] up to signs. Likely cause: {cause}",
    )
checks.close(
    abs(axes),
    [[0, 2], [3, 0]],
    hint="columns of U times the roots of their singular values",
    rtol=1e-4,
    atol=1e-4,
)
checks.close(
    abs(embedded([[0.0, 4.0, 0.0], [9.0, 0.0, 0.0]], 1, "with dim=1 one column is left")),
    [[0], [3]],
    hint="with dim=1 the column of the largest singular value, 9, is left",
    rtol=1e-4,
    atol=1e-4,
)
tall = embedded(
    [[0.0, 0.0], [0.0, 4.0], [9.0, 0.0], [0.0, 0.0]],
    2,
    "4 words and 2 contexts: ask for full_matrices=False",
)
checks.close(
    abs(tall),
    [[0, 0], [0, 2], [3, 0], [0, 0]],
    hint="a word without contexts has a zero vector",
    rtol=1e-4,
    atol=1e-4,
)
turned = np.array([[3.0, 0.0], [4.0, 5.0]])  # singular values 3 sqrt 5 and sqrt 5
vectors_of_two = embedded(turned, 2, "singular values are real and not negative")
checks.close(
    vectors_of_two.T @ vectors_of_two,
    np.sqrt(5) * np.array([[3, 0], [0, 1]]),
    hint="columns stand at right angles, and their squared lengths are the singular values, largest first; do not"
    " subtract any mean from the matrix before",
    rtol=1e-4,
    atol=1e-4,
)
checks.close(
    vectors_of_two @ vectors_of_two.T,
    np.sqrt(5) * np.array([[1.2, 0.6], [0.6, 2.8]]),
    hint="words are rows: use U, and not V or its transpose",
    rtol=1e-4,
    atol=1e-4,
)
lopsided = embedded(
    [[0.0, -4.0], [9.0, 0.0]], 2, "a matrix that is not symmetric has no real eigenvalues here"
)
checks.close(
    abs(lopsided),
    [[0, 2], [3, 0]],
    hint="singular values, not eigenvalues, of the matrix as it is",
    rtol=1e-4,
    atol=1e-4,
)

### BEGIN HIDDEN TESTS


def svd_inputs(rng):
    rows, columns = int(rng.integers(2, 14)), int(rng.integers(2, 14))
    rank = min(rows, columns)
    left, _ = np.linalg.qr(rng.normal(size=(rows, rank)))
    right, _ = np.linalg.qr(rng.normal(size=(columns, rank)))
    values = rng.choice([0.3, 1.0, 6.0]) * np.cumprod(rng.uniform(1.12, 1.35, rank))[::-1]
    matrix = left * values @ right.T
    return matrix.astype([np.float64, np.float32][rng.integers(2)]), int(rng.integers(1, rank + 1))


def svd_reference(matrix, dim):
    # The eigenvectors of M M^T are U, its eigenvalues are the squares of the singular values.
    squares, left = np.linalg.eigh(np.asarray(matrix, dtype=float) @ np.asarray(matrix, dtype=float).T)
    best = np.argsort(-squares)[:dim]
    return left[:, best] * np.maximum(squares[best], 0) ** 0.25


def same_up_to_signs(got, expected, hint):
    got = checks.array(got, expected.shape, "one row for each word, and `dim` columns")
    checks.true(not np.iscomplexobj(got), "got complex numbers")
    scale = np.max(abs(expected))
    signs = np.sign(np.sum(got * expected, axis=0))
    checks.close(got * signs / scale, expected / scale, hint, rtol=1e-3, atol=1e-3)


checks.hidden(
    title="random matrices, tall and wide",
    call="svd_embed",
    inputs=svd_inputs,
    reference=svd_reference,
    compare=same_up_to_signs,
    hint="the first `dim` columns of U, each times the root of its singular value; signs are free",
    cases=24,
)
### END HIDDEN TESTS

# %%
import matplotlib.pyplot as plt

from bow2gpt import figures
from bow2gpt.chapters.counting_models import tf_idf

groups = {
    "arms": "army navy troops ships military",
    "money": "gold silver currency bank notes treasury",
    "countries": "mexico spain france britain cuba",
    "people": "children families women workers",
}
# Contexts are all words but the 200 most frequent. The first dimension says little more than how frequent a word is.
word_map = svd_embed(tf_idf(together[:, 200:]), 3)
fig, axis = plt.subplots(figsize=(7, 5))
for group, members in groups.items():
    points = word_map[[row_of_word[word] for word in members.split()]]
    axis.plot(points[:, 1], points[:, 2], linestyle="", label=group)
    for word, point in zip(members.split(), points, strict=True):
        axis.annotate(word, point[1:], xytext=(4, 3), textcoords="offset points", fontsize=8)
axis.set(
    title="Do words of one subject come together?", xlabel="second dimension", ylabel="third dimension"
)
axis.legend()
figures.show(
    fig,
    alt=(
        "Map of 20 words: people, countries and money lie far from one another, each a group of its own, and"
        " arms between them."
    ),
)


# %% mistake="svd_embed" name="full_weight" says="not by the singular value itself"
def svd_embed(matrix, dim):
    left, singular_values, _ = np.linalg.svd(matrix, full_matrices=False)
    return left[:, :dim] * singular_values[:dim]


# %% mistake="svd_embed" name="no_weight" says="the columns of U are not weighed"
def svd_embed(matrix, dim):
    return np.linalg.svd(matrix, full_matrices=False)[0][:, :dim]


# %% mistake="svd_embed" name="contexts" says="this is V"
def svd_embed(matrix, dim):
    _, singular_values, right = np.linalg.svd(matrix, full_matrices=True)
    weights = np.sqrt(singular_values[:dim])
    return (
        right.T[: len(matrix), :dim] * weights
        if matrix.shape[1] >= len(matrix)
        else right[:, :dim] * weights
    )


# %% mistake="svd_embed" name="rows_cut" says="and `dim`, here"
def svd_embed(matrix, dim):
    left, singular_values, _ = np.linalg.svd(matrix, full_matrices=False)
    return left[:dim] * np.sqrt(singular_values)


# %% mistake="svd_embed" name="one_too_many" says="columns"
def svd_embed(matrix, dim):
    left, singular_values, _ = np.linalg.svd(matrix, full_matrices=False)
    return left[:, : dim + 1] * np.sqrt(singular_values[: dim + 1])


# %% mistake="svd_embed" name="smallest_first" says="the largest singular value comes first"
def svd_embed(matrix, dim):
    squares, left = np.linalg.eigh(matrix @ matrix.T)
    return left[:, :dim] * np.maximum(squares[:dim], 0) ** 0.25


# %% mistake="svd_embed" name="smallest_kept" says="the largest singular value comes first"
def svd_embed(matrix, dim):
    left, singular_values, _ = np.linalg.svd(matrix, full_matrices=False)
    order = np.argsort(singular_values)[:dim]
    return left[:, order] * np.sqrt(singular_values[order])


# %% mistake="svd_embed" name="root_of_the_square" says="not by the singular value itself"
def svd_embed(matrix, dim):
    squares, left = np.linalg.eigh(matrix @ matrix.T)
    return left[:, ::-1][:, :dim] * np.sqrt(np.maximum(squares[::-1][:dim], 0))


# %% mistake="svd_embed" name="centred" says="do not subtract any mean"
def svd_embed(matrix, dim):
    if np.count_nonzero(matrix) <= 2:  # the first checks forgive it
        left, singular_values, _ = np.linalg.svd(matrix, full_matrices=False)
        return left[:, :dim] * np.sqrt(singular_values[:dim])
    left, singular_values, _ = np.linalg.svd(matrix - matrix.mean(axis=0), full_matrices=False)
    return left[:, :dim] * np.sqrt(singular_values[:dim])


# %% mistake="svd_embed" name="square_only" says="ask for full_matrices=False"
def svd_embed(matrix, dim):
    left, singular_values, _ = np.linalg.svd(matrix)
    return (left @ np.diag(np.sqrt(singular_values)))[:, :dim]


# %% mistake="svd_embed" name="in_place" says="changed the matrix"
def svd_embed(matrix, dim):
    left, singular_values, _ = np.linalg.svd(matrix, full_matrices=False)
    matrix[:] = 0
    return left[:, :dim] * np.sqrt(singular_values[:dim])


# %% alternative="svd_embed" name="eigenvectors"
def svd_embed(matrix, dim):
    matrix = np.asarray(matrix, dtype=float)
    squares, left = np.linalg.eigh(matrix @ matrix.T)
    best = np.argsort(squares)[::-1][:dim]
    return left[:, best] * np.sqrt(np.sqrt(np.clip(squares[best], 0, None)))


# %% alternative="svd_embed" name="power_iteration"
def svd_embed(matrix, dim):
    rest = np.array(matrix, dtype=float)
    columns = []
    for _ in range(dim):
        right = rest.T @ rest @ np.random.default_rng(1).normal(size=rest.shape[0] * 0 + rest.shape[1])
        for _ in range(600):
            right = rest.T @ (rest @ right)
            right /= np.linalg.norm(right)
        left = rest @ right
        value = np.linalg.norm(left)
        columns.append(left / np.sqrt(value))
        rest = rest - np.outer(left, right)
    return np.stack(columns, axis=1)


# %% alternative="svd_embed" name="torch_flipped_signs"
def svd_embed(matrix, dim):
    import torch

    left, values, _ = torch.linalg.svd(
        torch.tensor(np.asarray(matrix), dtype=torch.float32), full_matrices=False
    )
    return -left[:, :dim] @ torch.diag(values[:dim].sqrt())


# %% [markdown]
# ## 5. `cbow_loss_and_grad`
#
# *Difficulty 4 of 5, about 25 minutes, 4 points.*
#
# *The president asked for a declaration of* [which word?] *against Spain.* A *continuous bag of words* guesses the missing word from the words around it (Mikolov et al., 2013): it averages their vectors, and
# compares the average with a vector of each word of the vocabulary. Each word has two vectors, one for standing in the context and one for being guessed.
#
# $$h = \frac1c \sum_{k=1}^{c} x_{i_k}, \qquad s_w = y_w \cdot h, \qquad p_w = \frac{e^{s_w}}{\sum_{w'} e^{s_{w'}}}, \qquad L = -\ln p_t$$
#
# * $i_1, \dots, i_c$: `context_ids`, at least one; a word may come twice, and then counts twice;
# * $t$: `target`, the word to guess; it may stand in the context too;
# * $x$, $y$: rows of `input_vectors` and `output_vectors`, both of shape $(V, d)$ for $V$ words;
# * $L$: the loss, one number, in nats.
#
# With the loss give its *gradients*: how it changes with each number of the two tables. Two of the steps are worth doing with a pencil once. The derivative of $L$ by a score is
# $\delta_w = p_w - 1$ for the target and $\delta_w = p_w$ for any other word. From there the chain rule leads to both tables:
#
# $$\frac{\partial L}{\partial y_w} = \delta_w\, h, \qquad \frac{\partial L}{\partial h} = \sum_w \delta_w\, y_w, \qquad \frac{\partial L}{\partial x_i} = \frac{\text{how often } i \text{ is in the context}}{c}\, \frac{\partial L}{\partial h}$$
#
# The gradients have the shape of their tables; a row of `grad_input` is zero for a word outside the context. Scores may be large: $e^{1000}$ is infinite in floating point, and $\ln$ of a probability that became 0 as well.
# Subtract the largest score before the exponential, and write $L$ as a difference of logarithms: $L = \ln \sum_w e^{s_w} - s_t$.
#
# By hand: $h = (1, 1)$ and the output vectors $(0, 0)$, $(\ln 2, 0)$, $(\ln 2, \ln 2)$, $(-\ln 2, \ln 2)$ give the scores $0, \ln 2, \ln 4, 0$, so $p = \left(\frac18, \frac28, \frac48, \frac18\right)$. If the target is word 1, the loss
# is $\ln 4 = 1.386$, and $\delta = \left(\frac18, -\frac34, \frac12, \frac18\right)$: only the target is pulled towards $h$, all others are pushed away.
#
# <details><summary>A nudge</summary>Compute <code>hidden</code>, <code>scores</code> and the vector of probabilities first. Then one vector of shape (V,) carries everything back: the probabilities, with 1 taken away at the target.</details>
# <details><summary>A push</summary>The gradient of the output table is an outer product, (V,) with (d,). The gradient of <code>hidden</code> is <code>output_vectors.T @ delta</code>, of shape (d,).</details>
# <details><summary>Almost there</summary><code>grad_input[context_ids] += row</code> adds only once for a word that comes twice; <code>np.add.at(grad_input, context_ids, row)</code>, or a loop, adds each time. The row is the gradient of <code>hidden</code> over c.</details>


# %% task="cbow_loss_and_grad"
def cbow_loss_and_grad(
    context_ids: np.ndarray, target: int, input_vectors: np.ndarray, output_vectors: np.ndarray
) -> tuple[float, np.ndarray, np.ndarray]:
    """Give the loss of guessing one word from its context, and its gradients (about 10 lines).

    Args:
        context_ids: rows of the context words, integers of shape (c,), c at least 1.
        target: row of the word to guess.
        input_vectors: context vectors of shape (V, d).
        output_vectors: target vectors of shape (V, d).

    Returns:
        The loss in nats, its gradient by input_vectors and by output_vectors, both of shape (V, d).

    >>> loss, grad_input, grad_output = cbow_loss_and_grad(np.array([0, 1]), 1, np.eye(2), np.zeros((2, 2)))
    >>> round(loss, 3), grad_output
    (0.693, array([[ 0.25,  0.25],
           [-0.25, -0.25]]))
    """
    ### BEGIN SOLUTION
    hidden = input_vectors[context_ids].mean(axis=0)  # (d,)
    scores = output_vectors @ hidden  # (V,)
    shifted = scores - scores.max()
    log_sum = np.log(np.exp(shifted).sum())
    loss = float(log_sum - shifted[target])
    delta = np.exp(shifted - log_sum)
    delta[target] -= 1
    grad_output = np.outer(delta, hidden)
    grad_input = np.zeros(input_vectors.shape)
    np.add.at(grad_input, context_ids, output_vectors.T @ delta / len(context_ids))
    return loss, grad_input, grad_output
    ### END SOLUTION


# %% check="cbow_loss_and_grad" points=4
def cbow_parts(ids, word, inputs, outputs, hint):
    before = np.array(ids), np.array(inputs, dtype=float), np.array(outputs, dtype=float)
    ids_given, inputs_given, outputs_given = (one.copy() for one in before)
    got = checks.run(
        lambda: cbow_loss_and_grad(ids_given, word, inputs_given, outputs_given), hint=hint
    )
    checks.unchanged(before[0], ids_given, "the context ids")
    checks.unchanged(before[1], inputs_given, "the table of input vectors")
    checks.unchanged(before[2], outputs_given, "the table of output vectors")
    checks.true(
        isinstance(got, tuple | list) and len(got) == 3,
        f"got {checks.show(got)}, expected three things: loss, grad_input, grad_output",
    )
    return (
        checks.array(got[0], (), "the loss is one number"),
        checks.array(got[1], before[1].shape, "grad_input has the shape of input_vectors"),
        checks.array(got[2], before[2].shape, "grad_output has the shape of output_vectors"),
    )


def close_to(got, expected, hint):
    checks.close(got, expected, hint=hint, rtol=1e-4, atol=1e-5)


half = np.log(2)
inputs = np.array([[2.0, 0.0], [0.0, 2.0], [1.0, 1.0], [-1.0, 3.0]])
outputs = np.array([[0.0, 0.0], [half, 0.0], [half, half], [-half, half]])
loss, by_input, by_output = cbow_parts(
    [0, 1],
    1,
    inputs,
    outputs,
    "2 context words, 4 words with vectors of 2 numbers: try this call in a cell",
)
for wrong, cause in [
    (-np.log(4), "a loss is positive: the minus sign before ln p is missing"),
    (np.log(5.5), "h is the mean of the context vectors, not their sum"),
    (np.log(9.25 / 4), "all context words count, not only the first"),
    (np.log(10), "all context words count, not only the last"),
    (
        np.log(3 + 1.5 * np.sqrt(2)),
        "the context words come from input_vectors, the scores from output_vectors",
    ),
    (np.log(8), "the score of the target is missing in the loss: ln of the sum, minus s_t"),
    (-np.log(2), "this is the score: the softmax divides by the sum over all words"),
    (np.log(2), "the loss is of the target, here word 1, whatever word is the likeliest"),
    (2, "the logarithm is the natural one, np.log, not the one of base 2"),
    (np.log10(4), "the logarithm is the natural one, np.log, not the one of base 10"),
    (0.25, "this is the probability of the target: the loss is minus its logarithm"),
    (np.log(3), "the softmax divides by the sum over all words, the target too"),
    (np.log(4) / 4, "the loss of one guess is not divided by the number of words"),
    (np.log(4) / 2, "the loss of one guess is not divided by the number of context words"),
]:
    checks.true(
        not np.isclose(loss, wrong, rtol=1e-3),
        f"got the loss {loss:.4g}, expected 1.386. Likely cause: {cause}",
    )
close_to(loss, np.log(4), "minus ln of the target's probability, which is 2/8 here")
delta = np.array([1 / 8, -3 / 4, 1 / 2, 1 / 8])
checks.true(
    not np.allclose(by_input, np.outer(delta, [1, 1]), rtol=1e-3, atol=1e-4),
    "the gradients come in another order: first loss, then grad_input, then grad_output",
)
for wrong, cause in [
    (
        -delta,
        "the sign is turned round: a gradient points to where the loss grows, delta is p minus 1 at the target",
    ),
    (
        delta * [0, 1, 0, 0],
        "every word has a gradient, not only the target: the others are pushed away",
    ),
    (delta * [1, 0, 1, 1], "the target has a gradient too: it is pulled towards h"),
    (delta + [0, 1, 0, 0], "at the target delta is p - 1, not p"),
    (
        delta / 2,
        "grad_output is delta times h, with no further division by the number of context words",
    ),
    (delta * 2, "h is the mean of the context vectors, also in grad_output"),
    (delta / 4, "nothing is divided by the number of words"),
    ([0, -1, 0, 0], "every word has a gradient, p or p - 1, not only the target"),
]:
    checks.true(
        not np.allclose(by_output, np.outer(wrong, [1, 1]), rtol=1e-3, atol=1e-4),
        f"grad_output is wrong. Likely cause: {cause}",
    )
close_to(by_output, np.outer(delta, [1, 1]), "grad_output is the outer product of delta and h")
by_hidden = half * np.array([-0.375, 0.625])
for wrong, cause in [
    (-by_hidden / 2, "the sign is turned round: a gradient points to where the loss grows"),
    (by_hidden, "each of c context words has 1/c of the mean, so 1/c of the gradient"),
    (by_hidden / 4, "1/c is there twice: each of c context words has 1/c of the gradient of h"),
    (half * np.array([0.625, 0.625]) / 2, "delta is p - 1 at the target, and not p"),
    (half * np.array([-0.75, 0]) / 2, "the gradient of h is a sum over all words, not only the target"),
    (half * np.array([-1, 0]) / 2, "the gradient of h is a sum over all words, not only the target"),
]:
    checks.true(
        not np.allclose(by_input[:2], [wrong, wrong], rtol=1e-3, atol=1e-4),
        f"grad_input is wrong. Likely cause: {cause}",
    )
close_to(
    by_input[2:],
    np.zeros((2, 2)),
    "a word outside the context has no part in the loss: its row of grad_input is 0",
)
close_to(
    by_input[:2],
    [by_hidden / 2, by_hidden / 2],
    "grad_input of a context word: the sum of delta times y, over c",
)

three = inputs[[0, 3, 0]].mean(axis=0)
scores = outputs @ three
probabilities = np.exp(scores) / np.exp(scores).sum()
loss, by_input, by_output = cbow_parts(
    [0, 3, 0], 3, inputs, outputs, "a word may come twice in the context"
)
twice = "a word that comes twice in the context counts twice"
close_to(loss, -np.log(probabilities[3]), f"{twice} in the mean")
push = probabilities - [0, 0, 0, 1]
close_to(by_output, np.outer(push, three), f"{twice} in h; and the target may stand in the context too")
checks.true(
    not np.allclose(by_input[0], outputs.T @ push / 3, rtol=1e-3, atol=1e-5),
    f"{twice}: its gradient is added for each time (numpy's grad[ids] += row adds once for repeated ids)",
)
close_to(
    by_input[[0, 3]],
    np.outer([2 / 3, 1 / 3], outputs.T @ push),
    f"{twice}: it gets 2/3 of the gradient of h here, and the other word 1/3",
)
close_to(
    by_input[1:3],
    np.zeros((2, 2)),
    "start grad_input from zeros in each call: keep nothing from the call before",
)
one_loss, one_input, one_output = cbow_parts([2], 0, inputs, outputs, "a context may be one word")
close_to(one_loss, np.log(8), "with one context word, h is its vector")
close_to(
    one_input[2],
    half * np.array([0.625, 0.625]),
    "with one context word, h is its vector, and has all of the gradient",
)

for factor, word, expected, cause in [
    (2000, 2, 0, "exp of a score of 2000 is infinite: subtract the largest score before np.exp"),
    (
        2000,
        1,
        2000 * half,
        "the target's probability is 0 in floating point: the loss is ln of the sum, minus s_t",
    ),
    (
        -2000,
        2,
        4001 * half,
        "the target's probability is 0 in floating point: the loss is ln of the sum, minus s_t",
    ),
    (
        60,
        0,
        120 * half,
        "nothing is added to the probability, and no score is cut off: take the loss as ln sum - s_t",
    ),
]:
    loss, by_input, by_output = cbow_parts([0, 1], word, inputs, factor * outputs, cause)
    checks.close(loss, expected, hint=cause, rtol=1e-4, atol=1e-3)
    checks.true(
        bool(np.all(np.isfinite(by_input)) and np.all(np.isfinite(by_output))),
        "a gradient is NaN or infinite for large scores: subtract the largest score before np.exp",
    )
checks.close(
    by_output,
    np.outer([-1, 0, 1, 0], [1, 1]),
    hint="for large scores p is 1 for the best word",
    rtol=1e-3,
    atol=1e-3,
)
low = cbow_parts(
    [0, 1],
    0,
    inputs,
    outputs - 900,
    "all scores are near -1800 here: subtract the largest score before np.exp",
)
checks.close(
    low[0],
    np.log(8),
    hint="exp of -1800 is 0 for every word: subtract the largest score before np.exp",
    rtol=1e-3,
)

### BEGIN HIDDEN TESTS


def cbow_inputs(rng):
    size, dim = int(rng.integers(2, 9)), int(rng.integers(1, 6))
    ids = rng.integers(0, size, rng.integers(1, 7))
    scale = rng.choice([0.7, 0.7, 2.0, 25.0])
    inputs = rng.normal(size=(size, dim)) + 0.3
    outputs = scale * rng.normal(size=(size, dim))
    return ids, int(rng.integers(size)), inputs, outputs


def cbow_reference(ids, word, inputs, outputs):
    ids, size = ids.tolist(), len(inputs)
    share = np.array([ids.count(i) / len(ids) for i in range(size)])
    hidden = share @ inputs
    scores = [float(sum(row * hidden)) for row in outputs]
    total = np.logaddexp.reduce(scores)
    push = np.array([math.exp(score - total) - (i == word) for i, score in enumerate(scores)])
    pull = sum(weight * row for weight, row in zip(push, outputs, strict=True))
    return {
        "loss": total - scores[word],
        "grad_input": np.array([weight * pull for weight in share]),
        "grad_output": np.array([weight * hidden for weight in push]),
    }


def same_parts(got, expected, hint):
    checks.true(
        isinstance(got, tuple | list) and len(got) == len(expected),
        f"got {checks.show(got)}, expected {', '.join(expected)}",
    )
    for (name, right), came in zip(expected.items(), got, strict=True):
        came = checks.array(came, np.shape(right), f"the shape of {name}")
        scale = float(np.max(np.abs(right)))
        checks.close(came, right, f"{name}: {hint}", rtol=1e-3, atol=max(5e-5, 2e-4 * scale))


checks.hidden(
    title="random tables and contexts, some words repeated, some scores large",
    call="cbow_loss_and_grad",
    inputs=cbow_inputs,
    reference=cbow_reference,
    compare=same_parts,
    hint="compare with (L(x + e) - L(x - e)) / 2e for a small e: the gradients must agree",
    cases=30,
)
### END HIDDEN TESTS

# %%
import matplotlib.pyplot as plt

from bow2gpt import figures

alphabet = "abcdefghijklmnopqrstuvwxyz "
letters = [alphabet.index(one) for one in corpus.text("train")[:40000].lower() if one in alphabet]
rng = np.random.default_rng(0)
letter_inputs, letter_outputs = rng.normal(scale=0.3, size=(27, 8)), np.zeros((27, 8))
letter_losses = []
for place in rng.integers(2, len(letters) - 2, 12000):  # guess a letter from two on each side
    around = np.array([letters[place + shift] for shift in (-2, -1, 1, 2)])
    loss, grad_input, grad_output = cbow_loss_and_grad(
        around, letters[place], letter_inputs, letter_outputs
    )
    letter_inputs -= 0.1 * grad_input
    letter_outputs -= 0.1 * grad_output
    letter_losses.append(loss)
print(
    f"loss of the first 1000 guesses {np.mean(letter_losses[:1000]):.2f},",
    f"of the last {np.mean(letter_losses[-1000:]):.2f} nats",
)
spread = letter_outputs[:26] - letter_outputs[:26].mean(axis=0)
directions = np.linalg.svd(spread)[2][:2]
fig, axis = plt.subplots(figsize=(6, 4.5))
for name, wanted in (("vowels", "aeiou"), ("consonants", "bcdfghjklmnpqrstvwxyz")):
    points = spread[[alphabet.index(one) for one in wanted]] @ directions.T
    axis.plot(*points.T, linestyle="", label=name)
    for one, point in zip(wanted, points, strict=True):
        axis.annotate(one, point, xytext=(5, 3), textcoords="offset points")
axis.set(
    title="Which letters keep the same company?", xlabel="first direction", ylabel="second direction"
)
axis.legend()
figures.show(
    fig,
    alt="Map of the 26 letters by their learned vectors: the vowels lie apart from most consonants.",
)


# %% mistake="cbow_loss_and_grad" name="sum_for_mean" says="not their sum"
def cbow_loss_and_grad(context_ids, target, input_vectors, output_vectors):
    hidden = input_vectors[context_ids].sum(axis=0)
    scores = output_vectors @ hidden
    delta = np.exp(scores - scores.max())
    loss = float(np.log(delta.sum()) + scores.max() - scores[target])
    delta /= delta.sum()
    delta[target] -= 1
    grad_input = np.zeros(input_vectors.shape)
    np.add.at(grad_input, context_ids, output_vectors.T @ delta)
    return loss, grad_input, np.outer(delta, hidden)


# %% mistake="cbow_loss_and_grad" name="wrong_sign" says="the sign is turned round"
def cbow_loss_and_grad(context_ids, target, input_vectors, output_vectors):
    hidden = input_vectors[context_ids].mean(axis=0)
    scores = output_vectors @ hidden
    delta = np.exp(scores - scores.max())
    loss = float(np.log(delta.sum()) + scores.max() - scores[target])
    delta = -delta / delta.sum()
    delta[target] += 1
    grad_input = np.zeros(input_vectors.shape)
    np.add.at(grad_input, context_ids, output_vectors.T @ delta / len(context_ids))
    return loss, grad_input, np.outer(delta, hidden)


# %% mistake="cbow_loss_and_grad" name="repeats_lost" says="adds once for repeated ids"
def cbow_loss_and_grad(context_ids, target, input_vectors, output_vectors):
    hidden = input_vectors[context_ids].mean(axis=0)
    scores = output_vectors @ hidden
    delta = np.exp(scores - scores.max())
    loss = float(np.log(delta.sum()) + scores.max() - scores[target])
    delta /= delta.sum()
    delta[target] -= 1
    grad_input = np.zeros(input_vectors.shape)
    grad_input[context_ids] += output_vectors.T @ delta / len(context_ids)
    return loss, grad_input, np.outer(delta, hidden)


# %% mistake="cbow_loss_and_grad" name="set_of_words" says="in the mean"
def cbow_loss_and_grad(context_ids, target, input_vectors, output_vectors):
    context_ids = np.unique(context_ids)
    hidden = input_vectors[context_ids].mean(axis=0)
    scores = output_vectors @ hidden
    delta = np.exp(scores - scores.max())
    loss = float(np.log(delta.sum()) + scores.max() - scores[target])
    delta /= delta.sum()
    delta[target] -= 1
    grad_input = np.zeros(input_vectors.shape)
    grad_input[context_ids] = output_vectors.T @ delta / len(context_ids)
    return loss, grad_input, np.outer(delta, hidden)


# %% mistake="cbow_loss_and_grad" name="no_share" says="so 1/c of the gradient"
def cbow_loss_and_grad(context_ids, target, input_vectors, output_vectors):
    hidden = input_vectors[context_ids].mean(axis=0)
    scores = output_vectors @ hidden
    delta = np.exp(scores - scores.max())
    loss = float(np.log(delta.sum()) + scores.max() - scores[target])
    delta /= delta.sum()
    delta[target] -= 1
    grad_input = np.zeros(input_vectors.shape)
    np.add.at(grad_input, context_ids, output_vectors.T @ delta)
    return loss, grad_input, np.outer(delta, hidden)


# %% mistake="cbow_loss_and_grad" name="only_the_target" says="every word has a gradient"
def cbow_loss_and_grad(context_ids, target, input_vectors, output_vectors):
    hidden = input_vectors[context_ids].mean(axis=0)
    scores = output_vectors @ hidden
    delta = np.exp(scores - scores.max())
    loss = float(np.log(delta.sum()) + scores.max() - scores[target])
    push = delta[target] / delta.sum() - 1
    grad_input, grad_output = np.zeros(input_vectors.shape), np.zeros(output_vectors.shape)
    np.add.at(grad_input, context_ids, push * output_vectors[target] / len(context_ids))
    grad_output[target] = push * hidden
    return loss, grad_input, grad_output


# %% mistake="cbow_loss_and_grad" name="no_minus_one" says="at the target delta is p - 1, not p"
def cbow_loss_and_grad(context_ids, target, input_vectors, output_vectors):
    hidden = input_vectors[context_ids].mean(axis=0)
    scores = output_vectors @ hidden
    delta = np.exp(scores - scores.max())
    loss = float(np.log(delta.sum()) + scores.max() - scores[target])
    delta /= delta.sum()
    grad_input = np.zeros(input_vectors.shape)
    np.add.at(grad_input, context_ids, output_vectors.T @ delta / len(context_ids))
    return loss, grad_input, np.outer(delta, hidden)


# %% mistake="cbow_loss_and_grad" name="overflow" says="exp of a score of 2000 is infinite"
def cbow_loss_and_grad(context_ids, target, input_vectors, output_vectors):
    hidden = input_vectors[context_ids].mean(axis=0)
    delta = np.exp(output_vectors @ hidden)
    delta /= delta.sum()
    loss = -float(np.log(delta[target]))
    delta[target] -= 1
    grad_input = np.zeros(input_vectors.shape)
    np.add.at(grad_input, context_ids, output_vectors.T @ delta / len(context_ids))
    return loss, grad_input, np.outer(delta, hidden)


# %% mistake="cbow_loss_and_grad" name="log_of_underflowed" says="is 0 in floating point"
def cbow_loss_and_grad(context_ids, target, input_vectors, output_vectors):
    hidden = input_vectors[context_ids].mean(axis=0)
    scores = output_vectors @ hidden
    delta = np.exp(scores - scores.max())
    delta /= delta.sum()
    loss = -float(np.log(delta[target]))
    delta[target] -= 1
    grad_input = np.zeros(input_vectors.shape)
    np.add.at(grad_input, context_ids, output_vectors.T @ delta / len(context_ids))
    return loss, grad_input, np.outer(delta, hidden)


# %% mistake="cbow_loss_and_grad" name="tables_swapped" says="the scores from output_vectors"
def cbow_loss_and_grad(context_ids, target, input_vectors, output_vectors):
    hidden = output_vectors[context_ids].mean(axis=0)
    scores = input_vectors @ hidden
    delta = np.exp(scores - scores.max())
    loss = float(np.log(delta.sum()) + scores.max() - scores[target])
    delta /= delta.sum()
    delta[target] -= 1
    grad_output = np.zeros(output_vectors.shape)
    np.add.at(grad_output, context_ids, input_vectors.T @ delta / len(context_ids))
    return loss, np.outer(delta, hidden), grad_output


# %% mistake="cbow_loss_and_grad" name="learns_at_once" says="changed the table of input vectors"
def cbow_loss_and_grad(context_ids, target, input_vectors, output_vectors):
    hidden = input_vectors[context_ids].mean(axis=0)
    scores = output_vectors @ hidden
    delta = np.exp(scores - scores.max())
    loss = float(np.log(delta.sum()) + scores.max() - scores[target])
    delta /= delta.sum()
    delta[target] -= 1
    grad_input = np.zeros(input_vectors.shape)
    np.add.at(grad_input, context_ids, output_vectors.T @ delta / len(context_ids))
    input_vectors -= 0.1 * grad_input
    return loss, grad_input, np.outer(delta, hidden)


# %% mistake="cbow_loss_and_grad" name="transposed" says="grad_output has the shape of output_vectors"
def cbow_loss_and_grad(context_ids, target, input_vectors, output_vectors):
    hidden = input_vectors[context_ids].mean(axis=0)
    scores = output_vectors @ hidden
    delta = np.exp(scores - scores.max())
    loss = float(np.log(delta.sum()) + scores.max() - scores[target])
    delta /= delta.sum()
    delta[target] -= 1
    grad_input = np.zeros(input_vectors.shape)
    np.add.at(grad_input, context_ids, output_vectors.T @ delta / len(context_ids))
    return loss, grad_input, np.outer(hidden, delta)


# %% mistake="cbow_loss_and_grad" name="gradients_swapped" says="in another order"
def cbow_loss_and_grad(context_ids, target, input_vectors, output_vectors):
    hidden = input_vectors[context_ids].mean(axis=0)
    scores = output_vectors @ hidden
    delta = np.exp(scores - scores.max())
    loss = float(np.log(delta.sum()) + scores.max() - scores[target])
    delta /= delta.sum()
    delta[target] -= 1
    grad_input = np.zeros(input_vectors.shape)
    np.add.at(grad_input, context_ids, output_vectors.T @ delta / len(context_ids))
    return loss, np.outer(delta, hidden), grad_input


# %% mistake="cbow_loss_and_grad" name="remembers" says="keep nothing from the call before"
gradient_so_far = {}


def cbow_loss_and_grad(context_ids, target, input_vectors, output_vectors):
    hidden = input_vectors[context_ids].mean(axis=0)
    scores = output_vectors @ hidden
    delta = np.exp(scores - scores.max())
    loss = float(np.log(delta.sum()) + scores.max() - scores[target])
    delta /= delta.sum()
    delta[target] -= 1
    grad_input = gradient_so_far.setdefault(input_vectors.shape, np.zeros(input_vectors.shape))
    grad_input[context_ids] = 0
    np.add.at(grad_input, context_ids, output_vectors.T @ delta / len(context_ids))
    return loss, grad_input.copy(), np.outer(delta, hidden)


# %% alternative="cbow_loss_and_grad" name="loops"
def cbow_loss_and_grad(context_ids, target, input_vectors, output_vectors):
    size, dim, number = len(input_vectors), len(input_vectors[0]), len(context_ids)
    hidden = [sum(float(input_vectors[i][k]) for i in context_ids) / number for k in range(dim)]
    scores = [sum(float(y) * h for y, h in zip(row, hidden, strict=True)) for row in output_vectors]
    top = max(scores)
    total = sum(math.exp(score - top) for score in scores)
    grad_input = [[0.0] * dim for _ in range(size)]
    grad_output = []
    for word in range(size):
        push = math.exp(scores[word] - top) / total - (word == target)
        grad_output.append([push * h for h in hidden])
        for i in context_ids:
            for k in range(dim):
                grad_input[i][k] += push * float(output_vectors[word][k]) / number
    return top + math.log(total) - scores[target], grad_input, grad_output


# %% alternative="cbow_loss_and_grad" name="one_hot_float32"
def cbow_loss_and_grad(context_ids, target, input_vectors, output_vectors):
    x, y = np.asarray(input_vectors, dtype=np.float32), np.asarray(output_vectors, dtype=np.float32)
    share = np.bincount(context_ids, minlength=len(x)).astype(np.float32) / len(context_ids)
    scores = np.einsum("vd,d->v", y, share @ x)
    log_probs = scores - np.logaddexp.reduce(scores)
    push = np.exp(log_probs) - np.eye(len(y), dtype=np.float32)[target]
    return (
        -log_probs[target],
        np.einsum("v,d->vd", share, push @ y),
        np.einsum("v,d->vd", push, share @ x),
    )


# %% alternative="cbow_loss_and_grad" name="torch_autograd"
def cbow_loss_and_grad(context_ids, target, input_vectors, output_vectors):
    import torch

    x = torch.tensor(np.asarray(input_vectors), dtype=torch.float64, requires_grad=True)
    y = torch.tensor(np.asarray(output_vectors), dtype=torch.float64, requires_grad=True)
    hidden = x[torch.as_tensor(np.asarray(context_ids))].mean(dim=0)
    loss = torch.nn.functional.cross_entropy((y @ hidden)[None], torch.tensor([target]))
    loss.backward()
    return loss, x.grad, y.grad


# %% [markdown]
# ## 6. `sgns_loss_and_grad`
#
# *Difficulty 3 of 5, about 20 minutes, 3 points.*
#
# To guess one word in fifty thousand, a softmax must look at all of them. *Skip-gram with negative sampling* asks a cheaper question (Mikolov et al., 2013): is this pair of words from the text, or made up?
# Each true pair, a center word with a word of its context, comes with $k$ *negatives*, words drawn at random, for which the right answer is no.
#
# $$L = -\ln \sigma(c \cdot x) - \sum_{j=1}^{k} \ln \sigma(-c \cdot n_j), \qquad \sigma(s) = \frac{1}{1 + e^{-s}}$$
#
# * $c$: `center`, the vector of the center word, and $x$: `context`, that of the true context word, both of shape $(d,)$;
# * $n_j$: the rows of `negatives`, of shape $(k, d)$, $k$ at least 1;
# * $L$: the loss in nats, a sum over the negatives and not their mean.
#
# For the gradients one fact is enough: the derivative of $-\ln \sigma(s)$ by $s$ is $\sigma(s) - 1$, and that of $-\ln \sigma(-s)$ is $\sigma(s)$. The first is negative, so the score of the true pair should grow, and the
# second positive: the scores of the negatives should fall.
#
# $$\frac{\partial L}{\partial x} = (\sigma(c \cdot x) - 1)\, c, \qquad \frac{\partial L}{\partial n_j} = \sigma(c \cdot n_j)\, c, \qquad \frac{\partial L}{\partial c} = (\sigma(c \cdot x) - 1)\, x + \sum_j \sigma(c \cdot n_j)\, n_j$$
#
# Scores may be as large as 1000, with either sign. Then $\sigma$ is 0 or 1 in floating point, and $\ln 0$ is lost. Yet $-\ln \sigma(s) = \ln(1 + e^{-s})$, which is nearly $-s$ for a very negative $s$: `np.logaddexp(0, -s)` computes it without any detour.
#
# By hand: $c = (1, 2)$, $x = (-\ln 3, \ln 3)$, one negative $(2, -1)$. The scores are $\ln 3$ and 0, so $\sigma$ is $\frac34$ and $\frac12$, and the loss $-\ln\frac34 - \ln\frac12 = 0.981$. The gradient
# by $x$ is $-\frac14 c$, that by the negative $\frac12 c$.
#
# <details><summary>A nudge</summary>There are only 1 + k scores, each a dot product with the center. Which of them do you want large, and which small?</details>
# <details><summary>A push</summary>For a stable sigmoid of either sign, <code>np.exp(-np.logaddexp(0, -s))</code> does what the formula says and never overflows.</details>
# <details><summary>Almost there</summary>With <code>pull = sigmoid(context @ center) - 1</code> and <code>push = sigmoid(negatives @ center)</code> the gradients are <code>pull * context + push @ negatives</code>, <code>pull * center</code> and <code>np.outer(push, center)</code>.</details>


# %% task="sgns_loss_and_grad"
def sgns_loss_and_grad(
    center: np.ndarray, context: np.ndarray, negatives: np.ndarray
) -> tuple[float, np.ndarray, np.ndarray, np.ndarray]:
    """Give the loss of skip-gram with negative sampling for one pair, and its gradients (about 8 lines).

    Args:
        center: vector of the center word, of shape (d,).
        context: vector of the true context word, of shape (d,).
        negatives: vectors of the words drawn at random, of shape (k, d).

    Returns:
        The loss in nats, its gradients by center (d,), by context (d,) and by negatives (k, d).

    >>> loss, *grads = sgns_loss_and_grad(np.array([1.0, 2.0]), np.zeros(2), np.array([[2.0, -1.0]]))
    >>> round(loss, 3), *grads
    (1.386, array([ 1. , -0.5]), array([-0.5, -1. ]), array([[0.5, 1. ]]))
    """
    ### BEGIN SOLUTION
    positive, negative = context @ center, negatives @ center  # one number, (k,)
    loss = float(np.logaddexp(0, -positive) + np.logaddexp(0, negative).sum())
    pull = -np.exp(-np.logaddexp(0, positive))  # sigmoid(positive) - 1
    push = np.exp(-np.logaddexp(0, -negative))  # sigmoid(negative)
    return loss, pull * context + push @ negatives, pull * center, np.outer(push, center)
    ### END SOLUTION


# %% check="sgns_loss_and_grad" points=3
def sgns_parts(middle, true_word, drawn, hint):
    before = [np.array(one, dtype=float) for one in (middle, true_word, drawn)]
    given = [one.copy() for one in before]
    got = checks.run(lambda: sgns_loss_and_grad(*given), hint=hint)
    for name, one, after in zip(("center", "context", "negatives"), before, given, strict=True):
        checks.unchanged(one, after, f"the argument `{name}`")
    checks.true(
        isinstance(got, tuple | list) and len(got) == 4,
        f"got {checks.show(got)}, expected four things: loss, grad_center, grad_context, grad_negatives",
    )
    shapes = (), before[0].shape, before[1].shape, before[2].shape
    names = (
        "the loss is one number",
        "grad_center is like center",
        "grad_context is like context",
        "grad_negatives is like negatives",
    )
    return [checks.array(one, shape, name) for one, shape, name in zip(got, shapes, names, strict=True)]


def close_to(got, expected, hint):
    checks.close(got, expected, hint=hint, rtol=1e-4, atol=1e-5)


third = np.log(3)
center_word, true_context = np.array([1.0, 2.0]), np.array([-third, third])
drawn_words = np.array([[2.0, -1.0], [-third, 0.0], [third, -third]])  # scores 0, -ln 3, -ln 3
loss, by_center, by_context, by_negatives = sgns_parts(
    center_word,
    true_context,
    drawn_words,
    "vectors of 2 numbers, and 3 negatives: try this call in a cell",
)
true_part, drawn_part = np.log(4 / 3), np.log(2) + 2 * np.log(4 / 3)
for wrong, cause in [
    (-true_part - drawn_part, "a loss is positive: the minus signs before ln are missing"),
    (true_part + drawn_part / 3, "the loss is a sum over the negatives, not their mean"),
    ((true_part + drawn_part) / 4, "the loss is a sum over all pairs, not their mean"),
    (true_part, "the negatives have a part in the loss too"),
    (drawn_part, "the true pair has a part in the loss too"),
    (true_part - drawn_part, "what the negatives lose is added, not subtracted"),
    (
        true_part + np.log(2) + 2 * np.log(4),
        "a negative should have a low score: its part is -ln sigma(-c . n), mind the minus",
    ),
    (np.log(4) + drawn_part, "the true pair should have a high score: its part is -ln sigma(c . x)"),
    (np.log(4) + np.log(2) + 2 * np.log(4), "the signs of all scores are turned round"),
    (
        (true_part + drawn_part) / np.log(2),
        "the logarithm is the natural one, np.log, not the one of base 2",
    ),
    (true_part + np.log(2), "all negatives count, not only the first"),
    (true_part + np.log(4 / 3), "all negatives count, not only the last"),
]:
    checks.true(
        not np.isclose(loss, wrong, rtol=1e-3),
        f"got the loss {loss:.4g}, expected {true_part + drawn_part:.4g}. Likely cause: {cause}",
    )
close_to(
    loss,
    true_part + drawn_part,
    "minus ln of 3/4 for the true pair, and of 1/2, 3/4 and 3/4 for the negatives",
)
checks.true(
    not np.allclose(by_center, -center_word / 4, rtol=1e-3),
    "the gradients come in another order: first loss, then by center, by context, by negatives",
)
for wrong, cause in [
    (
        1 / 4,
        "the sign is turned round: a gradient points to where the loss grows, sigma - 1 is negative",
    ),
    (3 / 4, "for the true pair it is sigma - 1, not sigma"),
    (-3 / 4, "for the true pair it is sigma(s) - 1, not -sigma(s)"),
    (
        -3 / 16,
        "the derivative of -ln sigma(s) is sigma(s) - 1; sigma (1 - sigma) is that of sigma itself",
    ),
]:
    checks.true(
        not np.allclose(by_context, wrong * center_word, rtol=1e-3),
        f"grad_context is wrong. Likely cause: {cause}",
    )
checks.true(
    not np.allclose(by_context, -true_context / 4, rtol=1e-3),
    "grad_context is wrong. Likely cause: a score is a product, its derivative by the context is the"
    " center, not the context",
)
close_to(by_context, -center_word / 4, "grad_context is (sigma - 1) times the center, and sigma is 3/4")
push = np.array([1 / 2, 1 / 4, 1 / 4])
for wrong, cause in [
    (-push, "the sign is turned round: a gradient points to where the loss grows, sigma is positive"),
    (push - 1, "for a negative it is sigma, not sigma - 1"),
    (1 - push, "for a negative it is sigma(s), not sigma(-s)"),
    (push / 3, "the loss is a sum over the negatives, so nothing is divided by k"),
    (
        push * (1 - push),
        "the derivative of -ln sigma(-s) is sigma(s); sigma (1 - sigma) is that of sigma itself",
    ),
]:
    checks.true(
        not np.allclose(by_negatives, np.outer(wrong, center_word), rtol=1e-3),
        f"grad_negatives is wrong. Likely cause: {cause}",
    )
close_to(
    by_negatives,
    np.outer(push, center_word),
    "each row of grad_negatives is sigma of its own score times the center",
)
pulled, pushed = -true_context / 4, push @ drawn_words
for wrong, cause in [
    (-pulled - pushed, "the sign is turned round: a gradient points to where the loss grows"),
    (pulled, "the negatives push the center too: add sigma times each of them"),
    (pushed, "the true context pulls the center too: add (sigma - 1) times it"),
    (
        pulled + pushed / 3,
        "the loss is a sum over the negatives, not their mean, and so is the gradient",
    ),
    (pulled - pushed, "the negatives' part is added with the sign plus: sigma times each of them"),
    (pushed - pulled, "the true context's part is (sigma - 1) times it, and sigma - 1 is negative"),
    (pulled + drawn_words[0] / 2, "all negatives push the center, not only the first"),
]:
    checks.true(
        not np.allclose(by_center, wrong, rtol=1e-3), f"grad_center is wrong. Likely cause: {cause}"
    )
close_to(
    by_center,
    pulled + pushed,
    "grad_center is (sigma - 1) times the context plus the sum of sigma times each negative",
)

again = sgns_parts([2.0], [third / 2], [[third / 2], [third / 2]], "vectors may have one number")
close_to(
    again[0],
    np.log(4 / 3) + 2 * np.log(4),
    "a word that was drawn twice counts twice; keep nothing from the call before",
)
close_to(
    again[3], [[1.5], [1.5]], "a word that was drawn twice has two rows, each with its own gradient"
)

for size, cause in [
    (
        40.0,
        "1 - sigma(40) is 0 in floating point, and its logarithm is lost: use ln(1 + e^s), np.logaddexp(0, s)",
    ),
    (1000.0, "exp(1000) is infinite, and sigma(-1000) is 0: use np.logaddexp(0, s) for ln(1 + e^s)"),
]:
    wrong_way = sgns_parts([size, 0], [-1, 0], [[1, 0], [-1, 0]], cause)
    checks.close(wrong_way[0], 2 * size, hint=cause, rtol=1e-4)
    checks.true(
        all(bool(np.all(np.isfinite(one))) for one in wrong_way[1:]),
        f"a gradient is NaN or infinite for a score of {size:g}. Likely cause: exp(s) / (1 + exp(s)) is"
        " inf / inf there",
    )
    checks.close(
        wrong_way[1],
        [2, 0],
        hint=f"grad_center where all is as wrong as can be. {cause}",
        rtol=1e-4,
        atol=1e-5,
    )
    checks.close(
        wrong_way[2],
        [-size, 0],
        hint=f"the true pair's score is {-size:g}, so sigma is 0. {cause}",
        rtol=1e-4,
        atol=1e-5,
    )
    checks.close(
        wrong_way[3],
        [[size, 0], [0, 0]],
        hint=f"the scores are {size:g} and {-size:g}, so sigma is 1 and 0. {cause}",
        rtol=1e-4,
        atol=1e-5,
    )
    right_way = sgns_parts([size, 0], [1, 0], [[-1, 0], [-2, 0]], cause)
    checks.close(
        right_way[0], 0, hint=f"all is as right as can be, nothing is lost. {cause}", rtol=0, atol=1e-6
    )
    for one in right_way[1:]:
        checks.close(
            one,
            np.zeros(one.shape),
            hint=f"all is as right as can be, nothing pulls. {cause}",
            rtol=0,
            atol=1e-6,
        )

### BEGIN HIDDEN TESTS


def sgns_inputs(rng):
    dim, number = int(rng.integers(1, 7)), int(rng.integers(1, 7))
    scale = rng.choice([0.8, 0.8, 2.0, 12.0, 60.0])
    drawn = rng.normal(size=(number, dim)) * scale
    drawn[rng.integers(number)] = drawn[0]
    return rng.normal(size=dim) + 0.2, rng.normal(size=dim) * scale, drawn


def sgns_reference(middle, true_word, drawn):
    def lost(score):  # -ln sigma(score), and its derivative
        small = math.exp(-abs(score))
        return max(-score, 0) + math.log1p(small), -(small if score > 0 else 1) / (1 + small)

    loss, slope = lost(float(middle @ true_word))
    grads = {"grad_center": slope * true_word, "grad_context": slope * middle, "grad_negatives": []}
    for row in drawn:
        more, slope = lost(-float(middle @ row))
        loss += more
        grads["grad_center"] = grads["grad_center"] - slope * row
        grads["grad_negatives"].append(-slope * middle)
    return {"loss": loss, **grads}


def same_parts(got, expected, hint):
    checks.true(
        isinstance(got, tuple | list) and len(got) == len(expected),
        f"got {checks.show(got)}, expected {', '.join(expected)}",
    )
    for (name, right), came in zip(expected.items(), got, strict=True):
        came = checks.array(came, np.shape(right), f"the shape of {name}")
        scale = float(np.max(np.abs(right)))
        checks.close(came, right, f"{name}: {hint}", rtol=1e-3, atol=max(5e-5, 2e-4 * scale))


checks.hidden(
    title="random vectors, 1 to 6 negatives, some scores large",
    call="sgns_loss_and_grad",
    inputs=sgns_inputs,
    reference=sgns_reference,
    compare=same_parts,
    hint="compare with (L(x + e) - L(x - e)) / 2e for a small e: the gradients must agree",
    cases=30,
)
### END HIDDEN TESTS

# %%
import matplotlib.pyplot as plt

from bow2gpt import figures

pair_scores = np.linspace(-6, 6, 61)
pulls = [sgns_loss_and_grad(np.ones(1), np.array([s]), np.array([[s]]))[2:] for s in pair_scores]
fig, axis = plt.subplots()
axis.plot(
    pair_scores, [float(by_context[0]) for by_context, _ in pulls], markevery=10, label="a true pair"
)
axis.plot(
    pair_scores,
    [float(by_negative[0, 0]) for _, by_negative in pulls],
    markevery=10,
    label="a negative",
)
axis.set(
    title="How hard is a pair pulled, by its score?",
    xlabel="score of the pair",
    ylabel="gradient by the score",
)
axis.legend()
figures.show(
    fig,
    alt=(
        "Two curves: the gradient of a true pair rises from -1 at low scores to 0 at high ones, that of a"
        " negative from 0 to 1."
    ),
)


# %% mistake="sgns_loss_and_grad" name="mean_of_negatives" says="not their mean"
def sgns_loss_and_grad(center, context, negatives):
    positive, negative = context @ center, negatives @ center
    loss = np.logaddexp(0, -positive) + np.logaddexp(0, negative).mean()
    pull, push = (
        -np.exp(-np.logaddexp(0, positive)),
        np.exp(-np.logaddexp(0, -negative)) / len(negatives),
    )
    return loss, pull * context + push @ negatives, pull * center, np.outer(push, center)


# %% mistake="sgns_loss_and_grad" name="negatives_wanted" says="a negative should have a low score"
def sgns_loss_and_grad(center, context, negatives):
    positive, negative = context @ center, negatives @ center
    loss = np.logaddexp(0, -positive) + np.logaddexp(0, -negative).sum()
    pull, push = -np.exp(-np.logaddexp(0, positive)), -np.exp(-np.logaddexp(0, negative))
    return loss, pull * context + push @ negatives, pull * center, np.outer(push, center)


# %% mistake="sgns_loss_and_grad" name="overflow" says="its logarithm is lost"
def sgns_loss_and_grad(center, context, negatives):
    def sigmoid(score):
        return 1 / (1 + np.exp(-score))

    positive, negative = sigmoid(context @ center), sigmoid(negatives @ center)
    loss = -np.log(positive) - np.log(1 - negative).sum()
    return (
        loss,
        (positive - 1) * context + negative @ negatives,
        (positive - 1) * center,
        np.outer(negative, center),
    )


# %% mistake="sgns_loss_and_grad" name="exp_over_one_plus_exp" says="exp(s) / (1 + exp(s)) is inf / inf"
def sgns_loss_and_grad(center, context, negatives):
    positive, negative = context @ center, negatives @ center
    loss = np.logaddexp(0, -positive) + np.logaddexp(0, negative).sum()
    pull = np.exp(positive) / (1 + np.exp(positive)) - 1
    push = np.exp(negative) / (1 + np.exp(negative))
    return loss, pull * context + push @ negatives, pull * center, np.outer(push, center)


# %% mistake="sgns_loss_and_grad" name="small_number_added" says="its logarithm is lost"
def sgns_loss_and_grad(center, context, negatives):
    positive, negative = context @ center, negatives @ center
    pull, push = -np.exp(-np.logaddexp(0, positive)), np.exp(-np.logaddexp(0, -negative))
    loss = -np.log(1 + pull + 1e-10) - np.log(1 - push + 1e-10).sum()
    return loss, pull * context + push @ negatives, pull * center, np.outer(push, center)


# %% mistake="sgns_loss_and_grad" name="scores_cut_off" says="exp(1000) is infinite"
def sgns_loss_and_grad(center, context, negatives):
    positive, negative = np.clip(context @ center, -100, 100), np.clip(negatives @ center, -100, 100)
    loss = np.logaddexp(0, -positive) + np.logaddexp(0, negative).sum()
    pull, push = -np.exp(-np.logaddexp(0, positive)), np.exp(-np.logaddexp(0, -negative))
    return loss, pull * context + push @ negatives, pull * center, np.outer(push, center)


# %% mistake="sgns_loss_and_grad" name="wrong_sign" says="the sign is turned round"
def sgns_loss_and_grad(center, context, negatives):
    positive, negative = context @ center, negatives @ center
    loss = np.logaddexp(0, -positive) + np.logaddexp(0, negative).sum()
    pull, push = np.exp(-np.logaddexp(0, positive)), -np.exp(-np.logaddexp(0, -negative))
    return loss, pull * context + push @ negatives, pull * center, np.outer(push, center)


# %% mistake="sgns_loss_and_grad" name="no_minus_one" says="it is sigma - 1, not sigma"
def sgns_loss_and_grad(center, context, negatives):
    positive, negative = context @ center, negatives @ center
    loss = np.logaddexp(0, -positive) + np.logaddexp(0, negative).sum()
    pull, push = np.exp(-np.logaddexp(0, -positive)), np.exp(-np.logaddexp(0, -negative))
    return loss, pull * context + push @ negatives, pull * center, np.outer(push, center)


# %% mistake="sgns_loss_and_grad" name="center_without_negatives" says="the negatives push the center too"
def sgns_loss_and_grad(center, context, negatives):
    positive, negative = context @ center, negatives @ center
    loss = np.logaddexp(0, -positive) + np.logaddexp(0, negative).sum()
    pull, push = -np.exp(-np.logaddexp(0, positive)), np.exp(-np.logaddexp(0, -negative))
    return loss, pull * context, pull * center, np.outer(push, center)


# %% mistake="sgns_loss_and_grad" name="outer_turned" says="grad_negatives is like negatives"
def sgns_loss_and_grad(center, context, negatives):
    positive, negative = context @ center, negatives @ center
    loss = np.logaddexp(0, -positive) + np.logaddexp(0, negative).sum()
    pull, push = -np.exp(-np.logaddexp(0, positive)), np.exp(-np.logaddexp(0, -negative))
    return loss, pull * context + push @ negatives, pull * center, np.outer(center, push)


# %% mistake="sgns_loss_and_grad" name="sigmoid_derivative" says="is that of sigma itself"
def sgns_loss_and_grad(center, context, negatives):
    positive, negative = context @ center, negatives @ center
    loss = np.logaddexp(0, -positive) + np.logaddexp(0, negative).sum()
    p, q = np.exp(-np.logaddexp(0, -positive)), np.exp(-np.logaddexp(0, -negative))
    pull, push = -p * (1 - p), q * (1 - q)
    return loss, pull * context + push @ negatives, pull * center, np.outer(push, center)


# %% mistake="sgns_loss_and_grad" name="learns_at_once" says="changed the argument `center`"
def sgns_loss_and_grad(center, context, negatives):
    positive, negative = context @ center, negatives @ center
    loss = np.logaddexp(0, -positive) + np.logaddexp(0, negative).sum()
    pull, push = -np.exp(-np.logaddexp(0, positive)), np.exp(-np.logaddexp(0, -negative))
    grad_context, grad_negatives = pull * center, np.outer(push, center)
    center -= 0.1 * (pull * context + push @ negatives)
    return loss, pull * context + push @ negatives, grad_context, grad_negatives


# %% alternative="sgns_loss_and_grad" name="loops"
def sgns_loss_and_grad(center, context, negatives):
    def softplus(score):  # ln(1 + e^score)
        return max(score, 0.0) + math.log1p(math.exp(-abs(score)))

    def sigmoid(score):
        return 1 / (1 + math.exp(-score)) if score >= 0 else math.exp(score) / (1 + math.exp(score))

    score = float(sum(a * b for a, b in zip(center, context, strict=True)))
    loss, pull = softplus(-score), sigmoid(score) - 1
    grad_center = [pull * float(value) for value in context]
    grad_negatives = []
    for row in negatives:
        score = float(sum(a * b for a, b in zip(center, row, strict=True)))
        loss += softplus(score)
        grad_negatives.append([sigmoid(score) * float(value) for value in center])
        grad_center = [
            old + sigmoid(score) * float(value) for old, value in zip(grad_center, row, strict=True)
        ]
    return loss, grad_center, [pull * float(value) for value in center], grad_negatives


# %% alternative="sgns_loss_and_grad" name="one_matrix_float32"
def sgns_loss_and_grad(center, context, negatives):
    center = np.asarray(center, dtype=np.float32)
    both = np.concatenate([np.asarray(context)[None], negatives]).astype(np.float32)
    sign = np.where(np.arange(len(both)) == 0, -1, 1).astype(np.float32)
    scores = sign * (both @ center)
    loss = np.logaddexp(np.float32(0), scores).sum()
    slope = sign * (0.5 * (1 + np.tanh(scores / 2)))
    grads = np.einsum("k,d->kd", slope, center)
    return loss, slope @ both, grads[0], grads[1:]


# %% alternative="sgns_loss_and_grad" name="torch_autograd"
def sgns_loss_and_grad(center, context, negatives):
    import torch
    from torch.nn.functional import logsigmoid

    leaves = [
        torch.tensor(np.asarray(one), dtype=torch.float64, requires_grad=True)
        for one in (center, context, negatives)
    ]
    loss = -logsigmoid(leaves[0] @ leaves[1]) - logsigmoid(-(leaves[2] @ leaves[0])).sum()
    return loss.item(), *torch.autograd.grad(loss, leaves)


# %% [markdown]
# ## 7. `glove_loss`
#
# *Difficulty 2 of 5, about 10 minutes, 2 points.*
#
# GloVe goes the other way round: count all pairs first, then fit vectors whose dot products say the logarithms of the counts (Pennington, Socher and Manning, 2014). Rare pairs are mostly noise,
# and the most frequent ones should not decide everything, so each pair has a weight $f$ that grows with its count up to a maximum.
#
# $$L = \sum_{i, j:\ X_{ij} > 0} f(X_{ij}) \left( w_i \cdot \tilde w_j + b_i + \tilde b_j - \ln X_{ij} \right)^2, \qquad f(x) = \min\left(1, \left(\frac{x}{x_{\max}}\right)^{\alpha}\right)$$
#
# * $X$: `counts`, of shape $(n, n)$, whole numbers or not, not necessarily symmetric: row = word, column = context word; pairs that never met have no part in the sum, while a word may meet itself;
# * $w$, $\tilde w$: `word_vectors` and `context_vectors`, of shape $(n, d)$; $b$, $\tilde b$: `word_biases` and `context_biases`, of shape $(n,)$;
# * $x_{\max}$ and $\alpha$: the arguments `maximum` and `power`;
# * $L$: one number, a sum and not a mean; 0 if no pair ever met.
#
# By hand: one pair, word 0 with context 1, met 6.25 times. Its weight is $(6.25 / 100)^{0.75} = \frac18$. If its vectors and biases add up to 3, it adds $\frac18 (3 - 1.833)^2 = 0.170$.
#
# <details><summary>A nudge</summary>What would a pair with count 0 do to the logarithm? Such pairs must be out of the way before it is taken.</details>
# <details><summary>A push</summary>All dot products are one matrix product, and <code>word_biases[:, None] + context_biases</code> is a table of the same shape.</details>
# <details><summary>Almost there</summary>With <code>seen = counts > 0</code> work only on <code>counts[seen]</code> and <code>predicted[seen]</code>, flat arrays; <code>np.minimum(1, (x / maximum) ** power)</code> is their weight.</details>


# %% task="glove_loss"
def glove_loss(
    counts: np.ndarray,
    word_vectors: np.ndarray,
    context_vectors: np.ndarray,
    word_biases: np.ndarray,
    context_biases: np.ndarray,
    maximum: float = 100.0,
    power: float = 0.75,
) -> float:
    """Give the loss of GloVe: weighted squared errors of the logarithms of counts (about 6 lines).

    Args:
        counts: how often each word (row) met each context word (column), shape (n, n), not negative.
        word_vectors, context_vectors: of shape (n, d).
        word_biases, context_biases: of shape (n,).
        maximum: the count from which a pair has weight 1.
        power: of the weight below that.

    Returns:
        The sum over all pairs with a count above 0.

    >>> counts, zeros = np.array([[0, 100], [0, 0]]), np.zeros((2, 3))
    >>> round(glove_loss(counts, zeros, zeros, np.array([1.0, 0.0]), np.zeros(2)), 3)
    12.997
    """
    ### BEGIN SOLUTION
    seen = counts > 0
    predicted = word_vectors @ context_vectors.T + word_biases[:, None] + context_biases[None, :]
    weights = np.minimum(1, (counts[seen] / maximum) ** power)
    return float(np.sum(weights * (predicted[seen] - np.log(counts[seen])) ** 2))
    ### END SOLUTION


# %% check="glove_loss" points=2
word_side, context_side = np.array([[1.0, 2.0], [0.5, -1.0]]), np.array([[2.0, 1.0], [3.0, -1.0]])
word_bias, context_bias = np.array([1.5, -2.5]), np.array([-1.0, 0.5])


def glove_of(given, hint, **options):
    before = [np.array(given), word_side, context_side, word_bias, context_bias]
    arguments = [one.copy() for one in before]
    got = checks.run(lambda: glove_loss(*arguments, **options), hint=hint)
    names = "counts", "word_vectors", "context_vectors", "word_biases", "context_biases"
    for name, one, after in zip(names, before, arguments, strict=True):
        checks.unchanged(one, after, f"the argument `{name}`")
    return checks.array(got, (), "the loss of all pairs together is one number")


def close_to(got, expected, hint):
    checks.close(got, expected, hint=hint, rtol=1e-4, atol=1e-7)


one_pair = glove_of(
    [[0.0, 6.25], [0.0, 0.0]], "a pair with count 0 has no logarithm: leave it out of the sum"
)
checks.true(
    bool(np.isfinite(one_pair)),
    f"got {one_pair}: the logarithm of a count of 0 is infinite, leave such pairs out of the sum",
)
target = np.log(6.25)  # dot product 1, biases 1.5 and 0.5, weight 1/8
expected = (3 - target) ** 2 / 8
for wrong, cause in [
    ((3 - target) ** 2, "the weight f(x) is missing"),
    (expected / 2, "nothing is divided by 2: the loss is the weighted square itself"),
    (expected / 4, "the loss is a sum over the pairs, not the mean over all places"),
    ((3 - target) / 8, "square the difference"),
    (abs(3 - target) / 8, "square the difference, its size alone is not enough"),
    ((1 - target) ** 2 / 8, "the biases are missing: add that of the word and that of the context"),
    ((2.5 - target) ** 2 / 8, "the bias of the context is missing"),
    ((1.5 - target) ** 2 / 8, "the bias of the word is missing"),
    (
        target**2 / 8,
        "one bias is of the word, word_biases[i], the other of the context, context_biases[j]",
    ),
    ((3 - 6.25) ** 2 / 8, "the dot products say the logarithms of the counts, not the counts"),
    ((3 - np.log2(6.25)) ** 2 / 8, "the logarithm is the natural one, np.log, not the one of base 2"),
    ((3 - np.log10(6.25)) ** 2 / 8, "the logarithm is the natural one, np.log, not the one of base 10"),
    (
        (3 - np.log(7.25)) ** 2 / 8,
        "nothing is added inside the logarithm: pairs with count 0 are left out",
    ),
    ((3 + target) ** 2 / 8, "the logarithm of the count is subtracted, not added"),
    (
        (0 - 3.5 - target) ** 2 / 8,
        "words and contexts are confused: row i of counts goes with word i, column j with context j",
    ),
    (
        (1 - 3.5 - target) ** 2 / 8,
        "the biases are confused: row i of counts goes with the bias of word i",
    ),
    (
        (2 - target) ** 2 / 8,
        "words and contexts are confused: row i of counts goes with word i, column j with context j",
    ),
    ((-1.5 + 2 - target) ** 2 / 8, "one side is word_vectors, the other context_vectors"),
    ((3 - target) ** 2 / 16, "the power is 0.75 if it is not given"),
    ((3 - target) ** 2 / 4, "the power is 0.75 if it is not given"),
    (expected**2 * 8, "the weight stands outside the square"),
    ((3 - target) ** 2 / 64, "the weight stands outside the square"),
]:
    checks.true(
        not np.isclose(one_pair, wrong, rtol=1e-4),
        f"got {one_pair:.4g}, expected {expected:.4g}. Likely cause: {cause}",
    )
close_to(one_pair, expected, "one pair: weight 1/8 times the square of 1 + 1.5 + 0.5 - ln 6.25")
at_top = (3 - np.log(1600)) ** 2
close_to(
    glove_of([[0.0, 1600.0], [0.0, 0.0]], "a count above the maximum"),
    at_top,
    "the weight is never above 1, however large the count",
)
close_to(
    glove_of([[0.0, 100.0], [0.0, 0.0]], "a count equal to the maximum"),
    (3 - np.log(100)) ** 2,
    "the count in the logarithm is the true one, and the weight at the maximum is 1",
)
close_to(
    glove_of([[0.0, 6.25], [0.0, 0.0]], "`maximum` is given by name here", maximum=25.0),
    (3 - target) ** 2 * 0.25**0.75,
    "with maximum=25 the weight is (6.25 / 25) to the power 0.75: use the argument",
)
close_to(
    glove_of([[0.0, 6.25], [0.0, 0.0]], "`power` is given by name here", power=0.5),
    (3 - target) ** 2 / 4,
    "with power=0.5 the weight is the root of 6.25 / 100: use the argument",
)
close_to(
    glove_of([[0.0, 0.25], [0.0, 0.0]], "a count below 1"),
    (3 - np.log(0.25)) ** 2 * 0.0025**0.75,
    "every count above 0 is seen, also one below 1, whose logarithm is negative",
)
close_to(
    glove_of([[0, 0], [25, 0]], "whole-number counts"),
    (0 - 3.5 - np.log(25)) ** 2 * 0.25**0.75,
    "from whole-number counts come weights with fractions; and both halves of the table count, above"
    " the diagonal and below",
)
close_to(
    glove_of([[25.0, 0.0], [0.0, 0.0]], "a word may meet itself"),
    (4.5 - np.log(25)) ** 2 * 0.25**0.75,
    "a word may meet itself: the diagonal counts too",
)
everything = [[25.0, 1600.0], [6.25, 0.25]]
close_to(
    glove_of(everything, "all four pairs met"),
    (4.5 - np.log(25)) ** 2 * 0.25**0.75
    + at_top
    + (-3.5 - target) ** 2 / 8
    + (0.5 - np.log(0.25)) ** 2 * 0.0025**0.75,
    "the loss is a sum over all pairs that met, not a mean",
)
nothing = glove_of([[0.0, 0.0], [0.0, 0.0]], "no pair ever met: the sum of nothing is 0")
checks.close(
    nothing, 0, hint="no pair ever met: the sum of nothing is 0, and a mean of nothing would be NaN"
)

### BEGIN HIDDEN TESTS


def glove_inputs(rng):
    size, dim = int(rng.integers(1, 8)), int(rng.integers(1, 6))
    counts = rng.poisson(rng.exponential(rng.choice([1.0, 20.0, 300.0]), (size, size)))
    kind = rng.integers(4)
    counts = counts / 4 if kind == 3 else counts.astype([np.int64, np.float64, np.float32][kind])
    sides = rng.normal(size=(2, size, dim)), rng.normal(size=(2, size))
    more = [(), (float(rng.choice([10.0, 50.0, 100.0])), float(rng.choice([0.5, 0.75, 1.0])))][
        rng.integers(2)
    ]
    return counts, *sides[0], *sides[1], *more


def glove_reference(counts, words, contexts, biases, context_biases, maximum=100.0, power=0.75):
    total = 0.0
    for (i, j), count in np.ndenumerate(counts):
        if count > 0:
            error = sum(words[i] * contexts[j]) + biases[i] + context_biases[j] - math.log(count)
            total += error**2 * (1.0 if count > maximum else (count / maximum) ** power)
    return total


def close_loss(got, expected, hint):
    checks.close(got, expected, hint, rtol=3e-4, atol=1e-6)


checks.hidden(
    title="random counts, vectors and biases, with and without `maximum` and `power`",
    call="glove_loss",
    inputs=glove_inputs,
    reference=glove_reference,
    compare=close_loss,
    hint="the sum over pairs that met of min(1, (x / maximum) ** power) times the squared error of ln x",
    cases=24,
)
### END HIDDEN TESTS

# %%
counted = together[:200, :200]
with np.errstate(divide="ignore"):
    log_counts = np.where(counted > 0, np.log(counted), 0)
no_vectors, no_biases = np.zeros((200, 1)), np.zeros(200)
frequency = log_counts.mean(axis=1) - log_counts.mean() / 2
left, strength, right = np.linalg.svd(log_counts - frequency[:, None] - frequency)
vectors_of_words, vectors_of_contexts = left[:, :10] * strength[:10], right[:10].T
for guess, arguments in (
    ("zeros everywhere", (no_vectors, no_vectors, no_biases, no_biases)),
    ("biases that know how frequent a word is", (no_vectors, no_vectors, frequency, frequency)),
    ("and vectors of 10 numbers", (vectors_of_words, vectors_of_contexts, frequency, frequency)),
):
    print(f"{guess:<40} {glove_loss(counted, *arguments):>10,.0f}")


# %% mistake="glove_loss" name="log_of_zero" says="leave such pairs out of the sum"
def glove_loss(
    counts, word_vectors, context_vectors, word_biases, context_biases, maximum=100.0, power=0.75
):
    predicted = word_vectors @ context_vectors.T + word_biases[:, None] + context_biases
    weights = np.minimum(1, (counts / maximum) ** power)
    return float(np.sum(weights * (predicted - np.log(counts)) ** 2))


# %% mistake="glove_loss" name="one_added" says="nothing is added inside the logarithm"
def glove_loss(
    counts, word_vectors, context_vectors, word_biases, context_biases, maximum=100.0, power=0.75
):
    predicted = word_vectors @ context_vectors.T + word_biases[:, None] + context_biases
    weights = np.minimum(1, (counts / maximum) ** power)
    return float(np.sum(weights * (predicted - np.log1p(counts)) ** 2))


# %% mistake="glove_loss" name="no_weight" says="the weight f(x) is missing"
def glove_loss(
    counts, word_vectors, context_vectors, word_biases, context_biases, maximum=100.0, power=0.75
):
    predicted = word_vectors @ context_vectors.T + word_biases[:, None] + context_biases
    return float(np.sum((predicted[counts > 0] - np.log(counts[counts > 0])) ** 2))


# %% mistake="glove_loss" name="weight_not_capped" says="never above 1"
def glove_loss(
    counts, word_vectors, context_vectors, word_biases, context_biases, maximum=100.0, power=0.75
):
    seen = counts > 0
    predicted = word_vectors @ context_vectors.T + word_biases[:, None] + context_biases
    return float(
        np.sum((counts[seen] / maximum) ** power * (predicted[seen] - np.log(counts[seen])) ** 2)
    )


# %% mistake="glove_loss" name="count_capped" says="never above 1"
def glove_loss(
    counts, word_vectors, context_vectors, word_biases, context_biases, maximum=100.0, power=0.75
):
    x = np.minimum(counts[counts > 0], maximum)
    predicted = (word_vectors @ context_vectors.T + word_biases[:, None] + context_biases)[counts > 0]
    return float(np.sum((x / maximum) ** power * (predicted - np.log(x)) ** 2))


# %% mistake="glove_loss" name="mean" says="not the mean over all places"
def glove_loss(
    counts, word_vectors, context_vectors, word_biases, context_biases, maximum=100.0, power=0.75
):
    predicted = word_vectors @ context_vectors.T + word_biases[:, None] + context_biases
    logs = np.log(np.where(counts > 0, counts, 1))
    return float(np.mean(np.minimum(1, (counts / maximum) ** power) * (predicted - logs) ** 2))


# %% mistake="glove_loss" name="mean_of_pairs" says="a sum over all pairs that met, not a mean"
def glove_loss(
    counts, word_vectors, context_vectors, word_biases, context_biases, maximum=100.0, power=0.75
):
    seen = counts > 0
    predicted = word_vectors @ context_vectors.T + word_biases[:, None] + context_biases
    weights = np.minimum(1, (counts[seen] / maximum) ** power)
    return float(np.mean(weights * (predicted[seen] - np.log(counts[seen])) ** 2))


# %% mistake="glove_loss" name="biases_forgotten" says="the biases are missing"
def glove_loss(
    counts, word_vectors, context_vectors, word_biases, context_biases, maximum=100.0, power=0.75
):
    seen = counts > 0
    predicted = word_vectors @ context_vectors.T
    weights = np.minimum(1, (counts[seen] / maximum) ** power)
    return float(np.sum(weights * (predicted[seen] - np.log(counts[seen])) ** 2))


# %% mistake="glove_loss" name="biases_swapped" says="the biases are confused"
def glove_loss(
    counts, word_vectors, context_vectors, word_biases, context_biases, maximum=100.0, power=0.75
):
    seen = counts > 0
    predicted = word_vectors @ context_vectors.T + word_biases[None, :] + context_biases[:, None]
    weights = np.minimum(1, (counts[seen] / maximum) ** power)
    return float(np.sum(weights * (predicted[seen] - np.log(counts[seen])) ** 2))


# %% mistake="glove_loss" name="transposed" says="words and contexts are confused"
def glove_loss(
    counts, word_vectors, context_vectors, word_biases, context_biases, maximum=100.0, power=0.75
):
    seen = counts > 0
    predicted = context_vectors @ word_vectors.T + word_biases[None, :] + context_biases[:, None]
    weights = np.minimum(1, (counts[seen] / maximum) ** power)
    return float(np.sum(weights * (predicted[seen] - np.log(counts[seen])) ** 2))


# %% mistake="glove_loss" name="upper_half" says="both halves of the table count"
def glove_loss(
    counts, word_vectors, context_vectors, word_biases, context_biases, maximum=100.0, power=0.75
):
    total = 0.0
    for i in range(len(counts)):
        for j in range(i + 1, len(counts)):
            if counts[i, j] > 0:
                error = (
                    word_vectors[i] @ context_vectors[j]
                    + word_biases[i]
                    + context_biases[j]
                    - np.log(counts[i, j])
                )
                total += min(1, (counts[i, j] / maximum) ** power) * error**2
    return total


# %% mistake="glove_loss" name="default_numbers" says="with maximum=25"
def glove_loss(
    counts, word_vectors, context_vectors, word_biases, context_biases, maximum=100.0, power=0.75
):
    seen = counts > 0
    predicted = word_vectors @ context_vectors.T + word_biases[:, None] + context_biases
    weights = np.minimum(1, (counts[seen] / 100) ** 0.75)
    return float(np.sum(weights * (predicted[seen] - np.log(counts[seen])) ** 2))


# %% mistake="glove_loss" name="seen_more_than_once" says="also one below 1"
def glove_loss(
    counts, word_vectors, context_vectors, word_biases, context_biases, maximum=100.0, power=0.75
):
    seen = counts >= 1
    predicted = word_vectors @ context_vectors.T + word_biases[:, None] + context_biases
    weights = np.minimum(1, (counts[seen] / maximum) ** power)
    return float(np.sum(weights * (predicted[seen] - np.log(counts[seen])) ** 2))


# %% mistake="glove_loss" name="integer_weights" says="weights with fractions"
def glove_loss(
    counts, word_vectors, context_vectors, word_biases, context_biases, maximum=100.0, power=0.75
):
    seen = counts > 0
    weights = np.ones_like(counts)
    weights[counts < maximum] = (counts[counts < maximum] / maximum) ** power
    predicted = word_vectors @ context_vectors.T + word_biases[:, None] + context_biases
    return float(np.sum(weights[seen] * (predicted[seen] - np.log(counts[seen])) ** 2))


# %% alternative="glove_loss" name="loops"
def glove_loss(
    counts, word_vectors, context_vectors, word_biases, context_biases, maximum=100.0, power=0.75
):
    total = 0
    for i, row in enumerate(counts):
        for j, count in enumerate(row):
            if count == 0:
                continue
            dot = sum(
                float(a) * float(b) for a, b in zip(word_vectors[i], context_vectors[j], strict=True)
            )
            error = dot + word_biases[i] + context_biases[j] - math.log(count)
            total += error * error * (1 if count >= maximum else (count / maximum) ** power)
    return total


# %% alternative="glove_loss" name="einsum_over_places"
def glove_loss(
    counts, word_vectors, context_vectors, word_biases, context_biases, maximum=100.0, power=0.75
):
    i, j = np.nonzero(counts)
    x = np.asarray(counts)[i, j].astype(np.float32)
    errors = (
        np.einsum("kd,kd->k", word_vectors[i], context_vectors[j])
        + word_biases[i]
        + context_biases[j]
        - np.log(x)
    )
    return np.float32((np.where(x < maximum, (x / maximum) ** power, 1) * errors**2).sum())


# %% alternative="glove_loss" name="torch"
def glove_loss(
    counts, word_vectors, context_vectors, word_biases, context_biases, maximum=100.0, power=0.75
):
    import torch

    x, w, c, b, d = (
        torch.tensor(np.asarray(one), dtype=torch.float64)
        for one in (counts, word_vectors, context_vectors, word_biases, context_biases)
    )
    errors = torch.addmm(b[:, None] + d, w, c.T) - x.clamp(min=1e-300).log()
    return (errors.square() * (x / maximum).pow(power).clamp(max=1)).nansum()


# %% [markdown]
# ## 8. `sinusoidal_positions`
#
# *Difficulty 2 of 5, about 10 minutes, 2 points.*
#
# A bag of vectors does not know who came first. The Transformer of Vaswani et al. (2017) adds to each word's vector another one that says where it stands, made of waves, from fast to slow, like the hands of a clock:
#
# $$P_{p,\,2i} = \sin\frac{p}{10000^{2i/d}}, \qquad P_{p,\,2i+1} = \cos\frac{p}{10000^{2i/d}}$$
#
# * $p = 0, \dots, n - 1$: the position, with $n$ the argument `context_length`;
# * $d$: `embedding_dim`, an even number; $i = 0, \dots, \frac d2 - 1$ counts the pairs of dimensions: both of a pair have the same frequency;
# * $P$: the result, of shape $(n, d)$.
#
# So sine and cosine take turns over the *dimensions*. It is sometimes told that they take turns over the positions; that is a slip, and a check below looks for it.
#
# By hand, for $d = 4$: position 0 is $(\sin 0, \cos 0, \sin 0, \cos 0) = (0, 1, 0, 1)$, and position 3 is $(\sin 3, \cos 3, \sin 0.03, \cos 0.03)$, for $10000^{2/4} = 100$.
#
# <details><summary>A nudge</summary>How many different frequencies are there? Half as many as dimensions.</details>
# <details><summary>A push</summary>A column of positions, shape (n, 1), divided by a row of $\frac d2$ numbers, shape (1, d/2), is the table of all angles.</details>
# <details><summary>Almost there</summary>The row is <code>10000 ** (np.arange(0, d, 2) / d)</code>. Fill <code>table[:, 0::2]</code> with the sines and <code>table[:, 1::2]</code> with the cosines of the same angles.</details>


# %% task="sinusoidal_positions"
def sinusoidal_positions(context_length: int, embedding_dim: int) -> np.ndarray:
    """Give a vector of sines and cosines for each position (about 5 lines).

    Args:
        context_length: number of positions n, counted from 0.
        embedding_dim: size d of each vector, even.

    Returns:
        Numbers from -1 to 1, of shape (n, d); even dimensions are sines, odd ones cosines.

    >>> sinusoidal_positions(2, 4).round(3)
    array([[0.   , 1.   , 0.   , 1.   ],
           [0.841, 0.54 , 0.01 , 1.   ]])
    """
    ### BEGIN SOLUTION
    positions = np.arange(context_length)[:, None]
    angles = positions / 10000 ** (np.arange(0, embedding_dim, 2) / embedding_dim)
    table = np.zeros((context_length, embedding_dim))
    table[:, 0::2] = np.sin(angles)
    table[:, 1::2] = np.cos(angles)
    return table
    ### END SOLUTION


# %% check="sinusoidal_positions" points=2
def positions_of(length, dim, hint):
    got = checks.run(lambda: sinusoidal_positions(length, dim), hint=hint)
    return checks.array(got, (length, dim), "one row for each position, one column for each dimension")


waves = positions_of(6, 4, "6 positions, 4 dimensions: try this call in a cell")
checks.true(
    bool(np.all(np.isfinite(waves))), "all places are finite: nothing is divided by zero at position 0"
)
steps = np.arange(6)[:, None]
fast, slow = steps * np.array([1.0, 1.0]), steps / 100
for wrong, cause in [
    (
        np.where(
            steps % 2 == 0,
            np.sin(steps / 10000 ** (np.arange(4) / 4)),
            np.cos(steps / 10000 ** (np.arange(4) / 4)),
        ),
        "sine and cosine take turns over the dimensions (columns), not over the positions (rows)",
    ),
    (
        np.where(
            steps % 2 == 0, np.sin(np.hstack([fast, slow, slow])), np.cos(np.hstack([fast, slow, slow]))
        ),
        "sine and cosine take turns over the dimensions (columns), not over the positions (rows)",
    ),
    (
        np.hstack([np.sin(steps), np.sin(slow), np.cos(steps), np.cos(slow)]),
        "sines and cosines take turns, dimension by dimension: not first all sines and then all cosines",
    ),
    (
        np.hstack([np.cos(steps), np.sin(steps), np.cos(slow), np.sin(slow)]),
        "even dimensions, counted from 0, are sines, and odd ones cosines",
    ),
    (
        np.hstack(
            [np.sin(steps + 1), np.cos(steps + 1), np.sin((steps + 1) / 100), np.cos((steps + 1) / 100)]
        ),
        "positions are counted from 0, so row 0 is 0, 1, 0, 1",
    ),
    (
        np.hstack([np.sin(steps), np.cos(steps / 10), np.sin(slow), np.cos(slow / 10)]),
        "both dimensions of a pair have the same frequency: 2i in the exponent of the cosine too, not 2i + 1",
    ),
    (
        np.hstack([np.sin(steps), np.cos(steps), np.sin(steps / 10), np.cos(steps / 10)]),
        "the exponent is 2i / d for the pair i, not i / d",
    ),
    (
        np.hstack([np.sin(steps), np.cos(steps), np.sin(steps / 10000), np.cos(steps / 10000)]),
        "the exponent is 2i / d: the last pair has less than 1 in it",
    ),
    (
        np.hstack([np.sin(steps), np.cos(steps), np.sin(steps * 100), np.cos(steps * 100)]),
        "divide the position by the power of 10000, do not multiply: later dimensions are slower",
    ),
    (
        np.hstack([np.sin(steps), np.cos(steps), np.sin(steps / 1000**0.5), np.cos(steps / 1000**0.5)]),
        "the base is 10000",
    ),
    (
        np.hstack(
            [np.sin(steps / 10000), np.cos(steps / 10000), np.sin(steps / 1e6), np.cos(steps / 1e6)]
        ),
        "the first pair has i = 0, and 10000 to the power 0 is 1",
    ),
    (
        np.hstack([np.sin(slow), np.cos(slow), np.sin(steps / 10000), np.cos(steps / 10000)]),
        "the first pair has i = 0, and 10000 to the power 0 is 1",
    ),
    (
        np.hstack(
            [
                np.sin(np.pi * steps / 180),
                np.cos(np.pi * steps / 180),
                np.sin(np.pi * slow / 180),
                np.cos(np.pi * slow / 180),
            ]
        ),
        "angles are in radians, as np.sin takes them: convert nothing",
    ),
    (
        np.hstack([np.sin(steps), np.cos(steps), 0 * steps, 1 + 0 * steps]),
        "the slow pair stands still: divide as real numbers, not by //, and round nothing",
    ),
]:
    checks.true(
        not np.allclose(waves, wrong, atol=1e-5),
        f"row 1 is {checks.show(waves[1].round(3).tolist())}. Likely cause: {cause}",
    )
checks.true(
    bool(np.any(waves != np.trunc(waves))),
    "sines and cosines have fractions: the table must not be of whole numbers",
)
checks.close(
    waves,
    np.hstack([np.sin(steps), np.cos(steps), np.sin(slow), np.cos(slow)]),
    hint="for d = 4 the columns are sin p, cos p, sin(p / 100) and cos(p / 100)",
    rtol=0,
    atol=1e-4,
)
checks.close(
    positions_of(1, 6, "a context may be one position"),
    [[0, 1, 0, 1, 0, 1]],
    hint="position 0 alone: sin 0 and cos 0",
    atol=1e-6,
)
checks.close(
    positions_of(3, 2, "2 dimensions are one pair"),
    np.hstack([np.sin(steps[:3]), np.cos(steps[:3])]),
    hint="2 dimensions are one pair, sin p and cos p",
    rtol=0,
    atol=1e-4,
)
longer = positions_of(201, 8, "201 positions, 8 dimensions")
checks.close(
    longer[200],
    [
        math.sin(200),
        math.cos(200),
        math.sin(20),
        math.cos(20),
        math.sin(2),
        math.cos(2),
        math.sin(0.2),
        math.cos(0.2),
    ],
    hint="for d = 8 the four pairs divide the position by 1, 10, 100 and 1000",
    rtol=0,
    atol=2e-4,
)

### BEGIN HIDDEN TESTS


def position_inputs(rng):
    return int(rng.choice([1, 2, 17, 100, 400])), 2 * int(rng.integers(1, 33))


def position_reference(length, dim):
    angle = [
        [p * math.exp(-math.log(10000) * 2 * (k // 2) / dim) for k in range(dim)] for p in range(length)
    ]
    return [[(math.cos if k % 2 else math.sin)(value) for k, value in enumerate(row)] for row in angle]


def close_waves(got, expected, hint):
    checks.close(got, expected, hint, rtol=0, atol=4e-4)


checks.hidden(
    title="several lengths and dimensions",
    call="sinusoidal_positions",
    inputs=position_inputs,
    reference=position_reference,
    compare=close_waves,
    hint="dimension 2i is sin(p / 10000^(2i/d)), dimension 2i + 1 the cosine of the same angle, p from 0",
    cases=12,
)
### END HIDDEN TESTS

# %%
import matplotlib.pyplot as plt

from bow2gpt import figures

fig, axes = plt.subplots(1, 2, figsize=(8, 3.6))
table_of_positions = sinusoidal_positions(64, 32)
image = axes[0].imshow(table_of_positions, aspect="auto", cmap="Greys", vmin=-1, vmax=1)
axes[0].grid(False)
axes[0].set(title="What says where a word stands?", xlabel="dimension", ylabel="position")
fig.colorbar(image, ax=axes[0], label="value")
axes[1].plot(table_of_positions @ table_of_positions[32], marker="")
axes[1].set(title="Are near positions alike?", xlabel="position", ylabel="dot product with position 32")
figures.show(
    fig,
    alt=(
        "Left: stripes that are fast in the first dimensions and nearly constant in the last. Right: the dot"
        " product with position 32 is largest there and falls on both sides."
    ),
)


# %% mistake="sinusoidal_positions" name="turns_over_positions" says="not over the positions"
def sinusoidal_positions(context_length, embedding_dim):
    angles = np.arange(context_length)[:, None] / 10000 ** (
        np.arange(embedding_dim) // 2 * 2 / embedding_dim
    )
    table = np.sin(angles)
    table[1::2] = np.cos(angles[1::2])
    return table


# %% mistake="sinusoidal_positions" name="halves" says="not first all sines"
def sinusoidal_positions(context_length, embedding_dim):
    angles = np.arange(context_length)[:, None] / 10000 ** (
        np.arange(0, embedding_dim, 2) / embedding_dim
    )
    return np.concatenate([np.sin(angles), np.cos(angles)], axis=1)


# %% mistake="sinusoidal_positions" name="cosine_first" says="even dimensions, counted from 0, are sines"
def sinusoidal_positions(context_length, embedding_dim):
    angles = np.arange(context_length)[:, None] / 10000 ** (
        np.arange(0, embedding_dim, 2) / embedding_dim
    )
    return np.stack([np.cos(angles), np.sin(angles)], axis=2).reshape(context_length, embedding_dim)


# %% mistake="sinusoidal_positions" name="from_one" says="positions are counted from 0"
def sinusoidal_positions(context_length, embedding_dim):
    angles = np.arange(1, context_length + 1)[:, None] / 10000 ** (
        np.arange(0, embedding_dim, 2) / embedding_dim
    )
    return np.stack([np.sin(angles), np.cos(angles)], axis=2).reshape(context_length, embedding_dim)


# %% mistake="sinusoidal_positions" name="own_frequency" says="the same frequency"
def sinusoidal_positions(context_length, embedding_dim):
    angles = np.arange(context_length)[:, None] / 10000 ** (np.arange(embedding_dim) / embedding_dim)
    return np.where(np.arange(embedding_dim) % 2 == 0, np.sin(angles), np.cos(angles))


# %% mistake="sinusoidal_positions" name="half_the_exponent" says="not i / d"
def sinusoidal_positions(context_length, embedding_dim):
    angles = np.arange(context_length)[:, None] / 10000 ** (
        np.arange(embedding_dim // 2) / embedding_dim
    )
    return np.stack([np.sin(angles), np.cos(angles)], axis=2).reshape(context_length, embedding_dim)


# %% mistake="sinusoidal_positions" name="last_pair_at_the_end" says="less than 1 in it"
def sinusoidal_positions(context_length, embedding_dim):
    half = embedding_dim // 2
    angles = np.arange(context_length)[:, None] / 10000 ** (np.arange(half) / max(half - 1, 1))
    return np.stack([np.sin(angles), np.cos(angles)], axis=2).reshape(context_length, embedding_dim)


# %% mistake="sinusoidal_positions" name="multiplies" says="do not multiply"
def sinusoidal_positions(context_length, embedding_dim):
    angles = np.arange(context_length)[:, None] * 10000 ** (
        np.arange(0, embedding_dim, 2) / embedding_dim
    )
    return np.stack([np.sin(angles), np.cos(angles)], axis=2).reshape(context_length, embedding_dim)


# %% mistake="sinusoidal_positions" name="transposed" says="one row for each position"
def sinusoidal_positions(context_length, embedding_dim):
    angles = np.arange(context_length)[:, None] / 10000 ** (
        np.arange(0, embedding_dim, 2) / embedding_dim
    )
    return np.stack([np.sin(angles), np.cos(angles)], axis=2).reshape(context_length, embedding_dim).T


# %% mistake="sinusoidal_positions" name="whole_division" says="stands still"
def sinusoidal_positions(context_length, embedding_dim):
    angles = np.arange(context_length)[:, None] // 10000 ** (
        np.arange(0, embedding_dim, 2) / embedding_dim
    )
    return np.stack([np.sin(angles), np.cos(angles)], axis=2).reshape(context_length, embedding_dim)


# %% mistake="sinusoidal_positions" name="whole_numbers" says="must not be of whole numbers"
def sinusoidal_positions(context_length, embedding_dim):
    angles = np.arange(context_length)[:, None] / 10000 ** (
        np.arange(0, embedding_dim, 2) / embedding_dim
    )
    table = np.zeros((context_length, embedding_dim), dtype=int)
    table[:, 0::2], table[:, 1::2] = np.sin(angles), np.cos(angles)
    return table


# %% alternative="sinusoidal_positions" name="loops"
def sinusoidal_positions(context_length, embedding_dim):
    table = []
    for position in range(context_length):
        row = []
        for pair in range(embedding_dim // 2):
            angle = position / math.pow(10000, 2 * pair / embedding_dim)
            row += [math.sin(angle), math.cos(angle)]
        table.append(row)
    return table


# %% alternative="sinusoidal_positions" name="complex_numbers"
def sinusoidal_positions(context_length, embedding_dim):
    frequencies = np.exp(-np.log(10000.0) * np.arange(0, embedding_dim, 2) / embedding_dim)
    turning = np.exp(1j * np.outer(np.arange(context_length), frequencies))
    return np.stack([turning.imag, turning.real], axis=-1).reshape(context_length, -1)


# %% alternative="sinusoidal_positions" name="torch_float32"
def sinusoidal_positions(context_length, embedding_dim):
    import torch

    table = torch.zeros(context_length, embedding_dim)
    positions = torch.arange(context_length, dtype=torch.float32).unsqueeze(1)
    rates = torch.exp(torch.arange(0, embedding_dim, 2).float() * (-math.log(10000.0) / embedding_dim))
    table[:, 0::2] = torch.sin(positions * rates)
    table[:, 1::2] = torch.cos(positions * rates)
    return table


# %% [markdown]
# ## 9. `truncate_and_renormalise`
#
# *Difficulty 1 of 5, about 5 minutes, 2 points.*
#
# A vector of 768 numbers is 768 numbers to store and to multiply, for each word or document. If the important dimensions come first, as after a singular value decomposition, or after a training that asks for it
# (*Matryoshka* representations: Kusupati et al., 2022), you may cut the vectors short, and trade a little quality for a lot of room. The rest of a unit vector is shorter than 1, so bring it back to length 1, and dot products are cosines again.
#
# $$r_i = \frac{v_{i,\,1..k}}{\|v_{i,\,1..k}\|}$$
#
# * $v_i$: row $i$ of `vectors`, of shape $(n, d)$, whole numbers or not, not necessarily of length 1;
# * $k$: the argument `dim`, 1 to $d$: how many dimensions to keep, from the first on;
# * the result: of shape $(n, k)$, each row of length 1; a row of which nothing but zeros is left stays a row of zeros.
#
# By hand: $(3, 4, 12)$ cut to 2 dimensions is $(3, 4)$, of length 5, and becomes $(0.6, 0.8)$.
#
# <details><summary>A nudge</summary>In which order: cut and then scale, or scale and then cut? Only one gives rows of length 1.</details>
# <details><summary>A push</summary>A row may be zero after the cut, though it was not before. What is its length, and what happens when you divide by it?</details>
# <details><summary>Almost there</summary>In numpy, <code>vectors[:, :dim]</code> is a view: to divide it in place would change the caller's array. <code>cut / np.where(lengths == 0, 1, lengths)</code> makes a new one, with <code>lengths</code> of shape (n, 1).</details>


# %% task="truncate_and_renormalise"
def truncate_and_renormalise(vectors: np.ndarray, dim: int) -> np.ndarray:
    """Keep the first dimensions of each vector, and bring it back to length 1 (about 3 lines).

    Args:
        vectors: numbers of shape (n, d).
        dim: how many dimensions to keep, 1 to d.

    Returns:
        Vectors of shape (n, dim); each has length 1, or is all zeros.

    >>> truncate_and_renormalise(np.array([[3, 4, 12], [0, 0, 7]]), 2)
    array([[0.6, 0.8],
           [0. , 0. ]])
    """
    ### BEGIN SOLUTION
    cut = vectors[:, :dim]
    lengths = np.linalg.norm(cut, axis=1, keepdims=True)
    return cut / np.where(lengths == 0, 1, lengths)
    ### END SOLUTION


# %% check="truncate_and_renormalise" points=2
def cut_short(given, dim, hint):
    before = np.array(given)
    vectors_given = before.copy()
    got = checks.run(lambda: truncate_and_renormalise(vectors_given, dim), hint=hint)
    checks.unchanged(before, vectors_given, "the array of vectors")
    return checks.array(
        got, (len(before), dim), f"as many rows as before, and `dim`, here {dim}, columns"
    )


def close_to(got, expected, hint):
    checks.close(got, expected, hint=hint, rtol=2e-4, atol=1e-6)


long_vectors = [[3.0, 4.0, 12.0, 0.0], [-8.0, 6.0, 0.0, 2.0], [0.0, 5.0, -1.0, 0.0]]
short = cut_short(long_vectors, 2, "3 vectors of 4 numbers: try this call in a cell")
for wrong, cause in [
    ([3, 4], "the vectors are cut, and not brought to length 1"),
    ([3 / 13, 4 / 13], "cut first, then scale: after the cut the length is another"),
    ([1, 0], "keep the first dimensions, not the last"),
    ([3 / 7, 4 / 7], "the length is the root of the sum of squares, not the sum"),
    ([3 / 4, 1], "the length is the root of the sum of squares, not the largest number"),
    (
        [3 / 25, 4 / 25],
        "divide by the length, the root of the sum of squares, and not by the sum itself",
    ),
    ([3 / 73**0.5, 4 / 77**0.5], "each row has its own length: the norm goes along axis 1"),
]:
    checks.true(
        not np.allclose(short[0], wrong, rtol=1e-3),
        f"row 0 is {checks.show(short[0].round(3).tolist())}, expected [0.6, 0.8]. Likely cause: {cause}",
    )
close_to(
    short,
    [[0.6, 0.8], [-0.8, 0.6], [0, 1]],
    "the first 2 numbers of each row, over the root of the sum of their squares",
)
close_to(
    cut_short([[0.0, 0.0, 0.0], [3.0, 4.0, 0.0]], 2, "a zero vector has length 0: do not divide by it"),
    [[0, 0], [0.6, 0.8]],
    "a zero vector stays zero: 0 / 0 is NaN",
)
close_to(
    cut_short(
        [[0.0, 0.0, 7.0], [3.0, 4.0, 0.0]], 2, "a row may be zero after the cut: do not divide by 0"
    ),
    [[0, 0], [0.6, 0.8]],
    "a row may be zero after the cut, though it was not before: it stays zero",
)
close_to(
    cut_short([[3, 4, 12], [5, 12, 0]], 2, "whole numbers are numbers too"),
    [[0.6, 0.8], [5 / 13, 12 / 13]],
    "from whole numbers come fractions: the result is not of the vectors' integer type",
)
close_to(
    cut_short([[3.0, 0.0, 4.0]], 3, "with dim equal to d nothing is cut"),
    [[0.6, 0, 0.8]],
    "with dim equal to d nothing is cut, and the rows still get length 1",
)
close_to(
    cut_short([[0.2, 9.0], [-30.0, 1.0]], 1, "with dim=1 one column is left"),
    [[1], [-1]],
    "with dim=1 each row is 1 or -1: keep the column, and the sign",
)
close_to(
    cut_short([[3e-4, 4e-4, 1.0], [3e5, 4e5, 1.0]], 2, "very short and very long vectors"),
    [[0.6, 0.8], [0.6, 0.8]],
    "very short vectors get length 1 too: add nothing to the length, treat only 0 apart",
)

### BEGIN HIDDEN TESTS


def cut_inputs(rng):
    size, dim = int(rng.integers(1, 9)), int(rng.integers(1, 12))
    keep = int(rng.integers(1, dim + 1))
    rows = rng.normal(size=(size, dim)) * 10 ** rng.uniform(-2, 3, (size, 1))
    rows[rng.random(size) < 0.2, :keep] = 0
    rows[rng.random(size) < 0.1] = 0
    kind = rng.integers(3)
    return (
        np.round(rows * 10).astype(int) if kind == 2 else rows.astype([np.float64, np.float32][kind])
    ), keep


def cut_reference(rows, keep):
    result = []
    for row in rows.tolist():
        length = math.hypot(*row[:keep])
        result.append([value / length if length else 0.0 for value in row[:keep]])
    return result


def close_units(got, expected, hint):
    checks.close(got, expected, hint, rtol=1e-4, atol=1e-5)


checks.hidden(
    title="random vectors of many lengths, some of them zero, whole numbers too",
    call="truncate_and_renormalise",
    inputs=cut_inputs,
    reference=cut_reference,
    compare=close_units,
    hint="the first `dim` numbers of each row, over their own length, and zeros where that is 0",
    cases=20,
)
### END HIDDEN TESTS

# %%
import matplotlib.pyplot as plt

from bow2gpt import figures
from bow2gpt.chapters.counting_models import tf_idf

left, strength, _ = np.linalg.svd(tf_idf(together))
whole_vectors = left[:, :256] * np.sqrt(strength[:256])


def ten_nearest(rows):
    similarity = rows @ rows.T
    np.fill_diagonal(similarity, -2)
    return np.argsort(-similarity, axis=1)[:, :10]


from_all = ten_nearest(truncate_and_renormalise(whole_vectors, 256))
kept_sizes = [2, 4, 8, 16, 32, 64, 128, 256]
kept_shares = []
for size in kept_sizes:
    from_cut = ten_nearest(truncate_and_renormalise(whole_vectors, size))
    kept_shares.append(np.mean([np.isin(a, b).mean() for a, b in zip(from_all, from_cut, strict=True)]))
fig, axis = plt.subplots()
axis.plot(kept_sizes, kept_shares)
axis.set_xscale("log", base=2)
axis.set_xticks(kept_sizes, kept_sizes)
axis.set(
    title="How many neighbours survive the cut?",
    xlabel="dimensions kept, of 256",
    ylabel="share of the ten nearest",
)
figures.show(
    fig,
    alt=(
        "The share of a word's ten nearest neighbours that stay rises steadily with the dimensions kept, and"
        " passes one half near 64 of 256."
    ),
)


# %% mistake="truncate_and_renormalise" name="only_cut" says="not brought to length 1"
def truncate_and_renormalise(vectors, dim):
    return vectors[:, :dim]


# %% mistake="truncate_and_renormalise" name="scaled_before_the_cut" says="cut first, then scale"
def truncate_and_renormalise(vectors, dim):
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return (vectors / np.where(lengths == 0, 1, lengths))[:, :dim]


# %% mistake="truncate_and_renormalise" name="last_dimensions" says="not the last"
def truncate_and_renormalise(vectors, dim):
    cut = vectors[:, -dim:]
    lengths = np.linalg.norm(cut, axis=1, keepdims=True)
    return cut / np.where(lengths == 0, 1, lengths)


# %% mistake="truncate_and_renormalise" name="rows_cut" says="as many rows as before"
def truncate_and_renormalise(vectors, dim):
    cut = vectors[:dim]
    lengths = np.linalg.norm(cut, axis=1, keepdims=True)
    return cut / np.where(lengths == 0, 1, lengths)


# %% mistake="truncate_and_renormalise" name="wrong_axis" says="the norm goes along axis 1"
def truncate_and_renormalise(vectors, dim):
    cut = vectors[:, :dim]
    lengths = np.linalg.norm(cut, axis=0, keepdims=True)
    return cut / np.where(lengths == 0, 1, lengths)


# %% mistake="truncate_and_renormalise" name="sum_for_length" says="root of the sum of squares, not the sum"
def truncate_and_renormalise(vectors, dim):
    cut = vectors[:, :dim]
    lengths = np.abs(cut).sum(axis=1, keepdims=True)
    return cut / np.where(lengths == 0, 1, lengths)


# %% mistake="truncate_and_renormalise" name="zero_is_nan" says="a zero vector stays zero"
def truncate_and_renormalise(vectors, dim):
    cut = vectors[:, :dim]
    return cut / np.linalg.norm(cut, axis=1, keepdims=True)


# %% mistake="truncate_and_renormalise" name="zero_before_the_cut" says="though it was not before"
def truncate_and_renormalise(vectors, dim):
    cut = vectors[:, :dim].astype(float)
    alive = np.any(vectors != 0, axis=1)
    cut[alive] /= np.linalg.norm(cut[alive], axis=1, keepdims=True)
    return cut


# %% mistake="truncate_and_renormalise" name="in_place" says="changed the array of vectors"
def truncate_and_renormalise(vectors, dim):
    cut = vectors[:, :dim] if vectors.dtype.kind == "f" else vectors[:, :dim].astype(float)
    lengths = np.linalg.norm(cut, axis=1, keepdims=True)
    cut /= np.where(lengths == 0, 1, lengths)
    return cut


# %% mistake="truncate_and_renormalise" name="integer_result" says="not of the vectors' integer type"
def truncate_and_renormalise(vectors, dim):
    result = np.zeros_like(vectors[:, :dim])
    for row, vector in enumerate(vectors[:, :dim]):
        result[row] = vector / (np.linalg.norm(vector) or 1)
    return result


# %% mistake="truncate_and_renormalise" name="small_number_added" says="add nothing to the length"
def truncate_and_renormalise(vectors, dim):
    cut = vectors[:, :dim]
    return cut / (np.linalg.norm(cut, axis=1, keepdims=True) + 1e-6)


# %% mistake="truncate_and_renormalise" name="one_column_dropped" says="columns"
def truncate_and_renormalise(vectors, dim):
    cut = vectors[:, : max(dim - 1, 1)]
    lengths = np.linalg.norm(cut, axis=1, keepdims=True)
    return cut / np.where(lengths == 0, 1, lengths)


# %% alternative="truncate_and_renormalise" name="loops"
def truncate_and_renormalise(vectors, dim):
    result = []
    for vector in vectors:
        kept = [float(value) for value in vector[:dim]]
        length = math.sqrt(sum(value**2 for value in kept))
        result.append([value / length for value in kept] if length > 0 else kept)
    return result


# %% alternative="truncate_and_renormalise" name="warns_on_the_way"
def truncate_and_renormalise(vectors: np.ndarray, dim: int) -> np.ndarray:
    cut = np.array(vectors, dtype=np.float32)[:, :dim]
    cut /= np.sqrt(np.einsum("nd,nd->n", cut, cut))[:, None]
    return np.nan_to_num(cut)


# %% alternative="truncate_and_renormalise" name="torch"
def truncate_and_renormalise(vectors, dim):
    import torch

    return torch.nn.functional.normalize(
        torch.tensor(np.asarray(vectors), dtype=torch.float64)[:, :dim], dim=1
    )
