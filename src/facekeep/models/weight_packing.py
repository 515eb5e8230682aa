"""Make an ONNX file smaller: its large constants in fewer bits, opened out when it is loaded.

The network computes in float32 as before, at the same speed: each packed constant is followed by
nodes that read constants only, which every runtime computes once, while it loads the file. No
activation is rounded.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from facekeep.errors import InputError, ModelCorrupt

__all__ = ["Numbers", "is_packed", "pack_weights", "unpack"]

Numbers = Literal["float32", "float16", "int8"]

_SMALL = 512  # numbers below which a constant is left as it is
_TOP = 127
_BLOCK = range(8, 33)  # numbers that share a step
_WEIGHED = ("Conv", "ConvTranspose", "Gemm", "MatMul")  # their second input is the weights

_PACKED = re.compile(r"(int8|float16)_\d+")  # as `_in_halves` and `_in_bytes` name them

_Array = NDArray[Any]


def pack_weights(source: bytes, numbers: Numbers) -> bytes:
    """Return the same network with its large constants in ``numbers``.

    With ``int8`` the weights of convolutions and matrix products, also where they reach these by
    nodes that read constants only, are rounded to 255 steps in each block of up to 32 in a row or a
    column, whichever fits better; all other large constants become ``float16``.

    Args:
        source: An ONNX file whose constants are float32.
        numbers: What they are stored in; ``float32`` changes nothing.

    Returns:
        An ONNX file; equal input gives equal bytes.

    Raises:
        InputError: ``numbers`` is unknown.
        ModelCorrupt: ``source`` is no ONNX network.
    """
    import onnx

    if numbers not in get_args(Numbers):
        raise InputError(f"numbers must be one of {', '.join(get_args(Numbers))}, not {numbers!r}")
    if numbers == "float32":
        return source
    try:
        model = onnx.load_model_from_string(source)
    except Exception as error:
        raise ModelCorrupt("the network to pack cannot be read as ONNX") from error
    weights, steps = _weights(model.graph), _steps(model.graph)
    stored: dict[str, Any] = {}
    unpacking: list[Any] = []
    for constant in model.graph.initializer:
        small = math.prod(constant.dims) < _SMALL or constant.name in steps
        if constant.data_type != onnx.TensorProto.FLOAT or small:
            stored[constant.name] = constant
            continue
        rounded = numbers == "int8" and constant.name in weights and len(constant.dims) > 1
        tensors, nodes = (_in_bytes if rounded else _in_halves)(constant, len(unpacking))
        stored |= {tensor.name: tensor for tensor in tensors}
        unpacking += nodes
    nodes = [*unpacking, *model.graph.node]
    for field, items in ((model.graph.initializer, stored.values()), (model.graph.node, nodes)):
        del field[:]
        field.extend(items)
    result: bytes = model.SerializeToString(deterministic=True)
    return result


def is_packed(source: bytes) -> bool:
    """Tell whether constants are only stored in fewer bits: by `pack_weights`, or in blocks.

    Raises:
        ModelCorrupt: ``source`` is no ONNX network.
    """
    import onnx

    try:
        graph = onnx.load_model_from_string(source).graph
    except Exception as error:
        raise ModelCorrupt("the network to pack cannot be read as ONNX") from error
    kinds = {node.op_type for node in graph.node}
    in_blocks = "DequantizeLinear" in kinds and "QuantizeLinear" not in kinds
    return in_blocks or any(_PACKED.fullmatch(constant.name) for constant in graph.initializer)


def _weights(graph: Any) -> set[str]:
    """Name the constants behind the second inputs of convolutions and matrix products."""
    sources: dict[str, set[str]] = {each.name: {each.name} for each in graph.initializer}
    found: set[str] = set()
    for node in graph.node:
        if all(name in sources for name in node.input):
            sources[node.output[0]] = set().union(*(sources[name] for name in node.input))
        elif node.op_type in _WEIGHED:
            found |= sources.get(node.input[1], set())
    return found


def _steps(graph: Any) -> set[str]:
    """Name the constants that a network in 8 bits counts in, which runtimes want as they are."""
    kinds = ("QuantizeLinear", "DequantizeLinear")
    return {name for node in graph.node if node.op_type in kinds for name in node.input[1:]}


def unpack(graph: Any) -> dict[str, _Array]:
    """Return the constants of a graph by name, those that `pack_weights` packed opened out.

    Args:
        graph: An ``onnx.GraphProto``.

    Raises:
        ModelCorrupt: A constant is damaged, or kept outside of the network.
    """
    from onnx import numpy_helper

    try:
        found = {each.name: numpy_helper.to_array(each) for each in graph.initializer}
        for node in graph.node:
            if node.op_type in _OPENING and found.keys() >= set(node.input):
                values = [found[name] for name in node.input]
                found[node.output[0]] = _OPENING[node.op_type](*values)
    except Exception as error:
        raise ModelCorrupt("a constant of the network is damaged") from error
    return found


# What packed constants are opened out by, as in `_in_halves` and `_in_bytes`.
_OPENING: dict[str, Callable[..., _Array]] = {
    "Cast": lambda values: values.astype(np.float32),
    "Mul": np.multiply,
    "Reshape": np.reshape,
}


def _in_halves(constant: Any, number: int) -> tuple[list[Any], list[Any]]:
    """Store a constant as float16; return the tensors and the node that opens it out."""
    from onnx import TensorProto, helper, numpy_helper

    value = numpy_helper.to_array(constant)
    limit = float(np.finfo(np.float16).max)
    name = f"float16_{number}"
    half = numpy_helper.from_array(value.clip(-limit, limit).astype(np.float16), name)
    return [half], [helper.make_node("Cast", [name], [constant.name], to=TensorProto.FLOAT)]


def _in_bytes(constant: Any, number: int) -> tuple[list[Any], list[Any]]:
    """Store weights as int8 in blocks, and the step of each block as float32."""
    from onnx import TensorProto, helper, numpy_helper

    value = numpy_helper.to_array(constant)
    shape = "shape_" + "x".join(map(str, value.shape))
    whole, step, numbers, blocks = (
        f"{part}_{number}" for part in ("int8", "step", "whole", "blocks")
    )
    rounded, steps = _rounded(value)
    tensors: dict[str, _Array] = {
        whole: rounded,
        step: steps,
        shape: np.array(value.shape, np.int64),
    }
    nodes = [
        helper.make_node("Cast", [whole], [numbers], to=TensorProto.FLOAT),
        helper.make_node("Mul", [numbers, step], [blocks]),
        helper.make_node("Reshape", [blocks, shape], [constant.name]),
    ]
    return [numpy_helper.from_array(each, name) for name, each in tensors.items()], nodes


def _rounded(value: _Array) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """Round to whole multiples of each block's step, the blocks along rows or along columns."""
    rows = value.reshape(len(value), -1)
    columns = value.reshape(-1, value.shape[-1])
    ways = (
        _rounded_along(rows.reshape(len(rows), -1, _block(rows.shape[1])), 2),
        _rounded_along(columns.reshape(-1, _block(len(columns)), columns.shape[1]), 1),
    )
    return min(ways, key=lambda way: way[2])[:2]


def _block(length: int) -> int:
    """Return the largest fitting length of a block; all where none fits."""
    return max((each for each in _BLOCK if length % each == 0), default=length)


def _rounded_along(
    blocks: _Array, axis: int
) -> tuple[NDArray[np.int8], NDArray[np.float32], float]:
    """Round blocks that lie along an axis; return also the sum of the squared errors."""
    largest = np.abs(blocks).max(axis=axis, keepdims=True)
    step = (np.where(largest > 0, largest, 1) / _TOP).astype(np.float32)
    whole = np.rint(blocks / step).clip(-_TOP, _TOP).astype(np.int8)
    return whole, step, float(np.square(whole * step - blocks).sum())
