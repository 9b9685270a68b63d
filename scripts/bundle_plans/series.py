"""Training sets of the `.npz` files of pixel series in the shared data, and the command line of the plans."""

from __future__ import annotations

import argparse
import hashlib
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cropmap_core.classes import CropClass
from cropmap_core.inference.bundle_types import ITEM
from cropmap_core.learning.bundling import write_bundle
from cropmap_core.samples.files import NO_PARCEL, Layout, SampleFile
from cropmap_core.samples.writer import Samples, create_sample_file
from scripts.bundle_plans.cross_validation import CrossValidated, Plan, Task, make_final, tell
from scripts.bundle_plans.fold_bundles import FOLDS, folds_there, made_of, write_fold_bundles

BRIGHTEST = 20000
"""Digital numbers above are taken for it."""
DETAILS = "detail"
"""Column of the finer labels."""
Tasks = Mapping[str, tuple[Task, Sequence[int] | None]]


@dataclass(frozen=True)
class Source:
    """Series of one origin."""

    name: str
    arrays: Mapping[str, NDArray[Any]]
    """`X` (N, T, C) reflectance x 10000, `valid` (N, T), `lonlat` (N, 2), `fold` (N,), `dates` (T,) of its season."""
    names: NDArray[np.str_]
    """The class of each sample."""
    details: NDArray[np.str_]
    """The finer label of each sample."""


def write_set(
    sources: Sequence[Path],
    names: Callable[[Mapping[str, NDArray[np.generic]]], NDArray[np.str_]],
    details: Callable[[Mapping[str, NDArray[np.generic]]], NDArray[np.str_]],
    classes: tuple[CropClass, ...],
    period: str,
    path: Path,
) -> None:
    """Writes `.npz` files of the same bands and dates as one training set, with the folds that they state.

    Args:
        sources: The files.
        names: The class of each sample of a file's arrays.
        details: The finer label of each.
        classes: The classes.
        period: The compositing period.
        path: The training set.
    """
    found = []
    for source in sources:
        with np.load(source) as file:
            arrays = dict(file)
        found.append(Source(source.stem, arrays, names(arrays), details(arrays)))
    write_sources(found, tuple(map(str, found[0].arrays["bands"])), classes, period, path)


def write_sources(
    sources: Sequence[Source], bands: tuple[str, ...], classes: tuple[CropClass, ...], period: str, path: Path
) -> None:
    """Writes series of the same bands, on the same days of whatever year, as one training set.

    Args:
        sources: The series.
        bands: Names of their bands.
        classes: The classes.
        period: The compositing period.
        path: The training set.
    """
    values = {each.name: each.value for each in classes}
    days = [date.fromisoformat(str(day)) for day in sources[0].arrays["dates"]]
    layout = Layout("pixel", bands, period, tuple((day - days[0]).days for day in days))
    total = sum(len(source.names) for source in sources)
    longest = max(source.details.astype("S").dtype.itemsize for source in sources)
    folds = np.concatenate([source.arrays["fold"] for source in sources]).astype(np.int8)
    numbers = sorted(map(int, np.unique(folds)))
    path.parent.mkdir(parents=True, exist_ok=True)
    with create_sample_file(path, total, layout, classes, {"files": [source.name for source in sources]}) as writer:
        for source in sources:
            arrays, count = source.arrays, len(source.names)
            label = np.array([values[str(name)] for name in source.names], np.int16)
            epoch = (date.fromisoformat(str(arrays["dates"][0])) - date(1970, 1, 1)).days
            some = Samples(
                data=arrays["X"].clip(0, BRIGHTEST).astype(np.int16)[..., None, None],
                valid=arrays["valid"][..., None, None],
                label=label[:, None, None],
                season=np.full(count, epoch, np.int32),
                parcel=np.full(count, NO_PARCEL, np.int64),
                lon=arrays["lonlat"][:, 0].astype(np.float64),
                lat=arrays["lonlat"][:, 1].astype(np.float64),
                sample_id=np.char.add(f"{source.name}-", np.arange(count).astype(f"U{len(str(total))}")).astype("U40"),
                zone=np.full(count, "", "U1"),
                tile=np.full(count, "", "U1"),
                source=np.full(count, source.name, "U40"),
                columns={DETAILS: source.details.astype(f"U{longest}")},
            )
            writer.append({name: _same_width(values_, longest) for name, values_ in some.arrays().items()})
        roles = {"train": numbers[1:], "validation": numbers[:1], "test": []}
        writer.put_split(folds, {"method": "the folds of the data", "random": False, "roles": roles})


def _older(bundle: Path, samples: Path) -> bool:
    """Whether a bundle is older than the training set, and so may be of another one."""
    item = bundle / ITEM
    return item.is_file() and item.stat().st_mtime < samples.stat().st_mtime


def prepare_once(prepare: Callable[[Path, Path], None], data: Path, path: Path) -> None:
    """Writes a training set, or makes sure that the one that is there is what the data and the plan still give.

    Args:
        prepare: Writes it.
        data: What it is made of.
        path: The training set, beside which is kept what was trained on it.

    Raises:
        ValueError: It holds other samples.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent) as scratch:
        made = Path(scratch) / path.name
        prepare(data, made)
        if not path.exists():
            made.rename(path)
        elif digest(made) != digest(path):
            raise ValueError(
                f"{path} holds other samples than {data} gives now, and what was trained beside it is of those: "
                f"remove the folder {path.parent}."
            )


def digest(path: Path) -> str:
    """What tells the samples of a training set from all others: values, labels and folds."""
    with SampleFile(path) as file:
        batch = file.read(np.arange(len(file)))
        parts = (batch.data, batch.valid, batch.label, file.column("fold"), file.column(DETAILS).astype("S"))
        found = hashlib.sha256()
        for part in parts:
            found.update(repr((part.dtype.str, part.shape)).encode() + np.ascontiguousarray(part).tobytes())
    return found.hexdigest()


def _same_width(values: NDArray[np.generic], longest: int) -> NDArray[np.generic]:
    return values.astype(f"S{max(40, longest)}") if values.dtype.kind == "S" else values


def run(
    plan: Plan,
    prepare: Callable[[Path, Path], None],
    tasks: Callable[[SampleFile], Tasks],
) -> None:
    """The command line of a plan: trains what is not trained yet, tells the scores, and makes the bundle.

    Args:
        plan: The bundle.
        prepare: Writes the training set of the data folder.
        tasks: What is judged, by name, and on which folds.
    """
    parser = argparse.ArgumentParser(description=plan.title)
    parser.add_argument("data", type=Path, help="folder of the shared data")
    parser.add_argument("work", type=Path, help="folder for what is trained on the way")
    parser.add_argument(
        "--seeds", type=int, nargs="*", default=list(plan.seeds), help="which to train; none: only tell"
    )
    parser.add_argument("--bundle", type=Path, help="folder of the bundle, trained on all folds")
    asked = parser.parse_args()
    folder = asked.work / plan.id
    samples = folder / "samples.h5"
    prepare_once(prepare, asked.data, samples)
    with SampleFile(samples) as file:
        found = CrossValidated(file, plan, folder)
        if asked.seeds:
            found.train(asked.seeds)
        tell(found, plan, tasks(file), folder / "scores.json")
        if asked.bundle:
            seeds = [seed for seed in found.there() if seed in plan.bundled]
            if not folds_there(folder / FOLDS, plan, found.folds, seeds):
                write_fold_bundles(file, plan, found, seeds, folder / FOLDS)
            if _older(asked.bundle, samples) or not made_of(asked.bundle, plan, seeds):
                made, judged = make_final(file, plan, found, seeds)
                write_bundle(file, made, judged, asked.bundle, plan.title)
