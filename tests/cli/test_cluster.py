"""``facekeep cluster``."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from photo_kit import cache, photo_folder

from facekeep import load_image, save_image

__all__ = ["cache", "photo_folder"]


@pytest.fixture(autouse=True)
def one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FACEKEEP_THREADS", "1")


@pytest.mark.slow
def test_people_are_listed_with_their_photos(cli, photo_folder: Path, cache: Path):
    outcome = cli("cluster", photo_folder)
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


@pytest.mark.slow
def test_json_lists_groups_with_photos_and_boxes(
    cli, photo_folder: Path, cache: Path, tmp_path: Path
):
    sheet = tmp_path / "people.png"
    result = cli("cluster", photo_folder, "--json", "--out", sheet).json
    assert [group["photos"] for group in result["groups"]] == [2, 2]
    for group in result["groups"]:
        names = {Path(face["image"]).stem for face in group["faces"]}
        assert len(names) == 1
        assert all(len(face["bbox"]) == 4 for face in group["faces"])
    assert (result["photos"], result["faces"], result["alone"]) == (5, 4, 0)
    assert load_image(sheet).std() > 20
    again = cli("cluster", photo_folder, "--json").json
    assert (result.pop("analysed"), again.pop("analysed")) == (5, 0)
    assert again == result


@pytest.mark.slow
def test_no_group_is_exit_status_one(cli, photo_folder: Path, cache: Path):
    outcome = cli("cluster", photo_folder, "--min-size", "3")
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
def test_bad_input_is_one_line(cli, photo_folder: Path, cache: Path, monkeypatch, words, message):
    monkeypatch.chdir(photo_folder)
    outcome = cli("cluster", *words)
    assert outcome.status == 2
    assert outcome.err.count("\n") == 1
    assert message in outcome.err


@pytest.fixture
def people(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the gallery will be."""
    gallery = tmp_path / "people.db"
    monkeypatch.setenv("FACEKEEP_GALLERY", str(gallery))
    return gallery


@pytest.mark.slow
def test_a_group_is_named_and_enrolled_in_one_step(
    cli, photo_folder: Path, cache: Path, people: Path
):
    groups = cli("cluster", photo_folder, "--json").json["groups"]
    assert not people.exists(), "looking makes no gallery"
    assert [group["name"] for group in groups] == [None, None]
    place = next(n for n, each in enumerate(groups) if "hopper" in each["faces"][0]["image"])
    words = ("--name", f"{groups[place]['id'][:6]}=Grace Hopper", "--review", "off")
    outcome = cli("cluster", photo_folder, *words, "--consent", "form 12", "--retain-days", "9")
    assert outcome.status == 0
    output = f"Grace Hopper: 2 photos enrolled from group {groups[place]['id']}"
    assert output in outcome.out
    person = cli("people", "show", "Grace Hopper", "--json").json
    assert (person["template_count"], person["consent"]["basis"]) == (2, "form 12")
    assert person["retain_until"] is not None
    named = cli("cluster", photo_folder, "--json").json["groups"]
    assert [group["id"] for group in named] == [group["id"] for group in groups]
    assert named[place]["name"] == "Grace Hopper"
    assert named[place]["similarity"] > named[place]["threshold"]
    assert named[1 - place]["name"] is None
    again = cli("cluster", photo_folder, *words, "--json")
    assert again.status == 0
    assert [each["reason"] for each in again.json["named"][0]["rejected"]] == [
        "already_enrolled"
    ] * 2
    assert "Grace Hopper (" in cli("cluster", photo_folder).out
    assert cli("identify", photo_folder / "hopper.png").status == 0


@pytest.mark.slow
def test_wrong_groups_and_names_enroll_nobody(cli, photo_folder: Path, cache: Path, people: Path):
    first, second = (group["id"] for group in cli("cluster", photo_folder, "--json").json["groups"])
    cli("enroll", "Ada Lovelace", photo_folder / "hopper.png", "--review", "off")
    for words, message in (
        (["1=Ada"], f"by its id, which is {first} now"),
        (["9=Ada"], "there is no group 9"),
        (["00000000=Ada"], "there is no group 00000000"),
        ([f"{first}=Ada", f"{first[:5]}=Bea"], "named twice"),
        ([first], "--name takes GROUP=NAME"),
        ([f"{first}= "], "--name takes GROUP=NAME"),
        ([f"{first}=Bea", f"{second}=ada  lovelace"], "looks like 'Ada Lovelace'"),
        ([f"{first}=Bea", f"{second}=\u200b"], "nothing can be seen"),
    ):
        outcome = cli("cluster", photo_folder, *(x for word in words for x in ("--name", word)))
        assert (outcome.status, outcome.err.count("\n")) == (2, 1)
        assert message in outcome.err
    assert [p["name"] for p in cli("people", "list", "--json").json["people"]] == ["Ada Lovelace"]
    other = next(
        each["id"]
        for each in cli("cluster", photo_folder, "--json").json["groups"]
        if not each["name"]
    )
    wrong = cli("cluster", photo_folder, "--name", f"{other}=Ada Lovelace")
    assert wrong.status == 1
    assert "inconsistent_identity" in wrong.out


@pytest.mark.slow
def test_a_group_without_a_name_says_whom_it_is_like(
    cli, photo_folder: Path, cache: Path, people: Path
):
    assert cli("enroll", "Grace", photo_folder / "hopper.png", "--review", "off").status == 0
    twice = load_image(photo_folder / "hopper.png")
    save_image(photo_folder / "twice.png", np.hstack([twice, twice]))
    output = cli("cluster", photo_folder, "--min-size", "1").out
    (other,) = [line for line in output.splitlines() if "in one photo with" in line]
    assert "like Grace (" in other
    assert (
        "in one photo with" not in cli("cluster", photo_folder, "--min-size", "1", "--collage").out
    )


@pytest.mark.slow
def test_photos_are_sorted_into_folders(
    cli, photo_folder: Path, cache: Path, people: Path, tmp_path
):
    cli("enroll", "Grace Hopper", photo_folder / "hopper.png", "--review", "off")
    target = tmp_path / "sorted"
    outcome = cli("cluster", photo_folder, "--sort-into", target, "--json")
    assert outcome.status == 0
    assert outcome.json["sorted"]["copied"] == 5
    folders = {each.name: {x.name for x in each.iterdir()} for each in target.iterdir()}
    assert folders.pop("Grace Hopper") == {"hopper.png", "hopper.jpg"}
    assert folders.pop("unsorted") == {"wall.png"}
    assert [*folders.values()] == [{"collins.png", "collins.jpg"}]
    again = cli("cluster", photo_folder, "--sort-into", target)
    assert "0 photos copied into 3 folders, 5 there already" in again.out
    refused = cli("cluster", photo_folder, "--sort-into", photo_folder / "sorted")
    assert refused.status == 2
    assert "choose a folder outside it" in refused.err


@pytest.mark.slow
def test_a_gallery_of_another_model_names_nobody(
    cli, photo_folder: Path, cache: Path, people: Path
):
    cli("enroll", "Grace Hopper", photo_folder / "hopper.png", "--review", "off")
    other = cli("cluster", photo_folder, "--embedder", "facekeep-xxs", "--terms", "research")
    assert other.status == 0
    assert "Grace Hopper" not in other.out
    assert "nobody is named, because the gallery cannot be used" in other.err
    asked = cli(
        "cluster",
        photo_folder,
        "--embedder",
        "facekeep-xxs",
        "--terms",
        "research",
        "--gallery",
        people,
    )
    assert asked.status == 2
