"""Networks read back from ONNX files: whole, packed, cut; and what is none of ours."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import get_args

import numpy as np
import onnx
import pytest
import torch
from networks_kit import crops, lively

from facekeep.errors import ModelError, ModelNotFound
from facekeep.lab.nn import EdgeFace, export_onnx, network_of, read_network, save_checkpoint
from facekeep.lab.nn.lora import LoRaLin
from facekeep.models import entry, import_model
from facekeep.models.sparse import drop_zeros
from facekeep.models.weight_packing import Numbers, pack_weights
from facekeep.runtime import RuntimeOptions, open_session


def written(model: EdgeFace, folder: Path, numbers: Numbers = "float32") -> Path:
    path = folder / "network.onnx"
    export_onnx(model, path)
    path.write_bytes(pack_weights(path.read_bytes(), numbers))
    return path


def cut() -> EdgeFace:
    """A network of shapes that none was published with."""
    model = lively(gamma=0.5)
    state = dict(model.state_dict())
    state = {name: value for name, value in state.items() if "stages.2.blocks.4." not in name}
    for index in (5,):  # the blocks after the one that is gone move up
        state = {
            name.replace(f".2.blocks.{index}.", ".2.blocks.4."): v for name, v in state.items()
        }
    mlp = "stages.1.blocks.0.mlp"
    for name in (f"{mlp}.fc1.linear2.weight", f"{mlp}.fc1.linear2.bias"):
        state[name] = state[name][:77]
    state[f"{mlp}.fc2.linear1.weight"] = state[f"{mlp}.fc2.linear1.weight"][:7, :77]
    state[f"{mlp}.fc2.linear2.weight"] = state[f"{mlp}.fc2.linear2.weight"][:, :7]
    full = model.stages[3].blocks[0].mlp.fc1
    assert isinstance(full, LoRaLin)
    name = "stages.3.blocks.0.mlp.fc1"
    state[f"{name}.weight"] = full.linear2.weight.detach() @ full.linear1.weight.detach()
    state[f"{name}.bias"] = state.pop(f"{name}.linear2.bias")
    del state[f"{name}.linear1.weight"], state[f"{name}.linear2.weight"]
    return network_of(state, input_size=80)


@pytest.mark.parametrize("numbers", get_args(Numbers))
@pytest.mark.parametrize("form", ["full", "low rank", "cut"])
def test_what_is_read_back_embeds_as_the_file(tmp_path: Path, form: str, numbers: Numbers) -> None:
    made = {
        "full": lambda: lively(input_size=64),
        "low rank": lambda: lively("edgeface-xs", gamma=0.6, width=128),
        "cut": cut,
    }[form]()
    path = written(made, tmp_path, numbers)
    found = read_network(path)
    assert found.input_size == made.input_size
    x = crops(2, made.input_size)
    (wanted,) = open_session(path, options=RuntimeOptions(threads=1)).run({"image": x.numpy()})
    with torch.no_grad():
        np.testing.assert_allclose(found(x), wanted, atol=1e-5)
    if numbers == "float32":
        theirs = made.state_dict()
        assert {name: value.shape for name, value in found.state_dict().items()} == {
            name: value.shape for name, value in theirs.items()
        }
        assert all(torch.equal(value, theirs[name]) for name, value in found.state_dict().items())


@pytest.mark.parametrize("numbers", get_args(Numbers))
def test_a_sparse_file_gives_its_network(tmp_path: Path, numbers: Numbers) -> None:
    model = lively(input_size=64)
    with torch.no_grad():
        model.stages[3].blocks[0].mlp.fc1.weight[:, ::2] = 0
    path = written(model, tmp_path, numbers)
    dense = read_network(path)
    path.write_bytes(drop_zeros(path.read_bytes()))
    assert b"_nonzero" in path.read_bytes()
    found = read_network(path).state_dict()
    assert all(torch.equal(value, found[name]) for name, value in dense.state_dict().items())


def test_it_is_written_again_as_it_was(tmp_path: Path) -> None:
    path = written(lively(gamma=0.5), tmp_path)
    (tmp_path / "again").mkdir()
    assert written(read_network(path), tmp_path / "again").read_bytes() == path.read_bytes()


def test_crops_of_another_size_may_be_asked_for(tmp_path: Path) -> None:
    found = read_network(written(lively(), tmp_path), input_size=64)
    assert found(crops(1, 64)).shape == (1, 512)


@pytest.mark.slow
def test_a_checkpoint_gives_its_network(tmp_path: Path) -> None:
    save_checkpoint(lively(), tmp_path / "it.pt")
    found = read_network(tmp_path / "it.pt")
    assert torch.equal(found(crops(1)), lively()(crops(1)))


@pytest.mark.slow
def test_a_model_of_the_catalog_gives_its_network(tmp_path: Path) -> None:
    model = lively(input_size=64)
    save_checkpoint(model, tmp_path / "it.pt")
    made = import_model(tmp_path / "it.pt", "mine", arch="edgeface-xxs", input_size=64)
    assert torch.equal(read_network(made)(crops(1, 64)), model(crops(1, 64)))
    packed = import_model(written(model, tmp_path, "int8"), "packed")
    assert read_network(packed).input_size == 64


def test_what_is_none_of_ours_is_told_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "a.onnx").write_bytes(b"no network")
    with pytest.raises(ModelError, match=r"a\.onnx is no EdgeFace that facekeep wrote"):
        read_network(tmp_path / "a.onnx")
    model = onnx.load(written(lively(), tmp_path))
    model.producer_name = "somebody else"
    onnx.save(model, tmp_path / "a.onnx")
    with pytest.raises(ModelError, match="so it can only be run"):
        read_network(tmp_path / "a.onnx")
    with pytest.raises(ModelError, match="model 'sface' is no EdgeFace that facekeep wrote"):
        read_network(entry("sface"))
    with pytest.raises(ModelNotFound, match="check the path"):
        read_network(tmp_path / "none.onnx")


def no_input(graph: onnx.GraphProto) -> None:
    del graph.input[:]


def no_size(graph: onnx.GraphProto) -> None:
    graph.input[0].type.tensor_type.shape.dim[-1].dim_param = "side"


def short(graph: onnx.GraphProto) -> None:
    graph.initializer[0].raw_data = graph.initializer[0].raw_data[:-1]


def unknown_type(graph: onnx.GraphProto) -> None:
    graph.initializer[0].data_type = 99


def elsewhere(graph: onnx.GraphProto) -> None:
    weight = graph.initializer[0]
    weight.data_location = onnx.TensorProto.EXTERNAL
    weight.external_data.add(key="location", value="none.bin")
    weight.ClearField("raw_data")


def words(graph: onnx.GraphProto) -> None:
    name = graph.initializer[0].name
    graph.initializer[0].CopyFrom(onnx.numpy_helper.from_array(np.array(["a"], object), name))


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (no_input, "no EdgeFace that facekeep wrote"),
        (no_size, "no EdgeFace that facekeep wrote"),
        (short, "is damaged"),
        (unknown_type, "is damaged"),
        (elsewhere, "is damaged"),
        (words, "a parameter that is no number"),
    ],
)
def test_a_file_that_was_tampered_with_is_told(
    tmp_path: Path, spoil: Callable[[onnx.GraphProto], None], said: str
) -> None:
    model = onnx.load(written(lively(), tmp_path))
    spoil(model.graph)
    (tmp_path / "odd.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(ModelError, match=said):
        read_network(tmp_path / "odd.onnx")


def test_a_file_that_lacks_a_parameter_is_told(tmp_path: Path) -> None:
    model = onnx.load(written(lively(), tmp_path))
    kept = [item for item in model.graph.initializer if item.name != "head.norm.bias"]
    del model.graph.initializer[:]
    model.graph.initializer.extend(kept)
    (tmp_path / "less.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(ModelError, match="make no EdgeFace"):
        read_network(tmp_path / "less.onnx")
