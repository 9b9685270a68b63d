"""Bundles of fold models: what cross-validation has kept, as models that `evaluatemodel` judges.

A bundle is trained on all folds, so that no sample is left to judge it by. For each fold a bundle is made here of all
members that have not seen it, calibrated on the other folds, and one of XGBoost beside it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cropmap_core.inference.bundle_types import ITEM
from cropmap_core.inference.bundles import read_json
from cropmap_core.learning.bundling import TRAINING, write_bundle
from cropmap_core.learning.feeding import Feed, Indices
from cropmap_core.learning.made import Made, Member
from cropmap_core.learning.recipes import Recipe
from cropmap_core.learning.scores import Scores, confusion_matrix
from cropmap_core.samples.files import SampleFile
from scripts.bundle_plans.cross_validation import XGBOOST, CrossValidated, Plan, averaged, identity

FOLDS = "folds"
"""Folder of a plan's work folder that the bundles of fold models go to."""
_KEPT = "trained without the fold"
Floats = NDArray[np.float32]


def write_fold_bundles(
    file: SampleFile, plan: Plan, found: CrossValidated, seeds: Sequence[int], folder: Path
) -> tuple[Path, Path]:
    """Writes the fold models of a plan and of XGBoost.

    Args:
        file: The training set.
        plan: The bundle.
        found: What was trained.
        seeds: Those whose members are put together.
        folder: Where the two folders of bundles go, `ID` and `ID-xgboost`.

    Returns:
        The two folders, as `evaluatemodel` takes them.
    """
    recipes = plan.members(seeds)
    networks, trees = folder / plan.id, folder / f"{plan.id}-{XGBOOST}"
    for fold in found.folds:
        made = _network(file, plan, found, recipes, fold)
        write_bundle(file, made, None, networks / f"{networks.name}-fold{fold}", f"{plan.title}, without fold {fold}")
        made = _trees(file, found, fold)
        title = f"{plan.title}, XGBoost without fold {fold}"
        write_bundle(file, made, None, trees / f"{trees.name}-fold{fold}", title)
    return networks, trees


def made_of(folder: Path, plan: Plan, seeds: Sequence[int]) -> bool:
    """Whether a folder holds a bundle whose members are those of a plan as it is now."""
    path = folder / TRAINING
    if not path.is_file():
        return False
    told = read_json(path)
    # Settings that recipes got later on, and that the plan does not use, make it no other.
    wanted = [identity(_plain(recipe.as_json())) for recipe in plan.members(seeds)]
    adjustment = read_json(folder / ITEM)["properties"]["mlm:hyperparameters"].get("adjustment", [0.0])
    same = wanted == [identity(each["recipe"]) for each in told["members"] or [told]]
    return same and adjustment[-1] == plan.others


def folds_there(folder: Path, plan: Plan, folds: Sequence[int], seeds: Sequence[int]) -> bool:
    """Whether the fold models of a plan as it is now, and those of XGBoost, stand as bundles in a folder."""
    trees = f"{plan.id}-{XGBOOST}"
    return all(
        made_of(folder / plan.id / f"{plan.id}-fold{fold}", plan, seeds)
        and (folder / trees / f"{trees}-fold{fold}" / ITEM).is_file()
        for fold in folds
    )


def _network(file: SampleFile, plan: Plan, found: CrossValidated, recipes: Sequence[Recipe], fold: int) -> Made:
    temperatures, of_all = found.temperatures(recipes, without=fold)
    channels, classes = len(file.layout.bands), len(file.classes)
    members = []
    for recipe, temperature in zip(recipes, temperatures, strict=True):
        network, mean, std = found.kept(recipe, fold)
        scores = _scores(found, found.logits(recipe), fold)
        members.append(Member(recipe, network, temperature, (), recipe.epochs, _KEPT, scores, 0.0))
    together, settings = averaged(members, channels, classes, plan)
    scores = _scores(found, found.ensemble(recipes), fold)
    return Made(
        tuple(members), together, "ensemble", settings, of_all, scores, file.layout.bands, file.classes,
        _numbers(mean), _numbers(std), *_taught(file, found, fold),
    )  # fmt: skip


def _trees(file: SampleFile, found: CrossValidated, fold: int) -> Made:
    network, mean, std = found.kept_trees(fold)
    temperature = found.temperature_of_trees(without=fold)
    scores = _scores(found, found.of_trees(), fold)
    member = Member(Recipe(XGBOOST), network, temperature, (), 1, _KEPT, scores, 0.0)
    settings = asdict(network.sizes)
    return Made(
        (member,), network, "tree_ensemble", settings, temperature, scores, file.layout.bands, file.classes,
        _numbers(mean), _numbers(std), *_taught(file, found, fold),
    )  # fmt: skip


def _taught(file: SampleFile, found: CrossValidated, fold: int) -> tuple[Indices, Indices, NDArray[np.int64]]:
    """The samples that a fold model has learnt from, those that it was steered by (none), and labels by class."""
    feed = Feed(file, file.layout.bands, file.classes, by_pixel=True)
    training, counts = feed.labelled(np.flatnonzero(~found.held_out(fold)))
    return training, np.empty(0, np.int64), counts.sum(axis=0)


def _plain(settings: Mapping[str, Any]) -> dict[str, Any]:
    """As they are read from JSON."""
    plain: dict[str, Any] = json.loads(json.dumps(settings))
    return plain


def _scores(found: CrossValidated, logits: Floats, fold: int) -> Scores:
    here = found.held_out(fold)
    return Scores(confusion_matrix(found.truth[here], logits[here].argmax(axis=1), logits.shape[1]))


def _numbers(values: Floats) -> tuple[float, ...]:
    return tuple(map(float, values))
