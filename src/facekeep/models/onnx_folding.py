"""Convert an ONNX network with block-quantized constants to the form that ONNX Runtime runs.

``hatch_build.py`` does it for the weights that come with facekeep; it loads this module alone.
OpenCV's zoo stores some networks with int8 weights behind ``DequantizeLinear`` and ``Reshape``
nodes, in blocks along one axis (ONNX opset 21). ONNX Runtime refuses them: per-tensor biases carry
a block size that the standard forbids, and weights stay listed as graph inputs. What the nodes
would compute from constants is computed here instead, by the ONNX specification of
``DequantizeLinear``: ``(x - zero_point) * scale``; or the weights stay in 8 bits, and the runtime
computes them, once, while it loads the file.

PReLU is written as nodes that ONNX Runtime runs faster (benchmarks/prelu.py compares them): its
kernel branches on the sign of every value, which took half of SFace's time.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from facekeep.errors import ModelCorrupt

__all__ = ["fold_block_quantized", "replace_prelu"]

_Constants = dict[str, NDArray[Any]]

# With steeper slopes `slope x + (1 - slope) relu(x)` is a small difference of large numbers.
_STEEP = 4


def fold_block_quantized(
    source: bytes, *, any_size: bool, quick: bool = True, store: str = "float32"
) -> bytes:
    """Return the same network with constants that can be run, and a free batch axis.

    Args:
        source: An ONNX file whose constants are quantized.
        any_size: Whether height and width become free too (a fully convolutional network).
        quick: Whether PReLU is written as ONNX Runtime runs it faster.
        store: What weights of two axes and more are stored in: ``float32``, or ``int8``, the blocks
            as they are. All other constants become float32.

    Returns:
        An ONNX file; equal input gives equal bytes.

    Raises:
        ModelCorrupt: ``source`` is no ONNX network, or not of the kind that can be folded.
    """
    import onnx

    try:
        model = onnx.load_model_from_string(source)
    except Exception as error:
        raise ModelCorrupt("the quantized network cannot be read as ONNX") from error
    graph = model.graph
    constants, nodes = _compute_constants(graph, in_blocks=store == "int8")
    nodes = _without_dropout(nodes)
    if quick:
        nodes = replace_prelu(nodes, constants)
    _keep(graph, constants, nodes)
    _free_axes(graph, any_size=any_size)
    folded: bytes = model.SerializeToString(deterministic=True)
    return folded


def _compute_constants(graph: Any, *, in_blocks: bool) -> tuple[_Constants, list[Any]]:
    """Split the graph into its constants, dequantized, and the nodes that remain.

    Weights that stay ``in_blocks`` are what the nodes that dequantize them compute.
    """
    from onnx import numpy_helper

    constants = {item.name: numpy_helper.to_array(item) for item in graph.initializer}
    remaining = []
    for node in graph.node:
        data = constants.get(node.input[0]) if node.input else None
        stays = in_blocks and data is not None and data.ndim > 1
        if not all(name in constants for name in node.input):
            remaining.append(node)
        elif node.op_type == "DequantizeLinear" and not stays:
            constants[node.output[0]] = _dequantize(node, *(constants[i] for i in node.input))
        elif node.op_type == "Reshape":
            data, shape = (constants[name] for name in node.input)
            constants[node.output[0]] = data.reshape(shape)
        else:
            remaining.append(node)
    return constants, remaining


def _dequantize(
    node: Any, data: NDArray[Any], scale: NDArray[Any], zero_point: NDArray[Any]
) -> NDArray[np.float32]:
    """Apply one ``DequantizeLinear``; the shape of ``scale`` says how, a stray block size not."""
    attributes = {item.name: item.i for item in node.attribute}
    if scale.size == 1:
        scale, zero_point = scale.reshape(()), zero_point.reshape(())
    elif scale.ndim == data.ndim and attributes.get("block_size"):
        axis, block = attributes["axis"], attributes["block_size"]
        scale = _spread(scale, data.shape[axis], axis, block)
        zero_point = _spread(zero_point, data.shape[axis], axis, block)
    else:
        raise ModelCorrupt(
            f"the network's constant {node.output[0]!r} is quantized in no known way"
        )
    values = data.astype(np.float32)
    values -= zero_point
    values *= scale
    return values


def _spread(blocks: NDArray[Any], length: int, axis: int, block: int) -> NDArray[Any]:
    """Repeat each block's value along the axis; the last block may be shorter."""
    return np.repeat(blocks, block, axis=axis).take(range(length), axis=axis)


def _without_dropout(nodes: list[Any]) -> list[Any]:
    """Leave out the nodes that do nothing outside training, and constants that only fed them."""
    bypassed = {node.output[0]: node.input[0] for node in nodes if node.op_type == "Dropout"}
    kept = [node for node in nodes if node.op_type != "Dropout"]
    for node in kept:
        for position, name in enumerate(node.input):
            node.input[position] = bypassed.get(name, name)
    used = {name for node in kept for name in node.input}
    return [node for node in kept if node.op_type != "Constant" or node.output[0] in used]


def _keep(graph: Any, constants: _Constants, nodes: list[Any]) -> None:
    """Reduce the graph to these nodes, the constants they read and the true inputs."""
    from onnx import numpy_helper

    used = {name for node in nodes for name in node.input}
    outputs = {name for node in nodes for name in node.output}
    inputs = [item for item in graph.input if item.name in used and item.name not in constants]
    read = sorted(used - outputs - {item.name for item in inputs})
    _replace(graph.node, nodes)
    _replace(graph.input, inputs)
    _replace(graph.value_info, [])
    _replace(graph.initializer, [])
    for name in read:
        if name in constants:
            # One by one: the weights of a large network are in memory twice as it is.
            value = np.ascontiguousarray(constants.pop(name))
            graph.initializer.append(numpy_helper.from_array(value, name))


def _replace(field: Any, items: list[Any]) -> None:
    """Give a repeated protobuf field new content, which may be part of its old content."""
    del field[:]
    field.extend(items)


def _free_axes(graph: Any, *, any_size: bool) -> None:
    """Let the batch, and on request height and width, be of any size."""
    for item in graph.input:
        names = ("batch", None, "height", "width") if any_size else ("batch",)
        _name_axes(item, names)
    for item in graph.output:
        # With a free size, the number of anchors (axis 1) follows from it.
        _name_axes(item, ("batch", f"{item.name}_anchors") if any_size else ("batch",))
    _free_reshapes(graph)


def _name_axes(tensor: Any, names: tuple[str | None, ...]) -> None:
    axes = tensor.type.tensor_type.shape.dim
    for axis, name in zip(axes, names, strict=False):
        if name is not None:
            axis.dim_param = name


def _free_reshapes(graph: Any) -> None:
    """Turn each reshape to ``[1, -1, c]`` into ``[0, -1, c]``: 0 copies the input's batch."""
    from onnx import numpy_helper

    shapes = {node.input[1] for node in graph.node if node.op_type == "Reshape"}
    for item in graph.initializer:
        shape = numpy_helper.to_array(item)
        if item.name in shapes and shape.size > 1 and shape[0] == 1 and -1 in shape[1:]:
            freed = np.concatenate([np.zeros(1, shape.dtype), shape[1:]])
            item.CopyFrom(numpy_helper.from_array(freed, item.name))


def replace_prelu(nodes: list[Any], constants: _Constants) -> list[Any]:
    """Replace each ``PRelu`` by nodes that give the same but for rounding; add their constants."""
    return [
        each
        for node in nodes
        for each in (_split_prelu(node, constants) if node.op_type == "PRelu" else [node])
    ]


def _split_prelu(node: Any, constants: _Constants) -> list[Any]:
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
