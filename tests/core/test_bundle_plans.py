"""Plans of bundles: training sets of `.npz` files, cross-validation that leaks nothing and goes on, honest scores."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch

from cropmap_core.evaluation.evaluating import Asked, evaluate
from cropmap_core.evaluation.fold_models import load_models
from cropmap_core.inference.bundles import load_bundle
from cropmap_core.learning.bundling import write_bundle
from cropmap_core.learning.calibration import find_temperature
from cropmap_core.learning.recipes import Recipe
from cropmap_core.learning.scores import confusion_matrix
from cropmap_core.learning.seen import read_seen
from cropmap_core.learning.variation import Variation
from cropmap_core.samples.files import SampleFile
from scripts.bundle_plans import cross_validation, series
from scripts.bundle_plans.costs import read_costs
from scripts.bundle_plans.cross_validation import CrossValidated, Task, make_final, seeded
from scripts.bundle_plans.fold_bundles import write_fold_bundles
from scripts.bundle_plans.series import DETAILS, prepare_once
from tests.core.tiny_plan import COUNT, CROPS, PLAN, write_samples


@pytest.fixture(scope="module")
def samples(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_samples(tmp_path_factory.mktemp("set"))


def test_a_training_set_is_what_the_file_holds(samples: Path) -> None:
    with np.load(samples.parent / "here.npz") as file, SampleFile(samples) as written:
        batch = written.read(np.arange(COUNT))
        np.testing.assert_array_equal(batch.data[..., 0, 0], file["X"])
        np.testing.assert_array_equal(batch.valid[..., 0, 0], file["valid"])
        np.testing.assert_array_equal(batch.label[:, 0, 0], file["y"] + 1)
        np.testing.assert_array_equal(written.column("fold"), file["fold"])
        assert (written.layout.period, written.layout.days) == ("month", (0, 31, 61, 92, 122, 153))
        assert written.column(DETAILS)[:3].tolist() == list(CROPS)


@pytest.fixture(scope="module")
def trained(samples: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("work")
    with pytest.MonkeyPatch.context() as patch, SampleFile(samples) as file:
        patch.setattr(cross_validation, "XGBOOST_TREES", 5)
        CrossValidated(file, PLAN, folder).train([0])
    return folder


class TestCrossValidation:
    def test_goes_on_where_it_was(self, samples: Path, trained: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        def nothing(*arguments: Any) -> None:
            raise AssertionError("it trains again")

        monkeypatch.setattr(cross_validation, "fit_member", nothing)
        with SampleFile(samples) as file:
            found = CrossValidated(file, PLAN, trained)
            found.train([0])
            assert found.there() == (0,)
            with pytest.raises(AssertionError):
                found.train([1])

    def test_tells_crops_apart(self, samples: Path, trained: Path) -> None:
        with SampleFile(samples) as file:
            found = CrossValidated(file, PLAN, trained)
            task = Task("all", np.arange(COUNT), (0, 1, 2), 2)
            assert found.judge(found.ensemble(PLAN.recipes), task)["macro_f1"] > 0.9
            assert found.judge(found.of_trees(), task)["macro_f1"] > 0.9

    def test_calibrates_a_fold_by_the_others(self, samples: Path, trained: Path) -> None:
        with SampleFile(samples) as file:
            found = CrossValidated(file, PLAN, trained)
            logits = np.random.default_rng(0).normal(size=(COUNT, 3)).astype(np.float32)
            before = found.calibrated(logits)
            here = file.column("fold") == 1
            found.truth[here] = 0
            after = found.calibrated(logits)
        np.testing.assert_array_equal(before[here], after[here])
        assert not np.array_equal(before[~here], after[~here])

    def test_makes_a_bundle_of_all_folds(self, samples: Path, trained: Path, tmp_path: Path) -> None:
        with SampleFile(samples) as file:
            found = CrossValidated(file, PLAN, trained)
            made, judged = make_final(file, PLAN, found, [0])
            write_bundle(file, made, judged, tmp_path / "tiny", PLAN.title)
            expected = find_temperature(found.logits(PLAN.recipes[0]), found.truth)
        bundle = load_bundle(tmp_path / "tiny")
        assert bundle.architecture == "ensemble"
        assert bundle.hyper_parameters["adjustment"] == [0.0, 0.0, PLAN.others]
        assert len(made.training) == COUNT
        assert made.members[0].temperature == pytest.approx(expected)
        assert bundle.hyper_parameters["members"][0]["temperature"] == pytest.approx(expected)
        assert judged.pooled.confusion.sum() == COUNT

    def test_makes_others_likelier(self, samples: Path, trained: Path) -> None:
        with SampleFile(samples) as file:
            plain = CrossValidated(file, replace(PLAN, others=0.0), trained)
            found = CrossValidated(file, PLAN, trained)
            said = [np.full((2, 3), 1 / 3, np.float32)]
            odds = found.together(said) - plain.together(said)
            many = CrossValidated(file, replace(PLAN, others=20.0), trained)
            more, before = (each.ensemble(PLAN.recipes).argmax(axis=1) == 2 for each in (many, plain))
        np.testing.assert_allclose(odds, [[0, 0, PLAN.others]] * 2, atol=1e-6)
        assert more.all()
        assert not before.all()


@pytest.fixture(scope="module")
def fold_models(samples: Path, trained: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("folds")
    with SampleFile(samples) as file:
        return write_fold_bundles(file, PLAN, CrossValidated(file, PLAN, trained), [0], folder)


class TestFoldBundles:
    def test_have_seen_all_folds_but_one(self, samples: Path, fold_models: tuple[Path, Path]) -> None:
        with SampleFile(samples) as file:
            batch, fold = file.read(np.arange(COUNT)), file.column("fold")
        for folder in fold_models:
            for number in range(3):
                seen = read_seen(load_bundle(folder / f"{folder.name}-fold{number}"))
                assert seen is not None
                np.testing.assert_array_equal(seen.overlap(batch.data, batch.valid), fold != number)

    def test_are_judged_as_cross_validation_judges(
        self, samples: Path, trained: Path, fold_models: tuple[Path, Path]
    ) -> None:
        """Never observed samples aside, of which there are none."""
        device = torch.device("cpu")
        with SampleFile(samples) as file:
            found = CrossValidated(file, PLAN, trained)
            models = [load_models(folder) for folder in fold_models]
            judged = evaluate(file, models, device, Asked("all"), lambda fraction: None).models
            for one, logits in zip(judged, (found.ensemble(PLAN.recipes), found.of_trees()), strict=True):
                expected = confusion_matrix(found.truth, logits.argmax(axis=1), 3)
                np.testing.assert_array_equal(one.pixels.scores.confusion, expected)
                assert (one.exposure.recorded, one.exposure.seen) == (True, 0)
            assert [one.bundle.id for one in judged] == ["tiny", "tiny-xgboost"]

    def test_are_calibrated_without_the_fold(
        self, samples: Path, trained: Path, fold_models: tuple[Path, Path]
    ) -> None:
        """Whatever is true of the fold, its model is the same."""
        with SampleFile(samples) as file:
            found = CrossValidated(file, PLAN, trained)
            found.truth[found.held_out(1)] = 0
            (_, members), trees = found.temperatures(PLAN.recipes, without=1), found.temperature_of_trees(without=1)
            assert found.temperatures(PLAN.recipes, without=2)[1] != pytest.approx(
                load_bundle(fold_models[0] / "tiny-fold2").temperature
            )
        assert load_bundle(fold_models[0] / "tiny-fold1").temperature == pytest.approx(members)
        assert load_bundle(fold_models[1] / "tiny-xgboost-fold1").temperature == pytest.approx(trees)


def test_the_command_of_a_plan_goes_on_where_it_was(
    samples: Path, trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*arguments: Any) -> Any:
        raise AssertionError("it makes again what is there")

    def prepare(data: Path, path: Path) -> None:
        shutil.copy(samples, path)

    shutil.copytree(trained, tmp_path / "tiny")
    shutil.copy(samples, tmp_path / "tiny" / "samples.h5")
    plan, bundle = replace(PLAN, seeds=(0,)), tmp_path / "tiny" / "bundle" / "tiny"
    tasks = {"all": (Task("all", np.arange(COUNT), (0, 1, 2), 2), None)}
    monkeypatch.setattr("sys.argv", ["plan", str(tmp_path), str(tmp_path), "--bundle", str(bundle)])
    series.run(plan, prepare, lambda file: tasks)
    assert load_bundle(bundle).id == "tiny"
    assert len(load_models(tmp_path / "tiny" / "folds" / "tiny-xgboost").folds) == 3
    assert json.loads((tmp_path / "tiny" / "scores.json").read_text())["tasks"]["all"]["as bundled"]["oa"] > 0.9
    for name in ("write_fold_bundles", "make_final"):
        monkeypatch.setattr(series, name, never)
    series.run(plan, prepare, lambda file: tasks)
    monkeypatch.setattr("sys.argv", ["plan", str(tmp_path), str(tmp_path), "--bundle", str(bundle.with_name("new"))])
    with pytest.raises(AssertionError, match="makes again"):
        series.run(plan, prepare, lambda file: tasks)


class TestCosts:
    def test_are_written_down_for_every_training(self, trained: Path) -> None:
        found = {each.what: each for each in read_costs(trained)}
        assert len(found) >= 3 * 3
        assert found["tempcnn, seed 0, fold 2"].core_seconds > 0
        assert found["xgboost, fold 1"].seconds > 0

    def test_of_what_was_trained_twice_the_last_counts(self, tmp_path: Path) -> None:
        lines = [{"what": "ltae", "seconds": each, "core_seconds": each} for each in (5.0, 7200.0)]
        (tmp_path / "costs.jsonl").write_text("\n".join(map(json.dumps, lines)))
        (found,) = read_costs(tmp_path)
        assert found.watt_hours == pytest.approx(2 * 10)


class TestJudgement:
    def test_counts_classes_of_elsewhere_as_others(self, samples: Path, trained: Path) -> None:
        with SampleFile(samples) as file:
            found = CrossValidated(file, PLAN, trained)
        found.truth = np.array([0, 1, 2, 2])
        found._fold = np.zeros(4, np.int64)
        logits = np.log(np.array([[0.8, 0.1, 0.1], [0.1, 0.5, 0.4], [0.1, 0.8, 0.1], [0.6, 0.2, 0.2]]))
        found_here = found.judge(logits, Task("maize alone", np.arange(4), (0, 2), 2))
        assert found_here["oa"] == 0.75
        assert found_here["macro_f1"] == pytest.approx((2 / 3 + 4 / 5) / 2)
        confident = np.array([0.8, 0.9, 0.9, 0.6]) - np.array([1, 1, 1, 0])
        in_bins = abs(confident[0]) + abs(confident[1:3].sum()) + abs(confident[3])
        assert found_here["ece"] == pytest.approx(in_bins / 4)

    def test_without_others_to_be_taken_for_one_is_wrong(self, samples: Path, trained: Path) -> None:
        with SampleFile(samples) as file:
            found = CrossValidated(file, PLAN, trained)
        found.truth = np.array([0, 1, 2, 2])
        found._fold = np.zeros(4, np.int64)
        logits = np.log(np.array([[0.8, 0.1, 0.1], [0.8, 0.1, 0.1], [0.1, 0.1, 0.8], [0.1, 0.8, 0.1]]))
        judged = found.judge(logits, Task("two", np.arange(4), (0, 2)))
        assert judged["samples"] == 3
        assert judged["oa"] == pytest.approx(2 / 3)
        assert judged["macro_f1"] == pytest.approx((1 + 2 / 3) / 2)

    def test_of_some_folds_looks_at_no_other(self, samples: Path, trained: Path) -> None:
        with SampleFile(samples) as file:
            found = CrossValidated(file, PLAN, trained)
            judged = found.judge(found.of_trees(), Task("all", np.arange(COUNT), (0, 1, 2), 2), [0, 2])
            of_fold = np.bincount(file.column("fold"))
        assert judged["samples"] == of_fold[0] + of_fold[2] < COUNT


def test_a_recipe_is_known_by_what_is_unusual_in_it() -> None:
    usual = Recipe("ltae").as_json()
    asked = Recipe("ltae", {"width": 64}, variation=Variation(haze=0.3), seed=2).as_json()
    found = cross_validation._unlike(asked, usual)
    assert found == {"hyper_parameters": {"width": 64}, "variation": {"haze": 0.3}, "seed": 2}
    assert seeded(Recipe("ltae", seed=1), 2).seed == 3


def test_samples_that_have_changed_are_not_taken_for_those_that_were_trained_on(samples: Path, tmp_path: Path) -> None:
    path = tmp_path / "work" / "samples.h5"

    def prepare(data: Path, path: Path) -> None:
        shutil.copy(samples, path)

    def otherwise(data: Path, path: Path) -> None:
        shutil.copy(samples, path)
        with h5py.File(path, "r+") as file:
            label = file["label"][:]
            file["label"][...] = np.roll(label, 1, axis=0)

    prepare_once(prepare, tmp_path, path)
    there = path.stat().st_mtime_ns
    prepare_once(prepare, tmp_path, path)
    assert path.stat().st_mtime_ns == there
    with pytest.raises(ValueError, match="holds other samples than .* remove the folder"):
        prepare_once(otherwise, tmp_path, path)
    assert [each.name for each in path.parent.iterdir()] == ["samples.h5"]
