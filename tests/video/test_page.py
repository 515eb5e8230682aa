"""The page of the cameras: what it serves, whom it refuses, and that nobody waits for it."""

from __future__ import annotations

import contextlib
import http.client
import io
import json
import re
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from child_server import wait_for
from PIL import Image

import facekeep.video.page as module
from facekeep import InputError
from facekeep.video.page import LivePage


@dataclass
class Frame:
    """The part of ``facekeep.Frame`` that is shown."""

    image: Any
    camera: str = "door"


def frame(level: int, camera: str = "door", size: int = 64) -> Any:
    return Frame(np.full((size, size, 3), level, np.uint8), camera)


def state() -> dict[str, Any]:
    return {"cameras": [{"name": "door", "text": "door, live"}], "events": [["12:00", "a", "b"]]}


@pytest.fixture
def page() -> Iterator[LivePage]:
    with LivePage("127.0.0.1", 0, ["door", "yard"], state) as page:
        yield page


def port_of(page: LivePage) -> int:
    return int(page.url.rstrip("/").rpartition(":")[2])


def get(page: LivePage, path: str, host: str | None = None) -> tuple[int, dict[str, str], bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", port_of(page), timeout=60)
    headers = {} if host is None else {"Host": host}
    connection.request("GET", path, headers=headers)
    answer = connection.getresponse()
    found = answer.status, dict(answer.getheaders()), answer.read()
    connection.close()
    return found


def level(jpeg: bytes) -> float:
    return float(np.asarray(Image.open(io.BytesIO(jpeg))).mean())


def test_the_page_needs_nothing_from_elsewhere(page: LivePage) -> None:
    contents = b""
    for path in ("/", "/page.css", "/page.js"):
        status, headers, content = get(page, path)
        assert status == 200
        assert headers["Content-Security-Policy"].startswith("default-src 'none'")
        assert headers["Cross-Origin-Resource-Policy"] == "same-origin"
        contents += content
    assert not re.search(rb"https?://|//[a-z]", contents)
    assert b"<script>" not in contents
    assert get(page, "/etc/passwd")[0] == get(page, "/2.jpg")[0] == get(page, "/9.mjpeg")[0] == 404


def test_state_and_pictures(page: LivePage) -> None:
    assert json.loads(get(page, "/state.json")[2]) == state()
    assert get(page, "/0.jpg")[0] == 404, "there is no picture yet"
    page.add(frame(50), [])
    page.add(frame(200, "yard"), [])
    assert level(get(page, "/0.jpg")[2]) == pytest.approx(50, abs=2)
    assert level(get(page, "/1.jpg?123")[2]) == pytest.approx(200, abs=2)


def read_part(stream: Any) -> bytes:
    """Read a picture of a stream."""
    while not (line := stream.readline()).lower().startswith(b"content-length"):
        assert line, "the stream ended"
    stream.readline()
    return bytes(stream.read(int(line.split(b":")[1])))


def open_stream(page: LivePage, path: str = "/0.mjpeg") -> socket.socket:
    client = socket.create_connection(("127.0.0.1", port_of(page)), 60)
    client.sendall(f"GET {path} HTTP/1.0\r\nHost: localhost\r\n\r\n".encode())
    return client


def test_a_stream_shows_the_newest_picture(page: LivePage) -> None:
    page.add(frame(10), [])
    with open_stream(page) as client, client.makefile("rb") as stream:
        assert level(read_part(stream)) == pytest.approx(10, abs=2)
        for value in (60, 110, 160):
            page.add(frame(value), [])
        while level(read_part(stream)) < 155:
            pass


def test_the_end_of_the_page_ends_its_streams() -> None:
    page = LivePage("127.0.0.1", 0, ["door"], state)
    page.add(frame(10), [])
    with open_stream(page) as client, client.makefile("rb") as stream:
        read_part(stream)
        page.close()
        while stream.readline():
            pass


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("localhost:1234", 200),
        ("127.0.0.1", 200),
        ("[::1]:80", 200),
        ("192.168.1.5:8080", 200),
        (socket.gethostname(), 200),
        ("evil.example", 403),
        ("evil.example:8080", 403),
        ("127.0.0.1.evil.example", 403),
        ("localhost.evil.example", 403),
        ("[bad", 403),
        ("", 403),
    ],
)
def test_a_name_that_another_site_made_lead_here_is_refused(
    page: LivePage, host: str, status: int
) -> None:
    assert get(page, "/state.json", host)[0] == status


def test_no_client_makes_the_session_wait(page: LivePage) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (1500, 1500, 3), np.uint8)
    silent = [open_stream(page) for _ in range(24)]  # none of them ever reads
    for _ in range(50):
        page.add(Frame(noise), [])  # type: ignore[arg-type]
    with socket.create_connection(("127.0.0.1", port_of(page)), 60) as one_more:
        assert one_more.recv(100).startswith(b"HTTP/1.1 503")
    for client in silent:
        client.close()
    wait_for(lambda: _answers(page))


def test_who_leaves_while_no_pictures_come_takes_no_place(page: LivePage) -> None:
    clients = [open_stream(page) for _ in range(24)]
    for client in clients:
        assert client.recv(100).startswith(b"HTTP/1.0 200")
        client.close()
    wait_for(lambda: _answers(page))


def test_slow_requests_keep_nobody_out(page: LivePage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_PATIENCE", 0.3)
    slow = [socket.create_connection(("127.0.0.1", port_of(page)), 60) for _ in range(24)]
    ended = threading.Event()

    def drip() -> None:
        while not ended.wait(0.05):
            for client in slow:
                with contextlib.suppress(OSError):
                    client.sendall(b"G")

    thread = threading.Thread(target=drip)
    thread.start()
    try:
        wait_for(lambda: _answers(page))
    finally:
        ended.set()
        thread.join()
        for client in slow:
            client.close()


def _answers(page: LivePage) -> bool:
    try:
        return get(page, "/state.json")[0] == 200
    except (OSError, http.client.HTTPException):
        return False


def test_it_says_who_can_see_it() -> None:
    with LivePage("127.0.0.1", 0, ["door"], state) as page:
        assert page.private
        with pytest.raises(InputError, match="cannot show the page at 127"):
            LivePage("127.0.0.1", port_of(page), ["door"], state)
    with LivePage("0.0.0.0", 0, ["door"], state) as page:
        assert not page.private
    with pytest.raises(InputError, match="cannot show the page"):
        LivePage("127.0.0.1", 70000, ["door"], state)
