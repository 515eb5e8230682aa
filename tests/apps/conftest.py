"""A folder of small real photos, and one engine for all tests of the apps."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from facekeep import FaceEngine

Draw = Callable[..., bytes]


@pytest.fixture(scope="session")
def engine() -> Iterator[FaceEngine]:
    """An engine whose networks are loaded once for all tests."""
    with FaceEngine(threads=1) as engine:
        yield engine


@pytest.fixture(scope="session")
def portrait(hopper: NDArray[np.uint8], collins: NDArray[np.uint8]) -> Draw:
    """Makes the bytes of a small photo; each ``variant`` has other pixels."""
    small = {
        "hopper": cv2.resize(hopper[:400, 60:460], (160, 160), interpolation=cv2.INTER_AREA),
        "collins": cv2.resize(collins[:260, 90:350], (160, 160), interpolation=cv2.INTER_AREA),
        "nobody": np.full((160, 160, 3), 90, np.uint8),
    }

    def draw(who: str, variant: int = 0) -> bytes:
        pixels = np.clip(small[who].astype(int) + 3 * variant, 0, 255).astype(np.uint8)
        stream = io.BytesIO()
        Image.fromarray(pixels).save(stream, "PNG")
        return stream.getvalue()

    return draw


@pytest.fixture
def photo_folder(tmp_path: Path, portrait: Draw) -> Path:
    """Three photos of Hopper, two of Collins, one of nobody, and a file that is no picture."""
    folder = tmp_path / "pictures"
    (folder / "2021 août").mkdir(parents=True)
    for variant in range(3):
        (folder / f"hopper{variant}.png").write_bytes(portrait("hopper", variant))
    for variant in range(2):
        path = folder / "2021 août" / f"collins\n{variant}.png"
        path.write_bytes(portrait("collins", variant))
    (folder / "wall.png").write_bytes(portrait("nobody"))
    (folder / "broken.jpg").write_bytes(b"this is no picture")
    return folder
