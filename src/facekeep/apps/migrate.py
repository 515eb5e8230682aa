"""Re-embed a gallery with another model, from kept crops and from the photos, all or nothing."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from facekeep.engine import FaceEngine
from facekeep.errors import FacekeepError, ImageError, InputError, ModelError
from facekeep.gallery import Gallery, NewTemplate, Person, Space
from facekeep.gallery.types import Template
from facekeep.pipeline.enrollment import read_digest
from facekeep.pipeline.image import content_digest, list_images, load_image
from facekeep.pipeline.warp import resize
from facekeep.types import Face

__all__ = ["Lost", "Migration", "migrate_gallery"]

Pixels = NDArray[np.uint8]
Progress = Callable[[int, int], object]

# The cosine from which on two looks at one photo show one face, where the old model is not
# calibrated; its own threshold is used where it is.
_SAME_FACE = 0.5


@dataclass(frozen=True, slots=True)
class Lost:
    """A template that cannot be carried over.

    Attributes:
        person: The person's name.
        person_id: The person's UUID.
        template_id: The template's UUID.
        negative: Whether it says "this is not the person".
        source: Where it came from, as recorded.
        reason: Why, in one line for people.
    """

    person: str
    person_id: str
    template_id: str
    negative: bool
    source: str | None
    reason: str


@dataclass(slots=True)
class Migration:
    """What came of migrating a gallery.

    Attributes:
        old: The embedding space before.
        new: The space asked for.
        people: How many people the gallery held.
        from_crops: Templates made from kept crops.
        from_photos: Templates made from photos.
        lost: Templates that cannot be carried over.
        erased: Who was left out whole, by name.
        done: Whether the gallery is of the new space now. Where it is not it is as it was before.
    """

    old: Space
    new: Space
    people: int = 0
    from_crops: int = 0
    from_photos: int = 0
    lost: list[Lost] = field(default_factory=list)
    erased: list[str] = field(default_factory=list)
    done: bool = False

    def to_dict(self) -> dict[str, Any]:
        """Return what was carried over and what was lost, for JSON."""
        return {
            "done": self.done,
            "from": asdict(self.old),
            "to": asdict(self.new),
            "people": self.people,
            "from_crops": self.from_crops,
            "from_photos": self.from_photos,
            "erased": self.erased,
            "lost": [asdict(each) for each in self.lost],
        }


class _RefusedError(Exception):
    """Something would be lost that nobody said may be."""


def migrate_gallery(
    gallery: Gallery,
    engine: FaceEngine,
    *,
    old_engine: FaceEngine | None = None,
    photos: Sequence[str | os.PathLike[str]] = (),
    drop: Collection[str] = (),
    drop_all: bool = False,
    backup: str | os.PathLike[str] | None = None,
    progress: Progress | None = None,
) -> Migration:
    """Recompute all templates of a gallery with the model of an engine.

    A template is made from its crop, where one was kept, or from the photo it came from, which is
    found by the digest that was recorded. All of this happens in one transaction: on any error, and
    when the process is stopped, the gallery is as it was before. Names, ids, facts, consent,
    retention and the history stay.

    Args:
        gallery: The gallery, opened for writing.
        engine: An engine with the new model.
        old_engine: One with the gallery's present model: tells which of several faces of a photo
            was enrolled. Without it such photos cannot be used.
        photos: Folders in which to look for the photos.
        drop: People, by name or id, of whom what cannot be carried over is erased. Who would be
            left without a template that says who they are is erased whole.
        drop_all: The same for everybody.
        backup: A new file for the gallery as it was; taken away again if nothing is changed.
        progress: Told how many templates are done, and how many there are.

    Returns:
        What was done; nothing where something cannot be carried over and was not to be dropped.

    Raises:
        PersonNotFound: One of ``drop`` is not enrolled.
        ImageError: A folder of photos cannot be read.
        GalleryKeyError: The gallery is encrypted, and was opened without its key.
        InputError: The backup's file exists, or cannot be written.
        StorageFull: There is no room for the new templates beside the old.
    """
    result = Migration(gallery.space, engine.space)
    if result.old == result.new:
        result.done, result.people = True, gallery.count()
        return result
    may_go = {gallery.person(name).id for name in drop}
    result.people = gallery.count()
    found = _found(photos, gallery)
    carrier = _Carrier(engine, old_engine, found, result, progress)
    for person in _everybody(gallery):
        result.lost += carrier.hopeless(person)

    def refuse_losses() -> None:
        if not drop_all and any(lost.person_id not in may_go for lost in result.lost):
            raise _RefusedError

    try:
        refuse_losses()
        result.lost.clear()
        with _backup(gallery, backup):
            gallery.migrate(engine.space, carrier.remake, approve=refuse_losses)
    except _RefusedError:
        result.from_crops = result.from_photos = 0
        return result
    result.erased = [name for name, whole in carrier.kept.items() if not whole]
    result.done = True
    return result


@contextmanager
def _backup(gallery: Gallery, file: str | os.PathLike[str] | None) -> Iterator[None]:
    """Keep a copy of the gallery, unless what follows leaves the gallery as it is."""
    if file is None:
        yield
        return
    gallery.backup(file)
    old = gallery.space
    try:
        yield
    finally:
        if gallery.space == old:
            Path(file).unlink(missing_ok=True)


class _Carrier:
    """Makes templates anew."""

    def __init__(
        self,
        engine: FaceEngine,
        old_engine: FaceEngine | None,
        photos: dict[str, Path],
        result: Migration,
        progress: Progress | None,
    ) -> None:
        self._engine = engine
        self._old = old_engine
        self._photos = photos
        self._result = result
        self._progress = progress
        self._size = engine.crop_size
        self._done = 0
        self._total = 0
        self.kept: dict[str, bool] = {}

    def hopeless(self, person: Person) -> Iterator[Lost]:
        """Count a person's templates, and say which can plainly not be carried over."""
        for template in person.templates or ():
            self._total += 1
            digest = read_digest(template.source)
            if not template.has_crop and digest not in self._photos:
                yield _lost(person, template, _NOTHING_KEPT if digest else _NO_PHOTO)

    def remake(
        self, person: Person, template: Template, content: NewTemplate
    ) -> NewTemplate | None:
        """Make a template anew, or note that it is lost."""
        self.kept.setdefault(person.name, False)
        try:
            vector = self._vector(template, content)
        except ImageError as error:
            self._result.lost.append(_lost(person, template, str(error)))
            vector = None
        self._done += 1
        if self._progress is not None:
            self._progress(self._done, self._total)
        if vector is None:
            return None
        self.kept[person.name] = self.kept[person.name] or not template.negative
        return NewTemplate(
            vector, content.quality, content.source, content.crop, negative=content.negative
        )

    def _vector(self, template: Template, content: NewTemplate) -> NDArray[np.float32]:
        photo = self._photos.get(read_digest(template.source))
        crop = None if content.crop is None else load_image(content.crop)
        if crop is not None and crop.shape[0] != crop.shape[1]:
            crop = None
        if crop is not None and (len(crop) >= self._size or photo is None):
            self._result.from_crops += 1
            # The template scales as a picture does.
            rows = self._engine.embed_crops(resize(crop, self._size, self._size)[None])
            return np.asarray(rows[0], np.float32)
        if photo is None:
            raise ImageError(_NOTHING_KEPT if read_digest(template.source) else _NO_PHOTO)
        vector = self._of_photo(photo, content.vector)
        self._result.from_photos += 1
        return vector

    def _of_photo(self, photo: Path, known: NDArray[np.float32]) -> NDArray[np.float32]:
        """Embed the face of a photo that the template was made of."""
        image = load_image(photo, max_pixels=self._engine.max_pixels)
        faces = self._engine.analyze(image)
        if not faces:
            raise ImageError(f"{photo}: no face is found in it now")
        if self._old is None:
            if len(faces) > 1:
                raise ImageError(
                    f"{photo}: shows {len(faces)} faces, and without the old model nobody can tell"
                    " which was enrolled"
                )
            return _embedding(faces[0])
        looks = [_embedding(face) @ known for face in self._old.analyze(image)]
        best = int(np.argmax(looks))
        if looks[best] < _same_face(self._old):
            raise ImageError(f"{photo}: the face that was enrolled is not found in it now")
        return _embedding(faces[best])


_NOTHING_KEPT = "no crop was kept, and the photo was not found"
_NO_PHOTO = "no crop was kept, and no photo was recorded"


def _everybody(gallery: Gallery) -> Iterator[Person]:
    """Yield everybody with the facts about their templates, a few at a time."""
    after = None
    while some := gallery.people(after=after, limit=1000):
        for person in some:
            yield gallery.person(person.name)
        after = some[-1].name


def _found(folders: Sequence[str | os.PathLike[str]], gallery: Gallery) -> dict[str, Path]:
    """Find photos of templates by their digest; those that have the recorded name come first."""
    if not folders:
        return {}
    wanted = {
        digest: str(template.source).rpartition(" sha256:")[0]
        for person in _everybody(gallery)
        for template in person.templates or ()
        if (digest := read_digest(template.source))
    }
    names = set(wanted.values())
    paths = [path for folder in folders for path in list_images(folder)]
    found: dict[str, Path] = {}
    for path in sorted(paths, key=lambda path: path.name not in names):
        if len(found) == len(wanted):
            break
        try:
            digest = content_digest(path)
        except FacekeepError:
            continue
        if digest in wanted:
            found.setdefault(digest, path)
    return found


def _lost(person: Person, template: Template, reason: str) -> Lost:
    return Lost(person.name, person.id, template.id, template.negative, template.source, reason)


def _embedding(face: Face) -> NDArray[np.float32]:
    assert face.embedding is not None  # noqa: S101 - analyzed faces have one
    return face.embedding


def _same_face(engine: FaceEngine) -> float:
    try:
        return engine.threshold().cosine
    except (InputError, ModelError):
        return _SAME_FACE
