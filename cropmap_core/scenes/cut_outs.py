"""Cut-outs: windows of the bands of a listed scene, as files with a STAC Item beside them."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import rasterio
from affine import Affine
from rasterio.errors import RasterioError
from rasterio.io import DatasetReader

from cropmap_core.io.grid import Grid, Window
from cropmap_core.io.outputs import Outputs, create_raster
from cropmap_core.scenes.area import Area
from cropmap_core.scenes.item_list import ListedScene
from cropmap_core.scenes.packagings.rasters import resolution_of
from cropmap_core.scenes.packagings.stac import UnusableItem, band_of_asset, stated_by_asset
from cropmap_core.scenes.remote import RemoteRaster, check_href, without_query
from cropmap_core.scenes.scene import NATIVE_RESOLUTION_M
from cropmap_core.timeseries.series import SCL

ITEM_FILE = "item.json"
_OURS = re.compile(r"item\.json|(?:B\d[\dA]|SCL)_\d\dm\.tif|\..+\.[0-9a-f]{8,32}\.part(?:\.\w+)?")
_UNFINISHED = re.compile(r"\..+\.[0-9a-f]{8,32}\.part(?:\.\w+)?")
_MARGIN_M = 120
"""Around the area: what cubic resampling of 20 m pixels looks at, and two pixels of 60 m."""
_SNAP_M = 60
"""Cut-outs hold whole pixels of every resolution."""
_CHUNK = 2048
"""Edge of what is read at once, in pixels."""
_LONGEST_EDGE = 20_000
"""Of a source in pixels; an MGRS tile has 10980 of 10 m."""
_TOLERANCE_M = 1e-3
_KEPT_OF_ASSET = ("title", "roles", "gsd", "eo:bands", "bands", "raster:bands", "raster:scale", "raster:offset")


@dataclass(frozen=True)
class CutOut:
    """One file to be made."""

    href: str
    band: str
    resolution_m: int
    asset: Mapping[str, Any]
    folder: Path
    area: Area

    @property
    def name(self) -> str:
        """As no archive names its files: without the Item this is no scene."""
        return f"{self.band}_{self.resolution_m}m"

    @property
    def target(self) -> Path:
        return self.folder / f"{self.name}.tif"

    @property
    def tags(self) -> dict[str, str]:
        """What it was cut from, without a token, and to what area."""
        return {"CROPMAP_SOURCE": without_query(self.href), "CROPMAP_AREA": self.area.fingerprint}

    def is_there(self) -> bool:
        """Whether the file was made before: files appear whole, so it need not be read."""
        there = _tags_of(self.target)
        return all(there.get(name) == text for name, text in self.tags.items())

    def make(self, raster: RemoteRaster, outputs: Outputs) -> None:
        """Reads the window and writes the file, unfinished until the outputs are committed.

        Raises:
            UnusableItem: The raster does not touch the area, or is none of Sentinel-2.
            CatalogueError: It cannot be read.
            OutputError: The file cannot be written.
        """
        source = raster.look(_Source.of)
        self._check(source)
        window = _window(source.grid, self.area)
        part = outputs.stage_raster(self.target)
        with create_raster(part, _cut(source.grid, window), 1, source.dtype, source.nodata) as dataset:
            for chunk in _chunks(window, source.block):
                inner = Window(chunk.row - window.row, chunk.col - window.col, chunk.height, chunk.width)
                dataset.write(raster.read(chunk), 1, window=inner.bounds_rc)
            dataset.update_tags(**self.tags)

    def _check(self, source: _Source) -> None:
        said = f"its raster of {self.band}"
        if source.bands != 1 or max(source.grid.width, source.grid.height) > _LONGEST_EDGE:
            raise UnusableItem(f"{said} is no band of a tile: {source.bands} bands, {source.grid.describe()}")
        if source.resolution_m != self.resolution_m:
            raise UnusableItem(f"{said} is expected at {self.resolution_m} m, its grid is {source.grid.describe()}")
        if not source.dtype.startswith(("uint", "int")):
            raise UnusableItem(f"{said} holds {source.dtype} values, no digital numbers")


@dataclass(frozen=True)
class _Source:
    """What a raster on a server is."""

    grid: Grid
    dtype: str
    nodata: float | None
    block: tuple[int, int]
    """Rows and columns that are compressed together."""
    bands: int
    resolution_m: int | None

    @classmethod
    def of(cls, dataset: DatasetReader) -> _Source:
        resolution_m, block = resolution_of(dataset), dataset.block_shapes[0]
        return cls(Grid.of(dataset), dataset.dtypes[0], dataset.nodata, block, dataset.count, resolution_m)


def plan_cut_outs(
    scene: ListedScene, area: Area, bands: Sequence[str], resolution_m: int, folder: Path
) -> list[CutOut]:
    """The files that a scene needs, one a band, from the asset that suits the resolution best.

    Args:
        scene: Of a catalogue.
        area: What they must cover.
        bands: Reflectance bands; SCL is added.
        resolution_m: The pixel size they will be read at.
        folder: Gets a folder with the Item's id.

    Raises:
        UnusableItem: A band is missing, or an asset's address may not be followed.
    """
    assets = scene.item["assets"]
    there: dict[str, dict[int, str]] = {}
    for key in sorted(assets):
        named = band_of_asset(key)
        if named is not None and isinstance(assets[key], dict):
            there.setdefault(named[0], {}).setdefault(named[1] or NATIVE_RESOLUTION_M[named[0]], key)
    cut_outs = []
    for band in (*bands, SCL):
        found = _best(sorted(there.get(band, ())), band, resolution_m)
        if found is None:
            raise UnusableItem(f"it has no asset {band} for {resolution_m} m")
        asset = assets[there[band][found]]
        if band != SCL:
            stated_by_asset(asset, there[band][found])
        href = check_href(asset.get("href"), there[band][found])
        cut_outs.append(CutOut(href, band, found, asset, folder / scene.id, area))
    return cut_outs


def _best(resolutions: Sequence[int], band: str, wanted_m: int) -> int | None:
    """Just that resolution, else the coarsest finer one, else one as coarse as the sensor itself is."""
    finer = [each for each in resolutions if each <= wanted_m]
    usable = [each for each in resolutions if each <= NATIVE_RESOLUTION_M[band]]
    return finer[-1] if finer else usable[0] if usable else None


def _window(grid: Grid, area: Area) -> Window:
    """The pixels that hold the area and its margin, from and to whole 60 m pixels of the tile.

    Raises:
        UnusableItem: The tile does not touch the area.
    """
    shape, (left, bottom, right, top) = area.shape_in(grid.crs), grid.bounds
    bounds = shape.bounds
    if shape.is_empty or bounds[0] >= right or bounds[2] <= left or bounds[1] >= top or bounds[3] <= bottom:
        raise UnusableItem("it does not touch the area")
    col, end_col = _snapped(bounds[0] - left, bounds[2] - left, right - left, grid.resolution_m)
    row, end_row = _snapped(top - bounds[3], top - bounds[1], top - bottom, grid.resolution_m)
    return Window(row, col, end_row - row, end_col - col)


def _snapped(start_m: float, end_m: float, length_m: float, resolution_m: float) -> tuple[int, int]:
    """First and end pixel along an axis; distances are from the tile's corner."""
    first = math.floor((start_m - _MARGIN_M + _TOLERANCE_M) / _SNAP_M) * _SNAP_M
    end = math.ceil((end_m + _MARGIN_M - _TOLERANCE_M) / _SNAP_M) * _SNAP_M
    return round(max(first, 0) / resolution_m), round(min(end, length_m) / resolution_m)


def _cut(grid: Grid, window: Window) -> Grid:
    edge, corner = grid.transform.a, (grid.transform.c, grid.transform.f)
    transform = Affine(edge, 0.0, corner[0] + edge * window.col, 0.0, -edge, corner[1] - edge * window.row)
    return Grid(grid.crs, transform, window.width, window.height)


def _chunks(window: Window, block: tuple[int, int]) -> Iterator[Window]:
    """Parts of a window that meet at the edges of the source's blocks, so that none is fetched twice."""
    height, width = (max(_CHUNK // edge, 1) * edge for edge in block)
    for row in range(window.row // height * height, window.row + window.height, height):
        for col in range(window.col // width * width, window.col + window.width, width):
            first_row, first_col = max(row, window.row), max(col, window.col)
            end_row = min(row + height, window.row + window.height)
            end_col = min(col + width, window.col + window.width)
            yield Window(first_row, first_col, end_row - first_row, end_col - first_col)


def local_item(scene: ListedScene, cut_outs: Sequence[CutOut]) -> str:
    """The Item of the folder: what the catalogue said, with the files that are there.

    Those of other bands that were cut from the same area before stay in it.
    """
    folder, area = cut_outs[0].folder, cut_outs[0].tags["CROPMAP_AREA"]
    assets = {
        name: asset
        for name, asset in _assets_in(folder / ITEM_FILE).items()
        if _tags_of(folder / f"{name}.tif").get("CROPMAP_AREA") == area
    }
    for cut_out in cut_outs:
        fields = {name: cut_out.asset[name] for name in _KEPT_OF_ASSET if name in cut_out.asset}
        assets[cut_out.name] = {"href": f"./{cut_out.name}.tif", "type": "image/tiff; application=geotiff", **fields}
    kept = {
        name: scene.item[name] for name in ("id", "collection", "geometry", "bbox", "properties") if name in scene.item
    }
    item = {"type": "Feature", "stac_version": scene.item["stac_version"], **kept, "assets": assets, "links": []}
    return json.dumps(item, ensure_ascii=False, indent=1)


def clear_unfinished(folder: Path) -> None:
    """Removes what a killed worker left in an Item's folder."""
    _remove(folder, _UNFINISHED)


def remove_cut_outs(folder: Path) -> None:
    """Removes the Items' folders below a folder, and it, but no file that is not of them."""
    for inner in [path for path in folder.iterdir() if path.is_dir() and not path.is_symlink()]:
        _remove(inner, _OURS)
        with suppress(OSError):  # something else is in it
            inner.rmdir()
    with suppress(OSError):
        folder.rmdir()


def _remove(folder: Path, pattern: re.Pattern[str]) -> None:
    for path in list(folder.iterdir()) if folder.is_dir() else []:
        if pattern.fullmatch(path.name):
            with suppress(OSError):  # another program may hold it open
                path.unlink()


def _tags_of(path: Path) -> Mapping[str, str]:
    """Of a cut-out; none where there is none."""
    if not path.is_file():
        return {}
    try:
        with rasterio.open(path, driver="GTiff") as dataset:
            tags: Mapping[str, str] = dataset.tags()
    except RasterioError:
        return {}
    return tags


def _assets_in(path: Path) -> Mapping[str, Any]:
    with suppress(OSError, ValueError, KeyError, TypeError):
        return dict(json.loads(path.read_text(encoding="utf-8"))["assets"])
    return {}
