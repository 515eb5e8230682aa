"""DeepFace with its YuNet and SFace, on ONNX Runtime."""

from __future__ import annotations

import os
from functools import partial
from typing import Any

import cv2
import numpy as np

from .base import Bgr, Found, Image, Row, Settings
from .limit import limit_sessions


class Adapter(Bgr):
    """``DeepFace.represent``."""

    def __init__(self, settings: Settings) -> None:
        os.environ["DEEPFACE_HOME"] = str(settings.home)
        if settings.threads:
            cv2.setNumThreads(settings.threads)
        limit_sessions(settings.threads)
        from deepface import DeepFace
        from deepface.modules.exceptions import FaceNotDetected

        self._deepface = DeepFace
        self._represent = partial(DeepFace.represent, model_name="SFace")
        self._nobody = FaceNotDetected

    def faces(self, image: Image) -> list[Found]:
        """Detect with YuNet, align by the eyes, embed."""
        try:
            found = self._represent(image, detector_backend="yunet")
        except self._nobody:
            return []
        return [_found(face) for face in found]

    def aligned(self, image: Image) -> Image:
        """Cut the first face out."""
        faces = self._deepface.extract_faces(image, detector_backend="yunet", color_face="bgr")
        return np.asarray(faces[0]["face"] * 255, np.uint8)

    def embed(self, crop: Image) -> Row:
        """Embed without detection."""
        found = self._represent(crop, detector_backend="skip")
        return np.array(found[0]["embedding"])


def _found(face: dict[str, Any]) -> Found:
    area = face["facial_area"]
    left, top = area["x"], area["y"]
    return Found((left, top, left + area["w"], top + area["h"]), np.array(face["embedding"]))
