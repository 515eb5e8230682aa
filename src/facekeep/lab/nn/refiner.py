"""A network that places five landmarks in the rough crop of a face: 64 x 64 pixels, 94,602 numbers.

Plain convolutions, each with a batch norm that the ONNX file no longer has, and one linear layer at
the end that still knows where everything was: ten coordinates by regression.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, cast

import torch
from torch import Tensor, nn

from facekeep.lab.nn.graph import Graph, as_array
from facekeep.models.files import keep
from facekeep.pipeline.refine import upright_landmarks

__all__ = [
    "SIDE",
    "LandmarkRefiner",
    "add_convolutions",
    "export_refiner",
    "make_convolutions",
]

SIDE: Final = 64
"""Side of the crops in pixels."""

_LAYERS: Final = ((16, 2), (24, 2), (32, 1), (40, 2), (40, 1), (56, 2), (56, 1))
"""Channels and stride of each convolution."""

_PLACES: Final = 10


class LandmarkRefiner(nn.Module):
    """The network.

    Attributes:
        layers: A convolution, its batch norm and ReLU each.
        head: The landmarks' way from where the pose has them, in sides of the crop.
        start: Where the pose has them; see ``pipeline.refine.upright_landmarks``; not learned.
    """

    def __init__(self) -> None:
        super().__init__()
        self.layers, width = make_convolutions(_LAYERS, SIDE)
        self.head = nn.Linear(width, _PLACES)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)
        start = torch.tensor(upright_landmarks(SIDE) / SIDE, dtype=torch.float32).flatten()
        self.start = nn.Buffer(start, persistent=False)

    def forward(self, crops: Tensor) -> Tensor:
        """Place the landmarks.

        Args:
            crops: float32 ``(n, 3, 64, 64)`` RGB, ``p / 127.5 - 1``, brought to the pose by
                rough landmarks.

        Returns:
            float32 ``(n, 5, 2)``, in sides of the crop.
        """
        moved: Tensor = self.head(self.layers(crops).flatten(1))
        return (moved + self.start).view(-1, 5, 2)


def export_refiner(model: LandmarkRefiner, path: str | os.PathLike[str]) -> None:
    """Write a refiner as an ONNX file, whole or not at all.

    Its input is ``crop``, float32, batch x 3 x 64 x 64, as `LandmarkRefiner` takes it; its output
    ``landmarks``, float32, batch x 5 x 2. The batch is free. The batch norms are part of the
    convolutions, as they are in evaluation.

    Raises:
        StorageFull: There is no room for it.
        ModelError: The file cannot be written.
    """
    graph = Graph()
    x = graph.add("Flatten", add_convolutions(graph, "crop", model.layers), axis=1)
    bias = model.head.bias + model.start
    x = graph.add(
        "Gemm", x, graph.constant(as_array(model.head.weight.T)), graph.constant(as_array(bias))
    )
    graph.rename(graph.add("Reshape", x, graph.numbers(-1, 5, 2)), "landmarks")
    content = graph.serialize(("crop", ["batch", 3, SIDE, SIDE]), ("landmarks", ["batch", 5, 2]))
    keep(Path(path), content)


def make_convolutions(layers: Sequence[tuple[int, int]], side: int) -> tuple[nn.Sequential, int]:
    """Make 3 x 3 convolutions on RGB, each with its batch norm and ReLU.

    Args:
        layers: Channels and stride of each.
        side: Side of the crops in pixels.

    Returns:
        The layers, and how many numbers the last one gives for a crop.
    """
    blocks: list[nn.Module] = []
    inputs = 3
    for outputs, stride in layers:
        convolution = nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False)
        blocks.append(nn.Sequential(convolution, nn.BatchNorm2d(outputs), nn.ReLU()))
        inputs, side = outputs, side // stride
    return nn.Sequential(*blocks), inputs * side * side


def add_convolutions(graph: Graph, x: str, layers: nn.Sequential) -> str:
    """Add the layers of `make_convolutions` to a graph, each batch norm as part of its convolution.

    Returns:
        The name of the result.
    """
    for layer in layers:
        convolution, norm, _ = cast(Any, layer)
        factor = norm.weight / (norm.running_var + norm.eps).sqrt()
        kernel = convolution.weight * factor[:, None, None, None]
        bias = norm.bias - norm.running_mean * factor
        weights = [graph.constant(as_array(value)) for value in (kernel, bias)]
        pads, strides = convolution.padding * 2, convolution.stride
        x = graph.add("Relu", graph.add("Conv", x, *weights, pads=pads, strides=strides))
    return x
