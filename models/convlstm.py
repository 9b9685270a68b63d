"""ConvLSTM: a patch of pixel series to one crop class.

References:
    Shi et al. (2015), Convolutional LSTM Network: A Machine Learning Approach for Precipitation Nowcasting, NeurIPS;
    without the peephole weights, as is usual since.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from models.network import Network, date_channels, require_fraction, require_integers

LARGEST_PATCH = 9


@dataclass(frozen=True)
class ConvLSTMParameters:
    """Hyper-parameters of `ConvLSTM`."""

    channels: int
    """Bands and indices per date."""
    classes: int
    """Crop classes."""
    patch_size: int = 5
    """Height and width of the patch in pixels: odd, at most 9."""
    hidden: tuple[int, ...] = (64, 128)
    """Channels of each stacked cell's state."""
    date_harmonics: int = 0
    """Frequencies of the date channels; 0 leaves the dates to their order."""
    dropout: float = 0.0
    """Share of pooled features dropped in training."""

    def __post_init__(self) -> None:
        require_integers(1, channels=self.channels, classes=self.classes)
        require_integers(1, patch_size=self.patch_size, hidden=self.hidden)
        require_integers(0, date_harmonics=self.date_harmonics)
        require_fraction(dropout=self.dropout)
        if self.patch_size % 2 == 0 or self.patch_size > LARGEST_PATCH:
            raise ValueError(f"patch_size is {self.patch_size}; expected an odd number of at most {LARGEST_PATCH}")
        if not self.hidden:
            raise ValueError("hidden is empty; expected the channels of at least one cell")


class ConvLSTMCell(nn.Module):
    """One step of a convolutional LSTM; a pixel that is not observed keeps its state."""

    def __init__(self, inputs: int, hidden: int) -> None:
        super().__init__()
        self.hidden = hidden
        self.gates = nn.Conv2d(inputs + hidden, 4 * hidden, kernel_size=3, padding=1)
        # Remembering is the better first guess (Jozefowicz et al. 2015).
        nn.init.ones_(self.gates.bias[hidden : 2 * hidden])  # type: ignore[index]

    def forward(self, x: Tensor, state: tuple[Tensor, Tensor], observed: Tensor) -> tuple[Tensor, Tensor]:
        """Takes one date in.

        Args:
            x: Shape (B, inputs, H, W).
            state: Hidden and cell state, each (B, hidden, H, W).
            observed: Shape (B, 1, H, W), bool.

        Returns:
            The state after it.
        """
        h, c = state
        i, f, o, g = self.gates(torch.cat([x, h], dim=1)).chunk(4, dim=1)  # each (B, hidden, H, W)
        c_next = f.sigmoid() * c + i.sigmoid() * g.tanh()
        h_next = o.sigmoid() * c_next.tanh()
        return torch.where(observed, h_next, h), torch.where(observed, c_next, c)


class ConvLSTM(Network):
    """Stacked ConvLSTM cells; the last hidden state, averaged over the observed pixels, is classified."""

    kind = "patch"

    def __init__(self, parameters: ConvLSTMParameters) -> None:
        super().__init__()
        self.channels = parameters.channels
        self.classes = parameters.classes
        self.patch_size = parameters.patch_size
        self.date_harmonics = parameters.date_harmonics
        inputs = (parameters.channels + 2 * parameters.date_harmonics, *parameters.hidden)
        self.cells = nn.ModuleList(
            ConvLSTMCell(below, hidden) for below, hidden in zip(inputs, parameters.hidden, strict=False)
        )
        self.dropout = nn.Dropout(parameters.dropout)
        self.classify = nn.Linear(parameters.hidden[-1], parameters.classes)

    def logits(self, x: Tensor, dates: Tensor, valid: Tensor) -> Tensor:
        logits: Tensor = self.classify(self.dropout(self.embed(x, dates, valid)))
        return logits

    def embed(self, x: Tensor, dates: Tensor, valid: Tensor) -> Tensor:
        batch, times, _, height, width = x.shape
        valid = valid.unsqueeze(2)  # (B, T, 1, H, W)
        if self.date_harmonics:
            season = date_channels(dates, self.date_harmonics)[..., None, None]  # (B, T, 2n, 1, 1)
            x = torch.cat([x, season * valid], dim=2)
        states = [
            (x.new_zeros(batch, cell.hidden, height, width), x.new_zeros(batch, cell.hidden, height, width))
            for cell in self._cells()
        ]
        for t in range(times):
            observed = valid[:, t]
            if not torch.compiler.is_exporting() and not observed.any():
                continue
            features = x[:, t]
            for layer, cell in enumerate(self._cells()):
                states[layer] = cell(features, states[layer], observed)
                features = states[layer][0]
        seen = valid.any(dim=1)  # (B, 1, H, W)
        return (states[-1][0] * seen).sum(dim=(2, 3)) / seen.sum(dim=(2, 3)).clamp(min=1)  # (B, hidden)

    def _cells(self) -> list[ConvLSTMCell]:
        return [cell for cell in self.cells if isinstance(cell, ConvLSTMCell)]
