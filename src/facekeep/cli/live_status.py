"""How many false names ``facekeep live`` has to expect, and what it saw."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

from facekeep.cli.command import ExitStatus, Run
from facekeep.cli.output import format_count, format_value
from facekeep.factory import open_gallery, open_key

if TYPE_CHECKING:
    from collections.abc import Iterable

    from facekeep.config.settings import Settings
    from facekeep.engine import FaceEngine
    from facekeep.events.event import Event

__all__ = ["print_status", "say_expectation"]

_DAYS: Final = 7
_EXAMPLE: Final = 100.0  # visits of strangers a day, where none were seen yet


def false_name_share(settings: Settings, people: int) -> float:
    """How often the visit of a stranger is given a name."""
    from facekeep.events.visits import expected_false_names

    return settings.fpir or expected_false_names(settings.fmr, people, 1)


def say_expectation(run: Run, engine: FaceEngine) -> None:
    """Say before the start how many false names are to be expected."""
    if run.quiet or run.json:
        return
    people = engine.gallery.count()
    if people == 0:
        run.say("nobody is enrolled: everybody will be unknown")
        return
    expected = _EXAMPLE * false_name_share(run.settings, people)
    run.say(
        f"{format_count(people, 'person', 'people')} enrolled; of {_EXAMPLE:.0f} strangers who come"
        f" about {_short(expected)} are expected to get a wrong name"
    )


def print_status(run: Run) -> ExitStatus:
    """Say what to expect a day, by the gallery, the rate and the visits that were seen."""
    from facekeep.events.event_log import EventLog, default_event_log_path

    with open_gallery(run.settings, read_only=True) as gallery:
        people = gallery.count()
    path = default_event_log_path(run.settings.gallery)
    now = datetime.now(UTC)
    seen = _Seen(now)
    if path.exists():
        with EventLog.open(path, key=open_key(run.settings), read_only=True) as log:
            seen.count(log.events(since=now - timedelta(days=_DAYS), kind="arrived"))
    share = false_name_share(run.settings, people)
    a_day = seen.visits / seen.days
    facts = {
        "people": people,
        "false_name_share": share,
        "days": seen.days,
        "visits": seen.visits,
        "named": seen.named,
        "unknown": seen.unknown,
        "unusable": seen.unusable,
        "visits_a_day": a_day,
        "expected_false_names_a_day": share * (a_day if seen.visits else _EXAMPLE),
    }
    if run.json:
        run.emit(facts)
        return ExitStatus.YES
    run.say(f"{format_count(people, 'person', 'people')} enrolled")
    run.say(f"share of strangers' visits that are given a wrong name: {_short(share)}")
    if not seen.visits:
        run.say(f"no visit in the last {_DAYS} days")
    else:
        run.say(
            f"last {_short(seen.days)} day{'s' * (seen.days > 1)}:"
            f" {format_count(seen.visits, 'visit')},"
            f" {seen.named} named, {seen.unknown} unknown, {seen.unusable} not recognizable"
        )
    basis = f"{_short(a_day)} visits a day" if seen.visits else f"{_EXAMPLE:.0f} visits a day"
    expected = _short(facts["expected_false_names_a_day"])
    run.say(f"expected: {expected} wrong names a day, if all of {basis} were of strangers")
    return ExitStatus.YES


class _Seen:
    """The visits of the last days."""

    def __init__(self, now: datetime) -> None:
        self.visits = self.named = self.unknown = self.unusable = 0
        self.days = 1.0
        self._now = now

    def count(self, events: Iterable[Event]) -> None:
        """Count visits; the days are those since the first of them, one at least."""
        for event in events:
            self.visits += 1
            self.named += event.name is not None
            self.unusable += event.usable is False
            age = (self._now - event.time) / timedelta(days=1)
            self.days = max(self.days, age)
        self.unknown = self.visits - self.named - self.unusable


def _short(number: float) -> str:
    return format_value(float(f"{number:.2g}"))
