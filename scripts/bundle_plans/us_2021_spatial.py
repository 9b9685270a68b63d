"""`us-2021-hybrid-cnn`: crops of California and Arkansas in 2021, pixels in their surroundings.

Run as `python -m scripts.bundle_plans.us_2021_spatial DATA WORK [--bundle FOLDER]`; DATA is the folder of the shared
data, WORK that of `us_2021`, whose models by pixel are the first network, and the yardstick. The U-Net learns from
landscapes made of the series of `us-2021-pixel`, each told by a first network that has not seen its fold. Each fold is
held out in turn: its landscapes are judged by a U-Net taught on the others. Those were told by models by pixel that
have learnt from the held-out fold too, which may flatter a little; to train others for each fold takes an hour
and more. Labels are those of the USDA Cropland Data Layer.
"""

from __future__ import annotations

from pathlib import Path

from scripts.bundle_plans import us_2021
from scripts.bundle_plans.context import RECIPE, ContextTraining
from scripts.bundle_plans.landscapes import LandscapeSettings
from scripts.bundle_plans.series import DETAILS
from scripts.bundle_plans.spatial import SpatialPlan, run

UNFARMED = (121, 122, 123, 124, 61, 37, 176, 152, 142, 190, 195)
"""Codes of the Cropland Data Layer that roads, hedges and farmsteads are made of: settled, fallow, grass, wood."""

PLAN = SpatialPlan(
    "us-2021-hybrid-cnn",
    "Crops of California and Arkansas 2021, in their surroundings",
    RECIPE,
    landscapes=LandscapeSettings(
        edge=32, details=DETAILS, strips=tuple(f"{state}{code}" for state in "CA" for code in UNFARMED)
    ),
    held_out=tuple((fold,) for fold in range(5)),
    by_pixel=us_2021.PLAN,
    tasks=us_2021.tasks,
    judged_a_fold=60,
    nested=False,
)


def prepare(data: Path, path: Path) -> None:
    """Writes the pixel series of both states."""
    us_2021.prepare(data / "pixels" / "us_2021", path)


if __name__ == "__main__":
    run(PLAN, prepare, ContextTraining)
