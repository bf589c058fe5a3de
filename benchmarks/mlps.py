"""Chapter 04 beside the libraries, and the long runs that the chapter has no time for.

`python benchmarks/mlps.py` times the book's numpy beside torch and scikit-learn; `python benchmarks/mlps.py long 24000`
trains the chapter's language model for so many steps (2640 are the chapter's) and adds a row to the chapter's table.
"""

import argparse
import csv
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional as F

from bow2gpt import corpus, ruler
from bow2gpt.chapters import mlps
from bow2gpt.chapters.counting_models import NGramModel
from bow2gpt.chapters.embeddings import MixtureModel
from bow2gpt.chapters.language_features import Tokenizer

TABLE = Path(mlps.__file__).resolve().parents[1] / "long_mlps.csv"


def seconds(work: Callable[[], object], repeats: int = 5) -> float:
    """Shortest of some running times, in seconds."""
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return min(times)


def compare(what: str, ours: float, theirs: float, library: str) -> None:
    """Print both times and how many times faster ours is."""
    print(
        f"{what:46} ours {1e3 * ours:9.3f} ms   {library} {1e3 * theirs:9.3f} ms   ratio {theirs / ours:6.2f}",
        flush=True,
    )


def backward() -> None:
    """Loss and slopes of a network with one hidden layer, hand-written, against torch's autograd, on one core."""
    torch.set_num_threads(1)
    for batch, width in [(4, 4), (64, 64), (1024, 256)]:
        rng = np.random.default_rng(0)
        inputs, targets = rng.normal(size=(batch, width)), rng.integers(0, width, batch)
        arrays = [rng.normal(size=(width, width)) / width for _ in range(2)]

        def by_hand(inputs=inputs, targets=targets, arrays=arrays) -> None:
            hidden = np.tanh(inputs @ arrays[0].T)
            _, grad_logits = mlps.softmax_cross_entropy(hidden @ arrays[1].T, targets)
            grad_hidden, _, _ = mlps.linear_backward(grad_logits, hidden, arrays[1])
            mlps.linear_backward(grad_hidden * (1 - hidden**2), inputs, arrays[0])

        tensors = [torch.tensor(array, requires_grad=True) for array in arrays]
        pair = torch.tensor(inputs), torch.tensor(targets)

        def automatic(tensors=tensors, pair=pair) -> None:
            F.cross_entropy(torch.tanh(pair[0] @ tensors[0].T) @ tensors[1].T, pair[1]).backward()

        compare(f"loss and slopes, batch {batch}, width {width}", seconds(by_hand), seconds(automatic), "torch")


def optimiser() -> None:
    """A step of AdamW on a million numbers, against torch's fused one, on one core."""
    torch.set_num_threads(1)
    rng = np.random.default_rng(0)
    parameter, gradient, state = rng.normal(size=1_000_000), rng.normal(size=1_000_000), {}
    tensor = torch.tensor(parameter, requires_grad=True)
    tensor.grad = torch.tensor(gradient)
    fused = torch.optim.AdamW([tensor], fused=True)
    compare(
        "AdamW, one step, a million numbers",
        seconds(lambda: mlps.adamw_step(parameter, gradient, state)),
        seconds(fused.step),
        "torch",
    )


def side_by_side() -> None:
    """Thirty small networks trained together, against scikit-learn's one after the other."""
    import warnings

    from sklearn.datasets import load_digits
    from sklearn.neural_network import MLPClassifier

    digits = load_digits()
    inputs, targets = (digits.data / 16)[:1000].astype(np.float32), digits.target[:1000]
    copies = 30
    tensors = torch.tensor(inputs).expand(copies, -1, -1), torch.tensor(targets).expand(copies, -1)

    def together() -> None:
        mlps.train_many(mlps.ManyMLPs([64, 32, 10], copies), *tensors, num_steps=250, batch_size=100)

    def one_by_one() -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            for seed in range(copies):
                MLPClassifier((32,), max_iter=25, batch_size=100, random_state=seed).fit(inputs, targets)

    compare("30 networks on digits, 250 steps each", seconds(together, 1), seconds(one_by_one, 1), "scikit-learn")


def long(num_steps: int, hidden_dim: int) -> None:
    """Train the chapter's language model for longer, and measure it."""
    train, validation, test = (corpus.text(split) for split in corpus.SPLITS)
    tokenizer = Tokenizer.train(train, 2048)
    token_ids = tokenizer.encode(train)
    # Processor time, so that a run which was paused or disturbed counts what it worked.
    start = time.process_time()

    def report(step: int, loss: float) -> None:
        if step % 500 == 0:
            minutes = (time.process_time() - start) / 60
            print(f"step {step}: {loss:.3f} nats per token, {minutes:.1f} minutes of one core", flush=True)

    model = mlps.NeuralLanguageModel(tokenizer, hidden_dim=hidden_dim)
    mlps.train_language_model(model, token_ids, num_steps, report=report)
    minutes = (time.process_time() - start) / 60
    counts = NGramModel.fit(train, 5, tokenizer=tokenizer)
    mixture = MixtureModel.fit([model, counts], validation[:200_000])
    row = {
        "hidden_dim": str(hidden_dim),
        "steps": str(num_steps),
        "passes": f"{num_steps * 1024 / len(token_ids):.1f}",
        "core_minutes": f"{minutes:.0f}",
        "validation": f"{ruler.bits_per_byte(model, validation):.3f}",
        "test": f"{ruler.bits_per_byte(model, test):.3f}",
        "mixed_test": f"{ruler.bits_per_byte(mixture, test):.3f}",
        "network_weight": f"{mixture.weights[0]:.2f}",
    }
    print(", ".join(f"{name} {value}" for name, value in row.items()))
    store(row)


def store(row: dict[str, str]) -> None:
    """Put a row into the table of long runs, in place of an earlier one of the same size and steps."""
    rows = {}
    if TABLE.exists():
        with open(TABLE, encoding="utf-8", newline="") as file:
            rows = {(r["hidden_dim"], r["steps"]): r for r in csv.DictReader(x for x in file if not x.startswith("#"))}
    rows[row["hidden_dim"], row["steps"]] = row
    with open(TABLE, "w", encoding="utf-8", newline="") as file:
        file.write("# Made by `python benchmarks/mlps.py long STEPS --hidden SIZE`; nothing in it is typed by hand.\n")
        writer = csv.DictWriter(file, list(row), lineterminator="\n")
        writer.writeheader()
        writer.writerows(sorted(rows.values(), key=lambda r: (int(r["hidden_dim"]), int(r["steps"]))))


PARTS = {"backward": backward, "optimiser": optimiser, "side_by_side": side_by_side}


def main() -> None:
    """Run the comparisons named on the command line, or all; or one long run."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("part", nargs="?", choices=[*PARTS, "long"], help="all comparisons without one")
    parser.add_argument("steps", nargs="?", type=int, default=24000, help="of the long run; 2640 are the chapter's")
    parser.add_argument("--hidden", type=int, default=256, help="hidden cells of the long run")
    chosen = parser.parse_args()
    if chosen.part == "long":
        long(chosen.steps, chosen.hidden)
        return
    for name in [chosen.part] if chosen.part else PARTS:
        print(f"\n{name}: {PARTS[name].__doc__}", flush=True)
        PARTS[name]()


if __name__ == "__main__":
    main()
