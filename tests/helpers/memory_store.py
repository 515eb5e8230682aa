"""A store that keeps people in memory: the least that keeps ``GalleryStore``."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray

from facekeep.errors import PersonNotFound
from facekeep.gallery import Consent, Hit, NewTemplate, Person, Space, Template

__all__ = ["MemoryStore"]

Row = NDArray[np.float32]


class MemoryStore:
    """People in a dictionary, for one thread."""

    def __init__(self, space: Space) -> None:
        self.space = space
        self._people: dict[str, Person] = {}
        self._vectors: dict[str, Row] = {}

    def count(self) -> int:
        return len(self._people)

    def people(self, *, after: str | None = None, limit: int | None = None) -> list[Person]:
        names = sorted(name for name in self._people if after is None or name > after)
        return [replace(self._people[name], templates=None) for name in names[:limit]]

    def person(self, name: str) -> Person:
        for person in self._people.values():
            if name in (person.name, person.id):
                return person
        raise PersonNotFound(f"nobody is enrolled as {name!r}")

    def name_for(self, name: str, *, new_person: bool = False) -> str:
        return name.strip()

    def enroll(
        self,
        name: str,
        templates: Sequence[NewTemplate],
        *,
        metadata: Mapping[str, Any] | None = None,
        consent: Consent | None = None,
        retain_until: datetime | None = None,
        new_person: bool = False,
    ) -> Person:
        name, now = self.name_for(name), datetime.now(UTC)
        known = self._people.get(name) or Person(str(uuid.uuid4()), name, now, {}, None, None, 0)
        facts = list(known.templates or ())
        for new in templates:
            template_id = str(uuid.uuid4())
            facts.append(
                Template(template_id, known.id, new.negative, new.quality, new.source, False, now)
            )
            self._vectors[template_id] = new.vector
        negatives = sum(each.negative for each in facts)
        self._people[name] = replace(
            known,
            metadata=known.metadata if metadata is None else dict(metadata),
            consent=consent or known.consent,
            retain_until=retain_until or known.retain_until,
            template_count=len(facts) - negatives,
            templates=tuple(facts),
            negative_count=negatives,
        )
        return self._people[name]

    def vectors(self, name: str) -> dict[str, Row]:
        return {each.id: self._vectors[each.id] for each in self.person(name).templates or ()}

    def search(self, probes: Row, top_k: int = 5) -> list[list[Hit]]:
        found = []
        for probe in probes:
            hits = [self._compare(person, probe) for person in self._people.values()]
            known = [hit for hit in hits if hit is not None]
            found.append(sorted(known, key=lambda hit: -hit.similarity)[:top_k])
        return found

    def _compare(self, person: Person, probe: Row) -> Hit | None:
        facts = person.templates or ()
        own = [each.id for each in facts if not each.negative]
        if not own:
            return None
        mean = np.sum([self._vectors[each] for each in own], axis=0)
        against = [float(self._vectors[each.id] @ probe) for each in facts if each.negative]
        return Hit(
            person.id,
            person.name,
            float(mean @ probe / np.linalg.norm(mean)),
            max(own, key=lambda each: float(self._vectors[each] @ probe)),
            len(own),
            max(against, default=None),
        )

    def remove(self, name: str) -> Person:
        person = self.person(name)
        del self._people[person.name]
        return person

    def close(self) -> None:
        self._people.clear()
