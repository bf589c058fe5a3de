"""The house style of the book's figures, and the one way to show them: with a text for those who cannot see them."""

from __future__ import annotations

import html
import io
import math
import operator
from base64 import b64encode
from collections.abc import Sequence
from typing import TYPE_CHECKING

import matplotlib as mpl
import numpy as np
from cycler import cycler
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from numpy.typing import ArrayLike

#: Okabe and Ito's (2008) colours for all kinds of colour vision, from dark to light so that they differ in grey too.
COLOURS = ("#0b3c5d", "#c2410c", "#0f8a6d", "#b57edc", "#d99a00", "#6c757d")
_MARKERS = ("o", "s", "^", "D", "v", "P")
_LINES = ("-", "--", "-.", ":", (0, (5, 1)), (0, (3, 1, 1, 1)))
_INK = LinearSegmentedColormap.from_list("ink", ["white", COLOURS[0]])  # nothing is white, in grey print too

STYLE = {
    "figure.figsize": (7.0, 3.8),
    "figure.dpi": 110,
    "figure.constrained_layout.use": True,
    "font.size": 10,
    "axes.titlesize": 11,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.prop_cycle": cycler(color=COLOURS) + cycler(linestyle=_LINES) + cycler(marker=_MARKERS),
    "grid.color": "#e3e3e3",
    "lines.linewidth": 1.8,
    "lines.markersize": 5,
    "legend.frameon": False,
    "image.cmap": "cividis",
    "svg.fonttype": "none",
    "svg.hashsalt": "bow2gpt",
}


def use_style() -> None:
    """Make the house style the default of every figure drawn from now on."""
    mpl.rcParams.update(STYLE)


def show(figure: Figure, alt: str) -> None:
    """Show a figure in a notebook, with a text that says what it shows.

    Args:
        figure: a matplotlib figure; it is closed afterwards, so that it is not shown twice.
        alt: what a reader who cannot see the figure should know: the answer it gives, not only its axes.

    Raises:
        ValueError: if the text is missing or too short to say anything, or an axis has no label.
    """
    import matplotlib.pyplot as plt
    from IPython.display import display

    if not isinstance(alt, str) or len(alt.split()) < 6:
        raise ValueError(f"got the alt text {alt!r}; say in a sentence what the figure shows")
    _refuse_unlabelled(figure)
    picture = io.BytesIO()
    figure.savefig(picture, format="png", bbox_inches="tight")
    plt.close(figure)
    encoded = b64encode(picture.getvalue()).decode("ascii")
    image = f'<img alt="{html.escape(alt, quote=True)}" src="data:image/png;base64,{encoded}">'
    display({"text/html": image, "text/plain": f"[Figure: {alt}]"}, raw=True)


def _refuse_unlabelled(figure: Figure) -> None:
    for number, axes in enumerate(figure.axes, start=1):
        if not axes.axison or axes.get_label() == "<colorbar>":
            continue
        ticks = {"x": axes.get_xticks(), "y": axes.get_yticks()}
        labels = {"x": axes.get_xlabel(), "y": axes.get_ylabel()}
        for name in ("x", "y"):
            shared = figure.get_supxlabel() if name == "x" else figure.get_supylabel()
            if len(ticks[name]) and not labels[name] and not shared:
                raise ValueError(f"axis {name} of plot {number} has no label; call set_{name}label, with the unit")


def attention_heads(
    weights: ArrayLike,
    tokens: Sequence[str],
    key_tokens: Sequence[str] | None = None,
    *,
    layer: int | None = None,
    head: int | None = None,
    query: int | str | None = None,
    threshold: float = 0.02,
    title: str = "Where does each token look?",
) -> Figure:
    """Draw attention as lines between two copies of a sentence, thick and dark where the weight is large (Vig, 2019).

    Args:
        weights: attention weights of one sentence, array or tensor of shape (queries, keys), (heads, queries, keys) or
            (layers, heads, queries, keys), or a list of one (heads, queries, keys) for each layer. Rows sum to 1.
        tokens: the tokens that look, one for each query, drawn on the left.
        key_tokens: the tokens looked at, drawn on the right, where they are others (cross-attention).
        layer: draw this layer only, counted from 0.
        head: draw this head only, counted from 0.
        query: draw the lines of this token only: its place, or the token itself if it occurs once.
        threshold: a weight below it leaves no line.
        title: the question that the figure answers.

    Returns:
        A figure for `show`, with a plot for each layer and head.

    Raises:
        ValueError: if the weights are no such weights, or the tokens or a choice do not fit them.
    """
    panels, columns, keys = _attention_panels(weights, tokens, key_tokens, layer, head)
    looking = range(len(tokens)) if query is None else [_place(query, tokens)]
    if not 0 <= threshold <= 1:
        raise ValueError(f"got the threshold {threshold!r}; a weight lies between 0 and 1, so choose one there")
    letters, tall = _longest(tokens) + _longest(keys), max(len(tokens), len(keys))
    height = max(0.9, min(0.2 * tall, 8.0))
    size = min(9.0, 72 * height / (1.25 * tall))
    outer = columns > 4  # so many plots that only the outer ones carry the tokens
    width = 0.7 if outer else (2.4 if len(panels) == 1 else 0.8) + 0.0085 * size * letters
    margin = 0.0085 * size * letters if outer else 0.0
    fig, axes = _attention_axes(len(panels), columns, (width, height), margin, title)
    for number, ((name, matrix), ax) in enumerate(zip(panels, axes, strict=True)):
        left, right = (not outer or number % columns == edge for edge in (0, columns - 1))
        _draw_lines(ax, matrix, tokens if left else [], keys if right else [], looking, threshold, size)
        ax.set_title(name, fontsize=9, fontweight="normal", loc="center")
    fig.supxlabel("left: looks (query); right: looked at (key)", fontsize=8)
    return fig


def attention_matrix(
    weights: ArrayLike,
    tokens: Sequence[str],
    key_tokens: Sequence[str] | None = None,
    *,
    layer: int | None = None,
    head: int | None = None,
    numbers: bool | None = None,
    title: str = "Where does each token look?",
) -> Figure:
    """Draw attention as matrices: a row for each token that looks, a column for each one looked at, dark for much.

    Args:
        weights: as for `attention_heads`, and so are tokens, key_tokens, layer, head and title.
        tokens: the names of the rows.
        key_tokens: the names of the columns, where they are others.
        layer: draw this layer only.
        head: draw this head only.
        numbers: write the weights into the cells; by default only into a single small matrix.
        title: the question that the figure answers.

    Returns:
        A figure for `show`, with a plot for each layer and head and one colour bar for all.

    Raises:
        ValueError: as for `attention_heads`.
    """
    panels, columns, keys = _attention_panels(weights, tokens, key_tokens, layer, head)
    alone = len(panels) == 1
    cell = min(0.42 if alone else 0.24, 5.0 / max(len(tokens), len(keys)), 9.0 / columns / len(keys))
    size = max(5.0, min(9.0, 72 * cell * 0.85))
    panel = (max(cell * len(keys), 0.5), max(cell * len(tokens), 0.5))
    fig, axes = _attention_axes(len(panels), columns, panel, 0.0085 * size * _longest([*tokens, *keys]) + 1.3, title)
    highest = max(float(matrix.max()) for _, matrix in panels)
    for number, ((name, matrix), ax) in enumerate(zip(panels, axes, strict=True)):
        image = ax.imshow(matrix, cmap=_INK, vmin=0, vmax=highest, interpolation="nearest")
        ax.grid(visible=False)
        ax.set_title(name, fontsize=9, fontweight="normal", loc="center")
        _name_ticks(ax, "x", keys, size, named=number + columns >= len(panels))
        _name_ticks(ax, "y", tokens, size, named=number % columns == 0)
        if numbers or (numbers is None and alone and matrix.size <= 100):
            for (row, column), weight in np.ndenumerate(matrix):
                ink = "white" if weight > 0.55 * highest else "black"
                ax.text(column, row, f"{weight:.2f}", ha="center", va="center", fontsize=0.8 * size, color=ink)
    fig.supylabel("token that looks (query)", fontsize=9)
    fig.supxlabel("token looked at (key)", fontsize=9)
    bar = fig.colorbar(image, ax=axes, shrink=0.75)
    bar.set_label("weight (a row sums to 1)", fontsize=8)
    bar.ax.tick_params(labelsize=8)
    return fig


def _attention_panels(
    weights: ArrayLike, tokens: Sequence[str], key_tokens: Sequence[str] | None, layer: int | None, head: int | None
) -> tuple[list[tuple[str, np.ndarray]], int, Sequence[str]]:
    """Check what came; give name and matrix (queries, keys) of each plot, the columns, and the tokens looked at."""
    array = _checked_weights(weights)
    keys = tokens if key_tokens is None else key_tokens
    for names, side, length in ((tokens, "queries", array.shape[-2]), (keys, "keys", array.shape[-1])):
        if isinstance(names, str) or not all(isinstance(name, str) for name in names):
            raise ValueError(f"got {names!r} as tokens; pass a list of strings, one for each of the {length} {side}")
        if len(names) != length:
            hint = "; other tokens on the right go in as key_tokens" if key_tokens is None else ""
            raise ValueError(f"got {len(names)} tokens for {length} {side}; pass one for each{hint}")
    dimensions = array.ndim
    array = array.reshape(*(1,) * (4 - dimensions), *array.shape)  # (layers, heads, queries, keys)
    layers = _chosen("layer", layer, array.shape[0])
    heads = _chosen("head", head, array.shape[1])
    columns = len(heads) if len(layers) > 1 else min(len(heads), 4)  # one layer's heads go on below
    named = ("", "head {1}", "L{0} H{1}" if columns > 4 else "layer {0}, head {1}")[dimensions - 2]
    return [(named.format(i, j), array[i, j]) for i in layers for j in heads], columns, keys


def _checked_weights(weights: ArrayLike) -> np.ndarray:
    try:
        array = _as_array(weights)
    except (TypeError, ValueError) as error:
        raise ValueError(f"the weights are no array of numbers: {error}; pass what the softmax gave") from error
    if not 2 <= array.ndim <= 4:
        raise ValueError(
            f"got weights of shape {array.shape}; expected (queries, keys), (heads, queries, keys) or (layers, heads, "
            "queries, keys): of a batch, pass one sentence"
        )
    if 0 in array.shape:
        raise ValueError(f"got weights of shape {array.shape}; there is nothing to draw in an empty array")
    sums = array.sum(axis=-1)
    if not (np.all(array >= 0) and np.all(np.abs(sums - 1) < 5e-3)):  # bfloat16 has three digits
        worst = sums.flat[np.argmax(np.nan_to_num(np.abs(sums - 1), nan=np.inf))]
        raise ValueError(
            f"got weights from {array.min():.3g} to {array.max():.3g} with a row that sums to {worst:.3g}; every row "
            "must sum to 1, without negative numbers: pass the weights after the softmax, without dropout and padding"
        )
    return array


def _as_array(weights: ArrayLike) -> np.ndarray:
    if isinstance(weights, list | tuple):
        return np.asarray([_as_array(part) for part in weights], dtype=np.float64)
    if hasattr(weights, "detach"):  # a tensor, recognised without importing torch
        return weights.detach().cpu().double().numpy()
    return np.asarray(weights, dtype=np.float64)


def _chosen(name: str, number: int | None, count: int) -> Sequence[int]:
    if number is None:
        return range(count)
    if not -count <= operator.index(number) < count:
        raise ValueError(f"there is no {name} {number}: the weights have {count}, counted from 0")
    return [number % count]


def _place(query: int | str, tokens: Sequence[str]) -> int:
    if isinstance(query, str):
        if (count := list(tokens).count(query)) != 1:
            raise ValueError(f"the token {query!r} occurs {count} times in {list(tokens)}; pass its place, from 0")
        return list(tokens).index(query)
    if not -len(tokens) <= operator.index(query) < len(tokens):
        raise ValueError(f"there is no token {query}: there are {len(tokens)}, counted from 0")
    return query % len(tokens)


def _attention_axes(
    count: int, columns: int, panel: tuple[float, float], margin: float, title: str
) -> tuple[Figure, list[Axes]]:
    """A figure with so many plots, row by row, each as large as `panel` (inches), with a margin around all."""
    import matplotlib.pyplot as plt

    rows = math.ceil(count / columns)
    size = (columns * (panel[0] + 0.15) + margin + 0.2, rows * (panel[1] + 0.28) + min(0.6 * margin, 1.5) + 0.5)
    fig, axes = plt.subplots(rows, columns, squeeze=False, figsize=(max(size[0], 3.0), size[1]))
    for spare in axes.flat[count:]:
        spare.remove()
    fig.suptitle(title, fontsize=11, fontweight="bold")
    return fig, list(axes.flat[:count])


def _draw_lines(
    ax: Axes,
    matrix: np.ndarray,
    tokens: Sequence[str],
    keys: Sequence[str],
    looking: Sequence[int],
    threshold: float,
    size: float,
) -> None:
    """One head: a line from each query, at x = 0, to each key, at x = 1; the strongest on top."""
    left, right = (np.linspace(0.5, max(matrix.shape) - 0.5, n + 1 if n == 1 else n) for n in matrix.shape)
    drawn = sorted((matrix[row, column], row, column) for row in looking for column in range(matrix.shape[1]))
    drawn = [(weight, row, column) for weight, row, column in drawn if weight >= max(threshold, 1e-9)]
    for weight, row, column in drawn:
        line = ax.plot([0, 1], [left[row], right[column]], linestyle="-", marker="", solid_capstyle="butt")[0]
        line.set(color=_INK(0.12 + 0.88 * weight), linewidth=0.5 + 3.5 * weight)
    seen = {column for _, _, column in drawn}
    for names, places, x, align, bold in ((tokens, left, -0.04, "right", looking), (keys, right, 1.04, "left", seen)):
        for number, name in enumerate(names):
            ink = "black" if number in bold else "0.6"
            ax.text(x, places[number], _printed(name), ha=align, va="center", fontsize=size, color=ink)
    ax.set(xlim=(0, 1), ylim=(max(matrix.shape), 0))
    ax.axis("off")


def _name_ticks(ax: Axes, side: str, names: Sequence[str], size: float, named: bool) -> None:
    step = math.ceil(len(names) / 40)  # more would not be legible
    places = range(0, len(names), step)
    labels = [_printed(names[place]) if named else "" for place in places]
    getattr(ax, f"set_{side}ticks")(places, labels, fontsize=size, rotation=90 if side == "x" else 0)
    ax.tick_params(axis=side, length=2 if named else 0)


def _printed(token: str) -> str:
    """A token as it is written into a figure: blanks and line breaks visible, dollars not taken for formulas."""
    return (token if token.strip() and token.isprintable() else repr(token)).replace("$", r"\$")


def _longest(tokens: Sequence[str]) -> int:
    return max(len(_printed(token)) for token in tokens)


use_style()
