"""The detector's loss asks the right cells for the right things."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from facekeep.lab.train.detector.labels import FaceLabels, Known
from facekeep.lab.train.detector.loss import detection_loss

SIDE = 64
CELLS = (64, 16, 4)
BOX = np.array([[12, 16, 44, 52]], np.float32)
POINTS = np.array([[[20, 28], [36, 28], [28, 36], [22, 44], [34, 44]]], np.float32)


def one(known: int = Known.ANNOTATED) -> FaceLabels:
    return FaceLabels(BOX, POINTS, np.array([known]))


def truth(surely: float = 12.0) -> list[Tensor]:
    """Answers that find the face of `one` in the cell at its middle, and nothing elsewhere."""
    rows = [torch.zeros(1, cells, 16) for cells in CELLS]
    for row in rows:
        row[..., 1] = -surely
        row[..., 4:6] = -9.0  # boxes of no size
    column, line, stride = 3, 4, 8
    cell = rows[0][0, line * 8 + column]
    cell[:2] = surely
    low, high = torch.from_numpy(BOX[0]).split(2)
    place = torch.tensor([column, line])
    cell[2:4] = (low + high) / 2 / stride - place
    cell[4:6] = ((high - low) / stride).log()
    cell[6:] = (torch.from_numpy(POINTS[0]) / stride - place).flatten()
    return rows


def test_true_answers_cost_nothing():
    assert detection_loss(truth(), [one()], SIDE).tolist() == pytest.approx([0, 0, 0], abs=1e-3)


@pytest.mark.parametrize(("number", "part"), [(2, 1), (4, 1), (6, 2), (15, 2)])
def test_a_wrong_number_costs_its_part_alone(number: int, part: int):
    rows = truth()
    rows[0][0, 4 * 8 + 3, number] += 0.2
    losses = detection_loss(rows, [one()], SIDE).tolist()
    assert losses[part] > 0.05
    assert losses[3 - part] == pytest.approx(0, abs=1e-4)


def test_landmarks_are_measured_by_the_size_of_the_face():
    rows = truth()
    rows[0][0, 4 * 8 + 3, 6:] += 0.4  # of 8 pixels
    size = float(np.sqrt(32 * 36))
    wanted = 40 * (0.4 * 8 / size - 0.005)
    assert float(detection_loss(rows, [one()], SIDE)[2]) == pytest.approx(wanted, rel=1e-3)


def test_what_a_teacher_says_of_landmarks_counts_less():
    rows = truth()
    rows[0][0, 4 * 8 + 3, 6:] += 0.4
    said, taught = (detection_loss(rows, [one(each)], SIDE)[2] for each in (0, Known.TAUGHT))
    assert float(taught) == pytest.approx(0.5 * float(said), rel=1e-4)


def test_a_missed_face_and_an_imagined_one_cost_score():
    quiet = truth()
    quiet[0][0, 4 * 8 + 3, 1] = -12
    assert float(detection_loss(quiet, [one()], SIDE)[0]) > 5
    nobody = FaceLabels.join([])
    assert float(detection_loss(truth(), [nobody], SIDE)[0]) > 5
    assert detection_loss(truth(), [nobody], SIDE)[1:].tolist() == [0, 0]


@pytest.mark.slow
def test_nothing_is_asked_where_nobody_is_sure():
    rows = [row.requires_grad_() for row in truth(surely=1.0)]
    detection_loss(rows, [one(Known.UNSURE)], SIDE).sum().backward()
    asked = rows[0].grad[0, :, 1].reshape(8, 8) != 0
    inside = torch.zeros(8, 8, dtype=torch.bool)
    inside[2:7, 1:6] = True  # cells whose middles lie in the box
    torch.testing.assert_close(asked, ~inside)


def test_every_face_finds_a_cell_however_small_or_close():
    boxes = np.array([[9, 9, 13, 13], [40, 40, 50, 52], [44, 42, 54, 54]], np.float32)
    points = np.repeat(((boxes[:, None, :2] + boxes[:, None, 2:]) / 2), 5, axis=1)
    rows = [torch.zeros(1, cells, 16, requires_grad=True) for cells in CELLS]
    detection_loss(rows, [FaceLabels(boxes, points, np.zeros(3, np.int64))], SIDE)[1].backward()
    cells = torch.cat([row.grad[0, :, 2:6].abs().sum(dim=1) for row in rows])
    assert int((cells > 0).sum()) >= 3
