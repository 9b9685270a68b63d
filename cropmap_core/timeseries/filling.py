"""Gap filling: composites without a clear observation borrow from their neighbours in time."""

from __future__ import annotations

from dataclasses import dataclass

from cropmap_core.errors import SeriesError
from cropmap_core.io.grid import Window
from cropmap_core.timeseries.interpolation import fill_from_neighbours
from cropmap_core.timeseries.series import SCL, Block, Derived, present


@dataclass(frozen=True)
class Filled(Derived):
    """A series whose gaps are filled; a pixel that was never observed stays nodata at every date."""

    def __post_init__(self) -> None:
        if self.source.dtype.kind != "i" or SCL in self.source.bands:
            raise SeriesError(
                "Only composites of reflectance can be filled.", "Give the output of compositetimeseries."
            )

    def read(self, window: Window) -> Block:
        block = self.source.read(window)
        data = fill_from_neighbours(block.data, block.valid)
        return Block(data, present(data, self.bands))
