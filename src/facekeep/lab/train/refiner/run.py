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
from facekeep.lab.train.refiner.faces import (
    CHANGES,
    COVERED,
    HARD_CHANGES,
    FacePatches,
    cut_out,
    cut_taught,
    make_batch,
    measure_eye_distance,
)
from facekeep.lab.train.refiner.recipe import LIFT, RefinerRecipe
from facekeep.lab.train.refiner.teacher import MeshTeacher
from facekeep.lab.train.small_run import SmallTrainer, hold_out, train_small

__all__ = ["ERROR", "RefinerTrainer", "train_refiner"]

ERROR: Final = "holdout_error"
"""The mean distance of the landmarks of people kept out from where they should be, in distances of
their eyes."""

_TRAINING, _HOLDOUT, _WHO = 0, 1, 2  # streams of crops, and of who is kept out


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
        self._changes = (CHANGES, 0.0) if faces.reliefs is None else (HARD_CHANGES, COVERED)
        rng, every = np.random.default_rng((recipe.seed, _HOLDOUT)), np.arange(len(held_out))
        self._held_out = make_batch(held_out, every, rng, Augment.none())

    @classmethod
    def prepare(
        cls, recipe: RefinerRecipe, folder: Path, threads: int, watch: Watch
    ) -> tuple[Self, dict[str, Any]]:
        """See `SmallTrainer`: cut the faces out."""
        faces, held_out = _read_faces(recipe, threads, watch)
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
        crops, landmarks = make_batch(self._faces, places, rng, *self._changes)
        off: Tensor = self.model(normalize_crops(crops)) - torch.from_numpy(landmarks)
        return SIDE * off.abs().mean()[None]

    @torch.no_grad()
    def measure(self) -> dict[str, float | None]:
        """See `Trainer`."""
        crops, landmarks = self._held_out
        found = self.averaged(normalize_crops(crops)).numpy()
        off = np.linalg.norm(found - landmarks, axis=2).mean(axis=1)
        return {ERROR: float((off / measure_eye_distance(landmarks)).mean())}


def _read_faces(
    recipe: RefinerRecipe, threads: int, watch: Watch
) -> tuple[FacePatches, FacePatches]:
    """Cut out the faces to learn from, and those of the people kept out."""
    usual = LIFT if recipe.teacher is None else 0.0
    lift = usual if recipe.lift is None else recipe.lift
    if recipe.teacher is None:
        annotated = open_annotated(recipe.data)
        parts = split_by_person(annotated, holdout=recipe.holdout, seed=recipe.seed)
        learned, kept_out = (cut_out(part, lift=lift, watch=watch) for part in parts)
        return learned, kept_out
    with MeshTeacher(recipe.teacher) as teacher:
        faces = cut_taught(recipe.data, teacher, lift=lift, threads=threads, watch=watch)
    rng = np.random.default_rng((recipe.seed, _WHO))
    learned, kept_out = map(faces.select, hold_out(len(faces), recipe.holdout, rng))
    return learned, kept_out


train_refiner = partial(train_small, RefinerTrainer)
"""Train a landmark refiner; see `train_small`."""
