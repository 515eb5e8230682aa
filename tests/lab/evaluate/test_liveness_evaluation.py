"""APCER, BPCER and ACER by ISO/IEC 30107-3."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from liveness_kit import face_in

from facekeep.errors import InputError
from facekeep.lab.evaluate.liveness import (
    Measured,
    Presentation,
    evaluate_liveness,
    find_presentations,
    measure_presentations,
)
from facekeep.pipeline.image import save_image


def shots(species: str, *scores: float | None) -> list[Measured]:
    return [Measured(species, False, (score,), score) for score in scores]


def tenths(count: int = 10) -> list[float]:
    return [(number + 0.5) / 10 for number in range(count)]


def rates(measured: list[Measured], **options: Any) -> dict[str, Any]:
    found = evaluate_liveness(measured, **{"tracks": False, "bpcer": 0.1, **options})
    assert found is not None
    return found.to_dict()


def test_the_stated_bpcer_sets_the_threshold() -> None:
    measured = [*shots("live", *tenths()), *shots("print", 0.1, 0.2, 0.9)]
    found = rates(measured, bpcer=0.2)
    assert (found["threshold"], found["bpcer"]) == (0.25, 0.2)
    assert rates(measured, bpcer=0.0)["threshold"] == 0.05
    assert rates(measured, bpcer=0.19)["bpcer"] == 0.1
    given = rates(measured, threshold=0.5)
    assert (given["threshold"], given["bpcer"]) == (0.5, 0.5)


def test_attacks_are_rated_by_species_the_worst_first() -> None:
    measured = [
        *shots("live", *tenths()),
        *shots("mask", 0.1, 0.1, 0.1, 0.9),
        *shots("print", 0.9, 0.9, 0.1, 0.1),
        *shots("screen", 0.0, 0.0, 0.0, 0.0),
    ]
    found = rates(measured)
    assert list(found["apcer"].items()) == [("print", 0.5), ("mask", 0.25), ("screen", 0.0)]
    assert found["acer"] == pytest.approx((0.1 + 0.5) / 2)
    assert found["counts"] == {"live": 10, "attack": {"mask": 4, "print": 4, "screen": 4}}


def test_a_score_at_the_threshold_counts_as_living() -> None:
    measured = [*shots("live", 0.5, 0.9), *shots("print", 0.5)]
    found = rates(measured, threshold=0.5)
    assert (found["bpcer"], found["apcer"]) == (0.0, {"print": 1.0})


def test_who_gives_no_response_is_counted_beside() -> None:
    measured = [*shots("live", 0.9, None), *shots("print", None, None, None, 0.1)]
    found = rates(measured, bpcer=0.0)
    assert (found["bpcer"], found["apcer"]) == (0.0, {"print": 0.0})
    assert found["non_response"] == {"live": 0.5, "attack": {"print": 0.75}}


def test_intervals_are_wilsons() -> None:
    """Of 0 in 10 it is 0 to 27.75 %, of 5 in 10 it is 23.66 to 76.34 %."""
    measured = [*shots("live", *[0.9] * 10), *shots("a", *[0.0] * 10)]
    measured += shots("b", *[0.0] * 5, *[1.0] * 5)
    spans = rates(measured, bpcer=0.0)["intervals"]["apcer"]
    assert spans["a"] == pytest.approx([0.0, 0.2775], abs=1e-4)
    assert spans["b"] == pytest.approx([0.2366, 0.7634], abs=1e-4)


def test_tracks_count_once() -> None:
    measured = [
        Measured("live", True, (0.9, 0.1, 0.9), 0.9),
        Measured("print", True, (0.9, 0.1, 0.1), 0.1),
        *shots("live", 0.0),
    ]
    frames = rates(measured, threshold=0.5)
    assert frames["counts"] == {"live": 4, "attack": {"print": 3}}
    assert (frames["bpcer"], frames["apcer"]["print"]) == (0.5, pytest.approx(1 / 3, abs=1e-6))
    tracks = rates(measured, tracks=True, threshold=0.5)
    assert tracks["counts"] == {"live": 1, "attack": {"print": 1}}
    assert (tracks["bpcer"], tracks["apcer"]) == (0.0, {"print": 0.0})
    single = [*shots("live", 0.9), *shots("print", 0.1)]
    assert evaluate_liveness(single, tracks=True, bpcer=0.1) is None


@pytest.mark.parametrize("empty", ["live", "print"])
def test_sides_without_any_response_cannot_be_rated(empty: str) -> None:
    measured = [each for name in ("live", "print") for each in shots(name, 0.5)]
    silent = [*shots(empty, None), *(each for each in measured if each.species != empty)]
    with pytest.raises(InputError, match="clear enough"):
        evaluate_liveness(silent, tracks=False, bpcer=0.1)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    image = np.full((60, 60, 3), 120, np.uint8)
    names = ("live/a.png", "live/walk/1.png", "live/walk/2.png", "attack/print/a.png")
    for name in (*names, "attack/mask/a.png", "attack/mask/.hidden.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        save_image(tmp_path / name, image)
    (tmp_path / "attack/mask/notes.txt").write_text("no picture")
    (tmp_path / "attack/mask/film.mp4").write_bytes(b"")
    return tmp_path


def test_pictures_videos_and_folders_are_presentations(folder: Path) -> None:
    found = find_presentations([folder])
    assert [(each.species, each.path.name, each.track) for each in found] == [
        ("live", "a.png", False),
        ("live", "walk", True),
        ("mask", "a.png", False),
        ("mask", "film.mp4", True),
        ("print", "a.png", False),
    ]


def test_videos_that_are_named_are_told_by_their_folder(folder: Path) -> None:
    found = find_presentations([folder / "attack/mask/film.mp4", folder / "live/a.png"])
    assert [each.species for each in found] == ["mask", "live"]
    (folder / "film.mp4").write_bytes(b"")
    with pytest.raises(InputError, match="lies in no folder"):
        find_presentations([folder / "film.mp4"])
    with pytest.raises(InputError, match="there is no"):
        find_presentations([folder / "live/gone.mp4"])


def test_living_faces_alone_are_refused(folder: Path) -> None:
    with pytest.raises(InputError, match="living faces and attacks"):
        find_presentations([folder / "live"])
    with pytest.raises(InputError, match="living faces and attacks"):
        find_presentations([folder / "live/a.png"])


class Finder:
    """Finds a face in the middle of each picture that is not black."""

    def find(self, image: Any) -> Any:
        return [face_in(image)] if image.any() else []


class Light:
    """Takes bright pictures for living faces."""

    def score(self, image: Any, faces: Any) -> Any:
        return np.array([image.mean() / 255])


def test_each_frame_and_the_whole_are_measured(tmp_path: Path) -> None:
    for number, level in enumerate((0, 100, 120, 200)):
        save_image(tmp_path / f"{number}.png", np.full((300, 300, 3), level, np.uint8))
    (found,) = measure_presentations([Presentation("live", tmp_path)], [Light()], Finder())
    assert found.frames == (None, *(pytest.approx(each / 255) for each in (100, 120, 200)))
    assert found.fused == pytest.approx(120 / 255)
