"""The images of a product: files named by MGRS tile, sensing time, band and resolution, as ESA and CDSE name them."""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import datetime
from pathlib import Path, PurePosixPath

from cropmap_core.scenes.packagings.found import Bands, add_band, time_in_name
from cropmap_core.scenes.safe import Product
from cropmap_core.scenes.scene import BandSource, Scene

BAND_IMAGE = re.compile(
    r"^(?:L2A_)?T(?P<tile>\d{2}[A-Z]{3})_(?P<time>\d{8}T\d{6})_(?P<band>B\d[\dA]|SCL)_(?P<resolution>\d{2})m\.(?:tiff?|jp2)$",
    re.IGNORECASE,
)


def scenes_of_product(product: Product, images: Iterable[tuple[str, Path]]) -> list[Scene]:
    """Makes scenes of a product's images.

    Args:
        product: What the product XML says.
        images: GDAL path and file on disk of each; other files are passed over.

    Raises:
        SceneError: A name holds no real date, or two images are the same band.
    """
    scenes: dict[tuple[str, datetime], Bands] = {}
    for path, file in images:
        match = BAND_IMAGE.match(PurePosixPath(Path(path).as_posix()).name)
        if match is not None:
            time = time_in_name(match["time"], "%Y%m%dT%H%M%S", Path(path))
            bands = scenes.setdefault((match["tile"].upper(), time), {})
            add_band(bands, match["band"].upper(), BandSource(path, file, int(match["resolution"])))
    return [Scene(time, tile, bands, product) for (tile, time), bands in scenes.items()]
