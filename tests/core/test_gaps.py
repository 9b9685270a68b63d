"""How long gaps are, and fill provenance."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from cropmap_core.timeseries.gaps import gap_days, provenance
from tests.core.observations import observations

DAYS = np.array([0, 31, 59, 90, 120])


def observed(signs: str) -> NDArray[np.bool_]:
    """One pixel; . where there is nothing."""
    return np.array([sign != "." for sign in signs]).reshape(-1, 1, 1)


def lengths(signs: str) -> list[int]:
    return list(gap_days(observed(signs), DAYS[: len(signs)]).ravel())


def test_a_gap_reaches_from_the_observed_date_before_to_the_one_after() -> None:
    assert lengths("x.x..") == [0, 59, 0, 61, 61]
    assert lengths("x...x") == [0, 120, 120, 120, 0]


def test_a_gap_at_an_end_reaches_to_the_end_of_the_series() -> None:
    assert lengths("..x..") == [59, 59, 0, 61, 61]


def test_a_season_without_observation_is_one_gap() -> None:
    assert lengths(".....") == [120] * 5


def test_lengths_equal_numpy() -> None:
    days = np.cumsum(np.random.default_rng(1).integers(1, 40, 9))
    _, valid = observations(9, 1, seed=1)
    own = days[:, None, None]
    before = np.maximum.accumulate(np.where(valid, own, days[0]), axis=0)
    after = np.minimum.accumulate(np.where(valid, own, days[-1])[::-1], axis=0)[::-1]
    np.testing.assert_array_equal(gap_days(valid, days), after - before)


def test_provenance_counts_shares_and_measures() -> None:
    valid = observed("x.x..")
    made = provenance(valid, np.ones_like(valid), gap_days(valid, DAYS))
    assert made.ravel().tolist() == [2.0, np.float32(0.6), 61.0]


def test_the_share_is_of_the_dates_that_have_a_value() -> None:
    valid, filled = observed("x.x.."), observed("xxx..")
    assert provenance(valid, filled, gap_days(valid, DAYS))[1] == np.float32(1 / 3)


def test_of_a_pixel_that_was_never_observed_only_the_count_is_known() -> None:
    valid = observed(".....")
    count, share, longest = provenance(valid, valid, gap_days(valid, DAYS)).ravel()
    assert count == 0
    assert np.isnan([share, longest]).all()
