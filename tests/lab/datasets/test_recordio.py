from __future__ import annotations

import struct
import tracemalloc
from pathlib import Path

import pytest
from data_kit import MAGIC, contents_of, encoded, insightface, packed, part, record, write_records
from hypothesis import given, settings
from hypothesis import strategies as st

from facekeep.errors import FacekeepError, ImageError, InputError
from facekeep.lab.datasets.training_set import open_source

IMAGES = [(label, encoded(seed, "JPEG")) for seed, label in enumerate([0, 0, 1, 2, 2, 2])]


@pytest.mark.parametrize("index", [True, False])
def test_an_insightface_pack(tmp_path: Path, index: bool) -> None:
    write_records(tmp_path / "train.rec", insightface(IMAGES), index=index)
    source = open_source(tmp_path)
    expected = [(str(n), str(label), data) for n, (label, data) in enumerate(IMAGES, 1)]
    assert contents_of(source) == expected
    assert list(source.names) == ["0", "1", "2"]
    assert source.corrupt == 0


@pytest.mark.parametrize("index", [True, False])
def test_a_pack_without_header_record_and_with_float_arrays_as_labels(
    tmp_path: Path, index: bool
) -> None:
    contents = [
        packed(10.0, IMAGES[0][1]),
        packed((2.0, 7.5), IMAGES[1][1]),
        packed((10.0,), IMAGES[2][1]),
        packed(-1.0, IMAGES[3][1]),
    ]
    write_records(tmp_path / "faces.rec", contents, index=index)
    found = contents_of(open_source(tmp_path / "faces.rec"))
    assert [(key, person) for key, person, _ in found] == [
        ("0", "10"),
        ("1", "2"),
        ("2", "10"),
        ("3", ""),
    ]
    assert [data for *_, data in found] == [data for _, data in IMAGES[:4]]


@pytest.mark.parametrize("index", [True, False])
def test_records_cut_at_the_magic_are_put_together(tmp_path: Path, index: bool) -> None:
    images = [MAGIC * 3 + b"x" * 5, b"abcd" + MAGIC + b"wxyz" + MAGIC, b"ab" + MAGIC, MAGIC]
    contents = [packed(float(n), data) for n, data in enumerate(images)]
    assert record(contents[0]).count(MAGIC) == 4
    write_records(tmp_path / "train.rec", contents, index=index)
    assert [data for *_, data in contents_of(open_source(tmp_path))] == images


def test_the_index_may_list_records_in_any_order_and_number_them_as_it_likes(
    tmp_path: Path,
) -> None:
    offsets = write_records(tmp_path / "train.rec", [packed(0.0, data) for _, data in IMAGES])
    lines = [f"{100 + n}\t{offset}\n" for n, offset in enumerate(offsets)]
    (tmp_path / "train.idx").write_text("".join(reversed(lines)))
    assert [key for key, *_ in contents_of(open_source(tmp_path))] == [
        str(100 + n) for n in range(len(IMAGES))
    ]


DAMAGE = {
    "magic": lambda data, at: data[:at] + b"\0\0\0\0" + data[at + 4 :],
    "length": lambda data, at: data[: at + 4] + b"\xff\xff\xff\x1f" + data[at + 8 :],
    "flag": lambda data, at: data[: at + 8] + b"\xff\xff\xff\xff" + data[at + 12 :],
    "label": lambda data, at: data[: at + 12] + struct.pack("<f", float("nan")) + data[at + 16 :],
    "half": lambda data, at: data[: at + 12] + struct.pack("<f", 0.5) + data[at + 16 :],
    "kind": lambda data, at: data[: at + 7] + b"\xe0" + data[at + 8 :],
    "middle": lambda data, at: data[: at + 7] + b"\x40" + data[at + 8 :],
}


@pytest.mark.parametrize("index", [True, False])
@pytest.mark.parametrize("what", DAMAGE)
def test_a_damaged_record_is_counted_and_left_out(tmp_path: Path, what: str, index: bool) -> None:
    path = tmp_path / "train.rec"
    offsets = write_records(path, [packed(float(n), d) for n, d in IMAGES], index=index)
    path.write_bytes(DAMAGE[what](path.read_bytes(), offsets[2]))
    source = open_source(path)
    assert source.corrupt == 1
    kept = [data for n, (_, data) in enumerate(IMAGES) if n != 2]
    assert [data for *_, data in contents_of(source)] == kept


def test_a_record_without_an_image_is_damaged_unless_it_is_a_header(tmp_path: Path) -> None:
    write_records(tmp_path / "train.rec", [packed(0.0, b""), packed(0.0, IMAGES[0][1])])
    source = open_source(tmp_path)
    assert (len(source), source.corrupt) == (1, 1)


def test_a_header_may_count_more_images_than_a_label_can_be_large(tmp_path: Path) -> None:
    contents = [packed((4.3e7, 4.4e7), b""), packed(0.0, IMAGES[0][1])]
    write_records(tmp_path / "train.rec", contents)
    assert open_source(tmp_path).corrupt == 0


@pytest.mark.parametrize("index", [True, False])
def test_a_file_cut_short_loses_its_last_record_alone(tmp_path: Path, index: bool) -> None:
    path = tmp_path / "train.rec"
    write_records(path, [packed(float(n), d) for n, d in IMAGES], index=index)
    path.write_bytes(path.read_bytes()[:-100])
    source = open_source(path)
    assert (len(source), source.corrupt) == (len(IMAGES) - 1, 1)


def test_parts_of_a_broken_chain_are_one_damage(tmp_path: Path) -> None:
    good = record(packed(1.0, IMAGES[0][1]))
    broken = part(1, packed(1.0, b"image")) + part(2, b"more") + part(2, b"again")
    (tmp_path / "train.rec").write_bytes(good + broken + good)
    source = open_source(tmp_path)
    assert (len(source), source.corrupt) == (2, 1)


def test_what_changed_after_it_was_indexed_is_an_image_error(tmp_path: Path) -> None:
    path = tmp_path / "train.rec"
    write_records(path, [packed(float(n), d) for n, d in IMAGES])
    source = open_source(path)
    path.write_bytes(bytes(path.stat().st_size))
    with pytest.raises(ImageError, match="record 2 is damaged"):
        source.read(2)
    path.write_bytes(b"")
    with pytest.raises(ImageError, match="cut short"):
        source.read(2)
    path.unlink()
    with pytest.raises(ImageError, match="no such file"):
        source.read(2)


@pytest.mark.parametrize(
    "line", ["1 2 3", "x\t0", "1.5\t0", "\n", "1" * 70, "1\t99999999999999999999"]
)
def test_an_index_that_is_none_names_the_line_and_the_cure(tmp_path: Path, line: str) -> None:
    write_records(tmp_path / "train.rec", [packed(0.0, IMAGES[0][1])])
    with (tmp_path / "train.idx").open("a") as stream:
        stream.write(line)
    with pytest.raises(InputError, match=r"train\.idx: line 2 .* delete the file"):
        open_source(tmp_path)


def test_the_index_of_another_file_is_suspected(tmp_path: Path) -> None:
    write_records(tmp_path / "train.rec", [packed(0.0, IMAGES[0][1])])
    (tmp_path / "train.idx").write_text("0\t4\n1\t-8\n2\t4000000\n")
    with pytest.raises(InputError, match=r"no sound image record \(3 damaged\); if the .idx"):
        open_source(tmp_path)


def test_an_empty_file_holds_no_records(tmp_path: Path) -> None:
    (tmp_path / "train.rec").write_bytes(b"")
    with pytest.raises(InputError, match="no sound image record"):
        open_source(tmp_path)


def test_a_long_gap_is_crossed(tmp_path: Path) -> None:
    good = record(packed(1.0, IMAGES[0][1]))
    for gap in (3_000_000, (1 << 20) - 4, (1 << 20) - 8, 1 << 20):
        # Unaligned magics, and one that would be aligned if the gap were, begin nothing.
        junk = (b"\0" + MAGIC + b"\0\0\0").ljust(gap, b"\1")
        (tmp_path / "train.rec").write_bytes(good + junk + good)
        source = open_source(tmp_path)
        assert (len(source), source.corrupt) == (2, 1)


PIECES = st.one_of(
    st.binary(max_size=40),
    st.just(MAGIC),
    st.builds(struct.pack, st.just("<I"), st.integers(0, 2**32 - 1)),
    st.builds(part, st.integers(0, 3), st.binary(max_size=60)),
    st.builds(lambda label, data: record(packed(label, data)), st.floats(width=32), st.binary()),
    st.builds(lambda labels: record(packed(labels, b"")), st.tuples(st.just(1.0), st.just(2.0))),
)


@pytest.mark.slow
@settings(max_examples=300)
@given(pieces=st.lists(PIECES, max_size=12), idx=st.none() | st.binary(max_size=40))
def test_any_bytes_give_a_source_or_a_facekeep_error(
    tmp_path_factory: pytest.TempPathFactory, pieces: list[bytes], idx: bytes | None
) -> None:
    folder = tmp_path_factory.mktemp("fuzz")
    (folder / "train.rec").write_bytes(b"".join(pieces))
    if idx is not None:
        (folder / "train.idx").write_bytes(idx)
    try:
        source = open_source(folder)
    except FacekeepError:
        return
    for index in range(len(source)):
        assert source.read(index)


@pytest.mark.slow
def test_memory_does_not_grow_with_the_file(tmp_path: Path) -> None:
    path = tmp_path / "train.rec"
    write_records(path, (packed(0.0, bytes([n % 251]) * 400_000) for n in range(100)), index=False)
    tracemalloc.start()
    source = open_source(path)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(source) == 100
    assert peak < 8 << 20
