from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ai_edge_litert import interpreter as litert
from litert_kit import WEIGHT, means
from numpy.typing import NDArray
from session_kit import assert_one_line

from facekeep import runtime
from facekeep.errors import (
    InputError,
    ModelError,
    RuntimeUnavailable,
)
from facekeep.runtime import RuntimeOptions, Session, TensorInfo, open_session

HELPERS = Path(__file__).parents[1] / "helpers"


def opened(model: Path | bytes, **options: Any) -> Session:
    return open_session(model, RuntimeOptions(runtime="litert", **({"threads": 1} | options)))


@pytest.fixture
def session() -> Session:
    return opened(means())


def pictures(count: int, seed: int = 0) -> NDArray[np.float32]:
    return np.random.default_rng(seed).random((count, 8, 8, 3), dtype=np.float32)


def test_describes_what_it_takes_and_gives(session: Session) -> None:
    assert session.inputs == (TensorInfo("x", (None, 8, 8, 3), "float32"),)
    assert session.outputs == (TensorInfo("y", (None, 4), "float32"),)
    assert opened(means(batch=1)).inputs[0].shape == (1, 8, 8, 3)


@pytest.mark.parametrize(
    ("shape", "last"),
    [
        ((1, 112, 112, 3), True),
        ((None, None, None, 3), True),
        ((1, 3, 112, 112), False),
        ((None, 3, None, None), False),
        ((1, 3, 3, 3), False),
        ((None, 3), False),
    ],
)
def test_a_tensor_says_how_its_pictures_lie(shape: tuple[int | None, ...], last: bool) -> None:
    assert TensorInfo("x", shape, "float32").channels_last is last


def test_runs_batches_of_any_length_in_turn(session: Session) -> None:
    for count in (1, 5, 2, 2, 1):
        x = pictures(count, seed=count)
        (y,) = session.run({"x": x})
        np.testing.assert_allclose(y, x.mean((1, 2)) @ WEIGHT.T, rtol=1e-5, atol=1e-6)


def test_a_batch_that_the_network_fixes_is_refused() -> None:
    with pytest.raises(InputError, match="x must be float32 1 x 8 x 8 x 3, not float32 2 x 8"):
        opened(means(batch=1)).run({"x": pictures(2)})


def test_a_batch_that_fails_inside_the_network_spoils_nothing(
    session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(self: object) -> None:
        raise RuntimeError("XNNPack delegate failed to reshape runtime\nNode number 886")

    with monkeypatch.context() as patch:
        patch.setattr(litert.Interpreter, "allocate_tensors", failing)
        with pytest.raises(ModelError, match="failed to run: XNNPack") as caught:
            session.run({"x": pictures(2)})
        assert_one_line(caught.value)
    for count in (2, 1):
        assert session.run({"x": pictures(count)})[0].shape == (count, 4)


@pytest.mark.parametrize(("asked", "expected"), [(1, 1), (3, 3), (0, runtime.usable_cores())])
def test_threads_reach_the_runtime(
    monkeypatch: pytest.MonkeyPatch, asked: int, expected: int
) -> None:
    given: dict[str, Any] = {}

    class Watched(litert.Interpreter):  # type: ignore[misc]
        def __init__(self, **options: Any) -> None:
            given.update(options)
            super().__init__(**options)

    monkeypatch.setattr(litert, "Interpreter", Watched)
    opened(means(), threads=asked)
    assert given["num_threads"] == expected


@pytest.mark.parametrize("device", ["cuda", "tpu"])
def test_only_the_cpu_is_offered(device: str) -> None:
    with pytest.raises(RuntimeUnavailable, match=f"'cpu' only, not on '{device}'"):
        opened(means(), device=device)


def test_is_listed_with_its_version() -> None:
    (found,) = [each for each in runtime.runtimes() if each.runtime == "litert"]
    assert (found.device, found.available) == ("cpu", True)
    assert found.detail.startswith("LiteRT 2.")


def test_without_litert_the_cure_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("ai_edge_litert", "ai_edge_litert.interpreter"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(RuntimeUnavailable, match=r"pip install 'facekeep\[litert\]'") as caught:
        opened(means())
    assert_one_line(caught.value)
    found = {(each.runtime, each.device): each for each in runtime.runtimes()}
    assert not found["litert", "cpu"].available
    assert "facekeep[litert]" in found["litert", "cpu"].detail
    assert found["onnxruntime", "cpu"].available


@pytest.mark.slow
def test_nothing_is_printed_but_what_others_print(tmp_path: Path) -> None:
    """LiteRT greets on stderr when its first network is opened."""
    path = tmp_path / "network.tflite"
    path.write_bytes(means())
    code = (
        "import os, pathlib, sys; from ai_edge_litert import interpreter as litert;"
        "from facekeep.runtime import RuntimeOptions, open_session;"
        "real = litert.Interpreter.allocate_tensors;"
        "litert.Interpreter.allocate_tensors = lambda self: (os.write(2, b'mine\\n'), real(self));"
        f"open_session(pathlib.Path({str(path)!r}), RuntimeOptions(runtime='litert'));"
        "os.write(2, b' after')"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
    heard = run.stderr.splitlines()
    assert run.stdout == b""
    assert heard[-2:] == [b"mine", b" after"]
    assert not any(line.startswith(b"INFO: ") for line in heard)  # others may have been printed


@pytest.mark.slow
def test_a_process_without_stderr_can_open_networks() -> None:
    code = (
        f"import os, sys; os.close(2); sys.path.insert(0, {str(HELPERS)!r});"
        "from litert_kit import means; from facekeep.runtime import RuntimeOptions, open_session;"
        "open_session(means(), RuntimeOptions(runtime='litert')); print('well')"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False, text=True)
    assert run.stdout == "well\n"


@pytest.mark.shared
def test_runs_a_published_network_of_faces(shared: Path) -> None:
    session = opened(shared / "weights" / "edgeface_xs_gamma_06_float16.tflite")
    assert session.inputs[0].shape == (1, 112, 112, 3)
    assert session.inputs[0].channels_last
    x = np.random.default_rng(0).random((1, 112, 112, 3), dtype=np.float32)
    (rows,) = session.run({session.inputs[0].name: x})
    assert rows.shape == (1, 512)
    assert np.isfinite(rows).all()
    assert np.linalg.norm(rows) > 1e-3
