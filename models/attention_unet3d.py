"""3-D attention U-Net: convolutions over time and space, gates on the skip connections, the mean over time.

MONAI's network (Cardoso et al. 2022), whose coarser levels halve space and keep the dates. What it does that we do not:
its normalisations take every voxel of a patch for data, and those behind the gates are of each patch alone (instance
normalisation), so that a cloud, the edge of the raster and the size of a block would move every pixel. Each is batch
normalisation of the observed voxels here, and zero at all others. And a kernel over time meets the observations of each
pixel, moved to the front: beside a cloud those of neighbours are of other dates, as the date channels tell.

References:
    Oktay et al. (2018), Attention U-Net: Learning Where to Look for the Pancreas, MIDL.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from monai.networks.nets.attentionunet import AttentionUnet
from torch import Tensor, nn
from torch.nn import functional

from models.network import Network, require_fraction, require_integers
from models.observed_monai import observing, see_observed_only
from models.per_date import image_channels, images


@dataclass(frozen=True)
class AttentionUNet3DParameters:
    """Hyper-parameters of `AttentionUNet3D`."""

    channels: int
    """Bands and indices per date."""
    classes: int
    """Crop classes."""
    widths: tuple[int, ...] = (8, 16, 32)
    """Channels of the levels, finest first, at least two; each level below the first halves the resolution in space."""
    date_harmonics: int = 2
    """Frequencies of the date channels; 0 leaves the dates to their order."""
    dropout: float = 0.1
    """Share of features dropped before the last layer in training."""

    def __post_init__(self) -> None:
        require_integers(1, channels=self.channels, classes=self.classes)
        require_integers(2, widths=self.widths)
        require_integers(0, date_harmonics=self.date_harmonics)
        require_fraction(dropout=self.dropout)
        if len(self.widths) < 2:
            raise ValueError(f"widths is {self.widths}; expected the channels of at least two levels")


class AttentionUNet3D(Network):
    """Features of every date, averaged over the dates at which a pixel was observed, are classified."""

    kind = "dense"

    def __init__(self, parameters: AttentionUNet3DParameters) -> None:
        super().__init__()
        self.channels = parameters.channels
        self.classes = parameters.classes
        self.date_harmonics = parameters.date_harmonics
        levels = len(parameters.widths)
        self.stride = int(2 ** (levels - 1))
        self.receptive_radius = receptive_radius(levels)
        unet = AttentionUnet(
            spatial_dims=3,
            in_channels=image_channels(parameters.channels, parameters.date_harmonics),
            out_channels=1,
            channels=parameters.widths,
            strides=((1, 2, 2),) * (levels - 1),  # type: ignore[arg-type] # MONAI hands each on to a convolution
        )
        self.unet = unet.model[:2]  # its last layer classifies each date; ours comes behind the mean
        see_observed_only(self.unet)
        self.dropout = nn.Dropout(parameters.dropout)
        self.classify = nn.Conv2d(parameters.widths[0], parameters.classes, 1)

    def logits(self, x: Tensor, dates: Tensor, valid: Tensor) -> Tensor:
        logits: Tensor = self.classify(self.dropout(self.embed(x, dates, valid)))
        return logits

    def embed(self, x: Tensor, dates: Tensor, valid: Tensor) -> Tensor:
        height, width = x.shape[-2:]
        edges = (0, -width % self.stride, 0, -height % self.stride)
        x, valid = functional.pad(x, edges), functional.pad(valid, edges)  # False beyond the edge
        series, valid = _observed_first(images(x, dates, valid, self.date_harmonics), valid)
        with observing(valid):
            features = self.unet(series.transpose(1, 2))  # (B, D, T, H', W')
        where = valid.unsqueeze(1).to(x.dtype)  # (B, 1, T, H', W')
        mean: Tensor = (features * where).sum(dim=2) / where.sum(dim=2).clamp(min=1)
        return mean[..., :height, :width]


def _observed_first(series: Tensor, valid: Tensor) -> tuple[Tensor, Tensor]:
    """The observations of each pixel at the front, in the order given, and what is behind them not valid.

    Args:
        series: Shape (B, T, C, H, W).
        valid: Shape (B, T, H, W).
    """
    exporting = torch.compiler.is_exporting()  # then shapes and branches must not depend on values
    if not exporting and valid.all():
        return series, valid
    longest = valid.shape[1] if exporting else max(1, int(valid.sum(dim=1).max()))
    order = torch.argsort(~valid, dim=1, stable=True)[:, :longest]  # (B, T', H, W)
    everywhere = order.unsqueeze(2).expand(-1, -1, series.shape[2], -1, -1)
    return series.gather(1, everywhere), valid.gather(1, order)


def receptive_radius(levels: int) -> int:
    """How far, in pixels, an output pixel can see along one axis, at the worst place within the stride."""
    radius = 0
    for pixel in range(2 ** (levels - 1)):
        first = last = pixel
        for _ in range(levels - 1):  # back through merging and transposed convolutions ...
            first, last = (first - 1) // 2, (last + 2) // 2
        for _ in range(levels - 1):  # ... through a convolution and one of stride 2 at each level ...
            first, last = 2 * (first - 1) - 1, 2 * (last + 1) + 1
        radius = max(radius, pixel - first + 2, last + 2 - pixel)  # ... and the two of the finest level
    return radius
