"""Converts `.npz` files of pixel series to a long table: `python -m cropmap_core.samples.npz IN.npz OUT.parquet`.

An `.npz` holds `X` (N, T, C) reflectance x 10000, `valid` (N, T), `y` (N,), `bands`, `dates`, `lonlat` (N, 2), and
either `classes` (`y` is an index into it) or `codes` and `code_names` (`y` is a code, 0 for none). Further arrays of N
values, like `fold`, become columns.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import pandas
import pyarrow
import pyarrow.parquet
from numpy.typing import NDArray

from cropmap_core.errors import SamplesError
from cropmap_core.io.outputs import written_whole

_SAMPLES_AT_ONCE = 5000
_NEEDED = ("X", "valid", "y", "bands", "dates", "lonlat")
_NOT_COLUMNS = (*_NEEDED, "classes", "codes", "code_names", "sample_id")


def write_long_table(sources: list[Path], output: Path) -> int:
    """Writes pixel series as one row per sample and date.

    Args:
        sources: `.npz` files with the same bands; labels of the same name become one.
        output: Parquet table to write.

    Returns:
        The number of rows.

    Raises:
        SamplesError: A file is not of the form.
        OutputError: The table cannot be written.
    """
    rows, writer = 0, None
    try:
        for path in sources:
            arrays = _read(path)
            for start in range(0, len(arrays["y"]), _SAMPLES_AT_ONCE):
                piece = _rows(arrays, path.stem, slice(start, start + _SAMPLES_AT_ONCE))
                table = pyarrow.Table.from_pandas(piece, preserve_index=False)
                with written_whole(output):
                    if writer is None:
                        writer = pyarrow.parquet.ParquetWriter(output, table.schema)
                    writer.write_table(table.select(writer.schema.names).cast(writer.schema))
                rows += len(piece)
    except (KeyError, pyarrow.ArrowInvalid) as error:
        raise SamplesError(
            f"{', '.join(map(str, sources))} do not have the same bands and columns: {error}.",
            "Convert them one by one.",
        ) from error
    finally:
        if writer is not None:
            writer.close()
    return rows


def _read(path: Path) -> dict[str, NDArray[Any]]:
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = dict(file)
    except (OSError, ValueError, EOFError) as error:
        raise SamplesError(f"{path} cannot be read: {error}.", "Give an .npz file without pickles.") from error
    missing = [name for name in _NEEDED if name not in arrays]
    if missing:
        raise SamplesError(f"{path} lacks {', '.join(missing)}.", "See docs/samples.md for what it must hold.")
    return arrays


def _rows(arrays: dict[str, NDArray[Any]], stem: str, chosen: slice) -> pandas.DataFrame:
    values = arrays["X"][chosen]
    number, times, _ = values.shape
    count = len(arrays["y"])
    ids = arrays["sample_id"] if "sample_id" in arrays else np.char.add(f"{stem}_", np.arange(count).astype(str))
    each = {
        "sample_id": ids[chosen],
        "label": _labels(arrays)[chosen],
        "x": arrays["lonlat"][chosen, 0].astype(np.float64),
        "y": arrays["lonlat"][chosen, 1].astype(np.float64),
        "source": np.full(number, stem),
        **{
            name: array[chosen]
            for name, array in arrays.items()
            if name not in _NOT_COLUMNS and array.shape == (count,)
        },
    }
    rows: dict[str, Any] = {name: np.repeat(array, times) for name, array in each.items()}
    rows["date"] = np.tile(arrays["dates"], number)
    rows["valid"] = arrays["valid"][chosen].reshape(-1)
    for channel, band in enumerate(arrays["bands"]):
        rows[str(band)] = values[:, :, channel].reshape(-1)
    return pandas.DataFrame(rows)


def _labels(arrays: dict[str, NDArray[Any]]) -> NDArray[np.str_]:
    if "classes" in arrays:
        return np.asarray(arrays["classes"][arrays["y"]]).astype(str)
    if "codes" not in arrays or "code_names" not in arrays:
        return np.asarray(arrays["y"]).astype(str)
    names = dict(zip(arrays["codes"].tolist(), arrays["code_names"].tolist(), strict=True))
    return np.asarray([names.get(code, str(code)) if code else "" for code in arrays["y"].tolist()])


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m cropmap_core.samples.npz", description="Pixel series to a long table."
    )
    parser.add_argument("sources", nargs="+", type=Path, metavar="IN.npz")
    parser.add_argument("output", type=Path, metavar="OUT.parquet")
    options = parser.parse_args()
    print(f"{write_long_table(options.sources, options.output)} rows written to {options.output}")


if __name__ == "__main__":
    main()
