"""How well detectors find faces of each size, and how exact their landmarks are.

``mosaics`` shows annotated faces at the sizes asked for, ``metrics`` matches boxes with faces and
measures, ``comparison`` does both with one or several detectors, ``report`` shows the results.
"""

from facekeep.lab.evaluate.detection.comparison import (
    LOWEST_SCORE,
    ComparedDetector,
    compare_detectors,
)
from facekeep.lab.evaluate.detection.metrics import DetectionResult
from facekeep.lab.evaluate.detection.mosaics import SIZES, Mosaic, MosaicSet

__all__ = [
    "LOWEST_SCORE",
    "SIZES",
    "ComparedDetector",
    "DetectionResult",
    "Mosaic",
    "MosaicSet",
    "compare_detectors",
]
