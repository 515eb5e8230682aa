"""The file of the search index, ``GALLERY-index``, which belongs to one state of one gallery.

It is disposable: SQLite is the truth. Every row carries the number of its person and the mark of
the templates it was made from, so who opens it knows which rows still hold (``blocks.marks``). The
header of the file of blocks names the gallery and the space it belongs to and the point of the
gallery's past it is known to share (``repository.Anchor``).

Who writes holds the lock ``GALLERY-index.lock``, taken before reading the gallery: so nobody can
write down somebody who was erased meanwhile.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import struct
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from facekeep.gallery.sqlite.file_locks import wait_for
from facekeep.gallery.sqlite.index.block_file import BlockFile, UnusableIndexError, is_block_file
from facekeep.gallery.sqlite.index.blocks import (
    BLOCK_ROWS,
    Block,
    find_places,
    keep_valid,
    read_blocks,
    read_truth,
)
from facekeep.gallery.sqlite.repository import Anchor, Meta, Repository

__all__ = ["IndexFile", "index_path"]

_HEADER = struct.Struct("<32sq32s")
_BEGINNING = 8


class IndexFile:
    """The index file of one gallery, which may or may not exist."""

    def __init__(self, gallery: Path, meta: Meta) -> None:
        """Take the path and the description of the gallery."""
        self.path = index_path(gallery)
        self._lock = f"{self.path}.lock"
        self._width = meta.space.width
        text = f"{meta.gallery}|{meta.space.id}|{meta.space.width}|{BLOCK_ROWS}"
        self._identity = hashlib.sha256(text.encode()).digest()

    # Reading

    def load(self, repo: Repository) -> list[Block]:
        """Return the blocks of the file; none where there is no file.

        Raises:
            UnusableIndexError: It cannot be used, or is being made.
            OSError: It cannot be read.
        """
        try:
            with self.path.open("rb", buffering=0) as file:
                blocks = BlockFile(file, self._width)
                self._require_ours(blocks.header, repo)
                return blocks.blocks()
        except FileNotFoundError:
            return []

    def _require_ours(self, header: bytes, repo: Repository) -> None:
        if len(header) < _HEADER.size:
            raise UnusableIndexError("its end is missing")
        identity, number, digest = _HEADER.unpack_from(header)
        if identity != self._identity:
            raise UnusableIndexError("it belongs to another gallery")
        if repo.anchor(number) != Anchor(number, digest):
            raise UnusableIndexError("it belongs to another past of the gallery")

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
        beginning = self._beginning()
        return any(beginning) and is_block_file(beginning)

    @contextmanager
    def lock(self, timeout: float) -> Iterator[None]:
        """Hold the lock, which the system frees however this process ends.

        Args:
            timeout: Seconds to wait for others.

        Raises:
            GalleryBusy: Others kept it for longer.
            OSError: The folder cannot be written, or this system has no such locks.
        """
        try:
            import fcntl
        except ImportError:
            raise OSError(errno.ENOTSUP, "this system has no locks for it") from None
        handle = os.open(self._lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)

        def try_lock() -> bool:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return False
            return True

        try:
            wait_for(
                try_lock,
                timeout,
                f"another program is writing {self.path}: try again when it is done",
            )
            yield
        finally:
            os.close(handle)

    def update(self, repo: Repository) -> None:
        """Add the people whom the file lacks, making it where there is none; needs the lock.

        Raises:
            OSError: It cannot be written; what was counted before still is.
        """
        if not self._usable(repo):
            self.discard()
        truth = read_truth(repo)
        blocks, missing = keep_valid(self.load(repo), truth)
        if sum(int(np.sum(block.people == 0)) for block in blocks) > len(truth[0]) // 3:
            self.discard()
            missing = truth[0]
        self._extend(repo, missing.tolist())

    def _extend(self, repo: Repository, people: Sequence[int]) -> None:
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        with os.fdopen(os.open(self.path, flags, 0o600), "r+b", buffering=0) as file:
            os.fchmod(file.fileno(), 0o600)
            blocks = BlockFile(file, self._width)
            blocks.header = _HEADER.pack(self._identity, *repo.anchor())
            try:
                blocks.append(read_blocks(repo, people))
            except UnusableIndexError as error:  # another program cut it off meanwhile
                raise OSError(errno.EIO, str(error), str(self.path)) from error

    def erase(self, repo: Repository) -> None:
        """Overwrite the rows that no longer hold, and what was left half written; needs the lock.

        Raises:
            OSError: It cannot be written.
        """
        if not self._is_ours():
            return
        if repo.meta.key_check is not None or not self._usable(repo):
            self.discard()
            return
        with contextlib.suppress(FileNotFoundError), self.path.open("r+b", buffering=0) as file:
            truth = read_truth(repo)
            try:
                BlockFile(file, self._width).erase(
                    lambda people, own_marks: find_places(people, own_marks, truth) < 0
                )
            except UnusableIndexError:  # another program cut it off meanwhile
                self.discard()

    def _usable(self, repo: Repository) -> bool:
        try:
            self.load(repo)
        except UnusableIndexError:
            return False
        return True

    def _is_ours(self) -> bool:
        """Whether the file is one of facekeep's, whole, just begun or half overwritten."""
        if self.path.is_symlink() or not self.path.is_file():
            return False
        return is_block_file(self._beginning())

    def _beginning(self) -> bytes:
        with self.path.open("rb") as file:
            return file.read(_BEGINNING)

    def discard(self) -> None:
        """Overwrite the file, if there is one, and take it away; needs the lock.

        Its beginning goes first, by which those who have it open see that it is gone.

        Raises:
            OSError: It cannot be written, or is somebody else's.
        """
        if not self._is_ours():
            if os.path.lexists(self.path):
                raise FileExistsError(errno.EEXIST, "it is no index of facekeep's", str(self.path))
            return
        with contextlib.suppress(FileNotFoundError), self.path.open("r+b", buffering=0) as file:
            BlockFile(file, self._width).overwrite()
        self.path.unlink(missing_ok=True)


def index_path(gallery: Path) -> Path:
    """Return where the index of a gallery stands."""
    return Path(f"{gallery}-index")
