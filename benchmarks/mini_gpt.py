"""Chapter 07's long experiments: every part of the recipe on trial, and how losses scale.

`python benchmarks/mini_gpt.py ablations --seconds 60` trains each variant for the same time and writes the chapter's
table of variants; `python benchmarks/mini_gpt.py scaling` trains several depths on several amounts of text, each token
once, and writes the table that the chapter fits a law to; `python benchmarks/mini_gpt.py speed` says how many tokens a
second each depth learns from on this device, and what share of the device's best that is.
"""

import argparse
import csv
import math
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from bow2gpt import corpus
from bow2gpt.chapters import mini_gpt
from bow2gpt.chapters.language_features import Tokenizer
from bow2gpt.chapters.mini_gpt import GPT, GPTConfig, train_gpt

FOLDER = Path(mini_gpt.__file__).resolve().parents[1]
CONTEXT_LENGTH = 128  # as in the chapter

#: Dense bf16 operations a second at best, by the vendor's data sheets.
PEAKS = {"H200": 989e12, "H100": 989e12, "A100": 312e12, "RTX 4090": 165e12, "RTX 3090": 71e12, "T4": 65e12}


def adamw_alone(learning_rate: float) -> Callable[[GPT], list[torch.optim.Optimizer]]:
    """AdamW for all parameters, as nanoGPT has it."""

    def make(model: GPT) -> list[torch.optim.Optimizer]:
        matrices = [each for each in model.parameters() if each.ndim > 1]
        vectors = [each for each in model.parameters() if each.ndim < 2]
        groups = [{"params": matrices, "weight_decay": 0.1}, {"params": vectors, "weight_decay": 0.0}]
        return [torch.optim.AdamW(groups, lr=learning_rate, betas=(0.9, 0.95), fused=True)]

    return make


#: What a variant changes: fields of the configuration, or the optimisers.
VARIANTS: dict[str, dict] = {
    "the recipe": {},
    "the recipe, another seed": {"seed": 1},
    "AdamW for everything, 1e-3": {"make_optimisers": adamw_alone(1e-3)},
    "AdamW for everything, 3e-3": {"make_optimisers": adamw_alone(3e-3)},
    "GELU": {"mlp": "gelu"},
    "SwiGLU": {"mlp": "swiglu"},
    "RMS norm": {"norm": "rms"},
    "learned positions": {"positions": "learned"},
    "no QK-norm": {"qk_norm": False},
    "tied head": {"tied": True},
    "no bigrams": {"bigrams": 0},
    "dropout 0.1": {"dropout": 0.1},
    "cosine": {"schedule": lambda progress: mini_gpt.lr_schedule(50 * progress, 50, 1)},
    "half the learning rate": {"learning_rate": 0.5},
    "twice the learning rate": {"learning_rate": 2.0},
    "Shakespeare's plays in the text": {"plays": True},
}


class Texts:
    """The book's text as tokens, and what turns nats per token into bits per byte."""

    def __init__(self, vocabulary_size: int = 4096, validation_tokens: int = 60_000) -> None:
        self.tokenizer = Tokenizer.train(corpus.text("train"), vocabulary_size)
        self.train = self.tokenizer.encode(corpus.text("train")).astype(np.uint16)
        self.validation = self.tokenizer.encode(corpus.text("validation"))[:validation_tokens]
        num_bytes = len(self.tokenizer.decode_bytes(self.validation))
        self.bits_per_nat = (len(self.validation) - 1) / num_bytes / math.log(2)

    def with_plays(self) -> np.ndarray:
        """The training text, and Shakespeare's plays after it."""
        plays = self.tokenizer.encode("\n\n".join(corpus.shakespeare().values())).astype(np.uint16)
        return np.concatenate([self.train, plays])


def write(name: str, command: str, rows: list[dict]) -> None:
    """Write a table of the chapter."""
    with open(FOLDER / name, "w", encoding="utf-8", newline="") as file:
        file.write(f"# Made by `python benchmarks/mini_gpt.py {command}`; nothing in it is typed by hand.\n")
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def ablations(names: list[str], seconds: float, depth: int, batch_size: int) -> None:
    """Train each variant for so many seconds; rows of other variants stay as they are."""
    texts, path = Texts(), FOLDER / "gpt_ablations.csv"
    done = {}
    if path.exists():
        lines = [line for line in path.read_text(encoding="utf-8").splitlines() if not line.startswith("#")]
        done = {row["variant"]: row for row in csv.DictReader(lines)}
    for name in names or VARIANTS:
        changes = dict(VARIANTS[name])
        make, seed = changes.pop("make_optimisers", GPT.make_optimisers), changes.pop("seed", 0)
        schedule = changes.pop("schedule", None)
        ids = texts.with_plays() if changes.pop("plays", False) else texts.train
        config = GPTConfig.of_depth(depth, texts.tokenizer.vocabulary_size, CONTEXT_LENGTH)
        changes["learning_rate"] = config.learning_rate * changes.get("learning_rate", 1.0)
        if "mlp" in changes:
            changes["hidden_dim"] = None
        model = GPT(replace(config, **changes), seed=seed)
        model.schedule = schedule or model.schedule
        options = {"batch_size": batch_size, "validation_ids": texts.validation, "make_optimisers": make}
        trainer = train_gpt(model, ids, **options, max_seconds=seconds, seed=seed)
        bits = trainer.best * texts.bits_per_nat
        done[name] = {
            "variant": name,
            "parameters": model.num_parameters,
            "steps": trainer.step,
            "seconds": round(seconds),
            "validation": f"{bits:.4f}",
        }
        print(f"{name:28} {trainer.step:6} steps  {bits:.4f} bits per byte", flush=True)
        command = f"ablations --seconds {seconds:g} --depth {depth} --batch-size {batch_size}"
        write(path.name, command, [done[each] for each in VARIANTS if each in done])


def scaling(depths: list[int], fractions: list[float], batch_size: int) -> None:
    """Train each depth on each fraction of the text, every token once."""
    texts, rows = Texts(), []
    for depth in depths:
        for fraction in fractions:
            ids = texts.train[: int(len(texts.train) * fraction)]
            config = GPTConfig.of_depth(depth, texts.tokenizer.vocabulary_size, CONTEXT_LENGTH, bigrams=0)
            steps = (len(ids) - 1) // config.context_length // batch_size
            model, began = GPT(replace(config, num_steps=steps)), time.perf_counter()
            trainer = train_gpt(model, ids, batch_size=batch_size, validation_ids=texts.validation)
            rows.append(
                {
                    "depth": depth,
                    "weights": mini_gpt.num_weights(config),
                    "tokens": steps * batch_size * config.context_length,
                    "seconds": round(time.perf_counter() - began, 1),
                    "validation": f"{trainer.best * texts.bits_per_nat:.4f}",
                }
            )
            print(rows[-1], flush=True)
            shown = f"--depths {' '.join(map(str, depths))} --fractions {' '.join(map(str, fractions))}"
            write("gpt_scaling.csv", f"scaling {shown} --batch-size {batch_size}", rows)


def speed(depths: list[int], context_length: int, batch_size: int, rows_at_once: int, **options: Any) -> None:
    """Train each depth for a few steps, and write the median of its speed."""
    rows = []
    for depth in depths:
        config = GPTConfig.of_depth(depth, 4096, context_length, bigrams=0)
        ids = np.random.default_rng(0).integers(0, 4096, size=batch_size * context_length * 2).astype(np.uint16)
        compiled = torch.cuda.is_available()
        torch.compiler.reset()  # what was compiled for the depth before
        options = {"rows_at_once": rows_at_once, "compile": compiled, "log_every": 1, "num_steps": 10} | options
        trainer = train_gpt(GPT(config), ids, batch_size=batch_size, **options)
        tokens_per_second = float(np.median([record.tokens_per_second for record in trainer.records[4:]]))
        device = torch.cuda.get_device_name() if compiled else "processor"
        flops = 6 * mini_gpt.num_weights(config) * tokens_per_second
        best = next((peak for name, peak in PEAKS.items() if name in device), None)
        rows.append(
            {
                "device": device,
                "depth": depth,
                "weights": mini_gpt.num_weights(config),
                "tokens_per_second": round(tokens_per_second),
                "teraflops": round(flops / 1e12, 1),
                "utilisation": best and round(flops / best, 3),
                "gigabytes": round(torch.cuda.max_memory_allocated() / 1e9, 1) if compiled else None,
            }
        )
        print(rows[-1], flush=True)
    command = f"speed --depths {' '.join(map(str, depths))}"
    write("gpt_speed.csv", command, rows)


def main() -> None:
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    trials = commands.add_parser("ablations")
    trials.add_argument("names", nargs="*", help="variants; all by default")
    trials.add_argument("--seconds", type=float, default=60)
    trials.add_argument("--depth", type=int, default=2)
    trials.add_argument("--batch-size", type=int, default=32)
    scales = commands.add_parser("scaling")
    scales.add_argument("--depths", type=int, nargs="+", default=[1, 2, 3, 4, 5])
    scales.add_argument("--fractions", type=float, nargs="+", default=[0.125, 0.25, 0.5, 1.0])
    scales.add_argument("--batch-size", type=int, default=32)
    speeds = commands.add_parser("speed")
    speeds.add_argument("--depths", type=int, nargs="+", default=[16])
    speeds.add_argument("--context-length", type=int, default=1024)
    speeds.add_argument("--batch-size", type=int, default=128)
    speeds.add_argument("--rows-at-once", type=int, default=32)
    given = parser.parse_args()
    torch.set_flush_denormal(True)
    if given.command == "ablations":
        ablations(given.names, given.seconds, given.depth, given.batch_size)
    elif given.command == "speed":
        speed(given.depths, given.context_length, given.batch_size, given.rows_at_once)
    else:
        scaling(given.depths, given.fractions, given.batch_size)


if __name__ == "__main__":
    main()
