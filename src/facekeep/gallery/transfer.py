"""Export files: JSON Lines with a header, a line per person and template, and a trailer.

The format is described in docs/gallery.md. The reader takes nothing on trust: the file may be cut
off, damaged, or written by somebody who wishes us harm.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, NoReturn

import numpy as np

from facekeep._internal.files import is_full, one_line, open_regular, replacing, why
from facekeep.errors import (
    ExportInvalid,
    ExportKeyMissing,
    FacekeepError,
    GalleryKeyError,
    InputError,
    StorageFull,
)
from facekeep.gallery.crypto import Cipher
from facekeep.gallery.file_errors import resolve_path
from facekeep.gallery.keys import Key, holds_key
from facekeep.gallery.names import new_name
from facekeep.gallery.types import (
    Consent,
    NewTemplate,
    Person,
    Space,
    Template,
    clean_metadata,
    clean_template,
    clean_text,
    from_stamp,
    now_stamp,
    to_stamp,
)

__all__ = [
    "MAX_LINE_BYTES",
    "ExportReader",
    "ExportWriter",
    "ReadTemplate",
    "check_target",
    "read_export",
    "write_target",
]

FORMAT = "facekeep-export"
VERSION = 1
MAX_LINE_BYTES = 4 * 1024 * 1024

_NONE = type(None)
_Fields = dict[str, tuple[type, ...]]
_HEADER: _Fields = {
    "format": (str,),
    "version": (int,),
    "export": (str,),
    "gallery": (str,),
    "space": (str,),
    "model": (str,),
    "width": (int,),
    "encrypted": (bool,),
    "key_check": (str, _NONE),
    "created_at": (str,),
}
_PERSON: _Fields = {
    "id": (str,),
    "name": (str,),
    "created_at": (str,),
    "metadata": (dict,),
    "consent": (dict, _NONE),
    "retain_until": (str, _NONE),
}
_CONSENT: _Fields = {"basis": (str,), "given_at": (str,)}
_TEMPLATE: _Fields = {
    "id": (str,),
    "created_at": (str,),
    "negative": (bool,),
    "quality": (int, float, _NONE),
    "source": (str, _NONE),
    "vector": (str,),
    "crop": (str, _NONE),
}
_END: _Fields = {"people": (int,), "templates": (int,), "sha256": (str,)}

_BEGINNING = 4096


@dataclass(frozen=True, slots=True, eq=False)
class ReadTemplate:
    """A template as an export holds it; it belongs to the person read last."""

    id: str
    created_at: str
    content: NewTemplate


class ExportWriter:
    """Writes an export line by line; ``finish`` writes the trailer without which it is invalid."""

    def __init__(self, file: IO[bytes], gallery: str, space: Space, key: Key | None) -> None:
        """Write the header."""
        export = str(uuid.uuid4())
        self._file = file
        self._cipher = Cipher(key, _scope(export))
        self._digest = hashlib.sha256()
        self._line = 0
        self._header = ""
        self._people = self._templates = 0
        check = self._cipher.check
        self._write(
            {
                "format": FORMAT,
                "version": VERSION,
                "export": export,
                "gallery": gallery,
                "space": space.id,
                "model": space.model,
                "width": space.width,
                "encrypted": check is not None,
                "key_check": check.hex() if check else None,
                "created_at": now_stamp(),
            }
        )
        self._header = self._digest.hexdigest()

    def person(self, person: Person) -> None:
        """Write a person; the templates written next belong to the one written last."""
        self._people += 1
        consent = person.consent
        record = {
            "id": person.id,
            "name": person.name,
            "created_at": to_stamp(person.created_at, "created_at"),
            "metadata": person.metadata,
            "consent": consent
            and {"basis": consent.basis, "given_at": to_stamp(consent.given_at, "given_at")},
            "retain_until": person.retain_until and to_stamp(person.retain_until, "retain_until"),
        }
        self._write_sealed({"person": record})

    def template(self, template: Template, content: NewTemplate) -> None:
        """Write a template with its vector and crop."""
        self._templates += 1
        record = {
            "id": template.id,
            "created_at": to_stamp(template.created_at, "created_at"),
            "negative": content.negative,
            "quality": content.quality,
            "source": content.source,
            "vector": _to_base64(content.vector.astype("<f4").tobytes()),
            "crop": None if content.crop is None else _to_base64(content.crop),
        }
        self._write_sealed({"template": record})

    def finish(self) -> None:
        """Write the trailer."""
        self._write_sealed(
            {
                "end": {
                    "people": self._people,
                    "templates": self._templates,
                    "sha256": self._digest.hexdigest(),
                }
            }
        )

    def _write_sealed(self, record: dict[str, Any]) -> None:
        if self._cipher.check is not None:
            place = _place(self._header, self._line + 1)
            record = {"sealed": _to_base64(self._cipher.seal(_to_json(record), place))}
        self._write(record)

    def _write(self, record: dict[str, Any]) -> None:
        line = _to_json(record) + b"\n"
        self._file.write(line)
        self._digest.update(line)
        self._line += 1


class ExportReader:
    """Reads an export line by line.

    Attributes:
        space: The embedding space of the templates.
    """

    def __init__(self, file: IO[bytes], name: str, key: Key | None) -> None:
        """Read the header.

        Args:
            file: The export.
            name: What to call it in messages.
            key: Its key, where it is encrypted.
        """
        self._file = file
        self._name = name
        self._line = 0
        self._digest = hashlib.sha256()
        self._seen: set[str] = set()
        header = self._parse(self._read_line())
        if not isinstance(header, dict) or header.get("format") != FORMAT:
            self._fail("this is not a facekeep export")
        if header.get("version") != VERSION:
            self._fail(f"version {header.get('version')!a} is unknown; try a newer facekeep")
        with self._check_line():
            export, check = self._header_facts(header)
        self._header = self._digest.hexdigest()
        self._cipher = self._unlock(export, check, key)

    def _header_facts(self, header: dict[str, Any]) -> tuple[str, bytes | None]:
        _check(header, _HEADER)
        self.space = Space(header["space"], header["model"], header["width"])
        _uuid(header["gallery"])
        from_stamp(header["created_at"])
        check = None if header["key_check"] is None else bytes.fromhex(header["key_check"])
        if header["encrypted"] != (check is not None):
            raise ValueError("encrypted and key_check contradict each other")
        return _uuid(header["export"]), check

    def _unlock(self, export: str, check: bytes | None, key: Key | None) -> Cipher:
        if check is None:
            return Cipher(None, "")
        if key is None:
            raise ExportKeyMissing(
                f"{self._name} is encrypted and no key was given: give the key of the export"
            )
        cipher = Cipher(key, _scope(export))
        if not hmac.compare_digest(check, cipher.check or b""):
            raise GalleryKeyError(f"this is not the key {self._name} is encrypted with: give that")
        return cipher

    def __iter__(self) -> Iterator[Person | ReadTemplate]:
        """Yield each person, followed by the templates; what was yielded counts only at the end.

        Raises:
            ExportInvalid: The file is damaged or cut off.
        """
        people = templates = 0
        while True:
            digest = self._digest.hexdigest()
            kind, record = self._record()
            if kind == "end":
                self._check_end(record, people, templates, digest)
                return
            with self._check_line():
                if kind == "template" and not people:
                    raise ValueError("a template without a person")
                item = self._person(record) if kind == "person" else self._template(record)
            people += kind == "person"
            templates += kind == "template"
            yield item

    def _record(self) -> tuple[str, Any]:
        record = self._parse(self._read_line())
        if self._cipher.check is not None:
            record = self._unseal(record)
        if not isinstance(record, dict) or len(record) != 1:
            self._fail("neither a person, a template nor the end")
        ((kind, content),) = record.items()
        if kind not in ("person", "template", "end"):
            self._fail("neither a person, a template nor the end")
        return kind, content

    def _unseal(self, record: Any) -> Any:
        with self._check_line():
            _check(record, {"sealed": (str,)})
            sealed = _from_base64(record["sealed"])
            data = self._cipher.unseal(sealed, _place(self._header, self._line))
        return self._parse(data)

    def _check_end(self, record: Any, people: int, templates: int, digest: str) -> None:
        with self._check_line():
            _check(record, _END)
        if record != {"people": people, "templates": templates, "sha256": digest}:
            self._fail("the file was changed: the trailer does not fit what stands before it")
        if self._file.read(1):
            self._line += 1
            self._fail("there is something behind the trailer")

    def _person(self, record: Any) -> Person:
        _check(record, _PERSON)
        clean_metadata(record["metadata"])
        consent, until = record["consent"], record["retain_until"]
        person = Person(
            id=_uuid(record["id"]),
            name=new_name(record["name"]),
            created_at=from_stamp(record["created_at"]),
            metadata=record["metadata"],
            consent=None if consent is None else _consent(consent),
            retain_until=None if until is None else from_stamp(until),
            template_count=0,
        )
        self._require_new(person.id)
        self._require_new(f"name {person.name}")
        return person

    def _template(self, record: Any) -> ReadTemplate:
        _check(record, _TEMPLATE)
        crop = record["crop"]
        content = NewTemplate(
            vector=np.frombuffer(_from_base64(record["vector"]), dtype="<f4"),
            quality=record["quality"],
            source=record["source"],
            crop=None if crop is None else _from_base64(crop),
            negative=record["negative"],
        )
        template_id = _uuid(record["id"])
        self._require_new(template_id)
        created_at = to_stamp(from_stamp(record["created_at"]), "created_at")
        return ReadTemplate(template_id, created_at, clean_template(content, self.space.width))

    def _require_new(self, what: str) -> None:
        if what in self._seen:
            raise ValueError("an id or name is there twice")
        self._seen.add(what)

    def _read_line(self) -> bytes:
        self._line += 1
        line = self._file.readline(MAX_LINE_BYTES + 1)
        if not line.endswith(b"\n"):
            self._fail("too long" if len(line) > MAX_LINE_BYTES else "the file was cut off here")
        self._digest.update(line)
        return line

    def _parse(self, line: bytes) -> Any:
        try:
            return json.loads(
                line.decode(), object_pairs_hook=_unique, parse_constant=_refuse_constant
            )
        except (ValueError, RecursionError) as error:
            self._fail("not the JSON that facekeep writes", error)

    @contextmanager
    def _check_line(self) -> Iterator[None]:
        """Anything that is wrong with a value makes the line invalid."""
        try:
            yield
        except (ValueError, TypeError, FacekeepError, OverflowError) as error:
            self._fail(one_line(error), error)

    def _fail(self, why: str, cause: BaseException | None = None) -> NoReturn:
        raise ExportInvalid(
            f"{self._name}, line {self._line}: {why}; nothing was imported"
        ) from cause


def _scope(export: str) -> str:
    return f"export {export}"


def _place(header: str, line: int) -> str:
    return f"facekeep export 1|{header}|{line}"


def _to_json(record: dict[str, Any]) -> bytes:
    return json.dumps(record, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()


def _to_base64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _from_base64(text: str) -> bytes:
    return base64.b64decode(text, validate=True)


def _uuid(text: str) -> str:
    if str(uuid.UUID(text)) != text:
        raise ValueError("an id is not in the usual form of a UUID")
    return text


def _consent(record: Any) -> Consent:
    _check(record, _CONSENT)
    basis = clean_text(record["basis"], "the basis of consent", limit=1000)
    return Consent(basis, from_stamp(record["given_at"]))


def _check(record: Any, spec: _Fields) -> None:
    if type(record) is not dict or record.keys() != spec.keys():
        raise ValueError(f"the fields must be {', '.join(spec)}")
    for name, types in spec.items():
        if type(record[name]) not in types:
            raise ValueError(f"{name} is of the wrong type")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    record = dict(pairs)
    if len(record) != len(pairs):
        raise ValueError("a field is there twice")
    return record


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def check_target(path: str | os.PathLike[str], gallery: Path) -> Path:
    """Return where to write an export; InputError where that would do harm."""
    target = resolve_path(path)
    own = {Path(f"{gallery}{ending}") for ending in ("", "-wal", "-shm", "-index", "-index.lock")}
    if target in own:
        raise InputError(f"{target} is the gallery itself: choose another file")
    if not target.parent.is_dir():
        raise InputError(f"there is no folder {target.parent} for the file: create it first")
    if target.exists():
        if not target.is_file():
            raise InputError(f"{target} is not a regular file: choose another path")
        # A hard link to the gallery must not be opened: closing it would free SQLite's locks.
        if gallery.exists() and target.samefile(gallery):
            raise InputError(f"{target} is the gallery itself: choose another file")
        _refuse_to_replace(target)
    return target


def _refuse_to_replace(target: Path) -> None:
    """Raise InputError where an export would replace a key, a gallery or an index."""
    try:
        with open_regular(target) as file:
            beginning = file.read(_BEGINNING)
    except OSError:
        return  # what cannot be read may be replaced by who owns the folder, as with any file
    if holds_key(beginning):
        what = "holds a key, without which nothing opens what it encrypts"
    elif beginning.startswith(b"SQLite format 3\0"):
        what = "is a database"
    elif beginning.startswith(b"FKINDEX"):
        what = "is the index of a gallery"
    else:
        return
    raise InputError(f"{target} {what}, so it is not replaced: choose another file")


@contextmanager
def write_target(target: Path) -> Iterator[IO[bytes]]:
    """Give a file to write that becomes ``target`` at the end, or on any error vanishes."""
    try:
        with replacing(target, private=True) as file:
            yield file
    except OSError as error:
        if is_full(error):
            raise StorageFull(f"no room to write {target}: free some space") from error
        raise InputError(f"cannot write {target}: {why(error)}") from error


@contextmanager
def read_export(path: str | os.PathLike[str], key: Key | None) -> Iterator[ExportReader]:
    """Open an export file; its header is read."""
    source = resolve_path(path)
    try:
        with open_regular(source) as file:
            yield ExportReader(file, str(source), key)
    except OSError as error:
        raise InputError(f"cannot read {source}: {why(error)}") from error
