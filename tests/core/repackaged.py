"""One season in every packaging that Sentinel-2 L2A comes in, pixel for pixel the same."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable, Iterator, Mapping
from datetime import date, datetime
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
import rasterio.shutil
from numpy.typing import NDArray
from pyproj import CRS
from scipy.io import netcdf_file

from tests.factories import BANDS, RESOLUTION_M, TILE, write_safe

BASELINE = "05.09"
OFFSET = 1000
"""What the digital numbers of the season hold above 10000 x reflectance."""


def scenes_of(season: Path) -> Iterator[tuple[str, dict[str, Path]]]:
    """Sensing time, and file by band, of each scene that `write_season` wrote, whatever QGIS put beside."""
    for folder in sorted(season.iterdir()):
        yield folder.name, {path.name.split("_")[2]: path for path in sorted(folder.glob("*.tif"))}


def pixels_of(path: Path) -> NDArray[Any]:
    with rasterio.open(path) as dataset:
        pixels: NDArray[Any] = dataset.read(1)
    return pixels


def as_safe(season: Path, folder: Path) -> Path:
    for time, files in scenes_of(season):
        pixels = {band: pixels_of(path) for band, path in files.items()}
        height, width = pixels["B02"].shape
        scl = pixels.pop("SCL")
        write_safe(folder, time, baseline=BASELINE, values=pixels, scl=scl, width=width, height=height)
    return folder


def as_zipped_safe(season: Path, folder: Path) -> Path:
    for safe in as_safe(season, folder.with_name(f"{folder.name} unpacked")).iterdir():
        zipped(safe, folder / f"{safe.stem}.zip")
    return folder


def zipped(safe: Path, path: Path) -> Path:
    """An archive of a SAFE folder, the folder in it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in sorted(safe.rglob("*")):
            archive.write(file, file.relative_to(safe.parent))
    return path


def as_aws_cogs(season: Path, folder: Path) -> Path:
    for time, files in scenes_of(season):
        for band, path in files.items():
            copied(path, folder / f"S2B_{TILE}_{time[:8]}_0_L2A" / f"{band}.tif", driver="COG")
    return folder


def as_aws_tiles(season: Path, folder: Path) -> Path:
    for time, files in scenes_of(season):
        day = datetime.strptime(time[:8], "%Y%m%d")
        tile = folder / "tiles" / TILE[:2] / TILE[2] / TILE[3:] / f"{day.year}/{day.month}/{day.day}/0"
        for band, path in files.items():
            target = tile / f"R{RESOLUTION_M[band]}m" / f"{band}.jp2"
            copied(path, target, driver="JP2OpenJPEG", QUALITY="100", REVERSIBLE="YES")
    return folder


def as_planetary_computer(season: Path, folder: Path) -> Path:
    for time, files in scenes_of(season):
        product = f"S2A_MSIL2A_{time}_N{BASELINE.replace('.', '')}_R051_T{TILE}_{time[:8]}T160000.SAFE"
        for band, path in files.items():
            copied(path, folder / product / f"GRANULE/IMG_DATA/R{RESOLUTION_M[band]}m" / path.name, driver="COG")
    return folder


def as_earth_engine(season: Path, folder: Path) -> Path:
    """As exported from the harmonised collection, all bands at 10 m in one file, named by day."""
    for time, files in scenes_of(season):
        fine = {}
        for band, path in files.items():
            factor = RESOLUTION_M[band] // 10
            pixels = pixels_of(path).astype(np.uint16).repeat(factor, axis=0).repeat(factor, axis=1)
            fine[band] = pixels if band == "SCL" else pixels - OFFSET
        write_earth_engine(
            folder / f"crops_{time[:4]}-{time[4:6]}-{time[6:8]}.tif",
            fine,
            like=files["B02"],
            tags={"system:id": f"COPERNICUS/S2_SR_HARMONIZED/{time}_{time}_T{TILE}"},
        )
    return folder


def write_earth_engine(
    path: Path, pixels: Mapping[str, NDArray[Any]], like: Path, tags: Mapping[str, str], **profile: Any
) -> Path:
    """A multi-band GeoTIFF whose bands are described as Earth Engine names them: B2, B8A, SCL."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with rasterio.open(like) as dataset:
        profile = {**dataset.profile, "count": len(pixels), "dtype": next(iter(pixels.values())).dtype, **profile}
    with rasterio.open(path, "w", **profile) as dataset:
        for number, (band, values) in enumerate(pixels.items(), start=1):
            dataset.write(values, number)
            dataset.set_band_description(number, band.replace("B0", "B"))
        dataset.update_tags(**tags)
    return path


def as_stac_items(season: Path, folder: Path) -> Path:
    """Items beside their files, which have names of no archive."""
    for time, files in scenes_of(season):
        scene = folder / time
        assets = {}
        for band, path in files.items():
            copied(path, scene / f"image-{band.lower()}.tif", driver="COG")
            assets[band] = {"href": f"./image-{band.lower()}.tif", "roles": ["data"]}
        moment = datetime.strptime(time, "%Y%m%dT%H%M%S").isoformat()
        write_item(scene / "item.json", moment, assets, **{"s2:processing_baseline": BASELINE})
    return folder


def write_item(path: Path, moment: str, assets: Mapping[str, Any], **properties: Any) -> Path:
    """A STAC Item of Sentinel-2 L2A."""
    item = {
        "type": "Feature",
        "stac_version": "1.0.0",
        "id": f"S2_{moment}",
        "collection": "sentinel-2-l2a",
        "properties": {"datetime": f"{moment}Z", "grid:code": f"MGRS-{TILE}", **properties},
        "geometry": None,
        "assets": assets,
        "links": [],
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(item), encoding="utf-8")
    return path


def as_openeo_cube(season: Path, folder: Path) -> Path:
    """A netCDF cube: a variable per band, all at 10 m, the offset taken off."""
    folder.mkdir(parents=True)
    scenes = list(scenes_of(season))
    with rasterio.open(scenes[0][1]["B02"]) as dataset:
        crs, transform, height, width = dataset.crs, dataset.transform, dataset.height, dataset.width
    with netcdf_file(folder / "openEO.nc", "w") as cube:
        cube.Conventions = "CF-1.9"
        for name, size in (("t", len(scenes)), ("y", height), ("x", width)):
            cube.createDimension(name, size)
        axes = {
            "t": ([(_day(time) - date(1990, 1, 1)).days for time, _ in scenes], "days since 1990-01-01", "time"),
            "y": (transform.f - 10 * (np.arange(height) + 0.5), "m", "projection_y_coordinate"),
            "x": (transform.c + 10 * (np.arange(width) + 0.5), "m", "projection_x_coordinate"),
        }
        for name, (values, units, standard_name) in axes.items():
            axis = cube.createVariable(name, "f8", (name,))
            axis[:], axis.units, axis.standard_name = values, units, standard_name
        mapping = cube.createVariable("crs", "i4", ())
        for name, value in CRS.from_user_input(crs).to_cf().items():
            if isinstance(value, str | float):
                setattr(mapping, name, value)
        mapping.spatial_ref = crs.to_wkt()
        for band in (*BANDS, "SCL"):
            variable = cube.createVariable(f"S2-L2A-{band}", "i2", ("t", "y", "x"))
            factor = RESOLUTION_M[band] // 10
            for number, (_, files) in enumerate(scenes):
                fine = pixels_of(files[band]).repeat(factor, axis=0).repeat(factor, axis=1)
                variable[number] = fine if band == "SCL" else fine - OFFSET
            variable.grid_mapping = "crs"
    return folder


def _day(time: str) -> date:
    return datetime.strptime(time[:8], "%Y%m%d").date()


def copied(path: Path, target: Path, **options: str) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    rasterio.shutil.copy(path, target, **options)


PACKAGINGS: Mapping[str, tuple[Callable[[Path, Path], Path], str]] = {
    "SAFE folders": (as_safe, "their product XML (-1000)"),
    "zipped SAFE": (as_zipped_safe, "their product XML (-1000)"),
    "AWS COGs": (as_aws_cogs, "their clear pixels (-1000:"),
    "AWS tiles": (as_aws_tiles, "their clear pixels (-1000:"),
    "Planetary Computer": (as_planetary_computer, "their products' names (-1000)"),
    "Earth Engine": (as_earth_engine, "their Earth Engine collection (0)"),
    "STAC Items": (as_stac_items, "their STAC items (baseline) (-1000)"),
    "openEO cube": (as_openeo_cube, "their clear pixels (0:"),
}
"""How a season is packaged, and what its offset is then decided by."""
