"""Small networks of every kind that the engine runs, seasons for them, and predictors that fail when told to."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from datetime import date
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

import models
from cropmap_core.inference.bundles import Bundle, save_bundle
from cropmap_core.inference.engine import Asked, Report, Seen, run
from cropmap_core.inference.finished_blocks import Arrays, FinishedBlocks
from cropmap_core.inference.map_care import smooth
from cropmap_core.inference.predictor import Predictor
from cropmap_core.io.grid import Window
from cropmap_core.learning.trees import fit_trees
from cropmap_core.timeseries.indices import as_channels
from cropmap_core.timeseries.series import NODATA, Block, Series
from models.network import Network
from tests.core.series_in_memory import SeriesInMemory
from tests.core.tiny_models import (
    CHANNELS,
    CLASSES,
    FIRST_DAYS,
    HYPER_PARAMETERS,
    MEAN,
    MONTHS,
    STD,
    balance,
    bundle_of,
    save_tiny_bundle,
    tiny_network,
)

CPU, GPU, SECOND_GPU = torch.device("cpu"), torch.device("cuda", 0), torch.device("cuda", 1)
BANDS = ("B04", "B08", "B11")
DATES = tuple(date(2018, month, 1) for month in MONTHS)
LEVELS = {"embedding": 8, "widths": (6, 8, 10)}
SETTINGS: Mapping[str, tuple[str, Mapping[str, Any], Mapping[str, Any]]] = {
    "hybrid_cnn": ("hybrid_cnn", LEVELS, {}),
    "convlstm dense": ("convlstm", {"hidden": (6, 8), "patch_size": 3, "dense": True}, {"stride_pixels": 1}),
    "convlstm patches": ("convlstm", {"hidden": (6, 8), "patch_size": 5}, {"stride_pixels": 3}),
    "convlstm shared patches": ("convlstm", {"hidden": (4, 4), "patch_size": 33}, {"stride_pixels": 11}),
    "tempcnn": ("tempcnn", HYPER_PARAMETERS["tempcnn"], {}),
}
FIELD = 14
"""Edge of the fields in the seasons, in pixels."""
KINDS = (*SETTINGS, "auto_context", "auto_context of neighbours", "ensemble", "trees")
Fault = Callable[[torch.device, str, int], None]
"""Is told of a device, what it is about to do (`weights`, `first` or `second`) and of how many pixels; may raise."""


def season(height: int, width: int, seed: int = 0) -> SeriesInMemory:
    """Months of reflectance of square fields, with gaps; the corner, a strip and a hole were never observed."""
    random = np.random.default_rng(seed)
    middle = np.array([800, 2500, 2000])[:, None, None]
    fields = random.normal(0, 0.5, (len(MONTHS), 3, -(-height // FIELD), -(-width // FIELD)))
    fields = fields.repeat(FIELD, axis=2).repeat(FIELD, axis=3)[..., :height, :width]
    noise = random.normal(1, 0.2, (len(MONTHS), 3, height, width))
    values = (middle * np.exp(fields) * noise).clip(50, 9000).astype(np.int16)
    gaps = random.random((len(MONTHS), 1, height, width)) < 0.2
    gaps[..., :2, :4] = True
    gaps[..., height // 3 : height // 3 + height // 4, width // 4 : width // 2] = True
    gaps[..., -3:-1, :] = height > 8
    return SeriesInMemory(np.where(gaps, np.int16(NODATA), values), BANDS, DATES, "month")


def bundle_named(name: str, folder: Path, seed: int = 0) -> Bundle:
    """One of `KINDS`, of random weights."""
    if name in SETTINGS:
        architecture, hyper_parameters, more = SETTINGS[name]
        return save_tiny_bundle(folder, architecture, seed, hyper_parameters, **more)
    own = {"channels": len(CHANNELS), "classes": len(CLASSES)}
    network: Network
    hyper_parameters = {}
    if name.startswith("auto_context"):
        first = {"architecture": "tempcnn", "hyper_parameters": HYPER_PARAMETERS["tempcnn"]}
        if name.endswith("of neighbours"):
            first = {"architecture": "hybrid_cnn", "hyper_parameters": {"embedding": 8, "widths": (6,)}}
        hyper_parameters = {"first": first, "widths": LEVELS["widths"]}
        network = models.build("auto_context", **own, **hyper_parameters).eval()
        torch.manual_seed(seed)
        with torch.no_grad():
            network.get_submodule("classify").weight.normal_(std=0.5)  # what is around counts, and much
        balance(network)
    elif name == "ensemble":
        told = {"hybrid_cnn": LEVELS, "ltae": HYPER_PARAMETERS["ltae"]}
        members = [
            {"architecture": kind, "hyper_parameters": dict(of_kind), "temperature": 1.5}
            for kind, of_kind in told.items()
        ]
        hyper_parameters = {"members": members}
        network = models.build("ensemble", **own, **hyper_parameters).eval()
        for number, (kind, of_kind) in enumerate(told.items()):
            member = tiny_network(kind, seed + number, **own, **of_kind)
            network.get_submodule(f"members.{number}").load_state_dict(member.state_dict())
    else:
        random = np.random.default_rng(seed)
        features = random.normal(size=(300, len(MONTHS) * len(CHANNELS))).astype(np.float32)
        positions = (features[:, 0] > 0).astype(int) + (features[:, 5] > 0)
        trees = fit_trees("xgboost", features, positions, len(CLASSES), len(CHANNELS), trees=6)
        network, hyper_parameters = trees, asdict(trees.sizes)
    described = bundle_of(
        CLASSES,
        CHANNELS,
        FIRST_DAYS,
        id=f"tiny-{name.replace(' ', '-')}",
        folder=folder,
        architecture="tree_ensemble" if name == "trees" else name.partition(" ")[0],
        hyper_parameters={**hyper_parameters, **own},
        mean=MEAN,
        std=STD,
        stride_pixels=1,
    )
    return save_bundle(described, network, {}, "# A tiny model\n")


class Obedient:
    """A predictor that computes on the processor, says that it is on another device, and fails as it is told to."""

    def __init__(self, fault: Fault, bundle: Bundle, device: torch.device, *more: Any) -> None:
        fault(device, "weights", 0)
        self._real = Predictor(bundle, CPU, *more)
        self._fault, self.device = fault, device

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)

    def first_stage(self, values: Any, valid: Any, *more: Any) -> Any:
        self._fault(self.device, "first", valid[0].size)
        return self._real.first_stage(values, valid, *more)

    def second_stage(self, images: Any, *more: Any) -> Any:
        self._fault(self.device, "second", images[-1].numel())
        return self._real.second_stage(images, *more)


def no_fault(device: torch.device, stage: str, pixels: int) -> None:
    """Nothing goes wrong."""


class Read:
    """A series that remembers what was read of it, and fails where it is told to."""

    def __init__(self, series: Series, fault: Callable[[Window], None] = lambda window: None) -> None:
        self._series, self._fault = series, fault
        self.windows: list[Window] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._series, name)

    def read(self, window: Window) -> Block:
        self.windows.append(window)
        self._fault(window)
        return self._series.read(window)


class Map:
    """What the engine says of a season, in float32."""

    def __init__(self, shape: tuple[int, int], report: Report, store: FinishedBlocks, said: Sequence[str]) -> None:
        self.report, self.store, self.said = report, store, said
        self.probabilities = np.full((len(CLASSES), *shape), np.nan, np.float32)
        self.observed = np.zeros(shape, bool)
        self.times = np.zeros(shape, int)
        """How often each pixel was finished."""
        for window, arrays in store:
            rows, cols = slice(window.row, window.row + window.height), slice(window.col, window.col + window.width)
            self.probabilities[:, rows, cols] = np.where(arrays["observed"], arrays["probabilities"], np.nan)
            self.observed[rows, cols] = arrays["observed"]
            self.times[rows, cols] += 1

    def difference(self, other: Map) -> float:
        """The largest of a probability."""
        np.testing.assert_array_equal(self.observed, other.observed)
        return float(np.nanmax(np.abs(self.probabilities - other.probabilities)))

    def agreement(self, other: Map) -> float:
        """Share of the observed pixels that have the same class."""
        seen = self.observed
        return float(np.mean(self.probabilities[:, seen].argmax(axis=0) == other.probabilities[:, seen].argmax(axis=0)))


def map_of(
    series: Any,
    bundle: Bundle,
    edge: int,
    devices: Sequence[torch.device] = (CPU,),
    fault: Fault = no_fault,
    sigma: float = 0.0,
    store: FinishedBlocks | None = None,
    **asked: Any,
) -> Map:
    """Runs the engine.

    Args:
        series: Reflectance bands.
        bundle: The model.
        edge: Of the parts, in pixels.
        devices: Pretended ones too.
        fault: What goes wrong on them.
        sigma: Of the Gaussian that probabilities are smoothed with.
        store: Of finished blocks; None for a new one.
        asked: More for `Asked`.
    """
    reach = int(np.ceil(3 * sigma))
    said: list[str] = []

    def finish(seen: Seen) -> Arrays:
        surplus = (seen.observed.shape[0] - seen.window.height) // 2
        found, observed = np.ascontiguousarray(seen.probabilities.transpose(2, 0, 1)), seen.observed
        if reach:
            found = smooth(found, observed, sigma)
        inside = slice(surplus, surplus + seen.window.height), slice(surplus, surplus + seen.window.width)
        return {"probabilities": found[:, *inside], "observed": observed[inside]}

    channels = series if set(bundle.channels) == set(series.bands) else as_channels(series, bundle.channels)
    days = bundle.season_days(series.dates)
    store = FinishedBlocks() if store is None else store
    report = run(
        Asked(channels, days, bundle.channels, finish, around=reach, **asked),
        partial(Obedient, fault, bundle),
        devices,
        store,
        lambda stages, lag: edge,
        log=said.append,
    )
    return Map((series.grid.height, series.grid.width), report, store, said)


def difference_of(one: NDArray[Any], other: NDArray[Any]) -> int:
    """The largest, of stored probabilities."""
    return int(np.abs(one.astype(int) - other.astype(int)).max())
