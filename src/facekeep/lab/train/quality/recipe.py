"""What decides what a quality network learns."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from facekeep.lab.train.small import SmallRecipe

__all__ = ["QualityRecipe"]


@dataclass(frozen=True, slots=True, kw_only=True)
class QualityRecipe(SmallRecipe):
    """How a quality network is trained; see `SmallRecipe` for what is not told here.

    Attributes:
        data: Clear photos, one a person, in a tar or folder.
        teacher: The embedder that the network belongs to, and learns from.
        crops: How many damaged crops there are to learn from.
        batch: Faces in a step.
        holdout: Photos kept out to measure with.
    """

    network = "quality"
    ranges: ClassVar[dict[str, tuple[float, float]]] = {
        "crops": (1, 10_000_000),
        "steps": (1, 100_000_000),
        "batch": (2, 65536),
        "lr": (1e-9, 1.0),
        "holdout": (1, 1_000_000),
        "seed": (0, 2**31 - 1),
    }

    teacher: str = "sface"
    crops: int = 8000
    steps: int = 4000
    batch: int = 256
    lr: float = 3e-3
    holdout: int = 400
