"""The teacher of a refiner: MediaPipe's face landmark network, which places 468 points in a crop.

MediaPipe is published by Google under Apache-2.0; see Kartynnik et al., "Real-time Facial Surface
Geometry from Monocular Video on Mobile GPUs", 2019.
"""

from __future__ import annotations

import zipfile
import zlib
from io import BytesIO
from pathlib import Path, PurePosixPath
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from facekeep._internal.closing import Closing
from facekeep._internal.files import printable
from facekeep.errors import InputError, ModelError
from facekeep.models.files import read_model
from facekeep.pipeline.align import similarity_transform
from facekeep.pipeline.refine import MIRRORED
from facekeep.pipeline.warp import warp
from facekeep.runtime import RuntimeOptions, open_session

__all__ = ["FaceMesh", "MeshTeacher"]

_MEMBER: Final = "face_landmark.tflite"
"""What the network is called in a wheel of MediaPipe."""

_LITERT: Final = b"TFL3"
"""What a network of LiteRT has behind its first four bytes."""

_SIDE: Final = 192
_POINTS: Final = 468
_LANDMARKS: Final = ([33, 133], [362, 263], [1, 4], [61], [291])
"""The points of a mesh whose means are the five landmarks. The detectors whose landmarks embedders
were aligned by put the tip of the nose half-way between two points."""

_POSE: Final = np.array([[72.6, 73.2], [118.4, 73.2], [95.5, 100.5], [75.3, 122.7], [115.7, 122.7]])
"""Where the landmarks lie in the crops of MediaPipe's own rule, which are half as large again as
the extent of the points: means over portraits."""

_LOOKS: Final = 2
"""How often a face is looked at, each time cut out by what was found before."""


class FaceMesh(NamedTuple):
    """What a teacher finds in a face.

    Attributes:
        landmarks: float64 ``(5, 2)`` in pixels of the image, in the order of ``Face.landmarks``.
        surface: float64 ``(n, 3)``, points of the face: x and y in pixels of the image; z in the
            same unit grows away from the camera.
    """

    landmarks: NDArray[np.float64]
    surface: NDArray[np.float64]


class MeshTeacher(Closing):
    """The network, ready to run by LiteRT.

    Args:
        path: ``face_landmark.tflite``, or a wheel of MediaPipe that holds it.

    Raises:
        InputError: There is no such file, or the network is not in it.
        ModelError: It is another network.
        RuntimeUnavailable: LiteRT is not installed.
    """

    def __init__(self, path: Path) -> None:
        content = _unpack(read_model(path), path)
        self._session = open_session(content, options=RuntimeOptions(runtime="litert", threads=1))
        (taken, *others) = self._session.inputs
        if others or taken.shape != (1, _SIDE, _SIDE, 3):
            raise ModelError(
                f"{printable(path)}: is not MediaPipe's face landmark network, which takes"
                f" 1 x {_SIDE} x {_SIDE} x 3"
            )
        self._input = taken.name

    def close(self) -> None:
        """Let go of the network."""
        self._session.close()

    def find(self, image: NDArray[np.uint8], landmarks: NDArray[np.floating]) -> FaceMesh | None:
        """Find the points of a face, given rough landmarks; None where it sees no face.

        The face is cut out by the landmarks, and again by those that were found; each crop is
        looked at together with its mirror image, and the answers are averaged.

        Args:
            image: uint8 ``(H, W, 3)`` RGB.
            landmarks: ``(5, 2)`` pixels of the image, in the order of ``Face.landmarks``.

        Raises:
            ModelError: The network gave something that is no mesh.
        """
        found = None
        for _ in range(_LOOKS):
            try:
                matrix = similarity_transform(landmarks, _POSE)
            except InputError:
                return None
            crop = warp(image, matrix, _SIDE)
            (seen, sure), (mirrored, also) = self._run(crop), self._run(crop[:, ::-1])
            if sure + also < 0:
                return None
            mirrored[:, 0] = _SIDE - 1 - mirrored[:, 0]
            surface = np.concatenate([seen, mirrored])
            surface[:, :2] = _bring_back(surface[:, :2], matrix)
            surface[:, 2] /= np.hypot(*matrix[0, :2])
            both = np.split(surface[:, :2], 2)
            landmarks = (_reduce(both[0]) + _reduce(both[1])[MIRRORED]) / 2
            found = FaceMesh(landmarks, surface)
        return found

    def _run(self, crop: NDArray[np.uint8]) -> tuple[NDArray[np.float64], float]:
        """Return the points ``(468, 3)`` in pixels of a crop, and how sure it is, from 0 on."""
        fed = np.ascontiguousarray(crop[None], np.float32) / 255
        given = self._session.run({self._input: fed})[:2]
        sizes = [each.size for each in given]
        if sizes != [3 * _POINTS, 1] or not all(np.isfinite(each).all() for each in given):
            raise ModelError("the teacher gave no face mesh; it is another network, or damaged")
        points, sure = given
        return points.reshape(_POINTS, 3).astype(np.float64), sure.item()


def _unpack(content: bytes, path: Path) -> bytes:
    """Take the network out of a wheel; LiteRT's own files may have a zip at their end."""
    if content[4:8] == _LITERT or not zipfile.is_zipfile(BytesIO(content)):
        return content
    try:
        with zipfile.ZipFile(BytesIO(content)) as wheel:
            names = [name for name in wheel.namelist() if PurePosixPath(name).name == _MEMBER]
            if not names:
                raise InputError(
                    f"{printable(path)}: holds no {_MEMBER}; give a wheel of mediapipe"
                )
            return wheel.read(names[0])
    except (zipfile.BadZipFile, zlib.error) as error:
        raise InputError(f"{printable(path)}: is damaged: {printable(error)}") from error


def _reduce(points: NDArray[np.float64]) -> NDArray[np.float64]:
    """Reduce the points of a mesh ``(468, 2)`` to the five landmarks of a face."""
    return np.stack([points[places].mean(axis=0) for places in _LANDMARKS])


def _bring_back(points: NDArray[np.float64], matrix: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray((points - matrix[:, 2]) @ np.linalg.inv(matrix[:, :2]).T)
