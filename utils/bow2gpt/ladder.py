"""The ladder: every model of the book on one ruler and one set of probes, in one committed table and one figure.

`measure` computes rows and stores them in `ladder.csv`; nothing in the table is typed by hand.
"""

from __future__ import annotations

import csv
import gzip
import hashlib
import lzma
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

from bow2gpt import corpus
from bow2gpt.course.paths import atomic_path

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from bow2gpt.chapters.language_features import AnyTokenizer
    from bow2gpt.ruler import LanguageModel

FEATURES = ("phonetics", "morphology", "syntax", "semantics", "pragmatics")
_COLUMNS = ("name", "chapter", "label", "bits_per_byte", *FEATURES, "parameters", "train_seconds", "tokens_per_second")


@dataclass(frozen=True)
class Rung:
    """How to make one model of the ladder.

    Attributes:
        chapter: number of the chapter that built it; 0 for a compressor, which is a reference line.
        label: what the figure calls it.
        build: trains the model on the training split, or reads weights that were trained on it.
        weights: folder of committed weights, whose card says how many seconds of a graphics card they took.
    """

    chapter: int
    label: str
    build: Callable[[], LanguageModel] | None
    weights: str | None = None


def _unigram(vocabulary_size: int = 256, taught: bool = True) -> Callable[[], LanguageModel]:
    def build() -> LanguageModel:
        from bow2gpt.chapters import language_features

        text = corpus.text("train") if taught else ""
        return language_features.UnigramModel.fit(text, _bpe(vocabulary_size) if vocabulary_size > 256 else None)

    return build


def _ngram(order: int, smoothing: str = "modified_kneser_ney", over: str = "bytes") -> Callable[[], LanguageModel]:
    def build() -> LanguageModel:
        from bow2gpt.chapters import counting_models

        text = corpus.text("train")
        tokenizers = {
            "bytes": lambda: None,
            "bpe": lambda: _bpe(8192),
            "words": lambda: counting_models.WordTokenizer.train(text),
        }
        return counting_models.NGramModel.fit(text, order, getattr(counting_models, smoothing), tokenizers[over]())

    return build


def _log_bilinear(mixed: bool = False) -> Callable[[], LanguageModel]:
    def build() -> LanguageModel:
        from bow2gpt.chapters import embeddings

        text, tokenizer = corpus.text("train"), _bpe(2048)
        model = embeddings.LogBilinearModel.fit(text, tokenizer)
        return _mixed_with_counts(model) if mixed else model

    return build


def _mlp(mixed: bool = False) -> Callable[[], LanguageModel]:
    """The neural language model of chapter 04, alone or mixed with Kneser-Ney over the same tokens."""

    def build() -> LanguageModel:
        from bow2gpt.chapters import mlps

        text, tokenizer = corpus.text("train"), _bpe(2048)
        model = mlps.NeuralLanguageModel(tokenizer)
        mlps.train_language_model(model, tokenizer.encode(text), num_steps=2640)
        return _mixed_with_counts(model) if mixed else model

    return build


def _lstm(mixed: bool = False) -> Callable[[], LanguageModel]:
    """The LSTM language model of chapter 05, alone or mixed with Kneser-Ney over the same tokens."""

    def build() -> LanguageModel:
        from bow2gpt.chapters import sequences

        text, tokenizer = corpus.text("train"), _bpe(2048)
        model = sequences.LSTMLanguageModel(tokenizer)
        sequences.train_recurrent(model, tokenizer.encode(text), num_steps=2100)
        return _mixed_with_counts(model) if mixed else model

    return build


def _attention(mixed: bool = False) -> Callable[[], LanguageModel]:
    """The two blocks of chapter 06, alone or mixed with Kneser-Ney over the same tokens."""

    def build() -> LanguageModel:
        from bow2gpt.chapters import attention

        text, tokenizer = corpus.text("train"), _bpe(2048)
        model = attention.AttentionLanguageModel(tokenizer)
        attention.train_attention_model(model, tokenizer.encode(text), num_steps=1000)
        return _mixed_with_counts(model) if mixed else model

    return build


def _gpt(mixed: bool = False) -> Callable[[], LanguageModel]:
    """The mini-GPT of chapter 07 after about five minutes on two cores, alone or mixed with Kneser-Ney."""

    def build() -> LanguageModel:
        from bow2gpt.chapters import mini_gpt

        text, tokenizer = corpus.text("train"), _bpe(4096)
        model = mini_gpt.GPT.of_depth(2, 4096, context_length=128, tokenizer=tokenizer)
        mini_gpt.train_gpt(model, tokenizer.encode(text), num_steps=850)
        return _mixed_with_counts(model) if mixed else model

    return build


def _committed_gpt(mixed: bool = False) -> Callable[[], LanguageModel]:
    """The mini-GPT whose weights are in the repository, alone or mixed with Kneser-Ney."""

    def build() -> LanguageModel:
        from bow2gpt import checkpoints
        from bow2gpt.chapters import mini_gpt

        model = mini_gpt.GPT.load(checkpoints.WEIGHTS / "mini_gpt")
        return _mixed_with_counts(model) if mixed else model

    return build


def _mixed_with_counts(model: LanguageModel) -> LanguageModel:
    from bow2gpt.chapters import counting_models, embeddings

    counts = counting_models.NGramModel.fit(corpus.text("train"), 5, tokenizer=model.tokenizer)
    return embeddings.MixtureModel.fit([model, counts], corpus.text("validation")[:200_000])


def _bpe(vocabulary_size: int) -> AnyTokenizer:
    from bow2gpt.chapters.language_features import Tokenizer

    return Tokenizer.train(corpus.text("train"), vocabulary_size)


#: A rung is one line here; its row is measured by `bow2gpt ladder --measure NAME`.
RUNGS: dict[str, Rung] = {
    "gzip": Rung(0, "gzip", None),
    "xz-primed": Rung(0, "xz, primed", None),
    "ppmd-primed": Rung(0, "PPMd of order 16, primed", None),
    "uniform": Rung(1, "Uniform, bytes", _unigram(taught=False)),
    "bytes-1": Rung(1, "Unigram, bytes", _unigram()),
    "bpe-1": Rung(1, "Unigram, BPE of 8,192 tokens", _unigram(8192)),
    "bytes-2": Rung(2, "Markov chain of bytes, n = 2", _ngram(2, "witten_bell")),
    "bytes-5": Rung(2, "Kneser-Ney, bytes, n = 5", _ngram(5)),
    "bytes-7-witten-bell": Rung(2, "Witten-Bell, bytes, n = 7", _ngram(7, "witten_bell")),
    "bytes-8": Rung(2, "Kneser-Ney, bytes, n = 8", _ngram(8)),
    "words-1": Rung(2, "Bag of words, n = 1", _ngram(1, over="words")),
    "words-3": Rung(2, "Kneser-Ney, words, n = 3", _ngram(3, over="words")),
    "words-5": Rung(2, "Kneser-Ney, words, n = 5", _ngram(5, over="words")),
    "bpe-3": Rung(2, "Kneser-Ney, BPE, n = 3", _ngram(3, over="bpe")),
    "bpe-5": Rung(2, "Kneser-Ney, BPE, n = 5", _ngram(5, over="bpe")),
    "log-bilinear": Rung(3, "Log-bilinear, BPE, n = 6", _log_bilinear()),
    "log-bilinear-mixed": Rung(3, "Log-bilinear and Kneser-Ney, mixed", _log_bilinear(mixed=True)),
    "mlp": Rung(4, "MLP, 6 BPE tokens", _mlp()),
    "mlp-and-counts": Rung(4, "MLP and Kneser-Ney, mixed", _mlp(mixed=True)),
    "lstm": Rung(5, "LSTM, BPE", _lstm()),
    "lstm-and-counts": Rung(5, "LSTM and Kneser-Ney, mixed", _lstm(mixed=True)),
    "attention": Rung(6, "Attention, two blocks, BPE", _attention()),
    "attention-and-counts": Rung(6, "Attention and Kneser-Ney, mixed", _attention(mixed=True)),
    "gpt": Rung(7, "GPT, five minutes, BPE", _gpt()),
    "gpt-and-counts": Rung(7, "GPT and Kneser-Ney, mixed", _gpt(mixed=True)),
    "gpt-committed": Rung(7, "GPT, a minute on a GPU", _committed_gpt(), weights="mini_gpt"),
    "gpt-committed-and-counts": Rung(
        7, "The GPU's GPT and Kneser-Ney, mixed", _committed_gpt(mixed=True), weights="mini_gpt"
    ),
}


def measure_compressors(primer: str, text: str) -> dict[str, float]:
    """Bits per byte of general compressors; primed ones are charged only for what the text adds to the primer.

    Args:
        primer: what the primed compressors read first.
        text: the text to write down.

    Returns:
        Label -> bits per byte of the text; without PPMd, and with a warning, if the package pyppmd is missing.
    """
    first, second = primer.encode(), text.encode()
    extreme = [{"id": lzma.FILTER_LZMA2, "preset": 9 | lzma.PRESET_EXTREME, "dict_size": 1 << 24}]

    def xz(data: bytes) -> int:
        return len(lzma.compress(data, format=lzma.FORMAT_RAW, filters=extreme))

    bits = 8 / max(len(second), 1)
    measured = {
        RUNGS["gzip"].label: bits * len(gzip.compress(second, 9, mtime=0)),
        RUNGS["xz-primed"].label: bits * (xz(first + second) - xz(first)),
    }
    try:
        import pyppmd
    except ModuleNotFoundError:
        warnings.warn("PPMd is left out: pip install pyppmd (there is none for browsers)", stacklevel=2)
        return measured

    def ppmd(data: bytes) -> int:
        return len(pyppmd.compress(data, max_order=16, mem_size=1 << 28, variant="I"))

    return measured | {RUNGS["ppmd-primed"].label: bits * (ppmd(first + second) - ppmd(first))}


def measure(names: Sequence[str], report: Callable[[str], None] = print) -> None:
    """Measure some rungs and store their rows; other rows stay as they are.

    Args:
        names: names of rungs, or "all".
        report: receives a line after each rung.

    Raises:
        ValueError: on an unknown name.
        ModuleNotFoundError: if PPMd is to be measured and the package pyppmd is missing.
    """
    if unknown := [name for name in names if name not in RUNGS and name != "all"]:
        raise ValueError(f"there is no rung {unknown[0]!r}; known: {', '.join(RUNGS)}, or all")
    chosen = list(RUNGS) if "all" in names else [name for name in RUNGS if name in names]
    compressed = {}
    if any(RUNGS[name].build is None for name in chosen):
        compressed = measure_compressors(corpus.text("train"), corpus.text("test"))
        if "ppmd-primed" in chosen and RUNGS["ppmd-primed"].label not in compressed:
            raise ModuleNotFoundError("ppmd-primed needs the package pyppmd: pip install pyppmd")
    for name in chosen:
        rung = RUNGS[name]
        row = {"name": name, "chapter": rung.chapter, "label": rung.label}
        row |= _measure_model(rung.build) if rung.build else {"bits_per_byte": f"{compressed[rung.label]:.3f}"}
        if rung.weights:
            from bow2gpt import checkpoints

            row["train_seconds"] = str(checkpoints.facts(rung.weights)["seconds"])
        stored = {old["name"]: old for old in rows()} | {name: row}
        _store([stored[key] for key in RUNGS if key in stored])
        report(f"{name}: {row['bits_per_byte']} bits per byte")


def _measure_model(build: Callable[[], LanguageModel]) -> dict[str, str]:
    """A row of the table; times are those of one core at work, which a busy machine does not falsify."""
    import torch

    from bow2gpt import probes, ruler

    torch.set_num_threads(1)
    started = time.process_time()
    model = build()
    trained = time.process_time()
    model.generate(200, context="\n\n", seed=0)
    generated = time.process_time()
    row = {
        "bits_per_byte": f"{ruler.bits_per_byte(model, corpus.text('test')):.3f}",
        "parameters": str(model.num_parameters),
        "train_seconds": f"{trained - started:.1f}",
        "tokens_per_second": f"{200 / (generated - trained):.0f}",
    }
    return row | {s.feature: f"{s.accuracy:.3f}" for s in probes.score(model) if s.phenomenon is None}


def rows() -> list[dict[str, str]]:
    """The rows of the committed table, in the order of `RUNGS`, every value as text."""
    path = _path()
    if not path.exists():
        return []
    with open(path, encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def table() -> str:
    """The ladder as text, one rung a line."""
    features = [feature for feature in FEATURES if any(row.get(feature) for row in rows())]
    head = ["rung", "bits/byte", *features, "parameters", "training, 1 core", "tokens/s"]
    on_a_card = {name for name, rung in RUNGS.items() if rung.weights}
    lines = [head]
    for row in sorted(rows(), key=lambda row: -float(row["bits_per_byte"])):
        accuracies = [f"{float(row[feature]):.0%}" if row[feature] else "" for feature in features]
        parameters = f"{int(row['parameters']):,}" if row["parameters"] else ""
        seconds = f"{row['train_seconds']} s" if row["train_seconds"] else ""
        seconds += " of a GPU" if row["name"] in on_a_card else ""
        lines.append([row["label"], row["bits_per_byte"], *accuracies, parameters, seconds, row["tokens_per_second"]])
    widths = [max(len(line[column]) for line in lines) for column in range(len(head))]
    first, *others = widths
    aligned = (
        [line[0].ljust(first), *(cell.rjust(width) for cell, width in zip(line[1:], others, strict=True))]
        for line in lines
    )
    return "\n".join("  ".join(cells).rstrip() for cells in aligned)


def describe() -> str:
    """What the figure shows, in words."""
    models = sorted((row for row in rows() if row["chapter"] != "0"), key=lambda row: float(row["bits_per_byte"]))
    best, worst = models[0], models[-1]
    return (
        f"The ladder: {len(models)} models by bits per byte of the test text, from {worst['label']} at "
        f"{worst['bits_per_byte']} down to {best['label']} at {best['bits_per_byte']}; compressors are reference lines."
    )


def figure() -> Figure:
    """The ladder as a figure: bits per byte of each rung, and compressors as reference lines."""
    import matplotlib.pyplot as plt

    from bow2gpt import figures

    measured = sorted(rows(), key=lambda row: -float(row["bits_per_byte"]))
    models = [row for row in measured if row["chapter"] != "0"]
    compressors = [row for row in measured if row["chapter"] == "0"]
    features = [feature for feature in FEATURES if any(row[feature] for row in models)]
    fig, (bits, judged) = plt.subplots(1, 2, sharey=True, figsize=(9, 1.4 + 0.42 * len(models)), width_ratios=(3, 1.2))
    places = range(len(models))
    values = [float(row["bits_per_byte"]) for row in models]
    bits.hlines(places, 1, values, color="0.85", linewidth=1)
    bits.plot(values, places, linestyle="none", marker="o", color=figures.COLOURS[0])
    for place, value in zip(places, values, strict=True):
        box = {"facecolor": "white", "edgecolor": "none", "pad": 0.6}
        bits.text(value * 1.04, place, f"{value:.3f}", va="center", fontsize=9, bbox=box)
    for number, (row, style) in enumerate(zip(compressors, ("-", "--", ":"), strict=False)):
        value = float(row["bits_per_byte"])
        bits.axvline(value, color="0.45", linewidth=1.1, linestyle=style, marker="", zorder=0)
        height = -1.45 + 0.4 * (number % 2)  # neighbours at two heights, so that they do not overlap
        label = f"{row['label'].split()[0].strip(',')} {value:.2f}"
        bits.text(value * 1.02, height, label, fontsize=8, color="0.3", backgroundcolor="white")
    bits.set_yticks(places, [row["label"] for row in models])
    bits.set_xscale("log", base=2)
    bits.set_xticks([1, 2, 4, 8], ["1", "2", "4", "8"])
    bits.set(xlabel="bits per byte of unseen text (log scale; less is better)", xlim=(1, max(values) * 1.35))
    bits.set_ylim(len(models) - 0.4, -1.9)
    bits.set_title("How well does each model predict?", fontsize=10)
    for feature, marker in zip(features, "osD^v", strict=False):
        known = [(float(row[feature]), place) for row, place in zip(models, places, strict=True) if row[feature]]
        judged.plot(*zip(*known, strict=True), marker=marker, linestyle="none", label=feature)
    judged.axvline(0.5, color="0.45", linewidth=1, linestyle="--", marker="")
    judged.set(xlabel="probes judged rightly (0.5: a coin)", xlim=(0.4, 1))
    judged.set_title("What does it know?", fontsize=10)
    judged.legend(fontsize=8, loc="upper right", borderaxespad=0)
    fig.supylabel("model", fontsize=10)
    for axes in (bits, judged):
        axes.grid(axis="y", visible=False)
    return fig


def draw() -> Path:
    """Draw the figure that the README shows, `book/ladder.svg` in the clone; returns its path.

    Raises:
        FileNotFoundError: outside a clone of the book.
    """
    import matplotlib.pyplot as plt

    target = Path(__file__).resolve().parents[2] / "book" / "ladder.svg"
    if not target.parent.is_dir():
        raise FileNotFoundError(f"there is no folder {target.parent}; draw the ladder inside a clone of the book")
    fig = figure()
    with atomic_path(target) as partial:
        fig.savefig(partial, format="svg", metadata={"Date": None, "Description": fingerprint()})
    plt.close(fig)
    return target


def fingerprint() -> str:
    """Names the state of the table in the figure drawn from it."""
    return "ladder.csv " + hashlib.sha256(_path().read_bytes()).hexdigest()


def _path() -> Path:
    return Path(str(resources.files("bow2gpt") / "ladder.csv"))


def _store(found: Sequence[dict[str, str]]) -> None:
    with atomic_path(_path()) as partial, open(partial, "w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, _COLUMNS, restval="", lineterminator="\n")
        writer.writeheader()
        writer.writerows(found)
