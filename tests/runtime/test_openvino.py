from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from session_kit import assert_one_line, product

from facekeep import runtime
from facekeep.errors import (
    InputError,
    ModelError,
    RuntimeUnavailable,
)
from facekeep.models.weight_packing import pack_weights
from facekeep.pipeline.align import align
from facekeep.pipeline.detect import Detector
from facekeep.pipeline.embed import Embedder
from facekeep.runtime import RuntimeOptions, Session, TensorInfo, open_session
from facekeep.runtime.openvino import import_openvino

try:
    OPENVINO = import_openvino()
except RuntimeUnavailable as missing:
    pytest.skip(str(missing), allow_module_level=True)

WEIGHT = np.random.default_rng(0).normal(size=(64, 48)).astype(np.float32)


def network(*, packed: bool = False) -> bytes:
    """x (n, 64) -> y = x @ WEIGHT."""
    return pack_weights(product(WEIGHT), "int8") if packed else product(WEIGHT)


def opened(model: Path | bytes, **options: Any) -> Session:
    return open_session(model, RuntimeOptions(runtime="openvino", **({"threads": 1} | options)))


@pytest.fixture
def session() -> Session:
    return opened(network())


def rows(count: int, seed: int = 1) -> NDArray[np.float32]:
    return np.random.default_rng(seed).normal(size=(count, 64)).astype(np.float32)


def test_describes_what_it_takes_and_gives(session: Session) -> None:
    assert session.inputs == (TensorInfo("x", (None, 64), "float32"),)
    assert session.outputs == (TensorInfo("y", (None, 48), "float32"),)


def test_runs_batches_of_any_length_in_turn(session: Session) -> None:
    for count in (1, 5, 2):
        (y,) = session.run({"x": rows(count)})
        np.testing.assert_allclose(y, rows(count) @ WEIGHT, rtol=1e-4, atol=1e-4)


def test_packed_weights_are_those_that_onnxruntime_sees() -> None:
    content = network(packed=True)
    (expected,) = open_session(content, options=RuntimeOptions(threads=1)).run({"x": rows(3)})
    (found,) = opened(content).run({"x": rows(3)})
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)


def test_a_run_that_fails_inside_spoils_nothing(
    session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(*_: object, **__: object) -> None:
        raise RuntimeError("Exception from src/cpp/infer_request.cpp:\nno memory")

    with monkeypatch.context() as patch:
        patch.setattr(OPENVINO.InferRequest, "infer", failing)
        with pytest.raises(ModelError, match=r"failed to run: .* no memory") as caught:
            session.run({"x": rows(1)})
    assert_one_line(caught.value)
    assert session.run({"x": rows(1)})[0].shape == (1, 48)


def test_threads_reach_the_runtime() -> None:
    for asked, expected in ((1, 1), (0, runtime.usable_cores())):
        compiled = opened(network(), threads=asked)._session._compiled  # type: ignore[attr-defined]
        assert compiled.get_property("INFERENCE_NUM_THREADS") == expected


def test_an_absent_device_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match=r"'tpu' of OpenVINO; known: cpu, gpu, npu"):
        opened(network(), device="tpu")
    monkeypatch.setattr(runtime.openvino, "_available", lambda core: ["cpu"])
    with pytest.raises(RuntimeUnavailable, match="no device 'npu' here, only: cpu"):
        opened(network(), device="npu")


def test_another_precision_than_the_one_asked_for_is_an_error(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """OpenVINO takes the precision as a hint: asked for float16 it may compute in bfloat16."""

    class Bent:
        def get_property(self, name: str) -> object:
            return SimpleNamespace(get_type_name=lambda: "bf16")

    monkeypatch.setattr(OPENVINO.Core, "compile_model", lambda *_, **__: Bent())
    with pytest.raises(RuntimeUnavailable, match="in float16 on this cpu, but in bfloat16"):
        opened(network(), precision="float16")


def test_each_precision_is_the_one_used_or_refused() -> None:
    exact = rows(4) @ WEIGHT
    for precision in runtime.PRECISIONS:
        try:
            (found,) = opened(network(), precision=precision).run({"x": rows(4)})
        except RuntimeUnavailable as error:
            assert precision != "float32"
            assert_one_line(error)
            continue
        off = np.abs(found - exact).max()
        assert (off < 1e-4) == (precision == "float32")
        assert off < 0.5


def test_is_listed_with_its_version() -> None:
    found = {each.device: each for each in runtime.runtimes() if each.runtime == "openvino"}
    assert found["cpu"].available
    assert OPENVINO.__version__.startswith(found["cpu"].detail.split()[1])


def test_without_openvino_the_cure_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(RuntimeUnavailable, match=r"pip install 'facekeep\[openvino\]'") as caught:
        opened(network())
    assert_one_line(caught.value)
    assert "openvino_telemetry" not in sys.modules


@pytest.mark.slow
def test_nothing_is_reported_to_the_makers_of_the_runtime(tmp_path: Path) -> None:
    """OpenVINO reports that it was imported, and leaves an identity in the home folder."""
    code = (
        "import socket, sys, threading; from facekeep.runtime import runtimes;"
        "socket.socket.connect = lambda *_: sys.exit('a connection');"
        "assert any(each.runtime == 'openvino' and each.available for each in runtimes());"
        "print([name for name in sys.modules if name.startswith('openvino_telemetry')],"
        " threading.active_count())"
    )
    environment = {k: v for k, v in os.environ.items() if k != "CI"} | {"HOME": str(tmp_path)}
    run = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    assert run.stdout.split("\n")[0] == "[] 1"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_a_real_face_has_the_same_embedding(hopper: NDArray[np.uint8]) -> None:
    with (
        Detector(options=RuntimeOptions(threads=1)) as one,
        Detector(options=RuntimeOptions(threads=1, runtime="openvino")) as other,
    ):
        expected, found = (each.refine(hopper, each.detect(hopper)) for each in (one, other))
    assert len(found) == len(expected) >= 1
    np.testing.assert_allclose(found[0].bbox, expected[0].bbox, atol=0.01)
    np.testing.assert_allclose(found[0].landmarks, expected[0].landmarks, atol=0.01)
    model = "facekeep-xxs"
    with (
        Embedder(model, options=RuntimeOptions(threads=1)) as first,
        Embedder(model, options=RuntimeOptions(runtime="openvino")) as second,
    ):
        crop = align(hopper, expected[0].landmarks, first.size)[None]
        np.testing.assert_allclose(second.embed(crop), first.embed(crop), atol=1e-4)


@pytest.mark.slow
def test_signals_are_caught_after_networks_ended_out_of_order(tmp_path: Path) -> None:
    """In a process of its own, which would otherwise end."""
    (tmp_path / "net.onnx").write_bytes(network())
    code = (
        "import gc, signal, sys; from pathlib import Path;"
        "from facekeep.runtime import RuntimeOptions, open_session;"
        "several = [RuntimeOptions(runtime='openvino', threads=n) for n in (1, 2)];"
        "opened = [open_session(Path(sys.argv[1]), each) for each in several];"
        "opened.pop(0); gc.collect(); opened.pop(); gc.collect();"
        "signal.signal(signal.SIGINT, lambda number, frame: print('caught'));"
        "signal.raise_signal(signal.SIGINT)"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "net.onnx")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout == "caught\n"
