# Generated from chapters/04_mlps.py by `bow2gpt build`: edit there.
"""MLPs: what the chapter builds."""

import math
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch.nn import functional as F

from bow2gpt.chapters.counting_models import sample_with_temperature
from bow2gpt.chapters.language_features import AnyTokenizer
from bow2gpt.machine import half_precision_pays


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
