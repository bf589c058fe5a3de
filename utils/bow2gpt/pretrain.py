"""Train a language model on the book's corpus, or on a text of yours, until a number of steps or minutes is over.

    python -m bow2gpt.pretrain runs/first --minutes 5
    torchrun --nproc-per-node=2 -m bow2gpt.pretrain runs/two-cards --model my_models:big --steps 5000 --save-every 500

Stop it with Ctrl-C, or pull the plug: the same command with --resume goes on from the last checkpoint.
"""

from __future__ import annotations

import importlib
import json
import math
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

# Nothing heavy up here: `--help` must answer at once.

app = typer.Typer(
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)

BOOK_MODEL = "bow2gpt.chapters.mini_gpt:GPT.of_depth"
BOOK_TOKENIZER = "bow2gpt.chapters.language_features:Tokenizer.train"


def named(name: str) -> Callable[..., Any]:
    """What `module:name` means, imported.

    Raises:
        ValueError: if there is no such module or name in it.
    """
    module, _, path = name.partition(":")
    try:
        found = importlib.import_module(module)
        for attribute in path.split("."):
            found = getattr(found, attribute)
    except (ImportError, AttributeError, ValueError) as error:
        raise ValueError(f"got {name!r}, which cannot be imported ({error}); expected module:name") from None
    return found


def splits(text: Path | None) -> dict[str, str]:
    """What to train on and what to validate with: the corpus' split, or the first nine tenths of a file and its last.

    Raises:
        ValueError: if the file cannot be read.
    """
    if text is None:
        from bow2gpt import corpus

        return {"train": corpus.text("train"), "validation": corpus.text("validation")}
    try:
        whole = text.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"{text} cannot be read: {error}; expected a file of UTF-8 text") from None
    cut = len(whole) * 9 // 10
    return {"train": whole[:cut], "validation": whole[cut:]}


def warm_up_and_decay(progress: float) -> float:
    """Up for a twentieth of the run, then straight down to nothing."""
    return min(20 * progress + 0.01, (1 - progress) / 0.95)


@app.command()
def pretrain(
    folder: Annotated[Path, typer.Argument(help="For tokens, checkpoints and the log; one folder for each run.")],
    model: Annotated[
        str, typer.Option(metavar="MODULE:NAME", help="Gives a model for depth, vocabulary_size and context_length.")
    ] = BOOK_MODEL,
    depth: Annotated[int, typer.Option(min=1, help="Of the model: its one dial.")] = 2,
    text: Annotated[Path | None, typer.Option(help="UTF-8, its last tenth for validation; else the corpus.")] = None,
    tokenizer: Annotated[
        str, typer.Option(metavar="MODULE:NAME", help="Gives a tokenizer for a text and a vocabulary size.")
    ] = BOOK_TOKENIZER,
    vocabulary_size: Annotated[int, typer.Option(min=2, help="Tokens that the tokenizer may learn.")] = 4096,
    context_length: Annotated[int, typer.Option(min=1, help="Tokens that the model sees at once.")] = 256,
    batch_size: Annotated[int, typer.Option(min=1, help="Windows in a step, of all processes together.")] = 32,
    rows_at_once: Annotated[int | None, typer.Option(min=1, help="Fewer of them at once, to save memory.")] = None,
    steps: Annotated[int | None, typer.Option(min=1, help="Steps of training.")] = None,
    minutes: Annotated[float | None, typer.Option(min=0, help="Minutes of training, evaluation aside.")] = None,
    learning_rate: Annotated[float, typer.Option(min=0, help="For AdamW, if the model brings no optimisers.")] = 1e-3,
    evaluate_every: Annotated[int, typer.Option(min=0, help="Steps; 0: only at the end.")] = 250,
    save_every: Annotated[int, typer.Option(min=0, help="Steps; 0: only at the end.")] = 250,
    seed: Annotated[int, typer.Option(min=0, help="Of weights, batches and dropout.")] = 0,
    device: Annotated[str | None, typer.Option(help="cuda, mps or cpu; the first that there is.")] = None,
    precision: Annotated[str, typer.Option(help="fp32, bf16 or fp16; auto: what suits the device.")] = "auto",
    compile: Annotated[bool, typer.Option("--compile", help="Fuse kernels: slow to start, then faster.")] = False,
    checkpoint_activations: Annotated[
        bool, typer.Option("--checkpoint-activations", help="Less memory, a third more work.")
    ] = False,
    shard: Annotated[bool, typer.Option("--shard", help="Split the weights between processes (FSDP).")] = False,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the last checkpoint, if there is one.")] = False,
) -> None:
    """Train a language model, and say how many bits per byte of unseen text it needs.

    The model is the book's GPT, or any module that takes token ids (batch, time) and gives logits (batch, time,
    vocabulary). It may bring `make_optimisers()`, `schedule(progress)` and `loss(network, inputs, targets)`; AdamW,
    with a warm-up and a straight way down, and the cross entropy are the rest's.

    Example: python -m bow2gpt.pretrain runs/first --minutes 5
    """
    import torch
    import torch.distributed as dist

    from bow2gpt.machine import join_processes, wait_for_all
    from bow2gpt.token_files import prepare_tokens, read_tokens, shuffled_batches
    from bow2gpt.training import Settings, Trainer, TrainingStopped, next_token_loss
    from bow2gpt.watching import ProgressBar

    def make_optimisers(network: torch.nn.Module) -> list[torch.optim.Optimizer]:
        if hasattr(network, "make_optimisers"):
            return network.make_optimisers()
        return [torch.optim.AdamW(network.parameters(), learning_rate, betas=(0.9, 0.95))]

    torch.set_flush_denormal(True)
    try:
        settings = Settings(
            num_steps=steps,
            max_seconds=None if minutes is None else 60 * minutes,
            seed=seed,
            rows_at_once=rows_at_once,
            device=device,
            precision=precision,
            compile=compile,
            checkpoint_activations=checkpoint_activations,
            shard=shard,
            evaluate_every=evaluate_every,
            save_every=save_every,
        )
        processes = join_processes()
        if processes.rank == 0:
            prepare_tokens(folder, splits(text), named(tokenizer), vocabulary_size)
        wait_for_all(processes)
        data = json.loads((folder / "data.json").read_text(encoding="utf-8"))
        size = data["vocabulary_size"]
        train, held_out = (
            read_tokens(folder / f"{name}.npy", size, context_length) for name in ("train", "validation")
        )
        torch.manual_seed(seed)
        network = named(model)(depth, vocabulary_size=size, context_length=context_length)
        trainer = Trainer(
            network,
            make_optimisers,
            shuffled_batches(train, context_length, batch_size, seed),
            settings,
            schedule=getattr(network, "schedule", warm_up_and_decay),
            loss=getattr(network, "loss", next_token_loss),
            validate=lambda trainer: trainer.mean_loss(held_out, context_length, batch_size),
            callbacks=[ProgressBar(disable=None)],
            configuration={"model": model, "depth": depth, "context_length": context_length, "data": data},
            folder=folder,
        )
        if trainer.is_main:
            count = sum(parameter.numel() for parameter in network.parameters())
            typer.echo(f"{count:,} parameters, {len(train):,} tokens, {trainer.device} in {trainer.precision}")
        trainer.train(resume)
    except (OSError, TrainingStopped, ValueError) as error:
        typer.echo(f"{typer.style('error:', fg='red', bold=True)} {error}", err=True)
        raise typer.Exit(1) from None
    finally:
        if dist.is_initialized():
            dist.destroy_process_group()
    if trainer.is_main and math.isfinite(trainer.best):
        bits = trainer.best * data["tokens_per_byte"]["validation"] / math.log(2)
        typer.echo(f"validation: {bits:.4f} bits per byte at best, with the weights in {folder / 'best.pt'}")
    if trainer.stopped_by:
        raise typer.Exit(128 + signal.Signals[trainer.stopped_by])


if __name__ == "__main__":
    app(prog_name="python -m bow2gpt.pretrain")
