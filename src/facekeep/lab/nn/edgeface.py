"""EdgeFace (arXiv 2307.01838): EdgeNeXt with linear layers of low rank and 512 outputs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import cast

from torch import Tensor, nn

from facekeep.errors import InputError
from facekeep.lab.nn.edgenext import ChannelNorm, ConvBlock, SplitBlock, convolution
from facekeep.lab.nn.lora import LinearFactory, linear_factory

__all__ = ["MODELS", "Architecture", "EdgeFace", "create_model"]

_KERNELS = (3, 5, 7, 9)
_GROUPS = (0, 2, 3, 4)  # of the split block at the end of each stage; the first has none
_POSITION_STAGE = 1
_STEM_STRIDE = 4
_SIZES = range(32, 513, 16)
WIDTHS = range(1, 65_537)


@dataclass(frozen=True)
class Architecture:
    """What sets one member of the family apart.

    Attributes:
        depths: Blocks of each stage.
        channels: Channels of each stage.
        heads: Heads of the attention.
    """

    depths: tuple[int, int, int, int]
    channels: tuple[int, int, int, int]
    heads: int


MODELS = {
    "edgeface-base": Architecture((3, 3, 9, 3), (80, 160, 288, 584), 8),
    "edgeface-s": Architecture((3, 3, 9, 3), (48, 96, 160, 304), 8),
    "edgeface-xs": Architecture((3, 3, 9, 3), (32, 64, 100, 192), 4),
    "edgeface-xxs": Architecture((2, 2, 6, 2), (24, 48, 88, 168), 4),
}
"""The published members of the family, by the names that `create_model` takes."""


class Stage(nn.Module):
    """Halve the map (but in the first stage), then the blocks."""

    def __init__(self, downsample: nn.Module, blocks: Iterator[nn.Module]) -> None:
        super().__init__()
        self.downsample = downsample
        self.blocks = nn.Sequential(*blocks)

    def forward(self, x: Tensor) -> Tensor:
        """Map N x C x H x W to the stage's channels and size."""
        out: Tensor = self.blocks(self.downsample(x))
        return out


class EmbeddingHead(nn.Module):
    """Average over the map, norm, one linear layer."""

    def __init__(self, channels: int, width: int, linear: LinearFactory) -> None:
        super().__init__()
        self.norm = ChannelNorm(channels)
        self.fc = linear(channels, width)

    def forward(self, x: Tensor) -> Tensor:
        """Map N x C x H x W to N x width."""
        out: Tensor = self.fc(self.norm(x.mean((2, 3), keepdim=True)).flatten(1))
        return out


class EdgeFace(nn.Module):
    """A network from aligned face crops to embeddings.

    ``create_model`` makes one as published, ``network_of`` one of any shape. The names of its
    parameters are those of the published checkpoints without ``model.``.

    Args:
        arch: Name in ``MODELS``.
        gamma: Share of the full rank its linear layers keep; None where they are full.
        input_size: Height and width of the crops.
        width: Length of the embedding.
        layer_scale: What each block's contribution is first multiplied with.
        kind: Depths, channels and heads; None for those of ``arch``.

    Attributes:
        arch: Name in ``MODELS`` of the network that it is, or was cut from.
        gamma: Share of the full rank its linear layers keep; None where they are full, or each has
            a rank of its own.
        input_size: Height and width of the crops.
        width: Length of the embedding.
    """

    def __init__(
        self,
        arch: str,
        gamma: float | None,
        input_size: int,
        width: int,
        layer_scale: float,
        kind: Architecture | None = None,
    ) -> None:
        super().__init__()
        self.arch, self.gamma, self.input_size, self.width = arch, gamma, input_size, width
        kind, linear = kind or MODELS[arch], linear_factory(gamma)
        first = kind.channels[0]
        self.stem = nn.Sequential(
            convolution(3, first, _STEM_STRIDE, stride=_STEM_STRIDE), ChannelNorm(first)
        )
        self.stages = nn.Sequential(
            *(self._stage(kind, index, linear, layer_scale) for index in range(len(kind.depths)))
        )
        self.head = EmbeddingHead(kind.channels[-1], width, linear)

    def _stage(
        self, kind: Architecture, index: int, linear: LinearFactory, layer_scale: float
    ) -> Stage:
        channels, groups = kind.channels[index], _GROUPS[index]
        side = self.input_size // (_STEM_STRIDE << index) if index == _POSITION_STAGE else None

        def blocks() -> Iterator[nn.Module]:
            for _ in range(kind.depths[index] - bool(groups)):
                yield ConvBlock(channels, _KERNELS[index], linear, layer_scale)
            if groups:
                yield SplitBlock(channels, groups, kind.heads, linear, layer_scale, side)

        return Stage(_downsample(kind, index), blocks())

    def resize(self, input_size: int) -> None:
        """Take crops of another height and width from now on; the weights stay as they are.

        Raises:
            InputError: The size is none that networks have.
        """
        check_size(input_size)
        self.input_size = input_size
        for index, stage in enumerate(self.stages):
            for block in cast(Stage, stage).blocks:
                if isinstance(block, SplitBlock) and block.pos_embd is not None:
                    block.pos_embd.resize(input_size // (_STEM_STRIDE << index))

    def forward(self, x: Tensor) -> Tensor:
        """Embed crops.

        Args:
            x: N x 3 x S x S float32, RGB, ``p / 127.5 - 1``, S the ``input_size``.

        Returns:
            N x width float32, not of unit length.
        """
        size = self.input_size
        if x.shape[1:] != (3, size, size):
            raise InputError(
                f"the network takes N x 3 x {size} x {size}, not {' x '.join(map(str, x.shape))}"
            )
        out: Tensor = self.head(self.stages(self.stem(x)))
        return out


def _downsample(kind: Architecture, index: int) -> nn.Module:
    if index == 0:
        return nn.Identity()
    before, after = kind.channels[index - 1 : index + 1]
    return nn.Sequential(ChannelNorm(before), convolution(before, after, 2, stride=2))


def check_size(input_size: int) -> None:
    """Refuse a height and width of crops that no network has."""
    if input_size not in _SIZES:
        raise InputError(f"input_size must be a multiple of 16 from 32 to 512, not {input_size!r}")


def create_model(
    name: str,
    *,
    gamma: float | None = None,
    input_size: int = 112,
    width: int = 512,
    layer_scale: float = 1e-6,
) -> EdgeFace:
    """Make an untrained network.

    Convolutions and linear layers start from a truncated normal of deviation 0.02, as EdgeNeXt's;
    the product of a low-rank layer's two matrices starts with that deviation too.

    Args:
        name: ``edgeface-base``, ``-s``, ``-xs`` or ``-xxs``.
        gamma: Share of the full rank that the linear layers keep, above 0 and at most 1; published
            are 0.5 for S and 0.6 for XS. None for full linear layers.
        input_size: Height and width of the crops: a multiple of 16 from 32 to 512.
        width: Length of the embedding.
        layer_scale: What each block's contribution is first multiplied with. The published recipe
            takes 1e-6; short trainings profit from more.

    Raises:
        InputError: The name is unknown, or a number is out of range.
    """
    if name not in MODELS:
        raise InputError(f"unknown network {str(name)!r}; known: {', '.join(MODELS)}")
    if gamma is not None and not (isinstance(gamma, int | float) and 0 < gamma <= 1):
        raise InputError(f"gamma must be above 0 and at most 1, not {gamma!r}")
    check_size(input_size)
    if isinstance(width, bool) or width not in WIDTHS:
        raise InputError(f"width must be a whole number from 1 to 65536, not {width!r}")
    return EdgeFace(name, gamma, input_size, width, layer_scale)
