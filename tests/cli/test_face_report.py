"""``detect`` and ``identify``: answers, exit statuses, JSON, tables and pictures."""

from __future__ import annotations

import csv
import io
import os
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from facekeep import load_image, save_image

pytestmark = pytest.mark.usefixtures("photo_folder")

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
    "recognizability",
    "overall",
}


FACE = ("bbox", "landmarks", "score", "quality", "usable", "reasons", "number")


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
    assert list(document) == ["image", "width", "height", "faces", "truncated"]
    assert document["image"] == "party.jpg"
    assert (document["width"], document["height"]) == (1024, 512)
    assert len(document["faces"]) == 2
    for face in document["faces"]:
        assert list(face) == [*FACE]
        assert (face["usable"], face["reasons"]) == (True, [])
        assert_shape(face, 1024, 512)


def test_detect_for_people(cli):
    outcome = cli("detect", "hopper.jpg")
    assert outcome.status == 0
    first, header, row = outcome.out.splitlines()
    assert first == "hopper.jpg: 1 face"
    assert " ".join(header.split()) == "face box (x1 y1 x2 y2) quality"
    assert row.startswith("1     ")
    assert "sharpness" in row
    assert len(row) <= 80
    assert " -0" not in row


@pytest.mark.slow
def test_a_picture_without_a_face_is_a_no(cli):
    outcome = cli("detect", "gray.png")
    assert (outcome.status, outcome.out, outcome.err) == (1, "gray.png: no face\n", "")
    outcome = cli("detect", "gray.png", "--json")
    assert outcome.status == 1
    size = {"width": 120, "height": 90}
    assert outcome.json == {"image": "gray.png", **size, "faces": [], "truncated": False}
    assert cli("detect", "hopper.jpg", "gray.png").status == 1


def test_several_pictures_are_json_lines_and_one_that_fails_stops_no_other(cli):
    outcome = cli("detect", "broken.jpg", "hopper.jpg", "nowhere.jpg", "gray.png", "--json")
    assert (outcome.status, outcome.err) == (2, "")
    broken, hopper, nowhere, gray = outcome.json_lines
    assert list(broken) == ["image", "error"]
    assert broken["error"]["kind"] == nowhere["error"]["kind"] == "image"
    assert nowhere["error"]["message"].startswith("nowhere.jpg: cannot be read")
    assert len(hopper["faces"]) == 1
    assert gray["faces"] == []
    plain = cli("detect", "broken.jpg", "hopper.jpg")
    assert plain.status == 2
    assert plain.out.splitlines()[0].startswith("error: broken.jpg: ")
    assert plain.out.splitlines()[1] == "hopper.jpg: 1 face"


@pytest.mark.parametrize("command", ["detect", "identify"])
@pytest.mark.parametrize("target", ["marked.xyz", "no/marked.jpg"])
def test_a_picture_that_cannot_be_written_is_refused_before_any_is_read(
    cli, monkeypatch, command: str, target: str
):
    monkeypatch.setattr("facekeep.pipeline.image.load_image", None)
    outcome = cli(command, "party.jpg", "--out", target)
    assert outcome.status == 2
    assert outcome.err.startswith(f"facekeep: error: {target}: ")


@pytest.mark.slow
def test_identify_leaves_nothing_beside_the_gallery(cli, photo_folder):
    assert cli("identify", "hopper2.jpg").status == 0
    assert list(photo_folder.glob("people.db*")) == [photo_folder / "people.db"]


@pytest.mark.slow
def test_identify_as_json(cli):
    outcome = cli("identify", "party.jpg", "--json", "--fmr", "1e-3", "--top", "1")
    assert (outcome.status, outcome.err) == (0, "")
    names = set()
    for face in outcome.json["faces"]:
        assert_shape(face, 1024, 512)
        assert list(face) == [*FACE, "match", "candidates", "threshold", "fmr", "expected_fpir"]
        assert list(face["match"]) == ["name", "similarity"]
        assert face["match"]["similarity"] >= face["threshold"]
        assert face["fmr"] == 1e-3
        assert face["expected_fpir"] == pytest.approx(2e-3, rel=0.01)
        (candidate,) = face["candidates"]
        no = {"refused": False, "elsewhere": False}
        assert candidate == {**face["match"], "threshold": face["threshold"], **no}
        names.add(face["match"]["name"])
    assert names == {"Grace Hopper", "Eileen Collins"}


@pytest.mark.slow
def test_strangers_are_unknown_and_a_no(cli):
    assert cli("people", "remove", "Eileen Collins", "--yes").status == 0
    outcome = cli("identify", "collins.jpg", "--json")
    assert outcome.status == 1
    (face,) = outcome.json["faces"]
    assert face["match"] is None
    assert [each["name"] for each in face["candidates"]] == ["Grace Hopper"]
    assert face["candidates"][0]["similarity"] < face["threshold"]
    assert cli("identify", "party.jpg").status == 0, "somebody was recognized"
    assert cli("people", "remove", "Grace Hopper", "--yes").status == 0
    outcome = cli("identify", "collins.jpg", "--json")
    assert outcome.status == 1
    (face,) = outcome.json["faces"]
    assert (face["match"], face["candidates"], face["fmr"]) == (None, [], 1e-4)
    assert face["expected_fpir"] == 0


@pytest.mark.slow
def test_identify_for_people(cli):
    outcome = cli("identify", "party.jpg", "hopper2.jpg")
    assert outcome.status == 0
    lines = outcome.out.splitlines()
    assert lines[0] == "party.jpg: 2 faces"
    assert " ".join(lines[1].split()) == "who face most like box (x1 y1 x2 y2)"
    assert " ".join(lines[2].split()).startswith("Grace Hopper 1 Grace Hopper 0.9")
    assert " of 0.442 needed  " in lines[2]
    assert lines[3].startswith("Eileen Collins  2     Eileen Collins 0.9")
    assert all(len(line) <= 80 for line in lines[:4])
    assert lines[4] == "hopper2.jpg: 1 face"
    assert lines[6].startswith("Grace Hopper  1     ")
    assert lines[7].startswith("decided at a false-match rate of 0.0001 (cosine 0.442; up to 0.4")
    assert lines[8].startswith("among 2 people at FMR 0.0001 about 1 stranger in 5,000 gets a name")
    assert "decided" not in cli("identify", "party.jpg", "--quiet").out


def test_the_table_of_who_is_who_fits_into_80_columns_wherever_it_goes(cli):
    for name in ("Grace Hopper", "Eileen Collins"):
        long = f"{name} Marie Therese of the Long Names"
        assert cli("people", "rename", name, long).status == 0
    lines = cli("identify", "party.jpg", "-q").out.splitlines()
    assert max(map(len, lines)) <= 80
    assert "Eileen Collins" in "\n".join(lines)


@pytest.mark.slow
def test_the_threshold_that_is_printed_is_the_one_that_is_used(cli):
    cli("enroll", "Eileen Collins", "party.jpg", "--largest", "--review", "off", "-g", "own.db")
    cli("enroll", "Grace Hopper", "hopper2.jpg", "--review", "off")
    (face,) = cli("identify", "hopper.jpg", "--json").json["faces"]
    used = {each["name"]: each["threshold"] for each in face["candidates"]}
    assert used["Grace Hopper"] > used["Eileen Collins"] + 0.01
    out = cli("identify", "hopper.jpg").out
    assert f" of {used['Grace Hopper']:.3f} needed" in out


@pytest.mark.slow
def test_a_share_of_strangers_may_be_asked_for(cli):
    (face,) = cli("identify", "hopper.jpg", "--json", "--fpir", "0.01").json["faces"]
    assert face["expected_fpir"] == pytest.approx(0.01)
    assert face["fmr"] == pytest.approx(1 - 0.99**0.5)
    assert face["match"]["name"] == "Grace Hopper"
    assert (
        "about 1 stranger in 100 gets a name" in cli("identify", "hopper.jpg", "--fpir", 0.01).out
    )
    outcome = cli("identify", "hopper.jpg", "--fpir", "1e-6")
    assert outcome.status == 2
    assert "calibrated down to 1e-06; it can promise 2e-06: ask for that or more" in outcome.err
    assert cli("identify", "hopper.jpg", "--fpir", "2e-6").status == 0
    outcome = cli("identify", "hopper.jpg", "--fpir", "0.01", "--fmr", "1e-4")
    assert outcome.status == 2
    assert "--fmr and --fpir" in outcome.err


@pytest.mark.slow
def test_before_anybody_is_enrolled_the_way_to_begin_is_said(cli, monkeypatch):
    for words in (["identify", "hopper.jpg"], ["people", "list"], ["people", "show", "Ada"]):
        outcome = cli(*words, "-g", "none/new.db")
        assert outcome.status == 2
        assert "there is no gallery at none/new.db: nobody is enrolled yet" in outcome.err
        assert "; begin with: facekeep enroll NAME PHOTO --gallery none/new.db" in outcome.err
    monkeypatch.delenv("FACEKEEP_GALLERY")
    outcome = cli("identify", "hopper.jpg", "--json")
    assert outcome.status == 2
    assert outcome.json["error"]["kind"] == "gallery_not_found"
    monkeypatch.setenv("FACEKEEP_GALLERY", "people.db")
    for name in ("Eileen Collins", "Grace Hopper"):
        cli("people", "remove", name, "--yes")
    assert "nobody is enrolled yet" in cli("people", "list").out
    assert "nobody is enrolled yet" in cli("identify", "hopper.jpg").out


@pytest.mark.slow
def test_a_rate_without_enough_comparisons_behind_it_is_told(cli, monkeypatch):
    monkeypatch.setattr("facekeep.types.Threshold.supported", False)
    outcome = cli("identify", "hopper.jpg")
    assert "note: only " in outcome.out
    assert "comparisons stand behind this threshold" in outcome.out


@pytest.mark.slow
def test_a_gallery_that_nobody_may_write_can_be_searched(cli, photo_folder):
    photo_folder.joinpath("people.db").chmod(0o444)
    assert cli("identify", "hopper.jpg").status == 0


@pytest.fixture
def poor(photo_folder: Path, hopper: NDArray[np.uint8]) -> str:
    """A picture of an enrolled person that shows too little: its negative."""
    save_image(photo_folder / "poor.png", 255 - hopper)
    return "poor.png"


@pytest.mark.slow
def test_an_unusable_face_is_never_named(cli, poor):
    outcome = cli("identify", poor, "--json")
    (face,) = outcome.json["faces"]
    assert (outcome.status, face["usable"], face["match"]) == (1, False, None)
    assert face["candidates"] == []
    assert "unusable  1     unclear  " in cli("identify", poor, "-q").out
    made = cli("verify", poor, poor, "--json")
    assert (made.status, made.json["similarity"], made.json["reasons"]) == (1, None, ["unclear"])
    output = cli("verify", poor, "hopper.jpg", "-q").out
    assert output == "no: the face in poor.png is unusable (unclear)\n"


@pytest.mark.slow
def test_a_setting_takes_any_quality(cli, poor):
    (face,) = cli("identify", poor, "--any-quality", "--json").json["faces"]
    assert (face["usable"], len(face["candidates"])) == (True, 2)
    assert cli("verify", poor, poor, "--any-quality").status == 0


@pytest.mark.slow
def test_a_person_is_in_a_picture_once_unless_it_is_a_collage(cli, photo_folder, hopper):
    save_image(photo_folder / "twice.png", np.hstack([hopper[:, 40:480]] * 2))
    faces = cli("identify", "twice.png", "--json").json["faces"]
    scores = [face["candidates"][0]["similarity"] for face in faces]
    best = [score == max(scores) for score in scores]
    assert sorted(best) == [False, True], "the detector sees both a little differently"
    assert [face["match"] is not None for face in faces] == best, "the more similar one counts"
    assert [not face["candidates"][0]["elsewhere"] for face in faces] == best
    assert "(another face)" in cli("identify", "twice.png").out
    collage = cli("identify", "twice.png", "--collage", "--json").json["faces"]
    assert [face["match"]["name"] for face in collage] == ["Grace Hopper"] * 2


def changed_pixels(path: Path, original: str) -> float:
    """The share of pixels that differ much from the original's."""
    before, after = load_image(original).astype(int), load_image(path).astype(int)
    assert before.shape == after.shape
    return float((np.abs(before - after).max(axis=2) > 100).mean())


@pytest.mark.slow
def test_out_writes_the_picture_with_marks(cli, photo_folder):
    outcome = cli("identify", "hopper.jpg", "--out", "marked.png")
    assert outcome.status == 0
    assert 0.001 < changed_pixels(photo_folder / "marked.png", "hopper.jpg") < 0.2
    assert load_image("hopper.jpg").shape == load_image("marked.png").shape


def test_out_of_several_pictures_is_a_folder(cli, photo_folder):
    (photo_folder / "more").mkdir()
    (photo_folder / "more" / "hopper.png").write_bytes((photo_folder / "hopper.jpg").read_bytes())
    pictures = ["hopper.jpg", "more/hopper.png", "broken.jpg", "collins.jpg"]
    outcome = cli("detect", *pictures, "--out", "marked")
    assert outcome.status == 2
    written = sorted(path.name for path in (photo_folder / "marked").iterdir())
    assert written == ["collins.jpg", "hopper-2.jpg", "hopper.jpg"]
    assert 0.001 < changed_pixels(photo_folder / "marked" / "collins.jpg", "collins.jpg") < 0.2


def test_out_never_writes_two_pictures_to_one_file(cli, photo_folder):
    for folder, name in (("a", "x-2.jpg"), ("b", "x.jpg"), ("c", "x.jpg")):
        (photo_folder / folder).mkdir()
        (photo_folder / folder / name).write_bytes((photo_folder / "hopper.jpg").read_bytes())
    assert cli("detect", "a/x-2.jpg", "b/x.jpg", "c/x.jpg", "--out", "marked").status == 0
    written = sorted(path.name for path in (photo_folder / "marked").iterdir())
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
def test_out_never_replaces_a_picture_that_is_looked_at(cli, photo_folder, pictures, out):
    (photo_folder / "link.jpg").symlink_to("hopper.jpg")
    before = (photo_folder / "hopper.jpg").read_bytes()
    outcome = cli("detect", *pictures, "--out", out)
    assert outcome.status == 2
    assert "is itself a picture to read" in outcome.err
    assert (photo_folder / "hopper.jpg").read_bytes() == before


def test_out_may_be_a_folder_for_one_picture_too(cli, photo_folder):
    (photo_folder / "marked").mkdir()
    assert cli("detect", "hopper.jpg", "-o", "marked").status == 0
    assert [path.name for path in (photo_folder / "marked").iterdir()] == ["hopper.jpg"]


def test_limits_on_faces_are_obeyed(cli):
    few = cli("detect", "party.jpg", "--json", "--max-faces", "1").json
    assert (len(few["faces"]), few["truncated"]) == (1, True)
    every = cli("identify", "party.jpg", "--json", "--max-faces", "3").json
    assert (len(every["faces"]), every["truncated"]) == (2, False)
    large = cli("detect", "party.jpg", "--json", "--min-face", "130")
    assert len(large.json["faces"]) == 1, "only one of the two faces is that large"


@pytest.fixture
def photos(photo_folder: Path) -> Path:
    """A folder of photos with folders in it, a file that is no picture, and hidden ones."""
    folder = photo_folder / "photos"
    for name in ("b.jpg", "a/b.jpg", "a/b.png", "a/c.jpg", ".hidden/d.jpg", ".e.jpg"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes((photo_folder / "hopper.jpg").read_bytes())
    (folder / "a" / "c.jpg").write_bytes((photo_folder / "broken.jpg").read_bytes())
    (folder / "notes.txt").write_text("no picture")
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("command", ["detect", "identify"])
def test_a_folder_is_looked_through_and_what_cannot_be_read_is_counted(cli, photos, command):
    outcome = cli(command, "photos", "--json")
    assert (outcome.status, outcome.err) == (0, "")
    documents = {each["image"]: each for each in outcome.json_lines}
    assert list(documents) == ["photos/b.jpg", "photos/a/b.jpg", "photos/a/b.png", "photos/a/c.jpg"]
    assert list(documents.pop("photos/a/c.jpg")) == ["image", "error"]
    assert [len(each["faces"]) for each in documents.values()] == [1, 1, 1]
    outcome = cli(command, "photos", "hopper2.jpg")
    assert outcome.status == 0
    assert "1 of 5 pictures could not be read" in outcome.out.splitlines()
    assert "error: photos/a/c.jpg: " in outcome.out


def test_a_folder_without_a_picture_that_can_be_read_is_bad_input(cli, photos):
    (photos / "none").mkdir()
    outcome = cli("detect", "photos/none")
    assert outcome.status == 2
    assert "photos/none: the folder holds no pictures" in outcome.err
    (photos / "none" / "x.jpg").write_bytes(b"nothing")
    assert cli("detect", "photos/none").status == 2


def test_a_folder_that_cannot_be_read_is_skipped_and_told(cli, photos, monkeypatch):
    """Whoever tests may be root, so that nothing is unreadable: the system refuses instead."""
    listing = os.scandir

    def scandir(path):
        if Path(path).name == "a":
            raise PermissionError(13, "Permission denied", str(path))
        return listing(path)

    monkeypatch.setattr(os, "scandir", scandir)
    outcome = cli("detect", "photos", "--json")
    assert outcome.status == 0
    assert [each["image"] for each in outcome.json_lines] == ["photos/b.jpg"]
    assert outcome.err == (
        "facekeep: warning: folder skipped: photos/a: permission denied; check who may use it\n"
    )


@pytest.mark.slow
def test_marked_pictures_and_crops_of_a_folder_keep_their_names_apart(cli, photos, photo_folder):
    words = ["detect", "photos", "--out", "photos/marked", "--crops", "crops"]
    for _ in range(2):  # the second time the folder of results is there, and is not looked into
        assert cli(*words).status == 0
        marked = {str(p.relative_to(photos / "marked")) for p in (photos / "marked").rglob("*.*")}
        assert marked == {"b.jpg", "a/b.jpg", "a/b-2.jpg"}
    crops = {str(p.relative_to("crops")): p for p in Path("crops").rglob("*.*")}
    assert set(crops) == {"b-1.png", "a/b-1.png", "a/b-2-1.png"}
    for path in [photo_folder / "crops", photo_folder / "crops" / "a", *crops.values()]:
        assert path.stat().st_mode & 0o077 == 0, "only the owner may see faces"
    assert load_image(crops["b-1.png"]).shape == (112, 112, 3)


@pytest.mark.slow
def test_results_of_two_folders_do_not_meet(cli, photos, photo_folder):
    (photo_folder / "other" / "photos").mkdir(parents=True)
    (photo_folder / "other" / "photos" / "b.jpg").write_bytes(
        (photo_folder / "hopper.jpg").read_bytes()
    )
    (photos / "a" / "c.jpg").unlink()
    assert cli("detect", "photos", "other/photos", "photos/b.jpg", "-o", "out").status == 0
    written = sorted(str(p.relative_to("out")) for p in Path("out").rglob("*.jpg"))
    names = ["b.jpg", "photos-2/b.jpg", "photos/a/b-2.jpg", "photos/a/b.jpg", "photos/b.jpg"]
    assert written == names


@pytest.mark.parametrize("option", ["--out", "--crops"])
@pytest.mark.parametrize("target", ["photos", "."])
def test_results_never_go_where_the_pictures_of_a_folder_are(cli, photos, option, target):
    outcome = cli("detect", "photos", option, target)
    assert outcome.status == 2
    assert f"{target} holds the pictures to look at" in outcome.err
    assert not (photos / "b-1.png").exists()


def test_crops_have_the_numbers_of_the_table(cli, photo_folder):
    outcome = cli("detect", "party.jpg", "--crops", "faces", "--json")
    faces = {face["number"]: face["bbox"][0] for face in outcome.json["faces"]}
    assert faces[1] < faces[2], "from left to right"
    shown = [load_image(photo_folder / "faces" / f"party-{number}.png") for number in (1, 2)]
    alone = cli("detect", "hopper.jpg", "--crops", "alone")
    assert alone.status == 0
    hopper = load_image(photo_folder / "alone" / "hopper-1.png").astype(int)
    near, far = (float(np.abs(each - hopper).mean()) for each in shown)
    assert near < 15 < far


@pytest.mark.slow
def test_standard_input(cli, photo_folder, monkeypatch):
    stream = io.TextIOWrapper(io.BytesIO((photo_folder / "hopper.jpg").read_bytes()))
    monkeypatch.setattr(sys, "stdin", stream)
    outcome = cli("identify", "-", "--json", "--out", "marked.png")
    assert outcome.status == 0
    assert outcome.json["image"] == "-"
    assert outcome.json["faces"][0]["match"]["name"] == "Grace Hopper"
    assert (photo_folder / "marked.png").is_file()
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"nothing")))
    outcome = cli("detect", "-")
    assert outcome.status == 2
    assert outcome.err.startswith("facekeep: error: standard input: ")
    assert "name it once" in cli("detect", "-", "-").err


class _Endless(io.RawIOBase):
    """A stream without an end, which counts what is read of it."""

    count = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer) -> int:
        self.count += len(buffer)
        return len(buffer)


@pytest.mark.parametrize("words", [["identify", "-"], ["verify", "-", "hopper.jpg"]])
def test_no_more_of_standard_input_is_read_than_may_be(cli, monkeypatch, words):
    stream = _Endless()
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BufferedReader(stream)))
    outcome = cli(*words, "--max-bytes", "1000000")
    assert outcome.status == 2
    assert outcome.err.startswith("facekeep: error: standard input: is over the limit of 1 MB")
    assert "(--max-bytes)" in outcome.err
    assert stream.count < 2_000_000


@pytest.mark.slow
@pytest.mark.parametrize("command", ["detect", "identify", "verify", "search"])
@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("https://example.org/a.jpg", "is an address, not a file: download it first"),
        ("rtsp://10.0.0.1/stream", "is an address, not a file: download it first"),
        ("0", "cameras are not supported here yet"),
        ("/dev/video0", "cameras are not supported here yet"),
        ("nowhere.jpg", "no such file"),
    ],
)
def test_addresses_and_cameras_are_told_from_missing_files(cli, command, word, message):
    more = {"verify": ["hopper.jpg"], "search": ["."]}.get(command, [])
    outcome = cli(command, word, *more)
    assert outcome.status == 2
    assert message in outcome.err
    assert len(outcome.err.splitlines()) == 1


def test_a_file_that_is_called_like_a_camera_is_a_file(cli, photo_folder):
    (photo_folder / "0").write_bytes((photo_folder / "hopper.jpg").read_bytes())
    assert cli("detect", "0").status == 0


def rows_of(text: str):
    return list(csv.DictReader(io.StringIO(text)))


@pytest.mark.slow
def test_a_table_of_faces(cli, photo_folder):
    outcome = cli("identify", "party.jpg", "gray.png", "broken.jpg", "--csv", "-")
    assert outcome.status == 2
    first, second, nobody, broken = rows_of(outcome.out)
    assert list(first)[:2] == ["image", "face"]
    assert (first["image"], first["face"], second["face"]) == ("party.jpg", "1", "2")
    assert (first["name"], second["name"]) == ("Grace Hopper", "Eileen Collins")
    assert float(first["similarity"]) > float(first["threshold"]) > 0.4
    assert (first["usable"], first["reasons"], first["error"]) == ("yes", "", "")
    assert (nobody["image"], nobody["face"], nobody["name"]) == ("gray.png", "", "")
    assert "broken.jpg: " in broken["error"]
    outcome = cli("detect", "party.jpg", "--csv", "faces.csv")
    assert outcome.out.startswith("party.jpg: 2 faces\n")
    rows = rows_of((photo_folder / "faces.csv").read_text("utf-8"))
    assert [row["face"] for row in rows] == ["1", "2"]
    assert "name" not in rows[0]
    assert f"{', '.join(rows[0])}" in " ".join(cli("detect", "--help").out.split())


@pytest.mark.parametrize(
    ("text", "cell"),
    [
        ("=1+1", "'=1+1"),
        ("+1", "'+1"),
        ("-1", "'-1"),
        ("@SUM(A1)", "'@SUM(A1)"),
        (" =1", "' =1"),
        ("\uff1d1", "'\uff1d1"),
        ("\t=1", "\\t=1"),
        ("a\nb", "a\\nb"),
        ("Zoë, 李", "Zoë, 李"),
        ("\udcff", "\\udcff"),
        (-0.25, "-0.25"),
        (None, ""),
    ],
)
def test_a_table_runs_nothing_in_a_spreadsheet(tmp_path, text, cell):
    from facekeep.cli.csv_file import csv_rows

    with csv_rows(str(tmp_path / "t.csv"), ["a", "b"]) as add:
        add({"a": text, "c": "not asked for"})
    assert rows_of((tmp_path / "t.csv").read_text("utf-8")) == [{"a": cell, "b": ""}]


def test_a_table_is_whole_or_not_there(cli, photo_folder, monkeypatch):
    (photo_folder / "faces.csv").write_text("before")
    assert cli("detect", "nowhere.jpg", "--csv", "faces.csv").status == 2
    assert (photo_folder / "faces.csv").read_text() == "before"
    for words, message in [
        (["--csv", "-", "--json"], "--json and --csv - both print"),
        (["--csv", "faces.png"], "has the name of a picture"),
        (["--csv", "."], "is a folder"),
        (["--csv", "no/faces.csv"], "cannot be written"),
    ]:
        outcome = cli("detect", "hopper.jpg", *words)
        assert outcome.status == 2
        assert message in outcome.out + outcome.err


def test_a_folder_is_not_kept_in_memory(cli, photo_folder, monkeypatch):
    """Pictures are looked at while the folder is still being read."""
    from facekeep.cli.inputs import InputImages

    for number in range(3):
        (photo_folder / "deep" / str(number)).mkdir(parents=True)
        (photo_folder / "deep" / str(number) / "x.jpg").write_bytes(b"")
    pictures = iter(InputImages(["deep"]))
    assert next(pictures).name == "deep/0/x.jpg"
    (photo_folder / "deep" / "2" / "late.jpg").write_bytes(b"")
    assert [each.name for each in pictures] == [
        "deep/1/x.jpg",
        "deep/2/late.jpg",
        "deep/2/x.jpg",
    ]


@pytest.mark.parametrize("command", ["detect", "identify"])
def test_an_unusable_face_is_told_with_its_reasons(cli, monkeypatch, command):
    from facekeep import engine

    road = getattr(engine.FaceEngine, command)

    def unusable(self, image, **options):
        found = road(self, image, **options)
        return [
            each.replace(
                reasons=("too_blurry",),
                decision=each.decision and replace(each.decision, match=None, candidates=()),
            )
            for each in found
        ]

    monkeypatch.setattr(engine.FaceEngine, command, unusable)
    (face,) = cli(command, "hopper.jpg", "--json").json["faces"]
    assert (face["usable"], face["reasons"]) == (False, ["too_blurry"])
    outcome = cli(command, "hopper.jpg")
    assert "unusable" in outcome.out
    assert "too blurry" in outcome.out


@pytest.mark.slow
def test_unknown_faces_are_told_what_each_candidate_needs(cli):
    assert cli("people", "rename", "Eileen Collins", "Ada").status == 0
    outcome = cli("identify", "collins.jpg", "--fmr", "1e-6")
    assert "Ada 1.000 of 0.557 needed" in outcome.out
    assert cli("people", "remove", "Ada", "--yes").status == 0
    outcome = cli("identify", "collins.jpg")
    assert outcome.status == 1
    row = " ".join(outcome.out.splitlines()[2].split())
    assert row.startswith("unknown 1 Grace Hopper 0.")
    assert " of 0.442 needed " in row


@pytest.mark.slow
def test_a_run_in_words_says_what_is_done(cli, photo_folder, photos):
    outcome = cli("identify", "hopper.jpg", "--verbose", "--out", "marked.jpg")
    for message in (
        "people.db",
        "model sface",
        "model yunet",
        "hopper.jpg: 512 x 600 pixels, 1 face",
    ):
        assert message in outcome.err, message
    assert "marked.jpg: written" in outcome.err
    assert cli("identify", "hopper.jpg").err == ""


def test_what_is_interrupted_leaves_whole_results(cli, photo_folder, photos, monkeypatch):
    from facekeep.engine import FaceEngine

    road, looked = FaceEngine.detect, []

    def interrupted(self, image):
        looked.append(image)
        if len(looked) == 2:
            raise KeyboardInterrupt
        return road(self, image)

    monkeypatch.setattr(FaceEngine, "detect", interrupted)
    words = ["--csv", "faces.csv", "--out", "marked", "--crops", "crops"]
    outcome = cli("detect", "photos", "--json", *words)
    assert outcome.status == 130
    first, last = outcome.json_lines
    assert (first["image"], last["error"]["kind"]) == ("photos/b.jpg", "interrupted")
    left = [
        path.name for name in ("marked", "crops") for path in (photo_folder / name).rglob("*.*")
    ]
    assert left == ["b.jpg", "b-1.png"]
    assert not list(photo_folder.glob("*.csv")) + list(photo_folder.glob(".*.part"))
