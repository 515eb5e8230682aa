"""Hints that something hides the mouth or the eyes of an aligned face.

Only parts of one face are compared with each other, as ratios of light, so that neither the color
of skin nor that of the light matters much. How well it works, and where not: docs/quality.md.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from facekeep.pipeline.filters import blur, to_gray

__all__ = ["covered"]

_Box = tuple[slice, slice]
_Values = NDArray[np.float32]

# Boxes (rows, columns) in the aligned crop: the eyes are at row 52, the mouth at row 92.
_BRIDGE = (np.s_[46:62, 51:61],)
_NOSE = (np.s_[58:70, 50:62],)
_UNDER_EYES = (np.s_[56:63, 31:46], np.s_[56:63, 66:81])
_AROUND_MOUTH = (np.s_[74:96, 32:42], np.s_[74:96, 70:80], np.s_[102:112, 46:66])
_LIPS = (np.s_[84:100, 42:70],)
_MOUTH = (np.s_[83:105, 42:70],)
_EYES = (np.s_[47:59, 32:46], np.s_[47:59, 66:80])
_EYE_BAND = (np.s_[41:63, 26:86],)
_FACE = (np.s_[41:105, 26:86],)

# Weights of three features each, and the level: logistic regression on crops labeled by eye, with
# covered and free faces counting alike (benchmarks/occlusion.py fit).
_MOUTH_WEIGHTS = (-16.6, -5.5, 28.9, -4.2)
_EYE_WEIGHTS = (-4.5, 16.3, -3.5, -2.5)

# Added to gray levels before ratios are taken, so that pixels that are dark, by light or by skin,
# do not count for more than they show; and to the strength of edges, in gray levels too.
_DARK = 64
_FAINT = 0.5

_LOG = np.log(np.arange(256, dtype=np.float32) + _DARK)
# What lies in the boxes, and what it is blurred with.
_SEEN = np.s_[36:, 24:88]
# A Gaussian of deviation 1, of 256.
_GAUSSIAN = (14, 62, 104, 62, 14)


def covered(crop: NDArray[np.uint8]) -> tuple[float, float]:
    """Tell how likely mouth and eyes are hidden, each 0 to 1.

    Args:
        crop: Aligned face, uint8 ``(112, 112, 3)`` RGB.
    """
    mouth, eyes = features(crop)
    return _share(mouth, _MOUTH_WEIGHTS), _share(eyes, _EYE_WEIGHTS)


def features(crop: NDArray[np.uint8]) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Measure what the hints for the mouth and for the eyes are made of.

    Mouth: how much redder than the bridge of the nose the lips are, the strength of its edges
    against that of the eyes', and how the color around it differs from that of the bridge.
    Eyes: how much brighter than the nose the skin below them is, how its color differs from the
    nose's, and the strength of their edges against that of the whole face.
    """
    color, edges = _maps(crop)
    bridge, nose = _median(color, _BRIDGE), _median(color, _NOSE)
    around, under = _median(color, _AROUND_MOUTH), _median(color, _UNDER_EYES)
    lips = _ranked(color[:1], _LIPS, 0.9)[0] - bridge[0]
    mouth = (lips, _ratio(edges, _MOUTH, _EYE_BAND), math.dist(around[:2], bridge[:2]))
    eyes = (under[2] - nose[2], math.dist(under[:2], nose[:2]), _ratio(edges, _EYES, _FACE))
    return mouth, eyes


def _maps(crop: NDArray[np.uint8]) -> tuple[_Values, _Values]:
    """Logarithms of red and blue against green and of luma ``(3, H, W)``; vertical edges."""
    smooth = blur(crop[_SEEN], _GAUSSIAN)
    luma = to_gray(smooth)
    red, green, blue = _LOG[smooth.transpose(2, 0, 1)]
    color, edges = np.zeros((3, *crop.shape[:2]), np.float32), np.zeros(crop.shape[:2], np.float32)
    color[:, *_SEEN] = red - green, blue - green, _LOG[luma]
    edges[_SEEN][1:-1] = np.abs(np.subtract(luma[2:], luma[:-2], dtype=np.int16))
    return color, edges


def _median(maps: _Values, boxes: tuple[_Box, ...]) -> list[float]:
    return _ranked(maps, boxes, 0.5)


def _ranked(maps: _Values, boxes: tuple[_Box, ...], share: float) -> list[float]:
    """The value of each map that this share of the pixels in the boxes stays below."""
    parts = [maps[:, rows, columns].reshape(len(maps), -1) for rows, columns in boxes]
    values = np.concatenate(parts, axis=1)
    place = int(share * (values.shape[1] - 1))
    found: list[float] = np.partition(values, place, axis=1)[:, place].tolist()
    return found


def _ratio(edges: _Values, part: tuple[_Box, ...], whole: tuple[_Box, ...]) -> float:
    """Logarithm of how much stronger the edges are, on average, in one part than in another."""
    one, other = (
        sum(float(edges[box].mean()) for box in boxes) / len(boxes) for boxes in (part, whole)
    )
    return math.log((one + _FAINT) / (other + _FAINT))


def _share(values: tuple[float, ...], weights: tuple[float, ...]) -> float:
    *slopes, level = weights
    total = level + sum(slope * value for slope, value in zip(slopes, values, strict=True))
    return 1 / (1 + math.exp(-min(max(total, -30.0), 30.0)))
