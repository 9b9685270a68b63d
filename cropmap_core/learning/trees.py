"""Random forests and gradient-boosted trees: grown by scikit-learn and xgboost, kept as the arrays of a network.

References:
    Breiman (2001), Random Forests, Machine Learning 45; Chen, Guestrin (2016), XGBoost: A Scalable Tree Boosting
    System, KDD.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from cropmap_core.errors import SamplesError, TrainingError
from models.network import require_integers
from models.tree_ensemble import TreeEnsemble, TreeEnsembleParameters

Kind = Literal["xgboost", "random_forest"]
Floats = NDArray[np.float32]
Progress = Callable[[float], None]

NEVER_SEEN = -30.0
"""Margin of a class without a training sample: far below any that trees add up."""
MOST_PER_TREE = 20_000
"""Samples that one tree of a forest is grown on, drawn with replacement: a tree has as many leaves as it has samples to
tell apart, and a bundle holds them all."""
TREES_AT_ONCE = 10
"""Trees of a random forest between two reports of progress."""


@dataclass(frozen=True)
class Tree:
    """A binary tree of M nodes, the root first."""

    feature: NDArray[np.integer[Any]]
    """What a node asks for, shape (M,)."""
    threshold: Floats
    """Less goes left, anything else right, shape (M,)."""
    left: NDArray[np.integer[Any]]
    """Its children's numbers, -1 at a leaf, shape (M,)."""
    right: NDArray[np.integer[Any]]
    scores: Floats
    """What a leaf gives, shape (M, outputs)."""


def fit_trees(
    kind: Kind,
    features: Floats,
    positions: NDArray[np.integer[Any]],
    classes: int,
    channels: int,
    *,
    weights: Floats | None = None,
    seed: int = 0,
    trees: int = 300,
    max_depth: int | None = None,
    min_leaf: int = 1,
    learning_rate: float = 0.1,
    validation: tuple[Floats, NDArray[np.integer[Any]]] | None = None,
    patience: int = 20,
    progress: Progress = lambda fraction: None,
) -> TreeEnsemble:
    """Grows an ensemble of trees.

    Args:
        kind: `xgboost` or `random_forest`.
        features: Normalised pixel series, date by date the channels, 0 where not valid, shape (N, T * channels).
        positions: Class of each, 0..classes - 1, shape (N,).
        classes: Classes of the network; those without a sample are never predicted.
        channels: Bands and indices per date.
        weights: Of each sample, shape (N,); None for equal ones.
        seed: Decides all that is random.
        trees: Trees of a forest; of xgboost the most rounds, each with a tree per class.
        max_depth: Most questions to a leaf; None for 6 with xgboost, any number in a forest.
        min_leaf: Fewest samples in a leaf of a forest; with xgboost the least sum of their hessians.
        learning_rate: Of xgboost: how much of each tree counts.
        validation: Features and positions of samples; xgboost then keeps the rounds up to the one that is best for
            them, and stops when `patience` rounds bring nothing better.
        patience: See `validation`.
        progress: Called with the share that is done; may raise to stop.

    Raises:
        SamplesError: There are samples of fewer than two classes.
        ValueError: The arrays do not belong together, or hold what is not finite; a setting is out of range.
        TrainingError: xgboost cannot be loaded.
    """
    require_integers(1, trees=trees, max_depth=6 if max_depth is None else max_depth)
    require_integers(1, min_leaf=min_leaf, patience=patience)
    if not 0 < learning_rate <= 1:
        raise ValueError(f"learning_rate is {learning_rate}; expected a number above 0, at most 1")
    _check(features, positions, classes, channels, weights)
    present = np.unique(positions)
    if len(present) < 2:
        raise SamplesError(
            f"The {len(features)} training samples are of {len(present)} class.", "Give samples of two classes or more."
        )
    place = np.full(classes, -1)
    place[present] = np.arange(len(present))
    labels = place[positions]
    if kind == "random_forest":
        grown = _forest(features, labels, weights, seed, trees, max_depth, min_leaf, progress)
        scattered = [_of_all_classes(tree, present, classes) for tree in grown]
        return assemble(scattered, classes, channels, features.shape[1] // channels)
    known = None
    if validation is not None:
        kept = np.isin(validation[1], present)
        known = (validation[0][kept], place[validation[1][kept]]) if kept.any() else None
    settings = {
        "max_depth": 6 if max_depth is None else max_depth,
        "min_child_weight": min_leaf,
        "eta": learning_rate,
        "seed": seed,
    }
    grown, tree_classes, base = _boosted(features, labels, weights, settings, trees, known, patience, progress)
    everywhere = np.full(classes, NEVER_SEEN, dtype=np.float32)
    everywhere[present] = base
    return assemble(grown, classes, channels, features.shape[1] // channels, present[tree_classes], everywhere)


def assemble(
    trees: Sequence[Tree],
    classes: int,
    channels: int,
    times: int,
    tree_classes: NDArray[np.integer[Any]] | None = None,
    base: Floats | None = None,
) -> TreeEnsemble:
    """Makes the network of trees.

    Args:
        trees: With `classes` scores each, averaged, or one score each if they have a class.
        classes: Classes of the network.
        channels: Bands and indices per date.
        times: Dates.
        tree_classes: Class of each tree's margins, shape (trees,); None for averaged trees.
        base: What margins are added to, shape (classes,).
    """
    asks = [tree.left >= 0 for tree in trees]
    nodes, leaves = sum(int(each.sum()) for each in asks), sum(int((~each).sum()) for each in asks)
    arrays: dict[str, list[NDArray[Any]]] = {"roots": [], "asked": [], "thresholds": [], "branches": [], "scores": []}
    first_node, first_leaf, depth = 0, nodes, 0
    for tree, ask in zip(trees, asks, strict=True):
        number = np.where(ask, first_node + np.cumsum(ask) - 1, first_leaf + np.cumsum(~ask) - 1)
        arrays["roots"].append(number[:1])
        arrays["asked"].append(tree.feature[ask])
        arrays["thresholds"].append(tree.threshold[ask])
        arrays["branches"].append(np.stack([number[tree.right[ask]], number[tree.left[ask]]], axis=1))
        arrays["scores"].append(tree.scores[~ask])
        first_node, first_leaf, depth = first_node + ask.sum(), first_leaf + (~ask).sum(), max(depth, _depth(tree))
    averaged = tree_classes is None
    network = TreeEnsemble(TreeEnsembleParameters(channels, classes, times, len(trees), nodes, leaves, depth, averaged))
    filled = {name: np.concatenate(parts) for name, parts in arrays.items()}
    filled["tree_classes"] = np.zeros(len(trees)) if tree_classes is None else tree_classes
    filled["base"] = np.zeros(classes) if base is None else base
    state = network.state_dict()
    network.load_state_dict({name: torch.as_tensor(filled[name]).to(state[name].dtype) for name in state})
    return network.eval()


def _check(
    features: Floats, positions: NDArray[np.integer[Any]], classes: int, channels: int, weights: Floats | None
) -> None:
    if features.ndim != 2 or features.shape[1] == 0 or features.shape[1] % channels:
        raise ValueError(f"features has shape {features.shape}; expected (N, T * {channels})")
    if features.dtype != np.float32 or not np.isfinite(features).all():
        raise ValueError(f"features is {features.dtype} or not finite; expected finite float32")
    for name, each in (("positions", positions), ("weights", weights)):
        if each is not None and each.shape != features.shape[:1]:
            raise ValueError(f"{name} has shape {each.shape}; expected {features.shape[:1]}")
    if len(positions) and not 0 <= positions.min() <= positions.max() < classes:
        raise ValueError(f"positions run from {positions.min()} to {positions.max()}; expected 0 to {classes - 1}")


def _forest(
    features: Floats,
    labels: NDArray[np.integer[Any]],
    weights: Floats | None,
    seed: int,
    trees: int,
    max_depth: int | None,
    min_leaf: int,
    progress: Progress,
) -> list[Tree]:
    from sklearn.ensemble import RandomForestClassifier

    forest = RandomForestClassifier(
        warm_start=True,
        max_depth=max_depth,
        min_samples_leaf=min_leaf,
        max_samples=MOST_PER_TREE if len(features) > MOST_PER_TREE else None,
        random_state=seed,
        n_jobs=-1,
    )
    for grown in range(0, trees, TREES_AT_ONCE):
        progress(grown / trees)
        forest.set_params(n_estimators=min(grown + TREES_AT_ONCE, trees))
        forest.fit(features, labels, sample_weight=weights)
    progress(1.0)
    return [of_scikit_learn(each.tree_) for each in forest.estimators_]


def of_scikit_learn(tree: Any) -> Tree:
    """The arrays of a fitted `sklearn.tree.DecisionTreeClassifier().tree_`.

    scikit-learn sends a float32 feature left if it is at most a float64 threshold: less than the next float32.
    """
    at_most = tree.threshold.astype(np.float32)
    at_most = np.where(at_most > tree.threshold, np.nextafter(at_most, np.float32(-np.inf)), at_most)
    shares = tree.value[:, 0]
    return Tree(
        tree.feature,
        np.nextafter(at_most, np.float32(np.inf)),
        tree.children_left,
        tree.children_right,
        (shares / shares.sum(axis=1, keepdims=True)).astype(np.float32),
    )


def _of_all_classes(tree: Tree, present: NDArray[np.integer[Any]], classes: int) -> Tree:
    scores = np.zeros((len(tree.scores), classes), dtype=np.float32)
    scores[:, present] = tree.scores
    return Tree(tree.feature, tree.threshold, tree.left, tree.right, scores)


def _boosted(
    features: Floats,
    labels: NDArray[np.integer[Any]],
    weights: Floats | None,
    settings: dict[str, Any],
    rounds: int,
    validation: tuple[Floats, NDArray[np.integer[Any]]] | None,
    patience: int,
    progress: Progress,
) -> tuple[list[Tree], NDArray[np.integer[Any]], Floats]:
    """Trees, the class of each, and the margins they are added to."""
    try:
        import xgboost
    except (ImportError, OSError, ValueError) as error:  # on a Mac it needs an OpenMP that is not always there
        reason, _, _ = str(error).strip().partition("\n")
        raise TrainingError(
            f"xgboost cannot be loaded: {reason}",
            "Install the runtime again with installruntime, on a Mac after 'brew install libomp'; or take "
            "random_forest.",
        ) from error

    class Reporter(xgboost.callback.TrainingCallback):
        def after_iteration(self, model: Any, epoch: int, evals_log: Any) -> bool:
            progress((epoch + 1) / rounds)
            return False

    training = xgboost.DMatrix(features, labels, weight=weights)
    booster = xgboost.train(
        {
            "objective": "multi:softprob",
            "num_class": int(labels.max()) + 1,
            "eval_metric": "mlogloss",
            "tree_method": "hist",
            "subsample": 0.8,
            "colsample_bytree": 0.8,
            **settings,
        },
        training,
        rounds,
        evals=[] if validation is None else [(xgboost.DMatrix(*validation), "validation")],
        early_stopping_rounds=None if validation is None else patience,
        callbacks=[Reporter()],
        verbose_eval=False,
    )
    kept = booster if validation is None else booster[: booster.best_iteration + 1]
    progress(1.0)
    return of_xgboost(kept)


def of_xgboost(booster: Any) -> tuple[list[Tree], NDArray[np.integer[Any]], Floats]:
    """The trees of a booster of several classes, the class of each, and the margins they are added to."""
    learner = json.loads(bytes(booster.save_raw("json")))["learner"]
    model, settings = learner["gradient_booster"]["model"], learner["learner_model_param"]
    trees = [
        Tree(
            np.array(each["split_indices"]),
            np.array(each["split_conditions"], dtype=np.float32),
            np.array(each["left_children"]),
            np.array(each["right_children"]),
            np.array(each["split_conditions"], dtype=np.float32)[:, None],  # a leaf's margin stands where others ask
        )
        for each in model["trees"]
    ]
    base = np.full(int(settings["num_class"]), json.loads(settings["base_score"]), dtype=np.float32)
    return trees, np.array(model["tree_info"]), base


def _depth(tree: Tree) -> int:
    level, depth = np.zeros(1, dtype=np.int64), 0
    while len(level := level[tree.left[level] >= 0]):
        level, depth = np.concatenate([tree.left[level], tree.right[level]]), depth + 1
    return depth
