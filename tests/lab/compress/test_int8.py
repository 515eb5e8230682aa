from __future__ import annotations

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import numpy_helper
from tiny_kit import LAYERS, faces, tensor, tiny_network

from facekeep.errors import InputError, ModelError
from facekeep.lab.compress.int8 import (
    METHODS,
    calibrate_ranges,
    quantize_dynamic,
    quantize_static,
    saturates,
)
from facekeep.lab.compress.onnx_layers import fold_constants
from facekeep.runtime import RuntimeOptions, open_session

Crops = NDArray[np.uint8]


@pytest.fixture(scope="module")
def crops(hopper: Crops, collins: Crops) -> Crops:
    return faces([hopper, collins], 24)


@pytest.fixture(scope="module")
def content() -> bytes:
    return fold_constants(tiny_network())


def rows(content: bytes, crops: Crops) -> NDArray[np.float32]:
    session = open_session(content, options=RuntimeOptions(threads=1))
    (found,) = session.run({"image": tensor(crops)})
    return found / np.linalg.norm(found, axis=1, keepdims=True)


def likeness(content: bytes, other: bytes, crops: Crops) -> float:
    return float((rows(content, crops) * rows(other, crops)).sum(1).mean())


def in_8_bits(content: bytes) -> set[str]:
    """The nodes whose weights are dequantized, which runtimes therefore run in 8 bits."""
    graph = onnx.load_model_from_string(content).graph
    made = {node.output[0] for node in graph.node if node.op_type == "DequantizeLinear"}
    return {node.name for node in graph.node if len(node.input) > 1 and node.input[1] in made}


@pytest.mark.slow
@pytest.mark.parametrize("method", METHODS)
def test_static_networks_embed_nearly_as_the_original(
    method: str, content: bytes, crops: Crops, capsys: pytest.CaptureFixture[str]
) -> None:
    done: list[int] = []
    ranges = calibrate_ranges(content, tensor(crops), method, progress=done.append)  # type: ignore[arg-type]
    made = quantize_static(content, ranges)
    assert sum(done) == len(crops)
    assert in_8_bits(made) == set(LAYERS) - {"head"}
    onnx.checker.check_model(onnx.load_model_from_string(made), full_check=True)
    assert likeness(content, made, crops) > 0.99
    assert len(made) < len(content)
    assert capsys.readouterr().out == ""


def test_skipped_layers_stay_float32(content: bytes, crops: Crops) -> None:
    ranges = calibrate_ranges(content, tensor(crops), "minmax")
    made = quantize_static(content, ranges, skip={"stem", "hidden"}, weights="float32")
    assert in_8_bits(made) == {"depthwise", "pointwise"}
    with pytest.raises(ModelError, match="only store its weights"):
        quantize_static(content, ranges, skip=set(LAYERS))


def test_a_reduced_range_needs_seven_bits(content: bytes, crops: Crops) -> None:
    ranges = calibrate_ranges(content, tensor(crops), "minmax")

    def widest(*, reduce_range: bool) -> int:
        made = quantize_static(content, ranges, reduce_range=reduce_range, weights="float32")
        graph = onnx.load_model_from_string(made).graph
        values = [numpy_helper.to_array(item) for item in graph.initializer]
        return max(int(np.abs(v.astype(int)).max()) for v in values if v.dtype == np.int8)

    assert widest(reduce_range=True) <= 64 < widest(reduce_range=False)


def test_a_dynamic_network_without_products_is_refused(content: bytes) -> None:
    """ONNX Runtime's quantizer takes a list of no layers for all, the last and skipped ones too."""
    with pytest.raises(ModelError, match="no layer of the network is left"):
        quantize_dynamic(content, skip=["hidden"])


@pytest.mark.parametrize("error", [TypeError, AssertionError, NotImplementedError])
def test_whatever_the_quantizer_raises_is_one_line(
    content: bytes, crops: Crops, monkeypatch: pytest.MonkeyPatch, error: type[Exception]
) -> None:
    def failing(_: object) -> None:
        raise error("no rounding of\n Erf")

    monkeypatch.setattr("onnxruntime.quantization.QDQQuantizer.quantize_model", failing)
    ranges = calibrate_ranges(content, tensor(crops), "minmax")
    with pytest.raises(ModelError, match="cannot be quantized: no rounding of Erf"):
        quantize_static(content, ranges)


def test_the_range_of_minmax_is_that_of_all_batches(content: bytes, crops: Crops) -> None:
    fed = tensor(crops)
    low, high = calibrate_ranges(content, fed, "minmax")["image"].range_value
    assert (np.asarray(low).item(), np.asarray(high).item()) == (fed.min(), fed.max())


def test_dynamic_networks_leave_convolutions_alone(content: bytes, crops: Crops) -> None:
    made = quantize_dynamic(content)
    kinds = [node.op_type for node in onnx.load_model_from_string(made).graph.node]
    assert kinds.count("Conv") == 3
    assert kinds.count("MatMulInteger") == 1
    assert likeness(content, made, crops) > 0.99


def test_calibration_says_what_is_wrong(content: bytes, crops: Crops) -> None:
    with pytest.raises(InputError, match="percentile"):
        calibrate_ranges(content, tensor(crops), "guess")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="name some"):
        calibrate_ranges(content, tensor(crops)[:0])


def test_only_old_x86_processors_saturate(monkeypatch: pytest.MonkeyPatch) -> None:
    assert saturates("avx2")
    assert not saturates("vnni")
    assert not saturates("arm")
    monkeypatch.setattr("platform.machine", lambda: "aarch64")
    assert not saturates()
    with pytest.raises(InputError, match="target"):
        saturates("mips")  # type: ignore[arg-type]


@pytest.mark.parametrize(("words", "expected"), [("fma avx2", True), ("avx2 avx512_vnni", False)])
def test_this_processor_is_asked(
    words: str, expected: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("platform.machine", lambda: "x86_64")
    monkeypatch.setattr("pathlib.Path.read_text", lambda *args, **more: f"flags : {words}")
    assert saturates() is expected
