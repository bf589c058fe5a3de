"""Plain data between two processes that do not trust each other: JSON and raw arrays, never pickle.

A value becomes a JSON document in which everything but text, true, false, None and numbers is a list that begins with
its kind. What is not plain data travels as a *handle*: a number that only the sender can resolve.
"""

from __future__ import annotations

import base64
import json
import math
import random
import re
import socket
import struct
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

LARGEST = 64 * 2**20  # bytes of one message
DEEPEST = 60  # lists within lists
MOST = 4_000_000  # items of one message; a million numbers in an array are one
LONGEST = 10**6  # range
_KINDS_OF_ARRAYS = "biufcUS"  # numpy's letters for truth values, numbers, text and bytes
_FEW = 1000  # keys, of which it does not matter whether they collide
_LENGTH = struct.Struct(">Q")
# Control characters, marks that turn the direction of writing, halves of characters.
_HARMFUL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


class WireError(ValueError):
    """A message or a value that cannot be sent, or that the other side should not have sent."""


@dataclass(frozen=True)
class Handle:
    """Something that stayed in the other process: its number, the name of its type, and how it prints."""

    number: int
    type_name: str
    shown: str
    callable: bool = False
    mapping: bool = False
    attributes: tuple[str, ...] = ()


def pack(value: Any, keep: Callable[[Any], Handle] | None = None) -> Any:
    """Turn a value into what `json` can write.

    Args:
        value: plain data: None, truth values, numbers, text, bytes, (nested) sequences, sets and mappings of them,
            arrays, tensors, and generators of random numbers.
        keep: keeps anything else on this side, and gives its handle; without it such a value is refused.

    Raises:
        WireError: on a value that is no plain data, nested too deeply, or in a circle.
    """
    return _pack(value, keep, 0)


def _pack(value: Any, keep: Callable[[Any], Handle] | None, depth: int) -> Any:
    if depth > DEEPEST:
        raise WireError(f"a value is nested more than {DEEPEST} levels deep, or contains itself")
    kind = type(value)
    if value is None or kind is bool:
        return value
    if kind is int:
        return value if abs(value) < 2**53 else ["int", hex(value)]
    if kind is float:
        return value if math.isfinite(value) else ["float", repr(value)]
    if kind is str:
        return value if value.isascii() else ["str", base64.b64encode(value.encode("utf-8", "surrogatepass")).decode()]
    if kind is bytes or kind is bytearray:
        return [kind.__name__, base64.b64encode(value).decode()]
    if kind is complex:
        return ["complex", repr(value.real), repr(value.imag)]
    if kind in (list, tuple, set, frozenset):
        return [kind.__name__, *(_pack(item, keep, depth + 1) for item in value)]
    if isinstance(value, dict) and kind.__name__ in ("dict", "Counter", "defaultdict", "OrderedDict"):
        pairs = [_pack(part, keep, depth + 1) for item in value.items() for part in item]
        return ["Counter" if isinstance(value, Counter) else "dict", *pairs]
    if isinstance(value, np.ndarray) and value.dtype.kind in _KINDS_OF_ARRAYS:
        return ["array", value.dtype.str, list(value.shape), base64.b64encode(np.ascontiguousarray(value)).decode()]
    if isinstance(value, np.generic) and value.dtype.kind in _KINDS_OF_ARRAYS:
        return ["scalar", value.dtype.str, base64.b64encode(np.asarray(value).tobytes()).decode()]
    return _pack_rarer(value, kind, keep, depth)


def _pack_rarer(value: Any, kind: type, keep: Callable[[Any], Handle] | None, depth: int) -> Any:
    if kind.__module__.split(".")[0] == "torch" and kind.__name__ in ("Tensor", "Parameter"):
        tensor = value.detach().cpu()
        dtype = str(tensor.dtype).removeprefix("torch.")
        raw = tensor.float() if dtype == "bfloat16" else tensor
        return ["tensor", dtype, value.requires_grad, _pack(raw.numpy(), None, depth + 1)]
    if kind.__module__ == "torch._C" and kind.__name__ == "Generator":
        return ["torch_rng", _pack(value.get_state().numpy(), None, depth + 1)]
    if isinstance(value, np.random.Generator):
        return ["rng", type(value.bit_generator).__name__, _pack(value.bit_generator.state, None, depth + 1)]
    if kind is random.Random:
        return ["random", _pack(value.getstate(), None, depth + 1)]
    if isinstance(value, range | slice):
        return [kind.__name__, *(_pack(part, None, depth + 1) for part in (value.start, value.stop, value.step))]
    if isinstance(value, np.ndarray) and value.dtype.kind == "O":
        return ["list", *(_pack(item, keep, depth + 1) for item in value.tolist())]
    if isinstance(value, Handle):
        return ["mine", value.number]
    for plain in (int, float, str, bytes):  # an enumeration's member, for one
        if isinstance(value, plain):
            return _pack(plain.__new__(plain, value), keep, depth)
    if keep is None:
        raise WireError(f"a value of type {kind.__name__} cannot be compared: expected numbers, text, lists, arrays")
    handle = keep(value)
    told = (handle.number, handle.type_name, handle.shown, handle.callable, handle.mapping, list(handle.attributes))
    return ["handle", *told]


def unpack(
    packed: Any, resolve: Callable[[int], Any] | None = None, meet: Callable[[Handle], Any] | None = None
) -> Any:
    """The value that was packed.

    Args:
        packed: what `pack` made, perhaps by a hostile hand.
        resolve: finds the thing that a handle of this side's own stands for.
        meet: what to make of a handle of the other side; the handle itself by default.

    Raises:
        WireError: on anything that `pack` does not make.
    """
    try:
        return _unpack(packed, resolve, meet, 0)
    except WireError:
        raise
    except (ArithmeticError, KeyError, LookupError, TypeError, ValueError, AttributeError, MemoryError) as error:
        raise WireError(f"a malformed message: {type(error).__name__}") from None


def _unpack(packed: Any, resolve, meet, depth: int) -> Any:
    if depth > DEEPEST + 3:
        raise WireError("a malformed message: nested too deeply")
    if packed is None or isinstance(packed, bool | int | float | str):
        return packed
    if not isinstance(packed, list) or not packed or not isinstance(packed[0], str):
        raise WireError("a malformed message: no kind")
    kind, *parts = packed

    def inner(part: Any) -> Any:
        return _unpack(part, resolve, meet, depth + 1)

    if kind in ("list", "tuple"):
        return {"list": list, "tuple": tuple}[kind](map(inner, parts))
    if kind in ("set", "frozenset"):
        return {"set": set, "frozenset": frozenset}[kind](_spread(list(map(inner, parts))))
    if kind in ("dict", "Counter"):
        flat = list(map(inner, parts))
        _spread(flat[::2])
        pairs = zip(flat[::2], flat[1::2], strict=True)
        return dict(pairs) if kind == "dict" else Counter(dict(pairs))
    if kind == "handle":
        number, type_name, shown, is_callable, is_mapping, attributes = parts
        told = str(type_name), str(shown), bool(is_callable), bool(is_mapping), tuple(map(str, attributes))
        handle = Handle(int(number), *told)
        return meet(handle) if meet else handle
    if kind == "mine":
        if resolve is None:
            raise WireError("a malformed message: a handle that nobody gave")
        return resolve(int(parts[0]))
    return _SIMPLE[kind](inner, *parts)


def _spread(keys: list) -> list:
    """Keys of a table; refused if they were chosen so that it takes for ever to build it."""
    if len(keys) > _FEW:
        hashes = sorted(map(hash, keys))
        if sum(one != other for one, other in pairwise(hashes)) < len(keys) // 2:
            raise WireError("a set or mapping with so many equal or colliding keys cannot be compared")
    return keys


def _raw(text: str) -> bytes:
    return base64.b64decode(text, validate=True)


def _unpack_array(inner: Callable, dtype: str, shape: list[int], data: str) -> np.ndarray:
    kind = np.dtype(dtype)
    if kind.kind not in _KINDS_OF_ARRAYS or not all(isinstance(side, int) and side >= 0 for side in shape):
        raise WireError("a malformed message: no array of numbers or text")
    return np.frombuffer(_raw(data), dtype=kind).reshape(shape).copy()


def _unpack_scalar(inner: Callable, dtype: str, data: str) -> np.generic:
    return _unpack_array(inner, dtype, [], data)[()]


def _short_range(*parts: int) -> range:
    """A range of a thousand million numbers is one line here, and all the memory there is once it is compared."""
    made = range(*parts)
    if len(made) > LONGEST:
        raise WireError(f"a range of {len(made)} numbers is too long, at most {LONGEST} can be compared")
    return made


def _unpack_tensor(inner: Callable, dtype: str, requires_grad: bool, packed: Any) -> Any:
    import torch

    found = getattr(torch, dtype)
    if not isinstance(found, torch.dtype):
        raise WireError("a malformed message: no tensor")
    return torch.from_numpy(inner(packed)).to(found).requires_grad_(requires_grad is True)


def _unpack_torch_rng(inner: Callable, state: Any) -> Any:
    import torch

    made = torch.Generator()
    made.set_state(torch.from_numpy(inner(state)))
    return made


def _unpack_random(inner: Callable, state: Any) -> random.Random:
    made = random.Random()
    made.setstate(inner(state))
    return made


def _unpack_rng(inner: Callable, name: str, state: Any) -> np.random.Generator:
    if name not in ("PCG64", "PCG64DXSM", "MT19937", "Philox", "SFC64"):
        raise WireError("a malformed message: no generator of random numbers")
    bits = getattr(np.random, name)()
    bits.state = inner(state)
    return np.random.Generator(bits)


_SIMPLE: dict[str, Callable] = {
    "int": lambda inner, text: int(text, 16),
    "float": lambda inner, text: {"nan": math.nan, "inf": math.inf, "-inf": -math.inf}[text],
    "str": lambda inner, text: _raw(text).decode("utf-8", "surrogatepass"),
    "bytes": lambda inner, text: _raw(text),
    "bytearray": lambda inner, text: bytearray(_raw(text)),
    "complex": lambda inner, real, imaginary: complex(float(real), float(imaginary)),
    "array": _unpack_array,
    "scalar": _unpack_scalar,
    "tensor": _unpack_tensor,
    "rng": _unpack_rng,
    "random": _unpack_random,
    "torch_rng": _unpack_torch_rng,
    "range": lambda inner, *parts: _short_range(*map(inner, parts)),
    "slice": lambda inner, *parts: slice(*map(inner, parts)),
}


def update(old: Any, new: Any) -> None:
    """Make a list, mapping, set, array or generator like another, in place: what a call did to its argument.

    Raises:
        WireError: if the two are of different kinds.
    """
    if isinstance(old, list) and isinstance(new, list):
        for index, (before, after) in enumerate(zip(old, new, strict=False)):
            old[index] = _updated(before, after)
        old[len(new) :] = new[len(old) :]
        del old[len(new) :]
    elif isinstance(old, dict) and isinstance(new, dict):
        changed = {key: _updated(old.get(key), value) for key, value in new.items()}
        old.clear()
        dict.update(old, changed)
    elif isinstance(old, set) and isinstance(new, set):
        old.clear()
        old.update(new)
    elif isinstance(old, np.ndarray) and isinstance(new, np.ndarray):
        if old.shape == new.shape and old.dtype == new.dtype:
            old[...] = new
        else:
            raise WireError("an array argument changed its shape or kind")
    elif isinstance(old, np.random.Generator) and isinstance(new, np.random.Generator):
        old.bit_generator.state = new.bit_generator.state
    elif isinstance(old, random.Random) and isinstance(new, random.Random):
        old.setstate(new.getstate())
    elif hasattr(old, "set_state") and type(old) is type(new):
        old.set_state(new.get_state())
    elif isinstance(old, tuple) and isinstance(new, tuple):
        for before, after in zip(old, new, strict=False):
            if _is_mutable(before):
                update(before, after)
    elif hasattr(old, "copy_") and type(old) is type(new):
        old.detach().copy_(new)


def _is_mutable(value: Any) -> bool:
    kinds = list | dict | set | tuple | np.ndarray | np.random.Generator | random.Random
    return isinstance(value, kinds) or hasattr(value, "copy_") or hasattr(value, "set_state")


def _updated(before: Any, after: Any) -> Any:
    """The old object made like the new one where that is possible, so that what holds it sees the change."""
    if _is_mutable(before) and type(before) is type(after):
        try:
            update(before, after)
            return before
        except WireError:
            pass
    return after


def send(connection: socket.socket, message: Any) -> None:
    """Write one message.

    Raises:
        WireError: if it is too large.
    """
    data = json.dumps(message, allow_nan=False, separators=(",", ":")).encode()
    if len(data) > LARGEST:
        raise WireError(f"a message of {len(data) / 2**20:.0f} MB is too large, at most {LARGEST / 2**20:.0f} MB fit")
    connection.sendall(_LENGTH.pack(len(data)) + data)


def receive(connection: socket.socket, until: float | None = None) -> Any:
    """Read one message.

    Args:
        connection: to the other side.
        until: the time, of `time.monotonic`, at which the whole message must be there.

    Raises:
        EOFError: if the other side is gone.
        TimeoutError: if it was not there in time.
        WireError: if what came is no message.
    """
    (length,) = _LENGTH.unpack(_read(connection, _LENGTH.size, until))
    if length > LARGEST:
        raise WireError(f"a message of {length} bytes is too large")
    data = _read(connection, length, until)
    if data.count(b",") + data.count(b"[") > MOST:
        raise WireError(f"a value has more than {MOST:,} items: at most so many can be compared, more in an array")
    try:
        return json.loads(data)
    except (ValueError, RecursionError):
        raise WireError("a malformed message: no JSON") from None


def _read(connection: socket.socket, length: int, until: float | None) -> bytes:
    parts: list[bytes] = []
    while length:
        if until is not None:  # for the whole, not for each part: bytes that drip do not win time
            if (left := until - time.monotonic()) <= 0:
                raise TimeoutError
            connection.settimeout(left)
        part = connection.recv(min(length, 2**20))
        if not part:
            raise EOFError("the other side is gone")
        parts.append(part)
        length -= len(part)
    return b"".join(parts)


def first_lines(text: str, characters: int) -> str:
    """A text cut off after so many characters, saying so."""
    return text if len(text) <= characters else f"{text[:characters]}\n... ({len(text) - characters} characters more)"


def harmless(text: str) -> str:
    """Text without what a page or a terminal would obey, or could not show."""
    return _HARMFUL.sub("\ufffd", text)
