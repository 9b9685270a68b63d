"""What was declared to grow on parcels, against what is predicted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cropmap_core.parcels.maps import Legend
from cropmap_core.samples.legend import Legend as SourceLegend
from cropmap_core.samples.legend import load_legend

Floats = NDArray[np.float64]
NONE = "not classified"
_SHOWN = 5


@dataclass(frozen=True)
class DeclaredCrops:
    """The declared crop of each parcel, and which classes of the map it means."""

    texts: tuple[str, ...]
    """What stands in the layer, each once; empty where nothing does."""
    of_parcel: NDArray[np.int64]
    """Position of each parcel's text, shape (N,)."""
    codes: tuple[frozenset[int], ...]
    """The class values that each text may mean; none where the map has no such class."""
    names: tuple[str, ...]
    """The class that each text means, as the map names it; else the text itself."""

    def warnings(self) -> tuple[str, ...]:
        """What to tell the user: declared crops that are no class of the map."""
        counts = Counter(self.of_parcel.tolist())
        foreign = [at for at, text in enumerate(self.texts) if text and not self.codes[at]]
        if not foreign:
            return ()
        shown = ", ".join(
            f"{self.texts[at]} ({counts[at]})" for at in sorted(foreign, key=lambda at: -counts[at])[:_SHOWN]
        )
        parcels = sum(counts[at] for at in foreign)
        return (f"The declared crops of {parcels} parcels are no classes of the map: {shown}. They are not compared.",)

    def compare(
        self, parcels: NDArray[np.int64], predicted: Floats, codes: Sequence[int], probability: Floats
    ) -> tuple[Floats, Floats]:
        """Whether the prediction is what was declared, and how probable that is.

        Args:
            parcels: Positions of n parcels.
            predicted: Their class values, NaN where there is none.
            codes: Class values of the columns of `probability`.
            probability: What speaks for each class, 0-1, shape (n, C).

        Returns:
            1, 0 or NaN where it cannot be told, and the probability of the declared crop or NaN, each of shape (n,).
        """
        agrees, found = np.full(len(parcels), np.nan), np.full(len(parcels), np.nan)
        text = self.of_parcel[parcels]
        for at in np.unique(text).tolist():
            rows = np.flatnonzero((text == at) & ~np.isnan(predicted))
            if self.codes[at]:
                columns = [column for column, code in enumerate(codes) if code in self.codes[at]]
                agrees[rows] = np.isin(predicted[rows], list(self.codes[at]))
                found[rows] = probability[rows][:, columns].sum(axis=1)
        return agrees, found


def match_declared(declared: Sequence[str], legend: Legend, source_legend: str | None) -> DeclaredCrops:
    """Finds the classes of the map that declared crops mean.

    Args:
        declared: Of each parcel, a code or a name; empty for none.
        legend: The map's classes.
        source_legend: A built-in legend's id or a CSV file that says what codes mean, by the names of the map's
            classes. None where names or values of the map's classes were declared.

    Raises:
        LegendError: There is no such legend.
    """
    texts, of_parcel = np.unique(np.asarray(declared, dtype=object).astype(str), return_inverse=True)
    means = None if source_legend is None else load_legend(source_legend)
    codes = tuple(frozenset(_codes_of(text, legend, means)) if text else frozenset() for text in texts.tolist())
    title = {entry["value"]: entry["name"] for entry in legend}
    names = tuple(
        title[next(iter(meant))] if len(meant) == 1 else text for text, meant in zip(texts.tolist(), codes, strict=True)
    )
    return DeclaredCrops(tuple(texts.tolist()), of_parcel.astype(np.int64), codes, names)


def _codes_of(text: str, legend: Legend, means: SourceLegend | None) -> Iterator[int]:
    wanted = {text} if means is None else {crop.name for crop in means.candidates(text)}
    folded = {name.strip().casefold() for name in wanted}
    for entry in legend:
        if entry["name"].strip().casefold() in folded or (means is None and text == str(entry["value"])):
            yield entry["value"]


def cross_table(
    declared: DeclaredCrops, predicted: Sequence[int | None], area_ha: Floats, legend: Legend
) -> tuple[list[str], list[list[object]]]:
    """Hectares of declared by predicted crops.

    Args:
        declared: Of N parcels.
        predicted: Class value of each, None where there is none.
        area_ha: Shape (N,); NaN counts nothing.
        legend: The map's classes, which the columns keep the order of.

    Returns:
        Head and rows: the declared crop, the number of its parcels, hectares by predicted crop, hectares in all.
    """
    codes = [entry["value"] for entry in legend]
    codes += sorted({code for code in predicted if code is not None} - set(codes))
    title = {entry["value"]: entry["name"] for entry in legend}
    rows = sorted(set(declared.names))
    row_of = np.array([rows.index(name) for name in declared.names])[declared.of_parcel]
    column_of = np.array([len(codes) if code is None else codes.index(code) for code in predicted], dtype=np.int64)
    hectares, parcels = np.zeros((len(rows), len(codes) + 1)), np.bincount(row_of, minlength=len(rows))
    np.add.at(hectares, (row_of, column_of), np.nan_to_num(area_ha))
    head = ["declared", "parcels", *(title.get(code, str(code)) for code in codes), NONE, "total"]
    body: list[list[object]] = [
        [name, int(count), *(round(float(each), 4) for each in line), round(float(line.sum()), 4)]
        for name, count, line in zip(rows, parcels, hectares, strict=True)
    ]
    return head, body
