"""Samples of clear digital numbers, which tell whether a radiometric offset is in them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cropmap_core.errors import MissingBandError
from cropmap_core.io.grid import Grid, Window
from cropmap_core.io.rasters import in_threads
from cropmap_core.scenes.bands import read_band
from cropmap_core.scenes.scene import Scene
from cropmap_core.scenes.scl import DEFAULT_KEEP_CLASSES, keep_table
from cropmap_core.timeseries.series import SCL

_WINDOWS = 3  # by as many: a grid of windows over each sampled scene
_WINDOW_SIZE = 64


class ClearPixels:
    """Reads windows spread over scenes, and keeps what is clear of them."""

    def __init__(self, grid: Grid, resolution_m: int) -> None:
        self._resolution_m = resolution_m
        self._keep = keep_table(DEFAULT_KEEP_CLASSES)
        self._windows = list(dict.fromkeys(_spread(grid)))
        self._samples: dict[tuple[str, str], NDArray[np.uint16]] = {}
        self._observed: dict[tuple[str, str], int] = {}

    def __call__(self, scenes: Sequence[Scene], band: str) -> NDArray[np.uint16]:
        """Clear digital numbers of a band, shape (N,); none where a scene lacks the band."""
        if not all(self._has(scene, band) for scene in scenes):
            return np.empty(0, dtype=np.uint16)
        return np.concatenate([np.empty(0, dtype=np.uint16), *(self._of(scene, band) for scene in scenes)])

    def share(self, scene: Scene, band: str) -> float:
        """Share of the observed pixels that are clear, 0-1; 0 where a scene lacks the band."""
        clear = self([scene], band).size
        return clear / self._observed[scene.name, band] if clear else 0.0

    def _of(self, scene: Scene, band: str) -> NDArray[np.uint16]:
        key = (scene.name, band)
        if key not in self._samples:

            def sample(window: Window) -> tuple[NDArray[np.uint16], int]:
                values, scl = self._read(scene, band, window), self._read(scene, SCL, window)
                observed = values > 0
                return values[self._keep[scl.clip(0, 255)] & observed].astype(np.uint16), int(observed.sum())

            sampled = in_threads(sample, self._windows)
            self._samples[key] = np.concatenate([clear for clear, _ in sampled])
            self._observed[key] = sum(observed for _, observed in sampled)
        return self._samples[key]

    def _read(self, scene: Scene, band: str, window: Window) -> NDArray[Any]:
        return read_band(scene.band_file(band, self._resolution_m), self._resolution_m, window)

    def _has(self, scene: Scene, band: str) -> bool:
        try:
            scene.band_file(band, self._resolution_m)
        except MissingBandError:
            return False
        return True


def _spread(grid: Grid) -> list[Window]:
    def starts(size: int) -> list[int]:
        return [round(part * max(0, size - _WINDOW_SIZE) / (_WINDOWS - 1)) for part in range(_WINDOWS)]

    return [
        Window(row, col, _WINDOW_SIZE, _WINDOW_SIZE).clipped(grid.height, grid.width)
        for row in starts(grid.height)
        for col in starts(grid.width)
    ]
