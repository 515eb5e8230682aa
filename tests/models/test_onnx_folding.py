from __future__ import annotations

import hashlib
import itertools
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from networks import embedder, initializer_names, quantized
from numpy.typing import NDArray
from PIL import Image

from facekeep.errors import ModelCorrupt
from facekeep.models import entry, locate
from facekeep.models.onnx_folding import fold_block_quantized
from facekeep.runtime import RuntimeOptions, Session, open_session

FLOAT32_SFACE = "4aaa72a36275435320c5045b68b9d8a85951f6653afdbe813e1d72de687e6e8c"
"""The digest of what versions up to 0.1.0 ran for sface."""


def test_computes_what_the_quantized_constants_stand_for() -> None:
    source, weight, bias = quantized()
    session = open_session(fold_block_quantized(source, any_size=False))
    x = np.random.default_rng(0).normal(size=(3, 10)).astype(np.float32)
    np.testing.assert_allclose(session.run({"x": x})[0], x @ weight.T + bias, rtol=1e-4, atol=1e-4)


def test_keeps_only_what_the_network_needs() -> None:
    folded = fold_block_quantized(quantized()[0], any_size=False)
    graph = onnx.load_model_from_string(folded).graph
    assert [node.op_type for node in graph.node] == ["Gemm"]
    assert [item.name for item in graph.input] == ["x"]
    assert initializer_names(folded) == {"w_reshaped", "b_real"}


def test_equal_input_gives_equal_bytes() -> None:
    source = quantized()[0]
    assert fold_block_quantized(source, any_size=False) == fold_block_quantized(
        source, any_size=False
    )


def test_a_network_without_quantized_constants_keeps_its_results() -> None:
    x = np.random.default_rng(0).random((2, 3, 112, 112), dtype=np.float32)
    folded = fold_block_quantized(embedder(), any_size=False)
    (expected,) = open_session(embedder()).run({"x": x})
    np.testing.assert_array_equal(open_session(folded).run({"x": x})[0], expected)


def test_a_batch_fixed_in_a_reshape_is_freed() -> None:
    fixed = embedder(batch=1, baked=True)
    x = np.random.default_rng(0).random((3, 3, 112, 112), dtype=np.float32)
    singles = [open_session(fixed).run({"x": x[i : i + 1]})[0][0] for i in range(3)]
    source = onnx.load_model_from_string(fixed)
    shape = onnx.numpy_helper.from_array(np.array([1, -1]), "rows")
    source.graph.initializer[0].CopyFrom(shape)
    folded = open_session(fold_block_quantized(source.SerializeToString(), any_size=False))
    np.testing.assert_allclose(folded.run({"x": x})[0], singles, rtol=1e-6)


@pytest.mark.parametrize(
    "slopes",
    [
        [[[0.25]], [[0.0]], [[-0.5]], [[0.75]]],
        [[[0.25]], [[1.0]], [[-0.5]], [[0.0]]],
        [[[0.25]], [[1.25]], [[-3.0]], [[0.0]]],
        [[[0.25]], [[1e4]], [[-0.5]], [[0.0]]],
        [[0.25, 1.5, -1.0, 0.0, 1.0]],
        [0.25],
        [[[0.25]]],
    ],
    ids=["below 1", "1", "above 1", "steep", "by column", "one", "one for all"],
)
def test_prelu_is_replaced_by_equal_nodes(slopes: list[Any]) -> None:
    slope = np.array(slopes, np.float32)
    source = prelus(["x", "y"], "slope", slope)
    folded = fold_block_quantized(source, any_size=False)
    assert "PRelu" not in kinds(folded)
    assert kinds(fold_block_quantized(source, any_size=False, quick=False)) == ["PRelu"]
    x = np.random.default_rng(0).normal(size=(2, 4, 5, 5)).astype(np.float32)
    (result,) = open_session(folded).run({"x": x})
    rounding = 1e-6 if "Conv" in kinds(folded) else 0
    expected = np.where(x < 0, slope * x, x)
    np.testing.assert_allclose(result, expected, rtol=rounding, atol=rounding)


def test_a_constant_called_like_a_slope_is_left_alone() -> None:
    slope = np.array([0.25, 0.5, -0.5, 0.75], np.float32).reshape(4, 1, 1)
    source = prelus(["x", "a", "b", "y"], "a_slope", slope)
    folded = open_session(fold_block_quantized(source, any_size=False))
    x = np.random.default_rng(0).normal(size=(1, 4, 5, 5)).astype(np.float32)
    expected = x
    for _ in range(3):
        expected = np.where(expected < 0, slope * expected, expected)
    np.testing.assert_allclose(folded.run({"x": x})[0], expected, rtol=1e-6, atol=1e-6)


def prelus(path: list[str], name: str, slope: NDArray[np.float32]) -> bytes:
    """A network of PReLUs, one behind the other, that share a slope."""
    nodes = [onnx.helper.make_node("PRelu", [a, name], [b]) for a, b in itertools.pairwise(path)]
    ends = (
        onnx.helper.make_tensor_value_info(end, onnx.TensorProto.FLOAT, ["n", 4, 5, 5])
        for end in (path[0], path[-1])
    )
    slopes = [onnx.numpy_helper.from_array(slope, name)]
    graph = onnx.helper.make_graph(nodes, "prelus", *([end] for end in ends), slopes)
    opset = [onnx.helper.make_opsetid("", 21)]
    model = onnx.helper.make_model(graph, opset_imports=opset, ir_version=10)
    content: bytes = model.SerializeToString()
    return content


def kinds(network: bytes) -> list[str]:
    return [node.op_type for node in onnx.load_model_from_string(network).graph.node]


@pytest.mark.parametrize("source", [b"no network", b"\x00" * 64])
def test_what_is_no_network_is_refused(source: bytes) -> None:
    with pytest.raises(ModelCorrupt, match="cannot be read"):
        fold_block_quantized(source, any_size=False)


def test_an_unknown_kind_of_quantization_is_refused() -> None:
    source = onnx.load_model_from_string(quantized()[0])
    for node in source.graph.node:
        if node.output[0] == "w_real":
            del node.attribute[:]
    with pytest.raises(ModelCorrupt, match="'w_real'"):
        fold_block_quantized(source.SerializeToString(), any_size=False)


@pytest.mark.parametrize("store", ["float32", "int8"])
def test_weights_may_stay_in_their_blocks(store: str) -> None:
    source, weight, bias = quantized()
    stored = fold_block_quantized(source, any_size=False, store=store)
    assert ("DequantizeLinear" in kinds(stored)) == (store == "int8")
    assert fold_block_quantized(stored, any_size=False) == fold_block_quantized(
        source, any_size=False
    ), "folding the blocks later gives the same"
    x = np.random.default_rng(0).normal(size=(3, 10)).astype(np.float32)
    (found,) = open_session(stored).run({"x": x})
    np.testing.assert_allclose(found, x @ weight.T + bias, rtol=1e-4, atol=1e-4)


def test_sface_in_8_bits_gives_the_numbers_that_it_gave_in_float32(sface: Session) -> None:
    """Galleries that were made with the float32 file of older versions stay valid."""
    content = locate(entry("sface")).read_bytes()
    assert kinds(content).count("MatMulNBits") == 2
    folded = fold_block_quantized(content, any_size=False)
    assert hashlib.sha256(folded).hexdigest() == FLOAT32_SFACE
    faces = {"data": noise(2, 3, 112, 112)}
    (expected,) = open_session(folded, options=RuntimeOptions(threads=1)).run(faces)
    (found,) = sface.run(faces)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5 * np.abs(expected).max())


@pytest.fixture
def yunet() -> Session:
    return open_session(locate(entry("yunet")), options=RuntimeOptions(threads=1))


@pytest.fixture
def sface() -> Session:
    return open_session(locate(entry("sface")), options=RuntimeOptions(threads=1))


def noise(*shape: int) -> NDArray[np.float32]:
    return np.random.default_rng(3).uniform(0, 255, shape).astype(np.float32)


@pytest.mark.parametrize("size", [(32, 32), (320, 256), (96, 640)])
def test_yunet_takes_batches_of_any_size(yunet: Session, size: tuple[int, int]) -> None:
    images = noise(3, 3, *size)
    together = yunet.run({"input": images})
    for i in range(3):
        alone = yunet.run({"input": images[i : i + 1]})
        for batch_head, head in zip(together, alone, strict=True):
            assert head.shape[1] in {size[0] * size[1] // s**2 for s in (8, 16, 32)}
            np.testing.assert_allclose(batch_head[i], head[0], rtol=1e-5, atol=1e-5)


@pytest.mark.slow
def test_sface_rows_do_not_depend_on_the_batch(sface: Session) -> None:
    faces = noise(5, 3, 112, 112)
    (together,) = sface.run({"data": faces})
    alone = [sface.run({"data": faces[i : i + 1]})[0][0] for i in range(5)]
    assert together.shape == (5, entry("sface").width)
    np.testing.assert_allclose(together, alone, rtol=1e-4, atol=1e-4)


@pytest.mark.slow
@pytest.mark.shared
def test_yunet_agrees_with_the_published_float_network(yunet: Session, shared: Path) -> None:
    """The 8-bit rounding of its publisher moves boxes and landmarks by a pixel, rarely two."""
    reference = open_session(
        shared / "weights" / "face_detection_yunet_2023mar.onnx", options=RuntimeOptions(threads=1)
    )
    photos = sorted((shared / "lfw" / "images").glob("*/*_0001.jpg"))[::130][:32]
    moved: list[float] = []
    for start in range(0, len(photos), 4):
        feeds = {"input": collage(photos[start : start + 4])}
        found, expected = heads(yunet, feeds), heads(reference, feeds)
        for stride in (8, 16, 32):
            sure = score(expected, stride) > 0.8
            offset = np.abs(score(found, stride) - score(expected, stride))[sure]
            assert offset.max(initial=0) < 0.05
            for head in (f"bbox_{stride}", f"kps_{stride}"):
                step = pixels(found[head][0, sure], stride) - pixels(
                    expected[head][0, sure], stride
                )
                moved.extend(np.abs(step).max(axis=1))
    assert len(moved) >= 2 * len(photos)
    assert np.percentile(moved, 95) < 1
    assert max(moved) < 2


def collage(photos: list[Path]) -> NDArray[np.float32]:
    """Put four photos into a 640 x 640 picture as YuNet is fed: 1 x 3 x 640 x 640, BGR."""
    whole = np.zeros((640, 640, 3), np.float32)
    for number, photo in enumerate(photos):
        with Image.open(photo) as picture:
            rgb = np.asarray(picture.convert("RGB"), np.float32)
        y, x = divmod(number, 2)
        whole[y * 320 :, x * 320 :][: rgb.shape[0], : rgb.shape[1]] = rgb
    return np.ascontiguousarray(whole.transpose(2, 0, 1)[None, ::-1])


def heads(
    session: Session, feeds: dict[str, NDArray[np.float32]]
) -> dict[str, NDArray[np.float32]]:
    return dict(zip([out.name for out in session.outputs], session.run(feeds), strict=True))


def score(found: dict[str, NDArray[np.float32]], stride: int) -> NDArray[np.float32]:
    root: NDArray[np.float32] = np.sqrt(found[f"cls_{stride}"] * found[f"obj_{stride}"])
    return root[0, :, 0]


def pixels(head: NDArray[np.float32], stride: int) -> NDArray[np.float32]:
    """Turn a head into points, in pixels from its anchors; a box becomes its two corners."""
    points = head * np.float32(stride)
    if head.shape[1] == 4:
        sides = np.exp(head[:, 2:]) * np.float32(stride)
        points = np.hstack([points[:, :2] - sides / 2, points[:, :2] + sides / 2])
    return points


def kernels(content: bytes) -> list[NDArray[np.float32]]:
    """The kernels of all convolutions, in the order of the graph."""
    graph = onnx.load_model_from_string(content).graph
    constants = {item.name: onnx.numpy_helper.to_array(item) for item in graph.initializer}
    return [constants[node.input[1]] for node in graph.node if node.op_type == "Conv"]


@pytest.mark.shared
def test_folded_weights_are_the_published_ones_but_for_their_rounding(shared: Path) -> None:
    published = shared / "weights" / "face_detection_yunet_2023mar.onnx"
    pairs = zip(
        kernels(locate(entry("yunet")).read_bytes()), kernels(published.read_bytes()), strict=True
    )
    for folded, exact in pairs:
        rows = exact.reshape(len(exact), -1)
        step = 2 * np.abs(rows).max(axis=1) / 255
        apart = np.abs(folded.reshape(rows.shape) - rows).max(axis=1)
        assert (apart <= 0.501 * step).all()
