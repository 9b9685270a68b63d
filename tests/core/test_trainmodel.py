"""Training: from samples to a bundle that maps at once, the same after a kill, and honest about what it has seen."""

from __future__ import annotations

import itertools
import json
import re
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas
import pytest
import torch

from cropmap_core.classes import CropClass
from cropmap_core.errors import JobError
from cropmap_core.inference.bundles import Bundle, load_bundle
from cropmap_core.inference.predictor import Predictor
from cropmap_core.learning import bundling, feeding, growing
from cropmap_core.learning.feeding import Feed
from cropmap_core.learning.fitting import Fitting, computes_in_half
from cropmap_core.learning.recipes import read_settings
from cropmap_core.learning.seen import STEERED, TRAINED, fingerprints, read_seen
from cropmap_core.learning.variation import NO_VARIATION
from cropmap_core.samples.files import Layout, SampleFile
from cropmap_core.samples.writer import Samples, create_sample_file
from tests.core.sample_tables import long_table, write_table
from tests.core.seam import Outcome, job_document, run_here, run_in_worker, run_unchecked, worker

QUICK = {"epochs": 5, "hyper_parameters": ["hidden=8,8,8; dense=16"], "learning_rate": 0.01, "device": "cpu"}


def build(folder: Path, rows: Any, **parameters: Any) -> Path:
    """A training set of blocks of 3 km, its last fold for validation, its first for the test."""
    table = write_table(folder, rows)
    asked = {"block_m": 3000, "folds": 3, **parameters}
    assert run_here("buildtrainingset", table=table, output=folder / "set.h5", **asked).status == 0
    return folder / "set.h5"


@pytest.fixture(scope="module")
def samples(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """120 samples of two crops, monthly from March to August."""
    return build(tmp_path_factory.mktemp("set"), long_table(count=120))


@pytest.fixture(scope="module")
def trained(samples: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models") / "maize-or-wheat"
    assert train(samples, folder).status == 0
    return folder


def train(samples: Path, output: Path, **parameters: Any) -> Outcome:
    return run_here("trainmodel", samples=samples, output=output, **{**QUICK, **parameters})


def weights(folder: Path) -> bytes:
    return (folder / "weights.safetensors").read_bytes()


def share_right(bundle: Bundle, samples: Path) -> float:
    """Of the test samples, by way of the predictor."""
    with SampleFile(samples) as file:
        batch = file.read(file.indices("test"))
        found = Predictor(bundle).probabilities(batch.data, batch.valid, file.layout.bands)
    values = np.array([crop.value for crop in bundle.classes])
    return float((values[found[:, :, 0, 0].argmax(axis=1)] == batch.label[:, 0, 0]).mean())


class TestABundle:
    def test_knows_what_it_learnt_from(self, trained: Path, samples: Path) -> None:
        bundle = load_bundle(trained)
        assert bundle.id == "maize-or-wheat"
        assert [crop.name for crop in bundle.classes] == ["maize", "wheat"]
        assert (bundle.period, bundle.first_days[0], bundle.first_days[-1]) == ("month", "03-01", "08-01")
        assert bundle.channels == ("B02", "B04", "B08")
        assert 3.0 <= bundle.bbox[0] < bundle.bbox[2] <= 3.3
        told = json.loads((trained / "training.json").read_text())
        assert len(told["history"]) == 5
        assert told["split"]["method"] == "blocks"

    def test_tells_crops_apart_that_it_has_not_seen(self, trained: Path, samples: Path) -> None:
        assert share_right(load_bundle(trained), samples) > 0.9

    def test_remembers_what_it_has_seen_and_nothing_else(self, trained: Path, samples: Path) -> None:
        seen = read_seen(load_bundle(trained))
        assert seen is not None
        with SampleFile(samples) as file:
            for role, expected in (("train", True), ("validation", True), ("test", False)):
                batch = file.read(file.indices(role))
                assert (seen.overlap(batch.data, batch.valid) == expected).all()
            assert (seen.role == TRAINED).sum() == len(file.indices("train"))
            assert (seen.role == STEERED).sum() == len(file.indices("validation"))

    def test_takes_scaling_from_the_training_samples_alone(self, trained: Path, samples: Path) -> None:
        with SampleFile(samples) as file:
            batch = file.read(file.indices("train"))
        mean = batch.data[..., 0, 0].astype(np.float64).mean(axis=(0, 1)) / 10000
        np.testing.assert_allclose(load_bundle(trained).mean, mean, rtol=1e-4)

    def test_maps_a_series_at_once(self, trained: Path, tmp_path: Path) -> None:
        table = write_table(tmp_path, long_table(count=8, seed=5))
        outcome = run_here("classifysamples", model=trained, input=table, output=tmp_path / "classes.csv")
        assert outcome.status == 0

    def test_has_a_card_that_says_what_its_figures_are_of(self, trained: Path) -> None:
        card = (trained / "README.md").read_text()
        assert "| validation samples |" in card
        assert "a little too good" in card

    def test_takes_indices_as_channels(self, samples: Path, tmp_path: Path) -> None:
        assert train(samples, tmp_path / "ndvi", channels=["NDVI", "B08"], epochs=1).status == 0
        assert load_bundle(tmp_path / "ndvi").channels == ("NDVI", "B08")


class TestALeapYear:
    """February 2020 has a day more: the months of a season begin where they do all the same."""

    @pytest.fixture(scope="class")
    @classmethod
    def sets(cls, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
        rows = long_table(count=120)
        rows["date"] = rows["date"].map(lambda day: f"2020-{int(day[5:7]) - 2:02}-01")  # January to June
        later = rows.assign(date=rows["date"].str.replace("2020", "2019"))
        later["sample_id"] = "t" + later["sample_id"]
        both = pandas.concat([rows[rows["sample_id"] < "s060"], later[later["sample_id"] >= "ts060"]])
        folder = tmp_path_factory.mktemp("leap")
        (folder / "both").mkdir()
        return {"leap": build(folder, rows), "both": build(folder / "both", both)}

    @pytest.mark.parametrize("which", ["leap", "both"])
    def test_gives_the_first_days_of_months(self, which: str, sets: dict[str, Path], tmp_path: Path) -> None:
        assert train(sets[which], tmp_path / "model", epochs=1).status == 0
        days = load_bundle(tmp_path / "model").first_days
        assert days[:6] == ("01-01", "02-01", "03-01", "04-01", "05-01", "06-01")

    @pytest.mark.parametrize("which", ["leap", "both"])
    def test_is_judged_like_any_other(self, which: str, sets: dict[str, Path], tmp_path: Path) -> None:
        assert train(sets[which], tmp_path / "model", epochs=1).status == 0
        report = tmp_path / "report.html"
        outcome = run_here("evaluatemodel", models=[tmp_path / "model"], samples=sets[which], output_html=report)
        assert outcome.status == 0


class TestATraining:
    def test_is_the_same_for_the_same_seed_and_another_for_another(self, samples: Path, tmp_path: Path) -> None:
        for name, seed in (("one", 3), ("two", 3), ("other", 4)):
            assert train(samples, tmp_path / name, seed=seed, epochs=2).status == 0
        assert weights(tmp_path / "one") == weights(tmp_path / "two")
        assert weights(tmp_path / "one") != weights(tmp_path / "other")

    def test_that_is_killed_goes_on_to_the_very_same_weights(self, samples: Path, tmp_path: Path) -> None:
        asked = {**QUICK, "samples": samples, "epochs": 8}
        document = job_document("trainmodel", output=tmp_path / "killed", **asked)
        with worker("--watch-stdin") as running:
            running.send(json.dumps(document) + "\n")
            running.follow_until(lambda event: event.get("text", "").startswith("Epoch 3"))
            running.process.send_signal(signal.SIGKILL)
            running.process.wait()
        assert not (tmp_path / "killed").exists()
        resumed = run_in_worker(document)
        assert "Going on from the checkpoint" in resumed.texts("log")
        whole = run_in_worker(job_document("trainmodel", output=tmp_path / "whole", **asked))
        assert weights(tmp_path / "killed") == weights(tmp_path / "whole")
        assert resumed.outputs["validation_macro_f1"] == whole.outputs["validation_macro_f1"]
        assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []

    def test_that_is_stopped_can_be_finished_with_its_best_epoch(self, samples: Path, tmp_path: Path) -> None:
        document = job_document("trainmodel", samples=samples, output=tmp_path / "model", **{**QUICK, "epochs": 500})
        with worker("--watch-stdin") as running:
            running.send(json.dumps(document) + "\n")
            running.follow_until(lambda event: event.get("text", "").startswith("Epoch 2"))
            running.send("cancel\n")
            assert running.outcome().code == "Cancelled"
        assert not (tmp_path / "model").exists()
        outcome = train(samples, tmp_path / "model", epochs=500, at_checkpoint="finish")
        assert 2 <= outcome.outputs["epochs"] < 500
        assert load_bundle(tmp_path / "model").id == "model"

    def test_cannot_be_finished_before_its_first_epoch(self, samples: Path, tmp_path: Path) -> None:
        outcome = train(samples, tmp_path / "model", at_checkpoint="finish")
        assert outcome.code == "TrainingError"
        assert list(tmp_path.iterdir()) == []

    def test_ends_when_it_gets_no_better(self, samples: Path, tmp_path: Path) -> None:
        outcome = train(samples, tmp_path / "model", epochs=60, patience=2, learning_rate=0.02)
        assert outcome.outputs["epochs"] <= outcome.outputs["best_epoch"] + 2
        assert outcome.outputs["epochs"] < 60

    def test_keeps_the_weights_of_its_best_epoch(self, samples: Path, tmp_path: Path) -> None:
        outcome = train(samples, tmp_path / "model", epochs=12, patience=0, learning_rate=0.02)
        history = json.loads((tmp_path / "model" / "training.json").read_text())["history"]
        best = max(entry["validation_macro_f1"] for entry in history)
        assert outcome.outputs["validation_macro_f1"] == pytest.approx(best, abs=1e-4)

    def test_writes_curves(self, samples: Path, tmp_path: Path) -> None:
        assert train(samples, tmp_path / "model", epochs=1, tensorboard=tmp_path / "curves").status == 0
        assert list((tmp_path / "curves").glob("events.out.tfevents.*"))

    @pytest.mark.parametrize(
        "how",
        [
            {"balance": "weights"},
            {"balance": "sampling"},
            {"loss": "focal"},
            {"precision": "bfloat16"},
            {"averaging": 0.0},
            {"augmentation": ["none"]},
            {"augmentation": ["mixup=0.4"]},
        ],
        ids=lambda how: "-".join(map(str, next(iter(how.items())))),
    )
    def test_learns_however_it_is_told_to(self, how: dict[str, Any], samples: Path, tmp_path: Path) -> None:
        outcome = train(samples, tmp_path / "model", epochs=8, **how)
        assert outcome.outputs["validation_oa"] > 0.9

    def test_judges_its_recipe_on_every_fold(self, samples: Path, tmp_path: Path) -> None:
        outcome = train(samples, tmp_path / "model", epochs=6, cross_validate=True)
        judged = outcome.outputs["cross_validation"]
        assert [entry["fold"] for entry in judged["folds"]] == [0, 1, 2]
        assert judged["macro_f1"] > 0.9
        assert "3 folds" in (tmp_path / "model" / "README.md").read_text()


@pytest.mark.parametrize(
    ("precision", "device", "instructions", "half"),
    [
        ("auto", "cpu", {"avx512_bf16": True, "amx_bf16": False}, True),
        ("auto", "cpu", {"avx512_bf16": False, "amx_bf16": True}, True),
        ("auto", "cpu", {"avx512_bf16": False, "amx_bf16": False}, False),
        ("auto", "cpu", {"architecture": "aarch64"}, False),
        ("auto", "cuda", {}, True),
        ("float32", "cpu", {"avx512_bf16": True}, False),
        ("float32", "cuda", {}, False),
        ("bfloat16", "cpu", {}, True),
    ],
)
def test_half_precision_is_taken_where_the_device_is_made_for_it(
    precision: str, device: str, instructions: dict[str, Any], half: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: instructions)
    assert computes_in_half(precision, torch.device(device)) is half


@pytest.fixture(scope="module")
def patches(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """60 patches of 8 x 8 pixels, monthly from April: maize left of a border, wheat right of it, no label around."""
    path = tmp_path_factory.mktemp("patches") / "set.h5"
    random = np.random.default_rng(0)
    count, days = 60, (0, 30, 61)
    label = np.zeros((count, 8, 8), np.int16)
    for sample in range(count):
        border = random.integers(2, 7)
        label[sample, 1:7, 1:border], label[sample, 1:7, border:7] = 1, 2
    green = np.where(label == 1, 3000, 1500)[:, None, None] + random.normal(0, 100, (count, 3, 2, 8, 8))
    place = np.arange(count)
    classes = (CropClass(1, "maize", "#f4c430"), CropClass(2, "wheat", "#4caf50"))
    samples = Samples(
        data=green.astype(np.int16),
        valid=random.random((count, 3, 8, 8)) < 0.9,
        label=label,
        season=np.full(count, 18718, np.int32),  # 1 April 2021
        parcel=np.full((count, 8, 8), -1),
        lon=3 + place * 0.01,
        lat=np.full(count, 51.0),
        columns={},
        **{name: np.full(count, "") for name in ("zone", "tile", "source")},
        sample_id=place.astype(str),
    )
    with create_sample_file(path, count, Layout("patch", ("B04", "B08"), "month", days, 8), classes, {}) as writer:
        writer.append(samples.arrays())
        roles = {"train": [2], "validation": [1], "test": [0]}
        writer.put_split((place % 3).astype(np.int8), {"method": "blocks", "roles": roles, "random": False})
    return path


class TestPatches:
    @pytest.mark.parametrize(
        ("architecture", "settings"),
        [
            ("hybrid_cnn", "embedding=8; widths=6,8"),
            ("convlstm", "hidden=8; patch_size=3"),
            ("tempcnn", "hidden=8,8,8; dense=16"),
            ("random_forest", "trees=10"),
        ],
    )
    def test_teach_any_architecture(self, architecture: str, settings: str, patches: Path, tmp_path: Path) -> None:
        how = {"architecture": [architecture], "hyper_parameters": [settings], "epochs": 12}
        outcome = train(patches, tmp_path / "model", **how)
        assert outcome.outputs["validation_oa"] > 0.8
        bundle = load_bundle(tmp_path / "model")
        with SampleFile(patches) as file:
            batch = file.read(file.indices("test"))
            found = Predictor(bundle).probabilities(batch.data, batch.valid, file.layout.bands).argmax(axis=1) + 1
        inside = batch.label > 0
        assert (found[inside] == batch.label[inside]).mean() > 0.8

    def test_are_read_by_few_where_they_are_large(
        self, patches: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """What is held at once is counted in pixels: 256 of them are 4 patches of 64."""
        monkeypatch.setattr(feeding, "_READ_AT_ONCE", 256)
        monkeypatch.setattr(growing, "_AT_ONCE", 256)
        monkeypatch.setattr(bundling, "_AT_ONCE", 256)
        prepare, held = Feed._prepare, []

        def watched(feed: Feed, batch: Any, *more: Any) -> Any:
            held.append(len(batch))
            return prepare(feed, batch, *more)

        monkeypatch.setattr(Feed, "_prepare", watched)
        how = {"architecture": ["random_forest"], "hyper_parameters": ["trees=2"]}
        assert train(patches, tmp_path / "model", **how).status == 0
        assert max(held) == 4

    def test_are_turned_with_their_labels(self, patches: Path) -> None:
        """Wherever a varied patch says maize, its pixels are maize's."""
        how = replace(NO_VARIATION, turns=1.0, crops=1.0)
        with SampleFile(patches) as file:
            feed = Feed(file, ("B08",), file.classes, by_pixel=False)
            seen = 0
            for fed in feed.batches(file.indices("train"), 8, how, seed=(1,)):
                values = fed.x[:, 0, 0]
                observed = fed.valid.all(dim=1)
                assert (values[(fed.target == 0) & observed] > 0.2).all()
                assert (values[(fed.target == 1) & observed] < 0.25).all()
                seen += int((fed.target >= 0).sum())
            whole = int((file.read(file.indices("train")).label > 0).sum())
        assert 0.3 * whole < seen < whole


class TestTreesAndEnsembles:
    @pytest.mark.parametrize("architecture", ["xgboost", "random_forest"])
    def test_trees_become_a_bundle_like_any_other(self, architecture: str, samples: Path, tmp_path: Path) -> None:
        outcome = train(samples, tmp_path / "trees", architecture=[architecture], hyper_parameters=["trees=20"])
        assert outcome.outputs["validation_oa"] > 0.9
        bundle = load_bundle(tmp_path / "trees")
        assert bundle.architecture == "tree_ensemble"
        assert share_right(bundle, samples) > 0.9

    def test_trees_take_so_many_series_and_no_more(
        self, samples: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("cropmap_core.learning.growing.MOST_SERIES", 25)
        outcome = train(samples, tmp_path / "trees", architecture=["random_forest"], hyper_parameters=["trees=20"])
        assert "25 of " in outcome.texts("warning")
        assert share_right(load_bundle(tmp_path / "trees"), samples) > 0.8

    def test_an_ensemble_is_the_mean_of_its_members(self, samples: Path, tmp_path: Path) -> None:
        how = {"architecture": ["tempcnn", "random_forest"], "hyper_parameters": [], "epochs": 3}
        outcome = train(samples, tmp_path / "both", **how)
        assert outcome.status == 0, outcome.last
        bundle = load_bundle(tmp_path / "both")
        members = bundle.hyper_parameters["members"]
        assert [each["architecture"] for each in members] == ["tempcnn", "tree_ensemble"]
        network = bundle.network()
        x, days = torch.randn(5, 6, 3, 2, 2), torch.arange(6.0).expand(5, -1)
        valid = torch.ones(5, 6, 2, 2, dtype=torch.bool)
        with torch.no_grad():
            parts = [
                torch.softmax(member(x, days, valid) / told["temperature"], dim=1)
                for member, told in zip(network.members, members, strict=True)
            ]
            mean = torch.softmax(network(x, days, valid), dim=1)
        torch.testing.assert_close(mean, sum(parts) / 2)
        assert share_right(bundle, samples) > 0.9
        assert len(json.loads((tmp_path / "both" / "training.json").read_text())["members"]) == 2

    def test_members_differ_in_their_seeds(self, samples: Path, tmp_path: Path) -> None:
        assert train(samples, tmp_path / "two", members=2, epochs=1).status == 0
        told = json.loads((tmp_path / "two" / "training.json").read_text())["members"]
        assert [each["recipe"]["seed"] for each in told] == [0, 1]
        network = load_bundle(tmp_path / "two").network()
        one, other = (next(member.parameters()) for member in network.members)
        assert not torch.equal(one, other)

    def test_hyper_parameters_belong_to_a_single_architecture(self, samples: Path, tmp_path: Path) -> None:
        outcome = train(samples, tmp_path / "both", architecture=["tempcnn", "rnn"], hyper_parameters=["hidden=8"])
        assert outcome.code == "JobError"


class TestGoingOnFromAModel:
    def test_starts_where_it_was(self, trained: Path, samples: Path, tmp_path: Path) -> None:
        tiny = {"from_model": str(trained), "hyper_parameters": [], "epochs": 1, "learning_rate": 1e-6}
        outcome = train(samples, tmp_path / "tuned", **tiny)
        before = json.loads((trained / "training.json").read_text())["history"][-1]["validation_macro_f1"]
        assert outcome.outputs["validation_macro_f1"] >= before - 0.1
        assert load_bundle(tmp_path / "tuned").mean == load_bundle(trained).mean

    def test_learns_a_class_that_is_new(self, trained: Path, tmp_path: Path) -> None:
        table = long_table(count=120, crops=("maize", "wheat", "fallow"))
        fallow = table["label"] == "fallow"
        table.loc[fallow, "B08"] = table.loc[fallow, "B04"]
        new = build(tmp_path, table)
        tuned = {"from_model": str(trained), "hyper_parameters": [], "epochs": 8}
        outcome = train(new, tmp_path / "tuned", **tuned)
        assert outcome.outputs["classes"] == ["fallow", "maize", "wheat"]
        assert outcome.outputs["validation_oa"] > 0.9

    def test_other_channels_are_refused(self, trained: Path, samples: Path, tmp_path: Path) -> None:
        outcome = train(
            samples, tmp_path / "tuned", from_model=str(trained), hyper_parameters=[], channels=["B04", "B08"]
        )
        assert outcome.code == "IncompatibleModelError"


class TestRefuses:
    @pytest.mark.parametrize(
        ("parameters", "complaint"),
        [
            ({"hyper_parameters": ["width=3"]}, "unknown: width"),
            ({"hyper_parameters": ["hidden"]}, "'hidden' is no setting"),
            ({"architecture": ["hybrid_cnn"], "hyper_parameters": []}, "holds single pixels"),
            ({"channels": ["NDWI"]}, "Missing band B03"),
            ({"channels": ["greenness"]}, "'greenness'"),
            ({"channels": ["B04", "B04"]}, "one twice"),
            ({"augmentation": ["rain=0.1"]}, "AUGMENTATION knows no 'rain'"),
            ({"augmentation": ["dates=2"]}, "dates=2"),
        ],
    )
    def test_what_cannot_be(self, parameters: dict[str, Any], complaint: str, samples: Path, tmp_path: Path) -> None:
        outcome = train(samples, tmp_path / "model", **parameters)
        assert outcome.status == 1
        assert complaint in outcome.last["message"]
        assert list(tmp_path.iterdir()) == []

    def test_an_architecture_that_there_is_not(self, samples: Path, tmp_path: Path) -> None:
        outcome = run_unchecked("trainmodel", samples=samples, output=tmp_path / "model", architecture=["resnet9000"])
        assert "ARCHITECTURE is 'resnet9000'" in outcome.last["message"]
        assert "tempcnn" in outcome.last["remedy"]

    def test_a_folder_that_holds_something_else(self, samples: Path, tmp_path: Path) -> None:
        precious = tmp_path / "thesis" / "chapter.txt"
        precious.parent.mkdir()
        precious.write_text("all of it")
        assert train(samples, precious.parent).code == "OutputError"
        assert precious.read_text() == "all of it"

    def test_training_samples_of_one_class(self, tmp_path: Path) -> None:
        table = long_table(count=90)
        held_out = np.where(table["sample_id"] < "s045", "validation", "test")
        table["fold"] = np.where(table["label"] == "maize", "train", held_out)
        samples = build(tmp_path, table, split="column", split_column="fold")
        outcome = train(samples, tmp_path / "model")
        assert outcome.code == "TrainingError"
        assert "one class only, maize" in outcome.last["message"]

    def test_a_set_that_is_cut_short(self, samples: Path, tmp_path: Path) -> None:
        cut = tmp_path / "cut.h5"
        cut.write_bytes(samples.read_bytes()[:-4000])
        outcome = train(cut, tmp_path / "model")
        assert outcome.code == "SamplesError"
        assert "cut short" in outcome.last["message"]


class TestWarnsOf:
    def test_a_class_that_the_training_samples_lack(self, tmp_path: Path) -> None:
        table = long_table(count=120, crops=("maize", "wheat", "hemp"))
        number = table["sample_id"].str[1:].astype(int)
        others = np.where(number % 4, np.where(number % 8, "train", "test"), "validation")
        table["fold"] = np.where(table["label"] == "hemp", "validation", others)
        table.loc[number == 9, "fold"] = "test"
        samples = build(tmp_path, table, split="column", split_column="fold")
        outcome = train(samples, tmp_path / "model", epochs=1)
        assert "lack hemp: the model will not know them" in outcome.texts("warning")
        assert outcome.outputs["classes"] == ["maize", "wheat"]


class TestALossThatIsNoNumber:
    @pytest.fixture
    def after(self, monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
        """Has every loss after so many be none."""

        def plant(count: int) -> None:
            calls = itertools.count()

            def step(self: Fitting, *arguments: Any) -> float | None:
                return own(self, *arguments) if next(calls) < count else float("nan")

            monkeypatch.setattr(Fitting, "_step", step)

        own = Fitting._step
        return plant

    def test_ends_training_with_the_best_epoch_and_says_which_batch(
        self, after: Callable[[int], None], samples: Path, tmp_path: Path
    ) -> None:
        whole = train(samples, tmp_path / "one", epochs=1)
        after(30)
        outcome = train(samples, tmp_path / "model", epochs=50)
        assert re.search(r"no number in epoch [2-9], batch \d+ \(samples \d+, ", outcome.texts("warning"))
        assert whole.outputs["epochs"] <= outcome.outputs["epochs"] < 50
        assert load_bundle(tmp_path / "model").id == "model"

    def test_before_there_is_an_epoch_is_an_error(
        self, after: Callable[[int], None], samples: Path, tmp_path: Path
    ) -> None:
        after(2)
        outcome = train(samples, tmp_path / "model")
        assert outcome.code == "TrainingError"
        assert "in epoch 1, batch 3" in outcome.last["message"]
        assert list(tmp_path.iterdir()) == []


def test_settings_are_read_as_what_they_are() -> None:
    assert read_settings(["hidden=64; dropout = 0.1", "widths=32,48;bidirectional=true"]) == {
        "hidden": 64,
        "dropout": 0.1,
        "widths": [32, 48],
        "bidirectional": True,
    }
    with pytest.raises(JobError, match="given twice"):
        read_settings(["hidden=1", "hidden=2"])


def test_fingerprints_tell_samples_apart_and_look_at_nothing_that_is_not_valid() -> None:
    random = np.random.default_rng(0)
    data = random.integers(0, 9000, (500, 6, 3, 1, 1)).astype(np.int16)
    valid = random.random((500, 6, 1, 1)) < 0.8
    marks = fingerprints(data, valid)
    assert len(np.unique(marks)) == 500
    np.testing.assert_array_equal(marks, fingerprints(np.where(valid[:, :, None], data, np.int16(7)), valid))
    swapped = data[:, ::-1]
    assert not np.isin(fingerprints(swapped, np.ones_like(valid)), fingerprints(data, np.ones_like(valid))).any()


def test_days_are_those_of_a_map_of_the_same_season(samples: Path) -> None:
    with SampleFile(samples) as file:
        feed = Feed(file, ("B04",), file.classes, by_pixel=True)
        batch = next(feed.batches(np.arange(2), 2))
        np.testing.assert_array_equal(batch.days, [[0, 31, 61, 92, 122, 153]] * 2)


def test_what_has_no_label_is_never_fed(samples: Path, tmp_path: Path) -> None:
    copy = tmp_path / "set.h5"
    copy.write_bytes(samples.read_bytes())
    with h5py.File(copy, "r+") as file:
        label = file["label"][...]
        label[:30] = 0
        file["label"][...] = label
    with SampleFile(copy) as file:
        index, counts = Feed(file, ("B04",), file.classes, by_pixel=True).labelled(np.arange(120))
    np.testing.assert_array_equal(index, np.arange(30, 120))
    assert counts.sum() == 90
