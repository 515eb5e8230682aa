"""Packs of pairs: all that writes them is read, and nothing in them is ever carried out."""

from __future__ import annotations

import builtins
import os
import pickle
import struct
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from readers_kit import picture, put

from facekeep.errors import ImageError, InputError
from facekeep.lab.datasets import read_bin_pack
from facekeep.lab.datasets.bin_pack import read_pickle

IMAGES = [picture(shade) for shade in (10, 20, 30, 10)]  # the last is the first again
LABELS = [True, False]


def shades(data, places) -> list[int]:
    return [round(float(data.samples.load(place).mean())) for place in places]


def check(path: Path) -> None:
    data = read_bin_pack(path)
    assert shades(data, data.left) == [10, 30]
    assert shades(data, data.right) == [20, 10]
    assert data.mated.tolist() == LABELS
    assert data.mated.dtype == np.bool_
    assert data.samples.aligned
    assert data.samples.names == ("some.bin[0]", "some.bin[1]", "some.bin[2]")


def encoded(shape: tuple[int, ...], values: bytes) -> Any:
    return np.frombuffer(values, np.uint8).reshape(shape)


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize("labels", [LABELS, [1, 0], [np.True_, np.False_], np.array(LABELS)])
def test_packs_of_bytes_in_every_protocol(tmp_path, protocol, labels):
    check(put(tmp_path / "some.bin", pickle.dumps((IMAGES, labels), protocol)))


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize("shape", [(-1,), (-1, 1), (1, -1)])
def test_packs_of_arrays_in_every_protocol(tmp_path, protocol, shape):
    arrays = [encoded(shape, image) for image in IMAGES]
    check(put(tmp_path / "some.bin", pickle.dumps((arrays, LABELS), protocol)))


def test_packs_of_numpy_before_version_2(tmp_path):
    arrays = [encoded((-1,), image) for image in IMAGES]
    for protocol in range(3):
        content = pickle.dumps((arrays, LABELS), protocol)
        old = content.replace(b"numpy._core.", b"numpy.core.")
        assert old != content
        check(put(tmp_path / "some.bin", old))


def python_2(protocol: int) -> bytes:
    """What Python 2 writes for (images, labels): its str is bytes."""
    if protocol == 0:
        images = "".join(f"S{repr(image)[1:]}\np{i}\na" for i, image in enumerate(IMAGES, 2))
        return f"((lp1\n{images}(lp9\nI01\naI00\natp10\n.".encode()
    parts = [
        b"U" + bytes([len(i)]) if len(i) < 256 else b"T" + struct.pack("<i", len(i)) for i in IMAGES
    ]
    body = b"".join(part + image + b"q\x09" for part, image in zip(parts, IMAGES, strict=True))
    return b"\x80\x02]q\x01(" + body + b"e]q\x02(\x88\x89e\x86q\x03."


@pytest.mark.parametrize("protocol", [0, 2])
def test_packs_of_python_2(tmp_path, protocol):
    content = python_2(protocol)
    assert pickle.loads(content, encoding="bytes") == (IMAGES, LABELS)
    check(put(tmp_path / "some.bin", content))


def test_the_ten_folds_follow_one_another(tmp_path):
    images = [bytes([i, k]) for i in range(23) for k in (0, 1)]
    data = read_bin_pack(put(tmp_path / "some.bin", pickle.dumps((images, [True] * 23))))
    assert data.fold is not None
    assert data.fold.tolist() == sorted(data.fold)
    assert np.bincount(data.fold).tolist() == [3, 3, 3] + [2] * 7


def test_few_pairs_have_no_folds(tmp_path):
    assert read_bin_pack(put(tmp_path / "some.bin", pickle.dumps((IMAGES, LABELS)))).fold is None


def test_an_image_of_a_pack_that_is_none_is_told_when_it_is_loaded(tmp_path):
    data = read_bin_pack(put(tmp_path / "some.bin", pickle.dumps(([b"x", IMAGES[0]], [True]))))
    with pytest.raises(ImageError, match=r"^some.bin\[0\]: is not a picture"):
        data.samples.load(0)


# Hostile and damaged packs


class Evil:
    """Calls what it is given when an ordinary unpickler reads it."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self._call = function, arguments

    def __reduce__(self) -> Any:
        return self._call


def refused(tmp_path: Path, content: bytes) -> str:
    path = put(tmp_path / "some.bin", content)
    with pytest.raises(InputError) as error:
        read_bin_pack(path)
    message = str(error.value)
    assert message.isprintable()
    assert message.startswith(f"{path}: is no usable pack of pairs: ")
    return message


@pytest.mark.parametrize("protocol", range(6))
def test_nothing_that_a_pack_names_is_run(tmp_path, protocol):
    victim = tmp_path / "victim"
    for call in (
        Evil(os.mkdir, str(victim)),
        Evil(os.system, f"touch {victim}"),
        Evil(builtins.eval, f"open({str(victim)!r}, 'w')"),
        Evil(np.save, str(victim), 1),
        Evil(getattr, os.path.join, "__globals__"),
        Evil(np.ndarray.tofile, np.zeros(1, np.uint8), str(victim)),
    ):
        message = refused(tmp_path, pickle.dumps(([call, IMAGES[0]], [True]), protocol))
        assert "it asks for" in message
    assert list(tmp_path.iterdir()) == [tmp_path / "some.bin"]


def test_names_are_looked_up_whole(tmp_path):
    for name in (
        b"numpy\nndarray.tofile",
        b"numpy.core.multiarray\nscalar.__self__",
        b"os\nsystem",
    ):
        assert "it asks for" in refused(tmp_path, b"\x80\x02c" + name + b"\n)R.")


@pytest.mark.parametrize(
    "content",
    [
        b"\x80\x04\x8e" + struct.pack("<Q", 2**62) + b"abc.",  # a length no memory has
        b"\x80\x04B" + struct.pack("<I", 2**32 - 1) + b"abc.",
        b"T" + struct.pack("<i", -1) + b".",
        b"\x80\x04\x95" + struct.pack("<Q", 2**63) + b".",
        b"\x80\x02Nr\xff\xff\xff\xff.",  # a memo of four thousand million places
        b"\x80\x02j\xff\xff\xff\xff.",
        b"\x8b" + struct.pack("<i", 2**31 - 1) + b".",
        b"I" + b"9" * 100_000 + b"\n.",
        b"(" * 100_000 + b".",
        b"(" * 100_000 + b"t" * 100_000 + b".",
        b"]" + b"]a" * 100_000 + b".",
        b"cnumpy\nndarray\n" + b")R" * 10 + b".",
        b"cnumpy\ndtype\n)R.",
        b"c_codecs\nencode\n(Vx\nVutf8\ntR.",
        b"NNa.",
        b"K\x01K\x01\x93.",
        b"cnumpy\ndtype\n(S'O8'\ntR.",
        b"cnumpy\ndtype\n(](tR.",
        b"c_codecs\nencode\n(Vx\ntR.",
        b"c__builtin__\nbytes\n(K\x05tR.",
        b"\x80\x04\x96" + struct.pack("<Q", 3) + b"ab",
        b"X\x02\0\0\0\xff\xff.",
        b"S'a\\q'\n.",
        b"Sabc\n.",
        b"]q\x01h\x01a.",  # a list that holds itself
        b"\x80\x05\x97.",  # a buffer from elsewhere
        b"\x80\x02]cnumpy\nndarray\n)\x81N\x86a.",  # an array that was never filled
        b"\x80\x02c_codecs\nencode\n}X\x01\0\0\0aK\x01sb.",  # attributes for a function
        b"\x80\x02](cnumpy\nndarray\n}X\x05\0\0\0shapeK\x01sbK\x01e]\x88a\x86.",
        b"Pabc\n.",  # a persistent name
        b"\x82\x01.",  # a registered class
        b"",
        b".",
        b"no pickle at all",
        b"\x89PNG\r\n\x1a\n",
    ],
)
def test_hostile_bytes_are_refused(tmp_path, content):
    refused(tmp_path, content)


@pytest.mark.parametrize(
    ("loaded", "message"),
    [
        (IMAGES, "two lists"),
        ({"bins": IMAGES}, "two lists"),
        ((IMAGES, True), "two lists"),
        ((None, LABELS), "two lists"),
        ((IMAGES, [True, None]), "not all true or false"),
        ((IMAGES, [True, 2]), "not all true or false"),
        ((IMAGES, [True]), "4 images for 1 pairs"),
        (([], []), "0 images for 0 pairs"),
        (([IMAGES[0], "text"], [True]), "image 1 is not"),
        (([IMAGES[0], None], [True]), "image 1 is not"),
        (([IMAGES[0], np.zeros((4, 4, 3), np.uint8)], [True]), "image 1 is not"),
        (([IMAGES[0], np.zeros(9, np.float32)], [True]), "values of type 'f4'"),
        (([IMAGES[0], np.array([object()])], [True]), "values of type 'O8'"),
        (([IMAGES[0], 1.5], [True]), "image 1 is not"),
    ],
)
def test_pickles_of_something_else(tmp_path, loaded, message):
    assert message in refused(tmp_path, pickle.dumps(loaded))


def test_packs_cut_short_anywhere(tmp_path):
    content = pickle.dumps((IMAGES[:2], [True]))
    for end in range(len(content)):
        refused(tmp_path, content[:end])


def test_an_array_whose_values_are_not_there(tmp_path):
    array = b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(K\0tU\x01btR"
    dtype = b"cnumpy\ndtype\n(U\x02u1K\0K\x01tR"
    with_values = array + b"(K\x01(K\x02t" + dtype + b"\x89U\x02ab" + b"tb."
    assert read_pickle(b"\x80\x02" + with_values).content == b"ab"
    for wrong in (
        with_values.replace(b"(K\x02t", b"(K\x03t"),  # more values than there are
        with_values.replace(b"(K\x02t", b"(J\xff\xff\xff\xfft"),
        with_values.replace(b"(K\x02t", b"K\x02"),
        with_values.replace(b"(K\x02t", b"(" + b"K\x01" * 60 + b"t"),
        with_values.replace(dtype, b"N"),
        with_values.replace(b"U\x02ab", b"]"),
        with_values.replace(b"(K\x01", b"("),
    ):
        with pytest.raises(ValueError, match="damaged"):
            read_pickle(b"\x80\x02" + wrong)


def test_text_encoded_time_and_again_takes_no_more_memory_than_the_file(tmp_path):
    text = b"X" + struct.pack("<I", 1 << 16) + b"a" * (1 << 16)
    again = b"h\x00h\x01h\x02\x86R" * 10_000
    latin = b"X" + struct.pack("<I", 6) + b"latin1q\x02"
    content = b"\x80\x02c_codecs\nencode\nq\x00" + text + b"q\x01" + latin + again + b"."
    tracemalloc.start()
    refused(tmp_path, content)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 10 * len(content)


def test_packs_that_cannot_be_read(tmp_path):
    for path in (tmp_path, tmp_path / "none.bin", Path("/dev/zero")):
        with pytest.raises(InputError, match="cannot be read"):
            read_bin_pack(path)


def test_files_too_large_to_be_packs_are_not_read(tmp_path):
    path = tmp_path / "huge.bin"
    with path.open("wb") as stream:
        stream.truncate(2**40)  # sparse: takes no room
    with pytest.raises(InputError, match="too large"):
        read_bin_pack(path)
