"""Photos whose faces somebody has annotated, to train by and to measure by.

Beside each picture lies a JSON file of the same stem, in one of two forms::

    {"points68": [[x, y], ...], "bbox": [x1, y1, x2, y2], "person": "name"}
    {"faces": [{"landmarks": [[x, y], ...], "bbox": [x1, y1, x2, y2]}], "person": "name"}

The first is one face with the 68 points of iBUG (Sagonas et al. 2013), whose ``bbox`` may be left
out; the second is any number of faces with the five points of ``Face``. ``person`` may be left out.
Coordinates are pixels of the picture, with the center of its first pixel at 0, 0.
"""

from __future__ import annotations

import json
import os
import tarfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from facekeep._internal.files import open_regular, path_text, printable, why
from facekeep._internal.listing import list_files
from facekeep._internal.tables import OptionError
from facekeep.errors import ImageError, InputError
from facekeep.pipeline.image import is_picture, load_image

__all__ = ["AnnotatedPhotos", "open_annotated", "reduce_landmarks", "split_by_person"]

# From the extent of the 68 points to the face box, in shares of its width and height: left, top,
# right, bottom. The points end at the brows, boxes in the manner of WIDER FACE at the forehead;
# these are the medians of the boxes that YuNet, trained on those, gives around such points.
_BOX_OF_68: Final = np.array([0.024, -0.318, -0.029, -0.018])
_MAX_BYTES = 64 << 20  # of one picture file; the annotations are held to the same
_FARTHEST = 1e6


@dataclass(frozen=True, slots=True)
class _File:
    """A file, or ``size`` bytes from ``offset`` of a tar, by the name that messages give it."""

    name: str
    file: Path
    offset: int
    size: int

    def read(self) -> bytes:
        if self.size > _MAX_BYTES:
            raise InputError(f"{self.name}: {self.size} bytes are too many for one file")
        with open_regular(self.file) as stream:
            stream.seek(self.offset)
            return stream.read(self.size)


@dataclass(frozen=True, slots=True, eq=False)
class _Photo:
    """A picture and what is said about it; see ``AnnotatedPhotos`` for the arrays."""

    picture: _File
    landmarks: NDArray[np.float32]
    boxes: NDArray[np.float32]
    person: str | None


@dataclass(frozen=True, slots=True)
class AnnotatedPhotos:
    """Photos with annotated faces, by their places from 0; it can be pickled and shared by threads.

    The annotations are held in memory; a picture is read and decoded each time it is asked for.
    """

    photos: tuple[_Photo, ...]

    def __len__(self) -> int:
        return len(self.photos)

    def image(self, index: int) -> NDArray[np.uint8]:
        """Load a photo: uint8 ``(H, W, 3)`` RGB.

        Raises:
            ImageError: It cannot be read or decoded; the message names it.
        """
        picture = self.photos[index].picture
        try:
            return load_image(picture.read())
        except (OSError, ValueError) as error:
            raise ImageError(f"{picture.name}: cannot be read: {why(error)}") from error
        except ImageError as error:
            raise ImageError(f"{picture.name}: {error}") from error

    def landmarks(self, index: int) -> NDArray[np.float32]:
        """Return the landmarks ``(n, 5, 2)`` of a photo's faces, in the order of ``Face``."""
        return self.photos[index].landmarks

    def boxes(self, index: int) -> NDArray[np.float32]:
        """Return the boxes ``(n, 4)`` of a photo's faces: x1, y1, x2, y2, forehead to chin."""
        return self.photos[index].boxes

    def person(self, index: int) -> str | None:
        """Return who a photo shows, None where nobody says so."""
        return self.photos[index].person


def open_annotated(path: str | os.PathLike[str]) -> AnnotatedPhotos:
    """Index annotated photos, sorted by the names of their files.

    Args:
        path: A tar of pictures and their JSON files, a folder of such tars, or a folder with the
            files themselves, in it or below it.

    Raises:
        InputError: There is nothing of the kind, a picture has no annotation or an annotation no
            picture, or an annotation is damaged; the message names the file.
    """
    top = Path(path_text(path))
    try:
        photos = [photo for files in _list_files(top) for photo in _pair_files(files)]
    except (OSError, ValueError) as error:
        raise InputError(f"{printable(top)}: cannot be read: {why(error)}") from error
    if not photos:
        raise InputError(f"{printable(top)}: holds no pictures with a .json of the same name")
    return AnnotatedPhotos(tuple(photos))


def split_by_person(
    annotated: AnnotatedPhotos, *, holdout: int, seed: int
) -> tuple[AnnotatedPhotos, AnnotatedPhotos]:
    """Divide photos so that nobody is in both parts; of photos without a person each is its own.

    Args:
        annotated: The photos.
        holdout: How many people the second part has.
        seed: Who they are; the same for the same photos.

    Returns:
        The photos to train on, and those held out.

    Raises:
        OptionError: Nobody would be left in one of the parts.
    """
    owners = [
        f"p{photo.person}" if photo.person is not None else f"n{place}"
        for place, photo in enumerate(annotated.photos)
    ]
    people = sorted(set(owners))
    if not 0 < holdout < len(people):
        limits = f"from 1 to {len(people) - 1}, as the photos show {len(people)} people"
        raise OptionError(["holdout"], f"must be {limits}; got {holdout}")
    drawn = np.random.default_rng(seed).permutation(len(people))[:holdout]
    out = {people[place] for place in drawn}
    parts: tuple[list[_Photo], list[_Photo]] = ([], [])
    for owner, photo in zip(owners, annotated.photos, strict=True):
        parts[owner in out].append(photo)
    return AnnotatedPhotos(tuple(parts[0])), AnnotatedPhotos(tuple(parts[1]))


def reduce_landmarks(points: NDArray[np.floating]) -> NDArray[np.float32]:
    """Reduce points ``(..., 68, 2)`` in the order of iBUG to the five of a ``Face``.

    The eyes are the means of the six points around each, then come the tip of the nose and the
    outer corners of the mouth.
    """
    eyes = [points[..., first : first + 6, :].mean(axis=-2) for first in (36, 42)]
    others = [points[..., place, :] for place in (30, 48, 54)]
    return np.stack([*eyes, *others], axis=-2).astype(np.float32)


def _list_files(top: Path) -> Iterator[list[_File]]:
    """Yield the files of each tar, or of the folder: what belongs together lies in one of them."""
    if not top.is_dir():
        yield _list_tar(top)
        return
    tars = sorted(each for each in top.glob("[!.]*.tar") if each.is_file())
    for tar in tars:
        yield _list_tar(tar)
    if not tars:
        files = list_files(top, lambda name: not name.startswith("."))
        yield [_File(printable(each), each, 0, each.stat().st_size) for each in files]


def _list_tar(path: Path) -> list[_File]:
    where = printable(path)
    try:
        with open_regular(path) as stream, tarfile.open(fileobj=stream, mode="r:") as tar:
            members = sorted((each for each in tar if each.isreg()), key=lambda each: each.name)
            stream.seek(tar.offset)
            # tarfile takes a damaged header for the end, and half the photos are another set.
            if stream.read(tarfile.BLOCKSIZE).strip(b"\0"):
                raise tarfile.ReadError("a header is damaged")
    except tarfile.TarError as error:
        raise InputError(
            f"{where}: is no tar, or a compressed or damaged one; give a tar of pictures and "
            "their .json files, or a folder of them"
        ) from error
    return [
        _File(f"{where}:{printable(each.name)}", path, each.offset_data, each.size)
        for each in members
    ]


def _pair_files(files: Iterable[_File]) -> Iterator[_Photo]:
    """Pair the pictures with their annotations; files of other kinds are passed over."""
    pictures: dict[str, _File] = {}
    annotations: dict[str, _File] = {}
    for file in files:
        name = PurePosixPath(file.name)
        kind = annotations if name.suffix.lower() == ".json" else pictures
        if kind is pictures and not is_picture(name.name):
            continue
        if str(name.with_suffix("")) in kind:
            raise InputError(f"{file.name}: a second file of the same stem lies beside it")
        kind[str(name.with_suffix(""))] = file
    lone = sorted(pictures.keys() ^ annotations.keys())
    if lone:
        file = pictures.get(lone[0]) or annotations[lone[0]]
        lacks = "annotation (.json)" if lone[0] in pictures else "picture"
        raise InputError(f"{file.name}: has no {lacks} of the same name beside it")
    for stem, picture in pictures.items():
        yield _read_photo(picture, annotations[stem])


def _read_photo(picture: _File, annotation: _File) -> _Photo:
    try:
        content = json.loads(annotation.read().decode("utf-8"))
        landmarks, boxes = _read_faces(content)
        person = content.get("person")
        if not isinstance(person, str | None):
            raise ValueError("the person must be text")
    except (ValueError, RecursionError) as error:
        raise InputError(f"{annotation.name}: is no annotation: {printable(error)}") from error
    return _Photo(picture, landmarks, boxes, person)


def _read_faces(content: Any) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return landmarks ``(n, 5, 2)`` and boxes ``(n, 4)`` of an annotation."""
    if not isinstance(content, dict) or ("points68" in content) == ("faces" in content):
        raise ValueError("it must have either points68 or faces")
    if "points68" in content:
        points = _read_numbers(content["points68"], (68, 2), "points68")
        box = _read_box(content["bbox"]) if "bbox" in content else _surround_landmarks(points)
        return reduce_landmarks(points)[None], box[None].astype(np.float32)
    faces = content["faces"]
    if not isinstance(faces, list) or not all(isinstance(face, dict) for face in faces):
        raise ValueError("faces must be a list of faces with landmarks and bbox")
    landmarks = [_read_numbers(face.get("landmarks"), (5, 2), "landmarks") for face in faces]
    boxes = [_read_box(face.get("bbox")) for face in faces]
    return (
        np.array(landmarks, np.float32).reshape(-1, 5, 2),
        np.array(boxes, np.float32).reshape(-1, 4),
    )


def _read_numbers(value: Any, shape: tuple[int, ...], name: str) -> NDArray[np.float64]:
    wanted = f"{name} must be {' x '.join(map(str, shape))} finite numbers"
    try:
        numbers = np.asarray(value)
    except ValueError as error:  # rows of several lengths
        raise ValueError(wanted) from error
    if numbers.dtype.kind not in "iuf" or numbers.shape != shape:
        raise ValueError(wanted)
    if not (np.abs(numbers) < _FARTHEST).all():
        raise ValueError(f"{wanted} below {_FARTHEST:g}")
    return numbers.astype(np.float64)


def _read_box(value: Any) -> NDArray[np.float64]:
    box = _read_numbers(value, (4,), "bbox")
    if not (box[2:] > box[:2]).all():
        raise ValueError("bbox must be x1, y1, x2, y2 with x1 < x2 and y1 < y2")
    return box


def _surround_landmarks(points: NDArray[np.float64]) -> NDArray[np.float64]:
    low, high = points.min(axis=0), points.max(axis=0)
    box: NDArray[np.float64] = np.concatenate([low, high]) + np.tile(high - low, 2) * _BOX_OF_68
    return box
