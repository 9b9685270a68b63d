"""The real season of 640 m by 640 m of Flanders in 2018, with its 18 declared parcels (`flanders_2018`).

It is not part of this repository. Landscapes and bundles of Europe learn from it, and are judged by it.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from datetime import date
from functools import cache
from pathlib import Path

import geopandas
import numpy as np
import rasterio
from rasterio.features import rasterize

from cropmap_core.classes import CropClass
from cropmap_core.learning.augmentation import Labelled, resampled_seasons
from cropmap_core.learning.training import make_channels
from cropmap_core.scenes.inventory import DEFAULT_BANDS, find_scenes
from cropmap_core.scenes.scl import DEFAULT_KEEP_CLASSES
from cropmap_core.scenes.stack import SceneStack, stack_scenes
from cropmap_core.timeseries.compositing import composite
from cropmap_core.timeseries.filling import Filled
from cropmap_core.timeseries.periods import make_periods
from cropmap_core.timeseries.series import Series

START, END = date(2018, 1, 1), date(2018, 12, 31)
CHANNELS = (*DEFAULT_BANDS, "NDVI", "NDRE", "NDMI")
SEED = 0
SEASONS = 32
"""The season of all scenes, and resampled ones."""

CLASSES = {
    1200: CropClass(1, "Maize", "#f2c14e", "Grain and silage maize"),
    2130: CropClass(2, "Cabbages", "#7d5ba6", "Cabbages; one parcel was seen in training"),
    5100: CropClass(3, "Potatoes", "#a8683a", "Potatoes; one parcel was seen in training"),
    7900: CropClass(
        4, "Other Leguminous crops", "#2f9e9e", "Leguminous crops, green over winter here: probably clover or fodder"
    ),
    9120: CropClass(5, "Permanent grass crops", "#6fb24c", "Permanent grassland"),
}
"""By the legacy WorldCereal code of the labels."""


@dataclass(frozen=True)
class Site:
    """The real season with its labels."""

    stack: SceneStack
    season: Series
    """Filled monthly composites, as `mapcrops` makes them."""
    labelled: Labelled

    @property
    def parcels(self) -> list[int]:
        """Numbers of the parcels."""
        return [int(number) for number in np.unique(self.labelled.parcels) if number]

    def truth(self, parcel: int) -> int:
        """Position of a parcel's class."""
        return int(self.labelled.classes[self.labelled.parcels == parcel][0])


@cache
def read_site(folder: Path) -> Site:
    """Reads scenes, parcels and crop types, and makes the seasons."""
    scenes = find_scenes([folder / "scenes"], START, END).scenes
    stack = stack_scenes(scenes, DEFAULT_BANDS, 10, "auto", START, END)
    season = Filled(composite(stack, "month", START, END, DEFAULT_KEEP_CLASSES))
    seasons = resampled_seasons(stack, make_periods("month", START, END), DEFAULT_KEEP_CLASSES, SEASONS, SEED)
    with rasterio.open(folder / "crop_type.tif") as raster:
        codes = raster.read(1)
    declared = geopandas.read_file(folder / "parcels.gpkg").to_crs(stack.grid.crs)
    parcels = rasterize(
        zip(declared.geometry, declared.parcel_id, strict=True),
        out_shape=codes.shape,
        transform=stack.grid.transform,
        dtype="int32",
    ).astype(np.int64)
    classes = np.full(codes.shape, -1, dtype=np.int64)
    for position, code in enumerate(CLASSES):
        classes[(codes == code) & (parcels > 0)] = position
    observed = np.isfinite(make_channels(seasons[0], DEFAULT_BANDS, CHANNELS)).all(axis=(0, 1))
    return Site(stack, season, Labelled(seasons, np.where(observed, classes, -1), parcels))


def check_legend(folder: Path) -> None:
    """Holds the class names to the data's own legend."""
    with (folder / "legend.csv").open(encoding="utf-8", newline="") as stream:
        legend = {int(row["crop_code"]): row["crop_name"] for row in csv.DictReader(stream)}
    named = {code: crop.name for code, crop in CLASSES.items()}
    if legend != named:
        raise ValueError(f"legend.csv has the classes {legend}, this script {named}")
