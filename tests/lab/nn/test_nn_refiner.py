"""The landmark refiner: how large it is, where it begins, and that the ONNX file is the same."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch

from facekeep.lab.nn.refiner import SIDE, LandmarkRefiner, export_refiner
from facekeep.pipeline.refine import upright_landmarks


@pytest.fixture(scope="module")
def lively() -> LandmarkRefiner:
    """A refiner whose every number is far from its start."""
    torch.manual_seed(0)
    model = LandmarkRefiner().eval()
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(torch.randn_like(weight), alpha=0.1)
        for name, statistics in model.named_buffers():
            if "running_var" in name:
                statistics.uniform_(0.5, 1.5)
            elif "running_mean" in name:
                statistics.normal_(std=0.1)
    return model


def test_it_is_small():
    assert sum(weight.numel() for weight in LandmarkRefiner().parameters()) == 94_602


def test_it_begins_at_the_pose():
    with torch.no_grad():
        placed = LandmarkRefiner()(torch.rand(2, 3, SIDE, SIDE))
    np.testing.assert_allclose(placed * SIDE, [upright_landmarks(SIDE)] * 2, rtol=1e-5)


def test_the_file_gives_what_the_network_gives(lively: LandmarkRefiner, tmp_path: Path):
    export_refiner(lively, tmp_path / "one.onnx")
    crops = torch.rand(3, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(1)) * 2 - 1
    session = onnxruntime.InferenceSession(tmp_path / "one.onnx")
    (found,) = session.run(["landmarks"], {"crop": crops.numpy()})
    with torch.no_grad():
        expected = lively(crops).numpy()
    assert np.ptp(expected, axis=0).min() > 1e-3  # each number depends on the crop
    np.testing.assert_allclose(found, expected, atol=1e-4)


def test_equal_weights_give_equal_bytes(lively: LandmarkRefiner, tmp_path: Path):
    for name in ("one.onnx", "two.onnx"):
        export_refiner(lively, tmp_path / name)
    content = (tmp_path / "one.onnx").read_bytes()
    assert content == (tmp_path / "two.onnx").read_bytes()
    assert b"BatchNormalization" not in content
