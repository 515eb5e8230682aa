"""The layers of an ONNX network that can be computed in 8 bits."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any, Final

from facekeep.errors import InputError
from facekeep.lab.compress.folding import load

__all__ = ["OPERATORS", "Layer", "head", "layers", "named"]

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


def layers(content: bytes) -> tuple[Layer, ...]:
    """List the layers of a network whose constants are folded, in the order they are run.

    Products of two activations, as in attention, are none of them, nor are convolutions that give
    each channel a factor, as the catalogue's PReLU does: rounding them costs more than it saves.

    Raises:
        ModelCorrupt: The file is no ONNX network.
    """
    graph = load(content).graph
    shapes = {item.name: tuple(item.dims) for item in graph.initializer if _is_float(item)}
    return tuple(
        Layer(node.name, node.input[1], node.op_type, math.prod(shapes[node.input[1]]))
        for node in graph.node
        if node.op_type in OPERATORS
        and node.input[1] in shapes
        and not (node.op_type == "Conv" and math.prod(shapes[node.input[1]][1:]) == 1)
    )


def head(every: Sequence[Layer]) -> str:
    """Return the node of the layer that makes the embedding: the last."""
    return every[-1].node if every else ""


def named(every: Sequence[Layer], patterns: Collection[str]) -> frozenset[str]:
    """Return the nodes that patterns name, by their own names or those of their weights.

    Raises:
        InputError: A pattern names none.
    """
    found: set[str] = set()
    for pattern in patterns:
        fitting = {
            each.node
            for each in every
            if fnmatchcase(each.node, pattern) or fnmatchcase(each.weights, pattern)
        }
        if not fitting:
            names = ", ".join(each.node for each in every[:3])
            raise InputError(f"no layer is called {pattern!r}; the first are {names}")
        found |= fitting
    return frozenset(found)


def _is_float(item: Any) -> bool:
    from onnx import TensorProto

    return bool(item.data_type == TensorProto.FLOAT)
