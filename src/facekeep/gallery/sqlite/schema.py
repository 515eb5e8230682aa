"""The tables of a gallery file, version by version.

``user_version`` of the file counts the migrations that were applied. To change the schema append a
function to ``MIGRATIONS``; never edit one that was released.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from functools import cache

from facekeep._internal.files import printable
from facekeep.errors import GalleryError

__all__ = [
    "APPLICATION_ID",
    "COLUMNS",
    "DIGESTS_SINCE",
    "MIGRATIONS",
    "OLDEST_SQLITE",
    "PAGE_SIZE",
    "VERSION",
    "Migrations",
    "compare_schema",
    "require_sqlite",
    "upgrade_schema",
]

APPLICATION_ID = 0x464B474C
"""``FKGL``: what tells a gallery from other SQLite files."""

PAGE_SIZE = 8192
"""Holds three templates of 512 dimensions; SQLite's own 4096 bytes would hold one."""

OLDEST_SQLITE = (3, 37, 0)
"""The first SQLite that knows ``STRICT`` tables; Python brings its own, or uses the system's."""

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

_V1 = (
    """CREATE TABLE spaces (
        id INTEGER PRIMARY KEY,
        digest TEXT NOT NULL UNIQUE,
        model TEXT NOT NULL,
        width INTEGER NOT NULL CHECK (width > 0)
    ) STRICT""",
    """CREATE TABLE meta (
        one INTEGER PRIMARY KEY CHECK (one = 1),
        gallery TEXT NOT NULL,
        created_at TEXT NOT NULL,
        space INTEGER NOT NULL REFERENCES spaces (id),
        key_check BLOB,
        changes INTEGER NOT NULL DEFAULT 0,
        rewrites INTEGER NOT NULL DEFAULT 0,
        unswept INTEGER NOT NULL DEFAULT 0
    ) STRICT""",
    """CREATE TABLE people (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        uuid TEXT NOT NULL UNIQUE,
        name TEXT NOT NULL UNIQUE,
        metadata TEXT NOT NULL,
        consent_basis TEXT,
        consent_at TEXT,
        retain_until TEXT,
        created_at TEXT NOT NULL,
        CHECK ((consent_basis IS NULL) = (consent_at IS NULL))
    ) STRICT""",
    """CREATE TABLE templates (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        uuid TEXT NOT NULL UNIQUE,
        person INTEGER NOT NULL REFERENCES people (id) ON DELETE CASCADE,
        space INTEGER NOT NULL REFERENCES spaces (id),
        negative INTEGER NOT NULL CHECK (negative IN (0, 1)),
        quality REAL,
        source TEXT,
        created_at TEXT NOT NULL,
        vector BLOB NOT NULL,
        crop BLOB
    ) STRICT""",
    "CREATE INDEX templates_by_person ON templates (person)",
    """CREATE TABLE audit (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        at TEXT NOT NULL,
        action TEXT NOT NULL,
        person TEXT,
        detail TEXT NOT NULL
    ) STRICT""",
)


def _to_v1(connection: sqlite3.Connection) -> None:
    for statement in _V1:
        connection.execute(statement)


def _to_v2(connection: sqlite3.Connection) -> None:
    """Add a digest to each row, and to the whole (``repository``); who migrates fills them."""
    for table in ("people", "templates", "audit"):
        connection.execute(f"ALTER TABLE {table} ADD COLUMN digest BLOB")
    for column in ("total", "digest", "mac"):
        connection.execute(f"ALTER TABLE meta ADD COLUMN {column} BLOB")


Migrations = tuple[Callable[[sqlite3.Connection], None], ...]

MIGRATIONS: Migrations = (_to_v1, _to_v2)
VERSION = len(MIGRATIONS)

DIGESTS_SINCE = 2
"""The first version whose rows have digests."""


def require_sqlite() -> None:
    """Raise GalleryError where this Python's SQLite is too old for a gallery."""
    if sqlite3.sqlite_version_info < OLDEST_SQLITE:
        oldest = ".".join(map(str, OLDEST_SQLITE))
        raise GalleryError(
            f"this Python has SQLite {sqlite3.sqlite_version}, a gallery needs {oldest} or newer:"
            " use a Python that has it, such as one from uv or conda"
        )


def upgrade_schema(connection: sqlite3.Connection, migrations: Migrations) -> None:
    """Bring the schema up to date; call it inside a write transaction."""
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    for step in migrations[version:]:
        step(connection)
    connection.execute(f"PRAGMA user_version = {len(migrations)}")


def compare_schema(connection: sqlite3.Connection, migrations: Migrations) -> str:
    """Say what of the schema is not as these migrations make it; "" where all is."""
    found, expected = _read_shape(connection), _make_shape(migrations)
    strange = [
        f"the {kind} {printable(name)!r} is not facekeep's"
        for kind, name in sorted(found.keys() - expected.keys())
    ]
    strange += [f"the {kind} {name!r} is missing" for kind, name in expected.keys() - found.keys()]
    strange += [
        f"the {kind} {name!r} is not as facekeep makes it"
        for kind, name in sorted(found.keys() & expected.keys())
        if found[kind, name] != expected[kind, name]
    ]
    return ", ".join(strange[:3])


_Shape = dict[tuple[str, str], str]


def _read_shape(connection: sqlite3.Connection) -> _Shape:
    rows = connection.execute("SELECT type, name, tbl_name, sql FROM sqlite_schema").fetchall()
    return {
        (str(kind), str(name)): " ".join(f"{table} {sql}".split())
        for kind, name, table, sql in rows
    }


@cache
def _make_shape(steps: Migrations) -> _Shape:
    with closing(sqlite3.connect(":memory:")) as connection:
        for step in steps:
            step(connection)
        return _read_shape(connection)
