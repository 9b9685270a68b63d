"""Patches cut around single pixels, for networks that give a patch one class."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional


def patches_at_random(
    x: Tensor, valid: Tensor, target: Tensor, size: int, count: int, rng: np.random.Generator
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Patches around pixels drawn among those with a class.

    Args:
        x: Shape (B, T, C, H, W).
        valid: Shape (B, T, H, W).
        target: Position of the class, -1 for none, shape (B, H, W); of those without any class none is taken.
        size: Edge of the patches, odd.
        count: Patches of each of the B.
        rng: Draws the pixels.

    Returns:
        Shapes (N, T, C, size, size), (N, T, size, size) and (N,), and which of the B each is of, shape (N,).
    """
    samples, pixels = [], []
    for number, classes in enumerate(target):
        labelled = (classes >= 0).flatten().nonzero().flatten()
        if len(labelled):
            samples.append(torch.full((count,), number))
            pixels.append(labelled[torch.from_numpy(rng.integers(len(labelled), size=count))])
    none = torch.empty(0, dtype=torch.int64)
    sample, pixel = torch.cat([none, *samples]), torch.cat([none, *pixels])
    x, valid = cut_patches(x, valid, sample, pixel, size)
    return x, valid, target.flatten(1)[sample, pixel], sample


def cut_patches(x: Tensor, valid: Tensor, sample: Tensor, pixel: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """Patches around pixels; beyond the edge nothing is valid.

    Args:
        x: Shape (B, T, C, H, W).
        valid: Shape (B, T, H, W).
        sample: Which of the B, shape (N,).
        pixel: Position among its H * W pixels, shape (N,).
        size: Edge of the patches, odd.

    Returns:
        Shapes (N, T, C, size, size) and (N, T, size, size).
    """
    margin, width = size // 2, x.shape[-1]
    x, valid = functional.pad(x, (margin,) * 4), functional.pad(valid, (margin,) * 4)
    offset = torch.arange(size)
    rows = (pixel // width)[:, None, None] + offset[:, None]  # (N, size, 1)
    cols = (pixel % width)[:, None, None] + offset  # (N, 1, size)
    at = sample[:, None, None]
    patches = x[at, :, :, rows, cols].permute(0, 3, 4, 1, 2)  # (N, size, size, T, C) before
    return patches, valid[at, :, rows, cols].permute(0, 3, 1, 2)
