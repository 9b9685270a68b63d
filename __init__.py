"""CropMap: crop maps from Sentinel-2 time series, as QGIS Processing algorithms."""

from __future__ import annotations


def classFactory(iface):  # noqa: N802  (the name QGIS calls)
    """Give QGIS the plugin; nothing of QGIS is imported before it asks."""
    from .plugin import CropMapPlugin

    return CropMapPlugin()
