# Generated from chapters/02_counting_models.py by `bow2gpt build`: edit there.
"""Counting models: what the chapter builds."""

import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bow2gpt.chapters.language_features import AnyTokenizer, ByteTokenizer
from bow2gpt.course.paths import atomic_path


def build_vocabulary(documents: Iterable[Sequence[str]], min_documents: int = 1) -> list[str]:
    """List the words that occur in at least `min_documents` documents, in alphabetical order."""
    document_frequency = Counter(word for document in documents for word in set(document))
    return sorted(word for word, count in document_frequency.items() if count >= min_documents)


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


Smoothing = Callable[[NGramTable, bool], tuple[np.ndarray, np.ndarray]]


def _share(values: np.ndarray, table: NGramTable, denominators: np.ndarray) -> np.ndarray:
    """Divide a value of each n-gram by a value of its context; contexts never seen have no n-grams to divide."""
    return values / np.where(denominators > 0, denominators, 1)[table.contexts]


def _context_sums(values: np.ndarray, table: NGramTable) -> np.ndarray:
    """Add up a value of each n-gram over its context: shape (contexts,)."""
    return np.bincount(table.contexts, weights=values, minlength=table.num_contexts)


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


def find_keys(keys: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Place of each wanted key in the sorted keys, or -1."""
    if len(keys) == 0:
        return np.full(len(wanted), -1)
    places = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
    places = places.astype(np.int64, copy=False)  # in a browser they have 32 bits, too few for the next order's keys
    return np.where(keys[places] == wanted, places, -1)


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
