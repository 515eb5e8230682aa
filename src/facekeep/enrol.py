"""Which face of a photo is enrolled, and why not: the rules, without the work around them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from facekeep.decide import Threshold
from facekeep.errors import InputError, ModelError
from facekeep.face import Face
from facekeep.gallery import Hit, Person
from facekeep.quality import POLICIES, Policy, Reason, explain, review

__all__ = ["Enrolment", "Rejection", "conflict", "policy_named", "reject", "require_limit"]

# Beside a second face of this share of its size, the largest face is not plainly the one meant.
_BYSTANDER = 0.4


@dataclass(frozen=True, slots=True)
class Rejection:
    """A photo that was not enrolled.

    Attributes:
        image: Its path, or "image 3" for one that has none.
        reason: Why, as a stable word: one of ``quality.Reason``, or ``unreadable``,
            ``already_enrolled`` or, of a folder named after a person, ``unusable_name`` or
            ``name_conflict``.
        detail: Why, and how to mend it, in one line for people.
    """

    image: str
    reason: str
    detail: str


@dataclass(frozen=True, slots=True)
class Enrolment:
    """What came of enrolling somebody.

    Attributes:
        name: The person's name.
        enrolled: How many templates were added.
        rejected: The photos that were not used, with the reason for each.
        person: The person as stored, or None if there is none because all was rejected.
    """

    name: str
    enrolled: int
    rejected: tuple[Rejection, ...]
    person: Person | None


def policy_named(name: str) -> Policy:
    """Return the review policy of this name: ``off``, ``standard`` or ``strict``."""
    if name not in POLICIES:
        raise InputError(f"unknown review {name!r}; known: {', '.join(POLICIES)}")
    return POLICIES[name]


def require_limit(policy: Policy, limit: Callable[[], Threshold]) -> None:
    """Make sure that a review can tell whether a photo shows somebody who is already enrolled.

    Args:
        policy: What is demanded; with ``off`` nobody asks.
        limit: Gives the threshold.

    Raises:
        InputError: There is no threshold at the rate asked for.
        ModelError: There is none at all.
    """
    if policy is POLICIES["off"]:
        return
    try:
        limit()
    except (InputError, ModelError) as error:
        raise type(error)(f"{error}; or enrol with review off") from error


def reject(faces: Sequence[Face], policy: Policy) -> tuple[str, str] | None:
    """Say why the largest of a photo's faces should not be enrolled.

    Args:
        faces: The photo's faces, the largest first, with their quality.
        policy: What is demanded.

    Returns:
        The reason as a word and as a line for people; None if all is well.
    """
    if not faces:
        return Reason.NO_FACE, "no face was found; use a photo that shows the face from the front"
    if policy is POLICIES["off"]:
        return None
    share = 0.0 if policy is POLICIES["strict"] else _BYSTANDER
    others = sum(face.size >= share * faces[0].size for face in faces[1:])
    if others:
        return (
            Reason.MULTIPLE_FACES,
            f"{others + 1} faces were found; crop the photo to one person, "
            "or take the largest face with review off",
        )
    quality = faces[0].quality
    reasons = review(quality, policy) if quality else []
    return (reasons[0], explain(reasons[0], quality, policy)) if quality and reasons else None


def conflict(
    name: str, hits: Sequence[Hit], limit: Callable[[int], Threshold]
) -> tuple[str, str] | None:
    """Say whether a face looks more like somebody else who is already enrolled.

    Args:
        name: Whom the face is to be enrolled as.
        hits: The people most similar to it; whom it is known not to be are passed over.
        limit: Gives the threshold for a person of so many templates.
    """
    nearest = next((hit for hit in hits if not hit.refused), None)
    if nearest is None or nearest.name == name:
        return None
    if nearest.similarity < limit(nearest.templates).cosine:
        return None
    return (
        Reason.IDENTITY_CONFLICT,
        f"the face looks like {nearest.name}, who is already enrolled "
        f"(similarity {nearest.similarity:.2f}); check the name, or enrol with review off",
    )
