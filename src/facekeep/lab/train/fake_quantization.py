"""Quantization-aware training: learning with numbers rounded to 8 bits (arXiv 1712.05877).

In the forward pass all that layers in 8 bits would round is rounded as ONNX Runtime does it: their
weights, a step for each output; their inputs; the outputs of convolutions. Gradients pass as if
nothing had been rounded, but for numbers beyond the ends of their range. The steps of activations
are fixed before or found anew for each face, those of weights follow the weights: there is no state
besides the network's own.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any, Final, Literal

import torch
from msgspec import Meta, MsgspecError, Struct, to_builtins
from msgspec.json import decode
from torch import Tensor, nn
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from facekeep._internal.files import printable, why
from facekeep._internal.tables import check_fields
from facekeep.errors import InputError

__all__ = [
    "ActivationGrid",
    "FakeQuantization",
    "FakeQuantizationMode",
    "QuantizedLayer",
    "read_fake_quantization",
]

_LEVELS: Final = 255  # steps between the ends of an activation's range


class ActivationGrid(Struct, frozen=True, forbid_unknown_fields=True):
    """The numbers that an activation is rounded to: 256 in a row, one of which is 0.

    Attributes:
        step: How far they lie apart.
        zero: How many of them are below 0.
    """

    step: Annotated[float, Meta(gt=0, le=sys.float_info.max)]
    zero: Annotated[int, Meta(ge=0, le=_LEVELS)]

    def __post_init__(self) -> None:
        check_fields(self)


class QuantizedLayer(Struct, frozen=True, forbid_unknown_fields=True):
    """What is rounded around a layer besides its weights.

    Attributes:
        input: What its input is rounded to; None for a grid found anew for each face.
        output: What its output is rounded to; None where it is not.
    """

    input: ActivationGrid | None = None
    output: ActivationGrid | None = None


class FakeQuantization(Struct, frozen=True, forbid_unknown_fields=True):
    """What is rounded in a network.

    Attributes:
        layers: The layers in 8 bits, by the names of their weights.
        most: The largest size of a rounded weight: 127, or 64 where they have 7 bits.
    """

    layers: Mapping[str, QuantizedLayer]
    most: Literal[127, 64] = 127

    def serialize(self) -> bytes:
        """Return it as the file that `read_fake_quantization` reads."""
        return (json.dumps(to_builtins(self), indent=1) + "\n").encode()


def read_fake_quantization(path: Path) -> FakeQuantization:
    """Read what is rounded.

    Raises:
        InputError: It cannot be read, or is no such file.
    """
    try:
        return decode(path.read_bytes(), type=FakeQuantization)
    except OSError as error:
        raise InputError(f"cannot read {printable(path)}: {why(error)}") from error
    except (MsgspecError, RecursionError, UnicodeDecodeError) as error:
        raise InputError(
            f"{printable(path)} does not say what is rounded: give the file that fine-tuning by"
            " quantization wrote",
            "fine_tune_writes_rounding",
        ) from error


class FakeQuantizationMode(TorchFunctionMode):
    """A context in which a network computes with rounded numbers, float32 in and out.

    Args:
        model: The network; modules that share its parameters compute so too.
        rounding: What is rounded.

    Raises:
        InputError: It has no such layers.
    """

    def __init__(self, model: nn.Module, rounding: FakeQuantization) -> None:
        super().__init__()
        parameters = dict(model.named_parameters())
        missing = [name for name in rounding.layers if name not in parameters]
        if missing:
            raise InputError(
                f"what is rounded are another network's layers: this one has no {missing[0]!r}"
            )
        # By identity: tensors compare number by number.
        self._layers = {id(parameters[name]): each for name, each in rounding.layers.items()}
        self._most = rounding.most

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        """Round around linear layers and convolutions, and leave all else alone."""
        if func in (functional.linear, torch.conv2d) and id(args[1]) in self._layers:
            layer, (x, weight, *rest) = self._layers[id(args[1])], args
            output = func(_activation(x, layer.input), _weight(weight, self._most), *rest)
            return output if layer.output is None else _activation(output, layer.output)
        return func(*args, **(kwargs or {}))


def _activation(x: Tensor, grid: ActivationGrid | None) -> Tensor:
    """Round to a grid, or for each face (the first axis) to one that just holds its numbers."""
    if grid is not None:
        return _round(x, x.new_tensor(grid.step), -grid.zero, _LEVELS - grid.zero)
    axes = tuple(range(1, x.ndim))
    low = x.detach().amin(axes, keepdim=True).clamp(max=0)
    high = x.detach().amax(axes, keepdim=True).clamp(min=0)
    step = ((high - low) / _LEVELS).clamp(min=torch.finfo(x.dtype).tiny)
    below = (-low / step).round()
    return _round(x, step, -below, _LEVELS - below)


def _weight(weight: Tensor, most: int) -> Tensor:
    """Round with a step for each output, the first axis, so that the largest is a whole number."""
    largest = weight.detach().abs().amax(tuple(range(1, weight.ndim)), keepdim=True)
    step = (largest / most).clamp(min=torch.finfo(weight.dtype).tiny)
    return _round(weight, step, -most, most)


def _round(x: Tensor, step: Tensor, low: Tensor | float, high: Tensor | float) -> Tensor:
    rounded: Tensor = _Round.apply(x, step, low, high)  # type: ignore[no-untyped-call]
    return rounded


class _Round(torch.autograd.Function):
    """Multiples of a step between two ends.

    PyTorch's own fake quantization multiplies by the inverse of the step, where ONNX Runtime
    divides, and takes half as long again on a CPU.
    """

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, step: Tensor, low: Tensor | float, high: Tensor | float
    ) -> Tensor:
        number = (x / step).round_()
        within = number.clamp(low, high)  # type: ignore[arg-type]
        ctx.save_for_backward(number == within)
        return within.mul_(step)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        (inside,) = ctx.saved_tensors
        return gradients[0] * inside, None, None, None
