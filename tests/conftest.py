"""Fixtures that every room's tests share: real photos, the shared folder, a private home."""

from __future__ import annotations

import importlib.metadata
import os
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

ROOT = Path(__file__).resolve().parents[1]


def shared_folder() -> Path | None:
    """Return the folder with real faces and weights, or None on a machine without it."""
    folder = Path(os.environ.get("FACEKEEP_SHARED", ROOT.parent / "shared"))
    return folder if (folder / "data").is_dir() else None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if shared_folder() is None:
        skip = pytest.mark.skip(reason="no shared data: neither FACEKEEP_SHARED nor ../shared")
        for item in items:
            if "shared" in item.keywords:
                item.add_marker(skip)


@pytest.fixture(scope="session")
def shared() -> Path:
    """The data folder of the shared material; only for tests marked ``shared``."""
    folder = shared_folder()
    assert folder is not None, "the test needs @pytest.mark.shared"
    return folder / "data"


def file_of(distribution: str, path: str) -> Path:
    """A data file inside an installed distribution, found without importing it."""
    found = Path(str(importlib.metadata.distribution(distribution).locate_file(path)))
    assert found.is_file(), f"{distribution} no longer carries {path}"
    return found


@pytest.fixture(scope="session")
def hopper_path() -> Path:
    """Grace Hopper's official portrait (public domain), from matplotlib's sample data."""
    return file_of("matplotlib", "matplotlib/mpl-data/sample_data/grace_hopper.jpg")


@pytest.fixture(scope="session")
def collins_path() -> Path:
    """Eileen Collins's official portrait (public domain), from scikit-image's data."""
    return file_of("scikit-image", "skimage/data/astronaut.png")


def _rgb(path: Path) -> NDArray[np.uint8]:
    with Image.open(path) as picture:
        array = np.array(picture.convert("RGB"))
    array.setflags(write=False)
    return array


@pytest.fixture(scope="session")
def hopper(hopper_path: Path) -> NDArray[np.uint8]:
    """Grace Hopper's portrait as a read-only RGB array."""
    return _rgb(hopper_path)


@pytest.fixture(scope="session")
def collins(collins_path: Path) -> NDArray[np.uint8]:
    """Eileen Collins's portrait as a read-only RGB array."""
    return _rgb(collins_path)


@pytest.fixture(autouse=True)
def private_home(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Keep every test away from the user's own gallery, configuration and models."""
    home = tmp_path_factory.mktemp("home")
    monkeypatch.setenv("HOME", str(home))
    for name in [name for name in os.environ if name.startswith(("FACEKEEP_", "XDG_"))]:
        if name not in ("FACEKEEP_SHARED", "FACEKEEP_CACHE"):
            monkeypatch.delenv(name)
    return home
