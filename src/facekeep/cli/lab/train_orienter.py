"""``facekeep train orienter``: from upright photos to a network that tells turned faces."""

from __future__ import annotations

from typing import Any

from facekeep.cli.command import ExitStatus, Run
from facekeep.cli.lab.training import Name, Out, Resume, carry_out, takes
from facekeep.lab.train.orienter.recipe import OrienterRecipe

__all__ = ["EXAMPLES", "orienter"]

EXAMPLES = (
    "facekeep train orienter --data portraits.tar --out run",
    "facekeep train orienter --data photos/ --out run --steps 20000 --name ours",
    "facekeep train orienter --out run --resume",
)

_OPTIONS = {
    "data": ("--data", "PHOTOS", "Upright photos of faces, one a person; tar or folder."),
    "holdout": ("--holdout", "N", "Photos kept out to measure with."),
}


@takes(OrienterRecipe, "Crops", _OPTIONS)
def orienter(
    run: Run, *, out: Out, name: Name = None, resume: Resume = False, **given: object
) -> ExitStatus:
    """Train a network that tells how far a face is turned in its crop.

    All that the run yields is in RUN: orienter.onnx, orienter.pt, curves.png, summary.json,
    log.csv, recipe.json, and checkpoints. Ctrl-C finishes the step and saves a checkpoint; --resume
    goes on. It runs on the CPU.
    """
    status = carry_out(run, OrienterRecipe, given, out, resume=resume, name=name, words=_words)
    if name is not None:
        run.say(f"{name}: in the catalogue")
    return status


def _words(summary: dict[str, Any]) -> str:
    wrong, angle = 100 * summary["holdout_wrong"], summary["holdout_angle"]
    return (
        f"saw {summary['crops_seen']:,} crops; of damaged crops of people kept out {wrong:.2f} %"
        f" are told wrong by more than 45 degrees, half of them by less than {angle:.1f}"
    )
