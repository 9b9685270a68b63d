"""Samples to class probabilities: the very numbers that a map of the same pixels shows."""

from __future__ import annotations

from datetime import date
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from cropmap_core.errors import IncompatibleModelError
from cropmap_core.inference.bundles import Bundle, load_bundle
from cropmap_core.inference.channels import sample_channels
from cropmap_core.inference.predictor import Predictor, check_samples_fit
from cropmap_core.timeseries.filling import Filled
from cropmap_core.timeseries.indices import as_channels
from cropmap_core.timeseries.series import NODATA
from tests.core.series_in_memory import SeriesInMemory, whole
from tests.core.tiny_models import CHANNELS, MONTHS, save_tiny_bundle

BANDS = ("B11", "B08", "B04")
DATES = tuple(date(2018, month, 1) for month in MONTHS)


def composites(seed: int = 0) -> tuple[NDArray[np.int16], NDArray[np.bool_]]:
    """Twelve samples of 3 x 2 pixels with gaps, one of them never observed."""
    random = np.random.default_rng(seed)
    data = random.integers(200, 4000, (12, len(MONTHS), len(BANDS), 3, 2)).astype(np.int16)
    valid = random.random((12, len(MONTHS), 3, 2)) < 0.6
    valid[4] = False
    return np.where(valid[:, :, None], data, NODATA), valid


def test_channels_of_samples_are_those_of_the_map() -> None:
    data, valid = composites()
    values, there = sample_channels(data, valid, BANDS, CHANNELS)
    for sample in range(len(data)):
        series = Filled(SeriesInMemory(data[sample], BANDS, DATES, "month"))
        expected, usable = whole(as_channels(series, CHANNELS))
        np.testing.assert_array_equal(there[sample], usable)
        np.testing.assert_array_equal(values[sample], expected)


def test_samples_are_left_as_they_were() -> None:
    data, valid = composites()
    before = data.copy()
    for chosen in (slice(None), slice(3, 4)):
        sample_channels(data[chosen], valid[chosen], BANDS, CHANNELS)
    np.testing.assert_array_equal(data, before)


def test_probabilities_are_of_each_pixel_and_none_where_nothing_was_observed(tiny_bundle: Bundle) -> None:
    data, valid = composites()
    found = Predictor(tiny_bundle).probabilities(data, valid, BANDS)
    assert found.shape == (12, 3, 3, 2)
    np.testing.assert_array_equal(np.isnan(found).all(axis=1), ~valid.any(axis=1))
    np.testing.assert_allclose(found.sum(axis=1)[valid.any(axis=1)], 1, rtol=1e-5)


def test_what_is_not_valid_never_matters(tiny_bundle: Bundle) -> None:
    data, valid = composites()
    other = np.where(valid[:, :, None], data, np.int16(1234))
    predictor = Predictor(tiny_bundle)
    np.testing.assert_array_equal(
        predictor.probabilities(data, valid, BANDS), predictor.probabilities(other, valid, BANDS)
    )


def test_the_order_of_bands_and_further_bands_never_matter(hybrid_bundle: Bundle) -> None:
    data, valid = composites()
    predictor = Predictor(hybrid_bundle)
    more = np.concatenate([data[:, :, ::-1], data[:, :, :1] // 2], axis=2)
    np.testing.assert_array_equal(
        predictor.probabilities(data, valid, BANDS), predictor.probabilities(more, valid, (*BANDS[::-1], "B12"))
    )


def test_a_temperature_softens_but_does_not_change_the_class(tmp_path: Path) -> None:
    sharp = save_tiny_bundle(tmp_path / "sharp", "hybrid_cnn")
    soft = save_tiny_bundle(tmp_path / "soft", "hybrid_cnn", temperature=3.0)
    assert load_bundle(tmp_path / "soft").temperature == 3.0
    data, valid = composites()
    valid[4] = True
    one, other = (Predictor(bundle).probabilities(abs(data), valid, BANDS) for bundle in (sharp, soft))
    np.testing.assert_array_equal(one.argmax(axis=1), other.argmax(axis=1))
    expected = torch.softmax(torch.from_numpy(one).log() / 3, dim=1)
    np.testing.assert_allclose(other, expected.numpy(), atol=1e-5)


def count_patches(seen: list[int], values: torch.Tensor, days: object, valid: object) -> torch.Tensor:
    """Stands for a network's answer."""
    seen.append(len(values))
    return torch.zeros(len(values), 3)


def test_the_larger_patches_are_the_fewer_are_seen_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for patch, most in ((5, 1024), (65, 6)):
        bundle = save_tiny_bundle(tmp_path / str(patch), "convlstm", hyper_parameters={"patch_size": patch})
        predictor = Predictor(bundle)
        seen: list[int] = []
        monkeypatch.setattr(predictor._network, "forward", partial(count_patches, seen))
        monkeypatch.setattr(predictor, "_shared", None)  # patches of 65 pixels would not be cut out
        edge = 3 * 33 + 2 * predictor.halo
        values = np.zeros((1, len(CHANNELS), edge, edge), np.float32)
        predictor.of_window(values, np.ones((1, edge, edge), bool), np.zeros(1, np.float32))
        assert sum(seen) == 33 * 33
        assert seen[0] == max(seen) == most


def test_a_missing_band_is_named(hybrid_bundle: Bundle) -> None:
    data, valid = composites()
    with pytest.raises(IncompatibleModelError, match="needs NDVI, B08; the time series holds B11, B04"):
        Predictor(hybrid_bundle).probabilities(data[:, :, [0, 2]], valid, ("B11", "B04"))


def test_other_dates_are_refused(hybrid_bundle: Bundle) -> None:
    data, valid = composites()
    with pytest.raises(IncompatibleModelError, match="takes 5 composites, the samples have 4"):
        Predictor(hybrid_bundle).probabilities(data[:, 1:], valid[:, 1:], BANDS)


def test_samples_of_another_season_do_not_fit(hybrid_bundle: Bundle) -> None:
    check_samples_fit(hybrid_bundle, BANDS, "month", DATES)
    with pytest.raises(IncompatibleModelError, match="one per dekad"):
        check_samples_fit(hybrid_bundle, BANDS, "dekad", DATES)
    with pytest.raises(IncompatibleModelError, match="single acquisitions"):
        check_samples_fit(hybrid_bundle, BANDS, None, DATES)
    with pytest.raises(IncompatibleModelError, match="lacks 2018-08"):
        check_samples_fit(hybrid_bundle, BANDS, "month", DATES[:-1])
    with pytest.raises(IncompatibleModelError, match="needs NDVI, B08"):
        check_samples_fit(hybrid_bundle, ("B04", "B11"), "month", DATES)
