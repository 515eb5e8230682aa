from __future__ import annotations

import hashlib
import importlib.metadata
import logging
import os
import re
import shutil
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import pytest
from msgspec import structs
from networks import quantized

from facekeep.errors import FacekeepError, ModelCorrupt, ModelError, ModelNotFound, PullError
from facekeep.models import FileEntry, ModelEntry, entry, locate, pull, verify, weights
from facekeep.models.model_entry import (
    BundledSource,
    Conversion,
    FileSource,
    Source,
    UrlSource,
)
from facekeep.models.onnx_folding import fold_block_quantized
from facekeep.models.paths import cache_dir, models_dir
from facekeep.runtime import open_session

CONTENT = b"the weights of a network" * 50


@pytest.fixture
def plain(models: Path) -> ModelEntry:
    """A model whose one file needs no conversion and lies in the folder of models."""
    digest = hashlib.sha256(CONTENT).hexdigest()
    made = structs.replace(
        entry("sface"),
        name="mine",
        files=(FileEntry("net.onnx", digest, len(CONTENT)),),
        folder=models / "mine",
    )
    (models / "mine").mkdir(parents=True)
    (models / "mine" / "net.onnx").write_bytes(CONTENT)
    return made


def with_source(made: ModelEntry, source: Source) -> ModelEntry:
    file = structs.replace(made.files[0], sources=(source,))
    return structs.replace(made, files=(file,))


def test_a_plain_file_is_found_and_trusted(plain: ModelEntry) -> None:
    path = locate(plain)
    assert path.read_bytes() == CONTENT
    assert weights(plain) == path
    assert verify(plain).state == "ok"


DAMAGES = {
    "empty": lambda path: path.write_bytes(b""),
    "truncated": lambda path: path.write_bytes(CONTENT[:-1]),
    "longer": lambda path: path.write_bytes(CONTENT + b"x"),
    "one bit": lambda path: path.write_bytes(bytes([CONTENT[0] ^ 1]) + CONTENT[1:]),
    "swapped": lambda path: path.write_bytes(CONTENT[::-1]),
    "folder": lambda path: (path.unlink(), path.mkdir()),
    "pipe": lambda path: (path.unlink(), os.mkfifo(path)),
    "dangling link": lambda path: (path.unlink(), path.symlink_to("nowhere")),
    "link to itself": lambda path: (path.unlink(), path.symlink_to(path.name)),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_file_is_one_line_that_says_how_to_mend(plain: ModelEntry, damage: str) -> None:
    DAMAGES[damage](models_dir() / "mine" / "net.onnx")
    with pytest.raises(ModelCorrupt) as caught:
        locate(plain)
    assert "\n" not in str(caught.value)
    assert "net.onnx cannot be trusted" in str(caught.value)
    assert "remove the model, and import it again" in str(caught.value)
    assert verify(plain).state == "damaged"
    assert verify(plain).detail == str(caught.value)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read every file")
def test_an_unreadable_file_is_one_line(plain: ModelEntry) -> None:
    (models_dir() / "mine" / "net.onnx").chmod(0)
    with pytest.raises(ModelCorrupt, match="permission denied"):
        locate(plain)


def test_a_damaged_file_with_a_source_is_mended_by_pulling(plain: ModelEntry) -> None:
    (models_dir() / "mine" / "net.onnx").write_bytes(b"")
    with pytest.raises(ModelCorrupt, match=r"; pull the model$"):
        locate(with_source(plain, UrlSource("https://a/b")))


def test_a_missing_file_is_mended_by_pulling(plain: ModelEntry) -> None:
    (models_dir() / "mine" / "net.onnx").unlink()
    with pytest.raises(ModelNotFound, match=r"; pull the model$"):
        locate(with_source(plain, UrlSource("https://a/b")))
    assert verify(plain).state == "missing"


def test_a_missing_file_without_a_source_is_imported_again(plain: ModelEntry) -> None:
    (models_dir() / "mine" / "net.onnx").unlink()
    with pytest.raises(ModelNotFound) as caught:
        locate(plain)
    assert "remove the model, and import it again" in str(caught.value)
    assert "pull" not in str(caught.value)


def test_every_file_of_a_model_is_checked(plain: ModelEntry) -> None:
    second = structs.replace(plain.files[0], name="more.bin")
    two = structs.replace(plain, files=(*plain.files, second))
    with pytest.raises(ModelNotFound):
        locate(two)
    (models_dir() / "mine" / "more.bin").write_bytes(CONTENT[::-1])
    with pytest.raises(ModelCorrupt, match=r"more\.bin"):
        locate(two)
    (models_dir() / "mine" / "more.bin").write_bytes(CONTENT)
    assert locate(two).name == "net.onnx"


def test_a_file_elsewhere_on_this_machine_is_used_where_it_lies(
    plain: ModelEntry, tmp_path: Path
) -> None:
    elsewhere = tmp_path / "elsewhere.onnx"
    (models_dir() / "mine" / "net.onnx").rename(elsewhere)
    assert locate(with_source(plain, FileSource(str(elsewhere)))) == elsewhere


def test_a_bundled_file_is_used_where_it_lies(
    plain: ModelEntry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("facekeep.models.resolve.WEIGHTS", tmp_path)
    bundled = with_source(plain, BundledSource("inside.onnx"))
    (models_dir() / "mine" / "net.onnx").rename(tmp_path / "inside.onnx")
    assert locate(bundled) == tmp_path / "inside.onnx"
    assert verify(bundled).state == "ok"
    (tmp_path / "inside.onnx").write_bytes(CONTENT[::-1])
    with pytest.raises(ModelCorrupt, match="install facekeep again"):
        locate(bundled)
    (tmp_path / "inside.onnx").unlink()
    with pytest.raises(ModelNotFound, match="install facekeep again"):
        locate(bundled)
    with pytest.raises(PullError, match="install facekeep again"):
        pull(bundled)


@pytest.fixture
def packed(models: Path) -> ModelEntry:
    """A model whose one file must be converted, and lies in the folder of models."""
    content = quantized()[0]
    result = fold_block_quantized(content, any_size=False)
    digests = [hashlib.sha256(each).hexdigest() for each in (content, result)]
    conversion = Conversion("fold-block-quantised", digests[1], len(result))
    file = FileEntry("net.onnx", digests[0], len(content), conversion=conversion)
    (models / "packed").mkdir(parents=True)
    (models / "packed" / "net.onnx").write_bytes(content)
    return structs.replace(entry("sface"), name="packed", files=(file,), folder=models / "packed")


def test_a_converted_model_is_kept_and_used_again(packed: ModelEntry, own_cache: Path) -> None:
    path = locate(packed)
    assert path.is_relative_to(own_cache)
    before = path.stat().st_mtime_ns
    assert locate(packed) == path
    assert path.stat().st_mtime_ns == before
    assert open_session(path).outputs


def test_what_an_older_version_converted_is_removed(packed: ModelEntry, own_cache: Path) -> None:
    folder = own_cache / "models"
    folder.mkdir(parents=True)
    old = folder / f"packed-{'0' * 16}.onnx"
    young = folder / f"packed-{'1' * 16}.onnx"
    others = [folder / name for name in (f"packed-2-{'0' * 16}.onnx", f"sface-{'0' * 16}.onnx")]
    for path in [old, young, *others]:
        path.write_bytes(b"converted")
    for path in [old, *others]:
        os.utime(path, (0, 0))
    kept = locate(packed)
    assert set(folder.glob("*.onnx")) == {kept, young, *others}


@pytest.mark.parametrize("content", [b"", b"something else"])
def test_a_damaged_conversion_is_made_again(
    packed: ModelEntry, own_cache: Path, content: bytes
) -> None:
    path = locate(packed)
    good = path.read_bytes()
    path.write_bytes(content)
    assert locate(packed).read_bytes() == good


def test_a_conversion_with_another_result_is_refused(packed: ModelEntry, own_cache: Path) -> None:
    file = packed.files[0]
    assert file.conversion is not None
    wrong = structs.replace(file.conversion, sha256="0" * 64)
    changed = structs.replace(packed, files=(structs.replace(file, conversion=wrong),))
    with pytest.raises(ModelCorrupt, match="converting model 'packed'"):
        weights(changed)
    assert not own_cache.exists()


def test_an_onnx_that_writes_other_bytes_is_named_with_the_cure(
    packed: ModelEntry, own_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def otherwise(source: bytes, *, any_size: bool) -> bytes:
        return fold_block_quantized(source, any_size=any_size) + b"\0"

    monkeypatch.setattr("facekeep.models.onnx_folding.fold_block_quantized", otherwise)
    version = re.escape(importlib.metadata.version("onnx"))
    cure = r"run: pip install onnx==\d+\.\d+\.\d+$"
    with pytest.raises(ModelCorrupt, match=rf"'packed' with onnx {version} gave another .*{cure}"):
        weights(packed)
    assert not own_cache.exists()


@pytest.mark.parametrize("kind", ["file", "full"])
def test_without_a_cache_the_model_is_converted_in_memory(
    packed: ModelEntry,
    own_cache: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    kind: str,
) -> None:
    if kind == "file":
        own_cache.write_text("in the way")
    else:
        monkeypatch.setattr("facekeep.models.files.write_whole", full_disk)
    with pytest.raises(FacekeepError) as caught:
        locate(packed)
    assert "\n" not in str(caught.value)
    with caplog.at_level(logging.WARNING):
        content = weights(packed)
    assert isinstance(content, bytes)
    assert open_session(content).outputs
    assert "converted in memory" in caplog.text


def full_disk(path: Path, data: bytes, **_: bool) -> None:
    raise OSError(28, "No space left on device")


def test_a_full_disk_is_called_by_its_name(
    packed: ModelEntry, own_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("facekeep.models.files.write_whole", full_disk)
    with pytest.raises(FacekeepError) as caught:
        locate(packed)
    assert caught.value.kind == "storage_full"


def read_located(packed: ModelEntry) -> bytes:
    return locate(packed).read_bytes()


@pytest.mark.slow
def test_processes_that_convert_at_once_all_get_the_whole_file(
    packed: ModelEntry, own_cache: Path
) -> None:
    with ProcessPoolExecutor(4, mp_context=get_context("spawn")) as pool:
        contents = set(pool.map(read_located, [packed] * 8))
    assert len(contents) == 1
    assert [path.suffix for path in (own_cache / "models").iterdir()] == [".onnx"]


def test_environment_variables_move_the_folders(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("FACEKEEP_CACHE", raising=False)
    for folder in (models_dir(), cache_dir()):
        assert folder.is_relative_to(Path.home())
    monkeypatch.setenv("FACEKEEP_MODELS", str(tmp_path / "m"))
    monkeypatch.setenv("FACEKEEP_CACHE", str(tmp_path / "c"))
    assert (models_dir(), cache_dir()) == (tmp_path / "m", tmp_path / "c")
    monkeypatch.setenv("FACEKEEP_MODELS", "~/m")
    monkeypatch.setenv("FACEKEEP_CACHE", "~nobody-of-this-name/c")
    assert (models_dir(), cache_dir()) == (Path.home() / "m", Path("~nobody-of-this-name/c"))
    monkeypatch.setenv("FACEKEEP_MODELS", "")
    assert models_dir().is_relative_to(Path.home())


def test_pulled_files_are_preferred_to_installed_ones(models: Path) -> None:
    known = entry("yunet")
    installed = Path(verify(known).detail.split(" has ")[0])
    (models / "yunet").mkdir(parents=True)
    shutil.copy(installed, models / "yunet" / known.files[0].name)
    assert str(models) in verify(known).detail
    (models / "yunet" / known.files[0].name).write_bytes(b"damaged")
    with pytest.raises(ModelError, match="install facekeep again"):
        locate(known)
