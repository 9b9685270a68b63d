"""Parameter values as a job wants them: absolute paths, ISO dates, plain words."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable

from qgis.core import (
    NULL,
    Qgis,
    QgsDataSourceUri,
    QgsProcessing,
    QgsProcessingContext,
    QgsProcessingFeatureSourceDefinition,
    QgsProcessingOutputLayerDefinition,
    QgsProcessingParameterFeatureSource,
    QgsProcessingParameterFileDestination,
    QgsProcessingParameterMapLayer,
    QgsProcessingParameterMultipleLayers,
    QgsProcessingParameterRasterDestination,
    QgsProcessingParameterRasterLayer,
    QgsProcessingParameterVectorDestination,
    QgsProcessingUtils,
    QgsProviderRegistry,
    QgsVectorFileWriter,
)

from . import model_cards
from .errors import JobFailed
from .kept_files import style_file
from .layer_files import as_files
from .styling import style_raster

_PROVIDER = re.compile("[a-z]{2,}:")  # as in memory: or postgres:; a drive has one letter


class Values:
    """The values of one run of an algorithm.

    Args:
        algorithm: The algorithm, with its parameter definitions.
        parameters: What QGIS hands to it.
        context: The run's context.
    """

    def __init__(self, algorithm, parameters: dict, context: QgsProcessingContext) -> None:
        self.algorithm = algorithm
        self.parameters = parameters
        self.context = context

    def has(self, name: str) -> bool:
        """Tell whether a value was given, or an output asked for."""
        value = self._plain(name)
        return value != NULL and value != "" and value != []  # NULL equals None, and is what an empty date gives

    def _plain(self, name: str):
        """A value without the definition that it may be wrapped in."""
        value = self.parameters.get(name)
        if isinstance(value, QgsProcessingOutputLayerDefinition):
            return value.sink.valueAsString(self.context.expressionContext())[0]
        if isinstance(value, QgsProcessingFeatureSourceDefinition):
            return value.source.valueAsString(self.context.expressionContext())[0]
        return value

    def text(self, name: str) -> str:
        """A string, empty where none was given."""
        return self.algorithm.parameterAsString(self.parameters, name, self.context).strip()

    def flag(self, name: str) -> bool:
        return self.algorithm.parameterAsBoolean(self.parameters, name, self.context)

    def number(self, name: str) -> int:
        return self.algorithm.parameterAsInt(self.parameters, name, self.context)

    def decimal(self, name: str) -> float:
        return self.algorithm.parameterAsDouble(self.parameters, name, self.context)

    def optional_number(self, name: str) -> int | None:
        return self.number(name) if self.has(name) else None

    def choice(self, name: str) -> str:
        """The one chosen word of an enum."""
        return self.algorithm.parameterAsEnumString(self.parameters, name, self.context)

    def choices(self, name: str) -> list[str]:
        """The chosen words of an enum."""
        if self.parameters.get(name) == []:
            return []  # QGIS would take the default
        words = self.algorithm.parameterAsEnumStrings(self.parameters, name, self.context)
        return [word for word in words if word]  # an optional one that is left empty gives one empty word

    def path(self, name: str) -> str:
        """A file or folder as an absolute path, empty where none was given."""
        path = self.text(name)
        return os.path.abspath(os.path.expanduser(path)) if path else ""

    def files(self, name: str) -> list[str]:
        """Files and folders, or the files of layers, as absolute paths; whether they exist is not looked up.

        Raises:
            JobFailed: A layer is not a file (JobError).
        """
        files = {name: as_files(name, self.parameters.get(name), self.context.project())}
        given = [path for path in self.algorithm.parameterAsFileList(files, name, self.context) if path]
        return [os.path.abspath(os.path.expanduser(path)) for path in given]

    def word_or_path(self, name: str, words: list[str]) -> str | None:
        """One of some words, or a file as an absolute path; None where nothing was given."""
        text = self.text(name)
        return text if text in words else self.path(name) or None

    def paths(self, name: str) -> list[str]:
        """Files and folders, or the files of layers, as absolute paths.

        Raises:
            JobFailed: There is none, or one does not exist (JobError).
        """
        paths = self.files(name)
        for path in paths:
            if not os.path.exists(path):
                several = f" To give several, repeat --{name}= for each." if "," in path or ";" in path else ""
                raise JobFailed(
                    "JobError", f"{name}: there is no file or folder {path}.", f"Check its spelling.{several}"
                )
        if not paths:
            raise JobFailed("JobError", f"{name} is empty.", "Give at least one folder or file.")
        return paths

    def date(self, name: str) -> str | None:
        """A date as an ISO string, None where none was given.

        Raises:
            JobFailed: What was given is no date (JobError).
        """
        if not self.has(name):
            return None
        date = self.algorithm.parameterAsDateTime(self.parameters, name, self.context).date()
        if not date.isValid():
            raise JobFailed("JobError", f'{name} is not a date: "{self.parameters[name]}".', "Write it as 2018-05-31.")
        return date.toString("yyyy-MM-dd")

    def dates(self) -> dict[str, str | None]:
        """START_DATE and END_DATE as a job's parameters.

        Raises:
            JobFailed: One is no date, or the season ends before it starts (JobError).
        """
        start, end = self.date("START_DATE"), self.date("END_DATE")
        if start and end and start > end:
            raise JobFailed(
                "JobError", f"START_DATE {start} is after END_DATE {end}.", "Swap them: both days are included."
            )
        return {"start_date": start, "end_date": end}

    def model_use(self) -> dict:
        """How a model is applied, as a job's parameters."""
        return {
            "sure_from": self.decimal("SURE_FROM"),
            "temperatures": self.path("TEMPERATURES") or None,
            "device": self.choice("DEVICE"),
        }

    def decimals(self, name: str) -> list[float]:
        """Numbers between commas.

        Raises:
            JobFailed: One is no number (JobError).
        """
        try:
            return [float(text) for text in self.texts(name)]
        except ValueError:
            raise JobFailed(
                "JobError", f"{name} is {self.text(name)}.", "Write numbers with a point, and commas between: 0.3,0.7."
            ) from None

    def scene_selection(self) -> dict:
        """The dates, MONTHS and OFFSET as a job's parameters: all about scenes that can be told without their pixels.

        Raises:
            JobFailed: The dates are none (JobError).
        """
        months = [int(month) for month in self.choices("MONTHS")]
        return {**self.dates(), "months": months, "offset": self.choice("OFFSET")}

    def raster(self, name: str) -> str | None:
        """The file of a raster layer, None where none was given.

        Raises:
            JobFailed: The layer does not exist or is not a file (JobError).
        """
        if not self.has(name):
            return None
        layer = self.algorithm.parameterAsRasterLayer(self.parameters, name, self.context)
        if layer is None:
            raise JobFailed(
                "JobError",
                f"{name} is not a raster that QGIS can open: {self.parameters[name]}.",
                "Give a raster file or layer.",
            )
        path = QgsProviderRegistry.instance().decodeUri(layer.providerType(), layer.source()).get("path", "")
        if layer.providerType() != "gdal" or not os.path.exists(path):
            raise JobFailed(
                "JobError",
                f"{name} ({layer.name()}) is not a raster file.",
                "Save the layer as a GeoTIFF and give that.",
            )
        return os.path.abspath(path)

    def model(self, name: str = "MODEL", fold_models: bool = False) -> str:
        """A model as a job's parameter; a folder of fold models where they will do.

        Raises:
            JobFailed: It is unknown (ModelBundleError).
        """
        return model_cards.resolve(self.text(name), fold_models)

    def texts(self, name: str) -> list[str]:
        """Texts separated by commas, semicolons or line breaks."""
        return [part.strip() for part in re.split(r"[,;\n]", self.text(name)) if part.strip()]

    def target(self, name: str, beneath: Iterable[str] = ()) -> str | None:
        """The file of a raster output, None where it is skipped.

        Args:
            name: The output, which is styled when the project loads it.
            beneath: The files of other outputs that are to lie beneath it in the project.
        """
        destination = self.algorithm.parameterAsOutputLayer(self.parameters, name, self.context)
        if not destination:
            return None
        style_raster(destination, self.context, beneath)
        return os.path.abspath(destination)

    def file_target(self, name: str) -> str | None:
        """The file of an output that is no raster, None where it is skipped."""
        if not self.has(name):
            return None
        if isinstance(self.algorithm.parameterDefinition(name), QgsProcessingParameterVectorDestination):
            return os.path.abspath(self.algorithm.parameterAsOutputLayer(self.parameters, name, self.context))
        return os.path.abspath(self.algorithm.parameterAsFileOutput(self.parameters, name, self.context))

    def numbers(self, name: str) -> list[int]:
        """Whole numbers written like `0,1`.

        Raises:
            JobFailed: They are not of that form (JobError).
        """
        parts = [part.strip() for part in self.text(name).split(",") if part.strip()]
        if not all(part.isdecimal() for part in parts):
            raise JobFailed("JobError", f'{name} is "{self.text(name)}".', "Write whole numbers like 0,1.")
        return [int(part) for part in parts]

    def chosen_target(self, name: str) -> str | None:
        """The file that a user chose for an output; None for one that is skipped, temporary or in a database.

        A layer inside a file that may hold others (``ogr:dbname=...``) is that file with ``|layername=`` behind. A
        vector file named without an extension is a GeoPackage, as QGIS has it.
        """
        value = self._plain(name)
        if not isinstance(value, str) or not value or value == QgsProcessing.TEMPORARY_OUTPUT:
            return None
        if value.startswith("ogr:"):
            uri = QgsDataSourceUri(value[len("ogr:") :])
            return f"{os.path.abspath(uri.database())}|layername={uri.table()}" if uri.database() else None
        if _PROVIDER.match(value):
            return None
        return os.path.abspath(value if self._is_no_vector(name) or _format_of(value) else f"{value}.gpkg")

    def _is_no_vector(self, name: str) -> bool:
        kinds = (QgsProcessingParameterRasterDestination, QgsProcessingParameterFileDestination)
        return isinstance(self.algorithm.parameterDefinition(name), kinds)

    def name_of_no_format(self, name: str) -> str:
        """A vector file's name that ends in what stands for no format, else nothing: QGIS would append another end."""
        value = self._plain(name)
        if self.chosen_target(name) is None or value.startswith("ogr:") or _format_of(value):
            return ""
        file = os.path.basename(value)
        return file if "." in file else ""

    def plain_vector_file(self, name: str) -> str | None:
        """The file that a vector output has to itself; None where it goes elsewhere or into a layer of a file."""
        target, value = self.chosen_target(name), self.parameters.get(name)
        has_own_layer = isinstance(value, QgsProcessingOutputLayerDefinition) and (
            value.useRemapping() or "layerName" in value.createOptions
        )
        return None if target is None or "|layername=" in target or has_own_layer else target

    def written_to(self, name: str, path: str, target: str) -> dict:
        """The parameters with a vector output written to a path for now, which the project does not load."""
        definition, given = QgsProcessingOutputLayerDefinition(path), self.parameters[name]
        options = given.createOptions if isinstance(given, QgsProcessingOutputLayerDefinition) else {}
        definition.createOptions = {**options, "layerName": os.path.basename(target).partition(".")[0]}
        return {**self.parameters, name: definition}

    def load_when_done(self, name: str, target: str) -> None:
        """Have the project load a vector output from its file, where that was asked for."""
        given = self.parameters[name]
        if isinstance(given, QgsProcessingOutputLayerDefinition) and given.destinationProject:
            title = given.destinationName or self.algorithm.parameterDefinition(name).description()
            details = QgsProcessingContext.LayerDetails(
                title, given.destinationProject, name, QgsProcessingUtils.LayerHint.Vector
            )
            self.context.addLayerToLoadOnCompletion(target, details)

    def is_temporary(self, name: str) -> bool:
        """Tell whether an output goes where outputs go that nobody chose a place for."""
        return self._plain(name) == QgsProcessing.TEMPORARY_OUTPUT

    def raster_styles(self) -> set[str]:
        """The style files of the raster outputs, which the worker writes."""
        targets = [
            self.chosen_target(output.name())
            for output in self.algorithm.destinationParameterDefinitions()
            if isinstance(output, QgsProcessingParameterRasterDestination)
        ]
        return {style_file(target) for target in targets if target}

    def sources(self, definition) -> set[str]:
        """The names under which the layer or files given for a parameter may be an output's target."""
        name, layer = definition.name(), None
        if isinstance(definition, QgsProcessingParameterMultipleLayers):
            optional = definition.flags() & Qgis.ProcessingParameterFlag.Optional
            return set(self.paths(name)) if self.has(name) or not optional else set()
        if self.has(name) and isinstance(definition, QgsProcessingParameterRasterLayer):
            layer = self.algorithm.parameterAsRasterLayer(self.parameters, name, self.context)
        elif self.has(name) and isinstance(definition, QgsProcessingParameterMapLayer):
            layer = self.algorithm.parameterAsLayer(self.parameters, name, self.context)
        elif self.has(name) and isinstance(definition, QgsProcessingParameterFeatureSource):
            layer = self.algorithm.parameterAsVectorLayer({name: self._plain(name)}, name, self.context)
        if layer is None:
            return set()
        parts = QgsProviderRegistry.instance().decodeUri(layer.providerType(), layer.source())
        if not parts.get("path"):
            return set()
        path = os.path.abspath(parts["path"])
        table = parts.get("layerName") or os.path.splitext(os.path.basename(path))[0]
        return {path, f"{path}|layername={table}"}


def _format_of(path: str) -> str:
    """The driver that QGIS takes for a vector file's name; empty where it knows none."""
    return QgsVectorFileWriter.driverForExtension(path.rpartition(".")[2]) if "." in path else ""
