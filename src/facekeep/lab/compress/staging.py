"""Networks that are not in the catalogue yet, run as if they were."""

from __future__ import annotations

import dataclasses
import hashlib
from pathlib import Path

from facekeep.lab.compress.made import Made
from facekeep.models import FileEntry, ModelEntry, model_cost
from facekeep.models.files import keep

__all__ = ["staged"]


def staged(made: Made, like: ModelEntry, folder: Path, name: str = "trial") -> ModelEntry:
    """Write a network into a folder, and describe it as the model that it was made of.

    Args:
        made: The network.
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
    file = FileEntry(f"{name}.onnx", hashlib.sha256(made.content).hexdigest(), len(made.content))
    keep(folder / file.name, made.content)
    return dataclasses.replace(
        like,
        name=name,
        architecture="onnx",
        gamma=None,
        files=(file,),
        folder=folder,
        runtime="onnxruntime",
        params=made.params or like.params or model_cost(like).params,
        input_size=made.input_size or like.input_size,
        max_batch=None,
        thresholds=(),
        comparisons=0,
        calibrated_on="",
        calibration_command="",
        accuracy=(),
    )
