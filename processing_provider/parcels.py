"""Parcels on their way to the worker and back: any vector source in, any sink out, every feature and attribute kept.

The worker sees polygons and running numbers only (a temporary GeoPackage) and answers with a table of records
(CSV). The output is made of the source's own features, in their order, once that table is complete.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from types import TracebackType

from qgis.core import Qgis, QgsCoordinateReferenceSystem, QgsFeature, QgsFeatureRequest, QgsVectorLayer

from . import polygons, styling
from .errors import JobCancelled
from .kept_files import probe_folder_of, style_file
from .kept_sinks import fill_sink, write_kept
from .parcel_records import RecordFields, RecordTable, plain_fields, rows_of_table
from .styling import ParcelStyle

ERROR = "ParcelError"
DECLARED = "declared"
"""The field that the worker finds the declared crop in."""
_NUMBER = {"name": polygons.NUMBER, "kind": "integer", "short": polygons.NUMBER}
_PROFILE = [_NUMBER, {"name": "date", "kind": "date"}, {"name": "n_pixels", "kind": "number"}]


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
        declared: The field of the source that holds the declared crop; empty for none.

    Attributes:
        parcels: GeoPackage for the worker: polygons in the source's CRS with the integer field `parcel`.
        records: CSV that the worker is to write.
        profiles: CSV that it may write.
    """

    def __init__(self, values, output: str, feedback, declared: str = "") -> None:
        self._values = values
        self._output = output
        self._feedback = feedback
        self._declared = {DECLARED: declared} if declared else {}
        self._source = polygons.checked_source(values, "PARCELS", ERROR)
        self._numbers: dict[int, int] = {}
        self._folder = tempfile.TemporaryDirectory(prefix="cropmap-parcels-")
        self.parcels = os.path.join(self._folder.name, "parcels.gpkg")
        self.records = os.path.join(self._folder.name, "records.csv")
        self.profiles = os.path.join(self._folder.name, "profiles.csv")

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
        written = polygons.write(
            self._source, self.parcels, self._values.context, self._feedback, self._declared, with_empty=True
        )
        self._numbers = written.numbers
        _tell(written, self._source, self._feedback, "A repaired copy was used to look at their pixels.", "crop")

    def write(self, result: dict, beneath: Iterable[str] = (), when_complete: Callable[[], None] = lambda: None) -> str:
        """Write all features of the source with their records, styled.

        Args:
            result: The worker's: ``classes`` (``value``, ``name`` and ``color`` of each) and ``fields`` of the records.
            beneath: The files of the outputs that are to lie beneath the parcels in the project.
            when_complete: Called when the parcels are complete, right before they take their place.

        Returns:
            The output's destination, absolute where it is a file.

        Raises:
            JobFailed: It cannot be written (OutputError); what was there before still is.
        """
        values, target = self._values, self._values.chosen_target(self._output)
        style_is_free = target is None or style_file(target) not in values.raster_styles()
        file = values.plain_vector_file(self._output)
        described = [*([_NUMBER] if os.path.exists(self.profiles) else []), *result["fields"]]
        fields = RecordFields(described, self._source.fields(), file or target)

        def fill_and_style(parameters: dict, written: str) -> str:
            with RecordTable(self.records, described) as records:
                destination = fill_sink(
                    values, self._output, parameters, fields.layer, self._source.wkbType(), self._source.sourceCrs(),
                    self._features(fields, records),
                )  # fmt: skip
            if file:
                values.load_when_done(self._output, file)
            style = ParcelStyle(result["classes"], self._names_in(written or destination, fields))
            styling.style_parcels(
                file or destination, written or destination, values.context, style, beneath, style_is_free
            )
            return file or destination

        return write_kept(values, self._output, fill_and_style, style_is_free, when_complete)

    def write_profiles(self, output: str, when_complete: Callable[[], None]) -> str:
        """Write the table of profiles, a row per parcel and date.

        Args:
            output: The name of its sink parameter.
            when_complete: Called when it is complete, right before it takes its place.

        Raises:
            JobFailed: It cannot be written (OutputError).
        """
        with open(self.profiles, encoding="utf-8") as file:
            indices = file.readline().strip().split(",")[len(_PROFILE) :]
        described = [*_PROFILE, *({"name": name, "kind": "number"} for name in indices)]
        fields = plain_fields(described)

        def features() -> Iterator[QgsFeature]:
            for row in rows_of_table(self.profiles, described):
                self._stop_if_cancelled()
                feature = QgsFeature(fields)
                feature.setAttributes(row)
                yield feature

        def fill(parameters: dict, written: str) -> str:
            kind, crs = Qgis.WkbType.NoGeometry, QgsCoordinateReferenceSystem()
            destination = fill_sink(self._values, output, parameters, fields, kind, crs, features())
            file = self._values.plain_vector_file(output)
            if file:
                self._values.load_when_done(output, file)
            return file or destination

        return write_kept(self._values, output, fill, when_complete=when_complete)

    def _names_in(self, written: str, fields: RecordFields) -> dict[str, str]:
        """The names that the record's fields have in a file, where they are last: formats may shorten them."""
        names = QgsVectorLayer(written, "written", "ogr").fields().names()
        expected, ours = list(fields.names.values()), list(fields.names)
        if set(expected) <= set(names) or len(names) < len(ours):
            return fields.names
        return dict(zip(ours, names[-len(ours) :]))

    def _features(self, fields: RecordFields, records: RecordTable) -> Iterator[QgsFeature]:
        first_percent = self._feedback.progress()
        for count, feature in enumerate(self._source.getFeatures(QgsFeatureRequest(), polygons.UNCHECKED), start=1):
            self._stop_if_cancelled()
            self._feedback.setProgress(first_percent + (100 - first_percent) * count / len(self._numbers))
            record = records.record(self._numbers.get(feature.id(), 0))
            result = QgsFeature(fields.layer)
            result.setGeometry(feature.geometry())
            result.setAttributes(feature.attributes() + (fields.unknown() if record is None else record))
            yield result

    def _stop_if_cancelled(self) -> None:
        if self._feedback.isCanceled():
            raise JobCancelled
