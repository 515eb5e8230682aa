"""``facekeep evaluate liveness``, on real faces."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from liveness_kit import add_brightness

from facekeep import save_image

pytestmark = pytest.mark.slow


@pytest.fixture
def faces(tmp_path: Path, hopper, collins, ready_models: None) -> Path:
    """Bright living faces and darker attacks, and one without a face."""
    add_brightness("bright", tmp_path)
    folder = tmp_path / "faces"
    for name in ("live", "live/walk", "attack/print", "attack/screen/film"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    for number, photo in enumerate((hopper, collins)):
        lit = (photo.astype(float) * 0.3 + 165).astype(np.uint8)
        dim = (photo.astype(float) * 0.5 + 20).astype(np.uint8)
        save_image(folder / f"live/{number}.png", lit)
        save_image(folder / f"live/walk/{number}.png", lit)
        save_image(folder / f"attack/print/{number}.png", dim if number else lit)
        save_image(folder / f"attack/screen/film/{number}.png", dim)
    save_image(folder / "attack/screen/none.png", np.full((90, 120, 3), 128, np.uint8))
    return folder


def test_rates_come_by_species_with_counts_and_intervals(cli, faces: Path, tmp_path: Path):
    out = tmp_path / "rates.json"
    words = ("evaluate", "liveness", faces, "--model", "bright", "--threshold", 0.5)
    found = cli(*words, "--json", "--out", out).json
    assert json.loads(out.read_text()) == found
    assert list(found["apcer"].items()) == [("print", 0.5), ("screen", 0.0)]
    assert (found["bpcer"], found["threshold"], found["acer"]) == (0.0, 0.5, 0.25)
    assert found["counts"] == {"live": 4, "attack": {"print": 2, "screen": 3}}
    assert found["non_response"]["attack"]["screen"] == pytest.approx(1 / 3, abs=1e-6)
    low, high = found["intervals"]["apcer"]["print"]
    assert 0 < low < 0.5 < high < 1
    assert found["tracks"]["counts"] == {"live": 1, "attack": {"screen": 1}}
    assert found["tracks"]["apcer"] == {"screen": 0.0}


def test_people_see_the_worst_species_first(cli, faces: Path):
    outcome = cli("evaluate", "liveness", faces, "--model", "bright", "--bpcer", 0)
    assert outcome.status == 0
    lines = outcome.out.splitlines()
    assert lines[0] == "over frames: threshold 1.000, ACER 25.00 %"
    rows = [line for line in lines if line.startswith(("attack: ", "live "))]
    assert rows[0].split()[1] == "print"
    assert any(line.startswith("over tracks") for line in lines)


def test_a_folder_without_attacks_is_refused(cli, faces: Path):
    outcome = cli("evaluate", "liveness", faces / "live", "--model", "bright")
    assert outcome.status == 2
    assert "attack/<species>/" in outcome.err


def test_a_model_for_something_else_is_refused(cli, faces: Path):
    outcome = cli("evaluate", "liveness", faces, "--model", "sface")
    assert outcome.status == 2
    assert "not for liveness" in outcome.err
