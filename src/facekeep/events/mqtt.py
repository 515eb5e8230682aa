"""``MqttSink``: each event to a broker, as Home Assistant, Frigate and Double Take have it."""

from __future__ import annotations

import json
import re
import socket
import threading
import time
from collections.abc import Callable, Collection
from hashlib import blake2b
from typing import TYPE_CHECKING, Any, Literal

from facekeep.errors import DependencyError, InputError, SinkError
from facekeep.events.event import Event, format_utc
from facekeep.events.sinks import Sink, encode_event, load_secret, require_timeout, split_url
from facekeep.events.webhook import explain_network_error, make_tls

if TYPE_CHECKING:
    from paho.mqtt.client import Client

__all__ = ["MqttSink", "make_topic_part"]

_SCHEMES = {"mqtt": 1883, "mqtts": 8883}
_KEEPALIVE = 15
_MAX_PART = 100
_MAX_STATE = 255
"""The most letters of a state that Home Assistant takes."""
_FAREWELL = 0.3
"""Seconds to say good-bye in."""

Peer = Literal["frigate", "double-take"]

_Message = tuple[str, str, bool]
"""Topic, payload, and whether the broker keeps it."""


class MqttSink(Sink):
    """Publishes each event to an MQTT broker, with quality of service 1.

    The topics, below ``facekeep`` unless another prefix is given:

    - ``facekeep/availability``: ``online`` or ``offline``, kept by the broker;
    - ``facekeep/events``: each event, as its JSON;
    - ``facekeep/cameras/CAMERA/event``: the same, by camera;
    - ``facekeep/cameras/CAMERA/person``: who arrived last, or ``nobody`` when all have left;
    - ``homeassistant/sensor/ID/config``: a sensor for each camera, kept by the broker;
    - ``frigate/tracked_object_update`` and ``double-take/matches/NAME``: each usable face that
      arrived, as these programs publish it; NAME is ``unknown`` for strangers.

    Nothing with a name is kept by the broker. An event counts as delivered when the broker has
    confirmed all of its messages, which are sent one at a time.
    """

    def __init__(
        self,
        url: str,
        *,
        password: str | None = None,
        prefix: str = "facekeep",
        home_assistant: str | None = "homeassistant",
        peers: Collection[Peer] = ("frigate", "double-take"),
        ca_file: str | None = None,
        client_cert: tuple[str, str] | None = None,
        timeout: float = 10.0,
        name: str | None = None,
    ) -> None:
        """Check the options; nothing is sent.

        Args:
            url: ``mqtt://[USER[:PASSWORD]@]HOST[:PORT]``, or ``mqtts`` for TLS.
            password: Where the password is, if not in the URL: ``env:NAME`` or ``file:PATH``.
            prefix: What our own topics begin with; two programs at one broker need two.
            home_assistant: What Home Assistant's discovery topics begin with; None: no discovery.
            peers: Which programs' topics faces are published under, too.
            ca_file: Certificates that are trusted, in place of the system's.
            client_cert: The files of this client's certificate and of its key, where the broker
                asks for one.
            timeout: Seconds for the broker to answer.
            name: The sink's name; ``mqtt:``, host, port and prefix, if None.

        Raises:
            InputError: Something of it cannot be used.
            DependencyError: paho-mqtt is not installed.
        """
        try:
            import paho.mqtt.client  # noqa: F401
        except ImportError as error:
            raise DependencyError("MQTT needs: pip install 'facekeep[mqtt]'") from error
        parts, self._host, self._port, self._user, typed = split_url(url, _SCHEMES, "the broker")
        if parts.path not in ("", "/") or parts.query:
            raise InputError("the broker's URL ends after the host and port")
        self._password = load_secret(password, "the broker's password") if password else typed
        for option, value in (("prefix", prefix), ("home_assistant", home_assistant)):
            if value is not None and re.fullmatch(r"[\w-]+(/[\w-]+)*", value, re.ASCII) is None:
                raise InputError(f"{option} takes letters, digits, _, - and /; got {value!r}")
        self._tls = None
        if parts.scheme == "mqtts":
            self._tls = make_tls(ca_file, client_cert)
        self._prefix = prefix
        self._home_assistant = home_assistant
        self._peers = frozenset(peers)
        self._timeout = require_timeout(timeout)
        self.name = name or f"mqtt:{parts.scheme}://{self._host}:{self._port}/{prefix}"
        self._connection: _Connection | None = None
        self._lock = threading.Lock()
        self._closed = False
        self._described: dict[str, None] = {}
        self._present: dict[str, list[str]] = {}

    def __repr__(self) -> str:
        return f"<MqttSink {self.name}>"

    @property
    def _availability(self) -> str:
        return f"{self._prefix}/availability"

    def open(self) -> None:
        """Connect, unless the connection stands, and say that we are online."""
        if self._connection is not None and self._connection.alive:
            return
        self._drop()
        connection = _Connection(self._make_client(), self._timeout)
        with self._lock:
            if self._closed:
                raise SinkError(f"{self.name} was closed")
            self._connection = connection
        try:
            connection.connect(self._host, self._port)
            connection.publish((self._availability, "online", True))
            self._describe_all(connection, tuple(self._described))
        except _BrokerError as error:
            self._drop()
            raise SinkError(f"{self.name}: {error}") from None

    def deliver(self, event: Event) -> None:
        """Publish an event and wait until the broker has confirmed it."""
        connection = self._connection
        if connection is None:
            raise SinkError(f"{self.name} is not connected")
        try:
            if event.camera not in self._described:
                self._describe_all(connection, (event.camera,))
            for message in self._messages(event):
                connection.publish(message)
        except _BrokerError as error:
            self._drop()
            raise SinkError(f"{self.name}: {error}") from None

    def close(self) -> None:
        """Say that we are offline, and disconnect."""
        with self._lock:
            self._closed = True
            connection, self._connection = self._connection, None
        if connection is not None:
            connection.end((self._availability, "offline", True))

    def _drop(self) -> None:
        """Let go of a connection that is lost; its client never sends anything again."""
        with self._lock:
            connection, self._connection = self._connection, None
        if connection is not None:
            connection.end(None)

    def _make_client(self) -> Client:
        from paho.mqtt.client import Client
        from paho.mqtt.enums import CallbackAPIVersion

        # The same after a restart: the broker then ends a connection that it still believes in
        # before it takes the new one, so that "offline" never comes after "online".
        digest = blake2b(f"{socket.gethostname()} {self.name}".encode(), digest_size=6).hexdigest()
        client = Client(
            CallbackAPIVersion.VERSION2,
            client_id=f"facekeep-{digest}",
            reconnect_on_failure=False,
        )
        client.will_set(self._availability, "offline", qos=1, retain=True)
        if self._user is not None or self._password is not None:
            client.username_pw_set(self._user or "", self._password)
        if self._tls is not None:
            client.tls_set_context(self._tls)
        client.connect_timeout = self._timeout
        return client

    # Messages

    def _messages(self, event: Event) -> list[_Message]:
        camera = f"{self._prefix}/cameras/{make_topic_part(event.camera)}"
        text = encode_event(event)
        messages = [(f"{self._prefix}/events", text, False), (f"{camera}/event", text, False)]
        if event.event == "camera":
            return messages
        messages.append((f"{camera}/person", self._who(event), False))
        if event.event == "arrived" and event.usable:
            messages += self._as_peers(event)
        return messages

    def _who(self, event: Event) -> str:
        """Note who is before the camera, and return the last who arrived and is still there."""
        stranger = "unknown person" if event.usable else "unusable face"
        who = stranger if event.name is None else event.name
        key = f"{event.person_id or event.track} {who}"
        there = self._present.get(event.camera, [])
        if event.event == "arrived":
            there = [*(each for each in there if each != key), key]
        else:
            # Whom nobody saw arrive is somebody whose name was erased meanwhile.
            there = [each for each in there if each != key] if key in there else []
        self._present[event.camera] = there[-_MAX_PART:]
        return there[-1].partition(" ")[2][:_MAX_STATE] if there else "nobody"

    def _as_peers(self, event: Event) -> list[_Message]:
        """Return a face as Frigate and Double Take publish it."""
        name = "unknown" if event.name is None else event.name
        score = event.similarity
        messages: list[_Message] = []
        if "frigate" in self._peers:
            update = {
                "type": "face",
                "id": event.id,
                "name": name,
                "score": score,
                "camera": event.camera,
                "timestamp": event.time.timestamp(),
            }
            messages.append(("frigate/tracked_object_update", json.dumps(update), False))
        if "double-take" in self._peers:
            face = {
                "name": name,
                "confidence": None if score is None else round(100 * score, 2),
                "match": event.name is not None,
            }
            match = {
                "id": event.id,
                "timestamp": format_utc(event.time),
                "camera": event.camera,
                "match" if event.name is not None else "unknown": face,
            }
            part = "unknown" if event.name is None else make_topic_part(name)
            messages.append((f"double-take/matches/{part}", json.dumps(match), False))
        return messages

    def _describe_all(self, connection: _Connection, cameras: Collection[str]) -> None:
        """Make cameras known; at each connection, as a broker may have forgotten them."""
        for camera in cameras:
            if self._home_assistant is not None:
                connection.publish(self._describe(camera))
            self._described[camera] = None

    def _describe(self, camera: str) -> _Message:
        """Return what makes Home Assistant show the camera."""
        part = make_topic_part(camera)
        number = blake2b(camera.encode("utf-8", "replace"), digest_size=4).hexdigest()
        base = re.sub(r"\W", "_", self._prefix, flags=re.ASCII)
        sensor: dict[str, Any] = {
            "name": camera[:_MAX_PART],
            "unique_id": f"{base}_{number}",
            "state_topic": f"{self._prefix}/cameras/{part}/person",
            "json_attributes_topic": f"{self._prefix}/cameras/{part}/event",
            "availability_topic": self._availability,
            "icon": "mdi:face-recognition",
            "device": {
                "identifiers": [base],
                "name": self._prefix,
                "manufacturer": "facekeep",
                "model": "face recognition",
            },
        }
        topic = f"{self._home_assistant}/sensor/{base}_{number}/config"
        return topic, json.dumps(sensor), True


def make_topic_part(text: str) -> str:
    """Return a name as one level of a topic: letters and digits of any script, ``_``, ``.``, ``-``.

    Everything else becomes ``-``; long names are cut. ``unknown`` is for strangers alone.
    """
    part = "".join(c if c.isalnum() or c in "_.-" else "-" for c in text)[:_MAX_PART]
    return part + "-" if part in ("", "unknown") else part


class _BrokerError(Exception):
    """What went wrong with a broker, in a few words."""


class _Connection:
    """One connection of one client, with one message under way."""

    def __init__(self, client: Client, timeout: float) -> None:
        self._client = client
        self._timeout = timeout
        self._changed = threading.Condition()
        self._connected = False
        self._failure: str | None = None
        self._confirmed: set[int] = set()
        client.on_connect = self._on_connect
        client.on_disconnect = self._on_disconnect
        client.on_publish = self._on_publish

    @property
    def alive(self) -> bool:
        """Whether the connection stands, as far as anybody knows."""
        return self._connected and self._failure is None

    def connect(self, host: str, port: int) -> None:
        """Connect and wait until the broker takes us."""
        try:
            self._client.connect(host, port, _KEEPALIVE)
        except (OSError, ValueError) as error:
            raise _BrokerError(explain_network_error(error)) from None
        self._client.loop_start()
        self._wait(lambda: self._connected, self._timeout)

    def publish(self, message: _Message) -> None:
        """Send a message and wait until the broker has confirmed it."""
        topic, payload, retain = message
        if not self.alive:
            raise _BrokerError(self._failure or "not connected")
        info = self._client.publish(topic, payload.encode("utf-8", "replace"), 1, retain)
        self._wait(lambda: info.mid in self._confirmed, self._timeout)
        self._confirmed.discard(info.mid)

    def end(self, farewell: _Message | None) -> None:
        """Disconnect, after a last message where there is one."""
        if farewell is not None and self.alive:
            try:
                topic, payload, retain = farewell
                info = self._client.publish(topic, payload, 1, retain)
                self._wait(lambda: info.mid in self._confirmed, _FAREWELL)
            except _BrokerError:
                pass
        with self._changed:
            self._failure = self._failure or "it was closed"
            self._changed.notify_all()
        self._client.disconnect()
        self._client.loop_stop()

    def _wait(self, done: Callable[[], bool], timeout: float) -> None:
        deadline = time.monotonic() + timeout
        with self._changed:
            while not done():
                if self._failure is not None:
                    raise _BrokerError(self._failure)
                rest = deadline - time.monotonic()
                if rest <= 0:
                    raise _BrokerError("no answer in time")
                self._changed.wait(rest)

    def _on_connect(self, _c: Any, _u: Any, _f: Any, reason: Any, _p: Any) -> None:
        with self._changed:
            if reason.is_failure:
                self._failure = f"the broker refused us: {reason}"
            else:
                self._connected = True
            self._changed.notify_all()

    def _on_disconnect(self, _c: Any, _u: Any, _f: Any, reason: Any, _p: Any) -> None:
        with self._changed:
            self._failure = self._failure or "the connection was lost"
            self._changed.notify_all()

    def _on_publish(self, _c: Any, _u: Any, mid: int, _r: Any, _p: Any) -> None:
        with self._changed:
            self._confirmed.add(mid)
            self._changed.notify_all()
