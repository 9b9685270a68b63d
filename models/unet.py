"""U-Net: an image and where it was observed to a context per pixel, whatever the rest of the image.

References:
    Ronneberger et al. (2015), U-Net, MICCAI.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from models.temporal_convolutions import ObservedBatchNorm

Upsampling = Literal["nearest", "bilinear"]
UPSAMPLINGS = ("nearest", "bilinear")


class Level(nn.Module):
    """3x3 convolutions at one resolution; zero wherever nothing was observed."""

    def __init__(self, inputs: int, width: int, convolutions: int, bias: bool = False) -> None:
        super().__init__()
        below = [inputs] + [width] * (convolutions - 1)
        self.convolutions = nn.ModuleList(nn.Conv2d(c, width, 3, padding=1, bias=bias) for c in below)
        self.norms = nn.ModuleList(ObservedBatchNorm(width) for _ in below)

    def forward(self, features: Tensor, observed: Tensor) -> Tensor:
        """Shapes (B, C, H, W) and (B, H, W) to (B, width, H, W)."""
        for convolution, norm in zip(self.convolutions, self.norms, strict=True):
            features = norm(convolution(features), observed).relu()
        return features


@dataclass(frozen=True)
class UNetShape:
    """How a U-Net is built."""

    widths: tuple[int, ...]
    """Channels of the levels going down, finest first."""
    decoder: tuple[int, ...]
    """Channels of the levels going up, coarsest first; one less."""
    convolutions: int
    """Per level."""
    bias: bool = False
    """Of the convolutions."""
    upsampling: Upsampling = "nearest"
    """From a level to the next finer one."""

    @property
    def stride(self) -> int:
        """Blocks that start at its multiples see the same cells at every level."""
        return int(2 ** (len(self.widths) - 1))

    @property
    def receptive_radius(self) -> int:
        """How far, in pixels, an output pixel can see along one axis, at the worst place within the stride."""
        return receptive_radius(len(self.widths), self.convolutions, self.upsampling)


class UNet(nn.Module):
    """A U-Net whose skip connections start at the image's own pixels."""

    def __init__(self, inputs: int, shape: UNetShape) -> None:
        super().__init__()
        self.upsampling = shape.upsampling
        skipped, coarsest = shape.widths[:-1], shape.widths[-1]
        below, coarser = (inputs, *skipped), (coarsest, *shape.decoder)
        self.down = nn.ModuleList(
            Level(c, width, shape.convolutions, shape.bias) for c, width in zip(below, shape.widths, strict=True)
        )
        self.up = nn.ModuleList(
            Level(skip + c, width, shape.convolutions, shape.bias)
            for skip, c, width in zip(reversed(skipped), coarser, shape.decoder, strict=False)
        )

    def forward(self, features: Tensor, observed: Tensor) -> Tensor:
        """Shapes (B, C, H, W) and (B, H, W), multiples of the stride, to that of the last level, (B, C', H, W)."""
        return self.ascend(self.descend(features, observed))

    def descend(self, features: Tensor, observed: Tensor) -> list[tuple[Tensor, Tensor]]:
        """The features of each level going down, finest first, and where it was observed."""
        levels: list[tuple[Tensor, Tensor]] = []
        for level in self.down:
            if levels:
                features, observed = halve(features, observed)
            features = level(features, observed)
            levels.append((features, observed))
        return levels

    def ascend(self, levels: list[tuple[Tensor, Tensor]]) -> Tensor:
        """What the levels going up make of those that `descend` found."""
        *skips, (features, _) = levels
        for level, (skip, observed) in zip(self.up, reversed(skips), strict=True):
            features = level(torch.cat([skip, self._finer(features, observed)], dim=1), observed)
        return features

    def _finer(self, features: Tensor, observed: Tensor) -> Tensor:
        if self.upsampling == "nearest":
            return functional.interpolate(features, scale_factor=2, mode="nearest")
        # What it spreads to pixels that were never observed would not be there beyond the edge.
        return double(features) * observed.unsqueeze(1)


def halve(features: Tensor, observed: Tensor) -> tuple[Tensor, Tensor]:
    """The largest of 2x2 pixels; features are never negative and zero where unobserved, so that unobserved never wins.

    Args:
        features: Shape (B, C, H, W).
        observed: Shape (B, H, W), bool.

    Returns:
        Shapes (B, C, H / 2, W / 2) and (B, H / 2, W / 2).
    """
    return functional.max_pool2d(features, 2), functional.max_pool2d(observed.float(), 2).bool()


def double(features: Tensor) -> Tensor:
    """Twice the resolution by bilinear interpolation without aligned corners, (B, C, H, W) to (B, C, 2 H, 2 W).

    What lies beyond the edge is taken for zero, as convolutions take it. Its gradient on CUDA is the same each time,
    that of torch's own interpolation is not.
    """
    return _double_rows(_double_rows(features).transpose(2, 3)).transpose(2, 3)


def _double_rows(features: Tensor) -> Tensor:
    batch, channels, height, width = features.shape
    near, far = 0.75 * features, functional.pad(0.25 * features, (0, 0, 1, 1))
    rows = torch.stack([near + far[:, :, :-2], near + far[:, :, 2:]], dim=3)  # (B, C, H, 2, W)
    return rows.view(batch, channels, 2 * height, width)


def receptive_radius(levels: int, convolutions: int, upsampling: Upsampling = "nearest") -> int:
    """How far, in pixels, an output pixel can see along one axis, at the worst place within the stride."""
    radius = 0
    stride = 2 ** (levels - 1)
    beside = convolutions + (upsampling == "bilinear")
    for pixel in range(stride):
        first = last = pixel
        for _ in range(levels - 1):  # back through the levels going up ...
            first, last = (first - beside) // 2, (last + beside) // 2
        first, last = first - convolutions, last + convolutions
        for _ in range(levels - 1):  # ... and through those going down
            first, last = 2 * first - convolutions, 2 * last + 1 + convolutions
        radius = max(radius, pixel - first, last - pixel)
    return radius
