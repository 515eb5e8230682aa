"""A small folder of real photos for the commands over folders."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from facekeep import save_image

Pixels = NDArray[np.uint8]


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of caches for one test, without a cache of photos."""
    folder = tmp_path / "cache"
    folder.mkdir()
    monkeypatch.setenv("FACEKEEP_CACHE", str(folder))
    return folder


@pytest.fixture
def photo_folder(tmp_path: Path, hopper: Pixels, collins: Pixels) -> Path:
    """Two photos each of Hopper and Collins, one of a wall, and a file that is no picture."""
    folder = tmp_path / "pictures"
    (folder / "more").mkdir(parents=True)
    faces = {"hopper": hopper[:400, 60:460], "collins": collins[:260, 90:350]}
    for name, pixels in faces.items():
        small = cv2.resize(pixels, (160, 160), interpolation=cv2.INTER_AREA)
        save_image(folder / f"{name}.png", small)
        save_image(folder / "more" / f"{name}.jpg", small, quality=80)
    save_image(folder / "wall.png", np.full((80, 80, 3), 90, np.uint8))
    (folder / "broken.jpg").write_bytes(b"this is no picture")
    return folder
