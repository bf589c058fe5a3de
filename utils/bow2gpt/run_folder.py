"""What a training run leaves on the disk: its last checkpoint, its best weights, its log.

A checkpoint is there whole or not at all, whenever the run is killed, and reading one executes nothing in it.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import torch
from torch import Tensor


class TrainingStopped(RuntimeError):
    """Training cannot go on; the message says why, at which step, what is saved and what to do."""


class Record(NamedTuple):
    """A row of the log: step (from 1), tokens and seconds so far, losses in nats per token, gradient norm unclipped."""

    step: int
    tokens: int
    seconds: float
    loss: float
    validation_loss: float | None
    learning_rate: float
    tokens_per_second: float
    gradient_norm: float


@contextmanager
def durable(path: Path) -> Iterator[BinaryIO]:
    """Write beside the file, force it onto the disk, rename: the file is the old one or the new one, never a part."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.partial")
    try:
        with open(partial, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
    if os.name == "posix":  # the new name has to reach the disk, too
        folder = os.open(path.parent, os.O_RDONLY)
        os.fsync(folder)
        os.close(folder)


def load_checkpoint(path: str | Path) -> dict[str, Any]:
    """Read a checkpoint onto the CPU: the weights are its "model".

    Raises:
        ValueError: if the file cannot be read, or asks for code to be executed; the message says which.
    """
    try:
        saved = torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {error.strerror or error}; check the path") from error
    except Exception as error:  # of any kind: the file may hold anything
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise ValueError(f"{path} is not a checkpoint that can be read: {reason}") from error
    if not isinstance(saved, dict) or not {"step", "model", "configuration"} <= saved.keys():
        raise ValueError(f"{path} is not a checkpoint: it was written by something else than a Trainer")
    return saved


def read_log(path: str | Path) -> list[Record]:
    """The rows of a log; the last one is left out if it was cut off in the middle."""
    records = []
    whole_lines, _, _ = Path(path).read_text(encoding="utf-8").rpartition("\n")
    for line in whole_lines.splitlines()[1:]:
        step, tokens, *others = line.split(",")
        records.append(Record(int(step), int(tokens), *(float(cell) if cell else None for cell in others)))
    return records


def differences(there: Mapping[str, Any], here: Mapping[str, Any]) -> list[str]:
    """Where two configurations of nested dicts and lists differ, each a line that names the place."""
    there, here = _flat(there), _flat(here)
    keys = [key for key in {**there, **here} if there.get(key, "nothing") != here.get(key, "nothing")]
    return [f"{key} is {there.get(key, 'nothing')} there and {here.get(key, 'nothing')} here" for key in keys]


def _flat(value: Any, name: str = "") -> dict[str, Any]:
    if not isinstance(value, (dict, list)) or not value:
        return {name: value}
    items = value.items() if isinstance(value, dict) else enumerate(value)
    return {key: leaf for inner, part in items for key, leaf in _flat(part, f"{name}.{inner}".lstrip(".")).items()}


class RunFolder:
    """The folder of a run: last.pt, best.pt and log.csv.

    Attributes:
        path: where it is; None for a run that leaves nothing.
        step: of last.pt, None if there is none.
    """

    def __init__(self, path: str | Path | None, writes: bool = True) -> None:
        """Only the process that `writes` does so; the others read."""
        self.path, self._writes = None if path is None else Path(path), writes
        self.step: int | None = None
        self._rows = 0  # of the log

    def open(self, resume: bool, configuration: Mapping[str, Any]) -> dict[str, Any] | None:
        """The last checkpoint if there is one to be resumed.

        Raises:
            ValueError: if there is one that is not to be resumed, is broken or has another configuration.
        """
        if self.path is None:
            if resume:
                raise ValueError("there is nothing to resume without a folder: say which folder the run is in")
            return None
        last = self.path / "last.pt"
        if not last.exists():
            return None
        if not resume:
            raise ValueError(f"{last} is the checkpoint of a run: resume that run, or choose another folder")
        saved = load_checkpoint(last)
        if differ := differences(saved["configuration"], configuration):
            more = f"; and {len(differ) - 5} more" if len(differ) > 5 else ""
            raise ValueError(
                f"{last} is of another configuration: {'; '.join(differ[:5])}{more}. Go on with the same one, or "
                "choose another folder"
            )
        self.step = saved["step"]
        return saved

    def save(self, name: str, checkpoint: dict[str, Any]) -> None:
        """Put a checkpoint in the place of the one of that name.

        Raises:
            TrainingStopped: if the disk is full.
        """
        if self.path is not None and self._writes:
            with self._on_disk(name, checkpoint["step"]), durable(self.path / name) as file:
                torch.save(checkpoint, file)
        if name == "last.pt" and self.path is not None:
            self.step = checkpoint["step"]

    def begin_log(self, step: int) -> list[Record]:
        """Cut what was logged after a step off the log, and return the rest."""
        if self.path is None or not self._writes:
            return []
        log = self.path / "log.csv"
        records = [record for record in read_log(log) if record.step <= step] if step and log.exists() else []
        with self._on_disk(log.name, step), durable(log) as file:
            file.write((",".join(Record._fields) + "\n" + _lines(records)).encode())
        self._rows = len(records)
        return records

    def append_log(self, records: list[Record]) -> None:
        """Write those of all records that the log does not have yet."""
        if self.path is None or not self._writes or len(records) == self._rows:
            return
        log = self.path / "log.csv"
        with self._on_disk(log.name, records[-1].step), open(log, "a", encoding="utf-8", newline="") as file:
            file.write(_lines(records[self._rows :]))
        self._rows = len(records)

    def what_is_saved(self) -> str:
        """A sentence for whoever has to go on."""
        if self.step is None:
            return "There is no checkpoint."
        return f"The last checkpoint is {self.path / 'last.pt'}, of step {self.step}: resume to go on from there."

    @contextmanager
    def _on_disk(self, name: str, step: int) -> Iterator[None]:
        try:
            yield
        except (OSError, RuntimeError) as error:  # torch says RuntimeError, with the OSError as its context
            cause = error if isinstance(error, OSError) else error.__context__
            reason = cause.strerror if isinstance(cause, OSError) else error
            raise TrainingStopped(
                f"{self.path / name} could not be written at step {step}: {reason}. {self.what_is_saved()} "
                "Make room on the disk first: while a checkpoint is written, the one before it is still there."
            ) from error


def _lines(records: Iterable[Record]) -> str:
    """Rows of CSV; nine digits are all that a float of four bytes has."""
    cells = ([f"{value:.9g}" if isinstance(value, float) else value for value in record] for record in records)
    return "".join(",".join("" if cell is None else str(cell) for cell in row) + "\n" for row in cells)


def whole(value: Any) -> Any:
    """A state on the CPU, its shards put together; every process must take part."""
    if isinstance(value, dict):
        return {key: whole(part) for key, part in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(whole(part) for part in value)
    if isinstance(value, Tensor):
        return (value.full_tensor() if hasattr(value, "full_tensor") else value).cpu()
    return value


def sharded(value: Any, like: Tensor) -> Any:
    """This process' shard of a whole tensor, if `like` is sharded and of its shape; anything else as it is."""
    if not (hasattr(like, "full_tensor") and isinstance(value, Tensor) and value.shape == like.shape):
        return value
    from torch.distributed.tensor import distribute_tensor

    return distribute_tensor(value, like.device_mesh, like.placements)
