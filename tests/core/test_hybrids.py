"""Hybrids: networks that learn as one, and trees that see what a network makes of the series."""

from __future__ import annotations

import json
from dataclasses import asdict
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import torch
from safetensors.torch import load_file, save_file

import models
from cropmap_core.inference.bundles import load_bundle
from cropmap_core.inference.classification import write_class_map
from cropmap_core.inference.map_layers import MapPaths
from cropmap_core.inference.predictor import Predictor
from cropmap_core.learning.recipes import Recipe, check_architecture
from cropmap_core.samples.files import SampleFile
from models.network import Network
from tests.core.made_of_networks import feature_trees
from tests.core.sample_tables import long_table, write_table
from tests.core.seam import Outcome, run_here
from tests.core.series_in_memory import SeriesInMemory
from tests.core.test_networks import (
    CHANNELS,
    CLASSES,
    DENSE,
    SEES_PIXELS_ALONE,
    SMALL,
    as_member,
    assert_same,
    network,
    season,
    with_holes,
)

SIZES = {"channels": CHANNELS, "classes": CLASSES}
SMALL_ENCODER = "features_from=tempcnn; hidden=8,8; dense=16; heads=2; trees=20"


class TestAHybrid:
    @torch.no_grad()
    def test_embeds_what_its_members_embed(self) -> None:
        made = network("hybrid")
        example = with_holes()
        parts = []
        for member, told in zip(made.members, SMALL["hybrid"]["members"], strict=True):
            settings = {"dropout": 0.1, **told["hyper_parameters"]}
            alone = models.build(told["architecture"], **SIZES, **settings).eval()
            alone.load_state_dict({**alone.state_dict(), **member.state_dict()})
            parts.append(alone.features(*example))
        assert_same(made.features(*example), torch.cat(parts, dim=1))

    @torch.no_grad()
    @pytest.mark.parametrize("name", SEES_PIXELS_ALONE)
    def test_takes_any_architecture_that_sees_pixels_alone(self, name: str) -> None:
        made = models.build("hybrid", **SIZES, members=[as_member(name), "ltae"]).eval()
        x, dates, valid = with_holes()
        logits = made(x, dates, valid)
        assert made.classify.in_features == made.members[0].embedding + made.members[1].embedding
        assert torch.equal(made(torch.where(valid.unsqueeze(2), x, float("nan")), dates, valid), logits)

    def test_is_a_transformer_and_an_atlstm_by_default(self) -> None:
        made = models.build("hybrid", **SIZES)
        assert [type(member).__name__ for member in made.members] == ["Transformer", "AtLSTM"]
        assert made.classify.in_features == 64 + 128
        assert [name for name, _ in made.named_parameters() if "classify" in name] == [
            "classify.weight",
            "classify.bias",
        ]

    def test_hands_its_dropout_to_members_that_have_none_of_their_own(self) -> None:
        own = {"architecture": "rnn", "hyper_parameters": {"dropout": 0.4}}
        made = models.build("hybrid", **SIZES, members=["tempcnn", own], dropout=0.3)
        assert [member.dropout.p for member in made.members] == [0.3, 0.4]

    @pytest.mark.parametrize(
        ("members", "complaint"),
        [
            ([], "members is empty"),
            (["hybrid_cnn"], "hybrid_cnn does not see each pixel's series alone"),
            (["convlstm"], "convlstm does not see"),
            (["perceptron"], "unknown architecture"),
            ([{"architecture": "rnn"}], "expected a name, or architecture and hyper_parameters"),
        ],
    )
    def test_of_members_that_do_not_fit_is_refused(self, members: list[Any], complaint: str) -> None:
        with pytest.raises(ValueError, match=complaint):
            models.build("hybrid", **SIZES, members=members)


@pytest.fixture(params=DENSE)
def trees(request: pytest.FixtureRequest) -> Network:
    return feature_trees(request.param)


class TestFeatureTrees:
    @torch.no_grad()
    def test_classify_what_the_network_embeds(self, trees: Network) -> None:
        example = with_holes()
        features = trees.features(*example)
        assert features.shape[1] == trees.trees.channels
        everywhere = torch.ones(1, 1, 7, 7, dtype=torch.bool)
        assert torch.equal(trees(*example), trees.trees(features.unsqueeze(1), torch.zeros(1, 1), everywhere))
        assert trees(*example).std() > 0.1

    @torch.no_grad()
    def test_values_that_are_not_valid_never_matter(self, trees: Network) -> None:
        x, dates, valid = with_holes()
        spoilt = torch.where(valid.unsqueeze(2), x, float("nan"))
        assert torch.equal(trees(spoilt, dates, valid), trees(x, dates, valid))

    @torch.no_grad()
    def test_take_any_number_of_dates(self, trees: Network) -> None:
        x, dates, valid = season()
        longer = (
            torch.cat([x, torch.randn_like(x[:, :1])], dim=1),
            torch.cat([dates, dates[:, -1:] + 30], dim=1),
            torch.cat([valid, torch.zeros_like(valid[:, :1])], dim=1),
        )
        assert torch.equal(trees(*longer), trees(x, dates, valid))
        assert trees(*season(times=1)).isfinite().all()

    @torch.no_grad()
    def test_see_as_far_as_their_network(self, trees: Network) -> None:
        assert (trees.stride, trees.receptive_radius) == (trees.encoder.stride, trees.encoder.receptive_radius)

    @torch.no_grad()
    def test_saved_and_loaded_are_the_same(self, trees: Network, tmp_path: Path) -> None:
        save_file({k: v.contiguous() for k, v in trees.state_dict().items()}, tmp_path / "weights.safetensors")
        other = models.build("feature_trees", **asdict(trees.hyper_parameters)).eval()
        assert not torch.equal(other(*with_holes()), trees(*with_holes()))
        other.load_state_dict(load_file(tmp_path / "weights.safetensors"))
        example = with_holes()
        assert torch.equal(other(*example), trees(*example))

    @torch.no_grad()
    def test_of_a_network_of_patches_are_refused(self) -> None:
        told = asdict(feature_trees().hyper_parameters)
        for architecture in ("convlstm", "ensemble", "tree_ensemble"):
            hyper_parameters = {
                "convlstm": {},
                "ensemble": {"members": [{"architecture": "rnn", "hyper_parameters": {}, "temperature": 1}]},
                "tree_ensemble": {**told["trees"], "times": 1},
            }[architecture]
            told["encoder"] = {"architecture": architecture, "hyper_parameters": hyper_parameters}
            with pytest.raises(ValueError, match="has no embedding of every pixel"):
                models.build("feature_trees", **told)

    @torch.no_grad()
    def test_of_sizes_that_are_none_are_refused(self) -> None:
        told = asdict(feature_trees().hyper_parameters)
        with pytest.raises(ValueError, match="trees do not have, or lack, forest"):
            models.build("feature_trees", **{**told, "trees": {**told["trees"], "forest": 3}})


class TestSettings:
    def test_are_shared_out_between_trees_and_network(self) -> None:
        settings = {"features_from": "tempcnn", "hidden": 8, "trees": 20, "learning_rate": 0.2}
        recipe = Recipe("xgboost", check_architecture("xgboost", settings), learning_rate=0.01)
        assert recipe.of_trees == {"trees": 20, "learning_rate": 0.2}
        assert recipe.by_steps is not None
        assert (recipe.by_steps.architecture, recipe.by_steps.hyper_parameters) == ("tempcnn", {"hidden": [8]})
        assert recipe.by_steps.learning_rate == 0.01

    def test_of_trees_on_series_leave_nothing_to_train_by_steps(self) -> None:
        assert Recipe("random_forest", {"trees": 20}).by_steps is None
        network = Recipe("tempcnn")
        assert network.by_steps is network


@pytest.fixture(scope="module")
def samples(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """120 samples of two crops, monthly from March to August."""
    folder = tmp_path_factory.mktemp("set")
    table = write_table(folder, long_table(count=120))
    assert run_here("buildtrainingset", table=table, output=folder / "set.h5", block_m=3000, folds=3).status == 0
    return folder / "set.h5"


def train(samples: Path, output: Path, **parameters: Any) -> Outcome:
    quick = {"epochs": 4, "learning_rate": 0.01, "device": "cpu"}
    return run_here("trainmodel", samples=samples, output=output, **{**quick, **parameters})


class TestTraining:
    @pytest.mark.parametrize("architecture", ["random_forest", "xgboost"])
    def test_trees_on_features_become_a_bundle_that_maps(
        self, architecture: str, samples: Path, tmp_path: Path
    ) -> None:
        outcome = train(samples, tmp_path / "trees", architecture=[architecture], hyper_parameters=[SMALL_ENCODER])
        assert outcome.status == 0, outcome.last
        assert outcome.outputs["validation_oa"] > 0.9
        bundle = load_bundle(tmp_path / "trees")
        assert bundle.architecture == "feature_trees"
        assert bundle.hyper_parameters["encoder"]["architecture"] == "tempcnn"
        told = json.loads((tmp_path / "trees" / "training.json").read_text())
        assert [entry["epoch"] for entry in told["history"]] == [1, 2, 3, 4, 5]
        assert told["best_epoch"] == 5
        assert "grown on features of epoch" in told["ended"]
        with SampleFile(samples) as file:
            batch = file.read(file.indices("test"))
            found = Predictor(bundle).probabilities(batch.data, batch.valid, file.layout.bands)
        values = np.array([crop.value for crop in bundle.classes])
        right = values[found[:, :, 0, 0].argmax(axis=1)] == batch.label[:, 0, 0]
        assert right.mean() > 0.9
        table = write_table(tmp_path, long_table(count=8, seed=5))
        classes = tmp_path / "classes.csv"
        assert run_here("classifysamples", model=bundle.folder, input=table, output=classes).status == 0
        season = batch.data[:6, :, :, 0, 0].transpose(1, 2, 0).reshape(*batch.data.shape[1:3], 2, 3)
        dates = tuple(date.fromisoformat(f"2021-{day}") for day in bundle.first_days)
        series = SeriesInMemory(season, file.layout.bands, dates, "month")
        write_class_map(series, bundle, [torch.device("cpu")], MapPaths(tmp_path / "classes.tif"), {})
        with rasterio.open(tmp_path / "classes.tif") as raster:
            assert raster.read(1).flatten().tolist() == values[found[:6, :, 0, 0].argmax(axis=1)].tolist()

    def test_trees_on_features_may_be_members_of_an_ensemble(self, samples: Path, tmp_path: Path) -> None:
        how = {"architecture": ["random_forest"], "members": 2, "hyper_parameters": [SMALL_ENCODER]}
        assert train(samples, tmp_path / "two", **how, epochs=1).status == 0
        members = load_bundle(tmp_path / "two").hyper_parameters["members"]
        assert [each["architecture"] for each in members] == ["feature_trees"] * 2

    def test_a_hybrid_becomes_a_bundle(self, samples: Path, tmp_path: Path) -> None:
        how = {"architecture": ["hybrid"], "hyper_parameters": ["members=rnn,ltae"]}
        outcome = train(samples, tmp_path / "hybrid", **how)
        assert outcome.outputs["validation_oa"] > 0.9
        assert load_bundle(tmp_path / "hybrid").hyper_parameters["members"] == ["rnn", "ltae"]

    @pytest.mark.parametrize(
        ("settings", "complaint"),
        [
            ("features_from=perceptron", "features_from is 'perceptron'"),
            ("features_from=convlstm", "convlstm gives a patch one class"),
            ("features_from=hybrid_cnn", "hybrid_cnn looks at the pixels around"),
            ("features_from=tempcnn; width=3", "unknown: width"),
            ("features_from=tempcnn; trees=0", "trees is 0"),
            ("hidden=8", "unknown hidden"),
        ],
    )
    def test_features_that_there_are_none_of_are_refused(
        self, settings: str, complaint: str, samples: Path, tmp_path: Path
    ) -> None:
        how = {"architecture": ["random_forest"], "hyper_parameters": [settings]}
        outcome = train(samples, tmp_path / "trees", **how)
        assert outcome.code == "JobError"
        assert complaint in outcome.last["message"]
