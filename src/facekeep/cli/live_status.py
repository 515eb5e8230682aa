"""How many false names ``facekeep live`` has to expect, and what it saw."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

from facekeep.cli.command import ExitStatus, Run
from facekeep.cli.output import format_count, format_value
from facekeep.factory import open_gallery, open_key

if TYPE_CHECKING:
    from facekeep.config.settings import Settings
    from facekeep.engine import FaceEngine

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
    now = first = datetime.now(UTC)
    seen = Counter[str]()
    if path.exists():
        with EventLog.open(path, key=open_key(run.settings), read_only=True) as log:
            for event in log.events(since=now - timedelta(days=_DAYS), kind="arrived"):
                seen["named" if event.name else "unknown" if event.usable else "unusable"] += 1
                first = min(first, event.time)
    days = max(1.0, (now - first) / timedelta(days=1))
    visits = seen.total()
    share = false_name_share(run.settings, people)
    a_day = visits / days
    facts = {
        "people": people,
        "false_name_share": share,
        "days": days,
        "visits": visits,
        "named": seen["named"],
        "unknown": seen["unknown"],
        "unusable": seen["unusable"],
        "visits_a_day": a_day,
        "expected_false_names_a_day": share * (a_day if visits else _EXAMPLE),
    }
    if run.json:
        run.emit(facts)
        return ExitStatus.YES
    run.say(f"{format_count(people, 'person', 'people')} enrolled")
    run.say(f"share of strangers' visits that are given a wrong name: {_short(share)}")
    if not visits:
        run.say(f"no visit in the last {_DAYS} days")
    else:
        run.say(
            f"last {_short(days)} day{'s' * (days > 1)}: {format_count(visits, 'visit')},"
            f" {seen['named']} named, {seen['unknown']} unknown,"
            f" {seen['unusable']} not recognizable"
        )
    basis = f"{_short(a_day)} visits a day" if visits else f"{_EXAMPLE:.0f} visits a day"
    expected = _short(facts["expected_false_names_a_day"])
    run.say(f"expected: {expected} wrong names a day, if all of {basis} were of strangers")
    return ExitStatus.YES


def _short(number: float) -> str:
    return format_value(float(f"{number:.2g}"))
