"""What a step of a chain makes, and the folder that keeps it so that the chain can go on."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from msgspec import structs

from facekeep.models import FileEntry, ModelEntry, model_cost
from facekeep.models.files import cannot_write, keep

__all__ = ["StepResult", "Workspace", "compute_digest", "write_model"]


@dataclass(frozen=True, slots=True)
class StepResult:
    """A network that a step made.

    Attributes:
        content: Its ONNX file.
        summary: What was done, in a few words.
        remarks: What its user should know, a clause each.
        details: What was done, for programs: anything that JSON holds.
        params: The number of its parameters; None for as many as before.
        input_size: The side of the faces that it takes in pixels; None for the same as before.
    """

    content: bytes
    summary: str
    remarks: tuple[str, ...] = ()
    details: dict[str, Any] = field(default_factory=dict)
    params: int | None = None
    input_size: int | None = None


def compute_digest(*parts: Any) -> str:
    """Return the digest of what a result depends on: anything that JSON holds."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()


def write_model(
    result: StepResult, like: ModelEntry, folder: Path, name: str = "trial"
) -> ModelEntry:
    """Write a network into a folder, and describe it like the model that it was made from.

    Args:
        result: The network.
        like: The model that it was made from.
        folder: Where to.
        name: What it is called.

    Returns:
        An entry that can be opened like those of the catalog; without thresholds and figures,
        which are another network's.

    Raises:
        ModelError: The folder cannot be written.
        StorageFull: There is no room.
    """
    content = result.content
    file = FileEntry(f"{name}.onnx", hashlib.sha256(content).hexdigest(), len(content))
    keep(folder / file.name, content)
    return structs.replace(
        like,
        name=name,
        architecture="onnx",
        gamma=None,
        files=(file,),
        folder=folder,
        runtime="onnxruntime",
        params=result.params or like.params or model_cost(like).params,
        input_size=result.input_size or like.input_size,
        max_batch=None,
        thresholds=(),
        comparisons=0,
        calibrated_on="",
        calibration_command="",
        accuracy=(),
    )


class Workspace:
    """The folder of a chain. It keeps the network that each step made.

    A file that is damaged, or that other steps or data made, counts as missing.

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

    def load(self, name: str, key: str) -> StepResult | None:
        """Return what a step made, if it is the same step.

        Args:
            name: The network's.
            key: The digest of all that the step depends on.
        """
        try:
            document = json.loads((self.path / f"{name}.json").read_text())
            content = (self.path / f"{name}.onnx").read_bytes()
            if (document["key"], document["sha256"]) != (key, hashlib.sha256(content).hexdigest()):
                return None
            made = document["made"]
            made |= {"summary": made.pop("told"), "remarks": tuple(made["remarks"])}
            return StepResult(content, **made)
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return None

    def save(self, name: str, key: str, result: StepResult) -> None:
        """Keep what a step made: first the network, so that the document always has its network.

        Raises:
            ModelError: The folder cannot be written.
            StorageFull: There is no room.
        """
        keep(self.path / f"{name}.onnx", result.content)
        made = dataclasses.asdict(result)
        sha256 = hashlib.sha256(made.pop("content")).hexdigest()
        document = {"key": key, "sha256": sha256, "made": {"told": made.pop("summary"), **made}}
        keep(self.path / f"{name}.json", json.dumps(document, indent=1).encode())
