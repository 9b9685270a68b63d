"""What training makes: a model of one or several members, and what is known of how good it is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cropmap_core.classes import CropClass
from cropmap_core.inference.bundle_types import CALENDAR
from cropmap_core.learning.feeding import Indices
from cropmap_core.learning.fitting import Entry
from cropmap_core.learning.recipes import HIERARCHICAL, Recipe
from cropmap_core.learning.scores import Scores
from cropmap_core.learning.stacking import Stacking
from models.feature_trees import FeatureTrees
from models.hierarchical import Hierarchical
from models.network import Network
from models.tree_ensemble import TreeEnsemble

_OF_ALL_NETWORKS = ("channels", "classes")


@dataclass(frozen=True)
class Member:
    """A trained network of a model; mostly the only one."""

    recipe: Recipe
    network: Network
    temperature: float
    history: tuple[Entry, ...]
    best_epoch: int
    ended: str
    """Why its training ended."""
    validation: Scores
    """On the samples that steered it: a little too good."""
    loader_share: float
    """Share of the time of all steps in which the network waited for samples."""

    @property
    def architecture(self) -> str:
        """A name in `models.ARCHITECTURES`."""
        if isinstance(self.network, FeatureTrees):
            return "feature_trees"
        if isinstance(self.network, TreeEnsemble):
            return "tree_ensemble"
        return HIERARCHICAL if isinstance(self.network, Hierarchical) else self.recipe.architecture

    @property
    def hyper_parameters(self) -> dict[str, Any]:
        """Those of the architecture but channels and classes."""
        if isinstance(self.network, FeatureTrees):
            made_of = self.network.hyper_parameters
            return {"encoder": dict(made_of.encoder), "trees": dict(made_of.trees)}
        if not isinstance(self.network, (TreeEnsemble, Hierarchical)):
            return dict(self.recipe.hyper_parameters)
        return {name: value for name, value in asdict(self.network.sizes).items() if name not in _OF_ALL_NETWORKS}

    def as_json(self) -> dict[str, Any]:
        """As it stands in training.json."""
        return {
            "recipe": self.recipe.as_json(),
            "history": [
                {key: None if np.isnan(value) else value for key, value in each.items()} for each in self.history
            ],
            "best_epoch": self.best_epoch,
            "ended": self.ended,
            "temperature": self.temperature,
            "validation_macro_f1": self.validation.macro_f1,
            "validation_oa": self.validation.overall_accuracy,
        }


@dataclass(frozen=True)
class Made:
    """A trained model, but for what it is called."""

    members: tuple[Member, ...]
    network: Network
    architecture: str
    """A name in `models.ARCHITECTURES`."""
    hyper_parameters: Mapping[str, Any]
    """All of the network's, as `models.build` takes them."""
    temperature: float
    validation: Scores
    """On the samples that steered it: a little too good."""
    channels: tuple[str, ...]
    classes: tuple[CropClass, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    training: Indices
    """Samples that it has learnt from."""
    steering: Indices
    """Samples that it was steered by."""
    counts: NDArray[np.int64]
    """Labelled pixels that it has learnt from, by class."""
    positions: str = CALENDAR
    """How its network counts time: `calendar` or `thermal` days."""
    stacking: Stacking | None = None
    """Of a stacked ensemble, how it corrects the mean of its members; temperature and validation are then of
    cross-fitted predictions."""


@dataclass(frozen=True)
class CrossValidation:
    """What models of one recipe do on folds that they have not seen."""

    folds: tuple[int, ...]
    by_fold: tuple[Scores, ...]
    pooled: Scores

    def as_json(self) -> dict[str, Any]:
        """As it stands in training.json."""
        return {
            "folds": [
                {"fold": fold, "macro_f1": scores.macro_f1, "oa": scores.overall_accuracy}
                for fold, scores in zip(self.folds, self.by_fold, strict=True)
            ],
            "macro_f1": self.pooled.macro_f1,
            "oa": self.pooled.overall_accuracy,
        }
