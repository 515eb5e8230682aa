"""The recipe of a training run: one table of options.

The fields of `Recipe` say everything there is to say about an option. The command line's options,
the keys of ``recipe.toml`` and the checks of both are derived from them.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from facekeep.config import values as kinds
from facekeep.config.values import Kind

__all__ = ["OPTIONS", "Option", "Recipe"]


def _number(low: float, high: float) -> Kind:
    return dataclasses.replace(kinds.rate(low, high), metavar="X")


def _named(metavar: str, kind: Kind) -> Kind:
    return dataclasses.replace(kind, metavar=metavar)


def _texts(metavar: str, expects: str) -> Kind:
    """A list of printable texts; on the command line the option is repeated."""
    one = kinds.text(metavar, expects)

    def check(value: object) -> tuple[str, ...]:
        if not isinstance(value, list | tuple):
            raise ValueError
        return tuple(one.check(item) for item in value)

    return Kind(metavar, f"a list, each {expects}", lambda text: [text], check)


def _about(doc: str, kind: Kind, default_text: str = "") -> dict[str, Any]:
    """Describe an option; ``default_text`` says in words a default that depends on others."""
    return {"doc": doc, "kind": kind, "default_text": default_text}


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """Everything that decides what a run learns; attributes are documented in `OPTIONS`.

    None stands for a default that depends on the data or on other options; see `plan.settle`.
    """

    data: Path = field(
        metadata=_about(
            "Training faces, aligned: a folder per person, RecordIO or WebDataset tars.",
            _named("DIR", kinds.path("a path")),
        )
    )
    labels: Path | None = field(
        default=None,
        metadata=_about(
            "Who is on each picture of --data, where the data does not say it itself.",
            _named("FILE", kinds.path("a path of a file")),
            "as the data says",
        ),
    )
    max_corrupt: float = field(
        default=0.01,
        metadata=_about(
            "Share of the pictures that may be damaged; more of them end the run.",
            _number(0.0, 1.0),
        ),
    )
    arch: str | None = field(
        default=None,
        metadata=_about(
            "Network: edgeface-base, -s, -xs or -xxs.",
            kinds.text("ARCH", "the name of an architecture"),
            "that of --from, else edgeface-xxs",
        ),
    )
    gamma: float | None = field(
        default=None,
        metadata=_about(
            "Rank of the low-rank layers as a share of their width; 0: full rank, also where --from"
            " has low-rank layers.",
            _number(0.0, 1.0),
            "that of --from, else full rank",
        ),
    )
    input_size: int | None = field(
        default=None,
        metadata=_about(
            "Side of the faces in pixels: 112, 96, 80 or 64.",
            kinds.whole(32, 512),
            "that of --from, else 112",
        ),
    )
    from_: str | None = field(
        default=None,
        metadata=_about(
            "Start from these weights: a model's name, an architecture's, or a .pt or .onnx file.",
            kinds.text("NAME|FILE", "a model's name or a file"),
            "from scratch",
        ),
    )
    head: str = field(
        default="cosface",
        metadata=_about(
            "Loss by identity: softmax, cosface, arcface, or none to learn from a teacher alone.",
            _named("HEAD", kinds.choice("softmax", "cosface", "arcface", "none")),
        ),
    )
    margin: float | None = field(
        default=None,
        metadata=_about("Margin of the head.", _number(0.0, 2.0), "0.4 cosface, 0.5 arcface"),
    )
    scale: float = field(
        default=64.0,
        metadata=_about("Scale of the cosines in the head.", _number(1.0, 1024.0)),
    )
    sample_rate: float = field(
        default=1.0,
        metadata=_about(
            "Share of the people that a step compares with; below 1: PartialFC.",
            _number(0.0001, 1.0),
        ),
    )
    teacher: tuple[str, ...] = field(
        default=(),
        metadata=_about(
            "Learn from this model's embeddings too: its name, or an ONNX or .pt file; repeatable.",
            _texts("NAME|FILE", "a model's name or a file"),
        ),
    )
    teacher_sees: str = field(
        default="changed",
        metadata=_about(
            "What teachers embed: each changed crop of each step in the size that is trained for,"
            " the same in full size, or every face once, plain, which is far quicker on a CPU.",
            _named("WHICH", kinds.choice("changed", "full", "plain")),
        ),
    )
    teacher_weight: float = field(
        default=1.0,
        metadata=_about("Weight of the teachers' loss beside the head's.", _number(0.0, 1e6)),
    )
    augment: str = field(
        default="published",
        metadata=_about(
            "Random changes to faces: published (those of EdgeFace, and a little turning and"
            " shifting), strong (more of all, light, JPEG and patches too), or none.",
            _named("HOW", kinds.choice("published", "strong", "none")),
        ),
    )
    epochs: int | None = field(
        default=None,
        metadata=_about(
            "How often each face is seen.", kinds.whole(1, 100_000), "40, with --from 10"
        ),
    )
    steps: int | None = field(
        default=None,
        metadata=_about(
            "Length of the run in steps, instead of --epochs.",
            kinds.whole(1, 1_000_000_000),
            "by --epochs",
        ),
    )
    batch: int = field(
        default=128,
        metadata=_about(
            "Faces in a step, those of all processes together.", kinds.whole(2, 1_000_000)
        ),
    )
    optimizer: str = field(
        default="adamw",
        metadata=_about(
            "What turns gradients into steps: adamw, or muon for the matrices inside the network,"
            " with adamw for the rest, which learns more from each face.",
            _named("NAME", kinds.choice("adamw", "muon")),
        ),
    )
    lr: float | None = field(
        default=None,
        metadata=_about("Highest learning rate.", _number(1e-9, 10.0), "5e-4, with --from 2e-5"),
    )
    weight_decay: float = field(
        default=0.05, metadata=_about("Weight decay of matrices and kernels.", _number(0.0, 10.0))
    )
    warmup: int | None = field(
        default=None,
        metadata=_about(
            "Steps in which the learning rate rises.",
            kinds.whole(0, 1_000_000_000),
            "a twentieth of the run",
        ),
    )
    power: float = field(
        default=2.0,
        metadata=_about("Power of the learning rate's polynomial decay.", _number(0.0, 20.0)),
    )
    clip: float = field(
        default=5.0,
        metadata=_about("Longest gradient of the network; 0: any.", _number(0.0, 1e6)),
    )
    ema: float = field(
        default=0.999,
        metadata=_about(
            "Decay of the averaged weights, which are what is kept; 0: no average.",
            _number(0.0, 0.999999),
        ),
    )
    layer_scale: float = field(
        default=1.0,
        metadata=_about("Initial layer scale when training from scratch.", _number(1e-9, 10.0)),
    )
    precision: str = field(
        default="auto",
        metadata=_about(
            "Arithmetic: auto (bf16 on a GPU that has it), fp32, bf16 or fp16.",
            _named("KIND", kinds.choice("auto", "fp32", "bf16", "fp16")),
        ),
    )
    rounding: Path | None = field(
        default=None,
        metadata=_about(
            "Compute with numbers rounded as this file says, to fit 8 bits; facekeep compress"
            " quantize --heal writes it. Needs fp32.",
            _named("FILE", kinds.path("a path of a file")),
            "none are rounded",
        ),
    )
    device: str = field(
        default="auto",
        metadata=_about(
            "Where to train: auto (a GPU where there is one), cpu or cuda.",
            _named("DEVICE", kinds.choice("auto", "cpu", "cuda")),
        ),
    )
    workers: int | None = field(
        default=None,
        metadata=_about(
            "Processes that read and decode, for each that trains.",
            kinds.whole(0, 1024),
            "the cores less one, 8 at most",
        ),
    )
    seed: int = field(
        default=0, metadata=_about("Start of all random numbers.", kinds.whole(0, 2**31 - 1))
    )
    holdout: int | None = field(
        default=None,
        metadata=_about(
            "People kept out of training to measure with; 0: none.",
            kinds.whole(0, 1_000_000),
            "a tenth, 500 at most; none of fewer than 40 people",
        ),
    )
    eval_every: int | None = field(
        default=None,
        metadata=_about(
            "Steps between measurements on the people kept out.",
            kinds.whole(1, 1_000_000_000),
            "a twentieth of the run",
        ),
    )
    checkpoint_every: int | None = field(
        default=None,
        metadata=_about(
            "Steps between checkpoints.",
            kinds.whole(1, 1_000_000_000),
            "a twentieth of the run",
        ),
    )


@dataclass(frozen=True, slots=True)
class Option:
    """One row of the table of options.

    Attributes:
        field: The attribute of `Recipe`.
        doc: One sentence.
        kind: What values it takes, and how one is read from text.
        default: Its default; None where ``default_text`` says it in words.
        default_text: The default in words, empty where there is none.
    """

    field: str
    doc: str
    kind: Kind
    default: Any
    default_text: str

    @property
    def name(self) -> str:
        """The key in ``recipe.toml``."""
        return self.field.removesuffix("_")

    @property
    def flag(self) -> str:
        """The option of the command line."""
        return "--" + self.name.replace("_", "-")


OPTIONS: Final[Mapping[str, Option]] = {
    option.name: option
    for option in (
        Option(
            item.name,
            item.metadata["doc"],
            item.metadata["kind"],
            None if item.default is dataclasses.MISSING else item.default,
            item.metadata["default_text"],
        )
        for item in dataclasses.fields(Recipe)
    )
}
"""The table of options, by their key in ``recipe.toml``."""
