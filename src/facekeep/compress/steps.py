"""The steps of a chain, done."""

from __future__ import annotations

from facekeep.compress.faces import Faces
from facekeep.compress.made import Made
from facekeep.compress.measure import Measuring
from facekeep.compress.options import Step
from facekeep.compress.quantizing import quantised
from facekeep.models import ModelEntry

__all__ = ["take"]


def take(step: Step, model: ModelEntry, faces: Faces | None, measuring: Measuring) -> Made:
    """Do one step.

    Args:
        step: Which.
        model: The network so far.
        faces: What it calibrates and trains on; None where there are none.
        measuring: Measures people where the step has to know them, and shows progress.

    Raises:
        FacekeepError: It cannot be done.
    """
    return quantised(model, step, faces, measuring)
