"""The trainer: batches in, a trained model out, whatever the machine, and nothing lost when it is switched off.

A run is a function of its settings. The batch of a step, and all that dropout draws in it, depend on the seed and the
number of the step alone: a run that was killed goes on from its last checkpoint as if nothing had happened, and several
processes share out the very batch that one process would see.

But: no ideas live here. The model, its optimisers, the schedule of the learning rate and the data come from outside.
"""

from __future__ import annotations

import json
import math
import signal
import threading
import time
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn import functional as F

from bow2gpt.fused import IGNORED
from bow2gpt.machine import choose_device, choose_precision, join_processes, release_memory, wait_for_all
from bow2gpt.run_folder import Record, RunFolder, TrainingStopped, sharded, whole
from bow2gpt.token_files import Batch, windows

_DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass(frozen=True)
class Settings:
    """How to train; at least one of `num_steps` and `max_seconds` is needed.

    Attributes:
        num_steps: steps of the whole run.
        max_seconds: seconds of the whole run; evaluating, sampling and saving do not count.
        seed: of dropout and whatever else the model draws; that of the batches is their own.
        rows_at_once: how many rows of a batch a device computes at once: fewer take less memory, and their gradients
            add up to those of the batch. None: all.
        max_gradient_norm: longer gradients are shortened to this norm (Pascanu, Mikolov and Bengio, 2013).
        device: "cuda", "mps" or "cpu"; None for the first of these that there is.
        precision: of the matrix products, while weights stay in fp32; "auto" for what suits the device.
        compile: let `torch.compile` fuse the model's kernels.
        checkpoint_activations: compute activations again in the backward pass instead of storing them (Chen et al.,
            2016), by calling the model's method `checkpoint_activations()`.
        shard: with several processes, give each a part of the weights (FSDP; Zhao et al., 2023), to be gathered one
            module of the model's module lists at a time, not a copy of all (DistributedDataParallel; Li et al., 2020).
            Needs torch 2.6.
        log_every: steps between two looks at the losses, which make a GPU wait; the log has a row for every step.
        evaluate_every: steps between two measurements of the validation loss; 0: only at the end.
        save_every: steps between two checkpoints; 0: only at the end, and when a signal stops the run.

    Raises:
        ValueError: if a setting makes no sense.
    """

    num_steps: int | None = None
    max_seconds: float | None = None
    seed: int = 0
    rows_at_once: int | None = None
    max_gradient_norm: float = 1.0
    device: str | None = None
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    compile: bool = False
    checkpoint_activations: bool = False
    shard: bool = False
    log_every: int = 10
    evaluate_every: int = 0
    save_every: int = 0

    def __post_init__(self) -> None:
        if self.num_steps is None and self.max_seconds is None:
            raise ValueError("got neither num_steps nor max_seconds; say when the run ends")
        for name in ("num_steps", "max_seconds", "rows_at_once", "max_gradient_norm", "log_every"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise ValueError(f"got {name} {value}, expected more than 0")
        for name in ("seed", "evaluate_every", "save_every"):
            if getattr(self, name) < 0:
                raise ValueError(f"got {name} {getattr(self, name)}, expected 0 or more")
        if self.precision not in ("auto", *_DTYPES):
            raise ValueError(f"got precision {self.precision!r}, expected auto, fp32, bf16 or fp16")


def next_token_loss(model: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
    """Mean cross entropy in nats of a model from (batch, time) ids to (batch, time, vocabulary) logits, in fp32."""
    return F.cross_entropy(model(inputs).flatten(0, 1).float(), targets.flatten(), ignore_index=IGNORED)


class Trainer:
    """Trains a model. How is in `train`, `_step` and `_update`; the rest is care.

    Attributes:
        model: the model, on its device, to be evaluated and sampled from.
        step: steps done.
        seconds: spent on them.
        records: the log so far.
        best: lowest validation loss so far.
        stopped_by: name of the signal that stopped the run, else None.
    """

    def __init__(
        self,
        model: nn.Module,
        make_optimisers: Callable[[nn.Module], Sequence[torch.optim.Optimizer]],
        batches: Callable[[int], Batch],
        settings: Settings,
        *,
        schedule: Callable[[float], float] = lambda progress: 1.0,
        loss: Callable[[nn.Module, Tensor, Tensor], Tensor] = next_token_loss,
        validate: Callable[[Trainer], float] | None = None,
        callbacks: Sequence[Callable[[Trainer], None]] = (),
        configuration: Mapping[str, Any] | None = None,
        folder: str | Path | None = None,
    ) -> None:
        """Put the model on its device, and wrap it if there are several processes.

        Args:
            model: its parameters in fp32; it is moved, not copied.
            make_optimisers: called with the model once it is in place; the learning rates that it sets are the highest.
            batches: from the number of a step, from 0, to inputs and targets of the whole batch, each (batch, time).
            settings: how to train.
            schedule: from the share of the run that is done, 0 to 1, to a factor for all learning rates.
            loss: from the model, inputs and targets to the mean loss; it must call the model, not a method of it.
            validate: gives the validation loss, for instance by `mean_loss`. All processes call it.
            callbacks: called after each step, in all processes. A method `close(trainer)` is called at the end; what
                `state_dict()` gives, plain values and tensors, is saved, and given to `load_state_dict` on resuming.
            configuration: plain values that name the model and the data; a checkpoint with others is refused.
            folder: for last.pt, best.pt (weights only) and log.csv; None: nothing is written.

        Raises:
            ValueError: if the settings ask for what the model or the machine cannot do.
        """
        self.settings, self.batches, self.schedule, self.loss = settings, batches, schedule, loss
        self.validate, self.callbacks = validate, callbacks
        self.processes = join_processes()
        self.device = choose_device(settings.device, self.processes)
        self._use(self._first_choice() if settings.precision == "auto" else settings.precision)
        self.model = model.to(self.device)
        self._wrapped = self._wrap()
        self.optimisers = list(make_optimisers(self.model))
        for group in self._groups():
            group.setdefault("initial_lr", group["lr"])
        self.step, self.seconds, self.best = 0, 0.0, math.inf
        self.records: list[Record] = []
        self.stopped_by: str | None = None
        self._configuration = self._describe(configuration or {})
        self._folder = RunFolder(folder, writes=self.is_main)
        self._signal, self._tokens_in_a_step = 0, 0
        self._pending: list[tuple[Tensor, Tensor, float]] = []  # loss, gradient norm and rate of steps not looked at
        self._seconds_looked_at = 0.0

    @property
    def is_main(self) -> bool:
        """Whether this process is the one that writes and shows."""
        return self.processes.rank == 0

    @property
    def progress(self) -> float:
        """Share of the run that is done, 0 to 1, by steps or by seconds, whichever is further."""
        steps, seconds = self.settings.num_steps or math.inf, self.settings.max_seconds or math.inf
        return min(1.0, max(self.step / steps, self.seconds / seconds))

    def train(self, resume: bool = False) -> list[Record]:
        """Train to the end, or until Ctrl-C or SIGTERM, which let the step finish and be saved.

        Args:
            resume: go on from the folder's last checkpoint, or start if there is none.

        Returns:
            The log.

        Raises:
            ValueError: if there is a checkpoint that is not to be resumed, is broken or has another configuration.
            TrainingStopped: if a loss or gradient is not finite, or the disk is full; the last checkpoint stays.
        """
        if self.step == 0 or resume:
            self._restore(self._folder.open(resume, self._configuration))
        self.stopped_by, self._signal, settings = None, 0, self.settings
        try:
            with self._listening():
                while self.progress < 1 and not self.stopped_by:
                    self._step()
                    every = (settings.log_every, settings.evaluate_every, settings.save_every)
                    looks, evaluates, saves = (steps > 0 and self.step % steps == 0 for steps in every)
                    if looks or evaluates or saves:
                        self._look()
                    self._agree()
                    ends = self.progress == 1 or self.stopped_by is not None
                    if ends:
                        self._look()
                    for callback in self.callbacks:
                        callback(self)
                    if self.validate is not None and (evaluates or self.progress == 1):
                        self._evaluate(self.validate)
                    if not self._pending:
                        self._folder.append_log(self.records)
                    if saves or ends:
                        self._save("last.pt", everything=True)
        finally:
            for callback in self.callbacks:
                getattr(callback, "close", lambda trainer: None)(self)
            release_memory()
        if self.stopped_by and self.is_main:
            print(f"Stopped by {self.stopped_by} after step {self.step}. {self._folder.what_is_saved()}")
        return self.records

    def _step(self) -> None:
        began, rank, size = time.perf_counter(), self.processes.rank, self.processes.size
        high, low = np.random.SeedSequence([self.settings.seed, self.step, rank]).generate_state(2)
        torch.manual_seed(int(high) << 31 | int(low) >> 1)
        factor = self.schedule(self.progress)
        for group in self._groups():
            group["lr"] = group["initial_lr"] * factor
        batch = self.batches(self.step)
        if len(batch[0]) % size:
            raise ValueError(f"got a batch of {len(batch[0])} rows for {size} processes: take a multiple of {size}")
        rows = len(batch[0]) // size
        inputs, targets = (self._on_device(part[rank * rows : (rank + 1) * rows]) for part in batch)
        at_once = self.settings.rows_at_once or rows
        total = torch.zeros((), device=self.device)
        self._wrapped.train()
        for start in range(0, rows, at_once):
            part = slice(start, start + at_once)
            with self._exchange(start + at_once >= rows):
                with self.autocast():
                    loss = self.loss(self._wrapped, inputs[part], targets[part])
                loss = loss * (len(inputs[part]) / rows)
                self.scaler.scale(loss).backward()
            total += loss.detach()
        self._pending.append((total, self._update(), next(self._groups())["lr"]))
        self.step += 1
        self._tokens_in_a_step = batch[1].numel()
        self.seconds += time.perf_counter() - began

    def _update(self) -> Tensor:
        """Let the optimisers step, and clear the gradients; returns their norm before clipping."""
        for optimiser in self.optimisers:
            self.scaler.unscale_(optimiser)
        norm = nn.utils.clip_grad_norm_(self.model.parameters(), self.settings.max_gradient_norm)
        norm = norm.full_tensor() if hasattr(norm, "full_tensor") else norm
        if not self.scaler.is_enabled() or norm.isfinite():  # fp16 overflows now and then: the scaler learns from it
            for optimiser in self.optimisers:
                self.scaler.step(optimiser)
        self.scaler.update()
        self.model.zero_grad(set_to_none=True)
        return norm

    def autocast(self) -> AbstractContextManager:
        """Where matrix products run in the run's precision."""
        if self.precision == "fp32":
            return nullcontext()
        return torch.autocast(self.device.type, _DTYPES[self.precision])

    def _as_written(self) -> AbstractContextManager:
        """Where a compiled model runs as it was written: batches of other shapes would be compiled anew."""
        return torch.compiler.set_stance("force_eager") if self.settings.compile else nullcontext()

    @torch.no_grad()
    def mean_loss(self, token_ids: np.ndarray, context_length: int, batch_size: int = 32) -> float:
        """Mean loss over a text, in nats per token: each token but the first is scored once, in windows side by side.

        Raises:
            ValueError: if the text is not longer than the context.
        """
        num_targets = len(token_ids) - 1
        if num_targets < context_length:
            raise ValueError(f"got {len(token_ids)} tokens, too few for a context of {context_length}")
        starts = np.arange(0, num_targets, context_length)
        overlap = len(starts) * context_length - num_targets
        starts[-1] -= overlap  # the last window ends where the text does, and scores what is new to it
        self.model.eval()
        total = 0.0
        for first in range(0, len(starts), batch_size):
            inputs, targets = windows(token_ids, starts[first : first + batch_size], context_length)
            if first + batch_size >= len(starts):
                targets[-1, :overlap] = IGNORED
            with self.autocast(), self._as_written():
                loss = self.loss(self.model, self._on_device(inputs), self._on_device(targets))
            total += loss.item() * int((targets != IGNORED).sum())
        self.model.train()
        return total / num_targets

    def _first_choice(self) -> str:
        """The precision that the first process chooses: what is measured may differ between two."""
        chosen = torch.tensor(list(_DTYPES).index(choose_precision(self.device)))
        if self.processes.size > 1:
            dist.broadcast(chosen, 0)
        return list(_DTYPES)[chosen]

    def _use(self, precision: str) -> None:
        if precision == "fp16" and self.settings.shard:
            raise ValueError("got precision fp16 with shard, which cannot scale its gradients: take bf16 or fp32")
        self.precision = precision
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=precision == "fp16")

    def _wrap(self) -> nn.Module:
        """What the forward pass calls: the model, or a wrapper through which processes average their gradients."""
        model = self.model
        if self.settings.checkpoint_activations:
            if not hasattr(model, "checkpoint_activations"):
                raise ValueError(f"{type(model).__name__} has no method checkpoint_activations(): switch it off")
            model.checkpoint_activations()
        if self.settings.compile:
            model.compile()
        if self.processes.size == 1:
            return model
        if not self.settings.shard:
            devices = [self.device] if self.device.type == "cuda" else None
            return nn.parallel.DistributedDataParallel(model, device_ids=devices)
        from torch.distributed.fsdp import fully_shard

        for tensor in model.state_dict().values():
            dist.broadcast(tensor, 0)
        for blocks in model.children():
            for block in blocks if isinstance(blocks, nn.ModuleList) else ():
                fully_shard(block)
        return fully_shard(model)

    def _exchange(self, last: bool) -> AbstractContextManager:
        """Processes exchange gradients after the last pass of a batch only."""
        if hasattr(self._wrapped, "set_requires_gradient_sync"):
            self._wrapped.set_requires_gradient_sync(last)
        elif not last and self.processes.size > 1:
            return self._wrapped.no_sync()
        return nullcontext()

    def _on_device(self, tensor: Tensor) -> Tensor:
        if self.device.type == "cuda":  # the copy runs while the card still computes
            return tensor.pin_memory().to(self.device, non_blocking=True)
        return tensor.to(self.device)

    def _groups(self) -> Iterator[dict[str, Any]]:
        return (group for optimiser in self.optimisers for group in optimiser.param_groups)

    def _agree(self) -> None:
        """Processes stop together, and read the same clock: the learning rate may depend on it."""
        number = float(self._signal)
        if self.processes.size > 1:
            shared = torch.tensor([number, self.seconds], dtype=torch.float64)
            dist.all_reduce(shared, dist.ReduceOp.MAX)
            number, self.seconds = shared.tolist()
        self.stopped_by = signal.Signals(int(number)).name if number else None

    def _look(self) -> None:
        """Fetch the losses of the steps since the last look, and stop if one is not finite."""
        if not self._pending:
            return
        began = time.perf_counter()
        losses, norms, rates = zip(*self._pending, strict=True)
        values = torch.stack([torch.stack(losses), torch.stack(norms).float()]).cpu()
        if self.processes.size > 1:
            dist.all_reduce(values)
            values /= self.processes.size
        self.seconds += time.perf_counter() - began
        self._pending = []
        share = (self.seconds - self._seconds_looked_at) / len(rates)
        for number, (loss, norm, rate) in enumerate(zip(*values.tolist(), rates, strict=True), start=1):
            step = self.step - len(rates) + number
            if not math.isfinite(loss):
                self._stop(f"the loss is {loss}", step)
            if not math.isfinite(norm) and not self.scaler.is_enabled():
                self._stop(f"the norm of the gradient is {norm}", step)
            tokens, seconds = self._tokens_in_a_step, self._seconds_looked_at + share * number
            self.records.append(Record(step, step * tokens, seconds, loss, None, rate, tokens / share, norm))
        self._seconds_looked_at = self.seconds
        if self.scaler.is_enabled() and self.scaler.get_scale() < 2**-10:
            self._stop("no factor of the loss, however small, keeps the gradients finite in fp16", self.step)

    def _stop(self, what: str, step: int) -> None:
        self._folder.append_log(self.records)
        raise TrainingStopped(
            f"{what} at step {step}. {self._folder.what_is_saved()} The same settings would lead here again: start "
            "anew in another folder with a lower learning rate, a longer warm-up or a smaller max_gradient_norm"
            + (", or go on in bf16 or fp32." if self.precision == "fp16" else ".")
        )

    def _evaluate(self, validate: Callable[[Trainer], float]) -> None:
        value = float(validate(self))
        if not math.isfinite(value):
            self._stop(f"the validation loss is {value}", self.step)
        self.records[-1] = self.records[-1]._replace(validation_loss=value)
        if value < self.best:
            self.best = value
            self._save("best.pt", everything=False)

    def _describe(self, configuration: Mapping[str, Any]) -> dict[str, Any]:
        """What has to be the same for a run to go on, as plain values."""
        settings, (inputs, targets) = asdict(self.settings), self.batches(0)
        checksum = zlib.crc32(torch.stack([inputs, targets]).numpy().tobytes())
        described = {
            **configuration,
            "settings": {name: settings[name] for name in ("num_steps", "max_seconds", "seed", "max_gradient_norm")},
            "shapes": {name: list(tensor.shape) for name, tensor in self.model.state_dict().items()},
            "optimisers": [type(optimiser).__name__ for optimiser in self.optimisers],
            "groups": [{k: v for k, v in group.items() if k not in ("params", "lr")} for group in self._groups()],
            "schedule": [float(self.schedule(quarter / 4)) for quarter in range(5)],
            "first batch": {"shape": list(inputs.shape), "checksum": checksum},
        }
        return json.loads(json.dumps(described, default=str))

    def _save(self, name: str, everything: bool) -> None:
        saved = {"step": self.step, "best": self.best, "configuration": self._configuration}
        saved["model"] = whole(self.model.state_dict())
        if not all(saved["model"][name].isfinite().all() for name, _ in self.model.named_parameters()):
            self._stop("a weight is not finite", self.step)
        if everything:
            saved["optimisers"] = [whole(optimiser.state_dict()) for optimiser in self.optimisers]
            saved["callbacks"] = [whole(callback.state_dict()) for callback in self._with_state()]
            saved |= {"scaler": self.scaler.state_dict(), "precision": self.precision, "device": self.device.type}
            saved |= {"seconds": self.seconds}
        self._folder.save(name, saved)
        wait_for_all(self.processes)

    def _restore(self, saved: dict[str, Any] | None) -> None:
        if saved is not None:
            if self.settings.precision == "auto" and saved["device"] == self.device.type:
                self._use(saved["precision"])
            own = self.model.state_dict()
            self.model.load_state_dict({name: sharded(value, own[name]) for name, value in saved["model"].items()})
            for optimiser, state in zip(self.optimisers, saved["optimisers"], strict=True):
                parameters = [parameter for group in optimiser.param_groups for parameter in group["params"]]
                for index, values in state["state"].items():
                    values.update({key: sharded(value, parameters[index]) for key, value in values.items()})
                optimiser.load_state_dict(state)
            for callback, state in zip(self._with_state(), saved["callbacks"], strict=True):
                callback.load_state_dict(state)
            if self.scaler.is_enabled() and saved["scaler"]:
                self.scaler.load_state_dict(saved["scaler"])
            self.step, self.best = saved["step"], saved["best"]
            self.seconds = self._seconds_looked_at = saved["seconds"]
        self.records, self._pending = self._folder.begin_log(self.step), []

    def _with_state(self) -> list[Any]:
        return [callback for callback in self.callbacks if hasattr(callback, "state_dict")]

    @contextmanager
    def _listening(self) -> Iterator[None]:
        """Note SIGINT and SIGTERM instead of dying of them; a second one does what it always does."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return

        def note(number: int, frame: Any) -> None:
            self._signal = number
            if self.processes.size == 1:  # torchrun repeats what the terminal has sent already
                restore()

        def restore() -> None:
            for number, handler in before.items():
                signal.signal(number, handler or signal.SIG_DFL)

        before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            restore()
