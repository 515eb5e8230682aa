"""What errors of the gallery say, and what programs can learn from them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from gallery_kit import KEY, OTHER, SPACE, doctor, make, new

import facekeep.gallery
from facekeep.errors import (
    ExportKeyMissing,
    GalleryCorrupt,
    GalleryKeyMissing,
    NotAGallery,
    SpaceMismatch,
    TemplateTampered,
)
from facekeep.gallery import Gallery


def test_no_message_names_an_option_of_the_command_line() -> None:
    folder = Path(facekeep.gallery.__file__).parent
    named = [
        f"{file.name}: {line}"
        for file in folder.rglob("*.py")
        for line in file.read_text().splitlines()
        if re.search(r"[ (`]--[a-z]|`facekeep ", line)
    ]
    assert named == []


@pytest.mark.parametrize("content", [b"", b"Dear diary\n" * 1000], ids=["empty", "text"])
def test_a_file_that_is_something_else_is_told_from_a_damaged_gallery(
    path: Path, content: bytes
) -> None:
    path.write_bytes(content)
    with pytest.raises(NotAGallery, match=r"not a (facekeep )?gallery"):
        Gallery.open(path)
    make(path.with_name("real.db")).close()
    real = path.with_name("real.db").read_bytes()
    path.write_bytes(real[:5000] + b"damage" * 100 + real[5600:])
    with pytest.raises(GalleryCorrupt) as caught, Gallery.open(path) as gallery:
        gallery.people()
    assert not isinstance(caught.value, NotAGallery)


def test_a_missing_key_says_of_which_file(path: Path) -> None:
    export = path.with_name("people.jsonl")
    with make(path, KEY) as gallery:
        gallery.enroll("Ada", [new(1)])
        gallery.export(export)
    with Gallery.open(path, space=SPACE) as locked, pytest.raises(GalleryKeyMissing):
        locked.vectors("Ada")
    with make(path.with_name("other.db")) as other, pytest.raises(ExportKeyMissing):
        other.import_(export)


def test_a_wrong_space_names_the_model_of_the_gallery(path: Path) -> None:
    make(path).close()
    with pytest.raises(SpaceMismatch, match="migrate the gallery") as caught:
        Gallery.open(path, space=OTHER)
    assert caught.value.model == SPACE.model


def test_what_was_changed_names_the_person_and_the_template(path: Path) -> None:
    with make(path, KEY) as gallery:
        person = gallery.enroll("Ada", [new(1), new(2)])
        gallery.enroll("Bea", [new(3)])
    doctor(path, "UPDATE templates SET vector = zeroblob(92) WHERE id IN (1, 3)")
    doctor(path, "UPDATE people SET metadata = '{\"a\": 1}' WHERE name = 'Bea'")
    with Gallery.open(path, space=SPACE, key=KEY) as gallery:
        with pytest.raises(TemplateTampered) as caught:
            gallery.vectors("Ada")
        assert person.templates is not None
        assert caught.value.person == "Ada"
        assert caught.value.template_id == person.templates[0].id
        with pytest.raises(GalleryCorrupt) as changed:
            gallery.person("Bea")
        assert changed.value.person == "Bea"
