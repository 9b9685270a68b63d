"""The indices there are: a few of our own, and those of spyndex that Sentinel-2's bands allow.

spyndex's data are read from where it is installed. The package itself is not imported: it computes with Python's
`eval`, and imports a client for the web.

References:
    Montero et al. (2023), Scientific Data 10:197: the Awesome Spectral Indices, which spyndex holds.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache, cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cropmap_core.timeseries.expressions import Band, Expression, Number, bands_of, parse
from cropmap_core.timeseries.programs import compile_program

LETTERS: Mapping[str, str] = {
    "A": "B01",
    "B": "B02",
    "G": "B03",
    "R": "B04",
    "RE1": "B05",
    "RE2": "B06",
    "RE3": "B07",
    "N": "B08",
    "N2": "B8A",
    "WV": "B09",
    "S1": "B11",
    "S2": "B12",
}
"""spyndex's names of the bands of Sentinel-2."""

SHORT_LIST = (
    "NDVI", "GNDVI", "NDVI45", "NDRE", "EVI", "EVI2", "SAVI", "OSAVI", "MSAVI", "MTCI", "CIRE", "NDWI", "NDMI", "NBR",
    "PSRI", "TCARIOSAVI", "LAI_PROXY",
)  # fmt: skip
"""The indices that crop mapping uses most, first on every list."""

_OWN = {
    "NDVI45": (
        "Normalised difference of red edge 1 and red",
        "(RE1 - R) / (RE1 + R)",
        "Delegido et al. 2011, Sensors 11(7)",
    ),
    "NDRE": (
        "Normalised difference of near infrared and red edge 1",
        "(N - RE1) / (N + RE1)",
        "Barnes et al. 2000, 5th International Conference on Precision Agriculture",
    ),
    "LAI_PROXY": (
        "Leaf area index after EVI, m2 per m2",
        "3.618 * EVI - 0.118",
        "Boegh et al. 2002, Remote Sensing of Environment 81(2-3)",
    ),
}
_CONSTANTS: Mapping[str, Mapping[str, float]] = {"SAVI": {"L": 0.5}}
"""Where an index is known by other constants than spyndex's defaults."""
_PLATFORM = "sentinel2a"  # whose central wavelengths are taken
_KERNEL = re.compile(r"k([A-Z])([A-Z])")  # kNR is k(N, R)


@dataclass(frozen=True)
class Index:
    """A number per pixel and date, computed from some bands' surface reflectance."""

    name: str
    title: str
    formula: str
    """As it was written."""
    source: str
    """Where it was published, or who asked for it."""
    expression: Expression

    @cached_property
    def bands(self) -> tuple[str, ...]:
        """The bands that it needs, in the order in which they appear."""
        return bands_of(self.expression)

    def compute(self, *reflectance: ArrayLike) -> NDArray[np.float32]:
        """The index of its `bands`, 0-1, in their order, arrays of any one shape; NaN where it has no value."""
        stacked = np.stack([np.asarray(band, dtype=np.float32) for band in reflectance])
        shape = stacked.shape[1:]
        program = compile_program([self.expression], self.bands)
        values, _ = program.run(stacked.reshape(1, len(stacked), 1, -1), np.ones((1, 1, stacked[0].size), bool), 1)
        return values.reshape(shape)


class _Catalogue(Mapping[str, Index]):
    """Indices by name, the short list first, then the others from A to Z. A formula is read when it is asked for."""

    def __getitem__(self, name: str) -> Index:
        if name not in _names():
            raise KeyError(name)
        return _index(name)

    def __iter__(self) -> Iterator[str]:
        return iter(_names())

    def __len__(self) -> int:
        return len(_names())

    def __contains__(self, name: object) -> bool:
        return name in _names()


INDICES: Mapping[str, Index] = _Catalogue()


@cache
def _names() -> Mapping[str, None]:
    """All names in order; a mapping, for it is looked up in."""
    allowed = [
        name
        for name, entry in _spyndex("spectral-indices-dict")["SpectralIndices"].items()
        if name not in SHORT_LIST and all(map(_resolver(name), entry["bands"]))
    ]
    return dict.fromkeys((*SHORT_LIST, *sorted(allowed, key=lambda name: (name.lower(), name))))


@cache
def _index(name: str) -> Index:
    if name in _OWN:
        title, formula, source = _OWN[name]
    else:
        entry = _spyndex("spectral-indices-dict")["SpectralIndices"][name]
        title, formula, source = entry["long_name"], entry["formula"], entry["reference"]
    return Index(name, title, formula, source, parse(formula, _resolver(name), "what spyndex names"))


def _resolver(index: str) -> Callable[[str], Expression | None]:
    """What the names in the formula of an index stand for."""

    def resolve(name: str) -> Expression | None:
        if name in LETTERS:
            return Band(LETTERS[name])
        if name in SHORT_LIST:
            return _index(name).expression
        kernel = _KERNEL.fullmatch(name)
        if kernel is not None:  # Gaussian, as spyndex.computeKernel("RBF", ...)
            return parse("exp(-(({} - {}) ** 2) / (2 * sigma ** 2))".format(*kernel.groups()), resolve, "")
        value = _CONSTANTS.get(index, {}).get(name, _constant(name))
        return None if value is None else Number(value)

    return resolve


def _constant(name: str) -> float | None:
    """A constant's default, or a band's central wavelength in nanometres."""
    band = name.removeprefix("lambda")
    if band != name and band in LETTERS:
        return float(_spyndex("bands")[band]["platforms"][_PLATFORM]["wavelength"])
    default = _spyndex("constants").get(name, {}).get("default")
    return None if default is None else float(default)


@cache
def _spyndex(file: str) -> Mapping[str, Any]:
    """A file of spyndex's data."""
    package = find_spec("spyndex")
    if package is None or package.origin is None:
        raise ModuleNotFoundError("No module named 'spyndex'", name="spyndex")
    content: Mapping[str, Any] = json.loads((Path(package.origin).parent / "data" / f"{file}.json").read_text("utf-8"))
    return content
