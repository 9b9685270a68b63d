"""How large parcels are on the ellipsoid of their own coordinate reference system."""

from __future__ import annotations

from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray
from pyproj import CRS, Transformer

_M2_PER_HA = 10_000.0
Sizes = tuple[NDArray[np.float64], NDArray[np.float64]]


class Ellipsoid:
    """Measures shapes of one CRS, with geodesics between their corners as edges.

    Args:
        crs: Of the shapes.

    References:
        Karney (2013), Algorithms for geodesics, Journal of Geodesy 87.
    """

    def __init__(self, crs: Any) -> None:
        known = CRS.from_user_input(crs)
        self._geod = known.get_geod()
        if self._geod is not None:
            # Degrees on the CRS's own ellipsoid: no shift of the datum, which would change the size.
            degrees = CRS.from_dict({"proj": "longlat", "a": self._geod.a, "b": self._geod.b, "no_defs": True})
            self._to_degrees = Transformer.from_crs(known, degrees, always_xy=True)

    def sizes(self, shapes: NDArray[Any]) -> Sizes:
        """Areas in hectares and perimeters in metres, holes taken off the one and counted in the other.

        Args:
            shapes: Polygons and multipolygons, valid, shape (n,).

        Returns:
            Two arrays of shape (n,); NaN where the CRS has no ellipsoid.
        """
        if self._geod is None:
            return np.full(len(shapes), np.nan), np.full(len(shapes), np.nan)
        area, perimeter = np.zeros(len(shapes)), np.zeros(len(shapes))
        polygons, owner = shapely.get_parts(shapes, return_index=True)
        rings, polygon = shapely.get_rings(polygons, return_index=True)
        coordinates, ring = shapely.get_coordinates(rings, return_index=True)
        lon, lat = self._to_degrees.transform(coordinates[:, 0], coordinates[:, 1])
        ends = np.searchsorted(ring, np.arange(len(rings) + 1))
        before = -1
        for at, of_polygon in enumerate(polygon.tolist()):
            corners = slice(ends[at], ends[at + 1])
            inside, around = self._geod.polygon_area_perimeter(lon[corners], lat[corners])
            sign = 1 if of_polygon != before else -1  # the first ring of a polygon is its outer one
            area[owner[of_polygon]] += sign * abs(inside)
            perimeter[owner[of_polygon]] += around
            before = of_polygon
        return area / _M2_PER_HA, perimeter


def compactness(area_ha: NDArray[np.float64], perimeter_m: NDArray[np.float64]) -> NDArray[np.float64]:
    """4 pi times the area by the square of the perimeter: 1 for a disc, 0.785 for a square, near 0 for a strip.

    References:
        Polsby and Popper (1991), Yale Law and Policy Review 9(2).
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio: NDArray[np.float64] = 4 * np.pi * area_ha * _M2_PER_HA / perimeter_m**2
    return ratio
