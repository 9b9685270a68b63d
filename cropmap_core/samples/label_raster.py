"""Label rasters: what class a pixel is known to be, 0 where nothing is known."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rasterio.io import DatasetWriter

from cropmap_core.classes import CLASSES_TAG, CropClass
from cropmap_core.io.grid import Grid
from cropmap_core.io.outputs import create_raster
from cropmap_core.samples.legend import UNLABELLED

PROVENANCE_TAG = "CROPMAP_PROVENANCE"
YEAR_TAG = "CROPMAP_LABEL_YEAR"
"""Tag of label rasters: the year that the labels are of, where it is known."""


@contextmanager
def create_label_raster(
    path: Path, grid: Grid, classes: Sequence[CropClass], provenance: Mapping[str, Any]
) -> Iterator[DatasetWriter]:
    """Creates a label raster that carries its classes: uint8, or uint16 where a value is above 255.

    Raises:
        OutputError: It cannot be written.
    """
    dtype = "uint8" if max(each.value for each in classes) <= 255 else "uint16"
    with create_raster(path, grid, 1, dtype, UNLABELLED) as dataset:
        if dtype == "uint8":
            dataset.write_colormap(1, {each.value: _rgba(each.color) for each in classes})
        tags = {CLASSES_TAG: json.dumps([each.as_json() for each in classes])}
        if provenance.get("label_year") is not None:
            tags[YEAR_TAG] = str(provenance["label_year"])
        dataset.update_tags(**tags, **{PROVENANCE_TAG: json.dumps(provenance)})
        dataset.set_band_description(1, "label")
        yield dataset


def _rgba(colour: str) -> tuple[int, int, int, int]:
    red, green, blue = bytes.fromhex(colour[1:])
    return red, green, blue, 255
