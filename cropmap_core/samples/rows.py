"""Rows of long tables: read piece by piece, named as we name things, and put into drawers by sample."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pandas
import pyarrow
import pyarrow.parquet
from numpy.typing import NDArray
from pandas.util import hash_array

from cropmap_core.errors import MissingBandError, SamplesError
from cropmap_core.io.outputs import written_whole
from cropmap_core.scenes.scene import band_order
from cropmap_core.timeseries.series import NODATA

ROWS_AT_ONCE = 200_000
ROWS_A_DRAWER = 500_000
_BAND = re.compile(r"(?:^|[-_ ])B0?([1-9]|8A|1[0-2])$", re.IGNORECASE)
_NAMES = {
    "sample_id": ("sample_id",),
    "date": ("date",),
    "valid": ("valid",),
    "label": ("label",),
    "x": ("x", "lon", "longitude"),
    "y": ("y", "lat", "latitude"),
    "parcel": ("parcel", "parcel_id"),
}
_ROW_LABELS = "__index_level_"  # pandas writes them into parquet
_NO_VALUE = (NODATA, 65535)  # of int16 and of unsigned tables
_REMEDY = "Give a parquet or CSV table in long form: sample_id, date, B02, B03, ..., and optional valid, label, x, y."


@dataclass(frozen=True)
class TableColumns:
    """Which column of a table is what."""

    named: Mapping[str, str]
    """Our name: the table's, for sample_id, date and what else is there of `_NAMES`."""
    bands: Mapping[str, str]
    """Band: the table's name, in the order of bands."""
    further: tuple[str, ...]


@dataclass
class Overview:
    """What a pass over all rows found."""

    rows: int = 0
    dates: set[date] = field(default_factory=set)
    labels: Counter[str] = field(default_factory=Counter)
    largest: float = 0.0
    """Largest value of any band."""


def find_columns(path: Path) -> TableColumns:
    """Tells what a table's columns are.

    Raises:
        SamplesError: The table cannot be read, or lacks sample_id or date.
        MissingBandError: It holds no band.
    """
    with _readable(path):
        if _is_parquet(path):
            names = list(pyarrow.parquet.read_schema(path).names)
        else:
            names = list(pandas.read_csv(path, nrows=0).columns)
    named = {}
    for ours, theirs in _NAMES.items():
        found = [name for name in names if name.lower() in theirs]
        if found:
            named[ours] = found[0]
    missing = [name for name in ("sample_id", "date") if name not in named]
    if missing:
        raise SamplesError(f"{path} has no column {' or '.join(missing)}: it has {', '.join(names)}.", _REMEDY)
    bands: dict[str, str] = {}
    for name in names:
        match = _BAND.search(name)
        if match is not None and name not in named.values():
            band = f"B{match[1].upper():0>2}"
            if band in bands:
                raise SamplesError(f"{path} has {band} twice: {bands[band]} and {name}.", "Leave one of them out.")
            bands[band] = name
    if not bands:
        raise MissingBandError(["B02"], path, _REMEDY)
    known = (*named.values(), *bands.values())
    further = tuple(name for name in names if name not in known and not name.startswith(_ROW_LABELS))
    return TableColumns(named, {band: bands[band] for band in sorted(bands, key=band_order)}, further)


def read_rows(path: Path, columns: TableColumns) -> Iterator[pandas.DataFrame]:
    """Reads a table piece by piece.

    Yields:
        Rows with our names for the columns: texts, dates as datetime64, bands as float32 (NaN where there is no
        value), `valid` as bool.

    Raises:
        SamplesError: A date or a number is none.
    """
    ours = {theirs: name for name, theirs in {**columns.named, **columns.bands}.items()}
    first = 1
    with _readable(path):
        for piece in _pieces(path, [*ours, *columns.further]):
            rows = piece.rename(columns=ours)
            yield _typed(rows, columns, path, first)
            first += len(rows)


def sort_into_drawers(path: Path, columns: TableColumns, folder: Path) -> tuple[list[Path], Overview]:
    """Writes the rows of a table to files of their own, so that all rows of a sample share a file of bearable size.

    Args:
        path: The table, of any size, its rows in any order.
        columns: What its columns are.
        folder: Where to write.

    Raises:
        SamplesError: See `read_rows`.
        OutputError: The disk is full.
    """
    number = max(1, -(-_row_estimate(path) // ROWS_A_DRAWER))
    files = [folder / f"{drawer:05}.parquet" for drawer in range(number)]
    writers: dict[int, pyarrow.parquet.ParquetWriter] = {}
    overview = Overview()
    try:
        for rows in read_rows(path, columns):
            overview.rows += len(rows)
            overview.dates |= set(pandas.DatetimeIndex(rows["date"].unique()).date)
            if "label" in rows:
                overview.labels.update(rows["label"].value_counts().to_dict())
            overview.largest = max(overview.largest, float(np.nanmax(rows[list(columns.bands)].to_numpy(), initial=0)))
            drawer_of = (hash_array(rows["sample_id"].to_numpy(object)) % number).astype(np.int64)
            for drawer, some in rows.groupby(drawer_of):
                table = pyarrow.Table.from_pandas(some, preserve_index=False)
                with written_whole(files[int(drawer)]):
                    if drawer not in writers:
                        writers[drawer] = pyarrow.parquet.ParquetWriter(files[int(drawer)], table.schema)
                    writers[drawer].write_table(table)
    finally:
        for writer in writers.values():
            with written_whole(folder):
                writer.close()
    if not overview.rows:
        raise SamplesError(f"{path} holds no rows.", _REMEDY)
    return [files[drawer] for drawer in sorted(writers)], overview


def _typed(rows: pandas.DataFrame, columns: TableColumns, path: Path, first: int) -> pandas.DataFrame:
    typed: dict[str, Any] = {"sample_id": _texts(rows["sample_id"])}
    days = pandas.to_datetime(
        rows["date"], errors="coerce", format="mixed" if rows["date"].dtype.kind in "OT" else None
    )
    if getattr(days.dt, "tz", None) is not None:
        days = days.dt.tz_convert("UTC").dt.tz_localize(None)
    for problem, wrong in (("no sample_id", typed["sample_id"] == ""), ("no date of the form 2021-05-01", days.isna())):
        if np.any(wrong):
            row = int(np.flatnonzero(np.asarray(wrong))[0])
            raise SamplesError(f"{path}, row {first + row}, has {problem}: {dict(rows.iloc[row])}."[:400], _REMEDY)
    typed["date"] = days.dt.normalize().to_numpy().astype("datetime64[s]")
    observed = np.ones(len(rows), dtype=bool)
    for band in (*columns.bands, *(name for name in ("x", "y") if name in columns.named)):
        typed[band] = _numbers(rows[band], path, band)
    bands = np.stack([typed[band] for band in columns.bands], axis=1)
    observed &= np.isfinite(bands).all(axis=1) & ~np.isin(bands, _NO_VALUE).any(axis=1) & (bands != 0).any(axis=1)
    if "valid" in columns.named:
        observed &= _is_true(rows["valid"])
    typed["valid"] = observed
    if "label" in columns.named:
        typed["label"] = _texts(rows["label"])
    if "parcel" in columns.named:
        typed["parcel"] = _parcel_numbers(rows["parcel"])
    for name in columns.further:
        typed[f"column {name}"] = _texts(rows[name])
    return pandas.DataFrame(typed)


def _texts(values: pandas.Series) -> NDArray[Any]:
    """As text; whole numbers without a fraction, nothing as an empty text."""
    if values.dtype.kind == "f":
        whole = values.notna() & (values % 1 == 0)
        texts = values.astype(object).where(~whole, values.where(whole, 0).astype("int64").astype(object))
    else:
        texts = values.astype(object)
    return np.asarray(texts.where(values.notna(), "").map(lambda value: str(value).strip()), dtype=object)


def _numbers(values: pandas.Series, path: Path, name: str) -> NDArray[np.float64]:
    try:
        return np.asarray(pandas.to_numeric(values).to_numpy(dtype=np.float64, na_value=np.nan))
    except (ValueError, TypeError) as error:
        raise SamplesError(f"{path}, column {name}, holds what is no number: {error}.", _REMEDY) from error


def _is_true(values: pandas.Series) -> NDArray[np.bool_]:
    texts = pandas.Series(_texts(values)).str.lower()
    return np.asarray(texts.isin(["true", "1", "t", "yes"]), dtype=bool)


def _parcel_numbers(values: pandas.Series) -> NDArray[np.int64]:
    """Whole numbers as they are, other names as a number of their own; -1 for none."""
    texts = _texts(values)
    numbers = pandas.to_numeric(pandas.Series(texts), errors="coerce")
    hashed = (hash_array(texts) >> np.uint64(2)).astype(np.int64)
    is_number = numbers.notna().to_numpy()
    return np.where(texts == "", -1, np.where(is_number, numbers.fillna(0).to_numpy().astype(np.int64), hashed))


def _pieces(path: Path, names: list[str]) -> Iterator[pandas.DataFrame]:
    if _is_parquet(path):
        with pyarrow.parquet.ParquetFile(path) as file:
            for batch in file.iter_batches(ROWS_AT_ONCE, columns=names):
                yield batch.to_pandas(ignore_metadata=True)
    else:
        kept_as_text = {
            name: str for name in names if _BAND.search(name) is None and name.lower() not in _NAMES["x"] + _NAMES["y"]
        }
        yield from pandas.read_csv(path, usecols=names, dtype=kept_as_text, chunksize=ROWS_AT_ONCE)


def _row_estimate(path: Path) -> int:
    if _is_parquet(path):
        return int(pyarrow.parquet.read_metadata(path).num_rows)
    return path.stat().st_size // 40  # bytes of a short row


def _is_parquet(path: Path) -> bool:
    if path.suffix.lower() in (".parquet", ".pq", ".geoparquet"):
        return True
    if path.suffix.lower() in (".csv", ".txt"):
        return False
    raise SamplesError(f"{path} is neither parquet nor CSV by its name.", _REMEDY)


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    """Turns what goes wrong while a table is read into an error that names it."""
    try:
        yield
    except pandas.errors.EmptyDataError as error:
        raise SamplesError(f"The table {path} is empty.", _REMEDY) from error
    except (pyarrow.ArrowException, OSError, pandas.errors.ParserError, ValueError) as error:
        raise SamplesError(f"The table {path} cannot be read: {error}.", _REMEDY) from error
