"""No event is lost: kill -9 on either side, frozen receivers, a full disk, two writers."""

from __future__ import annotations

import json
import os
import random
import selectors
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import pytest
from child_server import wait_for
from event_kit import Broker, HttpServer, Subscriber, make_event, needs_mosquitto

from facekeep.errors import EventLogError, StorageFull
from facekeep.events.delivery import Delivery
from facekeep.events.event_log import EventLog
from facekeep.events.mqtt import MqttSink
from facekeep.events.webhook import WebhookSink

pytestmark = pytest.mark.slow

KIT = str(Path(__file__).parents[1] / "helpers")

# Forks at each line that it reads, so that a new process costs a hundredth of what a start costs.
_WORKERS = """
import json, os, signal, sys, time, uuid
sys.path.insert(0, sys.argv[1])
from event_kit import make_event
from facekeep.events.delivery import Delivery
from facekeep.events.event_log import EventLog
from facekeep.events.mqtt import MqttSink
from facekeep.events.webhook import WebhookSink
import http.client, paho.mqtt.client

def work(path, url, acknowledged):
    kind = MqttSink if url.startswith("mqtt") else WebhookSink
    options = {"home_assistant": None, "peers": ()} if kind is MqttSink else {}
    note = os.open(acknowledged, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    with EventLog.open(path) as log:
        delivery = Delivery(
            log, [kind(url, timeout=0.3, name="sink", **options)],
            first_pause=0.005, longest_pause=0.02,
        )
        delivery.start()
        number = log.last
        while True:
            number += 1
            stored = log.append(make_event(number, id=str(uuid.UUID(int=number))))
            os.write(note, b"%d\\n" % stored.sequence)
            while delivery.status()[0].pending > 3:
                time.sleep(0.002)

signal.signal(signal.SIGCHLD, signal.SIG_IGN)
for line in sys.stdin:
    pid = os.fork()
    if pid == 0:
        work(*json.loads(line))
    print(pid, flush=True)
"""


class Workers:
    """Processes that append events and deliver them, one at a time."""

    def __init__(self, log: Path, url: str) -> None:
        self.acknowledged = log.with_suffix(".acknowledged")
        self._task = json.dumps([str(log), url, str(self.acknowledged)])
        self._factory = subprocess.Popen(
            [sys.executable, "-c", _WORKERS, KIT],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._pid = 0

    def start(self) -> None:
        assert self._factory.stdin is not None
        assert self._factory.stdout is not None
        self._factory.stdin.write(self._task + "\n")
        self._factory.stdin.flush()
        self._pid = int(self._factory.stdout.readline())

    def kill(self) -> None:
        os.kill(self._pid, signal.SIGKILL)
        wait_for(self._gone)

    def _gone(self) -> bool:
        with suppress(ProcessLookupError):
            os.kill(self._pid, 0)
            return False
        return True

    def close(self) -> None:
        with suppress(ProcessLookupError):
            os.kill(self._pid, signal.SIGKILL)
        self._factory.communicate()

    def numbers(self) -> list[int]:
        """The sequences whose storing was acknowledged."""
        return [int(line) for line in self.acknowledged.read_text().split("\n")[:-1]]


class Gate:
    """Leads to a broker, but only while it is open, and never before our own subscriber is there.

    Without a subscriber a broker may forget at once what it confirmed.
    """

    def __init__(self, target: int) -> None:
        self._target = target
        self._open = False
        self._over = False
        self._pairs: dict[socket.socket, socket.socket] = {}
        self._lock = threading.Lock()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._listener.settimeout(0.05)
        self.port = self._listener.getsockname()[1]
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def set_open(self, *, is_open: bool) -> None:
        with self._lock:
            self._open = is_open
            if not is_open:
                for each in self._pairs:
                    with suppress(OSError):
                        each.shutdown(socket.SHUT_RDWR)

    def _run(self) -> None:
        with selectors.DefaultSelector() as selector, self._listener:
            selector.register(self._listener, selectors.EVENT_READ)
            while not self._over:
                for key, _ in selector.select(0.05):
                    if key.fileobj is self._listener:
                        self._accept(selector)
                    elif key.fileobj in self._pairs:
                        self._pump(selector, key.fileobj)  # type: ignore[arg-type]
            for each in list(self._pairs):
                each.close()

    def _accept(self, selector: selectors.BaseSelector) -> None:
        near, _ = self._listener.accept()
        with self._lock:
            try:
                if not self._open:
                    raise ConnectionError
                far = socket.create_connection(("127.0.0.1", self._target), 5)
            except OSError:
                near.close()
                return
            for one, other in ((near, far), (far, near)):
                one.settimeout(5)
                self._pairs[one] = other
                selector.register(one, selectors.EVENT_READ)

    def _pump(self, selector: selectors.BaseSelector, source: socket.socket) -> None:
        try:
            data = source.recv(65536)
            if data:
                self._pairs[source].sendall(data)
                return
        except OSError:
            pass
        with self._lock:
            for each in (source, self._pairs[source]):
                selector.unregister(each)
                del self._pairs[each]
                each.close()

    def close(self) -> None:
        self._over = True
        self._thread.join()


Heard = Callable[[], list[dict[str, object]]]


def break_things(
    rounds: int, seed: int, workers: Workers, faults: dict[str, Callable[[], None]], heard: Heard
) -> None:
    """Break something at random moments, and wait each time until events go on."""
    rng = random.Random(seed)
    workers.start()
    plan = [name for name in faults for _ in range(rounds)][: rounds * len(faults)]
    rng.shuffle(plan)
    for name in plan:
        time.sleep(rng.uniform(0, 0.04))
        faults[name]()
        before = len(heard())
        wait_for(lambda: len(heard()) > before)  # noqa: B023 - used at once
    workers.kill()


def check(
    log: EventLog, workers: Workers, heard: Heard, sink: WebhookSink | MqttSink, faults: int
) -> None:
    """Deliver the rest, and compare what was stored with what was heard."""
    with Delivery(log, [sink], first_pause=0.01) as delivery:
        delivery.start()
        assert delivery.flush(60)
        quiet = len(heard())
        added = [log.append(make_event(-1)) for _ in range(20)]
        assert delivery.flush(60)
        wait_for(lambda: len(heard()) >= quiet + 20)
    stored = [each.to_dict() for each in log.events()]
    assert [each["sequence"] for each in stored] == list(range(1, len(stored) + 1))
    assert set(workers.numbers()) <= {each["sequence"] for each in stored}
    assert len(stored) > faults
    got = heard()
    first = {str(each["id"]): each for each in reversed(got)}
    assert all(each == first[str(each["id"])] for each in got)
    in_order = list({str(each["id"]): each for each in got}.values())
    assert in_order == stored
    # One event is under way at a time: so a fault doubles one at the most, if more than once.
    counts = Counter(str(each["id"]) for each in got)
    assert sum(count > 1 for count in counts.values()) <= faults
    assert len(got) - len(stored) <= 2 * faults
    assert [each["id"] for each in got[-20:]] == [each.id for each in added]


@contextmanager
def working(log: Path, url: str) -> Iterator[Workers]:
    workers = Workers(log, url)
    try:
        yield workers
    finally:
        workers.close()


def test_a_webhook_gets_every_event_whatever_is_killed(tmp_path: Path) -> None:
    server, rng = HttpServer(tmp_path), random.Random(1)
    path = tmp_path / "people.events.db"
    EventLog.open(path).close()
    with server.running(), working(path, server.url) as workers:

        def restart_worker() -> None:
            workers.kill()
            workers.start()

        def restart_server() -> None:
            server.kill()
            time.sleep(rng.uniform(0, 0.05))
            server.start()

        def freeze() -> None:
            server.freeze()
            time.sleep(rng.choice((0.05, 0.4)))
            server.thaw()

        def refuse() -> None:
            server.answer(503)
            time.sleep(0.05)
            server.answer(None)

        faults = {
            "worker": restart_worker,
            "server": restart_server,
            "frozen": freeze,
            "unavailable": refuse,
        }
        break_things(25, 1, workers, faults, server.events)
        with EventLog.open(path) as log:
            check(log, workers, server.events, WebhookSink(server.url, name="sink"), 100)


@needs_mosquitto
def test_a_broker_gets_every_event_whatever_is_killed(tmp_path: Path) -> None:
    broker, rng = Broker(tmp_path, "max_inflight_messages 0"), random.Random(2)
    gate = Gate(broker.port)
    path = tmp_path / "people.events.db"
    EventLog.open(path).close()
    url = f"mqtt://127.0.0.1:{gate.port}"
    subscribers: list[Subscriber] = []

    def heard() -> list[dict[str, object]]:
        return [
            json.loads(text) for each in subscribers for text in each.payloads("facekeep/events")
        ]

    def begin() -> None:
        broker.start()
        subscribers.append(Subscriber(broker.port, "facekeep/events", qos=0))
        gate.set_open(is_open=True)

    try:
        with working(path, url) as workers:

            def restart_worker() -> None:
                workers.kill()
                workers.start()

            def restart_broker() -> None:
                broker.kill()
                gate.set_open(is_open=False)
                subscribers[-1].close()
                time.sleep(rng.uniform(0, 0.05))
                begin()

            def freeze() -> None:
                broker.freeze()
                time.sleep(rng.choice((0.05, 0.4)))
                broker.thaw()

            def cut() -> None:
                gate.set_open(is_open=False)
                gate.set_open(is_open=True)

            begin()
            faults = {
                "worker": restart_worker,
                "broker": restart_broker,
                "frozen": freeze,
                "cut": cut,
            }
            break_things(25, 2, workers, faults, heard)
            with EventLog.open(path) as log:
                sink = MqttSink(url, name="sink", home_assistant=None, peers=())
                check(log, workers, heard, sink, 100)
    finally:
        for each in subscribers:
            each.close()
        broker.kill()
        gate.close()


# The log itself


_APPEND = """
import sys
sys.path.insert(0, sys.argv[1])
from event_kit import make_event
from facekeep.events.event_log import EventLog
with EventLog.open(sys.argv[2]) as log:
    for number in range(int(sys.argv[3])):
        print(log.append(make_event(number)).sequence, flush=True)
"""


def appending(path: Path, count: int) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", _APPEND, KIT, path, str(count)], stdout=subprocess.PIPE, text=True
    )


def test_two_processes_number_events_without_gaps_or_doubles(tmp_path: Path) -> None:
    path = tmp_path / "log.db"
    writers = [appending(path, 40) for _ in range(2)]
    numbers = [[int(line) for line in each.communicate()[0].split()] for each in writers]
    assert all(each == sorted(each) and len(each) == 40 for each in numbers)
    assert sorted(numbers[0] + numbers[1]) == list(range(1, 81))
    with EventLog.open(path) as log:
        assert [each.sequence for each in log.events()] == list(range(1, 81))


def test_what_was_acknowledged_survives_kill(tmp_path: Path) -> None:
    path, rng = tmp_path / "log.db", random.Random(3)
    last = 0
    for _ in range(5):
        writer = appending(path, 10_000)
        assert writer.stdout is not None
        for _ in range(rng.randrange(1, 8)):
            last = int(writer.stdout.readline())
        writer.kill()
        lines = writer.communicate()[0].split("\n")[:-1]
        last = int(lines[-1]) if lines else last
        with EventLog.open(path) as log:
            found = [each.sequence for each in log.events()]
            assert found == list(range(1, len(found) + 1))
            assert last <= len(found) <= last + 1
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)


_FULL = """
import resource, signal, sys
sys.path.insert(0, sys.argv[1])
from event_kit import make_event
from facekeep.errors import StorageFull
from facekeep.events.event_log import EventLog
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
with EventLog.open(sys.argv[2]) as log:
    log.append(make_event(1))
    resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, resource.RLIM_INFINITY))
    failed = make_event(2, crop=bytes(1_000_000))
    try:
        log.append(failed)
    except StorageFull as error:
        print(error)
    log.append(make_event(3))
    resource.setrlimit(resource.RLIMIT_FSIZE, (-1, -1))
    print(log.append(failed).sequence)
    print([each.track for each in log.events()])
"""


def test_a_full_disk_is_told_and_leaves_no_gap(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", _FULL, KIT, tmp_path / "log.db"],
        capture_output=True,
        text=True,
        check=True,
    )
    told, sequence, tracks = done.stdout.splitlines()
    assert told == f"no room to write {tmp_path / 'log.db'}: free some space"
    assert (sequence, tracks) == ("3", "[1, 3, 2]")


def test_a_log_that_others_keep_locked(tmp_path: Path) -> None:
    path = tmp_path / "log.db"
    with EventLog.open(path, busy_timeout=0.1) as log, closing(sqlite3.connect(path)) as other:
        other.isolation_level = None
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(EventLogError, match="another program keeps"):
            log.append(make_event(1))
        other.execute("ROLLBACK")
        assert log.append(make_event(1)).sequence == 1


def test_a_folder_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("facekeep.gallery.sqlite.database.replacing", refuse)
    with pytest.raises(StorageFull, match="free some space"):
        EventLog.open(tmp_path / "log.db")
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(EventLogError, match="there is no folder"):
        EventLog.open(tmp_path / "none" / "log.db")
