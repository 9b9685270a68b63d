"""What an evaluation finds out, in numbers; its report, its JSON and the log tell nothing else."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pandas
from numpy.typing import NDArray

from cropmap_core.evaluation.bootstrap import FEW_GROUPS, Draws, Interval, interval
from cropmap_core.evaluation.budgets import Budgets
from cropmap_core.evaluation.comparing import Comparison
from cropmap_core.evaluation.exposure import Exposure
from cropmap_core.evaluation.partitions import Partition
from cropmap_core.evaluation.tallies import Tally
from cropmap_core.inference.bundles import Bundle
from cropmap_core.learning.scores import Reliability, Scores

FEWEST_GROUPS = 3
"""A class of fewer groups is not judged reliably."""


@dataclass(frozen=True)
class Level:
    """A model's scores on pixels, or on parcels, with 95 % intervals."""

    scores: Scores
    overall_accuracy: Interval | None
    macro_f1: Interval | None
    f1: tuple[Interval | None, ...]
    """Of each class."""

    @property
    def count(self) -> int:
        """Pixels or parcels."""
        return int(self.scores.confusion.sum())


def level(confusion: NDArray[np.int64], draws: Draws, model: int) -> Level:
    """The scores of one model among those that were drawn together."""
    return Level(
        Scores(confusion),
        interval(draws.overall_accuracy[model]),
        interval(draws.macro_f1[model]),
        tuple(interval(of_class) for of_class in draws.f1[model].T),
    )


@dataclass(frozen=True)
class ModelResult:
    """What is found out about one model."""

    bundle: Bundle
    exposure: Exposure
    pixels: Level
    parcels: Level | None
    calibration: Reliability
    parts: Mapping[str, Tally]
    """By the name of the partition."""
    budgets: Tally
    unknown: tuple[str, ...]
    """Labelled classes that it does not know: always wrong."""
    unasked: tuple[str, ...]
    """Classes that it knows and that the set has no sample of."""
    training: Mapping[str, Any] | None
    """Its training.json."""
    wrong: pandas.DataFrame
    """Its errors by sample, the most confident first."""
    folds: Mapping[str, int]
    """Of fold models, how many samples each has judged; empty for a single model."""


@dataclass(frozen=True)
class Evaluation:
    """Models on the same samples."""

    path: Path
    """Of the training set."""
    which: str
    """Of its sets."""
    kind: str
    """`pixel` or `patch`."""
    samples: int
    """That are labelled."""
    unobserved: int
    """Labelled pixels that were never observed, and are left out."""
    names: tuple[str, ...]
    """Of the classes of the set and of the models."""
    colours: tuple[str, ...]
    groups: Partition
    drawn_groups: int
    """That intervals are made of."""
    class_groups: NDArray[np.int64]
    """Groups that hold each class, shape (K,)."""
    parts: tuple[Partition, ...]
    period: str | None
    dates: tuple[date, ...]
    """Of the earliest season."""
    seasons: tuple[date, ...]
    budgets: Budgets
    split: Mapping[str, Any]
    provenance: Mapping[str, Any]
    models: tuple[ModelResult, ...]
    comparisons: tuple[Comparison, ...]
    allow_seen: bool

    @property
    def support(self) -> NDArray[np.int64]:
        """Judged pixels of each class, shape (K,)."""
        return self.models[0].pixels.scores.support

    @property
    def groups_in_words(self) -> str:
        """What intervals draw, as people say it."""
        return {"cell": "cells of 1 km", "tile": "MGRS tiles"}.get(self.groups.name, f"{self.groups.name}s")

    @property
    def few_groups(self) -> bool:
        """Whether intervals are a rough guess."""
        return self.drawn_groups < FEW_GROUPS

    @property
    def unsure(self) -> NDArray[np.bool_]:
        """Classes that are in too few groups to be judged reliably, shape (K,)."""
        return np.asarray((self.class_groups > 0) & (self.class_groups < FEWEST_GROUPS))
