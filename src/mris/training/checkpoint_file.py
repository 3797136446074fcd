"""Checkpoints without pickle: tensors in one safetensors file, everything else as JSON in its header."""

import json
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from mris.errors import OutputError, TrainingError
from mris.images.write import atomic_write

_TENSOR, _TUPLE, _INT_KEYS = "__tensor__", "__tuple__", "__int_keys__"


def _flatten(value: Any, tensors: dict[str, torch.Tensor], name: str) -> Any:
    """Replace every tensor by a reference, collecting it in `tensors`, so that what is left is JSON."""
    if isinstance(value, torch.Tensor):
        tensors[name] = value.detach().cpu().contiguous().clone()
        return {_TENSOR: name}
    if isinstance(value, dict):
        if value and all(isinstance(key, int) for key in value):
            return {_INT_KEYS: {str(k): _flatten(v, tensors, f"{name}/{k}") for k, v in value.items()}}
        return {str(k): _flatten(v, tensors, f"{name}/{k}") for k, v in value.items()}
    if isinstance(value, tuple):
        return {_TUPLE: [_flatten(v, tensors, f"{name}/{i}") for i, v in enumerate(value)]}
    if isinstance(value, list):
        return [_flatten(v, tensors, f"{name}/{i}") for i, v in enumerate(value)]
    if value is None or isinstance(value, str | int | float | bool):
        return value
    if isinstance(value, Path):
        return str(value)
    raise TrainingError(f"checkpoint entry {name!r} is a {type(value).__name__}, which JSON and tensors cannot hold")


def _restore(value: Any, tensors: dict[str, torch.Tensor]) -> Any:
    if isinstance(value, list):
        return [_restore(v, tensors) for v in value]
    if not isinstance(value, dict):
        return value
    if _TENSOR in value:
        return tensors[value[_TENSOR]]
    if _TUPLE in value:
        return tuple(_restore(v, tensors) for v in value[_TUPLE])
    if _INT_KEYS in value:
        return {int(k): _restore(v, tensors) for k, v in value[_INT_KEYS].items()}
    return {k: _restore(v, tensors) for k, v in value.items()}


def save_checkpoint(checkpoint: dict[str, Any], path: Path) -> None:
    """Write a nested dictionary of tensors and plain values atomically.

    Raises:
        OutputError: the disk refuses.
    """
    tensors: dict[str, torch.Tensor] = {}
    structure = _flatten(checkpoint, tensors, "checkpoint")
    path.parent.mkdir(parents=True, exist_ok=True)
    write_tensors(path, tensors, {"structure": json.dumps(structure)})


def write_tensors(path: Path, tensors: dict[str, torch.Tensor], metadata: dict[str, str] | None = None) -> None:
    """Write a safetensors file atomically.

    Raises:
        OutputError: the disk refuses.
    """
    with atomic_write(path) as temporary:
        try:
            save_file(tensors, str(temporary), metadata=metadata)
        except SafetensorError as error:  # it says so, too, where the disk is full
            raise OutputError(f"cannot write {path}: {error}; free space or another place would help") from error


def load_checkpoint(path: Path) -> dict[str, Any]:
    """Read what `save_checkpoint` wrote.

    Raises:
        TrainingError: the file is missing, truncated, or not such a checkpoint.
    """
    try:
        with safe_open(str(path), framework="pt") as file:
            structure = json.loads((file.metadata() or {})["structure"])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError, KeyError, ValueError, RecursionError) as error:
        raise TrainingError(
            f"checkpoint {path} cannot be read ({error}); restore a copy, or start a new run"
        ) from error
    restored: dict[str, Any] = _restore(structure, tensors)
    return restored
