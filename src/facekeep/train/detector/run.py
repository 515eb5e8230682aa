"""A whole training run of a face detector: what ``facekeep train detector`` does."""

from __future__ import annotations

import dataclasses
from contextlib import nullcontext
from pathlib import Path
from typing import Final

import torch

from facekeep.detect import Detector
from facekeep.evaluate.plots import require_matplotlib
from facekeep.evaluate.readers.annotated import Annotated, by_person, open_annotated
from facekeep.models import entry, weights
from facekeep.nn.detector import FaceDetector, begin_evenly, load_yunet
from facekeep.train.detector.album import UNSURE, Watch, annotated_album, photo_album
from facekeep.train.detector.canvas import Composer
from facekeep.train.detector.finish import register, write_results
from facekeep.train.detector.loop import HOLDOUT, Trainer, batch
from facekeep.train.detector.recipe import DetectorRecipe
from facekeep.train.finish import require_free
from facekeep.train.folder import keep, make, require_new
from facekeep.train.small import RECIPE, Outcome, recipe_json

__all__ = ["train_detector"]

_SHARES: Final = {"data": 0.6, "scenes": 0.2, "crops": 0.2}
"""How much of the photos on canvases comes from each set."""


def train_detector(
    recipe: DetectorRecipe,
    folder: Path,
    *,
    resume: bool = False,
    name: str | None = None,
    threads: int = 0,
    watch: Watch = lambda what, images: nullcontext(lambda done: None),
) -> Outcome:
    """Train a face detector on the CPU.

    Seeds PyTorch's global random generator.

    Args:
        recipe: What to learn from and how.
        folder: Made for all that the run yields.
        resume: Go on with the run in the folder, whose recipe it must be.
        name: Put the result into the catalogue under this name.
        threads: CPU threads; 0 for PyTorch's own choice.
        watch: Shows how far it is: told what is done and how much of it there is.

    Raises:
        InputError: The folder or the name is taken, or the data hold nothing to learn from.
        FacekeepError: The data or the weights cannot be used, the loss is no longer a finite
            number, or there is no room.
    """
    require_matplotlib("train")
    if name is not None:
        require_free(name)
    if not resume:
        require_new(folder)
    if threads:
        torch.set_num_threads(threads)
    torch.manual_seed(recipe.seed)
    trainer, photos = _trainer(recipe, folder, threads, watch)
    if resume:
        trainer.resume()
    else:
        make(folder)
        keep(folder / RECIPE, recipe_json(recipe))
    with watch("Training", trainer.images_left) as advance:
        finished = trainer.run(advance)
    if not finished:
        return Outcome(finished=False, step=trainer.step)
    losses = {name.removeprefix(HOLDOUT): value for name, value in trainer.measure().items()}
    facts = {**photos, "seconds": round(trainer.seconds), "holdout_loss": losses}
    summary = write_results(folder, trainer.averaged, recipe, facts)
    if name is not None:
        register(folder, name, recipe)
    return Outcome(finished=True, step=trainer.step, summary=summary, name=name)


def _trainer(
    recipe: DetectorRecipe, folder: Path, threads: int, watch: Watch
) -> tuple[Trainer, dict[str, int]]:
    """Label the photos and make what learns from them; also returns how many there are of each."""
    model = None if recipe.begin is None else _begun(recipe.begin)
    photos, held_out = by_person(
        open_annotated(recipe.data), holdout=recipe.holdout, seed=recipe.seed
    )
    with Detector(recipe.teacher, score=UNSURE, threads=threads) as teacher:
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
