"""Which of the scenes go into a series: by month, and by how much of the raster is under cloud."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from cropmap_core.errors import JobError, NoValidObservationError
from cropmap_core.io.grid import Window
from cropmap_core.io.rasters import in_threads
from cropmap_core.scenes.bands import grid_of, read_band
from cropmap_core.scenes.scene import Scene
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


def cloud_percents(scenes: Sequence[Scene], resolution_m: int) -> list[float]:
    """How much of each scene's raster is cloud, from its SCL and not from metadata, which tell of the whole MGRS tile.

    Every pixel is read: an overview of classes may hold classes that are nowhere in the image.

    Args:
        scenes: Scenes with SCL.
        resolution_m: The pixel size they will be read at.

    Returns:
        Percent of the observed pixels, 0-100; 100 where nothing was observed.

    Raises:
        MissingBandError: A scene lacks its SCL.
        SceneError: An SCL cannot be read.
    """
    return in_threads(lambda scene: _cloud_percent(scene, resolution_m), scenes)


def select_by_cloud(scenes: Sequence[Scene], percents: Sequence[float], maximum: int) -> tuple[Scene, ...]:
    """The scenes with at most so much cloud.

    Args:
        scenes: By date.
        percents: Of each, as `cloud_percents` gives them.
        maximum: 0 to 100.

    Raises:
        NoValidObservationError: No scene is left.
    """
    selected = tuple(scene for scene, percent in zip(scenes, percents, strict=True) if percent <= maximum)
    if not selected:
        raise NoValidObservationError(
            f"Every scene has more than {maximum} % cloud over the raster; the clearest has {min(percents):.1f} %.",
            "Raise MAX_CLOUD: clouds are masked pixel by pixel anyway.",
        )
    return selected


def check_cloud_limit(maximum: int) -> None:
    """Checks a limit before anything is read.

    Raises:
        JobError: It is no percentage.
    """
    if not 0 <= maximum <= 100:
        raise JobError(f"MAX_CLOUD is {maximum}.", "Give a percentage from 0 to 100.")


def _cloud_percent(scene: Scene, resolution_m: int) -> float:
    source = scene.band_file(SCL, resolution_m)
    grid = grid_of(source, reflectance=False)
    counts = np.zeros(256, dtype=np.int64)
    for row in range(0, grid.height, _ROWS):
        window = Window(row, 0, min(_ROWS, grid.height - row), grid.width)
        scl = read_band(source, source.resolution_m, window)
        counts += np.bincount(scl.clip(0, 255).ravel().astype(np.int64), minlength=256)
    observed = counts.sum() - counts[SCL_CLASSES["nodata"]]
    cloud = sum(counts[SCL_CLASSES[name]] for name in CLOUD_CLASSES)
    return float(100 * cloud / observed) if observed else 100.0
