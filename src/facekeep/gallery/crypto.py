"""Encryption of what is biometric, and digests of rows.

Encryption is AES-256-GCM (NIST SP 800-38D), with a nonce for each blob. Every blob is
bound to its place by additional data: a row that was copied, swapped or moved to somebody else
fails its authentication. The keys that are used are derived from the owner's key and the id of the
gallery or export by HKDF-Expand (RFC 5869), so one key may serve many files. Digests are BLAKE2b
(RFC 7693), keyed where there is a key.
"""

from __future__ import annotations

import hmac
import os
from collections.abc import Sequence
from hashlib import blake2b
from typing import TYPE_CHECKING, Any

from facekeep.errors import GalleryKeyError, GalleryKeyMissing, TemplateTampered

if TYPE_CHECKING:
    from pathlib import Path

    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    from facekeep.gallery.keys import Key

__all__ = [
    "Cipher",
    "LockedCipher",
    "add_digests",
    "digest_to_number",
    "encode_row",
    "make_cipher",
    "plain_digest",
]

_NONCE = 12
_DIGEST_BYTES = 32
_MODULUS = 1 << (8 * _DIGEST_BYTES)


class Cipher:
    """Seals and unseals the blobs of one file; without a key it passes them through.

    Attributes:
        check: 32 bytes that tell a right key from a wrong one; None where there is no encryption.
    """

    def __init__(self, key: Key | None, scope: str) -> None:
        """Derive the keys for one gallery or export.

        Args:
            key: The owner's key; None for no encryption.
            scope: What the key is used for, with the id of the file.
        """
        self.check: bytes | None = None
        self._aead: AESGCM | None = None
        self._mac_key = b""
        if key is not None:
            self.check = _derive(key, f"facekeep 1 check {scope}")
            self._aead = _aead(_derive(key, f"facekeep 1 encrypt {scope}"))
            self._mac_key = _derive(key, f"facekeep 1 digest {scope}")

    def seal(self, data: bytes, place: str) -> bytes:
        """Return ``data`` encrypted and bound to ``place``: nonce, ciphertext, tag."""
        if self._aead is None:
            return data
        nonce = os.urandom(_NONCE)
        return nonce + self._aead.encrypt(nonce, data, place.encode())

    def unseal(self, blob: bytes, place: str) -> bytes:
        """Return what was sealed at ``place``.

        Raises:
            TemplateTampered: The blob was changed, or sealed elsewhere.
        """
        if self._aead is None:
            return blob
        from cryptography.exceptions import InvalidTag

        try:
            return self._aead.decrypt(blob[:_NONCE], blob[_NONCE:], place.encode())
        except (InvalidTag, ValueError) as error:
            raise TemplateTampered("a blob fails its authentication") from error

    @property
    def signs(self) -> bool:
        """Whether digests are made with a key."""
        return bool(self._mac_key)

    def digest(self, data: bytes) -> bytes:
        """Return the digest of ``data``, keyed where there is a key."""
        return blake2b(data, digest_size=_DIGEST_BYTES, key=self._mac_key).digest()

    def vouches(self, data: bytes, digest: object) -> bool | None:
        """Whether ``data`` is what ``digest`` was made of; None where it was made without the key.

        Where the key is missing, nothing can be said of a keyed digest, which is taken as right.
        """
        if type(digest) is not bytes or len(digest) != _DIGEST_BYTES:
            return False
        if hmac.compare_digest(self.digest(data), digest):
            return True
        plain = self.signs and hmac.compare_digest(plain_digest(data), digest)
        return None if plain else False


def plain_digest(data: bytes) -> bytes:
    """Return the digest that anybody can make."""
    return blake2b(data, digest_size=_DIGEST_BYTES).digest()


def encode_row(table: str, row: Sequence[Any]) -> bytes:
    """Return a row as bytes, such that no other row of any table has the same."""
    blobs = [value for value in row if type(value) is bytes]
    fields = [(len(value),) if type(value) is bytes else value for value in row] if blobs else row
    return b"".join([repr((table, *fields)).encode("utf-8", "surrogatepass"), *blobs])


def digest_to_number(digest: object) -> int:
    """Return a digest as a number to add up; 0 where it is none."""
    return int.from_bytes(digest, "big") if type(digest) is bytes else 0


def add_digests(total: object, change: int) -> bytes:
    """Return the sum ``total`` of digests after digests with the sum ``change`` came to it."""
    return ((digest_to_number(total) + change) % _MODULUS).to_bytes(_DIGEST_BYTES, "big")


class LockedCipher(Cipher):
    """Stands in where a gallery is encrypted and no key was given: every use is an error."""

    def __init__(self, check: bytes, file: Path) -> None:
        """Remember the check value of the key that is missing, and the gallery's file."""
        super().__init__(None, "")
        self.check = check
        self._file = file

    def seal(self, data: bytes, place: str) -> bytes:
        """Raise GalleryKeyError."""
        raise self._missing_key()

    def unseal(self, blob: bytes, place: str) -> bytes:
        """Raise GalleryKeyError."""
        raise self._missing_key()

    def vouches(self, data: bytes, digest: object) -> bool | None:
        """Take what the key is needed to judge as right."""
        return super().vouches(data, digest) or (
            type(digest) is bytes and len(digest) == _DIGEST_BYTES
        )

    def _missing_key(self) -> GalleryKeyMissing:
        return GalleryKeyMissing(f"{self._file} is encrypted and no key was given: give its key")


def make_cipher(key: Key | None, scope: str, check: bytes | None, file: Path) -> Cipher:
    """Return the cipher for the gallery ``file``, whose stored check value is ``check``.

    Raises:
        GalleryKeyError: The key is not the one the file was encrypted with, or it has none.
    """
    if check is not None and key is None:
        return LockedCipher(check, file)
    cipher = Cipher(key, scope)
    if check is None and key is not None:
        raise GalleryKeyError(
            f"a key was given but {file} is not encrypted: leave the key out, or encrypt it"
            " by rekeying the gallery"
        )
    if not hmac.compare_digest(check or b"", cipher.check or b""):
        raise GalleryKeyError(f"this is not the key that {file} is encrypted with: give that key")
    return cipher


def _derive(key: Key, info: str) -> bytes:
    from cryptography.hazmat.primitives.hashes import SHA256
    from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand

    return HKDFExpand(SHA256(), 32, info.encode()).derive(key.secret)


def _aead(secret: bytes) -> AESGCM:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    return AESGCM(secret)
