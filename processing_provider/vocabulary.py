"""The words that dialogs offer.

The worker owns them (docs/job.schema.json, cropmap_core.timeseries.indices); tests hold both equal.
"""

from __future__ import annotations

BANDS = ["B01", "B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B09", "B11", "B12"]
DEFAULT_BANDS = [band for band in BANDS if band not in ("B01", "B09")]
SCL_CLASSES = [
    "dark", "cloud_shadow", "vegetation", "bare_soil", "water", "unclassified", "cloud_medium", "cloud_high",
    "cirrus", "snow",
]  # fmt: skip
DEFAULT_SCL_CLASSES = ["vegetation", "bare_soil", "water", "unclassified"]
INDICES = [
    "NDVI", "GNDVI", "NDVI45", "NDRE", "EVI", "EVI2", "SAVI", "OSAVI", "MSAVI", "MTCI", "CIRE", "NDWI", "NDMI",
    "NBR", "PSRI",
]  # fmt: skip
RESOLUTIONS_M = ["10", "20", "60"]
OFFSETS = ["auto", "0", "-1000"]
PERIODS = ["month"]
MONTHS = [str(month) for month in range(1, 13)]
DEVICES = ["auto", "cpu", "cuda"]
SAMPLE_KINDS = ["pixel", "patch"]
SPLITS = ["blocks", "zone", "parcel", "tile", "year", "column", "random"]
REFLECTANCES = ["scaled", "unit"]
TORCH_BUILDS = ["auto", "cpu", "cuda"]
