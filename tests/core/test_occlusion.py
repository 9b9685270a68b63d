"""Occlusion: what cannot be seen or was never there does not matter, and what tells classes apart matters most."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from cropmap_core.errors import Cancelled
from cropmap_core.learning.trees import fit_trees
from models.network import Network
from models.occlusion import channel_importance, date_importance
from tests.core.made_of_networks import (
    MADE_OF_NETWORKS,
    assemble_feature_trees,
    ensemble_of,
    hierarchical,
    made_of_networks,
)
from tests.core.test_networks import CHANNELS, CLASSES, LEAST_STEPS, SMALL, network, season, with_holes

ALL = (*SMALL, *MADE_OF_NETWORKS)
TIMES, TELLING_DATE, TELLING_CHANNEL, BLIND_CHANNEL = 6, 2, 1, 0
FIRST_WEIGHTS = {
    "tempcnn": "temporal.convolutions.0.weight",
    "hybrid_cnn": "temporal.convolutions.0.weight",
    "convlstm": "cells.0.gates.weight",
    "transformer": "project.weight",
    "ltae": "observation.0.weight",
}


class Blind(Network):
    """A network that does not look at one channel."""

    def __init__(self, network: Network, channel: int) -> None:
        super().__init__()
        self.kind, self.channels, self.classes = network.kind, network.channels, network.classes
        self.network, self.channel = network, channel

    def logits(self, x: Tensor, dates: Tensor, valid: Tensor) -> Tensor:
        kept = x.clone()
        kept[:, :, self.channel] = 7.0
        return self.network(kept, dates, valid)

    def embed(self, x: Tensor, dates: Tensor, valid: Tensor) -> Tensor:
        raise NotImplementedError


def made(name: str) -> Network:
    return made_of_networks(name) if name in MADE_OF_NETWORKS else network(name)


def told_apart(count: int, seed: int) -> tuple[tuple[Tensor, Tensor, Tensor], Tensor]:
    """Noise, in which one channel of one date alone tells the class."""
    random = torch.Generator().manual_seed(seed)
    x = torch.randn(count, TIMES, CHANNELS, 1, 1, generator=random) / 4
    target = torch.arange(count) % CLASSES
    x[:, TELLING_DATE, TELLING_CHANNEL, 0, 0] += 2.0 * target - 3
    dates = (torch.arange(TIMES) * 30.0).expand(count, -1)
    return (x, dates, torch.ones(count, TIMES, 1, 1, dtype=torch.bool)), target


def taught(name: str) -> Network:
    """A network or trees that have learnt to tell those classes apart."""
    example, target = told_apart(128, seed=0)
    if name == "ensemble":
        return ensemble_of({each: taught(each) for each in ("tempcnn", "rnn")}, "mean")
    if name == "tree_ensemble":
        return fit_trees("xgboost", example[0].flatten(1).numpy(), target.numpy(), CLASSES, CHANNELS, trees=20)
    if name == "feature_trees":
        encoder = taught("tempcnn")
        with torch.no_grad():
            features = encoder.features(*example)[:, :, 0, 0].numpy()
        trees = fit_trees("random_forest", features, target.numpy(), CLASSES, features.shape[1], trees=20)
        return assemble_feature_trees("tempcnn", encoder, trees)
    there = (hierarchical() if name == "hierarchical" else network(name, dropout=0.0)).train()
    optimiser = torch.optim.Adam(there.parameters(), lr=1e-2)
    for step in range(150):
        loss = functional.cross_entropy(there(*example).flatten(1), target)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        if loss < 0.05 and step >= LEAST_STEPS.get(name, 0):
            break
    return there.eval()


@pytest.mark.parametrize("name", ALL)
def test_a_channel_that_cannot_be_seen_has_no_importance(name: str) -> None:
    there = made(name)
    importance = channel_importance(Blind(there, BLIND_CHANNEL), *with_holes())
    assert importance.shape == ((1, CHANNELS, 7, 7) if there.kind == "dense" else (1, CHANNELS))
    assert not importance[:, BLIND_CHANNEL].any()
    assert importance[:, BLIND_CHANNEL + 1 :].abs().max() > 1e-4


@pytest.mark.parametrize("name", FIRST_WEIGHTS)
def test_a_channel_whose_weights_are_zero_has_no_importance(name: str) -> None:
    there = made(name)
    with torch.no_grad():
        there.get_parameter(FIRST_WEIGHTS[name])[:, BLIND_CHANNEL] = 0
    importance = channel_importance(there, *with_holes())
    assert not importance[:, BLIND_CHANNEL].any()
    assert importance[:, BLIND_CHANNEL + 1 :].abs().max() > 1e-4


@pytest.mark.parametrize("name", ALL)
def test_a_date_that_was_never_observed_has_no_importance(name: str) -> None:
    there = made(name)
    x, dates, valid = with_holes()
    valid[:, 3] = False
    importance = date_importance(there, x, dates, valid)
    assert importance.shape == ((1, TIMES, 7, 7) if there.kind == "dense" else (1, TIMES))
    assert not importance[:, 3].any()
    assert importance.abs().max() > 1e-4


@pytest.mark.parametrize("name", ALL)
def test_what_tells_the_classes_apart_matters_most(name: str) -> None:
    there = taught(name)
    example, target = told_apart(64, seed=1)
    with torch.no_grad():
        right = there(*example).flatten(1).argmax(dim=1) == target
    assert right.float().mean() > 0.9
    of_dates = date_importance(there, *example).flatten(1)[right].mean(dim=0)
    of_channels = channel_importance(there, *example).flatten(1)[right].mean(dim=0)
    assert int(of_dates.argmax()) == TELLING_DATE
    assert int(of_channels.argmax()) == TELLING_CHANNEL
    assert of_dates.max() > 2 * of_dates.sort().values[-2]


@pytest.mark.parametrize("name", ["tempcnn", "convlstm"])
def test_it_is_the_change_of_the_log_probability_of_the_class_asked_for(name: str) -> None:
    there = made(name)
    x, dates, valid = season(batch=2)
    given = there(x, dates, valid)
    positions = torch.full((2, *given.shape[2:]), 3)
    found = date_importance(there, x, dates, valid, positions, temperature=2.0)
    kept = [0, 1, 2, 3, 5]
    without = there(x[:, kept], dates[:, kept], valid[:, kept])
    expected = (given / 2).log_softmax(dim=1)[:, 3] - (without / 2).log_softmax(dim=1)[:, 3]
    torch.testing.assert_close(found[:, 4], expected, rtol=0, atol=2e-5)
    assert not torch.allclose(found, date_importance(there, x, dates, valid))


def test_positions_of_another_shape_are_refused() -> None:
    with pytest.raises(ValueError, match=r"expected \(1, 7, 7\)"):
        date_importance(network("tempcnn"), *season(), torch.zeros(1, dtype=torch.int64))


def test_nothing_of_the_network_or_the_samples_changes() -> None:
    there = network("tempcnn")
    example = with_holes()
    before = [part.clone() for part in example]
    date_importance(there, *example)
    channel_importance(there, *example)
    assert all(torch.equal(part, was) for part, was in zip(example, before, strict=True))
    assert all(parameter.grad is None for parameter in there.parameters())


def test_it_may_be_stopped() -> None:
    steps: list[int] = []

    def step() -> None:
        steps.append(len(steps))
        if len(steps) == 3:
            raise Cancelled

    with pytest.raises(Cancelled):
        date_importance(network("tempcnn"), *season(), step=step)
    assert len(steps) == 3
