"""Compare the loader with OpenCV over a few hundred odd picture files that this script makes.

Each file is made from one small picture, so what it shows is known. The loader must give that
picture, within a tolerance, or refuse the file with a clear error; it must never give another one.
Files are also shown to OpenCV: what OpenCV shows and the loader refuses is printed.

    python benchmarks/decoding.py            # the counts, and each file that is not as it should be
    python benchmarks/decoding.py --all      # a line for every file
    python benchmarks/decoding.py --out DIR  # writes the files too
    python benchmarks/decoding.py --large    # the memory that eight pictures of 100 megapixels take
"""

from __future__ import annotations

import argparse
import io
import struct
import subprocess
import sys
import tempfile
import warnings
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageCms, features

from facekeep.errors import ImageError
from facekeep.pipeline.image import load_image

Pixels = NDArray[np.uint8]

SIDES = (61, 47)  # odd, so that a swapped axis or a padded row shows
_MOST_LOST = 0.02  # of the pixels of a file that was cut by a few bytes


class Odd(NamedTuple):
    """A picture file.

    Attributes:
        name: What is odd about it.
        data: Its bytes.
        truth: What it shows, uint8 ``(H, W, 3)`` RGB.
        tolerance: How far the mean may lie from it, in gray levels.
        may_refuse: Whether a refusal is right too.
    """

    name: str
    data: bytes
    truth: Pixels
    tolerance: float
    may_refuse: bool = False


def picture() -> Pixels:
    """Return the picture: smooth, in color, with no symmetry, and bright at one corner."""
    width, height = SIDES
    across, down = np.meshgrid(np.linspace(0, 1, width), np.linspace(0, 1, height))
    red = 40 + 200 * across
    green = 220 - 170 * down
    blue = 60 + 120 * across * down + 60 * (down > 0.6)
    made = np.stack([red, green, blue], axis=2)
    made[5:12, 4:20] = (250, 30, 40)
    made[30:40, 35:41] = (20, 30, 200)
    return np.rint(made).clip(0, 255).astype(np.uint8)


def gray(rgb: Pixels) -> Pixels:
    """Return the gray of a picture, ``(H, W)``."""
    return np.asarray(Image.fromarray(rgb).convert("L"))


def stacked(one: NDArray[Any]) -> Pixels:
    """Return gray as RGB."""
    return np.repeat(np.asarray(one, np.uint8)[..., None], 3, axis=2)


def over_white(rgb: Pixels, alpha: NDArray[Any]) -> Pixels:
    """Lay a picture over white."""
    share = np.asarray(alpha, np.float64)[..., None] / 255
    return np.rint(rgb * share + 255 * (1 - share)).astype(np.uint8)


def ramp(shape: tuple[int, ...]) -> Pixels:
    """Return an alpha channel that runs from clear to solid."""
    return np.linspace(0, 255, shape[1]).round().astype(np.uint8)[None].repeat(shape[0], 0)


def stored(upright: Pixels, orientation: int) -> Pixels:
    """Return what a camera stores under an EXIF orientation."""
    flipped = {2: (1, -1), 3: (-1, -1), 4: (-1, 1), 6: (1, -1), 7: (-1, -1), 8: (-1, 1)}
    down, across = flipped.get(orientation, (1, 1))
    turned = upright[::down, ::across]
    return np.ascontiguousarray(turned if orientation < 5 else turned.transpose(1, 0, 2))


def saved(rgb: Pixels | Image.Image, style: str, **options: Any) -> bytes:
    """Return a picture as the file that Pillow writes."""
    stream = io.BytesIO()
    made = rgb if isinstance(rgb, Image.Image) else Image.fromarray(rgb)
    made.save(stream, style, **options)
    return stream.getvalue()


def exif(orientation: int) -> bytes:
    """Return EXIF data with an orientation."""
    tags = Image.Exif()
    tags[0x0112] = orientation
    return tags.tobytes()


# ---- PNG -----------------------------------------------------------------------------------------


def chunk(kind: bytes, data: bytes, *, sound: bool = True) -> bytes:
    """Return a chunk of a PNG, with a wrong checksum unless it is sound."""
    check = zlib.crc32(kind + data) ^ (not sound)
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", check)


def png(
    samples: NDArray[Any], depth: int, kind: int, *extra: bytes, before_end: bytes = b""
) -> bytes:
    """Write a PNG: samples ``(H, W)`` or ``(H, W, channels)`` of so many bits, chunks after IHDR.

    Args:
        samples: The values.
        depth: Bits of a sample.
        kind: The color type of the header.
        extra: Chunks between the header and the pixels.
        before_end: Chunks between the pixels and the end.
    """
    height, width = samples.shape[:2]
    flat = samples.reshape(height, -1)
    if depth == 16:
        rows = [row.astype(">u2").tobytes() for row in flat]
    else:
        bits = (flat[..., None] >> np.arange(depth)[::-1]) & 1
        rows = [np.packbits(row.reshape(-1)).tobytes() for row in bits.astype(np.uint8)]
    body = zlib.compress(b"".join(b"\0" + row for row in rows))
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, kind, 0, 0, 0))
    return b"".join(
        [
            b"\x89PNG\r\n\x1a\n",
            header,
            *extra,
            chunk(b"IDAT", body),
            before_end,
            chunk(b"IEND", b""),
        ]
    )


def interlaced(rgb: Pixels) -> bytes:
    """Write a PNG in the seven passes of Adam7."""
    passes = ((0, 8, 0, 8), (0, 8, 4, 8), (4, 8, 0, 4), (0, 4, 2, 4), (2, 4, 0, 2), (0, 2, 1, 2))
    body = b""
    for top, down, left, across in (*passes, (1, 2, 0, 1)):
        for row in rgb[top::down, left::across]:
            body += b"\0" + row.tobytes()
    width, height = rgb.shape[1], rgb.shape[0]
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 1))
    pixels = chunk(b"IDAT", zlib.compress(body))
    return b"\x89PNG\r\n\x1a\n" + header + pixels + chunk(b"IEND", b"")


def png_depths(rgb: Pixels) -> Iterator[Odd]:
    """Make PNG files of every depth and kind of color."""
    luma = gray(rgb)
    for depth in (1, 2, 4, 8, 16):
        top = (1 << depth) - 1
        values = np.rint(luma / 255 * top).astype(np.uint16)
        shown = stacked(np.rint(values / top * 255))
        yield Odd(f"PNG gray {depth} bit", png(values, depth, 0), shown, 0.6)
        key = int(values[8, 8])
        clear = stacked(np.where(values == key, 255, shown[..., 0]))
        marked = png(values, depth, 0, chunk(b"tRNS", struct.pack(">H", key)))
        yield Odd(f"PNG gray {depth} bit, one value clear", marked, clear, 0.6)
    for depth in (1, 2, 4, 8):
        table = np.random.default_rng(depth).integers(0, 256, (1 << depth, 3)).astype(np.uint8)
        values = luma >> (8 - depth)
        colors = chunk(b"PLTE", table.tobytes())
        yield Odd(f"PNG palette {depth} bit", png(values, depth, 3, colors), table[values], 0)
        alphas = np.linspace(0, 255, len(table)).astype(np.uint8)
        data = png(values, depth, 3, colors, chunk(b"tRNS", alphas.tobytes()))
        seen = over_white(table[values], alphas[values])
        yield Odd(f"PNG palette {depth} bit, with alphas", data, seen, 1)
    wide = rgb.astype(np.uint16) * 257
    yield Odd("PNG RGB 16 bit", png(wide, 16, 2), rgb, 0.6)
    odd = wide + np.random.default_rng(0).integers(0, 200, wide.shape).astype(np.uint16)
    yield Odd("PNG RGB 16 bit, low bytes of noise", png(odd.clip(0, 65535), 16, 2), rgb, 1.1)
    key = wide[0, 0]
    marked = png(wide, 16, 2, chunk(b"tRNS", struct.pack(">HHH", *map(int, key))))
    yield Odd("PNG RGB 16 bit, one color clear", marked, rgb, 0.6)
    alpha = ramp(rgb.shape)
    for depth, scale in ((8, 1), (16, 257)):
        both = np.dstack([rgb, alpha]).astype(np.uint16) * scale
        yield Odd(f"PNG RGBA {depth} bit", png(both, depth, 6), over_white(rgb, alpha), 1)
        two = np.dstack([luma, alpha]).astype(np.uint16) * scale
        seen = over_white(stacked(luma), alpha)
        yield Odd(f"PNG gray and alpha {depth} bit", png(two, depth, 4), seen, 1)
    yield Odd("PNG interlaced", interlaced(rgb), rgb, 0)


def _text(kind: bytes, size: int) -> bytes:
    body = bytes(size)
    head = {b"tEXt": b"k\0", b"zTXt": b"k\0\0", b"iTXt": b"k\0\1\0\0\0", b"iCCP": b"k\0\0"}[kind]
    return chunk(kind, head + (b"x" * size if kind == b"tEXt" else zlib.compress(body, 9)))


def png_metadata(rgb: Pixels) -> Iterator[Odd]:
    """Make PNG files with long and broken metadata."""

    def one(name: str, *extra: bytes, before_end: bytes = b"", may_refuse: bool = False) -> Odd:
        data = png(rgb, 8, 2, *extra, before_end=before_end)
        return Odd(f"PNG {name}", data, rgb, 0, may_refuse)

    for kind in (b"tEXt", b"zTXt", b"iTXt", b"iCCP"):
        shown = kind.decode()
        yield one(f"{shown} of 2 MiB", _text(kind, 2 << 20))
        yield one(f"{shown} of 2 MiB behind the pixels", before_end=_text(kind, 2 << 20))
    yield one("80 texts of 1 MiB", *[_text(b"zTXt", 1 << 20)] * 80)
    small = {
        "tEXt": b"k\0v", "zTXt": b"k\0\0" + zlib.compress(b"v"), "iTXt": b"k\0\0\0\0\0v",
        "iCCP": b"k\0\0" + zlib.compress(b"v"), "gAMA": struct.pack(">I", 45455), "sRGB": b"\0",
        "cHRM": bytes(32), "pHYs": bytes(9), "tIME": bytes(7), "bKGD": bytes(6), "sBIT": bytes(3),
        "sPLT": b"name\0\x08" + bytes(6), "hIST": bytes(2), "eXIf": b"II*\0", "acTL": bytes(8),
        "fcTL": bytes(26), "oFFs": bytes(9), "vpAg": b"a", "caBX": bytes(30), "juMB": b"",
    }  # fmt: skip
    for name, body in small.items():
        kind = name.encode()
        yield one(f"{name} with a wrong checksum", chunk(kind, body, sound=False))
        yield one(f"{name} cut in half", chunk(kind, body[: len(body) // 2]))
        yield one(f"{name} empty", chunk(kind, b""))
        yield one(f"{name} of noise", chunk(kind, bytes(range(255, 55, -1))))
        yield one(f"{name} twice", chunk(kind, body), chunk(kind, body))
        yield one(f"{name} of noise behind the pixels", before_end=chunk(kind, b"\xff" * 99))
    yield one("tRNS with a wrong checksum", chunk(b"tRNS", bytes(6), sound=False))
    yield one("tRNS too long", chunk(b"tRNS", bytes(99)), may_refuse=True)
    yield one("iCCP by an unknown method", chunk(b"iCCP", b"k\0\7abc"))
    yield one("iCCP not compressed", chunk(b"iCCP", b"k\0\0abc"))
    yield one("texts that are not Latin", chunk(b"tEXt", b"\xff\xfe\0\xc3\x28"))
    yield one("unknown chunk", chunk(b"abCd", b"?" * 70_000))
    yield one("PLTE of a picture in full color", chunk(b"PLTE", bytes(30)))


def png_ends(rgb: Pixels) -> Iterator[Odd]:
    """Make PNG files that end too early or too late, and such that move."""
    whole = png(rgb, 8, 2)
    for cut in (1, 4, 8, 12, 14, 16, 17, 18, 20):
        yield Odd(f"PNG without its last {cut} bytes", whole[:-cut], rgb, 0, may_refuse=cut > 12)
    yield Odd("PNG and more", whole + b"more" * 999, rgb, 0)
    yield Odd("PNG with a wrong checksum at the end", whole[:-1] + b"?", rgb, 0)
    bad = bytearray(whole)
    bad[-13] ^= 1
    yield Odd("PNG with a wrong checksum of pixels", bytes(bad), rgb, 0, may_refuse=True)
    yield Odd("PNG with a wrong checksum of the header", whole[:29] + b"abcd" + whole[33:], rgb, 0,
              may_refuse=True)  # fmt: skip
    body = whole[whole.index(b"IDAT") + 4 : -16]
    parts = b"".join(chunk(b"IDAT", body[at : at + 7]) for at in range(0, len(body), 7))
    many = whole[:33] + parts + chunk(b"IEND", b"")
    yield Odd("PNG of many small parts", many, rgb, 0)
    yield Odd("PNG with an empty part", whole[:33] + chunk(b"IDAT", b"") + whole[33:], rgb, 0)
    bare = zlib.compress(zlib.decompress(body))[:-4]
    data = whole[:33] + chunk(b"IDAT", bare) + chunk(b"IEND", b"")
    yield Odd("PNG whose pixels lack their sum", data, rgb, 0, may_refuse=True)
    frames = [Image.fromarray(rgb), Image.new("RGB", SIDES, "red")]
    moving = saved(frames[0], "PNG", save_all=True, append_images=frames[1:])
    yield Odd("PNG that moves", moving, rgb, 0)
    yield Odd("PNG that moves, cut in its second frame", moving[:-40], rgb, 0)


# ---- JPEG ----------------------------------------------------------------------------------------


def segment(marker: int, body: bytes) -> bytes:
    """Return a segment of a JPEG."""
    return struct.pack(">BBH", 0xFF, marker, len(body) + 2) + body


def jpeg_segments(rgb: Pixels) -> Iterator[Odd]:
    """Make JPEG files with odd metadata."""
    plain = saved(rgb, "JPEG", quality=95, subsampling=0)

    def one(name: str, *extra: bytes, may_refuse: bool = False) -> Odd:
        data = plain[:2] + b"".join(extra) + plain[2:]
        return Odd(f"JPEG with {name}", data, rgb, 4, may_refuse)

    noise = bytes(np.random.default_rng(1).integers(0, 256, 3000).astype(np.uint8))
    for number in range(16):
        if number not in (0, 14):
            yield one(f"noise in APP{number}", segment(0xE0 + number, noise))
        yield one(f"an empty APP{number}", segment(0xE0 + number, b""))
    names = (b"Exif\0\0", b"http://ns.adobe.com/xap/1.0/\0", b"ICC_PROFILE\0", b"ICC_PROFILE\0\1\2",
             b"MPF\0", b"FPXR\0", b"Photoshop 3.0\0008BIM")  # fmt: skip
    for name in names:
        shown = name[:8].decode("latin1").rstrip("\0")
        for number in (1, 2, 13):
            yield one(f"{shown} and noise in APP{number}", segment(0xE0 + number, name + noise))
            yield one(f"{shown} alone in APP{number}", segment(0xE0 + number, name))
    yield one("a comment", segment(0xFE, noise))
    yield one("forty comments", *[segment(0xFE, bytes(65000))] * 40)
    yield one("bytes of fill", b"\xff" * 50)
    yield one("rubbish at its begin", bytes(30), may_refuse=True)
    yield one("rubbish before a marker", segment(0xFE, b"k"), bytes(30))
    yield one("a length of zero", b"\xff\xe5\0\0")
    yield one("a marker that nobody uses", segment(0xF3, b"abc"))
    turning = b'<x:xmpmeta><rdf:Description tiff:Orientation="6"/></x:xmpmeta>'
    yield one("XMP that would turn it", segment(0xE1, names[1] + turning))
    thumbnail = saved(np.full((30, 40, 3), 200, np.uint8), "JPEG")
    tiff = b"II*\0\x08\0\0\0\0\0" + struct.pack("<I", 14)
    second = b"\2\0" + struct.pack("<HHIIHHII", 0x201, 4, 1, 44, 0x202, 4, 1, len(thumbnail))
    inside = b"Exif\0\0" + tiff + second + bytes(4)
    yield one("a thumbnail", segment(0xE1, inside + thumbnail))
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()
    yield one("a profile of another space", segment(0xE2, b"ICC_PROFILE\0\1\1" + profile))
    swapped = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    yield one("a profile", segment(0xE2, b"ICC_PROFILE\0\1\1" + swapped))


def jpeg_kinds(rgb: Pixels) -> Iterator[Odd]:
    """Make JPEG files of every kind, whole and cut."""
    for number, name in ((0, "4:4:4"), (1, "4:2:2"), (2, "4:2:0")):
        for progressive in (False, True):
            options = {"quality": 95, "subsampling": number, "progressive": progressive}
            data = saved(rgb, "JPEG", **options)
            kind = f"JPEG {name}{' progressive' if progressive else ''}"
            yield Odd(kind, data, rgb, 6)
            yield Odd(f"{kind} without its end", data[:-2], rgb, 6)
            yield Odd(f"{kind} without its last byte", data[:-1], rgb, 6)
            yield Odd(f"{kind} cut by 3 bytes", data[:-3], rgb, 6, may_refuse=True)
            yield Odd(f"{kind} cut by 6 bytes", data[:-6], rgb, 6, may_refuse=True)
            yield Odd(f"{kind} cut in half", data[: len(data) // 2], rgb, 0, may_refuse=True)
            yield Odd(f"{kind} cut and ended", data[: len(data) // 2] + b"\xff\xd9", rgb, 0,
                      may_refuse=True)  # fmt: skip
            yield Odd(f"{kind} and more", data + b"more" * 999, rgb, 6)
            yield Odd(f"{kind} and another", data + saved(rgb[::-1], "JPEG"), rgb, 6)
    yield Odd("JPEG with restarts", saved(rgb, "JPEG", quality=95, restart_marker_rows=1), rgb, 8)
    yield Odd("JPEG optimized", saved(rgb, "JPEG", quality=95, optimize=True), rgb, 8)
    luma = gray(rgb)
    yield Odd("JPEG gray", saved(luma, "JPEG", quality=95), stacked(luma), 4)
    kept = saved(rgb, "JPEG", quality=95, keep_rgb=True)
    yield Odd("JPEG RGB", kept, rgb, 4)
    at = kept.index(b"Adobe") - 4
    bare = kept[:at] + kept[at + 16 :]
    yield Odd("JPEG RGB that only the names of its parts tell", bare, rgb, 4)
    two = [Image.fromarray(rgb), Image.fromarray(rgb[::-1].copy())]
    yield Odd("MPO", saved(two[0], "MPO", save_all=True, append_images=two[1:], quality=95), rgb, 8)
    yield from _inks(rgb)


def _inks(rgb: Pixels) -> Iterator[Odd]:
    inks = np.dstack([255 - rgb, np.zeros(rgb.shape[:2], np.uint8)])
    made = Image.frombytes("CMYK", rgb.shape[1::-1], inks.tobytes())
    data = saved(made, "JPEG", quality=95)
    yield Odd("JPEG CMYK", data, rgb, 4)
    at = data.index(b"Adobe") - 4
    yield Odd("JPEG CMYK without Adobe's mark", data[:at] + data[at + 16 :], rgb, 4)
    # What YCCK holds: the inks C, M and Y turned into YCbCr, and the inverted K.
    turned = Image.fromarray(255 - rgb).convert("YCbCr")
    planes = np.dstack([np.asarray(turned), np.full(rgb.shape[:2], 255, np.uint8)])
    ycck = saved(Image.frombytes("CMYK", rgb.shape[1::-1], (255 - planes).tobytes()), "JPEG",
                 quality=95)  # fmt: skip
    at = ycck.index(b"Adobe") + 11
    yield Odd("JPEG YCCK", ycck[:at] + b"\2" + ycck[at + 1 :], rgb, 4)


# ---- TIFF ----------------------------------------------------------------------------------------


def tiff(samples: NDArray[Any], **options: Any) -> bytes:
    """Return a TIFF as tifffile writes it."""
    import tifffile

    stream = io.BytesIO()
    tifffile.imwrite(stream, samples, metadata=None, **options)
    return stream.getvalue()


def tiff_tag(data: bytes, code: int, value: int) -> bytes:
    """Change a tag of one short number, in the first folder of tags."""
    order = "<" if data[:2] == b"II" else ">"
    changed = bytearray(data)
    (start,) = struct.unpack_from(f"{order}I", data, 4)
    (count,) = struct.unpack_from(f"{order}H", data, start)
    for at in range(start + 2, start + 2 + 12 * count, 12):
        if struct.unpack_from(f"{order}H", data, at)[0] == code:
            struct.pack_into(f"{order}HIHH", changed, at + 2, 3, 1, value, 0)
            return bytes(changed)
    raise ValueError(f"no tag {code}")


def tiff_kinds(rgb: Pixels) -> Iterator[Odd]:
    """Make TIFF files of every kind of sample, color and layout."""
    luma = gray(rgb)
    for order in ("<", ">"):
        yield from _tiff_gray(luma, order)
        yield from _tiff_rgb(rgb, order)
        yield from _tiff_numbers(luma, order)
    yield from _tiff_bits(luma)
    yield from _tiff_alphas(rgb)
    yield from _tiff_spaces(rgb)
    yield from _tiff_layouts(rgb)


def _tiff_gray(luma: Pixels, order: str) -> Iterator[Odd]:
    ends = {"<": "little", ">": "big"}[order]
    for photometric in ("minisblack", "miniswhite"):
        for bits, dtype in ((8, np.uint8), (16, np.uint16)):
            values = luma.astype(dtype) * (257 if bits == 16 else 1)
            if photometric == "miniswhite":
                values = np.iinfo(dtype).max - values
            options: dict[str, Any] = {"photometric": photometric, "byteorder": order}
            name = f"TIFF gray {bits} bit {photometric} {ends}"
            yield Odd(name, tiff(values, **options), stacked(luma), 0.6, may_refuse=True)
            if bits == 16:
                data = tiff(values, compression="zlib", **options)
                yield Odd(f"{name} deflated", data, stacked(luma), 0.6, may_refuse=True)


def _tiff_rgb(rgb: Pixels, order: str) -> Iterator[Odd]:
    ends = {"<": "little", ">": "big"}[order]
    unit = rgb.astype(np.float32) / 255
    data = tiff(unit, photometric="rgb", byteorder=order)
    yield Odd(f"TIFF RGB float {ends}", data, rgb, 1, may_refuse=True)
    wide = rgb.astype(np.uint16) * 257
    for planar in ("contig", "separate"):
        for samples, bits in ((rgb, 8), (wide, 16)):
            shaped = samples if planar == "contig" else samples.transpose(2, 0, 1)
            for compression in (None, "zlib"):
                data = tiff(
                    np.ascontiguousarray(shaped), photometric="rgb", planarconfig=planar,
                    byteorder=order, compression=compression,
                )  # fmt: skip
                name = f"TIFF RGB {bits} bit {planar} {ends} {compression}"
                yield Odd(name, data, rgb, 1, may_refuse=planar == "separate" and bits == 16)


def _tiff_numbers(luma: Pixels, order: str) -> Iterator[Odd]:
    ends = {"<": "little", ">": "big"}[order]
    for name, values in (
        ("float 0 to 1", luma.astype(np.float32) / 255),
        ("float 0 to 255", luma.astype(np.float32)),
    ):
        data = tiff(values, photometric="minisblack", byteorder=order)
        yield Odd(f"TIFF {name} {ends}", data, stacked(luma), 0.6)
        white = tiff(values.max() - values, photometric="miniswhite", byteorder=order)
        shown = luma.astype(np.float32) - luma.max() + 255  # what is zero is white
        yield Odd(f"TIFF {name} miniswhite {ends}", white, stacked(shown.clip(0, 255)), 0.6,
                  may_refuse=True)  # fmt: skip
    signed = (luma.astype(np.int32) - 128).astype(np.int8)
    for values in (signed, signed.astype(np.int16) * 256, signed.astype(np.int32) << 24):
        data = tiff(values, photometric="minisblack", byteorder=order)
        yield Odd(f"TIFF {values.dtype} {ends}", data, stacked(luma), 1, may_refuse=True)
    for values in (luma.astype(np.uint32) * 257, luma.astype(np.float64) / 255):
        data = tiff(values, photometric="minisblack", byteorder=order)
        yield Odd(f"TIFF {values.dtype} {ends}", data, stacked(luma), 1, may_refuse=True)


def _tiff_bits(luma: Pixels) -> Iterator[Odd]:
    for bits in (1, 2, 4, 6, 10, 12, 14):
        top = (1 << bits) - 1
        values = np.rint(luma / 255 * top).astype(np.uint16)
        shown = stacked(np.rint(values / top * 255))
        spread = (values[..., None] >> np.arange(bits)[::-1]) & 1
        for white in (False, True):
            rows = [np.packbits((spread ^ white)[y].reshape(-1)) for y in range(len(values))]
            strip = b"".join(row.tobytes() for row in rows)
            data = _strip(strip, luma.shape, bits, 0 if white else 1)
            name = f"TIFF gray {bits} bit {'miniswhite' if white else 'minisblack'}"
            yield Odd(name, data, shown, 1, may_refuse=True)
    sixteen = (luma.astype(np.uint16) * 257).astype("<u2").tobytes()
    narrow = np.rint(luma / 255 * 4095).astype(np.uint16)
    yield Odd("TIFF gray 16 bit without a photometric tag",
              _strip(sixteen, luma.shape, 16, None), stacked(luma), 1, may_refuse=True)  # fmt: skip
    yield Odd("TIFF gray 12 bit values in 16, said so",
              _strip(narrow.astype("<u2").tobytes(), luma.shape, 16, 1, top=4095),
              stacked(np.rint(narrow / 257)), 1)  # fmt: skip


def _strip(
    strip: bytes, shape: tuple[int, ...], bits: int, photometric: int | None, top: int | None = None
) -> bytes:
    """Write a TIFF of one strip of gray."""
    tags = [(256, shape[1]), (257, shape[0]), (258, bits), (259, 1)]
    tags += [] if photometric is None else [(262, photometric)]
    tags += [(273, 8), (277, 1), (278, shape[0]), (279, len(strip))]
    tags += [] if top is None else [(281, top)]
    folder = struct.pack("<H", len(tags))
    folder += b"".join(struct.pack("<HHII", code, 4, 1, value) for code, value in tags)
    return struct.pack("<2sHI", b"II", 42, 8 + len(strip)) + strip + folder + bytes(4)


def _tiff_alphas(rgb: Pixels) -> Iterator[Odd]:
    alpha = ramp(rgb.shape)
    luma = gray(rgb)
    for bits, dtype, scale in ((8, np.uint8, 1), (16, np.uint16, 257)):
        for kind in ("unassalpha", "assocalpha", "unspecified"):
            share = alpha[..., None] / 255 if kind == "assocalpha" else 1
            seen = rgb if kind == "unspecified" else over_white(rgb, alpha)
            inside = np.rint(rgb * share).astype(dtype)
            both = np.dstack([inside, alpha]).astype(dtype) * dtype(scale)
            data = tiff(both, photometric="rgb", extrasamples=[kind])
            yield Odd(f"TIFF RGB {kind} {bits} bit", data, seen, 1.5, may_refuse=True)
            packed = tiff(both, photometric="rgb", extrasamples=[kind], compression="zlib")
            yield Odd(f"TIFF RGB {kind} {bits} bit deflated", packed, seen, 1.5, may_refuse=True)
            inside = np.rint(luma * (share[..., 0] if kind == "assocalpha" else 1)).astype(dtype)
            two = np.dstack([inside, alpha]).astype(dtype) * dtype(scale)
            seen = stacked(luma) if kind == "unspecified" else over_white(stacked(luma), alpha)
            data = tiff(two, photometric="minisblack", extrasamples=[kind], planarconfig="contig")
            yield Odd(f"TIFF gray {kind} {bits} bit", data, seen, 1.5, may_refuse=True)


def _tiff_spaces(rgb: Pixels) -> Iterator[Odd]:
    inks = np.dstack([255 - rgb, np.zeros(rgb.shape[:2], np.uint8)])
    for scale, dtype in ((1, np.uint8), (257, np.uint16)):
        for compression in (None, "zlib"):
            made = inks.astype(dtype) * dtype(scale)
            data = tiff(made, photometric="separated", compression=compression)
            yield Odd(f"TIFF CMYK {np.dtype(dtype)} {compression}", data, rgb, 1)
    split = np.ascontiguousarray(inks.transpose(2, 0, 1))
    data = tiff(split, photometric="separated", planarconfig="separate")
    yield Odd("TIFF CMYK separate", data, rgb, 1, may_refuse=True)
    ycc = np.asarray(Image.fromarray(rgb).convert("YCbCr"))
    for compression in (None, "zlib"):
        data = tiff(ycc, photometric="ycbcr", subsampling=(1, 1), compression=compression)
        yield Odd(f"TIFF YCbCr {compression}", data, rgb, 3, may_refuse=True)
    lab = cv2.cvtColor(rgb, cv2.COLOR_RGB2LAB)
    signed = np.asarray(lab) ^ np.array([0, 128, 128], np.uint8)
    for code, values in ((8, signed), (9, np.asarray(lab))):
        data = tiff_tag(tiff(values, photometric="rgb"), 262, code)
        yield Odd(f"TIFF Lab {code}", data, rgb, 5, may_refuse=True)
    luma = gray(rgb)
    table = np.random.default_rng(0).integers(0, 256, (3, 256)).astype(np.uint8)
    shown = table.T[luma]
    data = tiff(luma, photometric="palette", colormap=table.astype(np.uint16) * 257)
    yield Odd("TIFF palette", data, shown, 1)
    data = tiff(luma, photometric="palette", colormap=table.astype(np.uint16))
    yield Odd("TIFF palette of 8-bit colors", data, shown, 1, may_refuse=True)


def _tiff_layouts(rgb: Pixels) -> Iterator[Odd]:
    luma = gray(rgb)
    made = Image.fromarray(rgb)
    for compression in ("raw", "packbits", "tiff_lzw", "tiff_adobe_deflate", "jpeg", "zstd",
                        "lzma", "webp"):  # fmt: skip
        try:
            data = saved(made, "TIFF", compression=compression)
        except (OSError, ValueError, KeyError):
            continue
        yield Odd(f"TIFF {compression}", data, rgb, 8)
        for orientation in range(1, 9):
            view = stored(rgb, orientation)
            data = saved(view, "TIFF", compression=compression, tiffinfo={274: orientation})
            yield Odd(f"TIFF {compression} orientation {orientation}", data, rgb, 8)
    one = Image.fromarray(luma).convert("1")
    shown = stacked(np.where(np.asarray(one), 255, 0))
    for compression in ("group3", "group4", "tiff_ccitt"):
        yield Odd(f"TIFF {compression}", saved(one, "TIFF", compression=compression), shown, 0)
    for predictor in (False, True):
        for tile in (None, (16, 16), (32, 16)):
            data = tiff(rgb, photometric="rgb", compression="zlib", predictor=predictor, tile=tile)
            yield Odd(f"TIFF tiles {tile} predictor {predictor}", data, rgb, 0)
    data = tiff(rgb, photometric="rgb", bigtiff=True)
    yield Odd("BigTIFF", data, rgb, 0)
    data = tiff(rgb, photometric="rgb", rowsperstrip=1)
    yield Odd("TIFF of strips of one row", data, rgb, 0)
    yield Odd("TIFF without its last byte", data[:-1], rgb, 0, may_refuse=True)
    pages = saved(made, "TIFF", save_all=True, append_images=[Image.new("RGB", (9, 9), "red")])
    yield Odd("TIFF of two pages", pages, rgb, 0)


# ---- orientations, alpha and the other containers ------------------------------------------------

_LOSSLESS: dict[str, dict[str, Any]] = {
    "JPEG": {"quality": 95, "subsampling": 0},
    "PNG": {},
    "WebP": {"lossless": True},
    "AVIF": {"quality": 95},
    "HEIF": {"quality": 95},
}


def _styles() -> Iterator[tuple[str, dict[str, Any]]]:
    for style, options in _LOSSLESS.items():
        if style == "AVIF" and not features.check("avif"):
            continue
        if style == "HEIF":
            try:
                import pillow_heif
            except ImportError:
                continue
            pillow_heif.register_heif_opener()
        yield style, options


def orientations(rgb: Pixels) -> Iterator[Odd]:
    """Make files of every orientation in every container."""
    for style, options in _styles():
        for number in range(9):
            view = stored(rgb, number) if number else rgb
            data = saved(view, style, exif=exif(number), **options)
            yield Odd(f"{style} orientation {number}", data, rgb, 8)
    for number in (3, 6):
        view = stored(rgb, number)
        tags = exif(number)[6:]
        at = 33
        whole = saved(view, "PNG")
        late = whole[:-12] + chunk(b"eXIf", tags) + whole[-12:]
        yield Odd(f"PNG orientation {number} behind the pixels", late, rgb, 0)
        text = b"\nexif\n%8d\n" % (len(tags) + 6) + (b"Exif\0\0" + tags).hex().encode() + b"\n"
        raw = chunk(b"tEXt", b"Raw profile type exif\0" + text)
        yield Odd(f"PNG orientation {number} as ImageMagick writes it",
                  whole[:at] + raw + whole[at:], rgb, 0)  # fmt: skip
        packed = chunk(b"zTXt", b"Raw profile type APP1\0\0" + zlib.compress(text))
        yield Odd(f"PNG orientation {number} as ImageMagick writes it, packed",
                  whole[:at] + packed + whole[at:], rgb, 0)  # fmt: skip
        broken = chunk(b"eXIf", tags, sound=False)
        yield Odd(f"PNG orientation {number} with a wrong checksum",
                  whole[:at] + broken + whole[at:], view, 0)  # fmt: skip
        big = struct.pack(">2sHIHHHIHHI", b"MM", 42, 8, 1, 0x112, 3, 1, number, 0, 0)
        data = saved(view, "JPEG", **_LOSSLESS["JPEG"])
        turned = data[:2] + segment(0xE1, b"Exif\0\0" + big) + data[2:]
        yield Odd(f"JPEG orientation {number} big-endian", turned, rgb, 8)
        twice = segment(0xE1, b"Exif\0\0" + big) + segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0")
        yield Odd(f"JPEG orientation {number} and XMP", data[:2] + twice + data[2:], rgb, 8)
        cut = segment(0xE1, b"Exif\0\0" + big[:-2])
        yield Odd(f"JPEG orientation {number}, EXIF cut", data[:2] + cut + data[2:], rgb, 8)


def metadata(rgb: Pixels) -> Iterator[Odd]:
    """Make files with broken metadata in every container."""
    noise = bytes(np.random.default_rng(2).integers(0, 256, 3000).astype(np.uint8))
    packet = b'<x:xmpmeta><rdf:Description tiff:Orientation="6"/></x:xmpmeta>'
    for style, options in _styles():
        for name, body in (("noise", noise), ("a header and noise", b"II*\0\x08\0\0\0" + noise),
                           ("nothing", b"Exif\0\0")):  # fmt: skip
            try:
                with warnings.catch_warnings(action="ignore"):
                    data = saved(rgb, style, exif=b"Exif\0\0" + body, **options)
            except (SyntaxError, ValueError, OSError):
                continue
            yield Odd(f"{style} with EXIF of {name}", data, rgb, 8)
        if style == "AVIF":
            empty = Image.Exif()
            empty[0x010E] = "x" * 400
            data = bytearray(saved(rgb, style, exif=empty.tobytes(), **options))
            at = data.index(b"x" * 100) - 60
            data[at : at + 60] = noise[:60]
            yield Odd(f"{style} with EXIF damaged", bytes(data), rgb, 8, may_refuse=True)
        if style != "HEIF":  # its writer turns the picture by it
            data = saved(rgb, style, xmp=packet, **options)
            yield Odd(f"{style} with XMP that would turn it", data, rgb, 8)
        yield Odd(f"{style} with a profile of noise",
                  saved(rgb, style, icc_profile=noise, **options), rgb, 8)  # fmt: skip
    turning = saved(rgb, "TIFF", tiffinfo={700: packet})
    yield Odd("TIFF with XMP that would turn it", turning, rgb, 0)
    yield Odd("TIFF with a profile of noise", saved(rgb, "TIFF", icc_profile=noise), rgb, 0)


def others(rgb: Pixels) -> Iterator[Odd]:
    """Make WebP, GIF, AVIF and BMP files."""
    luma, alpha = gray(rgb), ramp(rgb.shape)
    made = Image.fromarray(rgb)
    both = np.dstack([rgb, alpha])
    yield Odd("WebP", saved(rgb, "WebP", quality=95), rgb, 8)
    yield Odd("WebP with alpha", saved(both, "WebP", lossless=True, exact=True),
              over_white(rgb, alpha), 1)  # fmt: skip
    frames = [made, Image.new("RGB", SIDES, "red")]
    moving = saved(made, "WebP", save_all=True, append_images=frames[1:], lossless=True)
    yield Odd("WebP that moves", moving, rgb, 1)
    for extra in (b"XMP ", b"EXIF", b"ICCP"):
        option = {b"XMP ": "xmp", b"EXIF": "exif", b"ICCP": "icc_profile"}[extra]
        for size in (10, 3 << 20):
            data = saved(rgb, "WebP", lossless=True, **{option: b"\xfe" * size})
            yield Odd(f"WebP with {extra.decode().strip()} of {size} bytes", data, rgb, 1)
    whole = saved(rgb, "WebP", lossless=True)
    for cut in (1, 2, 4):
        yield Odd(f"WebP cut by {cut}", whole[:-cut], rgb, 1, may_refuse=True)
    yield Odd("WebP and more", whole + b"more" * 99, rgb, 1)
    table = made.quantize(64)
    shown = np.asarray(table.convert("RGB"))
    yield Odd("GIF", saved(table, "GIF"), shown, 0)
    yield Odd("GIF interlaced", saved(table, "GIF", interlace=1), shown, 0)
    whole = saved(table, "GIF", comment=b"x" * 5000)
    yield Odd("GIF with a comment", whole, shown, 0)
    yield Odd("GIF without its end", whole[:-1], shown, 0)
    yield Odd("GIF without its last two bytes", whole[:-2], shown, 0)
    moving = saved(table, "GIF", save_all=True, append_images=[frames[1].quantize(2)])
    yield Odd("GIF that moves", moving, shown, 0)
    clear = saved(table, "GIF", transparency=5, optimize=False)
    holes = shown.copy()
    holes[np.asarray(table) == 5] = 255
    yield Odd("GIF with holes", clear, holes, 0)
    if features.check("avif"):
        yield Odd("AVIF", saved(rgb, "AVIF", quality=95), rgb, 6)
        yield Odd("AVIF with alpha", saved(both, "AVIF", quality=95), over_white(rgb, alpha), 6)
        yield Odd("AVIF gray", saved(luma, "AVIF", quality=95), stacked(luma), 6)
    yield from _bitmaps(rgb)


def _bitmaps(rgb: Pixels) -> Iterator[Odd]:
    height, width = rgb.shape[:2]
    made = Image.fromarray(rgb)
    yield Odd("BMP", saved(rgb, "BMP"), rgb, 0)
    yield Odd("BMP gray", saved(gray(rgb), "BMP"), stacked(gray(rgb)), 0)
    table = made.quantize(100)
    yield Odd("BMP palette", saved(table, "BMP"), np.asarray(table.convert("RGB")), 0)
    one = made.convert("1")
    yield Odd("BMP 1 bit", saved(one, "BMP"), np.asarray(one.convert("RGB")), 0)
    bgr = rgb[..., ::-1]
    for masks, bits in (((0x7C00, 0x3E0, 0x1F), 16), ((0xF800, 0x7E0, 0x1F), 16),
                        ((0xFF0000, 0xFF00, 0xFF), 32), ((0xFF, 0xFF00, 0xFF0000), 32),
                        ((0xFF000000, 0xFF0000, 0xFF00), 32)):  # fmt: skip
        value = np.zeros((height, width), np.uint64)
        shown = np.zeros_like(rgb)
        for channel, mask in enumerate(masks):
            low = (mask & -mask).bit_length() - 1
            top = mask >> low
            level = np.rint(rgb[..., channel] / 255 * top).astype(np.uint64)
            value |= level << np.uint64(low)
            shown[..., channel] = np.rint(level / top * 255)
        rows = [row.astype(f"<u{bits // 8}").tobytes() for row in value[::-1]]
        body = b"".join(row + bytes(-len(row) % 4) for row in rows)
        head = struct.pack("<IiiHHIIiiII", 40, width, height, 1, bits, 3, len(body), 0, 0, 0, 0)
        head += struct.pack("<III", *masks)
        data = struct.pack("<2sIHHI", b"BM", 14 + len(head) + len(body), 0, 0, 14 + len(head))
        name = f"BMP {bits} bit masks {masks[0]:x}"
        yield Odd(name, data + head + body, shown, 4, may_refuse=True)
    rows = [row.tobytes() for row in bgr]
    body = b"".join(row + bytes(-len(row) % 4) for row in rows)
    head = struct.pack("<IiiHHIIiiII", 40, width, -height, 1, 24, 0, len(body), 0, 0, 0, 0)
    data = struct.pack("<2sIHHI", b"BM", 14 + 40 + len(body), 0, 0, 54) + head
    yield Odd("BMP from the top", data + body, rgb, 0)
    yield Odd("BMP without its last byte", data + body[:-2], rgb, 1, may_refuse=True)
    four = np.dstack([bgr, np.zeros(rgb.shape[:2], np.uint8)])
    head = struct.pack("<IiiHHIIiiII", 40, width, -height, 1, 32, 0, four.size, 0, 0, 0, 0)
    data = struct.pack("<2sIHHI", b"BM", 54 + four.size, 0, 0, 54) + head + four.tobytes()
    yield Odd("BMP 32 bit whose fourth byte is empty", data, rgb, 0)
    head = struct.pack("<IHHHH", 12, width, height, 1, 24)
    up = b"".join(row + bytes(-len(row) % 4) for row in rows[::-1])
    data = struct.pack("<2sIHHI", b"BM", 26 + len(up), 0, 0, 26) + head + up
    yield Odd("BMP of OS/2", data, rgb, 0)


FAMILIES: tuple[Callable[[Pixels], Iterator[Odd]], ...] = (
    png_depths, png_metadata, png_ends, jpeg_segments, jpeg_kinds, tiff_kinds, orientations,
    metadata, others,
)  # fmt: skip


def odd_files() -> Iterator[Odd]:
    """Make every file."""
    rgb = picture()
    for family in FAMILIES:
        yield from family(rgb)


def far(one: Pixels, other: Pixels) -> float:
    """Return the mean distance in gray levels, leaving out what a cut file may lack."""
    if one.shape != other.shape:
        return float("inf")
    apart = np.abs(one.astype(float) - other.astype(float)).mean(axis=2)
    most = np.sort(apart.ravel())[: round(apart.size * (1 - _MOST_LOST))]
    return float(most.mean())


def verdict(odd: Odd) -> tuple[str, str]:
    """Say how the loader does with a file: ``same``, ``refused``, ``lost`` or ``wrong``, and why.

    ``lost`` is a file that must be read and is not.
    """
    try:
        shown = load_image(odd.data)
    except ImageError as error:
        return ("refused" if odd.may_refuse else "lost"), str(error)
    apart = far(shown, odd.truth)
    return ("same" if apart <= odd.tolerance else "wrong"), f"{apart:.2f} from what it shows"


def opencv(odd: Odd) -> str:
    """Say what OpenCV makes of a file."""
    shown = cv2.imdecode(np.frombuffer(odd.data, np.uint8), cv2.IMREAD_COLOR)
    if shown is None:
        return "refused"
    return "same" if far(np.asarray(shown)[..., ::-1], odd.truth) <= odd.tolerance else "other"


def large() -> None:
    """Print how much memory `facekeep cluster` takes for eight pictures of 100 million pixels."""
    blank = Image.new("RGB", (10_000, 9_990))
    for style in ("PNG", "JPEG", "GIF", "WebP"):
        data = saved(blank.convert("P") if style == "GIF" else blank, style)
        with tempfile.TemporaryDirectory() as folder:
            for number in range(8):
                (Path(folder) / f"{number}.{style.lower()}").write_bytes(data)
            command = [sys.executable, "-m", "facekeep", "cluster", folder, "--no-cache"]
            script = (
                "import resource, subprocess, sys; subprocess.run(sys.argv[1:], check=False,"
                "stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL);"
                "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)"
            )
            done = subprocess.run(
                [sys.executable, "-c", script, *command], check=True, capture_output=True, text=True
            )
        print(f"{style:5} of {len(data):8} bytes each: {int(done.stdout) // 1024} MB at most")


def main() -> None:
    """Compare, and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--all", action="store_true", help="a line for every file")
    parser.add_argument("--large", action="store_true", help="measure the memory of large ones")
    parser.add_argument("--out", type=Path, help="write the files here")
    args = parser.parse_args()
    if args.large:
        large()
        return
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    counts: Counter[tuple[str, str]] = Counter()
    for number, odd in enumerate(odd_files()):
        ours, why = verdict(odd)
        theirs = opencv(odd)
        counts[ours, theirs] += 1
        if args.all or ours in ("lost", "wrong") or (ours, theirs) == ("refused", "same"):
            print(f"{ours:8} OpenCV: {theirs:8} {odd.name}: {why}")
        if args.out:
            args.out.mkdir(parents=True, exist_ok=True)
            (args.out / f"{number:03}").write_bytes(odd.data)
    for (ours, theirs), count in sorted(counts.items()):
        print(f"{count:4} files: the loader {ours}, OpenCV {theirs}")


if __name__ == "__main__":
    main()
