"""Whole runs of the detector's training, on two portraits."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from facekeep import Detector
from facekeep.errors import ConfigError, InputError
from facekeep.lab.train.detector.recipe import DetectorRecipe
from facekeep.lab.train.detector.run import train_detector
from facekeep.lab.train.log import read_log
from facekeep.lab.train.small import read_recipe, recipe_json
from facekeep.models import entry

SMALL = {"steps": 4, "batch": 2, "side": 96, "holdout": 1}


@contextmanager
def interrupted(what: str, images: int) -> Iterator[Callable[[int], None]]:
    """Ask to stop after the second step."""
    seen = 0

    def advance(count: int) -> None:
        nonlocal seen
        seen += count
        if what == "Training" and seen == 2 * SMALL["batch"]:
            signal.raise_signal(signal.SIGINT)

    yield advance


@pytest.fixture(scope="module")
def whole(annotated_photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("runs") / "whole"
    outcome = train_detector(DetectorRecipe(data=annotated_photos, **SMALL), run, threads=1)
    assert outcome.finished
    assert outcome.step == 4
    return run


@pytest.mark.slow
def test_a_run_yields_a_detector_and_says_how(whole: Path):
    summary = json.loads((whole / "summary.json").read_text())
    assert summary["canvases_seen"] == 8
    assert (summary["data"], summary["held_out"]) == (2, 2)
    assert summary["recipe"]["steps"] == 4
    assert all((whole / name).is_file() for name in summary["files"].values())
    log = read_log(whole / "log.csv")
    assert log["step"] == [1, 2, 3, 4]
    parts = (log[f"loss_{name}"] for name in ("score", "box", "landmarks"))
    assert np.add.reduce(list(parts)) == pytest.approx(log["loss"], rel=1e-5)
    assert log["holdout_loss"][-1] == pytest.approx(summary["holdout_loss"]["loss"], rel=1e-5)


@pytest.mark.slow
def test_an_interrupted_run_goes_on_as_if_it_had_not_been(
    whole: Path, annotated_photos: Path, tmp_path: Path
):
    recipe = DetectorRecipe(data=annotated_photos, **SMALL)
    stopped = train_detector(recipe, tmp_path / "run", threads=1, watch=interrupted)
    assert (stopped.finished, stopped.step) == (False, 2)
    assert not (tmp_path / "run" / "detector.onnx").exists()
    recipe = read_recipe(DetectorRecipe, tmp_path / "run")
    assert train_detector(recipe, tmp_path / "run", resume=True, threads=1).finished
    made = (tmp_path / "run" / "detector.onnx").read_bytes()
    assert made == (whole / "detector.onnx").read_bytes()
    again, before = (read_log(folder / "log.csv") for folder in (tmp_path / "run", whole))
    assert again["loss"] == before["loss"]


@pytest.mark.slow
def test_a_run_may_begin_with_yunet_and_get_a_name(
    annotated_photos: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    hopper: NDArray[np.uint8],
):
    monkeypatch.setenv("FACEKEEP_MODELS", str(tmp_path / "models"))
    recipe = DetectorRecipe(
        data=annotated_photos,
        scenes=annotated_photos,
        crops=annotated_photos,
        begin="yunet",
        **{**SMALL, "steps": 1},
    )
    outcome = train_detector(recipe, tmp_path / "run", name="ours", threads=1)
    assert outcome.summary is not None
    assert outcome.summary["scenes"] == outcome.summary["crops"] == 4
    made = entry("ours")
    assert made.task == "detect"
    assert "yunet" in made.summary
    with Detector(made) as own, Detector() as theirs:
        (found,), (wanted,) = own.detect(hopper), theirs.detect(hopper)
    np.testing.assert_allclose(found.bbox, wanted.bbox, atol=0.2 * wanted.size)
    with pytest.raises(InputError, match="already called"):
        train_detector(recipe, tmp_path / "other", name="ours")
    assert not (tmp_path / "other").exists()


@pytest.mark.slow
def test_a_folder_that_exists_is_left_alone(annotated_photos: Path, tmp_path: Path):
    with pytest.raises(InputError, match="exists already"):
        train_detector(DetectorRecipe(data=annotated_photos, **SMALL), tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "value"), [("steps", 0), ("batch", 0), ("side", 100), ("lr", 0.0), ("holdout", 0)]
)
def test_a_recipe_refuses_what_makes_no_sense(name: str, value: float):
    with pytest.raises(InputError, match=name):
        DetectorRecipe(data=Path("photos"), **{name: value})


@pytest.mark.parametrize("name", [b"photos", "Fotos \u00fc".encode(), b"caf\xe9"])
def test_a_recipe_reads_back_as_what_it_is(tmp_path: Path, name: bytes):
    recipe = DetectorRecipe(
        data=tmp_path / os.fsdecode(name), scenes=tmp_path / "scenes.tar", lr=3e-4
    )
    (tmp_path / "recipe.json").write_bytes(recipe_json(recipe))
    assert read_recipe(DetectorRecipe, tmp_path) == recipe
    assert json.loads(recipe_json(recipe))["crops"] is None


@pytest.mark.parametrize("content", [b"", b"[]", b'{"steps": 3}', b'{"data": "x", "no": 1}'])
def test_a_damaged_recipe_is_told(tmp_path: Path, content: bytes):
    with pytest.raises(InputError, match="no run in"):
        read_recipe(DetectorRecipe, tmp_path)
    (tmp_path / "recipe.json").write_bytes(content)
    with pytest.raises(ConfigError, match="no recipe of a detector"):
        read_recipe(DetectorRecipe, tmp_path)
