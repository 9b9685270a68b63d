"""Judging: an oracle says what is written in the samples, so that every number can be worked out by hand."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest

from cropmap_core.classes import CropClass
from cropmap_core.errors import CropMapError, IncompatibleModelError, JobError, SamplesError
from cropmap_core.evaluation import evaluating
from cropmap_core.evaluation.bootstrap import draw_scores, interval
from cropmap_core.evaluation.budgets import budget_dates
from cropmap_core.evaluation.caveats import warnings_of
from cropmap_core.evaluation.comparing import McNemar
from cropmap_core.evaluation.evaluating import Asked, evaluate
from cropmap_core.evaluation.results import Evaluation
from cropmap_core.evaluation.tallies import Tally, macro_f1, overall_accuracy
from cropmap_core.inference.bundle_types import Accepts
from cropmap_core.inference.bundles import Bundle
from cropmap_core.learning.scores import Scores, confusion_matrix
from cropmap_core.learning.seen import Seen, fingerprints, write_seen
from cropmap_core.samples.files import SampleFile
from tests.core.evaluation_cases import GRASS, MAIZE, POTATOES, Oracle, write_set
from tests.core.tiny_models import CLASSES, save_tiny_bundle


@pytest.fixture
def oracle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bundle:
    monkeypatch.setattr(evaluating, "Predictor", Oracle)
    return save_tiny_bundle(tmp_path / "oracle", "hybrid_cnn")


def judge(path: Path, *bundles: Bundle, **asked: Any) -> Evaluation:
    with SampleFile(path) as file:
        return evaluate(file, bundles, torch.device("cpu"), Asked(**asked), lambda fraction: None)


def refusal(path: Path, *bundles: Bundle, **asked: Any) -> CropMapError:
    with pytest.raises(CropMapError) as caught:
        judge(path, *bundles, **asked)
    return caught.value


class TestPixels:
    def test_are_counted_by_label_and_prediction(self, oracle: Bundle, tmp_path: Path) -> None:
        path = write_set(tmp_path / "s.h5", [MAIZE, MAIZE, GRASS, POTATOES], [MAIZE, GRASS, GRASS, POTATOES])
        scores = judge(path, oracle).models[0].pixels.scores
        assert scores.confusion.tolist() == [[1, 1, 0], [0, 1, 0], [0, 0, 1]]
        assert scores.overall_accuracy == 0.75

    def test_that_are_not_labelled_do_not_count(self, oracle: Bundle, tmp_path: Path) -> None:
        path = write_set(tmp_path / "s.h5", [MAIZE, 0, GRASS], [MAIZE, GRASS, GRASS])
        assert judge(path, oracle).models[0].pixels.count == 2

    def test_of_other_sets_do_not_count(self, oracle: Bundle, tmp_path: Path) -> None:
        label = [MAIZE, GRASS, MAIZE, GRASS, POTATOES]
        path = write_set(tmp_path / "s.h5", label, label, fold=[0, 0, 1, 1, 2])
        assert judge(path, oracle).support.tolist() == [1, 1, 0]
        assert judge(path, oracle, which="all").support.tolist() == [2, 2, 1]

    def test_never_observed_are_left_out_and_told(self, oracle: Bundle, tmp_path: Path) -> None:
        valid = np.ones((3, 5), bool)
        valid[2] = False
        path = write_set(tmp_path / "s.h5", [MAIZE, GRASS, GRASS], [MAIZE, GRASS, MAIZE], valid=valid)
        found = judge(path, oracle)
        assert (found.models[0].pixels.count, found.unobserved) == (2, 1)
        assert any("1 labelled pixels were never observed" in text for text in warnings_of(found))

    def test_of_patches_count_one_by_one(self, oracle: Bundle, tmp_path: Path) -> None:
        label = [[[MAIZE, 0], [GRASS, GRASS]], [[POTATOES, MAIZE], [0, 0]]]
        said = [[[MAIZE, MAIZE], [GRASS, MAIZE]], [[POTATOES, MAIZE], [GRASS, GRASS]]]
        found = judge(write_set(tmp_path / "s.h5", label, said), oracle)
        assert found.models[0].pixels.scores.confusion.tolist() == [[2, 0, 0], [1, 1, 0], [0, 0, 1]]

    def test_are_as_sure_as_calibration_says(self, oracle: Bundle, tmp_path: Path) -> None:
        path = write_set(tmp_path / "s.h5", [MAIZE, GRASS] * 2, [MAIZE] * 4, percent=80)
        found = judge(path, oracle).models[0].calibration
        assert found.expected_calibration_error == pytest.approx(0.3)

    def test_do_not_depend_on_how_many_are_read_at_once(
        self, oracle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        random = np.random.default_rng(0)
        values = [MAIZE, GRASS, POTATOES]
        path = write_set(
            tmp_path / "s.h5", random.choice(values, 50), random.choice(values, 50), parcel=random.integers(0, 9, 50)
        )
        whole = judge(path, oracle)
        monkeypatch.setattr("cropmap_core.evaluation.selection._LARGEST_BATCH", 7)
        monkeypatch.setattr("cropmap_core.evaluation.selection._LABELS_AT_ONCE", 3)
        pieces = judge(path, oracle)
        for one, other in (
            (whole.models[0].pixels, pieces.models[0].pixels),
            (whole.models[0].parcels, pieces.models[0].parcels),
        ):
            assert one is not None
            assert other is not None
            np.testing.assert_array_equal(one.scores.confusion, other.scores.confusion)
            assert one.macro_f1 == other.macro_f1


class TestParcels:
    def test_have_the_class_that_is_most_probable_on_average(self, oracle: Bundle, tmp_path: Path) -> None:
        """One pixel is 95 % sure of maize, two are 51 % sure of grass."""
        path = write_set(
            tmp_path / "s.h5",
            [MAIZE] * 3 + [GRASS],
            [MAIZE, GRASS, GRASS, GRASS],
            percent=[95, 51, 51, 90],
            parcel=[1, 1, 1, 2],
        )
        found = judge(path, oracle).models[0]
        assert found.pixels.scores.overall_accuracy == 0.5
        assert found.parcels is not None
        assert found.parcels.scores.confusion.tolist() == [[1, 0, 0], [0, 1, 0], [0, 0, 0]]

    def test_of_patches_are_told_apart_within_them(self, oracle: Bundle, tmp_path: Path) -> None:
        label = [[[MAIZE, MAIZE], [GRASS, GRASS]]]
        said = [[[MAIZE, MAIZE], [MAIZE, MAIZE]]]
        found = judge(write_set(tmp_path / "s.h5", label, said, parcel=[[[5, 5], [6, -1]]]), oracle, group="parcel")
        parcels = found.models[0].parcels
        assert parcels is not None
        assert parcels.scores.confusion.tolist() == [[1, 0, 0], [1, 0, 0], [0, 0, 0]]
        assert found.drawn_groups == 2 + 1  # the parcels, and what lies in none

    def test_are_no_level_of_samples_without_them(self, oracle: Bundle, tmp_path: Path) -> None:
        path = write_set(tmp_path / "s.h5", [MAIZE, GRASS], [MAIZE, GRASS])
        assert judge(path, oracle).models[0].parcels is None


class TestParts:
    def test_are_zones_where_there_are_several(self, oracle: Bundle, tmp_path: Path) -> None:
        path = write_set(
            tmp_path / "s.h5", [MAIZE, GRASS, MAIZE], [MAIZE, MAIZE, MAIZE], zone=["north", "north", "south"]
        )
        found = judge(path, oracle)
        assert [(part.name, part.names) for part in found.parts] == [("zone", ("north", "south"))]
        assert overall_accuracy(found.models[0].parts["zone"].counts).tolist() == [0.5, 1.0]

    def test_are_parcels_by_the_pixels_that_are_judged(self, oracle: Bundle, tmp_path: Path) -> None:
        label = [MAIZE] * 3 + [GRASS]
        found = judge(write_set(tmp_path / "s.h5", label, [MAIZE] * 4, parcel=[1, 1, 1, 2]), oracle)
        (part,) = found.parts
        size = dict(zip(part.names, found.models[0].parts[part.name].size, strict=True))
        assert {name: count for name, count in size.items() if count} == {"1": 1, "2 to 4": 3}

    def test_are_parcels_by_area_where_the_samples_know_it(self, oracle: Bundle, tmp_path: Path) -> None:
        columns = {"parcel_area_ha": ["0.3", "4.5", "unknown"]}
        path = write_set(tmp_path / "s.h5", [MAIZE, GRASS, GRASS], [MAIZE] * 3, parcel=[1, 2, 3], columns=columns)
        found = judge(path, oracle)
        (part,) = found.parts
        size = dict(zip(part.names, found.models[0].parts[part.name].size, strict=True))
        assert {name: count for name, count in size.items() if count} == {"below 0.5": 1, "2 to 5": 1}


class TestDates:
    def test_that_are_not_known_yet_are_masked(self, oracle: Bundle, tmp_path: Path) -> None:
        """The oracle says grass of everything up to the third date, and what is right from the fourth on."""
        label = np.array([MAIZE, GRASS, POTATOES, MAIZE])
        said = np.repeat(label[:, None], 5, axis=1)
        said[:, :3] = GRASS
        found = judge(write_set(tmp_path / "s.h5", label, said), oracle)
        assert found.budgets.dates == (1, 2, 3, 4, 5)
        assert overall_accuracy(found.models[0].budgets.counts).tolist() == [0.25, 0.25, 0.25, 1, 1]

    def test_without_any_observation_have_all_wrong(self, oracle: Bundle, tmp_path: Path) -> None:
        valid = np.tile([False, False, True, True, True], (2, 1))
        found = judge(write_set(tmp_path / "s.h5", [MAIZE, GRASS], [MAIZE, GRASS], valid=valid), oracle)
        assert overall_accuracy(found.models[0].budgets.counts).tolist() == [0, 0, 1, 1, 1]
        assert macro_f1(found.models[0].budgets.counts).tolist() == [0, 0, 1, 1, 1]

    def test_after_the_last_known_are_not_there_for_a_model_of_parts(
        self, oracle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """It is asked about whole seasons without `within`, and about cut ones with it."""
        asked = []

        class Listens(Oracle):
            def probabilities(self, *given: Any) -> np.ndarray:
                asked.append(given[4][0].tolist() if len(given) > 4 else None)
                return super().probabilities(*given[:4])

        monkeypatch.setattr(evaluating, "Predictor", Listens)
        path = write_set(tmp_path / "s.h5", [MAIZE, GRASS], [MAIZE, GRASS])
        judge(path, replace(oracle, accepts=Accepts(share=2 / 3)))
        assert asked == [None, *([date < known for date in range(5)] for known in range(1, 6))]

    def test_of_long_series_are_a_dozen(self) -> None:
        assert budget_dates(5) == [1, 2, 3, 4, 5]
        assert len(budget_dates(36)) == 12
        assert (budget_dates(36)[0], budget_dates(36)[-1]) == (1, 36)


class TestClasses:
    def test_that_the_model_does_not_know_are_errors(self, oracle: Bundle, tmp_path: Path) -> None:
        hemp = CropClass(9, "Hemp", "#123456")
        path = write_set(tmp_path / "s.h5", [MAIZE, GRASS, 9], [MAIZE, GRASS, MAIZE], classes=(*CLASSES, hemp))
        found = judge(path, oracle).models[0]
        assert found.unknown == ("Hemp",)
        assert found.pixels.scores.overall_accuracy == pytest.approx(2 / 3)
        assert found.pixels.scores.recall[3] == 0

    def test_that_the_set_lacks_are_listed(self, oracle: Bundle, tmp_path: Path) -> None:
        path = write_set(tmp_path / "s.h5", [MAIZE, GRASS], [MAIZE, POTATOES], classes=CLASSES[:2])
        found = judge(path, oracle)
        assert found.models[0].unasked == ("Potatoes",)
        assert found.names == ("Maize", "Grass", "Potatoes")
        assert found.models[0].pixels.scores.confusion.tolist() == [[1, 0, 0], [0, 0, 1], [0, 0, 0]]

    def test_are_the_same_by_name_and_not_by_value(self, oracle: Bundle, tmp_path: Path) -> None:
        """The set's 1 is grass, its 2 maize; the model says 4 and 3."""
        swapped = (CropClass(1, "grass", "#111111"), CropClass(2, "MAIZE ", "#222222"))
        path = write_set(tmp_path / "s.h5", [1, 2], [GRASS, MAIZE], classes=swapped)
        assert judge(path, oracle).models[0].pixels.scores.overall_accuracy == 1

    def test_of_which_the_model_knows_none_are_refused(self, oracle: Bundle, tmp_path: Path) -> None:
        others = (CropClass(MAIZE, "Rice", "#111111"), CropClass(GRASS, "Tea", "#222222"))
        error = refusal(write_set(tmp_path / "s.h5", [MAIZE, GRASS], [MAIZE, GRASS], classes=others), oracle)
        assert isinstance(error, IncompatibleModelError)
        assert "knows Maize, Grass, Potatoes; the set has Rice, Tea" in error.message

    def test_of_fewer_than_three_groups_are_marked(self, oracle: Bundle, tmp_path: Path) -> None:
        label = [MAIZE] * 3 + [GRASS] * 4
        found = judge(write_set(tmp_path / "s.h5", label, label, parcel=[1, 2, 3, 4, 4, 5, 5]), oracle)
        assert found.unsure.tolist() == [False, True, False]
        assert any("fewer than three parcels, hence not judged reliably: Grass" in text for text in warnings_of(found))


class TestGroups:
    @pytest.mark.parametrize(
        ("given", "expected"),
        [
            ({"parcel": [1, 1, 2]}, ("parcel", 2)),
            ({"parcel": [1, -1, 2], "lon": [3.0, 3.0, 4.0]}, ("cell", 2)),
            ({"zone": ["a", "b", "b"], "lon": [3.0, 4.0, 5.0]}, ("cell", 3)),
            ({"lon": np.nan}, ("sample", 3)),
        ],
    )
    def test_are_chosen_by_what_is_known(
        self, oracle: Bundle, tmp_path: Path, given: dict[str, Any], expected: tuple[str, int]
    ) -> None:
        found = judge(write_set(tmp_path / "s.h5", [MAIZE, GRASS, GRASS], [MAIZE] * 3, **given), oracle)
        assert (found.groups.name, found.drawn_groups) == expected

    def test_are_zones_where_there_are_ten(self, oracle: Bundle, tmp_path: Path) -> None:
        label = [MAIZE, GRASS] * 5
        found = judge(write_set(tmp_path / "s.h5", label, label, zone=[f"z{n}" for n in range(10)]), oracle)
        assert found.groups.name == "zone"

    @pytest.mark.parametrize(("group", "given"), [("parcel", {}), ("zone", {}), ("cell", {"lat": np.nan})])
    def test_that_are_not_known_are_refused(
        self, oracle: Bundle, tmp_path: Path, group: str, given: dict[str, Any]
    ) -> None:
        path = write_set(tmp_path / "s.h5", [MAIZE, GRASS], [MAIZE, GRASS], **given)
        assert isinstance(refusal(path, oracle, group=group), SamplesError)
        assert isinstance(refusal(path, oracle, group="farm"), JobError)


class TestIntervals:
    def tally(self, groups: list[list[tuple[int, int]]]) -> Tally:
        tally = Tally.empty(len(groups), 2)
        for part, pairs in enumerate(groups):
            truth, predicted = np.array(pairs).T
            tally.add(np.full(len(pairs), part), truth, predicted)
        return tally

    def test_are_those_of_drawing_whole_groups(self) -> None:
        """Against drawing the pixels of groups one draw at a time."""
        random = np.random.default_rng(1)
        groups = [list(zip(*random.integers(0, 2, (2, 5)).tolist(), strict=True)) for _ in range(6)]
        draws = draw_scores([self.tally(groups)], seed=4, draws=20)
        again = np.random.default_rng(4)
        for at in range(20):
            pixels = [pair for number in again.integers(0, 6, 6) for pair in groups[number]]
            truth, predicted = np.array(pixels).T
            scores = Scores(confusion_matrix(truth, predicted, 2))
            assert draws.overall_accuracy[0, at] == pytest.approx(scores.overall_accuracy)
            assert draws.macro_f1[0, at] == pytest.approx(scores.macro_f1)

    def test_are_wider_where_pixels_come_in_large_groups(self) -> None:
        """Forty pixels, a quarter of them wrong: as forty groups, and as four of which one is all wrong."""
        alone = self.tally([[(n % 2, n % 2 if n >= 10 else 1 - n % 2)] for n in range(40)])
        together = self.tally([[(n % 2, n % 2 if group else 1 - n % 2) for n in range(10)] for group in range(4)])
        low, high = (interval(draw_scores([each], 0).overall_accuracy[0]) for each in (alone, together))
        assert low is not None
        assert high is not None
        assert high[1] - high[0] > 2 * (low[1] - low[0])

    def test_leave_draws_without_a_class_out(self) -> None:
        tally = self.tally([[(0, 0)], [(0, 0)], [(1, 1)]])
        f1 = draw_scores([tally], 0, draws=200).f1[0, :, 1]
        assert np.isnan(f1).any()
        assert interval(f1) == (1, 1)

    def test_keep_the_f1_of_a_class_that_a_draw_lacks(self) -> None:
        """The second class, always wrong, would else raise the average of just those draws that lack it."""
        draws = draw_scores([self.tally([[(0, 0)], [(0, 0)], [(1, 0)]])], 0, draws=200)
        assert np.isnan(draws.f1[0, :, 1]).any()
        assert draws.macro_f1.max() == 0.5

    def test_cover_what_they_say(self) -> None:
        """Of 200 experiments with 60 groups, about 95 % hold the true accuracy, 0.8."""
        random = np.random.default_rng(0)
        held = 0
        for seed in range(200):
            right = random.random(60) < 0.8
            tally = self.tally([[(n % 2, n % 2 if is_right else 1 - n % 2)] for n, is_right in enumerate(right)])
            limits = interval(draw_scores([tally], seed, draws=300).overall_accuracy[0])
            assert limits is not None
            held += limits[0] <= 0.8 <= limits[1]
        assert 0.88 <= held / 200 <= 0.99

    def test_of_nothing_are_none(self) -> None:
        assert interval(np.array([np.nan])) is None


class TestMcNemar:
    @given(st.integers(0, 12), st.integers(0, 12))
    def test_is_exact_for_few_disagreements(self, first: int, second: int) -> None:
        test = McNemar(first, second)
        expected = binomtest(first, first + second, 0.5).pvalue if first + second else 1
        assert test.exact
        assert test.p_value == pytest.approx(expected)

    def test_of_many_is_corrected_for_continuity(self) -> None:
        """(|40 - 60| - 1)^2 / 100 = 3.61, of which chi-squared is exceeded in 5.74 %."""
        assert McNemar(40, 60).p_value == pytest.approx(0.0574, abs=1e-4)

    def test_of_alike_models_is_one(self) -> None:
        assert McNemar(30, 30).p_value == pytest.approx(1)


class TestSideBySide:
    def test_models_are_compared_on_the_same_pixels(
        self, oracle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The other says maize of everything."""

        class Stubborn(Oracle):
            def probabilities(self, data: np.ndarray, valid: np.ndarray, bands: Any, days: Any) -> np.ndarray:
                found = super().probabilities(data, valid, bands, days)
                return found if self.bundle.id == oracle.id else np.roll(np.sort(found, axis=1), 1, axis=1)

        monkeypatch.setattr(evaluating, "Predictor", Stubborn)
        label = [MAIZE, GRASS, GRASS, POTATOES, MAIZE, GRASS]
        said = [MAIZE, GRASS, GRASS, POTATOES, GRASS, GRASS]
        other = replace(oracle, id="stubborn")
        found = judge(write_set(tmp_path / "s.h5", label, said, parcel=range(6)), oracle, other)
        (comparison,) = found.comparisons
        assert (comparison.pixels.only_first, comparison.pixels.only_second) == (4, 1)
        assert comparison.parcels == comparison.pixels
        assert comparison.overall_accuracy.value == pytest.approx(2 / 6 - 5 / 6)
        assert comparison.macro_f1.value == pytest.approx(
            found.models[1].pixels.scores.macro_f1 - found.models[0].pixels.scores.macro_f1
        )

    def test_a_model_is_no_better_than_itself(self, oracle: Bundle, tmp_path: Path) -> None:
        path = write_set(tmp_path / "s.h5", [MAIZE, GRASS, GRASS], [MAIZE, GRASS, MAIZE])
        (comparison,) = judge(path, oracle, replace(oracle, id="again")).comparisons
        assert comparison.macro_f1.interval == (0, 0)
        assert comparison.macro_f1.better == 0.5
        assert comparison.pixels.p_value == 1


class TestSeenSamples:
    def remember(self, bundle: Bundle, path: Path, index: list[int], role: list[int]) -> None:
        with SampleFile(path) as file:
            batch = file.read(np.array(index))
            lonlat = np.stack([file.column("lon"), file.column("lat")], axis=1)[index].astype(np.float32)
            season = file.column("season")[index].astype(np.int32)
        marks = fingerprints(batch.data, batch.valid)
        order = np.argsort(marks)
        write_seen(Seen(marks[order], lonlat[order], np.array(role, np.uint8)[order], season[order]), bundle.folder)

    def test_are_refused_with_their_number(self, oracle: Bundle, tmp_path: Path) -> None:
        path = write_set(tmp_path / "s.h5", [MAIZE, GRASS, POTATOES], [MAIZE, GRASS, POTATOES])
        self.remember(oracle, path, [0, 2], [1, 2])
        error = refusal(path, oracle)
        assert error.code == "SeenSamplesError"
        assert f"{oracle.id} has seen 2 of the 3 samples of the set test of {path}" in error.message
        assert "learnt from 1, and 1 chose its best epoch" in error.message

    def test_are_judged_if_allowed_and_told(self, oracle: Bundle, tmp_path: Path) -> None:
        path = write_set(tmp_path / "s.h5", [MAIZE, GRASS, POTATOES], [MAIZE, GRASS, POTATOES])
        self.remember(oracle, path, [0, 2], [1, 2])
        found = judge(path, oracle, allow_seen=True)
        assert found.models[0].exposure.seen == 2
        assert "has seen 2 of the 3 samples" in warnings_of(found)[0]

    def test_are_known_by_their_values_whatever_the_file(self, oracle: Bundle, tmp_path: Path) -> None:
        path = write_set(tmp_path / "s.h5", [MAIZE, GRASS, POTATOES], [MAIZE, GRASS, POTATOES])
        self.remember(oracle, path, [1], [1])
        other = write_set(tmp_path / "other.h5", [MAIZE, GRASS], [MAIZE, GRASS], lon=9.0)
        assert "1 of the 2 samples" in refusal(other, oracle).message

    def test_never_observed_are_no_acquaintances(self, oracle: Bundle, tmp_path: Path) -> None:
        """All that were never observed look the same."""
        valid = np.ones((4, 5), bool)
        valid[2:] = False
        path = write_set(tmp_path / "s.h5", [MAIZE, GRASS, GRASS, GRASS], [MAIZE] * 4, valid=valid)
        self.remember(oracle, path, [3], [1])
        assert judge(path, oracle).models[0].exposure.seen == 0

    def test_least_distance_to_training_is_told(self, oracle: Bundle, tmp_path: Path) -> None:
        """A thousandth of a degree of latitude is 111 m, a tenth of that 11 m; the nearest one only steered."""
        path = write_set(
            tmp_path / "s.h5", [MAIZE, GRASS, MAIZE, MAIZE], [MAIZE] * 4, lat=[51, 51.5, 51.001, 51.0001],
            fold=[0, 0, 2, 1],
        )  # fmt: skip
        self.remember(oracle, path, [2, 3], [1, 2])
        assert judge(path, oracle).models[0].exposure.nearest_m == pytest.approx(111, abs=1)

    def test_without_a_record_nobody_knows(self, oracle: Bundle, tmp_path: Path) -> None:
        found = judge(write_set(tmp_path / "s.h5", [MAIZE, GRASS], [MAIZE, GRASS]), oracle)
        assert not found.models[0].exposure.recorded
        assert "does not say what the model has seen" in warnings_of(found)[0]


class TestRefusals:
    def test_of_an_empty_set_says_what_there_is(self, oracle: Bundle, tmp_path: Path) -> None:
        error = refusal(write_set(tmp_path / "s.h5", [MAIZE, GRASS], [MAIZE, GRASS], fold=2), oracle)
        assert isinstance(error, SamplesError)
        assert "no samples of the set test (train 2, validation 0, test 0)" in error.message

    def test_of_one_class_only(self, oracle: Bundle, tmp_path: Path) -> None:
        error = refusal(write_set(tmp_path / "s.h5", [MAIZE, MAIZE], [MAIZE, GRASS]), oracle)
        assert "all of one class, Maize" in error.message

    def test_of_samples_without_labels(self, oracle: Bundle, tmp_path: Path) -> None:
        assert "No sample of the set test" in refusal(write_set(tmp_path / "s.h5", [0, 0], [0, 0]), oracle).message

    def test_of_samples_that_were_never_observed(self, oracle: Bundle, tmp_path: Path) -> None:
        error = refusal(write_set(tmp_path / "s.h5", [MAIZE, GRASS], [MAIZE, GRASS], valid=False), oracle)
        assert "was ever observed" in error.message

    def test_of_other_bands_and_dates_say_the_difference(self, oracle: Bundle, tmp_path: Path) -> None:
        label = [MAIZE, GRASS]
        bands = write_set(tmp_path / "b.h5", label, label, bands=("B02", "B04", "B08"))
        assert "needs B11; the time series holds B02, B04, B08" in refusal(bands, oracle).message
        period = write_set(tmp_path / "p.h5", label, label, period="dekad")
        assert "takes one composite per month; the samples have one per dekad" in refusal(period, oracle).message
        later = replace(oracle, first_days=("05-01", "06-01", "07-01", "08-01", "09-01"))
        assert (
            "lacks 2018-09 and has besides 2018-04"
            in refusal(write_set(tmp_path / "l.h5", label, label), later).message
        )

    def test_of_a_set_that_is_none(self, oracle: Bundle, tmp_path: Path) -> None:
        assert isinstance(
            refusal(write_set(tmp_path / "s.h5", [MAIZE, GRASS], [MAIZE, GRASS]), oracle, which="tset"), JobError
        )


class TestWrongSamples:
    def test_are_listed_by_confidence(self, oracle: Bundle, tmp_path: Path) -> None:
        path = write_set(tmp_path / "s.h5", [MAIZE, GRASS, GRASS], [GRASS, GRASS, MAIZE], percent=[60, 90, 80])
        wrong = judge(path, oracle).models[0].wrong
        assert wrong[["sample_id", "label", "predicted"]].to_numpy().tolist() == [
            ["s2", "Grass", "Maize"],
            ["s0", "Maize", "Grass"],
        ]

    def test_of_patches_tell_their_most_frequent_error(self, oracle: Bundle, tmp_path: Path) -> None:
        label = [[[MAIZE, MAIZE], [GRASS, 0]], [[GRASS, GRASS], [GRASS, GRASS]]]
        said = [[[GRASS, GRASS], [POTATOES, GRASS]], [[GRASS, GRASS], [GRASS, GRASS]]]
        (row,) = judge(write_set(tmp_path / "s.h5", label, said), oracle).models[0].wrong.to_dict("records")
        assert (row["sample_id"], row["label"], row["predicted"]) == ("s0", "Maize", "Grass")
        assert (row["pixels"], row["wrong"]) == (3, 3)


def test_other_warnings_are_said(oracle: Bundle, tmp_path: Path) -> None:
    split = {"method": "random", "roles": {"test": [0], "validation": [1], "train": [2]}, "random": True}
    path = write_set(tmp_path / "s.h5", [MAIZE, GRASS] * 2, [MAIZE, GRASS] * 2, split=split, fold=[0, 0, 1, 1])
    assert any("The split is random" in text for text in warnings_of(judge(path, oracle)))
    assert any("choose the epoch" in text for text in warnings_of(judge(path, oracle, which="validation")))
    assert any("holds the training samples" in text for text in warnings_of(judge(path, oracle, which="all")))
    assert any("rough guess" in text for text in warnings_of(judge(path, oracle)))
