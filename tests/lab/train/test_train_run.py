"""Whole runs of a few steps: what they yield, and that stopping them changes nothing."""

from __future__ import annotations

import errno
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from train_kit import losses, small, stopping_after, write_people

from facekeep import save_image
from facekeep.errors import Hint, ImageError, InputError, ModelError, StorageFull
from facekeep.lab.datasets import read_people
from facekeep.lab.evaluate import measure_holdout_tar
from facekeep.lab.nn import create_model, load_checkpoint, save_checkpoint
from facekeep.lab.train import training_state
from facekeep.lab.train.learner import Learner
from facekeep.lab.train.recipe import Recipe, given_values, make_recipe
from facekeep.lab.train.run import TrainingResult, train
from facekeep.lab.train.training_state import load_training_state as load_state
from facekeep.models import import_model
from facekeep.runtime import open_session

pytestmark = pytest.mark.slow


@pytest.fixture(scope="session")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The checkpoint of a small network that others learn from."""
    torch.manual_seed(8)
    path = tmp_path_factory.mktemp("teacher") / "teacher.pt"
    save_checkpoint(create_model("edgeface-xxs", gamma=0.3, input_size=64, layer_scale=0.5), path)
    return path


def named(teacher: Path) -> None:
    import_model(teacher, "old", arch="edgeface-xxs", gamma=0.3, input_size=64)


KINDS: dict[str, dict[str, Any]] = {
    "cosface": {},
    "fine-tuned": {"from_": "old", "arch": None},
    "multiplied out": {"from_": "old", "arch": None, "gamma": 0.0},
    "softmax without average": {"head": "softmax", "ema": 0.0},
    "sampled arcface with a teacher": {"head": "arcface", "sample_rate": 0.4, "teacher": ("old",)},
    "teacher alone in bf16": {"head": "none", "teacher": ("old",), "precision": "bf16"},
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_run_that_was_stopped_goes_on_to_the_same_end(
    tmp_path: Path, people: Path, teacher: Path, kind: str
):
    named(teacher)
    recipe = small(people, **KINDS[kind])
    straight = train(recipe, tmp_path / "straight")
    assert (straight.finished, straight.step) == (True, 5)
    folder = tmp_path / "stopped"
    assert train(recipe, folder, watch=stopping_after(8)) == TrainingResult(finished=False, step=1)
    again = train(recipe, folder, resume=True, watch=stopping_after(16))
    assert again == TrainingResult(finished=False, step=3)
    assert train(recipe, folder, resume=True).finished
    assert (folder / "model.pt").read_bytes() == (tmp_path / "straight/model.pt").read_bytes()
    assert losses(folder / "log.csv") == losses(tmp_path / "straight/log.csv")
    assert (folder / "best.pt").read_bytes() == (tmp_path / "straight/best.pt").read_bytes()


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory, people: Path) -> tuple[Path, TrainingResult]:
    """The folder of a finished run, and what became of it."""
    folder = tmp_path_factory.mktemp("done") / "run"
    return folder, train(small(people), folder)


def test_a_run_yields_all_its_files(done: tuple[Path, TrainingResult]):
    folder, outcome = done
    assert sorted(path.name for path in folder.iterdir()) == [
        "best.pt",
        "checkpoint.pt",
        "curves.png",
        "holdout.tsv",
        "log.csv",
        "model.onnx",
        "model.pt",
        "recipe.toml",
        "summary.json",
    ]
    assert outcome.summary is not None
    assert outcome.summary["params"] == 1_244_744
    assert (outcome.summary["images"], outcome.summary["people"]) == (45, 9)
    assert outcome.summary["holdout"] == {"people": 3, "images": 15}
    assert (outcome.summary["samples_seen"], outcome.summary["corrupt"]) == (40, 0)
    point = outcome.summary["tar"]["1e-2"]
    assert (point["mated"], point["non_mated"]) == (30, 75)


def test_the_people_kept_out_can_be_measured_again(done: tuple[Path, TrainingResult], people: Path):
    kept_out = read_people(people, labels=done[0] / "holdout.tsv", aligned=True)
    assert (len(kept_out.samples), len(set(kept_out.person))) == (15, 3)
    assert done[1].summary is not None
    model = load_checkpoint(done[0] / "model.pt", "edgeface-xxs", input_size=64).eval()
    images = np.stack([kept_out.samples.load(place) for place in range(15)])
    with torch.no_grad():
        rows = model(torch.from_numpy(images).permute(0, 3, 1, 2) / 127.5 - 1)
    rows = torch.nn.functional.normalize(rows).numpy()
    (point, _) = measure_holdout_tar(rows, kept_out.person, (1e-2, 1e-3))
    assert point.tar == pytest.approx(done[1].summary["tar"]["1e-2"]["tar"], abs=0.04)


def test_the_weights_are_the_average_without_the_classifier(done: tuple[Path, TrainingResult]):
    model = load_checkpoint(done[0] / "model.pt", "edgeface-xxs", input_size=64)
    state = load_state(done[0] / "checkpoint.pt")["learner"]
    average = state["ema"]["model"]
    assert all(torch.equal(value, average[key]) for key, value in model.state_dict().items())
    assert any(not torch.equal(state["model"][key], value) for key, value in average.items())
    assert state["head"]["weight"].shape == (9, 512)


def test_the_onnx_file_is_the_same_network(done: tuple[Path, TrainingResult]):
    model = load_checkpoint(done[0] / "model.pt", "edgeface-xxs", input_size=64).eval()
    images = torch.rand(3, 3, 64, 64) * 2 - 1
    session = open_session(done[0] / "model.onnx")
    (rows,) = session.run({"image": images.numpy()})
    with torch.no_grad():
        expected = model(images)
    assert torch.nn.functional.cosine_similarity(torch.from_numpy(rows), expected).min() > 0.99999


def test_the_recipe_in_the_folder_gives_the_same_run(tmp_path: Path, people: Path):
    train(Recipe(data=people, input_size=64, batch=32, epochs=2, workers=0), tmp_path / "one")
    again = make_recipe(given_values({}, tmp_path / "one/recipe.toml"))
    assert again.lr == 5e-4
    assert again.arch == "edgeface-xxs"
    train(again, tmp_path / "two")
    for name in ("model.pt", "recipe.toml"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()


def test_workers_change_nothing(tmp_path: Path, people: Path):
    train(small(people, steps=2, workers=2), tmp_path / "run")
    train(small(people, steps=2), tmp_path / "plain")
    assert (tmp_path / "run/model.pt").read_bytes() == (tmp_path / "plain/model.pt").read_bytes()


def test_fine_tuning_begins_with_classes_where_their_faces_are(
    tmp_path: Path, people: Path, teacher: Path
):
    named(teacher)
    first = []
    for name, begin in (("scratch", {"gamma": 0.3}), ("tuned", {"from_": "old", "arch": None})):
        train(small(people, steps=1, lr=1e-9, **begin), tmp_path / name)
        first.append(float(losses(tmp_path / name / "log.csv")[1][2]))
    assert first[1] < 0.9 * first[0]


def test_a_head_alone_takes_no_places_for_faces_without_names(
    tmp_path: Path, people: Path, teacher: Path
):
    table = tmp_path / "people.csv"
    known = [path.relative_to(people) for path in sorted(people.glob("*/*.png"))][:20]
    table.write_text("key,identity\n" + "".join(f"{key},{key.parent}\n" for key in known))
    named(teacher)
    seen = []
    for name, extra in (("alone", {}), ("taught", {"teacher": ("old",)})):
        recipe = small(people, labels=table, holdout=0, steps=1, **extra)
        seen.append((train(recipe, tmp_path / name).summary or {})["images"])
    assert seen == [20, 60]


def test_a_finished_run_gone_on_with_tells_the_same(tmp_path: Path, people: Path):
    outcome = train(small(people, steps=2), tmp_path / "run")
    assert outcome.summary is not None
    assert outcome.summary["command"].startswith("facekeep train --recipe /")
    assert train(small(people, steps=2), tmp_path / "run", resume=True) == outcome


def test_learning_lowers_the_loss_of_faces_seen_again(tmp_path: Path, people: Path):
    recipe = small(people, steps=24, head="softmax", layer_scale=1.0, holdout=0, batch=16)
    train(recipe, tmp_path / "run")
    found = [float(row[2]) for row in losses(tmp_path / "run/log.csv")[1:]]
    assert found[-1] < 0.9 * found[0]


class TestWhatGoesWrong:
    def test_a_folder_that_exists_is_left_as_it_is(self, tmp_path: Path, people: Path):
        (tmp_path / "run").mkdir()
        (tmp_path / "run/mine.txt").write_text("mine")
        with pytest.raises(InputError, match="exists already and is not overwritten"):
            train(small(people), tmp_path / "run")
        assert [path.name for path in (tmp_path / "run").iterdir()] == ["mine.txt"]

    def test_a_run_that_cannot_begin_leaves_no_folder(self, tmp_path: Path, people: Path):
        with pytest.raises(InputError, match="leaves fewer than 2"):
            train(small(people, holdout=11), tmp_path / "run")
        assert not (tmp_path / "run").exists()

    def test_a_loss_that_is_no_number_names_its_step_and_keeps_the_checkpoint(
        self, tmp_path: Path, people: Path, monkeypatch
    ):
        step, calls = Learner.step, []

        def explode(self: Learner, *arguments: Any) -> torch.Tensor:
            calls.append(1)
            return step(self, *arguments) * (float("nan") if len(calls) == 4 else 1)

        monkeypatch.setattr(Learner, "step", explode)
        with pytest.raises(ModelError, match="no longer a finite number at step 4"):
            train(small(people), tmp_path / "run")
        assert load_state(tmp_path / "run/checkpoint.pt")["step"] == 2

    def test_a_full_disk_keeps_the_older_checkpoint_and_the_run_can_go_on(
        self, tmp_path: Path, people: Path, monkeypatch
    ):
        write, calls = training_state._write, []

        def fill(state: dict[str, Any], stream: Any) -> None:
            calls.append(1)
            if len(calls) == 2:
                stream.write(b"half")
                raise OSError(errno.ENOSPC, "No space left on device")
            write(state, stream)

        monkeypatch.setattr(training_state, "_write", fill)
        with pytest.raises(StorageFull, match="free some space"):
            train(small(people), tmp_path / "run")
        assert load_state(tmp_path / "run/checkpoint.pt")["step"] == 2
        assert train(small(people), tmp_path / "run", resume=True).finished
        train(small(people), tmp_path / "plain")
        same = [(tmp_path / name / "model.pt").read_bytes() for name in ("run", "plain")]
        assert same[0] == same[1]

    def test_other_faces_than_those_begun_with_are_refused(
        self, tmp_path: Path, people: Path, hopper, collins
    ):
        train(small(people), tmp_path / "run", watch=stopping_after(8))
        other = write_people(tmp_path / "other", [hopper, collins], 12, 4)
        with pytest.raises(InputError, match="45 of 9 people then, 36 of 9 now; train anew"):
            train(small(other), tmp_path / "run", resume=True)

    def test_photos_are_refused_before_there_is_a_folder(self, tmp_path: Path, hopper, collins):
        for name, photo in (("Grace", hopper), ("Eileen", collins)):
            (tmp_path / "photos" / name).mkdir(parents=True)
            save_image(tmp_path / "photos" / name / "1.png", photo[:300, :200])
        with pytest.raises(ImageError, match=r"not square \(200 x 300\)") as caught:
            train(small(tmp_path / "photos", holdout=0, batch=2), tmp_path / "run")
        assert caught.value.hint == Hint("cut_faces")
        assert not (tmp_path / "run").exists()

    def test_faces_without_names_need_a_teacher(self, tmp_path: Path, people: Path):
        with pytest.raises(
            InputError, match="nobody says who is on the faces, so there is nothing"
        ):
            train(small(people / "person 00", holdout=0, batch=2), tmp_path / "run")
        with pytest.raises(InputError, match="there is no head, so there is nothing"):
            train(small(people, head="none"), tmp_path / "run")

    def test_one_person_is_not_enough(self, tmp_path: Path, people: Path, hopper):
        write_people(tmp_path / "one", [hopper], 1, 4)
        with pytest.raises(InputError, match="at least 2 identities"):
            train(small(tmp_path / "one", holdout=0), tmp_path / "run")

    def test_a_taken_name_is_told_before_the_work(
        self, tmp_path: Path, people: Path, teacher: Path
    ):
        named(teacher)
        for name, why in (("old", "already called 'old'"), ("yunet", "already"), ("A b", "name")):
            with pytest.raises(InputError, match=why):
                train(small(people), tmp_path / "run", name=name)
        assert not (tmp_path / "run").exists()
