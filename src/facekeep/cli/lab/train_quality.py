"""``facekeep train quality``: from clear photos to a network that tells unusable faces."""

from __future__ import annotations

from typing import Any

from facekeep.cli.command import ExitStatus, Run
from facekeep.cli.lab.training import Name, Out, Resume, carry_out, takes
from facekeep.lab.train.quality.recipe import QualityRecipe

__all__ = ["EXAMPLES", "quality"]

EXAMPLES = (
    "facekeep train quality --data portraits.tar --out run",
    "facekeep train quality --data photos/ --out run --teacher mine --name mine-quality",
    "facekeep train quality --out run --resume",
)

_OPTIONS = {
    "data": ("--data", "PHOTOS", "Clear photos of faces, one a person; tar or folder."),
    "teacher": ("--teacher", "NAME", "Embedder that the network belongs to, and learns from."),
    "crops": ("--crops", "N", "Damaged crops to learn from."),
    "holdout": ("--holdout", "N", "Photos kept out to measure with."),
}


@takes(QualityRecipe, "Faces", _OPTIONS)
def quality(
    run: Run, *, out: Out, name: Name = None, resume: Resume = False, **given: object
) -> ExitStatus:
    """Train a network that tells unusable faces from what an embedder makes of them.

    The photos are damaged in many ways, and the embedder tells what is left of each face. With
    --name, an embedder of your own uses the result from then on. All that the run yields
    is in RUN: quality.onnx, quality.pt, curves.png, summary.json, log.csv, recipe.json, and
    checkpoints. Ctrl-C finishes the step and saves a checkpoint; --resume goes on. It runs on the
    CPU.
    """
    status = carry_out(run, QualityRecipe, given, out, resume=resume, name=name, words=_words)
    if name is not None:
        run.say(f"{name}: in the catalogue")
    return status


def _words(summary: dict[str, Any]) -> str:
    return (
        f"saw {summary['faces_seen']:,} faces; on those of people kept out it is off by"
        f" {summary['holdout_error']:.3f}"
    )
