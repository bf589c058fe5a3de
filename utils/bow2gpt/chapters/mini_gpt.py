# Generated from chapters/07_mini_gpt.py by `bow2gpt build`: edit there.
"""Mini-GPT: what the chapter builds."""

import copy
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal
from weakref import WeakKeyDictionary

import numpy as np
import torch
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from bow2gpt import checkpoints
from bow2gpt.chapters.attention import (
    Block,
    FeedForward,
    MultiHeadAttention,
    RMSNorm,
    Rope,
    apply_rope,
    causal_mask,
    merge_heads,
    rms_norm,
    scaled_dot_product_attention,
    split_heads,
)
from bow2gpt.chapters.counting_models import sample_with_temperature
from bow2gpt.chapters.language_features import AnyTokenizer, ByteTokenizer, Tokenizer
from bow2gpt.fused import linear_cross_entropy
from bow2gpt.machine import half_precision_pays
from bow2gpt.repeating import kept, own_chance, same
from bow2gpt.run_folder import sharded
from bow2gpt.token_files import shuffled_batches
from bow2gpt.training import Settings, Trainer


def get_batch(
    token_ids: np.ndarray, batch_size: int, context_length: int, rng: np.random.Generator
) -> tuple[torch.Tensor, torch.Tensor]:
    """Cut windows out of a text at random places, and the same windows one token later.

    Args:
        token_ids: shape (tokens,), of any integer type; an array that is mapped into memory is not read as a whole.
        batch_size: how many windows.
        context_length: tokens of a window.
        rng: draws where they start; each of the tokens - context_length places is equally likely.

    Returns:
        Inputs and targets, int64, shape (batch, context_length) each; targets[:, t] is the token after inputs[:, t].

    Raises:
        ValueError: if the text is too short for a window and the token after it, or is no row of integers.
    """
    token_ids = token_ids if isinstance(token_ids, np.ndarray) else np.asarray(token_ids)
    if token_ids.ndim != 1 or token_ids.dtype.kind not in "iu":
        raise ValueError(f"got {token_ids.dtype} of shape {token_ids.shape}; expected integer token ids, (tokens,)")
    if batch_size < 1 or context_length < 1:
        raise ValueError(f"got batch_size {batch_size} and context_length {context_length}; each must be at least 1")
    if len(token_ids) <= context_length:
        raise ValueError(
            f"got a text of {len(token_ids)} tokens for windows of {context_length} and the token after them; take a "
            "longer text or a shorter context"
        )
    starts = rng.integers(0, len(token_ids) - context_length, size=batch_size)
    rows = token_ids[starts[:, None] + np.arange(context_length + 1)].astype(np.int64)  # (batch, context_length + 1)
    return torch.from_numpy(rows[:, :-1].copy()), torch.from_numpy(rows[:, 1:].copy())


_BLOCK = ("attention_gain", "query", "key", "value", "output", "mlp_gain", "expand", "contract")


def gpt_forward(token_ids: torch.Tensor, weights: Mapping[str, torch.Tensor], num_heads: int) -> torch.Tensor:
    """A decoder-only Transformer as one function: token ids in, logits of each next token out (Radford et al., 2018).

    Each block adds what attention finds and what an MLP makes of it; each reads the stream through `rms_norm`. Queries
    and keys are turned by their positions (RoPE; Su et al., 2021); the MLP bends with relu(x)^2 (So et al., 2021).

    Args:
        token_ids: shape (..., time).
        weights: `embedding`, shape (vocabulary, embedding_dim); for each block i from 0 on, `blocks.{i}.` and the names
            of `transformer_block`: attention_gain, query, key, value, output, mlp_gain, expand, contract; `final_gain`,
            shape (embedding_dim,); `head`, shape (vocabulary, embedding_dim): without it, the embedding serves twice.
        num_heads: of each attention.

    Returns:
        Logits, shape (..., time, vocabulary).

    Raises:
        ValueError: if a weight is missing, or the ids are none of the embedding's.
    """
    num_blocks = len({name.split(".")[1] for name in weights if name.startswith("blocks.")})
    expected = [f"blocks.{number}.{name}" for number in range(num_blocks) for name in _BLOCK]
    if missing := [name for name in ("embedding", *expected, "final_gain") if name not in weights]:
        raise ValueError(
            f"the weights lack {', '.join(missing)}; expected embedding, final_gain, and in a block {_BLOCK}"
        )
    embedding = weights["embedding"]
    _check_ids(token_ids, len(embedding), dims=1)
    head_dim, mask = embedding.shape[1] // num_heads, causal_mask(token_ids.shape[-1], device=token_ids.device)
    hidden = F.embedding(token_ids, embedding)  # (..., time, embedding_dim)
    for number in range(num_blocks):
        block = {name: weights[f"blocks.{number}.{name}"] for name in _BLOCK}
        normed = rms_norm(hidden, block["attention_gain"])
        queries, keys, values = (
            split_heads(F.linear(normed, block[name]), head_dim)  # (..., heads, time, head_dim)
            for name in ("query", "key", "value")
        )
        found = scaled_dot_product_attention(apply_rope(queries), apply_rope(keys), values, mask)
        hidden = hidden + F.linear(merge_heads(found), block["output"])
        expanded = F.linear(rms_norm(hidden, block["mlp_gain"]), block["expand"])
        hidden = hidden + F.linear(torch.relu(expanded).square(), block["contract"])
    return F.linear(rms_norm(hidden, weights["final_gain"]), weights.get("head", embedding))


def _check_ids(token_ids: torch.Tensor, vocabulary_size: int, dims: int = 2) -> None:
    if token_ids.is_floating_point() or token_ids.dtype == torch.bool or token_ids.ndim < dims:
        raise ValueError(
            f"got {token_ids.dtype} of shape {tuple(token_ids.shape)}; expected integer token ids, "
            + ("(batch, time)" if dims == 2 else "(..., time)")
        )
    looks = token_ids.device.type == "cpu" and not torch.compiler.is_compiling()  # elsewhere, to look is to wait
    if looks and token_ids.numel():
        lowest, highest = int(token_ids.min()), int(token_ids.max())
        if lowest < 0 or highest >= vocabulary_size:
            raise ValueError(
                f"got token ids from {lowest} to {highest} for a vocabulary of {vocabulary_size}: were they made by "
                "another tokenizer?"
            )


@dataclass(frozen=True)
class GPTConfig:
    """What a GPT is made of, and how it is trained unless told otherwise.

    Attributes:
        vocabulary_size: how many tokens there are.
        context_length: how many tokens the model is made to see at once.
        num_layers: blocks.
        num_heads: of each attention.
        embedding_dim: channels of the stream that runs through the blocks.
        positions: "rope" turns queries and keys; "learned" adds an embedding for each place, as GPT-2 does.
        norm: "rms" or "layer".
        mlp: "relu_squared", "swiglu" (Shazeer, 2020) or "gelu".
        hidden_dim: of the MLP; None for 4 times the channels, with "swiglu" 8/3 times, which has as many weights.
        qk_norm: whether queries and keys are normed before they meet (Henry et al., 2020).
        bias: whether linear layers and layer norms have one.
        tied: whether the embedding serves as the output layer, too (Press and Wolf, 2017).
        dropout: what share of the embeddings and of each part's output is silenced in training.
        bigrams: rows of a table with a vector for each pair of neighbouring tokens, shared by hashing; 0 for none.
        learning_rate: of the matrices, at its highest; the other parameters' rates hang on it.
        weight_decay: of the blocks' matrices: each step shrinks them by the learning rate times this.
        table_decay: the same for the tables, that is embeddings, bigrams and output layer.
        num_steps: of training; the rate falls to zero by then.

    Raises:
        ValueError: if the parts do not fit together.
    """

    vocabulary_size: int
    context_length: int = 256
    num_layers: int = 4
    num_heads: int = 4
    embedding_dim: int = 256
    positions: Literal["rope", "learned"] = "rope"
    norm: Literal["rms", "layer"] = "rms"
    mlp: Literal["relu_squared", "swiglu", "gelu"] = "relu_squared"
    hidden_dim: int | None = None
    qk_norm: bool = True
    bias: bool = False
    tied: bool = False
    dropout: float = 0.0
    bigrams: int = 0
    learning_rate: float = 0.02
    weight_decay: float = 0.0
    table_decay: float = 0.0
    num_steps: int = 1000

    def __post_init__(self) -> None:
        for name in ("vocabulary_size", "context_length", "num_layers", "num_heads", "embedding_dim", "num_steps"):
            if getattr(self, name) < 1:
                raise ValueError(f"got {name} {getattr(self, name)}; it must be at least 1")
        for name, table in {"positions": POSITIONS, "norm": NORMS, "mlp": MLPS}.items():
            if getattr(self, name) not in table:
                raise ValueError(f"got {name} {getattr(self, name)!r}; expected one of {', '.join(table)}")
        if self.embedding_dim % self.num_heads:
            raise ValueError(
                f"got {self.num_heads} heads for {self.embedding_dim} channels; the heads must share them evenly"
            )
        if self.positions == "rope" and self.head_dim % 2:
            raise ValueError(f"got heads of {self.head_dim} channels; RoPE turns them in pairs, so make them even")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"got dropout {self.dropout}; it is a share, from 0 to below 1")
        for name in ("bigrams", "learning_rate", "weight_decay", "table_decay"):
            if not getattr(self, name) >= 0:
                raise ValueError(f"got {name} {getattr(self, name)}; it must be 0 or more")
        if (
            self.hidden_dim is None
        ):  # of two thirds the usual width, rounded up to a multiple of eight, for three matrices
            width = -(-self.embedding_dim // 3) * 8 if self.mlp == "swiglu" else 4 * self.embedding_dim
            object.__setattr__(self, "hidden_dim", width)
        if self.hidden_dim < 1:
            raise ValueError(f"got hidden_dim {self.hidden_dim}; it must be at least 1")

    @property
    def head_dim(self) -> int:
        """Channels of a head."""
        return self.embedding_dim // self.num_heads

    @classmethod
    def of_depth(
        cls, depth: int, vocabulary_size: int, context_length: int = 256, tokens_per_step: int = 4096, **changes: Any
    ) -> "GPTConfig":
        """One dial for everything: `depth` blocks of 128 channels each, with two heads of 64 for each block.

        So many channels a block has GPT-3, too (Brown et al., 2020). The rate falls with the root of the depth. The
        steps are enough for 20 tokens a weight, which is the best use of a given number of operations (Hoffmann et al.,
        2022) if there is that much text.

        Args:
            depth: from 1.
            vocabulary_size: how many tokens there are.
            context_length: how many tokens the model is made to see at once.
            tokens_per_step: of a batch; it decides how many steps there are.
            **changes: any other field.

        Raises:
            ValueError: if the depth is below 1, or a change makes no sense.
        """
        if depth < 1:
            raise ValueError(f"got depth {depth}; a GPT has at least one block")
        dial = {"num_layers": depth, "num_heads": 2 * depth, "embedding_dim": 128 * depth}
        dial |= {"norm": "layer", "bigrams": 4 * vocabulary_size, "learning_rate": 0.03 / depth**0.5}
        config = cls(vocabulary_size, context_length, **dial | changes)
        steps = max(1, round(20 * num_weights(config) / tokens_per_step))
        return replace(config, **{"num_steps": steps} | changes)


NORMS = {
    "rms": lambda config: RMSNorm(config.embedding_dim),
    "layer": lambda config: torch.nn.LayerNorm(config.embedding_dim, bias=config.bias),
}
MLPS = {
    "relu_squared": lambda config: FeedForward(config.embedding_dim, config.hidden_dim, relu_squared, config.bias),
    "gelu": lambda config: FeedForward(
        config.embedding_dim, config.hidden_dim, partial(F.gelu, approximate="tanh"), config.bias
    ),
    "swiglu": lambda config: GatedFeedForward(config.embedding_dim, config.hidden_dim, config.bias),
}
POSITIONS = {  # what is added to the embeddings, and what is done to queries and keys
    "rope": (lambda config: None, lambda config: Rope(config.head_dim)),
    "learned": (lambda config: LearnedPositions(config.context_length, config.embedding_dim), lambda config: None),
}


def relu_squared(inputs: torch.Tensor) -> torch.Tensor:
    """relu(x)^2 (So et al., 2021)."""
    rectified = torch.relu(inputs)
    return rectified * rectified


class GatedFeedForward(FeedForward):
    """An MLP whose hidden layer is multiplied by another: SwiGLU (Shazeer, 2020)."""

    def __init__(self, embedding_dim: int, hidden_dim: int, bias: bool = True) -> None:
        super().__init__(embedding_dim, hidden_dim, F.silu, bias)
        self.gate = torch.nn.Linear(embedding_dim, hidden_dim, bias=bias)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        return self.contract(self.activation(self.gate(inputs)) * self.expand(inputs))


class LearnedPositions(torch.nn.Module):
    """A vector for each place: token ids (batch, time) -> (time, embedding_dim)."""

    def __init__(self, context_length: int, embedding_dim: int) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(context_length, embedding_dim))

    def forward(self, token_ids: torch.Tensor) -> torch.Tensor:
        if token_ids.shape[-1] > len(self.weight):
            raise ValueError(
                f"got {token_ids.shape[-1]} tokens for {len(self.weight)} learned places; give the last of them only"
            )
        return self.weight[: token_ids.shape[-1]]


class HashedBigrams(torch.nn.Module):
    """A vector for each token and the one before it: token ids (batch, time) -> (batch, time, embedding_dim).

    There are more pairs than rows; which pairs share one is a matter of chance (hashing, with the constants of the
    modded-nanogpt repository, 2026). The first token has none.
    """

    def __init__(self, num_rows: int, embedding_dim: int) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(num_rows, embedding_dim))

    def forward(self, token_ids: torch.Tensor) -> torch.Tensor:
        pairs = (token_ids[:, 1:] * 36313).bitwise_xor(token_ids[:, :-1] * 27191) % len(self.weight)
        return F.pad(F.embedding(pairs, self.weight), (0, 0, 1, 0))


class QueryKeyNorm(torch.nn.Module):
    """A part for `MultiHeadAttention`: norms queries and keys, so that no score grows without bound."""

    def __init__(self, head_dim: int, norm: type[torch.nn.Module] | partial = RMSNorm) -> None:
        super().__init__()
        self.query, self.key = norm(head_dim), norm(head_dim)

    def forward(
        self, queries: torch.Tensor, keys: torch.Tensor, positions: torch.Tensor | None = None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        kind = torch.promote_types(queries.dtype, next(self.parameters()).dtype)
        return self.query(queries.to(kind)), self.key(keys.to(kind))


class InTurn(torch.nn.ModuleList):
    """Parts for `MultiHeadAttention`, one after the other."""

    def forward(
        self, queries: torch.Tensor, keys: torch.Tensor, positions: torch.Tensor | None = None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        for part in self:
            queries, keys = part(queries, keys, positions)
        return queries, keys


def causal_attention(
    queries: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, mask: torch.Tensor | None = None
) -> torch.Tensor:
    """Attention to what is no later, by torch's fused function.

    The mask is there for others to read: as many queries as keys can only mean the causal one, which the function
    knows by name and then does not even read the half that it hides.
    """
    if queries.device.type == "cpu":  # there, 16-bit slopes of attention are slow to compute
        precise = torch.promote_types(queries.dtype, torch.float32)
        with torch.autocast("cpu", enabled=False):
            heads = (each.to(precise) for each in (queries, keys, values))
            found = F.scaled_dot_product_attention(*heads, **_which_mask(queries, keys, mask))
        return found.to(values.dtype)
    return F.scaled_dot_product_attention(queries, keys, values, **_which_mask(queries, keys, mask))


def _which_mask(queries: torch.Tensor, keys: torch.Tensor, mask: torch.Tensor | None) -> dict[str, Any]:
    return {"is_causal": True} if queries.shape[-2] == keys.shape[-2] else {"attn_mask": mask}


def make_block(config: GPTConfig) -> Block:
    """A block of a GPT, put together from chapter 06's parts."""
    norm = {"rms": RMSNorm, "layer": partial(torch.nn.LayerNorm, bias=False)}[config.norm]
    prepare = InTurn([QueryKeyNorm(config.head_dim, norm)] if config.qk_norm else [])
    turn = POSITIONS[config.positions][1](config)
    prepare.extend([] if turn is None else [turn])
    attention = MultiHeadAttention(
        config.embedding_dim, config.num_heads, bias=config.bias, prepare=prepare, attend=causal_attention
    )
    return Block(attention, MLPS[config.mlp](config), lambda: NORMS[config.norm](config), dropout=config.dropout)


_TWINS: WeakKeyDictionary = WeakKeyDictionary()  # model -> what its weights were, and a copy in double precision


class ReadsInWindows(torch.nn.Module):
    """Makes a language model out of a module that gives logits for a window of tokens.

    Token i of a text, what was read before it included, is scored in a window whose place depends on i alone: a block
    of half a context, with the half before it as its past. So each token sees at least half a context, and it costs the
    same however a text is cut. A text begins as if after a blank line, or after the tokenizer's "<|endoftext|>".

    Scores are computed in double precision, in a copy of the weights if these are in another one.
    """

    tokenizer: AnyTokenizer | None
    context_length: int

    def hidden_states(self, token_ids: torch.Tensor) -> torch.Tensor:
        """What the last norm is given: (batch, time) -> (batch, time, embedding_dim)."""
        raise NotImplementedError

    def logits(self, hidden: torch.Tensor) -> torch.Tensor:
        """Hidden states to logits: (batch, time, embedding_dim) -> (batch, time, vocabulary)."""
        raise NotImplementedError

    def forward(self, token_ids: torch.Tensor) -> torch.Tensor:
        """Logits of the token after each of those given: (batch, time) -> (batch, time, vocabulary)."""
        return self.logits(self.hidden_states(token_ids))

    @property
    def num_parameters(self) -> int:
        """How many numbers the model has learned."""
        return sum(parameter.numel() for parameter in self.parameters())

    @property
    def start_token(self) -> int:
        """What every text is thought to follow."""
        special = getattr(self._tokenizer(), "special_tokens", {})
        return int(special.get("<|endoftext|>", self._tokenizer().encode("\n\n")[-1]))

    def token_log_probs(self, text: str, context: str = "") -> np.ndarray:
        """Natural log of each token's probability given those before it: shape (tokens of the text,)."""
        before, tokens = self._tokenizer().encode(context), self._tokenizer().encode(text)
        seen = torch.tensor(np.concatenate([[self.start_token], before, tokens]).astype(np.int64))
        found, model = [np.zeros(0)], _in_double_precision(self)
        with torch.inference_mode():
            for places, windows in self._batches(len(before), len(seen) - 1):
                inputs = torch.stack([seen[start:end] for start, end in windows]).to(_device(model))
                scored = model.logits(model.hidden_states(inputs)[:, -len(places[0]) :])
                targets = torch.stack([seen[place.start + 1 : place.stop + 1] for place in places]).to(scored.device)
                log_probs = -F.cross_entropy(scored.flatten(0, 1), targets.flatten(), reduction="none")
                found.append(log_probs.cpu().numpy())
        return np.concatenate(found)

    def _window(self, place: int) -> tuple[int, int]:
        """First place of the block that a place is in, and of the window that the block is scored in."""
        half = max(1, self.context_length // 2)
        first = place // half * half
        return first, max(0, first + half - self.context_length)

    def _batches(self, first: int, last: int) -> Iterator[tuple[list[range], list[tuple[int, int]]]]:
        """Places from `first` to before `last`, block by block, and the window of each; alike ones together."""
        half, waiting = max(1, self.context_length // 2), []
        most = max(1, 2**22 // (half * self._tokenizer().vocabulary_size))
        while first < last:
            block, start = self._window(first)
            places = range(first, min(block + half, last))
            window = places, (start, places.stop)
            if waiting and not (len(waiting) < most and _alike(waiting[0], window)):
                yield [each[0] for each in waiting], [each[1] for each in waiting]
                waiting = []
            waiting.append(window)
            first = places.stop
        if waiting:
            yield [each[0] for each in waiting], [each[1] for each in waiting]

    def next_token_log_probs(self, context: str = "") -> np.ndarray:
        """Natural log of each token's probability to come next: shape (vocabulary,)."""
        return self.next_after(self._tokenizer().encode(context))

    def next_after(self, token_ids: np.ndarray) -> np.ndarray:
        """The same, after token ids."""
        seen = np.concatenate([[self.start_token], np.asarray(token_ids)]).astype(np.int64)
        model, (_, start) = _in_double_precision(self), self._window(len(token_ids))
        with torch.inference_mode():
            hidden = model.hidden_states(torch.from_numpy(seen[start:])[None].to(_device(model)))
            return model.logits(hidden[:, -1:])[0, 0].log_softmax(dim=0).cpu().numpy()

    def stream(self, num_tokens: int, context: str = "", **options: Any) -> Iterator[str]:
        """Write: yields text as soon as there is some; a character of several tokens comes when it is whole.

        Args:
            num_tokens: how many to write.
            context: what to go on from.
            **options: of `generate`: temperature, top_k, top_p, min_p and seed.
        """
        tokenizer, written, shown = self._tokenizer(), [], ""
        ids = torch.tensor(np.asarray(tokenizer.encode(context), dtype=np.int64))
        for token in generate(lambda seen: self.next_after(seen.numpy()), ids, num_tokens, **options):
            written.append(token)
            text = tokenizer.decode(written)
            if len(written) == num_tokens or not text.endswith("\ufffd"):
                yield text[len(shown) :]
                shown = text

    def generate(
        self, num_tokens: int, context: str = "", *, temperature: float = 1.0, seed: int = 0, **filters: Any
    ) -> str:
        """What `stream` yields, in one piece; the same seed gives the same text."""
        return "".join(self.stream(num_tokens, context, temperature=temperature, seed=seed, **filters))

    def _tokenizer(self) -> AnyTokenizer:
        if self.tokenizer is None:
            raise ValueError("this model has no tokenizer, so it knows no text: give it one, model.tokenizer = ...")
        return self.tokenizer


def _alike(first: tuple[range, tuple[int, int]], second: tuple[range, tuple[int, int]]) -> bool:
    """Whether two windows have the same length and score as many places."""
    lengths = [(len(places), end - start) for places, (start, end) in (first, second)]
    return lengths[0] == lengths[1]


def _device(model: torch.nn.Module) -> torch.device:
    return next(model.parameters()).device


def _in_double_precision(model: torch.nn.Module) -> torch.nn.Module:
    """The model itself if it computes in double precision and drops nothing out; else a copy that does."""
    parameters = list(model.parameters())
    if not model.training and all(parameter.dtype == torch.float64 for parameter in parameters):
        return model
    state = tuple((each.data_ptr(), 0 if each.is_inference() else each._version) for each in parameters)
    known, twin = _TWINS.get(model, (None, None))
    if known != state:
        twin = copy.deepcopy(model, {id(model.tokenizer): model.tokenizer}).eval()
        twin = (twin.cpu() if _device(model).type == "mps" else twin).double()  # Apple's cards have none
        _TWINS[model] = state, twin
    return twin


class GPT(ReadsInWindows):
    """A decoder-only Transformer (Radford et al., 2018, 2019), assembled from parts that its configuration names.

    But: it computes everything it has read anew for each token it writes; chapter 09 keeps the keys and values.

    Attributes:
        config: what it is made of.
        tokenizer: cuts a text into token ids; None for a model that is only called with ids.
        embedding, added, blocks, norm, output: its parts, in the order in which a token meets them.
    """

    def __init__(self, config: GPTConfig, tokenizer: AnyTokenizer | None = None, seed: int = 0) -> None:
        super().__init__()
        if tokenizer is not None and tokenizer.vocabulary_size > config.vocabulary_size:
            raise ValueError(
                f"got a tokenizer of {tokenizer.vocabulary_size} tokens for a vocabulary of {config.vocabulary_size}"
            )
        self.config, self.tokenizer, self.context_length = config, tokenizer, config.context_length
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.embedding = torch.nn.Embedding(config.vocabulary_size, config.embedding_dim)
            self.added = torch.nn.ModuleDict()
            if (places := POSITIONS[config.positions][0](config)) is not None:
                self.added["positions"] = places
            if config.bigrams:
                self.added["bigrams"] = HashedBigrams(config.bigrams, config.embedding_dim)
            self.dropout = torch.nn.Dropout(config.dropout)
            self.blocks = torch.nn.ModuleList(make_block(config) for _ in range(config.num_layers))
            self.norm = NORMS[config.norm](config)
            self.output = torch.nn.Linear(config.embedding_dim, config.vocabulary_size, bias=False)
            self._initialise()
        self.call = _call

    def _initialise(self) -> None:
        """Each block begins as a mere short cut, and all tokens as equally likely, or nearly so with a tied head."""
        torch.nn.init.normal_(self.embedding.weight, std=0.02 if self.config.tied else 0.1)
        torch.nn.init.zeros_(self.output.weight)
        for name, parameter in self.blocks.named_parameters():
            if name.endswith(("attention.part.output.weight", "contract.weight", "bias")) and "norm" not in name:
                torch.nn.init.zeros_(parameter)
        if self.config.tied:
            self.output.weight = self.embedding.weight

    @classmethod
    def of_depth(
        cls,
        depth: int,
        vocabulary_size: int,
        context_length: int = 256,
        tokenizer: AnyTokenizer | None = None,
        seed: int = 0,
        **changes: Any,
    ) -> "GPT":
        """A GPT of `GPTConfig.of_depth`."""
        return cls(GPTConfig.of_depth(depth, vocabulary_size, context_length, **changes), tokenizer, seed)

    def hidden_states(self, token_ids: torch.Tensor) -> torch.Tensor:
        """What the last norm is given: (batch, time) -> (batch, time, embedding_dim)."""
        _check_ids(token_ids, self.config.vocabulary_size)
        hidden = self.embedding(token_ids)
        for part in self.added.values():
            hidden = hidden + part(token_ids)
        hidden = self.dropout(hidden)
        mask = causal_mask(token_ids.shape[1], device=token_ids.device)
        for block in self.blocks:
            hidden = self.call(block, hidden, mask)
        return hidden

    def logits(self, hidden: torch.Tensor) -> torch.Tensor:
        """Hidden states to logits: (batch, time, embedding_dim) -> (batch, time, vocabulary)."""
        return self.output(self.norm(hidden))

    def forward(self, token_ids: torch.Tensor, targets: torch.Tensor | None = None) -> torch.Tensor:
        """Logits, or, if targets (batch, time) are given, their mean cross entropy in nats, for which none are kept."""
        hidden = self.hidden_states(token_ids)
        if targets is None:
            return self.logits(hidden)
        return linear_cross_entropy(self.norm(hidden).flatten(0, 1), self.output.weight, targets.flatten())

    def checkpoint_activations(self) -> None:
        """From now on, keep only what goes into each block, and compute it again for the slopes (Chen et al., 2016)."""
        self.call = partial(checkpoint, use_reentrant=False)

    def make_optimisers(self) -> list[torch.optim.Optimizer]:
        """Muon for the blocks' matrices; AdamW for the tables and for vectors."""
        rate, decay = self.config.learning_rate, {"weight_decay": self.config.table_decay}
        matrices, vectors = [], []
        for parameter in (*self.blocks.parameters(), *self.norm.parameters()):
            (matrices if parameter.ndim == 2 else vectors).append(parameter)
        head = [] if self.config.tied else [self.output.weight]
        groups = [
            {"params": [self.embedding.weight], "lr": rate} | decay,
            {"params": list(self.added.parameters()), "lr": 0.5 * rate} | decay,
            {"params": head, "lr": 0.3 * rate} | decay,
            {"params": vectors, "lr": 0.5 * rate, "weight_decay": 0.0},
        ]
        fused = _device(self).type in ("cpu", "cuda")
        groups = [each for each in groups if each["params"]]
        adamw = torch.optim.AdamW(groups, betas=(0.8, 0.95), eps=1e-10, fused=fused)
        return [adamw, Muon(matrices, rate, momentum=0.9, weight_decay=self.config.weight_decay)]

    @staticmethod
    def loss(network: torch.nn.Module, inputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Mean cross entropy in nats, of this model or of a wrapper around it."""
        return network(inputs, targets)

    @staticmethod
    def schedule(progress: float) -> float:
        """Share of the highest rates when so much of the training is done, 0 to 1: up, level, and straight down."""
        return min(1.0, progress / 0.02 + 0.01, (1 - progress) / 0.6)

    def save(self, folder: str | Path, dtype: torch.dtype = torch.bfloat16) -> None:
        """Write model.safetensors, config.json and, if the tokenizer can be saved, tokenizer.json into a folder.

        Args:
            folder: made if it is not there.
            dtype: of the weights in the file; two bytes each do for reading, four to go on training.
        """
        skipped = {"output.weight"} if self.config.tied else set()
        tensors = {name: each.to(dtype) for name, each in self.state_dict().items() if name not in skipped}
        checkpoints.write_model(folder, tensors, asdict(self.config), self.tokenizer)

    @classmethod
    def load(cls, folder: str | Path, tokenizer: AnyTokenizer | None = None) -> "GPT":
        """Read what `save` wrote; the weights come as 32-bit numbers.

        Args:
            folder: where.
            tokenizer: the one to use if the folder holds none.

        Raises:
            ValueError: if something is missing or does not fit.
        """
        tensors, fields = checkpoints.read_model(folder)
        kind = fields.pop("tokenizer", None)
        if tokenizer is None and kind == "ByteTokenizer":
            tokenizer = ByteTokenizer()
        elif tokenizer is None and kind == "Tokenizer":
            tokenizer = Tokenizer.load(Path(folder) / "tokenizer.json")
        model = cls(GPTConfig(**fields), tokenizer)
        if model.config.tied and "embedding.weight" in tensors:
            tensors["output.weight"] = tensors["embedding.weight"]
        checkpoints.fill(model, tensors, folder)
        return model.eval()

    @classmethod
    def from_pretrained(cls, path: str | Path, tokenizer: AnyTokenizer | None = None) -> "GPT":
        """Read GPT-2's own weights (Radford et al., 2019) as they were published, in the safetensors format.

        Args:
            path: a file, or a folder with model.safetensors; see `checkpoints.read_gpt2`.
            tokenizer: GPT-2's.

        Raises:
            ValueError: if the file is missing or holds another model.
        """
        sizes, tensors = checkpoints.read_gpt2(path)
        model = cls(gpt2_config(**sizes), tokenizer)
        checkpoints.fill(model, tensors, path)
        return model.eval()


def _call(block: torch.nn.Module, *given: torch.Tensor) -> torch.Tensor:
    return block(*given)


def gpt2_config(
    vocabulary_size: int = 50257,
    context_length: int = 1024,
    num_layers: int = 12,
    num_heads: int = 12,
    embedding_dim: int = 768,
    **changes: Any,
) -> GPTConfig:
    """GPT-2 (Radford et al., 2019), its smallest size by default."""
    sizes = vocabulary_size, context_length, num_layers, num_heads, embedding_dim
    parts = {"positions": "learned", "norm": "layer", "mlp": "gelu", "qk_norm": False, "bias": True, "tied": True}
    return GPTConfig(*sizes, **parts | changes)


def num_weights(config: GPTConfig) -> int:
    """Weights that a token is multiplied with: matrices of the blocks and the output layer.

    Kaplan et al. (2020) leave the output layer out, which matters little in large models.
    """
    channels, matrices = config.embedding_dim, 3 if config.mlp == "swiglu" else 2
    block = 4 * channels**2 + matrices * channels * config.hidden_dim
    return config.num_layers * block + config.vocabulary_size * channels


def count_parameters(config: GPTConfig) -> int:
    """How many numbers a GPT learns, by arithmetic: those of `GPT(config)`, without making one.

    Args:
        config: of the model.
    """
    channels, hidden = config.embedding_dim, config.hidden_dim
    norm = channels * (2 if config.norm == "layer" and config.bias else 1)
    expansions = 2 if config.mlp == "swiglu" else 1
    biases = (4 * channels + expansions * hidden + channels) if config.bias else 0
    block = 4 * channels**2 + (expansions + 1) * channels * hidden + biases + 2 * norm
    block += 2 * config.head_dim if config.qk_norm else 0
    tables = config.vocabulary_size * (1 if config.tied else 2) + config.bigrams
    tables += config.context_length if config.positions == "learned" else 0
    return tables * channels + config.num_layers * block + norm


def top_k_filter(logits: torch.Tensor, k: int) -> torch.Tensor:
    """Leave the k most probable tokens, and minus infinity for the others (Fan et al., 2018).

    Args:
        logits: shape (..., vocabulary).
        k: at least 1; of equals, the one with the lower id is taken first.

    Returns:
        New logits of the same shape.

    Raises:
        ValueError: if k is below 1, or the logits are no distribution.
    """
    logits = _checked_logits(logits)
    if k < 1:
        raise ValueError(f"got k = {k}; at least one token must be left")
    order = logits.argsort(dim=-1, descending=True, stable=True)
    return logits.masked_fill(torch.ones_like(logits, dtype=torch.bool).scatter(-1, order[..., :k], False), -torch.inf)


def top_p_filter(logits: torch.Tensor, p: float) -> torch.Tensor:
    """Leave the fewest tokens whose probabilities reach p together: nucleus sampling (Holtzman et al., 2020).

    Args:
        logits: shape (..., vocabulary).
        p: 0 to 1; one token is always left, and 1 leaves all. Equals are taken in the order of their ids.

    Returns:
        New logits of the same shape: those left as they were, minus infinity for the others.

    Raises:
        ValueError: if p lies outside 0 to 1, or the logits are no distribution.
    """
    logits = _checked_logits(logits)
    if not 0 <= p <= 1:
        raise ValueError(f"got p = {p}; it is a probability, 0 to 1")
    if p == 1:
        return logits.clone()
    order = logits.argsort(dim=-1, descending=True, stable=True)
    reached = logits.double().softmax(dim=-1).gather(-1, order).cumsum(dim=-1)
    enough = reached[..., :-1] >= p - 4 * torch.finfo(logits.dtype).eps  # 0.7 of a sum of rounded numbers is 0.7
    first = torch.zeros_like(enough[..., :1]) if enough.shape[-1] else enough.new_zeros((*logits.shape[:-1], 1))
    return logits.masked_fill(
        torch.zeros_like(logits, dtype=torch.bool).scatter(-1, order, torch.cat([first, enough], -1)), -torch.inf
    )


def min_p_filter(logits: torch.Tensor, p: float) -> torch.Tensor:
    """Leave the tokens at least p times as probable as the most probable one (Nguyen et al., 2025).

    Args:
        logits: shape (..., vocabulary).
        p: 0 leaves all, 1 the most probable token and its equals.

    Returns:
        New logits of the same shape.

    Raises:
        ValueError: if p lies outside 0 to 1, or the logits are no distribution.
    """
    logits = _checked_logits(logits)
    if not 0 <= p <= 1:
        raise ValueError(f"got p = {p}; it is a share of the highest probability, 0 to 1")
    if p == 0:
        return logits.clone()
    behind = logits.double() - logits.double().amax(dim=-1, keepdim=True)
    return logits.masked_fill(behind < math.log(p) - 4 * torch.finfo(logits.dtype).eps, -torch.inf)


def _checked_logits(logits: torch.Tensor) -> torch.Tensor:
    logits = logits if logits.is_floating_point() else logits.float()
    if logits.ndim < 1 or logits.shape[-1] == 0:
        raise ValueError(
            f"got logits of shape {tuple(logits.shape)}; expected (..., vocabulary), with a token at least"
        )
    if logits.isnan().any() or (logits == torch.inf).any() or logits.isneginf().all(dim=-1).any():
        raise ValueError("got logits that are NaN, infinite, or all minus infinity; they name no distribution")
    return logits


def generate(
    next_logits: Callable[[Any], torch.Tensor],
    token_ids: torch.Tensor | list[int],
    num_tokens: int,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float = 1.0,
    min_p: float = 0.0,
    seed: int = 0,
) -> Iterator[int]:
    """Write token by token; each is there as soon as it is drawn.

    The logits are divided by the temperature, then `top_k`, `top_p` and `min_p` follow in this order.

    Args:
        next_logits: from the token ids so far, a tensor of shape (time,), to logits of the next one, (vocabulary,).
        token_ids: what to go on from, shape (time,); left as they are. If it is a list, `next_logits` gets lists.
        num_tokens: how many to write.
        temperature: 0 always takes the most probable token, the first of equals.
        top_k: None for no bound.
        top_p: 1 for no bound.
        min_p: 0 for no bound.
        seed: the same seed gives the same tokens, if `next_logits` gives the same logits.

    Yields:
        Token ids.

    Raises:
        ValueError: if an option makes no sense.
    """
    if num_tokens < 0 or not temperature >= 0:
        raise ValueError(f"got num_tokens {num_tokens} and temperature {temperature}; each must be 0 or more")
    if (top_k is not None and top_k < 1) or not 0 <= top_p <= 1 or not 0 <= min_p <= 1:
        raise ValueError(
            f"got top_k {top_k}, top_p {top_p}, min_p {min_p}; expected at least 1, and shares from 0 to 1"
        )
    return _generate(next_logits, token_ids, num_tokens, temperature, top_k, top_p, min_p, seed)


def _generate(next_logits, token_ids, num_tokens, temperature, top_k, top_p, min_p, seed) -> Iterator[int]:
    rng, seen = np.random.default_rng(seed), torch.as_tensor(token_ids).long().clone()
    for _ in range(num_tokens):
        given = seen.tolist() if isinstance(token_ids, list) else seen
        logits = torch.as_tensor(next_logits(given)).detach().double().cpu()
        if temperature > 0:
            logits = (logits - logits.max()) / temperature
            logits = logits if top_k is None else top_k_filter(logits, top_k)
            logits = logits if top_p == 1 else top_p_filter(logits, top_p)
            logits = logits if min_p == 0 else min_p_filter(logits, min_p)
        token = sample_with_temperature(logits.numpy(), float(temperature > 0), rng)
        seen = torch.cat([seen, seen.new_tensor([token])])
        yield token


def lr_schedule(step: float, num_steps: int, warmup_steps: int, floor: float = 0.0) -> float:
    """What share of the highest learning rate to use: up in a line, then down along a cosine.

    In the warm-up, step s (from 0) has (s + 1) / warmup_steps. The way down is half a cosine (Loshchilov and Hutter,
    2017): from 1 when the warm-up ends, step = warmup_steps, to `floor` when the training does, step = num_steps.
    (GPT-3 reaches its floor somewhat earlier; Brown et al., 2020.)

    Args:
        step: steps done; after the last one, the share stays `floor`.
        num_steps: of the training.
        warmup_steps: how many of them belong to the warm-up; 0 for none.
        floor: the last share.

    Raises:
        ValueError: if a number lies outside its range.
    """
    if num_steps < 1 or not 0 <= warmup_steps <= num_steps:
        raise ValueError(
            f"got {warmup_steps} warm-up steps of {num_steps}; expected at least one step, and a warm-up within them"
        )
    if not step >= 0:
        raise ValueError(f"got step {step}; steps are counted from 0")
    if not 0 <= floor <= 1:
        raise ValueError(f"got floor {floor}; it is a share of the highest rate, 0 to 1")
    if step < warmup_steps:
        return min(1.0, (step + 1) / warmup_steps)
    done = (step - warmup_steps) / max(1, num_steps - warmup_steps) if step < num_steps else 1.0
    return floor + (1 - floor) * (1 + math.cos(math.pi * done)) / 2


def newton_schulz(matrix: torch.Tensor, num_steps: int = 5) -> torch.Tensor:
    """Make all singular values of a matrix about 1 and keep its directions, by products of matrices alone.

    Each step maps a singular value s to 3.4445 s - 4.7750 s^3 + 2.0315 s^5, which lifts small ones fast and keeps large
    ones near 1, between about 0.7 and 1.2 (Jordan et al., 2024).

    Args:
        matrix: shape (..., rows, columns), of floats; each matrix of a stack on its own.
        num_steps: how often.

    Returns:
        Same shape and type. A matrix of zeros stays one.

    Raises:
        ValueError: if it is no matrix of floats.
    """
    if matrix.ndim < 2 or not matrix.is_floating_point() or num_steps < 0:
        raise ValueError(
            f"got {matrix.dtype} of shape {tuple(matrix.shape)} and {num_steps} steps; expected floats, "
            "(..., rows, columns)"
        )
    tall = matrix.shape[-2] > matrix.shape[-1]
    result = matrix.mT if tall else matrix
    result = result / (result.norm(dim=(-2, -1), keepdim=True) + 1e-7)  # no singular value is above 1
    for _ in range(num_steps):
        gram = result @ result.mT
        result = 3.4445 * result + (2.0315 * gram @ gram - 4.7750 * gram) @ result
    return result.mT if tall else result


def muon_step(
    parameter: torch.Tensor,
    gradient: torch.Tensor,
    state: dict[str, Any],
    learning_rate: float = 0.02,
    momentum: float = 0.95,
) -> torch.Tensor:
    """Move a matrix equally far in all directions that its gradients point to (Muon; Jordan et al., 2024).

    Args:
        parameter: shape (rows, columns).
        gradient: same shape.
        state: what the method remembers, empty before the first step: `momentum`, the running mean of gradients.
        learning_rate: how far; the same does for matrices of all sizes, as the step is scaled by the root of
            rows / columns where that is above 1.
        momentum: share of the running mean that stays, as in Nesterov's method.

    Returns:
        The new parameter; the arguments stay as they are, but for the state.

    Raises:
        ValueError: if a shape does not fit, or the momentum is not from 0 to below 1.
    """
    if parameter.ndim != 2 or parameter.shape != gradient.shape:
        raise ValueError(
            f"got a parameter of shape {tuple(parameter.shape)} and a gradient of {tuple(gradient.shape)}; expected "
            "(rows, columns) for both: use AdamW for what is no matrix"
        )
    if not 0 <= momentum < 1:
        raise ValueError(f"got momentum {momentum}; expected 0 to below 1")
    mean = state.get("momentum", torch.zeros_like(gradient)).lerp(gradient, 1 - momentum)
    state["momentum"] = mean
    update = newton_schulz(gradient.lerp(mean, momentum))  # Nesterov: the mean as the next step will see it
    return parameter - learning_rate * max(1.0, parameter.shape[0] / parameter.shape[1]) ** 0.5 * update


class Muon(torch.optim.Optimizer):
    """`muon_step` for many matrices; those of equal shape go together, in 16 bits where that is fast."""

    def __init__(
        self, params: Iterable[torch.nn.Parameter], lr: float = 0.02, momentum: float = 0.95, weight_decay: float = 0.0
    ) -> None:
        """Take matrices only.

        Args:
            params: parameters of shape (rows, columns).
            lr: as in `muon_step`.
            momentum: as there.
            weight_decay: each step first shrinks a matrix by lr times this.

        Raises:
            ValueError: if a parameter is no matrix.
        """
        if not lr >= 0 or not 0 <= momentum < 1 or not weight_decay >= 0:
            raise ValueError(
                f"got lr {lr}, momentum {momentum}, weight_decay {weight_decay}; expected 0 or more, momentum < 1"
            )
        super().__init__(params, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})
        for group in self.param_groups:
            if wrong := [tuple(each.shape) for each in group["params"] if each.ndim != 2]:
                raise ValueError(f"got a parameter of shape {wrong[0]}; Muon moves matrices: give the others to AdamW")

    @torch.no_grad()
    def step(self, closure: Callable[[], torch.Tensor] | None = None) -> torch.Tensor | None:
        """Move all matrices that have a gradient."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            alike: dict[tuple, list[torch.nn.Parameter]] = {}
            for parameter in group["params"]:
                if parameter.grad is not None:
                    alike.setdefault((parameter.shape, parameter.dtype, parameter.device), []).append(parameter)
            for (shape, *_), parameters in alike.items():
                pushes = [self._push(parameter, group["momentum"]) for parameter in parameters]
                size = group["lr"] * max(1.0, shape[0] / shape[1]) ** 0.5
                for parameter, update in zip(parameters, _orthogonal(torch.stack(pushes)), strict=True):
                    parameter.mul_(1 - group["lr"] * group["weight_decay"])
                    parameter.add_(sharded(update.to(parameter.dtype), parameter), alpha=-size)
        return loss

    def _push(self, parameter: torch.nn.Parameter, momentum: float) -> torch.Tensor:
        """The gradient, mixed with its running mean; whole, if the parameter is sharded."""
        mean = self.state[parameter].setdefault("momentum", torch.zeros_like(parameter))
        mean.lerp_(parameter.grad, 1 - momentum)
        push = parameter.grad.lerp(mean, momentum)
        return push.full_tensor() if hasattr(push, "full_tensor") else push


def _orthogonal(stack: torch.Tensor) -> torch.Tensor:
    """`newton_schulz` in 16 bits where products are faster so; the answer need not be exact."""
    device = stack.device.type
    halves = device == "cuda" or (device == "cpu" and stack.dtype == torch.float32 and half_precision_pays())
    return newton_schulz(stack.bfloat16() if halves else stack)


#: A target that is not scored, as torch's cross entropy has it.
IGNORED = -100


def mean_cross_entropy(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Mean over all targets but ignored ones, in nats: logits (batch, time, vocabulary), targets (batch, time)."""
    return F.cross_entropy(logits.flatten(0, -2), targets.flatten(), ignore_index=IGNORED)


def accumulate_gradients(
    model: torch.nn.Module,
    inputs: torch.Tensor,
    targets: torch.Tensor,
    num_parts: int,
    loss_function: Callable[[torch.Tensor, torch.Tensor], torch.Tensor] = mean_cross_entropy,
) -> float:
    """The gradient of a large batch, added up from small parts of it: less memory, as many operations.

    Each part's mean loss counts by the number of its targets, so that uneven parts, and targets that are ignored, give
    the gradient of the whole batch.

    Args:
        model: inputs to outputs; its parameters' `grad` becomes the gradient, whatever it was before.
        inputs: shape (batch, ...).
        targets: shape (batch, ...).
        num_parts: how many; no more than there are rows are made.
        loss_function: outputs and targets to the mean loss over targets.

    Returns:
        Loss of the whole batch.

    Raises:
        ValueError: if there are no rows, or nothing to score.
    """
    if len(inputs) != len(targets) or len(inputs) == 0 or num_parts < 1:
        raise ValueError(
            f"got {len(inputs)} inputs, {len(targets)} targets and {num_parts} parts; expected as many targets as "
            "inputs, and at least one row and one part"
        )
    whole = _num_scored(targets)
    if whole == 0:
        raise ValueError("every target is ignored; there is nothing to learn from this batch")
    model.zero_grad()
    total, num_parts = 0.0, min(num_parts, len(inputs))
    for part, wanted in zip(inputs.tensor_split(num_parts), targets.tensor_split(num_parts), strict=True):
        if share := _num_scored(wanted) / whole:
            loss = loss_function(model(part), wanted) * share
            loss.backward()
            total += loss.item()
    return total


def _num_scored(targets: torch.Tensor) -> int:
    return targets.numel() if targets.is_floating_point() else int((targets != IGNORED).sum())


def resume_is_exact(
    make: Callable[[], Any],
    step: Callable[[Any], Any],
    save: Callable[[Any], Any],
    load: Callable[[Any, Any], None],
    num_steps: int,
    stop_after: int,
) -> bool:
    """Whether a training run that was stopped and resumed equals an unbroken one, bit for bit.

    One run goes through. A second one is saved after `stop_after` steps, goes on for a step, as a run does that is
    killed between two checkpoints, and is lost; when it comes back, all global random generators are in another state.

    Args:
        make: gives a new run.
        step: does one step of it and gives its loss, or whatever is worth comparing.
        save: gives a checkpoint: anything that `load` understands.
        load: puts a checkpoint into a run.
        num_steps: of the whole run.
        stop_after: steps before it is stopped, 0 to num_steps.

    Returns:
        True if all losses and the last checkpoint are the same.

    Raises:
        ValueError: if `stop_after` is not from 0 to `num_steps`.
    """
    if not 0 <= stop_after <= num_steps:
        raise ValueError(f"got stop_after {stop_after}; expected 0 to num_steps = {num_steps}")
    with own_chance():
        run = make()
        losses = [kept(step(run)) for _ in range(num_steps)]
        last = kept(save(run))
    with own_chance():
        run = make()
        again = [kept(step(run)) for _ in range(stop_after)]
        saved = save(run)
        if stop_after < num_steps:
            step(run)
    with own_chance(disturb=True):
        run = make()
        load(run, saved)
        again += [kept(step(run)) for _ in range(num_steps - stop_after)]
        return same(losses, again) and same(last, save(run))


def train_gpt(
    model: GPT,
    token_ids: np.ndarray,
    *,
    batch_size: int = 32,
    validation_ids: np.ndarray | None = None,
    make_optimisers: Callable[[GPT], Sequence[torch.optim.Optimizer]] = GPT.make_optimisers,
    callbacks: Sequence[Callable[[Trainer], None]] = (),
    folder: str | Path | None = None,
    resume: bool = False,
    **settings: Any,
) -> Trainer:
    """Train a GPT on a text, on whatever machine this is, with the book's trainer.

    Args:
        model: is trained in place, and left ready to be used.
        token_ids: shape (tokens,).
        batch_size: windows of a step.
        validation_ids: of another text, to measure the loss on; None for none.
        make_optimisers: `GPT.make_optimisers`, or another choice.
        callbacks: called after each step, as `bow2gpt.watching` has some.
        folder: for checkpoints and the log; None for none.
        resume: go on from the folder's last checkpoint.
        **settings: of `bow2gpt.training.Settings`; as many steps as the configuration says if neither `num_steps` nor
            `max_seconds` is among them.

    Returns:
        The trainer, which knows the losses (`records`, `best`) and the seconds.
    """
    length = model.config.context_length
    if not {"num_steps", "max_seconds"} & set(settings):
        settings["num_steps"] = model.config.num_steps
    trainer = Trainer(
        model,
        make_optimisers,
        shuffled_batches(token_ids, length, batch_size, settings.get("seed", 0)),
        Settings(**settings),
        schedule=model.schedule,
        loss=model.loss,
        validate=None if validation_ids is None else lambda trainer: trainer.mean_loss(validation_ids, length),
        callbacks=callbacks,
        configuration={"model": asdict(model.config)},
        folder=folder,
    )
    trainer.train(resume)
    model.eval()
    return trainer


@dataclass(frozen=True)
class TrainingCost:
    """What a training run takes.

    Attributes:
        flops: floating-point operations.
        hours: from beginning to end.
        money: in the currency of the price.
        num_devices: that work side by side.
    """

    flops: float
    hours: float
    money: float
    num_devices: int = 1

    @property
    def device_hours(self) -> float:
        """Hours of all devices together."""
        return self.hours * self.num_devices

    @property
    def days(self) -> float:
        """Days of the run."""
        return self.hours / 24


def estimate_training_cost(
    num_parameters: float,
    num_tokens: float,
    flops_per_second: float,
    utilisation: float = 0.4,
    price_per_hour: float = 2.0,
    num_devices: int = 1,
    recompute: bool = False,
) -> TrainingCost:
    """Operations, time and money of a training run, from 6 operations per parameter and token (Kaplan et al., 2020).

    A weight takes part in one multiplication and one addition in the forward pass, and in twice as many in the backward
    pass: 2 + 4. If the forward pass is computed a second time, to save memory, it is 2 + 2 + 4.

    Args:
        num_parameters: of the model.
        num_tokens: read in training, repetitions included.
        flops_per_second: what one device can do at best, in the precision of the products.
        utilisation: what share of that is reached, 0 to 1; 0.3 to 0.5 is common in large runs.
        price_per_hour: of one device.
        num_devices: how many work side by side.
        recompute: whether activations are computed again for the backward pass.

    Returns:
        The cost.

    Raises:
        ValueError: if a number makes no sense.
    """
    positive = {"num_parameters": num_parameters, "flops_per_second": flops_per_second, "num_devices": num_devices}
    for name, value in positive.items():
        if not value > 0:
            raise ValueError(f"got {name} {value}; expected more than 0")
    if not num_tokens >= 0 or not price_per_hour >= 0:
        raise ValueError(f"got {num_tokens} tokens and {price_per_hour} an hour; expected 0 or more")
    if not 0 < utilisation <= 1:
        raise ValueError(f"got utilisation {utilisation}; it is a share of the best, above 0 and at most 1")
    flops = (8 if recompute else 6) * float(num_parameters) * num_tokens
    device_hours = flops / (flops_per_second * utilisation) / 3600
    return TrainingCost(flops, device_hours / num_devices, device_hours * price_per_hour, num_devices)


@dataclass(frozen=True)
class TrainingMemory:
    """What must be kept while training, in bytes."""

    weights: float
    gradients: float
    optimiser: float
    activations: float

    @property
    def total(self) -> float:
        """All of it."""
        return self.weights + self.gradients + self.optimiser + self.activations


def training_memory(
    num_parameters: float,
    *,
    weight_bytes: float = 2,
    gradient_bytes: float = 2,
    optimiser_bytes: float = 12,
    num_layers: int = 0,
    embedding_dim: int = 0,
    tokens_at_once: int = 0,
    checkpointing: bool = False,
) -> TrainingMemory:
    """Memory that training takes, part by part; by default 16 bytes a parameter and nothing for activations.

    Args:
        num_parameters: of the model.
        weight_bytes: 2 in half precision.
        gradient_bytes: 2 in half precision.
        optimiser_bytes: 12 for AdamW in mixed precision: a master copy of the weight and two means, 4 bytes each
            (Rajbhandari et al., 2020); 4 for SGD with momentum in fp32, 0 for plain SGD.
        num_layers: blocks, for the activations: 34 bytes per token, layer and channel in half precision, without the
            scores of attention, which a fused function never writes down (Korthikanti et al., 2022).
        embedding_dim: channels.
        tokens_at_once: of one forward pass: rows times context.
        checkpointing: keep only what goes into each block, 2 bytes, and the activations of one block.

    Returns:
        Bytes by part.

    Raises:
        ValueError: if a number is negative.
    """
    given = dict(locals())
    if wrong := [name for name, value in given.items() if not value >= 0]:
        raise ValueError(f"got {wrong[0]} {given[wrong[0]]}; expected 0 or more")
    layer = 34 * tokens_at_once * embedding_dim
    kept = min(layer, 2 * tokens_at_once * embedding_dim) * num_layers + (layer if num_layers else 0)
    per_parameter = (weight_bytes, gradient_bytes, optimiser_bytes)
    activations = kept if checkpointing else layer * num_layers
    return TrainingMemory(*(num_parameters * each for each in per_parameter), activations)
