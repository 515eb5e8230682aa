from __future__ import annotations

import os
from pathlib import Path

import pytest
from data_kit import contents_of, encoded, packed, write_people, write_records, write_tar

from facekeep.errors import ImageError, InputError
from facekeep.lab.datasets.source import Source
from facekeep.lab.datasets.training_set import open_source

A, B, C = (encoded(n) for n in range(3))


def people_of(source: Source) -> dict[str, str]:
    return {key: person for key, person, _ in contents_of(source)}


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("missing", "no such file or folder"),
        ("train.idx", r"name the .rec beside it, train\.rec"),
        ("train.lst", r"name the .rec beside it, train\.rec"),
        ("faces.tar.gz", "unpack it first"),
        ("faces.zip", "unpack it first"),
        ("face.jpg", "give a folder"),
    ],
)
def test_what_is_no_training_data_is_told_with_the_cure(
    tmp_path: Path, name: str, why: str
) -> None:
    if name != "missing":
        (tmp_path / name).write_bytes(b"x")
    with pytest.raises(InputError, match=why) as error:
        open_source(tmp_path / name)
    assert "\n" not in str(error.value)


def test_a_format_can_be_asked_for(tmp_path: Path) -> None:
    write_people(tmp_path, {"Ada": 1})
    write_tar(tmp_path / "x.tar", [("a.jpg", A)])
    write_records(tmp_path / "train.rec", [packed(0.0, B)])
    with pytest.raises(InputError, match=r"both \.rec and \.tar"):
        open_source(tmp_path)
    assert open_source(tmp_path, "folder").read(0) == A
    assert open_source(tmp_path, "webdataset").read(0) == A
    assert open_source(tmp_path, "recordio").read(0) == B
    with pytest.raises(InputError, match="format must be one of auto, folder"):
        open_source(tmp_path, "lmdb")


def test_a_format_that_is_not_there(tmp_path: Path) -> None:
    write_people(tmp_path, {"Ada": 1})
    with pytest.raises(InputError, match=r"holds no \.tar files"):
        open_source(tmp_path, "webdataset")
    with pytest.raises(InputError, match=r"holds no \.rec file"):
        open_source(tmp_path, "recordio")
    with pytest.raises(ImageError, match="is a file"):
        open_source(tmp_path / "Ada/0.png", "folder")


@pytest.mark.parametrize("name", ["train.rec", "x.tar"])
def test_a_pipe_is_not_waited_for(tmp_path: Path, name: str) -> None:
    os.mkfifo(tmp_path / name)
    with pytest.raises(ImageError, match=f"{name}: cannot be read: it is a pipe"):
        open_source(tmp_path)


def test_one_of_several_records_must_be_named(tmp_path: Path) -> None:
    for name in ("a.rec", "b.rec"):
        write_records(tmp_path / name, [packed(0.0, A)])
    with pytest.raises(InputError, match=r"several \.rec files; name one"):
        open_source(tmp_path)
    assert len(open_source(tmp_path / "b.rec")) == 1


def test_a_table_names_the_people_in_tars(tmp_path: Path) -> None:
    write_tar(tmp_path / "x.tar", [(f"{n:06}.webp", A) for n in range(4)])
    table = tmp_path / "index.tsv"
    table.write_text(
        "key\tset\tidentity\n000002\tx\tcy\n000000\tx\tbo, jr\n000003\tx\t\n000009\tx\tno\n"
    )
    source = open_source(tmp_path, labels=table)
    assert people_of(source) == {"000000": "bo, jr", "000001": "", "000002": "cy", "000003": ""}
    assert list(source.names) == ["bo, jr", "cy"]
    assert source.labels.tolist() == [0, -1, 1, -1]


def test_a_table_may_be_separated_by_commas_and_name_files_with_their_endings(
    tmp_path: Path,
) -> None:
    for name in ("a.png", "b.png"):
        (tmp_path / name).write_bytes(A)
    table = tmp_path / "people.csv"
    table.write_text('identity,key\r\n"Smith, Ada",a.png\r\n\r\nBo,b\r\n', "utf-8-sig")
    assert people_of(open_source(tmp_path, labels=table)) == {
        "a.png": "Smith, Ada",
        "b.png": "Bo",
    }


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (b"", "first line must have the titles key and identity"),
        (b"key\tname\na\tb\n", "first line must have the titles key and identity"),
        (b"key\tidentity\na\n", "line 2 has 1 columns, not 2"),
        (b"key\tidentity\na\tx\na\ty\n", "line 3 names a second person for a"),
        (b"key\tidentity\n\xff\xfe\tx\n", "cannot be read"),
        (b"key\tidentity\n" + b"a" * 200_000 + b"\tx\n", "no table of text"),
        (b"key\tidentity\nz\tx\n", "none of its keys is that of an image in .*, such as a"),
    ],
)
def test_a_table_that_cannot_be_used(tmp_path: Path, text: bytes, why: str) -> None:
    write_tar(tmp_path / "x.tar", [("a.jpg", A)])
    (tmp_path / "index.tsv").write_bytes(text)
    with pytest.raises(InputError, match=why) as error:
        open_source(tmp_path, labels=tmp_path / "index.tsv")
    assert "index.tsv" in str(error.value)
    assert "\n" not in str(error.value)


def test_a_table_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no\.tsv: cannot be read: no such file"):
        open_source(tmp_path, labels=tmp_path / "no.tsv")


@pytest.mark.slow
@pytest.mark.shared
def test_the_shared_faces(shared: Path) -> None:
    source = open_source(shared / "faces", labels=shared / "faces" / "index.tsv")
    assert len(source) == 55_373
    assert source.classes == 5_581
    assert (source.labels >= 0).sum() == 19_231
    assert source.corrupt == 0
    assert source.key(55_372) == "055372"
    with_class = int((source.labels >= 0).argmax())
    assert source.names[source.labels[with_class]] == "celeba/5811"


@pytest.mark.slow
@pytest.mark.shared
def test_people_in_json_beside_the_images(shared: Path) -> None:
    source = open_source(shared / "landmarks" / "faces68.tar")
    assert (len(source), source.classes) == (3_462, 347)
    assert source.names[source.labels[0]] == "Abdel_Aziz_Al-Hakim"
