"""The whole pipeline on real photos of many people: who is enrolled is found, strangers are not."""

from __future__ import annotations

from itertools import islice
from pathlib import Path

import pytest

from facekeep import FaceEngine

pytestmark = [pytest.mark.shared, pytest.mark.usefixtures("ready_models")]

PEOPLE = 60


def of_enough_photos(folder: Path, least: int, most: int) -> list[list[Path]]:
    """The photos of the first people, by name, of whom there are so many."""
    people = (sorted(person.glob("*.jpg")) for person in sorted(folder.iterdir()))
    return list(islice((photos for photos in people if least <= len(photos) <= most), PEOPLE))


def main_name(engine: FaceEngine, photo: Path) -> str | None:
    """The name of the face nearest the middle of a photo of 250 x 250 pixels."""
    faces = engine.identify(photo)
    middle = [abs(face.bbox.reshape(2, 2).mean(axis=0) - 125).sum() for face in faces]
    return faces[middle.index(min(middle))].name if faces else None


def test_people_are_found_and_strangers_stay_unknown(shared: Path, tmp_path: Path) -> None:
    images = shared / "lfw" / "images"
    known, strangers = of_enough_photos(images, 2, 9), of_enough_photos(images, 1, 1)
    assert len(known) == len(strangers) == PEOPLE
    with FaceEngine(tmp_path / "people.db", review="off", fmr=1e-4) as engine:
        for enrolled, *_ in known:
            assert engine.enroll(enrolled.parent.name, enrolled).enrolled == 1
        answers = [main_name(engine, probe) for _, probe, *_ in known]
        found = sum(
            name == photos[0].parent.name for name, photos in zip(answers, known, strict=True)
        )
        wrong = sum(
            name not in (None, photos[0].parent.name)
            for name, photos in zip(answers, known, strict=True)
        )
        named = sum(main_name(engine, photo) is not None for (photo,) in strangers)
    assert found >= 0.9 * PEOPLE
    assert wrong == 0
    assert named <= 1
