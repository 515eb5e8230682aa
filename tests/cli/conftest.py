"""What the tests of the command line share: a folder of photos with a gallery of two people."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from facekeep import FaceEngine, save_image


@pytest.fixture(autouse=True)
def _log_as_before(quiet_log: None) -> None:
    """Also for tests that do not use ``cli``."""


@pytest.fixture(scope="session")
def whole_folder(
    tmp_path_factory: pytest.TempPathFactory,
    hopper: NDArray[np.uint8],
    collins: NDArray[np.uint8],
) -> Path:
    """The folder as it is before a test; made once."""
    folder, cache = tmp_path_factory.mktemp("photos"), tmp_path_factory.mktemp("cache")
    height = min(len(hopper), len(collins))
    save_image(folder / "hopper.jpg", hopper)
    save_image(folder / "hopper2.jpg", (hopper * 0.8).astype(np.uint8))
    save_image(folder / "collins.jpg", collins)
    save_image(folder / "party.jpg", np.hstack([hopper[:height], collins[:height]]))
    save_image(folder / "gray.png", np.full((90, 120, 3), 128, np.uint8))
    (folder / "broken.jpg").write_bytes(b"\xff\xd8\xff and no more")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FACEKEEP_CACHE", str(cache))
        with FaceEngine(folder / "people.db") as engine:
            engine.enroll("Grace Hopper", folder / "hopper.jpg")
            engine.enroll("Eileen Collins", folder / "collins.jpg")
    return folder


@pytest.fixture
def photo_folder(
    whole_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ready_models: None
) -> Path:
    """Photos of Grace Hopper, Eileen Collins, both and nobody, and their gallery; we are in it."""
    folder = tmp_path / "pictures"
    shutil.copytree(whole_folder, folder)
    monkeypatch.chdir(folder)
    monkeypatch.setenv("FACEKEEP_GALLERY", "people.db")
    return folder
