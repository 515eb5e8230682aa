"""Delivery: in order, at least once, never lost, and over promptly."""

from __future__ import annotations

import logging
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from child_server import wait_for
from event_kit import STRANGER, HttpServer, make_event

from facekeep.errors import EventLogError, InputError, SinkError, SinkRefused, StorageFull
from facekeep.events.delivery import Delivery
from facekeep.events.event import Event
from facekeep.events.event_log import EventLog
from facekeep.events.sinks import CommandSink
from facekeep.events.webhook import WebhookSink

KIT = str(Path(__file__).parents[1] / "helpers")


class Listing:
    """A sink that keeps what it gets, and fails as it is told."""

    def __init__(self, name: str = "list", *, tries: int | None = None) -> None:
        self.name = name
        self.tries = tries
        self.got: list[Event] = []
        self.fail: Callable[[Event], BaseException | None] = lambda event: None
        self.offered = 0
        self.closed = False

    def open(self) -> None:
        pass

    def deliver(self, event: Event) -> None:
        self.offered += 1
        error = self.fail(event)
        if error is not None:
            raise error
        self.got.append(event)

    def close(self) -> None:
        self.closed = True


@pytest.fixture
def log(tmp_path: Path) -> Iterator[EventLog]:
    with EventLog.open(tmp_path / "people.events.db") as each:
        yield each


def run(log: EventLog, *sinks: object, **options: float) -> Delivery:
    options = {"first_pause": 0.001, "longest_pause": 0.01} | options
    delivery = Delivery(log, sinks, **options)  # type: ignore[arg-type]
    delivery.start()
    return delivery


def tracks(events: list[Event]) -> list[int | None]:
    return [each.track for each in events]


def test_each_sink_gets_all_events_in_order(log: EventLog) -> None:
    log.append(make_event(0))  # before the sinks were known
    sinks = Listing("a"), Listing("b")
    with run(log, *sinks) as delivery:
        for number in range(1, 20):
            log.append(make_event(number))
        assert delivery.flush(60)
        assert [(each.pending, each.error) for each in delivery.status()] == [(0, None)] * 2
    assert all(tracks(each.got) == list(range(1, 20)) for each in sinks)
    assert all(each.closed for each in sinks)
    assert [each.state for each in delivery.status()] == ["stopped"] * 2


def test_a_sink_that_fails_gets_the_event_again_and_holds_up_nobody(
    log: EventLog, caplog: pytest.LogCaptureFixture
) -> None:
    slow, quick = Listing("slow"), Listing("quick")
    away = threading.Event()
    away.set()
    slow.fail = lambda event: SinkError("slow is away") if away.is_set() else None
    with run(log, slow, quick) as delivery:
        for number in range(3):
            log.append(make_event(number))
        wait_for(lambda: len(quick.got) == 3 and slow.offered > 5)
        status = delivery.status()[0]
        assert (status.state, status.pending, status.error) == ("retrying", 3, "slow is away")
        away.clear()
        assert delivery.flush(60)
        assert delivery.status()[0].error is None
    assert tracks(slow.got) == [0, 1, 2]
    told = [each for each in caplog.records if each.levelno == logging.WARNING]
    assert len(told) == 1  # not with each try


def test_what_is_refused_is_counted_announced_and_passed_over(
    log: EventLog, caplog: pytest.LogCaptureFixture
) -> None:
    sink = Listing()
    sink.fail = lambda event: SinkRefused("not that one") if event.track == 1 else None
    with run(log, sink) as delivery:
        for number in range(3):
            log.append(make_event(number))
        assert delivery.flush(60)
        assert delivery.status()[0].refused == 1
    assert tracks(sink.got) == [0, 2]
    assert "event 2 was not delivered and will not be: not that one" in caplog.text


def test_a_sink_may_limit_the_tries(log: EventLog) -> None:
    sink = Listing(tries=3)
    sink.fail = lambda event: SinkError("no") if event.track == 0 else None
    with run(log, sink) as delivery:
        for number in range(2):
            log.append(make_event(number))
        assert delivery.flush(60)
        assert delivery.status()[0].refused == 1
    assert (sink.offered, tracks(sink.got)) == (4, [1])


def test_a_command_that_fails_is_tried_again_and_then_counted(log: EventLog) -> None:
    with run(log, CommandSink(["false"], tries=2)) as delivery:
        log.append(make_event())
        assert delivery.flush(60)
        status = delivery.status()[0]
        assert (status.refused, status.error) == (1, "exec:false ended with status 1")


def test_an_error_nobody_expects_does_not_end_the_delivery(log: EventLog) -> None:
    sink = Listing()
    errors = iter([RuntimeError("a bug"), ValueError("another")])
    sink.fail = lambda event: next(errors, None)
    with run(log, sink) as delivery:
        log.append(make_event())
        assert delivery.flush(60)
    assert tracks(sink.got) == [0]


def test_pauses_grow_are_spread_and_heed_what_the_sink_asks(
    log: EventLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    sink = Listing()
    failures = [SinkError("no", retry_after=99 if count == 3 else None) for count in range(8)]
    left = iter(failures)
    sink.fail = lambda event: next(left, None)
    delivery = Delivery(log, [sink], first_pause=1, longest_pause=16, seed=1)
    pauses: list[float] = []
    stop = delivery._stop
    monkeypatch.setattr(stop, "wait", lambda pause: pauses.append(pause) or stop.is_set())
    with delivery:
        delivery.start()
        log.append(make_event())
        assert delivery.flush(60)
    assert len(pauses) == 8
    for count, pause in enumerate(pauses):
        assert pause == 99 if count == 3 else 0.5 <= pause / min(2**count, 16) <= 1
    assert len({round(pause / min(2**count, 16), 6) for count, pause in enumerate(pauses)}) > 5


def test_a_full_disk_doubles_nothing(log: EventLog, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was delivered is not delivered again because that could not be noted."""
    sink = Listing()
    sink.fail = lambda event: SinkRefused("no") if event.track == 1 else None
    note, failures = log.delivered, iter(range(8))

    def delivered(name: str, sequence: int, *, refused: bool = False) -> None:
        if next(failures, None) is not None:
            raise StorageFull("no room to write the log")
        note(name, sequence, refused=refused)

    monkeypatch.setattr(log, "delivered", delivered)
    with run(log, sink) as delivery:
        for number in range(3):
            log.append(make_event(number))
        assert delivery.flush(60)
        assert delivery.status()[0].refused == 1
    assert (tracks(sink.got), sink.offered) == ([0, 2], 3)


def test_events_wait_while_nobody_delivers_them(log: EventLog) -> None:
    with run(log, Listing()):
        pass
    for number in range(3):
        log.append(make_event(number))
    sink = Listing()
    with run(log, sink) as delivery:
        assert delivery.flush(60)
    assert tracks(sink.got) == [0, 1, 2]


def test_who_is_erased_while_an_event_waits_is_not_named(log: EventLog) -> None:
    sink = Listing()
    away = threading.Event()
    away.set()
    sink.fail = lambda event: SinkError("away") if away.is_set() else None
    with run(log, sink) as delivery:
        log.append(make_event(0, crop=b"jpeg"))
        wait_for(lambda: sink.offered > 2)
        assert log.erase_person("id-ada").names == 1
        offered = sink.offered
        wait_for(lambda: sink.offered > offered + 1)
        away.clear()
        assert delivery.flush(60)
    assert [(each.name, each.crop, each.person_id) for each in sink.got] == [(None, None, None)]


def test_only_what_is_too_old_is_lost_and_that_is_told(
    log: EventLog, caplog: pytest.LogCaptureFixture
) -> None:
    sink = Listing()
    sink.fail = lambda event: SinkError("away")
    with run(log, sink) as delivery:
        log.append(make_event(0, **STRANGER))
        log.append(make_event(1))
        log.expire(datetime.now(UTC) + timedelta(days=10))
        sink.fail = lambda event: None
        assert delivery.flush(60)
        assert delivery.status()[0].lost == 1
    assert tracks(sink.got) == [1]
    assert "1 events were never delivered to list" in caplog.text


def test_two_sinks_of_one_name(log: EventLog) -> None:
    with pytest.raises(InputError, match="same name"):
        Delivery(log, [Listing(), Listing()])


def test_stopping_is_prompt_while_a_server_is_frozen(log: EventLog, tmp_path: Path) -> None:
    server = HttpServer(tmp_path)
    with server.running():
        server.freeze()
        delivery = run(log, WebhookSink(server.url, timeout=600))
        log.append(make_event(0))
        wait_for(lambda: delivery.status()[0].state == "delivering")
        delivery.stop(timeout=30)
        assert not any(each.is_alive() for each in delivery._workers)
        assert delivery.status()[0].pending == 1
        server.thaw()
        with run(log, WebhookSink(server.url)) as again:
            assert again.flush(60)
    assert {each["track"] for each in server.events()} == {0}


def test_stopping_does_not_wait_for_a_sink_that_hangs(log: EventLog) -> None:
    sink = Listing()
    over = threading.Event()
    sink.fail = lambda event: over.wait() or None if over.wait() else None
    delivery = run(log, sink)
    log.append(make_event(0))
    wait_for(lambda: sink.offered)
    delivery.stop(timeout=0.2)
    assert delivery._workers[0].is_alive()
    over.set()
    delivery._workers[0].join()


def test_stopping_while_nothing_happens_wakes_the_threads(
    log: EventLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("facekeep.events.delivery._POLL", 3600.0)
    delivery = run(log, Listing("a"), Listing("b"))
    wait_for(lambda: all(each.state == "idle" for each in delivery.status()))
    delivery.stop(timeout=300)
    assert not any(each.is_alive() for each in delivery._workers)


def test_a_damaged_log_is_told(log: EventLog, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise EventLogError("it is damaged")

    monkeypatch.setattr(log, "pending", fail)
    with run(log, Listing()) as delivery:
        wait_for(lambda: delivery.status()[0].error)
        assert delivery.status()[0].error == "it is damaged"


_SERVE = """
import sys
sys.path.insert(0, sys.argv[1])
from facekeep.events.delivery import Delivery
from facekeep.events.event_log import EventLog
from facekeep.events.sinks import CsvSink
sink = CsvSink(sys.argv[3], name="list")
with EventLog.open(sys.argv[2]) as log, Delivery(log, [sink]) as delivery:
    delivery.start()
    while delivery.status()[0].state not in ("idle", "elsewhere"):
        pass
    print(delivery.status()[0].state, flush=True)
    sys.stdin.read()
"""


def test_of_two_processes_one_serves_a_sink_and_the_other_takes_over(
    log: EventLog, tmp_path: Path
) -> None:
    table = tmp_path / "events.csv"
    other = subprocess.Popen(
        [sys.executable, "-c", _SERVE, KIT, log.path, table],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert other.stdin is not None
    assert other.stdout is not None
    with other:
        assert other.stdout.readline() == "idle\n"
        sink = Listing()
        with run(log, sink) as delivery:
            wait_for(lambda: delivery.status()[0].state == "elsewhere")
            log.append(make_event(0))
            assert delivery.flush(60)
            other.kill()
            log.append(make_event(1))
            assert delivery.flush(60)
        assert tracks(sink.got) == [1]
        assert table.read_text().count("arrived") == 1


def test_the_log_is_looked_through_for_what_has_expired(
    log: EventLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log, "_next_expiry", time.monotonic())
    log.append(make_event(0, **STRANGER))
    old = (datetime.now(UTC) - timedelta(days=8)).isoformat(timespec="microseconds")
    with log._write() as (connection, _):
        connection.execute("UPDATE events SET added = ?", (old,))
    monkeypatch.setattr(log, "_next_expiry", time.monotonic())
    with run(log, Listing()):
        wait_for(lambda: not list(log.events()))
