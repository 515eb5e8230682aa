"""The file of the search index, ``GALLERY-index``: sketches and float16 vectors to be mapped.

It is disposable: SQLite is the truth. Every row carries the number of its person and the mark of
the templates it was made from, so who opens it knows which rows still hold (``blocks.marks``).

After a header of one page, with the gallery and the space it belongs to and the point of the
gallery's past it is known to share (``reading.Anchor``), come blocks of ``BLOCK_ROWS`` rows:

    a page: number of rows, SHA-256 of the three columns below
    int64 people | uint64 marks | uint64 sketches (8 a row) | float16 vectors (d a row)

Rows are written behind those that count, then counted: what a killed process left half written is
not counted. Rows are never moved, and the file never becomes shorter, so others may have it mapped.
Who writes holds the lock ``GALLERY-index.lock``, taken before reading the gallery: so nobody can
write down somebody who was erased meanwhile.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import mmap
import os
import struct
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np
from numpy.typing import NDArray

from facekeep.errors import GalleryBusy
from facekeep.gallery.blocks import BLOCK_ROWS, Block, Truth, holding, up_to_date
from facekeep.gallery.reading import Anchor, anchor, blocks_of, listing
from facekeep.gallery.rows import Meta, Rows
from facekeep.gallery.sketch import WORDS

__all__ = ["IndexFile", "UnusableError", "index_path"]

_MAGIC = b"FKINDEX1"
_PAGE = 4096
_ZEROS = 1 << 20
_HEADER = struct.Struct("<8s32sq32s")
_COUNT = struct.Struct("<q32s")


class _Column(NamedTuple):
    dtype: np.dtype[Any]
    words: int

    @property
    def row(self) -> int:
        return self.dtype.itemsize * self.words


class UnusableError(Exception):
    """The file is damaged, half made, or not of this gallery's present past."""


class IndexFile:
    """The index file of one gallery, which may or may not exist."""

    def __init__(self, gallery: Path, meta: Meta) -> None:
        """Take the path and the description of the gallery."""
        self.path = index_path(gallery)
        self._lock = f"{self.path}.lock"
        self._gallery = gallery
        text = f"{meta.gallery}|{meta.space.id}|{meta.space.width}|{BLOCK_ROWS}"
        self._identity = hashlib.sha256(text.encode()).digest()
        self._columns = (
            _Column(np.dtype("<i8"), 1),
            _Column(np.dtype("<u8"), 1),
            _Column(np.dtype("<u8"), WORDS),
            _Column(np.dtype("<f2"), meta.space.width),
        )
        self._block = _PAGE + sum(column.row for column in self._columns) * BLOCK_ROWS

    # Reading

    def load(self, rows: Rows) -> list[Block]:
        """Return the blocks of the file; none where there is no file.

        Raises:
            UnusableError: It cannot be used, or is being made.
            OSError: It cannot be read.
        """
        try:
            with self.path.open("rb") as file:
                return self._load(file, rows)
        except FileNotFoundError:
            return []

    def _load(self, file: BinaryIO, rows: Rows) -> list[Block]:
        self._admit(file.read(_PAGE), rows)
        size = os.fstat(file.fileno()).st_size
        if size <= _PAGE:
            return []
        view = mmap.mmap(file.fileno(), size, access=mmap.ACCESS_READ)
        starts = range(_PAGE, size, self._block)
        return [block for start in starts if (block := self._mapped(view, start)) is not None]

    def _admit(self, header: bytes, rows: Rows) -> None:
        if len(header) < _HEADER.size:
            raise UnusableError
        magic, identity, number, digest = _HEADER.unpack_from(header)
        if (magic, identity) != (_MAGIC, self._identity):
            raise UnusableError
        if anchor(rows, number) != Anchor(number, digest):
            raise UnusableError

    def _mapped(self, view: mmap.mmap, start: int) -> Block | None:
        if start + _COUNT.size > len(view):
            return None
        count, digest = _COUNT.unpack_from(view, start)
        if count == 0:
            return None
        if not 0 < count <= BLOCK_ROWS:
            raise UnusableError
        columns = []
        for column, first in zip(self._columns, self._firsts(start), strict=True):
            if first + count * column.row > len(view):
                raise UnusableError
            data = np.frombuffer(view, column.dtype, count * column.words, first)
            columns.append(data if column.words == 1 else data.reshape(count, -1))
        people, own_marks, sketches, vectors = columns
        if _digest(columns[:3]) != digest:
            raise UnusableError
        self._read_singly(view, self._firsts(start)[3], count)
        return Block(
            people, own_marks, sketches, vectors, np.frombuffer(view, np.uint8, len(_MAGIC))
        )

    def _read_singly(self, view: mmap.mmap, first: int, count: int) -> None:
        """Have no vectors read ahead: a search wants one here and there."""
        begin = -(-first // mmap.PAGESIZE) * mmap.PAGESIZE
        end = first + count * self._columns[3].row
        if begin < end:
            view.madvise(mmap.MADV_RANDOM, begin, end - begin)

    def _firsts(self, start: int) -> list[int]:
        """Return where the columns of the block at ``start`` begin."""
        sizes = [column.row * BLOCK_ROWS for column in self._columns]
        return [start + _PAGE + sum(sizes[:place]) for place in range(len(sizes))]

    # Writing, which needs the lock

    def may_exist(self) -> bool:
        """Whether anybody ever began to write the file, or it was copied here without its lock.

        Raises:
            OSError: What is in its place cannot be read.
        """
        if Path(self._lock).exists():
            return True
        if not self.path.is_file():
            return False
        with self.path.open("rb") as file:
            return file.read(len(_MAGIC)) == _MAGIC

    @contextmanager
    def locked(self, patience: float) -> Iterator[None]:
        """Hold the lock, which the system frees however this process ends.

        Args:
            patience: Seconds to wait for others.

        Raises:
            GalleryBusy: Others kept it for longer.
            OSError: The folder cannot be written.
        """
        import fcntl  # POSIX has it; elsewhere no index is written

        handle = os.open(self._lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            deadline = time.monotonic() + patience
            while True:
                try:
                    fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    if time.monotonic() >= deadline:
                        raise GalleryBusy(
                            f"another program is writing the search index of {self._gallery}:"
                            " try again when it is done"
                        ) from None
                    time.sleep(0.02)
            yield
        finally:
            os.close(handle)

    def update(self, rows: Rows) -> None:
        """Add the people whom the file lacks, making it where there is none; needs the lock.

        Raises:
            OSError: It cannot be written; what was counted before still is.
        """
        if not self._usable(rows):
            self.discard()
        truth = listing(rows)
        blocks, missing = up_to_date(self.load(rows), truth)
        if sum(int(np.sum(block.people == 0)) for block in blocks) > len(truth[0]) // 3:
            self.discard()
            missing = truth[0]
        self._extend(rows, missing.tolist())

    def _extend(self, rows: Rows, people: Sequence[int]) -> None:
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        with os.fdopen(os.open(self.path, flags, 0o600), "r+b", buffering=0) as file:
            os.fchmod(file.fileno(), 0o600)
            header = _HEADER.pack(_MAGIC, self._identity, *anchor(rows))
            _write(file, header, 0)
            start, count = self._end(file)
            for block in blocks_of(rows, people):
                written = 0
                while written < len(block):
                    if count == BLOCK_ROWS:
                        self._count(file, start, count)
                        start, count = start + self._block, 0
                    step = min(BLOCK_ROWS - count, len(block) - written)
                    self._place(file, start, count, block, slice(written, written + step))
                    count, written = count + step, written + step
            self._count(file, start, count)

    def _end(self, file: BinaryIO) -> tuple[int, int]:
        """Return where the last block with rows begins, and their number."""
        size = os.fstat(file.fileno()).st_size
        for start in reversed(range(_PAGE, size, self._block)):
            count = self._rows(file, start)
            if count:
                return start, count
        return _PAGE, 0

    def _rows(self, file: BinaryIO, start: int) -> int:
        data = os.pread(file.fileno(), _COUNT.size, start)
        return int(_COUNT.unpack(data)[0]) if len(data) == _COUNT.size else 0

    def _place(self, file: BinaryIO, start: int, at: int, block: Block, chosen: slice) -> None:
        firsts = self._firsts(start)
        for column, first, data in zip(self._columns, firsts, block.columns, strict=True):
            _write(file, data[chosen].astype(column.dtype).tobytes(), first + at * column.row)

    def _count(self, file: BinaryIO, start: int, count: int) -> None:
        """Make the first ``count`` rows of a block count, once they are on the disk."""
        if count:
            os.fsync(file.fileno())
            digest = _digest(self._read(file, start, count))
            _write(file, _COUNT.pack(count, digest), start)
        os.fsync(file.fileno())

    def _read(self, file: BinaryIO, start: int, count: int) -> list[NDArray[Any]]:
        """Return people, marks and sketches of a block."""
        found = []
        for column, first in list(zip(self._columns, self._firsts(start), strict=True))[:3]:
            data = os.pread(file.fileno(), count * column.row, first)
            found.append(np.frombuffer(data, column.dtype))
        return found

    def erase(self, rows: Rows) -> None:
        """Overwrite the rows that no longer hold, and what was left half written; needs the lock.

        Raises:
            OSError: It cannot be written.
        """
        if not self._is_ours():
            return
        if rows.meta.key_check is not None or not self._usable(rows):
            self.discard()
            return
        with contextlib.suppress(FileNotFoundError), self.path.open("r+b", buffering=0) as file:
            truth = listing(rows)
            for start in range(_PAGE, os.fstat(file.fileno()).st_size, self._block):
                self._erase(file, start, truth)

    def _usable(self, rows: Rows) -> bool:
        try:
            self.load(rows)
        except UnusableError:
            return False
        return True

    def _erase(self, file: BinaryIO, start: int, truth: Truth) -> None:
        count = self._rows(file, start)
        people, own_marks, *_ = self._read(file, start, count)
        dead = np.flatnonzero((people != 0) & (holding(people, own_marks, truth) < 0))
        size = os.fstat(file.fileno()).st_size
        for column, first in zip(self._columns, self._firsts(start), strict=True):
            for begin, end in _runs(dead):
                _zero(file, first + begin * column.row, first + end * column.row)
            left_over = min(size, first + BLOCK_ROWS * column.row)
            _zero(file, first + count * column.row, left_over)
        self._count(file, start, count)

    def _is_ours(self) -> bool:
        """Whether the file is one of facekeep's, whole, just begun or half overwritten."""
        if self.path.is_symlink() or not self.path.is_file():
            return False
        with self.path.open("rb") as file:
            return file.read(len(_MAGIC)) in (_MAGIC, bytes(len(_MAGIC)), b"")

    def discard(self) -> None:
        """Overwrite the file, if there is one, and take it away; needs the lock.

        Its beginning goes first, by which those who have it mapped see that it is gone.

        Raises:
            OSError: It cannot be written, or is somebody else's.
        """
        if not self._is_ours():
            if os.path.lexists(self.path):
                raise FileExistsError(errno.EEXIST, "it is no index of facekeep's", str(self.path))
            return
        with contextlib.suppress(FileNotFoundError), self.path.open("r+b", buffering=0) as file:
            _zero(file, 0, os.fstat(file.fileno()).st_size)
            os.fsync(file.fileno())
        self.path.unlink(missing_ok=True)


def index_path(gallery: Path) -> Path:
    """Return where the index of a gallery stands."""
    return Path(f"{gallery}-index")


def _digest(columns: Sequence[NDArray[Any]]) -> bytes:
    digest = hashlib.sha256()
    for column in columns:
        digest.update(np.ascontiguousarray(column).data)
    return digest.digest()


def _write(file: BinaryIO, data: bytes, at: int) -> None:
    rest = memoryview(data)
    while rest:
        done = os.pwrite(file.fileno(), rest, at)
        rest, at = rest[done:], at + done


def _zero(file: BinaryIO, begin: int, end: int) -> None:
    for at in range(begin, end, _ZEROS):
        _write(file, bytes(min(_ZEROS, end - at)), at)


def _runs(places: NDArray[np.intp]) -> Iterator[tuple[int, int]]:
    """Yield begin and end of each run of neighbours."""
    if len(places):
        for run in np.split(places, np.flatnonzero(np.diff(places) != 1) + 1):
            yield int(run[0]), int(run[-1]) + 1
