"""A whole training run of a landmark refiner: what ``facekeep train refiner`` does."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path

import torch

from facekeep.evaluate.plots import require_matplotlib
from facekeep.evaluate.readers.annotated import by_person, open_annotated
from facekeep.nn.refiner import LandmarkRefiner
from facekeep.train.finish import require_free
from facekeep.train.folder import keep, make, require_new
from facekeep.train.lessons import Watch
from facekeep.train.refiner.faces import cut_out
from facekeep.train.refiner.finish import register, write_results
from facekeep.train.refiner.loop import Trainer
from facekeep.train.refiner.recipe import RefinerRecipe
from facekeep.train.small import RECIPE, Outcome, recipe_json

__all__ = ["train_refiner"]


def train_refiner(
    recipe: RefinerRecipe,
    folder: Path,
    *,
    resume: bool = False,
    name: str | None = None,
    threads: int = 0,
    watch: Watch = lambda what, images: nullcontext(lambda done: None),
) -> Outcome:
    """Train a landmark refiner on the CPU.

    Seeds PyTorch's global random generator.

    Args:
        recipe: What to learn from and how.
        folder: Made for all that the run yields.
        resume: Go on with the run in the folder, whose recipe it must be.
        name: Put the result into the catalogue under this name.
        threads: CPU threads; 0 for PyTorch's own choice.
        watch: Shows how far it is; see ``lessons.Watch``.

    Raises:
        InputError: The folder or the name is taken, or the data hold nothing to learn from.
        FacekeepError: The data cannot be used, the loss is no longer a finite number, or there is
            no room.
    """
    require_matplotlib("train")
    if name is not None:
        require_free(name)
    if not resume:
        require_new(folder)
    if threads:
        torch.set_num_threads(threads)
    torch.manual_seed(recipe.seed)
    parts = by_person(open_annotated(recipe.data), holdout=recipe.holdout, seed=recipe.seed)
    faces, held_out = (cut_out(part, lift=recipe.lift, watch=watch) for part in parts)
    trainer = Trainer(LandmarkRefiner(), recipe, faces, held_out, folder)
    if resume:
        trainer.resume()
    else:
        make(folder)
        keep(folder / RECIPE, recipe_json(recipe))
    with watch("Training", trainer.images_left) as advance:
        finished = trainer.run(advance)
    if not finished:
        return Outcome(finished=False, step=trainer.step)
    facts = {"faces": len(faces), "held_out": len(held_out), "seconds": round(trainer.seconds)}
    summary = write_results(folder, trainer.averaged, recipe, facts | trainer.measure())
    if name is not None:
        register(folder, name)
    return Outcome(finished=True, step=trainer.step, summary=summary, name=name)
