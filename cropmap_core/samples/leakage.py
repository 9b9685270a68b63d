"""Leakage: what the sets of a split have in common, and how near they come to each other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cropmap_core.samples.files import ROLES
from cropmap_core.samples.places import nearest_m, on_sphere

NEAR_M = 100
"""Fields of one farm, one soil and one cloud: closer samples are hardly independent."""


@dataclass(frozen=True)
class Leakage:
    """What sets share."""

    min_distance_m: Mapping[str, float | None]
    """By pair of sets like `train-test`; None where coordinates are unknown."""
    near_samples: Mapping[str, int]
    """Samples of the second set within `NEAR_M` of the first."""
    shared_parcels: int
    """Parcels with pixels in more than one set."""

    def to_json(self) -> dict[str, Any]:
        """As it is stored with the split."""
        return {
            "min_distance_m": dict(self.min_distance_m),
            "near_m": NEAR_M,
            "near_samples": dict(self.near_samples),
            "shared_parcels": self.shared_parcels,
        }

    def warnings(self) -> list[str]:
        """What the user should know."""
        said = [
            f"{pair.replace('-', ' and ')} are {distance:.0f} m apart at the nearest; "
            f"{self.near_samples[pair]} samples of {pair.split('-')[1]} lie within {NEAR_M} m of {pair.split('-')[0]}: "
            "set a BUFFER_M, or choose larger blocks."
            for pair, distance in self.min_distance_m.items()
            if distance is not None and distance < NEAR_M
        ]
        if self.shared_parcels:
            said.append(f"{self.shared_parcels} parcels have pixels in more than one set: choose SPLIT=parcel.")
        return said


def find_leakage(
    lon: NDArray[np.float64],
    lat: NDArray[np.float64],
    parcels: NDArray[np.int64],
    fold: NDArray[np.int8],
    roles: Mapping[str, Sequence[int]],
) -> Leakage:
    """Looks at what the sets of a split share.

    Args:
        lon: Degrees, NaN where unknown, shape (N,).
        lat: As `lon`.
        parcels: Pairs of sample and parcel, shape (P, 2).
        fold: Shape (N,).
        roles: The folds of each set.
    """
    sets = {role: np.isin(fold, roles[role]) for role in ROLES}
    known = np.isfinite(lon) & np.isfinite(lat)
    points = on_sphere(np.nan_to_num(lon), np.nan_to_num(lat))
    distance: dict[str, float | None] = {}
    near = {}
    for one, other in combinations(ROLES, 2):
        metres = nearest_m(points[sets[other] & known], points[sets[one] & known])
        finite = metres[np.isfinite(metres)]
        distance[f"{one}-{other}"] = round(float(finite.min()), 1) if len(finite) else None
        near[f"{one}-{other}"] = int((metres < NEAR_M).sum())
    sample, parcel = parcels[:, 0], parcels[:, 1]
    in_sets = sum(np.isin(np.unique(parcel), parcel[chosen[sample]]).astype(int) for chosen in sets.values())
    return Leakage(distance, near, int((np.asarray(in_sets) > 1).sum()))
