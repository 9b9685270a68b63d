"""Parcel mosaics on a raster: fields of any size and shape, roads and hedges between them, farmsteads.

Land is halved by straight lines, across its long side mostly, until it has the size of fields; the first cuts leave
roads. Some mosaics are Voronoi cells instead, stretched and turned, for borders at every angle.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.int64]
Floats = NDArray[np.float64]
FIELD, STRIP, STEAD = 0, 1, 2
"""What a part of the land is: a field, a road or hedge, a farmstead."""
PIXEL_HA = 0.01
_AROUND = 16  # pixels: fields at the edge reach beyond
_LEAST_FIELD = 12  # pixels within the square; a smaller remnant goes to what it touches


@dataclass(frozen=True)
class Mosaic:
    """A square of land."""

    part: Numbers
    """Number of the part that each pixel belongs to, from 0 on without gaps, shape (H, W)."""
    kind: Numbers
    """What each part is, shape (F,)."""


@dataclass(frozen=True)
class MosaicSettings:
    """How land is laid out; shares are probabilities."""

    smallest_ha: float = 0.5
    largest_ha: float = 12.0
    """Typical size of the fields of a mosaic, drawn between the two; single fields differ from it."""
    spread: float = 0.45
    """Standard deviation of the logarithm of the sizes within a mosaic."""
    voronoi: float = 0.25
    """Share of mosaics of Voronoi cells."""
    roads: float = 0.75
    """Share of mosaics with roads."""
    hedges: float = 0.3
    """Largest share of borders with a hedge or a margin of one pixel."""
    steads: float = 0.35
    """Share of mosaics with a farmstead."""


def make_mosaic(edge: int, how: MosaicSettings, random: np.random.Generator) -> Mosaic:
    """Lays out a square of land of `edge` pixels of 10 m."""
    size = edge + 2 * _AROUND
    angle = random.uniform(0, np.pi)
    rows, cols = np.indices((size, size)) + 0.5
    u = (np.cos(angle) * cols + np.sin(angle) * rows).ravel()
    v = (np.cos(angle) * rows - np.sin(angle) * cols).ravel()
    typical = np.exp(random.uniform(np.log(how.smallest_ha), np.log(how.largest_ha))) / PIXEL_HA
    strips: list[Numbers] = []
    if random.random() < how.voronoi:
        part = _voronoi(u, v, typical, random)
    else:
        part = _halved(u, v, typical, how, strips, random)
    if random.random() < how.roads / 2:
        strips.append(_winding(u, v, random))
    inside = np.s_[_AROUND:-_AROUND, _AROUND:-_AROUND]
    fields = _without_remnants(part.reshape(size, size)[inside].copy())
    kinds = np.full(size * size, FIELD)
    for strip in strips:
        kinds[strip] = STRIP
    kind = kinds.reshape(size, size)[inside].copy()
    if random.random() < how.steads:
        _build(kind, random)
    return _numbered(fields, kind)


def _halved(
    u: Floats, v: Floats, typical: float, how: MosaicSettings, strips: list[Numbers], random: np.random.Generator
) -> Numbers:
    """Number of the field of each pixel; what roads and hedges cover is appended to `strips`."""
    part = np.zeros(len(u), np.int64)
    count, waiting = 1, [(np.arange(len(u)), 0)]
    roads = random.integers(1, 3) if random.random() < how.roads else 0
    hedges = random.uniform(0, how.hedges)
    while waiting:
        pixels, level = waiting.pop()
        wide, high = np.ptp(u[pixels]) + 1, np.ptp(v[pixels]) + 1
        slender = max(wide, high) > 4 * min(wide, high)
        wanted = typical * np.exp(how.spread * random.standard_normal())
        if len(pixels) < 1.4 * max(wanted, 50) and not (slender and len(pixels) > 200):
            continue
        across = wide > high if slender or random.random() < 0.75 else wide <= high
        along, beside = (u, v) if across else (v, u)
        tilt = np.tan(np.deg2rad(random.normal(0, 4) if random.random() < 0.8 else random.normal(0, 20)))
        place = along[pixels] + tilt * (beside[pixels] - beside[pixels].mean())
        cut = np.quantile(place, random.uniform(0.33, 0.67))
        width = random.choice([1.0, 1.5, 2.2]) if level < roads else 1.0 if random.random() < hedges else 0.0
        if width:
            strips.append(pixels[np.abs(place - cut) < width / 2])
        far = place > cut
        if not far.any() or far.all():
            continue
        part[pixels[far]] = count
        count += 1
        waiting += [(pixels[far], level + 1), (pixels[~far], level + 1)]
    return part


def _voronoi(u: Floats, v: Floats, typical: float, random: np.random.Generator) -> Numbers:
    sites = random.uniform(0, 1, (max(3, round(len(u) / typical)), 2))
    stretch = np.exp(random.uniform(-0.5, 0.5))
    sites = sites * (np.ptp(u), np.ptp(v)) + (u.min(), v.min())
    distance = stretch * (u[:, None] - sites[:, 0]) ** 2 + (v[:, None] - sites[:, 1]) ** 2 / stretch
    cells: Numbers = distance.argmin(axis=1)
    return cells


def _winding(u: Floats, v: Floats, random: np.random.Generator) -> Numbers:
    """Pixels of a road or stream that does not care for fields."""
    length = np.ptp(u)
    bend = (
        random.uniform(0, 0.12) * length * np.sin(2 * np.pi * (u / length * random.uniform(0.4, 1.5) + random.random()))
    )
    course = v.min() + random.uniform(0.3, 0.7) * np.ptp(v) + bend
    return np.flatnonzero(np.abs(v - course) < random.choice([0.6, 1.0, 1.5]))


def _build(kind: Numbers, random: np.random.Generator) -> None:
    """A farmstead of two to five pixels a side; at a road where there is one."""
    places = np.argwhere(kind == STRIP)
    if not len(places):
        places = np.argwhere(kind == FIELD)
    row, col = places[random.integers(len(places))]
    height, width = random.integers(2, 6, 2)
    kind[row : row + height, col : col + width] = STEAD


def _without_remnants(part: Numbers) -> Numbers:
    """What the edge leaves of a field, if it is hardly anything, goes to the field that lies nearest to it."""
    number, sizes = np.unique(part, return_counts=True)
    small = np.isin(part, number[sizes < _LEAST_FIELD])
    if not small.any() or small.all():
        return part
    large, lost = np.argwhere(~small), np.argwhere(small)
    nearest = ((lost[:, None] - large) ** 2).sum(axis=2).argmin(axis=1)
    part[small] = part[~small][nearest]
    return part


def _numbered(fields: Numbers, kind: Numbers) -> Mosaic:
    """Fields, and one part of each other kind that there is."""
    part = np.where(kind == FIELD, fields, -kind)
    numbers, flat = np.unique(part, return_inverse=True)
    return Mosaic(flat.reshape(part.shape), np.where(numbers < 0, -numbers, FIELD))
