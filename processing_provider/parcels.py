"""Parcels on their way to the worker and back: any vector source in, any sink out, every feature and attribute kept.

The worker sees polygons and running numbers only (a temporary GeoPackage) and answers with a table of records
(CSV). The output is made of the source's own features, in their order, once that table is complete.
"""

from __future__ import annotations

import csv
import os
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from types import TracebackType

from qgis.core import (
    Qgis,
    QgsFeature,
    QgsFeatureRequest,
    QgsFeatureSink,
    QgsField,
    QgsFields,
    QgsGeometry,
    QgsProcessingUtils,
    QgsVectorFileWriter,
    QgsVectorLayer,
    QgsWkbTypes,
)
from qgis.PyQt.QtCore import QMetaType

from . import styling
from .errors import JobCancelled, JobFailed
from .kept_files import PartFile, can_be_staged, keep_vector, probe_folder_of, style_file

RECORD_FIELDS = {
    "pred_code": (QMetaType.Type.Int, int),
    "pred_crop": (QMetaType.Type.QString, str),
    "pred_prob": (QMetaType.Type.Double, float),
    "n_pixels": (QMetaType.Type.Double, float),
}
NUMBER = "parcel"
_UNCHECKED = Qgis.ProcessingFeatureSourceFlag.SkipGeometryValidityChecks


def check_parcels(values) -> None:
    """Refuse at once what can be seen without reading the parcels.

    Raises:
        JobFailed: PARCELS cannot be read, is empty, not of polygons, or without a CRS (ParcelError).
    """
    source = _source(values)
    if QgsWkbTypes.geometryType(source.wkbType()) not in (Qgis.GeometryType.Polygon, Qgis.GeometryType.Unknown):
        kind = QgsWkbTypes.geometryDisplayString(QgsWkbTypes.geometryType(source.wkbType())).lower()
        raise JobFailed(
            "ParcelError", f"PARCELS ({source.sourceName()}) is of type {kind}.", "Give a layer of polygons."
        )
    if not source.sourceCrs().isValid():
        raise JobFailed(
            "ParcelError",
            f"PARCELS ({source.sourceName()}) has no coordinate reference system.",
            "Set the layer's CRS, so that the parcels can be placed on the scenes.",
        )
    if source.featureCount() == 0:
        raise _empty(source)


def _source(values):
    source = values.algorithm.parameterAsSource(values.parameters, "PARCELS", values.context)
    if source is None:
        raise JobFailed(
            "ParcelError",
            f"PARCELS cannot be read: {values.parameters.get('PARCELS')}.",
            "Give a polygon layer or its file.",
        )
    return source


def _empty(source) -> JobFailed:
    return JobFailed(
        "ParcelError",
        f"PARCELS ({source.sourceName()}) holds no parcel.",
        "Give a layer with at least one polygon; where only selected features are used, select some.",
    )


class ParcelExchange:
    """The parcels of one run; within the block their temporary files exist.

    Args:
        values: The values of the run.
        output: The name of the sink parameter; its folder is made when the block is entered.
        feedback: QgsProcessingFeedback that hears of progress and may cancel.

    Attributes:
        parcels: GeoPackage for the worker: polygons in the source's CRS with the integer field `parcel`.
        records: CSV that the worker is to write.
    """

    def __init__(self, values, output: str, feedback) -> None:
        check_parcels(values)
        self._values = values
        self._output = output
        self._feedback = feedback
        self._source = _source(values)
        self._numbers: dict[int, int] = {}
        self._folder = tempfile.TemporaryDirectory(prefix="cropmap-parcels-")
        self.parcels = os.path.join(self._folder.name, "parcels.gpkg")
        self.records = os.path.join(self._folder.name, "records.csv")

    def __enter__(self) -> ParcelExchange:
        try:
            target = self._values.chosen_target(self._output)
            if target:
                probe_folder_of(target.partition("|layername=")[0])
            self._export()
        except BaseException:
            self._folder.cleanup()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._folder.cleanup()

    def _export(self) -> None:
        """Write the polygons for the worker; a geometry that is invalid is repaired there, and there only."""
        self._numbers, repaired, without = write_polygons(self._source, self.parcels, {}, self._values, self._feedback)
        tell_of_geometries(
            self._feedback, repaired, "A repaired copy was used to look at their pixels.", without, "They get no crop."
        )

    def write(
        self, classes: list[dict], beneath: Iterable[str] = (), when_complete: Callable[[], None] = lambda: None
    ) -> str:
        """Write all features of the source with their records, styled.

        Args:
            classes: The legend: ``value``, ``name`` and ``color`` of each class.
            beneath: The files of the outputs that are to lie beneath the parcels in the project.
            when_complete: Called when the parcels are complete, right before they take their place.

        Returns:
            The output's destination, absolute where it is a file.

        Raises:
            JobFailed: It cannot be written (OutputError); what was there before still is.
        """
        records = read_records(self.records)
        values, target = self._values, self._values.chosen_target(self._output)
        style_is_free = target is None or style_file(target) not in values.raster_styles()
        file = values.plain_vector_file(self._output)

        def fill_and_style(parameters: dict, written: str = "") -> str:
            destination = self._fill_sink(parameters, records)
            if file:
                values.load_when_done(self._output, file)
            styling.style_parcels(
                file or destination, written or destination, values.context, classes,
                self._crop_field(written or destination), beneath, style_is_free,
            )  # fmt: skip
            return file or destination

        if file and can_be_staged(file):
            with PartFile(file) as part:
                destination = fill_and_style(values.written_to(self._output, part.path, file), part.path)
                when_complete()
                part.put_in_place(style_is_free)
        else:
            with keep_vector(target, with_style=style_is_free):
                if file:
                    destination = fill_and_style(values.written_to(self._output, file, file), file)
                else:
                    destination = fill_and_style(values.parameters)
                when_complete()
        return destination

    def _fields(self) -> QgsFields:
        return QgsProcessingUtils.combineFields(self._source.fields(), _record_fields())

    def _crop_field(self, written: str) -> str:
        """The name that `pred_crop` has in a file: formats may shorten it. The records are the last fields in all."""
        at = list(RECORD_FIELDS).index("pred_crop") - len(RECORD_FIELDS)
        expected = self._fields().names()[at]
        names = QgsVectorLayer(written, "written", "ogr").fields().names()
        return expected if expected in names or len(names) < len(RECORD_FIELDS) else names[at]

    def _fill_sink(self, parameters: dict, records: dict[int, list]) -> str:
        """Write all features; the file is closed when this returns."""
        algorithm, fields = self._values.algorithm, self._fields()
        sink, destination = algorithm.parameterAsSink(
            parameters, self._output, self._values.context, fields, self._source.wkbType(), self._source.sourceCrs()
        )
        if sink is None:
            raise JobFailed(
                "OutputError",
                algorithm.invalidSinkError(self._values.parameters, self._output),
                "Check its folder and format.",
            )
        try:
            self._add_features(sink, fields, records)
        finally:
            sink = None  # closes the file, also where a traceback holds on to this frame
        return destination

    def _add_features(self, sink: QgsFeatureSink, fields: QgsFields, records: dict[int, list]) -> None:
        unknown = [None] * len(RECORD_FIELDS)
        first_percent = self._feedback.progress()
        for count, feature in enumerate(self._source.getFeatures(_request(), _UNCHECKED), start=1):
            self._stop_if_cancelled()
            self._feedback.setProgress(first_percent + (100 - first_percent) * count / len(self._numbers))
            record = records.get(self._numbers.get(feature.id(), 0), unknown)
            result = QgsFeature(fields)
            result.setGeometry(feature.geometry())
            result.setAttributes(feature.attributes() + record)
            if not sink.addFeature(result, QgsFeatureSink.Flag.FastInsert):
                raise self._cannot_write_output(sink)
        if not sink.flushBuffer():
            raise self._cannot_write_output(sink)

    def _cannot_write_output(self, sink: QgsFeatureSink) -> JobFailed:
        return _cannot_write(self._values.chosen_target(self._output) or self._output, sink)

    def _stop_if_cancelled(self) -> None:
        if self._feedback.isCanceled():
            raise JobCancelled


def write_polygons(
    source, path: str, copied: dict[str, str], values, feedback, with_empty: bool = False
) -> tuple[dict[int, int], int, int]:
    """Write the polygons of a source for the worker, numbered; an invalid geometry is repaired there, and there only.

    Args:
        source: QgsProcessingFeatureSource.
        path: GeoPackage to write.
        copied: Fields to write too, as name in the file: name in the source.
        values: The values of the run.
        feedback: QgsProcessingFeedback that may cancel.
        with_empty: Whether features without an area are written too, without a geometry.

    Returns:
        Number in the file by feature id, from 1; how many geometries were repaired; how many have no area.

    Raises:
        JobFailed: The file cannot be written (OutputError), or no feature has an area (ParcelError).
    """
    fields = QgsFields()
    fields.append(QgsField(NUMBER, QMetaType.Type.Int))
    for name, original in copied.items():
        field = QgsField(source.fields().field(original))
        field.setName(name)
        fields.append(field)
    options = QgsVectorFileWriter.SaveVectorOptions()
    options.driverName = "GPKG"
    options.layerName = "parcels"
    writer = QgsVectorFileWriter.create(
        path, fields, Qgis.WkbType.MultiPolygon, source.sourceCrs(), values.context.transformContext(), options
    )
    if writer.hasError():
        raise _cannot_write(path, writer)
    numbers, repaired, without = {}, 0, 0
    for number, feature in enumerate(source.getFeatures(_request(geometry_only=not copied), _UNCHECKED), start=1):
        if feedback.isCanceled():
            raise JobCancelled
        numbers[feature.id()] = number
        geometry, was_repaired = polygons_of(feature.geometry())
        repaired += was_repaired
        without += geometry.isEmpty()
        if geometry.isEmpty() and not with_empty:
            continue
        parcel = QgsFeature(fields)
        if not geometry.isEmpty():
            parcel.setGeometry(geometry)
        parcel.setAttributes([number, *(feature[original] for original in copied.values())])
        if not writer.addFeature(parcel, QgsFeatureSink.Flag.FastInsert):
            raise _cannot_write(path, writer)
    del writer  # closes the file
    if not numbers or without == len(numbers):
        raise _empty(source)
    return numbers, repaired, without


def tell_of_geometries(feedback, repaired: int, then: str, without: int, so: str) -> None:
    """Say how many geometries were repaired or missing, and what came of it."""
    if repaired:
        feedback.pushWarning(f"Parcels with an invalid geometry: {repaired}. {then}")
    if without:
        feedback.pushWarning(f"Parcels without an area: {without}. {so}")


@contextmanager
def declared_parcels(values, fields: dict[str, str], feedback) -> Iterator[str]:
    """PARCELS and what is declared to grow on them, for the worker: a GeoPackage that exists within the block.

    Args:
        values: The values of the run.
        fields: Fields to copy, as name in the file: name in the source.
        feedback: QgsProcessingFeedback that hears of what is wrong and may cancel.

    Raises:
        JobFailed: See `check_parcels` and `write_polygons`.
    """
    check_parcels(values)
    with tempfile.TemporaryDirectory(prefix="cropmap-parcels-") as folder:
        path = os.path.join(folder, "parcels.gpkg")
        _, repaired, without = write_polygons(_source(values), path, fields, values, feedback, with_empty=True)
        tell_of_geometries(feedback, repaired, "They were repaired.", without, "They get no labels.")
        yield path


def polygons_of(geometry: QgsGeometry) -> tuple[QgsGeometry, bool]:
    """The area of a parcel as the worker takes it: flat, straight-edged, valid.

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


def read_records(path: str) -> dict[int, list]:
    """Read the worker's table.

    Returns:
        For each parcel's number the values of `RECORD_FIELDS`, None where the worker left a cell empty.
    """
    with open(path, newline="", encoding="utf-8") as file:
        return {
            int(row[NUMBER]): [kind(row[name]) if row[name] else None for name, (_, kind) in RECORD_FIELDS.items()]
            for row in csv.DictReader(file)
        }


def _record_fields() -> QgsFields:
    fields = QgsFields()
    for name, (kind, _) in RECORD_FIELDS.items():
        fields.append(QgsField(name, kind))
    return fields


def _request(geometry_only: bool = False) -> QgsFeatureRequest:
    request = QgsFeatureRequest()
    if geometry_only:
        request.setNoAttributes()
    return request


def _cannot_write(path: str, sink: QgsFeatureSink) -> JobFailed:
    return JobFailed(
        "OutputError", f"A parcel cannot be written to {path}: {sink.lastError()}.", "Check its disk and its format."
    )
