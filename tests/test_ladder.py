"""The ladder's table is measured, in order, and its figure is drawn from it."""

import csv
import re
import shutil
import sys
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pytest

from bow2gpt import corpus, ladder

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture
def own_table(tmp_path, monkeypatch):
    """A copy of the committed table that a test may change."""
    copied = tmp_path / "ladder.csv"
    shutil.copy(ladder._path(), copied)
    monkeypatch.setattr(ladder, "_path", lambda: copied)
    return copied


@pytest.fixture
def no_corpus(monkeypatch):
    """A corpus of three lines, so that a rung is measured in no time."""
    monkeypatch.setattr(corpus, "text", lambda split: f"We, the people of the {split}, are at peace.\n" * 3)


class Uniform:
    """A stand-in for a model: 8 bits for each byte."""

    num_parameters = 12

    def token_log_probs(self, text, context=""):
        return np.full(len(text.encode()), np.log(1 / 256))

    def generate(self, num_tokens, context="", *, temperature=1.0, seed=0):
        return "e" * num_tokens


def test_rows_are_known_rungs_in_order_each_once():
    names = [row["name"] for row in ladder.rows()]
    assert names == [name for name in ladder.RUNGS if name in names]
    assert set(names) == set(ladder.RUNGS), "a rung was never measured: bow2gpt ladder --measure all"


def test_rows_carry_the_chapter_and_label_of_their_rung():
    for row in ladder.rows():
        rung = ladder.RUNGS[row["name"]]
        assert (int(row["chapter"]), row["label"]) == (rung.chapter, rung.label)
        assert 0 < float(row["bits_per_byte"]) <= 8


def test_models_have_parameters_times_and_accuracies_and_compressors_have_not():
    for row in ladder.rows():
        is_model = row["chapter"] != "0"
        assert bool(row["parameters"]) is is_model
        assert bool(row["train_seconds"]) is is_model
        assert bool(row["tokens_per_second"]) is is_model
        accuracies = [float(row[feature]) for feature in ladder.FEATURES if row[feature]]
        assert bool(accuracies) is is_model
        assert all(0 <= accuracy <= 1 for accuracy in accuracies)


def test_table_holds_each_rung_the_best_last():
    lines = ladder.table().splitlines()
    assert len(lines) == 1 + len(ladder.rows())
    for row in ladder.rows():
        [line] = [line for line in lines if line.startswith(row["label"] + "  ")]
        assert row["bits_per_byte"] in line
        if row["parameters"]:
            assert f"{int(row['parameters']):,}" in line
    least = min(float(row["bits_per_byte"]) for row in ladder.rows())
    best = [row["label"] for row in ladder.rows() if float(row["bits_per_byte"]) == least]  # two may tie
    assert lines[-1].startswith(tuple(best))


def test_describe_names_the_best_and_the_worst_model():
    models = sorted(
        (row for row in ladder.rows() if row["chapter"] != "0"), key=lambda row: float(row["bits_per_byte"])
    )
    said = ladder.describe()
    assert f"from {models[-1]['label']} at {models[-1]['bits_per_byte']}" in said
    assert f"down to {models[0]['label']} at {models[0]['bits_per_byte']}" in said
    assert f"{len(models)} models" in said


def test_figure_names_each_model_and_each_value():
    fig = ladder.figure()
    fig.canvas.draw()
    written = " ".join(text.get_text() for text in fig.findobj(plt.Text))
    plt.close(fig)
    for row in ladder.rows():
        if row["chapter"] != "0":
            assert row["label"] in written
            assert row["bits_per_byte"] in written
        else:
            assert re.search(rf"{row['label'].split(',')[0].split()[0]} {float(row['bits_per_byte']):.2f}", written)


def test_committed_figure_is_drawn_from_the_committed_table():
    drawn = (ROOT / "book" / "ladder.svg").read_text(encoding="utf-8")
    assert ladder.fingerprint() in drawn, "the table is newer than the figure; run: bow2gpt ladder --draw"


def test_fingerprint_follows_the_table(own_table):
    before = ladder.fingerprint()
    own_table.write_text(own_table.read_text().replace("1.", "2.", 1))
    assert ladder.fingerprint() != before


def test_measuring_an_unknown_rung_names_the_known_ones(own_table):
    before = own_table.read_bytes()
    with pytest.raises(ValueError, match=r"there is no rung 'bytes-99'; known: gzip, .*, or all"):
        ladder.measure(["bytes-5", "bytes-99"])
    assert own_table.read_bytes() == before


def test_measuring_one_rung_keeps_the_other_rows(own_table, no_corpus, monkeypatch):
    before = {row["name"]: row for row in ladder.rows()}
    monkeypatch.setitem(ladder.RUNGS, "bytes-5", ladder.Rung(2, "A stand-in", Uniform))
    said = []
    ladder.measure(["bytes-5"], report=said.append)
    after = {row["name"]: row for row in ladder.rows()}
    assert list(after) == list(before)
    assert {name: row for name, row in after.items() if name != "bytes-5"} == {
        name: row for name, row in before.items() if name != "bytes-5"
    }
    assert after["bytes-5"]["label"] == "A stand-in"
    assert after["bytes-5"]["bits_per_byte"] == "8.000"
    assert after["bytes-5"]["parameters"] == "12"
    assert said == ["bytes-5: 8.000 bits per byte"]
    assert [path.name for path in own_table.parent.iterdir()] == ["ladder.csv"]


def test_a_new_rung_takes_its_place_and_a_rung_that_is_gone_leaves(own_table, no_corpus, monkeypatch):
    rungs = {"gzip": ladder.RUNGS["gzip"], "new": ladder.Rung(3, "New", Uniform), "bytes-5": ladder.RUNGS["bytes-5"]}
    monkeypatch.setattr(ladder, "RUNGS", rungs)
    ladder.measure(["new"], report=lambda line: None)
    assert [row["name"] for row in ladder.rows()] == ["gzip", "new", "bytes-5"]


def test_without_a_table_there_are_no_rows_and_measuring_makes_one(own_table, no_corpus, monkeypatch):
    own_table.unlink()
    assert ladder.rows() == []
    monkeypatch.setattr(ladder, "RUNGS", {"new": ladder.Rung(3, "New", Uniform)})
    ladder.measure(["all"], report=lambda line: None)
    with open(own_table, newline="", encoding="utf-8") as file:
        assert [row["name"] for row in csv.DictReader(file)] == ["new"]


def test_a_primed_compressor_gains_from_what_it_read_before():
    rng = np.random.default_rng(0)
    letters = "".join(chr(97 + code) for code in rng.integers(0, 26, 4000))
    alone = ladder.measure_compressors("", letters)
    primed = ladder.measure_compressors(letters, letters)
    assert list(alone) == [ladder.RUNGS[name].label for name in ("gzip", "xz-primed", "ppmd-primed")]
    assert all(np.log2(26) < bits < 6.5 for bits in alone.values())
    assert primed["gzip"] == alone["gzip"]
    assert primed["xz, primed"] < 0.2
    assert primed["PPMd of order 16, primed"] < 1.0


def test_without_pyppmd_others_are_measured_and_the_table_is_left_alone(own_table, no_corpus, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyppmd", None)
    with pytest.warns(UserWarning, match="PPMd is left out: pip install pyppmd"):
        assert list(ladder.measure_compressors("", "a text")) == ["gzip", "xz, primed"]
    before = own_table.read_bytes()
    with pytest.warns(UserWarning, match="PPMd"), pytest.raises(ModuleNotFoundError, match="pip install pyppmd"):
        ladder.measure(["all"], report=lambda line: None)
    assert own_table.read_bytes() == before
