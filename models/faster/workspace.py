"""How much is seen at once, and memory that the next block uses again."""

from __future__ import annotations

import ctypes
import math
import sys
import threading
from collections.abc import Mapping

import torch
from torch import Tensor

_MIB = 2**20
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # malloc.h


def of_all_threads(limits: Mapping[str, int], device: torch.device) -> int:
    """A limit by device, which on processors is that of one thread."""
    return limits.get(device.type, limits["cuda"]) * (torch.get_num_threads() if device.type == "cpu" else 1)


def keep_freed_memory() -> bool:
    """Asks the allocator of this process to keep what is freed, for the features of the next pixels.

    Left to itself it gives pages back to the system and fetches them anew many times a second, which makes networks of
    pixels up to 1.7 times as slow.

    Returns:
        Whether it was understood; only the GNU C library's is.
    """
    if not sys.platform.startswith("linux"):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    return bool(mallopt(_M_MMAP_THRESHOLD, 32 * _MIB) and mallopt(_M_TRIM_THRESHOLD, 512 * _MIB))


class Workspace(threading.local):
    """Large tensors by name, one of each in every thread.

    On processors, pages that the system hands out anew for each block take as long as a convolution. Allocators of
    other devices keep what was given back; there the tensors are simply made.
    """

    def __init__(self) -> None:
        self._kept: dict[tuple[str, torch.dtype], Tensor] = {}

    def __reduce__(self) -> tuple[type[Workspace], tuple[()]]:
        """Copies of a network have memory of their own."""
        return type(self), ()

    def keeps(self, like: Tensor) -> bool:
        """Whether tensors on a device are kept."""
        return like.device.type == "cpu"

    def take(self, name: str, like: Tensor, *shape: int) -> Tensor:
        """A tensor of a shape and the dtype of another, of any content; what had this name is overwritten."""
        if not self.keeps(like):
            return like.new_empty(shape)
        size = math.prod(shape)
        kept = self._kept.get((name, like.dtype))
        if kept is None or kept.numel() < size:
            with torch.inference_mode(mode=False):  # else it could only be written to in that mode
                kept = self._kept[name, like.dtype] = torch.empty(size, dtype=like.dtype)
        return kept[:size].view(shape)
