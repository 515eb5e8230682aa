"""The steps of a chain, done."""

from __future__ import annotations

from pathlib import Path

from facekeep.lab.compress.faces import Faces
from facekeep.lab.compress.made import Made
from facekeep.lab.compress.measure import Measuring
from facekeep.lab.compress.options import Quantize, Step
from facekeep.lab.compress.pytorch import importing_pytorch
from facekeep.lab.compress.quantizing import quantised
from facekeep.models import ModelEntry

__all__ = ["take"]


def take(
    step: Step, model: ModelEntry, faces: Faces | None, measuring: Measuring, folder: Path
) -> Made:
    """Do one step.

    Args:
        step: Which.
        model: The network so far.
        faces: What it calibrates and trains on; None where there are none.
        measuring: Measures people where the step has to know them, and shows progress.
        folder: Keeps what takes long, so that it can go on after an interruption.

    Raises:
        FacekeepError: It cannot be done.
        KeyboardInterrupt: It was stopped, and can go on.
    """
    if isinstance(step, Quantize):
        return quantised(model, step, faces, measuring, folder)
    with importing_pytorch():
        from facekeep.lab.compress.reshaping import reshaped
    return reshaped(model, step, faces, measuring, folder)
