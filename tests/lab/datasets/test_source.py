from __future__ import annotations

import io

import numpy as np
import pytest
from data_kit import encoded, picture
from PIL import Image

from facekeep.errors import ImageError
from facekeep.lab.datasets.source import decode_crop


def as_png(image: np.ndarray) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(image).save(stream, "PNG")
    return stream.getvalue()


def test_a_crop_of_the_size_is_given_as_it_is() -> None:
    assert (decode_crop(encoded(3), 24) == picture(3)).all()


@pytest.mark.parametrize("size", [112, 96, 80, 64, 12])
def test_other_sizes_are_scaled(size: int) -> None:
    red = np.zeros((100, 100, 3), np.uint8)
    red[:, :50] = 200, 10, 30
    face = decode_crop(as_png(red), size)
    assert face.shape == (size, size, 3)
    assert face.dtype == np.uint8
    assert (face[:, : size // 2 - 1] == (200, 10, 30)).all()
    assert (face[:, size // 2 + 1 :] == 0).all()


def test_larger_crops_do_not_alias() -> None:
    checks = np.indices((224, 224)).sum(0) % 2 * 255
    face = decode_crop(as_png(np.stack([checks.astype(np.uint8)] * 3, -1)), 112)
    assert np.ptp(face) <= 1


def test_gray_crops_become_rgb() -> None:
    assert (
        decode_crop(as_png(np.full((24, 24), 77, np.uint8)), 24).tolist() == [[[77] * 3] * 24] * 24
    )


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (as_png(np.zeros((24, 32, 3), np.uint8)), r"not square \(32 x 24\).*an aligned crop"),
        (encoded(1)[:-30], "image bytes"),
        (b"", "empty"),
        (b"text", "is not a picture"),
    ],
)
def test_what_is_no_crop(data: bytes, why: str) -> None:
    with pytest.raises(ImageError, match=why):
        decode_crop(data, 24)


def test_a_bomb_is_refused_by_its_header() -> None:
    bomb = io.BytesIO()
    Image.new("1", (5000, 5000)).save(bomb, "PNG")
    with pytest.raises(ImageError, match="over the limit"):
        decode_crop(bomb.getvalue(), 112)
