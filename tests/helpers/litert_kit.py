"""A ``.tflite`` network of a few hundred bytes, written with the schema that LiteRT brings."""

from __future__ import annotations

from typing import Any

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema
from numpy.typing import NDArray

WEIGHT = np.random.default_rng(3).normal(size=(4, 3)).astype(np.float32)


def means(batch: int | None = None, size: int = 8, kind: type = np.float32) -> bytes:
    """Build an embedder: x (N, size, size, 3) -> the channels' means @ WEIGHT.T.

    Args:
        batch: The number of pictures it takes; None for any.
        size: The side of a picture.
        kind: The type of the input.
    """
    model = schema.ModelT()
    model.version = 3
    model.buffers = [schema.BufferT(), _buffer(np.array([1, 2], np.int32)), _buffer(WEIGHT)]
    model.operatorCodes = [
        _code(schema.BuiltinOperator.MEAN),
        _code(schema.BuiltinOperator.FULLY_CONNECTED),
    ]
    graph = schema.SubGraphT()
    graph.name = b"means"
    graph.tensors = [
        _tensor("x", (batch, size, size, 3), kind),
        _tensor("axes", (2,), np.int32, 1),
        _tensor("means", (batch, 3)),
        _tensor("weight", (4, 3), buffer=2),
        _tensor("y", (batch, 4)),
    ]
    graph.inputs, graph.outputs = [0], [4]
    graph.operators = [_mean([0, 1], 2), _product([2, 3], 4)]
    if kind is not np.float32:  # nothing but a declaration: it cannot be run
        graph.operators, graph.outputs = [], [0]
    model.subgraphs = [graph]
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def _buffer(values: NDArray[Any]) -> Any:
    buffer = schema.BufferT()
    buffer.data = np.frombuffer(values.tobytes(), np.uint8)
    return buffer


def _code(operator: int) -> Any:
    code = schema.OperatorCodeT()
    code.builtinCode = operator
    code.deprecatedBuiltinCode = operator
    code.version = 1
    return code


def _tensor(name: str, shape: tuple[int | None, ...], kind: type = np.float32, buffer: int = 0):
    tensor = schema.TensorT()
    tensor.name = name.encode()
    tensor.shape = [1 if length is None else length for length in shape]
    tensor.shapeSignature = [-1 if length is None else length for length in shape]
    kinds = {np.float32: "FLOAT32", np.int32: "INT32", np.uint8: "UINT8"}
    tensor.type = getattr(schema.TensorType, kinds[kind])
    tensor.buffer = buffer
    return tensor


def _mean(inputs: list[int], output: int) -> Any:
    operator = schema.OperatorT()
    operator.opcodeIndex, operator.inputs, operator.outputs = 0, inputs, [output]
    operator.builtinOptionsType = schema.BuiltinOptions.ReducerOptions
    operator.builtinOptions = schema.ReducerOptionsT()
    return operator


def _product(inputs: list[int], output: int) -> Any:
    operator = schema.OperatorT()
    operator.opcodeIndex, operator.inputs, operator.outputs = 1, [*inputs, -1], [output]
    operator.builtinOptionsType = schema.BuiltinOptions.FullyConnectedOptions
    operator.builtinOptions = schema.FullyConnectedOptionsT()
    return operator
