"""face_recognition: dlib's HOG detector, five landmarks and ResNet."""

from __future__ import annotations

import dlib
import face_recognition
import numpy as np
from face_recognition import api

from .base import Found, Image, Recognizer, Row, Search, Settings


class Adapter(Recognizer):
    """Its functions with the arguments they have by default; dlib uses one thread."""

    def __init__(self, settings: Settings) -> None:
        del settings

    def faces(self, image: Image) -> list[Found]:
        """``face_locations`` and ``face_encodings``."""
        places = face_recognition.face_locations(image)
        rows = face_recognition.face_encodings(image, places)
        return [
            Found((left, top, right, bottom), row)
            for (top, right, bottom, left), row in zip(places, rows, strict=True)
        ]

    def aligned(self, image: Image) -> Image:
        """Cut a face out as dlib does before its network: 150 pixels a side."""
        top, right, bottom, left = face_recognition.face_locations(image)[0]
        shape = api.pose_predictor_5_point(image, dlib.rectangle(left, top, right, bottom))
        return np.asarray(dlib.get_face_chip(image, shape))

    def embed(self, crop: Image) -> Row:
        """Run the network."""
        return np.array(api.face_encoder.compute_face_descriptor(crop))

    def gallery(self, rows: Row) -> Search:
        """``face_distance`` to all, in an array of the type that ``face_encodings`` gives."""
        known = rows.astype(np.float64)
        return lambda probe: int(face_recognition.face_distance(known, probe).argmin())
