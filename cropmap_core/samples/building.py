"""Building a training set: step by step from its source, so that a killed build goes on where it was."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import h5py
import numpy as np
from numpy.typing import NDArray

from cropmap_core.classes import CropClass
from cropmap_core.errors import OutputError, SamplesError
from cropmap_core.io.outputs import written_whole
from cropmap_core.samples.classes import UNLABELLED, check_values
from cropmap_core.samples.files import NO_PARCEL, NUMBERS, TEXTS, Layout, SampleFile
from cropmap_core.samples.groups import Located
from cropmap_core.samples.places import zones_of
from cropmap_core.samples.splits import Split, SplitAsked, split_samples
from cropmap_core.samples.writer import Samples, SampleWriter, create_sample_file

Progress = Callable[[float], None]
_COPIED_AT_ONCE = 2048


class Source(Protocol):
    """Where samples come from, in steps of bearable size that may be read in any order."""

    @property
    def layout(self) -> Layout:
        """What its samples have in common."""
        ...

    @property
    def classes(self) -> tuple[CropClass, ...]:
        """What they are labelled with."""
        ...

    @property
    def provenance(self) -> Mapping[str, Any]:
        """What they are made from."""
        ...

    @property
    def warnings(self) -> Sequence[str]:
        """What the user should know."""
        ...

    @property
    def steps(self) -> int:
        """Number of steps."""
        ...

    def read(self, step: int) -> Samples | None:
        """The samples of a step; None where there are none."""
        ...


@dataclass(frozen=True)
class Built:
    """What was written."""

    samples: int
    counts: Mapping[str, int]
    """Labelled pixels (samples, where these are pixels) by class."""
    split: Split
    resumed: int
    """Steps that an earlier, killed run had done."""


def working_folder(output: Path, inputs: Sequence[Path], parameters: Mapping[str, Any]) -> Path:
    """A folder beside the output for the steps of a build; the same for the same inputs and parameters.

    Folders of other builds of that output, which were killed and not resumed, are removed.

    Raises:
        OutputError: It cannot be made.
    """
    files = [file for path in inputs for file in (sorted(path.rglob("*")) if path.is_dir() else [path])]
    states = [(str(file), file.stat().st_size, file.stat().st_mtime_ns) for file in files if file.is_file()]
    told = json.dumps([states, {name: str(value) for name, value in parameters.items()}], sort_keys=True)
    mark = hashlib.sha256(told.encode()).hexdigest()[:12]
    folder = output.absolute().parent / f".{output.name}.{mark}.building"
    own = re.compile(rf"\.{re.escape(output.name)}\.[0-9a-f]{{12}}\.building")  # and none of an output NAME.more
    others = folder.parent.iterdir() if folder.parent.is_dir() else ()
    for other in [each for each in others if own.fullmatch(each.name) and each != folder]:
        shutil.rmtree(other, ignore_errors=True)
    with written_whole(output):
        folder.mkdir(parents=True, exist_ok=True)
    return folder


def build(
    source: Source,
    path: Path,
    folder: Path,
    asked: SplitAsked,
    zones: tuple[Path, str] | None,
    provenance: Mapping[str, Any],
    progress: Progress = lambda fraction: None,
) -> Built:
    """Writes a training set.

    Args:
        source: Where its samples come from.
        path: The file to write.
        folder: For the steps; those that are there already are not made again.
        asked: How to split.
        zones: The user's zones and the field of their names; None where there are none.
        provenance: What the set is made from.
        progress: Called with the share that is done; may raise to stop.

    Raises:
        SamplesError: There is no labelled sample, or of one class only; or see `split_samples`.
        OutputError: The file cannot be written.
    """
    check_values(source.classes)
    parts, resumed = [], 0
    for step in range(source.steps):
        progress(0.8 * step / source.steps)
        part = folder / f"{step:06}.h5"
        if part.exists():
            resumed += 1
        else:
            _write_part(source.read(step), part)
        parts.append(part)
    located, counts = _look_at(parts, zones)
    names = {each.value: each.name for each in source.classes}
    _check_classes(counts, names)
    split = split_samples(located, names, asked)
    told = {**source.provenance, **provenance}
    with create_sample_file(path, len(located), source.layout, source.classes, told) as writer:
        _merge(parts, writer, located, lambda fraction: progress(0.8 + 0.2 * fraction))
        writer.put_split(split.fold, split.description)
    _check_readable(path)
    progress(1.0)
    return Built(len(located), {names[value]: int(counts[value]) for value in names}, split, resumed)


def _write_part(samples: Samples | None, part: Path) -> None:
    """A step's samples in a file that appears whole or not at all."""
    unfinished = part.with_suffix(".part")
    with written_whole(part):
        with h5py.File(unfinished, "w") as file:
            for name, values in (samples.arrays() if samples is not None else {}).items():
                file.create_dataset(
                    name, data=values, chunks=True, compression="gzip", compression_opts=1, shuffle=True
                )
        unfinished.replace(part)


def _look_at(parts: Sequence[Path], zones: tuple[Path, str] | None) -> tuple[Located, NDArray[np.int64]]:
    """What a split looks at, of all parts together, and the number of labelled pixels by class value."""
    found: list[dict[str, NDArray[Any]]] = []
    counts = np.zeros(2**15, np.int64)
    parcels, first = [], 0
    for part in parts:
        with h5py.File(part, "r") as file:
            if "label" not in file:
                continue
            label = file["label"][...].reshape(len(file["label"]), -1)
            counts += np.bincount(label.ravel(), minlength=len(counts))
            parcels.append(_pairs(file["parcel"][...].reshape(len(label), -1), label, first))
            columns = {f"columns/{name}": _texts(file[f"columns/{name}"]) for name in file.get("columns", ())}
            years = file["season"][...].astype("datetime64[D]").astype("datetime64[Y]").astype(np.int64) + 1970
            own = {name: file[name][...] for name in ("lon", "lat")}
            texts = {name: _texts(file[name]) for name in ("zone", "tile")}
            found.append({"label": _most_frequent(label), "year": years, **own, **texts, **columns})
            first += len(label)
    if not found:
        raise SamplesError(
            "No labelled pixel lies where the series was observed, or no row in the season.",
            "Check that labels and series cover the same place and time.",
        )
    whole = {name: np.concatenate([each[name] for each in found]) for name in found[0]}
    if zones is not None:
        whole["zone"] = zones_of(*zones, whole["lon"], whole["lat"])
    columns = {name.removeprefix("columns/"): whole[name] for name in whole if name.startswith("columns/")}
    own = {name: values for name, values in whole.items() if not name.startswith("columns/")}
    return Located(**own, columns=columns, parcels=np.concatenate(parcels)), counts


def _pairs(parcel: NDArray[np.int64], label: NDArray[np.int16], first: int) -> NDArray[np.int64]:
    """Sample and parcel of each labelled pixel, each pair once, shape (P, 2)."""
    sample, pixel = np.nonzero((parcel != NO_PARCEL) & (label != UNLABELLED))
    pairs = np.stack([sample + first, parcel[sample, pixel]], axis=1)
    return np.unique(pairs, axis=0)


def _most_frequent(label: NDArray[np.int16]) -> NDArray[np.int16]:
    """The class of most labelled pixels of each sample, 0 where none is; shape (N, pixels) to (N,)."""
    if label.shape[1] == 1:
        return label[:, 0]
    most = [np.bincount(pixels[pixels > 0], minlength=1).argmax() for pixels in label]
    return np.asarray(most, np.int16)


def _merge(parts: Sequence[Path], writer: SampleWriter, located: Located, progress: Progress) -> None:
    widths: dict[str, int] = {}
    for part in parts:
        with h5py.File(part, "r") as file:
            for name in _names(file):
                if file[name].dtype.kind == "S":
                    widths[name] = max(widths.get(name, 1), file[name].dtype.itemsize)
    widths["zone"] = max(1, np.char.encode(located.zone, "utf-8").dtype.itemsize)
    done = 0
    for part in parts:
        with h5py.File(part, "r") as file:
            names = _names(file)
            for start in range(0, len(file["label"]) if names else 0, _COPIED_AT_ONCE):
                progress(done / len(located))
                arrays = {name: file[name][start : start + _COPIED_AT_ONCE] for name in names}
                number = len(arrays["label"])
                arrays["zone"] = np.char.encode(located.zone[done : done + number], "utf-8")
                writer.append({name: _as_wide(array, widths.get(name)) for name, array in arrays.items()})
                done += number


def _names(file: h5py.File) -> list[str]:
    if "label" not in file:
        return []
    columns = [f"columns/{name}" for name in file.get("columns", ())]
    return [*NUMBERS, *TEXTS, *columns]


def _as_wide(array: NDArray[Any], width: int | None) -> NDArray[Any]:
    return array if width is None else array.astype(f"S{width}")


def _texts(dataset: h5py.Dataset) -> NDArray[np.str_]:
    return np.char.decode(dataset[...], "utf-8")


def _check_classes(counts: NDArray[np.int64], names: Mapping[int, str]) -> None:
    there = [name for value, name in names.items() if counts[value]]
    if not there:
        raise SamplesError("No sample has a label.", "Check the class mapping and where the labels lie.")
    if len(there) == 1:
        raise SamplesError(
            f"All labels are of one class, {there[0]}.",
            "Add samples of what else grows there: one class teaches nothing.",
        )


def _check_readable(path: Path) -> None:
    """A full disk may stay silent until the file is read again."""
    try:
        with SampleFile(path) as file:
            file.column("fold")
    except SamplesError as error:
        raise OutputError(
            f"{path} is not complete: {error.message}", "Make room on its disk, or write elsewhere."
        ) from error
