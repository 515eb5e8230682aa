"""Digests by which ``gallery check`` finds every change that facekeep did not make.

Each row of people, templates and audit carries the BLAKE2b digest (RFC 7693) of all its columns,
keyed where the gallery has a key. ``meta.total`` is the sum of all these digests, so that rows that
vanish, come back or are put in show. ``meta.digest`` covers the total, the rest of the description,
the embedding space and SQLite's own counters; ``meta.mac`` is the same under the key.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from typing import Any

__all__ = ["BYTES", "COLUMNS", "add", "content", "counters", "description", "digests_of", "number"]

BYTES = 32
_MODULUS = 1 << (8 * BYTES)

COLUMNS = {
    "people": (
        *("id", "uuid", "name", "metadata"),
        *("consent_basis", "consent_at", "retain_until", "created_at"),
    ),
    "templates": (
        *("id", "uuid", "person", "space", "negative"),
        *("quality", "source", "created_at", "vector", "crop"),
    ),
    "audit": ("id", "at", "action", "person", "detail"),
}
"""What the digest of a row of each table covers, in this order."""

_DESCRIPTION = (
    "SELECT gallery, created_at, space, key_check, changes, rewrites, unswept, total,"
    " s.id, s.digest, s.model, s.width FROM meta LEFT JOIN spaces s ON s.id = meta.space"
)
_COUNTERS = "SELECT name, seq FROM sqlite_sequence ORDER BY name, seq"


def content(table: str, row: Sequence[Any]) -> bytes:
    """Return a row as bytes, such that no other row of any table has the same."""
    blobs = [value for value in row if type(value) is bytes]
    words = [(len(value),) if type(value) is bytes else value for value in row] if blobs else row
    return b"".join([repr((table, *words)).encode("utf-8", "surrogatepass"), *blobs])


def counters(connection: sqlite3.Connection) -> list[tuple[Any, Any]]:
    """Return the highest number that each table ever gave a row, as SQLite keeps them."""
    return connection.execute(_COUNTERS).fetchall()


def description(
    connection: sqlite3.Connection, counted: Sequence[tuple[Any, Any]] | None = None
) -> bytes:
    """Return what ``meta.digest`` covers, as it is stored now; ``counted`` are the counters."""
    rows = connection.execute(_DESCRIPTION).fetchall()
    rows += counters(connection) if counted is None else counted
    return content("meta", [len(rows), *(value for row in rows for value in row)])


def number(digest: object) -> int:
    """Return a digest as a number to add up; 0 where it is none."""
    return int.from_bytes(digest, "big") if type(digest) is bytes else 0


def add(total: object, change: int) -> bytes:
    """Return the total after digests with the sum ``change`` came to it."""
    return ((number(total) + change) % _MODULUS).to_bytes(BYTES, "big")


def digests_of(connection: sqlite3.Connection) -> Iterator[bytes]:
    """Yield the digest of every row."""
    for table in COLUMNS:
        for (digest,) in connection.execute(f"SELECT digest FROM {table}"):  # noqa: S608
            yield digest
