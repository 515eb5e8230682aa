"""The training of a quality network: how it learns, and its run, ``facekeep train quality``."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any, Final, Self

import numpy as np
import torch
from msgspec.structs import replace
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

from facekeep.lab.nn.quality_network import FaceQualityNetwork, export_quality_network
from facekeep.lab.train.loop import Watch
from facekeep.lab.train.quality.faces import Damaged, align_main, damaged
from facekeep.lab.train.quality.recipe import QualityRecipe
from facekeep.lab.train.small_run import SmallTrainer, hold_out, train_small
from facekeep.models import entry
from facekeep.models.entry_file import write_entry
from facekeep.pipeline.embed import Embedder
from facekeep.runtime import RuntimeOptions

__all__ = ["ERROR", "QualityTrainer", "train_quality"]

ERROR: Final = "holdout_error"
"""The mean distance of the answers from the right ones, on faces of people kept out."""

_HELD_OUT_CROPS: Final = 3  # damaged crops of each photo kept out


class QualityTrainer(SmallTrainer[FaceQualityNetwork, QualityRecipe]):
    """Trains a quality network to say of each damaged face whether enough of it is left.

    Args:
        model: The network to train.
        folder: Where the run is.
        recipe: How.
        faces: What it learns from.
        held_out: What it is measured with.
    """

    measured = (ERROR,)
    panels = {  # noqa: RUF012 - never changed
        "loss": {"loss": "training"},
        "error": {ERROR: "people kept out"},
        "learning rate": {"lr": "rate"},
    }
    seen = "faces_seen"
    weight_decay = 0.1
    export = staticmethod(export_quality_network)

    def __init__(
        self,
        model: FaceQualityNetwork,
        folder: Path,
        recipe: QualityRecipe,
        faces: Damaged,
        held_out: Damaged,
    ) -> None:
        model.scale_to(torch.from_numpy(faces.evidence))
        super().__init__(model, folder, recipe)
        self._faces, self._held_out = faces, held_out

    @classmethod
    def prepare(
        cls, recipe: QualityRecipe, folder: Path, threads: int, watch: Watch
    ) -> tuple[Self, dict[str, Any]]:
        """See `SmallTrainer`: damage the faces, and embed what is left of them."""
        with Embedder(recipe.teacher, options=RuntimeOptions(threads=threads)) as embedder:
            clear = align_main(recipe.data, embedder.size, threads=threads, watch=watch)
            rng = np.random.default_rng(recipe.seed)
            learned, kept_out = hold_out(len(clear), recipe.holdout, rng)
            faces = damaged(clear[learned], recipe.crops, embedder, rng, watch)
            crops = _HELD_OUT_CROPS * recipe.holdout
            held_out = damaged(clear[kept_out], crops, embedder, rng, watch)
            network = FaceQualityNetwork(faces.evidence.shape[1])
        trainer = cls(network, folder, recipe, faces, held_out)
        return trainer, {"faces": len(learned), "held_out": len(kept_out)}

    @classmethod
    def describe(cls, recipe: QualityRecipe) -> dict[str, Any]:
        """See `SmallTrainer`."""
        return {
            "task": "quality",
            "architecture": "facekeep-quality",
            "summary": f"quality network of {recipe.teacher}, trained with facekeep",
            "mean": (0.0,) * 3,
            "scale": (1.0,) * 3,
        }

    @classmethod
    def use(cls, recipe: QualityRecipe, name: str) -> None:
        """Put it into the entry of the embedder that it belongs to, where that is the user's."""
        embedder = entry(recipe.teacher)
        if embedder.folder is not None:
            write_entry(replace(embedder, quality=name), embedder.folder)

    def losses(self, step: int) -> Tensor:
        """See `SmallTrainer`: the cross entropy."""
        torch.manual_seed(self.recipe.seed + step)  # of the noise
        rng = np.random.default_rng((self.recipe.seed, step))
        places = rng.integers(len(self._faces.recognizability), size=self.recipe.batch)
        found = self.model(torch.from_numpy(self._faces.evidence[places]))
        right = torch.from_numpy(self._faces.recognizability[places])
        return binary_cross_entropy_with_logits(found, right)[None]

    @torch.no_grad()
    def measure(self) -> dict[str, float | None]:
        """See `Trainer`."""
        found = self.averaged(torch.from_numpy(self._held_out.evidence)).sigmoid().numpy()
        return {ERROR: float(np.abs(found - self._held_out.recognizability).mean())}


train_quality = partial(train_small, QualityTrainer)
"""Train a quality network; see `train_small`."""
