"""Which way a head is turned, estimated from the five landmarks."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike

__all__ = ["estimate_pose"]

# The five landmarks on a generic head, in units of the eye distance: x to the right of the image,
# y down, z away from the camera. A head of yaw, pitch and roll 0 has eyes and corners of the mouth
# at one depth. Found by factorization (Tomasi and Kanade 1992) of many annotated frames, each point
# then moved to where the detector sees it: benchmarks/quality_pose.py.
_HEAD = np.array(
    [
        [-0.50, 0.0, 0.0],
        [0.50, 0.0, 0.0],
        [0.0, 0.56, -0.43],
        [-0.41, 1.04, 0.0],
        [0.41, 1.04, 0.0],
    ]
)
_HEAD_INVERSE = np.linalg.pinv(_HEAD - _HEAD.mean(axis=0))


def estimate_pose(landmarks: ArrayLike) -> tuple[float, float, float]:
    """Estimate yaw, pitch and roll in degrees from the five landmarks.

    A generic head is fitted under scaled orthographic projection: an affine fit by least squares,
    then the nearest rotation (the POS of DeMenthon and Davis 1995). Turning the image turns the
    roll by as much and leaves yaw and pitch; mirroring it flips the signs of yaw and roll.

    Args:
        landmarks: ``(5, 2)`` pixels, in the order of ``Face.landmarks``.

    Returns:
        Yaw, pitch, roll, with the signs of ``Quality``; 90, 0, 0 when the landmarks lie all in one
        place or are not finite.
    """
    points = np.asarray(landmarks, np.float64)
    if not np.isfinite(points).all():
        return 90.0, 0.0, 0.0
    points = points - points.mean(axis=0)
    extent = np.abs(points).max()
    if extent < 1e-6:
        return 90.0, 0.0, 0.0
    left, _, right = np.linalg.svd((_HEAD_INVERSE @ (points / extent)).T, full_matrices=False)
    x_axis, y_axis = (left @ right).tolist()
    z_axis = [x_axis[i] * y_axis[j] - x_axis[j] * y_axis[i] for i, j in ((1, 2), (2, 0), (0, 1))]
    yaw = math.asin(min(max(z_axis[0], -1.0), 1.0))
    pitch = math.atan2(-z_axis[1], z_axis[2])
    roll = math.atan2(y_axis[0], x_axis[0])
    return math.degrees(yaw), math.degrees(pitch), math.degrees(roll)
