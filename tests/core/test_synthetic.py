"""The synthetic season: the real naming, a known truth, and clouds of which the SCL misses a known share."""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path

import geopandas
import numpy as np
import pytest
import rasterio
from rasterio import features

from cropmap_core.errors import OutputError
from cropmap_core.inference.bundles import Bundle
from cropmap_core.learning.synthetic import Season, make_season, year_of
from cropmap_core.learning.synthetic.landscape import make_landscape
from cropmap_core.learning.synthetic.sky import make_sky
from cropmap_core.scenes.inventory import find_scenes

BANDS = ("B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B11", "B12")
LEVEL = dict(zip(BANDS, (0.04, 0.06, 0.05, 0.1, 0.2, 0.25, 0.26, 0.28, 0.2, 0.12), strict=True))
SIZE = 96


def signature(level: float, spread: float = 0.0) -> dict[str, np.ndarray]:
    """Quartiles that are the same in every month: `level` times a leaf's reflectance."""
    quartiles = np.array([1 - spread, 1, 1 + spread])
    return {band: np.tile(level * LEVEL[band] * quartiles, (12, 1)) for band in BANDS}


FLAT = {"dark": signature(0.7), "bright": signature(1.4)}


def read(season: Season, time: str, band: str) -> np.ndarray:
    (path,) = (season.scenes / time).glob(f"T31UDS_{time}_{band}_*m.tif")
    with rasterio.open(path) as raster:
        return raster.read(1)


@pytest.fixture(scope="module")
def season(tmp_path_factory: pytest.TempPathFactory) -> Season:
    return make_season(tmp_path_factory.mktemp("synthetic") / "season", FLAT, seed=3, width=SIZE, height=SIZE)


@pytest.fixture(scope="module")
def truth(season: Season) -> np.ndarray:
    with rasterio.open(season.truth) as raster:
        return raster.read(1)


def test_every_scene_has_every_band_and_scl_in_the_standard_naming(season: Season) -> None:
    scenes = sorted(season.scenes.iterdir())

    assert [scene.name for scene in scenes] == [time.strftime("%Y%m%dT%H%M%S") for time in season.times]
    for scene in scenes:
        names = sorted(path.name.split("_", 2)[2] for path in scene.iterdir())
        assert names == sorted(
            [f"{band}_{10 if band in ('B02', 'B03', 'B04', 'B08') else 20}m.tif" for band in BANDS] + ["SCL_20m.tif"]
        )


def test_two_orbits_see_the_year_every_few_days(season: Season) -> None:
    assert 30 <= len(season.times) <= 60
    assert {time.year for time in season.times} == {2018}
    assert len({time.time() for time in season.times}) == 2


def test_cropmap_finds_the_scenes(season: Season) -> None:
    found = find_scenes([season.scenes], None, None)

    assert [scene.acquisition_date for scene in found.scenes] == [time.date() for time in season.times]


def test_the_same_seed_writes_the_same_season(tmp_path: Path) -> None:
    first, again = (make_season(tmp_path / name, FLAT, seed=1, width=48, height=48) for name in ("first", "again"))
    last = first.times[-1].strftime("%Y%m%dT%H%M%S")

    assert again.times == first.times
    assert np.array_equal(read(again, last, "B8A"), read(first, last, "B8A"))


def test_another_seed_writes_another_season(season: Season, tmp_path: Path) -> None:
    other = make_season(tmp_path / "other", FLAT, seed=4, width=48, height=48)

    assert other.times != season.times


@pytest.mark.parametrize("missed", [0.0, 0.05, 0.2])
def test_the_scl_misses_the_stated_share_of_the_cloud(missed: float) -> None:
    random = np.random.default_rng(0)
    sky = make_sky((60, 80), datetime(2018, 5, 4, 10, 50), 0.5, random)

    scl = sky.classify(np.full((60, 80), 4, np.uint8), missed, random)

    assert sky.cloudy.any()
    assert (~np.isin(scl[sky.cloudy], (8, 9, 10))).mean() == pytest.approx(missed, abs=0.001)


def test_the_season_misses_five_percent(season: Season) -> None:
    assert season.missed_share == pytest.approx(0.05, abs=0.001)


def test_the_clearest_scene_has_no_cloud_and_shows_the_signatures(season: Season, truth: np.ndarray) -> None:
    time = season.clearest.name

    assert set(np.unique(read(season, time, "SCL"))) <= {4, 5, 6, 7}
    for value, level in ((1, 0.7), (2, 1.4)):
        seen = np.median(read(season, time, "B08")[truth == value]) / 10_000
        assert seen == pytest.approx(level * LEVEL["B08"], rel=0.08)


def test_pixels_on_borders_are_mixed(season: Season, truth: np.ndarray) -> None:
    nir = read(season, season.clearest.name, "B08").astype(float)
    beside = (truth[:, :-1] == 1) & (truth[:, 1:] == 2)
    change = (nir[:, 1:] - nir[:, :-1])[beside] / 10_000

    # From one pixel to the next the sensor's blur lets only a part of the full step through.
    assert 0 < np.median(change) < 0.75 * 0.7 * LEVEL["B08"]


def test_fields_and_their_pixels_spread_as_the_quartiles_do(tmp_path: Path) -> None:
    wide = {"crop": signature(1, spread=0.2)}
    season = make_season(tmp_path / "wide", wide, seed=5, width=160, height=160, missed=0)
    with rasterio.open(season.truth) as raster:
        inside = raster.read(1) == 1

    low, median, high = np.percentile(read(season, season.clearest.name, "B08")[inside] / 10_000, [25, 50, 75])

    assert median == pytest.approx(LEVEL["B08"], rel=0.1)
    assert (high - low) / 2 / LEVEL["B08"] == pytest.approx(0.2, rel=0.35)


def test_clouds_are_bright_and_shadows_dark(season: Season, truth: np.ndarray) -> None:
    field = truth[::2, ::2] > 0
    cloud, shadow, clear = [], [], []
    for time in (sensed.strftime("%Y%m%dT%H%M%S") for sensed in season.times):
        scl, nir = read(season, time, "SCL"), read(season, time, "B8A")
        cloud.append(nir[field & (scl == 9)])
        shadow.append(nir[field & (scl == 3)])
        clear.append(nir[field & (scl == 4)])

    dark, usual, bright = (np.median(np.concatenate(pixels)) for pixels in (shadow, clear, cloud))
    assert dark < 0.75 * usual
    assert bright > 1.4 * usual


def test_parcels_lie_on_their_fields_in_another_crs(season: Season, truth: np.ndarray) -> None:
    parcels = geopandas.read_file(season.parcels, layer="parcels")
    with rasterio.open(season.truth) as raster:
        crs, transform, shape = raster.crs, raster.transform, raster.shape

    assert parcels.crs.to_epsg() == 31370
    assert set(parcels.crop_name) == {"dark", "bright"}
    values = [season.crops.index(crop) + 1 for crop in parcels.crop_name]
    drawn = features.rasterize(
        zip(parcels.to_crs(crs).geometry, values, strict=True), out_shape=shape, transform=transform
    )
    assert (drawn == truth).mean() > 0.97


def test_parcels_have_the_size_of_fields() -> None:
    landscape = make_landscape((0, 0, 2560, 2560), (1, 1, 1), np.random.default_rng(1))

    area_ha = [field.polygon.area / 1e4 for field in landscape.fields]

    assert len(area_ha) > 150
    assert np.percentile(area_ha, 95) < 6
    assert np.median(area_ha) == pytest.approx(2.3, abs=0.7)


def test_crops_have_their_shares_of_the_fields() -> None:
    landscape = make_landscape((0, 0, 2560, 2560), (3, 1), np.random.default_rng(1))

    assert np.mean([field.crop == 0 for field in landscape.fields]) == pytest.approx(0.75, abs=0.03)


def test_the_months_that_a_model_does_not_use_lie_between_those_that_it_does(tmp_path: Path) -> None:
    bands = {"B04": {"q25": [0.0, 0.1, 0.2], "q50": [0.1, 0.2, 0.3], "q75": [0.2, 0.3, 0.4]}}
    document = {"months": [3, 6, 9], "classes": [{"name": "Maize", "quartiles": {**bands, "NDVI": bands["B04"]}}]}
    (tmp_path / "signatures.json").write_text(json.dumps(document))
    bundle = Bundle(
        "spring",
        "",
        tmp_path,
        "hybrid_cnn",
        {},
        ("B04", "NDVI"),
        (0, 0),
        (1, 1),
        (),
        first_days=("03-01", "06-01", "09-01"),
        bbox=(0, 0, 1, 1),
    )

    year = year_of(bundle)

    assert list(year["Maize"]) == ["B04"]
    median = year["Maize"]["B04"][:, 1]
    assert median[[2, 5, 8]] == pytest.approx([0.1, 0.2, 0.3])
    assert median[[6, 11]] == pytest.approx([0.2 + 0.1 / 3, 0.2])  # July, and December half-way from September to March


def test_an_existing_folder_is_refused_and_left_alone(tmp_path: Path) -> None:
    (tmp_path / "note.txt").write_text("mine")

    with pytest.raises(OutputError, match="exists"):
        make_season(tmp_path, FLAT)

    assert [path.name for path in tmp_path.iterdir()] == ["note.txt"]
