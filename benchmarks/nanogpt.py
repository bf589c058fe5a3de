"""How much faster a modern configuration reaches the loss of a well-known recipe: both are this book's GPT and trainer.

The baseline is the recipe that karpathy/nanoGPT publishes for characters of Tiny Shakespeare: one for a laptop's
processor (`--recipe cpu`), one for a graphics card (`--recipe gpu --device cuda`). The modern configuration has Muon,
bigrams, RoPE, QK-norm and SwiGLU, and a number of steps fixed beforehand, at the end of which its rate is zero.

`python benchmarks/nanogpt.py --text PATH` trains on the first 90 % of a text's characters and measures on the rest; by
default, on the book's own split. Seconds are those of training, compiling included, without validation. The ratio is
that of the seconds or of the processor's seconds, whichever is smaller, as other programs slow a long run down; it is
shown if the baseline's loss, its lowest if it is measured several times, was reached.
"""

import argparse
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import torch

from bow2gpt import corpus
from bow2gpt.chapters.mini_gpt import GPT, GPTConfig, Muon, get_batch, gpt2_config, lr_schedule
from bow2gpt.token_files import Batch, shuffled_batches
from bow2gpt.training import Settings, Trainer


@dataclass(frozen=True)
class Recipe:
    """A configuration, and whatever else decides how it is trained."""

    config: GPTConfig
    batch_size: int
    initialise: Callable[[GPT], None]
    make_optimisers: Callable[[GPT], Sequence[torch.optim.Optimizer]]
    schedule: Callable[[float], float]
    batches: Callable[[np.ndarray, int, int, int], Callable[[int], Batch]]
    settings: dict


@dataclass(frozen=True)
class Result:
    """What a run took and gave: `processor` is seconds of all cores divided by their number, `loss` is in nats."""

    parameters: float
    steps: float
    seconds: float
    processor: float
    loss: float


def gpt2_initialise(model: GPT) -> None:
    """Draw all matrices from a normal of deviation 0.02, smaller where a part ends (Radford et al., 2019)."""
    for name, parameter in model.named_parameters():
        if parameter.ndim == 2:
            ends_a_part = name.endswith(("attention.part.output.weight", "contract.weight"))
            torch.nn.init.normal_(parameter, std=0.02 / (2 * model.config.num_layers) ** (0.5 * ends_a_part))


def adamw(model: GPT) -> list[torch.optim.Optimizer]:
    """The baseline's only optimiser; what is no matrix does not decay."""
    matrices = [each for each in model.parameters() if each.ndim == 2]
    vectors = [each for each in model.parameters() if each.ndim < 2]
    groups = [{"params": matrices, "weight_decay": 0.1}, {"params": vectors, "weight_decay": 0.0}]
    return [torch.optim.AdamW(groups, lr=1e-3, betas=(0.9, 0.99), fused=True)]


def impatient(model: GPT) -> list[torch.optim.Optimizer]:
    """The book's optimisers for a hundred steps: AdamW forgets sooner, the embedding is slower, the head faster."""
    rate = model.config.learning_rate
    matrices = [each for each in model.blocks.parameters() if each.ndim == 2]
    vectors = [each for each in (*model.blocks.parameters(), *model.norm.parameters()) if each.ndim < 2]
    slow = [model.embedding.weight, *model.added.parameters(), *vectors]
    groups = [{"params": slow, "lr": 0.5 * rate}, {"params": [model.output.weight], "lr": 0.6 * rate}]
    adam = torch.optim.AdamW(groups, betas=(0.6, 0.9), eps=1e-10, weight_decay=0.0, fused=True)
    return [adam, Muon(matrices, rate, momentum=0.9)]


def random_batches(ids: np.ndarray, length: int, batch_size: int, seed: int) -> Callable[[int], Batch]:
    """Windows from anywhere, as the baseline has them."""
    return lambda step: get_batch(ids, batch_size, length, np.random.default_rng([seed, step]))


def baseline(kind: str, vocabulary_size: int) -> Recipe:
    """nanoGPT's recipe for characters, on a processor or a graphics card."""
    sizes, batch_size, dropout, num_steps, settings = {
        "cpu": ((64, 4, 4, 128), 12, 0.0, 2000, {"precision": "fp32"}),
        "gpu": ((256, 6, 6, 384), 64, 0.2, 5000, {"compile": True, "evaluate_every": 250}),
    }[kind]
    config = gpt2_config(vocabulary_size, *sizes, bias=False, dropout=dropout, num_steps=num_steps)

    def schedule(progress: float) -> float:
        return lr_schedule(progress * num_steps, num_steps, warmup_steps=100, floor=0.1)

    return Recipe(config, batch_size, gpt2_initialise, adamw, schedule, random_batches, settings)


def modern(kind: str, vocabulary_size: int) -> Recipe:
    """The fastest configuration found; on a processor, it is a small one that takes large batches."""
    sizes, batch_size, changes, make_optimisers = {
        # A layer norm without bias is faster than an RMSNorm on a processor, and as good.
        "cpu": ((64, 1, 2, 64), 48, {"norm": "layer", "mlp": "swiglu", "hidden_dim": 256}, impatient),
        "gpu": ((256, 6, 6, 384), 64, {"dropout": 0.25, "weight_decay": 0.1, "table_decay": 0.5}, GPT.make_optimisers),
    }[kind]
    changes |= {
        "cpu": {"bigrams": 4096, "learning_rate": 0.045, "num_steps": 76},
        "gpu": {"bigrams": 8192, "learning_rate": 0.02, "num_steps": 600},
    }[kind]
    config = GPTConfig(vocabulary_size, *sizes, **changes)

    def schedule(progress: float) -> float:
        return min(1.0, (1 - progress) / 0.6)

    return Recipe(config, batch_size, lambda model: None, make_optimisers, schedule, shuffled_batches, {})


def run(recipe: Recipe, train: np.ndarray, validation: np.ndarray, seed: int, device: str) -> Result:
    """Train; measure the loss on all of the validation text, each token once, in windows side by side."""
    length, apart = recipe.config.context_length, 0.0

    def validate(trainer: Trainer) -> float:
        nonlocal apart
        began = time.process_time()
        loss = trainer.mean_loss(validation, length)
        apart += time.process_time() - began
        return loss

    torch.manual_seed(seed)
    model = GPT(recipe.config, seed=seed)
    recipe.initialise(model)
    options = {"compile": False} if device == "cpu" else {}
    trainer = Trainer(
        model,
        recipe.make_optimisers,
        recipe.batches(train, length, recipe.batch_size, seed),
        Settings(recipe.config.num_steps, seed=seed, device=device, log_every=50, **recipe.settings | options),
        schedule=recipe.schedule,
        loss=lambda network, inputs, targets: network(inputs, targets),
        validate=validate,
    )
    began = time.process_time()
    records = trainer.train()
    processor = (time.process_time() - began - apart) / torch.get_num_threads()
    best = min((each for each in records if each.validation_loss is not None), key=lambda each: each.validation_loss)
    return Result(model.num_parameters, best.step, best.seconds, processor, best.validation_loss)


def read_text(path: Path | None) -> tuple[int, np.ndarray, np.ndarray]:
    """Give the number of different characters, and a text to train on and one to validate on, as ids in their order."""
    if path is None:
        texts = corpus.text("train"), corpus.text("validation")
    else:
        text = path.read_text(encoding="utf-8")
        texts = text[: int(0.9 * len(text))], text[int(0.9 * len(text)) :]
    codes = [np.frombuffer(each.encode("utf-32-le"), dtype=np.uint32) for each in texts]
    characters, ids = np.unique(np.concatenate(codes), return_inverse=True)
    return len(characters), *np.split(ids.astype(np.uint16), [len(codes[0])])


def show(name: str, result: Result, first: Result) -> None:
    """Print a row of the table."""
    faster = min(first.seconds / result.seconds, first.processor / result.processor)
    ratio = f"{faster:.1f}" if result.loss <= first.loss else "-"
    numbers = f"{result.parameters:11,.0f}{result.steps:7.0f}{result.seconds:9.2f}{result.processor:11.2f}"
    print(f"{name:14}{numbers}{result.loss:9.4f}{ratio:>7}", flush=True)


def main() -> None:
    """Train the baseline, then the modern configuration with several seeds, and print what each took."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--text", type=Path, help="a text file; by default, the book's text")
    parser.add_argument("--recipe", choices=["cpu", "gpu"], default="cpu")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--seeds", type=int, default=3, help="runs of the modern configuration")
    parser.add_argument("--steps", type=int, help="at most so many, to see that it works")
    given = parser.parse_args()
    torch.set_flush_denormal(True)
    vocabulary_size, train, validation = read_text(given.text)
    print(f"{'':14}{'parameters':>11}{'steps':>7}{'seconds':>9}{'processor':>11}{'loss':>9}{'ratio':>7}", flush=True)
    first = None
    for name, make, seeds in (("baseline", baseline, 1), ("modern", modern, given.seeds)):
        recipe, results = make(given.recipe, vocabulary_size), []
        steps = min(given.steps or recipe.config.num_steps, recipe.config.num_steps)
        recipe = replace(recipe, config=replace(recipe.config, num_steps=steps))
        for seed in range(seeds):
            results.append(run(recipe, train, validation, seed, given.device))
            first = first or results[0]
            show(f"{name}, seed {seed}", results[-1], first)
    show("modern, mean", Result(*np.mean([list(asdict(each).values()) for each in results], axis=0)), first)


if __name__ == "__main__":
    main()
