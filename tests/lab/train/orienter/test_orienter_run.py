"""``facekeep train orienter``: turned crops with the right answers, and what a run yields."""

from __future__ import annotations

import json
from contextlib import nullcontext
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from facekeep.errors import InputError
from facekeep.lab.datasets.augment import Augment
from facekeep.lab.train.orienter.faces import CHANGES, cut_upright, make_batch
from facekeep.lab.train.orienter.recipe import OrienterRecipe
from facekeep.lab.train.orienter.run import train_orienter
from facekeep.lab.train.refiner.faces import center_pose
from facekeep.models import entry
from facekeep.pipeline.image import save_image
from facekeep.pipeline.orientation import Orienter
from facekeep.pipeline.refine import upright_landmarks

SMALL = {"steps": 10, "batch": 8, "holdout": 2}


@pytest.fixture(scope="module")
def photos(
    tmp_path_factory: pytest.TempPathFactory,
    hopper: NDArray[np.uint8],
    collins: NDArray[np.uint8],
) -> Path:
    """Six upright photos of two people, and one without a face."""
    folder = tmp_path_factory.mktemp("orienter")
    for number in range(6):
        image = np.asarray((hopper, collins)[number % 2])
        factor = 0.4 + 0.05 * number
        save_image(folder / f"{number}.png", cv2.resize(image, None, fx=factor, fy=factor))
    save_image(folder / "none.png", np.zeros((90, 90, 3), np.uint8))
    return folder


def quiet(what, images):
    return nullcontext(lambda done: None)


@pytest.mark.slow
def test_faces_are_cut_out_upright(photos: Path):
    patches = cut_upright(photos, threads=1, watch=quiet)
    assert patches.shape == (6, 128, 128, 3)
    assert np.abs(patches[0].astype(int) - patches[2]).mean() < 15  # of one photo, at two sizes
    assert np.abs(patches[0].astype(int) - patches[1]).mean() > 30


def test_photos_without_faces_are_refused(tmp_path: Path):
    save_image(tmp_path / "none.png", np.zeros((90, 90, 3), np.uint8))
    with pytest.raises(InputError, match="no upright face"):
        cut_upright(tmp_path, threads=1, watch=quiet)


def test_answers_point_from_eye_to_eye():
    """A red left eye and a green right one lie where the answer says, or mirrored."""
    patch = np.zeros((128, 128, 3), np.uint8)
    for channel, (x, y) in enumerate(center_pose(128, 0.6)[:2]):
        cv2.circle(patch, (round(x), round(y)), 4, [(255, 0, 0), (0, 255, 0)][channel], -1)
    rng = np.random.default_rng(0)
    crops, answers = make_batch(patch[None], np.zeros(200, int), rng, Augment.none())
    rows, columns = np.indices(crops.shape[1:3])
    seen = faces = 0
    for crop, answer in zip(crops, answers, strict=True):
        if not answer.any():
            continue
        faces += 1
        light = crop[..., :2].astype(float)
        if (light.sum(axis=(0, 1)) < 3000).any():
            continue  # an eye is outside
        total = light.sum(axis=(0, 1))
        x, y = ((each[..., None] * light).sum(axis=(0, 1)) / total for each in (columns, rows))
        eyes = np.array([x[1] - x[0], y[1] - y[0]])
        assert abs(abs(eyes @ answer) / np.linalg.norm(eyes)) > 0.99
        np.testing.assert_allclose(np.linalg.norm(answer), 1, rtol=1e-5)
        seen += 1
    assert seen > 0.8 * faces
    assert 180 <= faces < 200
    assert 0.4 < (answers[:, 0] > 0.7).mean() < 0.7


def test_a_mirrored_face_is_turned_the_same_way():
    """What lies on top of the face lies on top, mirrored or not."""
    patch = np.zeros((128, 128, 3), np.uint8)
    patch[:40] = 255
    crops, answers = make_batch(
        patch[None], np.zeros(100, int), np.random.default_rng(0), Augment.none()
    )
    for crop, answer in zip(crops, answers, strict=True):
        light = crop[..., 0].astype(float)
        if answer.any() and light.sum() > 64 * 64 * 10:
            rows, columns = np.indices(light.shape)
            middle_of = np.array([(columns * light).sum(), (rows * light).sum()]) / light.sum()
            up = np.array([answer[1], -answer[0]])
            assert (middle_of - 31.5) @ up > 0


def test_the_same_chance_gives_the_same_batch():
    patches = np.random.default_rng(0).integers(0, 256, (3, 128, 128, 3), np.uint8)
    places = np.arange(3)
    one, two, other = (
        make_batch(patches, places, np.random.default_rng(seed), CHANGES) for seed in (1, 1, 2)
    )
    assert all(np.array_equal(*pair) for pair in zip(one, two, strict=True))
    assert not np.array_equal(one[0], other[0])


@pytest.mark.slow
def test_a_run_yields_a_network_with_a_name(cli, photos: Path, tmp_path: Path, hopper):
    flags = [word for name, value in SMALL.items() for word in (f"--{name}", value)]
    folder = tmp_path / "run"
    words = ["train", "orienter", "--data", photos, "--out", folder, *flags]
    done = cli(*words, "--name", "ours", "--threads", "1", "--json")
    assert done.status == 0, done.err
    assert entry("ours").task == "orient"
    summary = json.loads((folder / "summary.json").read_text())
    assert (summary["faces"], summary["held_out"], summary["crops_seen"]) == (4, 2, 80)
    assert 0 <= summary["holdout_wrong"] <= 1
    assert {path.name for path in folder.iterdir()} == {
        *("orienter.onnx", "orienter.pt", "curves.png", "summary.json", "log.csv"),
        *("recipe.json", "checkpoint.pt"),
    }
    with Orienter("ours") as orienter:
        crops = orienter.crops(hopper, [])
        assert crops.pixels.shape == (0, 64, 64, 3)
    done = cli("train", "orienter", "--resume", "--out", folder, "--threads", "1")
    assert done.status == 0, done.err
    assert "are wrong by more than 45 degrees" in done.out


@pytest.mark.slow
def test_it_learns(photos: Path, tmp_path: Path):
    recipe = OrienterRecipe(data=photos, steps=150, batch=16, holdout=2)
    summary = train_orienter(recipe, tmp_path / "run").summary
    assert summary is not None
    assert summary["holdout_angle"] < 60


@pytest.mark.slow
def test_too_many_kept_out_is_one_clear_line(cli, photos: Path, tmp_path: Path):
    words = ["train", "orienter", "--data", photos, "--out", tmp_path / "run", "--holdout", "6"]
    done = cli(*words)
    assert done.status == 2
    assert "--holdout must be from 1 to 5" in done.err
    assert not (tmp_path / "run").exists()


def test_the_pose_lies_in_the_middle_of_the_patch():
    np.testing.assert_allclose(center_pose(64, 1.0), upright_landmarks(64))
