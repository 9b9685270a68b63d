"""Windows with the pixels around them, of parts of a raster that are read once, one after the other.

What lies around a part is partly not read yet. The window that can be worked on therefore lags behind the part that was
just read, up and to the left, by as many pixels as are needed around it; and of what was read only a strip above and
one to the left are kept.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from cropmap_core.io.grid import Window

Wanted = NDArray[np.bool_]
"""Which of some parts or windows, shape (rows, columns) of parts."""


@dataclass(frozen=True)
class Parts:
    """A division of a raster into rows and columns of parts."""

    rows: tuple[int, ...]
    """First row of each row of parts, and the raster's height."""
    cols: tuple[int, ...]
    """First column of each column of parts, and the raster's width."""

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns of parts."""
        return len(self.rows) - 1, len(self.cols) - 1

    def window(self, row: int, col: int) -> Window:
        """Where a part lies."""
        top, left = self.rows[row], self.cols[col]
        return Window(top, left, self.rows[row + 1] - top, self.cols[col + 1] - left)

    def lagging(self, pixels: int) -> Parts:
        """The windows that can be worked on once a part is read: as many, those at the end larger than their part."""
        return Parts(*((0, *(at - pixels for at in edges[1:-1]), edges[-1]) for edges in (self.rows, self.cols)))


def divide(height: int, width: int, edge: int) -> Parts:
    """Parts of `edge` x `edge` pixels, those at the end smaller."""
    return Parts((*range(0, height, edge), height), (*range(0, width, edge), width))


def needed_for(wanted: Wanted, pixels: int) -> Wanted:
    """Which parts must be read for some of the windows that lag behind them by so many pixels."""
    if not pixels:
        return wanted
    padded = np.pad(wanted, ((0, 1), (0, 1)))
    needed: Wanted = padded[:-1, :-1] | padded[1:, :-1] | padded[:-1, 1:] | padded[1:, 1:]
    return needed


class Surroundings:
    """Keeps of each part what the windows after it need.

    Args:
        parts: Of at least twice `pixels` rows and columns each, but for those at the end.
        pixels: How far windows lag, and how many pixels around them they come with.
    """

    def __init__(self, parts: Parts, pixels: int) -> None:
        self._parts, self._pixels = parts, pixels
        self._above: list[Tensor] = []
        self._coming: tuple[slice, list[Tensor]] | None = None  # what the last part gives to the strip above
        self._left: list[Tensor] = []
        self._last = (-1, -1)

    def add(self, row: int, col: int, images: Sequence[Tensor]) -> list[Tensor]:
        """Takes what was read or computed of a part, in order row by row, and gives its window's with what is around.

        Parts that no window needs may be left out; what windows get of them is of no meaning.

        Args:
            row: Of the part.
            col: As `row`.
            images: Each of shape (..., H, W, F), those of the part.

        Returns:
            Each of shape (..., H' + 2 pixels, W' + 2 pixels, F); zero beyond the raster.
        """
        around = self._pixels
        if not around:
            return list(images)
        part, width = self._parts.window(row, col), self._parts.cols[-1]
        if not self._above:
            self._above = [each.new_zeros(*each.shape[:-3], 2 * around, width, each.shape[-1]) for each in images]
        if row != self._last[0]:
            self._hand_on()
        if (row, col - 1) != self._last:
            self._left = []
        more = [around * (at == last - 1) for at, last in zip((row, col), self._parts.shape, strict=True)]
        found = []
        for number, image in enumerate(images):
            height, length = 2 * around + part.height + more[0], 2 * around + part.width + more[1]
            whole = image.new_zeros(*image.shape[:-3], height, length, image.shape[-1])
            inside = slice(2 * around, 2 * around + part.width)
            whole[..., 2 * around : 2 * around + part.height, inside, :] = image
            before = min(2 * around, part.col)  # columns of the strip above that are there on the left
            whole[..., : 2 * around, 2 * around - before : inside.stop, :] = self._above[number][
                ..., part.col - before : part.col + part.width, :
            ]
            if self._left:
                whole[..., 2 * around : 2 * around + part.height, : 2 * around, :] = self._left[number]
            found.append(whole)
        self._hand_on()  # not sooner: this part needed what was above the one before
        below = slice(part.height, part.height + 2 * around)
        strips = [each[..., below, 2 * around : 2 * around + part.width, :].clone() for each in found]
        self._coming = slice(part.col, part.col + part.width), strips
        self._left = [
            each[..., 2 * around : 2 * around + part.height, part.width : part.width + 2 * around, :].clone()
            for each in found
        ]
        self._last = row, col
        return [each[..., around * (row == 0) :, around * (col == 0) :, :] for each in found]

    def _hand_on(self) -> None:
        """Puts what the last part gives into the strip that the next row of parts has above it."""
        if self._coming is not None:
            cols, strips = self._coming
            for above, strip in zip(self._above, strips, strict=True):
                above[..., cols, :] = strip
            self._coming = None
