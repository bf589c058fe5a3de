"""How many dimensions do word vectors need? `python benchmarks/dimensions.py` writes the table of chapter 03.

Trains skip-gram and PPMI with SVD at sizes from 8 to 1,536 on the training split, and judges each by the odd-one-out
items and by the neighbours that it shares with GloVe 6B. Needs the extra `vectors`; all take ten minutes on two cores.

But: rows that the table holds already are kept; delete the file to measure all of them anew.
"""

from __future__ import annotations

import argparse
import csv
import time
from pathlib import Path

import numpy as np

from bow2gpt import corpus
from bow2gpt.chapters import embeddings as em
from bow2gpt.chapters.language_features import words

TABLE = Path(em.__file__).resolve().parents[1] / "dimensions.csv"
COLUMNS = ("method", "dim", "seed", "seconds", "odd_one_out", "agreement")
METHODS = ("PPMI and SVD", "skip-gram")
DIMS = (8, 16, 32, 64, 128, 256, 512, 768, 1536)
SEEDS = (0,)  # more of them give the curves error bars


def main() -> None:
    """Measure what the table lacks, and store each row at once."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("dims", nargs="*", type=int, help=f"sizes (default: {' '.join(map(str, DIMS))})")
    parser.add_argument("--method", choices=METHODS, help="one method only")
    chosen = parser.parse_args()
    judge, stored = _Judge(), _stored()
    done = {(row["method"], int(row["dim"]), int(row["seed"])) for row in stored}
    for dim in chosen.dims or DIMS:
        for method in METHODS if chosen.method is None else [chosen.method]:
            for seed in SEEDS if method == "skip-gram" else (0,):
                if (method, dim, seed) not in done:
                    stored.append(judge.measure(method, dim, seed))
                    _store(stored)


class _Judge:
    """The text, and what vectors are judged by."""

    def __init__(self) -> None:
        text = words(corpus.text("train"))
        self.vocabulary = em.frequent_words(text)
        self.all_ids = em.word_ids(text, self.vocabulary)
        self.token_ids = self.all_ids[self.all_ids >= 0]
        self.common = em.frequent_words(text, 15)
        self.items = em.odd_one_out_items()
        glove = corpus.word_vectors()
        place = {word: row for row, word in enumerate(glove.words[:50_000])}
        self.shared = [row for row, word in enumerate(self.vocabulary[:2000]) if row >= 100 and word in place][:1000]
        self.theirs = np.asarray(glove.vectors)[[place[self.vocabulary[row]] for row in self.shared]]

    def measure(self, method: str, dim: int, seed: int) -> dict[str, str]:
        """Make vectors, judge them; print and give the table's row."""
        start = time.perf_counter()
        if method == "skip-gram":
            vocabulary = self.vocabulary
            vectors = em.train_word2vec(self.token_ids, len(vocabulary), dim, seed=seed)
        else:
            vocabulary = self.common
            ids = np.where(self.all_ids < len(vocabulary), self.all_ids, -1)
            vectors = em.svd_embed(em.ppmi(em.cooccurrence_counts(ids, len(vocabulary))), dim)
        seconds = time.perf_counter() - start
        found = em.odd_one_out_accuracy(vectors, vocabulary, self.items)
        agreement = em.neighbour_overlap(vectors[self.shared], self.theirs, range(len(self.shared)))
        cells = (method, str(dim), str(seed), f"{seconds:.1f}", f"{found:.3f}", f"{agreement:.3f}")
        print(*cells, flush=True)
        return dict(zip(COLUMNS, cells, strict=True))


def _stored() -> list[dict[str, str]]:
    if not TABLE.exists():
        return []
    with open(TABLE, encoding="utf-8", newline="") as file:
        return list(csv.DictReader(line for line in file if not line.startswith("#")))


def _store(rows: list[dict[str, str]]) -> None:
    ordered = sorted(rows, key=lambda row: (row["method"], int(row["dim"]), int(row["seed"])))
    with open(TABLE, "w", encoding="utf-8", newline="") as file:
        file.write("# Made by `python benchmarks/dimensions.py`; nothing in it is typed by hand.\n")
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(ordered)


if __name__ == "__main__":
    main()
