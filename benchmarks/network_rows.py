"""The rows of the networks' table: what is trained, and the little that differs from the defaults."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from models.hybrid_cnn import PUBLISHED


@dataclass(frozen=True)
class PixelRow:
    """A model that classifies pixels by their own series, trained by `trainmodel` on `pixels/us_2021`."""

    name: str
    architectures: tuple[str, ...]
    """Several for an ensemble."""
    hyper_parameters: str = ""
    """As `trainmodel` takes them; the defaults where nothing is said."""
    learning_rate: float = 0.002
    combine: str = "mean"
    """Of an ensemble."""
    why: str = ""
    """Why that learning rate."""


@dataclass(frozen=True)
class ParcelRow:
    """A network that looks around, trained on the landscapes of `flanders_2018` as bundled models are."""

    name: str
    architecture: str
    hyper_parameters: Mapping[str, Any] = field(default_factory=dict)
    steps: int = 80
    landscapes: int = 2
    """Per step."""
    learning_rate: float = 3e-3
    patches: int = 24
    """Of a patch network: patches per landscape."""
    stride_pixels: int = 1
    """Edge of the cells that a patch network maps."""
    why: str = ""
    """Why those steps, that learning rate, those cells."""


_LSTM = "the LSTM on fold 2, after 6 epochs on folds 3 and 4: macro F1 0.728 at 0.002, 0.799 at 0.005"

PIXEL_ROWS = (
    PixelRow("random_forest", ("random_forest",)),
    PixelRow("xgboost", ("xgboost",)),
    PixelRow("tempcnn", ("tempcnn",)),
    PixelRow("ltae", ("ltae",)),
    PixelRow("transformer", ("transformer",)),
    PixelRow("rnn_lstm", ("rnn",), "cell=lstm", 0.005, why=_LSTM),
    PixelRow("rnn_gru", ("rnn",), "cell=gru", 0.005, why=_LSTM),
    PixelRow("atlstm", ("atlstm",), "", 0.005, why=_LSTM),
    PixelRow("hybrid", ("hybrid",)),
    PixelRow("forest_on_tempcnn", ("random_forest",), "features_from=tempcnn"),
    PixelRow("ensemble_tempcnn_ltae", ("tempcnn", "ltae")),
    PixelRow("stacked_tempcnn_ltae_forest", ("tempcnn", "ltae", "random_forest"), combine="stacked"),
)

FOREST = "random_forest"
"""The row of the forest on the pixels of `flanders_2018`."""

_BUNDLED = "as the bundled model: at a learning rate of 0.003 it does not learn its training pixels"
_STEADY = "at 0.003 it learns its training pixels worse: so large a network wants smaller steps"
_SLOW = "so that sixteen trainings on one core take minutes"
_CONVLSTM = {"hidden": (16, 32), "date_harmonics": 2}

PARCEL_ROWS = (
    ParcelRow("hybrid_cnn", "hybrid_cnn", steps=120, landscapes=4),
    ParcelRow("convlstm_patch", "convlstm", {"patch_size": 3, **_CONVLSTM}, 120, 4, 1e-2, why=_BUNDLED),
    ParcelRow("convlstm_dense", "convlstm", {"dense": True, **_CONVLSTM}, 120, 4, 1e-2, why=_BUNDLED),
    ParcelRow("convrnn_star", "convrnn", {"cell": "star"}),
    ParcelRow("convrnn_gru", "convrnn", {"cell": "gru"}),
    ParcelRow("utae", "utae"),
    ParcelRow("lrcn", "lrcn", steps=200, why="after 80 steps it has not learnt its training pixels"),
    ParcelRow("cnn3d", "cnn3d"),
    ParcelRow("resnet", "resnet", patches=12),
    ParcelRow("attention_unet3d", "attention_unet3d"),
    ParcelRow("hybrid_cnn_published", "hybrid_cnn", dict(PUBLISHED), learning_rate=1e-3, why=_STEADY),
    ParcelRow("densenet", "densenet", steps=40, patches=12, stride_pixels=3, why=_SLOW),
    ParcelRow("efficientnet", "efficientnet", steps=40, patches=8, stride_pixels=3, why=_SLOW),
)
