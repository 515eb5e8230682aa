"""What a source text means, and that nobody sees its password."""

from __future__ import annotations

import io
import os
from pathlib import Path

import pytest

from facekeep.errors import CameraError, InputError
from facekeep.video.sources import hide_password, parse_source


@pytest.mark.parametrize(
    ("text", "kind", "name", "live"),
    [
        ("rtsp://cam/stream", "rtsp", "cam", True),
        ("rtsps://cam:322/stream", "rtsp", "cam:322", True),
        ("RTSP://ada:secret@10.0.0.7:8554/x", "rtsp", "10.0.0.7:8554", True),
        ("rtsp://[::1]:8554/x", "rtsp", "[::1]:8554", True),
        ("http://cam:81/video", "http", "cam:81", True),
        ("https://cam/video", "http", "cam", True),
        ("/dev/video2", "device", "video2", True),
        ("-", "pipe", "stdin", False),
        ("-:rgb24:640x480@5", "pipe", "stdin", False),
    ],
)
def test_what_a_text_means(text: str, kind: str, name: str, live: bool) -> None:
    source = parse_source(text)
    assert (source.kind, source.name, source.live) == (kind, name, live)


@pytest.mark.parametrize(
    ("system", "text", "address", "form"),
    [
        ("linux", "0", "/dev/video0", "v4l2"),
        ("linux", "/dev/v4l/by-id/usb-cam", "/dev/v4l/by-id/usb-cam", "v4l2"),
        ("darwin", "1", "1", "avfoundation"),
        ("win32", "video=Front camera", "video=Front camera", "dshow"),
    ],
)
def test_cameras_of_each_system(
    monkeypatch: pytest.MonkeyPatch, system: str, text: str, address: str, form: str
) -> None:
    monkeypatch.setattr("facekeep.video.sources.sys.platform", system)
    source = parse_source(text)
    assert (source.address, source.format, source.live) == (address, form, True)


def test_raw_frames_say_what_they_are() -> None:
    source = parse_source("-:yuv420p:1280x720@12.5")
    assert source.format == "rawvideo"
    assert dict(source.options) == {
        "pixel_format": "yuv420p",
        "video_size": "1280x720",
        "framerate": "12.5",
    }


def test_paths_are_files_folders_and_pipes(tmp_path: Path) -> None:
    (tmp_path / "0").write_bytes(b"")
    os.mkfifo(tmp_path / "pipe")
    found = [parse_source(tmp_path), parse_source(tmp_path / "0"), parse_source(tmp_path / "pipe")]
    assert [source.kind for source in found] == ["folder", "file", "pipe"]
    assert parse_source(io.BytesIO()).kind == "pipe"


def test_the_transport_and_time_out_reach_ffmpeg() -> None:
    options = parse_source("rtsp://cam/x", "udp", 2.5).options
    assert options["rtsp_transport"] == "udp"
    assert options["timeout"] == "2500000"
    assert parse_source("http://cam/x", timeout=1.0).options["rw_timeout"] == "1000000"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("rtsp://ada:secret@cam/x", "rtsp://ada:***@cam/x"),
        ("rtsp://ada:s%65cret@cam/x", "rtsp://ada:***@cam/x"),
        ("rtsp://ada:se@cr@et@cam:1/x", "rtsp://ada:***@cam:1/x"),
        ("rtsp://ada:se/cret@cam/x", "rtsp://ada:***@cam/x"),
        ("rtsp://ada:se?cr#et@cam/x", "rtsp://ada:***@cam/x"),
        ("rtsp://secret@cam/x", "rtsp://***@cam/x"),
        ("http://cam/v?channel=2&token=secret", "http://cam/v?channel=2&token=***"),
        ("http://cam/v?secret", "http://cam/v?***"),
        ("http://cam/v?channel=a%20secret%20text#secret", "http://cam/v?channel=***&***"),
        ("rtsp://cam/user=ada&password=secret&channel=1", "rtsp://cam/user=***"),
        ("rtsp://cam/user=ada_password=secret_channel=1.sdp", "rtsp://cam/user=***"),
        ("ada:secret@cam/x", "ada:***@cam/x"),
        ("rtsp:/ada:secret@cam/x", "rtsp:***@cam/x"),
        ("videos/a.mp4", "videos/a.mp4"),
        ("rtsp://cam/a\nb", "rtsp://cam/a\\nb"),
    ],
)
def test_nobody_sees_the_password(text: str, shown: str) -> None:
    assert hide_password(text) == shown
    assert "secret" not in hide_password(text)


@pytest.mark.parametrize(
    "text",
    [
        "rtsp://ada:sec/ret@cam/x",
        "rtsp://ada:secret@",
        "rtsp://ada:secret@cam:port/x",
        "rtsp://ada:secret@cam:99999/x",
        "rtsp://ada:secret@[::1/x",
        "rtsp://ada:sec ret@cam/x",
        "rtsp:///secret",
        "ftp://ada:secret@cam/x",
        "file:///secret",
        "concat://secret",
        "-:rgb24:640",
        "-:",
        "",
        "a\0b",
    ],
)
def test_what_is_no_source(text: str) -> None:
    with pytest.raises(InputError) as caught:
        parse_source(text)
    assert "\n" not in str(caught.value)
    assert "ada" not in text or "sec" not in str(caught.value)


def test_what_cannot_be_opened(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="type int"):
        parse_source(3)  # type: ignore[arg-type]
    with pytest.raises(CameraError, match="no such file"):
        parse_source(tmp_path / "missing.mp4")
    with pytest.raises(CameraError, match="no such file"):
        parse_source("video.mp4:rtsp")
    with pytest.raises(CameraError, match=r"^ada:\*\*\*@cam/x: cannot be opened: no such file"):
        parse_source("ada:secret@cam/x")
    with pytest.raises(CameraError, match="no file, folder, pipe or camera"):
        parse_source("/dev/null")


def test_a_folder_has_the_name_that_it_has_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "door").mkdir()
    monkeypatch.chdir(tmp_path / "door")
    assert {parse_source(text).name for text in (".", "./", "../door")} == {"door"}
