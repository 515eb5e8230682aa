"""ONNX files against PyTorch, and what they must not contain."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from networks_kit import crops, lively

from facekeep.errors import ModelError
from facekeep.nn import export_onnx
from facekeep.runtime import open_session


def exported(tmp_path: Path, **options: Any) -> Path:
    target = tmp_path / "network.onnx"
    export_onnx(lively(**options), target)
    return target


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"name": "edgeface-xs", "gamma": 0.6},
        {"name": "edgeface-s", "gamma": 0.5, "input_size": 80, "width": 128},
        {"name": "edgeface-base", "input_size": 64},
    ],
)
def test_gives_the_same_embeddings(tmp_path: Path, options: dict[str, Any]) -> None:
    session = open_session(exported(tmp_path, **options), threads=1)
    model = lively(**options)
    for count in (1, 3, 7):
        x = crops(count, model.input_size, seed=count)
        with torch.no_grad():
            wanted = model(x).numpy()
        (found,) = session.run({"image": x.numpy()})
        np.testing.assert_allclose(found, wanted, atol=1e-5)
        assert np.abs(wanted).max() > 1


def test_constant_crops_stay_finite(tmp_path: Path) -> None:
    model = lively()
    with torch.no_grad():
        for layer in (model.stages[1].blocks[-1].xca.qkv, model.stages[2].blocks[-1].xca.qkv):
            layer.weight.zero_()
            layer.bias.zero_()
    export_onnx(model, tmp_path / "zero.onnx")
    x = torch.zeros(1, 3, 112, 112)
    (found,) = open_session(tmp_path / "zero.onnx", threads=1).run({"image": x.numpy()})
    np.testing.assert_allclose(found, model(x).detach(), atol=1e-5)


def test_names_and_shapes(tmp_path: Path) -> None:
    graph = onnx.load(exported(tmp_path, width=64)).graph
    (source,), (result,) = graph.input, graph.output
    axes = [[a.dim_param or a.dim_value for a in v.type.tensor_type.shape.dim] for v in graph.input]
    assert (source.name, axes) == ("image", [["batch", 3, 112, 112]])
    axes = [
        [a.dim_param or a.dim_value for a in v.type.tensor_type.shape.dim] for v in graph.output
    ]
    assert (result.name, axes) == ("embedding", [["batch", 64]])


def test_is_compact(tmp_path: Path) -> None:
    path = exported(tmp_path, name="edgeface-xs", gamma=0.6)
    assert path.stat().st_size < 4 * 1_770_492 + 100_000
    kinds = [node.op_type for node in onnx.load(path).graph.node]
    assert {kind: kinds.count(kind) for kind in ("LayerNormalization", "Gelu", "Softmax")} == {
        "LayerNormalization": 26,
        "Gelu": 18,
        "Softmax": 3,
    }
    assert set(kinds).isdisjoint({"Erf", "Sin", "Cos", "Shape", "Pow"})


def test_equal_networks_give_equal_bytes(tmp_path: Path) -> None:
    first = exported(tmp_path).read_bytes()
    assert exported(tmp_path).read_bytes() == first
    assert exported(tmp_path, seed=1).read_bytes() != first
    assert str(Path.home()).encode() not in first
    assert b"site-packages" not in first
    assert b"torch" not in first


def test_a_folder_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ModelError, match="cannot write"):
        export_onnx(lively(), tmp_path / "file" / "network.onnx")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file"]


def test_leaves_the_network_as_it_was(tmp_path: Path) -> None:
    model = lively()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    export_onnx(model, tmp_path / "network.onnx")
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert model.training
