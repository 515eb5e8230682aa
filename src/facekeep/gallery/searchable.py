"""Searching a gallery, whose index, in memory or in a file, is kept at its present state."""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from facekeep._files import one_line
from facekeep._memory import give_memory_back
from facekeep.errors import InputError
from facekeep.gallery import index
from facekeep.gallery.blocks import Block, gathered, grouped, replaced, up_to_date
from facekeep.gallery.index import Index
from facekeep.gallery.index_file import UnusableError
from facekeep.gallery.opened import OpenGallery
from facekeep.gallery.ranking import Known, ranked
from facekeep.gallery.reading import blocks_of, last_template, listing, since
from facekeep.gallery.records import Hit, clean_vectors
from facekeep.gallery.rows import Rows

__all__ = ["SearchableGallery"]

_log = logging.getLogger(__name__)

_WRITE_FROM = 4096
"""Rows in memory from which on they are added to the file of the index."""

_SPARE = 4
"""People looked at beyond those asked for, because the index that proposes them rounds."""

_TRIES = 3
"""Searches at most, while others erase, merge or split people at the same time."""


class SearchableGallery(OpenGallery):
    """An open gallery with what is needed to search it."""

    def __init__(self, *arguments: Any) -> None:
        """Take what ``OpenGallery`` takes."""
        super().__init__(*arguments)
        self._refreshing = threading.Lock()
        self._index: Index | None = None
        self._writes_index = not self._database.read_only

    def close(self) -> None:
        """Close the file and forget the vectors; doing it twice does no harm."""
        super().close()
        self._index = None

    def search(self, probes: NDArray[np.float32], top_k: int = 5) -> list[list[Hit]]:
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
        tries = 0
        while True:
            tries += 1
            present = self._fresh()
            found = present.search(clean, top_k + _SPARE)
            if not present.stands and tries < _TRIES:
                continue
            with self._read() as rows:
                # What others erase, merge or split meanwhile may vanish from the file under us.
                if rows.meta.rewrites == present.rewrites or tries == _TRIES:
                    known = present.known if rows.meta.changes == present.changes else Known()
                    return list(ranked(rows, clean, found, top_k, known))

    def _fresh(self) -> Index:
        """Return the index of the gallery's present state."""
        with self._refreshing:
            # Nothing half refreshed may be left behind, whatever happens from here on.
            known, self._index = self._index, None
            if known is not None and not known.stands:
                known = None
            with self._read() as rows:
                fresh = self._refreshed(rows, known)
            if fresh is None:
                fresh = self._written()
            if known is None or known.rewrites != fresh.rewrites:
                give_memory_back()
            self._index = fresh
            return fresh

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
        if known is not None and known.rewrites == rows.meta.rewrites:
            changed = since(rows, known.last_template)
            return replaced(known.blocks, changed), changed
        blocks: Sequence[Block]
        if known is not None and not any(block.stored for block in known.blocks):
            blocks = known.blocks
        else:
            blocks = self._stored(rows)
        kept, missing = up_to_date(blocks, listing(rows))
        return kept, missing.tolist()

    def _stored(self, rows: Rows) -> list[Block]:
        if rows.meta.key_check is not None:
            return []
        try:
            return self._index_file.load(rows)
        except (UnusableError, OSError):
            return []

    def _written(self) -> Index:
        """Return the index of the present state, after writing what its file lacks."""
        try:
            with self._index_file.locked(self._database.timeout), self._read() as rows:
                if rows.meta.key_check is None:
                    self._index_file.update(rows)
        except (OSError, ImportError) as error:
            _log.warning("the search index is kept in memory: %s", one_line(error))
            self._writes_index = False
        with self._read() as rows:
            blocks, missing = self._outdated(rows, None)
            return _state(rows, [*blocks, *gathered(blocks_of(rows, missing), len(missing))])


def _state(rows: Rows, blocks: Sequence[Block]) -> Index:
    meta = rows.meta
    return Index(tuple(grouped(blocks)), meta.changes, meta.rewrites, last_template(rows))
