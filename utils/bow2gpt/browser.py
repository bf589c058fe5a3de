"""What is different inside a browser, put right in one place, so that chapters and answers run there unchanged.

Python there is Pyodide, which has pointers of 32 bits and no threads. `import bow2gpt` calls `adapt` there.
"""

from __future__ import annotations

import warnings

import numpy as np
from numpy.typing import ArrayLike

_numpy_bincount = np.bincount
_INDEX = np.intp  # the integers that numpy counts with


def adapt() -> None:
    """Let numpy count token ids, and keep tqdm from telling that it has neither threads nor widgets."""
    np.bincount = bincount
    for beginning in ("tqdm:disabling monitor", "IProgress not found"):
        warnings.filterwarnings("ignore", message=beginning)


def bincount(x: ArrayLike, /, weights: ArrayLike | None = None, minlength: int = 0) -> np.ndarray:
    """`numpy.bincount` that takes integers of 64 bits, which numpy refuses where it counts with 32.

    Raises:
        ValueError: if a number is negative, or too large to count.
        TypeError: if they are no integers.
    """
    if np.asarray(x).dtype == np.int64:
        numbers, largest = np.asarray(x), np.iinfo(_INDEX).max
        if numbers.size and numbers.max() > largest:
            raise ValueError(f"got {numbers.max()}, expected at most {largest}: there is no memory for so many counts")
        x = numbers.astype(_INDEX)
    return _numpy_bincount(x, weights, minlength)
