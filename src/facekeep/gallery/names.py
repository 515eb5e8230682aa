# ruff: noqa: RUF001 - the letters below are those that look like others
"""Names that look the same: no two people of a gallery get such names by accident."""

from __future__ import annotations

import itertools
import threading
import unicodedata
from collections.abc import Iterable, Iterator

import numpy as np

from facekeep.errors import InputError, NameConflict
from facekeep.gallery.records import clean_name, spaced
from facekeep.gallery.rows import Rows, well_formed

__all__ = ["Names", "new_name", "shown", "skeletons"]

# Invisible code points beyond those of the category Cf (Unicode's Default_Ignorable_Code_Point).
_INVISIBLE = {0x034F, 0x115F, 0x1160, 0x17B4, 0x17B5, 0x2065, 0x3164, 0xFFA0}
_INVISIBLE |= {*range(0x180B, 0x1810), *range(0xFE00, 0xFE10), *range(0xE0000, 0xE1000)}
_REORDERING = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")

# Letters of other scripts that look like a Latin one (from Unicode TS 39), and the many forms of
# the hyphen, the apostrophe and the space.
_LOOKS = dict(
    itertools.chain(
        zip("АВЕЅІЈКМНОРСТУХҮԌԚԜ", "ABESIJKMHOPCTYXYGQW", strict=True),
        zip("авеѕіјкмнорстухүһԁԛԝӏ", "abesijkmhopctyxyhdqwl", strict=True),
        zip("ΑΒΕΖΗΙΚΜΝΟΡΤΥΧϹͿ", "ABEZHIKMNOPTYXCJ", strict=True),
        zip("αβγεηικνορτυχϲϳ", "abyenikvoptuxcj", strict=True),
        zip("ՍՏՕԼԱօսոհցյ", "USOLUounhgj", strict=True),
        zip("ıȷɑɡɩʋ", "ijagiu", strict=True),
        zip("‐‑‒–—―−˗⁃﹘－", "-" * 11, strict=True),
        zip("‘’‚‛′ʹʼʻʽˈ`´＇", "'" * 13, strict=True),
    )
)
_TO_LATIN = str.maketrans(_LOOKS)


def skeletons(name: str) -> frozenset[str]:
    """Return what stands for the look of a name: names that share one of these look alike.

    Invisible characters are left out; full-width and other compatible forms, underscores and runs
    of spaces, and upper and lower case are the same; so are letters of several scripts that look
    the same. Accents tell names apart.
    """
    if name.isascii():
        return frozenset((spaced(name.casefold().replace("`", "'")),))
    text = "".join(c for c in unicodedata.normalize("NFKD", name) if not _is_invisible(c))
    return frozenset(spaced(_folded(each)) for each in (text, text.translate(_TO_LATIN)))


def new_name(name: object) -> str:
    """Return a new person's name as it is stored, which is stricter than a name to look for.

    Raises:
        InputError: It cannot be used: nothing of it can be seen, or it reorders the text around it.
    """
    clean = clean_name(name)
    if _REORDERING.intersection(clean):
        raise InputError(f"a person's name holds characters that reorder text: {clean!a}")
    if not all(skeletons(clean)):
        raise InputError(f"nothing can be seen of a person's name: {clean!a}")
    return clean


def _is_invisible(character: str) -> bool:
    return unicodedata.category(character) == "Cf" or ord(character) in _INVISIBLE


def _folded(text: str) -> str:
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKD", text).casefold())


class Names:
    """The names of a gallery by their look: 16 bytes a person, brought up to date when asked.

    Threads may share one.
    """

    def __init__(self) -> None:
        """Know nobody yet."""
        self._lock = threading.Lock()
        self._forget()

    def _forget(self) -> None:
        self._known = np.empty((0, 2), np.int64)
        self._recent: dict[int, set[int]] = {}
        self._last_person = 0
        self._last_line = 0

    def require_distinct(self, rows: Rows, name: str, besides: str | None = None) -> None:
        """Raise NameConflict where somebody's name looks like this one.

        Call it before the transaction has changed any name.

        Args:
            rows: The gallery.
            name: The name that a person is to get.
            besides: The UUID of that person, who may have had a name like it.
        """
        other = self.alike(rows, name, besides)
        if other is not None:
            raise NameConflict(
                f"{shown(name, other)} looks like {other!r}, who is enrolled already: use that"
                " name for the same person, or say that it is somebody else (--new-person)"
            )

    def alike(self, rows: Rows, name: str, besides: str | None = None) -> str | None:
        """Return the name of somebody whose name looks like this one, or None."""
        wanted = skeletons(name)
        with self._lock:
            self._catch_up(rows)
            people = set().union(*map(self._people, map(hash, wanted)))
        for person in sorted(people):
            found = rows.name_of(person)
            if found is not None and found[0] != besides and skeletons(found[1]) & wanted:
                return found[1]
        return None

    def _people(self, digest: int) -> Iterable[int]:
        first = np.searchsorted(self._known[:, 0], digest, "left")
        end = np.searchsorted(self._known[:, 0], digest, "right")
        return {*self._known[first:end, 1].tolist(), *self._recent.get(digest, ())}

    def _catch_up(self, rows: Rows) -> None:
        """Read the names that came or changed since the last time."""
        line = rows.last_line()
        if line < self._last_line:
            self._forget()  # the gallery was replaced by an older copy
        if line == self._last_line:
            return
        changed = rows.names_since(self._last_person, self._last_line)
        if len(changed) > 1000 + len(self._known):
            pairs = np.fromiter(_pairs(changed), np.dtype((np.int64, 2)))
            everybody = np.concatenate([self._known, pairs])
            self._known = everybody[np.argsort(everybody[:, 0], kind="stable")]
        else:
            for digest, number in _pairs(changed):
                self._recent.setdefault(digest, set()).add(number)
        self._last_line = line
        self._last_person = max([self._last_person, *(number for number, _ in changed)])


def _pairs(people: Iterable[tuple[int, str]]) -> Iterator[tuple[int, int]]:
    for number, name in people:
        with well_formed(f"person {number}"):
            for skeleton in skeletons(name):
                yield hash(skeleton), number


def shown(name: str, other: str) -> str:
    """Write a name so that one sees how it differs from another that looks the same."""
    plain = name.isprintable() and (name.isascii() or not other.isascii())
    return repr(name) if plain else ascii(name)
