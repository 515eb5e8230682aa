"""What decides what a detector learns."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from msgspec import Meta

from facekeep.lab.train.small import Rate, SmallRecipe, Steps

__all__ = ["DetectorRecipe"]


class DetectorRecipe(SmallRecipe, frozen=True, kw_only=True):
    """How a detector is trained; see `SmallRecipe` for the other attributes.

    Attributes:
        scenes: A tar of photos that nobody annotated: backgrounds, and faces for the teacher.
        crops: Aligned faces of many people, in which the teacher finds the face again.
        crops_used: How many of these, spread over all.
        teacher: The detector that labels what nobody annotated; a name of the catalog.
        begin: Begin with the weights of this small YuNet, a name of the catalog; None: with
            random ones.
        batch: Mosaics in a step.
        side: Of a mosaic in pixels, a multiple of 32.
    """

    network = "detector"

    scenes: Path | None = None
    crops: Path | None = None
    crops_used: Annotated[int, Meta(ge=1, le=10_000_000)] = 4000
    teacher: str = "yunet"
    begin: str | None = None
    steps: Steps = 4000
    batch: Annotated[int, Meta(ge=1, le=4096)] = 12
    side: Annotated[int, Meta(ge=64, le=1024, multiple_of=32)] = 320
    lr: Rate = 1e-3
