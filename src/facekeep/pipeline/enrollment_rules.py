"""Which faces are enrolled, and why not: the rules that ``enrollment`` applies to photos."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from facekeep.errors import InputError, ModelError
from facekeep.gallery import Hit
from facekeep.pipeline.quality import POLICIES, Policy, Reason, explain, review
from facekeep.types import Face, Threshold

__all__ = [
    "NEWCOMERS",
    "Fault",
    "choose_main_face",
    "find_conflict",
    "find_fault",
    "find_inconsistent",
    "find_main_group",
    "get_policy",
    "require_threshold",
]

NEWCOMERS = 1e-3
"""At most this share of new people is taken for somebody who is enrolled, however many are."""

# How a face is weighed by its place: by a normal curve over the distance from the middle of the
# image, which is 1 at the middle of each border. The next numbers were chosen with it, on other
# photos than they are tested on: benchmarks/main_face.py.
_SPREAD = 0.6
# A main face no further from the middle than this makes the others bystanders more easily.
_MIDDLE = 0.4
# If it fills such a share of the shorter side as well, the photo is a portrait.
_FILLS = 0.25


class _Bystander(NamedTuple):
    """The largest faces beside the main one that do not compete with it, as shares of its size."""

    anywhere: float
    with_main_in_the_middle: float
    aside: float
    """In a portrait, at least ``far`` from the middle."""
    far: float


_BYSTANDER = _Bystander(0.4, 0.6, 1.05, 0.55)
_STRICT = _Bystander(0.3, 0.4, 0.8, 0.7)


class Fault(NamedTuple):
    """Why a photo is not enrolled.

    Attributes:
        reason: A stable word; see ``Rejection.reason``.
        detail: The reason, and how to mend it, in one line for people.
    """

    reason: str
    detail: str


def get_policy(name: str) -> Policy:
    """Return the review policy of this name: ``off``, ``standard`` or ``strict``."""
    if name not in POLICIES:
        raise InputError(f"unknown review {name!r}; known: {', '.join(POLICIES)}")
    return POLICIES[name]


def require_threshold(policy: Policy, find_threshold: Callable[[], Threshold]) -> None:
    """Make sure that a review can tell whether a photo shows somebody who is already enrolled.

    Args:
        policy: What is demanded; with ``off`` nobody asks.
        find_threshold: Gives the threshold.

    Raises:
        InputError: There is no threshold at the rate asked for.
        ModelError: There is none at all.
    """
    if policy is POLICIES["off"]:
        return
    try:
        find_threshold()
    except (InputError, ModelError) as error:
        text = f"{error}; or skip the checks"
        raise type(error)(text, "skip_checks") from error


def choose_main_face(faces: Sequence[Face], shape: Sequence[int], policy: Policy) -> int | None:
    """Return the place of the face that an image is plainly of, or None where two compete.

    The main face is the one that stands out most by size and place. Another face competes with it
    unless it is much smaller, or the image is a portrait (of the main face: in the middle, large)
    and the other is at the border and not larger.

    Args:
        faces: The faces of an image.
        shape: Height and width of the image, in the pixels of the boxes.
        policy: How strictly to look; with ``off`` the largest face is the one.
    """
    if policy is POLICIES["off"]:
        return max(range(len(faces)), key=lambda place: faces[place].size, default=None)
    away = [_from_middle(face, shape) for face in faces]
    weight = [
        f.size * math.exp(-((d / _SPREAD) ** 2) / 2) for f, d in zip(faces, away, strict=True)
    ]
    main = max(range(len(faces)), key=weight.__getitem__, default=None)
    if main is None:
        return None
    limits = _STRICT if policy is POLICIES["strict"] else _BYSTANDER
    size, middle = faces[main].size, away[main] <= _MIDDLE
    portrait = middle and size >= _FILLS * min(shape[:2])
    small = limits.with_main_in_the_middle if middle else limits.anywhere
    bystanders = (
        face.size <= small * size
        or (portrait and away[place] >= limits.far and face.size <= limits.aside * size)
        for place, face in enumerate(faces)
        if place != main
    )
    return main if all(bystanders) else None


def _from_middle(face: Face, shape: Sequence[int]) -> float:
    """How far a face is from the middle of its image: 1 at the middle of each border."""
    x1, y1, x2, y2 = face.bbox.tolist()
    return math.hypot((x1 + x2) / shape[1] - 1, (y1 + y2) / shape[0] - 1)


def find_fault(faces: Sequence[Face], main: int | None, policy: Policy) -> Fault | None:
    """Say why a photo's main face should not be enrolled.

    Args:
        faces: The photo's faces, with their quality.
        main: The place of the main face; None where several compete.
        policy: What is demanded.

    Returns:
        The reason; None if all is well.
    """
    if not faces:
        return Fault(
            Reason.NO_FACE, "no face was found; use a photo that shows the face from the front"
        )
    if main is None:
        return Fault(
            Reason.MULTIPLE_FACES,
            f"{len(faces)} faces were found, and none is plainly the main one; crop the photo to "
            "one person, or take the largest face",
        )
    quality = faces[main].quality
    reasons = review(quality, policy) if quality else []
    if not quality or not reasons:
        return None
    return Fault(reasons[0], explain(reasons[0], quality, policy))


def find_conflict(
    name: str, hits: Sequence[Hit], limit: Callable[[int], Threshold], people: int
) -> Fault | None:
    """Say whether a face looks more like somebody else who is already enrolled.

    Args:
        name: Whom the face is to be enrolled as.
        hits: The people most similar to it; whom it is known not to be are passed over.
        limit: Gives the threshold for a person of so many templates.
        people: How many people are enrolled.
    """
    nearest = next((hit for hit in hits if not hit.refused), None)
    if nearest is None or nearest.name == name:
        return None
    needed = limit(nearest.templates)
    if nearest.similarity < needed.cosine:
        return None
    others = float(f"{1 / needed.expected_fpir(people):.2g}")
    return Fault(
        Reason.IDENTITY_CONFLICT,
        f"the face looks like {nearest.name}, who is already enrolled (similarity "
        f"{nearest.similarity:.3f}, threshold {needed.cosine:.3f}); check the name, or say that "
        "this is a new person (about 1 new person in "
        f"{others:,.0f} is refused by mistake)",
    )


def find_main_group(rows: NDArray[np.float32], own: int, bound: float) -> NDArray[np.bool_]:
    """Tell which photos show the person that most of them show.

    Photos are put into groups: the two groups whose faces are most alike on average become one
    while that average reaches the bound (average linkage). The person's own templates are one
    group from the start, and it is the main group; without any, the group that holds most of the
    photos is. The order of the photos makes no difference.

    Args:
        rows: float32 ``(n, d)`` of unit length: the person's own templates, then the new photos.
        own: How many of the rows are the person's own templates.
        bound: The cosine that two groups of one person reach on average.

    Returns:
        bool ``(n,)``; nothing but False where no group holds more than half of the photos.
    """
    count = len(rows)
    group = np.arange(count)
    group[:own] = 0
    places = np.unique(group)
    sums = np.stack([rows[group == place].sum(axis=0, dtype=np.float64) for place in places])
    sizes = np.array([(group == place).sum() for place in places], np.float64)
    alike = sums @ sums.T / np.outer(sizes, sizes)
    np.fill_diagonal(alike, -np.inf)
    while len(places) > 1 and alike.max() >= bound:
        kept, gone = sorted(divmod(int(alike.argmax()), len(places)))
        together = sizes[kept] * alike[kept] + sizes[gone] * alike[gone]
        sizes[kept] += sizes[gone]
        alike[kept] = alike[:, kept] = together / sizes[kept]
        alike[kept, kept] = -np.inf
        group[group == places[gone]] = places[kept]
        places, sizes = np.delete(places, gone), np.delete(sizes, gone)
        alike = np.delete(np.delete(alike, gone, axis=0), gone, axis=1)
    main = 0 if own else places[sizes.argmax()]
    chosen: NDArray[np.bool_] = group == main
    return chosen if own or 2 * chosen.sum() > count else np.zeros(count, np.bool_)


def find_inconsistent(
    name: str, rows: NDArray[np.float32], own: int, bound: float
) -> dict[int, Fault]:
    """Say which new photos do not show the person whom the others show.

    Args:
        name: Whom the photos are to be enrolled as.
        rows: float32 ``(n, d)`` of unit length: the person's own templates, then the new photos.
        own: How many of the rows are the person's own templates.
        bound: The cosine that photos of one person reach on average.

    Returns:
        The reason for each such photo, by its place among the new ones.
    """
    if len(rows) < 2:
        return {}
    main = find_main_group(rows, own, bound)
    odd = np.flatnonzero(~main[own:]).tolist()
    if not main.any():
        text = (
            f"the {len(rows)} photos do not show one person: no face is in most of them, so it is "
            f"not known which show {name}; give photos of one person, or skip the checks"
        )
        return dict.fromkeys(odd, Fault(Reason.INCONSISTENT_IDENTITY, text))
    others = (
        f"those {name} was enrolled from before" if own else f"most of the other photos of {name}"
    )
    alike = (rows[own:] @ rows[main].mean(axis=0)).tolist()
    return {
        place: Fault(
            Reason.INCONSISTENT_IDENTITY,
            f"the face does not look like {others} (similarity {alike[place]:.3f} on average,"
            f" about {bound:.3f} is needed); check whom the photo shows, or skip the checks",
        )
        for place in odd
    }
