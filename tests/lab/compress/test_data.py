from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from tiny_kit import SIDE, write_people

from facekeep.errors import ImageError, InputError
from facekeep.lab.compress import data as module
from facekeep.lab.compress.data import FaceSet, crop_faces, load_sample_faces, read_faces
from facekeep.lab.datasets.test_sets import Samples
from facekeep.pipeline.image import save_image


@pytest.fixture
def people(tmp_path: Path, hopper: NDArray[np.uint8], collins: NDArray[np.uint8]) -> Path:
    return write_people(tmp_path / "people", [hopper, collins], 10)


def test_faces_are_spread_over_the_collection(people: Path) -> None:
    found = read_faces(people, aligned=True, count=5)
    assert len(found.samples) == 5
    assert {Path(name).parts[0] for name in found.samples.names} == {"person-0", "person-1"}
    assert len(read_faces(people, count=1000).samples) == 20


def test_known_people_are_all_there(people: Path) -> None:
    found = read_faces(people, count=5).people
    assert found is not None
    assert len(found.samples) == 20
    assert found.people == ("person-0", "person-1")


def test_of_many_people_the_first_are_compared(
    people: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for place in range(2, 5):
        (people / f"person-{place}").mkdir()
        for path in (people / "person-0").iterdir():
            (people / f"person-{place}" / path.name).write_bytes(path.read_bytes())
    monkeypatch.setattr(module, "_MAX_COMPARED", 20)
    found = read_faces(people, count=5).people
    assert found is not None
    assert found.people == ("person-0", "person-1")
    assert len(found.samples) == 20


def test_a_flat_folder_names_nobody(people: Path) -> None:
    assert read_faces(people / "person-0").people is None


def test_crops_have_the_size_asked_for(people: Path) -> None:
    counts: list[int] = []
    crops = crop_faces(read_faces(people, aligned=True, count=6), 48, progress=counts.append)
    assert (crops.shape, crops.dtype, sum(counts)) == ((6, 48, 48, 3), np.uint8, 6)


def test_images_without_a_face_are_left_out() -> None:
    def load(place: int) -> NDArray[np.uint8]:
        if place:
            raise ImageError("it is torn")
        return np.zeros((SIDE, SIDE, 3), np.uint8)

    def of(*names: str) -> FaceSet:
        return FaceSet(
            "some", Samples(names, lambda place: load(place + 2 - len(names)), None, True)
        )

    assert len(crop_faces(of("whole", "torn"), SIDE)) == 1
    with pytest.raises(InputError, match="no face can be taken"):
        crop_faces(of("torn"), SIDE)


def test_raw_photos_are_searched_for_faces(
    ready_models: None, tmp_path: Path, hopper: NDArray[np.uint8]
) -> None:
    (tmp_path / "photos").mkdir()
    save_image(tmp_path / "photos" / "hopper.jpg", hopper)
    crops = crop_faces(read_faces(tmp_path / "photos"), 112)
    assert crops.shape == (1, 112, 112, 3)


def test_the_sample_portraits_are_at_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    found = load_sample_faces()
    assert found is not None
    assert len(found.samples) > 4
    assert found.samples.load(0).ndim == 3

    def none() -> dict[str, object]:
        raise InputError("not installed")

    monkeypatch.setattr("facekeep.samples.load_portraits", none)
    assert load_sample_faces() is None
