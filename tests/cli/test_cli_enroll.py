"""``enroll``: one person from photos, many from folders, and what is said about the rest."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from facekeep import Gallery, load_image, save_image

pytestmark = pytest.mark.usefixtures("photo_folder")


@pytest.mark.slow
def test_enroll_as_json(cli):
    words = ["enroll", "Ada Lovelace", "hopper.jpg", "hopper2.jpg", "gray.png", "-g", "new.db"]
    outcome = cli(*words, "--json")
    assert (outcome.status, outcome.err) == (0, "")
    (rejected,) = outcome.json["rejected"]
    assert outcome.json == {
        "name": "Ada Lovelace",
        "enrolled": 2,
        "rejected": [rejected],
        "chosen": [],
    }
    assert list(rejected) == ["image", "reason", "detail"]
    assert (rejected["image"], rejected["reason"]) == ("gray.png", "no_face")
    assert cli("identify", "party.jpg", "-g", "new.db").status == 0


@pytest.mark.slow
def test_enroll_for_people(cli):
    outcome = cli("enroll", "Grace Hopper", "hopper2.jpg", "hopper.jpg", "party.jpg")
    assert (outcome.status, outcome.err) == (0, "")
    first, again, several = outcome.out.splitlines()
    assert first == "Grace Hopper: 1 photo enrolled"
    assert again.startswith("  not enrolled: hopper.jpg: already_enrolled: ")
    assert several.startswith("  not enrolled: party.jpg: multiple_faces: 2 faces")


@pytest.mark.slow
def test_the_exit_status_says_whether_the_person_is_enrolled(cli):
    assert cli("enroll", "Grace Hopper", "hopper.jpg").status == 0, "enrolled already"
    outcome = cli("enroll", "Somebody Else", "hopper2.jpg", "--json")
    assert outcome.status == 1
    assert [each["reason"] for each in outcome.json["rejected"]] == ["identity_conflict"]
    assert "Grace Hopper" in outcome.json["rejected"][0]["detail"]
    assert cli("people", "show", "Somebody Else").status == 2
    assert cli("enroll", "Somebody Else", "hopper2.jpg", "--review", "off").status == 0


@pytest.mark.slow
def test_the_review_can_be_strict(cli):
    assert cli("enroll", "A", "party.jpg", "-g", "new.db", "--review", "strict").status == 1
    assert cli("enroll", "A", "party.jpg", "-g", "new.db", "--review", "off").status == 0


@pytest.mark.slow
def test_facts_consent_and_retention_are_kept(cli):
    options = ["--meta", "team=navy", "--meta", "a=b=c", "--consent", "form 12"]
    assert (
        cli("enroll", "Ada", "hopper.jpg", "-g", "n.db", *options, "--retain-days", 30).status == 0
    )
    person = cli("people", "show", "Ada", "-g", "n.db", "--json").json
    assert person["metadata"] == {"team": "navy", "a": "b=c"}
    assert person["consent"]["basis"] == "form 12"
    assert person["retain_until"] > person["created_at"]
    info = cli("gallery", "info", "-g", "n.db", "--json").json
    assert (info["crops"], info["expired"]) == (0, 0)


@pytest.mark.slow
def test_crops_are_kept_only_when_asked(cli, photo_folder):
    assert cli("enroll", "Ada", "hopper.jpg", "-g", "new.db", "--keep-crops").status == 0
    with Gallery.open("new.db") as gallery:
        (template,) = gallery.person("Ada").templates
        crop = gallery.crop(template.id)
    assert load_image(crop).shape == (112, 112, 3)
    with Gallery.open("people.db") as gallery:
        assert gallery.info().crops == 0


@pytest.mark.slow
def test_a_folder_of_photos_for_one_person(cli, photo_folder):
    (photo_folder / "ada").mkdir()
    shutil.copy("hopper.jpg", "ada")
    shutil.copy("hopper2.jpg", "ada")
    (photo_folder / "ada" / "notes.txt").write_text("no photo")
    outcome = cli("enroll", "Ada", "ada", "-g", "new.db", "--json")
    assert outcome.json == {"name": "Ada", "enrolled": 2, "rejected": [], "chosen": []}


@pytest.fixture
def people(photo_folder):
    """A folder for each person; of the photos of two, one or all cannot be used."""
    photos = {"Grace": ["hopper.jpg"], "Eileen": ["collins.jpg", "gray.png"], "Bad": ["broken.jpg"]}
    for name, files in photos.items():
        (photo_folder / "folders" / name).mkdir(parents=True)
        for file in files:
            shutil.copy(file, photo_folder / "folders" / name)
    (photo_folder / "folders" / "Empty").mkdir()
    (photo_folder / "folders" / ".hidden").mkdir()
    shutil.copy("hopper.jpg", photo_folder / "folders" / ".hidden")
    (photo_folder / "folders" / "loose.txt").write_text("no picture")


@pytest.mark.slow
def test_a_folder_for_each_person(cli, people):
    outcome = cli("enroll", "folders", "-g", "new.db", "--json")
    assert (outcome.status, outcome.err) == (1, "")
    bad, eileen, grace = outcome.json["people"]
    assert grace == {"name": "Grace", "enrolled": 1, "rejected": [], "chosen": []}
    assert (eileen["name"], eileen["enrolled"]) == ("Eileen", 1)
    assert [each["reason"] for each in eileen["rejected"]] == ["no_face"]
    assert (bad["name"], bad["enrolled"]) == ("Bad", 0)
    assert [each["reason"] for each in bad["rejected"]] == ["unreadable"]
    names = [
        each["name"] for each in cli("people", "list", "-g", "new.db", "--json").json["people"]
    ]
    assert names == ["Eileen", "Grace"]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["A\nB", "x" * 201, b"\xff".decode(errors="surrogateescape")])
def test_a_folder_whose_name_no_person_can_have_stops_no_other(
    cli, people, photo_folder, name: str
):
    folder = (photo_folder / "folders" / "Bad").rename(photo_folder / "folders" / name)
    outcome = cli("enroll", "folders", "-g", "new.db", "--json")
    assert (outcome.status, outcome.err) == (1, "")
    enrolled = {each["name"]: each for each in outcome.json["people"]}
    assert (enrolled["Eileen"]["enrolled"], enrolled["Grace"]["enrolled"]) == (1, 1)
    (bad,) = (each for each in enrolled.values() if each["name"] not in ("Eileen", "Grace"))
    (rejection,) = bad["rejected"]
    assert (bad["enrolled"], rejection["reason"]) == (0, "unusable_name")
    assert rejection["image"].startswith(f"folders/{folder.name[0]}"[:8])
    assert rejection["detail"].endswith("; rename the folder")


@pytest.mark.slow
def test_a_folder_for_each_person_enrolled_again_adds_nothing(cli, people, photo_folder):
    shutil.rmtree(photo_folder / "folders" / "Bad")
    first = cli("enroll", "folders", "-g", "new.db")
    assert first.status == 0
    assert first.out.splitlines()[-2:] == [
        "Grace: 1 photo enrolled",
        "2 of 2 people enrolled, 2 new photos",
    ]
    assert cli("enroll", "folders", "-g", "new.db").out.splitlines()[-2:] == [
        "Grace: enrolled before, nothing new",
        "2 of 2 people enrolled, 0 new photos",
    ]
    again = cli("enroll", "folders", "-g", "new.db", "--json")
    assert again.status == 0
    assert [person["enrolled"] for person in again.json["people"]] == [0, 0]
    assert cli("gallery", "info", "-g", "new.db", "--json").json["templates"] == 2


@pytest.mark.slow
def test_pictures_beside_the_folders_of_people_stop_the_enrollment(cli, people, photo_folder):
    for number in range(4):
        shutil.copy("hopper.jpg", photo_folder / "folders" / f"loose{number}.jpg")
    outcome = cli("enroll", "folders", "-g", "new.db")
    assert outcome.status == 2
    assert "4 pictures in folders lie beside the people's folders (loose0.jpg, " in outcome.err
    assert not (photo_folder / "new.db").exists()
    for number in range(3):
        (photo_folder / "folders" / f"loose{number}.jpg").unlink()
    assert "1 picture in folders lies beside" in cli("enroll", "folders", "-g", "new.db").err


def test_a_folder_of_photos_is_no_folder_of_people(cli, photo_folder):
    (photo_folder / "ada").mkdir()
    shutil.copy("hopper.jpg", "ada")
    outcome = cli("enroll", "ada", "-g", "new.db")
    assert outcome.status == 2
    assert "facekeep enroll NAME ada" in outcome.err


@pytest.mark.slow
def test_a_folder_of_different_people_is_no_person(cli, people, photo_folder):
    (photo_folder / "folders" / "Anybody").mkdir()
    shutil.copy("hopper.jpg", photo_folder / "folders" / "Anybody")
    shutil.copy("collins.jpg", photo_folder / "folders" / "Anybody")
    outcome = cli("enroll", "folders", "-g", "new.db", "--json")
    assert outcome.status == 1
    anybody = outcome.json["people"][0]
    assert (anybody["name"], anybody["enrolled"]) == ("Anybody", 0)
    assert [each["reason"] for each in anybody["rejected"]] == ["inconsistent_identity"] * 2
    listed = cli("people", "list", "-g", "new.db", "--json").json["people"]
    assert [each["name"] for each in listed] == ["Eileen", "Grace"]


@pytest.mark.slow
def test_photos_that_are_refused_for_one_reason_share_a_line(cli, photo_folder):
    (photo_folder / "mixed").mkdir()
    for number in range(3):
        shutil.copy("hopper.jpg", photo_folder / "mixed" / f"{number}.jpg")
        shutil.copy("collins.jpg", photo_folder / "mixed" / f"{number + 3}.jpg")
    outcome = cli("enroll", "Anybody", "mixed", "-g", "new.db")
    lines = outcome.out.splitlines()
    assert (outcome.status, len(lines)) == (1, 2)
    first = ", ".join(str(Path("mixed", f"{number}.jpg")) for number in range(3))
    assert lines[1].startswith(f"  not enrolled: {first} and 3 more: inconsistent_identity: ")
    rejected = cli("enroll", "Anybody", "mixed", "-g", "new.db", "--json").json["rejected"]
    assert len(rejected) == 6


@pytest.mark.slow
def test_the_odd_photo_is_listed(cli, photo_folder):
    photos = ["hopper.jpg", "collins.jpg", "hopper2.jpg"]
    outcome = cli("enroll", "Ada", *photos, "-g", "new.db", "--json")
    assert (outcome.status, outcome.json["enrolled"]) == (0, 2)
    (odd,) = outcome.json["rejected"]
    assert (odd["image"], odd["reason"]) == ("collins.jpg", "inconsistent_identity")


def test_which_face_was_taken_is_said(cli):
    outcome = cli("enroll", "Ada", "party.jpg", "--largest", "-g", "new.db")
    assert outcome.status == 0
    first, second = outcome.out.splitlines()
    assert first == "Ada: 1 photo enrolled"
    assert second.startswith("  party.jpg: took the face at ")
    assert second.endswith(", one of 2")


@pytest.mark.slow
def test_somebody_alike_is_enrolled_when_said_to_be_new(cli):
    assert cli("enroll", "Somebody Else", "hopper2.jpg").status == 1
    assert cli("enroll", "Somebody Else", "hopper2.jpg", "--new-person").status == 0


def test_a_default_folder_that_cannot_be_made_says_so(cli, monkeypatch, private_home, tmp_path):
    (tmp_path / "file").touch()
    monkeypatch.delenv("FACEKEEP_GALLERY", raising=False)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "file" / "data"))
    outcome = cli("enroll", "Grace Hopper", "hopper.jpg", "--json")
    assert "a part of the path is not a folder; check the path" in outcome.json["error"]["message"]


@pytest.mark.slow
def test_the_first_enrollment_makes_the_default_gallery(cli, monkeypatch, private_home):
    monkeypatch.delenv("FACEKEEP_GALLERY")
    assert cli("identify", "hopper.jpg").status == 2
    assert cli("enroll", "Ada", "hopper.jpg").status == 0
    assert (private_home / ".local/share/facekeep/people.db").stat().st_mode & 0o777 == 0o600
    assert cli("identify", "hopper.jpg").status == 0


@pytest.mark.slow
def test_a_small_face_is_refused_with_the_cure(cli, hopper):
    save_image("small.png", hopper[::8, ::8])
    outcome = cli("enroll", "Ada", "small.png", "-g", "new.db", "--json")
    assert outcome.status == 1
    assert [each["reason"] for each in outcome.json["rejected"]] == ["face_too_small"]


def test_a_forgotten_name_is_not_a_person(cli, people):
    outcome = cli("enroll", "hopper.jpg", "collins.jpg", "-g", "new.db")
    assert outcome.status == 2
    assert "hopper.jpg looks like a picture, not a name" in outcome.err


@pytest.mark.slow
def test_who_is_missing_is_said_at_the_end(cli, people, photo_folder):
    outcome = cli("enroll", "folders", "-g", "new.db")
    assert outcome.status == 1
    assert outcome.out.splitlines()[-1] == "without a photo that could be used: Bad"


@pytest.mark.slow
def test_a_folder_with_underscores_is_the_person_with_spaces(cli, photo_folder):
    for name, photo in (
        ("Grace_Hopper", "hopper2.jpg"),
        ("eileen collins", "collins.jpg"),
        ("Ada_L", "collins.jpg"),
    ):
        (photo_folder / "people" / name).mkdir(parents=True)
        (photo_folder / "people" / name / photo).write_bytes((photo_folder / photo).read_bytes())
    outcome = cli("enroll", "people", "--review", "off", "--json")
    assert outcome.status == 1
    ada, grace, eileen = outcome.json["people"]
    assert (ada["name"], grace["name"]) == ("Ada_L", "Grace Hopper")
    assert grace["enrolled"] == 1
    assert [each["reason"] for each in eileen["rejected"]] == ["name_conflict"]
    listed = cli("people", "list", "--json").json["people"]
    assert {each["name"]: each["template_count"] for each in listed} == {
        "Ada_L": 1,
        "Eileen Collins": 1,
        "Grace Hopper": 2,
    }
