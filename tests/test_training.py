"""The trainer: it computes what a plain loop computes, and nothing that happens to it on the way changes the result."""

import errno
import io
import json
import math
import os
import random
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from typer.testing import CliRunner

from bow2gpt import machine, pretrain, run_folder, training
from bow2gpt.run_folder import TrainingStopped, load_checkpoint, read_log
from bow2gpt.token_files import prepare_tokens, read_tokens, shuffled_batches, windows, write_tokens
from bow2gpt.training import Settings, Trainer
from bow2gpt.watching import LiveCurve, ProgressBar, Samples

VOCABULARY, CONTEXT, BATCH = 11, 8, 6
TEXT = np.random.default_rng(0).integers(0, VOCABULARY, 40).repeat(3)[np.arange(600) % 120]


class Tiny(nn.Module):
    """A language model of a few hundred weights that sees one token, with dropout."""

    def __init__(self, width: int = 8, dropout: float = 0.2) -> None:
        super().__init__()
        self.embedding = nn.Embedding(VOCABULARY, width)
        blocks = (nn.Sequential(nn.Linear(width, width), nn.Tanh(), nn.Dropout(dropout)) for _ in range(2))
        self.blocks = nn.ModuleList(blocks)
        self.head = nn.Linear(width, VOCABULARY)

    def forward(self, token_ids: Tensor) -> Tensor:
        hidden = self.embedding(token_ids)
        for block in self.blocks:
            hidden = hidden + block(hidden)
        return self.head(hidden).clone()


def two_optimisers(model: nn.Module) -> list[torch.optim.Optimizer]:
    matrices = [parameter for parameter in model.blocks.parameters() if parameter.ndim == 2]
    others = [parameter for parameter in model.parameters() if all(parameter is not matrix for matrix in matrices)]
    return [torch.optim.SGD(matrices, 0.1, momentum=0.9), torch.optim.AdamW(others, 0.02)]


def make(folder: Path | None = None, model: nn.Module | None = None, **changes: Any) -> Trainer:
    """A trainer of a tiny model, some of whose parts are changed."""
    settings = {"num_steps": 20, "device": "cpu", "precision": "fp32", "save_every": 3, "evaluate_every": 4}
    settings |= {name: changes.pop(name) for name in list(changes) if name in Settings.__dataclass_fields__}
    torch.manual_seed(1)
    parts = {
        "make_optimisers": two_optimisers,
        "batches": shuffled_batches(TEXT, CONTEXT, changes.pop("batch_size", BATCH), seed=5),
        "schedule": lambda progress: 1 - progress,
        "validate": lambda trainer: trainer.mean_loss(TEXT[:100], CONTEXT),
        "folder": folder,
    }
    sizes = {name: changes.pop(name) for name in ("width", "dropout") if name in changes}
    return Trainer(model or Tiny(**sizes), settings=Settings(**settings), **parts | changes)


def at(step: int, action: Callable[[], Any]) -> Callable[[Trainer], None]:
    """A callback that acts after one step."""
    return lambda trainer: action() if trainer.step == step else None


def result(trainer: Trainer) -> dict[str, Any]:
    """All that must not depend on what happened on the way."""
    log = [(r.step, r.tokens, r.loss, r.validation_loss, r.learning_rate, r.gradient_norm) for r in trainer.records]
    rounded = [tuple(value and float(f"{value:.9g}") for value in row) for row in log]
    states = [trainer.model.state_dict(), *(optimiser.state_dict()["state"] for optimiser in trainer.optimisers)]
    return {"log": rounded, "states": str(states), "step": trainer.step, "best": trainer.best}


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    torch.set_flush_denormal(False)
    torch.set_printoptions(precision=10, threshold=100_000)
    yield
    torch.set_num_threads(threads)
    torch.set_printoptions(profile="default")


# Token files


@pytest.mark.parametrize(("highest", "kind"), [(65_535, np.uint16), (65_536, np.uint32), (2**32 - 1, np.uint32)])
def test_token_files_come_back_in_the_smallest_type_and_mapped(tmp_path: Path, highest: int, kind: type) -> None:
    path = write_tokens(tmp_path / "tokens.npy", [0, 3, highest])
    ids = read_tokens(path, vocabulary_size=highest + 1, context_length=2)
    assert isinstance(ids, np.memmap)
    assert not ids.flags.writeable
    assert ids.dtype == kind
    assert ids.tolist() == [0, 3, highest]


@pytest.mark.parametrize("ids", [[], [[1, 2]], [1.5], [-1, 2], [2**32], ["a"]])
def test_what_is_no_row_of_ids_is_not_written(tmp_path: Path, ids: list) -> None:
    with pytest.raises(ValueError, match="expected"):
        write_tokens(tmp_path / "tokens.npy", ids)
    assert not list(tmp_path.iterdir())


def test_a_token_file_is_written_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_tokens(tmp_path / "tokens.npy", [1, 2, 3])

    def full(file: io.IOBase, ids: np.ndarray) -> None:
        file.write(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(np, "save", full)
    with pytest.raises(OSError, match="No space"):
        write_tokens(path, [4, 5])
    assert read_tokens(path, 4, 2).tolist() == [1, 2, 3]
    assert list(tmp_path.iterdir()) == [path]


def broken(path: Path, kind: str) -> None:
    write_tokens(path, np.arange(1000))
    content = path.read_bytes()
    if kind == "missing":
        path.unlink()
    elif kind in ("two rows", "floats", "signed"):
        np.save(path, {"two rows": np.ones((2, 500), np.uint16), "floats": np.ones(9), "signed": np.arange(9)}[kind])
    elif kind == "pickle":
        np.save(path, np.array([{}], dtype=object), allow_pickle=True)
    else:
        path.write_bytes({"empty": b"", "text": b"some text", "header": content[:40], "half": content[:900]}[kind])


@pytest.mark.parametrize(
    "kind", ["missing", "empty", "text", "header", "half", "two rows", "floats", "signed", "pickle"]
)
def test_a_broken_token_file_is_refused(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "tokens.npy"
    broken(path, kind)
    with pytest.raises(ValueError, match=r"tokens\.npy .*write it again"):
        read_tokens(path, 1000, 8)


def test_a_token_file_that_does_not_fit_is_refused(tmp_path: Path) -> None:
    path = write_tokens(tmp_path / "tokens.npy", np.arange(100))
    with pytest.raises(ValueError, match="holds token 99, beyond a vocabulary of 99"):
        read_tokens(path, 99, 8)
    with pytest.raises(ValueError, match="has 100 tokens, too few for a context of 100"):
        read_tokens(path, 100, 100)
    assert len(read_tokens(path, 100, 99)) == 100


def test_a_batch_depends_on_seed_and_step_alone() -> None:
    first, second = (shuffled_batches(TEXT, CONTEXT, BATCH, seed=3) for _ in range(2))
    for step in (7, 0, 7):
        assert all(torch.equal(*pair) for pair in zip(first(step), second(step), strict=True))
    assert not torch.equal(first(0)[0], first(1)[0])
    assert not torch.equal(first(0)[0], shuffled_batches(TEXT, CONTEXT, BATCH, seed=4)(0)[0])


def test_targets_are_the_next_tokens_and_share_no_memory_with_the_inputs() -> None:
    inputs, targets = windows(np.arange(20, dtype=np.uint16), np.array([0, 15]), 4)
    assert inputs.tolist() == [[0, 1, 2, 3], [15, 16, 17, 18]]
    assert torch.equal(targets, inputs + 1)
    targets[:] = -100
    assert inputs.min() == 0


# What is computed


@pytest.mark.parametrize("rows_at_once", [None, 6, 2, 4, 1])
def test_it_computes_what_a_plain_loop_computes(rows_at_once: int | None) -> None:
    model = Tiny(dropout=0)
    reference = Tiny(dropout=0)
    reference.load_state_dict(model.state_dict())
    optimisers, batches, losses = two_optimisers(reference), shuffled_batches(TEXT, CONTEXT, BATCH, seed=5), []
    for step in range(20):
        for rate, optimiser in zip((0.1, 0.02), optimisers, strict=True):
            optimiser.param_groups[0]["lr"] = rate * (1 - step / 20)
        inputs, targets = batches(step)
        loss = F.cross_entropy(reference(inputs).transpose(1, 2), targets)
        loss.backward()
        nn.utils.clip_grad_norm_(reference.parameters(), 0.5)
        for optimiser in optimisers:
            optimiser.step()
            optimiser.zero_grad()
        losses.append(loss.item())
    trainer = make(model=model, rows_at_once=rows_at_once, max_gradient_norm=0.5)
    assert [record.loss for record in trainer.train()] == pytest.approx(losses, abs=1e-5)
    for ours, theirs in zip(trainer.model.parameters(), reference.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-4)
    assert losses[-1] < losses[0]


@pytest.mark.parametrize("length", [CONTEXT + 1, 2 * CONTEXT, 2 * CONTEXT + 1, 100])
def test_the_mean_loss_scores_each_token_but_the_first_once(length: int) -> None:
    trainer = make(model=Tiny(dropout=0.5))
    ids = TEXT[:length]
    logits = trainer.model.eval()(torch.from_numpy(ids)[None])[0, :-1]  # sees one token: windows change nothing
    expected = F.cross_entropy(logits, torch.from_numpy(ids[1:]).long()).item()
    for batch_size in (1, 2, 32):
        assert trainer.mean_loss(ids, CONTEXT, batch_size) == pytest.approx(expected, abs=1e-6)
    assert trainer.model.training
    with pytest.raises(ValueError, match="too few"):
        trainer.mean_loss(ids[:CONTEXT], CONTEXT)


def test_a_run_ends_when_its_seconds_are_over(monkeypatch: pytest.MonkeyPatch) -> None:
    ticks = iter(range(10_000))
    monkeypatch.setattr(time, "perf_counter", lambda: next(ticks))
    seen: list[float] = []
    trainer = make(num_steps=None, max_seconds=10, schedule=lambda progress: seen.append(progress) or 1.0)
    records = trainer.train()
    assert trainer.progress == 1
    assert trainer.step == len(records) < 15
    assert seen[5:] == sorted(seen[5:])
    assert [record.seconds for record in records] == sorted(record.seconds for record in records)


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_half_precision_learns_the_same(precision: str) -> None:
    def constant(model: nn.Module) -> list[torch.optim.Optimizer]:
        return [torch.optim.SGD(model.parameters(), 0.1)]

    plain = make(make_optimisers=constant).train()
    half = make(make_optimisers=constant, precision=precision).train()
    assert half[-1].loss == pytest.approx(plain[-1].loss, abs=0.02)
    assert half[-1].loss != plain[-1].loss
    assert half[3].gradient_norm == pytest.approx(plain[3].gradient_norm, rel=0.1)


def test_fp16_skips_a_step_that_overflows_and_scales_less() -> None:
    trainer = make(precision="fp16", num_steps=1)
    before = [parameter.clone() for parameter in trainer.model.parameters()]
    trainer.scaler = torch.amp.GradScaler("cpu", init_scale=2.0**40)
    (record,) = trainer.train()
    assert not math.isfinite(record.gradient_norm)
    assert all(torch.equal(*pair) for pair in zip(before, trainer.model.parameters(), strict=True))
    assert trainer.scaler.get_scale() == 2.0**39


def test_fp16_skips_a_step_for_all_optimisers_alike() -> None:
    trainer = make(precision="fp16", num_steps=1)
    trainer.model.blocks[0][0].weight.register_hook(lambda slope: slope * math.nan)  # the first optimiser's
    before = [parameter.clone() for parameter in trainer.model.parameters()]
    trainer.train()
    assert all(torch.equal(*pair) for pair in zip(before, trainer.model.parameters(), strict=True))


def test_fp16_gives_up_when_no_scale_helps() -> None:
    def bad_slope(model: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
        loss = training.next_token_loss(model, inputs, targets)
        if loss.requires_grad:
            loss.register_hook(lambda slope: slope * math.nan)
        return loss

    with pytest.raises(TrainingStopped, match="however small.*at step 27.*go on in bf16"):
        make(precision="fp16", num_steps=50, loss=bad_slope).train()


def test_the_device_decides_the_precision(monkeypatch: pytest.MonkeyPatch) -> None:
    capability = {"T4": (7, 5), "A100": (8, 0), "H100": (9, 0)}
    chosen = {}
    for card, value in capability.items():
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device, value=value: value)
        chosen[card] = machine.choose_precision(torch.device("cuda"))
    assert chosen == {"T4": "fp16", "A100": "bf16", "H100": "bf16"}
    assert machine.choose_precision(torch.device("mps")) == "fp32"
    for pays, precision in ((True, "bf16"), (False, "fp32")):
        monkeypatch.setattr(machine, "half_precision_pays", lambda pays=pays: pays)
        assert machine.choose_precision(torch.device("cpu")) == precision


@pytest.mark.parametrize(
    ("cuda", "mps", "chosen"), [(True, True, "cuda:1"), (False, True, "mps"), (False, False, "cpu")]
)
def test_the_first_device_that_there_is(monkeypatch: pytest.MonkeyPatch, cuda: bool, mps: bool, chosen: str) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
    monkeypatch.setattr(torch.cuda, "set_device", lambda device: None)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)
    assert str(machine.choose_device(processes=machine.Processes(local_rank=1))) == chosen
    assert str(machine.choose_device("cpu")) == "cpu"


def test_compiling_and_checkpointing_activations_are_asked_of_the_model() -> None:
    class Asked(Tiny):
        asked = ()

        def compile(self) -> None:
            self.asked += ("compile",)

        def checkpoint_activations(self) -> None:
            self.asked += ("checkpoint",)

    assert make(model=Asked()).model.asked == ()
    assert make(model=Asked(), compile=True, checkpoint_activations=True).model.asked == ("checkpoint", "compile")
    with pytest.raises(ValueError, match=r"Tiny has no method checkpoint_activations\(\)"):
        make(checkpoint_activations=True)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({}, "neither num_steps nor max_seconds"),
        ({"num_steps": 0}, "num_steps 0"),
        ({"max_seconds": -1}, "max_seconds -1"),
        ({"num_steps": 1, "rows_at_once": 0}, "rows_at_once 0"),
        ({"num_steps": 1, "max_gradient_norm": math.nan}, "max_gradient_norm nan"),
        ({"num_steps": 1, "save_every": -1}, "save_every -1"),
        ({"num_steps": 1, "precision": "int8"}, "precision 'int8'"),
    ],
)
def test_settings_that_make_no_sense_are_refused(settings: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Settings(**settings)


# Exact resume


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    torch.set_num_threads(1)
    torch.set_printoptions(precision=10, threshold=100_000)
    trainer = make(tmp_path_factory.mktemp("unbroken"))
    trainer.train()
    return result(trainer)


def test_the_log_on_the_disk_is_the_log(tmp_path: Path) -> None:
    trainer = make(tmp_path)
    records = trainer.train()
    assert [record.step for record in records] == list(range(1, 21))
    assert records[-1].tokens == 20 * BATCH * CONTEXT
    assert [record.step for record in records if record.validation_loss is not None] == [4, 8, 12, 16, 20]
    assert records[5].learning_rate == pytest.approx(0.1 * (1 - 5 / 20))
    for ours, read in zip(records, read_log(tmp_path / "log.csv"), strict=True):
        assert (read.validation_loss is None) == (ours.validation_loss is None)
        numbers = ([value for value in record if value is not None] for record in (read, ours))
        assert next(numbers) == pytest.approx(next(numbers), rel=1e-8)
    header = (tmp_path / "log.csv").read_text().splitlines()[0]
    assert header == "step,tokens,seconds,loss,validation_loss,learning_rate,tokens_per_second,gradient_norm"


class Power(Exception):
    """It is off."""


def off() -> None:
    raise Power


@pytest.mark.parametrize("step", [1, 3, 4, 7, 19, 20])
def test_a_run_that_broke_off_goes_on_as_if_it_had_not(tmp_path: Path, step: int, unbroken: dict) -> None:
    with pytest.raises(Power):
        make(tmp_path, callbacks=[at(step, off)]).train()
    trainer = make(tmp_path)
    torch.rand(step)  # whoever draws in between changes nothing
    trainer.train(resume=True)
    assert result(trainer) == unbroken
    assert len(read_log(tmp_path / "log.csv")) == 20


def test_who_looks_or_evaluates_changes_nothing(tmp_path: Path, unbroken: dict) -> None:
    trainer = make(tmp_path, log_every=7, callbacks=[lambda trainer: torch.rand(3)])
    trainer.train()
    assert result(trainer) == unbroken


def test_fp16_resumes_exactly(tmp_path: Path) -> None:
    whole = make(precision="fp16")
    whole.scaler = torch.amp.GradScaler("cpu", growth_interval=4)
    whole.train()
    broken_off = make(tmp_path, precision="fp16", callbacks=[at(8, off)])
    broken_off.scaler = torch.amp.GradScaler("cpu", growth_interval=4)
    with pytest.raises(Power):
        broken_off.train()
    trainer = make(tmp_path, precision="fp16")
    trainer.train(resume=True)
    assert result(trainer) == result(whole)
    assert trainer.scaler.get_scale() == whole.scaler.get_scale()


def test_what_was_measured_about_the_machine_is_not_measured_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(machine, "half_precision_pays", lambda: True)
    with pytest.raises(Power):
        make(tmp_path, precision="auto", callbacks=[at(8, off)]).train()
    monkeypatch.setattr(machine, "half_precision_pays", lambda: False)
    trainer = make(tmp_path, precision="auto")
    trainer.train(resume=True)
    assert trainer.precision == "bf16"


class Average:
    """The mean of all weights so far: a callback with a state."""

    def __init__(self) -> None:
        self.weights: list[Tensor] = []

    def __call__(self, trainer: Trainer) -> None:
        now = [parameter.detach().clone() for parameter in trainer.model.parameters()]
        old = self.weights or [torch.zeros_like(weight) for weight in now]
        self.weights = [mean + (weight - mean) / trainer.step for mean, weight in zip(old, now, strict=True)]

    def state_dict(self) -> dict[str, Any]:
        return {"weights": self.weights}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.weights = state["weights"]


def test_a_callback_gets_its_state_back(tmp_path: Path) -> None:
    whole, first, second = Average(), Average(), Average()
    make(callbacks=[whole]).train()
    with pytest.raises(Power):
        make(tmp_path, callbacks=[first, at(10, off)]).train()
    make(tmp_path, callbacks=[second]).train(resume=True)
    assert all(torch.equal(*pair) for pair in zip(whole.weights, second.weights, strict=True))


def test_the_best_of_before_stays_the_best(tmp_path: Path) -> None:
    with pytest.raises(Power):
        make(tmp_path, validate=lambda trainer: trainer.step, callbacks=[at(10, off)]).train()
    trainer = make(tmp_path, validate=lambda trainer: trainer.step)
    trainer.train(resume=True)
    assert trainer.best == load_checkpoint(tmp_path / "best.pt")["step"] == 4


def test_resuming_nothing_starts_and_resuming_the_end_does_nothing(tmp_path: Path, unbroken: dict) -> None:
    make(tmp_path).train(resume=True)
    trainer = make(tmp_path, callbacks=[lambda trainer: off()])
    trainer.train(resume=True)
    assert trainer.step == 20
    assert result(trainer)["states"] == unbroken["states"]
    with pytest.raises(ValueError, match="nothing to resume without a folder"):
        make().train(resume=True)


def test_a_run_is_not_overwritten(tmp_path: Path) -> None:
    make(tmp_path).train()
    with pytest.raises(ValueError, match=r"last\.pt is the checkpoint of a run: resume that run, or choose another"):
        make(tmp_path).train()


def test_best_weights_are_those_of_the_lowest_validation_loss(tmp_path: Path) -> None:
    losses = iter([3.0, 1.0, 2.0, 1.5, 1.0])
    kept = []
    trainer = make(
        tmp_path,
        validate=lambda trainer: next(losses),
        callbacks=[at(8, lambda: kept.append(trainer.model.head.bias.detach().clone()))],
    )
    trainer.train()
    best = load_checkpoint(tmp_path / "best.pt")
    assert best["step"] == 8
    assert torch.equal(best["model"]["head.bias"], kept[0])
    assert trainer.best == 1.0


# Killed, interrupted


def run_here(folder: Path, **options: Any) -> subprocess.Popen:
    """Start this file as a script, which trains in the folder; see `main`."""
    command = [sys.executable, __file__, str(folder), json.dumps(options)]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
    )


def test_killed_at_any_moment_it_goes_on_exactly(tmp_path: Path, unbroken: dict) -> None:
    moment = random.randrange(2, 15)
    child = run_here(tmp_path, save_every=1, waits_at=18)
    for line in child.stdout:
        if line.startswith(f"step {moment}\n"):
            child.send_signal(signal.SIGKILL)
    assert child.wait() == -signal.SIGKILL, child.stderr.read()
    there = load_checkpoint(tmp_path / "last.pt")["step"]
    assert there >= moment - 1, f"killed after step {moment}"
    trainer = make(tmp_path, save_every=1)
    trainer.train(resume=True)
    assert result(trainer) == unbroken, f"killed after step {moment}, resumed from {there}"


def test_killed_in_the_middle_of_writing_it_goes_on_exactly(tmp_path: Path, unbroken: dict) -> None:
    child = run_here(tmp_path, dies_writing_at=9)
    assert child.wait() == -signal.SIGKILL, child.stderr.read()
    assert 0 < (tmp_path / "last.pt.partial").stat().st_size < (tmp_path / "last.pt").stat().st_size
    assert load_checkpoint(tmp_path / "last.pt")["step"] == 6
    trainer = make(tmp_path)
    trainer.train(resume=True)
    assert result(trainer) == unbroken
    assert sorted(path.name for path in tmp_path.iterdir()) == ["best.pt", "last.pt", "log.csv"]


def test_sigterm_lets_the_step_finish_and_says_how_to_go_on(tmp_path: Path, unbroken: dict) -> None:
    child = run_here(tmp_path, save_every=0, waits_at=5)
    for line in child.stdout:
        if line == "step 5\n":
            child.send_signal(signal.SIGTERM)
            child.stdin.write("go on\n")
            child.stdin.flush()
            break
    output, errors = child.communicate()
    assert child.returncode == 0, errors
    stopped = load_checkpoint(tmp_path / "last.pt")["step"]
    assert f"Stopped by SIGTERM after step {stopped}. The last checkpoint is {tmp_path / 'last.pt'}" in output
    assert stopped in (5, 6)
    trainer = make(tmp_path)
    trainer.train(resume=True)
    assert result(trainer) == unbroken


def test_ctrl_c_stops_after_the_step_and_a_second_one_at_once(capsys: pytest.CaptureFixture) -> None:
    before = signal.getsignal(signal.SIGINT)
    trainer = make(callbacks=[at(5, lambda: os.kill(os.getpid(), signal.SIGINT))])
    assert trainer.train()[-1].step == 6
    assert "Stopped by SIGINT after step 6. There is no checkpoint." in capsys.readouterr().out
    trainer.callbacks = []
    assert trainer.train()[-1].step == 20  # in a notebook, the next cell may go on
    twice = make(callbacks=[at(5, lambda: [os.kill(os.getpid(), signal.SIGINT) for _ in range(2)])])
    with pytest.raises(KeyboardInterrupt):
        twice.train()
    assert signal.getsignal(signal.SIGINT) is before


# Full disks, losses that are no numbers


def check_full(folder: Path, message: str, step: int) -> None:
    """The message says what to do, and the last good checkpoint is still there, alone."""
    assert f"at step {step}" in message
    assert "Make room on the disk" in message
    saved = load_checkpoint(folder / "last.pt")["step"]
    assert f"last.pt, of step {saved}: resume to go on from there" in message
    assert saved < step
    assert not list(folder.glob("*.partial"))
    make(folder).train(resume=True)


def test_a_full_disk_keeps_the_last_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save = torch.save

    def full(saved: dict, file: io.IOBase) -> None:
        if saved["step"] == 9:
            file.write(b"half of it")
            raise OSError(errno.ENOSPC, "No space left on device")
        save(saved, file)

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(TrainingStopped, match="No space left on device") as caught:
        make(tmp_path).train()
    monkeypatch.setattr(torch, "save", save)
    check_full(tmp_path, str(caught.value), 9)


def test_a_file_that_may_not_grow_is_a_full_disk(tmp_path: Path) -> None:
    child = run_here(tmp_path, file_limit_at=10)
    output, errors = child.communicate()
    assert child.returncode == 3, errors
    assert "File too large" in output
    check_full(tmp_path, output, 12)


def test_a_small_disk_really_fills_up(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(disk)], capture_output=True)
    if mounted.returncode:
        pytest.skip("only who may mount can make a small disk")
    try:
        trainer = make(disk, callbacks=[at(10, lambda: (disk / "filler").write_bytes(bytes(fills())))])

        def fills() -> int:
            status = os.statvfs(disk)
            return status.f_bavail * status.f_frsize - 4096

        with pytest.raises(TrainingStopped, match="No space left on device") as caught:
            trainer.train()
        (disk / "filler").unlink()
        check_full(disk, str(caught.value), 12)
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def spoil(step: int, value: float, slope: bool) -> Callable[[nn.Module, Tensor, Tensor], Tensor]:
    """A loss that becomes this value at a step, or whose gradient does."""
    calls = iter(range(10**6))

    def loss(model: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
        right = training.next_token_loss(model, inputs, targets)
        if not model.training or next(calls) != step - 1:
            return right
        if slope:
            right.register_hook(lambda gradient: gradient * value)
            return right
        return right * value

    return loss


@pytest.mark.parametrize("value", [math.nan, math.inf])
@pytest.mark.parametrize(("step", "slope"), [(8, False), (9, False), (9, True), (2, True)])
def test_a_loss_that_is_no_number_stops_at_its_step(tmp_path: Path, value: float, step: int, slope: bool) -> None:
    name = "norm of the gradient" if slope else "loss"
    with pytest.raises(TrainingStopped, match=f"the {name} is (nan|inf) at step {step}.*lower learning rate") as caught:
        make(tmp_path, loss=spoil(step, value, slope)).train()
    assert [record.step for record in read_log(tmp_path / "log.csv")] == list(range(1, step))
    if step == 2:
        assert "There is no checkpoint" in str(caught.value)
        assert not (tmp_path / "last.pt").exists()
    else:
        assert "last.pt, of step 6" in str(caught.value)
        saved = load_checkpoint(tmp_path / "last.pt")
        assert saved["step"] == 6
        assert all(weight.isfinite().all() for weight in saved["model"].values())


def test_a_weight_that_is_no_number_is_not_saved(tmp_path: Path) -> None:
    trainer = make(tmp_path)
    trainer.callbacks = [at(9, lambda: trainer.model.head.bias.data.fill_(math.inf))]
    with pytest.raises(TrainingStopped, match="a weight is not finite at step 9.*of step 6"):
        trainer.train()
    assert load_checkpoint(tmp_path / "last.pt")["step"] == 6


def test_a_mask_of_infinities_is_no_weight(tmp_path: Path) -> None:
    model = Tiny()
    model.register_buffer("mask", torch.full((2, 2), -math.inf))
    assert make(tmp_path, model=model).train()[-1].step == 20


def test_a_validation_loss_that_is_no_number_stops(tmp_path: Path) -> None:
    with pytest.raises(TrainingStopped, match="the validation loss is nan at step 4.*of step 3"):
        make(tmp_path, validate=lambda trainer: math.nan).train()


# Other configurations, other files


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"num_steps": 30}, "settings.num_steps is 20 there and 30 here"),
        ({"seed": 1}, "settings.seed is 0 there and 1 here"),
        ({"max_gradient_norm": 2.0}, "settings.max_gradient_norm is 1.0 there and 2.0 here"),
        ({"width": 9}, r"shapes.embedding.weight.1 is 8 there and 9 here.*and \d+ more"),
        ({"batch_size": 7}, "first batch.shape.0 is 6 there and 7 here"),
        ({"batches": shuffled_batches(TEXT, CONTEXT, BATCH, seed=6)}, "first batch.checksum"),
        ({"schedule": lambda progress: 1.0}, "schedule.1 is 0.75 there and 1.0 here"),
        ({"configuration": {"corpus": "plays"}}, "corpus is nothing there and plays here"),
        (
            {"make_optimisers": lambda model: [torch.optim.AdamW(model.parameters(), 0.01)]},
            "optimisers.0 is SGD there and AdamW here",
        ),
        (
            {
                "make_optimisers": lambda model: [
                    *two_optimisers(model)[:1],
                    torch.optim.AdamW(model.head.parameters(), 9),
                ]
            },
            "groups.1.initial_lr is 0.02 there and 9 here",
        ),
    ],
)
def test_a_checkpoint_of_another_configuration_is_refused(tmp_path: Path, changes: dict, named: str) -> None:
    with pytest.raises(Power):
        make(tmp_path, callbacks=[at(4, off)]).train()
    before = (tmp_path / "last.pt").read_bytes()
    with pytest.raises(ValueError, match=f"another configuration: .*{named}"):
        make(tmp_path, **changes).train(resume=True)
    assert (tmp_path / "last.pt").read_bytes() == before


def test_memory_and_looks_may_change_on_resuming(tmp_path: Path) -> None:
    with pytest.raises(Power):
        make(tmp_path, callbacks=[at(4, off)]).train()
    changed = {"rows_at_once": 2, "log_every": 1, "evaluate_every": 5, "save_every": 0, "precision": "bf16"}
    assert make(tmp_path, **changed).train(resume=True)[-1].step == 20


class Evil:
    def __reduce__(self) -> tuple:
        return (os.system, ("touch executed",))


@pytest.mark.parametrize("kind", ["half", "empty", "text", "evil", "weights", "missing"])
def test_a_file_that_is_no_checkpoint_is_refused(tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    make(tmp_path, num_steps=1).train()
    last = tmp_path / "last.pt"
    if kind == "evil":
        torch.save({"step": Evil(), "model": {}, "configuration": {}}, last)
    elif kind == "weights":
        torch.save({"head.bias": torch.zeros(3)}, last)
    elif kind == "missing":
        last.unlink()
    else:
        last.write_bytes({"half": last.read_bytes()[:999], "empty": b"", "text": b"some text"}[kind])
    with pytest.raises(ValueError, match=r"last\.pt (cannot be read|is not a checkpoint)"):
        load_checkpoint(last)
    if kind != "missing":
        with pytest.raises(ValueError, match="is not a checkpoint"):
            make(tmp_path, num_steps=1).train(resume=True)
    assert not (tmp_path / "executed").exists()


def test_a_row_of_the_log_that_was_cut_off_is_left_out(tmp_path: Path) -> None:
    make(tmp_path).train()
    log = tmp_path / "log.csv"
    log.write_bytes(log.read_bytes()[:-3])
    assert [record.step for record in read_log(log)] == list(range(1, 20))


def test_whoever_is_not_the_first_process_writes_nothing(tmp_path: Path) -> None:
    folder = run_folder.RunFolder(tmp_path, writes=False)
    folder.save("last.pt", {"step": 1})
    folder.begin_log(0)
    folder.append_log([])
    assert not list(tmp_path.iterdir())


# Several processes


def test_two_processes_reach_what_one_reaches(tmp_path: Path) -> None:
    script = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", __file__]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    command = [*script, str(tmp_path), json.dumps({"several": True})]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=120)
    assert done.returncode == 0, done.stderr[-3000:]
    one = make(dropout=0)
    losses = [record.loss for record in one.train()]
    for name in ("copies", "shards", "resumed"):
        log = read_log(tmp_path / name / "log.csv")
        assert [record.step for record in log] == list(range(1, 21))
        assert [record.loss for record in log] == pytest.approx(losses, abs=1e-4)
        assert log[-1].validation_loss == pytest.approx(one.records[-1].validation_loss, abs=1e-4)
        assert log[7].gradient_norm == pytest.approx(one.records[7].gradient_norm, abs=1e-4)
        saved = load_checkpoint(tmp_path / name / "last.pt")
        for key, weight in one.model.state_dict().items():
            torch.testing.assert_close(saved["model"][key], weight, atol=1e-4, rtol=1e-3)
    assert done.stdout.count("Stopped by SIGTERM") == 1
    assert "take a multiple of 2" in done.stdout
    alone = make(tmp_path / "shards", dropout=0)  # what two processes wrote, one can read
    alone.train(resume=True)
    assert alone.step == 20
    there = load_checkpoint(tmp_path / "shards" / "last.pt")["optimisers"]
    for optimiser, saved in zip(alone.optimisers, there, strict=True):
        for index, values in optimiser.state_dict()["state"].items():
            assert all(torch.equal(value, saved["state"][index][name]) for name, value in values.items())


def several(folder: Path) -> None:
    """What each of two processes does: with copies of the weights, with shards, and with shards in two goes."""
    rank = int(os.environ["RANK"])
    make(folder / "copies", dropout=0, rows_at_once=2).train()
    make(folder / "shards", dropout=0, rows_at_once=2, shard=True).train()
    stops = at(9, lambda: rank == 1 and os.kill(os.getpid(), signal.SIGTERM))
    make(folder / "resumed", dropout=0, shard=True, callbacks=[stops]).train()
    make(folder / "resumed", dropout=0, shard=True).train(resume=True)
    try:
        make(batch_size=5).train()
    except ValueError as error:
        print(error)
    torch.distributed.destroy_process_group()


def test_fp16_cannot_be_sharded() -> None:
    with pytest.raises(ValueError, match="fp16 with shard"):
        make(precision="fp16", shard=True)


# What is shown


def test_samples_are_written_at_their_steps(capsys: pytest.CaptureFixture) -> None:
    def sample(model: nn.Module) -> str:
        assert not model.training
        return f"weight {model(torch.zeros(1, 1, dtype=torch.long)).sum():.3f}"

    make(callbacks=[Samples([1, 20], sample)]).train()
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("After step")]
    assert [line.split(":")[0] for line in lines] == ["After step 1", "After step 20"]


def test_the_bar_shows_where_the_run_is(tmp_path: Path) -> None:
    with pytest.raises(Power):
        make(tmp_path, callbacks=[at(7, off)]).train()
    stream = io.StringIO()
    make(tmp_path, callbacks=[ProgressBar(file=stream, mininterval=0)]).train(resume=True)
    assert "20/20" in stream.getvalue()
    assert "loss=" in stream.getvalue()
    assert " 1/20" not in stream.getvalue()
    silent = io.StringIO()
    make(callbacks=[ProgressBar(file=silent, disable=None)]).train()
    assert silent.getvalue() == ""


class Notebook:
    """Stands for IPython: what is displayed, and drawn anew."""

    kernel = True

    def __init__(self) -> None:
        self.shown: list[dict[str, str]] = []

    def display(self, bundle: dict[str, str], raw: bool, display_id: bool) -> "Notebook":
        self.shown.append(bundle)
        return self

    def update(self, bundle: dict[str, str], raw: bool) -> None:
        self.shown.append(bundle)


def test_the_curve_is_drawn_in_a_notebook_only(monkeypatch: pytest.MonkeyPatch) -> None:
    import matplotlib.pyplot as plt  # not above: this file is a script, too, that has to start quickly

    notebook = Notebook()
    plt.switch_backend("agg")
    monkeypatch.setattr("IPython.display.display", notebook.display)
    make(callbacks=[LiveCurve(0)]).train()
    assert notebook.shown == []
    monkeypatch.setattr("IPython.get_ipython", lambda: notebook)
    make(callbacks=[LiveCurve(1e9)]).train()
    assert len(notebook.shown) == 2  # the first look, and the end
    last = notebook.shown[-1]
    assert "Training loss at steps 1 to 20" in last["text/plain"]
    assert "validation loss" in last["text/plain"]
    assert 'alt="Training loss' in last["text/html"]


# The script


class Bytes:
    vocabulary_size = 128

    def encode(self, text: str) -> np.ndarray:
        return np.frombuffer(text.encode("ascii"), np.uint8)


def train_bytes(text: str, vocabulary_size: int) -> Bytes:
    return Bytes()


def of_depth(depth: int, vocabulary_size: int, context_length: int) -> nn.Module:
    return nn.Sequential(nn.Embedding(vocabulary_size, 8 * depth), nn.Linear(8 * depth, vocabulary_size))


def run_script(*arguments: str) -> Any:
    chosen = ["--model", "test_training:of_depth", "--tokenizer", "test_training:train_bytes", "--device", "cpu"]
    chosen += ["--precision", "fp32", "--context-length", "16", "--batch-size", "4", "--evaluate-every", "10"]
    return CliRunner().invoke(pretrain.app, [*chosen, *arguments])


def test_the_script_trains_evaluates_and_resumes(tmp_path: Path) -> None:
    text = tmp_path / "text.txt"
    text.write_text("the same words again and again, " * 60)
    arguments = [str(tmp_path / "run"), "--text", str(text), "--steps", "60", "--learning-rate", "0.05"]
    first = run_script(*arguments)
    assert first.exit_code == 0, first.output
    bits = float(first.stdout.split("validation: ")[1].split()[0])
    log = read_log(tmp_path / "run/log.csv")
    assert bits == pytest.approx(min(r.validation_loss for r in log if r.validation_loss) / math.log(2), abs=1e-3)
    assert bits < 2
    assert run_script(*arguments).exit_code == 1
    again = run_script(*arguments, "--resume")
    assert again.exit_code == 0, again.output
    assert f"{bits:.4f} bits per byte" in again.stdout
    refused = run_script(*arguments, "--resume", "--depth", "3")
    assert refused.exit_code == 1
    assert "depth is 2 there and 3 here" in refused.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--steps", "1", "--model", "nowhere:at_all"], "'nowhere:at_all', which cannot be imported"),
        (["--steps", "1", "--model", "math:nothing"], "expected module:name"),
        ([], "neither num_steps nor max_seconds"),
        (["--steps", "1", "--text", "not there"], "not there cannot be read"),
        (["--steps", "1", "--context-length", "9999"], "too few for a context of 9999"),
        (["--steps", "1", "--precision", "int8"], "precision 'int8'"),
    ],
)
def test_the_script_says_what_is_wrong(tmp_path: Path, arguments: list[str], message: str) -> None:
    text = tmp_path / "text.txt"
    text.write_text("a few words " * 40)
    wrong = run_script(str(tmp_path / "run"), "--text", str(text), *arguments)
    assert wrong.exit_code == 1
    assert message in wrong.stderr.replace("\n", " ")


def test_the_script_trains_on_the_first_nine_tenths_of_a_text(tmp_path: Path) -> None:
    (tmp_path / "text.txt").write_text("a" * 90 + "b" * 10)
    assert pretrain.splits(tmp_path / "text.txt") == {"train": "a" * 90, "validation": "b" * 10}
    assert len(pretrain.splits(None)["validation"].encode()) > 900_000


def test_help_is_quick_and_complete() -> None:
    code = "import sys, bow2gpt.pretrain; print(*{'torch', 'numpy'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""
    shown = CliRunner().invoke(pretrain.app, ["--help"]).stdout
    for option in ("--model", "--text", "--steps", "--minutes", "--resume", "--compile", "--shard", "Example:"):
        assert option in shown


def test_tokens_are_prepared_once(tmp_path: Path) -> None:
    calls = []

    def learn(text: str, size: int) -> Bytes:
        calls.append(text)
        return Bytes()

    for validation in ("b" * 9, "b" * 9, "c" * 9):
        prepare_tokens(tmp_path, {"train": "a" * 9, "validation": validation}, learn, 128)
    assert calls == ["a" * 9] * 2
    (tmp_path / "train.npy").unlink()
    prepare_tokens(tmp_path, {"train": "a" * 9, "validation": "c" * 9}, learn, 128)
    assert len(calls) == 3
    assert read_tokens(tmp_path / "validation.npy", 128, 4).tolist() == [ord("c")] * 9


def main(folder: Path, options: dict[str, Any]) -> None:
    """Train in a folder as `make` does, say each step, and meet with an accident."""
    torch.set_num_threads(1)
    if options.pop("several", False):
        several(folder)
        return
    waits, dies, limit = (options.pop(name, 0) for name in ("waits_at", "dies_writing_at", "file_limit_at"))

    def tell(trainer: Trainer) -> None:
        print("step", trainer.step, flush=True)
        if trainer.step == waits:
            sys.stdin.readline()
        if trainer.step == limit:
            resource.setrlimit(resource.RLIMIT_FSIZE, (5000, resource.RLIM_INFINITY))

    save = torch.save

    def save_or_die(saved: dict[str, Any], file: Any) -> None:
        if saved["step"] == dies and "optimisers" in saved:
            whole = io.BytesIO()
            save(saved, whole)
            file.write(whole.getvalue()[:1000])
            file.flush()
            os.kill(os.getpid(), signal.SIGKILL)
        save(saved, file)

    torch.save = save_or_die
    try:
        make(folder, callbacks=[tell], **options).train()
    except TrainingStopped as error:
        print(error, flush=True)
        sys.exit(3)


if __name__ == "__main__":
    main(Path(sys.argv[1]), json.loads(sys.argv[2]))


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads Linux' account of memory")
def test_free_memory_goes_back_to_the_system() -> None:
    code = """
import re
from bow2gpt.machine import release_memory

def held():
    return int(re.search(r"VmRSS:\\s+(\\d+)", open("/proc/self/status").read())[1]) / 1024

small = [bytes(10_000) for _ in range(10_000)]
last = bytes(10_000)  # above them in memory, so that nothing is given back by itself
before = held()
del small
release_memory()
print(before - held())
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert float(done.stdout) > 50
