"""What a step of compression makes."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

__all__ = ["Made"]


@dataclass(frozen=True, slots=True)
class Made:
    """A network that a step made.

    Attributes:
        content: Its ONNX file.
        told: What was done, in a few words.
        remarks: What its user should know, a clause each.
        details: What was done, for programs: anything that JSON holds.
        params: The number of its parameters; None for as many as before.
        input_size: The side of the faces that it takes in pixels; None for the same as before.
    """

    content: bytes
    told: str
    remarks: tuple[str, ...] = ()
    details: dict[str, Any] = field(default_factory=dict)
    params: int | None = None
    input_size: int | None = None
