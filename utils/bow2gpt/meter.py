"""What a piece of work costs: seconds, and the bytes of the tensors that it holds at once.

But: a tensor that lives and dies inside one of torch's operations is not seen, nor is anything that is not a tensor.
"""

from __future__ import annotations

import time
import weakref
from collections.abc import Callable
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


def seconds(work: Callable[[], object], repeats: int = 5, clock: Callable[[], float] = time.perf_counter) -> float:
    """The shortest of some running times, in seconds: what the machine can do when nobody disturbs it.

    Args:
        work: called without arguments, `repeats` times.
        repeats: how often.
        clock: which one to read; `time.process_time` counts the processor's time only, of all threads together.

    Raises:
        ValueError: if it is to be called less than once.
    """
    if repeats < 1:
        raise ValueError(f"got {repeats} repeats; time the work at least once")
    times = []
    for _ in range(repeats):
        start = clock()
        work()
        times.append(clock() - start)
    return min(times)


def peak_bytes(work: Callable[[], object]) -> int:
    """The most bytes that the tensors made during the work hold at the same time, its own results included.

    Args:
        work: called once, without arguments. Tensors that were there before do not count.
    """
    with _Watch() as watch:
        work()
    return watch.peak


class _Watch(TorchDispatchMode):
    """Sees what every operation of torch returns, and when the memory behind it is given back."""

    def __init__(self) -> None:
        super().__init__()
        self.held = self.peak = 0
        self.known = weakref.WeakSet()

    def __torch_dispatch__(
        self, function: Callable, types: tuple, args: tuple = (), kwargs: dict[str, Any] | None = None
    ) -> object:
        given = {id(s) for s in map(_storage, tree_leaves((args, kwargs))) if s is not None}
        results = function(*args, **(kwargs or {}))
        for storage in map(_storage, tree_leaves(results)):
            if storage is not None and id(storage) not in given and storage not in self.known:
                self.known.add(storage)
                self.held += storage.nbytes()
                weakref.finalize(storage, self._release, storage.nbytes())
        self.peak = max(self.peak, self.held)
        return results

    def _release(self, nbytes: int) -> None:
        self.held -= nbytes


def _storage(leaf: object) -> torch.UntypedStorage | None:
    return leaf.untyped_storage() if isinstance(leaf, torch.Tensor) else None
