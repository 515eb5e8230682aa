"""PReLU written as nodes that ONNX Runtime runs faster; benchmarks/prelu.py compares them.

Its PRelu kernel branches on the sign of every value: half of SFace's time.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["without_prelu"]

_Constants = dict[str, NDArray[Any]]

# With steeper slopes `slope x + (1 - slope) relu(x)` is a small difference of large numbers.
_STEEP = 4


def without_prelu(nodes: list[Any], constants: _Constants) -> list[Any]:
    """Replace each ``PRelu`` by nodes that give the same but for rounding.

    Args:
        nodes: The nodes of a graph.
        constants: Its constants by name, to which those of the new nodes are added.

    Returns:
        The nodes without ``PRelu``.
    """
    return [
        each
        for node in nodes
        for each in (_vectorised(node, constants) if node.op_type == "PRelu" else [node])
    ]


def _vectorised(node: Any, constants: _Constants) -> list[Any]:
    """Give ``slope x + (1 - slope) relu(x)``, by channel where there is a slope for each.

    Products with a number for each channel are written as depthwise convolutions: the blocked
    layout of the convolutions around them holds for these, but ends before a ``Mul``.
    """
    from onnx import helper

    (data, slope), (result,) = node.input, node.output
    kept, positive, passed = (f"{result}_{part}" for part in ("kept", "positive", "passed"))
    slopes = constants.get(slope)
    if slopes is None or not _by_channel(slopes):
        return [
            helper.make_node("Relu", [data], [positive]),
            helper.make_node("Sub", [data, positive], [passed]),
            helper.make_node("Mul", [passed, slope], [kept]),
            helper.make_node("Add", [positive, kept], [result]),
        ]
    weights, rest = (_unused(f"{result}_{part}", constants) for part in ("slope", "rest"))
    constants[weights] = slopes[:, None]
    constants[rest] = 1 - slopes[:, None]

    def scaled(source: str, by: str, out: str) -> Any:
        return helper.make_node("Conv", [source, by], [out], group=len(slopes))

    if slopes.max() < 1:  # what is scaled keeps its sign, and a Relu behind a Conv costs nothing
        middle = scaled(data, rest, passed), helper.make_node("Relu", [passed], [positive])
    else:
        middle = helper.make_node("Relu", [data], [passed]), scaled(passed, rest, positive)
    add = helper.make_node("Add", [kept, positive], [result])
    return [*middle, scaled(data, weights, kept), add]


def _by_channel(slopes: NDArray[Any]) -> bool:
    """Whether there is a slope for each channel of N x C x H x W, and none that rounds badly."""
    many = slopes.ndim == 3 and slopes.shape[1:] == (1, 1) and len(slopes) > 1
    return bool(many and np.abs(slopes).max() <= _STEEP)


def _unused(name: str, constants: _Constants) -> str:
    while name in constants:
        name += "_"
    return name
