"""facenet-pytorch: MTCNN, whose weights its wheel brings, and an Inception-ResNet without any."""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any

import numpy as np
import torch
from PIL.Image import Image as Picture
from PIL.Image import fromarray

from .base import Found, Image, Recognizer, Row, Settings


def _stand_in() -> None:
    """Give it the two functions of torchvision that it imports, without torchvision."""

    def to_tensor(picture: Any) -> torch.Tensor:
        return torch.from_numpy(np.ascontiguousarray(picture.transpose(2, 0, 1)))

    def batched_nms(*arguments: Any) -> torch.Tensor:
        from facenet_pytorch.models.utils.detect_face import batched_nms_numpy

        return batched_nms_numpy(*arguments, "Union")

    names = ("", ".transforms", ".transforms.functional", ".ops", ".ops.boxes")
    modules = {f"torchvision{name}": ModuleType(f"torchvision{name}") for name in names}
    modules["torchvision.transforms"].functional = modules["torchvision.transforms.functional"]
    modules["torchvision.transforms.functional"].to_tensor = to_tensor
    modules["torchvision.ops.boxes"].batched_nms = batched_nms
    sys.modules.update(modules)


class Adapter(Recognizer):
    """Both networks. Random weights take as long as trained ones, and recognize nobody."""

    width = 512

    def __init__(self, settings: Settings) -> None:
        if settings.threads:
            torch.set_num_threads(settings.threads)
        _stand_in()
        from facenet_pytorch import MTCNN, InceptionResnetV1

        self._detector = MTCNN(keep_all=True)
        self._network = InceptionResnetV1().eval()

    def native(self, image: Image) -> Picture:
        """Make a Pillow image, the kind that needs no OpenCV."""
        return fromarray(image)

    @torch.inference_mode()
    def faces(self, image: Picture) -> list[Found]:
        """Detect, cut out and embed all faces at once."""
        boxes, _ = self._detector.detect(image)
        if boxes is None:
            return []
        rows = self._network(self._detector.extract(image, boxes, None)).numpy()
        return [Found(tuple(box), row) for box, row in zip(boxes.tolist(), rows, strict=True)]

    @torch.inference_mode()
    def aligned(self, image: Picture) -> Any:
        """Cut a face out; its pixels are 160 a side."""
        boxes, _ = self._detector.detect(image)
        return self._detector.extract(image, boxes[:1], None)

    @torch.inference_mode()
    def embed(self, crop: Any) -> Row:
        """Run the network."""
        return self._network(crop).numpy()[0]
