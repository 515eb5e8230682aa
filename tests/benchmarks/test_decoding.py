"""Every odd picture file that the script makes gives its picture, or a refusal where one is due."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))  # for the package of scripts, which is not installed

from benchmarks.decoding import FAMILIES, Odd, Pixels, far, picture, stored, verdict  # noqa: E402

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("family", FAMILIES, ids=lambda each: each.__name__)
def test_no_file_gives_another_picture(family: object) -> None:
    assert callable(family)
    found = [(verdict(odd), odd.name) for odd in family(picture())]
    assert len(found) > 15
    assert [each for each in found if each[0][0] in ("lost", "wrong")] == []


def test_another_picture_would_be_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    rgb = picture()
    shown: list[Pixels] = [255 - rgb, rgb[::-1], rgb[:, ::-1], rgb[..., ::-1], rgb[:-1]]
    for other in shown:
        monkeypatch.setattr("benchmarks.decoding.load_image", lambda data, other=other: other)
        assert verdict(Odd("odd", b"", rgb, 8))[0] == "wrong"


def test_orientations_are_made_by_the_letter_of_the_standard() -> None:
    rgb = np.arange(2 * 3 * 3, dtype=np.uint8).reshape(2, 3, 3)
    corner = {1: (0, 0), 2: (0, -1), 3: (-1, -1), 4: (-1, 0), 5: (0, 0), 6: (0, -1), 7: (-1, -1),
              8: (-1, 0)}  # fmt: skip
    for number, (row, column) in corner.items():
        np.testing.assert_array_equal(stored(rgb, number)[0, 0], rgb[row, column])
    assert far(rgb, rgb[:1]) == float("inf")
