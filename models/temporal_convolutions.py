"""Convolutions over time that know which dates were observed."""

from __future__ import annotations

import itertools

import torch
from torch import Tensor, nn
from torch.nn import functional


class ObservedBatchNorm(nn.BatchNorm1d):
    """Batch normalisation that sees observed positions only and is zero at all others.

    Zero is also what padding puts beyond the edge, so that an unobserved pixel and no pixel are the same.
    """

    def forward(self, features: Tensor, observed: Tensor) -> Tensor:  # type: ignore[override]
        """Normalises `features` of shape (N, C, ...) where `observed`, of shape (N, ...), is True."""
        if not torch.compiler.is_exporting() and observed.all() and (not self.training or observed.numel() > 1):
            return super().forward(features)
        if not self.training or int(observed.sum()) < 2:  # a single value has no variance
            normalised = functional.batch_norm(
                features, self.running_mean, self.running_var, self.weight, self.bias, eps=self.eps
            )
            return normalised * observed.unsqueeze(1)
        rows = features.movedim(1, -1)  # (N, ..., C)
        result = torch.zeros_like(rows)
        result[observed] = super().forward(rows[observed])
        return result.movedim(-1, 1)

    def _check_input_dim(self, input: Tensor) -> None:
        """Any number of dimensions after the channels is fine."""


class ConvolutionOverTime(nn.Conv1d):
    """A convolution of series that stand as images one pixel high, shape (N, C, 1, T).

    With the channels last in memory that is about twice as fast on processors as a convolution of (N, C, T).
    """

    def forward(self, input: Tensor) -> Tensor:
        """Shape (N, C, 1, T) to (N, C', 1, T)."""
        return functional.conv2d(input, self.weight.unsqueeze(2), self.bias, padding=(0, self.kernel_size[0] // 2))


class TemporalConvolutions(nn.Module):
    """1-D convolutions over the observations of each pixel, each with batch normalisation and ReLU.

    Args:
        widths: Channels of the input and of each layer.
        kernel: Dates under one kernel; odd.
        dropout: Share of a pixel's channels dropped after each layer in training, at all its dates (Tompson et al.
            2015).
        bias: Of the convolutions.
    """

    def __init__(self, widths: tuple[int, ...], kernel: int, dropout: float = 0.0, bias: bool = False) -> None:
        super().__init__()
        self.convolutions = nn.ModuleList(
            ConvolutionOverTime(below, width, kernel, padding=kernel // 2, bias=bias)
            for below, width in itertools.pairwise(widths)
        )
        self.norms = nn.ModuleList(ObservedBatchNorm(width) for width in widths[1:])
        self.drop = nn.Dropout2d(dropout)

    def forward(self, series: Tensor, valid: Tensor) -> Tensor:
        """Shapes (N, T, C) and (N, T), valid dates first, to (N, widths[-1], T); zero where not valid."""
        features, observed = series.transpose(1, 2).unsqueeze(2), valid.unsqueeze(1)  # (N, C, 1, T), (N, 1, T)
        for convolution, norm in zip(self.convolutions, self.norms, strict=True):
            features = self.drop(norm(convolution(features), observed).relu())
        return features.squeeze(2)
