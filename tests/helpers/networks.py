"""Networks of a few hundred bytes, made with the onnx library."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper


def network(
    nodes: list[Any],
    weights: dict[str, NDArray[Any]],
    shape: list[Any],
    out: list[Any],
    *,
    out_type: int = TensorProto.FLOAT,
    dangling: bool = False,
) -> bytes:
    """Build a network from input ``x`` to output ``y``."""
    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)]
    initializers = [numpy_helper.from_array(value, name) for name, value in weights.items()]
    if dangling:
        inputs += [helper.make_tensor_value_info(i.name, i.data_type, i.dims) for i in initializers]
        inputs.append(helper.make_tensor_value_info("nobody_reads_this", TensorProto.FLOAT, [3]))
    output = helper.make_tensor_value_info("y", out_type, out)
    graph = helper.make_graph(nodes, "small", inputs, [output], initializers)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    content: bytes = model.SerializeToString()
    return content


def embedder(
    *,
    batch: int | str = "n",
    size: int | str = 112,
    channels: int = 3,
    width: int = 8,
    baked: bool = False,
    seed: int = 0,
) -> bytes:
    """Build an embedder: channel means times a matrix; ``baked`` fixes the batch inside it."""
    matrix = np.random.default_rng(seed).normal(size=(channels, width)).astype(np.float32)
    rows = np.array([batch if isinstance(batch, int) else 1, channels] if baked else [-1, channels])
    nodes = [
        helper.make_node("GlobalAveragePool", ["x"], ["pooled"]),
        helper.make_node("Reshape", ["pooled", "rows"], ["flat"]),
        helper.make_node("MatMul", ["flat", "matrix"], ["y"]),
    ]
    weights = {"rows": rows, "matrix": matrix}
    return network(nodes, weights, [batch, channels, size, size], [batch, width])


def other_form(form: str) -> bytes:
    """Build what `embedder` builds in a form that is not the usual one."""
    model = onnx.load_model_from_string(embedder())
    graph = model.graph
    if form == "float16":
        matrix = numpy_helper.to_array(graph.initializer[1]).astype(np.float16)
        graph.initializer[1].CopyFrom(numpy_helper.from_array(matrix, "matrix"))
        for value in (*graph.input, *graph.output):
            value.type.tensor_type.elem_type = TensorProto.FLOAT16
    elif form == "float64 out":
        graph.node[2].output[0] = "rows_out"
        graph.node.append(helper.make_node("Cast", ["rows_out"], ["y"], to=TensorProto.DOUBLE))
        graph.output[0].type.tensor_type.elem_type = TensorProto.DOUBLE
    elif form in ("112 x 96", "128 x 96"):
        height, width = map(int, form.split(" x "))
        dims = graph.input[0].type.tensor_type.shape.dim
        dims[2].dim_value, dims[3].dim_value = height, width
    elif form == "N x d x 1 x 1":
        graph.node[2].output[0] = "rows_out"
        graph.initializer.append(numpy_helper.from_array(np.array([-1, 8, 1, 1]), "four"))
        graph.node.append(helper.make_node("Reshape", ["rows_out", "four"], ["y"]))
        for size in (1, 1):
            graph.output[0].type.tensor_type.shape.dim.add().dim_value = size
    elif form == "second output":
        graph.node.insert(0, helper.make_node("Identity", ["x"], ["seen"]))
        maps = helper.make_tensor_value_info("seen", TensorProto.FLOAT, ["n", 3, 112, 112])
        graph.output.insert(0, maps)
    elif form == "two embeddings":
        graph.node.append(helper.make_node("Neg", ["y"], ["z"]))
        graph.output.append(helper.make_tensor_value_info("z", TensorProto.FLOAT, ["n", 8]))
    else:
        assert form == "constants among the inputs"
        for each in graph.initializer:
            graph.input.append(helper.make_tensor_value_info(each.name, each.data_type, each.dims))
    content: bytes = model.SerializeToString()
    return content


def refusing(reason: str) -> bytes:
    """Build a network that is no embedder, for one of several reasons."""
    shape: list[Any] = ["n", 3, 112, 112]
    if reason == "output not finite":
        nodes = [
            helper.make_node("GlobalAveragePool", ["x"], ["p"]),
            helper.make_node("Flatten", ["p"], ["f"]),
            helper.make_node("Div", ["f", "zero"], ["y"]),
        ]
        return network(nodes, {"zero": np.zeros(1, np.float32)}, shape, ["n", 3])
    if reason == "whole numbers out":
        nodes = [
            helper.make_node("GlobalAveragePool", ["x"], ["p"]),
            helper.make_node("Flatten", ["p"], ["f"]),
            helper.make_node("Cast", ["f"], ["y"], to=TensorProto.INT64),
        ]
        return network(nodes, {}, shape, ["n", 3], out_type=TensorProto.INT64)
    assert reason == "one number out"
    nodes = [
        helper.make_node("Flatten", ["x"], ["f"]),
        helper.make_node("ReduceMean", ["f", "axes"], ["y"], keepdims=1),
    ]
    return network(nodes, {"axes": np.array([1])}, shape, ["n", 1])


def quantized() -> tuple[bytes, NDArray[np.float32], NDArray[np.float32]]:
    """Build a block-quantized network as OpenCV's zoo does, flaws included.

    Returns:
        The file, and the float32 weight (6, 10) and bias (6) that its constants stand for. It
        takes x (1, 10), and gives x @ weight.T + bias after a dropout.
    """
    rng = np.random.default_rng(5)
    data = rng.integers(-128, 128, (6, 10)).astype(np.int8)
    scale = rng.uniform(0.01, 0.1, (6, 3)).astype(np.float32)
    zero = rng.integers(-5, 6, (6, 3)).astype(np.int8)
    blocks = np.array([0, 0, 0, 0, 1, 1, 1, 1, 2, 2])  # blocks of four, the last one shorter
    weight = (data.astype(np.float32) - zero[:, blocks]) * scale[:, blocks]
    bias_data = rng.integers(-128, 128, 6).astype(np.int8)
    bias = (bias_data.astype(np.float32) - np.float32(3)) * np.float32(0.25)
    weights = {
        "w": data,
        "w_scale": scale,
        "w_zero": zero,
        "w_shape": np.array([6, 10]),
        "b": bias_data,
        "b_scale": np.array(0.25, np.float32),
        "b_zero": np.array(3, np.int8),
    }
    nodes = [
        _dequantize("w", axis=1, block_size=4),
        helper.make_node("Reshape", ["w_real", "w_shape"], ["w_reshaped"]),
        _dequantize("b", axis=0, block_size=64),  # the stray block size of a per-tensor bias
        helper.make_node("Constant", [], ["ratio"], value_float=0.4),
        helper.make_node("Dropout", ["x", "ratio"], ["dropped"]),
        helper.make_node("Gemm", ["dropped", "w_reshaped", "b_real"], ["y"], transB=1),
    ]
    return network(nodes, weights, [1, 10], [1, 6], dangling=True), weight, bias


def _dequantize(name: str, **attributes: int) -> Any:
    inputs = [name, f"{name}_scale", f"{name}_zero"]
    return helper.make_node("DequantizeLinear", inputs, [f"{name}_real"], **attributes)


def initializer_names(content: bytes) -> set[str]:
    """Name the constants of a network."""
    return {item.name for item in onnx.load_model_from_string(content).graph.initializer}
