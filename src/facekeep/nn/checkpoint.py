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

__all__ = ["load_checkpoint", "read_state", "save_checkpoint"]

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
    """Name weight and bias of packed layers as those of plain ones, and drop what else they had."""
    packed = {key.removesuffix(_PACKED) for key in content if key.endswith(_PACKED)}
    dropped = {layer + rest for layer in packed for rest in _PACKED_REST}
    state: dict[str, Tensor] = {}
    for key, value in content.items():
        layer = key.removesuffix(_PACKED)
        if layer in packed and key != layer:
            weight, bias = _pair(value)
            state[_short(f"{layer}.weight")], state[_short(f"{layer}.bias")] = weight, bias
        elif isinstance(value, np.ndarray):
            if key not in dropped:
                state[_short(key)] = torch.from_numpy(value)
        elif key not in dropped:
            raise Unreadable(f"{key[:100]!r} is no tensor")
    return state


def _pair(value: Any) -> tuple[Tensor, Tensor]:
    if not isinstance(value, tuple) or len(value) != 2:
        raise Unreadable("a quantised layer lacks its weight or bias")
    return torch.from_numpy(value[0]), torch.from_numpy(value[1])


def _short(key: str) -> str:
    return key.removeprefix(_PREFIX)


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


def _hint(state: dict[str, Tensor]) -> str:
    """Say which network the checkpoint looks like, if any."""
    for arch, kind in MODELS.items():
        channels = kind.channels
        ends = [state.get(f"stages.{i}.blocks.0.conv_dw.weight") for i in range(len(channels))]
        if [None if end is None else end.shape[:1] for end in ends] != [(n,) for n in channels]:
            continue
        for gamma in (None, *(step / 100 for step in range(1, 101))):
            if _ranks_fit(state, channels, gamma):
                return f"; it looks like {_describe(arch, gamma)}"
    return ""


def _ranks_fit(state: dict[str, Tensor], channels: tuple[int, ...], gamma: float | None) -> bool:
    layers = [f"stages.{index}.blocks.0.mlp.fc1" for index in range(len(channels))]
    if gamma is None:
        return all(f"{layer}.weight" in state for layer in layers)
    ranks = [rank_of(width, 4 * width, gamma) for width in channels]
    thin = [state.get(f"{layer}.linear1.weight") for layer in layers]
    return [None if layer is None else layer.shape[:1] for layer in thin] == [(r,) for r in ranks]


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
