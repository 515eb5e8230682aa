"""From the bytes of a picture file to RGB pixels: the one place that trusts Pillow with them.

The bytes may be hostile. So: one decoder, chosen by signature; size limits before any pixel is
decoded; no state of the process is changed; whatever a decoder raises becomes an `ImageError`.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import re
import threading
import warnings
from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from facekeep._files import printable
from facekeep._libraries import broken_library
from facekeep.errors import FacekeepError, ImageError

if TYPE_CHECKING:
    from PIL import Image, ImageFile

__all__ = ["Stream", "decode"]

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
_JPEG_MARKER = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")  # none of these stands inside scan data


def decode(stream: Stream, name: str, max_pixels: int) -> NDArray[np.uint8]:
    """Decode a picture to uint8 ``(H, W, 3)`` RGB, upright; ``name`` stands in the errors.

    Raises:
        ImageError: It is no picture, too large, cut short, damaged or of an unknown kind.
    """
    try:
        with _quiet_pillow(), _open_picture(stream, name) as picture:
            _check_pixels(picture.size, name, max_pixels)
            picture.load()
            return np.array(_upright(_rgb(picture), _orientation(picture)))
    except FacekeepError:
        raise
    except Exception as error:  # what decoders raise on hostile bytes has no common type
        if broken_library(error) is not None:  # that is not the picture's fault
            raise
        raise ImageError(f"{name}: {_complaint(error)}") from error


def _open_picture(stream: Stream, name: str) -> ImageFile.ImageFile:
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
    if style == "JPEG":
        _check_scans(stream, name)
    module, decoder = _DECODERS[style]
    try:
        opener = getattr(importlib.import_module(module), decoder)
    except (ImportError, AttributeError) as error:
        if style not in _EXTRAS:
            raise
        raise ImageError(f"{name}: is {style}, which needs: {_EXTRAS[style]}") from error
    picture: ImageFile.ImageFile = opener(stream)
    return picture


def _sniff(head: bytes) -> str | None:
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "WebP"
    if head[4:8] == b"ftyp":
        brands = {head[8:12], *(head[at : at + 4] for at in range(16, len(head), 4))}
        if not brands & _HEIF_BRANDS:
            return None
        return "AVIF" if brands & {b"avif", b"avis"} else "HEIC"
    return next((style for magic, style in _SIGNATURES if head.startswith(magic)), None)


def _check_scans(stream: Stream, name: str) -> None:
    """Refuse a JPEG whose many tiny scans would keep the decoder busy for hours."""
    scans = _count_scans(stream.read())
    stream.seek(0)
    if scans > _MAX_JPEG_SCANS:
        raise ImageError(f"{name}: has {scans} JPEG scans, as no camera writes; save it again")


def _count_scans(data: bytes) -> int:
    """Count the scans of a JPEG, from marker to marker up to its end (ITU-T T.81, annex B)."""
    scans, at = 0, 2
    while found := _JPEG_MARKER.search(data, at):
        at, marker = found.end(), data[found.end() - 1]
        if marker == 0xD9:  # end of image; what follows is a video or a second picture
            break
        if marker != 0x01:  # all others carry their length
            at += max(2, int.from_bytes(data[at : at + 2]))
        scans += marker == 0xDA
    return scans


def _check_pixels(size: tuple[int, int], name: str, limit: int) -> None:
    width, height = size
    if width * height > limit:
        raise ImageError(
            f"{name}: {width} x {height} = {width * height} pixels is over the limit of {limit}; "
            "if you trust it, raise max_pixels (--max-pixels) or scale it down"
        )


def _rgb(picture: Image.Image) -> Image.Image:
    if picture.mode.startswith(("I", "F")):
        return _grey(picture).convert("RGB")
    if not picture.has_transparency_data:
        return picture if picture.mode == "RGB" else picture.convert("RGB")
    from PIL import Image

    pixels = picture.convert("RGBA")
    white = Image.new("RGB", pixels.size, "white")
    white.paste(pixels, mask=pixels.getchannel("A"))
    return white


def _grey(picture: Image.Image) -> Image.Image:
    """Scale 16-bit, 32-bit or float grey to 8 bits."""
    from PIL import Image

    values = np.asarray(picture, dtype=np.float32)
    if not np.isfinite(values).all():
        raise ValueError("it holds NaN or infinite values")
    white = 65535.0
    if picture.mode == "F":
        white = 1.0 if values.max() <= 1.0 else 255.0
    return Image.fromarray(np.rint(np.clip(values / white, 0, 1) * 255).astype(np.uint8))


def _orientation(picture: Image.Image) -> int:
    """Read the EXIF orientation, 1 to 8; damaged metadata never costs the picture."""
    try:
        value = picture.getexif().get(0x0112, 1)
    except Exception:  # noqa: BLE001 - as many kinds as there are ways to damage a TIFF structure
        return 1
    return int(value) if value in range(1, 9) else 1


def _upright(picture: Image.Image, orientation: int) -> Image.Image:
    """Undo an EXIF orientation (EXIF 3.0, tag 0x0112)."""
    if orientation == 1:
        return picture
    from PIL.Image import Transpose

    turns = (
        Transpose.FLIP_LEFT_RIGHT,
        Transpose.ROTATE_180,
        Transpose.FLIP_TOP_BOTTOM,
        Transpose.TRANSPOSE,
        Transpose.ROTATE_270,
        Transpose.TRANSVERSE,
        Transpose.ROTATE_90,
    )
    return picture.transpose(turns[orientation - 2])


def _complaint(error: Exception) -> str:
    detail = printable(str(error) or type(error).__name__)
    if isinstance(error, MemoryError):
        return "there is not enough memory to decode it; scale it down"
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
