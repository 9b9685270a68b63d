"""`canada-2017-pixel`: crops of Canada in 2017 by monthly Sentinel-2 composites, clouds left in.

Run as `python -m scripts.bundle_plans.canada_2017 DATA WORK [--bundle FOLDER]`; DATA is `pixels/canada_2017`.
Crops with at least 20 samples go by their names in the file's legend; all else, what has no crop label included, is
`Other`. Labels are those of the Annual Crop Inventory's ground truth (AAFC).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cropmap_core.classes import CropClass
from cropmap_core.learning.recipes import LAST, Recipe
from cropmap_core.learning.variation import Variation
from cropmap_core.samples.classes import colour_of
from cropmap_core.samples.files import SampleFile
from scripts.bundle_plans.cross_validation import Plan, Task
from scripts.bundle_plans.series import DETAILS, Tasks, run, write_set

OTHER = "Other"
FEWEST = 20
"""Samples of a crop that has a name."""
GROUPS = {
    9120: ("Permanent grass crops", "Grass"),
    4100: ("Soya beans", "Oilseed"),
    1120: ("Spring wheat", "Cereal"),
    1200: ("Maize", "Cereal"),
    1110: ("Winter wheat", "Cereal"),
    7920: ("Other Leguminous crops - Permanent", "Legume"),
    5100: ("Potatoes", "Root crop"),
    3510: ("Apples", "Fruit"),
    1700: ("Oats", "Cereal"),
    1520: ("Spring barley", "Cereal"),
    3460: ("Blueberries", "Fruit"),
    2200: ("Fruit-bearing vegetables", "Vegetable"),
    1500: ("Barley", "Cereal"),
}
"""Name and group of each crop with a name, by its code."""
CLASSES = (
    *(
        CropClass(value, name, colour_of(value), parents=(group,))
        for value, (name, group) in enumerate(GROUPS.values(), start=1)
    ),
    CropClass(len(GROUPS) + 1, OTHER, colour_of(len(GROUPS) + 1)),
)
JUDGED = (9120, 1120, 4100, 1200, 0, 1110, 7920, 1520)
"""Codes that are judged; 0 is `Other`."""

_VARIATION = Variation(haze=0.3, wander=0.3, cuts=0.1, bands=0.15)
_ALIKE: Mapping[str, Any] = {
    "batch_size": 64,
    "patience": 0,
    "keep": LAST,
    "details": DETAILS,
    "precision": "bfloat16",
}
_L_TAE = Recipe("ltae", epochs=60, learning_rate=5e-3, variation=_VARIATION, **_ALIKE)
PLAN = Plan(
    "canada-2017-pixel",
    "Crops of Canada 2017",
    (
        _L_TAE,
        replace(_L_TAE, variation=replace(_VARIATION, mixed_pixels=0.2, outliers=0.03), seed=100),
    ),
)


def prepare(data: Path, path: Path) -> None:
    """Writes the training set; the finer labels are crop code and land cover."""
    write_set([data / "train.npz"], _names, _details, CLASSES, "month", path)


def tasks(file: SampleFile) -> Tasks:
    """The codes that are judged: their samples alone, and all samples, where every other crop counts as `Other`."""
    order = [*GROUPS, 0]
    positions = tuple(order.index(code) for code in JUDGED)
    code = np.array([int(text.split(" ")[0]) for text in file.column(DETAILS)])
    everything = np.arange(len(file))
    of_codes = np.flatnonzero(np.isin(code, JUDGED))
    return {
        "8 codes": (Task("8 codes", of_codes, positions), None),
        "8 codes, others as Other": (Task("8 codes", everything, positions, order.index(0)), None),
    }


def _names(arrays: Mapping[str, NDArray[Any]]) -> NDArray[np.str_]:
    codes, counts = np.unique(arrays["y"], return_counts=True)
    named = {int(code) for code, count in zip(codes, counts, strict=True) if code and count >= FEWEST}
    if named != set(GROUPS):
        raise ValueError(f"the crops with at least {FEWEST} samples are {sorted(named)}; expected {sorted(GROUPS)}")
    return np.array([GROUPS[int(code)][0] if code in named else OTHER for code in arrays["y"]])


def _details(arrays: Mapping[str, NDArray[Any]]) -> NDArray[np.str_]:
    code = np.char.add(arrays["y"].astype("U5"), " ")
    return np.char.add(code, arrays["landcover"].astype("U3"))


if __name__ == "__main__":
    run(PLAN, prepare, tasks)
