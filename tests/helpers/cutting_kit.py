"""Small networks in which every part matters, and crops whose pixels depend on each other."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from facekeep.lab.nn import EdgeFace, create_model

SIDE = 32


def lively(name: str = "edgeface-xxs", *, seed: int = 0, **options: object) -> EdgeFace:
    torch.manual_seed(seed)
    model = create_model(name, input_size=SIDE, layer_scale=0.5, **options).eval()
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(torch.randn_like(weight), alpha=0.05)
    return model


def smooth_crops(count: int, seed: int = 1) -> Tensor:
    """Crops that are made of few patterns, as faces are."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(count, 3, 5, 5, generator=generator) * 2 - 1
    return functional.interpolate(coarse, (SIDE, SIDE), mode="bicubic").clamp(-1, 1)


@torch.no_grad()
def likeness(model: EdgeFace, other: EdgeFace, seed: int = 2) -> float:
    """The mean cosine of what two networks make of crops that neither was cut by."""
    crops = smooth_crops(64, seed)
    return float(functional.cosine_similarity(model(crops), other(crops)).mean())
