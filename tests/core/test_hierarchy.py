"""Groups of crops: their probability is that of their crops, and where no crop is sure a group may be."""

from __future__ import annotations

import json
from datetime import date
from pathlib import Path

import numpy as np
import pandas
import pytest
import rasterio
import torch
from torch.nn import functional

import models
from cropmap_core.classes import CropClass
from cropmap_core.errors import JobError
from cropmap_core.hierarchy import UNDECIDED, hierarchy_of
from cropmap_core.inference.bundles import load_bundle
from cropmap_core.inference.classification import HowToMap, write_class_map
from cropmap_core.inference.map_layers import MapPaths
from cropmap_core.learning.losses import TrainingLoss
from cropmap_core.learning.recipes import Recipe
from tests.core.sample_tables import long_table, write_table
from tests.core.seam import run_here
from tests.core.series_in_memory import SeriesInMemory
from tests.core.test_networks import season, with_holes

WHEAT = CropClass(1, "Wheat", "#102030", parents=("Cereals", "Arable"))
BARLEY = CropClass(2, "Barley", "#304050", parents=("Cereals", "Arable"))
POTATO = CropClass(4, "Potato", "#505050", parents=("Roots", "Arable"))
GRASS = CropClass(7, "Grass", "#00ff00")
CROPS = (WHEAT, BARLEY, POTATO, GRASS)
CPU = torch.device("cpu")


class TestDeciding:
    """SURE_FROM: crops, families above them, groups above those."""

    def test_levels_start_at_the_groups(self) -> None:
        hierarchy = hierarchy_of(CROPS)
        assert hierarchy.names == (
            ("Arable", "Grass"),
            ("Cereals", "Roots", "Grass"),
            ("Wheat", "Barley", "Potato", "Grass"),
        )
        assert hierarchy.levels == ((0, 0, 0, 1), (0, 0, 1, 2), (0, 1, 2, 3))

    def test_what_has_one_crop_only_is_that_crop(self) -> None:
        stops = hierarchy_of(CROPS).stops()
        assert [(each.value, each.name, each.parents) for each in stops] == [
            (8, "Arable", ()),
            (9, "Cereals", ("Arable",)),
            (10, UNDECIDED, ()),
        ]
        assert stops[1].color == "#203040"  # the mean of its crops

    @pytest.mark.parametrize(
        ("probability", "value", "sure"),
        [
            ((0.8, 0.1, 0.05, 0.05), 1, 0.8),  # a crop
            ((0.4, 0.35, 0.1, 0.15), 9, 0.75),  # a cereal, whichever
            ((0.3, 0.2, 0.3, 0.2), 8, 0.8),  # arable, whatever
            ((0.2, 0.2, 0.1, 0.5), 10, 0.5),  # neither arable nor grass is sure
            ((0.1, 0.1, 0.1, 0.7), 7, 0.7),
        ],
    )
    def test_the_finest_sure_level_is_named(self, probability: tuple[float, ...], value: int, sure: float) -> None:
        found, its = hierarchy_of(CROPS).decide(np.array(probability)[:, None], 0.7)
        assert (int(found[0]), round(float(its[0]), 6)) == (value, sure)

    def test_without_a_threshold_a_crop_is_always_named(self) -> None:
        found, sure = hierarchy_of(CROPS).decide(np.array([[0.3], [0.2], [0.3], [0.2]]), 0.0)
        assert (int(found[0]), float(sure[0])) == (1, 0.3)

    def test_a_crop_without_a_family_stands_for_itself(self) -> None:
        hierarchy = hierarchy_of((CropClass(1, "Maize", "#000000"), CropClass(2, "Grass", "#ffffff")))
        assert len(hierarchy.levels) == 1
        assert [each.name for each in hierarchy.stops()] == [UNDECIDED]

    def test_a_family_in_two_groups_is_refused(self) -> None:
        other = CropClass(9, "Beet", "#aa0000", parents=("Cereals", "Garden"))
        with pytest.raises(JobError, match="Cereals belongs to two groups: Arable and Garden"):
            hierarchy_of((*CROPS, other))

    def test_values_may_run_out(self) -> None:
        with pytest.raises(JobError, match="more values than a class raster holds"):
            hierarchy_of((WHEAT, CropClass(65535, "Barley", "#304050", parents=("Cereals", "Arable")))).stops()

    def test_values_beyond_255_take_16_bits(self) -> None:
        hierarchy = hierarchy_of((WHEAT, CropClass(255, "Barley", "#304050", parents=("Cereals", "Arable"))))
        found, _ = hierarchy.decide(np.array([[0.5], [0.5]]), 0.9)
        assert (found.dtype, found.tolist()) == (np.uint16, [256])


class TestHeads:
    """A head for each level."""

    @pytest.fixture
    @staticmethod
    def network() -> models.registry.Network:
        torch.manual_seed(0)
        made = models.build(
            "hierarchical",
            channels=3,
            classes=4,
            architecture="tempcnn",
            hyper_parameters={"hidden": [8, 8], "heads": 2, "dense": 12},
            levels=hierarchy_of(CROPS).levels[:-1],
        )
        made.train()(*season(batch=2))
        return made.eval()

    @torch.no_grad()
    def test_gives_probabilities_that_add_up_to_those_of_the_head_above(self, network: models.registry.Network) -> None:
        inputs = with_holes()
        logits = network(*inputs)
        torch.testing.assert_close(logits.exp().sum(dim=1), torch.ones_like(logits[:, 0]))
        groups = network.heads[0](network.features(*inputs).movedim(1, -1)).softmax(dim=-1).movedim(-1, 1)
        torch.testing.assert_close(logits[:, :3].exp().sum(dim=1), groups[:, 0])

    @torch.no_grad()
    def test_a_value_that_is_not_valid_never_matters(self, network: models.registry.Network) -> None:
        x, dates, valid = with_holes()
        spoilt = torch.where(valid.unsqueeze(2), x, float("nan"))
        assert torch.equal(network(spoilt, dates, valid), network(x, dates, valid))

    @pytest.mark.parametrize("architecture", ["hybrid_cnn", "convlstm"])
    def test_sit_on_any_network(self, architecture: str) -> None:
        made = models.build(
            "hierarchical",
            channels=3,
            classes=4,
            architecture=architecture,
            hyper_parameters={},
            levels=[[0, 0, 0, 1]],
        )
        inner = models.build(architecture, channels=3, classes=4)
        assert (made.kind, made.halo, made.patch_size) == (inner.kind, inner.halo, inner.patch_size)
        made.train()(*season(batch=2, height=5, width=5)).square().sum().backward()
        assert all(weight.grad is not None for weight in made.parameters())

    def test_drops_features_as_the_network_did(self) -> None:
        told = {"architecture": "convrnn", "hyper_parameters": {"hidden": [8], "dropout": 0.5}}
        made = models.build("hierarchical", channels=3, classes=4, **told, levels=[[0, 0, 0, 1]]).train()
        inputs = season(height=3, width=3)
        assert not torch.equal(made(*inputs), made(*inputs))

    def test_a_tree_with_two_ways_to_a_class_is_refused(self) -> None:
        with pytest.raises(ValueError, match="several nodes above"):
            models.build(
                "hierarchical",
                channels=3,
                classes=3,
                architecture="tempcnn",
                hyper_parameters={},
                levels=[[0, 0, 1], [0, 1, 1]],
            )


class TestLoss:
    def logits(self) -> tuple[torch.Tensor, torch.Tensor]:
        torch.manual_seed(1)
        return torch.randn(5, 4, 2, 3), torch.tensor([-1, 0, 1, 2, 3])[:, None, None].expand(5, 2, 3)

    def test_of_the_crops_alone_is_the_cross_entropy(self) -> None:
        logits, target = self.logits()
        recipe = Recipe("tempcnn", label_smoothing=0.1)
        found = TrainingLoss(recipe, CROPS, np.array([1, 1, 1, 1]), CPU)(logits, target)
        expected = functional.cross_entropy(logits, target, ignore_index=-1, label_smoothing=0.1)
        torch.testing.assert_close(found, expected)

    def test_of_levels_is_their_weighted_mean(self) -> None:
        """A wheat pixel said to be half wheat, half barley is wrong by log 2 as a crop and right as a cereal."""
        recipe = Recipe("tempcnn", label_smoothing=0.0, level_weights=(1.0, 2.0, 1.0))
        loss = TrainingLoss(recipe, CROPS, np.array([1, 1, 1, 1]), CPU)
        said = torch.tensor([0.5, 0.5, 1e-12, 1e-12]).log()[None, :, None, None]
        assert loss(said, torch.zeros(1, 1, 1, dtype=torch.int64)).item() == pytest.approx(np.log(2) / 4, abs=1e-6)

    def test_wants_a_weight_for_each_level(self) -> None:
        with pytest.raises(JobError, match="LEVEL_WEIGHTS are 2; the classes have 3 levels"):
            TrainingLoss(Recipe("tempcnn", level_weights=(1.0, 1.0)), CROPS, np.array([1, 1, 1, 1]), CPU)

    def test_trees_have_no_heads(self) -> None:
        with pytest.raises(JobError, match="xgboost has no heads for LEVEL_WEIGHTS"):
            Recipe("xgboost", level_weights=(1.0, 1.0))


class TestAModelOfLevels:
    """Wheat and barley look alike here, and maize does not."""

    @pytest.fixture(scope="class")
    @classmethod
    def folder(cls, tmp_path_factory: pytest.TempPathFactory) -> Path:
        folder = tmp_path_factory.mktemp("levels")
        table = write_table(folder, long_table(150, ("maize", "wheat", "barley")))
        (folder / "legend.csv").write_text(
            "code,value,name,family,group\nmaize,1,Maize,,Summer crops\nwheat,2,Wheat,,Winter crops\n"
            "barley,3,Barley,,Winter crops\n"
        )
        asked = {"table": table, "legend": str(folder / "legend.csv"), "block_m": 3000, "folds": 3}
        assert run_here("buildtrainingset", output=folder / "set.h5", **asked).status == 0
        assert train(folder, "model", level_weights=[0.5, 0.5]).status == 0
        return folder

    def test_remembers_its_groups(self, folder: Path) -> None:
        bundle = load_bundle(folder / "model")
        assert (bundle.architecture, bundle.hyper_parameters["architecture"]) == ("hierarchical", "tempcnn")
        assert [each.parents for each in bundle.classes] == [("Summer crops",), *[("Winter crops",)] * 2]

    def test_says_a_group_where_no_crop_is_sure(self, folder: Path) -> None:
        table = write_table(folder, long_table(60, ("maize", "wheat", "barley"), seed=4), "other.parquet")
        asked = {"model": folder / "model", "input": table, "sure_from": 0.8}
        outcome = run_here("classifysamples", **asked, output=folder / "classes.csv")
        assert set(outcome.outputs["classes"]) == {"Maize", "Wheat", "Barley", "Winter crops", UNDECIDED}
        found = pandas.read_csv(folder / "classes.csv")
        maize = found.index % 3 == 0
        assert (found["pred_crop"][maize] == "Maize").mean() > 0.9
        assert (found["pred_crop"][~maize] == "Winter crops").mean() > 0.8
        assert (found["pred_prob"][~maize & (found["pred_crop"] == "Winter crops")] >= 0.8).all()

    def test_maps_groups_with_a_legend_of_their_own(self, folder: Path) -> None:
        rows = long_table(2, ("wheat",), seed=9)
        values = rows[["B02", "B04", "B08"]].to_numpy(np.int16).reshape(2, 6, 3).transpose(1, 2, 0)[..., None]
        dates = tuple(date(2021, month, 1) for month in range(3, 9))
        series = SeriesInMemory(np.ascontiguousarray(values), ("B02", "B04", "B08"), dates, "month")
        path = folder / "map.tif"
        made = write_class_map(
            series, load_bundle(folder / "model"), [CPU], MapPaths(path), {}, HowToMap(sure_from=0.8)
        )
        with rasterio.open(path) as raster:
            assert set(raster.read(1).ravel()) == {4}
            legend = {each["value"]: each["name"] for each in json.loads(raster.tags()["CROPMAP_CLASSES"])}
            assert raster.colormap(1)[4][3] == 255
        assert legend[4] == "Winter crops"
        assert made.pixels["Winter crops"] == 2

    def test_can_be_trained_further_with_other_crops(self, folder: Path) -> None:
        outcome = train(folder, "further", from_model=str(folder / "model"), hyper_parameters=[], epochs=1)
        assert outcome.status == 0, outcome.last
        assert load_bundle(folder / "further").architecture == "hierarchical"

    def test_refuses_weights_that_are_not_of_its_levels(self, folder: Path) -> None:
        outcome = train(folder, "wrong", level_weights=[0.2, 0.3, 0.5])
        assert outcome.code == "JobError"
        assert "the classes have 2 levels" in outcome.last["message"]


def train(folder: Path, name: str, **changes: object):
    asked = {
        "epochs": 12,
        "hyper_parameters": ["hidden=8,8,8; dense=16"],
        "learning_rate": 0.01,
        "device": "cpu",
        **changes,
    }
    return run_here("trainmodel", samples=folder / "set.h5", output=folder / name, **asked)
