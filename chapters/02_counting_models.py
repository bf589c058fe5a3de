# %% [markdown]
# # 02 Counting models
#
# <!-- launch: made by `bow2gpt build` -->
# [Open in Colab](https://colab.research.google.com/github/bow2gpt/bow2gpt/blob/main/chapters/02_counting_models.ipynb) | [Open in Binder](https://mybinder.org/v2/gh/bow2gpt/bow2gpt/main?urlpath=lab/tree/chapters/02_counting_models.ipynb)
# <!-- /launch -->
#
# *From Bag of Words to GPT, chapter 02. About 90 minutes of reading and running; every cell together takes some two minutes on two cores.*
#
# ## Where we are
#
# A language model answers one question: how probable is this text? The ruler of this book turns the answer into bits: a text of probability $P$
# costs $-\log_2 P$ bits, divided by its length in bytes. Before anything is learned all 256 bytes are alike, each has probability 1/256, and the
# cost is $-\log_2 (1/256) = 8$ bits per byte. Chapter 01 came down to about 2, with nothing but the frequency of tokens. This chapter gets to about
# 1.3 by counting what follows what. No gradients, no network, nothing that would have surprised a clerk of 1913.
#
# You count in three ways. *Bags* count words and forget their order: good for telling what a text is about. *Chains* count what follows what: now
# you can predict. *N-gram models* count longer and longer stretches, and spend most of their cleverness on what was never counted at all. At the end
# each of them gets a rung on the *ladder*, the table that the rest of the book climbs, and you will know why a neural network has to work hard to
# beat them.
#
# The cell with the imports loads the book's tools: `corpus` holds the texts, `ruler` measures bits per byte, `probes` and `ladder` wait until the end.

# %% tags=["setup"]
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

# %%
import time

import matplotlib.pyplot as plt
import numpy as np

from bow2gpt import claims, corpus, figures, ladder, probes, ruler
from bow2gpt.chapters.language_features import words

# %% [markdown]
# ## The idea by hand
#
# The podcast this book grew from, called *the source* from here on, starts with three sentences: *you just count words*, *I like Star Wars* and *do
# you like Star Wars?* Cut each at its spaces, forget the order, and what is left is a *bag of words*: which words, and how many of each. Before you
# run the cell, guess which words of the three bags together will have a 2.

# %%
from collections import Counter

sentences = ["you just count words", "i like star wars", "do you like star wars"]
bags = [Counter(sentence.split()) for sentence in sentences]
sum(bags, Counter()).most_common()

# %% [markdown]
# Four words occur twice: *you*, *like*, *star* and *wars*. Order, grammar and question mark are gone, and still you can tell that two of the
# sentences share a subject. That is the bet of the first model: *what* is said often gives away the topic, even with *how* thrown away.
#
# Nothing in it is about words. The source counts exercises in the gym and goals in football the same way. Here is a training log as a bag; what does
# it tell you about the person who keeps it?

# %%
training_log = ["squat", "curl", "curl", "press", "curl", "press", "curl", "curl", "row", "curl", "press"]
Counter(training_log).most_common()

# %% [markdown]
# Six curls and one squat: somebody skips leg day. You never saw in which order the week went, and you did not need it.
#
# ## Build it: bags
#
# Two decisions come before counting. *What is a word?* `words` of chapter 01 says: a run of letters, lower-cased, apostrophes inside kept, so that
# *don't* stays whole and *1862* is dropped. *Which words count?* A *vocabulary* fixes the columns; to keep it free of typing errors and names, a word must occur in a few
# documents before it gets a column. A *document* is whatever you put into one bag: a sentence here, a whole speech below.

# %% tags=["export"]
import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence

import numpy as np

from bow2gpt.chapters.language_features import AnyTokenizer, ByteTokenizer


def build_vocabulary(documents: Iterable[Sequence[str]], min_documents: int = 1) -> list[str]:
    """List the words that occur in at least `min_documents` documents, in alphabetical order."""
    document_frequency = Counter(word for document in documents for word in set(document))
    return sorted(word for word, count in document_frequency.items() if count >= min_documents)


# %% [markdown]
# To compare bags, lay them side by side as the rows of a matrix, one column for each word of the vocabulary (Salton, Wong and Yang, 1975). Row $d$,
# column $w$ holds $c(d, w)$, how often word $w$ occurs in document $d$. The inner loop is the whole cost: one dictionary look-up for each word of
# the corpus, then one `np.bincount` for each document, which counts how often each column number was seen.
#
# Try it on the three sentences first; the list it prints names the columns.

# %% tags=["export"]
def document_term_matrix(documents: Iterable[Sequence[str]], vocabulary: Sequence[str]) -> np.ndarray:
    """Count each vocabulary word in each tokenized document (Salton, Wong and Yang, 1975).

    Args:
        documents: D lists of words.
        vocabulary: V distinct words; other words are not counted.

    Returns:
        Integer array of shape (documents, vocabulary).

    Raises:
        ValueError: if the vocabulary repeats a word.
    """
    column = {word: index for index, word in enumerate(vocabulary)}
    if len(column) != len(vocabulary):
        raise ValueError("the vocabulary repeats a word; pass each word once")
    rows = []
    for document in documents:
        columns = np.array([column[word] for word in document if word in column], dtype=np.int64)
        rows.append(np.bincount(columns, minlength=len(vocabulary)).astype(np.int32))
    return np.array(rows, dtype=np.int32).reshape(len(rows), len(vocabulary))


# %%
tokenized = [words(sentence) for sentence in sentences]
small_vocabulary = build_vocabulary(tokenized)
print(small_vocabulary)
document_term_matrix(tokenized, small_vocabulary)

# %% [markdown]
# Read the columns instead of the rows. Those of *star* and *wars* are equal, so no model that sees only this matrix can ever tell the two words
# apart. Keep that in mind: it is the first thing n-grams will be able to do and bags are not.
#
# ## On real text: bags of presidents
#
# The corpus of this book is 236 years of State of the Union addresses, 1790 to 2026: 237 of them, two million words. Once a year, the president
# reports on peace and war, money and roads. One bag each makes a matrix of 237 rows.

# %%
addresses = corpus.addresses()
documents = [words(address.text) for address in addresses]
vocabulary = build_vocabulary(documents, min_documents=5)
counts = document_term_matrix(documents, vocabulary)
years = np.array([address.year for address in addresses])
print(f"{counts.shape[0]} documents, {counts.shape[1]:,} columns, {counts.sum():,} words counted")
print(f"{(counts == 0).mean():.0%} of the matrix is zero")

# %% [markdown]
# About five cells in six are empty: most words are not used by most presidents. Now the simplest question a bag can answer. How often does a
# president say *war*, and is it when there is one? The addresses differ in length, so the rate is per thousand words, not a count. The grey bands
# are the years in which the United States was at war, from `corpus.WARS`, which names a source for each date. (The long campaigns against the Indian
# nations and the small interventions are left out; with them hardly a white year would remain. That is a choice, and you may disagree with it.)

# %%
war_years = corpus.war_years()
war_rate = 1000 * counts[:, vocabulary.index("war")] / counts.sum(axis=1)
fig, ax = plt.subplots()
for war in corpus.WARS:
    ax.axvspan(war.years.start - 0.5, war.years.stop - 0.5, color="0.87", zorder=0)
ax.plot(years, war_rate, linestyle="none", markersize=3.5)
ax.set(title="When do presidents say “war”?", xlabel="year", ylabel="“war” per 1,000 words")
figures.show(
    fig,
    alt="Share of the word war by year, with war years in grey: high peaks in the War of 1812, the Mexican War and the two "
    "World Wars, but little in Vietnam, Iraq and Afghanistan.",
)


# %% [markdown]
# The peaks stand where you expect them: 1812, the Mexican War, and the two World Wars above all. Look also at what does *not* fit. Two early years
# of peace stand about as high as the worst year of the Civil War, the word lingers for years after each World War, and Vietnam and Iraq lift the
# points to two or three, where the World Wars lift them to eight and thirteen. A word is evidence, not proof.
#
# ### Words that matter: TF-IDF
#
# Raw counts are dominated by words that everybody uses. Here are the top five of three very different presidents.

# %%
def president_bag(name: str) -> np.ndarray:
    """Sum of the bags of one president's addresses."""
    return counts[[address.president == name for address in addresses]].sum(axis=0)


chosen = ["George Washington", "Abraham Lincoln", "George W. Bush"]
for name in chosen:
    top = np.argsort(-president_bag(name))[:5]
    print(f"{name:20}", ", ".join(vocabulary[column] for column in top))


# %% [markdown]
# Three centuries, one list: *the*, *of*, *and*, *to*. A word that is in every document says nothing about any of them. *TF-IDF* (term frequency
# times inverse document frequency) multiplies each count with the word's *inverse document frequency* (Spärck Jones, 1972), here in the variant that
# scikit-learn uses:
#
# $$\mathrm{idf}(w) = \ln\frac{1 + D}{1 + \mathrm{df}(w)} + 1$$
#
# where $D$ is the number of documents and $\mathrm{df}(w)$ the number of documents that hold $w$. The ones added inside keep the fraction finite;
# the one outside keeps a word that is everywhere from vanishing altogether. Rows are then scaled to length 1, so that a long address is not larger
# than a short one.
#
# By hand: with $D = 3$, *you* ($\mathrm{df} = 2$) gets $\ln(4/3) + 1 \approx 1.29$ and *count* ($\mathrm{df} = 1$) gets $\ln(4/2) + 1 \approx 1.69$.
# The first sentence holds *you* and three words like *count*, so its length is $\sqrt{1.29^2 + 3 \cdot 1.69^2} \approx 3.2$, and its entries become
# $1.29 / 3.2 \approx 0.40$ and $1.69 / 3.2 \approx 0.53$. You should meet both numbers in the first row below.

# %% tags=["export"]
def inverse_document_frequency(counts: np.ndarray) -> np.ndarray:
    """Weight of each word by how few documents hold it (Spärck Jones, 1972): shape (vocabulary,)."""
    num_documents = len(counts)
    document_frequency = np.count_nonzero(counts, axis=0)
    return np.log((1 + num_documents) / (1 + document_frequency)) + 1


def tf_idf(counts: np.ndarray) -> np.ndarray:
    """Weigh counts by inverse document frequency and scale each row to unit length (Salton and Buckley, 1988).

    Args:
        counts: array of shape (documents, vocabulary).

    Returns:
        Float array of the same shape; the row of an empty document stays zero.
    """
    weighted = counts * inverse_document_frequency(counts)
    lengths = np.sqrt(np.einsum("dv,dv->d", weighted, weighted))[:, None]
    return np.divide(weighted, lengths, out=np.zeros_like(weighted), where=lengths > 0)


# %%
tf_idf(document_term_matrix(tokenized, small_vocabulary)).round(2)

# %% [markdown]
# The first row had four ones; now *count*, *just* and *words* weigh more than *you*, which two sentences share. Do the same to whole presidents, all
# the addresses of one in one bag, and ask again for their top words.

# %%
names = list(dict.fromkeys(address.president for address in addresses))
presidents = np.array([president_bag(name) for name in names])
weights = tf_idf(presidents)
for name in chosen:
    top = np.argsort(-weights[names.index(name)] * (inverse_document_frequency(presidents) > 1.3))[:8]
    print(f"{name:20}", ", ".join(vocabulary[column] for column in top))

# %% [markdown]
# One line of arithmetic, and each president is talking of his own time. (The factor `> 1.3` hides words that 32 or more of the 43 presidents use.)
# Weights of this kind became a standard of search (Salton and Buckley, 1988), and chapter 08 will meet a descendant of theirs, BM25.
#
# ### Which presidents sound alike?
#
# The dot product of two rows of length 1 is the *cosine similarity*: 1 for rows that point the same way, 0 for rows that share no word. Put all 43
# presidents against each other, in order of time, and look for bright blocks. Again the words of (nearly) everyone are left out, or all 43 would
# sound alike.

# %%
telling = inverse_document_frequency(presidents) > 1.3
styles = tf_idf(presidents[:, telling])
similarity = styles @ styles.T
fig, ax = plt.subplots(figsize=(6.4, 5.4))
image = ax.imshow(similarity, vmax=0.6)
shown = range(0, len(names), 6)
surnames = [name.removesuffix(" Jr.").split()[-1] for name in names]
ax.set_xticks(shown, [surnames[i] for i in shown], rotation=45, ha="right")
ax.set_yticks(shown, [surnames[i] for i in shown])
ax.grid(False)
ax.set(
    title="Which presidents sound alike?", xlabel="president, in order of time", ylabel="president, in order of time"
)
fig.colorbar(image, label="cosine similarity (0.6 and above alike)")
figures.show(
    fig,
    alt="Matrix of similarities between 43 presidents in order of time: two bright blocks, one for the 19th century, one for "
    "the time since about 1930, and little likeness between the blocks.",
)

# %%
np.fill_diagonal(similarity, 0)
for name in ["Thomas Jefferson", "Abraham Lincoln", "John F. Kennedy", "George W. Bush"]:
    nearest = np.argsort(-similarity[names.index(name)])[:3]
    print(f"{name:17} sounds most like", ", ".join(names[i] for i in nearest))

# %% [markdown]
# Two blocks, and the border between them runs through the 1910s to 1930s, when the address moved from a written report to a speech before Congress
# (Wilson, 1913), soon on the radio. The later block splits once more, at Reagan. Neighbours in time are neighbours in language; parties hardly show:
# the Democrat Kennedy sounds most like the Republicans Eisenhower and Nixon. Remember that, because it will trip us up in a moment.
#
# ### Against the library
#
# Nobody should trust a count that has not been checked. scikit-learn's `CountVectorizer` and `TfidfVectorizer` are what people use; given the same
# word pattern and vocabulary they must find the same numbers. The second cell times both from raw text to matrix, best of three, on your machine.

# %%
from sklearn.feature_extraction.text import CountVectorizer, TfidfVectorizer

texts = [address.text for address in addresses]
pattern = r"[^\W\d_]+(?:['’][^\W\d_]+)*"
reference = CountVectorizer(token_pattern=pattern, vocabulary=vocabulary).fit_transform(texts).toarray()
reference_weights = TfidfVectorizer(token_pattern=pattern, vocabulary=vocabulary).fit_transform(texts).toarray()
print("same counts: ", np.array_equal(counts, reference))
print("same weights:", np.allclose(tf_idf(counts), reference_weights, rtol=0, atol=1e-12))


# %%
def best_of_three(work: Callable[[], object]) -> float:
    """Shortest of three running times, in seconds."""
    times = []
    for _ in range(3):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return min(times)


ours = best_of_three(lambda: document_term_matrix([words(text) for text in texts], vocabulary))
theirs = best_of_three(lambda: CountVectorizer(token_pattern=pattern, vocabulary=vocabulary).fit_transform(texts))
print(f"ours {ours:.2f} s, scikit-learn {theirs:.2f} s")

# %% [markdown]
# Equal to the last count, and about as fast; which of the two wins depends on the machine. scikit-learn keeps a *sparse* matrix, which stores only
# the cells that are not zero. Ours stores them all; with a million documents you would want theirs.
#
# ## Naive Bayes: from counting to deciding
#
# A bag describes. To *decide* which class $y$ a document belongs to, turn the question round with *Bayes' rule*: instead of $P(y \mid \text{words})$,
# which we cannot count, use
#
# $$P(y \mid w_1 \dots w_n) \propto P(y) \prod_i P(w_i \mid y)$$
#
# which we can. The sign $\propto$ means: up to a factor that is the same for every class, found at the end from the fact that the classes sum to
# one. $P(y)$, the *prior*, is the share of documents of class $y$. $P(w \mid y)$ is the share of the word $w$ among all words of class $y$.
# Multiplying them treats words as independent once the class is known, which is false; hence *naive*. Maron (1961) was among the first to sort
# documents this way.
#
# By hand: two war documents, *guns guns ships* and *ships army*, and one peace document, *roads ships schools*. Whose is *guns roads*? With raw
# shares both classes get zero, because each lacks one of the two words. One unseen word vetoes everything. *Laplace smoothing* adds one to every
# count. There are five words in the vocabulary, so five is added below the line: for war
# $\frac{2}{3} \cdot \frac{2+1}{5+5} \cdot \frac{0+1}{5+5} = 0.02$, for peace
# $\frac{1}{3} \cdot \frac{0+1}{3+5} \cdot \frac{1+1}{3+5} \approx 0.0104$. War, at about two to one.

# %%
toy = [["guns", "guns", "ships"], ["ships", "army"], ["roads", "ships", "schools"]]
toy_vocabulary = build_vocabulary(toy)
toy_counts = document_term_matrix(toy, toy_vocabulary)
war_row, peace_row = toy_counts[:2].sum(axis=0) + 1, toy_counts[2] + 1
guns_roads = [toy_vocabulary.index("guns"), toy_vocabulary.index("roads")]
war = 2 / 3 * np.prod(war_row[guns_roads] / war_row.sum())
peace = 1 / 3 * np.prod(peace_row[guns_roads] / peace_row.sum())
print(f"war {war:.4f}, peace {peace:.4f}, so P(war) = {war / (war + peace):.2f}")


# %% [markdown]
# Two words gave numbers near a hundredth. An address has thousands of words, and a product of thousands of small numbers is rounded to zero by any
# computer. So everything below adds logarithms instead, and only the very last step returns to probabilities, by subtracting the log of the sum of
# the exponentials (*log-sum-exp*, shifted by the maximum so that nothing overflows).
#
# The cell after the class trains it on real addresses, with 1 for a year of war and 0 for a year of peace, and compares it with scikit-learn. The
# book splits its addresses once and for all: of every ten, eight for *training*, one for *validation* (where you may look while choosing), one for
# the *test* (where you look at the end).

# %% tags=["export"]
class NaiveBayes:
    """Multinomial naive Bayes with additive smoothing, in log space (Maron, 1961; McCallum and Nigam, 1998)."""

    def fit(self, counts: np.ndarray, labels: np.ndarray, smoothing: float = 1.0) -> "NaiveBayes":
        """Estimate priors and word probabilities from (documents, vocabulary) counts and (documents,) labels 0..C-1."""
        labels = np.asarray(labels)
        if len(labels) != len(counts) or len(labels) == 0:
            raise ValueError(
                f"got {len(counts)} documents and {len(labels)} labels; they must be equally many, and some"
            )
        if not smoothing > 0 or labels.min() < 0:
            raise ValueError(f"got smoothing {smoothing}, labels from {labels.min()}; expected above 0, and from 0 on")
        of_class = [labels == label for label in range(labels.max() + 1)]
        smoothed = np.array([counts[mask].sum(axis=0) for mask in of_class]) + smoothing  # (classes, vocabulary)
        with np.errstate(divide="ignore"):  # a class without documents has prior zero
            self.log_prior = np.log([mask.mean() for mask in of_class])
            self.log_likelihood = np.log(smoothed / smoothed.sum(axis=1, keepdims=True))
        return self

    def predict_log_proba(self, counts: np.ndarray) -> np.ndarray:
        """Natural log of the probability of each class: shape (documents, classes)."""
        joint = counts @ self.log_likelihood.T + self.log_prior
        shifted = joint - joint.max(axis=1, keepdims=True)
        return shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))


# %%
from sklearn.naive_bayes import MultinomialNB

at_war = np.array([int(address.year in war_years) for address in addresses])
in_training = np.array([address.split == "train" for address in addresses])
model = NaiveBayes().fit(counts[in_training], at_war[in_training])
reference = MultinomialNB().fit(counts[in_training], at_war[in_training])
ours, theirs = model.predict_log_proba(counts), reference.predict_log_proba(counts)
print("largest relative difference from scikit-learn:", np.max(np.abs(ours - theirs) / (1 + np.abs(theirs))))

# %% [markdown]
# The two agree to some eleven digits. So the code is right; is the classifier any good? Train on the training split, predict the rest, and compare
# with a rule that needs no model.

# %%
held_out = ~in_training
predicted = model.predict_log_proba(counts[held_out]).argmax(axis=1)
truth = at_war[held_out]
print(f"accuracy {np.mean(predicted == truth):.2f} on {len(truth)} held-out addresses")
print(f"always saying “peace”: {np.mean(truth == 0):.2f}")


# %% [markdown]
# Worse than a parrot that always says *peace*. But *accuracy*, the share of right answers, flatters whoever bets on the larger class, so look at
# something that does not: the chance that a random war address gets a higher score than a random peace address. It is called the *area under the ROC
# curve* (AUC): 0.5 is a coin, 1.0 perfect. The score is the *log-odds*, $\ln P(\text{war}) - \ln P(\text{peace})$, divided by the number of words so
# that long addresses do not shout. And use every address for testing once, by *cross-validation*: hide a tenth, train on the rest, score the hidden
# tenth, ten times. Each part that is hidden together is a *fold*.
#
# What to hide is the whole point. Hide every tenth address, and the years next to it stay visible. Hide whole decades. Or hide a whole war at a
# time, all its years at once, which is what you would face in the *next* war.

# %%
def area_under_curve(scores: np.ndarray, labels: np.ndarray) -> float:
    """Chance that a random positive scores above a random negative (ties count half)."""
    above = scores[labels == 1][:, None] - scores[labels == 0][None, :]
    return float(np.mean(above > 0) + np.mean(above == 0) / 2)


def cross_validated_scores(features: np.ndarray, labels: np.ndarray, folds: np.ndarray) -> np.ndarray:
    """Log-odds of class 1 per word for each document, by a model that never saw the document's fold."""
    scores = np.zeros(len(labels))
    for fold in np.unique(folds):
        hidden = folds == fold
        log_proba = NaiveBayes().fit(features[~hidden], labels[~hidden]).predict_log_proba(features[hidden])
        scores[hidden] = (log_proba[:, 1] - log_proba[:, 0]) / features[hidden].sum(axis=1)
    return scores


# %%
war_names = [war.name for war in corpus.WARS]
schemes = {
    "every tenth address": np.array([address.group % 10 for address in addresses]),
    "whole decades": years // 10,
    "whole wars": np.array([war_names.index(war_years[y]) if y in war_years else 1000 + y // 10 for y in years]),
}
cross_validated = {name: cross_validated_scores(counts, at_war, folds) for name, folds in schemes.items()}
for name, scores in cross_validated.items():
    print(f"hidden: {name:20} AUC {area_under_curve(scores, at_war):.2f}")
print(f"no model, just the rate of “war”: AUC {area_under_curve(war_rate, at_war):.2f}")
print(f"years of war: {at_war[years < 1941].mean():.1%} before 1941, {at_war[years >= 1941].mean():.1%} since")

# %% [markdown]
# There it is. With neighbours left in sight the classifier looks good; with whole wars hidden it falls towards a coin, and a single word counted
# with no learning at all does better. Remember the blocks in the similarity matrix: the easiest thing to learn from words is *when* a text was
# written. By `corpus.WARS`, two in five of the years since 1941 are war years and one in ten before, so a model that has learned to tell the
# centuries apart looks as if it had learned to tell war from peace.
#
# The picture shows it. Each mark is one address, scored by a model that did not see its war (or, in peace, its decade). If the model saw war, the
# triangles would lie above the circles next to them.

# %%
scores = cross_validated["whole wars"]
fig, ax = plt.subplots()
for label, name, marker in [(0, "peace", "o"), (1, "war", "^")]:
    ax.plot(
        years[at_war == label], 1000 * scores[at_war == label], marker, linestyle="none", markersize=4.5, label=name
    )
ax.axhline(0, color="0.3", linewidth=0.8, marker="")
ax.legend(title="in truth")
ax.set(title="Does the model see war, or the century?", xlabel="year", ylabel="log-odds of war, per 1,000 words")
figures.show(
    fig,
    alt="Scores of the war classifier by year with whole wars hidden: nearly all addresses before 1940 score as peace, whether "
    "there was war or not, and later ones score higher, whether there was war or not.",
)

# %%
log_odds = model.log_likelihood[1] - model.log_likelihood[0]
frequent = counts[in_training].sum(axis=0) >= 80
ranked = [vocabulary[column] for column in np.argsort(log_odds) if frequent[column]]
print("most peaceful:", ", ".join(ranked[:12]))
print("most warlike: ", ", ".join(ranked[:-19:-1]))


# %% [markdown]
# The marks rise with the century, not with the wars: nearly everything before 1935 lies below the line, war or not, and the highest scores of all go
# to years of peace in the 1990s and after 2014. Why do the war years from 2001 to 2014 lie lower? They were hidden together, and the nearest years
# left in sight were years of peace.
#
# Some of the warlike words are about war: *enemy*, *victory*, *fighting*. More are names of wars the model has already seen, *Iraq*, *Vietnam*,
# *Korea*, which are no help with the next one; and some, like *poverty*, belong to presidents who happened to govern in a war. In machine learning a
# cause of both the words and the label, here the date, is called a *confounder*, and every text classifier you will ever meet has some. Chapter 08
# puts a much larger model to the same test.
#
# ### Telling one field's talk from another's
#
# The source claims more than war: words give away the *subject*. Put it to an easier test: pieces of 60 words, from presidents and from characters
# of Shakespeare.

# %%
def paragraphs(text: str, size: int = 60) -> list[list[str]]:
    """Cut a text into pieces of `size` words."""
    all_words = words(text)
    return [all_words[start : start + size] for start in range(0, len(all_words) - size + 1, size)]


plays = corpus.shakespeare()
pieces = [
    (piece, 0) for title in ["Hamlet", "The Tempest"] for piece in paragraphs(plays[title])
]
pieces += [(piece, 1) for address in corpus.addresses("validation") for piece in paragraphs(address.text)][:800]
piece_labels = np.array([label for _, label in pieces])
piece_counts = document_term_matrix([piece for piece, _ in pieces], vocabulary)
piece_scores = cross_validated_scores(piece_counts, piece_labels, np.arange(len(pieces)) % 10)
print(
    f"{len(pieces)} pieces of 60 words, president or Shakespeare: {np.mean((piece_scores > 0) == piece_labels):.3f} right"
)


# %% [markdown]
# Sixty words are enough to be right every time. Different subjects use different words, and a bag sees it; war and peace, told by the same office
# with the same words, is a much finer difference. But look for the confounder here too: the two also differ in century, and one of them speaks in
# verse. Now to the second half of the claim.
#
# ### Does order help to categorise?
#
# *The cat in the hat* and *the cat's hat* hold the same two nouns. The source says that this is why people moved on to *n-grams*: runs of $n$ words
# counted as if they were one. A bag of *bigrams* ($n = 2$) knows *star wars*, a bag of *trigrams* ($n = 3$) knows *do you like*. Does either know
# war and peace better? Count words, pairs and triples, the 10,000 of each that occur in most addresses, and put the matrices side by side as needed.
# The next two cells take some twenty seconds.

# %%
def word_ngrams(document: Sequence[str], n: int) -> list[str]:
    """Runs of n words, joined by spaces."""
    return [" ".join(document[start : start + n]) for start in range(len(document) - n + 1)]


def ngram_features(documents: Sequence[Sequence[str]], n: int, size: int) -> np.ndarray:
    """Counts of the `size` n-grams that occur in most documents, ties in alphabetical order."""
    spread = Counter(gram for document in documents for gram in set(word_ngrams(document, n)))
    columns = sorted(spread, key=lambda gram: (-spread[gram], gram))[:size]
    return document_term_matrix((word_ngrams(document, n) for document in documents), columns)


# %%
by_order = {n: ngram_features(documents, n, 10_000) for n in (1, 2, 3)}
mixtures = {"words": [1], "pairs": [2], "triples": [3], "words and pairs": [1, 2], "all three": [1, 2, 3]}
war_results = {}
for label, orders in mixtures.items():
    features = np.hstack([by_order[n] for n in orders])
    aucs = [area_under_curve(cross_validated_scores(features, at_war, folds), at_war) for folds in schemes.values()]
    war_results[label] = np.mean(aucs)
    print(f"{label:16} " + "   ".join(f"{scheme}: {auc:.2f}" for scheme, auc in zip(schemes, aucs, strict=True)))

# %% [markdown]
# Compare the rows: there is hardly a difference. Each n-gram is rarer than the words it is made of, so its share is known less well, and what it
# adds in meaning it loses in certainty. Perhaps war and peace is simply the wrong question for word order. Who is speaking might be a better one,
# since style is in the turns of phrase. Take the ten presidents with the most addresses, cut them into pieces of 300 words, and hide every fifth
# address of each in turn, so that no piece is judged by a model that saw the rest of its speech.

# %%
speakers = [name for name, _ in Counter(address.president for address in addresses).most_common(10)]
speaker_pieces = [
    (piece, speakers.index(name), number % 5)
    for name in speakers
    for number, address in enumerate(a for a in addresses if a.president == name)
    for piece in paragraphs(address.text, 300)
]
speaker_labels, speaker_folds = (np.array([piece[field] for piece in speaker_pieces]) for field in (1, 2))
by_order = {n: ngram_features([piece for piece, _, _ in speaker_pieces], n, 3_000) for n in (1, 2, 3)}


# %%
def share_right(features: np.ndarray) -> float:
    """Share of the pieces given to their speaker, each by a classifier that never saw the piece's address."""
    right = 0
    for fold in range(5):
        hidden = speaker_folds == fold
        classifier = NaiveBayes().fit(features[~hidden], speaker_labels[~hidden])
        right += np.sum(classifier.predict_log_proba(features[hidden]).argmax(axis=1) == speaker_labels[hidden])
    return right / len(features)


speaker_results = {}
for label, orders in mixtures.items():
    speaker_results[label] = share_right(np.hstack([by_order[n] for n in orders]))
    print(f"{label:16} {speaker_results[label]:.1%} of {len(speaker_labels)} pieces given to the right president")
del by_order, features, documents, pieces, piece_counts, speaker_pieces  # memory that the rest of the chapter does not need


# %% [markdown]
# Here order pays, if at all, by half a point: of 2,056 pieces some eleven more are right with words and pairs than with words alone, too few to tell
# from luck, and pairs or triples alone do worse. For deciding what a text is about or whose it is, most of the information is in the words. Order
# matters in the other task of a language model, prediction, and there it will be worth everything.
#
# ## Markov chains: from describing to predicting
#
# On 23 January 1913 (Julian calendar) Andrei Markov told the Academy of Sciences in St Petersburg what he had found in the first 20,000 letters of
# Pushkin's *Eugene Onegin*, counted by hand: 8,638 of them are vowels. If letters were drawn independently, a vowel would follow a vowel as often as
# it follows a consonant, 43 times in a hundred. He counted: after a vowel 13 in a hundred, after a consonant 66. His aim was not language. A
# colleague held that the law of large numbers needs independent draws; Markov had shown that it does not, and here was a chain of dependent draws
# for everyone to check (Markov, 1913). On the way he made one of the first statistical models of a text.
#
# The model is a *chain*: the next state depends on the present one and nothing else. All there is to know is the *transition matrix*, row $i$,
# column $j$ holding the probability that $j$ follows $i$. By hand, for *banana* with C for consonant and V for vowel, C V C V C V: after C always V,
# after V always C. With states C = 0 and V = 1 the matrix is $\begin{pmatrix} 0 & 1 \\ 1 & 0 \end{pmatrix}$. The second cell below repeats Markov's
# count on three English voices, with *y* taken for a vowel.

# %% tags=["export"]
def transition_matrix(states: Sequence[int], num_states: int) -> np.ndarray:
    """Estimate a Markov chain from one sequence (Markov, 1913).

    Args:
        states: sequence of states 0..num_states-1.
        num_states: S.

    Returns:
        Array of shape (S, S); row i is the distribution of what follows state i, uniform if nothing ever did.

    Raises:
        ValueError: if a state is not one of 0..num_states-1.
    """
    states = np.asarray(states, dtype=np.int64)
    if len(states) and not 0 <= states.min() <= states.max() < num_states:
        raise ValueError(f"got states {states.min()} to {states.max()}, expected 0 to {num_states - 1}")
    pairs = states[:-1] * num_states + states[1:]
    counts = np.bincount(pairs, minlength=num_states**2).reshape(num_states, num_states)
    totals = counts.sum(axis=1, keepdims=True)
    return np.where(totals > 0, counts / np.maximum(totals, 1), 1 / num_states)


# %%
def vowels(text: str) -> np.ndarray:
    """1 for each vowel letter, 0 for each other letter; everything else is skipped, as Markov did."""
    letters = re.findall("[a-z]", text.lower())
    return np.array([letter in "aeiouy" for letter in letters], dtype=np.int64)


voices = {
    "Washington": " ".join(a.text for a in addresses if a.president == "George Washington")[:100_000],
    "Lincoln": " ".join(a.text for a in addresses if a.president == "Abraham Lincoln")[:100_000],
    "Shakespeare": plays["Hamlet"][:100_000],
}
for name, text in voices.items():
    chain = transition_matrix(vowels(text), 2)
    print(
        f"{name:12} vowels {vowels(text).mean():.3f}   after a consonant {chain[0, 1]:.3f}   after a vowel {chain[1, 1]:.3f}"
    )


# %% [markdown]
# English behaves as Russian does: a vowel is about three times likelier after a consonant than after a vowel. Notice also how close the three rows
# are. Two states describe the language more than the author.
#
# ### Where a chain settles
#
# Start anywhere and take many steps: the share of time spent in each state settles on one distribution, the *stationary* one, a row $\pi$ with
# $\pi = \pi P$, where $P$ is the transition matrix: one more step does not change it. It is an eigenvector, but you can find it by solving linear
# equations: $\pi (P - I) = 0$ together with $\sum_i \pi_i = 1$, with $I$ the identity matrix.
#
# By hand, with two states: what leaves one must equal what comes back, so the two shares stand as the two crossing probabilities do. Markov's
# numbers make vowels $0.663 / (0.663 + 0.872) \approx 0.432$ of the text, where $0.872 = 1 - 0.128$ is the chance of leaving a vowel for a
# consonant. That is his 8,638 of 20,000.

# %% tags=["export"]
def stationary_distribution(transition: np.ndarray) -> np.ndarray:
    """The distribution that one step of an irreducible chain leaves as it is: shape (states,).

    Raises:
        ValueError: if the rows of the (states, states) matrix do not sum to one.
    """
    transition = np.asarray(transition, dtype=np.float64)
    if not np.allclose(transition.sum(axis=1), 1):
        raise ValueError("each row of a transition matrix must sum to one; divide each row by its total")
    num_states = len(transition)
    equations = np.vstack([transition.T - np.eye(num_states), np.ones(num_states)])
    answer, *_ = np.linalg.lstsq(equations, np.append(np.zeros(num_states), 1.0), rcond=None)
    return answer


# %%
lincoln = vowels(voices["Lincoln"])
print("stationary:", stationary_distribution(transition_matrix(lincoln, 2)).round(4))
print("counted:   ", np.array([1 - lincoln.mean(), lincoln.mean()]).round(4))

# %% [markdown]
# The two lines agree, as they must: the chain was estimated from this very text. Four numbers, two of them free, hold everything Markov's model
# knows of Lincoln. Give it 27 states instead, the letters and the space, and it has $27^2 = 729$ numbers. In the picture each row is a letter and
# each column the one that comes next. Look for the bright cells before you read on: which letter is followed by which?

# %%
ALPHABET = " abcdefghijklmnopqrstuvwxyz"


def letter_states(text: str) -> np.ndarray:
    """Letters as states 1 to 26; every run of anything else as state 0."""
    cleaned = re.sub("[^a-z]+", " ", text.lower())
    return np.array([ALPHABET.index(character) for character in cleaned])


letters = transition_matrix(letter_states(corpus.text("validation")), 27)
fig, ax = plt.subplots(figsize=(6.2, 5.2))
image = ax.imshow(letters, vmax=0.6)
ax.set_xticks(range(27), ["␣", *ALPHABET[1:]], fontsize=8)
ax.set_yticks(range(27), ["␣", *ALPHABET[1:]], fontsize=8)
ax.grid(False)
ax.set(title="Which letter follows which?", xlabel="next letter", ylabel="letter")
fig.colorbar(image, label="probability (0.6 and above alike)")
figures.show(
    fig,
    alt="Transition matrix of 27 letters: q is nearly always followed by u, vowels follow most consonants, and d, y and s are "
    "most often followed by a space.",
)

# %% [markdown]
# *q* is followed by *u*, *h* by *e*, *v* by *e*; *y*, *d* and *s* end words, and so does *f*, thanks to *of*. Nobody told the matrix about English
# spelling.
#
# ### Who wrote this?
#
# Markov's model was put to use as a detective in 2001: estimate one letter chain for each author, and give a disputed text to the chain that finds
# it most probable (Khmelev and Tweedie, 2001). Here are the ten presidents again; the last address of each is hidden, cut into pieces of 1,000
# letters, and handed to the ten chains. Half a count is added everywhere, so that no pair has probability zero. From the numbers of pieces that the
# first cell prints, work out what a guesser would get.

# %%
chains, disputed = [], []
for suspect in speakers:
    *known, last = [address.text for address in addresses if address.president == suspect]
    pairs = letter_states(" ".join(known))
    joint = np.bincount(pairs[:-1] * 27 + pairs[1:], minlength=729).reshape(27, 27) + 0.5
    chains.append(np.log(joint / joint.sum(axis=1, keepdims=True)))
    states = letter_states(last)
    disputed.append([states[start : start + 1000] for start in range(0, len(states) - 999, 1000)])
print(", ".join(f"{name} ({len(pieces)})" for name, pieces in zip(speakers, disputed, strict=True)))

# %%
right = [
    np.argmax([chain[piece[:-1], piece[1:]].sum() for chain in chains]) == author
    for author, pieces in enumerate(disputed)
    for piece in pieces
]
print(f"{np.mean(right):.0%} of {len(right)} pieces given to the right president out of {len(speakers)}")
most = max(range(len(speakers)), key=lambda author: len(disputed[author]))
print(f"always naming {speakers[most]}: {len(disputed[most]) / len(right):.0%}")

# %% [markdown]
# Blind guessing would be right one time in ten. Always naming Theodore Roosevelt, whose last address was the longest, would be right for 113 of 496
# pieces, or 23 %. Pairs of letters know nothing of war, tariffs or atoms, and still they get 59 %: they carry something of a president's favourite
# words and endings and, one may suspect, of his century.
#
# ## N-gram language models
#
# A chain of letters remembers one letter. Let the state be the last $n-1$ *tokens*, the pieces a text is cut into, letters or words, and you have an
# *n-gram model* (Shannon, 1948):
#
# $$P(w_1 \dots w_T) = \prod_t P(w_t \mid w_1 \dots w_{t-1}) \approx \prod_t P(w_t \mid w_{t-n+1} \dots w_{t-1})$$
#
# with $w_t$ the token at place $t$ and $T$ the number of tokens. The first step is the *chain rule* and always true. The second is the bet: that what
# lies further back than $n-1$ tokens does not matter. Each factor is a ratio of counts, $c(h w) / c(h)$ with $h$ for the *history*, the last $n-1$
# tokens: the *maximum-likelihood estimate*; no other choice makes the training text more probable. By hand, on *abracadabra*: *a* is followed four
# times (the last *a* by nothing), by *b* twice, by *c* once, by *d* once, so $P(b \mid a) = 2/4$.

# %%
text = "abracadabra"
bigrams = Counter(zip(text, text[1:], strict=False))
{second: count for (first, second), count in bigrams.items() if first == "a"}

# %% [markdown]
# And $P(r \mid a) = 0/4$. A text with *ar* in it gets probability zero, infinitely many bits, whatever the rest is. However long the training text,
# new stretches keep turning up: you will see below how many. The whole art of n-gram models is what to do about zeros. First, though, what are the
# tokens?
#
# ### Tokens: bytes, and words that can be spelled
#
# Chapter 01 left you with two tokenizers behind one interface, `encode` and `decode`: bytes, and byte-level BPE. Bytes will do for most of this
# chapter, since they let you watch a model learn to spell. But a bag holds words, and n-grams of words are the classic, so here is a third.
#
# Words are harder, because there is always one more. A model that maps every unknown word to one symbol `<unk>` looks better the more it refuses to
# read, and could not be compared by our ruler at all: what is the probability of a text if parts of it are “something”? So here an unknown word is
# *spelled*: a token that announces it, its bytes one by one, a token that ends it. The word pays for each of its letters.
#
# A word carries the space before it, so that tokens put end to end give back the text. Only words seen at least twice in training get a token of
# their own; those seen once are spelled in training too, and that is how the model learns how often, and how, spelling happens. In the output below
# `▁` stands for a space and `<0x52>` for the byte with the hexadecimal number 52, an *R*. Which word of the sentence do you expect to be spelled?

# %% tags=["export"]
_WORD = re.compile(r" ?[^\W\d_]+| ?\d+| ?(?:[^\w\s]|_)+|\s+(?!\S)|\s")


def _printable(word: str) -> str:
    """A word with `▁` for a space; the code of what cannot be printed, or be taken for a mark, between `\\` and `;`."""
    safe = (c if c.isprintable() and c not in "▁\\" else f"\\{ord(c):x};" for c in word)
    name = "".join(safe).replace(" ", "▁")
    return f"\\3c;{name[1:]}" if re.fullmatch("<.+>", name) else name


class WordTokenizer:
    """A text as words, numbers, punctuation and white space; an unknown word is spelled in bytes.

    Tokens 0 to 255 are bytes, 256 opens and 257 closes a spelled word, words follow.
    """

    def __init__(self, vocabulary: Sequence[str]):
        self.vocabulary = list(vocabulary)
        self.vocabulary_size = 258 + len(self.vocabulary)
        self._ids = {word: 258 + index for index, word in enumerate(self.vocabulary)}
        if len(self._ids) != len(self.vocabulary) or "" in self._ids:
            raise ValueError("the vocabulary repeats a word or holds an empty one; pass each word once")

    @classmethod
    def train(cls, text: str, min_count: int = 2) -> "WordTokenizer":
        """Give a token to each word that occurs at least `min_count` times."""
        counts = Counter(_WORD.findall(text))
        return cls(sorted(word for word, count in counts.items() if count >= min_count))

    def encode(self, text: str) -> np.ndarray:
        """Token ids of a text: shape (tokens,)."""
        ids: list[int] = []
        for word in _WORD.findall(text):
            if (known := self._ids.get(word)) is not None:
                ids.append(known)
            else:
                ids += [256, *word.encode("utf-8"), 257]
        return np.array(ids, dtype=np.int64)

    def decode(self, token_ids: Iterable[int]) -> str:
        """The text of some token ids; bytes that are no valid UTF-8 become the replacement character."""
        parts = (bytes([t]) if t < 256 else b"" if t < 258 else self.vocabulary[t - 258].encode() for t in token_ids)
        return b"".join(parts).decode("utf-8", errors="replace")

    def names(self) -> list[str]:
        """A printable name for each token, without white space; `▁` stands for a space, `\\a;` for a line's end."""
        spelled = [f"<0x{byte:02X}>" for byte in range(256)] + ["<spell>", "</spell>"]
        return spelled + [_printable(word) for word in self.vocabulary]


# %%
train_text, test_text = corpus.text("train"), corpus.text("test")
word_tokenizer = WordTokenizer.train(train_text)
example = "The Senate ratified it, zealously, in Reykjavik."
ids = word_tokenizer.encode(example)
names_of_tokens = word_tokenizer.names()
print(f"{word_tokenizer.vocabulary_size:,} tokens")
print(" ".join(names_of_tokens[token] for token in ids))
print(word_tokenizer.decode(ids) == example)

# %% [markdown]
# *Reykjavik* is spelled, space included, and everything comes back.
#
# ### Counting without dictionaries
#
# A dictionary of tuples with a dictionary inside it is the obvious data structure. But Python spends some 200 bytes on a dictionary with a single
# entry, and there will be millions of them. Sorted arrays spend a few bytes on each entry. The trick is to number things. An n-gram is its first
# $n-1$ tokens, which are themselves an $(n-1)$-gram and already have a number, followed by one more token. So a single integer names it:
#
# $$\text{key} = \text{number of its first } n-1 \text{ tokens} \times V + \text{last token}$$
#
# with $V$ the size of the vocabulary. Sort the keys, number them in that order, and you are ready for the next $n$. By hand: in *abab* with a = 0, b
# = 1, $V = 2$ the bigrams are *ab*, *ba*, *ab*, with keys $0 \cdot 2 + 1 = 1$, $1 \cdot 2 + 0 = 2$ and 1. Bigram *ab* is number 0, seen twice, and
# *ba* is number 1. The trigrams *aba* and *bab* then get the keys $0 \cdot 2 + 0 = 0$ and $1 \cdot 2 + 1 = 3$.
#
# All that is known of the n-grams of one order (one $n$) goes into one table, a row of arrays of equal length:

# %% tags=["export"]
from dataclasses import dataclass


@dataclass(frozen=True)
class NGramTable:
    """The N distinct n-grams of one order, sorted by key; an n-gram's number is its place in the arrays.

    Attributes:
        keys: (N,) number of the first n-1 tokens, times the vocabulary size, plus the last token.
        contexts: (N,) number of the first n-1 tokens among the n-grams one order below.
        suffixes: (N,) number of the last n-1 tokens among the n-grams one order below.
        counts: (N,) how often the n-gram occurs.
        continuations: (N,) how many different tokens stand before it.
        num_contexts: how many n-grams there are one order below.
        vocabulary_size: V.
    """

    keys: np.ndarray
    contexts: np.ndarray
    suffixes: np.ndarray
    counts: np.ndarray
    continuations: np.ndarray
    num_contexts: int
    vocabulary_size: int


# %% [markdown]
# Numbering keys means sorting them and remembering who was where. Sorting ten million numbers together with their places is several times faster if
# both sit in one integer, the place in its low bits: the key 5 at place 3 becomes $5 \cdot 2^{b} + 3$, with $b$ bits enough for any place. Sort
# these, and keys are in order with their places still attached.

# %% tags=["export"]
def number_keys(keys: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Number the distinct keys in sorted order.

    Args:
        keys: (T,) non-negative integers.

    Returns:
        The (N,) distinct keys, the (T,) number of each key, and the (N,) counts.
    """
    bits = max(len(keys) - 1, 0).bit_length()
    if len(keys) and int(keys.max()).bit_length() + bits > 63:
        return np.unique(keys, return_inverse=True, return_counts=True)
    packed = keys << bits
    packed |= np.arange(len(keys))
    packed.sort()
    places = packed & ((1 << bits) - 1)
    packed >>= bits
    first = np.ones(len(keys), dtype=bool)
    np.not_equal(packed[1:], packed[:-1], out=first[1:])
    distinct = packed[first]
    numbers = np.empty(len(keys), dtype=np.int32)
    numbers[places] = np.cumsum(first, dtype=np.int32) - 1
    return distinct, numbers, np.diff(np.flatnonzero(np.append(first, True)))


# %% [markdown]
# Now order after order. Besides its count, each n-gram remembers two relatives one order below: its *context*, all tokens but the last, and its
# *suffix*, all but the first. For *aba* the context is *ab*, the suffix *ba*. Counting the suffixes of the order above tells in how many different
# company an n-gram was seen on its left, its *continuations*, which the best smoothing method will ask for. The highest order has nothing above it
# and keeps its counts.

# %% tags=["export"]
def count_ngrams(token_ids: np.ndarray, order: int, vocabulary_size: int) -> list[NGramTable]:
    """Count all n-grams of a text for n = 1 to `order`.

    Raises:
        ValueError: if the order is below 1 or there are no tokens.
    """
    if order < 1:
        raise ValueError(f"got order {order}; an n-gram needs at least n = 1")
    if len(token_ids) == 0:
        raise ValueError("the training text is empty; there is nothing to count")
    numbers = token_ids.astype(np.int32)  # of the n-gram that starts at each place; a unigram's number is its token
    tokens = np.arange(vocabulary_size)
    columns = [(tokens, np.bincount(token_ids, minlength=vocabulary_size), np.zeros(vocabulary_size, np.int32))]
    for n in range(2, order + 1):
        one_below = numbers
        keys, numbers, counts = number_keys(one_below[:-1].astype(np.int64) * vocabulary_size + token_ids[n - 1 :])
        suffixes = np.zeros(len(keys), dtype=np.int32)
        suffixes[numbers] = one_below[1:]
        columns.append((keys, counts, suffixes))
    tables = []
    for n, (keys, counts, suffixes) in enumerate(columns, start=1):
        continuations = np.bincount(columns[n][2], minlength=len(keys)) if n < order else counts
        num_contexts = len(columns[n - 2][0]) if n > 1 else 1
        small = (array.astype(np.int32) for array in (keys // vocabulary_size, suffixes, counts, continuations))
        tables.append(NGramTable(keys, *small, num_contexts, vocabulary_size))
    return tables


# %%
for table in count_ngrams(np.array([0, 1, 0, 1]), order=3, vocabulary_size=2):
    print("keys", table.keys, "counts", table.counts, "continuations", table.continuations)

# %% [markdown]
# Check the second line against *abab*: keys 1 and 2, counts 2 and 1. Each bigram is seen after a single token, so both have one continuation at
# most. Bigram *ab* has it from *bab*, *ba* from *aba*.
#
# The whole training text takes a few seconds up to order 8. Before you run it, guess: of the distinct 8-byte stretches in ten million bytes, how
# many occur only once?

# %%
start = time.perf_counter()
byte_tables = count_ngrams(ByteTokenizer().encode(train_text), order=8, vocabulary_size=256)
print(f"{time.perf_counter() - start:.1f} s")
for n, table in enumerate(byte_tables, start=1):
    seen = table.counts[table.counts > 0]
    print(f"order {n}: {len(seen):>9,} distinct of {256.0**n:.1e} possible, {np.mean(seen == 1):.0%} of them seen once")

# %% [markdown]
# More than half of the distinct 8-grams occur once, so many more must be waiting that were never seen.
#
# ### What to do about zeros
#
# Every method below has the same shape. Keep the counted share, but a little less of it, and hand what was taken away to a shorter history:
#
# $$P_n(w \mid h) = \alpha(h w) + \gamma(h)\, P_{n-1}(w \mid h')$$
#
# where $h'$ is $h$ without its oldest token, and the shortest history of all falls back on the uniform distribution $1/V$. Methods differ only in
# $\alpha$, what is kept, and $\gamma$, what is handed down. The numbers must add up: the kept shares of a history and its $\gamma$ sum to one. So a
# *smoothing* method is a small function from a table to these two arrays, one entry of $\alpha$ for each n-gram and one of $\gamma$ for each history.
# A history that was never seen hands down everything: $\gamma = 1$.
#
# The cell fixes that type and two helpers: divide by the context's value, and sum over a context.

# %% tags=["export"]
Smoothing = Callable[[NGramTable, bool], tuple[np.ndarray, np.ndarray]]


def _share(values: np.ndarray, table: NGramTable, denominators: np.ndarray) -> np.ndarray:
    """Divide a value of each n-gram by a value of its context; contexts never seen have no n-grams to divide."""
    return values / np.where(denominators > 0, denominators, 1)[table.contexts]


def _context_sums(values: np.ndarray, table: NGramTable) -> np.ndarray:
    """Add up a value of each n-gram over its context: shape (contexts,)."""
    return np.bincount(table.contexts, weights=values, minlength=table.num_contexts)


# %% [markdown]
# The three simplest. *Add-k* pretends to have seen everything $k$ more times (Laplace is $k = 1$) and hands its share to the uniform distribution at
# once, skipping the orders between. *Jelinek-Mercer* mixes with weights that Jelinek and Mercer (1980) estimate on held-out text; here, in its
# simplest form, one fixed weight does for all. *Witten-Bell* (Bell, Cleary and Witten, 1990) makes the weight depend on the history: one that was
# followed by many different tokens is likely to be followed by a new one.
#
# By hand, after *a* in *abracadabra*, with $k = 1$ and the five letters of the word as vocabulary: add-one gives *b* $(2+1)/(4+5) = 1/3$ and the
# unseen *r* $1/9$. Witten-Bell saw three different letters in four places, so it hands down $\gamma = 3/(4+3)$ and keeps $2/7$ for *b*.

# %% tags=["export"]
def add_k(k: float = 1.0) -> Smoothing:
    """Add k to every count of the highest order; lower orders are not used (Laplace, for k = 1)."""
    if not k > 0:
        raise ValueError(f"got k = {k}; it must be above 0, or unseen n-grams have no probability")

    def smooth(table: NGramTable, highest: bool) -> tuple[np.ndarray, np.ndarray]:
        if not highest:
            return np.zeros(len(table.keys)), np.ones(table.num_contexts)
        totals = _context_sums(table.counts, table)
        denominators = totals + k * table.vocabulary_size
        return _share(table.counts, table, denominators), k * table.vocabulary_size / denominators

    return smooth


def jelinek_mercer(weight: float = 0.7) -> Smoothing:
    """Mix each order with the one below by a fixed weight (Jelinek and Mercer, 1980); 1 is maximum likelihood."""
    if not 0 <= weight <= 1:
        raise ValueError(f"got weight {weight}; it is a share, from 0 to 1")

    def smooth(table: NGramTable, highest: bool) -> tuple[np.ndarray, np.ndarray]:
        totals = _context_sums(table.counts, table)
        return weight * _share(table.counts, table, totals), np.where(totals > 0, 1 - weight, 1.0)

    return smooth


def witten_bell(table: NGramTable, highest: bool) -> tuple[np.ndarray, np.ndarray]:
    """Hand down in proportion to the number of distinct tokens that followed (Bell, Cleary and Witten, 1990)."""
    totals, distinct = _context_sums(table.counts, table), _context_sums(table.counts > 0, table)
    denominators = totals + distinct
    return _share(table.counts, table, denominators), np.where(totals > 0, distinct / np.maximum(denominators, 1), 1.0)


# %% [markdown]
# *Absolute discounting* takes the same amount off every count instead, and hands that down (Ney, Essen and Kneser, 1994). It is the idea behind the
# best of them all.
#
# *Kneser-Ney* (Kneser and Ney, 1995) asks a sharper question of the lower orders. They are only used when the longer history fails. So what matters
# there is not how *often* a token occurs but after how *many different* tokens: *Francisco* may be frequent, but it follows hardly anything but
# *San*, so after an unknown history it is a bad guess. The lower orders therefore count continuations. *Modified* Kneser-Ney (Chen and Goodman,
# 1999) discounts counts of one, two and more by three amounts, which it estimates from how many n-grams were seen once, twice, three and four times.
# *Interpolated*, in the code below, means that the shorter history is mixed in always, not only when the longer one fails.

# %% tags=["export"]
def absolute_discounting(discount: float = 0.75) -> Smoothing:
    """Take a fixed amount off each count and hand it down (Ney, Essen and Kneser, 1994)."""
    if not 0 < discount <= 1:
        raise ValueError(f"got discount {discount}; it must be above 0 and at most 1, the smallest count there is")

    def smooth(table: NGramTable, highest: bool) -> tuple[np.ndarray, np.ndarray]:
        taken = np.minimum(table.counts, discount)
        totals, handed = _context_sums(table.counts, table), _context_sums(taken, table)
        return _share(table.counts - taken, table, totals), np.where(totals > 0, handed / np.maximum(totals, 1), 1.0)

    return smooth


def modified_kneser_ney(table: NGramTable, highest: bool) -> tuple[np.ndarray, np.ndarray]:
    """Interpolated modified Kneser-Ney (Kneser and Ney, 1995; Chen and Goodman, 1999)."""
    counts = table.counts if highest else table.continuations
    taken = _chen_goodman_discounts(counts)[np.minimum(counts, 3)]
    totals, handed = _context_sums(counts, table), _context_sums(taken, table)
    return _share(counts - taken, table, totals), np.where(totals > 0, handed / np.maximum(totals, 1), 1.0)


def _chen_goodman_discounts(counts: np.ndarray) -> np.ndarray:
    """Discounts for counts of 0, 1, 2 and 3 or more; fixed ones where a small text gives no estimate."""
    seen_once, twice, thrice, four_times = (np.count_nonzero(counts == times) for times in (1, 2, 3, 4))
    if 0 not in (seen_once, twice, thrice, four_times):
        share = seen_once / (seen_once + 2 * twice)
        ratios = np.array([0, twice / seen_once, thrice / twice, four_times / thrice])
        discounts = np.arange(4) - share * np.arange(1, 5) * ratios
        discounts[0] = 0
        if np.all(discounts[1:] > 0):  # with 0, a history would hand nothing down to what never followed it
            return discounts
    return np.array([0, 0.5, 1, 1.5])


# %% [markdown]
# By hand once more, with a fixed discount of 0.75 and *abab*: after *a* came *b*, twice. It keeps $(2 - 0.75)/2 = 0.625$ and hands $0.75/2 = 0.375$
# to the unigrams, which count continuations: *a* stands after *b* only, *b* after *a* only, one each. Each of the two unigrams keeps
# $(1 - 0.75)/2 = 0.125$, and the 0.75 that is left goes to the uniform $1/2$: both end at $0.125 + 0.75/2 = 0.5$. So
# $P(b \mid a) = 0.625 + 0.375 \cdot 0.5 = 0.8125$ and $P(a \mid a) = 0.375 \cdot 0.5 = 0.1875$, which sum to one. (The fixed-discount version is
# what you will write in the exercise.)
#
# ### The model
#
# A model is now three lists of arrays, one entry for each order: sorted keys, the finished probability of each n-gram, and what each history hands
# down. To look up a text, find the numbers of its bigrams from its unigrams, of its trigrams from its bigrams, and so on, all places of the text at
# once. Where an n-gram is missing, the shorter answer times $\gamma$ stands in. Finding keys in a sorted array is one call to `np.searchsorted`:

# %% tags=["export"]
def find_keys(keys: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Place of each wanted key in the sorted keys, or -1."""
    if len(keys) == 0:
        return np.full(len(wanted), -1)
    places = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
    places = places.astype(np.int64, copy=False)  # in a browser they have 32 bits, too few for the next order's keys
    return np.where(keys[places] == wanted, places, -1)


# %% [markdown]
# To let a model speak we must draw from its distribution. *Temperature* $T$ divides the log-probabilities before they are turned back: below 1 the
# likely becomes likelier, above 1 the draw gets wilder, and at 0 it is always the most probable token. By hand: probabilities 1/2, 1/4, 1/4 with
# $T = 1/2$ are squared to 1/4, 1/16, 1/16 and, divided by their sum 3/8, become 2/3, 1/6, 1/6.
#
# The largest value is subtracted first, so that even a tiny $T$ cannot overflow.

# %% tags=["export"]
def sample_with_temperature(log_probs: np.ndarray, temperature: float, rng: np.random.Generator) -> int:
    """Draw a token id from log-probabilities of shape (vocabulary,), sharpened or flattened by a temperature.

    Raises:
        ValueError: if the temperature is negative.
    """
    if not temperature >= 0:
        raise ValueError(f"got temperature {temperature}; it must be 0 (always the most probable token) or more")
    if temperature == 0:
        return int(np.argmax(log_probs))
    scaled = (log_probs - np.max(log_probs)) / temperature
    cumulative = np.cumsum(np.exp(scaled))
    return int(np.searchsorted(cumulative, rng.random() * cumulative[-1], side="right"))


# %% [markdown]
# And here is the whole model. It is the longest cell of the chapter; everything in it you have met: fit, smooth from the shortest order up, look up,
# draw. Start reading at `from_tables`, whose loop is the formula above in two lines: `kept` is $\alpha$, `backoff` is $\gamma$, `lower` is
# $P_{n-1}$. Leave `next_after`, the distribution over all tokens after one history, for last.

# %% tags=["export"]
class NGramModel:
    """An interpolated n-gram language model in sorted arrays, over any tokenizer.

    Attributes:
        tokenizer: cuts a text into token ids.
        keys: for each order, sorted n-gram keys, int64.
        probabilities: for each order, probability of each n-gram's last token after the others.
        backoffs: for each order, what each n-gram hands down when it is the history of a longer one.
    """

    def __init__(
        self,
        tokenizer: AnyTokenizer,
        keys: list[np.ndarray],
        probabilities: list[np.ndarray],
        backoffs: list[np.ndarray],
    ):
        self.tokenizer, self.keys, self.probabilities, self.backoffs = tokenizer, keys, probabilities, backoffs

    @classmethod
    def fit(
        cls,
        text: str,
        order: int,
        smoothing: Smoothing = modified_kneser_ney,
        tokenizer: AnyTokenizer | None = None,
    ) -> "NGramModel":
        """Count a text and smooth the counts; without a tokenizer, over bytes. ValueError if text or order is empty."""
        tokenizer = tokenizer or ByteTokenizer()
        tables = count_ngrams(tokenizer.encode(text), order, tokenizer.vocabulary_size)
        return cls.from_tables(tables, smoothing, tokenizer)

    @classmethod
    def from_tables(cls, tables: Sequence[NGramTable], smoothing: Smoothing, tokenizer: AnyTokenizer) -> "NGramModel":
        """Smooth tables that were counted before; the last one is the highest order."""
        lower, probabilities, handed_down = np.array([1 / tokenizer.vocabulary_size]), [], []
        for table in tables:
            kept, backoff = smoothing(table, table is tables[-1])
            lower = kept + backoff[table.contexts] * lower[table.suffixes]
            probabilities.append(lower)
            handed_down.append(backoff)
        return cls(tokenizer, [table.keys for table in tables], probabilities, handed_down[1:])

    @property
    def order(self) -> int:
        """The n of the longest n-grams."""
        return len(self.keys)

    @property
    def num_parameters(self) -> int:
        """How many numbers the model has learned: a probability for each n-gram, a back-off weight for each history."""
        return sum(map(len, self.probabilities)) + sum(map(len, self.backoffs))

    def token_log_probs(self, text: str, context: str = "") -> np.ndarray:
        """Natural log of each token's probability given those before it: shape (tokens of the text,)."""
        before = self._history(context)
        tokens = np.concatenate([before, self.tokenizer.encode(text)])
        numbers, answer = tokens, self.probabilities[0][tokens]
        for keys, probabilities, backoffs in zip(self.keys[1:], self.probabilities[1:], self.backoffs, strict=True):
            histories = np.concatenate([[-1], numbers[:-1]])[: len(tokens)]
            wanted = np.where(histories >= 0, histories * self.tokenizer.vocabulary_size + tokens, -1)
            numbers = find_keys(keys, wanted)
            handed_down = np.where(histories >= 0, backoffs[histories] if len(backoffs) else 1.0, 1.0) * answer
            answer = np.where(numbers >= 0, probabilities[numbers] if len(keys) else 0.0, handed_down)
        with np.errstate(divide="ignore"):  # maximum likelihood gives unseen n-grams probability zero
            return np.log(answer[len(before) :])

    def next_token_log_probs(self, context: str = "") -> np.ndarray:
        """Natural log of each token's probability to come next: shape (vocabulary,)."""
        return self.next_after(self._history(context))

    def generate(self, num_tokens: int, context: str = "", *, temperature: float = 1.0, seed: int = 0) -> str:
        """Draw tokens one after the other; the same seed gives the same text."""
        rng = np.random.default_rng(seed)
        ids = list(self._history(context))
        start = len(ids)
        for _ in range(num_tokens):
            recent = np.array(ids[max(0, len(ids) - self.order + 1) :], dtype=np.int64)
            ids.append(sample_with_temperature(self.next_after(recent), temperature, rng))
        return self.tokenizer.decode(ids[start:])

    def _history(self, context: str) -> np.ndarray:
        ids = self.tokenizer.encode(context)
        return ids[max(0, len(ids) - self.order + 1) :]

    def next_after(self, history: np.ndarray) -> np.ndarray:
        """The same, after the ids of some tokens."""
        vocabulary_size = self.tokenizer.vocabulary_size
        answer = self.probabilities[0].copy()
        for length in range(1, min(self.order, len(history) + 1)):
            number = int(history[-length])
            for keys, token in zip(self.keys[1:], history[len(history) - length + 1 :], strict=False):
                number = int(find_keys(keys, np.array([number * vocabulary_size + token]))[0]) if number >= 0 else -1
            if number < 0:  # a pruned model may still hold a longer one
                continue
            keys = self.keys[length]
            children = slice(*np.searchsorted(keys, [number * vocabulary_size, (number + 1) * vocabulary_size]))
            answer *= self.backoffs[length - 1][number]
            answer[keys[children] - number * vocabulary_size] = self.probabilities[length][children]
        with np.errstate(divide="ignore"):
            return np.log(answer)


# %% [markdown]
# ### Does it work?
#
# Three questions, before any benchmark. Does the next-token distribution sum to one after any history? Do the log-probabilities of a text's parts
# add up to that of the whole? And what does order 8 over bytes cost on the ruler, on test text it never saw?

# %%
start = time.perf_counter()
byte_model = NGramModel.from_tables(byte_tables, modified_kneser_ney, ByteTokenizer())
print(f"smoothed in {time.perf_counter() - start:.1f} s, {byte_model.num_parameters:,} numbers")
print("sums to", np.exp(byte_model.next_token_log_probs("The President of the ")).sum())
parts = ruler.log_prob(byte_model, "The Union") + ruler.log_prob(byte_model, " is strong.", context="The Union")
print("parts:", parts, " whole:", ruler.log_prob(byte_model, "The Union is strong."))

# %%
start = time.perf_counter()
byte_bits = ruler.bits_per_byte(byte_model, test_text)
print(f"{byte_bits:.3f} bits per byte, {time.perf_counter() - start:.1f} s for {len(test_text.encode()) / 1e6:.1f} MB")

# %% [markdown]
# From 8 bits to under a fifth of that, by counting and dividing. Let the model speak, first with a memory of one byte, then of three, then of seven.
# It is Shannon's experiment of 1948, done by hand then, with a book opened at random pages: note a letter, open the book elsewhere, read on until
# that letter turns up, note the one after it.

# %%
for order in [2, 4, 8]:
    fitted = NGramModel.from_tables(byte_tables[:order], modified_kneser_ney, ByteTokenizer())
    print(f"order {order}:", " ".join(fitted.generate(240, context="\n\n", seed=1).split()), end="\n\n")

# %% [markdown]
# Order 2 has letters, order 4 has words, order 8 has phrases, and none has anything to say. Each byte of context buys a layer of language, starting
# with spelling.
#
# ### How much does order buy?
#
# Now every smoothing method at every order, on the first 300,000 characters of the validation text (the test text is kept for the end). Two things
# to look for: which curves turn up again, and where.

# %%
validation_text = corpus.text("validation")
methods = {
    "add-k, k = 0.01": add_k(0.01),
    "Jelinek-Mercer, 0.7": jelinek_mercer(0.7),
    "absolute discounting": absolute_discounting(0.75),
    "Witten-Bell": witten_bell,
    "modified Kneser-Ney": modified_kneser_ney,
}
sample_of_validation = validation_text[:300_000]
curves = {name: [] for name in methods}
for name, method in methods.items():
    for order in range(1, 9):
        fitted = NGramModel.from_tables(byte_tables[:order], method, ByteTokenizer())
        curves[name].append(ruler.bits_per_byte(fitted, sample_of_validation))

# %%
fig, (ax, zoom) = plt.subplots(1, 2, figsize=(9, 4.2))
for name, curve in curves.items():
    for axes in (ax, zoom):
        axes.plot(range(1, 9), curve, label=f"{name}: {min(curve):.3f} at n = {1 + int(np.argmin(curve))}")
ax.set(title="How much does a longer memory buy?", xlabel="order n (bytes)", ylabel="bits per byte, validation")
zoom.set(title="The long end, enlarged", xlabel="order n (bytes)", xlim=(4.8, 8.2), ylim=(1.34, 1.9))
zoom.set_xticks(range(5, 9))
zoom.set_ylabel("bits per byte, validation")
ax.legend(fontsize=8)
figures.show(
    fig,
    alt="Bits per byte against order 1 to 8 for five smoothing methods: all fall steeply to order 4; from there add-k turns up again, "
    "Witten-Bell and absolute discounting flatten at 7, Jelinek-Mercer starts worst and overtakes them, and modified Kneser-Ney "
    "keeps falling to 1.37 at order 8.",
)

# %% [markdown]
# Up to order 4 there is data enough and the method hardly matters (Jelinek-Mercer lags because it hands down 30 % however well it knows better).
# Beyond, everything depends on it. Add-k turns up sharply after order 6: it pours so much of the distribution over bytes that cannot follow that it
# soon does worse than a shorter memory. Witten-Bell and absolute discounting stop gaining at 7, and the laggard Jelinek-Mercer overtakes both there.
# Kneser-Ney leads from order 5 on, and it is still improving at order 8.
#
# With the maximum-likelihood estimate there would be nothing to draw: its first unseen n-gram makes the sum infinite. How often does it meet one?

# %%
fitted = NGramModel.from_tables(byte_tables, jelinek_mercer(1.0), ByteTokenizer())
unseen = np.mean(np.isneginf(fitted.token_log_probs(sample_of_validation)))
bits = ruler.bits_per_byte(fitted, sample_of_validation)
print(f"{unseen:.1%} of all bytes have probability zero; bits per byte: {bits}")
del byte_tables, fitted  # memory that the rest of the chapter does not need

# %% [markdown]
# Four bytes in a hundred, and one would have been enough.
#
# ### Words, and why perplexity misleads
#
# The same class over words. *Perplexity*, the exponential of the mean loss *per token*, is the number papers report: a model of perplexity 10
# hesitates, on average, as if between 10 equally likely tokens. Compare it with bits per byte in the table below, and see which of the two you would
# trust to compare models that cut text differently.

# %%
word_tables = count_ngrams(word_tokenizer.encode(train_text), 5, word_tokenizer.vocabulary_size)
print("model          perplexity   bits per byte")
for order in range(1, 6):
    word_model = NGramModel.from_tables(word_tables[:order], modified_kneser_ney, word_tokenizer)
    bits, hesitation = ruler.bits_per_byte(word_model, test_text), ruler.perplexity(word_model, test_text)
    print(f"words, n = {order}   {hesitation:10.1f}   {bits:.3f}")
print(f"bytes, n = 8   {ruler.perplexity(byte_model, test_text):10.1f}   {byte_bits:.3f}")

# %% [markdown]
# The byte model hesitates between fewer than three tokens and the best word model between more than seventy, and yet the word model is the better
# one: a word is worth several bytes. Perplexity depends on the tokens, bits per byte do not. That is why this book has one ruler.
#
# Look at the orders too: from 1 to 2 the step is huge, from 2 to 3 worth having, and after that a hundredth or two. Under two million words are too
# few: most four-word stretches in them occur only once. The word model's speech shows it.

# %%
print(word_model.generate(70, context="\n\n", seed=3, temperature=0.8))


# %% [markdown]
# A few words at a time hang together, and then the sentence forgets how it began.
#
# ### A keyboard that predicts
#
# The source praises Markov chains for very fast predictive text. Build the keyboard: given what was typed so far, and perhaps the first letters of
# the next word, offer the three most probable words. The word model of order 3 will do; its memory is two words. The last of the three cells
# measures: at 400 random words of the test text, is the word that really comes next among the offers, and how long does an offer take?

# %% tags=["export"]
def suggest(model: NGramModel, context: str, typed: str = "", k: int = 3) -> list[str]:
    """The k most probable next words after a context, of those that begin with the letters typed.

    Args:
        model: an n-gram model over words.
        context: the text so far, without a space at its end.
        typed: first letters of the next word.
        k: how many suggestions.
    """
    log_probs = model.next_token_log_probs(context)
    candidates = np.argsort(-log_probs) if typed else np.argsort(-log_probs)[: 20 * k]
    words_in_order = (model.tokenizer.decode([token]) for token in candidates)
    fitting = (word.strip() for word in words_in_order if word.startswith(" " + typed) and word.strip().isalpha())
    return [word for word, _ in zip(fitting, range(k), strict=False)]


# %%
keyboard = NGramModel.from_tables(word_tables[:3], modified_kneser_ney, word_tokenizer)
for context, typed in [("The United States", ""), ("peace and", ""), ("the people of the", ""), ("I thank the", "C")]:
    print(f"{context} {typed}…  ->  {', '.join(suggest(keyboard, context, typed))}")

# %%
rng = np.random.default_rng(0)
starts = rng.choice([match.start() for match in re.finditer(r" [A-Za-z]+", test_text)], size=400, replace=False)
hits, times = [], []
for start_of_word in starts:
    wanted = re.match(r"[A-Za-z]+", test_text[start_of_word + 1 :])[0]
    begun = time.perf_counter()
    offered = suggest(keyboard, test_text[max(0, start_of_word - 60) : start_of_word])
    times.append(time.perf_counter() - begun)
    hits.append([wanted in offered[:n] for n in (1, 3)])
first, top_three = np.mean(hits, axis=0)
latency = 1000 * np.median(times)
print(f"first guess right {first:.0%}, among three {top_three:.0%}, {latency:.1f} ms per suggestion")

# %% [markdown]
# One word in five is guessed before its first letter and one in three is among the three offered, in about a millisecond (your machine will print
# another number). Somebody who types sixty words a minute, five letters each, needs two hundred for one key.
#
# ### More data
#
# Does more text help, and how much? Fit order 8 on ever larger slices of the training text. To see whether the answer depends on the kind of text,
# do the same with code: Python's own standard library, which is on every machine that can run this page (its text, and so the numbers, differ a
# little between Python versions). Files are shuffled by a fixed rule and the last 300 kB are held out, from both. gzip has learned nothing
# beforehand and sees only the held-out text itself; it tells how much a text repeats *itself*.

# %%
import gzip
import hashlib
from importlib import resources


def by_hash(text: str) -> str:
    """A fixed shuffle: the hexadecimal digest of a text as sorting key."""
    return hashlib.sha256(text.encode()).hexdigest()


library = resources.files("json").parent  # a folder; in a browser, a zip archive
packages = ["asyncio", "concurrent", "email", "http", "importlib", "json", "logging", "multiprocessing", "unittest", "xml"]
files = [*library.glob("*.py"), *(path for package in packages for path in library.glob(f"{package}/**/*.py"))]
contents = {path.read_text("utf-8", "replace") for path in files}
code = "\n".join(sorted((text for text in contents if text.isascii()), key=by_hash))
prose = "\n\n".join(sorted((address.text for address in corpus.addresses("train")), key=by_hash))
print(f"{len(code) / 1e6:.1f} MB of Python, {len(prose) / 1e6:.1f} MB of speeches")

# %%
sizes = [31_250 * 2**i for i in range(8)]
held = 300_000
learning = {"speeches": [], "Python": []}
for name, material in {"speeches": prose, "Python": code}.items():
    for size in [s for s in sizes if s + held <= len(material)]:
        fitted = NGramModel.fit(material[:size], order=8)
        learning[name].append(ruler.bits_per_byte(fitted, material[-held:]))
    print(f"{name:9}", " ".join(f"{bits:.2f}" for bits in learning[name]))

gzipped = {
    name: 8 * len(gzip.compress(m[-held:].encode())) / len(m[-held:].encode())
    for name, m in [("speeches", prose), ("Python", code)]
}
print("gzip:", ", ".join(f"{name} {bits:.2f}" for name, bits in gzipped.items()))

# %%
fig, ax = plt.subplots()
for name, curve in learning.items():
    ax.plot([size / 1e6 for size in sizes[: len(curve)]], curve, label=name)
ax.set_xscale("log")
ax.set_xticks([0.03, 0.1, 0.3, 1, 3], ["0.03", "0.1", "0.3", "1", "3"])
ax.set(
    title="Is code easier to predict than prose?",
    xlabel="training text (MB, log scale)",
    ylabel="bits per byte, held out",
)
ax.legend()
figures.show(
    fig,
    alt="Bits per byte against training size for speeches and Python code: both fall with every doubling, more slowly at the end, and the code "
    "curve stays above the speech curve, by six tenths of a bit at first and two tenths at the end.",
)

# %% [markdown]
# Two surprises for anyone who has heard that code is easy. To a model with a memory of seven bytes Python is *harder* than the presidents, at every
# size, though the gap closes. And to gzip, which knows no Python and no English but looks back 32 kB, it is much *easier*. Code does repeat itself:
# the same names, over and over, within a file. But they are that file's own names, invented by its author, and neither seven bytes of memory nor
# other people's files predict them.
#
# Each doubling of the text still takes something off at four megabytes, though less than at the start: for speeches from 0.18 bits down to 0.06.
# Chapter 07 will meet curves of this kind again under the name of *scaling laws*. And more data of *which* kind? Train on one megabyte of each of
# three kinds and test on all three.

# %%
kinds = {"speeches": prose, "Shakespeare": "\n".join(plays.values()), "Python": code}
crossed = np.zeros((3, 3))
for row, material in enumerate(kinds.values()):
    fitted = NGramModel.fit(material[:1_000_000], order=8)
    crossed[row] = [ruler.bits_per_byte(fitted, other[-held:]) for other in kinds.values()]
fig, ax = plt.subplots(figsize=(5.2, 3.8))
ax.imshow(-crossed, vmin=-7)
for row, column in np.ndindex(3, 3):
    dark = crossed[row, column] > 4.5
    ax.text(column, row, f"{crossed[row, column]:.2f}", ha="center", va="center", color="white" if dark else "black")
ax.set_xticks(range(3), kinds)
ax.set_yticks(range(3), kinds)
ax.grid(False)
ax.set(
    title="Does reading other texts help?", xlabel="tested on (bits per byte)", ylabel="trained on 1 MB of"
)
figures.show(
    fig,
    alt="Three by three table of bits per byte: about 2 where a model is tested on the kind of text it was trained on, 2.5 to 6 where it "
    "is not, worst when a model of prose reads code.",
)

# %% [markdown]
# The diagonal is what data of the right kind buys. Off the diagonal, for speeches as for Python, a megabyte of the wrong kind is worth less than the
# thirty kilobytes of the right kind with which the curves above begin. Whoever speaks a language, or writes a programming language, of which there
# is little text, is off the diagonal.
#
# ### Compressors are language models
#
# A model that gives a text a probability $P$ can store it in about $-\log_2 P$ bits, and a compressor is a model that does just that (Shannon,
# 1948). So the compressors on your machine belong on the ruler as well. *Primed* means: how many more bytes does it take to compress training and
# test text together than the training text alone? The three differ in memory: gzip looks 32 kB back and is not primed, xz as far as you let it, and
# PPMd (Cleary and Witten, 1984; Shkarin, 2002) mixes n-gram counts of up to 16 bytes, a cousin of the model above. The cell takes half a minute.

# %%
for name, bits in ladder.measure_compressors(train_text, test_text).items():
    print(f"{name:28} {bits:.3f} bits per byte")
print(f"{'Kneser-Ney, bytes, n = 8':28} {byte_bits:.3f}")

# %% [markdown]
# gzip is what everyone uses and the weakest language model of the lot. PPMd, an n-gram model that keeps learning while it reads, beats our byte
# model; words, which see further back, beat PPMd with 1.313.
#
# ### Against the library: KenLM
#
# KenLM (Heafield, 2011) is an n-gram toolkit made for machine translation, where a search asks for millions of probabilities. It reads ARPA files, a
# plain text format that n-gram toolkits share: log base 10 of each n-gram's probability, the n-gram, and the log of what it hands down. A line
# `-1.301030 the -0.397940` says that *the* has probability 0.05 and hands down 0.4. Writing such a file is a loop; reading one back rebuilds the
# sorted arrays.

# %% tags=["export"]
from pathlib import Path

from bow2gpt.course.paths import atomic_path


def write_arpa(model: NGramModel, path: str) -> None:
    """Write a model as an ARPA file, the common format of n-gram toolkits; tokens get their printable names."""
    names = model.tokenizer.names()
    grams = [np.arange(len(names))[:, None]]  # (N, n) tokens of the n-grams, order by order
    for keys in model.keys[1:]:
        prefixes, last = np.divmod(keys, len(names))
        grams.append(np.column_stack([grams[-1][prefixes], last]))
    marks = [mark for mark in ("<unk>", "<s>", "</s>") if mark not in names]  # toolkits insist on them
    with atomic_path(Path(path)) as partial, open(partial, "w", encoding="utf-8") as file:
        sizes = [len(gram) + len(marks) * (n == 1) for n, gram in enumerate(grams, start=1)]
        file.write("\n\\data\\\n" + "".join(f"ngram {n}={size}\n" for n, size in enumerate(sizes, start=1)))
        for n, gram in enumerate(grams, start=1):
            file.write(f"\n\\{n}-grams:\n")
            if n == 1:
                file.writelines(f"-99\t{mark}\n" for mark in marks)
            log_probs = np.log10(np.maximum(model.probabilities[n - 1], 1e-99))
            backoffs = np.log10(np.maximum(model.backoffs[n - 1], 1e-99)) if n < model.order else np.zeros(len(gram))
            for tokens, log_prob, backoff in zip(gram, log_probs, backoffs, strict=True):
                file.write(f"{log_prob:.7f}\t{' '.join(names[token] for token in tokens)}\t{backoff:.7f}\n")
        file.write("\n\\end\\\n")


# %% [markdown]
# Reading goes the other way, and takes any ARPA file: without a tokenizer, the file's own words become the vocabulary and a text is cut at white
# space. Such a file has an `<unk>` for every other word, so this tokenizer, unlike ours, can refuse to read. Do not put it on the ruler.

# %% tags=["export"]
class WhitespaceTokenizer:
    """A text as the words between white space; words outside the vocabulary become `<unk>`.

    But: white space itself is lost, so a decoded text has single spaces.
    """

    def __init__(self, vocabulary: Sequence[str]):
        self.vocabulary = list(vocabulary)
        self.vocabulary_size = len(self.vocabulary)
        self._ids = {word: index for index, word in enumerate(self.vocabulary)}
        if "<unk>" not in self._ids:
            raise ValueError("the vocabulary lacks <unk>, the word that stands for all others; add it")

    def encode(self, text: str) -> np.ndarray:
        """Token ids of a text: shape (words,)."""
        return np.array([self._ids.get(word, self._ids["<unk>"]) for word in text.split()], dtype=np.int64)

    def decode(self, token_ids: Iterable[int]) -> str:
        """The words of some token ids, joined by spaces."""
        return " ".join(self.vocabulary[token] for token in token_ids)

    def names(self) -> list[str]:
        """The words themselves."""
        return self.vocabulary


# %% [markdown]
# `_parse_arpa` cuts the file into rows, order by order, and names the line where something is wrong. `read_arpa` then numbers the rows as
# `count_ngrams` did. The marks `<s>`, `</s>` and `<unk>` are dropped where the tokenizer has no such token. The last cell makes the round trip with
# a small word model and prints by how much seven printed digits have moved its log-probabilities.

# %% tags=["export"]
def _parse_arpa(path: str) -> list[list[tuple[float, list[str], float]]]:
    """Log10 probability, words and log10 back-off of each n-gram, order by order."""
    sections: list[list[tuple[float, list[str], float]]] = []
    with open(path, encoding="utf-8") as file:
        ended = False
        for number, line in enumerate(file, start=1):
            line, n = line.strip(" \t\r\n"), len(sections)
            if line == "\\end\\":
                ended = True
                break
            if line.startswith("\\") and line.endswith("-grams:"):
                if line != f"\\{n + 1}-grams:":
                    raise ValueError(f"{path}, line {number}: expected \\{n + 1}-grams:, got {line!r}")
                sections.append([])
            elif sections and line:
                fields = [field for field in line.replace("\t", " ").split(" ") if field]
                if len(fields) not in (n + 1, n + 2):
                    raise ValueError(f"{path}, line {number}: expected a number and {n} words, got {line!r}")
                try:
                    backoff = float(fields[n + 1]) if len(fields) > n + 1 else 0.0
                    sections[-1].append((float(fields[0]), fields[1 : n + 1], backoff))
                except ValueError:
                    raise ValueError(f"{path}, line {number}: expected a number, got {line!r}") from None
    if not sections:
        raise ValueError(f"{path} is not an ARPA file: it has no line such as \\1-grams:")
    if not ended:
        raise ValueError(f"{path}, line {number}: the file stops before \\end\\; copy or write it again")
    return sections


def read_arpa(path: str, tokenizer: AnyTokenizer | None = None) -> NGramModel:
    """Read an ARPA file, written here or by another toolkit.

    Args:
        path: the file.
        tokenizer: the one the file was written with; without it, the file's words, cut at white space.

    Raises:
        ValueError: if the file is no ARPA file, or holds a word that the tokenizer does not have.
    """
    sections = _parse_arpa(path)
    tokenizer = tokenizer or WhitespaceTokenizer([gram[0] for _, gram, _ in sections[0]])
    ids = {name: index for index, name in enumerate(tokenizer.names())}
    marks = {"<unk>", "<s>", "</s>"} - ids.keys()
    size, keys, probabilities, backoffs = tokenizer.vocabulary_size, [np.arange(tokenizer.vocabulary_size)], [], []
    for n, section in enumerate(sections, start=1):
        kept = [row for row in section if not marks.intersection(row[1])]
        if unknown := {word for _, gram, _ in kept for word in gram} - ids.keys():
            raise ValueError(
                f"{path}: the tokenizer has no token {min(unknown)!r}; pass the one the file was written with"
            )
        tokens = np.array([[ids[word] for word in gram] for _, gram, _ in kept], dtype=np.int64).reshape(-1, n)
        numbers = tokens[:, 0]
        for level in range(1, n):
            wanted = numbers * size + tokens[:, level]
            numbers = find_keys(keys[level], wanted) if level < n - 1 else wanted
            if np.any(numbers < 0):
                raise ValueError(f"{path}: a {n}-gram is listed, but not its first {level + 1} words")
        place = np.argsort(numbers)
        dense = n == 1  # every token has its place, also one that the file does not list
        values = 10.0 ** np.array([(log_prob, backoff) for log_prob, _, backoff in kept]).reshape(-1, 2)[place]
        table = np.tile([0.0, 1.0], (size, 1)) if dense else values
        if dense:
            table[numbers[place]] = values
        else:
            keys.append(numbers[place])
        probabilities.append(table[:, 0])
        backoffs.append(table[:, 1])
    return NGramModel(tokenizer, keys, probabilities, backoffs[:-1])


# %%
import tempfile

recent = train_text[-400_000:]
small = NGramModel.fit(recent, order=5, tokenizer=WordTokenizer.train(recent))
folder = Path(tempfile.mkdtemp())
write_arpa(small, str(folder / "small.arpa"))
back = read_arpa(str(folder / "small.arpa"), small.tokenizer)
passage = test_text[-20_000:]
difference = np.abs(small.token_log_probs(passage) - back.token_log_probs(passage)).max() / np.log(10)
print(
    f"{(folder / 'small.arpa').stat().st_size / 1e6:.0f} MB; after the round trip the logs (base 10) differ by {difference:.0e} at most"
)

# %% [markdown]
# KenLM needs a compiler to install (`pip install kenlm`), so the next cell does its work where it is present, and says so where it is not. It asks
# KenLM for the probability of each token of a passage the model never saw.

# %%
try:
    import kenlm
except ModuleNotFoundError:
    print("KenLM is not installed; `pip install kenlm` (it needs a C++ compiler and cmake) runs this comparison")
else:
    reader = kenlm.Model(str(folder / "small.arpa"))
    token_names = small.tokenizer.names()
    tokens = small.tokenizer.encode(passage)
    theirs = [s[0] for s in reader.full_scores(" ".join(token_names[t] for t in tokens), bos=False, eos=False)]
    ours = small.token_log_probs(passage) / np.log(10)
    print(f"{len(tokens):,} tokens, largest difference in log10: {np.abs(ours - theirs).max():.1e}")

# %% [markdown]
# Token for token the same, as far as seven printed digits go. NLTK, which many courses use, has a Kneser-Ney as well. It is written to be read, one
# dictionary look-up at a time, and is best met on a toy: give it a pair of words of which it has not seen the second.

# %%
try:
    from nltk.lm import KneserNeyInterpolated
    from nltk.lm.preprocessing import padded_everygram_pipeline
except ModuleNotFoundError:
    print("NLTK is not installed; `pip install nltk` runs this comparison")
else:
    grams, vocabulary_of_toy = padded_everygram_pipeline(2, [sentence.split() for sentence in sentences])
    toy_model = KneserNeyInterpolated(2)
    toy_model.fit(grams, vocabulary_of_toy)
    print("P(wars | star) =", round(toy_model.score("wars", ["star"]), 3))
    print("perplexity with an unknown word:", toy_model.perplexity([("star", "trek")]))
    ours = NGramModel.fit("\n".join(sentences), order=5)
    print(f"ours, over bytes: {ruler.perplexity(ours, 'star trek'):.1f} per byte")

# %% [markdown]
# Infinite: trained like this, it keeps nothing for a word it does not know. Ours works on bytes here, and there is no byte it does not know; the
# word model above would spell.
#
# ## What the source says
#
# Six claims of the source fall into this chapter. Each verdict is drawn from numbers that the cells above computed.

# %%
claims.verdict(
    5,
    "Counting words tells you the subject: one field's talk from another's, a wartime from a peacetime president.",
    f"presidents from Shakespeare in {np.mean((piece_scores > 0) == piece_labels):.1%} of 60-word pieces; war from peace with an AUC of "
    f"{area_under_curve(cross_validated['every tenth address'], at_war):.2f} while neighbouring years are in sight, and only "
    f"{area_under_curve(cross_validated['whole wars'], at_war):.2f} for a war it never saw (0.5 is a coin). Much of what looked like war was the century.",
    "holds in part",
)

# %%
gain = speaker_results["words and pairs"] - speaker_results["words"]
claims.verdict(
    6,
    "Word order matters, so n-grams improve categorisation.",
    f"telling ten presidents apart: {speaker_results['words']:.1%} with words, {speaker_results['words and pairs']:.1%} with words and pairs "
    f"({gain * len(speaker_labels):+.0f} pieces of {len(speaker_labels)}, no more than luck would do), {speaker_results['triples']:.1%} with triples alone. War from peace: a mean AUC of {war_results['words']:.2f} with words, "
    f"{war_results['words and pairs']:.2f} with words and pairs.",
    "does not hold",
)

# %%
word_bits = [
    ruler.bits_per_byte(NGramModel.from_tables(word_tables[:n], modified_kneser_ney, word_tokenizer), test_text)
    for n in (1, 5)
]
claims.verdict(
    7,
    "Bags of words and n-grams categorise and cannot predict; Bayes and Markov made them predict.",
    f"the same counts do both: as a bag (n = 1) they need {word_bits[0]:.2f} bits per byte, with the chain rule and a memory of four words "
    f"{word_bits[1]:.2f}. What was missing was not another kind of count but the conditional: dividing by the history's count.",
    "holds in part",
)

# %%
claims.verdict(
    8,
    "Markov chains are very fast predictive text, and often enough.",
    f"a suggestion takes {latency:.1f} ms; its first word is right {first:.0%} of the time and one of three {top_three:.0%}, before a letter is typed.",
    "holds",
)

# %%
claims.verdict(
    9,
    "Code repeats itself, so it is easier to predict than prose.",
    f"after 4 MB of its own kind, {learning['Python'][-1]:.2f} bits per byte for Python against {learning['speeches'][len(learning['Python']) - 1]:.2f} "
    f"for speeches, and a wider gap with less. But within the held-out text itself code repeats more: gzip needs {gzipped['Python']:.2f} against {gzipped['speeches']:.2f}. "
    "It repeats itself, and that makes it easier only for a model that can look back far enough to see it.",
    "holds in part",
)

# %%
claims.verdict(
    10,
    "More data of a kind makes a model better at that kind; rare languages and new programming languages suffer.",
    f"from {sizes[0] / 1e3:.0f} kB to {sizes[-1] / 1e6:.0f} MB of speeches: {learning['speeches'][0]:.2f} to {learning['speeches'][-1]:.2f} bits per byte, and still falling; "
    f"a model that read 1 MB of Python needs {crossed[2, 0]:.2f} on speeches, one that read 31 kB of speeches {learning['speeches'][0]:.2f}.",
    "holds",
)

# %% [markdown]
# ## The rung
#
# Each chapter ends by putting its models on the *ladder*: bits per byte on the test text, and the *probes* of chapter 01, minimal pairs of which the
# model says which half it finds likelier; a coin gets half of them. Which points of grammar does counting catch? The figure takes the two features
# that are about grammar. Each line is one phenomenon of 10 to 19 pairs with its 95 % interval, wide because so few pairs are asked. *Morphology*, at
# the bottom, is about the forms of words, *syntax* about their order and agreement.

# %%
word_model = NGramModel.from_tables(word_tables, modified_kneser_ney, word_tokenizer)
results = {"bytes, n = 8": probes.score(byte_model), "words, n = 5": probes.score(word_model)}
grammar = ("morphology", "syntax")
phenomena = [score for score in results["words, n = 5"] if score.phenomenon is not None and score.feature in grammar]
phenomena.sort(key=lambda score: (score.feature, score.accuracy))
fig, ax = plt.subplots(figsize=(7, 8.4))
for (name, scores), marker, shift in zip(results.items(), "os", (-0.14, 0.14), strict=True):
    by_phenomenon = {(s.feature, s.phenomenon): s for s in scores}
    chosen_scores = [by_phenomenon[s.feature, s.phenomenon] for s in phenomena]
    values = np.array([s.accuracy for s in chosen_scores])
    spread = np.abs(np.array([s.interval for s in chosen_scores]).T - values)
    ax.errorbar(
        values, np.arange(len(values)) + shift, xerr=spread, marker=marker, linestyle="none", label=name, linewidth=0.8
    )
ax.axvline(0.5, color="0.4", linewidth=1, marker="")
ax.set_yticks(range(len(phenomena)), [f"{s.feature[:6]}: {s.phenomenon}" for s in phenomena], fontsize=8)
ax.set(
    title="Which grammar does counting catch?",
    xlabel="pairs judged rightly, with 95 % interval (0.5 is a coin)",
    ylabel="phenomenon",
)
ax.legend(loc="upper left")
figures.show(
    fig,
    alt="Accuracy of the byte and the word model on each probe phenomenon: near perfect for neighbouring words such as order in a "
    "phrase, near or below one half for agreement across a phrase or relative clause and for inversion after a negative.",
)

# %% [markdown]
# Neighbouring words are no problem: pronoun case, order inside a phrase. Agreement across a prepositional phrase or a relative clause is at chance
# or below it, since the noun next to the verb has the wrong number and that noun is all the model sees. Worst of all is the inversion after a
# negative: of *never has the nation been* and *never the nation has been*, the word model prefers the second kind every time, presumably because
# *the nation has* is the commoner order. This is the limit of a short memory, and no amount of smoothing will move it.
#
# The ladder so far. The rows come from a table in the repository that `bow2gpt ladder --measure all` computes anew; nothing in it is typed. Do the
# models that predict better also judge grammar better?

# %%
print(ladder.table())
figures.show(ladder.figure(), alt=ladder.describe())

# %% [markdown]
# The models that know only frequencies get about half of the pairs, as they should. Below them in the table, fewer bits and better grammar go
# together, up to order 3 of words; order 5 buys three hundredths of a bit and no syntax. Over BPE tokens the same method does as well as over words,
# without a rule for unknown ones. Now look at the last two columns. Meaning is just above the coin, and *pragmatics*, what a sentence does in its
# context, is the coin: the cue stands in the sentence before, and these models have forgotten it.
#
# ## What it cannot do
#
# * **It cannot share.** Having read *the treaty with Spain was ratified* a thousand times teaches it nothing about *the convention with France*. To
#   it, *treaty* and *convention* are two numbers, as far apart as *treaty* and *potato*. Words need a notion of nearness: that is chapter 03.
# * **It cannot look far.** Four words or seven bytes back, and the subject of the sentence is out of sight. Doubling the memory squares the number
#   of possible histories. That will take chapters 05 and 06.
# * **It cannot be small.** Millions of numbers for 1.3 bits per byte. But it learned in seconds, and you will be surprised how long it takes a
#   neural network to catch up.
#
# ## Exercises
#
# Open `exercises/02_counting_models/counting_models.ipynb`. Nine tasks, from a bag of words to Kneser-Ney, with checks under each that say what is
# wrong; `bow2gpt check 02` in a terminal grades them all.
#
# To think about, without a grade: Why does the byte model keep improving up to order 8 while the word model gains next to nothing after 3? Which of
# your own text classifiers could be telling time instead of topic? How would you hide data from it to find out?
#
# ## Further reading
#
# * A. A. Markov (1913). *An example of statistical investigation of the text “Eugene Onegin” concerning the connection of samples in chains.*
#   English translation in Science in Context 19(4), 2006.
# * C. E. Shannon (1948). *A mathematical theory of communication.* Bell System Technical Journal 27.
# * M. E. Maron (1961). *Automatic indexing: an experimental inquiry.* Journal of the ACM 8(3).
# * K. Spärck Jones (1972). *A statistical interpretation of term specificity and its application in retrieval.* Journal of Documentation 28(1).
# * G. Salton, A. Wong and C. S. Yang (1975). *A vector space model for automatic indexing.* Communications of the ACM 18(11).
# * F. Jelinek and R. L. Mercer (1980). *Interpolated estimation of Markov source parameters from sparse data.* In Pattern Recognition in Practice,
#   North-Holland.
# * J. G. Cleary and I. H. Witten (1984). *Data compression using adaptive coding and partial string matching.* IEEE Transactions on Communications
#   32(4).
# * G. Salton and C. Buckley (1988). *Term-weighting approaches in automatic text retrieval.* Information Processing & Management 24(5).
# * T. C. Bell, J. G. Cleary and I. H. Witten (1990). *Text Compression.* Prentice Hall.
# * H. Ney, U. Essen and R. Kneser (1994). *On structuring probabilistic dependences in stochastic language modelling.* Computer Speech & Language
#   8(1).
# * R. Kneser and H. Ney (1995). *Improved backing-off for m-gram language modeling.* ICASSP.
# * A. McCallum and K. Nigam (1998). *A comparison of event models for naive Bayes text classification.* AAAI-98 Workshop on Learning for Text
#   Categorization.
# * S. F. Chen and J. Goodman (1999). *An empirical study of smoothing techniques for language modeling.* Computer Speech & Language 13(4).
# * D. V. Khmelev and F. J. Tweedie (2001). *Using Markov chains for identification of writers.* Literary and Linguistic Computing 16(3).
# * D. Shkarin (2002). *PPM: one step to practicality.* Data Compression Conference.
# * K. Heafield (2011). *KenLM: faster and smaller language model queries.* Sixth Workshop on Statistical Machine Translation.
