"""What decides what a liveness network learns."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from facekeep.lab.train.small import Batch, Holdout, Rate, SmallRecipe, Steps

__all__ = ["LivenessRecipe"]


class LivenessRecipe(SmallRecipe, frozen=True, kw_only=True):
    """How a liveness network is trained; see `SmallRecipe` for the other attributes.

    Attributes:
        data: Photos of faces, one a person, as `open_source` takes them.
        teacher: The liveness network that says which photos look as a living face does before a
            camera, and that is learned from.
        attacks: How many attacks are made from each of these.
        trust: How much the teacher's answers count beside what is known, 0 to 1.
        batch: Crops in a step.
        holdout: Photos kept out to measure with.
    """

    network = "liveness"

    teacher: str = "minifasnet"
    attacks: Annotated[int, Meta(ge=1, le=100)] = 5
    trust: Annotated[float, Meta(ge=0, le=1)] = 0.3
    steps: Steps = 3000
    batch: Batch = 64
    lr: Rate = 3e-3
    holdout: Holdout = 150
