"""Vegetation indices of surface reflectance.

References:
    Each index names its paper; formulas in Sentinel-2 bands as in the Awesome Spectral Indices catalogue
    (Montero et al. 2023, Scientific Data 10:197), except where noted.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from cropmap_core.errors import JobError, MissingBandError, SeriesError
from cropmap_core.io.grid import Window
from cropmap_core.timeseries.series import REFLECTANCE_SCALE, SCL, Block, Derived, SelectedBands, Series, present

Reflectance = Any  # float32 arrays; NumPy types arithmetic with Python numbers too loosely to check
_SCALE = np.float32(REFLECTANCE_SCALE)


@dataclass(frozen=True)
class Index:
    """A function of some bands' surface reflectance."""

    name: str
    bands: tuple[str, ...]
    compute: Callable[..., Reflectance]
    """Takes the bands in order, float32, 0-1, any one shape."""
    source: str
    """Where it was published."""


def _normalised_difference(one: Reflectance, other: Reflectance) -> Reflectance:
    return (one - other) / (one + other)


def _evi(blue: Reflectance, red: Reflectance, nir: Reflectance) -> Reflectance:
    return 2.5 * (nir - red) / (nir + 6 * red - 7.5 * blue + 1)


def _evi2(red: Reflectance, nir: Reflectance) -> Reflectance:
    return 2.5 * (nir - red) / (nir + 2.4 * red + 1)


def _savi(red: Reflectance, nir: Reflectance) -> Reflectance:
    return 1.5 * (nir - red) / (nir + red + 0.5)


def _osavi(red: Reflectance, nir: Reflectance) -> Reflectance:
    return (nir - red) / (nir + red + 0.16)


def _msavi(red: Reflectance, nir: Reflectance) -> Reflectance:
    return 0.5 * (2 * nir + 1 - np.sqrt((2 * nir + 1) ** 2 - 8 * (nir - red)))


def _mtci(red: Reflectance, red_edge: Reflectance, red_edge_2: Reflectance) -> Reflectance:
    return (red_edge_2 - red_edge) / (red_edge - red)


def _cire(red_edge: Reflectance, red_edge_3: Reflectance) -> Reflectance:
    return red_edge_3 / red_edge - 1


def _psri(blue: Reflectance, red: Reflectance, red_edge_2: Reflectance) -> Reflectance:
    return (red - blue) / red_edge_2


_ALL = (
    Index("NDVI", ("B08", "B04"), _normalised_difference, "Rouse et al. 1974, NASA SP-351"),
    Index("GNDVI", ("B08", "B03"), _normalised_difference, "Gitelson et al. 1996, RSE 58"),
    Index("NDVI45", ("B05", "B04"), _normalised_difference, "Delegido et al. 2011, Sensors 11"),
    Index("NDRE", ("B08", "B05"), _normalised_difference, "Barnes et al. 2000, 5th Int. Conf. Precision Agriculture"),
    Index("EVI", ("B02", "B04", "B08"), _evi, "Huete et al. 2002, RSE 83"),
    Index("EVI2", ("B04", "B08"), _evi2, "Jiang et al. 2008, RSE 112"),
    Index("SAVI", ("B04", "B08"), _savi, "Huete 1988, RSE 25 (L = 0.5)"),
    Index("OSAVI", ("B04", "B08"), _osavi, "Rondeaux et al. 1996, RSE 55"),
    Index("MSAVI", ("B04", "B08"), _msavi, "Qi et al. 1994, RSE 48"),
    Index("MTCI", ("B04", "B05", "B06"), _mtci, "Dash and Curran 2004, IJRS 25"),
    Index("CIRE", ("B05", "B07"), _cire, "Gitelson et al. 2003, J. Plant Physiology 160"),
    Index("NDWI", ("B03", "B08"), _normalised_difference, "McFeeters 1996, IJRS 17"),
    Index("NDMI", ("B08", "B11"), _normalised_difference, "Gao 1996, RSE 58"),
    Index("NBR", ("B08", "B12"), _normalised_difference, "Key and Benson 2006, USDA RMRS-GTR-164"),
    Index("PSRI", ("B02", "B04", "B06"), _psri, "Merzlyak et al. 1999, Physiologia Plantarum 106"),
)

INDICES: Mapping[str, Index] = {index.name: index for index in _ALL}


@dataclass(frozen=True)
class WithIndices(Derived):
    """Reflectance 0-1 and indices of a series, float32; NaN where an index divides by zero or nothing was measured."""

    names: tuple[str, ...]
    include_reflectance: bool = True

    @property
    def bands(self) -> tuple[str, ...]:
        return (*self.source.bands, *self.names) if self.include_reflectance else self.names

    @property
    def dtype(self) -> np.dtype[Any]:
        return np.dtype(np.float32)

    def read(self, window: Window) -> Block:
        block = self.source.read(window)
        times, _, height, width = block.data.shape
        data = np.empty((times, len(self.bands), height, width), dtype=np.float32)
        used = sorted({band for name in self.names for band in INDICES[name].bands}, key=self.source.bands.index)
        kept = self.source.bands if self.include_reflectance else ()
        for time in range(times):  # date by date: the float copy is of one date only
            missing = ~block.valid[time]
            reflectance = {}
            for band in dict.fromkeys((*kept, *used)):
                values = block.data[time, self.source.bands.index(band)].astype(np.float32)
                values *= _SCALE
                values[missing] = np.nan
                reflectance[band] = values
            for channel, band in enumerate(kept):
                data[time, channel] = reflectance[band]
            with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
                for channel, name in enumerate(self.names, start=len(kept)):
                    index = INDICES[name]
                    values = index.compute(*(reflectance[band] for band in index.bands))
                    data[time, channel] = np.where(np.isfinite(values), values, np.nan)
        return Block(data, present(data, self.bands))


def with_indices(source: Series, names: Sequence[str], include_reflectance: bool = True) -> WithIndices:
    """Adds indices to a series of reflectance.

    Args:
        source: int16 composites without SCL.
        names: Keys of `INDICES`; none is allowed when reflectance is included.
        include_reflectance: Whether the bands themselves come first.

    Raises:
        JobError: An index is unknown or named twice.
        SeriesError: The source is not int16 reflectance, or still carries SCL.
        MissingBandError: A band of an index is not in the source.
    """
    unknown = [name for name in names if name not in INDICES]
    if unknown or len(set(names)) != len(names) or not (names or include_reflectance):
        raise JobError(
            f"INDICES holds {', '.join(unknown or names) or 'nothing'}.",
            f"Choose each once from {', '.join(INDICES)}.",
        )
    if source.dtype.kind != "i" or SCL in source.bands:
        raise SeriesError(
            "Indices are computed from composites of reflectance.",
            "Give the output of fillgaps or compositetimeseries.",
        )
    for name in names:
        missing = [band for band in INDICES[name].bands if band not in source.bands]
        if missing:
            raise MissingBandError(missing, "the time series", f"{name} needs {', '.join(INDICES[name].bands)}.")
    return WithIndices(source, tuple(names), include_reflectance)


def computable_indices(source: Series) -> tuple[str, ...]:
    """Indices that a series does not hold and that its bands suffice for; none for float32 series."""
    if source.dtype.kind == "f":
        return ()
    return tuple(name for name in INDICES if name not in source.bands and set(INDICES[name].bands) <= set(source.bands))


def as_channels(source: Series, channels: Sequence[str]) -> Series:
    """A float32 series with just these bands and indices, computing what indices are not there yet.

    A float32 series is taken as it is; from int16 reflectance the very same numbers are computed.

    Raises:
        MissingBandError: A channel is neither there nor an index of bands that are there.
    """
    if source.dtype.kind == "i":
        wanted = [name for name in channels if name in INDICES and name not in source.bands]
        source = with_indices(source, wanted)
    return source if tuple(channels) == source.bands else SelectedBands(source, tuple(channels))
