"""Teachers: finished embedders that a network in training learns from."""

from __future__ import annotations

import dataclasses
import hashlib
import os
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional

from facekeep._internal.files import open_regular, printable, why
from facekeep.errors import ModelError, ModelNotFound
from facekeep.lab.train.pixels import resize_images
from facekeep.models import FileEntry, ModelEntry, checkpoint_path, entry
from facekeep.models.embedder_form import probe_embedder
from facekeep.pipeline.embed import Embedder
from facekeep.runtime import RuntimeOptions

__all__ = ["NetworkTeacher", "RuntimeTeacher", "Teacher", "open_teacher"]


class Teacher(Protocol):
    """What can be learned from: it embeds the very crops that the student sees.

    Attributes:
        name: For people.
        width: How many numbers one embedding has.
    """

    @property
    def name(self) -> str:
        """What to call it in a log."""
        ...

    @property
    def width(self) -> int:
        """How many numbers one embedding has."""
        ...

    def embed(self, images: Tensor) -> Tensor:
        """Embed aligned crops.

        Args:
            images: uint8 ``(n, 3, S, S)`` RGB of any side S; the teacher resizes them to its own.

        Returns:
            float32 ``(n, width)``, each row of unit length, on the device of ``images``, without a
            gradient.
        """
        ...


class RuntimeTeacher:
    """A teacher that a runtime executes on the CPU.

    Args:
        embedder: The embedder behind it; it knows its size and order of colors.
    """

    def __init__(self, embedder: Embedder) -> None:
        self._embedder = embedder
        self.name = embedder.entry.name
        self.width = embedder.width

    def embed(self, images: Tensor) -> Tensor:
        """Embed aligned crops; see `Teacher.embed`."""
        crops = resize_images(images, self._embedder.size).round().to("cpu", torch.uint8)
        rows = self._embedder.embed(crops.permute(0, 2, 3, 1).numpy())
        return torch.from_numpy(rows).to(images.device)


class NetworkTeacher:
    """A PyTorch network as a teacher, on any device.

    Args:
        network: From float32 ``(n, 3, size, size)`` RGB, ``p / 127.5 - 1``, to ``(n, width)``, as
            those of ``facekeep.lab.nn``. It is put into evaluation mode and takes no gradients.
        name: For people.
        size: The side of the crops it takes.
        width: How many numbers it gives.
    """

    def __init__(self, network: nn.Module, *, name: str, size: int, width: int) -> None:
        self._network = network.eval().requires_grad_(False)
        self._size = size
        self.name, self.width = name, width

    @torch.no_grad()
    def embed(self, images: Tensor) -> Tensor:
        """Embed aligned crops; see `Teacher.embed`."""
        rows: Tensor = self._network(resize_images(images, self._size) / 127.5 - 1)
        return functional.normalize(rows.float())


def open_teacher(
    source: str | os.PathLike[str], *, device: torch.device | None = None, threads: int = 0
) -> Teacher:
    """Open a teacher by the name of a model, or from a file.

    A PyTorch checkpoint, and a model that came as one, runs on the GPU if there is one to use; all
    others run on the CPU.

    Args:
        source: A name of the catalog; or the path of a checkpoint of an EdgeFace for crops of 112
            pixels, or of an ONNX file that takes RGB crops as ``p / 127.5 - 1``. Import a file of
            another kind under a name first.
        device: Where the student is trained; None for the CPU.
        threads: CPU threads of one run; 0 for all cores.

    Raises:
        ModelNotFound: There is no such model or file, or the model's files are not here.
        ModelCorrupt: The files are not what they should be.
        ModelError: It is no embedder.
        RuntimeUnavailable: What must run it does not work here.
    """
    path = Path(source)
    if path.suffix.lower() in (".pt", ".pth", ".ckpt"):
        return _checkpoint_teacher(path, device)
    chosen = _file_entry(path) if path.suffix.lower() == ".onnx" else entry(str(source))
    checkpoint = checkpoint_path(chosen) if device is not None and device.type != "cpu" else None
    if checkpoint is None:
        return RuntimeTeacher(Embedder(chosen, options=RuntimeOptions(threads=threads)))
    return _network_teacher(chosen, checkpoint, device)


def _checkpoint_teacher(path: Path, device: torch.device | None) -> NetworkTeacher:
    from facekeep.lab.nn import network_of, read_state

    state = read_state(path)
    try:
        network = network_of(state)
    except ModelError as error:
        raise ModelError(
            f"{printable(path)} is no EdgeFace that can be recognized by its tensors; import it"
            " under a name, then name that as teacher",
            "import_checkpoint",
        ) from error
    size, width = network.input_size, network.width
    return NetworkTeacher(network.to(device), name=path.stem, size=size, width=width)


def _network_teacher(
    chosen: ModelEntry, checkpoint: Path, device: torch.device | None
) -> NetworkTeacher:
    from facekeep.lab.nn import load_checkpoint

    size = chosen.input_size or 112
    network = load_checkpoint(checkpoint, chosen.architecture, gamma=chosen.gamma, input_size=size)
    return NetworkTeacher(network.to(device), name=chosen.name, size=size, width=network.width)


def _file_entry(path: Path) -> ModelEntry:
    """Describe an ONNX file as the catalog would if it were imported with the defaults."""
    try:
        with open_regular(path) as stream:
            digest = hashlib.file_digest(stream, "sha256").hexdigest()
            size = stream.tell()
    except FileNotFoundError as error:
        raise ModelNotFound(f"there is no file {printable(path)}; check the path") from error
    except (OSError, ValueError) as error:
        raise ModelError(f"{printable(path)} cannot be opened: {why(error)}") from error
    form = probe_embedder(path)
    return ModelEntry(
        name=path.stem,
        task="embed",
        architecture="onnx",
        summary="",
        files=(FileEntry(path.name, digest, size),),
        weights_license="not stated",
        training_data="not stated",
        color="rgb",
        mean=(127.5,) * 3,
        scale=(1 / 127.5,) * 3,
        alignment="arcface-112",
        folder=path.absolute().parent,
        **dataclasses.asdict(form),
    )
