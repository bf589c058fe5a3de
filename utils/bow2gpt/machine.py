"""What there is to compute with: processors, their precision, and the processes that share the work."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import os
import time
from dataclasses import dataclass
from functools import cache

import torch
import torch.distributed as dist


@dataclass(frozen=True)
class Processes:
    """Which of the run's processes this is, in all and on its machine, and how many there are."""

    rank: int = 0
    local_rank: int = 0
    size: int = 1


def join_processes() -> Processes:
    """Meet the other processes that `torchrun` started; alone if it did not."""
    if int(os.environ.get("WORLD_SIZE", 1)) == 1:
        return Processes()
    if not dist.is_initialized():
        dist.init_process_group("cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo")
    return Processes(*(int(os.environ[name]) for name in ("RANK", "LOCAL_RANK", "WORLD_SIZE")))


def wait_for_all(processes: Processes) -> None:
    """Go on once every process of the run has come here."""
    if processes.size > 1:
        dist.all_reduce(torch.zeros(1))


def choose_device(name: str | None = None, processes: Processes | None = None) -> torch.device:
    """The device of that name, else CUDA, MPS or CPU, the first that there is; of several cards, the process' own."""
    processes = processes or Processes()
    if name is None:
        mps = torch.backends.mps.is_available() and processes.size == 1
        name = "cuda" if torch.cuda.is_available() else "mps" if mps else "cpu"
    device = torch.device(name)
    if device.type == "cuda":
        device = torch.device("cuda", processes.local_rank if device.index is None else device.index)
        torch.cuda.set_device(device)
    return device


@cache
def half_precision_pays() -> bool:
    """Whether this processor multiplies bfloat16 matrices at least 1.5 times as fast as float32 ones; measured once."""
    seconds = []
    for kind in (torch.float32, torch.bfloat16):
        left, right = torch.ones(256, 512, dtype=kind), torch.ones(512, 1024, dtype=kind)
        times = []
        for _ in range(6):
            start = time.perf_counter()
            left @ right
            times.append(time.perf_counter() - start)
        seconds.append(min(times))
    return seconds[0] > 1.5 * seconds[1]


def release_memory() -> None:
    """Give memory that is free back to the system; glibc keeps it otherwise, hundreds of megabytes after a training."""
    gc.collect()
    with contextlib.suppress(AttributeError, OSError, TypeError):  # another C library
        ctypes.CDLL(None).malloc_trim(0)


def choose_precision(device: torch.device) -> str:
    """bf16 where the chip has it, fp16 on older cards such as a T4, else fp32.

    fp16 loses small gradients: the loss is scaled up before the backward pass and the gradients down after it
    (Micikevicius et al., 2018). bf16 has the range of fp32 and needs none of this.
    """
    if device.type == "cuda":
        return "bf16" if torch.cuda.get_device_capability(device) >= (8, 0) else "fp16"
    return "bf16" if device.type == "cpu" and half_precision_pays() else "fp32"
