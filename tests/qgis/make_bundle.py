"""Writes a model bundle with random weights into a folder; run by the worker's Python from the repository root."""

import sys
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from cropmap_core.inference.bundles import Bundle, CropClass, build_network, save_bundle
from cropmap_core.learning.signatures import make_signatures

CLASSES = (CropClass(1, "Maize", "#f4c430"), CropClass(2, "Grass", "#4caf50"), CropClass(3, "Potatoes", "#8d5524"))
CHANNELS = ("B02", "B04", "B08", "NDVI")

bundle = Bundle(
    id="untrained",
    title="Untrained",
    folder=Path(sys.argv[1]),
    architecture="hybrid_cnn",
    hyper_parameters={
        "channels": len(CHANNELS), "classes": len(CLASSES), "embedding": 8, "kernel": 3, "widths": [4, 6],
    },
    channels=CHANNELS,
    mean=(0.05, 0.08, 0.25, 0.5),
    std=(0.03, 0.05, 0.10, 0.25),
    classes=CLASSES,
    first_days=tuple(f"{month:02}-01" for month in range(1, 13)),
    bbox=(2.9, 50.7, 3.2, 50.9),
    properties={"description": "Made for tests: it knows nothing."},
)  # fmt: skip
torch.manual_seed(1)
season = np.random.default_rng(0).normal(0.2, 0.1, (12, len(CHANNELS), 10, 30)).astype(np.float32)
classes = np.arange(300).reshape(10, 30) % len(CLASSES)
signatures = make_signatures(season, classes, classes, bundle)
save_bundle(bundle, build_network(bundle), signatures, "# Untrained\n")
