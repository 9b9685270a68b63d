"""One map of several: the class probabilities of runs of different models, or with different input, combined."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cropmap_core.classes import LARGEST_MAPPED, CropClass
from cropmap_core.errors import GridMismatchError, JobError, NoValidObservationError, SeriesError
from cropmap_core.inference.map_files import create_maps
from cropmap_core.inference.map_layers import MapPaths, layers_of
from cropmap_core.io.grid import Grid, Window
from cropmap_core.io.outputs import BLOCK_SIZE
from cropmap_core.io.rasters import open_raster, read_bands
from cropmap_core.parcels import legend_of

METHODS = ("mean", "weighted", "entropy_weighted")
_LEAST_WEIGHT = 1e-6
"""Of a member that knows nothing of a pixel: where none of them does, all count the same."""
_COLOUR = re.compile("#[0-9a-fA-F]{6}")
_TOLERANCE = 0.01  # of the sum of a pixel's probabilities, besides what rounding makes of it
_REMEDY = "Give rasters of probabilities as classify and mapcrops write them: OUTPUT_PROBABILITIES."

Probabilities = NDArray[np.float32]
Observed = NDArray[np.bool_]
Progress = Callable[[float], None]


@dataclass(frozen=True)
class Member:
    """A raster of class probabilities."""

    path: Path
    grid: Grid
    classes: tuple[CropClass, ...]
    """Of its bands, in their order."""
    scale: float
    """What stands in the file times this is a probability."""
    nodata: float | None
    dtype: str
    model: str
    """Id of the model that it is of; empty where the file does not tell."""

    def read(self, window: Window) -> tuple[Probabilities, Observed]:
        """The probabilities of a window.

        Returns:
            Shape (K, H, W), which add up to 1 where observed and are 0 elsewhere; and where that is, shape (H, W).

        Raises:
            SeriesError: They add up to something else.
        """
        stored = read_bands(self.path, range(1, len(self.classes) + 1), window)
        observed: Observed = np.isfinite(stored).all(axis=0)
        if self.nodata is not None:
            observed &= (stored != self.nodata).all(axis=0)
        probabilities = np.where(observed, stored, 0).astype(np.float32)
        probabilities *= np.float32(self.scale)
        total = probabilities.sum(axis=0)
        if not observed.any():
            return probabilities, observed
        off = np.where(observed, np.abs(total - 1), 0)
        rounding = 0.5 * self.scale * len(self.classes) if self.dtype[0] in "ui" else 0.0
        if off.max() > _TOLERANCE + rounding or probabilities.min() < 0:
            row, col = np.unravel_index(int(off.argmax()), off.shape)
            raise SeriesError(
                f"The classes of {self.path} add up to {total[row, col]:.3g} in row {window.row + row}, column "
                f"{window.col + col}, not to 1: these are no probabilities.",
                _REMEDY,
            )
        np.divide(probabilities, total, out=probabilities, where=observed)
        return probabilities, observed


@dataclass(frozen=True)
class Ensemble:
    """Rasters of class probabilities on one grid, and how they are combined."""

    members: tuple[Member, ...]
    method: str
    weights: tuple[float, ...]
    """One for each member."""

    @property
    def grid(self) -> Grid:
        """That of all members."""
        return self.members[0].grid

    @cached_property
    def classes(self) -> tuple[CropClass, ...]:
        """Of all members: those of the first, then what each one adds."""
        known = {crop.name: crop for member in reversed(self.members) for crop in reversed(member.classes)}
        return tuple(known[name] for name in dict.fromkeys(c.name for each in self.members for c in each.classes))

    @property
    def lacking(self) -> dict[Path, list[str]]:
        """The classes that members do not know."""
        names = {member.path: {crop.name for crop in member.classes} for member in self.members}
        lacking = {path: [c.name for c in self.classes if c.name not in known] for path, known in names.items()}
        return {path: absent for path, absent in lacking.items() if absent}

    def blocks(self) -> Iterator[tuple[Window, Probabilities, Observed]]:
        """Window by window, the combined probabilities, shape (K, H, W), and where any member has some, (H, W).

        The next window is read while this one is worked on.
        """
        windows = list(self.grid.blocks(BLOCK_SIZE))
        with ThreadPoolExecutor(1, thread_name_prefix="next block") as ahead:
            coming = ahead.submit(self.read, windows[0])
            for done, window in enumerate(windows):
                probabilities, observed = coming.result()
                if done + 1 < len(windows):
                    coming = ahead.submit(self.read, windows[done + 1])
                yield window, probabilities, observed

    def read(self, window: Window) -> tuple[Probabilities, Observed]:
        """The combined probabilities of a window, as `blocks` has them; one member after the other."""
        combined = np.zeros((len(self.classes), window.height, window.width), dtype=np.float32)
        total = np.zeros((window.height, window.width), dtype=np.float32)
        places = {crop.name: place for place, crop in enumerate(self.classes)}
        for member, weight in zip(self.members, self.weights, strict=True):
            probabilities, observed = member.read(window)
            counts = np.where(observed, np.float32(weight), np.float32(0))
            if self.method == "entropy_weighted":
                counts *= sureness(probabilities)
            for crop, own in zip(member.classes, probabilities, strict=True):
                combined[places[crop.name]] += counts * own
            total += counts
        observed = total > 0
        np.divide(combined, total, out=combined, where=observed)
        return combined, observed


def sureness(probabilities: Probabilities) -> NDArray[np.float32]:
    """How sure a model is of each pixel: 1 minus the entropy of its classes, over that of classes that are all alike.

    Args:
        probabilities: Shape (K, H, W).

    Returns:
        Shape (H, W), from almost 0 to 1.

    References:
        Misra, Bourlard and Tyagi 2003, New entropy based combination rules in HMM/ANN multi-stream ASR, ICASSP. They
        weight by the inverse of the entropy, by which a model that is quite sure would silence all others.
    """
    if len(probabilities) == 1:
        return np.ones(probabilities.shape[1:], dtype=np.float32)
    entropy = np.zeros(probabilities.shape[1:], dtype=np.float32)
    for own in probabilities:
        entropy -= own * np.log(np.maximum(own, np.float32(1e-12)))
    sure: NDArray[np.float32] = np.maximum(1 - entropy / np.float32(math.log(len(probabilities))), _LEAST_WEIGHT)
    return sure


def open_ensemble(paths: Sequence[Path], method: str = "mean", weights: Sequence[float] = ()) -> Ensemble:
    """Opens rasters of class probabilities that are to be combined.

    The mean is the sum rule of combining classifiers, which suffers least where single models are off.

    Args:
        paths: One for each run, all on one grid; their classes are matched by name, in whatever order they are.
        method: `mean`; `weighted` by `weights`; or `entropy_weighted`, in each pixel by how sure a member is of it.
        weights: One for each raster, if the method is `weighted`.

    Raises:
        JobError: There are fewer than two rasters, or the weights do not fit.
        SeriesError: A raster is none of class probabilities, or members mean different things by a name or value.
        GridMismatchError: The rasters have different grids.

    References:
        Kittler et al. 1998, On combining classifiers, IEEE TPAMI 20(3).
    """
    if method not in METHODS:
        raise JobError(f"METHOD is '{method}'.", f"Choose {', '.join(METHODS[:-1])} or {METHODS[-1]}.")
    if len(paths) < 2:
        raise JobError(f"There is {'one raster' if paths else 'nothing'} to combine.", "Give two or more.")
    if len({path.resolve() for path in paths}) < len(paths):
        raise JobError("A raster is given twice.", "Give each once; to let it count more, give WEIGHTS.")
    members = tuple(_open_member(path) for path in paths)
    first = members[0]
    for member in members[1:]:
        if member.grid != first.grid:
            raise GridMismatchError(
                f"{member.path} has another grid than {first.path}: {member.grid.describe()}; there "
                f"{first.grid.describe()}.",
                "Map them on one grid: give mapcrops or stackscenes the first one as TEMPLATE.",
            )
    _check_legends(members)
    return Ensemble(members, method, _checked_weights(method, weights, len(paths)))


def _checked_weights(method: str, weights: Sequence[float], count: int) -> tuple[float, ...]:
    if method != "weighted":
        if weights:
            raise JobError(f"There are WEIGHTS, but METHOD is {method}.", "Leave them out, or choose weighted.")
        return (1.0,) * count
    given = ", ".join(f"{weight:g}" for weight in weights) or "missing"
    if len(weights) != count:
        raise JobError(
            f"WEIGHTS are {given}, but there are {count} rasters.", "Give one number for each, in their order."
        )
    if not all(weight > 0 and math.isfinite(weight) for weight in weights):
        raise JobError(f"WEIGHTS are {given}.", "Give numbers above 0; leave out a raster that is not to count.")
    return tuple(weight / sum(weights) for weight in weights)


def _open_member(path: Path) -> Member:
    with open_raster(path) as dataset:
        if not dataset.crs:
            raise SeriesError(f"{path} has no coordinate reference system.", _REMEDY)
        legend = _checked_legend(path, legend_of(dataset))
        bands = [description or "" for description in dataset.descriptions]
        if not legend or sorted(bands) != sorted(legend):
            what = "names no classes" if not legend else f"has the bands {', '.join(bands)}, not one for each class"
            raise SeriesError(f"{path} {what}: it is no raster of class probabilities.", _REMEDY)
        scale, dtype = dataset.scales[0], np.dtype(dataset.dtypes[0])
        if set(dataset.scales) != {scale} or any(dataset.offsets) or (dtype.kind in "ui" and scale >= 1):
            raise SeriesError(
                f"{path} holds {dtype} of scale {scale:g}: that cannot be probabilities from 0 to 1.", _REMEDY
            )
        return Member(
            path,
            Grid.of(dataset),
            tuple(legend[name] for name in bands),
            float(scale),
            dataset.nodata,
            dtype.name,
            dataset.tags().get("CROPMAP_MODEL", ""),
        )


def _checked_legend(path: Path, entries: Sequence[Mapping[str, Any]]) -> dict[str, CropClass]:
    """The classes of a raster by their names.

    Raises:
        SeriesError: What another program wrote has values that no class raster holds, or colours that are none.
    """
    for entry in entries:
        name, value, color = entry["name"], entry["value"], entry["color"]
        if not isinstance(name, str) or not name:
            raise SeriesError(f"{path} has a class that is named {name!r}.", _REMEDY)
        if type(value) is not int or not 1 <= value <= LARGEST_MAPPED:
            raise SeriesError(
                f"{path} has {value!r} as the value of {name}, no whole number from 1 to {LARGEST_MAPPED}.", _REMEDY
            )
        if not isinstance(color, str) or not _COLOUR.fullmatch(color):
            raise SeriesError(f"{path} has {color!r} as the colour of {name}, not #rrggbb.", _REMEDY)
    return {entry["name"]: CropClass(**entry) for entry in entries}


def _check_legends(members: Sequence[Member]) -> None:
    """Refuses one name for two values, and one value for two names."""
    remedy = "Combine models whose class values mean the same."
    values: dict[str, tuple[int, Path]] = {}
    names: dict[int, tuple[str, Path]] = {}
    for member in members:
        for crop in member.classes:
            value, of = values.setdefault(crop.name, (crop.value, member.path))
            if value != crop.value:
                raise SeriesError(f"{crop.name} is {value} in {of}, but {crop.value} in {member.path}.", remedy)
            name, of = names.setdefault(crop.value, (crop.name, member.path))
            if name != crop.name:
                raise SeriesError(f"{crop.value} is {name} in {of}, but {crop.name} in {member.path}.", remedy)


def write_combined(
    ensemble: Ensemble, maps: MapPaths, provenance: Mapping[str, Any], progress: Progress = lambda fraction: None
) -> Mapping[str, int]:
    """Writes the map of an ensemble.

    Args:
        ensemble: What is combined.
        maps: The rasters to write, all but `ood`; nodata where no member has probabilities.
        provenance: What the map was made from, kept as JSON in the files' tags.
        progress: Called with the share that is done; may raise to stop.

    Returns:
        Number of pixels by crop class.

    Raises:
        SeriesError: What a raster holds are no probabilities.
        NoValidObservationError: No member has any.
    """
    crops, grid = ensemble.classes, ensemble.grid
    counts = np.zeros(65536, dtype=np.int64)
    models = " + ".join(member.model or member.path.stem for member in ensemble.members)
    tags = {"CROPMAP_MODEL": models, "CROPMAP_PROVENANCE": json.dumps(provenance)}
    with create_maps(maps, grid, crops, crops, tags) as writer:
        done = 0
        for window, probabilities, observed in ensemble.blocks():
            layers = layers_of(probabilities, observed, crops, maps.there)
            counts += np.bincount(layers.classes.ravel(), minlength=counts.size)
            writer.write(window, layers._asdict())
            done += window.height * window.width
            progress(done / (grid.height * grid.width))
    if not counts[1:].any():
        raise NoValidObservationError("No raster has any probability.", "Give those of runs that observed something.")
    return {crop.name: int(counts[crop.value]) for crop in crops}
