"""What rasters that are known by their content must be: 16-bit digital numbers in whole metres, north up."""

from __future__ import annotations

import re

from rasterio.io import DatasetReader

from cropmap_core.scenes.scene import NATIVE_RESOLUTION_M, RESOLUTIONS_M
from cropmap_core.timeseries.series import SCL

_BAND = re.compile(r"(?:^|[-_:. ])(?:B(?P<number>\d{1,2}|8A)|(?P<scl>SCL))$", re.IGNORECASE)
_INTEGERS = ("uint16", "int16", "uint32", "int32")


def band_of(name: str) -> str | None:
    """The band that a name ends with, such as `B2`, `B02` or `S2-L2A-B8A`; None where it is none of L2A."""
    match = _BAND.search(name.strip())
    if match is None:
        return None
    if match["scl"]:
        return SCL
    band = f"B{match['number'].upper().zfill(2)}"
    return band if band in NATIVE_RESOLUTION_M else None


def resolution_of(dataset: DatasetReader) -> int | None:
    """Pixel size in metres; None where the grid is not one of Sentinel-2's."""
    projected = dataset.crs is not None and dataset.crs.is_projected
    square = dataset.transform.e == -dataset.transform.a and not (dataset.transform.b or dataset.transform.d)
    fitting = [size for size in RESOLUTIONS_M if abs(dataset.transform.a - size) < 1e-6]
    return fitting[0] if projected and square and fitting else None


def unfit(dataset: DatasetReader, bands: dict[str, int]) -> str | None:
    """Why a raster's bands cannot be used, or None where they can.

    Args:
        dataset: An open raster.
        bands: Band numbers by band.
    """
    types = {dataset.dtypes[number - 1] for band, number in bands.items() if band != SCL}
    if types <= {"uint8", "int8"} and types:
        return "8-bit values: a quick-look, no reflectance"
    if not types <= set(_INTEGERS):
        return f"{', '.join(sorted(types))} values: export the 16-bit digital numbers (reflectance x 10000)"
    if resolution_of(dataset) is None:
        return (
            f"pixels of {abs(dataset.transform.a):g} x {abs(dataset.transform.e):g} units of "
            f"{dataset.crs.to_string() if dataset.crs else 'no CRS'}: export 10, 20 or 60 m in a UTM zone"
        )
    return None


def nodata_of(dataset: DatasetReader) -> int:
    """The digital number that stands for nothing measured; 0 where none is declared."""
    return int(dataset.nodata) if dataset.nodata is not None and float(dataset.nodata).is_integer() else 0
