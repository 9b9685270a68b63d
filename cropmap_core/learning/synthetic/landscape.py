"""A seeded farmed landscape in vector form: parcels with roads, hedges, a stream, woods and farmsteads between them.

The fields come from recursive splits of land that a winding road and a stream have cut before, so that they have the
sizes (1-6 ha), the elongation and the neighbourhoods of a real parcel mosaic, and borders at every angle.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from shapely import affinity
from shapely.geometry import LineString, MultiPolygon, Point, Polygon, box
from shapely.geometry.base import BaseGeometry
from shapely.ops import unary_union

SMALLEST_FIELD_HA = 0.8
ROAD_LEVELS = 3
"""The first splits leave a road between the halves, later ones a hedge or a grass margin."""


@dataclass(frozen=True)
class Field:
    """One parcel."""

    polygon: Polygon
    crop: int
    """Position of its crop among the crops that were asked for."""


@dataclass(frozen=True)
class Landscape:
    """What covers the ground; what is painted later hides what is painted before."""

    fields: tuple[Field, ...]
    covers: tuple[tuple[str, BaseGeometry], ...]
    """Land cover other than crops (tree, road, water, yard, roof) in the order of painting; verges are what remains."""


def make_landscape(
    bounds: tuple[float, float, float, float], crop_shares: tuple[float, ...], random: np.random.Generator
) -> Landscape:
    """Lays out fields and what lies between them.

    Args:
        bounds: West, south, east, north in metres; fields at the edge reach beyond.
        crop_shares: Relative share of the fields that each crop gets.
        random: Decides everything.

    Returns:
        The landscape.
    """
    frame = box(*bounds)
    land = affinity.rotate(box(*frame.buffer(300).bounds), random.uniform(-25, 25))
    stream = _winding(bounds, random, across=True)
    road = _winding(bounds, random, across=False)
    water = stream.buffer(7)
    banks = stream.buffer(22)
    lanes: list[BaseGeometry] = [road.buffer(5)]
    hedges: list[BaseGeometry] = []
    plots: list[Polygon] = []
    for part in _polygons(land.difference(unary_union([banks, road.buffer(8)]))):
        _split(part, 0, lanes, hedges, plots, random)
    plots = [plot for plot in plots if plot.intersection(frame).area > 1000]

    woods = _woods(plots, frame, random)
    farmed = [plot for plot in plots if plot not in woods]
    farms = _farmsteads(farmed, road, random)
    farm_land = unary_union([farm for farm, _ in farms])
    fields = [
        part
        for plot in farmed
        for part in _polygons(_rounded(plot).difference(farm_land.buffer(3)))
        if part.area > SMALLEST_FIELD_HA * 1e4
    ]
    crops = _crops(len(fields), crop_shares, random)
    rows = unary_union([_gappy(hedge, random) for hedge in hedges])
    covers = (
        ("tree", unary_union([banks.intersection(_blobs(stream, random)), rows, *woods])),
        ("road", unary_union(lanes)),
        ("water", water),
        ("yard", farm_land),
        ("roof", unary_union([roof for _, roof in farms])),
    )
    return Landscape(
        tuple(Field(polygon, int(crop)) for polygon, crop in zip(fields, crops, strict=True)),
        tuple((name, shape) for name, shape in covers if not shape.is_empty),
    )


def _winding(bounds: tuple[float, float, float, float], random: np.random.Generator, *, across: bool) -> LineString:
    """A meandering line from one side of the frame to the other."""
    west, south, east, north = bounds
    width, height = east - west, north - south
    along = np.linspace(-0.3, 1.3, 160)
    bend = sum(
        random.uniform(0.3, 1) * amplitude * np.sin(2 * np.pi * (along * waves + random.uniform()))
        for amplitude, waves in ((0.09, 0.7), (0.03, 2.1), (0.008, 6.5))
    )
    aside = random.uniform(0.3, 0.7) + random.uniform(-0.25, 0.25) * (along - 0.5) + bend
    if across:
        return LineString(np.column_stack([west + along * width, south + aside * height]))
    return LineString(np.column_stack([west + aside * width, south + along * height]))


def _split(
    land: Polygon,
    level: int,
    lanes: list[BaseGeometry],
    hedges: list[BaseGeometry],
    plots: list[Polygon],
    random: np.random.Generator,
) -> None:
    """Halves the land across its long side until it has the size of a field."""
    corner, *ends = np.array(land.minimum_rotated_rectangle.exterior.coords)[[1, 0, 2]]
    short, long = sorted((end - corner for end in ends), key=lambda side: float(np.hypot(*side)))
    slender = np.hypot(*long) > 3.5 * np.hypot(*short)
    wanted = np.exp(random.uniform(np.log(1.6e4), np.log(6.5e4)))
    if land.area < wanted * 1.35 and not (slender and land.area > 2.5e4):
        plots.append(land)
        return
    # Now and then land is cut lengthwise: long fields beside each other.
    lengthwise = level >= ROAD_LEVELS and not slender and random.random() < 0.2
    along, across = (short, long) if lengthwise else (long, short)
    middle = corner + along * random.uniform(0.36, 0.64) + across / 2
    angle = np.arctan2(across[1], across[0]) + np.deg2rad(random.normal(0, 3.5))
    reach = 4000 * np.array([np.cos(angle), np.sin(angle)])
    cut = LineString([middle - reach, middle + reach])
    if level < ROAD_LEVELS:
        gap, border = 9.0, cut.buffer(random.choice([2.0, 3.0]))
        lanes.append(border.intersection(land))
    else:
        hedge = random.random() < 0.3
        gap = random.uniform(5, 8) if hedge else random.uniform(1.5, 3.5)
        if hedge:
            hedges.append(cut.intersection(land))
    for part in _polygons(land.difference(cut.buffer(gap / 2))):
        _split(part, level + 1, lanes, hedges, plots, random)


def _woods(plots: list[Polygon], frame: Polygon, random: np.random.Generator) -> list[Polygon]:
    """The plots of two or three small woods: neighbours of a seeded plot."""
    woods: list[Polygon] = []
    for _ in range(max(1, round(frame.area / 2.5e6))):
        centre = plots[int(random.integers(len(plots)))].centroid
        near = sorted(plots, key=lambda plot: float(plot.distance(centre)))
        woods += [plot for plot in near[: int(random.integers(1, 3))] if plot not in woods]
    return woods


def _farmsteads(
    plots: list[Polygon], road: LineString, random: np.random.Generator
) -> list[tuple[Polygon, BaseGeometry]]:
    """Yards of about half a hectare in corners of plots beside the road, each with some roofs."""
    near = [plot for plot in plots if plot.distance(road) < 25]
    farms = []
    for plot in near[:: max(1, len(near) // 7)]:
        corner = min(plot.exterior.coords, key=lambda xy: float(road.distance(Point(xy))))
        yard = plot.intersection(Point(corner).buffer(random.uniform(45, 75), quad_segs=3))
        if not isinstance(yard, Polygon):
            continue
        angle = random.uniform(0, 180)
        roofs = [
            affinity.rotate(
                box(x - 12, y - 5, x + random.uniform(8, 30), y + random.uniform(5, 9)), angle, origin=(x, y)
            )
            for x, y in random.normal(np.array(yard.centroid.coords[0]), 16, (4, 2))
        ]
        farms.append((yard, unary_union(roofs).intersection(yard.buffer(-3))))
    return farms


def _crops(count: int, shares: tuple[float, ...], random: np.random.Generator) -> NDArray[np.intp]:
    limits = np.cumsum(shares) / sum(shares)
    return random.permutation(np.searchsorted(limits, (np.arange(count) + 0.5) / count))


def _gappy(hedge: BaseGeometry, random: np.random.Generator) -> BaseGeometry:
    """A hedge row: tree crowns along a line, with gaps."""
    length = float(hedge.length)
    steps = np.arange(0, length, 7.0)
    here = steps[(np.sin(steps / random.uniform(25, 60) + random.uniform(0, 6)) > -0.6)]
    return unary_union([hedge.interpolate(step).buffer(random.uniform(2.5, 4.5), quad_segs=2) for step in here])


def _blobs(stream: LineString, random: np.random.Generator) -> BaseGeometry:
    """Where trees line the stream."""
    steps = random.uniform(0, stream.length, 110)
    return unary_union([stream.interpolate(step).buffer(random.uniform(8, 26), quad_segs=3) for step in steps])


def _rounded(plot: Polygon) -> BaseGeometry:
    """Machines do not turn in sharp corners."""
    return plot.buffer(-7).buffer(6.5, quad_segs=4)


def _polygons(shape: BaseGeometry) -> list[Polygon]:
    if isinstance(shape, Polygon):
        return [] if shape.is_empty else [shape]
    if isinstance(shape, MultiPolygon):
        return list(shape.geoms)
    return [part for part in getattr(shape, "geoms", ()) if isinstance(part, Polygon)]
