"""What every network here is: pixel series with dates and a validity mask in, class logits out."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import Any, Literal

import torch
from torch import Tensor, nn

DAYS_PER_YEAR = 365.25


class Network(nn.Module, ABC):
    """A network over `(B, T, C, H, W)` pixel series.

    What is not valid never reaches the output: a pixel-date with `valid` False is dropped, whatever its value,
    and a date that is valid nowhere is the same as no date.
    """

    kind: Literal["dense", "patch"]
    """`dense`: logits per pixel, `(B, K, H, W)`. `patch`: logits per patch, `(B, K)`."""

    channels: int
    """Bands and indices it takes, C."""

    classes: int
    """Crop classes it tells apart, K."""

    stride: int = 1
    """Dense: blocks that start at its multiples are classified as the whole raster would be."""

    receptive_radius: int = 0
    """Dense: how far, in pixels along an axis, an output pixel can see."""

    patch_size: int = 1
    """Patch: height and width of its patches in pixels; odd."""

    @property
    def halo(self) -> int:
        """Pixels to read around a block that starts at a multiple of the stride, itself such a multiple."""
        return -(-self.receptive_radius // self.stride) * self.stride

    @abstractmethod
    def logits(self, x: Tensor, dates: Tensor, valid: Tensor) -> Tensor:
        """`forward` without the check of its arguments; `x` is zero where `valid` is False."""

    @abstractmethod
    def embed(self, x: Tensor, dates: Tensor, valid: Tensor) -> Tensor:
        """`features` without the check of its arguments; `x` is zero where `valid` is False."""

    def forward(self, x: Tensor, dates: Tensor, valid: Tensor) -> Tensor:
        """Classifies pixel series.

        Args:
            x: Normalised channels, float32, shape (B, T, C, H, W); any value, NaN too, where not valid.
            dates: Days since the season's start, float32, shape (B, T), in order of time; any value where a date is
                valid nowhere.
            valid: True where observed, bool, shape (B, T, H, W).

        Returns:
            Unnormalised log-probabilities: (B, K, H, W) of a dense network, (B, K) of a patch network.

        Raises:
            ValueError: The shapes do not belong together, or `valid` is not boolean.
        """
        return self.logits(*self._masked(x, dates, valid))

    def features(self, x: Tensor, dates: Tensor, valid: Tensor) -> Tensor:
        """The embedding that the last layer classifies.

        Args:
            x: As in `forward`.
            dates: As in `forward`.
            valid: As in `forward`.

        Returns:
            (B, E, H, W) of a dense network, (B, E) of a patch network.

        Raises:
            ValueError: The shapes do not belong together, or `valid` is not boolean.
        """
        return self.embed(*self._masked(x, dates, valid))

    def _masked(self, x: Tensor, dates: Tensor, valid: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The same, checked, with zeros for values that are not valid and for days of dates that are valid nowhere."""
        self._check(x, dates, valid)
        nowhere = ~valid.flatten(2).any(dim=2)  # (B, T)
        return x.masked_fill(~valid.unsqueeze(2), 0.0), dates.masked_fill(nowhere, 0.0), valid

    def _check(self, x: Tensor, dates: Tensor, valid: Tensor) -> None:
        if x.ndim != 5 or x.shape[2] != self.channels:
            raise ValueError(f"x has shape {tuple(x.shape)}; expected (B, T, {self.channels}, H, W)")
        batch, times, _, height, width = x.shape
        if tuple(dates.shape) != (batch, times):
            raise ValueError(f"dates has shape {tuple(dates.shape)}; x of {tuple(x.shape)} needs {(batch, times)}")
        if tuple(valid.shape) != (batch, times, height, width) or valid.dtype != torch.bool:
            raise ValueError(
                f"valid is {valid.dtype} of shape {tuple(valid.shape)}; expected torch.bool of shape "
                f"{(batch, times, height, width)}"
            )
        if 0 in x.shape:
            raise ValueError(f"x is empty: its shape is {tuple(x.shape)}")


def date_channels(dates: Tensor, harmonics: int) -> Tensor:
    """Days of the season as smooth periodic channels: sine and cosine of the year and of its first overtones.

    Args:
        dates: Days since the season's start, shape (B, T).
        harmonics: How many frequencies: 1 is the year, 2 adds the half-year, ...

    Returns:
        Shape (B, T, 2 * harmonics).
    """
    order = torch.arange(1, harmonics + 1, device=dates.device, dtype=dates.dtype)
    angle = dates.unsqueeze(-1) * order * (2 * math.pi / DAYS_PER_YEAR)  # (B, T, harmonics)
    return torch.cat([angle.sin(), angle.cos()], dim=-1)


def day_positions(days: Tensor, width: int, longest: float = 1000.0) -> Tensor:
    """Days as sines and cosines of wavelengths from 2 pi to 2 pi times `longest`, as a transformer takes positions.

    Args:
        days: Days since the season's start, shape (N, T).
        width: Channels, even.
        longest: 1000 days as in Garnot & Landrieu (2020); Vaswani et al. (2017) have 10000 words.

    Returns:
        Sines, then cosines, shape (N, T, width).
    """
    half = torch.arange(width // 2, device=days.device, dtype=days.dtype)
    angle = days.unsqueeze(-1) * longest ** (-2 * half / width)  # (N, T, width / 2)
    return torch.cat([angle.sin(), angle.cos()], dim=-1)


def require_integers(least: int, **values: Any) -> None:
    """Refuses hyper-parameters that are not whole numbers of at least `least`, tuples of them included."""
    for name, value in values.items():
        for item in value if isinstance(value, tuple) else (value,):
            if isinstance(item, bool) or not isinstance(item, int) or item < least:
                raise ValueError(f"{name} is {value!r}; expected whole numbers of at least {least}")


def require_fraction(**values: float) -> None:
    """Refuses hyper-parameters outside 0 <= value < 1."""
    for name, value in values.items():
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < 1:
            raise ValueError(f"{name} is {value!r}; expected a number from 0 to below 1")
