"""What all algorithms share: identity, checks before the run, the job, and the one place where errors reach QGIS."""

from __future__ import annotations

import os
from collections.abc import Iterable

from qgis.core import (
    QgsProcessingAlgorithm,
    QgsProcessingContext,
    QgsProcessingException,
    QgsProcessingFeedback,
    QgsProcessingOutputDefinition,
    QgsProcessingParameterDefinition,
    QgsProcessingParameterFeatureSink,
    QgsProcessingParameterRasterDestination,
)
from qgis.PyQt.QtGui import QIcon

from .errors import JobFailed
from .given import in_the_form_of_qgis, refuse_unknown
from .parameters import tr
from .runtime import finder
from .values import Values
from .worker_client import PLUGIN_FOLDER, run_job

ICON = os.path.join(PLUGIN_FOLDER, "processing_provider", "icons", "cropmap.svg")
HELP_URL = "https://github.com/cropmap/cropmap#readme"
GROUPS = {"prepare": "Prepare", "map": "Map", "train": "Train", "runtime": "Runtime"}


class CropMapAlgorithm(QgsProcessingAlgorithm):
    """Base of the algorithms: a subclass names itself, defines its parameters and turns them into a job."""

    ID = ""
    TITLE = ""
    GROUP = ""
    FOLD_MODELS = False
    """Whether MODEL may be a folder of fold models."""
    HELP = ""
    TAGS: tuple[str, ...] = ()

    def name(self) -> str:
        return self.ID

    def displayName(self) -> str:  # noqa: N802
        return tr(self.TITLE)

    def groupId(self) -> str:  # noqa: N802
        return self.GROUP

    def group(self) -> str:
        return tr(GROUPS[self.GROUP])

    def shortHelpString(self) -> str:  # noqa: N802
        return tr(self.HELP)

    def helpUrl(self) -> str:  # noqa: N802
        return HELP_URL

    def tags(self) -> list[str]:
        return ["sentinel-2", "crop", *self.TAGS]

    def icon(self) -> QIcon:
        return QIcon(ICON)

    def svgIconPath(self) -> str:  # noqa: N802
        return ICON

    def createInstance(self) -> CropMapAlgorithm:  # noqa: N802
        return type(self)()

    def define(self) -> list[QgsProcessingParameterDefinition | QgsProcessingOutputDefinition]:
        """Its parameters and further outputs, in the order of the dialog."""
        raise NotImplementedError(f"{type(self).__name__} must define its parameters")

    def initAlgorithm(self, configuration=None) -> None:  # noqa: N802
        for definition in self.define():
            is_output = isinstance(definition, QgsProcessingOutputDefinition)
            added = self.addOutput(definition) if is_output else self.addParameter(definition)
            if not added:
                raise ValueError(f"{self.ID} defines {definition.name()} twice.")

    def compute(self, values: Values, feedback: QgsProcessingFeedback) -> dict:
        """Do the work.

        Returns:
            The value of every output that was asked for.

        Raises:
            JobFailed: With a message and a remedy.
        """
        raise NotImplementedError(f"{type(self).__name__} must define compute()")

    def mistake(self, values: Values) -> str:
        """What an algorithm of its own refuses before it runs; empty if nothing."""
        return ""

    def checkParameterValues(self, parameters: dict, context: QgsProcessingContext) -> tuple[bool, str]:  # noqa: N802
        try:
            refuse_unknown(self.parameterDefinitions(), parameters)
            parameters = in_the_form_of_qgis(self.parameterDefinitions(), parameters)
            ok, message = super().checkParameterValues(parameters, context)
            if not ok:
                return ok, message
            values = Values(self, parameters, context)
            problem = self._mistake_of_all(values) or self.mistake(values)
        except JobFailed as error:
            problem = str(error)
        return not problem, problem

    def processAlgorithm(  # noqa: N802
        self, parameters: dict, context: QgsProcessingContext, feedback: QgsProcessingFeedback
    ) -> dict:
        try:
            parameters = in_the_form_of_qgis(self.parameterDefinitions(), parameters)
            return self.compute(Values(self, parameters, context), feedback)
        except JobFailed as error:
            if error.detail:
                feedback.pushConsoleInfo(error.detail)
            raise QgsProcessingException(str(error)) from error

    def run_job(
        self, command: str, parameters: dict, feedback: QgsProcessingFeedback, outputs: Iterable[str | None] = (),
        span: tuple[float, float] = (0.0, 100.0), environment: dict[str, str] | None = None,
    ) -> dict:  # fmt: skip
        """Run a job on the runtime there is; see `worker_client.run_job`."""
        targets = [path for path in outputs if path]
        return run_job(finder.find_python(), command, parameters, feedback, targets, span, environment)

    def _mistake_of_all(self, values: Values) -> str:
        """The quick mistakes that any algorithm can be called with."""
        if self.parameterDefinition("START_DATE"):
            values.dates()
        written: dict[str, str] = {}
        for output in self.destinationParameterDefinitions():
            target = values.chosen_target(output.name())
            if target is None:
                continue
            if isinstance(output, QgsProcessingParameterRasterDestination) and not target.lower().endswith(
                (".tif", ".tiff")
            ):
                return f"{output.name()} must be a GeoTIFF, not {os.path.basename(target)}: end its name in .tif."
            is_sink = isinstance(output, QgsProcessingParameterFeatureSink)
            odd_name = values.name_of_no_format(output.name()) if is_sink else ""
            if odd_name:
                return (
                    f"{output.name()}: QGIS knows no vector format for the name {odd_name}: end it in .gpkg, .shp, "
                    ".geojson or .fgb."
                )
            if target in written:
                return (
                    f"{written[target]} and {output.name()} would both be written to {target}: give each its own file."
                )
            if os.path.isdir(target):
                return f"{output.name()} is a folder ({target}): give a file."
            written[target] = output.name()
        for definition in self.parameterDefinitions():
            if definition.name() == "MODEL":
                values.model(fold_models=self.FOLD_MODELS)
            overwritten = values.sources(definition) & written.keys()
            for target in overwritten:
                return f"{written[target]} would overwrite {definition.name()} ({target}): give another file."
        return ""
