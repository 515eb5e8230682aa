"""ONNX networks as quantization needs them: constants folded, layers with constant weights listed.

Quantization looks for weights as plain constants. Networks of ours hold them as they were trained,
or packed into fewer bits, with nodes behind them that compute the weights.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any, Final

from facekeep.errors import InputError, ModelCorrupt
from facekeep.models.onnx_folding import join_halves
from facekeep.runtime import RuntimeOptions, open_session

__all__ = [
    "OPERATORS",
    "Layer",
    "find_head",
    "fold_constants",
    "list_layers",
    "load_onnx",
    "match_layers",
]

OPERATORS: Final = ("Conv", "Gemm", "MatMul")


@dataclass(frozen=True, slots=True)
class Layer:
    """A convolution or matrix product with constant weights.

    Attributes:
        node: The name of its node.
        weights: The name of its weights.
        operator: One of ``OPERATORS``.
        numbers: How many weights it has.
    """

    node: str
    weights: str
    operator: str
    numbers: int


def load_onnx(content: bytes) -> Any:
    """Read an ONNX file.

    Raises:
        ModelCorrupt: It is not an ONNX network.
    """
    import onnx

    try:
        model = onnx.load_model_from_string(content)
    except Exception as error:
        raise ModelCorrupt("the network to compress cannot be read as ONNX") from error
    if not model.graph.node:
        raise ModelCorrupt("the network to compress has no nodes")
    return model


def list_layers(content: bytes) -> tuple[Layer, ...]:
    """List the layers of a network with folded constants that can compute in 8 bits, in run order.

    Products of two activations, as in attention, are not layers. Neither are convolutions that
    multiply each channel by a factor, as the catalog's PReLU does: quantizing them costs more than
    it saves.

    Raises:
        ModelCorrupt: The file is not an ONNX network.
    """
    graph = load_onnx(content).graph
    shapes = {item.name: tuple(item.dims) for item in graph.initializer if _is_float(item)}
    return tuple(
        Layer(node.name, node.input[1], node.op_type, math.prod(shapes[node.input[1]]))
        for node in graph.node
        if node.op_type in OPERATORS
        and node.input[1] in shapes
        and not (node.op_type == "Conv" and math.prod(shapes[node.input[1]][1:]) == 1)
    )


def find_head(layers: Sequence[Layer]) -> str:
    """Return the node of the layer that computes the embedding: the last."""
    return layers[-1].node if layers else ""


def match_layers(layers: Sequence[Layer], patterns: Collection[str]) -> frozenset[str]:
    """Return the nodes whose own name, or the name of whose weights, fits one of the patterns.

    Raises:
        InputError: A pattern fits no layer.
    """
    found: set[str] = set()
    for pattern in patterns:
        fitting = {
            layer.node
            for layer in layers
            if fnmatchcase(layer.node, pattern) or fnmatchcase(layer.weights, pattern)
        }
        if not fitting:
            names = ", ".join(layer.node for layer in layers[:3])
            raise InputError(f"no layer is called {pattern!r}; the first are {names}")
        found |= fitting
    return frozenset(found)


def fold_constants(content: bytes) -> bytes:
    """Return the same network with constants in place of the nodes that read only constants.

    Every node of it has a name.

    Raises:
        ModelCorrupt: The file is not an ONNX network.
    """
    from onnx import numpy_helper

    model = load_onnx(content)
    join_halves(model)
    graph = model.graph
    _drop_constant_inputs(graph)
    constant, remaining = _split_nodes(graph)
    used = {name for node in remaining for name in node.input}
    wanted = [name for node in constant for name in node.output if name in used]
    computed = [
        numpy_helper.from_array(value, name)
        for name, value in zip(wanted, _compute(model, constant, wanted), strict=True)
    ]
    kept = [item for item in graph.initializer if item.name in used]
    for index, node in enumerate(remaining):
        node.name = node.name or f"{node.op_type.lower()}_{index}"
    for field, items in ((graph.initializer, [*kept, *computed]), (graph.node, remaining)):
        del field[:]
        field.extend(items)
    result: bytes = model.SerializeToString(deterministic=True)
    return result


def _drop_constant_inputs(graph: Any) -> None:
    """Remove constants from the inputs, where old exporters list them."""
    constants = {item.name for item in graph.initializer}
    inputs = [item for item in graph.input if item.name not in constants]
    del graph.input[:]
    graph.input.extend(inputs)


def _split_nodes(graph: Any) -> tuple[list[Any], list[Any]]:
    """Separate the nodes that read only constants from the others."""
    known = {item.name for item in graph.initializer} | {""}
    constant: list[Any] = []
    remaining: list[Any] = []
    for node in graph.node:
        if known.issuperset(node.input) and not node.op_type.startswith("Random"):
            constant.append(node)
            known.update(node.output)
        else:
            remaining.append(node)
    return constant, remaining


def _compute(model: Any, nodes: Sequence[Any], wanted: Sequence[str]) -> list[Any]:
    """Compute what nodes give that read only constants."""
    from onnx import ModelProto, ValueInfoProto

    if not wanted:
        return []
    part = ModelProto()
    part.CopyFrom(model)
    for field in (part.graph.node, part.graph.input, part.graph.output, part.graph.value_info):
        del field[:]
    part.graph.node.extend(nodes)
    part.graph.output.extend(ValueInfoProto(name=name) for name in wanted)
    session = open_session(part.SerializeToString(), options=RuntimeOptions(threads=1))
    try:
        return session.run({})
    finally:
        session.close()


def _is_float(item: Any) -> bool:
    from onnx import TensorProto

    return bool(item.data_type == TensorProto.FLOAT)
