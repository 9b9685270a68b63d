"""`europe-hybrid-cnn`: groups of crops in western Europe by monthly composites, pixels in their surroundings.

Run as `python -m scripts.bundle_plans.europe_spatial DATA WORK [--bundle FOLDER]`; DATA is the folder of the shared
data, WORK that of `europe`, whose models by pixel are the yardstick. The network learns from landscapes made of the
series of `europe-pixel`. A network that has not seen `flanders_2018` maps that real square, all 64 x 64 pixels of it;
the one in the bundle learns from landscapes of its pixels too.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from pathlib import Path

import numpy as np

from cropmap_core.samples.files import NO_PARCEL, PATCH, Layout
from cropmap_core.samples.writer import Samples, create_sample_file
from cropmap_core.scenes.scl import DEFAULT_KEEP_CLASSES
from cropmap_core.timeseries.compositing import composite
from scripts.bundle_plans import europe
from scripts.bundle_plans.context import RECIPE, ContextTraining
from scripts.bundle_plans.flanders_site import CLASSES as CROPS_OF_SQUARE
from scripts.bundle_plans.flanders_site import read_site
from scripts.bundle_plans.landscapes import LandscapeSettings
from scripts.bundle_plans.series import DETAILS
from scripts.bundle_plans.spatial import SpatialPlan, run


def prepare_square(data: Path, path: Path) -> None:
    """Writes all of `flanders_2018` as one patch: monthly composites with their gaps, groups and parcels."""
    site = read_site(data / "flanders_2018")
    months = composite(site.stack, "month", date(2018, 1, 1), date(2018, 12, 31), DEFAULT_KEEP_CLASSES)
    block = months.read(months.grid.window())
    values = {each.name: each.value for each in europe.CLASSES}
    groups = [values[europe.LEGACY.get(code, "Other")] for code in CROPS_OF_SQUARE]
    classes, parcels = site.labelled.classes, site.labelled.parcels
    first = date(2018, 1, 1)
    days = tuple((date(2018, month, 1) - first).days for month in range(1, 13))
    layout = Layout(PATCH, europe.BANDS, "month", days, len(classes))
    lon, lat = months.grid.centre_degrees
    one = Samples(
        data=block.data[None, :, [months.bands.index(band) for band in europe.BANDS]],
        valid=block.valid[None],
        label=np.where(classes >= 0, np.array(groups, np.int16)[classes], np.int16(0))[None],
        season=np.full(1, (first - date(1970, 1, 1)).days, np.int32),
        parcel=np.where(parcels > 0, parcels, NO_PARCEL)[None],
        lon=np.full(1, lon),
        lat=np.full(1, lat),
        sample_id=np.array(["flanders_2018"]),
        zone=np.array([""], "U1"),
        tile=np.array(["31UDS"]),
        source=np.array(["flanders_2018"]),
        columns={},
    )
    with create_sample_file(path, 1, layout, europe.CLASSES, {"files": ["flanders_2018"]}) as writer:
        writer.append(one.arrays())
        writer.put_split(np.full(1, europe.OF_FLANDERS_2018, np.int8), {"method": "none", "random": False, "roles": {}})


PLAN = SpatialPlan(
    "europe-hybrid-cnn",
    "Groups of crops in western Europe, in their surroundings",
    replace(RECIPE, balance="none"),
    landscapes=LandscapeSettings(edge=32, background="Other", details=DETAILS, reach_km=15.0),
    held_out=((europe.OF_FLANDERS_2018,),),
    by_pixel=europe.PLAN,
    tasks=europe.tasks,
    landscapes_a_fold=240,
    prepare_real=prepare_square,
)


if __name__ == "__main__":
    run(PLAN, europe.prepare, ContextTraining)
