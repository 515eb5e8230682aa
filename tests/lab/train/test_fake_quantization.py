"""FakeQuantization in training is ONNX Runtime's rounding, and leaves gradients a way through."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor, nn
from train_kit import losses, small, stopping_after, write_people

from facekeep.errors import InputError
from facekeep.lab.nn import create_model
from facekeep.lab.train import train
from facekeep.lab.train.fake_quantization import (
    ActivationGrid,
    FakeQuantization,
    FakeQuantizationMode,
    QuantizedLayer,
    read_fake_quantization,
)
from facekeep.runtime import RuntimeOptions, open_session

GRID, OUT = ActivationGrid(0.02, 100), ActivationGrid(0.013, 128)


def constant(name: str, value: Any, kind: type) -> Any:
    return numpy_helper.from_array(np.asarray(value, kind), name)


def rounded_by_onnx(
    layer: nn.Module, x: Tensor, rounded: QuantizedLayer, most: int
) -> NDArray[Any]:
    """Run a layer as ONNX Runtime's quantizer writes it: pairs of rounding and its undoing."""
    weight = layer.weight.detach().numpy()
    axes = tuple(range(1, weight.ndim))
    step = np.abs(weight).max(axes) / most
    number = np.round(weight / step.reshape(-1, *[1] * len(axes))).astype(np.int8)
    constants = [
        constant("number", number, np.int8),
        constant("step", step, np.float32),
        constant("none", np.zeros(len(step)), np.int8),
        constant("bias", layer.bias.detach().numpy(), np.float32),
    ]
    nodes = []

    def pair(name: str, made: str, grid: ActivationGrid) -> None:
        constants.append(constant(f"{made} step", grid.step, np.float32))
        constants.append(constant(f"{made} zero", grid.zero, np.uint8))
        ends = [f"{made} step", f"{made} zero"]
        nodes.append(helper.make_node("QuantizeLinear", [name, *ends], [f"{made} number"]))
        nodes.append(helper.make_node("DequantizeLinear", [f"{made} number", *ends], [made]))

    assert rounded.input is not None
    pair("x", "seen", rounded.input)
    weights = ["number", "step", "none"]
    nodes.append(helper.make_node("DequantizeLinear", weights, ["weight"], axis=0))
    kind, more = ("Gemm", {"transB": 1}) if isinstance(layer, nn.Linear) else ("Conv", {})
    nodes.append(helper.make_node(kind, ["seen", "weight", "bias"], ["made"], **more))
    if rounded.output is not None:
        pair("made", "y", rounded.output)
    outcome = "y" if rounded.output else "made"
    graph = helper.make_graph(
        nodes,
        "layer",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, list(x.shape))],
        [helper.make_tensor_value_info(outcome, TensorProto.FLOAT, None)],
        constants,
    )
    opset = [helper.make_opsetid("", 20)]
    model = helper.make_model(graph, opset_imports=opset, ir_version=9)
    session = open_session(model.SerializeToString(), options=RuntimeOptions(threads=1))
    try:
        (found,) = session.run({"x": x.numpy()})
    finally:
        session.close()
    return found


class One(nn.Module):
    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.layer(x)
        return out


def one_layer(kind: str) -> tuple[One, Tensor]:
    torch.manual_seed(3)
    if kind == "linear":
        return One(nn.Linear(24, 10)), 2 * torch.randn(8, 24)
    return One(nn.Conv2d(3, 6, 3)), 2 * torch.randn(2, 3, 9, 9)


@pytest.mark.parametrize("most", [127, 64])
@pytest.mark.parametrize(("kind", "output"), [("linear", None), ("convolution", OUT)])
def test_layers_round_as_onnx_runtime_does(
    kind: str, output: ActivationGrid | None, most: int
) -> None:
    model, x = one_layer(kind)
    rounded = QuantizedLayer(GRID, output)
    with (
        torch.no_grad(),
        FakeQuantizationMode(model, FakeQuantization({"layer.weight": rounded}, most)),
    ):
        made = model(x).numpy()
    expected = rounded_by_onnx(model.layer, x, rounded, most)
    away = np.abs(made - expected)
    if output is not None:  # what lies between two numbers of the grid may go either way
        assert away.max() < 1.001 * output.step
        assert (away > 1e-5).mean() < 0.01
    else:
        assert away.max() < 1e-5
    assert np.abs(made - model(x).detach().numpy()).max() > 1e-3


def test_a_grid_is_found_for_each_face_alone() -> None:
    model, x = one_layer("linear")
    x = torch.stack((x, 100 * x, torch.zeros_like(x)))
    with (
        torch.no_grad(),
        FakeQuantizationMode(model, FakeQuantization({"layer.weight": QuantizedLayer()})),
    ):
        together = model(x)
        alone = torch.cat([model(face[None]) for face in x])
    assert torch.equal(together, alone)
    assert torch.allclose(together[0], model(x[0]), atol=0.05)
    assert torch.equal(together[2], model(x[2]))


def test_gradients_pass_but_for_what_lies_beyond_the_range() -> None:
    model, _ = one_layer("linear")
    x = torch.full((1, 24), 0.5)
    x[0, 0], x[0, 1] = 99, -99
    x.requires_grad_()
    with FakeQuantizationMode(model, FakeQuantization({"layer.weight": QuantizedLayer(GRID)})):
        made = model(x)
    made.sum().backward()
    assert x.grad is not None
    assert x.grad[0, :2].tolist() == [0, 0]
    assert (x.grad[0, 2:] != 0).all()
    assert torch.allclose(model.layer.weight.grad[:, 2:], torch.tensor(0.5), atol=GRID.step)
    assert model.layer.bias.grad.tolist() == [1] * 10


def test_outside_the_context_and_in_other_layers_nothing_is_rounded() -> None:
    model = nn.Sequential(nn.Linear(6, 6), nn.Linear(6, 6))
    x = torch.randn(4, 6)
    plain = model(x)
    mode = FakeQuantizationMode(model, FakeQuantization({"1.weight": QuantizedLayer(GRID)}))
    for _ in range(2):  # it can be entered again
        with mode:
            assert torch.equal(model[0](x), nn.functional.linear(x, *model[0].parameters()))
            assert not torch.equal(model(x), plain)
        assert torch.equal(model(x), plain)


def test_a_rounding_is_read_as_it_was_written(tmp_path: Path) -> None:
    rounding = FakeQuantization(
        {"a.weight": QuantizedLayer(GRID, OUT), "b.weight": QuantizedLayer()}, 64
    )
    (tmp_path / "rounding.json").write_bytes(rounding.serialize())
    assert read_fake_quantization(tmp_path / "rounding.json") == rounding


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        '{"layers": {}, "most": 3}',
        '{"layers": {"a": 1}, "most": 127}',
        '{"layers": {"a": {"inputs": null}}, "most": 127}',
        '{"layers": {"a": {"input": {"step": 0, "zero": 1}}}, "most": 127}',
        '{"layers": {"a": {"input": {"step": NaN, "zero": 1}}}, "most": 127}',
        '{"layers": {"a": {"input": {"step": 1, "zero": 256}}}, "most": 127}',
        '{"layers": {"a": {"input": {"step": "1", "zero": 1}}}, "most": 127}',
        '{"layers": {"a": {"input": {"step": 1, "zero": 1.5}}}, "most": 127}',
        '{"layers": {"a": {"input": {"step": 1%s, "zero": 1}}}, "most": 127}' % (400 * "0"),
        100_000 * "[",
    ],
)
def test_other_files_are_refused_in_one_line(text: str, tmp_path: Path) -> None:
    (tmp_path / "rounding.json").write_text(text)
    with pytest.raises(InputError, match="does not say what is rounded") as caught:
        read_fake_quantization(tmp_path / "rounding.json")
    assert "\n" not in str(caught.value)


def test_a_missing_file_and_another_network_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot read"):
        read_fake_quantization(tmp_path / "none.json")
    with pytest.raises(InputError, match="another network"):
        FakeQuantizationMode(nn.Linear(2, 2), FakeQuantization({"other.weight": QuantizedLayer()}))


@pytest.fixture
def rounding(tmp_path: Path) -> Path:
    """All the matrices of the last stage rounded by the face, and the stem by a fixed grid."""
    model = create_model("edgeface-xxs", input_size=64)
    layers = {
        name: QuantizedLayer()
        for name, weight in model.named_parameters()
        if name.startswith("stages.3.blocks") and name.endswith("weight") and weight.ndim == 2
    }
    layers["stem.0.weight"] = QuantizedLayer(
        ActivationGrid(2 / 255, 128), ActivationGrid(0.01, 128)
    )
    path = tmp_path / "rounding.json"
    path.write_bytes(FakeQuantization(layers).serialize())
    return path


@pytest.mark.slow
def test_a_stopped_run_goes_on_to_the_bit(
    rounding: Path, tmp_path: Path, hopper: NDArray[np.uint8], collins: NDArray[np.uint8]
) -> None:
    data = write_people(tmp_path / "people", [hopper, collins], 8, 3)
    recipe = small(data, rounding=rounding, steps=4)
    train(recipe, tmp_path / "straight")
    assert not train(recipe, tmp_path / "broken", watch=stopping_after(16)).finished
    assert train(recipe, tmp_path / "broken", resume=True).finished
    assert losses(tmp_path / "broken" / "log.csv") == losses(tmp_path / "straight" / "log.csv")
    weights = [(tmp_path / name / "model.onnx").read_bytes() for name in ("straight", "broken")]
    assert weights[0] == weights[1]
    plain = small(data, steps=4)
    train(plain, tmp_path / "plain")
    assert losses(tmp_path / "plain" / "log.csv") != losses(tmp_path / "straight" / "log.csv")


def test_other_arithmetic_would_round_too(
    rounding: Path, tmp_path: Path, hopper: NDArray[np.uint8]
) -> None:
    data = write_people(tmp_path / "people", [hopper], 8, 2)
    with pytest.raises(InputError, match="needs the precision fp32"):
        train(small(data, rounding=rounding, precision="bf16"), tmp_path / "run")
    assert not (tmp_path / "run").exists()
