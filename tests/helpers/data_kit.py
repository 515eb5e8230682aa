"""Writers of the training formats, independent of the readers, and small faces to write."""

from __future__ import annotations

import io
import pickle
import struct
import tarfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from facekeep.lab.datasets.source import Source

MAGIC = struct.pack("<I", 0xCED7230A)
PEOPLE = {"Ada": 3, "Bo": 1, "Cy": 2, "Di": 4}


def picture(seed: int, size: int = 24) -> NDArray[np.uint8]:
    """A smooth picture that differs by seed."""
    small = np.random.default_rng(seed).integers(0, 256, (4, 4, 3), np.uint8)
    return np.asarray(Image.fromarray(small).resize((size, size)))


def encoded(seed: int, style: str = "PNG", size: int = 24) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(picture(seed, size)).save(stream, style)
    return stream.getvalue()


def write_people(folder: Path, people: Mapping[str, int] = PEOPLE, size: int = 24) -> Path:
    """A folder for each person with so many images."""
    seed = 0
    for person, count in people.items():
        (folder / person).mkdir(parents=True)
        for number in range(count):
            (folder / person / f"{number}.png").write_bytes(encoded(seed, size=size))
            seed += 1
    return folder


def packed(label: float | Sequence[float], image: bytes, number: int = 0) -> bytes:
    """The content of a record as MXNet packs it."""
    if isinstance(label, Sequence):
        labels = struct.pack(f"<{len(label)}f", *label)
        return struct.pack("<IfQQ", len(label), 0.0, number, 0) + labels + image
    return struct.pack("<IfQQ", 0, label, number, 0) + image


def part(kind: int, content: bytes) -> bytes:
    padding = bytes(-len(content) % 4)
    return MAGIC + struct.pack("<I", kind << 29 | len(content)) + content + padding


def record(content: bytes) -> bytes:
    """A record as dmlc writes it: cut wherever the content holds the aligned magic."""
    contents, start = [], 0
    for at in range(0, len(content) - 3, 4):
        if content[at : at + 4] == MAGIC:
            contents.append(content[start:at])
            start = at + 4
    contents.append(content[start:])
    if len(contents) == 1:
        return part(0, content)
    kinds = [1, *[2] * (len(contents) - 2), 3]
    return b"".join(part(kind, each) for kind, each in zip(kinds, contents, strict=True))


def write_records(path: Path, contents: Iterable[bytes], *, index: bool = True) -> list[int]:
    """Write a .rec, and its .idx unless told not to; return the offsets of the records."""
    offsets, data = [], bytearray()
    for content in contents:
        offsets.append(len(data))
        data += record(content)
    path.write_bytes(data)
    if index:
        lines = "".join(f"{key}\t{offset}\n" for key, offset in enumerate(offsets))
        path.with_suffix(".idx").write_text(lines)
    return offsets


def insightface(images: Sequence[tuple[int, bytes]]) -> list[bytes]:
    """The records of an InsightFace pack: header, images in order of label, a range a person."""
    labels = sorted({label for label, _ in images})
    first = len(images) + 1
    contents = [packed((first, first + len(labels)), b"")]
    contents += [packed(float(label), data, n) for n, (label, data) in enumerate(images, 1)]
    numbers = {x: [n for n, (label, _) in enumerate(images, 1) if label == x] for x in labels}
    contents += [packed((numbers[x][0], numbers[x][-1] + 1), b"") for x in labels]
    return contents


def write_tar(
    path: Path, files: Iterable[tuple[str, bytes]], style: int = tarfile.USTAR_FORMAT
) -> Path:
    with tarfile.open(path, "w", format=style) as tar:
        for name, data in files:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return path


def contents_of(source: Source) -> list[tuple[str, str, bytes]]:
    """Key, person and bytes of each image; of a copy too, as a worker process gets it."""
    copy = pickle.loads(pickle.dumps(source))
    found = [
        [
            (each.key(i), "" if label < 0 else each.names[label], each.read(i))
            for i, label in enumerate(each.labels)
        ]
        for each in (source, copy)
    ]
    assert found[0] == found[1]
    assert source.labels.dtype == np.int64
    assert source.classes == len(source.names)
    return found[0]
