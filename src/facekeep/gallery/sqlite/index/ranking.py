"""From the people an index proposes to the hits of a search, by the stored templates themselves."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from facekeep.gallery.sqlite.index.blocks import average
from facekeep.gallery.sqlite.repository import Repository, VectorBatch
from facekeep.gallery.types import Hit

__all__ = ["CandidateCache", "rank"]

Floats = NDArray[np.float32]

_PROBES_AT_ONCE = 256
"""Probes whose candidates are read together, to bound memory."""

_CACHED = 2048
"""Templates kept for the next search, to bound memory (4 MiB at 512 dimensions)."""


@dataclass(frozen=True, eq=False)
class _Candidate:
    owner: str
    name: str
    templates: list[str]
    vectors: Floats
    negatives: Floats
    mean: Floats

    def hit(self, probe: Floats) -> Hit:
        own = self.vectors @ probe
        against = self.negatives @ probe
        return Hit(
            person_id=self.owner,
            name=self.name,
            similarity=_clip(float(self.mean @ probe)),
            template_id=self.templates[int(np.argmax(own))],
            templates=len(own),
            negative_similarity=_clip(float(against.max())) if len(against) else None,
        )


class CandidateCache:
    """Candidates of one state of a gallery, kept so that the same few are not read every time."""

    def __init__(self) -> None:
        """Know nobody."""
        self._state: tuple[dict[int, _Candidate], int] = {}, 0

    def of(self, repo: Repository, people: Sequence[int]) -> dict[int, _Candidate]:
        """Return the candidates among some people; threads may ask at the same time."""
        known, templates = self._state
        read = _read_candidates(repo, [person for person in people if person not in known])
        found = {person: known[person] for person in people if person in known} | read
        if read:
            templates += sum(len(person.templates) for person in read.values())
            self._state = (known | read, templates) if templates <= _CACHED else ({}, 0)
        return found


def rank(
    repo: Repository,
    probes: Floats,
    found: Sequence[Sequence[int]],
    top_k: int,
    known: CandidateCache,
) -> Iterator[list[Hit]]:
    """Yield for each probe the hits among the people found for it, best first.

    Args:
        repo: The gallery. Who was erased from it since they were found is left out.
        probes: float32 ``(n, d)`` of unit length.
        found: The numbers of some people for each probe.
        top_k: The most hits to return for each probe.
        known: Candidates of this very state of the gallery.
    """
    for first in range(0, len(probes), _PROBES_AT_ONCE):
        chunk = slice(first, first + _PROBES_AT_ONCE)
        everybody = {person for people in found[chunk] for person in people}
        candidates = known.of(repo, sorted(everybody))
        for probe, people in zip(probes[chunk], found[chunk], strict=True):
            hits = [candidates[who].hit(probe) for who in people if who in candidates]
            yield sorted(hits, key=lambda hit: -hit.similarity)[:top_k]


def _read_candidates(repo: Repository, people: list[int]) -> dict[int, _Candidate]:
    known: dict[int, _Candidate] = {}
    for first in range(0, len(people), _PROBES_AT_ONCE):
        batch = repo.vectors(people[first : first + _PROBES_AT_ONCE])
        if batch is not None:
            known |= _split(batch)
    return known


def _split(batch: VectorBatch) -> dict[int, _Candidate]:
    everybody, firsts = np.unique(batch.people, return_index=True)
    ends = np.append(firsts[1:], len(batch.people))
    known = {}
    for person, first, end in zip(everybody.tolist(), firsts, ends, strict=True):
        places = np.arange(first, end)
        own = places[~batch.negatives[places]]
        if len(own):
            known[person] = _Candidate(
                owner=batch.owners[first],
                name=batch.names[first],
                templates=[batch.templates[place] for place in own],
                vectors=batch.vectors[own],
                negatives=batch.vectors[places[batch.negatives[places]]],
                mean=average(batch.people[own], batch.vectors[own])[1][0],
            )
    return known


def _clip(value: float) -> float:
    return min(1.0, max(-1.0, value))
