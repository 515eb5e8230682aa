"""``WebhookSink``: each event as an HTTP request, signed as Standard Webhooks has it."""

from __future__ import annotations

import base64
import binascii
import contextlib
import hmac
import http.client
import math
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from hashlib import blake2b

from facekeep._internal.files import why
from facekeep._version import __version__
from facekeep.errors import InputError, SinkError, SinkRefused
from facekeep.events.event import Event
from facekeep.events.sinks import Sink, encode_event, load_secret, require_timeout, split_url

__all__ = ["WebhookSink", "explain_network_error", "make_tls", "sign"]

_SCHEMES = {"https": 443, "http": 80}
_RETRY = frozenset((408, 425, 429))
"""Statuses below 500 after which the same request may succeed."""
_MAX_WAIT = 3600.0
_SECRET_BYTES = range(16, 129)


class WebhookSink(Sink):
    """Posts each event as JSON to a URL.

    The requests keep the specification of Standard Webhooks (https://www.standardwebhooks.com):
    the headers ``webhook-id``, which is the event's, ``webhook-timestamp`` and, with a secret,
    ``webhook-signature``. A status of 200 to 299 takes the event. Without an answer, and after 408,
    425, 429, a redirect, which is never followed, and 500 or more, it is offered again; any other
    status refuses it.
    """

    def __init__(
        self,
        url: str,
        *,
        secret: str | None = None,
        timeout: float = 10.0,
        ca_file: str | None = None,
        name: str | None = None,
    ) -> None:
        """Check the URL and read the secret; nothing is sent.

        Args:
            url: ``https://[USER:PASSWORD@]HOST[:PORT]/PATH``, or ``http``. It is never shown but
                for its scheme, host and port, as the rest may be secret.
            secret: Where the secret is that signs: ``env:NAME`` or ``file:PATH``. What is there is
                ``whsec_`` and base64.
            timeout: Seconds for a request to be answered.
            ca_file: Certificates that are trusted, in place of the system's.
            name: The sink's name; ``webhook:``, what is shown of the URL and four characters of the
                digest of the rest, if None.

        Raises:
            InputError: Something of it cannot be used.
        """
        parts, self._host, self._port, user, password = split_url(url, _SCHEMES, "the webhook")
        self._target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        place = f"{parts.scheme}://{self._host}:{self._port}"
        mark = blake2b(f"{user}@{self._target}".encode(), digest_size=2).hexdigest()
        self.name = name or f"webhook:{place}#{mark}"
        self._headers = {
            "content-type": "application/json",
            "user-agent": f"facekeep/{__version__}",
            "connection": "close",
        }
        if user is not None:
            pair = f"{user}:{password or ''}".encode()
            self._headers["authorization"] = f"Basic {base64.b64encode(pair).decode()}"
        self._secret = None if secret is None else _decode_secret(secret)
        self._timeout = require_timeout(timeout)
        self._tls = make_tls(ca_file) if parts.scheme == "https" else None
        self._lock = threading.Lock()
        self._connection: http.client.HTTPConnection | None = None
        self._closed = False

    def __repr__(self) -> str:
        return f"<WebhookSink {self.name}>"

    def deliver(self, event: Event) -> None:
        """Post an event and read the answer."""
        body = encode_event(event).encode()
        now = int(time.time())
        headers = self._headers | {"webhook-id": event.id, "webhook-timestamp": str(now)}
        if self._secret is not None:
            headers["webhook-signature"] = sign(self._secret, event.id, now, body)
        try:
            with self._connect() as connection:
                connection.request("POST", self._target, body, headers)
                with connection.getresponse() as answer:
                    status, wait = answer.status, answer.getheader("retry-after")
        # The texts of these errors may hold the URL, and of some the header with the password.
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise SinkError(
                f"{self.name} does not answer: {explain_network_error(error)}"
            ) from None
        self._judge(status, wait)

    def _judge(self, status: int, wait: str | None) -> None:
        if 200 <= status < 300:
            return
        if status in _RETRY or status >= 500 or status < 400:
            what = "redirects, which is not followed" if 300 <= status < 400 else "cannot take it"
            raise SinkError(
                f"{self.name} {what}: status {status}", retry_after=_parse_retry_after(wait)
            )
        raise SinkRefused(f"{self.name} refused the event: status {status}")

    @contextmanager
    def _connect(self) -> Iterator[http.client.HTTPConnection]:
        """Give a connection that is cut after the time-out, however slowly the other side talks."""
        place = (self._host, self._port)
        if self._tls is None:
            connection = http.client.HTTPConnection(*place, timeout=self._timeout)
        else:
            connection = http.client.HTTPSConnection(
                *place, timeout=self._timeout, context=self._tls
            )
        with self._lock:
            if self._closed:
                raise ConnectionAbortedError("closed")
            self._connection = connection
        late = threading.Event()

        def cut() -> None:
            late.set()
            self._cut()

        timer = threading.Timer(self._timeout, cut)
        timer.daemon = True
        timer.start()
        try:
            connection.connect()
            if late.is_set():  # there was nothing yet that could be cut
                raise TimeoutError
            yield connection
        finally:
            timer.cancel()
            with self._lock:
                self._connection = None
            connection.close()
            if late.is_set():  # an answer that was cut may look like a whole one
                raise TimeoutError

    def _cut(self) -> None:
        with self._lock:
            sock = self._connection.sock if self._connection is not None else None
            if sock is not None:
                with contextlib.suppress(OSError):
                    socket.socket.shutdown(sock, socket.SHUT_RDWR)

    def close(self) -> None:
        """Cut the request that is going on, if there is one."""
        self._closed = True
        self._cut()


def sign(secret: bytes, event_id: str, timestamp: int, body: bytes) -> str:
    """Return the header ``webhook-signature`` of a request."""
    digest = hmac.digest(secret, f"{event_id}.{timestamp}.".encode() + body, "sha256")
    return f"v1,{base64.b64encode(digest).decode()}"


def make_tls(ca_file: str | None, client_cert: tuple[str, str] | None = None) -> ssl.SSLContext:
    """Return what checks the other side's certificate, and has one of its own where it is given.

    Raises:
        InputError: A file cannot be used.
    """
    try:
        context = ssl.create_default_context(cafile=ca_file)
        if client_cert is not None:
            context.load_cert_chain(*client_cert)
    except (OSError, ValueError) as error:
        reason = error.reason if isinstance(error, ssl.SSLError) else why(error)
        raise InputError(f"the certificates for TLS cannot be used: {reason}") from None
    return context


def explain_network_error(error: Exception) -> str:
    """Say in a few words why the network failed, without what was sent or where."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not trusted ({error.verify_message})"
    if isinstance(error, ssl.SSLError):
        return f"TLS failed ({error.reason})"
    for kind, text in _NETWORK.items():
        if isinstance(error, kind):
            return text
    return why(error) if isinstance(error, OSError) else "the answer cannot be read"


_NETWORK: dict[type[Exception], str] = {
    TimeoutError: "no answer in time",
    socket.gaierror: "its host is not found",
    ConnectionError: "the connection was refused or cut",
}


def _decode_secret(spec: str) -> bytes:
    text = load_secret(spec, "the webhook's secret")
    try:
        secret = base64.b64decode(text.removeprefix("whsec_"), validate=True)
    except (ValueError, binascii.Error):
        secret = b""
    if not text.startswith("whsec_") or len(secret) not in _SECRET_BYTES:
        raise InputError(
            "the webhook's secret is not of the form whsec_ and base64 of 16 to 128 bytes"
        )
    return secret


def _parse_retry_after(text: str | None) -> float | None:
    """Return the seconds of the header ``retry-after``, an hour at most; None where it has none."""
    if text is None:
        return None
    try:
        seconds = float(text)
    except ValueError:
        try:
            moment = parsedate_to_datetime(text)
        except (ValueError, OverflowError):
            return None
        moment = moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
        seconds = (moment - datetime.now(UTC)).total_seconds()
    return min(max(seconds, 0.0), _MAX_WAIT) if math.isfinite(seconds) else None
