"""Trees: the network decides as the library that grew them, on every float."""

from __future__ import annotations

import sys
from dataclasses import asdict
from datetime import date
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import rasterio
import torch
import xgboost
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from sklearn.ensemble import ExtraTreesClassifier, RandomForestClassifier
from torch import Tensor

from cropmap_core.errors import Cancelled, SamplesError, TrainingError
from cropmap_core.inference.bundles import Bundle, load_bundle, save_bundle
from cropmap_core.inference.classification import write_class_map
from cropmap_core.inference.map_layers import MapPaths
from cropmap_core.learning.trees import NEVER_SEEN, Tree, assemble, fit_trees, of_scikit_learn, of_xgboost
from cropmap_core.timeseries.series import NODATA
from models import build
from models.network import Network
from models.tree_ensemble import VALUES_AT_ONCE
from tests.core.series_in_memory import SeriesInMemory
from tests.core.tiny_models import CLASSES as CROPS
from tests.core.tiny_models import FIRST_DAYS, MONTHS

CHANNELS, TIMES, CLASSES = 3, 4, 4


def samples(count: int = 400, seed: int = 0) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Noisy series whose class shows in the first channel of the date of its number."""
    rng = np.random.default_rng(seed)
    positions = rng.integers(CLASSES, size=count)
    features = rng.normal(size=(count, TIMES, CHANNELS)).astype(np.float32)
    features[np.arange(count), positions, 0] += 3
    return features.reshape(count, -1), positions


def as_pixels(features: NDArray[np.float32], channels: int = CHANNELS) -> tuple[Tensor, Tensor, Tensor]:
    """The (N, T * C) features as an image of N pixels in a row."""
    x = torch.from_numpy(features).view(len(features), -1, channels).permute(1, 2, 0)[None, :, :, None]
    times = x.shape[1]
    return x, torch.arange(times)[None] * 10.0, torch.ones(1, times, 1, len(features), dtype=torch.bool)


@torch.no_grad()
def logits(network: Network, features: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.asarray(network(*as_pixels(features, network.channels))[0, :, 0].T)


def probabilities(network: Network, features: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.asarray(torch.from_numpy(logits(network, features)).softmax(dim=1))


def stump(threshold: float) -> Network:
    """Less than the threshold: class 0. Anything else: class 1."""
    scores = np.array([[0, 0], [1, 0], [0, 1]], dtype=np.float32)
    return assemble(
        [Tree(np.array([1, -2, -2]), np.full(3, threshold, np.float32), *np.array([[1, -1, -1], [2, -1, -1]]), scores)],
        classes=2,
        channels=2,
        times=1,
    )


def test_a_question_sends_less_to_the_left() -> None:
    features = np.array([[9, 0.4], [9, 0.5], [9, 0.6]], dtype=np.float32)
    assert logits(stump(0.5), features).argmax(axis=1).tolist() == [0, 1, 1]


def test_features_run_date_by_date_through_the_channels() -> None:
    """A tree that asks for feature 4 of two channels looks at the first channel of the third date."""
    scores = np.array([[0, 0], [1, 0], [0, 1]], dtype=np.float32)
    asks = Tree(np.array([4, -2, -2]), np.zeros(3, np.float32), *np.array([[1, -1, -1], [2, -1, -1]]), scores)
    network = assemble([asks], classes=2, channels=2, times=3)
    x = torch.full((1, 3, 2, 1, 1), -1.0)
    rest = torch.zeros(1, 3), torch.ones(1, 3, 1, 1, dtype=torch.bool)
    assert network(x, *rest).argmax(dim=1).item() == 0
    x[0, 2, 0] = 1
    assert network(x, *rest).argmax(dim=1).item() == 1


@pytest.mark.parametrize("forest", [RandomForestClassifier, ExtraTreesClassifier])
@pytest.mark.parametrize("depth", [3, None])
def test_forest_predicts_as_scikit_learn(forest: type, depth: int | None) -> None:
    features, positions = samples()
    grown = forest(n_estimators=20, max_depth=depth, random_state=0).fit(features, positions)
    network = assemble([of_scikit_learn(tree.tree_) for tree in grown.estimators_], CLASSES, CHANNELS, TIMES)
    unseen, _ = samples(seed=1)
    np.testing.assert_allclose(probabilities(network, unseen), grown.predict_proba(unseen), atol=1e-5)


@pytest.mark.parametrize("gamma", [0.0, 2.0])  # the latter cuts branches off again
def test_boosted_trees_predict_as_xgboost(gamma: float) -> None:
    features, positions = samples()
    booster = xgboost.train(
        {"objective": "multi:softprob", "num_class": CLASSES, "max_depth": 4, "gamma": gamma, "nthread": 1},
        xgboost.DMatrix(features, positions),
        15,
    )
    trees, tree_classes, base = of_xgboost(booster)
    network = assemble(trees, CLASSES, CHANNELS, TIMES, tree_classes, base)
    unseen = xgboost.DMatrix(samples(seed=1)[0])
    np.testing.assert_allclose(
        logits(network, samples(seed=1)[0]), booster.predict(unseen, output_margin=True), atol=1e-5
    )
    np.testing.assert_allclose(probabilities(network, samples(seed=1)[0]), booster.predict(unseen), atol=1e-5)


def neighbours(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """Values, and the next floats on either side."""
    inf = np.float32(np.inf)
    return np.unique(np.concatenate([values, np.nextafter(values, inf), np.nextafter(values, -inf)]))


@settings(deadline=None, max_examples=30)
@given(st.lists(st.floats(-3, 3, width=32), min_size=4, max_size=12, unique=True))
def test_decisions_at_the_threshold_are_those_of_the_libraries(values: list[float]) -> None:
    """Features at each threshold and one float beside it, where `<` and `<=` differ."""
    column = np.sort(np.array(values, dtype=np.float32))
    features = np.repeat(column, 3)[:, None]
    positions = np.repeat(np.arange(len(column)) % 2, 3)
    forest = RandomForestClassifier(n_estimators=3, random_state=0, bootstrap=False).fit(features, positions)
    trees = [of_scikit_learn(tree.tree_) for tree in forest.estimators_]
    asked = neighbours(np.concatenate([column, *(tree.threshold for tree in trees)]))[:, None]
    found = probabilities(assemble(trees, 2, 1, 1), asked)
    np.testing.assert_allclose(found, forest.predict_proba(asked), atol=1e-5)
    booster = xgboost.train(
        {"objective": "multi:softprob", "num_class": 2, "min_child_weight": 0, "nthread": 1},
        xgboost.DMatrix(features, positions),
        4,
    )
    trees, tree_classes, base = of_xgboost(booster)
    asked = neighbours(np.concatenate([column, *(tree.threshold for tree in trees)]))[:, None]
    found = logits(assemble(trees, 2, 1, 1, tree_classes, base), asked)
    np.testing.assert_allclose(found, booster.predict(xgboost.DMatrix(asked), output_margin=True), atol=1e-5)


@pytest.mark.parametrize("kind", ["xgboost", "random_forest"])
def test_trees_map_through_a_bundle(kind: str, tmp_path: Path) -> None:
    """Red below its mean in the first month is maize, above is grass: so is the map."""
    times, bands = len(FIRST_DAYS), ("B04", "B08")
    rng = np.random.default_rng(0)
    features = rng.normal(size=(200, times * 2)).astype(np.float32)
    network = fit_trees(kind, features, (features[:, 0] > 0).astype(int), 2, 2, trees=5)
    bundle = save_bundle(
        Bundle(
            id="trees",
            title="Trees",
            folder=tmp_path / "trees",
            architecture="tree_ensemble",
            hyper_parameters=asdict(network.sizes),
            channels=bands,
            mean=(0.1, 0.3),
            std=(0.05, 0.1),
            classes=CROPS[:2],
            first_days=FIRST_DAYS,
            bbox=(3.0, 50.7, 3.1, 50.8),
            stride_pixels=1,
        ),
        network,
        {},
        "# Trees",
    )
    values = rng.integers(500, 1500, (times, 2, 6, 5)).astype(np.int16)
    values[0, 0, :3], values[0, 0, 3:] = 400, 1600
    values[..., 2, 2] = NODATA
    dates = tuple(date(2018, month, 1) for month in MONTHS)
    series = SeriesInMemory(values, bands, dates, "month")
    write_class_map(series, load_bundle(bundle.folder), [torch.device("cpu")], MapPaths(tmp_path / "map.tif"), {})
    expected = np.repeat([CROPS[0].value, CROPS[1].value], 3)[:, None].repeat(5, axis=1)
    expected[2, 2] = 0
    with rasterio.open(tmp_path / "map.tif") as dataset:
        assert np.array_equal(dataset.read(1), expected)


@pytest.mark.parametrize("kind", ["xgboost", "random_forest"])
class TestFit:
    def test_learns(self, kind: str) -> None:
        network = fit_trees(kind, *samples(), CLASSES, CHANNELS, trees=20)
        unseen, truth = samples(seed=1)
        assert (logits(network, unseen).argmax(axis=1) == truth).mean() > 0.8

    def test_class_without_a_sample_is_never_predicted(self, kind: str) -> None:
        features, positions = samples()
        kept = positions != 1
        network = fit_trees(kind, features[kept], positions[kept], CLASSES, CHANNELS, trees=10)
        found = probabilities(network, samples(seed=1)[0])
        assert found.shape[1] == CLASSES
        assert found[:, 1].max() < 1e-6
        assert set(found.argmax(axis=1)) == {0, 2, 3}

    def test_seed_decides(self, kind: str) -> None:
        one, again, other = (
            logits(fit_trees(kind, *samples(), CLASSES, CHANNELS, trees=5, seed=seed), samples(seed=1)[0])
            for seed in (3, 3, 4)
        )
        assert np.array_equal(one, again)
        assert not np.array_equal(one, other)

    def test_weights_count(self, kind: str) -> None:
        """Where two classes look alike, the heavier one wins."""
        features = np.zeros((40, CHANNELS), dtype=np.float32)
        positions = np.arange(40) % 2
        for heavy in (0, 1):
            weights = np.where(positions == heavy, 5, 1).astype(np.float32)
            network = fit_trees(kind, features, positions, 2, CHANNELS, weights=weights, trees=5)
            assert logits(network, features)[0].argmax() == heavy

    def test_progress_runs_to_the_end_and_may_stop_it(self, kind: str) -> None:
        told: list[float] = []
        fit_trees(kind, *samples(), CLASSES, CHANNELS, trees=25, progress=told.append)
        assert len(told) > 2
        assert told[-1] == 1
        assert all(earlier <= later for earlier, later in pairwise(told))

        def stop(fraction: float) -> None:
            if fraction > 0.3:
                raise Cancelled

        with pytest.raises(Cancelled):
            fit_trees(kind, *samples(), CLASSES, CHANNELS, trees=25, progress=stop)

    def test_one_class_is_too_few(self, kind: str) -> None:
        features, positions = samples()
        with pytest.raises(SamplesError, match="of 1 class"):
            fit_trees(kind, features, np.zeros_like(positions), CLASSES, CHANNELS)

    def test_settings_that_make_no_trees_are_refused(self, kind: str) -> None:
        for name, value in (("trees", 0), ("max_depth", 0), ("min_leaf", 0), ("patience", 0), ("learning_rate", 0)):
            with pytest.raises(ValueError, match=f"{name} is 0"):
                fit_trees(kind, *samples(), CLASSES, CHANNELS, **{name: value})

    def test_arrays_that_do_not_belong_together_are_refused(self, kind: str) -> None:
        features, positions = samples()
        spoilt = features.copy()
        spoilt[3, 2] = np.nan
        for arguments, message in (
            ((features[:, :-1], positions), r"expected \(N, T \* 3\)"),
            ((features, positions[:-1]), "positions has shape"),
            ((features, positions + 1), "positions run from 1 to 4"),
            ((spoilt, positions), "expected finite float32"),
        ):
            with pytest.raises(ValueError, match=message):
                fit_trees(kind, *arguments, CLASSES, CHANNELS)

    def test_saved_and_loaded_trees_are_the_same(self, kind: str, tmp_path: Path) -> None:
        network = fit_trees(kind, *samples(), CLASSES, CHANNELS, trees=6)
        save_file(network.state_dict(), tmp_path / "weights.safetensors")
        other = build("tree_ensemble", **asdict(network.sizes))
        other.load_state_dict(load_file(tmp_path / "weights.safetensors"))
        assert np.array_equal(logits(other, samples()[0]), logits(network, samples()[0]))


def test_forest_does_not_grow_with_the_samples_beyond_what_a_tree_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    features, positions = samples(600)
    large = fit_trees("random_forest", features, positions, CLASSES, CHANNELS, trees=4)
    monkeypatch.setattr("cropmap_core.learning.trees.MOST_PER_TREE", 100)
    small = fit_trees("random_forest", features, positions, CLASSES, CHANNELS, trees=4)
    assert len(small.scores) < 100 * 4 / 2 < len(large.scores)


def test_boosting_keeps_the_rounds_that_are_best_for_the_validation_samples() -> None:
    """Labels that are half noise: more rounds are soon worse."""
    rng = np.random.default_rng(0)

    def noisy(seed: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        features, positions = samples(seed=seed)
        return features, np.where(
            rng.random(len(positions)) < 0.5, rng.integers(CLASSES, size=len(positions)), positions
        )

    known, validation = noisy(0), noisy(1)
    stopped = fit_trees("xgboost", *known, CLASSES, CHANNELS, trees=200, patience=5, validation=validation)
    everything = fit_trees("xgboost", *known, CLASSES, CHANNELS, trees=200)
    assert 0 < len(stopped.roots) < len(everything.roots) == 200 * CLASSES

    def loss(network: Network) -> float:
        of_truth = probabilities(network, validation[0])[np.arange(len(validation[1])), validation[1]]
        return float(-np.log(of_truth).mean())

    assert loss(stopped) < loss(everything)


def test_a_runtime_without_xgboost_is_told_of(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "xgboost", None)
    with pytest.raises(TrainingError, match=r"xgboost cannot be loaded: .+ or take random_forest"):
        fit_trees("xgboost", *samples(), CLASSES, CHANNELS)


def test_validation_samples_of_a_class_that_training_lacks_are_left_out() -> None:
    features, positions = samples()
    kept = positions != 2
    fit_trees("xgboost", features[kept], positions[kept], CLASSES, CHANNELS, trees=3, validation=samples(seed=1))


def test_margin_of_a_class_never_seen_is_far_below_the_others() -> None:
    features, positions = samples()
    kept = positions != 0
    network = fit_trees("xgboost", features[kept], positions[kept], CLASSES, CHANNELS, trees=300, learning_rate=0.3)
    found = logits(network, features)
    assert (found[:, 0] == NEVER_SEEN).all()
    assert found[:, 1:].min() > NEVER_SEEN + 10


@torch.no_grad()
def test_what_is_not_valid_is_the_mean_of_training() -> None:
    network = fit_trees("random_forest", *samples(), CLASSES, CHANNELS, trees=10)
    features = samples(50, seed=1)[0]
    x, dates, valid = as_pixels(features)
    valid[:, 2] = False
    filled = features.reshape(50, TIMES, CHANNELS).copy()
    filled[:, 2] = 0
    for rubbish in (float("nan"), 1e30):
        spoilt = torch.where(valid.unsqueeze(2), x, rubbish)
        expected = logits(network, filled.reshape(50, -1))
        assert np.array_equal(np.asarray(network(spoilt, dates, valid)[0, :, 0].T), expected)
    assert network(x, dates, torch.zeros_like(valid)).isfinite().all()


@torch.no_grad()
def test_any_height_and_width_in_chunks_or_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    network = fit_trees("random_forest", *samples(), CLASSES, CHANNELS, trees=7)
    x = torch.randn(2, TIMES, CHANNELS, 5, 3)
    rest = torch.zeros(2, TIMES), torch.ones(2, TIMES, 5, 3, dtype=torch.bool)
    whole = network(x, *rest)
    assert whole.shape == (2, CLASSES, 5, 3)
    alone = network(x[1:, ..., 4:, 1:2], rest[0][1:], rest[1][1:, :, 4:, 1:2])
    assert torch.equal(alone[0, :, 0, 0], whole[1, :, 4, 1])
    monkeypatch.setitem(VALUES_AT_ONCE, "cpu", 7 * 4)
    assert torch.equal(network(x, *rest), whole)


def test_another_number_of_dates_is_refused() -> None:
    network = fit_trees("random_forest", *samples(), CLASSES, CHANNELS, trees=2)
    with pytest.raises(ValueError, match="x has 3 dates; the trees were grown on 4"):
        network(torch.zeros(1, 3, CHANNELS, 1, 1), torch.zeros(1, 3), torch.ones(1, 3, 1, 1, dtype=torch.bool))


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("branches", 10**6, "branches of the trees are not all from 0"),
        ("branches", -1, "branches of the trees are not all from 0"),
        ("asked", CHANNELS * TIMES, "asked of the trees are not all from 0 to 11"),
        ("roots", -5, "roots of the trees are not all from 0"),
        ("branches", 0, "the trees are deeper than"),
    ],
)
def test_arrays_that_lead_nowhere_are_refused(name: str, value: int, message: str) -> None:
    network = fit_trees("random_forest", *samples(), CLASSES, CHANNELS, trees=2)
    arrays = {key: array.clone() for key, array in network.state_dict().items()}
    arrays[name].view(-1)[0] = value
    with pytest.raises(RuntimeError, match=message):
        network.load_state_dict(arrays)


def test_untrained_ensemble_knows_nothing() -> None:
    network = build(
        "tree_ensemble", channels=2, classes=3, times=1, trees=2, nodes=4, leaves=6, depth=2, averaged=False
    )
    assert not network(torch.randn(1, 1, 2, 3, 3), torch.zeros(1, 1), torch.ones(1, 1, 3, 3, dtype=torch.bool)).any()
