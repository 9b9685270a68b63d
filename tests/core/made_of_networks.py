"""Small networks that are made of other networks or of trees: none of them is trained by gradient descent."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray

import models
from cropmap_core.learning.trees import fit_trees
from models.feature_trees import FeatureTrees
from models.network import Network
from models.tree_ensemble import TreeEnsemble
from tests.core.test_networks import CHANNELS, CLASSES, as_member, network, season

MADE_OF_NETWORKS = ("ensemble", "hierarchical", "tree_ensemble", "feature_trees")
TIMES = 6


def made_of_networks(name: str, combine: str = "stacked") -> Network:
    """One of them, for six dates."""
    makers = {
        "ensemble": lambda: ensemble(combine),
        "hierarchical": hierarchical,
        "tree_ensemble": trees_on_series,
        "feature_trees": feature_trees,
    }
    return makers[name]().eval()


def ensemble(combine: str, architectures: tuple[str, ...] = ("tempcnn", "rnn")) -> Network:
    """Of networks as they are elsewhere in the tests; its correction, if it has one, is drawn at random."""
    return ensemble_of({name: network(name, seed=number) for number, name in enumerate(architectures)}, combine)


def ensemble_of(members: Mapping[str, Network], combine: str) -> Network:
    """Of networks of `SMALL`, by architecture."""
    told = [{**as_member(name), "temperature": 1.5} for name in members]
    made = models.build("ensemble", channels=CHANNELS, classes=CLASSES, members=told, combine=combine)
    state = made.state_dict()
    for number, member in enumerate(members.values()):
        state.update({f"members.{number}.{key}": tensor for key, tensor in member.state_dict().items()})
    torch.manual_seed(4)
    state.update({key: torch.randn(state[key].shape) / 4 for key in state if key.startswith("correction.")})
    made.load_state_dict(state)
    return made.eval()


def hierarchical(architecture: str = "tempcnn") -> Network:
    """Two groups of two classes."""
    torch.manual_seed(5)
    levels = [[number // 2 for number in range(CLASSES)]]
    told = {**as_member(architecture), "levels": levels}
    made = models.build("hierarchical", channels=CHANNELS, classes=CLASSES, **told)
    with torch.no_grad():
        made.train()(*season(batch=2))
    return made.eval()


def trees_on_series(times: int = TIMES) -> TreeEnsemble:
    features, positions = _samples(times * CHANNELS)
    return fit_trees("xgboost", features, positions, CLASSES, CHANNELS, trees=8)


def feature_trees(encoder: str = "tempcnn") -> FeatureTrees:
    """A forest on the embedding of a network of random weights."""
    encoding = network(encoder)
    x, dates, valid = season(batch=40, height=1, width=1)
    with torch.no_grad():
        features = encoding.features(x, dates, valid)[:, :, 0, 0].numpy()
    positions = np.arange(len(features)) % CLASSES
    trees = fit_trees("random_forest", features, positions, CLASSES, features.shape[1], trees=5)
    return assemble_feature_trees(encoder, encoding, trees)


def assemble_feature_trees(architecture: str, encoding: Network, trees: TreeEnsemble) -> FeatureTrees:
    """A network of `SMALL`, and trees on its embedding."""
    return FeatureTrees.of(as_member(architecture), encoding, trees)


def _samples(width: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    random = np.random.default_rng(0)
    positions = random.integers(CLASSES, size=80)
    features = random.normal(size=(80, width)).astype(np.float32)
    features[np.arange(80), positions] += 3
    return features, positions
