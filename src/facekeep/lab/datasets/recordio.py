"""InsightFace and MXNet RecordIO: ``train.rec``, with or without its ``train.idx``.

A record is a chain of parts; nearly always there is one. A part is, all little-endian, the magic
0xced7230a, a word whose upper 3 bits say which part it is (0 the whole, 1 the first, 2 a middle
one, 3 the last) and whose lower 29 bits say how long its content is, the content, and zeros up to
the next multiple of 4. Where the content itself holds the aligned magic, writers cut it there, and
readers put the magic back between the parts. So an aligned magic always begins a part, and after
damage the next record can be found.

The content of a record is a header, ``<IfQQ``: flag, label, and two numbers that nobody uses; with
a flag above 0, so many float labels in place of the one; then the encoded image. InsightFace packs
begin with a record without an image (flag 2: which records are images), and end with one for each
person; packs made by im2rec have only images.
"""

from __future__ import annotations

import struct
from array import array
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from facekeep._internal.files import open_regular, printable, why
from facekeep.errors import ImageError, InputError
from facekeep.lab.datasets.source import (
    MAX_IMAGE_BYTES,
    WINDOW,
    Classes,
    Source,
    WindowedFile,
    read_span,
)

__all__ = ["RecordSource", "open_recordio"]

_MAGIC = 0xCED7230A
_MAGIC_BYTES = struct.pack("<I", _MAGIC)
_PART = struct.Struct("<II")
_HEADER = struct.Struct("<IfQQ")
_LENGTH = (1 << 29) - 1
_WHOLE, _FIRST, _MIDDLE, _LAST = range(4)
_MOST_PARTS = 1024
_LONGEST_LINE = 64
_LABEL_LIMIT = 1 << 24  # float32 holds whole numbers exactly up to here


class _Damaged(Exception):
    """There is no sound record here."""


@dataclass(frozen=True, slots=True)
class _Record:
    """Where a record lies, and what its header says.

    Attributes:
        size: All of its parts, in bytes.
        person: The label; empty where nobody knows.
        image: Whether an image follows the header.
    """

    size: int
    person: str
    image: bool


class RecordSource(Source):
    """The images of a RecordIO file; the key of one is its number. See ``open_recordio``."""

    def __init__(self, path: Path, index: _Index) -> None:
        labels, names = index.classes.sorted()
        super().__init__(printable(path), labels, names, index.corrupt)
        self._path = path
        self._keys = np.frombuffer(index.keys, np.int64)
        self._offsets = np.frombuffer(index.offsets, np.int64)
        self._sizes = np.frombuffer(index.sizes, np.int64)

    def key(self, index: int) -> str:
        """See `Source`."""
        return str(self._keys[index])

    def read(self, index: int) -> bytes:
        """See `Source`."""
        data = read_span(self._path, int(self._offsets[index]), int(self._sizes[index]))
        try:
            return _image(_joined(data))
        except _Damaged as error:
            raise ImageError(f"{self.name}: record {self.key(index)} is damaged") from error


class _Index:
    """What is kept of each image while a file is indexed."""

    def __init__(self) -> None:
        self.keys, self.offsets, self.sizes = array("q"), array("q"), array("q")
        self.classes = Classes()
        self.corrupt = 0

    def add(self, key: int, offset: int, record: _Record) -> None:
        if not record.image:
            return
        self.keys.append(key)
        self.offsets.append(offset)
        self.sizes.append(record.size)
        self.classes.append(record.person)


def open_recordio(path: Path) -> RecordSource:
    """Index a RecordIO file by the ``.idx`` beside it, or record by record where there is none.

    Damaged records are counted and left out.

    Raises:
        InputError: It holds no sound image record, or its ``.idx`` cannot be used.
        ImageError: It cannot be read.
    """
    beside = path.with_suffix(".idx")
    try:
        with open_regular(path) as stream:
            offsets = _listed(beside) if beside.exists() else None
            index = _indexed(WindowedFile(stream), offsets)
    except (OSError, ValueError) as error:
        raise ImageError(f"{printable(path)}: cannot be read: {why(error)}") from error
    if not index.keys:
        raise InputError(
            f"{printable(path)}: holds no sound image record ({index.corrupt} damaged)"
            + ("; if the .idx beside it belongs to another file, delete it" * beside.exists())
        )
    return RecordSource(path, index)


def _indexed(file: WindowedFile, listed: Iterable[tuple[int, int]] | None) -> _Index:
    index = _Index()
    if listed is None:
        _scan(file, index)
        return index
    for key, offset in listed:
        try:
            index.add(key, offset, _read_facts(file, offset))
        except _Damaged:
            index.corrupt += 1
    return index


def _scan(file: WindowedFile, index: _Index) -> None:
    """Walk over all records; after a damaged one, go on at the next that begins."""
    offset = key = 0
    while offset < file.size:
        try:
            record = _read_facts(file, offset)
            index.add(key, offset, record)
            offset += record.size
        except _Damaged:
            index.corrupt += 1
            offset = _next(file, offset - offset % 4 + 4)
        key += 1


def _next(file: WindowedFile, offset: int) -> int:
    """Return where the next record begins, or the size of the file."""
    while (window := file.read(offset, WINDOW)) and len(window) >= _PART.size:
        at = window.find(_MAGIC_BYTES)
        if at < 0 or at + _PART.size > len(window):
            offset += len(window) - len(window) % 4 - 4
        elif at % 4 == 0 and window[at + 7] >> 5 in (_WHOLE, _FIRST):
            return offset + at
        else:
            offset += at // 4 * 4 + 4
    return file.size


def _listed(path: Path) -> Iterable[tuple[int, int]]:
    """Read the number and offset of each record that an ``.idx`` lists, in order of offset."""
    keys, offsets = array("q"), array("q")
    with open_regular(path) as stream:
        while line := stream.readline(_LONGEST_LINE):
            try:
                key, offset = map(int, line.split())
                keys.append(key)
                offsets.append(offset)
            except (ValueError, OverflowError) as error:
                raise InputError(
                    f"{printable(path)}: line {len(offsets) + 1} is not a number and an offset; "
                    "delete the file, and the records are found without it"
                ) from error
    order = np.argsort(np.frombuffer(offsets, np.int64), kind="stable")
    return ((keys[place], offsets[place]) for place in order)


def _read_facts(file: WindowedFile, offset: int) -> _Record:
    """Look at the record at an offset without reading its image."""
    end, content = _extent(file, offset)
    flag, label = _header(file.read(offset + _PART.size, min(content, _HEADER.size + 4)))
    image = content - _HEADER.size - 4 * flag
    if image == 0 and flag == 2:
        return _Record(end - offset, "", image=False)
    if image <= 0 or not -1 <= label < _LABEL_LIMIT or label != int(label):
        raise _Damaged
    return _Record(end - offset, str(int(label)), image=True)


def _extent(file: WindowedFile, offset: int) -> tuple[int, int]:
    """Return where the record at an offset ends, and how long its content is."""
    if not 0 <= offset < file.size:
        raise _Damaged
    content, kinds = -len(_MAGIC_BYTES), bytearray()
    while not kinds or kinds[-1] not in (_WHOLE, _LAST):
        kind, size = _part(file.read(offset, _PART.size))
        kinds.append(kind)
        content += size + len(_MAGIC_BYTES)
        offset += _PART.size + _padded(size)
        begins = kind in (_WHOLE, _FIRST)
        if begins != (len(kinds) == 1) or len(kinds) > _MOST_PARTS or content > MAX_IMAGE_BYTES:
            raise _Damaged
    if offset > file.size:
        raise _Damaged
    return offset, content


def _part(head: bytes) -> tuple[int, int]:
    if len(head) < _PART.size:
        raise _Damaged
    magic, word = _PART.unpack(head)
    if magic != _MAGIC or word >> 29 > _LAST:
        raise _Damaged
    return word >> 29, word & _LENGTH


def _padded(size: int) -> int:
    return (size + 3) // 4 * 4


def _header(head: bytes) -> tuple[int, float]:
    """Return how many labels stand between header and image, and the first one there is."""
    try:
        flag, label, _, _ = _HEADER.unpack_from(head)
        return flag, *(struct.unpack_from("<f", head, _HEADER.size) if flag else (label,))
    except struct.error as error:
        raise _Damaged from error


def _joined(data: bytes) -> bytes:
    """Put the parts of a record together."""
    contents, at = [], 0
    while at < len(data):
        _, size = _part(data[at : at + _PART.size])
        contents.append(data[at + _PART.size : at + _PART.size + size])
        at += _PART.size + _padded(size)
    return _MAGIC_BYTES.join(contents)


def _image(content: bytes) -> bytes:
    flag, _ = _header(content[: _HEADER.size + 4])
    return content[_HEADER.size + 4 * flag :]
