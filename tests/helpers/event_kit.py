"""Real receivers of events for tests: an HTTP server and an MQTT broker, as processes."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import sys
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from child_server import ChildServer, free_port, wait_for

from facekeep.events.event import Event

MOSQUITTO = shutil.which("mosquitto") or shutil.which("mosquitto", path="/usr/sbin")
needs_mosquitto = pytest.mark.skipif(
    MOSQUITTO is None, reason="no mosquitto: run scripts/test_servers.sh"
)

START = datetime(2026, 1, 31, 12, tzinfo=UTC)

# Appends each request to a file as a line of JSON, on the disk before it answers. The file beside
# it, ".status", says with which status and headers.
_HTTP = """
import http.server, json, os, pathlib, sys

class Handler(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        length = int(self.headers["content-length"])
        body = self.rfile.read(length).decode()
        if len(body) < length:  # the sender was killed; nobody takes half a request
            return
        record = {"path": self.path, "headers": dict(self.headers), "body": body}
        status, headers = 200, {}
        if answer.exists():
            status, headers = json.loads(answer.read_text())
        if status == 200:
            with open(sys.argv[2], "a") as file:
                file.write(json.dumps(record) + "\\n")
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
    def log_message(self, *_):
        pass

answer = pathlib.Path(sys.argv[2] + ".status")
http.server.HTTPServer.allow_reuse_address = True
server = http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler)
print("ready", flush=True)
server.serve_forever()
"""


def make_event(number: int = 0, **facts: object) -> Event:
    """An event that Ada arrived; with other facts where they are given."""
    defaults: dict[str, object] = {
        "name": "Ada Lovelace",
        "person_id": "id-ada",
        "usable": True,
        "similarity": 0.7,
        "threshold": 0.4,
        "fmr": 1e-4,
        "track": number,
    }
    moment = START + timedelta(seconds=number)
    return Event("arrived", "door", moment, **(defaults | facts))  # type: ignore[arg-type]


STRANGER: dict[str, object] = {"name": None, "person_id": None, "similarity": 0.1}


class Server(ChildServer, ABC):
    """A process that can be started again on the same port."""

    def __init__(self) -> None:
        self.port = free_port()

    def start(self) -> None:
        """Start, and return once it listens."""
        self.process = self._spawn()
        wait_for(self._listens)

    def _listens(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, "the server ended"
        with suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 5):
            return True
        return False

    @abstractmethod
    def _spawn(self) -> subprocess.Popen[bytes]:
        """Start the process."""

    @contextmanager
    def running(self) -> Iterator[None]:
        """Run it, and kill it at the end."""
        self.start()
        try:
            yield
        finally:
            self.kill()


class HttpServer(Server):
    """Takes webhooks; what it took is in its file, also after it was killed."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self._file = folder / "requests.jsonl"
        self.url = f"http://127.0.0.1:{self.port}/hook"

    def _spawn(self) -> subprocess.Popen[bytes]:
        return subprocess.Popen([sys.executable, "-S", "-c", _HTTP, str(self.port), self._file])

    def answer(self, status: int | None, **headers: str) -> None:
        """Answer with a status from now on; None for 200."""
        file = self._file.with_name(self._file.name + ".status")
        if status is None:
            file.unlink()
        else:
            part = file.with_suffix(".part")
            part.write_text(json.dumps([status, headers]))
            part.replace(file)

    def requests(self) -> list[dict[str, Any]]:
        """The requests that it took."""
        if not self._file.exists():
            return []
        lines = self._file.read_text().split("\n")[:-1]
        return [json.loads(line) for line in lines]

    def events(self) -> list[dict[str, Any]]:
        """The events in them."""
        return [json.loads(each["body"]) for each in self.requests()]


class Broker(Server):
    """Mosquitto, which keeps what it has for its subscribers on the disk or not at all."""

    def __init__(self, folder: Path, *options: str, port_options: tuple[str, ...] = ()) -> None:
        super().__init__()
        self._config = folder / "mosquitto.conf"
        lines = [f"listener {self.port} 127.0.0.1", *port_options, *options]
        if not any(each.startswith("allow_anonymous") for each in options):
            lines.append("allow_anonymous true")
        self._config.write_text("\n".join([*lines, "log_dest none", ""]))
        self.url = f"mqtt://127.0.0.1:{self.port}"

    def _spawn(self) -> subprocess.Popen[bytes]:
        assert MOSQUITTO is not None
        user = ["-c", str(self._config)]
        return subprocess.Popen(
            [MOSQUITTO, *user], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )


class Subscriber:
    """Hears what a broker gives out, as another program does."""

    def __init__(self, port: int, *topics: str, qos: int = 1) -> None:
        from paho.mqtt.client import Client
        from paho.mqtt.enums import CallbackAPIVersion

        self.heard: list[tuple[str, str, bool]] = []
        self._topics = topics or ("#",)
        self._qos = qos
        self._ready = False
        self._client = Client(CallbackAPIVersion.VERSION2, client_id=f"test{id(self)}")
        self._client.on_connect = lambda client, *_: client.subscribe(
            [(t, 1) for t in self._topics]
        )
        self._client.on_subscribe = self._subscribed
        self._client.on_message = self._hear
        self._client.connect("127.0.0.1", port, 60)
        self._client.loop_start()
        wait_for(lambda: self._ready)

    def _subscribe(self, client: Any, *_: object) -> None:
        client.subscribe([(topic, self._qos) for topic in self._topics])

    def _subscribed(self, *_: object) -> None:
        self._ready = True

    def _hear(self, _client: object, _data: object, message: Any) -> None:
        self.heard.append((message.topic, message.payload.decode(), bool(message.retain)))

    def payloads(self, topic: str) -> list[str]:
        """What was heard under a topic."""
        return [payload for name, payload, _ in self.heard if name == topic]

    def close(self) -> None:
        """Hear no more."""
        self._client.disconnect()
        self._client.loop_stop()
