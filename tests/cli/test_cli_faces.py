"""``detect``, ``identify`` and ``verify``: answers, exit statuses, JSON and pictures."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from facekeep import load_image, save_image

pytestmark = pytest.mark.usefixtures("album")

QUALITY = {
    "size",
    "eye_distance",
    "sharpness",
    "brightness",
    "contrast",
    "yaw",
    "pitch",
    "roll",
    "score",
    "outside",
    "mouth_covered",
    "eyes_covered",
    "blockiness",
    "clarity",
    "overall",
}


def assert_shape(face, width: int, height: int) -> None:
    x1, y1, x2, y2 = face["bbox"]
    assert 0 <= x1 < x2 <= width
    assert 0 <= y1 < y2 <= height
    assert len(face["landmarks"]) == 5
    assert all(x1 < x < x2 and y1 < y < y2 for x, y in face["landmarks"])
    assert 0.5 < face["score"] <= 1
    assert set(face["quality"]) == QUALITY


def test_detect_as_json(cli):
    outcome = cli("detect", "party.jpg", "--json")
    assert (outcome.status, outcome.err) == (0, "")
    document = outcome.json
    assert list(document) == ["image", "width", "height", "faces"]
    assert document["image"] == "party.jpg"
    assert (document["width"], document["height"]) == (1024, 512)
    assert len(document["faces"]) == 2
    for face in document["faces"]:
        assert list(face) == ["bbox", "landmarks", "score", "quality", "usable", "reasons"]
        assert (face["usable"], face["reasons"]) == (True, [])
        assert_shape(face, 1024, 512)


def test_detect_for_people(cli):
    outcome = cli("detect", "hopper.jpg")
    assert outcome.status == 0
    first, header, row = outcome.out.splitlines()
    assert first == "hopper.jpg: 1 face"
    assert header.split("  ")[0] == "box (x1 y1 x2 y2)"
    assert "sharpness" in row


def test_a_picture_without_a_face_is_a_no(cli):
    outcome = cli("detect", "grey.png")
    assert (outcome.status, outcome.out, outcome.err) == (1, "grey.png: no face\n", "")
    outcome = cli("detect", "grey.png", "--json")
    assert outcome.status == 1
    assert outcome.json == {"image": "grey.png", "width": 120, "height": 90, "faces": []}
    assert cli("detect", "hopper.jpg", "grey.png").status == 1


def test_several_pictures_are_json_lines_and_one_that_fails_stops_no_other(cli):
    outcome = cli("detect", "broken.jpg", "hopper.jpg", "nowhere.jpg", "grey.png", "--json")
    assert (outcome.status, outcome.err) == (2, "")
    broken, hopper, nowhere, grey = outcome.json_lines
    assert list(broken) == ["image", "error"]
    assert broken["error"]["kind"] == nowhere["error"]["kind"] == "image"
    assert nowhere["error"]["message"].startswith("nowhere.jpg: cannot be read")
    assert len(hopper["faces"]) == 1
    assert grey["faces"] == []
    plain = cli("detect", "broken.jpg", "hopper.jpg")
    assert plain.status == 2
    assert plain.out.splitlines()[0].startswith("error: broken.jpg: ")
    assert plain.out.splitlines()[1] == "hopper.jpg: 1 face"


@pytest.mark.parametrize("command", ["detect", "identify"])
@pytest.mark.parametrize("target", ["marked.xyz", "no/marked.jpg"])
def test_a_picture_that_cannot_be_written_is_refused_before_any_is_read(
    cli, monkeypatch, command: str, target: str
):
    monkeypatch.setattr("facekeep.image.load_image", None)
    outcome = cli(command, "party.jpg", "--out", target)
    assert outcome.status == 2
    assert outcome.err.startswith(f"facekeep: error: {target}: ")


def test_identify_leaves_nothing_beside_the_gallery(cli, album):
    assert cli("identify", "hopper2.jpg").status == 0
    assert list(album.glob("people.db*")) == [album / "people.db"]


def test_identify_as_json(cli):
    outcome = cli("identify", "party.jpg", "--json", "--fmr", "1e-3", "--top", "1")
    assert (outcome.status, outcome.err) == (0, "")
    names = set()
    for face in outcome.json["faces"]:
        assert_shape(face, 1024, 512)
        assert list(face)[6:] == ["match", "candidates", "threshold", "fmr", "expected_fpir"]
        assert list(face["match"]) == ["name", "similarity"]
        assert face["match"]["similarity"] >= face["threshold"]
        assert face["fmr"] == 1e-3
        assert face["expected_fpir"] == pytest.approx(2e-3, rel=0.01)
        (candidate,) = face["candidates"]
        no = {"refused": False, "elsewhere": False}
        assert candidate == {**face["match"], "threshold": face["threshold"], **no}
        names.add(face["match"]["name"])
    assert names == {"Grace Hopper", "Eileen Collins"}


def test_strangers_are_unknown_and_a_no(cli):
    assert cli("people", "remove", "Eileen Collins", "--yes").status == 0
    outcome = cli("identify", "collins.jpg", "--json")
    assert outcome.status == 1
    (face,) = outcome.json["faces"]
    assert face["match"] is None
    assert [each["name"] for each in face["candidates"]] == ["Grace Hopper"]
    assert face["candidates"][0]["similarity"] < face["threshold"]
    assert cli("identify", "party.jpg").status == 0, "somebody was recognised"
    assert cli("people", "remove", "Grace Hopper", "--yes").status == 0
    outcome = cli("identify", "collins.jpg", "--json")
    assert outcome.status == 1
    (face,) = outcome.json["faces"]
    assert (face["match"], face["candidates"], face["fmr"]) == (None, [], 1e-4)
    assert face["expected_fpir"] == 0


def test_identify_for_people(cli):
    outcome = cli("identify", "party.jpg", "hopper2.jpg")
    assert outcome.status == 0
    lines = outcome.out.splitlines()
    assert lines[0] == "party.jpg: 2 faces"
    assert " ".join(lines[1].split()) == "who similarity most like box (x1 y1 x2 y2)"
    assert lines[4] == "hopper2.jpg: 1 face"
    assert lines[6].startswith("Grace Hopper  ")
    assert lines[7].startswith("decided at a false-match rate of 0.0001 (cosine 0.4")
    assert "one of 2 enrolled with a probability of about 0.0002" in lines[7]
    assert "decided" not in cli("identify", "party.jpg", "--quiet").out


def test_a_rate_without_enough_comparisons_behind_it_is_told(cli, monkeypatch):
    monkeypatch.setattr("facekeep.decide.Threshold.supported", False)
    outcome = cli("identify", "hopper.jpg")
    assert "note: only " in outcome.out
    assert "comparisons stand behind this threshold" in outcome.out


def test_a_gallery_that_nobody_may_write_can_be_searched(cli, album):
    album.joinpath("people.db").chmod(0o444)
    assert cli("identify", "hopper.jpg").status == 0


def test_verify(cli):
    yes = cli("verify", "hopper.jpg", "hopper2.jpg", "--json", "--fmr", "1e-5")
    assert (yes.status, yes.err) == (0, "")
    assert list(yes.json) == ["match", "similarity", "threshold", "fmr", "reasons"]
    assert yes.json["match"] is True
    assert yes.json["similarity"] > yes.json["threshold"]
    assert yes.json["fmr"] == 1e-5
    no = cli("verify", "hopper.jpg", "collins.jpg", "--json")
    assert no.status == 1
    assert no.json["match"] is False
    assert no.json["similarity"] < no.json["threshold"] < yes.json["threshold"]
    nobody = cli("verify", "hopper.jpg", "grey.png", "--json")
    assert (nobody.status, nobody.json["match"], nobody.json["similarity"]) == (1, False, None)


def test_verify_for_people(cli):
    yes = cli("verify", "hopper.jpg", "hopper2.jpg").out.splitlines()
    assert yes[0].startswith("yes: similarity 0.9")
    assert yes[1].startswith("decided at a false-match rate of 0.0001")
    assert cli("verify", "hopper.jpg", "collins.jpg", "-q").out.startswith("no: similarity ")
    outcome = cli("verify", "grey.png", "hopper.jpg", "-q")
    assert outcome.out == "no: one of the pictures shows no face\n"


@pytest.fixture
def poor(album: Path, hopper: NDArray[np.uint8]) -> str:
    """A picture of an enrolled person that shows too little: its negative."""
    save_image(album / "poor.png", 255 - hopper)
    return "poor.png"


def test_an_unusable_face_is_never_named(cli, poor):
    outcome = cli("identify", poor, "--json")
    (face,) = outcome.json["faces"]
    assert (outcome.status, face["usable"], face["match"]) == (1, False, None)
    assert face["candidates"] == []
    assert "unusable: unclear  " in cli("identify", poor, "-q").out
    made = cli("verify", poor, poor, "--json")
    assert (made.status, made.json["similarity"], made.json["reasons"]) == (1, None, ["unclear"])
    told = cli("verify", poor, "hopper.jpg", "-q").out
    assert told == "no: the face in one of the pictures is unusable: unclear\n"


def test_a_setting_takes_any_quality(cli, poor):
    (face,) = cli("identify", poor, "--any-quality", "--json").json["faces"]
    assert (face["usable"], len(face["candidates"])) == (True, 2)
    assert cli("verify", poor, poor, "--any-quality").status == 0


def test_a_person_is_in_a_picture_once_unless_it_is_a_collage(cli, album, hopper):
    save_image(album / "twice.png", np.hstack([hopper[:, 40:480]] * 2))
    faces = cli("identify", "twice.png", "--json").json["faces"]
    assert [face["match"] is not None for face in faces] == [True, False]
    assert [face["candidates"][0]["elsewhere"] for face in faces] == [False, True]
    assert "(another face)" in cli("identify", "twice.png").out
    collage = cli("identify", "twice.png", "--collage", "--json").json["faces"]
    assert [face["match"]["name"] for face in collage] == ["Grace Hopper"] * 2


def changed_pixels(path: Path, original: str) -> float:
    """The share of pixels that differ much from the original's."""
    before, after = load_image(original).astype(int), load_image(path).astype(int)
    assert before.shape == after.shape
    return float((np.abs(before - after).max(axis=2) > 100).mean())


def test_out_writes_the_picture_with_marks(cli, album):
    outcome = cli("identify", "hopper.jpg", "--out", "marked.png")
    assert outcome.status == 0
    assert 0.001 < changed_pixels(album / "marked.png", "hopper.jpg") < 0.2
    assert load_image("hopper.jpg").shape == load_image("marked.png").shape


def test_out_of_several_pictures_is_a_folder(cli, album):
    (album / "more").mkdir()
    (album / "more" / "hopper.png").write_bytes((album / "hopper.jpg").read_bytes())
    pictures = ["hopper.jpg", "more/hopper.png", "broken.jpg", "collins.jpg"]
    outcome = cli("detect", *pictures, "--out", "marked")
    assert outcome.status == 2
    written = sorted(path.name for path in (album / "marked").iterdir())
    assert written == ["collins.jpg", "hopper-2.jpg", "hopper.jpg"]
    assert 0.001 < changed_pixels(album / "marked" / "collins.jpg", "collins.jpg") < 0.2


def test_out_never_writes_two_pictures_to_one_file(cli, album):
    for folder, name in (("a", "x-2.jpg"), ("b", "x.jpg"), ("c", "x.jpg")):
        (album / folder).mkdir()
        (album / folder / name).write_bytes((album / "hopper.jpg").read_bytes())
    assert cli("detect", "a/x-2.jpg", "b/x.jpg", "c/x.jpg", "--out", "marked").status == 0
    written = sorted(path.name for path in (album / "marked").iterdir())
    assert written == ["x-2.jpg", "x-3.jpg", "x.jpg"]


@pytest.mark.parametrize(
    ("pictures", "out"),
    [
        (["hopper.jpg"], "hopper.jpg"),
        (["hopper.jpg"], "."),
        (["link.jpg"], "hopper.jpg"),
        (["collins.jpg", "hopper.jpg"], "."),
    ],
)
def test_out_never_replaces_a_picture_that_is_looked_at(cli, album, pictures, out):
    (album / "link.jpg").symlink_to("hopper.jpg")
    before = (album / "hopper.jpg").read_bytes()
    outcome = cli("detect", *pictures, "--out", out)
    assert outcome.status == 2
    assert "is itself a picture to look at" in outcome.err
    assert (album / "hopper.jpg").read_bytes() == before


def test_out_may_be_a_folder_for_one_picture_too(cli, album):
    (album / "marked").mkdir()
    assert cli("detect", "hopper.jpg", "-o", "marked").status == 0
    assert [path.name for path in (album / "marked").iterdir()] == ["hopper.jpg"]


def test_limits_on_faces_are_obeyed(cli):
    assert len(cli("detect", "party.jpg", "--json", "--max-faces", "1").json["faces"]) == 1
    large = cli("detect", "party.jpg", "--json", "--min-face", "130")
    assert len(large.json["faces"]) == 1, "only one of the two faces is that large"


def test_flip_threads_and_models_change_nothing_that_matters(cli):
    plain = cli("verify", "hopper.jpg", "hopper2.jpg", "--json").json
    options = ("--flip", "--threads", "1", "--detector", "yunet", "--embedder", "sface")
    other = cli("verify", "hopper.jpg", "hopper2.jpg", "--json", *options).json
    assert other["match"] is True
    assert other["threshold"] == plain["threshold"]
    assert other["similarity"] == pytest.approx(plain["similarity"], abs=0.05)
    assert other["similarity"] != plain["similarity"]
