"""Which of the scenes go into a series: by month, and by how much of the raster is under cloud."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date
from math import ceil, floor

import numpy as np

from cropmap_core.errors import JobError, NoValidObservationError
from cropmap_core.io.grid import Grid, Window
from cropmap_core.io.rasters import in_threads
from cropmap_core.scenes.area import Area
from cropmap_core.scenes.bands import bounds_in, read_on
from cropmap_core.scenes.placing import PlacedScene
from cropmap_core.scenes.scene import NATIVE_RESOLUTION_M, Scene
from cropmap_core.scenes.scl import SCL_CLASSES
from cropmap_core.timeseries.series import SCL

CLOUD_CLASSES = ("cloud_medium", "cloud_high", "cirrus")
"""What ESA's own cloud percentage of a tile counts."""

_ROWS = 1024  # at once: JPEG 2000 images have blocks of as many


def select_by_month(scenes: Sequence[Scene], months: Sequence[int]) -> tuple[Scene, ...]:
    """The scenes acquired in some months of any year.

    Args:
        scenes: By date.
        months: 1 to 12; none selects all scenes.

    Raises:
        JobError: A number is no month.
        NoValidObservationError: No scene is left.
    """
    wrong = [month for month in months if not 1 <= month <= 12]
    if wrong:
        raise JobError(f"MONTHS holds {', '.join(map(str, wrong))}.", "Choose from 1 to 12.")
    selected = tuple(scene for scene in scenes if not months or scene.acquired.month in months)
    if not selected:
        there = sorted({scene.acquired.month for scene in scenes})
        raise NoValidObservationError(
            f"No scene of the months {', '.join(map(str, sorted(months)))}.",
            f"There are scenes of the months {', '.join(map(str, there))}: change MONTHS.",
        )
    return selected


def cloud_percents(scenes: Sequence[PlacedScene], grid: Grid, area: Area | None = None) -> dict[date, float]:
    """How much of an area is cloud, date by date: from SCL, not from metadata, which tell of the whole MGRS tile.

    Every SCL pixel of the grid, or of the area, is read, in its own size: an overview of classes may hold classes that
    are nowhere in the image. Where the scenes of a day overlap, both count.

    Args:
        scenes: Those without SCL have no cloud that is known of.
        grid: Where pixels count.
        area: Where pixels count of these; None for all.

    Returns:
        Percent of the observed pixels, 0-100; 100 where nothing was observed.

    Raises:
        SceneError: An SCL cannot be read.
    """
    counts: dict[date, tuple[int, int]] = {}
    for scene, (cloud, observed) in zip(
        scenes, in_threads(lambda scene: _counts(scene, grid, area), scenes), strict=True
    ):
        before = counts.get(scene.date, (0, 0))
        counts[scene.date] = before[0] + cloud, before[1] + observed
    blind = {scene.date for scene in scenes if SCL not in scene.bands}
    return {
        day: 100 * cloud / observed if observed else 0.0 if day in blind else 100.0
        for day, (cloud, observed) in counts.items()
    }


def select_by_cloud(
    scenes: Sequence[PlacedScene], percents: Mapping[date, float], maximum: int
) -> tuple[PlacedScene, ...]:
    """The scenes of dates with at most so much cloud.

    Args:
        scenes: In any order.
        percents: Of each date, as `cloud_percents` gives them.
        maximum: 0 to 100.

    Raises:
        NoValidObservationError: No scene is left.
    """
    selected = tuple(scene for scene in scenes if percents[scene.date] <= maximum)
    if not selected:
        raise NoValidObservationError(
            f"Every date has more than {maximum} % cloud over the area; the clearest has {min(percents.values()):.1f} "
            "%.",
            "Raise MAX_CLOUD: clouds are masked pixel by pixel anyway.",
        )
    return selected


MISSING_SCL = ("refuse", "leave_out", "as_clear")
"""What to do with scenes without SCL: an error, not use them, or take all that they observe for clear."""


def select_with_scl(scenes: Sequence[Scene], missing_scl: str) -> tuple[Scene, ...]:
    """The scenes that may be used though some lack SCL.

    Args:
        scenes: By date.
        missing_scl: One of `MISSING_SCL`.

    Raises:
        JobError: It is none of them.
        MissingBandError: A scene lacks SCL, and is refused.
        NoValidObservationError: No scene is left.
    """
    if missing_scl not in MISSING_SCL:
        raise JobError(f"MISSING_SCL is '{missing_scl}'.", f"Choose one of {', '.join(MISSING_SCL)}.")
    if missing_scl == "refuse":
        for scene in scenes:
            if not scene.has(SCL):
                scene.band_file(SCL, NATIVE_RESOLUTION_M[SCL])
    if missing_scl != "leave_out":
        return tuple(scenes)
    selected = tuple(scene for scene in scenes if scene.has(SCL))
    if not selected:
        raise NoValidObservationError(
            "No scene has SCL.", "Give the scenes with their SCL files, or set MISSING_SCL to as_clear."
        )
    return selected


def check_cloud_limit(maximum: int) -> None:
    """Checks a limit before anything is read.

    Raises:
        JobError: It is no percentage.
    """
    if not 0 <= maximum <= 100:
        raise JobError(f"MAX_CLOUD is {maximum}.", "Give a percentage from 0 to 100.")


def check_dates(start: date | None, end: date | None) -> None:
    """Checks the first and the last day before anything is read.

    Raises:
        JobError: The last one lies before the first.
    """
    if start is not None and end is not None and end < start:
        raise JobError(f"END_DATE {end} lies before START_DATE {start}.", "Swap or correct them.")


def _counts(scene: PlacedScene, grid: Grid, area: Area | None) -> tuple[int, int]:
    """Pixels of cloud, and observed ones."""
    if SCL not in scene.bands:
        return 0, 0
    scl = scene.bands[SCL]
    left, bottom, right, top = bounds_in(grid, scl.grid.crs)
    size = scl.grid.resolution_m
    first_row, first_col = floor((scl.grid.transform.f - top) / size), floor((left - scl.grid.transform.c) / size)
    end_row, end_col = ceil((scl.grid.transform.f - bottom) / size), ceil((right - scl.grid.transform.c) / size)
    wanted = Window(first_row, first_col, end_row - first_row, end_col - first_col)
    wanted = wanted.clipped(scl.grid.height, scl.grid.width)
    counts = np.zeros(256, dtype=np.int64)
    for row in range(wanted.row, wanted.row + wanted.height, _ROWS):
        window = Window(row, wanted.col, min(_ROWS, wanted.row + wanted.height - row), wanted.width)
        classes = read_on(scl, scl.grid, window).clip(0, 255)
        if area is not None:
            classes = classes[area.mask(scl.grid.cut(window))]
        counts += np.bincount(classes.ravel().astype(np.int64), minlength=256)
    return int(sum(counts[SCL_CLASSES[name]] for name in CLOUD_CLASSES)), int(counts[SCL_CLASSES["nodata"] + 1 :].sum())
