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
DRAWING = ("plt.subplots", "plt.figure", "plt.subplot_mosaic", "ladder.figure") + tuple(
    f"figures.{name}" for name in ("attention_heads", "attention_matrix")
)
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


TOKENS = ["time", "flies", "like", "an", "arrow"]
VIEWS = pytest.mark.parametrize("view", [figures.attention_heads, figures.attention_matrix])


def attention(*shape, seed=0):
    scores = np.exp(2 * np.random.default_rng(seed).normal(size=shape))
    return scores / scores.sum(axis=-1, keepdims=True)


def titles(fig):
    return [ax.get_title() for ax in fig.axes if ax.get_label() != "<colorbar>"]


def words(ax):
    return [text.get_text() for text in ax.texts]


@VIEWS
@pytest.mark.parametrize(
    ("shape", "choice", "expected"),
    [
        ((5, 5), {}, [""]),
        ((3, 5, 5), {}, ["head 0", "head 1", "head 2"]),
        ((6, 5, 5), {"head": 4}, ["head 4"]),
        ((2, 2, 5, 5), {}, ["layer 0, head 0", "layer 0, head 1", "layer 1, head 0", "layer 1, head 1"]),
        ((2, 2, 5, 5), {"layer": 1}, ["layer 1, head 0", "layer 1, head 1"]),
        ((2, 2, 5, 5), {"head": 0}, ["layer 0, head 0", "layer 1, head 0"]),
        ((3, 2, 5, 5), {"layer": -1, "head": 1}, ["layer 2, head 1"]),
        ((2, 5, 5, 5), {}, [f"L{layer} H{head}" for layer in range(2) for head in range(5)]),
    ],
)
def test_attention_has_a_plot_for_each_layer_and_head(shown, view, shape, choice, expected):
    fig = view(attention(*shape), TOKENS, **choice)
    assert titles(fig) == expected
    figures.show(fig, alt=ALT)
    assert len(shown) == 1


@VIEWS
def test_attention_wraps_many_heads_and_shows_no_empty_plot(view):
    fig = view(attention(6, 5, 5), TOKENS)
    assert len(titles(fig)) == 6
    assert len({round(ax.get_position().x0, 2) for ax in fig.axes[:6]}) == 4


def test_the_lines_of_attention_grow_with_the_weight_and_keep_to_their_tokens():
    weights = np.array([[0.7, 0.3, 0.0], [0.0, 1.0, 0.0], [0.005, 0.005, 0.99]])
    [ax] = figures.attention_heads(weights, ["a", "b", "c"]).axes
    lines = sorted((*np.round(line.get_ydata(), 6), line.get_linewidth(), line.get_color()) for line in ax.lines)
    assert [(left, right) for left, right, *_ in lines] == [(0.5, 0.5), (0.5, 1.5), (1.5, 1.5), (2.5, 2.5)]
    heavy, light, one, most = lines
    assert light[2] < heavy[2] < most[2] < one[2]
    assert luminance(light[3]) > luminance(heavy[3]) > luminance(most[3]) > luminance(one[3])
    assert words(ax) == ["a", "b", "c", "a", "b", "c"]


@pytest.mark.parametrize("query", ["flies", 1, -4, np.int64(1)])
def test_the_lines_of_one_token_can_be_drawn_alone(query):
    [ax] = figures.attention_heads(attention(5, 5), TOKENS, query=query, threshold=0).axes
    assert len(ax.lines) == 5
    assert {line.get_ydata()[0] for line in ax.lines} == {1.5}


def test_the_matrix_of_attention_shows_each_weight_in_its_row_and_column():
    weights = attention(3, 4)
    fig = figures.attention_matrix(weights, ["a", "b", "c"], ["t", "u", "v", "w"])
    ax = fig.axes[0]
    np.testing.assert_allclose(ax.images[0].get_array(), weights)
    assert [tick.get_text() for tick in ax.get_yticklabels()] == ["a", "b", "c"]
    assert [tick.get_text() for tick in ax.get_xticklabels()] == ["t", "u", "v", "w"]
    assert words(ax) == [f"{weight:.2f}" for weight in weights.flat]
    assert words(figures.attention_matrix(weights, list("abc"), list("tuvw"), numbers=False).axes[0]) == []


def test_the_matrices_of_attention_share_one_scale_and_one_colour_bar():
    weights = np.stack([attention(5, 5), np.full((5, 5), 0.2)])
    fig = figures.attention_matrix(weights, TOKENS)
    assert {ax.images[0].get_clim() for ax in fig.axes[:2]} == {(0.0, weights.max())}
    assert [ax.get_label() for ax in fig.axes].count("<colorbar>") == 1


def test_much_attention_is_dark_in_grey_print():
    greys = [luminance(figures._INK(weight)) for weight in np.linspace(0, 1, 11)]
    assert greys[0] == pytest.approx(1)
    assert all(light - dark > 0.03 for light, dark in zip(greys, greys[1:], strict=False))


@VIEWS
def test_cross_attention_has_other_tokens_on_the_other_side(view, shown):
    fig = view(attention(2, 3, 5), ["K", "AE1", "T"], list("chats"))
    figures.show(fig, alt=ALT)
    figures.show(view([[1.0]], ["a"]), alt=ALT)
    figures.show(view(np.tril(np.ones((5, 5))) / np.arange(1, 6)[:, None], TOKENS), alt=ALT)
    assert len(shown) == 3


@VIEWS
def test_attention_may_be_a_tensor_or_a_list_of_layers(view, shown):
    torch = pytest.importorskip("torch")
    scores = torch.randn(2, 3, 5, 5, requires_grad=True)
    for kind in (torch.float32, torch.bfloat16, torch.float16):
        weights = scores.softmax(-1).to(kind)
        figures.show(view(weights, TOKENS), alt=ALT)
        figures.show(view(list(weights), TOKENS), alt=ALT)
        figures.show(view(weights.transpose(-1, -2)[0, 0].softmax(-1), tuple(TOKENS)), alt=ALT)
    figures.show(view(attention(5, 5).tolist(), TOKENS), alt=ALT)
    assert len(shown) == 10


@VIEWS
def test_attention_prints_dollars_and_line_breaks_as_tokens(view, shown):
    figures.show(view(attention(4, 4), ["$", "a_$x", "\n", " "]), alt=ALT)
    assert len(shown) == 1


@VIEWS
@pytest.mark.parametrize(
    ("weights", "tokens", "choice", "message"),
    [
        (attention(1, 2, 3, 5, 5), TOKENS, {}, r"shape \(1, 2, 3, 5, 5\); expected .* of a batch, pass one sentence"),
        (attention(5), TOKENS, {}, r"shape \(5,\); expected \(queries, keys\)"),
        (np.zeros((0, 5, 5)), TOKENS, {}, "nothing to draw"),
        (np.eye(5) * 2, TOKENS, {}, "a row that sums to 2; every row must sum to 1"),
        (np.eye(5) - 0.2 + np.eye(5)[::-1], TOKENS, {}, "without negative numbers"),
        (np.full((5, 5), np.nan), TOKENS, {}, "every row must sum to 1"),
        (attention(5, 4).T, TOKENS[:4], {}, "pass the weights after the softmax"),
        (attention(5, 5), TOKENS[:4], {}, "4 tokens for 5 queries; pass one for each"),
        (attention(5, 4), TOKENS, {}, "5 tokens for 4 keys; .* key_tokens"),
        (attention(5, 4), TOKENS, {"key_tokens": ["a"]}, "1 tokens for 4 keys"),
        (attention(5, 5), "flies", {}, "pass a list of strings"),
        (attention(5, 5), [1, 2, 3, 4, 5], {}, "pass a list of strings"),
        ([["a", "b"]], ["x"], {}, "no array of numbers"),
        ([attention(5, 5), attention(4, 4)], TOKENS, {}, "no array of numbers"),
        (attention(2, 5, 5), TOKENS, {"head": 2}, "no head 2: the weights have 2, counted from 0"),
        (attention(2, 5, 5), TOKENS, {"layer": 1}, "no layer 1: the weights have 1"),
    ],
)
def test_attention_refuses_what_does_not_fit_and_says_why(view, weights, tokens, choice, message):
    with pytest.raises(ValueError, match=message):
        view(weights, tokens, **choice)
    assert plt.get_fignums() == []


@pytest.mark.parametrize(
    ("choice", "message"),
    [
        ({"query": "moon"}, "'moon' occurs 0 times"),
        ({"query": "the"}, "'the' occurs 2 times .* pass its place"),
        ({"query": 5}, "no token 5: there are 5"),
        ({"threshold": 1.5}, "threshold 1.5; a weight lies between 0 and 1"),
    ],
)
def test_attention_heads_refuses_a_token_or_threshold_that_is_not_there(choice, message):
    with pytest.raises(ValueError, match=message):
        figures.attention_heads(attention(5, 5), ["the", "cat", "in", "the", "hat"], **choice)
    assert plt.get_fignums() == []


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
        drawn = sum(name in DRAWING for name in names)
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
