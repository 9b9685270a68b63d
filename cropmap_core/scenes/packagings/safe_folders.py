"""SAFE folders: products as ESA and CDSE distribute them, unpacked."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from cropmap_core.scenes.packagings.found import Found
from cropmap_core.scenes.packagings.images import scenes_of_product
from cropmap_core.scenes.safe import PRODUCT_XML, read_product

L1C_XML = "MTD_MSIL1C.xml"
L1C = "a Level-1C product (top of atmosphere): get its Level-2A product"
NO_IMAGES = "a product without the images of its bands: download it again"
MASKS = "QI_DATA"


def is_product(names: Iterable[str]) -> bool:
    """Whether the files of a folder make it a product's."""
    return not {PRODUCT_XML, L1C_XML}.isdisjoint(names)


def find(candidates: Iterable[Path]) -> Found:
    """Reads the folders among the candidates, which all are products."""
    found = Found()
    for folder in candidates:
        if not folder.is_dir():
            continue
        if (folder / L1C_XML).exists():
            found.skip(folder, L1C)
            continue
        scenes = scenes_of_product(read_product(folder), _images(folder))
        if not scenes:
            found.skip(folder, NO_IMAGES)
        found.scenes += scenes
        found.claimed.add(folder)
    return found


def _images(folder: Path) -> Iterator[tuple[str, Path]]:
    for inner, _, names in os.walk(folder / "GRANULE"):
        if Path(inner).name != MASKS:
            for name in sorted(names):
                yield str(Path(inner) / name), Path(inner) / name
