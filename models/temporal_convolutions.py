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
        if observed.all() and (not self.training or observed.numel() > 1):
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


class TemporalConvolutions(nn.Module):
    """1-D convolutions over the observations of each pixel, each with batch normalisation and ReLU.

    Args:
        widths: Channels of the input and of each layer.
        kernel: Dates under one kernel; odd.
        dropout: Share of features dropped after each layer in training.
    """

    def __init__(self, widths: tuple[int, ...], kernel: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.convolutions = nn.ModuleList(
            nn.Conv1d(below, width, kernel, padding=kernel // 2, bias=False)
            for below, width in itertools.pairwise(widths)
        )
        self.norms = nn.ModuleList(ObservedBatchNorm(width) for width in widths[1:])
        self.drop = nn.Dropout(dropout)

    def forward(self, series: Tensor, valid: Tensor) -> Tensor:
        """Shapes (N, T, C) and (N, T), valid dates first, to (N, widths[-1], T); zero where not valid."""
        # As images one pixel high with the channels last in memory: about twice as fast on processors.
        features, observed = series.transpose(1, 2).unsqueeze(2), valid.unsqueeze(1)  # (N, C, 1, T), (N, 1, T)
        for convolution, norm in zip(self.convolutions, self.norms, strict=True):
            weight, margin = convolution.weight.unsqueeze(2), convolution.padding[0]
            features = functional.conv2d(features, weight, padding=(0, margin))
            features = self.drop(norm(features, observed).relu())
        return features.squeeze(2)
