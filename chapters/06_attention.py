# %% [markdown]
# # 06 Attention
#
# *From Bag of Words to GPT, chapter 06. About two hours of reading and running; every cell together takes some three minutes on two cores.*
#
# ## Where we are
#
# Chapter 04's network saw six tokens, each in a place of its own. Chapter 05 read one token after the other with the same weights, and carried what it had read
# in a vector of fixed size. That vector was a bottleneck: long words lost their beginnings, until the decoder was allowed to look back at all the states of the
# encoder and choose. The look back was called *attention*, and it took most of the errors away. But the reader was still an LSTM. It cannot begin with the
# second token before it has finished the first, so a machine with a thousand arms uses one of them.
#
# This chapter asks what is left if you keep the look back and throw away the reader. Quite a lot: it is called the *Transformer* (Vaswani et al., 2017), and
# every model in the rest of the book is made of it. You build it from a Python dictionary that has been made soft, with a pencil first, then in a few lines,
# then as modules that later chapters put together anew. You measure what it costs, you look into its heads, and you let it compete with chapter 05.

# %%
import time

import matplotlib.pyplot as plt
import numpy as np
import torch
from torch.nn import functional as F
from tqdm.auto import tqdm

from bow2gpt import claims, corpus, figures, ladder, ruler, spelling

torch.set_flush_denormal(True)  # numbers too small to matter would be slow

# %% [markdown]
# ## The idea by hand: a soft dictionary
#
# A Python dictionary answers a *query* if it is equal to one of its *keys*, and its answer is the *value* stored there. It is all or nothing: a query that is
# merely similar to a key finds nothing at all.

# %%
sounds = {"cat": "purrs", "hat": "rustles"}
sounds["cat"], sounds.get("kitten")

# %% [markdown]
# Suppose queries, keys and values are vectors. Then "equal" can become "similar": compare the query with *every* key, turn the similarities into weights that
# add up to one, and answer with the weighted mean of *all* values. The measure of similarity is the dot product, the weights come from chapter 04's softmax.
#
# The sentence is *the cat in the hat*. Give each word a key of two numbers: the first says "I am a thing", the second "I am a relation between things". So *cat*
# and *hat* have the key $(1, 0)$, *in* has $(0, 1)$, *the* has $(0, 0)$. The word *in* would like to know which things it relates; so its query is
# $(\ln 4, 0)$, "things, please". Take a pencil. The dot products with the five keys are $0, \ln 4, 0, 0, \ln 4$. Their powers of $e$ are $1, 4, 1, 1, 4$, which
# add up to 11. So the weights are $\frac1{11}, \frac4{11}, \frac1{11}, \frac1{11}, \frac4{11}$. Let the value of *cat* be $(11, 0)$, that of *hat* $(0, 11)$, and the others
# zero. What does *in* find?

# %%
words = "the cat in the hat".split()
keys = torch.tensor([[0.0, 0], [1, 0], [0, 1], [0, 0], [1, 0]])
values = torch.tensor([[0.0, 0], [11, 0], [0, 0], [0, 0], [0, 11]])
query = torch.tensor([np.log(4), 0.0], dtype=torch.float32)
powers = (keys @ query).exp()
print("weights", *(f"{weight:.0f}/{powers.sum():.0f}" for weight in powers), " found", powers @ values / powers.sum())

# %% [markdown]
# It finds $(4, 4)$: a bit of *cat* and as much of *hat*. Nothing was missing, nothing had to match exactly, and, most of all, the answer changes *smoothly* with the
# query and the keys. So there are slopes, and nobody has to choose keys and queries with a pencil: they can be learned. A memory that is
# addressed by content in this way was part of the Neural Turing Machine (Graves, Wayne and Danihelka, 2014).
#
# In a sentence every word asks. Put the queries in the rows of a matrix $Q$, the keys in $K$, the values in $V$; then all the dot products are one product of
# matrices, and the whole look-up is
#
# $$\mathrm{attention}(Q, K, V) = \mathrm{softmax}\!\left(\frac{Q K^\top}{\sqrt d}\right) V$$
#
# where $d$ is the length of a query, and softmax works on each row. This is *scaled dot-product attention* (Vaswani et al., 2017); without the root it is one of the
# variants of Luong, Pham and Manning (2015), who put it on an LSTM. Chapter 05's first attention, by Bahdanau, Cho and Bengio, compared query and key
# with a small network. Before the code: what is the root for?
#
# ### Why divide by the root of d
#
# Take queries and keys of $d$ random numbers with mean 0 and variance 1. A dot product adds up $d$ products, each with variance 1, so its variance is $d$ and
# its *standard deviation* $\sqrt d$. With $d = 4$ the scores lie around $\pm 2$, with $d = 1024$ around $\pm 32$. Softmax of numbers so far apart is nearly all or
# nothing again, and where a function is flat, no slope comes through. The cell draws 16 keys at a time and measures both: how far the scores spread, and how
# large the slope of the weights with respect to the scores is (the mean size of an entry of its Jacobian, $w_i(\delta_{ij} - w_j)$).

# %%
torch.manual_seed(0)
head_dims, spread, largest_weight, slope = [2**power for power in range(1, 11)], [], [], {"plain": [], "scaled": []}
for dim in head_dims:
    scores = (torch.randn(2000, 1, dim) @ torch.randn(2000, dim, 16))[:, 0]  # (draws, keys)
    spread.append(scores.std().item())
    largest_weight.append(scores.softmax(-1).amax(-1).mean().item())
    for name, given in {"plain": scores, "scaled": scores / dim**0.5}.items():
        weights = given.softmax(-1)
        jacobian = torch.diag_embed(weights) - weights[:, :, None] * weights[:, None, :]
        slope[name].append(jacobian.abs().mean().item())
print(f"d = 1,024: spread {spread[-1]:.1f}, the largest of 16 weights is {largest_weight[-1]:.2f} on average;", end=" ")
print(f"the root makes the slopes {slope['scaled'][-1] / slope['plain'][-1]:.0f} times larger")

# %%
fig, (left, right) = plt.subplots(1, 2, figsize=(9, 3.4))
left.loglog(head_dims, spread, label="measured", linestyle="none", base=2)
left.loglog(head_dims, np.sqrt(head_dims), label="√d", marker="", base=2)
left.set(title="How far do the scores spread?", xlabel="length d of query and key", ylabel="standard deviation")
for name, label in {"scaled": "divided by √d", "plain": "as they are"}.items():
    right.semilogx(head_dims, slope[name], label=label, base=2)
right.set(title="What is left of the slopes?", xlabel="length d of query and key", ylabel="mean slope of a weight")
right.set_ylim(0, None)
for ax in (left, right):
    ax.legend()
figures.show(
    fig,
    alt="Left: the standard deviation of dot products follows the root of d from 1.4 to 32. Right: the slopes of the softmax stay level when the "
    "scores are divided by the root of d, and shrink to a small part without.",
)

# %% [markdown]
# The dots lie on the line. Without the root, attention with long vectors starts its life nearly blind: it has chosen one key at random, and hardly any slope tells
# it that another would be better. With the root, every length starts alike. The choice is a matter of *beginnings*; a trained model may well be sharp, if its
# weights grow large enough.
#
# ## Build it
#
# Two functions: one for the weights, which you will want to look at, and one for the whole. Read `attention_weights` first; the helpers below it only check
# shapes and put minus infinity where a *mask* forbids to look, so that the power becomes 0. One decision is ours to make. If a query may look at nothing at all, softmax would divide
# zero by zero. Then the weights are 0 and so is the answer, and no slope becomes NaN (torch's own function does the same).

# %% tags=["export"]
import torch


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
        mask: broadcasts to (..., queries, keys). Boolean: True = may look; of floats: added to the scores.
        scale: what the dot products are multiplied with; 1 / sqrt(head_dim) by default.

    Returns:
        Shape (..., queries, value_dim); zeros for a query that may look at nothing.

    Raises:
        ValueError: if a shape or a type does not fit.
    """
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
    scale = queries.shape[-1] ** -0.5 if scale is None else scale
    scores = queries @ keys.transpose(-2, -1) * scale
    if mask is None:
        return scores
    _check_mask(mask, scores.shape)
    if mask.dtype == torch.bool:
        return scores.masked_fill(~mask, -torch.inf)
    return scores + mask.to(scores.dtype)


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


# %% [markdown]
# Every word of the sentence now asks. The articles ask nothing, $(0, 0)$; *cat* and *hat* ask for a relation. The picture shows the weights as a matrix: one row for each word that
# asks, one column for each that answers. `scale=1` leaves the root out, so that the middle row is the one from above.

# %%
queries = torch.zeros(5, 2)
queries[2] = query  # "in" asks for things
queries[[1, 4], 1] = float(np.log(6))  # "cat" and "hat" ask for a relation
weights = attention_weights(queries, keys, scale=1.0)
print(scaled_dot_product_attention(queries, keys, values, scale=1.0).round(decimals=2).tolist())
figures.show(
    figures.attention_matrix(weights, words, title="Who looks at whom in “the cat in the hat”?"),
    alt="A matrix of five rows and columns, the cat in the hat. The rows of the articles are uniform, in looks at cat and hat with 0.36 each, cat and hat look at in with 0.6.",
)


# %% [markdown]
# A word that asks nothing gets a bit of everything: the mean of the values, $(2.2, 2.2)$. And *in* gets its $(4, 4)$. This matrix is what the source calls "a dictionary of
# every word against every other": with $n$ words it has $n^2$ cells. Remember that for later.
#
# ### Masks
#
# A language model predicts the next word, so no position may look at later ones: a *causal mask*. As everywhere in torch, True means "may look". If there are fewer queries than keys, the
# queries are the *last* positions; that will be handy when a model writes word by word. A `window` hides what is further back than so many keys.

# %% tags=["export"]
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


# %%
print(causal_mask(5).int().tolist())
print(
    "two queries, five keys:", causal_mask(2, 5).int().tolist(), " window 2:", causal_mask(3, window=2).int().tolist()
)
masked = attention_weights(queries, keys, causal_mask(5), scale=1.0)
print("in:", masked[2].round(decimals=2).tolist())

# %%
print(causal_mask(5).int().tolist())
print(
    "two queries, five keys:", causal_mask(2, 5).int().tolist(), " window 2:", causal_mask(3, window=2).int().tolist()
)
masked = attention_weights(queries, keys, causal_mask(5), scale=1.0)
print("in:", masked[2].round(decimals=2).tolist())

# %% [markdown]
# Now *in* can see *cat*, but not *hat*; its weights are $\frac16, \frac46, \frac16$. What is masked gets exactly 0, and the others share its part. The second kind of mask you will meet hides *padding*: words of several lengths are
# laid in one array, and nobody may look at the filling. Any mask will do that broadcasts to (queries, keys), with more dimensions in front if each sentence has its own.
#
# ### Without positions it is a bag
#
# Shuffle the words. What changes? Each row of the answer belongs to a query, so it moves with its word; but the answer itself is a sum over keys, and a sum does
# not care about order.

# %%
order = torch.tensor([4, 2, 0, 1, 3])
straight = scaled_dot_product_attention(queries, keys, values)
shuffled = scaled_dot_product_attention(queries[order], keys[order], values[order])
print([words[i] for i in order], " largest difference:", float((shuffled - straight[order]).abs().max()))

# %% [markdown]
# Nothing. Attention alone is chapter 02's bag, with better weights: *the cat in the hat* and *the hat in the cat* are the same to it. Positions have to be put in from outside, and
# we come to that. First, more than one question at a time.
#
# ### Several heads
#
# A word may have several questions: a verb wants its subject *and* its object. One softmax can hardly give two answers, since its weights add up to one. So the
# $d$ channels are cut into *heads*, small look-ups that run side by side and whose answers are laid end to end. By hand: four channels, two heads of two; the row
# $(1, 2, 3, 4)$ becomes $(1, 2)$ for head 0 and $(3, 4)$ for head 1.
#
# Where do queries, keys and values come from? From the same vectors, by three matrices that are learned: $Q = X W_Q^\top$, $K = M W_K^\top$, $V = M W_V^\top$. A last one, $W_O$, mixes the heads' answers. Here $X$ holds
# those who ask and $M$, the *memory*, those who answer. If they are two sequences, it is *cross-attention*: chapter 05's decoder, looking back at the letters. If a
# sequence asks itself, it is *self-attention*. So the second is one line.

# %% tags=["export"]
from torch.nn import functional as F


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


# %%
row = torch.tensor([[1.0, 2, 3, 4], [5, 6, 7, 8]])  # two words, four channels
print(split_heads(row, head_dim=2).tolist(), "back:", merge_heads(split_heads(row, 2)).tolist())
some = torch.randn(5, 4)
identity, swap = torch.eye(4), torch.eye(4)[[2, 3, 0, 1]]
print(multi_head_attention(some, 0 * identity, identity, identity, identity, num_heads=2)[0] - some.mean(0))

# %%
row = torch.tensor([[1.0, 2, 3, 4], [5, 6, 7, 8]])  # two words, four channels
print(split_heads(row, head_dim=2).tolist(), "back:", merge_heads(split_heads(row, 2)).tolist())
some = torch.randn(5, 4)
identity, swap = torch.eye(4), torch.eye(4)[[2, 3, 0, 1]]
print(multi_head_attention(some, 0 * identity, identity, identity, identity, num_heads=2)[0] - some.mean(0))


# %% [markdown]
# Two words of four channels became two heads of two words, and back. The last line is a check that you can do in your head: with queries of zero all keys fit equally well, so each head
# answers with the mean of the values.

# %% [markdown]
# ### Positions by turning
#
# The Transformer of 2017 *adds* chapter 03's sinusoids to the embeddings, and the `Transformer` further down does the same. A newer way touches only queries and
# keys. The wish: their dot product should depend on how far apart the two words are, and not on where in the text they stand. In the plane there is an operation that does just that. Turn two
# arrows by the same angle, and their dot product stays; turn them by different angles, and only the *difference* counts. So let an arrow at position $m$ be turned by
# $m\theta$:
#
# $$\begin{pmatrix} x \\ y \end{pmatrix} \mapsto \begin{pmatrix} x \cos m\theta - y \sin m\theta \\ x \sin m\theta + y \cos m\theta \end{pmatrix}$$
#
# By hand, with a quarter turn per position: the query $(1, 0)$ at position 3 becomes $(0, -1)$, the key $(1, 0)$ at position 2 becomes $(-1, 0)$, dot product 0. At
# positions 1 and 0 they become $(0, 1)$ and $(1, 0)$: again 0, the cosine of one quarter turn. Two apart gives $-1$, wherever you start. A head has more than
# two channels; each pair turns at a speed of its own, $\theta_i = 10000^{-2i/d}$, from one *radian* per position down to one in ten thousand, so that near and far can
# both be told. This is *rotary position embedding*, RoPE (Su, Lu, Pan, Wen and Liu, 2021).

# %% tags=["export"]
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


# %%
quarter = torch.tensor([np.pi / 2], dtype=torch.float32)
for m, n in [(3, 2), (1, 0), (2, 0), (7, 5)]:
    arrows = (apply_rope(torch.tensor([[1.0, 0]]), torch.tensor([place]), quarter)[0] for place in (m, n))
    print(f"positions {m} and {n}: dot product {torch.dot(*arrows):.2f}")

# %%
quarter = torch.tensor([np.pi / 2], dtype=torch.float32)
for m, n in [(3, 2), (1, 0), (2, 0), (7, 5)]:
    arrows = (apply_rope(torch.tensor([[1.0, 0]]), torch.tensor([place]), quarter)[0] for place in (m, n))
    print(f"positions {m} and {n}: dot product {torch.dot(*arrows):.2f}")

# %% [markdown]
# As with the pencil. Next, a whole head of 64 channels. Take one query and one key, equal to each other, and put the pair at all distances up to 60, once with the key at position 0 and once at
# position 1,000. If the wish came true, both curves are one.

# %%
vector = torch.ones(1, 64, dtype=torch.float64) / 8  # length 1
distances = torch.arange(60)
by_start = {}
for start in (0, 1000):
    asked = apply_rope(vector.expand(60, 64), start + distances)
    answered = apply_rope(vector, torch.tensor([start]))
    by_start[start] = (asked @ answered.T)[:, 0]
print("largest difference of the curves:", float((by_start[0] - by_start[1000]).abs().max()))

# %%
fig, (left, right) = plt.subplots(1, 2, figsize=(9, 3.4))
for pair in (0, 4, 8):
    speed = float(rope_frequencies(64)[pair])
    left.plot(distances, np.cos(distances * speed), label=f"pair {pair}", markevery=8)
left.set(title="What does each pair of channels say?", xlabel="distance (positions)", ylabel="dot product of the pair")
right.plot(distances, by_start[0], label="key at position 0", markevery=6)
right.plot(distances, by_start[1000], label="key at position 1,000", linestyle="none", markevery=(3, 6))
right.set(title="And all 32 pairs together?", xlabel="distance (positions)", ylabel="score of query and key")
for ax in (left, right):
    ax.legend()
figures.show(
    fig,
    alt="Left: cosine waves of three pairs, the first fast, the others slower. Right: the mean over 32 pairs falls from 1 with the distance, with ripples; the curves for keys at "
    "positions 0 and 1,000 lie on each other.",
)

# %% [markdown]
# They are one to the last digits. For equal vectors the score fades with distance, as the waves of different speed fall out of step; a learned query can of
# course differ from its key, and ask for "three to the left".
#
# There is a shorter way to write the same. Take each pair of channels as one *complex number* $x + iy$. Turning it by an angle $a$ is multiplying by $e^{ia}$. So are there complex
# numbers in attention after all? Let us see.

# %%
heads = torch.randn(6, 8, dtype=torch.float64)
numbers = torch.view_as_complex(heads.unflatten(-1, (4, 2)))  # (time, pairs)
turns = torch.polar(torch.ones(6, 4).double(), torch.arange(6)[:, None] * rope_frequencies(8, dtype=torch.float64))
rope_difference = float((torch.view_as_real(numbers * turns).flatten(-2) - apply_rope(heads)).abs().max())
turned_scores = apply_rope(heads) @ apply_rope(heads).T
by_complex = ((numbers * turns) @ (numbers * turns).conj().T).real
print(f"turning and multiplying differ by {rope_difference:.0e}; the scores are {turned_scores.dtype}", end=" ")
print(f"and the real part of a complex product to {float((turned_scores - by_complex).abs().max()):.0e}")


# %% [markdown]
# It is the same operation in another notation, and what comes out, the scores, the weights and the answers, is real. We will come back to that when the source speaks.
#
# ### Norm, short cut, block
#
# Attention lets positions talk. It is a weighted mean, and a mean of means does not think. So each attention is followed by one of chapter 04's MLPs, applied to each position alone: look around, then think. Two of
# chapter 04's tricks keep a stack of them trainable: the short cut (add what came in), and a norm. Today's norm is often simpler than layer norm: do not
# subtract the mean, only divide by the *root of the mean square* (Zhang and Sennrich, 2019). By hand: for $(3, 4)$ the mean square is $12.5$, its root $3.54$, so
# the result is $(0.85, 1.13)$.

# %% tags=["export"]
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


# %% [markdown]
# Put together, a block is five lines of arithmetic. Follow the shapes: everything is (..., time, embedding_dim), except inside.

# %% tags=["export"]
from collections.abc import Mapping


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


# %%
print(rms_norm(torch.tensor([3.0, 4.0])))
shapes = dict.fromkeys(("query", "key", "value", "output"), (8, 8)) | {"expand": (32, 8), "contract": (8, 32)}
weights = {name: 0.3 * torch.randn(shape) for name, shape in shapes.items()}
weights |= {"attention_gain": torch.ones(8), "mlp_gain": torch.ones(8)}
sequence = torch.randn(6, 8)
changed = sequence.clone()
changed[4] += 1  # another fifth word
difference = transformer_block(sequence, weights, 2, causal_mask(6)) - transformer_block(
    changed, weights, 2, causal_mask(6)
)
print("positions that noticed:", difference.abs().amax(-1).gt(0).int().tolist())

# %%
print(rms_norm(torch.tensor([3.0, 4.0])))
shapes = dict.fromkeys(("query", "key", "value", "output"), (8, 8)) | {"expand": (32, 8), "contract": (8, 32)}
weights = {name: 0.3 * torch.randn(shape) for name, shape in shapes.items()}
weights |= {"attention_gain": torch.ones(8), "mlp_gain": torch.ones(8)}
sequence = torch.randn(6, 8)
changed = sequence.clone()
changed[4] += 1  # another fifth word
difference = transformer_block(sequence, weights, 2, causal_mask(6)) - transformer_block(
    changed, weights, 2, causal_mask(6)
)
print("positions that noticed:", difference.abs().amax(-1).gt(0).int().tolist())

# %% [markdown]
# With a causal mask a change of the fifth word is noticed by the fifth and the sixth, and by nobody before. That is all a language model needs.
#
# ### As modules
#
# The functions show the arithmetic; to train, we want modules that own their weights. They are put together from *parts*, so that the later chapters can exchange one without touching the rest: chapter 07 builds
# GPT-2 (layer norm, biases, GELU, learned positions) and a modern model (RMS norm, RoPE) from the same `Block`, chapter 09 hands in an `attend` that keeps old keys, chapter 10 one
# in which heads share keys. `MultiHeadAttention` has two such sockets: `prepare` may change queries and keys before they meet, and `attend` makes them meet. By
# default that is torch's fused function, which is faster and which you will see to be equal. `recorded_attention` plugs in the plain one for a while, and notes the weights.

# %% tags=["export"]
from collections.abc import Callable, Iterator
from contextlib import contextmanager

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


# %% [markdown]
# Now the block. `PreNorm` and `PostNorm` are two ways to lay a short cut around a part. Pre-norm leaves the short cut free from the first block to the last; post-norm puts a norm on the main road.

# %% tags=["export"]
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


# %%
block = Block(MultiHeadAttention(8, 2, bias=False), FeedForward(8, 32, F.relu, bias=False), norm=lambda: RMSNorm(8))
for name in ("query", "key", "value", "output"):
    getattr(block.attention.part, name).weight.data = weights[name]
block.mlp.part.expand.weight.data, block.mlp.part.contract.weight.data = weights["expand"], weights["contract"]
by_hand = transformer_block(sequence, weights, 2, causal_mask(6))
print("block and arithmetic differ by", float((block(sequence[None], causal_mask(6))[0] - by_hand).abs().max()))

# %%
block = Block(MultiHeadAttention(8, 2, bias=False), FeedForward(8, 32, F.relu, bias=False), norm=lambda: RMSNorm(8))
for name in ("query", "key", "value", "output"):
    getattr(block.attention.part, name).weight.data = weights[name]
block.mlp.part.expand.weight.data, block.mlp.part.contract.weight.data = weights["expand"], weights["contract"]
by_hand = transformer_block(sequence, weights, 2, causal_mask(6))
print("block and arithmetic differ by", float((block(sequence[None], causal_mask(6))[0] - by_hand).abs().max()))

# %% [markdown]
# The module with the same weights gives the same numbers.
#
# ### Encoder and decoder
#
# The Transformer of 2017 has two towers. The *encoder* reads: blocks of self-attention without a causal mask, since the whole word is there from the start. The *decoder* writes: its blocks have a causal self-attention
# over what has been written, and then a cross-attention to what the encoder made of the letters. Its two methods `encode` and `decode` are those of chapter 05's models, so chapter 05's training and decoding take it as it is. Nothing
# in it is recurrent: when it learns, all positions of all words are computed at once.

# %% tags=["export"]
import math

from bow2gpt.chapters.embeddings import sinusoidal_positions
from bow2gpt.spelling import LETTERS, PAD, PHONEMES


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


# %% [markdown]
# Try it on a toy before the dictionary: read eight digits, write them backwards. For an LSTM this is a test of memory; for attention it is a matter of looking at
# the right place. The same toy answers a question that cost people years. The original put the norm after the sum, and had to raise the learning rate slowly from zero (*warm-up*), or it did not train. Xiong et
# al. (2020) explained why, and that the norm before the part does not need it. Four small models, with a rather high learning rate. The cell takes some fifteen seconds.

# %%
def learn_to_reverse(residual: type[PreNorm], warm_up: int, steps: int = 120) -> tuple[Transformer, list[float]]:
    """Train a small Transformer to write eight digits backwards; returns it with its losses."""
    model = Transformer(
        embedding_dim=32, num_layers=4, hidden_dim=64, source_size=13, target_size=13, residual=residual
    )
    optimiser, losses = torch.optim.Adam(model.parameters(), lr=1e-2, betas=(0.9, 0.98)), []
    generator = torch.Generator().manual_seed(0)
    for step in range(steps):
        optimiser.param_groups[0]["lr"] = 1e-2 * min(1, (step + 1) / warm_up)
        read = torch.randint(3, 13, (64, 8), generator=generator)  # the digits have the ids 3 to 12
        write = read.flip(1)
        before = F.pad(write[:, :-1], (1, 0), value=spelling.START)  # what has been written so far
        loss = F.cross_entropy(model(read, before).flatten(0, 1), write.flatten())
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    return model, losses


# %%
reversers = {
    (name, warm_up): learn_to_reverse(residual, warm_up)
    for name, residual in {"norm before the part": PreNorm, "norm after the sum": PostNorm}.items()
    for warm_up in (1, 60)
}

# %%
fig, ax = plt.subplots()
for (name, warm_up), (_, losses) in reversers.items():
    smooth = np.convolve(losses, np.ones(8) / 8, mode="valid")
    label = f"{name}, {'warm-up of 60 steps' if warm_up > 1 else 'no warm-up'}"
    ax.plot(np.arange(len(smooth)) + 8, smooth, label=label, markevery=16)
ax.axhline(np.log(10), color="0.5", linewidth=1, linestyle=":", marker="")
ax.text(120, np.log(10), "guessing", va="bottom", ha="right", fontsize=9)
ax.set(title="Which norm needs a warm-up?", xlabel="step", ylabel="loss (nats per digit)", ylim=(0, None))
ax.legend(fontsize=8)
figures.show(
    fig,
    alt="Losses of four small Transformers that learn to write digits backwards: three come down to near zero or on their way, the one with the norm after the sum and no warm-up stays near guessing.",
)

# %% [markdown]
# Three learn; the one built as in 2017, started without warm-up, hardly moves away from guessing. So the book puts the norm before the part, as nearly everybody does now. And where does a trained one look? Let it read
# 3 1 4 1 5 9 2 6, and record its cross-attention in each block.

# %%
digits = torch.tensor([[3, 1, 4, 1, 5, 9, 2, 6]]) + 3
reverser = reversers["norm before the part", 1][0].eval()
before = F.pad(digits.flip(1)[:, :-1], (1, 0), value=spelling.START)
with recorded_attention(reverser) as seen, torch.inference_mode():
    written = reverser(digits, before).argmax(-1)[0] - 3
print("writes", written.tolist())
looks = torch.stack([seen[f"decoder.{layer}.cross.part"][0][0] for layer in range(4)])  # (layers, heads, 8, 8)
backwards = looks[..., range(8), range(7, -1, -1)].mean(-1)  # weight on the digit that is to be written
layer, head = divmod(int(backwards.argmax()), 4)
print("weight on the right digit, by layer (rows) and head:", *backwards.numpy().round(2), sep="\n")

# %%
read, wrote = [str(int(digit) - 3) for digit in digits[0]], [f"{int(digit)}" for digit in written]
figures.show(
    figures.attention_matrix(looks[layer, head], wrote, read, title="Where does the decoder look to write backwards?"),
    alt="Cross-attention of one head: eight written digits against eight read ones. The weight lies on the rising diagonal: the first written digit looks at the last one read, and so on.",
)


# %% [markdown]
# The strongest head has the answer on its diagonal from bottom left to top right: each place looks at the digit that it has to write. Nobody told it where that is. It worked that out from the sinusoids.
#
# ### Softmax on the run
#
# The matrix of weights has $n^2$ cells. Must they all be in memory? Softmax needs the sum of all powers before it can divide, and the largest score before it can
# take powers safely. Both can be corrected afterwards (Milakov and Gimelshein, 2018). Read the keys in blocks, and keep three things for each query: the largest score so far, the sum
# of powers relative to it, and the weighted sum of values relative to it. When a larger score turns up, shrink what you have.
#
# By hand: the scores are $0, \ln 4$ in the first block and $\ln 8$ in the second. After the first the largest is $\ln 4$, the sum $\frac14 + 1 = 1.25$. Now $\ln 8$ comes: it is twice as large a power,
# so the old sum shrinks to $0.625$, and with the new $1$ it makes $1.625$. And indeed $(1 + 4 + 8)/8 = 1.625$.

# %% tags=["export"]
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
    leading = torch.broadcast_shapes(queries.shape[:-2], keys.shape[:-2], values.shape[:-2])
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


# %%
long = [torch.randn(1, 1024, 32, generator=torch.Generator().manual_seed(seed)) for seed in range(3)]
plain = scaled_dot_product_attention(*long, causal_mask(1024))
for block_size in (1, 64, 1000):
    difference = (online_softmax_attention(*long, causal_mask(1024), block_size=block_size) - plain).abs().max()
    print(f"blocks of {block_size:5}: {1024 * block_size:9,} scores at a time, largest difference {difference:.0e}")

# %%
long = [torch.randn(1, 1024, 32, generator=torch.Generator().manual_seed(seed)) for seed in range(3)]
plain = scaled_dot_product_attention(*long, causal_mask(1024))
for block_size in (1, 64, 1000):
    difference = (online_softmax_attention(*long, causal_mask(1024), block_size=block_size) - plain).abs().max()
    print(f"blocks of {block_size:5}: {1024 * block_size:9,} scores at a time, largest difference {difference:.0e}")

# %% [markdown]
# The same answer, from a sixteenth or a thousandth of the scores. Rabe and Staats (2021) showed that attention needs no quadratic memory at all in this way, and FlashAttention (Dao, Fu, Ermon, Rudra
# and Ré, 2022) made it fast: blocks small enough for the fastest memory of a GPU, and slopes for which the scores are computed a second time and not stored. What does not shrink is the *work*: every query still meets every key.

# %% [markdown]
# ## On real text
#
# ### Spelling to sound: the rematch
#
# Chapter 05's best speller reads letters with two LSTMs and looks back at them while it writes phonemes. Against it stands a Transformer of 2017 with two blocks on each side, 96 channels and four heads, which has
# about as many parameters. Both get the same words, the same trainer, each its own learning rate, and the same *time*: so many seconds for training on this machine. Each trains a few steps first to see how many will fit. The cell takes about
# fifty seconds. Who do you think gets through more words?

# %%
from bow2gpt.chapters.sequences import Seq2Seq, pronounce, train_seq2seq

torch.manual_seed(0)
spell_pairs, sample_entries = spelling.pairs("train"), spelling.entries("validation")[::8]
contestants = {
    "LSTM with attention": (lambda: Seq2Seq(attention=True), 4e-3),
    "Transformer": (lambda: Transformer(embedding_dim=96, hidden_dim=352), 2e-3),
}


def steps_within(build, seconds: float) -> int:
    """How many training steps of 256 words a model has time for, from a short trial."""
    trial = build()
    train_seq2seq(trial, spell_pairs, num_steps=3, progress=False)  # the first steps are slower
    began = time.perf_counter()
    train_seq2seq(trial, spell_pairs, num_steps=12, progress=False)
    return int(12 * seconds / (time.perf_counter() - began))


# %%
spellers, results = {}, {}
for name, (build, learning_rate) in contestants.items():
    num_steps = steps_within(build, 22)
    spellers[name], began = build(), time.perf_counter()
    losses = train_seq2seq(
        spellers[name], spell_pairs, num_steps=num_steps, learning_rate=learning_rate, progress=False
    )
    trained = time.perf_counter()
    guesses = pronounce(spellers[name], [entry.word for entry in sample_entries])
    written = time.perf_counter()
    rates = spelling.error_rates(guesses, sample_entries)
    results[name] = losses, trained - began, rates, len(guesses) / (written - trained)

# %%
print(f"{'':20} parameters  steps  words a second  phoneme errors  word errors  spoken words a second")
for name, (losses, seconds, rates, speed) in results.items():
    print(
        f"{name:20} {spellers[name].num_parameters:10,} {len(losses):6,} {256 * len(losses) / seconds:15,.0f}", end=" "
    )
    print(f"{rates.phoneme:15.1%} {rates.word:12.1%} {speed:22,.0f}")

# %%
fig, ax = plt.subplots()
for name, (losses, seconds, _, _) in results.items():
    smooth = np.convolve(losses, np.ones(20) / 20, mode="valid")
    ax.plot(np.linspace(20 / len(losses), 1, len(smooth)) * seconds, smooth, label=name, markevery=0.1)
ax.set(title="Who learns faster in the same time?", xlabel="seconds of training", ylabel="loss (nats per phoneme)")
ax.set_ylim(0, 2.5)
ax.legend()
figures.show(
    fig,
    alt="Training losses of the LSTM with attention and of the Transformer against seconds: both fall steeply in the first seconds and end close to each other.",
)

# %% [markdown]
# Does the Transformer align letters and sounds as the LSTM did? Draw the cross-attention of its last block, the mean over the heads, for a word whose letters and sounds do not match one to one.

# %%
word = "knights"
letters = torch.tensor(spelling.encode_words([word]))
[sounds] = pronounce(spellers["Transformer"], [word])
phonemes = torch.tensor(spelling.encode_pronunciations([sounds]))
with recorded_attention(spellers["Transformer"]) as seen, torch.inference_mode():
    spellers["Transformer"](letters, phonemes[:, :-1])
alignment = seen["decoder.1.cross.part"][0][0].mean(dim=0)  # (phonemes, letters)
figures.show(
    figures.attention_matrix(
        alignment, [*sounds, "end"], [*word, "end"], title=f"Where does it look to pronounce “{word}”?"
    ),
    alt=f"Weights of each phoneme of {word} over its letters: they run roughly down the diagonal from the first letters to the last.",
)

# %% [markdown]
# Row by row the weight moves from left to right, as in chapter 05, though more smeared: these are means over heads with several jobs, and a letter's vector has already heard from its neighbours in the encoder.
#
# ### Dense, not one-hot
#
# The source makes another point worth a measurement: what made this kind of look-up work is that queries and keys are *dense* vectors, not one-hot ones. Chapter 03's exam shows why. Take a word as the query, and three others as keys: two
# that belong with it, and an odd one. With one-hot vectors all dot products between different words are zero; with chapter 03's vectors (PPMI and SVD, on our own corpus) they are cosines. How much of the
# weight goes astray, to the odd word?

# %%
from bow2gpt.chapters.embeddings import (
    cooccurrence_counts,
    frequent_words,
    odd_one_out_items,
    ppmi,
    svd_embed,
    unit_rows,
    word_ids,
)
from bow2gpt.chapters.language_features import words as split_words

spoken = split_words(corpus.text("train").lower())
vocabulary = frequent_words(spoken, 20)
company = cooccurrence_counts(word_ids(spoken, vocabulary), len(vocabulary))
dense = torch.tensor(unit_rows(svd_embed(ppmi(company), 100)))

# %%
number = {word: index for index, word in enumerate(vocabulary)}
items = [item for item in odd_one_out_items() if all(word in number for word in item)]
one_hot, astray = torch.eye(len(vocabulary)), {}
for name, table in {"one-hot": one_hot, "dense": dense}.items():
    asked = torch.stack([table[[number[item[1]]]] for item in items])  # (items, 1, dim)
    answers = torch.stack([table[[number[item[2]], number[item[3]], number[item[0]]]] for item in items])
    weights = attention_weights(asked, answers, scale=10.0)[:, 0]  # (items, 3)
    astray[name] = float(weights[:, 2].mean())
    print(f"{name:8} {table.shape[1]:6,} numbers a word; weight on the odd word {astray[name]:.0%}", end=", ")
    print(f"a right word leads in {(weights[:, :2].amax(1) > weights[:, 2] + 1e-6).float().mean():.0%}")
del company, one_hot, spoken


# %% [markdown]
# One-hot queries find their own word or nothing: a third of the weight goes to the odd one, as with dice. Dense ones send it a third of that, with a fiftieth of the numbers, and nobody has trained them to be queries. This is the kitten that finds the cat.

# %% [markdown]
# ## Against the library
#
# Torch's own attention is one fused function, `scaled_dot_product_attention`. The test is strict: the same answers *and* the same slopes, for several kinds of masks, one of which leaves a query with nothing to look at.

# %%
def largest_differences(mask: torch.Tensor | None) -> tuple[float, float, float]:
    """Between ours and torch's: of the answers, of the slopes, and of the slopes in blocks."""
    given = [torch.randn(2, 4, 64, 16, dtype=torch.float64, requires_grad=True) for _ in range(3)]
    found = []
    for function in (F.scaled_dot_product_attention, scaled_dot_product_attention, online_softmax_attention):
        answer = function(*given, mask)
        found.append((answer, *torch.autograd.grad(answer.sin().sum(), given)))
    theirs, ours, blocks = found
    differences = [(first - second).abs().max().item() for first, second in zip(ours, theirs)]
    in_blocks = max((first - second).abs().max().item() for first, second in zip(blocks, theirs))
    return differences[0], max(differences[1:]), in_blocks


# %%
blind = causal_mask(64).clone()
blind[7] = False
masks = {
    "none": None,
    "causal": causal_mask(64),
    "one query sees nothing": blind,
    "floats": torch.randn(64, 64).double(),
}
for name, mask in masks.items():
    answers, slopes, blocks = largest_differences(mask)
    print(f"{name:23} answers {answers:.0e}, slopes {slopes:.0e}, in blocks {blocks:.0e}")

# %%
library = torch.nn.MultiheadAttention(96, 4, batch_first=True)
ours = MultiHeadAttention(96, 4)
for name, weight, bias in zip(
    ("query", "key", "value"), library.in_proj_weight.chunk(3), library.in_proj_bias.chunk(3)
):
    getattr(ours, name).weight.data, getattr(ours, name).bias.data = weight.data, bias.data
ours.output.load_state_dict(library.out_proj.state_dict())
given = torch.randn(8, 256, 96)
print("modules differ by", float((ours(given) - library(given, given, given, need_weights=False)[0]).abs().max()))
heads, ways = split_heads(given, 24), (fused_attention, scaled_dot_product_attention, online_softmax_attention)
for attend in ways:
    times = []
    for _ in range(5):
        began = time.perf_counter()
        attend(heads, heads, heads)
        times.append(time.perf_counter() - began)
    print(f"{attend.__name__:30} {1e3 * min(times):6.2f} ms")

# %% [markdown]
# Equal to the last digits, slopes included; and the tests compare whole blocks with torch's `TransformerEncoderLayer` and `TransformerDecoderLayer`, norm first and norm last. The fused function is some times faster than ours, because it never
# writes the scores to memory: the idea of our last version, without Python in between. From now on it does the work.

# %% [markdown]
# ## What the source says

# %%
claims.verdict(
    23,
    "Attention works because queries and keys are dense vectors, compared by dot products, and not one-hot ones.",
    f"with one-hot vectors {astray['one-hot']:.0%} of the weight goes to the word that does not belong, with dense ones {astray['dense']:.0%}; and scaled dot products are what "
    "the library computes, to the last digits. A small addition: the first attention (Bahdanau et al., 2014) compared its dense vectors with a small network; the dot product came a year later.",
    "holds",
)

# %%
claims.verdict(
    24,
    "Query-key-value attention ultimately generates complex numbers.",
    f"scores, weights and answers are real ({turned_scores.dtype}). Where positions are put in by turning, each pair of channels can be *written* as one complex number, and turning "
    f"as a multiplication; the two ways differ by {rope_difference:.0e}, and the score is the real part of a product. So there is a true core: a notation for rotations, which the book's models use.",
    "does not hold",
)

# %% [markdown]
# ## The rung
#
# Chapter 07 builds the language model that this chapter makes possible. To see what attention alone buys, here is a small one for the ladder, over chapter 04's tokens: two blocks with turned positions, whose
# causal mask reaches 64 tokens back in each. No place has weights of its own, so the window *slides*, and what is learned of *treaty* one token back serves it two tokens back. A token costs what the tokens before it make it
# cost, wherever in a text it stands. That makes scoring exact: read windows that overlap by the reach.

# %% tags=["export"]
import numpy as np

from bow2gpt.chapters.counting_models import sample_with_temperature
from bow2gpt.chapters.language_features import AnyTokenizer
from bow2gpt.chapters.mlps import half_precision_pays


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
    learning_rate: float = 4e-3,
    weight_decay: float = 0.1,
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
        weight_decay: of the matrices.
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
    matrices = [parameter for parameter in model.parameters() if parameter.ndim > 1]
    others = [parameter for parameter in model.parameters() if parameter.ndim < 2]
    groups = [{"params": matrices, "weight_decay": weight_decay}, {"params": others, "weight_decay": 0.0}]
    optimiser = torch.optim.AdamW(groups, lr=learning_rate, betas=(0.9, 0.98), fused=True)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimiser, lambda step: min(1, (step + 1) / 100, (num_steps - step) / num_steps)
    )
    for step in range(num_steps):
        starts = rng.integers(0, len(seen) - length, size=batch_size)
        rows = torch.tensor(seen[starts[:, None] + np.arange(length + 1)])  # (batch, length + 1)
        inputs, targets = rows[:, :-1].clone(), rows[:, 1:]
        inputs[: max(1, batch_size // 16), 0] = vocabulary_size  # as at the beginning of a text
        with torch.autocast("cpu", torch.bfloat16, enabled=half_precision_pays()):
            logits = model(inputs)
        loss = F.cross_entropy(logits.float().flatten(0, 1), targets.flatten())
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        schedule.step()
        if report is not None:
            report(step, loss.item())
    return model.double().eval()


# %%
from bow2gpt.chapters.language_features import Tokenizer

train_text, test_text = corpus.text("train"), corpus.text("test")
tokenizer = Tokenizer.train(train_text, 2048)
train_ids = tokenizer.encode(train_text)
nats_to_bits_per_byte = len(train_ids) / (np.log(2) * len(train_text.encode()))
sample_ids = tokenizer.encode(corpus.text("validation"))[:60_000]

# %% [markdown]
# One more difference to chapter 04's network: there a window of six tokens was one lesson. Here a sequence of 128 tokens is 128 lessons, one for each position, in one pass. The cell takes about a minute, as long as the networks of chapters 04 and 05 were given.

# %%
NUM_STEPS = 1500 if half_precision_pays() else 1000  # of 2,048 tokens each
step_losses, progress = [], tqdm(total=NUM_STEPS, desc="training", mininterval=2)


def watch(step: int, loss: float) -> None:
    step_losses.append(loss * nats_to_bits_per_byte)
    progress.update()


began = time.perf_counter()
attentive = train_attention_model(AttentionLanguageModel(tokenizer), train_ids, NUM_STEPS, report=watch)
training_seconds = time.perf_counter() - began
progress.close()
print(f"{training_seconds:.0f} s, {2048 * NUM_STEPS / training_seconds:,.0f} tokens a second,", end=" ")
print(f"{2048 * NUM_STEPS / len(train_ids):.2f} passes, {attentive.num_parameters:,} numbers")

# %%
sample = tokenizer.decode(sample_ids)
attentive_bits = ruler.bits_per_byte(attentive, sample)
print(f"{len(sample.encode()) / 1e3:.0f} kB of validation text: {attentive_bits:.3f} bits per byte")
print(attentive.generate(80, context="\n\n", temperature=0.7, seed=3))

# %% [markdown]
# How far back does it look? Its masks can be narrowed after training. With a window of one, each position sees only itself, and attention has nothing to say; then two, four, eight tokens in each block, and so on.

# %%
short, windows = tokenizer.decode(sample_ids[:15_000]), [1, 2, 4, 8, 16, 32, 64]
window_bits = []
for window in windows:
    attentive.context_length = window
    window_bits.append(ruler.bits_per_byte(attentive, short))

# %%
fig, ax = plt.subplots()
ax.semilogx(windows, window_bits, base=2)
ax.set_xticks(windows, windows)
ax.set(title="How far back does it look?", xlabel="tokens that a position may see in each block")
ax.set_ylabel("bits per byte, validation")
figures.show(
    fig,
    alt="Bits per byte against the width of the window from 1 to 64 tokens: a steep fall to four or eight, and small gains after that.",
)

# %% [markdown]
# Most of what it knows sits in the last few tokens, as in chapter 04; but where that network had to stop at six, this one goes on to find a little in thirty and in sixty, at hardly any cost in parameters: a longer window needs no new weights.

# %%
for name, model in {"attention, two blocks": attentive}.items():
    print(f"{name} {ruler.bits_per_byte(model, test_text):.3f} bits per byte, {model.num_parameters:,} parameters")

# %%
print(ladder.table())

# %%
figures.show(ladder.figure(), alt=ladder.describe())

# %% [markdown]
# ## What it cannot do
#
# * **It cannot see order by itself.** Positions are put in from outside; you have met three ways (sinusoids, turning, and, in chapter 07, learned ones), and none comes from the mathematics of look-up.
# * **It cannot be long for free.** Twice the length is four times the work. Blocks save the memory and not the work; the cousins save the work and pay in recall.
# * **It cannot explain itself.** Weights say where a head looked, not what the model made of it, nor why it answered.
# * **It is small.** Two blocks, a minute of training. The same `Block`, eight times over and with a graphics card's patience, is chapter 07.
#
# ## Exercises
#
# Open `exercises/06_attention/attention.ipynb`. Eight tasks: `scaled_dot_product_attention`, `causal_mask`, `multi_head_attention`, `cross_attention`, `rms_norm`, `rotary`, `transformer_block` and
# `online_softmax_attention`, with checks under each; `bow2gpt check 06` in a terminal grades them all.
#
# To think about, without a grade: If all values are multiplied by 2, what happens to the answer, and what if all keys are? Two equal words in a sentence have equal keys; can any query tell them apart, and what changes with RoPE? Why may the
# decoder's cross-attention see the whole word, when its self-attention may not?
#
# ## Further reading
#
# * A. Graves, G. Wayne and I. Danihelka (2014). *Neural Turing machines.* arXiv:1410.5401.
# * D. Bahdanau, K. Cho and Y. Bengio (2015). *Neural machine translation by jointly learning to align and translate.* ICLR.
# * M.-T. Luong, H. Pham and C. D. Manning (2015). *Effective approaches to attention-based neural machine translation.* EMNLP.
# * J. L. Ba, J. R. Kiros and G. E. Hinton (2016). *Layer normalization.* arXiv:1607.06450.
# * A. Vaswani, N. Shazeer, N. Parmar, J. Uszkoreit, L. Jones, A. N. Gomez, Ł. Kaiser and I. Polosukhin (2017). *Attention is all you need.* NeurIPS.
# * M. Milakov and N. Gimelshein (2018). *Online normalizer calculation for softmax.* arXiv:1805.02867.
# * K. Clark, U. Khandelwal, O. Levy and C. D. Manning (2019). *What does BERT look at? An analysis of BERT's attention.* BlackboxNLP.
# * S. Jain and B. C. Wallace (2019). *Attention is not explanation.* NAACL. And S. Wiegreffe and Y. Pinter (2019). *Attention is not not explanation.* EMNLP.
# * J. Vig (2019). *A multiscale visualization of attention in the Transformer model.* ACL, system demonstrations.
# * B. Zhang and R. Sennrich (2019). *Root mean square layer normalization.* NeurIPS.
# * I. Beltagy, M. E. Peters and A. Cohan (2020). *Longformer: the long-document Transformer.* arXiv:2004.05150.
# * A. Katharopoulos, A. Vyas, N. Pappas and F. Fleuret (2020). *Transformers are RNNs: fast autoregressive Transformers with linear attention.* ICML.
# * R. Xiong et al. (2020). *On layer normalization in the Transformer architecture.* ICML.
# * M. N. Rabe and C. Staats (2021). *Self-attention does not need O(n²) memory.* arXiv:2112.05682.
# * J. Su, Y. Lu, S. Pan, B. Wen and Y. Liu (2021). *RoFormer: enhanced Transformer with rotary position embedding.* arXiv:2104.09864.
# * T. Dao, D. Y. Fu, S. Ermon, A. Rudra and C. Ré (2022). *FlashAttention: fast and memory-efficient exact attention with IO-awareness.* NeurIPS.
# * M. Poli et al. (2023). *Hyena hierarchy: towards larger convolutional language models.* ICML.
