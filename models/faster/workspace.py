"""Memory that the next block uses again."""

from __future__ import annotations

import math
import threading

import torch
from torch import Tensor


class Workspace(threading.local):
    """Large tensors by name, one of each in every thread.

    On processors, pages that the system hands out anew for each block take as long as a convolution. Allocators of
    other devices keep what was given back; there the tensors are simply made.
    """

    def __init__(self) -> None:
        self._kept: dict[tuple[str, torch.dtype], Tensor] = {}

    def take(self, name: str, like: Tensor, *shape: int) -> Tensor:
        """A tensor of a shape and the dtype of another, of any content; what had this name is overwritten."""
        if like.device.type != "cpu":
            return like.new_empty(shape)
        size = math.prod(shape)
        kept = self._kept.get((name, like.dtype))
        if kept is None or kept.numel() < size:
            kept = self._kept[name, like.dtype] = like.new_empty(size)
        return kept[:size].view(shape)
