"""OpenCV's own FaceDetectorYN (YuNet) and FaceRecognizerSF (SFace)."""

from __future__ import annotations

import cv2
import numpy as np

from .base import Bgr, Found, Image, Row, Settings


class Adapter(Bgr):
    """Both, with the thresholds they have by default."""

    def __init__(self, settings: Settings) -> None:
        if settings.threads:
            cv2.setNumThreads(settings.threads)
        detector, recognizer = (str(settings.home / name) for name in ("yunet.onnx", "sface.onnx"))
        self._detector = cv2.FaceDetectorYN.create(detector, "", (320, 320))
        self._recognizer = cv2.FaceRecognizerSF.create(recognizer, "")

    def _found(self, image: Image) -> list[Row]:
        self._detector.setInputSize(image.shape[1::-1])
        _, faces = self._detector.detect(image)
        return [] if faces is None else list(faces)

    def faces(self, image: Image) -> list[Found]:
        """Detect, ``alignCrop`` and ``feature``."""
        found = []
        for face in self._found(image):
            x, y, width, height = face[:4].tolist()
            row = self.embed(self._recognizer.alignCrop(image, face))
            found.append(Found((x, y, x + width, y + height), row))
        return found

    def aligned(self, image: Image) -> Image:
        """``alignCrop`` of the face found most surely."""
        return np.asarray(self._recognizer.alignCrop(image, self._found(image)[0]))

    def embed(self, crop: Image) -> Row:
        """``feature``, which is not of unit length; it reuses its memory, hence the copy."""
        return np.array(self._recognizer.feature(crop)[0])
