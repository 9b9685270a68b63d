"""Rows of long tables: read piece by piece, and checked and typed as they come."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas
import pyarrow.parquet
from numpy.typing import NDArray
from pandas.util import hash_array

from cropmap_core.errors import SamplesError
from cropmap_core.samples.table_columns import COORDINATES, REMEDY, TableColumns, is_parquet, readable
from cropmap_core.timeseries.periods import FIRST_YEAR, LAST_YEAR
from cropmap_core.timeseries.series import NODATA

ROWS_AT_ONCE = 200_000
_NO_VALUE = (NODATA, -9999, 65535)  # of int16, of many exports, and of unsigned tables
_TRUE = ("true", "1", "1.0", "t", "yes", "y")
_FALSE = ("false", "0", "0.0", "f", "no", "n", "", "nan", "none", "null")
_SHORTEST_DATE = 8  # 20210501: pandas would take 2021 for a day


@dataclass(frozen=True)
class _Piece:
    """Some rows of a table, and where they are, for messages."""

    path: Path
    first: int
    """Number of the first row, from 1 on."""
    rows: pandas.DataFrame

    def refuse(self, wrong: Any, problem: str) -> None:
        """Names the first row with a problem.

        Raises:
            SamplesError: There is one.
        """
        places = np.flatnonzero(np.asarray(wrong))
        if len(places):
            found = {name: str(value) for name, value in self.rows.iloc[places[0]].items()}
            raise SamplesError(f"{self.path}, row {self.first + places[0]}, has {problem}: {found}."[:400], REMEDY)


def read_rows(path: Path, columns: TableColumns) -> Iterator[pandas.DataFrame]:
    """Reads a table piece by piece.

    Yields:
        Rows with our names for the columns: texts, dates as datetime64, bands as float64 (NaN where there is no
        value), `valid` as bool; further columns as text, their names after `column `.

    Raises:
        SamplesError: The table cannot be read, or a date, a number or a `valid` is none.
    """
    ours = {theirs: name for name, theirs in {**columns.named, **columns.bands}.items()}
    first = 1
    with readable(path):
        for rows in _pieces(path, [*ours, *columns.further], columns):
            yield _typed(_Piece(path, first, rows.rename(columns=ours)), columns)
            first += len(rows)


def estimate_rows(path: Path) -> int:
    """About how many rows a table has, without reading it.

    Raises:
        SamplesError: It cannot be read.
    """
    with readable(path):
        if is_parquet(path):
            return int(pyarrow.parquet.read_metadata(path).num_rows)
        return path.stat().st_size // 40  # bytes of a short row


def _typed(piece: _Piece, columns: TableColumns) -> pandas.DataFrame:
    rows = piece.rows
    typed: dict[str, Any] = {"sample_id": _texts(rows["sample_id"])}
    piece.refuse(typed["sample_id"] == "", "no sample_id")
    typed["date"] = _days(piece)
    for name in (*columns.bands, *(name for name in COORDINATES if name in columns.named)):
        typed[name] = _numbers(piece, name)
    bands = np.stack([typed[band] for band in columns.bands], axis=1)
    observed = np.isfinite(bands).all(axis=1) & ~np.isin(bands, _NO_VALUE).any(axis=1) & (bands != 0).any(axis=1)
    typed["valid"] = observed & _is_true(piece) if "valid" in columns.named else observed
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


def _days(piece: _Piece) -> NDArray[np.datetime64]:
    """Days in UTC, of dates, times, and texts like 2021-05-01, 2021-05-01T10:56:21Z or 20210501."""
    dates = piece.rows["date"]
    if dates.dtype.kind != "M":
        texts = pandas.Series(_texts(dates))
        dates = texts.where(texts.str.len() >= _SHORTEST_DATE, "")
    days = pandas.to_datetime(dates, errors="coerce", format="ISO8601", utc=True).dt.tz_localize(None).dt.normalize()
    piece.refuse(days.isna(), "no date of the form 2021-05-01")
    years = days.dt.year
    piece.refuse((years < FIRST_YEAR) | (years > LAST_YEAR), f"a date before {FIRST_YEAR} or after {LAST_YEAR}")
    return np.asarray(days.to_numpy().astype("datetime64[s]"))


def _numbers(piece: _Piece, name: str) -> NDArray[np.float64]:
    values = piece.rows[name]
    numbers = pandas.to_numeric(values, errors="coerce").to_numpy(dtype=np.float64, na_value=np.nan)
    if values.dtype.kind not in "iufb":
        piece.refuse(np.isnan(numbers) & ~pandas.Series(_texts(values)).isin(["", "nan"]), f"no number for {name}")
    return np.asarray(numbers)


def _is_true(piece: _Piece) -> NDArray[np.bool_]:
    texts = pandas.Series(_texts(piece.rows["valid"])).str.lower()
    piece.refuse(~texts.isin((*_TRUE, *_FALSE)), "neither true nor false for valid")
    return np.asarray(texts.isin(_TRUE), dtype=bool)


def _parcel_numbers(values: pandas.Series) -> NDArray[np.int64]:
    """Whole numbers as they are, other names as a number of their own; -1 for none."""
    texts = _texts(values)
    numbers = pandas.to_numeric(pandas.Series(texts), errors="coerce")
    hashed = (hash_array(texts) >> np.uint64(2)).astype(np.int64)
    is_number = numbers.notna().to_numpy()
    return np.where(texts == "", -1, np.where(is_number, numbers.fillna(0).to_numpy().astype(np.int64), hashed))


def _pieces(path: Path, names: Sequence[str], columns: TableColumns) -> Iterator[pandas.DataFrame]:
    if is_parquet(path):
        with pyarrow.parquet.ParquetFile(path) as file:
            for batch in file.iter_batches(ROWS_AT_ONCE, columns=list(names)):
                yield batch.to_pandas(ignore_metadata=True)
    else:
        numbers = {*columns.bands.values(), *(columns.named.get(name) for name in COORDINATES)}
        kept_as_text = {name: str for name in names if name not in numbers}
        yield from pandas.read_csv(
            path,
            usecols=list(names),
            index_col=False,  # even where lines end in a comma, which pandas would take for a column of row names
            dtype=kept_as_text,
            chunksize=ROWS_AT_ONCE,
            low_memory=False,
        )
