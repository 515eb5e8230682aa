"""What decides what an orienter learns."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from facekeep.lab.train.small import SmallRecipe

__all__ = ["OrienterRecipe"]


@dataclass(frozen=True, slots=True, kw_only=True)
class OrienterRecipe(SmallRecipe):
    """How an orienter is trained; see `SmallRecipe` for what is not told here.

    Attributes:
        data: Upright photos of faces, one a person, as `open_source` takes them.
        batch: Crops in a step.
        holdout: Photos kept out to measure with.
    """

    network = "orienter"
    ranges: ClassVar[dict[str, tuple[float, float]]] = {
        "steps": (1, 100_000_000),
        "batch": (2, 65536),
        "lr": (1e-9, 1.0),
        "holdout": (1, 1_000_000),
        "seed": (0, 2**31 - 1),
    }

    steps: int = 8000
    batch: int = 64
    lr: float = 3e-3
    holdout: int = 400
