"""Networks that are not in the catalogue yet, run as if they were."""

from __future__ import annotations

import dataclasses
import hashlib
from pathlib import Path

from facekeep.models import FileEntry, ModelEntry
from facekeep.models.files import keep

__all__ = ["staged"]


def staged(content: bytes, like: ModelEntry, folder: Path, name: str) -> ModelEntry:
    """Write a network into a folder, and describe it as the model that it was made of.

    Args:
        content: Its ONNX file.
        like: The model that it was made of.
        folder: Where to.
        name: What it is called.

    Returns:
        An entry that can be opened like those of the catalogue; without thresholds and figures,
        which are another network's.

    Raises:
        ModelError: The folder cannot be written.
        StorageFull: There is no room.
    """
    file = FileEntry(f"{name}.onnx", hashlib.sha256(content).hexdigest(), len(content))
    keep(folder / file.name, content)
    return dataclasses.replace(
        like,
        name=name,
        architecture="onnx",
        gamma=None,
        files=(file,),
        folder=folder,
        runtime="onnxruntime",
        max_batch=None,
        thresholds=(),
        comparisons=0,
        calibrated_on="",
        calibration_command="",
        accuracy=(),
    )
