"""Pictures in and out: every format and mode, every orientation, every way to be broken."""

from __future__ import annotations

import errno
import hashlib
import io
import os
import re
import resource
import socket
import struct
import subprocess
import sys
import warnings
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import ModuleType
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageOps

from facekeep._internal.memory import MemoryBudget
from facekeep.errors import FacekeepError, Hint, ImageError, InputError, StorageFull
from facekeep.pipeline.image import (
    Reduced,
    check_image,
    check_output,
    content_digest,
    count_pixels,
    from_bgr,
    list_images,
    list_people,
    load_image,
    save_image,
)

RGB = NDArray[np.uint8]


@pytest.fixture(scope="module")
def photo(hopper: RGB) -> RGB:
    """A small real photo, of odd sides so that a swapped axis shows."""
    return np.asarray(Image.fromarray(hopper).resize((101, 119), Image.Resampling.BOX))


def encoded(picture: Image.Image | RGB, style: str, **options: Any) -> bytes:
    stream = io.BytesIO()
    picture = picture if isinstance(picture, Image.Image) else Image.fromarray(picture)
    picture.save(stream, style, **options)
    return stream.getvalue()


def far(one: RGB, other: RGB) -> float:
    """Mean absolute difference in gray levels."""
    assert one.shape == other.shape
    return float(np.abs(one.astype(float) - other.astype(float)).mean())


def assert_sound(image: RGB) -> None:
    assert image.dtype == np.uint8
    assert image.ndim == 3
    assert image.shape[2] == 3
    assert image.flags.c_contiguous
    assert image.flags.writeable


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width: int, height: int, body: bytes, *extra: bytes, depth: int = 1) -> bytes:
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, 0, 0, 0, 0))
    pixels = chunk(b"IDAT", body)
    return b"\x89PNG\r\n\x1a\n" + header + b"".join(extra) + pixels + chunk(b"IEND", b"")


def zeros(count: int) -> bytes:
    """A zlib stream of so many zero bytes, made without holding them."""
    press = zlib.compressobj(9)
    block = bytes(1 << 20)
    body = b"".join(press.compress(block) for _ in range(count >> 20))
    return body + press.compress(bytes(count & 0xFFFFF)) + press.flush()


# ---- formats and modes ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("style", "options", "tolerance"),
    [
        ("JPEG", {"quality": 95, "subsampling": 0}, 3.0),
        ("JPEG", {"quality": 95, "subsampling": 0, "progressive": True}, 3.0),
        ("PNG", {}, 0.0),
        ("WebP", {"lossless": True}, 0.0),
        ("WebP", {"quality": 90}, 4.0),
        ("BMP", {}, 0.0),
        ("TIFF", {}, 0.0),
        ("TIFF", {"compression": "tiff_lzw"}, 0.0),
        ("TIFF", {"compression": "tiff_adobe_deflate"}, 0.0),
        ("GIF", {}, 8.0),
        ("AVIF", {"quality": 90}, 4.0),
    ],
)
def test_reads_every_format(
    photo: RGB, style: str, options: dict[str, Any], tolerance: float
) -> None:
    if style == "AVIF":
        pytest.importorskip("PIL._avif", exc_type=ImportError)
    image = load_image(encoded(photo, style, **options))
    assert_sound(image)
    assert far(image, photo) <= tolerance


def test_reads_heic(photo: RGB) -> None:
    heif = pytest.importorskip("pillow_heif")
    stream = io.BytesIO()
    heif.from_pillow(Image.fromarray(photo)).save(stream, quality=90)
    image = load_image(stream.getvalue())
    assert_sound(image)
    assert far(image, photo) < 4.0


def test_heic_names_the_extra_when_it_is_missing(
    photo: RGB, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    with pytest.raises(ImageError, match=r"is HEIC, which needs: pip install facekeep\[heic\]"):
        load_image(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(40))


def gray_of(photo: RGB) -> RGB:
    return np.asarray(Image.fromarray(photo).convert("L"))


def stacked(gray: NDArray[Any]) -> RGB:
    return np.repeat(np.asarray(gray, np.uint8)[..., None], 3, axis=2)


def ramp(shape: tuple[int, ...]) -> NDArray[np.uint8]:
    """An alpha channel that runs from clear to solid."""
    return np.linspace(0, 255, shape[1]).round().astype(np.uint8)[None, :].repeat(shape[0], 0)


def over_white(color: RGB, alpha: NDArray[np.uint8]) -> RGB:
    share = alpha[..., None] / 255.0
    return np.rint(color * share + 255.0 * (1 - share)).astype(np.uint8)


Case = Callable[[RGB], tuple[bytes, RGB]]


def one_bit(photo: RGB) -> tuple[bytes, RGB]:
    picture = Image.fromarray(gray_of(photo)).convert("1")
    return encoded(picture, "PNG"), stacked(np.where(np.asarray(picture), 255, 0))


def gray(photo: RGB) -> tuple[bytes, RGB]:
    return encoded(gray_of(photo), "PNG"), stacked(gray_of(photo))


def gray_alpha(photo: RGB) -> tuple[bytes, RGB]:
    alpha = ramp(photo.shape)
    picture = Image.merge("LA", [Image.fromarray(gray_of(photo)), Image.fromarray(alpha)])
    return encoded(picture, "PNG"), over_white(stacked(gray_of(photo)), alpha)


def gray_16_png(photo: RGB) -> tuple[bytes, RGB]:
    values = gray_of(photo).astype(np.uint16) * 257
    return cv2.imencode(".png", values)[1].tobytes(), stacked(gray_of(photo))


def gray_16_tiff(photo: RGB) -> tuple[bytes, RGB]:
    picture = Image.fromarray(gray_of(photo).astype(np.uint16) * 257)
    assert picture.mode == "I;16"
    return encoded(picture, "TIFF"), stacked(gray_of(photo))


def gray_16_big_endian(photo: RGB) -> tuple[bytes, RGB]:
    data = (gray_of(photo).astype(">u2") * 257).astype(">u2").tobytes()
    picture = Image.frombytes("I;16B", (photo.shape[1], photo.shape[0]), data)
    return encoded(picture, "TIFF"), stacked(gray_of(photo))


def gray_32(photo: RGB) -> tuple[bytes, RGB]:
    picture = Image.fromarray(gray_of(photo).astype(np.int32) * 257)
    assert picture.mode == "I"
    return encoded(picture, "TIFF"), stacked(gray_of(photo))


def color_16(photo: RGB) -> tuple[bytes, RGB]:
    values = photo[..., ::-1].astype(np.uint16) * 257
    return cv2.imencode(".png", values)[1].tobytes(), photo


def float_unit(photo: RGB) -> tuple[bytes, RGB]:
    picture = Image.fromarray(gray_of(photo).astype(np.float32) / 255)
    return encoded(picture, "TIFF"), stacked(gray_of(photo))


def float_bytes(photo: RGB) -> tuple[bytes, RGB]:
    values = gray_of(photo).astype(np.float32)
    values[0, :2] = (-9.0, 999.0)
    expected = gray_of(photo).copy()
    expected[0, :2] = (0, 255)
    return encoded(Image.fromarray(values), "TIFF"), stacked(expected)


def palette(photo: RGB) -> tuple[bytes, RGB]:
    picture = Image.fromarray(photo).quantize(200)
    table = np.asarray(picture.getpalette(), np.uint8).reshape(-1, 3)
    return encoded(picture, "PNG"), table[np.asarray(picture)]


def palette_one_clear(photo: RGB) -> tuple[bytes, RGB]:
    picture = Image.fromarray(photo).quantize(32)
    index, clear = np.asarray(picture), 5
    table = np.asarray(picture.getpalette(), np.uint8).reshape(-1, 3).copy()
    table[clear] = 255
    return encoded(picture, "PNG", transparency=clear), table[index]


def palette_alphas(photo: RGB) -> tuple[bytes, RGB]:
    picture = Image.fromarray(photo).quantize(32)
    index, alphas = np.asarray(picture), np.linspace(0, 255, 32).astype(np.uint8)
    table = np.asarray(picture.getpalette(), np.uint8).reshape(-1, 3)[:32]
    data = encoded(picture, "PNG", transparency=alphas.tobytes())
    return data, over_white(table[index], alphas[index])


def palette_gif_clear(photo: RGB) -> tuple[bytes, RGB]:
    picture = Image.fromarray(photo).quantize(32)
    index, clear = np.asarray(picture), 5
    table = np.asarray(picture.getpalette(), np.uint8).reshape(-1, 3).copy()
    table[clear] = 255
    return encoded(picture, "GIF", transparency=clear, optimize=False), table[index]


def rgba(photo: RGB) -> tuple[bytes, RGB]:
    alpha = ramp(photo.shape)
    return encoded(np.dstack([photo, alpha]), "PNG"), over_white(photo, alpha)


def rgba_webp(photo: RGB) -> tuple[bytes, RGB]:
    alpha = ramp(photo.shape)
    data = encoded(np.dstack([photo, alpha]), "WebP", lossless=True, exact=True)
    return data, over_white(photo, alpha)


def rgb_key_color(photo: RGB) -> tuple[bytes, RGB]:
    key = tuple(int(value) for value in photo[7, 9])
    expected = photo.copy()
    expected[(photo == key).all(axis=2)] = 255
    return encoded(photo, "PNG", transparency=key), expected


def gray_key_value(photo: RGB) -> tuple[bytes, RGB]:
    values, key = gray_of(photo), int(gray_of(photo)[7, 9])
    return encoded(values, "PNG", transparency=key), stacked(np.where(values == key, 255, values))


def cmyk_tiff(photo: RGB) -> tuple[bytes, RGB]:
    inks = np.dstack([255 - photo, np.zeros(photo.shape[:2], np.uint8)])
    return encoded(Image.frombytes("CMYK", photo.shape[1::-1], inks.tobytes()), "TIFF"), photo


def cmyk_jpeg(photo: RGB) -> tuple[bytes, RGB]:
    inks = np.dstack([255 - photo, np.zeros(photo.shape[:2], np.uint8)])
    picture = Image.frombytes("CMYK", photo.shape[1::-1], inks.tobytes())
    return encoded(picture, "JPEG", quality=95), photo


def ycbcr_tiff(photo: RGB) -> tuple[bytes, RGB]:
    return encoded(Image.fromarray(photo).convert("YCbCr"), "TIFF"), photo


def lab_tiff(photo: RGB) -> tuple[bytes, RGB]:
    signed = cv2.cvtColor(photo, cv2.COLOR_RGB2LAB) ^ np.array([0, 128, 128], np.uint8)
    picture = Image.frombytes("LAB", photo.shape[1::-1], signed.tobytes())
    return encoded(picture, "TIFF"), photo


@pytest.mark.parametrize(
    ("case", "tolerance"),
    [
        (one_bit, 0.0),
        (gray, 0.0),
        (gray_alpha, 0.6),
        (gray_16_png, 0.0),
        (gray_16_tiff, 0.0),
        (gray_16_big_endian, 0.0),
        (gray_32, 0.0),
        (color_16, 0.0),
        (float_unit, 0.0),
        (float_bytes, 0.0),
        (palette, 0.0),
        (palette_one_clear, 0.0),
        (palette_alphas, 0.6),
        (palette_gif_clear, 0.0),
        (rgba, 0.6),
        (rgba_webp, 0.6),
        (rgb_key_color, 0.0),
        (gray_key_value, 0.0),
        (cmyk_tiff, 0.0),
        (cmyk_jpeg, 3.0),
        (ycbcr_tiff, 2.0),
        (lab_tiff, 4.0),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_turns_every_mode_into_rgb(photo: RGB, case: Case, tolerance: float) -> None:
    data, expected = case(photo)
    image = load_image(data)
    assert_sound(image)
    assert far(image, expected) <= tolerance


def test_cmyk_jpeg_carries_the_mark_of_adobe(photo: RGB) -> None:
    assert b"Adobe" in cmyk_jpeg(photo)[0][:400]


def stored(upright: RGB, orientation: int) -> RGB:
    """What a camera stores: where row 0 and column 0 lie in the upright picture (EXIF, 0x0112)."""
    views = {
        1: upright,
        2: upright[:, ::-1],  # top, right
        3: upright[::-1, ::-1],  # bottom, right
        4: upright[::-1],  # bottom, left
        5: upright.transpose(1, 0, 2),  # left, top
        6: upright[:, ::-1].transpose(1, 0, 2),  # right, top
        7: upright[::-1, ::-1].transpose(1, 0, 2),  # right, bottom
        8: upright[::-1].transpose(1, 0, 2),  # left, bottom
    }
    return np.ascontiguousarray(views[orientation])


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize(
    ("style", "options"),
    [
        ("JPEG", {"quality": 95, "subsampling": 0}),
        ("PNG", {}),
        ("WebP", {"lossless": True}),
        ("TIFF", {}),
        ("AVIF", {"quality": 90}),
        ("HEIF", {"quality": 90}),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_applies_every_orientation(
    photo: RGB, style: str, options: dict[str, Any], orientation: int
) -> None:
    if style == "AVIF":
        pytest.importorskip("PIL._avif", exc_type=ImportError)
    if style == "HEIF":
        pytest.importorskip("pillow_heif").register_heif_opener()
    exif = Image.Exif()
    exif[0x0112] = orientation
    image = load_image(encoded(stored(photo, orientation), style, exif=exif.tobytes(), **options))
    assert_sound(image)
    assert far(image, photo) < 4.0


@pytest.mark.parametrize(
    "exif",
    [
        b"Exif\0\0",
        b"Exif\0\0II*\0" + bytes(9),
        b"Exif\0\0MM\0*\0\0\0\x08\xff\xff" + bytes(40),
        b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x02\0\xff\xff\xff\x7f\x08\0\0\0\0\0\0\0",
        b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x63\0\0\0\0\0\0\0",
        b"Exif\0\0nonsense" + bytes(range(200)),
    ],
)
@pytest.mark.parametrize("style", ["JPEG", "PNG", "WebP"])
def test_damaged_metadata_does_not_cost_the_picture(photo: RGB, style: str, exif: bytes) -> None:
    plain, marked = encoded(photo, style), encoded(photo, style, exif=exif)
    np.testing.assert_array_equal(load_image(marked), load_image(plain))


def test_only_the_first_frame_of_an_animation_is_decoded(photo: RGB) -> None:
    frames = [Image.fromarray(np.roll(photo, 5 * n, axis=1)).quantize(64) for n in range(5)]
    data = encoded(frames[0], "GIF", save_all=True, append_images=frames[1:])
    first = len(encoded(frames[0], "GIF"))
    broken = data[: first + 200] + b"\xff" * (len(data) - first - 200)
    np.testing.assert_array_equal(load_image(broken), np.asarray(frames[0].convert("RGB")))


@pytest.mark.slow
def test_an_animation_of_thousands_of_frames_is_no_burden(photo: RGB) -> None:
    frames = [Image.fromarray(np.full((2, 2, 3), n % 251, np.uint8)) for n in range(3000)]
    data = encoded(frames[9], "WebP", save_all=True, append_images=frames, lossless=True)
    np.testing.assert_array_equal(load_image(data), np.full((2, 2, 3), 9, np.uint8))


# ---- sources -------------------------------------------------------------------------------------


def test_every_kind_of_source_gives_the_same_pixels(hopper_path: Path, hopper: RGB) -> None:
    data = hopper_path.read_bytes()
    with hopper_path.open("rb") as stream:
        sources = [hopper_path, str(hopper_path), data, bytearray(data), memoryview(data), stream]
        for source in sources:
            np.testing.assert_array_equal(load_image(source), hopper)  # type: ignore[arg-type]


def test_a_stream_that_cannot_seek_is_read_to_its_end(photo: RGB, tmp_path: Path) -> None:
    path = tmp_path / "photo.png"
    path.write_bytes(encoded(photo, "PNG"))
    with subprocess.Popen(["cat", str(path)], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        np.testing.assert_array_equal(load_image(process.stdout), photo)


def test_the_name_says_nothing_about_the_kind(photo: RGB, tmp_path: Path) -> None:
    path = tmp_path / "really-a-png.jpg"
    path.write_bytes(encoded(photo, "PNG"))
    np.testing.assert_array_equal(load_image(path), photo)


def test_reads_a_path_that_is_not_utf_8(photo: RGB, tmp_path: Path) -> None:
    path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff\xfe.png"))
    save_image(path, photo)
    np.testing.assert_array_equal(load_image(path), photo)
    assert content_digest(path) == hashlib.sha256(path.read_bytes()).hexdigest()


def test_follows_a_link_to_a_file(photo: RGB, tmp_path: Path) -> None:
    save_image(tmp_path / "real.png", photo)
    (tmp_path / "link.png").symlink_to("real.png")
    np.testing.assert_array_equal(load_image(tmp_path / "link.png"), photo)


def test_an_array_goes_through_the_check(hopper: RGB) -> None:
    np.testing.assert_array_equal(load_image(hopper), hopper)
    with pytest.raises(InputError, match="float32"):
        load_image(hopper.astype(np.float32))


def test_content_digest_is_sha_256(hopper_path: Path) -> None:
    data = hopper_path.read_bytes()
    assert content_digest(data) == content_digest(hopper_path) == hashlib.sha256(data).hexdigest()


# ---- bad files -----------------------------------------------------------------------------------


def one_line(error: FacekeepError) -> str:
    message = str(error)
    assert message.isprintable(), message
    message.encode()
    return message


def refused(source: Any, **options: Any) -> str:
    with pytest.raises(ImageError) as caught:
        load_image(source, **options)
    return one_line(caught.value)


def make_folder(path: Path) -> None:
    path.mkdir()


def make_loop(path: Path) -> None:
    path.symlink_to(path.name)


def make_dangling(path: Path) -> None:
    path.symlink_to("nowhere.jpg")


def make_socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))


@pytest.mark.parametrize(
    ("make", "fragment"),
    [
        (lambda path: None, "no such file or folder; check the path"),
        (make_folder, "it is a folder; name a file"),
        (make_loop, "the links lead in a circle"),
        (make_dangling, "no such file or folder"),
        (os.mkfifo, "it is a pipe, socket or device; copy it to a file first"),
        (make_socket, "it is a pipe, socket or device"),
        (lambda path: path.write_bytes(b""), "is empty (0 bytes); copy or download it again"),
        (lambda path: path.write_text("dear diary\n" * 9), "is not a picture facekeep can read"),
        (lambda path: path.write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n"), "is not a picture facekeep"),
        (lambda path: path.write_bytes(b"\xff\xd8\xff"), "is damaged or of an unusual kind"),
        (lambda path: path.write_bytes(b"BM, said the text"), "is damaged or of an unusual kind"),
        (lambda path: path.write_bytes(png(0, 9, b"")), "is damaged or of an unusual kind"),
        (lambda path: path.write_bytes(png(9, 9, b"rubbish")), "is damaged or of an unusual kind"),
        (lambda path: path.write_bytes(b"RIFF\xff\xff\xff\xffWEBPVP8 "), "is damaged"),
        (lambda path: path.write_bytes(b"\0\0\0\x20ftypavif" + bytes(99)), "is damaged"),
        (lambda path: path.write_bytes(b"\0\0\0\x20ftypheic" + bytes(99)), "is damaged"),
        (lambda path: path.write_bytes(b"\0\0\0\x20ftypisom" + bytes(99)), "is not a picture"),
        (lambda path: path.write_bytes(b"II*\0" + bytes(30)), "is damaged"),
    ],
)
def test_bad_files(make: Callable[[Path], object], fragment: str, tmp_path: Path) -> None:
    path = tmp_path / "photo.jpg"
    make(path)
    message = refused(path)
    assert message.startswith(f"{path}: ")
    assert fragment in message


@pytest.mark.parametrize(
    ("path", "fragment"),
    [
        ("", "'': cannot be read: no such file"),
        ("a\0b.jpg", "a\\x00b.jpg: cannot be read: no file can have this name"),
        ("a\ud800b.jpg", "a\\ud800b.jpg: cannot be read: no file can have this name"),
        ("a\nb\x1b[31m.jpg", "a\\nb\\x1b[31m.jpg: cannot be read: no such file"),
        (os.fsdecode(b"\xff\xfe.jpg"), "\\udcff\\udcfe.jpg: cannot be read: no such file"),
        ("x" * 300 + ".jpg", "the name is too long"),
        ("/dev/zero", "it is a pipe, socket or device"),
        (__file__ + "/photo.jpg", "a part of the path is not a folder"),
    ],
)
def test_bad_paths(path: str, fragment: str) -> None:
    assert fragment in refused(path)
    with pytest.raises(ImageError, match="cannot be read"):
        content_digest(path)


@pytest.fixture
def forbidden(tmp_path: Path) -> Iterator[Path]:
    """A folder that this process may not look into, also where the tests run as root."""
    folder, user = tmp_path / "private", os.geteuid()
    folder.mkdir(mode=0)
    if user == 0:
        os.seteuid(65534)
    yield folder
    os.seteuid(user)
    folder.chmod(0o700)


def test_what_may_not_be_touched(forbidden: Path, photo: RGB) -> None:
    assert "cannot be read: permission denied; check who may use it" in refused(forbidden / "a.png")
    with pytest.raises(ImageError, match="cannot be written: permission denied; check who may"):
        save_image(forbidden / "a.png", photo)
    with pytest.raises(ImageError, match="private: the folder cannot be read: permission denied"):
        list_images(forbidden)


@pytest.mark.parametrize(
    ("source", "fragment"),
    [
        (None, "not an image: builtins.NoneType; give a path"),
        (17, "not an image: builtins.int"),
        (["a.jpg"], "not an image: builtins.list"),
        (io.StringIO("text"), "gives text, not bytes; open it in binary mode"),
        (memoryview(b"abcdef")[::2], "does not give bytes"),
    ],
)
def test_bad_sources(source: Any, fragment: str) -> None:
    with pytest.raises(InputError) as caught:
        load_image(source)
    assert fragment in one_line(caught.value)


def test_a_closed_stream_is_an_image_error() -> None:
    stream = io.BytesIO(b"data")
    stream.close()
    assert "closed file" in refused(stream)


@pytest.mark.parametrize("style", ["JPEG", "PNG", "WebP", "BMP", "TIFF", "GIF", "AVIF"])
@pytest.mark.parametrize("share", [0.2, 0.5, 0.9])
def test_a_truncated_picture_is_refused(photo: RGB, style: str, share: float) -> None:
    if style == "AVIF":
        pytest.importorskip("PIL._avif", exc_type=ImportError)
    data = encoded(photo, style)
    assert "again" in refused(data[: int(len(data) * share)])


@pytest.mark.parametrize("interlaced", [False, True])
@pytest.mark.parametrize("size", [(9, 9), (8, 8), (1, 3), (30, 21)])
def test_a_png_whose_data_end_early_is_refused(size: tuple[int, int], interlaced: bool) -> None:
    width, height = size
    steps = ADAM7 if interlaced else [(0, 0, 1, 1)]
    passes = [(len(range(x, width, dx)), len(range(y, height, dy))) for x, y, dx, dy in steps]
    lines = b"".join((b"\0" + b"\xc8" * (3 * w)) * h for w, h in passes if w)
    whole = png_rgb(width, height, zlib.compress(lines), interlaced=interlaced)
    assert (load_image(whole) == 0xC8).all()
    for missing in (1, len(lines) // 2):
        data = zlib.compress(lines[:-missing])
        cut = png_rgb(width, height, data, interlaced=interlaced)
        assert "is cut short" in refused(cut)


ADAM7 = [
    *((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8)),
    *((2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)),
]


def png_rgb(width: int, height: int, body: bytes, *, interlaced: bool) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, interlaced)
    parts = [chunk(b"IHDR", header), chunk(b"IDAT", body), chunk(b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def test_not_enough_memory_is_an_image_error(photo: RGB, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr("PIL.PngImagePlugin.PngImageFile.load", fail)
    assert "there is not enough memory to decode it" in refused(encoded(photo, "PNG"))


def test_float_pixels_that_are_no_numbers_are_refused() -> None:
    picture = Image.fromarray(np.array([[0.5, np.nan]], np.float32))
    assert "it holds NaN or infinite values" in refused(encoded(picture, "TIFF"))


# ---- bombs ---------------------------------------------------------------------------------------


def test_a_lying_header_is_refused_before_decoding() -> None:
    message = refused(png(50_000, 50_000, b"", depth=8))
    assert "50000 x 50000 = 2500000000 pixels is over the limit of 100000000" in message
    assert "raise max_pixels or scale it down" in message


@pytest.mark.slow
def test_a_real_bomb_is_refused_without_inflating_it() -> None:
    side = 50_000
    bomb = png(side, side, zeros(side * (side // 8 + 1)))
    assert len(bomb) < 400_000
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert "is over the limit" in refused(bomb)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50_000


@pytest.mark.parametrize("style", ["JPEG", "PNG", "WebP", "BMP", "TIFF", "GIF", "AVIF"])
def test_the_pixel_limit_is_exact(photo: RGB, style: str) -> None:
    if style == "AVIF":
        pytest.importorskip("PIL._avif", exc_type=ImportError)
    data, pixels = encoded(photo, style), photo.shape[0] * photo.shape[1]
    assert load_image(data, max_pixels=pixels).shape == photo.shape
    assert f"over the limit of {pixels - 1}" in refused(data, max_pixels=pixels - 1)


def test_the_limit_of_pillow_neither_warns_nor_changes(
    photo: RGB, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        np.testing.assert_array_equal(load_image(encoded(photo, "PNG")), photo)
    assert Image.MAX_IMAGE_PIXELS == 100


@pytest.mark.slow
@pytest.mark.parametrize("kind", [b"zTXt", b"iCCP", b"iTXt"])
def test_compressed_metadata_is_not_inflated(kind: bytes) -> None:
    head = b"name\0\x01\0\0\0" if kind == b"iTXt" else b"name\0\0"
    meta = chunk(kind, head + zeros(200 << 20))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    image = load_image(png(8, 1, zlib.compress(b"\0\xff"), meta))
    np.testing.assert_array_equal(image, np.full((1, 8, 3), 255, np.uint8))
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50_000


def test_a_jpeg_of_endless_scans_is_refused(photo: RGB) -> None:
    data = encoded(photo, "JPEG", progressive=True)
    last = data.rindex(b"\xff\xda")
    for gap in (b"", b"\xff\x01", b"\xff\xff", b"\xff\xfe\0\x04\xff\xd9"):
        bomb = data[:last] + (gap + data[last:-2]) * 120 + data[-2:]
        assert "JPEG scans, as no camera writes" in refused(bomb)
    few = data[:last] + data[last:-2] * 30 + data[-2:]
    assert load_image(few).shape == photo.shape


def test_a_video_behind_a_jpeg_is_not_counted(photo: RGB) -> None:
    data = encoded(photo, "JPEG", comment=b"\xff\xda" * 300)
    np.testing.assert_array_equal(load_image(data + b"\0\2\xff\xda" * 300), load_image(data))


@pytest.mark.parametrize("kind", [2, 5, 7, 12, 99])
def test_absurd_tiff_tags(photo: RGB, kind: int) -> None:
    data = bytearray(encoded(photo, "TIFF"))
    start = struct.unpack("<I", data[4:8])[0]
    for at in range(start + 2, start + 2 + 12 * struct.unpack_from("<H", data, start)[0], 12):
        changed = data.copy()
        struct.pack_into("<HI", changed, at + 2, kind, 0xFFFFFFF0)
        try:
            assert_sound(load_image(bytes(changed)))
        except ImageError as error:
            one_line(error)


# ---- threads and global state --------------------------------------------------------------------


def noisy_tiff(photo: RGB) -> bytes:
    """A TIFF that decodes, with a tag on which Pillow warns."""
    data = bytearray(encoded(photo, "TIFF"))
    start = struct.unpack("<I", data[4:8])[0]
    for at in range(start + 2, start + 2 + 12 * struct.unpack_from("<H", data, start)[0], 12):
        if struct.unpack_from("<H", data, at)[0] == 284:  # planar configuration, not needed
            struct.pack_into("<HHII", data, at, 305, 2, 5000, len(data) - 10)
    return bytes(data)


def test_warnings_of_pillow_do_not_leak(photo: RGB) -> None:
    data = noisy_tiff(photo)
    with (
        pytest.warns(UserWarning, match="Read|EXIF|larger"),
        Image.open(io.BytesIO(data)),
    ):
        pass
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        before = list(warnings.filters)  # type: ignore[attr-defined]
        np.testing.assert_array_equal(load_image(data), photo)
        assert list(warnings.filters) == before  # type: ignore[attr-defined]


def test_many_threads_load_as_one(photo: RGB) -> None:
    files = [noisy_tiff(photo), *(encoded(photo, s) for s in ("JPEG", "PNG", "WebP", "GIF", "BMP"))]
    files.append(encoded(photo, "JPEG")[:2000])

    def attempt(data: bytes) -> bytes:
        try:
            return load_image(data).tobytes()
        except ImageError as error:
            return str(error).encode()

    expected = [attempt(data) for data in files]
    before = list(warnings.filters)  # type: ignore[attr-defined]
    with ThreadPoolExecutor(16) as pool:
        assert list(pool.map(attempt, files * 40)) == expected * 40
    assert list(warnings.filters) == before  # type: ignore[attr-defined]


def test_importing_the_module_does_not_import_pillow() -> None:
    loaded = "any(m.startswith('PIL') for m in sys.modules)"
    script = f"import sys, facekeep.pipeline.image; sys.exit({loaded})"
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0


# ---- arrays --------------------------------------------------------------------------------------


def test_check_image_returns_the_array_itself_when_it_is_fine(hopper: RGB) -> None:
    assert check_image(hopper) is hopper


@pytest.mark.parametrize(
    "view",
    [
        lambda a: a[::-1],
        lambda a: a[:, ::2],
        np.asfortranarray,
        lambda a: np.broadcast_to(a[:1], a.shape),
        lambda a: a.view(np.ndarray),
        np.ma.masked_array,
    ],
)
def test_check_image_takes_any_strides(photo: RGB, view: Callable[[RGB], RGB]) -> None:
    image = check_image(view(photo))
    assert image.flags.c_contiguous
    assert type(image) is np.ndarray
    np.testing.assert_array_equal(image, np.asarray(view(photo)))


class FakeTensor:
    """Stands for a torch tensor."""


FakeTensor.__module__, FakeTensor.__qualname__ = "torch", "Tensor"


@pytest.mark.parametrize(
    ("array", "fragment"),
    [
        (np.zeros((4, 5), np.uint8), "got (4, 5), which looks gray; stack it: numpy.stack("),
        (np.zeros((4, 5, 1), np.uint8), "must be (H, W, 3) RGB; got (4, 5, 1)"),
        (np.zeros((4, 5, 4), np.uint8), "looks like RGBA; pass image[..., :3]"),
        (np.zeros((3, 4, 5), np.uint8), "channels first; pass image.transpose(1, 2, 0)"),
        (np.zeros((2, 4, 5, 3), np.uint8), "looks like a batch; pass its images one by one"),
        (np.zeros(12, np.uint8), "must be (H, W, 3) RGB; got (12,)"),
        (np.array(3, np.uint8), "must be (H, W, 3) RGB; got ()"),
        (np.zeros((0, 5, 3), np.uint8), "at least one pixel; got shape (0, 5, 3)"),
        (np.zeros((5, 0, 3), np.uint8), "at least one pixel; got shape (5, 0, 3)"),
        (np.full((4, 5, 3), np.nan, np.float32), "got float32; scale it to 0-255"),
        (np.ones((4, 5, 3)), "got float64; scale it to 0-255 (times 255 if it is 0-1)"),
        (np.ones((4, 5, 3), np.uint16), "got uint16; divide it by 257"),
        (np.ones((4, 5, 3), np.int64), "got int64; scale it to 0-255"),
        (np.ones((4, 5, 3), bool), "got bool"),
        (np.array([["a"]]), "got <U1"),
        (np.array([[None]]), "got object"),
        ([[[1, 2, 3]]], "not an image: builtins.list"),
        (FakeTensor(), "pass tensor.cpu().numpy() as uint8 (H, W, 3)"),
    ],
)
def test_bad_arrays(array: Any, fragment: str) -> None:
    for door in (check_image, from_bgr):
        with pytest.raises(InputError) as caught:
            door(array)
        assert fragment in one_line(caught.value)


def test_from_bgr_is_the_door_for_opencv(collins_path: Path, collins: RGB) -> None:
    bgr = cv2.imread(str(collins_path))
    assert bgr is not None
    image = from_bgr(bgr)
    assert_sound(image)
    np.testing.assert_array_equal(image, collins)
    assert not np.shares_memory(image, bgr)


# ---- saving --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "style", "tolerance"),
    [
        ("a.jpg", "JPEG", 5.0),
        ("a.JPEG", "JPEG", 5.0),
        ("a.png", "PNG", 0.0),
        ("a.webp", "WEBP", 5.0),
        ("a.bmp", "BMP", 0.0),
        ("a.tif", "TIFF", 0.0),
        ("a.tiff", "TIFF", 0.0),
    ],
)
def test_saves_what_it_loads(
    photo: RGB, tmp_path: Path, name: str, style: str, tolerance: float
) -> None:
    save_image(tmp_path / name, photo)
    assert far(load_image(tmp_path / name), photo) <= tolerance
    assert [path.name for path in tmp_path.iterdir()] == [name]
    with Image.open(tmp_path / name) as picture:
        assert picture.format == style


def test_quality_is_passed_on(photo: RGB, tmp_path: Path) -> None:
    save_image(tmp_path / "low.jpg", photo, quality=20)
    save_image(tmp_path / "high.jpg", photo, quality=98)
    assert (tmp_path / "low.jpg").stat().st_size * 2 < (tmp_path / "high.jpg").stat().st_size


def test_saving_through_a_link_replaces_the_file_it_leads_to(photo: RGB, tmp_path: Path) -> None:
    (tmp_path / "far").mkdir()
    (tmp_path / "link.png").symlink_to("far/real.png")
    save_image(tmp_path / "link.png", photo)
    assert (tmp_path / "link.png").is_symlink()
    np.testing.assert_array_equal(load_image(tmp_path / "far" / "real.png"), photo)


def test_a_saved_file_has_the_usual_mode(photo: RGB, tmp_path: Path) -> None:
    (tmp_path / "plain").touch()
    save_image(tmp_path / "a.png", photo)
    assert (tmp_path / "a.png").stat().st_mode == (tmp_path / "plain").stat().st_mode


@pytest.mark.parametrize(
    ("name", "options", "kind", "fragment"),
    [
        ("a.xyz", {}, InputError, "unknown picture format; end the name in .bmp, .jpeg, .jpg"),
        ("a", {}, InputError, "unknown picture format"),
        ("", {}, InputError, "'': unknown picture format"),
        ("a.jpg", {"quality": 0}, InputError, "quality must be 1 to 100; got 0"),
        ("a.jpg", {"quality": 101}, InputError, "quality must be 1 to 100; got 101"),
        ("no/such/a.jpg", {}, ImageError, "cannot be written: no such file or folder"),
        ("folder.png", {}, ImageError, "cannot be written: it is a folder"),
        ("file/a.png", {}, ImageError, "cannot be written: a part of the path is not a folder"),
        ("a\0b.png", {}, ImageError, "cannot be written: no file can have this name"),
        ("loop.png/a.png", {}, ImageError, "cannot be written: "),
    ],
)
def test_bad_saves(
    photo: RGB,
    tmp_path: Path,
    name: str,
    options: dict[str, Any],
    kind: type[FacekeepError],
    fragment: str,
) -> None:
    (tmp_path / "folder.png").mkdir()
    (tmp_path / "file").touch()
    (tmp_path / "loop.png").symlink_to("loop.png")
    before = sorted(os.walk(tmp_path))
    with pytest.raises(kind) as caught:
        save_image(f"{tmp_path}/{name}" if name else name, photo, **options)
    assert fragment in one_line(caught.value)
    if not options:
        with pytest.raises(kind, match=f"^{re.escape(str(caught.value))}$"):
            check_output(f"{tmp_path}/{name}" if name else name)
    assert sorted(os.walk(tmp_path)) == before


def test_checking_where_to_save_leaves_no_trace(tmp_path: Path) -> None:
    (tmp_path / "old.png").write_bytes(b"old")
    for name in ("old.png", "new.jpg"):
        check_output(tmp_path / name)
    assert [file.read_bytes() for file in tmp_path.iterdir()] == [b"old"]


def test_a_bad_array_leaves_the_old_file(photo: RGB, tmp_path: Path) -> None:
    save_image(tmp_path / "a.png", photo)
    with pytest.raises(InputError):
        save_image(tmp_path / "a.png", photo.astype(float))
    np.testing.assert_array_equal(load_image(tmp_path / "a.png"), photo)


def test_a_picture_too_wide_for_its_format(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="70000 x 1 pixels cannot be written as WebP") as caught:
        save_image(tmp_path / "a.webp", np.zeros((1, 70_000, 3), np.uint8))
    one_line(caught.value)


def test_a_full_disk_leaves_the_old_file_and_nothing_else(hopper: RGB, tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    save_image(path, hopper[:9, :9])
    old, limits = path.read_bytes(), resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, limits[1]))
    try:
        with pytest.raises(StorageFull, match="no room to write") as caught:
            save_image(path, hopper)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    one_line(caught.value)
    assert path.read_bytes() == old
    assert list(tmp_path.iterdir()) == [path]


# ---- listing -------------------------------------------------------------------------------------


def test_lists_pictures_and_nothing_else(tmp_path: Path) -> None:
    for name in ("b/2.JPG", "b/10.heic", "a.png", "c/d/e.webp", "z.tiff"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    for name in ("notes.txt", "b/._2.jpg", ".hidden/x.jpg", "jpg", "b/clip.mp4"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "folder.jpg").mkdir()
    (tmp_path / "c" / "up").symlink_to(tmp_path)
    (tmp_path / "dead.jpg").symlink_to("nowhere")
    (tmp_path / "loop.jpg").symlink_to("loop.jpg")
    (tmp_path / "link.jpg").symlink_to("a.png")
    os.mkfifo(tmp_path / "pipe.jpg")

    def names(**options: Any) -> list[str]:
        return [str(path.relative_to(tmp_path)) for path in list_images(tmp_path, **options)]

    assert names() == ["a.png", "b/10.heic", "b/2.JPG", "c/d/e.webp", "link.jpg", "z.tiff"]
    assert names(recursive=False) == ["a.png", "link.jpg", "z.tiff"]


def test_a_hidden_folder_that_is_named_is_listed(tmp_path: Path) -> None:
    (tmp_path / ".album").mkdir()
    (tmp_path / ".album" / "a.jpg").touch()
    assert list_images(tmp_path / ".album") == [tmp_path / ".album" / "a.jpg"]


@pytest.mark.parametrize(
    ("folder", "fragment"),
    [
        ("/no/such/folder", "/no/such/folder: the folder cannot be read: no such file or folder"),
        (__file__, f"{__file__}: is a file; name a folder"),
        (f"{__file__}/a", "the folder cannot be read: a part of the path is not a folder"),
        ("a\0b", "a\\x00b: the folder cannot be read: no file can have this name"),
    ],
)
def test_bad_folders(folder: str, fragment: str) -> None:
    with pytest.raises(ImageError) as caught:
        list_images(folder)
    assert fragment in one_line(caught.value)


def test_a_folder_must_be_a_path() -> None:
    with pytest.raises(InputError, match="expected a path, got int"):
        list_images(7)  # type: ignore[arg-type]


@pytest.fixture
def unreadable(monkeypatch: pytest.MonkeyPatch) -> Callable[[str, int], None]:
    """Make folders fail to be listed by the end of their path; root may list all others too."""
    scan = os.scandir

    def make(end: str, number: int) -> None:
        def guarded(path: Any) -> Any:
            if str(path).endswith(end):
                raise OSError(number, os.strerror(number), str(path))
            return scan(path)

        monkeypatch.setattr(os, "scandir", guarded)

    return make


def test_a_folder_below_that_cannot_be_read_is_left_out_and_told_of(
    tmp_path: Path, unreadable: Callable[[str, int], None], caplog: pytest.LogCaptureFixture
) -> None:
    for name in ("a.jpg", "lost+found/b.jpg", "c/d.jpg"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    unreadable("lost+found", errno.EACCES)
    wanted = [tmp_path / "a.jpg", tmp_path / "c/d.jpg"]
    assert list_images(tmp_path) == wanted
    assert caplog.text.count("left out 1 folder below") == 1
    assert "lost+found: permission denied" in caplog.text
    skipped: list[tuple[Path, str]] = []
    assert list_images(tmp_path, on_skip=lambda *each: skipped.append(each)) == wanted
    assert skipped == [(tmp_path / "lost+found", "permission denied; check who may use it")]
    assert caplog.text.count("left out") == 1, "whoever asks for the list is not warned"
    with pytest.raises(ImageError, match=r"lost.found: the folder cannot be read: permission"):
        list_images(tmp_path / "lost+found")


def test_a_folder_that_vanishes_is_no_fault(
    tmp_path: Path, unreadable: Callable[[str, int], None], caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "moved").mkdir()
    (tmp_path / "a.jpg").touch()
    unreadable("moved", errno.ENOENT)
    assert list_images(tmp_path) == [tmp_path / "a.jpg"]
    assert list(list_people(tmp_path)) == []
    assert caplog.text == ""


def test_a_warning_counts_the_folders_and_names_the_first(
    tmp_path: Path, unreadable: Callable[[str, int], None], caplog: pytest.LogCaptureFixture
) -> None:
    for number in range(5):
        (tmp_path / f"{number} private").mkdir()
    unreadable("private", errno.EIO)
    assert list_images(tmp_path) == []
    assert "left out 5 folders below" in caplog.text
    assert caplog.text.count("private: ") == 3


def test_people_are_the_folders_with_names(
    tmp_path: Path, unreadable: Callable[[str, int], None], caplog: pytest.LogCaptureFixture
) -> None:
    for name in ("Bo/b.jpg", "Ada/deep/a.jpg", "Eve/e.jpg", ".hidden/h.jpg", "None/n.txt"):
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).touch()
    (tmp_path / "loose.jpg").touch()
    (tmp_path / "up").symlink_to(tmp_path)
    (tmp_path / "Cy").symlink_to(tmp_path / "Bo")
    unreadable("Eve", errno.EACCES)
    found = {
        name: [str(each.relative_to(tmp_path)) for each in paths]
        for name, paths in list_people(tmp_path)
    }
    assert found == {"Ada": ["Ada/deep/a.jpg"], "Bo": ["Bo/b.jpg"], "Cy": ["Cy/b.jpg"], "None": []}
    assert list(found) == sorted(found)
    assert caplog.text.count("left out 1 folder") == 1


def test_a_file_that_the_system_keeps_from_us_is_listed_and_told_of_when_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a folder that may be listed but not entered; else it would be missing in silence."""
    (tmp_path / "a.jpg").touch()
    look = Path.stat

    def guarded(self: Path, **options: bool) -> Any:
        if self.name == "a.jpg":
            raise PermissionError(errno.EACCES, "denied", str(self))
        return look(self, **options)

    monkeypatch.setattr(Path, "stat", guarded)
    assert list_images(tmp_path) == [tmp_path / "a.jpg"]


# ---- bounds --------------------------------------------------------------------------------------


def test_a_file_with_too_many_bytes_is_refused_unread(tmp_path: Path, photo: RGB) -> None:
    path = tmp_path / "sparse.png"
    data = encoded(photo, "PNG")
    path.write_bytes(data)
    assert load_image(path, max_bytes=len(data)).shape == photo.shape
    with path.open("r+b") as stream:
        stream.truncate(1 << 40)
    for call in (load_image, content_digest, count_pixels):
        with pytest.raises(ImageError, match=r"limit of 500 MB.*raise max_bytes$"):
            call(path)
    for source in (data, io.BytesIO(data)):
        assert "over the limit of 0 MB" in refused(source, max_bytes=len(data) - 1)


def test_pixels_are_counted_from_the_header(photo: RGB) -> None:
    assert count_pixels(encoded(photo, "PNG")) == photo.shape[0] * photo.shape[1]
    assert count_pixels(png(50_000, 50_000, b"", depth=8)) == 2_500_000_000
    with pytest.raises(ImageError, match="is not a picture"):
        count_pixels(b"no picture at all")


@pytest.mark.slow
@pytest.mark.parametrize("depth", [1, 8])
def test_a_large_picture_takes_little_more_than_its_pixels(tmp_path: Path, depth: int) -> None:
    path = tmp_path / "large.png"
    path.write_bytes(png(8000, 5000, zeros(5000 * (8000 * depth // 8 + 1)), depth=depth))
    script = (
        "import resource, sys; from facekeep import load_image; load_image(sys.argv[2]);"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss; load_image(sys.argv[1]);"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)"
    )
    small = tmp_path / "small.png"
    save_image(small, np.zeros((9, 9, 3), np.uint8))
    done = subprocess.run(
        [sys.executable, "-c", script, path, small], check=True, capture_output=True, text=True
    )
    assert int(done.stdout) * 1024 < 40_000_000 * 4.4  # one byte for Pillow, three for the array


def test_want_of_memory_is_told_before_decoding(
    photo: RGB, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("facekeep.pipeline.decode._budget", MemoryBudget(lambda: 10 << 20))
    data = png(8000, 5000, zeros(5000 * 8001), depth=8)
    assert "there is not enough memory to decode it (it takes 152 MB" in refused(data)
    assert load_image(encoded(photo, "PNG")).shape == photo.shape


def test_a_huge_jpeg_is_reduced_where_that_is_asked_for(
    photo: RGB, monkeypatch: pytest.MonkeyPatch
) -> None:
    photo = np.ascontiguousarray(photo[:112, :96])
    monkeypatch.setattr("facekeep.pipeline.decode._HUGE", photo.shape[0] * photo.shape[1] - 1)
    exif = Image.Exif()
    exif[0x0112] = 6
    options = {"quality": 95, "subsampling": 0, "exif": exif.tobytes()}
    data = encoded(stored(photo, 6), "JPEG", **options)
    assert not isinstance(load_image(data), Reduced)
    image = load_image(data, reduce=True)
    assert isinstance(image, Reduced)
    assert image.factor == 2
    assert load_image(image) is image
    half = Image.fromarray(load_image(data)).resize(image.shape[1::-1], Image.Resampling.BOX)
    assert image.shape == (56, 48, 3)
    assert far(np.asarray(image), np.asarray(half)) < 4.0
    monkeypatch.setattr("facekeep.pipeline.decode._HUGE", photo.shape[0] * photo.shape[1])
    assert not isinstance(load_image(data, reduce=True), Reduced)
    assert not isinstance(load_image(encoded(photo, "PNG"), reduce=True), Reduced)


@pytest.mark.parametrize(
    "case",
    [gray, gray_alpha, gray_16_png, palette, palette_alphas, rgba, rgb_key_color, cmyk_jpeg],
)
def test_an_image_of_pillows_is_read_as_its_file_is(photo: RGB, case: Case) -> None:
    data, _ = case(photo)
    with Image.open(io.BytesIO(data)) as picture:
        np.testing.assert_array_equal(load_image(picture), load_image(data))
        np.testing.assert_array_equal(check_image(picture), load_image(data))


@pytest.mark.parametrize("style", ["JPEG", "PNG", "TIFF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_an_image_of_pillows_is_turned_upright(photo: RGB, style: str, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encoded(photo, style, exif=exif)
    with Image.open(io.BytesIO(data)) as picture:
        np.testing.assert_array_equal(load_image(picture), load_image(data))


def test_an_image_of_pillows_that_was_turned_is_not_turned_again(photo: RGB) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    data = encoded(photo, "PNG", exif=exif)
    with Image.open(io.BytesIO(data)) as picture:
        upright = ImageOps.exif_transpose(picture)
    np.testing.assert_array_equal(load_image(upright), load_image(data))


def test_an_image_of_pillows_has_the_limits_of_a_file(photo: RGB) -> None:
    picture = Image.fromarray(photo)
    with pytest.raises(ImageError, match="over the limit of 100") as caught:
        load_image(picture, max_pixels=100)
    assert caught.value.hint == Hint("max_pixels")
    whole = encoded(photo, "JPEG")
    with (
        Image.open(io.BytesIO(whole[: len(whole) // 2])) as cut,
        pytest.raises(ImageError, match="is cut short"),
    ):
        load_image(cut)


def test_bgr_enters_by_an_explicit_word_only(photo: RGB) -> None:
    frame = np.ascontiguousarray(photo[..., ::-1])
    np.testing.assert_array_equal(load_image(frame, bgr=True), photo)
    np.testing.assert_array_equal(load_image(frame), frame)
    for source in (Image.fromarray(photo), encoded(photo, "PNG"), "photo.png"):
        with pytest.raises(InputError, match="only an array can be BGR"):
            load_image(source, bgr=True)


def test_an_array_is_told_from_pillows_images_while_pillow_is_being_imported(
    photo: RGB, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another thread may import it at this moment; its module then has no class yet."""
    monkeypatch.setitem(sys.modules, "PIL.Image", ModuleType("PIL.Image"))
    np.testing.assert_array_equal(check_image(photo), photo)


def test_pillow_is_not_imported_to_tell_its_images() -> None:
    code = (
        "import sys, numpy; from facekeep import load_image;"
        "load_image(numpy.zeros((2, 2, 3), numpy.uint8)); print('PIL' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
