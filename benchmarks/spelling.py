"""Spelling to sound, the long comparison of chapters 05 and 06: equal parameters, equal seconds, the whole test split.

`python benchmarks/spelling.py` trains every model that has no row yet, for 300 seconds each on one core, and writes
`utils/bow2gpt/spelling_results.csv` and `utils/bow2gpt/spelling_by_length.csv`. With a name, such as `"LSTM with
attention"`, and `--again` it measures one model anew; `--seconds 20 --out FOLDER` tries it out elsewhere.

Seconds are processor time of one thread, so that a run which was disturbed counts what it worked.
"""

import argparse
import csv
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

from bow2gpt import spelling
from bow2gpt.chapters import sequences

RESULTS, BY_LENGTH = "spelling_results.csv", "spelling_by_length.csv"
LONGEST, SHORTEST = 15, 3  # groups of word length: 3 and less, 4, ..., 15 and more


@dataclass(frozen=True)
class Recipe:
    """How to make a model, and the highest learning rate that suits it."""

    build: Callable[[], torch.nn.Module]
    learning_rate: float


def transformer(**options) -> torch.nn.Module:
    """The encoder-decoder of chapter 06."""
    from bow2gpt.chapters import attention

    return attention.Transformer(**options)


#: All with about half a million parameters.
RECIPES = {
    "LSTM, one vector": Recipe(lambda: sequences.Seq2Seq(hidden_dim=198, attention=False, dropout=0.1), 4e-3),
    "LSTM with attention": Recipe(lambda: sequences.Seq2Seq(hidden_dim=192, attention=True, dropout=0.1), 4e-3),
    "Transformer": Recipe(
        lambda: transformer(embedding_dim=96, num_heads=4, num_layers=2, hidden_dim=352, dropout=0.1), 4e-3
    ),
}


def measure(name: str, seconds: float, batch_size: int) -> tuple[dict[str, str], list[dict[str, str]]]:
    """Train one model for so many seconds, let it say the test split; returns its row, and its rows by length."""
    recipe, pairs = RECIPES[name], spelling.pairs("train")
    options = {"batch_size": batch_size, "learning_rate": recipe.learning_rate}
    trial = recipe.build()
    sequences.train_seq2seq(trial, pairs, num_steps=5, progress=False, **options)  # the first steps are slow
    began = time.process_time()
    sequences.train_seq2seq(trial, pairs, num_steps=50, progress=False, **options)
    num_steps = max(1, round(seconds / ((time.process_time() - began) / 50)))

    model, began = recipe.build(), time.process_time()

    def report(step: int, loss: float) -> None:
        if step % 200 == 0:
            print(
                f"{name}: step {step} of {num_steps}, {loss:.3f} nats, {time.process_time() - began:.0f} s", flush=True
            )

    losses = sequences.train_seq2seq(model, pairs, num_steps=num_steps, progress=False, report=report, **options)
    trained = time.process_time() - began
    entries, began = spelling.entries("test"), time.process_time()
    guesses = sequences.pronounce(model, [entry.word for entry in entries])
    wrote = time.process_time() - began
    rates = spelling.error_rates(guesses, entries)
    row = {
        "model": name,
        "parameters": str(model.num_parameters),
        "seconds": f"{trained:.0f}",
        "steps": str(num_steps),
        "passes": f"{num_steps * batch_size / len(pairs[0]):.1f}",
        "loss": f"{sum(losses[-50:]) / len(losses[-50:]):.4f}",
        "phoneme_error": f"{rates.phoneme:.4f}",
        "word_error": f"{rates.word:.4f}",
        "words_per_second": f"{len(entries) / wrote:.0f}",
    }
    groups: dict[int, list[int]] = {}
    for place, entry in enumerate(entries):
        groups.setdefault(min(max(len(entry.word), SHORTEST), LONGEST), []).append(place)
    by_length = []
    for letters, places in sorted(groups.items()):
        rates = spelling.error_rates([guesses[place] for place in places], [entries[place] for place in places])
        by_length.append(
            {
                "model": name,
                "letters": str(letters),
                "words": str(rates.num_words),
                "phoneme_error": f"{rates.phoneme:.4f}",
                "word_error": f"{rates.word:.4f}",
            }
        )
    return row, by_length


def stored(path: Path) -> list[dict[str, str]]:
    """The rows of a table, none if there is none."""
    if not path.exists():
        return []
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def store(path: Path, name: str, rows: list[dict[str, str]]) -> None:
    """Put a model's rows in place of its old ones; models keep the order of `RECIPES`."""
    every = [row for row in stored(path) if row["model"] != name] + rows
    every.sort(key=lambda row: list(RECIPES).index(row["model"]) if row["model"] in RECIPES else len(RECIPES))
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(every)


def main() -> None:
    """Measure the models named on the command line, or all that have no row yet."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("models", nargs="*", metavar="model", help=f"from: {'; '.join(RECIPES)}")
    parser.add_argument("--seconds", type=float, default=300, help="of training, each model")
    parser.add_argument("--batch-size", type=int, default=256)
    parser.add_argument("--again", action="store_true", help="measure models that have a row, too")
    parser.add_argument("--out", type=Path, default=Path(spelling.__file__).parent, help="folder of the tables")
    chosen = parser.parse_args()
    if unknown := [name for name in chosen.models if name not in RECIPES]:
        parser.error(f"there is no model {unknown[0]!r}; known: {'; '.join(RECIPES)}")
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    known = {row["model"] for row in stored(chosen.out / RESULTS)}
    for name in chosen.models or RECIPES:
        if name in known and not chosen.again:
            print(f"{name}: has a row; --again measures it anew")
            continue
        try:
            row, by_length = measure(name, chosen.seconds, chosen.batch_size)
        except ModuleNotFoundError as missing:
            print(f"{name}: left out, {missing}")
            continue
        store(chosen.out / RESULTS, name, [row])
        store(chosen.out / BY_LENGTH, name, by_length)
        print(", ".join(f"{column} {value}" for column, value in row.items()), flush=True)


if __name__ == "__main__":
    main()
