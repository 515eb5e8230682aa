"""``facekeep train detector`` as its users meet it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

SMALL = ("--steps", "2", "--batch", "2", "--side", "96", "--holdout", "1", "--threads", "1")


@pytest.mark.slow
def test_a_run_tells_what_it_made(cli, annotated_photos: Path, tmp_path: Path):
    done = cli(
        "train", "detector", "--data", annotated_photos, "--out", tmp_path / "run", *SMALL, "--json"
    )
    assert done.status == 0, done.err
    summary = json.loads(done.out)
    assert summary["finished"] is True
    assert summary["params"] == 53_104
    assert (tmp_path / "run" / summary["files"]["onnx"]).is_file()
    assert summary["recipe"]["data"] == str(annotated_photos)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((), "name it with --data"),
        (("--data", "nowhere", "--side", "100"), "multiple of 32"),
        (("--resume",), "no run in"),
        (("--resume", "--steps", "9"), "goes on with the options it began with"),
        (("--data", "nowhere.tar"), "nowhere.tar"),
    ],
)
def test_wrong_use_is_one_line_and_makes_nothing(cli, tmp_path: Path, words, message: str):
    done = cli("train", "detector", "--out", tmp_path / "run", *words)
    assert done.status == 2
    assert message in done.err
    assert len(done.err.strip().splitlines()) == 1
    assert not (tmp_path / "run").exists()
