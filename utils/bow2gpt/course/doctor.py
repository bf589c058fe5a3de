"""Is this computer ready for the book? One finding for each thing the book needs, each with its cure."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable
from dataclasses import dataclass
from importlib import metadata, util
from pathlib import Path

_MINIMUM_PYTHON = (3, 11)
_MINIMUM_MEMORY = 1.5  # GB: the most that a chapter uses
_CONTAINER_LIMIT = Path("/sys/fs/cgroup/memory.max")
_LAB_EXTENSIONS = {"jupytext": "jupyterlab-jupytext", "nbgrader": "@jupyter/nbgrader"}


@dataclass(frozen=True)
class Finding:
    """One line of the report; a finding that is not ok says what to do."""

    subject: str
    ok: bool
    detail: str
    cure: str = ""


def examine() -> list[Finding]:
    """Look at everything; a look that itself fails is a finding too."""
    return [_safely(look) for look in (_python, _packages, _device, _memory, _corpus, _lab)]


def _safely(look: Callable[[], Finding]) -> Finding:
    try:
        return look()
    except Exception as error:
        detail = " ".join(f"{type(error).__name__}: {error}".split())
        return Finding(look.__name__.strip("_"), False, detail, "set up the environment again with `make lab`")


def _python() -> Finding:
    found, needed = (".".join(map(str, version)) for version in (sys.version_info[:3], _MINIMUM_PYTHON))
    return Finding("python", sys.version_info >= _MINIMUM_PYTHON, found, f"install Python {needed} or newer")


def _packages() -> Finding:
    """Compare what is installed with what the library asks for."""
    from packaging.requirements import Requirement

    extra = "lab" if _lab_packages() else ""
    needed = [Requirement(text) for text in metadata.requires("bow2gpt") or ()]
    needed = [wanted for wanted in needed if wanted.marker is None or wanted.marker.evaluate({"extra": extra})]
    found, wrong = {}, []
    for wanted in needed:
        try:
            found[wanted.name] = metadata.version(wanted.name)
        except metadata.PackageNotFoundError:
            wrong.append(f"{wanted} is not installed")
            continue
        if not wanted.specifier.contains(found[wanted.name], prereleases=True):
            wrong.append(f"{wanted} is needed, {found[wanted.name]} is installed")
    if wrong:
        return Finding("packages", False, "; ".join(wrong), "install them with `pip install -e '.[lab]'` in the clone")
    main = ", ".join(f"{name} {found[name]}" for name in ("torch", "numpy", "jupyterlab", "nbgrader") if name in found)
    return Finding("packages", True, f"{main} and {max(0, len(found) - 4)} more")


def _device() -> Finding:
    import torch

    if torch.cuda.is_available():
        return Finding("device", True, f"cuda: {torch.cuda.get_device_name()}")
    if torch.backends.mps.is_available():
        return Finding("device", True, "mps: the GPU of this Mac")
    return Finding("device", True, f"cpu, {torch.get_num_threads()} threads: enough for every chapter")


def _memory() -> Finding:
    import psutil

    total = psutil.virtual_memory().total
    with contextlib.suppress(OSError, ValueError):  # no container, or one without a limit
        total = min(total, int(_CONTAINER_LIMIT.read_text()))
    detail = f"{total / 1e9:.1f} GB"
    return Finding(
        "memory", total >= _MINIMUM_MEMORY * 1e9, detail, f"the book needs {_MINIMUM_MEMORY} GB: use another machine"
    )


def _corpus() -> Finding:
    cure = "install it with `pip install -e .` in the clone"
    try:
        from bow2gpt import corpus

        return Finding("corpus", True, corpus.verify())
    except ImportError as error:
        return Finding("corpus", False, str(error), cure)
    except RuntimeError as error:  # says its own cure
        return Finding("corpus", False, " ".join(str(error).split()))


def _lab_packages() -> list[str]:
    """What of the extra `lab` is here: all of it, unless something is broken, or nothing, as in Colab."""
    return [name for name in ("jupyterlab", "jupytext", "nbgrader") if util.find_spec(name)]


def _lab() -> Finding:
    if not _lab_packages():
        return Finding("jupyterlab", True, "not here, and not needed where another program opens the notebooks")
    from jupyter_core.paths import jupyter_path

    folders = [Path(folder) for folder in jupyter_path("labextensions")]
    missing = [name for name, place in _LAB_EXTENSIONS.items() if not any((f / place).is_dir() for f in folders)]
    if missing:
        cure = f"install again with `pip install --force-reinstall {' '.join(missing)}`"
        return Finding("jupyterlab", False, f"without the extension of {' and '.join(missing)}", cure)
    return Finding("jupyterlab", True, f"with the extensions of {' and '.join(_LAB_EXTENSIONS)}")
