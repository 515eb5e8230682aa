"""A first look at the faces: are they aligned crops, or photos that only look like them?"""

from __future__ import annotations

from typing import Final

import numpy as np

from facekeep.lab.datasets.source import Source
from facekeep.lab.evaluate.crops import has_face_in_place
from facekeep.lab.train.embedding import read_face
from facekeep.pipeline.detect import Detector
from facekeep.runtime import RuntimeOptions

__all__ = ["count_misplaced"]

_LOOKS: Final = 24
_SIDE: Final = 112


def count_misplaced(source: Source) -> tuple[int, int]:
    """Look at a few images, spread over the source.

    Returns:
        In how many of them no face is found where an aligned crop has it, and how many were looked
        at.
    """
    places = np.unique(np.linspace(0, len(source) - 1, _LOOKS).astype(int))
    looked = wrong = 0
    with Detector(options=RuntimeOptions(threads=1)) as detector:
        for place in places:
            face = read_face(source, int(place), _SIDE)
            if face is None:
                continue
            looked += 1
            wrong += not has_face_in_place(detector, face)
    return wrong, looked
