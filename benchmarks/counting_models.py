"""Chapter 02 beside the libraries a user would pick instead, in one run: `python benchmarks/counting_models.py`.

Each line gives both times and their ratio: above 1, the book's code is the faster one. Needs the extra `test`.

But: one machine and one moment, best of three for what takes less than a second. Compare ratios, not times.
"""

from __future__ import annotations

import argparse
import io
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from bow2gpt import corpus, ruler
from bow2gpt.chapters import counting_models as cm
from bow2gpt.chapters.language_features import words

PATTERN = r"[^\W\d_]+(?:['’][^\W\d_]+)*"


def seconds(work: Callable[[], object], repeats: int = 3) -> float:
    """Shortest of a few running times."""
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return min(times)


def compare(what: str, ours: float, theirs: float, library: str, unit: str = "s", faster: str = "less") -> None:
    """Print both measurements and how many times better ours is."""
    ratio = theirs / ours if faster == "less" else ours / theirs
    print(f"{what:44} ours {ours:11,.4g} {unit:8} {library} {theirs:11,.4g} {unit:8} ratio {ratio:7.2f}", flush=True)


@contextmanager
def quiet_stderr():
    """KenLM writes a progress bar past Python, straight to the terminal."""
    saved = os.dup(2)
    with open(os.devnull, "w") as nowhere:
        os.dup2(nowhere.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(saved, 2)
            os.close(saved)


def bags() -> None:
    """Bags of words and TF-IDF of all addresses, against scikit-learn's vectorizers."""
    from sklearn.feature_extraction.text import CountVectorizer, TfidfTransformer, TfidfVectorizer

    texts = [address.text for address in corpus.addresses()]
    documents = [words(text) for text in texts]
    vocabulary = cm.build_vocabulary(documents, min_documents=5)

    from_text = TfidfVectorizer(token_pattern=PATTERN, vocabulary=vocabulary)
    compare(
        "bag of words and TF-IDF, from raw text",
        seconds(lambda: cm.tf_idf(cm.document_term_matrix([words(text) for text in texts], vocabulary))),
        seconds(lambda: from_text.fit_transform(texts)),
        "scikit-learn",
    )
    counter = CountVectorizer(analyzer=lambda document: document, vocabulary=vocabulary)
    compare(
        "bag of words and TF-IDF, from tokens",
        seconds(lambda: cm.tf_idf(cm.document_term_matrix(documents, vocabulary))),
        seconds(lambda: TfidfTransformer().fit_transform(counter.fit_transform(documents))),
        "scikit-learn",
    )
    counts = cm.document_term_matrix(documents, vocabulary)
    compare(
        "TF-IDF, from dense counts",
        seconds(lambda: cm.tf_idf(counts)),
        seconds(lambda: TfidfTransformer().fit_transform(counts).toarray()),
        "scikit-learn",
    )
    naive_bayes(counts)


def naive_bayes(counts: np.ndarray) -> None:
    """Fit and predict war from peace, against scikit-learn's MultinomialNB."""
    from sklearn.naive_bayes import MultinomialNB

    war_years = corpus.war_years()
    labels = np.array([int(address.year in war_years) for address in corpus.addresses()])
    compare(
        "naive Bayes, fit and predict, dense counts",
        seconds(lambda: cm.NaiveBayes().fit(counts, labels).predict_log_proba(counts)),
        seconds(lambda: MultinomialNB().fit(counts, labels).predict_log_proba(counts)),
        "scikit-learn",
    )


def kenlm_scoring() -> None:
    """Scoring the test text with the same ARPA file, against KenLM's probing model."""
    import kenlm

    train, test = corpus.text("train"), corpus.text("test")
    model = cm.NGramModel.fit(train, 3, tokenizer=cm.WordTokenizer.train(train))
    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder) / "model.arpa")
        writing = seconds(lambda: cm.write_arpa(model, path), repeats=1)
        with quiet_stderr():
            theirs_loading = seconds(lambda: kenlm.Model(path), repeats=1)
            reader = kenlm.Model(path)
        ours_loading = seconds(lambda: cm.read_arpa(path, model.tokenizer), repeats=1)
        megabytes = Path(path).stat().st_size / 1e6
    print(f"{f'ARPA file, words, n = 3, {megabytes:.0f} MB, written in':44} ours {writing:11.4g} s", flush=True)
    compare("ARPA file read", ours_loading, theirs_loading, "KenLM")
    names = model.tokenizer.names()
    token_ids = model.tokenizer.encode(test)
    sentence = " ".join(names[token] for token in token_ids)
    scores = np.array([score for score, _, _ in reader.full_scores(sentence, bos=False, eos=False)])
    difference = np.abs(scores - model.token_log_probs(test) / np.log(10)).max()
    print(f"{'largest difference between the two':44} {difference:.1e} in log10, over {len(token_ids):,} tokens")
    ours = len(token_ids) / seconds(lambda: model.token_log_probs(test))
    compare(
        "scoring the test text, each token's score",
        ours,
        len(token_ids) / seconds(lambda: list(reader.full_scores(sentence, bos=False, eos=False))),
        "KenLM",
        "tokens/s",
        faster="more",
    )
    compare(
        "scoring the test text, the sum alone",
        ours,
        len(token_ids) / seconds(lambda: reader.score(sentence, bos=False, eos=False)),
        "KenLM",
        "tokens/s",
        faster="more",
    )
    print("    (ours cuts the text into tokens inside the time; KenLM is given them joined by spaces)")


class BytePairTokenizer:
    """A byte-level BPE of Hugging Face's `tokenizers` behind the interface that the book's models use."""

    def __init__(self, text: str, vocabulary_size: int):
        from tokenizers import ByteLevelBPETokenizer

        self._tokenizer = ByteLevelBPETokenizer()
        self._tokenizer.train_from_iterator(
            io.StringIO(text), vocab_size=vocabulary_size, min_frequency=2, show_progress=False
        )
        self.vocabulary_size = self._tokenizer.get_vocab_size()

    def encode(self, text: str) -> np.ndarray:
        """Token ids of a text: shape (tokens,)."""
        return np.array(self._tokenizer.encode(text).ids, dtype=np.int64)

    def decode(self, token_ids: Iterable[int]) -> str:
        """The text of some token ids."""
        return self._tokenizer.decode([int(token) for token in token_ids])

    def names(self) -> list[str]:
        """The pieces, bytes shown as printable characters."""
        return [self._tokenizer.id_to_token(token) for token in range(self.vocabulary_size)]


def byte_pairs() -> None:
    """What Kneser-Ney makes of another way to cut the text."""
    train, test = corpus.text("train"), corpus.text("test")
    start = time.perf_counter()
    tokenizer = BytePairTokenizer(train, 8192)
    print(f"{'BPE of 8,192 pieces trained (tokenizers)':44} {time.perf_counter() - start:16.1f} s", flush=True)
    if tokenizer.decode(tokenizer.encode(test)) != test:
        raise RuntimeError("the BPE does not give back the test text; bits per byte would mean nothing")
    tables = cm.count_ngrams(tokenizer.encode(train), 5, tokenizer.vocabulary_size)
    words = cm.WordTokenizer.train(train)
    word_tables = cm.count_ngrams(words.encode(train), 5, words.vocabulary_size)
    for order in (3, 5):
        ours = cm.NGramModel.from_tables(word_tables[:order], cm.modified_kneser_ney, words)
        theirs = cm.NGramModel.from_tables(tables[:order], cm.modified_kneser_ney, tokenizer)
        bits = [ruler.bits_per_byte(model, test) for model in (ours, theirs)]
        label = f"Kneser-Ney, n = {order}, bits per byte of test"
        print(f"{label:44} words {bits[0]:10.4f}          BPE {bits[1]:20.4f}", flush=True)


FIT = {
    "bytes, n = 8": "model = cm.NGramModel.fit(text, 8)",
    "words, n = 5": "model = cm.NGramModel.fit(text, 5, tokenizer=cm.WordTokenizer.train(text))",
}


MEASURED = """
import resource, sys, time
from pathlib import Path

from bow2gpt import corpus
from bow2gpt.chapters import counting_models as cm


def peak():
    status = Path("/proc/self/status")
    if status.exists():  # getrusage would count what the parent process held when it started this one
        return int(status.read_text().split("VmHWM:")[1].split()[0]) / 1e3
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6


text = corpus.text("train")
before, start = peak(), time.perf_counter()
{line}
print(time.perf_counter() - start, before, peak(), model.num_parameters)
"""


def fitting() -> None:
    """Seconds and peak memory of the two largest fits, each in a process of its own."""
    for name, line in FIT.items():
        code = MEASURED.replace("{line}", line)
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        taken, before, peak, numbers = map(float, done.stdout.split())
        print(
            f"{f'Kneser-Ney fitted, {name}':44} ours {taken:11.2f} s, peak {peak:,.0f} MB "
            f"({before:,.0f} MB before the fit), {numbers:,.0f} numbers",
            flush=True,
        )


def nltk_toy() -> None:
    """NLTK's Kneser-Ney and ours on a text small enough for it."""
    from nltk.lm import KneserNeyInterpolated
    from nltk.util import everygrams

    text = corpus.text("validation")[:20_000]
    tokenizer = cm.WordTokenizer.train(text, min_count=1)
    names = tokenizer.names()
    tokens = [names[token] for token in tokenizer.encode(text)]

    def fit_theirs() -> KneserNeyInterpolated:
        model = KneserNeyInterpolated(3)
        model.fit([everygrams(tokens, max_len=3)], tokens)
        return model

    compare(
        "Kneser-Ney, n = 3, 20 kB, fit",
        seconds(lambda: cm.NGramModel.fit(text, 3, tokenizer=tokenizer)),
        seconds(fit_theirs),
        "NLTK",
    )
    ours, theirs = cm.NGramModel.fit(text, 3, tokenizer=tokenizer), fit_theirs()
    part = text[4000:8000]
    token_ids = tokenizer.encode(part)
    pieces = [names[token] for token in token_ids][:100]

    def score() -> list[float]:
        return [theirs.logscore(pieces[i], pieces[i - 2 : i]) for i in range(2, len(pieces))]

    compare(
        "Kneser-Ney, n = 3, 20 kB, scoring",
        1000 * seconds(lambda: ours.token_log_probs(part)) / len(token_ids),
        1000 * seconds(score, repeats=1) / (len(pieces) - 2),
        "NLTK",
        "ms/token",
    )


PARTS = {"bags": bags, "fitting": fitting, "kenlm": kenlm_scoring, "bpe": byte_pairs, "nltk": nltk_toy}


def main() -> None:
    """Run the parts named on the command line, or all."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("parts", nargs="*", help=f"some of {', '.join(PARTS)}; all without one")
    chosen = parser.parse_args().parts or list(PARTS)
    if unknown := [name for name in chosen if name not in PARTS]:
        parser.error(f"there is no part {unknown[0]!r}; choose from {', '.join(PARTS)}")
    for name in chosen:
        print(f"\n{name}: {PARTS[name].__doc__}", flush=True)
        PARTS[name]()


if __name__ == "__main__":
    main()
