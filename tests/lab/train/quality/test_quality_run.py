"""Training a quality network: damage that keeps its shape, and a run from photos to an entry."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from facekeep import save_image
from facekeep.errors import InputError
from facekeep.lab.train.quality.damage import damage, distort
from facekeep.lab.train.quality.faces import likely_usable
from facekeep.lab.train.quality.recipe import QualityRecipe
from facekeep.lab.train.quality.run import train_quality
from facekeep.models import entry

Image = NDArray[np.uint8]

pytestmark = pytest.mark.usefixtures("ready_models")


@pytest.fixture
def photos(tmp_path: Path, hopper: Image, collins: Image) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    save_image(folder / "hopper.png", hopper)
    save_image(folder / "collins.png", collins)
    return folder


@pytest.mark.slow
def test_damage_gives_crops_of_the_same_shape_and_follows_the_generator(hopper: Image) -> None:
    crop = np.ascontiguousarray(hopper[100:212, 200:312])
    rng, again = np.random.default_rng(3), np.random.default_rng(3)
    made = [damage(crop, rng) for _ in range(200)]
    assert {(each.shape, each.dtype.name) for each in made} == {((112, 112, 3), "uint8")}
    assert all(np.array_equal(each, damage(crop, again)) for each in made)
    like = [np.corrcoef(each.ravel(), crop.ravel())[0, 1] for each in made if each.std()]
    kept = sum(each > 0.97 for each in like)
    assert 20 < kept < 100, "one in five is left as it is, or nearly"


@pytest.mark.slow
def test_distortion_keeps_the_shape_and_follows_the_generator(hopper: Image) -> None:
    crop = np.ascontiguousarray(hopper[100:212, 200:312])
    rng, again = np.random.default_rng(3), np.random.default_rng(3)
    made = [distort(crop, rng) for _ in range(100)]
    assert {(each.shape, each.dtype.name) for each in made} == {((112, 112, 3), "uint8")}
    assert all(np.array_equal(each, distort(crop, again)) for each in made)
    assert not any(np.array_equal(each, crop) for each in made)


@pytest.mark.slow
def test_generators_in_the_same_state_damage_different_crops_alike() -> None:
    shades = [np.full((112, 112, 3), shade, np.uint8) for shade in (60, 90)]
    alike = [
        np.array_equal(*(damage(shade, np.random.default_rng(state)) == shade for shade in shades))
        for state in range(200)
    ]
    assert np.mean(alike) > 0.5, "what is covered or cut off is the same place"


def test_faces_that_grow_alike_are_not_usable_though_each_stays_near_itself() -> None:
    rng = np.random.default_rng(0)
    clear, own, common = unit(rng, 400), unit(rng, 160), unit(rng, 1)
    places = np.stack([rng.choice(400, 8, replace=False) for _ in range(20)])
    kept = 0.85 * clear[places.ravel()]
    apart, alike, gone = (
        likely_usable(each / np.linalg.norm(each, axis=1, keepdims=True), clear, places)
        for each in (kept + 0.5 * own, kept + 0.5 * common, own)
    )
    assert np.median(apart) > 0.8
    assert np.median(alike) < 0.3
    assert gone.max() < 0.1
    alone = likely_usable(clear[:3], clear, np.arange(3)[:, None])
    assert alone.min() > 0.9, "without others only the likeness to itself counts"


def unit(rng: np.random.Generator, count: int) -> NDArray[np.float32]:
    rows = rng.normal(size=(count, 128)).astype(np.float32)
    return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True))


@pytest.mark.slow
def test_a_run_yields_a_quality_network_of_its_embedder(photos: Path, tmp_path: Path) -> None:
    recipe = QualityRecipe(data=photos, crops=6, steps=3, batch=4, holdout=1)
    outcome = train_quality(recipe, tmp_path / "run", name="mine", threads=1)
    assert outcome.summary is not None
    assert (outcome.summary["faces"], outcome.summary["held_out"]) == (1, 1)
    assert 0 <= outcome.summary["holdout_error"] <= 1
    assert entry("mine").task == "quality"
    assert entry("sface").quality == "facekeep-quality", "what is built in stays"


@pytest.mark.slow
def test_as_many_photos_kept_out_as_there_are_is_an_error(photos: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holdout must be from 1 to 1"):
        train_quality(QualityRecipe(data=photos, crops=2, holdout=2), tmp_path / "run", threads=1)
