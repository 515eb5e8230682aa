"""Copy the photos of groups into folders, one a person; nothing is moved, and nothing replaced."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import unicodedata
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from facekeep._internal.files import is_full, open_regular, printable, replacing, why
from facekeep.apps.photo_folders import Clustering
from facekeep.errors import FacekeepError, InputError, StorageFull
from facekeep.pipeline.image import content_digest

__all__ = ["UNSORTED", "SortedPhotos", "check_folder", "sort_into"]

UNSORTED = "unsorted"
"""The folder of photos that show nobody of a group."""

_OURS = re.compile(f"{UNSORTED}|group [0-9a-f]{{8}}")  # no person's folder has such a name
_MOST_BYTES = 200  # of a folder's or file's name, with room for what is added to it


@dataclass(slots=True)
class SortedPhotos:
    """What came of sorting photos into folders.

    Attributes:
        folder: The folder that holds the others.
        folders: The name of each folder in it, and how many photos belong there.
        copied: How many copies were made.
        present: How many were there already.
        failed: The photos that could not be copied, and why.
    """

    folder: Path
    folders: dict[str, int] = field(default_factory=dict)
    copied: int = 0
    present: int = 0
    failed: list[tuple[Path, str]] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        """Return the counts, and what could not be copied, for JSON."""
        return {
            "folder": str(self.folder),
            "folders": self.folders,
            "copied": self.copied,
            "present": self.present,
            "failed": [{"image": str(path), "reason": reason} for path, reason in self.failed],
        }


def check_folder(target: Path, photos: Path) -> None:
    """Refuse a folder to sort into that is among the photos, before any of them is read.

    Raises:
        InputError: It lies in the folder of the photos, or is no folder.
    """
    place, source = Path(os.path.realpath(target)), Path(os.path.realpath(photos))
    if place.is_relative_to(source):
        raise InputError(
            f"{printable(target)} lies in {printable(photos)}, whose photos are read: choose a "
            "folder outside it"
        )
    if os.path.lexists(place) and not place.is_dir():
        raise InputError(f"{printable(target)} is not a folder: choose another")


def sort_into(
    target: Path,
    clustering: Clustering,
    photos: Path,
    *,
    names: Mapping[str, str] | None = None,
    progress: Callable[[int, int], object] | None = None,
) -> SortedPhotos:
    """Copy each photo into the folder of everybody it shows, or into ``unsorted``.

    A folder has the person's name, or "group" and the group's id. Who runs it again copies only
    what is missing. Folders are made so that only their owner may open them, and the copies too.

    Args:
        target: The folder for the folders; it is made where there is none.
        clustering: The groups.
        photos: The folder that was clustered.
        names: Names by the id of a group, in place of those that the groups carry.
        progress: Told how many copies are done, and how many there are.

    Raises:
        InputError: ``target`` cannot be used, or what stands in the place of a folder is none.
        StorageFull: There is no room; what was copied before is whole.
    """
    check_folder(target, photos)
    plan = list(_plan(clustering, names or {}))
    done = SortedPhotos(target)
    _make_folder(target)
    for number, (folder, photo) in enumerate(plan, 1):
        done.folders[folder] = done.folders.get(folder, 0) + 1
        place = target / folder
        if Path(os.path.realpath(place)).is_relative_to(os.path.realpath(photos)):
            raise InputError(f"{printable(place)} holds photos that are read: sort elsewhere")
        _make_folder(place)
        try:
            fresh = _copy(photo, place)
        except FacekeepError as error:
            done.failed.append((photo, str(error)))
        except (OSError, ValueError) as error:
            if isinstance(error, OSError) and is_full(error):
                raise StorageFull(f"no room to copy into {printable(place)}: free some") from error
            done.failed.append((photo, why(error)))
        else:
            done.copied += fresh
            done.present += not fresh
        if progress is not None:
            progress(number, len(plan))
    return done


def _plan(clustering: Clustering, names: Mapping[str, str]) -> Iterator[tuple[str, Path]]:
    """Yield folder and photo for each copy."""
    people: dict[str, str] = {}
    sorted_photos: set[Path] = set()
    for group in clustering.groups:
        name = names.get(group.id) or group.name
        folder = f"group {group.id}" if name is None else _folder_name(name, people)
        for photo in group.photos:
            sorted_photos.add(photo)
            yield folder, photo
    for each in clustering.photos.photos:
        if each.path not in sorted_photos:
            yield UNSORTED, each.path


def _folder_name(name: str, people: dict[str, str]) -> str:
    """Return a name that any folder can have; two people never get the same."""
    clean = "".join("_" if c in '/\\:*?"<>|' or not c.isprintable() else c for c in name)
    clean = _shortened(clean.strip(" ."), _MOST_BYTES) or "_"
    number, folder = 1, clean
    while _OURS.fullmatch(folder.casefold()) or people.get(folder.casefold(), name) != name:
        number += 1
        folder = f"{clean} ({number})"
    people[folder.casefold()] = name
    return folder


def _shortened(text: str, limit: int) -> str:
    text = unicodedata.normalize("NFC", text)
    while len(os.fsencode(text)) > limit:
        text = text[:-1]
    return text


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        if is_full(error):
            raise StorageFull(f"no room for the folder {printable(folder)}: free some") from error
        raise InputError(f"{printable(folder)}: the folder cannot be made: {why(error)}") from error
    if folder.is_symlink():
        raise InputError(f"{printable(folder)} is a link, not a folder: take it away")


def _copy(photo: Path, folder: Path) -> bool:
    """Copy a photo, unless the folder has it; under another name where its own is taken.

    Returns:
        Whether a copy was made.
    """
    digest = content_digest(photo)
    for name in _file_names(photo, digest):
        place = folder / name
        if not os.path.lexists(place):
            break
        if _is_same(place, digest):
            return False
    with open_regular(photo) as source, replacing(place, private=True) as copy:
        shutil.copyfileobj(source, copy, 1 << 20)
        times = os.fstat(source.fileno())
    with contextlib.suppress(OSError):
        os.utime(place, ns=(times.st_atime_ns, times.st_mtime_ns), follow_symlinks=False)
    return True


def _file_names(photo: Path, digest: str) -> Iterator[str]:
    """Yield names for the copy of a photo, of which at least the last is free or its own."""
    stem = photo.stem
    while len(os.fsencode(stem)) > _MOST_BYTES - len(os.fsencode(photo.suffix)):
        stem = stem[:-1]
    yield stem + photo.suffix
    yield f"{stem} {digest[:8]}{photo.suffix}"
    number = 2
    while True:
        yield f"{stem} {digest[:8]} {number}{photo.suffix}"
        number += 1


def _is_same(place: Path, digest: str) -> bool:
    if place.is_symlink() or not place.is_file():
        return False
    try:
        return content_digest(place) == digest
    except FacekeepError:
        return False
