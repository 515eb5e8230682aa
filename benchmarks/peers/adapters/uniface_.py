"""uniface's recognizer with a network that it does not bring."""

from __future__ import annotations

from uniface.recognition.base import BaseRecognizer, PreprocessConfig

from .base import Bgr, Image, Row, Settings
from .limit import limit_sessions
from .portrait import cut


class _Recognizer(BaseRecognizer):
    """What its recognizers share; they differ in the weights they download."""

    def __init__(self, model: str) -> None:
        super().__init__(
            model_path=model,
            preprocessing=PreprocessConfig(),
            providers=["CPUExecutionProvider"],
        )


class Adapter(Bgr):
    """Its preparation of a crop, and its session."""

    width = 512

    def __init__(self, settings: Settings) -> None:
        limit_sessions(settings.threads)
        self._network = _Recognizer(str(settings.home / "arcface.onnx"))

    def aligned(self, image: Image) -> Image:
        """Cut something out: without a detector the place of the face is not known."""
        return cut(image)

    def embed(self, crop: Image) -> Row:
        """Run the network."""
        return self._network.get_embedding(crop)[0]
