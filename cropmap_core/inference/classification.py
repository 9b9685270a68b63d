"""From a time series and a model bundle to a class raster, block by block."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from cropmap_core.classes import CLASSES_TAG, CropClass
from cropmap_core.errors import JobError, NoValidObservationError
from cropmap_core.hierarchy import hierarchy_of
from cropmap_core.inference.bundles import Bundle
from cropmap_core.inference.fit import Composites, check_fits
from cropmap_core.inference.guards import NO_OOD, InputWatch
from cropmap_core.inference.predictor import Predictor, Progress
from cropmap_core.io.grid import Window
from cropmap_core.io.outputs import BLOCK_SIZE, create_raster
from cropmap_core.timeseries.indices import as_channels, computable_indices
from cropmap_core.timeseries.series import Block, Mask, Series, Values
from cropmap_core.timeseries.temperatures import Temperatures

NO_CLASS = 0
"""Class value of pixels that were never observed."""
NO_CONFIDENCE = 255
Percent = NDArray[np.uint8]
ClassValues = NDArray[np.uint8]
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


class Found(NamedTuple):
    """What a window shows, each of shape (H, W)."""

    classes: ClassValues
    confidence: Percent
    ood: NDArray[np.uint8]
    """0, 1 or 255, as `InputWatch.see` tells it."""


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
    ) -> None:
        super().__init__(bundle, device, temperatures)
        self._watch, self._every = watch, every
        self._sure_from, self._there = sure_from, there
        self._hierarchy = hierarchy_of(bundle.classes) if sure_from else None

    def classify(self, block: Block, days: NDArray[np.float32], progress: Progress = lambda fraction: None) -> Found:
        """Classifies a window.

        Args:
            block: The window with `halo` pixels around it, the bundle's channels that are there, float32.
            days: Days since the season's start, shape (T,).
            progress: Called with the share that is done; may raise to stop.

        Returns:
            Of the window without its halo.
        """
        inside = slice(self.halo, -self.halo) if self.halo else slice(None)
        observed = block.valid[:, inside, inside].any(axis=0)
        classes = np.full(observed.shape, NO_CLASS, dtype=np.uint8)
        confidence = np.full(observed.shape, NO_CONFIDENCE, dtype=np.uint8)
        ood = np.full(observed.shape, NO_OOD, dtype=np.uint8)
        if observed.any():
            probability = self.of_window(block.data, block.valid, days, progress, self._there)
            top = probability.max(dim=0)
            places = top.indices.cpu().numpy().astype(np.int32)
            if self._hierarchy is not None:
                values, sure = self._hierarchy.decide(probability.cpu().numpy(), self._sure_from)
            else:
                own = np.asarray([crop.value for crop in self.bundle.classes], dtype=np.uint8)
                values, sure = own[places], top.values.cpu().numpy()
            classes[observed] = values[observed]
            confidence[observed] = np.rint(100 * sure[observed]).astype(np.uint8)
            if self._watch is not None:
                data, valid = block.data[..., inside, inside], block.valid[:, inside, inside]
                _show(self._watch, data, valid, places, ood, self._every)
        return Found(classes, confidence, ood)


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
) -> ClassMap:
    """Classifies a whole series into rasters on its grid.

    Args:
        series: Composites, filled, with or without the bundle's indices.
        bundle: The model.
        device: Where to compute.
        classes_path: The class raster to write, uint8 with the bundle's class values, 0 where never observed.
        confidence_path: The confidence raster to write, uint8 percent, 255 where never observed; None for none.
        provenance: What the map was made from, kept as JSON in the files' tags.
        progress: Called with the share that is done; may raise to stop.
        temperatures: What a bundle that counts thermal days needs.
        sure_from: The least probability of a crop; below it the pixel is of the finest group that has it.
        ood_path: The raster of what is out of distribution to write, uint8: 1 where it is, 0 where not, 255 where never
            observed or where the bundle has no test; None for none.
        warnings: What was warned of before, for the files' tags.

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
    classifier = Classifier(bundle, device, temperatures, sure_from, there, watch, every)
    days = classifier.days(series.dates, *series.grid.centre_degrees)
    crops = legend_of(bundle, sure_from)
    counts = np.zeros(256, dtype=np.int64)
    tags = {"CROPMAP_MODEL": bundle.id, "CROPMAP_PROVENANCE": json.dumps(provenance)}
    legend = json.dumps([{"value": c.value, "name": c.name, "color": c.color} for c in crops])
    with ExitStack() as files:
        classes_file = files.enter_context(create_raster(classes_path, series.grid, 1, "uint8", NO_CLASS))
        classes_file.write_colormap(1, {c.value: _rgba(c.color) for c in crops})
        classes_file.update_tags(**tags, **{CLASSES_TAG: legend})
        classes_file.set_band_description(1, "crop class")
        beside = []
        for path, nodata, what in ((confidence_path, NO_CONFIDENCE, "confidence, percent"), (ood_path, NO_OOD, "ood")):
            file = None if path is None else files.enter_context(create_raster(path, series.grid, 1, "uint8", nodata))
            if file is not None:
                file.update_tags(**tags)
                file.set_band_description(1, what)
            beside.append(file)
        for window, found in _predictions(channels, classifier, days, progress):
            for file, values in zip((classes_file, *beside), found, strict=True):
                if file is not None:
                    file.write(values, 1, window=window.bounds_rc)
            counts += np.bincount(found.classes.ravel(), minlength=256)
        told = {} if watch.share is None else {OOD_TAG: f"{watch.share:.4f}"}
        warned = watch.warnings()
        classes_file.update_tags(**told, **{WARNINGS_TAG: json.dumps([*warnings, *warned])})
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
) -> Iterator[tuple[Window, Found]]:
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


def _rgba(colour: str) -> tuple[int, int, int, int]:
    red, green, blue = (int(colour[start : start + 2], 16) for start in (1, 3, 5))
    return red, green, blue, 255
