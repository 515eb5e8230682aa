"""Networks in other formats: what is read is what was written, and damage is reported."""

from __future__ import annotations

import hashlib
import shutil
import struct
import sys
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from espdl_kit import Writer, espdl, openvino
from hub import Hub, whole
from msgspec import structs
from numpy.typing import NDArray

from facekeep import FaceEngine
from facekeep.errors import (
    FacekeepError,
    InputError,
    ModelCorrupt,
    ModelError,
    PullError,
    RuntimeUnavailable,
)
from facekeep.models import entry, import_model, locate, open_model, pull, space_id, verify
from facekeep.models.catalog import own_folder
from facekeep.models.foreign_network import convert_network
from facekeep.models.model_entry import IMPORT, UrlSource

PUBLISHED = ("espressif-mbf", "espressif-mfn", "intel-0095")


def whole_numbers(n: int = 18, m: int = 20) -> dict[str, NDArray[np.int8]]:
    """Weights that fill one block of sixteen, and some more."""
    random = np.random.default_rng(0)
    shapes = {"conv": (n, 3, 3, 3), "slope": (n,), "deep": (n, 1, 3, 3), "product": (m, n)}
    made = {name: random.integers(-128, 128, shape, np.int8) for name, shape in shapes.items()}
    return {**made, "bias": random.integers(-128, 128, m, np.int8)}


def halves(n: int = 8) -> dict[str, NDArray[np.float16]]:
    random = np.random.default_rng(0)
    return {
        "conv": random.normal(size=(n, 3, 3, 3)).astype(np.float16),
        "slope": np.array([0.25], np.float16),
    }


def run(content: bytes, faces: NDArray[np.float32]) -> NDArray[np.float32]:
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    return np.asarray(session.run(None, {"faces": faces})[0])


def noise(side: int = 112, count: int = 2) -> NDArray[np.float32]:
    return np.random.default_rng(1).normal(size=(count, 3, side, side)).astype(np.float32)


def convolved(
    faces: NDArray[np.float32], weights: NDArray[np.float32], pad: int, stride: int
) -> NDArray[np.float32]:
    """Convolve by the definition; weights N x 1 x H x W are one for each channel."""
    padded = np.pad(faces, ((0, 0), (0, 0), (pad, pad), (pad, pad)))
    views = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), (2, 3))
    views = views[:, :, ::stride, ::stride]
    if weights.shape[1] == 1:
        return np.einsum("bcyxij,cij->bcyx", views, weights[:, 0])
    return np.einsum("bcyxij,ncij->bnyx", views, weights)


def test_an_espdl_network_is_read_as_it_was_written() -> None:
    weights = whole_numbers()
    real = {name: each.astype(np.float32) / 64 for name, each in weights.items()}
    faces = noise()
    hidden = convolved(faces, real["conv"], 1, 2)
    hidden = np.where(hidden > 0, hidden, hidden * real["slope"][:, None, None])
    hidden = convolved(hidden, real["deep"], 0, 56)
    expected = hidden.reshape(2, -1) @ real["product"].T + weights["bias"] / 512
    found = run(convert_network("espdl", [espdl(weights)]), faces)
    assert np.abs(found - expected).max() < 1e-4 * np.abs(expected).max()


def test_a_network_of_openvino_is_read_as_it_was_written() -> None:
    weights = halves()
    faces = noise()
    hidden = convolved(faces, weights["conv"].astype(np.float32), 1, 2)
    hidden = np.where(hidden > 0, hidden, hidden * 0.25).mean(axis=(2, 3))
    found = run(convert_network("openvino", list(openvino(weights))), faces)
    assert np.abs(found - 1 / (1 + np.exp(-hidden))).max() < 1e-5


def test_a_narrow_network_sees_the_middle_columns_stretched() -> None:
    files = list(openvino(halves(), side=128))
    faces = noise()
    narrow = convert_network("openvino-narrow", files)
    changed = faces.copy()
    changed[..., :8] = changed[..., 104:] = 100
    assert np.array_equal(run(narrow, faces), run(narrow, changed))
    level = np.full((1, 3, 112, 112), 3, np.float32)
    as_is = run(convert_network("openvino", files), np.full((1, 3, 128, 128), 3, np.float32))
    assert np.abs(run(narrow, level) - as_is).max() < 1e-6


@pytest.mark.usefixtures("models")
@pytest.mark.parametrize("arch", [None, "espdl"])
def test_an_espdl_file_is_imported(tmp_path: Path, arch: str | None) -> None:
    file = tmp_path / "net.espdl"
    file.write_bytes(espdl(whole_numbers()))
    made = import_model(file, "mine", arch=arch)
    assert (made.architecture, made.width, made.input_size) == ("espdl", 20, 112)
    assert made.terms == "own"
    assert made == entry("mine")
    assert made.files[0].sha256 == hashlib.sha256(file.read_bytes()).hexdigest()
    assert verify(made).state == "ok"
    locate(made).write_bytes(b"damaged")
    assert verify(made).state == "damaged"
    pull(made)
    assert verify(entry("mine")).state == "ok"


@pytest.mark.usefixtures("models")
def test_a_network_of_openvino_is_imported_with_the_file_beside_it(tmp_path: Path) -> None:
    xml, data = openvino(halves())
    file = tmp_path / "net.xml"
    file.write_bytes(xml)
    with pytest.raises(FacekeepError, match=r"net\.bin"):
        import_model(file, "mine")
    (tmp_path / "net.bin").write_bytes(data)
    made = import_model(file, "mine")
    assert (made.architecture, made.width, len(made.files)) == ("openvino", 8, 2)
    assert verify(made).state == "ok"
    with pytest.raises(InputError, match="already called"):
        import_model(file, "mine")
    narrow = import_model(file, "narrow", arch="openvino-narrow")
    assert space_id(narrow) != space_id(made) or narrow.input_size == made.input_size


def damaged(content: bytes, cases: int) -> list[bytes]:
    """Copies with bytes changed, and copies cut short."""
    random = np.random.default_rng(2)
    made = [content[: int(at)] for at in random.integers(0, len(content), cases)]
    for _ in range(cases):
        changed = bytearray(content)
        for at in random.integers(0, len(content), 1 + int(random.integers(4))):
            changed[int(at)] = int(random.integers(256))
        made.append(bytes(changed))
    return made


def describe_damage(kind: str, files: list[bytes]) -> str:
    """What the error says about a file that may be damaged; empty if it can be converted."""
    try:
        assert len(convert_network(kind, files)) < 32 << 20
    except (ModelCorrupt, ModelError) as error:
        return str(error)
    return ""


@pytest.mark.parametrize("kind", ["espdl", "openvino"])
def test_damage_is_told_in_one_line_or_does_no_harm(kind: str) -> None:
    files = [espdl(whole_numbers())] if kind == "espdl" else list(openvino(halves()))
    messages = [describe_damage(kind, [first, *files[1:]]) for first in damaged(files[0], 300)]
    assert len(list(filter(None, messages))) > 100
    assert not any("\n" in each for each in messages)


def test_a_table_that_can_fill_the_memory_is_refused() -> None:
    xml, data = openvino(halves())
    bomb = b'<!DOCTYPE net [<!ENTITY a "aaaa">]>' + xml
    with pytest.raises(ModelCorrupt, match="no network of OpenVINO"):
        convert_network("openvino", [bomb, data])
    with pytest.raises(ModelCorrupt):
        convert_network("openvino", [xml.replace(b'"8,3,3,3"', b'"8,3,3,999999999"'), data])
    with pytest.raises(ModelCorrupt):
        convert_network("openvino", [xml.replace(b'shape="1,3,', b'shape="1,x,'), data])
    with pytest.raises(ModelCorrupt, match="shorter"):
        convert_network("openvino", [xml, data[:-1]])
    deep = b"<net>" + b"<a>" * 100_000 + b"</a>" * 100_000 + b"</net>"
    with pytest.raises(ModelCorrupt):
        convert_network("openvino", [deep, data])


def test_many_nodes_that_read_one_constant_do_not_fill_the_memory() -> None:
    make = Writer()
    big = make.tensor("big", np.ones(1000, np.int8), 3, [1000], 0)
    nodes = [make.node("Add", ["in", "big"], f"n{at}") for at in range(50)]
    graph = make.table(
        refs_0=nodes,
        refs_2=[big],
        refs_4=[make.value("in", [1, 112, 112, 3])],
        refs_5=[make.value("n49", [1, 1000])],
    )
    make.builder.Finish(make.table(ref_7=graph))
    body = bytes(make.builder.Output())
    with pytest.raises(ModelCorrupt, match="more numbers than it holds"):
        convert_network("espdl", [b"EDL2" + struct.pack("<III", 0, len(body), 0) + body])
    xml, data = openvino(halves())
    many = xml.replace(b"<layers>", b"<layers>" + b"<layer/>" * 10_001)
    assert len(many) > len(xml)
    with pytest.raises(ModelCorrupt, match="no network of OpenVINO"):
        convert_network("openvino", [many, data])


def test_nodes_that_are_not_known_are_named() -> None:
    xml, data = openvino(halves())
    with pytest.raises(ModelError, match="nodes 'Tanh'"):
        convert_network("openvino", [xml.replace(b"Sigmoid", b"Tanh"), data])
    with pytest.raises(ModelError, match="nodes 'PRelv'"):
        convert_network("espdl", [espdl(whole_numbers()).replace(b"PRelu", b"PRelv")])


# ---- the published files -------------------------------------------------------------------------


def published(shared: Path, name: str) -> list[Path]:
    return [shared / "weights" / file.name for file in entry(name).files]


@pytest.mark.shared
@pytest.mark.usefixtures("models", "no_pauses")
@pytest.mark.parametrize("name", PUBLISHED)
def test_an_offer_is_pulled_from_its_address(shared: Path, hub: Hub, name: str) -> None:
    offer = entry(name)
    assert offer.offered
    assert all("main" not in each.url for file in offer.files for each in file.sources[:1])
    files = []
    for file, path in zip(offer.files, published(shared, name), strict=True):
        url = hub.url(f"/{file.name}", whole(path.read_bytes()))
        files.append(structs.replace(file, sources=(UrlSource(url),)))
    found = pull(structs.replace(offer, files=tuple(files)))
    assert found.name == f"{name}.onnx"
    mine = entry(name)
    assert (mine.folder, mine.terms) == (own_folder(name), "free")
    assert mine.files[0].conversion is not None
    assert mine.files[0].conversion.name == IMPORT
    assert space_id(mine) == space_id(offer)
    session = open_model(mine)
    rows = session.run({"faces": noise(count=1)})[0]
    session.close()
    assert rows.shape == (1, offer.width)
    assert np.isfinite(rows).all()


@pytest.mark.shared
@pytest.mark.usefixtures("models")
@pytest.mark.parametrize("name", PUBLISHED)
def test_an_offer_is_pulled_from_a_copy(shared: Path, tmp_path: Path, name: str) -> None:
    for path in published(shared, name):
        shutil.copy(path, tmp_path)
    pull(entry(name), source=tmp_path / published(shared, name)[0].name)
    assert verify(entry(name)).state == "ok"
    wrong = published(shared, "intel-0095")[1]
    with pytest.raises(PullError, match="SHA-256"):
        pull(entry("auraface"), source=wrong)


@pytest.mark.shared
@pytest.mark.parametrize("name", PUBLISHED)
def test_damage_of_published_files_is_told(shared: Path, name: str) -> None:
    offer = entry(name)
    content, *rest = [path.read_bytes() for path in published(shared, name)]
    for first in damaged(content, 6):
        assert "\n" not in describe_damage(offer.architecture, [first, *rest])


@pytest.mark.shared
def test_equal_to_openvino(shared: Path) -> None:
    core = pytest.importorskip("openvino").Core()
    xml, data = published(shared, "intel-0095")
    faces = np.random.default_rng(0).integers(0, 256, (1, 3, 128, 128)).astype(np.float32)
    compiled = core.compile_model(str(xml), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    expected = next(iter(compiled(faces).values())).reshape(1, -1)
    found = run(convert_network("openvino", [xml.read_bytes(), data.read_bytes()]), faces)
    assert np.abs(found - expected).max() < 2e-6 * np.linalg.norm(expected)


@pytest.mark.shared
@pytest.mark.slow
@pytest.mark.usefixtures("models", "ready_models")
@pytest.mark.parametrize("name", PUBLISHED)
def test_people_are_told_apart(shared: Path, name: str) -> None:
    """On the first pairs of LFW, by the thresholds of the catalog; docs/models.md has all pairs."""
    pull(entry(name), source=published(shared, name)[0])
    lines = [each.split() for each in (shared / "lfw" / "pairs.txt").read_text().splitlines()[1:]]
    mated = [(a, i, a, j) for a, i, j in lines[:40]]
    others = [(a, i, b, j) for a, i, b, j in lines[300:340]]
    wrong = 0
    with FaceEngine(embedder=name, fmr=1e-3, threads=1) as engine:
        for (a, i, b, j), same in ((each, each in mated) for each in mated + others):
            first, second = (
                shared / "lfw" / "images" / who / f"{who}_{int(number):04}.jpg"
                for who, number in ((a, i), (b, j))
            )
            wrong += engine.verify(first, second).match != same
    assert wrong <= 1


@pytest.mark.usefixtures("models")
def test_without_onnx_nothing_is_fetched(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnx", None)
    offer = entry("espressif-mfn")
    source = UrlSource(hub.url("/net", whole(b"")))
    files = (structs.replace(offer.files[0], sources=(source,)),)
    with pytest.raises(RuntimeUnavailable, match=r"pip install 'facekeep\[import\]'"):
        pull(structs.replace(offer, files=files))
    assert hub.seen == []
