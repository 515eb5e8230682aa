"""facekeep: face recognition that runs, whole, on the device that sees the face.

In one line each, with your own gallery and settings::

    import facekeep

    facekeep.enroll("Ada Lovelace", ["ada1.jpg", "ada2.jpg"])
    for face in facekeep.identify("party.jpg"):
        print(face)

As an object, of which a program may have several::

    from facekeep import FaceEngine

    with FaceEngine("people.db") as engine:
        engine.enroll("Ada Lovelace", ["ada1.jpg", "ada2.jpg"])
        for face in engine.identify("party.jpg"):
            print(face.name or "unknown", face.similarity)

Everything public can be imported from here. Names are loaded when they are first used, so that
importing the package costs next to nothing.
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
    from facekeep.errors import (
        CameraError,
        ConfigError,
        DependencyError,
        EventLogError,
        ExportInvalid,
        ExportKeyMissing,
        FacekeepError,
        GalleryBusy,
        GalleryCorrupt,
        GalleryError,
        GalleryKeyError,
        GalleryKeyMissing,
        GalleryNotFound,
        GalleryReadOnly,
        GalleryVersion,
        Hint,
        ImageError,
        InputError,
        ModelCorrupt,
        ModelError,
        ModelNotFound,
        NameConflict,
        NotAGallery,
        PersonExists,
        PersonNotFound,
        PullError,
        RuntimeUnavailable,
        SinkError,
        SinkRefused,
        SpaceMismatch,
        StorageFull,
        TemplateTampered,
    )
    from facekeep.events.delivery import Delivery
    from facekeep.events.event import Event
    from facekeep.events.event_log import EventLog, default_event_log_path, erase_person_events
    from facekeep.events.mqtt import MqttSink
    from facekeep.events.sinks import CommandSink, CsvSink, Sink
    from facekeep.events.visits import TrackSighting, Visits, expected_false_names
    from facekeep.events.webhook import WebhookSink
    from facekeep.factory import open_engine
    from facekeep.gallery import Consent, Gallery, NewTemplate, Person, Space, load_key
    from facekeep.gallery.store import GalleryStore
    from facekeep.liveness.active import ActiveLiveness
    from facekeep.liveness.checking import check_liveness
    from facekeep.liveness.evidence import LivenessResult
    from facekeep.liveness.passive import LivenessNetwork, PassiveLiveness
    from facekeep.pipeline.align import align_batch, similarity_transform
    from facekeep.pipeline.decide import threshold
    from facekeep.pipeline.detect import Detector
    from facekeep.pipeline.embed import Embedder
    from facekeep.pipeline.enrollment import Enrollment, Rejection
    from facekeep.pipeline.image import from_bgr, list_images, load_image, save_image
    from facekeep.pipeline.quality import Reason, assess, review
    from facekeep.runtime import RuntimeOptions
    from facekeep.shortcuts import detect, enroll, identify, verify
    from facekeep.types import (
        Calibrated,
        Candidate,
        Decision,
        Face,
        FaceDetector,
        FaceEmbedder,
        Observation,
        Quality,
        Threshold,
        Verification,
    )
    from facekeep.video.camera import Camera, Frame
    from facekeep.video.guided_enrollment import Guidance, GuidedEnrollment, Shot
    from facekeep.video.live import CameraStatus, LiveOptions, LiveSession
    from facekeep.video.page import LivePage
    from facekeep.video.recorder import Recorder
    from facekeep.video.tracker import Track, Tracker

_MODULES = {
    "apps.migrate": ("migrate_gallery",),
    "apps.photo_cache": ("PhotoCache",),
    "apps.photo_folders": (
        "cluster_folder",
        "search_folder",
        "search_person",
    ),
    "config": (
        "Settings",
        "load_settings",
    ),
    "diagnosis": (
        "Check",
        "doctor",
    ),
    "draw": (
        "annotate",
        "contact_sheet",
    ),
    "engine": ("FaceEngine",),
    "errors": (
        "CameraError",
        "ConfigError",
        "DependencyError",
        "EventLogError",
        "ExportInvalid",
        "ExportKeyMissing",
        "FacekeepError",
        "GalleryBusy",
        "GalleryCorrupt",
        "GalleryError",
        "GalleryKeyError",
        "GalleryKeyMissing",
        "GalleryNotFound",
        "GalleryReadOnly",
        "GalleryVersion",
        "Hint",
        "ImageError",
        "InputError",
        "ModelCorrupt",
        "ModelError",
        "ModelNotFound",
        "NameConflict",
        "NotAGallery",
        "PersonExists",
        "PersonNotFound",
        "PullError",
        "RuntimeUnavailable",
        "SinkError",
        "SinkRefused",
        "SpaceMismatch",
        "StorageFull",
        "TemplateTampered",
    ),
    "events.delivery": ("Delivery",),
    "events.event": ("Event",),
    "events.event_log": (
        "EventLog",
        "default_event_log_path",
        "erase_person_events",
    ),
    "events.mqtt": ("MqttSink",),
    "events.sinks": (
        "CommandSink",
        "CsvSink",
        "Sink",
    ),
    "events.visits": (
        "TrackSighting",
        "Visits",
        "expected_false_names",
    ),
    "events.webhook": ("WebhookSink",),
    "factory": ("open_engine",),
    "gallery": (
        "Consent",
        "Gallery",
        "NewTemplate",
        "Person",
        "Space",
        "load_key",
    ),
    "gallery.store": ("GalleryStore",),
    "liveness.active": ("ActiveLiveness",),
    "liveness.checking": ("check_liveness",),
    "liveness.evidence": ("LivenessResult",),
    "liveness.passive": (
        "LivenessNetwork",
        "PassiveLiveness",
    ),
    "pipeline.align": (
        "align_batch",
        "similarity_transform",
    ),
    "pipeline.decide": ("threshold",),
    "pipeline.detect": ("Detector",),
    "pipeline.embed": ("Embedder",),
    "pipeline.enrollment": (
        "Enrollment",
        "Rejection",
    ),
    "pipeline.image": (
        "from_bgr",
        "list_images",
        "load_image",
        "save_image",
    ),
    "pipeline.quality": (
        "Reason",
        "assess",
        "review",
    ),
    "runtime": ("RuntimeOptions",),
    "shortcuts": (
        "detect",
        "enroll",
        "identify",
        "verify",
    ),
    "types": (
        "Calibrated",
        "Candidate",
        "Decision",
        "Face",
        "FaceDetector",
        "FaceEmbedder",
        "Observation",
        "Quality",
        "Threshold",
        "Verification",
    ),
    "video.camera": (
        "Camera",
        "Frame",
    ),
    "video.guided_enrollment": ("Guidance", "GuidedEnrollment", "Shot"),
    "video.live": (
        "CameraStatus",
        "LiveOptions",
        "LiveSession",
    ),
    "video.page": ("LivePage",),
    "video.recorder": ("Recorder",),
    "video.tracker": (
        "Track",
        "Tracker",
    ),
}
_MODULE_OF = {name: module for module, names in _MODULES.items() for name in names}

__all__ = [
    "ActiveLiveness",
    "Calibrated",
    "Camera",
    "CameraError",
    "CameraStatus",
    "Candidate",
    "Check",
    "CommandSink",
    "ConfigError",
    "Consent",
    "CsvSink",
    "Decision",
    "Delivery",
    "DependencyError",
    "Detector",
    "Embedder",
    "Enrollment",
    "Event",
    "EventLog",
    "EventLogError",
    "ExportInvalid",
    "ExportKeyMissing",
    "Face",
    "FaceDetector",
    "FaceEmbedder",
    "FaceEngine",
    "FacekeepError",
    "Frame",
    "Gallery",
    "GalleryBusy",
    "GalleryCorrupt",
    "GalleryError",
    "GalleryKeyError",
    "GalleryKeyMissing",
    "GalleryNotFound",
    "GalleryReadOnly",
    "GalleryStore",
    "GalleryVersion",
    "Guidance",
    "GuidedEnrollment",
    "Hint",
    "ImageError",
    "InputError",
    "LiveOptions",
    "LivePage",
    "LiveSession",
    "LivenessNetwork",
    "LivenessResult",
    "ModelCorrupt",
    "ModelError",
    "ModelNotFound",
    "MqttSink",
    "NameConflict",
    "NewTemplate",
    "NotAGallery",
    "Observation",
    "PassiveLiveness",
    "Person",
    "PersonExists",
    "PersonNotFound",
    "PhotoCache",
    "PullError",
    "Quality",
    "Reason",
    "Recorder",
    "Rejection",
    "RuntimeOptions",
    "RuntimeUnavailable",
    "Settings",
    "Shot",
    "Sink",
    "SinkError",
    "SinkRefused",
    "Space",
    "SpaceMismatch",
    "StorageFull",
    "TemplateTampered",
    "Threshold",
    "Track",
    "TrackSighting",
    "Tracker",
    "Verification",
    "Visits",
    "WebhookSink",
    "__version__",
    "align_batch",
    "annotate",
    "assess",
    "check_liveness",
    "cluster_folder",
    "contact_sheet",
    "default_event_log_path",
    "detect",
    "doctor",
    "enroll",
    "erase_person_events",
    "expected_false_names",
    "from_bgr",
    "identify",
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
    "verify",
]


def __getattr__(name: str) -> object:
    if name not in _MODULE_OF:
        raise AttributeError(f"module 'facekeep' has no attribute {name!r}")
    return getattr(importlib.import_module(f"facekeep.{_MODULE_OF[name]}"), name)


def __dir__() -> list[str]:
    return sorted(set(globals()) | set(__all__))
