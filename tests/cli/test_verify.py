"""``verify``: the answer, which faces it is about, and the best of many pairs."""

from __future__ import annotations

import io
import sys

import pytest

from facekeep import save_image

pytestmark = pytest.mark.usefixtures("photo_folder")


@pytest.mark.slow
def test_verify_as_json(cli):
    yes = cli("verify", "hopper.jpg", "hopper2.jpg", "--json", "--fmr", "1e-5")
    assert (yes.status, yes.err) == (0, "")
    assert list(yes.json) == ["match", "similarity", "threshold", "fmr", "reasons", "images"]
    assert yes.json["match"] is True
    assert yes.json["similarity"] > yes.json["threshold"]
    assert yes.json["fmr"] == 1e-5
    no = cli("verify", "hopper.jpg", "collins.jpg", "--json")
    assert no.status == 1
    assert no.json["match"] is False
    assert no.json["similarity"] < no.json["threshold"] < yes.json["threshold"]
    nobody = cli("verify", "hopper.jpg", "gray.png", "--json")
    assert (nobody.status, nobody.json["match"], nobody.json["similarity"]) == (1, False, None)
    with_face, without = nobody.json["images"]
    assert (with_face["faces"], with_face["face"]) == (1, None)
    assert without == {"image": "gray.png", "faces": 0, "face": None, "bbox": None, "boxes": []}


def test_verify_for_people(cli):
    yes = cli("verify", "hopper.jpg", "hopper2.jpg").out.splitlines()
    assert yes[0].startswith("yes: similarity 0.9")
    assert yes[1].startswith("decided at a false-match rate of 0.0001")
    assert cli("verify", "hopper.jpg", "collins.jpg", "-q").out.startswith("no: similarity ")
    outcome = cli("verify", "gray.png", "hopper.jpg", "-q")
    assert outcome.out == "no: no face was found in gray.png\n"
    outcome = cli("verify", "gray.png", "gray.png", "-q")
    assert outcome.out == "no: no face was found in gray.png and in gray.png\n"
    assert cli("verify", "gray.png", "hopper.jpg", "--json").json["reasons"] == ["no_face"]


@pytest.mark.slow
def test_each_picture_without_a_usable_face_is_told_of(cli, photo_folder, hopper):
    save_image(photo_folder / "poor.png", 255 - hopper)
    outcome = cli("verify", "gray.png", "poor.png", "-q")
    assert outcome.out == (
        "no: no face was found in gray.png and the face in poor.png is unusable (unclear)\n"
    )


@pytest.mark.slow
def test_which_face_of_several_was_compared_is_said(cli):
    words = ("verify", "party.jpg", "collins.jpg")
    lines = cli(*words, "-q").out.splitlines()
    assert lines[0].startswith("no: ")
    assert lines[1].startswith("party.jpg: compared face ")
    assert " of 2, the largest, at " in lines[1]
    assert lines[2] == "to compare each face with each: --any"
    party, single = cli(*words, "--json").json["images"]
    assert (party["image"], party["faces"]) == ("party.jpg", 2)
    detected = cli("detect", "party.jpg", "--json").json["faces"]
    by_number = sorted(detected, key=lambda face: face["number"])
    assert party["boxes"] == [face["bbox"] for face in by_number]
    assert (party["face"], party["bbox"]) == (detected[0]["number"], detected[0]["bbox"])
    assert (single["faces"], single["face"]) == (1, 1)


@pytest.mark.slow
def test_any_takes_the_best_pair_at_a_higher_threshold(cli):
    plain = cli("verify", "party.jpg", "collins.jpg", "--json").json
    words = ("verify", "party.jpg", "collins.jpg", "--any")
    found = cli(*words, "--json")
    assert (found.status, found.json["match"]) == (0, True)
    party = found.json["images"][0]
    best = party["face"]
    assert party["bbox"] == party["boxes"][best - 1] != plain["images"][0]["bbox"]
    assert found.json["fmr"] == plain["fmr"]
    assert found.json["threshold"] > plain["threshold"] + 0.01, "two pairs share the rate"
    assert f"party.jpg: compared face {best} of 2 at " in cli(*words).out
    single = cli("verify", "hopper.jpg", "collins.jpg", "--any", "--json").json
    assert single["threshold"] == plain["threshold"]


@pytest.mark.slow
def test_what_so_many_pairs_cannot_promise_is_refused(cli):
    outcome = cli("verify", "party.jpg", "party.jpg", "--any", "--fmr", "1e-6")
    assert outcome.status == 2
    assert "over 4 pairs" in outcome.err
    assert "it can promise 4e-06" in outcome.err
    assert cli("verify", "party.jpg", "party.jpg", "--any", "--fmr", "4e-6").status == 0


@pytest.mark.slow
def test_flip_threads_and_models_change_nothing_that_matters(cli):
    plain = cli("verify", "hopper.jpg", "hopper2.jpg", "--json").json
    options = ("--flip", "--threads", "1", "--detector", "yunet", "--embedder", "sface")
    other = cli("verify", "hopper.jpg", "hopper2.jpg", "--json", *options).json
    assert other["match"] is True
    assert other["threshold"] == plain["threshold"]
    assert other["similarity"] == pytest.approx(plain["similarity"], abs=0.05)
    assert other["similarity"] != plain["similarity"]


def test_one_of_the_two_may_come_on_standard_input(cli, photo_folder, monkeypatch):
    for words in (("-", "hopper2.jpg"), ("hopper2.jpg", "-")):
        stream = io.TextIOWrapper(io.BytesIO((photo_folder / "hopper.jpg").read_bytes()))
        monkeypatch.setattr(sys, "stdin", stream)
        outcome = cli("verify", *words, "--json")
        assert (outcome.status, outcome.json["match"]) == (0, True)
        assert [each["image"] for each in outcome.json["images"]] == [*words]
    both = cli("verify", "-", "-")
    assert both.status == 2
    assert "name a file for the other" in both.err
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"nothing")))
    assert cli("verify", "hopper.jpg", "-").err.startswith("facekeep: error: standard input: ")
