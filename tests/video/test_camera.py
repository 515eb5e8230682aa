"""``Camera``: files, live sources that end, freeze and come back, and what people see of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from video_servers import MjpegServer, RtspServer, plain, steady, wait_for, write_video

from facekeep import Camera


def test_a_file_gives_each_frame(tmp_path: Path) -> None:
    write_video(tmp_path / "a.mp4", (plain(5 * number) for number in range(30)), fps=10)
    with Camera(tmp_path / "a.mp4") as camera:
        frames = list(camera)
    assert [frame.number for frame in frames] == list(range(1, 31))
    assert np.allclose([frame.position for frame in frames], np.arange(30) / 10)
    assert np.allclose([frame.image.mean() for frame in frames], np.arange(30) * 5, atol=2)
    assert (camera.state, camera.dropped, camera.error, camera.live) == ("ended", 0, None, False)


def test_a_killed_rtsp_server_is_lost_and_comes_back() -> None:
    states = []
    with RtspServer() as server:
        with Camera(server.url(), on_state=lambda camera: states.append(camera.state)) as camera:
            before = camera.read(30)
            server.kill()
            wait_for(lambda: camera.state == "lost")
            assert camera.error
            server.start()
            wait_for(lambda: camera.state == "live")
            after = camera.read(30)
        assert before is not None
        assert after is not None
        assert after.number > before.number
        assert after.position > before.position
    assert states == ["live", "lost", "live", "ended"]


def test_mjpeg_over_http_gives_the_newest_frame() -> None:
    with MjpegServer(lambda: steady(plain(value) for value in range(250))) as server:
        with Camera(server.url()) as camera:
            first = camera.read(30)
            assert first is not None
            wait_for(lambda: camera.frames > first.number + 5)
            newest = camera.read(30)
            assert newest is not None
            assert newest.number > first.number + 5
            assert abs(newest.image.mean() - (newest.number - 1)) <= 2
            assert camera.dropped >= 5
