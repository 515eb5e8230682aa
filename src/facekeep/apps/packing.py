"""Faces as bytes and back, for the cache of photos."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from facekeep.types import Face, Quality

__all__ = ["pack", "unpack"]

_FACTS = len(dataclasses.fields(Quality))
_FIXED = 4 + 10 + 1 + _FACTS
_HEADER = 4


def pack(faces: Sequence[Face]) -> bytes:
    """Write faces with quality and embedding as their number and rows of little-endian float32.

    A row holds box, landmarks, score, the facts of ``Quality`` in their order, and the embedding.
    """
    header = len(faces).to_bytes(_HEADER, "little")
    return header + b"".join(_row(face).astype("<f4").tobytes() for face in faces)


def unpack(data: bytes) -> list[Face] | None:
    """Read what ``pack`` wrote; None when it is something else, or of another version."""
    count = int.from_bytes(data[:_HEADER], "little")
    numbers = np.frombuffer(data, "<f4", offset=_HEADER) if len(data) % 4 == 0 < len(data) else None
    if numbers is None or not np.isfinite(numbers).all():
        return None
    if count == 0:
        return None if len(numbers) else []
    if len(numbers) % count or len(numbers) // count <= _FIXED:
        return None
    return [_face(row) for row in numbers.reshape(count, -1).astype(np.float32)]


def _row(face: Face) -> np.ndarray[tuple[int], np.dtype[np.float32]]:
    assert face.quality is not None  # noqa: S101 - analysed faces have both
    assert face.embedding is not None  # noqa: S101
    facts = dataclasses.astuple(face.quality)
    parts = (face.bbox, face.landmarks.ravel(), [face.score], facts, face.embedding)
    return np.concatenate(parts, dtype=np.float32)


def _face(row: np.ndarray[tuple[int], np.dtype[np.float32]]) -> Face:
    return Face(
        bbox=row[:4],
        landmarks=row[4:14].reshape(5, 2),
        score=float(row[14]),
        quality=Quality(*row[15:_FIXED].tolist()),
        embedding=row[_FIXED:],
    )
