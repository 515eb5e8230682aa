"""``LivePage``: the cameras and the last events as a web page, for this machine."""

from __future__ import annotations

import ipaddress
import json
import logging
import re
import select
import socket
import socketserver
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from facekeep._internal.closing import Closing
from facekeep._internal.files import why
from facekeep.draw import annotate
from facekeep.errors import InputError
from facekeep.pipeline.image import encode_jpeg
from facekeep.types import Observation

if TYPE_CHECKING:
    from facekeep.video.camera import Frame

__all__ = ["LivePage"]

_log = logging.getLogger(__name__)
_CLIENTS: Final = 24  # connections at once
_PERIOD: Final = 0.1  # seconds between two pictures of a stream, at least
_PATIENCE: Final = 10.0  # seconds that a client may take for its request, and for a picture
_BOUNDARY: Final = "facekeep"
_HEADERS: Final = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; img-src 'self'; script-src 'self'; style-src"
    " 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}

_HTML: Final = """<!doctype html>
<html lang="en"><meta charset="utf-8"><title>Cameras - facekeep</title>
<meta name="viewport" content="width=device-width"><link rel="stylesheet" href="page.css">
<h1>Cameras</h1><main id="cameras"></main>
<h2>Last events</h2><table><tbody id="events"></tbody></table>
<script src="page.js"></script></html>
"""

_CSS: Final = """body{font:16px/1.4 system-ui,sans-serif;margin:1rem;background:#fff;color:#111}
main{display:grid;grid-template-columns:repeat(auto-fit,minmax(18rem,40rem));gap:1rem}
figure{margin:0}img{width:100%;min-height:8rem;background:#ddd;display:block}
figcaption{padding:.25rem 0}td{padding:.1rem 1rem .1rem 0}
@media(prefers-color-scheme:dark){body{background:#111;color:#eee}img{background:#333}}
"""

# A browser opens six connections to a server: more cameras than four are asked for pictures.
_JS: Final = """'use strict';
const cameras = document.getElementById('cameras'), events = document.getElementById('events');
const text = (kind, words) => Object.assign(document.createElement(kind), {textContent: words});
function show(state) {
  const streams = state.cameras.length <= 4;
  state.cameras.forEach((camera, i) => {
    let figure = cameras.children[i];
    if (!figure) {
      figure = document.createElement('figure');
      figure.append(Object.assign(document.createElement('img'), {alt: camera.name}),
                    document.createElement('figcaption'));
      cameras.append(figure);
      if (streams) figure.firstChild.src = i + '.mjpeg';
    }
    if (!streams) figure.firstChild.src = i + '.jpg?' + Date.now();
    figure.lastChild.textContent = camera.text;
  });
  events.replaceChildren(...state.events.map(cells => {
    const row = document.createElement('tr');
    row.append(...cells.map(cell => text('td', cell)));
    return row;
  }));
}
async function ask() {
  try { show(await (await fetch('state.json')).json()); }
  catch { document.title = 'Ended - facekeep'; }
  setTimeout(ask, 1000);
}
ask();
"""


@dataclass(slots=True)
class _Picture:
    """The newest frame of a camera, and its JPEG file once somebody asked for it."""

    changed: threading.Condition = field(default_factory=threading.Condition)
    drawing: threading.Lock = field(default_factory=threading.Lock)
    frame: Frame | None = None
    observations: Sequence[Observation] = ()
    number: int = 0
    drawn: int = -1
    jpeg: bytes = b""


class LivePage(Closing):
    """Serves a page with all cameras and the last events, and the cameras as Motion JPEG.

    Pictures are drawn and compressed only while somebody looks, in the threads of those who do:
    nobody who watches slows the session down. Nothing on the page comes from elsewhere. A request
    must name this machine by an address, or by one of its own names, so that the page of another
    site cannot read it by a name that it made lead here.

    Args:
        host: The address to listen on, such as ``127.0.0.1``; others see the page only where it is
            not one of this machine alone.
        port: The port; 0 for a free one.
        cameras: The names of the cameras, in their order.
        state: Returns what stands on the page: ``cameras``, for each its ``name`` and a ``text``;
            ``events``, a list of rows of texts.

    Attributes:
        url: The address of the page.
        private: Whether only this machine can see it.

    Raises:
        InputError: The address cannot be listened on.
    """

    def __init__(
        self,
        host: str,
        port: int,
        cameras: Sequence[str],
        state: Callable[[], Mapping[str, Any]],
    ) -> None:
        self._names = list(cameras)
        self._pictures = {name: _Picture() for name in cameras}
        self._state = state
        self._closing = False
        self._places = threading.BoundedSemaphore(_CLIENTS)
        self._server = _listen(host, port, self)
        address, port = str(self._server.server_address[0]), self._server.server_address[1]
        self.private = ipaddress.ip_address(address).is_loopback
        self.url = f"http://{f'[{address}]' if ':' in address else address}:{port}/"
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(0.1,), name="facekeep-page", daemon=True
        )
        self._thread.start()

    def add(self, frame: Frame, observations: Sequence[Observation]) -> None:
        """Show a frame from now on; never waits."""
        picture = self._pictures[frame.camera]
        with picture.changed:
            picture.frame, picture.observations = frame, observations
            picture.number += 1
            picture.changed.notify_all()

    def close(self) -> None:
        """End all connections."""
        self._closing = True
        self._server.shutdown()
        self._server.server_close()
        for picture in self._pictures.values():
            with picture.changed:
                picture.changed.notify_all()
        self._thread.join()

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        """Answer a request; called by the server, in a thread of its own for each."""
        if not _names_this_machine(request.headers.get("Host", "")):
            _send(request, 403, "text/plain", b"use the address of this machine\n")
            return
        path = urlsplit(request.path).path
        fixed = {
            "/": ("text/html", _HTML),
            "/page.css": ("text/css", _CSS),
            "/page.js": ("text/javascript", _JS),
        }
        if path in fixed:
            kind, content = fixed[path]
            _send(request, 200, f"{kind}; charset=utf-8", content.encode())
        elif path == "/state.json":
            _send(request, 200, "application/json", json.dumps(self._state()).encode())
        elif found := re.fullmatch(r"/(\d{1,4})\.(mjpeg|jpg)", path):
            self._send_picture(request, int(found[1]), stream=found[2] == "mjpeg")
        else:
            _send(request, 404, "text/plain", b"there is no such page\n")

    def _send_picture(self, request: BaseHTTPRequestHandler, place: int, *, stream: bool) -> None:
        if place >= len(self._names):
            _send(request, 404, "text/plain", b"there is no such camera\n")
            return
        picture = self._pictures[self._names[place]]
        if not stream:
            _, data = self._draw(picture, 0, wait=False)
            _send(request, 200 if data else 404, "image/jpeg", data)
            return
        kind = f"multipart/x-mixed-replace; boundary={_BOUNDARY}"
        _send_head(request, 200, {"Content-Type": kind})
        seen = 0
        while not self._closing:
            seen, data = self._draw(picture, seen, wait=True)
            if data:
                head = f"--{_BOUNDARY}\r\nContent-Type: image/jpeg\r\nContent-Length: {len(data)}"
                request.wfile.write(head.encode() + b"\r\n\r\n" + data + b"\r\n")
                time.sleep(_PERIOD)
            elif _has_left(request.connection):
                return

    def _draw(self, picture: _Picture, seen: int, *, wait: bool) -> tuple[int, bytes]:
        """Return the newest picture after the one that was seen; drawn once for all clients."""
        with picture.changed:
            if wait:
                picture.changed.wait_for(lambda: picture.number > seen or self._closing, 1.0)
            frame, faces, number = picture.frame, picture.observations, picture.number
        if frame is None or (wait and number <= seen):
            return seen, b""
        with picture.drawing:
            if picture.drawn < number:
                picture.jpeg = encode_jpeg(annotate(frame.image, [each.face for each in faces]), 75)
                picture.drawn = number
            return picture.drawn, picture.jpeg


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    page: LivePage

    def __init__(self, *args: Any, **words: Any) -> None:
        super().__init__(*args, **words)
        self.asking: dict[Any, float] = {}  # connections without a whole request, until when

    def server_bind(self) -> None:
        """Bind without asking the network for this machine's name, as HTTPServer does."""
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = str(self.server_address[0]), self.server_address[1]

    def process_request(self, request: Any, client_address: Any) -> None:
        """Serve a client, unless there are too many."""
        if self.page._places.acquire(blocking=False):
            self.asking[request] = time.monotonic() + _PATIENCE
            super().process_request(request, client_address)
            return
        request.settimeout(0.1)
        with suppress(OSError):
            request.sendall(b"HTTP/1.1 503 Too many clients\r\nContent-Length: 0\r\n\r\n")
        self.shutdown_request(request)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            self.asking.pop(request, None)
            self.page._places.release()

    def service_actions(self) -> None:
        """Cut those who send their request too slowly: they would keep others out."""
        now = time.monotonic()
        for request, until in list(self.asking.items()):
            if now > until:
                with suppress(OSError):
                    request.shutdown(socket.SHUT_RDWR)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients go away as they like."""
        _log.debug("a client of the page went away", exc_info=True)


class _Handler(BaseHTTPRequestHandler):
    timeout = _PATIENCE
    server: _Server
    server_version = "facekeep"
    sys_version = ""

    def do_GET(self) -> None:
        self.server.asking.pop(self.connection, None)
        self.server.page.answer(self)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - of the base class
        """Write nothing down about who looks."""


class _Server6(_Server):
    address_family = socket.AF_INET6


def _listen(host: str, port: int, page: LivePage) -> _Server:
    kind = _Server6 if ":" in host else _Server
    server = kind((host, port), _Handler, bind_and_activate=False)
    server.page = page
    try:
        server.server_bind()
        server.server_activate()
    except (OSError, OverflowError, UnicodeError) as error:
        server.server_close()
        reason = why(error) if isinstance(error, OSError) else str(error)
        raise InputError(f"cannot show the page at {host}:{port}: {reason}") from error
    return server


def _has_left(client: socket.socket) -> bool:
    """Whether a client has closed its side; no picture had to be written to notice it."""
    poll = select.poll()
    poll.register(client, select.POLLIN)
    return bool(poll.poll(0)) and not client.recv(1, socket.MSG_PEEK)


def _names_this_machine(host: str) -> bool:
    """Whether a Host header is an address, or one of this machine's own names."""
    try:
        name = (urlsplit(f"//{host}").hostname or "").rstrip(".")
    except ValueError:
        return False
    own = socket.gethostname().lower()
    if name and name in ("localhost", own, f"{own.partition('.')[0]}.local"):
        return True
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _send_head(request: BaseHTTPRequestHandler, status: int, headers: Mapping[str, str]) -> None:
    request.send_response(status)
    for name, value in {**_HEADERS, **headers}.items():
        request.send_header(name, value)
    request.end_headers()


def _send(request: BaseHTTPRequestHandler, status: int, kind: str, data: bytes) -> None:
    _send_head(request, status, {"Content-Type": kind, "Content-Length": str(len(data))})
    request.wfile.write(data)
