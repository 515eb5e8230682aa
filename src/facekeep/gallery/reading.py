"""What the search reads of a gallery: who has which templates, vectors, and how far it has come."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from facekeep.gallery.blocks import Block, marks, means, packed
from facekeep.gallery.rows import Rows, well_formed

__all__ = ["Anchor", "VectorBatch", "anchor", "blocks_of", "last_template", "listing", "since"]

_LISTING = "SELECT person, id FROM templates ORDER BY person, id"
_SINCE = "SELECT DISTINCT person FROM templates WHERE id > ? ORDER BY person"
_VECTORS = (
    "SELECT t.person, t.id, t.uuid, p.uuid, p.name, t.negative, t.space, t.vector"
    " FROM templates t JOIN people p ON p.id = t.person WHERE t.person IN ({})"
    " ORDER BY t.person, t.id"
)
_AUDIT = "SELECT id, at, action, person, detail FROM audit"
_PEOPLE_AT_ONCE = 512


class VectorBatch(NamedTuple):
    """Templates as columns of equal length, sorted by person.

    Attributes:
        people: int64 ``(n,)``, the number of each template's person.
        rows: int64 ``(n,)``, the number of each template.
        templates: UUID of each template.
        owners: UUID of each template's person.
        names: Name of each template's person.
        negatives: bool ``(n,)``, which are "this is not the person".
        vectors: float32 ``(n, d)``.
    """

    people: NDArray[np.int64]
    rows: NDArray[np.int64]
    templates: tuple[str, ...]
    owners: tuple[str, ...]
    names: tuple[str, ...]
    negatives: NDArray[np.bool_]
    vectors: NDArray[np.float32]


class Anchor(NamedTuple):
    """A line of the audit table, of which none is ever taken away.

    A gallery with this very line has the same past up to it, though it may be a copy that went
    another way since.

    Attributes:
        number: The line's number.
        digest: SHA-256 of what it says.
    """

    number: int
    digest: bytes


def listing(rows: Rows) -> tuple[NDArray[np.int64], NDArray[np.uint64]]:
    """Return the numbers of all people with templates, sorted, and the marks of their templates."""
    cursor = rows.connection.execute(_LISTING)  # answered from the index by person alone
    with well_formed("the table of templates"):
        pairs = np.fromiter(itertools.chain.from_iterable(cursor), np.int64).reshape(-1, 2)
    return marks(pairs[:, 0], pairs[:, 1])


def since(rows: Rows, template: int) -> list[int]:
    """Return the numbers of the people who have templates above the number ``template``."""
    return [person for (person,) in rows.connection.execute(_SINCE, (template,)).fetchall()]


def last_template(rows: Rows) -> int:
    """Return the highest number of a template; 0 where there is none."""
    (number,) = rows.connection.execute("SELECT max(id) FROM templates").fetchone()
    return number or 0


def anchor(rows: Rows, number: int | None = None) -> Anchor:
    """Return the latest line of the audit table, or that of a number, digested."""
    where = "ORDER BY id DESC LIMIT 1" if number is None else "WHERE id = ?"
    values = () if number is None else (number,)
    line = rows.connection.execute(f"{_AUDIT} {where}", values).fetchone()
    if line is None:
        return Anchor(0, bytes(32))
    return Anchor(line[0], hashlib.sha256(repr(line).encode()).digest())


def vectors_of(rows: Rows, people: Sequence[int]) -> VectorBatch | None:
    """Return the templates of people, by their numbers; None where they have none.

    Raises:
        TemplateTampered: One was changed outside facekeep.
        GalleryCorrupt: One is not a unit vector of the gallery's space.
    """
    query = _VECTORS.format(",".join("?" * len(people)))
    found = rows.connection.execute(query, tuple(people)).fetchall()
    if not found:
        return None
    numbers, templates, ids, owners, names, negatives, spaces, blobs = zip(*found, strict=True)
    with well_formed(f"a template from {ids[0]} on"):
        data = b"".join(map(rows.vector_bytes, ids, owners, negatives, spaces, blobs))
        return VectorBatch(
            np.array(numbers, np.int64),
            np.array(templates, np.int64),
            ids,
            owners,
            names,
            np.array(negatives, np.bool_),
            rows.unit_vectors(data),
        )


def blocks_of(rows: Rows, people: Sequence[int]) -> Iterator[Block]:
    """Yield small blocks of those of these people who have a template that is not negative."""
    for first in range(0, len(people), _PEOPLE_AT_ONCE):
        batch = vectors_of(rows, people[first : first + _PEOPLE_AT_ONCE])
        if batch is not None:
            everybody, own_marks = marks(batch.people, batch.rows)
            positive = ~batch.negatives
            found, vectors = means(batch.people[positive], batch.vectors[positive])
            yield packed(found, own_marks[np.isin(everybody, found)], vectors)
