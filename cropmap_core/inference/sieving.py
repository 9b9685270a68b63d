"""The minimum mapping unit: regions of a class map that are too small become part of their surroundings."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cropmap_core.io.compiling import compiled

Classes = NDArray[Any]
_Places = NDArray[np.int32]
_MOST_PIXELS = 2**31 - 1
_NOBODY = -1
_STEPS = np.array([[0, -1], [0, 1], [-1, 0], [1, 0]], dtype=np.int64)
"""Rows and columns to the neighbours, which share an edge."""


def smallest_region(area_ha: float, pixel_m: float) -> int:
    """The fewest pixels that cover an area.

    Args:
        area_ha: Hectares.
        pixel_m: Edge of a pixel in metres.
    """
    return math.ceil(round(area_ha * 10_000 / pixel_m**2, 6))


def sieve(classes: Classes, smallest: int, nodata: int = 0) -> Classes:
    """Gives regions of fewer pixels than `smallest` the class that most of their border is shared with.

    The smallest regions go first. What a region becomes part of counts as one region from then on, so none that is too
    small is left in the end, but for those that nodata and the map's edge enclose. Of classes that share equally much
    of the border the one whose region there is the largest is taken, then the one with the lowest value. Nodata never
    changes and never grows; it is no neighbour.

    GDAL's sieve takes the largest neighbour, however short the border, and leaves a region as it is where all of its
    neighbours are too small themselves: speckle, which is what a sieve is for, stays.

    A map is sieved as a whole, for a region may reach over any number of blocks. Besides the maps this takes 5 bytes a
    pixel, and 8 for every region that is too small.

    Args:
        classes: Integers of at most 16 bits, shape (H, W).
        smallest: Pixels that a region must have.
        nodata: The value of pixels without a class.

    Returns:
        Of the same shape and type.

    Raises:
        ValueError: The map has 2**31 pixels or more.
    """
    if classes.size > _MOST_PIXELS:
        raise ValueError(f"A map of {classes.size} pixels is too large to be sieved.")
    sieved = np.ascontiguousarray(classes).copy()
    if smallest > 1 and classes.size:
        # Where a pixel's region begins, by way of others; at its first one minus the number of its pixels.
        regions = np.empty(classes.size, dtype=np.int32)
        flat = sieved.reshape(-1)
        _find_regions(flat, classes.shape[1], nodata, regions)
        _merge_small(flat, classes.shape[1], nodata, regions, min(smallest, classes.size + 1))
    return sieved


@compiled
def _first(regions: _Places, pixel: int) -> int:
    """The pixel that stands for a region; the way to it is halved for those who come after."""
    while regions[pixel] >= 0:
        above = regions[pixel]
        if regions[above] >= 0:
            regions[pixel] = regions[above]
        pixel = above
    return pixel


@compiled
def _join(regions: _Places, one: int, other: int) -> int:
    """Makes two regions one, the smaller a part of the larger, and gives its first pixel (union by size)."""
    one, other = _first(regions, one), _first(regions, other)
    if one == other:
        return one
    if regions[one] > regions[other]:  # sizes are negative
        one, other = other, one
    regions[one] += regions[other]
    regions[other] = one
    return one


@compiled
def _find_regions(classes: Classes, width: int, nodata: int, regions: _Places) -> None:
    """Row by row, each pixel with its neighbours to the left and above."""
    for begin in range(0, classes.size, width):
        for col in range(width):
            pixel = begin + col
            regions[pixel] = -1
            value = classes[pixel]
            if value == nodata:
                continue
            own = pixel
            if col > 0 and classes[pixel - 1] == value:
                own = _first(regions, pixel - 1)
                regions[pixel] = own
                regions[own] -= 1
            if begin == 0:
                continue
            above = pixel - width
            if classes[above] == value:
                _join(regions, own, above)


@compiled
def _merge_small(classes: Classes, width: int, nodata: int, regions: _Places, smallest: int) -> None:
    """Takes the regions that are too small by size, the smallest first; those that grow wait again."""
    count = 0
    for pixel in range(classes.size):
        if -smallest < regions[pixel] < 0 and classes[pixel] != nodata:
            count += 1
    # One line of waiting regions for each size: `heads` its first, `after` the one behind each.
    waiting, after = np.empty(count, np.int32), np.empty(count, np.int32)
    heads = np.full(smallest, _NOBODY, np.int32)
    for pixel in range(classes.size - 1, -1, -1):  # backwards, so that the first of the map stands first
        if -smallest < regions[pixel] < 0 and classes[pixel] != nodata:
            count -= 1
            waiting[count] = pixel
            after[count] = heads[-regions[pixel]]
            heads[-regions[pixel]] = count
    seen = np.zeros(classes.size, np.bool_)
    members = np.empty(smallest, np.int32)
    border, largest = np.zeros(65536, np.int32), np.zeros(65536, np.int32)
    for size in range(1, smallest):
        while heads[size] != _NOBODY:
            place = heads[size]
            heads[size] = after[place]
            first = _first(regions, waiting[place])
            if -regions[first] != size:
                continue  # it has become part of another since, which waits on its own or is large enough
            _gather(classes, width, first, seen, members)
            value = _neighbour(classes, width, nodata, regions, members[:size], border, largest)
            if value == nodata:
                continue
            for pixel in members[:size]:
                classes[pixel] = value
            grown = first
            for pixel in members[:size]:
                row, col = pixel // width, pixel % width
                for step in range(len(_STEPS)):
                    near = _beside(classes, width, row, col, step)
                    if near != _NOBODY and classes[near] == value:
                        grown = _join(regions, grown, near)
            if -regions[grown] < smallest:
                waiting[place] = grown
                after[place] = heads[-regions[grown]]
                heads[-regions[grown]] = place


@compiled
def _beside(classes: Classes, width: int, row: int, col: int, step: int) -> int:
    """A neighbour's place; nobody's beyond the map."""
    row, col = row + _STEPS[step, 0], col + _STEPS[step, 1]
    if row < 0 or col < 0 or col >= width or row * width >= classes.size:
        return _NOBODY
    return row * width + col


@compiled
def _gather(classes: Classes, width: int, first: int, seen: NDArray[np.bool_], members: _Places) -> None:
    """The pixels of a region, from one of them on; `seen` is left as it was."""
    members[0], count, done = first, 1, 0
    seen[first] = True
    while done < count:
        row, col = members[done] // width, members[done] % width
        done += 1
        for step in range(len(_STEPS)):
            near = _beside(classes, width, row, col, step)
            if near != _NOBODY and not seen[near] and classes[near] == classes[first]:
                seen[near] = True
                members[count] = near
                count += 1
    for pixel in members[:count]:
        seen[pixel] = False


@compiled
def _neighbour(
    classes: Classes,
    width: int,
    nodata: int,
    regions: _Places,
    members: _Places,
    border: _Places,
    largest: _Places,
) -> int:
    """The class that shares most of a region's border, nodata where none does; the tallies are left at 0."""
    own, best = int(classes[members[0]]), nodata
    for tallying in (True, False):
        for pixel in members:
            row, col = pixel // width, pixel % width
            for step in range(len(_STEPS)):
                near = _beside(classes, width, row, col, step)
                if near == _NOBODY or classes[near] == own or classes[near] == nodata:
                    continue
                value = int(np.int64(classes[near]))  # of unsigned ones there is no negative
                if tallying:
                    border[value] += 1
                    largest[value] = max(largest[value], -regions[_first(regions, near)])
                elif best == nodata or (border[value], largest[value], -value) > (border[best], largest[best], -best):
                    best = value
    for pixel in members:
        row, col = pixel // width, pixel % width
        for step in range(len(_STEPS)):
            near = _beside(classes, width, row, col, step)
            if near != _NOBODY:
                border[classes[near]] = largest[classes[near]] = 0
    return best
