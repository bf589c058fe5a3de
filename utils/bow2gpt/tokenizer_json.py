"""A tokenizer.json as the library `tokenizers` writes and reads it, for byte-level BPE of GPT-2's kind.

But: a file that asks for anything else is refused, since it would give other ids.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from bow2gpt.course.paths import atomic_path


def _byte_characters() -> list[str]:
    spare = iter(range(0x100, 0x200))
    return [chr(b) if b > 32 and chr(b).isprintable() else chr(next(spare)) for b in range(256)]


#: GPT-2's printable character for each byte: its own if it has one, else the next from U+0100 on.
CHARACTER_OF_BYTE = _byte_characters()

#: The 256 bytes in the order of their token ids, which is that of their characters.
BYTE_OF_ID = bytes(sorted(range(256), key=CHARACTER_OF_BYTE.__getitem__))

_BYTE_OF_CHARACTER = {character: byte for byte, character in enumerate(CHARACTER_OF_BYTE)}


def name(token: bytes) -> str:
    """A token in GPT-2's printable characters: `Ġthe` for ` the`."""
    return "".join(CHARACTER_OF_BYTE[byte] for byte in token)


def token(name: str) -> bytes:
    """The token with a name in GPT-2's printable characters.

    Raises:
        KeyError: on a character that stands for no byte.
    """
    return bytes(_BYTE_OF_CHARACTER[character] for character in name)


def write(path: str | Path, merges: Sequence[tuple[bytes, bytes]], special_tokens: Sequence[str]) -> None:
    """Write a tokenizer so that `tokenizers.Tokenizer.from_file` reads it (there, special tokens are always on).

    Args:
        path: the file to write; it is there whole or not at all.
        merges: pairs of tokens in the order of learning.
        special_tokens: their texts, in the order of their ids.
    """
    ordinary = [name(bytes([byte])) for byte in BYTE_OF_ID] + [name(first + second) for first, second in merges]
    flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
    model = {"type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": None}
    model |= {"end_of_word_suffix": None, "fuse_unk": False, "byte_fallback": False, "ignore_merges": False}
    model["vocab"] = {text: number for number, text in enumerate(ordinary)}
    model["merges"] = [[name(first), name(second)] for first, second in merges]
    added = [{"id": number, "content": text, **flags} for number, text in enumerate(special_tokens, len(ordinary))]
    content = {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": added,
        "normalizer": None,
        "pre_tokenizer": byte_level,
        "post_processor": None,
        "decoder": byte_level | {"add_prefix_space": True},
        "model": model,
    }
    with atomic_path(Path(path)) as partial:
        partial.write_text(json.dumps(content, ensure_ascii=False, indent=1), encoding="utf-8")


def read(path: str | Path) -> tuple[list[tuple[bytes, bytes]], list[str]]:
    """Merges and special tokens of a file written by `write` or by `tokenizers`.

    Raises:
        ValueError: if there is no such file, or it is not a byte-level BPE of GPT-2's kind; the message says why.
    """
    try:
        return _parse(json.loads(Path(path).read_text(encoding="utf-8")))
    except OSError as error:
        raise ValueError(f"{path} cannot be read ({error.strerror}): check the path") from None
    except (AttributeError, IndexError, KeyError, TypeError) as error:
        raise ValueError(f"{path} is not a tokenizer.json: {error!r} while reading it") from error
    except ValueError as error:
        raise ValueError(f"{path} cannot be loaded: {error}") from error


def _parse(file: dict) -> tuple[list[tuple[bytes, bytes]], list[str]]:
    if differs := _what_differs(file):
        raise ValueError(f"{differs}; only byte-level BPE of GPT-2's kind can be loaded")
    # Merges are "a b" in old files, ["a", "b"] in new ones.
    pairs = [pair.split(" ") if isinstance(pair, str) else pair for pair in file["model"]["merges"]]
    merges = [(token(first), token(second)) for first, second in pairs]
    added = sorted(file.get("added_tokens", []), key=lambda entry: entry["id"])
    texts = [name(bytes([byte])) for byte in BYTE_OF_ID] + [name(first + second) for first, second in merges]
    texts += [entry["content"] for entry in added]
    in_file = {entry["content"]: entry["id"] for entry in added} | file["model"]["vocab"]
    if in_file != {text: number for number, text in enumerate(texts)}:
        raise ValueError(
            "its ids are not in GPT-2's order: the 256 bytes, the merges, the special tokens; train it with "
            "initial_alphabet=ByteLevel.alphabet(), and add special tokens after training"
        )
    return merges, [entry["content"] for entry in added]


def _what_differs(file: dict) -> str:
    """What a tokenizer.json asks for that would give other ids than GPT-2's kind of byte-level BPE."""
    model, cut = file["model"], file["pre_tokenizer"] or {"type": "none"}
    reasons = {
        f"its model is {model.get('type')}, not BPE": model.get("type", "BPE") != "BPE",
        f"its pre-tokenizer is {cut['type']}, not ByteLevel": cut["type"] != "ByteLevel",
        "its pre-tokenizer adds a space before the text (add_prefix_space)": cut.get("add_prefix_space", True),
        "its pre-tokenizer does not use GPT-2's pattern (use_regex)": not cut.get("use_regex", True),
        "its post-processor adds tokens": (file.get("post_processor") or {"type": "ByteLevel"})["type"] != "ByteLevel",
        "an added token is not special, or takes neighbouring characters with it": any(
            not token["special"] or token["single_word"] or token["lstrip"] or token["rstrip"]
            for token in file.get("added_tokens", [])
        ),
    }
    for key in ("normalizer", "truncation", "padding"):
        reasons[f"it has a {key}"] = bool(file.get(key))
    for key in ("dropout", "unk_token", "continuing_subword_prefix", "end_of_word_suffix"):
        reasons[f"its model has a {key}"] = bool(model.get(key))
    for key in ("byte_fallback", "ignore_merges"):
        reasons[f"its model has {key} switched on"] = bool(model.get(key))
    return "; ".join(reason for reason, holds in reasons.items() if holds)
