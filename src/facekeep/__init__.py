"""facekeep: face recognition that runs, whole, on the device that sees the face."""

from facekeep._version import __version__

__all__ = ["__version__"]
