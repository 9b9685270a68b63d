"""The rasters of a map: their parameters, and their files in the order in which the project shows them."""

from __future__ import annotations

from qgis.core import QgsProcessingParameterDefinition

from .parameters import raster_output, tr
from .values import Values

_FROM_THE_TOP = ("CLASSES", "CONFIDENCE", "OOD", "MARGIN", "ENTROPY", "PROBABILITIES")


def parameters() -> list[QgsProcessingParameterDefinition]:
    """The rasters of a map; dialogs make classes and confidence unasked."""
    return [
        raster_output("OUTPUT_CLASSES", tr("Crop classes"), tr("One class value per pixel, 0 where unknown.")),
        raster_output("OUTPUT_CONFIDENCE", tr("Confidence"), tr("Percent, 255 where unknown."), optional=True),
        _if_asked(
            "OUTPUT_OOD",
            tr("Unlike training (ood)"),
            tr("1 where a pixel is unlike what the model learnt of its class, 0 where not, 255 where unknown."),
        ),
        _if_asked(
            "OUTPUT_ENTROPY",
            tr("Entropy"),
            tr("How far the probability is spread over the classes: 0 one has it all, 1 each has the same."),
        ),
        _if_asked(
            "OUTPUT_MARGIN",
            tr("Margin"),
            tr("The probability of the most probable class less that of the second, 0 to 1."),
        ),
        probabilities("OUTPUT_PROBABILITIES", tr("Class probabilities")),
    ]


def probabilities(name: str, description: str) -> QgsProcessingParameterDefinition:
    """A raster of all class probabilities, written only where it is asked for."""
    return _if_asked(name, description, tr("A band for each class, named after it, 0 to 1, nodata where unknown."))


def targets(values: Values) -> dict[str, str | None]:
    """The files of a map by their parameters, None for those that are not asked for; each lies above those after it."""
    found: dict[str, str | None] = {}
    offered = {output.name() for output in values.algorithm.destinationParameterDefinitions()}
    for name in (f"OUTPUT_{layer}" for layer in reversed(_FROM_THE_TOP)):
        if name in offered:
            found[name] = values.target(name, [path for path in found.values() if path])
    return {name: found[name] for name in reversed(found)}


def in_a_job(files: dict[str, str | None]) -> dict[str, str | None]:
    """The same as a job's parameters."""
    return {name.lower(): path for name, path in files.items()}


def _if_asked(name: str, description: str, text: str) -> QgsProcessingParameterDefinition:
    return raster_output(name, description, text, optional=True, made_unasked=False)
