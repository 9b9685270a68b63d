"""Parcel records: how their fields follow from what was counted."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cropmap_core.errors import JobError
from cropmap_core.parcels.declared import DeclaredCrops
from cropmap_core.parcels.doubts import Doubt, Grounds, Thresholds, doubts_of
from cropmap_core.parcels.fields import CROPS, FIELDS, OF_DECLARED, OF_DOUBT, OF_NDVI, Field, slug
from cropmap_core.parcels.maps import Legend
from cropmap_core.parcels.placing import PlacedParcels
from cropmap_core.parcels.ranking import SAME, entropy, first_two, rank_by_area, rank_by_probability
from cropmap_core.parcels.sizes import compactness
from cropmap_core.parcels.tallies import Counts, clear_and_filled, extreme_of, mean_of

Floats = NDArray[np.float64]
METHODS = ("auto", "majority", "mean")
"""How a parcel's class is found: `auto` is `mean` where there are probabilities, else `majority`."""
Columns = Iterator[tuple[Field, NDArray[Any]]]


@dataclass(frozen=True)
class RecordOptions:
    """What a record is to hold, and how it is decided."""

    method: str = METHODS[0]
    thresholds: Thresholds = field(default_factory=Thresholds)
    with_probabilities: bool = False
    """A field `prob_<class>` for each class."""
    with_shares: bool = False
    """A field `share_<class>` for each class."""

    def by_mean(self, has_probabilities: bool) -> bool:
        """Whether the class is that of the highest mean probability.

        Raises:
            JobError: The method is unknown, or needs probabilities that are not given.
        """
        if self.method not in METHODS:
            raise JobError(f"METHOD is '{self.method}'.", f"Choose one of {', '.join(METHODS)}.")
        if self.method == "mean" and not has_probabilities:
            raise JobError("METHOD is mean, but there are no PROBABILITIES.", "Give them, or choose majority.")
        if self.with_probabilities and not has_probabilities:
            raise JobError("Fields of probabilities need PROBABILITIES.", "Give them, or leave the fields out.")
        return has_probabilities and self.method != "majority"


class Records:
    """The records of all parcels, column by column, filled a few parcels at a time.

    Args:
        parcels: Placed on the maps' grid.
        legend: The maps' classes.
        probability_codes: Class values of the bands of the probabilities; empty without.
        options: What to hold.
        declared: What was declared, if that is to be compared.
        dates: Of the series whose NDVI is looked at; empty for none.
    """

    def __init__(
        self,
        parcels: PlacedParcels,
        legend: Legend,
        probability_codes: Sequence[int],
        options: RecordOptions,
        declared: DeclaredCrops | None = None,
        dates: Sequence[date] = (),
    ) -> None:
        self.parcels, self.legend, self.declared, self.dates = parcels, legend, declared, tuple(dates)
        self._options = options
        self._by_mean = options.by_mean(bool(probability_codes))
        self._probability_codes = tuple(probability_codes)
        self._names = {entry["value"]: entry["name"] for entry in legend}
        self._by_class: dict[str, dict[int, NDArray[np.float32]]] = {"prob": {}, "share": {}}
        known = (*FIELDS, *(OF_NDVI if dates else ()), *(OF_DECLARED if declared else ()), *OF_DOUBT)
        self._columns = {each.name: np.full(len(parcels), np.nan) for each in known if each.kind != "text"}
        self._columns["area_ha"], self._columns["perimeter_m"] = parcels.area_ha, parcels.perimeter_m
        self._columns["compactness"] = compactness(parcels.area_ha, parcels.perimeter_m)
        self._columns["n_pixels"][:] = self._columns["inner_pixels"][:] = 0.0
        never = np.full(len(parcels), np.nan)
        self._columns["doubt_reason"] = self._doubts(np.arange(len(parcels)), np.zeros((len(parcels), 3)), never)
        self._known = known
        if options.with_probabilities:
            self._by_class["prob"] = {code: self._empty() for code in probability_codes}
        if options.with_shares:
            self._by_class["share"] = {entry["value"]: self._empty() for entry in legend}

    def __len__(self) -> int:
        return len(self.parcels)

    def add(
        self,
        rows: NDArray[np.int64],
        codes: Sequence[int],
        counts: Counts,
        probability_scale: tuple[float, float],
        overlap: Floats,
    ) -> None:
        """Fills in the records of some parcels.

        Args:
            rows: Their positions, shape (n,).
            codes: Class values of the columns of `area` and `support`.
            counts: As `Tally.count` gives them.
            probability_scale: Scale and offset of the probabilities' values.
            overlap: Share of each parcel that lies in others, shape (n,).
        """
        pixels = counts["pixels"]
        mean = None
        if "probability" in counts:
            scale, offset = probability_scale
            mean = mean_of(counts["probability"][:, :-1], counts["probability"][:, -1:]) * scale + offset
        seen = pixels[:, 1] > 0
        if self._by_mean and mean is not None:
            ranking = rank_by_probability(codes, counts, self._probability_codes, mean)
        else:
            ranking = rank_by_area(codes, counts, self._probability_codes, mean)
        first, second = first_two(ranking, seen)
        for name, choice in (("pred", first), ("pred2", second)):
            self._set(f"{name}_code", rows, choice.code)
            self._set(f"{name}_prob", rows, choice.probability)
        self._set("margin", rows, first.probability - np.nan_to_num(second.probability))
        area = counts["area"] / np.maximum(pixels[:, 1:2], SAME)
        self._set("purity", rows, np.where(seen, area.max(axis=1, initial=0.0), np.nan))
        self._set("n_pixels", rows, pixels[:, 0])
        self._set("inner_pixels", rows, np.where(self._buffer_failed(rows), 0.0, pixels[:, 1]))
        if mean is not None:
            self._set("entropy", rows, entropy(mean))
        if "ood" in counts:
            self._set("ood", rows, mean_of(counts["ood"][:, 0], counts["ood"][:, 1]))
        if "provenance" in counts:
            clear, filled = clear_and_filled(counts["provenance"])
            self._set("clear_dates_mean", rows, clear)
            self._set("filled_share", rows, filled)
            self._set("clear_dates_min", rows, extreme_of(counts["least"]))
            self._set("longest_gap_days", rows, extreme_of(counts["greatest"]))
        if self.declared is not None:
            found = self.declared.compare(rows, first.code, ranking.codes.tolist(), ranking.probability)
            for name, values in zip(("declared_agrees", "declared_prob"), found, strict=True):
                self._set(name, rows, values)
        self._fill_classes(rows, codes, area, seen, mean)
        self._columns["doubt_reason"][rows] = self._doubts(rows, pixels, overlap)

    def set_falls(self, rows: NDArray[np.int64], fall: Floats, date_index: Floats) -> None:
        """Fills in the largest falls of NDVI, and the positions of the dates that they ended on."""
        self._set("ndvi_fall", rows, fall)
        self._set("ndvi_fall_date", rows, date_index)

    def _fill_classes(
        self, rows: NDArray[np.int64], codes: Sequence[int], area: Floats, seen: NDArray[np.bool_], mean: Floats | None
    ) -> None:
        if self._options.with_shares:
            shares = self._by_class["share"]
            for code in set(codes) - set(shares):  # the legend does not name it, and no parcel before had it
                shares[code] = np.where(np.isnan(self._columns["purity"]), np.nan, 0.0).astype(np.float32)
            for code, values in shares.items():
                values[rows] = np.where(seen, area[:, codes.index(code)] if code in codes else 0.0, np.nan)
        if self._options.with_probabilities and mean is not None:
            for column, code in enumerate(self._probability_codes):
                self._by_class["prob"][code][rows] = mean[:, column]

    def _buffer_failed(self, rows: NDArray[np.int64]) -> NDArray[np.bool_]:
        if self.parcels.inner is None:
            return np.zeros(len(rows), dtype=bool)
        return ~self.parcels.inner.has(rows)

    def _doubts(self, rows: NDArray[np.int64], pixels: Floats, overlap: Floats) -> Floats:
        failed = self._buffer_failed(rows)
        edge = mean_of(pixels[:, 2], pixels[:, 1])
        if self.parcels.inner is not None:
            edge = np.where(failed, edge, 0.0)  # pixels at the parcel's own border were left out
        grounds = Grounds(
            pixels=pixels[:, 0],
            covered=mean_of(pixels[:, 0], self.parcels.pixels[rows]),
            buffer_failed=failed,
            purity=self._columns["purity"][rows],
            probability=self._columns["pred_prob"][rows],
            clear_dates=self._columns["clear_dates_mean"][rows],
            filled=self._columns["filled_share"][rows],
            edge=edge,
            ood=self._columns["ood"][rows],
            overlap=overlap,
        )
        reasons = doubts_of(grounds, self._options.thresholds)
        self._columns["doubt"][rows] = reasons > 0
        return reasons.astype(np.float64)

    def _set(self, name: str, rows: NDArray[np.int64], values: NDArray[Any]) -> None:
        self._columns[name][rows] = values

    def _empty(self) -> NDArray[np.float32]:
        return np.full(len(self), np.nan, dtype=np.float32)

    @property
    def fields(self) -> tuple[Field, ...]:
        """The columns, in order, without the parcel's number."""
        return tuple(each for each, _ in self.columns())

    def columns(self) -> Columns:
        """Each field with its values, shape (N,): NaN where nothing is known.

        A crop is its class value, a doubt's reason a sum of `Doubt`, a date its position in `dates`.
        """
        for each in self._known:
            yield each, self._columns[CROPS.get(each.name, each.name)]
        yield from self._class_columns()

    def _class_columns(self) -> Columns:
        for prefix, columns in self._by_class.items():
            taken: set[str] = set()
            for code, values in columns.items():
                name = f"{prefix}_{slug(self.name_of(code))}"
                if name in taken:
                    name = f"{name}_{code}"
                taken.add(name)
                yield Field(name, "number", f"{prefix[0]}_{code}"), values

    def classified(self) -> int:
        """How many parcels have a class."""
        return int(np.count_nonzero(~np.isnan(self._columns["pred_code"])))

    def doubts(self) -> int:
        """How many records are doubted."""
        return int(np.count_nonzero(self._columns["doubt"] > 0))

    def predicted(self) -> list[int | None]:
        """The class value of each parcel, None where it has none."""
        return [None if np.isnan(code) else int(code) for code in self._columns["pred_code"]]

    def doubted(self) -> dict[str, int]:
        """How many parcels are doubted for each reason that occurs."""
        reasons = self._columns["doubt_reason"].astype(np.int64)
        counts = {str(doubt.name): int(np.count_nonzero(reasons & int(doubt))) for doubt in Doubt}
        return {name: count for name, count in counts.items() if count}

    def name_of(self, code: int) -> str:
        """The crop of a class value; one that the legend does not name is known by its value."""
        return str(self._names.get(code, code))
