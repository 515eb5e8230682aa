"""WebDataset: images in tars, each beside a small file that says who it shows.

Files that follow each other and share their name up to the first dot are one sample: an image, and
perhaps a ``cls`` (a class number or a name) or a ``json`` with one. Tars of images alone have no
labels; a table may name the people in them. A tar is read from header to header, never unpacked.
"""

from __future__ import annotations

import json
import tarfile
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import BinaryIO

import numpy as np

from facekeep._internal.files import open_regular, printable, why
from facekeep.errors import ImageError, InputError
from facekeep.lab.datasets.source import (
    MAX_IMAGE_BYTES,
    WINDOW,
    Classes,
    Source,
    Strings,
    WindowedFile,
    read_span,
)

__all__ = ["Member", "TarSource", "TarWalk", "open_tars"]

_BLOCK = 512
_ZEROS = bytes(_BLOCK)
_REGULAR = (tarfile.REGTYPE, tarfile.AREGTYPE, tarfile.CONTTYPE)


@dataclass(frozen=True, slots=True)
class Member:
    """A regular file in a tar.

    Attributes:
        name: Its path in the tar.
        offset: Where its content begins.
        size: Bytes of its content.
    """

    name: str
    offset: int
    size: int


class TarWalk:
    """Walks over the regular files of a tar: ustar, GNU and pax, also where several are joined.

    Python's own ``tarfile`` reads the single headers, but not the whole: it keeps an object for
    each file, and takes a damaged header for the end. Here the walk goes on at the next sound one.

    Args:
        stream: The tar.

    Attributes:
        damaged: How many damaged places were passed.
    """

    def __init__(self, stream: BinaryIO) -> None:
        self._file = WindowedFile(stream)
        self._said = _Announced()
        self.damaged = 0

    def read(self, member: Member) -> bytes:
        """Read the content of a small file; `WINDOW` bytes at most."""
        return self._file.read(member.offset, min(member.size, WINDOW))

    def __iter__(self) -> Iterator[Member]:
        at, lost = 0, False
        while at + _BLOCK <= self._file.size:
            block = self._file.read(at, _BLOCK)
            at += _BLOCK
            if block == _ZEROS:
                continue
            header = self._parsed(block, at, lost=lost)
            if header is None:
                self.damaged += not lost
                lost, self._said = True, _Announced()
                continue
            lost = False
            content = Member(self._said.name or header.name, at, self._said.size_of(header))
            at += -(-content.size // _BLOCK) * _BLOCK
            if self._is_file(header.type, content):
                yield content

    def _parsed(self, block: bytes, at: int, *, lost: bool) -> tarfile.TarInfo | None:
        """Parse a header; None where there is none, or its content does not fit into the tar."""
        if lost and block[257:262] != b"ustar":
            return None  # to parse each block of a damaged image would take long
        try:
            header = tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
        except (tarfile.HeaderError, ValueError):
            return None
        return header if 0 <= self._said.size_of(header) <= self._file.size - at else None

    def _is_file(self, kind: bytes, content: Member) -> bool:
        """Tell whether this is a regular file; if not, keep what it may say about the next."""
        said, self._said = self._said, _Announced()
        if kind == tarfile.GNUTYPE_LONGNAME:
            name, _, _ = self.read(content).partition(b"\0")
            self._said = _Announced(_decode_name(name))
        elif kind in (tarfile.XHDTYPE, tarfile.SOLARIS_XHDTYPE):
            self._said = _read_pax(self.read(content))
        return kind in _REGULAR and not said.sparse


@dataclass(frozen=True, slots=True)
class _Announced:
    """What was said about the next file before its own header."""

    name: str = ""
    size: int | None = None
    sparse: bool = False

    def size_of(self, header: tarfile.TarInfo) -> int:
        """Return the bytes of content that follow a header."""
        if self.size is None:
            return 0 if header.type in _EMPTY else header.size
        return self.size


_EMPTY = (
    tarfile.LNKTYPE,
    tarfile.SYMTYPE,
    tarfile.CHRTYPE,
    tarfile.BLKTYPE,
    tarfile.DIRTYPE,
    tarfile.FIFOTYPE,
)
"""Kinds of files that have no content, whatever size their header says."""


def _read_pax(data: bytes) -> _Announced:
    """Read a pax header."""
    records = dict(_list_pax_records(data))
    size = records.get(b"size", b"")
    return _Announced(
        _decode_name(records.get(b"path", b"")),
        int(size) if size.isdigit() and len(size) < 20 else None,
        any(keyword.startswith(b"GNU.sparse.") for keyword in records),
    )


def _decode_name(name: bytes) -> str:
    return name.decode("utf-8", "surrogateescape")


def _list_pax_records(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yield the lines ``LENGTH KEYWORD=VALUE`` of a pax header, up to the first odd one."""
    while data:
        digits, _, _ = data[:20].partition(b" ")
        if not digits.isdigit():
            return
        record, data = data[len(digits) + 1 : int(digits)], data[int(digits) :]
        keyword, equals, value = record.partition(b"=")
        if not equals or not value.endswith(b"\n"):
            return
        yield keyword, value[:-1]


_IMAGES = ("jpg", "jpeg", "png", "webp")
_LABELS = ("cls", "json")
_JSON_NAMES = ("label", "identity", "person", "cls")
_LONGEST_LABEL = 1 << 20
_COMPRESSED = {b"\x1f\x8b": "gzip", b"BZh": "bzip2", b"\xfd7zXZ": "xz", b"\x28\xb5\x2f\xfd": "zstd"}


class TarSource(Source):
    """The images of tars; the key of one is its path in the tar, up to the first dot of its name.

    See ``open_tars``.
    """

    def __init__(self, name: str, tars: Sequence[Path], index: _Index) -> None:
        labels, names = index.classes.sorted()
        super().__init__(name, labels, names, index.corrupt)
        self._tars = tuple(tars)
        self._keys = index.keys
        self._tar = np.frombuffer(index.tars, np.int32)
        self._offsets = np.frombuffer(index.offsets, np.int64)
        self._sizes = np.frombuffer(index.sizes, np.int32)

    def key(self, index: int) -> str:
        """See `Source`."""
        return self._keys[index]

    def read(self, index: int) -> bytes:
        """See `Source`."""
        tar = self._tars[self._tar[index]]
        return read_span(tar, int(self._offsets[index]), int(self._sizes[index]))


class _Index:
    """What is kept of each image while tars are indexed."""

    def __init__(self) -> None:
        self.keys = Strings()
        self.tars, self.offsets, self.sizes = array("i"), array("q"), array("i")
        self.classes = Classes()
        self.corrupt = 0

    def add_tar(self, number: int, walk: TarWalk) -> None:
        """Index one tar; samples whose label cannot be read are counted and left out."""
        for key, files in groupby(_list_parts(walk), lambda part: part[0]):
            members = {kind: member for _, kind, member in files}
            image = next((members[kind] for kind in _IMAGES if kind in members), None)
            if image is None:
                continue
            person = _read_person(walk, members)
            if person is None or not 0 < image.size <= MAX_IMAGE_BYTES:
                self.corrupt += 1
                continue
            self.keys.append(key)
            self.tars.append(number)
            self.offsets.append(image.offset)
            self.sizes.append(image.size)
            self.classes.append(person)
        self.corrupt += walk.damaged


def open_tars(name: str, tars: Sequence[Path]) -> TarSource:
    """Index tars by walking from header to header.

    Args:
        name: Where they are, for messages.
        tars: The files, in the order that their images should have.

    Raises:
        InputError: They hold no images, or one is compressed or no tar.
        ImageError: One cannot be read.
    """
    index = _Index()
    for number, path in enumerate(tars):
        try:
            with open_regular(path) as stream:
                _check(stream.peek(8), path)
                index.add_tar(number, TarWalk(stream))
        except (OSError, ValueError) as error:
            raise ImageError(f"{printable(path)}: cannot be read: {why(error)}") from error
    if not index.keys:
        raise InputError(
            f"{name}: holds no images ({index.corrupt} damaged places); the files in a tar must "
            f"end in .{', .'.join(_IMAGES)}"
        )
    return TarSource(name, tars, index)


def _check(head: bytes, path: Path) -> None:
    for magic, kind in _COMPRESSED.items():
        if head.startswith(magic):
            raise InputError(
                f"{printable(path)}: is compressed ({kind}), so single images cannot be read; "
                "decompress it"
            )


def _list_parts(walk: TarWalk) -> Iterator[tuple[str, str, Member]]:
    """Yield key, kind and place of the files that can be a part of a sample."""
    for member in walk:
        folder, slash, name = member.name.rpartition("/")
        stem, _, kind = name.partition(".")
        kind = kind.lower()
        if stem and kind in (*_IMAGES, *_LABELS):
            yield folder + slash + stem, kind, member


def _read_person(walk: TarWalk, members: dict[str, Member]) -> str | None:
    """Return who a sample shows: empty where nobody says so, None where it cannot be read."""
    kind = next((each for each in _LABELS if each in members), None)
    if kind is None:
        return ""
    if members[kind].size > _LONGEST_LABEL:
        return None
    try:
        text = walk.read(members[kind]).decode("utf-8").strip()
        return text if kind == "cls" else _parse_person(text)
    except (ValueError, RecursionError):
        return None


def _parse_person(text: str) -> str:
    content = json.loads(text)
    fields = content if isinstance(content, dict) else {"label": content}
    value = next((fields[name] for name in _JSON_NAMES if name in fields), "")
    if not isinstance(value, int | str) or isinstance(value, bool):
        raise ValueError
    return str(value).strip()
