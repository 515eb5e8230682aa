from __future__ import annotations

import errno
import hashlib
import itertools
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hub import (
    Hub,
    cut_off,
    in_drops,
    redirect,
    stalling,
    status,
    whole,
    without_length,
    without_ranges,
    wrong_range,
)

from facekeep.errors import FacekeepError, PullError, StorageFull
from facekeep.models.download import download, fetch_page

pytestmark = pytest.mark.usefixtures("no_pauses")

CONTENT = os.urandom(300_000)
DIGEST = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "net.onnx"


def fetch(url: str, target: Path, **changes: Any) -> None:
    download(url, target, **({"sha256": DIGEST, "size": len(CONTENT)} | changes))


def left(target: Path) -> list[str]:
    return sorted(path.name for path in target.parent.iterdir())


def refused(url: str, target: Path, **changes: Any) -> str:
    with pytest.raises(PullError) as caught:
        fetch(url, target, **changes)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("answer", [whole, without_ranges, without_length])
def test_fetches_a_file_and_reports_its_progress(hub: Hub, target: Path, answer: Any) -> None:
    seen: list[tuple[int, int]] = []
    fetch(hub.url("/f", answer(CONTENT)), target, progress=lambda *step: seen.append(step))
    assert target.read_bytes() == CONTENT
    assert left(target) == ["net.onnx"]
    assert seen == sorted(seen)
    assert seen[-1] == (len(CONTENT), len(CONTENT))


def test_goes_on_where_the_connection_broke(hub: Hub, target: Path) -> None:
    url = hub.url("/f", cut_off(CONTENT, 100_000), cut_off(CONTENT, 50_000), whole(CONTENT))
    fetch(url, target)
    assert target.read_bytes() == CONTENT
    assert [wish for _, wish in hub.seen] == [None, "bytes=100000-", "bytes=150000-"]


def test_a_later_pull_goes_on_too(hub: Hub, target: Path) -> None:
    url = hub.url("/f", cut_off(CONTENT, 100_000), status(503))
    assert "go on from 100,000 of 300,000 bytes" in refused(url, target)
    assert left(target) == ["net.onnx.part"]
    fetch(hub.url("/f", whole(CONTENT)), target)
    assert target.read_bytes() == CONTENT
    assert hub.seen[-1][1] == "bytes=100000-"
    assert left(target) == ["net.onnx"]


@pytest.mark.parametrize("answer", [without_ranges, wrong_range])
def test_starts_again_where_resuming_is_not_possible(hub: Hub, target: Path, answer: Any) -> None:
    target.with_name("net.onnx.part").write_bytes(CONTENT[:100_000])
    fetch(hub.url("/f", answer(CONTENT)), target)
    assert target.read_bytes() == CONTENT


def test_starts_again_where_the_range_is_refused(hub: Hub, target: Path) -> None:
    target.with_name("net.onnx.part").write_bytes(CONTENT[:100_000])
    fetch(hub.url("/f", status(416), whole(CONTENT)), target)
    assert target.read_bytes() == CONTENT
    assert [wish for _, wish in hub.seen] == ["bytes=100000-", None]


def test_a_part_longer_than_the_file_is_not_resumed(hub: Hub, target: Path) -> None:
    target.with_name("net.onnx.part").write_bytes(CONTENT + b"x")
    fetch(hub.url("/f", whole(CONTENT)), target)
    assert target.read_bytes() == CONTENT


def test_a_whole_part_needs_no_server(hub: Hub, target: Path) -> None:
    target.with_name("net.onnx.part").write_bytes(CONTENT)
    fetch(hub.url("/f", status(500)), target)
    assert target.read_bytes() == CONTENT
    assert hub.seen == []


def test_a_part_of_something_else_is_found_out_and_deleted(hub: Hub, target: Path) -> None:
    target.with_name("net.onnx.part").write_bytes(bytes(100_000))
    url = hub.url("/f", whole(CONTENT))
    assert "another SHA-256" in refused(url, target)
    assert left(target) == []
    fetch(url, target)
    assert target.read_bytes() == CONTENT


def test_a_wrong_digest_leaves_nothing_behind(hub: Hub, target: Path) -> None:
    assert "another SHA-256" in refused(hub.url("/f", whole(CONTENT[::-1])), target)
    assert left(target) == []


@pytest.mark.parametrize("answer", [whole, without_length])
def test_a_longer_file_is_refused_before_it_fills_the_disk(
    hub: Hub, target: Path, answer: Any
) -> None:
    problem = refused(hub.url("/f", answer(CONTENT * 20)), target)
    assert "where 300,000 are expected" in problem
    assert left(target) == []


def test_a_shorter_file_is_refused(hub: Hub, target: Path) -> None:
    assert "200,000 bytes" in refused(hub.url("/f", whole(CONTENT[:200_000])), target)
    assert left(target) == []


def test_a_file_that_always_breaks_off_at_once_is_given_up(hub: Hub, target: Path) -> None:
    assert "connection ended after 0 of" in refused(hub.url("/f", cut_off(CONTENT, 0)), target)
    assert len(hub.seen) == 3


@pytest.mark.parametrize("code", [400, 401, 403, 404, 410])
def test_a_refusal_is_final(hub: Hub, target: Path, code: int) -> None:
    assert str(code) in refused(hub.url("/f", status(code)), target)
    assert len(hub.seen) == 1
    assert left(target) == []


@pytest.mark.parametrize("code", [429, 500, 503])
def test_a_passing_fault_is_tried_again(hub: Hub, target: Path, code: int) -> None:
    fetch(hub.url("/f", status(code), status(code), whole(CONTENT)), target)
    assert target.read_bytes() == CONTENT
    assert str(code) in refused(hub.url("/g", status(code)), target.with_name("other"))


@pytest.mark.slow
def test_a_silent_server_is_given_up(
    hub: Hub, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("facekeep.models.download.TIMEOUT", 0.3)
    url = hub.url("/f", stalling(CONTENT, 100_000, 3), stalling(CONTENT, 0, 3))
    assert "timed out" in refused(url, target)


@pytest.fixture
def passing(monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """A clock that is looked at every 29 seconds."""
    times = itertools.count(0, 29)
    monkeypatch.setattr("facekeep.models.download.clock", lambda: next(times))
    return times


@pytest.mark.usefixtures("passing")
def test_a_server_that_gives_hardly_anything_is_given_up(hub: Hub, target: Path) -> None:
    problem = refused(hub.url("/f", in_drops(CONTENT[:500], 1)), target, size=len(CONTENT))
    assert "gives 500 bytes" in problem
    problem = refused(hub.url("/g", in_drops(CONTENT[:500], 1)), target, size=500)
    assert "bytes came in 319 seconds" in problem
    assert 0 < (target.parent / "net.onnx.part").stat().st_size < 20
    with pytest.raises(PullError, match="bytes came in"):
        fetch_page(hub.url("/p", in_drops(CONTENT[:500], 1)), "*/*")


def test_answers_that_end_after_a_byte_are_given_up(
    hub: Hub, target: Path, passing: Iterator[int]
) -> None:
    answers = [cut_off(CONTENT, count) for count in range(1, 60)]
    assert "bytes came in" in refused(hub.url("/f", *answers), target)
    assert next(passing) < 60 * 29


@pytest.mark.usefixtures("passing")
def test_a_slow_server_that_gives_enough_is_not_given_up(hub: Hub, target: Path) -> None:
    fetch(hub.url("/f", in_drops(CONTENT, 60_000)), target)
    assert target.read_bytes() == CONTENT


def test_nobody_listening_is_one_line(target: Path) -> None:
    assert "refused" in refused("http://127.0.0.1:9/f", target)


def test_follows_redirects(hub: Hub, target: Path) -> None:
    hub.url("/real", whole(CONTENT))
    fetch(hub.url("/f", redirect("/real")), target)
    assert target.read_bytes() == CONTENT


def test_a_circle_of_redirects_ends(hub: Hub, target: Path) -> None:
    hub.url("/b", redirect("/a"))
    assert "redirect" in refused(hub.url("/a", redirect("/b")), target)


@pytest.mark.parametrize(
    "address", ["http://example.org/f", "ftp://127.0.0.1/f", "file:///etc/hostname", "/dev/zero"]
)
def test_unsafe_addresses_are_refused(hub: Hub, target: Path, address: str) -> None:
    if "://" in address:
        problem = refused(hub.url("/f", redirect(address)), target)
        assert "https" in problem or "302" in problem
    assert "only https" in refused(address, target)
    assert left(target) == []


@pytest.mark.parametrize("address", ["", "http://[", "https://\n", "http://127.0.0.1.evil.org/"])
def test_malformed_addresses_are_refused(target: Path, address: str) -> None:
    refused(address, target)


@pytest.mark.parametrize(
    "address", ["https://" + "a" * 100 + ".com/", "https://a..b/", "https://[::1/"]
)
def test_a_redirect_to_what_is_no_address_is_one_line(hub: Hub, target: Path, address: str) -> None:
    assert "no address that can be used" in refused(hub.url("/f", redirect(address)), target)
    assert left(target) == []


@pytest.mark.parametrize("number", ["\xb2", "9" * 5000, "-1"])
def test_headers_without_a_number_are_not_believed(hub: Hub, target: Path, number: str) -> None:
    def odd_length(request: Any) -> None:
        request.begin(200, Content_Length=number)
        request.wfile.write(CONTENT)

    def odd_range(request: Any) -> None:
        request.begin(206, Content_Range=f"bytes {number}-", Content_Length=0)

    fetch(hub.url("/f", odd_length), target)
    assert target.read_bytes() == CONTENT
    target.rename(target.with_name("net.onnx.part"))
    target.with_name("net.onnx.part").write_bytes(CONTENT[:-1])
    fetch(hub.url("/g", odd_range, whole(CONTENT)), target)
    assert target.read_bytes() == CONTENT


@pytest.mark.parametrize("scheme", ["https", "http"])
def test_a_password_in_an_address_is_never_shown(target: Path, scheme: str) -> None:
    problem = refused(f"{scheme}://me:secret@example.org/f", target)
    assert "example.org: use an address without a password" in problem
    assert "secret" not in problem


def test_a_full_disk_is_called_by_its_name(
    hub: Hub, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = Path.open

    class Full:
        def __init__(self, stream: Any) -> None:
            self.stream = stream

        def __getattr__(self, name: str) -> Any:
            return getattr(self.stream, name)

        def __enter__(self) -> Full:
            return self

        def __exit__(self, *args: object) -> None:
            self.stream.close()

        def write(self, chunk: bytes) -> int:
            raise OSError(errno.ENOSPC, "No space left on device")

    def limited(self: Path, mode: str = "r", *args: Any, **kwargs: Any) -> Any:
        stream = real(self, mode, *args, **kwargs)
        return Full(stream) if "w" in mode else stream

    monkeypatch.setattr(Path, "open", limited)
    with pytest.raises(StorageFull, match="no room"):
        fetch(hub.url("/f", whole(CONTENT)), target)


def test_a_folder_in_the_way_is_one_line(hub: Hub, target: Path) -> None:
    target.mkdir()
    with pytest.raises(FacekeepError, match="cannot write"):
        fetch(hub.url("/f", whole(CONTENT)), target)


@pytest.mark.slow
def test_an_interrupted_process_leaves_a_part_to_go_on_from(hub: Hub, target: Path) -> None:
    url = hub.url("/f", stalling(CONTENT, 100_000, 30), whole(CONTENT))
    code = (
        "from pathlib import Path; from facekeep.models.download import download;"
        f"download({url!r}, Path({str(target)!r}), sha256={DIGEST!r}, size={len(CONTENT)})"
    )
    process = subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.PIPE)
    part = target.with_name("net.onnx.part")
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline and not (part.exists() and part.stat().st_size == 100_000):
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=30)
    assert b"KeyboardInterrupt" in errors
    assert part.read_bytes() == CONTENT[:100_000]
    fetch(url, target)
    assert target.read_bytes() == CONTENT
    assert hub.seen[-1][1] == "bytes=100000-"


def test_pages_are_fetched_with_patience(hub: Hub) -> None:
    assert fetch_page(hub.url("/p", status(503), whole(b"page")), "text/plain") == b"page"
    with pytest.raises(PullError, match=r"503.*try again later"):
        fetch_page(hub.url("/q", status(503)), "text/plain")
    with pytest.raises(PullError, match="404"):
        fetch_page(hub.url("/r", status(404)), "text/plain")
