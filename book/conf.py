"""Sphinx's settings. The sources are written by `python -m bow2gpt.course.site`; nothing of the site lies elsewhere."""

import os
import tomllib
from pathlib import Path

from sphinx.util.fileutil import copy_asset

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
REPOSITORY = PROJECT["urls"]["Repository"]
# npm's package, installed by the Makefile; the site carries a part of it.
MATHJAX = Path(os.environ.get("MATHJAX", ROOT / ".venv" / "lib" / "node_modules" / "mathjax")) / "es5"

MATHJAX_PARTS = [
    *("startup.js", "core.js", "input/tex.js", "input/tex/extensions"),
    *("output/chtml.js", "output/chtml/fonts", "a11y/assistive-mml.js"),
]

project = "From Bag of Words to GPT"
author = "the authors of From Bag of Words to GPT"
copyright = "2026, the authors. Text and figures: CC BY 4.0; code: MIT"
language = "en"
extensions = ["myst_nb"]
exclude_patterns = ["_build"]
html_title = project

nb_execution_mode = "off"  # the chapters come executed
nb_render_markdown_format = "myst"  # of verdicts
nb_merge_streams = True
myst_enable_extensions = ["amsmath", "colon_fence", "dollarmath"]
myst_heading_anchors = 4

templates_path = ["templates"]
html_theme = "sphinx_book_theme"
html_static_path = ["static"]
html_css_files = ["book.css"]
html_favicon = "static/favicon.svg"
html_context = {"default_mode": "auto"}  # light or dark, as the reader's system is
html_copy_source = False
html_show_sourcelink = False
html_theme_options = {
    "repository_url": REPOSITORY,
    "repository_branch": "main",
    "path_to_docs": "",
    "launch_buttons": {
        "binderhub_url": "https://mybinder.org",
        "colab_url": "https://colab.research.google.com",
        "notebook_interface": "jupyterlab",
    },
    "extra_footer": f'<p><a href="{REPOSITORY}">The book\'s repository</a></p>',
    "use_download_button": False,
    "use_fullscreen_button": False,
    "home_page_in_toc": True,
    "navbar_persistent": [],
    "show_toc_level": 2,
}
html_sidebars = {"**": ["navbar-logo.html", "search-field.html", "sbt-sidebar-nav.html"]}
mathjax_path = "mathjax/startup.js"
mathjax3_config = {
    "loader": {"load": ["input/tex", "output/chtml", "a11y/assistive-mml"]},
    "options": {"enableMenu": False},
}


def setup(app):
    """Hand out what pages need from the site itself."""
    app.add_js_file("book.js", loading_method="defer")
    app.connect("build-finished", copy_assets)


def copy_assets(app, error):
    """Copy MathJax with its fonts, and the figures; leave out 1.5 MB of icons, which the theme has as fonts."""
    if error or app.builder.name != "html":
        return
    static = Path(app.outdir, "_static")
    (static / "scripts" / "fontawesome.js").write_text("")
    copy_asset(Path(app.srcdir, "_static"), static)
    for name in MATHJAX_PARTS:
        target = static / "mathjax" / name
        target.parent.mkdir(parents=True, exist_ok=True)
        copy_asset(MATHJAX / name, target if (MATHJAX / name).is_dir() else target.parent)
