"""Landscapes of pixel series: whose series they hold, what is hidden, labelled and blurred; and how they are judged."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from cropmap_core.samples.classes import name_classes
from cropmap_core.samples.files import NO_PARCEL, SampleFile
from scripts.bundle_plans.cloud_shapes import CloudShapes, read_cloud_shapes
from scripts.bundle_plans.landscape_scores import (
    PARCELS,
    PIXELS,
    Filter,
    best_filter,
    filters,
    from_array,
    judge_landscapes,
)
from scripts.bundle_plans.landscape_sets import write_landscapes
from scripts.bundle_plans.landscapes import Group, LandscapeMaker, LandscapeSettings
from scripts.bundle_plans.parcel_mosaics import FIELD, STRIP, MosaicSettings, make_mosaic
from scripts.bundle_plans.series import DETAILS, Source, write_sources
from tests.core.conftest import data_folder

CROPS = ("maize", "wheat", "other")
CLASSES = name_classes(CROPS)
BACKGROUND = next(each.value for each in CLASSES if each.name == "other")
COUNT, TIMES, EDGE = 180, 6, 24
HOW = LandscapeSettings(edge=EDGE, background="other", details=DETAILS)
CLOUDS = CloudShapes([np.arange(400).reshape(20, 20) % 20 < 8])
EXACT = replace(
    HOW, blur=(1e-3, 1e-3), texture=0.0, noise=0.0, overcast=0.0, cloudy=0.0, unlabelled=0.0, bare_borders=1.0
)
"""Nothing but series, each where it belongs."""


def _source(name: str, brightness: int) -> Source:
    """Series whose two bands say where they are from and what: brightness; 1000 times the class, 10 times the fold."""
    kind, fold = np.arange(COUNT) % 3, np.arange(COUNT) // 3 % 3
    values = np.stack([brightness + np.zeros(COUNT), 1000 * (kind + 1) + 10 * fold], axis=1)
    arrays = {
        "X": np.repeat(values[:, None], TIMES, axis=1).astype(np.uint16),
        "valid": np.random.default_rng(0).random((COUNT, TIMES)) < 0.9,
        "lonlat": np.random.default_rng(1).uniform(0, 0.1, (COUNT, 2)),
        "fold": fold,
        "dates": np.array([f"2021-{month:02}-01" for month in range(3, 9)]),
    }
    names = np.array(CROPS)[kind]
    return Source(name, arrays, names, names)


@pytest.fixture(scope="module")
def series(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("series") / "series.h5"
    write_sources([_source("here", 500), _source("there", 700)], ("B04", "B08"), CLASSES, "month", path)
    return path


@pytest.fixture(scope="module")
def exact(series: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("exact") / "landscapes.h5"
    with SampleFile(series) as file:
        write_landscapes(file, path, {0: 4, 2: 6}, EXACT, CLOUDS)
    return path


def _group(valid: NDArray[np.bool_]) -> Group:
    """Maize at 2000 and wheat at 4000, side by side."""
    count = len(valid)
    label = np.array([1, 2] * (count // 2), np.int16)
    data = np.repeat(np.int16(2000) * label[:, None, None], valid.shape[1], axis=1)
    lonlat = np.random.default_rng(0).uniform(0, 0.01, (count, 2))
    return Group(data, valid, label, label.astype(np.str_), lonlat)


def test_landscape_holds_series_of_its_own_fold_and_source_and_label_alone(exact: Path) -> None:
    with SampleFile(exact) as file:
        batch = file.read(np.arange(len(file)))
        fold, source = file.column("fold"), file.column("source")
        assert file.split is not None
        assert file.split["roles"] == {"train": [1, 2], "validation": [0], "test": []}
    assert list(fold) == [0] * 4 + [2] * 6
    assert sorted(source) == ["here"] * 5 + ["there"] * 5
    for number in range(len(batch)):
        seen = batch.valid[number]
        place, said = (batch.data[number, :, band][seen] for band in (0, 1))
        assert set(place) == {500 if source[number] == "here" else 700}
        assert set(said % 100) == {10 * fold[number]}
        for time in range(TIMES):
            labelled = seen[time] & (batch.label[number] > 0)
            told = batch.data[number, time, 1][labelled] // 1000 - 1
            names = {each.value: each.name for each in CLASSES}
            assert all(
                CROPS[kind] == names[value] for kind, value in zip(told, batch.label[number][labelled], strict=True)
            )


def test_same_seed_makes_the_same_landscapes_and_another_makes_others(series: Path, tmp_path: Path) -> None:
    made = []
    for number, seed in enumerate((3, 3, 4)):
        path = tmp_path / f"{number}.h5"
        with SampleFile(series) as file:
            write_landscapes(file, path, {1: 3}, HOW, CLOUDS, seed)
        with SampleFile(path) as file:
            batch = file.read(np.arange(3))
            made.append((batch.data, batch.valid, batch.label))
    assert all(np.array_equal(one, other) for one, other in zip(made[0], made[1], strict=True))
    assert not np.array_equal(made[0][0], made[2][0])


def test_fewer_landscapes_are_the_first_of_more(series: Path, tmp_path: Path) -> None:
    for count in (1, 5):
        with SampleFile(series) as file:
            write_landscapes(file, tmp_path / f"{count}.h5", {0: 2 * count, 1: 2 * count}, HOW, CLOUDS)
    with SampleFile(tmp_path / "1.h5") as few, SampleFile(tmp_path / "5.h5") as many:
        of_few = few.read(np.arange(len(few)))
        of_many = many.read(np.array([0, 5, 10, 15]))
    assert np.array_equal(of_few.data, of_many.data)


def test_fold_without_enough_series_is_refused(series: Path, tmp_path: Path) -> None:
    with SampleFile(series) as file, pytest.raises(ValueError, match="fold 7 has no source"):
        write_landscapes(file, tmp_path / "none.h5", {7: 1}, HOW, CLOUDS)


def test_neighbours_mix_at_borders_and_nowhere_else() -> None:
    valid = np.ones((40, 3), bool)
    sharp = LandscapeMaker(_group(valid), 0, EXACT, CLOUDS).make(np.random.default_rng(5))
    blurred = LandscapeMaker(_group(valid), 0, replace(EXACT, blur=(0.6, 0.6)), CLOUDS).make(np.random.default_rng(5))
    assert np.array_equal(sharp.label, blurred.label)
    assert set(np.unique(sharp.data)) == {2000, 4000}
    mixed = (blurred.data[0, 0] > 2000) & (blurred.data[0, 0] < 4000)
    assert 0.05 < mixed.mean() < 0.6
    inside = sharp.label > 0  # more than a pixel from the border
    assert np.abs(blurred.data[0, 0] - sharp.data[0, 0])[inside].max() < 400
    assert np.abs(blurred.data[0, 0] - sharp.data[0, 0])[~inside].max() > 400


def test_what_no_series_of_a_field_saw_is_missing_and_what_one_saw_is_there() -> None:
    valid = np.ones((40, 8), bool)
    valid[:, 1] = False
    valid[::4, 2] = False  # some of the maize
    made = LandscapeMaker(_group(valid), 0, EXACT, CLOUDS).make(np.random.default_rng(0))
    assert not made.valid[1].any()
    assert (made.data[1] == -32768).all()
    assert made.valid[0].all()
    assert set(np.unique(made.data[2][0][made.valid[2]])) <= {2000, 4000}


def test_clouds_hide_the_same_pixels_of_all_bands_on_some_dates() -> None:
    valid = np.ones((40, 30), bool)
    cloudy = replace(EXACT, cloudy=1.0, overcast=0.3)
    made = LandscapeMaker(_group(valid), 0, cloudy, CLOUDS).make(np.random.default_rng(1))
    share = made.valid.mean(axis=(1, 2))
    assert ((share > 0) & (share < 1)).sum() >= 3
    assert (share == 1).any()
    assert (made.valid.sum(axis=0) >= 3).all()
    assert ((made.data != -32768).all(axis=1) == made.valid).all()


def test_borders_and_some_fields_have_no_label() -> None:
    maker = LandscapeMaker(_group(np.ones((40, 3), bool)), 0, replace(EXACT, unlabelled=0.5), CLOUDS)
    without = 0
    for seed in range(8):
        made = maker.make(np.random.default_rng(seed))
        across = (made.parcel[:, 1:] != made.parcel[:, :-1]) & (made.parcel[:, 1:] >= 0)
        assert not made.label[:, 1:][across].any()
        for parcel in np.unique(made.parcel[made.parcel >= 0]):
            labels = np.unique(made.label[made.parcel == parcel])
            assert len(labels[labels > 0]) <= 1
            without += not labels.any()
    assert without > 5


def test_roads_are_of_the_background_and_no_parcel(series: Path, tmp_path: Path) -> None:
    how = replace(EXACT, bare_borders=0.0, mosaic=MosaicSettings(roads=1.0, voronoi=0.0))
    with SampleFile(series) as file:
        write_landscapes(file, tmp_path / "roads.h5", {0: 12}, how, CLOUDS)
    with SampleFile(tmp_path / "roads.h5") as file:
        index = np.arange(len(file))
        label, parcel = file.read_labels(index), file.read_parcels(index)
    assert (parcel == NO_PARCEL).mean() > 0.01
    assert set(np.unique(label[parcel == NO_PARCEL])) == {0, BACKGROUND}


@pytest.mark.parametrize("seed", range(6))
def test_fields_have_the_size_that_is_asked_for(seed: int) -> None:
    how = MosaicSettings(smallest_ha=1.0, largest_ha=1.0, voronoi=float(seed % 2), roads=0.0, hedges=0.0, steads=0.0)
    made = make_mosaic(48, how, np.random.default_rng(seed))
    assert set(np.unique(made.part)) == set(range(len(made.kind)))
    assert (made.kind == FIELD).all()
    sizes = np.bincount(made.part.ravel())
    assert sizes.min() >= 12
    assert 50 < np.median(sizes) < 160


def test_roads_are_a_few_pixels_wide() -> None:
    how = MosaicSettings(roads=1.0, voronoi=0.0, steads=0.0)
    shares = []
    for seed in range(10):
        made = make_mosaic(48, how, np.random.default_rng(seed))
        strip = made.kind[made.part] == STRIP
        shares.append(strip.mean())
        width = np.minimum(strip.sum(axis=0).max(), strip.sum(axis=1).max())
        assert width < 48
    assert 0.01 < np.mean(shares) < 0.2


def test_cloud_shapes_are_binary_and_turn() -> None:
    random = np.random.default_rng(0)
    drawn = [CLOUDS.draw(16, random) for _ in range(20)]
    assert all(shape.shape == (16, 16) and shape.dtype == bool for shape in drawn)
    assert any(0 < shape.mean() < 1 for shape in drawn)
    assert any((shape.any(axis=0) != shape.all(axis=0)).any() for shape in drawn)  # stripes of the mask, but turned
    with pytest.raises(ValueError, match="no acquisition"):
        CloudShapes([])


def test_real_cloud_shapes_are_found() -> None:
    assert len(read_cloud_shapes(data_folder("flanders_2018").parent)) > 20


def test_fields_are_judged_by_their_mean_probability(exact: Path) -> None:
    with SampleFile(exact) as file:
        index = np.arange(len(file))
        value = file.read_labels(index)
        parcel = file.read_parcels(index)
        truth = np.stack([value == each.value for each in CLASSES], axis=1).astype(np.float32)
        right = judge_landscapes(file, index, from_array(index, truth))
        assert right[PIXELS].macro_f1 == right[PARCELS].macro_f1 == 1
        assert right[PIXELS].support.sum() == (value > 0).sum()
        assert right[PARCELS].support.sum() == len(np.unique(parcel[(value > 0) & (parcel >= 0)]))
        wrong = np.roll(truth, 1, axis=1)
        scarce = np.where((np.arange(EDGE) % 4 == 0)[:, None], wrong, truth)  # every fourth row
        told = judge_landscapes(file, index, from_array(index, scarce))
        assert 0.65 < told[PIXELS].overall_accuracy < 0.85
        assert told[PARCELS].overall_accuracy > told[PIXELS].overall_accuracy
        none = judge_landscapes(file, index, from_array(index, wrong))
        assert none[PIXELS].overall_accuracy == none[PARCELS].overall_accuracy == 0


def test_filters_keep_what_is_even_and_reach_no_farther_than_asked() -> None:
    point = np.zeros((1, 1, 15, 15), np.float32)
    point[..., 7, 7] = 1
    even = np.full((1, 2, 9, 9), 0.5, np.float32)
    for each in filters(3):
        assert np.allclose(each(even), 0.5)
        there = np.argwhere(each(point)[0, 0] > 0)
        assert np.abs(there - 7).max(initial=0) <= 3
    assert np.allclose(Filter("square of 3", (1, 1, 1))(point)[0, 0, 6:9, 6:9], 1 / 9)


def test_best_filter_smooths_what_is_noisy_and_leaves_what_is_right(exact: Path) -> None:
    with SampleFile(exact) as file:
        index = np.arange(len(file))
        truth = np.stack([file.read_labels(index) == each.value for each in CLASSES], axis=1).astype(np.float32)
        noisy = truth + np.random.default_rng(0).normal(0, 1, truth.shape).astype(np.float32)
        assert best_filter(file, index, truth, 4, PIXELS)[0].name == "none"
        smooth, scores = best_filter(file, index, noisy, 4, PIXELS)
    assert smooth.name != "none"
    assert scores[smooth.name] == max(scores.values()) > scores["none"]
