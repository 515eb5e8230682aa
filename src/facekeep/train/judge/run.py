"""A whole training run of a judge: what ``facekeep train judge`` does."""

from __future__ import annotations

import dataclasses
from contextlib import nullcontext
from pathlib import Path
from typing import Any, Final

import numpy as np

from facekeep._files import printable
from facekeep.embed import Embedder
from facekeep.errors import InputError
from facekeep.models import entry
from facekeep.models.files import read_model
from facekeep.models.importing import add_model
from facekeep.models.schema import ModelEntry
from facekeep.models.write import write_entry
from facekeep.nn.judge import FaceJudge, export_judge
from facekeep.train.finish import SUMMARY
from facekeep.train.judge.faces import align_main, damaged
from facekeep.train.judge.loop import ERROR, Trainer
from facekeep.train.judge.recipe import JudgeRecipe
from facekeep.train.lessons import Watch
from facekeep.train.small import Outcome
from facekeep.train.small_run import train_small, write_results

__all__ = ["train_judge"]

_PANELS: Final = {
    "loss": {"loss": "training"},
    "error": {ERROR: "people kept out"},
    "learning rate": {"lr": "rate"},
}
_LOOKS: Final = 3  # damaged crops of each photo kept out


def train_judge(
    recipe: JudgeRecipe,
    folder: Path,
    *,
    resume: bool = False,
    name: str | None = None,
    threads: int = 0,
    watch: Watch = lambda what, images: nullcontext(lambda done: None),
) -> Outcome:
    """Train a judge; see `train_small`."""

    def prepare() -> tuple[Trainer, dict[str, Any]]:
        with Embedder(recipe.teacher, threads=threads) as embedder:
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
            judge = FaceJudge(lessons.evidence.shape[1])
        trainer = Trainer(judge, recipe, lessons, measured, folder)
        return trainer, {"faces": len(learnt), "held_out": len(held_out)}

    def finish(trainer: Trainer, facts: dict[str, Any]) -> dict[str, Any]:
        return write_results(
            folder,
            trainer.averaged,
            recipe,
            facts | trainer.measure(),
            export=export_judge,
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


def _register(recipe: JudgeRecipe, folder: Path, name: str) -> ModelEntry:
    """Put a trained judge into the catalogue, and let it judge an embedder of the user's own."""
    made = add_model(
        read_model(folder / "judge.onnx"),
        ModelEntry(
            name=name,
            task="judge",
            architecture="facekeep-judge",
            summary=f"judge of faces that {recipe.teacher} embeds, trained with facekeep",
            files=(),
            weights_licence="your own, as far as the photos allow",
            training_data=f"see {SUMMARY} in {printable(folder.absolute())}",
            colour="rgb",
            mean=(0.0,) * 3,
            scale=(1.0,) * 3,
        ),
    )
    embedder = entry(recipe.teacher)
    if embedder.folder is not None:
        write_entry(dataclasses.replace(embedder, judge=name), embedder.folder)
    return made
