"""insightface's embedder with a network that it did not train."""

from __future__ import annotations

import onnxruntime
from insightface.model_zoo.arcface_onnx import ArcFaceONNX

from .base import Bgr, Image, Row, Settings
from .portrait import cut


class Adapter(Bgr):
    """``ArcFaceONNX`` on a session of its usual kind."""

    width = 512

    def __init__(self, settings: Settings) -> None:
        model = str(settings.home / "arcface.onnx")
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = settings.threads
        session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        self._network = ArcFaceONNX(model, session)

    def aligned(self, image: Image) -> Image:
        """Cut something out: without a detector the place of the face is not known."""
        return cut(image)

    def embed(self, crop: Image) -> Row:
        """Run the network."""
        return self._network.get_feat(crop)[0]
