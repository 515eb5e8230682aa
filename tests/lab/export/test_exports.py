from __future__ import annotations

import errno
import resource
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper
from session_kit import assert_one_line

from facekeep.cli.main import main
from facekeep.errors import (
    FacekeepError,
    InputError,
    ModelError,
    RuntimeUnavailable,
    StorageFull,
)
from facekeep.lab.export import TARGETS, export_model, exporter
from facekeep.lab.export import ncnn as to_ncnn
from facekeep.lab.export.exporter import CONVERTERS, convert_openvino
from facekeep.models import ModelEntry, entry, import_model, weights
from facekeep.pipeline.align import align
from facekeep.pipeline.detect import Detector
from facekeep.pipeline.embed import Embedder
from facekeep.runtime import RuntimeOptions, TensorInfo, open_session
from facekeep.runtime.openvino import import_openvino

SMALL = "facekeep-refiner"


def require(target: str) -> None:
    """Skip where what converts to the target is not installed."""
    try:
        if target == "openvino":
            import_openvino()
        else:
            to_ncnn._pnnx()
            pytest.importorskip("ncnn", reason="the extra 'ncnn' is not installed")
    except RuntimeUnavailable as error:
        pytest.skip(str(error))


def read(model: str) -> bytes:
    source = weights(entry(model))
    return source if isinstance(source, bytes) else source.read_bytes()


@pytest.fixture
def own_models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FACEKEEP_MODELS", str(tmp_path / "models"))


@pytest.mark.slow
@pytest.mark.parametrize("target", ["openvino", "ncnn"])
@pytest.mark.parametrize("model", [SMALL, "facekeep-detect"])
def test_an_export_gives_the_numbers_of_the_original(
    tmp_path: Path, target: str, model: str
) -> None:
    require(target)
    out = tmp_path / f"made{TARGETS[target][-1]}"
    made = export_model(model, target, out)
    assert made.files[-1] == out
    assert made.difference is not None
    assert made.difference < 1e-4
    assert sorted(tmp_path.iterdir()) == sorted(made.files)
    original = open_session(weights(entry(model)), options=RuntimeOptions(threads=1))
    size = entry(model).input_size or 256
    x = np.random.default_rng(1).random((1, 3, size, size), dtype=np.float32)
    expected = original.run({original.inputs[0].name: x})
    names = [tensor.name for tensor in original.outputs]
    again = open_session(out, options=RuntimeOptions(runtime=target, threads=1))
    found = dict(
        zip((t.name for t in again.outputs), again.run({again.inputs[0].name: x}), strict=True)
    )
    for name, value in zip(names, expected, strict=True):
        np.testing.assert_allclose(found[name], value, atol=1e-3)


@pytest.mark.slow
def test_an_exported_embedder_is_imported_and_knows_a_real_face(
    own_models: None, tmp_path: Path, hopper: NDArray[np.uint8]
) -> None:
    require("ncnn")
    made = export_model("facekeep-xxs", "ncnn", tmp_path / "xxs.ncnn.param")
    model = import_model(made.files[-1], "xxs-ncnn")
    assert (model.runtime, len(model.files)) == ("ncnn", 2)
    with Detector(options=RuntimeOptions(threads=1)) as detector:
        (face, *_) = detector.refine(hopper, detector.detect(hopper))
    with (
        Embedder("facekeep-xxs", options=RuntimeOptions(threads=1)) as first,
        Embedder(model, options=RuntimeOptions(threads=1)) as second,
    ):
        crops = np.stack([align(hopper, face.landmarks, first.size)] * 2)
        crops[1] = crops[1, :, ::-1]
        np.testing.assert_allclose(second.embed(crops), first.embed(crops), atol=1e-3)


def test_an_ncnn_network_without_its_weights_is_not_imported(
    own_models: None, tmp_path: Path
) -> None:
    (tmp_path / "half.ncnn.param").write_text("7767517\n")
    with pytest.raises(FacekeepError, match=r"half\.ncnn\.bin") as caught:
        import_model(tmp_path / "half.ncnn.param", "half")
    assert_one_line(caught.value)


@pytest.mark.slow
def test_other_numbers_are_an_error_and_nothing_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    require("openvino")
    real = exporter._measure_distance
    monkeypatch.setattr(exporter, "_measure_distance", lambda one, other: real(one, other + 0.1))
    with pytest.raises(ModelError, match="gives other numbers: they differ by"):
        export_model(SMALL, "openvino", tmp_path / "made.xml")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("error", [TypeError, AssertionError, KeyError, OSError, RuntimeError])
def test_whatever_a_converter_raises_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, target: str, error: type[Exception]
) -> None:
    failing(monkeypatch, target, error("no lowering for\n  aten.erf", 3))
    with pytest.raises(ModelError) as caught:
        export_model(SMALL, target, tmp_path / f"made{TARGETS[target][-1]}")
    assert f"cannot convert 'facekeep-refiner' to {target}: " in str(caught.value)
    assert "aten.erf" in str(caught.value)
    assert_one_line(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_a_converter_that_names_a_full_disk_is_believed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    failing(monkeypatch, "coreml", OSError(errno.ENOSPC, "No space left on device"))
    with pytest.raises(StorageFull, match=r"coremltools cannot convert .*: no room") as caught:
        export_model(SMALL, "coreml", tmp_path / "made.mlpackage")
    assert_one_line(caught.value)


@pytest.mark.parametrize("error", [KeyboardInterrupt, MemoryError])
def test_interruptions_and_want_of_memory_come_through(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: type[BaseException]
) -> None:
    failing(monkeypatch, "coreml", error())
    with pytest.raises(error):
        export_model(SMALL, "coreml", tmp_path / "made.mlpackage")
    assert list(tmp_path.iterdir()) == []


def failing(monkeypatch: pytest.MonkeyPatch, target: str, error: BaseException) -> None:
    def convert(*_: object) -> None:
        raise error

    monkeypatch.setitem(CONVERTERS, target, (CONVERTERS[target][0], convert))


@pytest.mark.slow
@pytest.mark.parametrize("limit", [100, 100_000, 370_000])
@pytest.mark.parametrize("target", ["openvino", "ncnn"])
def test_a_full_disk_is_named_and_nothing_is_left(tmp_path: Path, target: str, limit: int) -> None:
    require(target)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
    try:
        with pytest.raises(StorageFull, match=r"no room to write .*; free some space") as caught:
            export_model(SMALL, target, tmp_path / f"made{TARGETS[target][-1]}")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert_one_line(caught.value)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_all_files_are_placed_or_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    require("openvino")
    real = Path.rename

    def rename(self: Path, target: Path) -> Path:
        if target == tmp_path / "made.xml":
            raise PermissionError(13, "Permission denied")
        return real(self, target)

    monkeypatch.setattr(Path, "rename", rename)
    with pytest.raises(ModelError, match=r"cannot write .*made\.xml: permission denied"):
        export_model(SMALL, "openvino", tmp_path / "made.xml")
    assert list(tmp_path.iterdir()) == []


def test_an_output_of_another_shape_or_without_numbers_is_far_off() -> None:
    row = np.ones((1, 3), np.float32)
    assert exporter._measure_distance(row, row) == 0
    assert exporter._measure_distance(row, row[:, :2]) == float("inf")
    assert exporter._measure_distance(row, row * np.float32("nan")) == float("inf")


@pytest.mark.parametrize("value", [0, float("nan"), float("inf")])
def test_a_network_that_gives_no_numbers_or_only_zeros_is_compared_too(
    monkeypatch: pytest.MonkeyPatch, value: float
) -> None:
    rows = np.full((2, 3), value, np.float32)

    class Giving:
        inputs = outputs = (TensorInfo("out", (None, 3), "float32"),)

        def run(self, feeds: object) -> list[NDArray[np.float32]]:
            return [rows]

        def close(self) -> None:
            pass

    monkeypatch.setattr(exporter, "open_model", lambda *_, **__: Giving())
    small = entry(SMALL)
    assert exporter._measure_difference(small, lambda _: {"out": rows + 1}) > exporter.TOLERANCE
    same = exporter._measure_difference(small, lambda _: {"out": rows})
    assert same == (0 if value == 0 else float("inf"))


@pytest.mark.parametrize("target", TARGETS)
def test_nothing_is_overwritten(tmp_path: Path, target: str) -> None:
    for ending in TARGETS[target]:
        there = tmp_path / f"made{ending}"
        there.write_text("mine")
        with pytest.raises(InputError, match="is already there"):
            export_model(SMALL, target, tmp_path / f"made{TARGETS[target][-1]}")
        assert there.read_text() == "mine"
        there.unlink()


@pytest.mark.slow
def test_what_appears_while_it_is_converted_is_not_overwritten(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    there = tmp_path / "made.xml"
    real = convert_openvino

    def convert(model: ModelEntry, target: Path) -> Any:
        there.write_text("mine")
        return real(model, target)

    monkeypatch.setitem(CONVERTERS, "openvino", ("OpenVINO", convert))
    with pytest.raises(InputError, match="is already there"):
        export_model(SMALL, "openvino", there)
    assert [each.name for each in tmp_path.iterdir()] == ["made.xml"]
    assert there.read_text() == "mine"


def test_wrong_words_are_one_line(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"unknown target 'caffe'; known: openvino, ncnn"):
        export_model(SMALL, "caffe")
    with pytest.raises(InputError, match=r"must end in \.ncnn\.param"):
        export_model(SMALL, "ncnn", tmp_path / "made.txt")
    with pytest.raises(FacekeepError, match="cannot write"):
        export_model(SMALL, "coreml", tmp_path / "missing" / "made.mlpackage")


@pytest.mark.parametrize("target", ["coreml", "executorch", "tflite"])
def test_what_starts_from_pytorch_refuses_other_networks_or_names_the_cure(
    tmp_path: Path, target: str
) -> None:
    with pytest.raises((ModelError, RuntimeUnavailable)) as caught:
        export_model(SMALL, target, tmp_path / f"made{TARGETS[target][-1]}")
    assert "no EdgeFace" in str(caught.value) or "facekeep[export]" in str(caught.value)
    assert_one_line(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_places_get_an_axis_of_their_picture_before_them() -> None:
    onnx = pytest.importorskip("onnx", reason="the extra 'export' is not installed")
    made = onnx.load_model_from_string(
        to_ncnn.with_picture_axis(to_ncnn.with_plain_norms(read("facekeep-xxs")))
    )
    shapes = {
        each.name: [axis.dim_value for axis in each.type.tensor_type.shape.dim]
        for each in onnx.shape_inference.infer_shapes(made, data_prop=True).graph.value_info
    }
    norms = [each for each in made.graph.node if each.op_type == "LayerNormalization"]
    *places, pooled = (shapes[norm.output[0]] for norm in norms)
    assert {(len(shape), shape[0]) for shape in places} == {(3, 1)}
    assert len(pooled) == 2
    original, again = (
        open_session(content, options=RuntimeOptions(threads=1))
        for content in (read("facekeep-xxs"), made.SerializeToString())
    )
    x = {"image": np.random.default_rng(1).random((1, 3, 112, 112), dtype=np.float32)}
    np.testing.assert_allclose(again.run(x)[0], original.run(x)[0], atol=1e-4)


def test_networks_without_places_keep_their_nodes() -> None:
    onnx = pytest.importorskip("onnx", reason="the extra 'export' is not installed")
    source = read(SMALL)
    before, after = (
        [node.SerializeToString() for node in onnx.load_model_from_string(content).graph.node]
        for content in (source, to_ncnn.with_picture_axis(source))
    )
    assert after == before


def test_a_param_gets_its_names_its_size_and_its_axes_back() -> None:
    session = open_session(weights(entry(SMALL)), options=RuntimeOptions(threads=1))
    text = (
        "7767517\n3 3\n"
        "Input                    in0                      0 1 in0\n"
        "Reduction                norm_1                   1 1 in0 1 0=8 1=0 -23303=0 4=1 5=1\n"
        "Reduction                mean_2    1 1 1 out0 0=3 1=0 -23303=2,1,2 4=0 5=1\n"
    )
    (magic, counts, source, norm, mean) = to_ncnn.mended(
        text, session, 64, [(-1,), (1, 2)]
    ).splitlines()
    assert (magic, counts) == ("7767517", "3 3")
    assert source.split() == ["Input", "crop", "0", "1", "crop", "0=64", "1=64", "2=3"]
    assert norm.split()[4:] == ["crop", "1", "0=8", "1=0", "-23303=1,-1", "4=1", "5=1"]
    assert mean.split()[4:] == ["1", "landmarks", "0=3", "1=0", "-23303=2,1,2", "4=0", "5=1"]
    assert "=64" not in to_ncnn.mended(text, session, None, [])


@pytest.mark.slow
def test_the_command_says_what_was_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    require("openvino")
    out = tmp_path / "made.xml"
    assert main(["models", "export", SMALL, "--to", "openvino", "--out", str(out)]) == 0
    said = capsys.readouterr().out
    assert "made.bin" in said
    assert "off ONNX Runtime's numbers" in said
    assert main(["models", "export", SMALL, "--to", "openvino", "--out", str(out)]) == 2
    assert "already there" in capsys.readouterr().err


def test_every_target_has_its_converter() -> None:
    assert list(CONVERTERS) == list(TARGETS)


@pytest.fixture
def foreign(tmp_path: Path, own_models: None) -> ModelEntry:
    """A network of the user's own, imported from an ONNX file."""
    nodes = [
        helper.make_node("GlobalAveragePool", ["x"], ["pooled"]),
        helper.make_node("Flatten", ["pooled"], ["y"]),
    ]
    shapes = (["n", 3, 112, 112], ["n", 3])
    values = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
        for name, shape in zip("xy", shapes, strict=True)
    ]
    graph = helper.make_graph(nodes, "means", values[:1], values[1:])
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    path = tmp_path / "foreign.onnx"
    path.write_bytes(made.SerializeToString())
    return import_model(path, "foreign")


@pytest.mark.slow
def test_a_foreign_network_is_converted_in_a_child(
    tmp_path: Path, foreign: ModelEntry, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("openvino", reason="the extra 'openvino' is not installed")

    def convert(*_: object) -> None:
        pytest.fail("the conversion runs in this process")

    monkeypatch.setitem(CONVERTERS, "openvino", ("OpenVINO", convert))
    made = export_model(foreign, "openvino", tmp_path / "made.xml")
    assert made.difference is not None
    assert made.difference < 1e-4
    assert all(file.is_file() for file in made.files)


@pytest.mark.slow
def test_a_conversion_that_crashes_is_one_line(
    tmp_path: Path, foreign: ModelEntry, monkeypatch: pytest.MonkeyPatch
) -> None:
    harmful = tmp_path / "harmful"
    harmful.mkdir()
    (harmful / "openvino.py").write_text("import os; os.kill(os.getpid(), 11)")
    monkeypatch.setenv("PYTHONPATH", str(harmful))
    with pytest.raises(ModelError, match=r"'foreign' crashed what was to run it \(SIGSEGV\)"):
        export_model(foreign, "openvino", tmp_path / "made.xml")
    assert not list(tmp_path.glob("made*"))
    assert not list(tmp_path.glob(".export-*"))
