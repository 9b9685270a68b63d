"""3-D attention U-Net: convolutions over time and space, gates on the skip connections, the mean over time.

MONAI's network (Cardoso et al. 2022), whose coarser levels halve space and keep the dates. What it does that we do not:
its normalisations take every voxel of a patch for data, and those behind the gates are of each patch alone (instance
normalisation), so that a cloud, the edge of the raster and the size of a block would move every pixel. Each is batch
normalisation of the observed voxels here, and zero at all others.

References:
    Oktay et al. (2018), Attention U-Net: Learning Where to Look for the Pancreas, MIDL.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

import torch
from monai.networks.nets.attentionunet import AttentionUnet
from torch import Tensor, nn
from torch.nn import functional

from models.network import Network, date_channels, require_fraction, require_integers
from models.temporal_convolutions import ObservedBatchNorm

Shape = tuple[int, ...]
_OBSERVED: ContextVar[dict[Shape, Tensor]] = ContextVar("observed voxels by the (H, W) of a level")


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


class ObservedVoxelNorm(ObservedBatchNorm):
    """`ObservedBatchNorm` inside a network that hands on features only: it looks up where they were observed."""

    def forward(self, features: Tensor) -> Tensor:  # type: ignore[override]
        """Shape (B, C, T, H, W) to the same."""
        return super().forward(features, _OBSERVED.get()[tuple(features.shape[-2:])])


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
            in_channels=parameters.channels + 1 + 2 * parameters.date_harmonics,
            out_channels=1,
            channels=parameters.widths,
            strides=((1, 2, 2),) * (levels - 1),  # type: ignore[arg-type] # MONAI hands each on to a convolution
        )
        self.unet = unet.model[:2]  # its last layer classifies each date; ours comes behind the mean
        _replace_norms(self.unet)
        self.dropout = nn.Dropout(parameters.dropout)
        self.classify = nn.Conv2d(parameters.widths[0], parameters.classes, 1)

    def logits(self, x: Tensor, dates: Tensor, valid: Tensor) -> Tensor:
        logits: Tensor = self.classify(self.dropout(self.embed(x, dates, valid)))
        return logits

    def embed(self, x: Tensor, dates: Tensor, valid: Tensor) -> Tensor:
        height, width = x.shape[-2:]
        x, dates, valid = dates_first(x, dates, valid)
        edges = (0, -width % self.stride, 0, -height % self.stride)
        x, valid = functional.pad(x, edges), functional.pad(valid, edges)  # False beyond the edge
        mask = valid.unsqueeze(1).to(x.dtype)  # (B, 1, T, H', W')
        season = date_channels(dates, self.date_harmonics).transpose(1, 2)[..., None, None]  # (B, 2n, T, 1, 1)
        with _observed_at_each_level(valid, self.stride):
            features = self.unet(torch.cat([x.transpose(1, 2), mask, season * mask], dim=1))  # (B, D, T, H', W')
        mean: Tensor = (features * mask).sum(dim=2) / mask.sum(dim=2).clamp(min=1)
        return mean[..., :height, :width]


def dates_first(x: Tensor, dates: Tensor, valid: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Each sample without the dates that are valid nowhere; behind the dates of those with fewer nothing is valid."""
    there = valid.flatten(2).any(dim=2)  # (B, T)
    if there.all():
        return x, dates, valid
    longest = max(int(there.sum(dim=1).max()), 1)
    order = torch.argsort(~there, dim=1, stable=True)[:, :longest]  # (B, T')
    sample = torch.arange(len(x), device=x.device).unsqueeze(1)
    return x[sample, order], dates[sample, order], valid[sample, order]


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


def _replace_norms(module: nn.Module) -> None:
    for name, child in module.named_children():
        if isinstance(child, (nn.BatchNorm3d, nn.InstanceNorm3d)):
            setattr(module, name, ObservedVoxelNorm(child.num_features))
        else:
            _replace_norms(child)


@contextmanager
def _observed_at_each_level(valid: Tensor, stride: int) -> Iterator[None]:
    """Inside it, the normalisations know where their level was observed; `valid` has the shape (B, T, H, W)."""
    observed = {tuple(valid.shape[-2:]): valid}
    mask = valid.float()
    while stride > 1:
        mask, stride = functional.max_pool2d(mask, 2), stride // 2
        observed[tuple(mask.shape[-2:])] = mask.bool()
    token = _OBSERVED.set(observed)
    try:
        yield
    finally:
        _OBSERVED.reset(token)
