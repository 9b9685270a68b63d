"""Parts of images, which may reach beyond them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from torch import Tensor
from torch.nn import functional

from models.faster.workspace import Workspace


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

    @property
    def rows(self) -> int:
        """How many."""
        return self.bottom - self.top

    @property
    def columns(self) -> int:
        """How many."""
        return self.right - self.left

    def grown(self, pixels: int) -> Region:
        """With so many more pixels on each side."""
        return Region(self.top - pixels, self.bottom + pixels, self.left - pixels, self.right + pixels)

    def within(self, image: Tensor) -> Region:
        """The part that lies in an image of shape (H, W, ...)."""
        height, width = image.shape[:2]
        return Region(max(self.top, 0), min(self.bottom, height), max(self.left, 0), min(self.right, width))

    def coarser(self) -> Region:
        """At half the resolution, whole pixels that it lies in."""
        return Region(self.top // 2, (self.bottom + 1) // 2, self.left // 2, (self.right + 1) // 2)

    def finer(self) -> Region:
        """At twice the resolution."""
        return Region(2 * self.top, 2 * self.bottom, 2 * self.left, 2 * self.right)


Look = Callable[[Region], Tensor]
"""What an image shows in a region, shape (rows, columns, C): zero beyond its edge."""


class Image:
    """A region of an image, kept as it is made."""

    def __init__(self, region: Region, name: str, workspace: Workspace) -> None:
        self.region = region
        self._take = partial(workspace.take, name)
        self._kept: Tensor | None = None

    def put(self, stripe: Region, features: Tensor) -> None:
        """Keeps rows of the region, shape (rows, columns, C)."""
        own = self.region
        if self._kept is None:
            self._kept = self._take(features, own.rows, own.columns, features.shape[2])
        self._kept[stripe.top - own.top : stripe.bottom - own.top] = features

    def look(self, region: Region) -> Tensor:
        """`Look`."""
        if self._kept is None:
            raise RuntimeError("nothing was put into this image")
        return looked_at(self._kept, region, self.region)


def looked_at(image: Tensor, region: Region, own: Region | None = None) -> Tensor:
    """A region of an image of shape (H, W, ...), or of the part `own` of one: zero beyond."""
    own = own or Region(0, image.shape[0], 0, image.shape[1])
    top, left = max(region.top, own.top), max(region.left, own.left)
    bottom, right = max(min(region.bottom, own.bottom), top), max(min(region.right, own.right), left)
    part = image[top - own.top : bottom - own.top, left - own.left : right - own.left]
    beyond = (left - region.left, region.right - right, top - region.top, region.bottom - bottom)
    return functional.pad(part, (*[0, 0] * (image.ndim - 2), *beyond)) if any(beyond) else part
