"""Three parcels of the real patch of 2018, their records worked out from the digital numbers of their pixels."""

from __future__ import annotations

import csv
from pathlib import Path
from statistics import fmean
from types import SimpleNamespace

import geopandas
import numpy as np
import pytest
import rasterio
from pandas import read_csv

from tests.core.seam import run_here

SCENES = ("20180419T110127", "20180506T105423")
"""Both clear over all three parcels, one in April and one in May."""

# B04 and B08 of each pixel, row by row, as the files of the two scenes have them.
GRASS = {  # parcel 2: rows 0 to 3 of columns 25 and 26
    "2018-04-01": ((356, 379, 437, 542, 392, 495), (4274, 4431, 3798, 3517, 4121, 3636)),
    "2018-05-01": ((312, 334, 365, 362, 332, 355), (5533, 5884, 5178, 5601, 5357, 5642)),
}
LEGUMES = {  # parcel 16: rows 54 to 57 of columns 62 and 63
    "2018-04-01": ((778, 794, 742, 675, 429, 386), (3226, 3366, 3318, 3630, 4287, 4659)),
    "2018-05-01": ((904, 903, 731, 595, 416, 411), (1604, 1958, 3027, 3923, 5507, 5692)),
}
# parcel 12: rows 46 to 53 of columns 59 to 63
CABBAGES = {
    "2018-04-01": (
        (845, 798, 863, 846, 889, 897, 909, 947, 930, 928, 895, 856, 903, 900, 841, 637, 557, 657, 785, 735, 751, 762,
         899, 891, 884, 910, 889, 867, 837, 844, 838),
        (2129, 1972, 2208, 2346, 2198, 1950, 2119, 2651, 2587, 2366, 2672, 3181, 2696, 2736, 2799, 3482, 3722, 3127,
         2991, 3163, 3315, 3133, 3013, 2944, 2988, 3052, 3098, 3072, 3142, 3229, 3196),
    ),
    "2018-05-01": (
        (1298, 1176, 1585, 1310, 1121, 1019, 1036, 1118, 1068, 900, 681, 589, 768, 771, 789, 653, 678, 767, 886, 865,
         894, 905, 965, 974, 950, 953, 992, 948, 912, 987, 996),
        (2011, 2197, 2693, 2913, 2282, 2334, 2933, 2767, 2763, 2814, 3662, 3883, 3440, 3310, 3103, 3495, 3067, 2970,
         2305, 2029, 1760, 1928, 1584, 1601, 1478, 1547, 1597, 1573, 1615, 1656, 1618),
    ),
}  # fmt: skip
UTM_SCALE = 0.9996
"""Of zone 31 at its central meridian, which the patch lies next to."""


def ndvi(numbers: dict[str, tuple[tuple[int, ...], tuple[int, ...]]], month: str) -> float:
    """The mean over the pixels of what each pixel's numbers make."""
    red, infrared = numbers[month]
    return fmean((nir - vis) / (nir + vis) for vis, nir in zip(red, infrared, strict=True))


@pytest.fixture(scope="module")
def records(flanders: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[int, SimpleNamespace]:
    """The 18 parcels over the rasterised declarations, with all that a run of the chain gives."""
    folder = tmp_path_factory.mktemp("flanders")
    steps = {name: folder / f"{name}.tif" for name in ("stack", "months", "filled", "provenance")}
    scenes = [flanders / "scenes" / scene for scene in SCENES]
    bands = ["B04", "B08"]
    assert run_here("stackscenes", scenes=scenes, bands=bands, offset="0", output=steps["stack"]).status == 0
    assert run_here("compositetimeseries", series=steps["stack"], output=steps["months"]).status == 0
    filling = {"series": steps["months"], "output": steps["filled"], "output_provenance": steps["provenance"]}
    assert run_here("fillgaps", **filling).status == 0
    layer = geopandas.read_file(flanders / "parcels.gpkg")
    layer["parcel"] = layer["parcel_id"].astype("int32")
    layer["declared"] = layer["crop_code"].astype("int32")
    layer.to_file(folder / "parcels.gpkg", driver="GPKG")
    outcome = run_here(
        "parcelattributes",
        parcels=folder / "parcels.gpkg",
        classes=flanders / "crop_type.tif",
        series=steps["filled"],
        provenance=steps["provenance"],
        declared_field="declared",
        legend=_legend(flanders, folder),
        output=folder / "records.csv",
        output_profiles=folder / "profiles.csv",
    )
    assert outcome.status == 0, outcome.last
    table = read_csv(folder / "records.csv")
    found = {int(row["parcel"]): SimpleNamespace(**row) for row in table.to_dict("records")}
    with (folder / "profiles.csv").open() as file:
        for row in csv.DictReader(file):
            profile = found[int(row["parcel"])].__dict__.setdefault("profile", {})
            profile[row["date"]] = float(row["NDVI"]), float(row["n_pixels"])
    return found


def _legend(flanders: Path, folder: Path) -> Path:
    """The rasterised declarations state no legend: a class is called by its value."""
    codes = read_csv(flanders / "legend.csv")["crop_code"]
    rows = [f"{code},{value},{code}" for value, code in enumerate(codes, start=1)]
    (folder / "legend.csv").write_text("\n".join(["code,value,name", *rows]), encoding="utf-8")
    return folder / "legend.csv"


@pytest.mark.parametrize(
    ("parcel", "code", "pixels", "edges", "numbers", "doubts"),
    [
        (2, 9120, 6, 14, GRASS, "TOO_SMALL;FEW_OBSERVATIONS"),
        (16, 7900, 6, 12, LEGUMES, "TOO_SMALL;FEW_OBSERVATIONS"),
        (12, 2130, 31, 26, CABBAGES, "FEW_OBSERVATIONS"),
    ],
)
def test_a_parcel(
    records: dict[int, SimpleNamespace],
    parcel: int,
    code: int,
    pixels: int,
    edges: int,
    numbers: dict[str, tuple[tuple[int, ...], tuple[int, ...]]],
    doubts: str,
) -> None:
    """Its pixels are whole, of one crop, and seen in both months; `edges` is its outline in edges of pixels."""
    record = records[parcel]
    assert (record.pred_code, record.pred_crop) == (code, code)
    assert record.n_pixels == pytest.approx(pixels, abs=0.01)
    assert (record.pred_prob, record.purity) == pytest.approx((1.0, 1.0), abs=0.001)
    assert record.area_ha == pytest.approx(pixels * 0.01 / UTM_SCALE**2, rel=1e-4)
    assert record.perimeter_m == pytest.approx(edges * 10 / UTM_SCALE, rel=1e-4)
    assert record.compactness == pytest.approx(4 * np.pi * pixels / edges**2, rel=1e-3)
    assert (record.clear_dates_min, record.clear_dates_mean) == (2, 2.0)
    assert (record.filled_share, record.longest_gap_days) == (0.0, 0)
    for month in numbers:
        value, seen = record.profile[month]
        assert value == pytest.approx(ndvi(numbers, month), abs=2e-4)
        assert seen == pytest.approx(pixels, abs=0.01)
    fall = ndvi(numbers, "2018-04-01") - ndvi(numbers, "2018-05-01")
    assert record.ndvi_fall == pytest.approx(fall, abs=3e-4)
    assert record.ndvi_fall_date == "2018-05-01" if fall > 0 else np.isnan(record.ndvi_fall_date)
    assert (record.doubt, record.doubt_reason) == (1, doubts)


def test_every_parcel_is_of_its_declared_crop(flanders: Path, records: dict[int, SimpleNamespace]) -> None:
    declared = geopandas.read_file(flanders / "parcels.gpkg").set_index("parcel_id")
    assert {number: record.pred_code for number, record in records.items()} == declared["crop_code"].to_dict()
    hectares = {number: record.n_pixels * 0.01 for number, record in records.items()}
    assert hectares == pytest.approx(declared["area_ha"].to_dict(), abs=0.002)


def test_the_numbers_are_those_of_the_files(flanders: Path) -> None:
    """The grass parcel in May, read again."""
    time = SCENES[1]
    for band, expected in zip(("B04", "B08"), GRASS["2018-05-01"], strict=True):
        with rasterio.open(flanders / "scenes" / time / f"T31UDS_{time}_{band}_10m.tif") as file:
            found = file.read(1)
        pixels = ((0, 25), (0, 26), (1, 25), (2, 25), (2, 26), (3, 25))
        assert tuple(found[row, col] for row, col in pixels) == expected
