"""Networks with random weights whose every part matters to the result."""

from __future__ import annotations

import torch
from torch import Tensor

from facekeep.lab.nn import EdgeFace, create_model


def lively(name: str = "edgeface-xxs", *, seed: int = 0, **options: object) -> EdgeFace:
    """A network whose weights, biases, scales and temperatures are all far from their start."""
    torch.manual_seed(seed)
    model = create_model(name, layer_scale=0.5, **options)
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(torch.randn_like(weight), alpha=0.05)
    return model


def crops(count: int, size: int = 112, seed: int = 1) -> Tensor:
    """Random crops in the range of real ones."""
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(count, 3, size, size, generator=generator) * 2 - 1
