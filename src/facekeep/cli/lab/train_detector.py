"""``facekeep train detector``: from annotated photos to a network that finds faces."""

from __future__ import annotations

from typing import Any

from facekeep.cli.command import ExitStatus, Run
from facekeep.cli.lab.training import Name, Out, Resume, carry_out, takes
from facekeep.lab.train.detector.recipe import DetectorRecipe

__all__ = ["EXAMPLES", "detector"]

EXAMPLES = (
    "facekeep train detector --data photos.tar --scenes scenes.tar --out run",
    "facekeep train detector --data photos.tar --crops faces/ --from yunet --out run --name ours",
    "facekeep train detector --out run --resume",
)

_OPTIONS = {
    "scenes": (
        "--scenes",
        "TAR",
        "Photos that nobody annotated: backgrounds, and more faces.",
    ),
    "crops": (
        "--crops",
        "DIR",
        "Aligned faces of many more people, as facekeep train takes.",
    ),
    "crops_used": ("--crops-used", "N", "So many of them."),
    "teacher": ("--teacher", "NAME", "Labels what nobody annotated."),
    "begin": (
        "--from",
        "NAME",
        "Begin with the weights of this small YuNet. [default: from scratch]",
    ),
    "side": ("--side", "N", "Side of a canvas, a multiple of 32 pixels."),
}


@takes(DetectorRecipe, "Canvases", _OPTIONS)
def detector(
    run: Run, *, out: Out, name: Name = None, resume: Resume = False, **given: object
) -> ExitStatus:
    """Train a face detector with five landmarks, from annotated photos and a teacher.

    It learns on canvases composed of the photos at many scales. All that the run yields is in RUN:
    detector.onnx, detector.pt, curves.png, summary.json, log.csv, recipe.json, and checkpoints.
    Ctrl-C finishes the step and saves a checkpoint; --resume goes on. It runs on the CPU.
    """
    status = carry_out(run, DetectorRecipe, given, out, resume=resume, name=name, words=_words)
    if name is not None:
        run.say(
            f"{name}: in the catalogue; measure it with: facekeep evaluate detect PHOTOS"
            f" --model yunet --model {name}"
        )
    return status


def _words(summary: dict[str, Any]) -> str:
    loss = summary["holdout_loss"]["loss"]
    return f"saw {summary['canvases_seen']:,} canvases; loss on people kept out {loss:.3f}"
