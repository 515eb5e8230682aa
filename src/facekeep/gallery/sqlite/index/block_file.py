"""Files of blocks: binary codes and float16 vectors, of which searches read what they need.

After a page with a magic number, a count of erasures and the owner's header come blocks of
``BLOCK_ROWS`` rows:

    a page: number of rows, SHA-256 of the three columns below
    int64 people | uint64 marks | uint64 codes (8 a row) | float16 vectors (d a row)

Rows are written behind those that count, then counted: what a killed process left half written is
not counted. Rows are never moved, and the file never becomes shorter, so others may have it open.
They see what happens to their rows by the first page (``FileReader.is_intact``): the count of
erasures is odd while rows are overwritten and higher afterward, and the magic number goes first of
a file that is taken away. Where nothing was written the file has holes, which take no room and
stay.

Who opens a file reads people, marks and codes into memory, and vectors when a search wants them.
Nothing of it is looked at through a map, for another program may cut it off (``file_reader``).
"""

from __future__ import annotations

import hashlib
import os
import struct
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, BinaryIO, NamedTuple

import numpy as np
from numpy.typing import NDArray

from facekeep.gallery.sqlite.index.binary_codes import WORDS
from facekeep.gallery.sqlite.index.blocks import BLOCK_ROWS, Block
from facekeep.gallery.sqlite.index.file_reader import BEGINNING, FileReader

__all__ = ["BlockFile", "UnusableIndexError", "is_block_file"]

Numbers = NDArray[np.int64]
Words = NDArray[np.uint64]

_KIND = b"FKINDEX"
_MAGIC = _KIND + b"2"
_BEGINNING = struct.Struct("<8sq")
_PAGE = 4096
_AT_ONCE = 1 << 20
_COUNT = struct.Struct("<q32s")


class UnusableIndexError(Exception):
    """The file is damaged, half made, or not of this gallery's present past; says which."""


class _Column(NamedTuple):
    dtype: np.dtype[Any]
    words: int

    @property
    def row(self) -> int:
        return self.dtype.itemsize * self.words


class _StoredVectors:
    """The vectors of a block, read from the file whenever they are asked for.

    Where some are missing, or cannot be read, zeros are returned and the file is no longer intact.
    """

    def __init__(self, source: FileReader, first: int, shape: tuple[int, int]) -> None:
        self._source = source
        self.first = first
        self.shape = shape
        self._row = 2 * shape[1]
        self.nbytes = shape[0] * self._row

    def __getitem__(self, rows: slice | NDArray[np.intp]) -> NDArray[np.float16]:
        if isinstance(rows, slice):
            begin, end, _ = rows.indices(self.shape[0])
            count = max(0, end - begin)
            data = self._source.run(self.first + begin * self._row, count * self._row)
        else:
            data = self._source.rows(self.first + rows.astype(np.int64) * self._row, self._row)
        return data.view("<f2").reshape(-1, self.shape[1])


class BlockFile:
    """A file of blocks that was opened without a buffer."""

    def __init__(self, file: BinaryIO, width: int) -> None:
        """Take the file and the width of its vectors."""
        self._handle = file.fileno()
        self._width = width
        self._columns = (
            _Column(np.dtype("<i8"), 1),
            _Column(np.dtype("<u8"), 1),
            _Column(np.dtype("<u8"), WORDS),
            _Column(np.dtype("<f2"), width),
        )
        self._block = _PAGE + sum(column.row for column in self._columns) * BLOCK_ROWS

    @property
    def header(self) -> bytes:
        """What the owner wrote down; UnusableIndexError if the file is not ours, or only begun."""
        page = os.pread(self._handle, _PAGE, 0)
        if not any(page[: len(_MAGIC)]):
            raise UnusableIndexError("it is being made or taken away")
        if not page.startswith(_MAGIC):
            raise UnusableIndexError(
                "it was written by another version of facekeep, or something else"
            )
        return page[_BEGINNING.size :]

    @header.setter
    def header(self, data: bytes) -> None:
        self._write(data, _BEGINNING.size)
        self._write(_MAGIC, 0)

    def blocks(self) -> list[Block]:
        """Return the blocks, whose vectors stay in the file.

        Raises:
            UnusableIndexError: The file is damaged, or being overwritten.
        """
        size = self._size()
        try:
            return self._blocks(size)
        except UnusableIndexError:
            if self._size() <= size:
                raise
            return self.blocks()  # rows were added meanwhile, behind what was the end

    def _blocks(self, size: int) -> list[Block]:
        if size <= _PAGE:
            return []
        source = FileReader(
            os.dup(self._handle), size
        )  # what it begins with is noted before any row
        if len(source.beginning) < BEGINNING or not source.beginning.startswith(
            _MAGIC
        ):  # since the header was read
            raise UnusableIndexError("it is being taken away")
        if _BEGINNING.unpack(source.beginning)[1] % 2:
            raise UnusableIndexError("somebody is erasing people from it, or was cut off")
        starts = range(_PAGE, size, self._block)
        blocks = (self._open_block(start, size, source) for start in starts)
        return [block for block in blocks if block is not None]

    def _open_block(self, start: int, size: int, source: FileReader) -> Block | None:
        beginning = os.pread(self._handle, _COUNT.size, start)
        if len(beginning) < _COUNT.size:
            return None
        count, digest = _COUNT.unpack(beginning)
        if count == 0:
            return None
        if not 0 < count <= BLOCK_ROWS:
            raise UnusableIndexError("it is damaged")
        vectors = _StoredVectors(source, self._column_starts(start)[3], (count, self._width))
        if vectors.first + vectors.nbytes > size:
            raise UnusableIndexError("its end is missing")
        people, own_marks, codes = self._read(start, count)
        if _digest([people, own_marks, codes]) != digest:
            raise UnusableIndexError("it is damaged")
        return Block(people, own_marks, codes.reshape(count, -1), vectors, source)

    def append(self, blocks: Iterable[Block]) -> None:
        """Add rows behind those that count.

        Raises:
            OSError: They cannot be written; what was counted before still is.
        """
        start, count = self._end()
        for block in blocks:
            written = 0
            while written < len(block):
                if count == BLOCK_ROWS:
                    self._count(start, count)
                    start, count = start + self._block, 0
                step = min(BLOCK_ROWS - count, len(block) - written)
                self._place(start, count, block, slice(written, written + step))
                count, written = count + step, written + step
        self._count(start, count)

    def _end(self) -> tuple[int, int]:
        """Return where the last block with rows begins, and their number."""
        for start in reversed(self._starts()):
            count = self._rows(start)
            if count:
                return start, count
        return _PAGE, 0

    def _place(self, start: int, at: int, block: Block, chosen: slice) -> None:
        for column, first, data in zip(
            self._columns, self._column_starts(start), block.columns, strict=True
        ):
            self._write(data[chosen].astype(column.dtype).tobytes(), first + at * column.row)

    def _count(self, start: int, count: int) -> None:
        """Make the first ``count`` rows of a block count, once they are on the disk."""
        if count:
            os.fsync(self._handle)
            self._write(_COUNT.pack(count, _digest(self._read(start, count))), start)
        os.fsync(self._handle)

    def erase(self, dead: Callable[[Numbers, Words], NDArray[np.bool_]]) -> None:
        """Overwrite rows, and what was written but never counted.

        Args:
            dead: Tells by people and marks which rows are to be overwritten.

        Raises:
            OSError: They cannot be overwritten.
        """
        for start in self._starts():
            self._erase(start, dead)
        if self._erasures % 2:
            self._erasures += 1
        os.fsync(self._handle)

    @property
    def _erasures(self) -> int:
        return int(_BEGINNING.unpack(os.pread(self._handle, _BEGINNING.size, 0))[1])

    @_erasures.setter
    def _erasures(self, number: int) -> None:
        self._write(_BEGINNING.pack(_MAGIC, number), 0)

    def _erase(self, start: int, dead: Callable[[Numbers, Words], NDArray[np.bool_]]) -> None:
        count, size = self._rows(start), self._size()
        people, own_marks, *_ = self._read(start, count)
        gone = np.flatnonzero((people != 0) & dead(people, own_marks))
        if len(gone) and self._erasures % 2 == 0:
            self._erasures += 1
        for column, first in zip(self._columns, self._column_starts(start), strict=True):
            for begin, end in _find_runs(gone):
                self._wipe(first + begin * column.row, first + end * column.row)
            self._wipe(first + count * column.row, min(size, first + BLOCK_ROWS * column.row))
        if len(gone):
            self._count(start, count)

    def overwrite(self) -> None:
        """Overwrite everything, the header first.

        Raises:
            OSError: It cannot be overwritten.
        """
        self._wipe(0, self._size())
        os.fsync(self._handle)

    def _wipe(self, begin: int, end: int) -> None:
        """Overwrite what was written between two places; a hole stays one."""
        for at in range(begin, end, _AT_ONCE):
            data = os.pread(self._handle, min(_AT_ONCE, end - at), at)
            written = len(data.rstrip(b"\0"))
            if written:
                self._write(bytes(written), at)

    def _starts(self) -> range:
        return range(_PAGE, self._size(), self._block)

    def _column_starts(self, start: int) -> list[int]:
        """Return where the columns of the block at ``start`` begin."""
        sizes = [column.row * BLOCK_ROWS for column in self._columns]
        return [start + _PAGE + sum(sizes[:place]) for place in range(len(sizes))]

    def _rows(self, start: int) -> int:
        data = os.pread(self._handle, _COUNT.size, start)
        return int(_COUNT.unpack(data)[0]) if len(data) == _COUNT.size else 0

    def _read(self, start: int, count: int) -> list[NDArray[Any]]:
        """Return people, marks and codes of a block."""
        found = []
        for column, first in list(zip(self._columns, self._column_starts(start), strict=True))[:3]:
            data = os.pread(self._handle, count * column.row, first)
            if len(data) < count * column.row:
                raise UnusableIndexError("its end is missing")
            found.append(np.frombuffer(data, column.dtype))
        return found

    def _size(self) -> int:
        return os.fstat(self._handle).st_size

    def _write(self, data: bytes, at: int) -> None:
        rest = memoryview(data)
        while rest:
            done = os.pwrite(self._handle, rest, at)
            rest, at = rest[done:], at + done


def is_block_file(beginning: bytes) -> bool:
    """Whether a file with this beginning is one of ours: of any version, begun or overwritten."""
    return beginning.startswith(_KIND) or not any(beginning[: len(_MAGIC)])


def _digest(columns: Sequence[NDArray[Any]]) -> bytes:
    digest = hashlib.sha256()
    for column in columns:
        digest.update(np.ascontiguousarray(column).data)
    return digest.digest()


def _find_runs(places: NDArray[np.intp]) -> Iterator[tuple[int, int]]:
    """Yield begin and end of each run of neighbors."""
    if len(places):
        for run in np.split(places, np.flatnonzero(np.diff(places) != 1) + 1):
            yield int(run[0]), int(run[-1]) + 1
