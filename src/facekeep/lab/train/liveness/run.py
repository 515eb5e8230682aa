"""The training of a liveness network: how it learns, and its run, ``facekeep train liveness``."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any, Final, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

from facekeep.lab.datasets.augment import Augment, augment
from facekeep.lab.nn.liveness_network import (
    SCALE,
    SIDE,
    FaceLivenessNetwork,
    export_liveness_network,
)
from facekeep.lab.train.liveness.attacks import KEPT_OUT, SPECIES
from facekeep.lab.train.liveness.faces import LivenessCrops, choose_portraits, make_crops
from facekeep.lab.train.liveness.recipe import LivenessRecipe
from facekeep.lab.train.loop import Watch
from facekeep.lab.train.pixels import normalize_crops
from facekeep.lab.train.small_run import SmallTrainer, hold_out, train_small
from facekeep.liveness.passive import LivenessNetwork
from facekeep.runtime import RuntimeOptions

__all__ = ["KNOWN", "UNKNOWN", "LivenessTrainer", "train_liveness"]

KNOWN: Final = "holdout_auc"
"""How often a living face scores above an attack of a known species, of people kept out."""
UNKNOWN: Final = "holdout_auc_kept_out"
"""The same for the worst of the species that were kept out of the training."""

_KNOWN: Final = tuple(each for each in SPECIES if each not in KEPT_OUT)

CHANGES: Final = Augment(
    affine=0.0,
    downscale=0.2,
    side=(0.4, 0.9),
    blur=0.1,
    color=0.5,
    hue=(-15.0, 15.0),
    saturation=(0.5, 1.5),
    gray=0.05,
    light=0.6,
    brightness=40.0,
    contrast=(0.6, 1.3),
    jpeg=0.15,
    quality=(40.0, 90.0),
    erase=0.1,
    erased=(0.02, 0.15),
)
"""What is done to living faces and attacks alike."""


class LivenessTrainer(SmallTrainer[FaceLivenessNetwork, LivenessRecipe]):
    """Trains a liveness network on what each crop is, and on what the teacher says of it.

    Args:
        model: The network to train.
        folder: Where the run is.
        recipe: How.
        faces: What it learns from.
        held_out: What it is measured with.
    """

    measured = (KNOWN, UNKNOWN)
    panels = {  # noqa: RUF012 - never changed
        "loss": {"loss": "training"},
        "living faces above attacks": {KNOWN: "known species", UNKNOWN: "species kept out"},
        "learning rate": {"lr": "rate"},
    }
    seen = "crops_seen"
    weight_decay = 0.05
    export = staticmethod(export_liveness_network)

    def __init__(
        self,
        model: FaceLivenessNetwork,
        folder: Path,
        recipe: LivenessRecipe,
        faces: LivenessCrops,
        held_out: LivenessCrops,
    ) -> None:
        super().__init__(model, folder, recipe)
        self._faces, self._held_out = faces, held_out
        self._wanted = (1 - recipe.trust) * faces.live + recipe.trust * faces.taught
        self._sides = [np.flatnonzero(faces.live), np.flatnonzero(~faces.live)]

    @classmethod
    def prepare(
        cls, recipe: LivenessRecipe, folder: Path, threads: int, watch: Watch
    ) -> tuple[Self, dict[str, Any]]:
        """See `SmallTrainer`: choose the portraits, and make attacks of them."""
        with LivenessNetwork(recipe.teacher, options=RuntimeOptions(threads=threads)) as teacher:
            portraits = choose_portraits(recipe.data, teacher, threads=threads, watch=watch)
            rng = np.random.default_rng(recipe.seed)
            learned, held_out = (
                [portraits[place] for place in places]
                for places in hold_out(len(portraits), recipe.holdout, rng)
            )
            faces = make_crops(learned, _KNOWN, recipe.attacks, teacher, rng, watch)
            measured = make_crops(held_out, SPECIES, len(SPECIES), teacher, rng, watch)
        trainer = cls(FaceLivenessNetwork(), folder, recipe, faces, measured)
        return trainer, {"faces": len(learned), "held_out": len(held_out)}

    @classmethod
    def describe(cls, recipe: LivenessRecipe) -> dict[str, Any]:
        """See `SmallTrainer`."""
        return {
            "task": "liveness",
            "architecture": "facekeep-liveness",
            "summary": f"liveness network trained with facekeep, taught by {recipe.teacher}",
            "input_size": SIDE,
            "crop_scales": (SCALE,),
        }

    def losses(self, step: int) -> Tensor:
        """See `SmallTrainer`: the cross entropy, of as many living faces as attacks."""
        torch.manual_seed(self.recipe.seed + step)  # of the dropout
        rng = np.random.default_rng((self.recipe.seed, step))
        half = self.recipe.batch // 2
        places = np.concatenate([rng.choice(each, half) for each in self._sides])
        crops = np.stack([augment(self._faces.pixels[place], rng, CHANGES) for place in places])
        wanted = torch.from_numpy(self._wanted[places].astype(np.float32))
        return binary_cross_entropy_with_logits(self.model(normalize_crops(crops)), wanted)[None]

    @torch.no_grad()
    def measure(self) -> dict[str, float | None]:
        """See `Trainer`."""
        scores = self._scores()
        known = scores[np.isin(self._held_out.species, _KNOWN)]
        live = scores[self._held_out.live]
        kept_out = [scores[self._held_out.species == each] for each in KEPT_OUT]
        return {KNOWN: _above(live, known), UNKNOWN: min(_above(live, each) for each in kept_out)}

    def summarize(self) -> dict[str, Any]:
        """See `SmallTrainer`: and how well each species is told from living faces, worst first."""
        scores, live = self._scores(), self._held_out.live
        rows = []
        for species in SPECIES:
            of = self._held_out.species == species
            rows.append(
                {
                    "species": species,
                    "kept_out": species in KEPT_OUT,
                    "crops": int(of.sum()),
                    "auc": _above(scores[live], scores[of]),
                }
            )
        return self.measure() | {"species": sorted(rows, key=lambda row: row["auc"])}

    @torch.no_grad()
    def _scores(self) -> NDArray[np.float32]:
        found: NDArray[np.float32] = self.averaged(normalize_crops(self._held_out.pixels)).numpy()
        return found


def _above(live: NDArray[np.floating], attacks: NDArray[np.floating]) -> float:
    """Return how often a living face scores above an attack, ties counted half (the AUC)."""
    places = np.searchsorted(np.sort(attacks), live, "left")
    ties = np.searchsorted(np.sort(attacks), live, "right")
    return float((places + ties).mean() / 2 / max(len(attacks), 1))


train_liveness = partial(train_small, LivenessTrainer)
"""Train a liveness network; see `train_small`."""
