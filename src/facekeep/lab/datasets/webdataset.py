"""WebDataset: images in tars, each beside a small file that says who it shows.

Files that follow each other and share their name up to the first dot are one sample: an image, and
perhaps a ``cls`` (a class number or a name) or a ``json`` with one. Tars of images alone have no
labels; a table may name the people in them.
"""

from __future__ import annotations

import json
from array import array
from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path

import numpy as np

from facekeep._internal.files import open_regular, printable, why
from facekeep.errors import ImageError, InputError
from facekeep.lab.datasets.class_names import Classes, Strings
from facekeep.lab.datasets.source import MAX_IMAGE_BYTES, Source, read_span
from facekeep.lab.datasets.tar_walk import Member, TarWalk

__all__ = ["TarSource", "open_tars"]

_IMAGES = ("jpg", "jpeg", "png", "webp")
_LABELS = ("cls", "json")
_JSON_NAMES = ("label", "identity", "person", "cls")
_LONGEST_LABEL = 1 << 20
_COMPRESSED = {b"\x1f\x8b": "gzip", b"BZh": "bzip2", b"\xfd7zXZ": "xz", b"\x28\xb5\x2f\xfd": "zstd"}


class TarSource(Source):
    """The images of tars; the key of one is its path in the tar, up to the first dot of its name.

    See ``open_tars``.
    """

    def __init__(self, name: str, tars: Sequence[Path], index: _Index) -> None:
        labels, names = index.classes.sorted()
        super().__init__(name, labels, names, index.corrupt)
        self._tars = tuple(tars)
        self._keys = index.keys
        self._tar = np.frombuffer(index.tars, np.int32)
        self._offsets = np.frombuffer(index.offsets, np.int64)
        self._sizes = np.frombuffer(index.sizes, np.int32)

    def key(self, index: int) -> str:
        """See `Source`."""
        return self._keys[index]

    def read(self, index: int) -> bytes:
        """See `Source`."""
        tar = self._tars[self._tar[index]]
        return read_span(tar, int(self._offsets[index]), int(self._sizes[index]))


class _Index:
    """What is kept of each image while tars are indexed."""

    def __init__(self) -> None:
        self.keys = Strings()
        self.tars, self.offsets, self.sizes = array("i"), array("q"), array("i")
        self.classes = Classes()
        self.corrupt = 0

    def add_tar(self, number: int, walk: TarWalk) -> None:
        """Index one tar; samples whose label cannot be read are counted and left out."""
        for key, files in groupby(_parts(walk), lambda part: part[0]):
            members = {kind: member for _, kind, member in files}
            image = next((members[kind] for kind in _IMAGES if kind in members), None)
            if image is None:
                continue
            person = _person(walk, members)
            if person is None or not 0 < image.size <= MAX_IMAGE_BYTES:
                self.corrupt += 1
                continue
            self.keys.append(key)
            self.tars.append(number)
            self.offsets.append(image.offset)
            self.sizes.append(image.size)
            self.classes.append(person)
        self.corrupt += walk.damaged


def open_tars(name: str, tars: Sequence[Path]) -> TarSource:
    """Index tars by walking from header to header.

    Args:
        name: Where they are, for messages.
        tars: The files, in the order that their images should have.

    Raises:
        InputError: They hold no images, or one is compressed or no tar.
        ImageError: One cannot be read.
    """
    index = _Index()
    for number, path in enumerate(tars):
        try:
            with open_regular(path) as stream:
                _check(stream.peek(8), path)
                index.add_tar(number, TarWalk(stream))
        except (OSError, ValueError) as error:
            raise ImageError(f"{printable(path)}: cannot be read: {why(error)}") from error
    if not index.keys:
        raise InputError(
            f"{name}: holds no images ({index.corrupt} damaged places); the files in a tar must "
            f"end in .{', .'.join(_IMAGES)}"
        )
    return TarSource(name, tars, index)


def _check(head: bytes, path: Path) -> None:
    for magic, kind in _COMPRESSED.items():
        if head.startswith(magic):
            raise InputError(
                f"{printable(path)}: is compressed ({kind}), so single images cannot be read; "
                "decompress it"
            )


def _parts(walk: TarWalk) -> Iterator[tuple[str, str, Member]]:
    """Yield key, kind and place of the files that can be a part of a sample."""
    for member in walk:
        folder, slash, name = member.name.rpartition("/")
        stem, _, kind = name.partition(".")
        kind = kind.lower()
        if stem and kind in (*_IMAGES, *_LABELS):
            yield folder + slash + stem, kind, member


def _person(walk: TarWalk, members: dict[str, Member]) -> str | None:
    """Return who a sample shows: empty where nobody says so, None where it cannot be read."""
    kind = next((each for each in _LABELS if each in members), None)
    if kind is None:
        return ""
    if members[kind].size > _LONGEST_LABEL:
        return None
    try:
        text = walk.read(members[kind]).decode("utf-8").strip()
        return text if kind == "cls" else _json_person(text)
    except (ValueError, RecursionError):
        return None


def _json_person(text: str) -> str:
    content = json.loads(text)
    fields = content if isinstance(content, dict) else {"label": content}
    value = next((fields[name] for name in _JSON_NAMES if name in fields), "")
    if not isinstance(value, int | str) or isinstance(value, bool):
        raise ValueError
    return str(value).strip()
