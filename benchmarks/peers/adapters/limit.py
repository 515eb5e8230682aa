"""Limits for libraries on ONNX Runtime that have no argument for threads."""

from __future__ import annotations

import onnxruntime


def limit_sessions(threads: int) -> None:
    """Give every session opened from now on so many threads; 0 leaves all as it is."""
    if not threads:
        return
    theirs = onnxruntime.SessionOptions

    def limited() -> onnxruntime.SessionOptions:
        options = theirs()
        options.intra_op_num_threads = threads
        return options

    onnxruntime.SessionOptions = limited
