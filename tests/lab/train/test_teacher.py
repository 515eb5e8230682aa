from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from facekeep.errors import FacekeepError, ModelCorrupt, ModelError, ModelNotFound
from facekeep.lab.nn import EdgeFace, create_model, export_onnx, save_checkpoint
from facekeep.lab.train.teacher import NetworkTeacher, RuntimeTeacher, open_teacher
from facekeep.models import import_model
from facekeep.pipeline.embed import Embedder
from facekeep.runtime import RuntimeOptions

pytestmark = pytest.mark.slow

SIZE, WIDTH = 32, 16


@pytest.fixture(scope="module")
def network() -> EdgeFace:
    torch.manual_seed(0)
    return create_model("edgeface-xxs", input_size=SIZE, width=WIDTH, layer_scale=1.0).eval()


@pytest.fixture(scope="module")
def onnx(network: EdgeFace, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("teacher") / "big.onnx"
    export_onnx(network, path)
    return path


def crops(side: int = SIZE, count: int = 6) -> Tensor:
    random = torch.Generator().manual_seed(1)
    small = torch.rand(count, 3, 4, 4, generator=random) * 255
    return nn.functional.interpolate(small, side, mode="bilinear").to(torch.uint8)


def by_hand(network: EdgeFace, images: Tensor) -> Tensor:
    with torch.no_grad():
        rows: Tensor = network(images.float() / 127.5 - 1)
    return rows / rows.norm(dim=1, keepdim=True)


def test_an_onnx_file_and_its_network_teach_the_same(network: EdgeFace, onnx: Path) -> None:
    expected = by_hand(network, crops())
    teachers = [
        open_teacher(onnx),
        NetworkTeacher(network, name="big", size=SIZE, width=WIDTH),
    ]
    for teacher in teachers:
        assert (teacher.name, teacher.width) == ("big", WIDTH)
        rows = teacher.embed(crops())
        assert rows.dtype == torch.float32
        assert not rows.requires_grad
        torch.testing.assert_close(rows, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("side", [24, 48])
def test_a_teacher_sees_crops_of_another_size_resized(
    side: int, network: EdgeFace, onnx: Path
) -> None:
    images = crops(side)
    resized = nn.functional.interpolate(
        images.float(), (SIZE, SIZE), mode="bilinear", antialias=True
    )
    expected = by_hand(network, resized)
    exact = NetworkTeacher(network, name="big", size=SIZE, width=WIDTH).embed(images)
    torch.testing.assert_close(exact, expected, rtol=1e-4, atol=1e-5)
    rounded = open_teacher(onnx).embed(images)
    assert ((rounded * expected).sum(1) > 0.999).all()


def test_a_network_that_teaches_does_not_learn() -> None:
    network = nn.Sequential(nn.Flatten(), nn.Dropout(0.5), nn.Linear(12, 4))
    teacher = NetworkTeacher(network, name="it", size=2, width=4)
    images = crops(2)
    assert torch.equal(teacher.embed(images), teacher.embed(images))
    assert not any(parameter.requires_grad for parameter in network.parameters())


def test_no_faces_give_no_rows(network: EdgeFace, onnx: Path) -> None:
    assert open_teacher(onnx).embed(crops(count=0)).shape == (0, WIDTH)


@pytest.mark.usefixtures("ready_models")
def test_a_model_of_the_catalog_teaches_by_its_name() -> None:
    teacher = open_teacher("sface", threads=1)
    assert isinstance(teacher, RuntimeTeacher)
    assert (teacher.name, teacher.width) == ("sface", 128)
    images = crops(112, 2)
    expected = Embedder("sface", options=RuntimeOptions(threads=1)).embed(
        images.permute(0, 2, 3, 1).numpy()
    )
    assert np.array_equal(teacher.embed(images).numpy(), expected)


def test_a_checkpoint_teaches_on_the_gpu_and_its_export_on_the_cpu(
    network: EdgeFace, tmp_path: Path
) -> None:
    save_checkpoint(network, tmp_path / "big.pt")
    import_model(tmp_path / "big.pt", "mine", arch="edgeface-xxs", input_size=SIZE)
    assert isinstance(open_teacher("mine", device=torch.device("cpu")), RuntimeTeacher)
    # The device without numbers stands for a GPU, which not every machine has.
    teacher = open_teacher("mine", device=torch.device("meta"))
    assert isinstance(teacher, NetworkTeacher)
    assert (teacher.name, teacher.width) == ("mine", WIDTH)
    rows = teacher.embed(crops().to("meta"))
    assert rows.device.type == "meta"
    assert rows.shape == (6, WIDTH)


def test_a_checkpoint_teaches_without_a_name_in_the_catalog(tmp_path: Path) -> None:
    network = create_model("edgeface-xxs", gamma=0.5, width=WIDTH).eval()
    save_checkpoint(network, tmp_path / "big.pt")
    teacher = open_teacher(tmp_path / "big.pt")
    assert (teacher.name, teacher.width) == ("big", WIDTH)
    images = crops(112, 2)
    with torch.no_grad():
        expected = functional.normalize(network(images / 127.5 - 1))
    torch.testing.assert_close(teacher.embed(images), expected)


@pytest.mark.usefixtures("ready_models")
@pytest.mark.parametrize(
    ("source", "kind", "message"),
    [
        ("nobody", ModelNotFound, "no model is called 'nobody'"),
        ("yunet", ModelError, "not to embed, faces"),
        ("missing.onnx", ModelNotFound, "there is no file missing.onnx"),
        ("folder.onnx", ModelError, "folder.onnx cannot be opened"),
        ("noise.onnx", ModelCorrupt, "noise.onnx"),
        ("noise.pt", ModelCorrupt, "noise.pt"),
        ("other.pt", ModelError, "import it under a name"),
    ],
)
def test_what_cannot_teach(
    source: str,
    kind: type[FacekeepError],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("folder.onnx").mkdir()
    Path("noise.onnx").write_bytes(b"not a network")
    Path("noise.pt").write_bytes(b"not a network")
    torch.save({"weight": torch.ones(2)}, "other.pt")
    with pytest.raises(kind) as caught:
        open_teacher(source)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
