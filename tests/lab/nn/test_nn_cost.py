"""Costs against hand counting, and against the figures of the paper."""

from __future__ import annotations

import pytest
import torch
from networks_kit import crops, lively
from torch.profiler import ProfilerActivity, profile

from facekeep.lab.nn import NetworkCost, cost, create_model

PAPER = [
    ("edgeface-base", None, 1398.83),
    ("edgeface-s", 0.5, 306.12),
    ("edgeface-xs", 0.6, 154.00),
    ("edgeface-xxs", None, 94.72),
]


def by_hand(channels: tuple[int, ...], depths: tuple[int, ...], heads: int, size: int) -> int:
    """Multiply-accumulates of a network with full linear layers."""
    side, before, kernels, groups = size // 4, 3, (3, 5, 7, 9), (1, 2, 3, 4)
    total = side**2 * channels[0] * 48
    for stage, (width, depth) in enumerate(zip(channels, depths, strict=True)):
        if stage:
            side //= 2
            total += side**2 * width * before * 4
        before = width
        convolved = depth - bool(stage)
        total += convolved * side**2 * width * (kernels[stage] ** 2 + 8 * width)
        if stage:
            part = -(-width // groups[stage])
            total += side**2 * (groups[stage] - 1) * part * 9
            total += side**2 * (4 * width**2 + 8 * width**2 + 2 * width**2 // heads)
        if stage == 1:
            total += side**2 * 64 * width
    return total + channels[-1] * 512


def test_counts_as_by_hand() -> None:
    xxs = (24, 48, 88, 168), (2, 2, 6, 2), 4
    for size in (112, 64):
        macs = by_hand(*xxs, size)
        counted = cost(create_model("edgeface-xxs", input_size=size))
        assert counted == NetworkCost(params=1_244_744, macs=macs, flops=2 * macs)


@pytest.mark.parametrize(("name", "gamma", "mflops"), PAPER)
def test_the_papers_mflops_are_twice_the_macs(
    name: str, gamma: float | None, mflops: float
) -> None:
    counted = cost(create_model(name, gamma=gamma))
    assert counted.flops == 2 * counted.macs
    assert 0.998 < counted.flops / 1e6 / mflops < 1


@pytest.mark.parametrize(("name", "gamma", "mflops"), PAPER)
def test_the_paper_counted_with_pytorchs_profiler(
    name: str, gamma: float | None, mflops: float
) -> None:
    model, x = create_model(name, gamma=gamma), crops(1)
    with torch.no_grad(), profile(activities=[ProfilerActivity.CPU], with_flops=True) as run:
        model(x)
    assert round(sum(event.flops for event in run.key_averages()) / 1e6, 2) == mflops


def test_leaves_the_network_as_it_was() -> None:
    model = lively()
    cost(model)
    assert model.training
    assert model(crops(1)).requires_grad
