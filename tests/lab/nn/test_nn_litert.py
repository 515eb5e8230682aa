"""Weights taken back from TFLite conversions, and files that hold none."""

from __future__ import annotations

import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from facekeep.errors import ModelCorrupt, ModelError, ModelNotFound
from facekeep.lab.nn import cost, load_checkpoint
from facekeep.lab.nn.litert import _in_use, read_litert
from facekeep.models import import_model, remove_model

pytestmark = pytest.mark.slow

pytest.importorskip("ai_edge_litert")


@pytest.fixture
def conversion(shared: Path, tmp_path: Path) -> Path:
    source = shared / "weights" / "edgeface_xs_gamma_06_float16.tflite"
    return Path(shutil.copy(source, tmp_path / "xs.tflite"))


@pytest.mark.shared
def test_a_conversion_becomes_a_model_that_can_be_worked_on(
    conversion: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("FACEKEEP_MODELS", str(tmp_path / "models"))
    made = import_model(conversion, "mine", arch="edgeface-xs", gamma=0.6)
    assert (made.architecture, made.gamma, made.runtime) == ("edgeface-xs", 0.6, "onnxruntime")
    assert (made.input_size, made.width, made.params) == (112, 512, 1_770_492)
    network = load_checkpoint(tmp_path / "models" / "mine" / "mine.pt", "edgeface-xs", gamma=0.6)
    assert cost(network).params == made.params
    remove_model("mine")


@pytest.mark.shared
@pytest.mark.parametrize(
    ("arch", "gamma", "size", "words"),
    [
        ("edgeface-xs", None, 112, "of edgeface-xs that can be read: it has 235 constants, not"),
        ("edgeface-xs", 0.5, 112, r"of edgeface-xs of gamma 0\.5 .*: 'stages\.0\.blocks\.0\.mlp"),
        ("edgeface-xs", 0.6, 96, "its position encoding is for crops of another size"),
    ],
)
def test_a_conversion_of_another_network_is_told(
    conversion: Path, arch: str, gamma: float | None, size: int, words: str
) -> None:
    with pytest.raises(ModelError, match=words):
        read_litert(conversion, arch, gamma=gamma, input_size=size)


def test_what_is_no_conversion_is_told(tmp_path: Path) -> None:
    with pytest.raises(ModelNotFound):
        read_litert(tmp_path / "none.tflite", "edgeface-xs")
    for content in (b"", b"\x10\0\0\0TFL3", b"\x10\0\0\0TFL3" + bytes(range(256))):
        (tmp_path / "bad.tflite").write_bytes(content)
        with pytest.raises(ModelCorrupt, match="read as TFLite"):
            read_litert(tmp_path / "bad.tflite", "edgeface-xs")


@pytest.mark.shared
def test_a_conversion_that_embeds_in_no_numbers_is_none(
    conversion: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("facekeep.lab.nn.litert._likeness", lambda model, path: float("nan"))
    with pytest.raises(ModelError, match="it embeds otherwise, at a cosine of nan"):
        read_litert(conversion, "edgeface-xs", gamma=0.6)


def test_an_input_that_is_left_out_is_no_constant() -> None:
    data = np.arange(3, dtype="<f4").tobytes()
    tensor = SimpleNamespace(buffer=0, type=0, shape=[3])
    step = SimpleNamespace(opcodeIndex=0, inputs=[0, -1], outputs=[1])
    file = SimpleNamespace(
        subgraphs=[SimpleNamespace(operators=[step], tensors=[tensor, tensor])],
        operatorCodes=[SimpleNamespace(builtinCode=9, deprecatedBuiltinCode=9)],
        buffers=[SimpleNamespace(data=data)],
    )
    assert [value.tolist() for value in _in_use(file, dequantize=6)] == [[0, 1, 2]]
