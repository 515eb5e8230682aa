"""Structured pruning: to a size, of what matters least, without harm to what is left."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from cutting_kit import SIDE, likeness, lively, smooth_crops

from facekeep.errors import InputError
from facekeep.lab.compress.dimensions import Dimension, cut_dimension, list_dimensions, rotate_ranks
from facekeep.lab.compress.prune import prune, score_by_taylor
from facekeep.lab.compress.statistics import collect_statistics
from facekeep.lab.nn import EdgeFace, cost, export_onnx, load_checkpoint, save_checkpoint
from facekeep.runtime import RuntimeOptions, open_session

pytestmark = pytest.mark.slow


def silenced(model: EdgeFace, layer: str, units: list[int]) -> EdgeFace:
    """Let some hidden units of an MLP do nothing but add the same to every face."""
    mlp = model.get_submodule(layer)
    with torch.no_grad():
        mlp.fc1.weight[units] = 0
    return model


@pytest.mark.parametrize("gamma", [None, 0.5])
@pytest.mark.parametrize(("of", "keep"), [("macs", 0.7), ("parameters", 0.6)])
def test_what_was_asked_for_is_reached(of: Any, keep: float, gamma: float | None) -> None:
    model = lively(gamma=gamma)
    found = prune(model, keep, of=of, crops=smooth_crops(32))
    before, after = cost(model), cost(found.model)
    left = after.macs / before.macs if of == "macs" else after.params / before.params
    assert keep - 0.03 < left <= keep
    assert {cut.after % 8 for cut in found.cuts} == {0}
    assert {cut.kind for cut in found.cuts} == ({"hidden"} if gamma is None else {"hidden", "rank"})
    assert all(0 < cut.after < cut.before for cut in found.cuts)


def test_units_that_do_nothing_go_first_and_for_nothing() -> None:
    layer, idle = "stages.3.blocks.0.mlp", list(range(100, 260))
    model = silenced(lively(), layer, idle)
    keep = 1 - 150 * 2 * 168 / cost(model).macs
    found = prune(model, keep, crops=smooth_crops(48))
    assert [cut.layer for cut in found.cuts] == [layer]
    assert likeness(found.model, model) > 0.9999


def test_taylor_tells_what_matters_better_than_magnitude() -> None:
    model = lively(gamma=0.6)
    with torch.no_grad():  # large weights, but for a norm that lets little through
        block = model.stages[2].blocks[0]
        block.mlp.fc1.linear2.weight.mul_(30)
        block.gamma.mul_(1e-4)
    crops = smooth_crops(96)
    by = {each: prune(model, 0.75, crops=crops, by=each).model for each in ("taylor", "magnitude")}
    assert likeness(by["taylor"], model) > likeness(by["magnitude"], model)
    blind = prune(model, 0.75, by="magnitude").model
    assert likeness(by["magnitude"], model) > likeness(blind, model)


def test_taylor_scores_are_what_the_embedding_moves() -> None:
    """Against the finite difference that they stand for, summed over an axis."""
    model, crops = lively(), smooth_crops(16)
    known = collect_statistics(model, crops)
    axis = next(
        each for each in list_dimensions(model, ("hidden",)) if each.layer.startswith("stages.3")
    )
    (scores,) = score_by_taylor(model, [axis], crops.repeat(8, 1, 1, 1), known)
    mean = known[f"{axis.layer}.fc2"].mean.float()
    step, moved = 1e-2, torch.zeros(axis.size)
    with torch.no_grad():
        whole = torch.nn.functional.normalize(model(crops))
        for unit in range(0, axis.size, 97):

            def less(module: Any, inputs: Any, unit: int = unit) -> torch.Tensor:
                x = inputs[0].clone()
                x[..., unit] -= step * (x[..., unit] - mean[unit])
                return x

            hook = model.get_submodule(f"{axis.layer}.fc2").register_forward_pre_hook(less)
            rows = torch.nn.functional.normalize(model(crops))
            hook.remove()
            moved[unit] = (rows - whole).square().sum(1).mean() / step**2
    chosen = moved > 0
    ratio = scores[chosen].sum() / moved[chosen].sum()
    assert 0.8 < ratio < 1.25


def test_rotation_changes_nothing() -> None:
    model, crops = lively(gamma=0.6), smooth_crops(64)
    again = lively(gamma=0.6)
    rotate_ranks(again, collect_statistics(again, crops))
    with torch.no_grad():
        assert torch.allclose(again(crops), model(crops), atol=1e-3)


def test_what_is_left_makes_up_for_what_is_gone() -> None:
    model, crops = lively(), smooth_crops(128)
    known, axis = (
        collect_statistics(model, crops),
        Dimension("hidden", "stages.2.blocks.1.mlp", 352),
    )
    likes = []
    for statistics in (known, {}):
        cut = lively()
        cut_dimension(cut, axis, torch.arange(0, 352, 4), statistics)
        likes.append(likeness(cut, model))
    assert likes[0] > likes[1]


def test_blocks_go_where_they_matter_little() -> None:
    model = lively()
    with torch.no_grad():
        model.stages[2].blocks[3].gamma.zero_()
    share = 1 - 0.9 * (352 * 88 * 2 * 4) / cost(model).macs
    found = prune(model, share, crops=smooth_crops(48), kinds=("blocks",))
    assert [(cut.layer, cut.kind) for cut in found.cuts] == [("stages.2", "blocks")]
    assert (found.cuts[0].before, found.cuts[0].after) == (6, 5)
    assert likeness(found.model, model) > 0.999


def test_rounds_are_fine_tuned_one_by_one() -> None:
    model, rounds = lively(), []

    def fine_tune(cut: EdgeFace, each: int) -> EdgeFace:
        rounds.append((each, cost(cut).macs / cost(model).macs))
        return cut

    found = prune(model, 0.64, crops=smooth_crops(32), rounds=2, fine_tune=fine_tune)
    assert [each for each, _ in rounds] == [1, 2]
    assert 0.77 < rounds[0][1] <= 0.8
    assert rounds[1][1] == cost(found.model).macs / cost(model).macs <= 0.64
    assert found.cuts


def test_a_measured_time_is_met_with_little_more_than_needed() -> None:
    model = lively(gamma=0.6)

    def measure(network: EdgeFace) -> float:
        return 1.0 + cost(network).macs / cost(model).macs  # half of it cannot be cut

    found = prune(model, 0.9, of=measure, crops=smooth_crops(32))
    assert 1.74 < measure(found.model) <= 1.8
    with pytest.raises(InputError, match="does not bring the network down"):
        prune(model, 0.4, of=measure, crops=smooth_crops(32))


def test_a_pruned_network_is_saved_exported_and_loaded(tmp_path: Path) -> None:
    model = lively(gamma=0.6)
    crops = smooth_crops(32)
    found = prune(model, 0.6, crops=crops, kinds=("hidden", "rank", "blocks")).model
    save_checkpoint(found, tmp_path / "cut.pt")
    again = load_checkpoint(tmp_path / "cut.pt", "edgeface-xxs", input_size=SIDE)
    export_onnx(again, tmp_path / "cut.onnx")
    (rows,) = open_session(tmp_path / "cut.onnx", options=RuntimeOptions(threads=1)).run(
        {"image": crops.numpy()}
    )
    with torch.no_grad():
        assert torch.allclose(torch.from_numpy(rows), found(crops), atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"kinds": ()}, "what may be cut is hidden, rank, blocks"),
        ({"crops": None}, "Taylor importance needs faces"),
        ({"by": "magnitude", "kinds": ("blocks",)}, "importance of blocks is computed on faces"),
        ({"keep": 0.05}, "cannot be cut to"),
    ],
)
def test_what_makes_no_sense_is_told(options: dict[str, Any], words: str) -> None:
    given = {"keep": 0.8, "crops": smooth_crops(16)} | options
    with pytest.raises(InputError, match=words) as caught:
        prune(lively(), given.pop("keep"), **given)
    assert "\n" not in str(caught.value)
