"""The training of a landmark refiner: how it learns, and its run, ``facekeep train refiner``."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any, Final, Self

import numpy as np
import torch
from torch import Tensor

from facekeep.lab.datasets.annotated import open_annotated, split_by_person
from facekeep.lab.datasets.augment import Augment
from facekeep.lab.nn.refiner import SIDE, LandmarkRefiner, export_refiner
from facekeep.lab.train.loop import Watch
from facekeep.lab.train.pixels import normalize_crops
from facekeep.lab.train.refiner.faces import FacePatches, cut_out, make_batch, measure_eye_distance
from facekeep.lab.train.refiner.recipe import RefinerRecipe
from facekeep.lab.train.small_run import SmallTrainer, train_small

__all__ = ["ERROR", "RefinerTrainer", "train_refiner"]

ERROR: Final = "holdout_error"
"""The mean distance of the landmarks of people kept out from where they should be, in distances of
their eyes."""

_TRAINING, _HOLDOUT = 0, 1  # streams of crops


class RefinerTrainer(SmallTrainer[LandmarkRefiner, RefinerRecipe]):
    """Trains a refiner on rough crops.

    Args:
        model: The network to train.
        folder: Where the run is.
        recipe: How.
        faces: What it learns from.
        held_out: What it is measured with: one rough crop of each face, always the same ones.
    """

    measured = (ERROR,)
    panels = {  # noqa: RUF012 - never changed
        "loss": {"loss": "training"},
        "error, eye distances": {ERROR: "people kept out"},
        "learning rate": {"lr": "rate"},
    }
    seen = "crops_seen"
    weight_decay = 0.05
    export = staticmethod(export_refiner)

    def __init__(
        self,
        model: LandmarkRefiner,
        folder: Path,
        recipe: RefinerRecipe,
        faces: FacePatches,
        held_out: FacePatches,
    ) -> None:
        super().__init__(model, folder, recipe)
        self._faces = faces
        rng, every = np.random.default_rng((recipe.seed, _HOLDOUT)), np.arange(len(held_out))
        self._held_out = make_batch(held_out, every, rng, Augment.none())

    @classmethod
    def prepare(
        cls, recipe: RefinerRecipe, folder: Path, threads: int, watch: Watch
    ) -> tuple[Self, dict[str, Any]]:
        """See `SmallTrainer`: cut the annotated faces out."""
        parts = split_by_person(
            open_annotated(recipe.data), holdout=recipe.holdout, seed=recipe.seed
        )
        faces, held_out = (cut_out(part, lift=recipe.lift, watch=watch) for part in parts)
        trainer = cls(LandmarkRefiner(), folder, recipe, faces, held_out)
        return trainer, {"faces": len(faces), "held_out": len(held_out)}

    @classmethod
    def describe(cls, recipe: RefinerRecipe) -> dict[str, Any]:
        """See `SmallTrainer`."""
        return {
            "task": "refine",
            "architecture": "facekeep-refiner",
            "summary": "landmark refiner trained with facekeep",
            "input_size": SIDE,
        }

    def losses(self, step: int) -> Tensor:
        """See `SmallTrainer`: the mean distance along each axis in pixels; all count alike."""
        rng = np.random.default_rng((self.recipe.seed, _TRAINING, step))
        places = rng.integers(len(self._faces), size=self.recipe.batch)
        crops, landmarks = make_batch(self._faces, places, rng)
        off: Tensor = self.model(normalize_crops(crops)) - torch.from_numpy(landmarks)
        return SIDE * off.abs().mean()[None]

    @torch.no_grad()
    def measure(self) -> dict[str, float | None]:
        """See `Trainer`."""
        crops, landmarks = self._held_out
        found = self.averaged(normalize_crops(crops)).numpy()
        off = np.linalg.norm(found - landmarks, axis=2).mean(axis=1)
        return {ERROR: float((off / measure_eye_distance(landmarks)).mean())}


train_refiner = partial(train_small, RefinerTrainer)
"""Train a landmark refiner; see `train_small`."""
