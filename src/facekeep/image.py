"""Pictures in and out: load, check, save and list them.

Inside facekeep every image is a uint8 array ``(H, W, 3)`` in RGB order, C-contiguous, upright. What
comes from outside becomes that here or is refused with a one-line error.

How other kinds of picture become RGB:

* EXIF orientation (all eight) is applied; of animations and many-page files the first frame counts.
* Transparent pixels are laid over white, as most viewers do.
* 16-bit grey is scaled by 1/257, so that white stays white; 32-bit integer grey is read as 16-bit
  values. Float grey is 0 to 1 when nothing exceeds 1, else 0 to 255; values outside are clipped.
* CMYK, YCbCr and Lab follow Pillow.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import importlib
import io
import os
import re
import secrets
import stat
import threading
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from facekeep.errors import FacekeepError, ImageError, InputError, StorageFull

if TYPE_CHECKING:
    from PIL import Image, ImageFile

__all__ = [
    "check_image",
    "content_digest",
    "from_bgr",
    "list_images",
    "load_image",
    "save_image",
]

MAX_PIXELS = 100_000_000

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
_MISSING = {
    "AVIF": "pip install 'pillow>=11.3'",
    "HEIC": "pip install 'facekeep[heic]'",
}
_READ_EXTENSIONS = frozenset(
    (".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".bmp", ".dib", ".tif", ".tiff", ".gif")
    + (".heic", ".heif", ".avif")
)
)
_WRITERS = {
    ".jpg": "JPEG",
    ".jpeg": "JPEG",
    ".png": "PNG",
    ".webp": "WebP",
    ".bmp": "BMP",
    ".tif": "TIFF",
    ".tiff": "TIFF",
}
_Stream = io.BufferedReader | io.BytesIO
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def load_image(
    source: str | os.PathLike[str] | bytes | BinaryIO | NDArray[Any],
    *,
    max_pixels: int = MAX_PIXELS,
) -> NDArray[np.uint8]:
    """Load a picture as RGB, upright.

    Args:
        source: A path (regular files only), the bytes of a picture file, a binary stream, which is
            read to its end, or an array, which is only checked (see `check_image`).
        max_pixels: Refuse pictures with more pixels than this, from their header, before any pixel
            is decoded.

    Returns:
        uint8 ``(H, W, 3)`` RGB, C-contiguous.

    Raises:
        ImageError: The picture cannot be read: missing, no regular file, cut short, damaged, too
            large, or of a kind facekeep does not read.
        InputError: The source is of another type, or an array of the wrong form.
    """
    if isinstance(source, np.ndarray):
        return check_image(source)
    name = _name(source)
    with _opened(source, name) as stream:
        return _decode(stream, name, max_pixels)


def check_image(array: object) -> NDArray[np.uint8]:
    """Check that an array is an RGB image, and return it C-contiguous.

    Only ``(H, W, 3)`` uint8 is accepted. Grey, alpha, float or BGR pixels are never guessed at: the
    error says how to convert them. The array itself comes back when it is already C-contiguous.

    Raises:
        InputError: It is not such an array; the message says what was found.
    """
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
    return np.ascontiguousarray(check_image(array)[..., ::-1])


def content_digest(source: str | os.PathLike[str] | bytes) -> str:
    """Return the SHA-256 of a file's bytes, in hex; the file is streamed.

    Raises:
        ImageError: The file cannot be read.
    """
    name = _name(source)
    with _opened(source, name) as stream:
        try:
            return hashlib.file_digest(stream, "sha256").hexdigest()
        except OSError as error:
            raise ImageError(_unreadable(name, error)) from error


def list_images(folder: str | os.PathLike[str], *, recursive: bool = True) -> list[Path]:
    """List the picture files of a folder, by their extension, sorted by path.

    Hidden files and folders (names that begin with a dot) are left out, links to folders are not
    followed, and links to files count as files.

    Raises:
        ImageError: The folder, or one below it, does not exist or cannot be read.
    """
    top, name = _path(folder), _name(folder)

    def refuse(error: OSError) -> None:
        raise ImageError(_unreadable(_shown(error.filename or top), error)) from error

    if not os.path.isdir(top):  # noqa: PTH112 - takes a path with a NUL byte, which stat refuses
        raise ImageError(f"{name}: no such folder; check the path")
    found: list[Path] = []
    for base, folders, files in os.walk(top, onerror=refuse):
        folders[:] = [each for each in folders if recursive and not each.startswith(".")]
        found += [Path(base, each) for each in files if _is_picture(each)]
    return sorted(path for path in found if path.is_file())


def save_image(path: str | os.PathLike[str], rgb: object, *, quality: int = 92) -> None:
    """Save an RGB image, whole or not at all.

    Args:
        path: Where to; the extension (jpg, png, webp, bmp, tif) chooses the format. A file of this
            name is replaced in one step.
        rgb: uint8 ``(H, W, 3)`` RGB.
        quality: 1 to 100, for JPEG and WebP.

    Raises:
        InputError: The extension is unknown, or the array is no image.
        ImageError: The file cannot be written there.
        StorageFull: There is no room for it.
    """
    target = Path(_path(path))
    style = _WRITERS.get(target.suffix.lower())
    if style is None:
        known = ", ".join(sorted(_WRITERS))
        raise InputError(
            f"{_shown(target)}: cannot tell the format; end the name in one of {known}"
        )
    encoded = _encode(check_image(rgb), style, quality)
    try:
        _write_whole(Path(os.path.realpath(target)), encoded)
    except (OSError, ValueError) as error:
        if getattr(error, "errno", None) in _FULL:
            raise StorageFull(
                f"{_shown(target)}: no room to write {len(encoded)} bytes; free some space"
            ) from error
        raise ImageError(f"{_shown(target)}: cannot be written: {_reason(error)}") from error


def _path(source: object) -> str:
    try:
        return os.fsdecode(os.fspath(source))  # type: ignore[call-overload]
    except TypeError as error:
        kind = type(source).__name__
        raise InputError(f"expected a path, got {kind}; give a str or a pathlib.Path") from error


def _name(source: object) -> str:
    """Name a source for messages."""
    if isinstance(source, str | os.PathLike):
        return _shown(source)
    if isinstance(source, bytes | bytearray | memoryview):
        return "image bytes"
    if hasattr(source, "read"):
        return "image stream"
    raise InputError(_wrong_type(source))


def _shown(text: object) -> str:
    """Return a path or message in one printable line, whatever bytes it holds."""
    line = _path(text) if isinstance(text, os.PathLike) else str(text)
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in line)


@contextlib.contextmanager
def _opened(source: Any, name: str) -> Iterator[_Stream]:
    """Open a source for reading; paths only when they lead to a regular file."""
    if isinstance(source, str | os.PathLike):
        with _opened_file(_path(source), name) as stream:
            yield stream
        return
    try:
        data = source if isinstance(source, bytes | bytearray | memoryview) else source.read()
    except (OSError, ValueError) as error:
        raise ImageError(_unreadable(name, error)) from error
    if not isinstance(data, bytes | bytearray | memoryview):
        raise InputError(f"{name}: gives {type(data).__name__}, not bytes; open it in binary mode")
    yield io.BytesIO(data)


def _opened_file(path: str, name: str) -> io.BufferedReader:
    def without_waiting(file: str, flags: int) -> int:
        return os.open(file, flags | os.O_NONBLOCK)  # a pipe put here after the check must not hang

    try:
        mode = os.stat(path).st_mode  # noqa: PTH116 - the path may hold a NUL byte
        if stat.S_ISDIR(mode):
            raise ImageError(f"{name}: is a folder, not a picture; name a file in it")
        if not stat.S_ISREG(mode):
            raise ImageError(
                f"{name}: is no regular file but a pipe, socket or device; copy it to a file"
            )
        return open(path, "rb", opener=without_waiting)
    except (OSError, ValueError) as error:
        raise ImageError(_unreadable(name, error)) from error


def _decode(stream: _Stream, name: str, max_pixels: int) -> NDArray[np.uint8]:
    try:
        with _quiet_pillow(), _open_picture(stream, name) as picture:
            _check_pixels(picture.size, name, max_pixels)
            picture.load()
            upright = _upright(_rgb(picture), _orientation(picture))
            return np.array(upright, dtype=np.uint8)
    except FacekeepError:
        raise
    except Exception as error:  # decoders of hostile bytes raise anything
        raise ImageError(_damaged(name, error)) from error


def _open_picture(stream: _Stream, name: str) -> ImageFile.ImageFile:
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
    except ImportError as error:
        raise ImageError(f"{name}: is {style}, which needs: {_MISSING[style]}") from error
    return opener(stream)  # type: ignore[no-any-return]


def _sniff(head: bytes) -> str | None:
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "WebP"
    if head[4:8] == b"ftyp":
        brands = {head[8:12], *(head[at : at + 4] for at in range(16, len(head), 4))}
        if not brands & _HEIF_BRANDS:
            return None
        return "AVIF" if brands & {b"avif", b"avis"} else "HEIC"
    return next((style for magic, style in _SIGNATURES if head.startswith(magic)), None)


def _check_pixels(size: tuple[int, int], name: str, limit: int) -> None:
    width, height = size
    if width * height > limit:
        raise ImageError(
            f"{name}: {width} x {height} = {width * height} pixels is over the limit of {limit}; "
            "if you trust it, raise max_pixels or scale it down"
        )


def _rgb(picture: Image.Image) -> Image.Image:
    if picture.mode.startswith(("I", "F")):
        return _grey(picture).convert("RGB")
    if not picture.has_transparency_data:
        return picture.convert("RGB")
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
    return value if value in range(1, 9) else 1


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


_quiet_lock = threading.Lock()
_quiet_depth = 0
_QUIET = ("ignore", None, Warning, re.compile(r"PIL\."), 0)


@contextlib.contextmanager
def _quiet_pillow() -> Iterator[None]:
    """Silence Pillow's remarks on odd metadata while any thread decodes.

    `warnings.catch_warnings` saves and restores the whole filter list, which threads that overlap
    undo for each other; this adds one filter, for Pillow alone, and takes that one away.
    """
    global _quiet_depth  # noqa: PLW0603 - the filters are the process's, so is the count
    with _quiet_lock:
        _quiet_depth += 1
        warnings.filterwarnings("ignore", module=r"PIL\.")
    try:
        yield
    finally:
        with _quiet_lock:
            _quiet_depth -= 1
            if not _quiet_depth:
                with contextlib.suppress(ValueError):
                    warnings.filters.remove(_QUIET)  # type: ignore[attr-defined]


def _is_picture(name: str) -> bool:
    return not name.startswith(".") and Path(name).suffix.lower() in _READ_EXTENSIONS


def _encode(rgb: NDArray[np.uint8], style: str, quality: int) -> bytes:
    from PIL import Image

    encoded = io.BytesIO()
    Image.fromarray(rgb).save(encoded, style, quality=quality)
    return encoded.getvalue()


def _write_whole(target: Path, data: bytes) -> None:
    """Write beside the target, then rename: readers see the old file or the new one, never half."""
    part = target.with_name(f".{secrets.token_hex(8)}.part")
    try:
        with part.open("xb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        part.replace(target)
    except BaseException:
        part.unlink(missing_ok=True)
        raise


def _reason(error: Exception) -> str:
    """Say in one line why the system refused a file."""
    if isinstance(error, OSError) and error.errno is not None:
        hints = {
            errno.ENOENT: "no such file or folder; check the path",
            errno.EACCES: "permission denied; check who may use it",
            errno.ENOTDIR: "a part of the path is not a folder; check the path",
            errno.ELOOP: "the links lead in a circle; name the file itself",
        }
        return hints.get(error.errno) or (error.strerror or "error").lower()
    return _shown(error)


def _unreadable(name: str, error: Exception) -> str:
    return f"{name}: cannot be read: {_reason(error)}"


def _damaged(name: str, error: Exception) -> str:
    detail = _shown(error) or type(error).__name__
    if isinstance(error, MemoryError):
        return f"{name}: there is not enough memory to decode it; scale it down"
    if isinstance(error, EOFError) or "truncated" in detail.lower():
        return f"{name}: is cut short; copy or download it again"
    return f"{name}: is damaged or of an unusual kind ({detail}); save it again as JPEG or PNG"


def _wrong_type(value: object) -> str:
    kind = f"{type(value).__module__}.{type(value).__qualname__}"
    if kind.startswith("PIL."):
        mend = "pass numpy.asarray(image.convert('RGB'))"
    elif kind.startswith("torch."):
        mend = "pass tensor.cpu().numpy() as uint8 (H, W, 3)"
    else:
        mend = (
            "give a path, the bytes of a picture file, a binary stream or a uint8 (H, W, 3) array"
        )
    return f"not an image: {kind}; {mend}"


def _wrong_dtype(dtype: np.dtype[Any]) -> str:
    if dtype.kind == "f":
        return f"{dtype}; scale it to 0-255 (times 255 if it is 0-1), then .astype('uint8')"
    if dtype == np.uint16:
        return f"{dtype}; divide it by 257, then .astype('uint8')"
    return f"{dtype}; convert it with .astype('uint8')"


def _wrong_shape(shape: tuple[int, ...]) -> str:
    if len(shape) == 2:
        return f"{shape}, which looks grey; stack it: numpy.stack([image] * 3, axis=-1)"
    if len(shape) == 3 and shape[0] == 3:
        return f"{shape}, which looks channels first; pass image.transpose(1, 2, 0)"
    if len(shape) == 3 and shape[2] == 4:
        return f"{shape}, which looks like RGBA; pass image[..., :3]"
    if len(shape) == 4:
        return f"{shape}, which looks like a batch; pass its images one by one"
    return f"{shape}"
