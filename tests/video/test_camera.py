"""``Camera``: files, live sources that end, freeze and come back, and what people see of them."""

from __future__ import annotations

import io
import itertools
import logging
import math
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import psutil
import pytest
from child_server import free_port, wait_for
from numpy.typing import NDArray
from PIL import Image
from video_servers import (
    MjpegServer,
    RawServer,
    RtspServer,
    encoded,
    jpeg,
    plain,
    steady,
    write_video,
)

import facekeep.video.camera as module
from facekeep import Camera, CameraError, DependencyError, Frame, InputError
from facekeep.video import streams

_PASSWORD = "p@ss/w%rd"
_LOGIN = "ada:p%40ss%2Fw%25rd"


@pytest.fixture(autouse=True)
def quick_attempts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_FIRST_WAIT", 0.05)
    monkeypatch.setattr(module, "_LONGEST_WAIT", 0.2)


@pytest.fixture(autouse=True)
def no_threads_left() -> Iterator[None]:
    yield
    wait_for(lambda: not [t for t in threading.enumerate() if t.name.startswith("facekeep")])


def some(camera: Camera, count: int) -> list[Frame]:
    """Read a few frames, as fast as they come."""
    frames = [camera.read(60) for _ in range(count)]
    found = [frame for frame in frames if frame is not None]
    assert len(found) == count, camera.error
    return found


def noise(seed: int = 0) -> NDArray[np.uint8]:
    """Return a picture that takes many bytes."""
    return np.random.default_rng(seed).integers(0, 255, (240, 320, 3), np.uint8)


class FakeContainer:
    """What PyAV gives for a device; ``play`` yields frames, or None for a packet without any."""

    def __init__(self, play: Callable[[], Iterator[Any]], **context: Any) -> None:
        codec = SimpleNamespace(width=64, height=48, **context)
        stream = SimpleNamespace(codec_context=codec, average_rate=None)
        self.streams = SimpleNamespace(video=[stream])
        self.format = SimpleNamespace(name="fake")
        self.metadata: dict[str, str] = {}
        self.closed = False
        self._play = play

    def demux(self, _: Any) -> Iterator[Any]:
        for frame in self._play():
            frames = [] if frame is None else [frame]
            yield SimpleNamespace(decode=lambda frames=frames: frames, is_keyframe=True)

    def close(self) -> None:
        self.closed = True


def fake_frame(value: int = 7, size: tuple[int, int] = (64, 48)) -> Any:
    return SimpleNamespace(
        width=size[0],
        height=size[1],
        pts=None,
        time_base=None,
        rotation=0,
        to_ndarray=lambda **_: plain(value, size),
    )


# Files


def test_a_file_gives_each_frame(tmp_path: Path) -> None:
    write_video(tmp_path / "a.mp4", (plain(5 * number) for number in range(30)), fps=10)
    with Camera(tmp_path / "a.mp4") as camera:
        frames = list(camera)
        assert camera.read() is None
    assert [frame.number for frame in frames] == list(range(1, 31))
    assert np.allclose([frame.position for frame in frames], np.arange(30) / 10)
    assert np.allclose([frame.image.mean() for frame in frames], np.arange(30) * 5, atol=2)
    assert (camera.state, camera.dropped, camera.error, camera.live) == ("ended", 0, None, False)
    assert {frame.clock for frame in frames} == {"system"}
    first, last = frames[0].time, frames[-1].time
    assert (last - first).total_seconds() == pytest.approx(2.9)


def test_a_file_is_read_no_faster_than_it_is_taken(tmp_path: Path) -> None:
    write_video(tmp_path / "a.mp4", (plain(number) for number in range(30)))
    with Camera(tmp_path / "a.mp4") as camera:
        some(camera, 1)
        time.sleep(0.2)
        assert camera.frames <= 3


def test_a_file_at_its_own_speed_gives_the_newest_frame(tmp_path: Path) -> None:
    write_video(tmp_path / "a.mp4", (plain(number) for number in range(30)))
    with Camera(tmp_path / "a.mp4", realtime=True) as camera:
        assert camera.live
        some(camera, 1)
        wait_for(lambda: camera.frames == 30)
        assert [frame.number for frame in camera] == [30]
    assert camera.dropped == 28
    assert camera.frames == 30


def test_when_a_file_was_taken(tmp_path: Path) -> None:
    start = datetime(2021, 5, 4, 3, 2, 1, tzinfo=UTC)
    images = [plain(1), plain(2)]
    write_video(tmp_path / "a.mp4", images, metadata={"creation_time": start.isoformat()})
    write_video(tmp_path / "b.mp4", images, metadata={"creation_time": "1904-01-01T00:00:00Z"})
    for camera, clock in (
        (Camera(tmp_path / "a.mp4"), "source"),
        (Camera(tmp_path / "b.mp4", start=start), "source"),
        (Camera(tmp_path / "b.mp4"), "system"),
    ):
        with camera:
            first, second = camera
        assert first.clock == clock
        assert (first.time == start) == (clock == "source")
        assert (second.time - first.time).total_seconds() == pytest.approx(0.04)


@pytest.mark.parametrize("rotation", [0, 90, 180, 270])
def test_rotation_is_applied(tmp_path: Path, rotation: int) -> None:
    image = plain(0, (96, 48))
    image[:24, :48] = 250  # the upper left corner
    write_video(tmp_path / "a.mp4", [image], rotation=rotation)
    with Camera(tmp_path / "a.mp4") as camera:
        (frame,) = camera
    turned = np.rot90(image, rotation // 90)
    assert frame.image.shape == turned.shape
    assert np.abs(frame.image.astype(int) - turned).mean() < 5


@pytest.mark.parametrize("rotate", [0, 90, 180, 270])
def test_pictures_are_turned_clockwise_after_what_the_source_says(
    tmp_path: Path, rotate: int
) -> None:
    image = plain(0, (96, 48))
    image[:24, :48] = 250  # the upper left corner
    write_video(tmp_path / "a.mp4", [image], rotation=90)
    with Camera(tmp_path / "a.mp4", rotate=rotate) as camera:
        (frame,) = camera
    turned = np.rot90(image, 1 - rotate // 90)
    assert frame.image.shape == turned.shape
    assert frame.image.flags.c_contiguous
    assert np.abs(frame.image.astype(int) - turned).mean() < 5


def test_a_folder_in_natural_order(tmp_path: Path) -> None:
    for number in (10, 9, 100, 1):
        Image.fromarray(plain(number, (20 + number, 20))).save(tmp_path / f"img{number}.png")
    (tmp_path / "img5.png").write_bytes(b"not a picture")
    (tmp_path / "notes.txt").write_text("no picture")
    with Camera(tmp_path) as camera:
        frames = list(camera)
    assert [int(frame.image[0, 0, 0]) for frame in frames] == [1, 9, 10, 100]
    assert [frame.image.shape[1] for frame in frames] == [21, 29, 30, 120]
    assert [frame.number for frame in frames] == [1, 2, 3, 4]
    with pytest.raises(CameraError, match="no pictures"), Camera(Path(__file__).parent) as camera:
        list(camera)


def test_a_size_that_changes(tmp_path: Path) -> None:
    parts = [jpeg(plain(90)), jpeg(plain(90, (64, 48))), jpeg(np.full((48, 64), 90, np.uint8))]
    (tmp_path / "a.mjpeg").write_bytes(b"".join(part * 2 for part in parts))
    with Camera(tmp_path / "a.mjpeg") as camera:
        frames = list(camera)
    assert [frame.image.shape for frame in frames] == [(240, 320, 3)] * 2 + [(48, 64, 3)] * 4
    assert all(abs(int(frame.image.mean()) - 90) <= 1 for frame in frames)


def _bomb() -> bytes:
    picture = bytearray(jpeg(plain(50)))
    place = picture.index(b"\xff\xc0") + 5
    picture[place : place + 4] = (60000).to_bytes(2, "big") * 2
    return bytes(picture)


def test_huge_pictures_are_refused(tmp_path: Path) -> None:
    (tmp_path / "all.mjpeg").write_bytes(_bomb() * 3)
    (tmp_path / "some.mjpeg").write_bytes(jpeg(plain(50)) * 2 + _bomb() * 2 + jpeg(plain(60)) * 2)
    before = psutil.Process().memory_info().rss
    with pytest.raises(CameraError, match="can be decoded"), Camera(tmp_path / "all.mjpeg") as all_:
        list(all_)
    with Camera(tmp_path / "some.mjpeg") as camera:
        assert [round(frame.image.mean()) for frame in camera] == [50, 50, 60, 60]
    assert psutil.Process().memory_info().rss - before < 100 << 20
    write_video(tmp_path / "a.mp4", [plain(1)])
    with (
        pytest.raises(CameraError, match="320 x 240 have more than 1000"),
        Camera(tmp_path / "a.mp4", max_pixels=1000) as camera,
    ):
        list(camera)


def _write_bad_files(folder: Path) -> None:
    write_video(folder / "whole.mp4", (plain(number) for number in range(20)))
    whole = (folder / "whole.mp4").read_bytes()
    (folder / "cut.mp4").write_bytes(whole[: len(whole) // 2])
    (folder / "empty.mp4").write_bytes(b"")
    (folder / "noise.mp4").write_bytes(np.random.default_rng(0).bytes(50_000))
    (folder / "text.mp4").write_text("no video\n" * 100)
    playlist = "#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\nwhole.mp4\n#EXT-X-ENDLIST\n"
    (folder / "list.m3u8").write_text(playlist)
    av = pytest.importorskip("av")
    with av.open(folder / "sound.m4a", "w") as container:
        stream = container.add_stream("aac", rate=8000, layout="mono")
        sound = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), "fltp", "mono")
        sound.sample_rate = 8000
        container.mux(stream.encode(sound))
        container.mux(stream.encode())


@pytest.mark.parametrize(
    "name", ["cut.mp4", "empty.mp4", "noise.mp4", "text.mp4", "list.m3u8", "sound.m4a"]
)
def test_what_is_no_video(tmp_path: Path, name: str) -> None:
    _write_bad_files(tmp_path)
    with Camera(tmp_path / name) as camera:
        with pytest.raises(CameraError) as caught:
            list(camera)
        assert camera.state == "ended"
        assert str(camera.error) in str(caught.value)
    assert str(caught.value).startswith(f"{tmp_path / name}: ")
    assert "\n" not in str(caught.value)


def test_damaged_files_never_do_harm(tmp_path: Path) -> None:
    noise = np.random.default_rng(1)
    images = [noise.integers(0, 255, (48, 64, 3), np.uint8) for _ in range(20)]
    write_video(tmp_path / "whole.mkv", images)
    whole = (tmp_path / "whole.mkv").read_bytes()
    seen = 0
    for round_ in range(30):
        damaged = bytearray(whole)
        for place in noise.integers(0 if round_ % 3 == 0 else 500, len(whole), 40):
            damaged[place] = noise.integers(256)
        (tmp_path / "bad.mkv").write_bytes(damaged)
        with Camera(tmp_path / "bad.mkv") as camera:
            try:
                for frame in camera:
                    seen += 1
                    assert frame.image.dtype == np.uint8
                    assert frame.image.shape[2] == 3
            except CameraError as error:
                assert "\n" not in str(error)  # noqa: PT017 - each round may end either way
    assert seen > 0


def test_time_stamps_that_jump_do_not_run_back() -> None:
    stamps = [0, 1, 2, None, 4, 3, 5, 10**9, 10**9 + 1, 0, 1]

    def play() -> Iterator[Any]:
        for stamp in stamps:
            frame = fake_frame()
            frame.pts, frame.time_base = stamp, 0.1
            yield frame

    with Camera(io.BytesIO(), opener=lambda *_, **__: FakeContainer(play)) as camera:
        positions = [frame.position for frame in camera]
    assert len(positions) == len(stamps)
    assert all(0 <= later - earlier < 1 for earlier, later in itertools.pairwise(positions))


# Pipes


def _stdin(script: str, data: bytes) -> str:
    code = f"from facekeep import Camera\n{script}"
    done = subprocess.run(
        [sys.executable, "-c", code], input=data, capture_output=True, timeout=120, check=False
    )
    return (done.stdout + done.stderr).decode()


def test_standard_input_as_mjpeg_and_raw() -> None:
    script = "print([(f.number, f.image.shape, f.clock) for f in Camera({!r})])"
    found = _stdin(script.format("-"), jpeg(plain(9)) * 3)
    assert found == f"{[(number, (240, 320, 3), 'system') for number in (1, 2, 3)]}\n"
    raw = plain(9, (16, 12)).tobytes()
    found = _stdin("print([f.position for f in Camera('-:rgb24:16x12@5')])", raw * 3)
    assert found == "[0.0, 0.2, 0.4]\n"
    found = _stdin("print([float(f.image.mean()) for f in Camera('-:rgb24:16x12')])", raw * 2)
    assert found == "[9.0, 9.0]\n"


def test_a_pipe_that_stays_silent_keeps_nobody_from_ending() -> None:
    code = (
        "from facekeep import Camera\nc = Camera('-')\nprint(c.read().number, flush=True)\n"
        "while c.read(1): pass"
    )
    words = [sys.executable, "-c", code]
    child = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=-1)
    try:
        assert child.stdin is not None
        child.stdin.write(jpeg(noise()) * 20)
        child.stdin.flush()  # and it stays open
        assert child.wait(60) == 0
        assert child.communicate() == (b"1\n", b"")
    finally:
        child.kill()


def test_what_cannot_be_piped_says_what_can() -> None:
    code = (
        "from facekeep import Camera\n"
        "try: list(Camera('-'))\n"
        "except Exception as error: print(error)\n"
    )
    noise = np.random.default_rng(0).bytes(50_000)
    words = [sys.executable, "-c", code]
    told = subprocess.run(words, input=noise, capture_output=True, check=True)
    assert b"pipe Motion JPEG, MPEG-TS or Matroska" in told.stdout


def test_a_named_pipe(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with Camera(tmp_path / "pipe") as camera:
        assert camera.read(0.3) is None
        with (tmp_path / "pipe").open("wb") as writer:
            writer.write(jpeg(plain(9)) * 3)
        assert len(list(camera)) == 3
    with Camera(tmp_path / "pipe") as camera:
        camera.start()
    assert camera.state == "ended"


# Live sources


def test_a_killed_rtsp_server_is_lost_and_comes_back() -> None:
    states = []
    with RtspServer() as server:
        with Camera(server.url(), on_state=lambda camera: states.append(camera.state)) as camera:
            before = some(camera, 2)[-1]
            server.kill()
            wait_for(lambda: camera.state == "lost")
            assert camera.error
            server.start()
            wait_for(lambda: camera.state == "live")
            assert camera.error is None
            after = some(camera, 2)[-1]
        assert after.number > before.number
        assert after.position > before.position
    assert states == ["live", "lost", "live", "ended"]


@pytest.mark.parametrize("transport", ["tcp", "udp"])
def test_a_frozen_rtsp_server_is_lost_and_comes_back(transport: Any) -> None:
    with (
        RtspServer() as server,
        Camera(server.url(), transport=transport, read_timeout=1.0) as camera,
    ):
        some(camera, 2)
        server.freeze()
        wait_for(lambda: camera.state == "lost")
        assert "no frame came" in str(camera.error)
        server.thaw()
        wait_for(lambda: camera.state == "live")
        some(camera, 2)
        server.freeze()
        camera.close()
        assert camera.state == "ended"
        server.thaw()


def test_mjpeg_over_http_gives_the_newest_frame() -> None:
    with (
        MjpegServer(lambda: steady(plain(value) for value in range(250))) as server,
        Camera(server.url()) as camera,
    ):
        (first,) = some(camera, 1)
        wait_for(lambda: camera.frames > first.number + 5)
        (newest,) = some(camera, 1)
        assert newest.number > first.number + 5
        assert abs(newest.image.mean() - (newest.number - 1)) <= 2
        assert camera.dropped >= 5
        assert newest.clock == "system"


def test_mjpeg_that_stops_is_cut_or_changes_its_size() -> None:
    def play() -> Iterator[Any]:
        yield from steady([plain(10)] * 4)
        yield from steady([plain(20, (64, 48))] * 4)
        yield jpeg(plain(30))[:500]
        yield 0.04
        yield b"\x00garbage" * 100
        yield 0.04
        yield from steady([plain(40)] * 4)
        yield math.inf

    with MjpegServer(play) as server, Camera(server.url(), read_timeout=1.0) as camera:
        sizes = set()
        while server.clients < 3:
            frame = camera.read(0.2)
            if frame is not None:
                sizes.add(frame.image.shape)
        assert sizes == {(240, 320, 3), (48, 64, 3)}
        assert "no frame came" in str(camera.error) or camera.state == "live"


@pytest.mark.parametrize("scheme", ["rtsp", "http"])
@pytest.mark.parametrize(
    "data", [b"", b"garbage\r\n", bytes(range(256)), b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * 4096]
)
def test_garbage_on_the_socket(scheme: str, data: bytes) -> None:
    with (
        RawServer(data) as server,
        Camera(
            f"{scheme}://127.0.0.1:{server.port}/x", connect_timeout=0.5, read_timeout=0.5
        ) as camera,
    ):
        camera.start()
        wait_for(lambda: camera.state == "lost" and server.count > 1)
        assert camera.error
        assert "\n" not in camera.error
        assert camera.frames == 0


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("/sound", "there is video"),
        ("/unknown", "no video|there is video|cannot be decoded"),
        ("/broken", "a fault of its own"),
        ("/missing", "no stream at this path"),
    ],
)
def test_what_a_server_has_that_is_no_video(path: str, reason: str) -> None:
    streams = {
        "/sound": "audiotestsrc is-live=true ! audioconvert ! mulawenc ! rtppcmupay name=pay0",
        "/unknown": "videotestsrc is-live=true ! rtpgstpay name=pay0",
        "/broken": "filesrc location=/missing ! rtpgstpay name=pay0",
    }
    with RtspServer(streams) as server, Camera(server.url(path), give_up=1.0) as camera:
        with pytest.raises(CameraError, match=reason) as caught:
            list(camera)
        assert "\n" not in str(caught.value)


def test_a_codec_that_is_not_known_or_not_the_one_announced() -> None:
    container = FakeContainer(lambda: iter([]))
    container.streams.video[0].codec_context = None
    with (
        Camera("0", opener=lambda *_, **__: container, give_up=0.3) as camera,
        pytest.raises(CameraError, match="cannot be decoded here"),
    ):
        list(camera)
    stream = io.BytesIO()
    write_video(stream, [noise(1)] * 5, form="h264")
    with (
        MjpegServer(lambda: steady([stream.getvalue()] * 10_000)) as server,
        Camera(server.url(), connect_timeout=0.5, read_timeout=0.5) as camera,
    ):
        camera.start()
        wait_for(lambda: camera.state == "lost" and server.clients > 1)
        assert (camera.frames, bool(camera.error)) == (0, True)


@pytest.mark.parametrize(
    ("head", "body"),
    [
        ("302 Found\r\nLocation: {}", ""),
        (
            "200 OK\r\nContent-Type: application/vnd.apple.mpegurl",
            "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n{}\n#EXT-X-ENDLIST\n",
        ),
    ],
)
def test_a_server_leads_to_no_other_one(head: str, body: str) -> None:
    with MjpegServer(lambda: steady([plain(3)] * 1000)) as other:
        head, body = head.format(other.url("/a.ts")), body.format(other.url("/a.ts"))
        data = f"HTTP/1.0 {head}\r\nContent-Length: {len(body)}\r\n\r\n{body}"
        with RawServer(data.encode()) as server:
            camera = Camera(f"http://127.0.0.1:{server.port}/video", give_up=1.0)
            with camera, pytest.raises(CameraError):
                next(iter(camera))
            assert server.count > 1
        assert (other.requests, camera.frames) == ([], 0)


def test_a_picture_without_an_end() -> None:
    def play() -> Iterator[Any]:
        yield from steady([plain(3)] * 5)
        yield bytes(20_000_000)
        yield math.inf

    with (
        MjpegServer(play) as server,
        Camera(server.url(), read_timeout=60.0, max_pixels=100_000) as camera,
    ):
        some(camera, 1)
        wait_for(lambda: camera.state == "lost")
        assert "without a picture" in str(camera.error)


@pytest.mark.parametrize("kind", ["rtsp", "http"])
def test_passwords(
    kind: str, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    av = pytest.importorskip("av")
    caplog.set_level(0)
    login = ("ada", _PASSWORD)
    server: Any
    if kind == "rtsp":
        server = RtspServer(login=login)
    else:
        server = MjpegServer(lambda: steady([plain(3)] * 1000), login=login)
    seen = []
    av.logging.set_level(av.logging.DEBUG)
    try:
        with server:
            with Camera(server.url(login=_LOGIN)) as camera:
                some(camera, 2)
                seen += [repr(camera), str(camera), camera.source, camera.name, camera.error]
            for wrong in ("ada:p%40ss%2Fwrong", "bob:p%40ss%2Fw%25rd"):
                with Camera(server.url(login=wrong), give_up=0.3) as camera:
                    with pytest.raises(CameraError, match="user") as caught:
                        list(camera)
                    seen += [repr(camera), str(caught.value), camera.error, repr(caught.value)]
                    seen += [str(caught.value.__cause__), str(caught.value.__context__)]
            with (
                Camera(server.url(), give_up=0.3) as camera,
                pytest.raises(CameraError, match="wants a user and password"),
            ):
                list(camera)
    finally:
        av.logging.set_level(None)
    everything = "\n".join(map(str, [*seen, caplog.text, *capfd.readouterr()]))
    for secret in (_PASSWORD, "p%40ss", "p@ss", "YWRhOnBAc3Mvdy"):
        assert secret not in everything
    assert "ada:***@" in everything


def test_tokens_are_not_seen(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(0)
    with Camera(f"http://127.0.0.1:{free_port()}/v?token=secret", give_up=0.2) as camera:
        with pytest.raises(CameraError, match="nobody answers") as caught:
            list(camera)
        assert "secret" not in f"{camera!r}{camera.source}{camera.error}{caught.value}{caplog.text}"


def test_ten_sources_of_which_two_are_dead() -> None:
    def play() -> Iterator[Any]:
        return steady(plain(number % 250) for number in range(10_000))

    with MjpegServer(play) as server, RawServer() as silent:
        urls = [server.url(f"/{number}") for number in range(8)]
        urls += [f"rtsp://127.0.0.1:{free_port()}/x", f"rtsp://127.0.0.1:{silent.port}/x"]
        cameras = [
            Camera(url, name=str(n), connect_timeout=1, read_timeout=60)
            for n, url in enumerate(urls)
        ]
        for camera in cameras:
            camera.start()
        try:
            for _ in range(5):
                assert all(camera.read(60) for camera in cameras[:8])
            wait_for(lambda: [camera.state for camera in cameras[8:]] == ["lost", "lost"])
            assert [camera.state for camera in cameras[:8]] == ["live"] * 8
            assert [camera.frames for camera in cameras[8:]] == [0, 0]
        finally:
            for camera in cameras:
                camera.close()


def test_many_readers_of_one_stream_by_udp() -> None:
    with RtspServer({"/a": encoded(size="64x48")}) as server:
        cameras = [Camera(server.url("/a"), transport="udp") for _ in range(3)]
        for camera in cameras:
            some(camera, 2)
        for camera in cameras:
            camera.close()


def test_the_time_of_an_rtsp_camera_comes_from_its_own_clock() -> None:
    with RtspServer() as server, Camera(server.url()) as camera:
        until = time.monotonic() + 60
        while (frame := some(camera, 1)[0]).clock == "system":
            assert time.monotonic() < until
        assert abs((datetime.now(UTC) - frame.time).total_seconds()) < 60


# Devices, with a made container: V4L2 cannot be tested on most servers


def test_a_device_is_opened_as_pyav_wants_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("facekeep.video.sources.sys.platform", "linux")
    asked, containers = [], []

    def play() -> Iterator[Any]:
        for number in range(3):
            time.sleep(0.01)
            yield fake_frame(number)

    def opener(address: str, **words: Any) -> Any:
        asked.append((address, words["format"]))
        if len(asked) == 1:
            raise FileNotFoundError(2, "No such file or directory", address)
        containers.append(FakeContainer(play))
        return containers[-1]

    states = []
    with Camera(
        "0", opener=opener, on_state=lambda camera: states.append((camera.state, camera.error))
    ) as camera:
        while len(asked) < 4:
            camera.read(0.05)
    assert set(asked) == {("/dev/video0", "v4l2")}
    assert states[0] == ("lost", "there is no such device or file; check its name")
    assert [state for state, _ in states[1:4]] == ["live", "lost", "live"]
    wait_for(lambda: all(container.closed for container in containers))
    assert containers[0].streams.video[0].codec_context.thread_count == 1


def test_a_device_that_hangs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither opening nor reading need ever return; no more than two threads wait for them."""
    freed = threading.Event()
    opened = []

    def play() -> Iterator[Any]:
        yield fake_frame()
        time.sleep(0.01)
        yield fake_frame()
        freed.wait()

    def opener(*_: Any, **__: Any) -> Any:
        opened.append(time.monotonic())
        if len(opened) > 1:
            freed.wait()
        return FakeContainer(play)

    try:
        with Camera("0", opener=opener, connect_timeout=0.1, read_timeout=0.1) as camera:
            some(camera, 1)
            wait_for(lambda: len(opened) == 2)
            time.sleep(0.6)
            assert len(opened) == 2
            assert camera.state == "lost"
            freed.set()
            wait_for(lambda: len(opened) > 3)
            freed.clear()
    finally:
        freed.set()


def test_a_frame_from_before_a_loss_is_not_given_after_it() -> None:
    opened, freed = [], threading.Event()

    def play() -> Iterator[Any]:
        yield None
        time.sleep(0.02)
        yield fake_frame()

    def opener(*_: Any, **__: Any) -> Any:
        opened.append(1)
        if len(opened) > 1:
            freed.wait(60)
        return FakeContainer(play)

    with Camera("0", opener=opener) as camera:
        camera.start()
        wait_for(lambda: len(opened) == 2)
        assert camera.read(0.05) is None
        assert (camera.frames, camera.dropped) == (1, 1)
        freed.set()


def test_a_signal_that_closes_what_its_own_thread_reads() -> None:
    camera = Camera("0", opener=lambda *_, **__: FakeContainer(lambda: iter([])))
    with camera._lock:  # where the signal may find the thread
        camera.close()
    assert camera.state == "ended"


def test_a_source_is_given_up() -> None:
    with Camera(f"rtsp://127.0.0.1:{free_port()}/x", give_up=0.5) as camera:
        with pytest.raises(CameraError, match=r"^rtsp://127.0.0.1:\d+/x: nobody answers"):
            next(iter(camera))
        assert camera.state == "ended"
        assert camera.read() is None
    with RawServer() as server:  # it does not even say no
        url = f"http://127.0.0.1:{server.port}/"
        with Camera(url, give_up=0.5, connect_timeout=60) as camera, pytest.raises(CameraError):
            next(iter(camera))


def test_a_clock_that_is_set_back(monkeypatch: pytest.MonkeyPatch) -> None:
    hours = itertools.count(0, -3600)
    clock = SimpleNamespace(monotonic=time.monotonic, time=lambda: 1e9 + next(hours))
    monkeypatch.setattr(module, "time", clock)

    def play() -> Iterator[Any]:
        while True:
            time.sleep(0.01)
            yield fake_frame()

    with Camera("0", opener=lambda *_, **__: FakeContainer(play), read_timeout=0.5) as camera:
        frames = some(camera, 5)
        assert camera.state == "live"
    times = [frame.time for frame in frames]
    positions = [frame.position for frame in frames]
    assert times == sorted(times, reverse=True)
    assert positions == sorted(positions)
    assert {frame.clock for frame in frames} == {"system"}


@pytest.mark.parametrize(("offset", "clock"), [(0.5, "source"), (-3600, "system"), (90, "system")])
def test_a_camera_whose_clock_is_wrong_is_not_believed(offset: float, clock: str) -> None:
    def play() -> Iterator[Any]:
        while True:
            time.sleep(0.01)
            frame = fake_frame()
            frame.pts, frame.time_base = 0, 1
            yield frame

    def opener(*_: Any, **__: Any) -> Any:
        container: Any = FakeContainer(play)
        container.start_time_realtime = (time.time() - offset) * 1e6
        return container

    with Camera("rtsp://cam/x", opener=opener) as camera:
        (frame,) = some(camera, 1)
    assert frame.clock == clock


def test_a_conversion_only_for_who_reads() -> None:
    converted = []

    def play() -> Iterator[Any]:
        for _ in range(50):
            time.sleep(0.02)  # what comes faster waited in a buffer
            frame = fake_frame()
            frame.to_ndarray = lambda **_: converted.append(1) or plain(1)
            yield frame
        time.sleep(0.2)

    with Camera("0", opener=lambda *_, **__: FakeContainer(play)) as camera:
        camera.start()
        wait_for(lambda: camera.frames >= 50)
        some(camera, 1)
    assert len(converted) == 1


class FakeTime:
    """The clock of ``streams``, which only the test moves."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 100.0
        monkeypatch.setattr(streams, "time", self)

    def monotonic(self) -> float:
        return self.now

    def time(self) -> float:
        return 1e9 + self.now


@pytest.mark.slow
def test_key_frames_that_are_far_apart(tmp_path: Path) -> None:
    """The first one may come while the stream is opened: it must not be thrown away."""
    film = tmp_path / "film.mp4"
    write_video(film, [plain(90)] * 240, fps=5)  # a key frame every 50 seconds
    play = (
        f"( filesrc location={film} ! qtdemux ! h264parse"
        " ! rtph264pay name=pay0 pt=96 config-interval=1 )"
    )
    with RtspServer({"/live": play}) as server, Camera(server.url()) as camera:
        (frame,) = some(camera, 1)
    assert frame.number < 100


@pytest.mark.parametrize("sends", [True, False])
def test_a_source_that_sends_data_has_time_until_its_first_key_frame(sends: bool) -> None:
    freed = threading.Event()

    def play() -> Iterator[Any]:
        for _ in range(20):
            freed.wait(0.1)
            if sends:
                yield None
        yield fake_frame()
        freed.wait(60)

    states: list[str] = []
    with Camera(
        "0",
        opener=lambda *_, **__: FakeContainer(play),
        connect_timeout=0.4,
        read_timeout=0.4,
        on_state=lambda camera: states.append(camera.state),
    ) as camera:
        camera.start()
        wait_for(lambda: bool(states))
        assert states[0] == ("live" if sends else "lost")
        freed.set()


def test_old_frames_after_opening_are_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = FakeTime(monkeypatch)

    looked, freed = threading.Event(), threading.Event()

    def play() -> Iterator[Any]:
        for value in range(20):  # they wait in a buffer
            yield fake_frame(value)
        yield None
        looked.wait(60)
        clock.now += 0.04
        yield fake_frame(90)
        freed.wait(60)

    with Camera("0", opener=lambda *_, **__: FakeContainer(play)) as camera:
        camera.start()
        wait_for(lambda: camera.frames == 20)
        assert camera.read(0.1) is None
        assert camera.dropped == 20
        looked.set()
        (first,) = some(camera, 1)
        assert (first.number, int(first.image[0, 0, 0])) == (21, 90)
        freed.set()


def test_who_decodes_too_slowly_decodes_key_frames_only(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = FakeTime(monkeypatch)
    decode = streams._decode_packet
    skipped = []

    def slowly(packet: Any) -> list[Any]:
        skipped.append(container.streams.video[0].codec_context.skip_frame)
        clock.now += 0.9
        return decode(packet)

    def play() -> Iterator[Any]:
        for _ in range(5):  # the next packet is always there
            yield fake_frame()
        clock.now += 0.04
        yield fake_frame()

    monkeypatch.setattr(streams, "_decode_packet", slowly)
    container = FakeContainer(play)
    with Camera("0", opener=lambda *_, **__: container) as camera:
        camera.start()
        wait_for(lambda: len(skipped) >= 6)
    assert skipped[:6] == ["DEFAULT"] * 3 + ["NONKEY"] * 2 + ["DEFAULT"]


def test_memory_stays_flat_over_thousands_of_attempts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_FIRST_WAIT", 0.0)
    monkeypatch.setattr(module, "_LONGEST_WAIT", 0.0)
    part = jpeg(plain(5))
    process = psutil.Process()
    import av

    count = 0

    def opener(address: str, **_: Any) -> Any:
        nonlocal count
        count += 1
        if count % 2:
            return av.open(f"file:/missing{count}")
        return av.open(io.BytesIO(part * 3), format="mjpeg")

    with Camera("0", opener=opener) as camera:
        camera.start()
        wait_for(lambda: count > 500)
        before = process.memory_info().rss, process.num_fds(), process.num_threads()
        wait_for(lambda: count > 3500)
        after = process.memory_info().rss, process.num_fds(), process.num_threads()
    assert after[0] - before[0] < 8 << 20
    assert after[1] - before[1] < 5
    assert after[2] - before[2] < 3


# The end, and what is asked wrongly


def test_the_end_of_python_while_cameras_open_read_and_hang(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        "import sys, time\nfrom facekeep import Camera\n"
        "for url in sys.argv[1:]:\n    Camera(url, read_timeout=0.3).start()\n"
        "time.sleep(0.9)\n"
    )
    with (
        RawServer() as silent,
        RawServer(b"garbage\r\n") as garbage,
        MjpegServer(lambda: steady([plain(3)] * 10_000)) as server,
        MjpegServer(lambda: [plain(3), 0.01, plain(3), math.inf]) as frozen,
    ):
        ports = [silent.port] * 4 + [garbage.port] * 2 + [frozen.port] * 2
        urls = [f"{scheme}://127.0.0.1:{port}/x" for port in ports for scheme in ("rtsp", "http")]
        words = [sys.executable, str(script), *urls, *[server.url()] * 3]
        for _ in range(5):
            done = subprocess.run(words, capture_output=True, timeout=60, check=False)
            assert done.returncode == 0
            assert all(line.startswith(b"camera ") for line in done.stderr.splitlines())


def test_after_a_fork_the_child_has_no_camera() -> None:
    with (
        MjpegServer(lambda: steady([plain(3)] * 10_000)) as server,
        Camera(server.url()) as camera,
    ):
        some(camera, 1)
        child = os.fork()
        if not child:
            ended = camera.read(5) is None and camera.state == "ended" and bool(camera.error)
            camera.close()
            os._exit(0 if ended else 1)
        _, status = os.waitpid(child, 0)
        assert status == 0
        some(camera, 2)


def test_close_ends_who_waits_and_is_safe_twice() -> None:
    with RawServer() as server:
        camera = Camera(f"http://127.0.0.1:{server.port}/")
        found: list[object] = []
        waiting = threading.Thread(target=lambda: found.extend(camera))
        waiting.start()
        wait_for(lambda: server.count == 1)
        camera.close()
        waiting.join(60)
        camera.close()
        assert (found, camera.state, camera.error) == ([], "ended", None)
        assert camera.read() is None


def test_a_fault_of_on_state_ends_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    def fault(_: Camera) -> None:
        raise RuntimeError("a fault")

    write_video(tmp_path / "a.mp4", [plain(1)] * 3)
    with Camera(tmp_path / "a.mp4", on_state=fault) as camera:
        assert len(list(camera)) == 3
    assert [record.levelno for record in caplog.records] == [logging.ERROR] * 2


def test_on_state_may_close_the_camera() -> None:
    with (
        MjpegServer(lambda: steady([plain(3)] * 10_000)) as server,
        Camera(server.url(), on_state=lambda camera: camera.close()) as camera,
    ):
        camera.start()
        wait_for(lambda: camera.state == "ended")


def test_without_pyav(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "av", None)
    Image.fromarray(plain(1)).save(tmp_path / "a.png")
    with Camera(tmp_path) as camera:
        assert len(list(camera)) == 1
    with pytest.raises(DependencyError, match=r"facekeep\[video\]"), Camera("0") as camera:
        camera.start()


@pytest.mark.parametrize(
    "words",
    [
        {"connect_timeout": 0},
        {"read_timeout": -1.0},
        {"read_timeout": math.inf},
        {"connect_timeout": None},
        {"read_timeout": "5"},
        {"give_up": 0},
        {"transport": "sctp"},
        {"max_pixels": 0},
        {"start": datetime(2020, 1, 1)},
    ],
)
def test_arguments_that_cannot_be(words: Any) -> None:
    with pytest.raises(InputError):
        Camera("0", **words)


def test_frames_that_nobody_wants_are_passed_over_unconverted(tmp_path: Path) -> None:
    path = tmp_path / "gray.mp4"
    write_video(path, [plain(20 * number) for number in range(10)], fps=10)
    seen: list[float] = []

    def wanted(position: float) -> bool:
        seen.append(position)
        return len(seen) % 4 == 0

    with Camera(path) as camera:
        frames = [camera.read(30, wanted) for _ in range(3)]
    assert [frame and frame.number for frame in frames] == [4, 8, None]
    assert seen == pytest.approx([number / 10 for number in range(10)])
    assert camera.dropped == 0
