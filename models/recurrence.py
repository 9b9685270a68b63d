"""Recurrent layers that know how many observations each pixel has."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

Cell = Literal["lstm", "gru"]
CELLS: dict[str, type[nn.LSTM] | type[nn.GRU]] = {"lstm": nn.LSTM, "gru": nn.GRU}


class Recurrence(nn.Module):
    """Stacked LSTM or GRU layers, in one or both directions.

    Padding behind a pixel's observations never reaches a state at one of them: going back, each pixel's own
    observations are turned round. That is twice as fast on processors as packed sequences.

    Args:
        inputs: Channels of the series.
        hidden: Channels of a state, per direction.
        layers: How many.
        bidirectional: Also from the last observation back to the first.
        cell: `lstm` or `gru`.
        dropout: Share of features dropped between layers in training.
    """

    def __init__(
        self, inputs: int, hidden: int, layers: int, bidirectional: bool, cell: Cell = "lstm", dropout: float = 0.0
    ) -> None:
        super().__init__()
        self.states = hidden * (2 if bidirectional else 1)
        below = [inputs] + [self.states] * (layers - 1)
        self.ahead = nn.ModuleList(CELLS[cell](width, hidden, batch_first=True) for width in below)
        self.back = nn.ModuleList(CELLS[cell](width, hidden, batch_first=True) for width in below if bidirectional)
        self.drop = nn.Dropout(dropout)
        for layer in (*self.ahead, *self.back):
            if isinstance(layer, nn.LSTM):
                # Remembering is the better first guess (Jozefowicz et al. 2015).
                nn.init.ones_(layer.get_parameter("bias_ih_l0")[hidden : 2 * hidden])

    def forward(self, series: Tensor, valid: Tensor) -> Tensor:
        """States at each observation.

        Args:
            series: Shape (N, T, C).
            valid: Observations first, shape (N, T).

        Returns:
            Ahead, then back; of no meaning where not valid, shape (N, T, states).
        """
        turned = turn_round(valid)
        for layer, ahead in enumerate(self.ahead):
            features = self.drop(series) if layer else series
            series, _ = ahead(features)
            if self.back:
                states, _ = self.back[layer](_take(features, turned))
                series = torch.cat([series, _take(states, turned)], dim=2)
        return series

    def ends(self, states: Tensor, valid: Tensor) -> Tensor:
        """The state after the last observation going ahead, and after the first going back, shape (N, states)."""
        last = valid.sum(dim=1) - 1
        ahead = states.gather(1, last.view(-1, 1, 1).expand(-1, 1, states.shape[2])).squeeze(1)  # (N, states)
        if not self.back:
            return ahead
        half = self.states // 2
        return torch.cat([ahead[:, :half], states[:, 0, half:]], dim=1)


def turn_round(valid: Tensor) -> Tensor:
    """The order that turns each pixel's observations round and keeps them at the front; its own inverse.

    Args:
        valid: Observations first, shape (N, T).

    Returns:
        int64, shape (N, T).
    """
    times = valid.shape[1]
    return (valid.sum(dim=1, keepdim=True) - 1 - torch.arange(times, device=valid.device)) % times


def _take(series: Tensor, order: Tensor) -> Tensor:
    return series.gather(1, order.unsqueeze(-1).expand(-1, -1, series.shape[2]))
