"""Contact sheets of what was found in photos."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from facekeep._internal.files import printable
from facekeep.apps.photo_folders import Clustering, Search, Sighting
from facekeep.draw import contact_sheet
from facekeep.errors import FacekeepError
from facekeep.pipeline.align import similarity_transform, template
from facekeep.pipeline.image import load_image
from facekeep.pipeline.warp import warp
from facekeep.types import Face

__all__ = ["cluster_sheet", "search_sheet"]

_log = logging.getLogger(__name__)

_COLUMNS = 8
_TILE = 112
_ROWS = 120  # more than a sheet has room for
_CONTEXT = 0.6  # the aligned face takes this share of a tile: people know people by hair and ears
_BLANK = np.full((_TILE, _TILE, 3), 128, np.uint8)

_Crop = NDArray[np.uint8]


def search_sheet(search: Search, *, max_pixels: int) -> _Crop:
    """Draw the faces that a search found, the most similar first.

    Only the photos that are shown are read again; one that cannot be leaves a gray tile.

    Args:
        search: What ``search_folder`` gave.
        max_pixels: The largest photo to read.

    Returns:
        uint8 ``(H, W, 3)`` RGB.
    """
    starts = range(0, len(search.found), _COLUMNS)
    rows = [search.found[start : start + _COLUMNS] for start in starts]
    titles = [f"similarity {row[0].similarity:.3f} to {row[-1].similarity:.3f}" for row in rows]
    return _sheet(titles, rows, max_pixels)


def cluster_sheet(
    clustering: Clustering, *, max_pixels: int, names: Mapping[str, str] | None = None
) -> _Crop:
    """Draw the groups that a clustering found, a row each, the most typical face first.

    Only the photos that are shown are read again; one that cannot be leaves a gray tile.

    Args:
        clustering: What ``cluster_folder`` gave.
        max_pixels: The largest photo to read.
        names: Names by the id of a group, beside those that the groups carry.

    Returns:
        uint8 ``(H, W, 3)`` RGB.
    """
    titles = [
        f"{(names or {}).get(group.id) or group.name or f'person {number}, group {group.id}'}:"
        f" faces: {len(group.sightings)}, photos: {len(group.photos)}"
        for number, group in enumerate(clustering.groups, 1)
    ]
    return _sheet(titles, [group.sightings for group in clustering.groups], max_pixels)


def _sheet(titles: Sequence[str], rows: Sequence[Sequence[Sighting]], max_pixels: int) -> _Crop:
    shown = [sighting for row in rows[:_ROWS] for sighting in row[:_COLUMNS]]
    crops = iter(_crops(shown, max_pixels))
    groups = [
        (title, [next(crops, _BLANK) if place < _COLUMNS else _BLANK for place in range(len(row))])
        for title, row in zip(titles, rows, strict=True)
    ]
    return contact_sheet(groups, tile=_TILE, columns=_COLUMNS)


def _crops(sightings: Sequence[Sighting], max_pixels: int) -> list[_Crop]:
    """Cut faces out of their photos, each of which is read once."""
    places: dict[Path, list[int]] = defaultdict(list)
    for place, sighting in enumerate(sightings):
        places[sighting.path].append(place)
    crops = [_BLANK] * len(sightings)

    def cut(path: Path) -> None:
        try:
            image = load_image(path, max_pixels=max_pixels)
        except FacekeepError as error:
            _log.warning("%s cannot be shown: %s", printable(path), error)
            return
        for place in places[path]:
            crops[place] = _crop(image, sightings[place].face)

    with ThreadPoolExecutor() as pool:
        list(pool.map(cut, places))
    return crops


def _crop(image: _Crop, face: Face) -> _Crop:
    """Cut a face out, upright, with something of what is around it."""
    target = template(_TILE) * _CONTEXT + _TILE * (1 - _CONTEXT) / 2
    return warp(image, similarity_transform(face.landmarks, target), _TILE)
