"""Recipes: all that decides how a model is trained, but the samples."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, asdict, dataclass, field, fields, replace
from typing import Any

import models
from cropmap_core.errors import JobError
from cropmap_core.learning.variation import Variation

TREES = ("xgboost", "random_forest")
"""What is trained by xgboost and scikit-learn, and kept as the network `tree_ensemble`."""
HIERARCHICAL = "hierarchical"
"""What a network with a head for each level is kept as."""
NOT_TRAINED_BY_STEPS = ("tree_ensemble", "feature_trees", "ensemble", "auto_context", HIERARCHICAL)
"""Architectures of `models` that are made of what was trained otherwise."""
FEATURES_FROM = "features_from"
"""Setting of trees: the network on whose embedding they are grown, in place of the series."""
_OF_TREES = ("trees", "max_depth", "min_leaf", "learning_rate", "patience")
LOSSES = ("cross_entropy", "focal")
BALANCES = ("none", "weights", "sampling")
PRECISIONS = ("auto", "float32", "bfloat16")
LAST = "last"
KEPT = ("best", LAST)
_SETTING = re.compile(r"\s*([a-z][a-z0-9_]*)\s*=\s*(.+?)\s*")


@dataclass(frozen=True)
class Recipe:
    """How one model is trained."""

    architecture: str
    """A name in `models.ARCHITECTURES`, `xgboost` or `random_forest`."""
    hyper_parameters: Mapping[str, Any] = field(default_factory=dict)
    """Those of the architecture but channels and classes; of trees with `features_from` also those of that network."""
    epochs: int = 30
    batch_size: int = 0
    """Samples per step; 0 for up to 256 pixels or 8 patches."""
    learning_rate: float = 2e-3
    """At its highest, after the warm-up; it falls to zero along a cosine."""
    warm_up: float = 0.1
    """Share of all steps."""
    weight_decay: float = 1e-2
    loss: str = "cross_entropy"
    focal_gamma: float = 2.0
    label_smoothing: float = 0.05
    balance: str = "none"
    """`weights` of classes in the loss, or balanced `sampling`: against classes of unequal size."""
    level_weights: tuple[float, ...] = ()
    """How much each level of the hierarchy of classes counts in the loss, coarsest first, crops last; there is a head
    for each. None: one head, of the crops."""
    variation: Variation = field(default_factory=Variation)
    patience: int = 10
    """Epochs without a better validation macro F1 before training ends; 0 for never."""
    keep: str = "best"
    """The `best` epoch for the validation samples, or the `last`, which they then have no part in choosing."""
    details: str = ""
    """Column of the training set whose values a second head is taught to tell apart, of the same embedding: labels
    finer than the classes, which make it tell more. The head is left behind after training. Empty: none."""
    detail_weight: float = 0.5
    """Of the second head in the loss."""
    teaching: float = 0.0
    """Share of the loss that is a teacher's, where there is one, in place of the labels'."""
    averaging: float = 0.99
    """Decay of the exponential moving average of the weights that is kept; 0 for the last weights."""
    largest_gradient: float = 1.0
    """Norm that gradients are clipped to."""
    precision: str = "auto"
    """`bfloat16` where the device is made for it, else `float32`."""
    patches: int = 24
    """Patches per sample of a patch network."""
    seed: int = 0

    def __post_init__(self) -> None:
        _one_of("LOSS", self.loss, LOSSES)
        _one_of("BALANCE", self.balance, BALANCES)
        _one_of("PRECISION", self.precision, PRECISIONS)
        _one_of("KEEP", self.keep, KEPT)
        for name, value, least in (("EPOCHS", self.epochs, 1), ("BATCH_SIZE", self.batch_size, 0)):
            _require(value >= least, f"{name} is {value}.", f"Give {least} or more.")
        for name, share in (
            ("LABEL_SMOOTHING", self.label_smoothing),
            ("AVERAGING", self.averaging),
            ("WARM_UP", self.warm_up),
        ):
            _require(0 <= share < 1, f"{name} is {share}.", "Give a number from 0 to below 1.")
        for name, number in (("LEARNING_RATE", self.learning_rate), ("WEIGHT_DECAY", self.weight_decay)):
            _require(0 <= number < 10, f"{name} is {number}.", "Give a number such as 0.002.")
        _require(0 <= self.teaching <= 1, f"TEACHING is {self.teaching}.", "Give a share from 0 to 1.")
        _require(self.learning_rate > 0, "LEARNING_RATE is 0.", "Give a number such as 0.002.")
        _require(
            all(weight >= 0 for weight in self.level_weights)
            and (not self.level_weights or self.level_weights[-1] > 0),
            f"LEVEL_WEIGHTS are {', '.join(map(str, self.level_weights))}.",
            "Give a number of 0 or more for each level, coarsest first, and more than 0 for the crops.",
        )
        _require(
            not (self.details and (self.level_weights or (self.grows_trees and self.by_steps is None))),
            f"DETAILS are {self.details}, and {self.architecture} "
            f"{'with LEVEL_WEIGHTS ' * bool(self.level_weights)}learns none.",
            "Leave DETAILS out, or choose a single-headed network such as tempcnn or ltae.",
        )
        _require(
            not (self.level_weights and self.grows_trees),
            f"{self.architecture} has no heads for LEVEL_WEIGHTS.",
            "Leave them out, or choose a network; groups of crops can be told without them (SURE_FROM).",
        )

    @property
    def grows_trees(self) -> bool:
        """Whether it is trained by xgboost or scikit-learn."""
        return self.architecture in TREES

    @property
    def by_steps(self) -> Recipe | None:
        """How what is trained by gradient descent is: itself, or the network whose features trees see, or nothing."""
        if not self.grows_trees:
            return self
        if FEATURES_FROM not in self.hyper_parameters:
            return None
        settings = {k: v for k, v in self.hyper_parameters.items() if k not in (*_OF_TREES, FEATURES_FROM)}
        return replace(self, architecture=self.hyper_parameters[FEATURES_FROM], hyper_parameters=settings)

    @property
    def of_trees(self) -> dict[str, Any]:
        """The hyper-parameters of trees alone."""
        return {name: value for name, value in self.hyper_parameters.items() if name in _OF_TREES}

    def as_json(self) -> dict[str, Any]:
        """All of it, as it stands in a bundle's training.json."""
        return asdict(self)


def read_settings(texts: Sequence[str]) -> dict[str, Any]:
    """Reads settings such as `hidden=64`, `widths=32,48,64`, `bidirectional=true`, several in a text parted by `;`.

    Raises:
        JobError: A text is not of that form, or a name is there twice.
    """
    settings: dict[str, Any] = {}
    for text in filter(str.strip, (part for whole in texts for part in whole.split(";"))):
        match = _SETTING.fullmatch(text)
        if match is None:
            raise JobError(f"{text.strip()!r} is no setting.", "Write it like hidden=64 or widths=32,48.")
        name, value = match.groups()
        _require(name not in settings, f"{name} is given twice.", "Give it once.")
        parts = [_value(part.strip()) for part in value.split(",")]
        settings[name] = parts if len(parts) > 1 or value.endswith(",") else parts[0]
    return settings


def check_architecture(architecture: str, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Refuses an architecture or a hyper-parameter that there is not, before anything is read.

    Returns:
        The settings, a single value of a list as a list of one.

    Raises:
        JobError: Lists those that there are.
    """
    known = (*offered_architectures(), *TREES)
    _require(architecture in known, f"ARCHITECTURE is '{architecture}'.", f"Choose one of {', '.join(known)}.")
    if architecture in TREES:
        own = {name: value for name, value in settings.items() if name in _OF_TREES}
        others = {name: value for name, value in settings.items() if name not in _OF_TREES}
        if FEATURES_FROM in others:
            others = _check_features(others)
        else:
            known = (*_OF_TREES, FEATURES_FROM)
            _require(
                not others, f"HYPER_PARAMETERS do not fit: unknown {', '.join(others)}.", f"Give {', '.join(known)}."
            )
        for name, value in own.items():
            kind = (int, float) if name == "learning_rate" else int
            _require(
                isinstance(value, kind) and not isinstance(value, bool) and value > 0,
                f"{name} is {value!r}.",
                "Give a number above 0.",
            )
        return {**own, **others}
    defaults = {
        each.name: each.default
        for each in fields(models.ARCHITECTURES[architecture][0])
        if each.name not in ("channels", "classes")
    }
    checked = {
        name: [value] if isinstance(defaults.get(name), tuple) and not isinstance(value, list) else value
        for name, value in settings.items()
    }
    try:
        models.build(architecture, **{"channels": 1, "classes": 2, **checked})
    except (TypeError, ValueError) as error:
        shown = {name: ",".join(map(str, v)) if isinstance(v, tuple) else v for name, v in defaults.items()}
        raise JobError(
            f"HYPER_PARAMETERS do not fit: {error}.",
            "The defaults are "
            + "; ".join(f"{name}={value}" for name, value in shown.items() if value is not MISSING)
            + ".",
        ) from error
    return checked


def _check_features(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The same with the settings of the network whose features trees see."""
    name = settings[FEATURES_FROM]
    offered = offered_architectures()
    _require(name in offered, f"{FEATURES_FROM} is {name!r}.", f"Choose one of {', '.join(offered)}.")
    checked = check_architecture(name, {key: value for key, value in settings.items() if key != FEATURES_FROM})
    dense = models.describe(name, **{**checked, "channels": 1, "classes": 2}).kind == "dense"
    _require(dense, f"{name} gives a patch one class.", f"Take {FEATURES_FROM} a network that classifies every pixel.")
    return {FEATURES_FROM: name, **checked}


def offered_architectures() -> tuple[str, ...]:
    """Networks that are trained by gradient descent, by name."""
    return tuple(sorted(name for name in models.ARCHITECTURES if name not in NOT_TRAINED_BY_STEPS))


def _value(text: str) -> Any:
    if text.lower() in ("true", "false"):
        return text.lower() == "true"
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


def _one_of(name: str, value: str, known: Sequence[str]) -> None:
    _require(value in known, f"{name} is '{value}'.", f"Choose one of {', '.join(known)}.")


def _require(condition: bool, problem: str, remedy: str) -> None:
    if not condition:
        raise JobError(problem, remedy)
