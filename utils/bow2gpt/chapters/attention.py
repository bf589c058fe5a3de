# Generated from chapters/06_attention.py by `bow2gpt build`: edit there.
"""Attention: what the chapter builds."""

import math
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

import numpy as np
import torch
from torch.nn import functional as F

from bow2gpt import meter
from bow2gpt.chapters.counting_models import sample_with_temperature
from bow2gpt.chapters.embeddings import sinusoidal_positions
from bow2gpt.chapters.language_features import AnyTokenizer
from bow2gpt.chapters.sequences import learning_rate_share, optimisation_step
from bow2gpt.machine import half_precision_pays
from bow2gpt.spelling import LETTERS, PAD, PHONEMES


def attention_weights(
    queries: torch.Tensor, keys: torch.Tensor, mask: torch.Tensor | None = None, scale: float | None = None
) -> torch.Tensor:
    """How much each query looks at each key: softmax(queries keys^T scale + mask) (Vaswani et al., 2017).

    Args:
        queries: shape (..., queries, head_dim).
        keys: shape (..., keys, head_dim).
        mask: broadcasts to (..., queries, keys). Boolean: True = may look; of floats: added to the scores.
        scale: what the dot products are multiplied with; 1 / sqrt(head_dim) by default.

    Returns:
        Shape (..., queries, keys). Each row sums to 1; that of a query that may look at nothing is 0, and so are its
        slopes.

    Raises:
        ValueError: if a shape or a type does not fit.
    """
    scores = _scores(queries, keys, mask, scale)  # (..., queries, keys)
    blind = scores.isneginf().all(dim=-1, keepdim=True)  # may look at nothing: softmax would divide 0 by 0
    return scores.masked_fill(blind, 0.0).softmax(dim=-1).masked_fill(blind, 0.0)


def scaled_dot_product_attention(
    queries: torch.Tensor,
    keys: torch.Tensor,
    values: torch.Tensor,
    mask: torch.Tensor | None = None,
    scale: float | None = None,
) -> torch.Tensor:
    """A soft look-up: for each query the mean of the values, weighted by how well its key fits (Vaswani et al., 2017).

    Args:
        queries: shape (..., queries, head_dim).
        keys: shape (..., keys, head_dim).
        values: shape (..., keys, value_dim).
        mask: as in `attention_weights`.
        scale: as there.

    Returns:
        Shape (..., queries, value_dim); zeros for a query that may look at nothing.

    Raises:
        ValueError: if a shape or a type does not fit.
    """
    _leading_shape(queries, keys, values)
    _check_values(keys, values)
    return attention_weights(queries, keys, mask, scale) @ values


def _scores(queries: torch.Tensor, keys: torch.Tensor, mask: torch.Tensor | None, scale: float | None) -> torch.Tensor:
    """Scaled dot products of queries and keys, those that the mask forbids at minus infinity."""
    if queries.ndim < 2 or keys.ndim < 2 or queries.shape[-1] != keys.shape[-1] or queries.shape[-1] == 0:
        raise ValueError(
            f"got queries of shape {tuple(queries.shape)} and keys of {tuple(keys.shape)}; expected "
            "(..., queries, head_dim) and (..., keys, head_dim) with the same head_dim, at least 1"
        )
    if not queries.is_floating_point() or queries.dtype != keys.dtype:
        raise ValueError(f"got queries of {queries.dtype} and keys of {keys.dtype}; give both the same type of floats")
    _leading_shape(queries, keys)
    scale = queries.shape[-1] ** -0.5 if scale is None else scale
    scores = queries @ keys.transpose(-2, -1) * scale
    if mask is None:
        return scores
    _check_mask(mask, scores.shape)
    if mask.dtype == torch.bool:
        return scores.masked_fill(~mask, -torch.inf)
    return scores + mask.to(scores.dtype)


def _leading_shape(*tensors: torch.Tensor) -> torch.Size:
    """What the dimensions before the last two broadcast to."""
    try:
        return torch.broadcast_shapes(*(tensor.shape[:-2] for tensor in tensors))
    except RuntimeError:
        shapes = " and ".join(str(tuple(tensor.shape)) for tensor in tensors)
        raise ValueError(f"got shapes {shapes}; all dimensions but the last two must be equal, or 1") from None


def _check_mask(mask: torch.Tensor, scores_shape: torch.Size) -> None:
    if mask.dtype != torch.bool and not mask.is_floating_point():
        raise ValueError(f"got a mask of {mask.dtype}; make it boolean with mask.bool(): True = may look")
    try:
        fits = torch.broadcast_shapes(mask.shape, scores_shape)[-2:] == scores_shape[-2:]
    except RuntimeError:
        fits = False
    if not fits:
        raise ValueError(
            f"got a mask of shape {tuple(mask.shape)} for scores of {tuple(scores_shape)}; it must broadcast to "
            "(..., queries, keys): put a 1 where it is the same for all"
        )


def _check_values(keys: torch.Tensor, values: torch.Tensor) -> None:
    if values.ndim < 2 or values.shape[-2] != keys.shape[-2] or values.dtype != keys.dtype:
        raise ValueError(
            f"got keys of shape {tuple(keys.shape)} ({keys.dtype}) and values of {tuple(values.shape)} "
            f"({values.dtype}); expected one value for each key, of the same type"
        )


def causal_mask(
    num_queries: int,
    num_keys: int | None = None,
    window: int | None = None,
    device: torch.device | str | None = None,
) -> torch.Tensor:
    """Who may look at whom when the future must stay hidden: True where the key is no later than the query.

    Args:
        num_queries: how many positions ask; they are the last ones.
        num_keys: how many can be looked at; as many as ask by default.
        window: if given, each query sees only so many keys, the last of them itself (Beltagy et al., 2020).
        device: where to put the mask.

    Returns:
        Booleans of shape (queries, keys). The last query stands at the last key.

    Raises:
        ValueError: if a size is negative, more positions ask than there are, or the window is below 1.
    """
    num_keys = num_queries if num_keys is None else num_keys
    if not 0 <= num_queries <= num_keys:
        raise ValueError(
            f"got {num_queries} queries and {num_keys} keys; each query sees itself, so give as many keys or more"
        )
    if window is not None and window < 1:
        raise ValueError(f"got a window of {window}; a query sees at least itself, so give 1 or more")
    query_places = torch.arange(num_keys - num_queries, num_keys, device=device)[:, None]
    distance = query_places - torch.arange(num_keys, device=device)  # (queries, keys)
    return (distance >= 0) if window is None else (distance >= 0) & (distance < window)


def split_heads(inputs: torch.Tensor, head_dim: int) -> torch.Tensor:
    """Cut the channels into heads: (..., time, heads * head_dim) -> (..., heads, time, head_dim)."""
    if head_dim < 1 or inputs.ndim < 2 or inputs.shape[-1] % head_dim:
        raise ValueError(
            f"got {tuple(inputs.shape)} and a head_dim of {head_dim}; expected (..., time, channels) that it divides"
        )
    heads = inputs.unflatten(-1, (inputs.shape[-1] // head_dim, head_dim))  # (..., time, heads, head_dim)
    return heads.transpose(-3, -2)  # (..., heads, time, head_dim)


def merge_heads(inputs: torch.Tensor) -> torch.Tensor:
    """Lay the heads side by side again: (..., heads, time, head_dim) -> (..., time, heads * head_dim)."""
    return inputs.transpose(-3, -2).flatten(-2)  # (..., time, channels)


def cross_attention(
    inputs: torch.Tensor,
    memory: torch.Tensor,
    query_weight: torch.Tensor,
    key_weight: torch.Tensor,
    value_weight: torch.Tensor,
    output_weight: torch.Tensor,
    num_heads: int,
    mask: torch.Tensor | None = None,
) -> torch.Tensor:
    """Several soft look-ups side by side, one sequence asking and another answering (Vaswani et al., 2017).

    Args:
        inputs: those who ask, shape (..., time, embedding_dim).
        memory: those who answer, shape (..., memory_time, memory_dim).
        query_weight: shape (channels, embedding_dim); the channels are divided among the heads.
        key_weight: shape (channels, memory_dim).
        value_weight: shape (channels, memory_dim).
        output_weight: shape (out, channels).
        num_heads: how many.
        mask: broadcasts to (..., heads, time, memory_time); boolean: True = may look; of floats: added to the scores.

    Returns:
        Shape (..., time, out).

    Raises:
        ValueError: if a shape does not fit, or the heads do not divide the channels.
    """
    channels = query_weight.shape[0]
    if num_heads < 1 or channels % num_heads:
        raise ValueError(f"got {num_heads} heads for {channels} channels; the heads must share them evenly")
    expected = {
        "query_weight": (query_weight, (channels, inputs.shape[-1])),
        "key_weight": (key_weight, (channels, memory.shape[-1])),
        "value_weight": (value_weight, (channels, memory.shape[-1])),
        "output_weight": (output_weight, (output_weight.shape[0], channels)),
    }
    for name, (weight, shape) in expected.items():
        if tuple(weight.shape) != shape:
            raise ValueError(f"got {name} of shape {tuple(weight.shape)}; expected {shape}: is it transposed?")
    queries, keys, values = (
        split_heads(F.linear(source, weight), channels // num_heads)  # (..., heads, time, head_dim)
        for source, weight in ((inputs, query_weight), (memory, key_weight), (memory, value_weight))
    )
    return F.linear(merge_heads(scaled_dot_product_attention(queries, keys, values, mask)), output_weight)


def multi_head_attention(
    inputs: torch.Tensor,
    query_weight: torch.Tensor,
    key_weight: torch.Tensor,
    value_weight: torch.Tensor,
    output_weight: torch.Tensor,
    num_heads: int,
    mask: torch.Tensor | None = None,
) -> torch.Tensor:
    """A sequence that looks itself up: `cross_attention` of the inputs with themselves, (..., time, embedding_dim)."""
    return cross_attention(inputs, inputs, query_weight, key_weight, value_weight, output_weight, num_heads, mask)


def rope_frequencies(
    head_dim: int, base: float = 10000.0, dtype: torch.dtype = torch.float32, device: torch.device | str | None = None
) -> torch.Tensor:
    """How far each pair of channels turns per position, in radians: base^(-2i / head_dim) (Su et al., 2021).

    Args:
        head_dim: channels of a head, even.
        base: the larger, the slower the slowest pair.
        dtype: of the result.
        device: of the result.

    Returns:
        Shape (head_dim / 2,), from 1 downwards.

    Raises:
        ValueError: if `head_dim` is odd or below 2, or the base not above 0.
    """
    if head_dim < 2 or head_dim % 2 or not base > 0:
        raise ValueError(
            f"got head_dim {head_dim} and base {base}; channels turn in pairs, so it must be even, base > 0"
        )
    return base ** (-torch.arange(0, head_dim, 2, dtype=dtype, device=device) / head_dim)


def apply_rope(
    inputs: torch.Tensor, positions: torch.Tensor | None = None, frequencies: torch.Tensor | None = None
) -> torch.Tensor:
    """Turn each pair of neighbouring channels by an angle proportional to the position (RoPE; Su et al., 2021).

    Args:
        inputs: queries or keys, shape (..., time, head_dim).
        positions: broadcasts to (..., time); 0, 1, 2, ... by default.
        frequencies: shape (head_dim / 2,), `rope_frequencies(head_dim)` by default.

    Returns:
        The inputs, turned; same shape and type. Dot products of two such depend on the difference of positions only.

    Raises:
        ValueError: if a shape does not fit.
    """
    if inputs.ndim < 2 or inputs.shape[-1] % 2 or not inputs.is_floating_point():
        raise ValueError(
            f"got inputs of shape {tuple(inputs.shape)} ({inputs.dtype}); expected floats (..., time, head_dim), even"
        )
    *leading, time, head_dim = inputs.shape
    precise = torch.promote_types(inputs.dtype, torch.float32)  # 16 bits cannot tell position 256 from 257
    if frequencies is None:
        frequencies = rope_frequencies(head_dim, dtype=precise, device=inputs.device)
    if positions is None:
        positions = torch.arange(time, device=inputs.device)
    if tuple(frequencies.shape) != (head_dim // 2,):
        raise ValueError(
            f"got frequencies of shape {tuple(frequencies.shape)}; expected ({head_dim // 2},), one a pair"
        )
    try:
        fits = torch.broadcast_shapes(positions.shape, (*leading, time)) == (*leading, time)
    except RuntimeError:
        fits = False
    if not fits:
        raise ValueError(
            f"got positions of shape {tuple(positions.shape)} for inputs of {tuple(inputs.shape)}; expected ({time},), "
            f"or what broadcasts to {(*leading, time)}"
        )
    angles = positions.to(precise)[..., None] * frequencies.to(precise)  # (..., time, head_dim / 2)
    cosine, sine = angles.cos(), angles.sin()
    first, second = inputs[..., 0::2], inputs[..., 1::2]
    turned = torch.stack([first * cosine - second * sine, first * sine + second * cosine], dim=-1)
    return turned.flatten(-2).to(inputs.dtype)  # (..., time, head_dim / 2, 2) -> (..., time, head_dim)


def rms_norm(inputs: torch.Tensor, gain: torch.Tensor | None = None, epsilon: float = 1e-6) -> torch.Tensor:
    """Divide by the root of the mean square, then multiply by the gain (Zhang and Sennrich, 2019).

    Args:
        inputs: shape (..., d).
        gain: shape (d,); 1 by default.
        epsilon: added to the mean square, so that zeros stay zeros.

    Returns:
        The inputs' shape and type.

    Raises:
        ValueError: if the gain has another shape.
    """
    if inputs.ndim < 1 or not inputs.is_floating_point():
        raise ValueError(f"got inputs of shape {tuple(inputs.shape)} ({inputs.dtype}); expected floats (..., d)")
    if gain is not None and gain.shape != inputs.shape[-1:]:
        raise ValueError(
            f"got a gain of shape {tuple(gain.shape)}; inputs of {tuple(inputs.shape)} want ({inputs.shape[-1]},)"
        )
    precise = inputs.to(torch.promote_types(inputs.dtype, torch.float32))
    scaled = precise * torch.rsqrt(precise.square().mean(dim=-1, keepdim=True) + epsilon)
    return (scaled if gain is None else scaled * gain).to(inputs.dtype)


def transformer_block(
    inputs: torch.Tensor, weights: Mapping[str, torch.Tensor], num_heads: int, mask: torch.Tensor | None = None
) -> torch.Tensor:
    """Look around, then think: attention and a small MLP, each after a norm and added to what came in.

    Args:
        inputs: shape (..., time, embedding_dim).
        weights: `attention_gain` and `mlp_gain`, shape (embedding_dim,); `query`, `key`, `value`, `output`, as in
            `multi_head_attention`; `expand`, shape (hidden, embedding_dim); `contract`, (embedding_dim, hidden).
        num_heads: of the attention.
        mask: broadcasts to (..., heads, time, time).

    Returns:
        Shape (..., time, embedding_dim).

    Raises:
        ValueError: if a weight is missing, or a shape does not fit.
    """
    names = ("attention_gain", "query", "key", "value", "output", "mlp_gain", "expand", "contract")
    if missing := [name for name in names if name not in weights]:
        raise ValueError(f"the weights lack {', '.join(missing)}; expected {', '.join(names)}")
    normed = rms_norm(inputs, weights["attention_gain"])
    projections = (weights[name] for name in ("query", "key", "value", "output"))
    looked = inputs + multi_head_attention(normed, *projections, num_heads, mask)
    hidden = torch.relu(F.linear(rms_norm(looked, weights["mlp_gain"]), weights["expand"]))
    return looked + F.linear(hidden, weights["contract"])


#: Queries, keys, values and a mask (or None) -> what each query found; all (batch, heads, time, head_dim).
Attend = Callable[[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor | None], torch.Tensor]


def fused_attention(
    queries: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, mask: torch.Tensor | None = None
) -> torch.Tensor:
    """`scaled_dot_product_attention` by torch's fused function, which never writes the scores down."""
    if queries.device.type == "cpu" and queries.dtype == torch.bfloat16:  # its 16-bit slopes are slow to compute there
        with torch.autocast("cpu", enabled=False):
            return fused_attention(queries.float(), keys.float(), values.float(), mask).to(queries.dtype)
    return F.scaled_dot_product_attention(queries, keys, values, attn_mask=mask)


class MultiHeadAttention(torch.nn.Module):
    """Soft look-ups in several heads (Vaswani et al., 2017): of a sequence in itself, or in another one.

    Its parts can be exchanged: what is done to queries and keys before they meet, and how they meet.

    Attributes:
        query, key, value, output: linear layers.
        prepare: called with queries, keys (batch, heads, time, head_dim) and positions; gives new queries and keys.
            `Rope` is one; None does nothing.
        attend: called with queries, keys, values and mask.
    """

    def __init__(
        self,
        embedding_dim: int,
        num_heads: int,
        *,
        bias: bool = True,
        prepare: torch.nn.Module | None = None,
        attend: Attend = fused_attention,
    ) -> None:
        super().__init__()
        if num_heads < 1 or embedding_dim % num_heads:
            raise ValueError(f"got {num_heads} heads for {embedding_dim} channels; the heads must share them evenly")
        self.head_dim = embedding_dim // num_heads
        self.query, self.key, self.value, self.output = (
            torch.nn.Linear(embedding_dim, embedding_dim, bias=bias) for _ in range(4)
        )
        self.prepare, self.attend = prepare, attend

    def forward(
        self,
        inputs: torch.Tensor,
        memory: torch.Tensor | None = None,
        mask: torch.Tensor | None = None,
        positions: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Look up each input.

        Args:
            inputs: shape (batch, time, embedding_dim).
            memory: where to look, shape (batch, memory_time, embedding_dim); the inputs themselves by default.
            mask: broadcasts to (batch, heads, time, memory_time); boolean: True = may look; of floats: added.
            positions: of the inputs, for `prepare`; broadcasts to (batch, heads, time).

        Returns:
            Shape (batch, time, embedding_dim).
        """
        memory = inputs if memory is None else memory
        queries = split_heads(self.query(inputs), self.head_dim)  # (batch, heads, time, head_dim)
        keys = split_heads(self.key(memory), self.head_dim)  # (batch, heads, memory_time, head_dim)
        values = split_heads(self.value(memory), self.head_dim)
        if self.prepare is not None:
            queries, keys = self.prepare(queries, keys, positions)
        return self.output(merge_heads(self.attend(queries, keys, values, mask)))


class Rope(torch.nn.Module):
    """A part for `MultiHeadAttention`: turns queries and keys by their positions (Su et al., 2021)."""

    def __init__(self, head_dim: int, base: float = 10000.0) -> None:
        super().__init__()
        self.register_buffer("frequencies", rope_frequencies(head_dim, base), persistent=False)

    def forward(
        self, queries: torch.Tensor, keys: torch.Tensor, positions: torch.Tensor | None = None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        return tuple(apply_rope(heads, positions, self.frequencies) for heads in (queries, keys))


@contextmanager
def recorded_attention(model: torch.nn.Module) -> Iterator[dict[str, list[torch.Tensor]]]:
    """Within it, every `MultiHeadAttention` of a model writes its weights down.

    Args:
        model: any module that has some.

    Yields:
        Module name -> its weights, shape (batch, heads, queries, keys), one tensor for each time it was called.
    """
    found = {name: part for name, part in model.named_modules() if isinstance(part, MultiHeadAttention)}
    seen = {name: [] for name in found}
    attends = {name: part.attend for name, part in found.items()}

    def recorder(name: str) -> Attend:
        def attend(queries, keys, values, mask=None):
            weights = attention_weights(queries, keys, mask)
            seen[name].append(weights.detach())
            return weights @ values

        return attend

    try:
        for name, part in found.items():
            part.attend = recorder(name)
        yield seen
    finally:
        for name, part in found.items():
            part.attend = attends[name]


class RMSNorm(torch.nn.Module):
    """`rms_norm` with a gain that is learned (Zhang and Sennrich, 2019)."""

    def __init__(self, dim: int, epsilon: float = 1e-6) -> None:
        super().__init__()
        self.gain, self.epsilon = torch.nn.Parameter(torch.ones(dim)), epsilon

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        return F.rms_norm(inputs, self.gain.shape, self.gain, self.epsilon)


class FeedForward(torch.nn.Module):
    """An MLP with one hidden layer, applied to each position alone."""

    def __init__(
        self,
        embedding_dim: int,
        hidden_dim: int | None = None,
        activation: Callable[[torch.Tensor], torch.Tensor] = F.gelu,
        bias: bool = True,
    ) -> None:
        super().__init__()
        hidden_dim = 4 * embedding_dim if hidden_dim is None else hidden_dim
        self.expand = torch.nn.Linear(embedding_dim, hidden_dim, bias=bias)
        self.contract = torch.nn.Linear(hidden_dim, embedding_dim, bias=bias)
        self.activation = activation

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        return self.contract(self.activation(self.expand(inputs)))


class PreNorm(torch.nn.Module):
    """A part with a short cut around it, the norm inside: inputs + part(norm(inputs)) (Xiong et al., 2020)."""

    def __init__(self, part: torch.nn.Module, norm: torch.nn.Module, dropout: float = 0.0) -> None:
        super().__init__()
        self.part, self.norm, self.dropout = part, norm, torch.nn.Dropout(dropout)

    def forward(self, inputs: torch.Tensor, **given: torch.Tensor | None) -> torch.Tensor:
        return inputs + self.dropout(self.part(self.norm(inputs), **given))


class PostNorm(PreNorm):
    """The same with the norm after the sum, as in 2017: norm(inputs + part(inputs)) (Vaswani et al., 2017)."""

    def forward(self, inputs: torch.Tensor, **given: torch.Tensor | None) -> torch.Tensor:
        return self.norm(inputs + self.dropout(self.part(inputs, **given)))


class Block(torch.nn.Module):
    """A block of a Transformer, put together from parts: attention, a second attention if there is a memory, an MLP.

    Args:
        attention: called with inputs, mask and positions.
        mlp: called with inputs.
        norm: makes a norm; called once for each part.
        cross: called with inputs, memory and mask; None for a block that has no memory to look at.
        residual: `PreNorm` or `PostNorm`: how a part is bypassed.
        dropout: what share of each part's output is silenced in training.
    """

    def __init__(
        self,
        attention: torch.nn.Module,
        mlp: torch.nn.Module,
        norm: Callable[[], torch.nn.Module],
        *,
        cross: torch.nn.Module | None = None,
        residual: type[PreNorm] = PreNorm,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.attention = residual(attention, norm(), dropout)
        self.cross = None if cross is None else residual(cross, norm(), dropout)
        self.mlp = residual(mlp, norm(), dropout)

    def forward(
        self,
        inputs: torch.Tensor,
        mask: torch.Tensor | None = None,
        positions: torch.Tensor | None = None,
        memory: torch.Tensor | None = None,
        memory_mask: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Inputs (batch, time, embedding_dim) to outputs of the same shape; masks as in `MultiHeadAttention`."""
        looked = self.attention(inputs, mask=mask, positions=positions)
        if self.cross is not None:
            looked = self.cross(looked, memory=memory, mask=memory_mask)
        return self.mlp(looked)


class Transformer(torch.nn.Module):
    """The Transformer of 2017: an encoder that reads, a decoder that writes and looks back (Vaswani et al., 2017).

    But: `decode` computes all it has read anew at each call; chapter 09 keeps the keys and values.

    Args:
        embedding_dim: channels of a position.
        num_heads: of each attention.
        num_layers: blocks of the encoder, and as many of the decoder.
        hidden_dim: of the MLPs; four times the channels by default.
        dropout: of each part's output, in training.
        norm: makes a norm for so many channels.
        residual: `PreNorm`, or `PostNorm` as in 2017.
        source_size: symbols that can be read, PAD = 0 among them.
        target_size: symbols that can be written.
        max_length: longest sequence.
        seed: of the initial weights.
    """

    def __init__(
        self,
        *,
        embedding_dim: int = 128,
        num_heads: int = 4,
        num_layers: int = 2,
        hidden_dim: int | None = None,
        dropout: float = 0.0,
        norm: Callable[[int], torch.nn.Module] = torch.nn.LayerNorm,
        residual: type[PreNorm] = PreNorm,
        source_size: int = len(LETTERS),
        target_size: int = len(PHONEMES),
        max_length: int = 256,
        seed: int = 0,
    ) -> None:
        super().__init__()

        def block(cross: bool) -> Block:
            attention, look_back = (
                MultiHeadAttention(embedding_dim, num_heads) if wanted else None for wanted in (True, cross)
            )
            mlp = FeedForward(embedding_dim, hidden_dim, F.relu)
            return Block(
                attention, mlp, lambda: norm(embedding_dim), cross=look_back, residual=residual, dropout=dropout
            )

        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.source_embedding = torch.nn.Embedding(source_size, embedding_dim)
            self.target_embedding = torch.nn.Embedding(target_size, embedding_dim)
            self.encoder = torch.nn.ModuleList(block(cross=False) for _ in range(num_layers))
            self.decoder = torch.nn.ModuleList(block(cross=True) for _ in range(num_layers))
            last_norm = norm if residual is PreNorm else (lambda channels: torch.nn.Identity())
            self.encoder_norm, self.decoder_norm = last_norm(embedding_dim), last_norm(embedding_dim)
            self.output = torch.nn.Linear(embedding_dim, target_size)
            for embedding in (self.source_embedding, self.target_embedding):
                torch.nn.init.normal_(embedding.weight, std=embedding_dim**-0.5)
        places = torch.tensor(sinusoidal_positions(max_length, embedding_dim), dtype=torch.float32)
        self.register_buffer("places", places, persistent=False)

    @property
    def num_parameters(self) -> int:
        """How many numbers the model has learned."""
        return sum(parameter.numel() for parameter in self.parameters())

    def embed(self, ids: torch.Tensor, embedding: torch.nn.Embedding) -> torch.Tensor:
        """Embeddings of symbols plus those of their places: (batch, time) -> (batch, time, embedding_dim)."""
        if ids.ndim != 2 or ids.shape[1] > len(self.places):
            raise ValueError(
                f"got ids of shape {tuple(ids.shape)}; expected (batch, time) with at most {len(self.places)} places"
            )
        return embedding(ids) * math.sqrt(embedding.embedding_dim) + self.places[: ids.shape[1]]

    def encode(self, letters: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Read: (batch, letters) ids, PAD on the right, to memory (batch, letters, embedding_dim) and its mask."""
        visible = (letters != PAD)[:, None, None, :]  # (batch, 1, 1, letters)
        memory = self.embed(letters, self.source_embedding)
        for block in self.encoder:
            memory = block(memory, mask=visible)
        return self.encoder_norm(memory), visible

    def decode(
        self,
        phonemes: torch.Tensor,
        memory: tuple[torch.Tensor, torch.Tensor],
        state: torch.Tensor | None = None,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Go on writing.

        Args:
            phonemes: the ids that came since the last call, shape (batch, time).
            memory: what `encode` gave.
            state: what the last call gave, the ids before these; None at the beginning.

        Returns:
            Logits of the phoneme after each of these, shape (batch, time, target_size), and the new state.
        """
        state = phonemes if state is None else torch.cat([state, phonemes], dim=1)
        written, mask = self.embed(state, self.target_embedding), causal_mask(state.shape[1], device=state.device)
        for block in self.decoder:
            written = block(written, mask=mask, memory=memory[0], memory_mask=memory[1])
        new = written[:, state.shape[1] - phonemes.shape[1] :]
        return self.output(self.decoder_norm(new)), state

    def forward(self, letters: torch.Tensor, phonemes: torch.Tensor) -> torch.Tensor:
        """Logits of the phoneme after each of those given: (batch, time, target_size)."""
        return self.decode(phonemes, self.encode(letters))[0]


def online_softmax_attention(
    queries: torch.Tensor,
    keys: torch.Tensor,
    values: torch.Tensor,
    mask: torch.Tensor | None = None,
    *,
    block_size: int = 64,
    scale: float | None = None,
) -> torch.Tensor:
    """The same as `scaled_dot_product_attention`, reading the keys in blocks (Milakov and Gimelshein, 2018).

    It never holds more than `block_size` scores of a query, so memory grows with the length and not with its square.

    But: while slopes are recorded, torch keeps every block; FlashAttention (Dao et al., 2022) computes them again.

    Args:
        queries: shape (..., queries, head_dim).
        keys: shape (..., keys, head_dim).
        values: shape (..., keys, value_dim).
        mask: as there.
        block_size: how many keys to read at a time.
        scale: as there.

    Returns:
        Shape (..., queries, value_dim).

    Raises:
        ValueError: if a shape or a type does not fit, or `block_size` is below 1.
    """
    _check_values(keys, values)
    if block_size < 1:
        raise ValueError(f"got block_size {block_size}; read at least one key at a time")
    leading = _leading_shape(queries, keys, values)
    if mask is not None:  # a view of full size, so that it can be cut; nothing is copied
        scores_shape = torch.Size((*leading, queries.shape[-2], keys.shape[-2]))
        _check_mask(mask, scores_shape)
        mask = mask.expand(torch.broadcast_shapes(mask.shape, scores_shape))
        leading = mask.shape[:-2]
    precise = torch.promote_types(queries.dtype, torch.float32)  # sums of many 16-bit numbers stop growing
    largest = queries.new_full((*leading, queries.shape[-2], 1), -torch.inf, dtype=precise)
    total = torch.zeros_like(largest)
    output = largest.new_zeros((*leading, queries.shape[-2], values.shape[-1]))
    for start in range(0, keys.shape[-2], block_size):
        block = slice(start, start + block_size)
        scores = _scores(queries, keys[..., block, :], None if mask is None else mask[..., block], scale).to(precise)
        before, largest = largest, torch.maximum(largest, scores.detach().amax(dim=-1, keepdim=True))
        unit = largest.masked_fill(largest.isneginf(), 0.0)  # nothing seen yet: any unit will do
        shrink, powers = (before - unit).exp(), (scores - unit).exp()
        total = total * shrink + powers.sum(dim=-1, keepdim=True)
        output = output * shrink + powers @ values[..., block, :].to(precise)
    return (output / total.masked_fill(total == 0, 1.0)).to(queries.dtype)


def linear_attention(
    queries: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, *, block_size: int = 64
) -> torch.Tensor:
    """Causal attention whose cost grows with the length, not with its square (Katharopoulos et al., 2020).

    The similarity exp(q . k) of softmax attention becomes f(q) . f(k), with f(x) = elu(x) + 1 > 0. Then the sum over
    all earlier keys is one matrix, carried along: within a block of tokens we look at pairs, before it at the sum.

    Args:
        queries: shape (..., time, head_dim).
        keys: shape (..., time, head_dim).
        values: shape (..., time, value_dim).
        block_size: tokens that are compared pair by pair; it changes the speed, not the result.

    Returns:
        Shape (..., time, value_dim): for each token a weighted mean of the values up to it.

    Raises:
        ValueError: if the shapes do not fit, or block_size is not positive.
    """
    if queries.shape[-2:] != keys.shape[-2:] or keys.shape[-2] != values.shape[-2] or block_size < 1:
        raise ValueError(
            f"got queries {tuple(queries.shape)}, keys {tuple(keys.shape)}, values {tuple(values.shape)} and "
            f"block_size {block_size}; expected (..., time, head_dim) twice, (..., time, value_dim), and at least 1"
        )
    queries, keys = F.elu(queries) + 1, F.elu(keys) + 1
    values = torch.cat([values, torch.ones_like(values[..., :1])], dim=-1)  # the last column adds up the weights
    past, outputs = torch.zeros_like(keys[..., :0, :].mT @ values[..., :0, :]), []  # (..., head_dim, value_dim + 1)
    for q, k, v in zip(*(part.split(block_size, dim=-2) for part in (queries, keys, values)), strict=True):
        outputs.append((q @ k.mT).tril() @ v + q @ past)  # (..., block, value_dim + 1)
        past = past + k.mT @ v
    sums = torch.cat(outputs, dim=-2)
    return sums[..., :-1] / sums[..., -1:].clamp(min=torch.finfo(sums.dtype).tiny)  # a far negative query has f = 0


def long_convolution(inputs: torch.Tensor, filters: torch.Tensor) -> torch.Tensor:
    """Causal convolution with filters as long as the text, by the fast Fourier transform (as in Poli et al., 2023).

    output[t] = sum over s <= t of filters[t - s] * inputs[s], each channel by itself. A convolution is a product of
    spectra, and the transform takes time log(time) steps, not time squared.

    Args:
        inputs: shape (..., time, channels).
        filters: shape (filter_length, channels), or with leading dimensions that broadcast.

    Returns:
        Shape (..., time, channels).

    Raises:
        ValueError: if a shape has fewer than two dimensions, or the channels differ.
    """
    if inputs.ndim < 2 or filters.ndim < 2 or inputs.shape[-1] != filters.shape[-1]:
        raise ValueError(
            f"got inputs {tuple(inputs.shape)} and filters {tuple(filters.shape)}; expected (..., time, channels) and "
            "(filter_length, channels) with the same channels"
        )
    if inputs.numel() == 0 or filters.numel() == 0:
        return torch.zeros_like(inputs)
    time = inputs.shape[-2]
    size = time + filters.shape[-2]  # room for the overhang, which would wrap round to the start
    working = torch.promote_types(inputs.dtype, torch.float32)  # the transform knows no 16-bit floats
    spectra = [torch.fft.rfft(signal.to(working), n=size, dim=-2) for signal in (inputs, filters)]
    return torch.fft.irfft(spectra[0] * spectra[1], n=size, dim=-2)[..., :time, :].to(inputs.dtype)


def sequence_mixers(length: int, width: int = 128, num_heads: int = 4) -> dict[str, Callable]:
    """Six ways to mix a sequence at equal width, each from (1, length, 3 * width) to (1, length, width).

    The channels that come in are what the projections before it would give: queries, keys and values side by side. The
    convolution's filters are as long as the sequence, and the first two thirds are its gates, before and after, as in
    Hyena (Poli et al., 2023). The LSTM reads the last third.

    Args:
        length: of the sequence, in tokens.
        width: channels.
        num_heads: into which attention divides them.
    """
    filters = torch.nn.Parameter(torch.randn(length, width) / length**0.5)
    lstm = torch.nn.LSTM(width, width, batch_first=True)

    def in_heads(attend: Callable) -> Callable:
        def mix(inputs: torch.Tensor) -> torch.Tensor:
            return merge_heads(attend(*(split_heads(part, width // num_heads) for part in inputs.chunk(3, dim=-1))))

        return mix

    def convolution(inputs: torch.Tensor) -> torch.Tensor:
        after, before, values = inputs.chunk(3, dim=-1)
        return after * long_convolution(before * values, filters)

    return {
        "attention": in_heads(scaled_dot_product_attention),
        "online softmax": in_heads(online_softmax_attention),
        "fused attention": in_heads(fused_attention),
        "linear attention": in_heads(linear_attention),
        "long convolution": convolution,
        "LSTM": lambda inputs: lstm(inputs.chunk(3, dim=-1)[2])[0],
    }


def mixing_cost(
    name: str, length: int, *, backward: bool = False, repeats: int = 5, width: int = 128
) -> tuple[float, int]:
    """Seconds of one processor, the shortest of some times, and the most bytes held at once, to mix one sequence.

    Args:
        name: of a mixer in `sequence_mixers`.
        length: of the sequence, in tokens.
        backward: with the slopes, as in training, or without, as in use.
        repeats: how often to look at the clock.
        width: channels.
    """
    mixer = sequence_mixers(length, width)[name]
    inputs = torch.randn(1, length, 3 * width, requires_grad=backward)

    def work() -> None:
        with torch.set_grad_enabled(backward):
            outputs = mixer(inputs)
        if backward:
            outputs.sum().backward()
            inputs.grad = None

    num_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return meter.seconds(work, repeats, clock=time.process_time), meter.peak_bytes(work)
    finally:
        torch.set_num_threads(num_threads)


def growth_exponent(lengths: Sequence[float], costs: Sequence[float]) -> tuple[float, float]:
    """Slope of the straight line through log(cost) over log(length), by least squares, and its standard error.

    A cost that grows as length**p has slope p: 1 where twice the length costs twice as much, 2 where four times.

    Args:
        lengths: three different ones at least, above 0.
        costs: as many, above 0.

    Raises:
        ValueError: if there are fewer, or one is not above 0.
    """
    x, y = np.asarray(lengths, dtype=np.float64), np.asarray(costs, dtype=np.float64)
    if x.shape != y.shape or x.ndim != 1 or len(np.unique(x)) < 3 or not ((x > 0).all() and (y > 0).all()):
        raise ValueError(f"got lengths {x.tolist()} and costs {y.tolist()}; expected three or more of each, above 0")
    x, y = np.log(x) - np.log(x).mean(), np.log(y) - np.log(y).mean()
    slope = x @ y / (x @ x)
    return float(slope), float(np.sqrt(((y - slope * x) ** 2).sum() / (len(x) - 2) / (x @ x)))


UNKNOWN = "[unknown]"
MASK = "[mask]"


class MaskedWordModel(torch.nn.Module):
    """Reads a sentence both ways and says which word stands behind each mask (after Devlin et al., 2019).

    Args:
        vocabulary: words, the first three being "" for padding, `UNKNOWN` and `MASK`; `word_list` makes one.
        embedding_dim: channels of a word.
        num_heads: of each block's attention.
        num_layers: blocks.
        seed: of the initial weights.
    """

    def __init__(
        self,
        vocabulary: list[str],
        embedding_dim: int = 64,
        num_heads: int = 4,
        num_layers: int = 2,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.vocabulary, self.index = vocabulary, {word: row for row, word in enumerate(vocabulary)}
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.embedding = torch.nn.Embedding(len(vocabulary), embedding_dim)
            torch.nn.init.normal_(self.embedding.weight, std=embedding_dim**-0.5)
            self.blocks = torch.nn.ModuleList(
                Block(
                    MultiHeadAttention(embedding_dim, num_heads),
                    FeedForward(embedding_dim, 2 * embedding_dim),
                    lambda: RMSNorm(embedding_dim),
                )
                for _ in range(num_layers)
            )
            self.norm, self.bias = RMSNorm(embedding_dim), torch.nn.Parameter(torch.zeros(len(vocabulary)))
        places = torch.tensor(sinusoidal_positions(64, embedding_dim), dtype=torch.float32)
        self.register_buffer("places", places, persistent=False)

    def encode(self, sentences: list[list[str]]) -> torch.Tensor:
        """Word ids, shape (sentences, time), short sentences padded with 0 on the right; at most 64 words."""
        rows = [torch.tensor([self.index.get(word, 1) for word in sentence]) for sentence in sentences]
        return torch.nn.utils.rnn.pad_sequence(rows, batch_first=True)

    def layers(self, token_ids: torch.Tensor) -> list[torch.Tensor]:
        """What is known of each word before and after each block: tensors (batch, time, embedding_dim)."""
        scale = self.embedding.embedding_dim**0.5
        states = [self.embedding(token_ids) * scale + self.places[: token_ids.shape[1]]]
        visible = (token_ids != 0)[:, None, None, :]  # (batch, 1, 1, time)
        for block in self.blocks:
            states.append(block(states[-1], mask=visible))
        return states

    def forward(self, token_ids: torch.Tensor, where: torch.Tensor | None = None) -> torch.Tensor:
        """Logits at each place, or at those that are True: (batch, time, vocabulary) or (places, vocabulary)."""
        last = self.norm(self.layers(token_ids)[-1])
        return F.linear(last if where is None else last[where], self.embedding.weight, self.bias)


def word_list(sentences: list[list[str]], size: int, always: list[list[str]] = ()) -> list[str]:
    """The three special words, all words of some sentences, and the most frequent of the others up to a size."""
    needed = sorted({word for sentence in always for word in sentence})
    counts = Counter(word for sentence in sentences for word in sentence)
    others = [word for word, _ in counts.most_common() if word not in set(needed)]
    return ["", UNKNOWN, MASK, *needed, *others][:size]


def hide_words(token_ids: torch.Tensor, num_words: int, generator: torch.Generator, share: float = 0.15) -> tuple:
    """Choose words to guess; of ten, eight become masks, one another, one stays (Devlin et al., 2019).

    Args:
        token_ids: shape (batch, time); padding 0, unknown words 1 and masks 2 are not chosen.
        num_words: size of the vocabulary.
        generator: of the random numbers.
        share: of the words.

    Returns:
        The ids to read, and which of them to guess (Booleans), both (batch, time).
    """
    chance, fate = torch.rand(2, *token_ids.shape, generator=generator)
    chosen = (chance < share) & (token_ids > 2)
    others = torch.randint(3, num_words, token_ids.shape, generator=generator)
    hidden = torch.where(fate < 0.8, 2, torch.where(fate < 0.9, others, token_ids))
    return torch.where(chosen, hidden, token_ids), chosen


def train_masked_words(
    model: MaskedWordModel,
    texts: list[list[list[str]]],
    *,
    num_steps: int = 1200,
    batch_size: int = 96,
    learning_rate: float = 3e-3,
    share: float = 0.15,
    seed: int = 0,
    progress: bool = True,
) -> list[float]:
    """Train by guessing hidden words: AdamW, batches of similar length from each text in turn, slopes clipped.

    Args:
        model: trained in place.
        texts: several lists of sentences, however long each; they take turns, one batch each.
        num_steps: batches.
        batch_size: sentences.
        share: of the words that are to be guessed.
        learning_rate: the highest; it rises over a tenth of the steps and then falls to 0.
        seed: of batches and masks.
        progress: show a bar.

    Returns:
        Loss of each step, in nats per hidden word.
    """
    from tqdm.auto import trange

    generator = torch.Generator().manual_seed(seed)
    encoded = [model.encode(sorted(sentences, key=len)) for sentences in texts]
    optimiser = torch.optim.AdamW(
        model.parameters(), lr=learning_rate, betas=(0.9, 0.98), weight_decay=0.01, fused=True
    )
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, learning_rate, num_steps, pct_start=0.1)
    losses = []
    for step in trange(num_steps, disable=not progress, desc="masked words"):
        rows = encoded[step % len(encoded)]
        start = int(torch.randint(max(len(rows) - batch_size, 0) + 1, (), generator=generator))
        batch = rows[start : start + batch_size]
        batch = batch[:, : int((batch != 0).sum(dim=1).max())]
        inputs, chosen = hide_words(batch, len(model.vocabulary), generator, share)
        loss = F.cross_entropy(model(inputs, chosen), batch[chosen])
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        schedule.step()
        losses.append(loss.item())
    return losses


def head_statistics(weights: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """How widely a head looks, and how far: its entropy and its mean distance.

    Args:
        weights: self-attention weights, shape (..., time, time), each row summing to 1: for instance (layers, heads,
            time, time).

    Returns:
        Entropy in bits (0: at one token, log2(time): at all alike) and mean distance between query and key in tokens,
        both averaged over the queries: shape (...).

    Raises:
        ValueError: if the last two sizes differ or are 0.
    """
    if weights.ndim < 2 or weights.shape[-1] != weights.shape[-2] or weights.shape[-1] == 0:
        raise ValueError(f"got weights of shape {tuple(weights.shape)}; expected self-attention (..., time, time)")
    places = torch.arange(weights.shape[-1], dtype=weights.dtype, device=weights.device)
    distances = (places[:, None] - places).abs()  # (time, time)
    entropy = torch.special.entr(weights).sum(dim=-1) / math.log(2)  # (..., time)
    return entropy.mean(dim=-1), (weights * distances).sum(dim=-1).mean(dim=-1)


def sentence_attention(model: torch.nn.Module, token_ids: torch.Tensor) -> torch.Tensor:
    """The weights of all self-attentions of a model over some sentences: (batch, layers, heads, time, time)."""
    with recorded_attention(model) as seen, torch.inference_mode():
        model(token_ids)
    return torch.stack([calls[0] for calls in seen.values()], dim=1)


class AttentionLanguageModel(torch.nn.Module):
    """Blocks of causal attention over a sliding window, with turned positions, over any tokenizer.

    Each position of a block sees the last `context_length` of the block below, so that `reach` tokens have a say. No
    place has a number of its own: what a token costs depends on the tokens before it, not on where in a text it stands.

    But: it scores by reading windows anew; chapter 07 builds the model that people use, chapter 09 keeps the keys.

    Attributes:
        tokenizer: cuts a text into token ids.
        context_length: how many positions each position sees, itself included.
        reach: how many tokens back a token can be felt.
    """

    def __init__(
        self,
        tokenizer: AnyTokenizer,
        context_length: int = 64,
        embedding_dim: int = 128,
        num_heads: int = 4,
        num_layers: int = 2,
        seed: int = 0,
    ) -> None:
        super().__init__()
        if min(context_length, num_layers) < 1:
            raise ValueError(f"got context_length {context_length} and {num_layers} layers; each must be at least 1")
        self.tokenizer, self.context_length = tokenizer, context_length
        self.reach = num_layers * (context_length - 1) + 1
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.embedding = torch.nn.Embedding(tokenizer.vocabulary_size + 1, embedding_dim)  # the last: nothing yet
            self.blocks = torch.nn.ModuleList(
                Block(
                    MultiHeadAttention(embedding_dim, num_heads, bias=False, prepare=Rope(embedding_dim // num_heads)),
                    FeedForward(embedding_dim, bias=False),
                    lambda: RMSNorm(embedding_dim),
                )
                for _ in range(num_layers)
            )
            self.norm = RMSNorm(embedding_dim)
            self.output = torch.nn.Linear(embedding_dim, tokenizer.vocabulary_size)
            torch.nn.init.normal_(self.embedding.weight, std=0.5)
            torch.nn.init.normal_(self.output.weight, std=0.02)
            for block in self.blocks:
                for last in (block.attention.part.output, block.mlp.part.contract):
                    torch.nn.init.zeros_(last.weight)  # each block begins as a mere short cut

    @property
    def num_parameters(self) -> int:
        """How many numbers the model has learned."""
        return sum(parameter.numel() for parameter in self.parameters())

    def forward(self, token_ids: torch.Tensor) -> torch.Tensor:
        """Logits of the token after each of those given: (batch, time) -> (batch, time, vocabulary)."""
        mask = causal_mask(token_ids.shape[1], window=self.context_length, device=token_ids.device)
        hidden = self.embedding(token_ids)  # (batch, time, embedding_dim)
        for block in self.blocks:
            hidden = block(hidden, mask)
        return self.output(self.norm(hidden))

    def token_log_probs(self, text: str, context: str = "") -> np.ndarray:
        """Natural log of each token's probability given those before it: shape (tokens of the text,)."""
        before, tokens = self.tokenizer.encode(context), self.tokenizer.encode(text)
        seen = np.concatenate([[self.tokenizer.vocabulary_size], before, tokens]).astype(np.int64)
        found = [np.zeros(0)]
        for start in range(len(before), len(before) + len(tokens), 512):
            end = min(start + 512, len(before) + len(tokens))
            window = torch.tensor(seen[max(0, start + 1 - self.reach) : end])[None]
            with torch.inference_mode():
                logits = self(window)[0, start - end :]
            targets = torch.tensor(seen[start + 1 : end + 1])[:, None]
            found.append((logits.gather(1, targets)[:, 0] - logits.logsumexp(dim=1)).double().numpy())
        return np.concatenate(found)

    def next_token_log_probs(self, context: str = "") -> np.ndarray:
        """Natural log of each token's probability to come next: shape (vocabulary,)."""
        return self.next_after(self.tokenizer.encode(context))

    def next_after(self, token_ids: np.ndarray) -> np.ndarray:
        """The same, after token ids."""
        seen = np.concatenate([[self.tokenizer.vocabulary_size], token_ids[-self.reach :]]).astype(np.int64)
        with torch.inference_mode():
            logits = self(torch.tensor(seen[-self.reach :])[None])[0, -1]
        return logits.log_softmax(dim=0).double().numpy()

    def generate(self, num_tokens: int, context: str = "", *, temperature: float = 1.0, seed: int = 0) -> str:
        """Draw tokens one after the other; the same seed gives the same text."""
        rng, ids = np.random.default_rng(seed), list(self.tokenizer.encode(context))
        start = len(ids)
        for _ in range(num_tokens):
            recent = np.array(ids[-self.reach :], dtype=np.int64)
            ids.append(sample_with_temperature(self.next_after(recent), temperature, rng))
        return self.tokenizer.decode(ids[start:])


def train_attention_model(
    model: AttentionLanguageModel,
    token_ids: np.ndarray,
    num_steps: int,
    batch_size: int = 16,
    sequence_length: int = 128,
    learning_rate: float = 8e-3,
    weight_decay: float = 0.01,
    seed: int = 0,
    report: Callable[[int, float], None] | None = None,
) -> AttentionLanguageModel:
    """Train a model on the tokens of a text; every position of every sequence is a lesson.

    Args:
        model: what to train.
        token_ids: shape (tokens,).
        num_steps: how many batches.
        batch_size: sequences in a batch, cut from the text at random.
        sequence_length: their tokens.
        learning_rate: of AdamW, at its highest.
        weight_decay: of AdamW.
        seed: decides which sequences.
        report: receives the step and its loss in nats per token.

    Returns:
        The model, in double precision, ready to score.

    Raises:
        ValueError: if there are fewer than two tokens.
    """
    if len(token_ids) < 2:
        raise ValueError(f"got {len(token_ids)} tokens; there is nothing to learn from fewer than two")
    rng, vocabulary_size = np.random.default_rng(seed), model.tokenizer.vocabulary_size
    seen = np.concatenate([[vocabulary_size], token_ids]).astype(np.int64)
    length = min(sequence_length, len(token_ids))
    frequencies = np.bincount(token_ids, minlength=vocabulary_size) + 1.0
    model.float().train()
    with torch.no_grad():
        model.output.bias.copy_(torch.tensor(np.log(frequencies / frequencies.sum())))
    optimiser = torch.optim.AdamW(
        model.parameters(), lr=learning_rate, betas=(0.9, 0.98), weight_decay=weight_decay, fused=True
    )
    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda step: learning_rate_share(step, num_steps, 100))
    for step in range(num_steps):
        starts = rng.integers(0, len(seen) - length, size=batch_size)
        rows = torch.tensor(seen[starts[:, None] + np.arange(length + 1)])  # (batch, length + 1)
        inputs, targets = rows[:, :-1].clone(), rows[:, 1:]
        inputs[: max(1, batch_size // 16), 0] = vocabulary_size  # as at the beginning of a text
        with torch.autocast("cpu", torch.bfloat16, enabled=half_precision_pays()):
            logits = model(inputs)
        loss = F.cross_entropy(logits.float().flatten(0, 1), targets.flatten())
        optimisation_step(model, loss, optimiser, max_norm=1.0)
        schedule.step()
        if report is not None:
            report(step, loss.item())
    return model.double().eval()
