"""From a time series and a model bundle to the rasters of a map."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from cropmap_core.classes import CropClass, value_type
from cropmap_core.errors import JobError, NoValidObservationError
from cropmap_core.hierarchy import Hierarchy, hierarchy_of, own_meanings
from cropmap_core.inference.bundles import Bundle
from cropmap_core.inference.disk_room import bytes_per_pixel, check_room
from cropmap_core.inference.engine import Asked, Report, Seen, run
from cropmap_core.inference.finished_blocks import Arrays, FinishedBlocks
from cropmap_core.inference.fit import Composites, check_fits
from cropmap_core.inference.guards import LOOKED_AT_AT_ONCE, NO_OOD, InputWatch, Looked
from cropmap_core.inference.map_care import Care, Meanings, probability_of, smooth
from cropmap_core.inference.map_files import create_maps
from cropmap_core.inference.map_layers import STEPS, Layer, MapPaths, layers_of
from cropmap_core.inference.map_masks import MapMask, open_mask
from cropmap_core.inference.part_size import edge_of_parts
from cropmap_core.inference.precision import choose_precision, computes_in_bfloat16, name_of
from cropmap_core.inference.predictor import Predictor, Progress, days_of
from cropmap_core.inference.sieving import sieve
from cropmap_core.inference.stages import Stages
from cropmap_core.io.grid import Grid, Window
from cropmap_core.timeseries.formulas import INDICES
from cropmap_core.timeseries.indices import as_channels, computable_indices
from cropmap_core.timeseries.series import REFLECTANCE_SCALE, SelectedBands, Series
from cropmap_core.timeseries.temperatures import Temperatures

_ROWS_AT_ONCE = 64  # of a window, for the test of `ood`
_FEW_PIXELS = 2**20  # of a map, are all looked at
_EVERY = 4  # rows and columns: of more pixels one in so many is looked at if only the share is asked for
_KEPT_FROM = 2**18  # pixels of a map whose finished blocks are kept on disk
_COMPUTING = 0.95  # of the progress; the rest is writing
OOD_TAG, WARNINGS_TAG, RUN_TAG = "CROPMAP_OOD_SHARE", "CROPMAP_WARNINGS", "CROPMAP_RUN"
"""Of a class raster: the share of pixels that are out of distribution, what was warned of, a JSON list, and what
computed it, a JSON object."""


@dataclass(frozen=True)
class HowToMap:
    """How a model is applied to a series; none of it is a property of the model."""

    temperatures: Temperatures | None = None
    """What a bundle that counts thermal days needs."""
    sure_from: float = 0.0
    """The least probability of a crop; below it the pixel is of the finest group that has it."""
    precision: str = "auto"
    """Of the network: auto, float32 or bfloat16."""
    stride: int | None = None
    """Edge of the cells that a patch network maps, in pixels; None for the bundle's."""
    care: Care = field(default_factory=Care)
    mask: MapMask | None = None
    """That of `care` on the map's grid, where it was read before."""
    skip_damaged: bool = False
    """What of the series cannot be read counts as never observed."""
    warnings: tuple[str, ...] = ()
    """What was warned of before, for the files' tags."""
    unfinished: Path | None = None
    """The folder where finished blocks are kept until the map is complete; None for nowhere."""
    fingerprint: str = ""
    """Of all else that decides the map: finished blocks of another are not used."""
    edge: int | None = None
    """Of the parts that are computed at once, in pixels, or the least that is possible; None for what memory allows."""


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
    precision: str
    report: Report
    """How the engine came by it."""
    finished: FinishedBlocks
    """To be removed when the map is in its place."""

    @property
    def computed(self) -> dict[str, Any]:
        """What computed it, for manifests and tags."""
        return {
            "device": self.device,
            "precision": self.precision,
            "block_pixels": self.report.edge,
            "blocks": self.report.blocks,
            "blocks_finished_before": self.report.taken_over,
            "steps_down": list(self.report.steps),
            "damaged": list(self.report.unreadable),
        }


def write_class_map(
    series: Series,
    bundle: Bundle,
    devices: Sequence[torch.device],
    paths: MapPaths,
    provenance: Mapping[str, Any],
    how: HowToMap | None = None,
    progress: Progress = lambda fraction: None,
    log: Callable[[str], None] = lambda text: None,
) -> ClassMap:
    """Classifies a whole series into rasters on its grid.

    Args:
        series: Composites, filled, with or without the bundle's indices.
        bundle: The model.
        devices: Where to compute; all at once.
        paths: The rasters to write; see `map_layers`.
        provenance: What the map was made from, kept as JSON in the files' tags.
        how: Of the model's use; None for the usual.
        progress: Called with the share that is done; may raise to stop.
        log: Is told what was done otherwise than planned.

    Raises:
        IncompatibleModelError: The series is not what the bundle was made for.
        NoValidObservationError: No pixel was ever observed.
        SceneError: A part of the series cannot be read.
        OutputError: A file cannot be written.
        OutOfMemoryError: The machine has too little for the least there is to do.
    """
    how = how or HowToMap()
    computable = computable_indices(series, bundle.channels)
    there = check_fits(bundle, Composites((*series.bands, *computable), series.period, tuple(series.dates)))
    precision = choose_precision(bundle, how.precision, devices)
    watch = InputWatch(bundle)
    watch.expect(series.dates, series.period, there)
    mask = how.mask or (open_mask(how.care.mask, series.grid) if how.care.mask is not None else None)
    redecides = how.care.minimum_area_ha and paths.confidence is not None
    asked: set[Layer] = {*paths.there, *(("probabilities",) if redecides else ())}
    finish = _Finish(bundle, how, asked, watch, mask)
    predictors: dict[torch.device, Predictor] = {}

    def predictor_on(device: torch.device) -> Predictor:
        if device not in predictors:
            halved = precision == torch.bfloat16 and (how.precision != "auto" or computes_in_bfloat16(device))
            own = precision if halved else torch.float32
            predictors[device] = Predictor(bundle, device, how.temperatures, how.stride, own)
        return predictors[device]

    days = days_of(bundle, how.temperatures, series.dates, *series.grid.centre_degrees)
    channels = _channels(series, there)
    kept = how.unfinished if keeps_blocks(series.grid) else None
    made_of = f"{how.fingerprint} {name_of(precision)} {sorted(asked)} {mask and mask.digest.hex()}"
    made_whole = _digest(f"{made_of} {False}")  # no part was left out: of use to those that may leave some out, too
    finished = FinishedBlocks(kept, _digest(f"{made_of} {how.skip_damaged}"), made_whole)
    work = Asked(
        channels,
        days,
        there,
        finish,
        around=how.care.halo,
        every=1 if paths.ood is not None or series.grid.width * series.grid.height <= _FEW_PIXELS else _EVERY,
        wanted=mask.touches if mask is not None else None,
        keep_going=how.skip_damaged,
        begin=partial(_look_at_room, series.grid, asked, paths, kept, bundle, log),
    )
    report = run(
        work,
        predictor_on,
        devices,
        finished,
        partial(_edge, how, channels, work.every == 1),
        lambda done: progress(_COMPUTING * done),
        log,
    )
    crops = legend_of(bundle, how.sure_from)
    counts = np.zeros(1 + max(crop.value for crop in crops), dtype=np.int64)
    tags = {"CROPMAP_MODEL": bundle.id, "CROPMAP_PROVENANCE": json.dumps(provenance)}
    with create_maps(paths, series.grid, bundle.classes, crops, tags) as maps:
        for done, (window, layers) in enumerate(_finished_layers(finished, series, how, watch, finish.meanings)):
            progress(_COMPUTING + (1 - _COMPUTING) * done / len(finished))
            maps.write(window, layers)
            counts += np.bincount(layers["classes"].ravel(), minlength=counts.size)
        device = ", ".join(dict.fromkeys(name.partition(":")[0] for name in report.devices))
        made = ClassMap(
            device or devices[0].type,
            {crop.name: int(counts[crop.value]) for crop in crops},
            watch,
            (*watch.warnings(), *(f"Not mapped, for it cannot be read: {place}" for place in report.unreadable)),
            ", ".join(finished.precisions or dict.fromkeys(name_of(each.precision) for each in predictors.values())),
            report,
            finished,
        )
        unlike = {} if watch.share is None else {OOD_TAG: f"{watch.share:.4f}"}
        warned = json.dumps([*how.warnings, *made.warnings])
        maps.tag({**unlike, WARNINGS_TAG: warned, RUN_TAG: json.dumps(made.computed)})
        progress(1.0)
    if counts[1:].sum() == 0:
        finished.remove()
        if report.unreadable:
            raise NoValidObservationError(
                f"Nothing is left to map: {len(report.unreadable)} places of the series cannot be read, and no other "
                f"pixel has a clear observation. The first one: {report.unreadable[0]}",
                "Make or fetch the damaged files again.",
            )
        raise NoValidObservationError(
            "No pixel has a clear observation between the dates.",
            "Choose a longer time span, or keep more SCL classes with KEEP_CLASSES.",
        )
    return made


def keeps_blocks(grid: Grid) -> bool:
    """Whether a map is so large that its finished blocks are kept on disk."""
    return grid.width * grid.height >= _KEPT_FROM


def _look_at_room(
    grid: Grid,
    asked: Collection[Layer],
    paths: MapPaths,
    kept: Path | None,
    bundle: Bundle,
    log: Callable[[str], None],
    pixels: int,
) -> None:
    """Warns where the disk may get full.

    Raises:
        OutputError: There is no room for blocks of so many pixels.
    """
    own, classes = np.dtype(value_type(max(each.value for each in bundle.classes))).itemsize, len(bundle.classes)
    in_blocks: set[Layer] = {*asked, "classes", "ood"}
    of_pixel = partial(bytes_per_pixel, classes=classes, class_bytes=own)
    rasters = {path: grid.width * grid.height * of_pixel([name]) for name, path in paths.there.items()}
    if warning := check_room(kept, pixels * of_pixel(in_blocks), rasters):
        log(warning)


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _channels(series: Series, there: Sequence[str]) -> Series:
    """The channels of a model; of whole numbers as they are where none has to be computed first."""
    if series.dtype.kind == "i" and not any(name in INDICES and name not in series.bands for name in there):
        return series if tuple(there) == tuple(series.bands) else SelectedBands(series, tuple(there))
    return as_channels(series, there)


def _edge(how: HowToMap, channels: Series, all_series: bool, stages: Stages, lag: int) -> int:
    """The edge of parts: a multiple of the network's step, and at least twice what windows lag."""
    step = stages.predictor.step
    return -(-max(how.edge or edge_of_parts(channels, stages, lag, all_series), 2 * lag) // step) * step


class _Finish:
    """Makes of what a network said of a window what is kept of it."""

    def __init__(
        self,
        bundle: Bundle,
        how: HowToMap,
        asked: Collection[Layer],
        watch: InputWatch,
        mask: MapMask | None,
    ) -> None:
        self._bundle, self._how, self._asked = bundle, how, asked
        self._watch, self._mask = watch, mask
        self._hierarchy: Hierarchy | None = hierarchy_of(bundle.classes) if how.sure_from else None
        self.meanings = self._hierarchy.meanings() if self._hierarchy else own_meanings(bundle.classes)

    def __call__(self, seen: Seen) -> Arrays:
        around = self._how.care.halo
        surplus = (seen.observed.shape[0] - seen.window.height) // 2  # whole steps, at least `around`
        cut = slice(surplus - around, seen.observed.shape[0] - surplus + around)
        across = slice(surplus - around, seen.observed.shape[1] - surplus + around)
        observed = np.ascontiguousarray(seen.observed[cut, across])
        probabilities = np.ascontiguousarray(seen.probabilities[cut, across].transpose(2, 0, 1))
        if around:
            inside = slice(around, -around)
            probabilities = np.ascontiguousarray(
                smooth(probabilities, observed, self._how.care.smoothing)[:, inside, inside]
            )
            observed = np.ascontiguousarray(observed[inside, inside])
        if self._mask is not None:
            observed &= self._mask.read(seen.window)
        layers = layers_of(
            probabilities, observed, self._bundle.classes, self._asked, self._hierarchy, self._how.sure_from
        )
        ood, looked = self._look(seen, observed, layers.places)
        kept: dict[str, NDArray[Any]] = {name: getattr(layers, name) for name in self._asked if name != "ood"}
        return {"classes": layers.classes, **kept, "ood": ood, **looked}

    def _look(
        self, seen: Seen, observed: NDArray[np.bool_], places: NDArray[np.int32]
    ) -> tuple[NDArray[np.uint8], dict[str, NDArray[Any]]]:
        """Shows the watch series of a window, some rows at once, to copy little."""
        ood = np.full(observed.shape, NO_OOD, np.uint8)
        own, found, classes = ood[seen.looked_at], observed[seen.looked_at], places[seen.looked_at]
        data, valid = seen.block.data, seen.block.valid
        quota = -(-LOOKED_AT_AT_ONCE // max(1, -(-len(own) // _ROWS_AT_ONCE)))
        looked: list[Looked] = []
        for start in range(0, len(own), _ROWS_AT_ONCE):
            part = slice(start, start + _ROWS_AT_ONCE)
            here = np.flatnonzero(found[part].reshape(-1))
            if not len(here):
                continue
            values = np.take(data[:, :, part].reshape(*data.shape[:2], -1), here, axis=2)  # (T, C, P), contiguous
            if values.dtype.kind == "i":
                values = values * np.float32(REFLECTANCE_SCALE)
            usable = np.take(valid[:, part].reshape(len(valid), -1), here, axis=1)
            told, of_part = self._watch.look(values, usable, classes[part].reshape(-1)[here], quota)
            row, col = np.divmod(here, own.shape[1])
            own[start + row, col] = told
            if of_part is not None:
                looked.append(of_part)
        if not looked:
            return ood, {}
        return ood, {
            "counts": np.sum([each.counts for each in looked], axis=0),
            "values": np.concatenate([each.values for each in looked], axis=2),
            "valid": np.concatenate([each.valid for each in looked], axis=1),
        }


def _finished_layers(
    finished: FinishedBlocks, series: Series, how: HowToMap, watch: InputWatch, meanings: Meanings
) -> Iterator[tuple[Window, Arrays]]:
    """The layers of the windows, and their series for the watch; regions that are too small are gone."""
    decided = _sieved(finished, series, how) if how.care.minimum_area_ha else None
    for window, arrays in finished:
        if "counts" in arrays:
            watch.add(Looked(arrays["counts"], arrays["values"], arrays["valid"]))
        yield window, arrays if decided is None else _redecided(arrays, decided, window, meanings)


def _sieved(finished: FinishedBlocks, series: Series, how: HowToMap) -> NDArray[Any]:
    """The classes of the whole map without regions that are too small."""
    whole: NDArray[Any] | None = None
    for window, classes in finished.only("classes"):
        if whole is None:
            whole = np.zeros((series.grid.height, series.grid.width), classes.dtype)
        rows, cols = window.slices_within(series.grid.window())
        whole[rows, cols] = classes
    if whole is None:
        return np.zeros((series.grid.height, series.grid.width), np.uint8)
    return sieve(whole, how.care.smallest_region(series.grid))


def _redecided(layers: Arrays, decided: NDArray[Any], window: Window, meanings: Meanings) -> Arrays:
    """Layers with other classes; confidence is the probability of the class that a pixel has now."""
    rows, cols = slice(window.row, window.row + window.height), slice(window.col, window.col + window.width)
    classes = np.ascontiguousarray(decided[rows, cols])
    changed = classes != layers["classes"]
    if not changed.any():
        return layers
    if "confidence" not in layers:
        return {**layers, "classes": classes}
    confidence = layers["confidence"].copy()
    probability = probability_of(classes[changed], layers["probabilities"][:, changed], meanings)
    confidence[changed] = np.rint(100 / STEPS * probability).astype(np.uint8)
    return {**layers, "classes": classes, "confidence": confidence}


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
