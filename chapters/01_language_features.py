# %% [markdown]
# # 01 Language features
#
# <!-- launch: made by `bow2gpt build` -->
# [Open in Colab](https://colab.research.google.com/github/bow2gpt/bow2gpt/blob/main/chapters/01_language_features.ipynb) | [Open in Binder](https://mybinder.org/v2/gh/bow2gpt/bow2gpt/main?urlpath=lab/tree/chapters/01_language_features.ipynb)
# <!-- /launch -->
#
# *From Bag of Words to GPT, chapter 01. About two hours of reading and running; every cell together takes some two minutes on two cores.*
#
# ## Where we are
#
# You have the annual addresses of 236 years and no model yet. Before building one, look at what it would have to learn. A sentence is sound, words
# built from parts, an order, a meaning, and a situation in which somebody says it. Linguists call the study of these *phonetics*, *morphology*,
# *syntax*, *semantics* and *pragmatics*, and this chapter takes them one after the other, each with an experiment. By the end you will have the
# three instruments of the rest of the book: a *ruler* that says in bits how well a model knows a language, a *tokenizer* through which later models
# see their text, and *probes* that ask about each of the five features separately.
#
# The cell with the imports fetches the book's helpers and its *corpus*, the State of the Union addresses of the presidents of the United States. It is *split*
# once for the whole book: models learn from the training text, choices are made on the validation text, and the test text is only for measuring.

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
from collections import Counter

import matplotlib.pyplot as plt
import numpy as np

from bow2gpt import claims, corpus, figures, ladder, probes, ruler

addresses = corpus.addresses()
train_text, test_text = corpus.text("train"), corpus.text("test")
print(f"{len(train_text.encode()) / 1e6:.1f} MB to learn from, {len(test_text.encode()) / 1e6:.1f} MB to be tested on")

# %% [markdown]
# ## What a language is
#
# The podcast this book grew from, called *the source* from here on, calls language an abstraction of the thoughts and feelings in our heads. A
# crying baby communicates without language. So where is the line? One old answer is *displacement*: with a language you can talk about what is not
# here, not now, or not so (Hockett, 1960). That can be counted. Cut the training text into sentences, and look in each for words that point away
# from the present moment: to another time, to what is denied, to what is only possible. Guess first: how many sentences have none of them?

# %%
import re

displaced = {
    "another time": r"was|were|had|did|been|will|shall|ago|yesterday|tomorrow|years?|last|next|1[789]\d\d|20\d\d|"
    r"\w\w+ed",
    "denied": r"not|no|never|none|nor|neither|without|nothing|cannot|\w+n['’]t",
    "only possible": r"may|might|would|should|could|must|can|if|whether|unless|hope|wish|want|ought",
}
sentences = [s for s in re.split(r"(?<=[.!?])\s+", " ".join(train_text.split())) if s.count(" ") >= 3]
marks = {kind: re.compile(rf"\b(?:{mark})\b", re.I) for kind, mark in displaced.items()}
hits = np.array([[bool(mark.search(s)) for mark in marks.values()] for s in sentences])
for kind, share in zip(displaced, hits.mean(axis=0), strict=True):
    print(f"{kind:14} {share:.0%} of {len(sentences):,} sentences")
present = [s for s, hit in zip(sentences, hits, strict=True) if not hit.any()]
print(f"none of these  {len(present) / len(sentences):.0%}, for example:")
print("  " + "\n  ".join(s for s in present[7:9000:1100] if len(s) < 100))

# %% [markdown]
# Five sentences in six carry a mark of displacement. The marks are rough (*need* ends in *-ed* too), but even the examples of the remainder speak
# of laws, purposes and people, and hardly one of anything that the speaker could see from his desk. Is displacement what makes a language, then? A
# honeybee's dance tells of flowers a kilometre away, so it cannot be that alone; Hockett listed it as one of thirteen features.
#
# The book keeps a ledger of what the source claims and what the measurements say. This is the first entry.

# %%
claims.verdict(
    1,
    "Language is an abstraction of thoughts and feelings; "
    "what separates it from communication is talk of what is not present.",
    f"{1 - len(present) / len(sentences):.0%} of the training sentences mark another time, a denial or a possibility. "
    "But the honeybee's dance is displaced too (Hockett, 1960), and no count can tell what is in a head.",
    "holds in part",
)

# %% [markdown]
# ### Signs
#
# A word stands for something. How? Peirce told three ways apart (Collected Papers 2.247–249, written about 1903). An *icon* resembles what it
# stands for: a map, a portrait, *buzz*. An *index* is connected to it: smoke to fire, a pointing finger, and in speech *I*, *here*, *today*, which
# mean nothing until you know who speaks, where and when. A *symbol* stands for it by convention alone: nothing about *treaty* looks or sounds like
# one. A model that reads only text never meets what indices point to. How many of the presidents' words are indices? To count, cut a text into
# words; this function will serve the whole book.

# %% tags=["export"]
import re


def words(text: str) -> list[str]:
    """Cut a text into lower-case words: runs of letters, with apostrophes inside them."""
    return re.findall(r"[^\W\d_]+(?:['’][^\W\d_]+)*", text.lower())


# %%
indices = {
    "speaker and hearers": "i me my mine we us our ours you your yours",
    "place and time": "here now today tonight this these",
}
years = [address.year for address in addresses]
bags = [Counter(words(address.text)) for address in addresses]
fig, ax = plt.subplots()
for kind, pointers in indices.items():
    share = [sum(bag[pointer] for pointer in pointers.split()) / bag.total() for bag in bags]
    ax.plot(years, np.multiply(share, 100), linestyle="none", markersize=3.5, label=kind)
ax.set(title="How much of a speech points at the moment?", xlabel="year", ylabel="share of all words (%)")
ax.legend()
figures.show(
    fig,
    alt="Share of pointing words by year. Words for speaker and hearers stand at 2 to 4 percent in the 1790s, at 1 to 2 "
    "through most of the 19th century, and after 1913 rise, with a dip in the 1920s, to between 3 and 7 percent; words "
    "for place and time rise slowly from 1 to 2 percent.",
)

# %% [markdown]
# Washington and Adams spoke to Congress in person, their successors wrote, and since Wilson in 1913 most presidents speak again: whoever has
# hearers points at them, with one word in twenty.
#
# ## The ruler: bits per byte
#
# How much does somebody know about a language? Shannon (1951) let people guess a text letter by letter: whoever knows more English needs fewer
# guesses. A *language model* plays that game by naming a probability for everything that could come next. When something of probability $p$ comes,
# it costs
#
# $$-\log_2 p \text{ bits}$$
#
# so that a coin toss costs one bit, one face of an eight-sided die three, and a certainty nothing. By hand: a player gave the letters of *Hi!* the
# probabilities 1/2, 1/4 and 1/8 before they came. Bits add up where probabilities multiply, so the text cost $1 + 2 + 3 = 6$ bits. Divide by its
# length as stored in a file, three bytes, and you have the ruler: 2 *bits per byte*.

# %%
costs = -np.log2([1 / 2, 1 / 4, 1 / 8])
print(costs, "->", costs.sum() / len(b"Hi!"), "bits per byte")

# %% [markdown]
# Why bytes? A later model will see whole words, another one pieces of words, and bits *per word* could not be set beside bits *per piece*. The
# bytes of the text are the same for all. A *byte* is a number from 0 to 255. *UTF-8*, the usual way to store text, writes each plain English letter
# as one of them and any other character as two, three or four. So no model that works on bytes ever meets an unknown sign.

# %%
for text in ["Union", "café", "東", "🕊"]:
    print(f"{text:6} {len(text)} characters, {len(text.encode())} bytes: {list(text.encode())}")

# %% [markdown]
# A model predicts a text unit by unit. The units are called *tokens*, the list of all kinds that there are is the *vocabulary*, and what cuts a
# text into tokens and gives each its number, its *id*, is a *tokenizer*. The class below is a *protocol*: it says which methods anything must have
# to count as a tokenizer.

# %% tags=["export"]
from collections.abc import Iterable
from typing import Protocol

import numpy as np


class AnyTokenizer(Protocol):
    """What a model asks of a tokenizer: a text as ids below `vocabulary_size`, and back; a printable name for each."""

    vocabulary_size: int

    def encode(self, text: str) -> np.ndarray: ...

    def decode(self, token_ids: Iterable[int]) -> str: ...

    def names(self) -> list[str]: ...


# %% [markdown]
# The plainest tokenizer takes each byte as a token.

# %% tags=["export"]
class ByteTokenizer:
    """A text as its UTF-8 bytes: 256 tokens, nothing unknown.

    But: it sees letters beyond ASCII as two to four tokens.
    """

    vocabulary_size = 256

    def encode(self, text: str) -> np.ndarray:
        """Token ids of a text: shape (bytes,)."""
        return np.frombuffer(text.encode("utf-8"), dtype=np.uint8).astype(np.int64)

    def decode(self, token_ids: Iterable[int]) -> str:
        """The text of some token ids; bytes that are no valid UTF-8 become the replacement character."""
        return bytes(int(token) for token in token_ids).decode("utf-8", errors="replace")

    def names(self) -> list[str]:
        """A printable name for each token, without white space."""
        return [f"<0x{byte:02X}>" for byte in range(256)]


# %% [markdown]
# The smallest model that learns anything is the *unigram* model. It knows how frequent each token is and ignores what came before. If token $t$ was
# counted $c(t)$ times among $N$ tokens, and the vocabulary holds $V$ kinds,
#
# $$P(t) = \frac{c(t) + 1}{N + V}$$
#
# The 1 keeps a token that was never seen from being impossible: an impossible event would cost infinitely many bits the day it happens. The sums
# are done with natural logarithms, as everywhere inside the book; only the ruler turns them into bits. All models of this book can do the four
# things that you see here: be fitted, score a text, score whatever could come next, and generate.

# %% tags=["export"]
class UnigramModel:
    """A language model that knows how frequent each token is, and nothing else.

    Attributes:
        tokenizer: how texts become token ids.
        log_probs: natural log-probability of each token, shape (vocabulary,).
    """

    def __init__(self, counts: np.ndarray, tokenizer: AnyTokenizer) -> None:
        """Turn counts of shape (vocabulary,) into probabilities, after adding one to each."""
        counts = np.asarray(counts, dtype=np.float64)
        if counts.shape != (tokenizer.vocabulary_size,):
            raise ValueError(f"got counts of shape {counts.shape}, expected ({tokenizer.vocabulary_size},)")
        if not (np.isfinite(counts).all() and (counts >= 0).all()):
            raise ValueError("got a count that is negative or not finite; counts say how often each token was seen")
        self.tokenizer = tokenizer
        self.log_probs = np.log((counts + 1) / (counts.sum() + len(counts)))

    @classmethod
    def fit(cls, text: str, tokenizer: AnyTokenizer | None = None) -> "UnigramModel":
        """Count the tokens of a training text; without a tokenizer, its bytes."""
        tokenizer = tokenizer or ByteTokenizer()
        return cls(np.bincount(tokenizer.encode(text), minlength=tokenizer.vocabulary_size), tokenizer)

    @property
    def num_parameters(self) -> int:
        """How many numbers the model has learned: one for each token."""
        return len(self.log_probs)

    def token_log_probs(self, text: str, context: str = "") -> np.ndarray:
        """Natural log-probability of each token of a text, shape (tokens,); the context changes nothing."""
        return self.log_probs[self.tokenizer.encode(text)]

    def next_token_log_probs(self, context: str = "") -> np.ndarray:
        """Natural log-probabilities of the next token, shape (vocabulary,): the same after any context."""
        return self.log_probs.copy()

    def generate(self, num_tokens: int, context: str = "", *, temperature: float = 1.0, seed: int = 0) -> str:
        """Draw tokens one by one; a temperature below 1 favours the probable ones, 0 takes the most probable each time.

        Raises:
            ValueError: if the temperature is negative.
        """
        if not temperature >= 0:
            raise ValueError(f"got temperature {temperature}; it must be 0 (always the most probable token) or more")
        if temperature == 0:
            return self.tokenizer.decode([int(self.log_probs.argmax())] * num_tokens)
        weights = np.exp((self.log_probs - self.log_probs.max()) / temperature)
        drawn = np.random.default_rng(seed).choice(len(weights), num_tokens, p=weights / weights.sum())
        return self.tokenizer.decode(drawn)


# %% [markdown]
# Give it no counts at all, and every byte gets probability 1/256: the *uniform* model, which knows nothing. It needs $\log_2 256 = 8$ bits for each
# byte, which is what the text takes on your disk. Then let it count the training text, and write.

# %%
byte_tokenizer = ByteTokenizer()
uniform = UnigramModel(np.zeros(256), byte_tokenizer)
unigram = UnigramModel.fit(train_text)
for name, model in {"uniform": uniform, "unigram": unigram}.items():
    print(f"{name}: {ruler.bits_per_byte(model, test_text):.3f} bits per byte")
print(repr(unigram.generate(70, seed=1)))

# %% [markdown]
# Counting letters takes off nearly half of the bits, and what the model writes looks like a dropped tray of type. The ruler charges for each byte
# separately, so you can watch where the bits go. Which letters of the next sentence are dear?

# %%
sentence = "The Union is stronger than ever, Quebec."
letter_bits = -unigram.token_log_probs(sentence) / np.log(2)
fig, ax = plt.subplots(figsize=(8, 2.8))
ax.bar(range(len(letter_bits)), letter_bits, color=figures.COLOURS[0])
ax.axhline(letter_bits.mean(), color="0.35", linestyle="--", marker="")
ax.set_xticks(range(len(letter_bits)), [letter.replace(" ", "␣") for letter in sentence])
ax.set(title=f"What does each letter cost? (mean: {letter_bits.mean():.2f} bits)", xlabel="letter", ylabel="bits")
figures.show(
    fig,
    alt="Bars over the letters of a sentence: spaces and e cost about three bits, common letters four, T nine, U "
    "ten and Q sixteen.",
)

# %% [markdown]
# Spaces and *e* are cheap; the *Q* is as surprising as sixteen coin tosses that all come up heads. The *u* after it costs as much as any other *u*,
# although you knew that it would come. That is what the next models have to learn.
#
# The mean cost of a source that really draws tokens with probabilities $p$ is its *entropy*, $H(p) = -\sum_t p(t) \log_2 p(t)$. No model can do
# better on average on such a source. When the model's $q$ is not the truth, it pays the *cross-entropy* $-\sum_t p(t) \log_2 q(t)$, always at least
# as much. The ruler measures cross-entropy: $p$ is the test text, $q$ what was learned from the training text.

# %%
counted = np.bincount(byte_tokenizer.encode(test_text), minlength=256)
p = counted[counted > 0] / counted.sum()
q = np.exp(unigram.log_probs)[counted > 0]
print(f"entropy of the test text's own letters {-(p * np.log2(p)).sum():.3f} bits")
print(f"cross-entropy {-(p * np.log2(q)).sum():.3f} bits")

# %% [markdown]
# The difference is small: presidents of all times use letters alike. From here on only context can help.
#
# ## Probes: one question at a time
#
# Bits per byte say *how much* a model knows, but leave open *what*. To find out, ask about one thing at a time. A *minimal pair* is two sentences
# that differ in that one thing, and only one of them is good English. A model that knows the thing finds the good one more probable (Linzen, Dupoux
# and Goldberg, 2016; Warstadt et al., 2020). Here is one question, asked of the unigram model; it compares the log-probabilities of the two
# sentences.

# %%
pair = probes.Pair("phonetics", "article", "It was an honor.", "It was a honor.", "by hand")
for half in (pair.better, pair.worse):
    print(f"{half:18} {ruler.log_prob(unigram, half) / np.log(2):.2f} bits")
print(f"score: {probes.score(unigram, [pair])[0].accuracy}")


# %% [markdown]
# It prefers the bad half, because it is one letter shorter. One question is no test: a coin gets half of them right. So the book has more than a
# thousand, in five features, and they are *balanced*. Wherever possible the wrong word of one pair is the right one of another, and the good half
# is as often the longer one as the shorter, so that only knowing how things go *together* helps. How far above 50 % must a score be? With 200
# pairs, luck alone stays between 43 and 57 % nineteen times in twenty. The first cell below shows pairs, and waits for the ends of the five
# sections; the second asks all of them.

# %%
def three_probes(feature: str) -> None:
    """Show one pair of each of three phenomena of a feature."""
    chosen = probes.pairs(feature)
    phenomena = list(dict.fromkeys(pair.phenomenon for pair in chosen))
    print(f"{feature}: {len(chosen)} pairs in {len(phenomena)} phenomena, such as")
    for phenomenon in phenomena[:: max(1, len(phenomena) // 3)][:3]:
        pair = next(pair for pair in chosen if pair.phenomenon == phenomenon)
        print(f"  {phenomenon}\n    good: {pair.better}\n    odd:  {pair.worse}")


# %%
by_letters = {score.feature: score for score in probes.score(unigram) if score.phenomenon is None}
for feature, score in by_letters.items():
    low, high = score.interval
    print(f"{feature:10} {score.total} pairs: {score.accuracy:.0%} (95 % interval {low:.0%} to {high:.0%})")

# %% [markdown]
# The unigram model knows nothing about any of the five, and the probes say so. Now take the features one by one. Each ends with three of its
# probes.

# %% [markdown]
# ## Phonetics: what a language sounds like
#
# *Phonetics* studies the sounds of speech, *phonology* how a language uses them (Ladefoged and Johnson, 2014). The unit is the *phoneme*: a sound
# that can make a difference between two words of the language. Signed languages have phonology as well, with hand shapes, places and movements for
# units (Stokoe, 1960); the source makes the point, and it is right.
#
# Text has no sound, so you need a dictionary. The CMU Pronouncing Dictionary writes American English in 39 phonemes, in an alphabet called
# *ARPAbet*. Vowels carry a digit for *stress*: 1 for the main one, 2 for a secondary one, 0 for none. Here is one spelling; how many sounds does it
# have?

# %%
pronunciations = corpus.pronunciations()
phonemes = {phoneme.rstrip("012") for variants in pronunciations.values() for v in variants for phoneme in v}
print(f"{len(pronunciations):,} words, {len(phonemes)} phonemes")
for word in ["tough", "though", "through", "cough", "bough", "thorough"]:
    print(f"{word:9}", "   or   ".join(" ".join(variant) for variant in pronunciations[word]))

# %% [markdown]
# Six words that end in *-ough*, and five ways to say it; *though* and *thorough* agree at least in the vowel.
#
# ### Rhymes
#
# Two words *rhyme* (perfectly) if they sound the same from the last main stress to the end, and differ in the sound just before it. So *light*
# rhymes with *night*, but not with *delight*, where the *l* is the same too, and not with *lite*, where everything is. First the part that counts:

# %% tags=["export"]
from collections.abc import Mapping, Sequence


def rhyming_part(pronunciation: Sequence[str]) -> tuple[str, tuple[str, ...]] | None:
    """Split off what counts in a rhyme: the sound before the last main stress, and all from its vowel on.

    Args:
        pronunciation: ARPAbet phonemes; vowels end in a stress digit, 1 for the main stress.

    Returns:
        The phoneme before the vowel ("" if the word begins with it) and the phonemes from it on, without stress digits;
        without main stress the last vowel takes its place, and without any vowel there is nothing to rhyme: None.
    """
    vowels = [place for place, phoneme in enumerate(pronunciation) if phoneme[-1].isdigit()]
    if not vowels:
        return None
    stressed = [place for place in vowels if pronunciation[place].endswith("1")] or vowels
    sounds = tuple(phoneme.rstrip("012") for phoneme in pronunciation)
    return (sounds[stressed[-1] - 1] if stressed[-1] else "", sounds[stressed[-1] :])


# %% [markdown]
# Then look for words that agree in it and differ before it. In the output, watch the spellings: no letter decides.

# %% tags=["export"]
def rhymes(word: str, pronunciations: Mapping[str, Sequence[Sequence[str]]]) -> list[str]:
    """All words that rhyme perfectly with a word, in any of their pronunciations, in alphabetical order.

    Args:
        word: a word in lower case; one that the dictionary lacks has no rhymes.
        pronunciations: word -> its pronunciations in ARPAbet, as `corpus.pronunciations()` gives them.
    """
    wanted = [part for pronunciation in pronunciations.get(word, ()) if (part := rhyming_part(pronunciation))]
    found = set()
    for other, variants in pronunciations.items():
        for part in map(rhyming_part, variants):
            if part and any(part[1] == rhyme and part[0] != onset for onset, rhyme in wanted):
                found.add(other)
    return sorted(found - {word})


# %%
word_counts = Counter(words(train_text))
spoken = {word: variants for word, variants in pronunciations.items() if word in word_counts}
for word in ["enough", "war", "nation", "union", "liberty", "president"]:
    found = rhymes(word, spoken)
    print(f"{word:10} {len(found):4}", ", ".join(sorted(found, key=word_counts.get, reverse=True)[:8]))


# %% [markdown]
# *Enough* rhymes with *stuff*, *nation* with hundreds of the presidents' words, *liberty* with none. A *suffix* (an ending such as *-ation*) that
# draws the stress to itself is a rhyming machine, a first sight of morphology.
#
# ### Rhythm
#
# No letter shows stress. Take it from the dictionary, and the rhythm comes back. Shakespeare's verse is said to alternate weak and strong
# syllables, ten to the line. Take his lines of ten syllables, set beside them clauses of ten syllables from the presidents' prose, and look how
# often each syllable bears the main stress of its word. (The dictionary stresses most words of one syllable, which lifts both curves.)

# %%
def stresses(text: str) -> list[bool]:
    """For each syllable, whether it bears main stress; nothing if a word is not in the dictionary."""
    spelled = words(text)
    if not all(word in pronunciations for word in spelled):
        return []
    return [p[-1] == "1" for word in spelled for p in pronunciations[word][0] if p[-1].isdigit()]


# %%
verse = "\n".join(corpus.shakespeare().values()).splitlines()
prose = re.split(r"(?<=[.,;:!?])\s+", train_text)
rhythm = {}
for name, parts in [("Shakespeare's lines", verse), ("presidents' clauses", prose)]:
    rhythm[name] = np.array([syllables for part in parts if len(syllables := stresses(part)) == 10])
    print(f"{name:20} {len(rhythm[name]):,} with ten syllables")

# %%
fig, ax = plt.subplots()
for name, lines in rhythm.items():
    ax.plot(range(1, 11), lines.mean(axis=0), label=name)
ax.set_xticks(range(1, 11))
ax.set(title="Does the dictionary hear the verse?", xlabel="syllable of the line", ylabel="share with main stress")
ax.set_ylim(0, 1)
ax.legend(loc="lower right")
figures.show(
    fig,
    alt="Share of stressed syllables at places 1 to 10. Shakespeare's lines zigzag between about one half at odd "
    "and nine tenths at even places from the third on; the presidents' clauses stay near one half.",
)


# %% [markdown]
# From the third syllable on the verse swings between one half and nine tenths, and the prose does not swing at all.
#
# ### *A* or *an*: sound in the spelling
#
# One rule of English spelling does depend on sound: *an* before a vowel *sound*, *a* before any other. By spelling you would write *an union* and
# *a hour*. Which is the better rule for what presidents wrote?

# %% tags=["export"]
def indefinite_article(word: str, pronunciations: Mapping[str, Sequence[Sequence[str]]]) -> str:
    """*a* or *an*, whichever the first sound of the word asks for.

    Args:
        word: the word after the article, in any case.
        pronunciations: lower-case word -> its pronunciations in ARPAbet, the first one decides; a word that the
            dictionary lacks is judged by its first letter.

    Raises:
        ValueError: if the word is empty.
    """
    if not word:
        raise ValueError("got an empty word; pass the word that follows the article")
    variants = pronunciations.get(word.lower())
    vowel = variants[0][0][-1].isdigit() if variants else word[0].lower() in "aeiou"
    return "an" if vowel else "a"


# %%
article_and_word = re.compile(r"\b([Aa]n?) ([A-Za-z]+)\b")
used = [(a.year, m[1].lower(), m[2].lower()) for a in addresses for m in article_and_word.finditer(a.text)]
by_spelling = np.mean([article == indefinite_article(word, {}) for _, article, word in used])
by_ear = np.mean([article == indefinite_article(word, pronunciations) for _, article, word in used])
print(f"{len(used):,} articles: right by spelling {by_spelling:.2%}, by sound {by_ear:.2%}")
unlike = [f"{article} {word}" for _, article, word in used if article != indefinite_article(word, pronunciations)]
print("left over:", ", ".join(f"{phrase} ({count})" for phrase, count in Counter(unlike).most_common(6)))

# %% [markdown]
# Both rules look good, since few words spell one kind of sound with the other kind of letter. Count errors instead: sound makes a quarter of those
# that spelling makes. And what is left is no noise: *an historic* and *an uniform* come up again and again. When?

# %%
fig, ax = plt.subplots()
for stem in ["uniform", "historic"]:
    found = [(year // 20 * 20 + 10, article == "an") for year, article, word in used if word.startswith(stem)]
    spans = sorted({span for span, _ in found})
    shares = [100 * np.mean([an for other, an in found if other == span]) for span in spans]
    ax.plot(spans, shares, label=f"before {stem}…")
ax.set(title="When do presidents write “an”?", xlabel="year (middle of twenty years)", ylabel="an, not a (%)")
ax.legend()
figures.show(
    fig,
    alt="Share of an by twenty years. Before uniform it is 60 to 100 percent until 1830 and below 20 from 1850 "
    "on; before historic it is zero until 1910, then near 100, and falls to 67 percent after 2000.",
)

# %% [markdown]
# One habit died around 1840, another was born after 1910. (Some points rest on very few cases.) *An* before *uniform* is probably older than the
# *y* sound with which the word begins today. In *historic* the stress is on the second syllable, and English weakens an *h* that has no stress. The
# letters remember a sound that is gone, or a weak one; a dictionary of today's American English knows neither.
#
# ### What text loses, and what it keeps
#
# *Homophones* sound alike and are spelled apart: *their* and *there*. Here text knows more than the ear. *Heteronyms* are spelled alike and sound
# apart: *record*, which as a noun is stressed in front and as a verb at the end. Here the ear knows more. Count both in the training text, the
# homophones first, with the entropy of the spelling given the sound: what an ideal guesser who hears the word would still have to pay for its
# letters.

# %%
frequency = {word: word_counts[word] for word in spoken}
total = sum(frequency.values())
by_sound = {}
for word, variants in spoken.items():
    by_sound.setdefault(variants[0], []).append(word)
shared = [sorted(alike, key=frequency.get, reverse=True) for alike in by_sound.values() if len(alike) > 1]
shared.sort(key=lambda alike: frequency[alike[1]], reverse=True)
homophones = sum(frequency[word] for alike in shared for word in alike) / total
spelling_bits = 0
for alike in shared:
    share = np.array([frequency[word] for word in alike]) / sum(frequency[word] for word in alike)
    spelling_bits -= sum(frequency[word] for word in alike) / total * share @ np.log2(share)
print(f"{homophones:.1%} of the words have a homophone, such as", ", ".join("/".join(alike) for alike in shared[:6]))
print(f"but the spelling tells only {spelling_bits:.3f} bits a word to somebody who heard it")


# %% [markdown]
# Nearly one word in six has a homophone, yet little depends on it, because one of the spellings is nearly always far more frequent: somebody who
# hears the sound of *to* and writes *to* is nearly always right. Now the other direction, words whose main stress may sit in two places.

# %%
def main_stresses(word: str) -> set[int]:
    """Numbers of the syllables that may bear the main stress of a word of two syllables or more."""
    stress = ["".join(p[-1] for p in variant if p[-1].isdigit()) for variant in spoken[word]]
    return {digits.index("1") for digits in stress if "1" in digits and len(digits) == len(stress[0]) > 1}


# %%
moving = sorted((word for word in spoken if len(main_stresses(word)) > 1), key=frequency.get, reverse=True)
moving_share = sum(map(frequency.get, moving)) / total
print(f"{moving_share:.1%} of the words may be stressed in two places:", ", ".join(moving[:14]))

# %% [markdown]
# *Subject*, *increase* and *object* are nouns with the stress in front and verbs with it at the end (others, such as *into*, are only said in two
# ways). Word by word, then, little is lost in either direction. What text throws away entirely is what no dictionary holds: melody, pauses, speed,
# the voice that says whether *great* is meant.
#
# In a language system sound belongs to the speech recogniser and the synthesiser at the two ends. A model of text in between must learn the traces
# of sound in spelling: *an hour*, *churches*, a rhyme. Those are the phonetic probes. The source's fourth claim follows.

# %%
three_probes("phonetics")

# %%
even, odd = (rhythm["Shakespeare's lines"].mean(axis=0)[start::2].mean() for start in (1, 2))
claims.verdict(
    4,
    "Phonetics carries meaning that text throws away.",
    f"Of whole words text loses little: {moving_share:.1%} of the words have a second reading by stress, "
    f"while {homophones:.0%} are told apart by spelling alone ({spelling_bits:.3f} bits a word). "
    f"Rhythm is lost in letters but comes back from a dictionary: {even:.0%} of the even syllables of Shakespeare's "
    f"lines bear stress, {odd:.0%} of the odd ones after the first. "
    "Melody and tone of voice are gone, and so cannot be measured here.",
    "holds in part",
)

# %% [markdown]
# ## Morphology: words have parts
#
# *Unfriendliness* is one word, and you understand it even if you have never met it, because you know *un-*, *friend*, *-ly* and *-ness*. A
# *morpheme* is the smallest meaningful part of a linguistic expression (Haspelmath and Sims, 2010); in Bloomfield's stricter words (1933), a form
# that bears no partial resemblance, in sound and in meaning, to any other. The stretch of sounds or letters that carries it is a *morph*.
# *Morphology* studies how morphemes build words.
#
# Some are *free* and can be words (*friend*), others are *bound* (*un-*, *-s*). *Inflection* gives a word the form that its sentence asks for
# (*nations*); *derivation* makes another word (*national*); *compounding* joins two words (*railroad*). The book brings a list of words, cut by
# hand. Look at what is left whole, and ask yourself why.

# %%
morphemes = corpus.morphemes()
print(len(morphemes), "words,", sum(len(morphs) == 1 for morphs in morphemes.values()), "of them with one morph only")
for word in "governments unfriendliness nationality taxpayers treaties nation finger receive men".split():
    print(f"{word:15}", "-".join(morphemes[word]))

# %% [markdown]
# *Finger* contains *-er* only for the eye: nothing fings. *Nation* meets no *nat-* of the same meaning today, and *-ceive* means nothing to a
# speaker who has no Latin, so the list leaves both whole. Linguists disagree about such cases; the list keeps one rule throughout
# (`help(corpus.morphemes)` states it). And *men* is plural without a suffix: not every morpheme is a stretch of letters.
#
# ### One plural, three sounds
#
# The plural of *nation* is written with *s*. Is it spoken with one? Take all pairs of words of the training text where one is the other plus *-s*
# or *-es*, and look in the CMU dictionary what was added, after which sound. (Verbs such as *runs* come along; their *-s* follows the same rule.)
# Say a few plurals aloud before you look.

# %%
ENDINGS = {("S",): "s", ("Z",): "z", ("IH0", "Z"): "ɪz", ("AH0", "Z"): "ɪz"}
added = Counter()
for plural in word_counts:
    stems = {plural.removesuffix("s"), plural.removesuffix("es"), re.sub("ies$", "y", plural)} - {plural}
    for stem in sorted(stems & word_counts.keys() & pronunciations.keys()):
        sounds = pronunciations[stem][0]
        longer = [variant for variant in pronunciations.get(plural, ()) if variant[: len(sounds)] == sounds]
        endings = {ENDINGS.get(variant[len(sounds) :]) for variant in longer}
        added.update((sounds[-1].rstrip("012"), ending) for ending in endings if ending)
print(f"{added.total():,} pairs, {len({sound for sound, _ in added})} final sounds")

# %%
last_sounds = sorted({sound for sound, _ in added}, key=lambda sound: (-added[sound, "ɪz"], -added[sound, "s"], sound))
table = np.array([[added[sound, ending] for sound in last_sounds] for ending in ["ɪz", "s", "z"]])
fig, ax = plt.subplots(figsize=(10, 2.4))
ax.imshow(table / table.sum(axis=0), cmap="Greys", vmax=2.6, aspect="auto")
for row, column in np.argwhere(table):
    ax.text(column, row, table[row, column], ha="center", va="center", fontsize=8)
ax.set_xticks(range(len(last_sounds)), last_sounds, fontsize=8)
ax.set_yticks(range(3), ["/ɪz/", "/s/", "/z/"])
ax.grid(False)
ax.set(title="Which plural follows which sound?", xlabel="last sound of the stem (ARPAbet)", ylabel="ending")
figures.show(
    fig,
    alt="Table of three endings by last sound, with the numbers of pairs. Hissing sounds always take iz, P, T, "
    "K, F and TH always take s, and all others take z but for four pairs.",
)


# %% [markdown]
# Almost every column has one grey cell. After a hissing sound (*sibilant*: S, Z, SH, ZH, CH, JH) the plural is /ɪz/; after other voiceless sounds
# (P, T, K, F, TH) it is /s/; after all the rest, vowels included, /z/. Four strays remain, odd entries of the dictionary and Spanish words such as
# *rios*. One morpheme, three *allomorphs*, chosen by sound. The letter *s* hides the difference, so a model of text never has to learn it, and one
# that speaks must.
#
# ### A rule is more than a list
#
# Maybe speakers remember 3,000 plurals one by one? Berko (1958) showed children a bird-like creature. *This is a wug. Now there is another one.
# There are two of them. There are two ...* They had never heard the word, and most of them said /wʌgz/. A rule that makes new words is
# *productive*. Ours takes three lines, and knows no words at all. Try it on words of Berko's.

# %%
def plural_ending(pronunciation: tuple[str, ...]) -> str:
    """The allomorph of the plural that follows a word's last sound."""
    if pronunciation[-1] in {"S", "Z", "SH", "ZH", "CH", "JH"}:
        return "ɪz"
    return "s" if pronunciation[-1] in {"P", "T", "K", "F", "TH"} else "z"


# %%
new_words = {"wug": "W AH1 G", "gutch": "G AH1 CH", "kazh": "K AE1 ZH", "tass": "T AE1 S"}
new_words |= {"tor": "T AO1 R", "cra": "K R AA1", "heaf": "HH IY1 F"}
print("  ".join(f"{word} /{plural_ending(tuple(sounds.split()))}/" for word, sounds in new_words.items()))
right = sum(count for (sound, ending), count in added.items() if plural_ending((sound,)) == ending)
print(f"and {right:,} of the {added.total():,} pairs of the corpus")

# %% [markdown]
# *Gutch*, *kazh* and *tass* need /ɪz/; those were the hardest for the children, who often left them as they were.
#
# Not every pattern is equally alive. You can make *-ness* words on the spot, but who has lately made one with *-ment*? Baayen (1992) counts this. A
# word that occurs once in a large corpus, a *hapax legomenon* (Greek: said once), is often one that its writer made instead of remembering it. So
# take all $N$ running words with a suffix, count how many of them are hapaxes, $V_1$, and the *productivity* is $P = V_1 / N$: how likely the next
# word with the suffix is a new one. The last column asks the same of 1,000 words drawn from the $N$.

# %%
rng = np.random.default_rng(0)
for suffix in ["ness", "able", "ship", "ly", "ity", "ation", "ment"]:
    family = {w: count for w, count in word_counts.items() if w.endswith(suffix) and len(w) > len(suffix) + 2}
    running, once = sum(family.values()), sorted(word for word, count in family.items() if count == 1)
    draws = rng.multivariate_hypergeometric(list(family.values()), 1000, size=200)
    among = (draws == 1).mean(axis=0).sum() / 1000
    print(f"-{suffix:6} N {running:6,}  V1 {len(once):3}  P {len(once) / running:.1%}", end="")
    print(f"  among 1,000 {among:5.1%}   {', '.join(once[3:60:15])}")

# %% [markdown]
# Read the column $P$ first. *-ness* stands at the top, nine times as productive as *-ment*, whose *government* and its like are old coins, and four
# times as productive as its rival *-ity*. But $P$ falls as $N$ grows, since ever more of the words have been met before, and $N$ differs
# eighteenfold. So the last column gives each suffix an equal $N$, as Gaeta and Ricca (2006) advise. Now *-ly* leads, *-ness* is only a little ahead
# of *-ity*, and *-ation* is ahead of both. The two columns answer different questions: how often *this corpus* would meet a new word next, and how
# often a writer does who has used each suffix equally often. (Endings were matched by letters, so *business* is counted along.)
#
# ### Morphs without a teacher
#
# Can you find the cuts without knowing the language? Harris (1955) had an idea that comes back all through this book: inside a unit the next sound
# is easy to guess, at its end it is not. He worked with phonemes; letters will do. After *governme* there is no choice but *n*. After *govern* may
# come *-or*, *-ed*, *-ing*, *-s*, or the end. So count: the *successor variety* after the first letters of a word is the number of different
# letters that follow them in a list of words, the end of the word counted as one more.

# %% tags=["export"]
from collections.abc import Iterable, Mapping, Sequence


def successor_variety(word: str, vocabulary: Iterable[str]) -> list[int]:
    """In how many ways the vocabulary goes on after each beginning of a word (Harris, 1955; Hafer and Weiss, 1974).

    Args:
        word: n letters.
        vocabulary: words; how often one is repeated changes nothing.

    Returns:
        n numbers; the one at index i counts the different letters that follow the first i + 1 letters of the word in
        those words of the vocabulary that begin with them, the end of a word counted as one more letter.

    Raises:
        TypeError: if the vocabulary is one string.
    """
    if isinstance(vocabulary, str):
        raise TypeError("got a string as vocabulary, expected words; pass a list of words, or text.split()")
    variety = []
    candidates = set(vocabulary)
    for length in range(1, len(word) + 1):
        candidates = {candidate for candidate in candidates if candidate.startswith(word[:length])}
        variety.append(len({candidate[length : length + 1] for candidate in candidates}))  # "" is the end
    return variety


# %% [markdown]
# By hand, with the six words below: after *r* come *e* and *o*; after *re*, *a* and *d*; after *rea* only *d*; after *read* the end, *s*, *e* and
# *y*, four ways to go on; after *reads* only the end. You should meet the same five numbers.

# %%
print(successor_variety("reads", ["read", "reads", "reader", "ready", "red", "rope"]))

# %% [markdown]
# The peak is where you would cut. Read from the right instead (turn all words round), and the same count says where a suffix begins. Here are both
# for a word with three morphs, with all 23,622 words of the training text as vocabulary.

# %%
word = "governments"
forwards = successor_variety(word, word_counts)
backwards = successor_variety(word[::-1], [known[::-1] for known in word_counts])[::-1]
fig, ax = plt.subplots(figsize=(7, 3.4))
for cut in np.cumsum([len(morph) for morph in morphemes[word][:-1]]):
    ax.axvline(cut, color="0.75", linewidth=6, zorder=0)
ax.plot(range(1, len(word) + 1), forwards, label="read from the left (successors)")
ax.plot(range(len(word)), backwards, label="read from the right (predecessors)")
ax.set_xticks(np.arange(len(word)) + 0.5, list(word))
ax.set(title="Where is the next letter hard to guess?", xlabel="letters (grey: the cuts of the list)")
ax.set_ylabel("ways to go on")
ax.legend(loc="upper left", bbox_to_anchor=(0.1, 1))
figures.show(
    fig,
    alt="Successor and predecessor variety between the letters of governments. Both have a peak between govern "
    "and ment and rise again between ment and s; the left curve is also high after the first letters, the "
    "right one before the last.",
)

# %% [markdown]
# Two grey bars, and at both of them both curves rise. The first letters spoil the left curve, where everything is possible, and the last ones the
# right. So believe a cut only if both agree. Ours is close to one of fifteen rules that Hafer and Weiss (1974) tried. A *peak* is more than the
# value before it, and not less than the one after it.

# %% tags=["export"]
from itertools import pairwise


def segment_by_successors(word: str, vocabulary: Iterable[str], both_ways: bool = True) -> tuple[str, ...]:
    """Cut a word where the variety of what may follow has a peak (after Hafer and Weiss, 1974).

    Args:
        word: the word to cut.
        vocabulary: words of the language.
        both_ways: cut only where the variety has a peak when read from the right as well.
    """
    known = set(vocabulary)
    cuts = _peaks(successor_variety(word, known))
    if both_ways:
        same_end = (other[::-1] for other in known if other.endswith(word[-1:]))  # no other word could matter
        from_right = _peaks(successor_variety(word[::-1], same_end))
        cuts &= {len(word) - cut for cut in from_right}
    ends = [0, *sorted(cuts), len(word)]
    return tuple(word[start:end] for start, end in pairwise(ends))


# %% tags=["export"]
def _peaks(variety: Sequence[int]) -> set[int]:
    """Numbers of letters after which the variety is larger than before, and then does not grow."""
    padded = [0, *variety]  # padded[n] is the variety after n letters
    return {n for n in range(1, len(variety)) if padded[n - 1] < padded[n] >= padded[n + 1]}


# %% [markdown]
# How good are the cuts? The score looks at the places between two letters. *Precision* $P$ is the share of your cuts that are right, *recall* $R$
# the share of right cuts that you made, and $F_1 = 2PR / (P + R)$ their harmonic mean, which is high only if both are.

# %% tags=["export"]
def boundary_scores(
    predicted: Mapping[str, Sequence[str]], reference: Mapping[str, Sequence[str]]
) -> tuple[float, float, float]:
    """Precision, recall and F1 of predicted cuts inside words, all words of the reference taken together.

    Args:
        predicted: word -> its parts, for every word of the reference at least.
        reference: word -> its morphs.

    Returns:
        The share of predicted cuts that are right (0 if there are none), the share of right cuts that were predicted
        (0 if there are none), and their harmonic mean.

    Raises:
        ValueError: if a word is missing, or its parts do not join to it.
    """
    hits = cuts = wanted = 0
    for word, morphs in reference.items():
        if word not in predicted:
            raise ValueError(f"no parts were predicted for {word!r}; give all words of the reference")
        found, right = _cuts(word, predicted[word]), _cuts(word, morphs)
        hits, cuts, wanted = hits + len(found & right), cuts + len(found), wanted + len(right)
    precision, recall = hits / max(cuts, 1), hits / max(wanted, 1)
    return precision, recall, 2 * hits / max(cuts + wanted, 1)


# %% tags=["export"]
def _cuts(word: str, parts: Sequence[str]) -> set[int]:
    if "".join(parts) != word:
        raise ValueError(f"the parts {list(parts)} do not join to {word!r}; they must cover it, in order")
    return {sum(map(len, parts[:n])) for n in range(1, len(parts))} - {0, len(word)}


# %% [markdown]
# Three blind rules show what the numbers are worth: never cut, always cut, and cut at random as often as the rule that reads both ways. The last
# row is a rule that uses words instead of letters: cut after each beginning that is itself a word, of three letters or more. The cell takes some
# ten seconds.

# %%
def cut_at(word: str, cuts: Iterable[int]) -> list[str]:
    """The parts of a word between some cuts."""
    ends = [0, *cuts, len(word)]
    return [word[start:end] for start, end in pairwise(ends)]


# %%
segmented = {word: segment_by_successors(word, word_counts) for word in morphemes}
rate = sum(len(parts) - 1 for parts in segmented.values()) / sum(len(word) - 1 for word in morphemes)
rng = np.random.default_rng(0)
ways_to_cut = {
    "never cut": lambda word: [word],
    "always cut": list,
    "cut at random": lambda word: cut_at(word, np.flatnonzero(rng.random(len(word) - 1) < rate) + 1),
    "successors": lambda word: segment_by_successors(word, word_counts, both_ways=False),
    "both ways": segmented.get,
    "whole words": lambda word: cut_at(word, [n for n in range(3, len(word)) if word[:n] in word_counts]),
}
segmenters = {name: {word: way(word) for word in morphemes} for name, way in ways_to_cut.items()}
for name, parts in segmenters.items():
    precision, recall, f1 = boundary_scores(parts, morphemes)
    spared = np.mean([len(parts[word]) == 1 for word, morphs in morphemes.items() if len(morphs) == 1])
    print(f"{name:14} precision {precision:.2f}  recall {recall:.2f}  F1 {f1:.2f}  lone morphs left whole {spared:.0%}")
shown = ["governments", "citizenship", "interstate", "nationalist", "railroad", "lesson", "republic", "king"]
print("both ways: ", ", ".join("-".join(segmented[word]) for word in shown))


# %% [markdown]
# Seven cuts in ten are right, five times what chance would give, from nothing but a list of words. But nearly two cuts in three are missed, and
# *less-on*, *re-public* and *k-ing* show the price: letters that often are a morph, and are none here. Whole words do better ($F_1$ 0.65), since
# every stem that stands alone has been seen standing alone. Yet they cut half of the words that have nothing to cut. The tokens of a GPT will be
# measured by the same numbers.
#
# ### How many words are there?
#
# If words are built from parts, there is no last word. Does the corpus show it? Sort the words by how often they occur; the most frequent has
# *rank* 1. Zipf (1935, 1949) found that frequency times rank stays roughly the same: $f(r) \approx C\,r^{-\alpha}$, with $\alpha$ near 1. Such a
# *power law* is a straight line when both axes are logarithmic, because $\ln f = \ln C - \alpha \ln r$; so a line fitted to the logarithms, by
# least squares, finds both numbers. By hand: counts 12, 6, 4, 3 are $12 / r$, so $\alpha = 1$.

# %% tags=["export"]
def fit_power_law(x: Iterable[float], y: Iterable[float]) -> tuple[float, float]:
    """Fit y = constant * x ** exponent by least squares on the logarithms of both.

    Args:
        x: n positive numbers, at least two of them different.
        y: n positive numbers.

    Returns:
        The exponent and the constant.

    Raises:
        ValueError: if the lengths differ, a number is not positive and finite, or x does not vary.
    """
    x, y = (np.asarray(list(values), dtype=np.float64) for values in (x, y))
    if x.shape != y.shape or len(x) < 2 or x.min() == x.max():
        raise ValueError(f"got {len(x)} and {len(y)} numbers, expected equally many, at least two, not all x the same")
    if not (np.isfinite(x).all() and np.isfinite(y).all() and x.min() > 0 and y.min() > 0):
        raise ValueError("got a number that is not positive and finite, which has no logarithm; leave it out")
    log_x, log_y = np.log(x), np.log(y)
    centred = log_x - log_x.mean()
    exponent = float(centred @ (log_y - log_y.mean()) / (centred @ centred))
    return exponent, float(np.exp(log_y.mean() - exponent * log_x.mean()))


# %% tags=["export"]
def zipf_exponent(counts: Iterable[int]) -> float:
    """How steeply frequency falls with rank: alpha in count = C / rank ** alpha, fitted to all ranks (Zipf, 1949).

    Args:
        counts: how often each word occurs, in any order; zeros are ignored.

    Raises:
        ValueError: if fewer than two counts are above zero, or one is below.
    """
    found = sorted((count for count in counts if count != 0), reverse=True)
    if len(found) < 2 or found[-1] < 0:
        raise ValueError(f"got {len(found)} counts other than zero; expected at least two, and none negative")
    return -fit_power_law(range(1, len(found) + 1), found)[0]


# %%
frequencies = np.sort(np.array(list(word_counts.values())))[::-1]
ranks = np.arange(1, len(frequencies) + 1)
exponent, constant = fit_power_law(ranks, frequencies)
print(f"alpha of 12, 6, 4, 3: {zipf_exponent([12, 6, 4, 3]):.2f}")
print(f"alpha of the first thousand words: {zipf_exponent(frequencies[:1000]):.2f}")
print(f"alpha of all {len(ranks):,} words: {zipf_exponent(frequencies):.2f}")
print(f"“the” occurs {frequencies[0]:,} times in {frequencies.sum():,} words; the line through all wants {constant:,.0f}")


# %% [markdown]
# The first thousand words give what the textbooks promise. The line through all of them is much steeper, and absurd at the top: it wants more *the*
# than there are words. Least squares counts every rank alike, and most ranks belong to rare words. Mandelbrot (1953) added an offset:
# $f(r) = C\,(r + b)^{-\alpha}$. For each $b$ on a grid fit the other two, and keep the best. The lower panel of the figure shows the *residuals*:
# what is there, divided by what the fit says. A perfect fit would lie on 1.

# %%
def typical_miss(fitted: np.ndarray) -> float:
    """The factor by which a fit misses the frequencies, as the root mean square of the logarithms."""
    return float(np.exp(np.sqrt(np.mean(np.log(frequencies / fitted) ** 2))))


# %%
fits = {"all ranks": constant * ranks**exponent}
low_exponent, low_constant = fit_power_law(ranks[:1000], frequencies[:1000])
fits["first 1,000 ranks"] = low_constant * ranks**low_exponent
shifted = {}
for offset in np.geomspace(1, 4000, 60):
    steepness, factor = fit_power_law(ranks + offset, frequencies)
    shifted[offset] = factor * (ranks + offset) ** steepness
best_offset = min(shifted, key=lambda offset: typical_miss(shifted[offset]))
fits["Mandelbrot's offset"] = shifted[best_offset]
print(f"best offset {best_offset:.0f}, alpha {-fit_power_law(ranks + best_offset, frequencies)[0]:.2f}")
for name, fitted in fits.items():
    print(f"{name:20} misses by a factor of {typical_miss(fitted):.2f};  says {fitted[0]:12,.0f} for rank 1")

# %%
fig, (top, bottom) = plt.subplots(2, 1, figsize=(7, 5.6), sharex=True, height_ratios=[3, 2])
top.loglog(ranks, frequencies, color="0.6", linewidth=5, label="the corpus", marker="none", linestyle="-")
for (name, fitted), line in zip(fits.items(), ["-", "--", ":"], strict=True):
    top.loglog(ranks, fitted, line, color="black", marker="none", linewidth=1.4, label=name)
    bottom.loglog(ranks, frequencies / fitted, line, color="black", marker="none", linewidth=1.4)
bottom.axhline(1, color="0.6", linewidth=4, zorder=0)
top.set(title="Is Zipf's law a straight line?", ylabel="frequency", ylim=(0.5, 1e6))
bottom.set(ylabel="corpus / fit", ylim=(0.005, 200))
fig.supxlabel("rank (1 = most frequent word)", fontsize=10)
top.legend()
figures.show(
    fig,
    alt="Frequency by rank on logarithmic axes with three fits, and the ratio of corpus to fit below. The corpus "
    "bends: the line through the first thousand ranks is far above the rare words, the line through all "
    "ranks is far above the frequent words, and Mandelbrot's curve fits from rank 100 on but is far below "
    "the most frequent words.",
)


# %% [markdown]
# Three fits, and each is wrong somewhere. The first thousand ranks stay close to their line, then frequency falls much faster than the law allows:
# two regimes, which Ferrer i Cancho and Solé (2001) describe with exponents near 1 and 2. Mandelbrot's offset cuts the typical miss of the line
# through all ranks from a factor of 1.45 to one of 1.22, and pays for it at the top: it thinks *the* a hundred times rarer than it is. *Zipf's law*
# is a good first sketch and a poor description; say over which ranks you fitted before you compare exponents.
#
# The other side of the coin is *vocabulary growth*: how many different words $V$ have you met after $N$ running words? Herdan (1960) and Heaps
# (1978) gave it a power law too, $V \approx k N^{\beta}$ with $\beta$ below 1. The addresses stand in order of time, so compare them with the same
# words shuffled. In which of the two do new words come faster at the end?

# %%
def vocabulary_growth(running: Sequence[str]) -> np.ndarray:
    """How many different words were met up to each word of a text: shape (words,)."""
    seen: set[str] = set()
    return np.array([len(seen) for word in running if seen.add(word) is None])


# %%
in_order = words(train_text)
growth = {"in order of time": vocabulary_growth(in_order)}
growth["shuffled"] = vocabulary_growth(np.random.default_rng(0).permutation(np.array(in_order, dtype=object)))
places = np.unique(np.geomspace(100, len(in_order), 150).astype(int))
heaps = {name: fit_power_law(places, met[places - 1]) for name, met in growth.items()}
for name, met in growth.items():
    beta, k = heaps[name]
    print(f"{name:20} V = {k:.1f} N^{beta:.2f};  new in the last 100,000 words: {met[-1] - met[-100_001]:,}")
first, last = (Counter(words(addresses[place].text)) for place in (0, -1))
for name, bag in [("the address of 1790", first), ("the address of 2026", last), ("training text", word_counts)]:
    only_once = sum(count == 1 for count in bag.values()) / len(bag)
    print(f"{name:20} {len(bag):6,} different words, {only_once:.0%} of them once only")

# %%
fig, (top, bottom) = plt.subplots(2, 1, figsize=(7, 5.6), sharex=True, height_ratios=[3, 2])
for (name, met), line, shade in zip(growth.items(), ["-", "--"], ["black", "0.45"], strict=True):
    beta, k = heaps[name]
    top.loglog(places, met[places - 1], line, color=shade, marker="none", label=name)
    fitted = k * places**beta
    top.loglog(places, fitted, ":", color=shade, marker="none", linewidth=1.2, label=f"fit: exponent {beta:.2f}")
    bottom.semilogx(places, met[places - 1] / fitted, line, color=shade, marker="none")
bottom.axhline(1, color="0.8", linewidth=4, zorder=0)
top.set(title="Do new words ever stop?", ylabel="different words V")
bottom.set(ylabel="corpus / fit")
fig.supxlabel("running words N", fontsize=10)
top.legend()
figures.show(
    fig,
    alt="Vocabulary size by length of text on logarithmic axes, in the order of time and shuffled, with fitted "
    "lines; below, their ratio. Both curves bend below their lines at either end; in order of time there are "
    "fewer words for most of the way, and growth at the end is faster.",
)

# %% [markdown]
# Again the line is only a sketch: both curves start steeper than their fits and end flatter, and the ratio strays from 0.6 to 1.35. The order
# matters as well. In order of time you meet fewer words most of the way, because a speech keeps to its subject; at the end you meet three times as
# many new ones, because two centuries bring new subjects.
#
# What follows for a model? Even after one and a half million words, one word in 76 is new (1,320 in 100,000). Three tenths of the vocabulary occur
# once, too rarely to learn anything about them, and half or more in a single address. No list of words is long enough. But many of the new words
# are made of old parts, *americanization*, *employability*, *impressment*. So give the model parts instead of words. Which ones, if nobody will cut
# two centuries by hand?

# %% [markdown]
# ## Tokens: the model's glasses
#
# A model never sees a letter. It sees the ids of tokens. What the cut destroys, no model gets back; what it shows, every model gets for free.
#
# There are two obvious ways to cut. *Words*: short texts, but a vocabulary without end, and no way to write a word that is not in it. *Characters*:
# few kinds, long texts, and a model that has to learn what a word is. How many characters does the training text use, and is a list of them safe?

# %%
characters = Counter(train_text)
once = sorted(character for character, count in characters.items() if count == 1)
print(f"{len(characters)} different characters; seen only once:", " ".join(once))


# %% [markdown]
# It is not: the next text may hold a character that this one does not, and Unicode defines more than 150,000. Bytes are safe: 256 of them write
# everything. They cost length: nine steps to say *president*. Better would be bytes for the rare, words for the frequent, and pieces of words in
# between.
#
# ### Byte pairs by hand
#
# *Byte-pair encoding* (BPE) gets there with one rule. Find the pair of neighbouring tokens that occurs most often, make it a new token, replace it
# everywhere, repeat. Gage (1994) invented it to compress files; Sennrich, Haddow and Birch (2016) made it the way to give words to a translation
# model; GPT-2 ran it on bytes (Radford et al., 2019). Each round, or *merge*, adds one token. Here is the whole method, slow and short.

# %%
def merge_pair(tokens: list[bytes], pair: tuple[bytes, bytes]) -> list[bytes]:
    """Replace a pair of neighbours by one token wherever it occurs, from left to right."""
    merged, i = [], 0
    while i < len(tokens):
        both = tuple(tokens[i : i + 2]) == pair
        merged.append(b"".join(pair) if both else tokens[i])
        i += 2 if both else 1
    return merged


def slow_bpe(word_counts: list[tuple[str, int]], num_merges: int) -> list[tuple[bytes, bytes]]:
    """Learn merges by counting every pair of every word again after each merge."""
    cut = [([bytes([byte]) for byte in word.encode()], count) for word, count in word_counts]
    merges = []
    for _ in range(num_merges):
        pairs = Counter()
        for tokens, count in cut:
            for pair in zip(tokens, tokens[1:]):
                pairs[pair] += count
        merges.append(max(pairs, key=pairs.get))
        cut = [(merge_pair(tokens, merges[-1]), count) for tokens, count in cut]
    return merges


# %% [markdown]
# Five words, each with how often it occurs. Which two letters stand side by side most often?

# %%
toy_counts = [(" state", 5), (" states", 3), (" stated", 1), (" unite", 2), (" united", 4)]
toy_merges = slow_bpe(toy_counts, 9)
for first, second in toy_merges:
    print(f"{first.decode():>6} + {second.decode():6} -> {(first + second).decode()!r}")

# %% [markdown]
# *te* is in all fifteen words, so it goes first. Then the rest of *state* grows around it, the leading space becomes part of the word, and *unite*
# follows. The list of merges, in this order, **is** the tokenizer. To cut a new word, start from its letters and apply the merges in the order in
# which they were learned. Three new words:

# %%
for word in (" unites", " restated", " war"):
    pieces = [bytes([byte]) for byte in word.encode()]
    for pair in toy_merges:
        pieces = merge_pair(pieces, pair)
    print(f"{word!r:12}", [piece.decode() for piece in pieces])

# %% [markdown]
# *unites* comes out as a stem and an ending, and nobody told the method what a stem is. *restated* gets no help from *state*, because that token
# begins with a space: it knows the word, not the morpheme. *war* falls apart into letters. Unseen words cost more, but none is impossible.
#
# ### Where no merge may go
#
# On running text tokens like `, the` would soon fill the vocabulary. GPT-2 forbids it: a pattern cuts the text into *pre-tokens*, and no merge
# crosses a border. Read it as six alternatives, tried from left to right: English contractions, then letters, digits or anything else, each with at
# most one space before it, then two kinds of white space. `\p{L}` is any letter of any script, which Python's `re` does not know, hence the package
# `regex`.

# %% tags=["export"]
import regex

# How GPT-2 cuts a text before any pair is merged (Radford et al., 2019).
GPT2_PATTERN = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"

# %%
print(regex.findall(GPT2_PATTERN, "In 1862, they've  paid $4,000 for it.\n\nThe Übermut!"))

# %% [markdown]
# The space travels with the word that follows. Of two spaces the second goes with the word (the odd-looking `\s+(?!\S)` sees to that). The pieces,
# joined, give back the text: nothing is lost.
#
# ### Why it is slow, and how it becomes fast
#
# `slow_bpe` looks at every pair of every word for each merge, and the vocabulary of this book, 8,192, takes 7,936 merges on ten megabytes of text.
# Two observations help. *Words repeat*: count each different pre-token once, and carry its number along.

# %%
pre_tokens = Counter(regex.findall(GPT2_PATTERN, train_text))
print(f"{pre_tokens.total():,} pre-tokens, {len(pre_tokens):,} different ones")

# %% [markdown]
# Cutting the text is the slowest step that will be left, so the same trick is played on it: a cheap cut first, at white space, then the pattern on
# each *different* chunk. That is exact, because wherever white space begins, GPT-2's pattern cuts, too. (The second function refuses a text that
# UTF-8 cannot write.)

# %% tags=["export"]
import re
from collections import Counter
from collections.abc import Iterable

# White space, then what follows it. `re` takes four control characters for white space that GPT-2's pattern does not.
_SPACE = r"[^\S\x1c-\x1f]"
_INK = r"[\S\x1c-\x1f]"
_CHUNK = re.compile(f"{_SPACE}*{_INK}+|{_SPACE}+")


def _count_pre_tokens(texts: Iterable[str], pattern: str) -> Counter[str]:
    """How often each piece of the texts occurs that no merge may leave."""
    chunks: Counter[str] = Counter()
    for text in texts:
        chunks.update(_CHUNK.findall(_utf8(text)) if pattern == GPT2_PATTERN else [_utf8(text)])
    counts: Counter[str] = Counter()
    pre_tokens_of = regex.compile(pattern).findall
    for chunk, count in chunks.items():
        for pre_token in pre_tokens_of(chunk):
            counts[pre_token] += count
    return counts


# %% tags=["export"]
def _utf8(text: str) -> str:
    """The text itself, once it is sure that it can be written in UTF-8."""
    if not isinstance(text, str):
        raise TypeError(f"a text must be a str, got {type(text).__name__}; decode bytes with .decode()")
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise ValueError(
            f"character {error.start} of the text is {text[error.start]!r}, one half of a surrogate pair, which is no "
            "character: read the text with its right encoding, or replace it"
        ) from None
    return text


# %% [markdown]
# The second observation: *a merge touches few words*. Keep a table from each pair to the words that hold it, and only those need work. For speed,
# write each token as one character, `chr(id)`. A word is then a string, a pair a string of length two, and Python's own search finds it. The ids
# follow GPT-2: first the 256 bytes (in an order of its own, the printable ones first), then one for each merge.

# %% tags=["export"]
import heapq
from collections import defaultdict
from collections.abc import Mapping, Sequence


def _index_pairs(words: list[str], weights: list[int]) -> tuple[defaultdict, defaultdict]:
    """How often each pair of neighbours occurs, and in which words."""
    counts, places = defaultdict(int), defaultdict(list)
    for place, word in enumerate(words):
        for i in range(len(word) - 1):
            counts[word[i : i + 2]] += weights[place]
            places[word[i : i + 2]].append(place)
    return counts, places


# %% [markdown]
# Within a word, only the neighbours of the merged pair change. Merge *te* in *state*, and the pair *at* is lost; gained is the pair of *a* and the
# new token, written as *X* in the call below.

# %% tags=["export"]
def _merge_everywhere(
    pair: str, new: str, words: list[str], weights: list[int], counts: defaultdict, places: defaultdict
) -> set[str]:
    """Replace a pair in the words that hold it, from left to right, and mend the tables; returns the pairs it made."""
    (first, second), born = pair, set()
    for place in places.pop(pair):
        word, weight = words[place], weights[place]
        i = word.find(pair)
        while i >= 0:
            word = word[:i] + new + word[i + 2 :]
            neighbours = [(word[i - 1] + first, word[i - 1] + new)] if i > 0 else []
            if i + 1 < len(word):
                neighbours.append((second + word[i + 1], new + word[i + 1]))
            for lost, gained in neighbours:
                counts[lost] -= weight
                counts[gained] += weight
                places[gained].append(place)
                born.add(gained)
            i = word.find(pair, i + 1)
        words[place] = word
    return born


# %%
one_word = ["state"]
pair_counts, pair_places = _index_pairs(one_word, [1])
print(one_word, dict(pair_counts))
print("born:", _merge_everywhere("te", "X", one_word, [1], pair_counts, pair_places))
print(one_word, {pair: count for pair, count in pair_counts.items() if count})


# %% [markdown]
# Which pair is the most frequent now? A *heap* keeps the largest on top. Counts change under it all the time, and finding an old entry to mend it
# would be slow. So leave it: when an entry with an old count comes up, it goes back with the right one. That is safe because the count of a pair
# can only fall after its birth. Such a heap is called *lazy*. Of two pairs with equal counts the one with the smaller ids wins, as in Hugging
# Face's library `tokenizers`: the merges shall be the same.

# %% tags=["export"]
def _learn_merges(words: list[str], weights: list[int], num_merges: int) -> list[str]:
    """The pairs to merge, most frequent first; merge number n makes token 256 + n."""
    counts, places = _index_pairs(words, weights)
    heap = [(-count, pair) for pair, count in counts.items()]
    heapq.heapify(heap)
    merges: list[str] = []
    while heap and len(merges) < num_merges:
        negative_count, pair = heapq.heappop(heap)
        if counts[pair] != -negative_count:  # out of date
            heapq.heappush(heap, (-counts[pair], pair))
            continue
        if counts[pair] == 0:  # the largest: nothing is left to merge
            break
        born = _merge_everywhere(pair, chr(256 + len(merges)), words, weights, counts, places)
        merges.append(pair)
        for fresh in born:
            heapq.heappush(heap, (-counts[fresh], fresh))
    return merges


# %% [markdown]
# What remains is translation between words and ids. GPT-2 shows each byte as a printable character, so that a token can be read in a file: its own
# character where it has one, else one from U+0100 on, which makes the space `Ġ` and the newline `Ċ`. Sorted by these characters, the bytes are in
# the order of their ids. The book's helper `tokenizer_json` keeps that list, and the file format for later.

# %% tags=["export"]
from bow2gpt import tokenizer_json

_BYTE_OF_ID = tokenizer_json.BYTE_OF_ID
_ID_OF_BYTE = bytes(sorted(range(256), key=_BYTE_OF_ID.__getitem__))

# %%
for byte in b"A ":
    print(f"byte {byte}: character {tokenizer_json.CHARACTER_OF_BYTE[byte]}, token {_ID_OF_BYTE[byte]}")
print(tokenizer_json.name(" the café\n".encode()))


# %% [markdown]
# Two checks that refuse bad input with a reason, and the parts join into one function.

# %% tags=["export"]
def _checked_size(vocabulary_size: int) -> int:
    """The size as an int of at least 256."""
    if isinstance(vocabulary_size, bool) or not isinstance(vocabulary_size, int | np.integer):
        raise TypeError(f"vocabulary_size must be an integer, got {vocabulary_size!r}")
    if vocabulary_size < 256:
        raise ValueError(f"got vocabulary_size {vocabulary_size}; the 256 bytes are always in it, ask for 256 or more")
    if vocabulary_size > 0x110000:
        raise ValueError(f"got vocabulary_size {vocabulary_size}; more than {0x110000:,} tokens cannot be learned")
    return int(vocabulary_size)


def _checked_pattern(pattern: str) -> str:
    """The pattern, if it is a regular expression without groups."""
    try:
        groups = regex.compile(pattern).groups
    except (regex.error, TypeError) as error:
        raise ValueError(f"the pattern {pattern!r} is no regular expression: {error}") from None
    if groups:
        raise ValueError(f"the pattern {pattern!r} has a group, and only that would be kept: write (?:...) for (...)")
    return pattern


# %% tags=["export"]
def train_bpe(
    text: str | Iterable[str], vocabulary_size: int, pattern: str = GPT2_PATTERN
) -> list[tuple[bytes, bytes]]:
    """Learn byte-pair merges (Sennrich, Haddow and Birch, 2016), on bytes as in GPT-2 (Radford et al., 2019).

    Args:
        text: a text, or several; no merge crosses from one to the next.
        vocabulary_size: 256 bytes and as many merges as are wanted.
        pattern: regular expression of the pieces that merges stay inside; what it does not match is not learned from.

    Returns:
        Pairs in the order of learning: the most frequent first; of equals, the one with the smaller ids. Fewer than
        `vocabulary_size - 256` if every word has become one token.

    Raises:
        TypeError: if the text is not a `str`, or the size not an integer.
        ValueError: if the size is below 256, the pattern no regular expression, or the text not writable in UTF-8.
    """
    word_counts = _count_pre_tokens([text] if isinstance(text, str) else text, _checked_pattern(pattern))
    words = [word.encode("utf-8").translate(_ID_OF_BYTE).decode("latin-1") for word in word_counts]  # chr(id) each
    learned = _learn_merges(words, list(word_counts.values()), _checked_size(vocabulary_size) - 256)
    tokens, merges = [bytes([byte]) for byte in _BYTE_OF_ID], []
    for first, second in learned:
        merges.append((tokens[ord(first)], tokens[ord(second)]))
        tokens.append(b"".join(merges[-1]))
    return merges


# %% [markdown]
# How much faster is it? Time 100 merges on more and more text, in three ways: every word counted again after each merge, every *different* word
# counted again, and the index. The cell takes some ten seconds; the slow ways are stopped early.

# %%
from tqdm.auto import tqdm

text_sizes = [1_000, 3_000, 10_000, 30_000, 100_000, 300_000, 1_000_000, 3_000_000, len(train_text)]
ways = {
    "every word, each time": (4, lambda text: slow_bpe([(w, 1) for w in regex.findall(GPT2_PATTERN, text)], 100)),
    "different words, each time": (5, lambda text: slow_bpe([*_count_pre_tokens([text], GPT2_PATTERN).items()], 100)),
    "only what a merge touches": (9, lambda text: train_bpe(text, 356)),
}
seconds = {name: [] for name in ways}
for name, (how_many, way) in tqdm(ways.items()):
    for size in text_sizes[:how_many]:
        start = time.perf_counter()
        way(train_text[:size])
        seconds[name].append(time.perf_counter() - start)
per_merge = seconds["every word, each time"][-1] / 100 * len(train_text) / text_sizes[3]
print(f"the first way, all of the text, 7,936 merges: about {7936 * per_merge / 3600:.0f} hours")

# %%
fig, ax = plt.subplots()
for name, times in seconds.items():
    ax.loglog(text_sizes[: len(times)], times, label=name)
ax.set(title="How long do 100 merges take?", xlabel="training text (characters)", ylabel="seconds")
ax.legend()
figures.show(
    fig,
    alt="Seconds against text size on logarithmic axes: counting every word again rises fastest, counting "
    "different words more slowly; the index is more than ten times below both and does ten megabytes in "
    "about a second.",
)


# %% [markdown]
# Both axes are logarithmic. The time of the first way grows at least in proportion to the text. The second falls behind it, because the more you
# have read, the fewer words are new (Heaps' law). The third is far below both, and most of what it takes on a large text is the cutting into words.
# Extrapolated to the whole text and vocabulary, the first way takes the hours printed above the figure, or somewhat fewer, because the text shrinks
# as it goes.
#
# ### The tokenizer, whole
#
# To cut a word, the toy applied all merges in order. With thousands of them the other way round is faster: look at the pairs in the word, merge the
# one that was learned first, look again. A heap once more, this time of positions; with two lists of links to the neighbours, even a "word" of a
# million letters takes only some $n \log n$ steps, with $n$ its length.

# %% tags=["export"]
def _merge_all(ids: list[int], made_by: Mapping[tuple[int, int], int]) -> list[int]:
    """Merge neighbours while any pair can be: the one learned first, and of its occurrences the leftmost, first."""
    gone, end = -1, len(ids)
    ids = [*ids, gone]  # found on the right of the last, and, as ids[-1], on the left of the first
    left, right = list(range(-1, end)), list(range(1, end + 2))
    heap = [(made_by[pair], i) for i, pair in enumerate(zip(ids, ids[1:], strict=False)) if pair in made_by]
    heapq.heapify(heap)
    while heap:
        new, i = heapq.heappop(heap)
        j = right[i]
        if made_by.get((ids[i], ids[j])) != new:
            continue  # one of the two has been merged since
        ids[i], ids[j] = new, gone
        right[i] = right[j]
        left[right[i]] = i
        for a, b in ((left[i], i), (i, right[i])):
            if (ids[a], ids[b]) in made_by:
                heapq.heappush(heap, (made_by[ids[a], ids[b]], a))
    return [token for token in ids if token != gone]


# %% [markdown]
# *Special tokens*, like the `<|endoftext|>` that GPT-2 puts between documents, are the last ids. They are the one thing that a text must not be
# able to write: a visitor who could type "here the document ends" would speak with the voice of the system. So they must differ from each other and
# from every other token.

# %% tags=["export"]
def _checked_special(special_tokens: Sequence[str], ordinary_names: Sequence[str]) -> list[str]:
    """The special tokens, if they can be told apart from each other and from the rest."""
    if isinstance(special_tokens, str | bytes):
        raise TypeError(f"special_tokens must be a list of texts, got {special_tokens!r}: put it in brackets")
    tokens = list(special_tokens)
    for token in tokens:
        if not isinstance(token, str):
            raise TypeError(f"special token {token!r} must be a str, got {type(token).__name__}")
        if not token or not token.isprintable() or " " in token:
            raise ValueError(f"special token {token!r} must be printable and without white space, like <|endoftext|>")
        if tokens.count(token) > 1 or token in ordinary_names:
            raise ValueError(f"there are two tokens {token!r}: give the special one another name")
    return tokens


# %% [markdown]
# Now the class, whole; read `encode` and `decode` first. `encode` looks up chunks in a memory of those cut before, and cuts only what is new. It
# reads special tokens as plain characters unless you say `allow_special=True`, which you say of your own text only. `decode` joins the bytes. Half
# a character becomes the replacement character �; `decode_bytes` gives exactly what is there.

# %% tags=["export"]
from collections.abc import Iterator
from itertools import chain, cycle
from pathlib import Path


class Tokenizer:
    """A text as pieces of words, by byte-level BPE (Radford et al., 2019); any text and any bytes can be written.

    Token ids: the 256 bytes in GPT-2's order, then one for each merge, then the special tokens.

    But: it cuts what looks like its training text into few tokens, and anything else into many.

    Attributes:
        merges: pairs of tokens, in the order of learning.
        special_tokens: the id of each special token.
        vocabulary: the bytes of each token.
        vocabulary_size: how many tokens there are, the special ones included.
    """

    _MEMORY = 2_000_000  # characters of remembered chunks; the book's training text needs a quarter

    def __init__(self, merges: Iterable[tuple[bytes, bytes]], special_tokens: Sequence[str] = ()) -> None:
        """Build a tokenizer from the merges of `train_bpe` and the texts of its special tokens."""
        self.merges = [(first, second) for first, second in merges]
        self.vocabulary = [bytes([byte]) for byte in _BYTE_OF_ID]
        self._made_by: dict[tuple[int, int], int] = {}
        ids = {token: number for number, token in enumerate(self.vocabulary)}
        for number, (first, second) in enumerate(self.merges):
            if first not in ids or second not in ids:
                raise ValueError(f"merge {number}, {first!r} + {second!r}, needs a token that no earlier merge makes")
            if first + second in ids:
                raise ValueError(f"merge {number}, {first!r} + {second!r}, makes a token that is there already")
            self._made_by[ids[first], ids[second]] = ids[first + second] = len(self.vocabulary)
            self.vocabulary.append(first + second)
        self._ordinary_names = list(map(tokenizer_json.name, self.vocabulary))
        special_tokens = _checked_special(special_tokens, self._ordinary_names)
        self.special_tokens = {token: number for number, token in enumerate(special_tokens, len(self.vocabulary))}
        self.vocabulary += [token.encode("utf-8") for token in self.special_tokens]
        self.vocabulary_size = len(self.vocabulary)
        self._pre_tokens_of = regex.compile(GPT2_PATTERN).findall
        longest_first = sorted(self.special_tokens, key=len, reverse=True)
        self._special = re.compile(f"({'|'.join(map(re.escape, longest_first))})") if longest_first else None
        self._forget()

    @classmethod
    def train(cls, text: str | Iterable[str], vocabulary_size: int, special_tokens: Sequence[str] = ()) -> "Tokenizer":
        """Learn the merges from a text; `vocabulary_size` counts bytes, merges and special tokens."""
        special_tokens = _checked_special(special_tokens, ())
        if _checked_size(vocabulary_size) < 256 + len(special_tokens):
            raise ValueError(
                f"got vocabulary_size {vocabulary_size}; 256 bytes and {len(special_tokens)} special tokens need "
                f"{256 + len(special_tokens)} or more"
            )
        return cls(train_bpe(text, vocabulary_size - len(special_tokens)), special_tokens)

    def encode(self, text: str | bytes, *, allow_special: bool = False) -> np.ndarray:
        """Token ids of a text.

        Args:
            text: any text, or any bytes, valid UTF-8 or not.
            allow_special: whether a special token's text becomes its id, the longest first. Leave it off for text that
                somebody else wrote.

        Returns:
            int64 array of shape (tokens,).

        Raises:
            TypeError: if the text is neither `str` nor `bytes`.
            ValueError: if a `str` holds a lone surrogate, which has no UTF-8.
        """
        text = text.decode("utf-8", "surrogateescape") if isinstance(text, bytes) else _utf8(text)
        if not (allow_special and self._special):
            return self._encode_ordinary(text)
        parts = [
            [self.special_tokens[part]] if is_special else self._encode_ordinary(part)
            for part, is_special in zip(self._special.split(text), cycle((False, True)), strict=False)
        ]
        return np.concatenate(parts).astype(np.int64)

    def decode_bytes(self, token_ids: Iterable[int]) -> bytes:
        """The bytes of some token ids, exactly; special tokens as their text.

        Raises:
            TypeError: if the ids are not integers.
            ValueError: if one is not in the vocabulary.
        """
        ids = np.asarray(token_ids if hasattr(token_ids, "__array__") else list(token_ids))
        if ids.size and not np.issubdtype(ids.dtype, np.integer):
            raise TypeError(f"token ids must be integers, got {ids.dtype}; encode() makes them from text")
        outside = ids[(ids < 0) | (ids >= self.vocabulary_size)]
        if outside.size or ids.ndim != 1:
            wrong = f"id {outside[0]}" if outside.size else f"shape {ids.shape}"
            raise ValueError(f"got {wrong}, expected one row of ids from 0 to {self.vocabulary_size - 1}")
        return b"".join(map(self.vocabulary.__getitem__, ids.tolist()))

    def decode(self, token_ids: Iterable[int]) -> str:
        """The text of some token ids; bytes that are no valid UTF-8 become the replacement character."""
        return self.decode_bytes(token_ids).decode("utf-8", errors="replace")

    def names(self) -> list[str]:
        """A printable name for each token, without white space, in GPT-2's characters: `Ġthe` for ` the`."""
        return self._ordinary_names + list(self.special_tokens)

    def save(self, path: str | Path) -> None:
        """Write a tokenizer.json that `tokenizers.Tokenizer.from_file` reads (there, special tokens are always on)."""
        tokenizer_json.write(path, self.merges, list(self.special_tokens))

    @classmethod
    def load(cls, path: str | Path) -> "Tokenizer":
        """Read a tokenizer.json, written by `save` or by `tokenizers`.

        Raises:
            ValueError: if there is no such file, or it is not a byte-level BPE of GPT-2's kind; the message says why.
        """
        return cls(*tokenizer_json.read(path))

    def _encode_ordinary(self, text: str) -> np.ndarray:
        chunks = _CHUNK.findall(text)
        known = self._known  # a name of our own: another thread may forget meanwhile
        new = set(chunks).difference(known)
        known.update(zip(new, self._encode_chunks(new), strict=True))
        token_ids = np.fromiter(chain.from_iterable(map(known.__getitem__, chunks)), dtype=np.int64)
        self._room -= sum(map(len, new))
        if self._room < 0:
            self._forget()
        return token_ids

    def _encode_chunks(self, chunks: Iterable[str]) -> Iterator[tuple[int, ...]]:
        cut: dict[str, list[int]] = {}  # chunks share words: "war", "war," and "war."
        for chunk in chunks:
            token_ids: list[int] = []
            for word in self._pre_tokens_of(chunk):
                if word not in cut:
                    as_ids = word.encode("utf-8", "surrogateescape").translate(_ID_OF_BYTE)
                    cut[word] = _merge_all(as_ids, self._made_by)
                token_ids += cut[word]
            yield tuple(token_ids)

    def _forget(self) -> None:
        self._known: dict[str, tuple[int, ...]] = {}
        self._room = self._MEMORY

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Tokenizer):
            return NotImplemented
        return self.merges == other.merges and list(self.special_tokens) == list(other.special_tokens)

    def __hash__(self) -> int:
        return hash((len(self.merges), *self.merges[-1:], *self.special_tokens))

    def __reduce__(self) -> tuple:
        return Tokenizer, (self.merges, tuple(self.special_tokens))  # without what it remembers

    def __repr__(self) -> str:
        return f"Tokenizer({len(self.merges)} merges, special_tokens={list(self.special_tokens)})"


# %% [markdown]
# ### On real text
#
# Train it on the training text, up to the 8,192 tokens that the GPT of chapter 07 will use. Guess the first three merges before you look. (`Ġ` is a
# space, as above.)

# %%
start = time.perf_counter()
tokenizer = Tokenizer.train(train_text, 8192)
print(f"{time.perf_counter() - start:.1f} s for {len(train_text) / 1e6:.1f} million characters: {tokenizer}")
token_names = tokenizer.names()
print("first:  ", " ".join(token_names[256:276]))
print("last:   ", " ".join(token_names[-10:]))
print("longest:", " ".join(sorted(token_names, key=len)[-6:]))
no_small_letter = [name for name in token_names if not re.search("[a-z]", name)]
print("longest without a small letter:", " ".join(sorted(no_small_letter, key=len)[-6:]))


# %% [markdown]
# It begins with scraps of grammar (` t`, `he`, ` the`, ` of`) and ends with a year, *judicious* and *urgency*. Fifteen letters or more become one
# token where a word is dear to presidents: *plenipotentiary*, *responsibilities*. The last line has a piece of six dots, from the tables of printed
# reports, and the endings of headlines in capitals. A vocabulary is a portrait of its training text.
#
# A smaller vocabulary is the same list of merges, cut off earlier. Watch three words grow together.

# %%
def smaller_tokenizer(size: int) -> Tokenizer:
    """The tokenizer with a smaller vocabulary: the same merges, stopped earlier."""
    return Tokenizer(tokenizer.merges[: size - 256])


# %%
for word in (" government", " unconstitutional", " bureaucratization"):
    for size in (300, 1000, 8192):
        small = smaller_tokenizer(size)
        print(f"{size:6,}", " ".join(small.names()[token] for token in small.encode(word)))

# %% [markdown]
# With 300 tokens hardly a word holds together. With 1,000, *government* is whole, and *unconstitutional* is prefixes, a stem and an ending, as in a
# grammar book. With 8,192 it is one number, and its *un-* has gone where no model can see it. The last word does not occur in the training text,
# and is cut where the counts say: `c rat ization` is nobody's grammar.
#
# How much shorter does an unseen text get?

# %%
vocabulary_sizes = [256, 300, 384, 512, 1024, 2048, 4096, 8192]
test_bytes = len(test_text.encode("utf-8"))
bytes_per_token = [test_bytes / len(smaller_tokenizer(size).encode(test_text)) for size in vocabulary_sizes]
fig, ax = plt.subplots()
ax.semilogx(vocabulary_sizes, bytes_per_token, base=2)
ax.set_xticks([256, 512, 1024, 2048, 4096, 8192], ["256", "512", "1,024", "2,048", "4,096", "8,192"])
ax.set(title="How much text fits into one token?", xlabel="tokens in the vocabulary", ylim=(0, None))
ax.set_ylabel("bytes of test text per token")
figures.show(
    fig,
    alt="Bytes of test text per token rise from 1 with 256 tokens to almost 5 with 8,192; the first doubling of "
    "the vocabulary adds more than one byte, each later one between half a byte and one.",
)
print(", ".join(f"{size:,}: {ratio:.2f}" for size, ratio in zip(vocabulary_sizes, bytes_per_token)))

# %% [markdown]
# From 1 to 4.77: a model that looks back 1,000 tokens sees nearly five times as much text. After the first, each doubling of the vocabulary buys
# less than one byte more, since each new token is rarer than the last, and in a neural model each of them costs parameters. GPT-2 stopped at 50,257
# (Radford et al., 2019).
#
# The glasses have blind spots. Six ways to write what a reader takes for the same word, and four numbers. Look at the ids on the right:

# %%
spellings = " people|people| People| PEOPLE| pe0ple| péople| 1862| 1863| 1941| 18621863".split("|")
for text in spellings:
    token_ids = tokenizer.encode(text)
    pieces = " ".join(token_names[token] for token in token_ids)
    print(f"{text!r:12} {len(token_ids)}  {pieces:14} {token_ids.tolist()}")

# %% [markdown]
# The word after a space and the word at the start of a line are different numbers, and the model is not told that they have anything in common.
# Capitals cost four tokens. Years are cut after the decade, which is clever, but `18621863` shows that no token stands for tens or units, a
# handicap for arithmetic (chapter 09). And the price depends on your language. Nine sentences, written for this book, say the same thing: *We hope
# for peace and work for it every day.*

# %%
translations = {
    "English": "We hope for peace and work for it every day.",
    "Spanish": "Esperamos la paz y trabajamos por ella cada día.",
    "French": "Nous espérons la paix et nous y travaillons chaque jour.",
    "German": "Wir hoffen auf Frieden und arbeiten jeden Tag dafür.",
    "Chinese": "我们期望和平，每天为之努力。",
    "Arabic": "نأمل في السلام ونعمل من أجله كل يوم.",
    "Russian": "Мы надеемся на мир и работаем ради него каждый день.",
    "Greek": "Ελπίζουμε στην ειρήνη και εργαζόμαστε γι' αυτήν κάθε μέρα.",
    "Hindi": "हम शांति की आशा करते हैं और हर दिन उसके लिए काम करते हैं।",
}
prices = {language: len(tokenizer.encode(sentence)) for language, sentence in translations.items()}
for language, sentence in translations.items():
    print(f"{language:8} {prices[language]:4} tokens, {prices[language] / len(sentence):.1f} per character")

# %%
fig, ax = plt.subplots()
bars = ax.barh(list(prices), list(prices.values()))
ax.bar_label(bars, padding=3)
ax.invert_yaxis()
ax.grid(axis="y", visible=False)
ax.set(title="What does the same sentence cost in nine languages?", xlabel="tokens", ylabel="language")
figures.show(
    fig,
    alt="Tokens for one sentence in nine languages: English 11, Spanish, French and German 27 each, Chinese 42, "
    "Arabic 64, Russian 94, Greek 106, Hindi 145.",
)

# %% [markdown]
# Nothing is unreadable, but who reads Hindi pays thirteen times as much: in time, in money where tokens are billed, and in how much of a text the
# model can look back on. Two reasons add up. No merge was learned from Hindi, and UTF-8 itself takes three bytes for each of its letters.
# Tokenizers of large models treat languages unequally too, by a factor of up to 15 (Petrov, La Malfa, Torr and Bibi, 2023).
#
# Now the special token. Typed by a stranger it is plain characters; only your own program may make it one token.

# %%
typed = "The end.<|endoftext|>The beginning."
with_end = Tokenizer(tokenizer.merges, special_tokens=["<|endoftext|>"])
for allow_special in (False, True):
    print(" ".join(with_end.names()[token] for token in with_end.encode(typed, allow_special=allow_special)))
print("any bytes come back:", with_end.decode_bytes(with_end.encode(bytes(range(256)))) == bytes(range(256)))

# %% [markdown]
# ### Against the library
#
# Hugging Face's `tokenizers` is written in Rust and is what most people use. Give it the same text, line by line, so that it can use both cores,
# and compare everything: each merge, each id of the test text, and the times. Inside a browser there is no such library, and the cells say so.

# %%
import json

try:
    from tokenizers import Tokenizer as RustTokenizer, decoders, models, pre_tokenizers, trainers
except ModuleNotFoundError:
    RustTokenizer = None
    print("tokenizers is not installed; `pip install tokenizers` (there is none for browsers) runs this comparison")


def train_rust(text: str, vocabulary_size: int) -> RustTokenizer:
    """The library's byte-level BPE, without a space added in front."""
    rust = RustTokenizer(models.BPE())
    rust.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    rust.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=vocabulary_size, initial_alphabet=alphabet, show_progress=False)
    rust.train_from_iterator(text.splitlines(keepends=True), trainer)
    return rust


# %%
def timed(work):
    """The result of some work, and how many seconds it took."""
    start = time.perf_counter()
    return work(), time.perf_counter() - start


# %%
ours, our_training = timed(lambda: Tokenizer.train(train_text, 8192))
our_ids, our_encoding = timed(lambda: ours.encode(test_text))
print(f"ours: training {our_training:.1f} s, encoding {our_encoding:.2f} s for {test_bytes / 1e6:.1f} MB")
if RustTokenizer:
    rust, rust_training = timed(lambda: train_rust(train_text, 8192))
    rust_ids, rust_encoding = timed(lambda: rust.encode(test_text).ids)
    rust_merges = [tuple(map(tokenizer_json.token, pair)) for pair in json.loads(rust.to_str())["model"]["merges"]]
    print(f"tokenizers: training {rust_training:.1f} s, encoding {rust_encoding:.2f} s")
    print("same merges:", rust_merges == ours.merges)
    print("same ids:   ", our_ids.tolist() == rust_ids)

# %% [markdown]
# All 7,936 merges agree, and so does every id. Python keeps up with Rust because it does less: it cuts each different chunk once, and it does not
# keep track of where each token stood in the text, as the library does. The files can be exchanged, too (the library always reads special tokens in
# a text).

# %%
import tempfile

with tempfile.TemporaryDirectory() as folder:
    path = str(Path(folder) / "tokenizer.json")
    with_end.save(path)
    print("we read our own:      ", Tokenizer.load(path) == with_end)
    if RustTokenizer:
        read = RustTokenizer.from_file(path)
        print("tokenizers reads ours:", read.encode(typed).ids == with_end.encode(typed, allow_special=True).tolist())
        rust.save(path)
        print("we read theirs:       ", Tokenizer.load(path) == ours)

# %% [markdown]
# ### Words that nobody has seen
#
# Would whole words have done? Take the $V$ most frequent words of the training text and count how many words of the test text are not among them:
# the *out-of-vocabulary rate*. A word model has to write `<unk>` for each, or spell it. For BPE the rate is zero at any size, and it pays in
# another coin: tokens per word.

# %%
ranked = [word for word, _ in word_counts.most_common()]
test_words = Counter(words(test_text))
word_sizes = [2**k for k in range(8, 16)]
unknown = [1 - sum(test_words[word] for word in ranked[:size]) / test_words.total() for size in word_sizes]
running_words = " " + " ".join(words(test_text))
num_tokens = [len(smaller_tokenizer(size).encode(running_words)) for size in vocabulary_sizes]
tokens_per_word = [number / test_words.total() for number in num_tokens]
print(", ".join(f"{size:,}: {rate:.1%}" for size, rate in zip(word_sizes, unknown)))
print(", ".join(f"{size:,}: {number:.2f}" for size, number in zip(vocabulary_sizes, tokens_per_word)))

# %%
fig, (left, right) = plt.subplots(1, 2, figsize=(8.4, 3.6))
left.semilogx(word_sizes, [100 * rate for rate in unknown], base=2, label="whole words")
left.semilogx(vocabulary_sizes, [0] * len(vocabulary_sizes), base=2, label="BPE")
left.set(title="How many words cannot be written?", xlabel="vocabulary size", ylabel="% of the test text's words")
left.legend()
right.semilogx(vocabulary_sizes, tokens_per_word, base=2, color=figures.COLOURS[1], marker="s")
right.set(title="What does a word cost in BPE?", xlabel="vocabulary size", ylabel="tokens per word", ylim=(0, None))
for ax in (left, right):
    ax.set_xticks([256, 1024, 4096, 16384], ["256", "1,024", "4,096", "16,384"])
figures.show(
    fig,
    alt="Left: the share of test words outside a vocabulary of whole words falls from over a third at 256 words "
    "to half a percent at 32,768, and is zero for BPE at every size. Right: BPE needs about six tokens per "
    "word with bytes alone and 1.1 with 8,192 tokens.",
)


# %% [markdown]
# With 8,192 whole words, one word in forty of the test text is a blank, and it is the telling one: a name, a place, a new thing. With BPE every
# word can be written, and the average word costs 1.13 tokens. It is a small price.
#
# ### What better glasses buy
#
# The source says that better tokenization lets a small model beat a larger one. Here is the smallest test. The number of parameters of
# `UnigramModel` is its vocabulary size, so give it vocabularies of growing size, and measure bits per byte. As a *control*, vocabularies of the
# same size with merges chosen carelessly: spell random words of the training text from left to right, however rare they are. If size alone did it,
# both would do equally well. The second cell takes some twenty seconds.

# %%
def careless_merges(distinct_words: list[bytes], num_merges: int, seed: int = 0) -> list[tuple[bytes, bytes]]:
    """Merges that build up words drawn at random, letter by letter, until there are enough."""
    known, merges = set(), []
    for index in np.random.default_rng(seed).permutation(len(distinct_words)):
        word = distinct_words[index]
        for end in range(1, len(word)):
            if word[: end + 1] not in known:
                known.add(word[: end + 1])
                merges.append((word[:end], word[end : end + 1]))
    return merges[:num_merges]


def unigram_bits(merges: list[tuple[bytes, bytes]], size: int) -> float:
    """What a unigram model over the first so many tokens pays for a byte of test text."""
    return ruler.bits_per_byte(UnigramModel.fit(train_text, Tokenizer(merges[: size - 256])), test_text)


# %%
control_sizes = [512, 2048, 8192]
careless = careless_merges(sorted(word.encode("utf-8") for word in pre_tokens), 8192 - 256)
frequent = [unigram_bits(tokenizer.merges, size) for size in tqdm(vocabulary_sizes)]
random_words = [unigram_bits(careless, size) for size in tqdm(control_sizes)]
print("frequent pairs:", ", ".join(f"{size:,}: {bits:.3f}" for size, bits in zip(vocabulary_sizes, frequent)))
print("random words:  ", ", ".join(f"{size:,}: {bits:.3f}" for size, bits in zip(control_sizes, random_words)))

# %%
fig, ax = plt.subplots()
ax.semilogx(vocabulary_sizes, frequent, base=2, label="BPE: frequent pairs")
ax.semilogx(control_sizes, random_words, base=2, label="control: random words")
ax.set_xticks([256, 512, 1024, 2048, 4096, 8192], ["256", "512", "1,024", "2,048", "4,096", "8,192"])
ax.set(title="What do better tokens buy a model that only word_counts?", xlabel="tokens in the vocabulary = parameters")
ax.set_ylabel("bits per byte of test text")
ax.legend()
figures.show(
    fig,
    alt="Bits per byte of the unigram model against vocabulary size: with BPE from 4.4 at 256 tokens down to 2.0 "
    "at 8,192; with tokens from random words only from 4.4 at 512 to 3.6 at 8,192.",
)


# %% [markdown]
# The same text, the same ruler, a model that does nothing but count; only the cut is different, and the bits fall from 4.39 to 2.03. What the
# letters of a word have to do with each other is now *in the vocabulary*. And it is not the size that does it: with careless merges, 8,192 tokens
# take 3.64 bits, about as much as BPE takes with 384 (3.66), a twentieth of the size.
#
# But a unigram model has most to gain, since all that it will ever know about context is inside its tokens; a model that looks back learns the same
# from the bytes, given time.

# %% [markdown]
# ### Merges against morphemes
#
# BPE merges what is frequent, and knows nothing of meaning. Do its cuts fall between morphs all the same? Measure it as you measured successor
# variety. Each word is encoded as it stands in a text, with a space in front. Think first what must happen at either end, with no merges and with
# endless ones.

# %%
def token_parts(tokenizer: Tokenizer, word: str) -> list[str]:
    """The tokens of a word inside a sentence, without the space in front."""
    pieces = [tokenizer.vocabulary[token_id].decode() for token_id in tokenizer.encode(" " + word)]
    return [piece for piece in [pieces[0].removeprefix(" "), *pieces[1:]] if piece]


# %%
bpe_sizes = [256, 300, 384, 512, 768, 1024, 1536, 2048, 3072, 4096, 6144, 8192]
bpe_scores = {}
for size in bpe_sizes:
    small = smaller_tokenizer(size)
    parts = {word: token_parts(small, word) for word in morphemes}
    bpe_scores[size] = precision, recall, f1 = boundary_scores(parts, morphemes)
    whole = np.mean([len(parts[word]) == 1 for word in morphemes])
    examples = " ".join("-".join(parts[word]) for word in ["governments", "unfriendliness", "railroad"])
    print(f"{size:5}  precision {precision:.2f}  recall {recall:.2f}  F1 {f1:.2f}  one token {whole:4.0%}  {examples}")

# %%
fig, ax = plt.subplots(figsize=(7, 4))
for name, column in zip(["precision", "recall", "F1"], zip(*bpe_scores.values()), strict=True):
    ax.plot(bpe_sizes, column, label=f"BPE, {name}")
for name, label, line in [("both ways", "successor variety", (0, (6, 2))), ("whole words", "whole words", (0, (1, 1)))]:
    height = boundary_scores(segmenters[name], morphemes)[2]
    ax.axhline(height, linestyle=line, marker="none", color="0.4", linewidth=1.3)
    ax.text(bpe_sizes[0], height + 0.015, f"F1 of {label}", fontsize=9, color="0.25")
ax.set_xscale("log", base=2)
ax.set_xticks([256, 512, 1024, 2048, 4096, 8192], ["256", "512", "1,024", "2,048", "4,096", "8,192"])
ax.set(title="Do merges find morphemes?", ylim=(0, 1.03))
ax.set(xlabel="tokens in the vocabulary (256 bytes and the merges)", ylabel="score on the hand-made list")
ax.legend(loc="upper right")
figures.show(
    fig,
    alt="Scores of BPE cuts by size of vocabulary. Recall falls from 1 to 0.3, precision climbs from 0.14 to "
    "0.47, F1 has its best value, 0.46, near 2,000 tokens: about as good as successor variety, and well "
    "below whole words.",
)

# %% [markdown]
# With bytes alone every place is cut, and the cuts are right as often as chance has it. Each merge removes cuts, wrong ones more often than right
# ones, so precision climbs; but right ones go too, because *governments* is frequent enough to become one token. $F_1$ is best near 2,000 tokens,
# about as good as successor variety and far from the word rule. At 8,192 six in ten words of the list are a single token, and of the cuts that are
# left more than half are wrong: *unf-riend-l-iness*.
#
# That is no failure of BPE, which was made to shorten texts. But keep it in mind when you hear that tokenization takes care of morphology: that
# *nationality* and *nation* share a morpheme is nowhere in their numbers, and must be learnt from the company they keep. Bostrom and Durrett (2020)
# compared BPE with a tokenizer whose cuts follow morphemes better, and models trained on those did as well or better.
#
# What does text keep? English spelling keeps morphemes better than sound does: *-s* stays *s* where speech has three endings, *sign* keeps the *g*
# of *signal*. It loses the vowel that changes between *nation* and *national*, and no space shows where a morph ends. In a language system,
# morphology is split between the tokenizer, which cuts before it has read anything, and the network, which has to find the morphemes again. Whether
# it did, the morphological probes ask.

# %%
three_probes("morphology")


# %% [markdown]
# ## Syntax: words have an order
#
# *Syntax* is how words combine into phrases and sentences (Chomsky, 1957). The source's example is *I go to the store* against *I to the store go*:
# the same words, and only one is English. German takes the second order in a subordinate clause: order is the custom of a language.
#
# How much custom is there? Of every two neighbouring words of the test text, were they ever neighbours in the training text? Then shuffle the words
# inside each sentence and ask again. Longer stretches, too: what do you expect at five?

# %%
def stretches(sentence: list[str], length: int) -> list[tuple[str, ...]]:
    """All stretches of neighbouring words of one length."""
    return list(zip(*(sentence[start:] for start in range(length)), strict=False))


# %%
rng = np.random.default_rng(0)
split_at = re.compile(r"(?<=[.!?])\s+")
train_sentences = [words(s) for s in split_at.split(train_text)]
held_out = [words(s) for s in split_at.split(test_text)]
shuffled = [[str(word) for word in rng.permutation(s)] for s in held_out if s]
lengths = [1, 2, 3, 4, 5]
familiar = {"as written": [], "shuffled": []}
for length in lengths:
    seen = {hash(stretch) for s in train_sentences for stretch in stretches(s, length)}  # smaller than the stretches
    for name, texts in [("as written", held_out), ("shuffled", shuffled)]:
        asked = [hash(stretch) in seen for s in texts for stretch in stretches(s, length)]
        familiar[name].append(100 * np.mean(asked))
for name, shares in familiar.items():
    print(f"{name:11}", " ".join(f"{share:5.1f}" for share in shares), "%")

# %%
fig, ax = plt.subplots()
for name, shares in familiar.items():
    ax.plot(lengths, shares, label=name)
ax.set_xticks(lengths)
ax.set(title="How much of an unseen speech is familiar?", xlabel="length of the stretch (words)")
ax.set_ylabel("seen in training (%)")
ax.legend()
figures.show(
    fig,
    alt="Share of word stretches seen in training by length. As written nearly all single words, 84 percent of "
    "pairs, 48 of triples and 9 of fives; shuffled half of the pairs, 5 percent of triples and none of the "
    "longer ones.",
)

# %% [markdown]
# Order is worth a great deal: five in six pairs of an unseen speech are old acquaintances; shuffled, half of them, and of the triples one in
# twenty. But syntax cannot be a list of remembered stretches: nine in ten stretches of five words were never seen, and yet you read them without
# effort. A speaker has rules.
#
# ### Phrases inside phrases
#
# Words group into *constituents*: stretches that move and get replaced as one. *The president* can be replaced by *she*; *president signed the* by
# nothing. Constituents nest, and a *context-free grammar* says how (Chomsky, 1956): a sentence S is a noun phrase NP and a verb phrase VP, and so
# on. Below, Det is an article, N a noun, V a verb, P a preposition (*with*, *on*) and PP a phrase that begins with one. Every rule makes one part
# out of exactly two; any context-free grammar can be rewritten that way, into *Chomsky normal form*.

# %%
lexicon = {
    "the": {"Det"}, "a": {"Det"},
    "president": {"N"}, "general": {"N"}, "war": {"N"}, "telescope": {"N"}, "hill": {"N"},
    "saw": {"V"}, "won": {"V"}, "with": {"P"}, "on": {"P"}, "congress": {"NP"}, "slept": {"VP"},
}
rules = [
    ("S", "NP", "VP"), ("NP", "Det", "N"), ("NP", "NP", "PP"), ("VP", "V", "NP"), ("VP", "VP", "PP"), ("PP", "P", "NP"),
]

# %% [markdown]
# A *parser* finds the phrases. The algorithm of Cocke, Younger and Kasami (Younger, 1967) fills a triangle, the *chart*: for every stretch of the
# sentence, from short to long, what it can be. A stretch from `start` to `end` is built wherever it can be cut in two parts that are something
# already, and a rule joins them. By hand, for *congress won the war*: the words are NP, V, Det, N; *the war* becomes NP; *won the war* becomes VP;
# the whole becomes S. Three joins, and no others fit.

# %% tags=["export"]
from collections.abc import Iterable, Mapping, Sequence

Rule = tuple[str, str, str]  # (parent, left part, right part)
Tree = tuple  # (category, word) for a leaf, (category, left tree, right tree) for a phrase


# %% tags=["export"]
def cyk_chart(
    sentence: Sequence[str], lexicon: Mapping[str, Iterable[str]], rules: Iterable[Rule]
) -> dict[tuple[int, int], dict[str, list[tuple[int, str, str]]]]:
    """Find the categories of every stretch of a sentence (Cocke; Kasami, 1965; Younger, 1967, Information and Control).

    Args:
        sentence: n words.
        lexicon: word -> its categories.
        rules: (parent, left, right): a left part and a right part make a parent.

    Returns:
        (start, end) -> category -> the ways to make it, each (where it is cut, left category, right category); a word's
        own categories have the empty list. It takes time in the order of n cubed times the number of rules.
    """
    rules = list(dict.fromkeys(rules))
    leaves = [{category: [] for category in lexicon.get(word, ())} for word in sentence]
    chart = {(start, start + 1): cell for start, cell in enumerate(leaves)}
    for length in range(2, len(sentence) + 1):
        for start in range(len(sentence) - length + 1):
            end = start + length
            cell = chart[start, end] = {}
            for cut in range(start + 1, end):
                for parent, left, right in rules:
                    if left in chart[start, cut] and right in chart[cut, end]:
                        cell.setdefault(parent, []).append((cut, left, right))
    return chart


# %% [markdown]
# The chart says in how many ways each stretch can be made, and a tree is one choice among them, all the way down. `cyk_parse` writes out every
# tree.

# %% tags=["export"]
def cyk_parse(
    sentence: Sequence[str], lexicon: Mapping[str, Iterable[str]], rules: Iterable[Rule], root: str = "S"
) -> list[Tree]:
    """All parse trees of a sentence by a grammar in Chomsky normal form (Younger, 1967, Information and Control).

    But: their number can grow exponentially with the sentence; `count_parses` counts them without building them.

    Args:
        sentence: the words; a word that the lexicon lacks leaves no tree.
        lexicon: word -> its categories.
        rules: (parent, left, right).
        root: category of a whole sentence.

    Returns:
        Trees: (category, word) for a leaf, (category, left tree, right tree) for a phrase; none for no sentence.
    """
    chart = cyk_chart(sentence, lexicon, rules)

    def trees(start: int, end: int, category: str) -> list[Tree]:
        if end == start + 1:
            return [(category, sentence[start])]
        ways = chart[start, end][category]
        return [
            (category, left_tree, right_tree)
            for cut, left, right in ways
            for left_tree in trees(start, cut, left)
            for right_tree in trees(cut, end, right)
        ]

    return trees(0, len(sentence), root) if root in chart.get((0, len(sentence)), ()) else []


# %%
def outline(tree: tuple, depth: int = 0) -> str:
    """A tree as indented lines."""
    category, *parts = tree
    if isinstance(parts[0], str):
        return f"{'  ' * depth}{category} {parts[0]}"
    return "\n".join([f"{'  ' * depth}{category}", *(outline(part, depth + 1) for part in parts)])


def bracketed(tree: tuple) -> str:
    """A tree in one line, with brackets around each phrase."""
    category, *parts = tree
    return parts[0] if isinstance(parts[0], str) else "[" + " ".join(bracketed(part) for part in parts) + "]"


# %%
print(outline(cyk_parse(["congress", "won", "the", "war"], lexicon, rules)[0]))
print(cyk_parse(["congress", "the", "war", "won"], lexicon, rules), "<- no tree: not a sentence of this grammar")

# %% [markdown]
# The words are the same; the grammar refuses their order. Now a sentence with two trees. Who has the telescope?

# %%
for tree in cyk_parse(words("the president saw the general with the telescope"), lexicon, rules):
    print(bracketed(tree))


# %% [markdown]
# In the second line *with the telescope* belongs to *saw*, in the first to *the general*. You probably noticed one meaning only, and context chose
# it for you. Each further phrase such as *on the hill* can attach to several of the things before it, and the number of trees explodes. To count
# them, multiply and add along the chart, without writing any tree down.

# %% tags=["export"]
def count_parses(
    sentence: Sequence[str], lexicon: Mapping[str, Iterable[str]], rules: Iterable[Rule], root: str = "S"
) -> int:
    """How many parse trees a sentence has, found without building them: each stretch is counted once."""
    chart = cyk_chart(sentence, lexicon, rules)
    counts: dict[tuple[int, int, str], int] = {}
    for (start, end), cell in chart.items():  # short stretches come first
        for category, ways in cell.items():
            made = (counts[start, cut, left] * counts[cut, end, right] for cut, left, right in ways)
            counts[start, end, category] = sum(made) if ways else 1
    return counts.get((0, len(sentence), root), 0)


# %%
long_sentence, num_trees = "the president saw the general", []
for _ in range(12):
    long_sentence += " with the telescope"
    num_trees.append(count_parses(long_sentence.split(), lexicon, rules))
print(num_trees)

# %%
fig, ax = plt.subplots()
ax.plot(range(1, 13), num_trees)
ax.set_yscale("log")
ax.set(title="How many readings has a long sentence?", xlabel="prepositional phrases at its end")
ax.set_ylabel("parse trees (log scale)")
figures.show(
    fig,
    alt="Number of parse trees against the number of prepositional phrases on a log scale: 2 for one, 132 for "
    "five, 742,900 for twelve, nearly a straight line.",
)

# %% [markdown]
# These are the *Catalan numbers*, which Church and Patil (1982) found in ordinary English. Three quarters of a million trees are counted in a
# moment, because they share their parts. No hearer weighs all readings either; hearers expect, as a language model does.
#
# ### Agreement across a distance
#
# English marks on the verb what its subject is: *the nation is*, *the nations are*. The subject need not stand beside its verb. In *the settlement
# of boundaries was*, the nearest noun is plural and the verb singular, because it agrees with the *head* of its noun phrase, *settlement*. Find
# such places in the whole corpus, where head and neighbour differ in number, and let two rules compete. (The pattern takes a final *s* for a
# plural, so it makes mistakes of its own.)

# %%
plural_verbs = {"is": False, "was": False, "has": False, "are": True, "were": True, "have": True}
of_phrase = re.compile(
    r"\b(?:the|these|this|our|all|such) ([a-z]+) (?:of|in|for|to|from|with|upon|by) "
    r"(?:the |our |these |those |such |their )?([a-z]+) (is|was|has|are|were|have)\b",
    re.I,
)


def is_plural(noun: str) -> bool:
    """A guess from the spelling."""
    irregular = noun in ("people", "men", "women", "children")
    return irregular or (noun.endswith("s") and not noun.endswith(("ss", "us", "is")))


# %%
found = [match for address in addresses for match in of_phrase.finditer(address.text)]
verb_places = [(is_plural(m[1]), is_plural(m[2]), plural_verbs[m[3].lower()], m[0]) for m in found]
conflicts = [place for place in verb_places if place[0] != place[1]]
with_head = np.mean([verb == head for head, _, verb, _ in conflicts])
print(f"{len(conflicts)} places in conflict: the verb agrees with the head in {with_head:.0%}", end="")
print(f", with its neighbour in {1 - with_head:.0%}")
print("head:     ", "; ".join([phrase for head, _, verb, phrase in conflicts if verb == head][:5]))
print("neighbour:", "; ".join([phrase for head, _, verb, phrase in conflicts if verb != head][:5]))

# %% [markdown]
# The head wins by five to one, although it stands farther off. Some of the rest are faults of the pattern, others a well-known mistake of speakers,
# *agreement attraction* (Bock and Miller, 1991), which a model that looks back a few words will make as well. Linzen, Dupoux and Goldberg (2016)
# asked a neural network; the syntactic probes ask every model of this book.
#
# Text keeps syntax almost whole; what it loses is the melody that would have told you who has the telescope. In a language system no single part
# does syntax: everything from n-grams to attention is about which words depend on which, and how far back.

# %%
three_probes("syntax")

# %% [markdown]
# ## Semantics: what sentences mean
#
# *Semantics* is literal meaning: what is said, whoever says it. A classical account is that to know what a sentence means is to know in which
# situations it is true (Montague, 1973, on the ground that Tarski, 1944, had laid). The source's example is *I am married to my ex-wife*. Make a
# small world with three facts, each true or false: he was married to her before, he is married to her now, she is his boss. That makes eight
# situations. A word for a person is a condition on them.

# %%
from itertools import product

situations = [dict(zip(["before", "now", "boss"], facts, strict=True)) for facts in product([True, False], repeat=3)]
person = {
    "wife": lambda s: s["now"],
    "ex-wife": lambda s: s["before"] and not s["now"],
    "boss": lambda s: s["boss"],
}
for noun, holds in person.items():
    with_her = [s for s in situations if holds(s)]
    print(f"I am married to my {noun:8} true in {sum(s['now'] for s in with_her)} of {len(with_her)} situations")

# %% [markdown]
# With a *boss* the sentence says something: true in some situations, false in others. With a *wife* it says nothing, a *tautology*. With an
# *ex-wife* there is no situation at all: a *contradiction*. One sentence *entails* another if it is true in no situation where the other is false.
# Meaning, so understood, lies between the words and the world, and a text holds only the words.
#
# ### Ideas that sleep
#
# Meaning can also go missing while the syntax stays: Chomsky's (1957) *colorless green ideas sleep furiously* is grammatical and makes no sense;
# *furiously sleep ideas green colorless* is neither. He argued that no statistical model could tell them apart, for no part of either had ever been
# said. See what counting can do so far.

# %%
running_text = [word for sentence in train_sentences for word in sentence]
pairs_seen = set(zip(running_text, running_text[1:], strict=False))
for sentence in ["colorless green ideas sleep furiously", "furiously sleep ideas green colorless"]:
    asked = words(sentence)
    known_pairs = sum(pair in pairs_seen for pair in zip(asked, asked[1:], strict=False))
    cost = ruler.bits_per_byte(unigram, sentence)
    print(f"{sentence}: {known_pairs} of 4 pairs ever seen, unigram {cost:.3f} bits per byte")

# %% [markdown]
# Neither has a known pair and both cost the same. But the argument only holds for a model that counts words as such. Pereira (2000) let a model
# sort words into classes by the company they keep, and it found the first sentence 200,000 times as probable as the second. Sorting by company is
# the idea of chapter 03. Take a first look at what it sees.
#
# ### The company that words keep
#
# For each word count which words stand up to two places before it and after it. Here are pairs of the same sense, of opposite senses, and of
# unrelated ones. Where do you expect the opposites?

# %%
kinds_of_pairs = {
    "same sense": "great-large nation-country help-assist freedom-liberty nearly-almost strength-power "
    "commerce-trade wish-desire",
    "opposite": "increase-decrease receipts-expenditures exports-imports large-small always-never north-south "
    "up-down more-less",
    "unrelated": "great-treasury nation-nearly war-gold increase-northern peace-railroad liberty-last "
    "small-school help-silver",
}
company = [word for word, _ in word_counts.most_common(2000)]
column = {word: index for index, word in enumerate(company)}
compared = sorted(set(re.findall("[a-z]+", " ".join(kinds_of_pairs.values()))))
row = {word: index for index, word in enumerate(compared)}
near = np.zeros((len(row), 2, len(company)))
for place, word in enumerate(running_text[2:-2], start=2):
    if word in row:
        for side, start in enumerate([place - 2, place + 1]):
            for neighbour in running_text[start : start + 2]:
                if neighbour in column:
                    near[row[word], side, column[neighbour]] += 1

# %% [markdown]
# Then give weight to those neighbours that are more frequent there than elsewhere, and compare two words by the *cosine* of their weights: 1 for
# the same company, 0 for no company in common.

# %%
expected = np.array([word_counts[word] for word in company]) / word_counts.total()
with np.errstate(divide="ignore"):
    weight = np.log(near / near.sum(axis=(1, 2), keepdims=True) / expected)
weight = np.maximum(weight, 0).reshape(len(row), -1)
weight /= np.linalg.norm(weight, axis=1, keepdims=True)
fig, ax = plt.subplots(figsize=(6.4, 3.6))
for height, (kind, listed) in enumerate(kinds_of_pairs.items()):
    cosines = {}
    for one, other in (listed_pair.split("-") for listed_pair in listed.split()):
        cosines[f"{one}-{other}"] = float(weight[row[one]] @ weight[row[other]])
    ax.plot(list(cosines.values()), [height] * len(cosines), linestyle="none", alpha=0.8)
    print(f"{kind:10} mean {np.mean(list(cosines.values())):.2f}, most alike: {max(cosines, key=cosines.get)}")
ax.set_yticks(range(3), kinds_of_pairs)
ax.set(title="Do words of one sense keep the same company?", xlabel="cosine of their company", ylabel="kind of pair")
ax.set_ylim(2.6, -0.6)
figures.show(
    fig,
    alt="Cosines of eight pairs of each kind: same sense 0.23 to 0.35, opposite 0.2 to 0.46, unrelated below 0.1.",
)

# %% [markdown]
# Company separates the related from the unrelated without a miss, and it cannot tell the same from the opposite. *Receipts* and *expenditures*
# stand in the same sentences, next to the same words; only, one is money coming in. So it stands with meaning learned from text alone: a great deal
# is there, and part of it is not.
#
# Text keeps of semantics what shows in the choice of words; what it loses is the world. In a language system this is the work of *embeddings*,
# lists of numbers that stand for words (chapter 03), and then of everything that combines them. The probes ask for contradictions, for who can do
# what to whom, and for before and after.

# %%
three_probes("semantics")

# %% [markdown]
# ## Pragmatics: what is not said
#
# *Pragmatics* is what a sentence does and conveys in a situation, beyond what its words mean (Grice, 1975; Levinson, 1983). *Can you pass the
# salt?* is no question about your arm. The source's example is *I am going to find the eggs that the Easter Bunny left*. To make sense of it you
# have to know what Easter is, that a rabbit brings eggs, that they are hidden, and that only children believe it. None of it is said. How much of
# it could a reader of our corpus know? Count the sentences, and read the shortest.

# %%
for phrase in ["Easter", "bunny", "rabbits?", "eggs", "Christmas"]:
    mentions = [s for s in sentences if re.search(rf"\b{phrase}\b", s, re.I)]
    print(f"{phrase:10} {len(mentions):3}  {min(mentions, key=len, default='')[:90]}")

# %% [markdown]
# Next to nothing: one Easter, which is a date, and eggs that are a price. What people share they need not say, so it is missing from texts, and
# from models of texts.
#
# ### Which war?
#
# For presidents the thing not said is which war. *The war* means another one in each generation, and every hearer knew. Take each *the war* of the
# corpus, and look which enemy or place is named nearest to it, fewer than a hundred words away.

# %%
theatres = {
    "Britain": "Britain|British|English|England",
    "Mexico": "Mexico|Mexican",
    "the rebellion": "rebellion|rebels?|insurrection|insurgents?|slavery",
    "Spain": "Spain|Spanish|Cuba",
    "Germany": "German|Germans|Germany|Nazis?|Hitler",
    "Japan": "Japan|Japanese",
    "Korea": "Korea|Korean",
    "Vietnam": "Vietnam|Viet-Nam",
    "Iraq": "Iraq|Iraqi",
    "Afghanistan": "Afghanistan|Taliban",
    "terror": "terror|terrorists?|terrorism",
}
theatre_names = [re.compile(rf"\b(?:{names})\b") for names in theatres.values()]


def nearest_theatre(spoken_words: list[str], place: int) -> int | None:
    """Number of the theatre that is named nearest to a place, fewer than a hundred words away."""
    for distance in range(1, 100):
        both_sides = [max(place - distance, 0), min(place + distance, len(spoken_words) - 1)]
        around = " ".join(spoken_words[side] for side in both_sides)
        for number, name in enumerate(theatre_names):
            if name.search(around):
                return number
    return None


# %%
decades = sorted({year // 10 * 10 for year in years})
grid = np.zeros((len(decades), len(theatres)), dtype=int)
for address in addresses:
    spoken_words = address.text.split()
    for place in range(1, len(spoken_words)):
        if spoken_words[place].strip(".,;:") == "war" and spoken_words[place - 1] in ("the", "late", "present"):
            theatre = nearest_theatre(spoken_words, place)
            if theatre is not None:
                grid[decades.index(address.year // 10 * 10), theatre] += 1
print(f"{grid.sum()} mentions of the war with a name near them")

# %% [markdown]
# Rows are decades, with the number of mentions in brackets; a dark square says that many of them stand beside that name.

# %%
share = grid / np.maximum(grid.sum(axis=1), 1)[:, None]
fig, ax = plt.subplots(figsize=(6.4, 6.2))
image = ax.imshow(share, aspect="auto", cmap="Greys", vmin=0, vmax=1)
ax.set_xticks(range(len(theatres)), theatres, rotation=45, ha="right")
labels = [f"{decade}s ({mentions})" for decade, mentions in zip(decades, grid.sum(axis=1), strict=True)]
ax.set_yticks(range(len(decades)), labels, fontsize=9)
ax.grid(False)
ax.set(title="Which war is “the war”?", xlabel="name nearest to “the war”", ylabel="decade of the address (mentions)")
fig.colorbar(image, label="share of the decade's mentions")
figures.show(
    fig,
    alt="Decades against the name nearest to the war. A dark diagonal runs from Spain and Britain around 1800 "
    "over Mexico in the 1830s and 1840s, the rebellion in the 1860s to 1880s, Spain in the 1890s, Germany in "
    "the 1910s and 1920s, several names in the 1940s and Vietnam in the 1960s and 70s to terror in the "
    "2000s, with a few single mentions beside it.",
)

# %% [markdown]
# Read down the diagonal, from Britain to terror. (Rows with a handful of mentions mean little.) The words never change; what they point to changes
# with the date, which the sentence does not state.
#
# ### What is a date worth?
#
# Context can be measured with the ruler. Take the unigram model over tokens and tell it one fact about each test address that is not in its text:
# the year. The *informed* model mixes two unigrams half and half: that of the whole training text, and one in which a training address counts the
# less the farther its year is away. At a distance of one *half-life* it counts half.

# %%
taught = corpus.addresses("train")
bag_of_tokens = np.array([np.bincount(tokenizer.encode(a.text), minlength=tokenizer.vocabulary_size) for a in taught])
taught_years = np.array([a.year for a in taught])
overall = bag_of_tokens.sum(axis=0)


def informed(year: int, half_life: float) -> UnigramModel:
    """A unigram model half of which comes from addresses of about the given year; weights halve every so many years."""
    nearby = 0.5 ** (np.abs(taught_years - year) / half_life) @ bag_of_tokens
    return UnigramModel((overall + nearby * overall.sum() / nearby.sum()) / 2, tokenizer)


def mean_bits(some: tuple, half_life: float) -> float:
    """Bits per byte of some addresses, each scored by the model informed of its year."""
    lengths = [len(a.text.encode()) for a in some]
    return float(np.average([ruler.bits_per_byte(informed(a.year, half_life), a.text) for a in some], weights=lengths))


# %% [markdown]
# Which half-life is best is chosen on the validation text; the test text is asked once, at the end. An infinite half-life is the model that was
# told nothing.

# %%
half_lives = [0.5, 1, 2, 4, 8, 16, 32, 64]
validation, tested = corpus.addresses("validation"), corpus.addresses("test")
on_validation = [mean_bits(validation, half_life) for half_life in half_lives]
best_half_life = half_lives[int(np.argmin(on_validation))]
without, with_year = mean_bits(tested, np.inf), mean_bits(tested, best_half_life)
print(f"without the year {without:.3f} bits per byte, with it {with_year:.3f} (half-life: {best_half_life} years)")

# %%
fig, ax = plt.subplots()
ax.plot(half_lives, on_validation, label="told the year")
ax.axhline(mean_bits(validation, np.inf), color="0.4", linestyle="--", marker="", label="not told")
ax.set_xscale("log")
ax.set_xticks(half_lives, [str(half_life) for half_life in half_lives])
ax.minorticks_off()
ax.set(title="How far does a date reach?", xlabel="half-life of an address (years, log scale)")
ax.set_ylabel("bits per byte (validation)")
ax.legend()
figures.show(
    fig,
    alt="Bits per byte against the half-life of an address: lowest, 2.00, from half a year to two years, rising "
    "steadily to 2.02 at 64 years; without the year it is 2.03.",
)

# %% [markdown]
# The nearest addresses help most, and even a slow fade, over a lifetime, helps a little. Two per cent of all bits, for one number that takes eight
# bits to write, is a good bargain. Some of it is change in the language; much of it is the situation, which no rule of English states. Later models
# see more context than a date, but only what is in the text before, unless somebody looks it up and puts it there: that is *retrieval*, in chapter
# 08.
#
# Text keeps of pragmatics what writers leave behind unknowingly, and loses the room, the hearers and what they knew. The probes set a context in
# one sentence and ask about the next.

# %%
three_probes("pragmatics")

# %% [markdown]
# ## What the source says
#
# The source goes through the five features and says who takes care of each: tokenization of morphology, the model of syntax, embeddings of
# semantics, retrieval of pragmatics, and nobody yet of phonetics. (At one point it calls *semantics* what it describes as structure, "whether or
# not it sounds correct"; that is syntax.) Phonetics had its verdict; for the others, ask the probes. The *ladder* is the table of all models of the
# book, each of them a *rung*. It already holds those of chapter 02, which count stretches of $n$ bytes, words or tokens (Kneser-Ney and Witten-Bell
# are two ways to do it). gzip, xz and PPMd are compression programs, for comparison.

# %%
print(ladder.table())

# %%
models = sorted((rung for rung in ladder.rows() if rung["syntax"]), key=lambda rung: -float(rung["bits_per_byte"]))
rungs = [rung for rung in models if rung["chapter"] in ("1", "2")]
percent = np.array([[100 * float(rung[feature]) for feature in probes.FEATURES] for rung in rungs])
fig, ax = plt.subplots(figsize=(7, 1.2 + 0.36 * len(rungs)))
image = ax.imshow(percent, aspect="auto", cmap="Greys", vmin=45, vmax=100)
for (line, place), value in np.ndenumerate(percent):
    ax.text(place, line, f"{value:.0f}", ha="center", va="center", color="white" if value > 75 else "black")
ax.set_xticks(range(5), probes.FEATURES)
ax.set_yticks(range(len(rungs)), [rung["label"] for rung in rungs])
ax.grid(False)
ax.set(title="What does each counting model know of language?", xlabel="feature (probes judged rightly, %)", ylabel="model")
figures.show(
    fig,
    alt="Table of the models of chapters 01 and 02 and the features. Unigrams are near 50 percent everywhere. With "
    "longer memory phonetics and morphology climb to about 80 and syntax to 70 percent; semantics stays below 60 and "
    "pragmatics near 53.",
)

# %% [markdown]
# Read it column by column. What can be seen from nearby, a neighbouring word or the letters of the word itself, is learned by counting. What needs
# the sense of the words is hardly learned, and on what needs the sentence before, all of them are coins. Then compare the best model over bytes,
# over words and over BPE, with $n$ = 8, 5 and 5. They differ in their glasses above all, and in morphology the three are level, within what luck
# can do on 242 pairs. BPE has neither hurt these models nor solved anything for them.

# %%
by_name = {rung["name"]: rung for rung in ladder.rows()}
small, large = by_name["bpe-3"], by_name["bytes-8"]
right, wanted, _ = bpe_scores[8192]
in_morphology = {name: float(by_name[name]["morphology"]) for name in ("bpe-5", "words-5", "bytes-8")}
claims.verdict(
    2,
    "Tokenization largely solves morphology; better tokenization lets small models beat larger ones.",
    f"Of the cuts that BPE of 8,192 tokens makes inside words {right:.0%} are between morphs, and it makes "
    f"{wanted:.0%} of those it should; it never comes above F1 {max(f1 for _, _, f1 in bpe_scores.values()):.2f}. "
    f"On the morphological probes it brings no gain: BPE {in_morphology['bpe-5']:.0%}, "
    f"words {in_morphology['words-5']:.0%}, bytes {in_morphology['bytes-8']:.0%}. The second half is right: "
    f"{small['label']}, with {int(small['parameters']) / 1e6:.1f} million parameters needs {small['bits_per_byte']} "
    f"bits per byte, {large['label']}, with {int(large['parameters']) / 1e6:.1f} million needs "
    f"{large['bits_per_byte']}; at equal size, 8,192, frequent pairs need {frequent[-1]:.2f} and careless ones "
    f"{random_words[-1]:.2f}.",
    "holds in part",
)

# %% [markdown]
# And the third claim, about the remaining three features:

# %%
shares = "{syntax:.0%} of the syntactic pairs, {semantics:.0%} of the semantic and {pragmatics:.0%} of the pragmatic ones"
counting, best = (
    shares.format(**{feature: float(rung[feature]) for feature in probes.FEATURES}) for rung in (rungs[-1], models[-1])
)
claims.verdict(
    3,
    "Syntax is largely solved by models; semantics is only approximated, by embeddings; "
    "pragmatics is missing without context.",
    f"The best counting model judges rightly {counting}; the best model of this book {best}. The order is as the source "
    f"has it. Counting leaves syntax far from solved; a GPT comes nearer, and not much nearer to the rest. Being told the year took {without - with_year:.3f} of {without:.3f} bits per byte "
    "off a model without any memory, so context does carry something.",
    "holds in part",
)

# %% [markdown]
# The table below sums up. Every later rung is asked about all five again.
#
# | feature | the question | what text loses | who deals with it | in this book |
# |---|---|---|---|---|
# | phonetics | how does it sound? | melody, rhythm, voice | recognition, synthesis; spelling | 01, 05, 06 |
# | morphology | how are words built? | little | tokenizer and network | 01 |
# | syntax | what belongs together? | melody that brackets | n-grams, recurrence, attention | 02, 05, 06 |
# | semantics | what does it mean? | the world | embeddings, and all that combines them | 03 to 07 |
# | pragmatics | what is it for, here and now? | the situation | context, instructions, retrieval | 08 |
#
# ## The rung
#
# Three models of this chapter stand on the ladder: uniform, unigram over bytes, unigram over 8,192 tokens.

# %%
unigram_bpe = UnigramModel.fit(train_text, tokenizer)
for name, model in {"uniform": uniform, "unigram, bytes": unigram, "unigram, BPE": unigram_bpe}.items():
    print(f"{name:15} {ruler.bits_per_byte(model, test_text):.3f} bits per byte, {model.num_parameters:,} parameters")

# %%
figures.show(ladder.figure(), alt=ladder.describe())

# %% [markdown]
# ## What it cannot do
#
# The tokenizer took the unigram model from 4.4 bits to about 2, and that is as far as looking at one token at a time can go: on the probes it is a
# coin. The next chapter counts what follows what.
#
# ## Exercises
#
# [Exercise 01](../exercises/01_language_features/language_features.ipynb) has nine tasks: `rhymes`, `indefinite_article`, `successor_variety`,
# `zipf_exponent`, `train_bpe`, `encode`, `decode`, `cyk_parse` and `bits_per_byte`. It checks every answer at once. Four more have no single
# answer.
#
# **Add a pair.** Choose a phenomenon, write a pair as `probes.Pair(feature, phenomenon, better, worse, "by hand")`, and ask the unigram model with
# `probes.score(unigram, [pair])`. Then write its twin, in which the wrong word is the right one. Is yours answered by length alone? To add it to
# the book, put a line into `utils/bow2gpt/probes.csv`; `make test` tells whether the balance still holds.
#
# <details><summary>A pair and its twin</summary>
#
# *The treaty with the nations was signed.* against *The treaty with the nations were signed.*, and *The treaties with the nation were signed.*
# against *The treaties with the nation was signed.* Together they cannot be answered by preferring *was*, nor by agreeing with the nearest noun,
# nor by length.
#
# </details>
#
# **Icon, index, symbol.** In *We will raise this flag here today*, which words work as which kind of sign?
#
# <details><summary>One answer</summary>
#
# *We*, *here*, *today* and *this* are indices: they point, and need a speaker, a place and a day. *Raise*, *will* and *flag* are symbols. No word
# is an icon; a hand lifted on *raise* would be one. Peirce's kinds overlap: *this* is also a symbol, since it is by convention that English points
# with it.
#
# </details>
#
# **Displacement.** A honeybee tells of distant flowers, and a dog that hears *walk* runs to the door. What can you say that neither can?
#
# <details><summary>One answer</summary>
#
# The bee's dance is displaced in space and by a few minutes, but only about a place; it cannot say that there are *no* flowers, that there were
# some last year, or that there may be some if it rains. The dog understands a sign of something absent, but has no way to take it apart and put it
# together anew.
#
# </details>
#
# **Whose telescope?** Which of the two trees did you see first, and what would have made you see the other? Could a model that only reads text
# learn the same preference?
#
# <details><summary>One answer</summary>
#
# Most people see with the telescope, since one sees with telescopes and generals seldom carry one. *The president saw the general with the medals*
# turns it round with the same grammar. The preference rests on which words go together, and that shows in texts: *see* and *telescope* keep
# company, *general* and *telescope* seldom. So counting can learn a good part of it.
#
# </details>
#
# ## Further reading
#
# * *Language and signs.* C. F. Hockett (1960), *The Origin of Speech*, Scientific American 203. C. S. Peirce, *Collected Papers* vol. 2, Harvard
#   University Press (1932).
# * *The ruler.* C. E. Shannon (1951), *Prediction and Entropy of Printed English*, Bell System Technical Journal 30.
# * *Probes.* T. Linzen, E. Dupoux and Y. Goldberg (2016), *Assessing the Ability of LSTMs to Learn Syntax-Sensitive Dependencies*, TACL 4. A.
#   Warstadt et al. (2020), *BLiMP: The Benchmark of Linguistic Minimal Pairs for English*, TACL 8.
# * *Sound.* P. Ladefoged and K. Johnson (2014), *A Course in Phonetics*, 7th edition, Cengage. W. C. Stokoe (1960), *Sign Language Structure*,
#   Studies in Linguistics, Occasional Papers 8.
# * *Word parts.* M. Haspelmath and A. D. Sims (2010), *Understanding Morphology*, 2nd edition, Hodder. L. Bloomfield (1933), *Language*, Holt. J.
#   Berko (1958), *The Child's Learning of English Morphology*, Word 14. R. H. Baayen (1992), *Quantitative Aspects of Morphological Productivity*,
#   Yearbook of Morphology 1991. L. Gaeta and D. Ricca (2006), *Productivity in Italian Word Formation*, Linguistics 44(1).
# * *Cutting words.* Z. S. Harris (1955), *From Phoneme to Morpheme*, Language 31. M. A. Hafer and S. F. Weiss (1974), *Word Segmentation by Letter
#   Successor Varieties*, Information Storage and Retrieval 10. K. Bostrom and G. Durrett (2020), *Byte Pair Encoding is Suboptimal for Language
#   Model Pretraining*, Findings of EMNLP.
# * *Word counts.* G. K. Zipf (1935), *The Psycho-Biology of Language*, and (1949), *Human Behavior and the Principle of Least Effort*. B.
#   Mandelbrot (1953), *An Informational Theory of the Statistical Structure of Language*. R. Ferrer i Cancho and R. V. Solé (2001), *Two Regimes in
#   the Frequency of Words and the Origins of Complex Lexicons*, Journal of Quantitative Linguistics 8. G. Herdan (1960), *Type-Token Mathematics*.
#   H. S. Heaps (1978), *Information Retrieval*.
# * *Tokens.* P. Gage (1994), *A New Algorithm for Data Compression*, The C Users Journal 12(2). R. Sennrich, B. Haddow and A. Birch (2016), *Neural
#   Machine Translation of Rare Words with Subword Units*, ACL. A. Radford et al. (2019), *Language Models are Unsupervised Multitask Learners*,
#   OpenAI. A. Petrov et al. (2023), *Language Model Tokenizers Introduce Unfairness Between Languages*, NeurIPS.
# * *Syntax.* N. Chomsky (1956), *Three Models for the Description of Language*, and (1957), *Syntactic Structures*. D. H. Younger (1967),
#   *Recognition and Parsing of Context-Free Languages in Time n³*, Information and Control 10. K. Church and R. Patil (1982), *Coping with
#   Syntactic Ambiguity*, American Journal of Computational Linguistics 8. K. Bock and C. A. Miller (1991), *Broken Agreement*, Cognitive Psychology
#   23.
# * *Meaning and use.* A. Tarski (1944), *The Semantic Conception of Truth*, Philosophy and Phenomenological Research 4. R. Montague (1973), *The
#   Proper Treatment of Quantification in Ordinary English*. F. Pereira (2000), *Formal Grammar and Information Theory: Together Again?*,
#   Philosophical Transactions of the Royal Society A 358. H. P. Grice (1975), *Logic and Conversation*, Syntax and Semantics 3. S. C. Levinson
#   (1983), *Pragmatics*, Cambridge University Press.
