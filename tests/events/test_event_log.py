"""The event log: order, gaps, erasure, retention, and what happens when things go wrong."""

from __future__ import annotations

import logging
import os
import sqlite3
import stat
from collections.abc import Iterable
from contextlib import AbstractContextManager, closing
from datetime import UTC, datetime, timedelta, tzinfo
from pathlib import Path

import event_kit
import pytest
from event_kit import START, STRANGER

from facekeep.errors import EventLogError, GalleryKeyError, InputError, StorageFull
from facekeep.events import event_log, log_file
from facekeep.events.delivery import Delivery
from facekeep.events.event import Event
from facekeep.events.event_log import (
    Erased,
    EventLog,
    Expired,
    default_event_log_path,
    erase_person_events,
)
from facekeep.events.log_file import LogFile
from facekeep.gallery import Key

KEY = Key(b"k" * 32)
OTHER_KEY = Key(b"o" * 32)
CROP = b"\xff\xd8crop of Ada" * 50


def make_event(number: int = 0, **facts: object) -> Event:
    """An event with a crop."""
    return event_kit.make_event(number, **({"crop": CROP} | facts))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "people.events.db"


def bytes_of(path: Path) -> bytes:
    """All that lies on the disk of a log."""
    return b"".join(each.read_bytes() for each in sorted(path.parent.glob(f"{path.name}*")))


# Order


@pytest.mark.parametrize("key", [None, KEY])
def test_what_is_appended_comes_back_equal_and_numbered(path: Path, key: Key | None) -> None:
    given = [make_event(1), make_event(2, **STRANGER), make_event(3, duration=2.5, usable=None)]
    with EventLog.open(path, key=key) as log:
        stored = [log.append(each) for each in given]
        assert [each.sequence for each in stored] == [1, 2, 3]
        assert list(log.events()) == stored
    with EventLog.open(path, key=key) as log:
        assert list(log.events()) == stored
        assert log.append(make_event(4)).sequence == 4
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_nobody_else_may_read_any_of_the_files(path: Path) -> None:
    with EventLog.open(path) as log, Delivery(log, []):
        log.append(make_event(1))
        modes = {each.name: stat.S_IMODE(each.stat().st_mode) for each in path.parent.iterdir()}
    ends = ("", "-wal", "-shm", "-sinks")
    assert modes == {f"{path.name}{end}": 0o600 for end in ends}


def test_an_event_appended_again_is_stored_once(path: Path) -> None:
    with EventLog.open(path) as log:
        event = make_event()
        assert log.append(event) == log.append(event)
        assert log.append(make_event()).sequence == 2


def test_queries(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("facekeep.events.event_log._PAGE", 2)
    with EventLog.open(path) as log:
        for number in range(3):
            log.append(make_event(number))
        log.append(Event("camera", "yard", START + timedelta(seconds=9), state="lost"))
        log.append(make_event(20, **STRANGER))

        def sequences(**query: object) -> list[int]:
            return [each.sequence for each in log.events(**query)]  # type: ignore[arg-type]

        assert sequences() == [1, 2, 3, 4, 5]
        assert sequences(limit=2) == [4, 5]
        assert sequences(limit=0) == []
        assert sequences(person="ada lovelace") == [1, 2, 3]
        assert sequences(person="id-ada", limit=1) == [3]
        assert sequences(camera="yard") == sequences(kind="camera") == [4]
        assert sequences(since=START + timedelta(seconds=2)) == [3, 4, 5]
        assert sequences(until=START + timedelta(seconds=1)) == [1, 2]
        with pytest.raises(InputError):
            sequences(since=datetime(2026, 1, 1))
        with pytest.raises(InputError):
            sequences(limit=-1)


# Sinks


def test_a_sink_gets_what_comes_after_it_and_goes_on_where_it_was(path: Path) -> None:
    with EventLog.open(path) as log:
        log.append(make_event(1))
        log.add_sink("hook")
        assert log.pending("hook") == []
        log.append(make_event(2))
        log.append(make_event(3))
        assert [each.sequence for each in log.pending("hook", 5)] == [2, 3]
        log.delivered("hook", 2)
        log.delivered("hook", 1)  # late news: nothing goes back
    with EventLog.open(path) as log:
        log.add_sink("hook")
        assert [each.sequence for each in log.pending("hook", 5)] == [3]
        log.delivered("hook", 3, refused=True)
        (sink,) = log.status().sinks
        assert (sink.delivered, sink.pending, sink.lost, sink.refused) == (3, 0, 0, 1)
        log.append(make_event(4))
        log.remove_sink("hook")
        with pytest.raises(EventLogError, match="no sink"):
            log.pending("hook")


# Retention


def test_strangers_expire_first_and_everything_later(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with EventLog.open(path) as log:
        log.add_sink("hook")
        for event in (
            make_event(1),
            make_event(2, **STRANGER),
            Event("camera", "door", START, state="live"),
        ):
            log.append(event)
        now = datetime.now(UTC)
        done = log.expire(now + timedelta(days=6))
        assert (done.strangers, done.old, done.oversize, done.lost) == (0, 0, 0, {})
        with caplog.at_level(logging.WARNING):
            done = log.expire(now + timedelta(days=8))
        assert (done.strangers, done.old, done.lost) == (1, 0, {"hook": 1})
        assert "1 events were never delivered to hook" in caplog.text
        assert [each.sequence for each in log.events()] == [1, 3]
        log.delivered("hook", 1)
        done = log.expire(now + timedelta(days=31))
        assert (done.strangers, done.old, done.lost) == (0, 2, {"hook": 1})
        assert list(log.events()) == []
        assert b"crop of Ada" not in bytes_of(path)
        (sink,) = log.status().sinks
        assert (sink.lost, sink.pending) == (2, 0)
        assert log.append(make_event(4)).sequence == 4


def test_the_size_is_bounded_and_the_loss_counted(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with EventLog.open(path, max_bytes=2**18) as log:
        log.add_sink("hook")
        for number in range(40):
            log.append(make_event(number, crop=os.urandom(20_000)))
        kept = [each.sequence for each in log.events()]
        assert kept == list(range(kept[0], 41))
        assert 5 <= len(kept) <= 13
        (sink,) = log.status().sinks
        assert (sink.pending, sink.lost) == (len(kept), 40 - len(kept))
        assert "never delivered to hook" in caplog.text
        last = log.append(make_event(41, crop=os.urandom(2**19)))
        assert list(log.events()) == [last]
    assert path.stat().st_size < 4 * 2**18


def test_a_clock_that_was_set_back_changes_neither_order_nor_ages(path: Path) -> None:
    with EventLog.open(path) as log:
        log.append(make_event(100))
        log.append(make_event(1))  # earlier, as the clock was set back
        assert [each.sequence for each in log.events()] == [1, 2]
        long_ago = datetime.now(UTC) - timedelta(days=400)
        assert log.expire(long_ago).old == 0
        assert log.expire(long_ago + timedelta(days=29)).old == 0
        assert log.expire(long_ago + timedelta(days=31)).old == 2


class WrongClock(datetime):
    """A clock that is 40 days behind, as that of a device without a battery after its start."""

    behind = timedelta(days=40)

    @classmethod
    def now(cls, tz: tzinfo | None = None) -> datetime:  # type: ignore[override]
        return datetime.now(tz) - cls.behind


def test_a_clock_that_is_corrected_ages_no_event(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (event_log, log_file):
        monkeypatch.setattr(module, "datetime", WrongClock)
    with EventLog.open(path) as log:
        log.add_sink("hook")
        log.append(make_event(1))
        monkeypatch.setattr(WrongClock, "behind", timedelta())
        assert log.expire() == Expired(0, 0, 0, {})
        assert len(log.pending("hook")) == 1
        assert log.expire(datetime.now(UTC) + timedelta(days=31)).lost == {"hook": 1}


# A full disk


def test_events_wait_in_memory_while_the_disk_is_full(
    path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    full = False
    write = LogFile.write

    def refuse(file: LogFile) -> AbstractContextManager[sqlite3.Connection]:
        if full:
            raise StorageFull("no room")
        return write(file)

    monkeypatch.setattr(LogFile, "write", refuse)
    monkeypatch.setattr("facekeep.events.event_log._MAX_HELD", 3)

    def tracks(events: Iterable[Event]) -> list[int | None]:
        return [each.track for each in events]

    with EventLog.open(path) as log:
        assert tracks(log.keep([make_event(0)])) == [0]
        full = True
        assert log.keep([make_event(1), make_event(2)]) == []
        assert log.keep([make_event(3)]) == []
        assert caplog.text.count("no room; events wait in memory") == 1
        full = False
        assert tracks(log.keep([make_event(4)])) == [1, 2, 3, 4]
        assert [each.sequence for each in log.events()] == [1, 2, 3, 4, 5]
        full = True
        for number in range(5, 10):
            assert log.keep([make_event(number)]) == []
        assert caplog.text.count("1 events are lost") == 2
        full = False
    with EventLog.open(path) as log:  # closing stored what was held
        assert tracks(log.events()) == [0, 1, 2, 3, 4, 7, 8, 9]
        full = True
        log.keep([make_event(10)])
    assert caplog.text.count("1 events are lost") == 3


# Erasure


@pytest.mark.parametrize("key", [None, KEY])
def test_erasing_a_person_overwrites_names_and_crops(path: Path, key: Key | None) -> None:
    with EventLog.open(path, key=key) as log:
        log.add_sink("hook")
        log.append(make_event(1))
        log.append(make_event(2, crop=None))
        log.append(make_event(3, name="Bob", person_id="id-bob", crop=None))
        assert (b"Ada Lovelace" in bytes_of(path)) == (key is None)
        assert (b"crop of Ada" in bytes_of(path)) == (key is None)
        assert log.erase_person("id-ada") == Erased(names=2, crops=1)
        assert log.erase_person("id-ada") == Erased(names=0, crops=0)
        left = list(log.events())
        assert [each.name for each in left] == [None, None, "Bob"]
        assert [(each.person_id, each.crop) for each in left[:2]] == [(None, None)] * 2
        assert left == log.pending("hook", 5)
        for trace in (b"Ada Lovelace", b"crop of Ada", b"id-ada' "):
            assert trace not in bytes_of(path)


def test_a_visit_that_goes_on_while_its_person_is_erased_gives_no_name(path: Path) -> None:
    with EventLog.open(path) as log, EventLog.open(path) as other:
        log.append(make_event(1))
        other.erase_person("id-ada")
        late = log.append(make_event(2))
        assert (late.name, late.person_id, late.crop, late.sequence) == (None, None, None, 2)
        assert [each.similarity for each in log.events()] == [None, None]
        assert list(log.events())[1] == late
    assert b"Ada Lovelace" not in bytes_of(path)


def test_erasing_who_others_were_merged_into_erases_their_events(path: Path) -> None:
    with EventLog.open(path) as log:
        log.append(make_event(1, name="Ada L.", person_id="id-old"))
        assert log.merge_person("id-old", "id-ada") == 1
        log.append(make_event(2, name="Ada L.", person_id="id-old"))
        assert [each.person_id for each in log.events()] == ["id-ada"] * 2
        assert log.erase_person("id-ada").names == 2
        assert log.append(make_event(3, name="Ada L.", person_id="id-old")).name is None


def test_an_erasure_that_was_cut_off_is_finished_when_the_log_is_opened(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with EventLog.open(path) as log:
        log.append(make_event(1))
        with monkeypatch.context() as patch:
            patch.setattr(log, "_sweep", lambda: None)
            log.erase_person("id-ada")
    with EventLog.open(path):
        pass
    assert b"Ada Lovelace" not in bytes_of(path)


def test_erasing_beside_a_gallery_needs_no_key(tmp_path: Path) -> None:
    gallery = tmp_path / "people.db"
    assert erase_person_events(gallery, ["id-ada"]) == Erased(0, 0)
    assert not default_event_log_path(gallery).exists()
    with EventLog.open(default_event_log_path(gallery), key=KEY) as log:
        log.append(make_event(1))
        log.append(make_event(2, name="Bob", person_id="id-bob"))
        assert erase_person_events(gallery, ["id-bob"], into="id-ada") == Erased(0, 0)
        assert erase_person_events(gallery, ["id-ada", "id-none"]) == Erased(2, 2)
        assert [each.name for each in log.events()] == [None, None]


@pytest.mark.parametrize(
    ("gallery", "log"),
    [("people.db", "people.events.db"), ("people", "people.events.db"), ("a.b.x", "a.b.events.x")],
)
def test_the_log_stands_beside_its_gallery(tmp_path: Path, gallery: str, log: str) -> None:
    assert default_event_log_path(tmp_path / gallery) == tmp_path / log


# Keys


@pytest.mark.parametrize(
    ("made_with", "opened_with", "message"),
    [
        (KEY, None, "is encrypted and no key was given"),
        (KEY, OTHER_KEY, "not the key"),
        (None, KEY, "is not encrypted"),
    ],
)
def test_a_wrong_key(
    path: Path, made_with: Key | None, opened_with: Key | None, message: str
) -> None:
    EventLog.open(path, key=made_with).close()
    with pytest.raises(GalleryKeyError, match=message):
        EventLog.open(path, key=opened_with)
    EventLog.open(path, key=made_with).close()


@pytest.mark.parametrize(("old", "new"), [(None, KEY), (KEY, OTHER_KEY), (KEY, None)])
def test_rekey(path: Path, old: Key | None, new: Key | None) -> None:
    with EventLog.open(path, key=old) as log:
        events = [log.append(make_event(1)), log.append(make_event(2, **STRANGER))]
        log.rekey(new)
        assert list(log.events()) == events
        events.append(log.append(make_event(3)))
    assert (b"Ada Lovelace" in bytes_of(path)) == (new is None)
    with EventLog.open(path, key=new) as log:
        assert list(log.events()) == events
    with pytest.raises(GalleryKeyError):
        EventLog.open(path, key=old)


# What is not a log


def test_a_file_of_somebody_else_is_refused_and_left_alone(tmp_path: Path) -> None:
    for name, content in (("note", b"some text " * 200), ("empty", b"")):
        file = tmp_path / name
        file.write_bytes(content)
        with pytest.raises(EventLogError, match="not an event log"):
            EventLog.open(file)
        assert file.read_bytes() == content
    other = tmp_path / "other.db"
    with closing(sqlite3.connect(other)) as connection:
        connection.execute("CREATE TABLE notes (text)")
    before = other.read_bytes()
    with pytest.raises(EventLogError, match="left alone"):
        EventLog.open(other)
    assert other.read_bytes() == before


def test_links_and_folders_are_refused(tmp_path: Path, path: Path) -> None:
    EventLog.open(path).close()
    link = tmp_path / "link.db"
    link.symlink_to(path)
    for each in (link, tmp_path):
        with pytest.raises(EventLogError, match="never followed"):
            EventLog.open(each)
    (tmp_path / "fresh.db-wal").symlink_to(path)
    with pytest.raises(EventLogError, match="never followed"):
        EventLog.open(tmp_path / "fresh.db")
    assert not (tmp_path / "fresh.db").exists()


def test_a_newer_log_is_refused(path: Path) -> None:
    EventLog.open(path).close()
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA user_version = 99")
    with pytest.raises(EventLogError, match="newer facekeep"):
        EventLog.open(path)


def test_reading_only(path: Path) -> None:
    with pytest.raises(EventLogError, match="there is no event log"):
        EventLog.open(path, read_only=True)
    assert not path.exists()
    with EventLog.open(path) as log:
        event = log.append(make_event(1))
    with EventLog.open(path, read_only=True) as log:
        assert list(log.events()) == [event]
        with pytest.raises(EventLogError, match="reading only"):
            log.append(make_event(2))


def test_a_damaged_log(path: Path) -> None:
    with EventLog.open(path) as log:
        for number in range(30):
            log.append(make_event(number))
    data = bytearray(path.read_bytes())
    data[8192:] = b"\xa5" * (len(data) - 8192)
    path.write_bytes(data)
    with pytest.raises(EventLogError, match="damaged") as caught, EventLog.open(path) as log:
        list(log.events())
    assert "\n" not in str(caught.value)


def test_a_closed_log(path: Path) -> None:
    log = EventLog.open(path)
    log.close()
    log.close()
    with pytest.raises(EventLogError, match=r"event log .* was closed"):
        log.append(make_event())


@pytest.mark.parametrize("options", [{"max_bytes": 1}, {"max_age": timedelta(0)}])
def test_bounds_out_of_range(path: Path, options: dict[str, object]) -> None:
    with pytest.raises(InputError):
        EventLog.open(path, **options)  # type: ignore[arg-type]
    assert not path.exists()
