"""Servers of video for tests, on 127.0.0.1: RTSP by GStreamer, MJPEG by Python; small videos."""

from __future__ import annotations

import base64
import contextlib
import functools
import io
import os
import queue
import socket
import subprocess
import threading
from collections.abc import Callable, Iterable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from child_server import ChildServer
from numpy.typing import NDArray
from PIL import Image

SYSTEM_PYTHON = "/usr/bin/python3"
_SERVER = Path(__file__).with_name("rtsp_server.py")

Image_ = NDArray[np.uint8]


@functools.cache
def _missing_rtsp() -> str | None:
    elements = ("x264enc", "rtph264pay", "videotestsrc")
    code = (
        "import gi; gi.require_version('GstRtspServer', '1.0');"
        "from gi.repository import Gst, GstRtspServer; Gst.init(None);"
        f"assert all(Gst.ElementFactory.find(name) for name in {elements})"
    )
    try:
        subprocess.run([SYSTEM_PYTHON, "-c", code], check=True, capture_output=True, timeout=60)
    except (OSError, subprocess.SubprocessError):
        return "no RTSP server: scripts/test_servers.sh installs GStreamer's"
    return None


def need_rtsp() -> None:
    """Skip the test where there is no RTSP server."""
    if reason := _missing_rtsp():
        pytest.skip(reason)


def encoded(source: str = "", *, size: str = "320x240", fps: int = 15) -> str:
    """Return a pipeline of GStreamer that gives H.264; by default a moving test picture."""
    width, height = size.split("x")
    source = source or "videotestsrc is-live=true pattern=ball"
    return (
        f"{source} ! videoconvert ! video/x-raw,format=I420,width={width},height={height},"
        f"framerate={fps}/1 ! x264enc tune=zerolatency speed-preset=ultrafast key-int-max={fps}"
        " threads=1 ! rtph264pay name=pay0 pt=96 config-interval=1"
    )


class RtspServer(ChildServer):
    """A child process that serves streams; paths are given with their pipelines.

    A server that was killed is started again on the same port by ``start``.
    """

    def __init__(
        self, streams: dict[str, str] | None = None, *, login: tuple[str, str] | None = None
    ) -> None:
        need_rtsp()
        self.streams = streams or {"/live": encoded()}
        self.login = login
        self.port = 0
        self.start()

    def start(self) -> None:
        words = [f"{path}={pipeline}" for path, pipeline in self.streams.items()]
        login = ["--user", self.login[0], "--password", self.login[1]] if self.login else []
        self.process = subprocess.Popen(
            [SYSTEM_PYTHON, str(_SERVER), str(self.port), *words, *login],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line.strip().isdecimal(), "the RTSP server did not start"
        self.port = int(line)

    def url(self, path: str = "/live", login: str = "") -> str:
        return f"rtsp://{login and login + '@'}127.0.0.1:{self.port}{path}"

    def __enter__(self) -> RtspServer:
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()


def jpeg(image: Image_) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(image).save(stream, "JPEG", quality=90)
    return stream.getvalue()


def plain(value: int, size: tuple[int, int] = (320, 240)) -> Image_:
    """Return a gray picture of a size (width, height)."""
    return np.full((size[1], size[0], 3), value, np.uint8)


class MjpegServer:
    """An HTTP server whose ``play`` sends a stream of parts to each client.

    Args:
        play: Called for each client; yields pictures (arrays), bytes of one part, or numbers of
            seconds to wait. Where it ends the connection is closed; ``math.inf`` keeps it open
            and sends nothing, until the server is closed.
        login: The user and password that it wants.
    """

    def __init__(
        self,
        play: Callable[[], Iterable[Any]],
        *,
        login: tuple[str, str] | None = None,
        port: int = 0,
    ) -> None:
        self.play = play
        self.login = login
        self.clients = 0
        self.requests: list[str] = []
        self.closing = threading.Event()
        owner = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                owner._answer(self)

            def log_message(self, *_: Any) -> None:
                """Keep the tests' output clean."""

        class Server(ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, *_: Any) -> None:
                """Clients that leave early are part of the tests."""

        self._server = Server(("127.0.0.1", port), Handler)
        self.port = int(self._server.server_address[1])
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self._thread.start()

    def url(self, path: str = "/video", login: str = "") -> str:
        return f"http://{login and login + '@'}127.0.0.1:{self.port}{path}"

    def _answer(self, request: BaseHTTPRequestHandler) -> None:
        self.requests.append(request.path)
        if self.login and request.headers.get("Authorization") != self._expected():
            request.send_response(401)
            request.send_header("WWW-Authenticate", 'Basic realm="camera"')
            request.send_header("Content-Length", "0")
            request.end_headers()
            return
        self.clients += 1
        request.send_response(200)
        request.send_header("Content-Type", "multipart/x-mixed-replace;boundary=frame")
        request.end_headers()
        for part in self.play():
            if self.closing.is_set():
                break
            if isinstance(part, int | float):
                self.closing.wait(None if part == float("inf") else part)
                continue
            data = part if isinstance(part, bytes) else jpeg(part)
            head = f"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: {len(data)}\r\n\r\n"
            request.wfile.write(head.encode() + data + b"\r\n")

    def _expected(self) -> str:
        assert self.login is not None
        return "Basic " + base64.b64encode(":".join(self.login).encode()).decode()

    def close(self) -> None:
        self.closing.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def __enter__(self) -> MjpegServer:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def steady(images: Iterable[Image_], pause: float = 0.04) -> Iterator[Any]:
    """Yield pictures with pauses, as a camera sends them."""
    for image in images:
        yield image
        yield pause


class RawServer:
    """A TCP server that sends each client the same bytes, whatever it says, and stays silent."""

    def __init__(self, data: bytes = b"") -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        self._data = data
        self._clients: queue.SimpleQueue[socket.socket] = queue.SimpleQueue()
        self.count = 0
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def _serve(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            self.count += 1
            self._clients.put(client)
            if self._data:
                threading.Thread(target=self._send, args=(client,), daemon=True).start()

    def _send(self, client: socket.socket) -> None:
        try:
            while True:
                client.sendall(self._data)
        except OSError:
            client.close()

    def __enter__(self) -> RawServer:
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join()
        while not self._clients.empty():
            client = self._clients.get()
            with contextlib.suppress(OSError):  # the client may have gone
                client.shutdown(socket.SHUT_RDWR)
            client.close()


def write_video(
    path: str | os.PathLike[str] | io.BytesIO,
    images: Iterable[Image_],
    *,
    fps: int = 25,
    form: str | None = None,
    codec: str = "libx264",
    metadata: dict[str, str] | None = None,
    rotation: int = 0,
) -> None:
    """Write pictures as a video; all have the size of the first."""
    av = pytest.importorskip("av", reason="PyAV is not installed")
    images = iter(images)
    first = next(images)
    with av.open(path, "w", format=form) as container:
        container.metadata.update(metadata or {})
        stream = container.add_stream(codec, rate=fps)
        stream.height, stream.width = first.shape[:2]
        stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
        if rotation:
            stream.set_display_rotation(rotation)
        for image in (first, *images):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode())
