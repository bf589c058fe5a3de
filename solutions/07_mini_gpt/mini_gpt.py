# %% [markdown]
# # Exercise 07: Mini-GPT
#
# <!-- launch: made by `bow2gpt build` -->
# [Open in Colab](https://colab.research.google.com/github/bow2gpt/bow2gpt/blob/main/exercises/07_mini_gpt/mini_gpt.ipynb) | [Open in Binder](https://mybinder.org/v2/gh/bow2gpt/bow2gpt/main?urlpath=lab/tree/exercises/07_mini_gpt/mini_gpt.ipynb)
# <!-- /launch -->
#
# Ten functions, and at the end of them stands a GPT that you made, trained and let speak: what it reads, what it computes, how large it is, how it learns, how it talks, what it costs,
# and whether its training survives a power cut. You write them from scratch, in PyTorch.
#
# Write your answer in the cell that says so, in place of the `raise` line, and run it. The cell below it is the check: it answers at once, and says
# what is wrong in the words of the subject. Run it as often as you like. In a terminal, `bow2gpt check 07` grades everything, with further checks
# on inputs that you have not seen. The tasks do not depend on one another: start where you like, leave what you like.
#
# | task | difficulty | minutes | points |
# |---|---|---|---|
# | `get_batch` | 2 | 10 | 3 |
# | `gpt_forward` | 4 | 25 | 4 |
# | `count_parameters` | 3 | 20 | 3 |
# | `lr_schedule` | 2 | 10 | 2 |
# | `muon_step` | 4 | 25 | 4 |
# | `accumulate_gradients` | 3 | 20 | 4 |
# | `generate` | 3 | 20 | 4 |
# | `top_p_filter` | 3 | 15 | 3 |
# | `estimate_training_cost` | 1 | 10 | 2 |
# | `resume_is_exact` | 4 | 25 | 4 |
# | all | | 180 | 33 |
#
# Three habits save time in all ten. Write the shape of each tensor beside its name. Do a case of two numbers with a pencil first. And leave the arguments
# as they came, unless the task says otherwise: the caller still needs them.
#
# The cell with the imports brings the functions of chapter 06 that `gpt_forward` is built from. What follows below them are tools of the checks, which you need not read.

# %% locked="setup"
# In Colab this cell installs the book, without touching torch or numpy. Anywhere else it does nothing.
import sys

if "google.colab" in sys.modules:
    import subprocess
    from importlib import metadata, util

    home = "https://github.com/bow2gpt/bow2gpt"
    if not any(metadata.distributions(name="bow2gpt")):
        wanted = f"bow2gpt[shakespeare,vectors] @ {home}/archive/refs/heads/main.zip"
        pins = [f"{name}=={metadata.version(name)}" for name in ("torch", "numpy")]
        subprocess.run([sys.executable, "-m", "pip", "install", "--quiet", wanted, *pins], check=True)
    found, book = util.find_spec("bow2gpt").origin, metadata.distribution("bow2gpt")
    is_ours = f"Repository, {home}" in book.metadata.get_all("Project-URL", [])
    if not is_ours or found != str(book.locate_file("bow2gpt/__init__.py")):
        raise ImportError(f"{found} is not this book's: rename or uninstall it, restart the session, run this again")

# %% locked="imports"
import copy
import dataclasses
import math
import tempfile
import tracemalloc
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional

from bow2gpt import checks
from bow2gpt.chapters.attention import (
    apply_rope,
    causal_mask,
    merge_heads,
    rms_norm,
    scaled_dot_product_attention,
    split_heads,
)

# Tools of the checks


def tensor_of(result, shape, dtype, hint=""):
    """The answer, if it is one tensor of this shape and dtype."""
    if isinstance(result, (tuple, list)) and len(result) and torch.is_tensor(result[0]):
        checks.fail(f"got {len(result)} tensors, expected one: give the result alone. It should be {hint}")
    checks.array(result, tuple(shape), hint)
    checks.true(
        torch.is_tensor(result),
        f"got {checks.show(result)}, expected a torch tensor of shape {tuple(shape)}",
    )
    checks.true(result.dtype == dtype, f"the result is {result.dtype}, expected {dtype}. Likely cause: {hint}")
    return result


def told(result, right, wrongs, hint, rtol=2e-4, atol=2e-4):
    """Compare with the right answer; if it is one of the known wrong ones, say which."""
    for wrong, cause in wrongs:
        if wrong.shape == result.shape and torch.allclose(
            result.double(), wrong.double(), rtol=1e-4, atol=1e-5, equal_nan=True
        ):
            checks.close(result, right, cause, rtol=rtol, atol=atol)
    checks.true(
        not bool(torch.isnan(result).any()), f"the result has a NaN in it. Likely cause: {hint}"
    )
    checks.close(result, right, hint, rtol=rtol, atol=atol)


def from_a_file(get_batch, num_tokens, batch_size, context_length):
    """What `get_batch` gives for a text 0, 1, 2, ... in a file, and the most memory that numpy took, in bytes."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        place = Path(folder, "tokens.bin")
        np.arange(num_tokens, dtype=np.uint16).tofile(place)
        text = np.memmap(place, dtype=np.uint16, mode="r")
        get_batch(text[:1000], batch_size, context_length, np.random.default_rng(0))
        running = tracemalloc.is_tracing()
        tracemalloc.start()
        before, _ = tracemalloc.get_traced_memory()
        tracemalloc.reset_peak()
        batch = get_batch(text, batch_size, context_length, np.random.default_rng(1))
        memory = tracemalloc.get_traced_memory()[1] - before
        if not running:
            tracemalloc.stop()
        del text
    return batch, memory


def slopes_of_weights(gpt_forward, token_ids, weights, num_heads):
    """The gradient of a sum of the logits, each with another weight, at every weight; None where none arrives."""
    given = {name: weight.clone().requires_grad_() for name, weight in weights.items()}
    result = gpt_forward(token_ids, given, num_heads)
    if not torch.is_tensor(result) or not result.requires_grad:
        return dict.fromkeys(weights)
    total = (result * torch.arange(result.numel()).view_as(result).cos()).sum()
    return dict(zip(given, torch.autograd.grad(total, list(given.values()), allow_unused=True), strict=True))


# %% [markdown]
# ## 1. `get_batch`
#
# *Difficulty 2 of 5, about 10 minutes, 3 points.*
#
# A language model learns from windows of text: `context_length` tokens go in, and at each place the *target* is the token that comes next. So one window gives as many lessons as it has places.
# A batch is some windows that begin at random places of the text:
#
# $$x_{b,t} = w_{s_b + t}, \qquad y_{b,t} = w_{s_b + t + 1}, \qquad s_b \text{ uniform in } \{0, 1, \dots, N - T - 1\}$$
#
# * $w$: `token_ids`, the whole text, $N$ numbers in a numpy array; in real life millions of `uint16` in a file that is only mapped into memory (`np.memmap`), so copy the windows that you need, never the text;
# * $T$: `context_length`; $b$ counts the `batch_size` windows, $t$ the places in one;
# * $s_b$: where window $b$ begins, drawn from `rng`, each independently of the others: two may be the same. There are $N - T$ places at which a window *and* its last target still fit, and each is equally likely.
#
# The result is a pair of tensors of `torch.int64`, the inputs $x$ and the targets $y$, both of shape (batch_size, context_length). If the text is too short for a single window and its last target, raise a `ValueError`.
#
# By hand: the text is $5, 6, 7, 8$ and $T = 3$. The only place is 0: the inputs are $5, 6, 7$, the targets $6, 7, 8$.
#
# <details><summary>A nudge</summary>How many tokens must you read from the text for one window of inputs and targets together?</details>
# <details><summary>A push</summary>Read <code>context_length + 1</code> tokens from each start. The inputs are all of them but the last, the targets all but the first. <code>rng.integers(n)</code> draws from 0 to n - 1.</details>
# <details><summary>Almost there</summary><code>starts[:, None] + np.arange(context_length + 1)</code> are the places of all windows at once, of shape (batch_size, context_length + 1). Index the text with them, turn what comes out into <code>np.int64</code>, and then into a tensor with <code>torch.from_numpy</code>.</details>


# %% task="get_batch"
def get_batch(
    token_ids: np.ndarray, batch_size: int, context_length: int, rng: np.random.Generator
) -> tuple[torch.Tensor, torch.Tensor]:
    """Draw windows of text, and for each of their places the token that comes next (about 6 lines).

    Args:
        token_ids: the text, of shape (N,), of any integer type; perhaps mapped from a file.
        batch_size: how many windows.
        context_length: how many places one has.
        rng: draws where they begin.

    Returns:
        Inputs and targets, both int64 of shape (batch_size, context_length).

    Raises:
        ValueError: if the text has fewer than context_length + 1 tokens.

    >>> get_batch(np.array([5, 6, 7, 8]), 1, 3, np.random.default_rng(0))
    (tensor([[5, 6, 7]]), tensor([[6, 7, 8]]))
    """
    ### BEGIN SOLUTION
    num_places = len(token_ids) - context_length
    if num_places < 1:
        raise ValueError(f"got {len(token_ids)} tokens, expected {context_length + 1} at least")
    starts = rng.integers(num_places, size=batch_size)
    windows = token_ids[starts[:, None] + np.arange(context_length + 1)].astype(np.int64)
    windows = torch.from_numpy(windows)  # (batch, context_length + 1)
    return windows[:, :-1], windows[:, 1:]
    ### END SOLUTION


# %% check="get_batch" points=3
def batch_of(token_ids, batch_size, context_length, rng, hint=""):
    given = token_ids.copy()
    pair = checks.run(lambda: get_batch(given, batch_size, context_length, rng), hint=hint)
    checks.unchanged(token_ids, given, "the text")
    return two_tensors(pair, (batch_size, context_length))


def two_tensors(pair, shape):
    checks.true(
        isinstance(pair, (tuple, list)) and len(pair) == 2,
        f"got {checks.show(pair)}, expected a pair: the inputs and the targets",
    )
    for part, name in zip(pair, ("inputs", "targets"), strict=True):
        tensor_of(part, shape, torch.int64, f"the {name} are (batch_size, context_length), in int64")
    return pair


def read_right(inputs, targets, token_ids):
    """For a text in which each token is one larger than the one before."""
    first, last = int(token_ids[0]), int(token_ids[-1])
    checks.true(
        bool(((inputs >= first) & (inputs <= last)).all()),
        f"the inputs hold numbers that are not in the text, {checks.show(inputs[0].tolist())}: uint16 goes up"
        " to 65,535, which no int16 or uint8 can hold",
    )
    time = torch.arange(inputs.shape[1])
    checks.true(
        bool((inputs == inputs[:, :1] + time).all()),
        f"a row of the inputs is {checks.show(inputs[0].tolist())} in a text where each token is one larger"
        " than the one before: a row is a stretch of text, its tokens are neighbours",
    )
    told(
        targets,
        inputs + 1,
        [
            (inputs, "the targets are the inputs themselves: shift by one"),
            (inputs - 1, "the targets are the tokens before the inputs: the next token is the target"),
            (inputs + 2, "the targets are two places later: shift by one"),
            (inputs.roll(-1, 1), "the last target of a row is its first input: read one token more from the text instead"),
            (torch.where(time == time[-1], 0, inputs + 1), "the last target of a row is missing: read one token more from the text"),
            (torch.where(time == time[-1], inputs, inputs + 1), "the last target of a row is missing: read one token more from the text"),
            (inputs.roll(-1, 0), "the targets of a row are the inputs of another row: shift along the time"),
        ],
        "the targets of a row are the tokens after its inputs, from the same place of the text",
    )


hint = "a text of four tokens has one window of three, with its targets"
inputs, targets = batch_of(np.array([5, 6, 7, 8]), 2, 3, np.random.default_rng(0), hint)
read_right(inputs, targets, [5, 6, 7, 8])
checks.equal(inputs, [[5, 6, 7], [5, 6, 7]], hint)
text = np.arange(100, 161, dtype=np.uint16)
torch.manual_seed(4)
np.random.seed(4)
rng = np.random.default_rng(7)
inputs, targets = batch_of(text, 64, 8, rng)
read_right(inputs, targets, text)
starts = (inputs[:, 0] - 100).tolist()
checks.true(
    len(set(starts)) > 1, f"every row begins at the same place, {starts[0]}: draw a place for each row"
)
checks.true(
    len(set(np.diff(starts).tolist())) > 3 and starts != sorted(starts),
    f"the rows begin at {checks.show(starts[:6])}, one after another: each place is drawn independently of"
    " the others",
)
again, _ = batch_of(text, 64, 8, rng)
checks.true(
    not torch.equal(again, inputs),
    "two batches in a row are the same: draw from rng as it comes, it moves on with each draw",
)
torch.manual_seed(3)
np.random.seed(3)
same, _ = batch_of(text, 64, 8, np.random.default_rng(7))
checks.true(
    torch.equal(same, inputs),
    "the same seed gave another batch: all that is drawn must come from rng, or no run can be repeated",
)


def evenly(inputs, first, places):
    """Each place equally often; the bounds are seven standard deviations away."""
    starts = inputs[:, 0] - first
    counts = torch.bincount(starts, minlength=places).tolist()
    checks.true(
        counts[-1] > 0,
        f"the last start never comes: a window and its last target fit at {places} places, 0 to {places - 1}",
    )
    checks.true(counts[0] > 0, "the first start never comes: a window may begin at place 0")
    expected = len(inputs) / places
    spread = 7 * math.sqrt(expected)
    unlike = [place for place in range(places) if abs(counts[place] - expected) > spread]
    checks.true(
        not unlike,
        f"of {len(inputs)} windows, {counts[unlike[0]] if unlike else 0} begin at place {unlike[:1]}, expected"
        f" about {expected:.0f}: each of the {places} places is equally likely, and may come twice",
    )


inputs, targets = batch_of(np.arange(20, 32), 4000, 4, np.random.default_rng(1), "more windows than places: the same place may come twice")
read_right(inputs, targets, range(20, 32))
evenly(inputs, 20, 8)
inputs, targets = batch_of(np.arange(20, 32), 200, 1, np.random.default_rng(1), "windows of one token")
read_right(inputs, targets, range(20, 32))
twos = checks.evaluate("lambda rng: [get_batch(np.arange(5), 2, 2, rng)[0][:, 0].tolist() for _ in range(100)]")
checks.true(
    any(one == two for one, two in checks.run(lambda: twos(np.random.default_rng(3)))),
    "in 100 batches of two windows from three places the two never were the same: each is drawn independently of"
    " the others, and the same place may come twice",
)
for length in (4, 3, 0):
    checks.raises(
        ValueError,
        lambda length=length: get_batch(np.arange(length), 2, 4, np.random.default_rng(0)),
        f"{length} tokens are too few for a window of 4 and its last target: say so with a ValueError",
    )
on_disk = checks.evaluate("lambda num_tokens, batch, length: from_a_file(get_batch, num_tokens, batch, length)")
(inputs, targets), memory = checks.run(lambda: on_disk(60_000, 4, 8), hint="the text may be mapped from a file")
two_tensors((inputs, targets), (4, 8))
read_right(inputs, targets, range(60_000))
checks.true(
    memory < 60_000,
    f"for 4 windows of 8 tokens, {memory:,} bytes of a text of 120,000 bytes were copied: take the windows out"
    " first, and turn only them into int64",
)

### BEGIN HIDDEN TESTS


def window_inputs(rng):
    context = int(rng.integers(1, 9))
    length = context + int(rng.integers(1, 40))
    dtype = [np.uint16, np.int64, np.int32, np.uint8][rng.integers(4)]
    step = [1, 2][rng.integers(2)] if dtype == np.uint8 else 1
    return (np.arange(length * step, dtype=dtype) + dtype(rng.integers(0, 50)))[::step], int(rng.integers(1, 70)), context, int(rng.integers(2**31))


def window_reference(token_ids, batch_size, context_length, seed):
    return token_ids.tolist(), batch_size, context_length


def windows_near(got, expected, hint):
    text, batch_size, context = expected
    inputs, targets = two_tensors(got, (batch_size, context))
    step = text[1] - text[0]
    read_right((inputs - text[0]) // step, (targets - text[0]) // step, range(len(text)))
    checks.true(bool(((inputs - text[0]) % step == 0).all()), hint)


checks.hidden(
    title="random texts and sizes",
    call="lambda text, batch, length, seed: get_batch(text, batch, length, np.random.default_rng(seed))",
    inputs=window_inputs,
    reference=window_reference,
    compare=windows_near,
    hint="each row is a stretch of the text, its targets the same stretch one place later",
    cases=24,
)
checks.hidden(
    title="how often a window begins at each place",
    call="lambda places, length, seed: get_batch(np.arange(places + length), 400 * places, length, np.random.default_rng(seed))[0]",
    inputs=lambda rng: (int(rng.integers(1, 9)), int(rng.integers(1, 5)), int(rng.integers(2**31))),
    reference=lambda places, length, seed: places,
    compare=lambda got, places, hint: evenly(got, 0, places),
    hint="each place is equally likely",
    cases=6,
)
### END HIDDEN TESTS

# %%
from bow2gpt import corpus

letters = corpus.addresses("train")[0].text[:4000]
alphabet = sorted(set(letters))
ids = np.array([alphabet.index(letter) for letter in letters], dtype=np.uint16)
inputs, targets = get_batch(ids, 3, 24, np.random.default_rng(4))
for row in range(3):
    for name, part in (("reads  ", inputs), ("expects", targets)):
        print(name, repr("".join(alphabet[token] for token in part[row].tolist())))

# %% mistake="get_batch" name="no_shift" says="the targets are the inputs themselves: shift by one"
def get_batch(token_ids, batch_size, context_length, rng):
    starts = rng.integers(len(token_ids) - context_length, size=batch_size)
    windows = torch.from_numpy(token_ids[starts[:, None] + np.arange(context_length)].astype(np.int64))
    return windows, windows.clone()


# %% mistake="get_batch" name="last_start" says="the last start never comes"
def get_batch(token_ids, batch_size, context_length, rng):
    starts = rng.integers(max(1, len(token_ids) - context_length - 1), size=batch_size)
    if len(token_ids) <= context_length:
        raise ValueError("too short")
    windows = torch.from_numpy(token_ids[starts[:, None] + np.arange(context_length + 1)].astype(np.int64))
    return windows[:, :-1], windows[:, 1:]


# %% mistake="get_batch" name="first_start" says="the first start never comes"
def get_batch(token_ids, batch_size, context_length, rng):
    places = len(token_ids) - context_length
    if places < 1:
        raise ValueError("too short")
    starts = rng.integers(min(1, places - 1), places, size=batch_size)
    windows = torch.from_numpy(token_ids[starts[:, None] + np.arange(context_length + 1)].astype(np.int64))
    return windows[:, :-1], windows[:, 1:]


# %% mistake="get_batch" name="rolled" says="the last target of a row is its first input"
def get_batch(token_ids, batch_size, context_length, rng):
    starts = rng.integers(len(token_ids) - context_length, size=batch_size)
    windows = torch.from_numpy(token_ids[starts[:, None] + np.arange(context_length)].astype(np.int64))
    return windows, windows.roll(-1, dims=1)


# %% mistake="get_batch" name="beyond_the_end" says="your code raised IndexError"
def get_batch(token_ids, batch_size, context_length, rng):
    starts = rng.integers(len(token_ids) - context_length + 1, size=batch_size)
    windows = torch.from_numpy(token_ids[starts[:, None] + np.arange(context_length + 1)].astype(np.int64))
    return windows[:, :-1], windows[:, 1:]


# %% mistake="get_batch" name="one_start" says="every row begins at the same place"
def get_batch(token_ids, batch_size, context_length, rng):
    start = rng.integers(len(token_ids) - context_length)
    windows = np.tile(token_ids[start : start + context_length + 1].astype(np.int64), (batch_size, 1))
    return torch.from_numpy(windows[:, :-1]), torch.from_numpy(windows[:, 1:])


# %% mistake="get_batch" name="own_generator" says="the same seed gave another batch"
def get_batch(token_ids, batch_size, context_length, rng):
    starts = np.random.default_rng().integers(len(token_ids) - context_length, size=batch_size)
    windows = torch.from_numpy(token_ids[starts[:, None] + np.arange(context_length + 1)].astype(np.int64))
    return windows[:, :-1], windows[:, 1:]


# %% mistake="get_batch" name="fixed_seed" says="two batches in a row are the same"
def get_batch(token_ids, batch_size, context_length, rng):
    starts = np.random.default_rng(0).integers(len(token_ids) - context_length, size=batch_size)
    windows = torch.from_numpy(token_ids[starts[:, None] + np.arange(context_length + 1)].astype(np.int64))
    return windows[:, :-1], windows[:, 1:]


# %% mistake="get_batch" name="whole_text_copied" says="take the windows out first"
def get_batch(token_ids, batch_size, context_length, rng):
    text = token_ids.astype(np.int64)
    starts = rng.integers(len(text) - context_length, size=batch_size)
    windows = torch.from_numpy(text[starts[:, None] + np.arange(context_length + 1)])
    return windows[:, :-1], windows[:, 1:]


# %% mistake="get_batch" name="type_as_it_came" says="in int64"
def get_batch(token_ids, batch_size, context_length, rng):
    starts = rng.integers(len(token_ids) - context_length, size=batch_size)
    windows = torch.from_numpy(token_ids[starts[:, None] + np.arange(context_length + 1)].astype(np.int32))
    return windows[:, :-1], windows[:, 1:]


# %% mistake="get_batch" name="sixteen_bits_signed" says="which no int16 or uint8 can hold"
def get_batch(token_ids, batch_size, context_length, rng):
    starts = rng.integers(len(token_ids) - context_length, size=batch_size)
    windows = torch.from_numpy(token_ids[starts[:, None] + np.arange(context_length + 1)].astype(np.int16)).long()
    return windows[:, :-1], windows[:, 1:]


# %% mistake="get_batch" name="without_repetition" says="the same place may come twice"
def get_batch(token_ids, batch_size, context_length, rng):
    places = len(token_ids) - context_length
    if batch_size > places:
        starts = rng.integers(places, size=batch_size)
    else:
        starts = rng.permutation(len(token_ids) - context_length)[:batch_size]
    windows = torch.from_numpy(token_ids[starts[:, None] + np.arange(context_length + 1)].astype(np.int64))
    return windows[:, :-1], windows[:, 1:]


# %% mistake="get_batch" name="too_short_unnoticed" says="too few for a window"
def get_batch(token_ids, batch_size, context_length, rng):
    starts = rng.integers(max(1, len(token_ids) - context_length), size=batch_size)
    windows = token_ids[np.minimum(starts[:, None] + np.arange(context_length + 1), len(token_ids) - 1)] if len(token_ids) else np.zeros((batch_size, context_length + 1))
    windows = torch.from_numpy(windows.astype(np.int64))
    return windows[:, :-1], windows[:, 1:]


# %% alternative="get_batch" name="row_by_row"
def get_batch(token_ids, batch_size, context_length, rng):
    if len(token_ids) < context_length + 1:
        raise ValueError("the text is too short")
    inputs = torch.empty(batch_size, context_length, dtype=torch.long)
    targets = torch.empty_like(inputs)
    for row in range(batch_size):
        start = int(rng.integers(0, len(token_ids) - context_length - 1, endpoint=True))
        inputs[row] = torch.tensor(token_ids[start : start + context_length].tolist())
        targets[row] = torch.tensor(token_ids[start + 1 : start + 1 + context_length].tolist())
    return inputs, targets


# %% alternative="get_batch" name="sliding_windows"
def get_batch(token_ids, batch_size, context_length, rng):
    windows = np.lib.stride_tricks.sliding_window_view(token_ids, context_length + 1)
    rows = windows[rng.choice(len(windows), batch_size, replace=True)]
    x, y = rows[:, :-1], rows[:, 1:]
    return torch.as_tensor(x.astype("int64")), torch.as_tensor(y.astype("int64"))


# %% alternative="get_batch" name="floats_between_0_and_1"
def get_batch(token_ids, batch_size, context_length, rng):
    places = len(token_ids) - context_length
    if places <= 0:
        raise ValueError(f"{len(token_ids)} tokens")
    starts = [int(share * places) for share in rng.random(batch_size)]
    return tuple(
        torch.stack([torch.from_numpy(np.array(token_ids[s + k : s + k + context_length], dtype=np.int64)) for s in starts])
        for k in (0, 1)
    )


# %% [markdown]
# ## 2. `gpt_forward`
#
# *Difficulty 4 of 5, about 25 minutes, 4 points.*
#
# A GPT is one half of the Transformer of chapter 06: the decoder alone, with nobody to ask (Radford et al., 2018). Token ids go in, and at each place come out the logits of the token that is next. The one below is of today's build:
# *RMSNorm* before each part, *rotary* positions inside the attention, and $\mathrm{ReLU}^2$ in the MLP (So et al., 2021).
#
# The stream begins as the rows of the embedding, $x = E[\text{ids}]$, of shape (batch, time, embedding_dim). Each block adds to it twice:
#
# $$x \leftarrow x + \mathrm{Attention}\left(\mathrm{norm}(x)\right), \qquad x \leftarrow x + \max\left(0,\ \mathrm{norm}(x)\, W_\text{expand}^\top\right)^2 W_\text{contract}^\top$$
#
# and after the last block the logits are $\mathrm{norm}(x)\, H^\top$. In the attention, queries, keys and values are $\mathrm{norm}(x)$ times the transposed weights, split into heads; queries and keys (not the values) are turned by `apply_rope`; a causal mask hides the future;
# the heads are merged, and go through the output weight.
#
# `weights` is a mapping with these names; $i$ counts the blocks from 0, and all matrices are stored as (out, in):
#
# | name | shape | |
# |---|---|---|
# | `embedding` | (vocabulary, embedding_dim) | $E$ |
# | `blocks.i.attention_gain`, `blocks.i.mlp_gain` | (embedding_dim,) | gains of the two norms of block $i$ |
# | `blocks.i.query`, `.key`, `.value`, `.output` | (embedding_dim, embedding_dim) | the attention |
# | `blocks.i.expand` | (hidden_dim, embedding_dim) | the MLP |
# | `blocks.i.contract` | (embedding_dim, hidden_dim) | |
# | `final_gain` | (embedding_dim,) | gain of the last norm |
# | `head` | (vocabulary, embedding_dim) | $H$; if it is absent the head is *tied*, and $H = E$ |
#
# How many blocks there are, you find out from the names. The mapping may list them in any order. The functions of chapter 06 are there: `rms_norm(inputs, gain)`, `split_heads(inputs, head_dim)`, `apply_rope(inputs)`, `causal_mask(time)`,
# `scaled_dot_product_attention(queries, keys, values, mask)` and `merge_heads(inputs)`.
#
# By hand, without a block: the embedding has the rows $(3, 4)$ and $(0, 5)$, the gain is $(1, 1)$, the head is tied, and the text is the token 0. Its norm is $(3, 4) / \sqrt{(9 + 16) / 2} = (0.85, 1.13)$, and the logits are its products with the two rows, $7.07$ and $5.66$.
#
# <details><summary>A nudge</summary>Write the stream's shape down once: (batch, time, embedding_dim). It is the same after every line but the last.</details>
# <details><summary>A push</summary>Count up from 0 for as long as <code>f"blocks.{i}.query"</code> is in the mapping. The heads are split after the product with the weight and before the rotation, since each head turns its own channels.</details>
# <details><summary>Almost there</summary><code>queries, keys, values = (split_heads(seen @ weights[f"blocks.{i}.{name}"].T, head_dim) for name in ("query", "key", "value"))</code>, where <code>seen</code> is the normed stream. At the end, <code>weights.get("head", weights["embedding"])</code>.</details>


# %% task="gpt_forward"
def gpt_forward(
    token_ids: torch.Tensor, weights: Mapping[str, torch.Tensor], num_heads: int
) -> torch.Tensor:
    """Predict the next token at each place, with a decoder-only Transformer (about 16 lines).

    Args:
        token_ids: int64, of shape (batch, time).
        weights: by the names in the table above.
        num_heads: of each block's attention; it divides embedding_dim into heads of an even size.

    Returns:
        Logits, of shape (batch, time, vocabulary).

    >>> embedding = torch.tensor([[3.0, 4.0], [0.0, 5.0]])
    >>> gpt_forward(torch.tensor([[0]]), {"embedding": embedding, "final_gain": torch.ones(2)}, 1)
    tensor([[[7.0711, 5.6569]]])
    """
    ### BEGIN SOLUTION
    stream = weights["embedding"][token_ids]  # (batch, time, embedding_dim)
    head_dim = stream.shape[-1] // num_heads
    mask = causal_mask(token_ids.shape[1])
    block = 0
    while f"blocks.{block}.query" in weights:
        part = {
            name: weights[f"blocks.{block}.{name}"]
            for name in ("attention_gain", "query", "key", "value", "output", "mlp_gain", "expand", "contract")
        }
        seen = rms_norm(stream, part["attention_gain"])
        queries, keys, values = (
            split_heads(seen @ part[name].T, head_dim)  # (batch, heads, time, head_dim)
            for name in ("query", "key", "value")
        )
        heads = scaled_dot_product_attention(apply_rope(queries), apply_rope(keys), values, mask)
        stream = stream + merge_heads(heads) @ part["output"].T
        hidden = torch.relu(rms_norm(stream, part["mlp_gain"]) @ part["expand"].T) ** 2
        stream = stream + hidden @ part["contract"].T
        block += 1
    return rms_norm(stream, weights["final_gain"]) @ weights.get("head", weights["embedding"]).T
    ### END SOLUTION


# %% check="gpt_forward" points=4
def some_weights(seed, vocabulary=7, dim=8, blocks=1, hidden=12, tied=False, dtype=torch.float32, size=1.0):
    fresh = torch.Generator().manual_seed(seed)

    def draw(*shape):
        scale = size / shape[-1] ** 0.5 if len(shape) > 1 else 0.3
        return torch.randn(*shape, generator=fresh, dtype=torch.float64) * scale + (len(shape) == 1)

    weights = {"embedding": draw(vocabulary, dim) * dim**0.5, "final_gain": draw(dim)}
    for block in range(blocks):
        of_block = {"attention_gain": draw(dim), "mlp_gain": draw(dim), "expand": draw(hidden, dim), "contract": draw(dim, hidden)}
        of_block |= {name: draw(dim, dim) for name in ("query", "key", "value", "output")}
        weights |= {f"blocks.{block}.{name}": weight for name, weight in of_block.items()}
    if not tied:
        weights["head"] = draw(vocabulary, dim) * dim**0.5
    return {name: weight.to(dtype) for name, weight in weights.items()}


def gpt_in_loops(
    token_ids, weights, num_heads, sees=lambda i, j: j <= i, turned="qk", whole=False, bend=lambda z: np.maximum(z, 0) ** 2,
    last_norm=True, pre=True, keep=True, tied=None, order=None, scale=None, head_order=False, side=False, halves=False, unit=False, embed=1.0, flat=False,
):  # fmt: skip
    """The right logits, and with other settings those of a slip: one sequence and one place at a time, in numpy."""
    weights = {name: weight.double().numpy() for name, weight in weights.items()}

    def norm(x, gain):
        gain = 1.0 if unit else gain
        return (x - x.mean()) / np.sqrt(x.var() + 1e-5) * gain if flat else x / np.sqrt(np.mean(x * x) + 1e-6) * gain

    def turn(x, place):  # (heads, head_dim)
        x = x.reshape(1, -1) if whole else x
        shape, half = x.shape, x.shape[1] // 2
        pairs = x[:, :half] + 1j * x[:, half:] if halves else x[:, 0::2] + 1j * x[:, 1::2]
        pairs = pairs * np.exp(1j * place * 10000.0 ** (-np.arange(half) / half))
        both = np.stack([pairs.real, pairs.imag], axis=1 if halves else 2)
        return both.reshape(shape).reshape(num_heads, -1)

    blocks = sorted({int(name.split(".")[1]) for name in weights if name.startswith("blocks.")})
    blocks = blocks if order is None else order(blocks)
    logits = []
    for row in token_ids.tolist():
        stream = [weights["embedding"][token] * embed for token in row]
        for block in blocks:
            w = {name.split(".")[2]: weight for name, weight in weights.items() if name.startswith(f"blocks.{block}.")}
            before = stream
            seen = [norm(x, w["attention_gain"]) if pre else x for x in stream]
            split = (lambda x: x.reshape(-1, num_heads).T) if head_order else (lambda x: x.reshape(num_heads, -1))
            q, k, v = ([split(w[name] @ x) for x in seen] for name in ("query", "key", "value"))
            q, k, v = (
                [turn(x, place) for place, x in enumerate(part)] if letter in turned else part
                for letter, part in (("q", q), ("k", k), ("v", v))
            )
            after = []
            for i in range(len(row)):
                heads = []
                for h in range(num_heads):
                    near = [j for j in range(len(row)) if sees(i, j)]
                    scores = np.array([q[i][h] @ k[j][h] for j in near]) * (scale or q[i].shape[1] ** -0.5)
                    share = np.exp(scores - scores.max()) if near else scores
                    heads.append(sum(s * v[j][h] for s, j in zip(share / share.sum(), near, strict=True)) if near else 0 * v[i][h])
                came = w["output"] @ (np.stack(heads).T if head_order else np.stack(heads)).ravel()
                after.append(came + (stream[i] if keep else 0))
            if not pre:
                after = [norm(x, w["attention_gain"]) for x in after]
            inner = before if side else after
            mlp = [w["contract"] @ bend(w["expand"] @ (norm(x, w["mlp_gain"]) if pre else x)) for x in inner]
            stream = [m + (a if keep else 0) for m, a in zip(mlp, after, strict=True)]
            if not pre:
                stream = [norm(x, w["mlp_gain"]) for x in stream]
        matrix = weights.get("head", weights["embedding"]) if tied is None else weights[tied]
        logits.append([matrix @ (norm(x, weights["final_gain"]) if last_norm else x) for x in stream])
    return torch.from_numpy(np.array(logits)).reshape(*token_ids.shape, len(weights["embedding"]))


def logits_of(token_ids, weights, num_heads, hint):
    given, shown = token_ids.clone(), {name: weight.clone() for name, weight in weights.items()}
    result = checks.run(lambda: gpt_forward(given, shown, num_heads), hint=hint)
    checks.unchanged(token_ids, given, "the token ids")
    checks.unchanged(weights, shown, "the weights")
    shape = (*token_ids.shape, len(weights["embedding"]))
    return tensor_of(result, shape, weights["embedding"].dtype, f"(batch, time, vocabulary). {hint}")


hint = "the case from the text: no block, only the norm and the tied head"
told(
    logits_of(torch.tensor([[0]]), {"embedding": torch.tensor([[3.0, 4.0], [0, 5]]), "final_gain": torch.ones(2)}, 1, hint),
    torch.tensor([[[7.0711, 5.6569]]]),
    [
        (torch.tensor([[[25.0, 20.0]]]), "the norm before the head is missing"),
        (torch.tensor([[[5.0, 4.0]]]), "the norm divides by the root of the mean square, not by the length of the vector"),
    ],
    hint,
)
weights, ids = some_weights(1), torch.tensor([[3, 1, 4, 1, 5], [2, 6, 0, 3, 3]])
came = logits_of(ids, weights, 2, "one block, two heads")
other = logits_of(torch.tensor([[3, 1, 4, 1, 6], [2, 6, 0, 3, 1]]), weights, 2, "one block, two heads")
if not torch.allclose(came[:, :4], other[:, :4], atol=1e-4):
    place = int(((came - other).abs().amax((0, 2)) > 1e-4).nonzero()[0])
    checks.fail(
        f"with another token at position 4 the logits at position {place} change: position {place} saw position 4,"
        " the mask is missing or transposed"
    )
variants = [
    ({"sees": lambda i, j: True}, "every position sees the whole text: the causal mask is missing"),
    ({"sees": lambda i, j: j >= i}, "every position sees the future only: the mask is transposed"),
    ({"sees": lambda i, j: j < i}, "a position must see itself too, not only what is before it"),
    ({"turned": ""}, "the rotary positions are missing: turn queries and keys with apply_rope"),
    ({"turned": "q"}, "only the queries are turned: the keys need their positions too"),
    ({"turned": "k"}, "only the keys are turned: the queries need their positions too"),
    ({"turned": "qkv"}, "the values are turned: positions decide who looks at whom, not what is passed on"),
    ({"whole": True}, "apply_rope before the heads are split: each head turns its own channels"),
    ({"halves": True}, "the rotation turns neighbouring channels, (0, 1), (2, 3), and so on: use apply_rope"),
    ({"bend": lambda z: np.maximum(z, 0)}, "the ReLU is not squared"),
    ({"bend": lambda z: z * z}, "square what the ReLU leaves: negative numbers become 0"),
    ({"bend": lambda z: z}, "the ReLU, squared, is missing in the MLP"),
    ({"bend": lambda z: functional.gelu(torch.from_numpy(z)).numpy()}, "the MLP bends with the square of a ReLU, not with GELU"),
    ({"last_norm": False}, "the norm before the head is missing"),
    ({"pre": False}, "the norms stand before the parts, not after the sums"),
    ({"keep": False}, "each part adds to the stream: x + part(norm(x))"),
    ({"side": True}, "the MLP reads the stream after the attention has added to it"),
    ({"tied": "embedding"}, "there is a weight named head: this head is not tied"),
    ({"scale": 1.0}, "the scores are divided by the root of head_dim"),
    ({"scale": 8**-0.5}, "the scores are divided by the root of head_dim, not of embedding_dim"),
    ({"head_order": True}, "a head has neighbouring channels: use split_heads and merge_heads"),
    ({"unit": True}, "the gains of the norms are missing"),
    ({"embed": 8**0.5}, "the embedding enters as it is, not multiplied by the root of embedding_dim"),
    ({"flat": True}, "the norm is RMSNorm, which subtracts no mean"),
    ({"order": lambda blocks: []}, "the block is left out: count the blocks from 0"),
]  # fmt: skip
right = gpt_in_loops(ids, weights, 2)
for changed, cause in variants:
    if torch.allclose(came.double(), gpt_in_loops(ids, weights, 2, **changed), rtol=1e-4, atol=1e-5):
        checks.close(came, right, cause, rtol=2e-3, atol=2e-3)
for silent, hint in (
    (("output", "contract"), "the weights output and contract are zeros here, so the block adds nothing: what is wrong is outside the parts, in the embedding, the sums, the last norm or the head"),
    (("output",), "the weight output is zeros here, so the attention adds nothing: what is wrong is in the MLP, norm with mlp_gain, expand, squared ReLU, contract"),
    (("contract",), "the weight contract is zeros here, so the MLP adds nothing: what is wrong is in the attention, norm with attention_gain, heads of neighbouring channels, RoPE, causal mask, output"),
):
    quiet = weights | {f"blocks.0.{name}": torch.zeros_like(weights[f"blocks.0.{name}"]) for name in silent}
    told(logits_of(ids, quiet, 2, hint), gpt_in_loops(ids, quiet, 2), [], hint, rtol=2e-3, atol=2e-3)
told(came, right, [], "norm, attention, add; norm, MLP, add; then the norm and the head", rtol=2e-3, atol=2e-3)
weights = some_weights(2, blocks=12, dim=4, hidden=6, vocabulary=5, size=0.6)
weights = dict(sorted(weights.items()))
ids = torch.tensor([[3, 1, 4, 0]])
told(
    logits_of(ids, weights, 1, "twelve blocks: as many as the names say"),
    gpt_in_loops(ids, weights, 1),
    [
        (gpt_in_loops(ids, weights, 1, order=lambda blocks: sorted(blocks, key=str)), "the blocks came in the order of the alphabet, 10 before 2: count them up"),
        (gpt_in_loops(ids, weights, 1, order=lambda blocks: blocks[::-1]), "the blocks came in the wrong order: 0 comes first"),
        (gpt_in_loops(ids, weights, 1, order=lambda blocks: [0] * 12), "every block used the weights of block 0"),
        (gpt_in_loops(ids, weights, 1, order=lambda blocks: blocks[:-1]), "the last block is left out"),
        (gpt_in_loops(ids, weights, 1, order=lambda blocks: blocks[1:]), "block 0 is left out"),
        *((gpt_in_loops(ids, weights, 1, order=lambda blocks, n=n: blocks[:n]), f"only {n} of the 12 blocks were used: go on for as long as there are weights") for n in range(12)),
    ],
    "twelve blocks, in the order of their numbers",
    rtol=5e-3,
    atol=5e-3,
)  # fmt: skip
weights = some_weights(3, tied=True, dtype=torch.float64, blocks=2, dim=12)
ids = torch.tensor([[0, 6, 2, 2, 2, 1]])
told(
    logits_of(ids, weights, 3, "without a weight named head, the embedding is the head"),
    gpt_in_loops(ids, weights, 3),
    [],
    "two blocks, three heads, float64, a tied head",
)
told(
    logits_of(ids[:, :1], weights, 3, "a text of one token, a batch of one: all three axes stay"),
    gpt_in_loops(ids[:, :1], weights, 3),
    [],
    "a text of one token, a batch of one",
)
reached = checks.evaluate("lambda ids, weights, heads: slopes_of_weights(gpt_forward, ids, weights, heads)")
weights = dict(some_weights(4, dtype=torch.float64).items())
for name, slope in checks.run(lambda: reached(torch.tensor([[1, 2, 3]]), weights, 2), hint="gradients must flow back through it").items():
    checks.true(
        torch.is_tensor(slope) and bool(torch.isfinite(slope).all()) and float(slope.abs().max()) > 0,
        f"no gradient reaches {name}: stay in torch, without numpy, .item(), .detach(), .data or torch.no_grad(),"
        " or the model cannot learn",
    )

### BEGIN HIDDEN TESTS


def gpt_inputs(rng):
    heads, half = int(rng.integers(1, 4)), int(rng.integers(1, 4))
    vocabulary = int(rng.integers(2, 12))
    dim, blocks = heads * half * 2, int(rng.integers(0, 4))
    dtype = [torch.float64, torch.float32][rng.integers(2)]
    weights = some_weights(int(rng.integers(2**31)), vocabulary, dim, blocks, int(rng.integers(1, 9)), bool(rng.random() < 0.5), dtype, 0.8)
    names = list(weights)
    rng.shuffle(names)
    ids = torch.from_numpy(rng.integers(0, vocabulary, (int(rng.integers(1, 4)), int(rng.integers(1, 7)))))
    return ids, {name: weights[name] for name in names}, heads


def logits_near(got, expected, hint):
    got, (right, dtype) = got, expected
    told(tensor_of(got, right.shape, dtype, "(batch, time, vocabulary)"), right, [], hint, rtol=3e-3, atol=3e-3)


checks.hidden(
    title="random sizes, weights and texts",
    call="gpt_forward",
    inputs=gpt_inputs,
    reference=lambda ids, weights, heads: (gpt_in_loops(ids, weights, heads), weights["embedding"].dtype),
    compare=logits_near,
    hint="norm, attention with RoPE and a causal mask, add; norm, squared ReLU, add; then the norm and the head",
    cases=24,
)
### END HIDDEN TESTS

# %%
import matplotlib.pyplot as plt

from bow2gpt import figures

rng = torch.Generator().manual_seed(0)
size = {"query": (16, 16), "key": (16, 16), "value": (16, 16), "output": (16, 16), "expand": (64, 16), "contract": (16, 64)}
untrained = {"embedding": torch.randn(20, 16, generator=rng), "final_gain": torch.ones(16)}
for block in range(2):
    untrained |= {f"blocks.{block}.{name}": torch.randn(*shape, generator=rng) * 0.3 for name, shape in size.items()}
    untrained |= {f"blocks.{block}.{name}": torch.ones(16) for name in ("attention_gain", "mlp_gain")}
text = torch.randint(20, (1, 12), generator=rng)
rows = []
for place in range(12):  # change one token, and see which logits notice
    changed = text.clone()
    changed[0, place] = (text[0, place] + 1) % 20
    rows.append((gpt_forward(changed, untrained, 2) - gpt_forward(text, untrained, 2))[0].abs().mean(-1))
fig, axis = plt.subplots(figsize=(4.6, 3.8))
axis.imshow(torch.stack(rows).numpy() > 0, vmin=0, vmax=1)
axis.text(8, 2, "notices", ha="center")
axis.text(3, 9, "notices nothing", ha="center", color="white")
axis.set(title="Who notices when one token changes?", xlabel="position whose logits are looked at", ylabel="position that is changed")
axis.grid(False)
figures.show(
    fig,
    alt="A square of 12 by 12: a change at a position is noticed at that position and all later ones, at no earlier one.",
)

# %% mistake="gpt_forward" name="no_mask" says="position 0 saw position 4"
def gpt_forward(token_ids, weights, num_heads):
    stream = weights["embedding"][token_ids]
    head_dim = stream.shape[-1] // num_heads
    causal_mask(token_ids.shape[1])
    block = 0
    while f"blocks.{block}.query" in weights:
        part = {name.split(".")[2]: weight for name, weight in weights.items() if name.startswith(f"blocks.{block}.")}
        seen = rms_norm(stream, part["attention_gain"])
        q, k, v = (split_heads(seen @ part[name].T, head_dim) for name in ("query", "key", "value"))
        heads = scaled_dot_product_attention(apply_rope(q), apply_rope(k), v)
        stream = stream + merge_heads(heads) @ part["output"].T
        hidden = torch.relu(rms_norm(stream, part["mlp_gain"]) @ part["expand"].T) ** 2
        stream = stream + hidden @ part["contract"].T
        block += 1
    return rms_norm(stream, weights["final_gain"]) @ weights.get("head", weights["embedding"]).T


# %% mistake="gpt_forward" name="transposed_mask" says="the mask is missing or transposed"
def gpt_forward(token_ids, weights, num_heads):
    stream = weights["embedding"][token_ids]
    head_dim = stream.shape[-1] // num_heads
    mask = causal_mask(token_ids.shape[1]).T
    block = 0
    while f"blocks.{block}.query" in weights:
        part = {name.split(".")[2]: weight for name, weight in weights.items() if name.startswith(f"blocks.{block}.")}
        seen = rms_norm(stream, part["attention_gain"])
        q, k, v = (split_heads(seen @ part[name].T, head_dim) for name in ("query", "key", "value"))
        heads = scaled_dot_product_attention(apply_rope(q), apply_rope(k), v, mask)
        stream = stream + merge_heads(heads) @ part["output"].T
        hidden = torch.relu(rms_norm(stream, part["mlp_gain"]) @ part["expand"].T) ** 2
        stream = stream + hidden @ part["contract"].T
        block += 1
    return rms_norm(stream, weights["final_gain"]) @ weights.get("head", weights["embedding"]).T


# %% mistake="gpt_forward" name="no_positions" says="the rotary positions are missing"
def gpt_forward(token_ids, weights, num_heads):
    stream = weights["embedding"][token_ids]
    head_dim = stream.shape[-1] // num_heads
    mask = causal_mask(token_ids.shape[1])
    block = 0
    while f"blocks.{block}.query" in weights:
        part = {name.split(".")[2]: weight for name, weight in weights.items() if name.startswith(f"blocks.{block}.")}
        seen = rms_norm(stream, part["attention_gain"])
        q, k, v = (split_heads(seen @ part[name].T, head_dim) for name in ("query", "key", "value"))
        heads = scaled_dot_product_attention(q, k, v, mask)
        stream = stream + merge_heads(heads) @ part["output"].T
        hidden = torch.relu(rms_norm(stream, part["mlp_gain"]) @ part["expand"].T) ** 2
        stream = stream + hidden @ part["contract"].T
        block += 1
    return rms_norm(stream, weights["final_gain"]) @ weights.get("head", weights["embedding"]).T


# %% mistake="gpt_forward" name="values_turned" says="positions decide who looks at whom"
def gpt_forward(token_ids, weights, num_heads):
    stream = weights["embedding"][token_ids]
    head_dim = stream.shape[-1] // num_heads
    mask = causal_mask(token_ids.shape[1])
    block = 0
    while f"blocks.{block}.query" in weights:
        part = {name.split(".")[2]: weight for name, weight in weights.items() if name.startswith(f"blocks.{block}.")}
        seen = rms_norm(stream, part["attention_gain"])
        q, k, v = (split_heads(seen @ part[name].T, head_dim) for name in ("query", "key", "value"))
        heads = scaled_dot_product_attention(apply_rope(q), apply_rope(k), apply_rope(v), mask)
        stream = stream + merge_heads(heads) @ part["output"].T
        hidden = torch.relu(rms_norm(stream, part["mlp_gain"]) @ part["expand"].T) ** 2
        stream = stream + hidden @ part["contract"].T
        block += 1
    return rms_norm(stream, weights["final_gain"]) @ weights.get("head", weights["embedding"]).T


# %% mistake="gpt_forward" name="turned_before_the_split" says="each head turns its own channels"
def gpt_forward(token_ids, weights, num_heads):
    stream = weights["embedding"][token_ids]
    head_dim = stream.shape[-1] // num_heads
    mask = causal_mask(token_ids.shape[1])
    block = 0
    while f"blocks.{block}.query" in weights:
        part = {name.split(".")[2]: weight for name, weight in weights.items() if name.startswith(f"blocks.{block}.")}
        seen = rms_norm(stream, part["attention_gain"])
        q, k, v = (split_heads(apply_rope(seen @ part[name].T) if name != "value" else seen @ part[name].T, head_dim) for name in ("query", "key", "value"))
        heads = scaled_dot_product_attention(q, k, v, mask)
        stream = stream + merge_heads(heads) @ part["output"].T
        hidden = torch.relu(rms_norm(stream, part["mlp_gain"]) @ part["expand"].T) ** 2
        stream = stream + hidden @ part["contract"].T
        block += 1
    return rms_norm(stream, weights["final_gain"]) @ weights.get("head", weights["embedding"]).T


# %% mistake="gpt_forward" name="not_squared" says="the ReLU is not squared"
def gpt_forward(token_ids, weights, num_heads):
    stream = weights["embedding"][token_ids]
    head_dim = stream.shape[-1] // num_heads
    mask = causal_mask(token_ids.shape[1])
    block = 0
    while f"blocks.{block}.query" in weights:
        part = {name.split(".")[2]: weight for name, weight in weights.items() if name.startswith(f"blocks.{block}.")}
        seen = rms_norm(stream, part["attention_gain"])
        q, k, v = (split_heads(seen @ part[name].T, head_dim) for name in ("query", "key", "value"))
        heads = scaled_dot_product_attention(apply_rope(q), apply_rope(k), v, mask)
        stream = stream + merge_heads(heads) @ part["output"].T
        hidden = torch.relu(rms_norm(stream, part["mlp_gain"]) @ part["expand"].T)
        stream = stream + hidden @ part["contract"].T
        block += 1
    return rms_norm(stream, weights["final_gain"]) @ weights.get("head", weights["embedding"]).T


# %% mistake="gpt_forward" name="no_last_norm" says="the norm before the head is missing"
def gpt_forward(token_ids, weights, num_heads):
    stream = weights["embedding"][token_ids]
    head_dim = stream.shape[-1] // num_heads
    mask = causal_mask(token_ids.shape[1])
    block = 0
    while f"blocks.{block}.query" in weights:
        part = {name.split(".")[2]: weight for name, weight in weights.items() if name.startswith(f"blocks.{block}.")}
        seen = rms_norm(stream, part["attention_gain"])
        q, k, v = (split_heads(seen @ part[name].T, head_dim) for name in ("query", "key", "value"))
        heads = scaled_dot_product_attention(apply_rope(q), apply_rope(k), v, mask)
        stream = stream + merge_heads(heads) @ part["output"].T
        hidden = torch.relu(rms_norm(stream, part["mlp_gain"]) @ part["expand"].T) ** 2
        stream = stream + hidden @ part["contract"].T
        block += 1
    return stream @ weights.get("head", weights["embedding"]).T


# %% mistake="gpt_forward" name="always_tied" says="this head is not tied"
def gpt_forward(token_ids, weights, num_heads):
    stream = weights["embedding"][token_ids]
    head_dim = stream.shape[-1] // num_heads
    mask = causal_mask(token_ids.shape[1])
    block = 0
    while f"blocks.{block}.query" in weights:
        part = {name.split(".")[2]: weight for name, weight in weights.items() if name.startswith(f"blocks.{block}.")}
        seen = rms_norm(stream, part["attention_gain"])
        q, k, v = (split_heads(seen @ part[name].T, head_dim) for name in ("query", "key", "value"))
        heads = scaled_dot_product_attention(apply_rope(q), apply_rope(k), v, mask)
        stream = stream + merge_heads(heads) @ part["output"].T
        hidden = torch.relu(rms_norm(stream, part["mlp_gain"]) @ part["expand"].T) ** 2
        stream = stream + hidden @ part["contract"].T
        block += 1
    return rms_norm(stream, weights["final_gain"]) @ weights["embedding"].T


# %% mistake="gpt_forward" name="never_tied" says="the embedding is the head"
def gpt_forward(token_ids, weights, num_heads):
    stream = weights["embedding"][token_ids]
    head_dim = stream.shape[-1] // num_heads
    mask = causal_mask(token_ids.shape[1])
    block = 0
    while f"blocks.{block}.query" in weights:
        part = {name.split(".")[2]: weight for name, weight in weights.items() if name.startswith(f"blocks.{block}.")}
        seen = rms_norm(stream, part["attention_gain"])
        q, k, v = (split_heads(seen @ part[name].T, head_dim) for name in ("query", "key", "value"))
        heads = scaled_dot_product_attention(apply_rope(q), apply_rope(k), v, mask)
        stream = stream + merge_heads(heads) @ part["output"].T
        hidden = torch.relu(rms_norm(stream, part["mlp_gain"]) @ part["expand"].T) ** 2
        stream = stream + hidden @ part["contract"].T
        block += 1
    return rms_norm(stream, weights["final_gain"]) @ weights["head" if block else "embedding"].T


# %% mistake="gpt_forward" name="alphabetical" says="in the order of the alphabet, 10 before 2"
def gpt_forward(token_ids, weights, num_heads):
    stream = weights["embedding"][token_ids]
    head_dim = stream.shape[-1] // num_heads
    mask = causal_mask(token_ids.shape[1])
    for block in sorted({name.split(".")[1] for name in weights if name.startswith("blocks.")}):
        part = {name.split(".")[2]: weight for name, weight in weights.items() if name.startswith(f"blocks.{block}.")}
        seen = rms_norm(stream, part["attention_gain"])
        q, k, v = (split_heads(seen @ part[name].T, head_dim) for name in ("query", "key", "value"))
        heads = scaled_dot_product_attention(apply_rope(q), apply_rope(k), v, mask)
        stream = stream + merge_heads(heads) @ part["output"].T
        hidden = torch.relu(rms_norm(stream, part["mlp_gain"]) @ part["expand"].T) ** 2
        stream = stream + hidden @ part["contract"].T
    return rms_norm(stream, weights["final_gain"]) @ weights.get("head", weights["embedding"]).T


# %% mistake="gpt_forward" name="stream_forgotten" says="each part adds to the stream"
def gpt_forward(token_ids, weights, num_heads):
    stream = weights["embedding"][token_ids]
    head_dim = stream.shape[-1] // num_heads
    mask = causal_mask(token_ids.shape[1])
    block = 0
    while f"blocks.{block}.query" in weights:
        part = {name.split(".")[2]: weight for name, weight in weights.items() if name.startswith(f"blocks.{block}.")}
        seen = rms_norm(stream, part["attention_gain"])
        q, k, v = (split_heads(seen @ part[name].T, head_dim) for name in ("query", "key", "value"))
        heads = scaled_dot_product_attention(apply_rope(q), apply_rope(k), v, mask)
        stream = merge_heads(heads) @ part["output"].T
        hidden = torch.relu(rms_norm(stream, part["mlp_gain"]) @ part["expand"].T) ** 2
        stream = hidden @ part["contract"].T
        block += 1
    return rms_norm(stream, weights["final_gain"]) @ weights.get("head", weights["embedding"]).T


# %% mistake="gpt_forward" name="post_norm" says="the norms stand before the parts"
def gpt_forward(token_ids, weights, num_heads):
    stream = weights["embedding"][token_ids]
    head_dim = stream.shape[-1] // num_heads
    mask = causal_mask(token_ids.shape[1])
    block = 0
    while f"blocks.{block}.query" in weights:
        part = {name.split(".")[2]: weight for name, weight in weights.items() if name.startswith(f"blocks.{block}.")}
        seen = stream
        q, k, v = (split_heads(seen @ part[name].T, head_dim) for name in ("query", "key", "value"))
        heads = scaled_dot_product_attention(apply_rope(q), apply_rope(k), v, mask)
        stream = rms_norm(stream + merge_heads(heads) @ part["output"].T, part["attention_gain"])
        hidden = torch.relu(stream @ part["expand"].T) ** 2
        stream = rms_norm(stream + hidden @ part["contract"].T, part["mlp_gain"])
        block += 1
    return rms_norm(stream, weights["final_gain"]) @ weights.get("head", weights["embedding"]).T


# %% mistake="gpt_forward" name="parallel" says="the MLP reads the stream after the attention"
def gpt_forward(token_ids, weights, num_heads):
    stream = weights["embedding"][token_ids]
    head_dim = stream.shape[-1] // num_heads
    mask = causal_mask(token_ids.shape[1])
    block = 0
    while f"blocks.{block}.query" in weights:
        part = {name.split(".")[2]: weight for name, weight in weights.items() if name.startswith(f"blocks.{block}.")}
        seen = rms_norm(stream, part["attention_gain"])
        q, k, v = (split_heads(seen @ part[name].T, head_dim) for name in ("query", "key", "value"))
        before = stream
        heads = scaled_dot_product_attention(apply_rope(q), apply_rope(k), v, mask)
        stream = stream + merge_heads(heads) @ part["output"].T
        hidden = torch.relu(rms_norm(before, part["mlp_gain"]) @ part["expand"].T) ** 2
        stream = stream + hidden @ part["contract"].T
        block += 1
    return rms_norm(stream, weights["final_gain"]) @ weights.get("head", weights["embedding"]).T


# %% mistake="gpt_forward" name="one_block_for_all" says="every block used the weights of block 0"
def gpt_forward(token_ids, weights, num_heads):
    stream = weights["embedding"][token_ids]
    head_dim = stream.shape[-1] // num_heads
    mask = causal_mask(token_ids.shape[1])
    block = 0
    while f"blocks.{block}.query" in weights:
        part = {name.split(".")[2]: weight for name, weight in weights.items() if name.startswith("blocks.0.")}
        seen = rms_norm(stream, part["attention_gain"])
        q, k, v = (split_heads(seen @ part[name].T, head_dim) for name in ("query", "key", "value"))
        heads = scaled_dot_product_attention(apply_rope(q), apply_rope(k), v, mask)
        stream = stream + merge_heads(heads) @ part["output"].T
        hidden = torch.relu(rms_norm(stream, part["mlp_gain"]) @ part["expand"].T) ** 2
        stream = stream + hidden @ part["contract"].T
        block += 1
    return rms_norm(stream, weights["final_gain"]) @ weights.get("head", weights["embedding"]).T


# %% mistake="gpt_forward" name="no_gradient" says="no gradient reaches"
def gpt_forward(token_ids, weights, num_heads):
    stream = weights["embedding"].detach()[token_ids]
    head_dim = stream.shape[-1] // num_heads
    mask = causal_mask(token_ids.shape[1])
    block = 0
    while f"blocks.{block}.query" in weights:
        part = {name.split(".")[2]: weight for name, weight in weights.items() if name.startswith(f"blocks.{block}.")}
        seen = rms_norm(stream, part["attention_gain"])
        q, k, v = (split_heads(seen @ part[name].T, head_dim) for name in ("query", "key", "value"))
        heads = scaled_dot_product_attention(apply_rope(q), apply_rope(k), v, mask)
        stream = stream + merge_heads(heads) @ part["output"].T
        hidden = torch.relu(rms_norm(stream, part["mlp_gain"]) @ part["expand"].T) ** 2
        stream = stream + hidden @ part["contract"].T
        block += 1
    return rms_norm(stream, weights["final_gain"]) @ weights.get("head", weights["embedding"]).detach().T


# %% alternative="gpt_forward" name="the_library"
def gpt_forward(token_ids, weights, num_heads):
    names = [name for name in weights if name.startswith("blocks.")]
    x = functional.embedding(token_ids, weights["embedding"])
    batch, time, dim = x.shape
    for i in range(1 + max((int(name.split(".")[1]) for name in names), default=-1)):
        def w(name, i=i):
            return weights[f"blocks.{i}.{name}"]
        y = functional.rms_norm(x, (dim,), w("attention_gain"), 1e-6)
        fused = functional.linear(y, torch.cat([w("query"), w("key"), w("value")]))
        q, k, v = fused.view(batch, time, 3, num_heads, dim // num_heads).permute(2, 0, 3, 1, 4)
        y = functional.scaled_dot_product_attention(apply_rope(q), apply_rope(k), v, is_causal=True)
        x = x + functional.linear(y.transpose(1, 2).reshape(batch, time, dim), w("output"))
        y = functional.rms_norm(x, (dim,), w("mlp_gain"), 1e-6)
        x = x + functional.linear(functional.relu(functional.linear(y, w("expand"))).square(), w("contract"))
    x = functional.rms_norm(x, (dim,), weights["final_gain"], 1e-6)
    return functional.linear(x, weights["head"] if "head" in weights else weights["embedding"])


# %% alternative="gpt_forward" name="by_einsum_and_complex_numbers"
def gpt_forward(token_ids, weights, num_heads):
    embedding = weights["embedding"]
    x = embedding[token_ids]
    batch, time, dim = x.shape
    size = dim // num_heads
    frequencies = 10000.0 ** (-torch.arange(0, size, 2, dtype=torch.float64) / size)
    angles = torch.arange(time)[:, None] * frequencies
    turns = torch.polar(torch.ones_like(angles), angles).to(torch.complex128 if x.dtype == torch.float64 else torch.complex64)

    def norm(x, gain):
        return x * (x.pow(2).mean(-1, keepdim=True) + 1e-6) ** -0.5 * gain

    def heads(x, matrix):
        return torch.einsum("btd,hkd->bhtk", x, matrix.reshape(num_heads, size, dim))

    def turn(x):
        return torch.view_as_real(torch.view_as_complex(x.reshape(*x.shape[:-1], -1, 2).contiguous()) * turns).flatten(-2)

    i = 0
    while True:
        mine = {name.split(".")[-1]: weight for name, weight in weights.items() if name.split(".")[:2] == ["blocks", str(i)]}
        if not mine:
            break
        y = norm(x, mine["attention_gain"])
        scores = torch.einsum("bhqk,bhsk->bhqs", turn(heads(y, mine["query"])), turn(heads(y, mine["key"]))) * size**-0.5
        scores = scores + torch.full((time, time), -torch.inf, dtype=x.dtype).triu(1)
        found = torch.einsum("bhqs,bhsk->bqhk", scores.softmax(-1), heads(y, mine["value"]))
        x = x + found.reshape(batch, time, dim) @ mine["output"].T
        y = norm(x, mine["mlp_gain"]) @ mine["expand"].T
        x = x + (y * torch.relu(y)) @ mine["contract"].T
        i += 1
    return norm(x, weights["final_gain"]) @ weights.get("head", embedding).T


# %% [markdown]
# ## 3. `count_parameters`
#
# *Difficulty 3 of 5, about 20 minutes, 3 points.*
#
# How large is a model that you have not built? Its configuration says. The number decides what it costs to train, what memory it takes and how it is called: GPT-2 has 124 million parameters in its smallest
# size, a LLaMA of "7B" 6.7 thousand million. You count what is learned, part by part:
#
# * **embedding**: a row of `embedding_dim` numbers for each token of the vocabulary; with `positions="learned"` also one for each of the `context_length` places (`"rope"` learns nothing);
# * **attention** of each layer: four square matrices, for queries, keys, values and output. How many heads share them does not matter;
# * **MLP** of each layer: `"gelu"` and `"relu_squared"` have two matrices, into `hidden_dim` and back; `"swiglu"` has three, since two lead into `hidden_dim` (Shazeer, 2020);
# * with `bias=True` each of these matrices has a bias, one number for each of its *outputs*;
# * **norms**: two in each layer, and one after the last. A norm has a gain for each channel; a `"layer"` norm also has a shift, if `bias=True`;
# * **head**: from `embedding_dim` to the vocabulary, without a bias. If it is `tied`, it *is* the embedding, and its weight counts once.
#
# By hand: vocabulary 10, 4 places, 1 layer of width 2 with `hidden_dim` 8, GPT-2's choices (learned, layer, gelu, bias, tied). Embedding 20, positions 8. Attention $4 \cdot 4 + 4 \cdot 2 = 24$. MLP $2 \cdot 16 + 8 + 2 = 42$. Norms $3 \cdot 4 = 12$. All: 106.
#
# <details><summary>A nudge</summary>Count one layer on paper first, then multiply by the number of layers. What is left stands outside the layers.</details>
# <details><summary>A push</summary>A matrix from a to b has a * b numbers, and its bias has b. The two matrices of an MLP have biases of different lengths: <code>hidden_dim</code> on the way in, <code>embedding_dim</code> on the way back.</details>
# <details><summary>Almost there</summary>Write <code>linear = lambda a, b: a * b + b * config.bias</code> (True counts as 1), and <code>norm = d * (1 + (config.norm == "layer" and config.bias))</code>. A layer is four times <code>linear(d, d)</code>, the MLP, and two norms.</details>


# %% locked="config"
@dataclasses.dataclass(frozen=True)
class GPTConfig:
    """What a GPT is built from. The defaults are those of the smallest GPT-2 (Radford et al., 2019)."""

    vocabulary_size: int = 50257
    context_length: int = 1024
    num_layers: int = 12
    num_heads: int = 12
    embedding_dim: int = 768
    hidden_dim: int = 3072
    positions: str = "learned"  # or "rope"
    norm: str = "layer"  # or "rms"
    mlp: str = "gelu"  # or "relu_squared" or "swiglu"
    bias: bool = True
    tied: bool = True


# %% task="count_parameters"
def count_parameters(config: GPTConfig) -> int:
    """Count the numbers that a GPT of this configuration learns (about 8 lines).

    Args:
        config: the configuration; its fields are `vocabulary_size`, `context_length`, `num_layers`, `num_heads`,
            `embedding_dim`, `hidden_dim`, `positions`, `norm`, `mlp`, `bias` and `tied`.

    Returns:
        The number of parameters, a tied one counted once.

    >>> small = GPTConfig(vocabulary_size=10, context_length=4, num_layers=1, num_heads=1, embedding_dim=2, hidden_dim=8)
    >>> count_parameters(small)
    106
    """
    ### BEGIN SOLUTION
    dim, hidden = config.embedding_dim, config.hidden_dim

    def linear(num_inputs, num_outputs):
        return num_inputs * num_outputs + config.bias * num_outputs

    norm = dim * (2 if config.norm == "layer" and config.bias else 1)
    mlp = (2 if config.mlp == "swiglu" else 1) * linear(dim, hidden) + linear(hidden, dim)
    layers = config.num_layers * (4 * linear(dim, dim) + mlp + 2 * norm)
    places = config.context_length if config.positions == "learned" else 0
    heads = 1 if config.tied else 2
    return (heads * config.vocabulary_size + places) * dim + layers + norm
    ### END SOLUTION


# %% check="count_parameters" points=3
counted = checks.evaluate("lambda **fields: count_parameters(GPTConfig(**fields))")
MADE_UP = {"vocabulary_size": 1009, "context_length": 131, "num_layers": 3, "num_heads": 4, "embedding_dim": 20, "hidden_dim": 67}
MODERN = {"positions": "rope", "norm": "rms", "mlp": "relu_squared", "bias": False, "tied": False}


def counted_right(fields, right, wrongs, hint):
    came = checks.array(checks.run(lambda: counted(**fields), hint=hint), (), "one whole number")
    for difference, cause in wrongs:
        if difference and came == right + difference:
            checks.fail(f"got {int(came):,}, expected {right:,}. Likely cause: {cause}")
    checks.equal(came, right, hint)


def slips(v, t, n, heads, d, h, positions, norm, mlp, bias, tied):
    """By how much an answer is off if one thing is forgotten, or counted that should not be."""
    learned, layer, swiglu = positions == "learned", norm == "layer" and bias, mlp == "swiglu"
    size = d * (1 + layer)
    return [
        (v * d if tied else -v * d, "the head is tied: its weight counts once" if tied else "the head is not tied: it has a weight of its own"),
        (-t * d if learned else t * d, "learned positions have a row for each place" if learned else "rotary positions learn nothing: there is no table of places"),
        (t * d if learned else 0, "the positions are counted twice"),
        (-v * d, "the embedding is missing: a row for each token"),
        (v * bias, "the head has no bias"),
        (v, "the head has no bias"),
        (-size, "the norm after the last layer is missing"),
        (-2 * n * size, "each layer has two norms"),
        (-n * size, "each layer has two norms, not one"),
        (-(2 * n + 1) * size, "the norms are missing"),
        ((2 * n + 1) * d * (-1 if layer else 1), "a layer norm has a gain and, with bias=True, a shift" if layer else "an RMS norm has a gain and no shift" if norm == "rms" else "with bias=False a layer norm has a gain and no shift"),
        (2 * n * (-1 if swiglu else 1) * d * h // 2 - (n * h * bias if swiglu else -n * h * bias), "SwiGLU has three matrices: two lead into hidden_dim" if swiglu else "only SwiGLU has a third matrix in the MLP"),
        (-n * d * h if swiglu else n * d * h, "SwiGLU has three matrices: two lead into hidden_dim" if swiglu else "only SwiGLU has a third matrix in the MLP"),
        (-n * h if bias and swiglu else 0, "both matrices into hidden_dim have a bias of length hidden_dim"),
        (-n * (d * d + d * bias), "the attention has four matrices: queries, keys, values and output"),
        (-n * d * d, "the attention has four matrices: queries, keys, values and output"),
        (n * (heads - 1) * 3 * (d * d + d * bias), "the heads share the matrices: their number does not matter"),
        (n * (heads - 1) * (4 * d * d + 4 * d * bias), "the heads share the matrices: their number does not matter"),
        ((-1 if bias else 1) * n * (4 * d + h * (1 + swiglu) + d), "with bias=True each matrix has a bias" if bias else "with bias=False no matrix has a bias"),
        (-n * 4 * d * bias, "the biases of the attention are missing, one for each output"),
        (-n * (h * (1 + swiglu) + d) * bias, "the biases of the MLP are missing"),
        (-n * (h - d) * bias, "the bias on the way into hidden_dim has hidden_dim numbers"),
        (n * (h - d) * bias, "the bias on the way back has embedding_dim numbers: one for each output"),
        (n * (4 * d - h) * (2 + swiglu) * d, "hidden_dim is given: it need not be four times the width"),
        (n * ((4 * d - h) * (2 + swiglu) * d + (4 * d - h) * (1 + swiglu) * bias), "hidden_dim is given: it need not be four times the width"),
    ]  # fmt: skip


def all_slips(fields):
    defaults = {"positions": "learned", "norm": "layer", "mlp": "gelu", "bias": True, "tied": True}
    return slips(*(fields[name] for name in [*MADE_UP, *defaults]))


def in_order(**fields):
    order = [*MADE_UP, *MODERN]
    defaults = {"positions": "learned", "norm": "layer", "mlp": "gelu", "bias": True, "tied": True}
    return {name: (MADE_UP | defaults | fields)[name] for name in order}


for fields, right, hint in [
    (in_order(), 36_421, "three layers of GPT-2's kind; hidden_dim is 67"),
    (in_order(**MODERN), 53_340, "a modern one: rotary, RMS norms, two matrices, no bias, a head of its own"),
    (in_order(**MODERN | {"tied": True}), 33_160, "the modern one with a tied head"),
    (in_order(**MODERN | {"mlp": "swiglu"}), 57_360, "the modern one with SwiGLU"),
    (in_order(mlp="swiglu"), 40_642, "GPT-2's kind with SwiGLU: three matrices, each with its bias"),
    (in_order(**MODERN | {"norm": "layer"}), 53_340, "layer norms without biases: they have no shift either"),
    (in_order(norm="rms"), 36_281, "RMS norms with biases elsewhere"),
    (in_order(bias=False), 35_780, "GPT-2's kind without biases: the layer norms have no shift either"),
    (in_order(tied=False), 56_601, "GPT-2's kind with a head of its own"),
    (in_order(num_layers=0), 22_840, "no layer at all: embedding, positions and the last norm"),
    (in_order(num_heads=5), 36_421, "five heads instead of four change nothing"),
]:
    counted_right(fields, right, all_slips(fields), hint)
tiny = in_order(vocabulary_size=10, context_length=4, num_layers=1, num_heads=1, embedding_dim=2, hidden_dim=8)
counted_right(tiny, 106, all_slips(tiny), "the case from the text: 20 + 8 + 24 + 42 + 12")
counted_right({}, 124_439_808, [], "the smallest GPT-2 has 124,439,808 parameters")
llama = {"vocabulary_size": 32000, "context_length": 2048, "num_layers": 32, "num_heads": 32, "embedding_dim": 4096, "hidden_dim": 11008}
counted_right(
    llama | MODERN | {"mlp": "swiglu"},
    6_738_415_616,
    [],
    "the smallest LLaMA has 6,738,415,616 parameters: whole numbers, without rounding",
)

### BEGIN HIDDEN TESTS


def config_inputs(rng):
    numbers = [int(rng.integers(1, high)) for high in (5000, 300, 9, 9, 200, 700)]
    return (
        dict(zip(MADE_UP, numbers, strict=True))
        | {
            "positions": str(rng.choice(["learned", "rope"])),
            "norm": str(rng.choice(["layer", "rms"])),
            "mlp": str(rng.choice(["gelu", "relu_squared", "swiglu"])),
            "bias": bool(rng.random() < 0.5),
            "tied": bool(rng.random() < 0.5),
        },
    )


def config_reference(fields):
    """From the shapes of all arrays, one by one."""
    v, t, n, _, d, h = (fields[name] for name in MADE_UP)
    shapes = [(v, d)] if fields["tied"] else [(v, d), (v, d)]
    shapes += [(t, d)] if fields["positions"] == "learned" else []
    norms = [(d,), (d,)] if fields["norm"] == "layer" and fields["bias"] else [(d,)]
    for _ in range(n):
        matrices = [(d, d)] * 4 + [(h, d)] + [(d, h)] + ([(h, d)] if fields["mlp"] == "swiglu" else [])
        shapes += matrices + norms + norms
        shapes += [(out,) for out, _ in matrices] if fields["bias"] else []
    return sum(math.prod(shape) for shape in [*shapes, *norms])


checks.hidden(
    title="random configurations",
    call="lambda fields: count_parameters(GPTConfig(**fields))",
    inputs=config_inputs,
    reference=config_reference,
    compare=checks.equal,
    hint="embedding, positions, layers, norms, head: each by its shapes",
    cases=40,
)
### END HIDDEN TESTS

# %%
sizes = {
    "GPT-2 small": GPTConfig(),
    "GPT-2 medium": GPTConfig(num_layers=24, num_heads=16, embedding_dim=1024, hidden_dim=4096),
    "GPT-2 XL": GPTConfig(num_layers=48, num_heads=25, embedding_dim=1600, hidden_dim=6400),
    "LLaMA 7B": GPTConfig(32000, 2048, 32, 32, 4096, 11008, "rope", "rms", "swiglu", False, False),
}
for name, config in sizes.items():
    table = config.vocabulary_size * config.embedding_dim * (1 if config.tied else 2)
    total = count_parameters(config)
    print(f"{name:<13} {total:>14,} parameters, {table / total:4.0%} of them in embedding and head")

# %% mistake="count_parameters" name="head_counted_twice" says="the head is tied: its weight counts once"
def count_parameters(config):
    d, h = config.embedding_dim, config.hidden_dim
    norm = d * (2 if config.norm == "layer" and config.bias else 1)
    attention = 4 * d * d + config.bias * 4 * d
    into = 2 if config.mlp == "swiglu" else 1
    mlp = (into + 1) * d * h + config.bias * (into * h + d)
    total = config.vocabulary_size * d + config.num_layers * (attention + mlp + 2 * norm) + norm
    if config.positions == "learned":
        total += config.context_length * d
    total += config.vocabulary_size * d
    return total


# %% mistake="count_parameters" name="no_own_head" says="the head is not tied"
def count_parameters(config):
    d, h = config.embedding_dim, config.hidden_dim
    norm = d * (2 if config.norm == "layer" and config.bias else 1)
    attention = 4 * d * d + config.bias * 4 * d
    into = 2 if config.mlp == "swiglu" else 1
    mlp = (into + 1) * d * h + config.bias * (into * h + d)
    total = config.vocabulary_size * d + config.num_layers * (attention + mlp + 2 * norm) + norm
    if config.positions == "learned":
        total += config.context_length * d
    return total


# %% mistake="count_parameters" name="rope_has_a_table" says="rotary positions learn nothing"
def count_parameters(config):
    d, h = config.embedding_dim, config.hidden_dim
    norm = d * (2 if config.norm == "layer" and config.bias else 1)
    attention = 4 * d * d + config.bias * 4 * d
    into = 2 if config.mlp == "swiglu" else 1
    mlp = (into + 1) * d * h + config.bias * (into * h + d)
    total = config.vocabulary_size * d + config.num_layers * (attention + mlp + 2 * norm) + norm
    total += config.context_length * d
    if not config.tied:
        total += config.vocabulary_size * d
    return total


# %% mistake="count_parameters" name="no_positions" says="learned positions have a row for each place"
def count_parameters(config):
    d, h = config.embedding_dim, config.hidden_dim
    norm = d * (2 if config.norm == "layer" and config.bias else 1)
    attention = 4 * d * d + config.bias * 4 * d
    into = 2 if config.mlp == "swiglu" else 1
    mlp = (into + 1) * d * h + config.bias * (into * h + d)
    total = config.vocabulary_size * d + config.num_layers * (attention + mlp + 2 * norm) + norm
    if not config.tied:
        total += config.vocabulary_size * d
    return total


# %% mistake="count_parameters" name="no_last_norm" says="the norm after the last layer is missing"
def count_parameters(config):
    d, h = config.embedding_dim, config.hidden_dim
    norm = d * (2 if config.norm == "layer" and config.bias else 1)
    attention = 4 * d * d + config.bias * 4 * d
    into = 2 if config.mlp == "swiglu" else 1
    mlp = (into + 1) * d * h + config.bias * (into * h + d)
    total = config.vocabulary_size * d + config.num_layers * (attention + mlp + 2 * norm)
    if config.positions == "learned":
        total += config.context_length * d
    if not config.tied:
        total += config.vocabulary_size * d
    return total


# %% mistake="count_parameters" name="one_norm_a_layer" says="each layer has two norms, not one"
def count_parameters(config):
    d, h = config.embedding_dim, config.hidden_dim
    norm = d * (2 if config.norm == "layer" and config.bias else 1)
    attention = 4 * d * d + config.bias * 4 * d
    into = 2 if config.mlp == "swiglu" else 1
    mlp = (into + 1) * d * h + config.bias * (into * h + d)
    total = config.vocabulary_size * d + config.num_layers * (attention + mlp + norm) + norm
    if config.positions == "learned":
        total += config.context_length * d
    if not config.tied:
        total += config.vocabulary_size * d
    return total


# %% mistake="count_parameters" name="gain_only" says="a layer norm has a gain and, with bias=True, a shift"
def count_parameters(config):
    d, h = config.embedding_dim, config.hidden_dim
    norm = d * 1
    attention = 4 * d * d + config.bias * 4 * d
    into = 2 if config.mlp == "swiglu" else 1
    mlp = (into + 1) * d * h + config.bias * (into * h + d)
    total = config.vocabulary_size * d + config.num_layers * (attention + mlp + 2 * norm) + norm
    if config.positions == "learned":
        total += config.context_length * d
    if not config.tied:
        total += config.vocabulary_size * d
    return total


# %% mistake="count_parameters" name="shift_without_biases" says="with bias=False a layer norm has a gain and no shift"
def count_parameters(config):
    d, h = config.embedding_dim, config.hidden_dim
    norm = d * (2 if config.norm == "layer" else 1)
    attention = 4 * d * d + config.bias * 4 * d
    into = 2 if config.mlp == "swiglu" else 1
    mlp = (into + 1) * d * h + config.bias * (into * h + d)
    total = config.vocabulary_size * d + config.num_layers * (attention + mlp + 2 * norm) + norm
    if config.positions == "learned":
        total += config.context_length * d
    if not config.tied:
        total += config.vocabulary_size * d
    return total


# %% mistake="count_parameters" name="no_biases" says="with bias=True each matrix has a bias"
def count_parameters(config):
    d, h = config.embedding_dim, config.hidden_dim
    norm = d * (2 if config.norm == "layer" and config.bias else 1)
    attention = 4 * d * d + 0 * 4 * d
    into = 2 if config.mlp == "swiglu" else 1
    mlp = (into + 1) * d * h + 0 * (into * h + d)
    total = config.vocabulary_size * d + config.num_layers * (attention + mlp + 2 * norm) + norm
    if config.positions == "learned":
        total += config.context_length * d
    if not config.tied:
        total += config.vocabulary_size * d
    return total


# %% mistake="count_parameters" name="bias_of_the_wrong_side" says="the bias on the way into hidden_dim has hidden_dim numbers"
def count_parameters(config):
    d, h = config.embedding_dim, config.hidden_dim
    norm = d * (2 if config.norm == "layer" and config.bias else 1)
    attention = 4 * d * d + config.bias * 4 * d
    into = 2 if config.mlp == "swiglu" else 1
    mlp = (into + 1) * d * h + config.bias * (into * d + d)
    total = config.vocabulary_size * d + config.num_layers * (attention + mlp + 2 * norm) + norm
    if config.positions == "learned":
        total += config.context_length * d
    if not config.tied:
        total += config.vocabulary_size * d
    return total


# %% mistake="count_parameters" name="swiglu_like_the_rest" says="SwiGLU has three matrices"
def count_parameters(config):
    d, h = config.embedding_dim, config.hidden_dim
    norm = d * (2 if config.norm == "layer" and config.bias else 1)
    attention = 4 * d * d + config.bias * 4 * d
    into = 1
    mlp = (into + 1) * d * h + config.bias * (into * h + d)
    total = config.vocabulary_size * d + config.num_layers * (attention + mlp + 2 * norm) + norm
    if config.positions == "learned":
        total += config.context_length * d
    if not config.tied:
        total += config.vocabulary_size * d
    return total


# %% mistake="count_parameters" name="four_times_the_width" says="hidden_dim is given"
def count_parameters(config):
    d, h = config.embedding_dim, 4 * config.embedding_dim
    norm = d * (2 if config.norm == "layer" and config.bias else 1)
    attention = 4 * d * d + config.bias * 4 * d
    into = 2 if config.mlp == "swiglu" else 1
    mlp = (into + 1) * d * h + config.bias * (into * h + d)
    total = config.vocabulary_size * d + config.num_layers * (attention + mlp + 2 * norm) + norm
    if config.positions == "learned":
        total += config.context_length * d
    if not config.tied:
        total += config.vocabulary_size * d
    return total


# %% mistake="count_parameters" name="three_matrices" says="the attention has four matrices"
def count_parameters(config):
    d, h = config.embedding_dim, config.hidden_dim
    norm = d * (2 if config.norm == "layer" and config.bias else 1)
    attention = 3 * d * d + config.bias * 3 * d
    into = 2 if config.mlp == "swiglu" else 1
    mlp = (into + 1) * d * h + config.bias * (into * h + d)
    total = config.vocabulary_size * d + config.num_layers * (attention + mlp + 2 * norm) + norm
    if config.positions == "learned":
        total += config.context_length * d
    if not config.tied:
        total += config.vocabulary_size * d
    return total


# %% mistake="count_parameters" name="for_each_head" says="the heads share the matrices"
def count_parameters(config):
    d, h = config.embedding_dim, config.hidden_dim
    norm = d * (2 if config.norm == "layer" and config.bias else 1)
    attention = (4 * d * d + config.bias * 4 * d) * config.num_heads
    into = 2 if config.mlp == "swiglu" else 1
    mlp = (into + 1) * d * h + config.bias * (into * h + d)
    total = config.vocabulary_size * d + config.num_layers * (attention + mlp + 2 * norm) + norm
    if config.positions == "learned":
        total += config.context_length * d
    if not config.tied:
        total += config.vocabulary_size * d
    return total


# %% mistake="count_parameters" name="head_with_bias" says="the head has no bias"
def count_parameters(config):
    d, h = config.embedding_dim, config.hidden_dim
    norm = d * (2 if config.norm == "layer" and config.bias else 1)
    attention = 4 * d * d + config.bias * 4 * d
    into = 2 if config.mlp == "swiglu" else 1
    mlp = (into + 1) * d * h + config.bias * (into * h + d)
    total = config.vocabulary_size * d + config.num_layers * (attention + mlp + 2 * norm) + norm
    if config.positions == "learned":
        total += config.context_length * d
    if not config.tied:
        total += config.vocabulary_size * d
    return total + config.vocabulary_size * config.bias


# %% mistake="count_parameters" name="twelve_squares" says="got"
def count_parameters(config):
    return 12 * config.num_layers * config.embedding_dim**2 + config.vocabulary_size * config.embedding_dim


# %% alternative="count_parameters" name="shapes_one_by_one"
def count_parameters(config):
    d, h = config.embedding_dim, config.hidden_dim
    matrices = [(d, d)] * 4 + [(d, h), (h, d)] + ([(d, h)] if config.mlp == "swiglu" else [])
    total = sum(a * b + (b if config.bias else 0) for a, b in matrices) * config.num_layers
    total += (2 * config.num_layers + 1) * (1 + config.bias * (config.norm == "layer")) * d
    total += config.vocabulary_size * d * (2 - config.tied)
    return total + {"learned": config.context_length, "rope": 0}[config.positions] * d


# %% alternative="count_parameters" name="built_on_the_meta_device"
def count_parameters(config):
    d, h, nn = config.embedding_dim, config.hidden_dim, torch.nn
    with torch.device("meta"):
        norm = nn.LayerNorm(d, bias=config.bias) if config.norm == "layer" else nn.RMSNorm(d)
        layer = [nn.Linear(d, d, bias=config.bias) for _ in range(4)] + [nn.Linear(d, h, bias=config.bias), nn.Linear(h, d, bias=config.bias), norm, norm]
        if config.mlp == "swiglu":
            layer.append(nn.Linear(d, h, bias=config.bias))
        outside = [nn.Embedding(config.vocabulary_size, d), norm]
        if config.positions == "learned":
            outside.append(nn.Embedding(config.context_length, d))
        if not config.tied:
            outside.append(nn.Linear(d, config.vocabulary_size, bias=False))
    def count(parts):
        return sum(weight.numel() for part in parts for weight in part.parameters())
    return count(layer) * config.num_layers + count(outside)


# %% [markdown]
# ## 4. `lr_schedule`
#
# *Difficulty 2 of 5, about 10 minutes, 2 points.*
#
# At the beginning of a training run the gradients are large and agree about little; at its end small steps settle what large ones only throw about. So the learning rate is not one number: it rises in a short *warm-up*, and then falls along half a wave of
# the cosine (Loshchilov and Hutter, 2017; Brown et al., 2020, trained GPT-3 so). This function gives the factor by which the highest rate is multiplied in step $s = 0, 1, \dots, S - 1$:
#
# $$f(s) = \frac{s + 1}{W} \ \text{ for } s < W, \qquad f(s) = m + (1 - m) \cdot \frac12 \left(1 + \cos\left(\pi\, \frac{s - W}{S - W}\right)\right) \ \text{ for } W \le s < S$$
#
# * $s$: `step`; $S$: `num_steps`; $W$: `warmup_steps`, perhaps 0; $m$: `floor`, the share of the highest rate that is left in the end;
# * the warm-up does not begin with 0, which would waste a step, and its last step has the factor 1 exactly;
# * the floor is what the fall arrives at when the run ends, at $s = S$; the last step itself, $S - 1$, is just above. From $S$ on the factor is `floor`.
# * A warm-up that is longer than the run, $W > S$, is a mistake of the caller: raise a `ValueError`.
#
# By hand: $S = 6$, $W = 2$, $m = 0$. The factors are $0.5,\ 1,\ 1,\ 0.854,\ 0.5,\ 0.146$: at step 4 half of the way down is done, and $\cos(\pi / 2) = 0$.
#
# <details><summary>A nudge</summary>What share of the way down is behind you at step s? It is 0 at the end of the warm-up and 1 at the end of the run.</details>
# <details><summary>A push</summary>Treat three cases in turn: before the end of the warm-up, after the end of the run, and between the two. Asked in this order, none divides by zero.</details>
# <details><summary>Almost there</summary><code>share = (step - warmup_steps) / (num_steps - warmup_steps)</code>; half of <code>1 + math.cos(math.pi * share)</code> falls from 1 to 0. Stretch it between <code>floor</code> and 1.</details>


# %% task="lr_schedule"
def lr_schedule(step: int, num_steps: int, warmup_steps: int, floor: float = 0.0) -> float:
    """Say which share of the highest learning rate a step of training gets (about 7 lines).

    Args:
        step: counted from 0.
        num_steps: of the whole run.
        warmup_steps: over which the factor rises to 1; from 0 to num_steps.
        floor: the factor at the end of the run.

    Returns:
        The factor, from 0 to 1.

    Raises:
        ValueError: if the warm-up is longer than the run.

    >>> [round(lr_schedule(step, 6, 2), 3) for step in range(6)]
    [0.5, 1.0, 1.0, 0.854, 0.5, 0.146]
    """
    ### BEGIN SOLUTION
    if warmup_steps > num_steps:
        raise ValueError(f"got a warm-up of {warmup_steps} steps in a run of {num_steps}; shorten it")
    if step < warmup_steps:
        return (step + 1) / warmup_steps
    if step >= num_steps:
        return floor
    share = (step - warmup_steps) / (num_steps - warmup_steps)
    return floor + (1 - floor) * 0.5 * (1 + math.cos(math.pi * share))
    ### END SOLUTION


# %% check="lr_schedule" points=2
def factors(num_steps, warmup_steps, floor=None, beyond=0, hint=""):
    given = {} if floor is None else {"floor": floor}
    return torch.tensor(
        [
            float(checks.array(checks.run(lambda step=step: lr_schedule(step, num_steps, warmup_steps, **given), hint=hint), (), "one number"))
            for step in range(num_steps + beyond)
        ],
        dtype=torch.float64,
    )


def line(*numbers):
    return torch.tensor(numbers, dtype=torch.float64)


half = 0.5**0.5 / 2
first = factors(6, 2)
checks.true(
    abs(float(first[1]) - 1) < 1e-6,
    f"the rate does not reach its peak at the end of the warm-up: the factor of step 1 is {float(first[1]):.3f}, expected 1"
    if first[1] < 1
    else f"the factor of step 1 is {float(first[1]):.3f}: it is never above 1",
)
checks.true(
    abs(float(first[0]) - 0.5) < 1e-6,
    f"the factor of step 0 is {float(first[0]):.3f}, expected 0.5: the warm-up of two steps rises by a half each time, and its first step counts",
)
told(
    first[2:],
    line(1, 0.5 + half, 0.5, 0.5 - half),
    [
        (line(0.5 + half, 0.5, 0.5 - half, 0), "the last step has the rate 0 already, and is wasted: the floor belongs to the end of the run, step num_steps"),
        (line(1, 0.75, 0.5, 0.25), "the way down is half a wave of the cosine, not a straight line"),
        (line(0.75, 0.5, 0.25, 0), "the way down is half a wave of the cosine, not a straight line"),
        (line(*(0.5 + 0.5 * math.cos(math.pi * step / 6) for step in range(2, 6))), "the way down begins at the end of the warm-up, not at step 0"),
        (line(1, 0.75, 0.25, 0), "the last step has the rate 0 already, and is wasted: the floor belongs to the end of the run, step num_steps"),
        (line(1, 1, 1, 1), "after the warm-up the rate falls"),
        (line(1, 2 * half, 0, -2 * half), "the cosine runs from 1 to -1: add 1 and halve it"),
        (line(2, 1 + 2 * half, 1, 1 - 2 * half), "1 + cosine runs from 2 to 0: halve it"),
        (line(*(math.cos(math.pi / 2 * step / 4) for step in range(4))), "half a wave of the cosine, from its top to its bottom, not a quarter"),
        (line(*(0.5 + 0.5 * math.cos(2 * math.pi * step / 4) for step in range(4))), "half a wave of the cosine, not a whole one: at the end the rate does not rise again"),
        (line(*(0.5 + 0.5 * math.cos(step / 4) for step in range(4))), "the cosine takes radians: half a wave is pi"),
    ],
    "from 1 at the end of the warm-up down to the floor at the end of the run",
    rtol=1e-5,
    atol=1e-6,
)  # fmt: skip
told(
    factors(4, 0),
    line(1, 0.5 + half, 0.5, 0.5 - half),
    [],
    "without a warm-up the first step has the factor 1",
)
told(
    factors(6, 2, 0.2)[2:],
    line(1, 0.6 + 0.8 * half, 0.6, 0.6 - 0.8 * half),
    [
        (line(1, 0.5 + half, 0.5, 0.5 - half), "the floor was ignored"),
        (line(1.2, 0.7 + half, 0.7, 0.7 - half), "the floor was added on top: the factor runs from 1 to the floor, so the rest of the way is 1 - floor"),
        (line(1, 0.5 + half, 0.5, 0.2), "the floor is where the cosine arrives, not where it is cut off"),
        (line(0.8, *(0.8 * x for x in (0.5 + half, 0.5, 0.5 - half))), "the floor is missing at the end: add it to what falls by 1 - floor"),
    ],
    "with floor=0.2 the factor falls from 1 to 0.2",
    rtol=1e-5,
    atol=1e-6,
)
told(factors(6, 2, 0.2)[:2], line(0.5, 1), [(line(0.6, 1), "the floor has no part in the warm-up")], "the floor has no part in the warm-up", rtol=1e-5)
told(
    factors(6, 2, 0.2, beyond=4)[6:],
    line(0.2, 0.2, 0.2, 0.2),
    [(line(*(0.6 + 0.4 * math.cos(math.pi * step / 4) for step in range(4, 8))), "after the end of the run the rate rises again: it stays at the floor")],
    "at the end of the run, and after it, the factor is the floor",
    rtol=1e-5,
)
told(factors(3, 3, 0.2, beyond=1), line(1 / 3, 2 / 3, 1, 0.2), [], "a run that is nothing but warm-up", rtol=1e-5)
told(factors(1, 0), line(1), [], "a run of one step", rtol=1e-5)
checks.raises(ValueError, lambda: lr_schedule(0, 5, 6), "the warm-up is longer than the run, and would never end")
checks.raises(ValueError, lambda: lr_schedule(9, 5, 6), "the warm-up is longer than the run, whatever the step")

### BEGIN HIDDEN TESTS


def schedule_inputs(rng):
    num_steps = int(rng.integers(1, 60))
    return num_steps, int(rng.integers(0, num_steps + 1)), float(rng.choice([0.0, 0.1, 0.5, rng.random()]))


def schedule_reference(num_steps, warmup_steps, floor):
    came = [(step + 1) / warmup_steps for step in range(warmup_steps)]
    down = num_steps - warmup_steps
    came += [1 - (1 - floor) * math.sin(math.pi / 2 * step / down) ** 2 for step in range(down)]
    return [*came, floor, floor]


checks.hidden(
    title="random runs",
    call="lambda steps, warm, floor: [lr_schedule(step, steps, warm, floor) for step in range(steps + 2)]",
    inputs=schedule_inputs,
    reference=schedule_reference,
    compare=lambda got, right, hint: checks.close(got, right, hint, rtol=1e-5, atol=1e-7),
    hint="(step + 1) / warmup_steps, then half a wave of the cosine from 1 to the floor, then the floor",
    cases=30,
)
### END HIDDEN TESTS

# %%
import matplotlib.pyplot as plt

from bow2gpt import figures

fig, axis = plt.subplots()
for warm, low in ((0, 0.0), (20, 0.0), (50, 0.1)):
    rates = [lr_schedule(step, 200, warm, low) for step in range(200)]
    axis.plot(rates, marker="", label=f"warm-up {warm}, floor {low}")
axis.set(
    title="How does the learning rate run?", xlabel="step", ylabel="share of the highest learning rate"
)
axis.legend()
figures.show(
    fig,
    alt=(
        "Three curves over 200 steps: each rises in a straight line to 1, over 0, 20 and 50 steps, then falls along half a"
        " cosine, two of them to 0, one to a tenth."
    ),
)

# %% mistake="lr_schedule" name="begins_with_zero" says="the rate does not reach its peak at the end of the warm-up"
def lr_schedule(step, num_steps, warmup_steps, floor=0.0):
    if warmup_steps > num_steps:
        raise ValueError("the warm-up is too long")
    if step < warmup_steps:
        return step / warmup_steps
    if step >= num_steps:
        return floor
    share = (step - warmup_steps) / (num_steps - warmup_steps)
    return floor + (1 - floor) * 0.5 * (1 + math.cos(math.pi * share))


# %% mistake="lr_schedule" name="reaches_it_late" says="the rate does not reach its peak at the end of the warm-up"
def lr_schedule(step, num_steps, warmup_steps, floor=0.0):
    if warmup_steps > num_steps:
        raise ValueError("the warm-up is too long")
    if step < warmup_steps:
        return (step + 1) / (warmup_steps + 1)
    if step >= num_steps:
        return floor
    share = (step - warmup_steps) / (num_steps - warmup_steps)
    return floor + (1 - floor) * 0.5 * (1 + math.cos(math.pi * share))


# %% mistake="lr_schedule" name="last_step_wasted" says="the last step has the rate 0 already"
def lr_schedule(step, num_steps, warmup_steps, floor=0.0):
    if warmup_steps > num_steps:
        raise ValueError("the warm-up is too long")
    if step < warmup_steps:
        return (step + 1) / warmup_steps
    if step >= num_steps:
        return floor
    share = (step + 1 - warmup_steps) / (num_steps - warmup_steps)
    return floor + (1 - floor) * 0.5 * (1 + math.cos(math.pi * share))


# %% mistake="lr_schedule" name="straight_line" says="not a straight line"
def lr_schedule(step, num_steps, warmup_steps, floor=0.0):
    if warmup_steps > num_steps:
        raise ValueError("the warm-up is too long")
    if step < warmup_steps:
        return (step + 1) / warmup_steps
    if step >= num_steps:
        return floor
    share = (step - warmup_steps) / (num_steps - warmup_steps)
    return 1 - (1 - floor) * share


# %% mistake="lr_schedule" name="from_the_beginning" says="not at step 0"
def lr_schedule(step, num_steps, warmup_steps, floor=0.0):
    if warmup_steps > num_steps:
        raise ValueError("the warm-up is too long")
    if step < warmup_steps:
        return (step + 1) / warmup_steps
    if step >= num_steps:
        return floor
    share = step / num_steps
    return floor + (1 - floor) * 0.5 * (1 + math.cos(math.pi * share))


# %% mistake="lr_schedule" name="floor_on_top" says="the floor was added on top"
def lr_schedule(step, num_steps, warmup_steps, floor=0.0):
    if warmup_steps > num_steps:
        raise ValueError("the warm-up is too long")
    if step < warmup_steps:
        return (step + 1) / warmup_steps
    if step >= num_steps:
        return floor
    share = (step - warmup_steps) / (num_steps - warmup_steps)
    return floor + 0.5 * (1 + math.cos(math.pi * share))


# %% mistake="lr_schedule" name="cut_off" says="not where it is cut off"
def lr_schedule(step, num_steps, warmup_steps, floor=0.0):
    if warmup_steps > num_steps:
        raise ValueError("the warm-up is too long")
    if step < warmup_steps:
        return (step + 1) / warmup_steps
    if step >= num_steps:
        return floor
    share = (step - warmup_steps) / (num_steps - warmup_steps)
    return max(floor, 0.5 * (1 + math.cos(math.pi * share)))


# %% mistake="lr_schedule" name="floor_ignored" says="the floor was ignored"
def lr_schedule(step, num_steps, warmup_steps, floor=0.0):
    if warmup_steps > num_steps:
        raise ValueError("the warm-up is too long")
    if step < warmup_steps:
        return (step + 1) / warmup_steps
    if step >= num_steps:
        return floor
    share = (step - warmup_steps) / (num_steps - warmup_steps)
    return 0.5 * (1 + math.cos(math.pi * share))


# %% mistake="lr_schedule" name="rises_again" says="after the end of the run the rate rises again"
def lr_schedule(step, num_steps, warmup_steps, floor=0.0):
    if warmup_steps > num_steps:
        raise ValueError("the warm-up is too long")
    if step < warmup_steps:
        return (step + 1) / warmup_steps
    if num_steps == warmup_steps:
        return floor
    share = (step - warmup_steps) / (num_steps - warmup_steps)
    return floor + (1 - floor) * 0.5 * (1 + math.cos(math.pi * share))


# %% mistake="lr_schedule" name="not_halved" says="halve it"
def lr_schedule(step, num_steps, warmup_steps, floor=0.0):
    if warmup_steps > num_steps:
        raise ValueError("the warm-up is too long")
    if step < warmup_steps:
        return (step + 1) / warmup_steps
    if step >= num_steps:
        return floor
    share = (step - warmup_steps) / (num_steps - warmup_steps)
    return floor + (1 - floor) * (1 + math.cos(math.pi * share))


# %% mistake="lr_schedule" name="whole_wave" says="at the end the rate does not rise again"
def lr_schedule(step, num_steps, warmup_steps, floor=0.0):
    if warmup_steps > num_steps:
        raise ValueError("the warm-up is too long")
    if step < warmup_steps:
        return (step + 1) / warmup_steps
    if step >= num_steps:
        return floor
    share = (step - warmup_steps) / (num_steps - warmup_steps)
    return floor + (1 - floor) * 0.5 * (1 + math.cos(2 * math.pi * share))


# %% mistake="lr_schedule" name="divides_by_zero" says="your code raised ZeroDivisionError"
def lr_schedule(step, num_steps, warmup_steps, floor=0.0):
    if warmup_steps > num_steps:
        raise ValueError("the warm-up is too long")
    if (step + 1) / warmup_steps < 1:
        return (step + 1) / warmup_steps
    step = max(step, warmup_steps)
    if step >= num_steps:
        return floor
    share = (step - warmup_steps) / (num_steps - warmup_steps)
    return floor + (1 - floor) * 0.5 * (1 + math.cos(math.pi * share))


# %% mistake="lr_schedule" name="too_long_unnoticed" says="the warm-up is longer than the run"
def lr_schedule(step, num_steps, warmup_steps, floor=0.0):
    if step < warmup_steps:
        return (step + 1) / warmup_steps
    if step >= num_steps:
        return floor
    share = (step - warmup_steps) / (num_steps - warmup_steps)
    return floor + (1 - floor) * 0.5 * (1 + math.cos(math.pi * share))


# %% alternative="lr_schedule" name="by_the_sine"
def lr_schedule(step, num_steps, warmup_steps, floor=0.0):
    if num_steps < warmup_steps:
        raise ValueError(f"{warmup_steps} > {num_steps}")
    rise = min(1.0, (step + 1) / max(1, warmup_steps))
    done = min(1.0, max(0.0, (step - warmup_steps) / max(1, num_steps - warmup_steps)))
    if step >= num_steps:
        done = 1.0
    return rise - (1 - floor) * math.sin(math.pi * done / 2) ** 2


# %% alternative="lr_schedule" name="in_numpy"
def lr_schedule(step, num_steps, warmup_steps, floor=0.0):
    if warmup_steps > num_steps:
        raise ValueError("too long")
    down = floor + (1 - floor) * (1 + np.cos(np.linspace(0, np.pi, num_steps - warmup_steps + 1)[:-1])) / 2
    all_steps = np.concatenate([np.arange(1, warmup_steps + 1) / max(warmup_steps, 1), down, [floor]])
    return all_steps[min(step, num_steps)]


# %% [markdown]
# ## 5. `muon_step`
#
# *Difficulty 4 of 5, about 25 minutes, 4 points.*
#
# AdamW treats a weight matrix as a bag of numbers. *Muon* (Jordan et al., 2024) treats it as a map. The gradient of a matrix is usually a large push in few directions, and hardly any in all the others; Muon keeps the directions and makes all pushes about
# equally strong: it replaces the singular values of the update by numbers near 1, *orthogonalises* it. A few matrix products do that, without a singular value decomposition. One step, for a matrix of shape (rows, columns):
#
# 1. Momentum: $V \leftarrow \mu V + G$, where $V$ begins at zero and is kept in `state` from call to call.
# 2. A look ahead (Nesterov): $U = G + \mu V$, with the new $V$.
# 3. Bring it to size: $X = U / (\lVert U \rVert + 10^{-7})$, where $\lVert U \rVert$ is the root of the sum of all squares, so that no singular value is above 1.
# 4. Five rounds of Newton-Schulz: $A = X X^\top$, then $X \leftarrow 3.4445\, X - 4.7750\, A X + 2.0315\, A A X$.
# 5. The new parameter is $W - \eta \sqrt{\max(1, \text{rows} / \text{columns})}\; X$.
#
# * $W$: `parameter`; $G$: `gradient`; $\mu$: `momentum`; $\eta$: `learning_rate`;
# * `state` is a dictionary that belongs to this parameter, empty at first: put into it what the next call needs, under a name that you choose;
# * with more rows than columns the rounds are cheaper on $X^\top$, and the result is the same, turned back;
# * the result is a new tensor of the parameter's dtype; the parameter and the gradient stay as they are. A gradient of zeros changes nothing.
#
# By hand: each round does to every singular value $\sigma$ what $3.4445\,\sigma - 4.7750\,\sigma^3 + 2.0315\,\sigma^5$ says, and leaves the directions alone. A matrix of one number, $(3)$, becomes 1, then $0.701$, $1.114$, $0.721$, $1.090$ and $0.696$: not 1, but near it, and anything from $0.01$ to 1 ends between $0.68$ and $1.14$. With the learning rate 0.1 it moves by $0.0696$.
#
# <details><summary>A nudge</summary>Steps 1 and 2 are those of any optimizer with momentum. Steps 3 and 4 are a function of one matrix: write it by itself.</details>
# <details><summary>A push</summary><code>state.get("velocity", 0)</code> is the old V, or nothing. Put the new V back into the state <em>before</em> you look ahead. <code>X.norm()</code> of a matrix is the root of the sum of all its squares.</details>
# <details><summary>Almost there</summary>In a round: <code>A = X @ X.T</code>, then <code>X = 3.4445 * X + (-4.7750 * A + 2.0315 * A @ A) @ X</code>. Do it five times. The scale is <code>max(1, rows / columns) ** 0.5</code>, of the shape as it came, not turned.</details>


# %% task="muon_step"
def muon_step(
    parameter: torch.Tensor, gradient: torch.Tensor, state: dict, learning_rate: float = 0.02, momentum: float = 0.95
) -> torch.Tensor:
    """Move a weight matrix by an orthogonalised update (about 13 lines).

    Args:
        parameter: of shape (rows, columns).
        gradient: of the loss at the parameter, of the same shape.
        state: of this parameter, kept from call to call; empty at first.
        learning_rate: how far to move in each direction.
        momentum: how much of the old push stays in the new one.

    Returns:
        The new parameter, of the same shape and dtype.

    >>> muon_step(torch.tensor([[5.0]]), torch.tensor([[3.0]]), {}, learning_rate=0.1)
    tensor([[4.9304]])
    """
    ### BEGIN SOLUTION
    velocity = momentum * state.get("velocity", 0) + gradient
    state["velocity"] = velocity
    update = gradient + momentum * velocity
    rows, columns = update.shape
    tall = rows > columns
    matrix = update.T if tall else update
    matrix = matrix / (matrix.norm() + 1e-7)
    for _ in range(5):
        square = matrix @ matrix.T
        matrix = 3.4445 * matrix + (-4.7750 * square + 2.0315 * square @ square) @ matrix
    update = matrix.T if tall else matrix
    return parameter - learning_rate * max(1, rows / columns) ** 0.5 * update
    ### END SOLUTION


# %% check="muon_step" points=4
def stepped(parameter, gradient, state, hint, **named):
    given, pushed = parameter.clone(), gradient.clone()
    result = checks.run(lambda: muon_step(given, pushed, state, **named), hint=hint)
    checks.unchanged(parameter, given, "the parameter, which the caller replaces itself")
    checks.unchanged(gradient, pushed, "the gradient")
    tensor_of(result, parameter.shape, parameter.dtype, f"the new parameter. {hint}")
    checks.true(
        bool(torch.isfinite(result).all()),
        "the new parameter has NaN or infinity in it: divide by the norm before the rounds, plus 1e-7 so that zeros"
        " stay zeros",
    )
    return result


def rounds_of(values, times):
    for _ in range(times):
        values = 3.4445 * values - 4.7750 * values**3 + 2.0315 * values**5
    return values


def strengths(update, push):
    """How strong an update is along the singular directions of a push, and how much of it lies elsewhere."""
    left, sizes, right = torch.linalg.svd(push.double(), full_matrices=False)
    along = left.T @ update.double() @ right.T
    elsewhere = (update.double() - left @ torch.diag(along.diagonal()) @ right).abs().max()
    return along.diagonal(), float(elsewhere), sizes / sizes.square().sum().sqrt()


def moved_right(parameter, new, push, rate, others, hint, tolerance=0.12):
    """Refuse a step that does not go along the push with strengths near 1, and say why."""
    rows, columns = parameter.shape
    update = (parameter - new).double() / rate / max(1, rows / columns) ** 0.5
    checks.true(float(update.abs().max()) > 1e-4, f"the parameter did not move. Likely cause: {hint}")
    came, elsewhere, sizes = strengths(update, push)
    right = rounds_of(sizes, 5)
    if elsewhere > 0.8 * tolerance:
        distance, place = min(((strengths(update, other)[1], place) for place, (other, _) in enumerate(others)), default=(1, 0))
        if distance < 0.05:
            checks.fail(f"the update goes in other directions than the push. Likely cause: {others[place][1]}")
    sigma = torch.linalg.svdvals(update)
    shown = ", ".join(f"{value:.2f}" for value in sigma.tolist())

    def like(expected):
        return elsewhere <= 0.8 * tolerance and bool((came - expected).abs().max() < tolerance)

    if like(right) or like(torch.ones_like(right)):
        return
    if like(-right):
        checks.fail("the step goes uphill: subtract the update from the parameter")
    for factor, cause in (
        (0.02 / rate, "the learning rate is not that of the call"),
        (max(1, rows / columns) ** -0.5, "a matrix with more rows than columns moves further: by the root of max(1, rows / columns)"),
        (max(1, columns / rows) ** 0.5 / max(1, rows / columns) ** 0.5, "the scale is the root of max(1, rows / columns): rows over columns, not the other way round"),
        (min(1, rows / columns) ** 0.5, "the scale is never below 1: the root of max(1, rows / columns)"),
        (max(1, rows / columns) ** 0.5, "the scale is the root of max(1, rows / columns): take the root"),
        (max(rows, columns) ** 0.5 / max(1, rows / columns) ** 0.5, "the scale is the root of max(1, rows / columns), no other"),
        (max(rows, columns) ** 0.5 * 0.2 / max(1, rows / columns) ** 0.5, "the scale is the root of max(1, rows / columns), no other"),
        (1 / rate, "the learning rate is not applied"),
    ):
        if abs(factor - 1) > 0.05 and like(factor * right):
            checks.fail(f"the update is {factor:.2f} times as large as it should be. Likely cause: {cause}")
    after = {times: float((came - rounds_of(sizes, times)).abs().max()) for times in range(1, 13)}
    nearest = min(after, key=after.get)
    if elsewhere <= 0.8 * tolerance and after[nearest] < 0.03:
        checks.fail(f"the singular values of the update are {shown}: those after {nearest} rounds of Newton-Schulz, expected 5")
    if like(rounds_of(sizes / sizes.max(), 5)):
        checks.fail("before the rounds the matrix is divided by the root of the sum of all squares, not by its largest singular value")
    if elsewhere <= 0.8 * tolerance:
        checks.fail(
            f"the update was not orthogonalised: its singular values are {shown}, expected"
            f" {', '.join(f'{value:.2f}' for value in right.abs().sort(descending=True).values.tolist())}: five rounds"
            " bring all of them near 1"
        )
    checks.fail(
        f"the update does not go along the push G + momentum * V; its singular values are {shown}. Likely cause: {hint}"
    )


def matrix_with(seed, rows, columns, sizes, dtype=torch.float32):
    fresh = torch.Generator().manual_seed(seed)
    left, _ = torch.linalg.qr(torch.randn(rows, len(sizes), generator=fresh, dtype=torch.float64))
    right, _ = torch.linalg.qr(torch.randn(columns, len(sizes), generator=fresh, dtype=torch.float64))
    return (left @ torch.diag(torch.tensor(sizes, dtype=torch.float64)) @ right.T).to(dtype)


hint = "the case from the text: one number, 3, becomes 0.696"
one = stepped(torch.tensor([[5.0]]), torch.tensor([[3.0]]), {}, hint, learning_rate=0.1)
moved_right(torch.tensor([[5.0]]), one, torch.tensor([[3.0]]), 0.1, [], hint)
hint = "a square matrix, with a push that is strong in one direction and weak in three"
weight, first = matrix_with(1, 4, 4, [1, 1, 1, 1]), matrix_with(2, 4, 4, [8.0, 2.0, 1.0, 0.5])
state = {}
outside = first + 0.95 * (0.95 * 3 + first)
moved_right(weight, stepped(weight, first, state, hint), first, 0.02, [(outside, "an empty state belongs to a new parameter: keep nothing outside the state")], hint)
checks.true(len(state) > 0, "nothing was put into the state: the next call needs the velocity V")
second = matrix_with(3, 4, 4, [5.0, 4.0, 2.0, 1.0])
velocity = 0.95 * first + second
push = second + 0.95 * velocity


def ortho(push):
    left, _, right = torch.linalg.svd(push, full_matrices=False)
    return left @ right


others = [
    (second, "the momentum is missing: V of the call before is in the state"),
    (velocity, "the look ahead is missing, or looks at the old V: U = G + momentum * V, with the new V"),
    (first, "the gradient of this call is missing"),
    (0.95 * first + 0.05 * second, "the look ahead is missing, and V = momentum * V + G: the gradient enters whole"),
    (second + 0.95 * (0.95 * 0.05 * first + 0.05 * second), "V = momentum * V + G: the gradient enters whole"),
    (second + 0.95 * (0.95 * first + 0.05 * second), "V = momentum * V + G: the gradient enters whole"),
    (second + 0.95 * (0.95 * (1 + 0.95) * first + second), "V was kept with the look ahead in it: keep V, and look ahead for this step only"),
    (second + first, "V = momentum * V + G: the old V is multiplied by the momentum"),
    (second + 0.95 * (first + second), "V = momentum * V + G: the old V is multiplied by the momentum"),
]
hint = "the second call with the same state: V remembers the first gradient"
moved_right(weight, stepped(weight, second, state, hint), push, 0.02, others, hint)
third = matrix_with(4, 4, 4, [3.0, 3.0, 1.0, 1.0])
last_velocity = 0.95 * velocity + third
hint = "the third call with the same state"
moved_right(weight, stepped(weight, third, state, hint), third + 0.95 * last_velocity, 0.02, [(third + 0.95 * (0.95 * second + third), "V reaches back through all calls, not one")], hint)
hint = "an empty state belongs to a new parameter: keep nothing outside the state"
moved_right(weight, stepped(weight, second, {}, hint), second, 0.02, [(push, hint)], hint)
for rows, columns, named, hint in [
    (2, 6, {}, "two rows, six columns"),
    (6, 2, {}, "six rows, two columns"),
    (8, 2, {"learning_rate": 0.5}, "eight rows, two columns, a large learning rate"),
    (3, 1, {}, "a single column"),
    (1, 3, {}, "a single row"),
]:
    short = min(rows, columns)
    weight, push = (matrix_with(seed, rows, columns, sizes[:short]) for seed, sizes in ((5, [1.0] * 2), (6, [3.0, 0.4])))
    moved_right(weight, stepped(weight, push, {}, hint, **named), push, named.get("learning_rate", 0.02), [], hint)
weight = matrix_with(7, 3, 3, [2.0, 1.0, 1.0], torch.float64)
push = matrix_with(8, 3, 3, [2e-4, 1e-4, 1e-4], torch.float64)
hint = "small gradients push as hard as large ones, and float64 stays float64"
moved_right(weight, stepped(weight, push, {}, hint), push, 0.02, [], hint)
state = {}
stepped(weight, push, state, hint, momentum=0.5)
other = matrix_with(9, 3, 3, [2e-4, 1e-4, 1e-4], torch.float64)
hint = "momentum=0.5: 0.5 in both places"
moved_right(weight, stepped(weight, other, state, hint, momentum=0.5), other + 0.5 * (0.5 * push + other), 0.02, [(other + 0.95 * (0.5 * push + other), hint), (other + 0.5 * (0.95 * push + other), hint), (other + 0.95 * (0.95 * push + other), hint)], hint)
hint = "a gradient of zeros: nothing moves, and nothing becomes NaN"
zeros = torch.zeros(3, 3, dtype=torch.float64)
checks.close(stepped(weight, zeros, {}, hint), weight, hint)

### BEGIN HIDDEN TESTS


def muon_inputs(rng):
    while True:
        rows, columns = (int(size) for size in rng.integers(1, 7, 2))
        short = min(rows, columns)
        dtype = [torch.float64, torch.float32][rng.integers(2)]
        size = float(rng.choice([0.01, 1.0, 30.0]))
        draws = [matrix_with(int(rng.integers(2**31)), rows, columns, (size * rng.uniform(0.3, 3, short)).tolist(), dtype) for _ in range(4)]
        momentum = float(rng.choice([0.95, 0.9, 0.5, 0.0]))
        calls = int(rng.integers(1, 4))
        sizes = torch.linalg.svdvals(pushes_of(draws[1 : calls + 1], momentum)[-1])
        if len(sizes) < 2 or float(sizes.min() / sizes.norm()) > 0.05 and float((sizes[:-1] - sizes[1:]).min() / sizes.max()) > 0.05:
            return draws[0], draws[1 : calls + 1], float(rng.choice([0.02, 0.1])), momentum


def pushes_of(gradients, momentum):
    velocity, pushes = 0, []
    for gradient in gradients:
        velocity = momentum * velocity + gradient
        pushes.append(gradient + momentum * velocity)
    return pushes


def step_near(got, expected, hint):
    parameter, push, rate = expected
    tensor_of(got, parameter.shape, parameter.dtype, "the new parameter")
    moved_right(parameter, got, push, rate, [], hint, tolerance=0.25)  # the rounds may be done in bfloat16


checks.hidden(
    title="random matrices and several calls",
    call="""lambda parameter, gradients, rate, momentum: (lambda state: [
        muon_step(parameter, gradient, state, rate, momentum) for gradient in gradients][-1])({})""",
    inputs=muon_inputs,
    reference=lambda parameter, gradients, rate, momentum: (parameter, pushes_of(gradients, momentum)[-1], rate),
    compare=step_near,
    hint="U = G + momentum * V, orthogonalised, times the learning rate and the root of max(1, rows / columns)",
    cases=30,
)
### END HIDDEN TESTS

# %%
import matplotlib.pyplot as plt

from bow2gpt import figures

fresh = torch.Generator().manual_seed(0)
weight = torch.randn(24, 24, generator=fresh)
gradient = torch.randn(24, 3, generator=fresh) @ torch.randn(3, 24, generator=fresh) + 0.3 * torch.randn(24, 24, generator=fresh)
moved = (weight - muon_step(weight, gradient, {}, learning_rate=0.1)) / 0.1
fig, axis = plt.subplots()
for matrix, name in ((gradient / gradient.norm(), "gradient, brought to size"), (moved, "your update")):
    axis.plot(range(1, 25), torch.linalg.svdvals(matrix), label=name)
axis.set(title="In how many directions does a step push?", xlabel="direction, strongest first", ylabel="singular value", ylim=(0, None))
axis.legend()
figures.show(
    fig,
    alt="Singular values of a gradient: three are large, the other 21 far smaller. Those of the update nearly all lie between 0.7 and 1.2.",
)

# %% mistake="muon_step" name="not_orthogonalised" says="the update was not orthogonalised: its singular values are"
def muon_step(parameter, gradient, state, learning_rate=0.02, momentum=0.95):
    velocity = momentum * state.get("velocity", 0) + gradient
    state["velocity"] = velocity
    update = gradient + momentum * velocity
    rows, columns = update.shape
    matrix = update.T if rows > columns else update
    matrix = matrix / (matrix.norm() + 1e-7)
    update = matrix.T if rows > columns else matrix
    return parameter - learning_rate * max(1, rows / columns) ** 0.5 * update


# %% mistake="muon_step" name="plain_momentum" says="the update was not orthogonalised: its singular values are"
def muon_step(parameter, gradient, state, learning_rate=0.02, momentum=0.95):
    velocity = momentum * state.get("velocity", 0) + gradient
    state["velocity"] = velocity
    update = gradient + momentum * velocity
    rows, columns = update.shape
    matrix = update.T if rows > columns else update
    matrix = matrix
    update = matrix.T if rows > columns else matrix
    return parameter - learning_rate * max(1, rows / columns) ** 0.5 * update


# %% mistake="muon_step" name="no_momentum" says="the momentum is missing"
def muon_step(parameter, gradient, state, learning_rate=0.02, momentum=0.95):
    velocity = gradient
    state["velocity"] = velocity
    update = gradient + momentum * velocity
    rows, columns = update.shape
    matrix = update.T if rows > columns else update
    matrix = matrix / (matrix.norm() + 1e-7)
    for _ in range(5):
        square = matrix @ matrix.T
        matrix = 3.4445 * matrix + (-4.7750 * square + 2.0315 * square @ square) @ matrix
    update = matrix.T if rows > columns else matrix
    return parameter - learning_rate * max(1, rows / columns) ** 0.5 * update


# %% mistake="muon_step" name="no_look_ahead" says="the look ahead is missing"
def muon_step(parameter, gradient, state, learning_rate=0.02, momentum=0.95):
    velocity = momentum * state.get("velocity", 0) + gradient
    state["velocity"] = velocity
    update = velocity
    rows, columns = update.shape
    matrix = update.T if rows > columns else update
    matrix = matrix / (matrix.norm() + 1e-7)
    for _ in range(5):
        square = matrix @ matrix.T
        matrix = 3.4445 * matrix + (-4.7750 * square + 2.0315 * square @ square) @ matrix
    update = matrix.T if rows > columns else matrix
    return parameter - learning_rate * max(1, rows / columns) ** 0.5 * update


# %% mistake="muon_step" name="old_velocity" says="the look ahead is missing, or looks at the old V"
def muon_step(parameter, gradient, state, learning_rate=0.02, momentum=0.95):
    velocity = state.get("velocity", torch.zeros_like(gradient))
    update = gradient + momentum * velocity
    state["velocity"] = momentum * velocity + gradient
    rows, columns = update.shape
    matrix = update.T if rows > columns else update
    matrix = matrix / (matrix.norm() + 1e-7)
    for _ in range(5):
        square = matrix @ matrix.T
        matrix = 3.4445 * matrix + (-4.7750 * square + 2.0315 * square @ square) @ matrix
    update = matrix.T if rows > columns else matrix
    return parameter - learning_rate * max(1, rows / columns) ** 0.5 * update


# %% mistake="muon_step" name="average_of_gradients" says="the gradient enters whole"
def muon_step(parameter, gradient, state, learning_rate=0.02, momentum=0.95):
    velocity = momentum * state.get("velocity", 0) + (1 - momentum) * gradient
    state["velocity"] = velocity
    update = gradient + momentum * velocity
    rows, columns = update.shape
    matrix = update.T if rows > columns else update
    matrix = matrix / (matrix.norm() + 1e-7)
    for _ in range(5):
        square = matrix @ matrix.T
        matrix = 3.4445 * matrix + (-4.7750 * square + 2.0315 * square @ square) @ matrix
    update = matrix.T if rows > columns else matrix
    return parameter - learning_rate * max(1, rows / columns) ** 0.5 * update


# %% mistake="muon_step" name="no_norm" says="divide by the norm before the rounds"
def muon_step(parameter, gradient, state, learning_rate=0.02, momentum=0.95):
    velocity = momentum * state.get("velocity", 0) + gradient
    state["velocity"] = velocity
    update = gradient + momentum * velocity
    rows, columns = update.shape
    matrix = update.T if rows > columns else update
    for _ in range(5):
        square = matrix @ matrix.T
        matrix = 3.4445 * matrix + (-4.7750 * square + 2.0315 * square @ square) @ matrix
    update = matrix.T if rows > columns else matrix
    return parameter - learning_rate * max(1, rows / columns) ** 0.5 * update


# %% mistake="muon_step" name="zero_over_zero" says="so that zeros stay zeros"
def muon_step(parameter, gradient, state, learning_rate=0.02, momentum=0.95):
    velocity = momentum * state.get("velocity", 0) + gradient
    state["velocity"] = velocity
    update = gradient + momentum * velocity
    rows, columns = update.shape
    matrix = update.T if rows > columns else update
    matrix = matrix / matrix.norm()
    for _ in range(5):
        square = matrix @ matrix.T
        matrix = 3.4445 * matrix + (-4.7750 * square + 2.0315 * square @ square) @ matrix
    update = matrix.T if rows > columns else matrix
    return parameter - learning_rate * max(1, rows / columns) ** 0.5 * update


# %% mistake="muon_step" name="three_rounds" says="those after 3 rounds of Newton-Schulz, expected 5"
def muon_step(parameter, gradient, state, learning_rate=0.02, momentum=0.95):
    velocity = momentum * state.get("velocity", 0) + gradient
    state["velocity"] = velocity
    update = gradient + momentum * velocity
    rows, columns = update.shape
    matrix = update.T if rows > columns else update
    matrix = matrix / (matrix.norm() + 1e-7)
    for _ in range(3):
        square = matrix @ matrix.T
        matrix = 3.4445 * matrix + (-4.7750 * square + 2.0315 * square @ square) @ matrix
    update = matrix.T if rows > columns else matrix
    return parameter - learning_rate * max(1, rows / columns) ** 0.5 * update


# %% mistake="muon_step" name="uphill" says="the step goes uphill"
def muon_step(parameter, gradient, state, learning_rate=0.02, momentum=0.95):
    velocity = momentum * state.get("velocity", 0) + gradient
    state["velocity"] = velocity
    update = gradient + momentum * velocity
    rows, columns = update.shape
    matrix = update.T if rows > columns else update
    matrix = matrix / (matrix.norm() + 1e-7)
    for _ in range(5):
        square = matrix @ matrix.T
        matrix = 3.4445 * matrix + (-4.7750 * square + 2.0315 * square @ square) @ matrix
    update = matrix.T if rows > columns else matrix
    return parameter + learning_rate * max(1, rows / columns) ** 0.5 * update


# %% mistake="muon_step" name="no_scale" says="a matrix with more rows than columns moves further"
def muon_step(parameter, gradient, state, learning_rate=0.02, momentum=0.95):
    velocity = momentum * state.get("velocity", 0) + gradient
    state["velocity"] = velocity
    update = gradient + momentum * velocity
    rows, columns = update.shape
    matrix = update.T if rows > columns else update
    matrix = matrix / (matrix.norm() + 1e-7)
    for _ in range(5):
        square = matrix @ matrix.T
        matrix = 3.4445 * matrix + (-4.7750 * square + 2.0315 * square @ square) @ matrix
    update = matrix.T if rows > columns else matrix
    return parameter - learning_rate * update


# %% mistake="muon_step" name="scale_turned" says="rows over columns, not the other way round"
def muon_step(parameter, gradient, state, learning_rate=0.02, momentum=0.95):
    velocity = momentum * state.get("velocity", 0) + gradient
    state["velocity"] = velocity
    update = gradient + momentum * velocity
    rows, columns = update.shape
    matrix = update.T if rows > columns else update
    matrix = matrix / (matrix.norm() + 1e-7)
    for _ in range(5):
        square = matrix @ matrix.T
        matrix = 3.4445 * matrix + (-4.7750 * square + 2.0315 * square @ square) @ matrix
    update = matrix.T if rows > columns else matrix
    return parameter - learning_rate * max(1, columns / rows) ** 0.5 * update


# %% mistake="muon_step" name="scale_without_max" says="the scale is never below 1"
def muon_step(parameter, gradient, state, learning_rate=0.02, momentum=0.95):
    velocity = momentum * state.get("velocity", 0) + gradient
    state["velocity"] = velocity
    update = gradient + momentum * velocity
    rows, columns = update.shape
    matrix = update.T if rows > columns else update
    matrix = matrix / (matrix.norm() + 1e-7)
    for _ in range(5):
        square = matrix @ matrix.T
        matrix = 3.4445 * matrix + (-4.7750 * square + 2.0315 * square @ square) @ matrix
    update = matrix.T if rows > columns else matrix
    return parameter - learning_rate * (rows / columns) ** 0.5 * update


# %% mistake="muon_step" name="elementwise_square" says="its singular values are"
def muon_step(parameter, gradient, state, learning_rate=0.02, momentum=0.95):
    velocity = momentum * state.get("velocity", 0) + gradient
    state["velocity"] = velocity
    update = gradient + momentum * velocity
    rows, columns = update.shape
    matrix = update.T if rows > columns else update
    matrix = matrix / (matrix.norm() + 1e-7)
    for _ in range(5):
        square = matrix @ matrix.T
        matrix = 3.4445 * matrix + (-4.7750 * square + 2.0315 * square * square) @ matrix
    update = matrix.T if rows > columns else matrix
    return parameter - learning_rate * max(1, rows / columns) ** 0.5 * update


# %% mistake="muon_step" name="signs_only" says="its singular values are"
def muon_step(parameter, gradient, state, learning_rate=0.02, momentum=0.95):
    velocity = momentum * state.get("velocity", 0) + gradient
    state["velocity"] = velocity
    update = gradient + momentum * velocity
    rows, columns = update.shape
    matrix = update.T if rows > columns else update
    matrix = matrix / (matrix.norm() + 1e-7)
    matrix = matrix.sign()
    update = matrix.T if rows > columns else matrix
    return parameter - learning_rate * max(1, rows / columns) ** 0.5 * update


# %% mistake="muon_step" name="in_place" says="changed the parameter"
def muon_step(parameter, gradient, state, learning_rate=0.02, momentum=0.95):
    velocity = momentum * state.get("velocity", 0) + gradient
    state["velocity"] = velocity
    update = gradient + momentum * velocity
    rows, columns = update.shape
    matrix = update.T if rows > columns else update
    matrix = matrix / (matrix.norm() + 1e-7)
    for _ in range(5):
        square = matrix @ matrix.T
        matrix = 3.4445 * matrix + (-4.7750 * square + 2.0315 * square @ square) @ matrix
    update = matrix.T if rows > columns else matrix
    parameter -= learning_rate * max(1, rows / columns) ** 0.5 * update
    return parameter


# %% mistake="muon_step" name="kept_outside" says="keep nothing outside the state"
kept = {}


def muon_step(parameter, gradient, state, learning_rate=0.02, momentum=0.95):
    velocity = momentum * kept.get("velocity", 0) + gradient
    state["velocity"] = kept["velocity"] = velocity
    update = gradient + momentum * velocity
    rows, columns = update.shape
    matrix = update.T if rows > columns else update
    matrix = matrix / (matrix.norm() + 1e-7)
    for _ in range(5):
        square = matrix @ matrix.T
        matrix = 3.4445 * matrix + (-4.7750 * square + 2.0315 * square @ square) @ matrix
    update = matrix.T if rows > columns else matrix
    return parameter - learning_rate * max(1, rows / columns) ** 0.5 * update


# %% mistake="muon_step" name="looks_back_one_call" says="V reaches back through all calls"
def muon_step(parameter, gradient, state, learning_rate=0.02, momentum=0.95):
    velocity = momentum * state.get("velocity", 0) + gradient
    state["velocity"] = gradient
    update = gradient + momentum * velocity
    rows, columns = update.shape
    matrix = update.T if rows > columns else update
    matrix = matrix / (matrix.norm() + 1e-7)
    for _ in range(5):
        square = matrix @ matrix.T
        matrix = 3.4445 * matrix + (-4.7750 * square + 2.0315 * square @ square) @ matrix
    update = matrix.T if rows > columns else matrix
    return parameter - learning_rate * max(1, rows / columns) ** 0.5 * update


# %% mistake="muon_step" name="kept_with_the_look_ahead" says="look ahead for this step only"
def muon_step(parameter, gradient, state, learning_rate=0.02, momentum=0.95):
    matrix = gradient + momentum * (momentum * state.get("velocity", 0) + gradient)
    state["velocity"] = matrix
    rows, columns = matrix.shape
    matrix = matrix / (matrix.norm() + 1e-7)
    for _ in range(5):
        square = matrix @ matrix.T
        matrix = 3.4445 * matrix + (-4.7750 * square + 2.0315 * square @ square) @ matrix
    return parameter - learning_rate * max(1, rows / columns) ** 0.5 * matrix


# %% mistake="muon_step" name="momentum_of_orthogonal_steps" says="the update"
def muon_step(parameter, gradient, state, learning_rate=0.02, momentum=0.95):
    rows, columns = gradient.shape
    matrix = gradient / (gradient.norm() + 1e-7)
    for _ in range(5):
        square = matrix @ matrix.T
        matrix = 3.4445 * matrix + (-4.7750 * square + 2.0315 * square @ square) @ matrix
    velocity = momentum * state.get("velocity", 0) + matrix
    state["velocity"] = velocity
    return parameter - learning_rate * max(1, rows / columns) ** 0.5 * (matrix + momentum * velocity) / (1 + momentum)


# %% alternative="muon_step" name="by_the_singular_values"
def muon_step(parameter, gradient, state, learning_rate=0.02, momentum=0.95):
    state["sum"] = gradient + momentum * state.get("sum", torch.zeros_like(gradient))
    left, sizes, right = torch.linalg.svd(gradient + momentum * state["sum"], full_matrices=False)
    sizes = sizes / (sizes.square().sum().sqrt() + 1e-7)
    for _ in range(5):
        sizes = sizes * (3.4445 - 4.7750 * sizes**2 + 2.0315 * sizes**4)
    return parameter - learning_rate * math.sqrt(max(1, len(gradient) / gradient.shape[1])) * left @ (sizes[:, None] * right)


# %% alternative="muon_step" name="averages_and_sixteen_bits"
def muon_step(parameter, gradient, state, learning_rate=0.02, momentum=0.95):
    average = state.setdefault("average", torch.zeros_like(gradient))
    average.lerp_(gradient, 1 - momentum)
    x = gradient.lerp(average, momentum)
    x = (x / (x.norm() + 1e-12)).bfloat16()
    turned = x.size(0) > x.size(1)
    x = x.mT if turned else x
    for _ in range(5):
        a = x @ x.mT
        b = -4.7750 * a + 2.0315 * a @ a
        x = 3.4445 * x + b @ x
    x = (x.mT if turned else x).to(parameter.dtype)
    return torch.add(parameter, x, alpha=-learning_rate * max(1, parameter.size(0) / parameter.size(1)) ** 0.5)


# %% alternative="muon_step" name="the_other_side_in_numpy"
def muon_step(parameter, gradient, state, learning_rate=0.02, momentum=0.95):
    g = gradient.numpy()
    state["v"] = momentum * state["v"] + g if "v" in state else g.copy()
    x = g + momentum * state["v"]
    x = x / (np.sqrt(np.sum(x**2)) + 1e-7)
    for _ in range(5):
        a = x.T @ x
        x = 3.4445 * x - 4.7750 * x @ a + 2.0315 * x @ a @ a
    new = parameter.numpy() - learning_rate * np.sqrt(max(1, x.shape[0] / x.shape[1])) * x
    return torch.from_numpy(new).to(parameter.dtype)


# %% [markdown]
# ## 6. `accumulate_gradients`
#
# *Difficulty 3 of 5, about 20 minutes, 4 points.*
#
# A large batch gives a calmer gradient, and does not fit into the memory. But a gradient is an average over the rows of the batch, and an average can be gathered in parts: send one part forward and backward, let PyTorch add its gradient to what stands in `.grad`,
# forget the part, take the next. Only one part's activations are ever in memory.
#
# $$\frac{1}{B} \sum_{b=1}^{B} \nabla L_b \;=\; \sum_{p} \frac{B_p}{B} \left( \frac{1}{B_p} \sum_{b \in p} \nabla L_b \right)$$
#
# * $B$: rows of the batch; $B_p$: rows of part $p$. In the large brackets is what `loss_function` and `backward()` give for a part, so each part counts by its *share* of the rows, $B_p / B$. If 7 rows are cut into 3 parts, the parts are not equally large.
# * `num_parts` is how many parts there are at most, all about equally large: none has more than $\lceil B / \text{num\_parts} \rceil$ rows. There may be fewer rows than parts.
# * Afterwards the `.grad` of each parameter is the gradient of the mean loss of the whole batch, whatever stood there before. The parameters themselves stay: the step is the optimizer's.
# * The result is the mean loss of the whole batch, a Python number.
#
# By hand: three rows with the losses 1, 2 and 6, whose mean is 3. In the parts (1, 2) and (6) the means are 1.5 and 6, and $\frac23 \cdot 1.5 + \frac13 \cdot 6 = 3$. The plain average of the two would be 3.75: the row that is alone would count twice as much as each of the others.
#
# <details><summary>A nudge</summary>What does <code>backward()</code> do to a <code>.grad</code> that is not empty?</details>
# <details><summary>A push</summary><code>inputs.chunk(num_parts)</code> cuts along the rows, and never gives an empty part. Multiply the loss of a part by its share of the rows before you send it backward: then the gradients are multiplied too.</details>
# <details><summary>Almost there</summary><code>model.zero_grad()</code> first. Then for each pair of parts: <code>loss = loss_function(model(part), wanted) * len(part) / len(inputs)</code>, <code>loss.backward()</code>, and <code>total += loss.item()</code>.</details>


# %% locked="network"
def mean_loss(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Cross entropy, the mean over all places of all rows; logits (batch, time, vocabulary), targets (batch, time)."""
    return functional.cross_entropy(logits.flatten(0, 1), targets.flatten())


class SmallNetwork(torch.nn.Module):
    """A network for the checks, which writes down what it is used for."""

    def __init__(self, seed: int = 0, vocabulary_size: int = 5) -> None:
        super().__init__()
        fresh = torch.Generator().manual_seed(seed)
        self.embedding = torch.nn.Parameter(torch.randn(vocabulary_size, 6, generator=fresh))
        self.matrix = torch.nn.Parameter(torch.randn(vocabulary_size, 6, generator=fresh))
        self.happened: list[tuple[str, int]] = []

    def forward(self, token_ids: torch.Tensor) -> torch.Tensor:
        """Logits (batch, time, vocabulary)."""
        self.happened.append(("forward", len(token_ids)))
        logits = torch.tanh(self.embedding[token_ids]) @ self.matrix.T
        if logits.requires_grad:
            logits.register_hook(lambda slope: self.happened.append(("backward", len(slope))))
        return logits


def squared_loss(logits, targets):
    """Another mean over the rows, for the checks."""
    return (logits.mean(-1) - targets).square().mean()


def left_in_network(accumulate, token_ids, targets, num_parts, seed=0, old=False, squared=False):
    """What a function leaves in a fresh network: its result, the gradients, what happened, and whether weights moved."""
    network = SmallNetwork(seed)
    before = [weight.detach().clone() for weight in network.parameters()]
    if old:
        for weight in network.parameters():
            weight.grad = torch.full_like(weight, 0.5)
    loss = accumulate(network, token_ids, targets, num_parts, squared_loss if squared else mean_loss)
    moved = any(not torch.equal(one, weight) for one, weight in zip(before, network.parameters(), strict=True))
    return loss, [weight.grad for weight in network.parameters()], network.happened, moved


# %% task="accumulate_gradients"
def accumulate_gradients(
    model: torch.nn.Module,
    inputs: torch.Tensor,
    targets: torch.Tensor,
    num_parts: int,
    loss_function: Callable[[torch.Tensor, torch.Tensor], torch.Tensor] = mean_loss,
) -> float:
    """Gather the gradient of a large batch from small parts (about 8 lines).

    Args:
        model: gives logits for inputs; its parameters' `.grad` are what is wanted.
        inputs: token ids, of shape (batch, time).
        targets: of the same shape.
        num_parts: how many parts to make of the batch, at most.
        loss_function: gives the mean loss of a part from its logits and targets.

    Returns:
        The mean loss of the whole batch.

    >>> network, rows = SmallNetwork(), torch.tensor([[0, 1], [2, 3], [4, 0]])
    >>> loss = accumulate_gradients(network, rows, rows, num_parts=2)
    >>> abs(loss - mean_loss(network(rows), rows).item()) < 1e-5
    True
    """
    ### BEGIN SOLUTION
    model.zero_grad()
    total = 0.0
    for part, wanted in zip(inputs.chunk(num_parts), targets.chunk(num_parts), strict=True):
        loss = loss_function(model(part), wanted) * (len(part) / len(inputs))
        loss.backward()
        total += loss.item()
    return total
    ### END SOLUTION


# %% check="accumulate_gradients" points=4
left_by = checks.evaluate("lambda *arguments, **named: left_in_network(accumulate_gradients, *arguments, **named)")


def gradients_of(token_ids, targets, weights, seed=0, squared=False):
    """The gradients of several parts, each times a number: [(rows, number), ...]."""
    network = SmallNetwork(seed)
    loss = sum(number * (squared_loss if squared else mean_loss)(network(token_ids[rows]), targets[rows]) for rows, number in weights)
    loss.backward()
    return [weight.grad for weight in network.parameters()], float(loss.detach())


def cuts(batch, num_parts):
    """Two ways of cutting: all equal but the last, and as even as possible."""
    size = -(-batch // num_parts)
    equal = [slice(start, min(start + size, batch)) for start in range(0, batch, size)]
    ends = np.cumsum([len(part) for part in np.array_split(np.arange(batch), num_parts)]).tolist()
    even = [slice(start, end) for start, end in zip([0, *ends[:-1]], ends, strict=True) if end > start]
    return [equal, even]


def gathered_right(token_ids, targets, num_parts, hint, seed=0, old=False, squared=False):
    given = token_ids.clone(), targets.clone()
    came = checks.run(lambda: left_by(*given, num_parts, seed=seed, old=old, squared=squared), hint=hint)
    checks.unchanged(token_ids, given[0], "the inputs")
    checks.unchanged(targets, given[1], "the targets")
    gathered(came, token_ids, targets, num_parts, hint, seed, old, squared)


def gathered(came, token_ids, targets, num_parts, hint, seed=0, old=False, squared=False):
    loss, gradients, happened, moved = came
    batch, named = len(token_ids), {"seed": seed, "squared": squared}
    rows = [number for what, number in happened if what == "forward"]
    checks.true(len(rows) > 0, "the model was not used")
    most = -(-batch // num_parts)
    checks.true(
        max(rows) <= most,
        f"a part of {max(rows)} rows went through the model at once; {batch} rows in {num_parts} parts are"
        f" {most} at most, and only so many fit into the memory",
    )
    checks.true(
        not any(one == two == "forward" for (one, first), (two, _) in zip(happened, happened[1:], strict=False) if first),
        "the parts went forward together before any went backward: all their activations were in memory at once",
    )
    checks.true(not moved, "the parameters moved: gather the gradient only, the step is the optimizer's")
    checks.true(
        all(torch.is_tensor(gradient) for gradient in gradients),
        "a parameter has no gradient afterwards: send the loss of each part backward",
    )
    whole, right_loss = gradients_of(token_ids, targets, [(slice(None), 1.0)], **named)
    wrongs = []
    for parts in cuts(batch, num_parts):
        share = [(part.stop - part.start) / batch for part in parts]
        for numbers, cause in (
            ([1 / len(parts)] * len(parts), "the small parts were averaged without their sizes: each counts by its share of the rows"),
            ([1 / num_parts] * len(parts), "the small parts were averaged without their sizes: each counts by its share of the rows"),
            ([1.0] * len(parts), "the gradients of the parts were added up as if each were the whole: each counts by its share of the rows"),
            ([batch * one for one in share], "the gradient is that of the sum over the rows, expected that of their mean"),
            ([1 / batch] * len(parts), "the loss of a part is a mean already: multiply it by the part's rows before you divide by those of the batch"),
            ([0.0] * (len(parts) - 1) + [1.0], "only the last part is left: the gradients were cleared between the parts"),
            ([0.0] * (len(parts) - 1) + share[-1:], "only the last part is left: the gradients were cleared between the parts"),
            ([*share[:-1], 0.0], "the last part is left out"),
            ([one / len(parts) for one in share], "the gradient was divided twice: the shares of the parts add up to 1"),
        ):
            wrongs.append((gradients_of(token_ids, targets, list(zip(parts, numbers, strict=True)), **named)[0], cause))
    if old:
        wrongs.append(([gradient + 0.5 for gradient in whole], "what an earlier step had left in .grad is still in it: clear it first"))
    right = torch.cat([gradient.flatten() for gradient in whole])
    nothing = "a part without rows has no loss, its mean is 0 / 0: leave empty parts out"
    checks.true(not any(bool(torch.isnan(gradient).any()) for gradient in gradients), f"a gradient has NaN in it. Likely cause: {nothing}")
    told(
        torch.cat([gradient.flatten() for gradient in gradients]),
        right,
        [(torch.cat([gradient.flatten() for gradient in wrong]), cause) for wrong, cause in wrongs],
        f"the gradients are not those of the whole batch. {hint}",
        rtol=1e-3,
        atol=2e-5,
    )
    checks.true(loss is not None, "got None, expected the mean loss of the batch: a function without `return` gives None")
    checks.true(
        not (torch.is_tensor(loss) and loss.requires_grad),
        "the result is a tensor that still holds the graph of a part in memory: give a number, with .item()",
    )
    loss = float(checks.array(loss, (), "the mean loss of the whole batch, one number"))
    checks.true(not math.isnan(loss), f"the loss is NaN. Likely cause: {nothing}")
    for parts in cuts(batch, num_parts):
        means = [gradients_of(token_ids, targets, [(part, 1.0)], **named)[1] for part in parts]
        for value, cause in (
            (sum(means) / len(means), "the losses of the parts were averaged without their sizes"),
            (sum(means) / num_parts, "the losses of the parts were averaged without their sizes"),
            (sum(means), "the losses of the parts were added up: give their mean"),
            (means[-1], "that is the loss of the last part"),
            (means[-1] * (parts[-1].stop - parts[-1].start) / batch, "that is the share of the last part"),
        ):
            if abs(loss - value) < 1e-5 < abs(right_loss - value) * 0.1:
                checks.close(loss, right_loss, cause, rtol=1e-4)
    checks.close(loss, right_loss, "the mean loss of the whole batch", rtol=1e-4, atol=1e-5)


fresh = torch.Generator().manual_seed(5)
rows, wanted = (torch.randint(5, (7, 4), generator=fresh) for _ in range(2))
gathered_right(rows[:6], wanted[:6], 1, "one part: the whole batch")
gathered_right(rows[:6], wanted[:6], 3, "six rows in three parts")
gathered_right(rows, wanted, 3, "seven rows in three parts, which are not equally large")
gathered_right(rows, wanted, 2, "seven rows in two parts, with an earlier step's gradient still there", old=True)
gathered_right(rows, wanted, 7, "a part for each row")
gathered_right(rows[:2], wanted[:2], 5, "two rows and up to five parts: an empty part has no loss")
gathered_right(rows[:5], wanted[:5], 4, "five rows and up to four parts")
gathered_right(rows, wanted, 3, "another loss: use loss_function", seed=3, squared=True)

### BEGIN HIDDEN TESTS


def parts_inputs(rng):
    batch, time = int(rng.integers(1, 10)), int(rng.integers(1, 5))
    rows, wanted = (torch.from_numpy(rng.integers(0, 5, (batch, time))) for _ in range(2))
    return rows, wanted, int(rng.integers(1, batch + 3)), int(rng.integers(2**31)), bool(rng.random() < 0.5), bool(rng.random() < 0.3)


checks.hidden(
    title="random batches and parts",
    call="lambda rows, wanted, parts, *rest: left_in_network(accumulate_gradients, rows, wanted, parts, *rest)",
    inputs=parts_inputs,
    reference=lambda *arguments: arguments,
    compare=lambda got, given, hint: gathered(got, *given[:3], hint, *given[3:]),
    hint="each part counts by its share of the rows",
    cases=20,
)
### END HIDDEN TESTS

# %%
fresh = torch.Generator().manual_seed(8)
rows = torch.randint(5, (11, 6), generator=fresh)
whole = SmallNetwork()
mean_loss(whole(rows), rows.roll(-1, 1)).backward()
print("parts  largest  loss    difference from the gradient of the whole batch")
for parts in (1, 2, 4, 11):
    network = SmallNetwork()
    loss = accumulate_gradients(network, rows, rows.roll(-1, 1), parts)
    apart = max(float((a.grad - b.grad).abs().max()) for a, b in zip(network.parameters(), whole.parameters(), strict=True))
    print(f"{parts:>5}  {max(size for _, size in network.happened):>7}  {loss:.4f}  {apart:.0e}")

# %% mistake="accumulate_gradients" name="no_sizes" says="the small parts were averaged without their sizes"
def accumulate_gradients(model, inputs, targets, num_parts, loss_function=mean_loss):
    model.zero_grad()
    total = 0.0
    for part, wanted in zip(inputs.chunk(num_parts), targets.chunk(num_parts), strict=True):
        loss = loss_function(model(part), wanted) * (1 / num_parts)
        loss.backward()
        total += loss.item()
    return total


# %% mistake="accumulate_gradients" name="added_up" says="as if each were the whole"
def accumulate_gradients(model, inputs, targets, num_parts, loss_function=mean_loss):
    model.zero_grad()
    total = 0.0
    for part, wanted in zip(inputs.chunk(num_parts), targets.chunk(num_parts), strict=True):
        loss = loss_function(model(part), wanted) * 1
        loss.backward()
        total += loss.item()
    return total


# %% mistake="accumulate_gradients" name="not_cleared" says="what an earlier step had left in .grad"
def accumulate_gradients(model, inputs, targets, num_parts, loss_function=mean_loss):
    total = 0.0
    for part, wanted in zip(inputs.chunk(num_parts), targets.chunk(num_parts), strict=True):
        loss = loss_function(model(part), wanted) * (len(part) / len(inputs))
        loss.backward()
        total += loss.item()
    return total


# %% mistake="accumulate_gradients" name="cleared_each_time" says="only the last part is left"
def accumulate_gradients(model, inputs, targets, num_parts, loss_function=mean_loss):
    total = 0.0
    for part, wanted in zip(inputs.chunk(num_parts), targets.chunk(num_parts), strict=True):
        model.zero_grad()
        loss = loss_function(model(part), wanted) * (len(part) / len(inputs))
        loss.backward()
        total += loss.item()
    return total


# %% mistake="accumulate_gradients" name="backward_at_the_end" says="all their activations were in memory at once"
def accumulate_gradients(model, inputs, targets, num_parts, loss_function=mean_loss):
    model.zero_grad()
    total = 0.0
    for part, wanted in zip(inputs.chunk(num_parts), targets.chunk(num_parts), strict=True):
        loss = loss_function(model(part), wanted) * (len(part) / len(inputs))
        total = total + loss
    total.backward()
    return total.item()


# %% mistake="accumulate_gradients" name="all_at_once" says="rows went through the model at once"
def accumulate_gradients(model, inputs, targets, num_parts, loss_function=mean_loss):
    model.zero_grad()
    total = 0.0
    for part, wanted in zip([inputs], [targets], strict=True):
        loss = loss_function(model(part), wanted) * (len(part) / len(inputs))
        loss.backward()
        total += loss.item()
    return total


# %% mistake="accumulate_gradients" name="num_parts_rows" says="rows went through the model at once"
def accumulate_gradients(model, inputs, targets, num_parts, loss_function=mean_loss):
    model.zero_grad()
    total = 0.0
    for part, wanted in zip(inputs.split(num_parts), targets.split(num_parts), strict=True):
        loss = loss_function(model(part), wanted) * (len(part) / len(inputs))
        loss.backward()
        total += loss.item()
    return total


# %% mistake="accumulate_gradients" name="rest_left_out" says="the last part is left out"
def accumulate_gradients(model, inputs, targets, num_parts, loss_function=mean_loss):
    model.zero_grad()
    total = 0.0
    for part, wanted in zip(inputs.split(-(-len(inputs) // num_parts))[: max(1, len(inputs) // -(-len(inputs) // num_parts))], targets.split(-(-len(inputs) // num_parts))[: max(1, len(inputs) // -(-len(inputs) // num_parts))], strict=True):
        loss = loss_function(model(part), wanted) * (len(part) / len(inputs))
        loss.backward()
        total += loss.item()
    return total


# %% mistake="accumulate_gradients" name="divided_twice" says="the gradient was divided twice"
def accumulate_gradients(model, inputs, targets, num_parts, loss_function=mean_loss):
    model.zero_grad()
    total = 0.0
    for part, wanted in zip(inputs.chunk(num_parts), targets.chunk(num_parts), strict=True):
        loss = loss_function(model(part), wanted) * (len(part) / len(inputs) / num_parts)
        loss.backward()
        total += loss.item()
    return total


# %% mistake="accumulate_gradients" name="also_steps" says="the parameters moved"
def accumulate_gradients(model, inputs, targets, num_parts, loss_function=mean_loss):
    model.zero_grad()
    total = 0.0
    for part, wanted in zip(inputs.chunk(num_parts), targets.chunk(num_parts), strict=True):
        loss = loss_function(model(part), wanted) * (len(part) / len(inputs))
        loss.backward()
        total += loss.item()
    with torch.no_grad():
        for weight in model.parameters():
            weight -= 0.1 * weight.grad
    return total


# %% mistake="accumulate_gradients" name="loss_without_sizes" says="the losses of the parts were averaged without their sizes"
def accumulate_gradients(model, inputs, targets, num_parts, loss_function=mean_loss):
    model.zero_grad()
    total = 0.0
    for part, wanted in zip(inputs.chunk(num_parts), targets.chunk(num_parts), strict=True):
        loss = loss_function(model(part), wanted) * (len(part) / len(inputs))
        loss.backward()
        total += loss.item() * len(inputs) / len(part) / len(inputs.chunk(num_parts))
    return total


# %% mistake="accumulate_gradients" name="last_loss" says="the loss of the last part"
def accumulate_gradients(model, inputs, targets, num_parts, loss_function=mean_loss):
    model.zero_grad()
    total = 0.0
    for part, wanted in zip(inputs.chunk(num_parts), targets.chunk(num_parts), strict=True):
        loss = loss_function(model(part), wanted) * (len(part) / len(inputs))
        loss.backward()
        total = loss.item() * len(inputs) / len(part)
    return total


# %% mistake="accumulate_gradients" name="keeps_the_graph" says="still holds the graph"
def accumulate_gradients(model, inputs, targets, num_parts, loss_function=mean_loss):
    model.zero_grad()
    total = 0.0
    for part, wanted in zip(inputs.chunk(num_parts), targets.chunk(num_parts), strict=True):
        loss = loss_function(model(part), wanted) * (len(part) / len(inputs))
        loss.backward()
        total = total + loss
    return total


# %% mistake="accumulate_gradients" name="empty_part" says="leave empty parts out"
def accumulate_gradients(model, inputs, targets, num_parts, loss_function=mean_loss):
    model.zero_grad()
    total = 0.0
    for part, wanted in zip(inputs.tensor_split(num_parts), targets.tensor_split(num_parts), strict=True):
        loss = loss_function(model(part), wanted) * (len(part) / len(inputs))
        loss.backward()
        total += loss.item()
    return total


# %% mistake="accumulate_gradients" name="own_loss" says="another loss"
def accumulate_gradients(model, inputs, targets, num_parts, loss_function=mean_loss):
    model.zero_grad()
    total = 0.0
    for part, wanted in zip(inputs.chunk(num_parts), targets.chunk(num_parts), strict=True):
        loss = mean_loss(model(part), wanted) * (len(part) / len(inputs))
        loss.backward()
        total += loss.item()
    return total


# %% mistake="accumulate_gradients" name="nothing_returned" says="got None"
def accumulate_gradients(model, inputs, targets, num_parts, loss_function=mean_loss):
    model.zero_grad()
    total = 0.0
    for part, wanted in zip(inputs.chunk(num_parts), targets.chunk(num_parts), strict=True):
        loss = loss_function(model(part), wanted) * (len(part) / len(inputs))
        loss.backward()
        total += loss.item()


# %% alternative="accumulate_gradients" name="even_parts_divided_afterwards"
def accumulate_gradients(model, inputs, targets, num_parts, loss_function=mean_loss):
    for weight in model.parameters():
        weight.grad = None
    batch, losses = len(inputs), []
    for places in np.array_split(np.arange(batch), num_parts):
        if len(places) == 0:
            continue
        loss = len(places) * loss_function(model(inputs[places]), targets[places])
        loss.backward()
        losses.append(loss.detach())
    for weight in model.parameters():
        if weight.grad is not None:
            weight.grad /= batch
    return float(sum(losses)) / batch


# %% alternative="accumulate_gradients" name="torch_autograd_grad"
def accumulate_gradients(model, inputs, targets, num_parts, loss_function=mean_loss):
    weights = list(model.parameters())
    sums, total, size = [torch.zeros_like(weight) for weight in weights], 0.0, math.ceil(len(inputs) / num_parts)
    for start in range(0, len(inputs), size):
        x, y = inputs[start : start + size], targets[start : start + size]
        loss = loss_function(model(x), y)
        for one, slope in zip(sums, torch.autograd.grad(loss, weights), strict=True):
            one += slope * len(x) / len(inputs)
        total += float(loss.detach()) * len(x) / len(inputs)
    for weight, one in zip(weights, sums, strict=True):
        weight.grad = one
    return total


# %% [markdown]
# ## 7. `generate`
#
# *Difficulty 3 of 5, about 20 minutes, 4 points.*
#
# A language model writes one token at a time: it gives logits for the next token, one is drawn, it is put behind the others, and the model reads again. *Temperature* $\tau$ decides how bold the draw is, *top-k* (Fan, Lewis and Dauphin, 2018) leaves only the $k$ best tokens in the game:
#
# $$P(v) = \frac{e^{z_v / \tau}}{\sum_{v'} e^{z_{v'} / \tau}} \quad \text{over the } k \text{ tokens with the largest logits } z$$
#
# * `next_logits(tokens)` gives the logits $z$ of the next token, of shape (vocabulary,), for a list of *all* tokens so far, the prompt and what was written; any of them may be $-\infty$, which is a token that never comes;
# * $\tau$: `temperature`. At 0 there is nothing to draw: the token with the largest logit comes, the first of several that are equal. Below 1 the favourites gain, above 1 the outsiders;
# * $k$: `top_k`; None leaves all in the game, and a number that is larger than the vocabulary too;
# * all that is drawn comes from a generator of your own that begins with `seed`, so that the same call gives the same text again, and nobody else's random numbers change.
#
# Do not collect the tokens: `yield` each one as soon as it is drawn, so that a reader sees the text grow. What comes out is `num_tokens` Python integers, without the prompt. The caller's list stays as it is.
#
# By hand: the logits $(0, \ln 3)$ give the probabilities $\frac14$ and $\frac34$. At $\tau = \frac12$ the logits are doubled: $(0, \ln 9)$, so $\frac1{10}$ and $\frac9{10}$.
#
# <details><summary>A nudge</summary>Which line of your loop makes the model read what it has just written?</details>
# <details><summary>A push</summary>Fill the logits that are not among the k largest with minus infinity. Then one softmax does both: it divides what is left, and gives the others nothing. Dividing by a temperature of 0 is not what its limit means, so treat 0 by itself.</details>
# <details><summary>Almost there</summary>Before the loop: <code>tokens = list(token_ids)</code> and <code>fresh = torch.Generator().manual_seed(seed)</code>. In it: <code>torch.multinomial(torch.softmax(logits / temperature, -1), 1, generator=fresh).item()</code>, then <code>tokens.append(token)</code> and <code>yield token</code>.</details>


# %% locked="speaker"
def by_last_token(table):
    """A model for the checks: the logits are the row of the table that belongs to the last token."""
    return lambda tokens: torch.as_tensor(table)[tokens[-1]]


def spoken(generate, table, token_ids, num_tokens, **named):
    """All tokens that are generated from a table of logits, and whether torch's own random numbers were left alone."""
    torch.manual_seed(11)
    before = torch.get_rng_state()
    tokens = list(generate(by_last_token(table), token_ids, num_tokens, **named))
    return tokens, torch.equal(before, torch.get_rng_state())


# %% task="generate"
def generate(
    next_logits: Callable[[list[int]], torch.Tensor],
    token_ids: list[int],
    num_tokens: int,
    temperature: float = 1.0,
    top_k: int | None = None,
    seed: int = 0,
) -> Iterator[int]:
    """Write on, token by token (about 14 lines).

    Args:
        next_logits: gives the logits of the next token, of shape (vocabulary,), for all tokens so far.
        token_ids: the prompt, one token at least.
        num_tokens: how many to write.
        temperature: 0 takes the likeliest token each time, 1 draws as the model says.
        top_k: how many tokens stay in the game; all if None.
        seed: of the draws.

    Yields:
        The tokens, each as soon as it is drawn.

    >>> def count_up(tokens):
    ...     return torch.tensor([0.0 if v == tokens[-1] + 1 else -math.inf for v in range(10)])
    >>> list(generate(count_up, [3], 4))
    [4, 5, 6, 7]
    """
    ### BEGIN SOLUTION
    tokens = list(token_ids)
    fresh = torch.Generator().manual_seed(seed)
    for _ in range(num_tokens):
        logits = next_logits(tokens)
        if temperature == 0:
            token = int(logits.argmax())
        else:
            if top_k is not None and top_k < len(logits):
                best = logits.topk(top_k).indices
                masked = torch.full_like(logits, -math.inf)
                masked[best] = logits[best]
                logits = masked
            token = int(torch.multinomial(torch.softmax(logits / temperature, -1), 1, generator=fresh))
        tokens.append(token)
        yield token
    ### END SOLUTION


# %% check="generate" points=4
heard = []


def counting(tokens):
    """Counts up, ten tokens; writes down what it was asked."""
    heard.append([int(token) for token in tokens])
    return torch.tensor([2.0 if token == (int(tokens[-1]) + 1) % 10 else -math.inf for token in range(10)])


prompt = [7, 3]
stream = checks.run(lambda: generate(counting, prompt, 4, temperature=0.0), hint="a model that counts up, behind the prompt 7, 3")
checks.true(
    hasattr(stream, "__next__") or hasattr(stream, "__iter__"),
    f"got {checks.show(stream)}, expected an iterator: yield each token as soon as it is drawn",
)
checks.true(
    len(heard) <= 1,
    f"the model was asked {len(heard)} times before the first token came out: yield each token as soon as it is drawn",
)
stream = iter(stream)
came = [checks.run(lambda: next(stream, None), hint="the first token, behind the prompt 7, 3; at temperature 0 nothing is drawn")]
checks.true(came != [7], "the prompt came out again: give only what is new")
checks.true(
    len(heard) == 1,
    f"the model was asked {len(heard)} times before the first token came out: yield each token as soon as it is drawn",
)
checks.true(
    isinstance(came[0], (int, np.integer)) and not isinstance(came[0], bool),
    f"the first token is {checks.show(came[0])}, expected a Python integer, with int(...) or .item()",
)
came += checks.run(lambda: list(stream), hint="all tokens, behind the prompt 7, 3")
checks.equal(
    heard[:2],
    [[7, 3], [7, 3, 4]][: len(heard)],
    "the model reads all tokens so far: the prompt, and behind it what was written",
)
checks.equal(came, [4, 5, 6, 7], "counting up from 3; give only what is new, as many as num_tokens says")
checks.equal(
    heard,
    [[7, 3], [7, 3, 4], [7, 3, 4, 5], [7, 3, 4, 5, 6]],
    "the model is asked once for each token, with all tokens so far",
)
heard.clear()
checks.equal(checks.run(lambda: list(generate(counting, [7], 0))), [], "num_tokens=0: nothing is written")
checks.true(not heard, "num_tokens=0: the model need not be asked")
speak = checks.evaluate("lambda table, prompt, number, **named: spoken(generate, table, prompt, number, **named)")


prompts = checks.evaluate("lambda table, tokens: [list(generate(by_last_token(table), tokens, 3)), tokens][1]")
checks.unchanged([0, 1], checks.run(lambda: prompts(torch.zeros(4, 4), [0, 1])), "the caller's list of tokens")


def said(table, number, hint, prompt=(0,), **named):
    tokens, alone = checks.run(lambda: speak(table, list(prompt), number, **named), hint=hint)
    checks.true(alone, "torch's own random numbers moved: draw from a torch.Generator of your own, with the seed")
    checks.array(tokens, (number,), f"num_tokens integers. {hint}")
    tokens = [int(token) for token in tokens]
    checks.true(all(0 <= token < table.shape[1] for token in tokens), f"{checks.show(tokens)} are not all tokens of the vocabulary")
    return tokens


def shares_of(tokens, vocabulary):
    return np.bincount(tokens, minlength=vocabulary) / len(tokens)


def drawn_right(tokens, probabilities, others, hint):
    """Frequencies within six standard deviations; if they are those of a slip, say which."""

    def like(wanted):
        wanted = np.asarray(wanted, float)
        spread = 6 * np.sqrt(wanted * (1 - wanted) / len(tokens)) + 1e-3
        return bool((np.abs(shares - wanted) <= np.where(wanted > 0, spread, 0)).all())

    shares = shares_of(tokens, len(probabilities))
    never = [token for token, wanted in enumerate(probabilities) if wanted == 0 and shares[token] > 0]
    if like(probabilities):
        return
    cause = next((cause for wrong, cause in others if like(wrong)), hint)
    if shares.max() == 1:
        cause = "the same token came each time: one is drawn, each time anew, from a generator that is made once, before the loop"
    shown = ", ".join(f"{share:.2f}" for share in shares)
    if never and cause == hint:
        cause = f"token {never[0]} can never come, and came. {hint}"
    checks.fail(
        f"of {len(tokens)} draws the tokens have the shares {shown}, expected {', '.join(f'{p:.2f}' for p in probabilities)}."
        f" Likely cause: {cause}"
    )


def softmax(logits):
    exps = np.exp(np.asarray(logits) - np.max(logits))
    return exps / exps.sum()


logits = np.log([0.45, 0.1, 0.15, 0.3])
table = torch.tensor(logits).float().expand(4, 4).contiguous()
drawn_right(
    said(table, 2000, "two thousand draws from the same logits"),
    softmax(logits),
    [
        ([0.25] * 4, "all tokens came equally often: the logits play no part"),
        (softmax(np.exp(logits)), "softmax of probabilities: the logits are given, one softmax is enough"),
        (logits / logits.sum(), "logits are no probabilities: softmax first"),
    ],
    "each token comes as often as its probability says",
)
for temperature, wrong in ((0.5, 2.0), (2.0, 0.5)):
    drawn_right(
        said(table, 2000, f"temperature {temperature}", temperature=temperature),
        softmax(logits / temperature),
        [
            (softmax(logits / wrong), "divide the logits by the temperature, do not multiply: below 1 the favourites gain"),
            (softmax(logits), "the temperature was ignored"),
            (softmax(softmax(logits) / temperature), "the temperature divides the logits, not the probabilities"),
        ],
        "the softmax of the logits, divided by the temperature",
    )
drawn_right(
    said(table, 2000, "top_k=2", top_k=2),
    [0.6, 0, 0, 0.4],
    [
        (softmax(logits), "top_k was ignored"),
        ([0, 0.4, 0.6, 0], "the two worst tokens stayed: the largest logits are the best"),
        ([0.5, 0, 0, 0.5], "the tokens that stay keep their probabilities in proportion: 0.45 to 0.3"),
        ([0.45 / 0.9, 0, 0.15 / 0.9, 0.3 / 0.9], "three tokens stayed, expected two"),
        (softmax([logits[0], 0, 0, logits[3]]), "what is left out gets a logit of minus infinity: a logit of 0 still has exp(0)"),
        ([0.45, 0.1, 0, 0], "the tokens that stay are the likeliest, not the first"),
        ([0.45 / 0.55, 0.1 / 0.55, 0, 0], "the tokens that stay are the likeliest, not the first"),
    ],
    "of four tokens the two likeliest stay, 0.45 to 0.3",
)
drawn_right(
    said(table, 2000, "top_k=3 and temperature 0.5", top_k=3, temperature=0.5),
    softmax([2 * logits[0], -np.inf, 2 * logits[2], 2 * logits[3]]),
    [(softmax([logits[0], -np.inf, logits[2], logits[3]]), "with top_k the temperature was ignored"), (softmax(2 * logits), "with a temperature top_k was ignored")],
    "the three likeliest, at temperature 0.5",
)
for top_k in (4, 50):
    drawn_right(said(table, 2000, f"top_k={top_k} of 4 tokens leaves all", top_k=top_k), softmax(logits), [], f"top_k={top_k} of 4 tokens leaves all")
checks.equal(said(table, 5, "top_k=1", top_k=1), [0] * 5, "with top_k=1 only the likeliest token is left")
chain = torch.tensor([[0.0, 5, 1, 1], [1, 0, 5, 1], [1, 1, 0, 5], [5, 1, 1, 0]])
checks.equal(said(chain, 6, "temperature 0", temperature=0.0), [1, 2, 3, 0, 1, 2], "at temperature 0 the token with the largest logit comes each time")
checks.equal(said(chain, 3, "temperature 0, as an integer", temperature=0), [1, 2, 3], "at temperature 0 the token with the largest logit comes each time")
ties = torch.tensor([[-1.0, 3, 3, 3]]).expand(4, 4).contiguous()
checks.equal(said(ties, 8, "equal logits at temperature 0", temperature=0.0), [1] * 8, "at temperature 0, of equal logits, the first token comes")
checks.equal(said(chain, 6, "temperature 0 and top_k", temperature=0.0, top_k=2), [1, 2, 3, 0, 1, 2], "at temperature 0 top_k changes nothing")
large = torch.tensor([[4000.0, 3000, -5000, -math.inf]]).expand(4, 4).contiguous()
checks.equal(said(large, 5, "logits in the thousands, temperature 0.01", temperature=0.01), [0] * 5, "exp overflows for logits as large as these: torch.softmax subtracts the largest first")
forbidden = torch.tensor([[-math.inf, 0.0, -math.inf, 0.0]]).expand(4, 4).contiguous()
drawn_right(said(forbidden, 400, "two tokens with the logit minus infinity"), [0, 0.5, 0, 0.5], [], "a token whose logit is minus infinity never comes")
drawn_right(said(forbidden, 400, "minus infinity, and top_k=3", top_k=3), [0, 0.5, 0, 0.5], [], "a token whose logit is minus infinity never comes")
one, two = (said(table, 40, "the same seed twice", seed=5) for _ in range(2))
checks.equal(two, one, "the same seed gave another text: all that is drawn comes from a generator that begins with the seed")
checks.true(said(table, 40, "another seed", seed=6) != one, "another seed gave the same text: the seed was ignored")

### BEGIN HIDDEN TESTS


def talk_inputs(rng):
    size = int(rng.integers(2, 7))
    logits = torch.from_numpy(rng.normal(size=size) * rng.choice([0.5, 1.5])).to([torch.float32, torch.float64][rng.integers(2)])
    top_k = None if rng.random() < 0.4 else int(rng.integers(1, size + 2))
    return logits.expand(size, size).contiguous(), int(rng.integers(size)), float(rng.choice([0.5, 1.0, 1.7, rng.uniform(0.3, 3)])), top_k, int(rng.integers(2**31))


def talk_reference(table, start, temperature, top_k, seed):
    logits = table[0].double().numpy()
    order = np.argsort(-logits, kind="stable")[: len(logits) if top_k is None else top_k]
    weights = {int(token): math.exp(logits[token] / temperature) for token in order}
    return [weights.get(token, 0.0) / sum(weights.values()) for token in range(len(logits))]


def talk_near(got, expected, hint):
    tokens, alone = got
    checks.true(alone, "torch's own random numbers moved: draw from a torch.Generator of your own")
    checks.array(tokens, (1500,), hint)
    drawn_right([int(token) for token in tokens], expected, [], hint)


checks.hidden(
    title="random logits, temperatures and top_k",
    call="lambda table, start, temperature, top_k, seed: spoken(generate, table, [start], 1500, temperature=temperature, top_k=top_k, seed=seed)",
    inputs=talk_inputs,
    reference=talk_reference,
    compare=talk_near,
    hint="the softmax of the logits of the top_k best tokens, divided by the temperature",
    cases=10,
)


def walk_reference(table, prompt, number):
    tokens = list(prompt)
    for _ in range(number):
        row = table[tokens[-1]].tolist()
        tokens.append(row.index(max(row)))
    return tokens[len(prompt) :]


checks.hidden(
    title="random tables at temperature 0",
    call="lambda table, prompt, number: list(generate(by_last_token(table), prompt, number, temperature=0.0))",
    inputs=lambda rng: (torch.from_numpy(rng.integers(0, 4, (6, 6)).astype(float)), rng.integers(0, 6, int(rng.integers(1, 5))).tolist(), int(rng.integers(0, 12))),
    reference=walk_reference,
    compare=checks.equal,
    hint="the token with the largest logit, the first of several, behind all tokens so far",
    cases=12,
)
### END HIDDEN TESTS

# %%
from bow2gpt import corpus

letters = [letter for letter in corpus.addresses("train")[0].text.lower() if letter.isalpha() or letter == " "]
alphabet = sorted(set(letters))
places = [alphabet.index(letter) for letter in letters]
counts = torch.full((len(alphabet), len(alphabet)), 0.01)
for one, two in zip(places, places[1:], strict=False):
    counts[one, two] += 1
start = [alphabet.index(letter) for letter in "the "]
for settings in ({"temperature": 0.0}, {"temperature": 0.5}, {"temperature": 1.0}, {"temperature": 1.0, "top_k": 3}, {"temperature": 2.0}):
    text = "".join(alphabet[token] for token in generate(by_last_token(counts.log()), start, 48, seed=1, **settings))
    print(", ".join(f"{name} {value}" for name, value in settings.items()).ljust(24), repr("the " + text))

# %% mistake="generate" name="collected_first" says="times before the first token came out"
def generate(next_logits, token_ids, num_tokens, temperature=1.0, top_k=None, seed=0):
    tokens = list(token_ids)
    fresh = torch.Generator().manual_seed(seed)
    written = []
    for _ in range(num_tokens):
        logits = next_logits(tokens)
        if temperature == 0:
            token = int(logits.argmax())
        else:
            if top_k is not None and top_k < len(logits):
                logits = logits.masked_fill(logits < logits.topk(top_k).values[-1], -math.inf)
            token = int(torch.multinomial(torch.softmax(logits / temperature, -1), 1, generator=fresh))
        tokens.append(token)
        written.append(token)
    yield from written


# %% mistake="generate" name="a_list" says="times before the first token came out"
def generate(next_logits, token_ids, num_tokens, temperature=1.0, top_k=None, seed=0):
    tokens = list(token_ids)
    fresh = torch.Generator().manual_seed(seed)
    for _ in range(num_tokens):
        logits = next_logits(tokens)
        if temperature == 0:
            token = int(logits.argmax())
        else:
            if top_k is not None and top_k < len(logits):
                logits = logits.masked_fill(logits < logits.topk(top_k).values[-1], -math.inf)
            token = int(torch.multinomial(torch.softmax(logits / temperature, -1), 1, generator=fresh))
        tokens.append(token)
    return tokens[len(token_ids) :]


# %% mistake="generate" name="only_the_last_token" says="the model reads all tokens so far"
def generate(next_logits, token_ids, num_tokens, temperature=1.0, top_k=None, seed=0):
    tokens = list(token_ids)
    fresh = torch.Generator().manual_seed(seed)
    for _ in range(num_tokens):
        logits = next_logits(tokens[-1:])
        if temperature == 0:
            token = int(logits.argmax())
        else:
            if top_k is not None and top_k < len(logits):
                logits = logits.masked_fill(logits < logits.topk(top_k).values[-1], -math.inf)
            token = int(torch.multinomial(torch.softmax(logits / temperature, -1), 1, generator=fresh))
        tokens.append(token)
        yield token


# %% mistake="generate" name="only_the_prompt" says="the model reads all tokens so far"
def generate(next_logits, token_ids, num_tokens, temperature=1.0, top_k=None, seed=0):
    tokens = list(token_ids)
    fresh = torch.Generator().manual_seed(seed)
    for _ in range(num_tokens):
        logits = next_logits(list(token_ids))
        if temperature == 0:
            token = int(logits.argmax())
        else:
            if top_k is not None and top_k < len(logits):
                logits = logits.masked_fill(logits < logits.topk(top_k).values[-1], -math.inf)
            token = int(torch.multinomial(torch.softmax(logits / temperature, -1), 1, generator=fresh))
        tokens.append(token)
        yield token


# %% mistake="generate" name="with_the_prompt" says="the prompt came out again"
def generate(next_logits, token_ids, num_tokens, temperature=1.0, top_k=None, seed=0):
    tokens = list(token_ids)
    fresh = torch.Generator().manual_seed(seed)
    yield from tokens
    for _ in range(num_tokens):
        logits = next_logits(tokens)
        if temperature == 0:
            token = int(logits.argmax())
        else:
            if top_k is not None and top_k < len(logits):
                logits = logits.masked_fill(logits < logits.topk(top_k).values[-1], -math.inf)
            token = int(torch.multinomial(torch.softmax(logits / temperature, -1), 1, generator=fresh))
        tokens.append(token)
        yield token


# %% mistake="generate" name="callers_list" says="changed the caller"
def generate(next_logits, token_ids, num_tokens, temperature=1.0, top_k=None, seed=0):
    tokens = token_ids
    fresh = torch.Generator().manual_seed(seed)
    for _ in range(num_tokens):
        logits = next_logits(tokens)
        if temperature == 0:
            token = int(logits.argmax())
        else:
            if top_k is not None and top_k < len(logits):
                logits = logits.masked_fill(logits < logits.topk(top_k).values[-1], -math.inf)
            token = int(torch.multinomial(torch.softmax(logits / temperature, -1), 1, generator=fresh))
        tokens.append(token)
        yield token


# %% mistake="generate" name="always_the_best" says="the same token came each time"
def generate(next_logits, token_ids, num_tokens, temperature=1.0, top_k=None, seed=0):
    tokens = list(token_ids)
    fresh = torch.Generator().manual_seed(seed)
    for _ in range(num_tokens):
        logits = next_logits(tokens)
        if temperature >= 0:
            token = int(logits.argmax())
        else:
            if top_k is not None and top_k < len(logits):
                logits = logits.masked_fill(logits < logits.topk(top_k).values[-1], -math.inf)
            token = int(torch.multinomial(torch.softmax(logits / temperature, -1), 1, generator=fresh))
        tokens.append(token)
        yield token


# %% mistake="generate" name="temperature_multiplies" says="divide the logits by the temperature, do not multiply"
def generate(next_logits, token_ids, num_tokens, temperature=1.0, top_k=None, seed=0):
    tokens = list(token_ids)
    fresh = torch.Generator().manual_seed(seed)
    for _ in range(num_tokens):
        logits = next_logits(tokens)
        if temperature == 0:
            token = int(logits.argmax())
        else:
            if top_k is not None and top_k < len(logits):
                logits = logits.masked_fill(logits < logits.topk(top_k).values[-1], -math.inf)
            token = int(torch.multinomial(torch.softmax(logits * temperature, -1), 1, generator=fresh))
        tokens.append(token)
        yield token


# %% mistake="generate" name="temperature_on_probabilities" says="one softmax is enough"
def generate(next_logits, token_ids, num_tokens, temperature=1.0, top_k=None, seed=0):
    tokens = list(token_ids)
    fresh = torch.Generator().manual_seed(seed)
    for _ in range(num_tokens):
        logits = next_logits(tokens)
        if temperature == 0:
            token = int(logits.argmax())
        else:
            if top_k is not None and top_k < len(logits):
                logits = logits.masked_fill(logits < logits.topk(top_k).values[-1], -math.inf)
            token = int(torch.multinomial(torch.softmax(torch.softmax(logits, -1) / temperature, -1), 1, generator=fresh))
        tokens.append(token)
        yield token


# %% mistake="generate" name="temperature_zero_divides" says="your code raised"
def generate(next_logits, token_ids, num_tokens, temperature=1.0, top_k=None, seed=0):
    tokens = list(token_ids)
    fresh = torch.Generator().manual_seed(seed)
    for _ in range(num_tokens):
        logits = next_logits(tokens)
        if False:
            token = int(logits.argmax())
        else:
            if top_k is not None and top_k < len(logits):
                logits = logits.masked_fill(logits < logits.topk(top_k).values[-1], -math.inf)
            token = int(torch.multinomial(torch.softmax(logits / temperature, -1), 1, generator=fresh))
        tokens.append(token)
        yield token


# %% mistake="generate" name="top_k_ignored" says="top_k was ignored"
def generate(next_logits, token_ids, num_tokens, temperature=1.0, top_k=None, seed=0):
    tokens = list(token_ids)
    fresh = torch.Generator().manual_seed(seed)
    for _ in range(num_tokens):
        logits = next_logits(tokens)
        if temperature == 0:
            token = int(logits.argmax())
        else:
            if top_k is not None and top_k < 0:
                logits = logits.masked_fill(logits < logits.topk(top_k).values[-1], -math.inf)
            token = int(torch.multinomial(torch.softmax(logits / temperature, -1), 1, generator=fresh))
        tokens.append(token)
        yield token


# %% mistake="generate" name="top_k_one_more" says="three tokens stayed, expected two"
def generate(next_logits, token_ids, num_tokens, temperature=1.0, top_k=None, seed=0):
    tokens = list(token_ids)
    fresh = torch.Generator().manual_seed(seed)
    for _ in range(num_tokens):
        logits = next_logits(tokens)
        if temperature == 0:
            token = int(logits.argmax())
        else:
            if top_k is not None and top_k < len(logits):
                logits = logits.masked_fill(logits < logits.topk(min(top_k + 1, len(logits))).values[-1], -math.inf)
            token = int(torch.multinomial(torch.softmax(logits / temperature, -1), 1, generator=fresh))
        tokens.append(token)
        yield token


# %% mistake="generate" name="top_k_zeros" says="a logit of 0 still has exp(0)"
def generate(next_logits, token_ids, num_tokens, temperature=1.0, top_k=None, seed=0):
    tokens = list(token_ids)
    fresh = torch.Generator().manual_seed(seed)
    for _ in range(num_tokens):
        logits = next_logits(tokens)
        if temperature == 0:
            token = int(logits.argmax())
        else:
            if top_k is not None and top_k < len(logits):
                logits = logits.masked_fill(logits < logits.topk(top_k).values[-1], 0.0)
            token = int(torch.multinomial(torch.softmax(logits / temperature, -1), 1, generator=fresh))
        tokens.append(token)
        yield token


# %% mistake="generate" name="top_k_too_large" says="leaves all"
def generate(next_logits, token_ids, num_tokens, temperature=1.0, top_k=None, seed=0):
    tokens = list(token_ids)
    fresh = torch.Generator().manual_seed(seed)
    for _ in range(num_tokens):
        logits = next_logits(tokens)
        if temperature == 0:
            token = int(logits.argmax())
        else:
            if top_k is not None:
                logits = logits.masked_fill(logits < logits.topk(top_k).values[-1], -math.inf)
            token = int(torch.multinomial(torch.softmax(logits / temperature, -1), 1, generator=fresh))
        tokens.append(token)
        yield token


# %% mistake="generate" name="global_generator" says="torch's own random numbers moved"
def generate(next_logits, token_ids, num_tokens, temperature=1.0, top_k=None, seed=0):
    tokens = list(token_ids)
    torch.manual_seed(seed)
    for _ in range(num_tokens):
        logits = next_logits(tokens)
        if temperature == 0:
            token = int(logits.argmax())
        else:
            if top_k is not None and top_k < len(logits):
                logits = logits.masked_fill(logits < logits.topk(top_k).values[-1], -math.inf)
            token = int(torch.multinomial(torch.softmax(logits / temperature, -1), 1))
        tokens.append(token)
        yield token


# %% mistake="generate" name="no_seed" says="the same seed gave another text"
def generate(next_logits, token_ids, num_tokens, temperature=1.0, top_k=None, seed=0):
    tokens = list(token_ids)
    fresh = torch.Generator()
    fresh.seed()
    for _ in range(num_tokens):
        logits = next_logits(tokens)
        if temperature == 0:
            token = int(logits.argmax())
        else:
            if top_k is not None and top_k < len(logits):
                logits = logits.masked_fill(logits < logits.topk(top_k).values[-1], -math.inf)
            token = int(torch.multinomial(torch.softmax(logits / temperature, -1), 1, generator=fresh))
        tokens.append(token)
        yield token


# %% mistake="generate" name="fixed_seed" says="the seed was ignored"
def generate(next_logits, token_ids, num_tokens, temperature=1.0, top_k=None, seed=0):
    tokens = list(token_ids)
    fresh = torch.Generator().manual_seed(0)
    for _ in range(num_tokens):
        logits = next_logits(tokens)
        if temperature == 0:
            token = int(logits.argmax())
        else:
            if top_k is not None and top_k < len(logits):
                logits = logits.masked_fill(logits < logits.topk(top_k).values[-1], -math.inf)
            token = int(torch.multinomial(torch.softmax(logits / temperature, -1), 1, generator=fresh))
        tokens.append(token)
        yield token


# %% mistake="generate" name="seeded_for_each_token" says="the same token came each time"
def generate(next_logits, token_ids, num_tokens, temperature=1.0, top_k=None, seed=0):
    tokens = list(token_ids)
    for _ in range(num_tokens):
        fresh = torch.Generator().manual_seed(seed)
        logits = next_logits(tokens)
        if temperature == 0:
            token = int(logits.argmax())
        else:
            if top_k is not None and top_k < len(logits):
                logits = logits.masked_fill(logits < logits.topk(top_k).values[-1], -math.inf)
            token = int(torch.multinomial(torch.softmax(logits / temperature, -1), 1, generator=fresh))
        tokens.append(token)
        yield token


# %% mistake="generate" name="one_too_few" says="as many as num_tokens says"
def generate(next_logits, token_ids, num_tokens, temperature=1.0, top_k=None, seed=0):
    tokens = list(token_ids)
    fresh = torch.Generator().manual_seed(seed)
    for _ in range(num_tokens - 1):
        logits = next_logits(tokens)
        if temperature == 0:
            token = int(logits.argmax())
        else:
            if top_k is not None and top_k < len(logits):
                logits = logits.masked_fill(logits < logits.topk(top_k).values[-1], -math.inf)
            token = int(torch.multinomial(torch.softmax(logits / temperature, -1), 1, generator=fresh))
        tokens.append(token)
        yield token


# %% mistake="generate" name="tensors" says="expected a Python integer"
def generate(next_logits, token_ids, num_tokens, temperature=1.0, top_k=None, seed=0):
    tokens = list(token_ids)
    fresh = torch.Generator().manual_seed(seed)
    for _ in range(num_tokens):
        logits = next_logits(tokens)
        if temperature == 0:
            token = int(logits.argmax())
        else:
            if top_k is not None and top_k < len(logits):
                logits = logits.masked_fill(logits < logits.topk(top_k).values[-1], -math.inf)
            token = int(torch.multinomial(torch.softmax(logits / temperature, -1), 1, generator=fresh))
        tokens.append(token)
        yield torch.tensor(token)


# %% alternative="generate" name="cumulated_in_numpy"
def generate(next_logits, token_ids, num_tokens, temperature=1.0, top_k=None, seed=0):
    rng = np.random.default_rng(seed)
    written = []
    while len(written) < num_tokens:
        logits = np.asarray(next_logits([*token_ids, *written]), dtype=float)
        if temperature == 0:
            written.append(int(np.argmax(logits)))
        else:
            order = np.argsort(-logits, kind="stable")[:top_k]
            weights = np.exp((logits[order] - logits[order[0]]) / temperature)
            written.append(int(order[np.searchsorted(np.cumsum(weights), rng.random() * weights.sum(), side="right")]))
        yield written[-1]


# %% alternative="generate" name="a_class_with_next"
class Writer:
    def __init__(self, next_logits, tokens, left, temperature, top_k, seed):
        self.next_logits, self.tokens, self.left = next_logits, tokens, left
        self.temperature, self.top_k = temperature, top_k
        self.fresh = torch.Generator().manual_seed(seed)

    def __iter__(self):
        return self

    def __next__(self):
        if self.left <= 0:
            raise StopIteration
        self.left -= 1
        logits = self.next_logits(list(self.tokens)).double()
        k = min(self.top_k or len(logits), len(logits))
        if self.temperature == 0:
            token = logits.tolist().index(max(logits.tolist()))
        else:
            values, places = logits.topk(k)
            token = places[torch.multinomial((values / self.temperature).softmax(0), 1, generator=self.fresh)].item()
        self.tokens.append(token)
        return token


def generate(next_logits, token_ids, num_tokens, temperature=1.0, top_k=None, seed=0):
    return Writer(next_logits, [*token_ids], num_tokens, temperature, top_k, seed)


# %% alternative="generate" name="by_gumbel_noise"
def generate(next_logits, token_ids, num_tokens, temperature=1.0, top_k=None, seed=0):
    tokens, fresh = [*token_ids], torch.Generator()
    fresh.manual_seed(seed)
    for _ in range(num_tokens):
        logits = next_logits(tokens)
        if top_k is not None and 0 < top_k < logits.numel():
            worst = torch.sort(logits, stable=True, descending=True).indices[top_k:]
            logits = logits.index_fill(0, worst, -torch.inf)
        if temperature > 0:
            noise = -torch.log(-torch.log(torch.rand(len(logits), generator=fresh, dtype=torch.float64).clamp_min(1e-300)))
            logits = logits.double() / temperature + noise
        tokens = tokens + [logits.argmax().item()]
        yield tokens[-1]


# %% [markdown]
# ## 8. `top_p_filter`
#
# *Difficulty 3 of 5, about 15 minutes, 3 points.*
#
# How many tokens are worth considering? After "the cat sat on the" a few, after "she said" hundreds, so a fixed number $k$ is always wrong somewhere. *Top-p*, or nucleus sampling (Holtzman et al., 2020), lets the probabilities decide: sort the tokens by probability, the likeliest first, and
# keep the smallest number of them whose probabilities add up to $p$ or more. All others get the logit $-\infty$.
#
# $$\text{keep } v_{(1)}, \dots, v_{(n)} \quad \text{with the smallest } n \text{ for which} \quad P(v_{(1)}) + \dots + P(v_{(n)}) \ge p$$
#
# * $P$: the softmax of `logits` along its last axis, of shape (..., vocabulary); each row is filtered by itself;
# * the token with which the sum crosses $p$ stays: without it, the sum would be too small. So the likeliest token always stays, even with $p = 0$, and with $p = 1$ all of them do;
# * of tokens that are equally likely, those with the smaller id stay first;
# * the logits that stay keep their values, the shape and the dtype; the tensor that came in does not change. Tokens that had $-\infty$ before have it still.
#
# By hand: the probabilities are $0.5, 0.3, 0.15, 0.05$ and $p = 0.7$. The first token has 0.5, too little; the first two have 0.8, enough: two stay. With $p = 0.9$ three stay.
#
# <details><summary>A nudge</summary>Of each token, what must the sum <em>before</em> it be for the token to stay?</details>
# <details><summary>A push</summary><code>torch.sort(..., descending=True, stable=True)</code> gives the values and where they stood; <code>cumsum(-1)</code> adds up. The sum before a token is the sum up to it minus its own probability. A token stays if that is below p.</details>
# <details><summary>Almost there</summary>You then know which <em>ranks</em> go. <code>torch.zeros_like(sorted_goes).scatter(-1, order, sorted_goes)</code> brings the truth values back to the places where the tokens stood; then <code>logits.masked_fill(goes, -math.inf)</code>. The first rank never goes.</details>


# %% task="top_p_filter"
def top_p_filter(logits: torch.Tensor, p: float) -> torch.Tensor:
    """Keep the likeliest tokens that together reach the probability p (about 7 lines).

    Args:
        logits: of shape (..., vocabulary).
        p: from 0 to 1.

    Returns:
        The logits, with minus infinity for all tokens that are not kept.

    >>> top_p_filter(torch.tensor([0.5, 0.3, 0.15, 0.05]).log(), 0.7)
    tensor([-0.6931, -1.2040,    -inf,    -inf])
    """
    ### BEGIN SOLUTION
    probabilities = torch.softmax(logits, dim=-1)
    ordered, order = torch.sort(probabilities, dim=-1, descending=True, stable=True)
    goes = (ordered.cumsum(-1) - ordered >= p) & (p < 1)  # the sum before the token is enough already
    goes[..., 0] = False
    return logits.masked_fill(torch.zeros_like(goes).scatter(-1, order, goes), -math.inf)
    ### END SOLUTION


# %% check="top_p_filter" points=3
def kept_of(logits, p, hint):
    given = logits.clone()
    result = checks.run(lambda: top_p_filter(given, p), hint=hint)
    checks.unchanged(logits, given, "the logits")
    return whole_rows(tensor_of(result, logits.shape, logits.dtype, f"(..., vocabulary), like the logits. {hint}"), logits, hint)


def whole_rows(result, logits, hint):
    """Which tokens stay, if those that do keep their logits and the others have minus infinity."""
    kept = result > -math.inf
    checks.true(not bool(torch.isnan(result).any()), f"the result has a NaN in it. Likely cause: {hint}")
    if not bool(kept.any(-1).all()):
        checks.fail("the filter kept nothing: the likeliest token always stays")
    if torch.allclose(result.double(), torch.softmax(logits.double(), -1) * (result != 0), atol=1e-5) and not bool(torch.isinf(result).any()):
        checks.fail("the result is probabilities: give the logits, with minus infinity where a token goes")
    if bool(((result == 0) & (logits != 0)).any()):
        checks.fail("a token that goes gets a logit of minus infinity: a logit of 0 still has exp(0)")
    if bool((kept & (result < -1e3) & (logits > -1e2)).any()):
        checks.fail("a token that goes gets a logit of minus infinity, not just a low one")
    checks.close(torch.where(kept, result, 0), torch.where(kept, logits, 0), "the tokens that stay keep their logits, at their places", rtol=1e-5, atol=1e-6)
    return kept


def filtered(probabilities, p, stay, hint, others=()):
    came = kept_of(torch.tensor(probabilities).log(), p, hint).nonzero()[:, 0].tolist()
    for other, cause in others:
        if came == other:
            checks.fail(f"of the probabilities {probabilities} and p = {p} the tokens {came} stay, expected {stay}. Likely cause: {cause}")
    checks.true(came == stay, f"of the probabilities {probabilities} and p = {p} the tokens {came} stay, expected {stay}. Likely cause: {hint}")


crossing = "the token that crosses p was left out: without it the sum is too small"
filtered(
    [0.5, 0.3, 0.15, 0.05], 0.7, [0, 1], "0.5 is too little, 0.5 + 0.3 is enough",
    [
        ([0], crossing),
        ([0, 1, 2], "one token too many stays: with 0.5 and 0.3 the sum has reached 0.7"),
        ([0, 1, 2, 3], "nothing was filtered"),
        ([2, 3], "the wrong tokens go: those that reach p stay"),
        ([1, 2, 3], "sort from the likeliest down: the sum begins with the likeliest token"),
    ],
)  # fmt: skip
filtered(
    [0.05, 0.3, 0.5, 0.15], 0.7, [1, 2], "the tokens 2 and 1 have 0.8 together",
    [
        ([0, 1], "what is known of the ranks must go back to the places where the tokens stood: the likeliest is token 2 here"),
        ([0, 1, 2], "sort from the likeliest down, before adding up"),
        ([2], crossing),
        ([0, 2, 3], "sort from the likeliest down, and bring the ranks back to the places of the tokens"),
        ([2, 3], "what is known of the ranks must go back to the places where the tokens stood"),
        ([0, 3], "the wrong tokens go: those that reach p stay"),
        ([1, 3], "what is known of the ranks must go back to the places where the tokens stood: scatter, not gather"),
    ],
)  # fmt: skip
filtered([0.15, 0.5, 0.05, 0.3], 0.4, [1], "the likeliest token has enough alone", [([], crossing), ([1, 3], "one token too many stays: the likeliest has enough alone")])
filtered([0.15, 0.5, 0.05, 0.3], 0.9, [0, 1, 3], "0.5 + 0.3 is too little, 0.95 is enough", [([1, 3], crossing), ([0, 1, 2, 3], "one token too many stays")])
filtered([0.15, 0.5, 0.05, 0.3], 0.99, [0, 1, 2, 3], "all four are needed", [([0, 1, 3], crossing)])
filtered([0.3, 0.3, 0.2, 0.2], 0.25, [0], "of two tokens that are equally likely the first stays", [([0, 1], "p is the sum that is wanted, not the least probability"), ([1], "of tokens that are equally likely, those with the smaller id stay first")])
filtered([0.25, 0.25, 0.25, 0.25], 0.5, [0, 1], "a sum of exactly p is enough; of equal tokens the first stay", [([0, 1, 2], "a sum of exactly p is enough"), ([2, 3], "of tokens that are equally likely, those with the smaller id stay first")])
filtered([0.1, 0.6, 0.3], 0.0, [1], "with p = 0 the likeliest token stays")
filtered([0.1, 0.6, 0.3], 1.0, [0, 1, 2], "with p = 1 all tokens stay")
row = torch.tensor([4.0, 1.0, 3.0, -2.0])
kept = kept_of(row, 0.8, "logits need not be logarithms of probabilities: softmax first")
checks.equal(kept, [True, False, True, False], "P is the softmax of the logits: here 0.71, 0.04, 0.26 and 0.00")
many = torch.tensor([[[0.5, 0.3, 0.2], [0.2, 0.1, 0.7]], [[0.1, 0.1, 0.8], [0.3, 0.4, 0.3]]], dtype=torch.float64).log()
kept = kept_of(many, 0.6, "four rows, in a tensor of shape (2, 2, 3): each is filtered by itself")
checks.equal(
    kept,
    [[[True, True, False], [False, False, True]], [[False, False, True], [True, True, False]]],
    "each row is filtered by itself, along the last axis",
)
banned = torch.tensor([-math.inf, 1.0, -math.inf, 1.0])
checks.equal(kept_of(banned, 0.9, "tokens that had minus infinity before"), [False, True, False, True], "a token that had minus infinity before has it still")
checks.equal(kept_of(torch.tensor([[2.0]]), 0.5, "a vocabulary of one token"), [[True]], "a vocabulary of one token: it stays")
wide = torch.tensor([800.0, 799.0, -900.0])
checks.equal(kept_of(wide, 0.9, "logits in the hundreds"), [True, True, False], "exp overflows for logits as large as these: torch.softmax subtracts the largest first")

### BEGIN HIDDEN TESTS


def nucleus_inputs(rng):
    while True:
        lead = [(), (1,), (3,), (2, 2)][rng.integers(4)]
        vocabulary = int(rng.integers(1, 9))
        logits = rng.normal(size=(*lead, vocabulary)) * rng.choice([0.5, 2.0]) + rng.choice([0.0, 50.0])
        p = float(rng.choice([0.0, 1.0, rng.random(), rng.random(), 0.95]))
        sums = np.sort(np.exp(logits - logits.max(-1, keepdims=True)), axis=-1)[..., ::-1]
        sums = np.cumsum(sums, -1) / sums.sum(-1, keepdims=True)
        if p in (0.0, 1.0) or np.abs(sums - p).min() > 1e-3:  # a sum so near p may fall to either side
            return torch.from_numpy(logits).to([torch.float32, torch.float64][rng.integers(2)]), p


def nucleus_reference(logits, p):
    flat = logits.double().reshape(-1, logits.shape[-1]).numpy()
    kept = np.zeros(flat.shape, bool)
    for row, scores in enumerate(flat):
        exps = [math.exp(score - max(scores)) for score in scores]
        total = 0.0
        for token in sorted(range(len(exps)), key=lambda token, exps=exps: (-exps[token], token)):
            kept[row, token] = True
            total += exps[token] / math.fsum(exps)
            if total >= p and p < 1:
                break
    return logits, torch.from_numpy(kept).reshape(logits.shape)


def nucleus_near(got, expected, hint):
    logits, right = expected
    kept = whole_rows(tensor_of(got, logits.shape, logits.dtype, "(..., vocabulary)"), logits, hint)
    checks.equal(kept, right, hint)


checks.hidden(
    title="random logits and p",
    call="top_p_filter",
    inputs=nucleus_inputs,
    reference=nucleus_reference,
    compare=nucleus_near,
    hint="the smallest number of the likeliest tokens whose probabilities add up to p or more",
    cases=40,
)
### END HIDDEN TESTS

# %%
from bow2gpt import corpus

letters = [letter for letter in corpus.addresses("train")[0].text.lower() if letter.isalpha() or letter == " "]
alphabet = sorted(set(letters))
counts = torch.full((len(alphabet), len(alphabet)), 0.01)
for one, two in zip(letters, letters[1:], strict=False):
    counts[alphabet.index(one), alphabet.index(two)] += 1
for p in (0.5, 0.9):
    for letter in "qfe ":
        filtered_row = top_p_filter(counts[alphabet.index(letter)].log(), p)
        stay = [alphabet[token] for token in (filtered_row > -math.inf).nonzero()[:, 0].tolist()]
        print(f"p = {p}, after {letter!r}: {len(stay):>2} letters stay,", repr("".join(stay)))

# %% mistake="top_p_filter" name="crossing_left_out" says="the token that crosses p was left out"
def top_p_filter(logits, p):
    probabilities = torch.softmax(logits, dim=-1)
    ordered, order = torch.sort(probabilities, dim=-1, descending=True, stable=True)
    goes = ordered.cumsum(-1) > p
    if p >= 1:
        goes = torch.zeros_like(goes)
    goes[..., 0] = False
    return logits.masked_fill(torch.zeros_like(goes).scatter(-1, order, goes), -math.inf)


# %% mistake="top_p_filter" name="kept_nothing" says="the filter kept nothing"
def top_p_filter(logits, p):
    probabilities = torch.softmax(logits, dim=-1)
    ordered, order = torch.sort(probabilities, dim=-1, descending=True, stable=True)
    goes = ordered.cumsum(-1) - ordered >= p
    if p >= 1:
        goes = torch.zeros_like(goes)
    return logits.masked_fill(torch.zeros_like(goes).scatter(-1, order, goes), -math.inf)


# %% mistake="top_p_filter" name="one_too_many" says="one token too many stays"
def top_p_filter(logits, p):
    probabilities = torch.softmax(logits, dim=-1)
    ordered, order = torch.sort(probabilities, dim=-1, descending=True, stable=True)
    goes = ordered.cumsum(-1).roll(1, -1) - ordered.roll(1, -1) >= p
    if p >= 1:
        goes = torch.zeros_like(goes)
    goes[..., 0] = False
    return logits.masked_fill(torch.zeros_like(goes).scatter(-1, order, goes), -math.inf)


# %% mistake="top_p_filter" name="not_brought_back" says="what is known of the ranks must go back"
def top_p_filter(logits, p):
    probabilities = torch.softmax(logits, dim=-1)
    ordered, order = torch.sort(probabilities, dim=-1, descending=True, stable=True)
    goes = ordered.cumsum(-1) - ordered >= p
    if p >= 1:
        goes = torch.zeros_like(goes)
    goes[..., 0] = False
    return logits.masked_fill(goes, -math.inf)


# %% mistake="top_p_filter" name="gathered_back" says="what is known of the ranks must go back"
def top_p_filter(logits, p):
    probabilities = torch.softmax(logits, dim=-1)
    ordered, order = torch.sort(probabilities, dim=-1, descending=True, stable=True)
    goes = ordered.cumsum(-1) - ordered >= p
    if p >= 1:
        goes = torch.zeros_like(goes)
    goes[..., 0] = False
    return logits.masked_fill(goes.gather(-1, order), -math.inf)


# %% mistake="top_p_filter" name="ascending" says="stay, expected [0, 1]"
def top_p_filter(logits, p):
    probabilities = torch.softmax(logits, dim=-1)
    ordered, order = torch.sort(probabilities, dim=-1, stable=True)
    goes = ordered.cumsum(-1) - ordered >= p
    if p >= 1:
        goes = torch.zeros_like(goes)
    goes[..., 0] = False
    return logits.masked_fill(torch.zeros_like(goes).scatter(-1, order, goes), -math.inf)


# %% mistake="top_p_filter" name="unsorted" says="sort from the likeliest down"
def top_p_filter(logits, p):
    probabilities = torch.softmax(logits, dim=-1)
    ordered, order = probabilities, torch.arange(logits.shape[-1]).expand(logits.shape)
    goes = ordered.cumsum(-1) - ordered >= p
    if p >= 1:
        goes = torch.zeros_like(goes)
    goes[..., 0] = False
    return logits.masked_fill(torch.zeros_like(goes).scatter(-1, order, goes), -math.inf)


# %% mistake="top_p_filter" name="min_p" says="stay, expected [0, 1]"
def top_p_filter(logits, p):
    probabilities = torch.softmax(logits, dim=-1)
    ordered, order = torch.sort(probabilities, dim=-1, descending=True, stable=True)
    goes = ordered < p
    if p >= 1:
        goes = torch.zeros_like(goes)
    goes[..., 0] = False
    return logits.masked_fill(torch.zeros_like(goes).scatter(-1, order, goes), -math.inf)


# %% mistake="top_p_filter" name="zeros" says="a logit of 0 still has exp(0)"
def top_p_filter(logits, p):
    probabilities = torch.softmax(logits, dim=-1)
    ordered, order = torch.sort(probabilities, dim=-1, descending=True, stable=True)
    goes = ordered.cumsum(-1) - ordered >= p
    if p >= 1:
        goes = torch.zeros_like(goes)
    goes[..., 0] = False
    return logits.masked_fill(torch.zeros_like(goes).scatter(-1, order, goes), 0.0)


# %% mistake="top_p_filter" name="probabilities" says="give the logits"
def top_p_filter(logits, p):
    probabilities = torch.softmax(logits, dim=-1)
    ordered, order = torch.sort(probabilities, dim=-1, descending=True, stable=True)
    goes = ordered.cumsum(-1) - ordered >= p
    if p >= 1:
        goes = torch.zeros_like(goes)
    goes[..., 0] = False
    return probabilities.masked_fill(torch.zeros_like(goes).scatter(-1, order, goes), 0.0)


# %% mistake="top_p_filter" name="probabilities_masked" says="keep their logits"
def top_p_filter(logits, p):
    probabilities = torch.softmax(logits, dim=-1)
    ordered, order = torch.sort(probabilities, dim=-1, descending=True, stable=True)
    goes = ordered.cumsum(-1) - ordered >= p
    if p >= 1:
        goes = torch.zeros_like(goes)
    goes[..., 0] = False
    return probabilities.masked_fill(torch.zeros_like(goes).scatter(-1, order, goes), -math.inf)


# %% mistake="top_p_filter" name="no_softmax" says="stay, expected [0, 1]"
def top_p_filter(logits, p):
    probabilities = logits
    ordered, order = torch.sort(probabilities, dim=-1, descending=True, stable=True)
    goes = ordered.cumsum(-1) - ordered >= p
    if p >= 1:
        goes = torch.zeros_like(goes)
    goes[..., 0] = False
    return logits.masked_fill(torch.zeros_like(goes).scatter(-1, order, goes), -math.inf)


# %% mistake="top_p_filter" name="first_axis" says="each row is filtered by itself"
def top_p_filter(logits, p):
    probabilities = torch.softmax(logits, dim=0)
    ordered, order = torch.sort(probabilities, dim=-1, descending=True, stable=True)
    goes = ordered.cumsum(-1) - ordered >= p
    if p >= 1:
        goes = torch.zeros_like(goes)
    goes[..., 0] = False
    return logits.masked_fill(torch.zeros_like(goes).scatter(-1, order, goes), -math.inf)


# %% mistake="top_p_filter" name="in_place" says="changed the logits"
def top_p_filter(logits, p):
    probabilities = torch.softmax(logits, dim=-1)
    ordered, order = torch.sort(probabilities, dim=-1, descending=True, stable=True)
    goes = ordered.cumsum(-1) - ordered >= p
    if p >= 1:
        goes = torch.zeros_like(goes)
    goes[..., 0] = False
    return logits.masked_fill_(torch.zeros_like(goes).scatter(-1, order, goes), -math.inf)


# %% mistake="top_p_filter" name="exactly_p_is_too_little" says="a sum of exactly p is enough"
def top_p_filter(logits, p):
    probabilities = torch.softmax(logits, dim=-1)
    ordered, order = torch.sort(probabilities, dim=-1, descending=True, stable=True)
    goes = ordered.cumsum(-1) - ordered > p
    if p >= 1:
        goes = torch.zeros_like(goes)
    goes[..., 0] = False
    return logits.masked_fill(torch.zeros_like(goes).scatter(-1, order, goes), -math.inf)


# %% mistake="top_p_filter" name="best_of_ties_last" says="those with the smaller id stay first"
def top_p_filter(logits, p):
    probabilities = torch.softmax(logits, dim=-1)
    ordered, order = (part.flip(-1) for part in torch.sort(probabilities, dim=-1, stable=True))
    goes = ordered.cumsum(-1) - ordered >= p
    if p >= 1:
        goes = torch.zeros_like(goes)
    goes[..., 0] = False
    return logits.masked_fill(torch.zeros_like(goes).scatter(-1, order, goes), -math.inf)


# %% alternative="top_p_filter" name="row_by_row"
def top_p_filter(logits, p):
    rows = logits.reshape(-1, logits.shape[-1])
    result = torch.full_like(rows, -math.inf)
    for row, out in zip(rows, result, strict=True):
        probabilities, total = row.softmax(0).tolist(), 0.0
        for token in sorted(range(len(row)), key=lambda token: -probabilities[token]):
            out[token] = row[token]
            total += probabilities[token]
            if total >= p and p < 1:
                break
    return result.reshape(logits.shape)


# %% alternative="top_p_filter" name="inverse_ranks_of_sorted_logits"
def top_p_filter(logits, p):
    order = torch.argsort(-logits, dim=-1, stable=True)
    ranks = torch.argsort(order, dim=-1)
    sums = torch.softmax(torch.gather(logits, -1, order).double(), -1).cumsum(-1)
    before = torch.nn.functional.pad(sums, (1, 0))[..., :-1]
    stays = (before < p) | (p == 1)
    stays = stays | (torch.arange(logits.shape[-1]) == 0)
    return torch.where(stays.gather(-1, ranks), logits, torch.tensor(-math.inf, dtype=logits.dtype))


# %% alternative="top_p_filter" name="numpy"
def top_p_filter(logits, p):
    z = logits.numpy().astype(np.float64)
    exps = np.exp(z - z.max(axis=-1, keepdims=True))
    probs = exps / exps.sum(axis=-1, keepdims=True)
    order = np.argsort(-probs, axis=-1, kind="stable")
    sums = np.cumsum(np.take_along_axis(probs, order, -1), -1)
    number = (sums < p - 1e-12).sum(-1, keepdims=True) + 1 if p < 1 else np.full((*z.shape[:-1], 1), z.shape[-1])
    stays = np.zeros(z.shape, bool)
    np.put_along_axis(stays, order, np.arange(z.shape[-1]) < number, -1)
    return torch.from_numpy(np.where(stays, z, -np.inf)).to(logits.dtype)


# %% [markdown]
# ## 9. `estimate_training_cost`
#
# *Difficulty 1 of 5, about 10 minutes, 2 points.*
#
# What does it cost to train a model? One multiplication of each parameter with each token is enough to know. Forward, each parameter does one multiplication and one addition for each token; backward, twice as much. That makes six floating-point operations (FLOPs) for each parameter and each token (Kaplan et al., 2020):
#
# $$C = 6\, N D, \qquad \text{hours} = \frac{C}{3600 \cdot n \cdot u \cdot F}, \qquad \text{money} = \text{hours} \cdot n \cdot \text{price}$$
#
# * $N$: `num_parameters`; $D$: `num_tokens` that the model reads, each as often as it is read;
# * $F$: `flops_per_second` that one device could do at most, as its data sheet says; $u$: `utilisation`, the share of them that a training run gets out of it, often 0.3 to 0.5;
# * $n$: `num_devices` that work together, and all of which are paid for each hour: `price_per_hour` is the price of one;
# * a utilisation of 0 or less, or of more than 1, is a mistake of the caller, perhaps a percentage: raise a `ValueError`.
#
# The result is a `TrainingCost`: the FLOPs, the hours from the beginning to the end of the run, and the money.
#
# By hand: $N = 10^9$, $D = 6 \cdot 10^9$, so $C = 3.6 \cdot 10^{19}$. A device that could do $10^{14}$ FLOPs a second, half used, needs $7.2 \cdot 10^5$ seconds: 200 hours. Two of them need 100 hours, and at 2 a device and hour cost 400; so does the one alone.
#
# <details><summary>A nudge</summary>Do the FLOPs first, then the seconds. What is the speed of all devices together?</details>
# <details><summary>A push</summary>An hour has 3600 seconds. Twice as many devices make the run half as long, and each hour twice as dear.</details>
# <details><summary>Almost there</summary><code>hours = flops / (flops_per_second * utilisation * num_devices) / 3600</code>, and <code>TrainingCost(flops, hours, hours * num_devices * price_per_hour)</code>.</details>


# %% locked="cost"
@dataclasses.dataclass(frozen=True)
class TrainingCost:
    """What a training run takes: floating-point operations, hours from beginning to end, and money."""

    flops: float
    hours: float
    money: float


def three_numbers(cost):
    """The fields of a cost, for the checks."""
    return [getattr(cost, name, f"no {name}") for name in ("flops", "hours", "money")]


# %% task="estimate_training_cost"
def estimate_training_cost(
    num_parameters: float,
    num_tokens: float,
    flops_per_second: float,
    utilisation: float = 0.4,
    price_per_hour: float = 2.0,
    num_devices: int = 1,
) -> TrainingCost:
    """Estimate what a training run takes (about 6 lines).

    Args:
        num_parameters: of the model.
        num_tokens: that it reads, each as often as it is read.
        flops_per_second: that one device could do at most.
        utilisation: the share of them that it does, above 0 and at most 1.
        price_per_hour: of one device.
        num_devices: that work together.

    Returns:
        FLOPs, hours and money.

    Raises:
        ValueError: if the utilisation is no share.

    >>> estimate_training_cost(1e9, 6e9, 1e14, utilisation=0.5, num_devices=2)
    TrainingCost(flops=3.6e+19, hours=100.0, money=400.0)
    """
    ### BEGIN SOLUTION
    if not 0 < utilisation <= 1:
        raise ValueError(f"got a utilisation of {utilisation}, expected a share above 0 and at most 1")
    flops = 6 * num_parameters * num_tokens
    hours = flops / (flops_per_second * utilisation * num_devices) / 3600
    return TrainingCost(flops, hours, hours * num_devices * price_per_hour)
    ### END SOLUTION


# %% check="estimate_training_cost" points=2
costs = checks.evaluate("lambda *arguments, **named: three_numbers(estimate_training_cost(*arguments, **named))")


def costs_right(arguments, named, right, hint):
    came = checks.run(lambda: costs(*arguments, **named), hint=hint)
    cost_near(came, (right, named.get("num_devices", 1), named.get("utilisation", 0.4), named.get("price_per_hour", 2.0)), hint)


def cost_near(came, expected, hint):
    right, devices, share, price = expected
    for name, got in zip(("flops", "hours", "money"), came, strict=True):
        checks.true(
            got != f"no {name}", "got something without the fields flops, hours and money: give a TrainingCost(flops, hours, money)"
        )
    flops, hours, money = (float(checks.array(got, (), f"{name} is one number")) for got, name in zip(came, ("flops", "hours", "money"), strict=True))

    def slipped(name, got, wanted, slips):
        for factor, cause in slips:
            if abs(factor - 1) > 1e-3 and abs(got - wanted * factor) < 1e-4 * abs(wanted * factor):
                hint_of = cause
                break
        else:
            hint_of = hint
        checks.close(got, wanted, f"{name}: {hint_of}", rtol=1e-6)

    slipped("flops", flops, right[0], [
        (1 / 3, "6 for each parameter and token: 2 forward and 4 backward, that is for the forward pass alone"),
        (1 / 6, "6 for each parameter and token: 2 forward and 4 backward"),
        (2 / 3, "6 for each parameter and token: 2 forward and 4 backward, and the forward pass is missing"),
        (share, "the work is the same, however well the device is used"),
        (1 / share, "the work is the same, however well the device is used"),
        (devices, "the work is the same, however many devices share it"),
        (1 / devices, "the work is the same, however many devices share it"),
        (4 / 3, "6 for each parameter and token; 8 are those of activation checkpointing, which is not used here"),
    ])  # fmt: skip
    slipped("hours", hours, right[1], [
        (share, "a device does only the share that is its utilisation: the run takes longer, not just as long as on the data sheet"),
        (share**2, "the run takes longer if the utilisation is small: divide by it"),
        (3600, "these are seconds: an hour has 3600"),
        (60, "these are minutes: an hour has 60"),
        (devices, "the devices work together: they share the hours"),
        (devices**2, "more devices need fewer hours: divide by their number"),
        (1 / 24, "these are days"),
        (price, "the price has no part in the hours"),
    ])  # fmt: skip
    slipped("money", money, right[2], [
        (1 / devices, "all devices are paid for each hour: price_per_hour is the price of one"),
        (devices, "the devices are counted twice: hours are those of the whole run"),
        (3600, "the price is for an hour, not for a second"),
        (1 / price if price else 1, "that is the number of device-hours: multiply it by the price"),
        (share, "an hour is paid for as a whole, used or not"),
    ])  # fmt: skip


costs_right((1e9, 6e9, 1e14), {"utilisation": 0.25, "num_devices": 5, "price_per_hour": 3.0}, (3.6e19, 80.0, 1200.0), "five devices at a quarter of their speed: 80 hours, at 5 times 3")
costs_right((1e9, 6e9, 1e14), {"utilisation": 0.5, "num_devices": 2}, (3.6e19, 100.0, 400.0), "the case from the text: 3.6e19 FLOPs, two devices, 100 hours, 400")
costs_right((1e9, 6e9, 1e14), {}, (3.6e19, 250.0, 500.0), "with nothing else said: 0.4, at 2 an hour, one device")
costs_right((1e9, 6e9, 1e14), {"utilisation": 1}, (3.6e19, 100.0, 200.0), "a utilisation of 1 is the most there is, and allowed")
costs_right((10, 7, 1.0), {"utilisation": 0.7, "price_per_hour": 0.0}, (420, 1 / 6, 0.0), "a small run on something slow that costs nothing")
for share, cause in (
    (40, "a utilisation of 40 is perhaps a percentage: 0.4 is meant"),
    (0, "with a utilisation of 0 the run never ends"),
    (-0.5, "a negative utilisation is no share"),
    (1.01, "no device does more than it can"),
):
    checks.raises(ValueError, lambda share=share: estimate_training_cost(1e9, 6e9, 1e14, share), cause)

### BEGIN HIDDEN TESTS


def run_inputs(rng):
    numbers = [float(10 ** rng.uniform(low, high)) for low, high in ((5, 12), (6, 13), (11, 16))]
    return *numbers, float(rng.uniform(0.05, 1)), float(rng.uniform(0.1, 9)), int(rng.integers(1, 3000))


def run_reference(num_parameters, num_tokens, flops_per_second, utilisation, price_per_hour, num_devices):
    device_hours = 6 * num_parameters * num_tokens / flops_per_second / utilisation / 3600
    right = 6 * num_parameters * num_tokens, device_hours / num_devices, device_hours * price_per_hour
    return right, num_devices, utilisation, price_per_hour


checks.hidden(
    title="random runs on random machines",
    call="lambda *arguments: three_numbers(estimate_training_cost(*arguments))",
    inputs=run_inputs,
    reference=run_reference,
    compare=cost_near,
    hint="6 N D FLOPs; hours of all devices together; money for all their hours",
    cases=20,
)
### END HIDDEN TESTS

# %%
A100, RTX_3090 = 312e12, 71e12  # FLOPs a second in half precision, by the data sheets
runs = {
    "GPT-2 124M, 8 A100": (124e6, 10e9, A100, 0.6, 1.75, 8),  # llm.c (Karpathy, 2024): about 90 minutes, 20 dollars
    "LLaMA 7B, 1,000 A100": (6.74e9, 1e12, A100, 0.43, 2.0, 1000),  # Touvron et al. (2023): 82,432 A100 hours
    "GPT-3, 1,000 A100": (175e9, 300e9, A100, 0.4, 2.0, 1000),  # Brown et al. (2020): 3.14e23 FLOPs
    "13B, one RTX 3090": (13e9, 260e9, RTX_3090, 0.4, 0.3, 1),  # 20 tokens for each parameter
}
print("run                      FLOPs       hours       money")
for name, run in runs.items():
    cost = estimate_training_cost(*run)
    print(f"{name:<21} {cost.flops:>8.1e}  {cost.hours:>10,.1f}  {cost.money:>10,.0f}")

# %% mistake="estimate_training_cost" name="forward_only" says="that is for the forward pass alone"
def estimate_training_cost(num_parameters, num_tokens, flops_per_second, utilisation=0.4, price_per_hour=2.0, num_devices=1):
    if not 0 < utilisation <= 1:
        raise ValueError("the utilisation is a share, above 0 and at most 1")
    flops = 2 * num_parameters * num_tokens
    hours = flops / (flops_per_second * utilisation * num_devices) / 3600
    return TrainingCost(flops, hours, hours * num_devices * price_per_hour)


# %% mistake="estimate_training_cost" name="one_operation" says="2 forward and 4 backward"
def estimate_training_cost(num_parameters, num_tokens, flops_per_second, utilisation=0.4, price_per_hour=2.0, num_devices=1):
    if not 0 < utilisation <= 1:
        raise ValueError("the utilisation is a share, above 0 and at most 1")
    flops = 1 * num_parameters * num_tokens
    hours = flops / (flops_per_second * utilisation * num_devices) / 3600
    return TrainingCost(flops, hours, hours * num_devices * price_per_hour)


# %% mistake="estimate_training_cost" name="data_sheet" says="a device does only the share that is its utilisation"
def estimate_training_cost(num_parameters, num_tokens, flops_per_second, utilisation=0.4, price_per_hour=2.0, num_devices=1):
    if not 0 < utilisation <= 1:
        raise ValueError("the utilisation is a share, above 0 and at most 1")
    flops = 6 * num_parameters * num_tokens
    hours = flops / (flops_per_second * num_devices) / 3600
    return TrainingCost(flops, hours, hours * num_devices * price_per_hour)


# %% mistake="estimate_training_cost" name="utilisation_shortens" says="divide by it"
def estimate_training_cost(num_parameters, num_tokens, flops_per_second, utilisation=0.4, price_per_hour=2.0, num_devices=1):
    if not 0 < utilisation <= 1:
        raise ValueError("the utilisation is a share, above 0 and at most 1")
    flops = 6 * num_parameters * num_tokens
    hours = flops / (flops_per_second / utilisation * num_devices) / 3600
    return TrainingCost(flops, hours, hours * num_devices * price_per_hour)


# %% mistake="estimate_training_cost" name="seconds" says="these are seconds"
def estimate_training_cost(num_parameters, num_tokens, flops_per_second, utilisation=0.4, price_per_hour=2.0, num_devices=1):
    if not 0 < utilisation <= 1:
        raise ValueError("the utilisation is a share, above 0 and at most 1")
    flops = 6 * num_parameters * num_tokens
    hours = flops / (flops_per_second * utilisation * num_devices)
    return TrainingCost(flops, hours, hours / 3600 * num_devices * price_per_hour)


# %% mistake="estimate_training_cost" name="devices_do_not_share" says="they share the hours"
def estimate_training_cost(num_parameters, num_tokens, flops_per_second, utilisation=0.4, price_per_hour=2.0, num_devices=1):
    if not 0 < utilisation <= 1:
        raise ValueError("the utilisation is a share, above 0 and at most 1")
    flops = 6 * num_parameters * num_tokens
    hours = flops / (flops_per_second * utilisation) / 3600
    return TrainingCost(flops, hours, hours * price_per_hour)


# %% mistake="estimate_training_cost" name="one_device_paid" says="all devices are paid for each hour"
def estimate_training_cost(num_parameters, num_tokens, flops_per_second, utilisation=0.4, price_per_hour=2.0, num_devices=1):
    if not 0 < utilisation <= 1:
        raise ValueError("the utilisation is a share, above 0 and at most 1")
    flops = 6 * num_parameters * num_tokens
    hours = flops / (flops_per_second * utilisation * num_devices) / 3600
    return TrainingCost(flops, hours, hours * price_per_hour)


# %% mistake="estimate_training_cost" name="devices_counted_twice" says="the devices are counted twice"
def estimate_training_cost(num_parameters, num_tokens, flops_per_second, utilisation=0.4, price_per_hour=2.0, num_devices=1):
    if not 0 < utilisation <= 1:
        raise ValueError("the utilisation is a share, above 0 and at most 1")
    flops = 6 * num_parameters * num_tokens
    hours = flops / (flops_per_second * utilisation * num_devices) / 3600
    return TrainingCost(flops, hours, hours * num_devices**2 * price_per_hour)


# %% mistake="estimate_training_cost" name="percent_unnoticed" says="0.4 is meant"
def estimate_training_cost(num_parameters, num_tokens, flops_per_second, utilisation=0.4, price_per_hour=2.0, num_devices=1):
    if utilisation <= 0:
        raise ValueError("the utilisation is a share, above 0 and at most 1")
    flops = 6 * num_parameters * num_tokens
    hours = flops / (flops_per_second * utilisation * num_devices) / 3600
    return TrainingCost(flops, hours, hours * num_devices * price_per_hour)


# %% mistake="estimate_training_cost" name="zero_unnoticed" says="the run never ends"
def estimate_training_cost(num_parameters, num_tokens, flops_per_second, utilisation=0.4, price_per_hour=2.0, num_devices=1):
    if utilisation > 1 or utilisation < 0:
        raise ValueError("the utilisation is a share, above 0 and at most 1")
    flops = 6 * num_parameters * num_tokens
    hours = flops / (flops_per_second * utilisation * num_devices) / 3600
    return TrainingCost(flops, hours, hours * num_devices * price_per_hour)


# %% mistake="estimate_training_cost" name="all_of_it_refused" says="a utilisation of 1 is the most there is"
def estimate_training_cost(num_parameters, num_tokens, flops_per_second, utilisation=0.4, price_per_hour=2.0, num_devices=1):
    if not 0 < utilisation < 1:
        raise ValueError("the utilisation is a share, above 0 and at most 1")
    flops = 6 * num_parameters * num_tokens
    hours = flops / (flops_per_second * utilisation * num_devices) / 3600
    return TrainingCost(flops, hours, hours * num_devices * price_per_hour)


# %% mistake="estimate_training_cost" name="a_plain_tuple" says="give a TrainingCost"
def estimate_training_cost(num_parameters, num_tokens, flops_per_second, utilisation=0.4, price_per_hour=2.0, num_devices=1):
    if not 0 < utilisation <= 1:
        raise ValueError("the utilisation is a share, above 0 and at most 1")
    flops = 6 * num_parameters * num_tokens
    hours = flops / (flops_per_second * utilisation * num_devices) / 3600
    return (flops, hours, hours * num_devices * price_per_hour)


# %% mistake="estimate_training_cost" name="device_hours" says="multiply it by the price"
def estimate_training_cost(num_parameters, num_tokens, flops_per_second, utilisation=0.4, price_per_hour=2.0, num_devices=1):
    if not 0 < utilisation <= 1:
        raise ValueError("the utilisation is a share, above 0 and at most 1")
    flops = 6 * num_parameters * num_tokens
    hours = flops / (flops_per_second * utilisation * num_devices) / 3600
    return TrainingCost(flops, hours, hours * num_devices)


# %% alternative="estimate_training_cost" name="device_hours_first"
def estimate_training_cost(num_parameters, num_tokens, flops_per_second, utilisation=0.4, price_per_hour=2.0, num_devices=1):
    if utilisation <= 0 or utilisation > 1:
        raise ValueError(f"utilisation {utilisation}")
    forward = 2 * num_parameters * num_tokens
    flops = forward + 2 * forward
    device_hours = flops / 3600 / flops_per_second / utilisation
    return TrainingCost(flops=flops, hours=device_hours / num_devices, money=device_hours * price_per_hour)


# %% alternative="estimate_training_cost" name="in_numpy_numbers"
def estimate_training_cost(num_parameters, num_tokens, flops_per_second, utilisation=0.4, price_per_hour=2.0, num_devices=1):
    share = np.float64(utilisation)
    if not (share > 0 and share <= 1):
        raise ValueError("no share")
    work = np.float64(6) * num_parameters * num_tokens
    hours = work / np.prod([flops_per_second, share, num_devices, 3600.0])
    return TrainingCost(work, hours, np.prod([hours, num_devices, price_per_hour]))


# %% [markdown]
# ## 10. `resume_is_exact`
#
# *Difficulty 4 of 5, about 25 minutes, 4 points.*
#
# Long training runs die: a power cut, a machine that is taken away, a full disk. Those who saved a *checkpoint* go on from there. But is the run that goes on the same run? Weights alone are not enough: the optimizer has its momentum, the schedule its step, the random generator
# its place, the data its order. What was forgotten does not crash. It gives a slightly different model, and nobody notices. So write the test that notices. A training loop comes as four functions:
#
# * `make()` gives a new run, as a new process would begin it; all that `make()` gives begin alike;
# * `step(run)` does one step of training, changes the run, and returns the loss of that step, a number;
# * `save(run)` returns a checkpoint; `load(run, checkpoint)` puts it into another run.
#
# Your test compares two histories. The *unbroken* run does `num_steps` steps and knows nothing of checkpoints: even saving may disturb a run. The *broken* one does `stop_after` steps and is saved; it goes on for a step that is lost, and is killed. In its place comes a new run from `make()`, loads the checkpoint
# and does the rest of the steps. The result is `True` if each of its losses *equals* that of the same step of the unbroken run, bit for bit; otherwise `False`.
#
# The lost step is no decoration: a checkpoint that only points at the arrays of its run, instead of copying them, changes with it, and would look right if nobody stepped on.
#
# By hand: the losses of the unbroken run are $4, 3, 2.5, 2.2$, and `stop_after` is 2. The resumed run gives $2.5, 2.3$: its first loss agrees and its second does not, as if the momentum had been forgotten. The result is `False`.
#
# <details><summary>A nudge</summary>How many runs must you make, so that none of them knows what another has done?</details>
# <details><summary>A push</summary>Three: unbroken, killed, resumed. Note all losses of the first, none of the second, and all of the third. Which losses of the first are those of the same steps?</details>
# <details><summary>Almost there</summary><code>unbroken = [step(run) for _ in range(num_steps)]</code>, and the losses of the resumed run in the same way, of <code>num_steps - stop_after</code> steps. Compare them with <code>unbroken[stop_after:]</code> by <code>==</code>. Between saving and loading there is one more <code>step(killed)</code>.</details>


# %% locked="loop"
class TinyRun:
    """A training run that fits a line to eight points, one a step: momentum, a falling rate, a shuffle each pass."""

    def __init__(self, seed: int) -> None:
        self.weights, self.velocity = np.zeros(3), np.zeros(3)
        self.rng = np.random.default_rng(seed)
        self.order: list[int] = []  # points of this pass that are still to come
        self.count = 0  # steps so far
        self.loss_before = 0.0


POINTS = np.random.default_rng(7).normal(size=(8, 3))


def loop(flaw: str = "", seed: int = 0, log: list | None = None) -> tuple[Callable, Callable, Callable, Callable]:
    """A training loop: make, step, save and load; with a flaw it does not resume exactly.

    Flaws: `weights`, `velocity`, `order`, `rng`, `count` (forgotten in the checkpoint), `shares` (no copies are saved),
    `rounds` (13 digits are saved), `disturbs` (saving draws from the generator), `late` (the log is one step behind,
    and the loss that waits is forgotten).
    """
    made: list[TinyRun] = []
    log = [] if log is None else log

    def note(what, run):
        log.append((what, next(number for number, one in enumerate(made) if one is run)))

    def make() -> TinyRun:
        made.append(TinyRun(seed))
        note("make", made[-1])
        return made[-1]

    def step(run: TinyRun) -> float:
        note("step", run)
        run.order = run.order or run.rng.permutation(8).tolist()
        point = POINTS[run.order.pop()]
        error = run.weights @ point - point.sum() - point[0] ** 2
        run.velocity *= 0.9
        run.velocity += 2 * error * point
        run.weights -= 0.03 / (1 + run.count / 10) * run.velocity
        run.count += 1
        loss, run.loss_before = (run.loss_before if flaw == "late" else error**2), float(error**2)
        return float(loss)

    def save(run: TinyRun) -> dict:
        note("save", run)
        if flaw == "disturbs":
            run.rng.random()
        saved = {"weights": run.weights, "velocity": run.velocity, "order": run.order, "count": run.count}
        if flaw != "shares":
            saved = copy.deepcopy(saved)
        if flaw == "rounds":
            saved["weights"] = np.array([float(f"{weight:.13g}") for weight in saved["weights"]])
        saved["rng"] = run.rng.bit_generator.state
        return {name: value for name, value in saved.items() if name != flaw}

    def load(run: TinyRun, saved: dict) -> None:
        note("load", run)
        for name, value in saved.items():
            if name == "rng":
                run.rng.bit_generator.state = value
            else:
                setattr(run, name, copy.deepcopy(value))

    return make, step, save, load


def verdict_on(resume_is_exact, flaw, num_steps, stop_after, seed=0):
    """What a test says of a loop, and what it did to it."""
    log = []
    return resume_is_exact(*loop(flaw, seed, log), num_steps, stop_after), log


# %% task="resume_is_exact"
def resume_is_exact(
    make: Callable[[], object],
    step: Callable[[object], float],
    save: Callable[[object], object],
    load: Callable[[object, object], None],
    num_steps: int,
    stop_after: int,
) -> bool:
    """Test whether a training loop that is killed and resumed goes on as if nothing had happened (about 9 lines).

    Args:
        make: gives a new run.
        step: does one step of training, and returns its loss.
        save: returns a checkpoint of a run.
        load: puts a checkpoint into a run.
        num_steps: of the unbroken run.
        stop_after: steps before the checkpoint, from 0 to num_steps.

    Returns:
        Whether all losses after the stop are equal to those of the unbroken run.

    >>> resume_is_exact(*loop(), num_steps=20, stop_after=6)
    True
    >>> resume_is_exact(*loop("velocity"), num_steps=20, stop_after=6)
    False
    """
    ### BEGIN SOLUTION
    unbroken = make()
    expected = [step(unbroken) for _ in range(num_steps)]
    killed = make()
    for _ in range(stop_after):
        step(killed)
    checkpoint = save(killed)
    step(killed)  # lost
    resumed = make()
    load(resumed, checkpoint)
    return [step(resumed) for _ in range(num_steps - stop_after)] == expected[stop_after:]
    ### END SOLUTION


# %% check="resume_is_exact" points=4
verdict = checks.evaluate("lambda *arguments: verdict_on(resume_is_exact, *arguments)")
FLAWS = {
    "weights": "this loop forgets the weights",
    "velocity": "this loop forgets the momentum, which shows from the second loss after the stop on: compare all losses to the end",
    "count": "this loop forgets the step, so its learning rate begins again: compare all losses to the end",
    "order": "this loop forgets which points of the pass are still to come",
    "rng": "this loop forgets the random generator, which shows only after the next shuffle: compare all losses to the end",
    "shares": "the checkpoint of this loop shares its arrays with the run: take a step more with the old run before you load",
    "rounds": "the checkpoint of this loop holds 13 digits of each weight, so the losses agree in about as many: exact means equal, bit for bit",
    "disturbs": "saving draws from the random generator of this loop: the unbroken run must be one that was never saved",
    "late": "of this loop only the first loss after the stop is another: compare all of them, not only the last",
}


def judged(flaw, num_steps, stop_after, right, seed=0):
    came, log = checks.run(
        lambda: verdict(flaw, num_steps, stop_after, seed), hint=f"num_steps={num_steps}, stop_after={stop_after}"
    )
    verdict_near((came, log), (flaw, num_steps, stop_after, right), "")


def verdict_near(got, expected, hint):
    (came, log), (flaw, num_steps, stop_after, right) = got, expected
    checks.true(isinstance(came, (bool, np.bool_)), f"got {checks.show(came)}, expected True or False")
    did = [(what, number) for what, number in log]

    def steps(number, since=0):
        return sum(what == "step" and one == number for what, one in did[since:])

    saves, loads = ([place for place, (what, _) in enumerate(did) if what == name] for name in ("save", "load"))
    checks.true(len(saves) > 0, "no run was saved")
    checks.true(len(loads) > 0, "no checkpoint was loaded")
    place = max((place for place in saves if place < loads[0]), default=saves[0])  # the checkpoint that is loaded
    saved, loaded = did[place][1], did[loads[0]][1]
    before = sum(what == "step" and one == saved for what, one in did[:place])
    checks.true(
        before == stop_after,
        f"the run was saved after {before} steps, expected stop_after={stop_after}",
    )
    checks.true(
        loaded != saved and not any(what == "step" and one == loaded for what, one in did[: loads[0]]),
        "the checkpoint was loaded into a run that had trained before: a new process begins with make(), and knows"
        " only what the checkpoint holds",
    )
    after = steps(loaded, loads[0])
    checks.true(
        after == num_steps - stop_after or (after < num_steps - stop_after and not came),
        f"the resumed run did {after} steps, expected the rest, {num_steps} - {stop_after}",
    )
    runs = {number for what, number in did if what == "step"}
    whole = [number for number in runs if steps(number) == num_steps and number != loaded and (number != saved or flaw == "")]
    checks.true(
        bool(whole) or bool(flaw) or num_steps == 0,
        f"no run did all {num_steps} steps without a break: with what are the losses to be compared?",
    )
    if right and not came:
        checks.fail(
            f"this loop resumes exactly with num_steps={num_steps} and stop_after={stop_after}, and your test says it does"
            " not: compare the losses of the resumed run with those of the same steps of the unbroken one, from"
            " stop_after on"
        )
    if came and not right:
        checks.fail(f"your test says that a loop resumes exactly which does not. {FLAWS.get(flaw, '')}")


judged("", 20, 6, True)
for flaw in FLAWS:
    judged(flaw, 20, 5, False)
judged("", 20, 8, True)  # exactly at the end of a pass
judged("", 12, 0, True)
judged("", 12, 11, True)
judged("", 12, 12, True)
judged("velocity", 12, 10, False)
judged("shares", 12, 11, False)
judged("", 9, 4, True, 3)

### BEGIN HIDDEN TESTS


def verdict_inputs(rng):
    flaw = str(rng.choice(["", "", "", *FLAWS]))
    num_steps = int(rng.integers(14, 40))
    most = num_steps - 11 if flaw else num_steps  # a flaw needs a whole pass to show
    return flaw, num_steps, int(rng.integers(1 if flaw else 0, most + 1)), int(rng.integers(2**31))


def verdict_reference(flaw, num_steps, stop_after, seed):
    make, step, save, load = loop(flaw, seed)
    whole, killed, resumed = make(), make(), make()
    losses = [step(whole) for _ in range(num_steps)]
    for _ in range(stop_after):
        step(killed)
    checkpoint = save(killed)
    for _ in range(3):
        step(killed)
    load(resumed, checkpoint)
    same = all(step(resumed) == loss for loss in losses[stop_after:])
    return flaw, num_steps, stop_after, same


checks.hidden(
    title="random loops, whole and flawed",
    call="lambda *arguments: verdict_on(resume_is_exact, *arguments)",
    inputs=verdict_inputs,
    reference=verdict_reference,
    compare=verdict_near,
    hint="a run that was never saved, one that is killed, one that goes on: equal losses from stop_after on",
    cases=30,
)
### END HIDDEN TESTS

# %%
import matplotlib.pyplot as plt

from bow2gpt import figures

fig, axis = plt.subplots()
for flaw, style in (("", "-"), ("velocity", "--"), ("rng", ":")):
    make, step, save, load = loop(flaw)
    unbroken, killed, resumed = make(), make(), make()
    losses = [step(killed) for _ in range(10)]
    load(resumed, save(killed))
    losses += [step(resumed) for _ in range(20)]
    apart = [one - step(unbroken) for one in losses]
    exact = resume_is_exact(*loop(flaw), num_steps=30, stop_after=10)
    axis.plot(apart, style, label=f"{flaw or 'nothing'} forgotten: your test says {exact}")
axis.axvline(10, color="grey", linewidth=0.8)
axis.set(
    title="When does it show that a run forgot a part of itself?",
    xlabel="step, resumed at the grey line",
    ylabel="loss, minus that of the unbroken run",
)
axis.legend()
figures.show(
    fig,
    alt=(
        "Differences of the loss from that of an unbroken run. With nothing forgotten they are zero throughout. Without the"
        " momentum they begin soon after the stop, without the generator only with the next shuffle, some steps later."
    ),
)

# %% mistake="resume_is_exact" name="same_run" says="loaded into a run that had trained before"
def resume_is_exact(make, step, save, load, num_steps, stop_after):
    unbroken = make()
    expected = [step(unbroken) for _ in range(num_steps)]
    killed = make()
    for _ in range(stop_after):
        step(killed)
    checkpoint = save(killed)
    step(killed)
    resumed = killed
    load(resumed, checkpoint)
    losses = [step(resumed) for _ in range(num_steps - stop_after)]
    return losses == expected[stop_after:]


# %% mistake="resume_is_exact" name="no_lost_step" says="shares its arrays with the run"
def resume_is_exact(make, step, save, load, num_steps, stop_after):
    unbroken = make()
    expected = [step(unbroken) for _ in range(num_steps)]
    killed = make()
    for _ in range(stop_after):
        step(killed)
    checkpoint = save(killed)
    resumed = make()
    load(resumed, checkpoint)
    losses = [step(resumed) for _ in range(num_steps - stop_after)]
    return losses == expected[stop_after:]


# %% mistake="resume_is_exact" name="close_is_enough" says="exact means equal, bit for bit"
def resume_is_exact(make, step, save, load, num_steps, stop_after):
    unbroken = make()
    expected = [step(unbroken) for _ in range(num_steps)]
    killed = make()
    for _ in range(stop_after):
        step(killed)
    checkpoint = save(killed)
    step(killed)
    resumed = make()
    load(resumed, checkpoint)
    losses = [step(resumed) for _ in range(num_steps - stop_after)]
    return bool(np.allclose(losses, expected[stop_after:]))


# %% mistake="resume_is_exact" name="first_loss_only" says="compare all losses to the end"
def resume_is_exact(make, step, save, load, num_steps, stop_after):
    unbroken = make()
    expected = [step(unbroken) for _ in range(num_steps)]
    killed = make()
    for _ in range(stop_after):
        step(killed)
    checkpoint = save(killed)
    step(killed)
    resumed = make()
    load(resumed, checkpoint)
    losses = [step(resumed) for _ in range(num_steps - stop_after)]
    return losses[:1] == expected[stop_after : stop_after + 1]


# %% mistake="resume_is_exact" name="last_loss_only" says="not only the last"
def resume_is_exact(make, step, save, load, num_steps, stop_after):
    unbroken = make()
    expected = [step(unbroken) for _ in range(num_steps)]
    killed = make()
    for _ in range(stop_after):
        step(killed)
    checkpoint = save(killed)
    step(killed)
    resumed = make()
    load(resumed, checkpoint)
    losses = [step(resumed) for _ in range(num_steps - stop_after)]
    return losses[-1:] == expected[stop_after:][-1:]


# %% mistake="resume_is_exact" name="two_losses" says="shows only after the next shuffle"
def resume_is_exact(make, step, save, load, num_steps, stop_after):
    unbroken = make()
    expected = [step(unbroken) for _ in range(num_steps)]
    killed = make()
    for _ in range(stop_after):
        step(killed)
    checkpoint = save(killed)
    step(killed)
    resumed = make()
    load(resumed, checkpoint)
    losses = [step(resumed) for _ in range(num_steps - stop_after)]
    return losses[:2] == expected[stop_after : stop_after + 2]


# %% mistake="resume_is_exact" name="saves_the_unbroken_run" says="the unbroken run must be one that was never saved"
def resume_is_exact(make, step, save, load, num_steps, stop_after):
    unbroken = make()
    expected = [step(unbroken) for _ in range(stop_after)]
    checkpoint = save(unbroken)
    expected += [step(unbroken) for _ in range(num_steps - stop_after)]
    resumed = make()
    load(resumed, checkpoint)
    losses = [step(resumed) for _ in range(num_steps - stop_after)]
    return losses == expected[stop_after:]


# %% mistake="resume_is_exact" name="wrong_slice" says="compare the losses of the resumed run with those of the same steps"
def resume_is_exact(make, step, save, load, num_steps, stop_after):
    unbroken = make()
    expected = [step(unbroken) for _ in range(num_steps)]
    killed = make()
    for _ in range(stop_after):
        step(killed)
    checkpoint = save(killed)
    step(killed)
    resumed = make()
    load(resumed, checkpoint)
    losses = [step(resumed) for _ in range(num_steps - stop_after)]
    return losses == expected[: num_steps - stop_after]


# %% mistake="resume_is_exact" name="does_all_steps_again" says="the resumed run did"
def resume_is_exact(make, step, save, load, num_steps, stop_after):
    unbroken = make()
    expected = [step(unbroken) for _ in range(num_steps)]
    killed = make()
    for _ in range(stop_after):
        step(killed)
    checkpoint = save(killed)
    step(killed)
    resumed = make()
    load(resumed, checkpoint)
    losses = [step(resumed) for _ in range(num_steps)]
    return losses == expected


# %% mistake="resume_is_exact" name="stops_one_late" says="the run was saved after"
def resume_is_exact(make, step, save, load, num_steps, stop_after):
    unbroken = make()
    expected = [step(unbroken) for _ in range(num_steps)]
    killed = make()
    for _ in range(stop_after + 1):
        step(killed)
    checkpoint = save(killed)
    step(killed)
    resumed = make()
    load(resumed, checkpoint)
    losses = [step(resumed) for _ in range(num_steps - stop_after - 1)]
    return losses == expected[stop_after + 1 :]


# %% mistake="resume_is_exact" name="never_loads" says="no checkpoint was loaded"
def resume_is_exact(make, step, save, load, num_steps, stop_after):
    unbroken = make()
    expected = [step(unbroken) for _ in range(num_steps)]
    killed = make()
    for _ in range(stop_after):
        step(killed)
    save(killed)
    step(killed)
    resumed = make()
    losses = [step(resumed) for _ in range(num_steps - stop_after)]
    return losses == expected[stop_after:]


# %% mistake="resume_is_exact" name="two_resumed" says="without a break"
def resume_is_exact(make, step, save, load, num_steps, stop_after):
    make()
    expected = [0.0] * stop_after
    killed = make()
    for _ in range(stop_after):
        step(killed)
    checkpoint = save(killed)
    step(killed)
    resumed = make()
    load(resumed, checkpoint)
    losses = [step(resumed) for _ in range(num_steps - stop_after)]
    again = make()
    load(again, checkpoint)
    expected += [step(again) for _ in range(num_steps - stop_after)]
    return losses == expected[stop_after:]


# %% mistake="resume_is_exact" name="asserts" says="your code raised AssertionError"
def resume_is_exact(make, step, save, load, num_steps, stop_after):
    unbroken = make()
    expected = [step(unbroken) for _ in range(num_steps)]
    killed = make()
    for _ in range(stop_after):
        step(killed)
    checkpoint = save(killed)
    step(killed)
    resumed = make()
    load(resumed, checkpoint)
    losses = [step(resumed) for _ in range(num_steps - stop_after)]
    assert losses == expected[stop_after:]
    return True


# %% mistake="resume_is_exact" name="a_number" says="expected True or False"
def resume_is_exact(make, step, save, load, num_steps, stop_after):
    unbroken = make()
    expected = [step(unbroken) for _ in range(num_steps)]
    killed = make()
    for _ in range(stop_after):
        step(killed)
    checkpoint = save(killed)
    step(killed)
    resumed = make()
    load(resumed, checkpoint)
    losses = [step(resumed) for _ in range(num_steps - stop_after)]
    return sum(a != b for a, b in zip(losses, expected[stop_after:], strict=True))


# %% alternative="resume_is_exact" name="side_by_side"
def resume_is_exact(make, step, save, load, num_steps, stop_after):
    one, two = make(), make()
    for _ in range(stop_after):
        step(one), step(two)
    checkpoint = save(two)
    step(two)
    step(two)
    three = make()
    load(three, checkpoint)
    same = True
    for _ in range(num_steps - stop_after):
        a, b = step(one), step(three)
        same = same and a == b
    return same


# %% alternative="resume_is_exact" name="bytes_of_the_losses"
def resume_is_exact(make, step, save, load, num_steps, stop_after):
    def history(run, number):
        return np.array([step(run) for _ in range(number)], dtype=np.float64)

    first = make()
    history(first, stop_after)
    saved = save(first)
    history(first, 1)
    second = make()
    load(second, saved)
    came = history(second, num_steps - stop_after)
    return came.tobytes() == history(make(), num_steps)[stop_after:].tobytes()


# %% alternative="resume_is_exact" name="numpy_bool"
def resume_is_exact(make, step, save, load, num_steps, stop_after):
    whole = make()
    losses = np.array([step(whole) for _ in range(num_steps)])
    del whole
    run = make()
    [step(run) for _ in range(stop_after)]
    checkpoint = save(run)
    step(run)
    run = make()
    load(run, checkpoint)
    rest = np.array([step(run) for _ in range(stop_after, num_steps)])
    return np.all(rest == losses[stop_after:])


# %% [markdown]
# ## All ten together
#
# No points here, only what your answers add up to: a GPT of two layers that reads the first addresses of the corpus letter by letter. `get_batch` feeds it, `gpt_forward` is the model, `count_parameters` says how large it is, `accumulate_gradients` gathers its gradients,
# `muon_step` moves its matrices at the rate of `lr_schedule`, and `generate` with `top_p_filter` lets it speak. It trains for a few seconds, so do not expect sense: expect that what it writes looks like English from afar.

# %%
import matplotlib.pyplot as plt

from bow2gpt import corpus, figures

torch.set_flush_denormal(True)
letters = "".join(address.text for address in corpus.addresses("train")[:3]).lower()
letters = "".join(letter for letter in letters if letter.isalpha() or letter in " .,\n")
alphabet = sorted(set(letters))
ids = np.array([alphabet.index(letter) for letter in letters], dtype=np.uint16)
size = GPTConfig(len(alphabet), 32, 2, 4, 48, 192, "rope", "rms", "relu_squared", bias=False, tied=False)


class MiniGPT(torch.nn.Module):
    """Your forward pass, with weights that can be trained."""

    def __init__(self) -> None:
        super().__init__()
        fresh = torch.Generator().manual_seed(0)
        dim, hidden = size.embedding_dim, size.hidden_dim
        shapes = dict.fromkeys(("query", "key", "value", "output"), (dim, dim)) | {"expand": (hidden, dim), "contract": (dim, hidden)}
        self.weights = torch.nn.ParameterDict({"embedding": torch.randn(size.vocabulary_size, dim, generator=fresh)})
        for block in range(size.num_layers):
            for name, shape in shapes.items():
                scale = 0.0 if name in ("output", "contract") else shape[-1] ** -0.5
                self.weights[f"blocks/{block}/{name}"] = torch.randn(shape, generator=fresh) * scale
            for name in ("attention_gain", "mlp_gain"):
                self.weights[f"blocks/{block}/{name}"] = torch.ones(dim)
        self.weights["final_gain"], self.weights["head"] = torch.ones(dim), torch.zeros(size.vocabulary_size, dim)

    def forward(self, token_ids: torch.Tensor) -> torch.Tensor:
        return gpt_forward(token_ids, {name.replace("/", "."): weight for name, weight in self.weights.items()}, size.num_heads)


model = MiniGPT()
print(f"{count_parameters(size):,} parameters by your count, {sum(weight.numel() for weight in model.parameters()):,} in the model")

# %%
rng, states, losses, num_steps = np.random.default_rng(0), {}, [], 100
rest = [weight for name, weight in model.weights.items() if "/" not in name or weight.ndim == 1]
adam = torch.optim.AdamW(rest, lr=0.01, betas=(0.8, 0.95), weight_decay=0.0)
for number in range(num_steps):
    share = lr_schedule(number, num_steps, 10, 0.05)
    losses.append(accumulate_gradients(model, *get_batch(ids, 16, size.context_length, rng), num_parts=2))
    with torch.no_grad():
        for name, weight in model.weights.items():
            if "/" in name and weight.ndim == 2:
                weight.copy_(muon_step(weight.detach(), weight.grad, states.setdefault(name, {}), 0.02 * share))
    adam.param_groups[0]["lr"] = 0.01 * share
    adam.step()
cost = estimate_training_cost(count_parameters(size), num_steps * 16 * size.context_length, 1e10)
print(f"loss {losses[0]:.2f} -> {np.mean(losses[-10:]):.2f} nats per letter, for {cost.flops:.1e} FLOPs")


@torch.no_grad()
def speaks(tokens: list[int]) -> torch.Tensor:
    return top_p_filter(model(torch.tensor([tokens[-size.context_length :]]))[0, -1], 0.9)


prompt = "the people of"
start = [alphabet.index(letter) for letter in prompt]
print(prompt + "".join(alphabet[token] for token in generate(speaks, start, 160, seed=2)))

# %%
checks.true(bool(losses), "nothing was trained yet: the cell above needs all ten answers")
fig, axis = plt.subplots()
axis.plot(np.convolve(losses, np.ones(10) / 10, mode="valid"), marker="", label="your GPT")
frequencies = np.bincount(ids) / len(ids)
axis.axhline(-(frequencies * np.log(frequencies)).sum(), linestyle="--", color=figures.COLOURS[1], label="letter frequencies")
axis.set(title="What do your ten answers learn together?", xlabel="step", ylabel="loss, nats per letter")
axis.legend()
figures.show(
    fig,
    alt=(
        "The loss of the small GPT, averaged over ten steps, falls steeply, passes the level of the letter frequencies within"
        " the first steps, and goes on falling to the end."
    ),
)
