"""Checkpoints in the layout of the published ones: read without running them, checked, written."""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from facekeep._internal.files import open_regular, path_text, printable, why
from facekeep.errors import ModelCorrupt, ModelError, ModelNotFound
from facekeep.lab.nn.edgeface import EdgeFace, create_model
from facekeep.lab.nn.safe_load import UnreadableError, load_tensors
from facekeep.lab.nn.shapes import find_mismatch, network_of, read_width, recognize
from facekeep.models.files import keep

__all__ = [
    "checkpoint_bytes",
    "load_checkpoint",
    "network_of",
    "read_state",
    "recognize",
    "save_checkpoint",
]

_PREFIX = "model."
_PACKED = "._packed_params._packed_params"
_PACKED_REST = ("._packed_params.dtype", ".scale", ".zero_point")
_Path = str | os.PathLike[str]


def read_state(path: _Path) -> dict[str, Tensor]:
    """Read the tensors of a checkpoint, whatever made it, without running anything it holds.

    Linear layers that PyTorch quantized dynamically to INT8 are dequantized.

    Args:
        path: A state dict saved by PyTorch 1.6 or later.

    Returns:
        Float32 tensors by name, without the prefix ``model.`` of the published checkpoints.

    Raises:
        ModelNotFound: There is no such file.
        ModelError: It cannot be opened.
        ModelCorrupt: It is damaged, or holds anything but tensors.
    """
    name = printable(path_text(path))
    try:
        stream = open_regular(path)
    except FileNotFoundError as error:
        raise ModelNotFound(f"there is no checkpoint {name}; check the path") from error
    except (OSError, ValueError) as error:
        raise ModelError(f"the checkpoint {name} cannot be opened: {why(error)}") from error
    with stream:
        try:
            return _plain(load_tensors(stream))
        except UnreadableError as error:
            raise ModelCorrupt(
                f"{name} cannot be read: {printable(error)}; it must be a plain state dict, "
                "saved by PyTorch 1.6 or later"
            ) from error


def _plain(content: dict[str, Any]) -> dict[str, Tensor]:
    """Take the prefix off the names, and make plain layers of packed ones."""
    packed = {key.removesuffix(_PACKED) for key in content if key.endswith(_PACKED)}
    dropped = {layer + rest for layer in packed for rest in _PACKED_REST}
    named = [
        pair for key, value in content.items() if key not in dropped for pair in _named(key, value)
    ]
    state = {key.removeprefix(_PREFIX): tensor for key, tensor in named}
    if len(state) < len(named):
        raise UnreadableError("two of its tensors have the same name")
    return state


def _named(key: str, value: Any) -> list[tuple[str, Any]]:
    """Name the tensor, or the two of a packed layer as those of a plain one."""
    if isinstance(value, Tensor) and not key.endswith(_PACKED):
        return [(key, value)]
    layer = key.removesuffix(_PACKED)
    if not isinstance(value, tuple) or len(value) != 2 or layer == key:
        raise UnreadableError(f"{key[:100]!r} is no tensor")
    return [(f"{layer}.weight", value[0]), (f"{layer}.bias", value[1])]


def load_checkpoint(
    path: _Path, arch: str, *, gamma: float | None = None, input_size: int = 112
) -> EdgeFace:
    """Load a checkpoint into the network it was made for; every tensor must fit.

    Args:
        path: A state dict in the published layout: float, or dynamically quantized.
        arch: Name of the network, as ``create_model`` takes it; of one that was cut, the name of
            the whole.
        gamma: Share of the full rank its linear layers keep; None where they are full, or where
            the network was cut.
        input_size: Height and width of the crops.

    Returns:
        The network, as wide as the checkpoint's last layer.

    Raises:
        InputError: ``arch``, ``gamma`` or ``input_size`` makes no network.
        ModelError: The checkpoint is of another network, or cannot be read; see ``read_state``.
    """
    create_model(arch, gamma=gamma, input_size=input_size, width=1)  # before the file is read
    state = read_state(path)
    whole = create_model(arch, gamma=gamma, input_size=input_size, width=read_width(state))
    problem = find_mismatch(whole.state_dict(), state)
    if not problem:
        whole.load_state_dict(state)
        return whole
    cut = _cut(state, input_size)
    if cut is not None and (cut.arch, gamma) == (arch, None):
        return cut
    kind = _describe(arch, gamma)
    raise ModelError(f"{printable(path_text(path))} is no {kind}: {problem}{_hint(state, cut)}")


def _cut(state: dict[str, Tensor], input_size: int) -> EdgeFace | None:
    """Build the network of the tensors where it is one that was cut."""
    if recognize(state) is not None:
        return None
    try:
        return network_of(state, input_size=input_size)
    except ModelError:
        return None


def _describe(arch: str, gamma: float | None) -> str:
    return f"{arch} with full linear layers" if gamma is None else f"{arch} of gamma {gamma:g}"


def _hint(state: dict[str, Tensor], cut: EdgeFace | None) -> str:
    if cut is not None:
        return f"; it looks like a cut {cut.arch}, which has no gamma"
    found = recognize(state)
    return "" if found is None else f"; it looks like {_describe(*found)}"


def save_checkpoint(model: EdgeFace, path: Path) -> None:
    """Write a network's tensors as float32 in the published layout, whole or not at all.

    Raises:
        StorageFull: There is no room for it.
        ModelError: The file cannot be written.
    """
    keep(Path(path), checkpoint_bytes(model))


def checkpoint_bytes(model: EdgeFace) -> bytes:
    """Return the file of a network; the same tensors give the same bytes."""
    state = {
        _PREFIX + key: tensor.detach().to("cpu", torch.float32).contiguous()
        for key, tensor in model.state_dict().items()
    }
    content = io.BytesIO()
    torch.save(state, content)
    return content.getvalue()
