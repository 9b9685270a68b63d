"""What a model is given, compared with what it has learnt: in messages, rasters, tables and parcel records."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import date
from pathlib import Path

import numpy as np
import pandas
import pytest
import rasterio
from numpy.typing import NDArray

from cropmap_core.inference.bundle_types import Accepts
from cropmap_core.inference.bundles import Bundle
from cropmap_core.inference.classification import OOD_TAG, WARNINGS_TAG
from cropmap_core.inference.guards import NO_OOD, PIXELS, SAMPLES, InputWatch, distance_km, place_warning, year_note
from cropmap_core.inference.out_of_distribution import read_reference
from cropmap_core.inference.seasons import season_of
from cropmap_core.timeseries.files import open_time_series
from cropmap_core.timeseries.indices import as_channels
from tests.core.sample_tables import write_table
from tests.core.seam import Outcome, numbered_parcels, run_here
from tests.core.series_in_memory import whole
from tests.core.tiny_models import CHANNELS, CLASSES, END, FIRST_DAYS, MONTHS, START, save_tiny_bundle, with_thresholds

BOX = (3.0, 50.7, 3.1, 50.8)
DATES = season_of(FIRST_DAYS, 2018)
Floats = NDArray[np.float32]


def series(count: int = 300, seed: int = 0) -> Floats:
    """Series of the three classes in turn, shape (T, C, N): each has its level in each channel."""
    random = np.random.default_rng(seed)
    level = np.array([[0.04, 0.8, 0.4, 0.2], [0.08, 0.6, 0.3, 0.25], [0.12, 0.4, 0.25, 0.3]])[np.arange(count) % 3]
    return np.asarray(level.T + random.normal(0, 0.01, (len(MONTHS), len(CHANNELS), count)), np.float32)


def with_bands(values: Floats, bands: Floats) -> Floats:
    """Series with other reflectance and the same NDVI."""
    of_band = np.array([name != "NDVI" for name in CHANNELS])[:, None]
    return np.where(of_band, bands, values)


def of_classes(count: int = 300) -> NDArray[np.int32]:
    return np.arange(count, dtype=np.int32) % 3


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    made = save_tiny_bundle(tmp_path_factory.mktemp("model") / "tiny", "tempcnn")
    return with_thresholds(made, series()[..., None], of_classes()[:, None].astype(np.int64))


def seen(bundle: Bundle, *shown: Floats, what: str = PIXELS) -> InputWatch:
    watch = InputWatch(bundle, what)
    watch.expect(DATES, "month", CHANNELS)
    for values in shown:
        watch.see(values, np.ones((len(MONTHS), values.shape[2]), bool), of_classes(values.shape[2]))
    return watch


class TestPlaces:
    def test_within_the_box_are_near(self) -> None:
        assert distance_km(BOX, np.array([3.05]), np.array([50.75])) == 0

    def test_are_as_far_as_the_nearest_side(self) -> None:
        """A degree of latitude is 111.2 km at 51 degrees north."""
        np.testing.assert_allclose(distance_km(BOX, np.array([3.05]), np.array([51.8])), 111.3, atol=0.2)

    def test_are_reached_the_short_way_round(self) -> None:
        far = distance_km((178.0, -20.0, 179.0, -10.0), np.array([-179.0]), np.array([-15.0]))
        np.testing.assert_allclose(far, 214.8, atol=1)

    def test_far_away_are_warned_of(self, bundle: Bundle) -> None:
        assert place_warning(bundle, 3.05, 51.0) == ""
        assert "tiny-tempcnn was trained" in place_warning(bundle, -120.0, 37.0)
        assert " km away" in place_warning(bundle, -120.0, 37.0)

    def test_of_a_table_are_warned_of_from_a_tenth_on(self, bundle: Bundle) -> None:
        lon, lat = np.full(100, 3.05), np.full(100, 50.75)
        lon[:9] = -120
        assert place_warning(bundle, lon, lat) == ""
        lon[:20] = -120
        assert place_warning(bundle, lon, lat).startswith("20% of the places are ")

    def test_that_are_not_known_are_not(self, bundle: Bundle) -> None:
        assert place_warning(bundle, np.nan, np.nan) == place_warning(bundle, [], []) == ""


def test_other_years_are_noted(bundle: Bundle) -> None:
    told = {"start_datetime": "2018-04-01T00:00:00Z", "end_datetime": "2018-08-01T00:00:00Z"}
    trained = replace(bundle, properties=told)
    assert year_note(trained, DATES) == ""
    assert year_note(trained, [date(2021, 4, 1)]) == "The model tiny-tempcnn learnt from 2018, this is 2021."
    assert year_note(bundle, DATES) == ""


class TestSeries:
    def test_as_in_training_are_not_warned_of(self, bundle: Bundle) -> None:
        watch = seen(bundle, series(seed=1))
        assert watch.share is not None
        assert watch.share < 0.03
        assert watch.warnings() == ()

    @pytest.mark.parametrize(
        ("factor", "plus", "told"),
        [
            (10000, 0, "10,000 times too high"),
            (1 / 10000, 0, "10,000 times too low"),
            (1, 0.1, "still in it: stack or map the scenes again with OFFSET=-1000"),
            (1, -0.1, "0.1 too low"),
        ],
    )
    def test_of_wrong_reflectance_are_warned_of_with_the_cause(
        self, bundle: Bundle, factor: float, plus: float, told: str
    ) -> None:
        values = series(seed=1)
        for channel, name in enumerate(CHANNELS):
            if name != "NDVI":
                values[:, channel] = values[:, channel] * factor + plus
        (warning,) = seen(bundle, values).warnings()
        assert told in warning
        assert "tiny-tempcnn" in warning

    def test_of_tables_are_told_what_tables_can_be_given(self, bundle: Bundle) -> None:
        values = series(seed=1)
        (warning,) = seen(bundle, with_bands(values, values / np.float32(10000)), what=SAMPLES).warnings()
        assert "choose REFLECTANCE=unit" in warning
        (warning,) = seen(bundle, with_bands(values, values + np.float32(0.1)), what=SAMPLES).warnings()
        assert "subtract it from the bands of the table" in warning
        assert "OFFSET" not in warning

    def test_of_all_calls_tell_the_cause(self, bundle: Bundle) -> None:
        """What is seen first is no more than what comes later: a corner of a tile says little of it."""
        right = series(seed=1)
        wrong = with_bands(right, right / np.float32(10000))
        (warning,) = seen(bundle, *[right] * 20, *[wrong] * 180).warnings()
        assert "10,000 times too low" in warning

    def test_of_the_other_hemisphere_are_warned_of_as_such(self, tmp_path: Path) -> None:
        first_days = tuple(f"{month:02}-01" for month in range(1, 13))
        bundle = save_tiny_bundle(tmp_path / "year", "tempcnn", first_days=first_days)
        summer = np.exp(-(((np.arange(12) - 6.5) / 2) ** 2))[:, None, None]
        values = np.tile(series()[:1], (12, 1, 1)) * np.float32(1 + summer)
        bundle = with_thresholds(bundle, values[..., None], of_classes()[:, None].astype(np.int64))
        watch = InputWatch(bundle)
        watch.expect(season_of(first_days, 2018), "month", CHANNELS)
        watch.see(np.roll(values, 6, axis=0), np.ones((12, 300), bool), of_classes())
        (warning,) = watch.warnings()
        assert "half a year off: choose a model of that hemisphere" in warning

    def test_of_something_else_are_warned_of_without_a_cause(self, bundle: Bundle) -> None:
        values = series(seed=1)
        values[:, CHANNELS.index("NDVI"), ::2] -= 0.5
        (warning,) = seen(bundle, values).warnings()
        assert warning.startswith("5")
        assert "do not rely on these" in warning
        assert "OUTPUT_OOD shows where they are. Woods, water and towns count among them" in warning
        (warning,) = seen(bundle, values, what=SAMPLES).warnings()
        assert "the column ood tells which they are" in warning
        assert "OUTPUT_OOD" not in warning

    def test_without_observation_are_neither(self, bundle: Bundle) -> None:
        watch = InputWatch(bundle)
        watch.expect(DATES, "month", CHANNELS)
        found = watch.see(series(6), np.zeros((5, 6), bool), of_classes(6))
        assert found.tolist() == [NO_OOD] * 6
        assert watch.share is None

    def test_of_a_model_without_thresholds_are_neither(self, tmp_path: Path) -> None:
        watch = seen(save_tiny_bundle(tmp_path / "old", "tempcnn"), series(6))
        assert (watch.has_test, watch.share, watch.warnings()) == (False, None, ())


def mapped(scenes: Path, bundle: Bundle, folder: Path, **more: object) -> Outcome:
    outputs = {"output_classes": folder / "classes.tif", "output_ood": folder / "ood.tif"}
    return run_here("mapcrops", scenes=[scenes], model=bundle.folder, start_date=START, end_date=END, **outputs, **more)


@pytest.fixture(scope="module")
def learnt(season: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Bundle, Path]:
    """A model whose signatures are of the left half of the season's own map, and the folder of its filled series."""
    folder = tmp_path_factory.mktemp("learnt")
    bundle = save_tiny_bundle(folder / "model", "hybrid_cnn")
    bands = bundle.reflectance_bands
    for command, parameters in (
        ("stackscenes", {"scenes": [season], "bands": bands, "start_date": START, "end_date": END}),
        ("compositetimeseries", {"series": folder / "stackscenes.tif"}),
        ("fillgaps", {"series": folder / "compositetimeseries.tif"}),
    ):
        assert run_here(command, **parameters, output=folder / f"{command}.tif").status == 0
    assert mapped(season, bundle, folder).status == 0
    values, labels = channels_of(folder), places_of(folder)
    labels[:, labels.shape[1] // 2 :] = -1
    return with_thresholds(bundle, values, labels), folder


def channels_of(folder: Path) -> Floats:
    return whole(as_channels(open_time_series(folder / "fillgaps.tif"), CHANNELS))[0]


def places_of(folder: Path) -> NDArray[np.int64]:
    with rasterio.open(folder / "classes.tif") as dataset:
        classes = dataset.read(1)
    return np.select([classes == crop.value for crop in CLASSES], range(len(CLASSES)), -1).astype(np.int64)


def test_maps_tell_which_pixels_are_unlike_training(
    season: Path, learnt: tuple[Bundle, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle, folder = learnt
    monkeypatch.setattr("cropmap_core.inference.classification.edge_of_parts", lambda *given: 8)
    outcome = mapped(season, bundle, tmp_path)
    values, classes = channels_of(folder), places_of(folder)
    reference = read_reference(bundle)
    assert reference is not None
    test = reference.test(DATES, "month")
    in_a_row = values.reshape(*values.shape[:2], -1)
    excess = test.excess(in_a_row, np.ones(in_a_row.shape[::2], bool), classes.ravel().astype(np.int32))
    expected = excess.reshape(classes.shape) > 1
    with rasterio.open(tmp_path / "ood.tif") as unlike, rasterio.open(tmp_path / "classes.tif") as dataset:
        np.testing.assert_array_equal(unlike.read(1), expected)
        assert (unlike.nodata, unlike.dtypes[0]) == (255, "uint8")
        tags = dataset.tags()
    assert 0 < expected.mean() < 1
    assert outcome.outputs["ood_share"] == pytest.approx(expected.mean())
    assert float(tags[OOD_TAG]) == pytest.approx(expected.mean(), abs=1e-4)
    assert f"{expected.mean():.1%} of the pixels are unlike what tiny-hybrid-cnn learnt" in outcome.texts("log")
    for warning in json.loads(tags[WARNINGS_TAG]):
        assert warning in outcome.texts("warning")
    assert (tmp_path / "ood.qml").read_text(encoding="utf-8").count("paletteEntry") == 2


def test_of_large_maps_without_ood_every_so_many_pixels_are_looked_at(
    learnt: tuple[Bundle, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle, folder = learnt
    monkeypatch.setattr("cropmap_core.inference.classification._FEW_PIXELS", 10)
    given = {"series": folder / "fillgaps.tif", "model": bundle.folder, "output_classes": tmp_path / "classes.tif"}
    share = run_here("classify", **given, output_ood=tmp_path / "ood.tif").outputs["ood_share"]
    with rasterio.open(tmp_path / "ood.tif") as unlike:
        ood = unlike.read(1)
    every, some = (each[each != NO_OOD] for each in (ood, ood[::4, ::4]))
    assert share == pytest.approx(every.mean())
    again = {**given, "output_classes": tmp_path / "again.tif"}
    assert run_here("classify", **again).outputs["ood_share"] == pytest.approx(some.mean())
    assert some.mean() != every.mean()


def test_missing_bands_are_told_in_the_map_too(season: Path, tmp_path: Path) -> None:
    bundle = save_tiny_bundle(tmp_path / "model", "tempcnn", accepts=Accepts(optional=(("B11",),)))
    bands = {"scenes": [season], "bands": ["B04", "B08"], "start_date": START, "end_date": END}
    assert run_here("stackscenes", **bands, output=tmp_path / "stack.tif").status == 0
    months = tmp_path / "months.tif"
    assert run_here("compositetimeseries", series=tmp_path / "stack.tif", output=months).status == 0
    outcome = run_here("classify", series=months, model=bundle.folder, output_classes=tmp_path / "classes.tif")
    with rasterio.open(tmp_path / "classes.tif") as dataset:
        (warning,) = json.loads(dataset.tags()[WARNINGS_TAG])
    assert warning.startswith("B11 of the model tiny-tempcnn is not there")
    assert outcome.texts("warning").count(warning) == 1


def test_steps_give_the_same_and_parcels_get_their_share(
    season: Path, learnt: tuple[Bundle, Path], tmp_path: Path
) -> None:
    bundle, folder = learnt
    parcels = numbered_parcels(tmp_path / "parcels.gpkg")
    assert mapped(season, bundle, tmp_path, parcels=parcels, output_parcels=tmp_path / "whole.csv").status == 0
    layers = ("classes", "confidence", "ood", "probabilities")
    outputs = {f"output_{name}": tmp_path / f"{name}_by_steps.tif" for name in layers}
    assert run_here("classify", series=folder / "fillgaps.tif", model=bundle.folder, **outputs).status == 0
    with rasterio.open(tmp_path / "ood.tif") as one, rasterio.open(outputs["output_ood"]) as other:
        np.testing.assert_array_equal(one.read(1), other.read(1))
    given = {name: outputs[f"output_{name}"] for name in layers}
    assert run_here("parcelattributes", parcels=parcels, **given, output=tmp_path / "steps.csv").status == 0
    table = pandas.read_csv(tmp_path / "steps.csv")
    pandas.testing.assert_frame_equal(table, pandas.read_csv(tmp_path / "whole.csv"))
    assert table["ood"].between(0, 1).all()


def test_model_without_thresholds_says_so(season: Path, hybrid_bundle: Bundle, tmp_path: Path) -> None:
    parcels = numbered_parcels(tmp_path / "parcels.gpkg")
    outcome = mapped(season, hybrid_bundle, tmp_path, parcels=parcels, output_parcels=tmp_path / "parcels.csv")
    assert "has no thresholds for ood" in outcome.texts("log")
    assert outcome.outputs["ood_share"] is None
    with rasterio.open(tmp_path / "ood.tif") as unlike:
        assert (unlike.read(1) == NO_OOD).all()
    assert pandas.read_csv(tmp_path / "parcels.csv")["ood"].isna().all()


def table_of(values: Floats, **more: object) -> pandas.DataFrame:
    """A long table of series: B04, B08 and B11; the model computes NDVI."""
    count = values.shape[2]
    rows = [(f"s{n:03}", f"2018-{month:02}-11") for n in range(count) for month in MONTHS]
    table = pandas.DataFrame(rows, columns=["sample_id", "date"])
    for band in ("B04", "B08", "B11"):
        table[band] = (values[:, CHANNELS.index(band)].T.ravel() * 10000).round()
    return table.assign(**more)


@pytest.fixture(scope="module")
def of_tables(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """A model that has learnt series with the NDVI of their bands as what it takes them for."""
    folder = tmp_path_factory.mktemp("tables")
    bundle = save_tiny_bundle(folder / "model", "tempcnn")
    path = write_table(folder, table_of(series()), "t.parquet")
    outcome = run_here("classifysamples", model=bundle.folder, input=path, output=folder / "o.parquet")
    assert outcome.status == 0, outcome.last
    names = [crop.name for crop in CLASSES]
    labels = np.array([names.index(name) for name in pandas.read_parquet(folder / "o.parquet")["pred_crop"]])
    values = series()
    red, infrared = (values[:, CHANNELS.index(band)].round(4) for band in ("B04", "B08"))
    values[:, CHANNELS.index("NDVI")] = (infrared - red) / (infrared + red)
    return with_thresholds(bundle, values[..., None], labels[:, None])


def test_tables_tell_which_samples_are_unlike_training(of_tables: Bundle, tmp_path: Path) -> None:
    values = series()
    values[..., :30] += 0.4
    table = table_of(values, x=-120.0, y=37.0)
    table.loc[table["sample_id"] == "s299", "date"] = "2018-01-01"  # outside of the season
    path = write_table(tmp_path, table, "t.parquet")
    outcome = run_here("classifysamples", model=of_tables.folder, input=path, output=tmp_path / "o.csv")
    found = pandas.read_csv(tmp_path / "o.csv")
    assert found["ood"][:30].eq(1).all()
    assert found["ood"][30:299].mean() < 0.03
    assert found["ood"][299:].isna().all()
    assert outcome.outputs["ood_share"] == pytest.approx(found["ood"].mean())
    assert "of the samples are unlike what the model tiny-tempcnn learnt" in outcome.texts("warning")
    assert "km away from where the model tiny-tempcnn was trained" in outcome.texts("warning")


def test_tables_like_those_of_training_are_not_warned_of(of_tables: Bundle, tmp_path: Path) -> None:
    path = write_table(tmp_path, table_of(series(), x=3.05, y=50.75), "t.csv")
    outcome = run_here("classifysamples", model=of_tables.folder, input=path, output=tmp_path / "o.csv")
    assert outcome.status == 0
    assert outcome.texts("warning") == ""
