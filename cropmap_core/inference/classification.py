"""From a time series and a model bundle to a class raster, block by block."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from cropmap_core.classes import CropClass
from cropmap_core.errors import JobError, NoValidObservationError
from cropmap_core.hierarchy import hierarchy_of
from cropmap_core.inference.bundles import Bundle
from cropmap_core.inference.fit import Composites, check_fits
from cropmap_core.inference.guards import NO_OOD, InputWatch
from cropmap_core.inference.map_files import create_maps
from cropmap_core.inference.map_layers import Layer, Layers, MapPaths, layers_of
from cropmap_core.inference.predictor import Predictor, Progress
from cropmap_core.io.grid import Window
from cropmap_core.io.outputs import BLOCK_SIZE
from cropmap_core.timeseries.indices import as_channels, computable_indices
from cropmap_core.timeseries.series import Block, Mask, Series, Values
from cropmap_core.timeseries.temperatures import Temperatures

_ROWS_AT_ONCE = 64  # of a window, for the test of `ood`
_FEW_PIXELS = 2**20  # of a map, are all looked at
_EVERY = 17  # of more pixels is looked at if only the share is asked for; no divisor of a block's width
OOD_TAG, WARNINGS_TAG = "CROPMAP_OOD_SHARE", "CROPMAP_WARNINGS"
"""Of a class raster: the share of pixels that are out of distribution, and what was warned of, a JSON list."""


@dataclass(frozen=True)
class ClassMap:
    """What was written."""

    device: str
    pixels: Mapping[str, int]
    """Number of pixels by crop class."""
    watch: InputWatch
    """What was told of their series."""
    warnings: tuple[str, ...]
    """What it warned of."""


def choose_device(name: str) -> torch.device:
    """The device to compute on.

    Args:
        name: `auto` (CUDA where there is one), `cpu` or `cuda`.

    Raises:
        JobError: `cuda` is asked for and torch sees none.
    """
    if name not in ("auto", "cpu", "cuda"):
        raise JobError(f"DEVICE is '{name}'.", "Choose auto, cpu or cuda.")
    if name == "cuda" and not torch.cuda.is_available():
        raise JobError(
            "DEVICE is cuda, but torch sees no CUDA device.",
            "Set DEVICE to auto or cpu, or install the runtime with TORCH=cuda on a machine with an NVIDIA GPU.",
        )
    return torch.device("cuda" if name != "cpu" and torch.cuda.is_available() else "cpu")


class Classifier(Predictor):
    """A bundle's network on a device, applied to windows of a series.

    Args:
        bundle: The model.
        device: Where to compute.
        temperatures: What a bundle that counts thermal days needs.
        sure_from: The least probability of a crop; below it the pixel is of the finest group that has it.
        there: The channels that are there, as `check_fits` gives them; None for all.
        watch: Is shown series that are classified; None for nobody.
        every: Of how many pixels it is shown one.
        asked: The layers to make.
    """

    def __init__(
        self,
        bundle: Bundle,
        device: torch.device | str = "cpu",
        temperatures: Temperatures | None = None,
        sure_from: float = 0.0,
        there: Sequence[str] | None = None,
        watch: InputWatch | None = None,
        every: int = 1,
        asked: Collection[Layer] = (),
    ) -> None:
        super().__init__(bundle, device, temperatures)
        self._watch, self._every, self._asked = watch, every, asked
        self._sure_from, self._there = sure_from, there
        self._hierarchy = hierarchy_of(bundle.classes) if sure_from else None

    def classify(self, block: Block, days: NDArray[np.float32], progress: Progress = lambda fraction: None) -> Layers:
        """Classifies a window.

        Args:
            block: The window with `halo` pixels around it, the bundle's channels that are there, float32.
            days: Days since the season's start, shape (T,).
            progress: Called with the share that is done; may raise to stop.

        Returns:
            Of the window without its halo.
        """
        inside = slice(self.halo, -self.halo) if self.halo else slice(None)
        observed: Mask = np.asarray(block.valid[:, inside, inside].any(axis=0))
        ood = np.full(observed.shape, NO_OOD, dtype=np.uint8)
        if observed.any():
            probability = self.of_window(block.data, block.valid, days, progress, self._there).cpu().numpy()
        else:
            probability = np.zeros((len(self.bundle.classes), *observed.shape), np.float32)
        layers = layers_of(probability, observed, self.bundle.classes, self._asked, self._hierarchy, self._sure_from)
        if self._watch is not None and observed.any():
            data, valid = block.data[..., inside, inside], block.valid[:, inside, inside]
            _show(self._watch, data, valid, layers.places, ood, self._every)
        return layers._replace(ood=ood)


def _show(
    watch: InputWatch, data: Values, valid: Mask, places: NDArray[np.int32], ood: NDArray[np.uint8], every: int
) -> None:
    """Shows series of a window and fills in what is told of them; some rows at once, to copy little."""
    for start in range(0, len(ood), _ROWS_AT_ONCE):
        rows = slice(start, start + _ROWS_AT_ONCE)
        observed = valid[:, rows].reshape(len(valid), -1)  # (T, h * W)
        here = np.flatnonzero(observed.any(axis=0))[::every]
        values = np.take(data[:, :, rows].reshape(*data.shape[:2], -1), here, axis=2)  # (T, C, P), contiguous
        ood[rows].reshape(-1)[here] = watch.see(values, np.take(observed, here, axis=1), places[rows].reshape(-1)[here])


def write_class_map(
    series: Series,
    bundle: Bundle,
    device: torch.device,
    classes_path: Path,
    confidence_path: Path | None,
    provenance: Mapping[str, Any],
    progress: Progress = lambda fraction: None,
    temperatures: Temperatures | None = None,
    sure_from: float = 0.0,
    ood_path: Path | None = None,
    warnings: Sequence[str] = (),
    entropy_path: Path | None = None,
    margin_path: Path | None = None,
    probabilities_path: Path | None = None,
) -> ClassMap:
    """Classifies a whole series into rasters on its grid.

    Args:
        series: Composites, filled, with or without the bundle's indices.
        bundle: The model.
        device: Where to compute.
        classes_path: The class raster to write, with the bundle's class values, 0 where never observed.
        confidence_path: The confidence raster to write, uint8 percent, 255 where never observed; None for none.
        provenance: What the map was made from, kept as JSON in the files' tags.
        progress: Called with the share that is done; may raise to stop.
        temperatures: What a bundle that counts thermal days needs.
        sure_from: The least probability of a crop; below it the pixel is of the finest group that has it.
        ood_path: The raster of what is out of distribution to write, uint8: 1 where it is, 0 where not, 255 where never
            observed or where the bundle has no test; None for none.
        warnings: What was warned of before, for the files' tags.
        entropy_path: The raster of entropy to write, as `map_layers` has it; None for none.
        margin_path: The same of the margin.
        probabilities_path: The same of the probabilities.

    Raises:
        IncompatibleModelError: The series is not what the bundle was made for.
        NoValidObservationError: No pixel was ever observed.
    """
    computable = computable_indices(series, bundle.channels)
    there = check_fits(bundle, Composites((*series.bands, *computable), series.period, tuple(series.dates)))
    channels = as_channels(series, there)
    watch = InputWatch(bundle)
    watch.expect(series.dates, series.period, there)
    every = 1 if ood_path is not None or series.grid.width * series.grid.height <= _FEW_PIXELS else _EVERY
    paths = MapPaths(classes_path, confidence_path, entropy_path, margin_path, probabilities_path, ood_path)
    classifier = Classifier(bundle, device, temperatures, sure_from, there, watch, every, paths.there)
    days = classifier.days(series.dates, *series.grid.centre_degrees)
    crops = legend_of(bundle, sure_from)
    counts = np.zeros(1 + max(crop.value for crop in crops), dtype=np.int64)
    tags = {"CROPMAP_MODEL": bundle.id, "CROPMAP_PROVENANCE": json.dumps(provenance)}
    with create_maps(paths, series.grid, bundle.classes, crops, tags) as maps:
        for window, layers in _predictions(channels, classifier, days, progress):
            maps.write(window, layers)
            counts += np.bincount(layers.classes.ravel(), minlength=counts.size)
        told = {} if watch.share is None else {OOD_TAG: f"{watch.share:.4f}"}
        warned = watch.warnings()
        maps.tag({**told, WARNINGS_TAG: json.dumps([*warnings, *warned])})
    if counts[1:].sum() == 0:
        raise NoValidObservationError(
            "No pixel has a clear observation between the dates.",
            "Choose a longer time span, or keep more SCL classes with KEEP_CLASSES.",
        )
    return ClassMap(device.type, {crop.name: int(counts[crop.value]) for crop in crops}, watch, warned)


def legend_of(bundle: Bundle, sure_from: float = 0.0) -> tuple[CropClass, ...]:
    """What the values of a class raster stand for: the bundle's classes, and groups where crops may be unsure.

    Raises:
        JobError: There are no values left for groups.
    """
    return (*bundle.classes, *(hierarchy_of(bundle.classes).stops() if sure_from else ()))


def check_sure_from(sure_from: float) -> float:
    """Refuses what is no probability.

    Raises:
        JobError: It is not.
    """
    if not 0 <= sure_from <= 1:
        raise JobError(f"SURE_FROM is {sure_from:g}.", "Give a probability such as 0.7, or 0 to always name a crop.")
    return sure_from


def _predictions(
    channels: Series, classifier: Classifier, days: NDArray[np.float32], progress: Progress
) -> Iterator[tuple[Window, Layers]]:
    """Window by window; the next one is read while the network works on this one."""
    windows = list(channels.grid.blocks(BLOCK_SIZE // classifier.step * classifier.step))
    with ThreadPoolExecutor(1, thread_name_prefix="next block") as ahead:
        coming = ahead.submit(channels.read, windows[0].expanded(classifier.halo))
        for done, window in enumerate(windows):
            progress(done / len(windows))
            block = coming.result()
            if done + 1 < len(windows):
                coming = ahead.submit(channels.read, windows[done + 1].expanded(classifier.halo))
            progress((done + 0.5) / len(windows))
            part = partial(_share_of_block, progress, done, len(windows))
            yield window, classifier.classify(block, days, part)
    progress(1.0)


def _share_of_block(progress: Progress, done: int, count: int, fraction: float) -> None:
    """Progress within a block; its first half was for reading."""
    progress((done + 0.5 + 0.5 * fraction) / count)
