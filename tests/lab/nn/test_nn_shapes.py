"""Networks of any shape: built from their tensors, and refused where these make none."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from networks_kit import crops, lively
from torch import Tensor, nn

from facekeep.errors import InputError, ModelError
from facekeep.lab.nn import EdgeFace, load_checkpoint, network_of, recognize, save_checkpoint
from facekeep.lab.nn.lora import LoRaLin


def odd() -> EdgeFace:
    """A network that no architecture names: a block less, ranks, hidden and head widths its own."""
    model = lively(input_size=64)
    del model.stages[2].blocks[1]
    block = model.stages[0].blocks[0]
    block.mlp.fc1, block.mlp.fc2 = nn.Linear(24, 40), LoRaLin(40, 24, 7)
    attention = model.stages[3].blocks[-1].xca
    attention.qkv, attention.proj = nn.Linear(168, 3 * 80), nn.Linear(80, 168)
    model.head.fc = LoRaLin(168, 512, 33)
    return model


def narrow(state: dict[str, Tensor], channels: int) -> dict[str, Tensor]:
    """Keep of the second stage's 48 channels the first few of the first group and all others."""
    places = torch.tensor([*range(channels - 24), *range(24, 48)])
    cut = dict(state)
    for key, value in state.items():
        if "stages.1.blocks.1.convs" in key:
            cut[key] = value[: channels - 24]
            continue
        if key.startswith(("stages.1.", "stages.2.downsample")):
            for axis, size in enumerate(value.shape):
                if size == 48 and (axis == 0 or "proj.weight" not in key):
                    cut[key] = cut[key].index_select(axis, places)
    return cut


@pytest.mark.slow
@pytest.mark.parametrize(
    "options", [{}, {"name": "edgeface-xs", "gamma": 0.6}, {"input_size": 64, "width": 32}]
)
def test_a_published_network_is_built_as_ever(options: dict[str, Any]) -> None:
    model = lively(**options)
    found = network_of(model.state_dict(), input_size=model.input_size)
    assert (found.arch, found.gamma, found.width) == (model.arch, model.gamma, model.width)
    x = crops(2, model.input_size)
    assert torch.equal(found(x), model(x))


@pytest.mark.slow
def test_a_network_of_odd_shapes_is_built_and_shares_nothing() -> None:
    model = odd()
    found = network_of(model.state_dict(), input_size=64)
    x = crops(2, 64)
    expected = model(x)
    assert torch.equal(found(x), expected)
    assert (found.arch, found.gamma) == ("edgeface-xxs", None)
    assert recognize(model.state_dict()) is None
    with torch.no_grad():
        for weight in model.parameters():
            weight.zero_()
    assert torch.equal(found(x), expected)
    found(x).square().sum().backward()
    assert all(weight.grad is not None for weight in found.parameters())


@pytest.mark.slow
def test_a_narrower_stage_is_built() -> None:
    found = network_of(narrow(lively().state_dict(), 40))
    split = found.stages[1].blocks[-1]
    assert (split.width, len(split.gamma), found.arch) == (16, 40, "edgeface-xxs")
    assert found(crops(2)).isfinite().all()


@pytest.mark.slow
def test_odd_shapes_survive_a_checkpoint(tmp_path: Path) -> None:
    model = odd()
    save_checkpoint(model, tmp_path / "odd.pt")
    found = load_checkpoint(tmp_path / "odd.pt", "edgeface-xxs", input_size=64)
    assert torch.equal(found(crops(1, 64)), model(crops(1, 64)))
    for arch, gamma in (("edgeface-xs", None), ("edgeface-xxs", 0.5)):
        with pytest.raises(ModelError, match=r"like a cut edgeface-xxs, which has no gamma$"):
            load_checkpoint(tmp_path / "odd.pt", arch, gamma=gamma)


def change(key: str, *shape: int) -> Any:
    return lambda state: state.update({key: torch.ones(shape)})


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda state: state.clear(), r"it lacks 'stem\.0\.weight'"),
        (change("stem.0.weight", 24), r"'stem\.0\.weight' is 24"),
        (change("stages.0.blocks.0.mlp.fc1.weight", 40, 24), r"fc1\.bias' is 96, not 40"),
        (change("stages.0.blocks.0.mlp.fc1.weight", 96, 25), "do not fit each other"),
        (change("stages.1.blocks.1.convs.0.weight", 48, 1, 3, 3), "wider than its map"),
        (change("stages.1.blocks.1.xca.temperature", 5, 1, 1), "no published network"),
        (change("stages.3.downsample.1.weight", 65_536, 88, 2, 2), "no published network"),
        (change("stages.2.blocks.9.norm.weight", 88), r"blocks\.9\.norm\.weight' besides"),
        (lambda state: state.pop("stages.0.blocks.0.norm.weight"), "stage 0 has no block"),
    ],
)
def test_what_makes_no_network_is_one_line(spoil: Any, words: str) -> None:
    state = dict(lively().state_dict())
    spoil(state)
    with pytest.raises(ModelError, match=words) as caught:
        network_of(state)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("size", [-16, 0, 5, 16, 50, 528])
def test_a_size_that_no_network_has_is_refused(size: int) -> None:
    with pytest.raises(InputError, match=f"multiple of 16 from 32 to 512, not {size}$"):
        network_of(lively().state_dict(), input_size=size)


def test_a_network_keeps_to_sizes_that_networks_have() -> None:
    with pytest.raises(InputError, match="multiple of 16"):
        lively().resize(50)


def test_a_resized_network_tells_its_places_as_one_made_for_the_size() -> None:
    model, small = lively(), lively(input_size=80)
    model.resize(80)
    assert torch.equal(model(crops(2, 80)), small(crops(2, 80)))
