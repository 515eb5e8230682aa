"""How a quality network learns: to say of each damaged face whether enough of it is left."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

from facekeep.lab.nn.quality_network import FaceQualityNetwork
from facekeep.lab.train.quality.faces import Damaged
from facekeep.lab.train.quality.recipe import QualityRecipe
from facekeep.lab.train.steps import Stepper

__all__ = ["ERROR", "Trainer"]

ERROR: Final = "holdout_error"
"""The mean distance of the answers from the right ones, on faces of people kept out."""

_CLIP: Final = 5.0
_WEIGHT_DECAY: Final = 0.01


class Trainer(Stepper[FaceQualityNetwork]):
    """Trains a quality network on damaged faces.

    Args:
        model: The network to train.
        recipe: How.
        lessons: What it learns from.
        held_out: What it is measured with.
        folder: Where the run is.
    """

    parts = ()
    measured = (ERROR,)

    def __init__(
        self,
        model: FaceQualityNetwork,
        recipe: QualityRecipe,
        lessons: Damaged,
        held_out: Damaged,
        folder: Path,
    ) -> None:
        model.scale_to(torch.from_numpy(lessons.evidence))
        super().__init__(model, folder, recipe, weight_decay=_WEIGHT_DECAY, clip=_CLIP)
        self._lessons, self._held_out = lessons, held_out
        self._seed, self._count = recipe.seed, recipe.batch

    def losses(self, step: int) -> Tensor:
        """See `Stepper`: the cross entropy."""
        torch.manual_seed(self._seed + step)  # of the noise
        rng = np.random.default_rng((self._seed, step))
        places = rng.integers(len(self._lessons.recognizability), size=self._count)
        found = self.model(torch.from_numpy(self._lessons.evidence[places]))
        right = torch.from_numpy(self._lessons.recognizability[places])
        return binary_cross_entropy_with_logits(found, right)[None]

    @torch.no_grad()
    def measure(self) -> dict[str, float]:
        """See `Stepper`."""
        found = self.averaged(torch.from_numpy(self._held_out.evidence)).sigmoid().numpy()
        return {ERROR: float(np.abs(found - self._held_out.recognizability).mean())}
