"""Gap filling: neighbours in time stand in, what was never observed stays nodata."""

from __future__ import annotations

from datetime import date

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from numpy.typing import NDArray

from cropmap_core.errors import JobError, SeriesError
from cropmap_core.io.grid import Window
from cropmap_core.timeseries.filling import METHODS, Filled, Smoothing
from cropmap_core.timeseries.series import NODATA
from tests.core.series_in_memory import SeriesInMemory, pixel_series, whole

GAP = NODATA
HIGHEST = 32767


def composites(data: NDArray[np.int16]) -> SeriesInMemory:
    months = tuple(date(2018, month, 1) for month in range(1, len(data) + 1))
    return SeriesInMemory(data, tuple(f"B{number:02}" for number in range(1, data.shape[1] + 1)), months, "month")


def filled(data: NDArray[np.int16], method: str = "neighbour_mean") -> NDArray[np.int16]:
    made, _ = whole(Filled(composites(data), method))
    return made


def pixel(*values: int) -> NDArray[np.int16]:
    return np.array(values, dtype=np.int16).reshape(-1, 1, 1, 1)


def filled_pixel(*values: int) -> list[int]:
    return list(filled(pixel(*values)).ravel())


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ((100, GAP, 200), (100, 150, 200)),
        ((100, GAP, GAP, 300), (100, 200, 200, 300)),  # the mean, whatever the distance
        ((GAP, GAP, 70), (70, 70, 70)),
        ((70, GAP, GAP), (70, 70, 70)),
        ((GAP, 10, GAP, 30, GAP), (10, 10, 20, 30, 30)),
        ((10, GAP, 20, GAP, 40), (10, 15, 20, 30, 40)),  # from observed values only, never from filled ones
        ((10, GAP, 11), (10, 10, 11)),  # 10.5, half to even
        ((11, GAP, 12), (11, 12, 12)),  # 11.5
        ((-11, GAP, -12), (-11, -12, -12)),
        ((HIGHEST, GAP, HIGHEST), (HIGHEST, HIGHEST, HIGHEST)),  # their sum is more than an int16 holds
        ((NODATA + 1, GAP, NODATA + 1), (NODATA + 1, NODATA + 1, NODATA + 1)),
        ((GAP, GAP), (GAP, GAP)),
        ((5,), (5,)),
        ((GAP,), (GAP,)),
    ],
)
def test_gaps_of_one_pixel(before: tuple[int, ...], after: tuple[int, ...]) -> None:
    assert filled_pixel(*before) == list(after)


def test_a_month_that_lacks_one_band_is_a_gap_in_all() -> None:
    series = pixel_series(
        ("B04", "B08"), [(100, 1000), (140, GAP), (300, 3000)], ["2018-01-01", "2018-02-01", "2018-03-01"]
    )
    data, valid = whole(Filled(series))
    assert data[1].ravel().tolist() == [200, 2000]
    assert valid.all()


def test_never_observed_stays_nodata_and_is_not_valid() -> None:
    data = np.full((3, 2, 1, 2), NODATA, dtype=np.int16)
    data[1, :, 0, 0] = (7, 8)
    made, valid = whole(Filled(composites(data)))
    assert made[:, :, 0, 1].ravel().tolist() == [NODATA] * 6
    assert valid[:, 0].tolist() == [[True, False]] * 3


shapes = st.tuples(st.integers(1, 6), st.integers(1, 2), st.integers(1, 3), st.integers(1, 4))
observed_series = shapes.flatmap(
    lambda shape: st.tuples(
        arrays.arrays(np.int16, shape, elements=st.integers(NODATA + 1, HIGHEST) | st.integers(-3, 3)),
        arrays.arrays(np.bool_, (shape[0], 1, *shape[2:])),
    )
)


def with_gaps(series: tuple[NDArray[np.int16], NDArray[np.bool_]]) -> NDArray[np.int16]:
    return np.where(series[1], series[0], np.int16(NODATA))


def reference_filling(data: NDArray[np.int16]) -> NDArray[np.int16]:
    """The rule in plain words, pixel by pixel."""
    out = data.copy()
    for channel, row, col in np.ndindex(data.shape[1:]):
        values = [int(value) for value in data[:, channel, row, col]]
        seen = [time for time, value in enumerate(values) if value != NODATA]
        for time in range(len(values)) if seen else ():
            before = [other for other in seen if other <= time] or seen[:1]
            after = [other for other in seen if other >= time] or seen[-1:]
            out[time, channel, row, col] = round((values[before[-1]] + values[after[0]]) / 2)
    return out


@given(observed_series)
def test_filling_equals_the_reference(series: tuple[NDArray[np.int16], NDArray[np.bool_]]) -> None:
    data = with_gaps(series)
    np.testing.assert_array_equal(filled(data), reference_filling(data))


@given(observed_series, st.sampled_from(["neighbour_mean", "linear"]))
def test_what_was_observed_stays_as_it_is_unless_it_is_smoothed(
    series: tuple[NDArray[np.int16], NDArray[np.bool_]], method: str
) -> None:
    data = with_gaps(series)
    observed = data != NODATA
    np.testing.assert_array_equal(filled(data, method)[observed], data[observed])


@given(observed_series, st.sampled_from(["neighbour_mean", "linear"]))
def test_filling_twice_changes_nothing(series: tuple[NDArray[np.int16], NDArray[np.bool_]], method: str) -> None:
    once = filled(with_gaps(series), method)
    np.testing.assert_array_equal(filled(once, method), once)


@given(observed_series, st.sampled_from(METHODS))
def test_after_filling_all_dates_of_a_pixel_have_a_value_or_none_has(
    series: tuple[NDArray[np.int16], NDArray[np.bool_]], method: str
) -> None:
    data = with_gaps(series)
    made, valid = whole(Filled(composites(data), method))
    ever = series[1].any(axis=0)
    assert ((made != NODATA) == ever).all()
    assert (valid == ever[0]).all()


def test_a_line_goes_by_the_days_not_by_the_count_of_dates() -> None:
    """February is 31 days after January, March 59: 31/59 of the way from 0 to 590."""
    assert filled(pixel(0, GAP, 590), "linear").ravel().tolist() == [0, 310, 590]


def test_smoothing_changes_what_was_observed() -> None:
    smooth = Filled(composites(pixel(0, 700, 0, 0)), "whittaker", smoothing=Smoothing(smoothness=5))
    assert 0 < whole(smooth)[0][1] < 700


class TestLongGaps:
    def test_stay_nodata(self) -> None:
        """From the 1st of January to the 1st of March are 59 days, to the 1st of April 90."""
        data = np.stack([pixel(10, GAP, 30, 40), pixel(10, GAP, GAP, 40)], axis=-1)[..., 0, :]
        made, valid = whole(Filled(composites(data), max_gap_days=59))
        assert made[:, 0, 0].T.tolist() == [[10, 20, 30, 40], [10, GAP, GAP, 40]]
        assert valid[:, 0].T.tolist() == [[True] * 4, [True, False, False, True]]

    def test_at_the_ends_are_measured_to_the_end_of_the_series(self) -> None:
        data = pixel(GAP, GAP, 30, GAP)
        assert whole(Filled(composites(data), max_gap_days=58))[0].ravel().tolist() == [GAP, GAP, 30, 30]
        assert whole(Filled(composites(data), max_gap_days=59))[0].ravel().tolist() == [30] * 4

    def test_a_limit_of_no_days_is_refused(self) -> None:
        with pytest.raises(JobError, match="MAX_GAP is 0"):
            Filled(composites(pixel(1)), max_gap_days=0)


def test_provenance_tells_what_is_filled() -> None:
    """Two of five months are observed; one of the others is in a gap that is too long."""
    steps = Filled(composites(pixel(10, GAP, GAP, 40, GAP)), max_gap_days=31)
    block, (count, share, longest) = steps.read_with_provenance(Window(0, 0, 1, 1))
    assert block.data.ravel().tolist() == [10, GAP, GAP, 40, 40]
    assert (count, share, longest) == (2, np.float32(1 / 3), 90)


@pytest.mark.parametrize(
    ("smoothing", "name"),
    [
        ({"window": 4}, "WINDOW"),
        ({"window": 1}, "WINDOW"),
        ({"order": 5, "window": 9}, "ORDER"),
        ({"order": 3, "window": 3}, "ORDER"),
        ({"smoothness": 0}, "SMOOTHNESS"),
    ],
)
def test_smoothing_that_makes_no_sense_is_refused(smoothing: dict[str, int], name: str) -> None:
    with pytest.raises(JobError, match=f"{name} is"):
        Smoothing(**smoothing)


def test_an_unknown_method_is_refused() -> None:
    with pytest.raises(JobError, match="METHOD is 'spline'"):
        Filled(composites(pixel(1)), "spline")


def test_a_window_is_the_part_of_the_whole() -> None:
    random = np.random.default_rng(5)
    data = random.integers(0, 9000, (5, 2, 6, 7)).astype(np.int16)
    data[np.broadcast_to(random.random((5, 1, 6, 7)) < 0.5, data.shape)] = NODATA
    steps = Filled(composites(data))
    np.testing.assert_array_equal(steps.read(Window(1, 2, 3, 4)).data, whole(steps)[0][:, :, 1:4, 2:6])


def test_beyond_the_raster_nothing_is_filled() -> None:
    steps = Filled(composites(np.full((3, 1, 2, 2), 50, dtype=np.int16)))
    block = steps.read(Window(-1, 0, 3, 2))
    assert block.valid.tolist() == [[[False, False], [True, True], [True, True]]] * 3
    assert (block.data[:, :, 0] == NODATA).all()


@pytest.mark.parametrize(
    "series",
    [
        pixel_series(("B04", "SCL"), [(1, 4)], ["2018-01-01"]),
        SeriesInMemory(np.ones((1, 1, 1, 1), np.float32), ("NDVI",), (date(2018, 1, 1),), "month"),
    ],
)
def test_only_composites_of_reflectance_are_filled(series: SeriesInMemory) -> None:
    with pytest.raises(SeriesError, match="compositetimeseries"):
        Filled(series)
