"""The webhook sink against a real HTTP server."""

from __future__ import annotations

import base64
import http.client
import json
import logging
import socket
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import pytest
from child_server import free_port, wait_for
from event_kit import STRANGER, HttpServer, make_event
from standardwebhooks import Webhook

from facekeep.errors import InputError, SinkError, SinkRefused
from facekeep.events.delivery import Delivery
from facekeep.events.event_log import EventLog
from facekeep.events.webhook import WebhookSink

SECRET = "whsec_" + base64.b64encode(b"hush, hush, hush, hush, hush").decode()


@pytest.fixture
def server(tmp_path: Path) -> Iterator[HttpServer]:
    each = HttpServer(tmp_path)
    with each.running():
        yield each


def test_a_request_is_as_standard_webhooks_has_it(
    server: HttpServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOOK_SECRET", SECRET)
    sink = WebhookSink(f"{server.url}?room=1", secret="env:HOOK_SECRET")
    events = [make_event(1, name="Ada \u00d8"), make_event(2, **STRANGER)]
    for event in events:
        sink.deliver(event)
    for event, request in zip(events, server.requests(), strict=True):
        assert request["path"] == "/hook?room=1"
        headers = {name.lower(): value for name, value in request["headers"].items()}
        assert headers["webhook-id"] == event.id
        assert headers["content-type"] == "application/json"
        assert Webhook(SECRET).verify(request["body"], headers) == event.to_dict()
    other = "whsec_" + base64.b64encode(b"another secret of this length").decode()
    with pytest.raises(Exception, match="No matching signature"):
        Webhook(other).verify(request["body"], headers)


def test_without_a_secret_nothing_is_signed(server: HttpServer) -> None:
    WebhookSink(server.url).deliver(make_event())
    assert "webhook-signature" not in map(str.lower, server.requests()[0]["headers"])


def test_user_and_password_are_sent_as_basic_authorization(server: HttpServer) -> None:
    url = server.url.replace("://", "://ada:p%40ss@")
    WebhookSink(url).deliver(make_event())
    sent = server.requests()[0]["headers"]["authorization"]
    assert base64.b64decode(sent.removeprefix("Basic ")) == b"ada:p@ss"


@pytest.mark.parametrize("status", [408, 425, 429, 500, 503, 301, 302, 307])
def test_what_may_pass_is_tried_again(server: HttpServer, status: int) -> None:
    server.answer(status, Location=f"{server.url}/elsewhere")
    with pytest.raises(SinkError, match=f"status {status}") as caught:
        WebhookSink(server.url).deliver(make_event())
    assert not isinstance(caught.value, SinkRefused)
    assert server.requests() == []


@pytest.mark.parametrize("status", [400, 401, 403, 404, 410, 413, 422])
def test_other_errors_of_ours_refuse_the_event(server: HttpServer, status: int) -> None:
    server.answer(status)
    with pytest.raises(SinkRefused, match=f"status {status}"):
        WebhookSink(server.url).deliver(make_event())


@pytest.mark.parametrize(
    ("header", "least", "most"),
    [
        ("7", 7, 7),
        ("999999", 3600, 3600),
        ("-5", 0, 0),
        ("nan", None, None),
        ("soon", None, None),
        ("Mon, 01 Jan 99999999999 00:00:00 GMT", None, None),
        (timedelta(seconds=1800), 1, 1800),
        (timedelta(days=-1), 0, 0),
    ],
)
def test_retry_after(
    server: HttpServer, header: str | timedelta, least: float | None, most: float | None
) -> None:
    if isinstance(header, timedelta):
        header = format_datetime(datetime.now(UTC) + header, usegmt=True)
    server.answer(429, **{"Retry-After": header})
    with pytest.raises(SinkError) as caught:
        WebhookSink(server.url).deliver(make_event())
    wait = caught.value.retry_after
    assert wait is None if least is None or most is None else least <= (wait or 0) <= most


def test_a_server_that_is_away_or_frozen(server: HttpServer) -> None:
    sink = WebhookSink(server.url, timeout=0.3)
    server.freeze()
    with pytest.raises(SinkError, match="no answer in time"):
        sink.deliver(make_event(1))
    server.kill()
    with pytest.raises(SinkError, match="refused or cut"):
        sink.deliver(make_event(2))
    server.start()
    WebhookSink(server.url).deliver(make_event(3))
    assert server.events()[-1]["track"] == 3


def test_a_connection_that_stands_too_late_is_not_used(
    server: HttpServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As nothing would cut it any more."""
    connect = http.client.HTTPConnection.connect

    def connect_late(connection: http.client.HTTPConnection) -> None:
        time.sleep(0.4)
        connect(connection)

    monkeypatch.setattr(http.client.HTTPConnection, "connect", connect_late)
    with pytest.raises(SinkError, match="no answer in time"):
        WebhookSink(server.url, timeout=0.05).deliver(make_event())
    assert server.events() == []


@pytest.mark.parametrize("answer", [b"", b"garbage\r\n\r\n", b"HTTP/1.1 200 OK\r\nx: " + b"y" * 99])
def test_answers_that_are_no_http_or_never_end(answer: bytes) -> None:
    """Also one that sends a byte now and then, so that no read ever takes too long."""
    over = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def talk() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(65536)
                connection.sendall(answer)
                while answer.startswith(b"HTTP") and not over.wait(0.05):
                    try:
                        connection.sendall(b"y")
                    except OSError:
                        return

        thread = threading.Thread(target=talk)
        thread.start()
        try:
            with pytest.raises(SinkError, match="does not answer"):
                WebhookSink(f"http://127.0.0.1:{listener.getsockname()[1]}", timeout=0.5).deliver(
                    make_event()
                )
        finally:
            over.set()
            thread.join()


def test_closing_ends_a_request(server: HttpServer) -> None:
    sink = WebhookSink(server.url, timeout=600)
    server.freeze()
    failed: list[SinkError] = []

    def deliver() -> None:
        try:
            sink.deliver(make_event())
        except SinkError as error:
            failed.append(error)

    thread = threading.Thread(target=deliver)
    thread.start()
    while thread.is_alive():
        sink.close()
        thread.join(0.05)
    assert failed
    with pytest.raises(SinkError):
        sink.deliver(make_event())


@pytest.mark.parametrize(
    "url",
    [
        "ftp://host/hush",
        "https:///hush",
        "host/hush",
        "http://ada:hush@/x",
        "http://host:hush/x",
        "http://host/a hush",
        "http://host/hush\r\nx: y",
        "http://[hush",
        "http://h\u00f6st/hush",
    ],
)
def test_a_bad_url_is_told_without_repeating_it(url: str) -> None:
    with pytest.raises(InputError) as caught:
        WebhookSink(url)
    assert "hush" not in str(caught.value)


@pytest.mark.parametrize("secret", ["hush", "whsec_hush", "whsec_!!!", "whsec_aHVzaA=="])
def test_a_bad_secret_is_told_without_repeating_it(
    secret: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOOK_SECRET", secret)
    with pytest.raises(InputError, match="whsec_ and base64") as caught:
        WebhookSink("https://host", secret="env:HOOK_SECRET")
    assert secret.removeprefix("whsec_") not in str(caught.value)


def test_sinks_of_one_host_have_different_names() -> None:
    urls = ("https://host/a", "https://host/b", "http://host/a", "https://host:8443/a")
    names = {WebhookSink(url).name for url in (*urls, "https://host/a")}
    assert len(names) == len(urls)


def test_no_secret_shows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Neither the signing secret, nor the URL's password, path and query."""
    monkeypatch.setenv("HOOK_SECRET", SECRET)
    caplog.set_level(logging.DEBUG)
    url = f"http://ada:hush-password@127.0.0.1:{free_port()}/hush-path?key=hush-query"
    sink = WebhookSink(url, secret="env:HOOK_SECRET", timeout=1)
    shown: list[Any] = [sink.name, repr(sink), str(sink)]
    with pytest.raises(SinkError) as caught:
        sink.deliver(make_event())
    shown += [str(caught.value), repr(caught.value), caught.value.__cause__]
    with EventLog.open(tmp_path / "log.db") as log, Delivery(log, [sink]) as delivery:
        delivery.start()
        log.append(make_event())
        wait_for(lambda: delivery.status()[0].error)
        shown += [delivery.status(), log.status()]
    shown += [(tmp_path / "log.db").read_bytes(), caplog.text]
    text = json.dumps([str(each) for each in shown])
    assert "webhook:http://127.0.0.1" in text
    for secret in ("hush", SECRET.removeprefix("whsec_"), "YWRhOmh1c2g"):
        assert secret not in text
