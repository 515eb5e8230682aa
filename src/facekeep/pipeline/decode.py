"""From the bytes of a picture file to RGB pixels: the one place that trusts Pillow with them.

The bytes may be hostile. So: one decoder, chosen by signature; size limits before any pixel is
decoded; no state of the process is changed; whatever a decoder raises becomes an `ImageError`.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import re
import struct
import threading
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from facekeep._internal.files import printable
from facekeep._internal.libraries import broken_library
from facekeep._internal.memory import MemoryBudget
from facekeep.errors import FacekeepError, ImageError
from facekeep.pipeline.containers import Jpeg, Png, orientation_of, read_jpeg, read_png

if TYPE_CHECKING:
    from PIL import Image

__all__ = ["Reduced", "Stream", "convert_pillow_image", "count_stream_pixels", "decode"]

Stream = io.BufferedReader | io.BytesIO

_READABLE = "JPEG, PNG, WebP, BMP, TIFF, GIF, HEIC or AVIF"
_SIGNATURES = (
    (b"\xff\xd8\xff", "JPEG"),
    (b"\x89PNG\r\n\x1a\n", "PNG"),
    (b"GIF87a", "GIF"),
    (b"GIF89a", "GIF"),
    (b"BM", "BMP"),
    (b"II*\0", "TIFF"),
    (b"MM\0*", "TIFF"),
    (b"II+\0", "TIFF"),
    (b"MM\0+", "TIFF"),
)
_HEIF_BRANDS = frozenset(
    b"heic heix hevc hevx heim heis hevm hevs mif1 mif2 msf1 avif avis".split()
)
_DECODERS = {
    "JPEG": ("PIL.JpegImagePlugin", "JpegImageFile"),
    "PNG": ("PIL.PngImagePlugin", "PngImageFile"),
    "GIF": ("PIL.GifImagePlugin", "GifImageFile"),
    "BMP": ("PIL.BmpImagePlugin", "BmpImageFile"),
    "TIFF": ("PIL.TiffImagePlugin", "TiffImageFile"),
    "WebP": ("PIL.WebPImagePlugin", "WebPImageFile"),
    "AVIF": ("PIL.AvifImagePlugin", "AvifImageFile"),
    "HEIC": ("pillow_heif", "HeifImageFile"),
}
_EXTRAS = {
    "AVIF": "pip install 'pillow>=11.3'",
    "HEIC": "pip install facekeep[heic]",
}
_MAX_JPEG_SCANS = 100  # cameras and encoders write about ten; each one walks over every block
_MOST_LOST = 0.01  # of the pixels of a JPEG cut short, which viewers show without a word
_BYTES = {"1": 1, "L": 1, "P": 1, "I;16": 2, "I;16B": 2, "I;16L": 2}  # of a pixel; others have 4
_HUGE = 50_000_000  # pixels: no usual camera gives more
_BAND = 1 << 18  # pixels that are turned into RGB at once, so that memory stays near one picture
_budget = MemoryBudget()


@dataclass(slots=True)
class _Opened:
    """A picture whose header was read, and what only its container knows.

    Attributes:
        picture: The picture.
        orientation: The EXIF orientation that is still to be undone.
        inverted: Whether zero is white.
        white: The value that is white, of gray with more than 8 bits; None where its kind says it.
        clear: The value of 16-bit gray that is transparent.
        jpeg: The JPEG file.
        png: The PNG file.
    """

    picture: Image.Image
    orientation: int = 1
    inverted: bool = False
    white: float | None = None
    clear: int | None = None
    jpeg: Jpeg | None = None
    png: Png | None = None


class Reduced(np.ndarray[Any, np.dtype[np.uint8]]):
    """A picture at a fraction of its size.

    Attributes:
        factor: How many of its own pixels one pixel stands for, along each side.
    """

    factor: int = 1


def decode(
    stream: Stream, name: str, max_pixels: int, *, reduce: bool = False
) -> NDArray[np.uint8]:
    """Decode a picture to uint8 ``(H, W, 3)`` RGB, upright; ``name`` stands in the errors.

    Args:
        stream: Its bytes.
        name: What errors call it.
        max_pixels: The most that it may have.
        reduce: Whether a huge JPEG may come out `Reduced`.

    Raises:
        ImageError: It is no picture, too large, cut short, damaged or of an unknown kind.
    """
    try:
        with _quiet_pillow():
            opened = _open_picture(stream, name)
            with opened.picture as picture:
                _check_pixels(picture.size, name, max_pixels)
                factor = _choose_factor(picture) if reduce else 1
                with _budget.taken(_estimate_bytes(picture)):
                    picture.load()
                    pixels = _convert_pixels(opened)
            if opened.jpeg is not None:
                _check_whole(opened.jpeg, pixels, opened.orientation)
            if opened.png is not None:
                _check_rows(opened.png, pixels, opened.orientation)
            if factor == 1:
                return pixels
            smaller = pixels.view(Reduced)
            smaller.factor = factor
            return smaller
    except FacekeepError:
        raise
    except Exception as error:  # what decoders raise on hostile bytes has no common type
        if broken_library(error) is not None:  # that is not the picture's fault
            raise
        raise ImageError(f"{name}: {_explain(error)}") from error


def convert_pillow_image(picture: Image.Image, max_pixels: int) -> NDArray[np.uint8]:
    """Turn a Pillow image into uint8 ``(H, W, 3)`` RGB, upright, as `decode` does its file.

    Args:
        picture: The image; it is not changed.
        max_pixels: The most that it may have.

    Raises:
        ImageError: It is too large, or its file is cut short or damaged.
    """
    name = "the Pillow image"
    try:
        with _quiet_pillow():
            _check_pixels(picture.size, name, max_pixels)
            with _budget.taken(_estimate_bytes(picture)):
                picture.load()
                exif = picture.info.get("exif")
                turned = orientation_of(exif) if isinstance(exif, bytes) else 1
                return _convert_pixels(_Opened(picture, turned))
    except FacekeepError:
        raise
    except Exception as error:  # as in `decode`: it may still have to read its file
        if broken_library(error) is not None:
            raise
        raise ImageError(f"{name}: {_explain(error)}") from error


def _choose_factor(picture: Image.Image) -> int:
    """Let a huge JPEG be decoded at half its size or less; return by how much.

    What is left has more pixels than the detector looks at, and than an aligned face takes.
    """
    factor = 1
    while picture.size[0] * picture.size[1] > _HUGE * factor**2 and factor < 8:
        factor *= 2
    if factor == 1 or picture.format != "JPEG":
        return 1
    width, height = picture.size
    picture.draft(None, (width // factor, height // factor))
    return factor


def count_stream_pixels(stream: Stream, name: str) -> int:
    """Return how many pixels a picture has, from its header.

    Raises:
        ImageError: As `decode`.
    """
    try:
        with _quiet_pillow(), _open_picture(stream, name).picture as picture:
            return picture.size[0] * picture.size[1]
    except FacekeepError:
        raise
    except Exception as error:
        raise ImageError(f"{name}: {_explain(error)}") from error


def _estimate_bytes(picture: Image.Image) -> int:
    """Return how many bytes decoding takes at most, with the pixels that come of it."""
    known = {"WEBP": 16, "AVIF": 11, "HEIF": 12}.get(picture.format or "")
    each = known or _BYTES.get(picture.mode, 4) + 3
    if picture.info.get("progressive"):
        each += 6
    return picture.size[0] * picture.size[1] * each


def _open_picture(stream: Stream, name: str) -> _Opened:
    """Parse a picture's header with the one decoder its signature calls for.

    `PIL.Image.open` would try every format it knows (among them EPS, which runs a program) and hold
    the size against a limit that is global to the process.
    """
    head = stream.read(64)
    stream.seek(0)
    if not head:
        raise ImageError(f"{name}: is empty (0 bytes); copy or download it again")
    style = _sniff(head)
    if style is None:
        raise ImageError(f"{name}: is not a picture facekeep can read; give it {_READABLE}")
    module, decoder = _DECODERS[style]
    try:
        opener = getattr(importlib.import_module(module), decoder)
    except (ImportError, AttributeError) as error:
        if style not in _EXTRAS:
            raise
        raise ImageError(f"{name}: is {style}, which needs: {_EXTRAS[style]}") from error
    if style == "JPEG":
        return _open_jpeg(stream, name, opener)
    if style == "PNG":
        return _open_png(stream, opener)
    if style == "TIFF":
        return _open_tiff(stream, opener)
    picture = opener(stream)
    exif = picture.info.get("exif")
    return _Opened(picture, orientation_of(exif) if isinstance(exif, bytes) else 1)


def _sniff(head: bytes) -> str | None:
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "WebP"
    if head[4:8] == b"ftyp":
        brands = {head[8:12], *(head[at : at + 4] for at in range(16, len(head), 4))}
        if not brands & _HEIF_BRANDS:
            return None
        return "AVIF" if brands & {b"avif", b"avis"} else "HEIC"
    return next((style for magic, style in _SIGNATURES if head.startswith(magic)), None)


def _open_jpeg(stream: Stream, name: str, opener: Any) -> _Opened:
    """Open a JPEG; refuse one whose many tiny scans would keep the decoder busy for hours."""
    jpeg = read_jpeg(stream.read())
    if jpeg.scans > _MAX_JPEG_SCANS:
        raise ImageError(f"{name}: has {jpeg.scans} JPEG scans, as no camera writes; save it again")
    if jpeg.scans and not jpeg.whole:
        raise EOFError
    picture = opener(io.BytesIO(jpeg.data))
    return _Opened(picture, orientation_of(jpeg.exif), jpeg=jpeg)


def _check_whole(jpeg: Jpeg, pixels: NDArray[np.uint8], orientation: int) -> None:
    """Refuse a JPEG of which more than a sliver is missing; decoders fill that in one color.

    Raises:
        EOFError: Too much is missing.
    """
    last = stored_view(pixels, orientation)[-1]
    if jpeg.ended and (last != last[0]).any():
        return
    from PIL.JpegImagePlugin import JpegImageFile

    decoded = []
    for data in (jpeg.data, jpeg.with_noise()):
        with JpegImageFile(io.BytesIO(data)) as picture:
            picture.draft(None, (1, 1))  # an eighth of the size: enough, and quick
            decoded.append(np.asarray(picture))
    changed = decoded[0] != decoded[1]
    if changed.reshape(*changed.shape[:2], -1).any(axis=2).mean() > _MOST_LOST:
        raise EOFError


def _check_rows(png: Png, pixels: NDArray[np.uint8], orientation: int) -> None:
    """Refuse a PNG whose compressed data end early; Pillow leaves the missing rows at zero.

    Raises:
        EOFError: Rows are missing.
    """
    last = stored_view(pixels, orientation)[-1]
    if (png.interlaced or (last == last[0]).all()) and not png.whole():
        raise EOFError


def _open_png(stream: Stream, opener: Any) -> _Opened:
    """Open a PNG by what makes its picture alone."""
    png = read_png(stream.read())
    opened = _Opened(opener(io.BytesIO(png.data)), orientation_of(png.exif), png=png)
    clear: bytes | int | tuple[int, ...] = png.clear
    if png.clear and png.kind != 3:
        clear = struct.unpack(f">{len(png.clear) // 2}H", png.clear[: len(png.clear) // 2 * 2])
        if len(clear) != {0: 1, 2: 3}.get(png.kind):
            return opened
        if png.kind == 0:
            clear = clear[0]
    if png.depth == 16:  # of colors Pillow keeps the high bytes, which do not tell one from others
        opened.clear = clear if isinstance(clear, int) else None
    elif png.clear:
        scaled = isinstance(clear, int) and png.depth in (2, 4)
        opened.picture.info["transparency"] = (
            clear * (255 // ((1 << png.depth) - 1)) if scaled else clear
        )
    return opened


# Tags, by what they tell (TIFF 6.0).
_BITS, _PACKING, _PHOTOMETRIC, _COUNT, _PLANES, _COLORS, _SAMPLES = (
    258,
    259,
    262,
    277,
    284,
    320,
    339,
)
_FAX = (2, 3, 4)


def _open_tiff(stream: Stream, opener: Any) -> _Opened:
    """Open a TIFF, and tell Pillow what it does not know of 16-bit samples."""

    class Tiff(opener):  # type: ignore[misc]
        inverted = False

        def _setup(self) -> None:
            tags = self.tag_v2
            if _PHOTOMETRIC not in tags:  # then libtiff takes zero for black, but for faxes
                tags[_PHOTOMETRIC] = 2 if tags.get(_COUNT) == 3 else tags.get(_PACKING) not in _FAX
            deep = tags.get(_BITS, (1,)) == (16,) or tags.get(_SAMPLES) == (3,)
            if deep and tags[_PHOTOMETRIC] == 0:
                self.inverted, tags[_PHOTOMETRIC] = True, 1
            super()._setup()

    picture = Tiff(stream)
    picture.info.pop("xmp", None)  # it may name an orientation, which only EXIF is asked for
    tags = picture.tag_v2
    bits = tags.get(_BITS, (1,))
    if 2 in tags.get(_SAMPLES, ()) and bits[0] < 32:
        raise ValueError("its samples are signed numbers, of which none is known to be white")
    if tags.get(_PLANES) == 2 and set(bits) == {16}:
        order = "L" if tags.prefix == b"II" else "B"
        picture.tile = [
            each._replace(args=(f"{each.args[0]};16{order}", *each.args[1:]))
            if each.codec_name == "raw"
            else each
            for each in picture.tile
        ]
    if picture.palette and max(tags[_COLORS]) < 256:  # as old programs write them
        from PIL import ImagePalette

        picture.palette = ImagePalette.raw("RGB;L", bytes(tags[_COLORS]))
    white = 4095.0 if bits == (12,) else None
    return _Opened(picture, inverted=picture.inverted, white=white)


def _check_pixels(size: tuple[int, int], name: str, limit: int) -> None:
    width, height = size
    if width * height > limit:
        raise ImageError(
            f"{name}: {width} x {height} = {width * height} pixels is over the limit of {limit}; "
            "if you trust it, raise max_pixels or scale it down",
            "max_pixels",
        )


def _convert_pixels(opened: _Opened) -> NDArray[np.uint8]:
    """Turn a decoded picture into RGB, upright, band by band."""
    picture = opened.picture
    width, height = picture.size
    turned = opened.orientation > 4
    pixels = np.empty((width, height, 3) if turned else (height, width, 3), np.uint8)
    # Whole pixels turn faster than their three numbers one by one.
    view = stored_view(pixels.view("V3")[..., 0] if turned else pixels, opened.orientation)
    if picture.mode.startswith(("I", "F")) and opened.white is None:
        opened.white = _find_white(picture)
    rows = max(1, _BAND // width)
    for top in range(0, height, rows):
        bottom = min(top + rows, height)
        band = _to_rgb(picture if rows >= height else picture.crop((0, top, width, bottom)), opened)
        view[top:bottom] = band.view("V3")[..., 0] if turned else band
    return pixels


def stored_view(upright: NDArray[Any], orientation: int) -> NDArray[Any]:
    """View an upright picture as it is stored under an EXIF orientation (EXIF 3.0, tag 0x0112)."""
    down = -1 if orientation in (3, 4, 7, 8) else 1
    across = -1 if orientation in (2, 3, 6, 7) else 1
    turned = upright[::down, ::across]
    return turned.swapaxes(0, 1) if orientation > 4 else turned


def _to_rgb(picture: Image.Image, opened: _Opened) -> NDArray[np.uint8]:
    if picture.mode.startswith(("I", "F")):
        return _scale_to_8_bits(np.asarray(picture), opened)
    if picture.mode == "La":
        picture = picture.convert("LA")
    if not picture.has_transparency_data:
        return np.asarray(picture if picture.mode == "RGB" else picture.convert("RGB"))
    from PIL import Image

    pixels = picture.convert("RGBA")
    white = Image.new("RGB", pixels.size, "white")
    white.paste(pixels, mask=pixels.getchannel("A"))
    return np.asarray(white)


def _find_white(picture: Image.Image) -> float:
    """Return the value that is white, of gray of 16 or 32 bits."""
    if picture.mode.startswith("I;16"):
        return 65535.0
    least, most = (float(each) for each in picture.getextrema())  # type: ignore[arg-type]
    if not (np.isfinite(least) and np.isfinite(most)):
        raise ValueError("it holds NaN or infinite values")
    if picture.mode == "F":
        return 1.0 if most <= 1.0 else 255.0
    if least < 0 or most > 65535:
        raise ValueError("its values are not those of 16 bits")
    return 65535.0


def _scale_to_8_bits(values: NDArray[Any], opened: _Opened) -> NDArray[np.uint8]:
    """Scale 16-bit, 32-bit or float gray to 8 bits."""
    share = values.astype(np.float32)
    if not np.isfinite(share).all():
        raise ValueError("it holds NaN or infinite values")
    share = np.clip(share / np.float32(opened.white), 0, 1)
    if opened.inverted:
        share = 1 - share
    gray = np.rint(share * 255).astype(np.uint8)
    if opened.clear is not None:
        gray[values == opened.clear] = 255
    return np.repeat(gray[..., None], 3, axis=2)


def _explain(error: Exception) -> str:
    detail = printable(str(error) or type(error).__name__)
    if isinstance(error, MemoryError):
        more = f" ({detail})" if str(error) else ""
        return f"there is not enough memory to decode it{more}; scale it down"
    if isinstance(error, EOFError) or "truncated" in detail.lower():
        return "is cut short; copy or download it again"
    return f"is damaged or of an unusual kind ({detail}); save it again as JPEG or PNG"


_quiet_lock = threading.Lock()
_quiet_threads = 0


@contextlib.contextmanager
def _quiet_pillow() -> Iterator[None]:
    """Silence Pillow's remarks on odd metadata while any thread decodes.

    `warnings.catch_warnings` saves and restores the whole filter list, which threads that overlap
    undo for each other; this adds one filter, for Pillow alone, and takes that one away.
    """
    global _quiet_threads  # noqa: PLW0603 - the filters are the process's, so is the count
    with _quiet_lock:
        _quiet_threads += 1
        warnings.filterwarnings("ignore", module=r"PIL\.")
    try:
        yield
    finally:
        with _quiet_lock:
            _quiet_threads -= 1
            if _quiet_threads == 0:
                _remove_filter()


def _remove_filter() -> None:
    ours = ("ignore", None, Warning, re.compile(r"PIL\."), 0)
    with contextlib.suppress(ValueError):  # somebody else's catch_warnings already dropped it
        warnings.filters.remove(ours)  # type: ignore[attr-defined]
