"""What decides what a quality network learns."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from facekeep.lab.train.small import Batch, Holdout, Rate, SmallRecipe, Steps

__all__ = ["QualityRecipe"]


class QualityRecipe(SmallRecipe, frozen=True, kw_only=True):
    """How a quality network is trained; see `SmallRecipe` for what is not told here.

    Attributes:
        data: Clear photos, one a person, in a tar or folder.
        teacher: The embedder that the network belongs to, and learns from.
        crops: How many damaged crops there are to learn from.
        batch: Faces in a step.
        holdout: Photos kept out to measure with.
    """

    network = "quality"

    teacher: str = "sface"
    crops: Annotated[int, Meta(ge=1, le=10_000_000)] = 8000
    steps: Steps = 4000
    batch: Batch = 256
    lr: Rate = 3e-3
    holdout: Holdout = 400
