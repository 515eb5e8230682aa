"""Keys for encrypted galleries: from a file, an environment variable or the keyring of the OS."""

from __future__ import annotations

import base64
import binascii
import logging
import os
import secrets
import stat
from dataclasses import dataclass, field
from pathlib import Path

from facekeep._internal.files import is_full, one_line, open_regular, printable, replacing, why
from facekeep.errors import GalleryKeyError, StorageFull

__all__ = ["Key", "generate_key", "holds_key", "load_key"]

_log = logging.getLogger(__name__)
_BYTES = 32
_FORMS = "file:PATH, env:NAME or keyring:SERVICE/USER"
_MAX_TEXT = 4096


@dataclass(frozen=True, slots=True)
class Key:
    """A 256-bit secret; its text never shows in a representation or message.

    Attributes:
        secret: 32 random bytes.
    """

    secret: bytes = field(repr=False)

    def __post_init__(self) -> None:
        if not isinstance(self.secret, bytes) or len(self.secret) != _BYTES:
            raise GalleryKeyError(f"a gallery key is {_BYTES} bytes; make one with generate_key()")

    @property
    def text(self) -> str:
        """The secret as base64, the form in which it is kept."""
        return base64.b64encode(self.secret).decode()


def load_key(spec: str) -> Key:
    """Load a key.

    Args:
        spec: ``file:PATH``, ``env:NAME`` or ``keyring:SERVICE/USER``. What is found there must be
            32 bytes as base64 or hexadecimal text.

    Raises:
        GalleryKeyError: It is missing, unreadable or malformed.
    """
    kind, value = _parse(spec)
    return _decode(_LOADERS[kind](value), spec)


def generate_key(spec: str) -> Key:
    """Make a new random key and keep it where ``spec`` says; an existing one is never overwritten.

    Args:
        spec: ``file:PATH`` (created with permissions 0600) or ``keyring:SERVICE/USER``.

    Raises:
        GalleryKeyError: There is one already, or it cannot be written.
        StorageFull: There is no room for it.
    """
    kind, value = _parse(spec)
    if kind == "env":
        raise GalleryKeyError("a key cannot be kept in the environment: use file: or keyring:")
    key = Key(secrets.token_bytes(_BYTES))
    if kind == "file":
        _write_file(value, key)
    else:
        _write_keyring(value, key)
    return key


def _parse(spec: str) -> tuple[str, str]:
    kind, _, value = spec.partition(":")
    # The message must not repeat the text: somebody may have typed the key itself.
    if kind not in _LOADERS or not value:
        raise GalleryKeyError(f"a key is named as {_FORMS}, with one of these words first")
    return kind, value


def _decode(text: str, spec: str) -> Key:
    secret = _decode_secret(text)
    if secret is None:
        raise GalleryKeyError(
            f"the key at {spec} is not {_BYTES} bytes as base64 or hexadecimal text;"
            " make one with generate_key() or `openssl rand -base64 32`"
        )
    return Key(secret)


def _decode_secret(text: str) -> bytes | None:
    """Return the bytes of a key's text; None where it is none."""
    text = text.strip()
    try:
        secret = bytes.fromhex(text) if len(text) == 2 * _BYTES else _from_base64(text)
    except (ValueError, binascii.Error):
        return None
    return secret if len(secret) == _BYTES else None


def holds_key(content: bytes) -> bool:
    """Whether a file with this content is a key."""
    return (
        len(content) < _MAX_TEXT and _decode_secret(content.decode("ascii", "replace")) is not None
    )


def _mask_key(value: str, path: Path | None = None) -> str:
    """Return what names a key, to be shown, unless somebody gave the key itself in its place."""
    typed = _decode_secret(value) or _decode_secret(Path(value).name)
    return "that was named" if typed else printable(path or value)


def _from_base64(text: str) -> bytes:
    return base64.b64decode(text.replace("-", "+").replace("_", "/"), validate=True)


def _read_file(value: str) -> str:
    path = _expand_home(value)
    shown = _mask_key(value, path)
    try:
        with open_regular(path) as file:
            mode = os.fstat(file.fileno()).st_mode
            content = file.read(_MAX_TEXT)
    except (OSError, ValueError) as error:
        raise GalleryKeyError(f"cannot read the key file {shown}: {why(error)}") from error
    if stat.S_IMODE(mode) & 0o077:
        _log.warning("the key file %s can be read by others; run: chmod 600 %s", shown, shown)
    # What is no ASCII is no key either, which the decoding of the key will find.
    return content.decode("ascii", "replace")


def _expand_home(value: str) -> Path:
    try:
        return Path(value).expanduser()
    except RuntimeError as error:
        raise GalleryKeyError(f"there is no home folder for {printable(value)}") from error


def _read_env(name: str) -> str:
    text = os.environ.get(name)
    if not text:
        # The name is not repeated: somebody may have typed the key itself.
        raise GalleryKeyError(
            "the environment variable named after env: is not set or is empty; set it, or use file:"
        )
    return text


def _read_keyring(value: str) -> str:
    text = _ask_keyring(*_split_service(value))
    if text is None:
        raise GalleryKeyError(
            f"the keyring has no key for {_mask_key(value)}; make one with generate_key()"
        )
    return text


def _split_service(value: str) -> tuple[str, str]:
    service, _, user = value.rpartition("/")
    if not service or not user:
        raise GalleryKeyError("a key in the keyring is named keyring:SERVICE/USER, with the slash")
    return service, user


def _ask_keyring(service: str, user: str) -> str | None:
    try:
        import keyring

        return keyring.get_password(service, user)
    except ImportError as error:
        raise GalleryKeyError(
            "keys in the keyring need: pip install 'facekeep[keyring]'"
        ) from error
    except Exception as error:
        raise GalleryKeyError(
            f"the keyring cannot be used ({one_line(error)}); use file:"
        ) from error


def _write_keyring(value: str, key: Key) -> None:
    service, user = _split_service(value)
    if _ask_keyring(service, user) is not None:
        raise GalleryKeyError(
            f"the keyring already has a key for {_mask_key(value)}; it is not overwritten"
        )
    import keyring

    try:
        keyring.set_password(service, user, key.text)
    except Exception as error:
        raise GalleryKeyError(
            f"the keyring refused the key ({one_line(error)}); use file:"
        ) from error


def _write_file(value: str, key: Key) -> None:
    path = _expand_home(value)
    shown = _mask_key(value, path)
    try:
        with replacing(path, private=True, new=True) as file:
            file.write(f"{key.text}\n".encode("ascii"))
    except FileExistsError as error:
        raise GalleryKeyError(f"{shown} exists already; a key is never overwritten") from error
    except (OSError, ValueError) as error:
        if is_full(error):
            raise StorageFull(f"no room to write the key file {shown}: free some space") from error
        raise GalleryKeyError(f"cannot create the key file {shown}: {why(error)}") from error


_LOADERS = {"file": _read_file, "env": _read_env, "keyring": _read_keyring}
