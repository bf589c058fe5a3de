"""Every figure has labelled axes and a text for those who cannot see it, and every page shows figures that way."""

import ast
import re
from pathlib import Path

import jupytext
import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pytest

from bow2gpt import figures

CHAPTERS = sorted((Path(__file__).resolve().parents[1] / "chapters").glob("*.py"))
ALT = 'A line that rises from 0 to 2 & stays "below" <3> all the way.'


@pytest.fixture(autouse=True)
def closed():
    yield
    plt.close("all")


@pytest.fixture
def shown(monkeypatch):
    seen = []
    monkeypatch.setattr("IPython.display.display", lambda bundle, raw: seen.append((bundle, raw)))
    return seen


def labelled():
    fig, ax = plt.subplots()
    ax.plot([0, 1, 2])
    ax.set(xlabel="time (s)", ylabel="height (m)", title="Does it rise?")
    return fig


def test_show_gives_a_picture_with_its_alt_text_escaped(shown):
    figures.show(labelled(), alt=ALT)
    [(bundle, raw)] = shown
    assert raw
    image = bundle["text/html"]
    assert 'alt="A line that rises from 0 to 2 &amp; stays &quot;below&quot; &lt;3&gt; all the way."' in image
    assert re.search(r'src="data:image/png;base64,iVBORw0KGgo', image)
    assert bundle["text/plain"] == f"[Figure: {ALT}]"


def test_show_closes_the_figure_so_that_it_appears_once(shown):
    figures.show(labelled(), alt=ALT)
    assert plt.get_fignums() == []


@pytest.mark.parametrize("alt", ["", "A line chart.", "   ", None, 6])
def test_show_refuses_a_missing_or_short_alt_text(shown, alt):
    with pytest.raises(ValueError, match="say in a sentence what the figure shows"):
        figures.show(labelled(), alt=alt)
    assert shown == []


@pytest.mark.parametrize("name", ["x", "y"])
def test_show_refuses_an_axis_without_a_label(shown, name):
    fig = labelled()
    fig.axes[0].set(**{f"{name}label": ""})
    with pytest.raises(ValueError, match=f"axis {name} of plot 1 has no label; call set_{name}label, with the unit"):
        figures.show(fig, alt=ALT)
    assert shown == []


def test_show_names_the_plot_that_lacks_a_label(shown):
    fig, (left, right) = plt.subplots(1, 2)
    left.set(xlabel="time (s)", ylabel="height (m)")
    right.set(xlabel="time (s)")
    with pytest.raises(ValueError, match="axis y of plot 2"):
        figures.show(fig, alt=ALT)


def test_show_accepts_shared_labels_axes_without_ticks_and_colour_bars(shown):
    fig, ((a, b), (c, d)) = plt.subplots(2, 2)
    fig.supxlabel("time (s)")
    fig.supylabel("height (m)")
    figures.show(fig, alt=ALT)
    fig, ax = plt.subplots()
    ax.axis("off")
    figures.show(fig, alt=ALT)
    fig, ax = plt.subplots()
    ax.set(xticks=[], yticks=[])
    figures.show(fig, alt=ALT)
    fig, ax = plt.subplots()
    fig.colorbar(ax.imshow(np.eye(2)))
    ax.set(xlabel="column", ylabel="row")
    figures.show(fig, alt=ALT)
    assert len(shown) == 4


def luminance(colour):
    return float(np.dot(mpl.colors.to_rgb(colour), (0.299, 0.587, 0.114)))


def test_series_differ_in_colour_line_and_marker_so_that_grey_print_can_tell_them_apart():
    cycle = list(mpl.rcParams["axes.prop_cycle"])
    assert len(cycle) == len(figures.COLOURS)
    for key in ("color", "linestyle", "marker"):
        assert len({str(style[key]) for style in cycle}) == len(cycle)
    first_two = [luminance(colour) for colour in figures.COLOURS[:2]]
    assert abs(first_two[0] - first_two[1]) > 0.1


def cells(path):
    return [cell for cell in jupytext.read(path).cells if cell.cell_type == "code"]


def parsed(cell):
    return ast.parse(re.sub(r"(?m)^[%!].*$", "", cell.source))


def calls(tree):
    return [(ast.unparse(node.func), node) for node in ast.walk(tree) if isinstance(node, ast.Call)]


@pytest.mark.parametrize("chapter", CHAPTERS, ids=lambda path: path.stem)
def test_every_figure_of_a_chapter_is_shown_with_an_alt_text(chapter):
    for cell in cells(chapter):
        tree = parsed(cell)
        found = calls(tree)
        names = [name for name, _ in found]
        assert not {"plt.show", "fig.show", "plt.savefig"} & set(names), f"use figures.show:\n{cell.source}"
        for name, node in found:
            if name == "figures.show":
                assert "alt" in {keyword.arg for keyword in node.keywords}, f"no alt text:\n{ast.unparse(node)}"
        drawn = sum(name in ("plt.subplots", "plt.figure", "plt.subplot_mosaic", "ladder.figure") for name in names)
        assert drawn == names.count("figures.show"), f"{drawn} figures drawn, not all shown:\n{cell.source}"
        last = tree.body[-1] if tree.body else None
        bare = isinstance(last, ast.Expr) and isinstance(last.value, ast.Name) and last.value.id.startswith("fig")
        assert not bare, f"a bare figure has no alt text:\n{cell.source}"


@pytest.mark.parametrize("chapter", CHAPTERS, ids=lambda path: path.stem)
def test_exported_cells_hold_definitions_only(chapter):
    definitions = (ast.Import, ast.ImportFrom, ast.FunctionDef, ast.ClassDef, ast.Assign, ast.AnnAssign)
    for cell in cells(chapter):
        if "export" not in cell.metadata.get("tags", []):
            continue
        for node in parsed(cell).body:
            docstring = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
            assert docstring or isinstance(node, definitions), f"an exported cell demonstrates:\n{ast.unparse(node)}"
            if isinstance(node, ast.FunctionDef | ast.ClassDef):
                assert node.name.startswith("_") or ast.get_docstring(node), f"{node.name} has no docstring"
            if isinstance(node, ast.Assign):
                assert all(isinstance(target, ast.Name) for target in node.targets), ast.unparse(node)
