"""The STAC Item of a map: what its rasters hold, where and when, for catalogues.

References:
    STAC 1.1; the extensions projection 2.0, raster 2.0, classification 2.0, processing 1.2 and file 2.1.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Any
from urllib.parse import quote

from pyproj import CRS, Transformer

from cropmap_core.classes import CropClass, value_type
from cropmap_core.inference.map_layers import NO_CLASS, NO_VALUE, SCALE, Layer, MapPaths
from cropmap_core.io.grid import Grid

EXTENSIONS = tuple(
    f"https://stac-extensions.github.io/{name}/schema.json"
    for name in ("projection/v2.0.0", "raster/v2.0.0", "classification/v2.0.0", "processing/v1.2.0", "file/v2.1.0")
)
_COG = "image/tiff; application=geotiff; profile=cloud-optimized"
_TITLES: dict[Layer, str] = {
    "classes": "Crop classes",
    "confidence": "Probability of the mapped class, percent",
    "entropy": "Entropy of the class probabilities, 0-1",
    "margin": "First less second class probability, 0-1",
    "probabilities": "Probability of each class, 0-1",
    "ood": "Unlike what the model learnt (1) or not (0)",
}
_SCALED = ("entropy", "margin", "probabilities")
_EDGE_POINTS = 21


def item_of_map(
    manifest: Mapping[str, Any],
    manifest_path: Path,
    written: MapPaths,
    grid: Grid,
    span: tuple[date, date],
    classes: Sequence[CropClass],
    legend: Sequence[CropClass],
) -> dict[str, Any]:
    """The STAC Item of a map, with addresses relative to it; it is to stand beside the class raster.

    Args:
        manifest: Of the run.
        manifest_path: Where it will be.
        written: The rasters.
        grid: Of all of them.
        span: First and last day that the series covers, inclusive.
        classes: The model's, in its order.
        legend: What class values stand for.
    """
    outputs, folder = manifest["outputs"], written.classes.absolute().parent
    corners = _outline(grid)
    lons, lats = zip(*corners, strict=True)
    assets = {
        name: {
            "href": _relative(path, folder),
            "type": _COG,
            "title": _TITLES[name],
            "roles": ["data"],
            "bands": _bands(name, grid, classes, legend),
            **_checked(outputs.get(f"output_{name}")),
        }
        for name, path in written.there.items()
    }
    return {
        "type": "Feature",
        "stac_version": "1.1.0",
        "stac_extensions": list(EXTENSIONS),
        "id": written.classes.stem,
        "geometry": {"type": "Polygon", "coordinates": [[list(corner) for corner in corners]]},
        "bbox": [min(lons), min(lats), max(lons), max(lats)],
        "properties": {
            "title": f"Crops, mapped with {manifest['model']['id']}",
            "datetime": None,
            "start_datetime": f"{span[0].isoformat()}T00:00:00Z",
            "end_datetime": f"{span[1].isoformat()}T23:59:59Z",
            "created": manifest["ended"],
            **_projection(grid),
            "processing:level": "L4",
            "processing:software": dict(manifest["versions"]),
            **({"processing:lineage": manifest["replay"]} if manifest["replay"] else {}),
            "processing:datetime": manifest["ended"],
            "cropmap:model": manifest["model"]["id"],
            "cropmap:fingerprint": manifest["fingerprint"],
        },
        "assets": {
            **assets,
            "manifest": {
                "href": _relative(manifest_path, folder),
                "type": "application/json",
                "title": "What the map was made from, and the command that makes it again",
                "roles": ["metadata"],
            },
        },
        "links": [],
    }


def _bands(name: Layer, grid: Grid, classes: Sequence[CropClass], legend: Sequence[CropClass]) -> list[dict[str, Any]]:
    common: dict[str, Any] = {"raster:spatial_resolution": grid.resolution_m, "raster:sampling": "area"}
    if name == "classes":
        largest = max(each.value for each in legend)
        told = [_class(each) for each in legend]
        return [
            {
                "name": name,
                "data_type": value_type(largest),
                "nodata": NO_CLASS,
                **common,
                "classification:classes": [
                    {"value": NO_CLASS, "name": "not-observed", "title": "Never observed", "nodata": True},
                    *told,
                ],
            }
        ]
    own = {"data_type": "uint8", "nodata": NO_VALUE, **common, **({"raster:scale": SCALE} if name in _SCALED else {})}
    if name == "probabilities":
        return [{"name": each.name, **own} for each in classes]
    return [{"name": name, **own, **({"unit": "%"} if name == "confidence" else {})}]


def _class(crop: CropClass) -> dict[str, Any]:
    return {
        "value": crop.value,
        "name": re.sub("[^0-9A-Za-z_-]+", "-", crop.name).strip("-") or f"class-{crop.value}",
        "title": crop.name,
        "description": crop.description or crop.name,
        "color_hint": crop.color.lstrip("#").upper(),
    }


def _checked(output: Mapping[str, Any] | None) -> dict[str, Any]:
    """Size and checksum of an output of the manifest; `1220` says that it is a SHA-256 of 32 bytes (multihash)."""
    return {} if output is None else {"file:size": output["bytes"], "file:checksum": f"1220{output['sha256']}"}


def _projection(grid: Grid) -> dict[str, Any]:
    crs = CRS.from_user_input(grid.crs)
    code = crs.to_authority()
    named = {"proj:code": ":".join(code)} if code else {"proj:code": None, "proj:wkt2": crs.to_wkt()}
    transform = grid.transform
    return {
        **named,
        "proj:bbox": list(grid.bounds),
        "proj:shape": [grid.height, grid.width],
        "proj:transform": [transform.a, transform.b, transform.c, transform.d, transform.e, transform.f],
    }


def _outline(grid: Grid) -> list[tuple[float, float]]:
    """The grid's edge in degrees, closed, counter-clockwise; straight lines of a projection are bent there."""
    left, bottom, right, top = grid.bounds
    steps = [number / (_EDGE_POINTS - 1) for number in range(_EDGE_POINTS - 1)]
    width, height = right - left, top - bottom
    edge = [(left + width * step, bottom) for step in steps]
    edge += [(right, bottom + height * step) for step in steps]
    edge += [(right - width * step, top) for step in steps]
    edge += [(left, top - height * step) for step in steps]
    to_degrees = Transformer.from_crs(grid.crs, 4326, always_xy=True)
    found = [to_degrees.transform(x, y) for x, y in edge]
    return [(round(lon, 7), round(lat, 7)) for lon, lat in (*found, found[0])]


def _relative(path: Path, folder: Path) -> str:
    """An address from a folder, a whole one where another folder holds the file."""
    absolute = path.absolute()
    return f"./{quote(absolute.name)}" if absolute.parent == folder else absolute.as_uri()
