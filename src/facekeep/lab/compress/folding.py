"""Compute the constants of an ONNX network that its nodes would compute while it is loaded.

Quantisation looks for weights as plain constants. Networks of ours hold them as they were trained,
or packed into fewer bits, with nodes behind them that make the weights.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from facekeep.errors import ModelCorrupt
from facekeep.runtime import RuntimeOptions, open_session

__all__ = ["folded", "load"]


def load(content: bytes) -> Any:
    """Read an ONNX file.

    Raises:
        ModelCorrupt: It is none.
    """
    import onnx

    try:
        model = onnx.load_model_from_string(content)
    except Exception as error:
        raise ModelCorrupt("the network to compress cannot be read as ONNX") from error
    if not model.graph.node:
        raise ModelCorrupt("the network to compress has no nodes")
    return model


def folded(content: bytes) -> bytes:
    """Return the same network with constants in place of the nodes that read constants only.

    Every node of it has a name.

    Raises:
        ModelCorrupt: The file is no ONNX network.
    """
    from onnx import numpy_helper

    model = load(content)
    graph = model.graph
    _drop_constant_inputs(graph)
    constant, remaining = _split(graph)
    used = {name for node in remaining for name in node.input}
    wanted = [name for node in constant for name in node.output if name in used]
    made = [
        numpy_helper.from_array(value, name)
        for name, value in zip(wanted, _values(model, constant, wanted), strict=True)
    ]
    kept = [item for item in graph.initializer if item.name in used]
    for index, node in enumerate(remaining):
        node.name = node.name or f"{node.op_type.lower()}_{index}"
    for field, items in ((graph.initializer, [*kept, *made]), (graph.node, remaining)):
        del field[:]
        field.extend(items)
    result: bytes = model.SerializeToString(deterministic=True)
    return result


def _drop_constant_inputs(graph: Any) -> None:
    """Leave out constants among the inputs, where old exporters list them."""
    constants = {item.name for item in graph.initializer}
    inputs = [item for item in graph.input if item.name not in constants]
    del graph.input[:]
    graph.input.extend(inputs)


def _split(graph: Any) -> tuple[list[Any], list[Any]]:
    """Part the nodes that read constants only from the others."""
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


def _values(model: Any, nodes: Sequence[Any], wanted: Sequence[str]) -> list[Any]:
    """Compute what nodes make of the constants."""
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
