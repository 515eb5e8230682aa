"""People who are kept out of training, to measure it by."""

from __future__ import annotations

import numpy as np

from facekeep.errors import InputError
from facekeep.lab.datasets.source import UNKNOWN, Source, select

__all__ = ["hold_out_people"]


def hold_out_people(source: Source, *, people: int, seed: int = 0) -> tuple[Source, Source]:
    """Keep some people out, with all of their images.

    They are drawn at random, those with two or more images first, since a single image has no
    mate to be compared with. Images without a label stay in training: that they show nobody who
    is kept out is for the maker of the data to know.

    Args:
        source: All images.
        people: How many people to keep out.
        seed: Who they are; the same for the same source.

    Returns:
        The source to train on, and that of the people kept out; the classes of each are numbered
        anew.

    Raises:
        InputError: Nobody would be left to train on.
    """
    if people < 0 or (people and people >= source.classes):
        raise InputError(
            f"{source.name}: {people} people cannot be kept out of {source.classes}; "
            "at least one must be left to train on"
        )
    images = np.bincount(source.labels[source.labels != UNKNOWN], minlength=source.classes)
    drawn = np.random.default_rng(seed).permutation(source.classes)
    out = drawn[np.argsort(images[drawn] < 2, kind="stable")][:people]
    held = np.isin(source.labels, out)
    return select(source, np.flatnonzero(~held)), select(source, np.flatnonzero(held))
