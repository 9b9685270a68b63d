"""Patch networks over a raster, without a patch: what overlapping patches share is computed once.

A `ConvLSTM` classifies the mean of its last states over a patch. Where patches of 65 pixels lie 13 pixels apart each
pixel is in 25 of them: cut out one by one, it is computed 25 times. Here the states are computed once for all pixels
and averaged over the square of each patch.

That is not the same to the last digit. A patch that is cut out ends in zeros, as far as its network knows; here its
border pixels see what lies around the patch. The difference dies out within some pixels, so that it counts the less the
larger the patch: with the weights of the bundled flanders-2018-convlstm on its real square, probabilities were off by
up to 0.80 for patches of 3 pixels, 0.10 for 17, 0.04 for 33 and 0.004 for 65, and 92, 98, 98 and 100 % of the pixels
had the same class. Patches of less than `LEAST_PATCH` pixels are therefore always cut out, and so are those of networks
whose embedding is no such mean: `lrcn`, `resnet`, `densenet`, `efficientnet` and `cnn3d` halve the resolution of each
patch from its own corner on.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from models.convlstm import ConvLSTM
from models.convolutional_recurrence import ConvolutionalCell
from models.faster.convolutional_recurrence import FasterCell
from models.network import Network

LEAST_PATCH = 33
"""Height and width of the smallest patches that are not cut out, in pixels."""
REACH = 12
"""Pixels around a pixel that its state is computed from; see `models.convolutional_recurrence`."""
BYTES_AT_ONCE = {"cpu": 2**28, "cuda": 2**32}
"""Of states that are computed together, by device."""
_BYTES_PER_CHANNEL = 12
"""A state before and after a date and what is remembered, float32."""


@dataclass(frozen=True)
class Cells:
    """Squares of an image that get a class each, that of the patch around their middle."""

    stride: int
    """Their height and width in pixels."""
    rows: int
    cols: int
    corner: int
    """Row, and column, of the first patch's corner in the image; may lie outside."""

    def membership(self, patch_size: int, axis: int, length: int) -> Tensor:
        """Which rows, or columns, of an image of a `length` each patch has: 1 where it does, shape (rows, length)."""
        first = self.corner + self.stride * torch.arange((self.rows, self.cols)[axis]).unsqueeze(1)
        places = torch.arange(length)
        return ((places >= first) & (places < first + patch_size)).float()


def runs_densely(network: Network) -> bool:
    """Whether `patch_logits` stands for a patch network's own `logits` of each patch."""
    return isinstance(network, ConvLSTM) and network.kind == "patch" and network.patch_size >= LEAST_PATCH


def patch_logits(
    network: ConvLSTM,
    x: Tensor,
    dates: Tensor,
    valid: Tensor,
    cells: Cells,
    progress: Callable[[float], None] = lambda fraction: None,
) -> Tensor:
    """Class logits of cells, from states that all patches share.

    Args:
        network: A network that `runs_densely`, best one that `faster_recurrence` made.
        x: An image with all patches and what there is up to `REACH` pixels around them, shape (T, C, H, W); any value,
            NaN too, where not valid.
        dates: Days since the season's start, shape (T,).
        valid: Shape (T, H, W).
        cells: Where in the image the cells lie; what of a patch lies outside was never observed.
        progress: Called with the share that is done; may raise to stop.

    Returns:
        Shape (K, rows, cols).
    """
    seen = valid.any(dim=0)  # (H, W)
    down, across = (cells.membership(network.patch_size, axis, length) for axis, length in enumerate(seen.shape))
    down, across = down.to(x.device), across.to(x.device)
    means = torch.zeros(network.classify.in_features, cells.rows, cells.cols, device=x.device)
    asked = seen & (down.any(dim=0).unsqueeze(1) & across.any(dim=0))  # (H, W)
    tiles = list(_tiles(asked, _edge(network, x.device)))
    for done, (rows, cols) in enumerate(tiles):
        progress(done / len(tiles))
        around = _widened(rows), _widened(cols)
        here = valid[:, *around]
        values = x[:, :, *around].masked_fill(~here.unsqueeze(1), 0.0)
        states = network.cells(values[None], dates[None], here[None])[0]  # (E, h, w), zero where never observed
        own = (_within(part, whole) for part, whole in zip((rows, cols), around, strict=True))
        means += down[:, rows] @ states[:, *own] @ across[:, cols].T
    means /= (down @ seen.float() @ across.T).clamp(min=1)
    logits: Tensor = network.classify(means.movedim(0, -1))
    return logits.movedim(-1, 0)


def _edge(network: ConvLSTM, device: torch.device) -> int:
    """Height and width of the largest tiles, in pixels."""
    channels = sum(cell.hidden for cell in network.cells if isinstance(cell, (ConvolutionalCell, FasterCell)))
    return max(64, math.isqrt(BYTES_AT_ONCE.get(device.type, 2**28) // (_BYTES_PER_CHANNEL * channels)) - 2 * REACH)


def _tiles(asked: Tensor, edge: int) -> Iterator[tuple[slice, slice]]:
    """Rows and columns of equal squares that hold all that is asked for, shape (H, W)."""
    for rows in _parts(asked.any(dim=1), edge):
        for cols in _parts(asked[rows].any(dim=0), edge):
            yield rows, cols


def _parts(asked: Tensor, longest: int) -> Iterator[slice]:
    """Stretches of equal length from the first to the last that is asked for."""
    places = asked.nonzero().flatten().tolist()
    if not places:
        return
    first, end = places[0], places[-1] + 1
    count = -(-(end - first) // longest)
    bounds = [first + (end - first) * part // count for part in range(count + 1)]
    yield from (slice(*pair) for pair in itertools.pairwise(bounds))


def _widened(part: slice) -> slice:
    return slice(max(0, part.start - REACH), part.stop + REACH)


def _within(part: slice, whole: slice) -> slice:
    return slice(part.start - whole.start, part.stop - whole.start)
