"""Classes of a long table's samples: their rows composited as a model wants them, and what its network says."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, fields
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas
import pyarrow
import pyarrow.parquet
from numpy.typing import NDArray

from cropmap_core.classes import CropClass
from cropmap_core.errors import IncompatibleModelError, JobError
from cropmap_core.hierarchy import flat_hierarchy, hierarchy_of
from cropmap_core.inference.bundle_types import THERMAL
from cropmap_core.inference.bundles import Bundle
from cropmap_core.inference.channels import Mask, sample_channels
from cropmap_core.inference.fit import present_channels
from cropmap_core.inference.guards import NO_OOD, InputWatch
from cropmap_core.inference.predictor import Predictor, Progress, computable_of
from cropmap_core.inference.seasons import last_day, season_of
from cropmap_core.io.outputs import write_table, written_whole
from cropmap_core.samples.row_composites import composite_rows
from cropmap_core.samples.seasons import Season
from cropmap_core.samples.table_columns import COORDINATES, TableColumns, find_columns, is_parquet, readable
from cropmap_core.timeseries.periods import make_periods

_COMMON_YEAR = 2017  # and the two after it are common years
_A_YEAR = timedelta(days=365)
_SAMPLES_AT_ONCE = 4096  # so that progress is told, and activations of a network stay small
_SHARE = 0.5  # of the periods: finer ones would be filled more than seen
_ROWS_A_GROUP = 100_000
_DECIMALS = 6
_ROWS_LOOKED_AT = 10_000  # for the table's place
_WHOLE_NUMBER = re.compile(r"0|-?[1-9]\d{0,17}")


@dataclass
class Counts:
    """What was met on the way."""

    rows: int = 0
    outside: int = 0
    """Rows that lie outside of the season."""
    samples: int = 0
    unseen: int = 0
    """Samples without a valid row in the season."""
    sparse: int = 0
    """Samples seen in less than half of its periods."""
    several: int = 0
    """Samples with valid rows in the seasons of several years."""

    def __add__(self, other: Counts) -> Counts:
        return Counts(*(getattr(self, each.name) + getattr(other, each.name) for each in fields(self)))


@dataclass(frozen=True)
class SampleClasses:
    """What a model says of samples."""

    sample_id: NDArray[Any]
    """Texts, shape (N,)."""
    probability: NDArray[np.float32]
    """In the order of the model's classes, shape (N, K); NaN where nothing was observed."""
    ood: NDArray[np.uint8]
    """0, 1 or 255, as `InputWatch.see` tells it, shape (N,)."""
    counts: Counts


def table_columns(path: Path, bundle: Bundle) -> TableColumns:
    """The columns of a table that a model looks at: what was observed when, in the bands that it needs.

    Raises:
        IncompatibleModelError: A band is not there.
        SamplesError: The table cannot be read, or lacks sample_id or date.
        MissingBandError: It holds no band at all.
    """
    columns = find_columns(path)
    present_channels(bundle, tuple(columns.bands), computable_of(bundle, tuple(columns.bands)), str(path))
    return columns.with_bands(bundle.reflectance_bands).observations(placed=bundle.positions == THERMAL)


def table_seasons(bundle: Bundle) -> tuple[Season, ...]:
    """The season into whose periods rows are composited: in each period that the model takes, the finest first.

    Its year does not matter. A list of days does not say how long the last period is: it is taken to be as long as the
    one before.

    Raises:
        IncompatibleModelError: It is longer than a year, so that a row could belong to two.
    """
    days = season_of(bundle.first_days, _COMMON_YEAR)
    first, last = days[0], days[-1]
    if last - first >= _A_YEAR:
        raise IncompatibleModelError(
            f"The season of the model {bundle.id} is longer than a year ({first:%m-%d} to {last:%m-%d}).",
            "Classify a time series with it (classify), or choose another model for tables.",
        )
    if bundle.period.startswith("dates:"):
        end = last if len(days) == 1 else last + (last - days[-2]) - timedelta(days=1)
    else:
        end = last_day(bundle.period, days)
    end = min(end, first + _A_YEAR - timedelta(days=1))
    others = (Season(period, make_periods(period, first, end).first_days, end) for period in bundle.accepts.periods)
    return tuple(sorted((Season(bundle.period, days, end), *others), key=lambda season: -len(season.dates)))


def season_in_words(season: Season) -> str:
    """First and last day of a season, without the year."""
    return " to ".join(f"{day.day} {day:%B}" for day in (season.dates[0], season.end))


def classify_rows(
    rows: pandas.DataFrame,
    seasons: Sequence[Season],
    scale: float,
    predictor: Predictor,
    watch: InputWatch,
    reach: Callable[[Season], Mask] = lambda season: np.ones(len(season.dates), bool),
    progress: Progress = lambda fraction: None,
) -> SampleClasses:
    """Classifies samples, of which all rows must be there.

    Rows of a period are composited by their median. Of the seasons a sample gets the first one, that is the one of
    finest periods, in which it was observed in more than half of those that lie between its first and last; else
    the last. A sample with valid rows in the seasons of several years is classified by the one in which most periods
    were observed, of equals by the latest.

    Args:
        rows: As `read_rows` gives them, of the bands that the model needs.
        seasons: The model's season, in each of the periods that it takes: `table_seasons`.
        scale: What makes reflectance x 10000 of their values.
        predictor: The model.
        watch: Is shown all series that are classified.
        reach: Tells over which dates of a season the table reaches, shape (T,).
        progress: Called with the share that is done; may raise to stop.
    """
    sample, ids = pandas.factorize(rows["sample_id"], sort=True)
    bands = [band for band in predictor.bundle.reflectance_bands if band in rows]
    values = rows[bands].to_numpy(np.float64) * scale
    day, valid_rows = rows["date"].to_numpy(), rows["valid"].to_numpy()
    places = _places(rows, sample, len(ids))
    probability = np.full((len(ids), len(predictor.bundle.classes)), np.nan, np.float32)
    there = present_channels(predictor.bundle, bands, computable_of(predictor.bundle, bands))
    ood = np.full(len(ids), NO_OOD, np.uint8)
    seen, dates_seen, several = np.zeros(len(ids), np.int64), np.ones(len(ids), np.int64), 0
    left = np.ones(len(ids), bool)
    for number, season in enumerate(seasons):
        year, time = season.place(day)
        usable = valid_rows & (time >= 0) & left[sample]
        chosen, with_choice = _choose_years(sample[usable], year[usable], time[usable], len(ids))
        usable &= year == chosen[sample]
        data, valid = composite_rows(values[usable], sample[usable], time[usable], (len(ids), len(season.dates)))
        observed = valid[:, :, 0, 0]
        taken = left & (_share_between(observed) > _SHARE if number + 1 < len(seasons) else True)
        several += int(with_choice[taken].sum())
        some = np.flatnonzero(taken & observed.any(axis=1))
        reached = reach(season)
        watch.expect(season.dates, season.period, there)
        for start in range(0, len(some), _SAMPLES_AT_ONCE):
            progress(start / len(some))
            part = some[start : start + _SAMPLES_AT_ONCE]
            days = predictor.days_of_samples(season.in_the_year_of, season.first_day(chosen[part]), *places[:, part])
            within = np.broadcast_to(reached, (len(part), len(reached)))
            found = predictor.probabilities(data[part], valid[part], bands, days, within)
            probability[part] = found[:, :, 0, 0]
            channels, usable = sample_channels(data[part], valid[part], bands, there)
            ood[part] = watch.see(
                channels[..., 0, 0].transpose(1, 2, 0),
                (usable[..., 0, 0] & within).T,
                probability[part].argmax(axis=1).astype(np.int32),
            )
        seen[taken], dates_seen[taken] = observed[taken].sum(axis=1), len(season.dates)
        left &= ~taken
    counts = Counts(
        rows=len(rows),
        outside=int((seasons[0].place(day)[1] < 0).sum()),
        samples=len(ids),
        unseen=int((seen == 0).sum()),
        sparse=int(((seen > 0) & (2 * seen < dates_seen)).sum()),
        several=several,
    )
    return SampleClasses(np.asarray(ids, dtype=object), probability, ood, counts)


def reach_of(dates: Collection[date], whole: bool) -> Callable[[Season], Mask]:
    """Over which dates of a season a table reaches.

    Args:
        dates: All that it has rows of, valid or not.
        whole: Whether the model takes whole seasons only: then all of them.
    """
    days = np.array(sorted(dates), "datetime64[D]")

    def reach(season: Season) -> Mask:
        time = season.place(days)[1]
        inside = time[time >= 0]
        place = np.arange(len(season.dates))
        if whole or not len(inside):
            return np.ones(len(place), bool)
        reached: Mask = (place >= inside.min()) & (place <= inside.max())
        return reached

    return reach


def _share_between(observed: Mask) -> NDArray[np.float64]:
    """Observations by dates between a sample's first and last: 1 without a gap, 1/2 where every other is one."""
    first, last = observed.argmax(axis=1), observed.shape[1] - 1 - observed[:, ::-1].argmax(axis=1)
    share: NDArray[np.float64] = (observed.sum(axis=1) - 1) / np.maximum(last - first, 1)
    return share


def _places(rows: pandas.DataFrame, sample: NDArray[np.int64], count: int) -> NDArray[np.float64]:
    """Longitude and latitude of each sample, as its first row has them, shape (2, N); NaN where the table has none."""
    places = np.full((2, count), np.nan)
    if set(COORDINATES) <= set(rows):
        own, first = np.unique(sample, return_index=True)
        places[:, own] = rows[list(COORDINATES)].to_numpy(np.float64)[first].T
    return places


def _choose_years(
    sample: NDArray[np.int64], year: NDArray[np.int64], time: NDArray[np.int64], count: int
) -> tuple[NDArray[np.int64], Mask]:
    """The year of each sample's season, 0 where it has none, and whether it had a choice."""
    seasons = (
        pandas.DataFrame({"sample": sample, "year": year, "time": time})
        .drop_duplicates()
        .groupby(["sample", "year"], as_index=False)
        .size()
        .sort_values(["sample", "size", "year"])
    )
    best = seasons.drop_duplicates("sample", keep="last")
    chosen = np.zeros(count, np.int64)
    chosen[best["sample"].to_numpy()] = best["year"].to_numpy()
    with_choice = np.zeros(count, bool)
    with_choice[seasons["sample"][seasons["sample"].duplicated()].to_numpy()] = True
    return chosen, with_choice


def class_table(
    found: Sequence[SampleClasses],
    classes: Sequence[CropClass],
    source: Path,
    id_column: str,
    each_class: bool,
    sure_from: float = 0.0,
) -> pyarrow.Table:
    """What a model says of all samples, a row each, in the order of their ids.

    Args:
        found: What it says, drawer by drawer.
        classes: Its classes.
        source: The table of the samples.
        id_column: The table's name for sample_id.
        each_class: Whether to give the probabilities of all classes, as `prob_NAME`.
        sure_from: The least probability of a crop; below it a sample is of the finest group that has it.

    Returns:
        `sample_id`, whole numbers where the table's are, else text; `pred_code`, `pred_crop` and `pred_prob`, null
        where nothing was observed; `ood`, 1 where the series is out of distribution, null where that is not known.
    """
    ids = _ids_as_given(np.concatenate([each.sample_id for each in found]), source, id_column)
    order = np.argsort(ids, kind="stable")
    probability = np.concatenate([each.probability for each in found])[order]
    unseen = np.isnan(probability).any(axis=1)
    hierarchy = hierarchy_of(classes) if sure_from else flat_hierarchy(classes)
    codes, sure = hierarchy.decide(np.nan_to_num(probability.T), sure_from)
    names = {each.value: each.name for each in (*classes, *(hierarchy.stops() if sure_from else ()))}
    columns = {
        "sample_id": pyarrow.array(ids[order]),
        "pred_code": pyarrow.array(codes.astype(np.int32), mask=unseen),
        "pred_crop": pyarrow.array([names[int(code)] for code in codes], type=pyarrow.string(), mask=unseen),
        "pred_prob": pyarrow.array(sure.astype(np.float64).round(_DECIMALS), mask=unseen),
    }
    ood = np.concatenate([each.ood for each in found])[order]
    columns["ood"] = pyarrow.array(ood.astype(np.int32), mask=ood == NO_OOD)
    rounded = probability.astype(np.float64).round(_DECIMALS)
    if each_class:
        columns |= {
            f"prob_{crop.name}": pyarrow.array(rounded[:, place], mask=unseen) for place, crop in enumerate(classes)
        }
    return pyarrow.table(columns)


def _ids_as_given(ids: NDArray[Any], source: Path, column: str) -> NDArray[Any]:
    """Texts, or whole numbers: what parquet says they are, and what anybody would read them as in CSV."""
    if is_parquet(source):
        kind = pyarrow.parquet.read_schema(source).field(column).type
        numbers = pyarrow.types.is_integer(kind)
    else:
        numbers = all(_WHOLE_NUMBER.fullmatch(each) for each in ids)
    return ids.astype(np.int64) if numbers else ids


def table_places(path: Path, columns: TableColumns) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Longitude and latitude of a table's first rows, as far as it has columns of degrees; none otherwise.

    Raises:
        SamplesError: The table cannot be read.
    """
    named = [columns.named.get(name) for name in COORDINATES]
    if None in named:
        return np.empty(0), np.empty(0)
    with readable(path):
        if is_parquet(path):
            first = next(pyarrow.parquet.ParquetFile(path).iter_batches(_ROWS_LOOKED_AT, columns=named), None)
            rows = pandas.DataFrame(columns=named) if first is None else first.to_pandas()
        else:
            rows = pandas.read_csv(path, nrows=_ROWS_LOOKED_AT, usecols=named)
    lon, lat = (pandas.to_numeric(rows[name], errors="coerce").to_numpy(np.float64) for name in named)
    degrees = (abs(lon) <= 180) & (abs(lat) <= 90)
    return lon[degrees], lat[degrees]


def check_table_name(path: Path) -> None:
    """Refuses a name that says of no kind of table what it is.

    Raises:
        JobError: It is neither parquet nor CSV.
    """
    if path.suffix.lower() not in (".parquet", ".pq", ".csv"):
        raise JobError(f"OUTPUT is {path.name}.", "Give a name that ends in .parquet or .csv.")


def write_classes(table: pyarrow.Table, path: Path) -> None:
    """Writes a table as parquet or CSV, by its name; null is an empty cell in CSV.

    Raises:
        OutputError: It cannot be written.
    """
    if path.suffix.lower() == ".csv":
        write_table(table.column_names, _cells(table), path)
    else:
        with written_whole(path):
            pyarrow.parquet.write_table(table, path, row_group_size=_ROWS_A_GROUP)


def _cells(table: pyarrow.Table) -> Iterator[tuple[Any, ...]]:
    for batch in table.to_batches(max_chunksize=_ROWS_A_GROUP):
        yield from zip(*(column.to_pylist() for column in batch.columns), strict=True)
