"""What decides what a judge learns."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from facekeep.train.small import SmallRecipe

__all__ = ["JudgeRecipe"]


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgeRecipe(SmallRecipe):
    """How a judge is trained; see `SmallRecipe` for what is not told here.

    Attributes:
        data: Clear photos, one a person, in a tar or folder.
        teacher: The embedder that the judge belongs to, and learns from.
        crops: How many damaged crops there are to learn from.
        batch: Faces in a step.
        holdout: Photos kept out to measure with.
    """

    network = "judge"
    ranges: ClassVar[dict[str, tuple[float, float]]] = {
        "crops": (1, 10_000_000),
        "steps": (1, 100_000_000),
        "batch": (2, 65536),
        "lr": (1e-9, 1.0),
        "holdout": (1, 1_000_000),
        "seed": (0, 2**31 - 1),
    }

    teacher: str = "sface"
    crops: int = 14000
    steps: int = 4000
    batch: int = 256
    lr: float = 3e-3
    holdout: int = 400
