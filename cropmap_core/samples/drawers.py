"""Drawers: the rows of a long table in files of bearable size, all rows of a sample in the same one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path

import numpy as np
import pandas
import pyarrow
import pyarrow.parquet
from pandas.util import hash_array

from cropmap_core.errors import SamplesError
from cropmap_core.io.outputs import written_whole
from cropmap_core.samples.rows import estimate_rows, read_rows
from cropmap_core.samples.table_columns import REMEDY, TableColumns

ROWS_A_DRAWER = 500_000

Progress = Callable[[float], None]


@dataclass
class Overview:
    """What a pass over all rows found."""

    rows: int = 0
    dates: set[date] = field(default_factory=set)
    labels: Counter[str] = field(default_factory=Counter)
    largest: float | None = None
    """Largest value of any band in a valid row; None where there is no such row."""

    def add(self, rows: pandas.DataFrame, bands: list[str]) -> None:
        """Looks at some more rows."""
        self.rows += len(rows)
        self.dates |= set(pandas.DatetimeIndex(rows["date"].unique()).date)
        if "label" in rows:
            self.labels.update(rows["label"].value_counts().to_dict())
        observed = rows.loc[rows["valid"], bands]
        if len(observed):
            largest = float(observed.to_numpy().max())
            self.largest = largest if self.largest is None else max(self.largest, largest)


def sort_into_drawers(
    path: Path, columns: TableColumns, folder: Path, progress: Progress = lambda fraction: None
) -> tuple[list[Path], Overview]:
    """Writes the rows of a table to files of their own, so that all rows of a sample share a file of bearable size.

    Args:
        path: The table, of any size, its rows in any order.
        columns: What its columns are.
        folder: Where to write.
        progress: Called with the share that is done; may raise to stop.

    Raises:
        SamplesError: There is no row, or see `read_rows`.
        OutputError: The disk is full.
    """
    expected = max(1, estimate_rows(path))
    number = -(-expected // ROWS_A_DRAWER)
    files = [folder / f"{drawer:05}.parquet" for drawer in range(number)]
    writers: dict[int, pyarrow.parquet.ParquetWriter] = {}
    overview = Overview()
    try:
        for rows in read_rows(path, columns):
            progress(min(1.0, overview.rows / expected))
            overview.add(rows, list(columns.bands))
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
        raise SamplesError(f"{path} holds no rows.", REMEDY)
    return [files[drawer] for drawer in sorted(writers)], overview
