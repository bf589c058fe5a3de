# Generated from chapters/01_language_features.py by `bow2gpt build`: edit there.
"""Language features: what the chapter builds."""

import heapq
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain, cycle, pairwise
from pathlib import Path
from typing import Protocol

import numpy as np
import regex

from bow2gpt import tokenizer_json


def words(text: str) -> list[str]:
    """Cut a text into lower-case words: runs of letters, with apostrophes inside them."""
    return re.findall(r"[^\W\d_]+(?:['’][^\W\d_]+)*", text.lower())


class AnyTokenizer(Protocol):
    """What a model asks of a tokenizer: a text as ids below `vocabulary_size`, and back; a printable name for each."""

    vocabulary_size: int

    def encode(self, text: str) -> np.ndarray: ...

    def decode(self, token_ids: Iterable[int]) -> str: ...

    def names(self) -> list[str]: ...


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


def _peaks(variety: Sequence[int]) -> set[int]:
    """Numbers of letters after which the variety is larger than before, and then does not grow."""
    padded = [0, *variety]  # padded[n] is the variety after n letters
    return {n for n in range(1, len(variety)) if padded[n - 1] < padded[n] >= padded[n + 1]}


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


def _cuts(word: str, parts: Sequence[str]) -> set[int]:
    if "".join(parts) != word:
        raise ValueError(f"the parts {list(parts)} do not join to {word!r}; they must cover it, in order")
    return {sum(map(len, parts[:n])) for n in range(1, len(parts))} - {0, len(word)}


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


# How GPT-2 cuts a text before any pair is merged (Radford et al., 2019).
GPT2_PATTERN = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"


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


def _index_pairs(words: list[str], weights: list[int]) -> tuple[defaultdict, defaultdict]:
    """How often each pair of neighbours occurs, and in which words."""
    counts, places = defaultdict(int), defaultdict(list)
    for place, word in enumerate(words):
        for i in range(len(word) - 1):
            counts[word[i : i + 2]] += weights[place]
            places[word[i : i + 2]].append(place)
    return counts, places


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


_BYTE_OF_ID = tokenizer_json.BYTE_OF_ID
_ID_OF_BYTE = bytes(sorted(range(256), key=_BYTE_OF_ID.__getitem__))


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


Rule = tuple[str, str, str]  # (parent, left part, right part)
Tree = tuple  # (category, word) for a leaf, (category, left tree, right tree) for a phrase


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
