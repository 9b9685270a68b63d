"""`us-2021-hybrid-cnn`: crops of California and Arkansas in 2021, pixels in their surroundings.

Run as `python -m scripts.bundle_plans.us_2021_spatial DATA WORK [--bundle FOLDER]`; DATA is the folder of the shared
data, WORK that of `us_2021`, whose models by pixel are the yardstick. The network learns from landscapes made of the
series of `us-2021-pixel`, and is judged on landscapes of folds 0 and 1 by one that has learnt from the other three; the
models by pixel that are judged beside it have learnt from four. Labels are those of the USDA Cropland Data Layer.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cropmap_core.learning.recipes import LAST, Recipe
from cropmap_core.learning.variation import Variation
from scripts.bundle_plans import us_2021
from scripts.bundle_plans.landscapes import LandscapeSettings
from scripts.bundle_plans.series import DETAILS
from scripts.bundle_plans.spatial import SpatialPlan, run

NETWORK: Mapping[str, Any] = {"embedding": 128, "widths": (64, 96, 128), "dropout": 0.2}
UNFARMED = (121, 122, 123, 124, 61, 37, 176, 152, 142, 190, 195)
"""Codes of the Cropland Data Layer that roads, hedges and farmsteads are made of: settled, fallow, grass, wood."""

_VARIATION = Variation(haze=0.3, wander=0.3, periods=0.1, cuts=0.05, bands=0.15)
_ALIKE: Mapping[str, Any] = {
    "variation": _VARIATION,
    "patience": 0,
    "keep": LAST,
    "precision": "bfloat16",
}
PLAN = SpatialPlan(
    "us-2021-hybrid-cnn",
    "Crops of California and Arkansas 2021, in their surroundings",
    series=Recipe("hybrid_cnn", NETWORK, epochs=16, batch_size=256, learning_rate=5e-3, **_ALIKE),
    recipe=Recipe("hybrid_cnn", NETWORK, epochs=4, batch_size=4, learning_rate=2e-3, **_ALIKE),
    landscapes=LandscapeSettings(
        edge=32, details=DETAILS, strips=tuple(f"{state}{code}" for state in "CA" for code in UNFARMED)
    ),
    held_out=(us_2021.EASIER_FOLDS,),
    by_pixel=us_2021.PLAN,
    tasks=us_2021.tasks,
)


def prepare(data: Path, path: Path) -> None:
    """Writes the pixel series of both states."""
    us_2021.prepare(data / "pixels" / "us_2021", path)


if __name__ == "__main__":
    run(PLAN, prepare)
