"""What a map's inputs were read as, for its fingerprint: names and metadata decide that besides the bytes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from cropmap_core.inference.manifest import HashedFile
from cropmap_core.io.grid import Grid
from cropmap_core.scenes.placing import PlacedScene
from cropmap_core.scenes.stack import SceneStack
from cropmap_core.timeseries.series import Series


def series_as_read(series: Series) -> dict[str, Any]:
    """Of a time series its dates, bands, period and grid."""
    return {
        "dates": series.dates,
        "span": series.span,
        "bands": series.bands,
        "period": series.period,
        "dtype": str(series.dtype),
        "grid": _grid(series.grid),
    }


def scenes_as_read(stack: SceneStack, files: Sequence[HashedFile]) -> dict[str, Any]:
    """Of scenes which file is which band of which date, with offsets, and the grid.

    Args:
        stack: What is read of them.
        files: Theirs, and perhaps others.
    """
    known = {file.path: file.known_by for file in files}
    return {
        **series_as_read(stack),
        "resampling": stack.resampling,
        "days": [
            [_scene(scene, offset, known) for scene, offset in zip(scenes, offsets, strict=True)]
            for scenes, offsets in zip(stack.days, stack.offset_of, strict=True)
        ],
    }


def _scene(placed: PlacedScene, offset: int, known: Mapping[str, str]) -> dict[str, Any]:
    sources = {name: band.source for name, band in placed.bands.items()}
    return {
        "baseline": placed.scene.baseline,
        "offset": offset,
        "bands": {
            name: [known.get(str(source.file), source.file.name), source.number, source.nodata]
            for name, source in sorted(sources.items())
        },
    }


def _grid(grid: Grid) -> list[Any]:
    return [grid.crs, *grid.transform[:6], grid.width, grid.height]
