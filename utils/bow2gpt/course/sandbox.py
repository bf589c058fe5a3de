"""Where learners' code runs: bubblewrap, a container, or, for your own code, a plain process.

Inside a sandbox there is no network, no file of the course, and nothing that can be written but a small file system in
memory. What runs there first is a warm process (see `warm`), which forks a player for each notebook.

But: a plain process keeps nothing from anything. It has your rights and your files in reach.
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
import secrets
import shutil
import signal
import socket
import stat
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import bow2gpt

from . import wire
from .paths import CourseError, UsageError

BUBBLEWRAP, CONTAINER, NONE = "bubblewrap", "container", "none"
NOBODY = 65534  # the user without rights
STAGING = "/submission"  # inside a sandbox: a file system in memory, new for each submission
UNSAFE = (
    "learners' code runs WITHOUT A SANDBOX: it can read and change all your files, the gradebook and the solutions, "
    "and use the network. Do not grade strangers this way: install bubblewrap (Linux: apt install bubblewrap), or "
    "give --container IMAGE"
)
_START = 120  # seconds until a warm process must be ready
_END = 15  # seconds until it must have ended a player
_TOP = ("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32")
_SYSTEM = (*_TOP, "/etc/fonts", "/etc/ld.so.cache", "/etc/localtime")


@dataclass(frozen=True)
class Limits:
    """What one submission may use.

    Attributes:
        seconds: wall-clock time of one cell, and of all questions of one check cell.
        total: seconds, the whole submission.
        spare: seconds beyond twice that, after which the process that judges it is given up.
        memory: bytes, all its processes together.
        files: bytes, all its files together.
        processes: how many at once.
    """

    seconds: float = 60
    total: float = 900
    spare: float = 120
    memory: int = 3 * 2**30
    files: int = 64 * 2**20
    processes: int = 128


def bubblewrap_works() -> bool:
    """Whether submissions can be kept apart from this machine; tried, since kernels and settings differ."""
    if sys.platform != "linux" or shutil.which("bwrap") is None:
        return False
    trial = ["bwrap", "--unshare-all", "--ro-bind", "/", "/", "--proc", "/proc", "true"]
    return subprocess.run(trial, capture_output=True, timeout=_START, check=False).returncode == 0


def default_sandbox() -> str:
    """Bubblewrap, where it works."""
    return BUBBLEWRAP if bubblewrap_works() else NONE


@dataclass
class Session:
    """The line to one player, and, once it has ended, why: `memory`, `stopped`, `exit 3`, ..."""

    connection: socket.socket
    ended: str = ""


class Worker:
    """Gives players, one at a time.

    Args:
        kind: `bubblewrap`, `container` or `none`.
        image: of the container: one in which `python` can import bow2gpt.
        private: folders that bubblewrap must not show, even if they lie inside something that it shows.

    Raises:
        UsageError: if there is no such sandbox here.
    """

    def __init__(self, kind: str, image: str = "", private: tuple[str, ...] = ()) -> None:
        if kind not in (BUBBLEWRAP, CONTAINER, NONE):
            raise UsageError(f"there is no sandbox {kind!r}: choose {BUBBLEWRAP}, {CONTAINER} or {NONE}")
        self._kind, self._image, self._private = kind, image, private
        self._engine = shutil.which("podman") or shutil.which("docker") if kind == CONTAINER else ""
        if kind == CONTAINER and not (self._engine and image):
            raise UsageError("a container needs podman or docker, and the name of an image with the book in it")
        self._process: subprocess.Popen | None = None
        self._control: socket.socket | None = None
        self._name = ""  # of the container
        self._isolated = False

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @contextmanager
    def player(self, limits: Limits, data: Mapping[str, bytes]) -> Iterator[Session]:
        """A fresh process for one notebook; it ends with everything that it started.

        Args:
            limits: what it may use.
            data: files beside the notebook, by their relative names.

        Raises:
            CourseError: if the sandbox cannot be started.
        """
        packed = {name: base64.b64encode(content).decode() for name, content in data.items()}
        begin = self._plain if self._kind == NONE else self._warm
        with begin(limits) as session, session.connection as connection:
            connection.settimeout(limits.seconds)
            with contextlib.suppress(OSError):  # ended already: the first question will tell
                wire.send(connection, packed)
            yield session

    @contextmanager
    def _warm(self, limits: Limits) -> Iterator[Session]:
        self.start()
        ours, theirs = socket.socketpair()
        with theirs:
            socket.send_fds(self._control, [json.dumps(asdict(limits)).encode()], [theirs.fileno()])
        session = Session(ours)
        try:
            yield session
        finally:
            session.ended = self._end()
            if not self._isolated:  # the next player would meet what this one left
                self.stop()

    @contextmanager
    def _plain(self, limits: Limits) -> Iterator[Session]:
        ours, theirs = socket.socketpair()
        with TemporaryDirectory(prefix="bow2gpt-", ignore_cleanup_errors=True) as folder:
            process = _start_plain(theirs, folder)
            session = Session(ours)
            try:
                yield session
            finally:
                with contextlib.suppress(OSError):
                    if hasattr(os, "killpg"):
                        os.killpg(process.pid, signal.SIGKILL)
                    else:
                        process.kill()
                session.ended = f"exit {process.wait()}"

    def start(self) -> None:
        """Make the warm process ready, if there is none; without a sandbox there is nothing to make ready.

        Raises:
            CourseError: if it cannot be started.
        """
        if self._kind == NONE or (self._process is not None and self._process.poll() is None):
            return
        self.stop()
        self._control = self._start_container() if self._kind == CONTAINER else self._start_bubblewrap()
        self._control.settimeout(_START)
        self._isolated = self._reply().get("isolated") is True

    def _start_bubblewrap(self) -> socket.socket:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        environment = {"PATH": os.environ.get("PATH", ""), "LANG": "C.UTF-8", "OMP_NUM_THREADS": "1"}
        environment["PYTHONPATH"] = str(Path(bow2gpt.__file__).parents[1])
        with theirs:
            line = str(theirs.fileno())
            self._process = subprocess.Popen(
                ["bwrap", *_view(self._private), "--", sys.executable, "-m", "bow2gpt.course.warm", line],
                pass_fds=[theirs.fileno()],
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
            )
        return ours

    def _start_container(self) -> socket.socket:
        self._name = f"bow2gpt-{secrets.token_hex(8)}"
        with (
            TemporaryDirectory(prefix="bow2gpt-") as folder,
            socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as door,
        ):
            os.chmod(folder, 0o755)
            door.bind(f"{folder}/line")
            os.chmod(f"{folder}/line", 0o666)
            door.listen(1)
            door.settimeout(_START)
            command = [self._engine, "run", "--rm", f"--name={self._name}", f"--volume={folder}:/line", *_CONTAINED]
            self._process = subprocess.Popen(
                [*command, self._image, "python", "-m", "bow2gpt.course.warm", "/line/line"],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
            )
            try:
                return door.accept()[0]
            except TimeoutError:
                raise CourseError(f"the container of {self._image} did not start: see the lines above") from None

    def _end(self) -> str:
        """Say that the player may go, and hear why it went."""
        try:
            self._control.settimeout(_END)
            self._control.send(b"stop")
            return str(self._reply().get("ended"))
        except (OSError, CourseError):
            self.stop()
            return "the sandbox ended"

    def _reply(self) -> dict:
        try:
            reply = self._control.recv(65536)
        except (TimeoutError, ConnectionError):
            reply = b""
        if not reply:
            self.stop()
            raise CourseError("the process that runs learners' code did not start, or ended: see the lines above")
        return json.loads(reply)

    def stop(self) -> None:
        """End the warm process and everything in it."""
        if self._control is not None:
            self._control.close()
        if self._name:
            subprocess.run([self._engine, "kill", self._name], capture_output=True, timeout=_END, check=False)
        if self._process is not None:
            self._process.kill()
            self._process.wait()
        self._process, self._control, self._name = None, None, ""


# Of a container: what bubblewrap does otherwise.
_CONTAINED = (
    "--network=none",
    "--read-only",
    "--cap-drop=ALL",
    "--security-opt=no-new-privileges",
    "--pids-limit=256",
    "--tmpfs=/tmp",
    f"--tmpfs={STAGING}:rw,mode=1777",
    "--env=OMP_NUM_THREADS=1",
)


def leaves_root() -> bool:
    """Whether what runs in bubblewrap becomes a user without rights, not root under another name.

    For root the system knows no limit on processes. It needs Python and the book to be readable by everybody.
    """
    files = (os.path.realpath(sys.executable), bow2gpt.__file__)
    return os.geteuid() == 0 and all(os.stat(file).st_mode & stat.S_IROTH for file in files)


def _view(private: tuple[str, ...]) -> list[str]:
    """What the inside sees: the system's programs, Python and its packages; nothing of the course or the user."""
    places = {*_SYSTEM, sys.prefix, sys.base_prefix, str(Path(bow2gpt.__file__).parent)}
    places |= {path for path in sys.path if Path(path).name in ("site-packages", "dist-packages")}
    options = [part for place in (STAGING, "/tmp", "/dev/shm") for part in ("--perms", "1777", "--tmpfs", place)]
    there = sorted(place for place in places if Path(place).exists())
    above = sorted({str(folder) for place in there for folder in Path(place).parents[:-1]})
    options += [part for folder in above for part in ("--perms", "0755", "--dir", folder)]
    options += [part for place in there for part in ("--ro-bind", place, place)]
    for place in map(Path, private):
        if any(place.is_relative_to(shown) for shown in places) and place.is_dir():
            options += ["--tmpfs", str(place), "--remount-ro", str(place)]
    if leaves_root():
        identity = [f"--unshare-{part}" for part in ("ipc", "pid", "net", "uts", "cgroup-try")]
        identity += ["--cap-drop", "ALL", "--cap-add", "CAP_SETUID", "--cap-add", "CAP_SETGID"]
    else:
        identity = ["--unshare-all", "--cap-drop", "ALL", "--uid", str(NOBODY), "--gid", str(NOBODY)]
    return [
        *("--dev", "/dev", "--proc", "/proc"),
        *options,
        *("--setenv", "HOME", STAGING, "--setenv", "TMPDIR", STAGING, "--chdir", "/"),
        *(part for place in ("/", "/dev", "/tmp") for part in ("--remount-ro", place)),
        *(*identity, "--die-with-parent", "--new-session"),
    ]


def _start_plain(theirs: socket.socket, folder: str) -> subprocess.Popen:
    """A player in a process of its own, which inherits its end of the line."""
    command = [sys.executable, "-m", "bow2gpt.course.player", folder]
    with theirs:
        if sys.platform == "win32":
            process = subprocess.Popen(command, stdin=subprocess.PIPE)
            process.stdin.write(theirs.share(process.pid))
            process.stdin.close()
            return process
        line = theirs.fileno()
        return subprocess.Popen(
            [*command, str(line)], pass_fds=[line], stdin=subprocess.DEVNULL, start_new_session=True
        )
