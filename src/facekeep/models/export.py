"""Making the ONNX file of an EdgeFace checkpoint: the one place of this room that needs PyTorch."""

from __future__ import annotations

import dataclasses
import hashlib
from pathlib import Path

from facekeep.errors import RuntimeUnavailable
from facekeep.models.model_entry import EXPORT, Conversion, ModelEntry
from facekeep.models.probe import probe_embedder


def require_torch(entry: ModelEntry) -> None:
    """Make sure that a checkpoint can be exported, before anything is fetched or written.

    Raises:
        RuntimeUnavailable: PyTorch is not installed.
    """
    try:
        import facekeep.lab.nn  # noqa: F401
    except RuntimeUnavailable as error:
        raise RuntimeUnavailable(
            f"model {entry.name!r} must be converted once from PyTorch: {error}"
        ) from error


def export_checkpoint(entry: ModelEntry, checkpoint: Path, target: Path) -> ModelEntry:
    """Turn a checkpoint into ONNX and run it once.

    Args:
        entry: The model; ``architecture``, ``gamma`` and ``input_size`` say what the file holds.
        checkpoint: Its PyTorch file.
        target: Where the ONNX file goes, whole or not at all.

    Returns:
        The entry with the digest of what was made here and the form of the network.

    Raises:
        RuntimeUnavailable: PyTorch is not installed.
        ModelError: The file is no such checkpoint, or the target cannot be written.
    """
    require_torch(entry)
    from facekeep.lab import nn

    size = entry.input_size or 112
    model = nn.load_checkpoint(checkpoint, entry.architecture, gamma=entry.gamma, input_size=size)
    nn.export_onnx(model, target)
    content = target.read_bytes()
    form = probe_embedder(target)
    made = Conversion(EXPORT, hashlib.sha256(content).hexdigest(), len(content))
    return dataclasses.replace(
        entry,
        files=(dataclasses.replace(entry.files[0], conversion=made),),
        input_size=form.input_size,
        max_batch=form.max_batch,
        width=form.width,
        params=sum(weight.numel() for weight in model.parameters()),
    )


def checkpoint_of(conversion: Path, entry: ModelEntry) -> bytes:
    """Turn a TFLite conversion of an EdgeFace back into a checkpoint.

    Args:
        conversion: The ``.tflite`` file.
        entry: The model; ``architecture``, ``gamma`` and ``input_size`` say what the file holds.

    Raises:
        RuntimeUnavailable: PyTorch or LiteRT is not installed.
        ModelError: The file holds no such network.
    """
    require_torch(entry)
    from facekeep.lab.nn.checkpoint import checkpoint_bytes
    from facekeep.lab.nn.litert import read_litert

    size = entry.input_size or 112
    arch, gamma = entry.architecture, entry.gamma
    return checkpoint_bytes(read_litert(conversion, arch, gamma=gamma, input_size=size))
