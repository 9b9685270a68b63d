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

from models.network import Network, date_channels, require_fraction, require_integers

PIXELS_AT_ONCE = 4096
"""Pixels encoded together outside training: few enough for the processor's caches, and memory stays bounded."""


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


class ObservedBatchNorm(nn.BatchNorm1d):
    """Batch normalisation that sees observed positions only and is zero at all others.

    Zero is also what padding puts beyond the edge, so that an unobserved pixel and no pixel are the same.
    """

    def forward(self, features: Tensor, observed: Tensor) -> Tensor:  # type: ignore[override]
        """Normalises `features` of shape (N, C, ...) where `observed`, of shape (N, ...), is True."""
        if observed.all() and (not self.training or observed.numel() > 1):
            return super().forward(features)
        if not self.training or int(observed.sum()) < 2:  # a single value has no variance
            normalised = functional.batch_norm(
                features, self.running_mean, self.running_var, self.weight, self.bias, eps=self.eps
            )
            return normalised * observed.unsqueeze(1)
        rows = features.movedim(1, -1)  # (N, ..., C)
        result = torch.zeros_like(rows)
        result[observed] = super().forward(rows[observed])
        return result.movedim(-1, 1)

    def _check_input_dim(self, input: Tensor) -> None:
        """Any number of dimensions after the channels is fine."""


class TemporalCNN(nn.Module):
    """Two convolutions over the valid dates of each pixel, then their maximum over time."""

    def __init__(self, channels: int, embedding: int, kernel: int, date_harmonics: int) -> None:
        super().__init__()
        self.embedding = embedding
        self.date_harmonics = date_harmonics
        inputs = (channels + 2 * date_harmonics, embedding)
        self.convolutions = nn.ModuleList(
            nn.Conv1d(below, embedding, kernel, padding=kernel // 2, bias=False) for below in inputs
        )
        self.norms = nn.ModuleList(ObservedBatchNorm(embedding) for _ in inputs)

    def forward(self, x: Tensor, dates: Tensor, valid: Tensor) -> Tensor:
        """Embeds each pixel; one that was never observed is zero.

        Args:
            x: Shape (B, T, C, H, W).
            dates: Shape (B, T).
            valid: Shape (B, T, H, W).

        Returns:
            Shape (B, embedding, H, W).
        """
        batch, _, _, height, width = x.shape
        season = date_channels(dates, self.date_harmonics)  # (B, T, 2n)
        image = x.new_zeros(batch, height * width, self.embedding)
        sample, pixel = valid.any(dim=1).flatten(1).nonzero(as_tuple=True)
        # In training the batch statistics need all pixels together.
        at_once = max(len(pixel), 1) if self.training else PIXELS_AT_ONCE
        for start in range(0, len(pixel), at_once):
            b, p = sample[start : start + at_once], pixel[start : start + at_once]
            series = torch.cat([x.flatten(3)[b, :, :, p], season[b]], dim=-1)  # (N, T, C + 2n)
            image[b, p] = self.embed(series, valid.flatten(2)[b, :, p])
        return image.view(batch, height, width, -1).permute(0, 3, 1, 2)

    def embed(self, series: Tensor, valid: Tensor) -> Tensor:
        """Embeds series of shape (N, T, C) with validity (N, T) as (N, embedding)."""
        if not valid.all():
            order = torch.argsort(~valid, dim=1, stable=True)  # valid dates first, still in order of time
            longest = int(valid.sum(dim=1).max())
            order = order[:, :longest]
            valid = valid.gather(1, order)
            series = series.gather(1, order.unsqueeze(-1).expand(-1, -1, series.shape[2]))
            series = series * valid.unsqueeze(-1)
        features = series.transpose(1, 2)  # (N, C, T)
        for convolution, norm in zip(self.convolutions, self.norms, strict=True):
            features = norm(convolution(features), valid).relu()
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
        edges = (0, -width % self.stride, 0, -height % self.stride)
        observed = functional.pad(valid.any(dim=1), edges)  # (B, H', W'), False beyond the edge
        embedding = functional.pad(self.temporal(x, dates, valid), edges)  # (B, D, H', W')
        context = self.unet(torch.cat([embedding, observed.unsqueeze(1).to(x.dtype)], dim=1), observed)
        logits: Tensor = self.classify(self.dropout(torch.cat([embedding, context], dim=1)))
        return logits[..., :height, :width]


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
