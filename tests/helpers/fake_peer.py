"""A library for the race that finds a face in every image that is not black."""

from __future__ import annotations

import os

import numpy as np
from adapters.base import Found, Recognizer, Settings


class Adapter(Recognizer):
    width = 64

    def __init__(self, settings: Settings) -> None:
        print("loaded with", settings.threads, "threads")  # noqa: T201 - as libraries do

    def native(self, image):
        return image.astype(np.float64)

    def faces(self, image):
        if image.max() == 255:
            os._exit(3)
        if image.max() == 254:
            raise ValueError("this library\ndislikes white")
        row = np.full(self.width, image.mean())
        boxes = [(0, 0, 2, 2), (3, 3, 9, 9)]
        return [Found(box, row + i) for i, box in enumerate(boxes)] if image.any() else []

    def aligned(self, image):
        return image[:2]

    def embed(self, crop):
        return crop.ravel()[: self.width]
