"""``GalleryStore``: what facekeep needs of whatever keeps the enrolled people."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from facekeep.gallery.types import Consent, Hit, NewTemplate, Person, Space

__all__ = ["GalleryStore"]


@runtime_checkable
class GalleryStore(Protocol):
    """People and their templates, wherever they are kept; ``Gallery`` keeps them in a SQLite file.

    A store holds templates of one embedding space. Vectors are float32 of unit length. Threads may
    share one store. What ``enroll`` and ``remove`` did is seen by the next call of any method.
    Names are compared in Unicode's NFC form, without white space at their ends.

    Errors are children of ``FacekeepError``; a store that cannot be reached raises
    ``GalleryError``. After an error the store is as it was before.
    """

    @property
    def space(self) -> Space:
        """The embedding space of the templates."""

    def count(self) -> int:
        """Return the number of people; called for each image, so it should be quick."""

    def people(self, *, after: str | None = None, limit: int | None = None) -> list[Person]:
        """Return people sorted by name, from behind the name ``after``, ``limit`` at most.

        ``Person.templates`` is None.
        """

    def person(self, name: str) -> Person:
        """Return a person with the facts about each template, by name or by UUID.

        Raises:
            PersonNotFound: There is none.
        """

    def name_for(self, name: str, *, new_person: bool = False) -> str:
        """Return the name under which ``enroll`` would store a person.

        That is the name of somebody enrolled, or a new person's name in the form that is stored.

        Args:
            name: The name that was asked for.
            new_person: This is somebody else than those whose names look like this one.

        Raises:
            InputError: Nobody has the name, and it cannot be given to anybody.
            NameConflict: Somebody's name looks like this one, but is not the same.
        """

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
        """Add templates to a person, who is created where there is none of this name.

        Everything is stored, or nothing.

        Args:
            name: The person's name.
            templates: One or more; ``NewTemplate.vector`` is float32 ``(d,)`` of unit length.
            metadata: Replaces the stored metadata, where given.
            consent: Replaces the stored consent, where given.
            retain_until: Replaces the stored time, where given; has a time zone.
            new_person: This is somebody else than those whose names look like this one.

        Returns:
            The person as stored, with the facts about each template.

        Raises:
            InputError: A name, vector or fact cannot be used.
            NameConflict: Somebody's name looks like this one, but is not the same.
        """

    def vectors(self, name: str) -> dict[str, NDArray[np.float32]]:
        """Return a person's vectors, float32 ``(d,)`` each, by the template's UUID.

        Raises:
            PersonNotFound: There is none.
        """

    def search(self, probes: NDArray[np.float32], top_k: int = 5) -> list[list[Hit]]:
        """Return for each probe the people it is most like, best first.

        The similarity to a person is the cosine to the mean of the person's templates, brought back
        to unit length: thresholds hold for this rule. ``Hit`` says what else belongs to it.

        Args:
            probes: float32 ``(n, d)`` of unit length, of the store's space.
            top_k: The most people to return for each probe; 1 or more.

        Returns:
            A list for each probe, shorter than ``top_k`` where there are fewer people. Somebody
            with only "this is not" templates is never among them.

        Raises:
            InputError: Wrong shape or values.
        """

    def remove(self, name: str) -> Person:
        """Erase a person with all templates, and return the person as it was.

        Raises:
            PersonNotFound: There is none.
        """

    def close(self) -> None:
        """Let go of what the store holds open; doing it twice does no harm."""
