"""RNN: an LSTM or GRU along the time series of each pixel.

What is usual elsewhere and not done here: stepping over missing dates as zeros. A pixel's states run over its own
observations only, and sines and cosines of the day of the season tell how far apart they are.

References:
    Hochreiter, Schmidhuber (1997), Long Short-Term Memory, Neural Computation 9(8); Cho et al. (2014), Learning Phrase
    Representations using RNN Encoder-Decoder, EMNLP; Russwurm, Koerner (2017), Temporal Vegetation Modelling using Long
    Short-Term Memory Networks for Crop Identification, CVPR EarthVision.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from models.network import require_fraction, require_integers
from models.pixel_series import PixelNetwork, PixelSeries
from models.recurrence import CELLS, Cell, Recurrence


@dataclass(frozen=True)
class RNNParameters:
    """Hyper-parameters of `RNN`."""

    channels: int
    """Bands and indices per date."""
    classes: int
    """Crop classes."""
    cell: Cell = "lstm"
    """`lstm` or `gru`."""
    hidden: int = 128
    """Channels of a state, per direction."""
    layers: int = 1
    """Recurrent layers."""
    bidirectional: bool = True
    """Also from the last observation back to the first."""
    date_harmonics: int = 2
    """Frequencies of the date channels; 0 leaves the dates to their order."""
    dropout: float = 0.2
    """Share of features dropped between layers and before the last in training."""

    def __post_init__(self) -> None:
        require_integers(1, channels=self.channels, classes=self.classes, hidden=self.hidden, layers=self.layers)
        require_integers(0, date_harmonics=self.date_harmonics)
        require_fraction(dropout=self.dropout)
        if self.cell not in CELLS:
            raise ValueError(f"cell is {self.cell!r}; expected {' or '.join(CELLS)}")
        if not isinstance(self.bidirectional, bool):
            raise ValueError(f"bidirectional is {self.bidirectional!r}; expected true or false")


class RNN(PixelNetwork):
    """Recurrent layers; the state they end in is classified."""

    def __init__(self, parameters: RNNParameters) -> None:
        states = parameters.hidden * (2 if parameters.bidirectional else 1)
        super().__init__(parameters.channels, parameters.classes, states, parameters.dropout)
        self.date_harmonics = parameters.date_harmonics
        self.recurrence = Recurrence(
            parameters.channels + 2 * parameters.date_harmonics,
            parameters.hidden,
            parameters.layers,
            parameters.bidirectional,
            parameters.cell,
            parameters.dropout,
        )

    def embed_series(self, series: PixelSeries) -> Tensor:
        states = self.recurrence(series.with_date_channels(self.date_harmonics), series.valid)  # (N, T, states)
        return self.recurrence.ends(states, series.valid)
