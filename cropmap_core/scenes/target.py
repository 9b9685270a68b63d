"""The one grid that all scenes are brought to."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from affine import Affine
from rasterio.errors import CRSError

from cropmap_core.errors import GridMismatchError, JobError, NoValidObservationError
from cropmap_core.io.grid import Grid
from cropmap_core.io.rasters import open_raster
from cropmap_core.scenes.area import Area, area_of_extent, area_of_file
from cropmap_core.scenes.bands import bounds_in, crs_of
from cropmap_core.scenes.placing import PlacedScene
from cropmap_core.scenes.scene import RESOLUTIONS_M

UNION, INTERSECTION = "union", "intersection"
COVERS = (UNION, INTERSECTION)
_ON_A_PIXEL = 1e-6
"""Share of a pixel by which a bound may miss a pixel's edge and still lie on it."""
_MOSTLY_EMPTY = 8
_LARGE = 500_000_000
"""Pixels. A union of scenes that is larger and holds `_MOSTLY_EMPTY` times what they cover is a mistake."""

Bounds = tuple[float, float, float, float]


@dataclass(frozen=True)
class GridAsked:
    """What the user says of the grid."""

    resolution_m: int = 10
    area: Area | None = None
    """What the grid is to cover; None for what the scenes cover."""
    template: Grid | None = None
    """The grid itself."""
    cover: str = UNION
    crs: str | None = None
    """None for that of most scenes that touch the area."""


def ask_for_grid(
    resolution_m: int = 10,
    area: Path | None = None,
    extent: str | None = None,
    template: Path | None = None,
    cover: str = UNION,
    crs: str | None = None,
) -> GridAsked:
    """Reads what a job says of the grid.

    Args:
        resolution_m: 10, 20 or 60; not used with a template.
        area: A vector file of polygons.
        extent: `xmin,xmax,ymin,ymax [CRS]`.
        template: A raster.
        cover: `union` or `intersection` of the scenes, where nothing else tells what to cover.
        crs: A projected CRS in metres.

    Raises:
        JobError: Something is not of its kind, or says what something else says too.
        GridMismatchError: The template's pixels are none that Sentinel-2 is read at.
        SceneError: The template cannot be read.
    """
    given = [name for name, value in (("AREA", area), ("EXTENT", extent), ("TEMPLATE", template)) if value]
    if len(given) > 1:
        raise JobError(f"{' and '.join(given)} both say what the grid covers.", "Give one of them.")
    if template is not None and crs:
        raise JobError("CRS and TEMPLATE both say which CRS the grid has.", "Give one of them.")
    if resolution_m not in RESOLUTIONS_M:
        raise JobError(f"RESOLUTION is {resolution_m}.", "Choose 10, 20 or 60 metres.")
    if cover not in COVERS:
        raise JobError(f"COVER is '{cover}'.", f"Choose one of {', '.join(COVERS)}.")
    if template is not None:
        grid = _template(template)
        return GridAsked(round(grid.resolution_m), template=grid)
    wanted = area_of_file(area) if area is not None else area_of_extent(extent) if extent else None
    return GridAsked(resolution_m, wanted, cover=cover, crs=_projected(crs) if crs else None)


def choose_grid(asked: GridAsked, scenes: Sequence[PlacedScene]) -> Grid:
    """The grid for some scenes; its pixels are theirs wherever it has their CRS.

    Args:
        asked: What the user says of it.
        scenes: All that might be read; their order does not matter.

    Raises:
        GridMismatchError: The scenes have nothing in common, or lie too far apart.
        JobError: The area is nowhere in the CRS, or far larger than the scenes.
    """
    if asked.template is not None:
        return asked.template
    near = [scene for scene in scenes if asked.area is None or asked.area.touches(scene.grid)] or scenes
    crs = asked.crs or _most_common([scene.grid.crs for scene in near])
    left, top = _anchor(crs, near, asked.resolution_m)
    covered = [bounds_in(scene.grid, crs) for scene in scenes]
    room = max(_LARGE, _MOSTLY_EMPTY * sum(_square(bounds) for bounds in set(covered)) / asked.resolution_m**2)
    if asked.area is not None:
        grid = _snapped(asked.area.bounds_in(crs), crs, left, top, asked.resolution_m)
        if grid.width * grid.height > room:
            raise JobError(
                f"{asked.area.name} is {grid.width} x {grid.height} pixels of {asked.resolution_m} m in {crs}, most of "
                "them without a scene.",
                "Give an area that the scenes cover; without one they are covered themselves.",
            )
        return grid
    if asked.cover == INTERSECTION:
        return _intersection(covered, scenes, crs, left, top, asked.resolution_m)
    grid = _snapped(_around(covered), crs, left, top, asked.resolution_m)
    if grid.width * grid.height > room:
        raise GridMismatchError(
            f"The scenes lie far apart: together they span {grid.width} x {grid.height} pixels, most of them empty.",
            "Give the AREA or EXTENT to map, or the scenes of one region only.",
        )
    return grid


def within(grid: Grid, area: Area | None, scenes: Sequence[PlacedScene]) -> tuple[PlacedScene, ...]:
    """The scenes that have pixels on the grid, and in the area where there is one.

    Raises:
        NoValidObservationError: None has.
    """
    there = tuple(scene for scene in scenes if _meets(grid, scene) and (area is None or area.touches(scene.grid)))
    if not there:
        around = _around([bounds_in(scene.grid, grid.crs) for scene in scenes])
        raise NoValidObservationError(
            f"No scene touches {area.name if area else 'the grid'}: in {grid.crs} that reaches from "
            f"{_corners(grid.bounds)}, the scenes from {_corners(around)}.",
            "Check the area and its CRS, or give the scenes of the area.",
        )
    return there


def _template(path: Path) -> Grid:
    remedy = "Give a raster of 10, 20 or 60 m in a projected CRS, north up, such as a time series of CropMap."
    if not path.exists():
        raise JobError(f"There is no file {path}.", "Check the path given as TEMPLATE.")
    with open_raster(path) as dataset:
        grid, transform = Grid.of(dataset), dataset.transform
    fits = any(abs(grid.resolution_m - size) < _ON_A_PIXEL for size in RESOLUTIONS_M)
    upright = transform.e == -transform.a and not (transform.b or transform.d)
    if not grid.crs or not upright or not fits or not _in_metres(grid.crs):
        raise GridMismatchError(f"TEMPLATE {path} has {grid.describe()}.", remedy)
    return grid


def _projected(crs: str) -> str:
    remedy = "Give a projected CRS in metres, for instance EPSG:32631."
    try:
        text: str = crs_of(crs).to_string()
    except (CRSError, ValueError) as error:  # rasterio counts on digits behind "EPSG:"
        raise JobError(f"CRS is '{crs}', which is none: {error}.", remedy) from None
    if not _in_metres(text):
        raise JobError(f"CRS {text} is not in metres.", remedy)
    return text


def _in_metres(crs: str) -> bool:
    return bool(crs_of(crs).is_projected and abs(crs_of(crs).linear_units_factor[1] - 1) < 1e-9)


def _most_common(texts: list[str]) -> str:
    counts = Counter(texts)
    return min(counts, key=lambda text: (-counts[text], text))


def _anchor(crs: str, scenes: Sequence[PlacedScene], resolution_m: int) -> tuple[float, float]:
    """A corner of some pixel of the grid: that of the scenes of this CRS, or else round numbers."""

    def within_a_pixel(edge: float) -> float:
        return round(edge % resolution_m, 3) % resolution_m  # writers differ in the last digits of a double

    corners = Counter(
        (within_a_pixel(scene.grid.transform.c), within_a_pixel(scene.grid.transform.f))
        for scene in scenes
        if crs_of(scene.grid.crs) == crs_of(crs)
    )
    return min(corners, key=lambda corner: (-corners[corner], corner)) if corners else (0.0, 0.0)


def _snapped(bounds: Bounds, crs: str, left: float, top: float, size: float, outwards: bool = True) -> Grid:
    """The grid of whole pixels around bounds, or within them."""
    slack = _ON_A_PIXEL if outwards else -_ON_A_PIXEL
    down, up = (math.floor, math.ceil) if outwards else (math.ceil, math.floor)
    first_col, end_col = down((bounds[0] - left) / size + slack), up((bounds[2] - left) / size - slack)
    first_row, end_row = down((top - bounds[3]) / size + slack), up((top - bounds[1]) / size - slack)
    transform = Affine(size, 0.0, left + first_col * size, 0.0, -size, top - first_row * size)
    return Grid(crs, transform, end_col - first_col, end_row - first_row)


def _intersection(
    covered: list[Bounds], scenes: Sequence[PlacedScene], crs: str, left: float, top: float, size: float
) -> Grid:
    lefts, bottoms, rights, tops = zip(*covered, strict=True)
    common = _snapped((max(lefts), max(bottoms), min(rights), min(tops)), crs, left, top, size, outwards=False)
    if common.width > 0 and common.height > 0:
        return common
    pairs = ((one, other) for one in range(len(covered)) for other in range(one))
    apart = next((pair for pair in pairs if not _overlap(covered[pair[0]], covered[pair[1]])), (0, len(covered) - 1))
    one, other = sorted((scenes[number] for number in apart), key=lambda placed: placed.scene.name)
    raise GridMismatchError(
        f"The scenes have no area in common: {one.scene.name} in {one.scene.place} and {other.scene.name} in "
        f"{other.scene.place} do not overlap.",
        "Set COVER to union, give an AREA or EXTENT, or leave scenes out.",
    )


def _meets(grid: Grid, scene: PlacedScene) -> bool:
    return _overlap(bounds_in(grid, scene.grid.crs), scene.grid.bounds)


def _overlap(one: Bounds, other: Bounds) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]


def _around(bounds: Sequence[Bounds]) -> Bounds:
    lefts, bottoms, rights, tops = zip(*bounds, strict=True)
    return min(lefts), min(bottoms), max(rights), max(tops)


def _square(bounds: Bounds) -> float:
    return (bounds[2] - bounds[0]) * (bounds[3] - bounds[1])


def _corners(bounds: Bounds) -> str:
    return f"{bounds[0]:.0f} {bounds[1]:.0f} to {bounds[2]:.0f} {bounds[3]:.0f}"
