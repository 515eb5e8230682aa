"""The orienter's network: how large it is, and that the ONNX file is the same."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime
import torch

from facekeep.lab.nn.orienter import FaceOrienter, export_orienter
from facekeep.lab.nn.refiner import SIDE


def test_it_is_small():
    assert sum(weight.numel() for weight in FaceOrienter().parameters()) == 47_234


def test_the_file_gives_what_the_network_gives(tmp_path: Path):
    torch.manual_seed(0)
    model = FaceOrienter().eval()
    with torch.no_grad():
        for name, statistics in model.named_buffers():
            if "running_var" in name:
                statistics.uniform_(0.5, 1.5)
            elif "running_mean" in name:
                statistics.normal_(std=0.1)
    crops = torch.rand(5, 3, SIDE, SIDE) * 2 - 1
    with torch.no_grad():
        expected = model(crops).numpy()
    export_orienter(model, tmp_path / "orienter.onnx")
    session = onnxruntime.InferenceSession(
        tmp_path / "orienter.onnx", providers=["CPUExecutionProvider"]
    )
    (found,) = session.run(["direction"], {"crop": crops.numpy()})
    np.testing.assert_allclose(found, expected, atol=1e-5)
    assert found.shape == (5, 2)
