"""What is clear: drawings in which # is cloud, . vegetation, s snow and a blank unknown, or a mask of one's own."""

from __future__ import annotations

from datetime import date

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from numpy.typing import NDArray

from cropmap_core.errors import JobError, MissingBandError
from cropmap_core.io.grid import Window
from cropmap_core.scenes.scl import DEFAULT_KEEP_CLASSES
from cropmap_core.timeseries.masks import ClearSky
from cropmap_core.timeseries.series import NODATA
from tests.core.series_in_memory import SeriesInMemory

SCL_OF = {"#": 9, "%": 3, ".": 4, "s": 11, " ": 0}
KEEP = DEFAULT_KEEP_CLASSES


def drawn(*lines: str) -> NDArray[np.int16]:
    return np.array([[SCL_OF[sign] for sign in line] for line in lines], dtype=np.int16)


def series_of(scl: NDArray[np.int16], own: NDArray[np.int16] | None = None) -> SeriesInMemory:
    """One date of pixels of 10 m."""
    reflectance = np.where(scl == 0, NODATA, 100).astype(np.int16)
    bands = {"B04": reflectance, **({"CLM": own} if own is not None else {}), "SCL": scl}
    return SeriesInMemory(np.stack(list(bands.values()))[None], tuple(bands), (date(2018, 5, 1),))


def clear(series: SeriesInMemory, rule: ClearSky, window: Window | None = None) -> NDArray[np.bool_]:
    return rule.read(series, window or series.grid.window())[1][0]


def seen(rule: ClearSky, *lines: str) -> list[str]:
    """The drawing with x where pixels are not clear."""
    return ["".join(".x"[not each] for each in row) for row in clear(series_of(drawn(*lines)), rule)]


def test_without_care_the_classes_decide() -> None:
    assert seen(ClearSky(KEEP), "#.%", "s. ") == ["x.x", "x.x"]


class TestDilation:
    def test_reaches_as_far_as_a_disc_between_centres(self) -> None:
        assert seen(ClearSky(KEEP, dilate_cloud_m=20), ".....", ".....", "..#..", ".....", ".....") == [
            "..x..",
            ".xxx.",
            "xxxxx",
            ".xxx.",
            "..x..",
        ]

    def test_a_diagonal_neighbour_is_further_than_one_pixel(self) -> None:
        assert seen(ClearSky(KEEP, dilate_cloud_m=10), "...", ".#.", "...") == [".x.", "xxx", ".x."]
        assert seen(ClearSky(KEEP, dilate_cloud_m=15), "...", ".#.", "...") == ["xxx", "xxx", "xxx"]

    def test_less_than_a_pixel_is_nothing(self) -> None:
        assert seen(ClearSky(KEEP, dilate_cloud_m=9), ".#.") == [".x."]

    def test_is_of_shadow_too_but_not_of_snow_nor_of_what_is_unknown(self) -> None:
        assert seen(ClearSky(KEEP, dilate_cloud_m=10), "..%....s... ..") == [".xxx...x...x.."]

    def test_is_not_of_a_cloud_class_that_is_kept(self) -> None:
        assert seen(ClearSky((*KEEP, "cloud_high"), dilate_cloud_m=10), "..#..%.") == ["....xxx"]


class TestSpecks:
    def test_of_cloud_are_clear(self) -> None:
        lines = (".....", ".#...", "...##", "...##", ".....")
        assert seen(ClearSky(KEEP, speck_m=20), *lines) == [".....", ".....", "...xx", "...xx", "....."]

    def test_of_clear_sky_are_cloud(self) -> None:
        assert seen(ClearSky(KEEP, speck_m=20), "####", "#.##", "####") == ["xxxx"] * 3

    def test_are_those_into_which_no_square_fits(self) -> None:
        lines = ("......", ".####.", "......")
        assert seen(ClearSky(KEEP, speck_m=10), *lines) == ["......", ".xxxx.", "......"]
        assert seen(ClearSky(KEEP, speck_m=11), *lines) == ["......"] * 3

    def test_are_not_at_the_edge_of_what_is_known(self) -> None:
        """A cloud may go on beyond it."""
        assert seen(ClearSky(KEEP, speck_m=30), "#.....", ".... #", "......")[0][0] == "x"
        assert seen(ClearSky(KEEP, speck_m=20), "......", ".  ...", ".# ...", "......")[2] == ".xx..."

    def test_of_cloud_leave_no_dilation_behind(self) -> None:
        assert seen(ClearSky(KEEP, dilate_cloud_m=10, speck_m=20), ".....", "..#..", ".....") == ["....."] * 3

    def test_do_not_make_snow_clear(self) -> None:
        assert seen(ClearSky(KEEP, speck_m=20), "....", ".s..", "....")[1] == ".x.."


class TestOwnMask:
    def test_masks_where_it_is_not_nought(self) -> None:
        own = np.array([[0, 1, -1, 0]], dtype=np.int16)
        assert clear(series_of(drawn("...#"), own), ClearSky(KEEP, mask_band="CLM")).tolist() == [
            [True, False, False, False]
        ]

    def test_needs_no_scl(self) -> None:
        values = np.array([[[[100, 100, NODATA]], [[0, 1, 0]]]], dtype=np.int16)
        series = SeriesInMemory(values, ("B04", "CLM"), (date(2018, 5, 1),))
        rule = ClearSky(KEEP, mask_band="CLM")
        rule.check(series)
        assert clear(series, rule).tolist() == [[True, False, False]]
        assert rule.bands_of(series) == ("B04",)

    def test_is_dilated_as_clouds_are(self) -> None:
        own = np.array([[0, 0, 1, 0, 0]], dtype=np.int16)
        rule = ClearSky(KEEP, dilate_cloud_m=10, mask_band="CLM")
        assert clear(series_of(drawn("....."), own), rule).tolist() == [[True, False, False, False, True]]

    def test_leaves_the_class_its_say_where_a_speck_of_it_is_removed(self) -> None:
        own = np.zeros((3, 4), dtype=np.int16)
        own[1, 1:3] = 1
        rule = ClearSky(KEEP, speck_m=20, mask_band="CLM")
        assert clear(series_of(drawn("....", ".s..", "...."), own), rule)[1].tolist() == [True, False, True, True]


class TestRefusals:
    def test_a_band_that_is_not_there(self) -> None:
        with pytest.raises(MissingBandError, match="CLM"):
            ClearSky(KEEP, mask_band="CLM").check(series_of(drawn("..")))

    def test_a_series_of_masks_alone(self) -> None:
        with pytest.raises(MissingBandError, match="nothing but masks"):
            ClearSky(KEEP, mask_band="B04").check(series_of(drawn("..")))

    @pytest.mark.parametrize("rule", [ClearSky(KEEP, dilate_cloud_m=-1), ClearSky(KEEP, speck_m=2501)])
    def test_a_distance_below_nought_or_beyond_all_sense(self, rule: ClearSky) -> None:
        with pytest.raises(JobError, match="0 to 2500 metres"):
            rule.check(series_of(drawn("..")))


skies = st.tuples(st.integers(1, 12), st.integers(1, 12)).flatmap(
    lambda shape: arrays.arrays(np.int16, shape, elements=st.sampled_from([0, 3, 4, 4, 4, 9, 11]))
)
rules = st.builds(ClearSky, st.just(KEEP), st.integers(0, 45), st.integers(0, 35))


def reference(scl: NDArray[np.int16], rule: ClearSky) -> NDArray[np.bool_]:
    """Every square and every disc, one by one, in plain words."""
    height, width = scl.shape
    side = max(1, -(-rule.speck_m // 10))
    places = [(row, col) for row in range(height) for col in range(width)]

    def without_specks(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
        kept = np.zeros_like(mask)
        for row in range(1 - side, height):
            for col in range(1 - side, width):
                square = np.s_[max(0, row) : row + side, max(0, col) : col + side]
                if (mask | (scl == 0))[square].all():
                    kept[square] = True
        return kept & mask

    cloud = ~without_specks(~without_specks(np.isin(scl, (3, 9))))
    clouds = [place for place in places if cloud[place]]
    out = np.isin(scl, (3, 4, 9))
    for row, col in places:
        if any((row - r) ** 2 + (col - c) ** 2 <= (rule.dilate_cloud_m / 10) ** 2 for r, c in clouds):
            out[row, col] = False
    return out


@given(skies, rules)
def test_care_equals_the_reference(scl: NDArray[np.int16], rule: ClearSky) -> None:
    np.testing.assert_array_equal(clear(series_of(scl), rule), reference(scl, rule))


@given(skies, rules, st.integers(1, 5))
def test_care_does_not_depend_on_the_size_of_blocks(scl: NDArray[np.int16], rule: ClearSky, size: int) -> None:
    series = series_of(scl)
    whole = clear(series, rule)
    for window in series.grid.blocks(size):
        rows, cols = window.slices_within(series.grid.window())
        np.testing.assert_array_equal(clear(series, rule, window), whole[rows, cols])
