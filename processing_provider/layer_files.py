"""The files behind layers that are given where files are wanted."""

from __future__ import annotations

import os
import re

from qgis.core import Qgis, QgsMapLayer, QgsProject, QgsProviderRegistry

from .errors import JobFailed

# What GDAL opens as parts of a file: SENTINEL2_L2A:/folder/MTD_MSIL2A.xml:10m:EPSG_32631, NETCDF:"cube.nc":B04.
_PART_OF_FILE = re.compile(r'(?:SENTINEL2_\w+|NETCDF):"?(?:/vsizip/)?(?P<file>.+?\.(?:zip|xml|nc))\b', re.IGNORECASE)


def as_files(name: str, value, project: QgsProject | None):
    """Replace layers by their files.

    Args:
        name: The parameter.
        value: Paths, layers, ids or names of layers, one or a list of them; anything else is left as it is.
        project: Where ids and names are looked up.

    Raises:
        JobFailed: A layer is not a file on this computer (JobError).
    """
    if isinstance(value, (list, tuple)):
        return list(dict.fromkeys(as_files(name, one, project) for one in value))
    layer = value if isinstance(value, QgsMapLayer) else _layer_named(value, project)
    if layer is None:
        return value
    path = _file_of(layer)
    if not path:
        raise JobFailed(
            "JobError",
            f"{name}: the layer {layer.name()} is not a file on this computer.",
            "Give the folder or the files of its scene.",
        )
    return path


def raster_files(project: QgsProject) -> list[str]:
    """The files of a project's raster layers, sorted."""
    layers = [layer for layer in project.mapLayers().values() if layer.type() == Qgis.LayerType.Raster]
    return sorted({_file_of(layer) for layer in layers} - {""})


def _layer_named(value, project: QgsProject | None) -> QgsMapLayer | None:
    if project is None or not isinstance(value, str) or os.path.basename(value) != value:
        return None
    return project.mapLayer(value) or next(iter(project.mapLayersByName(value)), None)


def _file_of(layer: QgsMapLayer) -> str:
    """A layer's file, empty where it has none."""
    part = _PART_OF_FILE.match(layer.source())
    uri = QgsProviderRegistry.instance().decodeUri(layer.providerType(), layer.source())
    path = part["file"] if part else uri.get("path") or ""
    return path if os.path.exists(path) else ""
