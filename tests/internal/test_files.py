"""How files are written: whole or not at all, and over nothing but files."""

from __future__ import annotations

import fcntl
import os
import signal
import socket
import stat
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from facekeep._internal import drafts as _drafts
from facekeep._internal.drafts import scratch_folder
from facekeep._internal.files import private_folder, replacing, user_folder, write_whole
from facekeep.errors import ConfigError


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.fixture(params=["nameless", "named", "copied"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Each way to prepare a file: the system's best, and what serves where that is missing."""

    def refuse(*arguments: object, **options: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    if request.param == "named":
        monkeypatch.setattr(_drafts, "_NAMELESS", False)
    if request.param == "copied":
        monkeypatch.setattr(os, "link", refuse)
    return str(request.param)


@pytest.mark.usefixtures("way")
class TestReplacing:
    def test_a_new_file_has_what_was_written_and_usual_permissions(self, tmp_path: Path) -> None:
        write_whole(tmp_path / "new", b"content")
        (tmp_path / "usual").touch()
        assert (tmp_path / "new").read_bytes() == b"content"
        assert mode(tmp_path / "new") == mode(tmp_path / "usual")
        assert {each.name for each in tmp_path.iterdir()} == {"new", "usual"}

    @pytest.mark.parametrize("before", [0o600, 0o644, 0o440, 0o751])
    def test_a_replaced_file_keeps_its_permissions(self, tmp_path: Path, before: int) -> None:
        target = tmp_path / "old"
        target.write_bytes(b"old")
        target.chmod(before)
        write_whole(target, b"new")
        assert (target.read_bytes(), mode(target)) == (b"new", before)
        assert list(tmp_path.iterdir()) == [target]

    def test_a_private_file_is_its_owners_alone_whatever_it_replaces(self, tmp_path: Path) -> None:
        target = tmp_path / "old"
        target.write_bytes(b"old")
        target.chmod(0o644)
        write_whole(target, b"new", private=True)
        assert (target.read_bytes(), mode(target)) == (b"new", 0o600)

    @pytest.mark.parametrize("before", [None, b"old"])
    def test_an_error_leaves_everything_as_it_was(
        self, tmp_path: Path, before: bytes | None
    ) -> None:
        target = tmp_path / "target"
        if before:
            target.write_bytes(before)
        with pytest.raises(TypeError), replacing(target) as stream:
            stream.write(b"half of" * 100_000 + "text")  # type: ignore[operator]
        found = {each.name: each.read_bytes() for each in tmp_path.iterdir()}
        assert found == ({"target": before} if before else {})

    def test_what_a_killed_process_left_is_removed_by_the_next(self, tmp_path: Path) -> None:
        target = tmp_path / "target"
        left = next(_drafts._drafts(target))
        left.write_bytes(b"secret")
        other = next(_drafts._drafts(tmp_path / "another"))
        other.write_bytes(b"of another file")
        write_whole(target, b"new")
        assert {each.name for each in tmp_path.iterdir()} == {"target", other.name}

    def test_what_another_process_still_writes_stays(self, tmp_path: Path) -> None:
        target = tmp_path / "target"
        held = next(_drafts._drafts(target))
        with held.open("wb") as stream:
            fcntl.flock(stream, fcntl.LOCK_EX)
            write_whole(target, b"new")
            write_whole(target, b"newer")
            assert {each.name for each in tmp_path.iterdir()} == {"target", held.name}
        assert target.read_bytes() == b"newer"

    def test_many_writers_at_once_leave_one_whole_file(self, tmp_path: Path) -> None:
        target = tmp_path / "target"

        def write(number: int) -> None:
            for _ in range(20):
                write_whole(target, bytes([number]) * 5000)

        threads = [threading.Thread(target=write, args=(number,)) for number in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        content = target.read_bytes()
        assert (len(content), len(set(content))) == (5000, 1)
        assert list(tmp_path.iterdir()) == [target]


def fifo(path: Path) -> None:
    os.mkfifo(path)


def device(path: Path) -> None:
    try:
        os.mknod(path, stat.S_IFCHR | 0o666, os.makedev(1, 3))
    except PermissionError:
        pytest.skip("only root makes devices")


def unix_socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind(str(path))


@pytest.mark.parametrize("make", [fifo, device, unix_socket, Path.mkdir])
@pytest.mark.parametrize("linked", [False, True], ids=["itself", "by a link"])
def test_only_regular_files_are_replaced(
    tmp_path: Path, make: Callable[[Path], None], linked: bool
) -> None:
    special = tmp_path / "special"
    make(special)
    target = special
    if linked:
        target = tmp_path / "link"
        target.symlink_to(special)
    before = special.lstat()
    with pytest.raises(OSError, match=r"a pipe, socket or device|is a directory"):
        write_whole(target, b"new")
    assert os.path.samestat(special.lstat(), before)
    assert len(list(tmp_path.iterdir())) == 1 + linked


def test_a_link_is_followed_where_that_is_asked_for_only(tmp_path: Path) -> None:
    file, link = tmp_path / "file", tmp_path / "link"
    file.write_bytes(b"old")
    link.symlink_to(file)
    write_whole(link, b"new")
    assert (link.is_symlink(), file.read_bytes()) == (True, b"new")
    write_whole(link, b"newer", follow=False)
    assert (link.is_symlink(), link.read_bytes(), file.read_bytes()) == (False, b"newer", b"new")
    link.unlink()
    link.symlink_to(file)
    write_whole(link, b"secret", private=True)
    assert (link.is_symlink(), file.read_bytes()) == (False, b"new")


@pytest.mark.parametrize("name", ["n" * 255, "ü" * 127, "a\nb", "-"])
def test_whatever_a_file_is_called_it_can_be_written(tmp_path: Path, name: str) -> None:
    for _ in range(2):
        write_whole(tmp_path / name, b"content")
    assert [each.name for each in tmp_path.iterdir()] == [name]


@pytest.mark.skipif(not hasattr(os, "O_TMPFILE"), reason="no files without names here")
def test_a_killed_writer_leaves_nothing(tmp_path: Path) -> None:
    code = (
        "import sys, os, signal; from facekeep._internal.files import replacing\n"
        "with replacing(sys.argv[1]) as stream:\n"
        "    stream.write(b'secret' * 10_000); stream.flush(); os.kill(os.getpid(), signal.SIGKILL)"
    )
    child = subprocess.run([sys.executable, "-c", code, str(tmp_path / "target")], check=False)
    assert child.returncode == -signal.SIGKILL
    assert list(tmp_path.iterdir()) == []


def test_a_scratch_folder_is_gone_afterwards_and_those_of_the_dead_with_it(tmp_path: Path) -> None:
    dead = tmp_path / f".import-{'0' * 16}"
    dead.mkdir()
    (dead / "model.onnx").touch()
    foreign = tmp_path / ".import-notes"
    foreign.mkdir()
    with scratch_folder(tmp_path, ".import-") as first:
        (first / "file").touch()
        with scratch_folder(tmp_path, ".import-") as second:
            assert set(tmp_path.iterdir()) == {first, second, foreign}
            second.rename(tmp_path / "kept")
        assert set(tmp_path.iterdir()) == {first, foreign, tmp_path / "kept"}
    assert set(tmp_path.iterdir()) == {foreign, tmp_path / "kept"}


def test_a_private_folder_is_its_owners_alone(tmp_path: Path) -> None:
    private_folder(tmp_path / "a" / "b")
    assert mode(tmp_path / "a" / "b") == 0o700
    (tmp_path / "open").mkdir()
    (tmp_path / "open").chmod(0o755)
    private_folder(tmp_path / "open")
    assert mode(tmp_path / "open") == 0o755, "what the user made is the user's"


@pytest.mark.parametrize("kind", ["data", "config", "cache"])
@pytest.mark.parametrize("fails", [True, False], ids=["refused", "not expanded"])
def test_who_has_no_home_is_told_what_to_set(
    monkeypatch: pytest.MonkeyPatch, kind: str, fails: bool
) -> None:
    """Versions of platformdirs differ in what they do then."""

    def homeless(*arguments: object, **options: object) -> Path:
        if fails:
            raise RuntimeError("could not determine the home directory")
        return Path("~/.config/facekeep")

    monkeypatch.setattr(f"platformdirs.user_{kind}_path", homeless)
    with pytest.raises(ConfigError, match=r"no home folder.*set HOME or THIS"):
        user_folder(kind, "set HOME or THIS")  # type: ignore[arg-type]
