"""The blocks of EdgeNeXt (arXiv 2206.10589): convolutions where the map is large, attention late.

Maps are N x C x H x W tensors. Attributes are named as the published weights name them.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from facekeep.lab.nn.lora import LinearFactory

__all__ = ["ChannelNorm", "ConvBlock", "CrossCovariance", "Mlp", "PositionEncoding", "SplitBlock"]

EPSILON = 1e-6  # of every layer norm
_EXPANSION = 4
_WAVES = 32  # sines and cosines per axis
_TEMPERATURE = 10_000.0


def convolution(
    in_channels: int, channels: int, kernel: int, *, stride: int = 1, depthwise: bool = False
) -> nn.Conv2d:
    """Make a convolution; a depthwise one keeps the size of the map, the others do not pad."""
    layer = nn.Conv2d(
        in_channels,
        channels,
        kernel,
        stride,
        padding=kernel // 2 if depthwise else 0,
        groups=in_channels if depthwise else 1,
    )
    nn.init.trunc_normal_(layer.weight, std=0.02)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return layer


class ChannelNorm(nn.LayerNorm):
    """Layer norm over the channels of an N x C x H x W map, at each of its places."""

    def __init__(self, channels: int) -> None:
        super().__init__(channels, eps=EPSILON)

    def forward(self, x: Tensor) -> Tensor:
        """Return the map, normed."""
        return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class Mlp(nn.Module):
    """Widen fourfold, GELU, narrow again: (..., width) to (..., width)."""

    def __init__(self, width: int, linear: LinearFactory) -> None:
        super().__init__()
        self.fc1 = linear(width, _EXPANSION * width)
        self.fc2 = linear(_EXPANSION * width, width)

    def forward(self, x: Tensor) -> Tensor:
        """Map (..., width) to (..., width)."""
        out: Tensor = self.fc2(functional.gelu(self.fc1(x)))
        return out


class ConvBlock(nn.Module):
    """A large depthwise convolution, then an MLP at each place, added to the input.

    Args:
        channels: Channels of the map.
        kernel: Size of the depthwise kernel, odd.
        linear: What makes the linear layers.
        layer_scale: What the block's contribution is first multiplied with.
    """

    def __init__(
        self, channels: int, kernel: int, linear: LinearFactory, layer_scale: float
    ) -> None:
        super().__init__()
        self.conv_dw = convolution(channels, channels, kernel, depthwise=True)
        self.norm = nn.LayerNorm(channels, eps=EPSILON)
        self.mlp = Mlp(channels, linear)
        self.gamma = nn.Parameter(torch.full((channels,), layer_scale))

    def forward(self, x: Tensor) -> Tensor:
        """Return a map of the same shape."""
        places = self.conv_dw(x).permute(0, 2, 3, 1)
        change: Tensor = self.gamma * self.mlp(self.norm(places))
        return x + change.permute(0, 3, 1, 2)


class PositionEncoding(nn.Module):
    """Tell every place of a map where it is, by sines and cosines of its row and column.

    Args:
        channels: Channels of the map.
        side: Height and width of the map.
    """

    waves: Tensor

    def __init__(self, channels: int, side: int) -> None:
        super().__init__()
        self.token_projection = convolution(2 * _WAVES, channels, 1)
        self.register_buffer("waves", _waves(side), persistent=False)

    def resize(self, side: int) -> None:
        """Encode the places of a map of another height and width."""
        self.waves = _waves(side).to(self.token_projection.weight.device)

    def forward(self) -> Tensor:
        """Return what is added to each map, 1 x channels x side x side."""
        out: Tensor = self.token_projection(self.waves)
        return out


def _waves(side: int) -> Tensor:
    """Return 1 x 64 x side x side: 32 waves of the row, then 32 of the column."""
    angle = torch.arange(1, side + 1) / (side + EPSILON) * 2 * math.pi
    pairs = torch.arange(0, _WAVES, 2) / _WAVES
    angles = angle / (_TEMPERATURE**pairs)[:, None]
    waves = torch.stack((angles.sin(), angles.cos()), dim=1).flatten(0, 1)
    rows = waves[:, :, None].expand(-1, -1, side)
    columns = waves[:, None, :].expand(-1, side, -1)
    return torch.cat((rows, columns))[None].contiguous()


class CrossCovariance(nn.Module):
    """Attention of channels to channels (XCiT, arXiv 2106.09681): linear in the number of places.

    The queries, keys and values are as wide as the input unless ``qkv`` and ``proj`` are replaced.

    Args:
        width: Width of each place's vector.
        heads: Into how many groups the channels are split; divides ``width``.
        linear: What makes the linear layers.
    """

    def __init__(self, width: int, heads: int, linear: LinearFactory) -> None:
        super().__init__()
        self.temperature = nn.Parameter(torch.ones(heads, 1, 1))
        self.qkv = linear(width, 3 * width)
        self.proj = linear(width, width)

    @property
    def heads(self) -> int:
        """Into how many groups the channels are split."""
        return len(self.temperature)

    def forward(self, x: Tensor) -> Tensor:
        """Map N x places x width to the same shape."""
        batch, places, _ = x.shape
        qkv = self.qkv(x).view(batch, places, 3, self.heads, -1)  # the last: channels of a head
        query, key, value = qkv.permute(2, 0, 3, 4, 1).unbind(0)
        query, key = functional.normalize(query, dim=-1), functional.normalize(key, dim=-1)
        attention = (query @ key.transpose(-2, -1) * self.temperature).softmax(dim=-1)
        mixed = (attention @ value).permute(0, 3, 1, 2).reshape(batch, places, -1)
        out: Tensor = self.proj(mixed)
        return out


class SplitBlock(nn.Module):
    """Split depth-wise transpose attention: several fields of view, attention, then an MLP.

    The channels are split into groups. Each group but the last is added to the result of the one
    before it and convolved, so that later groups see further; the last goes on as it is.

    Args:
        channels: Channels of the map.
        groups: Into how many groups they are split, the last of which may be smaller.
        heads: Heads of the attention.
        linear: What makes the linear layers.
        layer_scale: What each of the block's two contributions is first multiplied with.
        side: Height and width of the map where places are told where they are, else None.
    """

    def __init__(
        self,
        channels: int,
        groups: int,
        heads: int,
        linear: LinearFactory,
        layer_scale: float,
        side: int | None,
    ) -> None:
        super().__init__()
        self.split(math.ceil(channels / groups), groups)
        self.pos_embd = None if side is None else PositionEncoding(channels, side)
        self.norm_xca = nn.LayerNorm(channels, eps=EPSILON)
        self.gamma_xca = nn.Parameter(torch.full((channels,), layer_scale))
        self.xca = CrossCovariance(channels, heads, linear)
        self.norm = nn.LayerNorm(channels, eps=EPSILON)
        self.mlp = Mlp(channels, linear)
        self.gamma = nn.Parameter(torch.full((channels,), layer_scale))

    def split(self, width: int, groups: int) -> None:
        """Split the channels anew: all groups but the last are ``width`` wide."""
        self.width = width
        self.convs = nn.ModuleList(
            convolution(width, width, 3, depthwise=True) for _ in range(groups - 1)
        )

    def forward(self, x: Tensor) -> Tensor:
        """Return a map of the same shape."""
        mixed = self._convolve(x)
        if self.pos_embd is not None:
            mixed = mixed + self.pos_embd()
        places = mixed.flatten(2).transpose(1, 2)
        places = places + self.gamma_xca * self.xca(self.norm_xca(places))
        change: Tensor = self.gamma * self.mlp(self.norm(places))
        return x + change.transpose(1, 2).reshape(x.shape)

    def _convolve(self, x: Tensor) -> Tensor:
        """Convolve all groups but the last, each with the result of the one before it."""
        count = len(self.convs)
        sizes = [*[self.width] * count, x.shape[1] - count * self.width]
        *groups, last = torch.split(x, sizes, dim=1)
        done: list[Tensor] = []
        for group, conv in zip(groups, self.convs, strict=True):
            done.append(conv(group + done[-1] if done else group))
        return torch.cat((*done, last), dim=1)
