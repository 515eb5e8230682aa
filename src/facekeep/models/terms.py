"""Which models may be used: free ones, and those that the user allows by name."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, get_args

from facekeep.errors import ConfigError, Hint
from facekeep.models.catalog import damaged_models, list_models
from facekeep.models.model_entry import ModelEntry, Terms

__all__ = ["describe_terms", "require_allowed", "require_known_terms"]

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
        ConfigError: The model's terms are not among these, or one of these is no such word.
    """
    words = require_known_terms(terms)
    allowed = {each for word in ("free", *words) for each in _ALLOWED.get(word, ())}
    if entry.terms not in allowed and entry.name not in words:
        raise ConfigError(
            f"model {entry.name!r} {_SAID[entry.terms]}, and the terms in use are {terms!r};"
            f' allow it by its name: terms = "{entry.name}"',
            Hint("terms", {}),
        )


def require_known_terms(terms: str) -> list[str]:
    """Split what the user allows into words, each of which is a kind of terms or a known model.

    Raises:
        ConfigError: There is another one.
    """
    words = [each for word in terms.split(",") if (each := word.strip())]
    if named := [word for word in words if word not in _ALLOWED]:
        models = [each.name for each in list_models()]
        models += [each.name for each in damaged_models()]
        for word in named:
            if word not in models:
                raise ConfigError(
                    f"terms {word!r} are neither {', '.join(_ALLOWED)} nor a known model:"
                    f" {', '.join(sorted(models))}"
                )
    return words
