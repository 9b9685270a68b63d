"""Care for a map, and where it is wanted: the parameters, what they refuse, and their part of a job."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

from qgis.core import (
    Qgis,
    QgsProcessingFeedback,
    QgsProcessingParameterDefinition,
    QgsProcessingParameterMapLayer,
    QgsVectorLayer,
)

from . import polygons
from .errors import JobFailed
from .parameters import advanced, measure, tr, with_help
from .values import Values

ERROR = "JobError"


def parameters() -> list[QgsProcessingParameterDefinition]:
    """SMOOTHING, MINIMUM_AREA and MASK."""
    kinds = [Qgis.ProcessingSourceType.Raster, Qgis.ProcessingSourceType.VectorPolygon]
    return [
        with_help(
            QgsProcessingParameterMapLayer("MASK", tr("Map only within"), optional=True, types=kinds),
            tr(
                "Cropland or parcels, in any coordinate system: a raster, of which values above 0 are mapped, or "
                "polygons, of which every pixel is mapped that they touch. All else stays nodata, and where it fills "
                "whole blocks nothing is computed."
            ),
        ),
        advanced(
            measure(
                "SMOOTHING",
                tr("Smoothing in pixels"),
                0,
                tr(
                    "Class probabilities are averaged over the neighbourhood before the class is chosen: the standard "
                    "deviation of a Gaussian. 1 removes most single pixels, and strips of one pixel too; 0: none."
                ),
            )
        ),
        advanced(
            measure(
                "MINIMUM_AREA",
                tr("Smallest area in hectares"),
                0,
                tr(
                    "Smaller regions of a class take the class that most of their border is shared with; 0: none. A "
                    "pixel of 10 m has 0.01 hectares."
                ),
            )
        ),
    ]


def check(values: Values) -> None:
    """Refuse at once what can be seen without computing.

    Raises:
        JobFailed: MASK cannot be read, or is neither a raster file nor a layer of polygons with a CRS (JobError).
    """
    if values.has("MASK"):
        _polygons(values)


def named(values: Values) -> dict:
    """The file of MASK, by which a command can name a layer of the project that is a raster."""
    is_raster = values.has("MASK") and _polygons(values) is None
    return {"MASK": values.raster("MASK")} if is_raster else {}


@contextmanager
def in_a_job(values: Values, feedback: QgsProcessingFeedback) -> Iterator[dict]:
    """The parameters of a job; within the block the file of MASK exists, the layer's filter heeded.

    Raises:
        JobFailed: As `check`; MASK holds no polygon, or cannot be written (OutputError).
    """
    care = {"smoothing": values.decimal("SMOOTHING"), "minimum_area_ha": values.decimal("MINIMUM_AREA"), "mask": None}
    source = _polygons(values) if values.has("MASK") else None
    if source is None:
        yield {**care, "mask": values.raster("MASK")}
        return
    with tempfile.TemporaryDirectory(prefix="cropmap-mask-") as folder:
        path = os.path.join(folder, "mask.gpkg")
        written = polygons.write(source, path, values.context, feedback)
        if written.without_area == len(written.numbers):
            raise polygons.empty(source, "MASK", ERROR)
        yield {**care, "mask": path}


def _polygons(values: Values):
    """The polygons of MASK, None where it is a raster."""
    layer = values.algorithm.parameterAsLayer(values.parameters, "MASK", values.context)
    if layer is None:
        raise JobFailed(
            ERROR,
            f"MASK is no layer that QGIS can open: {values.parameters['MASK']}.",
            "Give a raster file or a layer of polygons.",
        )
    if isinstance(layer, QgsVectorLayer):
        return polygons.checked_source(values, "MASK", ERROR)
    values.raster("MASK")
    return None
