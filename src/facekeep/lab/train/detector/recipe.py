"""What decides what a detector learns."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from facekeep.errors import InputError
from facekeep.lab.train.small import SmallRecipe

__all__ = ["DetectorRecipe"]


@dataclass(frozen=True, slots=True, kw_only=True)
class DetectorRecipe(SmallRecipe):
    """How a detector is trained; see `SmallRecipe` for what is not told here.

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
    ranges: ClassVar[dict[str, tuple[float, float]]] = {
        "steps": (1, 100_000_000),
        "batch": (1, 4096),
        "side": (64, 1024),
        "lr": (1e-9, 1.0),
        "holdout": (1, 1_000_000),
        "seed": (0, 2**31 - 1),
        "crops_used": (1, 10_000_000),
    }

    scenes: Path | None = None
    crops: Path | None = None
    crops_used: int = 4000
    teacher: str = "yunet"
    begin: str | None = None
    steps: int = 4000
    batch: int = 12
    side: int = 320
    lr: float = 1e-3

    def __post_init__(self) -> None:
        SmallRecipe.__post_init__(self)  # slots make a new class, of which super() knows nothing
        if self.side % 32:
            raise InputError(f"side must be a multiple of 32, not {self.side}")
