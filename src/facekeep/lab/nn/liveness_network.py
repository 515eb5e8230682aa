"""A network that tells living faces from pictures of faces: 80 x 80 pixels, 106,000 numbers."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

from torch import Tensor, nn

from facekeep.lab.nn.graph import Graph, as_array
from facekeep.lab.nn.refiner import add_convolutions, make_convolutions
from facekeep.models.files import keep

__all__ = ["SCALE", "SIDE", "FaceLivenessNetwork", "export_liveness_network"]

SIDE: Final = 80
"""Side of the crops in pixels."""

SCALE: Final = 1.8
"""How many times the face's box a crop is."""

_LAYERS: Final = ((16, 2), (32, 2), (48, 1), (64, 2), (96, 2))
"""Channels and stride of each convolution."""


class FaceLivenessNetwork(nn.Module):
    """The network.

    Attributes:
        layers: A convolution, its batch norm and ReLU each.
        head: From what they see on average to the answer.
    """

    def __init__(self) -> None:
        super().__init__()
        self.layers, _ = make_convolutions(_LAYERS, SIDE)
        self.dropout = nn.Dropout(0.2)
        self.head = nn.Linear(_LAYERS[-1][0], 1)

    def forward(self, crops: Tensor) -> Tensor:
        """Tell how likely each crop shows a living face.

        Args:
            crops: float32 ``(n, 3, 80, 80)`` RGB, ``p / 127.5 - 1``.

        Returns:
            float32 ``(n,)``: the logarithm of the odds.
        """
        answer: Tensor = self.head(self.dropout(self.layers(crops).mean((2, 3))))
        return answer[:, 0]


def export_liveness_network(model: FaceLivenessNetwork, path: str | os.PathLike[str]) -> None:
    """Write a liveness network as an ONNX file, whole or not at all.

    Its input is ``crops``, float32, batch x 3 x 80 x 80, as `FaceLivenessNetwork` takes it; its
    output ``live``, float32, batch x 1, 0 to 1. The batch is free.

    Raises:
        StorageFull: There is no room for it.
        ModelError: The file cannot be written.
    """
    graph = Graph()
    x = graph.add("GlobalAveragePool", add_convolutions(graph, "crops", model.layers))
    weights = [graph.constant(as_array(value)) for value in (model.head.weight.T, model.head.bias)]
    x = graph.add("Gemm", graph.add("Flatten", x, axis=1), *weights)
    graph.rename(graph.add("Sigmoid", x), "live")
    content = graph.serialize(("crops", ["batch", 3, SIDE, SIDE]), ("live", ["batch", 1]))
    keep(Path(path), content)
