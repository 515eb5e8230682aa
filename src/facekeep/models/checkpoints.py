"""PyTorch checkpoints, which become ONNX by a converter that announces itself as an entry point."""

from __future__ import annotations

from importlib.metadata import entry_points
from pathlib import Path
from typing import Protocol, cast

from facekeep.errors import RuntimeUnavailable
from facekeep.models.model_entry import ModelEntry

__all__ = ["Converter", "find_converter"]

_GROUP = "facekeep.checkpoints"


class Converter(Protocol):
    """What the module behind the entry point ``edgeface`` has; facekeep's own needs PyTorch."""

    def identify_checkpoint(self, checkpoint: Path) -> tuple[str, float | None]:
        """Tell the architecture and gamma of a checkpoint by its tensors; ModelError if none."""
        ...

    def export_checkpoint(self, entry: ModelEntry, checkpoint: Path, target: Path) -> ModelEntry:
        """Write the ONNX file of a checkpoint; return the entry with its digest and form."""
        ...

    def restore_checkpoint(self, conversion: Path, entry: ModelEntry) -> bytes:
        """Turn a TFLite conversion back into a checkpoint."""
        ...


def find_converter(name: str) -> Converter:
    """Find what converts checkpoints of EdgeFace, before anything is fetched or written.

    Args:
        name: Of the model, for the error.

    Raises:
        RuntimeUnavailable: There is none, or PyTorch is not installed.
    """
    try:
        (point,) = entry_points(group=_GROUP, name="edgeface")
        return cast("Converter", point.load())
    except ValueError as error:
        raise RuntimeUnavailable(
            f"model {name!r} must be converted once from PyTorch, and this installation of facekeep"
            " lacks its converter: install facekeep again"
        ) from error
    except RuntimeUnavailable as error:
        raise RuntimeUnavailable(
            f"model {name!r} must be converted once from PyTorch: {error}"
        ) from error
