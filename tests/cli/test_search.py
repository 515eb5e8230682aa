"""``facekeep search``, and ``facekeep cache`` which tells what it remembers."""

from __future__ import annotations

import io
import os
import secrets
import sys
from pathlib import Path

import pytest
from photo_kit import cache, photo_folder

from facekeep import load_image

__all__ = ["cache", "photo_folder"]


@pytest.fixture(autouse=True)
def one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FACEKEEP_THREADS", "1")


@pytest.mark.slow
def test_found_photos_are_listed_best_first(cli, photo_folder: Path, cache: Path):
    outcome = cli("search", photo_folder / "hopper.png", photo_folder)
    assert outcome.status == 0
    lines = outcome.out.splitlines()
    assert lines[0].split() == ["photo", "similarity", "box", "(x1", "y1", "x2", "y2)"]
    assert lines[1].startswith(str(photo_folder / "hopper.png"))
    assert lines[2].startswith(str(photo_folder / "more" / "hopper.jpg"))
    assert lines[3].startswith("found in 2 of 5 photos with 4 faces; about 0.0004 faces of others")
    assert "collins" not in outcome.out
    assert f"unreadable: {photo_folder / 'broken.jpg'}: is not a picture" in outcome.out


@pytest.mark.slow
def test_json_says_it_all(cli, photo_folder: Path, cache: Path):
    result = cli(
        "search", photo_folder / "collins.png", photo_folder, "--json", "--fmr", "1e-3"
    ).json
    assert [Path(each["image"]).name for each in result["found"]] == ["collins.png", "collins.jpg"]
    assert result["found"][0]["similarity"] == pytest.approx(1, abs=1e-4)
    assert len(result["found"][0]["bbox"]) == 4
    assert (result["photos"], result["faces"], result["fmr"]) == (5, 4, 1e-3)
    assert result["expected_false"] == pytest.approx(4e-3)
    assert 0.2 < result["threshold"] < 0.6
    assert Path(result["unreadable"][0]["image"]).name == "broken.jpg"


@pytest.mark.slow
def test_what_is_found_as_a_table(cli, photo_folder: Path, cache: Path, tmp_path: Path):
    outcome = cli("search", photo_folder / "hopper.png", photo_folder, "--csv", "-")
    assert outcome.status == 0
    header, *rows = outcome.out.splitlines()
    assert header == "image,similarity,threshold,x1,y1,x2,y2"
    assert [Path(row.split(",")[0]).name for row in rows] == ["hopper.png", "hopper.jpg"]
    cli("search", photo_folder / "hopper.png", photo_folder, "--csv", tmp_path / "found.csv")
    assert (tmp_path / "found.csv").read_text("utf-8") == outcome.out


@pytest.mark.slow
def test_top_and_sheet(cli, photo_folder: Path, cache: Path, tmp_path: Path):
    sheet = tmp_path / "sheet.png"
    outcome = cli("search", photo_folder / "hopper.png", photo_folder, "--top", "1", "--out", sheet)
    assert outcome.status == 0
    assert "hopper.jpg" not in outcome.out
    assert load_image(sheet).std() > 20


@pytest.mark.parametrize("words", [["search", "hopper.png", "."], ["cluster", "."]])
@pytest.mark.parametrize("sheet", ["sheet.xyz", "no/sheet.png", "more"])
def test_a_sheet_that_cannot_be_is_refused_before_photos_are_read(
    cli,
    photo_folder: Path,
    cache: Path,
    monkeypatch: pytest.MonkeyPatch,
    words: list[str],
    sheet: str,
):
    monkeypatch.chdir(photo_folder)
    monkeypatch.setattr("facekeep.apps.photo_reader.list_images", None)
    outcome = cli(*words, "--out", sheet)
    assert outcome.status == 2
    assert outcome.err.startswith(f"facekeep: error: {sheet}: ")


@pytest.mark.parametrize(
    ("words", "sheet"),
    [
        (["search", "hopper.png", "more"], "hopper.png"),
        (["search", "hopper.png", "more"], "more/collins.jpg"),
        (["search", "hopper.png", "more"], "link.jpg"),
        (["cluster", "."], "more/../more/hopper.jpg"),
    ],
)
def test_a_sheet_never_takes_the_place_of_a_photo(
    cli,
    photo_folder: Path,
    cache: Path,
    monkeypatch: pytest.MonkeyPatch,
    words: list[str],
    sheet: str,
):
    monkeypatch.chdir(photo_folder)
    Path("link.jpg").symlink_to("more/hopper.jpg")
    before = Path(sheet).read_bytes()
    outcome = cli(*words, "--out", sheet)
    assert outcome.status == 2
    message = f"{Path(sheet)} is itself a picture to read: name another with --out"
    assert outcome.err == f"facekeep: error: {message}\n"
    assert Path(sheet).read_bytes() == before


@pytest.mark.slow
def test_a_sheet_beside_the_photos_may_be_new(cli, photo_folder: Path, cache: Path):
    assert cli("cluster", photo_folder, "--out", photo_folder / "sheet.png", "--quiet").status == 0
    assert load_image(photo_folder / "sheet.png").std() > 20


@pytest.mark.slow
def test_a_face_that_no_photo_shows_is_exit_status_one(cli, photo_folder: Path, cache: Path):
    for path in photo_folder.rglob("collins*"):
        path.rename(photo_folder.parent / path.name)
    outcome = cli("search", photo_folder.parent / "collins.png", photo_folder)
    assert outcome.status == 1
    assert outcome.out.startswith("found in 0 of 3 photos")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("probe", "folder", "message"),
    [
        ("wall.png", ".", "wall.png: no face was found"),
        ("broken.jpg", ".", "broken.jpg: is not a picture"),
        ("hopper.png", "nowhere", "nowhere: the folder cannot be read: no such file"),
        ("hopper.png", "hopper.png", "hopper.png: is a file; name a folder"),
        ("hopper.png", "empty", "empty: the folder holds no pictures"),
    ],
)
def test_bad_input_is_one_line(cli, photo_folder: Path, cache: Path, probe, folder, message):
    (photo_folder / "empty").mkdir()
    outcome = cli("search", photo_folder / probe, photo_folder / folder)
    assert outcome.status == 2
    assert outcome.out == ""
    assert outcome.err.count("\n") == 1
    assert message in outcome.err


@pytest.mark.slow
def test_the_second_run_analyzes_nothing(cli, photo_folder: Path, cache: Path):
    first = cli("search", photo_folder / "hopper.png", photo_folder, "--json").json
    second = cli("search", photo_folder / "hopper.png", photo_folder, "--json").json
    assert (first.pop("analysed"), second.pop("analysed")) == (4, 0)
    assert first == second


@pytest.mark.slow
def test_without_the_cache_nothing_is_remembered(cli, photo_folder: Path, cache: Path):
    for _ in range(2):
        result = cli(
            "search", photo_folder / "hopper.png", photo_folder, "--no-cache", "--json"
        ).json
        assert result["analysed"] == 5
    assert not (cache / "photos.db").exists()


@pytest.mark.slow
def test_a_cache_that_cannot_be_used_is_a_warning(cli, photo_folder: Path, cache: Path):
    (cache / "photos.db").mkdir()
    outcome = cli("search", photo_folder / "hopper.png", photo_folder)
    assert outcome.status == 0
    assert outcome.err.count("going without the cache of photos") == 1


def test_cache_info_and_clear(
    cli, photo_folder: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
):
    assert "there is no cache yet" in cli("cache", "info").out
    assert cli("cache", "clear", "--json").json["erased"] is False
    cli("search", photo_folder / "hopper.png", photo_folder)
    assert "templates of 5 photos, not encrypted; 1 unreadable" in cli("cache", "info").out
    monkeypatch.setenv("SECRET", secrets.token_hex(32))
    again = cli("search", photo_folder / "hopper.png", photo_folder, "--key", "env:SECRET")
    assert "was not encrypted and was discarded" in again.err
    info = cli("cache", "info", "--json").json
    assert (info["photos"], info["encrypted"]) == (5, True)
    assert info["path"] == os.fspath(cache / "photos.db")
    assert cli("cache", "clear").status == 0
    assert list(cache.iterdir()) == []


@pytest.mark.slow
def test_an_enrolled_person_is_looked_for_by_name(
    cli, photo_folder: Path, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("FACEKEEP_GALLERY", str(tmp_path / "people.db"))
    nobody = cli("search", "Grace Hopper", photo_folder)
    assert nobody.status == 2
    assert "Grace Hopper: there is no such file, and there is no gallery at" in nobody.err
    assert "nobody is enrolled yet; begin with: facekeep enroll NAME PHOTO" in nobody.err
    cli("enroll", "Grace Hopper", photo_folder / "hopper.png", "--review", "off")
    result = cli("search", "Grace_Hopper", photo_folder, "--json").json
    assert (result["probe"], result["name"]) == ("Grace_Hopper", "Grace Hopper")
    assert {Path(each["image"]).stem for each in result["found"]} == {"hopper"}
    outcome = cli("search", "Grace Hopper", photo_folder, "--out", tmp_path / "sheet.png")
    assert outcome.status == 0
    assert "looked for Grace Hopper, who is enrolled" in outcome.out
    unknown = cli("search", "Ada", photo_folder)
    assert unknown.status == 2
    assert "Ada: there is no such file, and nobody is enrolled as 'Ada'" in unknown.err
    monkeypatch.chdir(tmp_path)
    Path("Grace Hopper").write_bytes((photo_folder / "collins.png").read_bytes())
    of_file = cli("search", "Grace Hopper", photo_folder, "--json").json
    assert of_file["name"] is None
    assert {Path(each["image"]).stem for each in of_file["found"]} == {"collins"}
    assert "which is a file here, not for a name" in cli("search", "Grace Hopper", photo_folder).out


def test_the_face_may_come_on_standard_input(cli, photo_folder: Path, cache: Path, monkeypatch):
    stream = io.TextIOWrapper(io.BytesIO((photo_folder / "hopper.png").read_bytes()))
    monkeypatch.setattr(sys, "stdin", stream)
    found = cli("search", "-", photo_folder, "--json")
    assert found.status == 0
    assert (found.json["probe"], found.json["name"]) == ("-", None)
    assert {Path(each["image"]).stem for each in found.json["found"]} == {"hopper"}
