"""Texts as files of token ids that are mapped into memory, and batches cut out of them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from bow2gpt.course.paths import atomic_path, write_atomically

Batch = tuple[Tensor, Tensor]


def write_tokens(path: str | Path, token_ids: np.ndarray | Sequence[int]) -> Path:
    """Write token ids as a .npy file of two bytes each if all are below 65,536, else of four; whole or not at all.

    Args:
        path: the file to write.
        token_ids: shape (tokens,), integers from 0 to 2**32 - 1.

    Raises:
        ValueError: on anything else.
    """
    ids = np.asarray(token_ids)
    if ids.ndim != 1 or not len(ids) or ids.dtype.kind not in "iu":
        raise ValueError(f"got {ids.dtype} of shape {ids.shape}, expected a row of at least one integer token id")
    if ids.min() < 0 or ids.max() >= 2**32:
        raise ValueError(f"got token ids from {ids.min()} to {ids.max()}, expected 0 to 2**32 - 1")
    with atomic_path(Path(path)) as partial, open(partial, "wb") as file:
        np.save(file, ids.astype(np.uint16 if ids.max() < 2**16 else np.uint32))
    return Path(path)


def read_tokens(path: str | Path, vocabulary_size: int, context_length: int) -> np.ndarray:
    """Map a token file into memory: only the parts that are looked at are read, however long it is.

    Args:
        path: a file of `write_tokens`.
        vocabulary_size: the file must not hold this id, or a higher one. All of it is read once to know.
        context_length: the file must be longer than this, in tokens.

    Returns:
        Read-only array of shape (tokens,), uint16 or uint32.

    Raises:
        ValueError: if the file is missing, broken or does not fit; the message says which.
    """
    again = "write it again with write_tokens"
    try:
        ids = np.load(path, mmap_mode="r", allow_pickle=False)
    except OSError as error:
        raise ValueError(f"{path} cannot be read ({error.strerror or error}): check the path, or {again}") from None
    except (ValueError, EOFError) as error:
        raise ValueError(f"{path} is no token file, or only a part of one ({error}): {again}") from None
    if not isinstance(ids, np.ndarray) or ids.ndim != 1 or ids.dtype not in (np.uint16, np.uint32):
        raise ValueError(f"{path} holds other things than a row of uint16 or uint32 token ids: {again}")
    if len(ids) <= context_length:
        raise ValueError(f"{path} has {len(ids)} tokens, too few for a context of {context_length}: take a longer text")
    for start in range(0, len(ids), 2**24):
        if (highest := int(ids[start : start + 2**24].max())) >= vocabulary_size:
            raise ValueError(
                f"{path} holds token {highest}, beyond a vocabulary of {vocabulary_size}: it was written with another "
                "tokenizer; write it again with this one"
            )
    return ids


def prepare_tokens(
    folder: Path, texts: Mapping[str, str], train_tokenizer: Callable[[str, int], Any], vocabulary_size: int
) -> None:
    """Write a token file NAME.npy for each text, tokenizer.json and data.json, unless they are of these texts already.

    Args:
        folder: where to.
        texts: by name; the tokenizer learns from the one named "train".
        train_tokenizer: gives a tokenizer for a text and a vocabulary size.
        vocabulary_size: what to ask of it; data.json says what it has.
    """
    made_from = {"tokenizer": f"{train_tokenizer.__module__}:{train_tokenizer.__qualname__}", "asked": vocabulary_size}
    made_from |= {name: hashlib.sha256(text.encode()).hexdigest() for name, text in texts.items()}
    description = folder / "data.json"
    there = all(path.exists() for path in (description, *(folder / f"{name}.npy" for name in texts)))
    if there and made_from.items() <= json.loads(description.read_text(encoding="utf-8")).items():
        return
    tokenizer = train_tokenizer(texts["train"], vocabulary_size)
    tokens_per_byte = {}
    for name, text in texts.items():
        token_ids = tokenizer.encode(text)
        write_tokens(folder / f"{name}.npy", token_ids)
        tokens_per_byte[name] = len(token_ids) / len(text.encode())
    if hasattr(tokenizer, "save"):
        tokenizer.save(folder / "tokenizer.json")
    data = {"vocabulary_size": tokenizer.vocabulary_size, "tokens_per_byte": tokens_per_byte}
    write_atomically(description, json.dumps(made_from | data, indent=1).encode())


def windows(token_ids: np.ndarray, starts: np.ndarray, context_length: int) -> Batch:
    """Cut inputs and targets, each the token after its input, out of a text: two int64 tensors (starts, context)."""
    cut = token_ids[np.asarray(starts)[:, None] + np.arange(context_length + 1)].astype(np.int64)
    cut = torch.from_numpy(cut)
    return cut[:, :-1].clone(), cut[:, 1:].clone()  # two tensors: who masks a target must not change an input


def shuffled_batches(
    token_ids: np.ndarray, context_length: int, batch_size: int, seed: int = 0
) -> Callable[[int], Batch]:
    """Give a function from the number of a step to its batch; in each pass over the text every window comes once.

    A pass cuts the text into windows side by side, from another first token each time, and shuffles them.

    Args:
        token_ids: shape (tokens,).
        context_length: tokens of a window.
        batch_size: windows of a batch.
        seed: decides the cuts and the order.

    Raises:
        ValueError: if the text is too short for a window and the token after it.
    """
    num_windows = (len(token_ids) - 1) // context_length
    if num_windows < 1 or batch_size < 1:
        raise ValueError(
            f"got {len(token_ids)} tokens for batches of {batch_size} windows of {context_length} and one more"
        )
    num_windows = max(1, num_windows - 1)  # there is room to begin later
    steps_in_a_pass = max(1, num_windows // batch_size)
    orders: dict[int, np.ndarray] = {}

    def batch(step: int) -> Batch:
        number, place = divmod(step, steps_in_a_pass)
        if number not in orders:
            orders.clear()
            rng = np.random.default_rng([seed, number])
            latest = len(token_ids) - num_windows * context_length
            starts = rng.integers(0, latest) + context_length * rng.permutation(num_windows)
            orders[number] = np.resize(starts, max(num_windows, batch_size))
        return windows(token_ids, orders[number][place * batch_size : (place + 1) * batch_size], context_length)

    return batch
