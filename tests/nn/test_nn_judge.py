"""The network of a judge: what is exported says what the network says, scaling included."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from facekeep.nn.judge import FaceJudge, export_judge
from facekeep.runtime import open_session


def test_the_exported_judge_answers_as_the_network(tmp_path: Path) -> None:
    torch.manual_seed(0)
    evidence = torch.randn(50, 134) * torch.linspace(0.1, 30, 134) + torch.linspace(-5, 20, 134)
    judge = FaceJudge(134)
    judge.scale_to(evidence)
    judge.eval()
    assert sum(each.numel() for each in judge.parameters()) == 10_753
    export_judge(judge, tmp_path / "judge.onnx")
    session = open_session(tmp_path / "judge.onnx", threads=1)
    (found,) = session.run({"evidence": evidence.numpy()})
    expected = judge(evidence).detach().numpy()
    np.testing.assert_allclose(found[:, 0], expected, atol=1e-4)
    assert np.ptp(expected) > 1e-3
    session.close()
