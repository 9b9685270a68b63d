"""Splits: groups stay whole, folds are alike, and what leaks is told."""

from __future__ import annotations

from pathlib import Path

import geopandas
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from shapely.geometry import box

from cropmap_core.errors import JobError, SamplesError
from cropmap_core.samples.leakage import find_leakage
from cropmap_core.samples.places import block_numbers, mgrs_tiles, nearest_m, on_sphere, zones_of
from cropmap_core.samples.splits import SplitAsked, split_samples
from tests.core.sample_tables import located

NAMES = {1: "Maize", 2: "Wheat"}
KM = 1000
ROLES = {"train": [2], "validation": [1], "test": [0]}


class TestPlaces:
    def test_distance_along_a_meridian(self) -> None:
        """A thousandth of a degree of latitude is 111.2 m."""
        one, other = (on_sphere(np.array([3.0]), np.array([lat])) for lat in (51.0, 51.001))
        assert nearest_m(one, other) == pytest.approx([111.2], abs=0.1)

    def test_nothing_is_near_to_nothing(self) -> None:
        assert nearest_m(on_sphere(np.array([3.0]), np.array([51.0])), np.empty((0, 3))) == [np.inf]

    @pytest.mark.parametrize(
        ("lon", "lat", "tile"),
        [
            (3.6, 50.9, "31UES"),  # 3.6 E is 542 km east in zone 31
            (2.0, 51.0, "31UDS"),
            (5.35, 60.4, "32VKN"),  # Bergen, in the widened zone
            (-91.0, 34.5, "15SXU"),
            (149.1, -35.3, "55HFA"),  # Canberra
            (np.nan, 51.0, ""),
        ],
    )
    def test_mgrs_tile(self, lon: float, lat: float, tile: str) -> None:
        assert mgrs_tiles(np.array([lon]), np.array([lat])).tolist() == [tile]

    def test_blocks_are_as_large_as_asked(self) -> None:
        """Along 51 degrees north, 0.1 degrees of longitude are 7 km: seven or eight blocks of 1 km."""
        lon = np.linspace(3, 3.1, 1000)
        assert len(np.unique(block_numbers(lon, np.full(1000, 51.0), 1000))) in (7, 8)

    def test_no_block_without_coordinates(self) -> None:
        assert block_numbers(np.array([np.nan]), np.array([51.0]), 1000).tolist() == [-1]

    def test_zones_by_name(self, tmp_path: Path) -> None:
        zones = geopandas.GeoDataFrame({"name": ["west"], "geometry": [box(2, 50, 3, 52)]}, crs=4326)
        zones.to_crs(32631).to_file(tmp_path / "zones.gpkg")
        found = zones_of(tmp_path / "zones.gpkg", "name", np.array([2.5, 4.0, np.nan]), np.array([51.0, 51.0, 51.0]))
        assert found.tolist() == ["west", "", ""]
        with pytest.raises(SamplesError, match="no field NAME"):
            zones_of(tmp_path / "zones.gpkg", "NAME", np.array([2.5]), np.array([51.0]))


class TestGroups:
    def test_blocks_stay_whole(self) -> None:
        samples = located([1, 2] * 20, np.repeat(np.arange(10), 4) * 10 * KM)
        split = split_samples(samples, NAMES, SplitAsked("blocks", folds=5))
        assert [len(set(split.fold[start : start + 4])) for start in range(0, 40, 4)] == [1] * 10
        assert np.bincount(split.fold).tolist() == [8] * 5

    def test_a_parcel_across_blocks_goes_to_one_of_them(self) -> None:
        north = [0, 100, 200, 20 * KM, 40 * KM, 60 * KM]
        samples = located([1, 1, 1, 1, 1, 2], north, parcel=[7, 7, -1, 7, 8, 9])
        fold = split_samples(samples, NAMES, SplitAsked("blocks", folds=3)).fold
        assert fold[0] == fold[1] == fold[3]

    def test_parcels_stay_whole(self) -> None:
        samples = located([1] * 12, np.arange(12) * 10, parcel=[0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5])
        split = split_samples(samples, NAMES, SplitAsked("parcel", folds=3))
        assert (split.fold[::2] == split.fold[1::2]).all()
        assert split.description["leakage"]["shared_parcels"] == 0

    @pytest.mark.parametrize("method", ["zone", "tile", "year", "column"])
    def test_other_groups_stay_whole(self, method: str) -> None:
        names = np.repeat(["a", "b", "c"], 4)
        given = {"zone": names, "tile": names, "year": np.repeat([2019, 2020, 2021], 4), "group": names}
        samples = located([1, 2] * 6, np.arange(12) * KM, **given)
        fold = split_samples(samples, NAMES, SplitAsked(method, folds=3, column="group")).fold
        assert [len(set(fold[start : start + 4])) for start in (0, 4, 8)] == [1, 1, 1]
        assert len(set(fold)) == 3

    def test_a_class_of_few_parcels_is_learnt_first_then_judged(self) -> None:
        """Wheat has three parcels, which cannot be in all five folds; rye has one."""
        label = [1] * 10 + [2] * 3 + [3]
        samples = located(label, np.arange(14) * KM, parcel=list(range(14)))
        split = split_samples(samples, {**NAMES, 3: "Rye"}, SplitAsked("parcel", folds=5))
        assert split.description["left_out_classes"] == {"train": [], "validation": ["Rye"], "test": ["Rye"]}

    def test_folds_that_a_column_states_are_taken(self) -> None:
        samples = located([1, 2, 1, 2], np.arange(4) * KM, group=["3", "0", "", "4"])
        split = split_samples(
            samples, NAMES, SplitAsked("column", column="group", test_folds=(3,), validation_folds=(0,))
        )
        assert split.fold.tolist() == [3, 0, -1, 4]
        assert split.description["roles"] == {"train": [4], "validation": [0], "test": [3]}
        assert "1 labelled samples belong to no group" in " ".join(split.warnings)

    def test_sets_that_a_column_states_are_taken(self) -> None:
        samples = located([1, 2, 1], np.arange(3) * KM, group=["train", "test", "validation"])
        split = split_samples(samples, NAMES, SplitAsked("column", column="group"))
        assert split.fold.tolist() == [2, 0, 1]
        assert split.description["roles"] == {"train": [2], "validation": [1], "test": [0]}

    def test_what_has_no_label_is_in_no_fold(self) -> None:
        samples = located([1, 0, 1, 1], np.arange(4) * 10 * KM)
        assert split_samples(samples, NAMES, SplitAsked("blocks", folds=3)).fold[1] == -1

    @given(st.lists(st.integers(0, 11), min_size=60, max_size=120), st.integers(0, 3))
    def test_classes_are_spread_over_folds_and_groups_are_whole(self, groups: list[int], seed: int) -> None:
        groups = [*range(12), *groups]
        samples = located([1 + group % 2 for group in groups], np.asarray(groups) * 10 * KM)
        asked = SplitAsked("blocks", folds=3, seed=seed)
        fold = split_samples(samples, NAMES, asked).fold
        for group in range(12):
            assert len({int(fold[place]) for place, own in enumerate(groups) if own == group}) == 1
        for value in (1, 2):  # six groups of each class in three folds: none is without
            assert len(set(fold[samples.label == value])) == 3
        assert (split_samples(samples, NAMES, asked).fold == fold).all()


class TestLeaks:
    def test_a_parcel_in_two_folds_is_found(self) -> None:
        parcels = np.asarray([(0, 5), (1, 5), (2, 6)])
        fold = np.asarray([0, 2, 1], np.int8)
        found = find_leakage(np.full(3, 3.0), np.asarray([50.0, 51.0, 52.0]), parcels, fold, ROLES)
        assert found.shared_parcels == 1
        assert found.warnings() == ["1 parcels have pixels in more than one set: choose SPLIT=parcel."]

    def test_a_parcel_twice_in_one_set_is_no_leak(self) -> None:
        parcels = np.asarray([(0, 5), (1, 5)])
        found = find_leakage(np.full(2, 3.0), np.asarray([50.0, 51.0]), parcels, np.zeros(2, np.int8), ROLES)
        assert (found.shared_parcels, found.warnings()) == (0, [])

    def test_samples_20_m_apart_in_train_and_test_are_found(self) -> None:
        samples = located([1, 2, 1, 2], [0, 20, 5 * KM, 9 * KM], group=["train", "test", "validation", "train"])
        split = split_samples(samples, NAMES, SplitAsked("column", column="group"))
        leakage = split.description["leakage"]
        assert leakage["min_distance_m"]["train-test"] == pytest.approx(20, abs=0.1)
        assert leakage["near_samples"] == {"train-validation": 0, "train-test": 1, "validation-test": 0}
        assert "train and test are 20 m apart" in " ".join(split.warnings)

    def test_a_buffer_takes_them_out_of_both(self) -> None:
        group = ["train", "test", "validation", "train", "test"]
        samples = located([1, 2, 1, 2, 2], [0, 20, 5 * KM, 9 * KM, 15 * KM], group=group)
        split = split_samples(samples, NAMES, SplitAsked("column", column="group", buffer_m=50))
        assert split.fold.tolist() == [-1, -1, 1, 2, 0]
        assert split.description["unused"] == {"outside_of_groups": 0, "within_the_buffer": 2}
        assert split.description["leakage"]["min_distance_m"]["train-test"] > 50

    def test_a_class_that_a_set_lacks_is_listed(self) -> None:
        samples = located([1, 2, 1, 1, 2], np.arange(5) * KM, group=["0", "1", "2", "1", "1"])
        split = split_samples(samples, NAMES, SplitAsked("column", column="group"))
        assert split.description["left_out_classes"] == {"train": ["Wheat"], "validation": [], "test": ["Wheat"]}
        assert split.description["left_out_classes_by_fold"] == {"0": ["Wheat"], "2": ["Wheat"]}
        assert "No sample of Wheat for train." in split.warnings


class TestRandomSplit:
    def test_has_to_be_confirmed(self) -> None:
        with pytest.raises(JobError, match="neighbouring samples"):
            SplitAsked("random")

    def test_is_marked(self) -> None:
        asked = SplitAsked("random", confirm_random=True)
        split = split_samples(located([1, 2] * 10, np.arange(20)), NAMES, asked)
        assert split.description["random"] is True
        assert any("The split is random" in text for text in split.warnings)
        assert np.bincount(split.fold).tolist() == [4] * 5

    def test_no_other_is_marked(self) -> None:
        samples = located([1] * 10, np.arange(10) * 10 * KM)
        assert split_samples(samples, NAMES, SplitAsked("blocks")).description["random"] is False


@pytest.mark.parametrize(
    ("asked", "complaint"),
    [
        (SplitAsked("blocks"), "makes 2 groups"),
        (SplitAsked("parcel"), "know no parcels"),
        (SplitAsked("zone"), "No sample has a zone"),
        (SplitAsked("column", column="region"), "no column 'region'"),
        (SplitAsked("year", folds=2), "makes 1 groups"),
        (SplitAsked("blocks", folds=2, test_folds=(4,)), "No sample is left for test: folds \\[4\\]"),
    ],
)
def test_splits_that_cannot_be(asked: SplitAsked, complaint: str) -> None:
    with pytest.raises(SamplesError, match=complaint):
        split_samples(located([1, 2, 1], [0, 1, 20 * KM]), NAMES, asked)
