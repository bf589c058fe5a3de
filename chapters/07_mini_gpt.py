# %% [markdown]
# # 07 Mini-GPT
#
# <!-- launch: made by `bow2gpt build` -->
# [Open in Colab](https://colab.research.google.com/github/bow2gpt/bow2gpt/blob/main/chapters/07_mini_gpt.ipynb) | [Open in Binder](https://mybinder.org/v2/gh/bow2gpt/bow2gpt/main?urlpath=lab/tree/chapters/07_mini_gpt.ipynb)
# <!-- /launch -->
#
# *From Bag of Words to GPT, chapter 07. About two hours of reading and running; every cell together takes a little over three minutes on two cores.*
#
# ## Where we are
#
# You have all the parts. Chapter 01 cut texts into tokens and gave you the ruler, chapter 02 counted, chapter 03 found vectors for words, chapter 04 learned by
# slopes, chapter 05 read in order and paid for it in time, chapter 06 threw the reader away and kept the look back. Its last model, two blocks of attention trained for a
# minute, was still worse than counting.
#
# This chapter puts them together into the machine that the book is named after: a *generative pretrained Transformer*, GPT (Radford et al., 2018). What is new is how it is
# trained: which batches, which optimiser, which precision, how not to lose a run when the power fails, what it costs. You train one here, in a hundred seconds; the same cells train a larger one if
# there is a graphics card. Then you let it write, find out when the same seed gives the same text, do the arithmetic of the big runs, and look at the ladder as a whole.

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
import tempfile
from importlib import resources
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import torch

from bow2gpt import claims, corpus, figures, ladder

_ = torch.set_flush_denormal(True)  # numbers too small to matter would be slow

# %% [markdown]
# ## The idea by hand
#
# ### A lesson at every position
#
# A GPT reads a window of tokens and says, after *each* of them, what comes next. So a window of eight tokens is eight lessons, and the answers to all of them are
# the same window, one token later. Let the text be the numbers 0, 1, 2, ... and cut a window of five at place 3.

# %%
counting_text = np.arange(20)
inputs, targets = counting_text[3:8], counting_text[4:9]
for place in range(len(inputs)):
    print("after", *inputs[: place + 1], "comes", targets[place])

# %% [markdown]
# The causal mask of chapter 06 makes this honest: the answer after 3, 4, 5 cannot look at 6, though 6 stands in the same row. One pass through the network, five
# predictions, five losses, one mean. An encoder-decoder gets one such row for each pair it is shown; a decoder needs no pairs, so any text will do. That is the whole
# secret of *pretraining*: the internet is one long exercise with the answers printed beside it.
#
# How many windows has a text of $n$ tokens, if a window has $C$ and needs one token more for the last answer? The first may start at 0, the last at $n - C - 1$: there are $n - C$.
# `get_batch` draws from all of them. The text may be a file far larger than memory: mapped into the address space, only the pages that are touched are read.

# %% tags=["export"]
import numpy as np
import torch


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


# %%
inputs, targets = get_batch(counting_text, batch_size=3, context_length=5, rng=np.random.default_rng(0))
print(inputs.tolist(), targets.tolist(), sep="\n")

# %% [markdown]
# ### A GPT with a pencil
#
# A language of two tokens, $A$ and $B$, and vectors of two numbers. Let the embeddings be $A = (1, 1)$ and $B = (1, -1)$. There is one block. Its queries are zero, so all scores are
# equal, and attention is a plain mean over what came before. Values and output are the identity. The MLP has one hidden cell, which reads minus the second channel, and
# adds five times its answer to the second channel. The text is $AB$.
#
# *First block half.* RMS norm divides by the root of the mean square, which is 1 for both tokens, so they stay as they are. After $A$ attention finds the mean of $A$ alone, $(1, 1)$; after
# $B$ the mean of both, $(1, 0)$. Added to what was there: $(2, 2)$ and $(2, -1)$.
#
# *Second half.* Normed, these are $(1, 1)$ and $(2, -1)/\sqrt{2.5}$. The hidden cell reads minus the second channel, $-1$ and $1/\sqrt{2.5}$, and bends it by $\mathrm{relu}(x)^2$: that makes 0 and $1/2.5 = 0.4$. Five
# times that is 0 and 2. So the *residual stream*, the running sum to which each half of a block adds, is $(2, 2)$ and $(2, 1)$.
#
# *Output.* Normed again: $(1, 1)$ and $(2, 1)/\sqrt{2.5}$. The embeddings serve as output rows, too. After $A$ the logits of $A$ and $B$ are $1 + 1 = 2$ and $1 - 1 = 0$; after $AB$ they are $3/\sqrt{2.5} = 1.90$ and $1/\sqrt{2.5} = 0.63$. Both
# times it would go on with $A$.
#
# Here is that computation for any number of blocks, as one function of token ids and weights. It uses chapter 06's functions and nothing else. RoPE turns queries and keys, which changes nothing while the queries are zero.

# %% tags=["export"]
import math
from collections.abc import Mapping

from torch.nn import functional as F

from bow2gpt.chapters.attention import (
    apply_rope,
    causal_mask,
    merge_heads,
    rms_norm,
    scaled_dot_product_attention,
    split_heads,
)

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


# %%
A, B, identity = [1.0, 1.0], [1.0, -1.0], torch.eye(2)
pencil = {"embedding": torch.tensor([A, B]), "final_gain": torch.ones(2)}
pencil |= {f"blocks.0.{name}": torch.ones(2) for name in ("attention_gain", "mlp_gain")}
pencil |= {"blocks.0.query": torch.zeros(2, 2), "blocks.0.key": identity}
pencil |= {"blocks.0.value": identity, "blocks.0.output": identity}
pencil |= {"blocks.0.expand": torch.tensor([[0.0, -1.0]]), "blocks.0.contract": torch.tensor([[0.0], [5.0]])}
print(gpt_forward(torch.tensor([0, 1]), pencil, num_heads=1).round(decimals=2))

# %% [markdown]
# As by hand. This is a GPT. GPT-2 has the same picture, with 50,257 tokens, 768 channels, 12 blocks of 12 heads, and other parts in a few places: layer norm, *GELU* (a relu with its corner rounded off), learned positions.
#
# ## Build it
#
# ### The list of parts
#
# There are choices to make, and the next decade will make others. So the model is not written with a branch for each option. A *configuration* names the parts; tables
# turn names into parts; the model only strings them together. Read the attributes: each is a decision, and most of them are put on trial further down. The last lines are the *one dial*. Give a depth, and
# everything else follows: 128 channels and two heads for each block, a learning rate that falls with the depth, and enough steps for twenty tokens a weight, which
# Hoffmann et al. (2022) found to be the best use of a given number of operations.

# %% tags=["export"]
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Any, Literal

from bow2gpt.chapters.attention import Block, FeedForward, MultiHeadAttention, RMSNorm, Rope


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


# %% [markdown]
# Now the tables, and the few parts that chapter 06 does not have. *SwiGLU* multiplies one hidden layer with another. *Learned positions* are a vector for each place, as in GPT-2. *QK-norm* norms queries and
# keys, so that no score grows without bound when the learning rate is bold. *Hashed bigrams* add a vector for each pair of neighbouring tokens; a formula (a *hash*) sends the pair to a row of a table, and as there are more
# pairs than rows, many share one. So do some of the fastest public training runs (Jordan et al., 2024, and those who went on from there): chapter 02 in a corner of chapter 07. And `make_block` puts a block together.

# %% tags=["export"]
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


# %% [markdown]
# ### A model that reads in windows
#
# The ruler asks for the probability of texts far longer than the window. Where do you cut? Score each window for itself, and the first token of each has no past. Score each token with a full window of past,
# and you read everything hundreds of times. The middle way: score half a window at a time, with the half before it as its past. Each token is read twice and sees at least half a window.
#
# One thing matters: where a token's window begins may depend on its place only, not on where you cut the text into context and rest. Else the probabilities of the pieces would not multiply to that of the whole, as the chain rule demands. The other methods are chapter 06's. `stream` is new: it
# hands out each piece of text as soon as there is one. Scores are computed in double precision, in a copy of the weights, so that training may go on in its own.

# %% tags=["export"]
import copy
from collections.abc import Callable, Iterator
from weakref import WeakKeyDictionary

from bow2gpt.chapters.language_features import AnyTokenizer

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


# %% [markdown]
# ### The model
#
# What is left is short: embeddings, what is added to them, the blocks, a norm, the output layer. The matrices that lead back into the stream begin at zero, so that a new model is a short cut from embedding to output, and each block
# comes to life when it has something to say. `make_optimisers` and `checkpoint_activations` are explained below; `from_pretrained` reads the weights that OpenAI published for GPT-2, through a helper that translates their names.

# %% tags=["export"]
from pathlib import Path

from torch.utils.checkpoint import checkpoint

from bow2gpt import checkpoints
from bow2gpt.chapters.language_features import ByteTokenizer, Tokenizer
from bow2gpt.fused import linear_cross_entropy


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


# %%
config = GPTConfig(vocabulary_size=50, context_length=8, num_layers=2, num_heads=2, embedding_dim=16)
model = GPT(config)
print(model(torch.tensor([[1, 2, 3]])).shape, f"{model.num_parameters:,} parameters")


# %% [markdown]
# ### Count before you build
#
# A configuration is enough to know the size. In a block, attention has four matrices of $d \times d$, the MLP two of $d \times 4d$: together $12 d^2$. For GPT-2 with $d = 768$ that is 7.1 million a block, 85
# million in twelve; the table of 50,257 tokens has 38.6 million more. `num_weights` counts what a token is multiplied with, which decides the time; `count_parameters` counts everything, which decides the
# memory. Torch can check it without making the numbers: on the device called *meta*, tensors have a shape and no content.

# %% tags=["export"]
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


# %%
shapes = {"small": (12, 12, 768), "medium": (24, 16, 1024), "large": (36, 20, 1280), "xl": (48, 25, 1600)}
for name, (layers, heads, channels) in shapes.items():
    config = gpt2_config(num_layers=layers, num_heads=heads, embedding_dim=channels)
    with torch.device("meta"):
        made = GPT(config).num_parameters
    print(f"GPT-2 {name:7} {count_parameters(config):13,} by arithmetic, {made:13,} made")

# %% [markdown]
# The first is the "124M" that you will meet again. (The paper says 117M; its authors corrected that later.)
#
# ### Drawing: four knobs
#
# The model gives a distribution; somebody has to draw. *Temperature* divides the logits: below 1 the favourite gains, above 1 the outsiders. But the outsiders are many. With 4,096 tokens of which 4,000 are nonsense at $\frac1{20000}$ each, one draw in five is nonsense, and one bad token
# spoils all that follow. So the tail is cut off. *Top-k* leaves the $k$ most probable. *Top-p*, also called nucleus sampling, leaves the fewest that reach $p$ together. *Min-p* leaves those at least $p$ times as probable as the favourite.
#
# By hand: probabilities 0.1, 0.4, 0.2, 0.3. Top-2 leaves 0.4 and 0.3. Top-p with 0.8 goes down the list, 0.4, 0.7, 0.9: three are left. Min-p with 0.6 asks for at least $0.6 \cdot 0.4 = 0.24$: two are left. What is left is divided by its sum.

# %% tags=["export"]
from bow2gpt.chapters.counting_models import sample_with_temperature


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


# %%
logits = torch.tensor([0.1, 0.4, 0.2, 0.3]).log()
for name, kept in {
    "top-2": top_k_filter(logits, 2),
    "top-p 0.8": top_p_filter(logits, 0.8),
    "min-p 0.6": min_p_filter(logits, 0.6),
}.items():
    print(f"{name:10}", kept.double().softmax(0).round(decimals=3).tolist())


# %% [markdown]
# ### How fast to walk
#
# A new network does not know where it is going, so the first steps are short; a trained one is looking for the bottom of a valley, so the last ones are short, too. GPT-3 rises in a straight line and falls along half a cosine. By hand: ten
# steps, two of them warm-up. The shares are $\frac12, 1$, then with $\frac{1 + \cos(\pi s / 8)}{2}$ for $s = 0, 1, \ldots$: $1, 0.96, 0.85, 0.69, 0.5, \ldots$ What is "1" in learning rate is another question, and depends on the optimiser.
# (The model's own `schedule` stays at the top for two fifths of the way and then falls in a straight line: the table of trials below shows what the cosine costs.)

# %% tags=["export"]
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


# %%
print(*(f"{lr_schedule(step, 10, 2):.2f}" for step in range(11)))


# %% [markdown]
# ### Muon
#
# Chapter 04's AdamW looks at each number of a weight matrix by itself. But a matrix is more than its numbers: it sends directions to directions. Its gradient usually has a few large directions and many small ones, and
# a step along the gradient goes far in the few. *Muon* (Jordan et al., 2024) goes equally far in all of them. Every matrix is $U S V^\top$ with $S$ diagonal, its *singular values*: how large each direction is. Muon steps along $U V^\top$, as if they all were 1.
#
# To take a matrix apart is slow. But you need not. Take an odd polynomial of numbers, and the same one of matrices:
#
# $$p(s) = 3.4445\,s - 4.7750\,s^3 + 2.0315\,s^5, \qquad p(X) = 3.4445\,X - 4.7750\,(XX^\top)X + 2.0315\,(XX^\top)^2X$$
#
# The matrix $p(X)$ has the same directions as $X$, and if those had the singular values $s$, it has $p(s)$: products of matrices are enough. Do it five times (*Newton-Schulz*), and all values are near 1. By hand: the gradient is $\mathrm{diag}(4, 3)$. Its norm is $\sqrt{16 + 9} = 5$; divide, and it is $\mathrm{diag}(0.8, 0.6)$. Then
# $p(0.8)$ is $2.756 - 2.445 + 0.666 = 0.977$, and $p(0.6)$ is $2.067 - 1.031 + 0.158 = 1.193$. One step, and 4 to 3 has become 1 to 1.2. The cell does this step, and then takes the values 1, 0.1 and 0.01 through zero to five steps, a row for each, largest first.

# %% tags=["export"]
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


# %%
print(newton_schulz(torch.diag(torch.tensor([4.0, 3.0])), num_steps=1))
gradient = torch.diag(torch.tensor([1.0, 0.1, 0.01], dtype=torch.float64))
print(
    *(torch.linalg.svdvals(newton_schulz(gradient, steps)).round(decimals=3).tolist() for steps in range(6)), sep="\n"
)

# %%
steps, sizes = range(8), np.geomspace(1e-3, 1, 200)
fig, ax = plt.subplots()
for number in (1, 3, 5):
    bent = sizes.copy()
    for _ in range(number):
        bent = 3.4445 * bent - 4.7750 * bent**3 + 2.0315 * bent**5
    ax.semilogx(sizes, bent, label=f"after {number} step{'s' * (number > 1)}", markevery=25)
ax.set(title="How fast do small directions catch up?", xlabel="singular value before", ylabel="singular value after")
ax.legend()
figures.show(
    fig,
    alt="Singular values after one, three and five steps against those before: after five steps everything above about 0.01 lies between 0.7 and 1.2.",
)

# %% [markdown]
# After five steps whatever was above a hundredth of the matrix's norm is between about 0.7 and 1.2. That is not exact, and need not be. The rest of `muon_step` is chapter 04's momentum, looking one step ahead as in Nesterov's method, and a scale that makes the same
# learning rate right for tall and for square matrices. As an optimiser, matrices of equal shape are stacked, and the products run in 16 bits. Embeddings, the output layer and vectors are no matrices in this sense (each row of a table is on its own), so AdamW keeps them.

# %% tags=["export"]
from collections.abc import Iterable

from bow2gpt.machine import half_precision_pays
from bow2gpt.run_folder import sharded


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


# %% [markdown]
# ### Large batches on small machines
#
# If a batch does not fit, cut it into parts, compute the gradient of each, and add. The trap is in the mean. Take three rows with losses 1, 2 and 6 whose mean is 3, cut into a part of two and a part of one. The means are 1.5 and 6; their
# mean is 3.75, which is wrong. Weigh each by its share, $\frac23 \cdot 1.5 + \frac13 \cdot 6 = 3$, and it is right again. The same holds if some targets do not count: what matters is how many do. Widely used training code had this mistake until late in 2024.

# %% tags=["export"]
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


# %%
torch.manual_seed(0)
for each in model.parameters():  # a new model's output is zero, and no slope would reach the blocks
    torch.nn.init.normal_(each, std=0.1)
ids, answers = torch.randint(50, (5, 8)), torch.randint(50, (5, 8))
gradients = {}
for num_parts in (1, 2, 5):
    loss = accumulate_gradients(model.double(), ids, answers, num_parts)
    gradients[num_parts] = torch.cat([each.grad.flatten() for each in model.parameters() if each.grad is not None])
    print(num_parts, f"parts: loss {loss:.6f}, gradient off by {(gradients[num_parts] - gradients[1]).abs().max():.0e}")

# %% [markdown]
# A last way to save memory is *activation checkpointing* (Chen et al., 2016): keep only what goes into each block, and when the slopes come back, compute the inside of the block once more. A third more work, and a fraction of the memory.
#
# ### Precision
#
# The weights are 32-bit numbers, but their products may run in 16. There are two such formats. *fp16* has ten bits for digits and reaches from $6 \cdot 10^{-8}$ to 65,504: gradients below that vanish, so the loss is multiplied by a large number first and the gradient divided
# by it afterwards (Micikevicius et al., 2018). *bf16* has seven bits for digits and the reach of a 32-bit number. The cell asks each of them for a small gradient, a large sum, and one plus a hundredth.

# %%
for kind in (torch.float32, torch.float16, torch.bfloat16):
    small, large, near = (torch.tensor(number, dtype=kind).item() for number in (1e-8, 1e5, 1.01))
    print(f"{str(kind):15} 1e-8 is {small:.1e}, 1e5 is {large:.1e}, 1.01 is {near:.4f}")

# %% [markdown]
# Hence the recipe of `bow2gpt.training`: bf16 where the chip multiplies it fast (on a CPU it is chapter 04's `half_precision_pays` that decides), fp16 with a scaled loss on older cards, fp32 otherwise. (Its other settings are `compile`, which fuses operations and pays on a card; `rows_at_once` and `checkpoint_activations` for memory; `shard` for several cards.) Weights, norms, softmax and the optimisers' memories stay in 32 bits, as
# sums of many small things would stop growing.

# %% [markdown]
# ### Going on where it stopped
#
# A run of days meets a power cut. What has to be in a checkpoint? The weights; the optimisers' memories; how many steps were done, for the *schedule*; and where the random numbers stand, for batches and dropout. Forget one, and
# the loss goes on almost as before, which is why nobody notices. So test it: one run goes through, another is saved, killed and resumed, and all losses and the last checkpoint must be the same *bit for bit*. `resume_is_exact` works for any training loop.
# It is nasty in two ways. The run goes on for a step after it was saved, so a checkpoint that only points at the live weights is spoiled; and all global random generators are disturbed, as they would be in another process.

# %% tags=["export"]
from bow2gpt.repeating import kept, own_chance, same


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


# %% [markdown]
# A loop as people write it: one weight matrix, Muon, noise from torch's global generator. The first way of saving keeps the weight alone. The second keeps Muon's memory and the state of the random numbers, too. Which of them resumes exactly?

# %%
class Loop:
    """A training loop that draws its data from torch's global random numbers."""

    def __init__(self) -> None:
        torch.manual_seed(0)
        self.weight, self.state = torch.zeros(3, 3), {}

    def step(self) -> float:
        data = torch.randn(3, 3)
        self.weight = muon_step(self.weight, self.weight - data, self.state)
        return float((self.weight - data).square().mean())

    def save_weight(self) -> dict:
        return {"weight": self.weight}

    def save_all(self) -> dict:
        return {"weight": self.weight, "state": dict(self.state), "chance": torch.get_rng_state()}

    def load(self, saved: dict) -> None:
        self.weight, self.state = saved["weight"], dict(saved.get("state", {}))
        torch.set_rng_state(saved.get("chance", torch.get_rng_state()))


# %%
for save in (Loop.save_weight, Loop.save_all):
    print(save.__name__, resume_is_exact(Loop, Loop.step, save, Loop.load, num_steps=6, stop_after=3))

# %% [markdown]
# The book's trainer passes the same test (`tests/test_training.py` kills it with SIGKILL at random steps). It draws the batch of a step from the seed and the number of the step alone, so there is nothing to save; it writes a checkpoint beside the old one and then
# exchanges them, so that a power cut in between costs nothing; and several processes under `torchrun` share out the very batch that one would see. The function below hands a GPT to it. It does not draw its windows as `get_batch` does, which in a pass reads some places twice and others never: it cuts the text into windows side by side, and each comes once a pass, in a new order and with new cuts every time.

# %% tags=["export"]
from collections.abc import Sequence

from bow2gpt.token_files import shuffled_batches
from bow2gpt.training import Settings, Trainer


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


# %% [markdown]
# ## On real text
#
# The text is the book's training split, cut by chapter 01's tokenizer with a vocabulary of 4,096. Each token id takes two bytes, in a file that is mapped into memory. The dial stands at a depth of 2, or at 6 if there is a card.

# %%
from bow2gpt.chapters.language_features import Tokenizer
from bow2gpt.token_files import read_tokens, write_tokens

train_text, validation_text = corpus.text("train"), corpus.text("validation")
tokenizer = Tokenizer.train(train_text, 4096)
folder = Path(tempfile.mkdtemp())
write_tokens(folder / "train.npy", tokenizer.encode(train_text))
train_ids = read_tokens(folder / "train.npy", 4096, context_length=128)
validation_ids = tokenizer.encode(validation_text)
bits_per_nat = len(validation_ids) / len(validation_text.encode()) / np.log(2)  # per byte, from nats per token
print(
    f"{len(train_ids):,} tokens of {train_ids.dtype}, {(folder / 'train.npy').stat().st_size / 1e6:.1f} MB on the disk"
)

# %%
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
DEPTH, BATCH_SIZE = (6, 128) if DEVICE == "cuda" else (2, 32)
config = GPTConfig.of_depth(DEPTH, tokenizer.vocabulary_size, context_length=128)
gpt = GPT(config, tokenizer)
print(f"{gpt.num_parameters:,} parameters, {num_weights(config):,} of them in products; on {DEVICE}")
print(f"{config.num_steps * 4096 / len(train_ids):.0f} passes over our text would be twenty tokens a weight")

# %% [markdown]
# Whether so many passes are good for it is the question of the next section; here the clock stops first. This is the longest cell of the chapter, a hundred seconds of training wherever it runs; a faster machine
# gets further in them. The schedule follows the clock. Watch three things: the curve, drawn anew as it grows; the *validation loss*, on text that it never sees; and the samples. What does it learn first, and what last?

# %%
from bow2gpt.watching import LiveCurve, ProgressBar, Samples

watchers = [
    ProgressBar(desc="training", mininterval=2),
    LiveCurve(seconds=15),
    Samples([10, 30, 100, 250], lambda model: model.generate(30, "Fellow citizens", temperature=0.8)),
]
trainer = train_gpt(
    gpt,
    train_ids,
    batch_size=BATCH_SIZE,
    validation_ids=validation_ids[:20_000],
    callbacks=watchers,
    max_seconds=100,
    evaluate_every=100,
)

# %%
seconds, seen = trainer.seconds, trainer.step * BATCH_SIZE * config.context_length
speed = 6 * num_weights(config) * seen / seconds
print(
    f"{trainer.step:,} steps in {seconds:.0f} s: {seen / seconds:,.0f} tokens a second, {seen / len(train_ids):.2f} passes"
)
print(f"{speed / 1e9:.0f} billion operations a second; validation loss {trainer.best * bits_per_nat:.3f} bits per byte")

# %% [markdown]
# First it learns which tokens are frequent, then which follow which (word endings, *of the*), then phrases, then sentences that agree with themselves for a while.
#
# ### The same text, twenty-four times
#
# On two cores you stopped after about half a pass over the text. Reading it again costs only time. But a network that reads the same two million tokens over and over begins to learn *them*, and not the language: its training loss falls and falls while the validation loss turns round and climbs. Two brakes help. *Dropout* silences
# a share of the channels at random, so that nothing may rest on a single one. *Weight decay* shrinks what is not renewed, above all in the vectors of rare tokens. How much of each? Ask the validation text: `python benchmarks/checkpoint.py choose` trained the variants below on a
# graphics card, twenty-four passes each. The gap between the columns is what was learned by heart, and a little more, as training losses are taken with dropout at work.

# %%
table = resources.files("bow2gpt").joinpath("gpt_choices.csv").read_text(encoding="utf-8").splitlines()
print(f"{'variant':45} training  validation  (bits per byte)")
for row in csv.DictReader(line for line in table if not line.startswith("#")):
    print(f"{row['variant']:45} {float(row['training']):8.3f} {float(row['validation']):11.3f}")

# %% [markdown]
# The narrowest gap is not the best model: tables shrunk twice as fast close the gap and lose on the validation text. The first row wins and is the book's *checkpoint*. It does not follow the dial: six blocks of only 384 channels, a context of 512, RMS norm, no bigrams. Its weights, in 16 bits, lie in the repository with a *model card*, a page that says where they come from. `python benchmarks/checkpoint.py train` makes them anew. Here is its life, and what the card says.

# %%
from bow2gpt import checkpoints

card = checkpoints.facts("mini_gpt")
print(f"{card['parameters']:,} parameters, {card['steps']:,} steps, {card['passes']:.0f} passes")
print(f"{card['seconds']:.0f} s on one {card['device']}: {card['tokens_per_second']:,} tokens a second")
print(f"{card['flops']:.1e} operations, {card['utilisation']:.0%} of what the device can do")
print(f"bits per byte: validation {card['validation']:.3f}, test {card['test']:.3f}")

# %%
with open(checkpoints.WEIGHTS / "mini_gpt" / "log.csv", encoding="utf-8") as file:
    log = list(csv.DictReader(file))
looks = [row for row in log if row["validation_loss"]]
passes, training = ([float(row[name]) for row in log] for name in ("tokens", "loss"))
fig, ax = plt.subplots()
ax.plot(np.array(passes) / len(train_ids), np.array(training) * bits_per_nat, marker="", label="training, with dropout")
ax.plot(
    [float(row["tokens"]) / len(train_ids) for row in looks],
    [float(row["validation_loss"]) * bits_per_nat for row in looks],
    label="validation",
)
ax.set(
    title="Does it learn the language, or the text?", xlabel="passes over the text", ylabel="bits per byte", ylim=(0.9, 1.8)
)
ax.legend()
figures.show(
    fig,
    alt="Bits per byte against passes over the text. Both curves fall steeply in the first passes and stay together for half of the run; while the rate falls, validation sinks to 1.10 and training below 0.95.",
)

# %% [markdown]
# It never turns round: the brakes hold. At the full rate the curve has nearly come to rest after ten passes, at about 1.27; when the rate falls, it sinks by another 0.17. (The card's 1.090 is the same model: the ruler gives each token at least half a window of past,
# while the trainer's windows lie side by side. On the first 10,000 tokens, which the next cell takes as its sample, both models do worse: they are harder than the rest.) From here on *this* model is used, on every machine. (If you have trained one of your own and saved it, `gpt = GPT.load(folder)` puts it in its place, and the cells below work as they are.)

# %%
del trainer, watchers  # and with them what the optimisers remember, which is more than the model
yours, gpt = gpt, GPT.load(checkpoints.WEIGHTS / "mini_gpt").to(DEVICE)
sample_ids = validation_ids[:10_000]
sample = tokenizer.decode(sample_ids)
sample_bytes = len(sample.encode())
log_probs = {name: model.token_log_probs(sample) for name, model in {"yours": yours, "the checkpoint": gpt}.items()}
bits = {name: -each.sum() / np.log(2) / sample_bytes for name, each in log_probs.items()}
gpt_log_probs, gpt_bits = log_probs["the checkpoint"], bits["the checkpoint"]
print(f"bits per byte of {sample_bytes / 1e3:.0f} kB of validation text: yours {bits['yours']:.3f}, the checkpoint {gpt_bits:.3f}")

# %% [markdown]
# ### Every part on trial
#
# Is each part worth its time? The fair question is not "is it better after so many steps" but "after so many seconds": a part that is twice as good and three times as slow is no gain. `python benchmarks/mini_gpt.py ablations` gives each variant the
# same seconds on the same cores, with the same seed, and changes one thing. Its table is committed.

# %%
table = resources.files("bow2gpt").joinpath("gpt_ablations.csv").read_text(encoding="utf-8").splitlines()
trials = list(csv.DictReader(line for line in table if not line.startswith("#")))
base = float(next(row for row in trials if row["variant"] == "the recipe")["validation"])
print(f"{'variant':28} parameters  steps  bits per byte")
for row in sorted(trials, key=lambda row: float(row["validation"])):
    print(f"{row['variant']:28} {int(row['parameters']):10,} {row['steps']:>6} {float(row['validation']):14.3f}")

# %%
ordered = sorted((row for row in trials if row["variant"] != "the recipe"), key=lambda row: -float(row["validation"]))
fig, ax = plt.subplots(figsize=(7, 0.6 + 0.3 * len(ordered)))
differences = [float(row["validation"]) - base for row in ordered]
ax.barh([row["variant"] for row in ordered], differences, color=figures.COLOURS[0])
ax.set(
    title="What does each change cost?", xlabel="bits per byte more than the recipe, after equal time", ylabel="variant"
)
figures.show(
    fig,
    alt="Bars of the change in validation bits per byte for each variant, trained for the same time: AdamW for everything costs 0.27 and more, Shakespeare's plays 0.07, all others less than 0.04.",
)


# %% [markdown]
# One change stands out, and it is not in the model but in the optimiser: who moves the matrices (and, to be fair, how boldly the tables move). After the same time the network that AdamW moves alone is a quarter of a bit behind. The choices of architecture that papers argue about are worth hundredths, at this size and in this time: turned positions beat learned ones by 0.03, bigrams pay for
# their seconds with 0.02, QK-norm with 0.01. Look for the bar of the other seed, 0.005, and do not read much into any that is shorter, or about as long: the three MLPs are equal, and whether a head of its own pays is not decided. The RMS norm, which the checkpoint has, is a hair better here than the recipe's layer norm. Dropout costs, since in a quarter of a pass there is nothing to learn by heart. And Shakespeare's plays, mixed into the
# text, cost most of all but AdamW: while time is short, every minute with another century's English is taken from this one's. A longer training may judge otherwise; ask the validation text.
#
# You can see the largest effect in a few seconds. The next cells are the script's code with less time.

# %%
def everything_by_adamw(model: GPT) -> list[torch.optim.Optimizer]:
    """AdamW for all parameters, as nanoGPT has it: betas 0.9 and 0.95, weight decay of the matrices."""
    matrices = [each for each in model.parameters() if each.ndim > 1]
    vectors = [each for each in model.parameters() if each.ndim < 2]
    groups = [{"params": matrices, "weight_decay": 0.1}, {"params": vectors, "weight_decay": 0.0}]
    return [torch.optim.AdamW(groups, lr=3e-3, betas=(0.9, 0.95), fused=True)]


# %%
race = {}
for name, make in {"Muon and AdamW": GPT.make_optimisers, "AdamW alone": everything_by_adamw}.items():
    racer = GPT.of_depth(2, 4096, context_length=128)
    race[name] = train_gpt(racer, train_ids, make_optimisers=make, max_seconds=8).records
    print(f"{name:15} {len(race[name])} steps, loss {np.mean([record.loss for record in race[name][-10:]]):.2f} nats")
del racer

# %% [markdown]
# ### How losses scale
#
# Kaplan et al. (2020) trained models of many sizes on texts of many lengths and found that the loss falls along straight lines on logarithmic paper. Hoffmann et al. (2022) wrote it as
#
# $$L(N, D) = E + \frac{A}{N^\alpha} + \frac{B}{D^\beta}$$
#
# with $N$ weights and $D$ tokens. $E$ is what no model can do away with: the surprise in the language itself. The other two say what a finite model and a finite text cost. Does that hold on our small scale?
# `python benchmarks/mini_gpt.py scaling` trained five depths on four amounts of text, each token once, in three minutes on a graphics card. For given exponents the law is linear in $E$, $A$ and $B$; so try a grid of exponents and take the best.

# %%
table = resources.files("bow2gpt").joinpath("gpt_scaling.csv").read_text(encoding="utf-8").splitlines()
runs = list(csv.DictReader(line for line in table if not line.startswith("#")))
weights, tokens, losses = (np.array([float(run[name]) for run in runs]) for name in ("weights", "tokens", "validation"))


def fit(chosen: np.ndarray) -> tuple[float, float, np.ndarray]:
    """Exponents and (E, A, B) that fit some of the runs best."""
    best = np.inf, 0.0, 0.0, np.zeros(3)
    for alpha in np.arange(0.05, 1.5, 0.05):
        for beta in np.arange(0.05, 1.5, 0.05):
            design = np.column_stack(
                [np.ones(len(chosen)), 1e5 / weights[chosen] ** alpha, 1e5 / tokens[chosen] ** beta]
            )
            scale = design.max(axis=0)
            found = np.linalg.lstsq(design / scale, losses[chosen], rcond=None)[0]
            error = np.square(design / scale @ found - losses[chosen]).sum() + 1e3 * np.square(found.clip(max=0)).sum()
            if error < best[0]:
                best = error, alpha, beta, found / scale * np.array([1, 1e5, 1e5])
    return best[1:]


# %%
alpha, beta, (floor, size_cost, data_cost) = fit(np.arange(len(runs)))
predicted = floor + size_cost / weights**alpha + data_cost / tokens**beta
rng = np.random.default_rng(0)
again = [fit(rng.integers(0, len(runs), len(runs))) for _ in range(20)]
spread = np.percentile([(parts[0], a, b) for a, b, parts in again], [10, 90], axis=0).T
for name, value, (low, high) in zip(("E", "alpha", "beta"), (floor, alpha, beta), spread):
    print(f"{name:5} {value:.2f}  ({low:.2f} to {high:.2f})")
print(f"the law misses a run by {np.abs(predicted - losses).max():.3f} bits per byte at most")

# %%
fig, axes = plt.subplots(1, 2, figsize=(9, 4), sharey=True)
panels = [
    (axes[0], weights, tokens, "What do more weights bring?", "weights N", "text"),
    (axes[1], tokens, weights, "What does more text bring?", "tokens D", "model"),
]
for ax, along, others, title, label, kind in panels:
    for other in np.unique(others):
        group = np.flatnonzero(others == other)
        group = group[np.argsort(along[group])]
        ax.semilogx(along[group] / 1e6, losses[group], label=f"{other / 1e6:.2f} M")
    ticks = np.unique(along) / 1e6
    ax.set_xticks(ticks, [f"{tick:.2g}" for tick in ticks])
    ax.minorticks_off()
    ax.set(title=title, xlabel=f"{label} (millions)", ylabel="bits per byte, validation")
    ax.legend(title=kind, fontsize=8, ncols=2)
figures.show(
    fig,
    alt="Left: bits per byte against weights, one line for each amount of text; right: against tokens, one line for each size. More text brings much more than more weights.",
)

# %% [markdown]
# Text is what is missing here: eight times the text brings more than sixty times the weights, and with the smallest text more than seven million weights bring nothing further. With the whole text they still help, so the largest model is the best.
#
# And the law? It meets the runs within a few hundredths, but look at the intervals, which come from drawing the twenty runs anew with replacement, twenty times, and leaving out the extreme tenth at either end (the *bootstrap*): many pairs of exponents do nearly as well. $E$ is no floor either: it is what is left when the curve is drawn on to texts and models that nobody here has tried, and the checkpoint, which
# read its text twenty-four times, is already below it. Hoffmann et al. found exponents of 0.34 and 0.28 for models from 70 million to 16 billion weights; even there, others who fitted the same numbers again got different ones (Besiroglu et al., 2024). What has survived is the advice: if you have more operations to spend, share them out between weights and text.
#
# ## Generation
#
# ### How much is left
#
# How do the three filters differ on the real model? After some words the next is nearly certain, after others anything may come. A fair cut leaves few tokens in the first case and many in the second. The cell counts, for a thousand places of the validation text, how many tokens each filter leaves.

# %%
with torch.inference_mode():
    window = torch.tensor(sample_ids[: 8 * 128]).reshape(8, 128).to(DEVICE)
    logits = gpt(window).float().cpu().flatten(0, 1)
    entropy = torch.distributions.Categorical(logits=logits).entropy() / np.log(2)
kept = {
    "top-k, k = 50": top_k_filter(logits, 50),
    "top-p, p = 0.9": top_p_filter(logits, 0.9),
    "min-p, p = 0.05": min_p_filter(logits, 0.05),
}
counts = {name: (left > -torch.inf).sum(dim=-1) for name, left in kept.items()}
fig, ax = plt.subplots()
bins = np.arange(0, 9)
for name, count in counts.items():
    means = [count[(entropy >= low) & (entropy < low + 1)].float().mean() for low in bins]
    ax.semilogy(bins + 0.5, means, label=name, base=2)
ax.set(title="How many tokens does each filter leave?", xlabel="entropy of the next token (bits)", ylabel="tokens left")
ax.legend()
figures.show(
    fig,
    alt="Tokens left by each filter against the entropy of the distribution: top-k always leaves 50; top-p grows from one to hundreds; min-p grows more slowly.",
)

# %% [markdown]
# Top-k is blind: where the model is sure it lets in 49 mistakes. The other two follow the model's doubt. Now let it write, piece by piece as it thinks, with each knob at a common place.

# %%
prompt = "The state of the Union is"
for options in (
    {"temperature": 0},
    {"temperature": 1.5},
    {"temperature": 1.0},
    {"top_k": 50},
    {"top_p": 0.9},
    {"min_p": 0.05},
):
    print(f"\n{options}: {prompt}", end="", flush=True)
    for piece in gpt.stream(40, prompt, **{"seed": 1} | options):
        print(piece.replace("\n", " "), end="", flush=True)
    print()

# %% [markdown]
# At temperature 0 it runs in circles: the most probable continuation of a phrase is often the phrase. At 1.5 it babbles. Between them the filters make little difference to the eye, in a model that is small enough to be unsure most of the time.
#
# ### When is the same the same?
#
# The source complains that a model, given the same prompt and the same seed, may answer differently. Computers are deterministic; so where does it come from? First, the plain case: this machine, this model, this seed.

# %%
texts = {gpt.generate(40, prompt, seed=7) for _ in range(3)}
print(f"the same seed, three times: {len(texts)} different text(s)")
print(f"five seeds: {len({gpt.generate(40, prompt, seed=seed) for seed in range(5)})} different texts")

# %% [markdown]
# Nothing moves. But the order in which numbers are added does matter, since each sum is rounded: $(0.1 + 0.2) + 0.3$ is not $0.1 + (0.2 + 0.3)$. And a library chooses the order by the *shape* of the work. So ask for the same logits three times: alone, as one row in a batch with
# seven strangers (for prompts of 1 to 32 tokens), and in 16 bits.

# %%
print((0.1 + 0.2) + 0.3 == 0.1 + (0.2 + 0.3))
rows = torch.tensor(sample_ids[: 8 * 32]).reshape(8, 32).to(DEVICE)
halved_gpt = copy.deepcopy(gpt).to(torch.bfloat16)
in_company, in_16_bits, favourites = [], [], 0
with torch.inference_mode():
    for length in range(1, 33):
        alone = gpt(rows[:1, :length])[:, -1]
        in_company.append((gpt(rows[:, :length])[:1, -1] - alone).abs().max().item())
        halved = halved_gpt(rows[:1, :length])[:, -1].float()
        in_16_bits.append((halved - alone).abs().max().item())
        favourites += int(halved.argmax() != alone.argmax())
print(
    f"in a batch of eight: other logits for {np.count_nonzero(in_company)} of 32 lengths, by {max(in_company):.0e} at most"
)
print(f"in 16 bits: other logits by {max(in_16_bits):.2f} at most, another favourite in {favourites} of 32 cases")


# %% [markdown]
# In company the differences are tiny, and only some shapes have them; in 16 bits they are larger. Mostly the favourite stays the same. But where two tokens are nearly equal a small difference is enough, and after one other token everything is other. Let it write greedily, with no dice at all, once in 32 bits and once in 16, for several prompts, and see which texts part, and where.

# %%
def greedy(prompt: str, num_tokens: int, model: GPT) -> list[int]:
    """The most probable continuation."""

    def next_logits(ids: torch.Tensor) -> torch.Tensor:
        with torch.inference_mode():
            return model(ids[None].to(DEVICE))[0, -1].float()

    return list(generate(next_logits, torch.tensor(tokenizer.encode(prompt)), num_tokens, temperature=0))


# %%
prompts = ["The state of the Union is", "My fellow Americans", "In the year", "We have", "The war", "I recommend that"]
parted, length = [], 60
for prompt in prompts:
    precise, rough = (greedy(prompt, length, model) for model in (gpt, halved_gpt))
    together = next((place for place, pair in enumerate(zip(precise, rough)) if pair[0] != pair[1]), length)
    parted.append(together < length)
    print(f"{prompt:27} the same for {together} of {length} tokens")

# %% [markdown]
# On a server your prompt shares a batch with those of strangers, a batch that is another one each time. He and Thinking Machines Lab (2025) asked a model of 235 billion parameters the same question a thousand times at temperature 0 and got 80 different answers; with operations that do not depend on the size
# of the batch, all thousand were the same. So it is not the dice, and not the "non-linear jumps" that the source suspects: it is rounding, which depends on company, device and precision.
#
# And white space? To the model a space is part of a token. One more space makes other tokens, hence another past. Compare the distributions of the next token: half the sum of $|p - q|$ is the share of the probability that has moved from some tokens to others (the *total variation*).

# %%
plain = np.exp(gpt.next_token_log_probs("We must"))
white_space = {}
for changed in ("We must ", "We  must", " We must", "We\nmust", "We must\n"):
    other = np.exp(gpt.next_token_log_probs(changed))
    white_space[changed] = 0.5 * np.abs(plain - other).sum()
    tokens_of = [tokenizer.names()[token] for token in tokenizer.encode(changed)]
    best = tokenizer.decode([int(other.argmax())])
    print(
        f"{changed!r:12} {white_space[changed]:4.0%} of the probability has moved; next {best!r:12} tokens {tokens_of}"
    )


# %% [markdown]
# A space at the end is the worst: in the training text a space begins the *next* word's token, so a lone space followed by a word is something the model has hardly ever seen. The tokenizer of chapter 01 is the model's glasses, and this is a scratch on them.
#
# ## What a run costs
#
# ### Six operations
#
# In the forward pass each weight takes part in one multiplication and one addition per token: 2 operations. In the backward pass the slopes with respect to the weights cost as much, and those with respect to the inputs, too: 4. So a run costs about
#
# $$\text{operations} = 6\,N D$$
#
# for $N$ parameters and $D$ tokens (Kaplan et al., 2020). By hand, for the training cell on two cores: $6 \cdot 2{,}621{,}440$ weights in products, times 289 steps of $32 \cdot 128$ tokens, is $1.86 \cdot 10^{13}$ operations; in 100 seconds, 186 billion a second (on the machine where this was written; put in the steps that yours printed). A device has a peak, but it waits for memory and for its neighbours; what share of the peak a run gets is its *utilisation*, often between 30 and 50 percent.

# %% tags=["export"]
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


# %% [markdown]
# A small model leaves a large card idle: between two of its products the card waits for the next order. The second number below is that of the dial at 16, with 814 million weights, on the same card (`python benchmarks/mini_gpt.py speed`).

# %%
table = resources.files("bow2gpt").joinpath("gpt_speed.csv").read_text(encoding="utf-8").splitlines()
print(f"the checkpoint: {card['utilisation']:.0%} of {card['device']}'s best, {card['tokens_per_second']:,} tokens a second")
for row in csv.DictReader(line for line in table if not line.startswith("#")):
    print(
        f"depth {row['depth']}, {int(row['weights']) / 1e6:.0f} M weights: {float(row['utilisation']):.0%}, "
        f"{int(row['tokens_per_second']):,} tokens a second, {row['gigabytes']} GB"
    )

# %% [markdown]
# If the formula is any good, it should give the published numbers of real runs. Parameters, tokens and speed come from the reports; the hours are then compared with those reported. GPT-3 has no hours in its report, so there only the operations can be compared. An A100 does 312 trillion bf16 operations a second.
#
# * *GPT-2 124M*, trained anew in llm.c (Karpathy, 2024): ten billion tokens, eight A100s, about 90 minutes, up to 60 % utilisation, 14 dollars an hour for the eight.
# * *GPT-3* (Brown et al., 2020): 174.6 billion parameters, 300 billion tokens; the paper gives $3.14 \cdot 10^{23}$ operations.
# * *LLaMA-7B* (Touvron et al., 2023): 6.7 billion parameters, a trillion tokens, 82,432 hours; the speed, 380 tokens a second and card, is that of its largest sister, of 65.2 billion.
# * *BLOOM* (Le Scao et al., 2022): 176 billion parameters, 366 billion tokens, activations computed again; by its model card about 150 trillion operations a second and card of 312, and 1,082,990 hours.

# %%
A100 = 312e12
reported = {
    "GPT-2 124M": ((124.4e6, 10e9, A100, 0.60, 14 / 8, 8), 8 * 1.5),
    "GPT-3": ((174.6e9, 300e9, A100, 0.40), None),
    "LLaMA-7B": ((6.7e9, 1e12, A100, 6 * 65.2e9 * 380 / A100), 82_432),
    "BLOOM": ((176.2e9, 366e9, A100, 150e12 / A100, 2.0, 384, True), 1_082_990),
}
for name, (run, hours) in reported.items():
    cost = estimate_training_cost(*run)
    against = f"{cost.device_hours / hours - 1:+.0%} against {hours:,.0f}" if hours else "3.14e23 operations reported"
    print(
        f"{name:11} {cost.flops:.2e} operations, {cost.device_hours:11,.0f} A100 hours ({against}), {cost.money:12,.0f} dollars"
    )

# %% [markdown]
# Within 15 percent, over nearly five powers of ten, from one line of arithmetic. (The dollars assume two an hour where no price is given. They pay for the last run alone; the failed ones, the people and the text are not in it.)
#
# ### The story of the 3090
#
# The source says that one can train a model of 13 billion parameters in FP16 on a card with 24 GB, a GeForce 3090, slowly, with streaming, checkpointing and accumulation; and tells of one with 20 billion that ran for a year. First, does it fit?

# %%
for name, options in {
    "AdamW, mixed precision": {},
    "AdamW with 8-bit means, no master copy": {"optimiser_bytes": 2},
    "SGD, everything in FP16": {"optimiser_bytes": 0},
}.items():
    memory = training_memory(
        13e9, **options, num_layers=40, embedding_dim=5120, tokens_at_once=2048, checkpointing=True
    )
    parts = (memory.weights, memory.gradients, memory.optimiser, memory.activations)
    print(f"{name:40}", " + ".join(f"{part / 1e9:.0f}" for part in parts), f"= {memory.total / 1e9:.0f} GB")

# %% [markdown]
# The weights alone, two bytes each, are 26 GB: more than the card has. So nothing that stays on the card will do; weights, gradients and means must live in the computer's memory or on its disk and visit the card block by block (Rajbhandari et al., 2021, do that for a trillion). Checkpointing and accumulation save
# activations, which are the smallest part. It is possible, then, with the word "streaming" doing all the work. And the time? A 3090 does 71 trillion FP16 operations a second if it adds in 32 bits (NVIDIA, 2020). Grant it 30 percent of that, which is generous with everything travelling over a cable.

# %%
GEFORCE_3090, YEAR = 71e12, 365 * 86400
for billions in (1.3, 13, 20):
    weights_ = billions * 1e9
    cost = estimate_training_cost(weights_, 20 * weights_, GEFORCE_3090, 0.3)
    within_a_year = GEFORCE_3090 * 0.3 * YEAR / (6 * weights_)
    print(
        f"{billions:4} B parameters: {cost.days / 365:6.1f} years for 20 tokens each; in one year"
        f" {within_a_year / 1e9:5.1f} billion tokens, {within_a_year / weights_:.2f} each"
    )

# %% [markdown]
# In a year the model of 20 billion reads between five and six billion tokens, about a quarter of a token for each parameter; the twenty of Hoffmann et al. would take the better part of a century. So what ran for a year cannot have been a full training from nothing. More likely it was a long *fine-tuning*, that is, going on with a model that others had trained, or a training that ended early. For a model of 1.3
# billion the same card needs a season. Chapter 08 does what such a card is good for.

# %%
sizes = np.geomspace(1e8, 1e12, 50)
fleets = {"one 3090": (GEFORCE_3090, 0.3, 1), "8 A100": (A100, 0.4, 8), "1,024 A100": (A100, 0.4, 1024)}
fig, (left, right) = plt.subplots(1, 2, figsize=(9, 3.6))
for name, (peak, share, number) in fleets.items():
    days = [estimate_training_cost(size, 20 * size, peak, share, num_devices=number).days for size in sizes]
    left.loglog(sizes, days, label=name, markevery=10)
left.axhline(365, color="0.4", linestyle=":", marker="")
left.text(1.2e8, 420, "a year", fontsize=8)
left.set(title="How long does it take?", xlabel="parameters, 20 tokens each", ylabel="days")
left.set_ylim(1e-2, 1e7)
money = [estimate_training_cost(size, 20 * size, A100, 0.4).money for size in sizes]
right.loglog(sizes, money, markevery=10)
right.set(title="What does it cost?", xlabel="parameters, 20 tokens each", ylabel="dollars, at 2 an A100 hour")
left.legend()
figures.show(
    fig,
    alt="Left: days of training against parameters for one 3090, 8 and 1,024 A100s; a year's work of one card is below three billion parameters. Right: dollars grow with the square of the parameters, from about five to hundreds of millions.",
)

# %% [markdown]
# Cards trade for days along these lines: twice the cards, half the days, and at rent by the hour the same bill. Money buys time only if the cards must be bought. And with twenty tokens a parameter the bill grows with the *square* of the size, ten times the model for a hundred times the money.
#
# ## Against the library
#
# Torch has had a Muon of its own since 2025, and a fused AdamW. The cell gives ours and torch's the same gradients for twenty steps.

# %%
torch.manual_seed(0)
ours, state = torch.zeros(64, 128), {}
theirs = torch.zeros(64, 128, requires_grad=True)
if hasattr(torch.optim, "Muon"):  # since version 2.9
    optimiser = torch.optim.Muon([theirs], lr=0.02, weight_decay=0.0, momentum=0.95, adjust_lr_fn="original")
    for _ in range(20):
        gradient = torch.randn(64, 128)
        ours = muon_step(ours, gradient, state)
        theirs.grad = gradient
        optimiser.step()
    print(f"Muon: size {ours.std():.4f}, size of the difference {(ours - theirs.detach()).std():.4f}")

# %% [markdown]
# The difference is that of 16 bits, in which torch multiplies. For the model there are two oracles. The tests build a small random GPT-2 with the `transformers` library, save it, read it with `GPT.from_pretrained`, and find equal logits and slopes. Here is the second,
# without that library: torch's own encoder layer, norm first, under a causal mask, is a GPT-2 block. Write its weights into a file with the names and the orientation of the published ones, and read that.

# %%
torch.manual_seed(0)
channels, layers = 48, 2
tanh_gelu = partial(F.gelu, approximate="tanh")
stack = [
    torch.nn.TransformerEncoderLayer(channels, 4, 4 * channels, 0.0, tanh_gelu, norm_first=True, batch_first=True)
    for _ in range(layers)
]
table, places, last_norm = torch.nn.Embedding(97, channels), torch.randn(24, channels), torch.nn.LayerNorm(channels)
published = {"wte.weight": table.weight.data, "wpe.weight": places}
published |= {f"ln_f.{kind}": getattr(last_norm, kind).data for kind in ("weight", "bias")}
for number, layer in enumerate(stack):
    parts = {"ln_1": layer.norm1, "ln_2": layer.norm2, "attn.c_proj": layer.self_attn.out_proj}
    parts |= {"mlp.c_fc": layer.linear1, "mlp.c_proj": layer.linear2}
    for name, part in parts.items():
        published[f"h.{number}.{name}.weight"] = (
            part.weight.data.T.contiguous() if part.weight.ndim == 2 else part.weight.data
        )
        published[f"h.{number}.{name}.bias"] = part.bias.data
    published[f"h.{number}.attn.c_attn.weight"] = layer.self_attn.in_proj_weight.data.T.contiguous()
    published[f"h.{number}.attn.c_attn.bias"] = layer.self_attn.in_proj_bias.data

# %%
import json

from safetensors.torch import save_file

save_file(published, folder / "model.safetensors")
(folder / "config.json").write_text(json.dumps({"n_head": 4}))
ids = torch.randint(97, (2, 24))
with torch.inference_mode():
    hidden = table(ids) + places
    for layer in stack:
        hidden = layer(hidden, src_mask=torch.nn.Transformer.generate_square_subsequent_mask(24))
    expected = last_norm(hidden) @ table.weight.T
    print("largest difference of the logits:", (GPT.from_pretrained(folder)(ids) - expected).abs().max().item())

# %% [markdown]
# So if you have GPT-2's file on your disk, `GPT.from_pretrained(path, tokenizer)`, with GPT-2's own tokenizer, makes this chapter's class write as GPT-2 does. And the fused optimiser: one pass over all numbers instead of a dozen.

# %%
import timeit

from bow2gpt.chapters.mlps import adamw_step

parameter, gradient, state = torch.randn(512, 2048), torch.randn(512, 2048), {}
work = {"chapter 04's": lambda: adamw_step(parameter.numpy(), gradient.numpy(), state)}
for name, fused in {"torch's, a loop": False, "torch's, fused": True}.items():
    tensor = parameter.clone().requires_grad_()
    tensor.grad = gradient
    work[name] = torch.optim.AdamW([tensor], fused=fused).step
for name, step in work.items():
    print(f"{name:15} {1e3 * min(timeit.repeat(step, number=1, repeat=10)):.1f} ms")

# %% [markdown]
# ## Mixing old and new
#
# Do the network and the counts know the same? Chapter 04 asked that of an MLP, which lost to the counts and still improved them. Ask it again.

# %%
from bow2gpt.chapters.counting_models import NGramModel
from bow2gpt.machine import release_memory

del yours, halved_gpt  # counting needs room
release_memory()
counts_model = NGramModel.fit(train_text, 5, tokenizer=tokenizer)
counts_log_probs = counts_model.token_log_probs(sample)
counts_bits = -counts_log_probs.sum() / np.log(2) / sample_bytes
shares = np.round(np.arange(0.1, 1.0, 0.1), 1)
mixed = [
    -np.logaddexp(np.log(share) + gpt_log_probs, np.log(1 - share) + counts_log_probs).sum() / np.log(2) / sample_bytes
    for share in shares
]
print(
    f"counts {counts_bits:.3f}, checkpoint {gpt_bits:.3f}, best mixture {min(mixed):.3f} with {shares[np.argmin(mixed)]:.1f} of the latter"
)


# %%
def three_before(token_ids: np.ndarray) -> np.ndarray:
    """A number for the three tokens before each token, from the fourth on."""
    ids, size = np.asarray(token_ids, dtype=np.int64), tokenizer.vocabulary_size
    return (ids[:-3] * size + ids[1:-2]) * size + ids[2:-1]


# %%
frequency = np.bincount(train_ids, minlength=4096)
rank = np.argsort(np.argsort(-frequency))[sample_ids]
gain = (gpt_log_probs - counts_log_probs) / np.log(2)
known = np.zeros(len(sample_ids), dtype=bool)
known[3:] = np.isin(three_before(sample_ids), three_before(train_ids))
print(f"the counts come closer at {np.mean(gain < 0):.0%} of the tokens")
fig, (left, right) = plt.subplots(1, 2, figsize=(9, 3.5))
left.plot([0, *shares, 1], [counts_bits, *mixed, gpt_bits])
left.set(
    title="Do they know the same?", xlabel="share of the GPT (0: counts alone)", ylabel="bits per byte, validation"
)
bins = [0, 16, 64, 256, 1024, 4096]
for group, label in ((known, "three before were seen together"), (~known, "were not")):
    means = [gain[group & (rank >= low) & (rank < high)].mean() for low, high in zip(bins, bins[1:])]
    right.plot(range(5), means, label=label)
right.axhline(0, color="0.5", linestyle=":", marker="")
right.set_xticks(range(5), [f"{low + 1}-{high}" for low, high in zip(bins, bins[1:])], fontsize=7)
right.set(
    title="Where does the GPT win?",
    xlabel="rank of the token by frequency",
    ylabel="bits per token better than the counts",
)
right.legend(fontsize=8)
figures.show(
    fig,
    alt="Left: bits per byte against the share of the GPT, a shallow valley near its end. Right: the GPT's advantage over the counts by frequency of the token, between 0.6 and 1.3 bits in every group, least for the most frequent tokens after three that were seen together.",
)

# %% [markdown]
# A valley again, if a shallow one. The GPT is better nearly everywhere, by about a bit a token, and least where frequent tokens follow three that stood together in the training text. But "on average" hides much: at the share of tokens that the cell prints, it is the counts that come closer. Counts quote what they have seen, word by word; the network has learned what such
# words are *like*. They fail at different places, so keep both, as speech recognisers did for years (Schwenk, 2007). How much the counts add depends on the network. The ladder's rows tell:

# %%
on_the_ladder = {row["name"]: float(row["bits_per_byte"]) for row in ladder.rows()}
partners = {"log-bilinear": "log-bilinear-mixed"}
for name in ("log-bilinear", "mlp", "attention", "lstm", "gpt", "gpt-committed"):
    alone, both = on_the_ladder[name], on_the_ladder[partners.get(name, f"{name}-and-counts")]
    print(f"{name:14} alone {alone:.3f}, with the counts {both:.3f}: {alone - both:.3f} bits per byte less")

# %% [markdown]
# The better the network, the less there is left for the counts to say.
#
# ## What the source says

# %%
from bow2gpt.chapters.attention import Transformer

with torch.device("meta"):
    base = Transformer(embedding_dim=512, num_heads=8, num_layers=6, hidden_dim=2048, source_size=2, target_size=2)
tokens_table = 37_000 * 512
encoder = sum(each.numel() for each in base.encoder.parameters())
cross = sum(each.numel() for block in base.decoder for each in block.cross.parameters())
decoder = sum(each.numel() for each in base.decoder.parameters()) - cross
whole = encoder + decoder + cross
print(
    f"encoder {encoder / 1e6:.1f} M, cross-attention {cross / 1e6:.1f} M, rest of the decoder {decoder / 1e6:.1f} M, tokens {tokens_table / 1e6:.1f} M"
)
dropped_share = (encoder + cross) / whole, (encoder + cross) / (whole + tokens_table)

# %% [markdown]
# These are the sizes of the base model of 2017, whose one table of 37,000 tokens serves encoder, decoder and output. What a decoder-only model throws away is the encoder and the attention that looked at it.

# %%
claims.verdict(
    27,
    "Decoder-only models are faster and cheaper: about a third of the model is thrown away.",
    f"of the base Transformer of 2017, encoder and cross-attention are {dropped_share[0]:.0%} of the blocks' parameters, and {dropped_share[1]:.0%} if its table of tokens is counted. So it is "
    "more than a third, the more so the larger the model. Cheaper, though, only if the rest is left as it is: a token passes through the encoder or the decoder, not both, so an "
    "encoder-decoder of twice the parameters costs about as many operations as a decoder alone (Raffel et al., 2020).",
    "holds in part",
)

# %%
claims.verdict(
    28,
    "Even with a fixed seed the same prompt can give something different; and white space can change the answer completely.",
    f"on one machine, the same seed wrote the same text every time. In a batch of eight the logits differ by up to {max(in_company):.0e}, and in 16 bits by up to {max(in_16_bits):.2f}: of {len(parted)} texts "
    f"without any dice, {sum(parted)} are other ones in 16 bits than in 32 within {length} tokens. So it can happen, by rounding, where batch or precision change (or the device, which was not tried), and it did not where these stayed as they are. A space "
    f"more moves {min(white_space.values()):.0%} to {max(white_space.values()):.0%} of the next token's probability.",
    "holds in part",
)

# %%
thirteen = estimate_training_cost(13e9, 260e9, GEFORCE_3090, 0.3)
claims.verdict(
    29,
    "13 billion parameters train in FP16 on one card with 24 GB, slowly, with streaming, checkpointing and accumulation; 20 billion took a year.",
    f"the weights alone are 26 GB, the usual mixed-precision training {training_memory(13e9).total / 1e9:.0f} GB: it fits only if nearly everything is streamed from elsewhere. Twenty tokens a parameter would take {thirteen.days / 365:.0f} years at 30 % "
    f"utilisation; a year of 20 billion parameters is {GEFORCE_3090 * 0.3 * YEAR / (6 * 20e9) / 1e9:.0f} billion tokens. As fine-tuning it can be done, as training from scratch it cannot.",
    "holds in part",
)

# %%
llama, gpt2 = (estimate_training_cost(*reported[name][0]) for name in ("LLaMA-7B", "GPT-2 124M"))
claims.verdict(
    30,
    "Training from scratch costs hundreds of thousands; one trades time for money.",
    f"by 6 N D, which meets the hours of three published runs and the operations of a fourth within 15 %: LLaMA-7B {llama.money:,.0f} dollars at 2 an A100 hour, GPT-3's operations {estimate_training_cost(*reported['GPT-3'][0]).money:,.0f}; but GPT-2's smallest size {gpt2.money:.0f}, and the book's checkpoint, at three dollars an hour, {card['seconds'] / 3600 * 3:.2f}. "
    "Cards and days trade one for one, while the bill stays. The price is a matter of size, over seven powers of ten; for a model that one would offer to others the first half is right; money buys time only for those who must buy the cards.",
    "holds in part",
)

# %% [markdown]
# ## The rung
#
# Four rows go on the ladder: a GPT that trains for about five minutes on two cores (the table has the seconds of one), the checkpoint, and each of them mixed with the counts. The test text is asked once, by the command that makes the rows.

# %%
print(ladder.table())

# %%
figures.show(ladder.figure(), alt=ladder.describe())

# %% [markdown]
# And the whole story in one picture, a hockey stick lying down: the best that each chapter could do.

# %%
names = {1: "tokens", 2: "counting", 3: "embeddings", 4: "MLP", 5: "LSTM", 6: "attention", 7: "GPT"}
best = {}
for row in ladder.rows():
    kind = int(row["chapter"]), row["name"].endswith(("counts", "mixed"))
    best[kind] = min(float(row["bits_per_byte"]), best.get(kind, 8.0))
fig, ax = plt.subplots()
for with_counts, label in ((False, "one idea alone"), (True, "mixed with counts")):
    points = sorted((number, bits) for (number, flag), bits in best.items() if number and flag == with_counts)
    ax.plot(*zip(*points), label=label)
ax.set_xticks(list(names), names.values())
ax.set(title="What did each idea buy?", xlabel="chapter", ylabel="bits per byte of the test text")
ax.legend()
figures.show(
    fig,
    alt="Bits per byte of the best model of each chapter: from 2.03 counting falls steeply to 1.31; embeddings (1.58), MLP, LSTM (1.36) and attention (1.45) alone stay above it; mixed with counts they lie between 1.31 and 1.26; the GPT falls to 1.06, mixed 1.05.",
)

# %% [markdown]
# Counting takes the first great bite, and on our ladder the next four ideas do not beat it alone: embeddings, networks, recurrence and a little attention are each a better *idea*, and each learns more slowly than a table can be filled. (Bengio et al. did beat the trigrams of 2003.) Then the parts come together, the
# training is fast enough to read a text many times, and the curve bends.
#
# ## What it cannot do
#
# * **It knows one thing.** It writes addresses to Congress. To make it answer, classify or follow an instruction, it must be adapted: chapter 08.
# * **It wastes work.** For each token it writes it reads the whole window again. Chapter 09 keeps what it has read, and makes it smaller and faster.
# * **It has one shape.** Other parts, other positions, several experts: chapter 10.
# * **It has no facts, only phrases.** Ask it for the year of a war: it will name one, fluently.
#
# ## Exercises
#
# Open `exercises/07_mini_gpt/mini_gpt.ipynb`. Ten tasks: `get_batch`, `gpt_forward`, `count_parameters`, `lr_schedule`, `muon_step`, `accumulate_gradients`, `generate`, `top_p_filter`, `estimate_training_cost` and
# `resume_is_exact`, with checks under each; `bow2gpt check 07` in a terminal grades them all.
#
# To think about, without a grade: In the pencil's GPT, what must change so that after $AB$ it prefers $B$? Why must a tied head begin with small embeddings? If a batch is drawn with replacement, what share of the windows is never seen in a pass?
#
# ## Further reading
#
# * H. Schwenk (2007). *Continuous space language models.* Computer Speech and Language 21(3).
# * T. Chen, B. Xu, C. Zhang and C. Guestrin (2016). *Training deep nets with sublinear memory cost.* arXiv:1604.06174.
# * I. Loshchilov and F. Hutter (2017). *SGDR: stochastic gradient descent with warm restarts.* ICLR.
# * O. Press and L. Wolf (2017). *Using the output embedding to improve language models.* EACL.
# * A. Fan, M. Lewis and Y. Dauphin (2018). *Hierarchical neural story generation.* ACL.
# * P. Micikevicius et al. (2018). *Mixed precision training.* ICLR.
# * A. Radford, K. Narasimhan, T. Salimans and I. Sutskever (2018). *Improving language understanding by generative pre-training.* And A. Radford et al. (2019). *Language models are unsupervised multitask learners.* OpenAI.
# * T. B. Brown et al. (2020). *Language models are few-shot learners.* NeurIPS.
# * A. Henry, P. R. Dachapally, S. Pawar and Y. Chen (2020). *Query-key normalization for Transformers.* Findings of EMNLP.
# * A. Holtzman, J. Buys, L. Du, M. Forbes and Y. Choi (2020). *The curious case of neural text degeneration.* ICLR.
# * J. Kaplan et al. (2020). *Scaling laws for neural language models.* arXiv:2001.08361.
# * C. Raffel et al. (2020). *Exploring the limits of transfer learning with a unified text-to-text Transformer.* JMLR 21.
# * S. Rajbhandari, J. Rasley, O. Ruwase and Y. He (2020). *ZeRO: memory optimizations toward training trillion parameter models.* SC. And S. Rajbhandari et al. (2021). *ZeRO-Infinity: breaking the GPU memory wall for extreme scale deep learning.* SC.
# * N. Shazeer (2020). *GLU variants improve Transformer.* arXiv:2002.05202.
# * NVIDIA (2020). *NVIDIA Ampere GA102 GPU architecture.* White paper.
# * J. Su et al. (2021). *RoFormer: enhanced Transformer with rotary position embedding.* arXiv:2104.09864.
# * D. R. So et al. (2021). *Searching for efficient Transformers for language modeling.* NeurIPS.
# * J. Hoffmann et al. (2022). *Training compute-optimal large language models.* arXiv:2203.15556. And T. Besiroglu et al. (2024), who fitted its third method anew: *Chinchilla scaling: a replication attempt.* arXiv:2404.10102.
# * V. Korthikanti et al. (2022). *Reducing activation recomputation in large Transformer models.* arXiv:2205.05198.
# * T. Le Scao et al. (2022). *BLOOM: a 176B-parameter open-access multilingual language model.* arXiv:2211.05100.
# * H. Touvron et al. (2023). *LLaMA: open and efficient foundation language models.* arXiv:2302.13971.
# * A. Karpathy (2024). *Reproducing GPT-2 (124M) in llm.c in 90 minutes for $20.* github.com/karpathy/llm.c/discussions/481.
# * K. Jordan et al. (2024). *Muon: an optimizer for hidden layers in neural networks.* kellerjordan.github.io/posts/muon.
# * M. N. Nguyen et al. (2025). *Turning up the heat: min-p sampling for creative and coherent LLM outputs.* ICLR. arXiv:2407.01082.
# * H. He and Thinking Machines Lab (2025). *Defeating nondeterminism in LLM inference.* thinkingmachines.ai.
