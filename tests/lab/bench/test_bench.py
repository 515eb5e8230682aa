"""Every stage of the benchmark measures what it says; how fast anything is, is not tested."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from facekeep.errors import InputError
from facekeep.lab.bench import stages as bench
from facekeep.lab.bench.stages import STAGES, run_bench

pytestmark = pytest.mark.usefixtures("ready_models")


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Small galleries and few starts: the form of the results does not depend on them."""
    monkeypatch.setattr(bench, "_GALLERIES", (100, 300))
    monkeypatch.setattr(bench, "_STARTS", 1)
    monkeypatch.setattr(bench, "_WARM_UP", 0)


@pytest.mark.slow
def test_every_stage_is_measured(hopper: NDArray[np.uint8]) -> None:
    results = {result.stage: result for result in run_bench(hopper, repeats=3)}
    assert list(results) == [
        "decode 640x480",
        "decode 12 MP",
        "detect 320x256",
        "detect 640x480",
        "refine a face",
        "align a face",
        "align + embed (sface)",
        "identify among 100 people",
        "identify among 300 people",
        "import facekeep",
        "identify, cold",
    ]
    for result in results.values():
        assert 0 < result.median_ms <= result.p95_ms
    with_network = {stage for stage, result in results.items() if result.bare_ms}
    assert with_network == {"detect 320x256", "detect 640x480", "align + embed (sface)"}
    assert all(results[stage].ratio for stage in with_network)
    peak = results["identify, cold"].rss_mb
    assert peak is None or 50 < peak < 1000
    assert results["decode 12 MP"].repeats == 3


def test_a_made_up_picture_serves_where_there_is_no_photo() -> None:
    (small, large) = run_bench(None, stages=("detect",), repeats=3)
    assert (small.stage, large.stage) == ("detect 320x256", "detect 640x480")


def test_an_unknown_stage() -> None:
    assert "embed" in STAGES
    with pytest.raises(InputError, match="unknown stage 'sleep'"):
        list(run_bench(None, stages=("sleep",)))
