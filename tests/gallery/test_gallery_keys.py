from __future__ import annotations

import base64
import logging
import os
import sys
from pathlib import Path
from types import SimpleNamespace

import keyring
import pytest
from hypothesis import given
from hypothesis import strategies as st

from facekeep.errors import FacekeepError, GalleryKeyError, StorageFull, TemplateTampered
from facekeep.gallery import Key, generate_key, load_key
from facekeep.gallery.crypto import Cipher

SECRET = bytes(range(32))
TEXT = base64.b64encode(SECRET).decode()


@pytest.mark.parametrize(
    "text",
    [
        TEXT,
        TEXT + "\n",
        SECRET.hex(),
        SECRET.hex().upper(),
        base64.urlsafe_b64encode(SECRET).decode(),
    ],
)
def test_a_key_in_the_environment(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("THE_KEY", text)
    assert load_key("env:THE_KEY") == Key(SECRET)


@pytest.mark.parametrize("text", ["", "x", TEXT[:-4], TEXT + TEXT, SECRET.hex()[:-2], "é" * 64])
def test_malformed_keys(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("THE_KEY", text)
    with pytest.raises(GalleryKeyError):
        load_key("env:THE_KEY")


@pytest.mark.slow
@given(st.text(max_size=80))
def test_any_text_is_a_key_or_a_clear_error(text: str) -> None:
    os.environ["THE_KEY"] = text.replace("\0", "").encode(errors="ignore").decode()
    try:
        key = load_key("env:THE_KEY")
    except FacekeepError as error:
        key = None
        message = str(error)
    finally:
        del os.environ["THE_KEY"]
    assert "\n" not in message if key is None else len(key.secret) == 32


@pytest.mark.parametrize("spec", ["", "file:", TEXT, "disk:/key", "file"])
def test_unknown_kinds_of_key(spec: str) -> None:
    with pytest.raises(GalleryKeyError, match="file:PATH") as caught:
        load_key(spec)
    assert TEXT[:4] not in str(caught.value)


def test_key_files(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "key"
    key = generate_key(f"file:{path}")
    assert path.stat().st_mode & 0o777 == 0o600
    assert load_key(f"file:{path}") == key
    assert caplog.records == []
    before = path.read_bytes()
    with pytest.raises(GalleryKeyError, match="never overwritten"):
        generate_key(f"file:{path}")
    assert path.read_bytes() == before
    path.chmod(0o640)
    with caplog.at_level(logging.WARNING):
        load_key(f"file:{path}")
    assert "chmod 600" in caplog.text


def test_generated_keys_differ(tmp_path: Path) -> None:
    assert generate_key(f"file:{tmp_path / 'a'}") != generate_key(f"file:{tmp_path / 'b'}")


def test_unreadable_key_files(tmp_path: Path) -> None:
    (tmp_path / "binary").write_bytes(bytes(range(256)))
    os.mkfifo(tmp_path / "pipe")
    for name in ("missing", ".", "binary", "pipe", "a\0b"):
        with pytest.raises(GalleryKeyError):
            load_key(f"file:{tmp_path}/{name}")
    for spec in ("file:~no-such-user/key", "file:~no-such-user"):
        for use in (load_key, generate_key):
            with pytest.raises(GalleryKeyError, match="no home folder for ~no-such-user"):
                use(spec)
    for name in ("missing/key", "a\0b"):
        with pytest.raises(GalleryKeyError, match="cannot create"):
            generate_key(f"file:{tmp_path}/{name}")


def test_a_key_that_cannot_be_written_leaves_no_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(StorageFull, match="no room"):
        generate_key(f"file:{tmp_path / 'key'}")
    assert list(tmp_path.iterdir()) == []


def test_keys_in_the_keyring(monkeypatch: pytest.MonkeyPatch) -> None:
    kept: dict[tuple[str, str], str] = {}
    monkeypatch.setattr(keyring, "get_password", lambda *where: kept.get(where))
    monkeypatch.setattr(
        keyring, "set_password", lambda service, user, text: kept.update({(service, user): text})
    )
    with pytest.raises(GalleryKeyError, match="no key for facekeep/me"):
        load_key("keyring:facekeep/me")
    key = generate_key("keyring:facekeep/me")
    assert load_key("keyring:facekeep/me") == key
    with pytest.raises(GalleryKeyError, match="not overwritten"):
        generate_key("keyring:facekeep/me")
    assert kept == {("facekeep", "me"): key.text}
    with pytest.raises(GalleryKeyError, match="SERVICE/USER"):
        load_key("keyring:facekeep")


def test_a_keyring_that_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("locked\nout")

    monkeypatch.setattr(keyring, "get_password", fail)
    with pytest.raises(GalleryKeyError, match=r"\(locked out\)"):
        load_key("keyring:a/b")
    broken = SimpleNamespace(get_password=lambda *_: None, set_password=fail)
    monkeypatch.setitem(sys.modules, "keyring", broken)
    with pytest.raises(GalleryKeyError, match="refused"):
        generate_key("keyring:a/b")
    monkeypatch.setitem(sys.modules, "keyring", None)
    with pytest.raises(GalleryKeyError, match="pip install"):
        load_key("keyring:a/b")


def test_the_environment_cannot_keep_a_key() -> None:
    with pytest.raises(GalleryKeyError, match="file: or keyring:"):
        generate_key("env:THE_KEY")


@pytest.mark.parametrize("form", ["env:{}", "file:{}", "file:/tmp/{}", "keyring:{}", "{}"])
@pytest.mark.parametrize("text", [Key(bytes(range(32))).text, "ab" * 32], ids=["base64", "hex"])
def test_a_key_typed_in_place_of_its_name_is_not_repeated(
    form: str, text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keyring, "get_password", lambda *_: None)
    with pytest.raises(GalleryKeyError) as caught:
        load_key(form.format(text))
    assert text not in str(caught.value)
    with pytest.raises(GalleryKeyError) as caught:
        load_key(form.format("hunter2"))
    assert form.startswith("file") or "hunter2" not in str(caught.value)


def test_a_key_never_shows() -> None:
    key = Key(SECRET)
    for shown in (repr(key), str(key), f"{key}"):
        assert repr(SECRET) not in shown
        assert TEXT not in shown
    with pytest.raises(GalleryKeyError):
        Key(SECRET[:31])


def test_sealing_is_bound_to_key_file_and_place() -> None:
    cipher = Cipher(Key(SECRET), "gallery 1")
    sealed = cipher.seal(b"data", "here")
    assert len(sealed) == 12 + 4 + 16
    assert cipher.unseal(sealed, "here") == b"data"
    assert cipher.seal(b"data", "here") != sealed
    others = [
        (cipher, sealed, "there"),
        (Cipher(Key(SECRET), "gallery 2"), sealed, "here"),
        (Cipher(Key(bytes(32)), "gallery 1"), sealed, "here"),
        (cipher, sealed[:-1], "here"),
        (cipher, b"", "here"),
    ]
    others += [
        (cipher, sealed[:i] + bytes([sealed[i] ^ 1]) + sealed[i + 1 :], "here")
        for i in range(len(sealed))
    ]
    for other, blob, place in others:
        with pytest.raises(TemplateTampered):
            other.unseal(blob, place)


def test_the_check_value_tells_keys_apart_and_tells_nothing_else() -> None:
    check = Cipher(Key(SECRET), "gallery 1").check
    assert check is not None
    assert len(check) == 32
    assert check == Cipher(Key(SECRET), "gallery 1").check
    assert check != Cipher(Key(bytes(32)), "gallery 1").check
    assert check != Cipher(Key(SECRET), "gallery 2").check
    assert Cipher(None, "gallery 1").check is None
