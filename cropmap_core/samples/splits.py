"""Splits: which samples a model learns from, is steered by, and is judged on.

Samples that belong together (a zone, a block, a parcel, ...) share a fold, so that what is judged is how a model does
elsewhere. The folds are as alike in their classes as the groups allow.

References:
    Roberts et al. (2017), Cross-validation strategies for data with temporal, spatial, hierarchical, or phylogenetic
    structure, Ecography 40(8).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cropmap_core.errors import JobError, SamplesError
from cropmap_core.samples.files import ROLES, UNUSED
from cropmap_core.samples.groups import Located, group_samples
from cropmap_core.samples.leakage import find_leakage
from cropmap_core.samples.places import nearest_m, on_sphere

METHODS = ("blocks", "zone", "parcel", "tile", "year", "column", "random")
_STATED_FOLDS = {"test": 0, "validation": 1, "train": 2}
_ROLE_OF_STATED = {role: [_STATED_FOLDS[role]] for role in ROLES}


@dataclass(frozen=True)
class SplitAsked:
    """How the user wants the samples split."""

    method: str = "blocks"
    """One of `METHODS`."""
    folds: int = 5
    test_folds: tuple[int, ...] = (0,)
    validation_folds: tuple[int, ...] = (1,)
    block_m: int = 5000
    """Edge of a block."""
    buffer_m: int = 0
    """Samples closer than this to one of another fold are not used."""
    column: str = ""
    """For `column`: the samples' column with groups, fold numbers, or train, validation, test."""
    confirm_random: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        if self.method not in METHODS:
            raise JobError(f"SPLIT is '{self.method}'.", f"Choose one of {', '.join(METHODS)}.")
        if self.method == "random" and not self.confirm_random:
            raise JobError(
                "A random split puts neighbouring samples, even of one parcel, into training and test: the accuracy "
                "that is measured then tells how well a model remembers, not how it does elsewhere.",
                "Choose SPLIT=blocks or parcel, or set CONFIRM_RANDOM to have it all the same; reports will say so.",
            )
        if not 2 <= self.folds <= 100 or self.block_m <= 0 or self.buffer_m < 0:
            raise JobError(
                f"FOLDS is {self.folds}, the block {self.block_m} m, the buffer {self.buffer_m} m.",
                "Give 2 to 100 folds, a block above and a buffer not below 0 m.",
            )
        if set(self.test_folds) & set(self.validation_folds):
            raise JobError("A fold is named for both test and validation.", "Name it for one of them.")


@dataclass(frozen=True)
class Split:
    """A decided split."""

    fold: NDArray[np.int8]
    """-1 where a sample is not used, shape (N,)."""
    description: Mapping[str, Any]
    """As it is stored: method, parameters, roles, random, samples, leakage, left_out_classes."""
    warnings: tuple[str, ...]


def split_samples(samples: Located, names: Mapping[int, str], asked: SplitAsked) -> Split:
    """Gives each labelled sample a fold, and each fold a role.

    Args:
        samples: What is known of them.
        names: Names of the classes by value.
        asked: How to split.

    Raises:
        SamplesError: There are too few groups for the folds, what the groups are made of is unknown, or a set is empty.
    """
    labelled = samples.label > 0
    stated = _stated_folds(samples, asked)
    if stated is not None:
        fold, roles = stated
    else:
        group = np.where(labelled, group_samples(samples, asked.method, asked.block_m, asked.column), -1)
        number = len(np.unique(group[group >= 0]))
        if number < asked.folds:
            raise SamplesError(
                f"SPLIT={asked.method} makes {number} groups of the labelled samples, too few for {asked.folds} folds.",
                "Set FOLDS lower, or choose smaller groups (SPLIT, BLOCK_SIZE_KM).",
            )
        fold = _assign(group, samples.label, asked)
        roles = {}
    fold[~labelled] = UNUSED
    roles = roles or _roles(fold, asked)
    unplaced = int((labelled & (fold == UNUSED)).sum())
    dropped = _keep_apart(fold, samples, asked.buffer_m)
    for role in ROLES:
        if not np.isin(fold, roles[role]).any():
            raise SamplesError(
                f"No sample is left for {role}: folds {roles[role] or 'none'}; the samples are in folds "
                f"{', '.join(map(str, np.unique(fold[fold >= 0]))) or 'none'}.",
                "Choose other VALIDATION_FOLDS and TEST_FOLDS, or a smaller BUFFER_M.",
            )
    return _described(samples, names, asked, fold, roles, unplaced, dropped)


def _described(
    samples: Located,
    names: Mapping[int, str],
    asked: SplitAsked,
    fold: NDArray[np.int8],
    roles: Mapping[str, list[int]],
    unplaced: int,
    dropped: int,
) -> Split:
    leakage = find_leakage(samples.lon, samples.lat, samples.parcels, fold, roles)
    present = {value: name for value, name in names.items() if (samples.label == value).any()}

    def lacking(used: NDArray[np.bool_]) -> list[str]:
        found = set(np.unique(samples.label[used]).tolist())
        return [name for value, name in present.items() if value not in found]

    by_role = {role: lacking(np.isin(fold, numbers)) for role, numbers in roles.items()}
    by_fold = {str(number): lacking(fold == number) for number in np.unique(fold[fold >= 0])}
    warnings = [f"No sample of {', '.join(left)} for {role}." for role, left in by_role.items() if left]
    warnings += [f"Fold {number} has no sample of {', '.join(left)}." for number, left in by_fold.items() if left]
    warnings += leakage.warnings()
    if unplaced:
        warnings.append(f"{unplaced} labelled samples belong to no group and are not used.")
    if asked.method == "random":
        warnings.append("The split is random: what is measured on it is too good for places that were not sampled.")
    description = {
        "method": asked.method,
        "parameters": {
            "folds": asked.folds,
            "block_m": asked.block_m,
            "buffer_m": asked.buffer_m,
            "column": asked.column,
            "seed": asked.seed,
        },
        "roles": dict(roles),
        "random": asked.method == "random",
        "samples": {role: int(np.isin(fold, numbers).sum()) for role, numbers in roles.items()},
        "unused": {"outside_of_groups": unplaced, "within_the_buffer": dropped},
        "leakage": leakage.to_json(),
        "left_out_classes": by_role,
        "left_out_classes_by_fold": {number: left for number, left in by_fold.items() if left},
    }
    return Split(fold, description, tuple(warnings))


def _stated_folds(samples: Located, asked: SplitAsked) -> tuple[NDArray[np.int8], dict[str, list[int]]] | None:
    """Folds that a column or the zones' names state themselves, with their roles where these are stated too."""
    if asked.method == "zone":
        values = samples.zone
    elif asked.method == "column":
        if asked.column not in samples.columns:
            there = ", ".join(samples.columns) or "none"
            raise SamplesError(f"The samples have no column '{asked.column}'.", f"Set SPLIT_COLUMN; there is {there}.")
        values = samples.columns[asked.column]
    else:
        return None
    found, place = np.unique(values, return_inverse=True)
    used = [text for text in found if text]
    if used and set(used) <= set(_STATED_FOLDS):
        numbers = [_STATED_FOLDS.get(text, UNUSED) for text in found]
        return np.asarray(numbers, np.int8)[place], dict(_ROLE_OF_STATED)
    if asked.method == "column" and used and all(text.isdecimal() and int(text) < 100 for text in used):
        numbers = [int(text) if text else UNUSED for text in found]
        return np.asarray(numbers, np.int8)[place], {}
    return None


def _roles(fold: NDArray[np.int8], asked: SplitAsked) -> dict[str, list[int]]:
    there = [int(number) for number in np.unique(fold[fold >= 0])]
    test, validation = sorted(asked.test_folds), sorted(asked.validation_folds)
    train = [number for number in there if number not in (*test, *validation)]
    return {"train": train, "validation": validation, "test": test}


def _assign(group: NDArray[np.int64], label: NDArray[np.int16], asked: SplitAsked) -> NDArray[np.int8]:
    """Groups to folds, the largest first, each to the fold that has least of what it brings.

    Of folds that have equally little, one of each set comes first, training before all: a
    class of a single group is learnt.
    """
    used = group >= 0
    numbers, place = np.unique(group[used], return_inverse=True)
    values, kind = np.unique(label[used], return_inverse=True)
    counts = np.zeros((len(numbers), len(values)))
    np.add.at(counts, (place, kind), 1)
    shares = counts / counts.sum(axis=0)
    random = np.random.default_rng(asked.seed)
    order = np.lexsort((random.permutation(len(numbers)), -np.square(shares).sum(axis=1)))
    held = np.zeros((asked.folds, len(values)))
    fold_of_group = np.empty(len(numbers), np.int8)
    preference = _preference(asked)
    for done, number in enumerate(
        order
    ):  # least sum of squares over folds and classes: the growth is 2 held . brought + a constant
        growth = held @ shares[number]
        empty = ~held.any(axis=1)
        if len(numbers) - done <= empty.sum():  # the last groups fill the folds that have none
            growth[~empty] = np.inf
        best = np.flatnonzero(growth <= growth.min() + 1e-12)
        chosen = best[np.argmin(preference[best])]
        fold_of_group[number] = chosen
        held[chosen] += shares[number]
    fold = np.full(len(group), UNUSED, np.int8)
    fold[used] = fold_of_group[place]
    return fold


def _preference(asked: SplitAsked) -> NDArray[np.int64]:
    """Rank of each fold where several are as good."""
    train = [fold for fold in range(asked.folds) if fold not in (*asked.test_folds, *asked.validation_folds)]
    order = [*train[:1], *asked.test_folds, *asked.validation_folds, *train[1:]]
    rank = np.full(asked.folds, len(order), np.int64)
    for place, fold in enumerate(order):
        if fold < asked.folds:
            rank[fold] = place
    return rank


def _keep_apart(fold: NDArray[np.int8], samples: Located, buffer_m: int) -> int:
    """Takes samples closer than the buffer to one of another fold out of both; returns how many."""
    if not buffer_m:
        return 0
    placed = (fold >= 0) & np.isfinite(samples.lon) & np.isfinite(samples.lat)
    points = on_sphere(samples.lon[placed], samples.lat[placed])
    folds = fold[placed]
    near = np.zeros(len(folds), dtype=bool)
    for number in np.unique(folds):
        own = folds == number
        near[own] = nearest_m(points[own], points[~own]) < buffer_m
    fold[np.flatnonzero(placed)[near]] = UNUSED
    return int(near.sum())
