"""Training sets of landscapes, made of training sets of pixel series."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cropmap_core.samples.files import NO_PARCEL, PATCH, Layout, SampleFile
from cropmap_core.samples.writer import Samples, create_sample_file
from scripts.bundle_plans.cloud_shapes import CloudShapes
from scripts.bundle_plans.landscapes import Group, LandscapeMaker, LandscapeSettings, Numbers

_FEWEST = 8  # series of a source, season and fold that landscapes are made of
_NUMBERS = 2**12  # parcels of a landscape


def write_landscapes(
    series: SampleFile,
    path: Path,
    counts: Mapping[int, int],
    how: LandscapeSettings,
    clouds: CloudShapes,
    seed: int = 0,
) -> None:
    """Writes landscapes as a training set of patches, one by one.

    Args:
        series: Pixel series with folds.
        path: The training set, whose column `fold` says of which fold all series of a landscape are.
        counts: How many of each fold; they go to its sources and seasons by the square root of their series.
        how: How.
        clouds: Shapes of clouds.
        seed: Decides all of them; each for itself, whatever the others.
    """
    background = next((each.value for each in series.classes if each.name == how.background), 0)
    columns = {name: series.column(name) for name in ("fold", "source", "season", "lon", "lat")}
    groups = _groups(columns, counts)
    total = sum(number for _, _, number in groups)
    layout = Layout(PATCH, series.layout.bands, series.layout.period, series.layout.days, how.edge)
    provenance = {**series.provenance, "landscapes": f"made of {series.path.name}, seed {seed}"}
    path.parent.mkdir(parents=True, exist_ok=True)
    with create_sample_file(path, total, layout, series.classes, provenance) as writer:
        written = 0
        for fold, index, number in groups:
            source, season = str(columns["source"][index[0]]), columns["season"][index[0]]
            maker = LandscapeMaker(_group(series, index, how.details), background, how, clouds)
            for each in range(number):
                made = maker.make(np.random.default_rng([seed, fold, int(season), int(index[0]), each]))
                parcel = np.where(made.parcel == NO_PARCEL, NO_PARCEL, made.parcel + written * _NUMBERS)
                one = Samples(
                    data=made.data[None],
                    valid=made.valid[None],
                    label=made.label[None],
                    season=np.full(1, season, np.int32),
                    parcel=parcel[None],
                    lon=np.full(1, made.lonlat[0]),
                    lat=np.full(1, made.lonlat[1]),
                    sample_id=np.array([f"{source}-{fold}-{each}"], "U40"),
                    zone=np.array([""], "U1"),
                    tile=np.array([""], "U1"),
                    source=np.array([source], "U40"),
                    columns={},
                )
                writer.append({name: _as_wide(values) for name, values in one.arrays().items()})
                written += 1
        folds = np.concatenate([np.full(number, fold, np.int8) for fold, _, number in groups])
        writer.put_split(folds, {**(series.split or {}), "method": "the folds of the series that they are made of"})


def _groups(columns: Mapping[str, NDArray[np.generic]], counts: Mapping[int, int]) -> list[tuple[int, Numbers, int]]:
    """Of each source and season of each fold the series, and how many landscapes are made of them."""
    found = []
    for fold, count in sorted(counts.items()):
        here = np.flatnonzero(columns["fold"] == fold)
        source, season = columns["source"][here], columns["season"][here]
        parts = [here[(source == one) & (season == day)] for one in np.unique(source) for day in np.unique(season)]
        parts = [part for part in parts if len(part) >= _FEWEST]
        if not parts:
            raise ValueError(f"fold {fold} has no source with {_FEWEST} series of a season")
        shares = np.sqrt([len(part) for part in parts])
        ends = np.rint(np.cumsum(shares) / shares.sum() * count).astype(int)
        found += [(fold, part, int(n)) for part, n in zip(parts, np.diff(ends, prepend=0), strict=True) if n]
    return found


def _group(series: SampleFile, index: Numbers, details: str) -> Group:
    batch = series.read(index)
    label = batch.label[:, 0, 0]
    detail = series.column(details)[index] if details else label.astype(np.str_)
    lonlat = np.stack([series.column("lon")[index], series.column("lat")[index]], axis=1)
    labelled = label > 0
    return Group(
        batch.data[labelled, :, :, 0, 0],
        batch.valid[labelled, :, 0, 0],
        label[labelled],
        np.asarray(detail)[labelled],
        lonlat[labelled],
    )


def _as_wide(values: NDArray[np.generic]) -> NDArray[np.generic]:
    return values.astype("S64") if values.dtype.kind == "S" else values
