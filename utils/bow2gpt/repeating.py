"""Doing the same thing twice: values that can be compared to the last bit, and random generators put back in place."""

from __future__ import annotations

import copy
import math
import random
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch


@contextmanager
def own_chance(disturb: bool = False) -> Iterator[None]:
    """Run with global random generators that are put back afterwards; disturbed, as those of another process."""
    states = random.getstate(), np.random.get_state()
    with torch.random.fork_rng():
        try:
            if disturb:
                for seed in (random.seed, np.random.seed, torch.manual_seed):
                    seed(20_011)
            yield
        finally:
            random.setstate(states[0])
            np.random.set_state(states[1])


def kept(value: Any) -> Any:
    """A copy that later steps do not change."""
    if isinstance(value, torch.Tensor):
        return value.detach().clone()
    if type(value) in (list, tuple):
        return type(value)(map(kept, value))
    return {key: kept(each) for key, each in value.items()} if type(value) is dict else copy.deepcopy(value)


def same(first: Any, second: Any) -> bool:
    """Whether two values are the same to the last bit, NaN included."""
    if isinstance(first, torch.Tensor) and isinstance(second, torch.Tensor):
        alike = first.dtype == second.dtype and first.shape == second.shape
        return alike and bool(((first == second) | ((first != first) & (second != second))).all())
    if isinstance(first, np.ndarray) and isinstance(second, np.ndarray):
        return first.dtype == second.dtype and np.array_equal(first, second, equal_nan=first.dtype.kind in "fc")
    if isinstance(first, Mapping) and isinstance(second, Mapping):
        return first.keys() == second.keys() and all(same(first[key], second[key]) for key in first)
    if isinstance(first, list | tuple) and isinstance(second, list | tuple):
        return type(first) is type(second) and len(first) == len(second) and all(map(same, first, second))
    if isinstance(first, float) and isinstance(second, float) and math.isnan(first) and math.isnan(second):
        return True
    return type(first) is type(second) and bool(first == second)
