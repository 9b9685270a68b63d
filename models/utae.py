"""U-TAE: a U-Net per date whose levels are merged over time by one attention, that of the coarsest level.

An encoder that all dates share makes the levels of each date; lightweight temporal attention merges the dates at the
coarsest; its weights, upsampled, merge those of each finer level, head by head; a decoder makes one image of them.

What the original does that we do not: strided and transposed convolutions between levels, residual blocks, group
normalisation of the dates. Here max pooling and bilinear upsampling, plain blocks, and batch normalisation of what was
observed, so that a cloud moves no statistic and a block with a halo is mapped as the whole is. At each level a pixel's
weights are shared anew among the dates at which it was observed, where the original takes each date as seen everywhere.

References:
    Garnot, Landrieu (2021), Panoptic Segmentation of Satellite Image Time Series with Convolutional Temporal Attention
    Networks, ICCV.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import reduce

import torch
from torch import Tensor, nn
from torch.nn import functional

from models.ltae import attend_by_groups
from models.network import Network, day_positions, require_fraction, require_integers
from models.pixel_series import PixelSeries, pixel_image
from models.temporal_convolutions import ObservedBatchNorm
from models.unet import UNet, UNetShape, double

LEAST_SHARE = 1e-20
"""Where the weights of a pixel's own dates add up to less, they are not scaled up to 1."""


@dataclass(frozen=True)
class UTAEParameters:
    """Hyper-parameters of `UTAE`."""

    channels: int
    """Bands and indices per date."""
    classes: int
    """Crop classes."""
    widths: tuple[int, ...] = (32, 32, 64)
    """Channels of the levels, finest first; each level below the first halves the resolution; multiples of the heads,
    the last one of twice the heads."""
    convolutions: int = 1
    """3x3 convolutions per level, going down and going up."""
    heads: int = 4
    """Attention heads; each sees a group of the channels."""
    keys: int = 8
    """Channels of a query and of a key."""
    dropout: float = 0.1
    """Share of attention weights, and of features before the last layer, dropped in training."""

    def __post_init__(self) -> None:
        require_integers(1, channels=self.channels, classes=self.classes, widths=self.widths, heads=self.heads)
        require_integers(1, convolutions=self.convolutions, keys=self.keys)
        require_fraction(dropout=self.dropout)
        if not self.widths:
            raise ValueError("widths is empty; expected the channels of at least one level")
        if any(width % self.heads for width in self.widths) or self.widths[-1] % (2 * self.heads):
            raise ValueError(
                f"widths is {self.widths}; expected multiples of the {self.heads} heads, the last one of twice that"
            )


class CoarseAttention(nn.Module):
    """Lightweight temporal attention over the coarsest level's pixels."""

    def __init__(self, width: int, heads: int, keys: int, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.observation = nn.Sequential(nn.Linear(width, width), nn.LayerNorm(width))
        self.keys = nn.Linear(width, heads * keys)
        self.queries = nn.Parameter(torch.randn(heads, keys) * math.sqrt(2 / keys))
        self.drop = nn.Dropout(dropout)
        self.dense = nn.Linear(width, width, bias=False)
        self.norm = ObservedBatchNorm(width)

    def forward(self, series: PixelSeries) -> tuple[Tensor, Tensor]:
        """Embeds N pixels, shape (N, width), and gives the weights, shape (N, heads, T)."""
        features = self.observation(series.values)
        positions = day_positions(series.days, features.shape[-1] // self.heads)
        features = features + positions.repeat(1, 1, self.heads)  # (N, T, width)
        keys = self.keys(features).view(*series.valid.shape, self.heads, -1)  # (N, T, heads, keys)
        mixed, weights = attend_by_groups(features, keys, self.queries, series.valid, self.drop)
        return self.norm(self.dense(mixed), series.valid[:, 0]).relu(), weights


class UTAE(Network):
    """Levels of each date, merged over time by attention, then the decoder."""

    kind = "dense"

    def __init__(self, parameters: UTAEParameters) -> None:
        super().__init__()
        self.channels = parameters.channels
        self.classes = parameters.classes
        self.heads = parameters.heads
        widths = parameters.widths
        # Weights that are upsampled bilinearly see no farther than features that are.
        shape = UNetShape(widths, widths[-2::-1], parameters.convolutions, upsampling="bilinear")
        self.stride, self.receptive_radius = shape.stride, shape.receptive_radius
        self.unet = UNet(parameters.channels, shape)
        self.temporal = CoarseAttention(widths[-1], parameters.heads, parameters.keys, parameters.dropout)
        self.dropout = nn.Dropout(parameters.dropout)
        self.classify = nn.Conv2d(widths[0], parameters.classes, 1)

    def logits(self, x: Tensor, dates: Tensor, valid: Tensor) -> Tensor:
        logits: Tensor = self.classify(self.dropout(self.embed(x, dates, valid)))
        return logits

    def embed(self, x: Tensor, dates: Tensor, valid: Tensor) -> Tensor:
        height, width = x.shape[-2:]
        merged, _ = self._merge(x, dates, valid)
        return self.unet.ascend(merged)[..., :height, :width]

    def attention(self, x: Tensor, dates: Tensor, valid: Tensor) -> Tensor:
        """How much each observation counts at the finest level.

        Args:
            x: As in `forward`.
            dates: As in `forward`.
            valid: As in `forward`.

        Returns:
            float32, shape (B, heads, T, H, W): adds up to 1 over time where anything was observed, zero where not
            valid.

        Raises:
            ValueError: The shapes do not belong together, or `valid` is not boolean.
        """
        height, width = x.shape[-2:]
        _, weights = self._merge(*self._masked(x, dates, valid))
        return weights[..., :height, :width]

    def _merge(self, x: Tensor, dates: Tensor, valid: Tensor) -> tuple[list[tuple[Tensor, Tensor]], Tensor]:
        """The levels without time, finest first, each with where it was observed, and the finest one's weights."""
        edges = (0, -x.shape[-1] % self.stride, 0, -x.shape[-2] % self.stride)
        x, valid = functional.pad(x, edges), functional.pad(valid, edges)  # False beyond the edge
        there = valid.flatten(2).any(dim=2)  # (B, T)
        if not torch.compiler.is_exporting() and not there.any():
            there = torch.ones_like(there)
        levels = self.unet.descend(_those_there(x, there), _those_there(valid, there))
        features, observed = (_dated(part, there) for part in levels.pop())
        times, width = features.shape[1:3]

        def attend(series: PixelSeries) -> Tensor:
            embedded, weights = self.temporal(series)
            return torch.cat([embedded, series.at_their_dates(weights, times).flatten(1)], dim=1)

        unseen = x.new_zeros(width + self.heads * times)
        image = pixel_image(attend, unseen, features, dates, observed, together=self.training)
        embedded, weights = image[:, :width], _by_head(image[:, width:], self.heads)  # (B, heads, T, h, w)
        shares = weights
        merged = [(embedded, observed.any(dim=1))]
        for level in reversed(levels):
            features, observed = (_dated(part, there) for part in level)
            # Zero where unobserved, so that a finer level sees the same there as beyond the edge.
            weights = _by_head(double(weights.flatten(1, 2)), self.heads) * observed.unsqueeze(1)
            shares = _shares(weights)
            merged.append((_sum_over_time(features, shares), observed.any(dim=1)))
        return merged[::-1], shares


def _all(there: Tensor) -> bool:
    """Whether all dates are there; in export all are taken, for which ones are is not known yet."""
    return torch.compiler.is_exporting() or bool(there.all())


def _those_there(images: Tensor, there: Tensor) -> Tensor:
    """The N dates that are there: (B, T, ...) to (N, ...)."""
    return images.flatten(0, 1) if _all(there) else images[there]


def _dated(features: Tensor, there: Tensor) -> Tensor:
    """Those of N dates at their places, zero at dates that are not there: (N, ...) to (B, T, ...)."""
    if _all(there):
        return features.view(*there.shape, *features.shape[1:])
    result = features.new_zeros(*there.shape, *features.shape[1:])
    result[there] = features
    return result


def _by_head(weights: Tensor, heads: int) -> Tensor:
    """Shape (B, heads * T, H, W) to (B, heads, T, H, W)."""
    batch, _, height, width = weights.shape
    return weights.reshape(batch, heads, -1, height, width)


def _shares(weights: Tensor) -> Tensor:
    """Weights of shape (B, heads, T, H, W), scaled to add up to 1 over time."""
    total = reduce(torch.add, weights.unbind(dim=2)).unsqueeze(2)
    return weights / total.clamp(min=LEAST_SHARE)


def _sum_over_time(features: Tensor, weights: Tensor) -> Tensor:
    """Shapes (B, T, D, H, W) and (B, heads, T, H, W) to (B, D, H, W); each head weighs its group of the channels.

    Date by date, so that one without weight leaves the sum as it is to the last bit.
    """
    batch, times, _, height, width = features.shape
    groups = features.view(batch, times, weights.shape[1], -1, height, width)  # (B, T, heads, D / heads, H, W)
    dates = zip(groups.unbind(dim=1), weights.unsqueeze(3).unbind(dim=2), strict=True)
    return reduce(torch.add, (group * weight for group, weight in dates)).flatten(1, 2)
