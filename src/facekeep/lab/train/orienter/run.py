"""A whole training run of an orienter: what ``facekeep train orienter`` does."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import Any, Final

import numpy as np

from facekeep._internal.files import printable
from facekeep.errors import InputError
from facekeep.lab.nn.orienter import FaceOrienter, export_orienter
from facekeep.lab.nn.refiner import SIDE
from facekeep.lab.train.finish import SUMMARY
from facekeep.lab.train.lessons import Watch
from facekeep.lab.train.orienter.faces import cut_upright
from facekeep.lab.train.orienter.loop import ANGLE, WRONG, Trainer
from facekeep.lab.train.orienter.recipe import OrienterRecipe
from facekeep.lab.train.small import Outcome
from facekeep.lab.train.small_run import train_small, write_results
from facekeep.models.files import read_model
from facekeep.models.importing import add_model
from facekeep.models.model_entry import ModelEntry

__all__ = ["train_orienter"]

_PANELS: Final = {
    "loss": {"loss": "training"},
    "told wrong": {WRONG: "people kept out"},
    "error, degrees": {ANGLE: "people kept out"},
    "learning rate": {"lr": "rate"},
}


def train_orienter(
    recipe: OrienterRecipe,
    folder: Path,
    *,
    resume: bool = False,
    name: str | None = None,
    threads: int = 0,
    watch: Watch = lambda what, images: nullcontext(lambda done: None),
) -> Outcome:
    """Train an orienter; see `train_small`."""

    def prepare() -> tuple[Trainer, dict[str, Any]]:
        patches = cut_upright(recipe.data, threads=threads, watch=watch)
        if recipe.holdout >= len(patches):
            raise InputError(
                f"holdout must be from 1 to {len(patches) - 1}, as {len(patches)} faces were "
                f"found; got {recipe.holdout}"
            )
        drawn = np.random.default_rng(recipe.seed).permutation(len(patches))
        learnt, held_out = drawn[recipe.holdout :], drawn[: recipe.holdout]
        trainer = Trainer(FaceOrienter(), recipe, patches[learnt], patches[held_out], folder)
        return trainer, {"faces": len(learnt), "held_out": len(held_out)}

    def finish(trainer: Trainer, facts: dict[str, Any]) -> dict[str, Any]:
        return write_results(
            folder,
            trainer.averaged,
            recipe,
            facts | trainer.measure(),
            export=export_orienter,
            panels=_PANELS,
            seen="crops_seen",
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
        register=lambda name: _register(folder, name),
    )


def _register(folder: Path, name: str) -> ModelEntry:
    """Put a trained orienter into the catalogue."""
    return add_model(
        read_model(folder / "orienter.onnx"),
        ModelEntry(
            name=name,
            task="orient",
            architecture="facekeep-orienter",
            summary="orienter of faces trained with facekeep",
            files=(),
            weights_license="your own, as far as the photos allow",
            training_data=f"see {SUMMARY} in {printable(folder.absolute())}",
            color="rgb",
            mean=(127.5,) * 3,
            scale=(1 / 127.5,) * 3,
            input_size=SIDE,
        ),
    )
