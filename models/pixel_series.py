"""Pixel series: the observations of single pixels, in order and without gaps, a bounded number of pixels at a time."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from models.network import Network, date_channels

PIXELS_AT_ONCE = {"cpu": 512, "cuda": 2**14}
"""Pixels seen together outside training, by device: what fits its caches, and memory stays bounded."""


@dataclass(frozen=True)
class PixelSeries:
    """The observations of N pixels, each with at least one; those of a pixel stand at the front, in the order given."""

    values: Tensor
    """Channels, shape (N, T, C); zero where there is no observation."""
    days: Tensor
    """Days since the season's start, shape (N, T); zero where there is no observation."""
    valid: Tensor
    """Where there is one, bool, shape (N, T): True up to the pixel's number of observations."""
    order: Tensor
    """Which date each of them was, int64, shape (N, T)."""

    def with_date_channels(self, harmonics: int) -> Tensor:
        """Values and `date_channels`, shape (N, T, C + 2 * harmonics)."""
        if not harmonics:
            return self.values
        season = date_channels(self.days, harmonics) * self.valid.unsqueeze(-1)
        return torch.cat([self.values, season], dim=-1)

    def at_their_dates(self, weights: Tensor, times: int) -> Tensor:
        """Weights of the observations, shape (N, heads, T), each at its date of `times`, zero at all others."""
        places = self.order.unsqueeze(1).expand(weights.shape)
        return weights.new_zeros(*weights.shape[:2], times).scatter(2, places, weights)


def pixel_series(values: Tensor, days: Tensor, valid: Tensor) -> PixelSeries:
    """Drops the dates at which a pixel was not observed.

    Args:
        values: Zero where not valid, shape (N, T, C).
        days: Shape (N, T).
        valid: At least one date of each pixel, shape (N, T).
    """
    order = torch.arange(valid.shape[1], device=valid.device).expand(valid.shape)
    exporting = torch.compiler.is_exporting()  # then shapes and branches must not depend on values
    if exporting or not valid.all():
        longest = valid.shape[1] if exporting else int(valid.sum(dim=1).max())
        order = torch.argsort(~valid, dim=1, stable=True)[:, :longest]
        valid = valid.gather(1, order)
        values = values.gather(1, order.unsqueeze(-1).expand(-1, -1, values.shape[2]))
        days = days.gather(1, order) * valid
    return PixelSeries(values, days, valid, order)


def observed_pixels(
    x: Tensor, dates: Tensor, valid: Tensor, at_once: int | None
) -> Iterator[tuple[Tensor, Tensor, PixelSeries]]:
    """The pixels that were ever observed, some at a time.

    Args:
        x: Shape (B, T, C, H, W).
        dates: Shape (B, T).
        valid: Shape (B, T, H, W).
        at_once: How many pixels at most; None for all together.

    Yields:
        Their sample among the B and their position among its H * W pixels, int64, each of shape (N,), and their series.
    """
    sample, pixel = valid.any(dim=1).flatten(1).nonzero(as_tuple=True)
    at_once = at_once or max(len(pixel), 1)
    for start in range(0, len(pixel), at_once):
        b, p = sample[start : start + at_once], pixel[start : start + at_once]
        yield b, p, pixel_series(x.flatten(3)[b, :, :, p], dates[b], valid.flatten(2)[b, :, p])


def pixel_image(
    see: Callable[[PixelSeries], Tensor],
    unseen: Tensor,
    x: Tensor,
    dates: Tensor,
    valid: Tensor,
    together: bool,
) -> Tensor:
    """What a function makes of each pixel's series, as an image.

    Args:
        see: Makes (N, E) of the series of N pixels.
        unseen: What a pixel gets that was never observed, shape (E,).
        x: Shape (B, T, C, H, W).
        dates: Shape (B, T).
        valid: Shape (B, T, H, W).
        together: All pixels at once, as batch statistics need them; else `PIXELS_AT_ONCE`.

    Returns:
        Shape (B, E, H, W), of the dtype of `unseen`.
    """
    batch, times, channels, height, width = x.shape
    if torch.compiler.is_exporting():  # all pixels, observed or not: which ones are is not known yet
        values = x.permute(0, 3, 4, 1, 2).reshape(-1, times, channels)  # (B * H * W, T, C)
        there = valid.permute(0, 2, 3, 1).reshape(-1, times)  # (B * H * W, T)
        days = dates[:, None, None].expand(-1, height, width, -1).reshape(-1, times)  # (B * H * W, T)
        ever = there.any(dim=1, keepdim=True)
        there = torch.cat([there[:, :1] | ~ever, there[:, 1:]], dim=1)  # a series has one observation at least
        found = torch.where(ever, see(pixel_series(values, days, there)), unseen)
        return found.to(unseen.dtype).view(batch, height, width, -1).permute(0, 3, 1, 2)
    image = unseen.expand(batch, height * width, -1).clone()
    at_once = None if together else PIXELS_AT_ONCE.get(x.device.type, 512)
    for b, p, series in observed_pixels(x, dates, valid, at_once):
        image[b, p] = see(series).to(image.dtype)
    return image.view(batch, height, width, -1).permute(0, 3, 1, 2)


class PixelNetwork(Network):
    """A dense network that sees the series of each pixel alone.

    A pixel that was never observed has an embedding of zeros.
    """

    kind = "dense"

    def __init__(self, channels: int, classes: int, embedding: int, dropout: float) -> None:
        super().__init__()
        self.channels = channels
        self.classes = classes
        self.embedding = embedding
        self.dropout = nn.Dropout(dropout)
        self.classify = nn.Linear(embedding, classes)

    @abstractmethod
    def embed_series(self, series: PixelSeries) -> Tensor:
        """Embeds N pixels, shape (N, embedding)."""

    def embed(self, x: Tensor, dates: Tensor, valid: Tensor) -> Tensor:
        return pixel_image(self.embed_series, x.new_zeros(self.embedding), x, dates, valid, together=self.training)

    def logits(self, x: Tensor, dates: Tensor, valid: Tensor) -> Tensor:
        bias = self.classify.bias.to(x.dtype)  # what an embedding of zeros gives
        return pixel_image(self._classify, bias, x, dates, valid, together=self.training)

    def _classify(self, series: PixelSeries) -> Tensor:
        logits: Tensor = self.classify(self.dropout(self.embed_series(series)))
        return logits


class AttentiveNetwork(PixelNetwork):
    """A pixel network that weighs the observations, and tells how."""

    heads: int
    """Weightings per pixel."""

    @abstractmethod
    def attend(self, series: PixelSeries) -> tuple[Tensor, Tensor]:
        """Embeds N pixels, shape (N, embedding), and gives the weights, shape (N, heads, T)."""

    def embed_series(self, series: PixelSeries) -> Tensor:
        return self.attend(series)[0]

    def attention(self, x: Tensor, dates: Tensor, valid: Tensor) -> Tensor:
        """How much each observation counts.

        Args:
            x: As in `forward`.
            dates: As in `forward`.
            valid: As in `forward`.

        Returns:
            float32, shape (B, heads, T, H, W): adds up to 1 over time where anything was observed, zero where not
            valid.

        Raises:
            ValueError: The shapes do not belong together, or `valid` is not boolean.
        """
        x, dates, valid = self._masked(x, dates, valid)
        batch, times, _, height, width = x.shape

        def weights(series: PixelSeries) -> Tensor:
            return series.at_their_dates(self.attend(series)[1], times).flatten(1)

        unseen = torch.zeros(self.heads * times, device=x.device)
        image = pixel_image(weights, unseen, x, dates, valid, together=self.training)
        return image.reshape(batch, self.heads, times, height, width)


def softmax_over_time(scores: Tensor, valid: Tensor) -> Tensor:
    """Weights of the observations that add up to 1 for each pixel.

    Args:
        scores: Shape (N, heads, T).
        valid: Shape (N, T), at least one True for each pixel.

    Returns:
        float32, zero where not valid, shape (N, heads, T).
    """
    return scores.float().masked_fill(~valid.unsqueeze(1), -torch.inf).softmax(dim=2)
