"""TempCNN: convolutions over the time series of each pixel.

The original is three convolutions (kernel 5, 64 channels) with batch normalisation, ReLU and dropout, and a dense layer
of 256 on the flattened T x 64 features: its weights fit one number of dates, all of them there. Here sines and cosines
of the day of the season are channels, and weighted means over the observed dates, one for each attention head, beside
the maximum, stand for the flattened features: any number of dates goes, and a missing one is dropped, not interpolated.

References:
    Pelletier, Webb, Petitjean (2019), Temporal Convolutional Neural Network for the Classification of Satellite Image
    Time Series, Remote Sensing 11(5).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from models.network import require_fraction, require_integers
from models.pixel_series import AttentiveNetwork, PixelSeries, softmax_over_time
from models.temporal_convolutions import ObservedBatchNorm, TemporalConvolutions


@dataclass(frozen=True)
class TempCNNParameters:
    """Hyper-parameters of `TempCNN`."""

    channels: int
    """Bands and indices per date."""
    classes: int
    """Crop classes."""
    hidden: tuple[int, ...] = (64, 64, 64)
    """Channels of each convolution over time."""
    kernel: int = 5
    """Dates under one kernel; odd."""
    heads: int = 8
    """Weighted means over time."""
    dense: int = 256
    """Features of the layer before the last."""
    date_harmonics: int = 2
    """Frequencies of the date channels; 0 leaves the dates to their order."""
    dropout: float = 0.1
    """Share of channels dropped after each layer in training, at all dates of a pixel."""

    def __post_init__(self) -> None:
        require_integers(1, channels=self.channels, classes=self.classes, hidden=self.hidden, kernel=self.kernel)
        require_integers(1, heads=self.heads, dense=self.dense)
        require_integers(0, date_harmonics=self.date_harmonics)
        require_fraction(dropout=self.dropout)
        if self.kernel % 2 == 0:
            raise ValueError(f"kernel is {self.kernel}; expected an odd number")
        if not self.hidden:
            raise ValueError("hidden is empty; expected the channels of at least one convolution")


class TempCNN(AttentiveNetwork):
    """Convolutions over time, means and the maximum over time, a dense layer."""

    def __init__(self, parameters: TempCNNParameters) -> None:
        super().__init__(parameters.channels, parameters.classes, parameters.dense, parameters.dropout)
        self.heads = parameters.heads
        self.date_harmonics = parameters.date_harmonics
        inputs, last = parameters.channels + 2 * parameters.date_harmonics, parameters.hidden[-1]
        self.temporal = TemporalConvolutions((inputs, *parameters.hidden), parameters.kernel, parameters.dropout)
        self.score = nn.Linear(last, parameters.heads)
        self.dense = nn.Linear((parameters.heads + 1) * last, parameters.dense, bias=False)
        self.norm = ObservedBatchNorm(parameters.dense)

    def attend(self, series: PixelSeries) -> tuple[Tensor, Tensor]:
        features = self.temporal(series.with_date_channels(self.date_harmonics), series.valid)  # (N, D, T)
        over_time = features.transpose(1, 2)  # (N, T, D)
        weights = softmax_over_time(self.score(over_time).transpose(1, 2), series.valid)  # (N, heads, T)
        means = weights.to(features.dtype) @ over_time  # (N, heads, D)
        pooled = torch.cat([means.flatten(1), features.amax(dim=2)], dim=1)  # features are never negative
        return self.norm(self.dense(pooled), series.valid[:, 0]).relu(), weights
