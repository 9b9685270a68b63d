"""Hybrid CNN: a 1-D CNN over time, shared by all pixels, then a U-Net over its embedding.

With the hyper-parameters `PUBLISHED` it is the published design for the crops of France, to the number of parameters.
What that does that we do not: its upsampling aligns the corners, so that the size of the image decides what each pixel
gets; ours does not, and takes what lies beyond the edge for zero: a block with a halo is mapped as the whole is.

References:
    Pelletier et al. (2019), Temporal Convolutional Neural Network for the Classification of Satellite Image Time
    Series, Remote Sensing 11(5); Ronneberger et al. (2015), U-Net, MICCAI.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from models.network import Network, require_fraction, require_integers
from models.pixel_series import PixelSeries, pixel_image
from models.temporal_convolutions import TemporalConvolutions
from models.unet import UPSAMPLINGS, UNet, UNetShape, Upsampling

PUBLISHED: Mapping[str, Any] = MappingProxyType(
    {
        "embedding": 64,
        "kernel": 5,
        "date_harmonics": 0,
        "widths": (64, 128, 256, 512, 512),
        "decoder": (256, 128, 64, 64),
        "convolutions": 2,
        "bias": True,
        "upsampling": "bilinear",
        "shortcut": False,
    }
)
"""Hyper-parameters of the published design; with 4 channels and 51 classes it has 13,455,859 parameters."""


@dataclass(frozen=True)
class HybridCNNParameters:
    """Hyper-parameters of `HybridCNN`."""

    channels: int
    """Bands and indices per date."""
    classes: int
    """Crop classes."""
    embedding: int = 64
    """Channels of the temporal CNN, and of the image that the U-Net sees."""
    kernel: int = 5
    """Dates under one temporal kernel; odd."""
    date_harmonics: int = 2
    """Frequencies of the date channels; 0 leaves the dates to their order."""
    widths: tuple[int, ...] = (32, 48, 64)
    """Channels of the U-Net's levels, finest first; each level below the first halves the resolution."""
    convolutions: int = 1
    """3x3 convolutions per level, going down and going up."""
    dropout: float = 0.0
    """Share of features dropped before the last layer in training."""
    decoder: tuple[int, ...] = ()
    """Channels of the U-Net's levels going up, coarsest first, one less than `widths`; none for those of `widths`."""
    bias: bool = False
    """Convolutions have biases, although a normalisation follows that takes them away."""
    upsampling: Upsampling = "nearest"
    """From a level of the U-Net to the next finer one: `nearest` or `bilinear`."""
    shortcut: bool = True
    """The pixel's own embedding also goes past the U-Net to the last layer, and the U-Net is told which pixels were
    observed."""

    def __post_init__(self) -> None:
        require_integers(1, channels=self.channels, classes=self.classes, embedding=self.embedding, kernel=self.kernel)
        require_integers(1, widths=self.widths, convolutions=self.convolutions)
        require_integers(0, date_harmonics=self.date_harmonics)
        require_fraction(dropout=self.dropout)
        if self.kernel % 2 == 0:
            raise ValueError(f"kernel is {self.kernel}; expected an odd number")
        if not self.widths:
            raise ValueError("widths is empty; expected the channels of at least one level")
        require_integers(1, decoder=self.decoder)
        if self.decoder and len(self.decoder) != len(self.widths) - 1:
            raise ValueError(f"decoder is {self.decoder}; expected the channels of {len(self.widths) - 1} levels")
        if self.upsampling not in UPSAMPLINGS:
            raise ValueError(f"upsampling is {self.upsampling!r}; expected {' or '.join(UPSAMPLINGS)}")
        for name in ("bias", "shortcut"):
            if not isinstance(getattr(self, name), bool):
                raise ValueError(f"{name} is {getattr(self, name)!r}; expected true or false")

    @property
    def unet(self) -> UNetShape:
        """The U-Net's."""
        decoder = self.decoder or self.widths[-2::-1]
        return UNetShape(self.widths, decoder, self.convolutions, self.bias, self.upsampling)


class TemporalCNN(TemporalConvolutions):
    """Two convolutions over the valid dates of each pixel, then their maximum over time."""

    def __init__(self, channels: int, embedding: int, kernel: int, date_harmonics: int, bias: bool) -> None:
        super().__init__((channels + 2 * date_harmonics, embedding, embedding), kernel, bias=bias)
        self.embedding = embedding
        self.date_harmonics = date_harmonics

    def image(self, x: Tensor, dates: Tensor, valid: Tensor) -> Tensor:
        """Embeds each pixel; one that was never observed is zero.

        Args:
            x: Shape (B, T, C, H, W).
            dates: Shape (B, T).
            valid: Shape (B, T, H, W).

        Returns:
            Shape (B, embedding, H, W).
        """
        return pixel_image(self._embed, x.new_zeros(self.embedding), x, dates, valid, together=self.training)

    def _embed(self, series: PixelSeries) -> Tensor:
        features: Tensor = self(series.with_date_channels(self.date_harmonics), series.valid)  # (N, D, T)
        return features.amax(dim=2)


class HybridCNN(Network):
    """The temporal CNN's embedding is the image that the U-Net classifies pixel by pixel."""

    kind = "dense"

    def __init__(self, parameters: HybridCNNParameters) -> None:
        super().__init__()
        self.channels = parameters.channels
        self.classes = parameters.classes
        self.stride = parameters.unet.stride
        self.receptive_radius = parameters.unet.receptive_radius
        self.shortcut = parameters.shortcut
        embedding, context = parameters.embedding, (*parameters.widths[:1], *parameters.unet.decoder)[-1]
        self.temporal = TemporalCNN(
            parameters.channels, embedding, parameters.kernel, parameters.date_harmonics, parameters.bias
        )
        self.unet = UNet(embedding + self.shortcut, parameters.unet)
        self.dropout = nn.Dropout(parameters.dropout)
        self.classify = nn.Conv2d(embedding * self.shortcut + context, parameters.classes, 1)

    def logits(self, x: Tensor, dates: Tensor, valid: Tensor) -> Tensor:
        height, width = x.shape[-2:]
        logits: Tensor = self.classify(self.dropout(self._features(x, dates, valid)))
        return logits[..., :height, :width]

    def embed(self, x: Tensor, dates: Tensor, valid: Tensor) -> Tensor:
        height, width = x.shape[-2:]
        return self._features(x, dates, valid)[..., :height, :width]

    def _features(self, x: Tensor, dates: Tensor, valid: Tensor) -> Tensor:
        """The pixel's own embedding, if handed on, and its context, shape (B, E, H', W'), multiples of the stride."""
        height, width = x.shape[-2:]
        edges = (0, -width % self.stride, 0, -height % self.stride)
        observed = functional.pad(valid.any(dim=1), edges)  # (B, H', W'), False beyond the edge
        embedding = functional.pad(self.temporal.image(x, dates, valid), edges)  # (B, D, H', W')
        if not self.shortcut:
            alone: Tensor = self.unet(embedding, observed)
            return alone
        context = self.unet(torch.cat([embedding, observed.unsqueeze(1).to(x.dtype)], dim=1), observed)
        return torch.cat([embedding, context], dim=1)
