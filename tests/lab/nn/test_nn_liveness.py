"""The networks of liveness: our own, and the published pair from its old checkpoints."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from liveness_kit import minifasnet_state

from facekeep.errors import ModelCorrupt, ModelError
from facekeep.lab.nn import read_state
from facekeep.lab.nn.liveness_network import SIDE, FaceLivenessNetwork, export_liveness_network
from facekeep.lab.nn.minifasnet import export_minifasnet, minifasnet_of


def run(content: bytes | Path, crops: np.ndarray) -> np.ndarray:
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    return session.run(["live"], {"crops": crops})[0]


def test_our_own_is_small():
    assert sum(weight.numel() for weight in FaceLivenessNetwork().parameters()) == 102_417


def test_the_file_gives_what_our_network_gives(tmp_path: Path):
    torch.manual_seed(0)
    model = FaceLivenessNetwork().train()
    crops = torch.rand(6, 3, SIDE, SIDE) * 2 - 1
    model(crops)  # the batch norms learn what is common
    with torch.no_grad():
        expected = model.eval()(crops).sigmoid().numpy()
    export_liveness_network(model, tmp_path / "live.onnx")
    found = run(tmp_path / "live.onnx", crops.numpy())
    np.testing.assert_allclose(found[:, 0], expected, atol=1e-5)


@pytest.mark.parametrize("count", [1, 2])
def test_the_file_of_a_pair_gives_what_its_networks_give(count: int):
    states = [minifasnet_state(squeeze=bool(seed), seed=seed) for seed in range(count)]
    networks = [minifasnet_of(state, "here") for state in states]
    crops = torch.rand(3, 3 * count, 80, 80) * 255
    with torch.no_grad():
        looks = [
            network(crops[:, 3 * at : 3 * at + 3]).softmax(1)[:, 1]
            for at, network in enumerate(networks)
        ]
    found = run(export_minifasnet(networks), crops.numpy())
    np.testing.assert_allclose(found, torch.stack(looks, 1).numpy(), atol=1e-5)
    assert found.std() > 0


def test_names_may_carry_the_prefix_of_several_devices():
    state = minifasnet_state(squeeze=True)
    prefixed = {f"module.{name}": value for name, value in state.items()}
    crops = torch.rand(2, 3, 80, 80)
    with torch.no_grad():
        expected, found = (minifasnet_of(each, "x")(crops) for each in (state, prefixed))
    assert torch.equal(expected, found)


@pytest.mark.parametrize("name", ["conv1.conv.weight", "conv_34.project.conv.weight", "bn.bias"])
def test_tensors_that_are_missing_or_foreign_are_refused(name: str):
    state = minifasnet_state(squeeze=False)
    with pytest.raises(ModelError, match=r"mine\.pth holds no MiniFASNet"):
        minifasnet_of({key: value for key, value in state.items() if key != name}, "mine.pth")
    with pytest.raises(ModelError, match=r"mine\.pth holds no MiniFASNet"):
        minifasnet_of(state | {"more.weight": torch.ones(2)}, "mine.pth")


def test_a_network_without_a_class_for_living_faces_is_refused():
    with pytest.raises(ModelError, match="without a class for living faces"):
        minifasnet_of(minifasnet_state(squeeze=False, classes=1), "mine.pth")


def test_checkpoints_of_old_pytorch_are_read(tmp_path: Path):
    state = minifasnet_state(squeeze=True)
    path = tmp_path / "old.pth"
    torch.save(state, path, _use_new_zipfile_serialization=False)
    found = read_state(path)
    assert found.keys() == state.keys()
    assert all(torch.equal(found[name], state[name].float()) for name in state)


@pytest.mark.parametrize("kept", [10, 200, 4000, -8])
def test_old_checkpoints_that_are_cut_are_refused(tmp_path: Path, kept: int):
    path = tmp_path / "old.pth"
    torch.save(minifasnet_state(squeeze=False), path, _use_new_zipfile_serialization=False)
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(ModelCorrupt):
        read_state(path)


def test_an_old_checkpoint_cannot_claim_more_numbers_than_it_has(tmp_path: Path):
    """Else a forged one would take all memory."""
    path = tmp_path / "old.pth"
    torch.save({"x": torch.zeros(70_000)}, path, _use_new_zipfile_serialization=False)
    content = path.read_bytes()
    count = b"J" + (70_000).to_bytes(4, "little")
    assert count in content
    path.write_bytes(content.replace(count, b"J" + (2**31 - 1).to_bytes(4, "little")))
    with pytest.raises(ModelCorrupt, match="claims more numbers than there are"):
        read_state(path)
