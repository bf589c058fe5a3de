"""The house style of the book's figures, and the one way to show them: with a text for those who cannot see them."""

from __future__ import annotations

import html
import io
from base64 import b64encode

import matplotlib as mpl
from cycler import cycler
from matplotlib.figure import Figure

#: Okabe and Ito's (2008) colours for all kinds of colour vision, from dark to light so that they differ in grey too.
COLOURS = ("#0b3c5d", "#c2410c", "#0f8a6d", "#b57edc", "#d99a00", "#6c757d")
_MARKERS = ("o", "s", "^", "D", "v", "P")
_LINES = ("-", "--", "-.", ":", (0, (5, 1)), (0, (3, 1, 1, 1)))

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
    from IPython.display import display

    display(picture(figure, alt), raw=True)


def picture(figure: Figure, alt: str) -> dict[str, str]:
    """A figure as `show` shows it, by MIME type, for a display that is drawn more than once; arguments as there."""
    import matplotlib.pyplot as plt

    if not isinstance(alt, str) or len(alt.split()) < 6:
        raise ValueError(f"got the alt text {alt!r}; say in a sentence what the figure shows")
    _refuse_unlabelled(figure)
    png = io.BytesIO()
    figure.savefig(png, format="png", bbox_inches="tight")
    plt.close(figure)
    encoded = b64encode(png.getvalue()).decode("ascii")
    image = f'<img alt="{html.escape(alt, quote=True)}" src="data:image/png;base64,{encoded}">'
    return {"text/html": image, "text/plain": f"[Figure: {alt}]"}


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


use_style()
