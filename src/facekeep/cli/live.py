"""``facekeep live``: cameras, who is before them, and what becomes of the events."""

from __future__ import annotations

import shlex
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from facekeep.cli.command import ExitStatus, Run, command, group
from facekeep.cli.completion import file_names
from facekeep.cli.hints import explain_error
from facekeep.cli.live_cameras import choose_cameras, live_options, open_camera, read_options
from facekeep.cli.live_process import (
    Asked,
    catch_live_signals,
    notify_service,
    watchdog_seconds,
)
from facekeep.cli.live_status import print_status, say_expectation
from facekeep.cli.live_view import describe_camera, describe_event, open_view
from facekeep.cli.options import ENGINE, GALLERY, argument, table_option
from facekeep.cli.output import format_count
from facekeep.config.live import CAMERA, LIVE, LiveTable
from facekeep.errors import ConfigError, FacekeepError
from facekeep.factory import open_engine, open_key

if TYPE_CHECKING:
    from facekeep.cli.live_view import View
    from facekeep.config.live import CameraTable
    from facekeep.config.settings import Settings
    from facekeep.events.delivery import Delivery
    from facekeep.events.event import Event
    from facekeep.events.event_log import EventLog
    from facekeep.events.sinks import Sink
    from facekeep.types import Observation
    from facekeep.video.camera import Camera, Frame
    from facekeep.video.live import LiveOptions, LiveSession

app = group()

_TICK: Final = 0.25  # seconds between two looks at what goes on around the session
_DRAIN: Final = 5.0  # seconds at the end of all sources in which events are still delivered
_HURRY: Final = 0.2  # the same after a signal
_RECENT: Final = 20  # events on the page

_OnFrame = Callable[["Frame", "list[Observation]"], None]


@command(
    app,
    "live",
    uses=("fmr", "fpir", *GALLERY, *ENGINE),
    options=[table_option(each) for each in (CAMERA["rotate"], *LIVE.values())],
    examples=[
        "facekeep live rtsp://ada@192.0.2.7/stream --mqtt mqtt://localhost",
        "facekeep live 0 --view :8080",
        "facekeep live film.mp4 --json",
        "facekeep live 0 --once --timeout 30 && echo welcome",
        "facekeep live --config facekeep.toml",
        "facekeep live --status",
    ],
)
@argument(
    "sources",
    nargs=-1,
    metavar="[SOURCE]...",
    help="Cameras: addresses (rtsp://, http://), devices (0, /dev/video0), files, folders, - for"
    " standard input, env:NAME for a variable that holds one; or names of cameras in the"
    " configuration file, of which all are watched where none is named.",
    shell_complete=file_names,
)
@click.option("--once", is_flag=True, help="End when the first enrolled person arrives.")
@click.option(
    "--timeout",
    type=click.FloatRange(0, min_open=True),
    metavar="SECONDS",
    help="End after so many seconds.",
)
@click.option("--realtime", is_flag=True, help="Play files at their own speed.")
@click.option(
    "--status", is_flag=True, help="Say what to expect a day, and what was seen; watch nothing."
)
def live(
    run: Run,
    sources: tuple[str, ...],
    once: bool,
    timeout: float | None,
    realtime: bool,
    status: bool,
    **given: Any,
) -> int:
    """Watch cameras, and say who comes and leaves.

    Each visit is one decision and gives two events, "arrived" and "left". Events are stored in the
    event log beside the gallery, and wait there for brokers, webhooks, files and programs that are
    away. A file is worked through at once, and the command ends with it. Ctrl-C or SIGTERM end it
    within a second; nothing is lost. SIGHUP has it read the configuration again. Exit status: 0;
    with --once 0 when an enrolled person arrived and 1 when nobody did.
    """
    if status:
        return print_status(run)
    deadline = time.monotonic() + timeout if timeout else None
    plan = _Plan(run, sources, given, once=once, realtime=realtime, deadline=deadline)
    with catch_live_signals() as asked:
        while True:
            watch = _LiveRun(plan, asked)
            try:
                watch.work()
            except KeyboardInterrupt:
                if asked.end is None:
                    raise
            if asked.next is None or asked.end is not None:
                break
            plan, asked.next = asked.next, None
    if once and not watch.found:
        return asked.status or ExitStatus.NO
    return ExitStatus.YES


@dataclass(frozen=True)
class _Plan:
    """What is asked for: the words of the command line and the configuration as it was read.

    Attributes:
        run: The run, with its settings.
        sources: What names the cameras.
        given: The options of ``[live]`` that were given, and ``rotate``.
        once: End when an enrolled person arrives.
        realtime: Play files at their own speed.
        deadline: When to end, by the monotonic clock.
    """

    run: Run
    sources: Sequence[str]
    given: dict[str, Any]
    once: bool
    realtime: bool
    deadline: float | None

    def read_again(self) -> _Plan:
        """Read the configuration again.

        Raises:
            FacekeepError: It cannot be used.
        """
        old = self.run
        run = Run(old.flags, old.config, json=old.json, quiet=old.quiet)
        read_options(run, self.given)
        planned = replace(self, run=run)
        planned.cameras()
        return planned

    def cameras(self) -> list[tuple[str | None, CameraTable]]:
        """Return what is watched, each with its name in the file.

        Raises:
            FacekeepError: There is none.
        """
        return choose_cameras(self.run, self.sources, self.given.get("rotate"))


class _LiveRun:
    """One session, from opening everything until it ends or is to begin anew.

    Attributes:
        found: Whether an enrolled person arrived.
    """

    def __init__(self, plan: _Plan, asked: Asked) -> None:
        self.found = False
        self._plan, self._run, self._asked = plan, plan.run, asked
        self._options = read_options(plan.run, plan.given)
        self._recent: deque[Event] = deque(maxlen=_RECENT)
        self._cameras: list[Camera] = []
        self._closing: list[threading.Thread] = []

    def work(self) -> None:
        """Watch until all sources have ended, or somebody asks for the end."""
        from facekeep.video.live import LiveSession

        run = self._run
        with ExitStack() as stack:
            cameras, rules = self._open_cameras(stack)
            engine = stack.enter_context(open_engine(run.settings, gallery="read"))
            say_expectation(run, engine)
            log = stack.enter_context(open_log(run.settings, self._options))
            shown: list[_OnFrame] = []

            def show(frame: Frame, observations: list[Observation]) -> None:
                for each in shown:
                    each(frame, observations)

            on_frame = show if self._options.view or self._options.record else None
            session = LiveSession(engine, cameras, rules, log=log, on_frame=on_frame)
            shown += self._open_pictures(stack, session, cameras)
            delivery = stack.enter_context(self._deliver(log))
            view = stack.enter_context(open_view(run, session, delivery))
            stack.enter_context(self._beside(session, view, log))
            for event in session.events():
                self._recent.append(event)
                view.show(event)
                if self._plan.once and event.event == "arrived" and event.name is not None:
                    self.found = True
                    session.stop()
            self._say_short(cameras)

    def _say_short(self, cameras: Sequence[Camera]) -> None:
        """Say which files hold too few pictures for a visit, as a photo does."""
        for camera in cameras:
            ended = not camera.live and camera.state == "ended"
            if ended and 0 < camera.frames < self._options.confirm:
                held = format_count(camera.frames, "picture")
                self._run.warn(
                    f"{camera.name} holds {held}, and a visit takes"
                    f" {self._options.confirm}: facekeep identify tells who is on a photo"
                )

    def _open_cameras(self, stack: ExitStack) -> tuple[list[Camera], dict[str, LiveOptions]]:
        """Make the cameras, which are closed at the end, and the options of each."""
        cameras: list[Camera] = self._cameras
        stack.callback(self._close_cameras)
        rules: dict[str, LiveOptions] = {}
        for name, table in self._plan.cameras():
            camera = open_camera(
                name, table, realtime=self._plan.realtime, give_up=self._options.give_up
            )
            base, number = camera.name, 2
            while camera.name in rules:
                camera.name, number = f"{base}-{number}", number + 1
            rules[camera.name] = live_options(self._options, table)
            cameras.append(camera)
        return cameras, rules

    def _close_cameras(self, *, wait: bool = True) -> None:
        """Close the cameras at the same time: one that hangs takes a moment."""
        if not self._closing:
            self._closing = [threading.Thread(target=each.close) for each in self._cameras]
            for thread in self._closing:
                thread.start()
        for thread in self._closing if wait else ():
            thread.join()

    def _open_pictures(
        self, stack: ExitStack, session: LiveSession, cameras: Sequence[Camera]
    ) -> list[_OnFrame]:
        """Open what shows or records the pictures."""
        found: list[_OnFrame] = []
        if self._options.record is not None:
            from facekeep.video.recorder import Recorder

            size = self._options.record_size
            recorder = stack.enter_context(Recorder(self._options.record, max_bytes=size))
            patient = {camera.name for camera in cameras if not camera.live}
            found.append(lambda f, seen: recorder.add(f, seen, wait=f.camera in patient))
        if self._options.view is not None:
            from facekeep.video.page import LivePage

            host, _, port = self._options.view.rpartition(":")
            host = host.strip("[]") or "127.0.0.1"
            names = [camera.name for camera in cameras]
            page = LivePage(host, int(port), names, lambda: self._page(session))
            found.append(stack.enter_context(page).add)
            if not page.private:
                self._run.warn(
                    f"everybody in the network can see the page {page.url}: there is no password"
                )
            self._run.say(f"watch at {page.url}")
        return found

    def _page(self, session: LiveSession) -> dict[str, Any]:
        """What stands on the page."""
        return {
            "cameras": [{"name": c.name, "text": describe_camera(c)} for c in session.status()],
            "events": [describe_event(event) for event in reversed(list(self._recent))],
        }

    @contextmanager
    def _deliver(self, log: EventLog) -> Iterator[Delivery | None]:
        """Bring events to where they are to go, from now until a while after the end."""
        sinks = make_sinks(self._options)
        if not sinks:
            yield None
            return
        from facekeep.events.delivery import Delivery

        delivery = Delivery(log, sinks)
        try:
            delivery.start()
            yield delivery
        finally:
            again = self._asked.next is not None and self._asked.end is None
            hurry = again or self._asked.end is not None
            delivery.flush(_HURRY if hurry else _DRAIN)
            if not again:  # else they are delivered in a moment
                self._say_waiting(delivery)
            delivery.stop(_HURRY)

    def _say_waiting(self, delivery: Delivery) -> None:
        for each in delivery.status():
            if each.pending:
                what = f"{each.pending} events wait for {each.name}"
                self._run.warn(f"{what} until facekeep live runs again with it")

    @contextmanager
    def _beside(self, session: LiveSession, view: View, log: EventLog) -> Iterator[None]:
        """Do what goes on around the session, in a thread: the view, the deadline, the service."""
        ended = threading.Event()
        ticker = threading.Thread(
            target=self._tick, args=(session, view, log, ended), name="facekeep-live", daemon=True
        )
        self._asked.stop = session.stop
        ticker.start()
        try:
            yield
        finally:
            notify_service("STOPPING=1")
            self._asked.stop = lambda: None
            self._close_cameras(wait=False)
            ended.set()
            ticker.join()

    def _tick(
        self, session: LiveSession, view: View, log: EventLog, ended: threading.Event
    ) -> None:
        health = _Health(session)
        notify_service("READY=1")
        while not ended.wait(_TICK):
            view.refresh()
            health.report()
            log.expire_if_due()
            if self._plan.deadline is not None and time.monotonic() > self._plan.deadline:
                session.stop()
            if self._asked.reload:
                self._asked.reload = False
                self._reload(session)

    def _reload(self, session: LiveSession) -> None:
        """Read the configuration again; one that cannot be used changes nothing."""
        try:
            self._asked.next = self._plan.read_again()
        except FacekeepError as error:
            self._run.warn(f"the configuration stays as it was: {explain_error(error)}")
        else:
            session.stop()


class _Health:
    """Tells the service manager that the session goes on: while frames are worked through."""

    def __init__(self, session: LiveSession) -> None:
        self._session = session
        self._period = watchdog_seconds()
        self._told = 0.0
        self._frames = -1

    def report(self) -> None:
        """Tell it, when it is time, and there were frames since or no camera gives any."""
        if self._period is None or time.monotonic() - self._told < self._period:
            return
        cameras = self._session.status()
        frames = sum(camera.frames for camera in cameras)
        if frames != self._frames or all(camera.state != "live" for camera in cameras):
            self._told, self._frames = time.monotonic(), frames
            notify_service("WATCHDOG=1")


def open_log(settings: Settings, options: LiveTable, *, read_only: bool = False) -> EventLog:
    """Open the event log beside the settings' gallery; it is made where there is none.

    Raises:
        EventLogError: It cannot be used.
    """
    from datetime import timedelta

    from facekeep.events.event_log import EventLog, default_event_log_path

    return EventLog.open(
        default_event_log_path(settings.gallery),
        key=open_key(settings),
        max_age=timedelta(days=options.keep_days),
        stranger_age=timedelta(days=options.keep_strangers_days),
        read_only=read_only,
    )


def make_sinks(options: LiveTable) -> list[Sink]:
    """Make what events are delivered to.

    Raises:
        InputError: One cannot be used.
    """
    sinks: list[Sink] = []
    if options.mqtt is not None:
        from facekeep.events.mqtt import MqttSink

        sinks.append(MqttSink(options.mqtt, password=options.mqtt_password))
    if options.webhook is not None:
        from facekeep.events.webhook import WebhookSink

        sinks.append(WebhookSink(options.webhook, secret=options.webhook_secret))
    if options.csv is not None:
        from facekeep.events.sinks import CsvSink

        sinks.append(CsvSink(Path(options.csv)))
    if options.exec_ is not None:
        from facekeep.events.sinks import CommandSink

        sinks.append(CommandSink(_split_command(options.exec_)))
    return sinks


def _split_command(line: str) -> list[str]:
    try:
        return shlex.split(line)
    except ValueError as error:
        raise ConfigError("--exec: the quotation marks do not match") from error
