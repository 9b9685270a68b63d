"""Parcels on their way to the worker and back: any vector source in, any sink out, every feature and attribute kept.

The worker sees polygons and running numbers only (a temporary GeoPackage) and answers with a table of records
(CSV). The output is made of the source's own features, in their order, once that table is complete.
"""

from __future__ import annotations

import csv
import os
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from types import TracebackType

from qgis.core import (
    QgsFeature,
    QgsFeatureRequest,
    QgsFeatureSink,
    QgsField,
    QgsFields,
    QgsProcessingUtils,
    QgsVectorLayer,
)
from qgis.PyQt.QtCore import QMetaType

from . import polygons, styling
from .errors import JobCancelled, JobFailed
from .kept_files import PartFile, can_be_staged, keep_vector, probe_folder_of, style_file

RECORD_FIELDS = {
    "pred_code": (QMetaType.Type.Int, int),
    "pred_crop": (QMetaType.Type.QString, str),
    "pred_prob": (QMetaType.Type.Double, float),
    "n_pixels": (QMetaType.Type.Double, float),
    "ood": (QMetaType.Type.Double, float),
}
ERROR = "ParcelError"


def check_parcels(values) -> None:
    """Refuse at once what can be seen without reading the parcels.

    Raises:
        JobFailed: PARCELS cannot be read, is empty, not of polygons, or without a CRS (ParcelError).
    """
    polygons.checked_source(values, "PARCELS", ERROR)


@contextmanager
def declared_parcels(values, fields: Mapping[str, str], feedback) -> Iterator[str]:
    """PARCELS and what is declared to grow on them, for the worker: a GeoPackage that exists within the block.

    Args:
        values: The values of the run.
        fields: Fields to copy, as name in the file: name in the source.
        feedback: QgsProcessingFeedback that hears of what is wrong and may cancel.

    Raises:
        JobFailed: See `check_parcels` and `polygons.write`.
    """
    source = polygons.checked_source(values, "PARCELS", ERROR)
    with tempfile.TemporaryDirectory(prefix="cropmap-parcels-") as folder:
        path = os.path.join(folder, "parcels.gpkg")
        written = polygons.write(source, path, values.context, feedback, fields, with_empty=True)
        _tell(written, source, feedback, "They were repaired.", "labels")
        yield path


@contextmanager
def numbered_parcels(values, feedback) -> Iterator[str]:
    """PARCELS with all their attributes, for the worker, numbered in `parcel`.

    Raises:
        JobFailed: See `check_parcels` and `polygons.write`.
    """
    names = values.algorithm.parameterAsSource(values.parameters, "PARCELS", values.context).fields().names()
    kept = {name: name for name in names if name.lower() not in (polygons.NUMBER, "fid")}
    with declared_parcels(values, kept, feedback) as path:
        yield path


def _tell(written: polygons.Written, source, feedback, repaired: str, what: str) -> None:
    """Say what is wrong with the geometries, and what comes of it.

    Raises:
        JobFailed: No feature has an area (ParcelError).
    """
    if written.without_area == len(written.numbers):
        raise polygons.empty(source, "PARCELS", ERROR)
    if written.repaired:
        feedback.pushWarning(f"Parcels with an invalid geometry: {written.repaired}. {repaired}")
    if written.without_area:
        feedback.pushWarning(f"Parcels without an area: {written.without_area}. They get no {what}.")


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
        self._values = values
        self._output = output
        self._feedback = feedback
        self._source = polygons.checked_source(values, "PARCELS", ERROR)
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
        written = polygons.write(self._source, self.parcels, self._values.context, self._feedback)
        self._numbers = written.numbers
        _tell(written, self._source, self._feedback, "A repaired copy was used to look at their pixels.", "crop")

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
        for count, feature in enumerate(self._source.getFeatures(QgsFeatureRequest(), polygons.UNCHECKED), start=1):
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
        target = self._values.chosen_target(self._output) or self._output
        return JobFailed(
            "OutputError",
            f"A parcel cannot be written to {target}: {sink.lastError()}.",
            "Check its disk and its format.",
        )

    def _stop_if_cancelled(self) -> None:
        if self._feedback.isCanceled():
            raise JobCancelled


def read_records(path: str) -> dict[int, list]:
    """Read the worker's table.

    Returns:
        For each parcel's number the values of `RECORD_FIELDS`, None where the worker left a cell empty.
    """
    with open(path, newline="", encoding="utf-8") as file:
        return {
            int(row[polygons.NUMBER]): [
                kind(row[name]) if row[name] else None for name, (_, kind) in RECORD_FIELDS.items()
            ]
            for row in csv.DictReader(file)
        }


def _record_fields() -> QgsFields:
    fields = QgsFields()
    for name, (kind, _) in RECORD_FIELDS.items():
        fields.append(QgsField(name, kind))
    return fields
