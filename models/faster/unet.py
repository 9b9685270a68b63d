"""The U-Net by stripes: some rows of a level at a time, which stay in the processors' caches through its layers."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from models.faster.fused import as_image, as_rows, fused_over_space, larger
from models.faster.regions import Image, Look, Region, looked_at
from models.faster.workspace import Workspace, of_all_threads
from models.temporal_convolutions import ObservedBatchNorm
from models.unet import Level, UNet

PIXELS_AT_ONCE = {"cpu": 2**14, "cuda": 2**24}
"""Pixels of a stripe, by device; on processors for each thread."""
_LEAST_ROWS = 8

Use = Callable[[Region, Tensor], None]
"""Takes a stripe and its features, shape (rows, columns, C)."""


class FasterUNet(nn.Module):
    """A trained U-Net.

    The levels going down and up are kept, each at its own resolution; of the last one only stripes exist.

    Args:
        unet: The trained one.
        precision: To compute in.
    """

    def __init__(self, unet: UNet, precision: torch.dtype) -> None:
        super().__init__()
        self.workspace = Workspace()
        self.stride = int(2 ** len(unet.up))
        self.bilinear = unet.upsampling == "bilinear"
        self.down = _fused(unet.down, precision)
        self.up = _fused(unet.up, precision)

    def forward(self, image: Tensor, observed: Tensor, inside: Region, use: Use) -> None:
        """Sees an image and tells its context.

        Args:
            image: Zero where not observed, shape (H, W, C).
            observed: Shape (H, W).
            inside: The part whose context is asked for.
            use: Called for one stripe of this part after the other.
        """
        height, width = observed.shape
        whole = Region(0, height + -height % self.stride, 0, width + -width % self.stride)
        there = looked_at(observed, whole)
        if not self.up:
            return _each_stripe(_layers(self.down)[0], partial(looked_at, image), there, inside, use)
        levels = self._descend(partial(looked_at, image), there)
        regions = [inside]  # of each level, finest first, what the levels going up must tell
        for layers in reversed(_layers(self.up)[1:]):
            beside = len(layers) + int(self.bilinear)
            regions.append(regions[-1].grown(beside).coarser())
        below, _ = levels.pop()
        for layers, region in zip(_layers(self.up), reversed(regions), strict=True):
            skip, there = levels.pop()
            finer = _bilinear(below, there) if self.bilinear else _nearest(below)
            both = _beside(skip, finer)
            if not levels:
                return _each_stripe(layers, both, there, inside, use)
            kept = Image(region.within(there), f"up {len(levels)}", self.workspace)
            _each_stripe(layers, both, there, kept.region, kept.put)
            below = kept.look
        return None

    def _descend(self, look: Look, observed: Tensor) -> list[tuple[Look, Tensor]]:
        """The levels going down, finest first, and where each was observed."""
        levels: list[tuple[Look, Tensor]] = []
        for layers in _layers(self.down):
            if levels:
                observed = _halved(observed)
                look = _pooled(look, observed)
            kept = Image(Region(0, observed.shape[0], 0, observed.shape[1]), f"down {len(levels)}", self.workspace)
            _each_stripe(layers, look, observed, kept.region, kept.put)
            look = kept.look
            levels.append((look, observed))
        return levels


def _fused(levels: nn.ModuleList, precision: torch.dtype) -> nn.ModuleList:
    return nn.ModuleList(
        nn.ModuleList(
            fused_over_space(cast("nn.Conv2d", convolution), cast("ObservedBatchNorm", norm), precision)
            for convolution, norm in zip(level.convolutions, level.norms, strict=True)
        )
        for level in (cast("Level", level) for level in levels)
    )


def _layers(levels: nn.ModuleList) -> list[nn.ModuleList]:
    return [level for level in levels if isinstance(level, nn.ModuleList)]


def _each_stripe(layers: nn.ModuleList, look: Look, observed: Tensor, region: Region, use: Use) -> None:
    """Convolves a region of a level; what a layer needs around a stripe is computed again for each."""
    height, width = observed.shape
    around, everywhere = len(layers), bool(observed.all())
    left, right = max(region.left - around, 0), min(region.right + around, width)
    rows = max(_LEAST_ROWS, of_all_threads(PIXELS_AT_ONCE, observed.device) // (right - left))
    for top in range(region.top, region.bottom, rows):
        stripe = Region(top, min(top + rows, region.bottom), region.left, region.right)
        seen = Region(stripe.top - around, stripe.bottom + around, left, right)
        features = look(seen)
        there = None if everywhere else looked_at(observed, seen).unsqueeze(2)
        for done, layer in enumerate(layers, 1):
            features = as_rows(layer(as_image(features)))  # (rows - 2 done, columns, C)
            if there is not None:
                features = features.mul_(there[done : len(there) - done])
            _clear_beyond(features, seen.top + done, height)
        use(stripe, features[:, region.left - left : region.right - left])


def _clear_beyond(features: Tensor, top: int, height: int) -> None:
    """Zero in rows above and below the image, the first of them being row `top`."""
    features[: max(-top, 0)] = 0
    features[max(height - top, 0) :] = 0


def _halved(observed: Tensor) -> Tensor:
    height, width = observed.shape
    return observed.view(height // 2, 2, width // 2, 2).any(dim=3).any(dim=1)


def _pooled(look: Look, observed: Tensor) -> Look:
    """The largest of 2x2 pixels."""

    def pooled(region: Region) -> Tensor:
        there = region.within(observed)
        cells = look(there.finer()).reshape(there.rows, 2, there.columns, 2, -1)
        return looked_at(larger(larger(cells, 3), 1), region, there)

    return pooled


def _nearest(look: Look) -> Look:
    """Each pixel four times."""

    def nearest(region: Region) -> Tensor:
        coarse = region.coarser()
        doubled = functional.interpolate(as_image(look(coarse)), scale_factor=2, mode="nearest")
        return looked_at(as_rows(doubled), region, coarse.finer())

    return nearest


def _bilinear(look: Look, observed: Tensor) -> Look:
    """`models.unet.double`, zero where not observed."""
    everywhere = bool(observed.all())

    def bilinear(region: Region) -> Tensor:
        coarse = region.grown(1).coarser()
        doubled = looked_at(_doubled(look(coarse.grown(1))), region, coarse.finer())
        if not everywhere:
            return doubled * looked_at(observed, region).unsqueeze(2)
        _clear_beyond(doubled, region.top, len(observed))
        return doubled

    return bilinear


def _doubled(coarse: Tensor) -> Tensor:
    """Twice the resolution, but of the outermost pixels: shape (H + 2, W + 2, C) to (2 H, 2 W, C)."""
    height, width, channels = coarse.shape[0] - 2, coarse.shape[1] - 2, coarse.shape[2]
    high = coarse.new_empty(height, 2, width + 2, channels)
    torch.lerp(coarse[1:-1], coarse[:-2], 0.25, out=high[:, 0])
    torch.lerp(coarse[1:-1], coarse[2:], 0.25, out=high[:, 1])
    high = high.flatten(0, 1)  # (2 H, W + 2, C)
    wide = coarse.new_empty(2 * height, width, 2, channels)
    torch.lerp(high[:, 1:-1], high[:, :-2], 0.25, out=wide[:, :, 0])
    torch.lerp(high[:, 1:-1], high[:, 2:], 0.25, out=wide[:, :, 1])
    return wide.flatten(1, 2)  # (2 H, 2 W, C)


def _beside(skip: Look, finer: Look) -> Look:
    return lambda region: torch.cat([skip(region), finer(region)], dim=2)
