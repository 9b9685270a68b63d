"""Pixel series with the dates first, (T, N, C): a convolution over time is then one of an image, T high and N wide."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn

from models.faster.fused import as_image, as_rows, fused_over_time
from models.faster.workspace import Workspace, of_all_threads
from models.network import date_channels
from models.temporal_convolutions import ConvolutionOverTime, ObservedBatchNorm, TemporalConvolutions

VALUES_AT_ONCE = {"cpu": 3 * 2**18, "cuda": 2**28}
"""Values of a layer that are seen together, by device: they are to stay in the caches. On processors of each thread."""


@dataclass(frozen=True)
class Series:
    """The series of N pixels."""

    values: Tensor
    """Channels, zero where not valid, shape (T, N, C)."""
    days: Tensor
    """Days since the season's start, shape (T,)."""
    valid: Tensor | None
    """Shape (T, N); None if every pixel has all dates or none."""
    observed: Tensor | None
    """Which pixels were ever observed, shape (N,); None if all were."""


def see_pixels(
    see: Callable[[Series], Tensor], width: int, unseen: Tensor, x: Tensor, days: Tensor, valid: Tensor, image: Tensor
) -> None:
    """Fills an image with what a function makes of each pixel's series.

    Args:
        see: Makes (N, E) of the series of N pixels; what it makes of those that were never observed does not matter.
        width: Channels of its widest layer.
        unseen: What pixels get that were never observed, shape (E,).
        x: Zero where not valid, shape (T, C, H, W); fastest with the channels last in memory.
        days: Shape (T,).
        valid: Shape (T, H, W).
        image: Where to put it, shape (H * W, E).
    """
    for some, series in _series(width, x, days, valid):
        if series is None:
            image[some] = unseen
            continue
        image[some] = see(series)
        if series.observed is not None:
            image[some] = torch.where(series.observed.unsqueeze(1), image[some], unseen)


def _series(width: int, x: Tensor, days: Tensor, valid: Tensor) -> Iterator[tuple[slice, Series | None]]:
    """Some pixels after the others, None where nothing was observed. Dates that no pixel has are dropped."""
    pixels = x.shape[2] * x.shape[3]
    everywhere = bool(valid.all())
    if not everywhere:
        anywhere = valid.flatten(1).any(dim=1)  # (T,)
        if not anywhere.any():
            yield slice(0, pixels), None
            return
        if not anywhere.all():
            x, days, valid = x[anywhere], days[anywhere], valid[anywhere]
    values, there = x.permute(0, 2, 3, 1).flatten(1, 2), valid.flatten(1)  # (T, H * W, C), (T, H * W)
    at_once = of_all_threads(VALUES_AT_ONCE, x.device) // (len(x) * width)
    at_once = max(64, at_once // 64 * 64)
    for start in range(0, pixels, at_once):
        some = slice(start, start + at_once)
        if everywhere:
            yield some, Series(values[:, some], days, None, None)
            continue
        here = there[:, some]
        observed = here.any(dim=0)
        if not observed.any():
            yield some, None
            continue
        complete = torch.equal(observed, here.all(dim=0))
        yield some, Series(values[:, some], days, None if complete else here, None if observed.all() else observed)


class _Dated(threading.local):
    """Whose date channels stand in a thread's memory, and in what shape."""

    of: Tensor | None = None
    shape: tuple[int, ...] = ()

    def __reduce__(self) -> tuple[type[_Dated], tuple[()]]:
        return type(self), ()


class FasterTemporalConvolutions(nn.Module):
    """`TemporalConvolutions` of series and their date channels; `width` are the channels of the widest.

    Args:
        temporal: The trained ones.
        channels: Of the series.
        date_harmonics: Frequencies of the date channels.
        precision: To compute in.
    """

    def __init__(
        self, temporal: TemporalConvolutions, channels: int, date_harmonics: int, precision: torch.dtype
    ) -> None:
        super().__init__()
        self.channels, self.date_harmonics, self.precision = channels, date_harmonics, precision
        self._workspace, self._dated = Workspace(), _Dated()
        self.width = max(norm.get_buffer("running_mean").numel() for norm in temporal.norms)
        self.layers = nn.ModuleList(
            fused_over_time(cast("ConvolutionOverTime", convolution), cast("ObservedBatchNorm", norm), precision)
            for convolution, norm in zip(temporal.convolutions, temporal.norms, strict=True)
        )

    def forward(self, series: Series) -> tuple[Tensor, Tensor | None]:
        """Features of the observations, those of a pixel at the front, never negative, and which of them there are.

        Returns:
            Shape (T', N, D), zero where there is none, and shape (T', N), None for all.
        """
        values, days, valid = series.values, series.days.unsqueeze(1), series.valid  # (T, N, C), (T, 1)
        if valid is not None:
            longest = int(valid.sum(dim=0).max())
            order = torch.argsort(~valid, dim=0, stable=True)[:longest]  # (T', N)
            valid = valid.gather(0, order)
            values = values.gather(0, order.unsqueeze(2).expand(-1, -1, self.channels))
            days = days.expand(-1, order.shape[1]).gather(0, order) * valid
        season = None
        if valid is not None and self.date_harmonics:
            season = date_channels(days.T, self.date_harmonics).transpose(0, 1) * valid.unsqueeze(2)  # (T', N, 2 h)
        features = self._with_dates(values, series.days, season)
        for layer in self.layers:
            features = as_rows(layer(as_image(features)))  # (T', N, C')
            if valid is not None:
                features = features.mul_(valid.unsqueeze(2))
        return features, valid

    def _with_dates(self, values: Tensor, days: Tensor, season: Tensor | None) -> Tensor:
        """Values and date channels, shape (T, N, C + 2 * harmonics), which the next call overwrites.

        Without channels of their own, `season`, all pixels have those of the days; they stay from call to call.
        """
        shape = (*values.shape[:2], self.channels + 2 * self.date_harmonics)
        features = self._workspace.take("series", values.new_empty(0, dtype=self.precision), *shape)
        if season is not None:
            features[..., self.channels :] = season
            self._dated.of = None
        elif self.date_harmonics and (self._dated.of is not days or self._dated.shape != shape):
            features[..., self.channels :] = date_channels(days.unsqueeze(0), self.date_harmonics).transpose(0, 1)
            if self._workspace.keeps(features):
                self._dated.of, self._dated.shape = days, shape
        features[..., : self.channels] = values
        return features
