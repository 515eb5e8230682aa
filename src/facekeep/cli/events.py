"""``facekeep events``: the event log."""

from __future__ import annotations

import re
from contextlib import suppress
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

import click

from facekeep.cli.command import Run, command, group
from facekeep.cli.completion import choices, people_names
from facekeep.cli.live import open_log
from facekeep.cli.live_view import describe_event
from facekeep.cli.options import GALLERY, argument
from facekeep.cli.output import format_count, format_size
from facekeep.errors import EventLogError, GalleryError, InputError
from facekeep.factory import open_gallery

if TYPE_CHECKING:
    from facekeep.events.event_log import EventLog

app = group(
    "events",
    "The event log: who came and left, and what waits to be delivered.",
    examples=["facekeep events list --since 2h", "facekeep events status"],
)

_UNITS: Final = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}


class _Time(click.ParamType):  # type: ignore[type-arg,unused-ignore]
    """A time: how long ago (``2h``), or a date with or without a time of the day."""

    name = "time"

    def convert(self, value: Any, param: Any, ctx: Any) -> datetime:
        if isinstance(value, datetime):
            return value
        if ago := re.fullmatch(r"(\d{1,6})([smhd])", value):
            return datetime.now(UTC) - timedelta(**{_UNITS[ago[2]]: int(ago[1])})
        try:
            return datetime.fromisoformat(value).astimezone()
        except (ValueError, OverflowError):
            self.fail(f"{value!r} is no time; give 30m, 2h, 7d, 2026-01-31 or 2026-01-31T12:00")


@command(
    app,
    "list",
    uses=GALLERY,
    examples=[
        "facekeep events list --since 2h",
        'facekeep events list --person "Ada Lovelace" --json',
        "facekeep events list --since 2026-01-31 --camera door",
    ],
)
@click.option("--since", type=_Time(), metavar="TIME", help="Not before this: 2h ago, or a date.")
@click.option("--until", type=_Time(), metavar="TIME", help="Not after this.")
@click.option("--person", metavar="NAME", help="Only this person.", shell_complete=people_names)
@click.option("--camera", metavar="NAME", help="Only this camera.")
@click.option(
    "--kind",
    type=click.Choice(["arrived", "left", "camera"]),
    metavar="arrived|left|camera",
    help="Only such events.",
    shell_complete=choices("arrived", "left", "camera"),
)
@click.option(
    "--limit", type=click.IntRange(1), metavar="N", help="Only the last ones, as many as this."
)
def list_(run: Run, **chosen: Any) -> None:
    """List events in the order in which they happened.

    Events keep the name that the person had. --person finds those of before a change of name, too.
    """
    if chosen["person"] is not None:
        with suppress(GalleryError), open_gallery(run.settings, read_only=True) as gallery:
            chosen["person"] = gallery.person(chosen["person"]).id
    with _open_log(run, read_only=True) as log:
        for event in log.events(**chosen):
            if run.json:
                run.emit(event.to_dict())
            else:
                run.say(f"{event.time.astimezone():%Y-%m-%d} {'  '.join(describe_event(event))}")


@command(app, "status", uses=GALLERY, examples=["facekeep events status"])
def status(run: Run) -> None:
    """Say what the event log holds, and what waits to be delivered where."""
    with _open_log(run, read_only=True) as log:
        found = log.status()
    if run.json:
        run.emit(
            {
                "path": found.path,
                "events": found.events,
                "bytes": found.size,
                "encrypted": found.encrypted,
                "sinks": [
                    {
                        "name": each.name,
                        "pending": each.pending,
                        "lost": each.lost,
                        "refused": each.refused,
                    }
                    for each in found.sinks
                ],
            }
        )
        return
    kept = "encrypted" if found.encrypted else "not encrypted"
    run.say(
        f"{found.path}: {format_count(found.events, 'event')}, {format_size(found.size)}, {kept}"
    )
    if found.sinks:
        rows = [[each.name, each.pending, each.lost, each.refused] for each in found.sinks]
        run.table(["sink", "waiting", "lost", "refused"], rows)


@command(
    app,
    "forget",
    uses=GALLERY,
    examples=["facekeep events forget mqtt:mqtt://localhost:1883/facekeep"],
)
@argument("sink", metavar="SINK", help="Its name, as facekeep events status shows it.")
def forget(run: Run, sink: str) -> None:
    """Forget a broker, webhook, file or program for good: what waits for it is not delivered.

    The events themselves stay in the log. If it is named again, it gets the events from then on.
    """
    with _open_log(run, read_only=False) as log:
        known = {each.name: each for each in log.status().sinks}
        if sink not in known:
            names = ", ".join(known) or "none"
            raise InputError(f"{sink}: no events wait for such a sink; known: {names}")
        log.remove_sink(sink)
    waited = known[sink].pending
    if run.json:
        run.emit({"forgotten": sink, "pending": waited})
    else:
        run.say(f"forgotten: {sink}, for which {format_count(waited, 'event')} waited")


@command(app, "expire", uses=GALLERY, examples=["facekeep events expire"])
def expire(run: Run) -> None:
    """Erase the events that were kept long enough, as [live] of the configuration says.

    The keys keep_days and keep_strangers_days say how long. facekeep live does this by itself while
    it runs.
    """
    with _open_log(run, read_only=False) as log:
        done = log.expire()
    lost = sum(done.lost.values())
    if run.json:
        run.emit(asdict(done))
        return
    run.say(
        f"erased: {format_count(done.strangers, 'event')} of strangers, {done.old} by age,"
        f" {done.oversize} by size"
    )
    if lost:
        run.say(f"{format_count(lost, 'event')} of them had not been delivered")


def _open_log(run: Run, *, read_only: bool) -> EventLog:
    """Open the event log beside the gallery.

    Raises:
        EventLogError: There is none, or it cannot be used.
    """
    from facekeep.events.event_log import default_event_log_path

    path = default_event_log_path(run.settings.gallery)
    if not path.exists():
        raise EventLogError(f"there is no event log at {path}: facekeep live makes it")
    return open_log(run.settings, run.resolved.live, read_only=read_only)
