"""A whole training run of a face detector: what ``facekeep train detector`` does."""

from __future__ import annotations

import dataclasses
from contextlib import nullcontext
from pathlib import Path
from typing import Any, Final

from facekeep._internal.files import printable
from facekeep.lab.datasets.annotated import Annotated, by_person, open_annotated
from facekeep.lab.nn.detector import FaceDetector, begin_evenly, load_yunet
from facekeep.lab.nn.detector_export import export_detector
from facekeep.lab.train.detector.album import UNSURE, annotated_album, photo_album
from facekeep.lab.train.detector.canvas import Composer
from facekeep.lab.train.detector.loop import HOLDOUT, Trainer, batch
from facekeep.lab.train.detector.loss import PARTS
from facekeep.lab.train.detector.recipe import DetectorRecipe
from facekeep.lab.train.finish import SUMMARY
from facekeep.lab.train.lessons import Watch
from facekeep.lab.train.small import Outcome
from facekeep.lab.train.small_run import train_small, write_results
from facekeep.models import ModelEntry, entry, weights
from facekeep.models.files import read_model
from facekeep.models.importing import add_model
from facekeep.pipeline.detect import Detector
from facekeep.runtime import RuntimeOptions

__all__ = ["train_detector"]

_SHARES: Final = {"data": 0.6, "scenes": 0.2, "crops": 0.2}
"""How much of the photos on canvases comes from each set."""

_PANELS: Final = {
    "loss": {"loss": "training", f"{HOLDOUT}loss": "people kept out"},
    **{
        part.replace("_", ": "): {part: "training", f"{HOLDOUT}{part}": "people kept out"}
        for part in PARTS
    },
    "learning rate": {"lr": "rate"},
}


def train_detector(
    recipe: DetectorRecipe,
    folder: Path,
    *,
    resume: bool = False,
    name: str | None = None,
    threads: int = 0,
    watch: Watch = lambda what, images: nullcontext(lambda done: None),
) -> Outcome:
    """Train a face detector; see `train_small`."""

    def finish(trainer: Trainer, facts: dict[str, Any]) -> dict[str, Any]:
        losses = {key.removeprefix(HOLDOUT): value for key, value in trainer.measure().items()}
        return write_results(
            folder,
            trainer.averaged,
            recipe,
            facts | {"holdout_loss": losses},
            export=export_detector,
            panels=_PANELS,
            seen="canvases_seen",
        )

    return train_small(
        recipe,
        folder,
        resume=resume,
        name=name,
        threads=threads,
        watch=watch,
        prepare=lambda: _trainer(recipe, folder, threads, watch),
        finish=finish,
        register=lambda name: _register(folder, name, recipe),
    )


def _trainer(
    recipe: DetectorRecipe, folder: Path, threads: int, watch: Watch
) -> tuple[Trainer, dict[str, Any]]:
    """Label the photos and make what learns from them; also returns how many there are of each."""
    model = None if recipe.begin is None else _begun(recipe.begin)
    photos, held_out = by_person(
        open_annotated(recipe.data), holdout=recipe.holdout, seed=recipe.seed
    )
    with Detector(recipe.teacher, score=UNSURE, options=RuntimeOptions(threads=threads)) as teacher:
        canvases, counts = _composer(recipe, photos, teacher, watch)
        only = dataclasses.replace(recipe, scenes=None, crops=None)
        measured, _ = _composer(only, held_out, teacher, watch)
    model = model or _new(recipe, canvases)
    counts["held_out"] = len(held_out)
    return Trainer(model, recipe, canvases, measured, folder), counts


def _composer(
    recipe: DetectorRecipe, photos: Annotated, teacher: Detector, watch: Watch
) -> tuple[Composer, dict[str, int]]:
    albums = {"data": annotated_album(photos, teacher, watch)}
    if recipe.scenes is not None:
        albums["scenes"] = photo_album(recipe.scenes, teacher, watch)
    if recipe.crops is not None:
        albums["crops"] = photo_album(
            recipe.crops, teacher, watch, most=recipe.crops_used
        ).showing()
    filled = {name: album for name, album in albums.items() if len(album)}
    total = sum(_SHARES[name] for name in filled)
    shares = [_SHARES[name] / total for name in filled]
    backdrops = albums["scenes"].faceless() if "scenes" in albums else None
    counts = {name: len(album) for name, album in albums.items()}
    return Composer(list(filled.values()), shares, backdrops, recipe.side), counts


def _begun(name: str) -> FaceDetector:
    """Make the network with YuNet's weights."""
    model = load_yunet(weights(entry(name)))
    model.keep_fine()  # edges and textures it knows already; a step takes half the time
    return model


def _new(recipe: DetectorRecipe, canvases: Composer) -> FaceDetector:
    model = FaceDetector()
    begin_evenly(model, batch(canvases, 0, recipe.batch, seed=recipe.seed)[0])
    return model


def _register(folder: Path, name: str, recipe: DetectorRecipe) -> ModelEntry:
    """Put a trained detector into the catalogue."""
    begun = "" if recipe.begin is None else f", begun with the weights of {recipe.begin}"
    return add_model(
        read_model(folder / "detector.onnx"),
        ModelEntry(
            name=name,
            task="detect",
            architecture="facekeep-detector",
            summary=f"face detector trained with facekeep{begun}",
            files=(),
            weights_license="your own, as far as the photos, the teacher and the weights begun"
            " with allow",
            training_data=f"see {SUMMARY} in {printable(folder.absolute())}",
            color="rgb",
            mean=(0.0,) * 3,
            scale=(1.0,) * 3,
        ),
    )
