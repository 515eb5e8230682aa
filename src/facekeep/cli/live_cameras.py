"""What ``facekeep live`` watches and does: its words and options over the configuration file."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from facekeep._internal.tables import shorten
from facekeep.cli.command import Run
from facekeep.config.live import (
    CAMERA,
    CAMERA_NAME,
    LIVE,
    CameraTable,
    LiveTable,
    add_password,
    parse_polygon,
)
from facekeep.errors import ConfigError, InputError

if TYPE_CHECKING:
    from facekeep.video.camera import Camera
    from facekeep.video.live import LiveOptions

__all__ = ["choose_cameras", "live_options", "open_camera", "read_options"]


def read_options(run: Run, given: Mapping[str, Any]) -> LiveTable:
    """Return the options in force: those of the command line over those of the file.

    Raises:
        ConfigError: One cannot be used.
    """
    values = {}
    for field in LIVE.values():
        value = given.get(field.name)
        if value is None or value == ():
            continue
        words = "; ".join(value) if isinstance(value, tuple) else value
        shown = f"{field.option} {'...' if field.secret else shorten(words)}"
        if isinstance(value, tuple):
            try:
                value = tuple(parse_polygon(text) for text in value)
            except ValueError as error:
                raise ConfigError(f"{shown}: expected {field.expects}") from error
        values[field.attribute] = field.parse(value, shown)
    return replace(run.resolved.live, **values)


def choose_cameras(
    run: Run, words: Sequence[str], rotate: str | None = None
) -> list[tuple[str | None, CameraTable]]:
    """Return the cameras that words name, each with the name that it has in the file.

    Args:
        run: The run, with the cameras of the file.
        words: Sources or names; without words all cameras of the file are meant.
        rotate: What ``--rotate`` says, in place of what the file says.

    Raises:
        ConfigError: The pictures cannot be turned so.
        InputError: There is none.
    """
    known = run.resolved.cameras
    if not words and not known:
        raise InputError(
            "no camera is named: give a source, such as rtsp://user@host/stream, 0 or a file, or"
            " describe cameras in the configuration file, as [camera.door]"
        )
    chosen = words or tuple(known)
    for word in chosen:
        named = re.fullmatch(CAMERA_NAME, word) and not word.isdecimal()
        if known and word not in known and named and not os.path.lexists(word):
            raise InputError(
                f"{word} is no camera of the configuration file, which has {', '.join(known)}, and"
                " no file"
            )
    found: list[tuple[str | None, CameraTable]]
    found = [(w, known[w]) if w in known else (None, CameraTable(source=w)) for w in chosen]
    if rotate is None:
        return found
    turn = CAMERA["rotate"].parse(rotate, f"--rotate {shorten(rotate)}")
    return [(name, replace(table, rotate=turn)) for name, table in found]


def open_camera(name: str | None, table: CameraTable, **options: Any) -> Camera:
    """Make a camera; its password is looked up, and found nowhere else.

    Raises:
        CameraError: There is no such file.
        InputError: The source is none, or its password cannot be found.
    """
    from facekeep.events.sinks import load_secret
    from facekeep.video.camera import Camera

    where = f"the camera {name}" if name else "the camera"
    source = table.source
    if source.startswith("env:") and not os.path.lexists(source):
        name_it = f", {source}," if source[4:].isidentifier() else ""  # else it may be a password
        source = load_secret(source, f"the source of {where}{name_it}")
    if table.password is not None:
        source = add_password(source, load_secret(table.password, f"the password of {where}"))
    return Camera(
        source,
        name=name,
        transport=table.transport,
        connect_timeout=table.connect_timeout,
        read_timeout=table.read_timeout,
        rotate=table.rotate,
        **options,
    )


def live_options(live: LiveTable, camera: CameraTable) -> LiveOptions:
    """Make the options of the session for one camera."""
    from facekeep.video.live import LiveOptions

    return LiveOptions(
        confirm=live.confirm,
        absence=live.absence,
        cooldown=live.cooldown,
        unknown=live.unknown,
        crops=live.crops,
        region=camera.region or live.region,
        mask=camera.mask or live.mask,
    )
