"""The one grid that scenes are brought to: its parameters, what they refuse, and their part of a job."""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

from qgis.core import (
    Qgis,
    QgsCoordinateReferenceSystem,
    QgsProcessingFeedback,
    QgsProcessingParameterCrs,
    QgsProcessingParameterDefinition,
    QgsProcessingParameterExtent,
    QgsProcessingParameterFeatureSource,
    QgsProcessingParameterRasterLayer,
)

from . import polygons, vocabulary
from .errors import JobFailed
from .parameters import advanced, tr, with_help, words
from .values import Values

COVERING = ("AREA", "EXTENT", "TEMPLATE")
ERROR = "JobError"
_USERS_OWN = "USER:"  # QGIS's authority for CRS that only the user's profile knows
_STATED_CRS = re.compile(r"\[(?P<crs>.+)\]\s*$")


def parameters() -> list[QgsProcessingParameterDefinition]:
    """AREA, EXTENT, TEMPLATE, COVER, CRS, RESAMPLING and MISSING_SCL."""
    area = QgsProcessingParameterFeatureSource(
        "AREA", tr("Area of interest"), [Qgis.ProcessingSourceType.VectorPolygon], optional=True
    )
    return [
        with_help(
            area,
            tr(
                "Polygons in any coordinate system: their bounds are covered, and cloud is counted inside them. If "
                "features are selected, the selection alone can be used."
            ),
        ),
        with_help(
            QgsProcessingParameterExtent("EXTENT", tr("Extent"), optional=True),
            tr("The rectangle to cover, in any coordinate system, instead of an area of interest."),
        ),
        with_help(
            advanced(QgsProcessingParameterRasterLayer("TEMPLATE", tr("Template raster"), optional=True)),
            tr(
                "A raster whose grid is taken as it is: coordinate system, pixels and extent. Its pixels must be 10, "
                "20 or 60 m. Give it instead of an area of interest, an extent or a coordinate system."
            ),
        ),
        with_help(
            advanced(words("COVER", tr("Cover"), vocabulary.COVERS, "union")),
            tr("What to cover where no area, extent or template is given: all of the scenes, or what all share."),
        ),
        with_help(
            advanced(QgsProcessingParameterCrs("CRS", tr("Coordinate system of the grid"), optional=True)),
            tr("A projected coordinate system in metres; none: that of most scenes."),
        ),
        with_help(
            advanced(words("RESAMPLING", tr("Resampling"), vocabulary.RESAMPLINGS, "nearest")),
            tr("How reflectance is brought to the grid; the scene classification (SCL) is always taken by nearest."),
        ),
        with_help(
            advanced(words("MISSING_SCL", tr("Scenes without SCL"), vocabulary.MISSING_SCL, "refuse")),
            tr(
                "Scenes without a scene classification: refuse to run, leave_out of the time series, or take every "
                "observed pixel as_clear, clouds too."
            ),
        ),
    ]


def check(values: Values) -> None:
    """Refuse at once what contradicts itself or names no place.

    Raises:
        JobFailed: More than one of AREA, EXTENT and TEMPLATE is given, CRS with TEMPLATE, or one of them is not what
            it should be (JobError).
    """
    given = [name for name in COVERING if values.has(name)]
    if len(given) > 1:
        raise JobFailed(ERROR, f"{' and '.join(given)} would each decide what to cover.", "Give one of them.")
    if values.has("CRS") and values.has("TEMPLATE"):
        raise JobFailed(
            ERROR,
            "CRS and TEMPLATE would both decide the coordinate reference system.",
            "Leave out CRS to take that of the template, or give an EXTENT instead of TEMPLATE.",
        )
    if values.has("AREA"):
        polygons.checked_source(values, "AREA", ERROR)
    extent(values)
    values.raster("TEMPLATE")
    _crs(values)


@contextmanager
def in_a_job(values: Values, feedback: QgsProcessingFeedback) -> Iterator[dict]:
    """The parameters of a job that say what to cover; within the block the file of AREA exists.

    Raises:
        JobFailed: As `check`; AREA holds no polygon, or cannot be written (OutputError).
    """
    check(values)
    with area_file(values, feedback) as area:
        yield {
            "area": area,
            "extent": extent(values),
            "template": values.raster("TEMPLATE"),
            "crs": _crs(values),
            "cover": values.choice("COVER"),
            "resampling": values.choice("RESAMPLING"),
            "missing_scl": values.choice("MISSING_SCL"),
        }


@contextmanager
def area_file(values: Values, feedback: QgsProcessingFeedback) -> Iterator[str | None]:
    """AREA as a GeoPackage in its own CRS, selection and filter heeded, within the block; None where none is given.

    Raises:
        JobFailed: AREA holds no polygon (JobError), or cannot be written (OutputError).
    """
    if not values.has("AREA"):
        yield None
        return
    source = polygons.checked_source(values, "AREA", ERROR)
    with tempfile.TemporaryDirectory(prefix="cropmap-area-") as folder:
        path = os.path.join(folder, "area.gpkg")
        written = polygons.write(source, path, values.context, feedback)
        if written.without_area == len(written.numbers):
            raise polygons.empty(source, "AREA", ERROR)
        yield path


def code_of(crs: QgsCoordinateReferenceSystem) -> str:
    """A CRS as AUTHORITY:CODE, or as WKT where no authority knows it."""
    code = crs.authid()
    return code if code and not code.startswith(_USERS_OWN) else crs.toWkt(Qgis.CrsWktVariant.Preferred)


def extent(values: Values) -> str | None:
    """EXTENT as QGIS writes it, to the last digit."""
    if not values.has("EXTENT"):
        return None
    given = values.parameters["EXTENT"]
    box = values.algorithm.parameterAsExtent(values.parameters, "EXTENT", values.context)
    crs = values.algorithm.parameterAsExtentCrs(values.parameters, "EXTENT", values.context)
    if box.isNull() or box.isEmpty() or not box.isFinite():
        raise JobFailed(ERROR, f"EXTENT is no rectangle: {given}.", "Write it as xmin,xmax,ymin,ymax [EPSG:4326].")
    stated = _STATED_CRS.search(given) if isinstance(given, str) else None
    # QGIS would take the project's CRS for one that it does not know.
    if not crs.isValid() or (stated and not QgsCoordinateReferenceSystem(stated["crs"]).isValid()):
        raise JobFailed(
            ERROR,
            f"EXTENT has no known coordinate reference system: {given}.",
            "Write it as xmin,xmax,ymin,ymax [EPSG:4326].",
        )
    bounds = (box.xMinimum(), box.xMaximum(), box.yMinimum(), box.yMaximum())
    return f"{','.join(map(repr, bounds))} [{code_of(crs)}]"


def _crs(values: Values) -> str | None:
    if not values.has("CRS"):
        return None
    crs = values.algorithm.parameterAsCrs(values.parameters, "CRS", values.context)
    if not crs.isValid():
        raise JobFailed(
            ERROR,
            f"CRS is no known coordinate reference system: {values.parameters['CRS']}.",
            "Write it as EPSG:32631.",
        )
    return code_of(crs)
