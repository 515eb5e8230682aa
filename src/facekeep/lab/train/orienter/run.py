"""The training of an orienter: how it learns, and its run, ``facekeep train orienter``."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any, Final, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from facekeep.lab.nn.orienter import FaceOrienter, export_orienter
from facekeep.lab.nn.refiner import SIDE
from facekeep.lab.train.loop import Watch
from facekeep.lab.train.orienter.faces import cut_upright, make_batch
from facekeep.lab.train.orienter.recipe import OrienterRecipe
from facekeep.lab.train.pixels import normalize_crops
from facekeep.lab.train.small_run import SmallTrainer, hold_out, train_small

__all__ = ["ANGLE", "WRONG", "OrienterTrainer", "train_orienter"]

WRONG: Final = "holdout_wrong"
"""The share of crops of people kept out whose angle is off by more than 45 degrees."""
ANGLE: Final = "holdout_angle"
"""The median error of the angle in degrees."""

_TRAINING, _HOLDOUT = 0, 1  # streams of crops
_HELD_OUT_CROPS: Final = 4  # of each face kept out


class OrienterTrainer(SmallTrainer[FaceOrienter, OrienterRecipe]):
    """Trains an orienter on turned crops, by the distance of its answers from the right ones.

    Args:
        model: The network to train.
        folder: Where the run is.
        recipe: How.
        patches: What it learns from; see `cut_upright`.
        held_out: What it is measured with: four damaged crops of each, always the same ones.
    """

    measured = (WRONG, ANGLE)
    panels = {  # noqa: RUF012 - never changed
        "loss": {"loss": "training"},
        "wrong by more than 45 degrees": {WRONG: "people kept out"},
        "error, degrees": {ANGLE: "people kept out"},
        "learning rate": {"lr": "rate"},
    }
    seen = "crops_seen"
    weight_decay = 0.05
    export = staticmethod(export_orienter)

    def __init__(
        self,
        model: FaceOrienter,
        folder: Path,
        recipe: OrienterRecipe,
        patches: NDArray[np.uint8],
        held_out: NDArray[np.uint8],
    ) -> None:
        super().__init__(model, folder, recipe)
        self._patches = patches
        rng, every = np.random.default_rng((recipe.seed, _HOLDOUT)), np.arange(len(held_out))
        crops, answers = make_batch(held_out, np.tile(every, _HELD_OUT_CROPS), rng)
        faces = answers.any(axis=1)
        self._held_out = crops[faces], answers[faces]

    @classmethod
    def prepare(
        cls, recipe: OrienterRecipe, folder: Path, threads: int, watch: Watch
    ) -> tuple[Self, dict[str, Any]]:
        """See `SmallTrainer`: cut the upright faces out."""
        patches = cut_upright(recipe.data, threads=threads, watch=watch)
        rng = np.random.default_rng(recipe.seed)
        learned, held_out = hold_out(len(patches), recipe.holdout, rng)
        trainer = cls(FaceOrienter(), folder, recipe, patches[learned], patches[held_out])
        return trainer, {"faces": len(learned), "held_out": len(held_out)}

    @classmethod
    def describe(cls, recipe: OrienterRecipe) -> dict[str, Any]:
        """See `SmallTrainer`."""
        return {
            "task": "orient",
            "architecture": "facekeep-orienter",
            "summary": "orienter of faces trained with facekeep",
            "input_size": SIDE,
        }

    def losses(self, step: int) -> Tensor:
        """See `SmallTrainer`: the mean squared distance."""
        rng = np.random.default_rng((self.recipe.seed, _TRAINING, step))
        places = rng.integers(len(self._patches), size=self.recipe.batch)
        crops, answers = make_batch(self._patches, places, rng)
        off: Tensor = self.model(normalize_crops(crops)) - torch.from_numpy(answers)
        return off.square().sum(dim=1).mean()[None]

    @torch.no_grad()
    def measure(self) -> dict[str, float | None]:
        """See `Trainer`."""
        crops, answers = self._held_out
        found = self.averaged(normalize_crops(crops)).numpy()
        there, right = (np.arctan2(each[:, 1], each[:, 0]) for each in (found, answers))
        off = np.degrees(np.abs((there - right + np.pi) % (2 * np.pi) - np.pi))
        return {WRONG: float((off > 45).mean()), ANGLE: float(np.median(off))}


train_orienter = partial(train_small, OrienterTrainer)
"""Train an orienter; see `train_small`."""
