"""Networks read back from third-party TFLite conversions of EdgeFace.

Such a file keeps the constants in the order in which they are used. What the converter folded is
unfolded: it multiplied each layer scale into the linear layer before it and GELU's factor 0.5 into
the one after it, and kept of the position encoding only its result. Whether the constants were
found where they belong is decided by running both networks.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from facekeep._internal.files import path_text, printable
from facekeep.errors import ModelCorrupt, ModelError, RuntimeUnavailable
from facekeep.lab.nn.edgeface import EdgeFace, create_model
from facekeep.lab.nn.edgenext import PositionEncoding
from facekeep.models.files import read_model
from facekeep.runtime import RuntimeOptions, open_session

__all__ = ["read_litert"]

_ALIKE = 0.999
_FLOATS = {0: "<f4", 1: "<f2"}  # by TFLite's number of the type

Array = NDArray[np.float32]


class _Unmatched(Exception):
    """The constants are not those of the network; the message says which one."""


def read_litert(
    path: str | Path, arch: str, *, gamma: float | None = None, input_size: int = 112
) -> EdgeFace:
    """Make the network whose weights a ``.tflite`` file holds.

    Args:
        path: A conversion of an EdgeFace, its weights float32 or float16.
        arch: The network it was made of, as ``create_model`` takes it.
        gamma: Share of the full rank its linear layers keep; None where they are full.
        input_size: Height and width of the crops that the file takes.

    Returns:
        The network, which embeds noise as the file does, to a cosine of 0.999 at least.

    Raises:
        InputError: ``arch``, ``gamma`` or ``input_size`` makes no network.
        ModelError: The file is missing, damaged, or not a conversion of this network.
        RuntimeUnavailable: LiteRT is not installed.
    """
    model = create_model(arch, gamma=gamma, input_size=input_size)
    shown = printable(path_text(path))
    try:
        model.load_state_dict(_state(_constants(read_model(path)), model))
        likeness = _likeness(model, Path(path))
        if not likeness >= _ALIKE:  # also where it is no number
            raise _Unmatched(f"it embeds otherwise, at a cosine of {likeness:.2f}")
    except _Unmatched as error:
        kind = arch if gamma is None else f"{arch} of gamma {gamma:g}"
        raise ModelError(f"{shown} is no conversion of {kind} that can be read: {error}") from error
    return model


def _constants(content: bytes) -> list[Array]:
    """Give the constants in the order of use, without single numbers and without ones."""
    try:
        from ai_edge_litert import schema_py_generated as schema
    except ImportError as error:
        raise RuntimeUnavailable(
            "LiteRT is not installed; install it with: pip install 'facekeep[litert]'"
        ) from error
    try:
        file = schema.ModelT.InitFromObj(schema.Model.GetRootAs(content))
        values = [*_in_use(file, schema.BuiltinOperator.DEQUANTIZE)]
    except Exception as error:
        raise ModelCorrupt("the network cannot be read as TFLite") from error
    return [value for value in values if value.size > 1 and not (value == 1).all()]


def _in_use(file: Any, dequantize: int) -> Iterator[Array]:
    (graph,) = file.subgraphs
    codes = [max(code.builtinCode, code.deprecatedBuiltinCode) for code in file.operatorCodes]
    opened = {
        step.outputs[0]: step.inputs[0]
        for step in graph.operators
        if codes[step.opcodeIndex] == dequantize
    }
    for step in graph.operators:
        if codes[step.opcodeIndex] == dequantize:
            continue
        for place in step.inputs:
            if place < 0:  # an input that is left out
                continue
            tensor = graph.tensors[opened.get(place, place)]
            data = file.buffers[tensor.buffer].data
            if data is not None and tensor.type in _FLOATS:
                numbers = np.frombuffer(bytes(data), _FLOATS[tensor.type])
                yield numbers.astype(np.float32).reshape(tensor.shape)


def _state(constants: list[Array], model: EdgeFace) -> dict[str, Tensor]:
    """Put each constant where it belongs."""
    empty = model.state_dict()
    state = {name: torch.ones_like(value) for name, value in empty.items() if "gamma" in name}
    names = list(_in_order_of_use(empty))
    if len(names) != len(constants):
        raise _Unmatched(f"it has {len(constants)} constants, not {len(names)}")
    for name, value in zip(names, constants, strict=True):
        if name.endswith("token_projection.weight"):
            encoding = model.get_submodule(name.removesuffix(".token_projection.weight"))
            weight, bias = _projection(encoding, value)
            state[name], state[name.replace("weight", "bias")] = weight, bias
        else:
            state[name] = _place(value, name, empty[name].shape)
    return state


def _in_order_of_use(state: dict[str, Tensor]) -> Iterator[str]:
    temperature = ""
    for name in state:
        if name.endswith("temperature"):
            temperature = name
        elif "gamma" not in name and not name.endswith("token_projection.bias"):
            yield name
            if name.endswith(("qkv.bias", "qkv.linear2.bias")):
                yield temperature


def _place(value: Array, name: str, shape: torch.Size) -> Tensor:
    if len(shape) == 4 and value.ndim == 4:
        value = value.transpose((0, 3, 1, 2) if len(value) == shape[0] else (3, 0, 1, 2))
    fits = value.shape == shape if len(shape) == 4 else value.size == shape.numel()
    if not fits:
        raise _Unmatched(f"{name!r} cannot be {' x '.join(map(str, value.shape))}")
    if name.endswith(("fc2.weight", "fc2.linear1.weight")):
        value = value * 2
    return torch.from_numpy(value.reshape(shape).copy())


def _projection(encoding: Any, result: Array) -> tuple[Tensor, Tensor]:
    """Solve for the projection and bias that turn our waves into the conversion's encoding."""
    assert isinstance(encoding, PositionEncoding)  # noqa: S101 - the name says so
    waves = encoding.waves[0].flatten(1).double().numpy()
    channels = len(encoding.token_projection.weight)
    if result.size != channels * waves.shape[1]:
        raise _Unmatched("its position encoding is for crops of another size")
    known = np.vstack((waves, np.ones_like(waves[:1]))).T
    wanted = result.reshape(channels, -1).T.astype(np.float64)
    # The waves depend on each other: the exact solution has huge weights that cannot be rounded.
    solution = np.linalg.lstsq(known, wanted, rcond=1e-4)[0].astype(np.float32)
    weight = torch.from_numpy(solution[:-1].T.copy())[:, :, None, None]
    return weight, torch.from_numpy(solution[-1].copy())


def _likeness(model: EdgeFace, path: Path) -> float:
    """Embed noise with both networks, and return the cosine."""
    size = model.input_size
    noise = np.random.default_rng(0).random((1, 3, size, size), np.float32) * 2 - 1
    session = open_session(path, options=RuntimeOptions(runtime="litert", threads=1))
    try:
        (source,) = session.inputs
        fed = noise.transpose(0, 2, 3, 1).copy() if source.channels_last else noise
        theirs = torch.from_numpy(session.run({source.name: fed})[0])
    finally:
        session.close()
    with torch.inference_mode():
        ours = model.eval()(torch.from_numpy(noise))
    return float(torch.nn.functional.cosine_similarity(ours, theirs.reshape(1, -1)))
