"""``Delivery``: brings the events of a log to sinks, each at its own pace."""

from __future__ import annotations

import logging
import os
import random
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from hashlib import blake2b
from pathlib import Path

from facekeep._internal.closing import Closing
from facekeep.errors import EventLogError, FacekeepError, InputError, SinkError, SinkRefused
from facekeep.events.event import Event
from facekeep.events.event_log import DeliveryState, EventLog, SinkStatus
from facekeep.events.sinks import Sink

__all__ = ["Delivery"]

_log = logging.getLogger(__name__)

_POLL = 1.0
"""Seconds after which events of other processes are noticed."""
_GRACE = 0.3
"""Seconds that a delivery which is going on may take when all is to end."""


class Delivery(Closing):
    """Brings events to sinks: in order, at least once, and for as long as the log keeps them.

    Each sink has a thread, so that none waits for another. An event that a sink does not take is
    offered again, after a pause that grows with each try and is spread at random. If this process
    is killed between a delivery and the note of it the sink gets that event again, with the same
    id. Of several processes with the same log one serves a sink, and another one goes on when that
    one ends.
    """

    def __init__(
        self,
        log: EventLog,
        sinks: Sequence[Sink],
        *,
        first_pause: float = 1.0,
        longest_pause: float = 60.0,
        seed: int | None = None,
    ) -> None:
        """Make the sinks known to the log; events that are appended from now on are theirs.

        Args:
            log: Where the events are; it must stay open until ``stop`` has returned.
            sinks: Where they go; no two of one name. They are closed by ``stop``.
            first_pause: Seconds before the second try.
            longest_pause: Seconds that pauses grow to.
            seed: What the pauses are spread by; None for something else each time.

        Raises:
            InputError: Two sinks have the same name.
            EventLogError: The log cannot be written.
        """
        names = [sink.name for sink in sinks]
        if len(set(names)) < len(names):
            raise InputError(f"two sinks have the same name: {', '.join(sorted(names))}")
        self._log = log
        self._pauses = (first_pause, longest_pause)
        self._stop = threading.Event()
        self._claims = _Claims(log.path)
        for sink in sinks:
            log.add_sink(sink.name)
        self._workers = [_Worker(self, sink, random.Random(seed)) for sink in sinks]  # noqa: S311

    def start(self) -> None:
        """Begin; doing it twice does no harm."""
        for worker in self._workers:
            if worker.ident is None:
                worker.start()

    def status(self) -> list[SinkStatus]:
        """Return how each sink fares."""
        known = {each.name: each for each in self._log.status().sinks}
        return [
            replace(known[worker.sink.name], state=worker.state, error=worker.error)
            for worker in self._workers
        ]

    def flush(self, timeout: float) -> bool:
        """Wait until every sink has all events, for ``timeout`` seconds; whether it has."""
        deadline = time.monotonic() + timeout
        while any(each.pending for each in self.status()):
            if time.monotonic() >= deadline or self._stop.is_set():
                return False
            time.sleep(0.02)
        return True

    def stop(self, timeout: float = 1.0) -> None:
        """End within ``timeout`` seconds; what is not delivered by then waits in the log."""
        begin = time.monotonic()
        self._stop.set()
        self._log.wake()
        started = [worker for worker in self._workers if worker.ident is not None]
        for limit in (min(_GRACE, timeout / 2), timeout):
            for worker in started:
                worker.join(max(0.0, begin + limit - time.monotonic()))
            for worker in self._workers:
                with suppress(FacekeepError):
                    worker.sink.close()
        if not any(worker.is_alive() for worker in started):
            self._claims.close()

    def close(self) -> None:
        """Do ``stop``."""
        self.stop()


class _Worker(threading.Thread):
    """Serves one sink."""

    def __init__(self, delivery: Delivery, sink: Sink, rng: random.Random) -> None:
        super().__init__(name=f"facekeep {sink.name}", daemon=True)
        self.sink = sink
        self.state: DeliveryState = "starting"
        self.error: str | None = None
        self._delivery = delivery
        self._rng = rng
        self._failures = 0
        self._tries = (0, 0)
        self._settled: tuple[int, bool] | None = None

    def run(self) -> None:
        """Serve until the delivery stops."""
        stop, claims = self._delivery._stop, self._delivery._claims
        while not stop.is_set():
            try:
                if not claims.take(self.sink.name):
                    self.state = "elsewhere"
                    stop.wait(_POLL)
                    continue
                self._step()
            except FacekeepError as error:
                if not stop.is_set():
                    self._pause(error)
            except Exception as error:  # noqa: BLE001 - a foreign sink must not end the delivery
                if not stop.is_set():
                    _log.exception("the sink %s failed", self.sink.name)
                    self._pause(SinkError(f"it failed: {type(error).__name__}"))
        self.state = "stopped"

    def _step(self) -> None:
        """Deliver the next event, or wait for one."""
        log, sink = self._delivery._log, self.sink
        self._settle()
        sink.open()
        last = log.last
        waiting = log.pending(sink.name)
        if not waiting:
            self.state = "idle"
            if self._failures:
                self._recovered()
            log.expire_if_due()
            log.wait(last, _POLL, self._delivery._stop)
            return
        self.state = "delivering"
        event = waiting[0]
        try:
            sink.deliver(event)
        except SinkRefused as error:
            self._refused(event, error)
        except SinkError as error:
            if not self._is_last_try(event):
                raise
            self._refused(event, error)
        else:
            self._settled = (event.sequence, False)
            self._settle()
            self._recovered()

    def _settle(self) -> None:
        """Note what is settled; tried again where the log cannot be written, as on a full disk.

        So that the sink does not get the event once more for that.
        """
        if self._settled is not None:
            sequence, refused = self._settled
            self._delivery._log.delivered(self.sink.name, sequence, refused=refused)
            self._settled = None

    def _is_last_try(self, event: Event) -> bool:
        sequence, count = self._tries
        count = count + 1 if sequence == event.sequence else 1
        self._tries = (event.sequence, count)
        return self.sink.tries is not None and count >= self.sink.tries

    def _refused(self, event: Event, error: SinkError) -> None:
        _log.warning("event %d was not delivered and will not be: %s", event.sequence, error)
        self._settled = (event.sequence, True)
        self._settle()
        self._failures, self.error = 0, str(error)

    def _recovered(self) -> None:
        if self._failures:
            _log.info("%s takes events again", self.sink.name)
        self._failures = 0
        self.error = None

    def _pause(self, error: FacekeepError) -> None:
        if not self._failures:
            _log.warning("%s; events wait for it", error)
        self.state, self.error = "retrying", str(error)
        first, longest = self._delivery._pauses
        pause = min(first * 2.0 ** min(self._failures, 30), longest)
        self._failures += 1
        asked = error.retry_after if isinstance(error, SinkError) else None
        self._delivery._stop.wait(max(asked or 0.0, pause * self._rng.uniform(0.5, 1.0)))


class _Claims:
    """Which sinks this process serves; the system forgets it when the process ends."""

    def __init__(self, log: Path) -> None:
        self._handle: int | None = None
        self._taken: set[str] = set()
        self._guard = threading.Lock()
        flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NOFOLLOW", 0)
        try:
            self._handle = os.open(f"{log}-sinks", flags, 0o600)
        except OSError as error:
            raise EventLogError(f"cannot use {log}-sinks: {error.strerror}") from error

    def take(self, name: str) -> bool:
        """Whether this process serves the sink from now on, as no other one does."""
        with self._guard:
            if name not in self._taken and self._lock(name):
                self._taken.add(name)
            return name in self._taken

    def _lock(self, name: str) -> bool:
        try:
            import fcntl
        except ImportError:
            return True
        if self._handle is None:
            return False
        place = int.from_bytes(blake2b(name.encode(), digest_size=7).digest(), "big")
        try:
            fcntl.lockf(self._handle, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, place)
        except OSError:
            return False
        return True

    def close(self) -> None:
        """Leave the sinks to others."""
        with self._guard:
            if self._handle is not None:
                os.close(self._handle)
            self._handle = None
            self._taken.clear()
