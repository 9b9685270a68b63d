"""L-TAE: lightweight temporal attention over the time series of each pixel.

Each head has one learned query, its own keys, and a group of the channels as its values; positions are days. What the
original does that we do not: a pixel-set encoder makes the observations from the pixels of a parcel, where ours is a
small dense network on one pixel; and its layer normalisation over time and channels together ties it to one number of
dates, all of them there, where ours normalises each observation and masks the missing ones.

References:
    Garnot, Landrieu (2020), Lightweight Temporal Self-Attention for Classifying Satellite Image Time Series, AALTD.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from models.network import day_positions, require_fraction, require_integers
from models.pixel_series import AttentiveNetwork, PixelSeries, softmax_over_time
from models.temporal_convolutions import ObservedBatchNorm


@dataclass(frozen=True)
class LTAEParameters:
    """Hyper-parameters of `LTAE`."""

    channels: int
    """Bands and indices per date."""
    classes: int
    """Crop classes."""
    width: int = 128
    """Channels of an observation; a multiple of twice the heads."""
    heads: int = 16
    """Attention heads; each sees a group of the channels."""
    keys: int = 8
    """Channels of a query and of a key."""
    dense: int = 128
    """Features of the layer before the last."""
    dropout: float = 0.2
    """Share of features dropped in training."""

    def __post_init__(self) -> None:
        require_integers(1, channels=self.channels, classes=self.classes, width=self.width, heads=self.heads)
        require_integers(1, keys=self.keys, dense=self.dense)
        require_fraction(dropout=self.dropout)
        if self.width % (2 * self.heads):
            raise ValueError(f"width is {self.width}; expected a multiple of twice the {self.heads} heads")


class LTAE(AttentiveNetwork):
    """A dense network per observation, attention over time, a dense layer."""

    def __init__(self, parameters: LTAEParameters) -> None:
        super().__init__(parameters.channels, parameters.classes, parameters.dense, parameters.dropout)
        self.width, self.heads, self.keys_width = parameters.width, parameters.heads, parameters.keys
        width = parameters.width
        self.observation = nn.Sequential(
            nn.Linear(parameters.channels, width), nn.ReLU(), nn.Linear(width, width), nn.LayerNorm(width)
        )
        self.keys = nn.Linear(width, self.heads * self.keys_width)
        self.queries = nn.Parameter(torch.randn(self.heads, self.keys_width) * math.sqrt(2 / self.keys_width))
        self.weights_drop = nn.Dropout(parameters.dropout)
        self.dense = nn.Linear(width, parameters.dense, bias=False)
        self.norm = ObservedBatchNorm(parameters.dense)

    def attend(self, series: PixelSeries) -> tuple[Tensor, Tensor]:
        count, times = series.valid.shape
        # Each head's group of channels has its own sines and cosines of the day.
        positions = day_positions(series.days, self.width // self.heads)
        features = self.observation(series.values) + positions.repeat(1, 1, self.heads)  # (N, T, width)
        keys = self.keys(features).view(count, times, self.heads, self.keys_width)
        mixed, weights = attend_by_groups(features, keys, self.queries, series.valid, self.weights_drop)
        return self.norm(self.dense(mixed), series.valid[:, 0]).relu(), weights


def attend_by_groups(
    features: Tensor, keys: Tensor, queries: Tensor, valid: Tensor, drop: nn.Module
) -> tuple[Tensor, Tensor]:
    """Each head weighs its group of the channels over time.

    Args:
        features: Shape (N, T, width).
        keys: Shape (N, T, heads, keys).
        queries: Shape (heads, keys).
        valid: Shape (N, T), at least one True for each pixel.
        drop: What drops weights in training.

    Returns:
        The weighted sums, shape (N, width), and the weights, float32, zero where not valid, shape (N, heads, T).
    """
    count, times, heads, width = keys.shape
    scores = torch.einsum("nthk,hk->nht", keys, queries) / math.sqrt(width)
    weights = softmax_over_time(scores, valid)  # (N, heads, T)
    groups = features.view(count, times, heads, -1)  # (N, T, heads, width / heads)
    return torch.einsum("nht,nthd->nhd", drop(weights).to(groups.dtype), groups).flatten(1), weights
