from __future__ import annotations

import importlib.metadata

import numpy as np
import pytest

from facekeep.errors import InputError
from facekeep.samples import CHANGES, change_photo, load_portraits


def test_portraits_are_rgb_photos_by_name() -> None:
    portraits = load_portraits()
    assert list(portraits) == ["Grace Hopper", "Eileen Collins"]
    for photo in portraits.values():
        assert (photo.ndim, photo.shape[2], photo.dtype) == (3, 3, np.uint8)


def test_without_the_extra_the_error_says_how_to_install_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def missing(name: str) -> None:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "distribution", missing)
    with pytest.raises(InputError, match=r"pip install 'facekeep\[demo\]'$"):
        load_portraits()


def test_changes_leave_the_photo_as_it_is() -> None:
    photo = np.random.default_rng(0).integers(0, 256, (60, 40, 3), np.uint8)
    before = photo.copy()
    changed = dict(change_photo(photo))
    assert list(changed) == list(CHANGES)
    assert np.array_equal(photo, before)
    for name, each in changed.items():
        assert (each.ndim, each.dtype) == (3, np.uint8), name
        assert each.shape != photo.shape or not np.array_equal(each, photo), name
