"""Samples from long tables of point time series: one row per sample and date, as Earth Engine and openEO users have."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pandas
from numpy.typing import NDArray

from cropmap_core.classes import CropClass
from cropmap_core.errors import SamplesError
from cropmap_core.samples.classes import UNLABELLED, name_classes
from cropmap_core.samples.drawers import sort_into_drawers
from cropmap_core.samples.files import NO_PARCEL, PIXEL, Layout, Texts
from cropmap_core.samples.legend import Legend
from cropmap_core.samples.places import mgrs_tiles
from cropmap_core.samples.row_composites import REFLECTANCE, check_magnitude, check_reflectance, composite_rows
from cropmap_core.samples.seasons import AUTO, make_season
from cropmap_core.samples.table_columns import TableColumns, find_columns
from cropmap_core.samples.writer import Samples

_YEAR_COLUMNS = ("year", "season")
_SHOWN = 20


@dataclass(frozen=True)
class TableAsked:
    """How a table is to be read."""

    period: str = AUTO
    start: date | None = None
    end: date | None = None
    bands: tuple[str, ...] | None = None
    """None for all that are there."""
    reflectance: str = "scaled"
    """`scaled` (x 10000) or `unit` (0-1)."""
    legend: Legend | None = None
    """What labels mean; None for a class per label."""
    label_year: int | None = None
    """The year that the labels hold for, where the table does not state it."""


class TableSource:
    """A table's samples, in steps of bearable size.

    Args:
        path: Parquet or CSV in long form.
        asked: How to read it.
        folder: Where to put drawers of rows.

    Raises:
        SamplesError: The table is not of the form, holds no label or one class only, or its labels are of other years.
    """

    def __init__(self, path: Path, asked: TableAsked, folder: Path) -> None:
        check_reflectance(asked.reflectance)
        self._path, self._asked = path, asked
        self._columns = _with_bands(find_columns(path), asked.bands, path)
        self._drawers, overview = sort_into_drawers(path, self._columns, folder)
        check_magnitude(path, overview.largest, asked.reflectance)
        self._season = make_season(asked.period, overview.dates, asked.start, asked.end)
        self.layout = Layout(PIXEL, tuple(self._columns.bands), self._season.period, self._season.days)
        self.classes, self._values, self.warnings = _classes(overview.labels, asked.legend, path)
        self.provenance: Mapping[str, Any] = {"table": path.name, "rows": overview.rows}

    @property
    def steps(self) -> int:
        """Number of drawers."""
        return len(self._drawers)

    def read(self, step: int) -> Samples | None:
        """The samples of a drawer in random order; None where no row lies in a season."""
        rows = pandas.read_parquet(self._drawers[step])
        year, time = self._season.place(rows["date"].to_numpy())
        inside = time >= 0
        rows, year, time = rows[inside].reset_index(drop=True), year[inside], time[inside]
        if not len(rows):
            return None
        key = pandas.MultiIndex.from_arrays([rows["sample_id"], year])
        sample, keys = pandas.factorize(key, sort=True)
        observed = rows["valid"].to_numpy()
        values = rows.loc[observed, list(self._columns.bands)].to_numpy(np.float64)
        data, valid = composite_rows(
            values * REFLECTANCE[self._asked.reflectance],
            sample[observed],
            time[observed],
            (len(keys), len(self._season.dates)),
        )
        first = pandas.Series(np.arange(len(rows))).groupby(sample).first().to_numpy()
        ids, years = keys.get_level_values(0).to_numpy(str), keys.get_level_values(1).to_numpy(np.int64)
        several = pandas.Series(ids).duplicated(keep=False).to_numpy()
        ids = np.where(several, np.char.add(np.char.add(ids, "@"), years.astype(str)), ids)
        columns = {
            name.replace("/", "_"): rows[f"column {name}"].to_numpy(str)[first] for name in self._columns.further
        }
        self._check_years(rows, sample, years, columns)
        lon, lat = (
            rows[name].to_numpy(np.float64)[first] if name in rows else np.full(len(keys), np.nan)
            for name in ("x", "y")
        )
        texts = {name: columns.pop(name, np.full(len(keys), "")) for name in ("zone", "tile", "source")}
        texts["tile"] = np.where(texts["tile"] == "", mgrs_tiles(lon, lat), texts["tile"])
        texts["source"] = np.where(texts["source"] == "", self._path.stem, texts["source"])
        samples = Samples(
            data=data,
            valid=valid,
            label=self._labels(rows, sample, first)[:, None, None],
            season=self._season.first_day(years),
            parcel=rows["parcel"].to_numpy(np.int64)[first] if "parcel" in rows else np.full(len(keys), NO_PARCEL),
            lon=lon,
            lat=lat,
            sample_id=ids,
            columns=columns,
            **texts,
        )
        return _shuffled(samples, step)

    def _labels(self, rows: pandas.DataFrame, sample: NDArray[np.int64], first: NDArray[np.int64]) -> NDArray[np.int16]:
        values = rows["label"].map(self._values).fillna(UNLABELLED).to_numpy(np.int16)
        label: NDArray[np.int16] = values[first]
        label[sample[values != label[sample]]] = UNLABELLED  # a sample that says two things says nothing
        return label

    def _check_years(
        self, rows: pandas.DataFrame, sample: NDArray[np.int64], years: NDArray[np.int64], columns: Mapping[str, Texts]
    ) -> None:
        """Labels of one year say nothing of another year's series."""
        last = years + (self._season.end.year - self._season.dates[0].year)
        stated = {name: texts for name, texts in columns.items() if name.lower() in _YEAR_COLUMNS}
        if self._asked.label_year is not None:
            stated["LABEL_YEAR"] = np.full(len(years), str(self._asked.label_year))
        for name, texts in stated.items():
            known = np.char.isdecimal(texts) & (np.char.str_len(texts) == 4)
            year = np.where(known, texts, "0").astype(np.int64)
            wrong = known & ((year < years) | (year > last))
            if wrong.any():
                one = int(np.flatnonzero(wrong)[0])
                raise SamplesError(
                    f"{self._path}: the labels are of {year[one]} ({name}), but the series of {wrong.sum()} samples "
                    f"start in {years[one]}.",
                    "Give series and labels of the same season.",
                )


def _with_bands(columns: TableColumns, bands: tuple[str, ...] | None, path: Path) -> TableColumns:
    if "label" not in columns.named:
        raise SamplesError(f"{path} has no column label.", "Add one: without labels there is nothing to learn.")
    if bands is None:
        return columns
    missing = [band for band in bands if band not in columns.bands]
    if missing:
        raise SamplesError(
            f"{path} lacks {', '.join(missing)}: it has {', '.join(columns.bands)}.", "Choose BANDS that it has."
        )
    return columns.with_bands(bands)


def _classes(
    labels: Mapping[str, int], legend: Legend | None, path: Path
) -> tuple[tuple[CropClass, ...], dict[str, int], list[str]]:
    """The classes, the value of each label, and what to warn of; counts are of rows."""
    there = sorted((label for label in labels if label), key=lambda label: (-labels[label], label))
    if legend is None:
        classes = name_classes(sorted(there))
        return classes, {each.name: each.value for each in classes}, []
    meant = {label: legend.class_of(label) for label in there}
    values = {label: each.value for label, each in meant.items() if each is not None}
    unmapped = [label for label in there if label not in values]
    warnings = []
    if unmapped:
        listed = ", ".join(unmapped[:_SHOWN]) + (" and more" if len(unmapped) > _SHOWN else "")
        warnings.append(
            f"{len(unmapped)} codes of {path.name} are no class of the legend, their samples are not used: {listed}."
        )
    classes = legend.classes
    return classes, values, warnings


def _shuffled(samples: Samples, seed: int) -> Samples:
    """In random order, so that any stretch of the file is a fair sample of the whole."""
    order = np.random.default_rng(seed).permutation(len(samples))
    fields = {name: getattr(samples, name)[order] for name in Samples.__dataclass_fields__ if name != "columns"}
    return Samples(**fields, columns={name: texts[order] for name, texts in samples.columns.items()})
