"""PNG and JPEG files without what does not make the picture: what Pillow gets to see of them.

Metadata is the part of a picture file that is most often odd: far too long, damaged, or written by
a program that read the standard in its own way. Viewers pass over it. So do we, by leaving it out
before the decoder reads the file; what decides how the picture looks stays, byte for byte.
"""

from __future__ import annotations

import random
import re
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

__all__ = ["Jpeg", "Png", "orientation_of", "read_jpeg", "read_png"]


# ---- PNG (PNG specification, third edition) ------------------------------------------------------

_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_PIXELS = (b"IHDR", b"PLTE", b"IDAT", b"IEND")
# What may be left out when it is damaged, and changes the picture when it is not.
_KEPT = (b"tRNS", b"eXIf", b"tEXt", b"zTXt")
# ImageMagick and others write EXIF as the hexadecimal text of one of these.
_EXIF_TEXT = re.compile(rb"Raw profile type (?:exif|APP1)\0")
_LONGEST_EXIF = 1 << 20
_UNPACKED = 1 << 16  # bytes of a PNG that are unpacked at a time, only to count them
# Of each pass of an interlaced PNG: its first pixel, and the steps to the next (PNG 3, 8.1).
_ADAM7 = (
    (0, 0, 8, 8),
    (4, 0, 8, 8),
    (0, 4, 4, 8),
    (2, 0, 4, 4),
    (0, 2, 2, 4),
    (1, 0, 2, 2),
    (0, 1, 1, 2),
)


@dataclass(frozen=True, slots=True)
class Png:
    """A PNG file.

    Attributes:
        data: The file with header, palette and pixels alone.
        depth: Bits of a sample.
        kind: The color type: 0 gray, 2 RGB, 3 palette, 4 gray and alpha, 6 RGBA.
        clear: What ``tRNS`` says: alphas of a palette, or the value or color that is transparent.
        exif: Its EXIF data, which begin with the header of a TIFF; empty where there are none.
    """

    data: bytes
    depth: int
    kind: int
    clear: bytes
    exif: bytes

    @property
    def interlaced(self) -> bool:
        """Whether the rows come in seven passes."""
        return self.data[28:29] == b"\1"

    def whole(self) -> bool:
        """Tell whether its compressed data hold all rows; it takes the time to unpack them."""
        width, height = struct.unpack_from(">II", self.data, 16)
        bits = self.depth * {2: 3, 4: 2, 6: 4}.get(self.kind, 1)
        missing = 0
        for left, top, across, down in _ADAM7 if self.interlaced else ((0, 0, 1, 1),):
            columns, rows = -(-(width - left) // across), -(-(height - top) // down)
            if columns > 0 and rows > 0:
                missing += rows * (1 + -(-columns * bits // 8))
        packed = zlib.decompressobj()
        for kind, body, _ in _chunks(self.data):
            left_over = body if kind == b"IDAT" else b""
            while left_over and not packed.eof:
                missing -= len(packed.decompress(left_over, _UNPACKED))
                left_over = packed.unconsumed_tail
        return missing <= 0


def read_png(data: bytes) -> Png:
    """Take a PNG file apart; a file that is none, or is cut short, comes back as it is."""
    parts = [_PNG_SIGNATURE]
    found: dict[bytes, bytes] = {}
    header = data[16:29]
    for kind, body, whole in _chunks(data):
        if kind in _PIXELS and not (kind == b"PLTE" and header[9:10] != b"\3"):
            parts.append(whole)
        elif kind in _KEPT and zlib.crc32(kind + body) == int.from_bytes(whole[-4:]):
            exif = body if kind == b"eXIf" else _exif_text(kind, body)
            if kind == b"tRNS":
                found.setdefault(kind, body)
            elif exif:
                found.setdefault(b"eXIf", exif)
    depth, kind_of_color = (header[8], header[9]) if len(header) > 9 else (0, 0)
    clear = found.get(b"tRNS", b"")
    return Png(b"".join(parts), depth, kind_of_color, clear, found.get(b"eXIf", b""))


def _chunks(data: bytes) -> Iterator[tuple[bytes, bytes, bytes]]:
    """Yield the kind, the content and the whole of each chunk, the last one perhaps cut short."""
    at = len(_PNG_SIGNATURE)
    while at + 8 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, at)
        end = at + 12 + length
        yield kind, data[at + 8 : at + 8 + length], data[at:end]
        if kind == b"IEND":
            return
        at = end


def _exif_text(kind: bytes, body: bytes) -> bytes:
    """Return the EXIF data in a text chunk, if it holds any."""
    name = _EXIF_TEXT.match(body)
    if name is None:
        return b""
    text = body[name.end() :]
    try:
        if kind == b"zTXt":
            text = zlib.decompressobj().decompress(text[1:], _LONGEST_EXIF)
        lines = text.split(b"\n", 3)  # an empty one, the name, the length, then the digits
        return bytes.fromhex(lines[3].decode("ascii")).removeprefix(b"Exif\0\0")
    except (ValueError, IndexError, zlib.error):
        return b""


# ---- JPEG (ITU-T T.81) ---------------------------------------------------------------------------

_SOI, _EOI = b"\xff\xd8", b"\xff\xd9"
_SOS = 0xDA
_MARKER = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")  # none of these stands inside scan data
# Tables, frames and scans; of the application segments those that say how colors are meant, and
# EXIF for the orientation.
_TABLES = frozenset({0xC4, 0xCC, 0xDB, 0xDC, 0xDD, *range(0xC0, 0xC4), *range(0xC5, 0xC8),
                     *range(0xC9, 0xCC), *range(0xCD, 0xD0)})  # fmt: skip
_PROGRESSIVE = (0xC2, 0xCA)
_NAMES = {0xE0: b"JFIF\0", 0xE1: b"Exif\0\0", 0xEE: b"Adobe"}


@dataclass(frozen=True, slots=True)
class Jpeg:
    """A JPEG file.

    Attributes:
        data: The file without metadata; it ends with the marker of its end.
        scans: How many scans it has.
        ended: Whether the file had that marker.
        whole: Whether all its scans began: a progressive file that was cut may lack some.
        exif: Its EXIF data, which begin with the header of a TIFF; empty where there are none.
    """

    data: bytes
    scans: int
    ended: bool
    whole: bool
    exif: bytes

    def with_noise(self) -> bytes:
        """Return the file with noise behind its last scan.

        A decoder passes over what lies behind a whole scan. In a scan that was cut short it takes
        the noise for pixels, so that the picture is another.
        """
        return self.data[: -len(_EOI)] + _noise() + _EOI


def read_jpeg(data: bytes) -> Jpeg:
    """Take a JPEG file apart, up to its end; what follows is a video or a second picture."""
    parts = [_SOI]
    progress = _Progress()
    exif, scans, at, ended = b"", 0, 2, False
    while found := _MARKER.search(data, at):
        start, marker = found.start(), data[found.end() - 1]
        if scans:
            parts.append(data[at:start])  # the data of a scan
        if marker == _EOI[1]:
            ended = True
            break
        at = found.end()
        if marker in (0x01, 0xD8):
            continue
        at += max(2, int.from_bytes(data[at : at + 2]))
        body = data[found.end() + 2 : at]
        scans += marker == _SOS
        progress.note(marker, body)
        if marker == 0xE1 and body.startswith(_NAMES[marker]) and not exif:
            exif = body[6:]
        elif _keeps(marker, body):
            parts.append(data[start:at])
    else:
        parts.append(data[at:] if scans else b"")
    parts.append(_EOI)
    return Jpeg(_without_half_a_marker(parts), scans, ended, progress.whole, exif)


def _keeps(marker: int, body: bytes) -> bool:
    if marker == _SOS or marker in _TABLES:
        return True
    shortest = {0xE0: 14, 0xEE: 12}.get(marker)  # below that libjpeg takes no notice of them
    return shortest is not None and len(body) >= shortest and body.startswith(_NAMES[marker])


def _without_half_a_marker(parts: list[bytes]) -> bytes:
    """Join the parts; a file cut inside its last marker ends with half of that."""
    if parts[-2].endswith(b"\xff"):
        parts[-2] = parts[-2].rstrip(b"\xff")
    return b"".join(parts)


class _Progress:
    """Which coefficients of which components the scans of a progressive file have told of."""

    def __init__(self) -> None:
        self._components: list[int] = []
        self._lacking: dict[tuple[int, int], int] = {}
        self._progressive = False

    def note(self, marker: int, body: bytes) -> None:
        """Take note of a segment."""
        if marker in _PROGRESSIVE and len(body) > 5:
            self._progressive = True
            self._components = list(body[6 : 6 + 3 * body[5] : 3])
            self._lacking = {(part, at): 99 for part in self._components for at in range(64)}
        elif marker == _SOS and self._progressive and body and len(body) >= 4 + 2 * body[0]:
            count = body[0]
            first, last, bits = body[1 + 2 * count : 4 + 2 * count]
            for part in body[1 : 1 + 2 * count : 2]:
                for at in range(first, min(last, 63) + 1):
                    self._lacking[part, at] = bits & 15

    @property
    def whole(self) -> bool:
        """Whether every coefficient is there to its last bit."""
        return not any(self._lacking.values())


@cache
def _noise() -> bytes:
    """Return bytes that a scan may hold, always the same ones."""
    return bytes(each for each in random.Random(0).randbytes(4096) if each != 0xFF)  # noqa: S311


# ---- EXIF (EXIF 3.0, a TIFF without pixels) ------------------------------------------------------

_ORIENTATION = 0x0112
_NUMBERS = {1: "B", 3: "H", 4: "I"}  # the types of whole numbers


def orientation_of(exif: bytes) -> int:
    """Read the orientation, 1 to 8, from EXIF data; 1 where they are damaged or do not say it."""
    exif = exif.removeprefix(b"Exif\0\0")
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(exif[:4])
    if order is None:
        return 1
    try:
        (start,) = struct.unpack_from(f"{order}I", exif, 4)
        (count,) = struct.unpack_from(f"{order}H", exif, start)
        for at in range(start + 2, start + 2 + 12 * count, 12):
            tag, kind, values = struct.unpack_from(f"{order}HHI", exif, at)
            if tag == _ORIENTATION and values >= 1 and kind in _NUMBERS:
                (value,) = struct.unpack_from(f"{order}{_NUMBERS[kind]}", exif, at + 8)
                return int(value) if value in range(1, 9) else 1
    except struct.error:  # it ends before it says so
        return 1
    return 1
