"""ONNX files against PyTorch, and what they must not contain."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from networks_kit import crops, lively
from onnx import numpy_helper

from facekeep.errors import ModelError
from facekeep.lab.nn import export_onnx
from facekeep.runtime import RuntimeOptions, open_session

pytestmark = pytest.mark.slow


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
    session = open_session(exported(tmp_path, **options), options=RuntimeOptions(threads=1))
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
    (found,) = open_session(tmp_path / "zero.onnx", options=RuntimeOptions(threads=1)).run(
        {"image": x.numpy()}
    )
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
    assert kinds.count("Gemm") == 86, "one for each matrix, its bias in it"
    assert kinds.count("MatMul") == 6, "those of attention"
    assert set(kinds).isdisjoint({"Erf", "Sin", "Cos", "Shape", "Pow"})


def test_the_constants_are_the_parameters(tmp_path: Path) -> None:
    model = lively(gamma=0.5)
    graph = onnx.load(exported(tmp_path, gamma=0.5)).graph
    found = {item.name: numpy_helper.to_array(item) for item in graph.initializer}
    for name, value in model.state_dict().items():
        np.testing.assert_array_equal(found.pop(name), value)
    rest = [value.shape for value in found.values() if value.dtype == np.float32]
    assert rest == [(1, 32, 14)], "only waves of the places"


def test_the_runtime_computes_what_is_derived_once(tmp_path: Path) -> None:
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.optimized_model_filepath = str(tmp_path / "run.onnx")
    options.log_severity_level = 4
    path = str(exported(tmp_path))
    onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    graph = onnx.load(tmp_path / "run.onnx").graph
    constants = {item.name for item in graph.initializer}
    assert [node.op_type for node in graph.node if constants.issuperset(node.input)] == []
    assert {node.op_type for node in graph.node}.isdisjoint({"Expand", "Unsqueeze"})


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
