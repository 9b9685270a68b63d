"""Samples of clear digital numbers, which tell whether a radiometric offset is in them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from cropmap_core.errors import MissingBandError
from cropmap_core.io.grid import Grid, Window
from cropmap_core.io.rasters import in_threads
from cropmap_core.scenes.bands import PlacedBand, grid_of, read_on
from cropmap_core.scenes.placing import PlacedScene
from cropmap_core.scenes.scene import Scene
from cropmap_core.scenes.scl import DEFAULT_KEEP_CLASSES, keep_table
from cropmap_core.timeseries.series import SCL

_WINDOWS = 3  # by as many: a grid of windows over each sampled scene
_WINDOW_SIZE = 64


class ClearPixels:
    """Reads windows spread over scenes, and keeps what is clear of them. Scenes without SCL have no clear pixels.

    Args:
        scenes: The series.
    """

    def __init__(self, scenes: Sequence[PlacedScene]) -> None:
        self._placed = {id(placed.scene): placed for placed in scenes}
        self._keep = keep_table(DEFAULT_KEEP_CLASSES)
        self._samples: dict[tuple[int, str], tuple[NDArray[np.uint16], int]] = {}

    def __call__(self, scenes: Sequence[Scene], band: str) -> NDArray[np.uint16]:
        """Clear digital numbers of a band, shape (N,); none where a scene lacks the band."""
        samples = [self._of(scene, band) for scene in scenes]
        if any(sample is None for sample in samples):
            return np.empty(0, dtype=np.uint16)
        return np.concatenate([np.empty(0, dtype=np.uint16), *(clear for clear, _ in filter(None, samples))])

    def share(self, scene: Scene, band: str) -> float:
        """Share of the observed pixels that are clear, 0-1; 0 where a scene lacks the band."""
        clear, observed = self._of(scene, band) or (np.empty(0), 0)
        return clear.size / observed if observed else 0.0

    def _of(self, scene: Scene, band: str) -> tuple[NDArray[np.uint16], int] | None:
        """Clear digital numbers and the number of observed ones; None where the band is not there."""
        key = (id(scene), band)
        if key not in self._samples:
            placed = self._placed.get(id(scene))
            sampled = self._sample(placed, band) if placed else (np.empty(0, dtype=np.uint16), 0)
            if sampled is None:
                return None
            self._samples[key] = sampled
        return self._samples[key]

    def _sample(self, placed: PlacedScene, band: str) -> tuple[NDArray[np.uint16], int] | None:
        if SCL not in placed.bands:
            return np.empty(0, dtype=np.uint16), 0
        classes, numbers = placed.bands[SCL], _placed_band(placed, band)
        if numbers is None:
            return None

        def sample(window: Window) -> tuple[NDArray[np.uint16], int]:
            values, scl = read_on(numbers, numbers.grid, window), read_on(classes, numbers.grid, window)
            observed = values > 0
            return values[self._keep[scl.clip(0, 255)] & observed].astype(np.uint16), int(observed.sum())

        sampled = in_threads(sample, list(dict.fromkeys(_spread(numbers.grid))))
        return np.concatenate([clear for clear, _ in sampled]), sum(observed for _, observed in sampled)


def _placed_band(placed: PlacedScene, band: str) -> PlacedBand | None:
    """A band of a scene, which need not be among those that are stacked."""
    if band in placed.bands:
        return placed.bands[band]
    try:
        source = placed.scene.band_file(band, int(placed.bands[SCL].grid.resolution_m))
    except MissingBandError:
        return None
    return PlacedBand(source, grid_of(source, reflectance=True))


def _spread(grid: Grid) -> list[Window]:
    def starts(size: int) -> list[int]:
        return [round(part * max(0, size - _WINDOW_SIZE) / (_WINDOWS - 1)) for part in range(_WINDOWS)]

    return [
        Window(row, col, _WINDOW_SIZE, _WINDOW_SIZE).clipped(grid.height, grid.width)
        for row in starts(grid.height)
        for col in starts(grid.width)
    ]
