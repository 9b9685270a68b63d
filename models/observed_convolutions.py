"""Convolutions over space, or over time and space, that know what was observed."""

from __future__ import annotations

import itertools
from typing import Literal

from torch import Tensor, nn
from torch.nn import functional

from models.temporal_convolutions import ObservedBatchNorm


class ObservedConvolutions(nn.Module):
    """Convolutions with a kernel of 3 along each axis, each with batch normalisation and ReLU; a maximum between two.

    What was not observed is zero before each of them, as is the padding at the edge. The maximum halves every axis.

    Args:
        axes: 2 for height and width, 3 for time as well.
        widths: Channels of the input and of each convolution.
    """

    def __init__(self, axes: Literal[2, 3], widths: tuple[int, ...]) -> None:
        super().__init__()
        convolution: type[nn.Conv2d] | type[nn.Conv3d] = nn.Conv2d if axes == 2 else nn.Conv3d
        self.pool = functional.max_pool2d if axes == 2 else functional.max_pool3d
        self.convolutions = nn.ModuleList(
            convolution(below, width, kernel_size=3, padding=1, bias=False)
            for below, width in itertools.pairwise(widths)
        )
        self.norms = nn.ModuleList(ObservedBatchNorm(width) for width in widths[1:])

    def forward(self, features: Tensor, observed: Tensor) -> tuple[Tensor, Tensor]:
        """Convolves.

        Args:
            features: Zero where not observed, shape (N, widths[0], H, W) or (N, widths[0], T, H, W).
            observed: Shape (N, H, W) or (N, T, H, W).

        Returns:
            Features, never negative and zero where not observed, and what was observed, both at the last resolution.
        """
        for layer, (convolution, norm) in enumerate(zip(self.convolutions, self.norms, strict=True)):
            if layer:
                features = self.pool(features, 2, ceil_mode=True)
                observed = halved(observed)
            features = norm(convolution(features), observed).relu()
        return features, observed


def halved(observed: Tensor) -> Tensor:
    """At half the resolution, where anything was observed; the last of an odd number stands alone.

    Args:
        observed: Shape (N, H, W) or (N, T, H, W), bool; all but the first axis are halved.
    """
    pool = functional.max_pool2d if observed.ndim == 3 else functional.max_pool3d
    return pool(observed.float().unsqueeze(1), 2, ceil_mode=True).squeeze(1).bool()


def observed_mean(features: Tensor, observed: Tensor) -> Tensor:
    """Mean of `features`, shape (N, C, ...), where `observed`, shape (N, ...), is True: (N, C); zero if nowhere."""
    total = (features * observed.unsqueeze(1)).flatten(2).sum(dim=2)
    return total / observed.flatten(1).sum(dim=1, keepdim=True).clamp(min=1)
