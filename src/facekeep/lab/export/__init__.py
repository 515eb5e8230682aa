"""Networks in the form of other runtimes: ``facekeep models export``.

What comes out is run here, where it can be, and compared with what ONNX Runtime gives.
"""

from facekeep.lab.export.exporter import TARGETS, Exported, export_model

__all__ = ["TARGETS", "Exported", "export_model"]
