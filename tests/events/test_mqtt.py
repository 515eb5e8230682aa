"""The MQTT sink against a real broker, with topics as other programs have them."""

from __future__ import annotations

import json
import logging
import subprocess
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from child_server import free_port, wait_for
from event_kit import START, STRANGER, Broker, Subscriber, make_event, needs_mosquitto

from facekeep.errors import InputError, SinkError
from facekeep.events.delivery import Delivery
from facekeep.events.event import Event
from facekeep.events.event_log import EventLog
from facekeep.events.mqtt import MqttSink, make_topic_part

pytest.importorskip("paho.mqtt.client", reason="no paho-mqtt")


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    each = Broker(tmp_path)
    with each.running():
        yield each


@pytest.fixture
def hear(broker: Broker) -> Iterator[Callable[..., Subscriber]]:
    """Make what hears the broker."""
    made: list[Subscriber] = []

    def make(*topics: str) -> Subscriber:
        made.append(Subscriber(broker.port, *topics))
        return made[-1]

    yield make
    for each in made:
        each.close()


def left(event: Event) -> Event:
    return replace(event, event="left", id=event.id + "-left", duration=3.0)


@needs_mosquitto
def test_an_event_is_published_as_itself_and_as_other_programs_do(
    broker: Broker, hear: Callable[..., Subscriber]
) -> None:
    everything = hear()
    ada, stranger = make_event(1), make_event(2, **STRANGER)
    unusable = make_event(3, **(STRANGER | {"usable": False, "similarity": None}))
    lost = Event("camera", "door", START, state="lost")
    with MqttSink(broker.url) as sink:
        for event in (ada, stranger, unusable, lost):
            sink.open()
            sink.deliver(event)
        wait_for(lambda: len(everything.payloads("facekeep/events")) == 4)
        for topic in ("facekeep/events", "facekeep/cameras/door/event"):
            heard = [json.loads(each) for each in everything.payloads(topic)]
            assert heard == [each.to_dict() for each in (ada, stranger, unusable, lost)]
        faces = [json.loads(each) for each in everything.payloads("frigate/tracked_object_update")]
        assert faces[0] == {
            "type": "face",
            "id": ada.id,
            "name": "Ada Lovelace",
            "score": 0.7,
            "camera": "door",
            "timestamp": ada.time.timestamp(),
        }
        assert [each["name"] for each in faces] == ["Ada Lovelace", "unknown"]
        (match,) = everything.payloads("double-take/matches/Ada-Lovelace")
        assert json.loads(match)["match"] == {
            "name": "Ada Lovelace",
            "confidence": 70.0,
            "match": True,
        }
        (unknown,) = everything.payloads("double-take/matches/unknown")
        assert json.loads(unknown)["id"] == stranger.id
        assert json.loads(unknown)["unknown"]["match"] is False


@needs_mosquitto
def test_home_assistant_finds_a_sensor_for_each_camera(
    broker: Broker, hear: Callable[..., Subscriber]
) -> None:
    with MqttSink(broker.url) as sink:
        sink.open()
        sink.deliver(replace(make_event(0), camera="door"))
        sink.deliver(replace(make_event(1), camera="back yard"))
        later = hear()
        wait_for(lambda: len(later.heard) == 3)
        kept = {topic: payload for topic, payload, retain in later.heard if retain}
        assert kept.pop("facekeep/availability") == "online"
        sensors = [json.loads(each) for each in kept.values()]
        assert all(topic.startswith("homeassistant/sensor/facekeep_") for topic in kept)
        assert sorted(each["name"] for each in sensors) == ["back yard", "door"]
        assert len({each["unique_id"] for each in sensors}) == 2
        sensor = next(each for each in sensors if each["name"] == "back yard")
        assert sensor["availability_topic"] == "facekeep/availability"
        assert sensor["device"]["identifiers"] == ["facekeep"]
        sink.deliver(replace(make_event(2), camera="back yard"))
        wait_for(lambda: later.payloads(sensor["state_topic"]) == ["Ada Lovelace"])
        attributes = json.loads(later.payloads(sensor["json_attributes_topic"])[0])
        assert attributes["track"] == 2
    wait_for(lambda: later.payloads("facekeep/availability")[-1] == "offline")
    # What has a name is not kept by the broker.
    again = hear()
    wait_for(lambda: len(again.heard) == 3)
    assert not any("Ada" in payload for _, payload, _ in again.heard)


@needs_mosquitto
def test_the_sensor_shows_who_is_there(broker: Broker, hear: Callable[..., Subscriber]) -> None:
    person = hear("facekeep/cameras/door/person")
    ada = make_event(1)
    stranger = make_event(2, **STRANGER)
    bob = make_event(3, name="Bob", person_id="id-bob")
    erased = replace(left(bob), name=None, person_id=None)
    with MqttSink(broker.url) as sink:
        sink.open()
        for event in (ada, stranger, left(ada), left(stranger), bob, erased):
            sink.deliver(event)
        wait_for(lambda: len(person.heard) == 6)
    assert [payload for _, payload, _ in person.heard] == [
        "Ada Lovelace",
        "unknown person",
        "unknown person",
        "nobody",
        "Bob",
        "nobody",
    ]


@needs_mosquitto
@pytest.mark.parametrize(
    "name",
    ["a/b", "+", "#", "/#/+", "\0\n\x7f", "x" * 10_000, "\u00c5sa \u4e2d", "\ud800", "", "unknown"],
)
def test_any_name_makes_one_topic(
    broker: Broker, hear: Callable[..., Subscriber], name: str
) -> None:
    matches = hear("double-take/matches/+")
    events = hear("facekeep/events")
    event = replace(make_event(1, name=name), camera=name)
    with MqttSink(broker.url) as sink:
        sink.open()
        sink.deliver(event)
        wait_for(lambda: matches.heard and events.heard)
    assert json.loads(matches.heard[0][1])["match"]["name"] == name
    assert json.loads(events.heard[0][1]) == event.to_dict()
    assert matches.heard[0][0] != "double-take/matches/unknown"


def test_topic_part() -> None:
    assert make_topic_part("\u00c5sa Lovelace 2") == "\u00c5sa-Lovelace-2"
    assert make_topic_part("a/b+c#d\0") == "a-b-c-d-"
    assert len(make_topic_part("x" * 10_000)) == 100


@needs_mosquitto
def test_peers_and_prefixes_can_be_chosen(broker: Broker, hear: Callable[..., Subscriber]) -> None:
    everything = hear()
    with MqttSink(broker.url, prefix="home/faces", home_assistant=None, peers=()) as sink:
        sink.open()
        sink.deliver(make_event(1))
        wait_for(lambda: len(everything.heard) == 4)
    assert sorted({topic for topic, _, _ in everything.heard}) == [
        "home/faces/availability",
        "home/faces/cameras/door/event",
        "home/faces/cameras/door/person",
        "home/faces/events",
    ]


# When the broker is away


@needs_mosquitto
def test_a_broker_that_goes_away_and_comes_back(
    broker: Broker, hear: Callable[..., Subscriber]
) -> None:
    sink = MqttSink(broker.url, timeout=5)
    sink.open()
    sink.deliver(make_event(1))
    broker.kill()
    with pytest.raises(SinkError, match="connection was lost"):
        sink.deliver(make_event(2))
    with pytest.raises(SinkError, match="refused or cut"):
        sink.open()
    broker.start()
    again = hear("facekeep/#", "homeassistant/#")
    sink.open()
    wait_for(lambda: any(topic.endswith("/config") for topic, _, _ in again.heard))
    sink.deliver(make_event(3))
    wait_for(lambda: again.payloads("facekeep/events"))
    # The event that failed is not sent by the library behind our back.
    assert [json.loads(each)["track"] for each in again.payloads("facekeep/events")] == [3]
    sink.close()
    with pytest.raises(SinkError, match="closed"):
        sink.open()


@needs_mosquitto
def test_a_frozen_broker_is_noticed(broker: Broker) -> None:
    sink = MqttSink(broker.url, timeout=2)
    sink.open()
    broker.freeze()
    with pytest.raises(SinkError, match="no answer in time"):
        sink.deliver(make_event(1))
    broker.thaw()
    with MqttSink(broker.url) as again:
        again.open()
    sink.close()


@needs_mosquitto
def test_closing_ends_a_delivery(broker: Broker) -> None:
    sink = MqttSink(broker.url, timeout=600)
    sink.open()
    broker.freeze()
    failed: list[SinkError] = []

    def deliver() -> None:
        try:
            sink.deliver(make_event(1))
        except SinkError as error:
            failed.append(error)

    thread = threading.Thread(target=deliver)
    thread.start()
    while thread.is_alive():
        sink.close()
        thread.join(0.05)
    assert failed


@needs_mosquitto
def test_a_process_that_dies_is_said_to_be_offline(
    broker: Broker, hear: Callable[..., Subscriber]
) -> None:
    availability = hear("facekeep/availability")
    sink = MqttSink(broker.url)
    sink.open()
    session = sink._connection
    assert session is not None
    wait_for(lambda: availability.payloads("facekeep/availability") == ["online"])
    session._client.socket().close()  # type: ignore[union-attr]
    wait_for(lambda: availability.payloads("facekeep/availability") == ["online", "offline"])
    sink.close()


# Secrets and TLS


@needs_mosquitto
def test_user_and_password(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    passwords = tmp_path / "passwords"
    tool = ["mosquitto_passwd", "-b", "-c", passwords, "ada", "hush p@ss"]
    subprocess.run(tool, check=True, capture_output=True)
    passwords.chmod(0o644)
    monkeypatch.setenv("MQTT_PASSWORD", "hush p@ss")
    broker = Broker(tmp_path, "allow_anonymous false", f"password_file {passwords}", "user root")
    with broker.running():
        at = f"127.0.0.1:{broker.port}"
        for sink in (
            MqttSink(f"mqtt://ada:hush%20p%40ss@{at}"),
            MqttSink(f"mqtt://ada@{at}", password="env:MQTT_PASSWORD"),
        ):
            with sink:
                sink.open()
                sink.deliver(make_event(1))
        wrong = MqttSink(f"mqtt://ada:hush-wrong@{at}")
        with pytest.raises(SinkError, match="refused us: Not authorized"):
            wrong.open()


def make_certificates(folder: Path) -> dict[str, str]:
    """A certificate authority, a server for the loopback interface, and a client."""
    names = {each: str(folder / each) for each in ("ca.pem", "ca.key")}
    new = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"]
    subprocess.run(
        [*new, "-subj", "/CN=ca", "-keyout", names["ca.key"], "-out", names["ca.pem"]],
        check=True,
        capture_output=True,
    )
    for who in ("server", "client"):
        names |= {f"{who}.{end}": str(folder / f"{who}.{end}") for end in ("pem", "key")}
        subprocess.run(
            [
                *(*new, "-subj", f"/CN={who}", "-addext", "subjectAltName=IP:127.0.0.1"),
                *("-addext", "basicConstraints=critical,CA:FALSE"),
                *("-CA", names["ca.pem"], "-CAkey", names["ca.key"]),
                *("-keyout", names[f"{who}.key"], "-out", names[f"{who}.pem"]),
            ],
            check=True,
            capture_output=True,
        )
    return names


# paho leaves the socket of a handshake that failed to Python, which closes it with a warning.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@needs_mosquitto
def test_tls_checks_both_sides(tmp_path: Path) -> None:
    files = make_certificates(tmp_path)
    broker = Broker(
        tmp_path,
        "user root",
        port_options=(
            f"cafile {files['ca.pem']}",
            f"certfile {files['server.pem']}",
            f"keyfile {files['server.key']}",
            "require_certificate true",
        ),
    )
    with broker.running():
        url = f"mqtts://127.0.0.1:{broker.port}"
        own = files["client.pem"], files["client.key"]
        with MqttSink(url, ca_file=files["ca.pem"], client_cert=own) as sink:
            sink.open()
            sink.deliver(make_event(1))
        with pytest.raises(SinkError, match="not trusted"):
            MqttSink(url, client_cert=own).open()
        with pytest.raises(SinkError):
            MqttSink(url, ca_file=files["ca.pem"]).open()
    with pytest.raises(InputError, match="certificates for TLS"):
        MqttSink(url, ca_file="/no/file")
    with pytest.raises(InputError, match="certificates for TLS"):
        MqttSink(url, client_cert=(files["client.pem"], files["ca.key"]))


@pytest.mark.parametrize(
    ("url", "options"),
    [
        ("http://host/hush", {}),
        ("mqtt://host/hush", {}),
        ("mqtt://:hush@", {}),
        ("mqtt://host", {"prefix": "a/#"}),
        ("mqtt://host", {"prefix": ""}),
        ("mqtt://host", {"prefix": "/a"}),
        ("mqtt://host", {"home_assistant": "+"}),
        ("mqtt://host", {"password": "hush"}),
        ("mqtt://host", {"timeout": 0}),
    ],
)
def test_bad_options(url: str, options: dict[str, Any]) -> None:
    with pytest.raises(InputError) as caught:
        MqttSink(url, **options)
    assert "hush" not in str(caught.value)


def test_no_password_shows(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    sink = MqttSink(f"mqtt://ada:hush-password@127.0.0.1:{free_port()}")
    shown: list[Any] = [sink.name, repr(sink)]
    with pytest.raises(SinkError) as caught:
        sink.open()
    shown += [str(caught.value), repr(caught.value), caught.value.__cause__]
    with EventLog.open(tmp_path / "log.db") as log, Delivery(log, [sink]) as delivery:
        delivery.start()
        wait_for(lambda: delivery.status()[0].error)
        shown += [delivery.status(), log.status(), caplog.text]
    assert "mqtt:mqtt://127.0.0.1" in str(shown)
    assert "hush" not in str(shown)
