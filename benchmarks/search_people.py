"""People to search among: real ones with probes, and strangers made up in their likeness."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from common import cached, labeled_faces
from numpy.typing import NDArray

from facekeep.gallery.sqlite.index.blocks import BLOCK_ROWS, Block, encode_block, widen
from facekeep.models import entry
from facekeep.pipeline.embed import Embedder
from facekeep.runtime import RuntimeOptions

Rows = NDArray[np.float32]
SAME_PERSON = 0.65  # nearly all names above are one person (benchmarks/person_score.py)
LIKENESS = 0.9


@dataclass(frozen=True)
class Real:
    """Half of the real people with images, their means, probes and owners; the others' images."""

    singles: Rows
    templates: Rows
    probes: Rows
    owner: NDArray[np.intp]
    donors: Rows


def real_faces(args: argparse.Namespace) -> Real:
    """Enroll the first images of every second person who has more; the rest are probes."""
    faces = cached(args.cache, "search", [entry(args.model).files], partial(_embedded, args))
    rows, person = faces["rows"], faces["person"]
    _, firsts = np.unique(person, return_index=True)
    alike = np.triu(rows[firsts] @ rows[firsts].T, 1).max(axis=0) > SAME_PERSON
    often = np.flatnonzero((np.bincount(person) > args.templates) & ~alike)[::2]
    donors = ~np.isin(person, often) & ~alike[person]
    images = [np.flatnonzero(person == who) for who in often]
    singles = np.stack([rows[mine[: args.templates]] for mine in images])
    probes = np.concatenate([mine[args.templates :] for mine in images])
    owner = np.repeat(np.arange(len(images)), [len(mine) - args.templates for mine in images])
    chosen = np.sort(np.random.default_rng(0).permutation(len(probes))[: args.probes])
    return Real(
        singles, unit(singles.sum(axis=1)), rows[probes[chosen]], owner[chosen], rows[donors]
    )


def _embedded(args: argparse.Namespace) -> dict[str, Any]:
    crops, people = labeled_faces(args.shared, ["celeba"])
    with Embedder(args.model, options=RuntimeOptions(threads=args.threads)) as embedder:
        return {"rows": embedder.embed(crops), "person": np.unique(people, return_inverse=True)[1]}


def unit(rows: Rows) -> Rows:
    """Return rows of unit length."""
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


class Strangers:
    """Made-up templates with the statistics of real ones.

    Each lies near that of a donor, a real person who is neither enrolled nor a probe, as far as
    ``LIKENESS`` leaves room for a draw from the normal distribution with the donors' covariance.
    Such draws alone have the right mean and spread of scores but too few high ones: real people
    come in kinds.
    """

    def __init__(self, donors: Rows) -> None:
        self.mean = donors.mean(axis=0)
        self.donors = donors - self.mean
        variances, directions = np.linalg.eigh(np.cov(donors.T))
        shape = (directions * np.sqrt(np.maximum(variances, 0))).T.astype(np.float32)
        self.noise = np.random.default_rng(0).standard_normal((1 << 16, len(shape)), np.float32)
        self.noise = np.sqrt(1 - LIKENESS**2) * (self.noise @ shape)

    def draw(self, count: int, seed: int) -> Rows:
        """Return ``count`` templates."""
        rng = np.random.default_rng(seed)
        rows = LIKENESS * self.donors[rng.integers(0, len(self.donors), count)]
        rows += self.noise[rng.integers(0, len(self.noise), count)]
        return unit(rows + self.mean)


def strange_scores(real: Real) -> Rows:
    """Return the scores of real probes against real people other than their own."""
    scores = real.probes[:500] @ real.templates.T
    own = np.arange(len(real.templates)) == real.owner[:500, None]
    return scores[~own]


def people_blocks(real: Real, count: int) -> Iterator[Block]:
    """Yield blocks of the real people and strangers, ``count`` in all, numbered from 1."""
    strangers = Strangers(real.donors)
    done = 0
    while done < count:
        size = min(BLOCK_ROWS, count - done)
        vectors = strangers.draw(size, 1000 + done // BLOCK_ROWS)
        if done == 0:
            vectors[: len(real.templates)] = real.templates
        numbers = np.arange(done + 1, done + size + 1)
        yield encode_block(numbers, numbers.astype(np.uint64), vectors)
        done += size


class Exact:
    """Exact search of blocks that go by.

    Attributes:
        best: The row that is most like each probe, so far.
    """

    def __init__(self, probes: Rows) -> None:
        self.best = np.zeros(len(probes), np.intp)
        self._probes = probes
        self._scores = np.full(len(probes), -1, np.float32)
        self._seen = 0

    def watch(self, blocks: Iterable[Block]) -> Iterator[Block]:
        """Yield the blocks, each once it was compared."""
        for block in blocks:
            for first in range(0, len(block), 4096):
                self._compare(widen(block.vectors[first : first + 4096]))
            yield block

    def _compare(self, vectors: Rows) -> None:
        found = self._probes @ vectors.T
        rows = found.argmax(axis=1)
        top = found[np.arange(len(found)), rows]
        better = top > self._scores
        self.best[better], self._scores[better] = rows[better] + self._seen, top[better]
        self._seen += len(vectors)


def exact_best(blocks: Iterable[Block], probes: Rows) -> NDArray[np.intp]:
    """Return the row that is most like each probe."""
    exact = Exact(probes)
    for _ in exact.watch(blocks):
        pass
    return exact.best
