"""facekeep: face recognition that runs, whole, on the device that sees the face.

The public API, all of it::

    from facekeep import FaceEngine

    with FaceEngine("people.db") as engine:
        engine.enroll("Ada Lovelace", ["ada1.jpg", "ada2.jpg"])
        for face in engine.identify("party.jpg"):
            print(face.name or "unknown", face.similarity)

Names are loaded when they are first used, so that importing the package costs next to nothing.
"""

from __future__ import annotations

import importlib
import os
from typing import TYPE_CHECKING

from facekeep._version import __version__

# From 1.31 on ONNX Runtime reports its use to its makers unless this is set before it is imported,
# by whatever part of facekeep, or of the program around it. Nothing leaves the machine here.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

if TYPE_CHECKING:
    from facekeep.apps.migrate import migrate_gallery
    from facekeep.apps.photo_cache import PhotoCache
    from facekeep.apps.photo_folders import cluster_folder, search_folder, search_person
    from facekeep.config import Settings, load_settings
    from facekeep.diagnosis import Check, doctor
    from facekeep.draw import annotate, contact_sheet
    from facekeep.engine import FaceEngine
    from facekeep.errors import FacekeepError
    from facekeep.factory import open_engine
    from facekeep.gallery import Consent, Gallery, NewTemplate, Person, Space, load_key
    from facekeep.pipeline.align import align_batch, similarity_transform
    from facekeep.pipeline.decide import threshold
    from facekeep.pipeline.detect import Detector
    from facekeep.pipeline.embed import Embedder
    from facekeep.pipeline.enrollment import Enrolment, Rejection
    from facekeep.pipeline.image import from_bgr, list_images, load_image, save_image
    from facekeep.pipeline.quality import Reason, assess, review
    from facekeep.types import Candidate, Decision, Face, Quality, Threshold, Verification

_MODULES = {
    "apps.migrate": ("migrate_gallery",),
    "apps.photo_cache": ("PhotoCache",),
    "apps.photo_folders": ("cluster_folder", "search_folder", "search_person"),
    "config": ("Settings", "load_settings"),
    "diagnosis": ("Check", "doctor"),
    "draw": ("annotate", "contact_sheet"),
    "engine": ("FaceEngine",),
    "errors": ("FacekeepError",),
    "factory": ("open_engine",),
    "gallery": ("Consent", "Gallery", "NewTemplate", "Person", "Space", "load_key"),
    "pipeline.align": ("align_batch", "similarity_transform"),
    "pipeline.decide": ("threshold",),
    "pipeline.detect": ("Detector",),
    "pipeline.embed": ("Embedder",),
    "pipeline.enrollment": ("Enrolment", "Rejection"),
    "pipeline.image": ("from_bgr", "list_images", "load_image", "save_image"),
    "pipeline.quality": ("Reason", "assess", "review"),
    "types": ("Candidate", "Decision", "Face", "Quality", "Threshold", "Verification"),
}
_MODULE_OF = {name: module for module, names in _MODULES.items() for name in names}

__all__ = [
    "Candidate",
    "Check",
    "Consent",
    "Decision",
    "Detector",
    "Embedder",
    "Enrolment",
    "Face",
    "FaceEngine",
    "FacekeepError",
    "Gallery",
    "NewTemplate",
    "Person",
    "PhotoCache",
    "Quality",
    "Reason",
    "Rejection",
    "Settings",
    "Space",
    "Threshold",
    "Verification",
    "__version__",
    "align_batch",
    "annotate",
    "assess",
    "cluster_folder",
    "contact_sheet",
    "doctor",
    "from_bgr",
    "list_images",
    "load_image",
    "load_key",
    "load_settings",
    "migrate_gallery",
    "open_engine",
    "review",
    "save_image",
    "search_folder",
    "search_person",
    "similarity_transform",
    "threshold",
]


def __getattr__(name: str) -> object:
    if name not in _MODULE_OF:
        raise AttributeError(f"module 'facekeep' has no attribute {name!r}")
    return getattr(importlib.import_module(f"facekeep.{_MODULE_OF[name]}"), name)


def __dir__() -> list[str]:
    return sorted(set(globals()) | set(__all__))
