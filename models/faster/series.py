"""Pixel series with the dates first, (T, N, C): a convolution over time is then one of an image, T high and N wide."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from models.faster.fused import FusedConvolution, as_image, as_rows
from models.faster.workspace import Workspace
from models.network import date_channels
from models.temporal_convolutions import TemporalConvolutions

AT_ONCE = {"cpu": 2**11, "cuda": 2**17}
"""Pixels seen together, by device: with all channels of a layer they are to stay in the processors' own caches."""


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


def image_of_series(
    see: Callable[[Series], Tensor], unseen: Tensor, x: Tensor, days: Tensor, valid: Tensor, workspace: Workspace
) -> Tensor:
    """What a function makes of each pixel's series, as an image.

    Dates that no pixel has are dropped.

    Args:
        see: Makes (N, E) of the series of N pixels; what it makes of those that were never observed does not matter.
        unseen: What these get, shape (E,).
        x: Zero where not valid, shape (T, C, H, W); fastest with the channels last in memory.
        days: Shape (T,).
        valid: Shape (T, H, W).
        workspace: Where the image is kept.

    Returns:
        Shape (H, W, E), of the dtype of `unseen`.
    """
    height, width = x.shape[-2:]
    anywhere = valid.flatten(1).any(dim=1)  # (T,)
    image = unseen.expand(height * width, -1)
    if not anywhere.any():
        return image.view(height, width, -1)
    if not anywhere.all():
        x, days, valid = x[anywhere], days[anywhere], valid[anywhere]
    image = workspace.take("image", image, *image.shape)
    values, there = x.permute(0, 2, 3, 1).flatten(1, 2), valid.flatten(1)  # (T, H * W, C), (T, H * W)
    at_once = AT_ONCE.get(x.device.type, 2**17)
    for start in range(0, height * width, at_once):
        some = slice(start, start + at_once)
        series = _series(values[:, some], days, there[:, some])
        if series is None:
            image[some] = unseen
            continue
        found = see(series)
        if series.observed is not None:
            found = torch.where(series.observed.unsqueeze(1), found, unseen)
        image[some] = found
    return image.view(height, width, -1)


def _series(values: Tensor, days: Tensor, valid: Tensor) -> Series | None:
    """None where nothing was observed."""
    if valid.all():
        return Series(values, days, None, None)
    observed = valid.any(dim=0)
    if not observed.any():
        return None
    complete = torch.equal(observed, valid.all(dim=0))
    return Series(values, days, None if complete else valid, None if observed.all() else observed)


class FasterTemporalConvolutions(nn.Module):
    """`TemporalConvolutions` of series and their date channels.

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
        self.layers = nn.ModuleList(
            FusedConvolution(convolution, norm, precision)
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
        features = values.new_empty(*values.shape[:2], self.channels + 2 * self.date_harmonics, dtype=self.precision)
        features[..., : self.channels] = values
        if self.date_harmonics:
            season = date_channels(days.T, self.date_harmonics).transpose(0, 1)  # (T', N or 1, 2 * harmonics)
            features[..., self.channels :] = season if valid is None else season * valid.unsqueeze(2)
        for layer in self.layers:
            features = as_rows(layer(as_image(features)))  # (T', N, C')
            if valid is not None:
                features = features.mul_(valid.unsqueeze(2))
        return features, valid
