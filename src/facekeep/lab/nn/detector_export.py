"""The face detector as an ONNX file, with outputs named and laid out as YuNet's are."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, cast

import numpy as np
from torch import nn

from facekeep.lab.nn.detector import HEADS, STRIDES, WHITE, DetectorNetwork
from facekeep.lab.nn.graph import Graph, as_array
from facekeep.models.files import keep

__all__ = ["export_detector"]

_TO_PLACES = (0, 2, 3, 1)  # N x C x H x W to N x H x W x C


def export_detector(model: DetectorNetwork, path: str | os.PathLike[str]) -> None:
    """Write a detector as an ONNX file, whole or not at all.

    Its input is ``image``, float32, batch x 3 x H x W, RGB, 0 to 255; batch, H and W are free, the
    last two multiples of 32. For each stride it gives ``cls``, ``obj``, ``bbox`` and ``kps``,
    batch x cells x 1, 1, 4 and 10, the first two from 0 to 1; see ``nn.detector.HEADS``.

    Raises:
        StorageFull: There is no room for it.
        ModelError: The file cannot be written.
    """
    graph = Graph()
    results = [
        (name, ["batch", f"cells_{name.split('_')[1]}", HEADS[name.split("_")[0]]])
        for name in _network(graph, "image", model)
    ]
    content = graph.serialize(("image", ["batch", 3, "height", "width"]), *results)
    keep(Path(path), content)


def _network(graph: Graph, x: str, model: DetectorNetwork) -> list[str]:
    x = graph.add("Relu", _convolution(graph, x, model.stem, 1 / WHITE))
    found: list[str] = []
    for stage in model.stages:
        if found:
            x = graph.add("MaxPool", x, kernel_shape=(2, 2), strides=(2, 2))
        for unit in stage.children():
            x = _unit(graph, x, unit)
        found.append(x)
    seen, coarser = found[-len(STRIDES) :], ""
    names: list[str] = []
    for index in reversed(range(len(STRIDES))):
        x = seen[index]
        if coarser:
            x = graph.add("Add", x, _double(graph, coarser))
        coarser = _unit(graph, x, model.neck[index])
        names += _cells(graph, _unit(graph, coarser, model.heads[index]), STRIDES[index])
    return names


def _unit(graph: Graph, x: str, unit: nn.Module) -> str:
    mixed, spread, end = unit.children()
    x = _convolution(graph, _convolution(graph, x, mixed), spread)
    return graph.add("Relu", x) if isinstance(end, nn.ReLU) else x


def _cells(graph: Graph, x: str, stride: int) -> list[str]:
    """Lay what the cells say out row by row, and name its parts."""
    rows = graph.add("Transpose", x, perm=_TO_PLACES)
    rows = graph.add("Reshape", rows, graph.numbers(0, -1, sum(HEADS.values())))
    parts = graph.split("Split", len(HEADS), rows, graph.numbers(*HEADS.values()), axis=-1)
    named = []
    for kind, part in zip(HEADS, parts, strict=True):
        chance = graph.add("Sigmoid", part) if kind in ("cls", "obj") else part
        named.append(graph.rename(chance, f"{kind}_{stride}"))
    return named


def _double(graph: Graph, x: str) -> str:
    scales = graph.constant(np.array([1, 1, 2, 2], np.float32))
    how = {"mode": "nearest", "nearest_mode": "floor"}
    return graph.add("Resize", x, "", scales, coordinate_transformation_mode="asymmetric", **how)


def _convolution(graph: Graph, x: str, module: nn.Module, scale: float = 1.0) -> str:
    layer = cast(Any, module)
    weights = (layer.weight * scale, layer.bias)
    constants = [graph.constant(as_array(value)) for value in weights]
    pads, strides = layer.padding * 2, layer.stride
    return graph.add("Conv", x, *constants, group=layer.groups, pads=pads, strides=strides)
