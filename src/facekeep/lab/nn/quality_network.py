"""A network that tells from an embedding how much of who it is a face shows: two small layers."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

import torch
from torch import Tensor, nn

from facekeep.lab.nn.graph import Graph, as_array
from facekeep.models.files import keep

__all__ = ["FaceQualityNetwork", "export_quality_network"]

_WIDTHS: Final = (64, 32)
_NOISE: Final = 1.0  # added in training, in standard deviations of the evidence
_LEAST: Final = 1e-3  # the smallest standard deviation


class FaceQualityNetwork(nn.Module):
    """The network.

    Args:
        inputs: How many numbers there are about a face; see ``quality_network.evidence``.

    Attributes:
        mean: What is subtracted from each of them; not learned by steps.
        deviation: What each of them is divided by then; likewise.
        layers: The linear layers, with ReLU between them.
    """

    def __init__(self, inputs: int) -> None:
        super().__init__()
        self.mean = nn.Buffer(torch.zeros(inputs))
        self.deviation = nn.Buffer(torch.ones(inputs))
        first, second = _WIDTHS
        self.layers = nn.Sequential(
            nn.Linear(inputs, first),
            nn.ReLU(),
            nn.Linear(first, second),
            nn.ReLU(),
            nn.Linear(second, 1),
        )

    def scale_to(self, evidence: Tensor) -> None:
        """Learn the mean and the deviation of each number from evidence ``(n, inputs)``."""
        self.mean.copy_(evidence.mean(0))
        self.deviation.copy_(evidence.std(0).clamp(min=_LEAST))

    def forward(self, evidence: Tensor) -> Tensor:
        """Tell how much of who it is each face shows.

        Args:
            evidence: float32 ``(n, inputs)``, as ``quality_network.evidence`` gives it.

        Returns:
            float32 ``(n,)``: the logarithm of the odds that enough is left.
        """
        scaled = (evidence - self.mean) / self.deviation
        if self.training:
            scaled = scaled + _NOISE * torch.randn_like(scaled)
        answer: Tensor = self.layers(scaled)
        return answer[:, 0]


def export_quality_network(model: FaceQualityNetwork, path: str | os.PathLike[str]) -> None:
    """Write a quality network as an ONNX file, whole or not at all.

    Its input is ``evidence``, float32, batch x inputs; its output ``recognizability``, float32,
    batch x 1, before the logistic function. The batch is free; the scaling is part of the first
    layer.

    Raises:
        StorageFull: There is no room for it.
        ModelError: The file cannot be written.
    """
    graph, x = Graph(), "evidence"
    for layer in model.layers:
        if not isinstance(layer, nn.Linear):
            x = graph.add("Relu", x)
            continue
        weight: Tensor = layer.weight
        bias: Tensor = layer.bias
        if x == "evidence":
            weight = weight / model.deviation
            bias = bias - weight @ model.mean
        x = graph.add("Gemm", x, *(graph.constant(as_array(each)) for each in (weight.T, bias)))
    graph.rename(x, "recognizability")
    source = ("evidence", ["batch", len(model.mean)])
    keep(Path(path), graph.serialize(source, ("recognizability", ["batch", 1])))
