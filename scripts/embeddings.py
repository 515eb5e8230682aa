#!/usr/bin/env python3
"""Embed two real faces, to compare with what another machine or runtime computed.

python scripts/embeddings.py FILE                     write the embeddings
python scripts/embeddings.py FILE --expected OTHER    and exit with 1 if they differ by over 1e-3
python scripts/embeddings.py FILE --runtime openvino  with another runtime than ONNX Runtime
"""

from __future__ import annotations

import argparse
import importlib.metadata
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from facekeep import Detector, Embedder, load_image
from facekeep.pipeline.align import align
from facekeep.runtime import RuntimeOptions

PHOTOS = {
    "hopper": ("matplotlib", "matplotlib/mpl-data/sample_data/grace_hopper.jpg"),
    "collins": ("scikit-image", "skimage/data/astronaut.png"),
}
MODELS = ("facekeep-xxs", "sface")
TOLERANCE = 1e-3


def main() -> int:
    """Write the embeddings, and compare them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("file", type=Path)
    parser.add_argument("--expected", type=Path)
    parser.add_argument("--runtime", default="onnxruntime")
    options = parser.parse_args()
    found = dict(embeddings(options.runtime))
    np.savez(options.file, **found)
    if options.expected is None:
        return 0
    expected = np.load(options.expected)
    differences = {name: float(np.abs(row - expected[name]).max()) for name, row in found.items()}
    for name, difference in differences.items():
        print(f"{name}: largest difference {difference:.1e}")
    return 0 if all(each <= TOLERANCE for each in differences.values()) else 1  # NaN is not equal


def embeddings(runtime: str) -> Iterator[tuple[str, NDArray[np.float32]]]:
    """Yield a name and the embedding for each photo and model."""
    with Detector(options=RuntimeOptions(threads=1, runtime=runtime)) as detector:
        crops = {name: crop(detector, *place) for name, place in PHOTOS.items()}
    for model in MODELS:
        with Embedder(model, options=RuntimeOptions(threads=1, runtime=runtime)) as embedder:
            for name, pixels in crops.items():
                yield f"{name}, {model}", embedder.embed(pixels[None])[0]


def crop(detector: Detector, distribution: str, path: str) -> NDArray[np.uint8]:
    """Find the largest face of a photo inside an installed distribution, and align it."""
    image = load_image(Path(str(importlib.metadata.distribution(distribution).locate_file(path))))
    (face, *_) = detector.refine(image, detector.detect(image))
    return align(image, face.landmarks)


if __name__ == "__main__":
    sys.exit(main())
