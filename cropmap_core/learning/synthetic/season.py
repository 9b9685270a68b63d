"""A seeded Sentinel-2 L2A season of a synthetic landscape, for demonstrations, tests and benchmarks.

Its fields follow the class signatures of a model bundle with the spread of their quartiles. So how well that model
maps the season tells that the software works, and nothing about the accuracy on real land.
"""

from __future__ import annotations

import shutil
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from pathlib import Path

import geopandas
import numpy as np
import rasterio
from numpy.typing import NDArray
from rasterio import features
from rasterio.transform import from_origin

from cropmap_core.errors import OutputError
from cropmap_core.inference.bundles import Bundle
from cropmap_core.learning.signatures import read_quartiles
from cropmap_core.learning.synthetic.camera import SUBPIXELS, Camera, resolution_m
from cropmap_core.learning.synthetic.growth import BANDS, grow
from cropmap_core.learning.synthetic.landscape import Landscape, make_landscape
from cropmap_core.learning.synthetic.sky import make_sky
from cropmap_core.scenes.scl import SCL_CLASSES

TILE = "31UDS"
CRS = "EPSG:32631"
ORIGIN = (479_500.0, 5_641_000.0)
"""Upper left corner, inside the MGRS tile."""
PARCELS_CRS = "EPSG:31370"
TRUTH_NODATA = 0

_ORBITS = ((0, "105031"), (3, "110359"))
"""Day within the satellite's ten-day cycle and time of each of the two orbits that see the tile."""
_CLOUDIEST = 0.7  # catalogues are usually searched for scenes below this cloud cover
_NOISE_DN = 12.0


@dataclass(frozen=True)
class Season:
    """What `make_season` wrote."""

    scenes: Path
    """Folder with one folder per scene."""
    parcels: Path
    """GeoPackage, layer `parcels`: `parcel_id`, `crop_name` (the truth), `area_ha`."""
    truth: Path
    """uint8 GeoTIFF on the 10 m grid: position of the crop in `crops` + 1; 0 where no crop covers half of the pixel."""
    crops: tuple[str, ...]
    """Names of the crops."""
    times: tuple[datetime, ...]
    """Sensing times of the scenes, ascending."""
    clearest: Path
    """Folder of the summer scene without clouds."""
    missed_share: float
    """Share of the cloudy pixels that the SCL does not call cloud."""


Quartiles = Mapping[str, Mapping[str, NDArray[np.float64]]]


def year_of(bundle: Bundle) -> Quartiles:
    """The signatures of a model's classes over a whole year, as `make_season` takes them.

    Months that the model does not use lie on a straight line between its last month and its first.

    Raises:
        ModelBundleError: The bundle's signatures cannot be read.
    """
    months = np.array(bundle.months)
    return {
        crop: {
            band: np.array([np.interp(range(1, 13), months, quartile, period=12) for quartile in values.T]).T
            for band, values in channels.items()
            if band in BANDS
        }
        for crop, channels in read_quartiles(bundle).items()
    }


def make_season(
    folder: str | Path,
    quartiles: Quartiles,
    seed: int = 0,
    *,
    width: int = 256,
    height: int = 256,
    year: int = 2018,
    crop_shares: Sequence[float] | None = None,
    missed: float = 0.05,
) -> Season:
    """Writes a season: scenes in the standard naming with SCL, parcels in another CRS, and the truth.

    Args:
        folder: Made here; must not exist.
        quartiles: Crop name -> band name -> reflectance 0-1, shape (12, 3): months by quartiles (25, 50, 75 %). All
            crops have the same bands.
        seed: The same seed writes the same pixels.
        width: In 10 m pixels, even.
        height: In 10 m pixels, even.
        year: The calendar year.
        crop_shares: Relative share of the fields per crop; equal if None.
        missed: Share of the cloudy pixels that the SCL misses, 0-1.

    Returns:
        Where everything is.

    Raises:
        OutputError: The folder exists or cannot be written.
    """
    folder = Path(folder)
    if folder.exists():
        raise OutputError(f"{folder} exists.", "Remove it, or name a new folder for the season.")
    part = folder.parent / f".{folder.name}.{uuid.uuid4().hex[:8]}.part"
    try:
        part.mkdir(parents=True)
        season = _write_season(part, quartiles, seed, (height, width), year, crop_shares, missed)
        part.replace(folder)
    except OSError as error:
        raise OutputError(
            f"{folder} cannot be written: {error.strerror or error}.",
            "Check the folder's rights and the free disk space.",
        ) from error
    finally:
        shutil.rmtree(part, ignore_errors=True)
    moved = {
        name: folder / getattr(season, name).relative_to(part) for name in ("scenes", "parcels", "truth", "clearest")
    }
    return Season(**{**vars(season), **moved})


def _write_season(
    folder: Path,
    quartiles: Quartiles,
    seed: int,
    shape: tuple[int, int],
    year: int,
    crop_shares: Sequence[float] | None,
    missed: float,
) -> Season:
    crops = tuple(quartiles)
    bands = tuple(next(iter(quartiles.values())))
    land_seed, growth_seed, soil_seed, sky_seed = np.random.SeedSequence(seed).spawn(4)
    landscape = make_landscape(
        _bounds(shape), tuple(crop_shares or [1.0] * len(crops)), np.random.default_rng(land_seed)
    )
    growth = grow(
        np.array([[quartiles[crop][band] for band in bands] for crop in crops]),
        [field.crop for field in landscape.fields],
        ("verge", *(name for name, _ in landscape.covers)),
        bands,
        np.random.default_rng(growth_seed),
    )
    units = _draw_units(landscape, shape)
    truth = _write_truth(folder / "truth.tif", landscape, units, shape)
    parcels = _write_parcels(folder / "parcels.gpkg", landscape, crops)
    camera = Camera(units, growth, bands, np.random.default_rng(soil_seed))
    random = np.random.default_rng(sky_seed)
    cloudy = seen = 0
    times, covers = _calendar(year, random)
    for sensed, cover in zip(times, covers, strict=True):
        sky = make_sky((shape[0] // 2, shape[1] // 2), sensed, cover, random)
        ground = camera.photograph(sensed, random)
        scl = sky.classify(camera.ground_classes(ground), missed, random)
        cloudy += int(sky.cloudy.sum())
        seen += int(
            (sky.cloudy & np.isin(scl, [SCL_CLASSES[name] for name in ("cloud_medium", "cloud_high", "cirrus")])).sum()
        )
        for band, reflectance in ground.items():
            dn = sky.veil(reflectance, band) * 10_000 + random.normal(0, _NOISE_DN, reflectance.shape)
            _write_band(folder / "scenes", sensed, band, dn.clip(1, 65_535).round().astype(np.uint16))
        _write_band(folder / "scenes", sensed, "SCL", scl)
    clearest = times[covers.index(0.0)]
    return Season(
        scenes=folder / "scenes",
        parcels=parcels,
        truth=truth,
        crops=crops,
        times=times,
        clearest=folder / "scenes" / _time(clearest),
        missed_share=1 - seen / max(cloudy, 1),
    )


def _bounds(shape: tuple[int, int]) -> tuple[float, float, float, float]:
    west, north = ORIGIN
    return west, north - shape[0] * 10, west + shape[1] * 10, north


def _calendar(year: int, random: np.random.Generator) -> tuple[tuple[datetime, ...], list[float]]:
    """The year's scenes below the usual cloud limit, and the cloud cover of each; one summer day is clear."""
    first = datetime(year, 1, 1) + timedelta(days=int(random.integers(0, 10)))
    passes = [
        first + timedelta(days=cycle * 10 + day, hours=int(time[:2]), minutes=int(time[2:4]), seconds=int(time[4:]))
        for cycle in range(37)
        for day, time in _ORBITS
    ]
    passes = [sensed for sensed in passes if sensed.year == year]
    # In winter the sky over the Low Countries is overcast on most days, in summer on few.
    winter = [0.5 + 0.5 * np.cos(2 * np.pi * (sensed.timetuple().tm_yday - 15) / 365) for sensed in passes]
    covers = [float(random.beta(0.5 + 0.4 * dark, 0.75 - 0.25 * dark)) for dark in winter]
    summer = [index for index, sensed in enumerate(passes) if date(year, 6, 10) <= sensed.date() <= date(year, 7, 10)]
    covers = [max(cover, 0.005) for cover in covers]
    covers[int(random.choice(summer))] = 0.0
    kept = [index for index, cover in enumerate(covers) if cover < _CLOUDIEST]
    return tuple(passes[index] for index in kept), [covers[index] for index in kept]


def _draw_units(landscape: Landscape, shape: tuple[int, int]) -> NDArray[np.int32]:
    """The unit of land (index into the growth's units) of every 2.5 m cell of the ground."""
    count = len(landscape.fields)
    shapes = [(field.polygon, index) for index, field in enumerate(landscape.fields)]
    shapes += [(geometry, count + 1 + index) for index, (_, geometry) in enumerate(landscape.covers)]
    cell_m = 10 / SUBPIXELS
    return np.asarray(
        features.rasterize(
            shapes,
            out_shape=(shape[0] * SUBPIXELS, shape[1] * SUBPIXELS),
            transform=from_origin(*ORIGIN, cell_m, cell_m),
            fill=count,  # the verge
            dtype=np.int32,
        )
    )


def _time(sensed: datetime) -> str:
    return sensed.strftime("%Y%m%dT%H%M%S")


def _write_band(scenes: Path, sensed: datetime, band: str, pixels: NDArray[np.uint8 | np.uint16]) -> None:
    metres = resolution_m(band)
    folder = scenes / _time(sensed)
    folder.mkdir(parents=True, exist_ok=True)
    _write_raster(folder / f"T{TILE}_{_time(sensed)}_{band}_{metres}m.tif", pixels, metres)


def _write_raster(path: Path, pixels: NDArray[np.uint8 | np.uint16], metres: int) -> None:
    with rasterio.open(
        path, "w", driver="GTiff", width=pixels.shape[1], height=pixels.shape[0], count=1, dtype=pixels.dtype, crs=CRS,
        transform=from_origin(*ORIGIN, metres, metres), nodata=0, compress="deflate", predictor=2,
    ) as raster:  # fmt: skip
        raster.write(pixels, 1)


def _write_truth(path: Path, landscape: Landscape, units: NDArray[np.int32], shape: tuple[int, int]) -> Path:
    crop = np.array([field.crop + 1 for field in landscape.fields] + [TRUTH_NODATA] * (len(landscape.covers) + 1))
    cells = crop[units].reshape(shape[0], SUBPIXELS, shape[1], SUBPIXELS)
    truth = np.zeros(shape, np.uint8)
    for value in np.unique(crop[crop > 0]):
        truth[(cells == value).mean((1, 3)) >= 0.5] = value
    _write_raster(path, truth, 10)
    return path


def _write_parcels(path: Path, landscape: Landscape, crops: Sequence[str]) -> Path:
    fields = landscape.fields
    parcels = geopandas.GeoDataFrame(
        {
            "parcel_id": np.arange(1, len(fields) + 1, dtype="int32"),
            "crop_name": [crops[field.crop] for field in fields],
            "area_ha": [round(field.polygon.area / 1e4, 2) for field in fields],
        },
        geometry=[field.polygon for field in fields],
        crs=CRS,
    )
    # Version 1.2 is what the GDAL of older QGIS reads without a warning.
    parcels.to_crs(PARCELS_CRS).to_file(path, layer="parcels", driver="GPKG", VERSION="1.2")
    return path
