"""Searching a gallery, whose index, in memory or in a file, is kept at its present state."""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from facekeep._internal.files import why
from facekeep._internal.fork import Forking, watch
from facekeep._internal.memory import give_memory_back
from facekeep.errors import GalleryBusy, InputError
from facekeep.gallery import index
from facekeep.gallery.block_file import UnusableError
from facekeep.gallery.blocks import Block, gathered, grouped, replaced, up_to_date
from facekeep.gallery.index import Index
from facekeep.gallery.opened import OpenGallery
from facekeep.gallery.ranking import Known, ranked
from facekeep.gallery.reading import blocks_of, last_template, listing, since
from facekeep.gallery.records import Hit, clean_vectors
from facekeep.gallery.rows import Rows

__all__ = ["SearchableGallery"]

Floats = NDArray[np.float32]

_log = logging.getLogger(__name__)

_WRITE_FROM = 4096
"""Rows in memory from which on they are added to the file of the index."""

_SPARE = 4
"""People looked at beyond those asked for, because the index that proposes them rounds."""

_TRIES = 3
"""Searches of the index, while others erase, merge or split people at the same time."""


class SearchableGallery(OpenGallery, Forking):
    """An open gallery with what is needed to search it."""

    def __init__(self, *arguments: Any) -> None:
        """Take what ``OpenGallery`` takes."""
        super().__init__(*arguments)
        self._refreshing = threading.Lock()
        self._index: Index | None = None
        self._writes_index = not self._database.read_only
        self._fault = ""
        self._told: set[str] = set()
        watch(self)

    def after_fork(self, *, child: bool) -> None:
        """Forget, in the child, what a thread of the parent was in the middle of."""
        if child and self._refreshing.locked():
            self._refreshing = threading.Lock()
            self._index = None

    def close(self) -> None:
        """Close the file and forget the vectors; doing it twice does no harm."""
        super().close()
        self._index = None

    def search(self, probes: Floats, top_k: int = 5) -> list[list[Hit]]:
        """Return for each probe the people it is most like, best first.

        Up to some tens of thousands of people all are compared exactly. Above, sketches choose
        whom to compare exactly, and a person that an exact search would return may be missed once
        in thousands of searches (docs/search.md). The similarities are exact either way.

        Args:
            probes: float32 ``(n, d)`` of unit length, from the space the gallery was opened with.
            top_k: The most people to return for each probe.

        Returns:
            A list for each probe, shorter than ``top_k`` where there are fewer people. Somebody
            with only "this is not" templates is never among them.

        Raises:
            InputError: Wrong shape or values.
            TemplateTampered: A stored template was changed outside facekeep.
            GalleryKeyError: The gallery is encrypted and no key was given.
        """
        self._require_declared()
        clean = clean_vectors(probes, self.space.width, "probes")
        if top_k < 1:
            raise InputError(f"top_k must be 1 or more, not {top_k!r}")
        for _ in range(_TRIES):
            present = self._fresh()
            found = present.search(clean, top_k + _SPARE)
            if not present.stands:
                continue
            with self._read() as rows:
                # Whom others merged or split meanwhile the index knows as they were.
                if rows.meta.rewrites == present.rewrites:
                    known = present.known if rows.meta.changes == present.changes else Known()
                    return list(ranked(rows, clean, found, top_k, known))
        return self._searched_without_index(clean, top_k)

    def _searched_without_index(self, probes: Floats, top_k: int) -> list[list[Hit]]:
        """Search one state of the gallery by reading all its templates, whatever others do."""
        _log.info("others keep changing the gallery: all templates are read for this search")
        with self._database.snapshot() as connection:
            rows = self._rows(connection)
            everybody = blocks_of(rows, listing(rows)[0].tolist())
            found = index.exact(everybody, probes, top_k + _SPARE)
            return list(ranked(rows, probes, found, top_k, Known()))

    def _fresh(self) -> Index:
        """Return the index of the gallery's present state."""
        with self._refreshing:
            # Nothing half refreshed may be left behind, whatever happens from here on.
            known, self._index = self._index, None
            if known is not None and not known.stands:
                known = None
            self._fault = ""
            with self._read() as rows:
                fresh = self._refreshed(rows, known)
            if fresh is None:
                fresh = self._written(known)
            if known is None or known.rewrites != fresh.rewrites:
                give_memory_back()
            self._tell(fresh)
            self._index = fresh
            return fresh

    def _tell(self, fresh: Index) -> None:
        """Warn, once for each reason, where a fault of the file costs memory and time."""
        held = [block for block in fresh.blocks if not block.stored]
        if held and self._fault not in ("", *self._told):
            self._told.add(self._fault)
            _log.warning(
                "the search index is kept in memory, which takes %.1f MB in each process and the"
                " time to read %d people: %s cannot be used: %s",
                sum(block.nbytes for block in held) / 1e6,
                sum(map(len, held)),
                self._index_file.path,
                self._fault,
            )

    def _refreshed(self, rows: Rows, known: Index | None) -> Index | None:
        """Return the index of the present state, or None where its file should be written first."""
        meta = rows.meta
        if known is not None and (known.changes, known.rewrites) == (meta.changes, meta.rewrites):
            return known
        blocks, missing = self._outdated(rows, known)
        in_memory = len(missing) + sum(len(block) for block in blocks if not block.stored)
        people = len(missing) + sum(map(len, blocks))
        if (
            self._writes_index
            and meta.key_check is None
            and people >= index.EXACT_BELOW
            and in_memory >= _WRITE_FROM
        ):
            return None
        return _state(rows, [*blocks, *gathered(blocks_of(rows, missing), len(missing))])

    def _outdated(self, rows: Rows, known: Index | None) -> tuple[Sequence[Block], Sequence[int]]:
        """Return blocks of which every row holds, and the people who are in none of them."""
        if known is not None and known.stands and known.rewrites == rows.meta.rewrites:
            changed = since(rows, known.last_template)
            return replaced(known.blocks, changed), changed
        blocks: Sequence[Block] = self._stored(rows)
        if not blocks and known is not None and not any(block.stored for block in known.blocks):
            blocks = known.blocks
        kept, missing = up_to_date(blocks, listing(rows))
        return kept, missing.tolist()

    def _stored(self, rows: Rows) -> list[Block]:
        if rows.meta.key_check is not None:
            return []
        try:
            return self._index_file.load(rows)
        except UnusableError as error:
            self._fault = self._fault or str(error)
        except OSError as error:
            self._fault = self._fault or why(error)
        return []

    def _written(self, known: Index | None) -> Index:
        """Return the index of the present state, after writing what its file lacks."""
        # Reading everybody takes as long as what another process writes; reading a few does not.
        patience = self._database.timeout if known is None else 0
        self._fault = ""
        try:
            with self._index_file.locked(patience), self._read() as rows:
                if rows.meta.key_check is None:
                    self._index_file.update(rows)
            known = None
        except GalleryBusy:
            self._fault = "another program is writing it"
        except OSError as error:
            self._fault = why(error)
            self._writes_index = False
        with self._read() as rows:
            blocks, missing = self._outdated(rows, known)
            return _state(rows, [*blocks, *gathered(blocks_of(rows, missing), len(missing))])


def _state(rows: Rows, blocks: Sequence[Block]) -> Index:
    meta = rows.meta
    return Index(tuple(grouped(blocks)), meta.changes, meta.rewrites, last_template(rows))
