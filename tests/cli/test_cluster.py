"""``facekeep cluster``."""

from __future__ import annotations

from pathlib import Path

import pytest
from photo_kit import album, cache, folded_models

from facekeep import load_image

__all__ = ["album", "cache", "folded_models"]


@pytest.fixture(autouse=True)
def one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FACEKEEP_THREADS", "1")


def test_people_are_listed_with_their_photos(cli, album: Path, cache: Path):
    outcome = cli("cluster", album)
    assert outcome.status == 0
    header, *rows = outcome.out.splitlines()[:5]
    assert header.split()[:3] == ["person", "photo", "typical"]
    people = {}
    for row in rows:
        person, path, *_ = row.split()
        people.setdefault(person, set()).add(Path(path).stem)
    assert sorted(map(sorted, people.values())) == [["collins"], ["hopper"]]
    assert "people: 2; photos: 5; faces: 4, of which in no group: 0" in outcome.out
    assert "unreadable: " in outcome.out


def test_json_lists_groups_with_photos_and_boxes(cli, album: Path, cache: Path, tmp_path: Path):
    sheet = tmp_path / "people.png"
    result = cli("cluster", album, "--json", "--out", sheet).json
    assert [group["photos"] for group in result["groups"]] == [2, 2]
    for group in result["groups"]:
        names = {Path(face["image"]).stem for face in group["faces"]}
        assert len(names) == 1
        assert all(len(face["bbox"]) == 4 for face in group["faces"])
    assert (result["photos"], result["faces"], result["alone"]) == (5, 4, 0)
    assert load_image(sheet).std() > 20
    again = cli("cluster", album, "--json").json
    assert (result.pop("analysed"), again.pop("analysed")) == (5, 0)
    assert again == result


def test_no_group_is_exit_status_one(cli, album: Path, cache: Path):
    outcome = cli("cluster", album, "--min-size", "3")
    assert outcome.status == 1
    assert "people: 0; photos: 5; faces: 4, of which in no group: 4" in outcome.out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["nowhere"], "nowhere: the folder cannot be read: no such file"),
        ([".", "--min-size", "0"], "--min-size"),
        ([".", "--fmr", "7"], "--fmr 7"),
        ([".", "--out", "people.xyz"], "people.xyz: unknown picture format"),
        ([".", "--out", "no/such/people.png"], "people.png: cannot be written"),
    ],
)
def test_bad_input_is_one_line(cli, album: Path, cache: Path, monkeypatch, words, message):
    monkeypatch.chdir(album)
    outcome = cli("cluster", *words)
    assert outcome.status == 2
    assert outcome.err.count("\n") == 1
    assert message in outcome.err
