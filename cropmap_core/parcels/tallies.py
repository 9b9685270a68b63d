"""What is counted in parcels, block by block, until all of a parcel has been seen."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from cropmap_core.parcels.coverage import Cells
from cropmap_core.parcels.maps import Bands, MapBlock
from cropmap_core.parcels.weighing import class_areas, extremes, weighted_sums
from cropmap_core.timeseries.gaps import PROVENANCE

Floats = NDArray[np.float64]
Counts = dict[str, Floats]
"""Arrays of shape (n, ...) by name, a row per parcel."""
WHOLE = 0.99
"""Share from which on a pixel lies in a parcel as a whole: a change of coordinates moves borders by millimetres."""
_MERGED_BY = {"least": np.minimum, "greatest": np.maximum}
_CLEAR, _FILLED, _GAP = (PROVENANCE.index(name) for name in ("clear_count", "filled_share", "longest_gap_days"))
_BY_CLASS = ("area", "support")


@dataclass
class Tally:
    """Counts parcels, and keeps what it has of those that reach into blocks to come."""

    codes: list[int] = field(default_factory=list)
    """The class values that occurred, in the order of the columns of `area` and `support`."""
    _pending: dict[int, Counts] = field(default_factory=dict)

    def count(self, block: MapBlock, cells: Cells, whole: Cells) -> Counts:
        """What one block says of its parcels.

        Args:
            block: The maps.
            cells: The pixels that decide on each of n parcels.
            whole: All its pixels; the same where no border was cut off.

        Returns:
            `area` and `support` (n, K) by class; `pixels` (n, 3): observed ones of the parcel, of those that decide,
            and of these the ones that its border cuts; `probability` (n, B + 1), the last being the weight; `ood`
            (n, 2) and `provenance` (n, 6), sums before weights; `least` and `greatest` (n, 2), of clear dates and
            gaps; `indices` (n, 2, T * I).
        """
        values, seen = _at(block.classes, cells)
        counts = self._by_class(values, seen, _certainty(block.confidence, cells), cells)
        inside = _sum(np.where(seen, cells.share, 0.0), cells)
        cut = _sum(np.where(seen & (cells.share < WHOLE), cells.share, 0.0), cells)
        observed = inside
        if whole is not cells:
            observed = _sum(np.where(_at(block.classes, whole)[1], whole.share, 0.0), whole)
        counts["pixels"] = np.stack([observed, inside, cut], axis=1)
        if block.probabilities is not None:
            sums, weights = weighted_sums(block.probabilities.values, block.probabilities.nodata, cells)
            counts["probability"] = np.concatenate([sums, weights[:, :1]], axis=1)
        if block.ood is not None:
            counts["ood"] = np.concatenate(weighted_sums(block.ood.values, block.ood.nodata, cells), axis=1)
        if block.provenance is not None:
            found = block.provenance.values
            counts["provenance"] = np.concatenate(weighted_sums(found, None, cells), axis=1)
            counts["least"] = extremes(found[_CLEAR], cells)[0]
            counts["greatest"] = extremes(found[_GAP], cells)[1]
        if block.indices is not None:
            counts["indices"] = np.stack(weighted_sums(block.indices.values, None, cells), axis=1)
        return counts

    def _by_class(self, values: NDArray[np.int64], seen: NDArray[np.bool_], certainty: Floats, cells: Cells) -> Counts:
        here = np.unique(values[seen])
        known = set(self.codes)
        self.codes += [code for code in here.tolist() if code not in known]
        position = np.where(seen, np.searchsorted(here, values), -1)
        columns = [self.codes.index(code) for code in here.tolist()]
        counts = {}
        for name, found in zip(_BY_CLASS, class_areas(position, certainty, len(here), cells), strict=True):
            counts[name] = np.zeros((len(cells), len(self.codes)))
            counts[name][:, columns] = found
        return counts

    def complete(self, parcels: NDArray[np.int64], counts: Counts, done: NDArray[np.bool_]) -> Counts:
        """Adds what is known of parcels from earlier blocks, and keeps those that are not done yet for later ones.

        Args:
            parcels: Position of each of n parcels.
            counts: Of this block.
            done: Whether this was a parcel's last block, shape (n,).

        Returns:
            The counts of those that are done.
        """
        for row, parcel in enumerate(parcels.tolist()):
            if parcel in self._pending:
                for name, earlier in self._pending.pop(parcel).items():
                    mine = counts[name][row]
                    # Classes that were met since widen what was counted before.
                    reach = mine[: len(earlier)] if name in _BY_CLASS else mine
                    reach[...] = _MERGED_BY.get(name, np.add)(reach, earlier)
            if not done[row]:
                self._pending[parcel] = {name: found[row].copy() for name, found in counts.items()}
        return {name: found[done] for name, found in counts.items()}


def mean_of(sums: Floats, weights: Floats) -> Floats:
    """Sums by their weights; NaN where nothing was weighed."""
    with np.errstate(divide="ignore", invalid="ignore"):
        mean: Floats = np.where(weights > 0, sums / weights, np.nan)
    return mean


def clear_and_filled(provenance: Floats) -> tuple[Floats, Floats]:
    """The mean clear dates and the mean share that is filled, from counts of `provenance`."""
    sums, weights = provenance[:, : len(PROVENANCE)], provenance[:, len(PROVENANCE) :]
    clear, filled = (mean_of(sums[:, at], weights[:, at]) for at in (_CLEAR, _FILLED))
    return clear, filled


def extreme_of(found: Floats) -> Floats:
    """Of the pixels that lie in the parcel by half where there are such, else of all; NaN where there are none."""
    chosen = np.where(np.isfinite(found[:, 0]), found[:, 0], found[:, 1])
    return np.where(np.isfinite(chosen), chosen, np.nan)


def _at(bands: Bands, cells: Cells) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """The values of a raster of one band in cells, and whether they are there."""
    values = bands.values.reshape(-1)[cells.pixel]
    seen = np.ones(len(values), dtype=bool) if bands.nodata is None else values != bands.nodata
    return values.astype(np.int64), seen


def _certainty(confidence: Bands | None, cells: Cells) -> Floats:
    """0-1; where there is no confidence a class speaks for itself."""
    if confidence is None:
        return np.ones(len(cells.pixel))
    percent, seen = _at(confidence, cells)
    return np.where(seen, percent / 100.0, 0.0)


def _sum(weights: Floats, cells: Cells) -> Floats:
    """Per parcel; `reduceat` would take the next parcel's first cell for one without any."""
    running = np.concatenate([[0.0], np.cumsum(weights)])
    total: Floats = running[cells.starts[1:]] - running[cells.starts[:-1]]
    return total
