"""Trees in place of a network: the same samples, the same validation, another way to learn."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from cropmap_core.errors import TrainingError
from cropmap_core.learning.feeding import NO_TARGET, Fed, Feed, Indices
from cropmap_core.learning.fitting import Entry, Fitted, Watch
from cropmap_core.learning.losses import balanced_weights
from cropmap_core.learning.recipes import Recipe
from cropmap_core.learning.scores import Scores, confusion_matrix
from cropmap_core.learning.trees import fit_trees
from models.feature_trees import FeatureTrees
from models.network import Network

MOST_SERIES = 200_000
"""Pixel series that trees are grown from: they take all of them at once. More are drawn from at random."""
_AT_ONCE = 2**14  # pixel series

Features = NDArray[np.float32]


@dataclass(frozen=True)
class Encoder:
    """A network whose embedding trees are grown on."""

    recipe: Recipe
    """How it was trained."""
    fitted: Fitted
    device: torch.device
    """Where it computes."""

    def see(self, batch: Fed) -> Tensor:
        """The embedding of each pixel, shape (B, H, W, E)."""
        with torch.inference_mode():
            network = self.fitted.network.to(self.device).eval()
            found = network.features(*(each.to(self.device) for each in (batch.x, batch.days, batch.valid)))
        return found.float().cpu().movedim(1, -1)


def grow(
    feed: Feed,
    training: Indices,
    validation: Indices,
    recipe: Recipe,
    watch: Watch,
    encoder: Encoder | None = None,
) -> Fitted:
    """Trains xgboost or a random forest on pixel series, or on what a network makes of them.

    Args:
        feed: Makes batches, of single pixels where there is no encoder.
        training: Samples to learn from.
        validation: Samples by which xgboost stops.
        recipe: Architecture, hyper-parameters, balance and seed count.
        watch: Who looks on.
        encoder: The network; None for trees on the series.

    Raises:
        TrainingError: There is no series to learn from.
    """
    started = time.perf_counter()
    random = np.random.default_rng(recipe.seed)
    features, target = _series(feed, training, random, watch, encoder)
    held_out = _series(feed, validation, random, watch, encoder)
    channels = len(feed.channels) if encoder is None else features.shape[1]
    counts = np.bincount(target, minlength=len(feed.classes))
    weights = None if recipe.balance == "none" else balanced_weights(counts)[target]
    trees = fit_trees(
        "xgboost" if recipe.architecture == "xgboost" else "random_forest",
        features,
        target,
        len(feed.classes),
        channels,
        weights=weights,
        seed=recipe.seed,
        validation=held_out,
        progress=lambda fraction: watch.progress(0.1 + 0.9 * fraction, ""),
        **recipe.of_trees,
    )
    logits = _logits(trees, held_out[0], channels)
    before = () if encoder is None else encoder.fitted.history
    entry = _measured(logits, held_out[1], time.perf_counter() - started, len(before) + 1)
    watch.epoch(entry)
    if encoder is None:
        return Fitted(trees, (entry,), 1, "all trees are grown", logits, held_out[1])
    told = {
        "architecture": encoder.recipe.architecture,
        "hyper_parameters": dict(encoder.recipe.hyper_parameters),
    }
    network = FeatureTrees.of(told, encoder.fitted.network.cpu(), trees)
    ended = (
        f"{encoder.fitted.ended}; all trees are grown on features of epoch {encoder.fitted.best_epoch} of "
        f"{encoder.recipe.architecture}"
    )
    return Fitted(network, (*before, entry), len(before) + 1, ended, logits, held_out[1])


def _series(
    feed: Feed, index: Indices, random: np.random.Generator, watch: Watch, encoder: Encoder | None
) -> tuple[Features, NDArray[np.int64]]:
    """Features (N, T * C), of an encoder (N, E), and target (N,) of labelled pixels."""
    features, target = np.empty((0, 0), np.float32), np.empty(0, np.int64)
    lot, seen = np.empty(0), 0
    for batch in feed.batches(index, feed.samples_of(_AT_ONCE)):
        watch.progress(0.0, "")
        looked_at = batch.target != NO_TARGET
        pixels = batch.x.permute(0, 3, 4, 1, 2).flatten(3) if encoder is None else encoder.see(batch)
        found = pixels[looked_at].numpy()  # (B, H, W, features) to (N, features)
        features = np.concatenate([features, found]) if seen else found
        target = np.concatenate([target, batch.target[looked_at].numpy()])
        lot = np.concatenate([lot, random.random(len(found))])
        seen += len(found)
        if len(target) > MOST_SERIES:  # the lowest lots stay: a fair draw of all that is ever read
            kept = np.sort(np.argpartition(lot, MOST_SERIES)[:MOST_SERIES])
            features, target, lot = features[kept], target[kept], lot[kept]
    if not seen:
        raise TrainingError("No labelled series was ever observed.", "Look at the training set with summarizesamples.")
    if seen > MOST_SERIES:
        watch.warning(f"{MOST_SERIES} of {seen} series are drawn at random: trees take them all at once.")
    return features, target


def _logits(network: Network, features: Features, channels: int) -> Features:
    x = torch.from_numpy(features).reshape(len(features), -1, channels, 1, 1)
    with torch.inference_mode():
        days = torch.zeros(len(x), x.shape[1])
        logits: Features = network(x, days, torch.ones(x.shape[0], x.shape[1], 1, 1, dtype=torch.bool)).numpy()
    return logits[:, :, 0, 0]


def _measured(logits: Features, target: NDArray[np.int64], seconds: float, epoch: int) -> Entry:
    scores = Scores(confusion_matrix(target, logits.argmax(axis=1), logits.shape[1]))
    loss = functional.cross_entropy(torch.from_numpy(logits), torch.from_numpy(target))
    told: Mapping[str, Any] = {
        "epoch": epoch,
        "train_loss": float("nan"),
        "validation_loss": float(loss),
        "validation_macro_f1": float(scores.macro_f1),
        "validation_oa": float(scores.overall_accuracy),
        "learning_rate": 0.0,
        "seconds": round(seconds, 3),
    }
    return told
