"""Which models may be used: free ones, and those that the user allows by name."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, get_args

from facekeep.errors import ConfigError, Hint
from facekeep.models.model_entry import ModelEntry, Terms

__all__ = ["describe_terms", "require_allowed"]

_ALLOWED: Final = {
    "free": ("free", "own"),
    "research": ("free", "own", "research"),
    "any": ("free", "own", "research", "disputed"),
}
_SAID: Final = {
    "research": "is for research only",
    "disputed": "is of disputed terms (its license, or where it comes from, is not clear)",
}


def describe_terms(entries: Sequence[ModelEntry]) -> str:
    """Name the models under each kind of terms, as in ``free: sface, yunet``."""
    parts = []
    for word in get_args(Terms):
        if names := sorted({each.name for each in entries if each.terms == word}):
            parts.append(f"{word}: {', '.join(names)}")
    return "; ".join(parts)


def require_allowed(entry: ModelEntry, terms: str) -> None:
    """Make sure that a model may be used.

    Free models and the user's own are always allowed. ``research`` also allows models for research,
    ``any`` allows all models, and a name allows that model.

    Args:
        entry: The model.
        terms: What the user allows: ``free``, ``research``, ``any`` and names of models,
            separated by commas.

    Raises:
        ConfigError: The model's terms are not among these.
    """
    words = [each.strip() for each in terms.split(",")]
    allowed = {each for word in ("free", *words) for each in _ALLOWED.get(word, ())}
    if entry.terms not in allowed and entry.name not in words:
        raise ConfigError(
            f"model {entry.name!r} {_SAID[entry.terms]}, and the terms in use are {terms!r};"
            f' allow it by its name: terms = "{entry.name}"',
            Hint("terms", {}),
        )
