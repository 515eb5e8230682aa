"""Finding a model's files on this machine, checking that they are right, and opening them."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import importlib.metadata
import logging
import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from facekeep._internal.files import open_regular, why
from facekeep.errors import (
    ConfigError,
    FacekeepError,
    Hint,
    InputError,
    ModelCorrupt,
    ModelNotFound,
)
from facekeep.models.files import keep
from facekeep.models.model_entry import (
    EDGEFACE,
    BundledSource,
    Conversion,
    FileEntry,
    FileSource,
    ModelEntry,
    RemoteSource,
)
from facekeep.models.paths import cache_dir, models_dir
from facekeep.runtime import RuntimeOptions, Session, open_session
from facekeep.runtime.batches import InBatches
from facekeep.runtime.session import imported

_log = logging.getLogger(__name__)

WEIGHTS = Path(__file__).parent / "weights"
"""The folder of the weights that come with facekeep."""

# What reads the files that a runtime reads, besides that runtime.
_READERS = {"onnxruntime": ("onnxruntime", "openvino")}
# A version that gave the files that the catalog describes.
_KNOWN_ONNX = "1.23.2"
# Digits of a digest in the name of a converted file.
_DIGITS = 16
_LONG = 30 * 86400.0  # seconds


@dataclass(frozen=True, slots=True)
class ModelStatus:
    """What ``verify`` found, and a line about it.

    Attributes:
        state: ``ok``, ``missing`` or ``damaged``; ``offered`` where it was never pulled.
        detail: The line.
        hint: What a program may add to it, as for errors.
    """

    state: Literal["ok", "missing", "damaged", "offered"]
    detail: str
    hint: Hint | None = None

    def to_dict(self) -> dict[str, str]:
        """Return state and detail, for JSON."""
        return {"state": self.state, "detail": self.detail}


def locate(entry: ModelEntry) -> Path:
    """Find the file that a runtime opens, with its digest checked; never uses the network.

    A file that must be converted first is converted once; the result is kept in the cache folder.
    What was made of a checkpoint, or of a network in another format, lies beside it, and is made
    again by ``pull`` only.

    Raises:
        ModelNotFound: The model's files are not on this machine.
        ModelCorrupt: A file is not the one that the catalog describes.
        ModelError: The cache folder cannot be written; ``weights`` does without it.
        ConfigError: There is none; likewise.
        StorageFull: There is no room for the converted file.
    """
    ready = _prepare(entry)
    return _keep(entry, ready) if isinstance(ready, bytes) else ready


def weights(entry: ModelEntry) -> Path | bytes:
    """Return what ``open_session`` takes: the located file, or its content if it cannot be kept.

    Raises:
        ModelNotFound: The model's files are not on this machine.
        ModelCorrupt: A file is not the one that the catalog describes.
    """
    ready = _prepare(entry)
    if isinstance(ready, Path):
        return ready
    try:
        return _keep(entry, ready)
    except FacekeepError as error:
        _log.warning("%s; model %r is converted in memory at each start", error, entry.name)
        return ready


def open_model(entry: ModelEntry, options: RuntimeOptions = RuntimeOptions()) -> Session:  # noqa: B008 - frozen
    """Open a model for running.

    Args:
        entry: The model.
        options: How it is run; without a runtime by what its file needs.

    Raises:
        InputError: The runtime cannot run the model's file, or the device is unknown.
        ModelNotFound: The model's files are not on this machine.
        ModelCorrupt: A file is not the one that the catalog describes.
        RuntimeUnavailable: The runtime, device or precision does not work on this machine.
    """
    readers = _READERS.get(entry.runtime, (entry.runtime,))
    runtime = options.runtime or entry.runtime
    if runtime not in readers:
        raise InputError(
            f"model {entry.name!r} runs with {' or '.join(readers)} only, not with"
            f" {runtime!r}; leave the runtime unset"
        )
    _log.debug("model %s, to %s, is opened by %s", entry.name, entry.task, runtime)
    session = open_session(weights(entry), dataclasses.replace(options, runtime=runtime))
    return session if entry.batch is None else InBatches(session, entry.batch)


def checkpoint_path(entry: ModelEntry) -> Path | None:
    """Find the PyTorch checkpoint behind a model, its digest checked; None where there is none.

    Raises:
        ModelNotFound: The model has one, but it is not on this machine.
        ModelCorrupt: It is not the one that the entry describes.
    """
    if entry.architecture not in EDGEFACE:
        return None
    (path,) = _files(entry)
    return path


def _files(entry: ModelEntry) -> list[Path]:
    """Find a model's files as published, and check them."""
    if entry.offered:
        raise ModelNotFound(
            f"model {entry.name!r} is not on this machine: pull it first", pull_hint(entry)
        )
    return [_checked(entry, file) for file in entry.files]


def _prepare(entry: ModelEntry) -> Path | bytes:
    """Return the path of the file to open or, where it is not there yet, its content."""
    found = _files(entry)
    conversion = entry.files[0].conversion
    if conversion is None:
        return found[0]
    if conversion.kept:
        return _exported(entry, conversion)
    with contextlib.suppress(ConfigError):  # there is no cache folder
        path = _converted_path(entry, conversion.sha256)
        if _fault(path, conversion.sha256, conversion.size) is None:
            return path
    return _convert(entry, conversion, found[0])


def _converted_path(entry: ModelEntry, sha256: str) -> Path:
    """Return where a converted file lies in the cache folder."""
    return cache_dir() / "models" / f"{entry.name}-{sha256[:_DIGITS]}.onnx"


def _keep(entry: ModelEntry, content: bytes) -> Path:
    """Keep a converted file in the cache, and remove those that older versions made long ago.

    Not younger ones: two versions may share a cache, and would make theirs anew in turns.
    """
    path = _converted_path(entry, hashlib.sha256(content).hexdigest())
    keep(path, content, follow=False)
    for other in path.parent.glob(f"{entry.name}-{'[0-9a-f]' * _DIGITS}.onnx"):
        with contextlib.suppress(OSError):
            if other != path and time.time() - other.lstat().st_mtime > _LONG:
                other.unlink()
    return path


def verify(entry: ModelEntry) -> ModelStatus:
    """Check a model's files against the catalog."""
    if entry.offered:
        return ModelStatus("offered", "not pulled", pull_hint(entry))
    conversion = entry.files[0].conversion
    try:
        paths = _files(entry)
        if conversion is not None and conversion.kept:
            _exported(entry, conversion)
    except ModelNotFound as error:
        return ModelStatus("missing", str(error), error.hint)
    except FacekeepError as error:
        return ModelStatus("damaged", str(error), error.hint)
    return ModelStatus("ok", f"{paths[0]} has the published digest")


def file_path(entry: ModelEntry, file: FileEntry) -> Path:
    """Return where this machine keeps a pulled or imported file."""
    return (entry.folder or models_dir() / entry.name) / file.name


def export_path(entry: ModelEntry) -> Path:
    """Return where the ONNX file that is made of a model's published file lies."""
    return file_path(entry, entry.files[0]).with_name(f"{entry.name}.onnx")


def find(entry: ModelEntry, file: FileEntry) -> Path | None:
    """Find a file, pulled or installed, without looking at its content."""
    with contextlib.suppress(ConfigError):  # there is no folder of models
        own = file_path(entry, file)
        if os.path.lexists(own):
            return own
    path: Path | None
    for source in file.sources:
        if isinstance(source, BundledSource):
            path = WEIGHTS / source.bundled
        elif isinstance(source, FileSource):
            path = Path(source.file)
        else:
            continue
        if path is not None and path.exists():
            return path
    return None


def describe_damage(path: Path, file: FileEntry) -> str | None:
    """Say what is wrong with a file, or return None if it is the right one."""
    return _fault(path, file.sha256, file.size)


def _fault(path: Path, sha256: str, size: int) -> str | None:
    try:
        with open_regular(path) as stream:
            found = os.fstat(stream.fileno()).st_size
            if found != size:
                return f"it has {found:,} bytes where {size:,} are expected"
            if hashlib.file_digest(stream, "sha256").hexdigest() != sha256:
                return "its SHA-256 is not the published one"
    except (OSError, ValueError) as error:
        return why(error)
    return None


def _checked(entry: ModelEntry, file: FileEntry) -> Path:
    path = find(entry, file)
    if path is None:
        what, hint = describe_cure(entry, file)
        raise ModelNotFound(
            f"the files of model {entry.name!r} are not on this machine; {what}", hint
        )
    problem = describe_damage(path, file)
    if problem is not None:
        what, hint = describe_cure(entry, file)
        raise ModelCorrupt(f"{path} cannot be trusted: {problem}; {what}", hint)
    return path


def _exported(entry: ModelEntry, conversion: Conversion) -> Path:
    """Find the ONNX made on this machine; another library would not make the same bytes again."""
    path = export_path(entry)
    problem = _fault(path, conversion.sha256, conversion.size)
    if problem is not None:
        raise ModelCorrupt(
            f"{path} cannot be trusted: {problem}; pull the model again", pull_hint(entry)
        )
    return path


def describe_cure(entry: ModelEntry, file: FileEntry) -> tuple[str, Hint | None]:
    """Say what to do about a file that is missing or damaged, and give the hint to it."""
    if any(isinstance(source, BundledSource) for source in file.sources):
        return "install facekeep again (pip install .): the file is part of it", None
    if any(isinstance(source, RemoteSource) for source in file.sources):
        return "pull the model", pull_hint(entry)
    return "remove the model, and import it again", Hint("import_again", {"model": entry.name})


def pull_hint(entry: ModelEntry) -> Hint:
    """Give the hint to pull a model."""
    return Hint("pull", {"model": entry.name})


def _convert(entry: ModelEntry, conversion: Conversion, source: Path) -> bytes:
    # Imported here: only the first use of a model converts it.
    from facekeep.models.onnx_folding import fold_block_quantized

    imported("onnx", "onnx", "import")

    content = fold_block_quantized(source.read_bytes(), any_size=entry.input_size is None)
    if hashlib.sha256(content).hexdigest() != conversion.sha256:
        raise ModelCorrupt(
            f"converting model {entry.name!r} with onnx {importlib.metadata.version('onnx')} gave"
            " another file than the catalog describes;"
            f" run: pip install onnx=={_KNOWN_ONNX}"
        )
    return content
