"""What a chapter or a script shows of a training run: a progress bar, a curve that grows, samples of the model."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import torch
from torch import nn

from bow2gpt.training import Trainer


class ProgressBar:
    """A bar with the latest losses; options go to tqdm."""

    def __init__(self, **options: Any) -> None:
        self._options, self._bar = options, None

    def __call__(self, trainer: Trainer) -> None:
        if not trainer.is_main:
            return
        if self._bar is None:
            from tqdm.auto import tqdm

            options = {"total": trainer.settings.num_steps, "initial": trainer.step - 1, "unit": "step"}
            self._bar = tqdm(**options | self._options)
        self._bar.update(trainer.step - self._bar.n)
        if trainer.records and trainer.records[-1].step == trainer.step:
            shown = {"loss": f"{trainer.records[-1].loss:.3f}"}
            shown |= {"best validation": f"{trainer.best:.3f}"} if math.isfinite(trainer.best) else {}
            self._bar.set_postfix(shown, refresh=False)

    def close(self, trainer: Trainer) -> None:
        if self._bar is not None:
            self._bar.close()
            self._bar = None


class LiveCurve:
    """The losses as a figure that is drawn anew while training goes on; outside a notebook, nothing."""

    def __init__(self, seconds: float = 3.0) -> None:
        """Draw at most once in so many seconds, and for at most a twentieth of the time."""
        self._pause, self._next, self._handle = seconds, 0.0, None

    def __call__(self, trainer: Trainer) -> None:
        if time.monotonic() >= self._next and trainer.records:
            self._draw(trainer)

    def close(self, trainer: Trainer) -> None:
        if trainer.records:
            self._draw(trainer)

    def _draw(self, trainer: Trainer) -> None:
        from IPython import get_ipython

        if not trainer.is_main or not hasattr(get_ipython(), "kernel"):
            return
        import matplotlib.pyplot as plt
        from IPython.display import display

        from bow2gpt import figures

        began, records = time.monotonic(), trainer.records
        blocks = np.array_split(np.array([(r.step, r.loss) for r in records]), min(len(records), 300))
        steps, losses = np.array([block.mean(axis=0) for block in blocks]).T
        measured = [(r.step, r.validation_loss) for r in records if r.validation_loss is not None]
        fig, ax = plt.subplots()
        ax.plot(steps, losses, marker="", label="training")
        alt = f"Training loss at steps 1 to {records[-1].step}: from {losses[0]:.2f} to {losses[-1]:.2f} nats per token"
        if measured:
            ax.plot(
                *zip(*measured, strict=True), linestyle="none", color=figures.COLOURS[1], marker="s", label="validation"
            )
            alt += f", validation loss {measured[-1][1]:.2f}"
        ax.set(title="Is the loss still falling?", xlabel="step", ylabel="loss (nats per token)")
        ax.legend()
        bundle = figures.picture(fig, alt + ".")
        if self._handle is None:
            self._handle = display(bundle, raw=True, display_id=True)
        else:
            self._handle.update(bundle, raw=True)
        self._next = time.monotonic() + max(self._pause, 20 * (time.monotonic() - began))


class Samples:
    """What the model writes at some steps, printed."""

    def __init__(self, steps: Iterable[int], sample: Callable[[nn.Module], str]) -> None:
        """Call `sample` with the model, in evaluation mode, after each of these steps."""
        self._steps, self._sample = frozenset(steps), sample

    def __call__(self, trainer: Trainer) -> None:
        if trainer.step not in self._steps:
            return
        trainer.model.eval()
        with torch.no_grad(), trainer.autocast():
            text = self._sample(trainer.model)
        if trainer.is_main:
            from tqdm.auto import tqdm

            tqdm.write(f"After step {trainer.step:,}: {text}")
