"""A network that measures how far a face is turned in its crop: 64 x 64 pixels, 47,000 numbers."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

from torch import Tensor, nn

from facekeep.lab.nn.graph import Graph, as_array
from facekeep.lab.nn.refiner import SIDE, add_convolutions, make_convolutions
from facekeep.models.files import keep

__all__ = ["FaceOrienter", "export_orienter"]

_LAYERS: Final = ((16, 2), (24, 2), (32, 2), (48, 1), (48, 2))
"""Channels and stride of each convolution."""


class FaceOrienter(nn.Module):
    """The network.

    Attributes:
        layers: A convolution, its batch norm and ReLU each.
        head: From what they see to the answer.
    """

    def __init__(self) -> None:
        super().__init__()
        self.layers, width = make_convolutions(_LAYERS, SIDE)
        self.head = nn.Linear(width, 2)

    def forward(self, crops: Tensor) -> Tensor:
        """Tell the direction from the left eye to the right one, as the upright face has them.

        Args:
            crops: float32 ``(n, 3, 64, 64)`` RGB, ``p / 127.5 - 1``.

        Returns:
            float32 ``(n, 2)``, to the right and down: (1, 0) for an upright face, (-1, 0) for one
            that is upside down. The shorter, the less sure; (0, 0) for what is no face.
        """
        answer: Tensor = self.head(self.layers(crops).flatten(1))
        return answer


def export_orienter(model: FaceOrienter, path: str | os.PathLike[str]) -> None:
    """Write an orienter as an ONNX file, whole or not at all.

    Its input is ``crop``, float32, batch x 3 x 64 x 64, as `FaceOrienter` takes it; its output
    ``direction``, float32, batch x 2. The batch is free.

    Raises:
        StorageFull: There is no room for it.
        ModelError: The file cannot be written.
    """
    graph = Graph()
    x = graph.add("Flatten", add_convolutions(graph, "crop", model.layers), axis=1)
    weights = [graph.constant(as_array(value)) for value in (model.head.weight.T, model.head.bias)]
    graph.rename(graph.add("Gemm", x, *weights), "direction")
    content = graph.serialize(("crop", ["batch", 3, SIDE, SIDE]), ("direction", ["batch", 2]))
    keep(Path(path), content)
