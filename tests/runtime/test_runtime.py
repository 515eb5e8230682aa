from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from networks import quantized
from session_kit import assert_one_line, product, rounding

from facekeep import runtime
from facekeep.errors import (
    InputError,
    ModelCorrupt,
    RuntimeUnavailable,
)
from facekeep.models.onnx_folding import fold_block_quantized
from facekeep.runtime import RuntimeOptions, Session, TensorInfo, open_session

WEIGHT = np.random.default_rng(0).normal(size=(4, 3)).astype(np.float32)


@pytest.fixture(scope="module")
def network() -> bytes:
    """x (n, 4) -> y = x @ WEIGHT."""
    return product(WEIGHT)


@pytest.fixture
def session(network: bytes) -> Session:
    return open_session(network, options=RuntimeOptions(threads=1))


def test_describes_what_it_takes_and_gives(session: Session) -> None:
    assert session.inputs == (TensorInfo("x", (None, 4), "float32"),)
    assert session.outputs == (TensorInfo("y", (None, 3), "float32"),)


@pytest.mark.parametrize("rows", [0, 1, 5])
def test_runs_the_network(session: Session, rows: int) -> None:
    x = np.random.default_rng(1).normal(size=(rows, 4)).astype(np.float32)
    (y,) = session.run({"x": x})
    np.testing.assert_allclose(y, x @ WEIGHT, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("threads", [-1, True, 1.0, "2", None])
def test_threads_must_be_a_whole_number(network: bytes, threads: object) -> None:
    with pytest.raises(InputError, match="threads"):
        open_session(network, options=RuntimeOptions(threads=threads))  # type: ignore[arg-type]


@pytest.mark.parametrize(("asked", "expected"), [(1, 1), (3, 3), (0, runtime.usable_cores())])
def test_threads_reach_the_runtime(network: bytes, asked: int, expected: int) -> None:
    session = open_session(network, options=RuntimeOptions(threads=asked))
    options = session._session._session.get_session_options()  # type: ignore[attr-defined]
    assert options.intra_op_num_threads == expected
    assert options.inter_op_num_threads == 1


def test_unknown_names_list_the_known_ones(network: bytes) -> None:
    with pytest.raises(InputError, match=r"'tpu'.*cpu, cuda"):
        open_session(network, options=RuntimeOptions(device="tpu"))
    with pytest.raises(InputError, match=r"'caffe'.*onnxruntime"):
        open_session(network, options=RuntimeOptions(runtime="caffe"))


@pytest.mark.parametrize("device", ["tensorrt", "cuda", "coreml"])
def test_a_device_asked_for_as_a_runtime_is_pointed_at(network: bytes, device: str) -> None:
    with pytest.raises(InputError, match=r"known: onnxruntime, .*give it as the device$") as caught:
        open_session(network, options=RuntimeOptions(runtime=device))
    assert_one_line(caught.value)


def test_a_precision_that_is_not_offered_is_an_error(network: bytes) -> None:
    with pytest.raises(RuntimeUnavailable, match="ONNX Runtime computes in float32 only"):
        open_session(network, options=RuntimeOptions(precision="bfloat16"))
    with pytest.raises(InputError, match=r"'int4'; known: float32, bfloat16, float16"):
        open_session(network, options=RuntimeOptions(precision="int4"))


@pytest.mark.parametrize(
    ("device", "cure"),
    [
        ("cuda", "install onnxruntime-gpu in place of onnxruntime"),
        ("tensorrt", "install onnxruntime-gpu and TensorRT"),
        ("coreml", "use macOS"),
    ],
)
def test_an_absent_device_is_an_error_that_tells_how_to_get_it(
    network: bytes, monkeypatch: pytest.MonkeyPatch, device: str, cure: str
) -> None:
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CPUExecutionProvider"])
    with pytest.raises(RuntimeUnavailable) as caught:
        open_session(network, options=RuntimeOptions(device=device))
    assert f"has: cpu; {cure}" in str(caught.value)
    assert_one_line(caught.value)


def test_no_silent_fallback_to_another_device(
    network: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """ONNX Runtime, asked for a device that does not start, gives a session on the CPU."""

    class OnTheCpu:
        def __init__(self, *args: object, **kwargs: object) -> None:
            pass

        def get_providers(self) -> list[str]:
            return ["CPUExecutionProvider"]

    present = ["CUDAExecutionProvider", "CPUExecutionProvider"]
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: present)
    monkeypatch.setattr(onnxruntime, "InferenceSession", OnTheCpu)
    with pytest.raises(RuntimeUnavailable, match="'cuda' did not start"):
        open_session(network, options=RuntimeOptions(device="cuda"))


def test_a_device_that_fails_to_open_is_not_called_a_damaged_file(
    network: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*args: object, **kwargs: object) -> None:
        raise RuntimeError("libcudnn.so.9:\n cannot open shared object file")

    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CUDAExecutionProvider"])
    monkeypatch.setattr(onnxruntime, "InferenceSession", broken)
    with pytest.raises(RuntimeUnavailable, match=r"'cuda'.*libcudnn") as caught:
        open_session(network, options=RuntimeOptions(device="cuda"))
    assert_one_line(caught.value)


def test_lists_every_device_with_a_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CPUExecutionProvider"])
    found = [status for status in runtime.runtimes() if status.runtime == "onnxruntime"]
    statuses = {status.device: status for status in found}
    assert statuses["cpu"].available
    assert onnxruntime.__version__ in statuses["cpu"].detail
    assert not statuses["cuda"].available
    assert "onnxruntime-gpu" in statuses["cuda"].detail


def test_without_onnxruntime_the_cpu_is_reported_unavailable(
    network: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(RuntimeUnavailable, match="install onnxruntime"):
        open_session(network)
    status = runtime.runtimes()[0]
    assert (status.runtime, status.available) == ("onnxruntime", False)
    assert "install onnxruntime" in status.detail


def test_importing_the_package_loads_no_runtime() -> None:
    code = "import facekeep.runtime, sys; sys.exit('onnxruntime' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.slow
def test_nothing_is_reported_to_the_makers_of_the_runtime(tmp_path: Path) -> None:
    """ONNX Runtime queues reports under the home folder unless it is told not to in time."""
    code = (
        "import os, sys; from facekeep.runtime import runtimes; "
        "assert 'onnxruntime' not in sys.modules; runtimes(); "
        "assert 'onnxruntime' in sys.modules; print(os.environ['ORT_DISABLE_TELEMETRY'])"
    )
    environment = {k: v for k, v in os.environ.items() if k != "ORT_DISABLE_TELEMETRY"}
    environment["HOME"] = str(tmp_path)
    run = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    assert run.stdout.strip() == "1"
    assert list(tmp_path.iterdir()) == []


def test_an_error_is_told_as_itself_where_nobody_reads_stderr() -> None:
    code = (
        "import os; from facekeep.runtime.quiet import quiet\n"
        "read, write = os.pipe(); os.close(read); os.dup2(write, 2)\n"
        "try:\n"
        "    with quiet(b'chat'):\n"
        "        os.write(2, b'told\\n'); raise KeyError('mine')\n"
        "except KeyError:\n"
        "    print('well')\n"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False, text=True)
    assert run.stdout == "well\n"


@pytest.mark.parametrize("as_path", [False, True])
@pytest.mark.parametrize(
    ("kind", "opened"), [("weights in blocks", True), ("8 bits", False), ("float32", False)]
)
def test_weights_that_are_only_stored_in_8_bits_are_computed_while_loading(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, kind: str, opened: bool, as_path: bool
) -> None:
    source, weight, bias = quantized()
    content = {
        "weights in blocks": lambda: fold_block_quantized(source, any_size=False, store="int8"),
        "8 bits": lambda: rounding(WEIGHT),
        "float32": lambda: fold_block_quantized(source, any_size=False),
    }[kind]()
    seen: dict[str, str] = {}

    class Options(onnxruntime.SessionOptions):
        def add_session_config_entry(self, key: str, value: str) -> None:
            seen[key] = value
            super().add_session_config_entry(key, value)

    monkeypatch.setattr(onnxruntime, "SessionOptions", Options)
    path = tmp_path / "network.onnx"
    path.write_bytes(content)
    session = open_session(path if as_path else content, options=RuntimeOptions(threads=1))
    assert (seen.get("session.disable_quant_qdq") == "1") == opened
    if kind != "8 bits":
        x = np.random.default_rng(1).normal(size=(2, 10)).astype(np.float32)
        (found,) = session.run({"x": x})
        np.testing.assert_allclose(found, x @ weight.T + bias, rtol=1e-4, atol=1e-4)


def test_a_file_that_cannot_be_read_is_an_error_of_facekeep(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def refuse(path: Path, *_: object) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    path = tmp_path / "network.onnx"
    path.write_bytes(b"secret")
    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(ModelCorrupt, match="cannot open network") as caught:
        open_session(path)
    assert_one_line(caught.value)
