"""``facekeep train liveness``: attacks made from portraits, and what a run yields."""

from __future__ import annotations

import json
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from liveness_kit import add_brightness

from facekeep.errors import InputError
from facekeep.lab.train.liveness.attacks import KEPT_OUT, SPECIES, photograph, simulate
from facekeep.lab.train.liveness.faces import choose_portraits, make_crops
from facekeep.lab.train.liveness.recipe import LivenessRecipe
from facekeep.lab.train.liveness.run import LivenessTrainer, _above, train_liveness
from facekeep.liveness.passive import LivenessNetwork
from facekeep.models import entry
from facekeep.pipeline.detect import Detector
from facekeep.pipeline.image import save_image


def quiet(what: str, images: int) -> Any:
    return nullcontext(lambda done: None)


@pytest.fixture
def teacher(tmp_path: Path) -> str:
    add_brightness("bright", tmp_path)
    return "bright"


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory, hopper: Any, collins: Any) -> Path:
    """Bright portraits of two people, and a dark one."""
    folder = tmp_path_factory.mktemp("portraits")
    for number in range(4):
        photo = (hopper, collins)[number % 2].astype(float)
        lit = (photo * 0.3 + 175).clip(0, 255).astype(np.uint8)
        save_image(folder / f"{number}.png", cv2.resize(lit, None, fx=0.5, fy=0.5))
    save_image(folder / "dark.png", (collins * 0.2).astype(np.uint8))
    return folder


@pytest.mark.parametrize("species", ["live", *SPECIES])
def test_attacks_are_seen_by_the_detector_where_they_are_said_to_be(
    species: str, collins: Any
) -> None:
    with Detector(max_faces=1) as detector:
        bbox = detector.find(collins)[0].bbox
        near = np.concatenate([bbox[:2] - 60, bbox[2:] + 60]).astype(int)
        part = np.ascontiguousarray(collins[near[1] : near[3], near[0] : near[2]])
        bbox = bbox - np.tile(near[:2], 2)
        shares = []
        for seed in range(8):
            rng = np.random.default_rng(seed)
            if species == "live":
                frame = photograph(part, bbox, rng)
            else:
                frame = simulate(species, part, bbox, part, rng)
            assert frame.image.shape == (240, 240, 3)
            for face in detector.find(frame.image)[:1]:
                low = np.maximum(face.bbox[:2], frame.bbox[:2])
                high = np.minimum(face.bbox[2:], frame.bbox[2:])
                sides = [np.prod(box[2:] - box[:2]) for box in (face.bbox, frame.bbox)]
                shared = np.prod((high - low).clip(0))
                shares.append(shared / (sum(sides) - shared))
        assert len(shares) >= 5
        assert np.median(shares) > 0.5


def test_an_attack_is_the_same_for_the_same_seed(hopper: Any) -> None:
    box = np.array([180, 120, 350, 330])
    both = [simulate("screen", hopper, box, hopper, np.random.default_rng(3)) for _ in range(2)]
    assert (both[0].image == both[1].image).all()
    other = simulate("screen", hopper, box, hopper, np.random.default_rng(4))
    assert (both[0].image != other.image).any()


@pytest.mark.slow
def test_the_teacher_chooses_the_photos_and_says_how_likely_each_crop_lives(
    photos: Path, teacher: str, tmp_path: Path
) -> None:
    with LivenessNetwork(teacher) as network:
        portraits = choose_portraits(photos, network, threads=1, watch=quiet)
        assert len(portraits) == 4  # not the dark one
        rng = np.random.default_rng(0)
        crops = make_crops(portraits, ("print", "mask"), 3, network, rng, quiet)
        dark = tmp_path / "dark"
        dark.mkdir()
        (dark / "1.png").write_bytes((photos / "dark.png").read_bytes())
        with pytest.raises(InputError, match="like a living one"):
            choose_portraits(dark, network, threads=1, watch=quiet)
    assert crops.pixels.shape == (4 * 5, 80, 80, 3)
    assert crops.live.sum() == 4 * 2
    assert set(crops.species[~crops.live]) == {"print", "mask"}
    assert (crops.taught[crops.live] > 0.5).all()


@pytest.mark.slow
def test_a_run_yields_a_network_that_can_be_used(
    photos: Path, teacher: str, tmp_path: Path
) -> None:
    recipe = LivenessRecipe(data=photos, teacher=teacher, steps=8, batch=8, holdout=1, attacks=2)
    run = tmp_path / "run"
    result = train_liveness(recipe, run, name="ours", threads=1)
    assert result.finished
    summary = json.loads((run / "summary.json").read_text())
    assert (summary["faces"], summary["held_out"], summary["params"]) == (3, 1, 102_417)
    assert [each["auc"] for each in summary["species"]] == sorted(
        each["auc"] for each in summary["species"]
    )
    assert {each["species"] for each in summary["species"] if each["kept_out"]} == set(KEPT_OUT)
    assert entry("ours").crop_scales == (1.8,)
    with LivenessNetwork("ours") as network:
        crops = np.zeros((2, 1, 80, 80, 3), np.uint8)
        assert network.look_at(crops).shape == (2, 1)


@pytest.mark.slow
def test_what_it_learns_leaves_out_the_species_that_are_kept_out(
    photos: Path, teacher: str, tmp_path: Path
) -> None:
    recipe = LivenessRecipe(data=photos, teacher=teacher, steps=2, batch=4, holdout=1, attacks=7)
    trainer, _ = LivenessTrainer.prepare(recipe, tmp_path, 1, quiet)
    assert not set(trainer._faces.species) & set(KEPT_OUT)
    assert set(KEPT_OUT) < set(trainer._held_out.species)


def test_how_often_living_faces_are_above_attacks() -> None:
    assert _above(np.array([2.0, 3.0]), np.array([0.0, 1.0])) == 1.0
    assert _above(np.array([0.0, 3.0]), np.array([0.0, 1.0])) == 0.625
