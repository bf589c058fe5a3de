"""How many dimensions do word vectors need? `python benchmarks/dimensions.py` writes the table of chapter 03.

Trains skip-gram and PPMI with SVD at sizes from 8 to 1,536 on the training split, and judges each by the odd-one-out
items and by the neighbours that it shares with GloVe 6B. Needs the extra `vectors`; some ten minutes on two cores.

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
DIMS = (8, 16, 32, 64, 128, 256, 512, 768, 1536)
SEEDS = {dim: (0, 1) if dim <= 64 else (0,) for dim in DIMS}


def main() -> None:
    """Measure what the table lacks, smallest sizes first, and store each row at once."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--largest", type=int, default=max(DIMS), help="leave larger sizes out")
    largest = parser.parse_args().largest
    rows = _stored()
    done = {(row["method"], int(row["dim"]), int(row["seed"])) for row in rows}
    judge = _Judge()
    for dim in (dim for dim in DIMS if dim <= largest):
        if ("PPMI and SVD", dim, 0) not in done:
            for cut in (d for d in DIMS if d <= largest):  # one decomposition serves all sizes
                seconds, vectors = judge.counted(largest, cut)
                rows.append(judge.row("PPMI and SVD", cut, 0, seconds, vectors, judge.common))
                done.add(("PPMI and SVD", cut, 0))
            _store(rows)
        for seed in SEEDS[dim]:
            if ("skip-gram", dim, seed) not in done:
                start = time.perf_counter()
                vectors = em.train_word2vec(judge.token_ids, len(judge.vocabulary), dim, seed=seed)
                rows.append(judge.row("skip-gram", dim, seed, time.perf_counter() - start, vectors, judge.vocabulary))
                _store(rows)


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
        self._svd: tuple[float, np.ndarray] | None = None

    def counted(self, largest: int, dim: int) -> tuple[float, np.ndarray]:
        """Seconds of the decomposition, and its first dimensions."""
        if self._svd is None:
            ids = np.where(self.all_ids < len(self.common), self.all_ids, -1)
            start = time.perf_counter()
            matrix = em.ppmi(em.cooccurrence_counts(ids, len(self.common)))
            vectors = em.svd_embed(matrix, largest)
            self._svd = time.perf_counter() - start, vectors
        return self._svd[0], self._svd[1][:, :dim]

    def row(
        self, method: str, dim: int, seed: int, seconds: float, vectors: np.ndarray, vocabulary: list[str]
    ) -> dict[str, str]:
        """Judge vectors; print and give the table's row."""
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
