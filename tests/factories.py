"""Small seeded Sentinel-2 L2A test data in the real naming, packaging and data types.

Everything is made where a test runs; no imagery is committed. Widths and heights count 10 m pixels and are even, so
that 20 m bands and the scene classification (SCL) cover the same ground. The QGIS half of the tests, whose Python has
no rasterio, calls this module as a command of the worker's Python: `python -m tests.factories season FOLDER`.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import date, datetime
from pathlib import Path
from xml.etree import ElementTree

import geopandas
import numpy as np
import rasterio
from numpy.typing import ArrayLike, NDArray
from rasterio.transform import from_origin
from shapely.geometry import Polygon, box

TILE = "31UDS"
CRS = "EPSG:32631"
ORIGIN = (501360.0, 5629680.0)
"""Upper left corner, easting and northing in metres: that of the real Flemish patch."""

RESOLUTION_M = {
    **dict.fromkeys(("B02", "B03", "B04", "B08"), 10),
    **dict.fromkeys(("B05", "B06", "B07", "B8A", "B11", "B12", "SCL"), 20),
    **dict.fromkeys(("B01", "B09"), 60),
}
BANDS = tuple(name for name, resolution_m in sorted(RESOLUTION_M.items()) if name != "SCL" and resolution_m < 60)
LEAVES = dict(zip(BANDS, (300, 600, 300, 900, 2300, 2900, 3100, 1700, 800, 3300), strict=True))
SOIL = dict(zip(BANDS, (700, 950, 1250, 1500, 1650, 1800, 1950, 2700, 2200, 2050), strict=True))
CLOUD = 6500
VEGETATION_CLASS, CLOUD_CLASS = 4, 9

SEASON = tuple(
    datetime(2018, month, day, 10, minute, 29) for month in range(1, 13) for day, minute in ((6, 50), (21, 54))
)

Sensed = datetime | date | str
Values = Mapping[str, ArrayLike] | float


def sensing_time(sensed: Sensed) -> str:
    """The sensing time as file names have it, `20180504T105029`; a bare day gets 10:50:29."""
    if isinstance(sensed, str) and "T" in sensed:
        return sensed
    if isinstance(sensed, datetime):
        return sensed.strftime("%Y%m%dT%H%M%S")
    day = sensed if isinstance(sensed, date) else date.fromisoformat(sensed)
    return day.strftime("%Y%m%dT105029")


def write_scene(
    folder: str | Path,
    sensed: Sensed = "2018-05-04",
    *,
    tile: str = TILE,
    width: int = 8,
    height: int = 8,
    values: Values = LEAVES,
    scl: ArrayLike = VEGETATION_CLASS,
    bands: Iterable[str] = BANDS,
    crs: str = CRS,
    origin: tuple[float, float] = ORIGIN,
) -> Path:
    """Writes one scene as GeoTIFFs, one per band and SCL, into `FOLDER/<sensing time>/`.

    Args:
        folder: Where the scene's own folder is made.
        sensed: Day or sensing time.
        tile: MGRS tile.
        width: In 10 m pixels, even.
        height: In 10 m pixels, even.
        values: Digital numbers, 0 being nodata: one number for all bands, or per band a number or an array of the
            band's own shape. Bands that are not named have the numbers of green leaves.
        scl: Scene classification: one class, or an array (height / 2, width / 2).
        bands: Which bands are written; name "SCL" nowhere, it is always written.
        crs: Any that rasterio takes.
        origin: Upper left corner in metres.

    Returns:
        The scene's folder.
    """
    time = sensing_time(sensed)
    scene = Path(folder) / time
    scene.mkdir(parents=True, exist_ok=True)
    for band, pixels in _rasters(bands, values, scl, width, height).items():
        path = scene / f"T{tile}_{time}_{band}_{RESOLUTION_M[band]}m.tif"
        _write(path, pixels, RESOLUTION_M[band], crs, origin, driver="GTiff", nodata=0, compress="deflate")
    return scene


def write_season(
    folder: str | Path,
    seed: int = 0,
    *,
    times: Sequence[Sensed] = SEASON,
    width: int = 32,
    height: int = 24,
    cloud_share: float = 0.3,
    offset: int = 0,
    bands: Iterable[str] = BANDS,
    tile: str = TILE,
    crs: str = CRS,
    origin: tuple[float, float] = ORIGIN,
) -> Path:
    """Writes scenes of four quarter fields, two green in early summer and two in late summer, under seeded cloud.

    Args:
        folder: Gets one folder per scene.
        seed: Decides the noise and the clouds.
        times: Days or sensing times.
        width: In 10 m pixels, a multiple of 4.
        height: In 10 m pixels, a multiple of 4.
        cloud_share: Share of the 20 m pixels that are cloud, on average over the season.
        offset: Added to every digital number: 1000 for baseline 04.00 and later.
        bands: Which bands are written.
        tile: MGRS tile.
        crs: Any that rasterio takes.
        origin: Upper left corner in metres.

    Returns:
        `folder`.
    """
    random = np.random.default_rng(seed)
    bands = tuple(bands)
    early = np.zeros((height // 2, width // 2), bool)
    early[: height // 4, : width // 4] = early[height // 4 :, width // 4 :] = True
    for sensed in times:
        time = sensing_time(sensed)
        day = datetime.strptime(time, "%Y%m%dT%H%M%S").timetuple().tm_yday
        green = np.where(early, _greenness(day, 140), _greenness(day, 220))
        cloud = random.random((height // 4, width // 4)) < cloud_share
        cloud = np.kron(cloud, np.ones((2, 2), bool))
        values = {}
        for band in bands:
            clear = SOIL[band] + green * (LEAVES[band] - SOIL[band])
            numbers = np.where(cloud, CLOUD, clear) * random.normal(1, 0.03, clear.shape)
            repeat = 20 // RESOLUTION_M[band]
            values[band] = np.kron(numbers, np.ones((repeat, repeat))).clip(1) + offset
        scl = np.where(cloud, CLOUD_CLASS, np.where(green > 0.4, VEGETATION_CLASS, 5))
        size = {"width": width, "height": height}
        write_scene(folder, time, **size, values=values, scl=scl, bands=bands, tile=tile, crs=crs, origin=origin)
    return Path(folder)


def write_parcels(
    path: str | Path,
    *,
    width: int = 32,
    height: int = 24,
    crs: str = "EPSG:31370",
    raster_crs: str = CRS,
    origin: tuple[float, float] = ORIGIN,
    polygons: Sequence[Polygon] | None = None,
) -> Path:
    """Writes a GeoPackage (layer `parcels`) of the four fields that `write_season` plants, 10 m inside their borders.

    Args:
        path: The GeoPackage.
        width: Of the season, in 10 m pixels.
        height: Of the season, in 10 m pixels.
        crs: CRS of the file.
        raster_crs: CRS of `origin` and `polygons`.
        origin: Upper left corner of the season in metres.
        polygons: Other polygons instead, in `raster_crs`; an empty list writes an empty layer.

    Returns:
        `path`. Fields: `parcel_id` (integer, from 1), `crop_name` (text).
    """
    if polygons is None:
        left, top = origin
        half = (width * 5.0, height * 5.0)
        polygons = [
            box(
                left + column * half[0] + 10,
                top - (row + 1) * half[1] + 10,
                left + (column + 1) * half[0] - 10,
                top - row * half[1] - 10,
            )
            for row in (0, 1)
            for column in (0, 1)
        ]
    names = ["early", "late", "late", "early"] if len(polygons) == 4 else ["field"] * len(polygons)
    parcels = geopandas.GeoDataFrame(
        {"parcel_id": np.arange(1, len(polygons) + 1, dtype="int32"), "crop_name": np.array(names, dtype=object)},
        geometry=list(polygons),
        crs=raster_crs,
    )
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    parcels.to_crs(crs).to_file(path, layer="parcels", driver="GPKG", geometry_type="Polygon", VERSION="1.2")
    return Path(path)


def write_safe(
    folder: str | Path,
    sensed: Sensed = "2023-05-04",
    *,
    baseline: str = "05.09",
    offset: int | None = -1000,
    made: str = "T160000",
    strip: str | None = None,
    tile: str = TILE,
    width: int = 8,
    height: int = 8,
    values: Values = LEAVES,
    scl: ArrayLike = VEGETATION_CLASS,
    bands: Iterable[str] = BANDS,
    crs: str = CRS,
    origin: tuple[float, float] = ORIGIN,
) -> Path:
    """Writes one SAFE folder with lossless JPEG 2000 images in the layout of ESA's L2A products.

    Args:
        folder: Where the SAFE folder is made.
        sensed: Day or sensing time.
        baseline: Processing baseline, as `PROCESSING_BASELINE` has it.
        offset: `BOA_ADD_OFFSET` of every band; None leaves the list out, as products before baseline 04.00 do.
        made: Time of its making on that day, as the product's name ends.
        strip: When its datastrip began, as `20230504T105020`; None leaves out which datastrip it is of.
        tile: MGRS tile.
        width: In 10 m pixels, even.
        height: In 10 m pixels, even.
        values: Digital numbers as stored, the offset not taken off; see `write_scene`.
        scl: Scene classification; see `write_scene`.
        bands: Which bands are written.
        crs: Any that rasterio takes.
        origin: Upper left corner in metres.

    Returns:
        The SAFE folder.

    References:
        ESA, Sentinel-2 Products Specification Document, issue 14.9, Level-2A user product.
    """
    time = sensing_time(sensed)
    number = baseline.replace(".", "")
    safe = Path(folder) / f"S2A_MSIL2A_{time}_N{number}_R051_T{tile}_{time[:8]}{made}.SAFE"
    granule = f"GRANULE/L2A_T{tile}_A041000_{time}"
    images = []
    for band, pixels in _rasters(bands, values, scl, width, height).items():
        resolution_m = RESOLUTION_M[band]
        image = f"{granule}/IMG_DATA/R{resolution_m}m/T{tile}_{time}_{band}_{resolution_m}m"
        path = safe / f"{image}.jp2"
        path.parent.mkdir(parents=True, exist_ok=True)
        _write(path, pixels, resolution_m, crs, origin, driver="JP2OpenJPEG", QUALITY="100", REVERSIBLE="YES")
        images.append(image)
    _write_product_metadata(safe / "MTD_MSIL2A.xml", safe.name, time, baseline, offset, images, strip)
    return safe


def _greenness(day_of_year: int, peak: int) -> float:
    return float(np.exp(-(((day_of_year - peak) / 45) ** 2)))


def _rasters(
    bands: Iterable[str], values: Values, scl: ArrayLike, width: int, height: int
) -> dict[str, NDArray[np.uint8 | np.uint16]]:
    rasters: dict[str, NDArray[np.uint8 | np.uint16]] = {}
    for band in (*bands, "SCL"):
        cell = RESOLUTION_M[band] // 10
        shape = (height // cell, width // cell)
        numbers: ArrayLike
        if band == "SCL":
            numbers, kind = scl, np.dtype(np.uint8)
        else:
            numbers = {**LEAVES, **values}[band] if isinstance(values, Mapping) else values
            kind = np.dtype(np.uint16)
        array = np.asarray(numbers)
        if array.ndim and array.shape != shape:
            raise ValueError(f"{band} has the shape {array.shape}, the scene needs {shape}.")
        rasters[band] = np.broadcast_to(array.round().astype(kind), shape)
    return rasters


def _write(
    path: Path, pixels: NDArray[np.generic], resolution_m: int, crs: str, origin: tuple[float, float], **options: object
) -> None:
    height, width = pixels.shape
    transform = from_origin(*origin, resolution_m, resolution_m)
    with rasterio.open(
        path, "w", width=width, height=height, count=1, dtype=pixels.dtype, crs=crs, transform=transform, **options
    ) as raster:
        raster.write(pixels, 1)


def _write_product_metadata(
    path: Path, product: str, time: str, baseline: str, offset: int | None, images: Sequence[str], strip: str | None
) -> None:
    namespace = "https://psd-14.sentinel2.eo.esa.int/PSD/User_Product_Level-2A.xsd"
    ElementTree.register_namespace("n1", namespace)
    root = ElementTree.Element(f"{{{namespace}}}Level-2A_User_Product")
    general = ElementTree.SubElement(root, f"{{{namespace}}}General_Info")
    info = ElementTree.SubElement(general, "Product_Info")
    sensed = datetime.strptime(time, "%Y%m%dT%H%M%S").strftime("%Y-%m-%dT%H:%M:%S.024Z")
    for name, text in (
        ("PRODUCT_START_TIME", sensed),
        ("PRODUCT_URI", product),
        ("PROCESSING_LEVEL", "Level-2A"),
        ("PRODUCT_TYPE", "S2MSI2A"),
        ("PROCESSING_BASELINE", baseline),
    ):
        ElementTree.SubElement(info, name).text = text
    organisation = ElementTree.SubElement(info, "Product_Organisation")
    granules = ElementTree.SubElement(organisation, "Granule_List")
    granule = ElementTree.SubElement(granules, "Granule", imageFormat="JPEG2000")
    if strip is not None:
        granule.set("datastripIdentifier", f"S2A_OPER_MSI_L2A_DS_ATOS_{time[:8]}T160000_S{strip}_N{baseline}")
    for image in images:
        ElementTree.SubElement(granule, "IMAGE_FILE").text = image
    characteristics = ElementTree.SubElement(general, "Product_Image_Characteristics")
    scale = ElementTree.SubElement(characteristics, "QUANTIFICATION_VALUES_LIST")
    ElementTree.SubElement(scale, "BOA_QUANTIFICATION_VALUE", unit="none").text = "10000"
    if offset is not None:
        offsets = ElementTree.SubElement(characteristics, "BOA_ADD_OFFSET_VALUES_LIST")
        for band_id in range(13):
            ElementTree.SubElement(offsets, "BOA_ADD_OFFSET", band_id=str(band_id)).text = str(offset)
    tree = ElementTree.ElementTree(root)
    ElementTree.indent(tree)
    path.parent.mkdir(parents=True, exist_ok=True)
    tree.write(path, encoding="UTF-8", xml_declaration=True)


def _options() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.factories", description="Writes test data; prints where.")
    commands = parser.add_subparsers(dest="command", required=True)
    size = argparse.ArgumentParser(add_help=False)
    size.add_argument("--width", type=int, default=32, help="in 10 m pixels")
    size.add_argument("--height", type=int, default=24, help="in 10 m pixels")
    size.add_argument("--origin", type=float, nargs=2, default=ORIGIN, metavar=("EAST", "NORTH"))
    scene = argparse.ArgumentParser(add_help=False, parents=[size])
    scene.add_argument("folder", type=Path)
    scene.add_argument("--tile", default=TILE)
    scene.add_argument("--crs", default=CRS)
    scene.add_argument("--bands", nargs="+", default=BANDS)
    one = argparse.ArgumentParser(add_help=False, parents=[scene])
    one.add_argument("--sensed", default="2018-05-04", help="day or sensing time")
    one.add_argument("--values", type=json.loads, default=LEAVES, help="JSON: a number, or per band a number or rows")
    one.add_argument("--scl", type=json.loads, default=VEGETATION_CLASS, help="JSON: a class or rows")
    commands.add_parser("scene", parents=[one])
    safe = commands.add_parser("safe", parents=[one])
    safe.add_argument("--baseline", default="05.09")
    safe.add_argument("--offset", type=json.loads, default=-1000, help="BOA_ADD_OFFSET, or null to leave it out")
    season = commands.add_parser("season", parents=[scene])
    season.add_argument("--seed", type=int, default=0)
    season.add_argument("--times", nargs="+", default=SEASON, help="days or sensing times")
    season.add_argument("--cloud-share", type=float, default=0.3)
    season.add_argument("--offset", type=int, default=0)
    parcels = commands.add_parser("parcels", parents=[size])
    parcels.add_argument("path", type=Path)
    parcels.add_argument("--crs", default="EPSG:31370")
    parcels.add_argument("--raster-crs", default=CRS)
    return parser


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs one factory from the command line and prints the path it made."""
    options = vars(_options().parse_args(arguments))
    factories = {"scene": write_scene, "safe": write_safe, "season": write_season, "parcels": write_parcels}
    factory = factories[options.pop("command")]
    target = options.pop("path", None) or options.pop("folder")
    options["origin"] = tuple(options["origin"])
    print(factory(target, **options))


if __name__ == "__main__":
    main()
