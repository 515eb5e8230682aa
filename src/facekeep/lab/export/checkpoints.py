"""Making the ONNX file of a PyTorch checkpoint: an EdgeFace, or the pair of MiniFASNet.

``facekeep.models`` finds this module by its entry point (``facekeep.checkpoints``), so that looking
models up needs neither the laboratory nor PyTorch.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

from msgspec import structs

from facekeep._internal.files import path_text, printable
from facekeep.errors import ModelError
from facekeep.lab import nn
from facekeep.lab.nn.checkpoint import checkpoint_bytes
from facekeep.lab.nn.litert import read_litert
from facekeep.lab.nn.minifasnet import export_minifasnet, minifasnet_of
from facekeep.models.embedder_form import probe_embedder
from facekeep.models.files import keep
from facekeep.models.model_entry import EXPORT, MINIFASNET, Conversion, FileEntry, ModelEntry


def identify_checkpoint(checkpoint: Path) -> tuple[str, float | None]:
    """Tell the architecture and gamma of an EdgeFace by its tensors.

    Raises:
        ModelError: The file is no such checkpoint.
    """
    state = nn.read_state(checkpoint)
    try:
        found = nn.network_of(state)
    except ModelError as error:
        shown = printable(path_text(checkpoint))
        raise ModelError(
            f"{shown} is no EdgeFace that can be recognized by its tensors; say which it is", "arch"
        ) from error
    return found.arch, found.gamma


def export_checkpoint(entry: ModelEntry, checkpoint: Path, target: Path) -> ModelEntry:
    """Turn a checkpoint into ONNX and run it once.

    Args:
        entry: The model; ``architecture``, ``gamma`` and ``input_size`` say what the file holds.
        checkpoint: Its PyTorch file; further files of the model lie beside it.
        target: Where the ONNX file goes, whole or not at all.

    Returns:
        The entry with the digest of what was made here and the form of the network.

    Raises:
        ModelError: The file is no such checkpoint, or the target cannot be written.
    """
    if entry.architecture == MINIFASNET:
        return _export_minifasnet(entry, checkpoint, target)
    size = entry.input_size or 112
    model = nn.load_checkpoint(checkpoint, entry.architecture, gamma=entry.gamma, input_size=size)
    nn.export_onnx(model, target)
    content = target.read_bytes()
    form = probe_embedder(target)
    return structs.replace(
        entry,
        files=_recorded(entry, content),
        input_size=form.input_size,
        max_batch=form.max_batch,
        width=form.width,
        params=sum(weight.numel() for weight in model.parameters()),
    )


def _recorded(entry: ModelEntry, content: bytes) -> tuple[FileEntry, ...]:
    """Return the files of an entry, the first with what was made of them."""
    conversion = Conversion(EXPORT, hashlib.sha256(content).hexdigest(), len(content))
    return (structs.replace(entry.files[0], conversion=conversion), *entry.files[1:])


def _export_minifasnet(entry: ModelEntry, checkpoint: Path, target: Path) -> ModelEntry:
    networks = []
    for file in entry.files:
        path = checkpoint.with_name(file.name)
        networks.append(minifasnet_of(nn.read_state(path), printable(path)))
    content = export_minifasnet(networks)
    keep(target, content)
    params = sum(weight.numel() for network in networks for weight in network.parameters())
    return structs.replace(entry, files=_recorded(entry, content), params=params)


def restore_checkpoint(conversion: Path, entry: ModelEntry) -> bytes:
    """Turn a TFLite conversion of an EdgeFace back into a checkpoint.

    Args:
        conversion: The ``.tflite`` file.
        entry: The model; ``architecture``, ``gamma`` and ``input_size`` say what the file holds.

    Raises:
        RuntimeUnavailable: LiteRT is not installed.
        ModelError: The file holds no such network.
    """
    size = entry.input_size or 112
    arch, gamma = entry.architecture, entry.gamma
    return checkpoint_bytes(read_litert(conversion, arch, gamma=gamma, input_size=size))
