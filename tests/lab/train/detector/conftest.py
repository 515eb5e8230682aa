"""Annotated photos of two people."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from facekeep import Detector, save_image


@pytest.fixture(scope="session")
def photos(
    tmp_path_factory: pytest.TempPathFactory,
    hopper: NDArray[np.uint8],
    collins: NDArray[np.uint8],
) -> Path:
    """Portraits with annotations, each mirrored too."""
    folder = tmp_path_factory.mktemp("annotated")
    with Detector() as detector:
        for person, portrait in {"hopper": hopper, "collins": collins}.items():
            for number, image in enumerate((portrait, portrait[:, ::-1].copy())):
                face = detector.detect(image)[0]
                found = {"landmarks": face.landmarks.tolist(), "bbox": face.bbox.tolist()}
                save_image(folder / f"{person}-{number}.png", image)
                said = json.dumps({"faces": [found], "person": person})
                (folder / f"{person}-{number}.json").write_text(said)
    return folder
