"""A warm process: it has imported once what notebooks import, and forks a player for each submission.

It runs no code of a learner's itself. Each player gets namespaces of its own (processes, mounts, users), so that it
sees neither this process nor the player before it, and ends with everything that it started.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import json
import os
import re
import resource
import select
import signal
import socket
import struct
import sys
import time
from pathlib import Path

from . import player, syscalls
from .sandbox import NOBODY, STAGING

_POLL = 0.1  # seconds between two looks at the memory in use
_END = 5  # seconds until nothing of a player may be left
_MEMORY = re.compile(r"^(?:RssAnon|RssShmem):\s*(\d+) kB$", re.MULTILINE)
_SHARE = re.compile(r"^Pss:\s*(\d+) kB$", re.MULTILINE)
_OPEN_FILES = 256
_CLONE_NEWNS, _CLONE_NEWIPC, _CLONE_NEWUSER, _CLONE_NEWPID = 0x00020000, 0x08000000, 0x10000000, 0x20000000
_PR_SET_PDEATHSIG, _PR_SET_DUMPABLE, _PR_CAPBSET_DROP, _PR_SET_NO_NEW_PRIVS = 1, 4, 24, 38
_CAPABILITY_VERSION = 0x20080522


def serve(control: socket.socket) -> None:
    """Fork a player for each request, one at a time, until the other side hangs up.

    A request is a JSON object of `Limits`, and beside it the socket to play on. The answer, when the player has ended,
    is an object with `ended`: why.
    """
    if os.getuid() == 0:
        with contextlib.suppress(PermissionError):  # root in name only
            os.setgroups([])
            os.setresgid(NOBODY, NOBODY, NOBODY)
            os.setresuid(NOBODY, NOBODY, NOBODY)
    _libc().prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)  # no player may look into this process
    _, most = resource.getrlimit(resource.RLIMIT_DATA)
    resource.setrlimit(resource.RLIMIT_DATA, (most, most))  # the limit of the process that judges is not for players
    _import_what_notebooks_import()
    isolated = _can_isolate()
    control.send(json.dumps({"isolated": isolated}).encode())
    while True:
        message, descriptors, *_ = socket.recv_fds(control, 65536, 1)
        if not message:
            return
        if not descriptors:  # a word to a player that had already ended
            continue
        request = json.loads(message)
        started = os.fork()
        if started == 0:
            control.close()
            _become_player(socket.socket(fileno=descriptors[0]), request, isolated)
        os.close(descriptors[0])
        control.send(json.dumps({"ended": _wait(started, control, request)}).encode())


def _import_what_notebooks_import() -> None:
    os.environ["MPLBACKEND"] = "module://matplotlib_inline.backend_inline"
    import IPython.core.interactiveshell  # noqa: F401
    import matplotlib.pyplot  # noqa: F401
    import numpy  # noqa: F401
    import regex  # noqa: F401
    import torch

    from bow2gpt import checks, corpus, probes, ruler  # noqa: F401

    torch.set_num_threads(1)  # threads do not survive a fork
    player.shell(STAGING)
    gc.freeze()  # so that no player copies all this memory just by looking through it


def _can_isolate() -> bool:
    """Whether a player can get namespaces of its own; tried, since no list of kernels and settings is complete."""
    trial = os.fork()
    if trial == 0:
        try:
            _isolate({"files": 2**20})
            os._exit(0)
        except BaseException:
            os._exit(1)
    return os.waitpid(trial, 0)[1] == 0


def _wait(started: int, control: socket.socket, request: dict) -> str:
    """Wait for a player's end, or bring it about; says why it ended."""
    reason, memory = "", request["memory"]
    descriptor = os.pidfd_open(started)
    try:
        while True:
            ready, _, _ = select.select([descriptor, control], [], [], _POLL)
            if descriptor in ready:
                break
            if control in ready and not reason:
                reason = "stopped"  # any word from the other side while a player runs means: stop it
                if not control.recv(65536):
                    reason = "orphaned"
            if not reason and len(_others()) > request["processes"]:  # where the limit below does not hold
                reason = "processes"
            if not reason and _memory_in_use() > memory and _memory_in_use(shares=True) > memory:
                reason = "memory"
            if reason:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(started, signal.SIGKILL)
    finally:
        os.close(descriptor)
    _, status = os.waitpid(started, 0)
    _end_all_others()
    if reason == "orphaned":
        sys.exit(0)
    code = os.waitstatus_to_exitcode(status)
    return reason or ("done" if code == 0 else f"exit {code}")


def _others() -> list[Path]:
    """The processes in the sandbox, but the first, which is bubblewrap's own, and this one."""
    here = {"1", str(os.getpid()), "self"}
    return [entry for entry in Path("/proc").iterdir() if entry.name.isdigit() and entry.name not in here]


def _end_all_others() -> None:
    """End what a player may have left: it can ask the system not to end it with its parent."""
    until = time.monotonic() + _END
    while (left := [entry for entry in _others() if _is_alive(entry)]) and time.monotonic() < until:
        for entry in left:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(int(entry.name), signal.SIGKILL)
        time.sleep(0.01)
    if left:
        sys.exit(1)  # with this process the whole sandbox ends


def _is_alive(entry: Path) -> bool:
    with contextlib.suppress(OSError, IndexError):
        return (entry / "stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    return False


def _memory_in_use(shares: bool = False) -> int:
    """Bytes of memory of all processes but this one.

    Args:
        shares: of what several of them have in common count a share for each, which takes longer to find out; else the
            whole for each.
    """
    total = 0
    for entry in _others():
        with contextlib.suppress(OSError, ValueError):
            whole = sum(map(int, _MEMORY.findall((entry / "status").read_text())))
            try:
                share = _SHARE.findall((entry / "smaps_rollup").read_text()) if shares else []
            except OSError:  # a process can hide this
                share = []
            total += 1024 * (min(int(share[0]), whole) if share else whole)
    return total


def _become_player(connection: socket.socket, request: dict, isolated: bool) -> None:
    """Leave everything behind and play; never returns."""
    try:
        if isolated:
            _isolate(request)
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        resource.setrlimit(resource.RLIMIT_NOFILE, (_OPEN_FILES, _OPEN_FILES))
        resource.setrlimit(resource.RLIMIT_FSIZE, (request["files"], request["files"]))
        resource.setrlimit(resource.RLIMIT_NPROC, (request["processes"], request["processes"]))
        syscalls.restrict()
        player.play(connection, STAGING)
    except BaseException:
        os._exit(3)


def _isolate(request: dict) -> None:
    libc = _libc()
    libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    libc.prctl(_PR_SET_DUMPABLE, 1, 0, 0, 0)  # or its own files under /proc would not be its own
    user, group = os.getuid(), os.getgid()
    if libc.unshare(_CLONE_NEWUSER | _CLONE_NEWPID | _CLONE_NEWNS | _CLONE_NEWIPC):
        raise OSError(ctypes.get_errno(), "no namespaces of its own")
    Path("/proc/self/setgroups").write_text("deny")
    Path("/proc/self/uid_map").write_text(f"{user} {user} 1")
    Path("/proc/self/gid_map").write_text(f"{group} {group} 1")
    inside = os.fork()
    if inside:  # this process only waits: the first process of the new namespace takes all others with it
        libc.prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)  # and is nothing to look into, or to write into
        os.closerange(3, _OPEN_FILES)
        _, status = os.waitpid(inside, 0)
        os._exit(max(0, os.waitstatus_to_exitcode(status)) if os.WIFEXITED(status) else 4)
    libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    size = f"size={request['files']}".encode()
    for place in (STAGING.encode(), b"/dev/shm"):
        if libc.mount(b"tmpfs", place, b"tmpfs", 0, size):
            raise OSError(ctypes.get_errno(), "no file system of its own")
    _drop_capabilities(libc)


def _drop_capabilities(libc: ctypes.CDLL) -> None:
    """Give up what the first process of a user namespace may do in it, such as mounting."""
    for number in range(64):
        libc.prctl(_PR_CAPBSET_DROP, number, 0, 0, 0)
    header, none = struct.pack("Ii", _CAPABILITY_VERSION, 0), bytes(24)
    if libc.capset(header, none):
        raise OSError(ctypes.get_errno(), "capabilities cannot be given up")


def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def _line(where: str) -> socket.socket:
    """The line to the other side: an open descriptor, or, in a container, a path."""
    if where.isdecimal():
        return socket.socket(fileno=int(where))
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    connection.connect(where)
    return connection


if __name__ == "__main__":
    serve(_line(sys.argv[1]))
