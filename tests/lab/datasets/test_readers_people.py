"""People as training reads them, in the place of a folder for each."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from facekeep.errors import InputError
from facekeep.lab.datasets import known_people, person_folder

NAMES = ("a1", "a2", "b1", "nobody")
LABELS = "key\tidentity\na1\tAda\na2\tAda\nb1\tBob\nnobody\t\n"


def _png(shade: int) -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", (8, 8), (shade, shade, shade)).save(stream, "PNG")
    return stream.getvalue()


@pytest.fixture
def tar(tmp_path: Path) -> Path:
    path = tmp_path / "faces.tar"
    with tarfile.open(path, "w") as archive:
        for shade, name in enumerate(NAMES):
            entry = tarfile.TarInfo(f"{name}.png")
            entry.size = len(_png(shade))
            archive.addfile(entry, io.BytesIO(_png(shade)))
    return path


def test_a_table_names_the_people_in_a_tar(tar: Path, tmp_path: Path) -> None:
    labels = tmp_path / "index.tsv"
    labels.write_text(LABELS)
    found = known_people(tar, labels=labels, aligned=True)
    assert [found.people[place] for place in found.person] == ["Ada", "Ada", "Bob"]
    assert found.samples.names == ("a1", "a2", "b1")
    assert found.samples.aligned
    np.testing.assert_array_equal(found.samples.load(2), np.full((8, 8, 3), 2, np.uint8))


def test_the_folder_of_the_tar_will_do(tar: Path, tmp_path: Path) -> None:
    labels = tmp_path / "index.tsv"
    labels.write_text(LABELS)
    assert known_people(tar.parent, labels=labels).people == ("Ada", "Bob")


def test_images_of_nobody_known_are_refused(tar: Path) -> None:
    with pytest.raises(InputError, match="name a table that does"):
        known_people(tar)


def test_a_folder_for_each_person_is_read_as_ever(tmp_path: Path) -> None:
    for name in ("Ada", "Bob"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "1.png").write_bytes(_png(1))
    found, expected = known_people(tmp_path), person_folder(tmp_path)
    assert (found.people, found.samples.names) == (expected.people, expected.samples.names)


def test_a_table_may_tell_ages(tar: Path, tmp_path: Path) -> None:
    labels = tmp_path / "index.tsv"
    labels.write_text("key,identity,age\na1,Ada,31\na2,Ada,\nb1,Bob,4.5\nother,Cy,9\n")
    found = known_people(tar, labels=labels)
    assert found.age is not None
    assert found.samples.names == ("a1", "a2", "b1")
    np.testing.assert_array_equal(found.age, [31, np.nan, 4.5])


@pytest.mark.parametrize("age", ["old", "-1", "151", "nan"])
def test_an_age_that_is_none_is_refused(tar: Path, tmp_path: Path, age: str) -> None:
    labels = tmp_path / "index.tsv"
    labels.write_text(f"key\tidentity\tage\na1\tAda\t{age}\nb1\tBob\t3\n")
    with pytest.raises(InputError, match="line 2 has no age in years"):
        known_people(tar, labels=labels)
