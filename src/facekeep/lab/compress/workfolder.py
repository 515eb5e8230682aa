"""The folder of a chain: what each step made and what was measured, so that it can go on."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

from facekeep.lab.compress.made import Made
from facekeep.lab.compress.measure import Accuracy, Measuring
from facekeep.models.files import cannot_write, keep

__all__ = ["WorkFolder", "digest_of"]

_MEASURED: Final = "measured.json"


def digest_of(*parts: Any) -> str:
    """Digest what a result depends on: anything that JSON holds."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()


class WorkFolder:
    """Keeps the networks that steps made, and the accuracies that were measured.

    What is damaged, or was made by other steps or from other data, counts as not there.

    Args:
        path: The folder; it is made where it is missing.

    Raises:
        ModelError: It cannot be made.
        StorageFull: There is no room.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise cannot_write(path, error) from error

    def find(self, name: str, key: str) -> Made | None:
        """Return what a step made, if it is the same step.

        Args:
            name: The network's.
            key: The digest of all that the step depends on.
        """
        try:
            facts = json.loads((self.path / f"{name}.json").read_text())
            content = (self.path / f"{name}.onnx").read_bytes()
            if (facts["key"], facts["sha256"]) != (key, hashlib.sha256(content).hexdigest()):
                return None
            return Made(content, **{**facts["made"], "remarks": tuple(facts["made"]["remarks"])})
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def keep(self, name: str, key: str, made: Made) -> None:
        """Keep what a step made: the network first, so that the facts stand for a whole one.

        Raises:
            ModelError: The folder cannot be written.
            StorageFull: There is no room.
        """
        keep(self.path / f"{name}.onnx", made.content)
        told = {each: value for each, value in asdict(made).items() if each != "content"}
        sha256 = hashlib.sha256(made.content).hexdigest()
        facts = {"key": key, "sha256": sha256, "made": told}
        keep(self.path / f"{name}.json", json.dumps(facts, indent=1).encode())

    def recall(self, measuring: Measuring) -> None:
        """Take up the accuracies that were measured before on the same images."""
        try:
            found = json.loads((self.path / _MEASURED).read_text())
            if found["trial"] == _trial(measuring):
                known = {key: Accuracy(**value) for key, value in found["accuracies"].items()}
                measuring.known.update(known)
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return

    def remember(self, measuring: Measuring) -> None:
        """Keep the accuracies; raises as `keep` does."""
        known = {key: asdict(value) for key, value in measuring.known.items()}
        document = {"trial": _trial(measuring), "accuracies": known}
        keep(self.path / _MEASURED, json.dumps(document, indent=1).encode())


def _trial(measuring: Measuring) -> str:
    """Digest all that the accuracies depend on but the network."""
    trial = measuring.trial
    samples = (
        None if trial.faces is None else trial.faces.samples,
        None if trial.people is None else trial.people.samples,
        None if trial.lfw is None else trial.lfw.samples,
    )
    names = [None if each is None else [each.names, each.aligned] for each in samples]
    return digest_of(measuring.original.files[0].sha256, names)
