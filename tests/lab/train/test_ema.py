"""Averaged weights against the formula, and through a checkpoint."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from facekeep.lab.train.ema import Ema


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2))


def shaken(model: nn.Module) -> nn.Module:
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter))
    return model


def test_the_average_follows_the_formula_and_forgets_its_start():
    model = network()
    ema = Ema(model, 0.9)
    expected = model[0].weight.detach().double()
    for update in range(1, 200):
        shaken(model)
        ema.update(model)
        decay = min(0.9, (1 + update) / (10 + update))
        expected = decay * expected + (1 - decay) * model[0].weight.detach().double()
        assert torch.allclose(ema.model[0].weight.double(), expected, atol=1e-5)
    assert not torch.allclose(ema.model[0].weight, model[0].weight, atol=1e-2)


def test_without_decay_the_average_is_the_network():
    model = network()
    ema = Ema(model, 0.0)
    ema.update(shaken(model))
    assert torch.equal(ema.model[0].weight, model[0].weight)


def test_buffers_are_those_of_the_network():
    model = network()
    ema = Ema(model, 0.99)
    model(torch.randn(8, 3))
    ema.update(model)
    assert torch.equal(ema.model[1].running_mean, model[1].running_mean)
    assert ema.model[1].num_batches_tracked == 1


def test_the_average_is_apart_takes_no_gradient_and_never_trains():
    model = network()
    ema = Ema(model, 0.9)
    before = copy.deepcopy(ema.model.state_dict())
    shaken(model)
    assert all(torch.equal(before[key], value) for key, value in ema.model.state_dict().items())
    assert not ema.model.training
    assert model.training
    assert not any(parameter.requires_grad for parameter in ema.model.parameters())


def test_a_restored_average_goes_on_to_the_bit():
    model = network()
    first = Ema(model, 0.9)
    for _ in range(3):
        first.update(shaken(model))
    second = Ema(network(), 0.9)
    second.load_state_dict(copy.deepcopy(first.state_dict()))
    shaken(model)
    first.update(model)
    second.update(model)
    pairs = zip(first.model.parameters(), second.model.parameters(), strict=True)
    assert all(torch.equal(one, other) for one, other in pairs)
    assert first.updates == second.updates == 4


def test_another_network_is_refused():
    with pytest.raises(ValueError):
        Ema(network(), 0.9).update(nn.Linear(3, 2))
