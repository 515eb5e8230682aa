"""Statistics of activations, and fits of cut networks to whole ones."""

from __future__ import annotations

import pytest
import torch
from cutting_kit import likeness, lively, smooth_crops

from facekeep.lab.compress.lowrank import factorize_layers
from facekeep.lab.compress.statistics import collect_statistics, reconstruct


@pytest.mark.slow
def test_reconstruction_brings_a_network_nearer_to_the_whole_one() -> None:
    whole = lively()
    cut = factorize_layers(whole, gamma=0.45).model
    before = likeness(cut, whole)
    reconstruct(cut, whole, smooth_crops(128))
    assert likeness(cut, whole) > before + 0.02


@pytest.mark.slow
def test_reconstruction_of_a_whole_network_changes_nothing() -> None:
    model, whole = lively(), lively()
    reconstruct(model, whole, smooth_crops(64))
    assert likeness(model, whole) > 0.9999


@pytest.mark.slow
def test_reconstruction_knows_which_blocks_are_left() -> None:
    model, whole = lively(), lively()
    del model.stages[2].blocks[1]
    before = likeness(model, whole)
    reconstruct(model, whole, smooth_crops(128), kept=[[0, 1], [0, 1], [0, 2, 3, 4, 5], [0, 1]])
    assert likeness(model, whole) > before


def test_statistics_are_those_of_the_inputs() -> None:
    model, crops = lively(), smooth_crops(40)
    rows: list[torch.Tensor] = []
    layer = model.stages[3].blocks[0].mlp.fc2
    layer.register_forward_pre_hook(lambda module, inputs: rows.append(inputs[0].flatten(0, -2)))
    with torch.no_grad():
        model(crops)
    seen = torch.cat(rows).double()
    found = collect_statistics(model, crops)["stages.3.blocks.0.mlp.fc2"]
    expected = torch.cov(seen.T, correction=0)
    assert torch.allclose(found.mean, seen.mean(0), atol=1e-6)
    ridge = found.covariance - expected
    assert (ridge - torch.diag(ridge.diagonal())).abs().max() < 1e-5
    assert found.positions == 1
