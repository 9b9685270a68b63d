"""The U-Net by stripes: some rows of a level at a time, as many as stay in the processors' caches through its layers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional

from models.faster.fused import FusedConvolution, as_image, as_rows, larger
from models.faster.workspace import Workspace
from models.unet import Level, UNet

PIXELS_AT_ONCE = {"cpu": 2**15, "cuda": 2**24}
"""Pixels of a stripe, by device."""
_LEAST_ROWS = 8


@dataclass(frozen=True)
class Region:
    """A rectangle of pixels of an image; it may reach beyond."""

    top: int
    """Its first row."""
    bottom: int
    """The row after its last."""
    left: int
    """Its first column."""
    right: int
    """The column after its last."""


Look = Callable[[Region], Tensor]
"""What an image shows in a region, shape (rows, columns, C): zero beyond its edge."""


class Image:
    """A region of an image, kept as it is made."""

    def __init__(self, region: Region, name: str, workspace: Workspace) -> None:
        self.region = region
        self._take = partial(workspace.take, name)
        self._kept: Tensor | None = None

    def put(self, stripe: Region, features: Tensor) -> None:
        """Keeps rows of the region."""
        own = self.region
        if self._kept is None:
            self._kept = self._take(features, own.bottom - own.top, own.right - own.left, features.shape[2])
        self._kept[stripe.top - own.top : stripe.bottom - own.top] = features

    def look(self, region: Region) -> Tensor:
        """`Look`."""
        assert self._kept is not None
        return looked_at(self._kept, region, self.region)


def looked_at(image: Tensor, region: Region, own: Region | None = None) -> Tensor:
    """A region of an image of shape (H, W, C), or of the part `own` of one: zero beyond."""
    own = own or Region(0, image.shape[0], 0, image.shape[1])
    rows, columns = range(own.top, own.bottom), range(own.left, own.right)
    top, bottom = max(region.top, rows.start), min(region.bottom, rows.stop)
    left, right = max(region.left, columns.start), min(region.right, columns.stop)
    part = image[top - own.top : max(bottom, top) - own.top, left - own.left : max(right, left) - own.left]
    beyond = (left - region.left, region.right - right, top - region.top, region.bottom - bottom)
    return functional.pad(part, (0, 0, *beyond)) if any(beyond) else part


class FasterUNet(nn.Module):
    """A trained U-Net.

    The levels going down and up are kept, each at its own resolution; of the last one only stripes exist.

    Args:
        unet: The trained one.
        precision: To compute in.
    """

    def __init__(self, unet: UNet, precision: torch.dtype) -> None:
        super().__init__()
        self.bilinear = unet.upsampling == "bilinear"
        self.workspace = Workspace()
        self.down = nn.ModuleList(_fused(level, precision) for level in unet.down)
        self.up = nn.ModuleList(_fused(level, precision) for level in unet.up)

    def forward(self, look: Look, observed: Tensor, inside: Region, use: Callable[[Region, Tensor], None]) -> None:
        """Sees an image and tells its context.

        Args:
            look: The image; zero where not observed.
            observed: Shape (H, W), multiples of the stride.
            inside: The part whose context is asked for.
            use: Called with a stripe of this part and its context, shape (rows, columns, C').
        """
        regions = [inside]  # of each level, finest first, what the levels going up must tell
        for layers in reversed(self.up):
            regions.append(_coarser(_around(regions[-1], len(layers)), self.bilinear))
        levels: list[tuple[Look, Tensor]] = []
        for layers in self.down:
            if levels:
                observed = _halved(observed)
                look = _pooled(look, observed)
            whole = Region(0, observed.shape[0], 0, observed.shape[1])
            if not self.up:
                return _each_stripe(layers, look, observed, inside, use)
            kept = Image(whole, f"down {len(levels)}", self.workspace)
            _each_stripe(layers, look, observed, whole, kept.put)
            look = kept.look
            levels.append((look, observed))
        levels.pop()
        for layers, region in zip(self.up, regions[-2::-1], strict=True):
            skip, observed = levels.pop()
            both = _beside(skip, _bilinear(look, observed) if self.bilinear else _nearest(look))
            if not levels:
                return _each_stripe(layers, both, observed, inside, use)
            kept = Image(_within(region, observed), f"up {len(levels)}", self.workspace)
            _each_stripe(layers, both, observed, kept.region, kept.put)
            look = kept.look
        return None


def _fused(level: nn.Module, precision: torch.dtype) -> nn.ModuleList:
    assert isinstance(level, Level)
    return nn.ModuleList(
        FusedConvolution(convolution, norm, precision)
        for convolution, norm in zip(level.convolutions, level.norms, strict=True)
    )


def _each_stripe(
    layers: nn.Module, look: Look, observed: Tensor, region: Region, use: Callable[[Region, Tensor], None]
) -> None:
    """Convolves a region of a level; what a layer needs around a stripe is computed again for each."""
    assert isinstance(layers, nn.ModuleList)
    height, width = observed.shape
    around, everywhere = len(layers), bool(observed.all())
    left, right = max(region.left - around, 0), min(region.right + around, width)
    rows = max(_LEAST_ROWS, PIXELS_AT_ONCE.get(observed.device.type, 2**20) // (right - left))
    for top in range(region.top, region.bottom, rows):
        stripe = Region(top, min(top + rows, region.bottom), region.left, region.right)
        seen = Region(stripe.top - around, stripe.bottom + around, left, right)
        features = look(seen)
        there = None if everywhere else looked_at(observed.unsqueeze(2), seen)
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


def _around(region: Region, pixels: int) -> Region:
    return Region(region.top - pixels, region.bottom + pixels, region.left - pixels, region.right + pixels)


def _within(region: Region, observed: Tensor) -> Region:
    height, width = observed.shape
    return Region(max(region.top, 0), min(region.bottom, height), max(region.left, 0), min(region.right, width))


def _coarser(region: Region, bilinear: bool) -> Region:
    """What the next coarser level tells of a region."""
    beside = int(bilinear)
    top, left = (region.top - beside) // 2, (region.left - beside) // 2
    return Region(top, (region.bottom + beside + 1) // 2, left, (region.right + beside + 1) // 2)


def _finer(region: Region) -> Region:
    return Region(2 * region.top, 2 * region.bottom, 2 * region.left, 2 * region.right)


def _cut(doubled: Tensor, region: Region, coarse: Region) -> Tensor:
    """A region of what has twice the resolution of a coarser one."""
    top, left = region.top - 2 * coarse.top, region.left - 2 * coarse.left
    return doubled[top : top + region.bottom - region.top, left : left + region.right - region.left]


def _halved(observed: Tensor) -> Tensor:
    height, width = observed.shape
    return observed.view(height // 2, 2, width // 2, 2).any(dim=3).any(dim=1)


def _pooled(look: Look, observed: Tensor) -> Look:
    """The largest of 2x2 pixels."""

    def pooled(region: Region) -> Tensor:
        there = _within(region, observed)
        fine = look(_finer(there))
        cells = fine.unflatten(1, (-1, 2)).unflatten(0, (-1, 2))  # (rows / 2, 2, columns / 2, 2, C)
        return looked_at(larger(larger(cells, 3), 1), region, there)

    return pooled


def _nearest(look: Look) -> Look:
    """Each pixel four times."""

    def nearest(region: Region) -> Tensor:
        coarse = _coarser(region, bilinear=False)
        doubled = functional.interpolate(as_image(look(coarse)), scale_factor=2, mode="nearest")
        return _cut(as_rows(doubled), region, coarse)

    return nearest


def _bilinear(look: Look, observed: Tensor) -> Look:
    """`models.unet.double`, zero where not observed."""
    everywhere = bool(observed.all())

    def bilinear(region: Region) -> Tensor:
        coarse = _coarser(region, bilinear=True)
        seen = look(_around(coarse, 1))
        rows, columns, channels = (size - 2 * (axis < 2) for axis, size in enumerate(seen.shape))
        high = seen.new_empty(rows, 2, columns + 2, channels)
        torch.lerp(seen[1:-1], seen[:-2], 0.25, out=high[:, 0])
        torch.lerp(seen[1:-1], seen[2:], 0.25, out=high[:, 1])
        high = high.flatten(0, 1)  # (2 rows, columns + 2, C)
        wide = seen.new_empty(2 * rows, columns, 2, channels)
        torch.lerp(high[:, 1:-1], high[:, :-2], 0.25, out=wide[:, :, 0])
        torch.lerp(high[:, 1:-1], high[:, 2:], 0.25, out=wide[:, :, 1])
        doubled = _cut(wide.flatten(1, 2), region, coarse)
        if not everywhere:
            return doubled * looked_at(observed.unsqueeze(2), region)
        _clear_beyond(doubled, region.top, len(observed))
        return doubled

    return bilinear


def _beside(skip: Look, finer: Look) -> Look:
    return lambda region: torch.cat([skip(region), finer(region)], dim=2)
