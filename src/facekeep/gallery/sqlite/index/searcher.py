"""Searching a gallery, whose index, in memory or in a file, is kept at its present state."""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from facekeep._internal.arguments import require_count
from facekeep._internal.files import why
from facekeep._internal.fork import Forking, watch
from facekeep._internal.memory import give_memory_back
from facekeep.errors import GalleryBusy
from facekeep.gallery.sqlite.index import search_index
from facekeep.gallery.sqlite.index.block_file import UnusableIndexError
from facekeep.gallery.sqlite.index.blocks import (
    Block,
    gather,
    join_small_blocks,
    keep_valid,
    read_blocks,
    read_truth,
    remove_people,
)
from facekeep.gallery.sqlite.index.ranking import CandidateCache, rank
from facekeep.gallery.sqlite.index.search_index import SearchIndex
from facekeep.gallery.sqlite.repository import Repository
from facekeep.gallery.sqlite.session import GallerySession
from facekeep.gallery.types import Hit, clean_vectors

__all__ = ["Searcher"]

Floats = NDArray[np.float32]

_log = logging.getLogger(__name__)

_WRITE_FROM = 4096
"""Rows in memory from which on they are added to the file of the index."""

_SPARE = 4
"""People compared beyond those asked for, because the index that proposes them rounds."""

_TRIES = 3
"""Searches of the index, while others erase, merge or split people at the same time."""


class Searcher(Forking):
    """Searches an open gallery, and keeps what is needed for it; threads may share one."""

    def __init__(self, session: GallerySession) -> None:
        """Take the session of the gallery."""
        self._session = session
        self._refreshing = threading.Lock()
        self._index: SearchIndex | None = None
        self._writes_index = not session.database.read_only
        self._fault = ""
        self._warned: set[str] = set()
        watch(self)

    def forget(self) -> None:
        """Forget the vectors; the next search reads them again."""
        self._index = None

    def after_fork(self, *, child: bool) -> None:
        """Forget, in the child, what a thread of the parent was in the middle of."""
        if child and self._refreshing.locked():
            self._refreshing = threading.Lock()
            self._index = None

    def search(self, probes: Floats, top_k: int = 5) -> list[list[Hit]]:
        """Return for each probe the people it is most like; see ``Gallery.search``."""
        self._session.require_declared()
        clean = clean_vectors(probes, self._session.meta.space.width, "probes")
        require_count("top_k", top_k)
        for _ in range(_TRIES):
            present = self._refresh()
            found = present.search(clean, top_k + _SPARE)
            if not present.is_intact:
                continue
            with self._session.read() as repo:
                # Whom others merged or split meanwhile the index knows as they were.
                if repo.meta.rewrites == present.rewrites:
                    same = repo.meta.changes == present.changes
                    known = present.known if same else CandidateCache()
                    return list(rank(repo, clean, found, top_k, known))
        return self.search_without_index(clean, top_k)

    def search_without_index(self, probes: Floats, top_k: int) -> list[list[Hit]]:
        """Search one state of the gallery by reading all its templates, whatever others do."""
        _log.info("others keep changing the gallery: all templates are read for this search")
        with self._session.snapshot() as repo:
            everybody = read_blocks(repo, read_truth(repo)[0].tolist())
            found = search_index.search_exactly(everybody, probes, top_k + _SPARE)
            return list(rank(repo, probes, found, top_k, CandidateCache()))

    def _refresh(self) -> SearchIndex:
        """Return the index of the gallery's present state."""
        with self._refreshing:
            # Nothing half refreshed may be left behind, whatever happens from here on.
            known, self._index = self._index, None
            if known is not None and not known.is_intact:
                known = None
            self._fault = ""
            with self._session.read() as repo:
                fresh = self._bring_up_to_date(repo, known)
            if fresh is None:
                fresh = self._write(known)
            if known is None or known.rewrites != fresh.rewrites:
                give_memory_back()
            self._warn(fresh)
            self._index = fresh
            return fresh

    def _warn(self, fresh: SearchIndex) -> None:
        """Warn, once for each reason, where a fault of the file costs memory and time."""
        held = [block for block in fresh.blocks if not block.stored]
        if held and self._fault not in ("", *self._warned):
            self._warned.add(self._fault)
            _log.warning(
                "the search index is kept in memory, which takes %.1f MB in each process and the"
                " time to read %d people: %s cannot be used: %s",
                sum(block.nbytes for block in held) / 1e6,
                sum(map(len, held)),
                self._session.index_file.path,
                self._fault,
            )

    def _bring_up_to_date(self, repo: Repository, known: SearchIndex | None) -> SearchIndex | None:
        """Return the index of the present state, or None where its file should be written first."""
        meta = repo.meta
        if known is not None and (known.changes, known.rewrites) == (meta.changes, meta.rewrites):
            return known
        blocks, missing = self._split_outdated(repo, known)
        in_memory = len(missing) + sum(len(block) for block in blocks if not block.stored)
        people = len(missing) + sum(map(len, blocks))
        if (
            self._writes_index
            and meta.key_check is None
            and people >= search_index.EXACT_BELOW
            and in_memory >= _WRITE_FROM
        ):
            return None
        return _make_index(repo, [*blocks, *gather(read_blocks(repo, missing), len(missing))])

    def _split_outdated(
        self, repo: Repository, known: SearchIndex | None
    ) -> tuple[Sequence[Block], Sequence[int]]:
        """Return blocks of which every row holds, and the people who are in none of them."""
        if known is not None and known.is_intact and known.rewrites == repo.meta.rewrites:
            changed = repo.people_since(known.last_template)
            return remove_people(known.blocks, changed), changed
        blocks: Sequence[Block] = self._load(repo)
        if not blocks and known is not None and not any(block.stored for block in known.blocks):
            blocks = known.blocks
        kept, missing = keep_valid(blocks, read_truth(repo))
        return kept, missing.tolist()

    def _load(self, repo: Repository) -> list[Block]:
        if repo.meta.key_check is not None:
            return []
        try:
            return self._session.index_file.load(repo)
        except UnusableIndexError as error:
            self._fault = self._fault or str(error)
        except OSError as error:
            self._fault = self._fault or why(error)
        return []

    def _write(self, known: SearchIndex | None) -> SearchIndex:
        """Return the index of the present state, after writing what its file lacks."""
        # Reading everybody takes as long as what another process writes; reading a few does not.
        timeout = self._session.database.timeout if known is None else 0
        self._fault = ""
        try:
            with self._session.index_file.lock(timeout), self._session.read() as repo:
                if repo.meta.key_check is None:
                    self._session.index_file.update(repo)
            known = None
        except GalleryBusy:
            self._fault = "another program is writing it"
        except OSError as error:
            self._fault = why(error)
            self._writes_index = False
        with self._session.read() as repo:
            blocks, missing = self._split_outdated(repo, known)
            return _make_index(repo, [*blocks, *gather(read_blocks(repo, missing), len(missing))])


def _make_index(repo: Repository, blocks: Sequence[Block]) -> SearchIndex:
    meta = repo.meta
    return SearchIndex(
        tuple(join_small_blocks(blocks)), meta.changes, meta.rewrites, repo.last_template()
    )
