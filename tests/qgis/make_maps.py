"""Writes, in the worker's Python, the maps of a field of 8 x 8 pixels: `make_maps.py FOLDER`.

The left half is maize, the right half grass, the last row was never observed. Probabilities are 0.8 and 0.2, in the
second column 0.55 and 0.45. The series has two dates, NDVI 0.75 and 0.25 everywhere.
"""

import json
import sys
from pathlib import Path

import numpy as np
import rasterio
from rasterio.transform import from_origin

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from cropmap_core.timeseries.gaps import PROVENANCE
from tests.factories import CRS, ORIGIN

NAMES = ("Maize", "Grass")
LEGEND = [{"value": 1, "name": "Maize", "color": "#f4c430"}, {"value": 2, "name": "Grass", "color": "#4caf50"}]


def write(path: Path, bands: np.ndarray, nodata: float, names: tuple[str, ...] = (), scale: float = 1.0, **tags: str):
    count, height, width = bands.shape
    with rasterio.open(
        path, "w", driver="GTiff", width=width, height=height, count=count, dtype=bands.dtype, nodata=nodata, crs=CRS,
        transform=from_origin(*ORIGIN, 10, 10),
    ) as file:  # fmt: skip
        file.write(bands)
        if names:
            file.descriptions = names
        file.scales = [scale] * count
        file.update_tags(**tags)


def main(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    classes = np.ones((1, 8, 8), np.uint8)
    classes[:, :, 4:] = 2
    maize = np.where(classes[0] == 1, 200, 50)
    maize[:, 1] = 138
    unseen = np.zeros((8, 8), bool)
    unseen[7] = True
    classes[:, unseen] = 0
    probabilities = np.stack([maize, 250 - maize]).astype(np.uint8)
    probabilities[:, unseen] = 255
    legend = {"CROPMAP_CLASSES": json.dumps(LEGEND)}
    write(folder / "classes.tif", classes, 0, **legend)
    write(folder / "probabilities.tif", probabilities, 255, NAMES, 0.004, **legend)
    provenance = np.stack([np.full((8, 8), value) for value in (6, 0.25, 31)]).astype(np.float32)
    write(folder / "provenance.tif", provenance, np.nan, PROVENANCE)
    series = np.stack([np.full((8, 8), value) for value in (500, 3500, 1500, 2500)]).astype(np.int16)
    bands = ("2018-05-01 B04", "2018-05-01 B08", "2018-06-01 B04", "2018-06-01 B08")
    write(folder / "series.tif", series, -32768, bands)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
