"""Fused operations that torch has for graphics cards only: the same numbers, less memory, less time.

But: nothing here teaches; each is checked against the plain way.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

#: A target that is not scored, as torch's cross entropy has it.
IGNORED = -100
_CHUNK_BYTES = 4 * 2**20  # of logits at a time: what a processor keeps close


def linear_cross_entropy(hidden: Tensor, weight: Tensor, targets: Tensor) -> Tensor:
    """Mean cross entropy, in nats, of the logits hidden @ weight.T, which are never there as a whole.

    On a processor, logits and their slopes are computed a few rows at a time, in the precision of autocast if that is
    on; elsewhere in the plain way, which `torch.compile` fuses. Slopes of slopes are not to be had.

    Args:
        hidden: shape (tokens, channels).
        weight: of the output layer, shape (vocabulary, channels).
        targets: token ids, shape (tokens,); -100 is not scored.

    Returns:
        A number, in single precision or better; NaN if nothing is scored.
    """
    if hidden.device.type != "cpu" or torch.compiler.is_compiling():
        return F.cross_entropy(F.linear(hidden, weight).float(), targets, ignore_index=IGNORED)
    kind = torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else hidden.dtype
    return _LinearCrossEntropy.apply(hidden, weight, targets, kind, torch.is_grad_enabled())


class _LinearCrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, hidden: Tensor, weight: Tensor, targets: Tensor, kind: torch.dtype, learns: bool) -> Tensor:
        precise = torch.promote_types(kind, torch.float32)
        inputs, rows_of = hidden.detach().to(kind), weight.detach().to(kind)
        scored = targets != IGNORED
        places = targets.where(scored, 0)[:, None]
        share = scored.to(precise)[:, None] / scored.sum()  # of the mean, for each token
        total = torch.zeros((), dtype=precise)
        slopes = torch.empty_like(inputs), torch.zeros(weight.shape, dtype=precise)
        size = max(1, _CHUNK_BYTES // (len(weight) * precise.itemsize))
        narrow, wide = (torch.empty(size, len(weight), dtype=each) for each in (kind, precise))
        for start in range(0, len(inputs), size):
            part = slice(start, start + size)
            given = inputs[part]
            logits = wide[: len(given)].copy_(torch.mm(given, rows_of.T, out=narrow[: len(given)]))
            logits -= logits.amax(dim=1, keepdim=True)
            picked = logits.gather(1, places[part])
            sums = logits.exp_().sum(dim=1, keepdim=True)
            total += ((sums.log() - picked) * share[part]).sum()
            if learns:
                logits *= share[part] / sums  # now probabilities, times the share
                logits.scatter_add_(1, places[part], -share[part])
                towards = narrow[: len(given)].copy_(logits)
                torch.mm(towards, rows_of, out=slopes[0][part])
                slopes[1].add_(towards.T @ given)
        ctx.kinds = hidden.dtype, weight.dtype
        ctx.save_for_backward(*slopes if learns else ())
        return total

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, slope: Tensor) -> tuple[Tensor | None, ...]:
        slopes = (each.mul(slope).to(kind) for each, kind in zip(ctx.saved_tensors, ctx.kinds, strict=True))
        return *slopes, None, None, None
