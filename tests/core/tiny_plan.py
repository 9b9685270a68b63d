"""A plan that is trained in a moment, and its training set."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from cropmap_core.learning.recipes import LAST, Recipe
from cropmap_core.samples.classes import name_classes
from scripts.bundle_plans.cross_validation import Plan
from scripts.bundle_plans.series import DETAILS, write_set

CROPS = ("maize", "wheat", "other")
COUNT, TIMES = 120, 6
PLAN = Plan(
    "tiny",
    "Tiny",
    (
        Recipe("tempcnn", {"hidden": (8, 8), "dense": 16}, epochs=4, learning_rate=0.02, keep=LAST, details=DETAILS),
        Recipe("ltae", {"width": 32, "heads": 2}, epochs=4, learning_rate=0.02, keep=LAST),
    ),
    seeds=(0, 1),
    others=0.4,
)


def write_samples(folder: Path) -> Path:
    """Three classes, green at other times, in three folds."""
    random = np.random.default_rng(0)
    y = np.arange(COUNT) % 3
    green = np.exp(-((np.arange(TIMES) - 1.5 * y[:, None]) ** 2)) + random.normal(0, 0.05, (COUNT, TIMES))
    data = np.stack([1500 - 1000 * green, 2000 + 2000 * green], axis=2)
    np.savez(
        folder / "here.npz",
        X=data.clip(0, 65535).astype(np.uint16),
        valid=random.random((COUNT, TIMES)) < 0.9,
        y=y,
        bands=np.array(["B04", "B08"]),
        dates=np.array([f"2021-{month:02}-01" for month in range(3, 9)]),
        lonlat=(3 + np.arange(2 * COUNT).reshape(COUNT, 2) * 2e-5).astype(np.float32),
        fold=(np.arange(COUNT) // 3 % 3).astype(np.uint8),
    )

    def names(arrays: Any) -> Any:
        return np.array(CROPS)[arrays["y"]]

    write_set([folder / "here.npz"], names, names, name_classes(CROPS), "month", folder / "set.h5")
    return folder / "set.h5"
