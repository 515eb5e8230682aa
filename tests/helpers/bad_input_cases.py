"""The table of bad input: what goes wrong, and what facekeep must answer."""

from __future__ import annotations

import os
import runpy
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
from bad_input_kit import KEY, Case, World, bomb_jpeg, bomb_png, flipped

import facekeep

NETWORKS = Path(__file__).with_name("networks.py")


def junk(name: str, data: bytes | str = b"") -> Callable[[World], object]:
    return lambda w: w.write(name, data)


def link(name: str, target: str) -> Callable[[World], object]:
    return lambda w: (w.root / name).symlink_to(target)


PICTURES = [
    Case("empty", "detect e.jpg", 2, "image", "e.jpg: is empty (0 bytes); copy", junk("e.jpg")),
    Case(
        "a JPEG cut short",
        "detect hopper.jpg",
        2,
        "image",
        "hopper.jpg: is cut short; copy or download it again",
        lambda w: w.cut("hopper.jpg"),
    ),
    Case(
        "cut short within the header",
        "identify hopper.jpg",
        2,
        "image",
        "hopper.jpg: ",
        lambda w: w.cut("hopper.jpg", 0.002),
    ),
    Case(
        "noise behind the signature of a JPEG",
        "detect noise.jpg",
        2,
        "image",
        "noise.jpg: ",
        junk("noise.jpg", b"\xff\xd8\xff" + np.random.default_rng(0).bytes(5000)),
    ),
    Case(
        "text called .jpg",
        "detect note.jpg",
        2,
        "image",
        "note.jpg: is not a picture facekeep can read; give it JPEG",
        junk("note.jpg", "Dear diary\n" * 99),
    ),
    Case(
        "a web page called .png",
        "identify page.png",
        2,
        "image",
        "page.png: is not a picture",
        junk("page.png", "<!DOCTYPE html><html><body>404</body></html>"),
    ),
    Case(
        "a PDF called .jpg",
        "verify scan.jpg hopper.jpg",
        2,
        "image",
        "scan.jpg: is not a picture",
        junk("scan.jpg", b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n" * 9),
    ),
    Case(
        "a gallery called .webp",
        "detect gallery.webp",
        2,
        "image",
        "gallery.webp: is not a picture",
        lambda w: shutil.copy(w.root / "people.db", w.root / "gallery.webp"),
    ),
    Case(
        "a bomb in a PNG",
        "detect bomb.png",
        2,
        "image",
        "bomb.png: 50000 x 50000",
        junk("bomb.png", bomb_png()),
    ),
    Case(
        "a bomb in a JPEG",
        "identify bomb.jpg",
        2,
        "image",
        "bomb.jpg: 50000 x 50000",
        lambda w: w.write("bomb.jpg", bomb_jpeg((w.root / "hopper.jpg").read_bytes())),
    ),
    Case(
        "a bomb to enroll",
        ["enroll", "Bombardier", "bomb.png"],
        2,
        "image",
        "is over the limit of 100000000; if you trust it, raise max_pixels",
        junk("bomb.png", bomb_png()),
    ),
    Case("too many pixels", "detect hopper.jpg --max-pixels 1000", 2, "image", "512 x 600"),
    Case("missing", "detect nowhere.jpg", 2, "image", "nowhere.jpg: cannot be read: no such file"),
    Case("missing, to verify", "verify hopper.jpg nowhere.jpg", 2, "image", "nowhere.jpg: cannot"),
    Case("no pictures", "detect album", 2, "image", "holds no pictures", junk("album/a.txt")),
    Case("a folder", "verify album hopper.jpg", 2, "image", "it is a folder", junk("album/a.txt")),
    Case("an empty path", ["detect", ""], 2, "image", "no such file"),
    Case("an address", "detect https://a.org/b.jpg", 2, "image", "an address, not a file"),
    Case("a camera", "identify 0", 2, "image", "cameras are not supported here yet"),
    Case(
        "a named pipe",
        "detect pipe.jpg",
        2,
        "image",
        "pipe.jpg: cannot be read: it is a pipe, socket or device; copy it to a file first",
        lambda w: os.mkfifo(w.root / "pipe.jpg"),
    ),
    Case("a device", "identify /dev/zero", 2, "image", "/dev/zero: cannot be read: it is a pipe"),
    Case(
        "links in a circle",
        "detect a.jpg",
        2,
        "image",
        "a.jpg: cannot be read: the links lead in a circle",
        lambda w: (link("a.jpg", "b.jpg")(w), link("b.jpg", "a.jpg")(w)),
    ),
    Case(
        "a link to nothing",
        "detect a.jpg",
        2,
        "image",
        "a.jpg: cannot be read: no such file",
        link("a.jpg", "gone.jpg"),
    ),
    Case("a path through a file", "detect hopper.jpg/a.jpg", 2, "image", "is not a folder"),
    Case("a name beyond all limits", f"detect {'n' * 300}.jpg", 2, "image", "name is too long"),
    Case(
        "a name that is not UTF-8",
        ["detect", os.fsdecode(b"caf\xe9.jpg")],
        2,
        "image",
        "caf\\udce9.jpg: is empty",
        lambda w: w.write(os.fsdecode(b"caf\xe9.jpg")),
    ),
    Case(
        "a name with a line break and escape sequences",
        ["detect", "a\n\x1b[31mb.jpg"],
        2,
        "image",
        "a\\n\\x1b[31mb.jpg: cannot be read",
    ),
    Case(
        "not permitted",
        "detect hopper.jpg",
        2,
        "image",
        "hopper.jpg: cannot be read: permission denied; check who may use it",
        lambda w: w.mode("hopper.jpg", 0),
    ),
    Case(
        "in a closed folder",
        "identify album/a.jpg",
        2,
        "image",
        "album/a.jpg: cannot be read: permission denied",
        lambda w: (w.write("album/a.jpg"), w.mode("album", 0)),
    ),
    Case("no picture at all", "detect", 2, "usage", "missing argument 'IMAGE'"),
    Case("one picture to verify", "verify hopper.jpg", 2, "usage", "missing argument 'IMAGE2'"),
]

OUTPUTS = [
    Case(
        "into a missing folder",
        "detect hopper.jpg --out no/marked.jpg",
        2,
        "image",
        "no/marked.jpg: cannot be written: no such file or folder; check the path",
    ),
    Case(
        "of an unknown format",
        "identify hopper.jpg --out marked.xyz",
        2,
        "input",
        "marked.xyz: unknown picture format; end the name in",
    ),
    Case("without a format", "detect hopper.jpg --out marked", 2, "input", "unknown picture"),
    Case(
        "a table called like a picture",
        "detect hopper.jpg --csv faces.png",
        2,
        "input",
        "faces.png has the name of a picture; end it in .csv",
    ),
    Case(
        "crops among the pictures",
        "detect album --crops album",
        2,
        "input",
        "album holds the pictures to look at: name another folder",
        lambda w: shutil.copy(w.root / "hopper.jpg", w.write("album/a.jpg")),
    ),
    Case(
        "a table onto a full disk",
        "detect hopper.jpg --csv faces.csv",
        3,
        "storage_full",
        "faces.csv: no room for the table",
        lambda w: w.file_limit(10),
    ),
    Case(
        "several into a file",
        "detect hopper.jpg collins.jpg --out marked.jpg",
        2,
        "input",
        "marked.jpg is one picture: name a folder with --out for several",
        junk("marked.jpg", "precious"),
    ),
    Case(
        "onto a full disk",
        "detect hopper.jpg --out marked.png",
        3,
        "storage_full",
        "marked.png: no room to write",
        lambda w: w.file_limit(10_000),
    ),
    Case(
        "into a closed folder",
        "detect hopper.jpg collins.jpg --out album/marked",
        2,
        "input",
        "cannot make the folder album/marked for --out: permission denied",
        lambda w: ((w.root / "album").mkdir(), w.mode("album", 0o555)),
    ),
    Case("the demo onto a file", "demo --out hopper.jpg", 2, "input", "cannot make the folder"),
    Case("the demo without photos", "demo --photos no", 2, "image", "no: the folder cannot be"),
    Case(
        "the demo with a single photo",
        "demo --photos album",
        2,
        "input",
        "album holds too few photos: the demo needs",
        lambda w: shutil.copy(w.root / "hopper.jpg", w.write("album/a.jpg")),
    ),
]


def another_photo(w: World) -> None:
    """The same face in a file of other bytes, which would be a new template."""
    w.write("hopper2.jpg", (w.root / "hopper.jpg").read_bytes() + b"\0")


FOLDERS = [
    Case("searched for nobody", "search no.jpg .", 2, "image", "no.jpg: there is no such file"),
    Case(
        "searched for no face",
        "search gray.png . --no-cache",
        2,
        "image",
        "gray.png: no face was found; use a picture that shows the face",
        lambda w: facekeep.save_image(w.root / "gray.png", np.full((90, 90, 3), 128, np.uint8)),
    ),
    Case("missing", "search hopper.jpg no", 2, "image", "no: the folder cannot be read"),
    Case("a file", "cluster hopper.jpg", 2, "image", "hopper.jpg: is a file; name a folder"),
    Case(
        "without pictures",
        "cluster empty --out sheet.jpg",
        2,
        "image",
        "empty: the folder holds no pictures that can be read; name another one",
        lambda w: (w.root / "empty").mkdir(),
    ),
    Case("with a strange sheet", "cluster . --out sheet.xyz", 2, "input", "unknown picture format"),
    Case(
        "with a lost sheet", "cluster . --out no/s.jpg --no-cache", 2, "image", "no/s.jpg: cannot"
    ),
]


GALLERIES = [
    Case(
        "none",
        "identify hopper.jpg -g new.db",
        2,
        "gallery_not_found",
        "nobody is enrolled yet; begin with: facekeep enroll NAME PHOTO",
    ),
    Case(
        "none, in no folder",
        ["enroll", "Ada", "hopper.jpg", "-g", "no/new.db"],
        2,
        "gallery_not_found",
        "/no for the gallery: create it first",
    ),
    Case(
        "zero bytes",
        "people list",
        2,
        "gallery_corrupt",
        "people.db is empty, not a facekeep gallery: remove it or restore a copy",
        junk("people.db"),
    ),
    Case(
        "text",
        "identify hopper.jpg",
        2,
        "gallery_corrupt",
        "people.db is not a gallery: give the path of one; if it was one, restore a copy",
        junk("people.db", "Dear diary\n" * 1000),
    ),
    Case(
        "text, to enroll",
        ["enroll", "Ada", "hopper.jpg"],
        2,
        "gallery_corrupt",
        "is not a gallery",
        junk("people.db", "Dear diary\n" * 1000),
    ),
    Case("a photo", "people list -g hopper.jpg", 2, "gallery_corrupt", "not a gallery"),
    Case(
        "cut short",
        "identify hopper.jpg",
        2,
        "gallery_corrupt",
        "people.db is damaged",
        lambda w: w.cut("people.db"),
    ),
    Case(
        "noise in its pages",
        "people list",
        2,
        "gallery_corrupt",
        "people.db is damaged",
        lambda w: w.fill("people.db", 0.1, 60_000),
    ),
    Case("a folder", "identify hopper.jpg -g .", 2, "gallery", "is a folder: give the path of a"),
    Case(
        "a named pipe",
        "people list -g pipe",
        2,
        "gallery",
        "pipe is not a regular file",
        lambda w: os.mkfifo(w.root / "pipe"),
    ),
    Case(
        "links in a circle",
        "gallery info -g a.db",
        2,
        "gallery",
        "a.db: the links lead in a circle",
        link("a.db", "a.db"),
    ),
    Case(
        "a foreign database",
        "identify hopper.jpg -g foreign.db",
        2,
        "gallery_corrupt",
        "foreign.db is not a facekeep gallery",
        lambda w: w.sql("foreign.db", "CREATE TABLE people (name TEXT)"),
    ),
    Case(
        "a foreign database, to enroll",
        ["enroll", "Ada", "hopper.jpg", "-g", "foreign.db"],
        2,
        "gallery_corrupt",
        "foreign.db is not a facekeep gallery",
        lambda w: w.sql("foreign.db", "CREATE TABLE people (name TEXT)"),
    ),
    Case(
        "from the future",
        "people list",
        2,
        "gallery_version",
        "has format 99, this facekeep knows up to 2: install a newer facekeep",
        lambda w: w.sql("people.db", "PRAGMA user_version = 99"),
    ),
    Case(
        "of another model",
        "identify hopper.jpg -g other.db",
        2,
        "space_mismatch",
        "holds templates of model-b (16-d",
        lambda w: w.gallery_of_another_model("other.db"),
    ),
    Case(
        "of another model, to enroll",
        ["enroll", "Ada", "hopper.jpg", "-g", "other.db"],
        2,
        "space_mismatch",
        "use the first model, or migrate the gallery",
        lambda w: w.gallery_of_another_model("other.db"),
    ),
    Case(
        "locked by another program",
        ["people", "rename", "Grace Hopper", "Ada"],
        3,
        "gallery_busy",
        "people.db locked: try again when it is done",
        lambda w: w.lock("people.db"),
    ),
    Case(
        "locked by another program, to enroll",
        ["enroll", "Grace Hopper", "hopper2.jpg"],
        3,
        "gallery_busy",
        "people.db locked",
        lambda w: (another_photo(w), w.lock("people.db")),
    ),
    Case(
        "read-only",
        ["people", "rename", "Grace Hopper", "Ada"],
        3,
        "gallery_read_only",
        "people.db or its folder cannot be written: check their permissions",
        lambda w: w.mode("people.db", 0o444),
    ),
    Case(
        "in a read-only folder",
        ["people", "remove", "Grace Hopper", "--yes"],
        3,
        "gallery_read_only",
        "check their permissions",
        lambda w: w.mode(".", 0o555),
    ),
    Case(
        "unreadable",
        "people list",
        3,
        "gallery_read_only",
        "people.db or its folder may not be used: check their permissions",
        lambda w: w.mode("people.db", 0),
    ),
    Case(
        "new in a read-only folder",
        "people import people.jsonl -g album/new.db",
        3,
        "gallery_read_only",
        "album/new.db or its folder may not be used",
        lambda w: ((w.root / "album").mkdir(), w.mode("album", 0o555)),
    ),
    Case(
        "on a full disk",
        ["enroll", "Grace Hopper", "hopper2.jpg"],
        3,
        "storage_full",
        "no room to write",
        lambda w: (another_photo(w), w.file_limit(33_000)),
    ),
    Case(
        "new on a full disk",
        ["enroll", "Ada", "hopper.jpg", "-g", "new.db"],
        3,
        "storage_full",
        "new.db: free some space",
        lambda w: w.file_limit(10_000),
    ),
    Case("too long an audit", "gallery audit --last 0", 2, "usage", "--last"),
]


KEYS = [
    Case(
        "missing",
        "identify hopper.jpg -g locked.db",
        2,
        "key",
        "locked.db is encrypted and no key was given: give its key",
    ),
    Case(
        "missing, to enroll",
        ["enroll", "Ada", "hopper.jpg", "-g", "locked.db"],
        2,
        "key",
        "encrypted and no key was given",
    ),
    Case(
        "wrong",
        "identify hopper.jpg -g locked.db --key file:other.key",
        2,
        "key",
        "this is not the key",
    ),
    Case("for a plain gallery", f"people list {KEY}", 2, "key", "is not encrypted"),
    Case(
        "in no file",
        "people list -g locked.db --key file:no.key",
        2,
        "key",
        "cannot read the key file no.key: no such file",
    ),
    Case(
        "in a folder",
        "people list -g locked.db --key file:.",
        2,
        "key",
        "cannot read the key file .: it is a folder; name a file",
    ),
    Case(
        "cut short",
        f"people list -g locked.db {KEY}",
        2,
        "key",
        "the key at file:gallery.key is not 32 bytes",
        lambda w: w.cut("gallery.key"),
    ),
    Case(
        "no text",
        f"people list -g locked.db {KEY}",
        2,
        "key",
        "is not 32 bytes as base64 or hexadecimal text",
        lambda w: w.fill("gallery.key", 0, 20),
    ),
    Case(
        "in no variable",
        "people list -g locked.db --key env:NO_SUCH_KEY",
        2,
        "key",
        "the environment variable named after env: is not set or is empty; set it",
    ),
    Case(
        "typed in full",
        "people list -g locked.db --key c2VjcmV0",
        2,
        "config",
        "--key ...: expected file:PATH, env:NAME or keyring:SERVICE/USER",
    ),
    Case("made twice", "gallery keygen file:gallery.key", 2, "key", "exists already; a key is"),
    Case("made in no folder", "gallery keygen file:no/g.key", 2, "key", "cannot create the key"),
    Case("made nowhere", "gallery keygen gallery.key", 2, "key", "file:PATH"),
    Case("made in a variable", "gallery keygen env:KEY", 2, "key", "use file: or keyring:"),
    Case("changed to none", "gallery rekey", 2, "input", "say either --new-key SPEC or --plain"),
    Case(
        "changed without the old one",
        "gallery rekey -g locked.db --new-key file:other.key",
        2,
        "key",
        "encrypted and no key was given",
    ),
    Case(
        "changed to one that is missing",
        f"gallery rekey -g locked.db {KEY} --new-key file:no.key",
        2,
        "key",
        "cannot read the key file no.key",
    ),
    Case(
        "changed on a full disk",
        "gallery rekey --new-key file:gallery.key",
        3,
        "storage_full",
        "no room to write",
        lambda w: w.file_limit(33_000),
    ),
    Case(
        "right, but a template was changed",
        f"identify hopper.jpg -g locked.db {KEY}",
        2,
        "template_tampered",
        " of Grace Hopper was changed outside facekeep: restore a copy of the gallery, or remove"
        " the person and enroll again",
        lambda w: w.sql(
            "locked.db",
            "UPDATE templates SET vector = CAST(substr(vector, 1, 40) || x'00'"
            " || substr(vector, 42) AS BLOB) WHERE id = 1",
        ),
    ),
    Case(
        "right, but a template was given to somebody else",
        f"identify hopper.jpg -g locked.db {KEY}",
        2,
        "template_tampered",
        "was changed outside facekeep",
        lambda w: w.sql("locked.db", "UPDATE templates SET person = 2"),
    ),
]

NAMES = [
    Case("empty", ["enroll", "", "hopper.jpg"], 2, "input", "name"),
    Case("blank", ["enroll", "  ", "hopper.jpg"], 2, "input", "name"),
    Case("of 300 letters", ["enroll", "n" * 300, "hopper.jpg"], 2, "input", "the limit is 200"),
    Case("with a line break", ["enroll", "A\nda", "hopper.jpg"], 2, "input", "name"),
    Case("with escape sequences", ["enroll", "\x1b[31mA", "hopper.jpg"], 2, "input", "name"),
    Case("that is not UTF-8", ["enroll", os.fsdecode(b"caf\xe9"), "hopper.jpg"], 2, "input", "na"),
    Case("a file for a folder", "enroll hopper.jpg", 2, "input", "hopper.jpg is no folder: give"),
    Case("without photos", ["enroll", "Ada"], 2, "input", "give a name and photos"),
    Case(
        "with a folder of no pictures",
        ["enroll", "Ada", "album"],
        2,
        "input",
        "the folder album holds no pictures: name one that holds photos",
        junk("album/note.txt"),
    ),
    Case(
        "a folder without people",
        "enroll album",
        2,
        "input",
        "album holds no folders with pictures, one for each person",
        junk("album/Ada/note.txt"),
    ),
    Case(
        "with photos of which none can be read",
        ["enroll", "Ada", "a.jpg", "b.jpg"],
        2,
        "image",
        "a.jpg: is empty",
        lambda w: (w.write("a.jpg"), w.write("b.jpg")),
    ),
    Case("with a strange fact", ["enroll", "A", "hopper.jpg", "--meta", "x"], 2, "input", "KEY=V"),
    Case(
        "kept for no day", ["enroll", "A", "hopper.jpg", "--retain-days", "0"], 2, "usage", "--re"
    ),
    Case("unknown", "people show Ada", 2, "person_not_found", "Ada"),
    Case("unknown, to rename", "people rename Ada Eve", 2, "person_not_found", "Ada"),
    Case("unknown, to remove", "people remove Ada --yes", 2, "person_not_found", "Ada"),
    Case("unknown, to change", "people set Ada --meta a=b", 2, "person_not_found", "Ada"),
    Case("unknown, to refuse", "people refuse Ada hopper.jpg", 2, "person_not_found", "Ada"),
    Case(
        "unknown, to merge", ["people", "merge", "A", "Grace Hopper"], 2, "person_not_found", "'A'"
    ),
    Case("unknown, to split", "people split Ada Eve 1", 2, "person_not_found", "Ada"),
    Case(
        "taken",
        ["people", "rename", "Grace Hopper", "Eileen Collins"],
        2,
        "person_exists",
        "Eileen Collins",
    ),
    Case("emptied", ["people", "rename", "Grace Hopper", ""], 2, "input", "name"),
    Case(
        "merged into itself",
        ["people", "merge", "Grace Hopper", "Grace Hopper"],
        2,
        "input",
        "merge needs one or more other people",
    ),
    Case("merged alone", ["people", "merge", "Grace Hopper"], 2, "input", "two names or more"),
    Case(
        "split by unknown templates",
        ["people", "split", "Grace Hopper", "Ada", "0000"],
        2,
        "input",
        "0000",
    ),
    Case("set to nothing", ["people", "set", "Grace Hopper"], 2, "input", "--meta, --consent or"),
    Case(
        "to erase, with nobody to ask",
        ["people", "remove", "Grace Hopper"],
        2,
        "input",
        "nothing was erased: confirm with --yes",
    ),
    Case(
        "refused by a picture without a face",
        ["people", "refuse", "Grace Hopper", "gray.png"],
        2,
        "image",
        "no face was found in gray.png; use one that shows the face",
        lambda w: facekeep.save_image(w.root / "gray.png", np.full((90, 90, 3), 128, np.uint8)),
    ),
]

EXPORTS = [
    Case("onto the gallery", "people export people.db", 2, "input", "is the gallery itself"),
    Case("into no folder", "people export no/p.jsonl", 2, "input", "/no for the file: create it"),
    Case("onto a folder", "people export .", 2, "input", "is not a regular file"),
    Case(
        "onto a full disk",
        "people export new.jsonl",
        3,
        "storage_full",
        "new.jsonl: free some space",
        lambda w: (w.a_long_fact("people.db"), w.file_limit(40_000)),
    ),
    Case(
        "plain and with a key",
        f"people export x -g locked.db {KEY} --plain --file-key file:other.key",
        2,
        "input",
        "plain",
    ),
    Case("missing", "people import no.jsonl", 2, "input", "cannot read"),
    Case("a folder", "people import .", 2, "input", "it is a folder; name a file"),
    Case("a photo", "people import hopper.jpg", 2, "export_invalid", "hopper.jpg, line 1:"),
    Case(
        "cut short",
        "people import people.jsonl --on-conflict merge",
        2,
        "export_invalid",
        "the file was cut off here; nothing was imported",
        lambda w: w.cut("people.jsonl", 0.9),
    ),
    Case(
        "changed",
        "people import people.jsonl --on-conflict merge",
        2,
        "export_invalid",
        "people.jsonl, line",
        lambda w: w.replace("people.jsonl", '"Grace Hopper"', '"Grace Hoppes"'),
    ),
    Case(
        "of a newer version",
        "people import people.jsonl",
        2,
        "export_invalid",
        "version 2 is unknown; try a newer facekeep",
        lambda w: w.replace("people.jsonl", '"version":1', '"version":2'),
    ),
    Case(
        "of another model",
        "people import other.db.jsonl",
        2,
        "space_mismatch",
        "model-b",
        lambda w: w.gallery_of_another_model("other.db"),
    ),
    Case(
        "encrypted, without its key",
        "people import locked.jsonl",
        2,
        "key",
        "locked.jsonl is encrypted and no key was given: give the key of the export",
    ),
    Case(
        "encrypted, with another key",
        "people import locked.jsonl --file-key file:other.key",
        2,
        "key",
        "this is not the key",
    ),
    Case(
        "of people who are there already",
        "people import people.jsonl",
        2,
        "person_exists",
        "import with on_conflict merge, rename or skip",
    ),
    Case(
        "with an unknown way",
        "people import people.jsonl --on-conflict fight",
        2,
        "usage",
        "'fight' is not one of",
    ),
    Case(
        "damaged, into a new gallery",
        "people import people.jsonl -g new.db",
        2,
        "export_invalid",
        "nothing was imported",
        lambda w: w.cut("people.jsonl", 0.5),
    ),
    Case(
        "of another model, into a new gallery",
        "people import other.db.jsonl -g new.db",
        2,
        "space_mismatch",
        "other.db.jsonl holds templates of model-b, not of sface: name the model that made them",
        lambda w: w.gallery_of_another_model("other.db"),
    ),
]


def _own_models(w: World) -> None:
    (w.root / "models").mkdir()
    w.patch.setenv("FACEKEEP_MODELS", str(w.root / "models"))


def _network(w: World, name: str) -> Path:
    _own_models(w)
    return w.write(name, runpy.run_path(str(NETWORKS))["embedder"]())


def _own_model(w: World) -> None:
    from facekeep.models import import_model

    import_model(_network(w, "n.onnx"), "mine")


MODELS = [
    Case(
        "changed",
        "identify hopper.jpg",
        3,
        "model_corrupt",
        "its SHA-256 is not the published one; install facekeep again",
        lambda w: w.weights("sface", flipped),
    ),
    Case(
        "cut short",
        "verify hopper.jpg collins.jpg",
        3,
        "model_corrupt",
        "bytes where 11,105,422 are expected; install facekeep again",
        lambda w: w.weights("sface", lambda data: data[:5000]),
    ),
    Case(
        "swapped",
        "detect hopper.jpg",
        3,
        "model_corrupt",
        "install facekeep again",
        lambda w: w.weights("yunet", lambda data: b"\0" * len(data)),
    ),
    Case(
        "empty, to enroll",
        ["enroll", "Ada", "hopper.jpg", "-g", "new.db"],
        3,
        "model_corrupt",
        "it has 0 bytes",
        lambda w: w.weights("sface", lambda data: b""),
    ),
    Case(
        "missing",
        "identify hopper.jpg",
        2,
        "model_not_found",
        "the files of model 'sface' are not on this machine; install facekeep again",
        lambda w: w.without_weights("sface"),
    ),
    Case("unknown", "models info nobody", 2, "model_not_found", "nobody"),
    Case("unknown, to pull", "models pull nobody", 2, "model_not_found", "nobody"),
    Case("unknown, to remove", "models remove nobody", 2, "model_not_found", "nobody"),
    Case("unknown detector", "detect hopper.jpg --detector x", 2, "model_not_found", "'x'"),
    Case("unknown embedder", "identify hopper.jpg --embedder x", 2, "model_not_found", "'x'"),
    Case(
        "a detector to embed",
        "identify hopper.jpg --embedder yunet",
        2,
        "model",
        "yunet is a model to d",
    ),
    Case(
        "an embedder to detect",
        "detect hopper.jpg --detector sface",
        2,
        "model",
        "sface is a model to e",
    ),
    Case("built in, to remove", "models remove sface", 2, "input", "is built in and cannot be"),
    Case(
        "missing, to import", "models import no.onnx --name mine", 2, "model_not_found", "no.onnx"
    ),
    Case(
        "text, to import",
        "models import note.onnx --name mine",
        3,
        "model_corrupt",
        "note.onnx is no network that can be run (it is no ONNX file); export it to ONNX",
        lambda w: (w.write("note.onnx", "Dear diary"), _own_models(w)),
    ),
    Case(
        "with a name that is taken",
        "models import n.onnx --name sface",
        2,
        "input",
        "a model is already called 'sface'; choose another name",
        lambda w: _network(w, "n.onnx"),
    ),
    Case(
        "with a strange name",
        "models import n.onnx --name ../x",
        2,
        "input",
        "a model's name",
        lambda w: _network(w, "n.onnx"),
    ),
    Case("of a strange color", "models import n --name m --colour x", 2, "input", "rgb or bgr"),
    Case(
        "never calibrated",
        "verify hopper.jpg collins.jpg --embedder mine",
        2,
        "model",
        "model mine has no calibrated thresholds, so nothing can be decided with it; measure them",
        _own_model,
    ),
    Case(
        "never calibrated, for the first enrollment",
        "enroll Ada hopper.jpg --gallery new.db --embedder mine",
        2,
        "model",
        "(docs/evaluation.md); or skip the checks (--review off)",
        _own_model,
    ),
    Case(
        "of one's own, with its file gone",
        "models path mine",
        2,
        "model_not_found",
        "import it again; run: facekeep models remove mine, then facekeep models import FILE",
        lambda w: (_own_model(w), (w.root / "models/mine/mine.onnx").unlink()),
    ),
    Case(
        "of one's own, with a damaged description",
        "models info mine",
        2,
        "model",
        "mine",
        lambda w: (_own_model(w), w.write("models/mine/model.toml", "[[[")),
    ),
]


SETTINGS = [
    Case(
        "a rate of zero", "identify hopper.jpg --fmr 0", 2, "config", "--fmr 0: expected a number"
    ),
    Case("a rate of one", "identify hopper.jpg --fmr 1", 2, "config", "--fmr 1: expected a number"),
    Case(
        "a rate in words", "verify hopper.jpg collins.jpg --fmr abc", 2, "config", "--fmr abc: ex"
    ),
    Case("a rate that is no number", "identify hopper.jpg --fmr nan", 2, "config", "--fmr nan: ex"),
    Case("a rate beyond all", "identify hopper.jpg --fmr 1e-12", 2, "config", "from 1e-9 to 0.5"),
    Case(
        "a rate beyond calibration",
        "identify hopper.jpg --fmr 1e-8",
        2,
        "input",
        "calibrated down to a false-match rate of 1e-06; 1e-08 cannot be promised; ask for 1e-06",
    ),
    Case("threads below zero", "detect hopper.jpg --threads -1", 2, "config", "--threads -1: ex"),
    Case("threads in words", "detect hopper.jpg --threads many", 2, "config", "from 0 to 1024"),
    Case("an unknown device", "detect hopper.jpg --device abacus", 2, "input", "abacus"),
    Case("an absent device", "detect hopper.jpg --device cuda", 3, "runtime", "cuda"),
    Case("an unknown runtime", "detect hopper.jpg --runtime x", 2, "input", "unknown runtime 'x'"),
    Case("an unknown review", "enroll Ada hopper.jpg --review lax", 2, "config", "off, standard,"),
    Case(
        "faces too small", "detect hopper.jpg --min-face 1", 2, "config", "--min-face 1: expected"
    ),
    Case("no candidates", "identify hopper.jpg --top 0", 2, "usage", "--top"),
    Case("an unknown stage", "bench brew --repeats 3", 2, "input", "unknown stage 'brew'; known: "),
    Case("too few repeats", "bench decode --repeats 1", 2, "usage", "--repeats"),
    Case("an unknown option", "identify hopper.jpg --nope", 2, "usage", "no such option: --nope"),
    Case("an unknown command", "identfy hopper.jpg", 2, "usage", "no such command 'identfy'"),
    Case(
        "a variable in words",
        "identify hopper.jpg",
        2,
        "config",
        "FACEKEEP_FMR=often: expected a number",
        lambda w: w.patch.setenv("FACEKEEP_FMR", "often"),
    ),
    Case(
        "a damaged file",
        "identify hopper.jpg --config c.toml",
        2,
        "config",
        "c.toml: is not valid TOML",
        junk("c.toml", "fmr = = 1"),
    ),
    Case(
        "an unknown key",
        "identify hopper.jpg --config c.toml",
        2,
        "config",
        "c.toml: unknown key frm; did you mean fmr?",
        junk("c.toml", "frm = 0.1"),
    ),
    Case(
        "a value of another type",
        "identify hopper.jpg --config c.toml",
        2,
        "config",
        "c.toml: threads = two: expected a whole number",
        junk("c.toml", 'threads = "two"'),
    ),
    Case("no file", "detect hopper.jpg --config no.toml", 2, "config", "no.toml: there is no such"),
    Case("a folder", "detect hopper.jpg --config .", 2, "config", ".: cannot be read"),
    Case("a photo", "detect hopper.jpg --config hopper.jpg", 2, "config", "is not UTF-8 text"),
]

TABLE = {
    "picture": PICTURES,
    "output": OUTPUTS,
    "folder": FOLDERS,
    "gallery": GALLERIES,
    "key": KEYS,
    "name": NAMES,
    "export": EXPORTS,
    "model": MODELS,
    "setting": SETTINGS,
}
"""The cases, by what is bad."""
