"""Channels as a network on the processor takes them: normalised, zero where not valid, the channels last in memory.

One compiled pass over what was read; `Bundle.normalise` says what is computed, and this computes the same numbers.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cropmap_core.inference.bundle_types import Bundle
from cropmap_core.timeseries.kernels import CHUNK, compiled, flat, over_pixels
from cropmap_core.timeseries.series import REFLECTANCE_SCALE, Mask, Values


def prepare(
    bundle: Bundle,
    values: Values,
    valid: Mask,
    there: Sequence[str] | None = None,
    precision: torch.dtype = torch.float32,
) -> Tensor:
    """Normalises a window's channels.

    Args:
        bundle: Of whose channels they are, in its order.
        values: int16 reflectance x 10000, or float32 reflectance 0-1 and indices, shape (T, C, H, W).
        valid: Where they may be used, shape (T, H, W).
        there: Which of its channels they are; None for all. The others are zero, their mean.
        precision: float32 or bfloat16, to which the same float32 numbers are rounded.

    Returns:
        Shape (T, H, W, C) with all channels of the bundle, contiguous.
    """
    times, _, height, width = values.shape
    chosen, scale, shift = _scaling(bundle, there)
    unit = np.float32(REFLECTANCE_SCALE if values.dtype.kind == "i" else 1.0)
    whole = len(chosen) == len(bundle.channels)
    halved = precision == torch.bfloat16
    shape = times, height * width, len(bundle.channels)
    out = (np.empty if whole else np.zeros)(shape, np.uint16 if halved else np.float32)
    kernel = _normalise_halved if halved else _normalise
    over_pixels(kernel, height * width, flat(values), flat(valid), unit, scale, shift, np.array(chosen), out)
    tensor = torch.from_numpy(out.view(np.int16)).view(torch.bfloat16) if halved else torch.from_numpy(out)
    return tensor.view(times, height, width, len(bundle.channels))


def prepare_on(
    device: torch.device,
    bundle: Bundle,
    values: Values,
    valid: Mask,
    there: Sequence[str] | None = None,
    precision: torch.dtype = torch.float32,
) -> Tensor:
    """`prepare` on an accelerator: what was read is copied there as it is, and normalised there.

    Args:
        device: Where to compute; what it gets is pinned in memory where that makes the copy faster.
        bundle: As in `prepare`.
        values: As above.
        valid: As above.
        there: As above.
        precision: As above.

    Returns:
        As above, on the device.
    """
    chosen, *scaling = _scaling(bundle, there)
    read, usable = (torch.from_numpy(np.ascontiguousarray(each)) for each in (values, valid))
    if device.type == "cuda":
        read, usable = read.pin_memory(), usable.pin_memory()
    x = read.to(device, non_blocking=True).permute(0, 2, 3, 1).float()  # (T, H, W, C)
    if values.dtype.kind == "i":
        x = x * np.float32(REFLECTANCE_SCALE).item()
    scale, shift = (torch.from_numpy(each).to(device) for each in scaling)
    x = (x * scale - shift).masked_fill(~usable.to(device, non_blocking=True).unsqueeze(-1), 0.0).to(precision)
    if len(chosen) == len(bundle.channels):
        return x.contiguous()
    whole = x.new_zeros(*x.shape[:3], len(bundle.channels))
    whole[..., chosen] = x
    return whole


def _scaling(bundle: Bundle, there: Sequence[str] | None) -> tuple[list[int], NDArray[np.float32], NDArray[np.float32]]:
    """The places of the channels that are there, what each is multiplied by, and what is subtracted then."""
    chosen = [place for place, name in enumerate(bundle.channels) if there is None or name in there]
    std, mean = np.array(bundle.std)[chosen], np.array(bundle.mean)[chosen]
    return chosen, (1.0 / std).astype(np.float32), (mean / std).astype(np.float32)


@compiled
def _normalise(
    values: Any, valid: Any, unit: Any, scale: Any, shift: Any, places: Any, out: Any, begin: int, end: int
) -> None:
    """Shapes (T, C, P), (T, P) and (T, P, C')."""
    for at in range(begin, end, CHUNK):
        size = min(CHUNK, end - at)
        for time in range(values.shape[0]):
            there = valid[time, at : at + size]
            for channel in range(values.shape[1]):
                row, place = values[time, channel, at : at + size], places[channel]
                target = out[time, at : at + size]
                for pixel in range(size):
                    value = np.float32(row[pixel]) * unit * scale[channel] - shift[channel]
                    target[pixel, place] = value if there[pixel] else np.float32(0)


@compiled
def _normalise_halved(
    values: Any, valid: Any, unit: Any, scale: Any, shift: Any, places: Any, out: Any, begin: int, end: int
) -> None:
    """The same, rounded to bfloat16, half to even: the upper half of a float32's bits."""
    numbers = np.empty(CHUNK, np.float32)
    bits = numbers.view(np.uint32)
    for at in range(begin, end, CHUNK):
        size = min(CHUNK, end - at)
        for time in range(values.shape[0]):
            there = valid[time, at : at + size]
            for channel in range(values.shape[1]):
                row, place = values[time, channel, at : at + size], places[channel]
                target = out[time, at : at + size]
                for pixel in range(size):
                    value = np.float32(row[pixel]) * unit * scale[channel] - shift[channel]
                    numbers[pixel] = value if there[pixel] else np.float32(0)
                for pixel in range(size):
                    number = bits[pixel]
                    odd = (number >> np.uint32(16)) & np.uint32(1)
                    target[pixel, place] = np.uint16((number + np.uint32(0x7FFF) + odd) >> np.uint32(16))
