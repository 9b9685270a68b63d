"""LRCN: a small CNN of the image of each date, then an LSTM along the dates.

What the original does that we do not: its CNN was learnt from photographs and is large for a patch, each time step is
classified and the classes are averaged, and frames are never missing. Here the LSTM steps over the dates that were
observed and no others, and the state that it ends in is classified.

References:
    Donahue et al. (2015), Long-term Recurrent Convolutional Networks for Visual Recognition and Description, CVPR.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from models.network import Network, require_fraction, require_integers
from models.observed_convolutions import ObservedConvolutions, observed_mean
from models.per_date import encode_dates, image_channels, require_patch_size
from models.recurrence import Recurrence


@dataclass(frozen=True)
class LRCNParameters:
    """Hyper-parameters of `LRCN`."""

    channels: int
    """Bands and indices per date."""
    classes: int
    """Crop classes."""
    patch_size: int = 9
    """Height and width of the patch in pixels: odd, at most 65."""
    widths: tuple[int, ...] = (32, 64)
    """Channels of each 3x3 convolution; each but the first halves the resolution before it."""
    hidden: int = 128
    """Channels of a state."""
    layers: int = 1
    """LSTM layers."""
    date_harmonics: int = 2
    """Frequencies of the date channels; 0 leaves the dates to their order."""
    dropout: float = 0.2
    """Share of features dropped between LSTM layers and before the last in training."""

    def __post_init__(self) -> None:
        require_integers(1, channels=self.channels, classes=self.classes, widths=self.widths)
        require_integers(1, hidden=self.hidden, layers=self.layers)
        require_integers(0, date_harmonics=self.date_harmonics)
        require_fraction(dropout=self.dropout)
        require_patch_size(self.patch_size)
        if not self.widths:
            raise ValueError("widths is empty; expected the channels of at least one convolution")


class LRCN(Network):
    """Convolutions per date, averaged over the observed pixels; the last state of an LSTM over them is classified.

    A patch that was never observed has an embedding of zeros.
    """

    kind = "patch"

    def __init__(self, parameters: LRCNParameters) -> None:
        super().__init__()
        self.channels = parameters.channels
        self.classes = parameters.classes
        self.patch_size = parameters.patch_size
        self.date_harmonics = parameters.date_harmonics
        inputs = image_channels(parameters.channels, parameters.date_harmonics)
        self.convolutions = ObservedConvolutions(2, (inputs, *parameters.widths))
        self.image_embedding = parameters.widths[-1]
        self.recurrence = Recurrence(
            self.image_embedding, parameters.hidden, parameters.layers, bidirectional=False, dropout=parameters.dropout
        )
        self.dropout = nn.Dropout(parameters.dropout)
        self.classify = nn.Linear(parameters.hidden, parameters.classes)

    def logits(self, x: Tensor, dates: Tensor, valid: Tensor) -> Tensor:
        logits: Tensor = self.classify(self.dropout(self.embed(x, dates, valid)))
        return logits

    def embed(self, x: Tensor, dates: Tensor, valid: Tensor) -> Tensor:
        embeddings, seen = encode_dates(
            self._encode, self.image_embedding, x, dates, valid, self.date_harmonics, together=self.training
        )
        ever = seen.any(dim=1)
        if torch.compiler.is_exporting():  # all patches, observed or not: which ones are is not known yet
            seen = torch.cat([seen[:, :1] | ~ever.unsqueeze(1), seen[:, 1:]], dim=1)  # a series has one date at least
            ends = self.recurrence.ends(self.recurrence(embeddings, seen), seen)  # (B, hidden)
            return torch.where(ever.unsqueeze(1), ends, 0.0)
        embedding = x.new_zeros(len(x), self.recurrence.states)
        if ever.any():
            states = self.recurrence(embeddings[ever], seen[ever])  # (N, T', hidden)
            embedding[ever] = self.recurrence.ends(states, seen[ever]).to(embedding.dtype)
        return embedding

    def _encode(self, image: Tensor, observed: Tensor) -> Tensor:
        return observed_mean(*self.convolutions(image, observed))
