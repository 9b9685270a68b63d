"""Transformer: self-attention over the time series of each pixel.

What the originals do that we do not: they count positions in observations, or fill gaps, where we place each
observation at its day of the season; a padded date is no key for any query. Normalisation stands before attention and
feed-forward layer (Xiong et al. 2020), which trains without a long warm-up.

References:
    Vaswani et al. (2017), Attention Is All You Need, NeurIPS; Russwurm, Koerner (2020), Self-attention for raw optical
    Satellite Time Series Classification, ISPRS Journal 169; Xiong et al. (2020), On Layer Normalization in the
    Transformer Architecture, ICML.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from models.network import day_positions, require_fraction, require_integers
from models.pixel_series import PixelNetwork, PixelSeries

_SERIES_AT_ONCE = 2**15  # attention kernels of graphics cards count series by 16 bits


@dataclass(frozen=True)
class TransformerParameters:
    """Hyper-parameters of `Transformer`."""

    channels: int
    """Bands and indices per date."""
    classes: int
    """Crop classes."""
    width: int = 64
    """Channels of an observation; even, a multiple of the heads."""
    layers: int = 3
    """Encoder layers."""
    heads: int = 4
    """Attention heads per layer."""
    feed_forward: int = 128
    """Channels within the feed-forward layers."""
    dropout: float = 0.1
    """Share of features dropped in training."""

    def __post_init__(self) -> None:
        require_integers(1, channels=self.channels, classes=self.classes, width=self.width, layers=self.layers)
        require_integers(1, heads=self.heads, feed_forward=self.feed_forward)
        require_fraction(dropout=self.dropout)
        if self.width % 2 or self.width % self.heads:
            raise ValueError(f"width is {self.width}; expected an even multiple of {self.heads} heads")


class EncoderLayer(nn.Module):
    """Self-attention, then a feed-forward layer, each added to what comes in."""

    def __init__(self, width: int, heads: int, feed_forward: int, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.norm_attention = nn.LayerNorm(width)
        self.queries_keys_values = nn.Linear(width, 3 * width)
        self.mix = nn.Linear(width, width)
        self.norm_forward = nn.LayerNorm(width)
        self.widen = nn.Linear(width, feed_forward)
        self.narrow = nn.Linear(feed_forward, width)
        self.drop = nn.Dropout(dropout)

    def forward(self, features: Tensor, valid: Tensor) -> Tensor:
        """Shapes (N, T, width) and (N, T) to (N, T, width)."""
        attended: Tensor = features + self.drop(self.mix(self._attend(self.norm_attention(features), valid)))
        forward: Tensor = self.drop(self.narrow(self.widen(self.norm_forward(attended)).relu()))
        return attended + forward

    def _attend(self, features: Tensor, valid: Tensor) -> Tensor:
        if not torch.compiler.is_exporting() and len(features) > _SERIES_AT_ONCE:
            lots = zip(torch.split(features, _SERIES_AT_ONCE), torch.split(valid, _SERIES_AT_ONCE), strict=True)
            return torch.cat([self._attend(some, of_some) for some, of_some in lots])
        count, times, width = features.shape
        split = self.queries_keys_values(features).view(count, times, 3, self.heads, -1)
        queries, keys, values = split.permute(2, 0, 3, 1, 4)  # each (N, heads, T, width / heads)
        whole = not torch.compiler.is_exporting() and bool(valid.all())
        seen = None if whole else valid[:, None, None, :]  # (N, 1, 1, T): every query sees the observed keys
        if queries.dtype == torch.bfloat16 and queries.device.type == "cpu":
            # On processors torch's backward of attention takes ten times as long in half precision as in float32.
            with torch.autocast("cpu", enabled=False):
                mixed = functional.scaled_dot_product_attention(
                    queries.float(), keys.float(), values.float(), attn_mask=seen
                )
        else:
            mixed = functional.scaled_dot_product_attention(queries, keys, values, attn_mask=seen)
        return mixed.transpose(1, 2).reshape(count, times, width)


class Transformer(PixelNetwork):
    """Encoder layers over the observations at their days; the maximum over time is classified."""

    def __init__(self, parameters: TransformerParameters) -> None:
        super().__init__(parameters.channels, parameters.classes, parameters.width, parameters.dropout)
        self.project = nn.Linear(parameters.channels, parameters.width)
        self.layers = nn.ModuleList(
            EncoderLayer(parameters.width, parameters.heads, parameters.feed_forward, parameters.dropout)
            for _ in range(parameters.layers)
        )
        self.norm = nn.LayerNorm(parameters.width)

    def embed_series(self, series: PixelSeries) -> Tensor:
        features = self.project(series.values) + day_positions(series.days, self.embedding)  # (N, T, width)
        for layer in self.layers:
            features = layer(features, series.valid)
        features = self.norm(features).masked_fill(~series.valid.unsqueeze(-1), -torch.inf)
        largest: Tensor = features.amax(dim=1)
        return largest
