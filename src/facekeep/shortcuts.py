"""The first minute: one-line functions that use the user's own gallery and settings.

The settings are those of the command line: environment variables over the configuration file over
defaults. The functions share one engine for each settings; it is opened by the first call, which
therefore takes longer, and closed at the end of the process. Threads may call them at the same
time. Programs that do more open a ``FaceEngine`` of their own.
"""

from __future__ import annotations

import atexit
import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

from facekeep._internal.fork import Forking, watch
from facekeep.config import Settings, load_settings
from facekeep.factory import open_engine

if TYPE_CHECKING:
    from facekeep.engine import FaceEngine
    from facekeep.pipeline.enrollment import Enrollment
    from facekeep.pipeline.image import ImageSource
    from facekeep.types import Face, Verification

__all__ = ["detect", "enroll", "identify", "verify"]

_Use = Literal["none", "read", "write"]


def detect(photo: ImageSource) -> list[Face]:
    """Find the faces of a photo, the largest first, with landmarks and quality.

    Args:
        photo: A path, the bytes of a picture file, a binary stream, a Pillow image, or a
            uint8 ``(H, W, 3)`` RGB array.

    Raises:
        ImageError: The photo cannot be read.
        ConfigError: A setting cannot be used.
    """
    return _engines.get("none").detect(photo)


def verify(first: ImageSource, second: ImageSource, *, any_pair: bool = False) -> Verification:
    """Decide whether two photos show the same person; see ``FaceEngine.verify``.

    Args:
        first: A photo, as for ``detect``; of several faces the largest is compared.
        second: Another.
        any_pair: Compare every face of one photo with every face of the other.

    Raises:
        ImageError: A photo cannot be read.
        ConfigError: A setting cannot be used.
    """
    return _engines.get("none").verify(first, second, any_pair=any_pair)


def identify(photo: ImageSource, *, top_k: int = 5, collage: bool = False) -> list[Face]:
    """Find out who the people in a photo are, among those in the user's gallery.

    Args:
        photo: A photo, as for ``detect``.
        top_k: The maximum number of candidates of each face.
        collage: The photo may show a person several times.

    Returns:
        The faces, each with its ``decision``; ``Face.name`` is None for somebody unknown.

    Raises:
        ImageError: The photo cannot be read.
        GalleryNotFound: Nobody was ever enrolled.
        ConfigError: A setting cannot be used.
    """
    return _engines.get("read").identify(photo, top_k=top_k, collage=collage)


def enroll(
    name: str,
    photos: ImageSource | Sequence[ImageSource],
    *,
    largest: bool = False,
    new_person: bool = False,
) -> Enrollment:
    """Enroll a person in the user's gallery, which is created where there is none.

    Args:
        name: The person; an existing one gains templates.
        photos: One or more photos, as for ``detect``, with the person as the main face.
        largest: Take the largest face of each photo, though others compete with it.
        new_person: This is somebody else than those who look alike or whose names do.

    Returns:
        What was enrolled, and which photos were not, with the reason; see ``FaceEngine.enroll``.

    Raises:
        ImageError: None of the photos can be read.
        GalleryError: The gallery cannot be used.
        ConfigError: A setting cannot be used.
    """
    engine = _engines.get("write")
    return engine.enroll(name, photos, largest=largest, new_person=new_person)


class _Engines(Forking):
    """The engines of this process; those of one embedder and detector share their networks."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._engines: dict[tuple[object, ...], FaceEngine] = {}
        watch(self)
        atexit.register(self.close)

    def after_fork(self, *, child: bool) -> None:
        if child:
            self._lock = threading.Lock()

    def get(self, use: _Use) -> FaceEngine:
        """Return the engine for the present settings and a use of the gallery."""
        settings = load_settings()
        networks = _network_settings(settings)
        place = (settings.gallery.absolute(), settings.key) if use != "none" else ()
        with self._lock:
            engine = self._engines.get((networks, use, *place))
            if engine is None:
                engine = open_engine(settings, use)
                for known, other in self._engines.items():
                    if known[0] == networks:
                        engine.share_networks(other)
                        break
                self._engines[networks, use, *place] = engine
            return engine

    def close(self) -> None:
        with self._lock:
            for engine in self._engines.values():
                engine.close()
            self._engines.clear()


def _network_settings(settings: Settings) -> tuple[object, ...]:
    """Return all settings but those of the gallery, which there may be none of."""
    names = settings.__struct_fields__
    return tuple(getattr(settings, name) for name in names if name not in ("gallery", "key"))


_engines = _Engines()
