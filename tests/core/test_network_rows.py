"""The networks' table: a row for every architecture that can be trained, and pieces that are computed once."""

from __future__ import annotations

from pathlib import Path

import numpy as np

import models
from benchmarks.network_parcels import confusion_of, look_at
from benchmarks.network_results import Results, pooled
from benchmarks.network_rows import PARCEL_ROWS, PIXEL_ROWS
from cropmap_core.learning.augmentation import Labelled
from cropmap_core.learning.recipes import TREES, check_architecture, offered_architectures, read_settings
from cropmap_core.learning.scores import Scores
from scripts.bundle_plans.flanders_site import Site


def test_every_architecture_has_a_row_of_settings_that_it_takes() -> None:
    for row in PIXEL_ROWS:
        for architecture in row.architectures:
            check_architecture(architecture, read_settings([row.hyper_parameters]))
    for around in PARCEL_ROWS:
        models.describe(around.architecture, **{**around.hyper_parameters, "channels": 1, "classes": 2})
    by_pixel = {name for row in PIXEL_ROWS for name in row.architectures}
    assert by_pixel | {row.architecture for row in PARCEL_ROWS} == {*offered_architectures(), *TREES}
    names = [row.name for row in (*PIXEL_ROWS, *PARCEL_ROWS)]
    assert len(set(names)) == len(names)


def test_a_piece_is_computed_once_under_the_same_settings(tmp_path: Path) -> None:
    results, calls = Results(tmp_path), []

    def work() -> dict[str, int]:
        calls.append(1)
        return {"found": len(calls)}

    settings = {"epochs": 3, "hidden": (4, 5)}
    assert results.find("part", "row", "piece", settings, work)["found"] == 1
    assert results.find("part", "row", "piece", settings, work)["found"] == 1
    assert results.find("part", "row", "piece", {**settings, "epochs": 4}, work)["found"] == 2
    assert results.take("part", "row", "other") is None


def test_folds_are_pooled_before_they_are_scored() -> None:
    """The second class is right in one of its two pixels of the first fold, in none of its one of the second."""
    scores = pooled([[[3, 0], [1, 1]], [[2, 0], [1, 0]]])
    assert scores.overall_accuracy == 6 / 8
    np.testing.assert_allclose(scores.f1, [2 * 5 / (5 + 7), 2 * 1 / (1 + 3)])


def test_a_held_out_parcel_is_told_apart_from_what_was_learnt() -> None:
    """Parcel 1 has two pixels of class 0, found as 0 and 1: a tie is wrong. Of three others two are as learnt."""
    classes = np.array([[0, 0, 1], [1, 1, -1]])
    parcels = np.array([[1, 1, 2], [2, 3, 0]])
    site = Site(None, None, Labelled(np.zeros((1, 1, 1, 2, 3), np.float32), classes, parcels))  # type: ignore[arg-type]
    found = look_at(site, 1, np.array([[0, 1, 1], [1, 0, 4]]))
    assert found["truth"] == 0
    assert found["found"] == [1, 1, 0, 0, 0]
    assert not found["right"]
    assert found["training_accuracy"] == 2 / 3
    scores = Scores(confusion_of([found, {**found, "truth": 1, "found": [0, 3, 0, 0, 0]}]))
    assert scores.overall_accuracy == 4 / 5
