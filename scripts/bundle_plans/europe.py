"""`europe-pixel`: groups of crops in western Europe by monthly Sentinel-2 composites of a calendar year.

Run as `python -m scripts.bundle_plans.europe DATA WORK [--bundle FOLDER]`; DATA is the folder of the shared data. The
series are those of ESA WorldCereal's tables (France 2022 and 2023, Flanders 2021 in three of them), the parcels of
`flanders_2018`, and Canada 2017. Fold 0 is all of `flanders_2018`; in the other folds whole cells of H3 stay together.
Labels are parcel declarations, in Canada a ground survey.
"""

from __future__ import annotations

import hashlib
from dataclasses import replace
from datetime import date
from pathlib import Path

import numpy as np
import pandas
from numpy.typing import NDArray

from cropmap_core.classes import CropClass
from cropmap_core.learning.recipes import LAST, Recipe
from cropmap_core.learning.variation import Variation
from cropmap_core.samples.classes import colour_of
from cropmap_core.samples.files import SampleFile
from cropmap_core.scenes.scl import DEFAULT_KEEP_CLASSES
from cropmap_core.timeseries.compositing import composite
from cropmap_core.timeseries.periods import make_periods
from scripts.bundle_plans.cross_validation import Plan, Task
from scripts.bundle_plans.flanders_site import read_site
from scripts.bundle_plans.series import DETAILS, Source, Tasks, run, write_sources

NAMES = (
    "Maize",
    "Winter cereal",
    "Spring cereal",
    "Rapeseed",
    "Sunflower",
    "Potato",
    "Beet",
    "Grass",
    "Legume",
    "Other",
)
CLASSES = tuple(CropClass(value, name, colour_of(value)) for value, name in enumerate(NAMES, start=1))
BANDS = ("B02", "B03", "B04", "B05", "B06", "B07", "B08", "B11", "B12")
"""B8A is in none of the tables."""
FOLDS = 5
OF_FLANDERS_2018 = 0
PIXELS_A_PARCEL = 40
NODATA = 65535
_METRES = {band: 10 if band in ("B02", "B03", "B04", "B08") else 20 for band in BANDS}

EWOC = {
    "Maize": (r"110106.*",),
    "Winter cereal": (r"11010[1-5]\d{3}1", "1101010004", "1101010040", r"110103000[45]"),
    "Spring cereal": (r"11010[1-5]\d{3}2", "1101010005", "1101030006"),
    "Rapeseed": (r"110600003\d",),
    "Sunflower": ("1106000010",),
    "Potato": (r"110700001\d",),
    "Beet": (r"110700003\d",),
    "Grass": (r"2001.*", r"2000.*", r"2501.*", "1111000010", r"111101(?!0100).*"),
    "Legume": (r"1105.*", "1106000020", r"1111020.*"),
}  # fmt: skip
"""Patterns of `ewoc_code` of each group; what matches none is `Other`, and `UNKNOWN` is left out."""
UNKNOWN = (r"10.*", r"00.*", r"11010[0-5]000[03]", r"1114.*", "1111040000", "1106000000", "1600000000")
"""Crops that are not told further, cereals of no season among them, mixtures, and land that may be any of it."""
LEGACY = {
    1200: "Maize",
    1110: "Winter cereal",
    1510: "Winter cereal",
    1910: "Winter cereal",
    1610: "Winter cereal",
    1120: "Spring cereal",
    1520: "Spring cereal",
    1700: "Spring cereal",
    4350: "Rapeseed",
    4380: "Sunflower",
    5100: "Potato",
    8100: "Beet",
    9120: "Grass",
    4100: "Legume",
    7100: "Legume",
    7200: "Legume",
    7700: "Legume",
    7900: "Legume",
    7920: "Legume",
}
"""Group of the older WorldCereal codes; any other is `Other`, but for those below."""
LEGACY_UNKNOWN = (0, 1000, 1100, 1500, 1900, 9310, 9320, 9900)

_VARIATION = Variation(haze=0.3, wander=0.3, cuts=0.2, bands=0.15)
_L_TAE = Recipe(
    "ltae",
    epochs=150,
    batch_size=64,
    learning_rate=5e-3,
    variation=_VARIATION,
    patience=0,
    keep=LAST,
    details=DETAILS,
    precision="bfloat16",
)
PLAN = Plan(
    "europe-pixel",
    "Groups of crops in western Europe",
    (
        _L_TAE,
        replace(_L_TAE, variation=replace(_VARIATION, mixed_pixels=0.2, outliers=0.03), seed=100),
    ),
    seeds=(0,),
    bundled=(0,),
)


def prepare(data: Path, path: Path) -> None:
    """Writes the training set."""
    tables = data / "pixels" / "worldcereal" / "worldcereal-classification"
    flanders = tables / "2021_BEL_LPIS-Flanders" / "data_0.parquet"
    wide = data / "pixels" / "worldcereal" / "prometheo"
    sources = [
        _flanders_2018(data / "flanders_2018"),
        _table(flanders, 2021),
        _wide_table(wide / "worldcereal_dataset.parquet", 2021, flanders),
        _wide_table(wide / "worldcereal_dataset_10D.parquet", 2021, flanders),
        _table(tables / "month" / "2022_FRA_LPIS_POLY_110.geoparquet", 2022),
        _table(tables / "dekad" / "2023_FRA_LPIS_POLY_110.geoparquet", 2023),
        _canada(data / "pixels" / "canada_2017" / "train.npz"),
    ]
    write_sources(sources, BANDS, CLASSES, "month", path)


def tasks(file: SampleFile) -> Tasks:
    """The square of Flanders by models that have not seen it, and the tables of Europe."""
    source = file.column("source")
    everything = tuple(range(len(NAMES)))
    there = np.unique(file.column("label").reshape(-1)[source == "flanders_2018"])
    of_square = tuple(NAMES.index(each.name) for each in file.classes if each.value in there)
    european = np.flatnonzero((source != "canada_2017") & (source != "flanders_2018"))
    return {
        "flanders_2018": (Task("flanders_2018", np.flatnonzero(source == "flanders_2018"), of_square), None),
        "tables of Europe": (Task("tables of Europe", european, everything, NAMES.index("Other")), None),
    }


def group_of_ewoc(codes: pandas.Series) -> pandas.Series:
    """Group of each `ewoc_code`, empty where it says too little."""
    text = codes.astype("int64").astype(str).str.zfill(10)
    group = pandas.Series("Other", codes.index)
    for name, patterns in EWOC.items():
        group[text.str.fullmatch("|".join(patterns))] = name
    group[text.str.fullmatch("|".join(UNKNOWN))] = ""
    return group


def _table(path: Path, year: int) -> Source:
    """Monthly medians of a calendar year of one of WorldCereal's long tables."""
    rows = pandas.read_parquet(path)
    columns = [f"S2-L2A-{band}" for band in BANDS]
    rows["timestamp"] = pandas.to_datetime(rows["timestamp"])
    rows = rows[rows["timestamp"].dt.year == year]
    ids = rows.drop_duplicates("sample_id").set_index("sample_id").sort_index()
    group = group_of_ewoc(ids["ewoc_code"])
    ids, group = ids[group != ""], group[group != ""]
    values = rows[columns].astype("float64").where(rows[columns] != NODATA)
    keep = rows["sample_id"].isin(ids.index) & values.notna().all(axis=1) & (values > 0).all(axis=1)
    medians = values[keep].groupby([rows["sample_id"][keep], rows["timestamp"][keep].dt.month]).median()
    data = np.zeros((len(ids), 12, len(BANDS)), np.uint16)
    valid = np.zeros((len(ids), 12), bool)
    place = ids.index.get_indexer(medians.index.get_level_values(0))
    month = medians.index.get_level_values(1).to_numpy() - 1
    data[place, month], valid[place, month] = np.rint(medians.to_numpy()), True
    seen = valid.any(axis=1)
    arrays = {
        "X": data[seen],
        "valid": valid[seen],
        "lonlat": ids[["lon", "lat"]].to_numpy(np.float64)[seen],
        "fold": np.array([_fold(cell) for cell in ids["h3_l3_cell"]])[seen],
        "dates": _months(year),
    }
    details = np.asarray(ids["ewoc_code"].astype("int64").astype(str).to_numpy("U10"))[seen]
    return Source(path.stem.split(".")[0], arrays, np.asarray(group.to_numpy("U16"))[seen], details)


def _wide_table(path: Path, year: int, neighbours: Path) -> Source:
    """The same of one of WorldCereal's wide tables, of months or of ten days from `start_date` on.

    It has no cells of H3: each point goes into the cell of the nearest point of a long table of the same region.
    """
    rows = pandas.read_parquet(path)
    rows = rows[~rows["CROPTYPE_LABEL"].isin(LEGACY_UNKNOWN)]
    (steps,), (start,) = rows["available_timesteps"].unique(), rows["start_date"].unique()
    first = date.fromisoformat(str(start))
    starts = make_periods("dekad" if "10D" in path.stem else "month", first, date(year, 12, 31)).first_days[:steps]
    columns = [[f"OPTICAL-{band}-ts{step}-{_METRES[band]}m" for band in BANDS] for step in range(steps)]
    values = np.stack([rows[names].to_numpy(np.float64) for names in columns], axis=1)  # (N, steps, C)
    seen = ((values > 0) & (values != NODATA)).all(axis=2)
    data, valid = np.zeros((len(rows), 12, len(BANDS)), np.uint16), np.zeros((len(rows), 12), bool)
    for month in range(12):
        here = np.array([(each.year, each.month) == (year, month + 1) for each in starts])
        for sample in np.flatnonzero(seen[:, here].any(axis=1)):
            data[sample, month] = np.rint(np.median(values[sample, here & seen[sample]], axis=0))
            valid[sample, month] = True
    known = pandas.read_parquet(neighbours, columns=["lon", "lat", "h3_l3_cell"])
    places = rows[["lon", "lat"]].to_numpy(np.float64)
    away = [
        np.hypot((known["lon"] - lon) * np.cos(np.radians(lat)), known["lat"] - lat).argmin() for lon, lat in places
    ]
    ever = valid.any(axis=1)
    arrays = {
        "X": data[ever],
        "valid": valid[ever],
        "lonlat": places[ever],
        "fold": np.array([_fold(known["h3_l3_cell"].iloc[nearest]) for nearest in away])[ever],
        "dates": _months(year),
    }
    code = rows["CROPTYPE_LABEL"].to_numpy(np.int64)[ever]
    names = np.array([LEGACY.get(int(each), "Other") for each in code])
    return Source(path.stem, arrays, names, np.char.add("BE", code.astype("U5")))


def _canada(path: Path) -> Source:
    with np.load(path) as file:
        arrays = dict(file)
    code = arrays["y"].astype(int)
    known = ~np.isin(code, LEGACY_UNKNOWN)
    kept = {name: arrays[name][known] for name in ("X", "valid", "lonlat")}
    kept["fold"] = np.array([_fold(cell) for cell in arrays["h3_l3_cell"][known]])
    kept["dates"] = arrays["dates"]
    names = np.array([LEGACY.get(each, "Other") for each in code[known]])
    return Source("canada_2017", kept, names, np.char.add("CA", code[known].astype("U5")))


def _flanders_2018(folder: Path) -> Source:
    """Some pixels of each parcel, as monthly composites without filled gaps."""
    site = read_site(folder)
    months = composite(site.stack, "month", date(2018, 1, 1), date(2018, 12, 31), DEFAULT_KEEP_CLASSES)
    block = months.read(months.grid.window())
    chosen = [months.bands.index(band) for band in BANDS]
    random = np.random.default_rng(0)
    pixels = []
    for parcel in site.parcels:
        inside = np.argwhere((site.labelled.parcels == parcel) & (site.labelled.classes >= 0))
        pixels.append(inside[np.sort(random.permutation(len(inside))[:PIXELS_A_PARCEL])])
    row, col = np.concatenate(pixels).T
    legacy = np.array([1200, 2130, 5100, 7900, 9120])[site.labelled.classes[row, col]]
    lon, lat = months.grid.centre_degrees
    arrays = {
        "X": block.data[:, chosen][:, :, row, col].transpose(2, 0, 1).clip(0),
        "valid": block.valid[:, row, col].T,
        "lonlat": np.tile([lon, lat], (len(row), 1)),
        "fold": np.full(len(row), OF_FLANDERS_2018),
        "dates": _months(2018),
    }
    names = np.array([LEGACY.get(int(each), "Other") for each in legacy])
    return Source("flanders_2018", arrays, names, np.char.add("BE", legacy.astype("U5")))


def _months(year: int) -> NDArray[np.str_]:
    return np.array([f"{year}-{month:02}-01" for month in range(1, 13)])


def _fold(cell: object) -> int:
    """A fold other than that of `flanders_2018`, the same for all of a cell."""
    return 1 + int(hashlib.blake2b(str(cell).encode()).hexdigest(), 16) % (FOLDS - 1)


if __name__ == "__main__":
    run(PLAN, prepare, tasks)
