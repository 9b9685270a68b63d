"""Makes the environment that the worker runs in."""

from __future__ import annotations

from qgis.core import Qgis, QgsProcessingOutputString, QgsProcessingParameterFile, QgsProcessingParameterString

from ..processing_provider import parameters, vocabulary
from ..processing_provider.algorithm import CropMapAlgorithm
from ..processing_provider.parameters import advanced, tr, with_help
from ..processing_provider.runtime.installer import Choices, install


class InstallRuntime(CropMapAlgorithm):
    """`cropmap:installruntime`."""

    ID = "installruntime"
    TITLE = "Install runtime"
    GROUP = "runtime"
    HELP = (
        "Makes the Python environment that CropMap computes in, in your QGIS profile and apart from the "
        "Python of QGIS. The packages are those of a locked list, checked by their hashes, and torch; pip "
        "fetches them from where you say: a package index, a folder of wheels, or what pip is configured for."
        " QGIS's proxy is used. Run it once, and again after an update of CropMap. It takes some minutes and,"
        " with torch for CUDA, several gigabytes; what was there before is replaced only when the new "
        "environment is complete."
    )
    TAGS = ("environment", "python", "torch", "install", "pip", "venv")

    def define(self):
        return [
            with_help(
                parameters.words("TORCH", tr("Build of torch"), vocabulary.TORCH_BUILDS, "auto"),
                tr("cuda for NVIDIA cards, cpu for everything else; auto takes cuda where NVIDIA's driver answers."),
            ),
            with_help(
                QgsProcessingParameterString("INDEX_URL", tr("Package index"), optional=True),
                tr(
                    "URL of the package index; empty: as pip is configured. QGIS shows and keeps what is entered here: "
                    "an index that needs a password belongs in pip's own configuration."
                ),
            ),
            with_help(
                advanced(QgsProcessingParameterString("TORCH_INDEX_URL", tr("Package index for torch"), optional=True)),
                tr("URL of another index to take torch from; empty: the same as for the other packages."),
            ),
            with_help(
                QgsProcessingParameterFile(
                    "WHEELS",
                    tr("Folder of wheels"),
                    behavior=Qgis.ProcessingFileParameterBehavior.Folder,
                    optional=True,
                ),
                tr("To install without a network: a folder with the wheels of all packages."),
            ),
            with_help(
                advanced(QgsProcessingParameterFile("PYTHON", tr("Python to start from"), optional=True)),
                tr("An interpreter of version 3.11 or later with the venv module; empty: one is looked for."),
            ),
            QgsProcessingOutputString("PYTHON_INSTALLED", tr("Interpreter of the environment")),
        ]

    def compute(self, values, feedback):
        choices = Choices(
            python=values.path("PYTHON"),
            torch=values.choice("TORCH"),
            index_url=values.text("INDEX_URL"),
            torch_index_url=values.text("TORCH_INDEX_URL"),
            wheels=values.path("WHEELS"),
        )
        return {"PYTHON_INSTALLED": install(choices, feedback)}
