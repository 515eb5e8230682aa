"""What the small networks' training shares: exact resumes, also of runs begun by older versions."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from train_kit import losses as log_rows

from facekeep.errors import InputError, ModelCorrupt
from facekeep.lab.train.refiner.recipe import RefinerRecipe
from facekeep.lab.train.small_run import SmallTrainer, hold_out
from facekeep.lab.train.training_state import load_training_state, save_training_state

pytestmark = pytest.mark.slow

RECIPE = RefinerRecipe(data=Path("photos"), steps=90, batch=4)  # a row of the log every other step


class LineTrainer(SmallTrainer[nn.Linear, RefinerRecipe]):
    """Fits a line, by a loss of two parts."""

    parts = ("loss_slope", "loss_offset")
    measured = ("error",)
    weight_decay = 0.0

    @classmethod
    def prepare(cls, *_: Any) -> Any:
        raise NotImplementedError

    @classmethod
    def describe(cls, recipe: RefinerRecipe) -> dict[str, Any]:
        raise NotImplementedError

    @staticmethod
    def export(model: nn.Linear, path: Path) -> None:
        raise NotImplementedError

    def losses(self, step: int) -> Tensor:
        return torch.cat([(self.model.weight[0] - step).square(), (self.model.bias + 1).square()])

    def measure(self) -> dict[str, float | None]:
        return {"error": float(self.averaged.bias.detach())}


def make_trainer(folder: Path) -> LineTrainer:
    folder.mkdir(exist_ok=True)
    torch.manual_seed(3)
    return LineTrainer(nn.Linear(1, 1), folder, RECIPE)


def stop_after_three(folder: Path) -> None:
    seen: list[int] = []

    def advance(images: int) -> None:
        seen.append(images)
        if len(seen) == 3:
            signal.raise_signal(signal.SIGINT)

    assert not make_trainer(folder).run(advance)


def test_a_checkpoint_of_an_older_version_goes_on_to_the_same_end(tmp_path: Path) -> None:
    straight = make_trainer(tmp_path / "straight")
    assert straight.run()
    stop_after_three(tmp_path / "run")
    path = tmp_path / "run" / "checkpoint.pt"
    state = load_training_state(path)
    rows = [row[1:] for row in state.pop("window")]  # which had no sum of the parts
    assert len(rows) == 1
    save_training_state(path, state | {"rows": rows, "since": 0.0})
    resumed = make_trainer(tmp_path / "run")
    assert resumed.resume()
    assert resumed.images_left == 87 * 4
    assert resumed.run()
    assert torch.equal(resumed.averaged.weight, straight.averaged.weight)
    logs = [log_rows(tmp_path / name / "log.csv") for name in ("run", "straight")]
    assert logs[0] == logs[1]
    assert logs[0][0] == ["step", "loss", "loss_slope", "loss_offset", "error", "lr"]


def test_a_checkpoint_of_another_kind_is_refused(tmp_path: Path) -> None:
    save_training_state(tmp_path / "checkpoint.pt", {"version": 2})
    with pytest.raises(ModelCorrupt, match="another version of facekeep"):
        make_trainer(tmp_path).resume()


def test_who_is_held_out_is_drawn_and_nobody_is_on_both_sides() -> None:
    learned, held_out = hold_out(9, 3, np.random.default_rng(1))
    assert (len(learned), len(held_out)) == (6, 3)
    assert sorted([*learned, *held_out]) == list(range(9))
    with pytest.raises(InputError, match="from 1 to 8, as 9 faces were found; got 9"):
        hold_out(9, 9, np.random.default_rng(1))
