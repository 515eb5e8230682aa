"""Zeros in matrices: as many as asked for, where they matter least, made up for by the rest."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from cutting_kit import likeness, lively, smooth_crops
from torch import nn

from facekeep.lab.compress.prune import sparsify
from facekeep.lab.nn import EdgeFace, export_onnx
from facekeep.models.sparse import drop_zeros


def matrices(model: EdgeFace) -> list[torch.Tensor]:
    return [each.weight for each in model.modules() if isinstance(each, nn.Linear)]


@pytest.mark.slow
def test_a_share_is_reached_in_every_matrix_and_the_least_go() -> None:
    model = lively()
    found = sparsify(model, 0.5)
    assert abs(found.zeros - 0.5) < 0.01
    for before, after in zip(matrices(model), matrices(found.model), strict=True):
        assert abs(float((after == 0).float().mean()) - 0.5) < 0.01
        assert before[after == 0].abs().max() <= before[after != 0].abs().min()
        assert torch.equal(after[after != 0], before[after != 0])
    assert all((each == 0).float().mean() < 0.01 for each in matrices(model))


@pytest.mark.slow
def test_two_of_every_four_are_left() -> None:
    found = sparsify(lively(), "2:4", crops=smooth_crops(48))
    assert abs(found.zeros - 0.5) < 0.01
    for weight in matrices(found.model):
        kept = (weight.view(len(weight), -1, 4) != 0).sum(2)
        assert kept.max() <= 2


def test_a_matrix_that_does_not_divide_by_four_is_left() -> None:
    model = lively(gamma=0.6)  # ranks of 14, 28, 52 and 100
    found = sparsify(model, "2:4").model
    thin_layer = found.stages[0].blocks[0].mlp.fc1
    assert (thin_layer.linear2.weight != 0).all()
    assert (thin_layer.linear1.weight == 0).float().mean() == 0.5


@pytest.mark.slow
@pytest.mark.parametrize("share", [0.6, "2:4"])
def test_with_faces_the_network_stays_nearer(share: Any) -> None:
    model = lively()
    blind, seen = (sparsify(model, share, crops=each) for each in (None, smooth_crops(96)))
    assert abs(blind.zeros - seen.zeros) < 0.01
    assert likeness(seen.model, model) > likeness(blind.model, model)


def test_files_shrink(tmp_path: Path) -> None:
    found = sparsify(lively(), 0.8).model
    export_onnx(found, tmp_path / "sparse.onnx")
    content = (tmp_path / "sparse.onnx").read_bytes()
    zeros = sum(int((each == 0).sum()) for each in matrices(found))
    assert len(content) - len(drop_zeros(content)) > 3.5 * zeros
