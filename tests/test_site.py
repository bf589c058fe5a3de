"""The website as a reader meets it, in Chromium: every page is light, complete without the network, and accessible."""

import functools
import gzip
import http.server
import json
import mimetypes
import re
import threading
from collections.abc import Iterator
from pathlib import Path

import nbformat
import pytest
from browser import chromium
from playwright.sync_api import Browser, Page, expect
from test_chapters import TIMEOUT

from bow2gpt import claims, ladder
from bow2gpt.course import site
from bow2gpt.course.execute import Run, executed
from bow2gpt.course.glossary import entries
from bow2gpt.course.launch import chapters, repository
from bow2gpt.course.paths import CourseError, exercises

ROOT = Path(__file__).resolve().parents[1]
AXE = ROOT / ".venv" / "lib" / "node_modules" / "axe-core" / "axe.min.js"
HEAVIEST = 2_000_000  # bytes of a page with all that it loads, compressed as every host sends them
DESKTOP, PHONE = {"width": 1280, "height": 900}, {"width": 390, "height": 844}

PAGES = ["index", "ladder", "claims", "glossary", "exercises", "lite", "teaching", "search", "genindex"]
PAGES += [f"chapters/{source.stem}" for source in chapters(ROOT)]
PAGES += [f"exercises/{exercise}/{exercise[3:]}" for exercise in exercises(ROOT)]


@functools.cache
def compressed(path: Path) -> bytes:
    return gzip.compress(path.read_bytes(), 6)


class Host(http.server.SimpleHTTPRequestHandler):
    """Sends files compressed, where that makes them smaller."""

    def do_GET(self) -> None:
        path = Path(self.translate_path(self.path))
        if not path.is_file():
            self.send_error(404)
            return
        content, zipped = path.read_bytes(), compressed(path)
        self.send_response(200)
        self.send_header("Content-Type", mimetypes.guess_type(path)[0] or "application/octet-stream")
        if len(zipped) < len(content):
            content = zipped
            self.send_header("Content-Encoding", "gzip")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *arguments: object) -> None:
        pass


@pytest.fixture(scope="module")
def html(clean_python: Path) -> Path:
    """The folder of the site, built as `make book` does; chapters that ran already do not run again."""
    site.make(ROOT, lambda name, notebook: executed(ROOT, name, notebook, clean_python, timeout=TIMEOUT))
    return ROOT / site.HTML


@pytest.fixture(scope="module")
def address(html: Path) -> Iterator[str]:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Host, directory=str(html)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as started:
        yield started


RUN_AXE = """async options => {
  const results = await axe.run(document, {resultTypes: ["violations"], ...options});
  const bad = results.violations.filter(found => ["serious", "critical"].includes(found.impact));
  return bad.map(found => `${found.id}: ${found.nodes[0].html.slice(0, 200)}`);
}"""


def violations(page: Page, **options: object) -> list[str]:
    """What axe-core finds serious or critical on an open page, a line for each rule."""
    page.evaluate(AXE.read_text(encoding="utf-8"))
    return page.evaluate(RUN_AXE, options)


def overflow(page: Page) -> int:
    """By how many pixels the page is wider than the window."""
    return page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")


def distorted(page: Page) -> list[str]:
    """The images that are not shown in their own shape."""
    images = """images => images.filter(i => i.clientWidth && Math.abs(
        (i.width / i.height) / (i.naturalWidth / i.naturalHeight) - 1) > 0.05).map(i => i.src)"""
    return page.locator("article img").evaluate_all(images)


def formulas_done(page: Page) -> None:
    page.evaluate("window.MathJax?.startup?.promise")


@pytest.mark.alone  # the chapters may have to run first
def test_no_chapter_and_no_exercise_is_missing(html: Path) -> None:
    made = {path.relative_to(html).with_suffix("").as_posix() for path in html.rglob("*.html")}
    assert {path for path in made if not path.startswith("_static/")} == set(PAGES)


@pytest.mark.parametrize("name", PAGES)
def test_a_page_is_light_complete_and_accessible(name: str, browser: Browser, address: str) -> None:
    context = browser.new_context(viewport=DESKTOP, color_scheme="light", reduced_motion="reduce")
    page = context.new_page()
    weights, problems = {}, []
    page.on("request", lambda r: r.url.startswith((address, "data:")) or problems.append(f"asks for {r.url}"))
    page.on("response", lambda r: weights.update({r.url: int(r.headers.get("content-length", 0))}))
    page.on("response", lambda r: r.ok or problems.append(f"{r.status} {r.url}"))
    page.on("console", lambda message: message.type == "error" and problems.append(message.text))
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.goto(f"{address}/{name}.html", wait_until="networkidle")
    formulas_done(page)
    # No formula is left as it was written, and none failed.
    assert page.locator("mjx-merror").count() == 0
    assert page.locator("span.math:not(:has(mjx-container)), div.math:not(:has(mjx-container))").count() == 0
    for image in page.locator("article img").all():
        assert len((image.get_attribute("alt") or "").split()) >= 6
        image.scroll_into_view_if_needed()
    page.wait_for_function("[...document.querySelectorAll('article img')].every(i => i.complete && i.naturalWidth)")
    assert violations(page) == []
    page.emulate_media(color_scheme="dark")
    expect(page.locator("html")).to_have_attribute("data-theme", "dark")
    assert violations(page, runOnly=["color-contrast"]) == []
    page.set_viewport_size(PHONE)
    assert overflow(page) <= 0
    assert distorted(page) == []
    assert problems == []
    assert sum(weights.values()) < HEAVIEST
    context.close()


def test_the_audit_finds_what_is_wrong(browser: Browser) -> None:
    page = browser.new_page(viewport=PHONE)
    page.set_content(
        "<html lang=en><title>x</title><main><h1>x</h1><img src=x.png><p style='color:#eee'>grey</p></main>"
    )
    assert {line.split(":")[0] for line in violations(page)} == {"image-alt", "color-contrast"}
    assert overflow(page) == 0
    page.set_content("<pre>" + "wide " * 100)
    assert overflow(page) > 0
    square = "data:image/svg+xml,<svg xmlns='http://www.w3.org/2000/svg' width='9' height='9'/>"
    page.set_content(
        f'<article><img src="{square}" width=90 height=90><img src="{square}" width=90 height=20></article>'
    )
    page.wait_for_function("[...document.images].every(image => image.complete)")
    assert len(distorted(page)) == 1
    page.close()


def test_a_reader_finds_a_word_goes_on_and_launches(browser: Browser, address: str) -> None:
    page = browser.new_page(viewport=DESKTOP)
    page.goto(f"{address}/index.html")
    page.locator("input[type=search]:visible").fill("Kneser")
    page.keyboard.press("Enter")
    expect(page.locator("#search-results a", has_text="02 Counting models").first).to_be_visible()
    page.goto(f"{address}/chapters/02_counting_models.html")
    owner = repository(ROOT).removeprefix("https://github.com/")
    path = "chapters/02_counting_models.ipynb"
    places = page.locator(".dropdown-launch-buttons a").evaluate_all("links => links.map(link => link.href)")
    assert f"https://mybinder.org/v2/gh/{owner}/main?urlpath=lab/tree/{path}" in places
    assert f"https://colab.research.google.com/github/{owner}/blob/main/{path}" in places
    page.locator(".prev-next-footer .right-next").click()
    expect(page).to_have_title(re.compile("03 Embeddings"))
    page.close()


def test_a_term_leads_to_its_entry_and_back(browser: Browser, address: str) -> None:
    page = browser.new_page(viewport=DESKTOP)
    page.goto(f"{address}/chapters/02_counting_models.html")
    term = page.locator("article a[href*='glossary.html#term-']").first
    entry = term.get_attribute("href").partition("#")[2]
    term.click()
    expect(page.locator("dt:target")).to_have_id(entry)
    page.locator("dt:target ~ dd").first.locator("a[href*='chapters/02']").click()
    expect(page.locator(f"article a[href$='#{entry}']")).to_be_visible()
    page.close()


# The pages before Sphinx reads them


def of(*cells: nbformat.NotebookNode) -> nbformat.NotebookNode:
    notebook = nbformat.v4.new_notebook(cells=list(cells))
    notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3"}
    return notebook


def test_every_claim_and_every_rung_is_on_its_page(html: Path) -> None:
    source = ROOT / site.SITE / "source"
    for row in ladder.rows():
        assert f"| {row['label']} | " in (source / "ladder.md").read_text()
        assert f" | {row['bits_per_byte']} | " in (source / "ladder.md").read_text()
    lines = re.findall(r"^\| (\d+) \| .* \| (.*) \| \[\d\d\]", (source / "claims.md").read_text(), re.M)
    numbers = [int(number) for number, _ in lines]
    assert numbers == sorted(numbers)
    assert set(numbers) == set(range(1, max(numbers) + 1))
    assert {verdict for _, verdict in lines} <= set(claims.VERDICTS)
    calls = sum(len(re.findall(r"^ *claims\.verdict\(", path.read_text(), re.M)) for path in chapters(ROOT))
    assert len(lines) == calls


def test_the_catalogue_has_every_task(html: Path) -> None:
    text = (ROOT / site.SITE / "source" / "exercises.md").read_text()
    for exercise in exercises(ROOT):
        source = (ROOT / "solutions" / exercise / f"{exercise[3:]}.py").read_text()
        asked = re.findall(r'^# %% task="(\w+)"', source, re.M)
        tasks = site.tasks_of(ROOT, exercise)
        assert len(tasks) == len(asked) > 0
        for task in tasks:
            assert f"| `{task.name}` | {task.difficulty} | {task.minutes} | {task.points} |" in source.replace("# ", "")
            assert f"| `{task.name}` | {task.says}" in text


GLOSSARY = "# Glossary\n\n:::{glossary}\ncount\ncounts\n  How often something occurs in a text, as a number.\n:::\n"


def test_a_first_use_is_linked_once_and_leads_back() -> None:
    prose = "## Counting, at last\n\n**count** count `*count*` $a*count*b$, then *counts*\nand *count*."
    book = of(nbformat.v4.new_markdown_cell(prose), nbformat.v4.new_markdown_cell("*Count* again"))
    first = site.link_first_uses(GLOSSARY, {"02_models": book})
    assert book.cells[0].source == prose.replace("*counts*", "{term}`counts <count>`")
    assert book.cells[1].source == "*Count* again"
    link = "[02, Counting, at last](../chapters/02_models.ipynb#counting-at-last)"
    assert first == {"count": link}
    assert entries(site.with_first_uses(GLOSSARY, first))[0].definition.endswith(f"as a number. {link}")


def test_a_term_that_no_chapter_explains_is_refused() -> None:
    with pytest.raises(CourseError, match="no chapter sets the term 'count' of the glossary in italics"):
        site.link_first_uses(GLOSSARY, {"02_models": of(nbformat.v4.new_markdown_cell("count"))})


@pytest.mark.parametrize(
    ("page", "link", "becomes"),
    [
        ("book/teaching.md", "../chapters/00_start_here.ipynb", "chapters/00_start_here.ipynb"),
        ("book/teaching.md", "ladder.svg", "ladder.svg"),
        ("book/teaching.md", "../README.md", "index.md"),
        ("chapters/00_start_here.ipynb", "../book/glossary.md#a", "../glossary.md#a"),
        ("chapters/00_start_here.ipynb", "../tests/laws.py", "REPOSITORY/blob/main/tests/laws.py"),
        ("chapters/00_start_here.ipynb", "../deploy", "REPOSITORY/tree/main/deploy"),
        ("chapters/00_start_here.ipynb", "https://example.org/a.md", "https://example.org/a.md"),
        ("chapters/00_start_here.ipynb", "#here", "#here"),
    ],
)
def test_links_lead_to_the_site_or_the_repository(page: str, link: str, becomes: str) -> None:
    wanted = becomes.replace("REPOSITORY", repository(ROOT))
    assert site.redirected(ROOT, f"[a [b]]({link})", Path(page)) == f"[a [b]]({wanted})"


def test_a_link_to_nothing_is_refused_and_code_is_left_alone() -> None:
    with pytest.raises(CourseError, match="teaching.md links to none.md, which does not exist"):
        site.redirected(ROOT, "[a](none.md)", Path("book/teaching.md"))
    code = "```python\nx[1](none.md)\n```"
    assert site.redirected(ROOT, code, Path("book/teaching.md")) == code


def test_a_run_leaves_no_progress_bar_on_its_page() -> None:
    bar = nbformat.v4.new_output("stream", name="stderr", text="50%")
    widget = nbformat.v4.new_output("display_data", {"application/vnd.jupyter.widget-view+json": {}, "text/plain": "x"})
    kept = nbformat.v4.new_output("stream", name="stdout", text="kept")
    cell = nbformat.v4.new_code_cell("1", outputs=[bar, widget, kept])
    shown = json.loads(site.page(ROOT, Path("chapters/00_start_here.ipynb"), of(cell)))
    assert [output["text"] for output in shown["cells"][0]["outputs"]] == [["kept"]]


def test_a_claim_is_read_from_what_a_chapter_shows() -> None:
    row = {"number": 7, "claim": "c", "measured": "m", "verdict": "holds"}
    output = nbformat.v4.new_output("display_data", {site.CLAIM: row, "text/markdown": "**Claim 7.**"})
    result = Run(of(nbformat.v4.new_code_cell("1", outputs=[output])), 1, 1)
    assert site.claims_of("04_x", result.notebook) == [site.Claim(**row, chapter="04_x")]
