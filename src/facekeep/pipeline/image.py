"""Pictures in and out: load, check, save and list them.

Inside facekeep every image is a uint8 array ``(H, W, 3)`` in RGB order, C-contiguous, upright. What
comes from outside becomes that here or is refused with a one-line error.

How other kinds of picture become RGB:

* EXIF orientation (all eight) is applied; of animations and many-page files the first frame counts.
* Transparent pixels are laid over white, as most viewers do.
* 16-bit gray is scaled by 1/257, so that white stays white; 32-bit integer gray is read as 16-bit
  values. Float gray is 0 to 1 when nothing exceeds 1, else 0 to 255; values outside are clipped.
* Where zero is white (TIFF), that is undone. Signed samples of 8 or 16 bits are refused.
* CMYK (inverted, as Adobe writes it into JPEG), YCbCr and Lab are converted by Pillow.
* Metadata never cost a picture: those of PNG and JPEG files are not read but for EXIF, of which
  only the orientation counts. An orientation that XMP alone names is not applied, as in browsers.
* A file without the mark of its end is read. A JPEG of which more than a hundredth is missing is
  refused, even if it carries that mark: a decoder would fill in the rest in one color.
* Embedded color profiles are not applied: that would double the time of a load, hand hostile bytes
  to one more parser, and shift the skin of phone photos by a few levels only.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import re
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, TypeAlias, TypeGuard

import numpy as np
from numpy.typing import NDArray

from facekeep._internal.arguments import require_count
from facekeep._internal.files import (
    is_full,
    open_regular,
    path_text,
    printable,
    replaceable,
    why,
    write_whole,
)
from facekeep._internal.listing import is_picture, list_images, list_people
from facekeep.errors import FacekeepError, ImageError, InputError, StorageFull
from facekeep.pipeline import decode as _decode
from facekeep.pipeline.decode import Reduced, Stream, convert_pillow_image, decode

if TYPE_CHECKING:
    from PIL.Image import Image as PillowImage

__all__ = [
    "MAX_BYTES",
    "MAX_PIXELS",
    "ImageSource",
    "Reduced",
    "check_image",
    "check_output",
    "content_digest",
    "count_pixels",
    "elsewhere",
    "encode_jpeg",
    "encode_png",
    "from_bgr",
    "is_picture",
    "list_images",
    "list_people",
    "load_image",
    "save_image",
]

_WRITERS = {
    ".jpg": "JPEG",
    ".jpeg": "JPEG",
    ".png": "PNG",
    ".webp": "WebP",
    ".bmp": "BMP",
    ".tif": "TIFF",
    ".tiff": "TIFF",
}

# Addresses keep one slash where they went through a Path.
_ADDRESS = re.compile(r"[a-z][a-z0-9+.-]+:/|data:", re.IGNORECASE)
_NO_BGR = "only an array can be BGR; a file or a Pillow image says itself what it is"
_CAMERA = re.compile(r"[0-9]{1,2}|/dev/video[0-9]*")

MAX_BYTES = 500_000_000
"""A picture file with more bytes is refused unless another limit is given."""

MAX_PIXELS = 100_000_000
"""A picture with more pixels is refused unless another limit is given."""


ImageSource: TypeAlias = "str | os.PathLike[str] | bytes | BinaryIO | NDArray[Any] | PillowImage"
"""An image: a path, the bytes of a picture file, a binary stream, a uint8 ``(H, W, 3)`` RGB array
or a Pillow image."""


def load_image(
    source: ImageSource,
    *,
    max_pixels: int = MAX_PIXELS,
    max_bytes: int = MAX_BYTES,
    reduce: bool = False,
    bgr: bool = False,
) -> NDArray[np.uint8]:
    """Load a picture as RGB, upright.

    Args:
        source: A path (regular files only), the bytes of a picture file, a binary stream, which is
            read to its end, a Pillow image, which is treated as its file would be, or an
            array, which is only checked (see `check_image`).
        max_pixels: Refuse pictures with more pixels than this, from their header, before any pixel
            is decoded.
        max_bytes: Refuse files with more bytes than this, before they are read.
        reduce: Decode a JPEG of more than 50 million pixels at half of its size, at a quarter of
            the memory.
        bgr: The array is BGR, as OpenCV has it; see `from_bgr`.

    Returns:
        uint8 ``(H, W, 3)`` RGB, C-contiguous; a `Reduced`, whose ``factor`` says by how much, where
        ``reduce`` made it smaller.

    Raises:
        ImageError: The picture cannot be read: missing, no regular file, cut short, damaged, too
            large, or of a kind facekeep does not read.
        InputError: The source is of another type, or an array of the wrong form, or ``bgr`` is
            given with something that is no array, or a limit is no whole number.
    """
    require_count("max_pixels", max_pixels)
    require_count("max_bytes", max_bytes)
    if bgr:
        if not isinstance(source, np.ndarray):
            raise InputError(_NO_BGR)
        return from_bgr(source)
    if isinstance(source, np.ndarray):
        return source if isinstance(source, Reduced) else check_image(source)
    if _is_pillow_image(source):
        return convert_pillow_image(source, max_pixels)
    name = _name(source)
    with _open_source(source, name, max_bytes) as stream:
        return decode(stream, name, max_pixels, reduce=reduce)


def _is_pillow_image(source: object) -> TypeGuard[PillowImage]:
    """Tell a Pillow image; Pillow was imported by whoever made it."""
    # Another thread may be importing it at this moment: then the module has no class yet.
    image_class = getattr(sys.modules.get("PIL.Image"), "Image", None)
    return image_class is not None and isinstance(source, image_class)


def count_pixels(source: str | os.PathLike[str] | bytes, *, max_bytes: int = MAX_BYTES) -> int:
    """Return how many pixels a picture has, from its header.

    Raises:
        ImageError: It cannot be read; see `load_image`.
    """
    name = _name(source)
    with _open_source(source, name, max_bytes) as stream:
        return _decode.count_stream_pixels(stream, name)


def check_image(array: object) -> NDArray[np.uint8]:
    """Check that an array is an RGB image, and return it C-contiguous.

    Only ``(H, W, 3)`` uint8 is accepted. Gray, alpha, float or BGR pixels are never guessed at: the
    error says how to convert them. The array itself comes back when it is already C-contiguous. An
    Pillow image, which says what its pixels are, is converted as by `load_image`.

    Raises:
        InputError: It is not such an array; the message says what was found.
        ImageError: A Pillow image is too large, or its file cannot be read.
    """
    if _is_pillow_image(array):
        return convert_pillow_image(array, MAX_PIXELS)
    if not isinstance(array, np.ndarray):
        raise InputError(_wrong_type(array))
    if array.dtype != np.uint8:
        raise InputError(f"an image must be uint8 RGB, 0 to 255; got {_wrong_dtype(array.dtype)}")
    if array.ndim != 3 or array.shape[2] != 3:
        raise InputError(f"an image must be (H, W, 3) RGB; got {_wrong_shape(array.shape)}")
    if array.size == 0:
        raise InputError(f"an image must have at least one pixel; got shape {array.shape}")
    return np.ascontiguousarray(array)


def from_bgr(array: object) -> NDArray[np.uint8]:
    """Turn a BGR image, as OpenCV reads and writes it, into an RGB copy.

    This is the only place where facekeep takes BGR; everywhere else three channels mean RGB.

    Args:
        array: uint8 ``(H, W, 3)`` BGR.

    Raises:
        InputError: It is not such an array.
    """
    if _is_pillow_image(array):
        raise InputError(_NO_BGR)
    return np.ascontiguousarray(check_image(array)[..., ::-1])


def content_digest(source: str | os.PathLike[str] | bytes, *, max_bytes: int = MAX_BYTES) -> str:
    """Return the SHA-256 of a file's bytes, in hex; the file is streamed.

    Raises:
        ImageError: The file cannot be read, or has more bytes than ``max_bytes``.
    """
    name = _name(source)
    with _open_source(source, name, max_bytes) as stream:
        try:
            return hashlib.file_digest(stream, "sha256").hexdigest()
        except OSError as error:
            raise ImageError(f"{name}: cannot be read: {why(error)}") from error


def check_output(path: str | os.PathLike[str]) -> None:
    """Check that ``save_image`` can write a file of this name, before there is anything to write.

    Raises:
        InputError: The extension is unknown.
        ImageError: The folder is missing or may not be written, or the name is that of a folder.
        StorageFull: There is no room even for an empty file.
    """
    target = path_text(path)
    _style(target)
    try:
        final = Path(os.path.realpath(target))
        with tempfile.TemporaryFile(dir=final.parent):
            replaceable(final)
    except (OSError, ValueError) as error:
        raise _explain_write_error(target, error) from error


def save_image(path: str | os.PathLike[str], rgb: object, *, quality: int = 92) -> None:
    """Save an RGB image, whole or not at all.

    Args:
        path: Where to; the extension (jpg, png, webp, bmp, tif) chooses the format. A file of this
            name is replaced in one step.
        rgb: uint8 ``(H, W, 3)`` RGB.
        quality: 1 to 100, for JPEG and WebP.

    Raises:
        InputError: The extension is unknown, or an argument is out of range.
        ImageError: The file cannot be written there.
        StorageFull: There is no room for it.
    """
    target = path_text(path)
    style = _style(target)
    if quality not in range(1, 101):
        raise InputError(f"quality must be 1 to 100; got {printable(quality)}")
    encoded = _encode(check_image(rgb), style, quality)
    try:
        write_whole(target, encoded)
    except (OSError, ValueError) as error:
        raise _explain_write_error(target, error) from error


def encode_jpeg(rgb: NDArray[np.uint8], quality: int = 90) -> bytes:
    """Encode an image as a JPEG file.

    Args:
        rgb: uint8 ``(H, W, 3)`` RGB.
        quality: As Pillow counts it, 1 to 95.
    """
    from PIL import Image

    encoded = io.BytesIO()
    Image.fromarray(rgb).save(encoded, "JPEG", quality=quality)
    return encoded.getvalue()


def encode_png(rgb: NDArray[np.uint8]) -> bytes:
    """Encode an image without loss, as a small file rather than the smallest.

    Args:
        rgb: uint8 ``(H, W, 3)`` RGB.
    """
    from PIL import Image

    encoded = io.BytesIO()
    Image.fromarray(rgb).save(encoded, "PNG", compress_level=1)
    return encoded.getvalue()


def _style(target: str) -> str:
    """Return the format that the extension of a file to write chooses."""
    style = _WRITERS.get(Path(target).suffix.lower())
    if style is None:
        known = ", ".join(sorted(_WRITERS))
        raise InputError(f"{printable(target)}: unknown picture format; end the name in {known}")
    return style


def _explain_write_error(target: str, error: OSError | ValueError) -> FacekeepError:
    if is_full(error):
        return StorageFull(f"{printable(target)}: no room to write it; free some space")
    return ImageError(f"{printable(target)}: cannot be written: {why(error)}")


def _name(source: object) -> str:
    """Name a source for messages, or refuse it."""
    if isinstance(source, str | os.PathLike):
        return printable(source)
    if isinstance(source, bytes | bytearray | memoryview):
        return "image bytes"
    if isinstance(source, io.TextIOBase):
        raise InputError("image stream: gives text, not bytes; open it in binary mode")
    if hasattr(source, "read"):
        return "image stream"
    raise InputError(_wrong_type(source))


@contextlib.contextmanager
def _open_source(source: Any, name: str, max_bytes: int) -> Iterator[Stream]:
    """Open a source for reading; paths only when they lead to a regular file that is not huge."""
    try:
        if isinstance(source, str | os.PathLike):
            stream: Stream = open_regular(source)
            size = os.fstat(stream.fileno()).st_size
        else:
            data = source.read(max_bytes + 1) if hasattr(source, "read") else source
            stream = io.BytesIO(data)
            size = stream.getbuffer().nbytes
    except (OSError, ValueError) as error:
        raise ImageError(
            f"{name}: {elsewhere(source) or f'cannot be read: {why(error)}'}"
        ) from error
    except (TypeError, BufferError) as error:
        raise InputError(f"{name}: does not give bytes; open it in binary mode") from error
    with stream:
        if size > max_bytes:
            raise ImageError(
                f"{name}: is over the limit of {max_bytes // 1_000_000} MB for a picture file; "
                "if you trust it, raise max_bytes",
                "max_bytes",
            )
        yield stream


def elsewhere(source: object) -> str:
    """Say why what is no file cannot be read, where it is an address or a camera; else nothing."""
    if not isinstance(source, str | os.PathLike) or os.path.isfile(source):  # noqa: PTH113
        return ""
    text = path_text(source)
    if _ADDRESS.match(text):
        return "is an address, not a file: download it first"
    if _CAMERA.fullmatch(text):
        return "cameras are not supported here yet: save a picture as a file first"
    return ""


def _encode(rgb: NDArray[np.uint8], style: str, quality: int) -> bytes:
    from PIL import Image

    encoded = io.BytesIO()
    try:
        Image.fromarray(rgb).save(encoded, style, quality=quality)
    except (OSError, ValueError) as error:
        height, width = rgb.shape[:2]
        raise ImageError(
            f"a picture of {width} x {height} pixels cannot be written as {style} "
            f"({printable(error)}); save it as PNG"
        ) from error
    return encoded.getvalue()


def _wrong_type(value: object) -> str:
    kind = f"{type(value).__module__}.{type(value).__qualname__}"
    if kind.startswith("torch."):
        mend = "pass tensor.cpu().numpy() as uint8 (H, W, 3)"
    else:
        mend = (
            "give a path, the bytes of a picture file, a binary stream, a Pillow image or a"
            " uint8 (H, W, 3) array"
        )
    return f"not an image: {kind}; {mend}"


def _wrong_dtype(dtype: np.dtype[Any]) -> str:
    if dtype.kind == "f":
        return f"{dtype}; scale it to 0-255 (times 255 if it is 0-1), then .astype('uint8')"
    if dtype == np.uint16:
        return f"{dtype}; divide it by 257, then .astype('uint8')"
    return f"{dtype}; scale it to 0-255, then .astype('uint8')"


def _wrong_shape(shape: tuple[int, ...]) -> str:
    if len(shape) == 2:
        return f"{shape}, which looks gray; stack it: numpy.stack([image] * 3, axis=-1)"
    if len(shape) == 3 and shape[0] == 3:
        return f"{shape}, which looks channels first; pass image.transpose(1, 2, 0)"
    if len(shape) == 3 and shape[2] == 4:
        return f"{shape}, which looks like RGBA; pass image[..., :3]"
    if len(shape) == 4:
        return f"{shape}, which looks like a batch; pass its images one by one"
    return f"{shape}"
