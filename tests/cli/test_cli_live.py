"""``facekeep live`` and ``facekeep events``, with real films, servers, brokers and signals."""

from __future__ import annotations

import contextlib
import csv
import io
import itertools
import json
import os
import queue
import signal
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from child_server import wait_for
from event_kit import MOSQUITTO, Broker, HttpServer, Subscriber
from footage import Footage, Walk, plain_background, portrait_people, stay, write_video
from PIL import Image
from rich.console import Console
from video_servers import MjpegServer, jpeg, steady

from facekeep import FaceEngine
from facekeep.cli.live_view import _table
from facekeep.cli.main import main
from facekeep.video.page import LivePage

av = pytest.importorskip("av", reason="PyAV is not installed")
needs_mosquitto = pytest.mark.skipif(MOSQUITTO is None, reason="mosquitto is not installed")

GRACE, EILEEN = "Grace Hopper", "Eileen Collins"


@pytest.fixture(scope="session")
def visits() -> list[Any]:
    """Frames of a camera: Grace Hopper comes and goes, then Eileen Collins does."""
    people = {person.name: person for person in portrait_people()}
    walks = (
        stay(people[GRACE], 0.2, 4, x=200, width=120),
        stay(people[EILEEN], 4.4, 4, x=440, width=120),
    )
    return list(Footage(9, tuple(map(_shown_at_once, walks)), plain_background(), fps=10))


def _shown_at_once(walk: Walk) -> Walk:
    """The same walk with less time on the way in and out."""
    first, _, _, last = walk.path
    there = walk.path[1]
    stops = there._replace(time=first.time + 0.5), there._replace(time=last.time - 0.5)
    return Walk(walk.person, (first, *stops, last), sway=False)


@pytest.fixture(scope="session")
def whole_place(
    tmp_path_factory: pytest.TempPathFactory, visits: list[Any], hopper: Any, ready_models: None
) -> Path:
    folder = tmp_path_factory.mktemp("live")
    write_video(folder / "film.mp4", iter(visits), 10)
    with FaceEngine(folder / "people.db") as engine:
        engine.enroll(GRACE, hopper)
    return folder


@pytest.fixture
def place(whole_place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder we are in: a film, and a gallery that knows Grace Hopper."""
    for name in ("film.mp4", "people.db"):
        (tmp_path / name).write_bytes((whole_place / name).read_bytes())
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FACEKEEP_GALLERY", "people.db")
    monkeypatch.setenv("FACEKEEP_THREADS", "1")
    return tmp_path


@pytest.fixture
def server(visits: list[Any]) -> Iterator[MjpegServer]:
    """A camera in the network that shows the film again and again; it wants a password."""
    pictures = [jpeg(image) for image in visits]
    play = lambda: steady(itertools.cycle(pictures), 0.1)  # noqa: E731
    with MjpegServer(play, login=("ada", "hunter2")) as found:
        yield found


def url_of(server: MjpegServer) -> str:
    return server.url(login="ada:hunter2")


def facts(events: Sequence[dict[str, Any]]) -> list[tuple[str, str | None]]:
    return [(each["event"], each["name"]) for each in events]


FILM = [
    ("camera", None),
    ("arrived", GRACE),
    ("left", GRACE),
    ("arrived", None),
    ("left", None),
    ("camera", None),
]


def sorted_film(events: Sequence[dict[str, Any]]) -> list[tuple[str, str | None]]:
    """The events, those of each moment in the order of the film."""
    return facts(sorted(events, key=lambda each: (each["time"], each["event"] == "camera")))


def test_a_file_is_worked_through_at_once(cli, place: Path) -> None:
    done = cli("live", "film.mp4", "--json")
    events = done.json_lines
    assert done.status == 0
    assert sorted(facts(events), key=str) == sorted(FILM, key=str)
    assert [each["sequence"] for each in events] == list(range(1, len(events) + 1))
    assert {each["camera"] for each in events} == {"film.mp4"}
    grace = next(each for each in events if each["event"] == "left" and each["name"] == GRACE)
    assert 2 < grace["duration"] < 7
    assert grace["similarity"] > grace["threshold"]
    assert grace["fmr"] == 1e-4
    assert cli("events", "list", "--json").json_lines == events


def test_plain_lines_say_who_came(cli, place: Path) -> None:
    lines = cli("live", "film.mp4", "--no-unknown").out.splitlines()
    assert lines[0].startswith("1 person enrolled; of 100 strangers who come about 0.01 are")
    text = "\n".join(lines[1:])
    assert f"film.mp4  {GRACE} arrived (similarity 0." in text
    assert f"film.mp4  {GRACE} left after " in text
    assert "unknown" not in text


def test_events_can_be_asked_for(cli, place: Path) -> None:
    cli("live", "film.mp4", "--json")

    def ask(*words: object) -> list[tuple[str, str | None]]:
        return facts(cli("events", "list", *words, "--json").json_lines)

    assert ask("--person", "grace hopper") == [("arrived", GRACE), ("left", GRACE)]
    cli("people", "rename", GRACE, "Amazing Grace")
    assert ask("--person", "Amazing Grace") == [("arrived", GRACE), ("left", GRACE)]
    assert ask("--kind", "camera", "--camera", "film.mp4") == [("camera", None)] * 2
    assert ask("--camera", "yard") == ask("--until", "2h") == []
    assert len(ask("--since", "2h", "--limit", 4)) == 4
    assert len(cli("events", "list", "--since", "2020-01-31").out.splitlines()) == 6
    assert "is no time; give 30m" in cli("events", "list", "--since", "soon").err
    status = cli("events", "status", "--json").json
    assert (status["events"], status["encrypted"], status["sinks"]) == (6, False, [])
    assert cli("events", "expire", "--json").json == {
        "strangers": 0,
        "old": 0,
        "oversize": 0,
        "lost": {},
    }


def test_status_says_what_to_expect_and_what_was_seen(cli, place: Path) -> None:
    before = cli("live", "--status", "--json").json
    assert (before["people"], before["visits"]) == (1, 0)
    assert before["expected_false_names_a_day"] == pytest.approx(0.01)
    cli("live", "film.mp4", "--json")
    after = cli("live", "--status", "--json").json
    assert (after["visits"], after["named"], after["unknown"], after["unusable"]) == (2, 1, 1, 0)
    assert after["expected_false_names_a_day"] == pytest.approx(2e-4)
    assert "last 1 day: 2 visits, 1 named, 1 unknown" in cli("live", "--status").out


def test_once_ends_with_the_first_person_or_says_that_there_was_none(
    cli, place: Path, collins: Any
) -> None:
    found = cli("live", "film.mp4", "--once", "--json")
    assert found.status == 0
    assert facts(found.json_lines)[:2] == FILM[:2]
    assert len(found.json_lines) == 3, "it ends there"
    cli("people", "remove", GRACE, "--yes")
    none = cli("live", "film.mp4", "--once", "--json")
    assert none.status == 1
    assert {name for _, name in facts(none.json_lines)} == {None}


def test_once_gives_up_after_its_time(cli, place: Path, server: MjpegServer) -> None:
    cli("people", "remove", GRACE, "--yes")
    assert cli("live", url_of(server), "--once", "--timeout", "1").status == 1
    assert cli("live", url_of(server), "--timeout", "1").status == 0


@pytest.mark.parametrize(
    ("words", "status", "message"),
    [
        ((), 2, "no camera is named: give a source"),
        (("nothing.mp4",), 2, "nothing.mp4: cannot be opened: no such file"),
        (("film.mp4", "--region", "0,0 1,1"), 2, "--region 0,0 1,1: expected corners"),
        (("film.mp4", "--region", "0,0 1,0 2,2"), 2, "--region 0,0 1,0 2,2: expected corners"),
        (("film.mp4", "--region", "0,0 1,1 0.5,0.5"), 2, "they must enclose an area"),
        (("film.mp4", "--mask", "a b c"), 2, "--mask a b c: expected corners as shares"),
        (("film.mp4", "--view", "8080"), 2, "expected an address such as :8080"),
        (("film.mp4", "--view", ":99999"), 2, "--view :99999: expected an address such as :8080"),
        (("film.mp4", "--rotate", "45"), 2, "--rotate 45: expected 0, 90, 180 or 270"),
        (("film.mp4", "--exec", "'a"), 2, "quotation marks do not match"),
        (("film.mp4", "--exec", "no-such-program"), 2, "there is no program no-such-program"),
        (("film.mp4", "--webhook", "hunter2"), 2, "a URL that begins with http"),
        (("film.mp4", "--mqtt", "http://ada:hunter2@h"), 2, "mqtt"),
        (("rtsp://ada:hun/ter2@h",), 2, "not an address of the form"),
        (("env:NO_SUCH_VARIABLE",), 2, "the source of the camera, env:NO_SUCH_VARIABLE,"),
        (("env:rtsp://ada:hunter2@h",), 2, "the source of the camera"),
        (("film.mp4", "--gallery", "none.db"), 2, "nobody is enrolled yet"),
        (("film.mp4", "--record", "film.mp4"), 2, "cannot record in film.mp4"),
        (("film.mp4", "--record-size", "1"), 2, "at least 1000000"),
    ],
)
def test_what_cannot_be_done_is_one_line(
    cli, place: Path, words: tuple[str, ...], status: int, message: str
) -> None:
    done = cli("live", *words)
    assert (done.status, done.out.count("\n") <= 1) == (status, True)
    assert message in done.err
    assert done.err.count("\n") == 1
    assert "hunter2" not in done.err.replace("--webhook ...", "")


def test_a_camera_that_is_given_up_is_an_error(cli, place: Path) -> None:
    done = cli("live", "http://ada:hunter2@127.0.0.1:1/video", "--give-up", "0.5")
    assert done.status == 2
    assert "camera 127.0.0.1:1: " in done.err
    assert "hunter2" not in done.err


def test_without_pyav_the_extra_is_named(cli, place: Path, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "av", None)
    done = cli("live", "film.mp4")
    assert done.status == 3
    assert "pip install 'facekeep[video]'" in done.err


def test_cameras_come_from_the_configuration(
    cli, place: Path, server: MjpegServer, monkeypatch
) -> None:
    source = server.url().replace("http://", "http://ada@")
    (place / "live.toml").write_text(
        "[live]\nunknown = false\n"
        f'[camera.door]\nsource = "{source}"\npassword = "env:DOOR"\n'
        '[camera.archive]\nsource = "film.mp4"\nmask = [[[0, 0], [1, 0], [1, 1], [0, 1]]]\n'
    )
    monkeypatch.setenv("DOOR", "hunter2")
    words = ("live", "--config", "live.toml", "--json", "-v")
    done = cli(*words, "--once", "--timeout", 60)
    assert done.status == 0
    people = [each for each in done.json_lines if each["event"] != "camera"]
    assert {each["camera"] for each in people} == {"door"}, "the mask hides the other"
    assert {each["camera"] for each in done.json_lines} == {"door", "archive"}
    assert "hunter2" not in done.out + done.err
    one = cli("live", "archive", "--config", "live.toml", "--json")
    other = cli("live", "attic", "--config", "live.toml")
    assert "attic is no camera of the configuration file, which has door, archive" in other.err
    assert {each["camera"] for each in one.json_lines} == {"archive"}
    monkeypatch.delenv("DOOR")
    assert "the password of the camera door is missing" in cli("live", "--config", "live.toml").err


def test_a_camera_that_hangs_upside_down(cli, place: Path, visits: list[Any]) -> None:
    turned = (np.ascontiguousarray(image[::-1, ::-1]) for image in visits)
    write_video(place / "turned.mp4", turned, 10)
    done = cli("live", "turned.mp4", "--json")
    assert all(each["name"] is None and not each["usable"] for each in done.json_lines)
    assert "its faces are turned by 180 degrees; set rotate to 180" in done.err
    assert done.err.count("seems to be turned") == 1
    done = cli("live", "turned.mp4", "--json", "--rotate", "180")
    assert sorted_film(done.json_lines) == FILM
    assert "seems to be turned" not in done.err
    (place / "live.toml").write_text('[camera.door]\nsource = "turned.mp4"\nrotate = 180\n')
    done = cli("live", "--config", "live.toml", "--json")
    assert sorted_film(done.json_lines) == FILM
    done = cli("live", "--config", "live.toml", "--json", "--rotate", "0")
    assert not any(each["name"] for each in done.json_lines)
    words = ("enroll", "Ada", "--camera", "turned.mp4", "--yes", "--new-person", "--timeout", "60")
    refused = cli(*words)
    assert refused.status == 1
    assert "if the camera hangs so, set rotate" in refused.out
    assert cli(*words, "--rotate", "180").status == 0


def test_an_empty_gallery_is_told(cli, place: Path) -> None:
    assert cli("people", "remove", GRACE, "--yes").status == 0
    assert "nobody is enrolled: everybody will be unknown" in cli("live", "film.mp4").out


def test_a_photo_is_no_film(cli, place: Path, hopper: Any) -> None:
    Image.fromarray(hopper).save(place / "photo.jpg")
    done = cli("live", "photo.jpg")
    assert done.status == 0
    expected = "photo.jpg holds 1 picture, and a visit takes 3: facekeep identify tells who is on a"
    assert expected in done.err
    assert "a visit takes" not in cli("live", "photo.jpg", "--confirm", "1").err


def test_sources_of_one_name_are_told_apart(cli, place: Path) -> None:
    done = cli("live", "film.mp4", str(place / "film.mp4"), "--json")
    assert {each["camera"] for each in done.json_lines} == {"film.mp4", "film.mp4-2"}
    assert len([each for each in done.json_lines if each["name"] == GRACE]) == 4


def test_recordings_show_all_frames_of_a_file(cli, place: Path) -> None:
    assert cli("live", "film.mp4", "--record", "films").status == 0
    (film,) = (place / "films").glob("*.mkv")
    with av.open(str(film)) as container:
        assert len(list(container.decode(video=0))) == 90


def test_events_reach_files_programs_and_webhooks(cli, place: Path) -> None:
    script = place / "hook.py"
    script.write_text("import sys\nopen('hook.log', 'a').write(sys.argv[1] + sys.stdin.read())\n")
    hook = HttpServer(place)
    with hook.running():
        done = cli(
            *("live", "film.mp4", "--json", "--csv", "events.csv", "--webhook", hook.url),
            *("--exec", f"{sys.executable} {script} '$(touch harm); '"),
        )
        assert hook.events() == done.json_lines
    with (place / "events.csv").open() as stream:
        assert [row["id"] for row in csv.DictReader(stream)] == [e["id"] for e in done.json_lines]
    parts = (place / "hook.log").read_text().split("$(touch harm); ")[1:]
    assert [json.loads(part) for part in parts] == done.json_lines
    assert not (place / "harm").exists()
    sinks = cli("events", "status", "--json").json["sinks"]
    assert [each["pending"] for each in sinks] == [0, 0, 0]
    cli("live", "film.mp4", "--json")  # without them
    kept, waiting = len(done.json_lines), [each["name"] for each in sinks]
    assert [cli("events", "forget", name, "--json").json["pending"] for name in waiting] == [
        kept
    ] * 3
    assert cli("events", "status", "--json").json["sinks"] == []
    assert len(cli("events", "list", "--json").json_lines) == 2 * kept
    assert "no events wait for such a sink; known: none" in cli("events", "forget", "hook").err


@needs_mosquitto
def test_home_assistant_gets_each_event_though_the_broker_was_down(cli, place: Path) -> None:
    broker = Broker(place)
    away = cli("live", "film.mp4", "--json", "--mqtt", broker.url)
    assert away.status == 0
    assert "6 events wait for mqtt:" in away.err
    with broker.running():
        subscriber = Subscriber(broker.port)
        again = cli("live", "film.mp4", "--json", "--mqtt", broker.url)
        wait_for(lambda: len(subscriber.payloads("facekeep/events")) >= 12)
        subscriber.close()
    got = [json.loads(each) for each in subscriber.payloads("facekeep/events")]
    assert [each["id"] for each in got] == [e["id"] for e in away.json_lines + again.json_lines]
    (config,) = {
        payload for topic, payload, _ in subscriber.heard if topic.startswith("homeassistant/")
    }
    topic = json.loads(config)["state_topic"]
    assert [each for each in subscriber.payloads(topic) if each == GRACE]
    assert "wait for" not in again.err


class Program:
    """``facekeep live`` in a process of its own, and the lines that it prints."""

    def __init__(self, *words: object) -> None:
        command = [sys.executable, "-m", "facekeep", "live", *map(str, words)]
        self.process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        self.lines: list[str] = []
        self._new: queue.Queue[str] = queue.Queue()
        self._thread = threading.Thread(target=self._read)
        self._thread.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self._new.put(line)
        self._new.put("")

    def wait_for(self, text: str) -> str:
        """Read on to the next line with a text."""
        while line := self._new.get(timeout=120):
            self.lines.append(line)
            if text in line:
                return line
        raise AssertionError(f"it ended without {text!r}")

    def error(self) -> str:
        """What it printed on stderr; ask once, after the end."""
        assert self.process.stderr is not None
        return self.process.stderr.read()

    def end(self, number: int = signal.SIGTERM) -> int:
        """Send a signal, and read the rest; returns the exit status."""
        self.process.send_signal(number)
        with contextlib.suppress(AssertionError):
            self.wait_for("no line has this")
        return self.process.wait(timeout=120)

    def __enter__(self) -> Program:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait()
        self._thread.join()
        for stream in (self.process.stdout, self.process.stderr):
            assert stream is not None
            stream.close()


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_and_nothing_is_lost(
    cli, place: Path, server: MjpegServer, number: int
) -> None:
    with Program(url_of(server), "--json", "--csv", "events.csv") as program:
        program.wait_for('"arrived"')
        assert program.end(number) == 0
        assert program.error() == ""
    events = [json.loads(line) for line in program.lines]
    assert facts(events)[-1][0] == "left", "the visit is closed"
    assert cli("events", "list", "--json").json_lines == events
    with (place / "events.csv").open() as stream:
        assert [row["id"] for row in csv.DictReader(stream)] == [each["id"] for each in events]


@pytest.mark.slow
def test_a_signal_does_not_count_as_somebody_who_came(place: Path, server: MjpegServer) -> None:
    assert main(["people", "remove", GRACE, "--yes"]) == 0
    with Program(url_of(server), "--once", "--json") as program:
        program.wait_for('"arrived"')
        assert program.end() == 128 + signal.SIGTERM


@pytest.mark.slow
def test_hang_up_does_not_call_events_late_that_go_on_at_once(
    place: Path, server: MjpegServer
) -> None:
    config = place / "live.toml"
    config.write_text(f'[camera.door]\nsource = "{url_of(server)}"\n')
    with Program("--config", config, "--json", "--webhook", "http://127.0.0.1:1/") as program:
        program.wait_for('"arrived"')
        config.write_text(f'[camera.gate]\nsource = "{url_of(server)}"\n')
        program.process.send_signal(signal.SIGHUP)
        program.wait_for('"gate"')
        assert program.end() == 0
        error = program.error()
    assert error.count("until facekeep live runs again with it") == 1


def test_headers_of_the_terminal_view_are_whole_beside_long_cells() -> None:
    out = io.StringIO()
    rows = [["0", "mqtt:mqtt://localhost:18883/facekeep", "the connection was refused or cut"]]
    Console(file=out, width=80).print(_table(["waiting", "for", "because"], rows))
    assert out.getvalue().split()[:3] == ["waiting", "for", "because"]


def test_hang_up_reads_the_configuration_again(place: Path, server: MjpegServer) -> None:
    config = place / "live.toml"

    def write(name: str, more: str = "") -> None:
        config.write_text(f'[camera.{name}]\nsource = "{url_of(server)}"\n{more}')

    write("door")
    with Program("--config", config, "--json") as program:
        program.wait_for('"arrived"')
        write("door", "sauce = 3")
        program.process.send_signal(signal.SIGHUP)
        program.wait_for('"left"')
        program.wait_for('"arrived"')
        assert {json.loads(line)["camera"] for line in program.lines} == {"door"}
        write("gate")
        program.process.send_signal(signal.SIGHUP)
        program.wait_for('"gate"')
        assert program.end() == 0
        error = program.error()
    assert "the configuration stays as it was" in error
    assert "unknown key sauce; did you mean source?" in error
    assert error.count("\n") == 1
    sequences = [json.loads(line)["sequence"] for line in program.lines]
    assert sequences == list(range(1, len(sequences) + 1))


@pytest.mark.slow
def test_a_service_manager_is_told_how_it_goes(
    place: Path, server: MjpegServer, monkeypatch
) -> None:
    import socket

    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind("notify")
        manager.settimeout(60)
        monkeypatch.setenv("NOTIFY_SOCKET", str(place / "notify"))
        monkeypatch.setenv("WATCHDOG_USEC", "1000000")
        with Program(url_of(server), "--json") as program:
            assert manager.recv(100) == b"READY=1"
            assert manager.recv(100) == b"WATCHDOG=1"
            program.wait_for('"arrived"')
            assert manager.recv(100) == b"WATCHDOG=1"
            assert program.end() == 0
            told = manager.recv(100)
            while told == b"WATCHDOG=1":
                told = manager.recv(100)
            assert told == b"STOPPING=1"


def test_the_page_is_served_while_it_runs(cli, place: Path, server: MjpegServer, monkeypatch):
    seen: dict[str, bytes] = {}
    shown, lookers = LivePage.add, []

    def look(page: LivePage) -> None:
        for path in ("0.jpg", "state.json"):
            with urllib.request.urlopen(page.url + path, timeout=60) as answer:
                seen[path] = answer.read()
        os.kill(os.getpid(), signal.SIGTERM)

    def add(page: LivePage, *arguments: Any) -> None:
        shown(page, *arguments)
        if not lookers:
            lookers.append(threading.Thread(target=look, args=(page,)))
            lookers[0].start()

    monkeypatch.setattr(LivePage, "add", add)
    done = cli("live", url_of(server), "--view", ":0", "--timeout", 100)
    lookers[0].join()
    assert "watch at http://127.0.0.1:" in done.out
    assert (done.status, done.err) == (0, "")
    assert seen["0.jpg"].startswith(b"\xff\xd8")
    assert json.loads(seen["state.json"])["cameras"][0]["text"].split(", ")[1] == "live"


def test_a_page_for_everybody_is_told(cli, place: Path) -> None:
    done = cli("live", "film.mp4", "--view", "0.0.0.0:0", "--once")
    assert "everybody in the network can see the page" in done.err


def test_enrolling_from_a_camera(cli, place: Path) -> None:
    done = cli("enroll", "Ada", "--camera", "film.mp4", "--yes", "--new-person", "--out", "s.png")
    assert done.status == 0
    lines = done.out.splitlines()
    assert "picture 1 of 4: straight" in lines
    assert "the pictures: s.png" in lines
    assert lines[-1] == "Ada: 2 photos enrolled"
    assert (place / "s.png").stat().st_size > 1000
    again = cli("enroll", "Bob", "--camera", "film.mp4", "--yes", "--json")
    document = again.json
    assert "picture 1 of 4: straight" in again.err
    assert document["enrolled"] == 0
    assert {each["reason"] for each in document["rejected"]} == {"identity_conflict"}


def test_enrolling_from_a_camera_asks_first(cli, place: Path) -> None:
    nobody = cli("enroll", "Ada", "--camera", "film.mp4")
    assert nobody.status == 2
    assert "nobody is there to ask whether the pictures are good: add --yes" in nobody.err
    both = cli("enroll", "Ada", "photo.jpg", "--camera", "film.mp4", "--yes")
    assert "give photos or --camera, not both" in both.err
    assert "belong to --camera" in cli("enroll", "Ada", "photo.jpg", "--yes").err
    words = ("enroll", "Ada", "--camera", "film.mp4", "--yes", "--new-person")
    other = cli(*words, "--embedder", "facekeep-xs", "--terms", "any")
    assert "the gallery holds templates of sface" in other.err
    assert other.out == "", "before anybody poses"
    assert cli("enroll", "Ada", "--camera", "none.mp4", "--yes").status == 2


@pytest.mark.skipif(not hasattr(os, "openpty"), reason="no pseudo-terminals here")
@pytest.mark.parametrize(("answer", "status", "people"), [("y", 0, 2), ("n", 1, 1)])
def test_on_a_terminal_the_answer_counts(
    cli, place: Path, monkeypatch, answer: str, status: int, people: int
) -> None:
    keyboard, terminal = os.openpty()
    os.write(keyboard, f"{answer}\n".encode())
    with os.fdopen(terminal) as stdin:
        monkeypatch.setattr(sys, "stdin", stdin)
        done = cli("enroll", "Ada", "--camera", "film.mp4", "--new-person")
    os.close(keyboard)
    assert "Store 2 pictures as Ada?" in done.err
    assert done.status == status
    path = next(line for line in done.out.splitlines() if "until you have answered" in line)
    assert not Path(path.rpartition(": ")[2]).exists()
    assert len(cli("people", "list", "--json").json["people"]) == people
