"""Make an ONNX file of a sparse network smaller: of large constants only what is not zero.

A constant becomes its non-zero values and one bit for each place, in front of nodes that put the
values where they belong. The nodes read constants only, which every runtime computes once, while it
loads the file: the network that runs is the same, at the same speed. One bit a place is also what
the places of 2:4 sparsity take as two indices of two bits.
"""

from __future__ import annotations

import math
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from facekeep.errors import ModelCorrupt

__all__ = ["drop_zeros", "restore_zeros"]

_SMALL: Final = 512  # numbers below which a constant is left as it is
_NODES: Final = 1_500  # bytes that a constant's nodes take, about
_MASK, _VALUES, _SHAPE = "_mask", "_nonzero", "_places"
_ONE, _BITS, _FLAT, _AXIS = "sparse_one", "sparse_bits", "sparse_flat", "sparse_axis"

_Array = NDArray[Any]


def drop_zeros(source: bytes) -> bytes:
    """Return the same network, its large constants without their zeros where that saves bytes.

    Args:
        source: An ONNX file, also one whose constants ``pack`` put into fewer bits.

    Returns:
        An ONNX file; equal input gives equal bytes, and the same bytes where nothing is saved.

    Raises:
        ModelCorrupt: ``source`` is no ONNX network.
    """
    from onnx import numpy_helper

    model = _load(source)
    stored, nodes = [], []
    for constant in model.graph.initializer:
        value = numpy_helper.to_array(constant) if _is_large(constant) else np.zeros(0)
        if not _saves(value):
            stored.append(constant)
            continue
        tensors, unpacking = _thinned(constant.name, value)
        stored += tensors
        nodes += unpacking
    if not nodes:
        return source
    stored += [numpy_helper.from_array(each, name) for name, each in _shared().items()]
    return _with(model, stored, [*nodes, *model.graph.node])


def restore_zeros(source: bytes) -> bytes:
    """Undo `drop_zeros`: return the network with all its constants as they were.

    Raises:
        ModelCorrupt: ``source`` is no ONNX network, or a sparse constant is damaged.
    """
    from onnx import numpy_helper

    model = _load(source)
    found = {each.name: each for each in model.graph.initializer}
    names = [each.removesuffix(_MASK) for each in found if each.endswith(_MASK)]
    if not names:
        return source
    whole = []
    try:
        for name in names:
            mask, values, shape = (
                numpy_helper.to_array(found.pop(name + end)) for end in (_MASK, _VALUES, _SHAPE)
            )
            flat = np.zeros(8 * mask.size, values.dtype)  # not of the shape, which may claim much
            flat[np.unpackbits(mask.ravel(), bitorder="little") > 0] = values[1:]
            whole.append(numpy_helper.from_array(flat.reshape(shape), name))
    except (KeyError, IndexError, TypeError, ValueError) as error:
        raise ModelCorrupt("a sparse constant of the network is damaged") from error
    kept = [each for name, each in found.items() if name not in _shared()]
    nodes = [each for each in model.graph.node if not each.name.startswith("sparse:")]
    return _with(model, [*whole, *kept], nodes)


def _load(source: bytes) -> Any:
    import onnx

    try:
        return onnx.load_model_from_string(source)
    except Exception as error:
        raise ModelCorrupt("the network to make sparse cannot be read as ONNX") from error


def _with(model: Any, constants: list[Any], nodes: list[Any]) -> bytes:
    for field, items in ((model.graph.initializer, constants), (model.graph.node, nodes)):
        kept = list(items)
        del field[:]
        field.extend(kept)
    content: bytes = model.SerializeToString(deterministic=True)
    return content


def _shared() -> dict[str, _Array]:
    """Return the constants that the nodes of all sparse constants read."""
    return {
        _ONE: np.array([1], np.uint8),
        _BITS: np.arange(8, dtype=np.uint8),
        _FLAT: np.array([-1], np.int64),
        _AXIS: np.array(0, np.int64),
    }


def _is_large(constant: Any) -> bool:
    from onnx import TensorProto

    kinds = (TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.INT8)
    return constant.data_type in kinds and math.prod(constant.dims) >= _SMALL


def _saves(value: _Array) -> bool:
    zeros = value.size - np.count_nonzero(value)
    return value.size % 8 == 0 and bool(zeros * value.itemsize > value.size / 8 + _NODES)


def _thinned(name: str, value: _Array) -> tuple[list[Any], list[Any]]:
    """Return what is stored of a constant, and the nodes that make it of that."""
    from onnx import TensorProto, helper, numpy_helper

    flat = value.ravel()
    mask = np.packbits(flat != 0, bitorder="little").reshape(-1, 1)
    values = np.concatenate([np.zeros(1, flat.dtype), flat[flat != 0]])  # a zero for all others
    shape = np.array(value.shape, np.int64)
    stored = {_MASK: mask, _VALUES: values, _SHAPE: shape}
    nodes: list[Any] = []

    def add(operator: str, *inputs: str, **attributes: Any) -> str:
        output = f"{name}_sparse_{len(nodes)}"
        label = f"sparse:{name}:{len(nodes)}"
        nodes.append(helper.make_node(operator, inputs, [output], label, **attributes))
        return output

    bits = add("BitwiseAnd", add("BitShift", name + _MASK, _BITS, direction="RIGHT"), _ONE)
    here = add("Reshape", add("Cast", bits, to=TensorProto.INT32), _FLAT)
    place = add("Mul", add("CumSum", here, _AXIS), here)
    add("Reshape", add("Gather", name + _VALUES, place), name + _SHAPE)
    nodes[-1].output[0] = name
    return [numpy_helper.from_array(each, name + end) for end, each in stored.items()], nodes
