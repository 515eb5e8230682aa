"""What the tests of training share: a folder of small people."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from train_kit import write_people


@pytest.fixture(scope="session")
def people(
    tmp_path_factory: pytest.TempPathFactory,
    hopper: NDArray[np.uint8],
    collins: NDArray[np.uint8],
) -> Path:
    """Twelve made-up people with five aligned crops each."""
    return write_people(tmp_path_factory.mktemp("people"), [hopper, collins], 12, 5)


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    """Results depend on the number of threads, and small networks are not faster with more."""
    torch.set_num_threads(1)
