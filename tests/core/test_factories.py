"""The test data itself: what a test writes is what it reads back."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import rasterio

from tests.factories import write_safe, write_scene, write_season

ROOT = Path(__file__).resolve().parents[2]


def test_the_images_of_a_safe_folder_are_lossless(tmp_path: Path) -> None:
    numbers = np.random.default_rng(0).integers(0, 65_535, (8, 12))

    safe = write_safe(tmp_path, width=12, height=8, values={"B04": numbers})

    (image,) = safe.glob("GRANULE/*/IMG_DATA/R10m/*_B04_10m.jp2")
    with rasterio.open(image) as raster:
        assert np.array_equal(raster.read(1), numbers)
        assert raster.crs.to_epsg() == 32631


def test_bands_of_both_resolutions_cover_the_same_ground(tmp_path: Path) -> None:
    scene = write_scene(tmp_path, width=12, height=8)

    bounds = set()
    for path in scene.iterdir():
        with rasterio.open(path) as raster:
            bounds.add(tuple(raster.bounds))
    assert len(bounds) == 1


def test_a_season_from_the_command_line_is_the_same(tmp_path: Path) -> None:
    days = ["2018-05-04", "2018-06-08"]
    write_season(tmp_path / "called", 7, times=days)
    command = ["-m", "tests.factories", "season", str(tmp_path / "run"), "--seed", "7", "--times", *days]

    subprocess.run([sys.executable, *command], check=True, cwd=ROOT)

    called = sorted((tmp_path / "called").rglob("*.tif"))
    assert len(called) == 2 * 11
    for path in called:
        with (
            rasterio.open(path) as one,
            rasterio.open(tmp_path / "run" / path.relative_to(tmp_path / "called")) as other,
        ):
            assert np.array_equal(one.read(), other.read())
