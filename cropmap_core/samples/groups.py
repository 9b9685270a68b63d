"""Groups of samples that belong together: of a block, a zone, a parcel, a tile, a year, or a column's value."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from cropmap_core.errors import SamplesError
from cropmap_core.samples.files import Texts
from cropmap_core.samples.places import block_numbers


@dataclass(frozen=True)
class Located:
    """What a split looks at: one entry per sample, shape (N,), but for the parcels."""

    label: NDArray[np.int16]
    """Class value of most of the sample's pixels, 0 where it has none."""
    lon: NDArray[np.float64]
    lat: NDArray[np.float64]
    zone: Texts
    tile: Texts
    year: NDArray[np.int64]
    columns: Mapping[str, Texts]
    parcels: NDArray[np.int64]
    """Which sample holds a pixel of which parcel: rows of (sample, parcel), each pair once, shape (P, 2)."""

    def __len__(self) -> int:
        return len(self.label)


def group_samples(samples: Located, method: str, block_m: int, column: str) -> NDArray[np.int64]:
    """Puts samples that belong together into groups.

    Args:
        samples: What is known of them.
        method: What belongs together: `blocks`, `zone`, `parcel`, `tile`, `year`, `column`, or `random` for nothing.
        block_m: Edge of a block.
        column: Name of the samples' column for `column`.

    Returns:
        Number of each sample's group, -1 for none, shape (N,).

    Raises:
        SamplesError: What the groups are made of is unknown of all samples.
    """
    if method == "random":
        return np.arange(len(samples), dtype=np.int64)
    if method == "parcel":
        return _linked_by_parcels(samples)
    if method == "year":
        return samples.year
    if method == "blocks":
        group = block_numbers(samples.lon, samples.lat, block_m)
    else:
        own = samples.columns.get(column, np.full(len(samples), ""))
        texts = {"zone": samples.zone, "tile": samples.tile, "column": own}[method]
        found, place = np.unique(texts, return_inverse=True)
        group = np.where(found[place] == "", -1, place).astype(np.int64)
    if (group < 0).all():
        lacking = {"blocks": "coordinates (x, y)", "tile": "an MGRS tile", "zone": "a zone (ZONES)"}
        raise SamplesError(f"No sample has {lacking.get(method, 'a value in SPLIT_COLUMN')}.", "Choose another SPLIT.")
    return _with_whole_parcels(group, samples.parcels)


def _linked_by_parcels(samples: Located) -> NDArray[np.int64]:
    """Samples that share a parcel, directly or by others, are one group."""
    if not len(samples.parcels):
        raise SamplesError("The samples know no parcels.", "Give the parcels, or choose SPLIT=blocks.")
    sample, parcel = samples.parcels[:, 0], np.unique(samples.parcels[:, 1], return_inverse=True)[1]
    size = len(samples) + int(parcel.max()) + 1
    links = coo_array((np.ones(len(sample), np.int8), (sample, parcel + len(samples))), shape=(size, size))
    group: NDArray[np.int64] = connected_components(links, directed=False)[1][: len(samples)].astype(np.int64)
    without = np.ones(len(samples), dtype=bool)
    without[sample] = False
    group[without] = -1
    return group


def _with_whole_parcels(group: NDArray[np.int64], parcels: NDArray[np.int64]) -> NDArray[np.int64]:
    """Parcels that lie in several groups go, with all their samples, to the one of most of them.

    Only where each sample is of one parcel: patches hold many, and would all be drawn into one group.
    """
    if len(np.unique(parcels[:, 0])) < len(parcels):
        return group
    sample, parcel = parcels[group[parcels[:, 0]] >= 0].T
    inverse = np.unique(parcel, return_inverse=True)[1]
    pairs, counts = np.unique(np.stack([inverse, group[sample]]), axis=1, return_counts=True)
    largest = pairs[:, np.lexsort((pairs[1], -counts, pairs[0]))]
    home = largest[1, np.unique(largest[0], return_index=True)[1]]
    moved: NDArray[np.int64] = group.copy()
    moved[sample] = home[inverse]
    return moved
