"""Hostile bytes: whatever is done to a picture file, the loader gives pixels or a FacekeepError.

The default run is short and always the same. FACEKEEP_FUZZ_EXAMPLES=10000 asks for a long one with
new cases each time.
"""

from __future__ import annotations

import io
import os
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image, features

from facekeep.errors import FacekeepError
from facekeep.pipeline.image import load_image

pytestmark = pytest.mark.slow

EXAMPLES = os.environ.get("FACEKEEP_FUZZ_EXAMPLES")
MAX_PIXELS = 250_000  # enough for the seeds; a header that grows them is refused, so runs stay fast

fuzz = settings(
    max_examples=int(EXAMPLES or 500),
    derandomize=EXAMPLES is None,
    database=None,
    suppress_health_check=list(HealthCheck),
)


def exif() -> Image.Exif:
    tags = Image.Exif()
    tags[0x0112] = 6
    tags[0x010E] = "a description"
    tags.get_ifd(0x8769)[0x829A] = 0.01
    return tags


def seed(mode: str, style: str, **options: Any) -> bytes:
    colors = np.random.default_rng(7).integers(0, 256, (24, 20, 3), np.uint8)
    stream = io.BytesIO()
    Image.fromarray(colors).convert(mode).save(stream, style, **options)
    return stream.getvalue()


def heic() -> list[bytes]:
    try:
        import pillow_heif
    except ImportError:
        return []
    stream = io.BytesIO()
    pillow_heif.from_pillow(Image.open(io.BytesIO(seed("RGB", "PNG")))).save(stream)
    return [stream.getvalue()]


def seeds() -> list[bytes]:
    frames = [Image.new("RGB", (20, 24), color) for color in ("red", "green", "blue")]
    found = [
        seed("RGB", "JPEG", exif=exif(), icc_profile=b"profile" * 20, comment=b"hello"),
        seed("RGB", "JPEG", progressive=True, dpi=(72, 72)),
        seed("CMYK", "JPEG"),
        seed("L", "JPEG"),
        seed("RGB", "PNG", exif=exif(), icc_profile=b"profile" * 20),
        seed("RGBA", "PNG"),
        seed("P", "PNG", transparency=bytes(range(200))),
        seed("I;16", "PNG"),
        seed("1", "PNG"),
        seed("RGB", "PNG", save_all=True, append_images=frames),
        seed("RGB", "WebP", exif=exif()),
        seed("RGBA", "WebP", lossless=True),
        seed("RGB", "WebP", save_all=True, append_images=frames),
        seed("RGB", "BMP"),
        seed("P", "BMP"),
        seed("1", "BMP"),
        seed("RGB", "TIFF", exif=exif()),
        seed("F", "TIFF"),
        seed("I;16", "TIFF"),
        seed("P", "TIFF"),
        seed("RGB", "TIFF", compression="jpeg"),
        seed("RGB", "TIFF", compression="tiff_lzw"),
        seed("1", "TIFF", compression="group4"),
        seed("RGB", "TIFF", big_tiff=True, compression="tiff_adobe_deflate"),
        seed("RGB", "GIF", save_all=True, append_images=frames),
        seed("P", "GIF", transparency=3, comment=b"hello"),
    ]
    if features.check("avif"):
        found.append(seed("RGB", "AVIF"))
    return found + heic()


SEEDS = seeds()
EDGES = [b"\0", b"\xff", b"\x7f", b"\x80", b"\xff\xff\xff\xff", b"\0\0\0\0", b"\x7f\xff\xff\xff"]

CHANGES = ["cut", "write", "edge", "flip", "drop", "repeat", "splice"]


@st.composite
def places(draw: st.DrawFn, length: int) -> int:
    """A position, more often than not in the header."""
    return draw(st.integers(0, min(length, 128)) | st.integers(0, length))


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """A picture file after up to eight changes: cut, overwrite, drop, repeat, splice."""
    data = draw(st.sampled_from(SEEDS))
    for _ in range(draw(st.integers(1, 8))):
        start, width = draw(places(len(data))), draw(st.integers(0, 64))
        end = min(start + width, len(data))
        change = draw(st.sampled_from(CHANGES))
        if change == "cut":
            data = data[:start]
        elif change == "write":
            patch = draw(st.binary(min_size=1, max_size=16))
            data = data[:start] + patch + data[start + len(patch) :]
        elif change == "edge":
            patch = draw(st.sampled_from(EDGES))
            data = data[:start] + patch + data[start + len(patch) :]
        elif change == "flip" and start < len(data):
            data = data[:start] + bytes([data[start] ^ 1 << width % 8]) + data[start + 1 :]
        elif change == "drop":
            data = data[:start] + data[end:]
        elif change == "repeat":
            data = data[:end] + data[start:end] * 3 + data[end:]
        elif change == "splice":
            other = draw(st.sampled_from(SEEDS))
            data = data[:start] + other[draw(places(len(other))) :]
    return data


def assert_pixels_or_refusal(data: bytes) -> None:
    try:
        image = load_image(data, max_pixels=MAX_PIXELS)
    except FacekeepError as error:
        image, message = None, str(error)
    if image is None:
        assert message.isprintable()
        assert len(message) < 400
        return
    assert image.dtype == np.uint8
    assert image.ndim == 3
    assert image.shape[2] == 3
    assert 0 < image.size <= 3 * MAX_PIXELS
    assert image.flags.c_contiguous


def test_the_seeds_are_pictures() -> None:
    for data in SEEDS:
        assert load_image(data).size > 0


@fuzz
@given(damaged())
def test_damaged_pictures(data: bytes) -> None:
    assert_pixels_or_refusal(data)


@fuzz
@given(st.sampled_from([data[:12] for data in SEEDS]), st.binary(max_size=300))
def test_a_signature_and_then_anything(head: bytes, tail: bytes) -> None:
    assert_pixels_or_refusal(head + tail)
