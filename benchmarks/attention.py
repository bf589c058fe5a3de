"""What attention and its rivals cost, and how well they recall: the two tables of chapter 06.

`python benchmarks/attention.py cost` measures time and memory at lengths from 64 to 4,096 on one core (two minutes) and
writes `utils/bow2gpt/attention_cost.csv`; `python benchmarks/attention.py recall` trains a small model with each mixer
on associative recall (five minutes) and writes `utils/bow2gpt/attention_recall.csv`. Name mixers, and lengths with
`--lengths`, to measure only these rows again, say where the machine was busy.
"""

from __future__ import annotations

import argparse
import csv
import math
import time
from collections.abc import Sequence
from pathlib import Path

import torch
from torch.nn import functional as F

from bow2gpt.chapters import attention as at

FOLDER = Path(at.__file__).resolve().parents[1]
LENGTHS = (64, 128, 256, 512, 768, 1024, 1536, 2048, 3072, 4096)
MIXERS = tuple(at.sequence_mixers(8))
COST_COLUMNS = ("mixer", "length", "forward_ms", "forward_mb", "training_ms", "training_mb")
RECALL_COLUMNS = ("mixer", "pairs", "accuracy", "seed", "steps", "parameters", "seconds")
RECALL_MIXERS = ("attention", "linear attention", "Hyena", "LSTM")


def cost(mixers: Sequence[str], lengths: Sequence[int]) -> None:
    """Time and memory of each mixer at each length, without and with slopes."""
    for length in lengths:
        for name in mixers:
            repeats = max(3, min(30, 20_000 // length))
            cells = [name, str(length)]
            for backward in (False, True):
                seconds, held = at.mixing_cost(name, length, backward=backward, repeats=repeats)
                cells += [f"{1e3 * seconds:.4g}", f"{held / 1e6:.4g}"]
            _store("attention_cost.csv", "cost", COST_COLUMNS, cells)


class Mixer(torch.nn.Module):
    """Projections, a short convolution, one of the rivals, and an output layer, in the place of a block's attention.

    Hyena's short convolution over three tokens stands before all rivals alike; its filters, as there, are a function of
    the distance, given by a small network, under a window that fades (Poli et al., 2023).
    """

    def __init__(self, name: str, width: int, num_heads: int, longest: int) -> None:
        super().__init__()
        self.name, self.head_dim = name, width // num_heads
        self.inputs, self.output = torch.nn.Linear(width, 3 * width), torch.nn.Linear(width, width)
        self.short = torch.nn.Parameter(torch.tensor([1.0, 0.0, 0.0])[:, None] + 0.3 * torch.randn(3, 3 * width))
        if name == "LSTM":
            self.lstm = torch.nn.LSTM(3 * width, width, batch_first=True)
        if name == "Hyena":
            place = torch.arange(longest) / longest
            waves = [wave(2 * math.pi * k * place) for k in range(1, 9) for wave in (torch.sin, torch.cos)]
            self.register_buffer("places", torch.stack([place, *waves], dim=-1))
            self.register_buffer("fading", torch.exp(-place[:, None] * torch.logspace(0, 1.5, width)))
            self.shape = torch.nn.ModuleList(torch.nn.Linear(*size) for size in ((17, 32), (32, 32), (32, 2 * width)))
            self.skip = torch.nn.Parameter(torch.ones(2, width))

    def forward(self, inputs: torch.Tensor, **_: object) -> torch.Tensor:
        mixed = self.inputs(inputs)
        before = [F.pad(mixed, (0, 0, back, 0))[:, : mixed.shape[1]] for back in range(3)]  # the last three tokens
        mixed = sum(weight * tokens for weight, tokens in zip(self.short, before, strict=True))
        if self.name == "LSTM":
            return self.output(self.lstm(mixed)[0])
        queries, keys, values = mixed.chunk(3, dim=-1)  # (batch, time, width)
        if self.name == "Hyena":
            for gate, filters, skip in zip((keys, queries), self.filters(inputs.shape[1]), self.skip, strict=True):
                values = gate * (at.long_convolution(values, filters) + skip * values)
            return self.output(values)
        heads = [at.split_heads(part, self.head_dim) for part in (queries, keys, values)]
        if self.name == "linear attention":
            return self.output(at.merge_heads(at.linear_attention(*heads)))
        return self.output(at.merge_heads(F.scaled_dot_product_attention(*heads, is_causal=True)))

    def filters(self, length: int) -> Sequence[torch.Tensor]:
        """Two sets of filters, each of shape (length, width)."""
        hidden = self.places[:length]
        for layer in self.shape[:-1]:
            hidden = torch.sin(4 * layer(hidden))  # sines can be sharp, so that a filter can be a single tap
        first, second = self.shape[-1](hidden).chunk(2, dim=-1)
        return first * self.fading[:length], second * self.fading[:length]


class Recaller(torch.nn.Module):
    """Two blocks with the given mixer, from token ids (batch, time) to logits (batch, time, vocabulary)."""

    def __init__(self, name: str, vocabulary_size: int, width: int = 64, longest: int = 256) -> None:
        super().__init__()
        self.embedding = torch.nn.Embedding(vocabulary_size, width)
        self.blocks = torch.nn.ModuleList(
            at.Block(Mixer(name, width, 4, longest), at.FeedForward(width, 2 * width), lambda: at.RMSNorm(width))
            for _ in range(2)
        )
        self.norm, self.output = at.RMSNorm(width), torch.nn.Linear(width, vocabulary_size)

    def forward(self, token_ids: torch.Tensor) -> torch.Tensor:
        hidden = self.embedding(token_ids)
        for block in self.blocks:
            hidden = block(hidden)
        return self.output(self.norm(hidden))


def recall_batch(pairs: int, batch_size: int, generator: torch.Generator, keys: int = 64) -> tuple[torch.Tensor, ...]:
    """Texts like `k3 v7 k1 v2 ... k1 v2 k3 v7 ...`: pairs of a key and a value, then the same in another order.

    Args:
        pairs: different keys in a text.
        batch_size: texts.
        generator: of the random numbers.
        keys: keys to choose from, and as many values.

    Returns:
        Token ids, shape (batch, 4 * pairs), and what each key of the second half should be followed by, (batch, pairs).
    """
    noise = torch.rand(batch_size, keys, generator=generator)
    key_ids = noise.argsort(dim=-1)[:, :pairs]
    value_ids = torch.randint(keys, 2 * keys, (batch_size, pairs), generator=generator)
    order = torch.rand(batch_size, pairs, generator=generator).argsort(dim=-1)
    again = [ids.gather(1, order) for ids in (key_ids, value_ids)]
    halves = [torch.stack(half, dim=-1).flatten(1) for half in ((key_ids, value_ids), again)]
    return torch.cat(halves, dim=1), again[1]


def recall(mixers: Sequence[str], lengths: Sequence[int], num_steps: int = 1500, seeds: Sequence[int] = (0,)) -> None:
    """Train a model with each mixer to recall values by their keys, and ask it about fresh texts."""
    for name in mixers:
        for seed in seeds:
            torch.manual_seed(seed)
            generator = torch.Generator().manual_seed(seed)
            model, start = Recaller(name, 128), time.process_time()
            optimiser = torch.optim.AdamW(model.parameters(), lr=2e-3, weight_decay=0.0)
            schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 2e-3, num_steps, pct_start=0.1)
            for step in range(num_steps):
                pairs = (4, 8, 16, 32)[step % 4]
                token_ids, targets = recall_batch(pairs, 512 // pairs, generator)
                logits = model(token_ids)[:, 2 * pairs :: 2]
                loss = F.cross_entropy(logits.flatten(0, 1), targets.flatten())
                optimiser.zero_grad()
                loss.backward()
                torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
                optimiser.step()
                schedule.step()
                if step % 250 == 3:
                    print(f"{name}, step {step}: {loss.item():.3f} nats with {pairs} pairs", flush=True)
            seconds = time.process_time() - start
            for pairs in lengths:
                token_ids, targets = recall_batch(pairs, 256, torch.Generator().manual_seed(1000 + seed))
                with torch.inference_mode():
                    right = model(token_ids)[:, 2 * pairs :: 2].argmax(dim=-1) == targets
                parameters = sum(parameter.numel() for parameter in model.parameters())
                cells = (name, pairs, f"{right.float().mean():.3f}", seed, num_steps, parameters, f"{seconds:.0f}")
                _store("attention_recall.csv", "recall", RECALL_COLUMNS, cells)


def _store(name: str, command: str, columns: Sequence[str], cells: Sequence[object]) -> None:
    """Put a row in the place of the one about the same, or add it; print it."""
    print(*cells, flush=True)
    path, order = FOLDER / name, (*MIXERS, "Hyena")

    def about(row: dict[str, str]) -> tuple:
        return order.index(row["mixer"]), int(row[columns[1]]), row.get("seed")

    rows = []
    if path.exists():
        with open(path, encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(line for line in file if not line.startswith("#")))
    row = dict(zip(columns, map(str, cells), strict=True))
    rows = sorted([*(old for old in rows if about(old) != about(row)), row], key=about)
    with open(path, "w", encoding="utf-8", newline="") as file:
        file.write(f"# Made by `python benchmarks/attention.py {command}`; nothing in it is typed by hand.\n")
        writer = csv.DictWriter(file, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def main() -> None:
    """Measure what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("table", choices=["cost", "recall"])
    parser.add_argument("mixers", nargs="*", metavar="MIXER", help=f"all, or some of: {', '.join((*MIXERS, 'Hyena'))}")
    parser.add_argument("--lengths", nargs="*", type=int, help="lengths in tokens, or numbers of pairs to recall")
    chosen = parser.parse_args()
    known = MIXERS if chosen.table == "cost" else RECALL_MIXERS
    if unknown := [name for name in chosen.mixers if name not in known]:
        parser.error(f"there is no mixer {unknown[0]!r} for {chosen.table}; known: {', '.join(known)}")
    torch.set_flush_denormal(True)
    if chosen.table == "cost":
        cost(chosen.mixers or known, chosen.lengths or LENGTHS)
    else:
        recall(chosen.mixers or known, chosen.lengths or (4, 8, 16, 32))


if __name__ == "__main__":
    main()
