"""What a detector's answers are worth: which cells are to find which face, and how well they do.

Cells are given to faces as in YOLOX (Ge et al. 2021) and YuNet: near the middle of a face those
whose answer fits it best, as many as fit well.
"""

from __future__ import annotations

from functools import cache
from typing import Final, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from facekeep.lab.nn.detector import STRIDES
from facekeep.lab.train.detector.labels import FaceLabels, Known

__all__ = ["PARTS", "detection_loss"]

PARTS: Final = ("loss_score", "loss_box", "loss_landmarks")
"""What the loss is the sum of."""

_BOX_WEIGHT: Final = 5.0
_LANDMARKS_WEIGHT: Final = 40.0
_TAUGHT_LANDMARKS: Final = 0.5
"""The weight of a landmark that a teacher gave, beside one that a person gave."""

_REACH: Final = 2.5  # strides from the middle of a face
_BEST: Final = 10
_FAR: Final = 1e4


class Given(NamedTuple):
    """Which cells find which face.

    Attributes:
        cells: int64 ``(k,)``.
        faces: int64 ``(k,)``.
        fits: ``(k,)``, intersection over union of answer and face.
        spared: bool ``(cells,)``, cells of which nothing is asked.
    """

    cells: Tensor
    faces: Tensor
    fits: Tensor
    spared: Tensor


def detection_loss(rows: list[Tensor], faces: list[FaceLabels], side: int) -> Tensor:
    """Weigh the answers to a batch of square images.

    Args:
        rows: Of each stride ``(n, cells, 16)``, as `nn.DetectorNetwork` gives them.
        faces: The faces of each image.
        side: Of the images, in pixels.

    Returns:
        ``(3,)``, the losses that `PARTS` names, per cell that finds a face.
    """
    answers = torch.cat(rows, dim=1)
    grid = _grid(side).to(answers.device)
    totals, found = answers.new_zeros(3), 0
    for each, known in zip(answers, faces, strict=True):
        losses, count = _image_loss(each, grid, known)
        totals = totals + losses
        found += count
    return totals / max(found, 1)


@cache
def _grid(side: int) -> Tensor:
    """Column, row and stride of every cell, ``(cells, 3)``."""
    parts = []
    for stride in STRIDES:
        count = side // stride
        row, column = torch.meshgrid(torch.arange(count), torch.arange(count), indexing="ij")
        strides = torch.full((count * count,), stride)
        parts.append(torch.stack([column.flatten(), row.flatten(), strides], dim=1))
    return torch.cat(parts).float()


def _image_loss(answers: Tensor, grid: Tensor, faces: FaceLabels) -> tuple[Tensor, int]:
    place, stride = grid[:, :2], grid[:, 2:]
    middle = (answers[:, 2:4] + place) * stride
    half = answers[:, 4:6].clamp(max=8).exp() * stride / 2
    boxes = torch.cat([middle - half, middle + half], dim=1)
    sure = faces.select(faces.known != Known.UNSURE)
    unsure = torch.from_numpy(faces.boxes[faces.known == Known.UNSURE]).to(boxes)
    wanted = torch.from_numpy(sure.boxes).to(boxes)
    given = _give(answers.detach(), boxes.detach(), wanted, unsure, grid)
    chance = torch.zeros_like(answers[:, 1])
    chance[given.cells] = 1.0
    asked = ~given.spared
    bce = functional.binary_cross_entropy_with_logits
    score = bce(answers[asked, 1], chance[asked], reduction="sum")
    score = score + bce(answers[given.cells, 0], given.fits, reduction="sum")
    box = _box_loss(boxes[given.cells], wanted[given.faces])
    points = (answers[given.cells, 6:].reshape(-1, 5, 2) + place[given.cells, None]) * (
        stride[given.cells, None]
    )
    weight = torch.from_numpy(sure.known == Known.ANNOTATED).to(boxes)
    weight = weight * (1 - _TAUGHT_LANDMARKS) + _TAUGHT_LANDMARKS
    landmarks = _landmark_loss(points, torch.from_numpy(sure.landmarks).to(boxes), wanted, given)
    losses = [score, _BOX_WEIGHT * box, _LANDMARKS_WEIGHT * (landmarks * weight[given.faces]).sum()]
    return torch.stack(losses), len(given.cells)


@torch.no_grad()
def _give(answers: Tensor, boxes: Tensor, wanted: Tensor, unsure: Tensor, grid: Tensor) -> Given:
    centers = (grid[:, :2] + 0.5) * grid[:, 2:]
    spared = _inside(centers, unsure).any(dim=1)
    if not len(wanted):
        nothing = torch.zeros(0, dtype=torch.int64, device=boxes.device)
        return Given(nothing, nothing, boxes.new_zeros(0), spared)
    fits = _overlap(boxes, wanted)
    score = answers[:, :2].sigmoid().prod(dim=1, keepdim=True).sqrt()
    cost = -score.clamp(min=1e-6).log() - 3 * fits.clamp(min=1e-6).log()
    cost = cost + _FAR * ~_near(centers, grid[:, 2:], wanted)
    counts = fits.topk(min(_BEST, len(fits)), dim=0).values.sum(dim=0).int().clamp(min=1)
    order = cost.argsort(dim=0).argsort(dim=0)
    taken = (order < counts) & (cost < _FAR)
    cost = cost.where(taken, torch.inf)
    cells = taken.any(dim=1).nonzero()[:, 0]
    faces = cost[cells].argmin(dim=1)
    spared[cells] = False
    return Given(cells, faces, fits[cells, faces], spared)


def _near(centers: Tensor, strides: Tensor, boxes: Tensor) -> Tensor:
    """Tell which cells ``(c,)`` may find which face ``(f,)``: those near its middle, inside it."""
    middle, half = (boxes[:, :2] + boxes[:, 2:]) / 2, (boxes[:, 2:] - boxes[:, :2]) / 2
    strides = strides[:, None]
    reach = half.maximum(0.6 * strides).minimum(_REACH * strides)
    return ((centers[:, None] - middle).abs() < reach).all(dim=2)


def _inside(centers: Tensor, boxes: Tensor) -> Tensor:
    after, before = centers[:, None] >= boxes[:, :2], centers[:, None] <= boxes[:, 2:]
    return (after & before).all(dim=2)


def _overlap(boxes: Tensor, others: Tensor) -> Tensor:
    low = boxes[:, None, :2].maximum(others[:, :2])
    high = boxes[:, None, 2:].minimum(others[:, 2:])
    shared = (high - low).clamp(min=0).prod(dim=2)
    areas, others_areas = ((each[:, 2:] - each[:, :2]).prod(dim=1) for each in (boxes, others))
    return shared / (areas[:, None] + others_areas - shared + 1e-9)


def _box_loss(boxes: Tensor, wanted: Tensor) -> Tensor:
    """One less the generalized intersection over union (Rezatofighi et al. 2019), summed."""
    low, high = boxes[:, :2].maximum(wanted[:, :2]), boxes[:, 2:].minimum(wanted[:, 2:])
    shared = (high - low).clamp(min=0).prod(dim=1)
    hull = (boxes[:, 2:].maximum(wanted[:, 2:]) - boxes[:, :2].minimum(wanted[:, :2])).prod(dim=1)
    areas = sum((each[:, 2:] - each[:, :2]).prod(dim=1) for each in (boxes, wanted))
    union = areas - shared + 1e-9
    return (1 - shared / union + (hull - union) / (hull + 1e-9)).sum()


def _landmark_loss(points: Tensor, truth: Tensor, wanted: Tensor, given: Given) -> Tensor:
    """Mean distance along the axes in face sizes, ``(k,)``, below a hundredth squared."""
    sizes = (wanted[:, 2:] - wanted[:, :2]).prod(dim=1).sqrt()[given.faces]
    error = (points - truth[given.faces]) / sizes[:, None, None]
    nought = torch.zeros_like(error)
    return functional.smooth_l1_loss(error, nought, beta=0.01, reduction="none").mean(dim=(1, 2))
