"""ConvLSTM: pixel series in their surroundings to the crop class of a patch, or of each pixel.

With 5 channels, `patch_size` 65 and the other hyper-parameters as they are it is the published design for crops: two
cells of 64 and 128 channels, the last hidden state averaged over the patch, one linear layer.

References:
    Shi et al. (2015), Convolutional LSTM Network: A Machine Learning Approach for Precipitation Nowcasting, NeurIPS;
    without the peephole weights, as is usual since.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from models.convolutional_recurrence import ConvolutionalCell, ConvolutionalRecurrence, State
from models.network import Network, require_fraction, require_integers

LARGEST_PATCH = 65


@dataclass(frozen=True)
class ConvLSTMParameters:
    """Hyper-parameters of `ConvLSTM`."""

    channels: int
    """Bands and indices per date."""
    classes: int
    """Crop classes."""
    patch_size: int = 5
    """Height and width of the patch in pixels: odd, at most 65; of no meaning if dense."""
    hidden: tuple[int, ...] = (64, 128)
    """Channels of each stacked cell's state."""
    date_harmonics: int = 0
    """Frequencies of the date channels; 0 leaves the dates to their order."""
    dropout: float = 0.0
    """Share of pooled features dropped in training."""
    dense: bool = False
    """Classifies each pixel by its own last hidden state, not the patch by their mean."""
    reach: int = 12
    """If dense: pixels around a block that are read with it. What lies farther off still seeps in, date by date, where
    a season has more than `reach` - cells + 1 dates, and is then left out."""

    def __post_init__(self) -> None:
        require_integers(1, channels=self.channels, classes=self.classes)
        require_integers(1, patch_size=self.patch_size, hidden=self.hidden)
        require_integers(0, date_harmonics=self.date_harmonics)
        require_fraction(dropout=self.dropout)
        if self.patch_size % 2 == 0 or self.patch_size > LARGEST_PATCH:
            raise ValueError(f"patch_size is {self.patch_size}; expected an odd number of at most {LARGEST_PATCH}")
        if not self.hidden:
            raise ValueError("hidden is empty; expected the channels of at least one cell")
        if not isinstance(self.dense, bool):
            raise ValueError(f"dense is {self.dense!r}; expected true or false")
        require_integers(len(self.hidden), reach=self.reach)


class ConvLSTMCell(ConvolutionalCell):
    """One step of a convolutional LSTM; its state is the hidden state and the cell state."""

    images = 2

    def __init__(self, inputs: int, hidden: int) -> None:
        super().__init__(hidden)
        self.gates = nn.Conv2d(inputs + hidden, 4 * hidden, kernel_size=3, padding=1)
        # Remembering is the better first guess (Jozefowicz et al. 2015).
        nn.init.ones_(self.gates.bias[hidden : 2 * hidden])  # type: ignore[index]

    def step(self, x: Tensor, state: State) -> State:
        h, c = state
        i, f, o, g = self.gates(torch.cat([x, h], dim=1)).chunk(4, dim=1)  # each (B, hidden, H, W)
        c = f.sigmoid() * c + i.sigmoid() * g.tanh()
        return o.sigmoid() * c.tanh(), c


class ConvLSTM(Network):
    """Stacked ConvLSTM cells; the last hidden state is classified.

    Of a patch it is the mean over the observed pixels, if dense each pixel's own. A dense one's receptive field grows
    with every date: `receptive_radius` is the hyper-parameter `reach`, and not exact (see
    `models.convolutional_recurrence`).
    """

    def __init__(self, parameters: ConvLSTMParameters) -> None:
        super().__init__()
        self.channels = parameters.channels
        self.classes = parameters.classes
        if parameters.dense:
            self.kind = "dense"
            self.receptive_radius = parameters.reach
        else:
            self.kind = "patch"
            self.patch_size = parameters.patch_size
        inputs = (parameters.channels + 2 * parameters.date_harmonics, *parameters.hidden)
        self.cells = ConvolutionalRecurrence(
            (ConvLSTMCell(below, hidden) for below, hidden in zip(inputs, parameters.hidden, strict=False)),
            parameters.date_harmonics,
        )
        self.dropout = nn.Dropout(parameters.dropout)
        self.classify = nn.Linear(parameters.hidden[-1], parameters.classes)

    def logits(self, x: Tensor, dates: Tensor, valid: Tensor) -> Tensor:
        features = self.dropout(self.embed(x, dates, valid))  # (B, E) or (B, E, H, W)
        logits: Tensor = self.classify(features.movedim(1, -1)).movedim(-1, 1)
        return logits

    def embed(self, x: Tensor, dates: Tensor, valid: Tensor) -> Tensor:
        states: Tensor = self.cells(x, dates, valid)  # (B, hidden, H, W)
        if self.kind == "dense":
            return states
        seen = valid.any(dim=1, keepdim=True)  # (B, 1, H, W)
        return (states * seen).sum(dim=(2, 3)) / seen.sum(dim=(2, 3)).clamp(min=1)  # (B, hidden)
