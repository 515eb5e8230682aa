"""Sinks on this machine: a stream, a CSV file, a command; and secrets that are kept elsewhere."""

from __future__ import annotations

import csv
import json
import os
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from child_server import wait_for
from event_kit import STRANGER, make_event

import facekeep.events.sinks as module
from facekeep.errors import InputError, SinkError
from facekeep.events.sinks import CommandSink, CsvSink, load_secret

EVIL = '=cmd|"/C calc"!A1\n\x00,x'


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


# CSV


def test_csv_has_one_header_and_a_row_for_each_event(tmp_path: Path) -> None:
    path = tmp_path / "events.csv"
    for number in (1, 2):
        with CsvSink(path) as sink:
            assert sink.name == f"csv:{path}"
            sink.deliver(make_event(number, duration=2.5, **(STRANGER if number == 2 else {})))
    first, second = rows(path)
    assert path.read_text().count("sequence") == 1
    assert list(first) == list(make_event().to_dict())
    assert (first["name"], first["usable"], first["similarity"]) == ("Ada Lovelace", "yes", "0.7")
    assert (second["name"], second["duration"], second["state"]) == ("", "2.5", "")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_csv_is_safe_to_open_in_a_spreadsheet(tmp_path: Path) -> None:
    sink = CsvSink(tmp_path / "events.csv")
    sink.deliver(make_event(1, name=EVIL))
    (row,) = rows(tmp_path / "events.csv")
    assert row["name"] == '\'=cmd|"/C calc"!A1\\n\\x00,x'


def test_csv_goes_on_after_a_cut_at_any_byte(tmp_path: Path) -> None:
    path = tmp_path / "events.csv"
    sink = CsvSink(path)
    for number in (1, 2):
        sink.deliver(make_event(number))
    whole = path.read_bytes()
    second = whole.rindex(b"arrived")
    for cut in (0, 6, 20, whole.index(b"\n"), second - 1, second, second + 5, len(whole) - 1):
        path.write_bytes(whole[:cut])
        CsvSink(path).deliver(make_event(3))
        found = rows(path)
        assert found[-1]["track"] == "3"
        assert [row["track"] for row in found] == ["1", "3"][-len(found) :]
        assert len(found) == (2 if cut >= second else 1)


def test_csv_row_that_another_process_is_writing_is_not_cut_off(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fcntl = pytest.importorskip("fcntl")
    monkeypatch.setattr(module, "_LOCKED", 0.05)
    path = tmp_path / "events.csv"
    sink = CsvSink(path)
    with path.open("ab") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        other.write(b"arrived,half a row")
        other.flush()
        before = path.read_bytes()
        with pytest.raises(SinkError, match="locked"):
            sink.deliver(make_event())
        assert path.read_bytes() == before
    sink.deliver(make_event())
    assert len(path.read_text().splitlines()) == 2


def test_csv_moved_away_is_begun_anew(tmp_path: Path) -> None:
    path = tmp_path / "events.csv"
    sink = CsvSink(path)
    sink.deliver(make_event(1))
    path.rename(tmp_path / "old.csv")
    sink.deliver(make_event(2))
    assert [len(rows(each)) for each in (path, tmp_path / "old.csv")] == [1, 1]


@pytest.mark.parametrize("content", ["name,age\nAda,36\n", "e", "event;id\n"])
def test_csv_of_something_else_is_refused_and_left_alone(tmp_path: Path, content: str) -> None:
    path = tmp_path / "people.csv"
    path.write_text(content)
    with pytest.raises(InputError, match="no table of events"):
        CsvSink(path)
    assert path.read_text() == content


def test_csv_that_is_no_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "target").write_text("")
    (tmp_path / "link.csv").symlink_to(tmp_path / "target")
    os.mkfifo(tmp_path / "pipe.csv")
    for path in (tmp_path, tmp_path / "link.csv", tmp_path / "pipe.csv", tmp_path / "no" / "x.csv"):
        with pytest.raises(InputError):
            CsvSink(path)
    assert (tmp_path / "target").read_text() == ""


_FULL = """
import resource, sys, signal
sys.path.insert(0, sys.argv[1])
from event_kit import make_event
from facekeep.errors import SinkError
from facekeep.events.sinks import CsvSink
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
sink = CsvSink(sys.argv[2])
sink.deliver(make_event(1))
resource.setrlimit(resource.RLIMIT_FSIZE, (400, resource.RLIM_INFINITY))
for number in (2, 3):
    try:
        sink.deliver(make_event(number))
    except SinkError as error:
        print(error)
resource.setrlimit(resource.RLIMIT_FSIZE, (-1, -1))
sink.deliver(make_event(4))
"""


def test_csv_on_a_full_disk_has_only_whole_rows(tmp_path: Path) -> None:
    path = tmp_path / "events.csv"
    kit = str(Path(__file__).parents[1] / "helpers")
    done = subprocess.run(
        [sys.executable, "-c", _FULL, kit, path], capture_output=True, text=True, check=True
    )
    assert done.stdout.count("free some space") >= 1
    assert [row["track"] for row in rows(path)][-1] == "4"
    assert all(len(row) == 14 and None not in row.values() for row in rows(path))


# Commands

_RECORD = (
    "import json, os, sys; event = json.load(sys.stdin);"
    " open(sys.argv[1], 'a').write(json.dumps([event, {k: v for k, v in os.environ.items()"
    " if k.startswith('FACEKEEP_EVENT_')}]) + chr(10))"
)


def python(code: str, *arguments: object) -> list[str]:
    return [sys.executable, "-c", code, *map(str, arguments)]


def test_a_command_gets_the_event_as_json_and_as_variables(tmp_path: Path) -> None:
    out = tmp_path / "out; echo $HOME"
    event = make_event(1, name='Ada "$(reboot)" `x`; rm -rf /\n\0')
    CommandSink(python(_RECORD, out)).deliver(event)
    seen, variables = json.loads(out.read_text())
    assert seen == event.to_dict()
    assert variables["FACEKEEP_EVENT_ID"] == event.id
    assert variables["FACEKEEP_EVENT_EVENT"] == "arrived"
    assert variables["FACEKEEP_EVENT_NAME"] == 'Ada "$(reboot)" `x`; rm -rf /\\n\\x00'
    assert "FACEKEEP_EVENT_DURATION" not in variables


def test_a_command_that_reads_nothing_has_the_event_all_the_same() -> None:
    CommandSink(python("pass")).deliver(make_event(1, name="A" * 10_000))


def test_a_command_that_fails() -> None:
    with pytest.raises(SinkError, match="ended with status 3"):
        CommandSink(python("raise SystemExit(3)")).deliver(make_event())


def children() -> list[str]:
    found = subprocess.run(
        ["ps", "--ppid", str(os.getpid()), "-o", "stat="],
        check=True,
        capture_output=True,
        text=True,
    )
    return [each for each in found.stdout.split() if each.startswith("Z")]


_HANGS = (
    "import subprocess, sys, time;"
    " child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)']);"
    " open(sys.argv[1], 'w').write(str(child.pid)); time.sleep(600)"
)


def ended(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


def test_a_command_that_hangs_is_killed() -> None:
    with pytest.raises(SinkError, match=r"killed after 0\.2 seconds"):
        CommandSink(["sleep", "600"], timeout=0.2).deliver(make_event())
    assert children() == []


def test_closing_ends_a_command_with_all_that_it_started(tmp_path: Path) -> None:
    file = tmp_path / "pid"
    sink = CommandSink(python(_HANGS, file), timeout=600)
    failed: list[SinkError] = []

    def deliver() -> None:
        try:
            sink.deliver(make_event())
        except SinkError as error:
            failed.append(error)

    thread = threading.Thread(target=deliver)
    thread.start()
    wait_for(lambda: file.exists() and file.read_text())
    sink.close()
    thread.join()
    assert failed
    wait_for(lambda: ended(int(file.read_text())))
    with pytest.raises(SinkError, match="closed"):
        sink.deliver(make_event())
    assert children() == []


@pytest.mark.parametrize("command", ["echo hi", [], ["no-such-program-at-all"]])
def test_commands_that_cannot_be(command: list[str] | str) -> None:
    with pytest.raises(InputError):
        CommandSink(command)


# Secrets


def test_secrets_come_from_a_file_or_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "secret").write_text("hush\n")
    monkeypatch.setenv("HUSH", " hush ")
    assert load_secret(f"file:{tmp_path / 'secret'}", "the word") == "hush"
    assert load_secret("env:HUSH", "the word") == "hush"


@pytest.mark.parametrize("spec", ["hush", "env:", "env:HUSH", "file:/no/hush", "file:/", "x:hush"])
def test_a_missing_secret_is_told_without_repeating_what_was_given(spec: str) -> None:
    with pytest.raises(InputError, match="the word") as caught:
        load_secret(spec, "the word")
    assert "hush" not in str(caught.value).lower()
