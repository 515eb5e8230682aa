"""The frames of the race: two portraits in the public domain, composed to 640 x 480 pixels."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from facekeep.samples import load_portraits

Image = NDArray[np.uint8]

FACES = {"one": 1, "five": 5}
"""How many faces each frame shows."""

_WIDTH, _HEIGHT = 640, 480
_COLUMNS = (0, 213, 426, 0, 213)
_ROWS = (0, 0, 0, 240, 240)


def frames(folder: Path) -> dict[str, Path]:
    """Write the frames as RGB arrays, and return their files by name."""
    portraits = list(load_portraits().values())
    pictures = {"one": _one(portraits[1]), "five": _five(portraits)}
    paths = {name: folder / f"{name}.npy" for name in pictures}
    for name, path in paths.items():
        np.save(path, pictures[name])
    return paths


def _one(portrait: Image) -> Image:
    """The portrait at full height on gray."""
    scale = _HEIGHT / len(portrait)
    scaled = cv2.resize(portrait, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    frame = np.full((_HEIGHT, _WIDTH, 3), 128, np.uint8)
    left = (_WIDTH - scaled.shape[1]) // 2
    frame[:, left : left + scaled.shape[1]] = scaled
    return frame


def _five(portraits: list[Image]) -> Image:
    """Portraits and their mirror images side by side, each cut about the head."""
    frame = np.full((_HEIGHT, _WIDTH, 3), 128, np.uint8)
    for number, (left, top) in enumerate(zip(_COLUMNS, _ROWS, strict=True)):
        portrait = portraits[number % 2]
        head = portrait[: len(portrait) * 3 // 4]
        scale = min(240 / head.shape[0], 213 / head.shape[1])
        small = cv2.resize(head, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        turned = small if number < 2 else small[:, ::-1]
        frame[top : top + len(small), left : left + small.shape[1]] = turned
    return frame
