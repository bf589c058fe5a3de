"""The clean environment, as Colab is one: the newest Python there is, with the book's wheel and what that depends on.

But: no JupyterLab, no nbgrader, no jupytext, and nothing of the clone. `make .venv/.clean` makes it, with the first
Python that `python tests/clean.py` names and the other environment's build of torch exists for, since builds differ in
memory by far; the tests put the wheel in, built from the files as they are.
"""

import fcntl
import hashlib
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / ".venv" / "clean"
PARTS = ("pyproject.toml", "README.md", "LICENSE", "utils")  # what the wheel is made of
_USABLE = "import ensurepip, sys; sys.exit(sys.version_info.releaselevel != 'final')"


def pythons(folders: list[Path], oldest: tuple[int, int]) -> list[Path]:
    """The Pythons in some folders that can make an environment, one of each version, the newest first.

    Raises:
        LookupError: if there is none that is new enough.
    """
    found = [path for folder in folders if folder.is_dir() for path in folder.glob("python3.*")]
    numbered = [(int(match[1]), path) for path in found if (match := re.fullmatch(r"python3\.(\d+)", path.name))]
    usable: dict[int, Path] = {}
    for minor, path in sorted(numbered, key=lambda pair: -pair[0]):
        if (3, minor) >= oldest and minor not in usable:
            done = subprocess.run([path, "-c", _USABLE], capture_output=True)
            usable |= {minor: path} if done.returncode == 0 else {}
    if not usable:
        raise LookupError(f"no Python 3.{oldest[1]} or newer with the module venv")
    return list(usable.values())


def folders() -> list[Path]:
    """Where programs are: those on the path, then those that pyenv keeps beside."""
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    return [*map(Path, os.get_exec_path()), *sorted(pyenv.glob("versions/*/bin"))]


def install(folder: Path = FOLDER) -> Path:
    """Put the book's wheel, built from the files as they are, into the clean environment, unless it is there.

    Returns:
        The environment's Python.
    """
    python = folder / "bin" / "python"
    if not python.exists():
        raise FileNotFoundError(f"{folder} is missing: `make {folder.parent.name}/.clean` makes it")
    stamp, digest = folder / ".wheel", _digest()
    with open(folder / ".lock", "a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # tests run side by side
        if not stamp.is_file() or stamp.read_text() != digest:
            stamp.unlink(missing_ok=True)
            with TemporaryDirectory() as temporary:
                _run(python, "install", "--no-deps", "--force-reinstall", str(wheel(Path(temporary))))
            stamp.write_text(digest)
    return python


def wheel(folder: Path) -> Path:
    """Build the book's wheel in a folder, without network and without leaving anything in the clone."""
    source = folder / "source"
    source.mkdir()
    for part in PARTS:
        if (ROOT / part).is_dir():
            shutil.copytree(ROOT / part, source / part, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
        else:
            shutil.copy(ROOT / part, source)
    _run(Path(sys.executable), "wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", str(folder), str(source))
    (built,) = folder.glob("*.whl")
    return built


def _run(python: Path, *arguments: str) -> None:
    done = subprocess.run([python, "-m", "pip", "--quiet", *arguments], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def _digest() -> str:
    files = [ROOT / part for part in PARTS] + sorted((ROOT / "utils").rglob("*"))
    files = [path for path in files if path.is_file() and path.suffix != ".pyc" and "egg-info" not in path.parent.name]
    digest = hashlib.sha256()
    for path in files:
        digest.update(f"{path.relative_to(ROOT)} {path.stat().st_size}\n".encode() + path.read_bytes())
    return digest.hexdigest()


if __name__ == "__main__":
    print(*pythons(folders(), oldest=(3, 11)))
