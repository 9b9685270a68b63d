"""netCDF cubes as openEO gives them: a variable per band, a time step per acquisition."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterable
from contextlib import suppress
from datetime import datetime, timedelta
from pathlib import Path

from rasterio.errors import NotGeoreferencedWarning
from rasterio.io import DatasetReader

from cropmap_core.errors import SceneError
from cropmap_core.io.rasters import open_raster
from cropmap_core.scenes.packagings.found import Bands, Found, suffixed
from cropmap_core.scenes.packagings.rasters import band_of, nodata_of, resolution_of, unfit
from cropmap_core.scenes.scene import BandSource, Scene

_UNITS = re.compile(r"^(days|hours|minutes|seconds) since (\d{4}-\d{1,2}-\d{1,2}(?:[T ]\d{2}:\d{2}:\d{2})?)")


def find(candidates: Iterable[Path]) -> Found:
    """Makes a scene of each time step of the netCDF cubes among the candidates."""
    found = Found()
    for path in suffixed(candidates, ".nc"):
        try:
            _read_cube(path, found)
        except SceneError as error:
            found.skip(path, f"a netCDF file that cannot be used: {error.message}")
    return found


def _read_cube(path: Path, found: Found) -> None:
    steps: dict[datetime, Bands] = {}
    variables = {band: name for name in _subdatasets(path) if (band := band_of(name)) is not None}
    if not variables:
        found.skip(path, "a netCDF file without a variable per band, named like S2-L2A-B04")
        return
    for band, name in variables.items():
        with open_raster(name) as dataset:
            reason = unfit(dataset, {band: 1})
            times = _times(dataset)
            if reason or len(times) != dataset.count:
                found.skip(path, reason or f"a netCDF file whose variable of {band} has no time steps")
                return
            resolution_m, nodata = resolution_of(dataset) or 0, nodata_of(dataset)
        for number, time in enumerate(times, start=1):
            source = BandSource(name, path, resolution_m, number, nodata, alone=False)
            steps.setdefault(time, {})[band, resolution_m] = source
    found.scenes += [Scene(time, "", bands) for time, bands in steps.items()]
    found.claimed.add(path)


def _subdatasets(path: Path) -> list[str]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)  # the file as such has no grid, its variables have
        with open_raster(path) as dataset:
            names: list[str] = list(dataset.subdatasets)
    # With quotes, for a path may hold colons too.
    return [re.sub(rf"^netcdf:{re.escape(str(path))}:", lambda _: f'netcdf:"{path}":', name) for name in names]


def _times(dataset: DatasetReader) -> list[datetime]:
    """The moments of the time steps; empty where they are not understood."""
    tags = dataset.tags()
    for dimension in ("t", "time"):
        units = _UNITS.match(tags.get(f"{dimension}#units", ""))
        steps = [dataset.tags(number).get(f"NETCDF_DIM_{dimension}") for number in dataset.indexes]
        if units is not None and None not in steps:
            with suppress(ValueError, OverflowError):
                start = datetime.fromisoformat("-".join(part.zfill(2) for part in units[2].split("-")))
                return [start + timedelta(**{units[1]: float(step)}) for step in steps]
    return []
