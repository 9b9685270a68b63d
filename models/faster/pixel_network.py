"""Networks that see the series of each pixel alone, some thousand pixels after the others."""

from __future__ import annotations

from abc import abstractmethod

import torch
from torch import Tensor

from models.faster.network import FasterNetwork
from models.faster.regions import Region
from models.faster.series import Series, see_pixels


class FasterPixelNetwork(FasterNetwork):
    """A trained pixel network."""

    width: int
    """Channels of its widest layer."""

    @property
    @abstractmethod
    def unseen(self) -> Tensor:
        """Logits of a pixel that was never observed, float32, shape (K,)."""

    @abstractmethod
    def classify_series(self, series: Series) -> Tensor:
        """Logits of N pixels, float32, shape (N, K); of any value where never observed."""

    def logits_inside(self, x: Tensor, dates: Tensor, valid: Tensor, inside: Region) -> Tensor:
        there = (..., slice(inside.top, inside.bottom), slice(inside.left, inside.right))
        x, valid = x[there], valid[there]
        batch, _, _, height, width = x.shape
        logits = x.new_empty(batch, height * width, self.classes, dtype=torch.float32)
        for image, sample, days, here in zip(logits, x, dates, valid, strict=True):
            see_pixels(self.classify_series, self.width, self.unseen, sample, days, here, image)
        return logits.view(batch, height, width, -1).permute(0, 3, 1, 2)  # (B, K, H, W)
