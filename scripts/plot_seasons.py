"""docs/images/ndvi-flanders.png: NDVI of five real parcels as observed, composited and filled."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import geopandas
import matplotlib as mpl
import numpy as np
from matplotlib import dates as mdates
from matplotlib import pyplot
from matplotlib.axes import Axes
from numpy.typing import NDArray
from rasterio.features import geometry_mask

from cropmap_core.scenes.inventory import find_scenes
from cropmap_core.scenes.scl import DEFAULT_KEEP_CLASSES, keep_table
from cropmap_core.scenes.stack import stack_scenes
from cropmap_core.timeseries.compositing import composite
from cropmap_core.timeseries.filling import Filled
from cropmap_core.timeseries.series import Block, Series

PARCELS = (7, 4, 6, 17, 12)
START, END = date(2018, 1, 1), date(2018, 12, 31)
INK, QUIET, OBSERVED, COMPOSITE, FILLED = "#22302a", "#6b756f", "#b9c2bb", "#2a7f3f", "#d9822b"


@dataclass(frozen=True)
class Line:
    """Mean NDVI of a parcel, date by date; NaN where too little of it is there."""

    days: tuple[date, ...]
    ndvi: NDArray[np.float64]


def draw(data: Path, picture: Path) -> None:
    """Draws the picture.

    Args:
        data: The folder flanders_2018.
        picture: PNG to write.
    """
    mpl.use("Agg")
    stack = stack_scenes(find_scenes([data / "scenes"], START, END).scenes, ("B04", "B08"), 10, "auto", START, END)
    composites = composite(stack, "half_month", START, END, DEFAULT_KEEP_CLASSES)
    filled = Filled(composites)
    parcels = geopandas.read_file(data / "parcels.gpkg").to_crs(stack.grid.crs).set_index("parcel_id")
    block, cleared = stack.read(stack.grid.window()), composites.read(stack.grid.window())
    scl = block.data[:, stack.bands.index("SCL")]
    observed = Block(block.data[:, :2], block.valid & keep_table(DEFAULT_KEEP_CLASSES)[scl.clip(0, 255)])
    whole = filled.read(stack.grid.window())

    figure, axes = pyplot.subplots(len(PARCELS), 1, figsize=(9, 11), sharex=True, sharey=True)
    for axis, number in zip(axes, PARCELS, strict=True):
        parcel = parcels.loc[number]
        inside = ~geometry_mask([parcel.geometry], (stack.grid.height, stack.grid.width), stack.grid.transform)
        lines = [
            _mean(series, part, inside) for series, part in ((stack, observed), (composites, cleared), (filled, whole))
        ]
        _draw_parcel(axis, f"{parcel.crop_name}, {parcel.area_ha:.2g} ha", lines)
    axes[0].legend(loc="upper left", bbox_to_anchor=(0, 1.42), ncols=3, frameon=False)
    axes[-1].xaxis.set_major_locator(mdates.MonthLocator())
    axes[-1].xaxis.set_major_formatter(mdates.DateFormatter("%b"))
    figure.supylabel("NDVI, mean of the parcel", color=INK, x=0.01)
    figure.tight_layout()
    figure.savefig(picture, dpi=110)


def _mean(series: Series, block: Block, inside: NDArray[np.bool_]) -> Line:
    """Over the pixels that are there; nothing where less than half of the parcel is."""
    red, infrared = (block.data[:, series.bands.index(band)].astype(float) for band in ("B04", "B08"))
    used = block.valid & inside
    with np.errstate(divide="ignore", invalid="ignore"):
        ndvi = np.where(used, (infrared - red) / (infrared + red), np.nan)
        share = used.sum(axis=(1, 2)) / inside.sum()
        mean = np.nansum(ndvi, axis=(1, 2)) / used.sum(axis=(1, 2))
    return Line(series.dates, np.where(share >= 0.5, mean, np.nan))


def _draw_parcel(axis: Axes, title: str, lines: Sequence[Line]) -> None:
    observed, composites, filled = lines
    middle = timedelta(days=7)
    axis.plot(_at(observed.days), observed.ndvi, "o", ms=3.5, color=OBSERVED, label="observed, clear by SCL")
    axis.plot(_at(filled.days, middle), filled.ndvi, "o--", ms=4, lw=1, mfc="white", color=FILLED, label="filled")
    axis.plot(_at(composites.days, middle), composites.ndvi, "o", ms=5, color=COMPOSITE, label="half-month median")
    axis.set_title(title, loc="left", fontsize=10, color=INK)
    axis.set_ylim(0, 1)
    axis.tick_params(colors=QUIET)
    for side in ("top", "right"):
        axis.spines[side].set_visible(False)


def _at(days: Sequence[date], shift: timedelta = timedelta()) -> Any:
    return mdates.date2num([day + shift for day in days])


if __name__ == "__main__":
    draw(Path(sys.argv[1]), Path(sys.argv[2]))
