"""How an orienter learns: by the distance between its answers and the right ones."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from facekeep.lab.nn.orienter import FaceOrienter
from facekeep.lab.train.orienter.faces import batch
from facekeep.lab.train.orienter.recipe import OrienterRecipe
from facekeep.lab.train.pixels import normalise
from facekeep.lab.train.steps import Stepper

__all__ = ["ANGLE", "WRONG", "Trainer"]

WRONG: Final = "holdout_wrong"
"""The share of crops of people kept out whose angle is told wrong by more than 45 degrees."""
ANGLE: Final = "holdout_angle"
"""The median error of the angle in degrees."""

_CLIP: Final = 5.0
_WEIGHT_DECAY: Final = 0.05
_TRAINING, _HOLDOUT = 0, 1  # streams of crops
_LOOKS: Final = 4  # crops of each face kept out


class Trainer(Stepper[FaceOrienter]):
    """Trains an orienter on turned crops.

    Args:
        model: The network to train.
        recipe: How.
        patches: What it learns from; see `cut_upright`.
        held_out: What it is measured with: four damaged crops of each, always the same ones.
        folder: Where the run is.
    """

    parts = ()
    measured = (WRONG, ANGLE)

    def __init__(
        self,
        model: FaceOrienter,
        recipe: OrienterRecipe,
        patches: NDArray[np.uint8],
        held_out: NDArray[np.uint8],
        folder: Path,
    ) -> None:
        super().__init__(model, folder, recipe, weight_decay=_WEIGHT_DECAY, clip=_CLIP)
        self._patches, self._seed, self._count = patches, recipe.seed, recipe.batch
        rng, every = np.random.default_rng((recipe.seed, _HOLDOUT)), np.arange(len(held_out))
        crops, answers = batch(held_out, np.tile(every, _LOOKS), rng)
        faces = answers.any(axis=1)
        self._held_out = crops[faces], answers[faces]

    def losses(self, step: int) -> Tensor:
        """See `Stepper`: the mean squared distance."""
        rng = np.random.default_rng((self._seed, _TRAINING, step))
        places = rng.integers(len(self._patches), size=self._count)
        crops, answers = batch(self._patches, places, rng)
        off: Tensor = self.model(_fed(crops)) - torch.from_numpy(answers)
        return off.square().sum(dim=1).mean()[None]

    @torch.no_grad()
    def measure(self) -> dict[str, float]:
        """See `Stepper`."""
        crops, answers = self._held_out
        found = self.averaged(_fed(crops)).numpy()
        there, right = (np.arctan2(each[:, 1], each[:, 0]) for each in (found, answers))
        off = np.degrees(np.abs((there - right + np.pi) % (2 * np.pi) - np.pi))
        return {WRONG: float((off > 45).mean()), ANGLE: float(np.median(off))}


def _fed(crops: NDArray[np.uint8]) -> Tensor:
    return normalise(torch.from_numpy(crops).permute(0, 3, 1, 2))
