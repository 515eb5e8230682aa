"""Small ``.tflite`` networks, written with the schema that LiteRT brings."""

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
    graph.operators = [_mean([0, 1], 2), _product([2, 3, -1], 4)]
    if kind is not np.float32:  # nothing but a declaration: it cannot be run
        graph.operators, graph.outputs = [], [0]
    model.subgraphs = [graph]
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def face_mesh(landmarks: NDArray[np.float64], *, depth: float = 0.0) -> bytes:
    """Build a network like MediaPipe's: x (1, 192, 192, 3) -> always the same 468 points, and a
    number that is above 0 where the picture is not black.

    Args:
        landmarks: Where the points of the five landmarks lie, ``(5, 2)`` pixels of the picture;
            all others lie in their middle.
        depth: How far away the other points are; the five are at 0.
    """
    points = np.zeros((468, 3), np.float32)
    points[:, :2], points[:, 2] = landmarks.mean(axis=0), depth
    places = ([33, 133], [362, 263], [1, 4], [61], [291])
    for place, landmark in zip(places, landmarks, strict=True):
        points[place] = [*landmark, 0]
    values = {
        "axes": np.array([1, 2], np.int32),
        "none": np.zeros((points.size, 3), np.float32),
        "points": points.ravel(),
        "light": np.ones((1, 3), np.float32),
        "dark": np.array([-0.01], np.float32),
    }
    model, graph = schema.ModelT(), schema.SubGraphT()
    model.version, graph.name = 3, b"mesh"
    model.buffers = [schema.BufferT(), *map(_buffer, values.values())]
    model.operatorCodes = [
        _code(schema.BuiltinOperator.MEAN),
        _code(schema.BuiltinOperator.FULLY_CONNECTED),
    ]
    graph.tensors = [
        _tensor("x", (1, 192, 192, 3)),
        *(
            _tensor(name, value.shape, value.dtype.type, number)
            for number, (name, value) in enumerate(values.items(), 1)
        ),
        _tensor("means", (1, 3)),
        _tensor("mesh", (1, points.size)),
        _tensor("sure", (1, 1)),
    ]
    graph.inputs, graph.outputs = [0], [7, 8]
    graph.operators = [_mean([0, 1], 6), _product([6, 2, 3], 7), _product([6, 4, 5], 8)]
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
    operator.opcodeIndex, operator.inputs, operator.outputs = 1, inputs, [output]
    operator.builtinOptionsType = schema.BuiltinOptions.FullyConnectedOptions
    operator.builtinOptions = schema.FullyConnectedOptionsT()
    return operator
