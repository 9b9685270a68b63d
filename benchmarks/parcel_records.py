"""The record of 5,000 parcels of 4 ha over 12 probability bands, against exactextract and rasterstats.

`python -m benchmarks.parcel_records 1000000 10980` describes so many parcels once, on a raster of so many pixels by as
many, and prints the time and the peak memory of that process.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path

import geopandas
import numpy as np
import pandas as pd
import rasterio
import shapely
from affine import Affine
from exactextract import exact_extract
from exactextract.raster import RasterioRasterSource

from benchmarks.paired import compare, run_process
from cropmap_core.classes import CLASSES_TAG
from cropmap_core.io.grid import Grid
from cropmap_core.io.outputs import create_raster
from cropmap_core.parcels import Maps, RecordOptions, describe_parcels, grid_of_file, place_parcels, write_records

BANDS = 12
PARCELS, SIDE_M, PIXELS = 5_000, 200.0, 4096
BUFFER_M = 10.0
STEPS = 250
"""Of a probability, as classify stores it."""


def main() -> None:
    if sys.argv[1:2] == ["describe"]:
        made = Path(sys.argv[2])
        _describe(_maps(made), made / "parcels.gpkg", made / "records.csv", BUFFER_M)
        return
    sizes = [int(text) for text in sys.argv[1:]]
    with tempfile.TemporaryDirectory(dir=os.environ.get("CROPMAP_BENCH")) as folder:
        if sizes:
            _once(Path(folder), *sizes)
        else:
            _side_by_side(Path(folder))


def _side_by_side(folder: Path) -> None:
    maps, parcels = _make(folder, PARCELS, PIXELS, SIDE_M)
    layer = geopandas.read_file(parcels)
    probabilities = maps.probabilities

    def ours() -> None:
        _describe(maps, parcels, folder / "records.csv", BUFFER_M)

    def twelve_calls() -> list[pd.DataFrame]:
        with rasterio.open(probabilities) as file:
            sources = [RasterioRasterSource(file, band + 1) for band in range(BANDS)]
            return [exact_extract(each, layer, ["mean"], include_cols=["parcel"], output="pandas") for each in sources]

    def one_call() -> pd.DataFrame:
        with rasterio.open(probabilities) as file:
            sources = [RasterioRasterSource(file, band + 1, name=f"b{band}") for band in range(BANDS)]
            return exact_extract(
                sources, layer, ["mean"], include_cols=["parcel"], strategy="raster-sequential", output="pandas"
            )

    contenders = {
        "cropmap, the whole record": ours,
        "exactextract, 12 x one band": twelve_calls,
        "exactextract, 12 bands at once": one_call,
    }
    if find_spec("rasterstats"):
        contenders["rasterstats, 12 x one band"] = lambda: _rasterstats(layer, probabilities)
    else:
        print("rasterstats is not installed: its row is missing.")
    _describe(maps, parcels, folder / "whole.csv", buffer_m=0.0)
    _check(folder / "whole.csv", one_call())
    compare("Records of 5,000 parcels of 4 ha, 12 probability bands", contenders, PARCELS / 1000, "k parcels", rounds=3)


def _rasterstats(layer: geopandas.GeoDataFrame, raster: Path | None) -> None:
    from rasterstats import zonal_stats

    for band in range(BANDS):
        zonal_stats(layer, str(raster), band=band + 1, stats=["mean"])


def _check(records: Path, expected: pd.DataFrame) -> None:
    """What is timed is right: the mean probabilities without a buffer are exactextract's own."""
    found = pd.read_csv(records).sort_values("parcel")
    expected = expected.sort_values("parcel")
    means = expected[[f"b{band}_mean" for band in range(BANDS)]].to_numpy()
    apart = np.abs(found[[f"prob_class_{band + 1}" for band in range(BANDS)]].to_numpy() - means)
    print(
        f"largest difference of a mean probability from exactextract's: {apart.max():.1g}, of which rounding is 5e-05"
    )


def _once(folder: Path, parcels: int, pixels: int) -> None:
    side = pixels * 10.0 / np.ceil(np.sqrt(parcels)) * 0.95
    _make(folder, parcels, pixels, side)
    run = run_process([sys.executable, "-m", "benchmarks.parcel_records", "describe", str(folder)])
    print(
        f"{parcels} parcels on {pixels} x {pixels} pixels: {run.seconds:.0f} s "
        f"({run.processor_seconds:.0f} s of the processor), {run.peak_mib:.0f} MiB at most"
    )


def _describe(maps: Maps, parcels: Path, table: Path, buffer_m: float) -> None:
    placed = place_parcels(parcels, grid_of_file(maps.classes), buffer_m)
    options = RecordOptions(with_probabilities=True, with_shares=True)
    write_records(describe_parcels(placed, maps, options=options), table)


def _maps(folder: Path) -> Maps:
    return Maps(folder / "classes.tif", probabilities=folder / "probabilities.tif", ood=folder / "ood.tif")


def _make(folder: Path, count: int, pixels: int, side_m: float) -> tuple[Maps, Path]:
    """Maps of fields of 16 pixels with noise, and squares turned at random, not in spatial order."""
    random = np.random.default_rng(0)
    grid = Grid("EPSG:32631", Affine(10, 0, 500_000, 0, -10, 5_600_000), pixels, pixels)
    names = [f"class {number}" for number in range(1, BANDS + 1)]
    legend = json.dumps([{"value": at, "name": name, "color": "#112233"} for at, name in enumerate(names, start=1)])
    maps = _maps(folder)
    blocks = list(grid.blocks(512))
    with (
        create_raster(maps.classes, grid, 1, "uint8", 0) as classes,
        create_raster(folder / "ood.tif", grid, 1, "uint8", 255) as ood,
        create_raster(folder / "probabilities.tif", grid, BANDS, "uint8", 255) as probabilities,
    ):
        for file in (classes, probabilities):
            file.update_tags(**{CLASSES_TAG: legend})
        probabilities.descriptions = names
        probabilities.scales = [1 / STEPS] * BANDS
        for window in blocks:
            fields = random.random((BANDS, -(-window.height // 16), -(-window.width // 16))) ** 4
            large = np.kron(fields, np.ones((16, 16)))[:, : window.height, : window.width]
            values = large + 0.1 * random.random(large.shape)
            steps = np.round(values / values.sum(axis=0) * STEPS).astype(np.uint8)
            probabilities.write(steps, window=window.bounds_rc)
            classes.write(steps.argmax(axis=0).astype(np.uint8) + 1, 1, window=window.bounds_rc)
            ood.write((random.random(large.shape[1:]) < 0.1).astype(np.uint8), 1, window=window.bounds_rc)
    _write_parcels(folder / "parcels.gpkg", grid, count, side_m, random)
    return maps, folder / "parcels.gpkg"


def _write_parcels(path: Path, grid: Grid, count: int, side_m: float, random: np.random.Generator) -> None:
    across = int(np.ceil(np.sqrt(count)))
    left, _, _, top = grid.bounds
    step = grid.width * 10.0 / across
    order = random.permutation(count)
    half = side_m / 2
    corners = np.array([(-half, -half), (half, -half), (half, half), (-half, half), (-half, -half)])
    for first in range(0, count, 50_000):
        some = order[first : first + 50_000]
        angle = random.uniform(0, np.pi / 2, len(some)) if side_m * 1.5 < step else np.full(len(some), 0.05)
        turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        middle = np.stack([left + (some % across + 0.5) * step, top - (some // across + 0.5) * step], axis=1)
        points = np.einsum("kc,cdn->nkd", corners, turn) + middle[:, None]
        layer = geopandas.GeoDataFrame({"parcel": some + 1}, geometry=shapely.polygons(points), crs=grid.crs)
        layer.to_file(path, driver="GPKG", mode="a" if first else "w", SPATIAL_INDEX="NO")


if __name__ == "__main__":
    main()
