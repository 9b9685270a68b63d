"""Five indices in one pass, against numpy.copyto, NumPy and spyndex: 12 dates of 512 x 512 pixels, 5 bands."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import spyndex

from benchmarks.paired import compare
from cropmap_core.timeseries.formulas import INDICES
from cropmap_core.timeseries.interpreter import run_program
from cropmap_core.timeseries.programs import Program, compile_program
from cropmap_core.timeseries.series import NODATA, REFLECTANCE_SCALE

BANDS = ("B02", "B04", "B05", "B08", "B11")
NAMES = ("NDVI", "EVI", "NDREI", "NDMI", "SAVI")
SHAPE = (12, len(BANDS), 512, 512)
MEGAPIXELS = SHAPE[0] * SHAPE[2] * SHAPE[3] / 1e6
CONSTANTS = {"g": 2.5, "C1": 6.0, "C2": 7.5}


def main() -> None:
    random = np.random.default_rng(0)
    data = random.integers(0, 8000, SHAPE).astype(np.int16)
    valid = random.random((SHAPE[0], *SHAPE[2:])) > 0.1
    data[~np.broadcast_to(valid[:, None], SHAPE)] = NODATA
    program = compile_program([INDICES[name].expression for name in NAMES], BANDS)
    out = np.empty((SHAPE[0], len(NAMES), *SHAPE[2:]), dtype=np.float32)
    present = np.empty_like(valid)
    read, written = np.ones_like(data), np.ones_like(out)
    read_from, written_from = data.copy(), out.copy()
    bytes_moved = (data.nbytes + out.nbytes) // 2
    half, half_from = np.ones(bytes_moved, np.uint8), np.zeros(bytes_moved, np.uint8)

    def copy_both() -> None:
        np.copyto(read, read_from)
        np.copyto(written, written_from)

    compare(
        "Five indices of int16 composites (pixel positions of a date)",
        {
            "cropmap": partial(_into, program, data, valid, out, present),
            "cropmap, new arrays each time": partial(program.run, data, valid, REFLECTANCE_SCALE),
            "numpy.copyto of bands and indices": copy_both,
            "numpy.copyto of half their bytes": partial(np.copyto, half, half_from),
            "numpy, index by index": partial(_numpy, data, valid),
            "spyndex.computeIndex, float32": partial(_spyndex, data, valid),
        },
        MEGAPIXELS,
        "Mpx",
        rounds=9,
    )


def _into(program: Program, data: np.ndarray, valid: np.ndarray, out: np.ndarray, present: np.ndarray) -> None:
    times, channels = data.shape[:2]
    run_program(
        program.code,
        program.constants,
        program.rows,
        data.reshape(times, channels, -1),
        np.float32(REFLECTANCE_SCALE),
        valid.reshape(times, -1),
        out.reshape(times, len(NAMES), -1),
        present.reshape(times, -1),
    )


def _reflectance(data: np.ndarray, valid: np.ndarray) -> dict[str, np.ndarray]:
    """Bands as float32, NaN where not valid."""
    bands = {}
    for position, name in enumerate(BANDS):
        bands[name] = data[:, position] * np.float32(REFLECTANCE_SCALE)
        bands[name][~valid] = np.nan
    return bands


def _numpy(data: np.ndarray, valid: np.ndarray) -> np.ndarray:
    blue, red, edge, nir, swir = _reflectance(data, valid).values()
    with np.errstate(divide="ignore", invalid="ignore"):
        indices = [
            (nir - red) / (nir + red),
            2.5 * (nir - red) / (nir + 6 * red - 7.5 * blue + 1),
            (nir - edge) / (nir + edge),
            (nir - swir) / (nir + swir),
            1.5 * (nir - red) / (nir + red + 0.5),
        ]
        return np.stack([np.where(np.isfinite(index), index, np.nan) for index in indices], axis=1)


def _spyndex(data: np.ndarray, valid: np.ndarray) -> list[Any]:
    blue, red, edge, nir, swir = _reflectance(data, valid).values()
    bands = {"B": blue, "R": red, "RE1": edge, "N": nir, "S1": swir, **CONSTANTS}
    with np.errstate(divide="ignore", invalid="ignore"):
        return [spyndex.computeIndex(name, {**bands, "L": 0.5 if name == "SAVI" else 1.0}) for name in NAMES]


if __name__ == "__main__":
    main()
