"""AtLSTM: a bidirectional LSTM along the time series of each pixel, and attention over its states.

The attention is that of the paper: a score of each state's tanh projection, a softmax over time, the weighted sum of
the states. What the original does that we do not: one composite per ten days, gaps filled, so that every date counts.
Here missing dates are dropped, have no weight, and sines and cosines of the day of the season are channels.

References:
    Xu et al. (2020), DeepCropMapping: A multi-temporal deep learning approach with improved spatial generalizability
    for dynamic corn and soybean mapping, Remote Sensing of Environment 247.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

from models.network import require_fraction, require_integers
from models.pixel_series import AttentiveNetwork, PixelSeries, softmax_over_time
from models.recurrence import Recurrence


@dataclass(frozen=True)
class AtLSTMParameters:
    """Hyper-parameters of `AtLSTM`."""

    channels: int
    """Bands and indices per date."""
    classes: int
    """Crop classes."""
    hidden: int = 64
    """Channels of a state, per direction."""
    layers: int = 2
    """LSTM layers."""
    date_harmonics: int = 2
    """Frequencies of the date channels; 0 leaves the dates to their order."""
    dropout: float = 0.2
    """Share of features dropped between layers and before the last in training."""

    def __post_init__(self) -> None:
        require_integers(1, channels=self.channels, classes=self.classes, hidden=self.hidden, layers=self.layers)
        require_integers(0, date_harmonics=self.date_harmonics)
        require_fraction(dropout=self.dropout)


class AtLSTM(AttentiveNetwork):
    """A bidirectional LSTM; the weighted sum of its states is classified."""

    heads = 1

    def __init__(self, parameters: AtLSTMParameters) -> None:
        super().__init__(parameters.channels, parameters.classes, 2 * parameters.hidden, parameters.dropout)
        self.date_harmonics = parameters.date_harmonics
        inputs = parameters.channels + 2 * parameters.date_harmonics
        self.lstm = Recurrence(
            inputs, parameters.hidden, parameters.layers, bidirectional=True, dropout=parameters.dropout
        )
        self.project = nn.Linear(self.embedding, self.embedding)
        self.score = nn.Linear(self.embedding, 1, bias=False)

    def attend(self, series: PixelSeries) -> tuple[Tensor, Tensor]:
        states = self.lstm(series.with_date_channels(self.date_harmonics), series.valid)  # (N, T, E)
        scores = self.score(self.project(states).tanh()).transpose(1, 2)  # (N, 1, T)
        weights = softmax_over_time(scores, series.valid)
        return (weights.to(states.dtype) @ states).squeeze(1), weights
