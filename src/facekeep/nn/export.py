"""The networks as ONNX files: the same arithmetic, node by node.

The graph is built here rather than traced: it stays small (a layer norm is one node), needs no
tracer, and equal weights give equal bytes. Its constants are the network's parameters under their
names, so that ``reading`` finds the network in the file again. What is derived from them (the
transposes of matrices, layer scales inside the linear layers before them, position encodings) is
computed by nodes that read constants only, which every runtime runs once, while it loads the file.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from facekeep.models.files import keep
from facekeep.nn.edgeface import EdgeFace, Stage
from facekeep.nn.edgenext import ConvBlock, CrossCovariance, Mlp, PositionEncoding, SplitBlock
from facekeep.nn.graph import Graph
from facekeep.nn.lora import LoRaLin

__all__ = ["export_onnx"]

_TO_PLACES = (0, 2, 3, 1)  # N x C x H x W to N x H x W x C
_TO_MAP = (0, 3, 1, 2)
_SMALLEST_NORM = 1e-12  # as in torch.nn.functional.normalize


def export_onnx(model: EdgeFace, path: str | os.PathLike[str]) -> None:
    """Write a network as an ONNX file, whole or not at all.

    Its input is ``image``, float32, batch x 3 x S x S, RGB, ``p / 127.5 - 1``; its output
    ``embedding``, float32, batch x width, not of unit length. The batch is free. It needs opset 20,
    which ONNX Runtime runs since 1.18.

    Raises:
        StorageFull: There is no room for it.
        ModelError: The file cannot be written.
    """
    graph, size = _Network(model), model.input_size
    graph.rename(_network(graph, "image", model), "embedding")
    content = graph.serialise(
        ("image", ["batch", 3, size, size]), ("embedding", ["batch", model.width])
    )
    keep(Path(path), content)


class _Network(Graph):
    """The graph of a network, whose parameters it knows by name."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self._names: dict[Tensor, str] = {value: name for name, value in model.named_parameters()}

    def weights(self, value: Tensor) -> str:
        """Keep a parameter under its name, and return that."""
        return self.parameter(self._names[value], _array(value))


def _network(graph: _Network, x: str, model: EdgeFace) -> str:
    convolution, norm = model.stem
    x = _channel_norm(graph, _convolution(graph, x, convolution), norm)
    for index, stage in enumerate(model.stages):
        x = _stage(graph, x, cast(Stage, stage), model.input_size // (4 << index))
    x = graph.add("ReduceMean", x, graph.numbers(2, 3), keepdims=0)
    return _linear(graph, _norm(graph, x, model.head.norm), model.head.fc)


def _stage(graph: _Network, x: str, stage: Stage, side: int) -> str:
    if isinstance(stage.downsample, nn.Sequential):
        norm, convolution = stage.downsample
        x = _convolution(graph, _channel_norm(graph, x, norm), convolution)
    for block in stage.blocks:
        if isinstance(block, SplitBlock):
            x = _split_block(graph, x, block, side)
        else:
            x = _conv_block(graph, x, cast(ConvBlock, block))
    return x


def _conv_block(graph: _Network, x: str, block: ConvBlock) -> str:
    places = graph.add("Transpose", _convolution(graph, x, block.conv_dw), perm=_TO_PLACES)
    change = _mlp(graph, _norm(graph, places, block.norm), block.mlp, block.gamma)
    return graph.add("Add", x, graph.add("Transpose", change, perm=_TO_MAP))


def _split_block(graph: _Network, x: str, block: SplitBlock, side: int) -> str:
    channels = len(block.gamma)
    places = graph.add("Transpose", _groups(graph, x, block, channels), perm=_TO_PLACES)
    places = graph.add("Reshape", places, graph.numbers(0, side * side, channels))
    if block.pos_embd is not None:
        places = graph.add("Add", places, _position(graph, block.pos_embd, side))
    attended = _attention(graph, _norm(graph, places, block.norm_xca), block, side * side)
    places = graph.add("Add", places, attended)
    change = _mlp(graph, _norm(graph, places, block.norm), block.mlp, block.gamma)
    change = graph.add("Reshape", change, graph.numbers(0, side, side, channels))
    return graph.add("Add", x, graph.add("Transpose", change, perm=_TO_MAP))


def _position(graph: _Network, encoding: PositionEncoding, side: int) -> str:
    """Return the constant that is added to places."""
    waves = _array(encoding.waves)[0]  # of the row, then of the column
    half = len(waves) // 2
    shape = graph.numbers(half, side, side)
    rows = graph.add("Expand", graph.constant(waves[:half, :, :1]), shape)
    columns = graph.add("Expand", graph.constant(waves[half:, :1]), shape)
    x = graph.add("Unsqueeze", graph.add("Concat", rows, columns, axis=0), graph.numbers(0))
    x = graph.add("Transpose", _convolution(graph, x, encoding.token_projection), perm=_TO_PLACES)
    return graph.add("Reshape", x, graph.numbers(1, side * side, -1))


def _groups(graph: _Network, x: str, block: SplitBlock, channels: int) -> str:
    count = len(block.convs)
    sizes = graph.numbers(*[block.width] * count, channels - count * block.width)
    *groups, last = graph.split("Split", count + 1, x, sizes, axis=1)
    done: list[str] = []
    for group, conv in zip(groups, block.convs, strict=True):
        seen = graph.add("Add", group, done[-1]) if done else group
        done.append(_convolution(graph, seen, conv))
    return graph.add("Concat", *done, last, axis=1)


def _attention(graph: _Network, x: str, block: SplitBlock, places: int) -> str:
    attention: CrossCovariance = block.xca
    heads, channels = attention.heads, len(block.gamma)
    shape = graph.numbers(0, places, 3 * heads, channels // heads)
    qkv = graph.add("Reshape", _linear(graph, x, attention.qkv), shape)
    qkv = graph.add("Transpose", qkv, perm=(0, 2, 3, 1))
    query, key, value = graph.split("Split", 3, qkv, axis=1, num_outputs=3)
    query = graph.add("Mul", _unit(graph, query), graph.weights(attention.temperature))
    key = graph.add("Transpose", _unit(graph, key), perm=(0, 1, 3, 2))
    weights = graph.add("Softmax", graph.add("MatMul", query, key), axis=-1)
    mixed = graph.add("Transpose", graph.add("MatMul", weights, value), perm=(0, 3, 1, 2))
    mixed = graph.add("Reshape", mixed, graph.numbers(0, places, channels))
    return _linear(graph, mixed, attention.proj, block.gamma_xca)


def _unit(graph: _Network, x: str) -> str:
    length = graph.add("ReduceL2", x, graph.numbers(-1), keepdims=1)
    smallest = graph.constant(np.array(_SMALLEST_NORM, np.float32))
    return graph.add("Div", x, graph.add("Max", length, smallest))


def _mlp(graph: _Network, x: str, mlp: Mlp, scale: Tensor) -> str:
    return _linear(graph, graph.add("Gelu", _linear(graph, x, mlp.fc1)), mlp.fc2, scale)


def _linear(graph: _Network, x: str, layer: nn.Module, scale: Tensor | None = None) -> str:
    """Apply a linear layer, its outputs multiplied with ``scale``."""
    if isinstance(layer, LoRaLin):
        return _linear(graph, _linear(graph, x, layer.linear1), layer.linear2, scale)
    full = cast(nn.Linear, layer)
    weight = graph.add("Transpose", graph.weights(full.weight), perm=(1, 0))
    x = graph.add("MatMul", x, _scaled(graph, weight, scale))
    if full.bias is None:
        return x
    return graph.add("Add", x, _scaled(graph, graph.weights(full.bias), scale))


def _scaled(graph: _Network, value: str, scale: Tensor | None) -> str:
    return value if scale is None else graph.add("Mul", value, graph.weights(scale))


def _convolution(graph: _Network, x: str, layer: Any) -> str:
    weights = [graph.weights(value) for value in (layer.weight, layer.bias)]
    pads, strides = layer.padding * 2, layer.stride
    return graph.add("Conv", x, *weights, group=layer.groups, pads=pads, strides=strides)


def _channel_norm(graph: _Network, x: str, layer: Any) -> str:
    places = graph.add("Transpose", x, perm=_TO_PLACES)
    return graph.add("Transpose", _norm(graph, places, layer), perm=_TO_MAP)


def _norm(graph: _Network, x: str, layer: nn.LayerNorm) -> str:
    weights = [graph.weights(value) for value in (layer.weight, layer.bias)]
    return graph.add("LayerNormalization", x, *weights, axis=-1, epsilon=layer.eps)


def _array(value: Tensor) -> NDArray[np.float32]:
    array: NDArray[np.float32] = value.detach().float().cpu().numpy()
    return array
