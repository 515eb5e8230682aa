"""The training of a face detector: how it learns, and its run, ``facekeep train detector``."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any, Final, Self

import numpy as np
import torch
from msgspec import structs
from torch import Tensor

from facekeep.lab.datasets.annotated import AnnotatedPhotos, open_annotated, split_by_person
from facekeep.lab.nn.detector import FaceDetector, begin_evenly, load_yunet
from facekeep.lab.nn.detector_export import export_detector
from facekeep.lab.train.detector.labels import (
    UNSURE,
    FaceLabels,
    label_annotated,
    label_photos,
)
from facekeep.lab.train.detector.loss import PARTS, detection_loss
from facekeep.lab.train.detector.mosaic import MosaicComposer
from facekeep.lab.train.detector.recipe import DetectorRecipe
from facekeep.lab.train.loop import Watch
from facekeep.lab.train.small_run import SmallTrainer, train_small
from facekeep.models import entry, weights
from facekeep.pipeline.detect import Detector
from facekeep.runtime import RuntimeOptions

__all__ = ["HOLDOUT", "DetectorTrainer", "train_detector"]

HOLDOUT: Final = "holdout_"
"""What the losses on people kept out begin with in the log."""

_HELD_OUT: Final = 48  # mosaics to measure with
_TRAINING, _HOLDOUT = 0, 1  # streams of mosaics
_SHARES: Final = {"data": 0.6, "scenes": 0.2, "crops": 0.2}
"""How much of the photos on mosaics comes from each set."""


class DetectorTrainer(SmallTrainer[FaceDetector, DetectorRecipe]):
    """Trains a detector on mosaics composed anew for every step.

    Args:
        model: The network to train.
        folder: Where the run is.
        recipe: How.
        mosaics: What it learns from.
        held_out: What it is measured with.
    """

    parts = PARTS
    measured = tuple(HOLDOUT + name for name in ("loss", *PARTS))
    panels = {  # noqa: RUF012 - never changed
        "loss": {"loss": "training", f"{HOLDOUT}loss": "people kept out"},
        **{
            part.replace("_", ": "): {part: "training", f"{HOLDOUT}{part}": "people kept out"}
            for part in PARTS
        },
        "learning rate": {"lr": "rate"},
    }
    seen = "canvases_seen"
    weight_decay = 1e-4
    clip = 10.0
    export = staticmethod(export_detector)

    def __init__(
        self,
        model: FaceDetector,
        folder: Path,
        recipe: DetectorRecipe,
        mosaics: MosaicComposer,
        held_out: MosaicComposer,
    ) -> None:
        model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        super().__init__(model, folder, recipe)
        self._mosaics, self._held_out = mosaics, held_out

    @classmethod
    def prepare(
        cls, recipe: DetectorRecipe, folder: Path, threads: int, watch: Watch
    ) -> tuple[Self, dict[str, Any]]:
        """See `SmallTrainer`: label the photos."""
        model = None if recipe.begin is None else _load_start(recipe.begin)
        photos, held_out = split_by_person(
            open_annotated(recipe.data), holdout=recipe.holdout, seed=recipe.seed
        )
        with Detector(
            recipe.teacher, score=UNSURE, options=RuntimeOptions(threads=threads)
        ) as teacher:
            mosaics, counts = _prepare_mosaics(recipe, photos, teacher, watch)
            only = structs.replace(recipe, scenes=None, crops=None)
            measured, _ = _prepare_mosaics(only, held_out, teacher, watch)
        if model is None:
            model = FaceDetector()
            begin_evenly(model, _compose(mosaics, 0, recipe)[0])
        counts["held_out"] = len(held_out)
        return cls(model, folder, recipe, mosaics, measured), counts

    @classmethod
    def describe(cls, recipe: DetectorRecipe) -> dict[str, Any]:
        """See `SmallTrainer`."""
        begun = "" if recipe.begin is None else f", begun with the weights of {recipe.begin}"
        return {
            "task": "detect",
            "architecture": "facekeep-detector",
            "summary": f"face detector trained with facekeep{begun}",
            "weights_license": "your own, as far as the photos, the teacher and the weights begun"
            " with allow",
            "mean": (0.0,) * 3,
            "scale": (1.0,) * 3,
        }

    def losses(self, step: int) -> Tensor:
        """See `SmallTrainer`: as `detection_loss`."""
        images, faces = _compose(self._mosaics, step * self.recipe.batch, self.recipe)
        pixels = images.contiguous(memory_format=torch.channels_last)
        return detection_loss(self.model(pixels), faces, self.recipe.side)

    @torch.no_grad()
    def measure(self) -> dict[str, float | None]:
        """See `Trainer`: the losses on mosaics of the people kept out."""
        recipe, found = self.recipe, []
        for first in range(0, _HELD_OUT, recipe.batch):
            images, faces = _compose(self._held_out, first, recipe, stream=_HOLDOUT)
            found.append(detection_loss(self.averaged(images), faces, recipe.side).tolist())
        means = np.mean(found, axis=0).tolist()
        return dict(zip(self.measured, [sum(means), *means], strict=True))

    def summarize(self) -> dict[str, Any]:
        """See `SmallTrainer`."""
        losses = {key.removeprefix(HOLDOUT): value for key, value in self.measure().items()}
        return {"holdout_loss": losses}


train_detector = partial(train_small, DetectorTrainer)
"""Train a face detector; see `train_small`."""


def _compose(
    mosaics: MosaicComposer, first: int, recipe: DetectorRecipe, *, stream: int = _TRAINING
) -> tuple[Tensor, list[FaceLabels]]:
    """Compose the mosaics of a step, ``first`` and on; the same ones whenever they are asked for.

    Returns:
        uint8 ``(batch, 3, S, S)`` RGB, and the faces of each.
    """
    numbers = range(first, first + recipe.batch)
    drawn = (np.random.default_rng((recipe.seed, stream, number)) for number in numbers)
    images, faces = zip(*(mosaics.compose(rng) for rng in drawn), strict=True)
    return torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2), list(faces)


def _prepare_mosaics(
    recipe: DetectorRecipe, photos: AnnotatedPhotos, teacher: Detector, watch: Watch
) -> tuple[MosaicComposer, dict[str, int]]:
    """Label all photos; also returns how many there are of each set."""
    sets = {"data": label_annotated(photos, teacher, watch)}
    if recipe.scenes is not None:
        sets["scenes"] = label_photos(recipe.scenes, teacher, watch)
    if recipe.crops is not None:
        crops = label_photos(recipe.crops, teacher, watch, most=recipe.crops_used)
        sets["crops"] = crops.with_faces()
    filled = {name: photos for name, photos in sets.items() if len(photos)}
    total = sum(_SHARES[name] for name in filled)
    shares = [_SHARES[name] / total for name in filled]
    backdrops = sets["scenes"].without_faces() if "scenes" in sets else None
    counts = {name: len(photos) for name, photos in sets.items()}
    return MosaicComposer(list(filled.values()), shares, backdrops, recipe.side), counts


def _load_start(name: str) -> FaceDetector:
    """Make the network with YuNet's weights."""
    model = load_yunet(weights(entry(name)))
    model.keep_fine()  # edges and textures it knows already; a step takes half the time
    return model
