"""Hybrid CNN: a 1-D CNN over time, shared by all pixels, then a compact U-Net over its embedding.

References:
    Pelletier et al. (2019), Temporal Convolutional Neural Network for the Classification of Satellite Image Time
    Series, Remote Sensing 11(5); Ronneberger et al. (2015), U-Net, MICCAI.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from models.network import Network, require_fraction, require_integers
from models.pixel_series import PixelSeries, pixel_image
from models.temporal_convolutions import ObservedBatchNorm, TemporalConvolutions


@dataclass(frozen=True)
class HybridCNNParameters:
    """Hyper-parameters of `HybridCNN`."""

    channels: int
    """Bands and indices per date."""
    classes: int
    """Crop classes."""
    embedding: int = 64
    """Channels of the temporal CNN, and of the image that the U-Net sees."""
    kernel: int = 5
    """Dates under one temporal kernel; odd."""
    date_harmonics: int = 2
    """Frequencies of the date channels; 0 leaves the dates to their order."""
    widths: tuple[int, ...] = (32, 48, 64)
    """Channels of the U-Net's levels, finest first; each level below the first halves the resolution."""
    convolutions: int = 1
    """3x3 convolutions per level, going down and going up."""
    dropout: float = 0.0
    """Share of features dropped before the last layer in training."""

    def __post_init__(self) -> None:
        require_integers(1, channels=self.channels, classes=self.classes, embedding=self.embedding, kernel=self.kernel)
        require_integers(1, widths=self.widths, convolutions=self.convolutions)
        require_integers(0, date_harmonics=self.date_harmonics)
        require_fraction(dropout=self.dropout)
        if self.kernel % 2 == 0:
            raise ValueError(f"kernel is {self.kernel}; expected an odd number")
        if not self.widths:
            raise ValueError("widths is empty; expected the channels of at least one level")


class TemporalCNN(TemporalConvolutions):
    """Two convolutions over the valid dates of each pixel, then their maximum over time."""

    def __init__(self, channels: int, embedding: int, kernel: int, date_harmonics: int) -> None:
        super().__init__((channels + 2 * date_harmonics, embedding, embedding), kernel)
        self.embedding = embedding
        self.date_harmonics = date_harmonics

    def image(self, x: Tensor, dates: Tensor, valid: Tensor) -> Tensor:
        """Embeds each pixel; one that was never observed is zero.

        Args:
            x: Shape (B, T, C, H, W).
            dates: Shape (B, T).
            valid: Shape (B, T, H, W).

        Returns:
            Shape (B, embedding, H, W).
        """
        return pixel_image(self._embed, x.new_zeros(self.embedding), x, dates, valid, together=self.training)

    def _embed(self, series: PixelSeries) -> Tensor:
        features: Tensor = self(series.with_date_channels(self.date_harmonics), series.valid)  # (N, D, T)
        return features.amax(dim=2)


class Level(nn.Module):
    """3x3 convolutions at one resolution; zero wherever nothing was observed."""

    def __init__(self, inputs: int, width: int, convolutions: int) -> None:
        super().__init__()
        below = [inputs] + [width] * (convolutions - 1)
        self.convolutions = nn.ModuleList(nn.Conv2d(c, width, 3, padding=1, bias=False) for c in below)
        self.norms = nn.ModuleList(ObservedBatchNorm(width) for _ in below)

    def forward(self, features: Tensor, observed: Tensor) -> Tensor:
        """Shapes (B, C, H, W) and (B, H, W) to (B, width, H, W)."""
        for convolution, norm in zip(self.convolutions, self.norms, strict=True):
            features = norm(convolution(features), observed).relu()
        return features


class CompactUNet(nn.Module):
    """A U-Net whose skip connections start at the pixel's own embedding."""

    def __init__(self, inputs: int, widths: tuple[int, ...], convolutions: int) -> None:
        super().__init__()
        below = (inputs, *widths[:-1])
        self.down = nn.ModuleList(Level(c, width, convolutions) for c, width in zip(below, widths, strict=True))
        pairs = list(itertools.pairwise(widths))
        self.up = nn.ModuleList(Level(fine + coarse, fine, convolutions) for fine, coarse in reversed(pairs))

    def forward(self, features: Tensor, observed: Tensor) -> Tensor:
        """Shapes (B, C, H, W) and (B, H, W), multiples of the stride, to (B, widths[0], H, W)."""
        skips: list[tuple[Tensor, Tensor]] = []
        for level in self.down:
            if skips:
                features = functional.max_pool2d(features, 2)  # features are never negative: unobserved never wins
                observed = functional.max_pool2d(observed.float(), 2).bool()
            features = level(features, observed)
            skips.append((features, observed))
        skips.pop()
        for level in self.up:
            skip, observed = skips.pop()
            finer = functional.interpolate(features, scale_factor=2, mode="nearest")
            features = level(torch.cat([skip, finer], dim=1), observed)
        return features


class HybridCNN(Network):
    """The temporal CNN's embedding is the image that the U-Net classifies pixel by pixel."""

    kind = "dense"

    def __init__(self, parameters: HybridCNNParameters) -> None:
        super().__init__()
        self.channels = parameters.channels
        self.classes = parameters.classes
        self.stride = 2 ** (len(parameters.widths) - 1)
        self.receptive_radius = receptive_radius(len(parameters.widths), parameters.convolutions)
        self.temporal = TemporalCNN(
            parameters.channels, parameters.embedding, parameters.kernel, parameters.date_harmonics
        )
        self.unet = CompactUNet(parameters.embedding + 1, parameters.widths, parameters.convolutions)
        self.dropout = nn.Dropout(parameters.dropout)
        self.classify = nn.Conv2d(parameters.embedding + parameters.widths[0], parameters.classes, 1)

    def logits(self, x: Tensor, dates: Tensor, valid: Tensor) -> Tensor:
        height, width = x.shape[-2:]
        logits: Tensor = self.classify(self.dropout(self._features(x, dates, valid)))
        return logits[..., :height, :width]

    def embed(self, x: Tensor, dates: Tensor, valid: Tensor) -> Tensor:
        height, width = x.shape[-2:]
        return self._features(x, dates, valid)[..., :height, :width]

    def _features(self, x: Tensor, dates: Tensor, valid: Tensor) -> Tensor:
        """The pixel's own embedding and its context, shape (B, E, H', W'), H' and W' multiples of the stride."""
        height, width = x.shape[-2:]
        edges = (0, -width % self.stride, 0, -height % self.stride)
        observed = functional.pad(valid.any(dim=1), edges)  # (B, H', W'), False beyond the edge
        embedding = functional.pad(self.temporal.image(x, dates, valid), edges)  # (B, D, H', W')
        context = self.unet(torch.cat([embedding, observed.unsqueeze(1).to(x.dtype)], dim=1), observed)
        return torch.cat([embedding, context], dim=1)


def receptive_radius(levels: int, convolutions: int) -> int:
    """How far, in pixels, an output pixel can see along one axis, at the worst place within the stride."""
    radius = 0
    stride = 2 ** (levels - 1)
    for pixel in range(stride):
        first = last = pixel
        for _ in range(levels - 1):  # back through the levels going up ...
            first, last = (first - convolutions) // 2, (last + convolutions) // 2
        first, last = first - convolutions, last + convolutions
        for _ in range(levels - 1):  # ... and through those going down
            first, last = 2 * first - convolutions, 2 * last + 1 + convolutions
        radius = max(radius, pixel - first, last - pixel)
    return radius
