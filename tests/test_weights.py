"""The committed weights: small enough, read as they were written, and as good as their card says."""

import csv
import importlib.util
import math
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import pytest

from bow2gpt import checkpoints, corpus, ruler
from bow2gpt.chapters.mini_gpt import GPT, num_weights

FOLDERS = sorted(path.parent for path in checkpoints.WEIGHTS.glob("*/model.safetensors"))


def test_all_weights_together_stay_small():
    assert FOLDERS
    sizes = [(folder / "model.safetensors").stat().st_size for folder in FOLDERS]
    assert max(sizes) <= 32 * 2**20
    assert sum(sizes) <= 64 * 2**20


@pytest.fixture(scope="module")
def gpt() -> GPT:
    return GPT.load(checkpoints.WEIGHTS / "mini_gpt")


def test_facts_are_those_of_the_weights(gpt: GPT):
    facts = checkpoints.facts("mini_gpt")
    assert facts["parameters"] == gpt.num_parameters
    assert facts["weights"] == num_weights(gpt.config)
    assert facts["steps"] == gpt.config.num_steps
    assert facts["flops"] == 6 * facts["weights"] * facts["tokens"]
    assert facts["test"] <= 1.12


def test_weights_predict_as_well_as_their_card_says(gpt: GPT):
    text = corpus.text("validation")[:30_000]
    drawn = ruler.bits_per_byte(gpt, text)
    assert drawn == pytest.approx(checkpoints.facts("mini_gpt")["validation"], abs=0.12)


def test_log_ends_at_the_loss_that_was_reached(gpt: GPT):
    lines = (checkpoints.WEIGHTS / "mini_gpt" / "log.csv").read_text(encoding="utf-8").splitlines()
    names = lines[0].split(",")
    last = dict(zip(names, lines[-1].split(","), strict=True))
    text = corpus.text("validation")
    tokens_per_byte = len(gpt.tokenizer.encode(text)) / len(text.encode())
    bits = float(last["validation_loss"]) * tokens_per_byte / math.log(2)
    assert int(last["step"]) == gpt.config.num_steps
    assert bits == pytest.approx(checkpoints.facts("mini_gpt")["validation"], abs=0.02)


def script(name: str, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    folder = Path(__file__).parents[1] / "benchmarks"
    monkeypatch.syspath_prepend(folder)
    spec = importlib.util.spec_from_file_location(name, folder / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(("name", "table"), [("checkpoint", "gpt_choices.csv"), ("mini_gpt", "gpt_ablations.csv")])
def test_every_variant_has_its_row(name: str, table: str, monkeypatch: pytest.MonkeyPatch):
    lines = (checkpoints.WEIGHTS.parent / table).read_text(encoding="utf-8").splitlines()
    rows = list(csv.DictReader(line for line in lines if not line.startswith("#")))
    assert [row["variant"] for row in rows] == list(script(name, monkeypatch).VARIANTS)


def test_committed_weights_are_of_the_recipe_that_did_best(gpt: GPT, monkeypatch: pytest.MonkeyPatch):
    lines = (checkpoints.WEIGHTS.parent / "gpt_choices.csv").read_text(encoding="utf-8").splitlines()
    rows = list(csv.DictReader(line for line in lines if not line.startswith("#")))
    best = min(rows, key=lambda row: float(row["validation"]))["variant"]
    checkpoint = script("checkpoint", monkeypatch)
    expected = replace(checkpoint.CONFIG, **checkpoint.VARIANTS[best], num_steps=gpt.config.num_steps)
    assert gpt.config == expected


def test_card_is_made_from_the_facts(gpt: GPT, monkeypatch: pytest.MonkeyPatch):
    text = script("checkpoint", monkeypatch).card_text(gpt.config, checkpoints.facts("mini_gpt"))
    assert text == (checkpoints.WEIGHTS / "mini_gpt" / "README.md").read_text(encoding="utf-8")


def test_weights_that_are_not_there_are_named():
    with pytest.raises(ValueError, match="facts.json"):
        checkpoints.facts("macro_gpt")
