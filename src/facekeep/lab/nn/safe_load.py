"""PyTorch's checkpoint files as float32 tensors; whatever they hold, nothing is run.

``torch.load(weights_only=True)`` does the reading. It runs no code, but a forged file can still
take all memory or end the process with it: a member that expands to gigabytes, an allocation by
name (``bytearray(1 << 40)``), a dictionary key nested too deep to be hashed, a tensor of trillions
of repeated numbers, or a quantized tensor that points outside its storage. So what such a file can
say is checked before, and what came of it before a number is read.
"""

from __future__ import annotations

import io
import pickletools
import warnings
import zipfile
from typing import Any, BinaryIO

import torch
from torch import Tensor

from facekeep._internal.files import printable

__all__ = ["UnreadableError", "load_tensors"]

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


class UnreadableError(Exception):
    """A file is damaged, or asks for more than tensors; the message says what is wrong with it."""


def load_tensors(stream: BinaryIO) -> dict[str, Any]:
    """Return what a checkpoint of PyTorch 1.6 or later holds by name.

    Tensors, also those in tuples, are float32 on the CPU; quantized ones are dequantized. What is
    no tensor becomes None.

    Raises:
        Unreadable: It is damaged, no such checkpoint, or asks for more than tensors.
    """
    try:
        size = stream.seek(0, 2)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of PyTorch's plans with quantized tensors
            content = torch.load(_checked_copy(stream, size), "cpu", weights_only=True)
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
