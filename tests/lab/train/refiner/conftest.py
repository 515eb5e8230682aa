"""What the tests of the refiner's training share."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from refiner_kit import write_photos


@pytest.fixture(scope="session")
def photos(
    tmp_path_factory: pytest.TempPathFactory,
    hopper: NDArray[np.uint8],
    collins: NDArray[np.uint8],
) -> Path:
    """Eighteen annotated photos of six made-up people."""
    return write_photos(tmp_path_factory.mktemp("refiner") / "photos", [hopper, collins])
