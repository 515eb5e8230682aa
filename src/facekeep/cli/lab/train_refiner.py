"""``facekeep train refiner``: from annotated photos to a network that places landmarks better."""

from __future__ import annotations

from typing import Any

from facekeep.cli.command import ExitStatus, Run
from facekeep.cli.lab.training import Name, Out, Resume, carry_out, takes
from facekeep.lab.train.refiner.recipe import RefinerRecipe

__all__ = ["EXAMPLES", "refiner"]

EXAMPLES = (
    "facekeep train refiner --data photos.tar --out run",
    "facekeep train refiner --data photos/ --out run --steps 20000 --name ours",
    "facekeep train refiner --out run --resume",
)

_OPTIONS = {
    "lift": (
        "--lift",
        "X",
        "Teach landmarks higher than annotated, by this share of the distance of the eyes.",
    ),
}


@takes(RefinerRecipe, "Crops", _OPTIONS)
def refiner(
    run: Run, *, out: Out, name: Name = None, resume: Resume = False, **given: object
) -> ExitStatus:
    """Train a network that places five landmarks in the rough crop of a face.

    All that the run yields is in RUN: refiner.onnx, refiner.pt, curves.png, summary.json, log.csv,
    recipe.json, and checkpoints. Ctrl-C finishes the step and saves a checkpoint; --resume goes on.
    It runs on the CPU.
    """
    status = carry_out(run, RefinerRecipe, given, out, resume=resume, name=name, words=_words)
    if name is not None:
        run.say(f"{name}: in the catalogue")
    return status


def _words(summary: dict[str, Any]) -> str:
    error = 100 * summary["holdout_error"]
    return (
        f"saw {summary['crops_seen']:,} crops; landmarks of people kept out are off by"
        f" {error:.1f} % of the distance of their eyes"
    )
