"""The names of a gallery by their look: who has a name like a given one."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator

import numpy as np

from facekeep.errors import NameConflict
from facekeep.gallery.names import make_skeletons, quote_name
from facekeep.gallery.sqlite.repository import Repository
from facekeep.gallery.sqlite.row_parser import require_well_formed

__all__ = ["NameIndex"]


class NameIndex:
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

    def require_distinct(self, repo: Repository, name: str, besides: str | None = None) -> None:
        """Raise NameConflict where somebody's name looks like this one.

        Call it before the transaction has changed any name.

        Args:
            repo: The gallery.
            name: The name that a person is to get.
            besides: The UUID of that person, who may have had a name like it.
        """
        other = self.find_alike(repo, name, besides)
        if other is not None:
            raise NameConflict(
                f"{quote_name(name, other)} looks like {other!r}, who is enrolled already: use that"
                " name for the same person, or say that it is somebody else (new_person)"
            )

    def find_alike(self, repo: Repository, name: str, besides: str | None = None) -> str | None:
        """Return the name of somebody whose name looks like this one, or None."""
        wanted = make_skeletons(name)
        with self._lock:
            self._catch_up(repo)
            people = set().union(*map(self._people, map(hash, wanted)))
        for person in sorted(people):
            found = repo.name_of(person)
            if found is not None and found[0] != besides and make_skeletons(found[1]) & wanted:
                return found[1]
        return None

    def _people(self, digest: int) -> Iterable[int]:
        first = np.searchsorted(self._known[:, 0], digest, "left")
        end = np.searchsorted(self._known[:, 0], digest, "right")
        return {*self._known[first:end, 1].tolist(), *self._recent.get(digest, ())}

    def _catch_up(self, repo: Repository) -> None:
        """Read the names that came or changed since the last time."""
        line = repo.last_line()
        if line < self._last_line:
            self._forget()  # the gallery was replaced by an older copy
        if line == self._last_line:
            return
        changed = repo.names_since(self._last_person, self._last_line)
        if len(changed) > 1000 + len(self._known):
            pairs = np.fromiter(_list_skeletons(changed), np.dtype((np.int64, 2)))
            everybody = np.concatenate([self._known, pairs])
            self._known = everybody[np.argsort(everybody[:, 0], kind="stable")]
        else:
            for digest, number in _list_skeletons(changed):
                self._recent.setdefault(digest, set()).add(number)
        self._last_line = line
        self._last_person = max([self._last_person, *(number for number, _ in changed)])


def _list_skeletons(people: Iterable[tuple[int, str]]) -> Iterator[tuple[int, int]]:
    for number, name in people:
        with require_well_formed(f"person {number}"):
            for skeleton in make_skeletons(name):
                yield hash(skeleton), number
