"""The test for `ood`: what a model has not learnt is told from what it has."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cropmap_core.classes import CropClass
from cropmap_core.errors import ModelBundleError
from cropmap_core.inference.bundle_types import Accepts, Bundle
from cropmap_core.inference.bundles import save_bundle
from cropmap_core.inference.channels import fill_samples
from cropmap_core.inference.out_of_distribution import Reference, read_reference, reference_of
from cropmap_core.inference.seasons import season_of
from cropmap_core.learning.signatures import make_signatures
from tests.core.tiny_models import bundle_of, save_tiny_bundle

BANDS = ("B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B11", "B12")
DEKADS = tuple(f"{month:02}-{day:02}" for month in range(1, 13) for day in (1, 11, 21))
TEN_METRES = ("B02", "B03", "B04", "B08")
MONTHS = tuple(f"{month:02}-01" for month in range(1, 13))
CLASSES = (CropClass(3, "Maize", "#f4c430"), CropClass(4, "Grass", "#4caf50"))
ACCEPTS = Accepts(("half_month", "month"), 2 / 3, (("B8A",), tuple(band for band in BANDS if band not in TEN_METRES)))

Floats = np.ndarray[Any, np.dtype[np.float32]]


def learnt(bundle: Bundle, series: Floats, labels: np.ndarray[Any, Any]) -> Reference:
    """What a bundle learnt from series of shape (N, T, C)."""
    document = make_signatures(in_a_row(series)[..., None], labels[:, None], np.zeros_like(labels)[:, None], bundle)
    document = json.loads(json.dumps(document, allow_nan=False))
    return reference_of(bundle, document["classes"], document["ood"]["without"])


def in_a_row(series: Floats) -> Floats:
    return np.ascontiguousarray(series.transpose(1, 2, 0), np.float32)


def share(reference: Reference, series: Floats, classes: np.ndarray[Any, Any], **given: Any) -> float:
    """Of series that are out of distribution; of the season of the bundle where nothing else is given."""
    bundle = reference.bundle
    given = {"dates": season_of(bundle.first_days, 2021), "period": bundle.period, **given}
    valid = np.ones(series.shape[1::-1], bool)
    return float((reference.test(**given).excess(in_a_row(series), valid, classes.astype(np.int32)) > 1).mean())


def one_class(count: int = 400, seed: int = 0) -> Floats:
    """Series of two bands in twelve months: a bump in summer, and bands that go up and down together."""
    random = np.random.default_rng(seed)
    bump = np.exp(-(((np.arange(12) - 6) / 2.0) ** 2))
    level = random.normal(0, 0.02, (count, 12, 1)) + 0.1 + 0.3 * bump[:, None]
    return np.asarray(level * [1, 1.5] + random.normal(0, 0.003, (count, 12, 2)), np.float32)


@pytest.fixture(scope="module")
def reference() -> Reference:
    bundle = bundle_of(CLASSES[:1], ("B04", "B08"), MONTHS)
    return learnt(bundle, one_class(), np.zeros(400, np.int64))


def test_statistics_by_hand() -> None:
    """One date, two channels that do not correlate: medians 0.2 and 0.4, both of spread 0.1 by their quartiles."""
    bundle = bundle_of(CLASSES[:1], ("B04", "B08"), ("05-01",))
    quartiles = {"B04": {"q25": [0.13255], "q50": [0.2], "q75": [0.26745]}}
    quartiles["B08"] = {"q25": [0.33255], "q50": [0.4], "q75": [0.46745]}
    entry = {"name": "Maize", "pixels": 100, "quartiles": quartiles, "ood": None}
    test = reference_of(bundle, [entry]).test([date(2021, 5, 1)], "month")
    values = np.array([[[0.2, 0.3, 0.2], [0.4, 0.2, 9.0]]], np.float32)  # (T, C, P): as it is, 1 and 2 off, far off
    level, spectrum = test.statistics(values, np.ones((1, 3), bool), np.zeros(3, np.int32))
    np.testing.assert_allclose(level, [0, 1.5, 2.5], atol=1e-4)
    np.testing.assert_allclose(spectrum, [0, 1.5, 2.5], atol=1e-4)  # z is cut off at 5


def test_one_in_a_hundred_training_pixels_is_out_at_most(reference: Reference) -> None:
    assert 0 < share(reference, one_class(), np.zeros(400)) <= 0.0101


def test_series_of_the_same_kind_are_in(reference: Reference) -> None:
    assert share(reference, one_class(seed=1), np.zeros(400)) < 0.03


def test_bands_that_do_not_go_together_are_out(reference: Reference) -> None:
    """Each of the bands lies where it lies in training."""
    one, other = one_class(seed=1), one_class(seed=2)
    assert share(reference, np.stack([one[..., 0], other[..., 1]], axis=-1), np.zeros(400)) > 0.9


def test_calendar_may_lie_ten_days_off(reference: Reference) -> None:
    days = season_of(MONTHS, 2021)
    later = [day + timedelta(days=10) for day in days[:-1]]
    assert share(reference, one_class(seed=1)[:, :-1], np.zeros(400), dates=later, period="month") < 0.1
    assert share(reference, np.roll(one_class(seed=1), 2, axis=1), np.zeros(400)) > 0.9


def test_what_is_not_valid_never_matters(reference: Reference) -> None:
    series, random = in_a_row(one_class(seed=1)), np.random.default_rng(0)
    valid = random.random((12, 400)) < 0.7
    valid[:, 0] = False
    test = reference.test(season_of(MONTHS, 2021), "month")
    spoilt = np.where(valid[:, None], series, np.nan).astype(np.float32)
    classes = np.zeros(400, np.int32)
    found = test.excess(spoilt, valid, classes)
    np.testing.assert_array_equal(found, test.excess(series, valid, classes))
    assert np.isnan(found[0])
    assert np.isfinite(found[1:]).all()


def test_pixels_do_not_look_at_each_other(reference: Reference) -> None:
    series, valid = in_a_row(one_class(seed=1)), np.ones((12, 400), bool)
    test = reference.test(season_of(MONTHS, 2021), "month")
    whole = test.excess(series, valid, np.zeros(400, np.int32))
    part = test.excess(series[..., 130:140], valid[:, 130:140], np.zeros(10, np.int32))
    np.testing.assert_array_equal(part, whole[130:140])


def test_class_of_few_pixels_has_the_thresholds_of_all() -> None:
    bundle = bundle_of(CLASSES, ("B04", "B08"), MONTHS)
    labels = np.where(np.arange(400) < 10, 1, 0)
    found = learnt(bundle, one_class(), labels)
    np.testing.assert_allclose(found.thresholds[:, 0], found.thresholds[:, 1], rtol=0.1)
    np.testing.assert_allclose(found.spread[1], found.spread[0], rtol=0.35)
    assert share(found, one_class(seed=1), np.ones(400)) < 0.1  # ten pixels are no narrow norm


def test_class_that_no_training_pixel_had_is_out() -> None:
    bundle = bundle_of(CLASSES, ("B04", "B08"), MONTHS)
    found = learnt(bundle, one_class(), np.zeros(400, np.int64))
    assert share(found, one_class(), np.ones(400)) == 1


def saved(folder: Path, **changes: Any) -> Bundle:
    """A tiny bundle whose signatures.json has thresholds, but for `changes`."""
    bundle = save_tiny_bundle(folder, "tempcnn")
    series = np.random.default_rng(0).normal(0.3, 0.05, (90, 5, 4)).astype(np.float32)
    labels = np.arange(90)[:, None] % 3
    document = make_signatures(in_a_row(series)[..., None], labels, labels, bundle)
    return save_bundle(bundle, bundle.network(), {**document, **changes}, "# Tiny\n")


def test_thresholds_of_a_bundle_read_back(tmp_path: Path) -> None:
    found = read_reference(saved(tmp_path / "tiny"))
    assert found is not None
    assert found.thresholds.shape == (2, 3, 1)
    assert (found.thresholds > 0.5).all()


@pytest.mark.parametrize("changes", [{"version": 1, "ood": None}, {"ood": {"statistic": "another one"}}])
def test_bundle_without_thresholds_of_this_statistic_has_no_test(tmp_path: Path, changes: dict[str, Any]) -> None:
    assert read_reference(saved(tmp_path / "tiny", **changes)) is None


def test_thresholds_of_other_classes_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelBundleError, match="its classes are not those of the bundle"):
        read_reference(saved(tmp_path / "tiny", classes=[]))


# Real series: two states, the fold 0 held out, and the model's word taken from the labels.


@pytest.fixture(scope="module")
def us_2021() -> dict[str, Any]:
    folder = Path(os.environ.get("CROPMAP_DATA", "../shared/data")) / "pixels" / "us_2021"
    if not folder.exists():
        pytest.skip(f"{folder} is not there")
    series, names, folds = [], [], []
    for state in ("california", "arkansas"):
        with np.load(folder / f"{state}.npz") as arrays:
            some = arrays["valid"].any(axis=1)
            data = arrays["X"][some].clip(0, 20000).astype(np.int16)[..., None, None]
            filled, _ = fill_samples(data, arrays["valid"][some][..., None, None])
            series.append(filled[..., 0, 0].astype(np.float32) / 10000)
            names.append(arrays["classes"][arrays["y"][some]].astype("U20"))
            folds.append(arrays["fold"][some])
    classes, labels = np.unique(np.concatenate(names), return_inverse=True)
    known = [CropClass(number, str(name), "#ffffff") for number, name in enumerate(classes, start=1)]
    bundle = bundle_of(known, BANDS, DEKADS, period="dekad", accepts=ACCEPTS)
    every, held_out = np.concatenate(series), np.concatenate(folds) == 0
    reference = learnt(bundle, every[~held_out], labels[~held_out])
    return {"reference": reference, "series": every[held_out], "labels": labels[held_out], "names": list(classes)}


def shares(us_2021: dict[str, Any], series: Floats, **given: Any) -> float:
    return share(us_2021["reference"], series, us_2021["labels"], **given)


def test_held_out_fields_are_in(us_2021: dict[str, Any]) -> None:
    assert 0.001 < shares(us_2021, us_2021["series"]) < 0.02


def test_wrong_scale_offset_and_order_of_bands_are_out(us_2021: dict[str, Any]) -> None:
    series = us_2021["series"]
    red_and_infrared = [BANDS.index({"B04": "B08", "B08": "B04"}.get(band, band)) for band in BANDS]
    assert shares(us_2021, series * 10000) == 1
    assert shares(us_2021, series / 10000) > 0.99
    assert shares(us_2021, series + 0.1) > 0.8
    assert shares(us_2021, series[..., red_and_infrared]) > 0.9


def test_season_of_the_other_hemisphere_is_out(us_2021: dict[str, Any]) -> None:
    assert shares(us_2021, np.roll(us_2021["series"], 18, axis=1)) > 0.3


def test_date_jitter_of_a_composite_is_in(us_2021: dict[str, Any]) -> None:
    series, random = us_2021["series"], np.random.default_rng(0)
    date_of = (np.arange(36) + random.integers(-1, 2, (len(series), 36))).clip(0, 35)
    assert shares(us_2021, np.take_along_axis(series, date_of[..., None], axis=1)) < 0.03
    assert shares(us_2021, np.roll(series, 1, axis=1)) < 0.03


def test_what_a_model_accepts_is_in(us_2021: dict[str, Any]) -> None:
    series, days = us_2021["series"], season_of(DEKADS, 2021)
    months = series.reshape(-1, 12, 3, 10).mean(axis=2)
    assert shares(us_2021, months, dates=days[::3], period="month") < 0.03
    assert shares(us_2021, series[:, 4:28], dates=days[4:28]) < 0.03
    for missing in ACCEPTS.optional:
        there = [band for band in BANDS if band not in missing]
        assert shares(us_2021, series[..., [BANDS.index(band) for band in there]], there=there) < 0.03


def test_another_crop_is_mostly_out(us_2021: dict[str, Any]) -> None:
    """Rice that is taken for soybean."""
    names, series, labels = us_2021["names"], us_2021["series"], us_2021["labels"]
    rice = series[labels == names.index("Rice")]
    assert share(us_2021["reference"], rice, np.full(len(rice), names.index("Soybean"))) > 0.3


def test_thresholds_for_lacking_bands_are_needed(us_2021: dict[str, Any]) -> None:
    """Four bands deviate otherwise than ten."""
    reference = replace(us_2021["reference"], without=(frozenset[str](), frozenset[str](), frozenset[str]()))
    chosen = us_2021["series"][..., [BANDS.index(band) for band in TEN_METRES]]
    assert share(reference, chosen, us_2021["labels"], there=TEN_METRES) > 0.03
