"""ConvRNN: stacked convolutional recurrent cells, ConvSTAR or ConvGRU, to the crop class of each pixel.

What the original does that we do not: it predicts three levels of a label hierarchy from cells of three depths and
refines them by a network of its own, where ours has one set of classes; and it stacks six cells of 64 channels.

References:
    Turkoglu et al. (2021), Crop mapping from image time series: deep learning with multi-scale label hierarchies,
    Remote Sensing of Environment 264 (ConvSTAR for crops); Turkoglu et al. (2022), Gating Revisited: Deep Multi-Layer
    RNNs That Can Be Trained, IEEE TPAMI 44(8) (the STAR cell); Ballas et al. (2016), Delving Deeper into Convolutional
    Networks for Learning Video Representations, ICLR (ConvGRU).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from models.convolutional_recurrence import ConvolutionalCell, ConvolutionalRecurrence, State
from models.network import Network, require_fraction, require_integers


@dataclass(frozen=True)
class ConvRNNParameters:
    """Hyper-parameters of `ConvRNN`."""

    channels: int
    """Bands and indices per date."""
    classes: int
    """Crop classes."""
    cell: Literal["star", "gru"] = "star"
    """`star` or `gru`."""
    hidden: tuple[int, ...] = (32, 32, 32)
    """Channels of each stacked cell's state."""
    date_harmonics: int = 2
    """Frequencies of the date channels; 0 leaves the dates to their order."""
    dropout: float = 0.2
    """Share of features dropped before the last layer in training."""
    reach: int = 12
    """Pixels around a block that are read with it. What lies farther off still seeps in, date by date, where a season
    has more than `reach` - cells + 1 dates, and is then left out."""

    def __post_init__(self) -> None:
        require_integers(1, channels=self.channels, classes=self.classes, hidden=self.hidden)
        require_integers(0, date_harmonics=self.date_harmonics)
        require_fraction(dropout=self.dropout)
        if self.cell not in CELLS:
            raise ValueError(f"cell is {self.cell!r}; expected {' or '.join(CELLS)}")
        if not self.hidden:
            raise ValueError("hidden is empty; expected the channels of at least one cell")
        require_integers(len(self.hidden), reach=self.reach)


class ConvSTARCell(ConvolutionalCell):
    """One gate that weighs the state against what the date alone says."""

    def __init__(self, inputs: int, hidden: int) -> None:
        super().__init__(hidden)
        self.gate = nn.Conv2d(inputs + hidden, hidden, kernel_size=3, padding=1)
        self.candidate = nn.Conv2d(inputs, hidden, kernel_size=3, padding=1)

    def step(self, x: Tensor, state: State) -> State:
        (h,) = state
        k = self.gate(torch.cat([x, h], dim=1)).sigmoid()
        return (((1 - k) * h + k * self.candidate(x).tanh()).tanh(),)


class ConvGRUCell(ConvolutionalCell):
    """Reset and update gates.

    The reset gate acts behind the convolution of the state, as in cuDNN, and not before it: a step then passes a state
    on by one pixel, not by two.
    """

    def __init__(self, inputs: int, hidden: int) -> None:
        super().__init__(hidden)
        self.of_input = nn.Conv2d(inputs, 3 * hidden, kernel_size=3, padding=1)
        self.of_state = nn.Conv2d(hidden, 3 * hidden, kernel_size=3, padding=1)

    def step(self, x: Tensor, state: State) -> State:
        (h,) = state
        r_x, z_x, n_x = self.of_input(x).chunk(3, dim=1)  # each (B, hidden, H, W)
        r_h, z_h, n_h = self.of_state(h).chunk(3, dim=1)
        z = (z_x + z_h).sigmoid()
        n = (n_x + (r_x + r_h).sigmoid() * n_h).tanh()
        return ((1 - z) * n + z * h,)


CELLS: dict[str, type[ConvSTARCell] | type[ConvGRUCell]] = {"star": ConvSTARCell, "gru": ConvGRUCell}


class ConvRNN(Network):
    """Stacked cells; each pixel's last state is classified.

    The receptive field grows with every date: `receptive_radius` is the hyper-parameter `reach`, and not exact (see
    `models.convolutional_recurrence`).
    """

    kind = "dense"

    def __init__(self, parameters: ConvRNNParameters) -> None:
        super().__init__()
        self.channels = parameters.channels
        self.classes = parameters.classes
        self.receptive_radius = parameters.reach
        cell = CELLS[parameters.cell]
        inputs = (parameters.channels + 2 * parameters.date_harmonics, *parameters.hidden)
        self.cells = ConvolutionalRecurrence(
            (cell(below, hidden) for below, hidden in zip(inputs, parameters.hidden, strict=False)),
            parameters.date_harmonics,
        )
        self.dropout = nn.Dropout(parameters.dropout)
        self.classify = nn.Conv2d(parameters.hidden[-1], parameters.classes, 1)

    def logits(self, x: Tensor, dates: Tensor, valid: Tensor) -> Tensor:
        logits: Tensor = self.classify(self.dropout(self.embed(x, dates, valid)))
        return logits

    def embed(self, x: Tensor, dates: Tensor, valid: Tensor) -> Tensor:
        states: Tensor = self.cells(x, dates, valid)  # (B, hidden, H, W)
        return states
