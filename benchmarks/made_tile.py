"""A made time series file of a season of a whole tile, and networks of random weights: what inference is timed on."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import torch
from affine import Affine
from numpy.typing import NDArray

import models
from benchmarks.full_tile import FULL_TILE, folder
from cropmap_core.classes import CropClass
from cropmap_core.inference.bundles import Bundle, save_bundle
from cropmap_core.io.grid import Grid, Window
from cropmap_core.timeseries.files import write_time_series
from cropmap_core.timeseries.series import Block
from models.network import Network

BANDS = ("B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B11", "B12")
DATES = tuple(date(2021, month, 1) for month in range(1, 13))
CLASSES = 9
_PATTERN = 1024
"""Edge of the pattern that repeats, in pixels."""
_FIELD = 32


@dataclass(frozen=True)
class MadeTile:
    """Monthly composites of reflectance x 10000: fields with rows and noise, half of which is compressed away."""

    width: int
    height: int
    dates: tuple[date, ...] = DATES
    bands: tuple[str, ...] = BANDS
    period: str = "month"

    @property
    def dtype(self) -> np.dtype[Any]:
        return np.dtype(np.int16)

    @property
    def grid(self) -> Grid:
        return Grid("EPSG:32631", Affine(10, 0, 499980, 0, -10, 5700000), self.width, self.height)

    @property
    def span(self) -> tuple[date, date]:
        return date(2021, 1, 1), date(2021, 12, 31)

    def read(self, window: Window) -> Block:
        pattern = _pattern(len(self.dates), len(self.bands))
        rows = np.arange(window.row, window.row + window.height) % _PATTERN
        cols = np.arange(window.col, window.col + window.width) % _PATTERN
        data = np.take(np.take(pattern, rows, axis=2), cols, axis=3)
        return Block(data, np.ones((len(self.dates), window.height, window.width), bool))


_made: dict[tuple[int, int], NDArray[np.int16]] = {}


def _pattern(times: int, bands: int) -> NDArray[np.int16]:
    if (times, bands) not in _made:
        random = np.random.default_rng(0)
        fields = _PATTERN // _FIELD
        values = random.integers(300, 4500, (times, bands, fields, fields)).astype(np.int16)
        whole = values.repeat(_FIELD, axis=2).repeat(_FIELD, axis=3)
        whole += random.normal(0, 12, whole.shape).astype(np.int16)
        _made[times, bands] = whole
    return _made[times, bands]


def tile_file(width: int = FULL_TILE, height: int = FULL_TILE) -> Path:
    """A time series file of such composites, made once and kept."""
    path = folder() / f"months-{width}x{height}.tif"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_suffix(".part.tif")
        write_time_series(MadeTile(width, height), part, {"command": "fillgaps"})
        part.rename(path)
    return path


def random_network(architecture: str, hyper_parameters: Mapping[str, Any], seed: int = 0) -> Network:
    """A network of random weights that gives every class its share, which few random networks do."""
    torch.manual_seed(seed)
    network = models.build(architecture, **{**hyper_parameters, "channels": len(BANDS), "classes": CLASSES}).eval()
    x, days = torch.randn(8, len(DATES), len(BANDS), 32, 32), (torch.arange(len(DATES)) * 30.5).expand(8, -1)
    with torch.no_grad():
        logits = network(x, days, torch.ones(8, len(DATES), 32, 32, dtype=torch.bool))
        std, mean = torch.std_mean(logits.movedim(1, -1).reshape(-1, CLASSES), dim=0)
        network.classify.weight *= (2 / std).view(-1, *[1] * (network.classify.weight.ndim - 1))
        network.classify.bias.copy_((network.classify.bias - mean) * 2 / std)
    return network


def random_bundle(
    name: str, architecture: str, hyper_parameters: Mapping[str, Any], properties: Mapping[str, Any] | None = None
) -> Bundle:
    """A bundle of such a network, for the composites of `MadeTile`."""
    network = random_network(architecture, hyper_parameters)
    bundle = Bundle(
        id=name,
        title=name,
        folder=folder() / "models" / name,
        architecture=architecture,
        hyper_parameters={**hyper_parameters, "channels": len(BANDS), "classes": CLASSES},
        channels=BANDS,
        mean=(0.24,) * len(BANDS),
        std=(0.12,) * len(BANDS),
        classes=tuple(CropClass(value + 1, f"Crop {value + 1}", "#336633") for value in range(CLASSES)),
        first_days=tuple(f"{day:%m-%d}" for day in DATES),
        bbox=(2.9, 50.0, 3.3, 50.8),
        properties=properties,
    )
    return save_bundle(bundle, network, {}, f"# {name}\n")


if __name__ == "__main__":
    tile_file(*map(int, sys.argv[1:]))
