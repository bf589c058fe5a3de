"""The book's byte-pair encoding beside Hugging Face's `tokenizers`, in one run: `python benchmarks/tokenizer.py`.

Both train on the same text with GPT-2's pattern, and their merges and ids are checked to be the same before any time is
printed. Each line gives both times and their ratio: above 1, the book's code is the faster one.

But: one machine and one moment. The library is used as it comes, on all cores where it can: it trains from an iterator
of lines (one long text would leave it one core) and encodes one text on one core, a batch of lines on all.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable

import regex
from tokenizers import Tokenizer as RustTokenizer
from tokenizers import decoders, models, pre_tokenizers, trainers

from bow2gpt import corpus
from bow2gpt.chapters.language_features import GPT2_PATTERN, Tokenizer, train_bpe

SIZE = 8192
REPEATS = 3


def seconds(work: Callable[[], object], repeats: int = REPEATS) -> float:
    """Shortest of a few running times."""
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return min(times)


def compare(what: str, ours: float, theirs: float, unit: str = "s", faster: str = "less") -> None:
    """Print both measurements and how many times better ours is."""
    ratio = theirs / ours if faster == "less" else ours / theirs
    print(f"{what:44} ours {ours:8.2f} {unit:6} tokenizers {theirs:8.2f} {unit:6} ratio {ratio:5.2f}", flush=True)


def train_theirs(lines: list[str], vocabulary_size: int) -> RustTokenizer:
    """The library's byte-level BPE."""
    rust = RustTokenizer(models.BPE())
    rust.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    rust.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=vocabulary_size, initial_alphabet=alphabet, show_progress=False)
    rust.train_from_iterator(lines, trainer)
    return rust


def naive_bpe(word_counts: list[tuple[bytes, int]], num_merges: int) -> None:
    """Every pair of every word counted again for each merge."""
    cut = [([bytes([byte]) for byte in word], count) for word, count in word_counts]
    for _ in range(num_merges):
        pairs = Counter()
        for tokens, count in cut:
            for pair in zip(tokens, tokens[1:], strict=False):
                pairs[pair] += count
        best = max(pairs, key=pairs.get)
        for tokens, _ in cut:
            for i in range(len(tokens) - 2, -1, -1):
                if (tokens[i], tokens[i + 1]) == best:
                    tokens[i : i + 2] = [b"".join(best)]


def training(text: str, lines: list[str]) -> tuple[Tokenizer, RustTokenizer]:
    """Vocabulary 8,192 from the training text."""
    ours, theirs = Tokenizer.train(text, SIZE), train_theirs(lines, SIZE)
    merges = [tuple(pair) for pair in json.loads(theirs.to_str())["model"]["merges"]]
    names = ours.names()
    if [a + b for a, b in merges] != names[256:]:
        raise RuntimeError("the merges differ; times would mean nothing")
    print(f"{len(merges):,} merges, all the same", flush=True)
    alternating = [
        (seconds(lambda: train_bpe(text, SIZE), 1), seconds(lambda: train_theirs(lines, SIZE), 1)) for _ in range(5)
    ]
    compare("training, best of five", *map(min, zip(*alternating, strict=True)))
    ratios = sorted(theirs / ours for ours, theirs in alternating)
    print(f"{'training, ratios of the five':44} {', '.join(f'{ratio:.2f}' for ratio in ratios)}")
    compare(
        "training, all as one text",
        seconds(lambda: train_bpe(text, SIZE), 1),
        seconds(lambda: train_theirs([text], SIZE), 1),
    )
    return ours, theirs


def encoding(text: str, lines: list[str], ours: Tokenizer, theirs: RustTokenizer) -> None:
    """Megabytes each second, with and without a memory of words."""
    megabytes = len(text.encode("utf-8")) / 1e6
    content = theirs.to_str()

    def cold_ours() -> float:
        fresh = Tokenizer(ours.merges)
        return megabytes / seconds(lambda: fresh.encode(text), 1)

    def cold_theirs(encode: Callable[[RustTokenizer], object]) -> float:
        fresh = RustTokenizer.from_str(content)
        return megabytes / seconds(lambda: encode(fresh), 1)

    cold = max(cold_ours() for _ in range(REPEATS))
    one_text = max(cold_theirs(lambda rust: rust.encode(text)) for _ in range(REPEATS))
    compare("encoding cold, one text", cold, one_text, "MB/s", "more")
    batch = max(cold_theirs(lambda rust: rust.encode_batch_fast(lines)) for _ in range(REPEATS))
    compare("encoding cold, theirs a batch of lines", cold, batch, "MB/s", "more")
    warm = megabytes / seconds(lambda: ours.encode(text))
    compare("encoding again, one text", warm, megabytes / seconds(lambda: theirs.encode(text)), "MB/s", "more")
    ids = ours.encode(text)
    if ids.tolist() != theirs.encode(text).ids:
        raise RuntimeError("the ids differ; times would mean nothing")
    as_list = ids.tolist()
    compare(
        "decoding",
        megabytes / seconds(lambda: ours.decode(ids)),
        megabytes / seconds(lambda: theirs.decode(as_list)),
        "MB/s",
        "more",
    )


def naive(text: str) -> None:
    """The method of the first pages, on a text small enough for it."""
    part, num_merges = text[:30_000], 100
    every_word = [(word.encode(), 1) for word in regex.findall(GPT2_PATTERN, part)]
    slow = seconds(lambda: naive_bpe(every_word, num_merges), 1)
    fast = seconds(lambda: train_bpe(part, 256 + num_merges))
    print(f"{'naive, 30 kB, 100 merges':44} {slow:.2f} s, train_bpe {fast:.3f} s, ratio {slow / fast:,.0f}")
    at_most = slow / num_merges * (SIZE - 256) * len(text) / len(part) / 3600
    print(f"{'naive, all of it, extrapolated':44} at most {at_most:.0f} hours")


PEAK = """
import resource, sys
from pathlib import Path

from bow2gpt import corpus
from bow2gpt.chapters.language_features import Tokenizer


def peak():
    status = Path("/proc/self/status")
    if status.exists():  # getrusage would count what the parent process held when it started this one
        return int(status.read_text().split("VmHWM:")[1].split()[0]) / 1e3
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6


text = corpus.text("train")
before = peak()
tokenizer = Tokenizer.train(text, 8192)
trained = peak()
tokenizer.encode(text)
print(before, trained, peak())
"""


def memory() -> None:
    """Peak memory of training and encoding, in a process of its own."""
    done = subprocess.run([sys.executable, "-c", PEAK], capture_output=True, text=True, check=True)
    before, trained, encoded = map(float, done.stdout.split())
    print(
        f"{'peak memory':44} {before:.0f} MB before, {trained:.0f} MB after training, {encoded:.0f} MB after encoding"
    )


def main() -> None:
    """Run every comparison."""
    text = corpus.text("train")
    lines = text.splitlines(keepends=True)
    print(f"{len(text.encode('utf-8')) / 1e6:.1f} MB, Python {sys.version.split()[0]}", flush=True)
    encoding(text, lines, *training(text, lines))
    naive(text)
    memory()


if __name__ == "__main__":
    main()
