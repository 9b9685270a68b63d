"""Tree kernels: what the ensemble itself says, of every value, at any depth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace
from functools import partial

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from cropmap_core.errors import Cancelled
from cropmap_core.inference import tree_kernels
from cropmap_core.inference.bundles import Bundle, save_bundle
from cropmap_core.inference.predictor import Predictor
from cropmap_core.inference.ranks import BLOCK
from cropmap_core.inference.tree_kernels import MOST_ASKED_OF_ALL, TreeKernel, ask_by_kernels
from cropmap_core.learning.trees import Tree, assemble
from cropmap_core.timeseries.series import NODATA
from models import build
from models.network import Network
from models.tree_ensemble import TreeEnsemble
from tests.core.tiny_models import CLASSES as CROPS
from tests.core.tiny_models import FIRST_DAYS, bundle_of

TIMES, CHANNELS, CLASSES = 3, 2, 4
BANDS = ("B04", "B08")
BUNDLE = bundle_of(CROPS, BANDS, FIRST_DAYS[:TIMES], mean=(0.08134, 0.25416), std=(0.0417, 0.0613))
THRESHOLDS = np.array([-1.9, -0.5, -1e-4, 0.0, 1e-4, 0.25, 0.7, 2.0], np.float32)


def random_tree(rng: np.random.Generator, depth: int, outputs: int, thresholds: NDArray[np.float32]) -> Tree:
    """A tree with one leaf at its full depth, and others wherever chance ends a branch."""
    feature, threshold, left, right = [0], [np.float32(0)], [-1], [-1]
    level = [0]
    for _ in range(depth):
        asks = [number for place, number in enumerate(level) if place == 0 or rng.random() < 0.8]
        level = []
        for number in asks:
            feature[number] = int(rng.integers(TIMES * CHANNELS))
            threshold[number] = rng.choice(thresholds)
            left[number], right[number] = len(feature), len(feature) + 1
            level += [left[number], right[number]]
            for array, value in ((feature, 0), (threshold, np.float32(0)), (left, -1), (right, -1)):
                array += [value, value]
    shares = rng.random((len(feature), outputs)).astype(np.float32)
    if outputs > 1:
        shares /= shares.sum(axis=1, keepdims=True)
    return Tree(np.array(feature), np.array(threshold, np.float32), np.array(left), np.array(right), shares)


def random_trees(
    depths: Sequence[int], averaged: bool = False, thresholds: NDArray[np.float32] = THRESHOLDS
) -> TreeEnsemble:
    rng = np.random.default_rng(0)
    trees = [random_tree(rng, depth, CLASSES if averaged else 1, thresholds) for depth in depths]
    if averaged:
        return assemble(trees, CLASSES, CHANNELS, TIMES)
    return assemble(
        trees, CLASSES, CHANNELS, TIMES, rng.integers(CLASSES, size=len(trees)), rng.random(CLASSES).astype(np.float32)
    )


def window(height: int, width: int, seed: int = 0) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Normalised values, some of them thresholds, infinite or NaN, and not all valid."""
    rng = np.random.default_rng(seed)
    shape = TIMES, CHANNELS, height, width
    values = rng.normal(size=shape).astype(np.float32)
    odd = rng.choice([*THRESHOLDS, np.inf, -np.inf, np.nan, -0.0, 1e30], shape).astype(np.float32)
    return np.where(rng.random(shape) < 0.5, odd, values), rng.random((TIMES, height, width)) < 0.8


@torch.no_grad()
def expected(trees: Network, normalised: NDArray[np.float32], valid: NDArray[np.bool_]) -> torch.Tensor:
    """What the network says, which knows nothing of kernels."""
    days = torch.zeros(1, len(normalised))
    return trees(torch.from_numpy(normalised)[None], days, torch.from_numpy(valid)[None])[0]


@pytest.mark.parametrize("averaged", [False, True])
@pytest.mark.parametrize("depth", [0, 1, 3, 4, 6, 7, MOST_ASKED_OF_ALL, MOST_ASKED_OF_ALL + 1, 13])
def test_logits_are_those_of_the_ensemble(depth: int, averaged: bool) -> None:
    """Trees of this depth among others of all smaller ones."""
    trees = random_trees([*range(depth + 1), depth, depth], averaged)
    values, valid = window(7, 90)
    found = TreeKernel(trees).logits(values, valid)
    torch.testing.assert_close(found, expected(trees, values, valid), atol=1e-6, rtol=0)
    assert found.std() > 0.05 or depth == 0


def test_margins_are_added_in_the_order_of_the_trees() -> None:
    trees = random_trees([6, 3, 8, 0, 5] * 20)
    values, valid = window(3, 200)
    assert torch.equal(TreeKernel(trees).logits(values, valid), expected(trees, values, valid))


@pytest.mark.parametrize("size", [(1, 1), (1, BLOCK), (1, BLOCK + 1), (97, 101)])
@pytest.mark.parametrize("depth", [6, 12])
def test_windows_of_any_size(size: tuple[int, int], depth: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tree_kernels, "_WORK_AT_ONCE", 4 * 1000)
    trees = random_trees([depth] * 4)
    values, valid = window(*size)
    assert torch.equal(TreeKernel(trees).logits(values, valid), expected(trees, values, valid))


@pytest.mark.parametrize("depth", [6, 12])
def test_every_whole_number_is_decided_as_if_it_were_normalised(depth: int) -> None:
    """All 65536 of int16 in each channel and date; thresholds are among what they become."""
    numbers = np.arange(-(2**15), 2**15).astype(np.int16).reshape(256, 256)
    values = np.broadcast_to(numbers, (TIMES, CHANNELS, 256, 256))
    normalised = BUNDLE.normalise(values)
    rng = np.random.default_rng(0)
    some = rng.choice(normalised[0].reshape(-1), 40)
    thresholds = np.concatenate([some, np.nextafter(some, np.float32(np.inf)), THRESHOLDS])
    trees = random_trees([depth] * 12, thresholds=thresholds.astype(np.float32))
    valid = rng.random((TIMES, 256, 256)) < 0.9
    found = TreeKernel(trees).logits(values, valid, BUNDLE.normalise)
    assert torch.equal(found, expected(trees, normalised, valid))


@settings(deadline=None, max_examples=25)
@given(st.lists(st.floats(-3, 3, width=32), min_size=1, max_size=9, unique=True))
def test_reflectance_beside_a_threshold_is_decided_as_if_it_were_normalised(values: list[float]) -> None:
    """Floats around those whose normalised values are thresholds: one step apart they may become the same."""
    thresholds = np.array(values, np.float32)
    mean, std = np.array(BUNDLE.mean)[:, None], np.array(BUNDLE.std)[:, None]
    around = (thresholds * std + mean).astype(np.float32)  # (C, N)
    steps = [around]
    for direction in (np.inf, -np.inf):
        for _ in range(4):
            steps.append(np.nextafter(steps[-1] if len(steps) % 4 != 1 else around, np.float32(direction)))
    reflectance = np.broadcast_to(np.stack(steps, axis=1), (TIMES, CHANNELS, len(steps), len(thresholds)))
    valid = np.ones((TIMES, *reflectance.shape[2:]), bool)
    trees = random_trees([4] * 8, thresholds=thresholds)
    found = TreeKernel(trees).logits(reflectance, valid, BUNDLE.normalise)
    assert torch.equal(found, expected(trees, BUNDLE.normalise(reflectance), valid))


@pytest.mark.parametrize("dtype", [np.int16, np.float32])
def test_what_is_not_valid_is_zero_though_no_value_becomes_zero(dtype: type) -> None:
    """The mean lies between two whole numbers; the threshold of one tree between them and 0."""
    mean = BUNDLE.mean[0] / 1e-4
    below, above = (
        BUNDLE.normalise(np.full((1, 2, 1, 1), step(mean), np.int16))[0, 0, 0, 0] for step in (np.floor, np.ceil)
    )
    assert below < 0 < above
    thresholds = np.array([below / 2, above / 2], np.float32)
    trees = random_trees([5] * 6, thresholds=thresholds)
    values = np.full((TIMES, CHANNELS, 2, 3), 9999 if dtype is np.int16 else np.nan, dtype)
    valid = np.zeros((TIMES, 2, 3), bool)
    found = TreeKernel(trees).logits(values, valid, BUNDLE.normalise)
    zero = np.zeros(values.shape, np.float32)
    assert torch.equal(found, expected(trees, zero, np.ones_like(valid)))
    assert not torch.equal(found, expected(trees, zero + above, np.ones_like(valid)))


@pytest.mark.parametrize("dtype", [np.int16, np.float32])
def test_a_channel_that_is_not_there_is_its_mean(dtype: type) -> None:
    trees = random_trees([6] * 8)
    numbers = np.random.default_rng(1).integers(1000, 4000, (TIMES, 1, 20, 20)).astype(np.int16)
    values = numbers if dtype is np.int16 else numbers * np.float32(1e-4)
    valid = np.ones((TIMES, 20, 20), bool)
    normalise = partial(BUNDLE.normalise, there=["B08"])
    kernel = TreeKernel(trees)
    assert torch.equal(kernel.logits(values, valid, normalise, [1]), expected(trees, normalise(values), valid))
    both = np.concatenate([values, values], axis=1)
    assert torch.equal(
        kernel.logits(both, valid, BUNDLE.normalise), expected(trees, BUNDLE.normalise(both), valid)
    )  # the same kernel, asked for all of them


@pytest.mark.parametrize("depth", [6, 12])
def test_thresholds_that_are_no_numbers(depth: int) -> None:
    """Nothing is less than NaN, all but infinity and NaN less than infinity."""
    trees = random_trees([depth] * 10, thresholds=np.array([np.nan, np.inf, -np.inf, 0, 3e38], np.float32))
    values, valid = window(20, 30)
    assert torch.equal(TreeKernel(trees).logits(values, valid), expected(trees, values, valid))


@pytest.mark.parametrize("depth", [5, 14])
def test_questions_that_are_decided_already_are_not_asked(depth: int) -> None:
    """One below the other: laid out with both of their sides, the last one would be there 2 ** depth times."""
    number = np.arange(2 * depth + 3)  # questions are even, but for the last one's leaves
    asks = (number % 2 == 0) & (number <= 2 * depth)
    less, other = np.where(asks, number + 1, -1), np.where(asks, number + 2, -1)
    thresholds = np.where(number == 2 * depth, 0, np.nan).astype(np.float32)
    tree = Tree(np.zeros_like(number), thresholds, less, other, number.astype(np.float32)[:, None])
    trees = assemble([tree], 1, CHANNELS, TIMES, np.zeros(1, int), np.zeros(1, np.float32))
    values, valid = window(20, 30)
    kernel = TreeKernel(trees)
    assert torch.equal(kernel.logits(values, valid), expected(trees, values, valid))
    assert kernel._layout.scores.size <= 8  # a tree of three questions, or less


@pytest.mark.parametrize("depth", [0, 1, 5, 12])
@pytest.mark.parametrize("averaged", [False, True])
def test_trees_that_are_less_deep_than_they_are_said_to_be(averaged: bool, depth: int) -> None:
    """As a bundle may say; here none asks anything."""
    sizes = replace(random_trees([0, 0], averaged).sizes, depth=depth)
    trees = TreeEnsemble(sizes).eval()
    trees.load_state_dict(random_trees([0, 0], averaged).state_dict())
    values, valid = window(3, 4)
    assert torch.equal(TreeKernel(trees).logits(values, valid), expected(trees, values, valid))


@pytest.mark.parametrize("depth", [8, 9, 17])
def test_more_thresholds_than_a_byte_or_two_can_tell_apart(depth: int) -> None:
    """A tree that sorts one feature into 2 ** depth leaves, each with a number of its own."""
    count = 2**depth - 1
    number = np.arange(count)
    level = np.log2(number + 1).astype(int)
    place = (2 * (number + 1 - 2**level) + 1) * 2 ** (depth - 1 - level)  # in the order of the thresholds
    children = np.concatenate([2 * number + 1, np.full(count + 1, -1)])
    others = np.concatenate([2 * number + 2, np.full(count + 1, -1)])
    thresholds = np.concatenate([place, np.zeros(count + 1)]).astype(np.float32)
    margins = np.concatenate([np.zeros(count), np.arange(count + 1)]).astype(np.float32)[:, None]
    features = np.zeros(2 * count + 1, int)
    tree = Tree(features, thresholds, children, others, margins)
    trees = assemble([tree], 1, CHANNELS, TIMES, np.zeros(1, int), np.zeros(1, np.float32))
    values = np.linspace(-5, count + 5, TIMES * CHANNELS * 400).reshape(TIMES, CHANNELS, 20, 20).astype(np.float32)
    found = TreeKernel(trees).logits(values, np.ones((TIMES, 20, 20), bool))
    assert torch.equal(found[0], torch.from_numpy(np.floor(values[0, 0]).clip(0, count)))


def test_progress_is_told_and_may_stop(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tree_kernels, "_WORK_AT_ONCE", 300 * 4)
    kernel, told = TreeKernel(random_trees([4] * 4)), list[float]()
    values, valid = window(10, 120)
    kernel.logits(values, valid, progress=told.append)
    assert told == [0, 0.25, 0.5, 0.75]

    def stop(fraction: float) -> None:
        if fraction:
            raise Cancelled

    with pytest.raises(Cancelled):
        kernel.logits(values, valid, progress=stop)


def test_other_dates_or_channels_are_refused() -> None:
    kernel = TreeKernel(random_trees([3]))
    with pytest.raises(ValueError, match="x has 2 dates; the trees were grown on 3"):
        kernel.logits(np.zeros((2, CHANNELS, 1, 1), np.float32), np.ones((2, 1, 1), bool))
    with pytest.raises(ValueError, match="x has 1 channels; expected 2"):
        kernel.logits(np.zeros((TIMES, 1, 1, 1), np.float32), np.ones((TIMES, 1, 1), bool))


@torch.no_grad()
@pytest.mark.parametrize("combine", ["mean", "stacked"])
def test_trees_among_the_members_of_an_ensemble_are_asked_by_kernels(combine: str) -> None:
    members = [random_trees([5] * 6), random_trees([9] * 4, averaged=True)]
    own = [
        {name: value for name, value in asdict(each.sizes).items() if name not in ("channels", "classes")}
        for each in members
    ]
    described = [{"architecture": "tree_ensemble", "hyper_parameters": each, "temperature": 1.5} for each in own]
    network = build("ensemble", channels=CHANNELS, classes=CLASSES, members=described, combine=combine).eval()
    for made, member in zip(network.members, members, strict=True):
        made.load_state_dict(member.state_dict())
    x = torch.randn(3, TIMES, CHANNELS, 4, 5)
    rest = torch.zeros(3, TIMES), torch.rand(3, TIMES, 4, 5) < 0.8
    before = network(x, *rest)
    assert ask_by_kernels(network) is None
    assert all(made.asked_by is not None for made in network.members)
    torch.testing.assert_close(network(x, *rest), before, atol=1e-6, rtol=0)


def season() -> NDArray[np.int16]:
    return np.random.default_rng(3).integers(0, 5000, (TIMES, CHANNELS, 6, 7)).astype(np.int16)


@pytest.fixture
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """A tree for each number of its season, which is its threshold: so are those of xgboost values that it has seen."""
    seen = BUNDLE.normalise(season() * np.float32(1e-4)).reshape(TIMES * CHANNELS, -1)
    children = np.array([1, -1, -1]), np.array([2, -1, -1])
    margins = np.random.default_rng(4).normal(size=(seen.size, 3, 1)).astype(np.float32) / 4
    trees = assemble(
        [
            Tree(np.full(3, feature), np.full(3, threshold, np.float32), *children, margin)
            for (feature, _), threshold, margin in zip(np.ndindex(seen.shape), seen.reshape(-1), margins, strict=True)
        ],
        len(CROPS) + 1,
        CHANNELS,
        TIMES,
        np.arange(seen.size) % (len(CROPS) + 1),
        np.zeros(len(CROPS) + 1, np.float32),
    )
    described = bundle_of(
        (*CROPS, CROPS[0].__class__(9, "Beet", "#aa0000")),
        BANDS,
        FIRST_DAYS[:TIMES],
        mean=BUNDLE.mean,
        std=BUNDLE.std,
        architecture="tree_ensemble",
        hyper_parameters=asdict(trees.sizes),
        temperature=1.7,
        folder=tmp_path_factory.mktemp("bundles") / "trees",
    )
    return save_bundle(described, trees, {}, "# Trees")


def test_a_window_is_classified_as_its_samples_and_by_the_network(bundle: Bundle) -> None:
    """Whole numbers, the same as reflectance, each pixel as a sample, and softmax of what the network says."""
    numbers, valid = season(), np.repeat(np.random.default_rng(5).random((1, 6, 7)) < 0.8, TIMES, axis=0)
    numbers[:, :, ~valid[0]] = NODATA
    predictor = Predictor(bundle)
    days = np.zeros(TIMES, np.float32)
    found = predictor.of_window(numbers, valid, days)
    network = bundle.network()
    reflectance = numbers * np.float32(1e-4)
    logits = expected(network, bundle.normalise(reflectance), valid)
    torch.testing.assert_close(found, torch.softmax(logits / 1.7, dim=0), atol=1e-6, rtol=0)
    assert torch.equal(predictor.of_window(reflectance, valid, days), found)
    samples = numbers.reshape(TIMES, CHANNELS, -1).transpose(2, 0, 1)[..., None, None]
    usable = valid.reshape(TIMES, -1).T[..., None, None]
    alone = predictor.probabilities(samples, usable, BANDS)[:, :, 0, 0].T.reshape(CLASSES_OF_BUNDLE, 6, 7)
    np.testing.assert_allclose(alone[:, valid[0]], found.numpy()[:, valid[0]], atol=1e-6)
    assert np.isnan(alone[:, ~valid[0]]).all()


CLASSES_OF_BUNDLE = len(CROPS) + 1
