"""Remembered crops: the same result in a fraction of the time, whatever happens to them."""

from __future__ import annotations

import errno
import logging
from pathlib import Path

import numpy as np
import pytest

from facekeep.errors import InputError
from facekeep.lab.datasets.test_sets import Samples
from facekeep.lab.evaluate import crops
from facekeep.lab.evaluate.crops import CropCache, make_cropper
from facekeep.lab.evaluate.extract import extract
from facekeep.pipeline.detect import Detector
from facekeep.runtime import RuntimeOptions

KEY = bytes(range(32))


class Wide:
    """Embeds a crop as its pixels."""

    def __init__(self, size: int = 64) -> None:
        self.size, self.width = size, size * size * 3

    def embed(self, crops):
        rows = crops.reshape(len(crops), -1).astype(np.float32)
        return rows / np.linalg.norm(rows, axis=1, keepdims=True)


@pytest.fixture
def looks(monkeypatch) -> list[tuple[int, ...]]:
    """The shapes of the images that a detector looked at."""
    seen: list[tuple[int, ...]] = []
    find = Detector.find

    def counted(self, image):
        seen.append(image.shape)
        return find(self, image)

    monkeypatch.setattr(Detector, "find", counted)
    return seen


def run(images, folder, size=64, **options):
    samples = Samples(tuple("abcdef"[: len(images)]), lambda place: images[place])
    with Detector(options=RuntimeOptions(threads=1), **options) as detector:
        return extract(samples, Wide(size), detector, cache=CropCache(folder))


@pytest.fixture
def images(hopper, collins) -> list[np.ndarray]:
    return [hopper, np.zeros((50, 60, 3), np.uint8), collins]


def test_a_second_run_looks_for_no_face(tmp_path, images, looks):
    first = run(images, tmp_path / "crops")
    assert len(looks) == 3
    second = run(images, tmp_path / "crops")
    assert len(looks) == 3
    assert (first.rows == second.rows).all()
    assert first.found.tolist() == [True, False, True]
    assert first.failures == second.failures
    assert first.failures[0].reason == "no face was found"
    without = run(images, tmp_path / "others")
    assert (without.rows == first.rows).all()


def test_other_pixels_sizes_and_settings_are_looked_at_anew(tmp_path, images, looks):
    run(images[:1], tmp_path)
    changed = images[0].copy()
    changed[0, 0] ^= 1
    run([changed], tmp_path)
    run(images[:1], tmp_path, size=80)
    run(images[:1], tmp_path, score=0.6)
    run([images[0].transpose(1, 0, 2)], tmp_path)
    assert len(looks) == 5


def test_faces_are_their_owners_alone(tmp_path, images):
    run(images, tmp_path / "crops")
    assert (tmp_path / "crops").stat().st_mode & 0o777 == 0o700
    for path in (tmp_path / "crops").rglob("*"):
        assert path.stat().st_mode & 0o077 == 0
    assert not list(tmp_path.rglob("*.part"))


@pytest.mark.parametrize("damage", ["empty", "short", "bit", "another"])
def test_damaged_files_count_as_none(tmp_path, images, looks, damage):
    before = run(images, tmp_path)
    files = sorted(path for path in tmp_path.rglob("*.crop"))
    contents = [path.read_bytes() for path in files]
    for i, path in enumerate(files):
        content = contents[i]
        path.write_bytes(
            {
                "empty": b"",
                "short": content[:-1],
                "bit": content[:-1] + bytes([content[-1] ^ 1]),
                "another": contents[i - 1],
            }[damage]
        )
    after = run(images, tmp_path)
    assert len(looks) == 6
    assert (before.rows == after.rows).all()
    assert [path.read_bytes() for path in files] == contents


def test_aligned_and_annotated_images_are_not_kept(tmp_path, hopper):
    cache = CropCache(tmp_path / "crops")
    make_cropper(Samples(("a",), lambda _: hopper[:60, :60], aligned=True), 64, None, cache)(0)
    points = np.array([[[10, 10], [30, 10], [20, 20], [12, 30], [28, 30]]], np.float32)
    make_cropper(Samples(("a",), lambda _: hopper, points), 64, None, cache)(0)
    assert list((tmp_path / "crops").iterdir()) == []


def test_what_was_kept_comes_back(tmp_path):
    cache = CropCache(tmp_path)
    assert cache.find(KEY) is None
    cache.keep(KEY, b"some pixels")
    cache.keep(KEY[::-1], b"")
    assert CropCache(tmp_path).find(KEY) == b"some pixels"
    assert cache.find(KEY[::-1]) == b""


def test_a_full_disk_is_told_once_and_ends_the_keeping(tmp_path, monkeypatch, caplog):
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "no space")

    cache = CropCache(tmp_path)
    monkeypatch.setattr(crops, "replacing", full)
    with caplog.at_level(logging.WARNING, "facekeep"):
        cache.keep(KEY, b"x")
        cache.keep(KEY, b"x")
    assert [record.getMessage() for record in caplog.records] == [
        f"no more crops are kept in {tmp_path}: no room is left; free some space"
    ]
    assert cache.find(KEY) is None


def test_a_folder_that_cannot_be_one(tmp_path):
    (tmp_path / "file").write_text("x")
    for path in (tmp_path / "file", tmp_path / "file" / "below", Path("a\0b")):
        with pytest.raises(InputError, match="crops cannot be kept there"):
            CropCache(path)
