"""How a refiner learns: the distance between where it puts landmarks and where they are."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from facekeep.lab.datasets.augment import Augment
from facekeep.lab.nn.refiner import SIDE, LandmarkRefiner
from facekeep.lab.train.pixels import normalise
from facekeep.lab.train.refiner.faces import Faces, batch, eye_distance
from facekeep.lab.train.refiner.recipe import RefinerRecipe
from facekeep.lab.train.steps import Stepper

__all__ = ["ERROR", "Trainer"]

ERROR: Final = "holdout_error"
"""The mean distance of the landmarks of people kept out from where they should be, in distances of
their eyes."""

_CLIP: Final = 5.0
_WEIGHT_DECAY: Final = 0.05
_TRAINING, _HOLDOUT = 0, 1  # streams of crops


class Trainer(Stepper[LandmarkRefiner]):
    """Trains a refiner on rough crops.

    Args:
        model: The network to train.
        recipe: How.
        faces: What it learns from.
        held_out: What it is measured with: one rough crop of each face, always the same ones.
        folder: Where the run is.
    """

    parts = ()
    measured = (ERROR,)

    def __init__(
        self,
        model: LandmarkRefiner,
        recipe: RefinerRecipe,
        faces: Faces,
        held_out: Faces,
        folder: Path,
    ) -> None:
        super().__init__(model, folder, recipe, weight_decay=_WEIGHT_DECAY, clip=_CLIP)
        self._faces, self._seed, self._count = faces, recipe.seed, recipe.batch
        rng, every = np.random.default_rng((recipe.seed, _HOLDOUT)), np.arange(len(held_out))
        self._held_out = batch(held_out, every, rng, Augment.none())

    def losses(self, step: int) -> Tensor:
        """See `Stepper`: the mean distance along each axis in pixels, to which all count alike."""
        rng = np.random.default_rng((self._seed, _TRAINING, step))
        places = rng.integers(len(self._faces), size=self._count)
        crops, landmarks = batch(self._faces, places, rng)
        off: Tensor = self.model(_fed(crops)) - torch.from_numpy(landmarks)
        return SIDE * off.abs().mean()[None]

    @torch.no_grad()
    def measure(self) -> dict[str, float]:
        """See `Stepper`."""
        crops, landmarks = self._held_out
        found = self.averaged(_fed(crops)).numpy()
        off = np.linalg.norm(found - landmarks, axis=2).mean(axis=1)
        return {ERROR: float((off / eye_distance(landmarks)).mean())}


def _fed(crops: NDArray[np.uint8]) -> Tensor:
    return normalise(torch.from_numpy(crops).permute(0, 3, 1, 2))
