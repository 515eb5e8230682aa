"""``bench``: the form of its answers; never the times."""

from __future__ import annotations

import pytest

pytestmark = pytest.mark.usefixtures("photo_folder")

STAGE = {"stage", "median_ms", "p95_ms", "repeats", "bare_ms", "rss_mb", "ratio"}


@pytest.mark.slow
def test_bench_as_json(cli, monkeypatch):
    for name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS"):
        monkeypatch.setenv(name, "1")  # the command sets them; the test sets them back
    outcome = cli("bench", "align", "embed", "--repeats", "3", "--threads", "1", "--json")
    assert (outcome.status, outcome.err) == (0, "")
    document = outcome.json
    assert list(document) == ["threads", "machine", "stages"]
    assert document["threads"] == 1
    assert "cores" in document["machine"]
    align, embed = document["stages"]
    assert set(align) == set(embed) == STAGE
    assert (align["stage"], align["bare_ms"], align["ratio"]) == ("align a face", None, None)
    assert embed["stage"] == "align + embed (sface)"
    assert embed["ratio"] == pytest.approx(embed["median_ms"] / embed["bare_ms"], rel=1e-3)
    for stage in document["stages"]:
        assert stage["repeats"] == 3
        assert 0 < stage["median_ms"] <= stage["p95_ms"]


@pytest.mark.slow
def test_a_command_that_fails_is_not_timed(cli, monkeypatch):
    monkeypatch.setenv("FACEKEEP_EMBEDDER", "nobody")
    outcome = cli("bench", "start", "--repeats", "3")
    assert (outcome.status, outcome.out) == (2, "")
    assert "failed with status 2: facekeep: error: no model is called 'nobody'" in outcome.err


def test_bench_for_people(cli):
    outcome = cli("bench", "align", "--repeats", "3", "--image", "hopper.jpg")
    assert outcome.status == 0
    header, row, end = outcome.out.splitlines()
    assert header.split()[:3] == ["stage", "median", "ms"]
    assert header.split() == ["stage", "median", "ms", "p95", "ms"], "no column is empty"
    assert row.startswith("align a face")
    assert end.startswith("threads: all; ")


@pytest.mark.slow
def test_bench_of_one_network(cli, monkeypatch):
    for name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS"):
        monkeypatch.setenv(name, "1")
    outcome = cli(
        "bench", "embed", "--model", "sface", "--repeats", "3", "--threads", "1", "--json"
    )
    assert (outcome.status, outcome.err) == (0, "")
    document = outcome.json
    assert (document["model"], document["threads"], document["repeats"]) == ("sface", 1, 3)
    assert 0 < document["median_ms"] <= document["p95_ms"]
    assert (document["plain_export_ms"], document["ratio"]) == (None, None)
    assert document["plain_export"].startswith("model 'sface' is no EdgeFace that facekeep wrote")
    outcome = cli("bench", "embed", "--model", "sface", "--repeats", "3")
    assert outcome.out.splitlines()[1].startswith("sface")
    assert outcome.out.splitlines()[2].startswith("plain export: model 'sface' is no EdgeFace")


@pytest.mark.parametrize("words", [["detect"], [], ["embed", "--image", "hopper.jpg"]])
def test_one_network_is_timed_alone(cli, words):
    outcome = cli("bench", *words, "--model", "sface")
    assert (outcome.status, outcome.out) == (2, "")
    assert "run: facekeep bench embed --model NAME" in outcome.err
