"""Layers of low rank: the best of their rank, on weights or on faces, and never dearer."""

from __future__ import annotations

import pytest
import torch
from cutting_kit import likeness, lively, smooth_crops
from torch import nn

from facekeep.errors import InputError
from facekeep.lab.compress.lowrank import factorize, factorize_layers
from facekeep.lab.nn import cost, network_of
from facekeep.lab.nn.lora import LoRaLin, rank_of
from facekeep.lab.nn.shapes import linear_layers


@pytest.mark.slow
def test_a_gamma_gives_the_published_form() -> None:
    model = lively()
    before = model.state_dict()
    found = factorize_layers(model, gamma=0.4)
    for name, layer in linear_layers(found.model):
        assert isinstance(layer, LoRaLin), name
        assert layer.rank == rank_of(*layer.widths, 0.4)
    assert found.model.gamma == 0.4
    assert network_of(found.model.state_dict()).gamma == 0.4
    assert cost(found.model).macs < cost(model).macs
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_without_faces_it_is_the_singular_value_decomposition() -> None:
    layer = nn.Linear(30, 20)
    first, second, shares = factorize(layer, {}, "any")
    values = torch.linalg.svdvals(layer.weight.detach().double())
    assert torch.allclose(shares, values.square() / values.square().sum())
    for rank in (3, 20):
        error = (second[:, :rank] @ first[:rank] - layer.weight).norm()
        assert torch.allclose(error, values[rank:].square().sum().sqrt(), atol=1e-6)


@pytest.mark.slow
def test_with_faces_the_network_stays_nearer() -> None:
    model = lively()
    blind = factorize_layers(model, gamma=0.3).model
    seen = factorize_layers(model, gamma=0.3, crops=smooth_crops(128)).model
    assert likeness(seen, model) > likeness(blind, model) + 0.05
    assert cost(seen) == cost(blind)


@pytest.mark.slow
def test_blocks_that_fell_silent_are_not_shouted_at() -> None:
    """Least squares would make up for what others lost by weights of any size."""
    model = lively()
    quiet, faint = model.stages[2].blocks[1], model.stages[2].blocks[2]
    with torch.no_grad():
        quiet.mlp.fc1.bias.sub_(6.0)  # GELU then gives next to nothing
        faint.gamma[::2] = 1e-5
    thin = factorize_layers(model, gamma=0.3, crops=smooth_crops(128)).model
    largest = max(float(weight.detach().abs().max()) for weight in model.parameters())
    for name, weight in thin.named_parameters():
        assert float(weight.detach().abs().max()) < 10 * largest, name


@pytest.mark.slow
def test_energy_chooses_the_rank_of_each_layer() -> None:
    model = lively()
    half, most = (
        factorize_layers(model, energy=share, crops=smooth_crops(64)) for share in (0.5, 0.95)
    )
    changed = [(a, b) for a, b in zip(half.layers, most.layers, strict=True) if a.after < a.before]
    assert len(changed) > 20
    for few, many in changed:
        assert few.after <= many.after
        assert few.energy >= 0.5 - 1e-6
    assert len({each.after for each in half.layers}) > 3
    assert half.model.gamma is None
    network_of(half.model.state_dict(), input_size=32)


@pytest.mark.slow
def test_a_layer_that_would_cost_more_is_kept() -> None:
    model = lively()
    found = factorize_layers(
        model, gamma=0.7
    )  # less than four fifths of 24 x 96, more than half of 48 x 48
    kept = {each.layer for each in found.layers if each.after == each.before}
    layers = dict(linear_layers(found.model))
    assert "stages.0.blocks.0.mlp.fc1" in {each.layer for each in found.layers} - kept
    assert "stages.1.blocks.1.xca.proj" in kept
    assert isinstance(layers["stages.1.blocks.1.xca.proj"], nn.Linear)
    assert cost(found.model).macs < cost(model).macs
    again = factorize_layers(found.model, gamma=0.7)
    assert cost(again.model) == cost(found.model)


@pytest.mark.slow
def test_ranks_fall_further_and_round_up() -> None:
    thin = factorize_layers(lively(), gamma=0.5).model
    thinner = factorize_layers(thin, gamma=0.2, multiple=8)
    assert {each.after % 8 for each in thinner.layers if each.after < each.before} == {0}
    assert cost(thinner.model).params < cost(thin).params


@pytest.mark.slow
def test_patterns_choose_layers() -> None:
    found = factorize_layers(lively(), gamma=0.2, layers=("stages.3.*.fc?", "head.fc"))
    assert [each.layer for each in found.layers] == [
        "stages.3.blocks.0.mlp.fc1",
        "stages.3.blocks.0.mlp.fc2",
        "stages.3.blocks.1.mlp.fc1",
        "stages.3.blocks.1.mlp.fc2",
        "head.fc",
    ]
    assert isinstance(dict(linear_layers(found.model))["stages.2.blocks.0.mlp.fc1"], nn.Linear)


def test_a_name_that_no_layer_has_is_told() -> None:
    with pytest.raises(InputError, match=r"no linear layer is called stages\.9"):
        factorize_layers(lively(), gamma=0.5, layers=["stages.9.*"])
