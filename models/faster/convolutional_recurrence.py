"""ConvLSTM and ConvRNN for prediction: the same states, sooner and in less memory.

What differs from `models.convolutional_recurrence` is the order of the work. An image is stepped strip by strip of
rows, so that the gates of a strip are made, used and forgotten while they are in the processor's cache; channels lie
last in memory; input and state have a convolution each, and neither is copied to stand beside the other; gates are
computed in place, hyperbolic tangents as logistic functions; and where all pixels were observed at a date nothing is
masked. Only the states themselves are as large as the image.

In bfloat16 the convolutions take and give bfloat16, and the gates and what a cell remembers are float32.
"""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn
from torch.nn import functional

from models.convlstm import ConvLSTM, ConvLSTMCell
from models.convolutional_recurrence import ConvolutionalRecurrence
from models.convrnn import ConvGRUCell, ConvRNN, ConvSTARCell
from models.network import Network, date_channels

GATES_AT_ONCE = {"cpu": 2**20, "cuda": 2**27}
"""Values of gates that are computed together, by device; at least those of one row."""


class FasterCell(nn.Module, ABC):
    """A convolutional cell whose convolutions of input and state stand apart.

    Args:
        hidden: Channels of the state.
        of_input: Weights of the input, shape (gates, inputs, 3, 3), and biases, shape (gates,).
        of_state: Weights of the state, shape (gates', hidden, 3, 3), and biases or None for none.
        precision: Of the convolutions.
    """

    input_weight: Tensor
    input_bias: Tensor
    state_weight: Tensor
    state_bias: Tensor | None

    def __init__(
        self,
        hidden: int,
        of_input: tuple[Tensor, Tensor],
        of_state: tuple[Tensor, Tensor | None],
        precision: torch.dtype,
    ) -> None:
        super().__init__()
        self.hidden, self.gates = hidden, len(of_input[0])
        for name, (weight, bias) in (("input", of_input), ("state", of_state)):
            weight = weight.detach().to(precision, memory_format=torch.channels_last)
            self.register_buffer(f"{name}_weight", weight, persistent=False)
            self.register_buffer(
                f"{name}_bias", None if bias is None else bias.detach().to(precision), persistent=False
            )

    @abstractmethod
    def step(self, from_input: Tensor, from_state: Tensor, memory: Tensor) -> tuple[Tensor, Tensor]:
        """The state after a date that every pixel was observed at, and what is remembered; may overwrite `from_input`.

        Args:
            from_input: What the convolution makes of the input, float32, shape (B, H, W, gates).
            from_state: What it makes of the state, float32, shape (B, H, W, gates').
            memory: What was remembered, float32, shape (B, H, W, hidden).
        """

    def forward(self, x: Tensor, state: Tensor, memory: Tensor) -> tuple[Tensor, Tensor]:
        """The same, of some rows; `x` and `state` have a row more on each side, shape (B, H + 2, W, ...)."""
        return self.step(
            _convolved(x, self.input_weight, self.input_bias).float(),
            _convolved(state, self.state_weight, self.state_bias).float(),
            memory,
        )


class FasterLSTMCell(FasterCell):
    """Remembers its cell state."""

    def __init__(self, cell: ConvLSTMCell, precision: torch.dtype) -> None:
        weight, bias = (_doubled(part, 3 * cell.hidden) for part in cell.gates.parameters())
        inputs = weight.shape[1] - cell.hidden
        super().__init__(cell.hidden, (weight[:, :inputs], bias), (weight[:, inputs:], None), precision)

    def step(self, from_input: Tensor, from_state: Tensor, memory: Tensor) -> tuple[Tensor, Tensor]:
        i, f, o, g = from_input.add_(from_state).sigmoid_().chunk(4, dim=-1)  # each (B, H, W, hidden)
        c = f.mul_(memory).sub_(i).addcmul_(i, g, value=2)  # the candidate is 2 g - 1
        return o.mul_(_tanh_of_half(2 * c)), c


class FasterSTARCell(FasterCell):
    """Remembers its state."""

    def __init__(self, cell: ConvSTARCell, precision: torch.dtype) -> None:
        (gate, gate_bias), (candidate, candidate_bias) = cell.gate.parameters(), cell.candidate.parameters()
        inputs = candidate.shape[1]
        weight = torch.cat([gate[:, :inputs], 2 * candidate])
        bias = torch.cat([gate_bias, 2 * candidate_bias])
        super().__init__(cell.hidden, (weight, bias), (gate[:, inputs:], None), precision)

    def step(self, from_input: Tensor, from_state: Tensor, memory: Tensor) -> tuple[Tensor, Tensor]:
        gate, candidate = from_input.chunk(2, dim=-1)
        k = gate.add_(from_state).sigmoid_()
        h = _tanh_of_half(torch.lerp(memory, _tanh_of_half(candidate), k).mul_(2))
        return h, h


class FasterGRUCell(FasterCell):
    """Remembers its state."""

    def __init__(self, cell: ConvGRUCell, precision: torch.dtype) -> None:
        (weight, bias), (state_weight, state_bias) = (
            [_doubled(part, 2 * cell.hidden) for part in convolution.parameters()]
            for convolution in (cell.of_input, cell.of_state)
        )
        super().__init__(cell.hidden, (weight, bias), (state_weight, state_bias), precision)

    def step(self, from_input: Tensor, from_state: Tensor, memory: Tensor) -> tuple[Tensor, Tensor]:
        first = 2 * self.hidden
        r, z = from_input[..., :first].add_(from_state[..., :first]).sigmoid_().chunk(2, dim=-1)
        n = _tanh_of_half(from_input[..., first:].addcmul_(r, from_state[..., first:]))
        h = torch.lerp(n, memory, z)
        return h, h


class FasterRecurrence(nn.ModuleList):
    """Stacked cells, as `ConvolutionalRecurrence`, for prediction only.

    Args:
        recurrence: The trained one.
        precision: float32 or bfloat16, of the convolutions.
    """

    def __init__(self, recurrence: ConvolutionalRecurrence, precision: torch.dtype) -> None:
        super().__init__(_faster_cell(cell, precision) for cell in recurrence)
        self.date_harmonics = recurrence.date_harmonics
        self.precision = precision

    def forward(self, x: Tensor, dates: Tensor, valid: Tensor) -> Tensor:
        """The highest cell's state after the last date; zero in a pixel that was never observed.

        Args:
            x: Zero where not valid, shape (B, T, C, H, W).
            dates: Shape (B, T).
            valid: Shape (B, T, H, W).

        Returns:
            float32, shape (B, hidden, H, W), channels last in memory.
        """
        batch, times, channels, height, width = x.shape
        cells = [cell for cell in self if isinstance(cell, FasterCell)]
        rows = slice(1, height + 1)  # a row of zeros above and below is the padding of the convolutions

        def image(channels: int, dtype: torch.dtype = self.precision, border: int = 2) -> Tensor:
            return torch.zeros(batch, height + border, width, channels, dtype=dtype, device=x.device)

        season = date_channels(dates.float(), self.date_harmonics)[:, :, None, None] if self.date_harmonics else None
        lowest = image(channels + 2 * self.date_harmonics)
        states = [image(cell.hidden) for cell in cells]
        fresh = [image(cell.hidden) for cell in cells]
        memories = [image(cell.hidden, torch.float32, border=0) for cell in cells]
        for t in range(times):
            observed: Tensor | None = valid[:, t]  # (B, H, W)
            if not valid[:, t].any():
                continue
            if valid[:, t].all():
                observed = None
            lowest[:, rows, :, :channels] = x[:, t].permute(0, 2, 3, 1)
            if season is not None:
                lowest[:, rows, :, channels:] = season[:, t] * valid[:, t].unsqueeze(-1)
            below = lowest
            for layer, cell in enumerate(cells):
                _step_by_strips(cell, below, states[layer], fresh[layer], memories[layer], observed)
                states[layer], fresh[layer] = fresh[layer], states[layer]
                below = states[layer]
        return states[-1][:, rows].permute(0, 3, 1, 2).float()


def faster_recurrence(network: Network, precision: torch.dtype = torch.float32) -> Network:
    """A network of convolutional recurrence for prediction only, with the same interface.

    Its classes are the original's but for rounding. In float32, probabilities are the same to about 1e-6.

    Args:
        network: A `ConvLSTM`, of patches or dense, or a `ConvRNN`.
        precision: float32 or bfloat16, of its convolutions.

    Raises:
        TypeError: It is another network.
    """
    if not isinstance(network, (ConvLSTM, ConvRNN)):
        raise TypeError(f"{type(network).__name__} is not made of convolutional cells")
    made = copy.copy(network)
    made._modules = {**network._modules, "cells": FasterRecurrence(network.cells, precision)}
    return made.eval()


def _faster_cell(cell: nn.Module, precision: torch.dtype) -> FasterCell:
    if isinstance(cell, ConvLSTMCell):
        return FasterLSTMCell(cell, precision)
    if isinstance(cell, ConvSTARCell):
        return FasterSTARCell(cell, precision)
    if isinstance(cell, ConvGRUCell):
        return FasterGRUCell(cell, precision)
    raise TypeError(f"{type(cell).__name__} has no faster form")


def _step_by_strips(
    cell: FasterCell, x: Tensor, state: Tensor, fresh: Tensor, memory: Tensor, observed: Tensor | None
) -> None:
    """Writes the state after a date into `fresh`, and what is remembered into `memory`.

    Args:
        cell: The cell.
        x: Its input, shape (B, H + 2, W, inputs).
        state: The state before, shape (B, H + 2, W, hidden).
        fresh: Of the same shape.
        memory: Shape (B, H, W, hidden).
        observed: Shape (B, H, W); None for everywhere.
    """
    batch, height, width, _ = memory.shape
    at_once = max(1, GATES_AT_ONCE.get(x.device.type, 2**20) // (batch * width * cell.gates))
    for start in range(0, height, at_once):
        end = min(height, start + at_once)
        around, within, own = slice(start, end + 2), slice(start + 1, end + 1), slice(start, end)
        new, remembered = cell(x[:, around], state[:, around], memory[:, own])
        if observed is not None:
            here = observed[:, own].unsqueeze(-1)
            new = torch.where(here, new, state[:, within])
            remembered = torch.where(here, remembered, memory[:, own])
        fresh[:, within] = new
        memory[:, own] = remembered


def _doubled(values: Tensor, first: int) -> Tensor:
    """Weights or biases of gates, from the `first` on times two: what goes through `_tanh_of_half`, which is exact."""
    return torch.cat([values[:first], 2 * values[first:]])


def _tanh_of_half(twice: Tensor) -> Tensor:
    """In place; on processors torch's logistic function is ten times as fast as its hyperbolic tangent."""
    return twice.sigmoid_().mul_(2).sub_(1)


def _convolved(rows: Tensor, weights: Tensor, bias: Tensor | None) -> Tensor:
    """A 3x3 convolution of rows, (B, H + 2, W, C) to (B, H, W, C'); zero beyond the first and last column."""
    return functional.conv2d(rows.permute(0, 3, 1, 2), weights, bias, padding=(0, 1)).permute(0, 2, 3, 1)
