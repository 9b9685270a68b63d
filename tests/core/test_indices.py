"""Vegetation indices: the published formulas, and nothing where nothing can be said."""

from __future__ import annotations

from datetime import date

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cropmap_core.errors import JobError, MissingBandError, SeriesError
from cropmap_core.timeseries.formulas import SHORT_LIST
from cropmap_core.timeseries.indices import as_channels, computable_indices, read_formulas, with_indices
from cropmap_core.timeseries.series import NODATA
from tests.core.series_in_memory import SeriesInMemory, pixel_series, whole

REFLECTANCE = {
    "B02": 500,
    "B03": 800,
    "B04": 600,
    "B05": 1200,
    "B06": 2500,
    "B07": 3000,
    "B08": 4000,
    "B11": 2000,
    "B12": 1000,
}
BY_HAND = {
    "NDVI": 0.34 / 0.46,
    "GNDVI": 0.32 / 0.48,
    "NDVI45": 0.06 / 0.18,
    "NDRE": 0.28 / 0.52,
    "EVI": 0.85 / 1.385,
    "EVI2": 0.85 / 1.544,
    "SAVI": 0.51 / 0.96,
    "OSAVI": 0.34 / 0.62,
    "MSAVI": (1.8 - 0.52**0.5) / 2,
    "MTCI": 0.13 / 0.06,
    "CIRE": 0.28 / 0.12,
    "NDWI": -0.32 / 0.48,
    "NDMI": 0.2 / 0.6,
    "NBR": 0.3 / 0.5,
    "PSRI": 0.01 / 0.25,
    "TCARIOSAVI": 3 * (0.06 - 0.2 * 0.04 * 2) / (1.16 * 0.34 / 0.62),
    "LAI_PROXY": 3.618 * 0.85 / 1.385 - 0.118,
}


def one_pixel(**reflectance: int) -> SeriesInMemory:
    return pixel_series(tuple(reflectance), [tuple(reflectance.values())], ["2018-05-01"], period="month")


def index_of(name: str, **reflectance: int) -> float:
    data, _ = whole(with_indices(one_pixel(**{**REFLECTANCE, **reflectance}), [name], include_reflectance=False))
    return float(data.item())


def computed(formulas: str, **reflectance: int) -> list[float]:
    data, _ = whole(with_indices(one_pixel(**reflectance), [], False, read_formulas([formulas])))
    return [float(value) for value in data.ravel()]


@pytest.mark.parametrize("name", SHORT_LIST)
def test_each_index_of_the_short_list_by_hand(name: str) -> None:
    assert index_of(name) == pytest.approx(BY_HAND[name], rel=1e-5)


def test_sums_with_constants_are_of_reflectance_and_not_of_digital_numbers() -> None:
    assert index_of("SAVI", B04=1000, B08=5000) == pytest.approx(1.5 * 0.4 / (0.6 + 0.5))
    assert index_of("EVI", B02=0, B04=1000, B08=5000) == pytest.approx(2.5 * 0.4 / (0.5 + 0.6 + 1))


def test_reflectance_comes_first_as_0_to_1_and_indices_after_it() -> None:
    series = with_indices(one_pixel(B04=600, B08=4000), ["NDVI"])
    data, valid = whole(series)
    assert (series.bands, series.dtype) == (("B04", "B08", "NDVI"), np.float32)
    assert data.ravel().tolist() == pytest.approx([0.06, 0.4, 0.34 / 0.46])
    assert valid.all()


def test_a_division_by_zero_is_no_value() -> None:
    assert np.isnan(index_of("NDVI", B04=0, B08=0))  # 0 / 0
    assert np.isnan(index_of("CIRE", B05=0))  # 4000 / 0
    assert np.isnan(index_of("MTCI", B04=1200))  # the difference of equal bands


def test_a_pixel_without_an_index_is_not_valid() -> None:
    data, valid = whole(with_indices(one_pixel(B04=0, B08=0), ["NDVI"]))
    assert data.ravel()[:2].tolist() == [0, 0]
    assert not valid.any()


def test_nodata_in_one_band_is_nodata_in_all() -> None:
    data, valid = whole(with_indices(one_pixel(B04=NODATA, B08=4000), ["NDVI"]))
    assert np.isnan(data).all()
    assert not valid.any()


@pytest.mark.parametrize("names", [["NDVI", "NDVI"], ["ndvi"], ["VARY"]])
def test_unknown_or_repeated_names_are_refused_with_those_there_are(names: list[str]) -> None:
    with pytest.raises(JobError, match=r"INDICES holds .*NDVI, GNDVI, NDVI45.* others of spyndex"):
        with_indices(one_pixel(**REFLECTANCE), names)


def test_no_index_and_no_reflectance_is_nothing() -> None:
    with pytest.raises(JobError, match="INDICES holds nothing"):
        with_indices(one_pixel(**REFLECTANCE), [], include_reflectance=False)


def test_an_index_whose_band_is_missing_says_which() -> None:
    with pytest.raises(MissingBandError, match=r"Missing band B11 .*NDMI needs B08, B11"):
        with_indices(one_pixel(B04=600, B08=4000), ["NDVI", "NDMI"])


@pytest.mark.parametrize(
    "series",
    [
        SeriesInMemory(np.ones((1, 1, 1, 1), np.float32), ("B04",), (date(2018, 1, 1),), "month"),
        pixel_series(("B04", "B08", "SCL"), [(1, 2, 4)], ["2018-05-04"]),
    ],
)
def test_indices_are_made_of_composites_only(series: SeriesInMemory) -> None:
    with pytest.raises(SeriesError, match="composites of reflectance"):
        with_indices(series, ["NDVI"])


def test_what_can_be_computed_on_the_way() -> None:
    wanted = ("NDMI", "NDVI", "B04", "NDRE", "VARI")
    assert computable_indices(one_pixel(B04=1, B05=2, B08=3), wanted) == ("NDVI", "NDRE")
    floats = SeriesInMemory(np.ones((1, 2, 1, 1), np.float32), ("B04", "B08"), (date(2018, 1, 1),), "month")
    assert computable_indices(floats, wanted) == ()


def test_channels_come_in_the_order_that_a_model_wants() -> None:
    data, _ = whole(as_channels(one_pixel(B04=600, B08=4000, B11=2000), ["NDMI", "B08", "NDVI"]))
    assert data.ravel().tolist() == pytest.approx([0.2 / 0.6, 0.4, 0.34 / 0.46])


def test_a_channel_that_is_not_there_is_named() -> None:
    with pytest.raises(MissingBandError, match="B12"):
        as_channels(one_pixel(B04=600, B08=4000), ["NDVI", "B12"])


class TestFormulas:
    def test_come_after_the_indices_by_their_names(self) -> None:
        formulas = read_formulas(["RATIO = B08 / B04; GREENNESS = 2 * G - R - B"])
        series = with_indices(one_pixel(**REFLECTANCE), ["NDVI"], False, formulas)
        data, _ = whole(series)
        assert series.bands == ("NDVI", "RATIO", "GREENNESS")
        assert data.ravel().tolist() == pytest.approx([0.34 / 0.46, 0.4 / 0.06, 0.05])

    def test_may_stand_on_lines_of_their_own(self) -> None:
        assert computed("one = 1\n\n two = B04 ;; three=3;\n", B04=600) == pytest.approx([1, 0.06, 3])

    def test_may_build_on_indices(self) -> None:
        values = computed("DRY = NDVI - NDMI", B04=600, B08=4000, B11=2000)
        assert values == pytest.approx([0.34 / 0.46 - 0.2 / 0.6])

    def test_need_the_bands_that_they_name(self) -> None:
        with pytest.raises(MissingBandError, match=r"Missing band B11 .*DRY needs B08, B11"):
            computed("DRY = NDMI", B04=600, B08=4000)

    def test_that_say_nothing_are_none(self) -> None:
        assert read_formulas(["", " ; \n"]) == ()

    @pytest.mark.parametrize(
        ("text", "mistake"),
        [
            ("B08 / B04", "'B08 / B04' is not of the form NAME = expression"),
            ("A = B = C", "is not of the form NAME = expression"),
            ("2X = B04", "is not of the form NAME = expression"),
            ("MY INDEX = B04", "is not of the form NAME = expression"),
            ("__x = B04", "is not of the form NAME = expression"),
            ("X" * 33 + " = B04", "at most 32 characters"),
            ("NDVI = B04", "The name NDVI of a formula is taken"),
            ("B04 = B08", "The name B04 of a formula is taken"),
            ("N = B08", "The name N of a formula is taken"),
            ("SCL = B08", "The name SCL of a formula is taken"),
            ("X = B04; X = B08", "The name X of a formula is taken"),
            ("X = ", "there is nothing to compute"),
            ("X = B10", "at character 1, 'B10': this name is unknown"),
            ("Y = B04; X = Y", "at character 1, 'Y': this name is unknown"),
            ("X = SCL", "'SCL': this name is unknown"),
        ],
    )
    def test_of_another_form_are_refused(self, text: str, mistake: str) -> None:
        with pytest.raises(JobError, match=mistake):
            read_formulas([text])

    def test_say_what_may_be_written(self) -> None:
        with pytest.raises(
            JobError, match=r"bands \(B01, .*B12\), their letters \(A, B, .*\) and indices such as NDVI"
        ):
            read_formulas(["X = B10"])


numbers = st.integers(-2000, 32767) | st.just(NODATA)


@given(st.lists(st.tuples(numbers, numbers, numbers), min_size=1, max_size=6))
def test_channels_of_a_float_series_are_the_very_numbers_computed_from_reflectance(
    rows: list[tuple[int, int, int]],
) -> None:
    series = pixel_series(("B04", "B08", "B11"), rows, [f"2018-{month + 1:02}-01" for month in range(len(rows))])
    written, _ = whole(with_indices(series, ["NDVI", "NDMI"]))
    stored = SeriesInMemory(written, ("B04", "B08", "B11", "NDVI", "NDMI"), series.dates, "month")
    wanted = ("NDMI", "B04", "NDVI")
    from_file, valid_in_file = whole(as_channels(stored, wanted))
    on_the_way, valid = whole(as_channels(series, wanted))
    np.testing.assert_array_equal(from_file, on_the_way)
    np.testing.assert_array_equal(valid_in_file, valid)
