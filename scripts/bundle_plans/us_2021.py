"""`us-2021-pixel`: crops of California and Arkansas in 2021, each pixel by its own series.

Run as `python -m scripts.bundle_plans.us_2021 DATA WORK [--bundle FOLDER]`; DATA is the folder `pixels/us_2021`. Labels
are those of the USDA Cropland Data Layer. Maize and cotton of California, which the compilation has among the others,
have their own names here; where a state is judged, a class of the other counts as others.
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

NAMES = ("Alfalfa", "Almonds", "Corn", "Cotton", "Grapes", "Pistachios", "Rice", "Soybean", "Others")
CLASSES = tuple(CropClass(value, name, colour_of(value)) for value, name in enumerate(NAMES, start=1))
NAMED_BY_CODE = {1: "Corn", 2: "Cotton"}
STATES = {
    "california": ("Alfalfa", "Almonds", "Grapes", "Pistachios", "Rice", "Others"),
    "arkansas": ("Corn", "Cotton", "Rice", "Soybean", "Others"),
}
EASIER_FOLDS = (0, 1)

_VARIATION = Variation(haze=0.3, wander=0.3, periods=0.15, cuts=0.1, bands=0.15)
_ALIKE: Mapping[str, Any] = {
    "batch_size": 256,
    "patience": 0,
    "keep": LAST,
    "details": DETAILS,
    "precision": "bfloat16",
}
_L_TAE = Recipe("ltae", {"width": 192, "dense": 192}, epochs=60, learning_rate=8e-3, variation=_VARIATION, **_ALIKE)
PLAN = Plan(
    "us-2021-pixel",
    "Crops of California and Arkansas 2021",
    (
        _L_TAE,
        # Mixed pixels and crops that have no name cost a little where neither is, and win more where they are.
        replace(_L_TAE, variation=replace(_VARIATION, mixed_pixels=0.2, outliers=0.05), seed=100),
    ),
    seeds=(0,),
    bundled=(0,),
    others=0.5,
)


def prepare(data: Path, path: Path) -> None:
    """Writes the training set of both states; the finer labels are state and code of the Cropland Data Layer."""
    write_set([data / f"{state}.npz" for state in STATES], _names, _details, CLASSES, "dekad", path)


def tasks(file: SampleFile) -> Tasks:
    """Each state on all folds and on those that peers were judged on."""
    source = file.column("source")
    found: dict[str, tuple[Task, tuple[int, ...] | None]] = {}
    for state, names in STATES.items():
        positions = tuple(NAMES.index(name) for name in names)
        task = Task(state, np.flatnonzero(source == state), positions, NAMES.index("Others"))
        found[state] = task, None
        found[f"{state}, folds 0 and 1"] = task, EASIER_FOLDS
    return found


def _names(arrays: Mapping[str, NDArray[Any]]) -> NDArray[np.str_]:
    names = arrays["classes"][arrays["y"]].astype("U40")
    for code, name in NAMED_BY_CODE.items():
        names[(arrays["cdl"] == code) & (names == "Others")] = name
    return np.asarray(names)


def _details(arrays: Mapping[str, NDArray[Any]]) -> NDArray[np.str_]:
    state = "C" if "Grapes" in arrays["classes"] else "A"
    return np.char.add(state, arrays["cdl"].astype("U3"))


if __name__ == "__main__":
    run(PLAN, prepare, tasks)
