"""The networks as ONNX files: the same arithmetic, node by node, laid out for speed.

The graph is built here rather than traced: it stays small (a layer norm is one node), needs no
tracer, and equal weights give equal bytes.

Between the convolutions faces are one matrix, a row for each place of each face. So a linear layer
is one Gemm that adds its bias too, a layer norm reads what lies together, and residuals are added
where they are; only depthwise convolutions see maps, whose transposes ONNX Runtime merges into the
change to its blocked layout that it makes anyway (docs/runtimes.md).

Its constants are the network's parameters under their names, so that ``reading`` finds the network
in the file again. What is derived from them (layer scales inside the linear layers before them,
position encodings) is computed by nodes that read constants only, which every runtime runs once,
while it loads the file.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, cast

from torch import Tensor, nn

from facekeep.lab.nn.edgeface import EdgeFace, Stage
from facekeep.lab.nn.edgenext import ConvBlock, PositionEncoding, SplitBlock
from facekeep.lab.nn.graph import Graph, as_array
from facekeep.lab.nn.lora import LoRaLin
from facekeep.models.files import keep

__all__ = ["export_onnx"]


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
    content = graph.serialize(
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
        return self.parameter(self._names[value], as_array(value))


def _network(graph: _Network, x: str, model: EdgeFace) -> str:
    convolution, norm = cast(Any, model.stem)
    side = model.input_size // convolution.stride[0]
    x = _norm(graph, _places(graph, x, convolution), norm)
    for stage in model.stages:
        x, side = _stage(graph, x, cast(Stage, stage), side)
    (channels,) = model.head.norm.normalized_shape
    x = graph.add("Reshape", x, graph.numbers(-1, side * side, channels))
    x = graph.add("ReduceMean", x, graph.numbers(1), keepdims=0)
    return _linear(graph, _norm(graph, x, model.head.norm), model.head.fc)


def _stage(graph: _Network, x: str, stage: Stage, side: int) -> tuple[str, int]:
    """Return the places after a stage, and the height and width of their map."""
    if isinstance(stage.downsample, nn.Sequential):
        norm, convolution = cast(Any, stage.downsample)
        x = _map(graph, _norm(graph, x, norm), side, convolution.in_channels)
        x, side = _places(graph, x, convolution), side // convolution.stride[0]
    for block in stage.blocks:
        if isinstance(block, SplitBlock):
            x = _split_block(graph, x, block, side)
        else:
            x = _conv_block(graph, x, cast(ConvBlock, block), side)
    return x, side


def _conv_block(graph: _Network, x: str, block: ConvBlock, side: int) -> str:
    seen = _places(graph, _map(graph, x, side, len(block.gamma)), block.conv_dw)
    return graph.add("Add", x, _mlp(graph, _norm(graph, seen, block.norm), block))


def _split_block(graph: _Network, x: str, block: SplitBlock, side: int) -> str:
    channels = len(block.gamma)
    mixed = _groups(graph, _map(graph, x, side, channels), block, channels)
    if block.pos_embd is not None:
        mixed = graph.add("Add", mixed, _position(graph, block.pos_embd, side))
    places = _rows(graph, mixed, channels)
    attended = _attention(graph, _norm(graph, places, block.norm_xca), block, side * side)
    places = graph.add("Add", places, attended)
    return graph.add("Add", x, _mlp(graph, _norm(graph, places, block.norm), block))


def _position(graph: _Network, encoding: PositionEncoding, side: int) -> str:
    """Return the constant that is added to each map."""
    waves = as_array(encoding.waves)  # of the row, then the same of the column
    half = waves.shape[1] // 2
    wave = graph.constant(waves[:, :half, :, 0])
    shape = graph.numbers(1, half, side, side)
    both = [
        graph.add("Expand", graph.add("Unsqueeze", wave, graph.numbers(axis)), shape)
        for axis in (3, 2)
    ]
    return _convolution(graph, graph.add("Concat", *both, axis=1), encoding.token_projection)


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
    attention = block.xca
    heads, width = attention.heads, _last(attention.qkv).out_features // 3
    shape = graph.numbers(-1, places, 3 * heads, width // heads)
    qkv = graph.add("Reshape", _linear(graph, x, attention.qkv), shape)
    qkv = graph.add("Transpose", qkv, perm=(0, 2, 3, 1))
    both, value = graph.split("Split", 2, qkv, graph.numbers(2 * heads, heads), axis=1)
    # A vector of nothing stays nothing, as in torch.nn.functional.normalize.
    both = graph.add("LpNormalization", both)
    query, key = graph.split("Split", 2, both, axis=1, num_outputs=2)
    key = graph.add("Transpose", key, perm=(0, 1, 3, 2))
    weights = graph.add("MatMul", query, key)
    weights = graph.add("Mul", weights, graph.weights(attention.temperature))
    mixed = graph.add("MatMul", graph.add("Softmax", weights), value)
    mixed = graph.add("Transpose", mixed, perm=(0, 3, 1, 2))
    mixed = graph.add("Reshape", mixed, graph.numbers(-1, width))
    return _linear(graph, mixed, attention.proj, block.gamma_xca)


def _mlp(graph: _Network, x: str, block: ConvBlock | SplitBlock) -> str:
    hidden = graph.add("Gelu", _linear(graph, x, block.mlp.fc1))
    return _linear(graph, hidden, block.mlp.fc2, block.gamma)


def _linear(graph: _Network, x: str, layer: nn.Module, scale: Tensor | None = None) -> str:
    """Apply a linear layer to rows, its outputs multiplied with ``scale``."""
    if isinstance(layer, LoRaLin):
        x = _linear(graph, x, layer.linear1)
    full = _last(layer)
    weights = [_scale(graph, each, scale) for each in (full.weight, full.bias) if each is not None]
    return graph.add("Gemm", x, *weights, transB=1)


def _last(layer: nn.Module) -> nn.Linear:
    return cast(nn.Linear, layer.linear2 if isinstance(layer, LoRaLin) else layer)


def _scale(graph: _Network, value: Tensor, scale: Tensor | None) -> str:
    """Keep a parameter, and return it with each of its rows multiplied."""
    name = graph.weights(value)
    if scale is None:
        return name
    factors = graph.weights(scale)
    if value.dim() > 1:
        factors = graph.add("Unsqueeze", factors, graph.numbers(1))
    return graph.add("Mul", name, factors)


def _map(graph: _Network, x: str, side: int, channels: int) -> str:
    """Lay places out as maps, N x C x H x W."""
    x = graph.add("Reshape", x, graph.numbers(-1, side, side, channels))
    return graph.add("Transpose", x, perm=(0, 3, 1, 2))


def _rows(graph: _Network, x: str, channels: int) -> str:
    """Lay maps out as places, a row each."""
    x = graph.add("Transpose", x, perm=(0, 2, 3, 1))
    return graph.add("Reshape", x, graph.numbers(-1, channels))


def _places(graph: _Network, x: str, layer: Any) -> str:
    """Convolve maps, and lay the result out as places."""
    return _rows(graph, _convolution(graph, x, layer), layer.out_channels)


def _convolution(graph: _Network, x: str, layer: Any) -> str:
    weights = [graph.weights(value) for value in (layer.weight, layer.bias)]
    pads, strides = layer.padding * 2, layer.stride
    return graph.add("Conv", x, *weights, group=layer.groups, pads=pads, strides=strides)


def _norm(graph: _Network, x: str, layer: nn.LayerNorm) -> str:
    weights = [graph.weights(value) for value in (layer.weight, layer.bias)]
    return graph.add("LayerNormalization", x, *weights, epsilon=layer.eps)
