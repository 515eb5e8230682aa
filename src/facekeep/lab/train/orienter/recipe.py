"""What decides what an orienter learns."""

from __future__ import annotations

from facekeep.lab.train.small import Batch, Holdout, Rate, SmallRecipe, Steps

__all__ = ["OrienterRecipe"]


class OrienterRecipe(SmallRecipe, frozen=True, kw_only=True):
    """How an orienter is trained; see `SmallRecipe` for the other attributes.

    Attributes:
        data: Upright photos of faces, one a person, as `open_source` takes them.
        batch: Crops in a step.
        holdout: Photos kept out to measure with.
    """

    network = "orienter"

    steps: Steps = 8000
    batch: Batch = 64
    lr: Rate = 3e-3
    holdout: Holdout = 400
