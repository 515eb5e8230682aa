"""The settings of a run: options, environment variables, a file, defaults."""

from facekeep.config.settings import Settings, load_settings

__all__ = ["Settings", "load_settings"]
