"""PyTorch's checkpoint files as dictionaries of arrays; whatever they hold, nothing is run.

The file is a ZIP archive of uncompressed members: ``data.pkl``, which describes the tensors, and
the raw numbers under ``data/`` (PyTorch 1.6 and later). Memory stays below a few times the size of
the file, whatever it claims to hold.
"""

from __future__ import annotations

import math
import zipfile
from typing import Any, BinaryIO

import numpy as np
from numpy.lib.stride_tricks import as_strided
from numpy.typing import NDArray

from facekeep.lab.nn.unpickle import Storage, StoredTensor, Unreadable, parse

__all__ = ["read_archive"]

_LARGEST_PICKLE = 1 << 20


def read_archive(stream: BinaryIO) -> dict[str, Any]:
    """Return what a checkpoint holds by name: float32 arrays, or tuples of them.

    What is no tensor becomes None.

    Raises:
        Unreadable: It is damaged or no such checkpoint.
    """
    try:
        size = stream.seek(0, 2)
        with zipfile.ZipFile(stream) as archive:
            members = _Members(archive, size)
            return {key: members.load(value) for key, value in parse(members.pickle()).items()}
    except zipfile.BadZipFile as error:
        raise Unreadable("it is damaged, or no ZIP archive") from error
    except (RuntimeError, EOFError, OSError, ValueError) as error:
        raise Unreadable("its ZIP archive is damaged") from error


class _Members:
    """The members of a checkpoint, each read once, all together no larger than the file."""

    def __init__(self, archive: zipfile.ZipFile, size: int) -> None:
        infos = archive.infolist()
        packed = any(info.compress_type != zipfile.ZIP_STORED for info in infos)
        if packed or sum(info.file_size for info in infos) > size:
            raise Unreadable("its members are compressed or overlap")
        self._archive = archive
        self._infos = {info.filename: info for info in infos}
        self._room = size
        self._storages: dict[Storage, NDArray[Any]] = {}
        roots = [name[: -len("data.pkl")] for name in self._infos if name.endswith("/data.pkl")]
        if len(roots) != 1:
            raise Unreadable("it holds no list of tensors")
        self._root = roots[0]
        if self._root + "byteorder" in self._infos and self._read("byteorder") != b"little":
            raise Unreadable("its numbers are big-endian; save it anew on a little-endian machine")

    def _read(self, name: str) -> bytes:
        info = self._infos.get(self._root + name)
        if info is None:
            raise Unreadable("some of its numbers are missing")
        return self._archive.read(info)

    def pickle(self) -> bytes:
        """Return the list of tensors as it is stored."""
        if self._infos[self._root + "data.pkl"].file_size > _LARGEST_PICKLE:
            raise Unreadable("its list of tensors is too long")
        return self._read("data.pkl")

    def load(self, value: Any) -> Any:
        """Replace a stored tensor, also in a tuple, by its array."""
        if isinstance(value, StoredTensor):
            return self._array(value)
        if isinstance(value, tuple):
            return tuple(self._array(v) for v in value if isinstance(v, StoredTensor))
        return None

    def _array(self, tensor: StoredTensor) -> NDArray[np.float32]:
        numbers = self._numbers(tensor.storage)
        shape, strides = tensor.shape, tensor.strides
        last = tensor.offset + sum((n - 1) * step for n, step in zip(shape, strides, strict=True))
        self._room -= math.prod(shape)
        if 0 in shape or last >= len(numbers) or self._room < 0:
            raise Unreadable("a tensor claims more numbers than there are")
        bytes_apart = [step * numbers.itemsize for step in strides]
        view = as_strided(numbers[tensor.offset :], shape, bytes_apart, writeable=False)
        with np.errstate(all="ignore"):  # what overflows is no longer finite
            values = np.array(view, dtype=np.float32, order="C")
            if tensor.scale is not None:
                values = (values - np.float32(tensor.zero_point)) * np.float32(tensor.scale)
        if not np.isfinite(values).all():
            raise Unreadable("some of its numbers are not finite")
        return values

    def _numbers(self, storage: Storage) -> NDArray[Any]:
        if storage not in self._storages:
            raw = self._read(f"data/{storage.key}")
            dtype = np.dtype("<u2" if storage.dtype == "bfloat16" else storage.dtype)
            if len(raw) != storage.count * dtype.itemsize:
                raise Unreadable("a member is shorter or longer than its tensors")
            numbers = np.frombuffer(raw, dtype)
            if storage.dtype == "bfloat16":  # the upper half of a float32
                numbers = (numbers.astype(np.uint32) << 16).view(np.float32)
            self._storages[storage] = numbers
        return self._storages[storage]
