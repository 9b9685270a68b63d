"""The rows that look around: trained and judged on `flanders_2018`, leaving one parcel out.

The machinery is that of `make train-bundles`. Parcels of classes that have but one are never held out, for nothing
would be left to learn their class from; their pixels are learnt by all.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.network_results import Found, Results
from benchmarks.network_rows import FOREST, ParcelRow
from cropmap_core.learning.training import Recipe
from scripts.bundle_plans.flanders_2018 import (
    FOREST_SEEDS,
    SMALL_FIELDS,
    Plan,
    forest_without,
    judge,
    map_without,
    one_thread,
)
from scripts.bundle_plans.flanders_site import CLASSES, Site, read_site

PART = "flanders_2018"
LEAST_PARCELS = 2
"""Parcels that a class must have, so that one of them can be held out."""


def judged_parcels(site: Site) -> list[int]:
    """Numbers of the parcels that are held out in turn."""
    truths = [site.truth(parcel) for parcel in site.parcels]
    return [parcel for parcel, truth in zip(site.parcels, truths, strict=True) if truths.count(truth) >= LEAST_PARCELS]


def look_at(site: Site, parcel: int, classes: NDArray[np.int64]) -> Found:
    """What a map of class positions, made without a parcel, says of it and of the pixels that were learnt from."""
    judged = judge(site, parcel, classes)
    found = classes[site.labelled.parcels == parcel]
    learnt = site.labelled.without(parcel).classes
    return {
        "truth": judged.truth,
        "right": judged.predicted == judged.truth,
        "found": np.bincount(found, minlength=len(CLASSES)).tolist(),
        "training_accuracy": float((classes == learnt)[learnt >= 0].mean()),
    }


def judge_row(row: ParcelRow, data: Path, results: Results, processes: int) -> list[Found]:
    """What a row's networks find in each parcel that they have not seen."""
    for name in ("OMP_NUM_THREADS", "NUMBA_NUM_THREADS"):
        os.environ[name] = "1"
    with ProcessPoolExecutor(processes, mp_context=get_context("spawn"), initializer=one_thread) as pool:
        return list(pool.map(partial(_judge_parcel, row, data, results), judged_parcels(read_site(data))))


def recipe_of(row: ParcelRow) -> Recipe:
    """How a row is trained: as bundled models are, but for its steps and learning rate."""
    return Recipe(
        row.architecture,
        row.hyper_parameters,
        steps=row.steps,
        landscapes=row.landscapes,
        patches=row.patches,
        learning_rate=row.learning_rate,
        augmentation=SMALL_FIELDS,
    )


def _judge_parcel(row: ParcelRow, data: Path, results: Results, parcel: int) -> Found:
    plan = Plan(row.name, row.name, recipe_of(row), row.stride_pixels, "", "")

    def work() -> Found:
        site = read_site(data)
        return look_at(site, parcel, map_without(site, plan, parcel))

    settings = {
        "architecture": row.architecture,
        "hyper_parameters": row.hyper_parameters,
        "steps": row.steps,
        "landscapes": row.landscapes,
        "patches": row.patches,
        "learning_rate": row.learning_rate,
        "stride_pixels": row.stride_pixels,
    }
    return results.find(PART, row.name, f"parcel-{parcel}", settings, work)


def judge_forests(data: Path, results: Results) -> None:
    """The same by random forests of several seeds."""
    site = read_site(data)
    for seed in FOREST_SEEDS:
        for parcel in judged_parcels(site):

            def work(parcel: int = parcel, seed: int = seed) -> Found:
                return look_at(site, parcel, forest_without(site, parcel, seed))

            results.find(PART, forest_row(seed), f"parcel-{parcel}", {"seed": seed}, work)


def forest_row(seed: int) -> str:
    """Name of a forest's results."""
    return FOREST if seed == FOREST_SEEDS[0] else f"{FOREST}_seed_{seed}"


def found_rows(names: Sequence[str], parcels: Sequence[int], results: Results) -> dict[str, list[Found]]:
    """What is known of the rows that are done."""
    found = {name: [results.take(PART, name, f"parcel-{parcel}") for parcel in parcels] for name in names}
    return {name: [each for each in pieces if each is not None] for name, pieces in found.items() if all(pieces)}


def confusion_of(pieces: Sequence[Found]) -> NDArray[np.int64]:
    """Rows of the true, columns of the found classes, of all held-out pixels."""
    confusion = np.zeros((len(CLASSES), len(CLASSES)), np.int64)
    for piece in pieces:
        confusion[piece["truth"]] += piece["found"]
    return confusion
