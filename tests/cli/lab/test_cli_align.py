"""``facekeep align``: photos of people become the crops that training takes."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from facekeep import load_image, save_image
from facekeep.errors import InputError
from facekeep.lab.datasets import read_person_folder
from facekeep.lab.datasets.training_set import open_source
from facekeep.lab.train.photos import crop_people

pytestmark = pytest.mark.slow


@pytest.fixture
def photos(tmp_path: Path, hopper_path: Path, collins_path: Path) -> Path:
    folder = tmp_path / "photos"
    for person, photo in (("Grace", hopper_path), ("Eileen", collins_path)):
        (folder / person / "more").mkdir(parents=True)
        shutil.copy(photo, folder / person)
        shutil.copy(photo, folder / person / "more")
    save_image(folder / "Grace/wall.jpg", np.full((90, 120, 3), 128, np.uint8))
    (folder / "Grace/broken.jpg").write_bytes(b"\xff\xd8\xff and no more")
    return folder


def test_photos_become_aligned_crops(cli, tmp_path: Path, photos: Path, ready_models: None):
    out = tmp_path / "people"
    outcome = cli("align", photos, "--out", out, "--json")
    assert outcome.status == 0, outcome.err
    assert (outcome.json["saved"], outcome.json["known"]) == (4, 0)
    assert [each["image"] for each in outcome.json["failures"]] == [
        "Grace/broken.jpg",
        "Grace/wall.jpg",
    ]
    assert all("Grace" not in each["reason"] for each in outcome.json["failures"])
    assert out.stat().st_mode & 0o777 == 0o700, "others may not look at the faces"
    source = open_source(out)
    assert list(source.names) == ["Eileen", "Grace"]
    assert len(source) == 4
    crop = load_image(out / "Grace/grace_hopper.jpg.png")
    assert crop.shape == (112, 112, 3)
    assert (crop == load_image(out / "Grace/more/grace_hopper.jpg.png")).all()


def test_an_interrupted_run_goes_on(cli, tmp_path: Path, photos: Path, ready_models: None):
    out = tmp_path / "people"
    assert cli("align", photos, "--out", out).status == 0
    gone, kept = out / "Grace/grace_hopper.jpg.png", out / "Eileen/astronaut.png.png"
    before = kept.stat().st_mtime_ns, gone.read_bytes()
    gone.unlink()
    outcome = cli("align", photos, "--out", out)
    assert outcome.out.splitlines()[-1] == (
        f"{out}: 1 face saved, 3 there already, 2 photos without a crop"
    )
    assert (kept.stat().st_mtime_ns, gone.read_bytes()) == before


def test_crops_among_the_photos_would_be_people(cli, photos: Path):
    outcome = cli("align", photos, "--out", photos / "crops")
    assert outcome.status == 2
    assert "whose folders are people; choose another folder" in outcome.err
    assert not (photos / "crops").exists()


def test_a_folder_that_cannot_be_made_is_told(cli, photos: Path, ready_models: None):
    (photos.parent / "file").touch()
    outcome = cli("align", photos, "--out", photos.parent / "file")
    assert outcome.err.count("\n") == 1
    assert "file/Eileen: cannot be made: a part of the path is not a folder" in outcome.err


def test_photos_without_any_face_are_a_no(cli, tmp_path: Path, ready_models: None):
    wall = np.full((90, 120, 3), 128, np.uint8)
    (tmp_path / "photos/Ada").mkdir(parents=True)
    save_image(tmp_path / "photos/Ada/wall.jpg", wall)
    outcome = cli("align", tmp_path / "photos", "--out", tmp_path / "people")
    assert outcome.status == 1
    assert outcome.out.startswith("Ada/wall.jpg: no face was found\n")


def test_a_size_that_makes_no_crop_is_refused(photos: Path, tmp_path: Path):
    with pytest.raises(InputError, match="16 to 1024 pixels, not 8"):
        crop_people(read_person_folder(photos), tmp_path / "people", None, size=8)  # type: ignore[arg-type]
