"""What a network in 8 bits rounds, told so that it can be trained with it."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, Final

from facekeep.lab.compress.folding import folded, load
from facekeep.lab.compress.layers import layers
from facekeep.lab.compress.quantize import products
from facekeep.lab.train.fake_quantization import ActivationGrid, FakeQuantization, QuantizedLayer

__all__ = ["dynamic_rounding", "static_rounding"]

_MOST: Final = {False: 127, True: 64}  # by whether the range of weights is reduced


def static_rounding(
    exported: bytes, quantised: bytes, *, reduce_range: bool = False
) -> FakeQuantization:
    """Read what a static network rounds.

    Args:
        exported: The network as ``export_onnx`` writes it.
        quantised: What ``static_int8`` made of it, all weights that it left float32 as they were.
        reduce_range: As it was then.
    """
    from onnx import numpy_helper

    graph = load(quantised).graph
    values = {item.name: item for item in graph.initializer}
    makers = {name: node for node in graph.node for name in node.output}
    readers = {name: node for node in graph.node for name in node.input}

    def grid(node: Any) -> ActivationGrid:
        step, zero = (numpy_helper.to_array(values[name]) for name in node.input[1:3])
        return ActivationGrid(float(step), int(zero))

    found, names = {}, _parameters(exported)
    for node in graph.node:
        if node.name in names and node.input[1] in makers:  # its weights are made of 8 bits
            after = grid(readers[node.output[0]]) if node.op_type == "Conv" else None
            found[names[node.name]] = QuantizedLayer(grid(makers[node.input[0]]), after)
    return FakeQuantization(found, _MOST[reduce_range])


def dynamic_rounding(
    exported: bytes, *, skip: Collection[str] = (), reduce_range: bool = False
) -> FakeQuantization:
    """Tell what ``dynamic_int8`` makes a network round.

    Args:
        exported: The network as ``export_onnx`` writes it.
        skip: As for ``dynamic_int8``.
        reduce_range: Likewise.

    Raises:
        ModelError: No layer is left to round.
    """
    names = _parameters(exported)
    found = {names[node]: QuantizedLayer() for node in products(folded(exported), skip)}
    return FakeQuantization(found, _MOST[reduce_range])


def _parameters(exported: bytes) -> dict[str, str]:
    """Return the parameter behind the weights of each node, which may be scaled first."""
    makers = {name: node for node in load(exported).graph.node for name in node.output}

    def parameter(name: str) -> str:
        return parameter(makers[name].input[0]) if name in makers else name

    return {each.node: parameter(each.weights) for each in layers(folded(exported))}
