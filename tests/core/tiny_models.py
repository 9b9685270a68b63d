"""Bundles of random weights, small enough to be made and used in a moment."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

import models
from cropmap_core.inference.bundles import Bundle, CropClass, save_bundle
from cropmap_core.learning.signatures import make_signatures
from models.network import Network

CLASSES = (CropClass(3, "Maize", "#f4c430"), CropClass(4, "Grass", "#4caf50"), CropClass(7, "Potatoes", "#8d5524"))
"""Their values are neither 1..K nor the positions of the network's outputs, so that mixing them up shows."""
CHANNELS = ("B04", "NDVI", "B08", "B11")
MEAN, STD = (0.08, 0.5, 0.25, 0.2), (0.04, 0.25, 0.06, 0.05)
MONTHS = (4, 5, 6, 7, 8)
FIRST_DAYS = tuple(f"{month:02}-01" for month in MONTHS)
START, END = "2018-04-01", "2018-08-31"
HYPER_PARAMETERS: Mapping[str, Mapping[str, Any]] = {
    "hybrid_cnn": {"embedding": 8, "widths": (6, 8)},
    "convlstm": {"patch_size": 5, "hidden": (6, 8)},
    "tempcnn": {"hidden": (8, 8), "heads": 2, "dense": 12},
    "ltae": {"width": 16, "heads": 4, "dense": 12},
}
STRIDE_PIXELS = {"convlstm": 3}


def tiny_network(architecture: str, seed: int, **hyper_parameters: Any) -> Network:
    """A network of random weights that gives every class its share, which few random networks do."""
    torch.manual_seed(seed)
    made = models.build(architecture, **hyper_parameters).eval()
    balance(made)
    return made


def balance(made: Network) -> None:
    """Gives every class of a network its share of random pixels, by its last layer."""
    times = len(MONTHS)
    x = torch.randn(24, times, made.channels, 6, 6)
    days = (torch.arange(times) * 30.5).expand(24, -1)
    with torch.no_grad():
        logits = made(x, days, torch.ones(24, times, 6, 6, dtype=torch.bool)).movedim(1, -1)
        std, mean = torch.std_mean(logits.reshape(-1, made.classes), dim=0)
        weight, bias = made.classify.weight, made.classify.bias
        weight *= (2 / std).view(-1, *[1] * (weight.ndim - 1))
        bias.copy_((bias - mean) * 2 / std)


def bundle_of(
    classes: Sequence[CropClass], channels: Sequence[str], first_days: Sequence[str], **changes: Any
) -> Bundle:
    """What a bundle says, without a network; `changes` replace some of it."""
    described = {"id": "described", "title": "", "folder": Path("nowhere"), "architecture": "tempcnn"}
    scaling = {"mean": (0.0,) * len(channels), "std": (1.0,) * len(channels), "bbox": (3.0, 50.7, 3.1, 50.8)}
    own = {"classes": tuple(classes), "channels": tuple(channels), "first_days": tuple(first_days)}
    return Bundle(**{**described, **scaling, **own, "hyper_parameters": {}, **changes})


def with_thresholds(bundle: Bundle, season: NDArray[np.float32], labels: NDArray[np.int64]) -> Bundle:
    """The bundle saved again with signatures of some series, shape (T, C, H, W), and their classes, shape (H, W)."""
    signatures = make_signatures(season, labels, np.zeros_like(labels), bundle)
    return save_bundle(bundle, bundle.network(), signatures, "# A tiny model\n")


def save_tiny_bundle(
    folder: Path, architecture: str, seed: int = 0, hyper_parameters: Mapping[str, Any] | None = None, **changes: Any
) -> Bundle:
    """Writes a bundle; `hyper_parameters` and `changes` replace some of what it says of its network and of itself."""
    channels, classes = changes.get("channels", CHANNELS), changes.get("classes", CLASSES)
    hyper_parameters = {
        "channels": len(channels),
        "classes": len(classes),
        **HYPER_PARAMETERS[architecture],
        **(hyper_parameters or {}),
    }
    description = {
        "id": f"tiny-{architecture.replace('_', '-')}",
        "title": f"Tiny {architecture}",
        "folder": folder,
        "architecture": architecture,
        "hyper_parameters": hyper_parameters,
        "channels": CHANNELS,
        "mean": MEAN,
        "std": STD,
        "classes": CLASSES,
        "first_days": FIRST_DAYS,
        "bbox": (3.0, 50.7, 3.1, 50.8),
        "stride_pixels": STRIDE_PIXELS.get(architecture, 1),
    }
    network = tiny_network(architecture, seed, **hyper_parameters)
    return save_bundle(Bundle(**{**description, **changes}), network, {}, "# A tiny model\n")
