"""Variation of samples: what masks let through, dates beside, longer composites, shorter seasons, fewer bands."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from cropmap_core.learning.feeding import Feed
from cropmap_core.learning.variation import NO_VARIATION, Variation
from cropmap_core.samples.files import SampleFile
from tests.core.sample_tables import long_table, write_table
from tests.core.seam import run_here

BANDS = ("B02", "B04", "B08", "B8A", "B11")
TIMES = 24


def series(count: int = 200, size: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """Values that tell which date they are of: 100 for the first, 200 for the second, ..."""
    dates = 100 * np.arange(1, TIMES + 1, dtype=np.int16)
    data = np.broadcast_to(dates[None, :, None, None, None], (count, TIMES, len(BANDS), size, size)).copy()
    return data, np.ones((count, TIMES, size, size), bool)


def only(**strengths: float) -> Variation:
    return Variation(**{**NO_VARIATION.__dict__, **strengths})


def test_nothing_is_varied_without_strength() -> None:
    data, valid = series()
    random = np.random.default_rng(0)
    days = np.zeros((len(data), TIMES), np.float32)
    assert NO_VARIATION.weather(data, valid, BANDS, random)[0] is data
    assert NO_VARIATION.recomposited(data, valid, days, random)[0] is data
    assert NO_VARIATION.reached(valid, random).all()
    values = data.astype(np.float32)
    assert NO_VARIATION.blinded(values, [[band] for band in BANDS], random) is values
    assert random.random() == np.random.default_rng(0).random()


class TestWander:
    def test_takes_a_date_beside_with_all_its_bands_and_its_mask(self) -> None:
        data, valid = series()
        valid[:, ::3] = False
        varied, seen = only(wander=0.8).weather(data, valid, BANDS, np.random.default_rng(0))
        moved = (varied - data)[:, :, 0, 0, 0]
        assert set(np.unique(moved)) == {-100, 0, 100}
        assert (varied == varied[:, :, :1]).all()
        place = varied[:, :, 0, 0, 0] // 100 - 1
        assert (seen[:, :, 0, 0] == (place % 3 > 0)).all()

    def test_leaves_half_of_the_samples_alone_and_others_by_their_share(self) -> None:
        data, valid = series(2000)
        varied, _ = only(wander=0.8).weather(data, valid, BANDS, np.random.default_rng(0))
        share = (varied != data)[:, 1:-1, 0, 0, 0].mean(axis=1)
        assert 0.45 < (share == 0).mean() < 0.6
        assert share.mean() == pytest.approx(0.2, abs=0.02)


class TestHaze:
    def test_lets_clouds_through_where_there_was_an_observation(self) -> None:
        data, valid = series()
        valid[:, 5] = False
        varied, seen = only(haze=0.8).weather(data, valid, BANDS, np.random.default_rng(0))
        assert (seen == valid).all()
        assert (varied[:, 5] == data[:, 5]).all()
        changed = (varied != data).any(axis=2)[:, :, 0, 0]
        assert changed.mean() == pytest.approx(0.2, abs=0.03)
        assert varied.min() >= 0
        assert varied.max() <= 20000
        assert (data == series()[0]).all()

    def test_is_mostly_brighter_and_sometimes_shadow(self) -> None:
        data, valid = series(1000)
        varied, _ = only(haze=1.0).weather(data, valid, BANDS, np.random.default_rng(0))
        change = (varied.astype(int) - data)[:, :, 0, 0, 0]
        assert (change > 0).sum() > 2 * (change < 0).sum() > 0

    def test_covers_a_part_of_a_patch(self) -> None:
        data, valid = series(50, size=6)
        varied, _ = only(haze=1.0).weather(data, valid, BANDS, np.random.default_rng(0))
        share = (varied != data).any(axis=2).mean(axis=(2, 3))
        assert ((share > 0) & (share < 1)).any()


class TestPeriods:
    def test_are_medians_of_the_dates_they_reach_over(self) -> None:
        data, valid = series()
        days = np.broadcast_to(10 * np.arange(TIMES, dtype=np.float32), (len(data), TIMES))
        for seed in range(20):
            longer, seen, starts = only(periods=1.0).recomposited(data, valid, days, np.random.default_rng(seed))
            assert longer.dtype == np.int16
            assert seen.all()
            assert longer.shape[1] == starts.shape[1] < TIMES
            length = float(np.diff(starts[0]).mean())
            assert min(abs(length - each) for each in (15, 20, 30)) < 1e-3
            middle = longer[0, :-1, 0, 0, 0] / 10 - 5  # the value tells the day in the middle of the dates
            assert np.abs(middle - starts[0, :-1] - length / 2).max() <= 5

    def test_know_nothing_of_dates_that_were_not_seen(self) -> None:
        data, valid = series()
        valid[:, 6:12] = False
        data[:, 6:12] = -32768
        days = np.broadcast_to(10 * np.arange(TIMES, dtype=np.float32), (len(data), TIMES))
        for seed in range(20):
            longer, seen, _ = only(periods=1.0).recomposited(data, valid, days, np.random.default_rng(seed))
            assert not seen.all()
            assert longer[seen[:, :, 0, 0]].min() >= 100

    def test_come_in_some_batches(self) -> None:
        data, valid = series(2)
        days = np.zeros((2, TIMES), np.float32)
        random = np.random.default_rng(0)
        longer = [only(periods=0.3).recomposited(data, valid, days, random)[0].shape[1] < TIMES for _ in range(300)]
        assert np.mean(longer) == pytest.approx(0.3, abs=0.08)


def test_seasons_lose_dates_at_their_ends_only() -> None:
    valid = np.ones((500, TIMES, 1, 1), bool)
    kept = only(cuts=1.0).reached(valid, np.random.default_rng(0))[:, :, 0, 0]
    assert ((np.diff(kept.astype(int), axis=1) != 0).sum(axis=1) <= 2).all()
    assert kept[:, TIMES // 3 : -TIMES // 3].all()
    assert not kept[:, 0].all()
    assert not kept[:, -1].all()


def test_a_pixel_seen_at_an_end_alone_is_kept() -> None:
    valid = np.zeros((500, TIMES, 1, 1), bool)
    valid[:, -1] = True
    assert (valid & only(cuts=1.0).reached(valid, np.random.default_rng(0))).any(axis=1).all()


def test_what_lacks_bands_is_the_mean_there() -> None:
    values = np.ones((2000, 3, 4, 1, 1), np.float32)
    needed = [("B04", "B08"), ("B08",), ("B8A",), ("B8A", "B11")]
    lacking = only(bands=0.4).blinded(values, needed, np.random.default_rng(0))[:, :, :, 0, 0] == 0
    assert (lacking == lacking[:, :1]).all()
    assert not lacking[:, :, :2].any()
    assert lacking[:, 0, 2].mean() == pytest.approx(0.4, abs=0.05)
    assert (lacking[:, 0, 2] == lacking[:, 0, 3]).all()


def test_batches_of_longer_composites_carry_their_days(tmp_path: Path) -> None:
    table = write_table(tmp_path, long_table(count=60))
    assert run_here("buildtrainingset", table=table, output=tmp_path / "set.h5", block_m=3000, folds=3).status == 0
    with SampleFile(tmp_path / "set.h5") as file:
        feed = Feed(file, file.layout.bands, file.classes, by_pixel=True)
        index = file.indices("train")
        feed.normalise_by(index)
        usual = next(feed.batches(index, 8))
        varied = [next(feed.batches(index, 8, only(periods=1.0, bands=0.5), seed=(seed,))) for seed in range(5)]
    for batch in varied:
        assert batch.x.shape[1] == batch.days.shape[1] == batch.valid.shape[1] < usual.x.shape[1]
        assert (batch.days.diff(dim=1) > 0).all()
