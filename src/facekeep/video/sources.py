"""What a camera's source text means: how it is opened, and how it is shown without its password."""

from __future__ import annotations

import os
import re
import stat
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, Literal, cast
from urllib.parse import SplitResult, urlsplit

from facekeep._internal.files import path_text, printable, why
from facekeep.errors import CameraError, InputError

__all__ = ["Kind", "Source", "Transport", "hide_password", "parse_source"]

Kind = Literal["rtsp", "http", "device", "file", "folder", "pipe"]
Transport = Literal["tcp", "udp"]

_SCHEMES: Mapping[str, Kind] = {"rtsp": "rtsp", "rtsps": "rtsp", "http": "http", "https": "http"}
_ADDRESS = re.compile(r"([a-z][a-z0-9+.-]*)://(.*)", re.IGNORECASE | re.DOTALL)
# What systems call their cameras: Linux, Windows; and a plain number everywhere.
_DEVICE = re.compile(r"[0-9]{1,2}|/dev/(v4l/.+|video[0-9]+)|video=.+", re.DOTALL)
_DEVICE_FORMATS = {"darwin": "avfoundation", "win32": "dshow"}
_RAW = re.compile(
    r"-:(?P<format>[a-z0-9]+):(?P<size>[0-9]{1,5}x[0-9]{1,5})(@(?P<rate>[0-9.]{1,8}))?"
)
# Fast opening: a stream's own header says what it is. Not ``fflags=nobuffer``, which throws away
# what was read meanwhile, and with it the first key frame; the next may come a minute later.
_LIVE = {"probesize": "65536", "analyzeduration": "500000"}
# As little as possible is read of a pipe before its first picture is given.
_PIPE = {"probesize": "262144", "analyzeduration": "500000"}
# Values of a query that name a stream; whatever else stands there may be a password or a token.
_PLAIN = re.compile(
    r"(channel|subtype|stream|profile|camera|resolution|width|height|fps|rate|quality|unicast"
    r"|proto|videocodec|compression)=[\w.-]{1,12}",
    re.IGNORECASE,
)
_SECRET_IN_PATH = re.compile(
    r"((?:user|pass|pwd|token|key|secret|auth|sig)\w*=)[^/]*", re.IGNORECASE
)


@dataclass(frozen=True, slots=True)
class Source:
    """How a source is opened.

    Attributes:
        kind: What it is.
        text: What people may see: the source without passwords and tokens.
        name: A short name for its camera.
        live: Whether it shows what happens now, and does not wait for whoever reads it.
        address: What is opened: an address with its password, a path, a device, an open file.
        format: FFmpeg's name of the format; None to find out.
        options: FFmpeg's options.
    """

    kind: Kind
    text: str
    name: str
    live: bool
    address: str | BinaryIO = field(repr=False)
    format: str | None = None
    options: Mapping[str, str] = field(default_factory=dict, repr=False)


def parse_source(
    source: str | os.PathLike[str] | BinaryIO, transport: Transport = "tcp", timeout: float = 10.0
) -> Source:
    """Tell how a source is opened.

    Args:
        source: An address (``rtsp://``, ``rtsps://``, ``http://``, ``https://``), a camera of this
            machine (``0``, ``/dev/video0``, on Windows ``video=NAME``), a file, a folder of
            pictures, ``-`` for standard input, ``-:rgb24:640x480@25`` for raw frames from there,
            the path of a named pipe, or an open binary file.
        transport: How RTSP carries its packets.
        timeout: Seconds after which FFmpeg stops waiting for a server.

    Raises:
        InputError: It is none of these.
        CameraError: There is no such file or folder.
    """
    if not isinstance(source, str | os.PathLike):
        if not callable(getattr(source, "read", None)):
            kind = type(source).__name__
            raise InputError(f"a camera's source cannot be of type {kind}; give an address or path")
        name = printable(getattr(source, "name", "stream"))
        return Source("pipe", name, name, live=False, address=source, options=_PIPE)
    text = path_text(source)
    if not text or "\0" in text:
        raise InputError("a camera's source is empty or holds a NUL byte; give an address or path")
    if isinstance(source, str):
        if address := _ADDRESS.fullmatch(text):
            return _parse_address(text, address[1].lower(), transport, timeout)
        if text == "-" or text.startswith("-:"):
            return _parse_standard_input(text)
        if _DEVICE.fullmatch(text) and not (text.isdecimal() and Path(text).exists()):
            return _parse_device(text)
    return _parse_path(text)


def hide_password(text: str) -> str:
    """Write an address so that people may see it: without its password and tokens.

    What stands before the last ``@`` is taken for a user and a password, and of a query only the
    values that are known to name a stream are left.
    """
    address = _ADDRESS.fullmatch(text)
    if address is None:  # a path, or an address without its beginning
        return printable(re.sub(r"^([^:@]*):.*@", r"\1:***@", text, flags=re.DOTALL))
    login, at, rest = address[2].rpartition("@")
    path, mark, query = re.fullmatch(r"([^?#]*)([?#]?)(.*)", rest, re.DOTALL).groups()  # type: ignore[union-attr]
    user, colon, _ = login.partition(":")
    shown = (f"{user}:***@" if colon else "***@") if at else ""
    parts = re.split(r"[&#?;]", query) if mark else []
    hidden = [part if _PLAIN.fullmatch(part) else _hide_value(part) for part in parts]
    path = _SECRET_IN_PATH.sub(r"\1***", path)
    return printable(f"{address[1]}://{shown}{path}{mark}{'&'.join(hidden)}")


def _hide_value(part: str) -> str:
    key, equals, _ = part.partition("=")
    return f"{key}=***" if equals else "***"


def _parse_address(text: str, scheme: str, transport: Transport, timeout: float) -> Source:
    shown = hide_password(text)
    if scheme not in _SCHEMES:
        raise InputError(f"{shown}: cameras are not read by {scheme}; use rtsp, http or https")
    parts = _split(text, shown)
    host = f"[{parts.hostname}]" if ":" in cast(str, parts.hostname) else cast(str, parts.hostname)
    name = printable(host if parts.port is None else f"{host}:{parts.port}")
    wait = str(max(int(timeout * 1e6), 1))
    options = _LIVE | {"timeout": wait}
    if _SCHEMES[scheme] == "rtsp":
        options |= {"rtsp_transport": transport, "allowed_media_types": "video"}
    else:
        options |= {"rw_timeout": wait}
    return Source(_SCHEMES[scheme], shown, name, live=True, address=text, options=options)


def _split(text: str, shown: str) -> SplitResult:
    """Take an address apart.

    Raises:
        InputError: It has no host, or its port is none: often a password with a slash.
    """
    try:
        parts = urlsplit(text)
        _ = parts.port
    except ValueError:
        parts = None
    if parts is None or not parts.hostname or any(c.isspace() or ord(c) < 32 for c in text):
        raise InputError(
            f"{shown}: not an address of the form scheme://user:password@host:port/path; in the"
            " password write / as %2F, # as %23, ? as %3F, @ as %40 and a space as %20"
        ) from None
    return parts


def _parse_device(text: str) -> Source:
    address = f"/dev/video{text}" if text.isdecimal() and sys.platform == "linux" else text
    name = address.removeprefix("/dev/").removeprefix("video=")
    name = printable(f"video{name}" if name.isdecimal() else name)
    form = _DEVICE_FORMATS.get(sys.platform, "v4l2")
    return Source("device", printable(text), name, live=True, address=address, format=form)


def _parse_standard_input(text: str) -> Source:
    if text == "-":
        return Source("pipe", "-", "stdin", live=False, address="-", options=_PIPE)
    raw = _RAW.fullmatch(text)
    if raw is None:
        raise InputError(
            f"{printable(text)}: raw frames from standard input are written -:FORMAT:WIDTHxHEIGHT"
            " or -:FORMAT:WIDTHxHEIGHT@FPS, such as -:rgb24:640x480@25"
        )
    options = {"pixel_format": raw["format"], "video_size": raw["size"]}
    if raw["rate"]:
        options["framerate"] = raw["rate"]
    return Source(
        "pipe", text, "stdin", live=False, address="-", format="rawvideo", options=options
    )


def _parse_path(text: str) -> Source:
    shown = hide_password(text)
    try:
        mode = Path(text).stat().st_mode
    except (OSError, ValueError) as error:
        raise CameraError(f"{shown}: cannot be opened: {why(error)}") from None
    kind: Kind | None = "folder" if stat.S_ISDIR(mode) else "file" if stat.S_ISREG(mode) else None
    kind = "pipe" if stat.S_ISFIFO(mode) else kind
    if kind is None:
        raise CameraError(f"{shown}: is no file, folder, pipe or camera; check the path")
    name = printable(Path(text).name or Path(text).resolve().name or text)  # "." has none
    options = _PIPE if kind == "pipe" else {}
    return Source(kind, shown, name, live=False, address=text, options=options)
