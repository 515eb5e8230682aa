"""A whole training run of a landmark refiner: what ``facekeep train refiner`` does."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import Any, Final

from facekeep._internal.files import printable
from facekeep.lab.datasets.annotated import by_person, open_annotated
from facekeep.lab.nn.refiner import SIDE, LandmarkRefiner, export_refiner
from facekeep.lab.train.finish import SUMMARY
from facekeep.lab.train.lessons import Watch
from facekeep.lab.train.refiner.faces import cut_out
from facekeep.lab.train.refiner.loop import ERROR, Trainer
from facekeep.lab.train.refiner.recipe import RefinerRecipe
from facekeep.lab.train.small import Outcome
from facekeep.lab.train.small_run import train_small, write_results
from facekeep.models.files import read_model
from facekeep.models.importing import add_model
from facekeep.models.model_entry import ModelEntry

__all__ = ["train_refiner"]

_PANELS: Final = {
    "loss": {"loss": "training"},
    "error, eye distances": {ERROR: "people kept out"},
    "learning rate": {"lr": "rate"},
}


def train_refiner(
    recipe: RefinerRecipe,
    folder: Path,
    *,
    resume: bool = False,
    name: str | None = None,
    threads: int = 0,
    watch: Watch = lambda what, images: nullcontext(lambda done: None),
) -> Outcome:
    """Train a landmark refiner; see `train_small`."""

    def prepare() -> tuple[Trainer, dict[str, Any]]:
        parts = by_person(open_annotated(recipe.data), holdout=recipe.holdout, seed=recipe.seed)
        faces, held_out = (cut_out(part, lift=recipe.lift, watch=watch) for part in parts)
        trainer = Trainer(LandmarkRefiner(), recipe, faces, held_out, folder)
        return trainer, {"faces": len(faces), "held_out": len(held_out)}

    def finish(trainer: Trainer, facts: dict[str, Any]) -> dict[str, Any]:
        return write_results(
            folder,
            trainer.averaged,
            recipe,
            facts | trainer.measure(),
            export=export_refiner,
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
    """Put a trained refiner into the catalogue."""
    return add_model(
        read_model(folder / "refiner.onnx"),
        ModelEntry(
            name=name,
            task="refine",
            architecture="facekeep-refiner",
            summary="landmark refiner trained with facekeep",
            files=(),
            weights_license="your own, as far as the photos allow",
            training_data=f"see {SUMMARY} in {printable(folder.absolute())}",
            color="rgb",
            mean=(127.5,) * 3,
            scale=(1 / 127.5,) * 3,
            input_size=SIDE,
        ),
    )
