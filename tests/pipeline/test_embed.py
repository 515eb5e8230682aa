from __future__ import annotations

import hashlib
import io
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import onnx
import pytest
from msgspec import structs
from onnx import TensorProto, helper, numpy_helper
from PIL import Image, ImageEnhance

from facekeep.errors import InputError, ModelError, ModelNotFound
from facekeep.models import FileEntry, ModelEntry, entry
from facekeep.pipeline.align import align
from facekeep.pipeline.detect import Detector
from facekeep.pipeline.embed import Embedder
from facekeep.runtime import RuntimeOptions


@pytest.fixture(scope="module")
def embedder():
    with Embedder() as opened:
        yield opened


@pytest.fixture(scope="module")
def flipping():
    with Embedder(flip=True) as opened:
        yield opened


@pytest.fixture(scope="module")
def detector():
    with Detector() as opened:
        yield opened


@pytest.fixture(scope="module")
def crops(hopper, collins, detector):
    """33 crops of two people: shifted, so that no two are alike."""
    faces = [(image, detector.detect(image)[0].landmarks) for image in (hopper, collins)]
    found = [align(image, points + i / 4) for i in range(17) for image, points in faces][:33]
    return np.stack(found)


# A network of our own: the mean of each channel, so every answer is known


def a_model(folder, width=6, batch="n", size=64, name="means", gain=1.0, **changes) -> ModelEntry:
    """An entry for a network that gives each channel's mean, and twice it, again and again."""
    times = np.array([gain * (1 + i // 3) for i in range(width)], np.float32)
    pick = np.array([i % 3 for i in range(width)], np.int64)
    graph = helper.make_graph(
        [
            helper.make_node("ReduceMean", ["x", "axes"], ["means"], keepdims=0),
            helper.make_node("Gather", ["means", "pick"], ["picked"], axis=1),
            helper.make_node("Mul", ["picked", "times"], ["y"]),
        ],
        name,
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [batch, 3, size, size])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [batch, width])],
        [
            numpy_helper.from_array(np.array([2, 3], np.int64), "axes"),
            numpy_helper.from_array(pick, "pick"),
            numpy_helper.from_array(times, "times"),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    onnx.checker.check_model(model)
    content = model.SerializeToString()
    (folder / f"{name}.onnx").write_bytes(content)
    file = FileEntry(f"{name}.onnx", hashlib.sha256(content).hexdigest(), len(content))
    facts = {
        "task": "embed",
        "architecture": "onnx",
        "summary": "the means of the channels",
        "weights_license": "none",
        "training_data": "none",
        "color": "rgb",
        "mean": (0.0, 0.0, 0.0),
        "scale": (1.0, 1.0, 1.0),
        "input_size": size,
        "width": width,
        "alignment": "arcface-112",
        "folder": folder,
    }
    return ModelEntry(name=name, files=(file,), **(facts | changes))


def unit(values):
    return np.asarray(values) / np.linalg.norm(values)


COLORS = ([200, 100, 50], [10, 20, 250], [77, 77, 77], [1, 0, 255])


def plain(size):
    return np.stack([np.full((size, size, 3), color, np.uint8) for color in COLORS])


@pytest.mark.parametrize("flip", [False, True])
@pytest.mark.parametrize("color", ["rgb", "bgr"])
@pytest.mark.parametrize(
    ("mean", "scale"),
    [
        ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0)),
        ((127.5, 127.5, 127.5), (1 / 127.5,) * 3),
        ((123.7, 116.3, 103.5), (0.017, 0.0175, 0.0174)),
        ((0.0, 0.0, 9.0), (1.0, 1.0, 0.5)),
    ],
)
@pytest.mark.parametrize(
    ("width", "size", "batch", "most"), [(6, 64, "n", None), (512, 64, 1, 1), (3, 112, "n", 2)]
)
def test_the_network_is_fed_what_the_catalog_says(
    tmp_path, width, size, batch, most, mean, scale, color, flip
):
    model = a_model(
        tmp_path, width, batch, size, mean=mean, scale=scale, color=color, max_batch=most
    )
    with Embedder(model, flip=flip) as embedder:
        assert (embedder.size, embedder.width) == (size, width)
        found = embedder.embed(plain(size))
    order = [2, 1, 0] if color == "bgr" else [0, 1, 2]
    fed = (np.array(COLORS, float)[:, order] - mean) * scale
    expected = [unit([(1 + i // 3) * row[i % 3] for i in range(width)]) for row in fed]
    assert found.shape == (len(COLORS), width)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, atol=2e-5)


def test_the_crops_stay_as_they_were(tmp_path):
    crops = plain(64)
    before = crops.copy()
    crops.setflags(write=False)
    with Embedder(a_model(tmp_path, mean=(5.0, 5.0, 5.0)), flip=True) as embedder:
        embedder.embed(crops)
    np.testing.assert_array_equal(crops, before)


@pytest.mark.parametrize("gain", [0.0, np.nan, np.inf])
@pytest.mark.parametrize("flip", [False, True])
def test_a_vector_without_direction_is_an_error_of_the_model(tmp_path, gain, flip):
    model = a_model(tmp_path, gain=gain)
    with (
        Embedder(model, flip=flip) as embedder,
        pytest.raises(ModelError, match="without direction") as caught,
    ):
        embedder.embed(plain(64))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("gain", [1e-18, 1e30])
def test_the_length_of_the_networks_vector_does_not_matter(tmp_path, gain):
    with Embedder(a_model(tmp_path, gain=gain)) as embedder:
        rows = embedder.embed(plain(64))
    np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-6)


@pytest.mark.parametrize("claimed", [3, 5, 12])
@pytest.mark.parametrize("count", [1, 2, 4])
def test_a_network_of_another_width_is_an_error_of_the_model(tmp_path, claimed, count):
    model = a_model(tmp_path, width=6)
    wrong = structs.replace(model, width=claimed)
    with Embedder(wrong) as embedder, pytest.raises(ModelError, match=f"not {claimed} numbers"):
        embedder.embed(plain(64)[:count])


def test_the_space_follows_weights_and_preprocessing(tmp_path):
    def space(folder="one", **changes):
        (tmp_path / folder).mkdir(exist_ok=True)
        with Embedder(a_model(tmp_path / folder, **changes)) as embedder:
            return embedder.space

    same = [space(), space(folder="two"), space(summary="other words"), space(max_batch=1)]
    assert len(set(same)) == 1
    other = [
        space(color="bgr"),
        space(mean=(1.0, 0.0, 0.0)),
        space(scale=(0.5, 1.0, 1.0)),
        space(width=9),
        space(size=112),
    ]
    assert len({same[0], *other}) == 1 + len(other)


def test_flipping_does_not_change_the_space(embedder, flipping):
    assert embedder.space == flipping.space


# The default model on real faces


def test_embeddings_are_unit_rows_of_the_models_width(embedder, crops):
    rows = embedder.embed(crops[:3])
    assert rows.shape == (3, embedder.width) == (3, entry(embedder.entry.name).width)
    assert rows.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-6)


def test_no_crops_give_no_rows(embedder, flipping):
    for each in (embedder, flipping):
        rows = each.embed(np.empty((0, each.size, each.size, 3), np.uint8))
        assert rows.shape == (0, each.width)
        assert rows.dtype == np.float32


@pytest.mark.slow
def test_a_batch_is_its_singles(embedder, crops):
    batch = embedder.embed(crops)
    singles = np.concatenate([embedder.embed(crop[None]) for crop in crops])
    np.testing.assert_allclose(batch, singles, atol=1e-5)
    assert np.abs(batch[0] - batch[2]).max() > 1e-3


@pytest.mark.slow
def test_flip_averages_a_crop_with_its_mirror_image(embedder, flipping, crops):
    crops, mirrored = crops[:4], crops[:4, :, ::-1]
    both = embedder.embed(crops) + embedder.embed(mirrored)
    expected = both / np.linalg.norm(both, axis=1, keepdims=True)
    np.testing.assert_allclose(flipping.embed(crops), expected, atol=1e-5)
    np.testing.assert_allclose(flipping.embed(mirrored), flipping.embed(crops), atol=1e-5)
    assert np.abs(embedder.embed(mirrored) - embedder.embed(crops)).max() > 1e-3


def altered(image, how):
    picture = Image.fromarray(image)
    if how == "jpeg 30":
        stream = io.BytesIO()
        picture.save(stream, "JPEG", quality=30)
        picture = Image.open(stream)
    elif how == "darker":
        picture = ImageEnhance.Brightness(picture).enhance(0.4)
    elif how == "rotated":
        picture = picture.rotate(10, Image.Resampling.BICUBIC)
    elif how == "half size":
        picture = picture.reduce(2)
    elif how == "mirrored":
        picture = picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    return np.array(picture)


@pytest.mark.parametrize("how", ["jpeg 30", "darker", "rotated", "half size", "mirrored"])
def test_the_same_person_is_nearer_than_another(detector, embedder, hopper, collins, how):
    images = [hopper, altered(hopper, how), collins, altered(collins, how)]
    faces = [(image, detector.detect(image)[0].landmarks) for image in images]
    rows = embedder.embed(np.stack([align(*face, embedder.size) for face in faces]))
    cosine = rows @ rows.T
    assert min(cosine[0, 1], cosine[2, 3]) > 0.8
    assert cosine[:2, 2:].max() < 0.3


@pytest.mark.parametrize("name", ["facekeep-xs", "facekeep-xxs"])
def test_our_own_embedders_tell_people_apart(name, detector, hopper, collins):
    images = [hopper, altered(hopper, "jpeg 30"), altered(hopper, "mirrored"), collins]
    faces = [(image, detector.detect(image)[0].landmarks) for image in images]
    with Embedder(name, options=RuntimeOptions(threads=1)) as embedder:
        rows = embedder.embed(np.stack([align(*face, embedder.size) for face in faces]))
    assert rows.shape == (4, 512)
    strictest = embedder.entry.thresholds[-1][1]
    assert (rows[0] @ rows[1:3].T).min() > strictest
    assert (rows[:3] @ rows[3]).max() < embedder.entry.thresholds[0][1]


# Wrong use


@pytest.mark.parametrize(
    "crops",
    [
        np.zeros((112, 112, 3), np.uint8),
        np.zeros((1, 111, 112, 3), np.uint8),
        np.zeros((1, 3, 112, 112), np.uint8),
        np.zeros((1, 112, 112, 4), np.uint8),
        np.zeros((1, 112, 112, 3), np.float32),
        np.zeros((0,), np.uint8),
        [],
        None,
        "crops",
    ],
)
def test_other_shapes_and_types_are_refused(embedder, crops):
    with pytest.raises(InputError, match="112, 112, 3"):
        embedder.embed(crops)


def test_a_list_of_crops_is_a_batch(embedder, crops):
    np.testing.assert_array_equal(embedder.embed(list(crops[:2])), embedder.embed(crops[:2]))


def test_ragged_crops_are_refused(embedder):
    ragged = [np.zeros((112, 112, 3), np.uint8), np.zeros((100, 112, 3), np.uint8)]
    with pytest.raises(InputError):
        embedder.embed(ragged)


def test_after_close_it_is_refused(tmp_path):
    embedder = Embedder(a_model(tmp_path))
    embedder.embed(plain(64))
    embedder.close()
    embedder.close()
    with pytest.raises(InputError, match="closed"):
        embedder.embed(plain(64))


def test_only_embedders_embed():
    with pytest.raises(ModelError, match="not to embed"):
        Embedder("yunet")
    with pytest.raises(ModelNotFound, match="no model is called"):
        Embedder("no-such-model")


# Threads


@pytest.mark.slow
def test_threads_share_one_embedder(embedder, crops):
    batches = [crops[i % 33 : i % 33 + 1] for i in range(40)]
    serial = [embedder.embed(batch) for batch in batches]
    with ThreadPoolExecutor(8) as pool:
        parallel = list(pool.map(embedder.embed, batches))
    for one, other in zip(serial, parallel, strict=True):
        np.testing.assert_array_equal(one, other)
