"""The gallery: who is enrolled, kept in one SQLite file, searched, encrypted on request."""

from facekeep.gallery.exchange import Imported
from facekeep.gallery.gallery import Gallery
from facekeep.gallery.keys import Key, generate_key, load_key
from facekeep.gallery.records import (
    AuditEntry,
    Consent,
    Finding,
    GalleryInfo,
    Hit,
    NewTemplate,
    Person,
    Space,
    Template,
)
from facekeep.gallery.restore import Restored, restore

__all__ = [
    "AuditEntry",
    "Consent",
    "Finding",
    "Gallery",
    "GalleryInfo",
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
