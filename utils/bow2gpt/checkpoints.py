"""Trained models in folders: weights in the safetensors format, what they belong to as JSON; and GPT-2's own files.

But: no model is made here; a model says what to write, and takes what was read.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from bow2gpt.course.paths import atomic_path, write_atomically

#: The book's own weights, a folder each: model.safetensors, config.json, tokenizer.json, facts.json and a card.
WEIGHTS = Path(__file__).parent / "weights"


def facts(name: str) -> dict[str, Any]:
    """What is known of the training of the book's own weights of that name.

    Raises:
        ValueError: if there are none.
    """
    return _read_json(WEIGHTS / name / "facts.json")


def write_model(folder: str | Path, tensors: Mapping[str, Tensor], fields: Mapping[str, Any], tokenizer: Any) -> None:
    """Write model.safetensors, config.json and, if the tokenizer can be saved, tokenizer.json.

    Args:
        folder: made if it is not there.
        tensors: weights by name, each with memory of its own.
        fields: plain values.
        tokenizer: its class is noted among the fields; None for none.
    """
    from safetensors.torch import save_file

    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    with atomic_path(folder / "model.safetensors") as partial:
        save_file({name: each.detach().cpu().contiguous() for name, each in tensors.items()}, partial, {"format": "pt"})
    kind = None if tokenizer is None else type(tokenizer).__name__
    write_atomically(folder / "config.json", (json.dumps({**fields, "tokenizer": kind}, indent=1) + "\n").encode())
    if hasattr(tokenizer, "save"):
        tokenizer.save(folder / "tokenizer.json")


def read_model(folder: str | Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """What `write_model` wrote: weights and fields, the tokenizer's class among them.

    Raises:
        ValueError: if a file is missing or broken.
    """
    return read_tensors(Path(folder) / "model.safetensors"), _read_json(Path(folder) / "config.json")


def read_tensors(path: Path) -> dict[str, Tensor]:
    """The tensors of a safetensors file by name.

    Raises:
        ValueError: if it is missing or broken.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except (OSError, SafetensorError) as error:
        raise ValueError(f"{path} cannot be read: {error}; expected a file in the safetensors format") from None


def _read_json(path: Path) -> dict[str, Any]:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ValueError(f"{path} cannot be read: {error}; expected what the model's save() writes") from None


def fill(model: nn.Module, tensors: Mapping[str, Tensor], origin: str | Path) -> None:
    """Give a model its weights, as 32-bit numbers.

    Args:
        model: what to fill.
        tensors: weights by the model's names, neither more nor fewer.
        origin: where they come from, for the message.

    Raises:
        ValueError: if they do not fit.
    """
    own = model.state_dict()
    wrong = [name for name in own if name not in tensors or tensors[name].shape != own[name].shape]
    extra = sorted(set(tensors) - set(own))
    if wrong or extra:
        what = f"lacks {', '.join(wrong)}, or holds it in another shape" if wrong else f"also holds {', '.join(extra)}"
        raise ValueError(f"{origin} does not fit this configuration: it {what}")
    model.load_state_dict({name: tensors[name].to(torch.float32) for name in own})


def read_gpt2(path: str | Path) -> tuple[dict[str, int], dict[str, Tensor]]:
    """Read GPT-2's published weights (Radford et al., 2019), and give them the names of the book's GPT.

    Its matrices are stored as (in, out), and those for queries, keys and values side by side in one.

    Args:
        path: a safetensors file, or a folder with model.safetensors; config.json beside it says how many heads there
            are, else they have 64 channels each, as in all four published sizes.

    Returns:
        Sizes as `GPTConfig` names them, and weights.

    Raises:
        ValueError: if the file is missing or holds another model.
    """
    path = Path(path)
    file = path / "model.safetensors" if path.is_dir() else path
    tensors = {name.removeprefix("transformer."): tensor for name, tensor in read_tensors(file).items()}
    num_layers = len({name.split(".")[1] for name in tensors if name.startswith("h.")})
    names = {"wte.weight": "embedding.weight", "wpe.weight": "added.positions.weight"}
    parts = {"ln_1": "attention.norm", "attn.c_attn": "", "attn.c_proj": "attention.part.output", "ln_2": "mlp.norm"}
    parts |= {"mlp.c_fc": "mlp.part.expand", "mlp.c_proj": "mlp.part.contract"}
    for kind in ("weight", "bias"):
        names[f"ln_f.{kind}"] = f"norm.{kind}"
        for number in range(num_layers):
            for theirs, ours in parts.items():
                names[f"h.{number}.{theirs}.{kind}"] = f"blocks.{number}.{ours}.{kind}"
    if missing := [name for name in names if name not in tensors]:
        raise ValueError(f"{file} lacks {', '.join(missing[:5])}, so it is no GPT-2")
    (vocabulary_size, channels), context_length = tensors["wte.weight"].shape, len(tensors["wpe.weight"])
    beside = file.parent / "config.json"
    num_heads = _read_json(beside).get("n_head") if beside.exists() else None
    sizes = {"vocabulary_size": vocabulary_size, "context_length": context_length, "num_layers": num_layers}
    sizes |= {"num_heads": num_heads or max(1, channels // 64), "embedding_dim": channels}
    found = {"output.weight": tensors["wte.weight"]}
    for theirs, ours in names.items():
        tensor = tensors[theirs].mT if ".c_" in theirs and theirs.endswith("weight") else tensors[theirs]
        if ".c_attn." not in theirs:
            found[ours] = tensor
            continue
        block, kind = ours.split("..")
        for name, part in zip(("query", "key", "value"), tensor.chunk(3), strict=True):
            found[f"{block}.attention.part.{name}.{kind}"] = part
    return sizes, found
