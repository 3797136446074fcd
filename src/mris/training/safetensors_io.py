"""Checkpoints without pickle, as Lightning asks for them; apart from these, which are read without Lightning."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from mris.training.checkpoint_file import load_checkpoint, save_checkpoint
from mris.training.lightning_library import CheckpointIO


class SafetensorsIO(CheckpointIO):  # type: ignore[misc,unused-ignore]
    """Lightning's door to `save_checkpoint` and `load_checkpoint`."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:  # noqa: ARG002
        """Write atomically; an interrupted write leaves the earlier checkpoint."""
        save_checkpoint(checkpoint, Path(path))

    def load_checkpoint(
        self,
        path: Any,
        map_location: Callable[..., Any] | None = None,  # noqa: ARG002
        weights_only: bool | None = None,  # noqa: ARG002
    ) -> dict[str, Any]:
        """Read on the CPU; Lightning moves tensors to their device."""
        return load_checkpoint(Path(path))

    def remove_checkpoint(self, path: Any) -> None:
        """Delete a superseded checkpoint."""
        Path(path).unlink(missing_ok=True)
