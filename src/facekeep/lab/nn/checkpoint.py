"""Checkpoints in the layout of the published ones: read without running them, checked, written.

``torch.load(weights_only=True)`` does the reading. It runs no code, but a forged file can still
take all memory or end the process with it: a member that expands to gigabytes, an allocation by
name (``bytearray(1 << 40)``), a dictionary key nested too deep to be hashed, a tensor of trillions
of repeated numbers, or a quantized tensor that points outside its storage. So what such a file can
say is checked before, and what came of it before a number is read.
"""

from __future__ import annotations

import io
import os
import pickletools
import warnings
import zipfile
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch
from torch import Tensor

from facekeep._internal.files import open_regular, path_text, printable, why
from facekeep.errors import ModelCorrupt, ModelError, ModelNotFound
from facekeep.lab.nn.edgeface import EdgeFace, create_model
from facekeep.lab.nn.graph import PRODUCER
from facekeep.lab.nn.shapes import find_mismatch, network_of, read_width, recognize
from facekeep.models import ModelEntry, checkpoint_path, locate
from facekeep.models.files import keep, read_model
from facekeep.models.sparse import restore_zeros
from facekeep.models.weight_packing import unpack

__all__ = [
    "UnreadableError",
    "checkpoint_bytes",
    "load_checkpoint",
    "load_tensors",
    "network_of",
    "read_network",
    "read_state",
    "recognize",
    "save_checkpoint",
]

_ZIP = b"PK"  # how a checkpoint begins


def read_network(source: ModelEntry | str | Path, *, input_size: int | None = None) -> EdgeFace:
    """Make the network that a model runs, whatever its form: ranks, widths and depths are free.

    Args:
        source: A model of the catalog, a PyTorch checkpoint, or an ONNX file that facekeep
            exported, packed, sparse or neither; a packed one gives the numbers that are run.
        input_size: Height and width of the crops; None for what the source says, which for a
            checkpoint alone is 112.

    Raises:
        ModelNotFound: There is no such file.
        ModelError: It holds no EdgeFace that facekeep wrote, or is damaged.
    """
    size = input_size
    if isinstance(source, ModelEntry):
        size = size or source.input_size
        path, shown = checkpoint_path(source) or locate(source), f"model {source.name!r}"
    else:
        path, shown = Path(source), printable(path_text(source))
    content = read_model(path)
    if content.startswith(_ZIP):
        return network_of(read_state(path), input_size=size or 112)
    state, side = _state(content, shown)
    return network_of(state, input_size=size or side)


def _state(content: bytes, shown: str) -> tuple[dict[str, Tensor], int]:
    """Return the parameters in an ONNX file, and the side of the crops that it takes."""
    import onnx

    foreign = (
        f"{shown} is no EdgeFace that facekeep wrote, so it can only be run;"
        " start from a .pt checkpoint or a model trained here"
    )
    try:
        model = onnx.load_model_from_string(restore_zeros(content))
    except Exception as error:
        raise ModelError(foreign) from error
    if model.producer_name != PRODUCER:
        raise ModelError(foreign)
    found = {name: value for name, value in unpack(model.graph).items() if "." in name}
    side = _side(model.graph)
    if "stem.0.weight" not in found or not side:
        raise ModelError(foreign)
    try:
        return {name: torch.from_numpy(found[name].astype(np.float32)) for name in found}, side
    except ValueError as error:
        raise ModelError(f"{shown} holds a parameter that is no number") from error


def _side(graph: Any) -> int:
    """Return the side of the crops; 0 where the graph tells none."""
    sizes = [axis.dim_value for each in graph.input for axis in each.type.tensor_type.shape.dim]
    return sizes[-1] if sizes else 0


_NAMES = {
    "collections OrderedDict",
    "torch._utils _rebuild_tensor_v2",
    "torch._utils _rebuild_parameter",
    "torch._utils _rebuild_qtensor",
    "torch per_tensor_affine",
    "torch qint8",
    *(f"torch {kind}Storage" for kind in ("Float", "Half", "BFloat16", "Double", "Long", "QInt8")),
}
"""All that the pickle of a state dict names, as ``pickletools`` writes it."""

_MARK, _SLICE = pickletools.markobject, pickletools.stackslice
_LARGEST_PICKLE = 1 << 20
_LARGEST_TUPLE = 100  # entries, those of tuples in it too
_OLD = (
    b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."  # a pickle of the number that old files begin with
)
_OLD_PICKLES = 5  # that number, the version, facts about the machine, the tensors, their storages


class UnreadableError(Exception):
    """A file is damaged, or asks for more than tensors; the message says what is wrong with it."""


def load_tensors(stream: BinaryIO) -> dict[str, Any]:
    """Return what a checkpoint holds by name; those older than PyTorch 1.6 hold plain tensors only.

    Tensors, also those in tuples, are float32 on the CPU; quantized ones are dequantized. What is
    no tensor becomes None.

    Raises:
        UnreadableError: It is damaged, no such checkpoint, or asks for more than tensors.
    """
    try:
        size = stream.seek(0, 2)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of PyTorch's plans with quantized tensors
            copy = _checked_old(stream) if _is_old(stream) else _checked_copy(stream, size)
            content = torch.load(copy, "cpu", weights_only=True)
    except UnreadableError:
        raise
    except Exception as error:  # a damaged file can make PyTorch raise nearly anything
        raise UnreadableError("it is damaged, or no checkpoint") from error
    if not isinstance(content, dict) or not all(isinstance(name, str) for name in content):
        raise UnreadableError("it holds no dictionary of named tensors")
    every = [each for value in content.values() for each in _tensors(value)]
    if sum(each.numel() for each in every) > size or not all(map(_is_inside, every)):
        raise UnreadableError("a tensor claims more numbers than there are")
    return {name: _convert(value) for name, value in content.items()}


def _checked_copy(stream: BinaryIO, size: int) -> BinaryIO:
    """Copy the members of the ZIP archive into a new one, so that PyTorch reads what was checked.

    Python and PyTorch might each find other members in a forged archive.
    """
    copy = io.BytesIO()
    with zipfile.ZipFile(stream) as archive, zipfile.ZipFile(copy, "w") as target:
        infos = archive.infolist()
        packed = any(info.compress_type != zipfile.ZIP_STORED for info in infos)
        if packed or sum(info.file_size for info in infos) > size:
            raise UnreadableError("its members are compressed or overlap")
        lists = [name for name in archive.namelist() if name.endswith("/data.pkl")]
        if len(lists) != 1:
            raise UnreadableError("it holds no list of tensors")
        target.writestr("archive/version", "3\n")
        for info in infos:
            name = info.filename.removeprefix(lists[0].removesuffix("data.pkl"))
            if name == "data.pkl":
                _check_pickle(archive.read(info))
            if name in ("data.pkl", "byteorder") or name.startswith("data/"):
                target.writestr(f"archive/{name}", archive.read(info))
    copy.seek(0)
    return copy


def _is_old(stream: BinaryIO) -> bool:
    """Whether PyTorch wrote it before 1.6: pickles one after the other, and the numbers behind."""
    stream.seek(0)
    start = stream.read(len(_OLD))
    stream.seek(0)
    return start == _OLD


def _checked_old(stream: BinaryIO) -> BinaryIO:
    """Check the pickles of an old checkpoint, of which the fourth lists the tensors."""
    content = stream.read()
    copy = io.BytesIO(content)
    for number in range(_OLD_PICKLES):
        start = copy.tell()
        claims = [argument for _, argument, _ in pickletools.genops(copy)]
        _check_pickle(content[start : copy.tell()])
        sizes = [each for each in claims if isinstance(each, int)] if number else []
        if max(sizes, default=0) > len(content):
            raise UnreadableError("a tensor claims more numbers than there are")
    copy.seek(0)
    return copy


def _check_pickle(content: bytes) -> None:
    """Refuse names that no state dict needs, and tuples too large to hash, without running it."""
    if len(content) > _LARGEST_PICKLE:
        raise UnreadableError("its list of tensors is too long")
    stack, memo = list[int](), dict[Any, int]()  # how many entries each object has; 0 is a mark
    for operation, argument, _ in pickletools.genops(content):
        if operation.name == "GLOBAL" and argument not in _NAMES:
            asked = printable(str(argument).replace(" ", "."))[:80]
            raise UnreadableError(f"it asks for {asked}, which is no tensor; nothing was run")
        taken = _take(stack, operation.stack_before)
        entries = 1 + taken if "TUPLE" in operation.name else 1
        if operation.name.endswith("BINGET"):
            entries = memo[argument]
        elif operation.name.endswith("BINPUT"):
            memo[argument] = stack[-1]
        if entries > _LARGEST_TUPLE:
            raise UnreadableError("its list of tensors is damaged")
        stack += [entries * (what is not _MARK) for what in operation.stack_after]


def _take(stack: list[int], needed: list[Any]) -> int:
    """Take what an operation needs off the stack, and count its entries."""
    taken = 0
    if _MARK in needed:
        while entries := stack.pop():
            taken += entries
    return taken + sum(stack.pop() for what in needed if what not in (_MARK, _SLICE))


def _tensors(value: Any) -> list[Tensor]:
    parts = value if isinstance(value, tuple) else (value,)
    return [each for each in parts if isinstance(each, Tensor)]


def _is_inside(tensor: Tensor) -> bool:
    """Whether a tensor has numbers, all of them in its storage."""
    stored = tensor.untyped_storage().nbytes() // tensor.element_size()
    steps = zip(tensor.shape, tensor.stride(), strict=True)
    last = tensor.storage_offset() + sum((count - 1) * step for count, step in steps)
    return tensor.numel() > 0 and min(tensor.stride(), default=0) >= 0 and last < stored


def _convert(value: Any) -> Any:
    if isinstance(value, tuple):
        return tuple(map(_convert, _tensors(value)))
    if not isinstance(value, Tensor) or value.is_complex():
        return None
    plain = value.detach().dequantize() if value.is_quantized else value.detach()
    numbers = plain.to(torch.float32, memory_format=torch.contiguous_format, copy=True)
    if not numbers.isfinite().all():
        raise UnreadableError("some of its numbers are not finite")
    return numbers


_PREFIX = "model."
_PACKED = "._packed_params._packed_params"
_PACKED_REST = ("._packed_params.dtype", ".scale", ".zero_point")
_Path = str | os.PathLike[str]


def read_state(path: _Path) -> dict[str, Tensor]:
    """Read the tensors of a checkpoint, whatever made it, without running anything it holds.

    Linear layers that PyTorch quantized dynamically to INT8 are dequantized.

    Args:
        path: A state dict saved by PyTorch 1.6 or later.

    Returns:
        Float32 tensors by name, without the prefix ``model.`` of the published checkpoints.

    Raises:
        ModelNotFound: There is no such file.
        ModelError: It cannot be opened.
        ModelCorrupt: It is damaged, or holds anything but tensors.
    """
    name = printable(path_text(path))
    try:
        stream = open_regular(path)
    except FileNotFoundError as error:
        raise ModelNotFound(f"there is no checkpoint {name}; check the path") from error
    except (OSError, ValueError) as error:
        raise ModelError(f"the checkpoint {name} cannot be opened: {why(error)}") from error
    with stream:
        try:
            return _plain(load_tensors(stream))
        except UnreadableError as error:
            raise ModelCorrupt(
                f"{name} cannot be read: {printable(error)}; it must be a plain state dict, "
                "saved by PyTorch 1.6 or later"
            ) from error


def _plain(content: dict[str, Any]) -> dict[str, Tensor]:
    """Take the prefix off the names, and make plain layers of packed ones."""
    packed = {key.removesuffix(_PACKED) for key in content if key.endswith(_PACKED)}
    dropped = {layer + rest for layer in packed for rest in _PACKED_REST}
    named = [
        pair for key, value in content.items() if key not in dropped for pair in _named(key, value)
    ]
    state = {key.removeprefix(_PREFIX): tensor for key, tensor in named}
    if len(state) < len(named):
        raise UnreadableError("two of its tensors have the same name")
    return state


def _named(key: str, value: Any) -> list[tuple[str, Any]]:
    """Name the tensor, or the two of a packed layer as those of a plain one."""
    if isinstance(value, Tensor) and not key.endswith(_PACKED):
        return [(key, value)]
    layer = key.removesuffix(_PACKED)
    if not isinstance(value, tuple) or len(value) != 2 or layer == key:
        raise UnreadableError(f"{key[:100]!r} is no tensor")
    return [(f"{layer}.weight", value[0]), (f"{layer}.bias", value[1])]


def load_checkpoint(
    path: _Path, arch: str, *, gamma: float | None = None, input_size: int = 112
) -> EdgeFace:
    """Load a checkpoint into the network it was made for; every tensor must fit.

    Args:
        path: A state dict in the published layout: float, or dynamically quantized.
        arch: Name of the network, as ``create_model`` takes it; of one that was cut, the name of
            the whole.
        gamma: Share of the full rank its linear layers keep; None where they are full, or where
            the network was cut.
        input_size: Height and width of the crops.

    Returns:
        The network, as wide as the checkpoint's last layer.

    Raises:
        InputError: ``arch``, ``gamma`` or ``input_size`` makes no network.
        ModelError: The checkpoint is of another network, or cannot be read; see ``read_state``.
    """
    create_model(arch, gamma=gamma, input_size=input_size, width=1)  # before the file is read
    state = read_state(path)
    whole = create_model(arch, gamma=gamma, input_size=input_size, width=read_width(state))
    problem = find_mismatch(whole.state_dict(), state)
    if not problem:
        whole.load_state_dict(state)
        return whole
    cut = _cut(state, input_size)
    if cut is not None and (cut.arch, gamma) == (arch, None):
        return cut
    kind = _describe(arch, gamma)
    raise ModelError(f"{printable(path_text(path))} is no {kind}: {problem}{_hint(state, cut)}")


def _cut(state: dict[str, Tensor], input_size: int) -> EdgeFace | None:
    """Build the network of the tensors where it is one that was cut."""
    if recognize(state) is not None:
        return None
    try:
        return network_of(state, input_size=input_size)
    except ModelError:
        return None


def _describe(arch: str, gamma: float | None) -> str:
    return f"{arch} with full linear layers" if gamma is None else f"{arch} of gamma {gamma:g}"


def _hint(state: dict[str, Tensor], cut: EdgeFace | None) -> str:
    if cut is not None:
        return f"; it looks like a cut {cut.arch}, which has no gamma"
    found = recognize(state)
    return "" if found is None else f"; it looks like {_describe(*found)}"


def save_checkpoint(model: EdgeFace, path: Path) -> None:
    """Write a network's tensors as float32 in the published layout, whole or not at all.

    Raises:
        StorageFull: There is no room for it.
        ModelError: The file cannot be written.
    """
    keep(Path(path), checkpoint_bytes(model))


def checkpoint_bytes(model: EdgeFace) -> bytes:
    """Return the file of a network; the same tensors give the same bytes."""
    state = {
        _PREFIX + key: tensor.detach().to("cpu", torch.float32).contiguous()
        for key, tensor in model.state_dict().items()
    }
    content = io.BytesIO()
    torch.save(state, content)
    return content.getvalue()
