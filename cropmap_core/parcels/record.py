"""The parcel record: its fields, and how they follow from what was counted."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from cropmap_core.errors import JobError
from cropmap_core.parcels.declared import DeclaredCrops
from cropmap_core.parcels.doubts import Doubt, Grounds, Thresholds, doubts_of, reason_text
from cropmap_core.parcels.maps import Legend
from cropmap_core.parcels.placing import PARCEL_FIELD, PlacedParcels
from cropmap_core.parcels.sizes import compactness
from cropmap_core.parcels.tallies import Counts, clear_and_filled, extreme_of, mean_of

Floats = NDArray[np.float64]
METHODS = ("auto", "majority", "mean")
"""How a parcel's class is found: `auto` is `mean` where there are probabilities, else `majority`."""
_SAME = 1e-9  # pixels or probabilities closer than that are equal
_ROWS_AT_ONCE = 10_000
_LONGEST_NAME = 60


class Field(NamedTuple):
    """A column of the record."""

    name: str
    kind: str
    """integer, number, text, flag or date."""
    short: str
    """At most ten characters, for formats that take no more."""
    digits: int = 4
    """Decimals of a number."""


FIELDS = (
    Field("pred_code", "integer", "pred_code"),
    Field("pred_crop", "text", "pred_crop"),
    Field("pred_prob", "number", "pred_prob"),
    Field("pred2_code", "integer", "pred2_code"),
    Field("pred2_crop", "text", "pred2_crop"),
    Field("pred2_prob", "number", "pred2_prob"),
    Field("margin", "number", "margin"),
    Field("entropy", "number", "entropy"),
    Field("purity", "number", "purity"),
    Field("n_pixels", "number", "n_pixels"),
    Field("inner_pixels", "number", "inner_px"),
    Field("area_ha", "number", "area_ha", 9),
    Field("perimeter_m", "number", "perim_m", 3),
    Field("compactness", "number", "compact"),
    Field("clear_dates_min", "integer", "clear_min"),
    Field("clear_dates_mean", "number", "clear_mean", 2),
    Field("filled_share", "number", "filled"),
    Field("longest_gap_days", "integer", "gap_days"),
    Field("ood", "number", "ood"),
)
_OF_NDVI = (Field("ndvi_fall", "number", "ndvi_fall"), Field("ndvi_fall_date", "date", "fall_date"))
_OF_DECLARED = (Field("declared_agrees", "flag", "decl_agree"), Field("declared_prob", "number", "decl_prob"))
_OF_DOUBT = (Field("doubt", "flag", "doubt"), Field("doubt_reason", "text", "doubt_why"))
_CROPS = {"pred_crop": "pred_code", "pred2_crop": "pred2_code"}


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


class _Ranking(NamedTuple):
    """What speaks for classes in n parcels."""

    codes: NDArray[np.int64]
    """Class values of the columns, ascending."""
    first: Floats
    """Decides, shape (n, C)."""
    second: Floats
    """Decides where that is equal."""
    probability: Floats
    """Mean probability, or what is known of it."""


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
        known = (*FIELDS, *(_OF_NDVI if dates else ()), *(_OF_DECLARED if declared else ()), *_OF_DOUBT)
        self._columns = {each.name: np.full(len(parcels), np.nan) for each in known if each.kind != "text"}
        self._columns["area_ha"], self._columns["perimeter_m"] = parcels.area_ha, parcels.perimeter_m
        self._columns["compactness"] = compactness(parcels.area_ha, parcels.perimeter_m)
        self._columns["n_pixels"][:] = self._columns["inner_pixels"][:] = 0.0
        never = np.full(len(parcels), np.nan)
        self._columns["doubt_reason"] = self._doubts(np.arange(len(parcels)), {}, np.zeros((len(parcels), 3)), never)
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
        ranking = self._ranking(codes, counts, mean)
        self._decide(rows, ranking, pixels[:, 1] > 0)
        area = counts["area"] / np.maximum(pixels[:, 1:2], _SAME)
        self._set("purity", rows, np.where(pixels[:, 1] > 0, area.max(axis=1, initial=0.0), np.nan))
        self._set("n_pixels", rows, pixels[:, 0])
        self._set("inner_pixels", rows, np.where(self._buffer_failed(rows), 0.0, pixels[:, 1]))
        if mean is not None:
            self._set("entropy", rows, _entropy(mean))
        if "ood" in counts:
            self._set("ood", rows, mean_of(counts["ood"][:, 0], counts["ood"][:, 1]))
        if "provenance" in counts:
            clear, filled = clear_and_filled(counts["provenance"])
            self._set("clear_dates_mean", rows, clear)
            self._set("filled_share", rows, filled)
            self._set("clear_dates_min", rows, extreme_of(counts["least"]))
            self._set("longest_gap_days", rows, extreme_of(counts["greatest"]))
        if self.declared is not None:
            found = self.declared.compare(
                rows, self._columns["pred_code"][rows], ranking.codes.tolist(), ranking.probability
            )
            for name, values in zip(("declared_agrees", "declared_prob"), found, strict=True):
                self._set(name, rows, values)
        self._fill_classes(rows, codes, area, pixels[:, 1] > 0, mean)
        self._columns["doubt_reason"][rows] = self._doubts(rows, counts, pixels, overlap)

    def set_falls(self, rows: NDArray[np.int64], fall: Floats, date_index: Floats) -> None:
        """Fills in the largest falls of NDVI, and the positions of the dates that they ended on."""
        self._set("ndvi_fall", rows, fall)
        self._set("ndvi_fall_date", rows, date_index)

    def _ranking(self, codes: Sequence[int], counts: Counts, mean: Floats | None) -> _Ranking:
        area, total = counts["area"], np.maximum(counts["pixels"][:, 1:2], _SAME)
        support = counts["support"]
        if self._by_mean and mean is not None:
            at = {code: column for column, code in enumerate(codes)}
            none = np.zeros(len(area))
            of_map = np.stack([area[:, at[code]] if code in at else none for code in self._probability_codes], axis=1)
            order = np.argsort(self._probability_codes)
            known = np.nan_to_num(mean)[:, order]
            return _Ranking(np.asarray(self._probability_codes)[order], known, of_map[:, order], known)
        probability = support / total
        if mean is not None:  # then that of the class itself is known
            for column, code in enumerate(codes):
                if code in self._probability_codes:
                    probability[:, column] = np.nan_to_num(mean[:, self._probability_codes.index(code)])
        order = np.argsort(np.asarray(codes, dtype=np.int64))
        return _Ranking(
            np.asarray(codes, dtype=np.int64)[order], area[:, order], support[:, order], probability[:, order]
        )

    def _decide(self, rows: NDArray[np.int64], ranking: _Ranking, seen: NDArray[np.bool_]) -> None:
        """The first and the second class, and how far apart they are."""
        left = ranking.first.copy()
        found = []
        for name in ("pred", "pred2"):
            if not len(ranking.codes):
                return
            best = _best(left, ranking.second)
            at = np.arange(len(best)), best
            there = seen & (left[at] > 0)
            probability = np.where(there, ranking.probability[at], np.nan)
            self._set(f"{name}_code", rows, np.where(there, ranking.codes[best], np.nan))
            self._set(f"{name}_prob", rows, probability)
            found.append(probability)
            left[at] = -np.inf
        self._set("margin", rows, found[0] - np.nan_to_num(found[1]))

    def _fill_classes(
        self, rows: NDArray[np.int64], codes: Sequence[int], area: Floats, seen: NDArray[np.bool_], mean: Floats | None
    ) -> None:
        if self._options.with_shares:
            for columns in self._by_class["share"].values():
                columns[rows] = np.where(seen, 0.0, np.nan)
            for column, code in enumerate(codes):
                if area[:, column].any():
                    self._by_class["share"].setdefault(code, self._empty())[rows] = np.where(
                        seen, area[:, column], np.nan
                    )
        if self._options.with_probabilities and mean is not None:
            for column, code in enumerate(self._probability_codes):
                self._by_class["prob"][code][rows] = mean[:, column]

    def _buffer_failed(self, rows: NDArray[np.int64]) -> NDArray[np.bool_]:
        if self.parcels.inner is None:
            return np.zeros(len(rows), dtype=bool)
        return ~self.parcels.inner.has(rows)

    def _doubts(self, rows: NDArray[np.int64], counts: Counts, pixels: Floats, overlap: Floats) -> Floats:
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
        return (*self._known, *(each for each, _ in self._class_columns()))

    def _class_columns(self) -> Iterator[tuple[Field, NDArray[np.float32]]]:
        for prefix, columns in self._by_class.items():
            taken: set[str] = set()
            for code, values in columns.items():
                name = f"{prefix}_{_slug(self._names.get(code, str(code)))}"
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

    def rows(self) -> Iterator[tuple[Any, ...]]:
        """The cells of each parcel, its number first, in the order of `fields`; None where nothing is known."""
        columns: list[tuple[Field, NDArray[Any]]] = [
            (each, self._columns[_CROPS.get(each.name, each.name)]) for each in self._known
        ]
        columns += self._class_columns()
        for first in range(0, len(self), _ROWS_AT_ONCE):
            some = slice(first, first + _ROWS_AT_ONCE)
            yield from zip(
                self.parcels.numbers[some].tolist(),
                *(self._cells(each, values, some) for each, values in columns),
                strict=True,
            )

    def _cells(self, each: Field, values: NDArray[Any], some: slice) -> list[Any]:
        found = values[some].tolist()
        if each.name in _CROPS:
            return [None if code != code else self._names.get(int(code), str(int(code))) for code in found]
        if each.name == "doubt_reason":
            return [reason_text(int(value)) or None for value in found]
        if each.kind == "number":
            return [None if value != value else round(value, each.digits) for value in found]
        if each.kind == "date":
            return [None if value != value else self.dates[int(value)].isoformat() for value in found]
        return [None if value != value else int(value) for value in found]

    def record(self, number: int) -> Mapping[str, Any]:
        """One parcel's record by field."""
        names = (PARCEL_FIELD, *(each.name for each in self.fields))
        return next(dict(zip(names, row, strict=True)) for row in self.rows() if row[0] == number)


def _best(first: Floats, second: Floats) -> NDArray[np.int64]:
    """The column with the greatest value; of equal ones that with the greatest second value, then the first."""
    equal = first >= first.max(axis=1, keepdims=True) - _SAME
    best: NDArray[np.int64] = np.where(equal, np.round(second, 9), -np.inf).argmax(axis=1)
    return best


def _entropy(probability: Floats) -> Floats:
    """Shannon's entropy by its greatest value: 0 where one class is sure, 1 where all are alike."""
    share = mean_of(probability, probability.sum(axis=1, keepdims=True))
    if share.shape[1] < 2:
        return np.where(np.isnan(share[:, 0]), np.nan, 0.0)
    with np.errstate(divide="ignore", invalid="ignore"):
        terms = np.where(share > 0, share * np.log(share), share * 0)
    entropy: Floats = -terms.sum(axis=1) / np.log(share.shape[1])
    return entropy


def _slug(name: str) -> str:
    """A class's name as part of a field's: lower case, ASCII, without blanks."""
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode()
    return re.sub(r"[^a-z0-9]+", "_", plain.lower()).strip("_")[:_LONGEST_NAME] or "class"
