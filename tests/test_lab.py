"""What a learner does first, in a browser: `make lab`, a chapter, an exercise, its check, nbgrader's Validate.

The pictures that this saves in .bow2gpt/screenshots are the README's: `make screenshots`.
"""

import io
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import nbformat
import pytest
from browser import chromium
from PIL import Image
from playwright.sync_api import Locator, Page
from test_chapters import ImagesAndAlts
from test_hub import end

from bow2gpt.course.paths import name_of
from bow2gpt.course.release import read_exercise

ROOT = Path(__file__).resolve().parents[1]
SCREENSHOTS = ROOT / ".bow2gpt" / "screenshots"
PICTURES = ("lab.png", "check.png")
PICTURE_BYTES, COLOURS = 200_000, 128
PATIENCE = 600  # seconds for any one thing: the other core may be busy, too
EXERCISE, TASK = "02_counting_models", "bag_of_words"


@pytest.fixture(scope="module")
def book(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the working tree, for a learner writes into theirs; it shares the environment."""
    root = tmp_path_factory.mktemp("lab") / "book"
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    for name in subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.split("\0"):
        if (ROOT / name).is_file():
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, root / name)
    (root / ".venv").symlink_to(sys.prefix)
    return root


@pytest.fixture(scope="module")
def link(book: Path) -> Iterator[str]:
    """What `make lab` says to open, while it runs; Jupyter's own files and settings are as on the first day."""
    # Of the `make` that may have started this, nothing is meant for the learner's.
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS"))}
    for name in ("JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR", "IPYTHONDIR"):
        environment[name] = str(book.parent / name.lower())
    # This environment is what `make lab` would set up: `--old-file` keeps it from doing so again.
    arguments = "--no-browser" + (" --allow-root" if os.geteuid() == 0 else "")
    command = ["make", "lab", "--old-file=.venv/.lab", f"ARGS={arguments}"]
    log = book.parent / "log"
    with log.open("w") as file:
        process = subprocess.Popen(command, cwd=book, env=environment, stdout=file, stderr=file)
    try:
        started = time.monotonic()
        while not (found := re.search(r"http://127\.0\.0\.1:\d+/lab\S*\?token=\w+", log.read_text())):
            assert process.poll() is None, log.read_text()
            assert time.monotonic() - started < PATIENCE, log.read_text()
            time.sleep(0.1)
        yield found[0]
    finally:
        end(process)


@pytest.fixture(scope="module")
def page(link: str) -> Iterator[Page]:
    """A learner's browser on the page that `make lab` opens."""
    with chromium() as browser:
        page = browser.new_page(viewport={"width": 1280, "height": 800}, device_scale_factor=2)
        page.set_default_timeout(PATIENCE * 1000)
        page.add_locator_handler(
            page.get_by_text("get notified about official Jupyter news"),
            lambda: page.get_by_role("button", name="No", exact=True).click(),
        )
        page.goto(link)
        until(page, lambda: is_idle(page), "the kernel of the first page starts")
        yield page


def until(page: Page, attempt: Callable[[], bool], what: str) -> None:
    """Wait, while the browser goes on."""
    started = time.monotonic()
    while not attempt():
        assert time.monotonic() - started < PATIENCE, f"{what}: not after {PATIENCE} seconds"
        page.wait_for_timeout(200)


def notebook(page: Page) -> Locator:
    """The notebook in front."""
    return page.locator(".jp-NotebookPanel:not(.lm-mod-hidden) .jp-Notebook")


def open_file(page: Page, path: str) -> None:
    """Go down from the root of the file browser with double clicks, as far as a notebook whose kernel is ready."""
    page.locator(".jp-BreadCrumbs-home").click()
    for name in path.split("/"):
        page.locator(".jp-DirListing-itemText").get_by_text(name, exact=True).dblclick()
    page.locator(f".lm-TabBar-tab.lm-mod-current[title*='{name}']").wait_for()
    until(page, lambda: is_idle(page), "the kernel starts")


def is_idle(page: Page) -> bool:
    return page.locator("#jp-main-statusbar").get_by_text("| Idle").is_visible()


def saved(page: Page, path: Path) -> nbformat.NotebookNode:
    """What is in the file once the learner has pressed Ctrl+S."""
    with page.expect_response(lambda r: r.request.method == "PUT" and path.name in r.url) as response:
        page.keyboard.press("Control+s")
    assert response.value.ok
    return nbformat.read(path, as_version=4)


def errors(cells: list[nbformat.NotebookNode]) -> list[str]:
    """What is wrong in the outputs of cells."""
    return [output.evalue for cell in cells for output in cell.outputs if output.output_type == "error"]


def run_all(page: Page, path: Path) -> list[nbformat.NotebookNode]:
    """Press Run, Run All Cells; returns the code cells once each has a number, or one an error."""
    page.get_by_role("menuitem", name="Run", exact=True).click()
    page.get_by_role("menuitem", name="Run All Cells", exact=True).click()
    cells: list[nbformat.NotebookNode] = []

    def all_ran() -> bool:
        if is_idle(page):
            cells[:] = [cell for cell in saved(page, path).cells if cell.cell_type == "code"]
        return bool(errors(cells)) or (bool(cells) and all(cell.execution_count for cell in cells))

    until(page, all_ran, f"all cells of {path.name} run")
    return cells


def scroll_to(page: Page, thing: Locator, top: float) -> None:
    """Scroll until a thing is that many pixels below the window's upper edge, with the mouse wheel in the end."""

    def there() -> bool:
        distance = thing.bounding_box()["y"] - top
        page.mouse.wheel(0, distance)
        return abs(distance) < 2

    thing.scroll_into_view_if_needed()
    notebook(page).hover()
    until(page, there, "scrolling")


def cell(page: Page, number: int) -> Locator:
    """A cell of the notebook in front, counted from 0."""
    return notebook(page).locator(f".jp-Cell[data-windowed-list-index='{number}']")


def write_last_line(page: Page, number: int, code: str) -> None:
    """Click on the last line of a cell, and type another in its place."""
    line = cell(page, number).locator(".cm-line").last
    scroll_to(page, line, 500)
    line.click()
    page.keyboard.press("End")
    page.keyboard.press("Shift+Home")
    page.keyboard.type(code)


def run_here(page: Page, numbers: list[int]) -> None:
    """Press Shift+Enter, which runs a cell and goes on to the next, until these have run."""
    for number in numbers:
        page.keyboard.press("Shift+Enter")
        cell(page, number).locator(".jp-InputPrompt", has_text=re.compile(r"\[\d+\]")).wait_for()


def validate(page: Page) -> dict[str, str]:
    """Press Validate; returns what its dialog says: of each check that fails, its code and its message."""
    page.get_by_role("button", name="Validate").click()
    dialog = page.get_by_role("dialog").filter(has_text="Validation Results")
    dialog.wait_for()
    said = [text.strip() for text in dialog.locator(".jp-RenderedText").all_inner_texts()]
    dialog.get_by_role("button", name="Ok").click()
    return dict(zip(said[::2], said[1::2], strict=True))


def take(page: Page, name: str, folder: str) -> None:
    """Save a picture for the README, with one of the house's folders chosen on the left."""
    page.locator(".jp-BreadCrumbs-home").click()
    page.locator(".jp-DirListing-itemText").get_by_text(folder, exact=True).click()
    page.mouse.move(0, 0)
    page.wait_for_timeout(1000)  # until what moves has come to rest
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    with Image.open(io.BytesIO(page.screenshot())) as picture:
        few_colours = picture.convert("RGB").quantize(COLOURS, dither=Image.Dither.NONE)
        few_colours.save(SCREENSHOTS / name, optimize=True)


def test_without_a_browser_the_error_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: None)
    monkeypatch.setenv("PLAYWRIGHT_BROWSERS_PATH", str(tmp_path))
    with pytest.raises(RuntimeError, match="`apt install chromium`"), chromium():
        pass


def test_make_lab_opens_the_first_page_and_it_runs(page: Page, book: Path) -> None:
    assert page.locator(".lm-TabBar-tab.lm-mod-current[title*='00_start_here.ipynb']").is_visible()
    source = (book / "chapters/00_start_here.py").read_bytes()
    cells = run_all(page, book / "chapters/00_start_here.ipynb")
    assert errors(cells) == []
    assert (book / "chapters/00_start_here.py").read_bytes() == source, "saving a page changes its source"


@pytest.mark.alone
def test_a_chapter_runs_and_shows_its_figures(page: Page, book: Path) -> None:
    open_file(page, "chapters/02_counting_models.ipynb")
    cells = run_all(page, book / "chapters/02_counting_models.ipynb")
    assert errors(cells) == []
    html = "".join("".join(output.get("data", {}).get("text/html", "")) for cell in cells for output in cell.outputs)
    expected = ImagesAndAlts(html).alts
    assert expected
    assert all(expected)

    def widths() -> dict[str, int]:
        return dict(notebook(page).locator("img").evaluate_all("all => all.map(img => [img.alt, img.naturalWidth])"))

    until(page, lambda: widths().keys() == set(expected), f"the figures appear that the file has: {expected}")
    assert all(widths().values())
    assert notebook(page).locator("mjx-container").count() > 0
    assert notebook(page).locator("mjx-merror").count() == 0

    scroll_to(page, notebook(page).locator("img").first, 338)
    take(page, "lab.png", "chapters")


def test_an_exercise_is_checked_and_validated(page: Page, book: Path) -> None:
    path = f"exercises/{EXERCISE}/{name_of(EXERCISE)}.ipynb"
    exercise = read_exercise(ROOT, EXERCISE)
    wrong = next(answer for answer in exercise.mistakes if (answer.task, answer.name) == (TASK, "presence"))
    right = next(answer for answer in exercise.alternatives if (answer.task, answer.name) == (TASK, "one_line"))
    cells = nbformat.read(book / path, as_version=4).cells
    named = [cell.metadata.get("nbgrader", {}).get("grade_id") for cell in cells]
    imports, task = named.index("imports"), named.index(TASK)
    check = task + 1

    open_file(page, path)
    scroll_to(page, cell(page, imports), 300)
    cell(page, imports).locator(".cm-content").click()
    run_here(page, [imports])
    write_last_line(page, task, wrong.code.strip().splitlines()[-1].strip())
    run_here(page, [task, check])
    message = cell(page, check).locator(".jp-OutputArea-output").inner_text()
    assert wrong.says in message

    cell(page, check).locator(".jp-InputCollapser").click()  # folds the check's code
    scroll_to(page, cell(page, task), 224)
    take(page, "check.png", "exercises")

    failing = validate(page)
    assert failing[cells[check].source.strip()] == message.strip()
    write_last_line(page, task, right.code.strip().splitlines()[-1].strip())
    assert set(failing) - set(validate(page)) == {cells[check].source.strip()}


def test_a_page_that_does_not_run_is_noticed(page: Page, book: Path) -> None:
    broken = nbformat.read(ROOT / "chapters/00_start_here.ipynb", as_version=4)
    broken.cells = [nbformat.v4.new_code_cell("1 / 0"), nbformat.v4.new_code_cell("2")]
    nbformat.write(broken, book / "exercises/broken.ipynb")
    open_file(page, "exercises/broken.ipynb")
    assert errors(run_all(page, book / "exercises/broken.ipynb")) == ["division by zero"]


@pytest.mark.parametrize("name", PICTURES)
def test_the_readme_shows_a_small_picture(name: str) -> None:
    assert f"](book/{name})" in (ROOT / "README.md").read_text(encoding="utf-8")
    with Image.open(ROOT / "book" / name) as picture:
        assert picture.size == (2560, 1600)
    assert (ROOT / "book" / name).stat().st_size < PICTURE_BYTES
