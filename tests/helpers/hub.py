"""A server on this machine that gives files the way bad servers and bad networks do."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Answer = Callable[["Request"], None]


class Request(BaseHTTPRequestHandler):
    """One request; the path picks the answer."""

    server: Hub
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self.close_connection = True
        self.server.seen.append((self.path, self.headers.get("Range")))
        answers = self.server.answers[self.path]
        (answers.pop(0) if len(answers) > 1 else answers[0])(self)

    def log_message(self, *args: Any) -> None:
        """Keep the tests' output clean."""

    @property
    def start(self) -> int:
        """Where the client wishes to resume."""
        wish = self.headers.get("Range")
        return int(wish.removeprefix("bytes=").removesuffix("-")) if wish else 0

    def begin(self, status: int, **headers: str | int) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), str(value))
        self.end_headers()


class Hub(ThreadingHTTPServer):
    """The server; ``answers`` maps paths to what they give, in turn, the last one for good."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Request)
        self.answers: dict[str, list[Answer]] = {}
        self.seen: list[tuple[str, str | None]] = []
        self.thread = threading.Thread(target=self.serve_forever, args=(0.01,))
        self.thread.start()

    def handle_error(self, *args: Any) -> None:
        """Clients that leave early are part of the tests."""

    def url(self, path: str, *answers: Answer) -> str:
        if answers:
            self.answers[path] = list(answers)
        return f"http://127.0.0.1:{self.server_address[1]}{path}"

    def stop(self) -> None:
        self.shutdown()
        self.thread.join()
        self.server_close()


def whole(content: bytes) -> Answer:
    """Serve a file, and honor ranges."""

    def answer(request: Request) -> None:
        part = content[request.start :]
        if request.start:
            span = f"bytes {request.start}-{len(content) - 1}/{len(content)}"
            request.begin(206, Content_Length=len(part), Content_Range=span)
        else:
            request.begin(200, Content_Length=len(part))
        request.wfile.write(part)

    return answer


def without_ranges(content: bytes) -> Answer:
    """Serve a file from its beginning, whatever was asked for."""

    def answer(request: Request) -> None:
        request.begin(200, Content_Length=len(content))
        request.wfile.write(content)

    return answer


def without_length(content: bytes) -> Answer:
    """Serve a file without saying how long it is."""

    def answer(request: Request) -> None:
        request.begin(200)
        request.wfile.write(content)

    return answer


def cut_off(content: bytes, count: int) -> Answer:
    """Promise the whole rest of a file, give some bytes of it and hang up."""

    def answer(request: Request) -> None:
        rest = content[request.start :]
        span = f"bytes {request.start}-{len(content) - 1}/{len(content)}"
        status = 206 if request.start else 200
        request.begin(status, Content_Length=len(rest), Content_Range=span)
        request.wfile.write(rest[:count])

    return answer


def stalling(content: bytes, count: int, seconds: float) -> Answer:
    """Give some bytes, and then nothing for a while."""

    def answer(request: Request) -> None:
        request.begin(200, Content_Length=len(content))
        request.wfile.write(content[:count])
        request.wfile.flush()
        time.sleep(seconds)

    return answer


def in_drops(content: bytes, size: int) -> Answer:
    """Give the content so many bytes at a time."""

    def answer(request: Request) -> None:
        request.begin(200, Content_Length=len(content))
        for start in range(0, len(content), size):
            request.wfile.write(content[start : start + size])
            request.wfile.flush()
            time.sleep(0.001)

    return answer


def status(code: int) -> Answer:
    """Refuse with a status."""
    return lambda request: request.begin(code, Content_Length=0)


def redirect(target: str) -> Answer:
    """Send the client elsewhere."""
    return lambda request: request.begin(302, Location=target, Content_Length=0)


def wrong_range(content: bytes) -> Answer:
    """Answer a resume with the first part of the file."""

    def answer(request: Request) -> None:
        if request.start:
            request.begin(206, Content_Range=f"bytes 0-9/{len(content)}", Content_Length=10)
            request.wfile.write(content[:10])
        else:
            whole(content)(request)

    return answer
