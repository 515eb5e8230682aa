"""A whole training run of a quality network: what ``facekeep train quality`` does."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import Any, Final

import numpy as np
from msgspec import structs

from facekeep._internal.files import printable
from facekeep.errors import InputError
from facekeep.lab.nn.quality_network import FaceQualityNetwork, export_quality_network
from facekeep.lab.train.finish import SUMMARY
from facekeep.lab.train.lessons import Watch
from facekeep.lab.train.quality.faces import align_main, damaged
from facekeep.lab.train.quality.loop import ERROR, Trainer
from facekeep.lab.train.quality.recipe import QualityRecipe
from facekeep.lab.train.small import Outcome
from facekeep.lab.train.small_run import train_small, write_results
from facekeep.models import entry
from facekeep.models.entry_file import write_entry
from facekeep.models.files import read_model
from facekeep.models.importing import add_model
from facekeep.models.model_entry import ModelEntry
from facekeep.pipeline.embed import Embedder
from facekeep.runtime import RuntimeOptions

__all__ = ["train_quality"]

_PANELS: Final = {
    "loss": {"loss": "training"},
    "error": {ERROR: "people kept out"},
    "learning rate": {"lr": "rate"},
}
_LOOKS: Final = 3  # damaged crops of each photo kept out


def train_quality(
    recipe: QualityRecipe,
    folder: Path,
    *,
    resume: bool = False,
    name: str | None = None,
    threads: int = 0,
    watch: Watch = lambda what, images: nullcontext(lambda done: None),
) -> Outcome:
    """Train a quality network; see `train_small`."""

    def prepare() -> tuple[Trainer, dict[str, Any]]:
        with Embedder(recipe.teacher, options=RuntimeOptions(threads=threads)) as embedder:
            clear = align_main(recipe.data, embedder.size, threads=threads, watch=watch)
            if recipe.holdout >= len(clear):
                raise InputError(
                    f"holdout must be from 1 to {len(clear) - 1}, as {len(clear)} faces were "
                    f"found; got {recipe.holdout}"
                )
            rng = np.random.default_rng(recipe.seed)
            drawn = rng.permutation(len(clear))
            held_out, learnt = clear[drawn[: recipe.holdout]], clear[drawn[recipe.holdout :]]
            lessons = damaged(learnt, recipe.crops, embedder, rng, watch)
            measured = damaged(held_out, _LOOKS * recipe.holdout, embedder, rng, watch)
            network = FaceQualityNetwork(lessons.evidence.shape[1])
        trainer = Trainer(network, recipe, lessons, measured, folder)
        return trainer, {"faces": len(learnt), "held_out": len(held_out)}

    def finish(trainer: Trainer, facts: dict[str, Any]) -> dict[str, Any]:
        return write_results(
            folder,
            trainer.averaged,
            recipe,
            facts | trainer.measure(),
            export=export_quality_network,
            panels=_PANELS,
            seen="faces_seen",
        )

    return train_small(
        recipe,
        folder,
        resume=resume,
        name=name,
        threads=threads,
        watch=watch,
        prepare=prepare,
        finish=finish,
        register=lambda name: _register(recipe, folder, name),
    )


def _register(recipe: QualityRecipe, folder: Path, name: str) -> ModelEntry:
    """Put a trained network into the catalogue, and into the entry of the user's own embedder."""
    made = add_model(
        read_model(folder / "quality.onnx"),
        ModelEntry(
            name=name,
            task="quality",
            architecture="facekeep-quality",
            summary=f"quality network of {recipe.teacher}, trained with facekeep",
            files=(),
            weights_license="your own, as far as the photos allow",
            training_data=f"see {SUMMARY} in {printable(folder.absolute())}",
            color="rgb",
            mean=(0.0,) * 3,
            scale=(1.0,) * 3,
        ),
    )
    embedder = entry(recipe.teacher)
    if embedder.folder is not None:
        write_entry(structs.replace(embedder, quality=name), embedder.folder)
    return made
