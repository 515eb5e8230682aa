"""Real aligned crops, and networks whose every part matters."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def pairs_of_crops(shared: Path) -> NDArray[np.float32]:
    """100 people x 2 crops x 112 x 112 x 3, RGB, p / 127.5 - 1."""
    lines = (shared / "faces" / "index.tsv").read_text().splitlines()[1:]
    person = {line.split("\t")[0]: line.split("\t")[2] for line in lines}
    found: dict[str, list[NDArray[np.uint8]]] = {}
    with tarfile.open(shared / "faces" / "faces-000.tar") as archive:
        while sum(len(crops) == 2 for crops in found.values()) < 100:
            member = archive.next()
            assert member is not None
            name = person[member.name.split(".")[0]]
            if name and len(found.setdefault(name, [])) < 2:
                content = archive.extractfile(member)
                assert content is not None
                with Image.open(io.BytesIO(content.read())) as picture:
                    found[name].append(np.asarray(picture.convert("RGB")))
    crops = np.array([crops for crops in found.values() if len(crops) == 2])
    return crops.astype(np.float32) / np.float32(127.5) - 1
