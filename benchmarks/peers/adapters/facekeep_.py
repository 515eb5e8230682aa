"""facekeep: engine, embedder and gallery."""

from __future__ import annotations

from functools import cached_property

from facekeep import Embedder, FaceEngine, Gallery, NewTemplate, Space, align_batch
from facekeep.runtime import RuntimeOptions

from .base import Found, Image, Recognizer, Row, Search, Settings


class Adapter(Recognizer):
    """facekeep with its default networks, or with an embedder by name."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._model = settings.options.get("embedder")
        self._engine = FaceEngine(embedder=self._model, threads=settings.threads)
        self.width = self._engine.space.width
        self.recipe = self._engine.fingerprint

    @cached_property
    def _embedder(self) -> Embedder:
        return Embedder(self._model, options=RuntimeOptions(threads=self._settings.threads))

    def faces(self, image: Image) -> list[Found]:
        """Analyze an image as ``identify`` does."""
        return [Found(tuple(face.bbox), face.embedding) for face in self._engine.analyze(image)]

    def aligned(self, image: Image) -> Image:
        """Cut the largest face out."""
        return align_batch(image, [self._engine.detect(image)[0].landmarks])

    def embed(self, crop: Image) -> Row:
        """Embed it."""
        return self._embedder.embed(crop)[0]

    def gallery(self, rows: Row) -> Search:
        """Enroll everybody in a gallery on disk, which is kept for the next time."""
        folder = self._settings.home.parent / "galleries"
        folder.mkdir(exist_ok=True)
        path = folder / f"{len(rows)}-{self.width}.db"
        gallery = Gallery.open(path, space=Space("race", "race", self.width), create=True)
        if gallery.count() < len(rows):
            people = enumerate(rows)
            gallery.enroll_many((str(number), [NewTemplate(row)]) for number, row in people)
        return lambda probe: int(gallery.search(probe[None], 1)[0][0].name)
