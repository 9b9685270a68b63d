"""Shapes of real clouds: what the scene classification of real acquisitions hides, cut, turned and stretched."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import rasterio
from numpy.typing import NDArray
from scipy.ndimage import map_coordinates

from cropmap_core.scenes.scl import DEFAULT_KEEP_CLASSES, keep_table

Mask = NDArray[np.bool_]
_LEAST, _MOST = 0.03, 0.97  # of an acquisition: less or more has no shape
_STRETCH = (0.6, 1.8)  # pixels of the shape for one of ours


class CloudShapes:
    """Masks to draw clouds from.

    Args:
        masks: True under cloud, at 10 m, each of shape (H, W).
    """

    def __init__(self, masks: Sequence[Mask]) -> None:
        if not masks:
            raise ValueError("no acquisition is partly clouded; expected one at least")
        self._masks = [mask.astype(np.float32) for mask in masks]

    def __len__(self) -> int:
        return len(self._masks)

    def draw(self, edge: int, random: np.random.Generator) -> Mask:
        """One shape over a square of `edge` pixels, shape (edge, edge); beyond its acquisition it is mirrored."""
        mask = self._masks[int(random.integers(len(self._masks)))]
        angle, step = random.uniform(0, 2 * np.pi), np.exp(random.uniform(*np.log(_STRETCH)))
        along, across = step * np.cos(angle), step * np.sin(angle)
        rows, cols = np.indices((edge, edge)) - edge / 2
        centre = random.uniform(0, 1, 2) * mask.shape
        places = np.stack([along * rows - across * cols, across * rows + along * cols]) + centre[:, None, None]
        shape: Mask = map_coordinates(mask, places, order=1, mode="mirror") > 0.5
        return shape


def read_cloud_shapes(data: Path) -> CloudShapes:
    """The shapes in the acquisitions of `flanders_2018` and `cubes`.

    Args:
        data: The folder of the shared data.
    """
    hidden = ~keep_table(DEFAULT_KEEP_CLASSES)
    masks = []
    for path in sorted((data / "flanders_2018" / "scenes").glob("*/*_SCL_20m.tif")):
        with rasterio.open(path) as dataset:
            masks.append(np.kron(hidden[dataset.read(1)], np.ones((2, 2), bool)))
    for path in sorted((data / "cubes").glob("*.nc")):
        with rasterio.open(f'netcdf:"{path}":S2-L2A-SCL') as dataset:
            masks += list(hidden[dataset.read().clip(0, 255)])
    return CloudShapes([mask for mask in masks if _LEAST < mask.mean() < _MOST])
