"""Fixtures of the tests of training, of the library and of the command line."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from train_kit import write_people

from facekeep import Detector, save_image

Portrait = NDArray[np.uint8]


@pytest.fixture(scope="session")
def people(tmp_path_factory: pytest.TempPathFactory, hopper: Portrait, collins: Portrait) -> Path:
    """Twelve made-up people with five aligned crops each."""
    return write_people(tmp_path_factory.mktemp("people"), [hopper, collins], 12, 5)


@pytest.fixture(scope="session")
def annotated_photos(
    tmp_path_factory: pytest.TempPathFactory, hopper: Portrait, collins: Portrait
) -> Path:
    """Small portraits of two people with annotations, each mirrored too."""
    folder = tmp_path_factory.mktemp("annotated")
    with Detector() as detector:
        for person, portrait in {"hopper": hopper, "collins": collins}.items():
            small = cv2.resize(portrait, None, fx=0.4, fy=0.4, interpolation=cv2.INTER_AREA)
            for number, image in enumerate((small, small[:, ::-1].copy())):
                face = detector.detect(image)[0]
                found = {"landmarks": face.landmarks.tolist(), "bbox": face.bbox.tolist()}
                save_image(folder / f"{person}-{number}.png", image)
                content = json.dumps({"faces": [found], "person": person})
                (folder / f"{person}-{number}.json").write_text(content)
    return folder


@pytest.fixture(autouse=True)
def one_torch_thread() -> None:
    """Results depend on the number of threads, and small networks are not faster with more."""
    torch.set_num_threads(1)
