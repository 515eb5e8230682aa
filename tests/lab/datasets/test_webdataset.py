from __future__ import annotations

import gzip
import io
import json
import sys
import tarfile
import tracemalloc
from pathlib import Path

import pytest
from data_kit import contents_of, encoded, write_tar
from hypothesis import given, settings
from hypothesis import strategies as st

from facekeep.errors import FacekeepError, ImageError, InputError
from facekeep.lab.datasets.training_set import open_source
from facekeep.lab.datasets.webdataset import TarWalk

A, B, C, D = (encoded(n, "WebP") for n in range(4))
STYLES = [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT]


def dataset(first: int = 0) -> list[tuple[str, bytes]]:
    return [
        (f"{first:04}.jpg", A),
        (f"{first:04}.cls", b"7"),
        (f"{first + 1:04}.cls", b" 10\n"),
        (f"{first + 1:04}.png", B),
        (f"{first + 2:04}.WEBP", C),
        (f"{first + 2:04}.cls", b"7"),
    ]


@pytest.mark.parametrize("style", STYLES)
def test_images_with_class_numbers(tmp_path: Path, style: int) -> None:
    write_tar(tmp_path / "a-000.tar", dataset(), style)
    write_tar(tmp_path / "a-001.tar", dataset(10), style)
    source = open_source(tmp_path)
    assert contents_of(source) == [
        ("0000", "7", A),
        ("0001", "10", B),
        ("0002", "7", C),
        ("0010", "7", A),
        ("0011", "10", B),
        ("0012", "7", C),
    ]
    assert list(source.names) == ["7", "10"]
    assert source.corrupt == 0
    assert contents_of(open_source(tmp_path / "a-001.tar"))[0][0] == "0010"


def test_labels_may_be_names_or_json_or_absent(tmp_path: Path) -> None:
    files = [
        ("a.jpg", A),
        ("a.cls", "Zoë".encode()),
        ("b.jpg", B),
        ("b.json", json.dumps({"person": "Ada", "width": 3}).encode()),
        ("c.json", b'{"label": 3}'),
        ("c.jpg", C),
        ("d.jpg", D),
        ("e.jpg", A),
        ("e.json", b'{"width": 3}'),
        ("f.jpg", B),
        ("f.cls", b"-1"),
        ("g.jpg", C),
        ("g.json", b"12"),
    ]
    write_tar(tmp_path / "x.tar", files)
    found = contents_of(open_source(tmp_path))
    assert [person for _, person, _ in found] == ["Zoë", "Ada", "3", "", "", "", "12"]


def test_only_the_first_dot_of_the_name_ends_the_key(tmp_path: Path) -> None:
    files = [
        ("set.1/a.b/x.jpg", A),
        ("set.1/a.b/x.cls", b"1"),
        ("set.1/a.b/x.seg.png", B),
        ("set.1/a.c/x.jpg", C),
        (".hidden.jpg", D),
        ("x/.jpg", D),
        ("README", b"text"),
        ("alone.cls", b"3"),
    ]
    write_tar(tmp_path / "x.tar", files)
    assert contents_of(open_source(tmp_path)) == [
        ("set.1/a.b/x", "1", A),
        ("set.1/a.c/x", "", C),
    ]


@pytest.mark.parametrize(
    ("name", "label"),
    [
        ("b.cls", b"\xff\xfe"),
        ("b.json", b"{"),
        ("b.json", b'{"label": 1.5}'),
        ("b.json", b'{"label": true}'),
        ("b.json", b'{"label": null}'),
        ("b.json", b"[" * 100_000),
        ("b.json", b"9" * 5000),
        ("b.cls", b"1" * ((1 << 20) + 1)),
    ],
)
def test_a_label_that_cannot_be_read_costs_its_sample(
    tmp_path: Path, name: str, label: bytes
) -> None:
    write_tar(tmp_path / "x.tar", [("a.jpg", A), ("b.jpg", B), (name, label), ("c.jpg", C)])
    source = open_source(tmp_path)
    assert source.corrupt == 1
    assert [key for key, *_ in contents_of(source)] == ["a", "c"]


@pytest.mark.parametrize("style", STYLES[1:])
def test_long_and_foreign_names(tmp_path: Path, style: int) -> None:
    names = ["d" * 90 + "/" + "f" * 300, "世界/" * 60 + "é", "x"]
    write_tar(tmp_path / "x.tar", [(f"{name}.jpg", A) for name in names], style)
    assert [key for key, *_ in contents_of(open_source(tmp_path))] == names


def test_folders_links_and_devices_are_passed_over(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "x.tar", "w") as tar:
        for kind in (tarfile.DIRTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE):
            info = tarfile.TarInfo("a.jpg")
            info.type, info.linkname = kind, "/etc/passwd"
            tar.addfile(info)
        info = tarfile.TarInfo("a.jpg")
        info.size = len(A)
        tar.addfile(info, io.BytesIO(A))
    assert contents_of(open_source(tmp_path)) == [("a", "", A)]


def test_sparse_files_are_passed_over(tmp_path: Path) -> None:
    info = tarfile.TarInfo("a.jpg")
    info.pax_headers = {"GNU.sparse.major": "1", "GNU.sparse.minor": "0"}
    info.size = len(A)
    with tarfile.open(tmp_path / "x.tar", "w", format=tarfile.PAX_FORMAT) as tar:
        tar.addfile(info, io.BytesIO(A))
        tar.addfile(tarfile.TarInfo("b.txt"))
    write_tar(tmp_path / "y.tar", [("b.jpg", B)])
    assert [key for key, *_ in contents_of(open_source(tmp_path))] == ["b"]


@pytest.mark.parametrize(
    ("extended", "size", "found"),
    [
        (b"13 size=%04d\n" % len(A), 0, ("a", "", A)),
        (b"14 path=b.jpg\n", len(A), ("b", "", A)),
        (b"18 size=9 path=b.jpg\n", len(A), ("a", "", A)),
        (b"13 nothing at all\n14 path=b.jpg\n", len(A), ("a", "", A)),
        (b"x path=b.jpg\n", len(A), ("a", "", A)),
    ],
)
def test_what_a_pax_header_says_counts_where_it_is_sound(
    tmp_path: Path, extended: bytes, size: int, found: tuple[str, str, bytes]
) -> None:
    head, info = tarfile.TarInfo("pax"), tarfile.TarInfo("a.jpg")
    head.type, head.size, info.size = tarfile.XHDTYPE, len(extended), size
    data = head.tobuf(tarfile.USTAR_FORMAT) + extended.ljust(512, b"\0")
    data += info.tobuf(tarfile.USTAR_FORMAT) + A.ljust(-(-len(A) // 512) * 512, b"\0")
    (tmp_path / "x.tar").write_bytes(data + bytes(1024))
    assert contents_of(open_source(tmp_path)) == [found]


def test_joined_tars_are_read_to_the_end(tmp_path: Path) -> None:
    one, two = (write_tar(tmp_path / f"{n}", dataset(n)) for n in (0, 10))
    (tmp_path / "x.tar").write_bytes(one.read_bytes() + two.read_bytes())
    assert len(open_source(tmp_path)) == 6


def test_a_damaged_header_costs_its_sample_alone(tmp_path: Path) -> None:
    path = write_tar(tmp_path / "x.tar", [(f"{n}.jpg", encoded(n, size=64)) for n in range(5)])
    data = bytearray(path.read_bytes())
    with tarfile.open(path) as tar:
        at = tar.getmembers()[2].offset
    data[at : at + 512] = b"\x55" * 512
    path.write_bytes(data)
    source = open_source(path)
    assert source.corrupt == 1
    assert [key for key, *_ in contents_of(source)] == ["0", "1", "3", "4"]


@pytest.mark.parametrize("style", STYLES[1:])
def test_a_long_name_before_a_damaged_header_does_not_name_another_file(
    tmp_path: Path, style: int
) -> None:
    path = write_tar(tmp_path / "x.tar", [("d" * 150 + ".jpg", A), ("b.jpg", B)], style)
    data = bytearray(path.read_bytes())
    data[1024:1536] = b"\x55" * 512
    path.write_bytes(data)
    assert contents_of(open_source(path)) == [("b", "", B)]


def test_a_tar_cut_short_loses_its_last_image_alone(tmp_path: Path) -> None:
    path = write_tar(tmp_path / "x.tar", [(f"{n}.png", encoded(n, size=64)) for n in range(3)])
    with tarfile.open(path) as tar:
        last = tar.getmembers()[-1]
    path.write_bytes(path.read_bytes()[: last.offset_data + last.size // 2])
    source = open_source(path)
    assert (len(source), source.corrupt) == (2, 1)


def test_an_empty_or_huge_image_is_damaged(tmp_path: Path) -> None:
    path = write_tar(tmp_path / "x.tar", [("a.jpg", A), ("b.jpg", b"")])
    huge = tarfile.TarInfo("c.jpg")
    huge.size = 65 << 20
    with path.open("r+b") as stream:
        stream.seek(1024 + 512)
        stream.write(huge.tobuf(tarfile.USTAR_FORMAT))
        stream.truncate(70 << 20)
    source = open_source(path)
    assert (len(source), source.corrupt) == (1, 2)


@pytest.mark.parametrize(
    ("head", "kind"),
    [(gzip.compress(b"x", mtime=0), "gzip"), (b"BZh9", "bzip2"), (b"\x28\xb5\x2f\xfd", "zstd")],
)
def test_a_compressed_tar_is_to_be_decompressed(tmp_path: Path, head: bytes, kind: str) -> None:
    (tmp_path / "x.tar").write_bytes(head)
    with pytest.raises(InputError, match=rf"x\.tar: is compressed \({kind}\).*decompress it"):
        open_source(tmp_path)


@pytest.mark.parametrize("data", [b"", b"no tar" * 1000, bytes(2048)])
def test_a_tar_without_images_says_what_it_should_hold(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "x.tar").write_bytes(data)
    with pytest.raises(InputError, match=r"holds no images .* must end in \.jpg"):
        open_source(tmp_path)


def test_a_tar_that_vanished_is_an_image_error(tmp_path: Path) -> None:
    path = write_tar(tmp_path / "x.tar", [("a.jpg", A)])
    source = open_source(path)
    path.unlink()
    with pytest.raises(ImageError, match=r"x\.tar: cannot be read: no such file"):
        source.read(0)


def header(size: int, name: bytes, kind: bytes) -> bytes:
    info = tarfile.TarInfo(name.decode("latin-1"))
    info.type, info.size = kind, size
    return info.tobuf(tarfile.GNU_FORMAT, "utf-8", "surrogateescape")


HEADERS = st.builds(
    header,
    st.integers(0, 2000) | st.integers(0, 2**62) | st.integers(-(2**40), -1),
    st.sampled_from([b"a.jpg", b"b.cls", b"b.jpg", b"", b"\xff.png"]) | st.binary(max_size=90),
    st.sampled_from([b"0", b"\0", b"x", b"g", b"L", b"K", b"S", b"5", b"2", b"7", b"X"]),
)
BLOCKS = st.one_of(
    HEADERS,
    st.just(bytes(512)),
    st.binary(max_size=600).map(lambda data: data.ljust(512, b"\0")),
    st.sampled_from([b"17 path=other.jpg\n", b"99 path=", b"11 size=9\n", b" =\n", b"0 =\n"]).map(
        lambda data: data.ljust(512, b"\0")
    ),
)


@pytest.mark.slow
@settings(max_examples=300)
@given(blocks=st.lists(BLOCKS, max_size=10))
def test_any_bytes_give_a_source_or_a_facekeep_error(
    tmp_path_factory: pytest.TempPathFactory, blocks: list[bytes]
) -> None:
    path = tmp_path_factory.mktemp("fuzz") / "x.tar"
    path.write_bytes(b"".join(blocks))
    try:
        source = open_source(path)
    except FacekeepError:
        return
    for index in range(len(source)):
        assert source.read(index)


@pytest.mark.slow
@settings(max_examples=100)
@given(
    names=st.lists(
        st.text(st.characters(exclude_characters="\0", codec="utf-8"), min_size=1).filter(
            lambda name: not name.endswith("/")  # to tarfile that is a folder, in places
        )
    ),
    style=st.sampled_from(STYLES[1:]),
)
def test_the_walk_finds_what_tarfile_finds(
    tmp_path_factory: pytest.TempPathFactory, names: list[str], style: int
) -> None:
    path = tmp_path_factory.mktemp("walk") / "x.tar"
    write_tar(path, [(name, name.encode()) for name in names], style)
    with tarfile.open(path) as tar:
        expected = [(m.name, m.offset_data, m.size) for m in tar if m.isfile()]
    with path.open("rb") as stream:
        walk = TarWalk(stream)
        found = [(m.name, m.offset, m.size) for m in walk]
        assert walk.damaged == 0
    assert found == expected


def test_memory_does_not_grow_with_the_images(tmp_path: Path) -> None:
    path = tmp_path / "x.tar"
    write_tar(path, ((f"{n:03}.jpg", bytes([n % 250 + 1]) * 400_000) for n in range(100)))
    tracemalloc.start()
    source = open_source(path)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(source) == 100
    assert peak < 8 << 20
    assert sys.getsizeof(source) < 1000
