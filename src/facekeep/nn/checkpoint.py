"""Checkpoints in the layout of the published ones: read without running them, checked, written."""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from facekeep._files import open_regular, path_text, printable, why
from facekeep.errors import ModelCorrupt, ModelError, ModelNotFound
from facekeep.models.files import keep
from facekeep.nn.archive import read_archive
from facekeep.nn.edgeface import MODELS, WIDTHS, EdgeFace, create_model
from facekeep.nn.lora import rank_of
from facekeep.nn.unpickle import Unreadable

__all__ = ["load_checkpoint", "read_state", "recognise", "save_checkpoint"]

_PREFIX = "model."
_PACKED = "._packed_params._packed_params"
_PACKED_REST = ("._packed_params.dtype", ".scale", ".zero_point")
_Path = str | os.PathLike[str]


def read_state(path: _Path) -> dict[str, Tensor]:
    """Read the tensors of a checkpoint, whatever made it, without running anything it holds.

    Linear layers that PyTorch quantised dynamically to INT8 are de-quantised.

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
            return _plain(read_archive(stream))
        except Unreadable as error:
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
    state = {key.removeprefix(_PREFIX): torch.from_numpy(array) for key, array in named}
    if len(state) < len(named):
        raise Unreadable("two of its tensors have the same name")
    return state


def _named(key: str, value: Any) -> list[tuple[str, Any]]:
    """Name the tensor, or the two of a packed layer as those of a plain one."""
    if isinstance(value, np.ndarray) and not key.endswith(_PACKED):
        return [(key, value)]
    layer = key.removesuffix(_PACKED)
    if not isinstance(value, tuple) or len(value) != 2 or layer == key:
        raise Unreadable(f"{key[:100]!r} is no tensor")
    return [(f"{layer}.weight", value[0]), (f"{layer}.bias", value[1])]


def load_checkpoint(
    path: _Path, arch: str, *, gamma: float | None = None, input_size: int = 112
) -> EdgeFace:
    """Load a checkpoint into the network it was made for; every tensor must fit.

    Args:
        path: A state dict in the published layout: float, or dynamically quantised.
        arch: Name of the network, as ``create_model`` takes it.
        gamma: Share of the full rank its linear layers keep; None where they are full.
        input_size: Height and width of the crops.

    Returns:
        The network, as wide as the checkpoint's last layer.

    Raises:
        InputError: ``arch``, ``gamma`` or ``input_size`` makes no network.
        ModelError: The checkpoint is of another network, or cannot be read; see ``read_state``.
    """
    create_model(arch, gamma=gamma, input_size=input_size, width=1)  # before the file is read
    state = read_state(path)
    bias = state.get("head.fc.bias", state.get("head.fc.linear2.bias"))
    width = bias.numel() if bias is not None and bias.numel() in WIDTHS else 512
    model = create_model(arch, gamma=gamma, input_size=input_size, width=width)
    fault = _fault(model.state_dict(), state)
    if fault:
        kind = _describe(arch, gamma)
        raise ModelError(f"{printable(path_text(path))} is no {kind}: {fault}{_hint(state)}")
    model.load_state_dict(state)
    return model


def _fault(wanted: dict[str, Tensor], state: dict[str, Tensor]) -> str:
    """Name the first tensor that is missing, unexpected or of another shape."""
    for key, tensor in wanted.items():
        if key not in state:
            return f"it lacks {key!r}"
        if state[key].shape != tensor.shape:
            return f"{key!r} is {_shape(state[key])}, not {_shape(tensor)}"
    extra = next((key for key in state if key not in wanted), None)
    return "" if extra is None else f"it has {extra[:100]!r} besides"


def _shape(tensor: Tensor) -> str:
    return " x ".join(map(str, tensor.shape)) or "a single number"


def _describe(arch: str, gamma: float | None) -> str:
    return f"{arch} with full linear layers" if gamma is None else f"{arch} of gamma {gamma:g}"


def recognise(state: dict[str, Tensor]) -> tuple[str, float | None] | None:
    """Tell by the shapes of its tensors which network a checkpoint is of.

    Args:
        state: What `read_state` gave.

    Returns:
        ``arch`` and ``gamma`` as `create_model` takes them; None where it looks like no network of
        ours, or has a gamma that is no whole percentage.
    """
    stages = range(4)
    channels = [_rows(state, f"stages.{stage}.blocks.0.conv_dw.weight") for stage in stages]
    ranks = [_rows(state, f"stages.{stage}.blocks.0.mlp.fc1.linear1.weight") for stage in stages]
    arch = next((name for name, kind in MODELS.items() if channels == list(kind.channels)), None)
    if arch is None:
        return None
    if not any(ranks):
        return arch, None
    for gamma in (step / 100 for step in range(1, 101)):
        if ranks == [rank_of(width, 4 * width, gamma) for width in MODELS[arch].channels]:
            return arch, gamma
    return None


def _hint(state: dict[str, Tensor]) -> str:
    found = recognise(state)
    return "" if found is None else f"; it looks like {_describe(*found)}"


def _rows(state: dict[str, Tensor], key: str) -> int | None:
    tensor = state.get(key)
    return None if tensor is None else tensor.shape[:1].numel()


def save_checkpoint(model: EdgeFace, path: _Path) -> None:
    """Write a network's tensors as float32 in the published layout, whole or not at all.

    The same tensors give the same bytes.

    Raises:
        StorageFull: There is no room for it.
        ModelError: The file cannot be written.
    """
    state = {
        _PREFIX + key: tensor.detach().to("cpu", torch.float32).contiguous()
        for key, tensor in model.state_dict().items()
    }
    content = io.BytesIO()
    torch.save(state, content)
    keep(Path(path), content.getvalue())
