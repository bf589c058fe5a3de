"""Those who grade: processes of this machine, or a Dask cluster.

Nothing heavy is imported here, so that they start while the command reads what there is to do.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import active_children, get_context

from .paths import CourseError

_CONNECT = 20  # seconds to wait for a cluster's scheduler


@dataclass(frozen=True)
class Team:
    """Those who do the work.

    Attributes:
        start: gives something that runs jobs; called again when that broke.
        width: how many jobs to hand over at once.
        gives_up: what is raised for a job that was tried again and again, and each time killed who did it.
    """

    start: Callable[[], Executor]
    width: int
    gives_up: tuple[type[Exception], ...] = ()


def cores() -> int:
    """How many processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextmanager
def local(processes: int, sandbox: tuple[str, str, tuple[str, ...]] | None = None) -> Iterator[Team]:
    """Processes of this machine, which end with this one.

    Args:
        processes: how many.
        sandbox: its kind, image and private folders, as in `Options`: the processes begin at once to get it ready.
    """
    pools: list[ProcessPoolExecutor] = []

    def pool() -> ProcessPoolExecutor:
        pools.append(ProcessPoolExecutor(processes, mp_context=get_context("spawn"), initializer=_end_with_parent))
        return pools[-1]

    before = set(active_children())
    ready = pool()
    for _ in range(processes if sandbox else 0):
        ready.submit(_get_ready, *sandbox)
    waiting = [ready]
    try:
        yield Team(lambda: waiting.pop() if waiting else pool(), processes)
    finally:
        for each in pools:
            each.shutdown(wait=False, cancel_futures=True)
        for process in set(active_children()) - before:  # they have nothing to tidy up, and would take long over it
            process.kill()
            process.join()


@contextmanager
def cluster(address: str) -> Iterator[Team]:
    """A Dask cluster; what was on a worker that dies is done again on another.

    Raises:
        CourseError: if `distributed` is not installed, or no scheduler answers.
    """
    try:
        from distributed import Client, KilledWorker
    except ImportError:
        raise CourseError("--scheduler needs Dask: in the clone, pip install -e '.[cluster]'") from None
    try:
        client = Client(address, timeout=_CONNECT, set_as_default=False)
    except (OSError, TimeoutError, ValueError) as error:
        raise CourseError(f"no Dask scheduler answers at {address}: {error}") from None
    with client:
        threads = sum(worker["nthreads"] for worker in client.scheduler_info()["workers"].values())
        yield Team(lambda: client.get_executor(pure=False), 2 * max(1, threads), (KilledWorker,))


def _get_ready(kind: str, image: str, private: tuple[str, ...]) -> None:
    """Start what runs learners' code; if that fails, the first job says so."""
    from .grade import sandboxed

    with contextlib.suppress(CourseError):
        sandboxed(kind, image, private).start()


def _end_with_parent() -> None:
    """Ask the system to end this process with the one that started it, even if that is killed."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGKILL, 0, 0, 0)
