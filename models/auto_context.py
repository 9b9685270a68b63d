"""Auto-context: a U-Net over what a network says of each pixel alone, which learns where to believe the neighbours.

The first network gives each pixel probabilities of the classes. They and the mean of each channel over the season are
the image that the U-Net sees; its context and the first network's logarithms go into the last layer, which before it is
trained says what the first network says. So that the U-Net learns how far the first network is to be trusted, what it
is trained on has to be told by first networks that have not seen it. What Tu and Bai do that we do not: they repeat
this several times, and see single places around a pixel where ours convolves.

References:
    Tu, Bai (2010), Auto-context and Its Application to High-level Vision Tasks and 3D Brain Image Segmentation, IEEE
    TPAMI 32(10); Ronneberger et al. (2015), U-Net, MICCAI.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from models.network import Network, require_fraction, require_integers
from models.unet import UNet, UNetShape

LEAST_LOGARITHM = -8.0
"""Log-probabilities below it are taken for it: how unlikely the unlikely is, is noise."""

_LITTLE = 0.02  # of what the context says before it is trained


@dataclass(frozen=True)
class AutoContextParameters:
    """Hyper-parameters of `AutoContext`."""

    channels: int
    """Bands and indices per date."""
    classes: int
    """Crop classes."""
    first: str | Mapping[str, Any] = "tempcnn"
    """Dense architecture that sees each pixel first: its name, or its `architecture` and `hyper_parameters` but
    channels and classes."""
    temperature: float = 1.0
    """What the first network's logits are divided by."""
    widths: tuple[int, ...] = (32, 48, 64)
    """Channels of the U-Net's levels, finest first; each level below the first halves the resolution."""
    convolutions: int = 1
    """3x3 convolutions per level, going down and going up."""
    dropout: float = 0.1
    """Share of the context's features dropped before the last layer in training."""

    def __post_init__(self) -> None:
        require_integers(1, channels=self.channels, classes=self.classes)
        require_integers(1, widths=self.widths, convolutions=self.convolutions)
        require_fraction(dropout=self.dropout)
        if not self.widths:
            raise ValueError("widths is empty; expected the channels of at least one level")
        if not isinstance(self.first, str) and (
            not isinstance(self.first, Mapping) or set(self.first) != {"architecture", "hyper_parameters"}
        ):
            raise ValueError(f"first is {self.first!r}; expected a name, or architecture and hyper_parameters")
        if (
            isinstance(self.temperature, bool)
            or not isinstance(self.temperature, (int, float))
            or not math.isfinite(self.temperature)
            or self.temperature <= 0
        ):
            raise ValueError(f"temperature is {self.temperature!r}; expected a finite number above 0")

    @property
    def unet(self) -> UNetShape:
        """The U-Net's."""
        return UNetShape(self.widths, self.widths[-2::-1], self.convolutions)


class AutoContext(Network):
    """Log-probabilities and seasonal means of each pixel, their context, one linear layer."""

    kind = "dense"

    def __init__(self, parameters: AutoContextParameters) -> None:
        super().__init__()
        self.channels, self.classes = parameters.channels, parameters.classes
        self.temperature = float(parameters.temperature)
        self.first = _first(parameters)
        self.stride = parameters.unet.stride
        self.receptive_radius = parameters.unet.receptive_radius + int(self.first.receptive_radius)
        seen = parameters.classes + parameters.channels
        self.unet = UNet(seen + 1, parameters.unet)
        self.dropout = nn.Dropout(parameters.dropout)
        self.classify = nn.Conv2d(parameters.classes + parameters.widths[0], parameters.classes, 1)
        nn.init.normal_(self.classify.weight, std=_LITTLE)
        with torch.no_grad():
            self.classify.weight[:, : parameters.classes, 0, 0] = torch.eye(parameters.classes)

    def logits(self, x: Tensor, dates: Tensor, valid: Tensor) -> Tensor:
        return self.in_context(*self._said(x, dates, valid))

    def embed(self, x: Tensor, dates: Tensor, valid: Tensor) -> Tensor:
        return self._features(*self._said(x, dates, valid))

    def in_context(self, said: Tensor, means: Tensor, observed: Tensor) -> Tensor:
        """Logits of an image of which the first network has spoken.

        Args:
            said: Its log-probabilities, shape (B, K, H, W).
            means: Mean of each normalised channel over the season, shape (B, C, H, W).
            observed: Which pixels were ever observed, bool, shape (B, H, W).

        Returns:
            Shape (B, K, H, W).
        """
        logits: Tensor = self.classify(self._features(said, means, observed))
        return logits

    def _said(self, x: Tensor, dates: Tensor, valid: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        said = torch.log_softmax(self.first.logits(x, dates, valid).float() / self.temperature, dim=1)
        times = valid.sum(dim=1).clamp(min=1).unsqueeze(1)  # (B, 1, H, W)
        exact = torch.float32 if x.device.type == "mps" else torch.float64  # Apple's GPUs know no float64
        means = x.sum(dim=1, dtype=exact) / times  # a date that adds nothing rounds nothing
        return said, means.float(), valid.any(dim=1)

    def _features(self, said: Tensor, means: Tensor, observed: Tensor) -> Tensor:
        """What the first network says and its context, shape (B, K + E, H, W)."""
        height, width = said.shape[-2:]
        there = observed.unsqueeze(1).to(said.dtype)
        said = said.clamp(min=LEAST_LOGARITHM) * there
        edges = (0, -width % self.stride, 0, -height % self.stride)
        image = functional.pad(torch.cat([said, means * there, there], dim=1), edges)  # (B, K + C + 1, H', W')
        context = self.unet(image, functional.pad(observed, edges))[..., :height, :width]
        return torch.cat([said, self.dropout(context.to(said.dtype))], dim=1)


def _first(parameters: AutoContextParameters) -> Network:
    from models.registry import build  # it knows this network too

    first = parameters.first
    name = first if isinstance(first, str) else first["architecture"]
    settings = {} if isinstance(first, str) else dict(first["hyper_parameters"])
    network = build(name, **{**settings, "channels": parameters.channels, "classes": parameters.classes})
    if network.kind != "dense" or network.stride != 1:
        raise ValueError(f"{name} does not class every pixel; expected an architecture that does")
    return network
