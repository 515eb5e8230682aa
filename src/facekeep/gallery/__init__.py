"""The gallery: who is enrolled, kept in one SQLite file, searched, encrypted on request."""

from facekeep.gallery.keys import Key, generate_key, load_key
from facekeep.gallery.sqlite.gallery import Gallery
from facekeep.gallery.sqlite.restore import Restored, restore
from facekeep.gallery.store import GalleryStore
from facekeep.gallery.types import (
    AuditEntry,
    Consent,
    Finding,
    GalleryInfo,
    Hit,
    Imported,
    NewTemplate,
    Person,
    Space,
    Template,
)

__all__ = [
    "AuditEntry",
    "Consent",
    "Finding",
    "Gallery",
    "GalleryInfo",
    "GalleryStore",
    "Hit",
    "Imported",
    "Key",
    "NewTemplate",
    "Person",
    "Restored",
    "Space",
    "Template",
    "generate_key",
    "load_key",
    "restore",
]
