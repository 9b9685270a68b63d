"""What often lies beside scenes, or is mistaken for them: known by its name, and skipped saying what it is."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from cropmap_core.scenes.packagings.found import Found

_SIDECARS = (".aux.xml", ".ovr", ".qml")  # what GDAL and QGIS leave beside rasters: not worth telling

_KINDS = (
    (r"^L[CEMOT]0[4-9]_L\w+", "a Landsat file: CropMap reads Sentinel-2 L2A"),
    (r"(^|_)(TCI|PVI|TRUE_COLOR)(_\d{2}m)?\.|^(preview|thumbnail|quicklook)\.|-ql\.", "a quick-look, no reflectance"),
    (r"(^|_)(AOT|WVP)(_\d{2}m)?\.", "a map of the atmosphere, which is not needed"),
    (r"^T\d{2}[A-Z]{3}_\d{8}T\d{6}_B\d[\dA]\.jp2$", "a Level-1C band (top of atmosphere): get the Level-2A product"),
)


def find(candidates: Iterable[Path]) -> Found:
    """Finds no scene, but says of candidates what they are."""
    found = Found()
    for path in candidates:
        if path.name.endswith(_SIDECARS):
            found.claimed.add(path)
        for pattern, kind in _KINDS:
            if re.search(pattern, path.name, re.IGNORECASE):
                found.skip(path, kind)
                break
    return found
