# %% [markdown]
# # Exercise 04: MLPs
#
# <!-- launch: made by `bow2gpt build` -->
# [Open in Colab](https://colab.research.google.com/github/bow2gpt/bow2gpt/blob/main/exercises/04_mlps/mlps.ipynb) | [Open in Binder](https://mybinder.org/v2/gh/bow2gpt/bow2gpt/main?urlpath=lab/tree/exercises/04_mlps/mlps.ipynb)
# <!-- /launch -->
#
# Nine small functions: the oldest learning rule there is, the machine that finds every gradient, the parts that a deep network is trained with, and the
# network that first learned to predict words from words. You write them from scratch, in numpy.
#
# Write your answer in the cell that says so, in place of the `raise` line, and run it. The cell below it is the check: it answers at once, and says
# what is wrong in the words of the subject. Run it as often as you like. In a terminal, `bow2gpt check 04` grades everything, with further checks
# on inputs that you have not seen. The tasks do not depend on one another: start where you like, leave what you like.
#
# | task | difficulty | minutes | points |
# |---|---|---|---|
# | `perceptron_update` | 1 | 10 | 2 |
# | `Value.backward` | 4 | 25 | 4 |
# | `linear_backward` | 3 | 15 | 3 |
# | `softmax_cross_entropy` | 3 | 20 | 3 |
# | `gradient_check` | 3 | 15 | 3 |
# | `adamw_step` | 3 | 20 | 4 |
# | `layer_norm` | 2 | 10 | 2 |
# | `dropout` | 2 | 10 | 2 |
# | `neural_lm_forward` | 2 | 15 | 3 |
# | all | | 140 | 26 |
#
# Three habits save time in all nine. Write the shape of each array beside its name. Do a case of two numbers with a pencil first. And leave the arguments
# as they came: the caller still needs them. At the end your nine answers train a network together, without points.

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
import math
from collections.abc import Callable

import numpy as np

from bow2gpt import checks

# %% [markdown]
# ## 1. `perceptron_update`
#
# *Difficulty 1 of 5, about 10 minutes, 2 points.*
#
# A perceptron (Rosenblatt, 1958) tells two classes apart, called $+1$ and $-1$, by the sign of a *score*, and learns from one example at a time. If its answer is right, nothing
# changes. If it is wrong, the weights move towards an example of class $+1$, and away from one of class $-1$:
#
# $$s = w \cdot x + b, \qquad \text{if } t\, s \le 0: \quad w \leftarrow w + \eta\, t\, x, \quad b \leftarrow b + \eta\, t$$
#
# * $w$: `weights`, of shape $(d,)$; $b$: `bias`, one number; $x$: `inputs`, of shape $(d,)$;
# * $t$: `target`, $+1$ or $-1$; $\eta$: `learning_rate`;
# * a score of exactly 0 is on neither side, so it counts as wrong: from zero weights nothing could be learned otherwise.
#
# The result is a pair, the new weights and the new bias. The arrays that came in stay as they are.
#
# By hand: $w = (0, 0)$, $b = 0$, $x = (1, 2)$, $t = -1$. The score is 0, which is wrong, so $w$ becomes $(-1, -2)$ and $b$ becomes $-1$. Shown again, the same example has
# the score $-6$: right, and nothing changes.
#
# <details><summary>A nudge</summary>When do the score and the target have the same sign? There is one product that tells.</details>
# <details><summary>A push</summary>The answer is right only if <code>target * score > 0</code>. The size of the mistake plays no part: a narrow miss and a wide one move the weights alike.</details>
# <details><summary>Almost there</summary>In the wrong case return <code>weights + learning_rate * target * inputs</code> and the same for the bias, whose input is always 1. <code>+=</code> would change the caller's array.</details>


# %% task="perceptron_update"
def perceptron_update(
    weights: np.ndarray, bias: float, inputs: np.ndarray, target: int, learning_rate: float = 1.0
) -> tuple[np.ndarray, float]:
    """Show a perceptron one example, and correct it if it is wrong (about 4 lines).

    Args:
        weights: of shape (d,).
        bias: one number.
        inputs: the example, of shape (d,).
        target: its class, +1 or -1.
        learning_rate: how far to move.

    Returns:
        The new weights, of shape (d,), and the new bias.

    >>> weights, bias = perceptron_update(np.zeros(2), 0.0, np.array([1.0, 2.0]), -1)
    >>> weights.tolist(), float(bias)
    ([-1.0, -2.0], -1.0)
    """
    ### BEGIN SOLUTION
    score = weights @ inputs + bias
    if target * score > 0:
        return weights.copy(), bias
    return weights + learning_rate * target * inputs, bias + learning_rate * target
    ### END SOLUTION


# %% check="perceptron_update" points=2
def check_update(weights, bias, inputs, target, expected, hint, **named):
    weights, inputs = np.array(weights, dtype=float), np.array(inputs, dtype=float)
    given, shown = weights.copy(), inputs.copy()
    pair = checks.run(lambda: perceptron_update(given, bias, shown, target, **named), hint=hint)
    checks.unchanged(weights, given, "the weights that it was given")
    checks.unchanged(inputs, shown, "the example")
    checks.true(
        isinstance(pair, (tuple, list)) and len(pair) == 2,
        f"got {checks.show(pair)}, expected a pair: the new weights and the new bias",
    )
    checks.close(
        checks.array(pair[0], weights.shape, "one weight for each input"), expected[0], hint, rtol=1e-5
    )
    checks.close(checks.array(pair[1], (), "the bias is one number"), expected[1], hint, rtol=1e-5)


check_update(
    [0, 0],
    0.0,
    [1, 2],
    1,
    ([1, 2], 1),
    "a score of exactly 0 counts as wrong: from zeros the first example must be learned",
)
check_update(
    [0, 0], 0.0, [1, 2], -1, ([-1, -2], -1), "for the target -1 the weights move away from the example"
)
check_update(
    [2, 1],
    0.0,
    [-3, 1],
    1,
    ([-1, 2], 1),
    "the score is -5 and the target +1: wrong, so move by target * inputs, whatever the size of the"
    " score",
)
check_update(
    [1, 0],
    -3.0,
    [2, 5],
    1,
    ([3, 5], -2),
    "the bias belongs to the score: 2 - 3 = -1 is wrong for the target +1",
)
check_update(
    [1, 3],
    1.0,
    [2, -1],
    -1,
    ([-1, 4], 0),
    "the score 2 - 3 + 1 is exactly 0, and counts as wrong: add target * inputs to the weights, target"
    " to the bias",
)
check_update(
    [2, 1],
    0.5,
    [3, 1],
    1,
    ([2, 1], 0.5),
    "the score is 7.5 and the target +1: right, so nothing changes",
)
check_update(
    [0.01, 0],
    0.0,
    [1, 0],
    1,
    ([0.01, 0], 0),
    "a score of 0.01 is right, however close: nothing changes, there is no margin to keep",
)
check_update(
    [2, 1],
    0.5,
    [-3, 1],
    -1,
    ([2, 1], 0.5),
    "the score is -4.5 and the target -1: right, so nothing changes",
)
check_update(
    [1, 0],
    3.0,
    [-2, 5],
    1,
    ([1, 0], 3),
    "the bias belongs to the score: -2 + 3 = 1 is right for the target +1",
)
check_update(
    [1, 1],
    0.5,
    [2, 4],
    -1,
    ([0.75, 0.5], 0.375),
    "with learning_rate=0.125 the step is 0.125 * target * inputs, and the bias moves by 0.125 *"
    " target",
    learning_rate=0.125,
)
check_update(
    [1, 1],
    0.5,
    [2, 4],
    -1,
    ([-1, -3], -0.5),
    "each call begins with the weights and the bias that it is given: keep nothing from the call"
    " before",
)

### BEGIN HIDDEN TESTS


def perceptron_inputs(rng):
    size = int(rng.integers(1, 7))
    weights, inputs = rng.integers(-6, 7, size) / 4, rng.integers(-8, 9, size) / 2
    bias = float(rng.integers(-8, 9)) / 4
    kind = rng.integers(4)
    if kind == 0:  # exactly on the line; every number here is exact in floating point
        bias = -float(weights @ inputs)
    elif kind == 1:  # on the right or the wrong side by a hair
        bias = -float(weights @ inputs) + float(rng.choice([-1, 1])) / 64
    dtype = [np.float64, np.float32][rng.integers(2)]
    rate = float(rng.choice([1.0, 0.5, 0.125, 2.0]))
    return weights.astype(dtype), bias, inputs.astype(dtype), int(rng.choice([-1, 1])), rate


def perceptron_reference(weights, bias, inputs, target, learning_rate):
    score = sum(float(w) * float(x) for w, x in zip(weights, inputs, strict=True)) + bias
    answer = 1 if score > 0 else -1 if score < 0 else 0
    step = 0 if answer == target else learning_rate * target
    return [[float(w) + step * float(x) for w, x in zip(weights, inputs, strict=True)], bias + step]


def same_pair(got, expected, hint):
    checks.true(
        isinstance(got, (tuple, list)) and len(got) == 2,
        f"got {checks.show(got)}, expected a pair: the new weights and the new bias",
    )
    for came, right in zip(got, expected, strict=True):
        checks.close(checks.array(came, np.shape(right)), right, hint, rtol=1e-5, atol=1e-6)


checks.hidden(
    title="random perceptrons and examples, some of them exactly on the line",
    call="perceptron_update",
    inputs=perceptron_inputs,
    reference=perceptron_reference,
    compare=same_pair,
    hint=(
        "if target * score > 0 nothing changes; else add learning_rate * target * inputs, and"
        " learning_rate * target"
    ),
    cases=24,
)
### END HIDDEN TESTS

# %%
import matplotlib.pyplot as plt

from bow2gpt import figures

corners = np.array([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]])
fig, axis = plt.subplots()
for name, targets in {"AND": (-1, -1, -1, 1), "OR": (-1, 1, 1, 1), "XOR": (-1, 1, 1, -1)}.items():
    weights, bias, wrong = np.zeros(2), 0.0, []
    for _ in range(12):
        for inputs, target in zip(corners, targets, strict=True):
            weights, bias = perceptron_update(weights, bias, inputs, target)
        scores = corners @ weights + bias
        wrong.append(sum(target * score <= 0 for target, score in zip(targets, scores, strict=True)))
    axis.plot(range(1, 13), wrong, label=name)
axis.set(
    title="Which of three functions does a perceptron learn?",
    xlabel="passes over the four examples",
    ylabel="examples told wrong",
    yticks=range(5),
)
axis.legend()
figures.show(
    fig,
    alt=(
        "Examples told wrong after each pass: for AND and OR the lines fall to zero and stay; for XOR"
        " the line never comes down."
    ),
)

# %% mistake="perceptron_update" name="always_moves" says="right, so nothing changes"
def perceptron_update(weights, bias, inputs, target, learning_rate=1.0):
    return weights + learning_rate * target * inputs, bias + learning_rate * target


# %% mistake="perceptron_update" name="zero_is_right" says="a score of exactly 0 counts as wrong"
def perceptron_update(weights, bias, inputs, target, learning_rate=1.0):
    if target * (weights @ inputs + bias) >= 0:
        return weights, bias
    return weights + learning_rate * target * inputs, bias + learning_rate * target


# %% mistake="perceptron_update" name="zero_is_positive" says="a score of exactly 0 counts as wrong"
def perceptron_update(weights, bias, inputs, target, learning_rate=1.0):
    answer = 1 if weights @ inputs + bias >= 0 else -1
    if answer == target:
        return weights, bias
    return weights + learning_rate * target * inputs, bias + learning_rate * target


# %% mistake="perceptron_update" name="zero_is_negative" says="for the target -1 the weights move away"
def perceptron_update(weights, bias, inputs, target, learning_rate=1.0):
    answer = 1 if weights @ inputs + bias > 0 else -1
    if answer == target:
        return weights, bias
    return weights + learning_rate * target * inputs, bias + learning_rate * target


# %% mistake="perceptron_update" name="in_place" says="changed the weights"
def perceptron_update(weights, bias, inputs, target, learning_rate=1.0):
    if target * (weights @ inputs + bias) <= 0:
        weights += learning_rate * target * inputs
        bias += learning_rate * target
    return weights, bias


# %% mistake="perceptron_update" name="only_towards" says="for the target -1 the weights move away"
def perceptron_update(weights, bias, inputs, target, learning_rate=1.0):
    if target * (weights @ inputs + bias) > 0:
        return weights, bias
    return weights + learning_rate * inputs, bias + learning_rate


# %% mistake="perceptron_update" name="bias_not_in_the_score" says="the bias belongs to the score"
def perceptron_update(weights, bias, inputs, target, learning_rate=1.0):
    score = weights @ inputs
    if target * score > 0 or (target * score == 0 and target * bias > 0):
        return weights, bias
    return weights + learning_rate * target * inputs, bias + learning_rate * target


# %% mistake="perceptron_update" name="size_of_the_error" says="whatever the size of the score"
def perceptron_update(weights, bias, inputs, target, learning_rate=1.0):
    score = weights @ inputs + bias
    if target * score > 0:
        return weights, bias
    return weights + learning_rate * (target - score) * inputs, bias + learning_rate * (target - score)


# %% mistake="perceptron_update" name="twice_the_step" says="whatever the size of the score"
def perceptron_update(weights, bias, inputs, target, learning_rate=1.0):
    error = target - np.sign(weights @ inputs + bias)
    return weights + learning_rate * error * inputs, bias + learning_rate * error


# %% mistake="perceptron_update" name="margin" says="there is no margin to keep"
def perceptron_update(weights, bias, inputs, target, learning_rate=1.0):
    if target * (weights @ inputs + bias) > 1:
        return weights, bias
    return weights + learning_rate * target * inputs, bias + learning_rate * target


# %% mistake="perceptron_update" name="bias_without_rate" says="the bias moves by 0.125 * target"
def perceptron_update(weights, bias, inputs, target, learning_rate=1.0):
    if target * (weights @ inputs + bias) > 0:
        return weights, bias
    return weights + learning_rate * target * inputs, bias + target


# %% mistake="perceptron_update" name="weights_only" says="expected a pair"
def perceptron_update(weights, bias, inputs, target, learning_rate=1.0):
    if target * (weights @ inputs + bias) > 0:
        return weights
    return weights + learning_rate * target * inputs


# %% mistake="perceptron_update" name="remembers" says="keep nothing from the call before"
kept = {}


def perceptron_update(weights, bias, inputs, target, learning_rate=1.0):
    learning_rate = kept.setdefault(learning_rate == 1.0, learning_rate)
    rate = kept.get(False, learning_rate)
    if target * (weights @ inputs + bias) > 0:
        return weights, bias
    return weights + rate * target * inputs, bias + rate * target


# %% alternative="perceptron_update" name="loops_and_lists"
def perceptron_update(weights, bias, inputs, target, learning_rate=1.0):
    score = float(bias)
    for weight, value in zip(weights.tolist(), inputs.tolist(), strict=True):
        score += weight * value
    move = learning_rate * target * (score * target <= 0)
    return [w + move * x for w, x in zip(weights.tolist(), inputs.tolist(), strict=True)], float(bias) + move


# %% alternative="perceptron_update" name="bias_as_a_weight"
def perceptron_update(weights, bias, inputs, target, learning_rate=1.0):
    extended, example = np.append(weights, bias), np.append(inputs, 1.0)
    if np.sign(extended @ example) != target:
        extended = extended + learning_rate * target * example
    return extended[:-1], extended[-1]


# %% [markdown]
# ## 2. `Value.backward`
#
# *Difficulty 4 of 5, about 25 minutes, 4 points.*
#
# The loss of a network is one long formula. *Reverse-mode automatic differentiation* (Linnainmaa, 1970) finds its derivative with respect to every number in it, in one walk from
# the end to the beginning. You write that walk; it is what `loss.backward()` does in PyTorch.
#
# The cell below gives you `Node`: a number that remembers what it was computed from. Each has `data`, its number; `grad`, 0 until you fill it; `parents`, the values that it
# was computed from; and `slopes`, its derivative with respect to each parent, in the same order. For `c = a * b` they are `(a, b)` and `(b.data, a.data)`.
# Your `Value` is a `Node` that can go backward.
#
# For every value $v$ from which the root $r$ was computed, `r.backward()` sets `grad` to $\partial r / \partial v$. By the chain rule
#
# $$\frac{\partial r}{\partial r} = 1, \qquad \frac{\partial r}{\partial v} = \sum_{u \text{ used } v} \frac{\partial r}{\partial u} \cdot \frac{\partial u}{\partial v}$$
#
# * $u$ runs over all values that used $v$, and counts twice if it used $v$ twice, as `v * v` does;
# * $\partial u / \partial v$: the local gradient.
#
# So a value can pass its gradient on only when *all* that used it have given theirs. An order in which each value comes after everything that used it is a
# *topological order*, and each value is visited once, however many paths lead to it. Chains are long: 5,000 steps in a row are an ordinary formula, and Python gives up on a
# function that calls itself 1,000 deep. Each formula is built anew, with every `grad` at 0, and you are called once for it; a value that the root does not depend on is left alone.
#
# By hand: $a = 2$, $b = a \cdot a$, $r = b + a$. First $r$: 1. Then $b$: 1. Then $a$, which three places used: $1 \cdot 2 + 1 \cdot 2 + 1 \cdot 1 = 5$. Indeed $2a + 1 = 5$.
#
# <details><summary>A nudge</summary>If you had a list in which every value stands after its parents, in what direction would you walk through it, and what would you do at each value?</details>
# <details><summary>A push</summary>Such a list comes from a depth-first walk that adds a value <em>after</em> its parents. Instead of a function that calls itself, keep a stack of pairs: a value, and whether its parents are done. Values seen before are skipped: keep a set of them.</details>
# <details><summary>Almost there</summary>Pop <code>(value, parents_done)</code>. If done, append the value to the order. Else, if it is new, mark it, push <code>(value, True)</code>, and push <code>(parent, False)</code> for each parent. Then set <code>self.grad = 1.0</code>, and over <code>reversed(order)</code> do <code>parent.grad += local * value.grad</code>.</details>


# %% locked="node"
class Node:
    """A number that remembers what it was computed from.

    Args:
        data: the number.
        parents: the values that it was computed from.
        slopes: its derivative with respect to each parent.
    """

    def __init__(self, data: float, parents: tuple = (), slopes: tuple = ()) -> None:
        self.data = float(data)
        self.grad = 0.0
        self.parents = parents
        self.slopes = slopes

    def _new(self, data, *parts):
        """The result of an operation; each part is a parent and the derivative with respect to it."""
        return type(self)(data, tuple(parent for parent, _ in parts), tuple(local for _, local in parts))

    def _other(self, number):
        return number if isinstance(number, Node) else type(self)(number)

    def __add__(self, other):
        other = self._other(other)
        return self._new(self.data + other.data, (self, 1.0), (other, 1.0))

    def __mul__(self, other):
        other = self._other(other)
        return self._new(self.data * other.data, (self, other.data), (other, self.data))

    def __pow__(self, exponent: float):
        return self._new(self.data**exponent, (self, exponent * self.data ** (exponent - 1)))

    def exp(self):
        result = math.exp(self.data)
        return self._new(result, (self, result))

    def log(self):
        return self._new(math.log(self.data), (self, 1 / self.data))

    def tanh(self):
        result = math.tanh(self.data)
        return self._new(result, (self, 1 - result**2))

    def relu(self):
        return self._new(max(0.0, self.data), (self, float(self.data > 0)))

    def __neg__(self):
        return self * -1

    def __sub__(self, other):
        return self + -self._other(other)

    def __truediv__(self, other):
        return self * self._other(other) ** -1

    def __rsub__(self, other):
        return self._other(other) - self

    def __rtruediv__(self, other):
        return self._other(other) / self

    __radd__, __rmul__ = __add__, __mul__

    def __repr__(self) -> str:
        return f"{type(self).__name__}(data={self.data:.6g}, grad={self.grad:.6g})"


# %% task="value_backward"
class Value(Node):
    """A number that can tell how a result depends on it.

    >>> a = Value(2.0)
    >>> result = a * a + a
    >>> result.backward()
    >>> a.grad
    5.0
    """

    def backward(self) -> None:
        """Set `grad` of every value that this one was computed from, and its own (about 14 lines)."""
        ### BEGIN SOLUTION
        order, seen, stack = [], set(), [(self, False)]
        while stack:
            value, parents_done = stack.pop()
            if parents_done:
                order.append(value)
            elif value not in seen:
                seen.add(value)
                stack.append((value, True))
                stack.extend((parent, False) for parent in value.parents)
        self.grad = 1.0
        for value in reversed(order):
            for parent, slope in zip(value.parents, value.slopes, strict=True):
                parent.grad += slope * value.grad
        ### END SOLUTION


# %% check="value_backward" points=4
# Runs a few lines that compute `out` from the values a, b, c, ..., goes backward, and gives each name's number and gradient.
went_back = checks.evaluate("""lambda lines, numbers: (
        scope := {"Value": Value, **{name: Value(number) for name, number in zip("abcdefgh", numbers)}},
        exec(lines, scope),
        scope["out"].backward(),
        {name: (float(value.data), float(value.grad)) for name, value in scope.items() if isinstance(value, Value)},
    )[-1]""")  # stands with your class, also where a grader runs it in another process


def check_gradients(lines, numbers, expected, hint):
    came = checks.run(lambda: went_back(lines, numbers), hint=hint)
    for name, right in expected.items():
        data, grad = came[name]
        checks.true(
            abs(grad - right) <= 1e-6 * abs(right) + 1e-9,
            f"with {lines!r}, at"
            f" {', '.join(f'{name} = {number:g}' for name, number in zip('abcdefgh', numbers, strict=False))}:"
            f" {name}.grad is {grad:.6g}, expected {right:.6g}. Likely cause: {hint}",
        )
    for name, number in zip("abcdefgh", numbers, strict=False):
        checks.true(
            came[name][0] == number, f"`data` of {name} changed: going backward only fills in `grad`"
        )


seed = "the seed is missing: the derivative of the root with respect to itself is 1"
check_gradients("out = a * b", [3.0, 4.0], {"out": 1}, seed)
check_gradients(
    "out = a * b",
    [3.0, 4.0],
    {"a": 4, "b": 3},
    "multiply the gradient of the result by the local gradient of each parent",
)
check_gradients(
    "out = a", [3.0], {"a": 1}, "a root without parents has the gradient 1, and that is all"
)
deep = (
    "the chain rule: each parent's share is its local gradient times the gradient of the value that"
    " used it"
)
check_gradients("d = a * b\nout = d * c", [2.0, 3.0, 5.0], {"d": 5, "a": 15, "b": 10, "c": 6}, deep)
slope = 3 * (1 - math.tanh(-0.25) ** 2) * math.exp(3 * math.tanh(-0.25))
check_gradients(
    "out = ((a * b).tanh() * 3).exp()", [0.5, -0.5], {"a": -0.5 * slope, "b": 0.5 * slope}, deep
)
check_gradients(
    "d = a * 0.01\nout = d * 0.01",
    [2.0],
    {"d": 0.01, "a": 0.0001},
    "a gradient is passed on however small it is",
)
check_gradients(
    "d = a + 1\ne = b + 1\nout = d * e",
    [2.0, 2.0],
    {"a": 3, "b": 3},
    "two values with the same number are still two values: tell them apart as objects",
)
check_gradients(
    "out = a + a",
    [3.0],
    {"a": 2},
    "a value that is used twice gets a share from each use: add the shares up, do not overwrite",
)
check_gradients(
    "out = a * a",
    [3.0],
    {"a": 6},
    "a value may be used twice by the same operation: `a * a` has a twice among its parents",
)
check_gradients(
    "d = a * 2\ne = a * 3\nout = d * e",
    [1.0],
    {"d": 3, "e": 2, "a": 12},
    "a value that is used in two places gets a share from each: add the shares up",
)
waits = (
    "a value may pass its gradient on only when all that used it have given theirs: d waits for e,"
    " whichever of them comes first"
)
for last in ("d * e", "e * d", "d + e * d", "e * d + d"):
    right = {"d * e": (14, 28), "e * d": (14, 28), "d + e * d": (15, 30), "e * d + d": (15, 30)}[last]
    check_gradients(f"d = a * 2\ne = d + 6\nout = {last}", [2.0], {"d": right[0], "a": right[1]}, waits)
check_gradients(
    "d = a * 2\ne = d * 3\nf = e + d\ng = f * e\nout = g + d * f",
    [0.5],
    {"g": 1, "f": 4, "e": 8, "d": 32, "a": 64},
    "a value may pass its gradient on only when all that used it have given theirs: visit in"
    " topological order",
)
check_gradients(
    "unused = a * 7\nout = a * 2 + b",
    [2.0, 1.0, 9.0],
    {"a": 2, "b": 1, "c": 0, "unused": 0},
    "what the root does not depend on gets no gradient and gives none",
)
check_gradients(
    "d = a - b\nout = d / c + d ** 2", [5.0, 2.0, 4.0], {"a": 6.25, "b": -6.25, "c": -0.1875}, deep
)
check_gradients(
    "out = (a * b).relu() + (a * c).relu()",
    [2.0, 3.0, -1.0],
    {"a": 3, "b": 2, "c": 0},
    "a gradient of 0 is passed on like any other",
)
check_gradients(
    "d = a\nfor _ in range(5000):\n    d = d + 0.001\nout = d * d",
    [1.0],
    {"a": 12},
    "a chain of 5,000 additions: a function that calls itself for each of them goes too deep, so keep a"
    " list of what is still to be visited",
)
counted = """
import sys
out = a
for _ in range(40):
    out = out + out
left = iter(range(20_000))
def count(*_):
    if next(left, None) is None:
        raise OverflowError("more than 20,000 steps for 41 values")
sys.setprofile(count)
try:
    out.backward()
finally:
    sys.setprofile(None)
doubled, out = out, Value(0.0)
"""
check_gradients(
    counted,
    [1.0],
    {"a": 2.0**40, "doubled": 1},
    "40 doublings are 41 values and a million million paths: visit each value once, not once for each"
    " path",
)
check_gradients(
    "d = a * 2\ne = d * 3\nout = e * d",
    [2.0],
    {"d": 24, "a": 48},
    "each call walks through its own formula: keep nothing from the call before",
)

### BEGIN HIDDEN TESTS


def formula_inputs(rng):
    numbers = [
        float(number) for number in rng.uniform(0.3, 2, rng.integers(1, 5)) * rng.choice([-1, 1])
    ]
    steps = []
    for place in range(len(numbers), len(numbers) + int(rng.integers(1, 14))):
        one, two = (f"v{rng.integers(max(0, place - 5), place)}" for _ in range(2))
        kinds = [
            f"{one} + {two}",
            f"{one} - {two}",
            f"{one} * {two}.tanh()",
            f"{two}.tanh() * {one}",
            f"{one}.tanh() / ({two} ** 2 + 1.5)",
            f"{one}.tanh() ** 3",
            f"{one}.tanh() * {one}.tanh()",
            f"({one}.tanh() * 2).exp()",
            f"({one} * {one} + 0.7).log()",
            f"{one}.relu() - {two}",
            f"1.5 - {one} * 0.5",
            f"2.0 / ({one} * {one} + 2.0)",
        ]
        steps.append(str(rng.choice(kinds)))
    return numbers, steps


def formula_reference(numbers, steps):
    class Dual:
        """A number and its derivative with respect to one chosen value (Clifford, 1873): forward, not backward."""

        def __init__(self, x, dx=0.0):
            self.x, self.dx = x, dx

        def of(self, other):
            return other if isinstance(other, Dual) else Dual(other)

        def __add__(self, other):
            return Dual(self.x + self.of(other).x, self.dx + self.of(other).dx)

        def __mul__(self, other):
            other = self.of(other)
            return Dual(self.x * other.x, self.dx * other.x + self.x * other.dx)

        def __sub__(self, other):
            return self + self.of(other) * -1.0

        def __rsub__(self, other):
            return self.of(other) - self

        def __pow__(self, n):
            return Dual(self.x**n, n * self.x ** (n - 1) * self.dx)

        def __truediv__(self, other):
            return self * self.of(other) ** -1

        def __rtruediv__(self, other):
            return self.of(other) / self

        def tanh(self):
            return Dual(math.tanh(self.x), (1 - math.tanh(self.x) ** 2) * self.dx)

        def exp(self):
            return Dual(math.exp(self.x), math.exp(self.x) * self.dx)

        def log(self):
            return Dual(math.log(self.x), self.dx / self.x)

        def relu(self):
            return Dual(max(0.0, self.x), self.dx * (self.x > 0))

    gradients, total = [], len(numbers) + len(steps)
    for chosen in range(total):
        scope = {}
        for place in range(total):
            value = (
                Dual(numbers[place])
                if place < len(numbers)
                else eval(steps[place - len(numbers)], {}, scope)
            )
            scope[f"v{place}"] = Dual(
                value.x, 1.0 if place == chosen else 0.0 if place < chosen else value.dx
            )
        gradients.append(scope[f"v{total - 1}"].dx)
    return gradients


def same_gradients(got, expected, hint):
    checks.true(got["data as before"], "`data` of a value changed: going backward only fills in `grad`")
    checks.close(checks.array(got["grad"], (len(expected),)), expected, hint, rtol=1e-6, atol=1e-9)


checks.hidden(
    title="the gradients of all values in random formulas, where values are used again and again",
    call="""lambda numbers, steps: (
        scope := {f"v{place}": Value(number) for place, number in enumerate(numbers)},
        [scope.update({f"v{place}": eval(step, {}, scope)}) for place, step in enumerate(steps, len(numbers))],
        before := [value.data for value in scope.values()],
        scope[f"v{len(scope) - 1}"].backward(),
        {
            "grad": [float(value.grad) for value in scope.values()],
            "data as before": [value.data for value in scope.values()] == before,
        },
    )[-1]""",
    inputs=formula_inputs,
    reference=formula_reference,
    compare=same_gradients,
    hint=(
        "in topological order, add to each parent its local gradient times the gradient of the value"
        " that used it"
    ),
    cases=24,
)
### END HIDDEN TESTS

# %%
from bow2gpt import figures

exclusive_or = [(0.0, 0.0, -1.0), (0.0, 1.0, 1.0), (1.0, 0.0, 1.0), (1.0, 1.0, -1.0)]
draws = np.random.default_rng(1).normal(size=(4, 4))
hidden_units = [[Value(number) for number in row[:3]] for row in draws]
output_unit = [Value(number) for number in (*draws[:, 3], 0.0)]
losses = []
for _ in range(150):
    loss = Value(0.0)
    for one, two, target in exclusive_or:
        hidden = [(w * one + v * two + b).tanh() for w, v, b in hidden_units]
        out = output_unit[4]
        for weight, unit in zip(output_unit, hidden, strict=False):
            out = out + weight * unit
        loss = loss + (out - target) ** 2
    parameters = [number for unit in (*hidden_units, output_unit) for number in unit]
    for parameter in parameters:
        parameter.grad = 0.0
    loss.backward()
    for parameter in parameters:
        parameter.data -= 0.05 * parameter.grad
    losses.append(loss.data)
fig, axis = plt.subplots()
axis.plot(losses, marker="")
axis.set(
    title="Can four hidden units learn XOR from your gradients?",
    xlabel="steps of gradient descent",
    ylabel="sum of squared errors",
    yscale="log",
)
figures.show(
    fig,
    alt=(
        "The error of a small network on XOR, on a logarithmic axis, falls from above one to far below"
        " a hundredth within 150 steps."
    ),
)

# %% mistake="value_backward" name="no_seed" says="the seed is missing"
class Value(Node):
    def backward(self):
        order, seen = [], set()

        def visit(value):
            if value not in seen:
                seen.add(value)
                for parent in value.parents:
                    visit(parent)
                order.append(value)

        visit(self)
        for value in reversed(order):
            for parent, local in zip(value.parents, value.slopes, strict=False):
                parent.grad += local * value.grad


# %% mistake="value_backward" name="overwrites" says="add the shares up, do not overwrite"
class Value(Node):
    def backward(self):
        order, seen, stack = [], set(), [(self, False)]
        while stack:
            value, done = stack.pop()
            if done:
                order.append(value)
            elif value not in seen:
                seen.add(value)
                stack.append((value, True))
                stack += [(parent, False) for parent in value.parents]
        self.grad = 1.0
        for value in reversed(order):
            for parent, local in zip(value.parents, value.slopes, strict=False):
                parent.grad = local * value.grad


# %% mistake="value_backward" name="breadth_first" says="a value may pass its gradient on only when all that used it"
class Value(Node):
    def backward(self):
        self.grad = 1.0
        queue, seen = [self], {self}
        while queue:
            value = queue.pop(0)
            for parent, local in zip(value.parents, value.slopes, strict=False):
                parent.grad += local * value.grad
                if parent not in seen:
                    seen.add(parent)
                    queue.append(parent)


# %% mistake="value_backward" name="preorder" says="a value may pass its gradient on only when all that used it"
class Value(Node):
    def backward(self):
        self.grad = 1.0
        stack, seen = [self], set()
        while stack:
            value = stack.pop()
            if value in seen:
                continue
            seen.add(value)
            for parent, local in zip(value.parents, value.slopes, strict=False):
                parent.grad += local * value.grad
                stack.append(parent)


# %% mistake="value_backward" name="leaves_first" says="multiply the gradient of the result by the local gradient"
class Value(Node):
    def backward(self):
        order, seen, stack = [], set(), [(self, False)]
        while stack:
            value, done = stack.pop()
            if done:
                order.append(value)
            elif value not in seen:
                seen.add(value)
                stack.append((value, True))
                stack += [(parent, False) for parent in value.parents]
        self.grad = 1.0
        for value in order:
            if value is not self:
                for parent, local in zip(value.parents, value.slopes, strict=False):
                    parent.grad += local * value.grad


# %% mistake="value_backward" name="local_only" says="the chain rule"
class Value(Node):
    def backward(self):
        seen, stack = set(), [self]
        self.grad = 1.0
        while stack:
            value = stack.pop()
            if value not in seen:
                seen.add(value)
                for parent, local in zip(value.parents, value.slopes, strict=False):
                    parent.grad += local
                    stack.append(parent)


# %% mistake="value_backward" name="calls_itself" says="goes too deep"
class Value(Node):
    def backward(self):
        order, seen = [], set()

        def visit(value):
            if value not in seen:
                seen.add(value)
                for parent in value.parents:
                    visit(parent)
                order.append(value)

        visit(self)
        self.grad = 1.0
        for value in reversed(order):
            for parent, local in zip(value.parents, value.slopes, strict=False):
                parent.grad += local * value.grad


# %% mistake="value_backward" name="once_for_each_path" says="not once for each path"
class Value(Node):
    def backward(self):
        stack = [(self, 1.0)]
        while stack:
            value, share = stack.pop()
            value.grad += share
            for parent, local in zip(value.parents, value.slopes, strict=False):
                stack.append((parent, share * local))


# %% mistake="value_backward" name="parents_once" says="twice by the same operation"
class Value(Node):
    def backward(self):
        order, seen, stack = [], set(), [(self, False)]
        while stack:
            value, done = stack.pop()
            if done:
                order.append(value)
            elif value not in seen:
                seen.add(value)
                stack.append((value, True))
                stack += [(parent, False) for parent in value.parents]
        self.grad = 1.0
        for value in reversed(order):
            twice = value.slopes == (1.0, 1.0) and value.parents[0] is value.parents[1]
            for parent, local in dict(zip(value.parents, value.slopes, strict=False)).items():
                parent.grad += local * value.grad * (2 if twice else 1)


# %% mistake="value_backward" name="only_the_parents" says="the chain rule"
class Value(Node):
    def backward(self):
        self.grad = 1.0
        for parent, local in zip(self.parents, self.slopes, strict=False):
            parent.grad += local


# %% mistake="value_backward" name="known_by_number" says="tell them apart as objects"
class Value(Node):
    def backward(self):
        order, seen, stack = [], set(), [(self, False)]
        while stack:
            value, done = stack.pop()
            if done:
                order.append(value)
            elif value.data not in seen:
                seen.add(value.data)
                stack.append((value, True))
                stack += [(parent, False) for parent in value.parents]
        self.grad = 1.0
        for value in reversed(order):
            for parent, local in zip(value.parents, value.slopes, strict=False):
                parent.grad += local * value.grad


# %% mistake="value_backward" name="also_learns" says="`data` of"
class Value(Node):
    def backward(self):
        order, seen, stack = [], set(), [(self, False)]
        while stack:
            value, done = stack.pop()
            if done:
                order.append(value)
            elif value not in seen:
                seen.add(value)
                stack.append((value, True))
                stack += [(parent, False) for parent in value.parents]
        self.grad = 1.0
        for value in reversed(order):
            for parent, local in zip(value.parents, value.slopes, strict=False):
                parent.grad += local * value.grad
            if not value.parents:
                value.data -= 0.1 * value.grad


# %% mistake="value_backward" name="stops_at_zero" says="however small it is"
class Value(Node):
    def backward(self):
        order, seen, stack = [], set(), [(self, False)]
        while stack:
            value, done = stack.pop()
            if done:
                order.append(value)
            elif value not in seen:
                seen.add(value)
                stack.append((value, True))
                stack += [(parent, False) for parent in value.parents]
        self.grad = 1.0
        for value in reversed(order):
            if abs(value.grad) < 0.05:
                continue
            for parent, local in zip(value.parents, value.slopes, strict=False):
                parent.grad += local * value.grad


# %% alternative="value_backward" name="counts_the_users"
class Value(Node):
    def backward(self):
        users, found = {self: 0}, [self]
        for value in found:
            for parent in value.parents:
                if parent not in users:
                    users[parent] = 0
                    found.append(parent)
                users[parent] += 1
        self.grad, ready = 1.0, [self]
        while ready:
            value = ready.pop()
            for parent, local in zip(value.parents, value.slopes, strict=False):
                parent.grad = parent.grad + local * value.grad
                users[parent] -= 1
                if users[parent] == 0:
                    ready.append(parent)


# %% alternative="value_backward" name="iterators_on_a_stack"
def _backward(root):
    order, seen, stack = [], {id(root)}, [(root, iter(root.parents))]
    while stack:
        value, rest = stack[-1]
        parent = next(rest, None)
        if parent is None:
            order.insert(0, value)
            stack.pop()
        elif id(parent) not in seen:
            seen.add(id(parent))
            stack.append((parent, iter(parent.parents)))
    root.grad = 1.0
    for value in order:
        for place in range(len(value.parents)):
            value.parents[place].grad += value.slopes[place] * value.grad


class Value(Node):
    backward = _backward


# %% alternative="value_backward" name="numbered_as_made"
import itertools

_made = itertools.count()


class Value(Node):
    def __init__(self, *arguments):
        super().__init__(*arguments)
        self.number = next(_made)

    def backward(self):
        import heapq

        self.grad = 1.0
        heap, waiting = [(-self.number, self)], {self.number}
        while heap:
            _, value = heapq.heappop(heap)
            for parent, local in zip(value.parents, value.slopes, strict=False):
                parent.grad += local * value.grad
                if parent.number not in waiting:
                    waiting.add(parent.number)
                    heapq.heappush(heap, (-parent.number, parent))


# %% [markdown]
# ## 3. `linear_backward`
#
# *Difficulty 3 of 5, about 15 minutes, 3 points.*
#
# Almost all the work of a network, and of a GPT, is in *linear layers*: $Y = X W^\top + b$. Numbers one by one are too slow there; but the same walk works on whole arrays, if each layer knows
# how to turn the gradient of its output into the gradients of what went in (Rumelhart, Hinton and Williams, 1986). You write that for the linear layer.
#
# With the loss $L$ and $G = \partial L / \partial Y$, sum over every way in which a number reached the loss:
#
# $$\frac{\partial L}{\partial X_{n,i}} = \sum_o G_{n,o} W_{o,i}, \qquad \frac{\partial L}{\partial W_{o,i}} = \sum_n G_{n,o} X_{n,i}, \qquad \frac{\partial L}{\partial b_o} = \sum_n G_{n,o}$$
#
# * $G$: `grad_output`, of shape (batch, out); $X$: `inputs`, of shape (batch, in); $W$: `weight`, of shape (out, in), as PyTorch stores it;
# * $n$ counts the examples of the batch, $i$ the inputs, $o$ the outputs;
# * the result is a tuple of three arrays, each with the shape of what it is the gradient of: (batch, in), (out, in), (out,).
#
# If the loss is a mean over the batch, $G$ has the $1/\text{batch}$ in it already: nothing is to be averaged here.
#
# By hand: two examples of one input, $X = \binom{2}{3}$, one output, $W = (5)$, $G = \binom{1}{10}$. Then $\partial L / \partial X = \binom{5}{50}$, $\partial L / \partial W = 1 \cdot 2 + 10 \cdot 3 = 32$, and $\partial L / \partial b = 11$.
#
# <details><summary>A nudge</summary>Write the three shapes side by side. For each result there is one matrix product whose shapes fit, unless two sides are equal by chance: then only the formula helps.</details>
# <details><summary>A push</summary>A sum over the index that two arrays share is a matrix product. Where the shared index comes first in the left one, transpose that: <code>grad_output.T @ inputs</code> sums over the batch.</details>
# <details><summary>Almost there</summary><code>grad_output @ weight</code>, <code>grad_output.T @ inputs</code>, and the sum of <code>grad_output</code> over <code>axis=0</code>.</details>


# %% task="linear_backward"
def linear_backward(
    grad_output: np.ndarray, inputs: np.ndarray, weight: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Turn the gradient of the output of a linear layer into those of its inputs, weight and bias (about 4 lines).

    Args:
        grad_output: of the loss with respect to inputs @ weight.T + bias, of shape (batch, out).
        inputs: what went in, of shape (batch, in).
        weight: of shape (out, in).

    Returns:
        The gradients with respect to the inputs (batch, in), the weight (out, in) and the bias (out,).

    >>> x, w, b = linear_backward(np.array([[1.0], [10.0]]), np.array([[2.0], [3.0]]), np.array([[5.0]]))
    >>> x.tolist(), w.tolist(), b.tolist()
    ([[5.0], [50.0]], [[32.0]], [11.0])
    """
    ### BEGIN SOLUTION
    grad_inputs = grad_output @ weight
    grad_weight = grad_output.T @ inputs
    grad_bias = grad_output.sum(axis=0)
    return grad_inputs, grad_weight, grad_bias
    ### END SOLUTION


# %% check="linear_backward" points=3
grad_output = np.array([[1.0, 2.0], [0.0, -1.0], [3.0, 0.5]])  # 3 examples, 2 outputs
inputs = np.array([[1.0, 0.0, 2.0, -1.0], [2.0, 1.0, 0.0, 0.0], [0.5, 0.0, 1.0, 4.0]])  # 4 inputs
weight = np.array([[1.0, -2.0, 0.0, 3.0], [0.5, 1.0, 2.0, -1.0]])
given = grad_output.copy(), inputs.copy(), weight.copy()
shapes = (
    "here are 3 examples, 4 inputs and 2 outputs: each gradient has the shape of what it belongs to"
)
came = checks.run(lambda: linear_backward(*given), hint=shapes)
for before, after, name in zip(
    (grad_output, inputs, weight), given, ("grad_output", "inputs", "weight"), strict=True
):
    checks.unchanged(before, after, name)
checks.true(
    isinstance(came, (tuple, list)) and len(came) == 3,
    f"got {checks.show(came)}, expected a tuple of three arrays: grad_inputs, grad_weight, grad_bias",
)
grad_inputs = checks.array(came[0], (3, 4), f"grad_inputs comes first, of shape (batch, in). {shapes}")
checks.true(
    np.shape(came[1]) != (4, 2),
    "grad_weight has the shape (in, out): the weight is stored as (out, in), and so is its gradient, so"
    " transpose it",
)
grad_weight = checks.array(came[1], (2, 4), f"grad_weight comes second, of shape (out, in). {shapes}")
checks.true(
    np.shape(came[2]) != (3, 2),
    "grad_bias is still one row for each example: all examples share one bias, so their gradients"
    " add up",
)
grad_bias = checks.array(came[2], (2,), f"grad_bias comes third, of shape (out,). {shapes}")
right_weight = [[2.5, 0.0, 5.0, 11.0], [0.25, -1.0, 4.5, 0.0]]
right_inputs = [[2.0, 0.0, 4.0, 1.0], [-0.5, -1.0, -2.0, 1.0], [3.25, -5.5, 1.0, 8.5]]
for part, right, name in [
    (grad_inputs, right_inputs, "grad_inputs"),
    (grad_weight, right_weight, "grad_weight"),
    (grad_bias, [4.0, 1.5], "grad_bias"),
]:
    for divisor in (2, 3, 4, 6, 12):
        checks.true(
            not np.allclose(part, np.array(right) / divisor),
            f"{name} is {divisor} times too small: nothing is averaged here; if the loss is a mean,"
            " grad_output has its 1/batch already",
        )
checks.close(
    grad_inputs,
    right_inputs,
    hint=(
        "each input reached the loss through every output: sum over the outputs, grad_output times"
        " weight"
    ),
    rtol=1e-4,
    atol=1e-5,
)
checks.close(
    grad_weight,
    right_weight,
    hint=(
        "each weight served every example: sum over the batch, the gradient of its output times its"
        " input"
    ),
    rtol=1e-4,
    atol=1e-5,
)
checks.close(grad_bias, [4.0, 1.5], hint="sum grad_output over the batch, axis 0", rtol=1e-4, atol=1e-5)

# With as many examples as inputs and outputs, a wrong product has the right shape too.
square = [
    np.array(rows)
    for rows in ([[1.0, 2.0], [0.0, 3.0]], [[1.0, 0.0], [5.0, 2.0]], [[2.0, 7.0], [1.0, 4.0]])
]
came = checks.run(lambda: linear_backward(*square), hint="2 examples, 2 inputs and 2 outputs")
for place, name, wrong, right, cause in [
    (
        0,
        "grad_inputs",
        [[16, 9], [21, 12]],
        [[4, 15], [3, 12]],
        "the weight was transposed: the sum is over the outputs, the first axis of the weight",
    ),
    (
        1,
        "grad_weight",
        [[1, 17], [0, 6]],
        [[1, 0], [17, 6]],
        "it is transposed: row o belongs to output o",
    ),
    (
        1,
        "grad_weight",
        [[11, 4], [15, 6]],
        [[1, 0], [17, 6]],
        "the sum is over the batch: transpose grad_output in the product",
    ),
    (2, "grad_bias", [3, 3], [1, 5], "you summed over the outputs: the sum is over the batch, axis 0"),
]:
    part = checks.array(came[place], np.shape(right))
    checks.true(
        not np.allclose(part, wrong),
        f"with 2 examples, 2 inputs and 2 outputs {name} is wrong: {cause}",
    )
    checks.close(
        part,
        right,
        hint=f"{name}, with 2 examples, 2 inputs and 2 outputs: follow the indices of the formula",
        rtol=1e-4,
        atol=1e-5,
    )
single = checks.run(
    lambda: linear_backward(
        np.array([[1.0, 10.0, 100.0]]),
        np.array([[2.0, 3.0]]),
        np.array([[5.0, 0.0], [7.0, 1.0], [0.0, 4.0]]),
    ),
    hint="one example is still a batch, of one",
)
for part, right in zip(
    single, ([[75, 410]], [[2, 3], [20, 30], [200, 300]], [1, 10, 100]), strict=True
):
    checks.close(
        part,
        right,
        hint=(
            "one example is still a batch, of one, and its axis stays; keep nothing from the call"
            " before"
        ),
        rtol=1e-4,
        atol=1e-5,
    )

### BEGIN HIDDEN TESTS


def linear_inputs(rng):
    batch, size_in, size_out = (int(size) for size in rng.integers(1, 6, 3))
    if rng.random() < 0.3:
        size_out = size_in = batch
    dtype = [np.float64, np.float32][rng.integers(2)]
    shapes = (batch, size_out), (batch, size_in), (size_out, size_in)
    return tuple(rng.normal(size=shape).astype(dtype) for shape in shapes)


def linear_reference(grad_output, inputs, weight):
    (batch, size_out), size_in = grad_output.shape, inputs.shape[1]
    grad_inputs, grad_weight, grad_bias = (
        np.zeros((batch, size_in)),
        np.zeros((size_out, size_in)),
        np.zeros(size_out),
    )
    for n in range(batch):
        for o in range(size_out):
            grad_bias[o] += grad_output[n, o]
            for i in range(size_in):
                grad_inputs[n, i] += float(grad_output[n, o]) * float(weight[o, i])
                grad_weight[o, i] += float(grad_output[n, o]) * float(inputs[n, i])
    return grad_inputs, grad_weight, grad_bias


def same_three(got, expected, hint):
    checks.true(
        isinstance(got, (tuple, list)) and len(got) == 3,
        f"got {checks.show(got)}, expected a tuple of three arrays: grad_inputs, grad_weight,"
        " grad_bias",
    )
    for came, right, name in zip(
        got, expected, ("grad_inputs", "grad_weight", "grad_bias"), strict=True
    ):
        checks.close(
            checks.array(came, right.shape, name), right, f"{name}: {hint}", rtol=1e-4, atol=1e-5
        )


checks.hidden(
    title="random layers of all shapes",
    call="linear_backward",
    inputs=linear_inputs,
    reference=linear_reference,
    compare=same_three,
    hint=(
        "grad_output times weight; grad_output, transposed, times inputs; the sum of grad_output over"
        " the batch"
    ),
    cases=16,
)
### END HIDDEN TESTS

# %%
import torch

rng = np.random.default_rng(0)
inputs, weight, bias, targets = (rng.normal(size=size) for size in ((64, 30), (10, 30), 10, (64, 10)))
difference = inputs @ weight.T + bias - targets
ours = linear_backward(2 * difference / difference.size, inputs, weight)
tensors = [torch.tensor(array, requires_grad=True) for array in (inputs, weight, bias)]
torch.nn.functional.mse_loss(torch.nn.functional.linear(*tensors), torch.tensor(targets)).backward()
for name, gradient, tensor in zip(("inputs", "weight", "bias"), ours, tensors, strict=True):
    largest = np.abs(gradient - tensor.grad.numpy()).max()
    print(f"{name:>6}: shape {gradient.shape!s:>8}, largest difference to PyTorch {largest:.1e}")

# %% mistake="linear_backward" name="weight_transposed" says="grad_weight has the shape (in, out)"
def linear_backward(grad_output, inputs, weight):
    return grad_output @ weight, inputs.T @ grad_output, grad_output.sum(axis=0)


# %% mistake="linear_backward" name="forward_again" says="here are 3 examples, 4 inputs and 2 outputs"
def linear_backward(grad_output, inputs, weight):
    return grad_output @ weight.T, grad_output.T @ inputs, grad_output.sum(axis=0)


# %% mistake="linear_backward" name="mean_over_the_batch" says="3 times too small"
def linear_backward(grad_output, inputs, weight):
    batch = len(inputs)
    return grad_output @ weight, grad_output.T @ inputs / batch, grad_output.mean(axis=0)


# %% mistake="linear_backward" name="bias_not_summed" says="still one row for each example"
def linear_backward(grad_output, inputs, weight):
    return grad_output @ weight, grad_output.T @ inputs, grad_output


# %% mistake="linear_backward" name="bias_over_the_outputs" says="grad_bias comes third"
def linear_backward(grad_output, inputs, weight):
    return grad_output @ weight, grad_output.T @ inputs, grad_output.sum(axis=1)


# %% mistake="linear_backward" name="bias_keeps_the_axis" says="grad_bias comes third"
def linear_backward(grad_output, inputs, weight):
    return grad_output @ weight, grad_output.T @ inputs, grad_output.sum(axis=0, keepdims=True)


# %% mistake="linear_backward" name="other_order" says="grad_inputs comes first"
def linear_backward(grad_output, inputs, weight):
    return grad_output.T @ inputs, grad_output.sum(axis=0), grad_output @ weight


# %% mistake="linear_backward" name="whatever_fits" says="the weight was transposed"
def linear_backward(grad_output, inputs, weight):
    fits = grad_output.shape[1] == weight.shape[1]
    return grad_output @ (weight.T if fits else weight), grad_output.T @ inputs, grad_output.sum(axis=0)


# %% mistake="linear_backward" name="last_example" says="sum over the batch"
def linear_backward(grad_output, inputs, weight):
    grad_weight = np.zeros_like(weight)
    for gradient, example in zip(grad_output, inputs, strict=False):
        grad_weight = np.outer(gradient, example)
    return grad_output @ weight, grad_weight, grad_output.sum(axis=0)


# %% mistake="linear_backward" name="in_place" says="changed grad_output"
def linear_backward(grad_output, inputs, weight):
    result = grad_output @ weight, grad_output.T @ inputs, grad_output.sum(axis=0)
    grad_output *= 0
    return result


# %% mistake="linear_backward" name="squeezed" says="one example is still a batch"
def linear_backward(grad_output, inputs, weight):
    return (grad_output @ weight).squeeze(), grad_output.T @ inputs, grad_output.sum(axis=0)


# %% alternative="linear_backward" name="einsum"
def linear_backward(grad_output, inputs, weight):
    return (
        np.einsum("no,oi->ni", grad_output, weight),
        np.einsum("no,ni->oi", grad_output, inputs),
        np.einsum("no->o", grad_output),
    )


# %% alternative="linear_backward" name="one_example_after_the_other"
def linear_backward(grad_output, inputs, weight):
    grad_weight, grad_bias, rows = np.zeros(weight.shape), np.zeros(len(weight)), []
    for gradient, example in zip(grad_output, inputs, strict=True):
        rows.append(weight.T @ gradient)
        grad_weight += np.outer(gradient, example)
        grad_bias += gradient
    return [np.stack(rows), grad_weight, grad_bias]


# %% alternative="linear_backward" name="torch_autograd_in_float32"
def linear_backward(grad_output, inputs, weight):
    import torch

    x, w = (torch.tensor(array, dtype=torch.float32, requires_grad=True) for array in (inputs, weight))
    b = torch.zeros(len(weight), requires_grad=True)
    (x @ w.T + b).backward(torch.tensor(grad_output, dtype=torch.float32))
    return x.grad, w.grad, b.grad


# %% [markdown]
# ## 4. `softmax_cross_entropy`
#
# *Difficulty 3 of 5, about 20 minutes, 3 points.*
#
# A network that chooses among classes, or among the words of a vocabulary, ends in one number for each, a *logit*. *Softmax* (Bridle, 1990) turns them into probabilities, and *cross-entropy* is how surprised
# the model is by what really came, in nats. Every GPT is trained with this loss; here you compute it together with its gradient, for the two have most of their work in common.
#
# $$p_{n,k} = \frac{e^{z_{n,k}}}{\sum_j e^{z_{n,j}}}, \qquad L = -\frac{1}{N} \sum_n \ln p_{n, t_n}, \qquad \frac{\partial L}{\partial z_{n,k}} = \frac{p_{n,k} - [k = t_n]}{N}$$
#
# * $z$: `logits`, of shape $(N, C)$: $N$ examples, $C$ classes; $t$: `targets`, the right class of each example, whole numbers of shape $(N,)$;
# * $[k = t_n]$ is 1 for the right class and 0 for the others;
# * the result is a pair: the loss $L$, one number, and the gradient, of shape $(N, C)$.
#
# Logits may be 1000, and $e^{1000}$ is infinite in floating point; or $-1000$ below the largest, and then $p$ is 0 and its logarithm infinite, where the loss is a plain 1000. Both go away if you subtract each
# row's largest logit first, which changes no probability, and take the logarithm of the formula by hand: $\ln p_{n,k} = z_{n,k} - \ln \sum_j e^{z_{n,j}}$.
#
# By hand: one example, logits $(\ln 1, \ln 3)$, the right class is 0. $p = (\frac14, \frac34)$, the loss is $\ln 4 = 1.386$, and the gradient $(-\frac34, \frac34)$: the right logit should rise, the other fall.
#
# <details><summary>A nudge</summary>Work out the log probabilities first, all of them. The loss and the gradient both come from them.</details>
# <details><summary>A push</summary><code>shifted = logits - logits.max(axis=1, keepdims=True)</code> and then <code>log_probs = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))</code>. In each row one exponential is 1, so the sum is never 0.</details>
# <details><summary>Almost there</summary><code>rows = np.arange(len(targets))</code> picks one entry of each row: the loss is <code>-log_probs[rows, targets].mean()</code>. For the gradient take <code>np.exp(log_probs)</code>, subtract 1 at <code>[rows, targets]</code>, and divide by the number of rows.</details>


# %% task="softmax_cross_entropy"
def softmax_cross_entropy(logits: np.ndarray, targets: np.ndarray) -> tuple[float, np.ndarray]:
    """Compute the mean cross-entropy of a batch, and its gradient (about 7 lines).

    Args:
        logits: one number for each class, of shape (batch, classes).
        targets: the right class of each example, integers 0 to classes - 1 of shape (batch,).

    Returns:
        The loss in nats, and its gradient with respect to the logits, of shape (batch, classes).

    >>> loss, gradient = softmax_cross_entropy(np.log([[1.0, 3.0]]), np.array([0]))
    >>> round(float(loss), 4), gradient.round(4).tolist()
    (1.3863, [[-0.75, 0.75]])
    """
    ### BEGIN SOLUTION
    rows = np.arange(len(targets))
    shifted = logits - logits.max(axis=1, keepdims=True)
    log_probs = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    grad_logits = np.exp(log_probs)
    grad_logits[rows, targets] -= 1
    return float(-log_probs[rows, targets].mean()), grad_logits / len(targets)
    ### END SOLUTION


# %% check="softmax_cross_entropy" points=3
def loss_and_gradient(logits, targets, hint):
    logits, targets = np.array(logits, dtype=float), np.array(targets)
    given, asked = logits.copy(), targets.copy()
    pair = checks.run(lambda: softmax_cross_entropy(given, asked), hint=hint)
    checks.unchanged(logits, given, "the logits")
    checks.unchanged(targets, asked, "the targets")
    checks.true(
        isinstance(pair, (tuple, list)) and len(pair) == 2,
        f"got {checks.show(pair)}, expected a pair: the loss and its gradient",
    )
    return (
        float(checks.array(pair[0], (), "the loss is one number, the mean over the batch")),
        checks.array(pair[1], logits.shape, "the gradient has the shape of the logits"),
    )


odds = np.array([[1.0, 2.0, 5.0], [4.0, 3.0, 1.0]])  # of 8: the logits are their logarithms
loss, gradient = loss_and_gradient(np.log(odds), [2, 1], "two examples of three classes")
surprise = -np.log(5 / 8) - np.log(3 / 8)
for wrong, cause in [
    (surprise, "the loss is the mean over the batch, not the sum"),
    (surprise / 3, "divide by the number of examples, not of classes"),
    (
        surprise / 6,
        "divide by the number of examples, not of all entries: only one entry of each row counts",
    ),
    (-surprise / 2, "a loss is not negative: the minus sign is missing"),
    (surprise / 2 / np.log(2), "the loss is in nats: the logarithm is the natural one"),
    (1 / 2, "the logarithm of the right class's probability is missing"),
    (
        -np.log(1 / 5 * 3 / 5 * 1 / 5) / 2,
        "softmax goes along each row, over the classes, not over the batch",
    ),
    (-np.log(5 / 6 * 3 / 5) / 2, "softmax goes along each row, over the classes, not over the batch"),
    (-np.log(3 / 8 * 2 / 8) / 2, "pick each example's own target: row n, column targets[n]"),
]:
    checks.true(not np.isclose(loss, wrong, rtol=1e-4), f"the loss is {loss:.6g}: {cause}")
checks.close(
    loss, surprise / 2, hint="minus the mean log probability of the right classes", rtol=1e-4, atol=1e-5
)
probabilities, right_class = odds / 8, np.array([[0, 0, 1.0], [0, 1.0, 0]])
for wrong, cause in [
    (
        probabilities - right_class,
        "divide by the number of examples, for the loss is a mean over the batch",
    ),
    (
        (right_class - probabilities) / 2,
        "the sign is turned: the gradient is p minus 1 for the right class, p for the others",
    ),
    (probabilities / 2, "subtract 1 from the right class's probability"),
    ((probabilities - right_class) / 6, "divide by the number of examples, not of all entries"),
    ((probabilities - right_class) / 3, "divide by the number of examples, not of classes"),
    (
        -right_class / probabilities / 2,
        (
            "this is the gradient with respect to the probabilities; go on through the softmax, to the"
            " logits"
        ),
    ),
    ((probabilities - 1) / 2, "subtract 1 from the right class's probability only, not from all"),
]:
    checks.true(not np.allclose(gradient, wrong, rtol=1e-4), f"the gradient is wrong: {cause}")
checks.close(
    gradient,
    (probabilities - right_class) / 2,
    hint="(p - 1 for the right class, p for the others) / batch",
    rtol=1e-4,
    atol=1e-5,
)
loss, gradient = loss_and_gradient([[0.0, 0.0, 0.0, 0.0]], [3], "one example is a batch of one")
checks.close(
    loss,
    np.log(4),
    hint="four classes, none preferred: the loss is ln 4; keep nothing from the call before",
    rtol=1e-4,
)
checks.close(gradient, [[0.25, 0.25, 0.25, -0.75]], hint="one example is a batch of one", rtol=1e-4)
loss, gradient = loss_and_gradient(
    np.log([[1.0, 2.0, 1.0], [5.0, 2.0, 1.0], [4.0, 2.0, 2.0]]),
    [0, 0, 0],
    "three examples of three classes",
)
checks.close(
    loss,
    -np.log(1 / 4 * 5 / 8 * 1 / 2) / 3,
    hint="softmax goes along each row, over the classes, also when there are as many examples",
    rtol=1e-4,
)
checks.close(
    gradient,
    np.array([[-6.0, 4.0, 2.0], [-3.0, 2.0, 1.0], [-4.0, 2.0, 2.0]]) / 24,
    hint="softmax goes along each row; the target of each example is its own, here 0 three times",
    rtol=1e-4,
    atol=1e-5,
)
with np.errstate(all="ignore"):
    loss, gradient = loss_and_gradient([[1000.0, 1000.0], [1000.0, 1001.0]], [0, 1], "logits of 1000")
    checks.true(
        bool(np.isfinite(loss) and np.isfinite(gradient).all()),
        f"logits of 1000 gave the loss {loss}: exp overflows, so subtract each row's largest logit"
        " first",
    )
    right = (np.log(2) + np.log(1 + np.exp(-1))) / 2
    checks.close(
        loss,
        right,
        hint="only differences between the logits of a row matter: 1000 and 1001 are like 0 and 1",
        rtol=1e-3,
    )
    sure = 1 / (1 + np.exp(-1))
    checks.close(
        gradient,
        [[-0.25, 0.25], [(1 - sure) / 2, (sure - 1) / 2]],
        hint="only differences between the logits of a row matter: 1000 and 1001 are like 0 and 1",
        rtol=1e-3,
        atol=1e-5,
    )
    loss, gradient = loss_and_gradient([[1000.0, 0.0, -1000.0]], [1], "a sure answer that is wrong")
    checks.true(
        bool(np.isfinite(loss)),
        f"a sure answer that is wrong gave the loss {loss}, not 1000: its probability underflows to 0,"
        " so work out the log of the formula by hand, logit minus log of the sum",
    )
    checks.close(
        loss,
        1000,
        hint="the loss may be 1000: do not clip the probability, and add nothing to it",
        rtol=1e-4,
    )
    checks.close(
        gradient,
        [[1, -1, 0]],
        hint="a sure answer that is wrong has the full gradient",
        rtol=1e-4,
        atol=1e-5,
    )
    loss, gradient = loss_and_gradient(
        [[1000.0, 1001.0], [-1000.0, -1001.0], [0.0, 3.0]], [1, 0, 0], "rows far apart"
    )
    checks.true(
        bool(np.isfinite(loss) and np.isfinite(gradient).all()),
        "a row near 1000 beside one near -1000 failed: each row needs its own largest logit subtracted",
    )
    checks.close(
        loss,
        (2 * np.log1p(np.exp(-1)) + np.log1p(np.exp(3))) / 3,
        hint="each row needs its own largest logit subtracted",
        rtol=1e-3,
    )

### BEGIN HIDDEN TESTS


def logit_inputs(rng):
    batch, classes = int(rng.integers(1, 7)), int(rng.integers(2, 8))
    if rng.random() < 0.3:
        classes = max(2, batch)
    logits = rng.normal(size=(batch, classes)) * rng.choice([0.5, 2.0, 2.0, 5.0])
    kind = rng.integers(4)
    if kind == 0:
        logits = logits + rng.choice([-1000.0, 0.0, 1000.0], size=(batch, 1))
    elif kind == 1:
        logits = logits * 300
    dtype = np.float32 if kind == 3 else np.float64
    return logits.astype(dtype), rng.integers(0, classes, batch)


def logit_reference(logits, targets):
    losses, rows = [], []
    for row, target in zip(logits.tolist(), targets.tolist(), strict=True):
        total = np.logaddexp.reduce(row)
        losses.append(total - row[target])
        rows.append([(math.exp(z - total) - (k == target)) / len(targets) for k, z in enumerate(row)])
    return math.fsum(losses) / len(losses), np.array(rows)


def same_loss(got, expected, hint):
    checks.true(
        isinstance(got, (tuple, list)) and len(got) == 2,
        f"got {checks.show(got)}, expected the loss and its gradient",
    )
    checks.close(
        checks.array(got[0], (), "the loss is one number"),
        expected[0],
        f"the loss: {hint}",
        rtol=2e-4,
        atol=1e-4,
    )
    checks.close(
        checks.array(got[1], expected[1].shape),
        expected[1],
        f"the gradient: {hint}",
        rtol=1e-3,
        atol=1e-5,
    )


checks.hidden(
    title="random logits, small and large",
    call="softmax_cross_entropy",
    inputs=logit_inputs,
    reference=logit_reference,
    compare=same_loss,
    hint=(
        "the mean of minus the log probability of the right class; (p - 1 for the right class, p for"
        " the others) / batch"
    ),
    cases=24,
)
### END HIDDEN TESTS

# %%
import matplotlib.pyplot as plt

from bow2gpt import figures

leads = np.linspace(-8, 8, 81)
answers = [softmax_cross_entropy(np.array([[lead, 0.0]]), np.array([0])) for lead in leads]
fig, axes = plt.subplots(1, 2, figsize=(8, 3.4))
axes[0].plot(leads, [loss for loss, _ in answers], marker="")
axes[0].set(title="What does a wrong answer cost?", ylabel="loss, nats")
axes[1].plot(leads, [gradient[0, 0] for _, gradient in answers], marker="")
axes[1].set(title="How hard does it push?", ylabel="gradient at the right logit")
fig.supxlabel("lead of the right logit over the other")
figures.show(
    fig,
    alt=(
        "Left: the loss is near zero when the right logit leads, and grows in a straight line as it"
        " falls behind. Right: the gradient goes from minus one, far behind, to zero, far ahead."
    ),
)

# %% mistake="softmax_cross_entropy" name="sum" says="not the sum"
def softmax_cross_entropy(logits, targets):
    rows = np.arange(len(targets))
    shifted = logits - logits.max(axis=1, keepdims=True)
    log_probs = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    gradient = np.exp(log_probs)
    gradient[rows, targets] -= 1
    return -log_probs[rows, targets].sum(), gradient


# %% mistake="softmax_cross_entropy" name="gradient_of_the_sum" says="divide by the number of examples, for the loss is a mean"
def softmax_cross_entropy(logits, targets):
    rows = np.arange(len(targets))
    shifted = logits - logits.max(axis=1, keepdims=True)
    log_probs = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    gradient = np.exp(log_probs)
    gradient[rows, targets] -= 1
    return -log_probs[rows, targets].mean(), gradient


# %% mistake="softmax_cross_entropy" name="no_shift" says="exp overflows"
def softmax_cross_entropy(logits, targets):
    rows = np.arange(len(targets))
    probs = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    loss = -np.log(probs[rows, targets]).mean()
    probs[rows, targets] -= 1
    return loss, probs / len(rows)


# %% mistake="softmax_cross_entropy" name="log_of_zero" says="underflows to 0"
def softmax_cross_entropy(logits, targets):
    rows = np.arange(len(targets))
    exps = np.exp(logits - logits.max(axis=1, keepdims=True))
    probs = exps / exps.sum(axis=1, keepdims=True)
    loss = -np.log(probs[rows, targets]).mean()
    probs[rows, targets] -= 1
    return loss, probs / len(rows)


# %% mistake="softmax_cross_entropy" name="clipped" says="do not clip"
def softmax_cross_entropy(logits, targets):
    rows = np.arange(len(targets))
    exps = np.exp(logits - logits.max(axis=1, keepdims=True))
    probs = exps / exps.sum(axis=1, keepdims=True)
    loss = -np.log(np.clip(probs[rows, targets], 1e-12, 1)).mean()
    probs[rows, targets] -= 1
    return loss, probs / len(rows)


# %% mistake="softmax_cross_entropy" name="one_maximum_for_all" says="each row needs its own largest logit"
def softmax_cross_entropy(logits, targets):
    rows = np.arange(len(targets))
    shifted = logits - logits.max()
    log_probs = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    gradient = np.exp(log_probs)
    gradient[rows, targets] -= 1
    return -log_probs[rows, targets].mean(), gradient / len(rows)


# %% mistake="softmax_cross_entropy" name="over_the_batch" says="softmax goes along each row"
def softmax_cross_entropy(logits, targets):
    rows = np.arange(len(targets))
    shifted = logits - logits.max(axis=0)
    log_probs = shifted - np.log(np.exp(shifted).sum(axis=0))
    gradient = np.exp(log_probs)
    gradient[rows, targets] -= 1
    return -log_probs[rows, targets].mean(), gradient / len(rows)


# %% mistake="softmax_cross_entropy" name="no_minus" says="the minus sign is missing"
def softmax_cross_entropy(logits, targets):
    rows = np.arange(len(targets))
    shifted = logits - logits.max(axis=1, keepdims=True)
    log_probs = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    gradient = np.exp(log_probs)
    gradient[rows, targets] -= 1
    return log_probs[rows, targets].mean(), gradient / len(rows)


# %% mistake="softmax_cross_entropy" name="downhill" says="the sign is turned"
def softmax_cross_entropy(logits, targets):
    rows = np.arange(len(targets))
    shifted = logits - logits.max(axis=1, keepdims=True)
    log_probs = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    gradient = -np.exp(log_probs)
    gradient[rows, targets] += 1
    return -log_probs[rows, targets].mean(), gradient / len(rows)


# %% mistake="softmax_cross_entropy" name="mean_of_all_entries" says="not of all entries"
def softmax_cross_entropy(logits, targets):
    shifted = logits - logits.max(axis=1, keepdims=True)
    log_probs = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    one_hot = np.eye(logits.shape[1])[targets]
    return -(one_hot * log_probs).mean(), (np.exp(log_probs) - one_hot) / len(targets)


# %% mistake="softmax_cross_entropy" name="only_probabilities" says="subtract 1 from the right class"
def softmax_cross_entropy(logits, targets):
    rows = np.arange(len(targets))
    shifted = logits - logits.max(axis=1, keepdims=True)
    log_probs = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    return -log_probs[rows, targets].mean(), np.exp(log_probs) / len(rows)


# %% mistake="softmax_cross_entropy" name="in_place" says="changed the logits"
def softmax_cross_entropy(logits, targets):
    rows = np.arange(len(targets))
    logits -= logits.max(axis=1, keepdims=True)
    log_probs = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    gradient = np.exp(log_probs)
    gradient[rows, targets] -= 1
    return -log_probs[rows, targets].mean(), gradient / len(rows)


# %% mistake="softmax_cross_entropy" name="all_rows_at_once" says="subtract 1 from the right class's probability only"
def softmax_cross_entropy(logits, targets):
    rows = np.arange(len(targets))
    shifted = logits - logits.max(axis=1, keepdims=True)
    log_probs = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    gradient = np.exp(log_probs) - 1
    return -log_probs[rows, targets].mean(), gradient / len(rows)


# %% alternative="softmax_cross_entropy" name="one_hot"
def softmax_cross_entropy(logits, targets):
    one_hot = np.eye(logits.shape[1])[targets]
    total = np.logaddexp.reduce(logits, axis=1, keepdims=True)
    loss = np.sum(one_hot * (total - logits)) / len(logits)
    return loss, (np.exp(logits - total) - one_hot) / len(logits)


# %% alternative="softmax_cross_entropy" name="lists"
def softmax_cross_entropy(logits, targets):
    loss, rows = 0.0, []
    for row, target in zip(logits.tolist(), targets.tolist(), strict=True):
        highest = max(row)
        weights = [math.exp(value - highest) for value in row]
        loss += (highest - row[target] + math.log(sum(weights))) / len(targets)
        rows.append([weight / sum(weights) / len(targets) for weight in weights])
        rows[-1][target] -= 1 / len(targets)
    return [loss, rows]


# %% alternative="softmax_cross_entropy" name="torch_in_float32"
def softmax_cross_entropy(logits, targets):
    import torch

    z = torch.tensor(logits, dtype=torch.float32, requires_grad=True)
    loss = torch.nn.functional.cross_entropy(z, torch.tensor(targets, dtype=torch.int64))
    loss.backward()
    return loss, z.grad


# %% [markdown]
# ## 5. `gradient_check`
#
# *Difficulty 3 of 5, about 15 minutes, 3 points.*
#
# A wrong gradient does not crash. The network trains a little worse, and nobody knows why. So every gradient that is written by hand is held against one that needs no calculus: move
# one number a little up, then a little down, and see what the function does. The difference quotient over both sides is off by some $\epsilon^2$, that over one side by some $\epsilon$.
#
# $$n_i = \frac{f(x + \epsilon e_i) - f(x - \epsilon e_i)}{2 \epsilon}, \qquad \text{error} = \max_i \frac{|g_i - n_i|}{\max(|g_i|, |n_i|, 10^{-8})}$$
#
# * $f$: `function`, from an array to one number; $x$: `point`, an array of any shape, in double precision;
# * $g$: what `gradient(point)` gives, of the same shape; $i$ runs over all its places;
# * $e_i$: 1 at place $i$ and 0 elsewhere, so only one number is moved at a time; $\epsilon$: `epsilon`;
# * the small number below keeps $0 / 0$ out, where both are 0 and the gradient is right. The result is the largest error, one number.
#
# By hand: $f(x) = x^3$ at $x = 1$ with $\epsilon = 0.1$: $n = \frac{1.331 - 0.729}{0.2} = 3.01$. The right gradient, 3, has the error $0.0033$; the wrong one, 2, has $0.34$.
#
# <details><summary>A nudge</summary>How many times will you call <code>function</code> for a point of shape (2, 3)? What must be true of the point after each?</details>
# <details><summary>A push</summary><code>for index in np.ndindex(point.shape)</code> gives each place of an array of any shape. Move a copy, one for each place and side, so that nothing is left moved.</details>
# <details><summary>Almost there</summary><code>up = point.copy(); up[index] += epsilon</code>, and <code>down</code> likewise. The quotient goes into an array of the point's shape. At the end <code>np.maximum(np.maximum(abs(g), abs(n)), 1e-8)</code> is what to divide by.</details>


# %% task="check_gradient"
def gradient_check(
    function: Callable[[np.ndarray], float],
    gradient: Callable[[np.ndarray], np.ndarray],
    point: np.ndarray,
    epsilon: float = 1e-5,
) -> float:
    """Hold a gradient against central differences (about 9 lines).

    Args:
        function: from an array to one number.
        gradient: from an array to the gradient of the function there, of the same shape.
        point: where to check, an array of any shape; it is not changed.
        epsilon: how far to move each number, up and down.

    Returns:
        The largest relative error: near 0 for a right gradient.

    >>> error = gradient_check(lambda x: (x**3).sum(), lambda x: 3 * x**2, np.array([1.0, -2.0]))
    >>> bool(error < 1e-6)
    True
    """
    ### BEGIN SOLUTION
    given = np.asarray(gradient(point.copy()))
    numeric = np.zeros(point.shape)
    for index in np.ndindex(point.shape):
        up, down = point.copy(), point.copy()
        up[index] += epsilon
        down[index] -= epsilon
        numeric[index] = (function(up) - function(down)) / (2 * epsilon)
    scale = np.maximum(np.maximum(np.abs(given), np.abs(numeric)), 1e-8)
    return float(np.max(np.abs(given - numeric) / scale))
    ### END SOLUTION


# %% check="check_gradient" points=3
def error_of(function, gradient, point, hint, **named):
    point = np.array(point, dtype=float)
    given = point.copy()
    error = checks.run(lambda: gradient_check(function, gradient, given, **named), hint=hint)
    checks.unchanged(point, given, "the point: move copies, or put each number back as it was")
    error = float(checks.array(error, (), "the largest relative error is one number"))
    checks.true(
        not math.isnan(error), "got NaN: 0 / 0, where a gradient of 0 is right; divide by at least 1e-8"
    )
    return error


def accepts(function, gradient, point, hint, at_most=1e-4, **named):
    error = error_of(function, gradient, point, hint, **named)
    checks.true(
        abs(error) <= at_most, f"a right gradient got the error {error:.3g}. Likely cause: {hint}"
    )


def refuses(function, gradient, point, lowest, highest, hint, **named):
    error = error_of(function, gradient, point, hint, **named)
    checks.true(
        lowest <= error <= highest,
        f"a gradient with a relative error of {(lowest * highest) ** 0.5:.2g} or so got {error:.3g}."
        f" Likely cause: {hint}",
    )


accepts(
    lambda x: np.sum(x**2),
    lambda x: 2 * x,
    [3.0],
    "the difference of the two sides is divided by 2 * epsilon, how far they are apart",
)
accepts(
    lambda x: np.sum(x**2),
    lambda x: 2 * x,
    [1.0, -2.0, 3.0],
    "move one number at a time, with all others in their places",
)
refuses(
    lambda x: np.sum(x**2),
    lambda x: x,
    [1.0, -2.0, 3.0],
    0.3,
    1.1,
    "a gradient that is half of the right one has a relative error of 1/2",
)
refuses(
    lambda x: np.sum(x**2),
    lambda x: -2 * x,
    [1.0, -2.0, 3.0],
    0.9,
    2.2,
    "the sign matters: compare the numbers, not their sizes",
)
every = "each place has its own error, and the largest counts: one wrong place among five must show"
refuses(
    lambda x: np.sum(x**2),
    lambda x: 0.5 * x,
    [0.001, 0.002],
    0.55,
    3.1,
    "the error is relative: small gradients can be wrong too",
)
for two in ([1.5, 1.0], [1.0, 1.5]):
    refuses(
        lambda x: np.sum(x**2),
        lambda x, two=two: 2 * x * np.array(two),
        [2.0, 2.0],
        0.18,
        0.55,
        every.replace("five", "two"),
    )
refuses(
    lambda x: np.sum(x**2),
    lambda x: 2 * x * np.array([1.5, 1.0, 1.0]),
    [0.001, 400.0, -800.0],
    0.18,
    0.55,
    "each place is relative to its own size: an error of a small number must not drown in the large"
    " ones",
)
for wrong in range(5):
    slip = np.where(np.arange(5) == wrong, 1.5, 1.0)
    refuses(
        lambda x: np.sum(x**2),
        lambda x, slip=slip: 2 * x * slip,
        [1.0, -2.0, 3.0, 2.0, -1.0],
        0.18,
        0.55,
        every,
    )
accepts(
    lambda x: np.sum(x**2),
    lambda x: 2 * x,
    [1000.0, -2000.0],
    "the error is relative: divide it by the size of the gradient",
)
refuses(
    lambda x: np.sum(x**2),
    lambda x: 2 * x + 0.01,
    [1000.0, 2000.0],
    1e-6,
    1.1e-5,
    "the error is relative: 0.01 is little beside a gradient of 2,000",
)
accepts(
    lambda x: x[0] ** 2 * x[1],
    lambda x: np.array([2 * x[0] * x[1], x[0] ** 2]),
    [3.0, 5.0],
    "move one number at a time, with all others in their places",
)
accepts(
    lambda x: x[0] ** 2 + 0 * x[1],
    lambda x: np.array([2 * x[0], 0.0]),
    [3.0, 5.0],
    "a gradient of 0 is right where the function does not depend on the number",
    1e-3,
)
refuses(
    lambda x: x[0] ** 2 + x[1],
    lambda x: np.array([2 * x[0], 0.0]),
    [3.0, 5.0],
    0.9,
    2.1,
    "a gradient of 0 is wrong where the function does depend on the number",
)
table = np.array([[1.0, -2.0, 3.0], [0.5, 4.0, -1.0]])
accepts(
    lambda x: np.sum(x**2 * table),
    lambda x: 2 * x * table,
    [[1.0, 2.0, 0.5], [-1.0, 3.0, 2.0]],
    "the point may be an array of any shape: visit each of its places, and give the function an array"
    " of that shape",
)
slip = np.array([[1.0, 1.0, 1.0], [1.0, 1.5, 1.0]])
refuses(
    lambda x: np.sum(x**2 * table),
    lambda x: 2 * x * table * slip,
    [[1.0, 2.0, 0.5], [-1.0, 3.0, 2.0]],
    0.18,
    0.55,
    "the point may be an array of any shape: each of its places counts",
)
for shape in ((2, 1, 3), (1,)):
    accepts(
        lambda x: np.sum(np.sin(x)),
        lambda x: np.cos(x),
        np.arange(1.0, 1 + np.prod(shape)).reshape(shape),
        f"the point has the shape {shape}: the function wants that shape too",
    )
sides = (
    "take the quotient over both sides, f(x + epsilon) - f(x - epsilon): over one side it is off by"
    " some epsilon"
)
accepts(lambda x: np.sum(np.sin(200 * x)), lambda x: 200 * np.cos(200 * x), [0.0101], sides, 2e-5)
chosen = (
    "with epsilon=0.1, x ** 3 at 1 has the quotient (1.331 - 0.729) / 0.2 = 3.01 against the gradient"
    " 3: use the epsilon that is given"
)
refuses(lambda x: np.sum(x**3), lambda x: 3 * x**2, [1.0], 0.0015, 0.0072, chosen, epsilon=0.1)
accepts(
    lambda x: np.sum(x**2),
    lambda x: 2 * x,
    [1.0, -2.0, 3.0],
    "each call looks at its own function and point: keep nothing from the call before",
)

### BEGIN HIDDEN TESTS
FUNCTIONS = {
    "squares": ("lambda x: float(np.sum(x**2))", "lambda x: 2 * x"),
    "sines": ("lambda x: float(np.sum(np.sin(x)))", "lambda x: np.cos(x)"),
    "products": (
        "lambda x: float(np.sum(x * np.roll(x, 1)))",
        "lambda x: (np.roll(x.ravel(), 1) + np.roll(x.ravel(), -1)).reshape(x.shape)",
    ),
    "norm": ("lambda x: float(np.sqrt(1 + np.sum(x**2)))", "lambda x: x / np.sqrt(1 + np.sum(x**2))"),
    "log of exponentials": (
        "lambda x: float(np.log(np.sum(np.exp(x))))",
        "lambda x: np.exp(x) / np.sum(np.exp(x))",
    ),
}


def judged_inputs(rng):
    name = str(rng.choice(list(FUNCTIONS)))
    shape = [(4,), (2, 3), (1,), (2, 2, 2), (3, 1), (7,)][rng.integers(6)]
    point = rng.uniform(0.5, 1.4, shape) * rng.choice([-1, 1], shape)
    slip = np.ones(shape)
    slip[tuple(int(rng.integers(side)) for side in shape)] = float(
        rng.choice([1.02, 0.5, -1.0, 0.9, 2.0])
    )
    return (*FUNCTIONS[name], point, slip, float(rng.choice([1e-4, 1e-5])))


def judged_reference(function, gradient, point, slip, epsilon):
    right = eval(gradient, {"np": np})(point)
    given = right * slip
    errors = np.abs(given - right) / np.maximum(np.maximum(np.abs(given), np.abs(right)), 1e-8)
    return float(errors.max())


def tells_them_apart(got, expected, hint):
    wrong, right = (float(checks.array(value, (), "the error is one number")) for value in got)
    checks.true(0 <= right <= 1e-4, f"a right gradient got the error {right:.3g}. Likely cause: {hint}")
    checks.true(
        0.45 * expected <= wrong <= 2.2 * expected,
        f"a gradient with the error {expected:.3g} at one place got {wrong:.3g}. Likely cause: {hint}",
    )


checks.hidden(
    title="right and wrong gradients of several functions, at points of all shapes",
    call="""lambda function, gradient, point, slip, epsilon: [
        gradient_check(eval(function), lambda x, factor=factor: eval(gradient)(x) * factor, point, epsilon)
        for factor in (slip, 1.0)
    ]""",
    inputs=judged_inputs,
    reference=judged_reference,
    compare=tells_them_apart,
    hint=(
        "central differences, one place at a time; the largest of the errors, each relative to its own"
        " place"
    ),
    cases=24,
)
### END HIDDEN TESTS

# %%
import matplotlib.pyplot as plt

from bow2gpt import figures

exponents = np.arange(-14, 0.1, 0.5)
start = np.array([0.7, -1.2, 2.0])
errors = [gradient_check(lambda x: np.exp(x).sum(), np.exp, start, 10.0**power) for power in exponents]
fig, axis = plt.subplots()
axis.plot(10.0**exponents, errors)
axis.set(
    title="How small should epsilon be?",
    xlabel="epsilon",
    ylabel="largest relative error",
    xscale="log",
    yscale="log",
)
figures.show(
    fig,
    alt=(
        "The error of a right gradient against epsilon, both logarithmic, has the shape of a V: from 1"
        " it falls with the square of epsilon, is smallest near a hundred-thousandth, then rises again"
        " from rounding."
    ),
)

# %% mistake="check_gradient" name="one_sided" says="over one side it is off"
def gradient_check(function, gradient, point, epsilon=1e-5):
    given = np.asarray(gradient(point.copy()))
    numeric = np.zeros(point.shape)
    for index in np.ndindex(point.shape):
        up, down = point.copy(), point.copy()
        up[index] += epsilon
        numeric[index] = (function(up) - function(down)) / epsilon
    scale = np.maximum(np.maximum(np.abs(given), np.abs(numeric)), 1e-8)
    return float(np.max(np.abs(given - numeric) / scale))


# %% mistake="check_gradient" name="divides_by_epsilon" says="divided by 2 * epsilon"
def gradient_check(function, gradient, point, epsilon=1e-5):
    given = np.asarray(gradient(point.copy()))
    numeric = np.zeros(point.shape)
    for index in np.ndindex(point.shape):
        up, down = point.copy(), point.copy()
        up[index] += epsilon
        down[index] -= epsilon
        numeric[index] = (function(up) - function(down)) / epsilon
    scale = np.maximum(np.maximum(np.abs(given), np.abs(numeric)), 1e-8)
    return float(np.max(np.abs(given - numeric) / scale))


# %% mistake="check_gradient" name="mean" says="the largest counts"
def gradient_check(function, gradient, point, epsilon=1e-5):
    given = np.asarray(gradient(point.copy()))
    numeric = np.zeros(point.shape)
    for index in np.ndindex(point.shape):
        up, down = point.copy(), point.copy()
        up[index] += epsilon
        down[index] -= epsilon
        numeric[index] = (function(up) - function(down)) / (2 * epsilon)
    scale = np.maximum(np.maximum(np.abs(given), np.abs(numeric)), 1e-8)
    return float(np.mean(np.abs(given - numeric) / scale))


# %% mistake="check_gradient" name="absolute" says="a gradient that is half of the right one"
def gradient_check(function, gradient, point, epsilon=1e-5):
    given = np.asarray(gradient(point.copy()))
    numeric = np.zeros(point.shape)
    for index in np.ndindex(point.shape):
        up, down = point.copy(), point.copy()
        up[index] += epsilon
        down[index] -= epsilon
        numeric[index] = (function(up) - function(down)) / (2 * epsilon)
    return float(np.max(np.abs(given - numeric)))


# %% mistake="check_gradient" name="one_norm_for_all" says="must not drown in the large ones"
def gradient_check(function, gradient, point, epsilon=1e-5):
    given = np.asarray(gradient(point.copy()))
    numeric = np.zeros(point.shape)
    for index in np.ndindex(point.shape):
        up, down = point.copy(), point.copy()
        up[index] += epsilon
        down[index] -= epsilon
        numeric[index] = (function(up) - function(down)) / (2 * epsilon)
    difference = np.linalg.norm(given - numeric)
    return float(difference / max(np.linalg.norm(given), np.linalg.norm(numeric), 1e-8))


# %% mistake="check_gradient" name="all_at_once" says="move one number at a time"
def gradient_check(function, gradient, point, epsilon=1e-5):
    given = np.asarray(gradient(point.copy()))
    numeric = np.zeros(point.shape)
    for index in np.ndindex(point.shape):
        up, down = point.copy(), point.copy()
        up += epsilon
        down -= epsilon
        numeric[index] = (function(up) - function(down)) / (2 * epsilon)
    scale = np.maximum(np.maximum(np.abs(given), np.abs(numeric)), 1e-8)
    return float(np.max(np.abs(given - numeric) / scale))


# %% mistake="check_gradient" name="left_moved" says="changed the point"
def gradient_check(function, gradient, point, epsilon=1e-5):
    given = np.asarray(gradient(point.copy()))
    numeric = np.zeros(point.shape)
    for index in np.ndindex(point.shape):
        point[index] += epsilon
        high = function(point)
        point[index] -= 2 * epsilon
        numeric[index] = (high - function(point)) / (2 * epsilon)
    scale = np.maximum(np.maximum(np.abs(given), np.abs(numeric)), 1e-8)
    return float(np.max(np.abs(given - numeric) / scale))


# %% mistake="check_gradient" name="first_axis_only" says="the point may be an array of any shape"
def gradient_check(function, gradient, point, epsilon=1e-5):
    given = np.asarray(gradient(point.copy()))
    numeric = np.zeros(point.shape)
    for index in range(len(point)):
        up, down = point.copy(), point.copy()
        up[index] += epsilon
        down[index] -= epsilon
        numeric[index] = (function(up) - function(down)) / (2 * epsilon)
    scale = np.maximum(np.maximum(np.abs(given), np.abs(numeric)), 1e-8)
    return float(np.max(np.abs(given - numeric) / scale))


# %% mistake="check_gradient" name="zero_over_zero" says="where a gradient of 0 is right"
def gradient_check(function, gradient, point, epsilon=1e-5):
    given = np.asarray(gradient(point.copy()))
    numeric = np.zeros(point.shape)
    for index in np.ndindex(point.shape):
        up, down = point.copy(), point.copy()
        up[index] += epsilon
        down[index] -= epsilon
        numeric[index] = (function(up) - function(down)) / (2 * epsilon)
    scale = np.maximum(np.abs(given), np.abs(numeric))
    with np.errstate(all="ignore"):
        return float(np.max(np.abs(given - numeric) / scale))


# %% mistake="check_gradient" name="sizes_only" says="the sign matters"
def gradient_check(function, gradient, point, epsilon=1e-5):
    given = np.asarray(gradient(point.copy()))
    numeric = np.zeros(point.shape)
    for index in np.ndindex(point.shape):
        up, down = point.copy(), point.copy()
        up[index] += epsilon
        down[index] -= epsilon
        numeric[index] = (function(up) - function(down)) / (2 * epsilon)
    scale = np.maximum(np.maximum(np.abs(given), np.abs(numeric)), 1e-8)
    return float(np.max(np.abs(np.abs(given) - np.abs(numeric)) / scale))


# %% mistake="check_gradient" name="own_epsilon" says="use the epsilon that is given"
def gradient_check(function, gradient, point, epsilon=1e-5):
    epsilon = 1e-5
    given = np.asarray(gradient(point.copy()))
    numeric = np.zeros(point.shape)
    for index in np.ndindex(point.shape):
        up, down = point.copy(), point.copy()
        up[index] += epsilon
        down[index] -= epsilon
        numeric[index] = (function(up) - function(down)) / (2 * epsilon)
    scale = np.maximum(np.maximum(np.abs(given), np.abs(numeric)), 1e-8)
    return float(np.max(np.abs(given - numeric) / scale))


# %% mistake="check_gradient" name="at_least_one" says="small gradients can be wrong too"
def gradient_check(function, gradient, point, epsilon=1e-5):
    given = np.asarray(gradient(point.copy()))
    numeric = np.zeros(point.shape)
    for index in np.ndindex(point.shape):
        up, down = point.copy(), point.copy()
        up[index] += epsilon
        down[index] -= epsilon
        numeric[index] = (function(up) - function(down)) / (2 * epsilon)
    scale = np.maximum(np.maximum(np.abs(given), np.abs(numeric)), 1.0)
    return float(np.max(np.abs(given - numeric) / scale))


# %% mistake="check_gradient" name="flat" says="give the function an array of that shape"
def gradient_check(function, gradient, point, epsilon=1e-5):
    given = np.asarray(gradient(point.copy()))
    numeric = np.zeros(point.shape)
    point, given, numeric = point.ravel(), given.ravel(), numeric.ravel()
    for index in np.ndindex(point.shape):
        up, down = point.copy(), point.copy()
        up[index] += epsilon
        down[index] -= epsilon
        numeric[index] = (function(up) - function(down)) / (2 * epsilon)
    scale = np.maximum(np.maximum(np.abs(given), np.abs(numeric)), 1e-8)
    return float(np.max(np.abs(given - numeric) / scale))


# %% mistake="check_gradient" name="last_place" says="the largest counts"
def gradient_check(function, gradient, point, epsilon=1e-5):
    given = np.asarray(gradient(point.copy()))
    numeric = np.zeros(point.shape)
    for index in np.ndindex(point.shape):
        up, down = point.copy(), point.copy()
        up[index] += epsilon
        down[index] -= epsilon
        numeric[index] = (function(up) - function(down)) / (2 * epsilon)
    scale = np.maximum(np.maximum(np.abs(given), np.abs(numeric)), 1e-8)
    errors = np.abs(given - numeric) / scale
    return float(errors.flat[-1])


# %% alternative="check_gradient" name="moves_and_puts_back"
def gradient_check(function, gradient, point, epsilon=1e-5):
    moving, analytic, worst = np.array(point, dtype=float), np.asarray(gradient(point)), 0.0
    places = np.nditer(moving, flags=["multi_index"])
    while not places.finished:
        index = places.multi_index
        before = moving[index]
        moving[index] = before + epsilon
        high = function(moving)
        moving[index] = before - epsilon
        low = function(moving)
        moving[index] = before
        quotient = (high - low) / (2 * epsilon)
        size = max(abs(quotient), abs(analytic[index]), 1e-8)
        worst = max(worst, abs(quotient - analytic[index]) / size)
        places.iternext()
    return worst


# %% alternative="check_gradient" name="unit_vectors"
def gradient_check(function, gradient, point, epsilon=1e-5):
    steps = epsilon * np.eye(point.size).reshape(-1, *point.shape)
    n = np.array([float(function(point + step) - function(point - step)) for step in steps]) / epsilon / 2
    g = np.ravel(gradient(point))
    return np.max(abs(g - n) / np.max([abs(g), abs(n), np.full(len(n), 1e-8)], axis=0))


# %% alternative="check_gradient" name="difference_over_sum"
def gradient_check(function, gradient, point, epsilon=1e-5):
    result = []
    for place in range(point.size):
        step = np.zeros(point.size)
        step[place] = epsilon
        step = step.reshape(point.shape)
        n = (function(point + step) - function(point - step)) / (2 * epsilon)
        g = gradient(point).reshape(-1)[place]
        result.append(abs(g - n) / max(1e-8, abs(g) + abs(n)))
    return max(result)


# %% [markdown]
# ## 6. `adamw_step`
#
# *Difficulty 3 of 5, about 20 minutes, 4 points.*
#
# Plain gradient descent takes the same step length for a weight on a cliff and for one on a plain. *Adam* (Kingma and Ba, 2015) keeps two running averages for each number, of the gradient and of its square,
# and steps by their ratio. *AdamW* (Loshchilov and Hutter, 2019) adds weight decay *beside* that ratio instead of inside the gradient. It is the usual choice for training a GPT. At step $t = 1, 2, \dots$:
#
# $$m_t = \beta_1 m_{t-1} + (1 - \beta_1)\, g_t, \qquad v_t = \beta_2 v_{t-1} + (1 - \beta_2)\, g_t^2, \qquad \hat m = \frac{m_t}{1 - \beta_1^t}, \qquad \hat v = \frac{v_t}{1 - \beta_2^t}$$
#
# $$\theta_t = \theta_{t-1} - \eta \lambda\, \theta_{t-1} - \eta\, \frac{\hat m}{\sqrt{\hat v} + \epsilon}$$
#
# * $\theta$: `parameter`, an array of any shape; $g$: `gradient`, of the same shape; all operations are number by number;
# * $\eta$: `learning_rate`; $\beta_1, \beta_2$: `betas`; $\epsilon$: `epsilon`; $\lambda$: `weight_decay`;
# * $m_0 = v_0 = 0$. So $m_1$ is only a tenth of the gradient; the division by $1 - \beta^t$, the *bias correction*, makes up for that;
# * `state` is a dictionary that belongs to one parameter. It is `{}` before the first step, and the same dictionary comes again at the next: keep in it whatever you need, under names of your choice.
#
# The result is a new array; `parameter` and `gradient` stay as they are. Given the same gradients, `torch.optim.AdamW` makes the same steps.
#
# By hand: $\theta = 4$, $g = 2$, $\eta = 0.1$, $\lambda = 0.5$. At the first step $\hat m = g = 2$ and $\hat v = g^2 = 4$, so the ratio is 1, whatever the size of $g$. $\theta_1 = 4 - 0.1 \cdot 0.5 \cdot 4 - 0.1 = 3.7$.
#
# <details><summary>A nudge</summary>Which three things must be the same dictionary's business from one step to the next?</details>
# <details><summary>A push</summary><code>state.get("m", 0.0)</code> gives the old average, or 0 at the first step. Write the new one back into <code>state</code>; <code>state = {...}</code> would only make a new dictionary that nobody sees.</details>
# <details><summary>Almost there</summary>Count <code>t</code> up first and use it as the exponent. <code>m_hat = m / (1 - beta1**t)</code>, <code>v_hat</code> likewise, and <code>epsilon</code> is added after the root. The decay is on the old parameter.</details>


# %% task="adamw_step"
def adamw_step(
    parameter: np.ndarray,
    gradient: np.ndarray,
    state: dict,
    learning_rate: float = 1e-3,
    betas: tuple[float, float] = (0.9, 0.999),
    epsilon: float = 1e-8,
    weight_decay: float = 0.01,
) -> np.ndarray:
    """Move a parameter by one step of AdamW (about 8 lines).

    Args:
        parameter: an array of any shape.
        gradient: of the loss with respect to it, of the same shape.
        state: what is kept from step to step; empty at the first one.
        learning_rate: the size of a step.
        betas: how much of the running averages of gradient and squared gradient is kept.
        epsilon: added to the root in the denominator.
        weight_decay: the share of the parameter, times the learning rate, that is taken away.

    Returns:
        The new parameter.

    >>> adamw_step(np.array([4.0]), np.array([2.0]), {}, learning_rate=0.1, weight_decay=0.5).round(4)
    array([3.7])
    """
    ### BEGIN SOLUTION
    beta1, beta2 = betas
    state["t"] = t = state.get("t", 0) + 1
    state["m"] = m = beta1 * state.get("m", 0.0) + (1 - beta1) * gradient
    state["v"] = v = beta2 * state.get("v", 0.0) + (1 - beta2) * gradient**2
    m_hat, v_hat = m / (1 - beta1**t), v / (1 - beta2**t)
    return parameter * (1 - learning_rate * weight_decay) - learning_rate * m_hat / (
        np.sqrt(v_hat) + epsilon
    )
    ### END SOLUTION


# %% check="adamw_step" points=4
def step(parameter, gradient, state, hint, **settings):
    parameter, gradient = np.array(parameter, dtype=float), np.array(gradient, dtype=float)
    given, slope = parameter.copy(), gradient.copy()
    result = checks.run(lambda: adamw_step(given, slope, state, **settings), hint=hint)
    checks.unchanged(parameter, given, "the parameter: the result is a new array")
    checks.unchanged(gradient, slope, "the gradient")
    return checks.array(result, parameter.shape, "the new parameter has the shape of the old one")


def reached(came, right, wrongs, hint):
    for wrong, cause in wrongs:
        checks.true(
            not np.allclose(came, wrong, rtol=1e-5),
            f"got {checks.show(came)}, expected {right}. Likely cause: {cause}",
        )
    checks.close(came, right, hint, rtol=1e-5, atol=1e-6)


plain = {"learning_rate": 0.1, "weight_decay": 0.0}
state = {}
came = step(
    [1.0, 2.0],
    [0.5, -4.0],
    state,
    "the state is empty at the first step: there is nothing to look up yet",
    **plain,
)
correction = (
    "the bias correction: divide m by 1 - beta1 ** t and v by 1 - beta2 ** t, with t = 1 at the first"
    " step"
)
shrunk = 0.1 * np.array([-1, 1]) * 0.1 / np.sqrt(0.001)
reached(
    came,
    [0.9, 2.1],
    [
        ([1.0, 2.0] + shrunk, f"nothing made up for the zeros that m and v begin with: {correction}"),
        (
            [1.0, 2.0] + 0.1 * np.array([-1, 1]) / np.sqrt(0.001),
            f"m is corrected and v is not: {correction}",
        ),
        ([1.0, 2.0] + 0.1 * np.array([-1, 1]) * 0.1, f"v is corrected and m is not: {correction}"),
        ([1.1, 1.9], "a step goes downhill: against the gradient"),
        ([0.95, 2.4], "divide by the root of v: this is a step of plain gradient descent"),
        ([1 - 0.2, 2 + 0.1 / 4], "divide by the root of v, not by v itself"),
        (
            np.array([1.0, 2.0]) - 0.1 * np.array([0.5, -4]) / np.sqrt(16.25),
            "each number has its own v: do not add the squares up",
        ),
        (
            np.array([1.0, 2.0]) - 0.1 * np.array([0.5, -4]) / np.sqrt(8.125),
            "each number has its own v: do not average the squares",
        ),
        (
            [1.0, 2.0] + 0.1 * np.array([-1, 1]) * 0.9 / np.sqrt(0.999) / 0.1 * np.sqrt(0.001),
            "the average keeps beta of the old and takes 1 - beta of the new",
        ),
    ],
    "at the first step the ratio is 1 for each number, whatever the size of its gradient",
)
checks.true(
    isinstance(state, dict) and len(state) > 0,
    "`state` is still empty after the step: write m, v and t into the dictionary that came, not into a"
    " new one",
)
came = step(
    came, [1.0, 2.0], state, "the second step: the state is as your first step left it", **plain
)
m, v = np.array([0.145, -0.16]), np.array([0.00124975, 0.019984])
right = np.array([0.9, 2.1]) - 0.1 * (m / 0.19) / np.sqrt(v / 0.001999)
reached(
    came,
    right,
    [
        (
            np.array([0.9, 2.1]) - 0.1 * (m / 0.1) / np.sqrt(v / 0.001),
            "t counts the steps: it is 2 at the second one",
        ),
        (
            np.array([0.9, 2.1]) - 0.1,
            "the averages are lost between two steps: keep m and v in `state`",
        ),
        (
            np.array([0.9, 2.1]) - 0.1 * (m / 0.271) / np.sqrt(v / 0.002997001),
            "t is 1 at the first step, 2 at the second",
        ),
        (
            np.array([0.9, 2.1]) - 0.1 * (np.array([0.1, 0.2]) / 0.19) / np.sqrt(v / 0.001999),
            "m is lost between two steps: keep it in `state`",
        ),
        (
            np.array([0.9, 2.1]) - 0.1 * (m / 0.19) / np.sqrt([0.001 / 0.001999, 0.004 / 0.001999]),
            "v is lost between two steps: keep it in `state`",
        ),
        (
            np.array([0.9, 2.1])
            - 0.1 * (np.array([0.1, 0.2]) / 0.19) / np.sqrt([0.001 / 0.001999, 0.004 / 0.001999]),
            "m and v keep beta of what they were: the old averages are missing",
        ),
    ],
    "the second step: new averages from the old ones, and both corrections with t = 2",
)
one, two = {}, {}
step([1.0], [1.0], one, "the first of two parameters", **plain)
came = step(
    [1.0, 1.0],
    [3.0, -3.0],
    two,
    "the second of two parameters begins with its own empty state",
    **plain,
)
checks.close(
    came,
    [0.9, 1.1],
    hint="each parameter has its own state, t included: keep nothing outside of `state`",
    rtol=1e-5,
)
came = step(
    [4.0],
    [0.0],
    {},
    "a gradient of 0 at the first step: 0 / (0 + epsilon) is 0",
    learning_rate=0.1,
    weight_decay=0.5,
)
reached(
    came,
    [3.8],
    [
        (
            [3.9],
            (
                "the decay stands beside the ratio, not inside the gradient: that would be Adam with an"
                " L2 penalty"
            ),
        ),
        ([2.0], "the decay is times the learning rate: 0.1 * 0.5 of the parameter"),
        ([4.0], "the weight decay is missing: it works without a gradient too"),
        ([4.2], "the decay takes away: the minus sign is missing"),
    ],
    "without a gradient, only the decay moves the parameter: by learning_rate * weight_decay of it",
)
came = step([4.0], [2.0], {}, "one number", learning_rate=0.5, weight_decay=0.5)
reached(
    came,
    [4 - 1 - 0.5],
    [([3.5 * 0.75], "the decay is on the old parameter, before the step, not on the moved one")],
    "the decay is learning_rate * weight_decay of the old parameter, and the step comes beside it",
)
came = step([1.0], [0.001], {}, "a small gradient", learning_rate=0.1, weight_decay=0.0, epsilon=0.001)
reached(
    came,
    [0.95],
    [
        (
            [1 - 0.1 * 0.001 / np.sqrt(0.000001 + 0.001)],
            "epsilon is added after the root, not inside it",
        ),
        ([0.9], "use the epsilon that is given"),
        (
            [1 - 0.1 * 0.001 / (0.001 + 0.001 / np.sqrt(0.001))],
            "epsilon is added to the root of the corrected v, after the division",
        ),
    ],
    "the denominator is the root of the corrected v, plus epsilon",
)
came = step([1.0], [2.0], {}, "all settings left as they are")
reached(
    came,
    [1 - 1e-3 * 0.01 - 1e-3],
    [],
    "learning_rate=1e-3 and weight_decay=0.01 are what counts if nothing else is given",
)
table = step(
    [[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]],
    [[1.0, -1.0, 1.0], [-1.0, 1.0, -1.0]],
    {},
    "a parameter of shape (2, 3)",
    **plain,
)
checks.close(
    table,
    [[0.9, 2.1, 2.9], [4.1, 4.9, 6.1]],
    hint="a parameter of any shape: number by number",
    rtol=1e-5,
)
state, came = {}, np.array([1.0])
for slope in (1.0, -2.0, 0.5, 3.0):
    came = step(
        came,
        [slope],
        state,
        "four steps with other betas",
        learning_rate=0.1,
        betas=(0.5, 0.75),
        weight_decay=0.1,
    )
checks.close(
    came,
    [0.86044404],
    hint=(
        "four steps with betas=(0.5, 0.75): use the betas that are given, the first for m, the second"
        " for v"
    ),
    rtol=1e-4,
)

### BEGIN HIDDEN TESTS


def optimiser_inputs(rng):
    shape = [(3,), (2, 3), (1,), (2, 1, 2)][rng.integers(4)]
    dtype = [np.float64, np.float64, np.float32][rng.integers(3)]
    scale = float(rng.choice([1e-3, 1.0, 30.0]))
    gradients = [(rng.normal(size=shape) * scale).astype(dtype) for _ in range(rng.integers(1, 9))]
    if rng.random() < 0.3:
        gradients[0] = gradients[0] * 0
    settings = {
        "learning_rate": float(rng.choice([0.2, 0.05])),
        "betas": [(0.9, 0.999), (0.5, 0.9), (0.8, 0.95), (0.0, 0.99)][rng.integers(4)],
        "epsilon": float(rng.choice([1e-8, 1e-8, 0.1])),
        "weight_decay": float(rng.choice([0.0, 0.1, 1.0])),
    }
    return (rng.normal(size=shape) * 2).astype(dtype), gradients, settings


def optimiser_reference(parameter, gradients, settings):
    rate, (beta1, beta2), decay = settings["learning_rate"], settings["betas"], settings["weight_decay"]
    places = []
    for place in range(parameter.size):
        value, path = float(parameter.ravel()[place]), []
        slopes = [float(gradient.ravel()[place]) for gradient in gradients]
        for t in range(1, len(slopes) + 1):
            past = [
                (t - 1 - k, slopes[k]) for k in range(t)
            ]  # each average written out as a sum over the past
            mean = sum(beta1**age * slope for age, slope in past) / sum(beta1**age for age, _ in past)
            square = sum(beta2**age * slope**2 for age, slope in past) / sum(
                beta2**age for age, _ in past
            )
            value -= rate * (decay * value + mean / (math.sqrt(square) + settings["epsilon"]))
            path.append(value)
        places.append(path)
    return [np.reshape(values, parameter.shape) for values in zip(*places, strict=True)]


def same_path(got, expected, hint):
    for number, (came, right) in enumerate(zip(got, expected, strict=True), start=1):
        checks.close(
            checks.array(came, right.shape), right, f"step {number}: {hint}", rtol=2e-4, atol=2e-5
        )


checks.hidden(
    title="up to eight steps with random gradients and settings",
    call="""lambda parameter, gradients, settings: (state := {}, last := [parameter], [
        last.append(adamw_step(last[-1], gradient, state, **settings)) for gradient in gradients
    ], last[1:])[-1]""",
    inputs=optimiser_inputs,
    reference=optimiser_reference,
    compare=same_path,
    hint=(
        "averages, both corrections with the number of the step, root, epsilon; the decay beside the"
        " ratio"
    ),
    cases=24,
)
### END HIDDEN TESTS

# %%
import matplotlib.pyplot as plt

from bow2gpt import figures

curvature = np.array([1.0, 100.0])  # a valley: gentle along one axis, steep along the other
paths = {"gradient descent": [], "AdamW": []}
plain_point, adam_point, state = np.array([3.0, 1.0]), np.array([3.0, 1.0]), {}
for _ in range(100):
    for name, point in (("gradient descent", plain_point), ("AdamW", adam_point)):
        paths[name].append(0.5 * (curvature * point**2).sum())
    plain_point = plain_point - 0.015 * curvature * plain_point
    adam_point = adamw_step(
        adam_point, curvature * adam_point, state, learning_rate=0.1, weight_decay=0.0
    )
fig, axis = plt.subplots()
for name, heights in paths.items():
    axis.plot(heights, label=name, marker="")
axis.set(
    title="Who is first at the bottom of a narrow valley?",
    xlabel="steps",
    ylabel="height above the bottom",
    yscale="log",
)
axis.legend()
figures.show(
    fig,
    alt=(
        "Height above the bottom of a narrow valley over 100 steps, logarithmic: gradient descent falls"
        " slowly in a straight line; AdamW swings on its way down, and is below it from step 25 on."
    ),
)

# %% mistake="adamw_step" name="no_bias_correction" says="made up for the zeros"
def adamw_step(
    parameter, gradient, state, learning_rate=1e-3, betas=(0.9, 0.999), epsilon=1e-8, weight_decay=0.01
):
    beta1, beta2 = betas
    state["t"] = state.get("t", 0) + 1
    state["m"] = m = beta1 * state.get("m", 0.0) + (1 - beta1) * gradient
    state["v"] = v = beta2 * state.get("v", 0.0) + (1 - beta2) * gradient**2
    m_hat, v_hat = m, v
    return parameter * (1 - learning_rate * weight_decay) - learning_rate * m_hat / (np.sqrt(v_hat) + epsilon)


# %% mistake="adamw_step" name="decay_in_the_gradient" says="Adam with an L2 penalty"
def adamw_step(
    parameter, gradient, state, learning_rate=1e-3, betas=(0.9, 0.999), epsilon=1e-8, weight_decay=0.01
):
    gradient = gradient + weight_decay * parameter
    beta1, beta2 = betas
    state["t"] = t = state.get("t", 0) + 1
    state["m"] = m = beta1 * state.get("m", 0.0) + (1 - beta1) * gradient
    state["v"] = v = beta2 * state.get("v", 0.0) + (1 - beta2) * gradient**2
    m_hat, v_hat = m / (1 - beta1**t), v / (1 - beta2**t)
    return parameter - learning_rate * m_hat / (np.sqrt(v_hat) + epsilon)


# %% mistake="adamw_step" name="decay_without_rate" says="the decay is times the learning rate"
def adamw_step(
    parameter, gradient, state, learning_rate=1e-3, betas=(0.9, 0.999), epsilon=1e-8, weight_decay=0.01
):
    beta1, beta2 = betas
    state["t"] = t = state.get("t", 0) + 1
    state["m"] = m = beta1 * state.get("m", 0.0) + (1 - beta1) * gradient
    state["v"] = v = beta2 * state.get("v", 0.0) + (1 - beta2) * gradient**2
    m_hat, v_hat = m / (1 - beta1**t), v / (1 - beta2**t)
    return parameter * (1 - weight_decay) - learning_rate * m_hat / (np.sqrt(v_hat) + epsilon)


# %% mistake="adamw_step" name="decay_after_the_step" says="before the step"
def adamw_step(
    parameter, gradient, state, learning_rate=1e-3, betas=(0.9, 0.999), epsilon=1e-8, weight_decay=0.01
):
    beta1, beta2 = betas
    state["t"] = t = state.get("t", 0) + 1
    state["m"] = m = beta1 * state.get("m", 0.0) + (1 - beta1) * gradient
    state["v"] = v = beta2 * state.get("v", 0.0) + (1 - beta2) * gradient**2
    m_hat, v_hat = m / (1 - beta1**t), v / (1 - beta2**t)
    moved = parameter - learning_rate * m_hat / (np.sqrt(v_hat) + epsilon)
    return moved * (1 - learning_rate * weight_decay)


# %% mistake="adamw_step" name="no_decay" says="the weight decay is missing"
def adamw_step(
    parameter, gradient, state, learning_rate=1e-3, betas=(0.9, 0.999), epsilon=1e-8, weight_decay=0.01
):
    beta1, beta2 = betas
    state["t"] = t = state.get("t", 0) + 1
    state["m"] = m = beta1 * state.get("m", 0.0) + (1 - beta1) * gradient
    state["v"] = v = beta2 * state.get("v", 0.0) + (1 - beta2) * gradient**2
    m_hat, v_hat = m / (1 - beta1**t), v / (1 - beta2**t)
    return parameter - learning_rate * m_hat / (np.sqrt(v_hat) + epsilon)


# %% mistake="adamw_step" name="epsilon_inside" says="not inside it"
def adamw_step(
    parameter, gradient, state, learning_rate=1e-3, betas=(0.9, 0.999), epsilon=1e-8, weight_decay=0.01
):
    beta1, beta2 = betas
    state["t"] = t = state.get("t", 0) + 1
    state["m"] = m = beta1 * state.get("m", 0.0) + (1 - beta1) * gradient
    state["v"] = v = beta2 * state.get("v", 0.0) + (1 - beta2) * gradient**2
    m_hat, v_hat = m / (1 - beta1**t), v / (1 - beta2**t)
    return parameter * (1 - learning_rate * weight_decay) - learning_rate * m_hat / np.sqrt(v_hat + epsilon)


# %% mistake="adamw_step" name="epsilon_before_the_correction" says="after the division"
def adamw_step(
    parameter, gradient, state, learning_rate=1e-3, betas=(0.9, 0.999), epsilon=1e-8, weight_decay=0.01
):
    beta1, beta2 = betas
    state["t"] = t = state.get("t", 0) + 1
    state["m"] = m = beta1 * state.get("m", 0.0) + (1 - beta1) * gradient
    state["v"] = v = beta2 * state.get("v", 0.0) + (1 - beta2) * gradient**2
    m_hat, v_hat = m / (1 - beta1**t), (np.sqrt(v) + epsilon) / np.sqrt(1 - beta2**t)
    return parameter * (1 - learning_rate * weight_decay) - learning_rate * m_hat / v_hat


# %% mistake="adamw_step" name="t_stands_still" says="t counts the steps"
def adamw_step(
    parameter, gradient, state, learning_rate=1e-3, betas=(0.9, 0.999), epsilon=1e-8, weight_decay=0.01
):
    beta1, beta2 = betas
    t = 1
    state["m"] = m = beta1 * state.get("m", 0.0) + (1 - beta1) * gradient
    state["v"] = v = beta2 * state.get("v", 0.0) + (1 - beta2) * gradient**2
    m_hat, v_hat = m / (1 - beta1**t), v / (1 - beta2**t)
    return parameter * (1 - learning_rate * weight_decay) - learning_rate * m_hat / (np.sqrt(v_hat) + epsilon)


# %% mistake="adamw_step" name="t_from_zero" says="NaN"
def adamw_step(
    parameter, gradient, state, learning_rate=1e-3, betas=(0.9, 0.999), epsilon=1e-8, weight_decay=0.01
):
    np.seterr(all="ignore")
    beta1, beta2 = betas
    t = state.get("t", 0)
    state["t"] = t + 1
    state["m"] = m = beta1 * state.get("m", 0.0) + (1 - beta1) * gradient
    state["v"] = v = beta2 * state.get("v", 0.0) + (1 - beta2) * gradient**2
    m_hat, v_hat = m / (1 - beta1**t), v / (1 - beta2**t)
    return parameter * (1 - learning_rate * weight_decay) - learning_rate * m_hat / (np.sqrt(v_hat) + epsilon)


# %% mistake="adamw_step" name="new_dictionary" says="still empty"
def adamw_step(
    parameter, gradient, state, learning_rate=1e-3, betas=(0.9, 0.999), epsilon=1e-8, weight_decay=0.01
):
    beta1, beta2 = betas
    state = dict(state)
    state["t"] = t = state.get("t", 0) + 1
    state["m"] = m = beta1 * state.get("m", 0.0) + (1 - beta1) * gradient
    state["v"] = v = beta2 * state.get("v", 0.0) + (1 - beta2) * gradient**2
    m_hat, v_hat = m / (1 - beta1**t), v / (1 - beta2**t)
    return parameter * (1 - learning_rate * weight_decay) - learning_rate * m_hat / (np.sqrt(v_hat) + epsilon)


# %% mistake="adamw_step" name="no_root" says="not by v itself"
def adamw_step(
    parameter, gradient, state, learning_rate=1e-3, betas=(0.9, 0.999), epsilon=1e-8, weight_decay=0.01
):
    beta1, beta2 = betas
    state["t"] = t = state.get("t", 0) + 1
    state["m"] = m = beta1 * state.get("m", 0.0) + (1 - beta1) * gradient
    state["v"] = v = beta2 * state.get("v", 0.0) + (1 - beta2) * gradient**2
    m_hat, v_hat = m / (1 - beta1**t), v / (1 - beta2**t)
    return parameter * (1 - learning_rate * weight_decay) - learning_rate * m_hat / (v_hat + epsilon)


# %% mistake="adamw_step" name="uphill" says="a step goes downhill"
def adamw_step(
    parameter, gradient, state, learning_rate=1e-3, betas=(0.9, 0.999), epsilon=1e-8, weight_decay=0.01
):
    beta1, beta2 = betas
    state["t"] = t = state.get("t", 0) + 1
    state["m"] = m = beta1 * state.get("m", 0.0) + (1 - beta1) * gradient
    state["v"] = v = beta2 * state.get("v", 0.0) + (1 - beta2) * gradient**2
    m_hat, v_hat = m / (1 - beta1**t), v / (1 - beta2**t)
    return parameter * (1 - learning_rate * weight_decay) + learning_rate * m_hat / (np.sqrt(v_hat) + epsilon)


# %% mistake="adamw_step" name="in_place" says="changed the parameter"
def adamw_step(
    parameter, gradient, state, learning_rate=1e-3, betas=(0.9, 0.999), epsilon=1e-8, weight_decay=0.01
):
    beta1, beta2 = betas
    state["t"] = t = state.get("t", 0) + 1
    state["m"] = m = beta1 * state.get("m", 0.0) + (1 - beta1) * gradient
    state["v"] = v = beta2 * state.get("v", 0.0) + (1 - beta2) * gradient**2
    m_hat, v_hat = m / (1 - beta1**t), v / (1 - beta2**t)
    parameter -= learning_rate * (weight_decay * parameter + m_hat / (np.sqrt(v_hat) + epsilon))
    return parameter


# %% mistake="adamw_step" name="betas_swapped" says="the first for m"
def adamw_step(
    parameter, gradient, state, learning_rate=1e-3, betas=(0.9, 0.999), epsilon=1e-8, weight_decay=0.01
):
    beta2, beta1 = betas
    state["t"] = t = state.get("t", 0) + 1
    beta1, beta2 = (0.9, 0.999) if betas == (0.9, 0.999) else (beta1, beta2)
    state["m"] = m = beta1 * state.get("m", 0.0) + (1 - beta1) * gradient
    state["v"] = v = beta2 * state.get("v", 0.0) + (1 - beta2) * gradient**2
    m_hat, v_hat = m / (1 - beta1**t), v / (1 - beta2**t)
    return parameter * (1 - learning_rate * weight_decay) - learning_rate * m_hat / (np.sqrt(v_hat) + epsilon)


# %% mistake="adamw_step" name="counts_for_all" says="each parameter has its own state"
taken = [0]


def adamw_step(
    parameter, gradient, state, learning_rate=1e-3, betas=(0.9, 0.999), epsilon=1e-8, weight_decay=0.01
):
    beta1, beta2 = betas
    t = taken[0] = taken[0] + 1
    state["t"] = t
    state["m"] = m = beta1 * state.get("m", 0.0) + (1 - beta1) * gradient
    state["v"] = v = beta2 * state.get("v", 0.0) + (1 - beta2) * gradient**2
    m_hat, v_hat = m / (1 - beta1**t), v / (1 - beta2**t)
    return parameter * (1 - learning_rate * weight_decay) - learning_rate * m_hat / (np.sqrt(v_hat) + epsilon)


# %% mistake="adamw_step" name="betas_fixed" says="use the betas that are given"
def adamw_step(
    parameter, gradient, state, learning_rate=1e-3, betas=(0.9, 0.999), epsilon=1e-8, weight_decay=0.01
):
    beta1, beta2 = 0.9, 0.999
    state["t"] = t = state.get("t", 0) + 1
    state["m"] = m = beta1 * state.get("m", 0.0) + (1 - beta1) * gradient
    state["v"] = v = beta2 * state.get("v", 0.0) + (1 - beta2) * gradient**2
    m_hat, v_hat = m / (1 - beta1**t), v / (1 - beta2**t)
    return parameter * (1 - learning_rate * weight_decay) - learning_rate * m_hat / (np.sqrt(v_hat) + epsilon)


# %% alternative="adamw_step" name="decay_first_in_place_on_copies"
def adamw_step(
    parameter, gradient, state, learning_rate=1e-3, betas=(0.9, 0.999), epsilon=1e-8, weight_decay=0.01
):
    if not state:
        state.update(step=0, average=np.zeros_like(parameter), square=np.zeros_like(parameter))
    state["step"] += 1
    state["average"] += (1 - betas[0]) * (gradient - state["average"])
    state["square"] *= betas[1]
    state["square"] += (1 - betas[1]) * gradient * gradient
    result = parameter.copy()
    result *= 1 - learning_rate * weight_decay
    size = np.sqrt(state["square"]) / math.sqrt(1 - betas[1] ** state["step"]) + epsilon
    result -= learning_rate / (1 - betas[0] ** state["step"]) * state["average"] / size
    return result


# %% alternative="adamw_step" name="all_gradients_kept"
def adamw_step(
    parameter, gradient, state, learning_rate=1e-3, betas=(0.9, 0.999), epsilon=1e-8, weight_decay=0.01
):
    past = state.setdefault("past", [])
    past.append(np.array(gradient))
    ages = np.arange(len(past))[::-1]
    mean, square = (
        np.average(np.stack(past) ** power, axis=0, weights=beta**ages)
        for power, beta in zip((1, 2), map(float, betas), strict=True)
    )
    return parameter - learning_rate * (weight_decay * parameter + mean / (square**0.5 + epsilon))


# %% alternative="adamw_step" name="torch"
def adamw_step(
    parameter, gradient, state, learning_rate=1e-3, betas=(0.9, 0.999), epsilon=1e-8, weight_decay=0.01
):
    import torch

    tensor = torch.nn.Parameter(torch.tensor(parameter))
    tensor.grad = torch.tensor(gradient)
    optimiser = torch.optim.AdamW(
        [tensor], lr=learning_rate, betas=tuple(betas), eps=epsilon, weight_decay=weight_decay, foreach=False
    )
    if state:
        optimiser.state[tensor] = {name: torch.tensor(value) for name, value in state.items()}
    optimiser.step()
    state.update({name: value.numpy() for name, value in optimiser.state[tensor].items()})
    return tensor.detach().numpy()


# %% [markdown]
# ## 7. `layer_norm`
#
# *Difficulty 2 of 5, about 10 minutes, 2 points.*
#
# Through thirty layers numbers swell or fade, and the gradients with them. *Layer normalisation* (Ba, Kiros and Hinton, 2016) gives each example a fresh start: it shifts and scales the numbers of one
# example to mean 0 and standard deviation 1, and lets the network choose another scale and shift for each place, if that is better. There are two in every block of a GPT-2.
#
# $$y_i = \gamma_i\, \frac{x_i - \mu}{\sqrt{\sigma^2 + \epsilon}} + \beta_i, \qquad \mu = \frac1d \sum_j x_j, \qquad \sigma^2 = \frac1d \sum_j (x_j - \mu)^2$$
#
# * $x$: one example, $d$ numbers, the **last** axis of `inputs`; whatever axes come before it (a batch, a batch and a time, or none) only count examples;
# * $\mu, \sigma^2$: mean and variance of this example alone; the sum is divided by $d$, not by $d - 1$;
# * $\epsilon$: `epsilon`, inside the root, so that an example of equal numbers is not divided by 0;
# * $\gamma$: `gain`, $\beta$: `bias`, each of shape $(d,)$. The result has the shape of `inputs`.
#
# By hand: $x = (1, 3)$, $\epsilon = 0$, $\gamma = (10, 10)$, $\beta = (0, 1)$. $\mu = 2$, $\sigma^2 = 1$, so $x$ becomes $(-1, 1)$ and $y = (-10, 11)$.
#
# <details><summary>A nudge</summary>For inputs of shape (4, 7, 16), how many means are there?</details>
# <details><summary>A push</summary><code>axis=-1</code> is the last axis, however many there are, and <code>keepdims=True</code> keeps its place, so that the mean can be subtracted again.</details>
# <details><summary>Almost there</summary><code>inputs.var(axis=-1, keepdims=True)</code> is the variance divided by d. Gain and bias have the shape of the last axis, so a plain <code>*</code> and <code>+</code> fit.</details>


# %% task="layer_norm"
def layer_norm(
    inputs: np.ndarray, gain: np.ndarray, bias: np.ndarray, epsilon: float = 1e-5
) -> np.ndarray:
    """Normalise the last axis, then scale and shift it (about 3 lines).

    Args:
        inputs: of shape (..., d).
        gain: the scale of each place, of shape (d,).
        bias: the shift of each place, of shape (d,).
        epsilon: added to the variance.

    Returns:
        An array of the shape of inputs.

    >>> layer_norm(np.array([1.0, 3.0]), np.array([10.0, 10.0]), np.array([0.0, 1.0]), epsilon=0.0)
    array([-10.,  11.])
    """
    ### BEGIN SOLUTION
    centred = inputs - inputs.mean(axis=-1, keepdims=True)
    variance = (centred**2).mean(axis=-1, keepdims=True)
    return gain * centred / np.sqrt(variance + epsilon) + bias
    ### END SOLUTION


# %% check="layer_norm" points=2
def normalised(inputs, gain, bias, hint, *epsilon):
    arrays = [np.array(numbers, dtype=float) for numbers in (inputs, gain, bias)]
    given = [numbers.copy() for numbers in arrays]
    result = checks.run(lambda: layer_norm(*given, *epsilon), hint=hint)
    for before, after, name in zip(arrays, given, ("the inputs", "the gain", "the bias"), strict=True):
        checks.unchanged(before, after, name)
    return checks.array(result, arrays[0].shape, "the result has the shape of the inputs")


def normal(x, gain, bias, epsilon):
    x = np.array(x, dtype=float)
    return (
        np.array(gain) * (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + epsilon)
        + bias
    )


def came_out(came, right, wrongs, hint):
    for wrong, cause in wrongs:
        first, expected = (np.round(np.array(numbers), 3).tolist()[0] for numbers in (came, right))
        checks.true(
            not np.allclose(came, wrong, rtol=1e-4),
            f"the first example became {first}, expected {expected}. Likely cause: {cause}",
        )
    checks.close(came, right, hint, rtol=1e-4, atol=1e-4)


ones, zeros = np.ones(4), np.zeros(4)
x = np.array([[1.0, 2.0, 3.0, 10.0], [0.0, 4.0, -4.0, 0.0], [5.0, 5.0, 7.0, 3.0]])
came_out(
    normalised(
        x, ones, zeros, "three examples of four numbers: gain and bias have one number for each place"
    ),
    normal(x, ones, zeros, 1e-5),
    [
        (
            (x - x.mean(0)) / np.sqrt(x.var(0) + 1e-5),
            "each example has its own mean and variance: go along the last axis, not over the examples",
        ),
        (
            (x - x.mean()) / np.sqrt(x.var() + 1e-5),
            "each example has its own mean and variance: not one for all of them together",
        ),
        (
            (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True, ddof=1) + 1e-5),
            "the variance divides by d, not by d - 1",
        ),
        (
            (x - x.mean(-1, keepdims=True)) / (x.var(-1, keepdims=True) + 1e-5),
            "divide by the root of the variance, the standard deviation",
        ),
        (x / np.sqrt(x.var(-1, keepdims=True) + 1e-5), "subtract the mean"),
        (
            x / np.sqrt((x**2).mean(-1, keepdims=True) + 1e-5),
            "subtract the mean: this is RMS norm, the younger cousin",
        ),
        (x - x.mean(-1, keepdims=True), "divide by the standard deviation"),
    ],
    "mean 0 and standard deviation 1 along the last axis",
)
gain, bias = np.array([2.0, -1.0, 0.5, 3.0]), np.array([0.0, 10.0, -5.0, 1.0])
came_out(
    normalised(x, gain, bias, "gain and bias have one number for each place"),
    normal(x, gain, bias, 1e-5),
    [
        (normal(x, ones, bias, 1e-5), "the gain is missing"),
        (normal(x, gain, zeros, 1e-5), "the bias is missing"),
        (normal(x, ones, zeros, 1e-5), "gain and bias are missing"),
        (gain * (normal(x, ones, bias, 1e-5)), "first the gain, then the bias: the bias is not scaled"),
    ],
    "multiply by the gain of each place and add its bias, after the normalisation",
)
tiny = np.array([[0.001, -0.001, 0.003, -0.003]])
spread = np.sqrt(5e-6)
came_out(
    normalised(tiny, ones, zeros, "numbers as small as epsilon"),
    tiny / np.sqrt(5e-6 + 1e-5),
    [
        (tiny / spread, "epsilon is missing: it is added to the variance"),
        (tiny / (spread + 1e-5), "epsilon is added to the variance, inside the root, not after it"),
        (tiny / (spread + np.sqrt(1e-5)), "one root of the sum, not the sum of two roots"),
        (tiny / np.sqrt(5e-6 + 1e-6), "the default of epsilon is 1e-5"),
    ],
    "with a variance of 5e-6, an epsilon of 1e-5 matters: it is added to the variance",
)
came_out(
    normalised([[1.0, 3.0, 1.0, 3.0]], ones, zeros, "epsilon = 3", 3.0),
    [[-0.5, 0.5, -0.5, 0.5]],
    [([[-1.0, 1.0, -1.0, 1.0]], "use the epsilon that is given, here 3")],
    "the variance is 1 and epsilon is 3: divide by the root of 4",
)
with np.errstate(all="ignore"):
    same = normalised([[7.0, 7.0, 7.0, 7.0]], gain, bias, "an example of equal numbers")
    checks.close(
        same,
        [bias],
        hint="equal numbers have no spread: what is left is the bias, not 0 / 0",
        rtol=1e-4,
        atol=1e-4,
    )
came_out(
    normalised(
        [2.0, 4.0, 6.0, 0.0],
        gain,
        bias,
        "one example alone, of shape (4,): the last axis is the only one",
    ),
    normal([2.0, 4.0, 6.0, 0.0], gain, bias, 1e-5),
    [],
    "one example alone, of shape (4,), is normalised as in a batch",
)
cube = np.array([[[1.0, 5.0], [2.0, 0.0], [3.0, 3.5]], [[9.0, 1.0], [-4.0, 4.0], [0.5, 0.0]]])
came_out(
    normalised(cube, [1.0, 2.0], [0.0, 1.0], "a batch of sequences, of shape (2, 3, 2): use axis=-1"),
    normal(cube, [1.0, 2.0], [0.0, 1.0], 1e-5),
    [
        (
            np.array([1.0, 2.0])
            * (cube - cube.mean(1, keepdims=True))
            / np.sqrt(cube.var(1, keepdims=True) + 1e-5)
            + [0, 1],
            "axis 1 is not the last one here: use axis=-1",
        ),
        (
            np.array([1.0, 2.0])
            * (cube - cube.mean((1, 2), keepdims=True))
            / np.sqrt(cube.var((1, 2), keepdims=True) + 1e-5)
            + [0, 1],
            "only the last axis is averaged: each time step is an example of its own",
        ),
    ],
    "a batch of sequences, of shape (2, 3, 2): each of the six has its own mean and variance, along the"
    " last axis",
)
square = normalised([[0.0, 2.0], [0.0, 4.0]], [1.0, 10.0], [0.0, 100.0], "two examples of two numbers")
checks.close(
    square,
    [[-1, 110], [-1, 110]],
    hint="gain and bias belong to the places, not to the examples; keep nothing from the call before",
    rtol=1e-3,
)

### BEGIN HIDDEN TESTS


def norm_inputs(rng):
    size = int(rng.integers(2, 40))
    before = [(), (3,), (2, 4), (1, 1), (2, 1, 3), (size,)][rng.integers(6)]
    dtype = [np.float64, np.float32][rng.integers(2)]
    scale, epsilon = float(rng.choice([0.01, 1.0, 5.0])), float(rng.choice([1e-5, 1e-3, 0.5]))
    inputs = rng.normal(rng.normal(), 1, (*before, size)) * scale
    return tuple(a.astype(dtype) for a in (inputs, rng.normal(1, 0.5, size), rng.normal(size=size))) + (
        epsilon,
    )


def norm_reference(inputs, gain, bias, epsilon):
    def one(numbers):
        mean = math.fsum(numbers) / len(numbers)
        spread = math.sqrt(math.fsum((x - mean) ** 2 for x in numbers) / len(numbers) + epsilon)
        return [
            float(g) * (x - mean) / spread + float(b)
            for x, g, b in zip(numbers, gain, bias, strict=True)
        ]

    return np.reshape([one(row) for row in inputs.reshape(-1, inputs.shape[-1]).tolist()], inputs.shape)


def close_enough(got, expected, hint):
    checks.close(got, expected, hint, rtol=2e-4, atol=2e-4)


checks.hidden(
    title="random inputs of one to four axes",
    call="layer_norm",
    inputs=norm_inputs,
    reference=norm_reference,
    compare=close_enough,
    hint="mean and variance along the last axis, epsilon inside the root, then gain and bias",
    cases=24,
)
### END HIDDEN TESTS

# %%
import matplotlib.pyplot as plt

from bow2gpt import figures

rng = np.random.default_rng(0)
matrices = rng.normal(size=(30, 64, 64)) / 8
fig, axis = plt.subplots()
for name in ("as it is", "after layer_norm"):
    signal, spreads = rng.normal(size=(50, 64)), []
    for matrix in matrices:
        signal = np.maximum(0, signal @ matrix)
        if name == "after layer_norm":
            signal = layer_norm(signal, np.ones(64), np.zeros(64))
        spreads.append(signal.std())
    axis.plot(range(1, 31), spreads, label=name)
axis.set(
    title="Does a signal survive thirty layers?",
    xlabel="layer",
    ylabel="standard deviation",
    yscale="log",
)
axis.legend()
figures.show(
    fig,
    alt=(
        "Standard deviation of a signal after each of thirty layers: as it is, it falls by about a"
        " third at each layer, to almost nothing; with layer_norm it stays at 1."
    ),
)

# %% mistake="layer_norm" name="over_the_batch" says="not over the examples"
def layer_norm(inputs, gain, bias, epsilon=1e-5):
    centred = inputs - inputs.mean(axis=0, keepdims=True)
    variance = (centred**2).mean(axis=0, keepdims=True)
    return gain * centred / np.sqrt(variance + epsilon) + bias


# %% mistake="layer_norm" name="over_everything" says="not one for all of them together"
def layer_norm(inputs, gain, bias, epsilon=1e-5):
    centred = inputs - inputs.mean(keepdims=True)
    variance = (centred**2).mean(keepdims=True)
    return gain * centred / np.sqrt(variance + epsilon) + bias


# %% mistake="layer_norm" name="d_minus_one" says="not by d - 1"
def layer_norm(inputs, gain, bias, epsilon=1e-5):
    centred = inputs - inputs.mean(axis=-1, keepdims=True)
    variance = inputs.var(axis=-1, keepdims=True, ddof=1)
    return gain * centred / np.sqrt(variance + epsilon) + bias


# %% mistake="layer_norm" name="epsilon_outside" says="inside the root, not after it"
def layer_norm(inputs, gain, bias, epsilon=1e-5):
    centred = inputs - inputs.mean(axis=-1, keepdims=True)
    variance = (centred**2).mean(axis=-1, keepdims=True)
    return gain * centred / (np.sqrt(variance) + epsilon) + bias


# %% mistake="layer_norm" name="no_epsilon" says="epsilon is missing"
def layer_norm(inputs, gain, bias, epsilon=1e-5):
    centred = inputs - inputs.mean(axis=-1, keepdims=True)
    variance = (centred**2).mean(axis=-1, keepdims=True)
    return gain * centred / np.sqrt(variance) + bias


# %% mistake="layer_norm" name="no_root" says="divide by the root"
def layer_norm(inputs, gain, bias, epsilon=1e-5):
    centred = inputs - inputs.mean(axis=-1, keepdims=True)
    variance = (centred**2).mean(axis=-1, keepdims=True)
    return gain * centred / (variance + epsilon) + bias


# %% mistake="layer_norm" name="rms" says="younger cousin"
def layer_norm(inputs, gain, bias, epsilon=1e-5):
    centred = inputs
    variance = (centred**2).mean(axis=-1, keepdims=True)
    return gain * centred / np.sqrt(variance + epsilon) + bias


# %% mistake="layer_norm" name="gain_on_the_bias" says="the bias is not scaled"
def layer_norm(inputs, gain, bias, epsilon=1e-5):
    centred = inputs - inputs.mean(axis=-1, keepdims=True)
    variance = (centred**2).mean(axis=-1, keepdims=True)
    return gain * (centred / np.sqrt(variance + epsilon) + bias)


# %% mistake="layer_norm" name="no_bias" says="the bias is missing"
def layer_norm(inputs, gain, bias, epsilon=1e-5):
    centred = inputs - inputs.mean(axis=-1, keepdims=True)
    variance = (centred**2).mean(axis=-1, keepdims=True)
    return gain * centred / np.sqrt(variance + epsilon)


# %% mistake="layer_norm" name="axis_one" says="the last axis is the only one"
def layer_norm(inputs, gain, bias, epsilon=1e-5):
    centred = inputs - inputs.mean(axis=1, keepdims=True)
    variance = (centred**2).mean(axis=1, keepdims=True)
    return gain * centred / np.sqrt(variance + epsilon) + bias


# %% mistake="layer_norm" name="all_but_the_first" says="each time step is an example of its own"
def layer_norm(inputs, gain, bias, epsilon=1e-5):
    centred = inputs - inputs.mean(axis=tuple(range(min(1, inputs.ndim - 1), inputs.ndim)), keepdims=True)
    variance = (centred**2).mean(axis=tuple(range(min(1, inputs.ndim - 1), inputs.ndim)), keepdims=True)
    return gain * centred / np.sqrt(variance + epsilon) + bias


# %% mistake="layer_norm" name="in_place" says="changed the inputs"
def layer_norm(inputs, gain, bias, epsilon=1e-5):
    inputs -= inputs.mean(axis=-1, keepdims=True)
    centred = inputs
    variance = (centred**2).mean(axis=-1, keepdims=True)
    return gain * centred / np.sqrt(variance + epsilon) + bias


# %% mistake="layer_norm" name="own_epsilon" says="use the epsilon that is given"
def layer_norm(inputs, gain, bias, epsilon=1e-5):
    epsilon = 1e-5
    centred = inputs - inputs.mean(axis=-1, keepdims=True)
    variance = (centred**2).mean(axis=-1, keepdims=True)
    return gain * centred / np.sqrt(variance + epsilon) + bias


# %% alternative="layer_norm" name="mean_of_squares"
def layer_norm(inputs, gain, bias, epsilon=1e-5):
    inputs = np.asarray(inputs, dtype=np.float64)
    mean = np.einsum("...i->...", inputs)[..., None] / inputs.shape[-1]
    square = np.einsum("...i,...i->...", inputs, inputs)[..., None] / inputs.shape[-1]
    return (inputs - mean) * (square - mean**2 + epsilon) ** -0.5 * gain + bias


# %% alternative="layer_norm" name="torch_in_float32"
def layer_norm(inputs, gain, bias, epsilon=1e-5):
    import torch

    x, g, b = (torch.tensor(array, dtype=torch.float32) for array in (inputs, gain, bias))
    return torch.nn.functional.layer_norm(x, x.shape[-1:], g, b, epsilon)


# %% alternative="layer_norm" name="example_by_example"
def layer_norm(inputs, gain, bias, epsilon=1e-5):
    if inputs.ndim > 1:
        return np.stack([layer_norm(part, gain, bias, epsilon) for part in inputs])
    mean = sum(inputs.tolist()) / len(inputs)
    variance = sum((x - mean) ** 2 for x in inputs.tolist()) / len(inputs)
    return np.array([(x - mean) / math.sqrt(variance + epsilon) for x in inputs.tolist()]) * gain + bias


# %% [markdown]
# ## 8. `dropout`
#
# *Difficulty 2 of 5, about 10 minutes, 2 points.*
#
# A network that knows its few examples by heart is of no use for others. *Dropout* (Srivastava et al., 2014) silences each number with some probability, anew at each step of training, so that no unit can count
# on any other being there. When the network is *used*, nothing is silenced. So that the two go together, the numbers that remain in training are made larger: this is *inverted* dropout, and it keeps the
# mean of each place as it was.
#
# $$y_i = \begin{cases} 0 & \text{with probability } p \\ \dfrac{x_i}{1 - p} & \text{otherwise} \end{cases} \quad \text{in training}, \qquad y_i = x_i \quad \text{in use}$$
#
# * $x$: `inputs`, of any shape; each of its numbers is drawn for on its own, independently of all others;
# * $p$: `probability` of being silenced, from 0 to below 1;
# * `rng`: the only source of chance: the same seed gives the same result, and a second call with the same `rng` another one;
# * `training`: if it is `False`, the result is the inputs as they are.
#
# By hand: $p = 0.25$ and four numbers, all 3. On average one becomes 0 and three become $3 / 0.75 = 4$: the mean is still 3.
#
# <details><summary>A nudge</summary>By what must a number be multiplied, if it is there in only three of four steps and shall count as much as before on average?</details>
# <details><summary>A push</summary><code>rng.random(inputs.shape)</code> draws one number between 0 and 1 for each place. What share of them is below $p$?</details>
# <details><summary>Almost there</summary><code>kept = rng.random(inputs.shape) >= probability</code> is an array of truth values, which multiply like 0 and 1. Return <code>inputs * kept / (1 - probability)</code>, unless <code>training</code> is false.</details>


# %% task="dropout"
def dropout(
    inputs: np.ndarray, probability: float, rng: np.random.Generator, training: bool = True
) -> np.ndarray:
    """Silence each number with a probability, and scale the others up (about 4 lines).

    Args:
        inputs: an array of any shape.
        probability: of each number to become 0; from 0 to below 1.
        rng: the only source of chance.
        training: whether to drop anything at all.

    Returns:
        An array of the shape of inputs, with the same mean on average.

    >>> sorted(set(dropout(np.full(100, 3.0), 0.25, np.random.default_rng(0)).tolist()))
    [0.0, 4.0]
    >>> dropout(np.full(4, 3.0), 0.25, np.random.default_rng(0), training=False)
    array([3., 3., 3., 3.])
    """
    ### BEGIN SOLUTION
    if not training:
        return inputs.copy()
    kept = rng.random(inputs.shape) >= probability
    return inputs * kept / (1 - probability)
    ### END SOLUTION


# %% check="dropout" points=2
def dropped(inputs, probability, seed, hint, **training):
    inputs = np.array(inputs, dtype=float)
    given = inputs.copy()
    result = checks.run(
        lambda: dropout(given, probability, np.random.default_rng(seed), **training), hint=hint
    )
    checks.unchanged(inputs, given, "the inputs")
    return checks.array(result, inputs.shape, "the result has the shape of the inputs")


threes = np.full((300, 40), 3.0)
came = dropped(threes, 0.25, 1, "12,000 numbers of 3, a quarter to be silenced")
checks.true(bool(np.isfinite(came).all()), "got numbers that are not finite")
zeros, left = float(np.mean(came == 0)), came[came != 0]
checks.true(
    zeros > 0,
    "nothing was silenced: in training, which is the default, a quarter of the numbers becomes 0",
)
checks.true(zeros < 1, "everything was silenced: three quarters of the numbers stay")
checks.true(
    not np.allclose(left, 3.0),
    "the numbers that stay must grow: divide them by 1 - probability, so that the mean stays as it was",
)
checks.true(
    not np.allclose(left, 12.0),
    "divide by the share that stays, 1 - probability, not by the probability",
)
checks.true(not np.allclose(left, 2.25), "divide by 1 - probability, do not multiply by it")
checks.close(
    left,
    np.full(left.shape, 4.0),
    hint="each number that stays is divided by 1 - probability: 3 / 0.75 = 4",
    rtol=1e-4,
)
checks.true(
    abs(zeros - 0.75) > 0.03,
    "`probability` is that of being silenced, not of staying: three quarters became 0 instead of one"
    " quarter",
)
own = "draw for each number on its own: rng.random(inputs.shape)"
checks.true(bool((came != 0).any(axis=1).all()), f"a whole row became 0: {own}")
checks.true(bool((came != 0).any(axis=0).all()), f"a whole column became 0 in all 300 rows: {own}")
checks.true(
    np.unique(came == 0, axis=0).shape[0] > 250, f"the same places became 0 in many rows: {own}"
)
checks.true(abs(zeros - 0.25) < 0.03, f"{zeros:.1%} of 12,000 numbers became 0, expected about 25%")
checks.close(
    dropped(threes, 0.25, 1, "in use", training=False),
    threes,
    hint="with training=False nothing is silenced and nothing is scaled: the result is the inputs",
)
checks.close(
    dropped([[1.0, -2.0], [0.5, 4.0]], 0.9, 1, "in use", training=False),
    [[1.0, -2.0], [0.5, 4.0]],
    hint="with training=False nothing is silenced and nothing is scaled, whatever the probability",
)
checks.close(
    dropped([[1.0, -2.0], [0.5, 4.0]], 0.0, 1, "probability 0"),
    [[1.0, -2.0], [0.5, 4.0]],
    hint="with probability 0 nothing changes",
)
numbers = np.linspace(-5, 5, 1000).reshape(10, 20, 5)  # none of them is 0
came = dropped(numbers, 0.5, 2, "an array of three axes, with negative numbers")
checks.close(
    came[came != 0],
    2 * numbers[came != 0],
    hint="each number that stays keeps its place and its sign",
    rtol=1e-4,
)
checks.true(
    0.35 < np.mean(came[numbers < 0] == 0) < 0.65 and 0.35 < np.mean(came[numbers > 0] == 0) < 0.65,
    "whether a number is silenced has nothing to do with its size or its sign: each has the same"
    " chance",
)
came = dropped(np.ones(4000), 0.9, 3, "one axis, nine of ten silenced")
checks.true(
    0.75 < np.mean(came) < 1.25,
    f"with probability 0.9, 4,000 ones have the mean {np.mean(came):.3g} after dropout, expected about"
    " 1: divide by 1 - probability",
)
once, again, other = (dropped(threes, 0.25, seed, "seeds") for seed in (5, 5, 6))
checks.close(
    again,
    once,
    hint="the same seed must silence the same numbers: use rng, and no other source of chance",
)
checks.true(
    not np.array_equal(once, other),
    "two seeds silenced the same numbers: the chance must come from rng, without a seed of your own",
)
one_rng = np.random.default_rng(5)
first, second = (checks.array(dropout(threes, 0.25, one_rng), threes.shape) for _ in range(2))
checks.true(
    not np.array_equal(first, second),
    "two calls with one rng silenced the same numbers: draw anew at each call",
)
count_zeros = checks.evaluate(  # the loop stands with your function, also where a grader runs it in another process
    "lambda times, rng: [int(np.sum(np.asarray(dropout(np.ones(100), 0.25, rng)) == 0)) for _ in"
    " range(times)]"
)
checks.true(
    np.var(count_zeros(200, np.random.default_rng(7))) > 5,
    "of 100 numbers the same count became 0 in each of 200 calls: each has its own chance, so the count"
    " varies from 15 to 35 or so",
)

### BEGIN HIDDEN TESTS


def dropout_inputs(rng):
    shape = [(3000,), (60, 50), (10, 30, 10), (2, 1500), (1500, 2)][rng.integers(5)]
    numbers = rng.uniform(0.2, 3, shape) * rng.choice([-1, 1], shape)
    probability = float(rng.choice([0.0, 0.05, 0.3, 0.5, 0.8]))
    dtype = [np.float64, np.float32][rng.integers(2)]
    return numbers.astype(dtype), probability, int(rng.integers(2**31)), bool(rng.random() < 0.8)


def dropout_reference(inputs, probability, seed, training):
    return {"inputs": inputs.astype(float), "probability": probability if training else 0.0}


def follows_the_law(got, expected, hint):
    inputs, p = expected["inputs"], expected["probability"]
    came = checks.array(got, inputs.shape, "the result has the shape of the inputs").astype(float)
    gone = came == 0
    checks.close(came[~gone], inputs[~gone] / (1 - p), hint, rtol=1e-4)

    def share(where, right, what):
        if where.size == 0:
            return
        # Bernstein's inequality (1924): a right answer strays this far once in a thousand million times.
        strength = math.log(2 / 1e-9) / where.size
        allowed = strength / 3 + math.sqrt((strength / 3) ** 2 + 2 * strength * right * (1 - right))
        checks.true(
            abs(float(np.mean(where)) - right) <= allowed,
            f"{np.mean(where):.1%} {what}, expected {right:.1%}. Likely cause: {hint}",
        )

    share(gone, p, "of the numbers became 0")
    for axis in range(gone.ndim):
        if gone.shape[axis] > 1:
            pairs = np.swapaxes(gone, 0, axis)
            for half in (0, 1):  # pairs that share no number are independent
                both = pairs[half:-1:2] & pairs[half + 1 :: 2]
                share(both, p * p, "of neighbours became 0 together")


checks.hidden(
    title="which of 3,000 numbers are silenced, and what becomes of the others",
    call=(
        "lambda inputs, probability, seed, training: dropout(inputs, probability,"
        " np.random.default_rng(seed), training)"
    ),
    inputs=dropout_inputs,
    reference=dropout_reference,
    compare=follows_the_law,
    hint=(
        "each number on its own becomes 0 with the probability, else it is divided by 1 - probability;"
        " not in use"
    ),
    cases=16,
)
checks.hidden(
    title="seeds",
    call="""lambda seed: (lambda run: {
        "same seed, same result": bool(np.array_equal(run(seed), run(seed))),
        "other seed, other result": not np.array_equal(run(seed), run(seed + 1)),
    })(lambda s: np.asarray(dropout(np.ones((20, 10)), 0.4, np.random.default_rng(s))))""",
    inputs=lambda rng: (int(rng.integers(2**31)),),
    reference=lambda seed: {"same seed, same result": True, "other seed, other result": True},
    compare=checks.equal,
    hint="all chance must come from rng, as it is given",
    cases=2,
)
### END HIDDEN TESTS

# %%
ones, rng = np.ones((2000, 8)), np.random.default_rng(0)
print("probability  silenced  the others  mean in training  mean in use")
for probability in (0.0, 0.1, 0.5, 0.9):
    trained, used = dropout(ones, probability, rng), dropout(ones, probability, rng, training=False)
    print(
        f"{probability:>11}  {np.mean(trained == 0):8.1%}  {trained.max():10.2f} "
        f" {trained.mean():16.3f}  {used.mean():11.3f}"
    )

# %% mistake="dropout" name="no_rescaling" says="the numbers that stay must grow"
def dropout(inputs, probability, rng, training=True):
    if not training:
        return inputs
    kept = rng.random(inputs.shape) >= probability
    return inputs * kept


# %% mistake="dropout" name="in_use_too" says="with training=False nothing is silenced"
def dropout(inputs, probability, rng, training=True):
    kept = rng.random(inputs.shape) >= probability
    return inputs * kept / (1 - probability)


# %% mistake="dropout" name="scaled_in_use" says="the numbers that stay must grow"
def dropout(inputs, probability, rng, training=True):
    if not training:
        return inputs * (1 - probability)
    kept = rng.random(inputs.shape) >= probability
    return inputs * kept


# %% mistake="dropout" name="probability_of_staying" says="divide by the share that stays"
def dropout(inputs, probability, rng, training=True):
    if not training:
        return inputs
    kept = rng.random(inputs.shape) < probability
    return inputs * kept / probability


# %% mistake="dropout" name="keeps_the_wrong_ones" says="not of staying"
def dropout(inputs, probability, rng, training=True):
    if not training:
        return inputs
    kept = rng.random(inputs.shape) < probability
    return inputs * kept / (1 - probability)


# %% mistake="dropout" name="multiplies" says="do not multiply by it"
def dropout(inputs, probability, rng, training=True):
    if not training:
        return inputs
    kept = rng.random(inputs.shape) >= probability
    return inputs * kept * (1 - probability)


# %% mistake="dropout" name="whole_rows" says="a whole row became 0"
def dropout(inputs, probability, rng, training=True):
    if not training:
        return inputs
    kept = rng.random((*inputs.shape[:-1], 1)) >= probability
    return inputs * kept / (1 - probability)


# %% mistake="dropout" name="one_mask_for_all_rows" says="a whole column became 0"
def dropout(inputs, probability, rng, training=True):
    if not training:
        return inputs
    kept = rng.random(inputs.shape[-1]) >= probability
    return inputs * kept / (1 - probability)


# %% mistake="dropout" name="own_seed" says="without a seed of your own"
def dropout(inputs, probability, rng, training=True):
    if not training:
        return inputs
    kept = np.random.default_rng(0).random(inputs.shape) >= probability
    return inputs * kept / (1 - probability)


# %% mistake="dropout" name="own_chance" says="use rng, and no other"
def dropout(inputs, probability, rng, training=True):
    if not training:
        return inputs
    kept = np.random.random(inputs.shape) >= probability
    return inputs * kept / (1 - probability)


# %% mistake="dropout" name="fixed_number" says="the same count became 0"
def dropout(inputs, probability, rng, training=True):
    if not training:
        return inputs
    kept = rng.permutation(inputs.size).reshape(inputs.shape) >= round(probability * inputs.size)
    return inputs * kept / (1 - probability)


# %% mistake="dropout" name="in_place" says="changed the inputs"
def dropout(inputs, probability, rng, training=True):
    if not training:
        return inputs
    kept = rng.random(inputs.shape) >= probability
    inputs[~kept] = 0
    inputs /= 1 - probability
    return inputs


# %% mistake="dropout" name="smallest_go" says="nothing to do with its size"
def dropout(inputs, probability, rng, training=True):
    if not training:
        return inputs
    kept = rng.random(inputs.shape) >= probability * (1 + np.tanh(inputs)) * (np.ptp(inputs) > 0) + probability * (np.ptp(inputs) == 0)
    return inputs * kept / (1 - probability)


# %% mistake="dropout" name="only_the_kept_returned" says="the result has the shape of the inputs"
def dropout(inputs, probability, rng, training=True):
    if not training:
        return inputs
    kept = rng.random(inputs.shape) >= probability
    return inputs[kept] / (1 - probability)


# %% mistake="dropout" name="same_draw_each_time" says="draw anew at each call"
import copy


def dropout(inputs, probability, rng, training=True):
    if not training:
        return inputs
    kept = copy.deepcopy(rng).random(inputs.shape) >= probability
    return inputs * kept / (1 - probability)


# %% alternative="dropout" name="binomial"
def dropout(inputs, probability, rng, training=True):
    factor = rng.binomial(1, 1 - probability, size=np.shape(inputs)) / (1 - probability) if training else 1
    return np.asarray(inputs) * factor


# %% alternative="dropout" name="number_by_number"
def dropout(inputs, probability, rng, training=True):
    result = np.array(inputs, dtype=float)
    if training:
        for index in np.ndindex(result.shape):
            result[index] = 0.0 if rng.random() < probability else result[index] / (1.0 - probability)
    return result


# %% alternative="dropout" name="choice_of_factors_in_float32"
def dropout(inputs, probability, rng, training=True):
    if not training or probability == 0:
        return inputs
    factors = np.array([0, 1 / (1 - probability)], dtype=np.float32)
    return (inputs * rng.choice(factors, size=inputs.shape, p=[probability, 1 - probability])).astype(np.float32)


# %% [markdown]
# ## 9. `neural_lm_forward`
#
# *Difficulty 2 of 5, about 15 minutes, 3 points.*
#
# An n-gram model that has counted *the cat was* learns nothing from it about *a dog is*. The *neural probabilistic language model* (Bengio et al., 2003) does: it looks each word of the context up in a table of
# vectors, lays the vectors side by side *in their order*, and lets a network with one hidden layer say what comes next. Words that are used alike get vectors that are alike, and what is learned of one holds for the other.
#
# $$x = [e_{c_1};\, e_{c_2};\, \dots;\, e_{c_T}], \qquad h = \tanh(x H^\top + b), \qquad z = h U^\top + c$$
#
# * $c_1, \dots, c_T$: `context_ids`, the $T$ tokens before the next one, oldest first, for each example: whole numbers of shape (batch, T);
# * $e$: `embedding`, one row of $d$ numbers for each of the $V$ tokens, shape $(V, d)$;
# * $x$: the $T$ vectors one after the other, $T d$ numbers: all of the first token's, then all of the second's;
# * $H$: `hidden_weight`, of shape $(n, T d)$ for $n$ hidden units; $b$: `hidden_bias`, of shape $(n,)$;
# * $U$: `output_weight`, of shape $(V, n)$; $c$: `output_bias`, of shape $(V,)$;
# * $z$: the result, the *logits*, of shape (batch, V). Softmax comes later, in the loss. (The paper's optional short cut from $x$ straight to $z$ is left out.)
#
# By hand: $V = 2$, $d = 1$, $e_0 = 1$, $e_1 = 2$; the context is $(1, 0)$, so $x = (2, 1)$. One hidden unit with $H = (1, -2)$ and $b = 0$: $h = \tanh(2 - 2) = 0$, and $z = c$. For the context $(0, 1)$, $h = \tanh(1 - 4) = -0.995$: order matters.
#
# <details><summary>A nudge</summary>What shape has <code>embedding[context_ids]</code>, and in what order do its numbers lie in memory?</details>
# <details><summary>A push</summary><code>.reshape(len(context_ids), -1)</code> lays the vectors of each example side by side: the last two axes, time and channel, become one, in that order.</details>
# <details><summary>Almost there</summary>Weights are stored as (out, in), so each layer is <code>x @ weight.T + bias</code>: one for the hidden units, inside <code>np.tanh</code>, one for the logits, with nothing after it.</details>


# %% task="neural_lm_forward"
def neural_lm_forward(
    context_ids: np.ndarray,
    embedding: np.ndarray,
    hidden_weight: np.ndarray,
    hidden_bias: np.ndarray,
    output_weight: np.ndarray,
    output_bias: np.ndarray,
) -> np.ndarray:
    """Compute the logits of the next token from the tokens before it (about 4 lines).

    Args:
        context_ids: token ids, oldest first, of shape (batch, context_length).
        embedding: of shape (V, d).
        hidden_weight: of shape (hidden, context_length * d).
        hidden_bias: of shape (hidden,).
        output_weight: of shape (V, hidden).
        output_bias: of shape (V,).

    Returns:
        Logits of shape (batch, V).

    >>> table, hidden, output = np.array([[1.0], [2.0]]), np.array([[1.0, -2.0]]), np.array([[1.0], [10.0]])
    >>> neural_lm_forward(np.array([[1, 0], [0, 1]]), table, hidden, np.zeros(1), output, np.array([5.0, 7.0])).round(3)
    array([[ 5.   ,  7.   ],
           [ 4.005, -2.951]])
    """
    ### BEGIN SOLUTION
    vectors = embedding[context_ids].reshape(
        len(context_ids), -1
    )  # (batch, time, d) -> (batch, time * d)
    hidden = np.tanh(vectors @ hidden_weight.T + hidden_bias)
    return hidden @ output_weight.T + output_bias
    ### END SOLUTION


# %% check="neural_lm_forward" points=3
draw = np.random.default_rng(4)
contexts = np.array([[0, 1, 2], [2, 1, 0], [4, 4, 3], [1, 1, 1]])  # 4 examples, 3 tokens each
network = [  # 5 tokens, vectors of 2 numbers, 6 hidden units: as many as there are inputs
    draw.normal(size=(5, 2)),
    draw.normal(size=(6, 6)) / 2,
    draw.normal(size=6) / 2,
    draw.normal(size=(5, 6)),
    draw.normal(size=5),
]
given = [contexts.copy(), *(array.copy() for array in network)]
logits = checks.run(
    lambda: neural_lm_forward(*given),
    hint="4 examples, 3 tokens of 2 numbers each, 6 hidden units, 5 logits",
)
for before, after, name in zip(
    [contexts, *network],
    given,
    ("context_ids", "embedding", "hidden_weight", "hidden_bias", "output_weight", "output_bias"),
    strict=True,
):
    checks.unchanged(before, after, name)
logits = checks.array(logits, (4, 5), "the logits have the shape (batch, V)")


def with_changes(
    order=lambda vectors: vectors.reshape(len(vectors), -1), bend=np.tanh, end=lambda z: z, **changed
):
    table, h_weight, h_bias, o_weight, o_bias = (
        changed.get(name, array)
        for name, array in zip(
            ("table", "h_weight", "h_bias", "o_weight", "o_bias"), network, strict=True
        )
    )
    return end(bend(order(table[contexts]) @ h_weight.T + h_bias) @ o_weight.T + o_bias)


def softmax(z):
    return np.exp(z) / np.exp(z).sum(axis=1, keepdims=True)


right = with_changes()
for wrong, cause in [
    (
        with_changes(order=lambda v: v[:, ::-1].reshape(len(v), -1)),
        (
            "the vectors are concatenated in the order of the context, oldest first; yours are turned"
            " round"
        ),
    ),
    (
        with_changes(order=lambda v: v.transpose(0, 2, 1).reshape(len(v), -1)),
        (
            "all numbers of the first token come first, then all of the second: time and channel are"
            " mixed up"
        ),
    ),
    (
        with_changes(order=lambda v: v.transpose(1, 0, 2).reshape(len(v), -1)),
        "the examples are mixed up: row i holds the vectors of example i, and of no other",
    ),
    (
        with_changes(order=lambda v: np.tile(v.mean(axis=1), 3)),
        "the vectors are laid side by side, not averaged: an average knows nothing of the order",
    ),
    (
        with_changes(order=lambda v: np.tile(v.sum(axis=1), 3)),
        "the vectors are laid side by side, not added up: a sum knows nothing of the order",
    ),
    (
        with_changes(order=lambda v: np.tile(v[:, -1], 3)),
        "every token of the context counts, not only the last",
    ),
    (
        with_changes(order=lambda v: np.sort(v, axis=1).reshape(len(v), -1)),
        "keep the order of the context",
    ),
    (with_changes(bend=lambda a: a), "tanh is missing: two linear layers in a row are only one"),
    (
        with_changes(bend=lambda a: np.maximum(a, 0)),
        "the hidden units of this model bend with tanh, not with relu",
    ),
    (
        with_changes(bend=lambda a: 1 / (1 + np.exp(-a))),
        "the hidden units of this model bend with tanh, not with the logistic function",
    ),
    (
        with_changes(end=lambda z: 1 / (1 + np.exp(-z))),
        "give the logits as they are, with nothing after the last layer",
    ),
    (with_changes(end=np.tanh), "no tanh on the logits: they may be any number"),
    (
        with_changes(end=softmax),
        "give the logits, not the probabilities: softmax comes later, in the loss",
    ),
    (
        with_changes(end=lambda z: np.log(softmax(z))),
        "give the logits, not the log probabilities: softmax comes later, in the loss",
    ),
    (
        with_changes(h_weight=network[1].T),
        "hidden_weight is stored as (out, in): transpose it in the product",
    ),
    (with_changes(h_bias=0.0), "the hidden bias is missing"),
    (with_changes(o_bias=0.0), "the output bias is missing"),
    (
        with_changes(bend=lambda a: np.tanh(a - network[2]) + network[2]),
        "the hidden bias is added before the tanh",
    ),
]:
    checks.true(not np.allclose(logits, wrong, rtol=1e-3, atol=1e-4), cause)
checks.close(
    logits, right, hint="look up, lay side by side in order, linear, tanh, linear", rtol=1e-4, atol=1e-4
)
single = checks.run(
    lambda: neural_lm_forward(
        np.array([[1, 0]]),
        np.array([[1.0], [2.0]]),
        np.array([[1.0, -2.0]]),
        np.zeros(1),
        np.array([[1.0], [10.0]]),
        np.array([5.0, 7.0]),
    ),
    hint=(
        "one example is still a batch, of one; the context has 2 tokens here, with vectors of 1 number"
    ),
)
checks.close(
    checks.array(single, (1, 2), "one example is still a batch, of one"),
    [[5, 7]],
    hint=(
        "the case from the text above: tanh(2 - 2) = 0, so the output bias is left; keep nothing from"
        " the call before"
    ),
    rtol=1e-4,
    atol=1e-4,
)
one_token = checks.run(
    lambda: neural_lm_forward(
        np.array([[1], [0]]),
        np.array([[0.5, 0.0], [0.0, 1.0]]),
        np.eye(2),
        np.zeros(2),
        np.eye(2),
        np.zeros(2),
    ),
    hint="a context of one token: nothing to lay side by side",
)
checks.close(
    one_token,
    [[0, np.tanh(1)], [np.tanh(0.5), 0]],
    hint="a context of one token: row i of the result belongs to example i",
    rtol=1e-4,
    atol=1e-4,
)

### BEGIN HIDDEN TESTS


def network_inputs(rng):
    batch, length, dim, hidden = (int(size) for size in rng.integers(1, 6, 4))
    vocabulary = int(rng.integers(2, 9))
    if rng.random() < 0.3:
        hidden = length * dim  # then a transposed weight has the right shape too
    dtype = [np.float64, np.float32][rng.integers(2)]
    shapes = (vocabulary, dim), (hidden, length * dim), (hidden,), (vocabulary, hidden), (vocabulary,)
    arrays = [
        rng.normal(size=shape) * scale for shape, scale in zip(shapes, (1, 0.7, 0.7, 1, 1), strict=True)
    ]
    return rng.integers(0, vocabulary, (batch, length)), *(array.astype(dtype) for array in arrays)


def network_reference(context_ids, embedding, hidden_weight, hidden_bias, output_weight, output_bias):
    result = []
    for context in context_ids.tolist():
        x = [float(number) for token in context for number in embedding[token]]
        h = [
            math.tanh(math.fsum(w * v for w, v in zip(row, x, strict=True)) + b)
            for row, b in zip(hidden_weight.tolist(), hidden_bias.tolist(), strict=True)
        ]
        pairs = zip(output_weight.tolist(), output_bias.tolist(), strict=True)
        result.append([math.fsum(w * v for w, v in zip(row, h, strict=True)) + b for row, b in pairs])
    return np.array(result)


def close_enough(got, expected, hint):
    checks.close(checks.array(got, expected.shape, "(batch, V)"), expected, hint, rtol=2e-4, atol=2e-4)


checks.hidden(
    title="random networks and contexts",
    call="neural_lm_forward",
    inputs=network_inputs,
    reference=network_reference,
    compare=close_enough,
    hint="look up, lay side by side in the order of the context, linear, tanh, linear",
    cases=20,
)
### END HIDDEN TESTS

# %%
words = ["dog", "bites", "man", "the", "sleeps", "today"]
rng = np.random.default_rng(
    3
)  # the network is not trained: see only that the order of the words counts
parts = [rng.normal(size=shape) * 0.5 for shape in ((6, 4), (16, 12), 16, (6, 16), 6)]
for order in (["dog", "bites", "man"], ["man", "bites", "dog"]):
    ids = np.array([[words.index(word) for word in order]])
    logits = neural_lm_forward(ids, *parts)[0]
    probs = np.exp(logits - logits.max()) / np.exp(logits - logits.max()).sum()
    print(
        " ".join(order),
        "...",
        *(f"{word} {prob:.2f}" for word, prob in zip(words, probs, strict=True)),
        sep="  ",
    )

# %% mistake="neural_lm_forward" name="no_tanh" says="tanh is missing"
def neural_lm_forward(context_ids, embedding, hidden_weight, hidden_bias, output_weight, output_bias):
    vectors = embedding[context_ids].reshape(len(context_ids), -1)
    hidden = (vectors @ hidden_weight.T + hidden_bias)
    return hidden @ output_weight.T + output_bias


# %% mistake="neural_lm_forward" name="relu" says="not with relu"
def neural_lm_forward(context_ids, embedding, hidden_weight, hidden_bias, output_weight, output_bias):
    vectors = embedding[context_ids].reshape(len(context_ids), -1)
    hidden = np.maximum(0, vectors @ hidden_weight.T + hidden_bias)
    return hidden @ output_weight.T + output_bias


# %% mistake="neural_lm_forward" name="newest_first" says="oldest first"
def neural_lm_forward(context_ids, embedding, hidden_weight, hidden_bias, output_weight, output_bias):
    vectors = embedding[context_ids[:, ::-1]].reshape(len(context_ids), -1)
    hidden = np.tanh(vectors @ hidden_weight.T + hidden_bias)
    return hidden @ output_weight.T + output_bias


# %% mistake="neural_lm_forward" name="channels_first" says="time and channel are mixed up"
def neural_lm_forward(context_ids, embedding, hidden_weight, hidden_bias, output_weight, output_bias):
    vectors = embedding[context_ids].transpose(0, 2, 1).reshape(len(context_ids), -1)
    hidden = np.tanh(vectors @ hidden_weight.T + hidden_bias)
    return hidden @ output_weight.T + output_bias


# %% mistake="neural_lm_forward" name="average" says="not averaged"
def neural_lm_forward(context_ids, embedding, hidden_weight, hidden_bias, output_weight, output_bias):
    vectors = np.tile(embedding[context_ids].mean(axis=1), context_ids.shape[1])
    hidden = np.tanh(vectors @ hidden_weight.T + hidden_bias)
    return hidden @ output_weight.T + output_bias


# %% mistake="neural_lm_forward" name="examples_mixed" says="the examples are mixed up"
def neural_lm_forward(context_ids, embedding, hidden_weight, hidden_bias, output_weight, output_bias):
    vectors = embedding[context_ids.T].reshape(len(context_ids), -1)
    hidden = np.tanh(vectors @ hidden_weight.T + hidden_bias)
    return hidden @ output_weight.T + output_bias


# %% mistake="neural_lm_forward" name="probabilities" says="softmax comes later"
def neural_lm_forward(context_ids, embedding, hidden_weight, hidden_bias, output_weight, output_bias):
    vectors = embedding[context_ids].reshape(len(context_ids), -1)
    hidden = np.tanh(vectors @ hidden_weight.T + hidden_bias)
    exps = np.exp(hidden @ output_weight.T + output_bias)
    return exps / exps.sum(axis=1, keepdims=True)


# %% mistake="neural_lm_forward" name="not_transposed" says="hidden_weight is stored as (out, in)"
def neural_lm_forward(context_ids, embedding, hidden_weight, hidden_bias, output_weight, output_bias):
    vectors = embedding[context_ids].reshape(len(context_ids), -1)
    hidden = np.tanh(vectors @ hidden_weight + hidden_bias)
    return hidden @ output_weight.T + output_bias


# %% mistake="neural_lm_forward" name="no_hidden_bias" says="the hidden bias is missing"
def neural_lm_forward(context_ids, embedding, hidden_weight, hidden_bias, output_weight, output_bias):
    vectors = embedding[context_ids].reshape(len(context_ids), -1)
    hidden = np.tanh(vectors @ hidden_weight.T)
    return hidden @ output_weight.T + output_bias


# %% mistake="neural_lm_forward" name="no_output_bias" says="the output bias is missing"
def neural_lm_forward(context_ids, embedding, hidden_weight, hidden_bias, output_weight, output_bias):
    vectors = embedding[context_ids].reshape(len(context_ids), -1)
    hidden = np.tanh(vectors @ hidden_weight.T + hidden_bias)
    return hidden @ output_weight.T


# %% mistake="neural_lm_forward" name="bias_after_tanh" says="added before the tanh"
def neural_lm_forward(context_ids, embedding, hidden_weight, hidden_bias, output_weight, output_bias):
    vectors = embedding[context_ids].reshape(len(context_ids), -1)
    hidden = np.tanh(vectors @ hidden_weight.T) + hidden_bias
    return hidden @ output_weight.T + output_bias


# %% mistake="neural_lm_forward" name="last_token" says="not only the last"
def neural_lm_forward(context_ids, embedding, hidden_weight, hidden_bias, output_weight, output_bias):
    vectors = np.tile(embedding[context_ids[:, -1]], context_ids.shape[1])
    hidden = np.tanh(vectors @ hidden_weight.T + hidden_bias)
    return hidden @ output_weight.T + output_bias


# %% mistake="neural_lm_forward" name="squeezed" says="one example is still a batch"
def neural_lm_forward(context_ids, embedding, hidden_weight, hidden_bias, output_weight, output_bias):
    vectors = embedding[context_ids].reshape(len(context_ids), -1)
    hidden = np.tanh(vectors @ hidden_weight.T + hidden_bias)
    return (hidden @ output_weight.T + output_bias).squeeze()


# %% mistake="neural_lm_forward" name="in_place" says="changed embedding"
def neural_lm_forward(context_ids, embedding, hidden_weight, hidden_bias, output_weight, output_bias):
    embedding /= np.linalg.norm(embedding, axis=1, keepdims=True)
    vectors = embedding[context_ids].reshape(len(context_ids), -1)
    hidden = np.tanh(vectors @ hidden_weight.T + hidden_bias)
    return hidden @ output_weight.T + output_bias


# %% alternative="neural_lm_forward" name="one_hot_and_einsum"
def neural_lm_forward(context_ids, embedding, hidden_weight, hidden_bias, output_weight, output_bias):
    (vocabulary, dim), length = embedding.shape, context_ids.shape[1]
    one_hot = np.eye(vocabulary)[context_ids]
    by_place = hidden_weight.reshape(-1, length, dim)
    hidden = np.tanh(np.einsum("btv,vd,htd->bh", one_hot, embedding, by_place) + hidden_bias)
    return np.einsum("bh,vh->bv", hidden, output_weight) + output_bias


# %% alternative="neural_lm_forward" name="concatenate_each"
def neural_lm_forward(context_ids, embedding, hidden_weight, hidden_bias, output_weight, output_bias):
    logits = []
    for context in context_ids:
        vector = np.concatenate([embedding[token] for token in context])
        hidden = np.array([math.tanh(weights @ vector + b) for weights, b in zip(hidden_weight, hidden_bias, strict=False)])
        logits.append(output_weight @ hidden + output_bias)
    return logits


# %% alternative="neural_lm_forward" name="torch_in_float32"
def neural_lm_forward(context_ids, embedding, hidden_weight, hidden_bias, output_weight, output_bias):
    import torch
    from torch.nn.functional import linear

    arrays = (embedding, hidden_weight, hidden_bias, output_weight, output_bias)
    e, hw, hb, ow, ob = (torch.tensor(array, dtype=torch.float32) for array in arrays)
    return linear(torch.tanh(linear(e[torch.tensor(context_ids)].flatten(1), hw, hb)), ow, ob)


# %% [markdown]
# ## All nine together
#
# No points here, only what your answers add up to: a network that learns, from the start of one address, which letter comes after the four before it. The forward pass is `neural_lm_forward`; the loss and its gradient are
# `softmax_cross_entropy`; `linear_backward` takes the gradient through both layers, and `adamw_step` moves the weights. Dropout and layer norm wait for a larger network, and `gradient_check` stands guard before the
# training begins. It takes a few seconds.

# %%
import matplotlib.pyplot as plt

from bow2gpt import corpus, figures

text = "".join(
    letter
    for letter in corpus.addresses("train")[0].text.lower()[:9000]
    if letter.isalpha() or letter == " "
)
alphabet = sorted(set(text))
ids = np.array([alphabet.index(letter) for letter in text])
windows = np.lib.stride_tricks.sliding_window_view(ids, 5)
contexts, nexts = windows[:, :4], windows[:, 4]
rng = np.random.default_rng(0)
size = len(alphabet)
network = [rng.normal(size=shape) * 0.1 for shape in ((size, 8), (64, 32), 64, (size, 64), size)]


def backward(network, contexts, nexts):
    """The loss of a batch, and the gradient of each of the five arrays."""
    embedding, hidden_weight, hidden_bias, output_weight, _ = network
    loss, grad_logits = softmax_cross_entropy(neural_lm_forward(contexts, *network), nexts)
    vectors = embedding[contexts].reshape(len(contexts), -1)
    hidden = np.tanh(vectors @ hidden_weight.T + hidden_bias)
    grad_hidden, *output = linear_backward(grad_logits, hidden, output_weight)
    grad_vectors, *inner = linear_backward(grad_hidden * (1 - hidden**2), vectors, hidden_weight)
    grad_embedding = np.zeros_like(embedding)
    np.add.at(grad_embedding, contexts, grad_vectors.reshape(*contexts.shape, -1))
    return loss, [grad_embedding, *inner, *output]


few = contexts[:20], nexts[:20]
for place, name in enumerate(
    ("embedding", "hidden weight", "hidden bias", "output weight", "output bias")
):
    error = gradient_check(
        lambda array, p=place: backward([*network[:p], array, *network[p + 1 :]], *few)[0],
        lambda array, p=place: backward([*network[:p], array, *network[p + 1 :]], *few)[1][p],
        network[place],
    )
    print(f"gradient of the {name}: largest relative error {error:.1e}")

# %%
states, losses = [{} for _ in network], []
for _ in range(1500):
    batch = rng.integers(0, len(contexts), 64)
    loss, gradients = backward(network, contexts[batch], nexts[batch])
    network = [
        adamw_step(array, gradient, state, learning_rate=3e-3)
        for array, gradient, state in zip(network, gradients, states, strict=True)
    ]
    losses.append(loss)
shares = np.bincount(ids) / len(ids)
fig, axis = plt.subplots()
axis.plot(np.convolve(losses, np.ones(50) / 50, mode="valid"), marker="", label="your network")
axis.axhline(np.log(size), linestyle=":", color=figures.COLOURS[5], label="every letter equally likely")
axis.axhline(
    -(shares * np.log(shares)).sum(),
    linestyle="--",
    color=figures.COLOURS[1],
    label="letter frequencies",
)
axis.set(
    title="What do your nine answers learn together?",
    xlabel="steps of AdamW",
    ylabel="loss, nats per letter",
)
axis.legend()
figures.show(
    fig,
    alt=(
        "The loss of the network, averaged over 50 steps, begins not far below the level of equally"
        " likely letters, is below that of the letter frequencies within a hundred steps, and goes on"
        " falling."
    ),
)
