"""Small long tables, as users have them, and located samples to split."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas

from cropmap_core.samples.groups import Located

MONTHS = [f"2021-{month:02}-01" for month in range(3, 9)]
BANDS = ["B02", "B04", "B08"]
DEGREE_M = 111_195  # of latitude


def long_table(count: int = 60, crops: Sequence[str] = ("maize", "wheat"), seed: int = 0) -> pandas.DataFrame:
    """Monthly series of samples 2 km apart: maize is green late, wheat early; row by row, sample by sample."""
    random = np.random.default_rng(seed)
    rows = []
    for number in range(count):
        crop = crops[number % len(crops)]
        peak = 4.0 if crop == "maize" else 1.5
        for time, day in enumerate(MONTHS):
            green = np.exp(-((time - peak) ** 2)) + random.normal(0, 0.02)
            rows.append(
                {
                    "sample_id": f"s{number:03}",
                    "date": day,
                    "B02": 500,
                    "B04": round(1500 - 1000 * green),
                    "B08": round(2000 + 2000 * green),
                    "label": crop,
                    "x": 3.0 + (number % 10) * 0.03,
                    "y": 51.0 + (number // 10) * 0.018,
                }
            )
    return pandas.DataFrame(rows)


def write_table(folder: Path, rows: pandas.DataFrame, name: str = "table.parquet") -> Path:
    path = folder / name
    if path.suffix == ".csv":
        rows.to_csv(path, index=False)
    else:
        rows.to_parquet(path)
    return path


def located(
    label: Sequence[int],
    north_m: Sequence[float],
    parcel: Sequence[int] | None = None,
    **texts: Any,
) -> Located:
    """Samples on a meridian, so many metres north of 51 degrees."""
    count = len(label)
    parcels = np.empty((0, 2), np.int64)
    if parcel is not None:
        parcels = np.asarray([(sample, number) for sample, number in enumerate(parcel) if number >= 0], np.int64)
    return Located(
        label=np.asarray(label, np.int16),
        lon=np.full(count, 3.0),
        lat=51 + np.asarray(north_m, np.float64) / DEGREE_M,
        zone=np.asarray(texts.get("zone", [""] * count)),
        tile=np.asarray(texts.get("tile", [""] * count)),
        year=np.asarray(texts.get("year", [2021] * count)),
        columns={"group": np.asarray(texts["group"])} if "group" in texts else {},
        parcels=parcels,
    )
