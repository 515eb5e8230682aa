"""The log of a run, the losses that go into it, and the picture that comes out of it."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from facekeep.errors import ModelError
from facekeep.lab.train.curves import draw_curves
from facekeep.lab.train.log import COLUMNS, Log, LossMeans, read_log


def rows(log: Path) -> list[str]:
    return log.read_text().splitlines()


def test_a_log_has_headers_and_reads_back(tmp_path: Path):
    path = tmp_path / "log.csv"
    with Log(path) as log:
        log.write({"step": 10, "epoch": 0.5, "loss": 1 / 3})
        log.write({"step": 20, "loss": 2.0, "tar_fmr_1e-2": 0.25})
    assert rows(path)[0] == ",".join(COLUMNS)
    assert rows(path)[1].startswith("10,0.5,0.3333333,")
    columns = read_log(path)
    assert columns["step"] == [10.0, 20.0]
    assert columns["tar_fmr_1e-2"] == [None, 0.25]


def test_what_was_written_behind_the_mark_is_taken_off(tmp_path: Path):
    path = tmp_path / "log.csv"
    with Log(path) as log:
        log.write({"step": 10})
        mark = log.mark()
        log.write({"step": 20, "loss": 7.0})
    before = rows(path)
    with Log(path, mark) as log:
        log.write({"step": 20, "loss": 8.0})
    assert rows(path)[:2] == before[:2]
    assert read_log(path)["loss"] == [None, 8.0]


def test_a_run_from_the_beginning_has_its_own_log(tmp_path: Path):
    path = tmp_path / "log.csv"
    path.write_text("something else\n")
    Log(path).close()
    assert rows(path) == [",".join(COLUMNS)]


def test_a_window_gives_means_and_begins_anew():
    window = LossMeans(("loss", "grad_norm"))
    window.add(torch.tensor([1.0, 4.0]), 8, 0.5)
    window.add(torch.tensor([3.0, 8.0]), 8, 0.5)
    assert window.close(2) == {"loss": 2.0, "grad_norm": 6.0, "images_per_second": 16.0}
    window.add(torch.tensor([5.0, 1.0]), 8, 2.0)
    assert window.close(3) == {"loss": 5.0, "grad_norm": 1.0, "images_per_second": 4.0}


def test_a_restored_window_gives_the_same_means():
    one, other = LossMeans(("loss",)), LossMeans(("loss",))
    for value in (0.1, 0.7):
        one.add(torch.tensor([value]), 1, 1.0)
    other.restore(one.rows(2))
    for window in (one, other):
        window.add(torch.tensor([0.3]), 1, 1.0)
    assert one.close(3)["loss"] == other.close(3)["loss"]


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
@pytest.mark.parametrize("place", [0, 1])
def test_a_loss_that_is_no_number_names_its_step(bad: float, place: int):
    window = LossMeans(("loss", "grad_norm"))
    for step in range(6, 10):
        row = [1.0, 1.0]
        if step == 8:
            row[place] = bad
        window.add(torch.tensor(row), 4, 0.1)
    with pytest.raises(ModelError, match="no longer a finite number at step 8; the last"):
        window.rows(9)


def test_single_overflows_are_forgiven_where_their_steps_are_left_out():
    window = LossMeans(("loss", "grad_norm"), skips_overflows=True)
    for norm in (float("inf"), 2.0, 4.0):
        window.add(torch.tensor([1.0, norm]), 4, 0.1)
    assert window.close(3)["grad_norm"] == 3.0


def test_overflows_without_end_are_not_forgiven():
    window = LossMeans(("loss",), skips_overflows=True)
    for _ in range(10):
        window.add(torch.tensor([float("nan")]), 4, 0.1)
    with pytest.raises(ModelError, match="at step 11"):
        window.close(20)


def picture(encoded: bytes) -> np.ndarray:
    with Image.open(io.BytesIO(encoded)) as image:
        return np.asarray(image.convert("RGB"))


@pytest.mark.slow
def test_curves_are_drawn_with_and_without_a_hold_out(tmp_path: Path):
    path = tmp_path / "log.csv"
    with Log(path) as log:
        for step in range(10, 60, 10):
            log.write({"step": step, "loss": 9 / step, "loss_head": 9 / step, "lr": 1e-3})
    plain = draw_curves(path)
    assert draw_curves(path) == plain, "the same log gives the same bytes"
    with Log(path, path.stat().st_size) as log:
        log.write({"step": 60, "loss": 0.1, "lr": 1e-4, "tar_fmr_1e-2": 0.5, "tar_fmr_1e-3": 0.4})
    full = draw_curves(path)
    assert picture(plain).shape == picture(full).shape
    assert (picture(plain) != picture(full)).any()


@pytest.mark.slow
def test_a_log_of_one_row_is_drawn(tmp_path: Path):
    path = tmp_path / "log.csv"
    with Log(path) as log:
        log.write({"step": 1, "loss": 3.0, "lr": 1e-3})
    blue = (np.abs(picture(draw_curves(path)).astype(int) - [0x00, 0x72, 0xB2]) < 30).all(axis=2)
    assert blue.any()
