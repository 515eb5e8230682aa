"""The files in a tar, by offset and size, found from header to header and never unpacked."""

from __future__ import annotations

import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

from facekeep.lab.datasets.source import WINDOW, WindowedFile

__all__ = ["Member", "TarWalk"]

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
        self._said = _Said()
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
                lost, self._said = True, _Said()
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
        said, self._said = self._said, _Said()
        if kind == tarfile.GNUTYPE_LONGNAME:
            name, _, _ = self.read(content).partition(b"\0")
            self._said = _Said(_text(name))
        elif kind in (tarfile.XHDTYPE, tarfile.SOLARIS_XHDTYPE):
            self._said = _pax(self.read(content))
        return kind in _REGULAR and not said.sparse


@dataclass(frozen=True, slots=True)
class _Said:
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


def _pax(data: bytes) -> _Said:
    """Read a pax header."""
    records = dict(_pax_records(data))
    size = records.get(b"size", b"")
    return _Said(
        _text(records.get(b"path", b"")),
        int(size) if size.isdigit() and len(size) < 20 else None,
        any(keyword.startswith(b"GNU.sparse.") for keyword in records),
    )


def _text(name: bytes) -> str:
    return name.decode("utf-8", "surrogateescape")


def _pax_records(data: bytes) -> Iterator[tuple[bytes, bytes]]:
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
