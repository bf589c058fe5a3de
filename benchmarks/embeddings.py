"""Skip-gram of chapter 03 beside gensim's, in one run: `python benchmarks/embeddings.py`.

Both read the training split with dimension 100, window 5, 5 negatives, 5 epochs, two threads. Speed is raw words read
per second; quality the odd-one-out items and the overlap of ten nearest neighbours over 200 frequent words. Needs the
extra `test`; some two minutes on two cores.

But: one machine and one moment, seeds in turns so that both feel the same load. Compare ratios, not speeds.
"""

from __future__ import annotations

import argparse
import itertools
import time

import numpy as np
import torch

from bow2gpt import corpus
from bow2gpt.chapters import embeddings as em
from bow2gpt.chapters.language_features import words

DIM, WINDOW, NEGATIVES, EPOCHS, THREADS = 100, 5, 5, 5, 2
QUERIES = range(100, 300)


def train_gensim(names: list[str], vocabulary: list[str], seed: int) -> tuple[float, np.ndarray]:
    """Seconds of training alone, without the vocabulary, and the vectors."""
    from gensim.models import Word2Vec

    sentences = [names[start : start + 1000] for start in range(0, len(names), 1000)]
    options = {"vector_size": DIM, "window": WINDOW, "negative": NEGATIVES, "sg": 1, "min_count": 1, "seed": seed}
    model = Word2Vec(**options, workers=THREADS)
    model.build_vocab(sentences)
    start = time.perf_counter()
    model.train(sentences, total_examples=len(sentences), epochs=EPOCHS)
    return time.perf_counter() - start, model.wv[vocabulary]


def train_ours(token_ids: np.ndarray, vocabulary: list[str], seed: int) -> tuple[float, np.ndarray]:
    """Seconds of training, and the vectors."""
    options = {"window": WINDOW, "num_negatives": NEGATIVES, "epochs": EPOCHS, "seed": seed}
    start = time.perf_counter()
    vectors = em.train_word2vec(token_ids, len(vocabulary), DIM, "skip-gram", **options)
    return time.perf_counter() - start, vectors


def mean_overlap(pairs: list[tuple[np.ndarray, np.ndarray]]) -> str:
    """Mean neighbour overlap of pairs of vectors, as text."""
    return f"{np.mean([em.neighbour_overlap(first, second, QUERIES) for first, second in pairs]):.3f}"


def main() -> None:
    """Train both with several seeds in turns; print speeds, quality and the ratio."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--seeds", type=int, default=3, help="trainings of each (default 3)")
    seeds = parser.parse_args().seeds
    torch.set_num_threads(THREADS)
    text = words(corpus.text("train"))
    vocabulary = em.frequent_words(text)
    token_ids = em.word_ids(text, vocabulary)
    token_ids = token_ids[token_ids >= 0]
    names = [vocabulary[token] for token in token_ids]
    items = em.odd_one_out_items()
    found: dict[str, list[tuple[float, float, np.ndarray]]] = {"ours": [], "gensim": []}
    for seed in range(seeds):
        trainings = {
            "gensim": train_gensim(names, vocabulary, seed + 1),
            "ours": train_ours(token_ids, vocabulary, seed),
        }
        for who, (seconds, vectors) in trainings.items():
            share = em.odd_one_out_accuracy(vectors, vocabulary, items)
            speed = EPOCHS * len(token_ids) / seconds
            found[who].append((speed, share, vectors))
            print(f"{who:7} seed {seed}: {speed / 1e3:6,.0f} thousand words/s, odd one out {share:.3f}", flush=True)
    tables = {who: [vectors for _, _, vectors in runs] for who, runs in found.items()}
    for who, runs in found.items():
        speed, share = np.median([run[0] for run in runs]), np.mean([run[1] for run in runs])
        print(f"{who:7} median {speed / 1e3:6,.0f} thousand words/s, mean odd one out {share:.3f}")
    ratio = np.median([run[0] for run in found["ours"]]) / np.median([run[0] for run in found["gensim"]])
    print(f"ratio of speeds, ours to gensim: {ratio:.2f}")
    print("overlap of ten neighbours, ours with gensim:", mean_overlap(list(itertools.product(*tables.values()))))
    for who, vectors in tables.items():
        if len(vectors) > 1:
            pairs = list(itertools.combinations(vectors, 2))
            print(f"overlap of ten neighbours, {who} with itself, other seeds:", mean_overlap(pairs))


if __name__ == "__main__":
    main()
