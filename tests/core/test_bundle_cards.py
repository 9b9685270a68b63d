"""Cards of bundles say what was measured; a bundle takes the place of a better one only by force."""

from __future__ import annotations

import re
import shutil
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import scripts.train_bundles as driver
from cropmap_core.__main__ import main as command_line
from cropmap_core.inference.bundles import BUNDLED, load_bundle, read_json
from cropmap_core.learning.bundling import write_bundle
from cropmap_core.samples.files import SampleFile
from scripts.bundle_plans import cross_validation, jittered_tables, robustness
from scripts.bundle_plans.card_pictures import LARGEST_BYTES
from scripts.bundle_plans.cards import Evidence, finish
from scripts.bundle_plans.compare import compare
from scripts.bundle_plans.cross_validation import CrossValidated, make_final, tell
from scripts.bundle_plans.fold_bundles import FOLDS, folds_there, made_of, write_fold_bundles
from scripts.bundle_plans.publishing import objection, publish
from scripts.bundle_plans.robustness import Series
from scripts.bundle_plans.stories import STORIES
from scripts.package import plugin_files
from tests.core.tiny_models import save_tiny_bundle
from tests.core.tiny_plan import COUNT, PLAN, write_samples

STEP = driver.Step("tiny", "no_such_plan", ".")
ROOT = Path(driver.__file__).resolve().parent.parent
LARGEST_WEIGHTS_BYTES = 20_000_000


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a plan leaves in its work folder, and the card that is made of it."""
    folder = tmp_path_factory.mktemp("work") / PLAN.id
    folder.mkdir()
    write_samples(folder).rename(folder / "samples.h5")
    with pytest.MonkeyPatch.context() as patch, SampleFile(folder / "samples.h5") as file:
        patch.setattr(cross_validation, "XGBOOST_TREES", 5)
        found = CrossValidated(file, PLAN, folder)
        found.train([0])
        task = cross_validation.Task("all of it", np.arange(COUNT), (0, 1, 2), 2)
        tell(found, PLAN, {"all of it": (task, None)}, folder / "scores.json")
        write_fold_bundles(file, PLAN, found, [0], folder / FOLDS)
        made, judged = make_final(file, PLAN, found, [0])
        write_bundle(file, made, judged, folder / "bundle" / PLAN.id, PLAN.title)
        patch.setitem(STORIES, PLAN.id, STORIES["us-2021-pixel"])
        patch.setattr(driver, "_run", run_here)
        patch.setattr("cropmap_core.commands.evaluating.render", lambda evaluation: "not drawn here")
        driver.describe(STEP, folder, folder / "bundle" / PLAN.id)
    return folder


def run_here(module: str, *arguments: str | Path) -> None:
    """What the driver runs in processes of their own, without the seconds that they take to start."""
    main = {"cropmap_core": command_line, "scripts.bundle_plans.robustness": robustness.main}[module]
    assert not main([str(each) for each in arguments])


class TestCard:
    def test_holds_the_figures_of_the_evaluation(self, work: Path) -> None:
        card = (work / "bundle" / "tiny" / "README.md").read_text()
        model, trees = read_json(work / "evaluation.json")["models"]
        assert (model["id"], trees["id"]) == ("tiny", "tiny-xgboost")
        for each in (model, trees):
            row = next(line for line in card.splitlines() if line.startswith(f"| `{each['id']}`"))
            assert f"| {each['pixels']['macro']['f1']:.3f} (" in row
            assert f"| {each['calibration']['expected_calibration_error']:.3f} |" in row
        maize = model["pixels"]["classes"]["maize"]
        assert f"| maize * | 40 | {maize['precision']:.3f} | {maize['recall']:.3f} | {maize['f1']:.3f} |" in card
        assert "those of 3 fold models" in card

    def test_names_its_sources_and_the_command(self, work: Path) -> None:
        card = (work / "bundle" / "tiny" / "README.md").read_text()
        assert "USDA National Agricultural Statistics Service (NASS), Cropland Data Layer 2021" in card
        assert (
            "python -m cropmap_core evaluatemodel --models WORK/tiny/folds/tiny WORK/tiny/folds/tiny-xgboost --samples "
            "WORK/tiny/samples.h5 --set all --output-html WORK/tiny/evaluation.html"
        ) in card
        assert str(work.parent) not in card

    def test_says_what_training_has_cost(self, work: Path) -> None:
        card = (work / "bundle" / "tiny" / "README.md").read_text()
        assert re.search(r"\| this bundle \| 2 \| \d+\.\d\d \| \d+ \|", card)
        assert re.search(r"\| its fold models \| 6 \|", card)

    def test_shows_pictures_that_are_there_and_small(self, work: Path) -> None:
        folder = work / "bundle" / "tiny"
        shown = re.findall(r"!\[.+?\]\((.+?)\)", (folder / "README.md").read_text())
        assert sorted(shown) == sorted(path.name for path in folder.glob("*.png"))
        assert len(shown) == 3
        assert all((folder / name).stat().st_size <= LARGEST_BYTES for name in shown)

    def test_has_no_table_with_ragged_rows(self, work: Path) -> None:
        card = (work / "bundle" / "tiny" / "README.md").read_text()
        for block in re.findall(r"(?:^\|.*\n)+", card, re.M):
            assert len({line.count("|") for line in block.splitlines()}) == 1, block

    def test_item_json_says_the_same(self, work: Path) -> None:
        accuracy = read_json(work / "bundle" / "tiny" / "item.json")["properties"]["cropmap:accuracy"]
        model = read_json(work / "evaluation.json")["models"][0]
        assert accuracy["macro_f1"] == pytest.approx(model["pixels"]["macro"]["f1"], abs=1e-4)
        assert set(accuracy["beside"]) == {"tiny-xgboost"}
        assert accuracy["task"] == "120 samples of 3 classes"

    def test_is_not_measured_again_while_the_models_are_the_same(
        self, work: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def nothing(*arguments: Any) -> None:
            raise AssertionError(f"it runs {arguments}")

        monkeypatch.setattr(driver, "_run", nothing)
        monkeypatch.setitem(STORIES, PLAN.id, STORIES["us-2021-pixel"])
        driver.describe(STEP, work, work / "bundle" / "tiny")


class TestCardOfLandscapes:
    def test_tells_what_the_plan_has_told(self, work: Path, tmp_path: Path) -> None:
        shutil.copytree(work / "bundle" / "tiny", tmp_path / "tiny")
        levels = {
            "pixels": {"macro_f1": 0.8123, "oa": 0.9012, "count": 4000},
            "parcels": {"macro_f1": 0.8765, "oa": 0.9543, "count": 50},
        }
        scores = {
            "landscapes": {"tiny": {"all": levels}, "by pixel": {"all": levels}},
            "series": {"xgboost": {"all of it": {"macro_f1": 0.5, "oa": 0.6, "ece": 0.1, "samples": 7}}},
            "real": {"tiny": {"parcels": {"macro_f1": 0.7, "oa": 0.8, "right": 16, "count": 18}}},
            "held_out": [[0, 1], [2]],
        }
        finish(tmp_path / "tiny", STORIES["us-2021-hybrid-cnn"], Evidence(("python",), scores=scores))
        card = (tmp_path / "tiny" / "README.md").read_text()
        assert "| tiny | all | 0.812 / 0.901 | 0.876 / 0.954 |" in card
        assert "| tiny | 16 of 18 (0.700) |" in card
        assert "| all of it | xgboost | 0.500 | 0.600 | 0.100 | 7 |" in card
        accuracy = read_json(tmp_path / "tiny" / "item.json")["properties"]["cropmap:accuracy"]
        held_out = "(folds 0, 1; 2, each by a network of all others)"
        assert held_out in card
        assert (accuracy["macro_f1"], accuracy["task"]) == (0.8123, f"4000 pixels of made landscapes {held_out}")


class TestResuming:
    def test_knows_what_was_made_of_the_plan_as_it_is(self, work: Path) -> None:
        other = replace(PLAN, recipes=PLAN.recipes[:1])
        for folder in (work / "bundle" / "tiny", work / FOLDS / "tiny" / "tiny-fold1"):
            assert made_of(folder, PLAN, [0])
            assert not made_of(folder, PLAN, [0, 1])
            assert not made_of(folder, other, [0])
        assert folds_there(work / FOLDS, PLAN, (0, 1, 2), [0])
        assert not folds_there(work / FOLDS, PLAN, (0, 1, 2, 3), [0])


class TestPublishing:
    @pytest.fixture
    def new(self, tmp_path: Path) -> Path:
        return self.bundle(tmp_path / "work" / "maize", 0.80)

    def bundle(self, folder: Path, macro_f1: float, task: str = "9 samples", seed: int = 0) -> Path:
        told = {"method": "fold models", "task": task, "macro_f1": macro_f1, "overall_accuracy": 0.9}
        save_tiny_bundle(folder, "tempcnn", seed=seed, properties={"cropmap:accuracy": told})
        (folder / "season.png").write_bytes(str(macro_f1).encode())
        return folder

    def test_takes_a_free_place(self, new: Path, tmp_path: Path) -> None:
        assert publish(new, tmp_path / "out" / "maize") == ""
        assert (tmp_path / "out" / "maize" / "season.png").read_bytes() == b"0.8"
        assert [path.name for path in (tmp_path / "out").iterdir()] == ["maize"]
        assert load_bundle(new).id == load_bundle(tmp_path / "out" / "maize").id

    @pytest.mark.parametrize("macro_f1", [0.79, 0.80])
    def test_takes_the_place_of_one_that_is_no_better(self, new: Path, tmp_path: Path, macro_f1: float) -> None:
        there = self.bundle(tmp_path / "out" / "maize", macro_f1, seed=1)
        assert publish(new, there) == ""
        assert (there / "season.png").read_bytes() == b"0.8"
        assert (there / "weights.safetensors").read_bytes() == (new / "weights.safetensors").read_bytes()

    def test_leaves_a_better_one(self, new: Path, tmp_path: Path) -> None:
        there = self.bundle(tmp_path / "out" / "maize", 0.81)
        assert "is better: macro F1 0.8100 out of fold, the new bundle 0.8000 (9 samples)" in publish(new, there)
        assert (there / "season.png").read_bytes() == b"0.81"

    def test_takes_the_place_of_a_better_one_by_force(self, new: Path, tmp_path: Path) -> None:
        there = self.bundle(tmp_path / "out" / "maize", 0.81)
        assert publish(new, there, force=True) == ""
        assert (there / "season.png").read_bytes() == b"0.8"

    def test_leaves_one_that_was_judged_on_something_else(self, new: Path, tmp_path: Path) -> None:
        there = self.bundle(tmp_path / "out" / "maize", 0.5, task="8 samples")
        assert "nobody can tell which is better" in objection(new, there)
        save_tiny_bundle(there, "tempcnn")
        assert "was judged otherwise (not at all)" in publish(new, there)

    @pytest.mark.parametrize(("arguments", "taken"), [([], False), (["--force"], True)])
    def test_the_driver_fails_if_one_stays(
        self,
        new: Path,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
        arguments: list[str],
        taken: bool,
    ) -> None:
        there = self.bundle(tmp_path / "out" / "maize", 0.81)
        monkeypatch.setattr(driver, "STEPS", (driver.Step("maize", "no_such_plan", "."),))
        monkeypatch.setattr(driver, "make", lambda step, data, work: new)
        monkeypatch.delenv("FORCE", raising=False)
        monkeypatch.setattr("sys.argv", ["train_bundles", "--output", str(tmp_path / "out"), *arguments])
        assert driver.main() == (0 if taken else 1)
        assert (there / "season.png").read_bytes() == (b"0.8" if taken else b"0.81")
        told = capsys.readouterr()
        assert ("FORCE=1 takes it all the same" in told.err) is not taken
        assert ("is in its place" in told.out) is taken


class TestTables:
    def test_hold_the_samples_of_the_set(self, work: Path) -> None:
        with SampleFile(work / "samples.h5") as file:
            batch = file.read(np.arange(COUNT))
            table = jittered_tables.long_table(file, np.arange(COUNT), "first")
        assert len(table) == batch.valid.sum()
        first = table[table["sample_id"] == "here-0"]
        assert first["B08"].tolist() == batch.data[0, batch.valid[0, :, 0, 0], 1, 0, 0].tolist()
        assert set(table["date"].dt.strftime("%m-%d")) == {f"{month:02}-01" for month in range(3, 9)}

    def test_are_moved_and_shuffled_but_keep_their_values(self, work: Path) -> None:
        with SampleFile(work / "samples.h5") as file:
            table = jittered_tables.long_table(file, np.arange(COUNT), "middle")
        found = jittered_tables.jittered(table, 3, seed=0)
        assert not found.index.equals(table.index)
        back = found.sort_index()
        assert (back["B04"] == table["B04"]).all()
        off = (back["date"] - table["date"]).dt.days
        assert (off.min(), off.max()) == (-3, 3)

    def test_are_classified_as_samples_are_judged(self, work: Path, tmp_path: Path) -> None:
        """Dates in the middle of a month that move by three days stay in it."""
        with SampleFile(work / "samples.h5") as file:
            found = jittered_tables.judge(file, tmp_path, work / FOLDS / "tiny", days=3)
        expected = read_json(work / "evaluation.json")["models"][0]["pixels"]
        assert found["as_it_is"]["macro_f1"] == pytest.approx(expected["macro"]["f1"], abs=1e-5)
        assert found["jittered"] == found["as_it_is"]

    def test_that_lose_too_much_fail(self, work: Path, tmp_path: Path) -> None:
        asked = [str(work / "samples.h5"), str(tmp_path), str(work / FOLDS / "tiny")]
        assert jittered_tables.main([*asked, "--days", "3"]) == 0
        assert jittered_tables.main([*asked, "--days", "90"]) == 1


class TestAlterations:
    @pytest.fixture
    def series(self) -> Series:
        """A year of ten-day composites whose value is the number of the composite."""
        firsts = [date(2021, month, day) for month in range(1, 13) for day in (1, 11, 21)]
        data = np.broadcast_to(np.arange(36, dtype=np.int16).reshape(1, 36, 1, 1, 1), (50, 36, 5, 1, 1)).copy()
        bands = ("B02", "B03", "B04", "B08", "B8A")

        def dates_of(first: date) -> list[date]:
            return [first + (each - firsts[0]) for each in firsts]

        return Series(data, np.ones((50, 36, 1, 1), bool), bands, "dekad", firsts[0], dates_of)

    def test_composites_of_a_month_are_medians_of_its_three(self, series: Series) -> None:
        series.valid[0, :3] = [[[False]], [[True]], [[False]]]
        series.valid[1, 3:6] = False
        found = robustness.monthly(series, np.random.default_rng(0))
        assert (found.period, found.data.shape) == ("month", (50, 12, 5, 1, 1))
        assert found.data[2, :, 0, 0, 0].tolist() == list(range(1, 36, 3))
        assert found.data[0, 0, 0, 0, 0] == 1
        assert found.valid[1, :3, 0, 0].tolist() == [True, False, True]
        assert [day.day for day in found.dates_of(series.first)] == [1] * 12

    def test_jittered_dates_come_to_lie_beside_at_most(self, series: Series) -> None:
        found = robustness.jittered(series, np.random.default_rng(0))
        number = np.where(found.valid, found.data[:, :, 0], np.nan)[:, :, 0, 0]
        off = np.abs(number - np.arange(36))
        assert np.nanmax(off) <= 1
        assert 0.1 < np.mean(off[np.isfinite(off)] > 0) < 0.5
        assert 0.05 < 1 - found.valid.mean() < 0.35

    def test_some_observations_are_clouds_or_missing(self, series: Series) -> None:
        random = np.random.default_rng(0)
        clouds = robustness.cloudy(series, random)
        assert np.mean(clouds.data[:, :, 0] >= 3000) == pytest.approx(robustness.CLOUDY, abs=0.02)
        assert (clouds.data >= 3000).all(axis=2).sum() == (clouds.data >= 3000).any(axis=2).sum()
        assert robustness.sparse(series, random).valid.mean() == pytest.approx(0.5, abs=0.05)

    def test_bands_go(self, series: Series) -> None:
        random = np.random.default_rng(0)
        assert robustness.without("B8A")(series, random).bands == ("B02", "B03", "B04", "B08")
        assert robustness.of_ten_metres(series, random).data.shape[2] == 4

    def test_are_judged_by_models_that_have_not_seen_the_samples(self, work: Path) -> None:
        """As they are, samples are told as `evaluatemodel` judges them."""
        rows = read_json(work / "robustness.json")["rows"]
        models = read_json(work / "evaluation.json")["models"]
        assert rows[0]["name"] == "as they are"
        for model in models:
            assert rows[0][model["id"]]["macro_f1"] == pytest.approx(model["pixels"]["macro"]["f1"], abs=1e-5)
        assert {row["name"] for row in rows} == {
            "as they are",
            "dates off by up to 10 days",
            "half of the observations missing",
            "one observation in ten a cloud that no mask knows",
        }


class TestBundled:
    def test_docs_compare_them_as_their_items_say(self) -> None:
        assert compare(BUNDLED) in (ROOT / "docs" / "models.md").read_text(encoding="utf-8"), (
            "print the table with `python -m scripts.bundle_plans.compare` and put it into docs/models.md"
        )

    def test_every_plan_with_fold_models_has_a_story(self) -> None:
        assert {step.id for step in driver.STEPS if not step.id.startswith("flanders")} <= set(STORIES)

    def test_pictures_travel_with_the_plugin(self) -> None:
        there = {path for path in BUNDLED.rglob("*") if path.is_file()}
        packed = {ROOT / path for path in plugin_files()}
        assert there <= packed

    def test_weights_are_small_enough(self) -> None:
        assert sum(path.stat().st_size for path in BUNDLED.glob("*/weights.safetensors")) < LARGEST_WEIGHTS_BYTES
