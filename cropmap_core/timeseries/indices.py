"""Series with indices: those of the catalogue, and those that a user writes a formula for."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from cropmap_core.errors import JobError, MissingBandError, SeriesError
from cropmap_core.io.grid import Window
from cropmap_core.timeseries.expressions import Band, Expression, parse
from cropmap_core.timeseries.formulas import INDICES, LETTERS, SHORT_LIST, Index
from cropmap_core.timeseries.programs import Program, compile_program
from cropmap_core.timeseries.series import REFLECTANCE_SCALE, SCL, Block, Derived, SelectedBands, Series

_FORMULA = re.compile(r"\s*(?P<name>[A-Za-z]\w*)\s*=(?P<expression>[^=]*)", re.ASCII)
_LONGEST_NAME = 32


@dataclass(frozen=True)
class WithIndices(Derived):
    """Reflectance 0-1 and indices of a series, float32; NaN where an index has no value or nothing was measured."""

    indices: tuple[Index, ...]
    include_reflectance: bool = True

    @property
    def bands(self) -> tuple[str, ...]:
        names = tuple(index.name for index in self.indices)
        return (*self.source.bands, *names) if self.include_reflectance else names

    @property
    def dtype(self) -> np.dtype[Any]:
        return np.dtype(np.float32)

    @cached_property
    def _program(self) -> Program:
        kept = [Band(name) for name in self.source.bands] if self.include_reflectance else []
        return compile_program([*kept, *(index.expression for index in self.indices)], self.source.bands)

    def read(self, window: Window) -> Block:
        block = self.source.read(window)
        return Block(*self._program.run(block.data, block.valid, REFLECTANCE_SCALE))


def with_indices(
    source: Series, names: Sequence[str], include_reflectance: bool = True, formulas: Sequence[Index] = ()
) -> WithIndices:
    """Adds indices to a series of reflectance.

    Args:
        source: int16 composites without SCL.
        names: Keys of `INDICES`; none is allowed when reflectance is included.
        include_reflectance: Whether the bands themselves come first.
        formulas: Further indices, as `read_formulas` makes them.

    Raises:
        JobError: An index is unknown or named twice, or nothing is asked for.
        SeriesError: The source is not int16 reflectance, or still carries SCL.
        MissingBandError: A band of an index is not in the source.
    """
    unknown = [name for name in names if name not in INDICES]
    if unknown or len(set(names)) != len(names) or not (names or formulas or include_reflectance):
        raise JobError(
            f"INDICES holds {', '.join(unknown or names) or 'nothing'}.",
            f"Choose each once from {', '.join(SHORT_LIST)}, or one of the {len(INDICES) - len(SHORT_LIST)} others of "
            "spyndex that docs/indices.md tells of; upper and lower case differ.",
        )
    if source.dtype.kind != "i" or SCL in source.bands:
        raise SeriesError(
            "Indices are computed from composites of reflectance.",
            "Give the output of fillgaps or compositetimeseries.",
        )
    indices = (*(INDICES[name] for name in names), *formulas)
    for index in indices:
        missing = [band for band in index.bands if band not in source.bands]
        if missing:
            raise MissingBandError(missing, "the time series", f"{index.name} needs {', '.join(index.bands)}.")
    return WithIndices(source, indices, include_reflectance)


def read_formulas(texts: Sequence[str]) -> tuple[Index, ...]:
    """Reads what a user wrote to have computed.

    Args:
        texts: Formulas such as ``GREENNESS = 2 * B03 - B04 - B02``, several in a text separated by ``;`` or new lines.
            Names are bands (B04), spyndex's letters for them (R) and `INDICES`.

    Raises:
        JobError: A formula is not of that form, or its name is taken.
    """
    formulas: dict[str, Index] = {}
    for text in filter(str.strip, (part for whole in texts for part in re.split(r"[;\n]", whole))):
        match = _FORMULA.fullmatch(text)
        if match is None or len(match["name"]) > _LONGEST_NAME:
            raise JobError(
                f"{text.strip()[:200]!r} is not of the form NAME = expression.",
                "Write it like GREENNESS = 2 * B03 - B04 - B02; the name starts with a letter, goes on with letters, "
                f"digits and _, and has at most {_LONGEST_NAME} characters.",
            )
        name, expression = match["name"], match["expression"].strip()
        if name in formulas or name in INDICES or name == SCL or _band(name) is not None:
            raise JobError(f"The name {name} of a formula is taken.", "Choose another one.")
        formulas[name] = Index(name, name, expression, "a formula of the user", parse(expression, _meaning, _KNOWN))
    return tuple(formulas.values())


_KNOWN = f"bands ({', '.join(LETTERS.values())}), their letters ({', '.join(LETTERS)}) and indices such as NDVI"


def _band(name: str) -> Band | None:
    if name in LETTERS:
        return Band(LETTERS[name])
    return Band(name) if name in LETTERS.values() else None


def _meaning(name: str) -> Expression | None:
    """What a name in a user's formula stands for."""
    return _band(name) or (INDICES[name].expression if name in INDICES else None)


def computable_indices(source: Series, names: Sequence[str]) -> tuple[str, ...]:
    """Those of the names that are indices, not in a series yet, and computable from it; none for float32 series."""
    if source.dtype.kind == "f":
        return ()
    return tuple(
        name
        for name in names
        if name in INDICES and name not in source.bands and set(INDICES[name].bands) <= set(source.bands)
    )


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
