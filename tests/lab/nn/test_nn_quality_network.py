"""The quality network: what is exported says what the network says, scaling included."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from facekeep.lab.nn.quality_network import FaceQualityNetwork, export_quality_network
from facekeep.runtime import RuntimeOptions, open_session


def test_the_exported_quality_network_answers_as_the_network(tmp_path: Path) -> None:
    torch.manual_seed(0)
    evidence = torch.randn(50, 134) * torch.linspace(0.1, 30, 134) + torch.linspace(-5, 20, 134)
    network = FaceQualityNetwork(134)
    network.scale_to(evidence)
    network.eval()
    assert sum(each.numel() for each in network.parameters()) == 10_753
    export_quality_network(network, tmp_path / "quality.onnx")
    session = open_session(tmp_path / "quality.onnx", options=RuntimeOptions(threads=1))
    (found,) = session.run({"evidence": evidence.numpy()})
    expected = network(evidence).detach().numpy()
    np.testing.assert_allclose(found[:, 0], expected, atol=1e-4)
    assert np.ptp(expected) > 1e-3
    session.close()
