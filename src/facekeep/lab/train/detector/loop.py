"""How a detector learns: from canvases composed anew for every step."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import numpy as np
import torch
from torch import Tensor

from facekeep.lab.nn.detector import FaceDetector
from facekeep.lab.train.detector.album import Faces
from facekeep.lab.train.detector.canvas import Composer
from facekeep.lab.train.detector.loss import PARTS, detection_loss
from facekeep.lab.train.detector.recipe import DetectorRecipe
from facekeep.lab.train.steps import Stepper

__all__ = ["HOLDOUT", "Trainer", "batch"]

HOLDOUT: Final = "holdout_"
"""What the losses on people kept out begin with in the log."""

_HELD_OUT: Final = 48  # canvases to measure with
_TRAINING, _HOLDOUT = 0, 1  # streams of canvases
_CLIP: Final = 10.0
_WEIGHT_DECAY: Final = 1e-4


def batch(
    composer: Composer, first: int, count: int, *, seed: int, stream: int = _TRAINING
) -> tuple[Tensor, list[Faces]]:
    """Compose canvases ``first`` and on, the same ones whenever they are asked for.

    Returns:
        uint8 ``(count, 3, S, S)`` RGB, and the faces of each.
    """
    drawn = (np.random.default_rng((seed, stream, first + each)) for each in range(count))
    images, faces = zip(*(composer.compose(rng) for rng in drawn), strict=True)
    return torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2), list(faces)


class Trainer(Stepper[FaceDetector]):
    """Trains a detector on canvases.

    Args:
        model: The network to train.
        recipe: How.
        canvases: What it learns from.
        held_out: What it is measured with.
        folder: Where the run is.
    """

    parts = PARTS
    measured = tuple(HOLDOUT + name for name in ("loss", *PARTS))

    def __init__(
        self,
        model: FaceDetector,
        recipe: DetectorRecipe,
        canvases: Composer,
        held_out: Composer,
        folder: Path,
    ) -> None:
        model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        super().__init__(model, folder, recipe, weight_decay=_WEIGHT_DECAY, clip=_CLIP)
        self._recipe, self._canvases, self._held_out = recipe, canvases, held_out

    def losses(self, step: int) -> Tensor:
        """See `Stepper`: as `detection_loss`."""
        recipe = self._recipe
        images, faces = batch(self._canvases, step * recipe.batch, recipe.batch, seed=recipe.seed)
        pixels = images.contiguous(memory_format=torch.channels_last)
        return detection_loss(self.model(pixels), faces, recipe.side)

    @torch.no_grad()
    def measure(self) -> dict[str, float]:
        """See `Stepper`: the losses on canvases of the people kept out."""
        recipe, found = self._recipe, []
        for first in range(0, _HELD_OUT, recipe.batch):
            images, faces = batch(
                self._held_out, first, recipe.batch, seed=recipe.seed, stream=_HOLDOUT
            )
            found.append(detection_loss(self.averaged(images), faces, recipe.side).tolist())
        means = np.mean(found, axis=0).tolist()
        return dict(zip(self.measured, [sum(means), *means], strict=True))
