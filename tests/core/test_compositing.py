"""Composites: medians of the clear observations of each month."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date, timedelta
from random import Random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from numpy.typing import NDArray

from cropmap_core.errors import JobError, MissingBandError, NoValidObservationError, SeriesError
from cropmap_core.io.grid import Window
from cropmap_core.scenes.scl import DEFAULT_KEEP_CLASSES, SCL_CLASSES, keep_table
from cropmap_core.timeseries.compositing import METHODS, composite
from cropmap_core.timeseries.masks import ClearSky
from cropmap_core.timeseries.series import NODATA
from tests.core.series_in_memory import SeriesInMemory, grid, pixel_series, whole

VEGETATION, CLOUD = 4, 9
LOWEST, HIGHEST = NODATA + 1, 32767


def monthly(series: SeriesInMemory) -> list[int]:
    """The composites of a series of one pixel and one band."""
    data, _ = whole(composite(series, "month", None, None, DEFAULT_KEEP_CLASSES))
    return list(data[:, 0, 0, 0])


def days_in_may(count: int) -> list[str]:
    return [f"2018-05-{day:02}" for day in range(1, count + 1)]


def clear_in_may(*values: int) -> SeriesInMemory:
    return pixel_series(("B04", "SCL"), [(value, VEGETATION) for value in values], days_in_may(len(values)))


@pytest.mark.parametrize(
    ("values", "median"),
    [
        ((42,), 42),
        ((30, 10, 20), 20),
        ((10, 20), 15),
        ((40, 10, 30, 20), 25),
        ((10, 11), 10),  # 10.5, half to even
        ((11, 12), 12),  # 11.5
        ((-10, -11), -10),
        ((-11, -12), -12),
        ((-1, 0), 0),
        ((0, 1), 0),
        ((5, 5, 5, 900), 5),
        ((HIGHEST, HIGHEST), HIGHEST),
        ((HIGHEST - 1, HIGHEST), HIGHEST - 1),  # their sum is more than an int16 holds
        ((LOWEST, LOWEST), LOWEST),
        ((LOWEST, HIGHEST), 0),
    ],
)
def test_median_of_the_clear_values(values: tuple[int, ...], median: int) -> None:
    assert monthly(clear_in_may(*values)) == [median]


def test_a_value_under_cloud_does_not_count() -> None:
    series = pixel_series(("B04", "SCL"), [(100, VEGETATION), (9000, CLOUD), (300, VEGETATION)], days_in_may(3))
    assert monthly(series) == [200]


@pytest.mark.parametrize("scl", range(12))
def test_vegetation_soil_water_and_unclassified_are_clear_unless_one_says_otherwise(scl: int) -> None:
    series = pixel_series(("B04", "SCL"), [(100, scl)], ["2018-05-04"])
    assert monthly(series) == ([100] if scl in (4, 5, 6, 7) else [NODATA])


def test_other_classes_can_be_kept() -> None:
    series = pixel_series(("B04", "SCL"), [(100, VEGETATION), (700, 11)], days_in_may(2))
    data, _ = whole(composite(series, "month", None, None, ("snow",)))
    assert data.ravel() == [700]


@pytest.mark.parametrize("name", ["nodata", "saturated", "cloud"])
def test_pixels_without_a_measurement_cannot_be_kept(name: str) -> None:
    with pytest.raises(JobError, match=f"'{name}'"):
        composite(clear_in_may(1), "month", None, None, (name,))


def test_an_scl_value_beyond_the_table_or_missing_is_not_clear() -> None:
    assert monthly(pixel_series(("B04", "SCL"), [(100, NODATA), (200, 300)], days_in_may(2))) == [NODATA]


def test_a_date_that_lacks_one_band_counts_for_none() -> None:
    series = pixel_series(("B04", "B08", "SCL"), [(100, NODATA, VEGETATION), (300, 3000, VEGETATION)], days_in_may(2))
    data, _ = whole(composite(series, "month", None, None, DEFAULT_KEEP_CLASSES))
    assert data.ravel().tolist() == [300, 3000]


def test_every_month_has_a_composite_and_one_without_observation_is_nodata() -> None:
    series = pixel_series(("B04", "SCL"), [(1, 4), (2, 4), (7, 4)], ["2018-11-30", "2018-12-01", "2019-02-28"])
    made = composite(series, "month", None, None, DEFAULT_KEEP_CLASSES)
    assert made.dates == (date(2018, 11, 1), date(2018, 12, 1), date(2019, 1, 1), date(2019, 2, 1))
    assert (made.bands, made.period) == (("B04",), "month")
    data, valid = whole(made)
    assert data.ravel().tolist() == [1, 2, NODATA, 7]
    assert valid.ravel().tolist() == [True, True, False, True]


def test_first_and_last_day_count() -> None:
    series = pixel_series(("B04", "SCL"), [(value, 4) for value in (1, 2, 3, 4)], days_in_may(4))
    made = composite(series, "month", date(2018, 5, 2), date(2018, 5, 3), DEFAULT_KEEP_CLASSES)
    data, _ = whole(made)
    assert data.ravel() == [2]  # of 2 and 3, half to even
    assert made.span == (date(2018, 5, 2), date(2018, 5, 3))


def test_months_that_were_asked_for_are_there_though_nothing_was_acquired() -> None:
    made = composite(clear_in_may(8), "month", date(2018, 4, 1), date(2018, 6, 30), DEFAULT_KEEP_CLASSES)
    data, _ = whole(made)
    assert data.ravel().tolist() == [NODATA, 8, NODATA]


def reference_median(data: NDArray[np.int16], clear: NDArray[np.bool_]) -> NDArray[np.int16]:
    """The same in plain words: sort what is clear, take the middle, halve to even."""
    times, channels, height, width = data.shape
    out = np.full((1, channels, height, width), NODATA, dtype=np.int16)
    for channel, row, col in np.ndindex(channels, height, width):
        values = sorted(int(data[time, channel, row, col]) for time in range(times) if clear[time, row, col])
        if values:
            low, high = values[(len(values) - 1) // 2], values[len(values) // 2]
            out[0, channel, row, col] = round((low + high) / 2)  # Python rounds half to even
    return out


shapes = st.tuples(st.integers(1, 7), st.integers(1, 3), st.integers(1, 4), st.integers(1, 4))
seasons = shapes.flatmap(
    lambda shape: st.tuples(
        arrays.arrays(np.int16, shape, elements=st.integers(LOWEST, HIGHEST) | st.integers(-3, 3)),
        arrays.arrays(np.int16, (shape[0], 1, *shape[2:]), elements=st.sampled_from([VEGETATION, CLOUD])),
    )
)


def stack_of(data: NDArray[np.int16], scl: NDArray[np.int16]) -> SeriesInMemory:
    bands = tuple(f"B{number:02}" for number in range(1, data.shape[1] + 1))
    days = tuple(map(date.fromisoformat, days_in_may(len(data))))
    return SeriesInMemory(np.concatenate([data, scl], axis=1), (*bands, "SCL"), days)


def may_composite(data: NDArray[np.int16], scl: NDArray[np.int16], method: str = "median") -> NDArray[np.int16]:
    made, _ = whole(composite(stack_of(data, scl), "month", None, None, DEFAULT_KEEP_CLASSES, method))
    return made


@given(seasons)
def test_median_equals_the_reference(season: tuple[NDArray[np.int16], NDArray[np.int16]]) -> None:
    data, scl = season
    np.testing.assert_array_equal(may_composite(data, scl), reference_median(data, scl[:, 0] == VEGETATION))


@given(seasons, st.integers(NODATA, HIGHEST), st.sampled_from(METHODS))
def test_a_masked_value_never_reaches_a_composite(
    season: tuple[NDArray[np.int16], NDArray[np.int16]], rubbish: int, method: str
) -> None:
    data, scl = season
    spoilt = np.where(scl == CLOUD, np.int16(rubbish), data)
    np.testing.assert_array_equal(may_composite(spoilt, scl, method), may_composite(data, scl, method))


@given(seasons, st.randoms(use_true_random=False), st.sampled_from(["median", "mean"]))
def test_the_order_of_the_dates_within_a_month_does_not_matter(
    season: tuple[NDArray[np.int16], NDArray[np.int16]], random: Random, method: str
) -> None:
    data, scl = season
    order = list(range(len(data)))
    random.shuffle(order)
    np.testing.assert_array_equal(may_composite(data[order], scl[order], method), may_composite(data, scl, method))


@given(seasons, st.sampled_from(METHODS))
def test_a_pixel_that_is_masked_at_all_dates_is_nodata_and_no_other(
    season: tuple[NDArray[np.int16], NDArray[np.int16]], method: str
) -> None:
    data, scl = season
    never = (scl[:, 0] == CLOUD).all(axis=0)
    made, valid = whole(composite(stack_of(data, scl), "month", None, None, DEFAULT_KEEP_CLASSES, method))
    assert ((made[0] == NODATA) == never).all()
    assert (valid[0] == ~never).all()


@given(seasons, st.sampled_from(METHODS))
def test_the_composite_of_one_date_is_that_date(
    season: tuple[NDArray[np.int16], NDArray[np.int16]], method: str
) -> None:
    data, scl = season
    expected = np.where(scl[:1] == VEGETATION, data[:1], NODATA)
    np.testing.assert_array_equal(may_composite(data[:1], scl[:1], method), expected)


@given(seasons, st.sampled_from(METHODS))
def test_a_composite_lies_between_the_clear_values(
    season: tuple[NDArray[np.int16], NDArray[np.int16]], method: str
) -> None:
    data, scl = season
    clear = scl == VEGETATION
    made = may_composite(data, scl, method)[0]
    seen = np.broadcast_to(clear.any(axis=0), made.shape)
    assert (made >= np.where(clear, data, HIGHEST).min(axis=0))[seen].all()
    assert (made <= np.where(clear, data, LOWEST).max(axis=0))[seen].all()


def test_a_window_of_the_composite_is_the_part_of_the_whole() -> None:
    random = np.random.default_rng(3)
    data = random.integers(0, 10000, (6, 2, 7, 5)).astype(np.int16)
    scl = random.choice([VEGETATION, CLOUD], (6, 1, 7, 5)).astype(np.int16)
    made = composite(stack_of(data, scl), "month", None, None, DEFAULT_KEEP_CLASSES)
    block = made.read(Window(2, 1, 3, 4))
    np.testing.assert_array_equal(block.data, whole(made)[0][:, :, 2:5, 1:5])
    np.testing.assert_array_equal(block.valid, whole(made)[1][:, 2:5, 1:5])


@pytest.mark.parametrize(
    ("method", "target_day", "expected"),
    [
        ("first", None, [20]),
        ("last", None, [70]),
        ("mean", None, [42]),  # of 20, 30, 50 and 70: 42.5, half to even
        ("nearest", None, [50]),  # the middle of May is its 16th: the 14th is clear, the 16th is not
        ("nearest", 0, [20]),
        ("nearest", 9, [30]),
        ("nearest", 30, [70]),
    ],
)
def test_other_ways_to_composite(method: str, target_day: int | None, expected: list[int]) -> None:
    days = ["2018-05-01", "2018-05-03", "2018-05-08", "2018-05-14", "2018-05-16", "2018-05-25"]
    rows = [(10, CLOUD), (20, VEGETATION), (30, VEGETATION), (50, VEGETATION), (60, CLOUD), (70, VEGETATION)]
    series = pixel_series(("B04", "SCL"), rows, days)
    made = composite(series, "month", None, None, DEFAULT_KEEP_CLASSES, method, target_day)
    assert whole(made)[0].ravel().tolist() == expected


def test_of_two_equally_near_observations_the_earlier_is_taken() -> None:
    series = pixel_series(("B04", "SCL"), [(1, 4), (2, 4)], ["2018-05-15", "2018-05-17"])
    assert whole(composite(series, "month", None, None, DEFAULT_KEEP_CLASSES, "nearest"))[0].ravel().tolist() == [1]


def test_clear_observations_are_counted_by_period() -> None:
    series = pixel_series(("B04", "SCL"), [(1, 4), (2, 4), (3, 9), (4, 9)], [*days_in_may(3), "2018-06-01"])
    made = composite(series, "month", None, None, DEFAULT_KEEP_CLASSES)
    _, counts = made.read_counted(made.grid.window())
    assert counts.ravel().tolist() == [2, 0]
    assert made.most_observations == 3


def test_periods_need_not_be_months() -> None:
    series = pixel_series(("B04", "SCL"), [(value, 4) for value in range(1, 7)], days_in_may(6))
    made = composite(series, "days:2", date(2018, 5, 2), None, DEFAULT_KEEP_CLASSES, "last")
    assert whole(made)[0].ravel().tolist() == [3, 5, 6]
    assert (made.period, made.dates[1]) == ("days:2", date(2018, 5, 4))


def test_acquisitions_before_the_first_of_listed_periods_do_not_count() -> None:
    series = pixel_series(("B04", "SCL"), [(value, 4) for value in range(1, 7)], days_in_may(6))
    made = composite(series, "dates:2018-05-03,2018-05-05", None, None, DEFAULT_KEEP_CLASSES, "first")
    assert whole(made)[0].ravel().tolist() == [3, 5]
    assert made.span == (date(2018, 5, 3), date(2018, 5, 6))


def test_bands_that_mask_are_not_composited() -> None:
    series = pixel_series(("B04", "CLM", "SCL"), [(10, 0, 4), (90, 1, 4)], days_in_may(2))
    made = composite(series, "month", None, None, ClearSky(DEFAULT_KEEP_CLASSES, mask_band="CLM"))
    assert made.bands == ("B04",)
    assert whole(made)[0].ravel() == [10]


def test_an_unknown_method_is_refused() -> None:
    with pytest.raises(JobError, match="METHOD is 'mode'"):
        composite(clear_in_may(1), "month", None, None, DEFAULT_KEEP_CLASSES, "mode")


@pytest.mark.parametrize(("method", "target_day"), [("median", 3), ("nearest", -1), ("nearest", 400)])
def test_a_target_day_is_for_the_nearest_observation(method: str, target_day: int) -> None:
    with pytest.raises(JobError, match=f"TARGET_DAY is {target_day}"):
        composite(clear_in_may(1), "month", None, None, DEFAULT_KEEP_CLASSES, method, target_day)


def test_a_composite_cannot_be_composited_again() -> None:
    series = pixel_series(("B04", "SCL"), [(1, 4)], ["2018-05-01"], period="month")
    with pytest.raises(SeriesError, match="not a stack of acquisitions"):
        composite(series, "month", None, None, DEFAULT_KEEP_CLASSES)


def test_a_stack_without_scl_is_refused() -> None:
    with pytest.raises(MissingBandError, match="SCL"):
        composite(pixel_series(("B04",), [(1,)], ["2018-05-01"]), "month", None, None, DEFAULT_KEEP_CLASSES)


def test_dates_without_any_acquisition_are_refused_and_those_there_are_told() -> None:
    with pytest.raises(NoValidObservationError, match="from 2018-05-01 to 2018-05-02"):
        composite(clear_in_may(1, 2), "month", date(2018, 6, 1), date(2018, 7, 1), DEFAULT_KEEP_CLASSES)


def test_an_end_before_the_start_is_refused() -> None:
    with pytest.raises(JobError, match="END_DATE 2018-05-01 lies before START_DATE 2018-05-02"):
        composite(clear_in_may(1, 2), "month", date(2018, 5, 2), date(2018, 5, 1), DEFAULT_KEEP_CLASSES)


def test_scl_names_stand_for_the_values_of_the_specification() -> None:
    table = keep_table(["dark", "cloud_shadow", "cloud_medium", "cloud_high", "cirrus", "snow"])
    assert np.flatnonzero(table).tolist() == [2, 3, 8, 9, 10, 11]
    assert np.flatnonzero(keep_table(DEFAULT_KEEP_CLASSES)).tolist() == [4, 5, 6, 7]
    assert sorted(SCL_CLASSES.values()) == list(range(12))


@dataclass(frozen=True)
class SplitInMemory(SeriesInMemory):
    """A series that can be read date by date, and remembers how."""

    stretches: list[tuple[date, ...]] = field(default_factory=list)

    def of_dates(self, chosen: slice) -> SeriesInMemory:
        self.stretches.append(self.dates[chosen])
        return SeriesInMemory(self.values[chosen], self.bands, self.dates[chosen])


@pytest.mark.parametrize("method", METHODS)
def test_periods_that_are_read_one_by_one_are_the_same(method: str) -> None:
    days = tuple(date(2018, 3, 1) + timedelta(number) for number in (0, 3, 20, 31, 70, 71, 75, 99, 130))
    random = np.random.default_rng(0)
    values = random.integers(0, 4000, (len(days), 3, 5, 4)).astype(np.int16)
    values[:, 2] = random.choice([VEGETATION, CLOUD], (len(days), 5, 4))
    at_once, one_by_one = (kind(values, ("B04", "B08", "SCL"), days) for kind in (SeriesInMemory, SplitInMemory))
    span = date(2018, 3, 2), date(2018, 6, 30)
    made = [
        composite(source, "month", *span, DEFAULT_KEEP_CLASSES, method).read_counted(grid(5, 4).window())
        for source in (at_once, one_by_one)
    ]
    (expected, expected_counts), (block, counts) = made
    np.testing.assert_array_equal(block.data, expected.data)
    np.testing.assert_array_equal(block.valid, expected.valid)
    np.testing.assert_array_equal(counts, expected_counts)
    assert one_by_one.stretches == [days[1:3], days[3:4], days[4:7], days[7:8]]


def test_what_is_in_memory_at_once() -> None:
    days = tuple(date(2018, month, day) for month in (4, 5, 6) for day in (1, 11, 21))
    values = np.zeros((9, 2, 1, 1), np.int16)
    asked = "month", None, None, DEFAULT_KEEP_CLASSES
    assert composite(SeriesInMemory(values, ("B04", "SCL"), days), *asked).source_dates_at_once == 9
    assert composite(SplitInMemory(values, ("B04", "SCL"), days), *asked).source_dates_at_once == 6
