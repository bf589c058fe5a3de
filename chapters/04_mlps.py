# %% [markdown]
# # 04 MLPs
#
# <!-- launch: made by `bow2gpt build` -->
# [Open in Colab](https://colab.research.google.com/github/bow2gpt/bow2gpt/blob/main/chapters/04_mlps.ipynb) | [Open in Binder](https://mybinder.org/v2/gh/bow2gpt/bow2gpt/main?urlpath=lab/tree/chapters/04_mlps.ipynb)
# <!-- /launch -->
#
# *From Bag of Words to GPT, chapter 04. About two hours of reading and running; every cell together takes some three minutes on two cores.*
#
# ## Where we are
#
# Chapter 02 counted. Its best model needs 1.31 bits per byte and millions of numbers, and it cannot share: what it learned of *treaty* says nothing of
# *convention*. Chapter 03 had an idea against that: give every word a short list of numbers, an *embedding*, so that words used alike lie near each
# other. What is missing is a machine that reads a few embeddings and says what comes next, and a way to find the thousands of numbers inside it.
#
# That machine is the *multilayer perceptron*, MLP. You meet its single cell, see what one cell cannot do, and build the engine that trains many of
# them: first for single numbers, then for arrays, then with PyTorch, three times the same network with the same losses. Then come the tools of the
# trade (optimisers, initialisation, dropout, layer norm), each set beside the library's, a few experiments on how deep and how wide, and at the end
# a neural language model on the ladder. It is where the book stops counting and starts to learn.

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
import time

import matplotlib.pyplot as plt
import numpy as np
import torch

from bow2gpt import claims, corpus, figures, ladder, ruler
from bow2gpt.chapters.counting_models import NGramModel
from bow2gpt.chapters.embeddings import MixtureModel
from bow2gpt.chapters.language_features import Tokenizer

# %% [markdown]
# ## The idea by hand: one cell
#
# Rosenblatt's *perceptron* (1958) adds up its inputs, each with a weight, and fires if the sum is above zero:
#
# $$\hat y = \mathrm{sign}(w \cdot x + b)$$
#
# $x$ holds the inputs, $w$ the *weights*, $b$ the *bias*. The answer is $+1$ or $-1$. Nobody sets the weights. The cell looks at an example with its
# *target* $y$, and only if it was wrong it moves: $w \leftarrow w + \eta\, y\, x$ and $b \leftarrow b + \eta\, y$, where $\eta$ is the *learning
# rate*. By hand: weights 0, bias 0, input $(1, 1)$, target $+1$. The score is 0, on the fence, which counts as wrong; so the weights become $(1, 1)$
# and the bias 1, and the next time the score is 3. A small vote for what should have been said.

# %% tags=["export"]
import numpy as np


def perceptron_update(
    weights: np.ndarray, bias: float, inputs: np.ndarray, target: int, learning_rate: float = 1.0
) -> tuple[np.ndarray, float]:
    """Show a perceptron one example; it moves only if it is wrong (Rosenblatt, 1958).

    Args:
        weights: shape (d,).
        bias: a number.
        inputs: shape (d,).
        target: +1 or -1. A score of exactly 0 counts as wrong.
        learning_rate: how far to move.

    Returns:
        New weights, shape (d,), and new bias; the arguments stay as they are.

    Raises:
        ValueError: if the target is another number, or the shapes differ.
    """
    weights, inputs = np.array(weights, dtype=np.float64), np.asarray(inputs, dtype=np.float64)
    if target not in (-1, 1):
        raise ValueError(f"got target {target!r}; a perceptron's target is +1 or -1, so map your two classes to these")
    if weights.ndim != 1 or weights.shape != inputs.shape:
        raise ValueError(f"got weights of shape {weights.shape} and inputs of {inputs.shape}; expected (d,) for both")
    if target * (weights @ inputs + bias) > 0:
        return weights, float(bias)
    return weights + learning_rate * target * inputs, float(bias + learning_rate * target)


# %%
weights, bias = perceptron_update(np.zeros(2), 0.0, np.array([1.0, 1.0]), target=1)
weights, bias

# %% [markdown]
# As by hand. Now let it learn three functions of two bits: AND (both), OR (at least one) and XOR (exactly one). Each has four examples; show them in
# turn until a whole round, an *epoch*, brings no mistake. Which of the three do you expect to make trouble?

# %%
corners = np.array([[0.0, 0], [0, 1], [1, 0], [1, 1]])
functions = {"AND": [-1, -1, -1, 1], "OR": [-1, 1, 1, 1], "XOR": [-1, 1, 1, -1]}


def learn(targets: list[int], epochs: int = 50) -> tuple[np.ndarray, float, int]:
    """Show the four corners in turn until no mistake is left; returns weights, bias and epochs used."""
    weights, bias = np.zeros(2), 0.0
    for epoch in range(1, epochs + 1):
        for corner, target in zip(corners, targets):
            weights, bias = perceptron_update(weights, bias, corner, target)
        if all(target * (weights @ corner + bias) > 0 for corner, target in zip(corners, targets)):
            return weights, bias, epoch
    return weights, bias, epochs


# %%
fig, axes = plt.subplots(1, 3, figsize=(9, 3.2))
side = np.linspace(-0.4, 1.4, 200)
for ax, (name, targets) in zip(axes, functions.items()):
    weights, bias, epochs = learn(targets)
    fires = weights[0] * side[None, :] + weights[1] * side[:, None] + bias > 0
    ax.contourf(side, side, fires, levels=[-0.5, 0.5, 1.5], colors=["white", "0.88"])
    for corner, target in zip(corners, targets):
        ax.plot(*corner, "o" if target > 0 else "X", color=figures.COLOURS[target < 0], markersize=10)
    wrong = sum(target * (weights @ corner + bias) <= 0 for corner, target in zip(corners, targets))
    ax.set(title=f"{name}: {wrong} wrong after {epochs} epochs", xlabel="first input", ylabel="second input")
fig.suptitle("What can one cell learn? (circle: +1; grey: it fires)", fontsize=11)
figures.show(
    fig,
    alt="The four corners of the unit square for AND, OR and XOR, with the half-plane in which the perceptron fires: for AND and OR "
    "a straight line separates the classes within eight epochs, for XOR all four corners are still wrong after 50.",
)

# %% [markdown]
# The border between firing and not firing is always a straight line. For AND and OR there is one, and the rule finds it: Novikoff (1962) proved that it
# always does when there is one. For XOR there is none, and the rule goes round in circles: after each
# round its weights are back at zero, where they began. A pencil shows why. The four corners ask for $b \le 0$, $w_1 + b > 0$, $w_2 + b > 0$ and $w_1 + w_2 + b \le 0$. Add the two in the middle, $w_1 + w_2 + 2b > 0$; add the outer two, $w_1 + w_2 + 2b \le 0$.
# Both cannot be. Minsky and Papert (1969) wrote a book about what follows from that.
#
# ### Why layers need a bend between them
#
# Would more cells help? Send the inputs through one layer of cells without thresholds, and the results through another. Each layer is a matrix and a
# bias. Watch what two of them make.

# %%
rng = np.random.default_rng(0)
first, first_bias, second, second_bias = (rng.normal(size=shape) for shape in [(5, 2), (5,), (3, 5), (3,)])
two_layers = (corners @ first.T + first_bias) @ second.T + second_bias
one_layer = corners @ (second @ first).T + (second @ first_bias + second_bias)
print("largest difference:", np.abs(two_layers - one_layer).max())

# %% [markdown]
# The product of two matrices is a matrix, so a hundred layers without anything between them are one layer, and one layer draws one line. What helps
# is to bend the numbers in between, with any function that is not a straight line. The simplest is $\mathrm{relu}(z) = \max(0, z)$: a cell that stays
# silent below zero. By hand, for XOR: let $h_1 = \mathrm{relu}(x_1 + x_2)$ and $h_2 = \mathrm{relu}(x_1 + x_2 - 1)$, and take $h_1 - 2 h_2$. For the
# inputs 00, 01, 10, 11 the first gives 0, 1, 1, 2, the second 0, 0, 0, 1, and the difference is 0, 1, 1, 0.

# %%
total = corners.sum(axis=1)
hidden = np.maximum(0, np.column_stack([total, total - 1]))
fig, axes = plt.subplots(1, 2, figsize=(8, 3.4))
views = [(corners, "before: the inputs", "input"), (hidden, "after: the hidden layer", "hidden cell")]
for ax, (points, title, name) in zip(axes, views):
    for point, target in zip(points, functions["XOR"]):
        ax.plot(*point, "o" if target > 0 else "X", color=figures.COLOURS[target < 0], markersize=10)
    ax.set(title=title, xlabel=f"{name} 1", ylabel=f"{name} 2", xlim=(-0.3, 2.4), ylim=(-0.3, 1.4))
axes[1].plot([-0.1, 2.7], [-0.3, 1.1], color="0.4", linestyle="--", marker="")
fig.suptitle("How does a hidden layer make XOR easy?", fontsize=11)
figures.show(
    fig,
    alt="Left: the corners of the square, with the two classes on opposite diagonals. Right: after the hidden layer two corners "
    "fall together at (1, 0) and a straight line separates them from (0, 0) and (2, 1).",
)

# %% [markdown]
# The *hidden layer* has folded the square, so that the two corners of one class fall on the same point, and a line (dashed) does the rest. That is
# all that hidden layers do: they move the points until a straight cut is enough. We chose these weights with a pencil. For the ten thousand weights of
# a useful network somebody must say, for each, in which direction to move it. The rest of the chapter hangs on that question.
#
# ## Build it, first time: one number at a time
#
# A *loss* is a number that says how wrong a network is. The *gradient* is the list of its slopes: how fast the loss grows when one weight is turned
# up a little. Take a single cell, $L = (\tanh(w x + b) - y)^2$, with $w = 0.5$, $x = 2$, $b = -1$, $y = 1$. Forward: $wx = 1$, $wx + b = 0$,
# $\tanh 0 = 0$, $L = 1$. Now backward, one step at a time, multiplying the slopes (the *chain rule*): the square has slope $2(0 - 1) = -2$; $\tanh$
# at 0 has slope $1 - 0^2 = 1$, so still $-2$; adding $b$ passes it on: $\partial L/\partial b = -2$; and $wx$ grows $x$ times as fast as $w$, so
# $\partial L/\partial w = -2 \cdot 2 = -4$. Turn $w$ up, and the loss falls.
#
# Each step needed only two things: the slope that came from above, and the local slope of one operation. So let each number remember what it was made
# from, with the local slopes, and the walk backward can be automatic: *reverse-mode automatic differentiation* (Linnainmaa, 1970), known in networks
# as *back-propagation* (Rumelhart, Hinton and Williams, 1986).
#
# The class is long because it has one line for each operation. Read `__mul__`, where the two local slopes are the other factor, and then `backward`.
# It must not pass a slope on before all of it has arrived, so it visits the numbers in *topological order*: each after everything that was made from
# it. A number that is used twice gets both shares, which is why gradients are *added*.

# %% tags=["export"]
import math


class Value:
    """A number that remembers what it was made from, so that slopes can be carried back to its origins.

    Its arithmetic is Python's: `+ - * / **`, with plain numbers on either side, and exp, log, tanh, relu.

    But: one object a number; for networks of any size see the arrays below.

    Attributes:
        data: the number, a float.
        grad: slope of what `backward` was called on with respect to this number; calls add up until you set it to 0.
        parents: the values it was made from.
        operation: how.
    """

    __slots__ = ("data", "grad", "operation", "parents", "slopes")
    __array_ufunc__ = None  # numpy numbers on the left leave the arithmetic to us

    def __init__(self, data: float, parents: tuple = (), slopes: tuple = (), operation: str = "") -> None:
        self.data, self.grad = float(data), 0.0
        self.parents, self.slopes, self.operation = parents, slopes, operation

    def __repr__(self) -> str:
        return f"Value(data={self.data:.6g}, grad={self.grad:.6g})"

    def __add__(self, other: "Value | float") -> "Value":
        other = _as_value(other)
        return Value(self.data + other.data, (self, other), (1.0, 1.0), "+")

    def __mul__(self, other: "Value | float") -> "Value":
        other = _as_value(other)
        return Value(self.data * other.data, (self, other), (other.data, self.data), "*")

    def __pow__(self, exponent: float) -> "Value":
        if isinstance(exponent, Value):
            raise TypeError("the exponent must be a plain number; write a ** b as (a.log() * b).exp()")
        if self.data < 0 and exponent != int(exponent):
            raise ValueError(f"got {self.data} ** {exponent}, which is no real number; use a whole exponent")
        if self.data == 0 and exponent < 1:  # the root of 0 is vertical, and 0 to the 0 flat
            slope = math.inf if exponent > 0 else 0.0
        else:
            slope = exponent * self.data ** (exponent - 1)
        return Value(self.data**exponent, (self,), (slope,), f"**{exponent:g}")

    def __neg__(self) -> "Value":
        return self * -1.0

    def __sub__(self, other: "Value | float") -> "Value":
        return self + -_as_value(other)

    def __truediv__(self, other: "Value | float") -> "Value":
        other = _as_value(other)
        quotient = self.data / other.data
        return Value(quotient, (self, other), (1 / other.data, -quotient / other.data), "/")

    def __radd__(self, other: float) -> "Value":
        return _as_value(other) + self

    def __rsub__(self, other: float) -> "Value":
        return _as_value(other) - self

    def __rmul__(self, other: float) -> "Value":
        return _as_value(other) * self

    def __rtruediv__(self, other: float) -> "Value":
        return _as_value(other) / self

    def exp(self) -> "Value":
        power = math.exp(self.data)
        return Value(power, (self,), (power,), "exp")

    def log(self) -> "Value":
        if self.data <= 0:
            raise ValueError(f"got the logarithm of {self.data}; it exists above 0 only")
        return Value(math.log(self.data), (self,), (1 / self.data,), "log")

    def tanh(self) -> "Value":
        bent = math.tanh(self.data)
        return Value(bent, (self,), (1 - bent * bent,), "tanh")

    def relu(self) -> "Value":
        return Value(max(0.0, self.data), (self,), (float(self.data > 0),), "relu")

    def backward(self) -> None:
        """Add to the `grad` of every number this one was made from, and to its own, the slope with respect to it."""
        arrived = {self: 1.0}
        for value in reversed(_topological_order(self)):
            slope = arrived[value]
            value.grad += slope
            for parent, local_slope in zip(value.parents, value.slopes, strict=True):
                arrived[parent] = arrived.get(parent, 0.0) + slope * local_slope


def _as_value(number: "Value | float") -> Value:
    return number if isinstance(number, Value) else Value(number)


def _topological_order(last: Value) -> list[Value]:
    """Everything a value was made from, each after its parents; a loop, since a long chain would exhaust recursion."""
    order, finished, waiting = [], set(), [(last, False)]
    while waiting:
        value, parents_done = waiting.pop()
        if parents_done:
            order.append(value)
        elif value not in finished:
            finished.add(value)
            waiting.append((value, True))
            waiting.extend((parent, False) for parent in value.parents)
    return order


# %%
w, x, b, y = Value(0.5), Value(2.0), Value(-1.0), Value(1.0)
loss = ((w * x + b).tanh() - y) ** 2
loss.backward()
print("loss", loss.data, " slope of w", w.grad, " slope of b", b.grad)


# %% [markdown]
# $-4$ and $-2$, as with the pencil. Draw what the last number remembers: one box for each operation, the number above, the slope that reached it below. Read
# the figure from right to left and multiply as you go.

# %%
def draw_graph(ax: plt.Axes, last: Value, names: dict[Value, str]) -> None:
    """Draw what a value was made from, left to right."""
    order = _topological_order(last)
    column = {last: 0}
    for value in reversed(order):  # a number stands right before the first that was made from it
        for parent in value.parents:
            column[parent] = min(column.get(parent, 0), column[value] - 1)
    rows = {
        c: sorted((v for v in order if column[v] == c), key=lambda v: -len(_topological_order(v)))
        for c in column.values()
    }
    place = {value: (c, -i) for c, values in rows.items() for i, value in enumerate(values)}
    for value in order:
        for parent in value.parents:
            arrow = {"arrowstyle": "->", "color": "0.4", "shrinkA": 22, "shrinkB": 24}
            ax.annotate("", place[value], place[parent], arrowprops=arrow)
        label = f"{names.get(value, value.operation)}\n{value.data:.3g}\nslope {value.grad:.3g}"
        box = {"boxstyle": "round", "facecolor": "0.93" if value.operation else "white", "edgecolor": "0.5"}
        ax.text(*place[value], label, ha="center", va="center", fontsize=8, bbox=box)
    ax.set(xlim=(min(rows) - 0.5, 0.5), ylim=(-2.5, 0.5))
    ax.axis("off")


# %%
fig, ax = plt.subplots(figsize=(9, 3.2))
draw_graph(ax, loss, {w: "w", x: "x", b: "b", y: "y", loss: "L"})
ax.set_title("How does the loss reach back to each weight?")
figures.show(
    fig,
    alt="Graph of the computation from left to right: w and x are multiplied, b is added, tanh, y subtracted, squared. Under each "
    "number stands its slope, 1 at the loss, then minus 2, and minus 4 at w.",
)

# %% [markdown]
# ## Build it, second time: arrays
#
# Now a network for XOR: two inputs, four hidden cells with $\tanh$, two outputs. The outputs, called *logits*, become probabilities by the *softmax*,
# $p_k = e^{z_k} / \sum_j e^{z_j}$, and the loss is the *cross-entropy* $-\ln p_y$ of the right class $y$: the surprise in nats, which chapter 01's ruler
# measures in bits. First with `Value`, cell by cell. The loss is the mean over the four examples, and all three versions will start from the same
# twenty-two random numbers.

# %%
targets = np.array([0, 1, 1, 0])
rng = np.random.default_rng(4)
start = [rng.normal(size=shape) for shape in [(4, 2), (4,), (2, 4), (2,)]]


def value_loss(numbers: list[list]) -> Value:
    """Mean cross-entropy of the network on the four corners, one number at a time."""
    hidden_weight, hidden_bias, output_weight, output_bias = numbers
    loss = 0.0
    for corner, target in zip(corners, targets):
        hidden = [(w[0] * corner[0] + w[1] * corner[1] + b).tanh() for w, b in zip(hidden_weight, hidden_bias)]
        logits = [sum(w * h for w, h in zip(row, hidden)) + b for row, b in zip(output_weight, output_bias)]
        loss = loss + (logits[0].exp() + logits[1].exp()).log() - logits[target]
    return loss / len(corners)


# %%
def train_values(steps: int, learning_rate: float = 0.5) -> list[float]:
    """Gradient descent, one number at a time; returns the losses."""
    as_values = np.vectorize(Value, otypes=[object])
    numbers, losses = [as_values(array) for array in start], []
    for _ in range(steps):
        loss = value_loss(numbers)
        loss.backward()
        losses.append(loss.data)
        numbers = [as_values([n.data - learning_rate * n.grad for n in a.flat]).reshape(a.shape) for a in numbers]
    return losses


value_losses = train_values(300)
print("first and last loss:", value_losses[0], value_losses[-1])

# %% [markdown]
# It learns XOR, at a price you will see below: a Python object for every product. Arrays do a whole layer at once, for a whole *batch* of examples. A
# layer computes $Y = X W^\top + b$, with one example in each row of $X$. The slopes go back by three formulas. Write $G$ for the slope of the loss with
# respect to $Y$, which comes from above. Each entry $Y_{ij} = \sum_k X_{ik} W_{jk} + b_j$, so
#
# $$\frac{\partial L}{\partial X} = G\, W, \qquad \frac{\partial L}{\partial W} = G^\top X, \qquad \frac{\partial L}{\partial b} = \sum_i G_i$$
#
# If you forget which one is transposed, look at the shapes: only one product fits.

# %% tags=["export"]
import numpy as np


def linear_backward(
    grad_output: np.ndarray, inputs: np.ndarray, weight: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Carry slopes back through `outputs = inputs @ weight.T + bias`.

    Args:
        grad_output: slope of the loss with respect to the outputs, shape (batch, out).
        inputs: shape (batch, in).
        weight: shape (out, in), as in torch.

    Returns:
        Slopes with respect to inputs (batch, in), weight (out, in) and bias (out,).

    Raises:
        ValueError: if the shapes do not fit.
    """
    grad_output, inputs, weight = map(np.asarray, (grad_output, inputs, weight))
    shapes = grad_output.shape, inputs.shape, weight.shape
    if [len(shape) for shape in shapes] != [2, 2, 2] or shapes[0] != (len(inputs), len(weight)):
        raise ValueError(f"got shapes {shapes}; expected (batch, out), (batch, in) and (out, in)")
    if inputs.shape[1] != weight.shape[1]:
        raise ValueError(
            f"got inputs of {inputs.shape[1]} numbers and a weight for {weight.shape[1]}; is it transposed?"
        )
    return grad_output @ weight, grad_output.T @ inputs, grad_output.sum(axis=0)


# %% [markdown]
# The other piece is the loss. Softmax and cross-entropy together have a slope so short that everybody remembers it: with respect to the logits it is
# $p - \mathbb{1}_y$, the probabilities minus one at the right class, divided by the batch's size since the loss is a mean. By hand: logits $(0, 0)$,
# right class 0. Both probabilities are 1/2, the loss is $\ln 2$, the slope $(-1/2, 1/2)$: push the first up, the second down.
#
# One trap: $e^{1000}$ overflows. Subtracting the largest logit from all of them changes no probability and makes the largest power $e^0$.

# %% tags=["export"]
def softmax_cross_entropy(logits: np.ndarray, targets: np.ndarray) -> tuple[float, np.ndarray]:
    """Mean surprise at the right classes, and its slope with respect to the logits.

    Args:
        logits: shape (batch, classes), of any size: nothing overflows.
        targets: the right class of each row, integers from 0, shape (batch,).

    Returns:
        The loss in nats, and an array of shape (batch, classes).

    Raises:
        ValueError: if a shape or a target does not fit, or a logit is NaN.
    """
    logits, targets = np.asarray(logits), np.asarray(targets)
    logits = logits if np.issubdtype(logits.dtype, np.floating) else logits.astype(np.float64)
    if logits.ndim != 2 or targets.shape != logits.shape[:1] or logits.size == 0:
        raise ValueError(
            f"got shapes {logits.shape} and {targets.shape}; expected (batch, classes) and (batch,), not empty"
        )
    if not np.issubdtype(targets.dtype, np.integer) or targets.min() < 0 or targets.max() >= logits.shape[1]:
        raise ValueError(f"got targets {targets[:5]}...; expected integers from 0 to {logits.shape[1] - 1}")
    if np.isnan(logits).any():
        raise ValueError("got a logit that is NaN; look for a division by zero or an overflow before this layer")
    rows = np.arange(len(logits))
    shifted = logits - logits.max(axis=1, keepdims=True)
    log_probs = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    grad_logits = np.exp(log_probs)
    grad_logits[rows, targets] -= 1
    return float(-log_probs[rows, targets].mean()), grad_logits / len(logits)


# %%
(
    softmax_cross_entropy(np.array([[0.0, 0.0]]), np.array([0])),
    softmax_cross_entropy(np.array([[1e4, 0.0]]), np.array([1])),
)

# %% [markdown]
# ### Trust, but check
#
# A wrong slope seldom crashes. The network just learns badly, and you look for the fault in the wrong place. The remedy is older than networks: turn
# one number up by a tiny $\epsilon$, then down, and see what the loss does. The *central difference* $(L(w + \epsilon) - L(w - \epsilon)) / 2\epsilon$
# is wrong only by a multiple of $\epsilon^2$. It needs two evaluations for each number, so it is for checking, not for training.

# %% tags=["export"]
from collections.abc import Callable

import numpy as np


def gradient_check(
    function: Callable[[np.ndarray], float],
    gradient: Callable[[np.ndarray], np.ndarray],
    point: np.ndarray,
    epsilon: float = 1e-5,
) -> float:
    """Largest relative error between a gradient and central differences.

    Args:
        function: takes an array like `point` and returns a number.
        gradient: takes the same and returns the claimed slopes, of the point's shape.
        point: where to look; any shape, stays as it is.
        epsilon: how far to turn each number up and down.

    Returns:
        The largest |claimed - measured| / max(|claimed|, |measured|, 1e-8): below 1e-6 when right, near 1 when not.

    Raises:
        ValueError: if the gradient has another shape than the point, or epsilon is not above 0.
    """
    point = np.array(point, dtype=np.float64)
    if not epsilon > 0:
        raise ValueError(f"got epsilon {epsilon}; it must be above 0, say 1e-5")
    claimed = np.asarray(gradient(point.copy()), dtype=np.float64)
    if claimed.shape != point.shape:
        raise ValueError(f"got a gradient of shape {claimed.shape} at a point of shape {point.shape}; they must agree")
    measured = np.zeros_like(point)
    for index in np.ndindex(point.shape):
        step = np.zeros_like(point)
        step[index] = epsilon
        measured[index] = (function(point + step) - function(point - step)) / (2 * epsilon)
    scale = np.maximum(np.maximum(np.abs(claimed), np.abs(measured)), 1e-8)
    return float(np.max(np.abs(claimed - measured) / scale, initial=0.0))


# %% [markdown]
# The whole network on arrays: forward, and back through the same steps in reverse. The slope of $\tanh$ is $1 - \tanh^2$, entry by entry. Below it,
# every one of the twenty-two slopes is checked.

# %%
def array_loss(parameters: list[np.ndarray]) -> tuple[float, list[np.ndarray]]:
    """The same loss as `value_loss`, and the slope of each array."""
    hidden_weight, hidden_bias, output_weight, output_bias = parameters
    hidden = np.tanh(corners @ hidden_weight.T + hidden_bias)  # (batch, hidden)
    loss, grad_logits = softmax_cross_entropy(hidden @ output_weight.T + output_bias, targets)
    grad_hidden, grad_output_weight, grad_output_bias = linear_backward(grad_logits, hidden, output_weight)
    grad_before_tanh = grad_hidden * (1 - hidden**2)
    _, grad_hidden_weight, grad_hidden_bias = linear_backward(grad_before_tanh, corners, hidden_weight)
    return loss, [grad_hidden_weight, grad_hidden_bias, grad_output_weight, grad_output_bias]


# %%
def with_array(place: int, array: np.ndarray) -> list[np.ndarray]:
    """The starting parameters with one of the four arrays replaced."""
    return [*start[:place], array, *start[place + 1 :]]


for place, name in enumerate(["hidden weight", "hidden bias", "output weight", "output bias"]):
    error = gradient_check(
        lambda array, place=place: array_loss(with_array(place, array))[0],
        lambda array, place=place: array_loss(with_array(place, array))[1][place],
        start[place],
    )
    print(f"{name:14} largest relative error {error:.0e}")


# %% [markdown]
# ## Build it, third time: torch
#
# PyTorch is the same two ideas, arrays and numbers that remember, in C++ and on any device. Three lines make the network, `backward()` fills in the
# slopes. Start from the same numbers and train all three. Will the losses agree?

# %%
def train_arrays(steps: int, learning_rate: float = 0.5) -> list[float]:
    """Gradient descent with hand-written slopes."""
    parameters, losses = start, []
    for _ in range(steps):
        loss, gradients = array_loss(parameters)
        losses.append(loss)
        parameters = [p - learning_rate * g for p, g in zip(parameters, gradients)]
    return losses


def train_torch(steps: int, learning_rate: float = 0.5) -> list[float]:
    """Gradient descent with torch."""
    network = torch.nn.Sequential(torch.nn.Linear(2, 4), torch.nn.Tanh(), torch.nn.Linear(4, 2)).double()
    for parameter, array in zip(network.parameters(), start):
        parameter.data = torch.tensor(array)
    optimiser, losses = torch.optim.SGD(network.parameters(), lr=learning_rate), []
    for _ in range(steps):
        loss = torch.nn.functional.cross_entropy(network(torch.tensor(corners)), torch.tensor(targets))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    return losses


# %%
array_losses, torch_losses = train_arrays(300), train_torch(300)
for name, losses in {"arrays": array_losses, "torch": torch_losses}.items():
    print(f"{name:7} largest difference from `Value`: {np.abs(np.subtract(losses, value_losses)).max():.0e}")

# %%
fig, ax = plt.subplots()
runs = {"Value": (value_losses, 0), "arrays": (array_losses, 15), "torch": (torch_losses, 30)}
for name, (losses, shift) in runs.items():
    ax.plot(losses, label=name, markevery=(shift, 45))
ax.axhline(np.log(2), color="0.5", linewidth=1, linestyle=":", marker="")
ax.text(302, np.log(2), "a coin", va="bottom", ha="right", fontsize=9)
ax.set(title="Do the three networks learn the same?", xlabel="step", ylabel="loss (nats)", ylim=(0, None))
ax.legend()
figures.show(
    fig,
    alt="Three loss curves that lie exactly on each other, falling from above the level of a coin to near zero within 300 steps.",
)


# %% [markdown]
# One curve. So from here on torch may do the work: you know what it does. What is it good for, if arrays give the same? Time a step of each, forward
# and backward, with the four corners copied to larger and larger batches and a hidden layer of 4 cells.

# %%
def seconds_per_step(step, repeats: int = 3) -> float:
    """Shortest of a few running times."""
    times = []
    for _ in range(repeats):
        began = time.perf_counter()
        step()
        times.append(time.perf_counter() - began)
    return min(times)


def torch_step(inputs: torch.Tensor, classes: torch.Tensor) -> None:
    parameters = [torch.tensor(array, requires_grad=True) for array in start]
    hidden = torch.tanh(inputs @ parameters[0].T + parameters[1])
    torch.nn.functional.cross_entropy(hidden @ parameters[2].T + parameters[3], classes).backward()


# %%
torch_threads = torch.get_num_threads()
torch.set_num_threads(1)  # so that all three have one core
one_corner, one_target, timings = corners, targets, {"Value": {}, "arrays": {}, "torch": {}}
numbers = [np.vectorize(Value, otypes=[object])(array) for array in start]
for copies in [1, 4, 16, 64, 1024, 16384]:
    corners, targets = np.tile(one_corner, (copies, 1)), np.tile(one_target, copies)
    tensors = torch.tensor(corners), torch.tensor(targets)
    if copies <= 64:
        timings["Value"][4 * copies] = seconds_per_step(lambda: value_loss(numbers).backward())
    timings["arrays"][4 * copies] = seconds_per_step(lambda: array_loss(start))
    timings["torch"][4 * copies] = seconds_per_step(lambda pair=tensors: torch_step(*pair))
corners, targets = one_corner, one_target
torch.set_num_threads(torch_threads)

# %%
fig, ax = plt.subplots()
for name, measured in timings.items():
    sizes = np.array(list(measured))
    ax.loglog(sizes, 1e6 * np.array(list(measured.values())) / sizes, label=name)
ax.set(title="What does one example cost?", xlabel="batch size (examples)", ylabel="time per example (µs, log scale)")
ax.legend()
figures.show(
    fig,
    alt="Time per example against batch size: Value stays at hundreds of microseconds however large the batch; arrays and torch fall "
    "from tens of microseconds to less than one as the batch grows.",
)

# %% [markdown]
# `Value` costs the same for each example however many there are; the arrays spread the price of calling numpy over the whole batch. On this small
# network torch is no faster than your own numpy: its advantages are that it writes the backward pass for you, and larger matrices.
#
# ## Downhill: optimisers
#
# *Gradient descent* takes a step against the slope: $w \leftarrow w - \eta\, g$. On a sample of the data, a *mini-batch*, it is called *stochastic
# gradient descent*, SGD (Robbins and Monro, 1951). It has a weakness. In a valley that is steep across and gentle along, a rate small enough not to
# bounce between the walls is too small to get anywhere along the floor. Two remedies. *Momentum* (Polyak, 1964) keeps a running sum of slopes,
# $m \leftarrow \mu m + g$, and steps along that: what points back and forth cancels, what points the same way adds up. *Adam* (Kingma and Ba, 2015)
# also keeps a running mean of the squared slopes, and divides by its root, so that each weight gets steps of about the same size:
#
# $$m \leftarrow \beta_1 m + (1 - \beta_1)\, g, \qquad v \leftarrow \beta_2 v + (1 - \beta_2)\, g^2, \qquad
# w \leftarrow w - \eta \, \frac{m / (1 - \beta_1^t)}{\sqrt{v / (1 - \beta_2^t)} + \epsilon}$$
#
# Both averages start at zero and are too small at first; dividing by $1 - \beta^t$ at step $t$ corrects that. By hand, at step 1: $m = (1 - \beta_1) g$,
# corrected $g$; $v$ corrected $g^2$; so the first step is $\eta\, g / |g|$, the full learning rate, whatever the size of the slope.
#
# *AdamW* (Loshchilov and Hutter, 2019) adds *weight decay* beside the slope and not inside it: first every weight shrinks by the factor
# $1 - \eta\lambda$, then Adam's step. A weight that no example needs fades. The functions return new arrays and keep their averages in `state`.

# %% tags=["export"]
import numpy as np


def sgd_step(
    parameter: np.ndarray, gradient: np.ndarray, state: dict, learning_rate: float = 1e-2, momentum: float = 0.0
) -> np.ndarray:
    """One step of gradient descent, with Polyak's (1964) momentum if it is above 0; equals torch.optim.SGD.

    Args:
        parameter: any shape.
        gradient: the same shape.
        state: a dict of this parameter's own, empty at first; keeps the momentum.
        learning_rate: how far to step.
        momentum: what stays of the last step's direction, from 0 to below 1.

    Returns:
        The new parameter; the old one stays as it is.

    Raises:
        ValueError: if the shapes differ.
    """
    parameter, gradient = _same_shape(parameter, gradient)
    direction = gradient + momentum * state["momentum"] if "momentum" in state else gradient
    if momentum:
        state["momentum"] = np.array(direction)
    return parameter - learning_rate * direction


def adamw_step(
    parameter: np.ndarray,
    gradient: np.ndarray,
    state: dict,
    learning_rate: float = 1e-3,
    betas: tuple[float, float] = (0.9, 0.999),
    epsilon: float = 1e-8,
    weight_decay: float = 0.01,
) -> np.ndarray:
    """One step of AdamW (Loshchilov and Hutter, 2019); without weight decay, of Adam (Kingma and Ba, 2015).

    Args:
        parameter: any shape.
        gradient: the same shape.
        state: a dict of this parameter's own, empty at first; keeps `step`, `first_moment` and `second_moment`.
        learning_rate: about how far each weight moves.
        betas: how much stays of the running means of slopes and of squared slopes.
        epsilon: added to the root, so that it is never 0.
        weight_decay: each weight shrinks by learning_rate * weight_decay of itself.

    Returns:
        The new parameter, equal to torch.optim.AdamW's; the old one stays as it is.

    Raises:
        ValueError: if the shapes differ, or a beta is outside 0 to 1.
    """
    parameter, gradient = _same_shape(parameter, gradient)
    if not all(0 <= beta < 1 for beta in betas):
        raise ValueError(f"got betas {betas}; each must be from 0 to below 1")
    state["step"] = step = state.get("step", 0) + 1
    state["first_moment"] = betas[0] * state.get("first_moment", 0.0) + (1 - betas[0]) * gradient
    state["second_moment"] = betas[1] * state.get("second_moment", 0.0) + (1 - betas[1]) * gradient**2
    mean = state["first_moment"] / (1 - betas[0] ** step)
    size = np.sqrt(state["second_moment"] / (1 - betas[1] ** step)) + epsilon
    return parameter * (1 - learning_rate * weight_decay) - learning_rate * mean / size


def adam_step(parameter: np.ndarray, gradient: np.ndarray, state: dict, learning_rate: float = 1e-3) -> np.ndarray:
    """One step of Adam (Kingma and Ba, 2015): AdamW without the W."""
    return adamw_step(parameter, gradient, state, learning_rate, weight_decay=0.0)


def _same_shape(parameter: np.ndarray, gradient: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    parameter, gradient = np.asarray(parameter), np.asarray(gradient)
    if parameter.shape != gradient.shape:
        raise ValueError(
            f"got a parameter of shape {parameter.shape} and a gradient of {gradient.shape}; expected equal"
        )
    return parameter, gradient


# %% [markdown]
# First the check against the library: each rule and torch's own, a hundred steps with the same random slopes. Then the valley, $(x^2 + 100 y^2) / 2$,
# steep in $y$ and gentle in $x$. Before you look: which path will bounce, which will overshoot, and which goes almost straight?

# %%
rules = {
    "SGD": (lambda p, g, s: sgd_step(p, g, s, 0.018), lambda p: torch.optim.SGD(p, lr=0.018)),
    "momentum": (lambda p, g, s: sgd_step(p, g, s, 0.01, 0.9), lambda p: torch.optim.SGD(p, lr=0.01, momentum=0.9)),
    "Adam": (lambda p, g, s: adam_step(p, g, s, 0.2), lambda p: torch.optim.Adam(p, lr=0.2)),
    "AdamW": (
        lambda p, g, s: adamw_step(p, g, s, 0.2, weight_decay=0.3),
        lambda p: torch.optim.AdamW(p, lr=0.2, weight_decay=0.3),
    ),
}
rng = np.random.default_rng(1)
for name, (rule, library) in rules.items():
    ours, state, theirs = rng.normal(size=(3, 2)), {}, torch.zeros(3, 2, dtype=torch.float64)
    theirs.copy_(torch.tensor(ours))
    optimiser, worst = library([theirs.requires_grad_()]), 0.0
    for gradient in rng.normal(size=(100, 3, 2)):
        ours, theirs.grad = rule(ours, gradient, state), torch.tensor(gradient)
        optimiser.step()
        worst = max(worst, np.abs(ours - theirs.detach().numpy()).max())
    print(f"{name:9} largest difference from torch in 100 steps: {worst:.0e}")

# %%
steepness = np.array([1.0, 100.0])
fig, axes = plt.subplots(1, 4, figsize=(10, 3), sharey=True)
horizontal, vertical = np.meshgrid(np.linspace(-5, 2.5, 100), np.linspace(-1.3, 1.3, 100))
for ax, (name, (rule, _)) in zip(axes, rules.items()):
    point, state, path = np.array([-4.5, 1.0]), {}, []
    for _ in range(41):
        path.append(point)
        point = rule(point, steepness * point, state)
    ax.contour(horizontal, vertical, (horizontal**2 + 100 * vertical**2) / 2, levels=8, colors="0.8", linewidths=0.8)
    ax.plot(*np.transpose(path), marker="o", markersize=3, linewidth=1, linestyle="-")
    ax.set(title=f"{name}: {path[-1] @ (steepness * path[-1]) / 2:.0e}", xlabel="x", ylabel="y")
fig.suptitle("Which way do they go down? (40 steps; the loss that is left)", fontsize=11)
figures.show(
    fig,
    alt="Paths in a narrow valley. SGD zigzags between the walls while it creeps along; momentum swings round the minimum; Adam and AdamW "
    "walk nearly straight towards it and overshoot a little.",
)

# %% [markdown]
# All four agree with torch to the last digits. In the valley, SGD zigzags with the largest rate it can bear and then creeps along the floor; momentum
# gets there and swings past; Adam and AdamW ignore how steep a side is and set out along the diagonal, each coordinate at the same pace. AdamW comes
# nearest here because its decay pulls towards zero, and zero happens to be the goal. On another valley it would be a hindrance.
#
# ## Where to start: initialisation
#
# All-zero weights will not do: every hidden cell gets the same slope and stays the twin of the others. Random ones, but how large? Send random inputs
# through thirty layers and watch the standard deviation. If each layer multiplies it by 0.8, after thirty it is $0.8^{30} \approx 0.001$, and the slopes
# shrink the same way coming back. A sum of $n$ independent terms of variance $\sigma^2$ has variance $n\sigma^2$; so for a layer of $n$ inputs,
# $\sigma^2 = 1/n$ keeps the size. *Glorot initialisation* (Glorot and Bengio, 2010) takes $2/(n_\text{in} + n_\text{out})$, a compromise between the
# way forward and the way back. *He initialisation* (He et al., 2015) takes $2/n_\text{in}$, since *relu* silences half of the cells.

# %% tags=["export"]
import math

import numpy as np


def glorot_uniform(shape: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
    """Random weights of shape (out, in), uniform, with variance 2 / (in + out) (Glorot and Bengio, 2010)."""
    bound = math.sqrt(6 / (_checked_shape(shape)[0] + shape[1]))  # a uniform number up to a has variance a * a / 3
    return rng.uniform(-bound, bound, shape)


def he_normal(shape: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
    """Random weights of shape (out, in), normal, with variance 2 / in: for relu (He, Zhang, Ren and Sun, 2015)."""
    return rng.normal(0.0, math.sqrt(2 / _checked_shape(shape)[1]), shape)


def _checked_shape(shape: tuple[int, int]) -> tuple[int, int]:
    if len(shape) != 2 or min(shape) < 1:
        raise ValueError(f"got shape {shape}; a layer's weight has shape (out, in), both at least 1")
    return shape


# %%
def spread(make_weights: Callable, bend: Callable, depth: int = 30, width: int = 256) -> list[float]:
    """Standard deviation of the numbers after each layer."""
    rng = np.random.default_rng(0)
    passing, measured = rng.normal(size=(200, width)), []
    for _ in range(depth):
        passing = bend(passing @ make_weights((width, width), rng).T)
        measured.append(passing.std())
    return measured


# %%
def relu(numbers: np.ndarray) -> np.ndarray:
    return np.maximum(0, numbers)


recipes = {
    "σ = 0.05, relu": (lambda shape, rng: rng.normal(0, 0.05, shape), relu),
    "σ = 0.15, relu": (lambda shape, rng: rng.normal(0, 0.15, shape), relu),
    "Glorot, tanh": (glorot_uniform, np.tanh),
    "Glorot, relu": (glorot_uniform, relu),
    "He, relu": (he_normal, relu),
}
fig, ax = plt.subplots()
for name, (make_weights, bend) in recipes.items():
    ax.semilogy(range(1, 31), spread(make_weights, bend), label=name, markevery=4)
ax.set(title="What is left of a signal after thirty layers?", xlabel="layer", ylabel="standard deviation (log scale)")
ax.legend(fontsize=8, loc="lower left")
figures.show(
    fig,
    alt="Standard deviation by layer on a log scale: with fixed sizes of weights it vanishes or explodes by many powers of ten, with Glorot "
    "and relu it falls by the root of two each layer, with Glorot and tanh it shrinks slowly, and with He and relu it stays level.",
)

# %% [markdown]
# Only *He* with relu stays level. Glorot with relu loses a factor $\sqrt 2$ in each layer, and a guess that is off by a little goes to zero or to
# the stars. (The tests compare both recipes with `torch.nn.init`, number by number.)
#
# ### Two more tools: layer norm and dropout
#
# Instead of hoping that the numbers keep their size, *layer norm* (Ba, Kiros and Hinton, 2016) sets it: of each example's $d$ numbers subtract the mean
# and divide by the standard deviation, then let the network choose a *gain* and a *bias* for each place. By hand: $(1, 3)$ has mean 2 and standard
# deviation 1, so it becomes $(-1, 1)$. A tiny $\epsilon$ below the root keeps a row of equal numbers from being divided by zero.
#
# *Dropout* (Srivastava et al., 2014) silences each hidden cell with some probability $p$, anew for each example of each step, so that no cell can rely
# on one other. The survivors are multiplied by $1/(1 - p)$, so that the sum stays the same on average; that is the *inverted* kind, and with it
# nothing has to be done when the training is over.

# %% tags=["export"]
import numpy as np


def layer_norm(inputs: np.ndarray, gain: np.ndarray, bias: np.ndarray, epsilon: float = 1e-5) -> np.ndarray:
    """Give the last axis mean 0 and standard deviation 1, then scale and shift it (Ba, Kiros and Hinton, 2016).

    Args:
        inputs: shape (..., d).
        gain: shape (d,).
        bias: shape (d,).
        epsilon: added to the variance, so that equal numbers are not divided by 0.

    Returns:
        Array of the inputs' shape.

    Raises:
        ValueError: if gain or bias has not the shape (d,).
    """
    inputs, gain, bias = map(np.asarray, (inputs, gain, bias))
    if inputs.ndim == 0 or gain.shape != inputs.shape[-1:] or bias.shape != inputs.shape[-1:]:
        raise ValueError(
            f"got inputs {inputs.shape}, gain {gain.shape}, bias {bias.shape}; expected (..., d), (d,), (d,)"
        )
    centred = inputs - inputs.mean(axis=-1, keepdims=True)
    variance = (centred**2).mean(axis=-1, keepdims=True)
    return gain * centred / np.sqrt(variance + epsilon) + bias


def dropout(inputs: np.ndarray, probability: float, rng: np.random.Generator, training: bool = True) -> np.ndarray:
    """Silence each number with a probability, and scale up the others (Srivastava et al., 2014).

    Args:
        inputs: any shape; stays as it is.
        probability: of being silenced, from 0 to 1.
        rng: where the chance comes from.
        training: False returns the inputs unchanged.

    Returns:
        Array of the inputs' shape with the same mean, on average.

    Raises:
        ValueError: if the probability is outside 0 to 1.
    """
    inputs = np.asarray(inputs)
    if not 0 <= probability <= 1:
        raise ValueError(f"got probability {probability}; it must be from 0 to 1")
    if not training or probability == 0:
        return inputs.copy()
    scale = 0.0 if probability == 1 else 1 / (1 - probability)
    kept = rng.random(inputs.shape) >= probability
    return (inputs * kept * scale).astype(np.result_type(inputs.dtype, np.float32))


# %%
row = np.array([[1.0, 3.0], [5.0, 5.0]])
print(layer_norm(row, np.ones(2), np.zeros(2)).round(3).tolist())
dropped = dropout(np.ones(10_000), 0.25, np.random.default_rng(0))
print("silenced:", (dropped == 0).mean(), " the others:", dropped.max().round(3), " mean:", dropped.mean().round(3))

# %% [markdown]
# ## How deep, how wide?
#
# The source has advice on that, and it can be tested. One run proves nothing: another seed, another random split of the data, and the winner changes.
# So each experiment below trains ten to thirty networks, each with its own start and its own split, and shows the mean with an interval that covers
# the true mean in 95 of 100 repetitions (1.96 standard errors). You saw that torch asks a fixed price for each operation, whatever its size. So let
# the networks share it: give every array one more axis, for the copy, and thirty of them train side by side in stacks of matrices.

# %% tags=["export"]
from collections.abc import Sequence

import numpy as np
import torch
from torch.nn import functional as F


class ManyMLPs(torch.nn.Module):
    """Networks of one shape side by side, each with weights of its own, trained together.

    Attributes:
        sizes: numbers in each layer, inputs first, classes last.
        copies: how many networks.
    """

    def __init__(
        self, sizes: Sequence[int], copies: int, seed: int = 0, scale: float | None = None, helped: bool = False
    ):
        """Draw weights: normal with standard deviation `scale` or He's; `helped` adds norms and short cuts."""
        super().__init__()
        if len(sizes) < 2 or copies < 1:
            raise ValueError(f"got sizes {sizes} and {copies} copies; expected two sizes or more, and one copy or more")
        self.sizes, self.copies, self.helped = tuple(sizes), copies, helped
        generator = torch.Generator().manual_seed(seed)
        pairs = list(zip(sizes[:-1], sizes[1:], strict=True))
        spreads = [math.sqrt(2 / fan_in) if scale is None else scale for fan_in, _ in pairs]
        drawn = [s * torch.randn(copies, *pair, generator=generator) for s, pair in zip(spreads, pairs, strict=True)]
        self.weights = torch.nn.ParameterList(drawn)  # (copies, in, out)
        self.biases = torch.nn.ParameterList([torch.zeros(copies, 1, fan_out) for _, fan_out in pairs])

    @property
    def num_parameters(self) -> int:
        """Numbers learned by each network."""
        return sum(parameter.numel() for parameter in self.parameters()) // self.copies

    def forward(self, inputs: torch.Tensor, dropout: float = 0.0) -> torch.Tensor:
        """Logits, shape (copies, batch, classes), for inputs of shape (copies, batch, in)."""
        passing = inputs
        for layer, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
            bent = passing
            if layer > 0:
                normed = F.layer_norm(passing, passing.shape[-1:]) if self.helped else passing
                bent = F.dropout(torch.relu(normed), dropout, self.training)
            outputs = torch.baddbmm(bias, bent, weight)
            shortcut = self.helped and layer > 0 and outputs.shape == passing.shape
            passing = passing + outputs if shortcut else outputs
        return passing


def train_many(
    networks: ManyMLPs,
    inputs: torch.Tensor,
    targets: torch.Tensor,
    num_steps: int = 300,
    learning_rate: float = 1e-2,
    batch_size: int | None = None,
    dropout: float = 0.0,
) -> None:
    """Train networks on inputs (copies, examples, in) and targets (copies, examples), with AdamW and a falling rate."""
    optimiser = torch.optim.AdamW(networks.parameters(), lr=learning_rate, fused=True)
    generator = torch.Generator().manual_seed(0)
    networks.train()
    num_threads = torch.get_num_threads()
    torch.set_num_threads(1)  # such small matrices are not worth waking a second core for
    for step in range(num_steps):
        optimiser.param_groups[0]["lr"] = learning_rate * (1 - step / num_steps)
        chosen = slice(None)
        if batch_size is not None:
            chosen = torch.randint(inputs.shape[1], (batch_size,), generator=generator)
        logits = networks(inputs[:, chosen], dropout).flatten(0, 1)
        loss = F.cross_entropy(logits, targets[:, chosen].flatten()) * networks.copies  # each sees its own mean
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    torch.set_num_threads(num_threads)
    networks.eval()


def accuracies(networks: ManyMLPs, inputs: torch.Tensor, targets: torch.Tensor) -> np.ndarray:
    """Share of right answers of each network: shape (copies,)."""
    with torch.inference_mode():
        return (networks(inputs).argmax(dim=-1) == targets).double().mean(dim=1).numpy()


# %% [markdown]
# ### Iris: the minimum number of layers
#
# The source's example is telling three kinds of iris apart: it takes a picture of the flower, and remembers that about five layers are the minimum for
# good accuracy. The Iris data that everybody learns on (Fisher, 1936; collected by Anderson) holds no pictures but four measurements of each of 150
# flowers, lengths and widths of sepals and petals. Split them at random, 100 to learn from and 50 to be tested on, thirty times, and
# let the number of layers grow from one, a bare linear cut, to eight. Guess the minimum.

# %%
from sklearn.datasets import load_digits, load_iris


def random_splits(data, num_train: int, copies: int) -> list[torch.Tensor]:
    """Standardised inputs and targets to learn from and to be tested on, another random split for each copy."""
    orders = [np.random.default_rng(copy).permutation(len(data.data)) for copy in range(copies)]
    scaled = (data.data - data.data.mean(axis=0)) / (data.data.std(axis=0) + 1e-6)
    parts = [np.array([order[part] for order in orders]) for part in (slice(num_train), slice(num_train, None))]
    return [torch.tensor(array[part]) for part in parts for array in (scaled.astype(np.float32), data.target)]


def mean_and_error(values: np.ndarray) -> tuple[float, float]:
    """Mean, and half the width of its 95 % interval."""
    return float(values.mean()), float(1.96 * values.std(ddof=1) / np.sqrt(len(values)))


# %%
iris = random_splits(load_iris(), 100, copies=30)
iris_layers = range(1, 9)
iris_results = {}
for width in (4, 32):
    for layers in iris_layers:
        networks = ManyMLPs([4] + [width] * (layers - 1) + [3], copies=30)
        train_many(networks, iris[0], iris[1], num_steps=200, learning_rate=5e-2)
        iris_results[width, layers] = mean_and_error(accuracies(networks, iris[2], iris[3]))
best_iris = max(mean for mean, _ in iris_results.values())
print("one layer:", "{:.1%} ± {:.1%}".format(*iris_results[4, 1]), f" best of all: {best_iris:.1%}")

# %%
fig, ax = plt.subplots()
for width, shift in [(4, -0.08), (32, 0.08)]:
    means, errors = np.array([iris_results[width, layers] for layers in iris_layers]).T
    ax.errorbar(
        np.array(iris_layers) + shift, 100 * means, yerr=100 * errors, label=f"{width} cells in each hidden layer"
    )
ax.axvline(5, color="0.5", linewidth=1, linestyle=":", marker="")
ax.text(5.05, 97.5, "the source's minimum", fontsize=9)
ax.set(title="How many layers does Iris need?", xlabel="layers of weights", ylabel="accuracy on unseen flowers (%)")
ax.set_ylim(40, 100)
ax.legend(loc="lower left")
figures.show(
    fig,
    alt="Accuracy on Iris against one to eight layers: about 95 percent from one layer on, no gain from more; with four cells in each layer "
    "networks of five layers and more do worse and scatter widely.",
)

# %% [markdown]
# One layer, no hidden cells at all, is about as good as anything: the intervals of the best networks overlap with its own. That is no accident, since
# a linear cut nearly separates these measurements. Very narrow networks even lose when they are deep: with four cells a layer, a few silent ones are
# enough to cut the wire. The advice to look for the minimum is right; the number five is not, at least not for these flowers. To be fair, a picture
# is a harder input. So take pictures: 1,797 handwritten digits of 8 by 8 pixels (Alpaydin and Kaynak, 1998), which scikit-learn brings along.
#
# ### More layers are not better: when?
#
# Deep networks of three kinds on the digits, hidden layers of 32 cells: weights started with a guess ($\sigma = 0.1$), with He's recipe, and He's with
# two aids: layer norm before each bend, and *short cuts* that add a layer's input to its output (*residual connections*; He et al., 2016).

# %%
digits = random_splits(load_digits(), 1000, copies=10)
depths = [1, 2, 4, 8, 16, 32]
kinds = {"guess": {"scale": 0.1}, "He": {}, "He, norms and short cuts": {"helped": True}}
depth_results = {}
for kind, options in kinds.items():
    for layers in depths:
        networks = ManyMLPs([64] + [32] * (layers - 1) + [10], copies=10, **options)
        train_many(networks, digits[0], digits[1], num_steps=200, learning_rate=4e-3, batch_size=100)
        depth_results[kind, layers] = mean_and_error(accuracies(networks, digits[2], digits[3]))

# %%
fig, ax = plt.subplots()
for kind in kinds:
    means, errors = np.array([depth_results[kind, layers] for layers in depths]).T
    ax.errorbar(depths, 100 * means, yerr=100 * errors, label=kind)
ax.set_xscale("log", base=2)
ax.set_xticks(depths, [str(depth) for depth in depths])
ax.set(
    title="When do more layers hurt?", xlabel="layers of weights", ylabel="accuracy on unseen digits (%)", ylim=(0, 101)
)
ax.legend(loc="lower left")
figures.show(
    fig,
    alt="Accuracy on digits against 1 to 32 layers: from a guessed start it collapses to chance beyond 8 layers, with He's start it "
    "falls slowly from four layers on to about seven in ten right, and with norms and short cuts it stays level to 32.",
)

# %%
for kind in kinds:
    print(f"{kind:25}", "  ".join("{:5.1%} ± {:4.1%}".format(*depth_results[kind, layers]) for layers in depths))


# %% [markdown]
# Two answers. More layers are *harmful* when the signal does not get through. From a guessed start the deepest networks do not learn at all, although
# each could represent everything that a shallow one can; He's recipe keeps the signal's size, and still loses from four layers on. And more layers are
# *useless* when the task does not ask for them: with norms and short cuts 32 layers train as well as four, and gain nothing by it. The first problem
# belongs to engineers and has been solved; the second belongs to the task.
#
# ### Depth against width, and "double, then narrow"
#
# Fair comparisons hold the number of parameters fixed. The source's recipe is a shape: make the first hidden layer twice as wide as the input, then
# narrow down to the output. From 64 pixels that is 128, 64, 32. Give other shapes the same budget, and only 300 digits to learn from, so that there is
# something to gain. The second task is one that one cut cannot solve: two spirals wound into each other (after Lang and Witbrock, 1988).

# %%
def count_weights(sizes: list[int]) -> int:
    """Weights and biases of an MLP."""
    return sum(fan_in * fan_out + fan_out for fan_in, fan_out in zip(sizes[:-1], sizes[1:]))


def fit_to_budget(first: int, shape: list[float], last: int, budget: int) -> list[int]:
    """Layer sizes in the given proportions that come nearest to a number of parameters."""
    candidates = ([first, *(max(1, round(unit * s)) for s in shape), last] for unit in np.arange(1, 600, 0.25))
    return min(candidates, key=lambda sizes: abs(count_weights(sizes) - budget))


def spirals(num_points: int = 600, noise: float = 0.12):
    """Two spirals as an object with `data` and `target`, like scikit-learn's data sets."""
    rng = np.random.default_rng(0)
    angle, target = 1 + 3 * np.pi * np.sqrt(rng.random(num_points)), rng.integers(0, 2, num_points)
    arms = np.column_stack([np.cos(angle + np.pi * target), np.sin(angle + np.pi * target)]) * angle[:, None] / 2
    return type("Spirals", (), {"data": arms + noise * rng.normal(size=arms.shape), "target": target})


# %%
shapes = {
    "one wide layer": [1],
    "two": [1, 1],
    "three": [1, 1, 1],
    "six": [1] * 6,
    "double, then narrow": [2, 1, 0.5],
    "narrow gently": [1, 0.8, 0.6],
    "widening": [0.5, 1, 2],
    "waist": [2, 0.25, 2],
}
tasks = {
    "digits": (random_splits(load_digits(), 300, copies=15), 64, 10, count_weights([64, 128, 64, 32, 10]), 150),
    "spirals": (random_splits(spirals(), 400, copies=15), 2, 2, 600, 400),
}
shape_results, shape_sizes = {}, {}
for task, (split, first, last, budget, num_steps) in tasks.items():
    for name, shape in shapes.items():
        sizes = fit_to_budget(first, shape, last, budget)
        networks = ManyMLPs(sizes, copies=15)
        train_many(networks, split[0], split[1], num_steps=num_steps, learning_rate=5e-3, batch_size=100)
        shape_results[task, name] = mean_and_error(accuracies(networks, split[2], split[3]))
        shape_sizes[task, name] = sizes

# %%
for name in shapes:
    print(f"{name:22}", *(f"{shape_sizes[task, name]!s:36}" for task in tasks))

# %%
fig, axes = plt.subplots(1, 2, figsize=(9, 3.8), sharey=True)
for ax, task in zip(axes, tasks):
    means, errors = np.array([shape_results[task, name] for name in shapes]).T
    colours = [figures.COLOURS[name == "double, then narrow"] for name in shapes]
    for place, (mean, error, colour) in enumerate(zip(means, errors, colours)):
        ax.errorbar(100 * mean, place, xerr=100 * error, color=colour, linestyle="none")
    ax.set_yticks(range(len(shapes)), shapes)
    ax.set(title=f"{task}, {tasks[task][3]:,} parameters", xlabel="accuracy (%)")
axes[0].invert_yaxis()
fig.supylabel("shape of the hidden layers", fontsize=10)
fig.suptitle("Does the shape matter when the size is the same?", fontsize=11)
figures.show(
    fig,
    alt="Accuracy of eight shapes of network at equal numbers of parameters. On digits one wide layer leads with 94 percent, the recipe of "
    "doubling first has 93, six layers 89. On spirals one wide layer is last with 72 percent, and all others lie between 88 and 98.",
)

# %% [markdown]
# The two tasks disagree. On the digits, which a linear cut nearly solves, one wide layer comes first and six come last. On the spirals one wide layer is
# far behind all others: with the same number of weights, more layers fold the plane where a single one must cut it into slices. So no shape is best
# everywhere. The recipe is never bad: on the digits it beats its mirror image, the widening network, and its interval overlaps with the leaders' in both
# plots. But it leads in neither, and plain equal layers do as well. What can be kept of it is "not too narrow too soon".
#
# ### What dropout is good for
#
# Dropout is against *overfitting*: learning the examples instead of the rule. So it should help where examples are few. Train a wide network on 100
# digits, test it on the rest, and silence more and more of the hidden cells.

# %%
few = random_splits(load_digits(), 100, copies=12)
many = random_splits(load_digits(), 1000, copies=12)
shares = [0.0, 0.25, 0.5, 0.75]
dropout_results = {}
for name, split in {"100": few, "1,000": many}.items():
    for share in shares:
        networks = ManyMLPs([64, 128, 128, 10], copies=12)
        train_many(networks, split[0], split[1], 200, 3e-3, batch_size=50, dropout=share)
        dropout_results[name, share] = mean_and_error(1 - accuracies(networks, split[2], split[3]))

# %%
fig, ax = plt.subplots()
for name in ["100", "1,000"]:
    means, errors = np.array([dropout_results[name, share] for share in shares]).T
    ax.errorbar(shares, 100 * means, yerr=100 * errors, label=f"{name} digits to learn from")
ax.set(title="Does silencing cells help?", xlabel="probability of being silenced", ylabel="errors on unseen digits (%)")
ax.set_ylim(0, None)
ax.legend()
figures.show(
    fig,
    alt="Errors on digits against dropout from 0 to 0.75, for 100 and for 1,000 training digits: a moderate dropout lowers the errors a little for 100, and 0.75 raises them for both.",
)

# %% [markdown]
# With 100 digits a moderate share takes a point off the errors, about as much as the intervals are wide; with 1,000 it helps nothing, and beyond a half
# it harms both, since a network that is mostly silent learns slowly. Keep it for the day when a model knows its training text by heart. The next one
# will not have the time for that.
#
# ## On real text: the neural probabilistic language model
#
# Now put the pieces together. Bengio, Ducharme, Vincent and Jauvin (2003) proposed a network that reads the embeddings of the last few words, side by
# side, and gives a probability to every word of the vocabulary:
#
# $$x = [E_{w_{t-C}}; \dots; E_{w_{t-1}}], \qquad h = \tanh(H x + b_H), \qquad z = U h + b_U$$
#
# $C$ is the *context length*, how many tokens it sees; $E$ has one row for each token, its embedding, and is learned along with everything else; the
# semicolons mean that the rows are laid end to end; $H$ and $U$ are the weights of the hidden and the output layer; the logits $z$ go through softmax.
# If *treaty* and *convention* have similar rows in $E$, they lead to similar $h$, and what was learned of one serves the other. That is the sharing
# which counting could not do.
#
# By hand: three tokens with embeddings $1$, $0$ and $-1$, two tokens of context, one hidden cell with weights $(1, 2)$, output weights $0, 1, -1$, no
# biases. After tokens 0 and 2, $x = (1, -1)$, $h = \tanh(1 - 2) \approx -0.76$, and the logits are $0$, $-0.76$, $0.76$.

# %% tags=["export"]
import numpy as np


def neural_lm_forward(
    context_ids: np.ndarray,
    embedding: np.ndarray,
    hidden_weight: np.ndarray,
    hidden_bias: np.ndarray,
    output_weight: np.ndarray,
    output_bias: np.ndarray,
) -> np.ndarray:
    """Logits of the next token after each context: look up, lay end to end, tanh, linear (Bengio et al., 2003).

    Args:
        context_ids: integers, oldest token first, shape (batch, context_length).
        embedding: a row for each token, shape (V, d).
        hidden_weight: shape (hidden, context_length * d).
        hidden_bias: shape (hidden,).
        output_weight: shape (V, hidden).
        output_bias: shape (V,).

    Returns:
        Array of shape (batch, V).

    Raises:
        ValueError: if a shape does not fit, or an id has no row in the embedding.
    """
    context_ids, embedding = np.asarray(context_ids), np.asarray(embedding)
    if context_ids.ndim != 2 or not np.issubdtype(context_ids.dtype, np.integer):
        raise ValueError(
            f"got context_ids {context_ids.dtype} {context_ids.shape}; expected integers (batch, context_length)"
        )
    if context_ids.size and not 0 <= context_ids.min() <= context_ids.max() < len(embedding):
        raise ValueError(
            f"got ids from {context_ids.min()} to {context_ids.max()}; the embedding has rows 0 to {len(embedding) - 1}"
        )
    width = context_ids.shape[1] * embedding.shape[1]
    if np.shape(hidden_weight)[1:] != (width,):
        raise ValueError(
            f"got a hidden weight of shape {np.shape(hidden_weight)}; expected (hidden, {width}) for this context"
        )
    inputs = embedding[context_ids].reshape(len(context_ids), width)  # (batch, context_length * d)
    hidden = np.tanh(inputs @ np.transpose(hidden_weight) + hidden_bias)  # (batch, hidden)
    return hidden @ np.transpose(output_weight) + output_bias


# %%
toy_embedding, toy_output = np.array([[1.0], [0.0], [-1.0]]), np.array([[0.0], [1.0], [-1.0]])
neural_lm_forward(
    np.array([[0, 2]]), toy_embedding, np.array([[1.0, 2.0]]), np.zeros(1), toy_output, np.zeros(3)
).round(2)

# %% [markdown]
# The tokens are pieces of words from chapter 01's tokenizer, 2,048 kinds instead of 8,192: the output layer has a row for each and is most of the work,
# so a small vocabulary buys a faster network. Two more decisions. Before the beginning of a text stands a special row of the embedding, *nothing
# yet*; a few training windows are cut short at random so that it means something. And the output biases start at the logarithms of the tokens'
# frequencies, so that the network begins as chapter 01's unigram model and need not spend its first steps learning that.
#
# The class below is a torch module with the three methods of every language model of this book. It scores in double precision, so that the parts of
# a text cost what the whole costs, to many digits.

# %% tags=["export"]
from collections.abc import Callable

import numpy as np
import torch
from torch.nn import functional as F

from bow2gpt.chapters.counting_models import sample_with_temperature
from bow2gpt.chapters.language_features import AnyTokenizer


class NeuralLanguageModel(torch.nn.Module):
    """The neural probabilistic language model (Bengio, Ducharme, Vincent and Jauvin, 2003), over any tokenizer.

    But: it sees `context_length` tokens, each in a place of its own, and nothing before them.

    Attributes:
        tokenizer: cuts a text into token ids.
        context_length: how many tokens it sees.
        embedding: a row for each token, and a last one for "nothing yet"; (vocabulary + 1, embedding_dim).
    """

    def __init__(
        self,
        tokenizer: AnyTokenizer,
        context_length: int = 6,
        embedding_dim: int = 64,
        hidden_dim: int = 256,
        seed: int = 0,
    ) -> None:
        super().__init__()
        if min(context_length, embedding_dim, hidden_dim) < 1:
            raise ValueError(f"got sizes {context_length}, {embedding_dim}, {hidden_dim}; each must be at least 1")
        self.tokenizer, self.context_length = tokenizer, context_length
        rng, vocabulary_size = np.random.default_rng(seed), tokenizer.vocabulary_size
        drawn = {
            "embedding": 0.1 * rng.normal(size=(vocabulary_size + 1, embedding_dim)),
            "hidden_weight": glorot_uniform((hidden_dim, context_length * embedding_dim), rng),
            "hidden_bias": np.zeros(hidden_dim),
            "output_weight": 0.02 * rng.normal(size=(vocabulary_size, hidden_dim)),
            "output_bias": np.zeros(vocabulary_size),
        }
        for name, array in drawn.items():
            setattr(self, name, torch.nn.Parameter(torch.tensor(array, dtype=torch.float32)))

    @property
    def num_parameters(self) -> int:
        """How many numbers the model has learned."""
        return sum(parameter.numel() for parameter in self.parameters())

    def forward(self, context_ids: torch.Tensor) -> torch.Tensor:
        """Logits of shape (batch, vocabulary) after contexts of shape (batch, context_length)."""
        inputs = F.embedding(context_ids, self.embedding).flatten(1)  # (batch, context_length * embedding_dim)
        hidden = torch.tanh(F.linear(inputs, self.hidden_weight, self.hidden_bias))
        return F.linear(hidden, self.output_weight, self.output_bias)

    def windows(self, token_ids: np.ndarray) -> np.ndarray:
        """What the model sees before each token and after the last: shape (tokens + 1, context_length)."""
        nothing_yet = np.full(self.context_length, self.tokenizer.vocabulary_size)
        padded = np.concatenate([nothing_yet, np.asarray(token_ids, dtype=np.int64)])
        return np.lib.stride_tricks.sliding_window_view(padded, self.context_length)

    def log_probs_of(self, windows: np.ndarray, targets: np.ndarray) -> np.ndarray:
        """Natural log-probability of each target after its window: shape (targets,)."""
        found = [np.zeros(0)]
        with torch.inference_mode():
            for start in range(0, len(targets), 1024):
                logits = self(torch.tensor(windows[start : start + 1024]))
                chosen = torch.tensor(targets[start : start + 1024])[:, None]
                found.append((logits.gather(1, chosen)[:, 0] - logits.logsumexp(dim=1)).double().numpy())
        return np.concatenate(found)

    def token_log_probs(self, text: str, context: str = "") -> np.ndarray:
        """Natural log of each token's probability given those before it: shape (tokens of the text,)."""
        before, tokens = self.tokenizer.encode(context)[-self.context_length :], self.tokenizer.encode(text)
        windows = self.windows(np.concatenate([before, tokens]))[len(before) : len(before) + len(tokens)]
        return self.log_probs_of(windows, tokens)

    def next_token_log_probs(self, context: str = "") -> np.ndarray:
        """Natural log of each token's probability to come next: shape (vocabulary,)."""
        return self.next_after(self.tokenizer.encode(context))

    def next_after(self, token_ids: np.ndarray) -> np.ndarray:
        """The same, after token ids."""
        window = self.windows(token_ids[-self.context_length :])[-1:]
        with torch.inference_mode():
            return self(torch.tensor(window)).log_softmax(dim=1)[0].double().numpy()

    def generate(self, num_tokens: int, context: str = "", *, temperature: float = 1.0, seed: int = 0) -> str:
        """Draw tokens one after the other; the same seed gives the same text."""
        rng, ids = np.random.default_rng(seed), list(self.tokenizer.encode(context))
        start = len(ids)
        for _ in range(num_tokens):
            recent = np.array(ids[-self.context_length :], dtype=np.int64)
            ids.append(sample_with_temperature(self.next_after(recent), temperature, rng))
        return self.tokenizer.decode(ids[start:])


# %% [markdown]
# Training is what you know: draw a batch of places in the text, look at the windows before them, cross-entropy, slopes, AdamW. The learning rate rises
# for a moment and then falls to zero. One question is put to the machine and not to you. Many processors multiply matrices of 16-bit numbers
# (*bfloat16*: the range of a 32-bit float with three digits) four times faster than 32-bit ones, others far slower. `bow2gpt.machine.half_precision_pays` measures
# it once. The 16-bit numbers only pass through the products; the weights themselves stay in 32.
#
# `keep_order` is for an experiment further down: with a number $k$, all but the last $k$ tokens of each window are shuffled.

# %% tags=["export"]
from bow2gpt.machine import half_precision_pays


def shuffle_windows(windows: np.ndarray, keep_order: int, rng: np.random.Generator) -> np.ndarray:
    """Windows whose last `keep_order` tokens stay, and whose older ones change places at random, in each row anew."""
    older = windows.shape[1] - keep_order
    if older < 0 or keep_order < 0:
        raise ValueError(
            f"got keep_order {keep_order} for windows of {windows.shape[1]} tokens; it must be from 0 to that"
        )
    return np.concatenate([rng.permuted(windows[:, :older], axis=1), windows[:, older:]], axis=1)


def train_language_model(
    model: NeuralLanguageModel,
    token_ids: np.ndarray,
    num_steps: int,
    batch_size: int = 1024,
    learning_rate: float = 6e-3,
    weight_decay: float = 0.1,
    keep_order: int | None = None,
    seed: int = 0,
    report: Callable[[int, float], None] | None = None,
) -> NeuralLanguageModel:
    """Train a model on the tokens of a text.

    Args:
        model: what to train.
        token_ids: shape (tokens,).
        num_steps: how many batches.
        batch_size: places of the text in a batch.
        learning_rate: of AdamW, at its highest.
        weight_decay: of the matrices.
        keep_order: if given, all but so many tokens of each window are shuffled.
        seed: decides which places, and how windows are cut and shuffled.
        report: receives the step and its loss in nats per token.

    Returns:
        The model, in double precision, ready to score.

    Raises:
        ValueError: if there are no tokens.
    """
    if len(token_ids) == 0:
        raise ValueError("the training text is empty; there is nothing to learn")
    rng, windows = np.random.default_rng(seed), model.windows(token_ids)
    frequencies = np.bincount(token_ids, minlength=model.tokenizer.vocabulary_size) + 1.0
    model.float().train()
    with torch.no_grad():
        model.output_bias.copy_(torch.tensor(np.log(frequencies / frequencies.sum())))
    matrices = [parameter for parameter in model.parameters() if parameter.ndim > 1]
    others = [parameter for parameter in model.parameters() if parameter.ndim < 2]
    groups = [{"params": matrices, "weight_decay": weight_decay}, {"params": others, "weight_decay": 0.0}]
    optimiser = torch.optim.AdamW(groups, lr=learning_rate, betas=(0.9, 0.99), fused=True)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimiser, lambda step: min(1, (step + 1) / 50, (num_steps - step) / num_steps)
    )
    places = np.zeros(0, dtype=np.int64)
    for step in range(num_steps):
        if len(places) < batch_size:
            places = np.concatenate([places, rng.permutation(len(token_ids))])
        chosen, places = places[:batch_size], places[batch_size:]
        seen = windows[chosen]
        if keep_order is not None:
            seen = shuffle_windows(seen, keep_order, rng)
        cut = rng.integers(0, model.context_length, size=len(seen) // 32)  # as at the beginning of a text
        seen[: len(cut)][np.arange(model.context_length) < cut[:, None]] = model.tokenizer.vocabulary_size
        with torch.autocast("cpu", torch.bfloat16, enabled=half_precision_pays()):
            logits = model(torch.tensor(seen))
        loss = F.cross_entropy(logits.float(), torch.tensor(token_ids[chosen]))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
        if report is not None:
            report(step, loss.item())
    return model.double().eval()


# %% [markdown]
# `windows[chosen]` picks rows of a *view*, so the training text is never copied whole. Now train it on the 9.7 MB. This is the longest cell of the
# chapter, a bit over a minute on two cores. The dots of the next figure are the mean losses of forty
# steps, each on text that the network had not yet seen.

# %%
from tqdm.auto import tqdm

train_text, validation_text, test_text = (corpus.text(split) for split in corpus.SPLITS)
tokenizer = Tokenizer.train(train_text, 2048)
train_ids = tokenizer.encode(train_text)
bytes_per_token = len(train_text.encode()) / len(train_ids)
nats_to_bits_per_byte = 1 / (np.log(2) * bytes_per_token)
print(f"{len(train_ids):,} tokens of {bytes_per_token:.2f} bytes; half precision pays: {half_precision_pays()}")

# %%
NUM_STEPS = 2640 if half_precision_pays() else 1320  # 1,024 places each; half of it where products are slow
step_losses, progress = [], tqdm(total=NUM_STEPS, desc="training", mininterval=2)


def watch(step: int, loss: float) -> None:
    step_losses.append(loss * nats_to_bits_per_byte)
    progress.update()


began = time.perf_counter()
mlp = train_language_model(NeuralLanguageModel(tokenizer), train_ids, NUM_STEPS, report=watch)
training_seconds = time.perf_counter() - began
progress.close()
seen = NUM_STEPS * 1024
print(f"{training_seconds:.0f} s, {seen / training_seconds:,.0f} tokens a second, {seen / len(train_ids):.2f} passes")
print(
    f"{mlp.num_parameters:,} numbers, {mlp.output_weight.numel() / mlp.num_parameters:.0%} of them in the output layer"
)

# %%
counts = NGramModel.fit(train_text, 5, tokenizer=tokenizer)
sample_ids = tokenizer.encode(validation_text)[:60_000]
sample = tokenizer.decode(sample_ids)
sample_bytes = len(sample.encode())
mlp_bits, counts_bits = ruler.bits_per_byte(mlp, sample), ruler.bits_per_byte(counts, sample)
print(
    f"on {sample_bytes / 1e3:.0f} kB of validation text: MLP {mlp_bits:.3f} bits per byte, Kneser-Ney n = 5 {counts_bits:.3f}"
)

# %%
fig, ax = plt.subplots()
passes = np.arange(20, NUM_STEPS, 40) * 1024 / len(train_ids)
ax.plot(
    passes, np.reshape(step_losses, (-1, 40)).mean(axis=1), linestyle="none", markersize=4, label="MLP, while training"
)
ax.plot(
    passes[-1:],
    [mlp_bits],
    linestyle="none",
    marker="*",
    markersize=13,
    color=figures.COLOURS[1],
    label="MLP, validation",
)
ax.axhline(
    counts_bits, color=figures.COLOURS[2], linestyle="--", marker="", label="Kneser-Ney, n = 5, same tokens, validation"
)
ax.set(title="How long does a network take to catch up with counting?", xlabel="passes over the training text")
ax.set_ylabel("bits per byte")
ax.set_ylim(1.2, 2.6)
ax.legend()
figures.show(
    fig,
    alt="Bits per byte while training: from above 2.2 steeply down, then ever more slowly, ending well above the dashed line of Kneser-Ney at the same tokens.",
)

# %% [markdown]
# Counting read the text once, in a few seconds. The network read it about as often, in a minute or so, and is still far behind. (The
# star lies below the last dots because this part of the validation text is from the early addresses, which every model finds easier.) Look at the
# slope at the right: it has not finished learning, it has run out of your patience. And patience is what it takes, since each token costs it a visit to all 2,048
# rows of the output layer. How long it would need is estimated a little further down.
#
# ### What it has learned
#
# Let it speak, and ask which tokens it has laid near each other: the cosine between rows of $E$, as in chapter 03. Nobody told it about meanings; a row
# moves only because it helps to guess the next token.

# %%
print(mlp.generate(90, context="\n\n", temperature=0.7, seed=3))

# %%
rows = mlp.embedding.detach().numpy()[:-1]
rows = rows / np.linalg.norm(rows, axis=1, keepdims=True)
names = [tokenizer.decode([token]) for token in range(tokenizer.vocabulary_size)]
for word in [" treaty", " Congress", " three", " should", " great", " Mexico"]:
    [token] = tokenizer.encode(word)
    nearest = np.argsort(-rows @ rows[token])[1:6]
    print(f"{word:10}", ", ".join(names[other].strip() for other in nearest))

# %% [markdown]
# Numbers lie beside numbers, *must* and *shall* beside *should*, and *convention* beside *treaty*: the very pair that counting could not bring together.
# (Your neighbours may differ a little, since 16-bit products are rounded differently on different machines.) The speech has grammar over stretches of
# five or six words, about what the window holds.
#
# ### What it knows of order, and what it does not
#
# The source says that MLPs struggle with sequences because the order matters. This MLP does know something of order: each token sits in a place of its
# own, and each place has its own columns in $H$. Three measurements. First, train smaller runs, all equally long, with 1, 2, 4 or 6 tokens in view:
# what is a longer window worth? Second, train the same with windows whose order is destroyed, all of it (`keep_order=0`) or all but the last token. The
# loss then tells what order is worth to a network that had to learn without it. Guess: is a shuffled window of six better or worse than an orderly
# one of two? The cell takes most of a minute.

# %%
short, window_bits = sample_ids[:25_000], {}
for context_length, keep_order in [(1, None), (2, None), (4, None), (6, None), (6, 1), (6, 0)]:
    network = NeuralLanguageModel(tokenizer, context_length)
    network = train_language_model(network, train_ids, num_steps=300, keep_order=keep_order)
    windows = network.windows(sample_ids)[: len(short)]
    if keep_order is not None:
        windows = shuffle_windows(windows, keep_order, np.random.default_rng(0))
    nats = -network.log_probs_of(windows, short).sum()
    window_bits[context_length, keep_order] = nats / np.log(2) / len(tokenizer.decode_bytes(short))

# %%
labels = {
    (1, None): "1 token",
    (2, None): "2 tokens",
    (4, None): "4 tokens",
    (6, None): "6 tokens",
    (6, 1): "6, all but the last shuffled",
    (6, 0): "6, all shuffled",
}
fig, ax = plt.subplots(figsize=(7, 3.2))
for place, setting in enumerate(labels):
    colour = figures.COLOURS[setting[1] is not None]
    ax.hlines(place, 1, window_bits[setting], color="0.85", linewidth=1)
    ax.plot(window_bits[setting], place, linestyle="none", color=colour, marker="s" if setting[1] is not None else "o")
    ax.text(window_bits[setting] + 0.01, place, f"{window_bits[setting]:.3f}", va="center", fontsize=9)
ax.set_yticks(range(len(labels)), labels.values())
ax.invert_yaxis()
ax.set(title="What is the order of the window worth?", xlabel="bits per byte (validation; 300 steps of training each)")
ax.set_xlim(min(window_bits.values()) - 0.08, max(window_bits.values()) + 0.08)
ax.set_ylabel("what the network sees")
figures.show(
    fig,
    alt="Bits per byte of six networks after equally short training: one, two, four and six tokens in order lie close together, two lowest; six with all but "
    "the last shuffled are a little worse than one; six all shuffled are far worse than all others.",
)

# %% [markdown]
# Read the orderly ones first. A second token helps; at this length of training four and six are no better, because a wider window has more to learn
# from the same number of steps. (The long run above shows what six are worth in the end.) Then the shuffled ones. Six tokens without their order are far
# worse than a single one in its place: the network no longer knows which of them came last. And with the last one fixed, a bag of the five before it
# does not even make up for its own noise. Order is most of what the window has to say.
#
# The same figures answer another question. The orderly network of six was trained here for 300 steps, and above for many more. Each doubling of the
# training takes off less than the one before. So if we pretend that all further ones take off as much as those between the two runs, we get a lower
# limit for the time it takes to catch up with the counts.

# %%
doublings = np.log2(NUM_STEPS / 300)
mlp_short = -mlp.log_probs_of(mlp.windows(sample_ids)[: len(short)], short).sum() / np.log(2)
mlp_short /= len(tokenizer.decode_bytes(short))
per_doubling = (window_bits[6, None] - mlp_short) / doublings
missing = (mlp_bits - counts_bits) / per_doubling
print(f"300 steps: {window_bits[6, None]:.3f}, {NUM_STEPS} steps: {mlp_short:.3f}; each doubling takes off {per_doubling:.3f}")
print(f"{missing:.1f} more doublings at the least: {2**missing * NUM_STEPS * 1024 / len(train_ids):.1f} passes")

# %% [markdown]
# At least so many, and in truth a good deal more; and a network that reads the same text many times begins to learn it by heart.
# `python benchmarks/mlps.py long STEPS --hidden SIZE` was patient, and its table is part of this repository: hidden cells, passes over the text, minutes of
# one core, and what the test text takes.

# %%
import csv
from importlib import resources

with (resources.files("bow2gpt") / "long_mlps.csv").open(encoding="utf-8") as file:
    long_runs = list(csv.DictReader(line for line in file if not line.startswith("#")))
for run in long_runs:
    effort = f"{int(run['hidden_dim']):5,} cells, {run['passes']} passes, {run['core_minutes']:>3} minutes"
    print(f"{effort}: {run['test']} bits per byte alone, {run['mixed_test']} mixed with the counts")
for row in ladder.rows():
    if row["name"] in ("words-3", "bpe-5"):
        print(f"{row['label']}: {row['bits_per_byte']}")

# %% [markdown]
# Nine passes take less than a tenth of a bit off what one pass reached (see the rung below), and the counts are as far away again. Go on at that rate, and the
# network would have to read the text some hundred times, long after it had begun to recite it. So the honest answer is no: at this size, and with this much
# text, the network of 2003 does not beat counting alone, however patient you are; in company it helps, and the patient one helps more. What is missing is not
# time but reach: the first model of this book to pass the counts by itself will be a GPT, which sees a hundred tokens and not six. The authors of 2003 called training
# such a model in reasonable time a challenge in itself. Morin and Bengio (2005) arranged the words of the output in a tree, so that a token costs a walk from the root
# to a leaf and not a visit to every row, some two hundred times less; the attempts since then to avoid the output layer fill a shelf.
#
# Third, take the network trained in order, and shuffle what it reads only now. Keep the last $k$ tokens in their places and let the others change
# theirs: from which place on does it no longer care?

# %%
shuffled_bits = []
windows = mlp.windows(sample_ids)[: len(short)]
for keep_order in range(mlp.context_length + 1):
    mixed = shuffle_windows(windows, keep_order, np.random.default_rng(0))
    nats = -mlp.log_probs_of(mixed, short).sum()
    shuffled_bits.append(nats / np.log(2) / len(tokenizer.decode_bytes(short)))

# %%
blocks = (
    mlp.hidden_weight.detach().numpy().reshape(-1, mlp.context_length, mlp.embedding.shape[1])
)  # (hidden, place, d)
weight_of_place = np.sqrt((blocks**2).sum(axis=(0, 2)))
fig, (ax, sizes) = plt.subplots(1, 2, figsize=(9, 3.6))
ax.plot(range(mlp.context_length + 1), shuffled_bits)
ax.set(
    title="How much order does it use?", xlabel="last tokens left in their places", ylabel="bits per byte, validation"
)
sizes.bar(range(mlp.context_length, 0, -1), weight_of_place, color=figures.COLOURS[0])
sizes.invert_xaxis()
sizes.set(title="Which places does it look at?", xlabel="tokens back", ylabel="size of the place's weights")
figures.show(
    fig,
    alt="Left: bits per byte fall very steeply when the last token keeps its place, a little more with the second, and hardly after that. Right: the "
    "weights are largest for the last token and shrink with distance.",
)

# %%
flat = blocks.transpose(1, 0, 2).reshape(mlp.context_length, -1)
cosines = [flat[i] @ flat[i + 1] / np.linalg.norm(flat[i]) / np.linalg.norm(flat[i + 1]) for i in range(len(flat) - 1)]
print("cosine between the weights of neighbouring places:", np.round(cosines, 2))

# %% [markdown]
# So the network depends on order heavily: most of all on which token came last, then on the one or two before it. The last line shows what it does *not* know. The
# weights of one place have next to nothing in common with those of the next: what it learned about *treaty* one token back, it does not know of *treaty*
# two tokens back, and must learn again. Insert one comma, and every word before it stands in a place where it was never seen. To an MLP a window is a form with
# numbered fields, not a sequence. Nor can the form grow: a token outside it does not exist.
#
# ### Better together
#
# The network shares and the counts remember. Do they know the same? If not, a mixture should beat both. For each token take the weighted mean of
# the two probabilities, $\lambda\, P_\text{MLP} + (1 - \lambda)\, P_\text{counts}$, which again sums to one. Bengio et al. (2003) did the same with their
# trigrams. The best $\lambda$ is chosen on validation text: by trying nine of them, which gives a picture, or by chapter 03's `MixtureModel.fit`.

# %%
mixture_weights = np.round(np.arange(0.1, 1.0, 0.1), 1)
both = mlp.token_log_probs(sample), counts.token_log_probs(sample)
mixture_bits = []
for weight in mixture_weights:
    nats = -np.logaddexp(np.log(weight) + both[0], np.log(1 - weight) + both[1]).sum()
    mixture_bits.append(nats / np.log(2) / sample_bytes)
best_weight = float(mixture_weights[np.argmin(mixture_bits)])
print(f"best: {best_weight} of the MLP, {min(mixture_bits):.3f} bits per byte")

# %%
fig, ax = plt.subplots()
ax.plot([0, *mixture_weights, 1], [counts_bits, *mixture_bits, mlp_bits])
ax.set(title="Do the network and the counts know the same?", xlabel="share of the network λ (0: counts alone)")
ax.set_ylabel("bits per byte, validation")
figures.show(
    fig,
    alt="Bits per byte against the share of the network: a valley, whose lowest point, nearer to the counts, lies below both ends.",
)


# %% [markdown]
# A valley: the mixture is better than either. Where does the gain come from? Split the tokens by whether the three before them stood in this order anywhere in the training text.

# %%
def three_before(token_ids: np.ndarray) -> np.ndarray:
    """A number for the three tokens before each token, from the fourth on."""
    size = tokenizer.vocabulary_size
    return (token_ids[:-3] * size + token_ids[1:-2]) * size + token_ids[2:-1]


known = np.isin(three_before(sample_ids), three_before(train_ids))
for name, group in {"were seen": known, "were not": ~known}.items():
    bits = [-log_probs[3:][group].mean() / np.log(2) for log_probs in both]
    print(
        f"three before {name:9} {group.mean():4.0%} of tokens; bits per token: MLP {bits[0]:.2f}, counts {bits[1]:.2f}"
    )
mixture = MixtureModel.fit([mlp, counts], sample)
print("weights by expectation and maximisation:", mixture.weights.round(3))

# %% [markdown]
# The worse model improves the better one. They fail in different places: the counts are hardest to beat where the last tokens were seen before, and lose
# much of their lead where they were not.
#
# ## Against the library
#
# Every part of this chapter has met torch: the losses, the optimisers step by step, the recipes and the layers in the tests. Two checks are left. The
# numpy `neural_lm_forward` must give the logits of the trained torch model, and scikit-learn's `MLPClassifier`, which many people reach for first,
# should do on the digits what ours does, when both have eight hundred steps and 32 hidden cells.

# %%
some = mlp.windows(sample_ids)[100:200]
by_hand = neural_lm_forward(some, *(getattr(mlp, name).detach().numpy() for name, _ in mlp.named_parameters()))
with torch.inference_mode():
    print("largest difference of the logits:", np.abs(by_hand - mlp(torch.tensor(some)).numpy()).max())

# %%
import warnings

from sklearn.neural_network import MLPClassifier

scores = []
for seed in range(10):
    library = MLPClassifier((32,), max_iter=80, learning_rate_init=1e-2, batch_size=100, random_state=seed)  # 800 steps
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it would rather train for longer
        library.fit(digits[0][seed].numpy(), digits[1][seed].numpy())
    scores.append(library.score(digits[2][seed].numpy(), digits[3][seed].numpy()))
networks = ManyMLPs([64, 32, 10], copies=10)
train_many(networks, digits[0], digits[1], num_steps=800, learning_rate=1e-2, batch_size=100)
print("scikit-learn {:.1%} ± {:.1%}".format(*mean_and_error(np.array(scores))))
print("ours         {:.1%} ± {:.1%}".format(*mean_and_error(accuracies(networks, digits[2], digits[3]))))

# %% [markdown]
# The logits agree to the last digits, and the two classifiers within their intervals.
#
# ## What the source says

# %%
claims.verdict(
    16,
    "A perceptron is a linear transformation of the data; layers need a non-linearity between them.",
    f"two linear layers equal one to {np.abs(two_layers - one_layer).max():.0e}; on the spirals one layer, at any size, is a straight cut, and a network "
    f"with two bent layers is right on {shape_results['spirals', 'two'][0]:.0%}. A small correction: a perceptron is a linear transformation with a "
    "threshold behind it, and it dates from 1958, not from the 1960s.",
    "holds",
)

# %%
deepest = depths[-1]
claims.verdict(
    17,
    "Adding layers does not make a network better; the art is to find the minimum, and Iris needs about five.",
    f"Iris needs one layer: {iris_results[4, 1][0]:.1%} ± {iris_results[4, 1][1]:.1%} on unseen flowers, and none of 15 deeper networks is above "
    f"{best_iris:.1%}. On digits {deepest} layers reach {depth_results['He, norms and short cuts', deepest][0]:.1%} with norms and short cuts, and "
    f"{depth_results['He, norms and short cuts', 2][0]:.1%} with two layers; without the aids, {depth_results['He', deepest][0]:.1%}. The rule holds, the number does "
    "not (the source speaks of pictures of irises; this data set holds measurements).",
    "holds in part",
)

# %%
recipes = {task: shape_results[task, "double, then narrow"] for task in tasks}
leaders = {task: max(shapes, key=lambda name, task=task: shape_results[task, name][0]) for task in tasks}
claims.verdict(
    18,
    "Make the first hidden layer double the input, then narrow down.",
    "at equal parameters, "
    + "; ".join(
        f"on {task} the recipe is right on {recipes[task][0]:.1%} ± {recipes[task][1]:.1%}, and the best of eight shapes, "
        f"“{leaders[task]}”, on {shape_results[task, leaders[task]][0]:.1%} ± {shape_results[task, leaders[task]][1]:.1%}"
        for task in tasks
    )
    + ". A fair choice that is never far from the best, and no rule: plain equal layers do as well.",
    "holds in part",
)

# %%
claims.verdict(
    19,
    "MLPs struggle with sequences, because the order matters.",
    f"(The part about MLPs; chapter 05 does the rest.) Shuffling all six tokens costs the trained network {shuffled_bits[0] - shuffled_bits[-1]:.2f} bits per byte, "
    f"shuffling all but the last three {shuffled_bits[3] - shuffled_bits[-1]:.2f}. So it does use order, by giving each place weights of its own; but these have a cosine "
    f"of {np.mean(cosines):.2f} with their neighbours', so nothing learned in one place helps in the next, and what is outside the window is lost.",
    "holds in part",
)

# %% [markdown]
# ## The rung
#
# Two models go on the ladder: the network alone, and mixed with the counts. The test text is asked once.

# %%
for name, model in {"MLP": mlp, "MLP and counts": mixture}.items():
    print(f"{name:15} {ruler.bits_per_byte(model, test_text):.3f} bits per byte, {model.num_parameters:,} parameters")

# %%
print(ladder.table())

# %%
figures.show(ladder.figure(), alt=ladder.describe())

# %% [markdown]
# In bits the network alone stands among the byte models. Look at its probes, though: with three quarters of a million numbers it judges syntax about as
# well as the word models do with millions, and better than the byte model just below it, which needs fewer bits. This is what one would hope for of a
# model that shares what it learns among words. Its phonetics is weak: whether *a* or *an* is right shows in the first letters of what follows, and it sees
# pieces of words. On meaning and context it is still a coin. Mixed with the counts it gives the best rung so far, by a hundredth of a bit: sharing and remembering add up.
#
# ## What it cannot do
#
# * **It cannot slide.** Each place of the window has its own weights, so a phrase must be learned anew for every place it can stand in.
# * **It cannot stretch.** Six tokens are four words or so. A longer window needs a larger network, and still ends somewhere. Chapter 05 reads one token
#   after the other with the *same* weights, and carries a memory along.
# * **It cannot hurry.** It looks at every row of its output layer for each token it reads. Counting looked things up.
#
# ## Exercises
#
# Open `exercises/04_mlps/mlps.ipynb`. Nine tasks: `perceptron_update`, `Value.backward`, `linear_backward`, `softmax_cross_entropy`, `gradient_check`,
# `adamw_step`, `layer_norm`, `dropout` and `neural_lm_forward`, with checks under each; `bow2gpt check 04` in a terminal grades them all.
#
# To think about, without a grade: Which four weights and biases make the two hidden cells of the XOR network above compute AND and OR instead, and what does the
# output cell do then? Why may `backward` not simply visit the parents first in, first out? If you shuffle the rows of $E$ and the columns of the
# tokenizer in the same way, what changes?
#
# ## Further reading
#
# * R. A. Fisher (1936). *The use of multiple measurements in taxonomic problems.* Annals of Eugenics 7(2).
# * H. Robbins and S. Monro (1951). *A stochastic approximation method.* Annals of Mathematical Statistics 22(3).
# * F. Rosenblatt (1958). *The perceptron: a probabilistic model for information storage and organization in the brain.* Psychological Review 65(6).
# * A. B. J. Novikoff (1962). *On convergence proofs on perceptrons.* Symposium on the Mathematical Theory of Automata.
# * B. T. Polyak (1964). *Some methods of speeding up the convergence of iteration methods.* USSR Computational Mathematics and Mathematical Physics 4(5).
# * M. Minsky and S. Papert (1969). *Perceptrons.* MIT Press.
# * S. Linnainmaa (1970). *The representation of the cumulative rounding error of an algorithm as a Taylor expansion of the local rounding errors.*
#   Master's thesis (in Finnish), University of Helsinki.
# * A. P. Dempster, N. M. Laird and D. B. Rubin (1977). *Maximum likelihood from incomplete data via the EM algorithm.* Journal of the Royal
#   Statistical Society B 39(1).
# * D. E. Rumelhart, G. E. Hinton and R. J. Williams (1986). *Learning representations by back-propagating errors.* Nature 323.
# * K. J. Lang and M. J. Witbrock (1988). *Learning to tell two spirals apart.* Connectionist Models Summer School.
# * Y. Bengio, R. Ducharme, P. Vincent and C. Jauvin (2003). *A neural probabilistic language model.* Journal of Machine Learning Research 3.
# * F. Morin and Y. Bengio (2005). *Hierarchical probabilistic neural network language model.* AISTATS.
# * X. Glorot and Y. Bengio (2010). *Understanding the difficulty of training deep feedforward neural networks.* AISTATS.
# * N. Srivastava, G. Hinton, A. Krizhevsky, I. Sutskever and R. Salakhutdinov (2014). *Dropout: a simple way to prevent neural networks from
#   overfitting.* Journal of Machine Learning Research 15.
# * D. P. Kingma and J. Ba (2015). *Adam: a method for stochastic optimization.* ICLR.
# * K. He, X. Zhang, S. Ren and J. Sun (2015). *Delving deep into rectifiers.* ICCV. And (2016), *Deep residual learning for image recognition.* CVPR.
# * J. L. Ba, J. R. Kiros and G. E. Hinton (2016). *Layer normalization.* arXiv:1607.06450.
# * I. Loshchilov and F. Hutter (2019). *Decoupled weight decay regularization.* ICLR.
