"""What decides what a refiner learns."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from facekeep.lab.train.small import SmallRecipe

__all__ = ["RefinerRecipe"]


@dataclass(frozen=True, slots=True, kw_only=True)
class RefinerRecipe(SmallRecipe):
    """How a refiner is trained; see `SmallRecipe` for what is not told here.

    Attributes:
        data: Annotated photos; with a teacher, upright photos of faces, one a person.
        teacher: MediaPipe's face landmark network, ``.tflite`` or in a wheel, which places the
            landmarks; None where people did.
        batch: Crops in a step.
        lift: How much higher than they were placed the landmarks are taught, in distances of the
            eyes. Annotators put them lower than the detectors whose landmarks embedders were
            aligned by.
        holdout: People kept out to measure with.
    """

    network = "refiner"
    ranges: ClassVar[dict[str, tuple[float, float]]] = {
        "steps": (1, 100_000_000),
        "batch": (2, 65536),
        "lr": (1e-9, 1.0),
        "lift": (-0.5, 0.5),
        "holdout": (1, 1_000_000),
        "seed": (0, 2**31 - 1),
    }

    teacher: Path | None = None
    steps: int = 6000
    batch: int = 64
    lr: float = 3e-3
    lift: float = 0.03
