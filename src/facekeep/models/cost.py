"""What a network costs: its parameters, and the multiply-accumulates of one input.

Counted from the ONNX graph, so that it needs no PyTorch and holds for every ONNX model.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from facekeep.errors import InputError, ModelError
from facekeep.models.model_entry import ModelEntry
from facekeep.models.onnx_folding import join_halves
from facekeep.models.resolve import locate
from facekeep.runtime.session import imported

_ANY_SIZE = 640  # the side at which a network for images of any size is counted

_Shapes = dict[str, tuple[int, ...]]


@dataclass(frozen=True, slots=True)
class Cost:
    """The size of a network.

    Attributes:
        params: Numbers that training learned.
        macs: Multiply-accumulates of one input in convolutions and matrix products; norms,
            activations and additions are not counted.
        input_size: The side of the square input in pixels.
    """

    params: int
    macs: int
    input_size: int

    @property
    def flops(self) -> int:
        """Two for each multiply-accumulate.

        The "MFLOPs" of the EdgeFace paper (arXiv 2307.01838) are these; other papers call the
        multiply-accumulates FLOPs. Convert before comparing.
        """
        return 2 * self.macs


def model_cost(entry: ModelEntry) -> Cost:
    """Count what one run of a model costs, from the file that is run.

    Raises:
        InputError: The model is no ONNX network.
        ModelNotFound: Its files are not on this machine.
        ModelCorrupt: A file is not the one that the catalog describes.
        ModelError: The network holds shapes that cannot be followed.
        RuntimeUnavailable: onnx is not installed.
    """
    if entry.runtime != "onnxruntime":
        raise InputError(f"model {entry.name!r} is no ONNX network, the only kind that is counted")
    onnx = imported("onnx", "onnx", "import")
    size = entry.input_size or _ANY_SIZE
    model = onnx.load(locate(entry))
    join_halves(model)
    shapes = _shapes(model, (1, 3, size, size))
    try:
        macs = sum(_macs(node, shapes) for node in _nodes_run(model.graph))
    except (KeyError, ValueError) as error:
        raise ModelError(f"the shapes of model {entry.name!r} cannot be followed") from error
    return Cost(entry.params or _params(model.graph), macs, size)


def _shapes(model: Any, input_shape: tuple[int, ...]) -> _Shapes:
    """Follow the shapes of all tensors through a graph with one input of this shape."""
    from onnx import shape_inference

    graph = model.graph
    for axis, length in zip(graph.input[0].type.tensor_type.shape.dim, input_shape, strict=True):
        axis.dim_value = length
    del graph.value_info[:]  # what the exporter noted may say "batch" where the length is known
    for output in graph.output:
        output.type.tensor_type.ClearField("shape")
    graph = shape_inference.infer_shapes(model, data_prop=True).graph
    shapes: _Shapes = {item.name: tuple(item.dims) for item in graph.initializer}
    for item in (*graph.input, *graph.value_info, *graph.output):
        axes = item.type.tensor_type.shape.dim
        if all(axis.HasField("dim_value") for axis in axes):
            shapes[item.name] = tuple(axis.dim_value for axis in axes)
    return shapes


def _nodes_run(graph: Any) -> list[Any]:
    """Return the nodes that depend on the input; the others run once, while the file is loaded."""
    constants = {"", *(each.name for each in graph.initializer)}
    nodes = []
    for node in graph.node:
        if constants.issuperset(node.input):
            constants.update(node.output)
        else:
            nodes.append(node)
    return nodes


def _macs(node: Any, shapes: _Shapes) -> int:
    if node.op_type == "Conv":  # each output is a sum over the channels of a group and the kernel
        return math.prod(shapes[node.output[0]]) * math.prod(shapes[node.input[1]][1:])
    if node.op_type == "ConvTranspose":  # each input goes to the channels of a group and the kernel
        return math.prod(shapes[node.input[0]]) * math.prod(shapes[node.input[1]][1:])
    if node.op_type in ("Gemm", "MatMul", "MatMulInteger"):  # a sum over what the factors share
        turned = any(each.name == "transA" and each.i for each in node.attribute)
        return math.prod(shapes[node.output[0]]) * shapes[node.input[0]][-2 if turned else -1]
    return 0


def _params(graph: Any) -> int:
    """Count the floating-point constants, which are all that an ONNX file knows of parameters."""
    from onnx import TensorProto

    floats = (TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.DOUBLE)
    return sum(math.prod(item.dims) for item in graph.initializer if item.data_type in floats)
