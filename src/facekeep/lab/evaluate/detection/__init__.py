"""How well detectors find faces of each size, and how exact their landmarks are.

``canvases`` shows annotated faces at the sizes asked for, ``matching`` tells which boxes are faces,
``figures`` holds what is measured, ``trial`` goes through it with one or several detectors.
"""

from facekeep.lab.evaluate.detection.canvases import SIZES, Canvas, Canvases
from facekeep.lab.evaluate.detection.figures import DetectionResult
from facekeep.lab.evaluate.detection.trial import LOWEST_SCORE, Contender, try_detectors

__all__ = [
    "LOWEST_SCORE",
    "SIZES",
    "Canvas",
    "Canvases",
    "Contender",
    "DetectionResult",
    "try_detectors",
]
