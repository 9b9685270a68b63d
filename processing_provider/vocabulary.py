"""The words that dialogs offer.

The worker owns them (docs/job.schema.json, cropmap_core.timeseries.formulas); tests hold both equal. The names of the
indices lie in a file of their own, for QGIS's Python cannot ask spyndex.
"""

from __future__ import annotations

import json
import os

BANDS = ["B01", "B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B09", "B11", "B12"]
DEFAULT_BANDS = [band for band in BANDS if band not in ("B01", "B09")]
SCL_CLASSES = [
    "dark", "cloud_shadow", "vegetation", "bare_soil", "water", "unclassified", "cloud_medium", "cloud_high",
    "cirrus", "snow",
]  # fmt: skip
DEFAULT_SCL_CLASSES = ["vegetation", "bare_soil", "water", "unclassified"]
with open(os.path.join(os.path.dirname(__file__), "index_names.json"), encoding="utf-8") as _file:
    INDICES = json.load(_file)
RESOLUTIONS_M = ["10", "20", "60"]
COVERS = ["union", "intersection"]
RESAMPLINGS = ["nearest", "bilinear", "cubic"]
MISSING_SCL = ["refuse", "leave_out", "as_clear"]
CATALOGUES = ["earth-search", "earth-search-c1", "planetary-computer", "cdse"]
OFFSETS = ["auto", "0", "-1000"]
PERIODS = ["month", "half_month", "dekad", "days:10"]  # any number of days, and dates: with a list, may be written too
COMPOSITE_METHODS = ["median", "mean", "medoid", "geometric_median", "first", "last", "nearest"]
PARCEL_METHODS = ["auto", "majority", "mean"]
FILL_METHODS = ["neighbour_mean", "linear", "savitzky_golay", "whittaker"]
MONTHS = [str(month) for month in range(1, 13)]
COMBINING_METHODS = ["mean", "weighted", "entropy_weighted"]
DEVICES = ["auto", "cpu", "cuda", "mps", *(f"cuda:{number}" for number in range(8))]
SAMPLE_KINDS = ["pixel", "patch"]
SPLITS = ["blocks", "zone", "parcel", "tile", "year", "column", "random"]
REFLECTANCES = ["scaled", "unit"]
ARCHITECTURES = [
    "tempcnn", "ltae", "transformer", "rnn", "atlstm", "hybrid",
    "hybrid_cnn", "utae", "convrnn", "attention_unet3d",
    "convlstm", "resnet", "densenet", "efficientnet", "lrcn", "cnn3d",
    "xgboost", "random_forest",
]  # fmt: skip
COMBINATIONS = ["mean", "stacked"]
LOSSES = ["cross_entropy", "focal"]
BALANCES = ["none", "weights", "sampling"]
PRECISIONS = ["auto", "float32", "bfloat16"]
KEPT_EPOCHS = ["best", "last"]
AT_CHECKPOINT = ["resume", "restart", "finish"]
EVALUATED_SETS = ["test", "validation", "train", "all"]
EVALUATED_GROUPS = ["auto", "parcel", "zone", "tile", "cell", "sample"]
TORCH_BUILDS = ["auto", "cpu", "cuda"]
LEGENDS = ["rpg-2023-crops", "rpg-2023-families", "rpg-2023-groups", "names"]
