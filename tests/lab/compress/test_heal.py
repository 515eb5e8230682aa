"""Changed networks are fitted and trained back to what they were."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from cutting_kit import SIDE, likeness, lively, smooth_crops
from PIL import Image

from facekeep.errors import InputError
from facekeep.lab.compress.heal import heal
from facekeep.lab.compress.lowrank import low_rank
from facekeep.lab.compress.refit import refit
from facekeep.lab.compress.resize import resize
from facekeep.lab.nn import EdgeFace
from facekeep.lab.train import run as training
from facekeep.lab.train.fake_quantization import FakeQuantization, QuantizedLayer

OPTIONS: dict[str, Any] = {"steps": 12, "batch": 16, "lr": 2e-4, "threads": 1}


@pytest.fixture
def faces(tmp_path: Path) -> Path:
    """Crops of a few patterns."""
    folder = tmp_path / "faces"
    folder.mkdir()
    pixels = ((smooth_crops(64) + 1) * 127.5).permute(0, 2, 3, 1).numpy().astype(np.uint8)
    for number, each in enumerate(pixels):
        Image.fromarray(each).resize((112, 112)).save(folder / f"{number:03}.png")
    return folder


def damaged() -> tuple[EdgeFace, EdgeFace]:
    whole = lively()
    return low_rank(whole, gamma=0.45).model, whole


def test_refitting_brings_a_network_nearer_to_the_whole_one() -> None:
    cut, whole = damaged()
    before = likeness(cut, whole)
    refit(cut, whole, smooth_crops(128))
    assert likeness(cut, whole) > before + 0.02


def test_refitting_a_whole_network_changes_nothing() -> None:
    model, whole = lively(), lively()
    refit(model, whole, smooth_crops(64))
    assert likeness(model, whole) > 0.9999


def test_refitting_knows_which_blocks_are_left() -> None:
    model, whole = lively(), lively()
    del model.stages[2].blocks[1]
    before = likeness(model, whole)
    refit(model, whole, smooth_crops(128), kept=[[0, 1], [0, 1], [0, 2, 3, 4, 5], [0, 1]])
    assert likeness(model, whole) > before


def test_a_resized_network_takes_other_crops_and_leaves_the_old_one() -> None:
    model = lively()
    larger = resize(model, 48)
    assert (larger.input_size, model.input_size) == (48, SIDE)
    with torch.no_grad():
        assert larger(torch.zeros(1, 3, 48, 48)).shape == (1, 512)
        model(torch.zeros(1, 3, SIDE, SIDE))
    with pytest.raises(InputError, match="multiple of 16"):
        resize(model, 100)


def test_healing_brings_a_network_nearer_to_the_original(faces: Path, tmp_path: Path) -> None:
    cut, whole = damaged()
    refit(cut, whole, smooth_crops(64))
    before = likeness(cut, whole)
    found = heal(cut, whole, tmp_path / "healing", faces, **OPTIONS)
    assert (found.finished, found.steps) == (True, 12)
    assert likeness(found.model, whole) > before
    assert found.model.input_size == SIDE
    again = heal(cut, whole, tmp_path / "healing", faces, **OPTIONS)  # it is done
    assert likeness(again.model, found.model) > 0.99999
    with pytest.raises(InputError, match="holds the healing of another network"):
        heal(lively(seed=1), whole, tmp_path / "healing", faces, **OPTIONS)
    for other in ({"steps": 24}, {"batch": 8}, {"lr": 1e-4}):
        with pytest.raises(InputError, match=r"with steps 12, batch 16, lr 0\.0002; ask for"):
            heal(cut, whole, tmp_path / "healing", faces, **OPTIONS | other)


def test_a_stopped_healing_goes_on(
    faces: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cut, whole = damaged()
    run = training.EmbedderTrainer.run
    options = OPTIONS | {"rounding": FakeQuantization({"stem.0.weight": QuantizedLayer()})}
    monkeypatch.chdir(tmp_path)
    folder, data = Path("healing"), faces.relative_to(tmp_path)  # as people give them

    def stopped(trainer: training.EmbedderTrainer, advance: Any) -> bool:
        trainer._agree_to_stop = lambda stop: trainer.step == 5  # type: ignore[method-assign]
        return run(trainer, advance)

    with monkeypatch.context() as patch:
        patch.setattr(training.EmbedderTrainer, "run", stopped)
        found = heal(cut, whole, folder, data, **options)
    assert (found.finished, found.steps, found.model) == (False, 5, cut)
    found = heal(cut, whole, folder, data, **options)
    straight = heal(cut, whole, Path("straight"), data, **options)
    assert (found.finished, found.steps) == (True, 12)
    assert likeness(found.model, straight.model) > 0.99999


def test_the_original_sees_what_a_smaller_network_cannot(faces: Path, tmp_path: Path) -> None:
    whole = resize(lively(), 48)
    small = resize(whole, SIDE)
    heal(small, whole, tmp_path / "healing", faces, **OPTIONS | {"steps": 2})
    recipe = (tmp_path / "healing" / "run" / "recipe.toml").read_text()
    assert 'teacher_sees = "full"' in recipe
    assert "input_size = 32" in recipe
