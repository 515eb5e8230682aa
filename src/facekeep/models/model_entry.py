"""What the catalog knows about a model, and where its files can come from."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Task = Literal["detect", "refine", "orient", "quality", "embed"]
Colour = Literal["rgb", "bgr"]
Runtime = Literal["onnxruntime", "litert", "ncnn"]

EDGEFACE = ("edgeface-base", "edgeface-s", "edgeface-xs", "edgeface-xxs")
"""Architectures whose published file is a PyTorch checkpoint, exported to ONNX on this machine."""

LARGEST_INPUT = 4096
"""The largest side of a network's input, in pixels: what is above would not fit into memory."""

EXPORT = "export-edgeface"
"""The conversion of such a checkpoint."""


@dataclass(frozen=True, slots=True)
class BundledSource:
    """A file that comes with facekeep, in ``models/weights``."""

    bundled: str


@dataclass(frozen=True, slots=True)
class DistributionSource:
    """A file inside an installed Python distribution; its code is never imported.

    Attributes:
        distribution: The distribution's name.
        version: The one version that is accepted.
        path: The file's path inside it.
    """

    distribution: str
    version: str
    path: str


@dataclass(frozen=True, slots=True)
class PackageSource:
    """A file inside a wheel that a package index offers.

    Attributes:
        package: The project's name on the index.
        wheel: The wheel's file name.
        sha256: The wheel's digest.
        size: The wheel's size in bytes.
        path: The file's path inside the wheel.
    """

    package: str
    wheel: str
    sha256: str
    size: int
    path: str


@dataclass(frozen=True, slots=True)
class UrlSource:
    """A file at an https address."""

    url: str


@dataclass(frozen=True, slots=True)
class ArchiveSource:
    """A file inside a tar archive at an https address, as npm packages are.

    Attributes:
        archive: The archive's address.
        sha256: The archive's digest.
        size: The archive's size in bytes.
        path: The file's path inside the archive.
    """

    archive: str
    sha256: str
    size: int
    path: str


@dataclass(frozen=True, slots=True)
class FileSource:
    """A file on this machine."""

    file: str


RemoteSource = PackageSource | UrlSource | ArchiveSource
Source = BundledSource | DistributionSource | FileSource | RemoteSource


@dataclass(frozen=True, slots=True)
class Conversion:
    """How a file that no runtime reads becomes one that it reads, once.

    Attributes:
        name: The conversion: ``fold-block-quantised`` gives the same bytes everywhere, and they
            are kept in the cache; ``export-edgeface`` gives those of the PyTorch at hand, and they
            are kept beside the published file.
        sha256: The digest of its result.
        size: The size of its result in bytes.
    """

    name: str
    sha256: str
    size: int


@dataclass(frozen=True, slots=True)
class FileEntry:
    """One file of a model.

    Attributes:
        name: Its file name.
        sha256: Its digest, as hex.
        size: Its size in bytes.
        sources: Where it can come from, best first.
        conversion: What must be done to it before a runtime can read it.
    """

    name: str
    sha256: str
    size: int
    sources: tuple[Source, ...] = ()
    conversion: Conversion | None = None

    @property
    def transfer(self) -> int:
        """How many bytes fetching it moves: those of the archive where it comes in one."""
        archives = (
            each for each in self.sources if isinstance(each, PackageSource | ArchiveSource)
        )
        return next((each.size for each in archives), self.size)


@dataclass(frozen=True, slots=True)
class Measurement:
    """A published figure and the command that measured it."""

    name: str
    value: float
    command: str


@dataclass(frozen=True, slots=True)
class ModelEntry:
    """A model: its files, their licenses, what it is fed and how well it does.

    A pixel value p (0 to 255) of channel c is fed as ``(p - mean[c]) * scale[c]``, channels in the
    order of ``colour``, as float32; in the layout N x C x H x W, or N x H x W x C where the network
    says so (``TensorInfo.channels_last``).

    Attributes:
        name: The name it is asked for by.
        task: ``detect``; ``refine``, which places the landmarks of a found face better;
            ``orient``, which tells how far a found face is turned; ``embed``; or ``quality``,
            which tells from an embedding how much of who it is a face shows.
        architecture: The family of networks, which decides how its files are read.
        summary: One line for lists.
        files: Its files; the first is the network.
        weights_licence: The license of the weights.
        training_data: What they were trained on, and on whose terms.
        colour: The channel order that the network is fed.
        mean: What is subtracted from each channel.
        scale: What each channel is multiplied by afterward.
        input_size: The side of its square input in pixels; None where any size will do.
        gamma: The share of the full rank that an EdgeFace's linear layers keep; None where they are
            full.
        runtime: What its network is made for: ``onnxruntime``, ``litert`` or ``ncnn``.
        max_batch: How many images one run is given at most; None where any number will do.
        batch: How many images each run of its network takes, where it takes no other number.
        width: The length of an embedding; None where it does not embed.
        alignment: The template that faces are aligned to before they are embedded.
        quality: The model that tells unusable faces by its embeddings; empty where there is none.
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

    name: str
    task: Task
    architecture: str
    summary: str
    files: tuple[FileEntry, ...]
    weights_licence: str
    training_data: str
    colour: Colour
    mean: tuple[float, float, float]
    scale: tuple[float, float, float]
    input_size: int | None = None
    gamma: float | None = None
    runtime: Runtime = "onnxruntime"
    max_batch: int | None = None
    batch: int | None = None
    width: int | None = None
    alignment: str | None = None
    quality: str = ""
    params: int | None = None
    thresholds: tuple[tuple[float, float], ...] = ()
    comparisons: int = 0
    calibrated_on: str = ""
    calibration_command: str = ""
    accuracy: tuple[Measurement, ...] = ()
    caution: str = ""
    notes: str = ""
    folder: Path | None = None

    @property
    def verb(self) -> str:
        """What it does to faces, in a word, for messages."""
        return "rate" if self.task == "quality" else self.task

    @property
    def offered(self) -> bool:
        """Whether the catalog only offers it: pulling makes it one of the user's own."""
        sources = [source for file in self.files for source in file.sources]
        remote = bool(sources) and all(isinstance(source, RemoteSource) for source in sources)
        return self.folder is None and remote


def space_id(entry: ModelEntry) -> str:
    """Name the space that an embedder's templates live in.

    Returns:
        The SHA-256, as hex, over the digests of the model's files as published and everything
        that is done to a picture before the network sees it. Equal for equal spaces, on every
        machine and in every version of the program.
    """
    preprocessing = {
        "files": [file.sha256 for file in entry.files],
        "input_size": entry.input_size,
        "colour": entry.colour,
        "mean": list(entry.mean),
        "scale": list(entry.scale),
        "alignment": entry.alignment,
    }
    text = json.dumps(preprocessing, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()
