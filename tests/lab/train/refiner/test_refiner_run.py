"""``facekeep train refiner``: what a run yields, and that stopping it changes nothing."""

from __future__ import annotations

import json
import shutil
import signal
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from litert_kit import face_mesh

from facekeep.errors import ConfigError, InputError, ModelCorrupt, ModelError
from facekeep.lab.train.refiner import run
from facekeep.lab.train.refiner.recipe import RefinerRecipe
from facekeep.lab.train.refiner.run import train_refiner
from facekeep.lab.train.small import read_recipe, recipe_json
from facekeep.models import entry
from facekeep.pipeline.detect import Detector
from facekeep.pipeline.image import save_image
from facekeep.pipeline.refine import Refiner

SMALL = {"steps": 10, "batch": 8, "holdout": 2}
FLAGS = [word for name, value in SMALL.items() for word in (f"--{name}", value)]


@pytest.fixture(scope="module")
def straight(tmp_path_factory: pytest.TempPathFactory, photos: Path) -> Path:
    """The folder of a run that nothing disturbed."""
    folder = tmp_path_factory.mktemp("straight") / "run"
    assert train_refiner(RefinerRecipe(data=photos, **SMALL), folder).finished
    return folder


def stopping_after(images: int):
    """What interrupts a run once so many crops were learned from."""

    @contextmanager
    def watch(what, total):
        done = 0

        def advance(count):
            nonlocal done
            done += count
            if what == "Training" and done >= images:
                signal.raise_signal(signal.SIGINT)

        yield advance

    return watch


def without_speed(log: Path) -> list[str]:
    return [line.rpartition(",")[0] for line in log.read_text().splitlines()]


@pytest.mark.slow
def test_a_run_yields_everything(straight: Path):
    names = {path.name for path in straight.iterdir()}
    assert names == {
        *("refiner.onnx", "refiner.pt", "curves.png", "summary.json", "log.csv"),
        *("recipe.json", "checkpoint.pt"),
    }
    summary = json.loads((straight / "summary.json").read_text())
    assert (summary["faces"], summary["held_out"]) == (12, 6)
    assert summary["crops_seen"] == 80
    assert summary["params"] == 94_602


@pytest.mark.slow
def test_a_stopped_run_goes_on_to_the_same_end(tmp_path: Path, photos: Path, straight: Path):
    folder, recipe = tmp_path / "run", RefinerRecipe(data=photos, **SMALL)
    stopped = train_refiner(recipe, folder, watch=stopping_after(5 * 8))
    assert (stopped.finished, stopped.step) == (False, 5)
    assert not (folder / "refiner.onnx").exists()
    assert train_refiner(read_recipe(RefinerRecipe, folder), folder, resume=True).finished
    content = (folder / "refiner.onnx").read_bytes()
    assert content == (straight / "refiner.onnx").read_bytes()
    assert without_speed(folder / "log.csv") == without_speed(straight / "log.csv")


@pytest.mark.slow
def test_a_finished_run_gets_its_name_without_its_photos(cli, straight: Path, tmp_path: Path):
    folder = tmp_path / "run"
    shutil.copytree(straight, folder)
    recipe = json.loads((folder / "recipe.json").read_text())
    (folder / "recipe.json").write_text(json.dumps(recipe | {"data": str(tmp_path / "gone")}))
    done = cli("train", "refiner", "--resume", "--out", folder, "--name", "late", "--json")
    assert done.status == 0, done.err
    assert entry("late").task == "refine"
    (folder / "refiner.onnx").unlink()
    done = cli("train", "refiner", "--resume", "--out", folder, "--name", "later")
    assert done.status == 2
    assert "no model file at" in done.err


@pytest.mark.slow
def test_it_learns(tmp_path: Path, photos: Path):
    recipe = RefinerRecipe(data=photos, steps=200, batch=16, holdout=2)
    summary = train_refiner(recipe, tmp_path / "run").summary
    assert summary is not None
    lines = (tmp_path / "run" / "log.csv").read_text().splitlines()
    first = dict(zip(lines[0].split(","), lines[1].split(","), strict=True))
    assert summary["holdout_error"] < 0.8 * float(first["holdout_error"])


@pytest.mark.slow
def test_the_command_line_trains_and_names(cli, photos: Path, tmp_path: Path, hopper):
    words = ["train", "refiner", "--data", photos, "--out", tmp_path / "run", *FLAGS]
    done = cli(*words, "--name", "ours", "--threads", "1", "--json")
    assert done.status == 0, done.err
    assert done.json["finished"]
    assert done.json["model"] == "ours"
    assert entry("ours").task == "refine"
    with Detector() as detector, Refiner("ours") as refiner:
        (face,) = detector.detect(hopper)
        (refined,) = refiner.refine(hopper, [face])
    eyes = np.linalg.norm(face.landmarks[1] - face.landmarks[0])
    assert np.abs(refined.landmarks - face.landmarks).max() < eyes


@pytest.mark.slow
def test_it_learns_from_a_teacher_without_annotations(cli, tmp_path: Path, hopper, collins):
    photos, teacher, out = tmp_path / "photos", tmp_path / "mesh.tflite", tmp_path / "run"
    photos.mkdir()
    for number, portrait in enumerate([hopper, collins, hopper[:, ::-1]]):
        save_image(photos / f"{number}.png", portrait)
    points = np.array([[72.6, 73.2], [118.4, 73.2], [95.5, 100.5], [75.3, 122.7], [115.7, 122.7]])
    teacher.write_bytes(face_mesh(points))
    words = ["train", "refiner", "--data", photos, "--teacher", teacher, "--holdout", 1]
    done = cli(*words, "--steps", 4, "--batch", 4, "--out", out, "--threads", "1", "--json")
    assert done.status == 0, done.err
    assert (done.json["faces"], done.json["held_out"]) == (2, 1)
    assert done.json["recipe"]["teacher"] == str(teacher)
    assert (out / "refiner.onnx").is_file()


@pytest.mark.slow
def test_the_command_line_goes_on(cli, photos: Path, tmp_path: Path):
    folder = tmp_path / "run"
    train_refiner(RefinerRecipe(data=photos, **SMALL), folder, watch=stopping_after(3 * 8))
    done = cli("train", "refiner", "--resume", "--out", folder, "--threads", "1", "--name", "ours")
    assert done.status == 0, done.err
    assert "landmarks of people kept out are off by" in done.out
    assert done.out.count("ours: in the catalog") == 1


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--data", "{photos}", "--out", "{straight}"], "exists already"),
        (["--out", "{new}"], "name it with --data"),
        (["--out", "{new}", "--resume"], "no run in"),
        (["--out", "{straight}", "--resume", "--steps", "5"], "leave out all others"),
        (
            ["--data", "{photos}", "--out", "{new}", "--steps", "0"],
            "--steps must be a whole number from 1",
        ),
        (
            ["--data", "{photos}", "--out", "{new}", "--holdout", "6"],
            "--holdout must be from 1 to 5",
        ),
        (["--data", "{photos}", "--out", "{new}", "--name", "sface"], "already called"),
        (["--data", "{photos}", "--out", "{new}", "--teacher", "{new}.whl"], "no model file at"),
    ],
)
def test_wrong_use_is_one_clear_line(
    cli, photos: Path, straight: Path, tmp_path: Path, words: list[str], message: str
):
    places = {"photos": photos, "straight": straight, "new": tmp_path / "new"}
    done = cli("train", "refiner", *(word.format(**places) for word in words))
    assert done.status == 2
    assert message in done.err
    assert done.err.count("\n") == 1
    assert not (tmp_path / "new").exists()


@pytest.mark.slow
def test_a_damaged_recipe_or_checkpoint_is_told(tmp_path: Path, photos: Path):
    folder = tmp_path / "run"
    folder.mkdir()
    with pytest.raises(InputError, match="no run in"):
        read_recipe(RefinerRecipe, folder)
    for content in (b"{", b"[]", b"{}", b'{"data": 3}', b'{"data": "x", "steps": "y"}'):
        (folder / "recipe.json").write_bytes(content)
        with pytest.raises(ConfigError, match="is no recipe of a refiner"):
            read_recipe(RefinerRecipe, folder)
    recipe = RefinerRecipe(data=photos, **SMALL)
    (folder / "recipe.json").write_bytes(recipe_json(recipe))
    (folder / "checkpoint.pt").write_bytes(b"no checkpoint")
    with pytest.raises(ModelCorrupt, match="damaged"):
        train_refiner(read_recipe(RefinerRecipe, folder), folder, resume=True)


@pytest.mark.slow
def test_a_loss_that_is_no_number_stops_the_run(tmp_path: Path, photos: Path, monkeypatch):
    losses = run.RefinerTrainer.losses
    broken = lambda self, step: losses(self, step) * (float("nan") if step == 3 else 1)  # noqa: E731
    monkeypatch.setattr(run.RefinerTrainer, "losses", broken)
    with pytest.raises(ModelError, match="no longer a finite number at step 4"):
        train_refiner(RefinerRecipe(data=photos, **SMALL), tmp_path / "run")
