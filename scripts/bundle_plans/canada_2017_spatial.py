"""`canada-2017-convlstm`: crops of Canada in 2017 by monthly composites, pixels in their surroundings.

Run as `python -m scripts.bundle_plans.canada_2017_spatial DATA WORK [--bundle FOLDER]`; DATA is the folder of the
shared data, WORK that of `canada_2017`, whose models by pixel and XGBoost are the yardstick. The network learns from
landscapes made of the series of `canada-2017-pixel`; each of the seven folds is held out in turn, its landscapes and
its series, which are shown alone. Labels are those of the Annual Crop Inventory's ground truth (AAFC).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cropmap_core.learning.recipes import LAST, Recipe
from cropmap_core.learning.variation import Variation
from scripts.bundle_plans import canada_2017
from scripts.bundle_plans.landscapes import LandscapeSettings
from scripts.bundle_plans.series import DETAILS
from scripts.bundle_plans.spatial import SpatialPlan, run

NETWORK: Mapping[str, Any] = {"hidden": (48, 96), "dense": True, "date_harmonics": 2, "dropout": 0.3}
UNFARMED = (20, 30, 41, 42, 50, 60)
"""Land covers that roads, hedges and farmsteads are made of: herbs, scrub, wood, bare and built-up land."""
FOLDS = (3, 4, 5, 6, 7, 8, 9)

_ALIKE: Mapping[str, Any] = {
    "variation": Variation(haze=0.3, wander=0.3, cuts=0.1, bands=0.15),
    "patience": 0,
    "keep": LAST,
    "precision": "bfloat16",
    "teaching": 0.9,
}
PLAN = SpatialPlan(
    "canada-2017-convlstm",
    "Crops of Canada 2017, in their surroundings",
    Recipe("convlstm", NETWORK, epochs=3, batch_size=4, learning_rate=2e-3, **_ALIKE),
    series=Recipe("convlstm", NETWORK, epochs=80, batch_size=64, learning_rate=5e-3, **_ALIKE),
    landscapes=LandscapeSettings(
        edge=24,
        background=canada_2017.OTHER,
        details=DETAILS,
        strips=tuple(f"0 {cover}" for cover in UNFARMED),
        reach_km=15.0,
    ),
    held_out=tuple((fold,) for fold in FOLDS),
    by_pixel=canada_2017.PLAN,
    tasks=canada_2017.tasks,
    landscapes_a_fold=80,
    judged_a_fold=30,
)


def prepare(data: Path, path: Path) -> None:
    """Writes the pixel series."""
    canada_2017.prepare(data / "pixels" / "canada_2017", path)


if __name__ == "__main__":
    run(PLAN, prepare)
