from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ncnn_kit import WEIGHT, means
from numpy.typing import NDArray
from session_kit import assert_one_line

from facekeep import runtime
from facekeep.errors import InputError, ModelCorrupt, ModelNotFound, RuntimeUnavailable
from facekeep.runtime import RuntimeOptions, Session, TensorInfo, open_session

ncnn = pytest.importorskip("ncnn", reason="the extra 'ncnn' is not installed")


def opened(model: Path | bytes, **options: Any) -> Session:
    return open_session(model, RuntimeOptions(runtime="ncnn", **({"threads": 1} | options)))


@pytest.fixture
def session(tmp_path: Path) -> Session:
    return opened(means(tmp_path))


def pictures(count: int, seed: int = 0) -> NDArray[np.float32]:
    return np.random.default_rng(seed).random((count, 3, 8, 8), dtype=np.float32)


def test_describes_what_it_takes_and_gives(session: Session, tmp_path: Path) -> None:
    assert session.inputs == (TensorInfo("x", (None, 3, 8, 8), "float32"),)
    assert session.outputs == (TensorInfo("y", (), "float32"),)
    free = opened(means(tmp_path, sizes="")).inputs[0]
    assert free.shape == (None, None, None, None)


def test_runs_batches_of_any_length_in_turn(session: Session) -> None:
    for count in (1, 5, 2):
        x = pictures(count, seed=count)
        (y,) = session.run({"x": x})
        np.testing.assert_allclose(y, x.mean((2, 3)) @ WEIGHT.T, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("size", [(5, 7), (1, 3), (9, 2)])
def test_pictures_of_odd_sizes_are_read_as_they_lie(tmp_path: Path, size: tuple[int, int]) -> None:
    x = np.random.default_rng(0).random((2, 3, *size), dtype=np.float32)
    (y,) = opened(means(tmp_path, sizes="")).run({"x": x})
    np.testing.assert_allclose(y, x.mean((2, 3)) @ WEIGHT.T, rtol=1e-5, atol=1e-6)


def test_what_is_fed_stays_as_it_is(session: Session) -> None:
    x = pictures(1) - 1
    before = x.copy()
    (y,) = session.run({"x": x})
    np.testing.assert_array_equal(x, before)
    np.testing.assert_allclose(y, np.zeros((1, 4)), atol=1e-6)


def test_inputs_of_different_batches_are_one_line(tmp_path: Path) -> None:
    path = tmp_path / "sum.param"
    lines = ["7767517", "3 3", "Input x 0 1 x", "Input z 0 1 z", "BinaryOp sum 2 1 x z y 0=0"]
    path.write_text("\n".join(lines) + "\n")
    path.with_suffix(".bin").write_bytes(b"")
    session = opened(path)
    with pytest.raises(InputError, match="of one batch, but x has 2, z has 3") as caught:
        session.run({"x": pictures(2), "z": pictures(3)})
    assert_one_line(caught.value)
    (y,) = session.run({"x": pictures(2), "z": pictures(2)})
    np.testing.assert_allclose(y, 2 * pictures(2), rtol=1e-6)


@pytest.mark.parametrize("damage", ["empty", "text", "zeros", "cut", "a layer less", "no input"])
def test_a_damaged_param_is_one_line(
    tmp_path: Path, damage: str, capfd: pytest.CaptureFixture[str]
) -> None:
    path = means(tmp_path)
    content = path.read_text()
    path.write_text(
        {
            "empty": "",
            "text": "this is no network\n" * 10,
            "zeros": "\0" * 1000,
            "cut": content[: len(content) // 3],
            "a layer less": content.rpartition("InnerProduct")[0],
            "no input": content.replace("Input x", "Noop x"),
        }[damage]
    )
    with pytest.raises(ModelCorrupt, match=r"cannot open means\.param") as caught:
        opened(path)
    assert_one_line(caught.value)
    assert capfd.readouterr().err == ""


def test_names_that_are_not_utf_8_are_one_line(tmp_path: Path) -> None:
    path = means(tmp_path)
    content = path.read_bytes()
    for name in (b" x", b" y"):
        path.write_bytes(content.replace(name, b" \xff"))
        with pytest.raises(ModelCorrupt, match="names that are not UTF-8") as caught:
            opened(path)
        assert_one_line(caught.value)


def test_weights_that_are_cut_off_are_one_line(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = means(tmp_path)
    weights = path.with_suffix(".bin")
    weights.write_bytes(weights.read_bytes()[:20])
    with pytest.raises(ModelCorrupt, match=r"means\.param: it or its \.bin is damaged"):
        opened(path)
    assert capfd.readouterr().err == ""


def test_both_files_must_be_there(tmp_path: Path) -> None:
    path = means(tmp_path)
    path.with_suffix(".bin").unlink()
    with pytest.raises(ModelNotFound, match=r"means\.bin: it belongs to means\.param"):
        opened(path)
    with pytest.raises(ModelNotFound, match="no model file at"):
        opened(tmp_path / "missing.param")


def test_content_without_a_path_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="two files"):
        opened(means(tmp_path).read_bytes())


def test_only_the_cpu_is_offered(tmp_path: Path) -> None:
    with pytest.raises(RuntimeUnavailable, match="'cpu' only, not on 'cuda'"):
        opened(means(tmp_path), device="cuda")


def test_bfloat16_keeps_fewer_bits(session: Session, tmp_path: Path) -> None:
    rough = opened(means(tmp_path), precision="bfloat16")
    whole, halved = session.run({"x": pictures(1)})[0], rough.run({"x": pictures(1)})[0]
    assert 0 < np.abs(whole - halved).max() < 0.05


def test_float16_is_used_where_the_processor_has_it_and_refused_elsewhere(tmp_path: Path) -> None:
    path = means(tmp_path)
    if ncnn.cpu_support_arm_asimdhp():
        assert opened(path, precision="float16").run({"x": pictures(1)})[0].shape == (1, 4)
        return
    with pytest.raises(RuntimeUnavailable, match="float16 on ARM"):
        opened(path, precision="float16")


def test_is_listed_with_its_version() -> None:
    (found,) = [each for each in runtime.runtimes() if each.runtime == "ncnn"]
    assert (found.device, found.available) == ("cpu", True)
    assert ncnn.__version__ in found.detail


def test_without_ncnn_the_cure_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ncnn", None)
    with pytest.raises(RuntimeUnavailable, match=r"pip install 'facekeep\[ncnn\]'") as caught:
        opened(means(tmp_path))
    assert_one_line(caught.value)


def test_what_others_write_meanwhile_comes_through(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    path = means(tmp_path)
    path.with_suffix(".bin").write_bytes(b"")

    class Loud(ncnn.Net):  # type: ignore[misc]
        def load_model(self, name: str) -> int:
            os.write(2, b"out of memory\n")
            return super().load_model(name)

    monkeypatch.setattr(ncnn, "Net", Loud)
    with pytest.raises(ModelCorrupt):
        opened(path)
    assert capfd.readouterr().err == "out of memory\n"


@pytest.mark.slow
def test_nothing_is_printed(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path;"
        "from facekeep.runtime import RuntimeOptions, open_session;"
        "open_session(Path(sys.argv[1]), RuntimeOptions(runtime='ncnn'))"
    )
    command = [sys.executable, "-c", code, str(means(tmp_path))]
    run = subprocess.run(command, capture_output=True, check=True)
    assert (run.stdout, run.stderr) == (b"", b"")
