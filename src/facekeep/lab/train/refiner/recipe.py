"""What decides what a refiner learns."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final

from msgspec import Meta

from facekeep.lab.train.small import Batch, Rate, SmallRecipe, Steps

__all__ = ["LIFT", "RefinerRecipe"]

LIFT: Final = 0.03
"""Annotators put landmarks lower than the detectors whose landmarks embedders were aligned by."""


class RefinerRecipe(SmallRecipe, frozen=True, kw_only=True):
    """How a refiner is trained; see `SmallRecipe` for what is not told here.

    Attributes:
        data: Annotated photos; with a teacher, upright photos of faces, one a person.
        teacher: MediaPipe's face landmark network, ``.tflite`` or in a wheel, which places the
            landmarks; None where people did.
        batch: Crops in a step.
        lift: How much higher than they were placed the landmarks are taught, in distances of the
            eyes; None for `LIFT` where people placed them, 0 where a teacher did.
        holdout: People kept out to measure with.
    """

    network = "refiner"

    teacher: Path | None = None
    steps: Steps = 6000
    batch: Batch = 64
    lr: Rate = 3e-3
    lift: Annotated[float, Meta(ge=-0.5, le=0.5)] | None = None
