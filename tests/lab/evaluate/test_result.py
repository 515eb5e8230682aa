"""The stable form of a result."""

from __future__ import annotations

import pytest
from evaluation_kit import evaluation

from facekeep.lab.evaluate.result import format_rate


@pytest.mark.parametrize(
    ("rate", "text"),
    [(1e-2, "1e-2"), (1e-5, "1e-5"), (0.0025, "2.5e-3"), (0.5, "5e-1"), (1 / 3, "3.333e-1")],
)
def test_rates_are_written_one_way(rate: float, text: str):
    assert format_rate(rate) == text


NUMBER = (int, float)
POINT = {
    "tar": NUMBER,
    "low": NUMBER,
    "high": NUMBER,
    "threshold": NUMBER,
    "fmr": NUMBER,
    "fmr_low": (*NUMBER, type(None)),
    "fmr_high": (*NUMBER, type(None)),
    "tar_acquired": NUMBER,
    "mated": int,
    "non_mated": int,
    "supported": bool,
}
WHOLE = {
    "protocol": str,
    "model": str,
    "data": str,
    "tar": dict,
    "stated": dict,
    "eer": NUMBER,
    "comparisons": dict,
    "images": int,
    "people": int,
    "failures": dict,
    "settings": dict,
}


def test_the_document_has_the_documented_keys_in_their_order():
    document = evaluation().result.document()
    assert list(document) == list(WHOLE)
    for key, kind in WHOLE.items():
        assert isinstance(document[key], kind), key
    assert list(document["tar"]) == ["1e-2", "1e-3", "1e-4", "1e-5"]
    for point in [*document["tar"].values(), *document["stated"].values()]:
        assert list(point) == list(POINT)
        for key, kind in POINT.items():
            assert isinstance(point[key], kind), key
        assert 0 <= point["tar"] <= 1
        assert (point["fmr_low"] is None) == (point["fmr"] == 0)
    assert document["failures"] == {
        "count": 1,
        "rate": 1 / 120,
        "images": [{"image": "image005.png", "reason": "no face was found"}],
    }
    assert document["comparisons"] == {
        "mated": 180,
        "mated_failed": 3,
        "non_mated": 6844,
        "non_mated_failed": 116,
    }
