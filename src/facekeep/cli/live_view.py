"""What ``facekeep live`` shows on a terminal: the cameras, who is there, the last events."""

from __future__ import annotations

import sys
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

from facekeep.cli.command import Run
from facekeep.cli.output import escape_line, format_time

if TYPE_CHECKING:
    from facekeep.events.delivery import Delivery
    from facekeep.events.event import Event
    from facekeep.video.live import CameraStatus, LiveSession

__all__ = ["View", "describe_camera", "describe_event", "open_view"]

_EVENTS: Final = 10  # that the terminal shows


@contextmanager
def open_view(run: Run, session: LiveSession, delivery: Delivery | None) -> Iterator[View]:
    """Choose what shows the session: JSON lines, a table on a terminal, or plain lines."""
    if run.json or not sys.stdout.isatty():
        yield View(run)
        return
    from rich.console import Console
    from rich.live import Live

    console = Console()
    with Live(console=console, auto_refresh=False, redirect_stdout=True) as screen:
        view = _Screen(session, delivery, screen)
        yield view
        view.draw()


def describe_event(event: Event) -> list[str]:
    """Say in three cells what happened: when, where, what."""
    when = f"{event.time.astimezone():%H:%M:%S}"
    if event.event == "camera":
        return [when, event.camera, f"camera {event.state}"]
    who = event.name or ("unknown" if event.usable else "somebody who cannot be recognized")
    what = f"{who} {event.event}"
    if event.event == "left" and event.duration is not None:
        what += f" after {format_time(event.duration)}"
    elif event.similarity is not None and event.threshold is not None:
        what += f" (similarity {event.similarity:.3f}, threshold {event.threshold:.3f})"
    return [when, event.camera, what]


def describe_camera(camera: CameraStatus) -> str:
    """Say in one line how a camera does."""
    cells = _camera_cells(camera)
    words = ("", "", " frames/s", " dropped", " latency", "")
    return ", ".join(f"{c}{word}" for c, word in zip(cells, words, strict=True) if c)


def _camera_cells(camera: CameraStatus) -> list[str]:
    late = camera.latency
    reason = f" ({camera.error})" if camera.state == "lost" and camera.error else ""
    return [
        camera.name,
        f"{camera.state}{reason}",
        f"{camera.fps:.1f}",
        str(camera.dropped),
        "" if late is None else f"{late[0] * 1000:.0f} ms",
        camera.exposure or "",
    ]


class View:
    """Shows events as they come: line by line, as text or as JSON."""

    def __init__(self, run: Run) -> None:
        self._run = run

    def show(self, event: Event) -> None:
        """Show an event."""
        if self._run.json:
            self._run.emit(event.to_dict())
        else:
            self._run.say("  ".join(describe_event(event)))
            sys.stdout.flush()

    def refresh(self) -> None:
        """Show the present state; called now and then, from another thread."""


class _Screen(View):
    """Tables that are drawn again twice a second."""

    def __init__(self, session: LiveSession, delivery: Delivery | None, screen: Any) -> None:
        self._session, self._delivery, self._screen = session, delivery, screen
        self._events: deque[Event] = deque(maxlen=_EVENTS)
        self._drawn = 0.0

    def show(self, event: Event) -> None:
        self._events.append(event)

    def refresh(self) -> None:
        if time.monotonic() - self._drawn >= 0.5:
            self.draw()

    def draw(self) -> None:
        """Draw the present state."""
        self._drawn = time.monotonic()
        self._screen.update(self._tables(), refresh=True)

    def _tables(self) -> Any:
        from rich.console import Group

        cameras = self._session.status()
        present = [
            [
                camera.name,
                each.name or ("unknown" if each.usable else "not recognizable"),
                format_time(each.duration),
            ]
            for camera in cameras
            for each in camera.present
        ]
        parts = [
            _table(
                ["camera", "state", "frames/s", "dropped", "latency", "light"],
                [_camera_cells(camera) for camera in cameras],
            ),
            _table(["where", "present", "since"], present or [["", "nobody", ""]]),
            _table(["time", "camera", "last events"], map(describe_event, list(self._events))),
        ]
        if self._delivery is not None:
            sinks = [
                [
                    str(each.pending),
                    each.name,
                    (each.error or "").removeprefix(each.name).lstrip(": "),
                ]
                for each in self._delivery.status()
            ]
            parts.insert(1, _table(["waiting", "for", "because"], sinks))
        return Group(*parts)


def _table(headers: list[str], rows: Any) -> Any:
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    for header in headers:
        table.add_column(header, no_wrap=True, min_width=len(header))
    for row in rows:
        table.add_row(*(Text(escape_line(cell)) for cell in row))
    return table
