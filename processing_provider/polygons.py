"""Polygons on their way to the worker: any vector source in, a GeoPackage in the source's own CRS out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from qgis.core import (
    Qgis,
    QgsFeature,
    QgsFeatureRequest,
    QgsFeatureSink,
    QgsField,
    QgsFields,
    QgsGeometry,
    QgsProcessingContext,
    QgsProcessingFeatureSource,
    QgsVectorFileWriter,
    QgsWkbTypes,
)
from qgis.PyQt.QtCore import QMetaType

from .errors import JobCancelled, JobFailed

NUMBER = "parcel"
NO_FIELDS: Mapping[str, str] = {}
UNCHECKED = Qgis.ProcessingFeatureSourceFlag.SkipGeometryValidityChecks


@dataclass(frozen=True)
class Written:
    """What became of the features of a source."""

    numbers: dict[int, int]
    """The running number of each feature, by its id."""
    repaired: int
    """How many had an invalid geometry."""
    without_area: int
    """How many had none that could be written."""


def checked_source(values, name: str, code: str) -> QgsProcessingFeatureSource:
    """The source given for a parameter.

    Args:
        values: The values of the run.
        name: The parameter.
        code: The code of its errors.

    Raises:
        JobFailed: It cannot be read, is empty, not of polygons, or without a CRS.
    """
    source = values.algorithm.parameterAsSource(values.parameters, name, values.context)
    if source is None:
        raise JobFailed(
            code, f"{name} cannot be read: {values.parameters.get(name)}.", "Give a polygon layer or its file."
        )
    kind = QgsWkbTypes.geometryType(source.wkbType())
    if kind not in (Qgis.GeometryType.Polygon, Qgis.GeometryType.Unknown):
        shown = QgsWkbTypes.geometryDisplayString(kind).lower()
        raise JobFailed(code, f"{name} ({source.sourceName()}) is of type {shown}.", "Give a layer of polygons.")
    if not source.sourceCrs().isValid():
        raise JobFailed(
            code,
            f"{name} ({source.sourceName()}) has no coordinate reference system.",
            "Set the layer's CRS, so that it can be placed on the scenes.",
        )
    if source.featureCount() == 0:
        raise empty(source, name, code)
    return source


def empty(source: QgsProcessingFeatureSource, name: str, code: str) -> JobFailed:
    """The error of a source without polygons."""
    return JobFailed(
        code,
        f"{name} ({source.sourceName()}) holds no polygon.",
        "Give a layer with at least one; where only selected features are used, select some.",
    )


def write(
    source: QgsProcessingFeatureSource,
    path: str,
    context: QgsProcessingContext,
    feedback,
    copied: Mapping[str, str] = NO_FIELDS,
    with_empty: bool = False,
) -> Written:
    """Write the area of every feature that has one, with its running number.

    Args:
        source: Features with any geometry.
        path: GeoPackage to write: multipolygons in the source's CRS with the integer field `parcel`.
        context: The run's context.
        feedback: QgsFeedback that may cancel.
        copied: Fields to write too, as name in the file: name in the source.
        with_empty: Whether features without an area are written too, without a geometry.

    Raises:
        JobCancelled: The user cancelled.
        JobFailed: The file cannot be written (OutputError), or the layer has no such field (JobError).
    """
    fields = QgsFields()
    fields.append(QgsField(NUMBER, QMetaType.Type.Int))
    for name, original in copied.items():
        place = source.fields().indexOf(original)
        if place < 0:
            raise JobFailed(
                "JobError",
                f"The layer has no field '{original}'.",
                f"Choose one of its fields: {', '.join(source.fields().names()) or 'it has none'}.",
            )
        field = QgsField(source.fields().at(place))
        field.setName(name)
        fields.append(field)
    options = QgsVectorFileWriter.SaveVectorOptions()
    options.driverName = "GPKG"
    options.layerName = "polygons"
    writer = QgsVectorFileWriter.create(
        path, fields, Qgis.WkbType.MultiPolygon, source.sourceCrs(), context.transformContext(), options
    )
    if writer.hasError():
        raise _cannot_write(path, writer)
    numbers: dict[int, int] = {}
    repaired = without_area = 0
    request = QgsFeatureRequest() if copied else QgsFeatureRequest().setNoAttributes()
    for number, feature in enumerate(source.getFeatures(request, UNCHECKED), start=1):
        if feedback.isCanceled():
            raise JobCancelled
        numbers[feature.id()] = number
        geometry, was_repaired = polygons_of(feature.geometry())
        repaired += was_repaired
        without_area += geometry.isEmpty()
        if geometry.isEmpty() and not with_empty:
            continue
        polygon = QgsFeature(fields)
        if not geometry.isEmpty():
            polygon.setGeometry(geometry)
        polygon.setAttributes([number, *(feature[original] for original in copied.values())])
        if not writer.addFeature(polygon, QgsFeatureSink.Flag.FastInsert):
            raise _cannot_write(path, writer)
    del writer  # closes the file
    return Written(numbers, repaired, without_area)


def polygons_of(geometry: QgsGeometry) -> tuple[QgsGeometry, bool]:
    """The area of a feature as the worker takes it: flat, straight-edged, valid.

    Args:
        geometry: Polygon, multipolygon, curved or with Z and M, or a collection that holds some; may be null.

    Returns:
        A multipolygon (null where there is no area), and whether it had to be repaired.
    """
    if geometry.isNull():
        return QgsGeometry(), False
    repaired = False
    if not geometry.isGeosValid():
        geometry, repaired = geometry.makeValid(), True
    parts = [part for part in geometry.asGeometryCollection() if part.type() == Qgis.GeometryType.Polygon]
    flat = [polygon for part in parts for polygon in part.coerceToType(Qgis.WkbType.Polygon)]
    if not flat:
        return QgsGeometry(), repaired
    return QgsGeometry.collectGeometry(flat), repaired


def _cannot_write(path: str, writer: QgsVectorFileWriter) -> JobFailed:
    return JobFailed(
        "OutputError", f"Polygons cannot be written to {path}: {writer.errorMessage()}.", "Check the disk."
    )
