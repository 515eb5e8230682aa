"""The tables of the configuration file that ``facekeep live`` obeys: ``[live]``, ``[camera.NAME]``.

Their fields say all there is to say about them, as those of ``Settings`` do: the options of the
command, the example file and the errors are derived from them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Final, Literal
from urllib.parse import quote, urlsplit

from msgspec import Struct

from facekeep._internal.tables import expand_path, shorten
from facekeep.config.fields import Field, about, list_fields
from facekeep.errors import ConfigError

__all__ = [
    "CAMERA",
    "CAMERA_NAME",
    "LIVE",
    "CameraTable",
    "LiveTable",
    "add_password",
    "locate_secret",
    "parse_polygon",
    "read_cameras",
    "read_live",
]

Polygons = tuple[tuple[tuple[float, float], ...], ...]

CAMERA_NAME: Final = r"\w[\w .-]{0,63}"
"""What a camera may be called, as a regular expression."""

_REFERENCE = r"^(file:(?=.*\S)|env:[A-Za-z_]\w*\Z)"


def locate_secret(reference: str, folder: Path | None) -> str:
    """Make the path of a reference ``file:PATH`` absolute."""
    scheme, _, rest = reference.partition(":")
    return f"file:{expand_path(rest, folder)}" if scheme == "file" else reference


def _about_secret(doc: str) -> Any:
    return about(
        doc,
        example='"env:PASSWORD"',
        default="none",
        metavar="SPEC",
        expects="file:PATH or env:NAME",
        pattern=_REFERENCE,
        finish=locate_secret,
        secret=True,
    )


def _about_polygons(doc: str) -> Any:
    return about(
        doc,
        example="[[[0, 0.5], [1, 0.5], [1, 1], [0, 1]]]",
        default="none",
        metavar="POLYGON",
        expects="corners as shares of the picture, such as 0,0.5 1,0.5 1,1 0,1, or in a file"
        " [[[0, 0.5], [1, 0.5], [1, 1], [0, 1]]]; they must enclose an area",
        finish=_check_polygons,
    )


def _check_polygons(polygons: Polygons, folder: Path | None) -> Polygons:
    for polygon in polygons:
        if len(polygon) < 3 or not all(0 <= share <= 1 for corner in polygon for share in corner):
            raise ValueError
        if _lie_on_a_line(polygon):
            raise ValueError
    return polygons


def _check_address(address: str, folder: Path | None) -> str:
    if int(address.rpartition(":")[2]) > 65535:
        raise ValueError
    return address


def _check_rotation(degrees: int, folder: Path | None) -> int:
    if degrees not in (0, 90, 180, 270):
        raise ValueError
    return degrees


def _lie_on_a_line(polygon: tuple[tuple[float, float], ...]) -> bool:
    (x, y), *others = polygon
    a, b = next(((p - x, q - y) for p, q in others if (p, q) != (x, y)), (0.0, 0.0))
    return all(abs(a * (q - y) - b * (p - x)) < 1e-9 for p, q in others)


def parse_polygon(text: str) -> tuple[tuple[float, float], ...]:
    """Read a polygon of the command line, ``x,y x,y x,y``.

    Raises:
        ValueError: It is none.
    """
    pairs = [corner.split(",") for corner in text.split()]
    return tuple((float(x), float(y)) for x, y in pairs)


_Seconds = partial(about, metavar="SECONDS", unit=" of seconds", le=86400)


class CameraTable(Struct, frozen=True, kw_only=True):
    """A camera, as ``[camera.NAME]`` describes it; the annotations document it."""

    source: Annotated[
        str,
        about(
            "What it is read from: a URL, a device such as 0 or /dev/video0, a file, a folder; or"
            " env:NAME, a variable that holds it.",
            example='"rtsp://ada@192.0.2.7/stream"',
            default="it must be given",
            metavar="SOURCE",
            expects='a text: a URL, a device such as "0", a file or a folder',
            secret=True,
        ),
    ]
    password: Annotated[
        str | None, _about_secret("Where the password for the source is: env:NAME or file:PATH.")
    ] = None
    transport: Annotated[
        Literal["tcp", "udp"], about("How RTSP sends its pictures.", example='"tcp"')
    ] = "tcp"
    connect_timeout: Annotated[
        float, _Seconds("Time to wait for a connection.", example="10", gt=0)
    ] = 10.0
    read_timeout: Annotated[
        float, _Seconds("Time without a picture after which it counts as lost.", example="5", gt=0)
    ] = 5.0
    rotate: Annotated[
        int,
        about(
            "Degrees, clockwise, to turn pictures by, if the camera hangs upside down or sideways.",
            example="180",
            default="0",
            metavar="DEGREES",
            expects="0, 90, 180 or 270",
            finish=_check_rotation,
        ),
    ] = 0
    region: Annotated[
        Polygons, _about_polygons("Look for faces only inside these; in place of that of [live].")
    ] = ()
    mask: Annotated[
        Polygons, _about_polygons("Look for no faces inside these; in place of that of [live].")
    ] = ()


class LiveTable(Struct, frozen=True, kw_only=True, rename={"exec_": "exec"}):
    """The options of ``facekeep live``; the annotations document them."""

    mqtt: Annotated[
        str | None,
        about(
            "Send events to this MQTT broker, with what Home Assistant needs to find them.",
            example='"mqtt://localhost"',
            default="none",
            metavar="URL",
            expects="a URL such as mqtt://localhost or mqtts://user@host:8883",
            secret=True,
        ),
    ] = None
    mqtt_password: Annotated[
        str | None, _about_secret("Where the password for the broker is: env:NAME or file:PATH.")
    ] = None
    webhook: Annotated[
        str | None,
        about(
            "Post each event to this URL.",
            example='"https://example.org/hook"',
            default="none",
            metavar="URL",
            expects="a URL that begins with http:// or https://",
            secret=True,
            pattern=r"^https?://[^\s/]",
        ),
    ] = None
    webhook_secret: Annotated[
        str | None,
        _about_secret("Where the secret that signs what is posted is: env:NAME or file:PATH."),
    ] = None
    csv: Annotated[
        Path | None,
        about("Add each event to this CSV file.", example='"events.csv"', default="none"),
    ] = None
    exec_: Annotated[
        str | None,
        about(
            "Run this program for each event, which it gets as JSON on standard input; no shell"
            " reads the line.",
            example='"notify door"',
            default="none",
            metavar="COMMAND",
            expects="a command line",
        ),
    ] = None
    record: Annotated[
        Path | None,
        about(
            "Record what the cameras see, with boxes and names, in this folder.",
            example='"recordings"',
            default="nothing is recorded",
            metavar="DIR",
        ),
    ] = None
    record_size: Annotated[
        int,
        about(
            "Largest size of that folder in bytes; the oldest recordings make room for new ones.",
            example="2_000_000_000",
            default="2 billion",
            ge=1_000_000,
            unit=" of bytes",
        ),
    ] = 2_000_000_000
    view: Annotated[
        str | None,
        about(
            "Show the cameras on a web page at this address; only this machine can see it unless"
            " a host is named.",
            example='":8080"',
            default="none",
            metavar="[HOST]:PORT",
            expects="an address such as :8080 or 192.0.2.7:8080",
            pattern=r"^[^\s/@]*:[0-9]{1,5}\Z",
            finish=_check_address,
        ),
    ] = None
    region: Annotated[
        Polygons,
        _about_polygons(
            "Look for faces only inside this polygon, such as '0,0.5 1,0.5 1,1 0,1' in shares of"
            " the picture; may be given several times."
        ),
    ] = ()
    mask: Annotated[
        Polygons,
        _about_polygons(
            "Look for no faces inside this polygon, written as for region; may be given several"
            " times."
        ),
    ] = ()
    unknown: Annotated[bool, about("Report people who are not enrolled, too.", example="true")] = (
        True
    )
    crops: Annotated[
        bool, about("Keep the best face of each visit in the event log.", example="false")
    ] = False
    give_up: Annotated[
        float | None,
        _Seconds(
            "End with an error when a camera was lost for so long.",
            example="600",
            default="it is tried again for ever",
            gt=0,
        ),
    ] = None
    confirm: Annotated[
        int,
        about(
            "Pictures that must show a person before the visit begins.",
            example="3",
            ge=1,
            le=1000,
        ),
    ] = 3
    absence: Annotated[
        float, _Seconds("Time out of sight after which a visit ends.", example="3", gt=0)
    ] = 3.0
    cooldown: Annotated[
        float,
        _Seconds(
            "Time after a visit in which the same person begins no new one.", example="10", ge=0
        ),
    ] = 10.0
    keep_days: Annotated[
        int, about("Number of days after which events are erased.", example="30", ge=1, le=36500)
    ] = 30
    keep_strangers_days: Annotated[
        int,
        about(
            "Number of days after which events and crops of strangers are erased.",
            example="7",
            ge=1,
            le=36500,
        ),
    ] = 7


LIVE: Final = list_fields(LiveTable)
"""The fields of `LiveTable`, by their keys."""

CAMERA: Final = list_fields(CameraTable)
"""The fields of `CameraTable`, by their keys."""


def read_live(table: object, where: str, folder: Path | None) -> LiveTable:
    """Read the table ``[live]``.

    Raises:
        ConfigError: A key is unknown or has a wrong value.
    """
    return LiveTable(**_read(table, LIVE, where, folder))


def read_cameras(tables: object, where: str, folder: Path | None) -> dict[str, CameraTable]:
    """Read the tables ``[camera.NAME]``; returns the cameras by name, in their order.

    Raises:
        ConfigError: A key is unknown, is missing or has a wrong value.
    """
    if not isinstance(tables, dict):
        raise ConfigError(f"{where}: expected tables such as [camera.door]")
    found = {}
    for name, table in tables.items():
        here = f"{where}.{shorten(name)}"
        if not re.fullmatch(CAMERA_NAME, name):
            raise ConfigError(f"{here}: expected a name of letters, digits, spaces, _ . and -")
        values = _read(table, CAMERA, here, folder)
        if "source" not in values:
            raise ConfigError(f"{here}: lacks the key source")
        found[name] = CameraTable(**values)
    return found


def _read(
    table: object, fields: Mapping[str, Field], where: str, folder: Path | None
) -> dict[str, Any]:
    import difflib

    if not isinstance(table, dict):
        raise ConfigError(f"{where}: expected a table")
    values = {}
    for name, value in table.items():
        if name not in fields:
            close = difflib.get_close_matches(name.lower(), fields, n=1)
            more = f"did you mean {close[0]}?" if close else f"known: {', '.join(fields)}"
            raise ConfigError(f"{where}: unknown key {shorten(name)}; {more}")
        field = fields[name]
        shown = "..." if field.secret else shorten(value)
        values[field.attribute] = field.check(value, f"{where}: {name} = {shown}", folder)
    return values


def add_password(url: str, password: str) -> str:
    """Put a password into a URL that names a user.

    Raises:
        ConfigError: The URL names no user, or has a password already.
    """
    parts = urlsplit(url)
    user, at, host = parts.netloc.rpartition("@")
    if not at or not user or ":" in user:
        raise ConfigError(
            "a password is given beside a URL that names a user and no password, such as"
            " rtsp://user@host/stream"
        )
    return parts._replace(netloc=f"{user}:{quote(password, safe='')}@{host}").geturl()
