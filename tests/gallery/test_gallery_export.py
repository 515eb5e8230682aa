from __future__ import annotations

import base64
import contextlib
import functools
import hashlib
import json
import os
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from gallery_kit import KEY, KEY2, OTHER, contents, make, new, units
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from facekeep.errors import (
    ExportInvalid,
    FacekeepError,
    GalleryBusy,
    GalleryKeyError,
    InputError,
    PersonExists,
    SpaceMismatch,
    StorageFull,
)
from facekeep.gallery import Consent, Gallery, Imported, Key
from facekeep.gallery.transfer import MAX_LINE_BYTES
from facekeep.gallery.types import from_stamp, now_stamp

EXAMPLES = int(os.environ.get("FACEKEEP_FUZZ_EXAMPLES", "2000"))


def fill(gallery: Gallery) -> None:
    now = from_stamp(now_stamp())
    gallery.enroll(
        "Ada",
        [new(1, quality=0.25, source="ä.jpg", crop=b"\x00crop\xff"), new(2, negative=True)],
        metadata={"room": "4b", "list": [1, 2.5, None, "ü"]},
        consent=Consent("form", now),
        retain_until=now,
    )
    gallery.enroll("Bea", [new(3)])


@pytest.fixture
def export(gallery: Gallery, tmp_path: Path) -> Path:
    """An export of two people; encrypted when the gallery is."""
    fill(gallery)
    target = tmp_path / "out.jsonl"
    gallery.export(target)
    return target


@pytest.fixture
def other(tmp_path: Path) -> Gallery:
    """Another, plain, empty gallery."""
    return make(tmp_path / "other.db")


def test_an_export_brings_everything_back(gallery: Gallery, export: Path, other: Gallery) -> None:
    assert other.import_(export, key=KEY) == Imported(added=2, merged=0, skipped=0, templates=3)
    assert contents(other) == contents(gallery)
    assert other.search(units(1, 1))[0][0].name == "Ada"
    assert other.check() == []
    assert [gallery.audit(1)[0].action, other.audit(1)[0].action] == ["exported", "imported"]
    assert export.stat().st_mode & 0o777 == 0o600


def test_the_plain_format_is_as_documented(other: Gallery, tmp_path: Path) -> None:
    fill(other)
    other.export(tmp_path / "out")
    data = (tmp_path / "out").read_bytes()
    header, ada, first, second, bea, third, end = map(json.loads, data.splitlines())
    assert (header["format"], header["version"], header["encrypted"]) == (
        "facekeep-export",
        1,
        False,
    )
    assert (header["space"], header["model"], header["width"]) == (
        other.space.id,
        other.space.model,
        other.space.width,
    )
    assert [ada["person"]["name"], bea["person"]["name"]] == ["Ada", "Bea"]
    assert [first["template"]["negative"], second["template"]["negative"]] == [False, True]
    assert base64.b64decode(third["template"]["vector"]) == units(1, 3)[0].astype("<f4").tobytes()
    before_end = data[: data.rindex(b'{"end"')]
    assert end["end"] == {
        "people": 2,
        "templates": 3,
        "sha256": hashlib.sha256(before_end).hexdigest(),
    }


def test_an_encrypted_export_tells_nothing(tmp_path: Path) -> None:
    with make(tmp_path / "g.db", KEY) as gallery:
        fill(gallery)
        gallery.export(tmp_path / "sealed")
        gallery.export(tmp_path / "other key", key=KEY2)
        gallery.export(tmp_path / "plain", plain=True)
        with pytest.raises(InputError, match="not both"):
            gallery.export(tmp_path / "x", plain=True, key=KEY)
    vector = base64.b64encode(units(1, 3)[0].astype("<f4").tobytes())
    for name, secret in (("sealed", True), ("other key", True), ("plain", False)):
        data = (tmp_path / name).read_bytes()
        assert (b"Ada" not in data) == secret
        assert (vector not in data) == secret
    with make(tmp_path / "h.db") as other:
        with pytest.raises(GalleryKeyError, match="no key"):
            other.import_(tmp_path / "sealed")
        with pytest.raises(GalleryKeyError, match="not the key"):
            other.import_(tmp_path / "other key", key=KEY)
        assert other.people() == []
        other.import_(tmp_path / "other key", key=KEY2)
        assert [p.name for p in other.people()] == ["Ada", "Bea"]


def test_a_gallery_without_encryption_can_export_encrypted(other: Gallery, tmp_path: Path) -> None:
    fill(other)
    other.export(tmp_path / "out", key=KEY)
    assert b"Ada" not in (tmp_path / "out").read_bytes()


@pytest.mark.parametrize(
    ("on_conflict", "expected", "names"),
    [
        ("merge", Imported(1, 1, 0, 3), ["Ada", "Bea"]),
        ("rename", Imported(2, 0, 0, 3), ["Ada", "Ada (2)", "Bea"]),
        ("skip", Imported(1, 0, 1, 1), ["Ada", "Bea"]),
    ],
)
def test_conflicts(
    export: Path, other: Gallery, on_conflict: Any, expected: Imported, names: list[str]
) -> None:
    before = other.enroll("Ada", [new(9)], metadata={"room": "mine"})
    assert other.import_(export, key=KEY, on_conflict=on_conflict) == expected
    assert [p.name for p in other.people()] == names
    ada = other.person("Ada")
    assert ada.id == before.id
    assert ada.metadata["room"] == "mine"
    assert (ada.retain_until is not None) == (on_conflict == "merge")
    assert other.info().templates == 1 + expected.templates
    assert other.check() == []


def test_a_conflict_is_an_error_by_default(export: Path, other: Gallery) -> None:
    other.enroll("Bea", [new(9)])
    before = contents(other)
    with pytest.raises(PersonExists, match="Bea"):
        other.import_(export, key=KEY)
    assert contents(other) == before
    with pytest.raises(InputError, match="on_conflict"):
        other.import_(export, key=KEY, on_conflict="replace")  # type: ignore[arg-type]


def test_importing_twice_adds_nothing(export: Path, other: Gallery) -> None:
    other.import_(export, key=KEY)
    before = contents(other)
    assert other.import_(export, key=KEY, on_conflict="merge") == Imported(0, 2, 0, 0)
    assert contents(other) == before


def test_renamed_copies_get_ids_of_their_own(export: Path, other: Gallery) -> None:
    for _ in range(3):
        other.import_(export, key=KEY, on_conflict="rename")
    assert len({person.id for person in other.people()}) == 6
    assert other.info().templates == 9
    assert other.check() == []


def test_another_space_is_refused(export: Path, tmp_path: Path) -> None:
    stranger = Gallery.open(tmp_path / "stranger.db", space=OTHER, create=True)
    with stranger, pytest.raises(SpaceMismatch, match=r"model-b .*model-a"):
        stranger.import_(export, key=KEY)


def test_targets_that_would_do_harm(gallery: Gallery, tmp_path: Path) -> None:
    fill(gallery)
    before = contents(gallery)
    (tmp_path / "link").symlink_to(gallery.path)
    os.mkfifo(tmp_path / "pipe")
    targets = [gallery.path, f"{gallery.path}-wal", f"{gallery.path}-shm", tmp_path / "link"]
    for target in [*targets, tmp_path, tmp_path / "missing" / "x", tmp_path / "pipe", "a\0b"]:
        with pytest.raises(InputError):
            gallery.export(target)
    assert contents(gallery) == before
    assert gallery.check() == []


def test_an_export_that_fails_leaves_the_old_file(
    gallery: Gallery, export: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, lines = export.read_bytes(), gallery.audit()

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(StorageFull, match="no room"):
        gallery.export(export)
    assert export.read_bytes() == before
    assert gallery.audit() == lines, "an export that nobody has is not told of"
    assert [f for f in export.parent.iterdir() if f.name.startswith(".facekeep")] == []


def test_an_export_that_cannot_be_told_of_is_not_made(path: Path, key: Key | None) -> None:
    make(path, key).close()
    with (
        Gallery.open(path, key=key, busy_timeout=0) as gallery,
        contextlib.closing(sqlite3.connect(path, isolation_level=None)) as other,
    ):
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(GalleryBusy):
            gallery.export(path.with_name("out.jsonl"))
    assert list(path.parent.iterdir()) == [path]


def test_sources_that_are_no_files(other: Gallery, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for source in (tmp_path, tmp_path / "missing", tmp_path / "pipe", "a\0b"):
        with pytest.raises(InputError):
            other.import_(source)
    with pytest.raises(ExportInvalid):
        other.import_(other.path)


# Damage. A plain export is rewritten with a trailer that fits, so that the damage itself is judged.


def sealed_off(lines: list[bytes]) -> bytes:
    """The lines with a fitting trailer."""
    body = b"".join(line + b"\n" for line in lines)
    kinds = [next(iter(json.loads(line)), None) if line[:1] == b"{" else None for line in lines]
    end = {
        "people": kinds.count("person"),
        "templates": kinds.count("template"),
        "sha256": hashlib.sha256(body).hexdigest(),
    }
    return body + json.dumps({"end": end}).encode() + b"\n"


@functools.cache
def sample(folder: Path) -> tuple[bytes, ...]:
    """The lines of a plain export, without its trailer."""
    with make(folder / "sample.db") as gallery:
        fill(gallery)
        gallery.export(folder / "sample.jsonl")
    return tuple((folder / "sample.jsonl").read_bytes().splitlines()[:-1])


def edited(line: bytes, change: Callable[[dict[str, Any]], object]) -> bytes:
    record = json.loads(line)
    change(record)
    return json.dumps(record).encode()


def put(kind: str, field: str, value: object) -> Callable[[dict[str, Any]], object]:
    return lambda record: (record[kind] if kind else record).__setitem__(field, value)


BAD_LINES = [
    (0, put("", "format", "other"), "not a facekeep export"),
    (0, put("", "version", 2), "version 2"),
    (0, put("", "width", 0), "width"),
    (0, put("", "width", True), "width"),
    (0, put("", "export", "\ud800"), "badly formed"),
    (0, put("", "gallery", "x"), "badly formed"),
    (0, put("", "model", "\ud800"), "printed"),
    (0, put("", "created_at", "now"), "now"),
    (0, put("", "key_check", "\ud800"), "hex"),
    (0, put("", "key_check", "00"), "contradict"),
    (0, put("", "encrypted", 1), "encrypted"),
    (0, put("", "extra", 1), "fields"),
    (0, lambda record: record.pop("space"), "fields"),
    (1, put("person", "name", ""), "empty"),
    (1, put("person", "name", "a\nb"), "printed"),
    (1, put("person", "name", "\ud800"), "printed"),
    (1, put("person", "name", "a\u202eb"), "reorder text"),
    (1, put("person", "name", "\u200b"), "nothing can be seen"),
    (1, put("person", "name", 3), "name"),
    (1, put("person", "name", "Bea"), "twice"),
    (1, put("person", "id", "1"), "badly formed"),
    (1, put("person", "id", "{12345678-1234-4234-8234-123456789abc}"), "usual form"),
    (1, put("person", "metadata", []), "metadata"),
    (1, put("person", "metadata", {"a": "x" * 70000}), "65536"),
    (1, put("person", "consent", {"basis": "x"}), "given_at"),
    (1, put("person", "consent", {"basis": "", "given_at": "2026-01-01T00:00:00Z"}), "empty"),
    (1, put("person", "retain_until", "2026-01-01"), "time zone"),
    (1, put("person", "retain_until", "soon"), "soon"),
    (1, put("person", "extra", 1), "fields"),
    (1, put("", "template", {}), "neither"),
    (2, put("template", "vector", "!!!!"), "base64"),
    (2, put("template", "vector", ""), "shape"),
    (2, put("template", "vector", base64.b64encode(bytes(63)).decode()), "multiple"),
    (2, put("template", "vector", base64.b64encode(bytes(64)).decode()), "unit length"),
    (2, put("template", "vector", base64.b64encode(b"\xff" * 64).decode()), "unit length"),
    (2, put("template", "negative", 0), "negative"),
    (2, put("template", "quality", "1"), "quality"),
    (2, put("template", "source", "a\nb"), "printed"),
    (2, put("template", "crop", ""), "crop"),
    (2, put("template", "created_at", "0001-01-01T00:00:00+14:00"), "line 3"),
    (2, put("template", "id", "1"), "badly formed"),
]


@pytest.mark.parametrize(("line", "change", "why"), BAD_LINES)
def test_bad_values(
    other: Gallery,
    tmp_path: Path,
    tmp_path_factory: pytest.TempPathFactory,
    line: int,
    change: Callable[[dict[str, Any]], object],
    why: str,
) -> None:
    lines = list(sample(tmp_path_factory.getbasetemp()))
    lines[line] = edited(lines[line], change)
    assert_refused(other, tmp_path, sealed_off(lines), why)


def assert_refused(gallery: Gallery, folder: Path, data: bytes, why: str) -> None:
    (folder / "bad.jsonl").write_bytes(data)
    with pytest.raises(ExportInvalid, match=why) as caught:
        gallery.import_(folder / "bad.jsonl")
    assert "\n" not in str(caught.value)
    assert ", line " in str(caught.value)
    assert gallery.people() == []
    assert gallery.info().templates == 0


def test_bad_files(
    other: Gallery, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    header, ada, first, second, bea, third = sample(tmp_path_factory.getbasetemp())
    good = sealed_off([header, ada, first, second, bea, third])
    lines = good.splitlines(keepends=True)
    cases = {
        b"": "line 1: the file was cut off",
        b"\n": "line 1: not the JSON",
        b"null\n": "not a facekeep export",
        b"\xff\xfe\n": "not the JSON",
        b"[" * 100_000 + b"\n": "not the JSON",
        b"{" + b" " * MAX_LINE_BYTES + b"}\n": "line 1: too long",
        b"".join(lines[:-1]): "line 7: the file was cut off",
        good[:-1]: "line 7: the file was cut off",
        good + b"\n": "line 8: there is something behind",
        good + good: "line 8: there is something behind",
        b"".join(lines[:-2] + lines[-1:]): "line 6: the file was changed",
        b"".join([*lines[:3], lines[4], *lines[4:]]): "line 5: .*twice",
        good.replace(b'"4b"', b'"4c"'): "line 7: the file was changed",
        good.replace(b'{"person"', b'{"person":1,"person"', 1): "line 2: not the JSON",
        good.replace(b"0.25", b"NaN"): "line 3: not the JSON",
        good.replace(b"0.25", b"1e999"): "line 3: .*finite",
        good.replace(b"2.5", b"1e999"): "line 2: metadata",
        good.replace(b"2.5", b"9" * 5000): "line 2: not the JSON",
        sealed_off([header, first, ada]): "line 2: a template without a person",
        sealed_off([header, ada, first, first]): "line 4: .*twice",
        sealed_off([header, ada, ada]): "line 3: .*twice",
        sealed_off([header, b'{"sealed":"AAAA"}']): "line 2: neither",
        sealed_off([header, b"[]"]): "line 2: neither",
        sealed_off([header, b'{"end":{"people":0}}']): "line 2: the fields",
    }
    for data, why in cases.items():
        assert_refused(other, tmp_path, data, why)
    (tmp_path / "good.jsonl").write_bytes(good)
    assert other.import_(tmp_path / "good.jsonl").added == 2


def test_damage_in_an_encrypted_export(tmp_path: Path) -> None:
    with make(tmp_path / "g.db", KEY) as gallery, make(tmp_path / "h.db", KEY) as empty:
        fill(gallery)
        gallery.export(tmp_path / "one")
        gallery.export(tmp_path / "two")
        one = (tmp_path / "one").read_bytes().splitlines(keepends=True)
        two = (tmp_path / "two").read_bytes().splitlines(keepends=True)
        cases = [
            one[:2] + one[3:],
            [one[0], one[4], one[5], *one[3:]],
            [*one[:3], two[3], *one[4:]],
            [one[0].replace(b"model-a", b"model-x"), *one[1:]],
            one[:-1],
            [*one[:3], two[-1]],
            [*one[:1], b'{"end":{"people":0,"templates":0,"sha256":"x"}}\n'],
            [one[0].replace(b'"encrypted":true', b'"encrypted":false'), *one[1:]],
        ]
        for lines in cases:
            assert_refused(empty, tmp_path, b"".join(lines), "line")
        assert empty.import_(tmp_path / "one").added == 2


@pytest.fixture(scope="session")
def fuzzed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """A plain and an encrypted export, and a gallery for each that must stay as it is."""
    folder = tmp_path_factory.mktemp("fuzz")
    things: dict[str, Any] = {"folder": folder}
    for name, key in (("plain", None), ("sealed", KEY)):
        gallery = make(folder / f"{name}.db", key)
        fill(gallery)
        gallery.export(folder / f"{name}.jsonl")
        gallery.remove("Bea")
        things[name] = (gallery, (folder / f"{name}.jsonl").read_bytes(), contents(gallery))
    return things


@st.composite
def mutations(draw: st.DrawFn) -> Callable[[bytes], bytes]:
    """Damage of the kinds that happen and that people make: bytes, pieces, lines, JSON tokens."""
    kind = draw(st.sampled_from(["flip", "cut", "insert", "token", "swap", "drop", "repeat"]))
    where = draw(st.floats(0, 1, exclude_max=True))
    length = draw(st.integers(1, 40))
    data = draw(st.binary(min_size=1, max_size=20))
    tokens = [b"null", b"[]", b"{}", b"true", b"-1", b"1e999", b'"\\ud800"', b"1" * 30, b'""']
    token = draw(st.sampled_from(tokens))
    mended = draw(st.booleans())

    def mutate(good: bytes) -> bytes:
        lines = good.splitlines()
        at, line = int(where * len(good)), int(where * (len(lines) - 1))
        if kind in ("swap", "drop", "repeat"):
            changed = {
                "swap": [*lines[:line], *reversed(lines[line : line + 2]), *lines[line + 2 :]],
                "drop": lines[:line] + lines[line + 1 :],
                "repeat": lines[: line + 1] + lines[line:],
            }[kind]
            mutated = b"".join(one + b"\n" for one in changed)
        else:
            mutated = {
                "flip": good[:at] + data + good[at + len(data) :],
                "cut": good[:at] + good[at + length :],
                "insert": good[:at] + data + good[at:],
                "token": replace_value(good, at, token),
            }[kind]
        return mend(mutated) if mended else mutated

    return mutate


def replace_value(good: bytes, at: int, token: bytes) -> bytes:
    """Put ``token`` in the place of the JSON value behind the next colon."""
    start = good.find(b":", at) + 1
    end = min(e for e in (good.find(c, start) for c in (b",", b"}")) if e >= 0) if start else 0
    return good[:start] + token + good[end:]


def mend(data: bytes) -> bytes:
    """Give damaged lines a fitting digest, so that the reader's other checks are reached."""
    body = data[: data.rfind(b'{"end"')] if b'{"end"' in data else data
    lines = body.splitlines()
    try:
        return sealed_off(lines)
    except (ValueError, TypeError):
        return data


@pytest.mark.slow
@settings(
    max_examples=EXAMPLES,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(mutate=mutations(), name=st.sampled_from(["plain", "plain", "sealed"]))
def test_mutated_exports_raise_only_our_errors(
    fuzzed: dict[str, Any], mutate: Callable[[bytes], bytes], name: str
) -> None:
    gallery, good, before = fuzzed[name]
    source = fuzzed["folder"] / "mutated.jsonl"
    source.write_bytes(mutate(good))
    try:
        gallery.import_(source, on_conflict="rename")
    except FacekeepError as error:
        message = str(error)
        assert message
        assert "\n" not in message
        assert gallery.info().people == len(before)
        assert gallery.info().templates == 2
    else:
        # A harmless mutation: what was let in is sound and is taken out again.
        assert gallery.check() == []
        with gallery._session.write() as rows:
            kept = {person[0].id for person in before}
            for person in gallery.people():
                if person.id not in kept:
                    rows.delete_person(person.id)
        assert contents(gallery) == before
