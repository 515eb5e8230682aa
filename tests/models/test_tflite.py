"""``.tflite`` networks as models: imported, run with the runtime they need, refused to others."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from litert_kit import WEIGHT, means
from networks import embedder

from facekeep.engine import FaceEngine
from facekeep.errors import InputError, ModelCorrupt, ModelError, RuntimeUnavailable
from facekeep.models import (
    checkpoint_path,
    entry,
    import_model,
    locate,
    model_cost,
    open_model,
    verify,
)
from facekeep.pipeline.embed import Embedder
from facekeep.runtime import RuntimeOptions

pytestmark = pytest.mark.usefixtures("models")


@pytest.fixture
def tflite(tmp_path: Path) -> Path:
    path = tmp_path / "network.tflite"
    path.write_bytes(means())
    return path


@pytest.mark.slow
@pytest.mark.parametrize(("batch", "most"), [(None, None), (1, 1)])
def test_a_tflite_becomes_a_model(
    tflite: Path, models: Path, batch: int | None, most: int | None
) -> None:
    tflite.write_bytes(means(batch))
    made = import_model(tflite, "mine", arch="tflite")
    assert entry("mine") == made
    assert (made.architecture, made.runtime) == ("tflite", "litert")
    assert (made.input_size, made.width, made.max_batch) == (8, 4, most)
    assert locate(made) == models / "mine" / "mine.tflite"
    assert verify(made).state == "ok"
    assert checkpoint_path(made) is None


@pytest.mark.slow
@pytest.mark.parametrize("batch", [None, 1])
@pytest.mark.parametrize("color", ["rgb", "bgr"])
def test_the_network_is_fed_what_the_entry_says(
    tflite: Path, batch: int | None, color: str
) -> None:
    tflite.write_bytes(means(batch))
    mean, scale = (10.0, 20.0, 30.0), (0.5, 0.25, 0.125)
    import_model(tflite, "mine", arch="tflite", color=color, mean=mean, scale=scale)  # type: ignore[arg-type]
    crops = np.random.default_rng(0).integers(0, 256, (7, 8, 8, 3), dtype=np.uint8)
    with Embedder("mine", options=RuntimeOptions(threads=1)) as opened:
        rows = opened.embed(crops)
    fed = (crops[..., ::-1] if color == "bgr" else crops) - np.array(mean)
    expected = (fed * scale).mean((1, 2)) @ WEIGHT.T
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    np.testing.assert_allclose(rows, expected, atol=1e-5)


@pytest.mark.slow
def test_an_onnx_network_may_have_its_channels_last_too(tmp_path: Path) -> None:
    from networks import network
    from onnx import helper

    nodes = [
        helper.make_node("ReduceMean", ["x", "axes"], ["means"], keepdims=0),
        helper.make_node("Gemm", ["means", "weight"], ["y"], transB=1),
    ]
    weights = {"axes": np.array([1, 2]), "weight": WEIGHT}
    path = tmp_path / "network.onnx"
    path.write_bytes(network(nodes, weights, ["n", 8, 8, 3], ["n", 4]))
    (tmp_path / "network.tflite").write_bytes(means())
    import_model(path, "one")
    import_model(tmp_path / "network.tflite", "other", arch="tflite")
    crops = np.random.default_rng(0).integers(0, 256, (5, 8, 8, 3), dtype=np.uint8)
    with Embedder("one") as one, Embedder("other") as other:
        np.testing.assert_allclose(one.embed(crops), other.embed(crops), atol=1e-5)


@pytest.mark.slow
def test_what_is_no_embedder_is_refused(tflite: Path, models: Path) -> None:
    tflite.write_bytes(means(kind=np.uint8))
    with pytest.raises(ModelError, match="must take one float32"):
        import_model(tflite, "mine", arch="tflite")
    tflite.write_bytes(embedder())
    with pytest.raises(
        ModelCorrupt,
        match=r"network\.tflite is no network that can be run \(.*\); export it to LiteRT",
    ):
        import_model(tflite, "mine", arch="tflite")
    tflite.write_bytes(means())
    with pytest.raises(ModelCorrupt, match="to ONNX again, or name its kind"):
        import_model(tflite, "mine", arch="onnx")
    assert list(models.iterdir()) == []


@pytest.mark.slow
def test_only_the_right_runtime_runs_a_model(tflite: Path, network: Path) -> None:
    import_model(tflite, "lite", arch="tflite")
    import_model(network, "plain")
    for name, right, wrong in (
        ("lite", ("litert",), "onnxruntime"),
        ("plain", ("onnxruntime", "openvino"), "litert"),
    ):
        open_model(entry(name)).close()
        open_model(entry(name), options=RuntimeOptions(runtime=right[0])).close()
        runs = f"'{name}' runs with {' or '.join(right)} only, not with '{wrong}'"
        with pytest.raises(InputError, match=runs) as caught:
            Embedder(name, options=RuntimeOptions(runtime=wrong))
        assert "\n" not in str(caught.value)
    with pytest.raises(InputError, match="unknown runtime 'caffe'; known: onnxruntime, openvino"):
        Embedder("plain", options=RuntimeOptions(runtime="caffe"))


@pytest.mark.slow
def test_the_engine_runs_each_model_with_its_own_runtime(tflite: Path, hopper: np.ndarray) -> None:
    import_model(tflite, "lite", arch="tflite")
    with FaceEngine(embedder="lite", threads=1) as engine:
        (face,) = engine.analyze(hopper)
    assert face.embedding is not None
    assert face.embedding.shape == (4,)
    with (
        FaceEngine(embedder="lite", options=RuntimeOptions(runtime="litert")) as engine,
        pytest.raises(InputError, match="'yunet' runs with onnxruntime or openvino only"),
    ):
        engine.analyze(hopper)


@pytest.mark.slow
def test_without_litert_the_cure_is_named(
    tflite: Path, models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import_model(tflite, "lite", arch="tflite")
    for name in ("ai_edge_litert", "ai_edge_litert.interpreter"):
        monkeypatch.setitem(sys.modules, name, None)
    missing = tflite.parent / "missing"  # for the process that tries a network
    (missing / "ai_edge_litert").mkdir(parents=True)
    (missing / "ai_edge_litert/__init__.py").write_text("raise ImportError('not here')")
    monkeypatch.setenv("PYTHONPATH", str(missing))
    for attempt in (
        lambda: Embedder("lite"),
        lambda: import_model(tflite, "more", arch="tflite"),
    ):
        with pytest.raises(RuntimeUnavailable, match=r"pip install 'facekeep\[litert\]'"):
            attempt()
    assert [path.name for path in models.iterdir()] == ["lite"]


@pytest.mark.slow
def test_its_operations_are_not_counted(tflite: Path) -> None:
    made = import_model(tflite, "lite", arch="tflite")
    with pytest.raises(InputError, match="'lite' is no ONNX network"):
        model_cost(made)


@pytest.mark.slow
@pytest.mark.shared
def test_a_published_network_tells_people_apart(
    shared: Path, hopper: np.ndarray, collins: np.ndarray
) -> None:
    file = shared / "weights" / "edgeface_xs_gamma_06_float16.tflite"
    made = import_model(file, "xs16", arch="tflite")
    assert (made.input_size, made.width, made.max_batch) == (112, 512, 1)
    with FaceEngine(embedder="xs16", threads=1) as engine:
        images = (hopper, np.ascontiguousarray(hopper[:, ::-1]), collins)
        rows = np.stack([engine.analyze(image)[0].embedding for image in images])
    cosine = rows @ rows.T
    assert cosine[0, 1] > 0.7
    assert cosine[0, 2] < 0.3
