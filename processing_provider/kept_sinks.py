"""Vector outputs through QGIS's sinks, in such a way that what was there before stays until the new one is complete."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from qgis.core import Qgis, QgsCoordinateReferenceSystem, QgsFeature, QgsFeatureSink, QgsFields

from .errors import JobFailed
from .kept_files import PartFile, can_be_staged, keep_vector


def write_kept(
    values,
    output: str,
    fill: Callable[[dict, str], str],
    style_is_free: bool = True,
    when_complete: Callable[[], None] = lambda: None,
) -> str:
    """Write a vector output beside its target, or with its target kept aside.

    Args:
        values: The values of the run.
        output: The name of the sink parameter.
        fill: Creates and fills the sink by parameters that it gets; its second argument is the file that is written in
            the end's place, empty where there is none. Returns the destination.
        style_is_free: Whether the QML beside the file is part of it.
        when_complete: Called when the output is complete, right before it takes its place.

    Returns:
        The output's destination, absolute where it is a file.

    Raises:
        JobFailed: It cannot be written (OutputError); what was there before still is.
    """
    target, file = values.chosen_target(output), values.plain_vector_file(output)
    if file and can_be_staged(file):
        with PartFile(file) as part:
            destination = fill(values.written_to(output, part.path, file), part.path)
            when_complete()
            part.put_in_place(style_is_free)
        return destination
    with keep_vector(target, with_style=style_is_free):
        destination = fill(values.written_to(output, file, file), file) if file else fill(values.parameters, "")
        when_complete()
    return destination


def fill_sink(
    values,
    output: str,
    parameters: dict,
    fields: QgsFields,
    kind: Qgis.WkbType,
    crs: QgsCoordinateReferenceSystem,
    features: Iterable[QgsFeature],
) -> str:
    """Create a sink and write all features; the file is closed when this returns.

    Args:
        values: The values of the run.
        output: The name of the sink parameter.
        parameters: With the destination that the sink is created at.
        fields: Of the features.
        kind: Of their geometries.
        crs: Of these.
        features: What to write.

    Returns:
        The destination.

    Raises:
        JobFailed: It cannot be written (OutputError).
    """
    algorithm = values.algorithm
    sink, destination = algorithm.parameterAsSink(parameters, output, values.context, fields, kind, crs)
    if sink is None:
        raise JobFailed(
            "OutputError", algorithm.invalidSinkError(values.parameters, output), "Check its folder and format."
        )
    try:
        for feature in features:
            if not sink.addFeature(feature, QgsFeatureSink.Flag.FastInsert):
                raise _cannot_write(values, output, sink)
        if not sink.flushBuffer():
            raise _cannot_write(values, output, sink)
    finally:
        sink = None  # closes the file, also where a traceback holds on to this frame
    return destination


def _cannot_write(values, output: str, sink: QgsFeatureSink) -> JobFailed:
    target = values.chosen_target(output) or output
    return JobFailed(
        "OutputError",
        f"A parcel cannot be written to {target}: {sink.lastError()}.",
        "Check its disk and its format.",
    )
