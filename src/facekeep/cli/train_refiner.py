"""``facekeep train refiner``: from annotated photos to a network that places landmarks better."""

from __future__ import annotations

from typing import Any

from facekeep.cli.command import ExitStatus, Run
from facekeep.cli.training import Name, Out, Resume, conclude, recipe_of, takes
from facekeep.train.refiner.recipe import RefinerRecipe

__all__ = ["EXAMPLES", "refiner"]

EXAMPLES = (
    "facekeep train refiner --data photos.tar --out run",
    "facekeep train refiner --data photos/ --out run --steps 20000 --name ours",
    "facekeep train refiner --out run --resume",
)

_OPTIONS = {
    "data": (
        "--data",
        "PHOTOS",
        "Annotated photos: pictures, each with a .json; tar or folder.",
    ),
    "steps": ("--steps", "N", "Length of the run in steps."),
    "batch": ("--batch", "N", "Crops in a step."),
    "lr": ("--lr", "X", "Highest learning rate."),
    "lift": (
        "--lift",
        "X",
        "Teach landmarks higher than annotated, by this share of the distance of the eyes.",
    ),
    "holdout": ("--holdout", "N", "People kept out to measure with."),
    "seed": ("--seed", "N", "Start of all random numbers."),
}


@takes(RefinerRecipe, _OPTIONS)
def refiner(
    run: Run, *, out: Out, name: Name = None, resume: Resume = False, **given: object
) -> ExitStatus:
    """Train a network that places five landmarks in the rough crop of a face.

    All that the run yields is in RUN: refiner.onnx, refiner.pt, curves.png, summary.json, log.csv,
    recipe.json, and checkpoints. Ctrl-C finishes the step and saves a checkpoint; --resume goes on.
    It runs on the CPU.
    """
    recipe = recipe_of(RefinerRecipe, given, out, resume=resume)
    import facekeep.nn  # noqa: F401 - its error names the cure
    from facekeep.train.refiner.run import train_refiner

    outcome = train_refiner(
        recipe,
        out,
        resume=resume,
        name=name,
        threads=run.settings.threads,
        watch=lambda what, images: run.progress(what, images, unit="images"),
    )
    status = conclude(run, outcome, out, RefinerRecipe, _words)
    if name is not None:
        run.say(f"{name}: in the catalogue")
    return status


def _words(summary: dict[str, Any]) -> str:
    error = 100 * summary["holdout_error"]
    return (
        f"saw {summary['crops_seen']:,} crops; landmarks of people kept out are off by"
        f" {error:.1f} % of the distance of their eyes"
    )
